//! Alerts: conditions that the operator's owner should know of. Each begins, may change its words while it holds, and
//! ends; its begin and its end are told once. Which conditions hold is asked of `watch`; the book here only notes what
//! has begun and what has ended. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::chain::types::{to_checksum, Address};
use crate::lottery::words::labelled;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

impl Severity {
    pub fn label(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

labelled! {
    /// The kinds of conditions; the labels are stable.
    pub enum AlertCode;
    /// Something forbids an action that is due: the contract, the pool, the funds, a limit.
    ActionBlocked = "action_blocked",
    /// A transaction reverted or was not mined in time.
    ActionFailed = "action_failed",
    ChainUnreachable = "chain_unreachable",
    DrawGivenUp = "draw_given_up",
    /// The window passed without a draw.
    DrawMissed = "draw_missed",
    /// A third of the window is gone without a transaction.
    DrawOverdue = "draw_overdue",
    /// The round nears its end, and nobody has bet.
    EmptyRound = "empty_round",
    EndpointWrongChain = "endpoint_wrong_chain",
    /// A fee limit or the balance keeps a fee below what it should be.
    FeeCapped = "fee_capped",
    HeadStale = "head_stale",
    LowBalance = "low_balance",
    /// The contract's operator is not this key.
    OperatorChanged = "operator_changed",
    /// A finished draw does not follow from the chain's values.
    ProofMismatch = "proof_mismatch",
    RefundSent = "refund_sent",
    /// The look at everything that a draw needs found a problem.
    Rehearsal = "rehearsal",
    /// The signer is silent, or signs something else than was asked for.
    SignerFailed = "signer_failed",
    SpendLimit = "spend_limit",
    /// Neither draw nor refund can pass.
    StuckRound = "stuck_round",
    TooManyExtensions = "too_many_extensions",
    TooManyPlayers = "too_many_players",
    UnknownPending = "unknown_pending",
    UnpayablePlayer = "unpayable_player",
    /// Sent by hand, to try the way that alerts take.
    Test = "test",
}

/// What a condition is about. With its code it is the condition's identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    None,
    Round(u64),
    /// By its host.
    Endpoint(String),
    Player(Address),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Subject::None => Ok(()),
            Subject::Round(round_id) => write!(f, "round {round_id}"),
            Subject::Endpoint(host) => write!(f, "endpoint {host}"),
            Subject::Player(address) => write!(f, "player {}", to_checksum(address)),
        }
    }
}

/// Something that holds now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub code: AlertCode,
    pub subject: Subject,
    pub severity: Severity,
    pub message: String,
}

impl Condition {
    pub fn new(
        code: AlertCode,
        subject: Subject,
        severity: Severity,
        message: impl Into<String>,
    ) -> Condition {
        Condition {
            code,
            subject,
            severity,
            message: message.into(),
        }
    }

    pub(crate) fn critical(
        code: AlertCode,
        subject: Subject,
        message: impl Into<String>,
    ) -> Condition {
        Condition::new(code, subject, Severity::Critical, message)
    }

    pub fn warning(code: AlertCode, subject: Subject, message: impl Into<String>) -> Condition {
        Condition::new(code, subject, Severity::Warning, message)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertState {
    Firing,
    Resolved,
}

impl AlertState {
    pub fn label(self) -> &'static str {
        match self {
            AlertState::Firing => "firing",
            AlertState::Resolved => "resolved",
        }
    }
}

/// A condition with its begin, as it is told and listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// `alert-` + unix milliseconds + `-` + counter, of this telling.
    pub id: String,
    pub code: AlertCode,
    pub subject: Subject,
    pub severity: Severity,
    pub state: AlertState,
    pub message: String,
    /// When the condition began, by the host's clock.
    pub since_unix_ms: u64,
    /// When it began or ended: the time of this telling.
    pub unix_ms: u64,
}

impl Alert {
    pub fn round_id(&self) -> Option<u64> {
        match self.subject {
            Subject::Round(round_id) => Some(round_id),
            _ => None,
        }
    }
}

/// What has changed in what holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertChange {
    /// What has begun and what has ended, to be told. New words of what holds already are listed without it.
    pub news: Vec<Arc<Alert>>,
    /// All that holds now, in a stable order.
    pub firing: Vec<Arc<Alert>>,
}

/// The conditions that hold, with their begin.
#[derive(Debug, Default)]
pub struct AlertBook {
    firing: BTreeMap<(AlertCode, Subject), Arc<Alert>>,
    told: u64,
}

