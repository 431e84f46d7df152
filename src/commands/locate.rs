//! Finds a finished round of the contract on the chain, any distance back, with few calls and no daemon.
//!
//! The contract itself says which round runs at a block, so where an endpoint answers for old states the end and the
//! start of a round are found by halving. Where none does, the logs have to be read from the head backwards.

use crate::actors::reader::Reader;
use crate::chain::endpoints::Endpoints;
use crate::chain::error::RpcError;
use crate::chain::method::Method;
use crate::chain::types::BlockId;
use crate::chain::types::{Address, CallRequest};
use crate::lottery::contract::{decode_round, get_round_calldata};
use crate::lottery::event::LotteryEvent;
use crate::lottery::history::{finished_round, FinishedRound, LoggedEvent};
use crate::lottery::round::{Round, RoundState};
use crate::lottery::search::first_where;

const CHUNK_BLOCKS_MAX: u64 = 10_000;
/// The first look back from the head, and from a round's end to its start: most rounds are that near.
const END_STEP_BLOCKS: u64 = 1_024;
const START_STEP_BLOCKS: u64 = 32;

/// What the search found.
pub enum Found {
    Round(Box<FinishedRound>),
    /// The round that runs is not above it: it has not ended, or is not of this contract.
    NotFinished {
        running: u64,
    },
}

/// Finds the end of round `round_id` and all its bets; `say` is told how the search goes, for people who wait.
///
/// # Errors
/// No endpoint answers what every node can: the head, its state, or logs.
pub(crate) fn locate(
    endpoints: &Endpoints,
    reader: &Reader,
    round_id: u64,
    say: &mut impl FnMut(&str),
) -> Result<Found, RpcError> {
    let head = endpoints
        .with_endpoint(&[Method::BlockByNumber], |endpoint| endpoint.head())?
        .number;
    let running = round_at(endpoints, reader, head)?;
    if running.round_id <= round_id {
        return Ok(Found::NotFinished {
            running: running.round_id,
        });
    }
    let by_state = || -> Result<(u64, u64), RpcError> {
        let ended = first_where(0, head, END_STEP_BLOCKS, |number| {
            is_at(endpoints, reader.contract(), number, |round| {
                round.round_id > round_id
            })
        })?;
        let began = first_where(0, ended, START_STEP_BLOCKS, |number| {
            is_at(endpoints, reader.contract(), number, |round| {
                round.round_id > round_id
                    || round.round_id == round_id && round.state == RoundState::Betting
            })
        })?;
        Ok((began, ended))
    };
    let events = match by_state() {
        Ok((began, ended)) => {
            say(&format!("it ran from block {began} to block {ended}"));
            read_up(endpoints, reader, began, ended)?
        }
        Err(error) => {
            let step = endpoints
                .list()
                .first()
                .map_or(1, |endpoint| endpoint.log_range_blocks());
            say(&format!(
                "no endpoint tells the contract's old states ({error}): the logs are read from block {head} backwards, \
                 {step} blocks a question at first"
            ));
            read_down(endpoints, reader, head, round_id, say)?
        }
    };
    Ok(match finished_round(&events, round_id) {
        Some(round) => Found::Round(Box::new(round)),
        None => Found::NotFinished {
            running: running.round_id,
        },
    })
}

/// What `is_so` says of the round at that block; before the contract there was none.
pub(super) fn is_at(
    endpoints: &Endpoints,
    contract: Address,
    number: u64,
    is_so: impl Fn(&Round) -> bool,
) -> Result<bool, RpcError> {
    let request = CallRequest::to(contract, get_round_calldata());
    let answer = endpoints.with_endpoint(&[Method::Call], |endpoint| {
        endpoint.call(&request, BlockId::Number(number), None)
    })?;
    if answer.is_empty() {
        return Ok(false);
    }
    let round = decode_round(&answer);
    round
        .map(|round| is_so(&round))
        .map_err(|error| RpcError::invalid_answer(error.to_string()))
}

fn round_at(endpoints: &Endpoints, reader: &Reader, number: u64) -> Result<Round, RpcError> {
    let request = CallRequest::to(reader.contract(), get_round_calldata());
    let answer = endpoints.with_endpoint(&[Method::Call], |endpoint| {
        endpoint.call(&request, BlockId::Number(number), None)
    })?;
    decode_round(&answer).map_err(|error| RpcError::invalid_answer(error.to_string()))
}

/// The events of blocks `from` to `to`.
fn read_up(
    endpoints: &Endpoints,
    reader: &Reader,
    from: u64,
    to: u64,
) -> Result<Vec<LoggedEvent>, RpcError> {
    let mut events = Vec::new();
    let mut next = from;
    while next <= to {
        let (last, mut newer) = endpoints.with_endpoint(&[Method::GetLogs], |endpoint| {
            let chunk = endpoint.log_chunk(reader.contract(), (next, to), true)?;
            let last = chunk.last.number;
            let ends = [chunk.first, chunk.last];
            Ok((last, reader.events(endpoint, chunk.logs, &ends, u64::MAX)?))
        })?;
        events.append(&mut newer);
        next = last + 1;
    }
    Ok(events)
}

/// Reads back from the head until the round's end and all its bets are known.
fn read_down(
    endpoints: &Endpoints,
    reader: &Reader,
    head: u64,
    round_id: u64,
    say: &mut impl FnMut(&str),
) -> Result<Vec<LoggedEvent>, RpcError> {
    let mut unread_below = head + 1;
    let mut events: Vec<LoggedEvent> = Vec::new();
    while unread_below > 0 {
        let range = (
            unread_below.saturating_sub(CHUNK_BLOCKS_MAX),
            unread_below - 1,
        );
        let (from, mut older) = endpoints.with_endpoint(&[Method::GetLogs], |endpoint| {
            let chunk = endpoint.log_chunk(reader.contract(), range, false)?;
            let from = chunk.first.number;
            let ends = [chunk.first, chunk.last];
            Ok((from, reader.events(endpoint, chunk.logs, &ends, u64::MAX)?))
        })?;
        let is_past = older
            .iter()
            .any(|event| is_before_bets(&event.record.event, round_id));
        older.append(&mut events);
        events = older;
        if is_past {
            break;
        }
        unread_below = from;
        say(&format!("reading on below block {unread_below}"));
    }
    Ok(events)
}

/// True for what can only come before the round's first bet.
fn is_before_bets(event: &LotteryEvent, wanted: u64) -> bool {
    match *event {
        LotteryEvent::RoundStateChanged {
            round_id,
            new_state: RoundState::Betting,
            ..
        } => round_id <= wanted,
        ref event => event.ended_round().is_some_and(|ended| ended < wanted),
    }
}
