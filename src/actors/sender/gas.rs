//! How much gas an action is given: by an estimate, else by what the contract was measured to need; never more than a
//! transaction may use.

use crate::actors::sender::preflight::Gathered;
use crate::actors::sender::{Check, NotSigned, Order, Sender};
use crate::chain::fees::{gas_limit, GasFormula, EIP_7825_GAS_MAX};
use crate::chain::types::U256;
use crate::lottery::action::ActionKind;
use crate::lottery::send_state::{Room, Variant};

/// Measured on the contract, with a margin.
pub(crate) const DRAW_GAS: GasFormula = GasFormula {
    base: 300_000,
    per_participant: 13_000,
};
pub(super) const REFUND_GAS: GasFormula = GasFormula {
    base: 120_000,
    per_participant: 26_000,
};
const EXTEND_GAS: GasFormula = GasFormula {
    base: 100_000,
    per_participant: 0,
};
const CANCEL_GAS: u64 = 21_000;
/// An estimate below such a part of what the action was measured to need is none.
const ESTIMATE_SHARE_MIN: u64 = 4;
/// What is judged while bets are taken has gas for so many players more than are known, where the balance pays it.
const PLAYERS_TO_COME: u64 = 16;

impl Sender {
    /// What the order is given by what one endpoint told.
    pub(super) fn room(&self, order: &Order, told: &Gathered) -> Result<Room, NotSigned> {
        let Order { kind, round, .. } = *order;
        let gas_max = self.gas_max(told.block_gas_limit);
        let known = self.gas(kind, told.estimate, round.participant_count, gas_max)?;
        let most_wei = told
            .balance_wei
            .unwrap_or(U256::MAX)
            .min(order.spend_max_wei);
        let is_paid = |gas| told.prices.least_cost_wei(gas) <= most_wei;
        Ok(match may_grow(order, told.head.timestamp) {
            true => with_newcomers(known, gas_max, is_paid),
            false => known,
        })
    }

    /// What an action is given with that many players; what cannot fit into a transaction is not to be signed at all.
    pub(super) fn gas(
        &self,
        kind: ActionKind,
        estimate: Option<u64>,
        participants: u64,
        gas_max: u64,
    ) -> Result<Room, NotSigned> {
        let formula = gas_formula(kind);
        let players_max = match formula.per_participant {
            0 => u64::MAX,
            _ => participants,
        };
        if kind == ActionKind::Cancel {
            let wanted = estimate.filter(|gas| *gas > CANCEL_GAS);
            let wanted = wanted.map_or(CANCEL_GAS, |gas| gas.saturating_add(gas / 4));
            let gas = wanted.min(gas_max);
            return Ok(Room { gas, players_max });
        }
        let multiplier = self.settings.gas_multiplier;
        let least = formula.gas(participants) / ESTIMATE_SHARE_MIN;
        let fits = |gas: &u64| *gas >= least && *gas <= gas_max;
        // No node can run the action with less, nor a block take in more than it has room for: that is no estimate.
        let estimate = estimate.filter(|gas| fits(gas) || formula.gas(participants) > gas_max);
        match gas_limit(estimate, multiplier, formula, participants, gas_max) {
            Ok(gas) => Ok(Room { gas, players_max }),
            Err(too_much) => Err(NotSigned::TooMuchGas {
                too_much,
                participants_max: formula.participants_max(gas_max),
            }),
        }
    }

    /// What the next variant of an action is given: as much as the one before, where that still suffices.
    pub(super) fn gas_after(
        &self,
        previous: &Variant,
        estimate: Option<u64>,
        participants: u64,
        gas_max: u64,
    ) -> Result<Room, NotSigned> {
        let kind = previous.kind;
        let known = previous.room;
        if known.players_max >= participants && known.gas <= gas_max {
            return Ok(known);
        }
        let anew = self.gas(kind, estimate, participants, gas_max)?;
        let gas = anew.gas.max(grown(known, kind, participants).min(gas_max));
        Ok(Room { gas, ..anew })
    }

    /// The most that a transaction may use.
    pub(super) fn gas_max(&self, block_gas_limit: Option<u64>) -> u64 {
        let block_max = block_gas_limit.unwrap_or(u64::MAX);
        match self.gas_capped {
            true => block_max.min(EIP_7825_GAS_MAX),
            false => block_max,
        }
    }
}

/// Bets may come that the round does not show yet: it is judged ahead, or by a head of before the betting's end, such as a
/// node shows that trails. Neither an estimate nor the players known say enough then.
fn may_grow(order: &Order, head_timestamp: u64) -> bool {
    let is_early = order.check == Check::Ahead || head_timestamp <= order.round.end_time;
    order.kind == ActionKind::Draw && is_early
}