impl AlertBook {
    /// Notes what holds now; None where nothing has changed since the last time, not even the words.
    pub fn update(&mut self, holding: Vec<Condition>, unix_ms: u64) -> Option<AlertChange> {
        let mut has_new_words = false;
        let mut before = std::mem::take(&mut self.firing);
        let mut news = Vec::new();
        for condition in holding {
            let key = (condition.code, condition.subject.clone());
            if self.firing.contains_key(&key) {
                // Two words for one condition: the first counts.
                continue;
            }
            let alert = match before.remove(&key) {
                Some(known)
                    if known.message == condition.message
                        && known.severity == condition.severity =>
                {
                    known
                }
                // New words for what was told already: listed, not told again.
                Some(known) => {
                    has_new_words = true;
                    Arc::new(Alert {
                        severity: condition.severity,
                        message: condition.message,
                        ..(*known).clone()
                    })
                }
                None => {
                    let begun = Arc::new(Alert {
                        id: self.next_id(unix_ms),
                        code: condition.code,
                        subject: condition.subject,
                        severity: condition.severity,
                        state: AlertState::Firing,
                        message: condition.message,
                        since_unix_ms: unix_ms,
                        unix_ms,
                    });
                    news.push(begun.clone());
                    begun
                }
            };
            self.firing.insert(key, alert);
        }
        for ended in before.into_values() {
            news.push(Arc::new(Alert {
                id: self.next_id(unix_ms),
                state: AlertState::Resolved,
                unix_ms,
                ..(*ended).clone()
            }));
        }
        (has_new_words || !news.is_empty()).then(|| AlertChange {
            news,
            firing: self.firing.values().cloned().collect(),
        })
    }

    fn next_id(&mut self, unix_ms: u64) -> String {
        self.told += 1;
        format!("alert-{unix_ms}-{}", self.told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn low_balance(message: &str) -> Condition {
        Condition::warning(AlertCode::LowBalance, Subject::None, message)
    }

    fn told(news: &[Arc<Alert>]) -> Vec<(&str, &str, &str)> {
        let of = |alert: &'_ Arc<Alert>| {
            let alert: &Alert = alert;
            (alert.code.label(), alert.state.label())
        };
        news.iter()
            .map(|alert| {
                let (code, state) = of(alert);
                (code, state, alert.message.as_str())
            })
            .collect()
    }

    #[test]
    fn each_code_is_explained_to_who_is_woken_by_it() {
        let chapter = include_str!("../commands/trouble.md");
        for code in AlertCode::ALL {
            let row = format!("\n| `{}` | ", code.label());
            assert!(
                chapter.contains(&row),
                "{} is not among the troubles",
                code.label()
            );
        }
    }

    fn news(book: &mut AlertBook, holding: Vec<Condition>, unix_ms: u64) -> Vec<Arc<Alert>> {
        let change = book.update(holding, unix_ms);
        change.map_or_else(Vec::new, |change| change.news)
    }

    #[test]
    fn a_condition_is_told_when_it_begins_and_when_it_ends_and_new_words_are_listed() {
        let mut book = AlertBook::default();
        let begun = news(&mut book, vec![low_balance("3 wei")], 5_000);
        assert_eq!(told(&begun), [("low_balance", "firing", "3 wei")]);
        assert_eq!(begun[0].id, "alert-5000-1");
        for wei in 0..20 {
            let message = format!("{wei} wei");
            let mut update = || book.update(vec![low_balance(&message)], 6_000);
            let change = update().expect("the words are new");
            assert_eq!((change.news.len(), change.firing.len()), (0, 1));
            assert_eq!(change.firing[0].message, message);
            assert_eq!(update(), None);
        }
        let ended = news(&mut book, vec![], 9_000);
        assert_eq!(told(&ended), [("low_balance", "resolved", "19 wei")]);
        assert_eq!((ended[0].since_unix_ms, ended[0].unix_ms), (5_000, 9_000));
        assert_eq!(ended[0].id, "alert-9000-2");
        assert_eq!(book.update(vec![], 9_000), None);
    }

    #[test]
    fn the_same_code_on_two_subjects_is_two_conditions() {
        let mut book = AlertBook::default();
        let of = |host: &str| {
            Condition::critical(
                AlertCode::EndpointWrongChain,
                Subject::Endpoint(host.to_owned()),
                "x",
            )
        };
        let both = news(&mut book, vec![of("a"), of("b"), of("a")], 1);
        assert_eq!(both.len(), 2);
        let ended = news(&mut book, vec![of("b")], 2);
        assert_eq!(ended.len(), 1);
        assert_eq!(ended[0].subject, Subject::Endpoint("a".to_owned()));
    }

    proptest! {
        /// Whatever comes and goes, each condition is told firing and resolved in turn, and what is listed is what holds.
        #[test]
        fn begins_and_ends_alternate(steps in proptest::collection::vec(
            proptest::collection::btree_set(0..4u64, 0..4), 1..30,
        )) {
            let mut book = AlertBook::default();
            let mut is_firing = [false; 4];
            let mut listed = Vec::new();
            for step in steps {
                let holding = step.iter().map(|round_id| {
                    Condition::warning(AlertCode::DrawOverdue, Subject::Round(*round_id), "late")
                });
                if let Some(change) = book.update(holding.collect(), 7) {
                    for alert in change.news {
                        let round_id = alert.round_id().unwrap() as usize;
                        prop_assert_eq!(is_firing[round_id], alert.state == AlertState::Resolved);
                        is_firing[round_id] = alert.state == AlertState::Firing;
                    }
                    listed = change.firing.iter().filter_map(|alert| alert.round_id()).collect();
                }
                prop_assert_eq!(&listed, &step.into_iter().collect::<Vec<_>>());
            }
        }
    }
}
