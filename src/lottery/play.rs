//! Chains of random rounds, for property tests: what the contract would log and hold, and the updates that bring it.

use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;

use crate::base::clock::ChainTime;
use crate::chain::types::BlockRef;
use crate::chain::types::{Address, H256, U256};
use crate::lottery::event::{EventRecord, LogPosition, LotteryEvent};
use crate::lottery::history::{FinishFacts, LoggedEvent};
use crate::lottery::round::{Round, RoundState};
use crate::lottery::snapshot::BlockSchedule;
use crate::lottery::state::{Advance, Rollback, Update};

/// A little chain: each block has a branch (so that a reorg changes hashes) and what happens in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    pub branch: u64,
    pub acts: Vec<Act>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    Bet {
        player: u64,
        wei: u64,
    },
    /// Ends the running round, if it has bets.
    Draw,
    Refund,
}

pub fn hash(block: &Block, number: u64) -> H256 {
    H256::from_low_u64_be(block.branch * 1_000 + number)
}

/// What the contract would log and hold after each block.
pub fn play(blocks: &[Block]) -> Vec<(Vec<LoggedEvent>, Round)> {
    let mut round = waiting(1);
    let mut players: Vec<u64> = Vec::new();
    let mut out = Vec::new();
    for (number, block) in blocks.iter().enumerate() {
        let number = number as u64;
        let before = round.clone();
        let mut events = Vec::new();
        let mut emit = |event: LotteryEvent, finish: Option<FinishFacts>| {
            let position = LogPosition {
                block_number: number,
                block_hash: hash(block, number),
                block_timestamp: 100 + number,
                transaction_hash: H256::from_low_u64_be(number),
                // As on chains that count the logs anew in each transaction: of these each act is one.
                transaction_index: events.len() as u64,
                log_index: 0,
            };
            events.push(LoggedEvent {
                record: Arc::new(EventRecord { event, position }),
                finish,
            });
        };
        for act in &block.acts {
            let timestamp = 100 + number;
            let facts = || {
                Some(FinishFacts {
                    round_before: Some(before.clone()),
                    ..FinishFacts::default()
                })
            };
            match act {
                Act::Bet { player, wei } => {
                    if round.state == RoundState::Waiting {
                        round.state = RoundState::Betting;
                        round.start_time = timestamp;
                        let (old_state, new_state) = (RoundState::Waiting, RoundState::Betting);
                        let round_id = round.round_id;
                        emit(
                            LotteryEvent::RoundStateChanged {
                                round_id,
                                old_state,
                                new_state,
                            },
                            None,
                        );
                    }
                    if !players.contains(player) {
                        players.push(*player);
                    }
                    round.total_pot_wei += U256::from(*wei);
                    round.participant_count = players.len() as u64;
                    let bet = LotteryEvent::BetPlaced {
                        round_id: round.round_id,
                        player: Address::from_low_u64_be(*player),
                        amount_wei: U256::from(*wei),
                        new_total_wei: round.total_pot_wei,
                    };
                    emit(bet, None);
                }
                Act::Draw | Act::Refund if round.total_pot_wei.is_zero() => {}
                Act::Draw => {
                    let event = LotteryEvent::RoundCompleted {
                        round_id: round.round_id,
                        winner: Address::from_low_u64_be(players[0]),
                        total_pot_wei: round.total_pot_wei,
                        participant_count: round.participant_count,
                        winner_prize_wei: round.total_pot_wei,
                        publisher_commission_wei: U256::zero(),
                        random_seed: U256::one(),
                    };
                    emit(event, facts());
                    round = waiting(round.round_id + 1);
                    players.clear();
                }
                Act::Refund => {
                    let event = LotteryEvent::RoundRefunded {
                        round_id: round.round_id,
                        total_refunded_wei: round.total_pot_wei,
                        participant_count: round.participant_count,
                        reason: "x".to_owned(),
                    };
                    emit(event, facts());
                    round = waiting(round.round_id + 1);
                    players.clear();
                }
            }
        }
        out.push((events, round.clone()));
    }
    out
}

fn waiting(round_id: u64) -> Round {
    Round {
        round_id,
        state: RoundState::Waiting,
        start_time: 0,
        end_time: 0,
        min_draw_time: 0,
        max_draw_time: 0,
        total_pot_wei: U256::zero(),
        participant_count: 0,
    }
}

/// The update that brings blocks `from..=to` of `blocks`.
pub fn advance(blocks: &[Block], from: usize, to: usize, rollback: Option<Rollback>) -> Update {
    let played = play(blocks);
    let head = BlockRef {
        number: to as u64,
        hash: hash(&blocks[to], to as u64),
        parent_hash: H256::zero(),
        timestamp: 100 + to as u64,
    };
    Update::Advance(Box::new(Advance {
        rollback,
        head,
        time: ChainTime {
            head_timestamp: head.timestamp,
            seen_at: Instant::now(),
        },
        schedule: BlockSchedule::default(),
        syncing: false,
        events: played[from..=to]
            .iter()
            .flat_map(|(events, _)| events.clone())
            .collect(),
        round: Some(played[to].1.clone()),
        config: None,
    }))
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..5u64, 1..9u64).prop_map(|(player, wei)| Act::Bet { player, wei }),
        1 => Just(Act::Draw),
        1 => Just(Act::Refund),
    ]
}

pub(crate) fn branch(branch: u64) -> impl Strategy<Value = Vec<Block>> {
    proptest::collection::vec(proptest::collection::vec(act(), 0..3), 1..14).prop_map(
        move |blocks| {
            blocks
                .into_iter()
                .map(|acts| Block { branch, acts })
                .collect()
        },
    )
}