/// Room for newcomers on top of the gas for the players known, as far as it can be had and paid.
fn with_newcomers(known: Room, gas_max: u64, is_paid: impl Fn(u64) -> bool) -> Room {
    let players_max = known.players_max.saturating_add(PLAYERS_TO_COME);
    let wanted = DRAW_GAS.gas(players_max);
    let gas = wanted.min(gas_max);
    match is_paid(gas) {
        true => Room {
            gas: known.gas.max(gas),
            players_max: match gas == wanted {
                true => players_max,
                false => known.players_max,
            },
        },
        false => known,
    }
}

/// What sufficed for fewer players, and what each of those that a reorg has brought into the round may need at most: who
/// tells an estimate may still be on the branch without them.
fn grown(known: Room, kind: ActionKind, participants: u64) -> u64 {
    match participants.saturating_sub(known.players_max) {
        0 => 0,
        newcomers => {
            let theirs = gas_formula(kind).per_participant.saturating_mul(newcomers);
            known.gas.saturating_add(theirs)
        }
    }
}

fn gas_formula(kind: ActionKind) -> GasFormula {
    match kind {
        ActionKind::Draw => DRAW_GAS,
        ActionKind::RefundExpired | ActionKind::RefundForced => REFUND_GAS,
        ActionKind::Extend { .. } => EXTEND_GAS,
        ActionKind::Cancel => GasFormula {
            base: CANCEL_GAS,
            per_participant: 0,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::types::{BlockRef, H256};
    use crate::lottery::decision::PendingTime;
    use crate::lottery::round::Round;

    #[test]
    fn a_round_may_grow_while_bets_are_taken_or_it_is_judged_ahead() {
        let round = Round {
            end_time: 100,
            participant_count: 2,
            ..Round::waiting(7)
        };
        for (kind, check, head_timestamp, expected) in [
            (ActionKind::Draw, Check::Called, 60, true),
            // A second block of the same second may still take a bet.
            (ActionKind::Draw, Check::Called, 100, true),
            (ActionKind::Draw, Check::Called, 101, false),
            (ActionKind::Draw, Check::Ahead, 101, true),
            (ActionKind::RefundForced, Check::Called, 60, false),
        ] {
            let order = Order {
                kind,
                round: &round,
                head: BlockRef {
                    number: 1,
                    hash: H256::zero(),
                    parent_hash: H256::zero(),
                    timestamp: head_timestamp,
                },
                next_block_time: head_timestamp,
                pending: PendingTime::Unasked,
                check,
                spend_max_wei: U256::MAX,
                outbid_twin: false,
                over: None,
            };
            let grows = may_grow(&order, head_timestamp);
            assert_eq!(grows, expected, "{kind:?}, {check:?}, {head_timestamp}");
        }
    }

    #[test]
    fn players_whom_a_reorg_brings_have_gas_on_top_of_what_sufficed_without_them() {
        let known = Room {
            gas: 160_000,
            players_max: 1,
        };
        for (kind, participants, expected) in [
            (ActionKind::Draw, 1, 0),
            (ActionKind::Draw, 0, 0),
            (ActionKind::Draw, 2, 173_000),
            (ActionKind::Draw, 10, 277_000),
            (ActionKind::RefundExpired, 10, 394_000),
        ] {
            let gas = grown(known, kind, participants);
            assert_eq!(gas, expected, "{kind:?} with {participants}");
        }
    }

    #[test]
    fn newcomers_have_room_as_far_as_it_can_be_had_and_paid() {
        let known = Room {
            gas: 250_000,
            players_max: 2,
        };
        let ample = Room {
            gas: 300_000 + 18 * 13_000,
            players_max: 18,
        };
        let clamped = Room {
            gas: 400_000,
            players_max: 2,
        };
        for (gas_max, paid_max, expected) in [
            (30_000_000, u64::MAX, ample),
            (400_000, u64::MAX, clamped),
            (30_000_000, ample.gas, ample),
            (30_000_000, ample.gas - 1, known),
        ] {
            let room = with_newcomers(known, gas_max, |gas| gas <= paid_max);
            assert_eq!(room, expected, "{gas_max}, {paid_max}");
        }
        let more = Room {
            gas: 900_000,
            players_max: 2,
        };
        let room = with_newcomers(more, 30_000_000, |_| true);
        assert_eq!((room.gas, room.players_max), (900_000, 18));
    }
}
