//! From logs to events: decoded, placed, and with what the end of a round needs beside its log.

use std::sync::Arc;

use crate::actors::reader::placement::check_hash;
use crate::actors::reader::Reader;
use crate::chain::error::{ErrorKind, RpcError};
use crate::chain::node::Endpoint;
use crate::chain::types::{BlockId, Header, Log};
use crate::lottery::event::EventRecord;
use crate::lottery::history::{FinishFacts, LoggedEvent};
use crate::lottery::proof::DrawBlock;
use crate::lottery::search::first_where;

/// Without which states of old blocks an endpoint's answer is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum States {
    /// None: what is not told stays unknown.
    Spared,
    /// Those of this block and all above: who lacks them trails.
    KeptFrom(u64),
    /// Those that it does not tell for a reason that passes.
    Patiently,
}

impl States {
    /// Full nodes keep the states of the newest 128 blocks; one that has fewer trails.
    pub fn kept_at(newest: u64) -> States {
        const STATES_KEPT: u64 = 100;
        States::KeptFrom(newest.saturating_sub(STATES_KEPT))
    }

    /// True where the failure to tell the state of block `number` spoils the whole answer.
    pub fn want(self, number: u64, error: &RpcError) -> bool {
        match self {
            States::Spared => false,
            States::KeptFrom(lowest) => number >= lowest && error.kind == ErrorKind::Behind,
            States::Patiently => error.is_passing(),
        }
    }
}

/// What a log of the contract says; None for an event that is not known.
///
/// # Errors
/// When topics or data of a known event are not what they have to be.
pub(crate) fn decoded(log: &Log) -> Result<Option<EventRecord>, RpcError> {
    EventRecord::from_log(log)
        .map_err(|error| RpcError::invalid_answer(format!("log of the contract: {error}")))
}

impl Reader {
    /// Decodes logs and adds what ends of rounds need. `headers` are those already read; `states` are those
    /// that the endpoint has to have.
    pub(crate) fn events(
        &self,
        endpoint: &Endpoint,
        logs: Vec<Log>,
        headers: &[Header],
        states: States,
    ) -> Result<Vec<LoggedEvent>, RpcError> {
        let mut events = Vec::with_capacity(logs.len());
        for log in logs {
            let Some(record) = decoded(&log)? else {
                continue;
            };
            let finish = match record.event.ended_round() {
                Some(_) => Some(self.finish_facts(endpoint, &log, headers, states)?),
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
        states: States,
    ) -> Result<FinishFacts, RpcError> {
        let known = headers
            .iter()
            .find(|header| header.number == log.block_number);
        let header = match known {
            Some(header) => header.clone(),
            None => endpoint
                .header(BlockId::Number(log.block_number))
                .or_else(|_| endpoint.header(BlockId::Hash(log.block_hash)))?,
        };
        check_hash(log, &header)?;
        let before = log.block_number.saturating_sub(1);
        let times = match self.round_at(endpoint, BlockId::Number(before)) {
            Err(error) if states.want(before, &error) => return Err(error),
            // Old state is often out of a node's reach; then the times stay unknown.
            round => round.ok().and_then(|round| round.times()),
        };
        let opcodes = match endpoint.block_opcodes((&header).into()) {
            Err(error) if states == States::Patiently && error.is_passing() => return Err(error),
            opcodes => opcodes.ok(),
        };
        Ok(FinishFacts {
            // The chain's own word where its state is in reach, and the header.
            block: DrawBlock {
                opcodes,
                header: Some((&header).into()),
            },
            first_allowed: times
                .and_then(|times| first_allowed(endpoint, &header, times.min_draw_time)),
            times,
            held_up_by: None,
        })
    }
}

/// Number and timestamp of the first block at or below `header` whose time is at least `min_draw_time`: mostly that very
/// block, which one question shows; else in steps that double. None where a header is out of reach.
pub(crate) fn first_allowed(
    endpoint: &Endpoint,
    header: &Header,
    min_draw_time: u64,
) -> Option<(u64, u64)> {
    let mut first = (header.number, header.timestamp);
    let allows = |number| {
        let timestamp = endpoint.header(BlockId::Number(number))?.timestamp;
        let is_allowed = timestamp >= min_draw_time;
        if is_allowed {
            first = (number, timestamp);
        }
        Ok::<bool, RpcError>(is_allowed)
    };
    let found = first_where(0, header.number, 1, allows).ok()?;
    // The last block that was found to allow it is the first of them all.
    debug_assert_eq!(found, first.0);
    Some(first)
}
