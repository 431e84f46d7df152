//! Rounds of any number of players, made without a chain: what the benchmarks of the state and of the feed play on.

use std::sync::Arc;
use std::time::Instant;

use lottery::base::clock::ChainTime;
use lottery::chain::types::{Address, H256, U256};
use lottery::lottery::model::{
    BlockSchedule, ConnectionStatus, EventRecord, HeadRef, LogPosition, LotteryEvent, Round,
    RoundState,
};
use lottery::lottery::state::{Advance, Limits, LoggedEvent, State, Update};

pub const BET_WEI: u64 = 1_000_000_000_000_000;

pub fn bet(number: u64, player: u64) -> LoggedEvent {
    let event = LotteryEvent::BetPlaced {
        round_id: 1,
        player: Address::from_low_u64_be(player + 1),
        amount_wei: U256::from(BET_WEI + player),
        new_total_wei: U256::zero(),
        timestamp: number,
    };
    let position = LogPosition {
        block_number: number,
        block_hash: H256::from_low_u64_be(number),
        block_timestamp: number,
        transaction_hash: H256::from_low_u64_be(number),
        log_index: 0,
    };
    LoggedEvent {
        record: Arc::new(EventRecord { event, position }),
        finish: None,
    }
}

pub fn advance(number: u64, events: Vec<LoggedEvent>) -> Update {
    let round = Round {
        round_id: 1,
        state: RoundState::Betting,
        start_time: 1,
        end_time: 1_000_000,
        min_draw_time: 1_000_005,
        max_draw_time: 1_000_180,
        total_pot_wei: U256::from(number),
        participant_count: number,
    };
    Update::Advance(Box::new(Advance {
        rollback: None,
        head: HeadRef {
            number,
            hash: H256::from_low_u64_be(number),
            timestamp: number,
        },
        time: ChainTime {
            head_timestamp: number,
            seen_at: Instant::now(),
        },
        schedule: BlockSchedule::default(),
        syncing: false,
        events,
        round: Some(round),
        config: None,
        participants: None,
    }))
}

pub fn state_with(participants: u64) -> State {
    let limits = Limits {
        live_feed_max_entries: 1_000,
        round_history_max: 20,
    };
    let connection = ConnectionStatus {
        reachable: true,
        since_unix_ms: 0,
        problem: None,
    };
    let mut state = State::new(limits, connection);
    for player in 0..participants {
        state.apply(advance(player + 1, vec![bet(player + 1, player)]));
    }
    state
}
