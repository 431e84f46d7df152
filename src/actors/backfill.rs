//! The walk back through history after a start: chunk by chunk below what is known, until enough finished rounds are
//! found, the contract's first round is reached, or the budget of blocks is spent. It runs beside following.

use crate::actors::reader::{Reader, States};
use crate::chain::error::RpcError;
use crate::chain::node::Endpoint;
use crate::chain::types::{Header, H256};
use crate::lottery::continuity::{follow, tally_before, Tally};
use crate::lottery::event::LotteryEvent;
use crate::lottery::history::LoggedEvent;
use crate::lottery::round::{Round, RoundState};

/// The most blocks of one step; an endpoint may allow fewer.
const CHUNK_BLOCKS_MAX: u64 = 10_000;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub first_chunk_blocks: u64,
    pub history_max_blocks: u64,
    pub round_history_max: usize,
}

/// What a step refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strict {
    /// Logs that leave something out, as far as what is known shows it.
    pub logs: bool,
    /// A history without these states: of those that nodes keep now, not of what they kept at the start.
    pub(crate) states: States,
}

#[derive(Clone, Debug)]
pub struct Backfill {
    /// Blocks below this are unread.
    unread_below: u64,
    /// The hash of the highest unread block, which links what is read to what is known.
    next_hash: H256,
    blocks_left: u64,
    chunk_blocks: u64,
    /// One more than is kept: the end before the oldest kept round bounds its bets.
    ends_wanted: usize,
    ends_seen: usize,
    /// Where the game was before the earliest event that is known.
    tally: Option<Tally>,
    /// The running round's bets are all above what was read, so far as it matters.
    round_start_seen: bool,
    /// When the running round began, by which a chunk that should show it is known; None where none runs, or a reorg may
    /// have changed it.
    round_began_at: Option<u64>,
    first_round_seen: bool,
    running_round_id: u64,
}

