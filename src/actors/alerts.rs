//! Tells of conditions that begin and end: to the store, and with it to the API, the feed and the webhook; to the log; and
//! in a metric. What the snapshot shows is watched by `watcher`; what only the operator knows is raised and cleared here.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::actors::memory_store::UpdateSender;
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::lottery::alert::{
    Alert, AlertBook, AlertCode, AlertState, Condition, Severity, Subject,
};
use crate::lottery::state::Update;

pub struct Alerts {
    updates: UpdateSender,
    clock: Clock,
    metrics: Metrics,
    book: AlertBook,
}

/// Conditions that the operator raised and has not cleared.
#[derive(Default)]
pub struct Raised(BTreeMap<(AlertCode, Subject), Condition>);

impl Raised {
    /// Holds from now on, until it is cleared; new words replace the old.
    pub(crate) fn raise(&mut self, condition: Condition) {
        let key = (condition.code, condition.subject.clone());
        self.0.insert(key, condition);
    }

    pub fn clear(&mut self, code: AlertCode) {
        self.0.retain(|(known, _), _| *known != code);
    }

    pub(crate) fn clear_of(&mut self, code: AlertCode, subject: &Subject) {
        self.0.remove(&(code, subject.clone()));
    }

    /// Whether it was raised, of whatever subject, and not cleared since.
    pub(crate) fn is_raised(&self, code: AlertCode) -> bool {
        self.0.keys().any(|(known, _)| *known == code)
    }

    /// Raised where there is a message, else cleared.
    pub fn set(
        &mut self,
        code: AlertCode,
        subject: Subject,
        severity: Severity,
        message: Option<String>,
    ) {
        match message {
            Some(message) => self.raise(Condition::new(code, subject, severity, message)),
            None => self.clear_of(code, &subject),
        }
    }

    /// The round is over, or was never begun: what was wrong with it, and with its players, has ended with it.
    pub(crate) fn leave_round(&mut self) {
        let outlives =
            |subject: &Subject| !matches!(subject, Subject::Round(_) | Subject::Player(_));
        self.0.retain(|(_, subject), _| outlives(subject));
    }

    pub(crate) fn conditions(&self) -> Vec<Condition> {
        self.0.values().cloned().collect()
    }
}

impl Alerts {
    pub fn new(updates: UpdateSender, clock: Clock, metrics: Metrics) -> Alerts {
        let alerts = Alerts {
            updates,
            clock,
            metrics,
            book: AlertBook::default(),
        };
        // That none fires is told as well: whoever watches sees the difference to no answer at all.
        alerts.count(&[]);
        alerts
    }

    /// Tells what has begun, what has ended and what has other words, by what holds now.
    pub fn tell(&mut self, holding: Vec<Condition>) {
        let Some(change) = self.book.update(holding, self.clock.unix_ms()) else {
            return;
        };
        for alert in &change.news {
            log_of(alert);
        }
        self.count(&change.firing);
        // A closed channel means that the process is ending.
        let _ = self.updates.send(Update::Alerts(change));
    }

    fn count(&self, firing: &[Arc<Alert>]) {
        for code in AlertCode::ALL {
            let count = firing.iter().filter(|alert| alert.code == *code).count();
            self.metrics.set(
                "lottery_alerts_firing",
                "Conditions that hold now, by code.",
                &[("code", code.label())],
                count as f64,
            );
        }
    }
}

fn log_of(alert: &Alert) {
    let Alert { code, message, .. } = alert;
    match alert.state {
        AlertState::Firing => log::warn!("alert {}: {message}", code.label()),
        AlertState::Resolved => log::info!("alert {} has ended: {message}", code.label()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lottery::alert::AlertChange;

    #[test]
    fn what_is_raised_and_what_is_watched_is_told_once_each_and_counted() {
        let (updates, told) = crossbeam_channel::bounded(16);
        let metrics = Metrics::default();
        let mut alerts = Alerts::new(updates, Clock::manual(5_000), metrics.clone());
        let mut raised = Raised::default();
        assert_eq!(
            metrics.families()["lottery_alerts_firing"].series.len(),
            AlertCode::ALL.len()
        );
        let late = || Condition::critical(AlertCode::DrawOverdue, Subject::Round(7), "late");
        let player = Subject::Player(Default::default());
        raised.set(
            AlertCode::LowBalance,
            Subject::None,
            Severity::Warning,
            Some("1 wei".to_owned()),
        );
        raised.raise(Condition::critical(
            AlertCode::UnpayablePlayer,
            player,
            "takes nothing",
        ));
        raised.raise(Condition::critical(
            AlertCode::ActionFailed,
            Subject::Round(7),
            "reverted",
        ));
        alerts.tell([vec![late()], raised.conditions()].concat());
        raised.set(
            AlertCode::LowBalance,
            Subject::None,
            Severity::Warning,
            Some("2 wei".to_owned()),
        );
        alerts.tell([vec![late()], raised.conditions()].concat());
        raised.leave_round();
        alerts.tell(raised.conditions());
        let changes = told.try_iter().map(|update| match update {
            Update::Alerts(change) => change,
            other => panic!("{other:?}"),
        });
        let changes: Vec<AlertChange> = changes.collect();
        let news = changes.iter().flat_map(|change| &change.news);
        let told = news.map(|alert| (alert.code.label(), alert.state.label()));
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                ("draw_overdue", "firing"),
                ("action_failed", "firing"),
                ("low_balance", "firing"),
                ("unpayable_player", "firing"),
                ("action_failed", "resolved"),
                ("draw_overdue", "resolved"),
                ("unpayable_player", "resolved"),
            ]
        );
        // The second change is of words alone, and listed at once.
        let listed = |change: &AlertChange| {
            let low = |alert: &&Arc<Alert>| alert.code == AlertCode::LowBalance;
            let found = change.firing.iter().find(low).expect("it is listed");
            (change.firing.len(), found.message.clone())
        };
        let words = |size, words: &str| (size, words.to_owned());
        let expected = [words(4, "1 wei"), words(4, "2 wei"), words(1, "2 wei")];
        assert_eq!(changes.iter().map(listed).collect::<Vec<_>>(), expected);
        let families = metrics.families();
        let shown = format!("{:?}", families["lottery_alerts_firing"]);
        assert!(shown.contains("low_balance"), "{shown}");
    }
}
