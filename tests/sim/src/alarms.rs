//! What is told of alerts, judged by who sees the true chain: each is told once until it ends, none is false, and what has
//! to be told is. What holds besides is `oracle`'s.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use lottery::chain::types::Address;
use lottery::lottery::alert::{Alert, AlertCode, AlertState, Subject};
use lottery::lottery::round::RoundState;
use lottery::lottery::snapshot::{Publication, Snapshot, StoreEvent};

use crate::campaign::at_chain_time;
use crate::plan::Plan;
use crate::world::World;

/// A head that has not stood for so long is not told to stand; the daemon waits two minutes.
const STANDS_AT_LEAST: Duration = Duration::from_secs(100);
/// An outage shorter than this is none; the daemon waits a quarter of a minute.
const SILENT_AT_LEAST: Duration = Duration::from_secs(10);
/// An outage as long as this is one.
const SILENT_FOR_SURE: Duration = Duration::from_secs(20);
/// Looks for conditions are two seconds apart, and a slow question may hold one up.
const TOLD_WITHIN: Duration = Duration::from_secs(30);
/// Rounding of chain time, and the way of a block to the daemon.
const SLACK_SECS: u64 = 3;

/// What no campaign makes true.
const NEVER_TRUE: [AlertCode; 7] = [
    AlertCode::EndpointWrongChain,
    AlertCode::OperatorChanged,
    AlertCode::ProofMismatch,
    AlertCode::SignerFailed,
    AlertCode::SpendLimit,
    AlertCode::TooManyExtensions,
    AlertCode::TooManyPlayers,
];

/// What is still told when all has been well for minutes: a refund is listed for an hour.
const STAYS: [AlertCode; 1] = [AlertCode::RefundSent];

/// How an alert is wrong, in words.
pub type Wrong = String;

pub struct Alarms {
    has_daily_cap: bool,
    firing: BTreeSet<(AlertCode, Subject)>,
    /// Rounds that ran when their window was over, on any branch.
    missed: HashSet<u64>,
    /// Rounds of which the daemon has published that their windows are over, and since when.
    seen_missed: Option<(u64, Duration)>,
    told_missed: HashSet<u64>,
    told_unpayable: HashSet<Address>,
    head_since: Duration,
    /// When the chain was last published as reachable.
    reachable_at: Duration,
    /// Whether it is, and since when, not counting the time in which nobody could tell.
    reachable: (bool, Duration),
}

impl Alarms {
    pub fn new(plan: &Plan) -> Alarms {
        Alarms {
            has_daily_cap: plan.daily_cap.is_some(),
            firing: BTreeSet::new(),
            missed: HashSet::new(),
            seen_missed: None,
            told_missed: HashSet::new(),
            told_unpayable: HashSet::new(),
            head_since: Duration::ZERO,
            reachable_at: Duration::ZERO,
            reachable: (true, Duration::ZERO),
        }
    }

    /// A new run tells everything anew.
    pub fn restarted(&mut self, now: Duration) {
        self.firing.clear();
        self.told_missed.clear();
        self.seen_missed = None;
        self.head_since = now;
        self.reachable_at = now;
        self.reachable = (true, now);
    }

    /// The daemon cannot tell anything now.
    pub fn excused(&mut self, now: Duration) {
        self.reachable.1 = now;
    }

    /// A block of any branch.
    pub fn block(&mut self, world: &World, index: usize) {
        let block = &world.blocks[index];
        let lottery = &block.ledger.lottery;
        if lottery.is_betting && block.timestamp > lottery.max_draw_time {
            self.missed.insert(lottery.round_id);
        }
    }

    /// The published head is another one.
    pub fn head_moved(&mut self, now: Duration) {
        self.head_since = now;
    }

