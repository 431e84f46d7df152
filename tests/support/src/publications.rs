//! Rounds of any number of players, made without a chain: what the benchmarks of the state and of the feed play on.

use std::sync::Arc;
use std::time::Instant;

use lottery::base::clock::ChainTime;
use lottery::chain::types::BlockRef;
use lottery::chain::types::{Address, H256, U256};
use lottery::lottery::event::{EventRecord, LogPosition, LotteryEvent};
use lottery::lottery::history::LoggedEvent;
use lottery::lottery::round::{Round, RoundState};
use lottery::lottery::snapshot::{BlockSchedule, ConnectionStatus, Publication};
use lottery::lottery::state::{Advance, Limits, State, Update};
use sha3::{Digest, Keccak256};

use crate::BET_WEI;

/// Numbers and times as long as real ones are.
const FIRST_BLOCK: u64 = 23_000_000;
const START: u64 = 1_760_000_000;

/// As little to be compressed as a real one.
fn hash(kind: &str, number: u64) -> H256 {
    let digest = Keccak256::digest(format!("{kind} {number}"));
    H256::from_slice(&digest)
}

fn pot_wei(bets: u64) -> U256 {
    U256::from(bets) * U256::from(BET_WEI)
}

pub fn bet(number: u64, player: u64) -> LoggedEvent {
    let event = LotteryEvent::BetPlaced {
        round_id: 1,
        player: Address::from(hash("player", player)),
        amount_wei: U256::from(BET_WEI + player),
        new_total_wei: pot_wei(number),
    };
    let position = LogPosition {
        block_number: FIRST_BLOCK + number,
        block_hash: hash("block", number),
        block_timestamp: START + number,
        transaction_hash: hash("transaction", number),
        transaction_index: 0,
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
        start_time: START,
        end_time: START + 1_000_000,
        min_draw_time: START + 1_000_005,
        max_draw_time: START + 1_000_180,
        total_pot_wei: pot_wei(number),
        participant_count: number,
    };
    Update::Advance(Box::new(Advance {
        rollback: None,
        head: BlockRef {
            number: FIRST_BLOCK + number,
            hash: hash("block", number),
            parent_hash: hash("block", number - 1),
            timestamp: START + number,
        },
        time: ChainTime {
            head_timestamp: START + number,
            seen_at: Instant::now(),
        },
        schedule: BlockSchedule::default(),
        syncing: false,
        events,
        round: Some(round),
        config: None,
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

pub fn publication(state: &mut State, number: u64, update: Update) -> Publication {
    let events = state.apply(update).events;
    Publication {
        number,
        snapshot: Arc::new(state.snapshot().clone()),
        events,
    }
}
