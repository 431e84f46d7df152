//! What can go wrong with a call, and the one place that reads node messages. Codes lie (the same number means a rate
//! limit on one node and a low nonce on another), so the message is read before the code.

use std::time::Duration;

use thiserror::Error;

/// A failed call; the kind says what to do next.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct RpcError {
    pub kind: ErrorKind,
    message: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// No answer, or none that is whole: another endpoint at once; what was sent may have arrived.
    Transport,
    /// Another endpoint at once; this one not before `retry_after`.
    RateLimited { retry_after: Option<Duration> },
    /// The endpoint will not serve us (401, 403, 404, 405, 410): left alone for a minute.
    Parked,
    /// The endpoint does not have the block yet, or any more: another endpoint, or later. Never "does not exist".
    Behind,
    /// The answer is not what the standard promises: another endpoint.
    InvalidAnswer,
    /// The contract said no. `reason` is its string, where it gave one.
    Reverted {
        reason: Option<String>,
        data: Vec<u8>,
    },
    /// The node said no to this very request; other nodes would most likely say the same.
    Node(NodeError),
}

/// Classes of refusals, named after what they ask of the sender.
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
    GasLimit,
    TypeNotSupported,
    NodeFeeCap,
    FatalConfig,
    /// eth_getLogs over too many blocks or results; `blocks` where the node names a number of blocks.
    RangeTooLarge {
        blocks: Option<u64>,
    },
    Other,
}

/// How far a node lets eth_getLogs reach, as its refusal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRangeLimit {
    pub blocks: Option<u64>,
}

impl RpcError {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> RpcError {
        RpcError {
            kind,
            message: message.into(),
        }
    }

    pub fn transport(message: impl Into<String>) -> RpcError {
        RpcError::new(ErrorKind::Transport, message)
    }

    pub fn invalid_answer(message: impl Into<String>) -> RpcError {
        RpcError::new(ErrorKind::InvalidAnswer, message)
    }

    pub fn behind(message: impl Into<String>) -> RpcError {
        RpcError::new(ErrorKind::Behind, message)
    }

    /// True when the node itself answered: asking another endpoint would not help.
    pub fn is_node_answer(&self) -> bool {
        matches!(self.kind, ErrorKind::Node(_) | ErrorKind::Reverted { .. })
    }

    /// For reading: a refusal that may be this endpoint's own, so that another is asked.
    pub fn of_this_endpoint(mut self) -> RpcError {
        if matches!(self.kind, ErrorKind::Node(_)) {
            self.kind = ErrorKind::InvalidAnswer;
        }
        self
    }

    pub fn log_range_limit(&self) -> Option<LogRangeLimit> {
        match self.kind {
            ErrorKind::Node(NodeError::RangeTooLarge { blocks }) => Some(LogRangeLimit { blocks }),
            _ => None,
        }
    }

    pub fn node_error(&self) -> Option<NodeError> {
        match self.kind {
            ErrorKind::Node(class) => Some(class),
            _ => None,
        }
    }
}

/// What a JSON-RPC error object means. `client` is web3_clientVersion, lower case, where it is known.
pub fn classify(code: i64, message: &str, data: Option<&str>, client: &str) -> RpcError {
    let text = message.to_lowercase();
    let shown: String = message.chars().take(300).collect();
    if let Some(kind) = revert(code, message, &text, data) {
        let shown = match &kind {
            ErrorKind::Reverted {
                reason: Some(reason),
                ..
            } => format!("reverted: {reason}"),
            _ => format!("reverted without a reason ({shown})"),
        };
        return RpcError::new(kind, shown);
    }
    let kind = class_of_message(&text).or_else(|| class_of_code(code, client));
    RpcError::new(
        kind.unwrap_or(ErrorKind::Node(NodeError::Other)),
        format!("{shown} (code {code})"),
    )
}

