//! From the contract's events, in chain order, to rounds that have ended: how, with which bets, when, and what the check
//! of their end says. Pure; which rounds are kept and shown is the reducer's business (`state`).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::chain::types::{Address, U256};
use crate::lottery::event::{Bet, EventRecord, LogPosition, LotteryEvent};
use crate::lottery::lateness::LateReason;
use crate::lottery::proof::{self, ChainHabits, Draw, DrawBlock, Proof};
use crate::lottery::round::{RoundState, RoundTimes};

/// What is read of the chain beside the log that ends a round; each part is None where it was out of reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FinishFacts {
    /// Of the block that mined the end.
    pub block: DrawBlock,
    /// Of the round that it ended, or of another one where that began in the same block.
    pub times: Option<RoundTimes>,
    /// Number and timestamp of the first block whose time allowed the draw.
    pub first_allowed: Option<(u64, u64)>,
    /// What this daemon saw hold the draw up; None where it did not follow the round, or saw nothing.
    pub held_up_by: Option<LateReason>,
}

/// An event of the contract as the poller delivers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedEvent {
    pub record: Arc<EventRecord>,
    /// For RoundCompleted and RoundRefunded; on its own, since of a thousand events few end a round.
    pub finish: Option<Box<FinishFacts>>,
}

/// How a round ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Completed {
        winner: Address,
        winner_prize_wei: U256,
        publisher_commission_wei: U256,
        random_seed: U256,
    },
    Refunded {
        reason: String,
    },
}

/// How much later than it could have been a draw was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrawDelay {
    /// Blocks after the first one that allowed the draw; 0 is that block.
    pub blocks: u64,
    /// Chain time from that block to the draw's.
    pub secs: u64,
    /// None for a draw in that block, and where this daemon does not know.
    pub reason: Option<LateReason>,
}

/// A round that was drawn or refunded, kept for the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedRound {
    pub round_id: u64,
    /// Unix seconds; 0 where what tells them is out of reach.
    pub start_time: u64,
    pub end_time: u64,
    pub min_draw_time: u64,
    pub max_draw_time: u64,
    pub total_pot_wei: U256,
    pub participant_count: u64,
    pub outcome: Outcome,
    /// In (block, transaction, log) order; empty where out of reach.
    pub bets: Vec<Bet>,
    /// What the winner had bet in all; None for a refund, and where the bets are out of reach.
    pub winner_total_wei: Option<U256>,
    /// The check of the end against the chain. A refund has a verdict too, and no inputs.
    pub proof: Proof,
    /// None for a refund, and where the headers before the draw are out of reach.
    pub draw_delay: Option<DrawDelay>,
    /// Of the RoundCompleted or RoundRefunded log; its block timestamp is when the round finished.
    pub position: LogPosition,
}

/// Totals over all kept rounds of the history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HistorySummary {
    pub total_rounds: u64,
    pub completed_rounds: u64,
    pub refunded_rounds: u64,
    pub total_volume_wei: U256,
}

/// The round that has not ended yet as its events tell it, and what earlier draws have shown of the chain.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Running {
    pub round_id: u64,
    /// Unix seconds; 0 while the start is out of reach.
    pub start_time: u64,
    pub bets: Vec<Bet>,
    habits: ChainHabits,
}

impl Running {
    /// What was logged of that round's bets, so far as it is the one that has not ended.
    pub(crate) fn bets_of(&self, round_id: u64) -> &[Bet] {
        match self.round_id == round_id {
            true => &self.bets,
            false => &[],
        }
    }

    /// Takes the next event in chain order; the finished round when the event ended it.
    pub(crate) fn absorb(&mut self, event: &LoggedEvent) -> Option<FinishedRound> {
        let position = &event.record.position;
        match &event.record.event {
            LotteryEvent::BetPlaced {
                round_id,
                player,
                amount_wei,
                new_total_wei,
            } => {
                self.enter(*round_id);
                self.bets.push(Bet {
                    player: *player,
                    amount_wei: *amount_wei,
                    new_total_wei: *new_total_wei,
                    position: position.clone(),
                });
                None
            }
            LotteryEvent::RoundStateChanged {
                round_id,
                new_state: RoundState::Betting,
                ..
            } => {
                self.enter(*round_id);
                self.start_time = position.block_timestamp;
                None
            }
            end => {
                self.enter(end.ended_round()?);
                let facts = event.finish.as_deref().cloned().unwrap_or_default();
                let finished = self.finish(end, facts, position);
                self.enter(0);
                finished
            }
        }
    }

