//! Questions about what has happened or might: why a mined transaction reverted, who can be paid, what an earlier life of
//! the daemon left pending, and what it spent.

use std::fmt;
use std::time::Instant;

use crate::actors::sender::preflight::meaning_of;
use crate::actors::sender::Sender;
use crate::chain::error::{ErrorKind, RpcError};
use crate::chain::method::Method;
use crate::chain::node::Endpoint;
use crate::chain::query;
use crate::chain::together::Ticket;
use crate::chain::tx::{PendingTransaction, Transaction};
use crate::chain::types::{Address, BlockId, BlockRef, CallRequest, Opcodes, Receipt, H256, U256};
use crate::lottery::action::ActionKind;
use crate::lottery::contract::{action_of_calldata, RevertMeaning};
use crate::lottery::payable::Found;
use crate::lottery::round::Round;
use crate::lottery::send_state::{Included, Room, SendState, Variant};

/// What the contract gives the receiver of prize and refunds, on top of what any transfer costs.
const TRANSFER_GAS: u64 = 21_000 + 2_300;

/// Why a mined transaction reverted, as far as it can be told afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RevertCause {
    /// Another transaction had ended the round.
    RoundOver,
    /// Its block came too early or too late.
    Timing(&'static str),
    Named(String),
    OutOfGas,
    /// A reorg has brought more players into the round than its gas was for.
    Outgrown {
        players_max: u64,
    },
    /// Nothing names a reason; `is_empty` where the same call gave an empty revert.
    Unnamed {
        is_empty: bool,
    },
}

impl fmt::Display for RevertCause {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            RevertCause::RoundOver => f.write_str("the round was over"),
            RevertCause::Timing(what) => f.write_str(what),
            RevertCause::Named(reason) => f.write_str(reason),
            RevertCause::OutOfGas => f.write_str("it ran out of gas"),
            RevertCause::Outgrown { players_max } => {
                write!(
                    f,
                    "it had gas for {players_max} players, and more came by a reorg"
                )
            }
            RevertCause::Unnamed { .. } => f.write_str("no reason was given"),
        }
    }
}

impl Sender {
    /// Why the transaction reverted in its block: by that block's time, else by the same call on its parent.
    pub(crate) fn revert_cause(
        &self,
        kind: ActionKind,
        included: &Included,
        variant: Option<&Variant>,
        round: &Round,
    ) -> RevertCause {
        let block = BlockId::Exactly {
            number: included.block_number,
            hash: included.block_hash,
        };
        let ask = |endpoint: &Endpoint| {
            let header = endpoint.header(block)?;
            let timing = timing(kind, header.timestamp, round);
            if timing.is_some() {
                return Ok((timing, None));
            }
            let parent = BlockId::Exactly {
                number: header.number.saturating_sub(1),
                hash: header.parent_hash,
            };
            let overrides = endpoint.block_overrides();
            let time = overrides.call.then_some(header.timestamp);
            Ok((None, Some(endpoint.call(&self.request(kind), parent, time))))
        };
        let (timing, replayed) = match self.endpoints.with_endpoint(&[Method::Call], ask) {
            Ok(found) => found,
            Err(error) => {
                log::debug!("why it reverted cannot be asked: {error}");
                (None, None)
            }
        };
        if let Some(what) = timing {
            return RevertCause::Timing(what);
        }
        let replay = replayed.and_then(Result::err);
        let reason = replay.as_ref().and_then(|error| match &error.kind {
            ErrorKind::Reverted {
                reason: Some(reason),
                ..
            } => Some(reason.clone()),
            _ => None,
        });
        let meaning = replay.as_ref().and_then(meaning_of);
        match reason {
            // The block's own time allows it: a call that could not be given that time complains in vain.
            Some(_) if meaning == Some(RevertMeaning::NotYet) => {}
            Some(reason) => return RevertCause::Named(reason),
            None => {}
        }
        if let Some(variant) = variant.filter(|variant| included.gas_used >= variant.room.gas) {
            let players_max = variant.room.players_max;
            return match players_max < round.participant_count {
                true => RevertCause::Outgrown { players_max },
                false => RevertCause::OutOfGas,
            };
        }
        let is_empty = meaning == Some(RevertMeaning::Unpayable);
        RevertCause::Unnamed { is_empty }
    }

    /// What a block's code saw of its block: asked of the chain, else as the header has it.
    pub fn opcodes(&self, number: u64, hash: H256) -> Option<Opcodes> {
        let block = BlockId::Exactly { number, hash };
        let asked = self
            .endpoints
            .with_endpoint(&[Method::Call], |endpoint| endpoint.block_opcodes(block));
        asked.ok().or_else(|| {
            let header = |endpoint: &Endpoint| endpoint.header(block);
            let header = self
                .endpoints
                .with_endpoint(&[Method::BlockByHash], header)
                .ok()?;
            Some(Opcodes {
                prevrandao: header.mix_hash?,
                number: header.number,
                timestamp: header.timestamp,
            })
        })
    }

