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
    let mut contract = Contract {
        round: Round::waiting(1),
        players: Vec::new(),
    };
    let numbered = blocks.iter().zip(0..);
    let after = numbered.map(|(block, number)| {
        let before = contract.round.clone();
        let mut events = Vec::new();
        for act in &block.acts {
            for event in contract.act(act, 100 + number) {
                let ends = event.ended_round().is_some();
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
                    finish: ends.then(|| {
                        Box::new(FinishFacts {
                            times: before.times(),
                            ..FinishFacts::default()
                        })
                    }),
                });
            }
        }
        (events, contract.round.clone())
    });
    after.collect()
}

struct Contract {
    round: Round,
    players: Vec<u64>,
}

impl Contract {
    fn act(&mut self, act: &Act, timestamp: u64) -> Vec<LotteryEvent> {
        let round_id = self.round.round_id;
        let (pot_wei, participant_count) = (self.round.total_pot_wei, self.round.participant_count);
        let end = match act {
            Act::Bet { player, wei } => return self.bet(*player, U256::from(*wei), timestamp),
            Act::Draw | Act::Refund if pot_wei.is_zero() => return Vec::new(),
            Act::Draw => LotteryEvent::RoundCompleted {
                round_id,
                winner: Address::from_low_u64_be(self.players[0]),
                total_pot_wei: pot_wei,
                participant_count,
                winner_prize_wei: pot_wei,
                publisher_commission_wei: U256::zero(),
                random_seed: U256::one(),
            },
            Act::Refund => LotteryEvent::RoundRefunded {
                round_id,
                total_refunded_wei: pot_wei,
                participant_count,
                reason: "x".to_owned(),
            },
        };
        self.round = Round::waiting(round_id + 1);
        self.players.clear();
        vec![end]
    }

    fn bet(&mut self, player: u64, amount_wei: U256, timestamp: u64) -> Vec<LotteryEvent> {
        let round = &mut self.round;
        let mut events = Vec::new();
        if round.state == RoundState::Waiting {
            round.state = RoundState::Betting;
            round.start_time = timestamp;
            events.push(LotteryEvent::RoundStateChanged {
                round_id: round.round_id,
                old_state: RoundState::Waiting,
                new_state: RoundState::Betting,
            });
        }
        if !self.players.contains(&player) {
            self.players.push(player);
        }
        round.total_pot_wei += amount_wei;
        round.participant_count = self.players.len() as u64;
        events.push(LotteryEvent::BetPlaced {
            round_id: round.round_id,
            player: Address::from_low_u64_be(player),
            amount_wei,
            new_total_wei: round.total_pot_wei,
        });
        events
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
