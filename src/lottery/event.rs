//! The contract's events, decoded, and where in the chain each was logged.

use crate::chain::types::{Address, H256, U256};
use crate::lottery::round::RoundState;

/// Where in the chain an item was logged; (block_hash, log_index) is its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPosition {
    pub block_number: u64,
    pub block_hash: H256,
    /// The block's timestamp, unix seconds.
    pub block_timestamp: u64,
    pub transaction_hash: H256,
    pub log_index: u64,
}

/// Every event of the contract, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LotteryEvent {
    BetPlaced {
        round_id: u64,
        player: Address,
        amount_wei: U256,
        new_total_wei: U256,
        timestamp: u64,
    },
    BettingDurationUpdated {
        old_duration_secs: u64,
        new_duration_secs: u64,
        timestamp: u64,
    },
    EndTimeExtended {
        round_id: u64,
        old_end_time: u64,
        new_end_time: u64,
        timestamp: u64,
    },
    MinBetAmountUpdated {
        old_amount_wei: U256,
        new_amount_wei: U256,
        timestamp: u64,
    },
    MinParticipantsUpdated {
        old_min: u64,
        new_min: u64,
        timestamp: u64,
    },
    OperatorUpdated {
        old_operator: Address,
        new_operator: Address,
        timestamp: u64,
    },
    RoundCompleted {
        round_id: u64,
        winner: Address,
        total_pot_wei: U256,
        participant_count: u64,
        winner_prize_wei: U256,
        publisher_commission_wei: U256,
        random_seed: U256,
        timestamp: u64,
    },
    RoundCreated {
        round_id: u64,
        start_time: u64,
        end_time: u64,
        min_draw_time: u64,
        max_draw_time: u64,
        timestamp: u64,
    },
    RoundRefunded {
        round_id: u64,
        total_refunded_wei: U256,
        participant_count: u64,
        reason: String,
        timestamp: u64,
    },
    RoundStateChanged {
        round_id: u64,
        old_state: RoundState,
        new_state: RoundState,
        timestamp: u64,
    },
    Withdrawn {
        to: Address,
        amount_wei: U256,
        timestamp: u64,
    },
}

impl LotteryEvent {
    /// The event's name in the ABI.
    pub fn name(&self) -> &'static str {
        match self {
            LotteryEvent::BetPlaced { .. } => "BetPlaced",
            LotteryEvent::BettingDurationUpdated { .. } => "BettingDurationUpdated",
            LotteryEvent::EndTimeExtended { .. } => "EndTimeExtended",
            LotteryEvent::MinBetAmountUpdated { .. } => "MinBetAmountUpdated",
            LotteryEvent::MinParticipantsUpdated { .. } => "MinParticipantsUpdated",
            LotteryEvent::OperatorUpdated { .. } => "OperatorUpdated",
            LotteryEvent::RoundCompleted { .. } => "RoundCompleted",
            LotteryEvent::RoundCreated { .. } => "RoundCreated",
            LotteryEvent::RoundRefunded { .. } => "RoundRefunded",
            LotteryEvent::RoundStateChanged { .. } => "RoundStateChanged",
            LotteryEvent::Withdrawn { .. } => "Withdrawn",
        }
    }
}

impl LotteryEvent {
    /// The block's timestamp, unix seconds: the contract stamps every event with it.
    pub fn timestamp(&self) -> u64 {
        match self {
            LotteryEvent::BetPlaced { timestamp, .. }
            | LotteryEvent::BettingDurationUpdated { timestamp, .. }
            | LotteryEvent::EndTimeExtended { timestamp, .. }
            | LotteryEvent::MinBetAmountUpdated { timestamp, .. }
            | LotteryEvent::MinParticipantsUpdated { timestamp, .. }
            | LotteryEvent::OperatorUpdated { timestamp, .. }
            | LotteryEvent::RoundCompleted { timestamp, .. }
            | LotteryEvent::RoundCreated { timestamp, .. }
            | LotteryEvent::RoundRefunded { timestamp, .. }
            | LotteryEvent::RoundStateChanged { timestamp, .. }
            | LotteryEvent::Withdrawn { timestamp, .. } => *timestamp,
        }
    }

    /// True for events after which getConfig() answers differently.
    pub fn changes_config(&self) -> bool {
        matches!(
            self,
            LotteryEvent::BettingDurationUpdated { .. }
                | LotteryEvent::MinBetAmountUpdated { .. }
                | LotteryEvent::MinParticipantsUpdated { .. }
                | LotteryEvent::OperatorUpdated { .. }
        )
    }
}

/// A decoded event with its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    pub event: LotteryEvent,
    pub position: LogPosition,
}

/// One BetPlaced of a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bet {
    pub player: Address,
    pub amount_wei: U256,
    pub position: LogPosition,
}
