//! Everything that is owed: logs of missed blocks from the bottom up, then history from the top down, one step a job; and
//! the running round's players, from the contract itself, when the logs do not tell them soon enough. What cannot be had
//! is said in the log and in the health report, and nobody waits for it for ever.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::actors::backfill::{Backfill, Strict};
use crate::actors::event_manager::input::Input;
use crate::actors::event_manager::older::{Begun, Step, Work, AWAITED_AFTER, STALLED_AFTER};
use crate::actors::event_manager::{backoff, EventManager, Following};
use crate::actors::reader::Reader;
use crate::actors::replay::Replay;
use crate::chain::cursor::Cursor;
use crate::chain::endpoints::Endpoints;
use crate::chain::error::RpcError;
use crate::chain::method::Method;
use crate::chain::node::Endpoint;
use crate::chain::types::BlockRef;
use crate::lottery::participants::PlayersRead;
use crate::lottery::state::Update;

/// What a step through logs cannot do without.
const LOGS: &[Method] = &[Method::GetLogs, Method::BlockByNumber];
/// How long the logs may take to tell the players before the contract is asked.
const PLAYERS_AFTER: Duration = Duration::from_secs(5);
/// How soon the contract is asked again for players that are still not explained.
const PLAYERS_AGAIN: Duration = Duration::from_secs(10);
/// How soon it is looked again whether the store has caught up, without which nothing is known to be missing.
const STORE_AGAIN: Duration = Duration::from_millis(50);

impl EventManager {
    /// Begins a step through older logs, where there is one to take: up to the head first, then down through history.
    pub(super) fn start_older(&mut self, now: Instant) {
        let Following { older, cursor, .. } = &self.following;
        let work = older.work(cursor, now).filter(|_| !older.has_step());
        let Some(work) = work else { return };
        let begun = work.begun();
        let trials = match begun.is_up {
            true => &older.up,
            false => &older.down,
        };
        let newest = cursor.tip().map_or(0, |tip| tip.number);
        let strict = trials.strict(newest, now);
        let (endpoints, reader) = (self.endpoints.clone(), self.reader.clone());
        let known = self.following.cursor.clone();
        let step = move || take_step(&endpoints, &reader, (&work, &known), strict);
        let as_input = move |result| Input::Older { begun, result };
        let jobs = &self.following.jobs;
        let is_started = jobs.start(&self.clock, "older-logs", step, as_input);
        let older = &mut self.following.older;
        match is_started {
            true => older.begin_step(begun),
            false => older.trials(begun.is_up).not_before = Some(now + PLAYERS_AGAIN),
        }
    }

    pub(super) fn older_wakes_at(&self, now: Instant) -> Option<Instant> {
        let Following { older, cursor, .. } = &self.following;
        // Health is told that it stalls, or keeps somebody waiting, when it does and not later.
        let told = [
            older.up.failing_since.map(|since| since + STALLED_AFTER),
            older.down.failing_since.map(|since| since + STALLED_AFTER),
            older.replay_since.map(|since| since + AWAITED_AFTER),
        ];
        let told = told.into_iter().flatten().filter(|at| *at > now);
        let up = older.logs_need_steps(cursor).then_some(&older.up);
        let down = older.backfill.as_ref().map(|_| &older.down);
        let next = up.into_iter().chain(down);
        let next = next
            .filter(|_| !older.has_step())
            .map(|trials| trials.not_before.unwrap_or(now).max(now));
        next.chain(told).min()
    }

    pub(super) fn take_older(
        &mut self,
        begun: Begun,
        result: Result<Step, RpcError>,
        now: Instant,
    ) -> Result<(), String> {
        let older = &mut self.following.older;
        if !older.end_step(begun) {
            return Ok(());
        }
        let Begun { at, is_up } = begun;
        let wait = backoff(older.trials(is_up).failures + 1, &self.clock);
        let step = match result {
            Ok(step) => step,
            Err(error) => {
                older.note_failure(is_up, &error, wait, now);
                return Ok(());
            }
        };
        if !matches!(&step.work, Work::Replay(stepped) if stepped.is_in_doubt()) {
            older.note_success(is_up);
        }
        let is_current = older.replay.as_ref().map(Replay::done) == Some(at);
        if is_current && matches!(&step.work, Work::Replay(stepped) if stepped.is_lost()) {
            log::warn!("logs were read along a branch that is gone: reading everything anew");
            self.begin_anew(now);
            return Ok(());
        }
        match step.work {
            Work::Replay(stepped) => {
                let Some(replay) = &older.replay else {
                    return Ok(());
                };
                let is_of_branch = stepped.leads_to(&self.following.cursor, replay.tip());
                if replay.done() != at || !is_of_branch {
                    return Ok(());
                }
                if stepped.has_gone_back() {
                    older.note_step_back(&stepped, wait, now);
                    return Ok(());
                }
                let tip = replay.tip();
                older.note_step_up(&stepped);
                if stepped.done().0 >= tip.block.number {
                    self.following.sound = Some(tip);
                    older.end_replay();
                }
                self.send_replayed(step.events)
            }
            Work::Backfill(stepped) => {
                let next = older.backfill.as_ref().map(Backfill::next);
                if next != Some(at) {
                    return Ok(());
                }
                let complete = stepped.is_complete();
                older.backfill = (!complete).then_some(stepped);
                if complete || !step.events.is_empty() {
                    self.send(Update::Backfill {
                        events: step.events,
                        complete,
                    })?;
                }
                Ok(())
            }
        }
    }

