//! What the kept rounds say of how fairly they were drawn: how many follow from the chain, how soon each draw came, and
//! whether the chain's randomness could be known ahead. Figures, never a judgement. Pure.

use serde::{Deserialize, Serialize};

use crate::lottery::history::{FinishedRound, Outcome};
use crate::lottery::proof::Verdict;

/// Figures over some finished rounds. `verified`, `mismatched` and `unverifiable` count draws and refunds alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Fairness {
    pub drawn: u64,
    pub refunded: u64,
    pub verified: u64,
    pub mismatched: u64,
    pub unverifiable: u64,
    /// Draws whose delay is known: the others' headers were out of reach.
    pub timed_draws: u64,
    /// Draws in the first block that allowed them, among those timed.
    pub first_block_draws: u64,
    /// The longest delays among those timed; None where there are none.
    pub longest_delay_secs: Option<u64>,
    pub longest_delay_blocks: Option<u64>,
    /// PREVRANDAO could be known before the block in at least one draw; None before any draw told.
    pub known_ahead: Option<bool>,
}

impl Fairness {
    pub fn of<'a>(rounds: impl IntoIterator<Item = &'a FinishedRound>) -> Fairness {
        let mut fairness = Fairness::default();
        for round in rounds {
            fairness.add(round);
        }
        fairness
    }

    pub fn add(&mut self, round: &FinishedRound) {
        match round.outcome {
            Outcome::Completed { .. } => self.drawn += 1,
            Outcome::Refunded { .. } => self.refunded += 1,
        }
        match round.proof.verdict {
            Verdict::Verified => self.verified += 1,
            Verdict::Mismatch { .. } => self.mismatched += 1,
            Verdict::Unverifiable { .. } => self.unverifiable += 1,
        }
        if let Some(delay) = round.draw_delay {
            self.timed_draws += 1;
            self.first_block_draws += u64::from(delay.blocks == 0);
            self.longest_delay_secs = self.longest_delay_secs.max(Some(delay.secs));
            self.longest_delay_blocks = self.longest_delay_blocks.max(Some(delay.blocks));
        }
        if round.proof.inputs.is_some() {
            let known_ahead = self.known_ahead.unwrap_or(false) || round.proof.known_ahead;
            self.known_ahead = Some(known_ahead);
        }
    }
}
