//! What one daemon shows and tells, held against the true chain: nothing that is not so, nothing late, no false alarm. What
//! becomes of the chain is `oracle`'s.

use std::time::Duration;

use lottery::chain::types::{H256, U256};
use lottery::lottery::round::RoundState;
use lottery::lottery::snapshot::{Publication, Snapshot};

use crate::alarms::Alarms;
use crate::following::Following;
use crate::listener::Listener;
use crate::oracle::Violation;
use crate::patience::Patience;
use crate::plan::Plan;
use crate::world::World;

/// Players that the logs do not tell are read from the contract, which is asked only now and then.
const PLAYERS_WITHIN: Duration = Duration::from_secs(60);

/// What it is held against.
#[derive(Clone, Copy)]
pub struct Truth<'a> {
    pub world: &'a World,
    pub patience: &'a Patience,
    pub following: &'a Following,
    pub window: Option<Window>,
    pub now: Duration,
}

/// The running round's window.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub round_id: u64,
    pub opens: Duration,
    pub closes: Duration,
    pub pot: u128,
    pub payable: bool,
}

pub struct Sight {
    daemon: usize,
    pub alarms: Alarms,
    listener: Listener,
    /// Something is wrong all the time: how soon anything is due then is not for this to say.
    has_standing: bool,
    /// The newest head that was published.
    published: Option<H256>,
    /// When all logs up to the head were last known.
    pub synced: Duration,
    /// Nothing can be shown before.
    pub started: Duration,
    /// Since when the players that are shown have bet less than there is in the pot.
    short_since: Option<Duration>,
    found: Vec<Violation>,
}

impl Sight {
    pub fn new(plan: &Plan, daemon: usize) -> Sight {
        Sight {
            daemon,
            alarms: Alarms::new(plan),
            listener: Listener::default(),
            has_standing: !plan.standing.is_empty(),
            published: None,
            synced: Duration::ZERO,
            started: Duration::ZERO,
            short_since: None,
            found: Vec::new(),
        }
    }

    /// A new run begins.
    pub fn restarted(&mut self, now: Duration) {
        self.published = None;
        self.started = now;
        self.short_since = None;
        self.alarms.restarted(now);
        self.listener.restarted();
    }

    fn violate(&mut self, rule: &'static str, what: String) {
        self.found.push(Violation { rule, what });
    }

    /// Since when players have been missing for too long.
    fn players_late(
        &mut self,
        are_short: bool,
        patience: &Patience,
        now: Duration,
    ) -> Option<String> {
        if !are_short {
            self.short_since = None;
            return None;
        }
        let since = *self.short_since.get_or_insert(now);
        let due = patience.due_by(since, Some(self.daemon)) + PLAYERS_WITHIN;
        (now > due).then(|| format!("players are missing since {since:?}, at {now:?}"))
    }

    /// What has to be shown or told by now, while a daemon runs.
    pub fn watched(&mut self, truth: &Truth) -> Vec<Violation> {
        let Truth {
            world,
            now,
            patience,
            ..
        } = *truth;
        let shown = self.published.and_then(|hash| world.index_of(&hash));
        let late = truth
            .following
            .late((shown, self.started), self.daemon, world, patience, now);
        if let Some(what) = late.filter(|_| !self.has_standing) {
            self.violate("what happens is shown in time", what);
        }
        if patience.is_down(self.daemon, now) {
            self.alarms.excused(now);
        }
        if let Some(what) = self.alarms.untold_outage(now) {
            self.violate("an outage is told, and its end", what);
        }
        std::mem::take(&mut self.found)
    }

    pub fn published(&mut self, publication: &Publication, truth: &Truth) -> Vec<Violation> {
        self.look(publication, truth);
        std::mem::take(&mut self.found)
    }

    fn look(&mut self, publication: &Publication, truth: &Truth) {
        let Truth { world, now, .. } = *truth;
        let snapshot = &publication.snapshot;
        if !snapshot.syncing {
            self.synced = now;
        }
        if let Some(what) = self.listener.published(publication) {
            self.violate("the feed tells every change", what);
        }
        self.hear_alarms(publication, truth);
        let Some(head) = snapshot.head else {
            return;
        };
        let Some(index) = world.index_of(&head.hash) else {
            return self.violate(
                "what is published is true",
                format!("no block {:#x}", head.hash),
            );
        };
        if let Some(before) = self.published.and_then(|hash| world.index_of(&hash)) {
            let went_back =
                before != index && world.at(before, world.blocks[index].number) == Some(index);
            if went_back && world.is_canonical(before) {
                let (from, to) = (world.blocks[before].number, head.number);
                self.violate(
                    "the head never goes back",
                    format!("from {from} to {to} at {now:?}"),
                );
            }
        }
        if self.published != Some(head.hash) {
            self.alarms.head_moved(now);
        }
        self.published = Some(head.hash);
        self.check_round(snapshot, index, truth);
        for finished in snapshot.history.iter() {
            let label = finished.proof.verdict.label();
            if label == "mismatch" {
                self.violate(
                    "nobody is accused",
                    format!("round {}: {:?}", finished.round_id, finished.proof.verdict),
                );
            }
        }
    }

    fn hear_alarms(&mut self, publication: &Publication, truth: &Truth) {
        let Truth {
            world,
            now,
            patience,
            ..
        } = *truth;
        let window = truth.window.filter(|_| patience.reorganized.is_zero());
        let third = window.map(|it| it.opens + it.closes.saturating_sub(it.opens) / 3);
        let round_id = window.map_or(0, |window| window.round_id);
        let wrong = self
            .alarms
            .published(publication, (round_id, third), world, now);
        for what in wrong {
            self.violate("no false alarm", what);
        }
        if let Some(round_id) = self.alarms.untold(now).filter(|_| patience.is_calm(now)) {
            self.violate("a missed round is told", format!("round {round_id}"));
        }
    }

    fn check_round(&mut self, snapshot: &Snapshot, index: usize, truth: &Truth) {
        let Truth {
            world,
            now,
            patience,
            ..
        } = *truth;
        let truth = &world.blocks[index].ledger.lottery;
        let Some(round) = &snapshot.round else {
            return;
        };
        let told = (
            round.round_id,
            round.state == RoundState::Betting,
            round.end_time,
            round.min_draw_time,
            round.max_draw_time,
            round.total_pot_wei,
            round.participant_count,
        );
        let is = (
            truth.round_id,
            truth.is_betting,
            truth.end_time,
            truth.min_draw_time,
            truth.max_draw_time,
            U256::from(truth.pot),
            truth.players.len() as u64,
        );
        if told != is {
            let number = world.blocks[index].number;
            self.violate(
                "what is published is true",
                format!("block {number}: told {told:?}, is {is:?}"),
            );
        }
        if snapshot.syncing {
            return;
        }
        let told: Vec<_> = snapshot
            .participants
            .in_bet_order()
            .map(|one| (one.address, one.total_amount_wei))
            .collect();
        let is: Vec<_> = truth
            .players
            .iter()
            .map(|(player, wei)| (*player, U256::from(*wei)))
            .collect();
        let told_wei = snapshot.participants.total_amount_wei();
        let pot = U256::from(truth.pot);
        let late = self.players_late(told_wei < pot, patience, now);
        if let Some(what) = late.filter(|_| !self.has_standing) {
            self.violate("what happens is shown in time", what);
        }
        // While the players are behind the pot, they are known to be.
        if told_wei > pot || told_wei == pot && told != is {
            let number = world.blocks[index].number;
            self.violate(
                "what is published is true",
                format!("block {number}: players {told:?}, are {is:?}"),
            );
        }
    }
}