    /// True where these are the running round's times, as far as its own beginning was seen; on another branch a round of
    /// the same number began at another time.
    pub(crate) fn has_times(&self, times: &RoundTimes) -> bool {
        let begins = [0, times.start_time];
        self.round_id == times.round_id && begins.contains(&self.start_time)
    }

    /// Makes sure that the bets are those of `round_id`; 0 is no round.
    fn enter(&mut self, round_id: u64) {
        if self.round_id != round_id {
            *self = Running {
                round_id,
                habits: std::mem::take(&mut self.habits),
                ..Running::default()
            };
        }
    }

    fn finish(
        &mut self,
        end: &LotteryEvent,
        facts: FinishFacts,
        position: &LogPosition,
    ) -> Option<FinishedRound> {
        let mut bets = std::mem::take(&mut self.bets);
        bets.shrink_to_fit();
        let times = facts.times.filter(|times| times.round_id == self.round_id);
        let end = self
            .drawn(end, &bets, &facts, position)
            .or_else(|| refunded(end, &bets, times, position))?;
        Some(FinishedRound {
            round_id: self.round_id,
            start_time: times.map_or(self.start_time, |times| times.start_time),
            end_time: times.map_or(0, |times| times.end_time),
            min_draw_time: times.map_or(0, |times| times.min_draw_time),
            max_draw_time: times.map_or(0, |times| times.max_draw_time),
            total_pot_wei: end.total_pot_wei,
            participant_count: end.participant_count,
            outcome: end.outcome,
            bets,
            winner_total_wei: end.winner_total_wei,
            proof: end.proof,
            draw_delay: end.draw_delay,
            position: position.clone(),
        })
    }

    /// None of another event.
    fn drawn(
        &mut self,
        end: &LotteryEvent,
        bets: &[Bet],
        facts: &FinishFacts,
        position: &LogPosition,
    ) -> Option<End> {
        let LotteryEvent::RoundCompleted {
            winner,
            total_pot_wei,
            participant_count,
            winner_prize_wei,
            publisher_commission_wei,
            random_seed,
            ..
        } = end
        else {
            return None;
        };
        let draw = Draw {
            round_id: self.round_id,
            timestamp: position.block_timestamp,
            total_pot_wei: *total_pot_wei,
            participant_count: *participant_count,
            winner: *winner,
            winner_prize_wei: *winner_prize_wei,
            publisher_commission_wei: *publisher_commission_wei,
            random_seed: *random_seed,
            bets,
        };
        Some(End {
            total_pot_wei: *total_pot_wei,
            participant_count: *participant_count,
            outcome: Outcome::Completed {
                winner: *winner,
                winner_prize_wei: *winner_prize_wei,
                publisher_commission_wei: *publisher_commission_wei,
                random_seed: *random_seed,
            },
            proof: proof::verify(&draw, &facts.block, &mut self.habits),
            winner_total_wei: proof::totals(bets)
                .into_iter()
                .find_map(|(player, total)| (player == *winner).then_some(total)),
            draw_delay: facts.first_allowed.and_then(|(number, time)| {
                let blocks = position.block_number.checked_sub(number)?;
                Some(DrawDelay {
                    blocks,
                    secs: position.block_timestamp.checked_sub(time)?,
                    reason: facts.held_up_by.filter(|_| blocks > 0),
                })
            }),
        })
    }
}

/// What a round's last event tells of it.
struct End {
    total_pot_wei: U256,
    participant_count: u64,
    outcome: Outcome,
    proof: Proof,
    winner_total_wei: Option<U256>,
    draw_delay: Option<DrawDelay>,
}

/// None of another event.
fn refunded(
    end: &LotteryEvent,
    bets: &[Bet],
    times: Option<RoundTimes>,
    position: &LogPosition,
) -> Option<End> {
    let LotteryEvent::RoundRefunded {
        total_refunded_wei,
        participant_count,
        reason,
        ..
    } = end
    else {
        return None;
    };
    let verdict = proof::verify_refund(
        bets,
        *total_refunded_wei,
        *participant_count,
        reason,
        position.block_timestamp,
        times,
    );
    Some(End {
        total_pot_wei: *total_refunded_wei,
        participant_count: *participant_count,
        outcome: Outcome::Refunded {
            reason: reason.clone(),
        },
        proof: Proof::of_refund(verdict),
        winner_total_wei: None,
        draw_delay: None,
    })
}

/// The round as its logs tell it; None when its end is not among them. `events` come in chain order, with all of its bets.
pub(crate) fn finished_round(events: &[LoggedEvent], round_id: u64) -> Option<FinishedRound> {
    let mut running = Running::default();
    let mut ends = events.iter().filter_map(|event| running.absorb(event));
    ends.find(|round| round.round_id == round_id)
}