    /// Asks the contract for the players when the store's do not make up the pot and the logs do not tell why.
    pub(super) fn start_players(&mut self, now: Instant) {
        let snapshot = self.snapshot.load();
        let following = &mut self.following;
        let Some(tip) = following.cursor.tip().copied() else {
            return;
        };
        // Only when the store has caught up with us does it show what is missing.
        let is_in_step = snapshot.head.is_some_and(|head| head.hash == tip.hash);
        let missing = snapshot
            .round
            .as_ref()
            .filter(|round| round.total_pot_wei != snapshot.participants.total_amount_wei())
            .map(|round| (round.round_id, round.total_pot_wei));
        let searches = following.older.searches_players();
        let players = &mut following.older.players;
        let Some(of) = missing.filter(|_| is_in_step) else {
            if is_in_step {
                players.unexplained_since = None;
            }
            return;
        };
        let since = *players.unexplained_since.get_or_insert(now);
        let is_patient = searches && now < since + PLAYERS_AFTER;
        let asked_lately =
            players.of == Some(of) && players.asked_at.is_some_and(|at| now < at + PLAYERS_AGAIN);
        if is_patient || asked_lately || players.asked_of.is_some() {
            return;
        }
        let (endpoints, reader) = (self.endpoints.clone(), self.reader.clone());
        let work = move || {
            endpoints.with_endpoint(&[Method::Call], |endpoint| {
                let players = reader.players_at(endpoint, &tip);
                players.map_err(RpcError::of_this_endpoint)
            })
        };
        let as_input = move |result| Input::Players { at: tip, result };
        if following.jobs.start(&self.clock, "players", work, as_input) {
            players.asked_of = Some(tip);
        }
        players.asked_at = Some(now);
        players.of = Some(of);
    }

    pub(super) fn players_wake_at(&self, now: Instant) -> Option<Instant> {
        let players = &self.following.older.players;
        let since = players.unexplained_since?;
        let again = players.asked_at.map_or(now, |at| at + PLAYERS_AGAIN);
        let at = (since + PLAYERS_AFTER).max(again);
        // What was due and did not begin waits for the store.
        let at = if at > now { at } else { now + STORE_AGAIN };
        players.asked_of.is_none().then_some(at)
    }

    pub(super) fn take_players(
        &mut self,
        at: &BlockRef,
        result: Result<PlayersRead, RpcError>,
    ) -> Result<(), String> {
        if !self.following.older.players.end(at) {
            return Ok(());
        }
        match result {
            Ok(read) => {
                log::info!(
                    "{} players of round {} were read from the contract, since the logs do not tell them",
                    read.totals.len(),
                    read.round_id
                );
                self.send(Update::Players(read))
            }
            Err(error) => {
                log::debug!("the players cannot be read from the contract: {error}");
                Ok(())
            }
        }
    }

    /// Health hears what is owed whenever that changes.
    pub(super) fn tell_owed(&mut self, now: Instant) -> Result<(), String> {
        if self.following.cursor.tip().is_none() {
            return Ok(());
        }
        let owed = self.following.older.owed(now);
        if owed != self.owed_told {
            self.owed_told = owed.clone();
            self.send(Update::Owed(owed))?;
        }
        Ok(())
    }
}

/// One step; that there are no logs is believed when a second endpoint at the head says so too, or, where there is none, the
/// same one when it is asked again.
fn take_step(
    endpoints: &Endpoints,
    reader: &Arc<Reader>,
    (work, known): (&Work, &Arc<Cursor>),
    strict: Strict,
) -> Result<Step, RpcError> {
    let (reader, work, known) = (reader.clone(), work.clone(), known.clone());
    let step = move |endpoint: &Endpoint| {
        let mut work = work.clone();
        let events = match &mut work {
            Work::Replay(replay) if !replay.is_complete() => {
                replay.step(endpoint, &reader, &known, strict)
            }
            Work::Backfill(backfill) if !backfill.is_complete() => {
                backfill.step(endpoint, &reader, strict)
            }
            _ => Ok(Vec::new()),
        };
        let events = events.map_err(RpcError::of_this_endpoint)?;
        Ok((endpoint.clone(), Step { work, events }))
    };
    let (endpoint, first) = endpoints.with_endpoint(LOGS, &step)?;
    if !first.events.is_empty() {
        return Ok(first);
    }
    match endpoints.with_another_at_head(&endpoint, LOGS, &step) {
        Some((_, second)) if !second.events.is_empty() => {
            endpoints.set_back(&endpoint);
            Ok(second)
        }
        Some(_) => Ok(first),
        None => endpoints.with_endpoint(LOGS, step).map(|(_, again)| again),
    }
}
