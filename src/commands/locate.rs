//! Finds a finished round of the contract on the chain, any distance back, with few calls and no daemon.
//!
//! The contract itself says which round runs at a block, so where an endpoint answers for old states the end and the
//! start of a round are found by halving. Where none does, the events themselves show the way: each names its round, so a
//! few looks at logs here and there tell about where the round ended, and from there the logs are read backwards.

use crate::actors::reader::{decoded, invalid, Reader};
use crate::chain::endpoints::Endpoints;
use crate::chain::error::RpcError;
use crate::chain::logs::LogChunk;
use crate::chain::method::Method;
use crate::chain::node::Endpoint;
use crate::chain::types::{Address, BlockId, CallRequest, Log};
use crate::commands::output::tell;
use crate::commands::patience::{patiently, OldStates};
use crate::lottery::contract::{decode_round, get_round_calldata};
use crate::lottery::event::LotteryEvent;
use crate::lottery::history::{finished_round, FinishedRound, LoggedEvent};
use crate::lottery::round::{Round, RoundState};
use crate::lottery::search::{first_where, narrow, Told};

const LOGS: &[Method] = &[Method::GetLogs];
const CHUNK_BLOCKS_MAX: u64 = 10_000;
/// The first look back from the head, and from a round's end to its start: most rounds are that near.
const END_STEP_BLOCKS: u64 = 1_024;
const START_STEP_BLOCKS: u64 = 32;
/// How the reading goes is told after so many answers.
const TOLD_EVERY: u64 = 10;

/// What the search found.
pub enum Found {
    Round(Box<FinishedRound>),
    /// The round that runs is not above it: it has not ended, or is not of this contract.
    NotFinished {
        running: u64,
    },
}