/// Message parts, most specific first; the first that occurs decides.
const MESSAGES: &[(&str, ErrorKind)] = {
    use ErrorKind::{Behind, Node};
    use NodeError::*;
    const RATE: ErrorKind = ErrorKind::RateLimited { retry_after: None };
    &[
        ("unknown transaction", Node(Other)),
        ("already known", Node(AlreadyKnown)),
        ("transaction already imported", Node(AlreadyKnown)),
        ("known transaction", Node(AlreadyKnown)),
        ("existing txn with same hash", Node(AlreadyKnown)),
        ("alreadyknown", Node(AlreadyKnown)),
        ("ownnoncealreadyused", Node(AlreadyKnown)),
        ("same hash was already imported", Node(AlreadyKnown)),
        (
            "future transaction tries to replace pending",
            Node(TransientPool),
        ),
        ("txpool is full", Node(TransientPool)),
        ("sub-pool is full", Node(TransientPool)),
        ("queue full", Node(TransientPool)),
        (
            "replacement transaction underpriced",
            Node(ReplacementUnderpriced),
        ),
        (
            "could not replace existing tx",
            Node(ReplacementUnderpriced),
        ),
        ("replacementnotallowed", Node(ReplacementUnderpriced)),
        (
            "an existing transaction had higher priority",
            Node(ReplacementUnderpriced),
        ),
        ("transaction underpriced", Node(Underpriced)),
        ("gas price below", Node(Underpriced)),
        ("fee too low", Node(Underpriced)),
        ("feetoolow", Node(Underpriced)),
        (
            "max fee per gas less than block base fee",
            Node(Underpriced),
        ),
        ("gas price too low", Node(Underpriced)),
        ("nonce too low", Node(NonceTooLow)),
        ("nonce is too low", Node(NonceTooLow)),
        ("oldnonce", Node(NonceTooLow)),
        ("invalid transaction nonce", Node(NonceTooLow)),
        ("nonce too high", Node(NonceTooHigh)),
        ("noncegap", Node(NonceTooHigh)),
        ("exceeds next nonce", Node(NonceTooHigh)),
        ("too distant from current sender nonce", Node(NonceTooHigh)),
        ("insufficient funds", Node(InsufficientFunds)),
        ("insufficientfunds", Node(InsufficientFunds)),
        (
            "upfront cost exceeds account balance",
            Node(InsufficientFunds),
        ),
        ("not enough funds for gas", Node(InsufficientFunds)),
        ("gas required exceeds allowance", Node(GasAllowance)),
        ("intrinsic gas too low", Node(GasLimit)),
        ("intrinsic gas too high", Node(GasLimit)),
        ("exceeds block gas limit", Node(GasLimit)),
        ("gas limit too high", Node(GasLimit)),
        ("floor data gas", Node(GasLimit)),
        ("transaction type not supported", Node(TypeNotSupported)),
        (
            "fork supporting this transaction type is not activated",
            Node(TypeNotSupported),
        ),
        ("invalid transaction type", Node(TypeNotSupported)),
        ("eip-1559 style fee params", Node(TypeNotSupported)),
        ("exceeds the configured cap", Node(NodeFeeCap)),
        ("transaction fee cap exceeded", Node(NodeFeeCap)),
        ("only replay-protected", Node(FatalConfig)),
        ("invalid sender", Node(FatalConfig)),
        ("invalid chain id", Node(FatalConfig)),
        ("wrong chainid", Node(FatalConfig)),
        ("header not found", Behind),
        ("unknown block", Behind),
        ("missing trie node", Behind),
        ("beyond current head", Behind),
        ("blockoutofrange", Behind),
        ("block out of range", Behind),
        ("resource not found", Behind),
        ("block not found", Behind),
        ("historical state", Behind),
        ("block range should work", RANGE),
        ("try with this block range", RANGE),
        ("max range", RANGE),
        ("limited to a", RANGE),
        ("at most", RANGE),
        ("block range is too wide", RANGE),
        ("query returned more than", RANGE),
        ("exceeds max results", RANGE),
        ("response size exceeded", RANGE),
        ("exceed maximum block range", RANGE),
        ("exceeds maximum rpc range limit", RANGE),
        ("rate limit", RATE),
        ("too many requests", RATE),
        ("request limit", RATE),
        ("compute units per second", RATE),
        ("capacity exceeded", RATE),
    ]
};
const RANGE: ErrorKind = ErrorKind::Node(NodeError::RangeTooLarge { blocks: None });

