//! What the end of an action means: it is counted and told, and whether it may be tried again is remembered.

use std::time::Instant;

use crate::actors::operator::flight::Landed;
use crate::actors::operator::moment::Moment;
use crate::actors::operator::starting::{NOT_YET_RETRY, STANDING_RETRY};
use crate::actors::operator::Operator;
use crate::actors::sender::RevertCause;
use crate::chain::types::{Address, U256};
use crate::lottery::action::{ActionKind, ActionState};
use crate::lottery::alert::{AlertCode, Severity};
use crate::lottery::decision::Failures;
use crate::lottery::lateness::LateReason;
use crate::lottery::payable::Found;
use crate::lottery::proof::{self, Inputs, NumberSource, RandomnessSource};
use crate::lottery::round::RoundState;
use crate::lottery::send_state::Included;

impl Operator {
    /// Takes down what was mined, in the flight's record and in the accounts; the action that it was.
    fn note_mined(
        &mut self,
        included: &Included,
        outcome: &str,
        now: Instant,
    ) -> Option<ActionKind> {
        let flight = self.flight.as_mut()?;
        let kind = flight
            .state
            .kind_of(&included.hash)
            .unwrap_or(flight.record.kind);
        flight.record.kind = kind;
        flight.record.block_number = Some(included.block_number);
        flight.record.gas_used = Some(included.gas_used);
        if let Some(sender) = &mut self.sender {
            sender.note_mined(flight.state.nonce);
        }
        let cost_wei = included.cost.wei;
        self.spending.note_spent(included.hash, cost_wei, now);
        self.reporter.count_mined(kind, outcome, cost_wei);
        Some(kind)
    }

    pub(super) fn done(&mut self, included: Included, moment: &Moment) {
        let Some(kind) = self.note_mined(&included, "done", moment.now) else {
            return;
        };
        let Some(flight) = self.end_flight(ActionState::Done, None) else {
            return;
        };
        log::info!(
            "done in block {} ({} gas) round={} action={} nonce={} hash={:#x}",
            included.block_number,
            included.gas_used,
            flight.record.round_id,
            kind.label(),
            flight.state.nonce,
            included.hash
        );
        match kind {
            ActionKind::Draw => self.round.draw_failures = Failures::default(),
            ActionKind::RefundExpired | ActionKind::RefundForced => {
                self.round.refund_failures = Failures::default();
            }
            ActionKind::Extend { .. } | ActionKind::Cancel => {}
        }
        // Until the store has the block that ended the round, the same action must not be thought due again.
        self.round
            .rule_out(moment.head, kind, moment.now + STANDING_RETRY);
        self.reporter.alerts.clear(AlertCode::ActionFailed);
        let ends_round = matches!(
            kind,
            ActionKind::Draw | ActionKind::RefundExpired | ActionKind::RefundForced
        );
        if ends_round {
            self.landed = Some(Landed { flight, included });
        }
    }

    /// Mined and reverted. What the contract said is asked before anyone is accused.
    pub(super) fn reverted(&mut self, included: Included, moment: &Moment) {
        let Some(kind) = self.note_mined(&included, "reverted", moment.now) else {
            return;
        };
        let (Some(flight), Some(sender)) = (&self.flight, &self.sender) else {
            return;
        };
        let round = &moment.round;
        let still_running =
            round.round_id == flight.record.round_id && round.state == RoundState::Betting;
        let variant = flight.state.find(&included.hash);
        let cause = match still_running {
            true => sender.revert_cause(kind, &included, variant, round),
            false => RevertCause::RoundOver,
        };
        let text = format!(
            "{} of round {} reverted in block {} ({} gas, {:#x}): {cause}",
            kind.label(),
            flight.record.round_id,
            included.block_number,
            included.gas_used,
            included.hash
        );
        let again_in = match cause {
            RevertCause::Timing(_) => NOT_YET_RETRY,
            _ => STANDING_RETRY,
        };
        let again_at = moment.now + again_in;
        if kind == ActionKind::Draw && cause != RevertCause::RoundOver {
            self.hold_up(match cause {
                RevertCause::Unnamed { .. } => LateReason::UnpayablePlayer,
                _ => LateReason::Reverted,
            });
        }
        match cause {
            // The next one has gas for them all.
            RevertCause::Outgrown { .. } => log::warn!("{text}"),
            RevertCause::RoundOver | RevertCause::Timing(_) => {
                log::warn!("{text}");
                self.round.rule_out(moment.head, kind, again_at);
            }
            RevertCause::Unnamed { .. } if kind == ActionKind::Draw => {
                self.draw_reverted_unnamed(&included, cause, &text, moment);
            }
            _ => {
                self.note_failure(kind, moment.now, &text);
                self.round.rule_out(moment.head, kind, again_at);
            }
        }
        self.end_flight(ActionState::Failed, Some(text));
    }

    /// The prize could not be paid in that block, most likely; another block picks another winner, so it is no failure of
    /// ours. Only who was drawn and takes nothing is named.
    fn draw_reverted_unnamed(
        &mut self,
        included: &Included,
        cause: RevertCause,
        text: &str,
        moment: &Moment,
    ) {
        log::warn!("{text}; another block may pick another winner");
        let cost_wei = included.cost.wei;
        self.round.unpayable_wei = self.round.unpayable_wei.saturating_add(cost_wei);
        self.round.unpayable_draws += 1;
        let Some(sender) = &self.sender else { return };
        if let Some((player, prize_wei)) = self.drawn_in(included, moment) {
            let is_empty = cause == RevertCause::Unnamed { is_empty: true };
            let probed = sender.probe(vec![(player, prize_wei)], moment.head);
            let found = probed.first().map_or(Found::Unknown, |(_, found)| *found);
            let found = match found {
                Found::Unknown if is_empty => Found::Unpayable,
                found => found,
            };
            self.round.payability.note(player, found, moment.now);
        }
        self.tell_of_unpayable(moment);
    }

    /// Whom a draw in that block picked, as the contract computes it, and the pot, of which the prize is nearly all.
    fn drawn_in(&self, included: &Included, moment: &Moment) -> Option<(Address, U256)> {
        let sender = self.sender.as_ref()?;
        let seen = sender.opcodes(included.block_number, included.block_hash)?;
        let (snapshot, round) = (&moment.snapshot, &moment.round);
        if snapshot.participants.total_amount_wei() != round.total_pot_wei {
            return None;
        }
        let seed = Inputs {
            timestamp: seen.timestamp,
            prevrandao: seen.prevrandao,
            prevrandao_source: RandomnessSource::Opcode,
            number: seen.number,
            number_source: NumberSource::Opcode,
        }
        .seed(round.round_id, round.total_pot_wei);
        let totals = snapshot
            .participants
            .in_bet_order()
            .map(|participant| (participant.address, participant.total_amount_wei));
        let player = proof::winner_among(seed, round.total_pot_wei, totals)?;
        Some((player, round.total_pot_wei))
    }

    pub(super) fn note_failure(&mut self, kind: ActionKind, now: Instant, text: &str) {
        let failures = match kind {
            ActionKind::Draw => &mut self.round.draw_failures,
            _ => &mut self.round.refund_failures,
        };
        failures.count += 1;
        failures.last_at = Some(now);
        log::error!("{text}");
        self.reporter.alert(
            AlertCode::ActionFailed,
            Severity::Critical,
            self.round.round_id,
            text.to_owned(),
        );
    }
}
