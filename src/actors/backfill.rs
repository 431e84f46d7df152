//! The walk back through history after a start: chunk by chunk below what is known, until enough finished rounds are
//! found, the contract's first round is reached, or the budget of blocks is spent. It runs beside following.

use std::collections::HashMap;

use crate::actors::reader::Reader;
use crate::chain::client::Endpoint;
use crate::chain::error::RpcError;
use crate::lottery::model::{LotteryEvent, Round, RoundState};
use crate::lottery::state::LoggedEvent;

const CHUNK_BLOCKS_START: u64 = 500;
const CHUNK_BLOCKS_MAX: u64 = 10_000;

#[derive(Clone, Debug)]
pub struct Backfill {
    /// Blocks below this are unread.
    unread_below: u64,
    blocks_left: u64,
    chunk_blocks: u64,
    /// One more than is kept: the end before the oldest kept round bounds its bets.
    ends_wanted: usize,
    ends_seen: usize,
    /// The running round's bets are all above what was read, so far as it matters.
    round_start_seen: bool,
    first_round_seen: bool,
    running_round_id: u64,
}

impl Backfill {
    /// `events` were read with the first head, from `first_block_read` on.
    pub fn new(
        first_block_read: u64,
        events: &[LoggedEvent],
        round: Option<&Round>,
        (round_history_max, history_max_blocks): (usize, u64),
    ) -> Backfill {
        let mut backfill = Backfill {
            unread_below: first_block_read,
            blocks_left: history_max_blocks,
            chunk_blocks: CHUNK_BLOCKS_START,
            ends_wanted: round_history_max + 1,
            ends_seen: 0,
            round_start_seen: round.is_some_and(|round| round.state != RoundState::Betting),
            first_round_seen: false,
            running_round_id: round.map_or(0, |round| round.round_id),
        };
        backfill.note(events);
        backfill
    }

    pub fn is_complete(&self) -> bool {
        self.unread_below == 0
            || self.blocks_left == 0
            || self.first_round_seen
            || self.ends_seen >= self.ends_wanted
    }

    /// False while the running round's start may still be found.
    pub fn has_round_start(&self) -> bool {
        self.round_start_seen || self.is_complete()
    }

    /// After a reorg: what lies above the common ancestor has been read anew by the poller.
    pub fn lower_to(&mut self, ancestor: u64) {
        self.unread_below = self.unread_below.min(ancestor.saturating_add(1));
    }

    /// Reads one chunk and answers with its events.
    pub fn step(
        &mut self,
        endpoint: &Endpoint,
        reader: &Reader,
    ) -> Result<Vec<LoggedEvent>, RpcError> {
        if self.is_complete() {
            return Ok(Vec::new());
        }
        let blocks = self
            .chunk_blocks
            .min(self.blocks_left)
            .min(self.unread_below);
        let from = self.unread_below - blocks;
        let logs = reader.logs(endpoint, from, self.unread_below - 1)?;
        let events = reader.events(endpoint, logs, &HashMap::new(), true)?;
        self.note(&events);
        self.unread_below = from;
        self.blocks_left -= blocks;
        self.chunk_blocks = (self.chunk_blocks * 2).min(CHUNK_BLOCKS_MAX);
        Ok(events)
    }

    fn note(&mut self, events: &[LoggedEvent]) {
        for event in events {
            match event.record.event {
                LotteryEvent::RoundCompleted { .. } | LotteryEvent::RoundRefunded { .. } => {
                    self.ends_seen += 1;
                    self.round_start_seen = true;
                }
                LotteryEvent::RoundStateChanged {
                    round_id,
                    new_state: RoundState::Betting,
                    ..
                } => {
                    self.round_start_seen |= round_id == self.running_round_id;
                    self.first_round_seen |= round_id == 1;
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::types::{H256, U256};
    use crate::lottery::model::{EventRecord, LogPosition};
    use std::sync::Arc;

    fn event(event: LotteryEvent) -> LoggedEvent {
        let position = LogPosition {
            block_number: 1,
            block_hash: H256::zero(),
            block_timestamp: 0,
            transaction_hash: H256::zero(),
            log_index: 0,
        };
        LoggedEvent {
            record: Arc::new(EventRecord { event, position }),
            finish: None,
        }
    }

    fn started(round_id: u64) -> LoggedEvent {
        event(LotteryEvent::RoundStateChanged {
            round_id,
            old_state: RoundState::Waiting,
            new_state: RoundState::Betting,
            timestamp: 0,
        })
    }

    fn refunded(round_id: u64) -> LoggedEvent {
        event(LotteryEvent::RoundRefunded {
            round_id,
            total_refunded_wei: U256::one(),
            participant_count: 1,
            reason: String::new(),
            timestamp: 0,
        })
    }

    fn betting(round_id: u64) -> Round {
        Round {
            round_id,
            state: RoundState::Betting,
            start_time: 0,
            end_time: 0,
            min_draw_time: 0,
            max_draw_time: 0,
            total_pot_wei: U256::one(),
            participant_count: 1,
        }
    }

    #[test]
    fn the_walk_ends_with_enough_rounds_the_first_round_the_budget_or_block_zero() {
        let complete = |unread_below, events: &[LoggedEvent], limits| {
            Backfill::new(unread_below, events, Some(&betting(9)), limits).is_complete()
        };
        assert!(!complete(100, &[refunded(8), refunded(7)], (2, 1_000)));
        assert!(complete(
            100,
            &[refunded(8), refunded(7), refunded(6)],
            (2, 1_000)
        ));
        assert!(complete(100, &[started(1)], (2, 1_000)));
        assert!(!complete(100, &[started(2)], (2, 1_000)));
        assert!(complete(100, &[], (2, 0)));
        assert!(complete(0, &[], (2, 1_000)));
    }

    #[test]
    fn the_running_rounds_start_is_known_when_seen_or_when_an_older_round_ended_above() {
        let known = |events: &[LoggedEvent], round: &Round| {
            Backfill::new(100, events, Some(round), (2, 1_000)).has_round_start()
        };
        assert!(!known(&[], &betting(9)));
        assert!(known(&[started(9)], &betting(9)));
        assert!(!known(&[started(8)], &betting(9)));
        assert!(known(&[refunded(8)], &betting(9)));
        assert!(known(
            &[],
            &Round {
                state: RoundState::Waiting,
                ..betting(9)
            }
        ));
    }
}