fn class_of_message(text: &str) -> Option<ErrorKind> {
    let (_, kind) = MESSAGES.iter().find(|(part, _)| text.contains(part))?;
    Some(match kind {
        ErrorKind::Node(NodeError::RangeTooLarge { .. }) => {
            ErrorKind::Node(NodeError::RangeTooLarge {
                blocks: range_hint(text),
            })
        }
        ErrorKind::RateLimited { .. } => ErrorKind::RateLimited {
            retry_after: retry_hint(text),
        },
        other => other.clone(),
    })
}

/// How long a rate limit asks to wait, where its text says: "try again in 2s", "retry after 500 ms".
pub fn retry_hint(text: &str) -> Option<Duration> {
    const PHRASES: [&str; 5] = [
        "try again in ",
        "retry in ",
        "retry after ",
        "retry-after: ",
        "available in ",
    ];
    let text = text.to_lowercase();
    PHRASES.iter().find_map(|phrase| {
        let (_, rest) = text.split_once(phrase)?;
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, unit) = rest.split_at(digits.unwrap_or(rest.len()));
        let number: f64 = number.trim_end_matches('.').parse().ok()?;
        let unit = unit.trim_start();
        let secs = match unit {
            _ if unit.starts_with("ms") || unit.starts_with("milli") => number / 1_000.0,
            _ if unit.starts_with('m') => number * 60.0,
            _ => number,
        };
        Some(bounded_wait(secs))
    })
}

/// No hint is followed for longer than an hour.
pub fn bounded_wait(secs: f64) -> Duration {
    Duration::from_secs_f64(secs.clamp(0.0, 3_600.0))
}

fn class_of_code(code: i64, client: &str) -> Option<ErrorKind> {
    let besu = client.contains("besu");
    match code {
        -32001 if besu => Some(ErrorKind::Node(NodeError::NonceTooLow)),
        -32009 if besu => Some(ErrorKind::Node(NodeError::Underpriced)),
        -32001 => Some(ErrorKind::Behind),
        429 | -32005 | -32016 => Some(ErrorKind::RateLimited { retry_after: None }),
        _ => None,
    }
}

/// The number of blocks a refusal allows: from a bracketed range `[0x1,0x2]`, or the number behind the known phrases.
fn range_hint(text: &str) -> Option<u64> {
    if let Some((_, rest)) = text.split_once('[') {
        let (from, to) = rest.split(']').next()?.split_once(',')?;
        let parse = |hex: &str| u64::from_str_radix(hex.trim().strip_prefix("0x")?, 16).ok();
        return parse(to)?.checked_sub(parse(from)?)?.checked_add(1);
    }
    ["max range:", "limited to a", "limited to", "at most"]
        .iter()
        .find_map(|phrase| {
            let (_, rest) = text.split_once(phrase)?;
            // "more than 10000 results" limits results, not blocks; these phrases limit blocks.
            let digits: String = rest
                .trim_start()
                .chars()
                .take_while(|c| c.is_ascii_digit() || *c == ',')
                .filter(char::is_ascii_digit)
                .collect();
            digits.parse().ok().filter(|blocks| *blocks > 0)
        })
}

fn revert(code: i64, message: &str, text: &str, data: Option<&str>) -> Option<ErrorKind> {
    let data = data.and_then(decode_hex).unwrap_or_default();
    // Code 3 is what geth defined for reverts; others only say it in words, some with the reason behind a colon.
    let says_revert = text.contains("execution reverted")
        || text.contains("vm exception while processing transaction: revert")
        || text.contains("vm execution error") && !data.is_empty();
    if code != 3 && !says_revert {
        return None;
    }
    let reason = reason_in(&data).or_else(|| {
        if !data.is_empty() {
            return None;
        }
        let (_, rest) = message
            .split_once("reverted: ")
            .or_else(|| message.split_once("revert "))?;
        let rest = rest.trim().trim_matches(|c| c == '\'' || c == '"');
        (!rest.is_empty() && !rest.starts_with("0x")).then(|| rest.to_owned())
    });
    Some(ErrorKind::Reverted { reason, data })
}

