//! What is owed: logs of missed blocks from the bottom up, then history from the top down, and the running round's players.
//! How it is caught up with stands in `catching_up`.

use std::time::{Duration, Instant};

use crate::actors::backfill::{Backfill, Strict};
use crate::actors::reader::{Debt, Sound, States};
use crate::actors::replay::Replay;
use crate::chain::cursor::Cursor;
use crate::chain::error::RpcError;
use crate::chain::types::{BlockRef, H256, U256};
use crate::lottery::history::LoggedEvent;
use crate::lottery::snapshot::Owed;

/// After so many failed steps in a row a history is taken without its states. Logs that leave something out are taken only when
/// nothing better has come for as long as anybody is kept waiting: what is taken so is not asked for again.
const STRICT_STEPS: u32 = 3;
/// So many failed steps in a row are told in the log.
const TOLD_AFTER: u32 = 5;
/// Without a good step for so long, nobody is kept waiting for the rest.
pub(super) const STALLED_AFTER: Duration = Duration::from_secs(120);
/// Logs that come within this time keep nobody from being served.
pub(super) const AWAITED_AFTER: Duration = Duration::from_secs(15);

/// The last so many blocks of a debt are left to a look.
const ENDS_WITH_LOOK_BLOCKS: u64 = 16;
/// So many looks may come without the rest before steps go on: the first was under way when the last step ended, and did not
/// ask for it.
const LOOKS_MAX: u32 = 2;

#[derive(Default)]
pub(super) struct Older {
    pub(super) replay: Option<Replay>,
    pub(super) replay_since: Option<Instant>,
    /// Steps have come so near to the head that one of the next so many looks brings the rest: where answers are slow
    /// against blocks, a step never ends where the head is by then. 0 where steps go on.
    looks_left: u32,
    pub(super) backfill: Option<Backfill>,
    /// The step under way. One that was forgotten with a branch may still answer.
    step: Option<Begun>,
    pub(super) up: Trials,
    pub(super) down: Trials,
    pub(super) players: PlayersWanted,
}

/// How steps in one direction have gone of late: up to the head, or down through history.
#[derive(Default)]
pub(super) struct Trials {
    /// In a row.
    pub(super) failures: u32,
    pub(super) failing_since: Option<Instant>,
    pub(super) problem: Option<String>,
    pub(super) not_before: Option<Instant>,
    /// States were given up, for as long as this way lasts.
    spares_states: bool,
}

/// From where a step began, and in which direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    pub(super) at: Position,
    pub(super) is_up: bool,
}

/// When the contract was last asked for the players, and of which pot.
#[derive(Default)]
pub(super) struct PlayersWanted {
    /// At which block it is being asked.
    pub(super) asked_of: Option<BlockRef>,
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

impl PlayersWanted {
    /// The answer of that block is there; false where it is not waited for any more, since the block may be gone.
    pub(super) fn end(&mut self, at: &BlockRef) -> bool {
        self.asked_of.take_if(|asked| asked == at).is_some()
    }
}

impl Work {
    pub(super) fn begun(&self) -> Begun {
        match self {
            Work::Replay(replay) => Begun {
                at: replay.done(),
                is_up: true,
            },
            Work::Backfill(backfill) => Begun {
                at: backfill.next(),
                is_up: false,
            },
        }
    }
}

impl Trials {
    pub(super) fn rest(&self, now: Instant) -> bool {
        self.not_before.is_some_and(|at| at > now)
    }

    /// No step has succeeded for so long that nobody is kept waiting any more.
    pub(super) fn are_stalled(&self, now: Instant) -> bool {
        lasts(self.failing_since, STALLED_AFTER, now)
    }

    /// What the next step refuses, where the newest block has that number. States are wanted as far as nodes keep them by
    /// now: what was at the head when the way down began is as old as that by the time it is read.
    pub(super) fn strict(&self, newest: u64, now: Instant) -> Strict {
        Strict {
            logs: !self.are_stalled(now),
            states: match self.spares_states {
                true => States::Spared,
                false => States::kept_at(newest),
            },
        }
    }

