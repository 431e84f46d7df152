//! The conditions that the operator's owner should know of: each is told once when it begins, and listed while it holds.

use std::sync::Arc;

use crate::actors::memory_store::UpdateSender;
use crate::base::clock::Clock;
use crate::lottery::alert::{Alert, Severity};
use crate::lottery::state::Update;

/// Conditions of a round end with it; there are few codes, so few can hold at once.
pub struct Alerts {
    updates: UpdateSender,
    clock: Clock,
    count: u64,
    current: Vec<Arc<Alert>>,
}

impl Alerts {
    pub fn new(updates: UpdateSender, clock: Clock) -> Alerts {
        Alerts {
            updates,
            clock,
            count: 0,
            current: Vec::new(),
        }
    }

    /// Tells of the condition unless it holds already in the same words; new words replace the old.
    pub fn raise(
        &mut self,
        code: &'static str,
        severity: Severity,
        round_id: Option<u64>,
        message: String,
    ) {
        let known = |alert: &Arc<Alert>| alert.code == code && alert.message == message;
        if self.current.iter().any(known) {
            return;
        }
        self.current.retain(|alert| alert.code != code);
        self.count += 1;
        let unix_ms = self.clock.unix_ms();
        let id = format!("alert-{unix_ms}-{}", self.count);
        log::warn!("alert {code}: {message}");
        let alert = Arc::new(Alert {
            id,
            code,
            severity,
            message,
            round_id,
            unix_ms,
        });
        self.current.push(alert.clone());
        // A closed channel means that the process is ending.
        let _ = self.updates.send(Update::Alert(alert));
    }

    pub fn clear(&mut self, code: &str) {
        self.current.retain(|alert| alert.code != code);
    }

    /// The round is over, and with it all that was wrong with it.
    pub fn clear_round(&mut self) {
        self.current.retain(|alert| alert.round_id.is_none());
    }

    pub fn current(&self) -> Vec<Arc<Alert>> {
        self.current.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_told_once_and_again_when_its_words_change() {
        let (updates, told) = crossbeam_channel::bounded(16);
        let mut alerts = Alerts::new(updates, Clock::manual(5_000));
        for message in ["a", "a", "b", "b"] {
            alerts.raise("x", Severity::Warning, Some(1), message.to_owned());
        }
        alerts.raise("y", Severity::Critical, None, "c".to_owned());
        let ids: Vec<String> = told
            .try_iter()
            .map(|update| match update {
                Update::Alert(alert) => alert.id.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(ids, ["alert-5000-1", "alert-5000-2", "alert-5000-3"]);
        assert_eq!(alerts.current().len(), 2);
        alerts.clear_round();
        assert_eq!(
            alerts
                .current()
                .iter()
                .map(|alert| alert.code)
                .collect::<Vec<_>>(),
            ["y"]
        );
        alerts.clear("y");
        assert!(alerts.current().is_empty());
    }
}