impl Backfill {
    /// From the head down; `round` is the head's.
    pub fn new(head: &Header, round: Option<&Round>, limits: Limits) -> Backfill {
        Backfill {
            unread_below: head.number + 1,
            next_hash: head.hash,
            blocks_left: limits.history_max_blocks,
            chunk_blocks: limits.first_chunk_blocks.max(1),
            ends_wanted: limits.round_history_max + 1,
            ends_seen: 0,
            tally: round.map(Tally::from),
            round_start_seen: round.is_some_and(|round| round.state != RoundState::Betting),
            round_began_at: round
                .filter(|round| round.state == RoundState::Betting)
                .map(|round| round.start_time),
            first_round_seen: false,
            running_round_id: round.map_or(0, |round| round.round_id),
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.unread_below == 0
            || self.blocks_left == 0
            || self.first_round_seen
            || self.ends_seen >= self.ends_wanted
    }

    /// False while the running round's start may still be found.
    pub(crate) fn has_round_start(&self) -> bool {
        self.round_start_seen || self.is_complete()
    }

    /// After a reorg: what lies above the common ancestor has been read anew by the poller.
    pub(crate) fn lower_to(&mut self, ancestor: u64, ancestor_hash: H256) {
        if ancestor + 1 < self.unread_below {
            self.unread_below = ancestor + 1;
            self.next_hash = ancestor_hash;
            self.tally = None;
            self.round_began_at = None;
        }
    }

    /// The highest unread block and the number above it: a step that began elsewhere is of no use any more.
    pub fn next(&self) -> (u64, H256) {
        (self.unread_below, self.next_hash)
    }

    /// Reads one chunk and answers with its events.
    pub fn step(
        &mut self,
        endpoint: &Endpoint,
        reader: &Reader,
        strict: Strict,
    ) -> Result<Vec<LoggedEvent>, RpcError> {
        let wanted = self
            .chunk_blocks
            .min(self.blocks_left)
            .min(self.unread_below);
        let range = (self.unread_below - wanted, self.unread_below - 1);
        let chunk = endpoint.log_chunk_once(reader.contract(), range, false)?;
        if chunk.last.hash != self.next_hash {
            return Err(RpcError::behind(format!(
                "{} shows another block {} than the head's ancestor",
                endpoint.host(),
                chunk.last.number
            )));
        }
        let ends = [chunk.first.clone(), chunk.last];
        let events = reader.events(endpoint, chunk.logs, &ends, strict.states)?;
        if strict.logs && !self.is_whole(&events, &ends[0]) {
            return Err(RpcError::behind(format!(
                "{} left out logs of blocks {} to {}",
                endpoint.host(),
                chunk.first.number,
                range.1
            )));
        }
        // The first blocks with our logs show whether the chain's blooms are real.
        if !reader.blooms().are_trusted() {
            reader.learn_of_blooms(endpoint, &events);
        }
        self.note(&events);
        self.tally = tally_before(&events).or(self.tally);
        self.blocks_left -= self.unread_below - chunk.first.number;
        self.unread_below = chunk.first.number;
        self.next_hash = chunk.first.parent_hash;
        self.chunk_blocks = CHUNK_BLOCKS_MAX;
        Ok(events)
    }

    /// Whether the events of the blocks from `first` on lead to those above them, and reach back to what has to be there: the
    /// running round's beginning, and at the chain's own the game's.
    fn is_whole(&self, events: &[LoggedEvent], first: &Header) -> bool {
        let leads_on = match follow(None, events) {
            Ok(end) => end.is_none() || self.tally.is_none() || end == self.tally,
            Err(_) => false,
        };
        let reaches_start = self
            .round_began_at
            .is_some_and(|began_at| first.timestamp < began_at);
        let has_start = self.round_start_seen || events.iter().any(|event| self.is_start(event));
        let before = tally_before(events).or(self.tally);
        let has_beginning = before.is_none_or(|before| before == Tally::beginning());
        leads_on && (has_start || !reaches_start) && (has_beginning || first.number > 0)
    }

    fn is_start(&self, event: &LoggedEvent) -> bool {
        let LotteryEvent::RoundStateChanged {
            round_id,
            new_state: RoundState::Betting,
            ..
        } = event.record.event
        else {
            return false;
        };
        round_id == self.running_round_id
    }

    fn note(&mut self, events: &[LoggedEvent]) {
        for event in events {
            self.round_start_seen |= self.is_start(event);
            match event.record.event {
                LotteryEvent::RoundCompleted { .. } | LotteryEvent::RoundRefunded { .. } => {
                    self.ends_seen += 1;
                    self.round_start_seen = true;
                }
                LotteryEvent::RoundStateChanged {
                    round_id: 1,
                    new_state: RoundState::Betting,
                    ..
                } => self.first_round_seen = true,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::types::U256;
    use crate::lottery::event::{EventRecord, LogPosition};
    use std::sync::Arc;

    fn event(event: LotteryEvent) -> LoggedEvent {
        let position = LogPosition {
            block_number: 1,
            block_hash: H256::zero(),
            block_timestamp: 0,
            transaction_hash: H256::zero(),
            transaction_index: 0,
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
        })
    }

    fn refunded(round_id: u64) -> LoggedEvent {
        event(LotteryEvent::RoundRefunded {
            round_id,
            total_refunded_wei: U256::one(),
            participant_count: 1,
            reason: String::new(),
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

    fn walked(
        unread_below: u64,
        events: &[LoggedEvent],
        round: &Round,
        limits: (usize, u64),
    ) -> Backfill {
        let head = Header::bare(unread_below.saturating_sub(1));
        let limits = Limits {
            first_chunk_blocks: 500,
            history_max_blocks: limits.1,
            round_history_max: limits.0,
        };
        let mut backfill = Backfill::new(&head, Some(round), limits);
        backfill.unread_below = unread_below;
        backfill.note(events);
        backfill
    }

    #[test]
    fn the_walk_ends_with_enough_rounds_the_first_round_the_budget_or_block_zero() {
        let complete = |unread_below, events: &[LoggedEvent], limits| {
            walked(unread_below, events, &betting(9), limits).is_complete()
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
            walked(100, events, round, (2, 1_000)).has_round_start()
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

    #[test]
    fn a_history_without_what_has_to_be_there_is_not_whole() {
        let round = Round {
            start_time: 1_000,
            ..betting(9)
        };
        let from = |number, timestamp| Header {
            timestamp,
            ..Header::bare(number)
        };
        let is_whole = |events: &[LoggedEvent], round: &Round, first: Header| {
            walked(100, &[], round, (2, 1_000)).is_whole(events, &first)
        };
        // Nobody has bet yet where it leads to.
        let empty = Round {
            total_pot_wei: U256::zero(),
            ..round.clone()
        };
        assert!(is_whole(&[], &empty, from(50, 1_000)));
        assert!(!is_whole(&[], &empty, from(50, 999)));
        assert!(is_whole(&[started(9)], &empty, from(50, 999)));
        // A bet is missing.
        assert!(!is_whole(&[started(9)], &round, from(50, 999)));
        let waiting = |round_id| Round::waiting(round_id);
        assert!(is_whole(&[], &waiting(2), from(1, 0)));
        assert!(!is_whole(&[], &waiting(2), from(0, 0)));
        assert!(is_whole(&[], &waiting(1), from(0, 0)));
    }
}