    /// Whether each of these can be sent that much with the gas that the contract gives; of nobody where no endpoint is
    /// known to do well at telling it.
    pub(crate) fn probe(&self, who: Vec<(Address, U256)>, head: BlockRef) -> Vec<(Address, Found)> {
        let ask = |endpoint: &Endpoint| self.probe_at(endpoint, &who, head);
        let methods = [Method::GetCode, Method::Call];
        if !self.endpoints.any_does_well(&methods) {
            return Vec::new();
        }
        self.endpoints
            .with_endpoint(&methods, ask)
            .unwrap_or_else(|error| {
                log::debug!("bettors cannot be probed: {error}");
                Vec::new()
            })
    }

    fn probe_at(
        &self,
        endpoint: &Endpoint,
        who: &[(Address, U256)],
        head: BlockRef,
    ) -> Result<Vec<(Address, Found)>, RpcError> {
        let block = BlockId::from(head);
        let mut together = endpoint.together();
        let codes: Vec<Ticket<Vec<u8>>> = who
            .iter()
            .map(|(address, _)| together.add(query::code(*address, block)))
            .collect();
        let mut answers = together.send()?;
        let (mut found, mut contracts) = (Vec::new(), Vec::new());
        for ((address, value_wei), ticket) in who.iter().zip(codes) {
            match answers.take(ticket)?.is_empty() {
                true => found.push((*address, Found::NoCode)),
                false => contracts.push((*address, *value_wei)),
            }
        }
        let mut together = endpoint.together();
        let calls: Vec<Ticket<Vec<u8>>> = contracts
            .iter()
            .map(|(address, value_wei)| {
                let request = CallRequest::to(*address, Vec::new())
                    .from(self.settings.contract)
                    .with_value(*value_wei)
                    .with_gas(TRANSFER_GAS);
                together.add(query::call(&request, block, None))
            })
            .collect();
        let mut answers = together.send()?;
        for ((address, _), ticket) in contracts.into_iter().zip(calls) {
            found.push((address, found_by(&answers.take(ticket))));
        }
        Ok(found)
    }

    /// The action that a pending transaction of the key would carry out in the contract, as a state to go on from.
    ///
    /// # Errors
    /// When no endpoint tells what is pending.
    pub(crate) fn found_pending(
        &self,
        round: &Round,
        head: BlockRef,
        now: Instant,
    ) -> Result<Option<(ActionKind, SendState)>, RpcError> {
        let address = self.address();
        let ask = |endpoint: &Endpoint| {
            let latest = endpoint.transaction_count(address, BlockId::from(head))?;
            // Nodes without a pending state show no gap.
            let pending = endpoint
                .transaction_count(address, BlockId::Pending)
                .unwrap_or(latest);
            let held = match pending > latest {
                true => endpoint
                    .pending_transaction(address, latest)
                    .unwrap_or_default(),
                false => None,
            };
            Ok((latest, held))
        };
        let methods = [Method::TransactionCount];
        let (nonce, held) = self.endpoints.with_endpoint(&methods, ask)?;
        let Some(held) = held.filter(|held| held.to == Some(self.settings.contract)) else {
            return Ok(None);
        };
        let Some(kind) = action_of_calldata(&held.data) else {
            return Ok(None);
        };
        let variant = self.rebuilt(kind, nonce, &held, round);
        let state = SendState::found(round.round_id, nonce, variant, head, now);
        Ok(Some((kind, state)))
    }

    /// The pending transaction as a variant. Signatures follow from what is signed, so that the same bytes come out anew;
    /// where they do not, another program made them or the signer is silent, and they cannot be sent again from here.
    fn rebuilt(
        &self,
        kind: ActionKind,
        nonce: u64,
        held: &PendingTransaction,
        round: &Round,
    ) -> Variant {
        let transaction = Transaction {
            chain_id: self.settings.chain_id,
            nonce,
            to: self.settings.contract,
            value_wei: held.value_wei,
            data: held.data.clone(),
            gas_limit: held.gas_limit,
            fee: held.fee,
        };
        let signed = self.signer.sign(&transaction).ok();
        let same = signed.filter(|signed| signed.hash == held.hash);
        let raw = same.map(|signed| signed.raw).unwrap_or_default();
        Variant {
            kind,
            hash: held.hash,
            raw,
            fee: held.fee,
            room: Room {
                gas: held.gas_limit,
                players_max: round.participant_count,
            },
        }
    }

