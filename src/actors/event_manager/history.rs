//! Older logs: step by step up through blocks that were missed, then down through history, on a thread for each step so
//! that following never waits for it.

use std::sync::Arc;

use crossbeam_channel::{bounded, Receiver};

use crate::actors::backfill::Backfill;
use crate::actors::event_manager::{backoff, EventManager};
use crate::actors::reader::Reader;
use crate::actors::replay::Replay;
use crate::chain::endpoints::Endpoints;
use crate::chain::error::RpcError;
use crate::chain::node::Endpoint;
use crate::chain::types::H256;
use crate::lottery::history::LoggedEvent;
use crate::lottery::state::Update;

/// After so many failed steps logs that do not lead to each other are taken as they are.
const STRICT_STEPS: u32 = 3;

/// One step through older logs, taken on a thread of its own so that following never waits for it.
pub struct Job {
    pub answer: Receiver<Result<Step, RpcError>>,
    begun_at: (u64, H256),
}

/// Where a step leads from, and afterwards how far it led.
#[derive(Clone)]
pub enum Work {
    Replay(Replay),
    Backfill(Backfill),
}

/// How far a step led, and what it brought.
pub type Step = (Work, Vec<LoggedEvent>);

impl Work {
    fn place(&self) -> (u64, H256) {
        match self {
            Work::Replay(replay) => replay.place(),
            Work::Backfill(backfill) => backfill.place(),
        }
    }
}

impl EventManager {
    /// Begins a step through older logs, where there is one to take: up to the head first, then down through history.
    pub(super) fn start_job(&mut self) {
        let (following, now) = (&mut self.following, self.clock.now());
        if following.job.is_some() || following.job_not_before.is_some_and(|at| at > now) {
            return;
        }
        let work = match (&following.replay, &following.backfill) {
            (Some(replay), _) => Work::Replay(replay.clone()),
            (None, Some(backfill)) => Work::Backfill(backfill.clone()),
            (None, None) => return,
        };
        let (answered, answer) = bounded(1);
        let begun_at = work.place();
        let strict = following.job_failures < STRICT_STEPS;
        let (endpoints, reader) = (self.endpoints.clone(), self.reader.clone());
        let step = move || {
            // Nobody listens any more after a restart or a deep reorg.
            let _ = answered.send(take_step(&endpoints, &reader, &work, strict));
        };
        match self.clock.spawn("history", step) {
            Ok(()) => following.job = Some(Job { answer, begun_at }),
            Err(error) => log::error!("no thread to read the history: {error}"),
        }
    }

    pub(super) fn take_job(&mut self, result: Result<Step, RpcError>) -> Result<(), String> {
        let following = &mut self.following;
        let begun_at = following.job.take().map(|job| job.begun_at);
        let (work, events) = match result {
            Ok(stepped) => stepped,
            Err(error) => {
                following.job_failures += 1;
                let wait = backoff(following.job_failures, &self.clock);
                log::debug!("history: {error}");
                following.job_not_before = Some(self.clock.now() + wait);
                return Ok(());
            }
        };
        following.job_failures = 0;
        match work {
            Work::Replay(stepped) => {
                let Some(replay) = &mut following.replay else {
                    return Ok(());
                };
                if Some(replay.place()) != begun_at {
                    return Ok(());
                }
                replay.advance_to(&stepped);
                if replay.is_complete() {
                    log::info!("the missed blocks are replayed");
                    following.replay = None;
                }
                self.send_replayed(events)
            }
            Work::Backfill(stepped) => {
                let place = following.backfill.as_ref().map(Backfill::place);
                if place != begun_at {
                    return Ok(());
                }
                let complete = stepped.is_complete();
                following.backfill = (!complete).then_some(stepped);
                if complete || !events.is_empty() {
                    self.send(Update::Backfill { events, complete })?;
                }
                Ok(())
            }
        }
    }
}

/// One step; that there are no logs is believed when a second endpoint, where there is one, says so too.
fn take_step(
    endpoints: &Endpoints,
    reader: &Arc<Reader>,
    work: &Work,
    strict: bool,
) -> Result<Step, RpcError> {
    let (reader, work) = (reader.clone(), work.clone());
    let step = move |endpoint: &Endpoint| {
        let mut work = work.clone();
        let events = match &mut work {
            Work::Replay(replay) => replay.step(endpoint, &reader),
            Work::Backfill(backfill) => backfill.step(endpoint, &reader, strict),
        };
        let events = events.map_err(RpcError::of_this_endpoint)?;
        Ok((endpoint.clone(), (work, events)))
    };
    let (endpoint, first) = endpoints.with_endpoint(&step)?;
    if !first.1.is_empty() {
        return Ok(first);
    }
    match endpoints.with_another(&endpoint, step) {
        Some((_, second)) if !second.1.is_empty() => {
            endpoints.set_back(&endpoint);
            Ok(second)
        }
        _ => Ok(first),
    }
}
