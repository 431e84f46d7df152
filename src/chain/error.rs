//! What can go wrong with a call, and whose word is final: a revert of our call and a pool's verdict on our transaction
//! are answers that every sound node would give. All else, however it is worded, says something of this endpoint alone,
//! and another one is asked.
//!
//! The words and codes of the nodes are read in `words`, which is part of this room.

use std::time::Duration;

use thiserror::Error;

use crate::chain::method::Method;

mod meaning;
mod words;

pub use words::classify;
pub(crate) use words::{retry_hint, says_rate_limit};

/// The longest text of a server that is kept.
const TEXT_MAX_CHARS: usize = 300;

/// A failed call; the kind says what to do next.
///
/// Its text is for the log: it may hold words of the server. `public` says for everybody what kind of failure it was.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{text}")]
pub struct RpcError {
    pub kind: ErrorKind,
    /// The call that failed, where it was one call.
    pub method: Option<Method>,
    text: String,
    public: &'static str,
    is_of_this_endpoint: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// No answer: another endpoint at once; what was sent may have arrived.
    Transport,
    /// Another endpoint at once; this one not before `retry_after`.
    RateLimited { retry_after: Option<Duration> },
    /// The endpoint will not serve this method (401, 402, 403, 404, 405, 410, a redirect): left alone for a minute.
    Parked,
    /// The endpoint does not have the block yet, or any more: another endpoint, or later. Never "does not exist".
    Behind,
    /// A server or its proxy in trouble (HTTP 5xx, 408, 425, a page in place of JSON, an answer broken off): another
    /// endpoint. It says nothing of the chain, and what was sent may have arrived.
    Unavailable,
    /// The answer is not what the standard promises: another endpoint.
    InvalidAnswer,
    /// The endpoint answered with an error of its own: another endpoint.
    Refused,
    /// The contract said no. `reason` is its string, where it gave one.
    Reverted {
        reason: Option<String>,
        data: Vec<u8>,
    },
    /// The pool said no to this very transaction; other pools would most likely say the same.
    Node(NodeError),
}

/// A pool's verdicts on a transaction, named after what they ask of the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeError {
    AlreadyKnown,
    ReplacementUnderpriced,
    TransientPool,
    Underpriced,
    NonceTooLow,
    NonceTooHigh,
    InsufficientFunds,
    /// `gas required exceeds allowance`: of funds or of gas, as balance and fee tell.
    GasAllowance,
    /// Less gas than the transaction needs at the least.
    GasTooLow,
    /// More gas than a block, or a transaction, may use.
    GasTooHigh,
    TypeNotSupported,
    NodeFeeCap,
    FatalConfig,
    /// A refusal in words that are in no list.
    Other,
}