/// Finds the end of round `round_id` and all its bets, and tells people who wait how the search goes.
///
/// # Errors
/// No endpoint answers what every node can: the head, its state, or logs.
pub(crate) fn locate(
    endpoints: &Endpoints,
    reader: &Reader,
    round_id: u64,
) -> Result<Found, RpcError> {
    let head = patiently(endpoints, &[Method::BlockByNumber], Endpoint::head)?.number;
    let running = patiently(endpoints, &[Method::Call], |endpoint| {
        reader.round_at(endpoint, BlockId::Number(head))
    })?;
    if running.round_id <= round_id {
        return Ok(Found::NotFinished {
            running: running.round_id,
        });
    }
    let states = OldStates::of(endpoints);
    let by_state = || -> Result<(u64, u64), RpcError> {
        let ended = first_where(0, head, END_STEP_BLOCKS, |number| {
            is_at(&states, reader.contract(), number, |round| {
                round.round_id > round_id
            })
        })?;
        let began = first_where(0, ended, START_STEP_BLOCKS, |number| {
            is_at(&states, reader.contract(), number, |round| {
                round.round_id > round_id
                    || round.round_id == round_id && round.state == RoundState::Betting
            })
        })?;
        Ok((began, ended))
    };
    let events = match by_state() {
        Ok((began, ended)) => {
            tell(&format!("it ran from block {began} to block {ended}"));
            read_up(&states, reader, began, ended)?
        }
        Err(_) => {
            let past = Past {
                endpoints,
                states: &states,
                reader,
                round_id,
            };
            past.read(head)?
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
    states: &OldStates,
    contract: Address,
    number: u64,
    is_so: impl Fn(&Round) -> bool,
) -> Result<bool, RpcError> {
    let request = CallRequest::to(contract, get_round_calldata());
    states.ask(|endpoint| {
        let answer = endpoint.call(&request, BlockId::Number(number), None)?;
        if answer.is_empty() {
            return Ok(false);
        }
        let round = decode_round(&answer);
        round.map(|round| is_so(&round)).map_err(invalid)
    })
}

/// The events of blocks `from` to `to`.
fn read_up(
    states: &OldStates,
    reader: &Reader,
    from: u64,
    to: u64,
) -> Result<Vec<LoggedEvent>, RpcError> {
    let mut events = Vec::new();
    let mut next = from;
    while next <= to {
        let (last, mut newer) = states.patiently(LOGS, |endpoint, states| {
            let chunk = endpoint.log_chunk(reader.contract(), (next, to), true)?;
            let last = chunk.last.number;
            let ends = [chunk.first, chunk.last];
            let events = reader.events(endpoint, chunk.logs, &ends, states)?;
            Ok((last, events))
        })?;
        events.append(&mut newer);
        next = last + 1;
    }
    Ok(events)
}

/// The logs of a chain of which only the newest states are told, and the round that is looked for in them.
struct Past<'a> {
    endpoints: &'a Endpoints,
    states: &'a OldStates<'a>,
    reader: &'a Reader,
    round_id: u64,
}

impl Past<'_> {
    /// The round's end and all its bets, from block `head` backwards. What that costs is told before it begins, as far as
    /// it is known, and how far it is while it goes on.
    fn read(&self, head: u64) -> Result<Vec<LoggedEvent>, RpcError> {
        // The first answer shows how many blocks one has.
        let newest = self.chunk(head.saturating_sub(CHUNK_BLOCKS_MAX - 1), head)?;
        let step = newest.last.number.abs_diff(newest.first.number) + 1;
        tell(&format!(
            "the logs have to be read, {step} blocks an answer, each with the headers at its ends: blooms would take a \
             call for each block. Where rounds follow each other closely that is some dozens of calls; where events are \
             rare, up to {} calls for all {head} blocks, should the round be the oldest",
            calls_for(head, step)
        ));
        let mut looks = 0u64;
        let (low, high) = narrow(head, step, |from, to| {
            looks += 1;
            if looks.is_multiple_of(TOLD_EVERY) {
                tell(&format!(
                    "{looks} looks at events so far, now below block {to}"
                ));
            }
            self.look(from, to)
        })?;
        tell(&format!(
            "events show that the round ended between block {low} and block {high}: at most {} calls more, and those for \
             the time it took bets",
            calls_for(high - low, step)
        ));
        self.read_down(high)
    }

    fn chunk(&self, from: u64, to: u64) -> Result<LogChunk, RpcError> {
        patiently(self.endpoints, LOGS, |endpoint| {
            endpoint.log_chunk(self.reader.contract(), (from, to), false)
        })
    }

    /// Goes down through the blocks until an event tells whether the round was over.
    fn look(&self, from: u64, to: u64) -> Result<Told, RpcError> {
        let mut unread_below = to + 1;
        while unread_below > from {
            let chunk = self.chunk(from, unread_below - 1)?;
            let mut told = Told::default();
            for log in &chunk.logs {
                let number = log.block_number;
                match event_in(log)?.and_then(|event| is_over(&event, self.round_id)) {
                    Some(true) => told.holds_at = told.holds_at.or(Some(number)),
                    Some(false) => told.not_at = Some(number),
                    None => {}
                }
            }
            if told != Told::default() {
                return Ok(told);
            }
            unread_below = chunk.first.number;
        }
        Ok(Told::default())
    }

    /// Reads back from block `high` until the round's end and all its bets are known.
    fn read_down(&self, high: u64) -> Result<Vec<LoggedEvent>, RpcError> {
        let mut unread_below = high + 1;
        let mut events: Vec<LoggedEvent> = Vec::new();
        let mut answers = 0u64;
        while unread_below > 0 {
            let range = (
                unread_below.saturating_sub(CHUNK_BLOCKS_MAX),
                unread_below - 1,
            );
            let ask = |endpoint: &Endpoint, states| {
                let chunk = endpoint.log_chunk(self.reader.contract(), range, false)?;
                let (mut own, mut is_past) = (Vec::new(), false);
                for log in chunk.logs {
                    let Some(event) = event_in(&log)? else {
                        continue;
                    };
                    is_past |= is_before_bets(&event, self.round_id);
                    // What the ends of other rounds rest on is not asked for.
                    if event.round_id() == Some(self.round_id) {
                        own.push(log);
                    }
                }
                let ends = [chunk.first, chunk.last];
                let events = self.reader.events(endpoint, own, &ends, states)?;
                Ok((ends[0].number, events, is_past))
            };
            let (from, mut older, is_past) = self.states.patiently(LOGS, ask)?;
            older.append(&mut events);
            events = older;
            if is_past {
                break;
            }
            unread_below = from;
            answers += 1;
            if answers.is_multiple_of(TOLD_EVERY) {
                tell(&format!("reading on below block {unread_below}"));
            }
        }
        Ok(events)
    }
}

/// The most calls that the logs of so many blocks take: with each answer come two headers, and an empty one is asked for
/// twice.
fn calls_for(blocks: u64, step: u64) -> u64 {
    blocks.div_ceil(step).saturating_mul(6)
}

fn event_in(log: &Log) -> Result<Option<LotteryEvent>, RpcError> {
    Ok(decoded(log)?.map(|record| record.event))
}

/// Whether the round had ended when this was logged; None for what is about no round.
fn is_over(event: &LotteryEvent, wanted: u64) -> Option<bool> {
    let round_id = event.round_id()?;
    Some(round_id > wanted || event.ended_round() == Some(wanted))
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
