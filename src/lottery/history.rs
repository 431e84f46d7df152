//! Rounds that have ended: how, with which bets, and what the check of their draw says.

use crate::chain::types::{Address, H256, U256};
use crate::lottery::event::{Bet, LogPosition};
use crate::lottery::proof::Verdict;

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

/// A round that was drawn or refunded, kept for the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedRound {
    pub round_id: u64,
    /// Unix seconds; 0 where the logs that tell them are out of reach.
    pub start_time: u64,
    pub end_time: u64,
    pub min_draw_time: u64,
    pub max_draw_time: u64,
    pub total_pot_wei: U256,
    pub participant_count: u64,
    pub outcome: Outcome,
    /// In (block, log index) order; empty where out of reach.
    pub bets: Vec<Bet>,
    /// The check of the draw against header and bets; None for a refund.
    pub verdict: Option<Verdict>,
    /// prevrandao of the block that mined the end, an input of the proof.
    pub prevrandao: Option<H256>,
    /// Of the RoundCompleted or RoundRefunded log; its block timestamp is when the round finished.
    pub position: LogPosition,
}

/// Totals over all kept rounds of the history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistorySummary {
    pub total_rounds: u64,
    pub completed_rounds: u64,
    pub refunded_rounds: u64,
    pub total_volume_wei: U256,
}