    /// What was told with a publication. `third` is when a third of the running round's window is gone, where its times are
    /// known for sure.
    pub fn published(
        &mut self,
        publication: &Publication,
        (round_id, third): (u64, Option<Duration>),
        world: &World,
        now: Duration,
    ) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        for event in &publication.events {
            let StoreEvent::OperatorAlert(alert) = event else {
                continue;
            };
            let is_early = alert.code == AlertCode::DrawOverdue
                && alert.subject == Subject::Round(round_id)
                && third.is_some_and(|third| now + Duration::from_secs(SLACK_SECS) < third);
            if let Some(why) = self.take(alert, is_early, world, now) {
                wrong.push(format!("{why}: {alert:?}"));
            }
        }
        let is_reachable = publication.snapshot.connection.reachable;
        if is_reachable {
            self.reachable_at = now;
        }
        if self.reachable.0 != is_reachable {
            self.reachable = (is_reachable, now);
        }
        self.note_missed(&publication.snapshot, now);
        wrong
    }

    fn take(
        &mut self,
        alert: &Alert,
        is_early: bool,
        world: &World,
        now: Duration,
    ) -> Option<&'static str> {
        let key = (alert.code, alert.subject.clone());
        if alert.state == AlertState::Resolved {
            return (!self.firing.remove(&key)).then_some("the end of what was not told");
        }
        if !self.firing.insert(key) {
            return Some("told twice");
        }
        match (alert.code, &alert.subject) {
            (AlertCode::DrawMissed, Subject::Round(round_id)) => {
                self.told_missed.insert(*round_id);
                (!self.missed.contains(round_id)).then_some("its window is not over")
            }
            (AlertCode::UnpayablePlayer, Subject::Player(player)) => {
                self.told_unpayable.insert(*player);
                let is_true = world.terms.unpayable.contains(player);
                (!is_true).then_some("the player can be paid")
            }
            (AlertCode::DrawOverdue, _) if is_early => Some("no third of the window is gone"),
            (AlertCode::HeadStale, _) => {
                // A daemon that is started later knows by the head's time that it has stood since it came.
                let came_at = at_chain_time(world.head().timestamp);
                let since = self.head_since.min(came_at);
                (now < since + STANDS_AT_LEAST).then_some("the head moved a moment ago")
            }
            (AlertCode::ChainUnreachable, _) if now < self.reachable_at + SILENT_AT_LEAST => {
                Some("the chain was read a moment ago")
            }
            (AlertCode::SpendLimit, _) if self.has_daily_cap => None,
            (code, _) if NEVER_TRUE.contains(&code) => Some("it is never so"),
            _ => None,
        }
    }

    fn note_missed(&mut self, snapshot: &Snapshot, now: Duration) {
        let missed = snapshot.round.as_ref().filter(|round| {
            let head = snapshot.head.map_or(0, |head| head.timestamp);
            round.state == RoundState::Betting
                && !round.total_pot_wei.is_zero()
                && head > round.max_draw_time
        });
        let missed = missed.map(|round| round.round_id);
        let known = self
            .seen_missed
            .filter(|(round_id, _)| Some(*round_id) == missed);
        self.seen_missed = known.or(missed.map(|round_id| (round_id, now)));
    }

    /// A round whose window is known to have passed, and of which nobody was told in time.
    pub fn untold(&self, now: Duration) -> Option<u64> {
        let (round_id, since) = self.seen_missed?;
        let is_untold = now > since + TOLD_WITHIN && !self.told_missed.contains(&round_id);
        is_untold.then_some(round_id)
    }

    /// An outage that the daemon knows of and has not told in time, or its end.
    pub fn untold_outage(&self, now: Duration) -> Option<Wrong> {
        let is_told = self
            .firing
            .contains(&(AlertCode::ChainUnreachable, Subject::None));
        let (is_reachable, since) = self.reachable;
        let within = match is_reachable {
            true => TOLD_WITHIN,
            false => SILENT_FOR_SURE + TOLD_WITHIN,
        };
        let is_late = now > since + within && is_told == is_reachable;
        is_late.then(|| format!("reachable: {is_reachable}, since {since:?}; at {now:?}"))
    }

    pub fn has_told_unpayable(&self, player: &Address) -> bool {
        self.told_unpayable.contains(player)
    }

    /// What is still told after some peace, and should have ended; and what of it the status does not show.
    pub fn ended(&self, snapshot: &Snapshot, stands: bool) -> Vec<Wrong> {
        let may_stay =
            |code: AlertCode| STAYS.contains(&code) || (stands && code == AlertCode::HeadStale);
        let stays = self.firing.iter().filter(|(code, _)| !may_stay(*code));
        let mut wrong: Vec<Wrong> = stays.map(|key| format!("{key:?} has not ended")).collect();
        let shown = snapshot.operator.alerts.iter();
        let shown: BTreeSet<_> = shown
            .map(|alert| (alert.code, alert.subject.clone()))
            .collect();
        if shown != self.firing {
            wrong.push(format!("shown are {shown:?}, told {:?}", self.firing));
        }
        wrong
    }
}