    fn note_failure(&mut self, error: &RpcError, wait: Duration, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.spares_states |= self.failures >= STRICT_STEPS;
        self.failing_since = self.failing_since.or(Some(now));
        self.not_before = Some(now + wait);
        log::debug!("older logs: {error}");
        if self.failures >= TOLD_AFTER {
            self.problem = Some(format!(
                "the last endpoint asked for logs {}",
                error.public()
            ));
        }
    }

    fn note_success(&mut self) {
        if self.failures >= TOLD_AFTER {
            log::info!("logs can be read again");
        }
        *self = Trials {
            spares_states: self.spares_states,
            ..Trials::default()
        };
    }
}

impl Older {
    pub(super) fn logs_are_owed(&self) -> bool {
        self.replay.is_some()
    }

    /// True while logs are owed that come step by step.
    pub(super) fn logs_need_steps(&self, cursor: &Cursor) -> bool {
        self.replay.is_some() && self.look_begins_above(cursor).is_none()
    }

    /// What the next look is to bring beside the logs of its own head.
    pub(super) fn debt_for_look(&self, cursor: &Cursor) -> Option<Debt> {
        let above = self.look_begins_above(cursor)?;
        Some(Debt {
            above,
            tally: self.replay.as_ref().and_then(Replay::tally),
            why: "the last of them were to come with the head's".to_owned(),
        })
    }

    /// The block above which a look is to begin. A look links what it brings to a block that is remembered, which not
    /// every block that steps have led to is: above one that is not, they go on.
    fn look_begins_above(&self, cursor: &Cursor) -> Option<BlockRef> {
        let replay = self.replay.as_ref().filter(|_| self.looks_left > 0)?;
        let (number, hash) = replay.done();
        cursor
            .at(number)
            .filter(|block| block.hash == hash)
            .copied()
    }

    /// A look has found nothing new: on a chain that stands the rest comes by steps after all.
    pub(super) fn note_still_head(&mut self) {
        self.looks_left = 0;
    }

    /// True where the events of a reading begin where the steps have ended.
    pub(super) fn is_paid(&self, above: Option<BlockRef>) -> bool {
        let reached = self.replay.as_ref().map(Replay::done);
        reached.is_some() && reached == above.map(|block| (block.number, block.hash))
    }

    pub(super) fn end_replay(&mut self) {
        self.replay = None;
        self.replay_since = None;
        self.looks_left = 0;
        log::debug!("the logs are known up to the head");
    }

    /// A step has come up to a block; near the head, the next look takes over.
    pub(super) fn note_step_up(&mut self, stepped: &Replay) {
        if let Some(replay) = &mut self.replay {
            replay.advance_to(stepped);
            let is_near = replay.blocks_left() <= ENDS_WITH_LOOK_BLOCKS;
            self.looks_left = if is_near { LOOKS_MAX } else { 0 };
        }
    }

    /// A step has found that logs were left out before it: the way leads back to where they are known to be whole. That is
    /// a failure like any other, of which walking through the same blocks again is no end.
    pub(super) fn note_step_back(&mut self, stepped: &Replay, wait: Duration, now: Instant) {
        if let Some(replay) = &mut self.replay {
            replay.advance_to(stepped);
        }
        let above = stepped.done().0;
        let error = RpcError::behind(format!("logs were left out above block {above}"));
        self.note_failure(true, &error, wait, now);
    }

    pub(super) fn has_step(&self) -> bool {
        self.step.is_some()
    }

    pub(super) fn begin_step(&mut self, begun: Begun) {
        self.step = Some(begun);
    }

    /// That step has answered; false where it is not the one under way, so that nothing of it is to be taken over.
    pub(super) fn end_step(&mut self, begun: Begun) -> bool {
        self.step.take_if(|step| *step == begun).is_some()
    }

    pub(super) fn begin_backfill(&mut self, backfill: Backfill) {
        self.backfill = Some(backfill);
    }

