//! What the operator tells: its phase, its alerts, the record of each action, and its metrics. What is in flight is not
//! kept here but handed in whenever the status is published.

use std::sync::Arc;

use crate::actors::alerts::Raised;
use crate::actors::memory_store::UpdateSender;
use crate::actors::messages::SharedSnapshot;
use crate::actors::operator::memory::RoundMemory;
use crate::actors::watcher::Watcher;
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::chain::types::U256;
use crate::lottery::action::{ActionKind, ActionRecord, ActionState, InFlight};
use crate::lottery::alert::{AlertCode, Condition, Severity, Subject};
use crate::lottery::decision::Why;
use crate::lottery::operator_status::OperatorStatus;
use crate::lottery::round::Round;
use crate::lottery::state::Update;

pub(super) struct Reporter {
    pub(super) updates: UpdateSender,
    pub(super) snapshot: SharedSnapshot,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    pub(super) alerts: Raised,
    pub(super) watcher: Watcher,
    pub(super) status: OperatorStatus,
}

impl Reporter {
    /// Changes the phase. A line is logged when more of it has changed than what stands in brackets.
    pub(super) fn say_phase(&mut self, round_id: u64, phase: String) {
        if self.status.phase == phase {
            return;
        }
        let same_kind = phase.split('(').next() == self.status.phase.split('(').next();
        if !same_kind {
            log::info!("{phase} round={round_id}");
        }
        // The seconds to go change at every look: who looks at the status can subtract.
        if !same_kind || !phase.starts_with("waiting for draw window") {
            self.status.phase = phase;
        }
    }

    /// Of the running round.
    pub(super) fn alert(
        &mut self,
        code: AlertCode,
        severity: Severity,
        round_id: u64,
        message: String,
    ) {
        let subject = Subject::Round(round_id);
        self.alerts
            .raise(Condition::new(code, subject, severity, message));
    }

    pub(super) fn new_record(
        &self,
        id: String,
        kind: ActionKind,
        round_id: u64,
        manual: bool,
    ) -> ActionRecord {
        ActionRecord::queued(id, kind, round_id, manual, self.clock.unix_ms())
    }

    /// Tells how the action ended, or that nothing came of it.
    pub(super) fn end_record(
        &self,
        record: &mut ActionRecord,
        state: ActionState,
        error: Option<String>,
    ) {
        record.state = state;
        record.error = error;
        self.publish_record(record);
    }

    /// The same of an action that was sent: what stood in its way ends with it, which may be after its round has.
    pub(super) fn end_sent(
        &mut self,
        record: &mut ActionRecord,
        state: ActionState,
        error: Option<String>,
    ) {
        let subject = Subject::Round(record.round_id);
        self.alerts.clear_of(AlertCode::ActionBlocked, &subject);
        self.alerts.clear_of(AlertCode::SpendLimit, &subject);
        self.end_record(record, state, error);
    }

    pub(super) fn publish_record(&self, record: &mut ActionRecord) {
        record.updated_unix_ms = self.clock.unix_ms();
        // A closed channel means that the process is ending.
        let _ = self.updates.send(Update::Action(Arc::new(record.clone())));
    }

    /// Sends the status where it differs from what the store has.
    ///
    /// # Errors
    /// When the store is gone.
    pub(super) fn publish_status(&mut self, in_flight: Option<InFlight>) -> Result<(), String> {
        self.status.in_flight = in_flight;
        let quiet = |status: &OperatorStatus| OperatorStatus {
            watchdog_last_check_unix_ms: None,
            last_event_unix_ms: None,
            ..status.clone()
        };
        if quiet(&self.snapshot.load().operator.own) == quiet(&self.status) {
            return Ok(());
        }
        let update = Update::Operator(Arc::new(self.status.clone()));
        self.updates
            .send(update)
            .map_err(|_| "the store is gone".to_owned())
    }

    /// A transaction was mined: what it was, how it ended, what it cost.
    pub(super) fn count_mined(&mut self, kind: ActionKind, outcome: &str, cost_wei: U256) {
        let action = ("action", kind.label());
        self.metrics.add(
            "lottery_transactions_total",
            "Transactions by action and outcome.",
            &[action, ("outcome", outcome)],
            1.0,
        );
        let ether = cost_wei.to_string().parse::<f64>().unwrap_or(0.0) / 1e18;
        self.metrics.add(
            "lottery_gas_spent_ether_total",
            "Ether spent on gas.",
            &[action],
            ether,
        );
        if let Some(balance_wei) = &mut self.status.balance_wei {
            *balance_wei = balance_wei.saturating_sub(cost_wei);
        }
    }
}

/// Why nothing is done, in words; what changes at each look stands in brackets.
pub(super) fn describe(why: Why, round: &Round, memory: &RoundMemory) -> String {
    match why {
        Why::NotStarted => "waiting for the first bet".to_owned(),
        Why::Betting => "betting is open".to_owned(),
        Why::BeforeWindow { starts_in_secs } => {
            format!("waiting for draw window (starts in {starts_in_secs}s)")
        }
        Why::WindowClosing => format!(
            "draw window ends at {}, waiting for the next block",
            round.max_draw_time
        ),
        Why::RetryDelay => "waiting before the next attempt".to_owned(),
        Why::RuledOutAtThisHead => match &memory.refusal {
            Some(refusal) => format!(
                "{} refused: {}, trying again at each block (tried {} times)",
                refusal.kind.label(),
                refusal.reason,
                refusal.tries
            ),
            None => "waiting for the next block".to_owned(),
        },
        Why::Unanswered => "no endpoint answers, asking again".to_owned(),
        Why::Standby => "standing by for the first daemon".to_owned(),
        Why::NobodyPayable => {
            "no block can make a draw pass: a player cannot be paid, probing again".to_owned()
        }
        Why::Stuck => match &memory.stuck {
            Some(stuck) => format!("stuck: {} (tried {} times)", stuck.reason, stuck.tries),
            None => "stuck: the refund cannot pass".to_owned(),
        },
        Why::GivenUp => format!(
            "gave up drawing round {} after too many failures",
            round.round_id
        ),
    }
}

pub(super) fn describe_action(kind: ActionKind, round: &Round) -> String {
    match kind {
        ActionKind::Draw => format!(
            "inside draw window [{}, {}], attempting draw",
            round.min_draw_time, round.max_draw_time
        ),
        ActionKind::RefundExpired | ActionKind::RefundForced => {
            format!(
                "draw window expired at {}, attempting refund",
                round.max_draw_time
            )
        }
        ActionKind::Extend { new_end_time } => {
            format!("empty round near its end, extending betting to {new_end_time}")
        }
        ActionKind::Cancel => "taking back a pending transaction".to_owned(),
    }
}
