//! What the end of an action means: it is counted and told, and whether it may be tried again is remembered.

use std::time::Instant;

use crate::actors::operator::flight::Landed;
use crate::actors::operator::moment::Moment;
use crate::actors::operator::Operator;
use crate::chain::types::Address;
use crate::lottery::action::{ActionKind, ActionState};
use crate::lottery::alert::Severity;
use crate::lottery::decision::Failures;
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
        let cost_wei = included.cost_wei();
        self.spending.note_spent(cost_wei, now);
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
            "{} of round {} done in block {} ({} gas, {:#x})",
            kind.label(),
            flight.record.round_id,
            included.block_number,
            included.gas_used,
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
        self.round.ruled_out = Some((moment.head.hash, kind));
        self.reporter.alerts.clear("action_failed");
        self.reporter.alerts.clear("action_blocked");
        let ends_round = matches!(
            kind,
            ActionKind::Draw | ActionKind::RefundExpired | ActionKind::RefundForced
        );
        if ends_round {
            self.landed = Some(Landed { flight, included });
        }
    }

    pub(super) fn reverted(&mut self, included: Included, moment: &Moment) {
        let Some(kind) = self.note_mined(&included, "reverted", moment.now) else {
            return;
        };
        let Some(flight) = &self.flight else { return };
        let round = &moment.round;
        let out_of_gas = flight
            .state
            .gas_limit_of(&included.hash)
            .is_some_and(|limit| included.gas_used >= limit);
        let still_running =
            round.round_id == flight.record.round_id && round.state == RoundState::Betting;
        let text = format!(
            "{} of round {} reverted in block {} ({} gas{}, {:#x})",
            kind.label(),
            flight.record.round_id,
            included.block_number,
            included.gas_used,
            if out_of_gas { ", all there was" } else { "" },
            included.hash
        );
        if kind == ActionKind::Draw && still_running && !out_of_gas {
            // The prize could not be paid in that block; another block picks another winner. No failure of ours.
            let who = match self.drawn_in(&included, moment) {
                Some(player) => format!("{player:#x} was drawn and cannot be paid"),
                None => "a player cannot be paid".to_owned(),
            };
            let told = format!("{text}: {who}; another block may pick another winner");
            log::warn!("{told}");
            self.reporter
                .alert("unpayable_player", Severity::Critical, round.round_id, told);
            let cost_wei = included.cost_wei();
            self.round.unpayable_wei = self.round.unpayable_wei.saturating_add(cost_wei);
        } else if still_running {
            self.note_failure(kind, moment.now, &text);
            self.round.ruled_out = Some((moment.head.hash, kind));
        } else {
            log::warn!("{text}: the round is over");
        }
        self.end_flight(ActionState::Failed, Some(text));
    }

    /// Whom a draw in that block picked, as the contract computes it.
    fn drawn_in(&self, included: &Included, moment: &Moment) -> Option<Address> {
        let header = self.sender.as_ref()?.block(included.block_hash)?;
        let (snapshot, round) = (&moment.snapshot, &moment.round);
        if snapshot.participants.total_amount_wei() != round.total_pot_wei {
            return None;
        }
        let seed = Inputs {
            timestamp: header.timestamp,
            prevrandao: header.mix_hash?,
            prevrandao_source: RandomnessSource::MixHash,
            number: header.number,
            number_source: NumberSource::Number,
        }
        .seed(round.round_id, round.total_pot_wei);
        let totals = snapshot
            .participants
            .in_bet_order()
            .map(|participant| (participant.address, participant.total_amount_wei));
        proof::winner_among(seed, round.total_pot_wei, totals)
    }

    pub(super) fn note_failure(&mut self, kind: ActionKind, now: Instant, text: &str) {
        let failures = match kind {
            ActionKind::Draw => &mut self.round.draw_failures,
            _ => &mut self.round.refund_failures,
        };
        failures.count += 1;
        failures.last_at = Some(now);
        self.reporter.status.consecutive_draw_failures = self.round.draw_failures.count;
        log::error!("{text}");
        self.reporter.alert(
            "action_failed",
            Severity::Critical,
            self.round.round_id,
            text.to_owned(),
        );
    }
}