    /// The logs above a block up to `tip` are still to be read.
    pub(super) fn owe(&mut self, debt: &Debt, tip: Sound, now: Instant) {
        let was_asked_for = self.is_paid(Some(debt.above));
        self.looks_left = match was_asked_for {
            true => 0,
            false => self.looks_left.saturating_sub(1),
        };
        match &mut self.replay {
            Some(replay) => replay.extend_to(tip),
            None => {
                self.replay = Some(Replay::new(&debt.above, debt.tally, tip));
                self.replay_since = Some(now);
                self.up.not_before = None;
                self.up.spares_states = false;
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

    /// What there is to do next: up to the head first, and down through history while a look is to bring the rest, or after
    /// a failure.
    pub(super) fn work(&self, cursor: &Cursor, now: Instant) -> Option<Work> {
        let replay = self.replay.as_ref();
        let replay = replay.filter(|_| self.logs_need_steps(cursor) && !self.up.rest(now));
        let backfill = self.backfill.as_ref().filter(|_| !self.down.rest(now));
        let up = replay.cloned().map(Work::Replay);
        up.or_else(|| backfill.cloned().map(Work::Backfill))
    }

    pub(super) fn trials(&mut self, is_up: bool) -> &mut Trials {
        match is_up {
            true => &mut self.up,
            false => &mut self.down,
        }
    }

    pub(super) fn note_failure(
        &mut self,
        is_up: bool,
        error: &RpcError,
        wait: Duration,
        now: Instant,
    ) {
        let above = self.replay.as_ref().map(|replay| replay.done().0);
        let trials = self.trials(is_up);
        trials.note_failure(error, wait, now);
        if trials.failures == TOLD_AFTER {
            match above.filter(|_| is_up) {
                Some(block) => log::warn!(
                    "the logs above block {block} cannot be read; the live state goes on without them: {error}"
                ),
                None => log::warn!("the logs of older rounds cannot be read: {error}"),
            }
        }
    }

    pub(super) fn note_success(&mut self, is_up: bool) {
        self.trials(is_up).note_success();
    }

    pub(super) fn owed(&self, now: Instant) -> Owed {
        let is_late = self.replay.is_some() && lasts(self.replay_since, AWAITED_AFTER, now);
        let trials = match self.replay {
            Some(_) => &self.up,
            None => &self.down,
        };
        let awaits_history = self.backfill.is_some() && !self.down.are_stalled(now);
        Owed {
            logs_above: self.replay.as_ref().map(|replay| replay.done().0),
            history: self.backfill.is_some(),
            problem: trials.problem.clone(),
            is_stalled: trials.are_stalled(now),
            is_awaited: awaits_history || is_late && !self.up.are_stalled(now),
        }
    }
}

fn lasts(since: Option<Instant>, at_least: Duration, now: Instant) -> bool {
    since.is_some_and(|since| now.saturating_duration_since(since) >= at_least)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lottery::continuity::Tally;
    use crate::lottery::round::Round;

    fn block(number: u64) -> BlockRef {
        BlockRef {
            number,
            hash: H256::from_low_u64_be(number + 1),
            parent_hash: H256::from_low_u64_be(number),
            timestamp: number,
        }
    }

    fn sound(number: u64) -> Sound {
        Sound {
            block: block(number),
            tally: Tally::from(&Round::waiting(1)),
        }
    }

    /// Logs above block 10 are owed up to `tip`, and a step has led to `reached`.
    fn stepped(tip: u64, reached: u64) -> Older {
        let mut older = Older::default();
        let debt = Debt {
            above: block(10),
            tally: None,
            why: String::new(),
        };
        older.owe(&debt, sound(tip), Instant::now());
        older.note_step_up(&Replay::new(&block(reached), None, sound(tip)));
        older
    }

    fn cursor(newest: u64) -> Cursor {
        let mut cursor = Cursor::default();
        (5..=newest).for_each(|number| cursor.push(block(number)));
        cursor
    }

    #[test]
    fn states_are_wanted_as_far_as_nodes_keep_them_by_now_and_not_for_ever() {
        let now = Instant::now();
        let mut older = stepped(500, 400);
        let states = |older: &Older, newest| older.up.strict(newest, now).states;
        assert_eq!(states(&older, 500), States::KeptFrom(400));
        assert_eq!(states(&older, 900), States::KeptFrom(800));
        let error = RpcError::behind("no state");
        (0..STRICT_STEPS).for_each(|_| older.note_failure(true, &error, Duration::ZERO, now));
        assert_eq!(states(&older, 900), States::Spared);
        // They are not tried for again at each step of this way.
        older.note_success(true);
        assert_eq!(states(&older, 900), States::Spared);
        older.end_replay();
        let debt = Debt {
            above: block(900),
            tally: None,
            why: String::new(),
        };
        older.owe(&debt, sound(910), now);
        assert_eq!(states(&older, 900), States::KeptFrom(800));
    }

    #[test]
    fn what_was_asked_along_a_branch_that_is_gone_does_not_answer_what_was_asked_since() {
        let mut older = stepped(100, 50);
        let begun = |number, is_up| Begun {
            at: (number, block(number).hash),
            is_up,
        };
        older.begin_step(begun(40, false));
        older.players.asked_of = Some(block(100));
        older.forget();
        assert!(!older.has_step() && older.players.asked_of.is_none());
        older.begin_step(begun(90, false));
        older.players.asked_of = Some(block(101));
        assert!(!older.end_step(begun(40, false)) && !older.end_step(begun(90, true)));
        assert!(!older.players.end(&block(100)));
        assert!(older.end_step(begun(90, false)) && older.players.end(&block(101)));
        assert!(!older.has_step() && older.players.asked_of.is_none());
    }

    #[test]
    fn the_last_blocks_of_a_debt_are_left_to_a_look_and_the_first_to_steps() {
        let far = stepped(100, 100 - ENDS_WITH_LOOK_BLOCKS - 1);
        assert!(far.logs_need_steps(&cursor(100)));
        assert_eq!(far.debt_for_look(&cursor(100)), None);
        let mut near = stepped(100, 100 - ENDS_WITH_LOOK_BLOCKS);
        assert!(near.logs_are_owed() && !near.logs_need_steps(&cursor(101)));
        let debt = near.debt_for_look(&cursor(101)).unwrap();
        assert_eq!(debt.above, block(100 - ENDS_WITH_LOOK_BLOCKS));
        assert!(near.is_paid(Some(debt.above)));
        assert!(!near.is_paid(None) && !near.is_paid(Some(block(99))));
        near.end_replay();
        assert!(!near.logs_are_owed() && !near.is_paid(Some(debt.above)));
    }

    #[test]
    fn steps_go_on_where_the_look_finds_no_new_head_or_brings_no_logs() {
        let mut still = stepped(100, 95);
        still.note_still_head();
        assert!(still.logs_need_steps(&cursor(100)));
        let mut refused = stepped(100, 95);
        let debt = refused.debt_for_look(&cursor(100)).unwrap();
        refused.owe(&debt, sound(101), Instant::now());
        assert!(refused.logs_need_steps(&cursor(101)));
        assert_eq!(refused.replay.as_ref().map(Replay::blocks_left), Some(6));
    }

    #[test]
    fn a_look_that_was_under_way_when_the_last_step_ended_does_not_decide() {
        let mut older = stepped(100, 95);
        let live_only = |above| Debt {
            above: block(above),
            tally: None,
            why: String::new(),
        };
        older.owe(&live_only(100), sound(101), Instant::now());
        assert_eq!(older.debt_for_look(&cursor(101)).unwrap().above, block(95));
        older.owe(&live_only(101), sound(102), Instant::now());
        assert!(older.logs_need_steps(&cursor(102)), "steps go on");
    }

    #[test]
    fn a_block_that_a_reorg_replaced_is_nothing_to_begin_at() {
        let older = stepped(100, 95);
        let mut replaced = cursor(94);
        let other = BlockRef {
            hash: H256::repeat_byte(9),
            ..block(95)
        };
        replaced.push(other);
        assert_eq!(older.debt_for_look(&replaced), None);
        assert!(older.logs_need_steps(&replaced));
    }

    #[test]
    fn above_a_block_that_is_not_remembered_steps_go_on() {
        // After an outage only the newest blocks were linked.
        let older = stepped(100, 95);
        let mut gap = cursor(60);
        (97..=100).for_each(|number| gap.push(block(number)));
        assert_eq!(older.debt_for_look(&gap), None);
        assert!(older.logs_need_steps(&gap));
    }
}
