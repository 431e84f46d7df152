//! From logs to events: decoded, placed, and with what the end of a round needs beside its log.

use std::sync::Arc;

use crate::actors::reader::{check_hash, Reader};
use crate::chain::error::{ErrorKind, RpcError};
use crate::chain::node::Endpoint;
use crate::chain::types::{BlockId, Header, Log};
use crate::lottery::event::EventRecord;
use crate::lottery::history::{FinishFacts, LoggedEvent};
use crate::lottery::proof::DrawBlock;

/// Full nodes keep the states of the newest 128 blocks; one that has fewer trails.
pub fn states_kept_at(head: &Header) -> u64 {
    const STATES_KEPT: u64 = 100;
    head.number.saturating_sub(STATES_KEPT)
}

impl Reader {
    /// Decodes logs and adds what ends of rounds need. `headers` are those already read; from block `states_from` on the
    /// endpoint has to have the state.
    pub fn events(
        &self,
        endpoint: &Endpoint,
        logs: Vec<Log>,
        headers: &[Header],
        states_from: u64,
    ) -> Result<Vec<LoggedEvent>, RpcError> {
        let mut events = Vec::with_capacity(logs.len());
        for log in logs {
            let decoded = EventRecord::from_log(&log).map_err(|error| {
                RpcError::invalid_answer(format!("log of the contract: {error}"))
            })?;
            let Some(record) = decoded else { continue };
            let finish = match record.event.ended_round() {
                Some(_) => Some(self.finish_facts(endpoint, &log, headers, states_from)?),
                None => None,
            };
            events.push(LoggedEvent {
                record: Arc::new(record),
                finish,
            });
        }
        Ok(events)
    }

    fn finish_facts(
        &self,
        endpoint: &Endpoint,
        log: &Log,
        headers: &[Header],
        states_from: u64,
    ) -> Result<FinishFacts, RpcError> {
        let known = headers
            .iter()
            .find(|header| header.number == log.block_number);
        let header = match known {
            Some(header) => header.clone(),
            None => endpoint.header(BlockId::Number(log.block_number))?,
        };
        check_hash(log, &header)?;
        let before = log.block_number.saturating_sub(1);
        let round_before = match self.round_at(endpoint, BlockId::Number(before)) {
            Err(error) if before >= states_from && error.kind == ErrorKind::Behind => {
                return Err(error);
            }
            // Old state is often out of a node's reach; then the times stay unknown.
            round => round.ok(),
        };
        let min_draw_time = round_before.as_ref().map(|round| round.min_draw_time);
        Ok(FinishFacts {
            block: draw_block(endpoint, &header),
            first_allowed: min_draw_time.and_then(|time| first_allowed(endpoint, &header, time)),
            round_before,
        })
    }
}

/// What the proof needs of the block that mined a draw: the chain's own word where its state is in reach, and the header.
pub fn draw_block(endpoint: &Endpoint, header: &Header) -> DrawBlock {
    let at = BlockId::Exactly {
        number: header.number,
        hash: header.hash,
    };
    DrawBlock {
        opcodes: endpoint.block_opcodes(at).ok(),
        header: Some(header.into()),
    }
}

/// Number and timestamp of the first block at or below `header` whose time is at least `min_draw_time`: mostly that very
/// block, which one question shows; else in steps that double. None where a header is out of reach.
pub fn first_allowed(
    endpoint: &Endpoint,
    header: &Header,
    min_draw_time: u64,
) -> Option<(u64, u64)> {
    let timestamp = |number| {
        let header = endpoint.header(BlockId::Number(number)).ok()?;
        Some(header.timestamp)
    };
    first_block_from(header.number, header.timestamp, min_draw_time, timestamp)
}

/// The same over any source of timestamps.
fn first_block_from(
    number: u64,
    time: u64,
    min_draw_time: u64,
    timestamp: impl Fn(u64) -> Option<u64>,
) -> Option<(u64, u64)> {
    // All blocks from `allowed` up have the time, those up to `early` do not.
    let (mut allowed, mut step) = ((number, time), 1);
    let mut early = loop {
        let Some(below) = allowed.0.checked_sub(step) else {
            break None;
        };
        match timestamp(below)? {
            time if time >= min_draw_time => allowed = (below, time),
            _ => break Some(below),
        }
        step *= 2;
    };
    // Without an early one the search ends at block 0.
    while allowed.0 > early.map_or(0, |early| early + 1) {
        let middle = early.map_or(0, |early| early + 1).midpoint(allowed.0);
        match timestamp(middle)? {
            time if time >= min_draw_time => allowed = (middle, time),
            _ => early = Some(middle),
        }
    }
    Some(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the chain's rhythm, the first block that allowed the draw is found, with few questions.
        #[test]
        fn the_first_block_that_allowed_is_found(
            gaps in proptest::collection::vec(0..4u64, 1..200), early_by in 0..300u64,
        ) {
            let times: Vec<u64> = gaps.iter().scan(1_000, |time, gap| { *time += gap; Some(*time) }).collect();
            let number = times.len() as u64 - 1;
            let last = times[number as usize];
            let min_draw_time = last.saturating_sub(early_by);
            let asked = std::cell::Cell::new(0);
            let timestamp = |number: u64| {
                asked.set(asked.get() + 1);
                Some(times[number as usize])
            };
            let found = first_block_from(number, last, min_draw_time, timestamp).unwrap();
            let expected = times.iter().position(|time| *time >= min_draw_time).unwrap();
            prop_assert_eq!(found, (expected as u64, times[expected]));
            prop_assert!(asked.get() <= 17, "{}", asked.get());
            if expected as u64 == number {
                prop_assert!(asked.get() <= 1);
            }
        }
    }

    #[test]
    fn a_header_out_of_reach_leaves_the_delay_unknown() {
        assert_eq!(first_block_from(9, 100, 50, |_| None), None);
        assert_eq!(first_block_from(0, 100, 50, |_| None), Some((0, 100)));
    }
}
