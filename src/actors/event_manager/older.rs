//! What is owed: logs of missed blocks from the bottom up, then history from the top down, and the running round's players.
//! How it is caught up with stands in `catching_up`.

use std::time::{Duration, Instant};

use crate::actors::backfill::Backfill;
use crate::actors::reader::{Debt, Sound};
use crate::actors::replay::Replay;
use crate::chain::error::RpcError;
use crate::chain::types::{H256, U256};
use crate::lottery::history::LoggedEvent;
use crate::lottery::snapshot::Owed;

/// So many failed steps in a row are told in the log.
const TOLD_AFTER: u32 = 5;
/// Without a good step for so long, nobody is kept waiting for the rest.
pub(super) const STALLED_AFTER: Duration = Duration::from_secs(120);
/// Logs that come within this time keep nobody from being served.
pub(super) const AWAITED_AFTER: Duration = Duration::from_secs(15);

#[derive(Default)]
pub(super) struct Older {
    pub(super) replay: Option<Replay>,
    pub(super) replay_since: Option<Instant>,
    pub(super) backfill: Option<Backfill>,
    /// The position from which the step under way began.
    pub(super) step: Option<Position>,
    pub(super) failures: u32,
    pub(super) failing_since: Option<Instant>,
    pub(super) problem: Option<String>,
    pub(super) not_before: Option<Instant>,
    pub(super) players: PlayersWanted,
}

/// When the contract was last asked for the players, and of which pot.
#[derive(Default)]
pub(super) struct PlayersWanted {
    pub(super) is_asked: bool,
    pub(super) asked_at: Option<Instant>,
    /// (round, pot)
    pub(super) of: Option<(u64, U256)>,
    pub(super) unexplained_since: Option<Instant>,
}

pub(super) type Position = (u64, H256);

/// Where a step leads from, and afterwards how far it led.
#[derive(Clone)]
pub(super) enum Work {
    Replay(Replay),
    Backfill(Backfill),
}

/// How far a step led, and what it brought.
pub struct Step {
    pub(super) work: Work,
    pub(super) events: Vec<LoggedEvent>,
}

impl Work {
    pub(super) fn position(&self) -> Position {
        match self {
            Work::Replay(replay) => replay.done(),
            Work::Backfill(backfill) => backfill.next(),
        }
    }
}

impl Older {
    pub(super) fn logs_are_owed(&self) -> bool {
        self.replay.is_some()
    }

    pub(super) fn begin_backfill(&mut self, backfill: Backfill) {
        self.backfill = Some(backfill);
    }

    /// The logs above a block up to `tip` are still to be read.
    pub(super) fn owe(&mut self, debt: &Debt, tip: Sound, now: Instant) {
        match &mut self.replay {
            Some(replay) => replay.extend_to(tip),
            None => {
                self.replay = Some(Replay::new(&debt.above, debt.tally, tip));
                self.replay_since = Some(now);
                self.not_before = None;
            }
        }
    }

    pub(super) fn extend_to(&mut self, tip: Sound) {
        if let Some(replay) = &mut self.replay {
            replay.extend_to(tip);
        }
    }

    /// After a reorg: what lies above the common ancestor is read anew.
    pub(super) fn lower_to(&mut self, ancestor: u64, hash: H256) {
        if let Some(backfill) = &mut self.backfill {
            backfill.lower_to(ancestor, hash);
        }
        if let Some(replay) = &mut self.replay {
            replay.lower_to(ancestor, hash);
        }
        self.players = PlayersWanted::default();
    }

    pub(super) fn forget(&mut self) {
        *self = Older::default();
    }

    /// True while the logs may still tell who plays.
    pub(super) fn searches_players(&self) -> bool {
        let in_history = |backfill: &Backfill| !backfill.has_round_start();
        self.replay.is_some() || self.backfill.as_ref().is_some_and(in_history)
    }

    pub(super) fn note_failure(&mut self, error: &RpcError, wait: Duration, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.failing_since = self.failing_since.or(Some(now));
        self.not_before = Some(now + wait);
        log::debug!("older logs: {error}");
        if self.failures >= TOLD_AFTER {
            self.problem = Some(format!(
                "the last endpoint asked for logs {}",
                error.public()
            ));
        }
        if self.failures == TOLD_AFTER {
            let above = self.replay.as_ref().map(|replay| replay.done().0);
            match above {
                Some(block) => log::warn!(
                    "the logs above block {block} cannot be read; the live state goes on without them: {error}"
                ),
                None => log::warn!("the logs of older rounds cannot be read: {error}"),
            }
        }
    }

    pub(super) fn note_success(&mut self) {
        if self.failures >= TOLD_AFTER {
            log::info!("logs can be read again");
        }
        self.failures = 0;
        self.failing_since = None;
        self.problem = None;
        self.not_before = None;
    }

    pub(super) fn owed(&self, now: Instant) -> Owed {
        let lasts = |since: Option<Instant>, at_least: Duration| {
            since.is_some_and(|since| now.saturating_duration_since(since) >= at_least)
        };
        let is_stalled = lasts(self.failing_since, STALLED_AFTER);
        let is_late = self.replay.is_some() && lasts(self.replay_since, AWAITED_AFTER);
        Owed {
            logs_above: self.replay.as_ref().map(|replay| replay.done().0),
            history: self.backfill.is_some(),
            problem: self.problem.clone(),
            is_stalled,
            is_awaited: (self.backfill.is_some() || is_late) && !is_stalled,
        }
    }
}