    /// What those of these transactions cost that the key sent; what no endpoint tells of one that can be is left out, and
    /// logged, since what was offered for it is not known any more.
    ///
    /// # Errors
    /// When their receipts cannot be read.
    pub(crate) fn costs_of_own(&self, hashes: Vec<H256>) -> Result<Vec<(H256, U256)>, RpcError> {
        let address = self.address();
        let most_wei = self.settings.limits.max_tx_fee_wei;
        let ask = |endpoint: &Endpoint| {
            let mut together = endpoint.together();
            let tickets: Vec<Ticket<Option<Receipt>>> = hashes
                .iter()
                .map(|hash| together.add(query::receipt(*hash)))
                .collect();
            let mut answers = together.send()?;
            let mut costs = Vec::new();
            for ticket in tickets {
                match answers.take(ticket)? {
                    Some(receipt) if receipt.from == Some(address) => {
                        costs.push((receipt.transaction_hash, receipt.cost_wei(most_wei)));
                    }
                    _ => {}
                }
            }
            Ok((endpoint.clone(), costs))
        };
        let methods = [Method::TransactionReceipt];
        let unknown = |costs: &[(H256, Option<U256>)]| {
            let without = costs.iter().filter(|(_, wei)| wei.is_none());
            without.count()
        };
        let (first, mut costs) = self.endpoints.with_endpoint(&methods, ask)?;
        if unknown(&costs) > 0 {
            let another = self.endpoints.with_another(&first, &methods, ask);
            let better = another
                .map(|(_, costs)| costs)
                .filter(|other| other.len() >= costs.len() && unknown(other) < unknown(&costs));
            costs = better.unwrap_or(costs);
        }
        if unknown(&costs) > 0 {
            log::warn!(
                "what {} of the last day's transactions cost is not told: it is not counted as spent",
                unknown(&costs)
            );
        }
        let known = costs.into_iter();
        Ok(known.filter_map(|(hash, wei)| Some((hash, wei?))).collect())
    }
}

/// What the block's time alone says of the action.
pub(super) fn timing(kind: ActionKind, timestamp: u64, round: &Round) -> Option<&'static str> {
    let early = "its block came before the window opened";
    let late = "its block came after its time was over";
    match kind {
        ActionKind::Draw if timestamp < round.min_draw_time => Some(early),
        ActionKind::Draw if timestamp > round.max_draw_time => Some(late),
        ActionKind::RefundExpired if timestamp <= round.max_draw_time => {
            Some("its block came before the window was over")
        }
        ActionKind::Extend { .. } if timestamp > round.end_time => Some(late),
        _ => None,
    }
}

/// What a probe's answer says: only the receiver's own refusal counts against it.
fn found_by(answer: &Result<Vec<u8>, RpcError>) -> Found {
    match answer {
        Ok(_) => Found::Payable,
        Err(error) if matches!(error.kind, ErrorKind::Reverted { .. }) => Found::Unpayable,
        Err(error) if error.to_string().to_lowercase().contains("out of gas") => Found::Unpayable,
        Err(_) => Found::Unknown,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::lottery::contract::action_calldata;
    use crate::lottery::round::RoundState;

    /// A round whose window lasts from 100 to 200.
    pub(in crate::actors::sender) fn betting() -> Round {
        Round {
            round_id: 7,
            state: RoundState::Betting,
            start_time: 0,
            end_time: 90,
            min_draw_time: 100,
            max_draw_time: 200,
            total_pot_wei: U256::one(),
            participant_count: 2,
        }
    }

    #[test]
    fn a_blocks_time_alone_can_be_the_reason() {
        let round = betting();
        let extend = ActionKind::Extend { new_end_time: 500 };
        for (kind, times, told) in [
            (ActionKind::Draw, [99, 201], true),
            (ActionKind::Draw, [100, 200], false),
            (ActionKind::RefundExpired, [100, 200], true),
            (ActionKind::RefundExpired, [201, 9_000], false),
            (ActionKind::RefundForced, [1, 9_000], false),
            (extend, [91, 9_000], true),
            (extend, [1, 90], false),
        ] {
            for time in times {
                assert_eq!(
                    timing(kind, time, &round).is_some(),
                    told,
                    "{kind:?} at {time}"
                );
            }
        }
    }

    #[test]
    fn only_the_receivers_own_refusal_counts_against_it() {
        let reverted = ErrorKind::Reverted {
            reason: None,
            data: vec![],
        };
        for (answer, expected) in [
            (Ok(vec![]), Found::Payable),
            (Err(RpcError::new(reverted, "reverted")), Found::Unpayable),
            (
                Err(RpcError::new(ErrorKind::Refused, "Out of gas: 0")),
                Found::Unpayable,
            ),
            (
                Err(RpcError::new(ErrorKind::Refused, "intrinsic gas too low")),
                Found::Unknown,
            ),
            (Err(RpcError::transport("timed out")), Found::Unknown),
        ] {
            assert_eq!(found_by(&answer), expected, "{answer:?}");
        }
    }

    #[test]
    fn what_is_pending_is_known_by_its_calldata() {
        for kind in [
            ActionKind::Draw,
            ActionKind::RefundExpired,
            ActionKind::RefundForced,
            ActionKind::Extend {
                new_end_time: 1_234,
            },
        ] {
            assert_eq!(action_of_calldata(&action_calldata(kind)), Some(kind));
        }
        assert_eq!(action_of_calldata(&[]), None);
        assert_eq!(action_of_calldata(&[1, 2, 3, 4]), None);
    }
}
