//! A round of the lottery as the contract's getRound() tells it, the phase it is in at a given chain time, and the
//! contract's settings that shape the rounds to come. Plain data; decoding lies in `contract`.

use serde::{Deserialize, Serialize};

use crate::chain::types::{Address, U256};

/// The contract's `RoundState`, by its numbers 0 to 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoundState {
    Waiting,
    Betting,
    Drawing,
    Completed,
    Refunded,
}

impl RoundState {
    pub const ALL: [RoundState; 5] = [
        RoundState::Waiting,
        RoundState::Betting,
        RoundState::Drawing,
        RoundState::Completed,
        RoundState::Refunded,
    ];

    pub(crate) fn from_number(number: u64) -> Option<RoundState> {
        usize::try_from(number)
            .ok()
            .and_then(|index| Self::ALL.get(index).copied())
    }

    pub fn number(self) -> u8 {
        self as u8
    }

    pub fn label(self) -> &'static str {
        match self {
            RoundState::Waiting => "WAITING",
            RoundState::Betting => "BETTING",
            RoundState::Drawing => "DRAWING",
            RoundState::Completed => "COMPLETED",
            RoundState::Refunded => "REFUNDED",
        }
    }
}

/// The contract's running round, as getRound() gives it (a finished round is never seen there).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    pub round_id: u64,
    pub state: RoundState,
    /// Unix seconds of the chain; all four are 0 until the round has started.
    pub start_time: u64,
    pub end_time: u64,
    pub min_draw_time: u64,
    pub max_draw_time: u64,
    pub total_pot_wei: U256,
    pub participant_count: u64,
}

/// When a round begins, takes its last bet, and can be drawn; unix seconds of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct RoundTimes {
    pub round_id: u64,
    pub start_time: u64,
    pub end_time: u64,
    pub min_draw_time: u64,
    pub max_draw_time: u64,
}

/// Where a round stands at a given chain time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not started: the first bet starts it.
    Waiting,
    Betting,
    /// Bets are closed, the draw window has not opened.
    Closed,
    DrawWindow,
    /// The window is over with money in the pot: only a refund is left.
    Overdue,
    /// Ended without a bet: the contract accepts nothing any more.
    Stuck,
}

impl Phase {
    pub fn label(self) -> &'static str {
        match self {
            Phase::Waiting => "waiting",
            Phase::Betting => "betting",
            Phase::Closed => "closed",
            Phase::DrawWindow => "draw_window",
            Phase::Overdue => "overdue",
            Phase::Stuck => "stuck",
        }
    }
}

impl Round {
    /// A round that nobody has bet in yet.
    #[cfg(test)]
    pub(crate) fn waiting(round_id: u64) -> Round {
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

    /// None of a round that has not begun.
    pub(crate) fn times(&self) -> Option<RoundTimes> {
        (self.state == RoundState::Betting).then_some(RoundTimes {
            round_id: self.round_id,
            start_time: self.start_time,
            end_time: self.end_time,
            min_draw_time: self.min_draw_time,
            max_draw_time: self.max_draw_time,
        })
    }

    /// The phase at `chain_time` (unix seconds); the bounds are the contract's own, both ends of the window inclusive.
    pub fn phase(&self, chain_time: u64) -> Phase {
        if self.state != RoundState::Betting {
            return Phase::Waiting;
        }
        if chain_time <= self.end_time {
            Phase::Betting
        } else if self.total_pot_wei.is_zero() {
            Phase::Stuck
        } else if chain_time < self.min_draw_time {
            Phase::Closed
        } else if chain_time <= self.max_draw_time {
            Phase::DrawWindow
        } else {
            Phase::Overdue
        }
    }
}

/// getConfig() of the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContractConfig {
    pub publisher: Address,
    pub operator: Address,
    /// PUBLISHER_COMMISSION_RATE in basis points of 10,000.
    pub commission_bps: u64,
    pub min_bet_wei: U256,
    pub betting_duration_secs: u64,
    pub min_draw_delay_secs: u64,
    pub max_draw_delay_secs: u64,
    pub min_end_time_extension_secs: u64,
    pub min_participants: u64,
}