/// The string of Error(string), or the code of Panic(uint256), in a revert's data.
fn reason_in(data: &[u8]) -> Option<String> {
    let (selector, body) = (data.get(..4)?, &data[4..]);
    match selector {
        [0x08, 0xc3, 0x79, 0xa0] => ethabi::decode(&[ethabi::ParamType::String], body)
            .ok()?
            .into_iter()
            .next()?
            .into_string(),
        [0x4e, 0x48, 0x7b, 0x71] => {
            let code = ethabi::decode(&[ethabi::ParamType::Uint(256)], body).ok()?;
            Some(format!(
                "panic 0x{:x}",
                code.into_iter().next()?.into_uint()?
            ))
        }
        _ => None,
    }
}

/// Bytes of a 0x-prefixed hex string.
pub fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x")?.as_bytes();
    if digits.len() % 2 != 0 {
        return None;
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16);
    digits
        .chunks(2)
        // Two hex digits are below 256.
        .map(|pair| Some((nibble(pair[0])? * 16 + nibble(pair[1])?) as u8))
        .collect()
}

pub fn encode_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("0x");
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use NodeError::*;

    fn class(code: i64, message: &str, client: &str) -> ErrorKind {
        classify(code, message, None, client).kind
    }

    #[test]
    fn a_rate_limit_may_say_how_long() {
        for (text, ms) in [
            ("rate limit reached, try again in 2s", Some(2_000)),
            ("Too many requests. Retry after 500 ms", Some(500)),
            ("retry in 1.5 seconds.", Some(1_500)),
            ("slow down, available in 2 minutes", Some(120_000)),
            ("try again in 7.", Some(7_000)),
            ("try again in 99999999999 s", Some(3_600_000)),
            ("try again later", None),
            ("try again in a while", None),
        ] {
            let hint = retry_hint(text).map(|wait| wait.as_millis());
            assert_eq!(hint, ms, "{text}");
        }
        let limited = class(-32_005, "request limit: try again in 3 s", "");
        let retry_after = Some(Duration::from_secs(3));
        assert_eq!(limited, ErrorKind::RateLimited { retry_after });
    }

    #[test]
    fn messages_of_the_nodes_are_sorted_by_their_words() {
        for (message, expected) in [
            ("already known", AlreadyKnown),
            ("transaction already imported", AlreadyKnown),
            ("Known transaction: 0xabc", AlreadyKnown),
            ("unknown transaction", Other),
            ("ALREADY_EXISTS: already known", AlreadyKnown),
            ("AlreadyKnown", AlreadyKnown),
            ("OwnNonceAlreadyUsed", AlreadyKnown),
            ("Transaction with the same hash was already imported.", AlreadyKnown),
            ("replacement transaction underpriced", ReplacementUnderpriced),
            ("INTERNAL_ERROR: could not replace existing tx", ReplacementUnderpriced),
            ("ReplacementNotAllowed", ReplacementUnderpriced),
            ("future transaction tries to replace pending", TransientPool),
            ("txpool is full", TransientPool),
            ("transaction underpriced: tip needed 1", Underpriced),
            ("max fee per gas less than block base fee: address 0x..", Underpriced),
            ("FeeTooLow", Underpriced),
            ("Nonce too low", NonceTooLow),
            ("nonce too low: next nonce 5, tx nonce 4", NonceTooLow),
            ("OldNonce", NonceTooLow),
            ("nonce too high", NonceTooHigh),
            ("Transaction nonce is too distant from current sender nonce", NonceTooHigh),
            ("insufficient funds for gas * price + value", InsufficientFunds),
            ("Insufficient funds for gas * price + value", InsufficientFunds),
            ("Upfront cost exceeds account balance", InsufficientFunds),
            ("gas required exceeds allowance (21000)", GasAllowance),
            ("intrinsic gas too low", GasLimit),
            ("exceeds block gas limit", GasLimit),
            ("transaction gas limit too high", GasLimit),
            ("transaction type not supported", TypeNotSupported),
            ("EIP-1559 style fee params (maxFeePerGas or maxPriorityFeePerGas) received but they are not supported", TypeNotSupported),
            ("tx fee (1.50 ether) exceeds the configured cap (1.00 ether)", NodeFeeCap),
            ("only replay-protected (EIP-155) transactions allowed over RPC", FatalConfig),
            ("invalid chain id for signer: have 1 want 2", FatalConfig),
            ("something new", Other),
        ] {
            assert_eq!(class(-32000, message, "geth"), ErrorKind::Node(expected), "{message}");
        }
    }

    #[test]
    fn what_an_endpoint_lacks_is_behind() {
        for message in [
            "header not found",
            "Unknown block",
            "missing trie node 0xabc (path ) state 0xdef is not available",
            "block number 9 is beyond current head 8",
            "BlockOutOfRangeError: block height is 8 but requested was 9",
            "resource not found",
        ] {
            assert_eq!(class(-32000, message, ""), ErrorKind::Behind, "{message}");
        }
    }

    #[test]
    fn range_limits_carry_their_hint() {
        for (message, blocks) in [
            (
                "Log response size exceeded. this block range should work: [0x1, 0x64]",
                Some(100),
            ),
            (
                "query returned more than 10000 results. Try with this block range [0x10,0x1f].",
                Some(16),
            ),
            ("exceed max range: 2000", None),
            ("block range too large, max range: 1,000", Some(1_000)),
            ("eth_getLogs is limited to a 10,000 range", Some(10_000)),
            ("range must cover at most 800 blocks", Some(800)),
            ("block range is too wide", None),
            ("query returned more than 10000 results", None),
            ("query exceeds max results 20000", None),
            ("exceed maximum block range: 50000", None),
            ("exceeds maximum RPC range limit", None),
        ] {
            let blocks = if message == "exceed max range: 2000" {
                Some(2_000)
            } else {
                blocks
            };
            assert_eq!(
                class(-32602, message, ""),
                ErrorKind::Node(RangeTooLarge { blocks }),
                "{message}"
            );
        }
    }

    #[test]
    fn codes_speak_only_where_messages_do_not() {
        let limited = ErrorKind::RateLimited { retry_after: None };
        assert_eq!(class(-32005, "daily quota", ""), limited);
        assert_eq!(class(-32603, "Too Many Requests", ""), limited);
        assert_eq!(
            class(-32005, "insufficient funds", ""),
            ErrorKind::Node(InsufficientFunds)
        );
        assert_eq!(class(-32001, "x", "besu/v24"), ErrorKind::Node(NonceTooLow));
        assert_eq!(class(-32001, "x", "anvil/v1"), ErrorKind::Behind);
        assert_eq!(class(-32009, "x", "besu/v24"), ErrorKind::Node(Underpriced));
        assert_eq!(class(-32009, "x", "geth"), ErrorKind::Node(Other));
    }

    #[test]
    fn reverts_give_their_reason_from_data_or_words() {
        let data = "0x08c379a00000000000000000000000000000000000000000000000000000000000000020\
                    000000000000000000000000000000000000000000000000000000000000000e\
                    4e6f206265747320706c61636564000000000000000000000000000000000000";
        let reason = |error: RpcError| match error.kind {
            ErrorKind::Reverted { reason, .. } => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            reason(classify(3, "execution reverted", Some(data), "")),
            Some("No bets placed".into())
        );
        assert_eq!(
            reason(classify(-32000, "execution reverted: Nope", None, "")),
            Some("Nope".into())
        );
        assert_eq!(
            reason(classify(3, "execution reverted", Some("0x"), "")),
            None
        );
        let panic = format!("0x4e487b71{:064x}", 0x11);
        assert_eq!(
            reason(classify(3, "execution reverted", Some(&panic), "")),
            Some("panic 0x11".into())
        );
        let words = "VM Exception while processing transaction: revert Only operator can call this function";
        assert_eq!(
            reason(classify(-32000, words, None, "")),
            Some("Only operator can call this function".into())
        );
        let garbled = classify(3, "execution reverted", Some("0x08c379a0ff"), "");
        assert_eq!(reason(garbled), None);
    }

    #[test]
    fn hex_goes_there_and_back() {
        assert_eq!(
            decode_hex(&encode_hex(&[0, 1, 0xfe])),
            Some(vec![0, 1, 0xfe])
        );
        assert_eq!(decode_hex("0x"), Some(vec![]));
        for bad in ["", "12", "0x1", "0xzz", "0xé"] {
            assert_eq!(decode_hex(bad), None, "{bad}");
        }
    }
}
