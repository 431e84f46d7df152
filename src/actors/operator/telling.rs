//! What the operator tells: its phase, its alerts, and the record of each action.

use std::sync::Arc;

use crate::actors::operator::{Flight, Operator, EXTENSIONS_PER_DAY_MAX};
use crate::lottery::action::{ActionKind, ActionRecord, ActionState, InFlight};
use crate::lottery::alert::Severity;
use crate::lottery::decision::{Trouble, Why};
use crate::lottery::operator_status::OperatorStatus;
use crate::lottery::round::Round;
use crate::lottery::state::Update;

impl Operator {
    pub(super) fn blocked(&mut self, trouble: Trouble, round: &Round) {
        let (code, text) = match trouble {
            Trouble::DeadEmptyRound => (
                "dead_empty_round",
                format!(
                    "round {} ended without a bet: the contract accepts nothing any more",
                    round.round_id
                ),
            ),
            Trouble::TooManyExtensions => (
                "too_many_extensions",
                format!(
                    "round {} is empty and was extended {EXTENSIONS_PER_DAY_MAX} times in a day",
                    round.round_id
                ),
            ),
        };
        self.say_phase(text.clone(), false);
        self.alerts
            .raise(code, Severity::Critical, Some(round.round_id), text);
    }

    pub(super) fn say_phase(&mut self, phase: String, given_up: bool) {
        if given_up {
            let text = format!("{phase}; a manual draw is still possible");
            self.alerts.raise(
                "draw_given_up",
                Severity::Critical,
                Some(self.round.round_id),
                text,
            );
        }
        if self.status.phase != phase {
            // The seconds to go change at every look; the phase's name is what is worth a line.
            let same_kind = phase.split('(').next() == self.status.phase.split('(').next();
            if !same_kind {
                log::info!("round {}: {phase}", self.round.round_id);
            }
            if !same_kind || !phase.starts_with("waiting for draw window") {
                self.status.phase = phase;
            }
        }
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

    pub(super) fn end_record(
        &mut self,
        record: &mut ActionRecord,
        state: ActionState,
        error: Option<String>,
    ) {
        record.state = state;
        record.error = error;
        self.publish_record(record);
        self.status.in_flight = None;
    }

    pub(super) fn publish_flight(&mut self, flight: &mut Flight) {
        flight.record.hashes = flight.state.hashes();
        flight.record.attempts = u32::try_from(flight.record.hashes.len()).unwrap_or(u32::MAX);
        self.status.in_flight = Some(InFlight {
            action: flight.record.kind,
            round_id: flight.record.round_id,
            nonce: flight.state.nonce,
            hashes: flight.record.hashes.clone(),
            attempts: flight.record.attempts,
        });
        let mut record = flight.record.clone();
        self.publish_record(&mut record);
    }

    pub(super) fn publish_record(&self, record: &mut ActionRecord) {
        record.updated_unix_ms = self.clock.unix_ms();
        // A closed channel means that the process is ending.
        let _ = self.updates.send(Update::Action(Arc::new(record.clone())));
    }

    pub(super) fn publish_status(&mut self) -> Result<(), String> {
        self.status.alerts = self.alerts.current();
        let quiet = |status: &OperatorStatus| OperatorStatus {
            watchdog_last_check_unix_ms: None,
            last_event_unix_ms: None,
            ..status.clone()
        };
        if quiet(&self.snapshot.load().operator) == quiet(&self.status) {
            return Ok(());
        }
        let status = Arc::new(self.status.clone());
        let update = Update::Operator(status);
        self.updates
            .send(update)
            .map_err(|_| "the store is gone".to_owned())
    }
}

pub(super) fn describe(why: Why, round: &Round) -> String {
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
        Why::RuledOutAtThisHead => "waiting for the next block".to_owned(),
        Why::Unanswered => "no endpoint answers, asking again".to_owned(),
        Why::Standby => "standing by for the first daemon".to_owned(),
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
