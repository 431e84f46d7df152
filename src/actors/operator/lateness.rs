//! What holds up the running round's draw once it is due: kept for the draw's row in the history, should it come late.

use crate::actors::operator::moment::Moment;
use crate::actors::operator::Operator;
use crate::actors::sender::NotSigned;
use crate::lottery::action::ActionKind;
use crate::lottery::alert::AlertCode;
use crate::lottery::contract::RevertMeaning;
use crate::lottery::decision::Why;
use crate::lottery::lateness::LateReason;
use crate::lottery::round::{Round, RoundState};

impl Operator {
    /// At the first look at a round, after one at round `before`; 0 is none.
    pub(super) fn enter_lateness(&mut self, before: u64, moment: &Moment) {
        let round = &moment.round;
        let is_due = is_betting(round) && moment.head.timestamp >= round.min_draw_time;
        self.round.held_up_by = match before {
            0 if is_due => Some(LateReason::StartedLate),
            _ if before > round.round_id => Some(LateReason::Reorg),
            _ => None,
        };
    }

    /// Whether a block that allowed the draw has come without it, or none can be heard of.
    pub(super) fn watch_lateness(&mut self, moment: &Moment) {
        let round = &moment.round;
        if !is_betting(round) {
            return;
        }
        let is_reachable = moment.snapshot.connection.reachable;
        if !is_reachable && moment.carried_time() >= round.min_draw_time {
            self.hold_up(LateReason::NoAnswer);
        }
        if moment.head.timestamp < round.min_draw_time {
            return;
        }
        let flight = self.flight.as_ref().map(|flight| &flight.record);
        let is_out = flight.is_some_and(|record| record.round_id == round.round_id);
        match is_out {
            true if self.reporter.alerts.is_raised(AlertCode::FeeCapped) => {
                self.hold_up(LateReason::FeeCapped);
            }
            true => self.hold_up(LateReason::NotMined),
            false if !self.settings.automatic => self.hold_up(LateReason::SwitchedOff),
            false if self.round.held_up_by.is_none() => self.hold_up(LateReason::Unforeseen),
            false => {}
        }
    }

    /// The gravest reason is kept.
    pub(super) fn hold_up(&mut self, reason: LateReason) {
        self.round.held_up_by = self.round.held_up_by.max(Some(reason));
    }

    /// Nothing is done at this moment, where something may be due.
    pub(super) fn wait_lateness(&mut self, why: Why, moment: &Moment) {
        if moment.next_block_time < moment.round.min_draw_time {
            return;
        }
        match why {
            Why::Standby => self.hold_up(LateReason::StandingBy),
            Why::NobodyPayable => self.hold_up(LateReason::UnpayablePlayer),
            Why::Unanswered => self.hold_up(LateReason::NoAnswer),
            _ => {}
        }
    }

    /// A draw that is due was not signed.
    pub(super) fn refusal_lateness(&mut self, kind: ActionKind, why: &NotSigned) {
        let reason = match why {
            NotSigned::Unreachable(_) => LateReason::NoAnswer,
            NotSigned::Reverts { meaning, .. } => match meaning {
                RevertMeaning::NotYet => return,
                RevertMeaning::Unpayable => LateReason::UnpayablePlayer,
                _ => LateReason::Reverted,
            },
            NotSigned::InsufficientFunds { .. } => LateReason::LowBalance,
            NotSigned::RoundTooCostly { .. } => LateReason::FeeCapped,
            NotSigned::Signer(_) => LateReason::SignerFailed,
            NotSigned::TwinPending { .. } => LateReason::NotMined,
            NotSigned::TooMuchGas { .. } | NotSigned::OutsideWindow { .. } => return,
        };
        if kind == ActionKind::Draw {
            self.hold_up(reason);
        }
    }
}

/// A round that has a draw to come.
fn is_betting(round: &Round) -> bool {
    round.state == RoundState::Betting && !round.total_pot_wei.is_zero()
}
