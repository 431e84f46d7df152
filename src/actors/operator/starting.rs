//! From a decision or a command to a transaction in flight: prepared, signed, noted as being out, and only then sent.

use std::time::Duration;

use crate::actors::operator::flight::Flight;
use crate::actors::operator::moment::Moment;
use crate::actors::operator::reporter::describe_action;
use crate::actors::operator::Operator;
use crate::actors::sender::{Attempt, Check, Order, Prepared};
use crate::base::thread::panic_point;
use crate::lottery::action::{ActionKind, ActionRecord, ActionState};
use crate::lottery::alert::Severity;
use crate::lottery::contract::RevertMeaning;
use crate::lottery::decision::Unanswered;
use crate::lottery::operator_status::Rehearsal;
use crate::lottery::round::RoundState;

/// The rehearsal is held this long before the window opens.
const REHEARSAL_BEFORE_SECS: u64 = 60;
/// When no endpoint answered, the next try comes this much later.
const UNANSWERED_RETRY: Duration = Duration::from_millis(500);
/// A pending transaction of this key that does the same may take this long before it is outbid.
const TWIN_PATIENCE_BLOCKS: u64 = 6;

impl Operator {
    pub(super) fn begin(&mut self, kind: ActionKind, check: Check, moment: &Moment) {
        let round_id = moment.round.round_id;
        self.reporter
            .say_phase(round_id, describe_action(kind, &moment.round));
        self.automatic_actions += 1;
        let id = format!("auto-{round_id}-{}", self.automatic_actions);
        let record = self.reporter.new_record(id, kind, round_id, false);
        self.start(record, check, moment);
    }

    /// Prepares and signs the first transaction of an action; it is in flight before anyone is told of it.
    pub(super) fn start(&mut self, mut record: ActionRecord, check: Check, moment: &Moment) {
        record.state = ActionState::Preparing;
        self.reporter.publish_record(&mut record);
        let Some(sender) = &mut self.sender else {
            return;
        };
        if record.kind == ActionKind::Draw {
            self.reporter.status.last_draw_attempt_unix_ms = Some(self.reporter.clock.unix_ms());
        }
        let twin_until = self
            .round
            .twin_since
            .map(|since| since + TWIN_PATIENCE_BLOCKS);
        let max_wei = self.settings.max_tx_fee_wei;
        let order = Order {
            kind: record.kind,
            round: &moment.round,
            head: moment.head,
            next_block_time: moment.next_block_time,
            check,
            spend_max_wei: match record.kind {
                ActionKind::Draw => max_wei.saturating_sub(self.round.unpayable_wei),
                _ => max_wei,
            },
            outbid_twin: record.manual
                || twin_until.is_some_and(|until| moment.head.number >= until),
        };
        let prepared = sender.prepare(&order, moment.now);
        let balance_wei = sender.balance_wei();
        self.reporter.status.balance_wei = balance_wei.or(self.reporter.status.balance_wei);
        let Prepared { state, notes } = match prepared {
            Ok(prepared) => prepared,
            Err(attempt) => return self.not_started(record, attempt, moment),
        };
        self.round.unanswered = None;
        self.round.unchecked_spent |= check != Check::Called;
        let round_id = moment.round.round_id;
        for note in notes {
            self.reporter
                .alert(note.code, note.severity, round_id, note.message);
        }
        if matches!(record.kind, ActionKind::Extend { .. }) {
            self.spending.note_extension(moment.now);
        }
        self.flight = Some(Flight::new(state, record, moment));
        panic_point("operator-signed");
        self.broadcast(moment);
    }

    /// Nothing was signed: say why, and at which head not to try again.
    fn not_started(&mut self, mut record: ActionRecord, attempt: Attempt, moment: &Moment) {
        let (round_id, kind) = (record.round_id, record.kind);
        let text = attempt.to_string();
        let told = format!("{} of round {round_id}: {text}", kind.label());
        if !record.manual {
            self.round.ruled_out = Some((moment.head.hash, kind));
            self.round.unanswered = None;
        }
        let mut alert = |code| {
            self.reporter
                .alert(code, Severity::Critical, round_id, text.clone());
        };
        match &attempt {
            Attempt::Reverts { meaning, .. } => match meaning {
                RevertMeaning::NotYet => log::debug!("{told}"),
                RevertMeaning::Hopeless => alert("action_blocked"),
                RevertMeaning::Unpayable => alert("unpayable_player"),
                _ => log::warn!("{told}"),
            },
            Attempt::Unreachable(_) => {
                // The chain did not answer: this says nothing about the head, so the next wake tries again.
                self.round.ruled_out = None;
                self.round.pending_time = None;
                self.note_unanswered();
                log::warn!("{told}");
            }
            Attempt::TwinPending { .. } => {
                self.round.twin_since.get_or_insert(moment.head.number);
                log::warn!("{told}: it is given time");
            }
            Attempt::OutsideWindow { .. } => log::warn!("{told}"),
            Attempt::TooMuchGas { .. }
            | Attempt::InsufficientFunds { .. }
            | Attempt::RoundTooCostly { .. } => alert("action_blocked"),
        }
        self.reporter
            .end_record(&mut record, ActionState::Failed, Some(text));
    }

    pub(super) fn note_unanswered(&mut self) {
        let now = self.reporter.clock.now();
        self.round.unanswered = Some(Unanswered {
            last_at: now,
            again_at: now + UNANSWERED_RETRY,
        });
    }

    /// Shortly before the window: everything a draw will need, looked at once.
    pub(super) fn rehearse_when_due(&mut self, moment: &Moment) {
        let (round, chain_time) = (&moment.round, moment.carried_time());
        let due = round.state == RoundState::Betting
            && !round.total_pot_wei.is_zero()
            && chain_time.saturating_add(REHEARSAL_BEFORE_SECS) >= round.min_draw_time
            && chain_time < round.min_draw_time;
        if !due || self.round.rehearsed {
            return;
        }
        let Some(sender) = &mut self.sender else {
            return;
        };
        self.round.rehearsed = true;
        let problems = sender.rehearse(&moment.snapshot, round);
        let balance_wei = sender.balance_wei();
        let status = &mut self.reporter.status;
        status.balance_wei = balance_wei.or(status.balance_wei);
        for problem in &problems {
            self.reporter.alert(
                "rehearsal",
                Severity::Warning,
                round.round_id,
                problem.clone(),
            );
        }
        self.reporter.status.rehearsal = Some(Rehearsal {
            round_id: round.round_id,
            unix_ms: self.reporter.clock.unix_ms(),
            ready: problems.is_empty(),
            problems,
        });
    }
}