impl RpcError {
    /// An error whose text is freed of control characters and cut to a readable length.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> RpcError {
        let public = match &kind {
            ErrorKind::Transport => "did not answer",
            ErrorKind::RateLimited { .. } => "asks for fewer calls",
            ErrorKind::Parked => "refuses to serve",
            ErrorKind::Behind => "does not have the block",
            ErrorKind::Unavailable => "is in trouble",
            ErrorKind::InvalidAnswer => "gave an answer that cannot be read",
            ErrorKind::Refused => "answered with an error",
            ErrorKind::Reverted { .. } => "says that the call reverts",
            ErrorKind::Node(_) => "refused the transaction",
        };
        RpcError {
            kind,
            method: None,
            text: one_line(&text.into()),
            public,
            is_of_this_endpoint: false,
        }
    }

    pub fn transport(text: impl Into<String>) -> RpcError {
        RpcError::new(ErrorKind::Transport, text)
    }

    pub(crate) fn invalid_answer(text: impl Into<String>) -> RpcError {
        RpcError::new(ErrorKind::InvalidAnswer, text)
    }

    pub fn behind(text: impl Into<String>) -> RpcError {
        RpcError::new(ErrorKind::Behind, text)
    }

    /// The same error, as one of this call.
    pub fn of(mut self, method: Method) -> RpcError {
        self.method = Some(method);
        self
    }

    /// The same error, of several calls together.
    pub(crate) fn of_no_method(mut self) -> RpcError {
        self.method = None;
        self
    }

    /// The same error with all words of the server's replaced.
    pub(crate) fn with_words(mut self, replace: impl Fn(&str) -> String) -> RpcError {
        self.text = replace(&self.text);
        if let ErrorKind::Reverted { reason, .. } = &mut self.kind {
            *reason = reason.take().map(|reason| replace(&reason));
        }
        self
    }

    /// The same error, told to the public in these words.
    pub(crate) fn told_as(mut self, public: &'static str) -> RpcError {
        self.public = public;
        self
    }

    /// For questions that the contract cannot refuse: even a revert may be this endpoint's own, so another is asked.
    pub(crate) fn of_this_endpoint(mut self) -> RpcError {
        self.is_of_this_endpoint = true;
        self
    }

    /// What kind of failure it was, without a word of the server's: fit for the API.
    pub fn public(&self) -> &'static str {
        self.public
    }

    /// True when asking another endpoint would not help: our call reverts, or a pool judged our transaction.
    pub(crate) fn is_final(&self) -> bool {
        let is_verdict = matches!(self.kind, ErrorKind::Node(_) | ErrorKind::Reverted { .. });
        is_verdict && !self.is_of_this_endpoint
    }

    /// True when the same question may well be answered a moment later: silence, a rate limit, a server in trouble. What a
    /// server refuses in other ways it most likely cannot do.
    pub(crate) fn is_passing(&self) -> bool {
        self.is_silent_or_limited() || self.kind == ErrorKind::Unavailable
    }

    /// True for an answer that tells nothing, and says nothing of the next: the same question, asked again at once, may well
    /// be answered.
    pub(crate) fn is_spoilt(&self) -> bool {
        matches!(self.kind, ErrorKind::Unavailable | ErrorKind::InvalidAnswer)
    }

    /// True when asking the same endpoint something else at once would most likely end in the same way.
    pub(crate) fn is_silent_or_limited(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::Transport | ErrorKind::RateLimited { .. }
        )
    }

    /// True where the words of the error could be read.
    pub(crate) fn is_definite(&self) -> bool {
        !matches!(
            self.kind,
            ErrorKind::Refused | ErrorKind::Node(NodeError::Other)
        )
    }

    pub(crate) fn node_error(&self) -> Option<NodeError> {
        match self.kind {
            ErrorKind::Node(class) => Some(class),
            _ => None,
        }
    }

    /// How many blocks the server would let a question for logs span, where its words name a number.
    pub(crate) fn log_range_hint_blocks(&self) -> Option<u64> {
        words::range_hint(&self.text.to_lowercase())
    }
}

/// No hint is followed for longer than an hour.
pub(crate) fn bounded_wait(secs: f64) -> Duration {
    Duration::from_secs_f64(if secs.is_nan() {
        0.0
    } else {
        secs.clamp(0.0, 3_600.0)
    })
}

/// What a server wrote, fit for one line of a log.
fn one_line(text: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(TEXT_MAX_CHARS).map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reverts_and_verdicts_of_pools_are_final() {
        let reverted = ErrorKind::Reverted {
            reason: None,
            data: Vec::new(),
        };
        for (kind, is_final) in [
            (ErrorKind::Transport, false),
            (ErrorKind::RateLimited { retry_after: None }, false),
            (ErrorKind::Parked, false),
            (ErrorKind::Behind, false),
            (ErrorKind::Unavailable, false),
            (ErrorKind::InvalidAnswer, false),
            (ErrorKind::Refused, false),
            (reverted, true),
            (ErrorKind::Node(NodeError::Other), true),
        ] {
            let error = RpcError::new(kind, "text");
            assert_eq!(error.is_final(), is_final, "{error:?}");
            assert!(!error.of_this_endpoint().is_final());
        }
    }

    #[test]
    fn texts_are_one_line_of_bounded_length_and_never_public() {
        let text = format!("a\n\u{1b}[31mred\r{}", "x".repeat(1_000));
        let error = RpcError::new(ErrorKind::Refused, text);
        let shown = error.to_string();
        assert!(shown.starts_with("a  [31mred x"), "{shown}");
        assert_eq!(shown.chars().count(), TEXT_MAX_CHARS);
        assert_eq!(error.public(), "answered with an error");
        assert_eq!(error.told_as("timed out").public(), "timed out");
    }
}
