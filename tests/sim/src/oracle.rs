//! What must hold, judged by one who sees the true chain: draws in time, nothing published that is not so, nothing sent
//! twice, no false alarm, and after the troubles everything as if there had been none.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use lottery::chain::types::H256;
use lottery::lottery::alert::{Alert, AlertCode};
use lottery::lottery::history::Outcome;
use lottery::lottery::snapshot::{LiveFeedItem, Publication, Snapshot};

use crate::baton::Group;
use crate::campaign::at_chain_time;
use crate::contract::{function_of, Call, Halt};
use crate::following::Following;
use crate::patience::{Patience, BACKOFF};
use crate::plan::{Blocks, Plan, Planned, What};
use crate::sends::{Known, Sends};
use crate::sight::{Sight, Truth, Window};
use crate::wire::{Sky, Trouble};
use crate::world::{Mined, World};

/// So often at least all logs are known, when nothing is wrong.
const SYNCED_WITHIN: Duration = Duration::from_secs(45);
/// A missed round is refunded this much later than a draw would be due: what failed before is tried again after that.
const REFUND_WITHIN: Duration = Duration::from_secs(75);
/// An endpoint that does badly all the time is asked so often a minute at most by each daemon.
const REQUESTS_IN_VAIN_MAX: f64 = 60.0;
/// One that trails on a regular chain is asked for its head so often a minute by each daemon, besides what each start takes:
/// it was set back, ever longer.
const HEADS_OF_TRAILING_MAX: f64 = 8.0;
/// And within so short a time, by all that a daemon does.
const IN_VAIN_WITHIN: Duration = Duration::from_secs(10);
const IN_VAIN_MAX: usize = 400;
/// So old may the head be that is shown, when nothing is wrong, if it is many blocks behind.
const BEHIND_SECS_MAX: u64 = 10;
/// The baton is handed on so often in a second of simulated time only by a loop that makes no progress.
const TURNS_PER_SEC_MAX: u64 = 20_000;

#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    pub rule: &'static str,
    pub what: String,
}

pub struct Oracle {
    pub violations: Vec<Violation>,
    /// How long after its window had opened each round was drawn.
    pub drawn: Vec<(u64, Duration)>,
    endpoints: usize,
    blocks: Blocks,
    is_plain: bool,
    /// Something is wrong all the time: how soon a draw is due then is not for this to say.
    has_standing: bool,
    patience: Patience,
    following: Following,
    /// What each daemon shows.
    sights: Vec<Sight>,
    sends: Sends,
    /// When each endpoint was last asked by each run while it answered nothing as it should.
    in_vain: BTreeMap<(usize, Group), VecDeque<Duration>>,
    /// How often the daemon was started.
    starts: u32,
    /// How often its host sleeps: who trails has to be found out anew after that, as after a start.
    suspensions: u32,
    /// Somebody else may end a round.
    has_public_refund: bool,
    /// The endpoint that answers nothing as it should, or trails, while the others do well.
    failing: Option<usize>,
    /// The same, where it trails all the time.
    trailing: Option<usize>,
    /// The running round's window, and when it opened.
    window: Option<Window>,
    turns: (u64, Duration),
    /// The newest block that was judged.
    judged: Option<usize>,
    /// Transactions that wait behind a nonce that is missing, and when each was first seen.
    gaps: HashMap<H256, Duration>,
    gaps_told: bool,
}

impl Oracle {
    pub fn new(plan: &Plan) -> Oracle {
        Oracle {
            violations: Vec::new(),
            drawn: Vec::new(),
            endpoints: plan.endpoints.len(),
            blocks: plan.blocks,
            is_plain: plan.troubles.is_empty()
                && plan.standing.is_empty()
                && plan.lasting.is_empty()
                && plan.standby.is_none()
                && plan.daily_cap.is_none()
                && !plan.rounds.iter().any(|round| round.with_unpayable),
            has_standing: !plan.standing.is_empty(),
            patience: Patience::new(plan),
            following: Following::default(),
            sights: (0..plan.daemons())
                .map(|daemon| Sight::new(plan, daemon))
                .collect(),
            sends: Sends::new(plan),
            in_vain: BTreeMap::new(),
            starts: 0,
            suspensions: 0,
            has_public_refund: plan.troubles.iter().any(|it| it.what == What::PublicRefund),
            failing: Patience::fails_alone(plan),
            trailing: Patience::fails_alone(plan).filter(|endpoint| trails(plan, *endpoint)),
            window: None,
            turns: (0, Duration::ZERO),
            judged: None,
            gaps: HashMap::new(),
            gaps_told: false,
        }
    }

    pub fn violate(&mut self, rule: &'static str, what: String) {
        self.violations.push(Violation { rule, what });
    }

    pub fn trouble(&mut self, begins: Duration, ends: Duration, planned: &Planned) {
        self.suspensions += u32::from(matches!(planned.what, What::Suspended(_)));
        self.patience.trouble(begins, ends, planned);
    }

    pub fn reorganized(&mut self, now: Duration) {
        self.patience.reorganized = now;
    }

    pub fn restarted(&mut self, daemon: usize, run: Group, now: Duration) {
        if daemon > 0 {
            self.sends.stands_by(run);
        }
        self.patience.restarted(daemon, now);
        self.sights[daemon].restarted(now);
        self.starts += 1;
    }

    pub fn next_block(&mut self, timestamp: u64, world: &World, now: Duration) {
        self.sends.next_block(timestamp, world, now);
    }

    /// Judges what was handed to the nodes since the last time.
    pub fn sent(&mut self, world: &mut World) {
        for attempt in std::mem::take(&mut world.attempts) {
            let grace = self.patience.until_known(attempt.at);
            let is_branched = !self.patience.reorganized.is_zero();
            let what_is_known = Known {
                grace,
                is_branched,
                of_all_spent: self.starts == 1 && !is_branched,
            };
            if let Some((rule, what)) = self.sends.judge(&attempt, what_is_known) {
                self.violate(rule, what);
            }
        }
    }

    /// When endpoints were asked in vain since the last time.
    pub fn asked(&mut self, in_vain: Vec<(Duration, usize, Group)>) {
        for (at, endpoint, run) in in_vain {
            let asked = self.in_vain.entry((endpoint, run)).or_default();
            asked.push_back(at);
            asked.retain(|before| *before + IN_VAIN_WITHIN >= at);
            if asked.len() > IN_VAIN_MAX {
                let what = format!(
                    "endpoint {endpoint}: {} times in a row, at {at:?}",
                    asked.len()
                );
                return self.violate("who does badly is left alone", what);
            }
        }
    }

    /// The chain has moved, by a block or by a reorg: each block that was not looked at before is judged.
    pub fn moved(&mut self, world: &World, now: Duration) {
        let known = self.judged;
        self.judged = Some(world.head_index());
        // A branch's blocks are as good as any: what a reorg mined is looked at like everything else.
        let is_new = |index: &&usize| known.is_none_or(|known| !world.is_ancestor(**index, known));
        let blocks: Vec<usize> = world
            .canonical
            .iter()
            .rev()
            .take_while(is_new)
            .copied()
            .collect();
        for index in blocks.iter().rev() {
            let sights = self.sights.iter_mut();
            sights.for_each(|sight| sight.alarms.block(world, *index));
            self.judge_block(world, *index, now);
        }
        self.following.moved(world, now);
        self.judge_round(world, &blocks, now);
        self.judge_pool(world, now);
        let opens = self.window.map_or(now, |window| window.opens);
        let due = |sent: Duration, rests| self.patience.due_raised(sent.max(opens), rests);
        if let Some(what) = self.sends.forgotten(world, due, now) {
            self.violate("what is late is offered more", what);
        }
        let head = world.head();
        let lottery = &head.ledger.lottery;
        self.window = (lottery.is_betting && lottery.pot > 0).then(|| {
            let at = |time: u64| {
                now.saturating_sub(Duration::from_secs(head.timestamp.saturating_sub(time)))
                    + Duration::from_secs(time.saturating_sub(head.timestamp))
            };
            // A short branch ends in the past, and the next block leaps over what has passed since.
            let closes = at_chain_time(lottery.max_draw_time);
            Window {
                round_id: lottery.round_id,
                opens: at(lottery.min_draw_time),
                closes: at(lottery.max_draw_time).min(closes),
                pot: lottery.pot,
                payable: !lottery
                    .players
                    .iter()
                    .any(|(player, _)| world.terms.unpayable.contains(player)),
            }
        });
    }

    fn judge_block(&mut self, world: &World, index: usize, now: Duration) {
        let block = &world.blocks[index];
        let ours = |mined: &&Mined| mined.tx.from == world.operator;
        for mined in block.mined.iter().filter(ours) {
            self.sends.mined(mined, now);
            let function = function_of(&mined.tx.data);
            if function == Some("refundRound") {
                self.violate(
                    "nothing is refunded before its time",
                    format!("refundRound in block {}", block.number),
                );
            }
            let is_regular = matches!(self.blocks, Blocks::Every(_));
            if !mined.succeeded && self.is_plain && is_regular {
                let what = format!("{function:?} in block {}", block.number);
                self.violate("nothing is sent that reverts", what);
            }
            if !mined.succeeded && self.patience.reorganized.is_zero() && self.starts == 1 {
                self.judge_revert(world, (index, now), mined);
            }
        }
    }

    /// What was mined in vain: nothing that a daemon which has neither been restarted nor met a reorg could have known of.
    fn judge_revert(&mut self, world: &World, (index, now): (usize, Duration), mined: &Mined) {
        let block = &world.blocks[index];
        let Some(parent) = block.parent else { return };
        let mut before = world.blocks[parent].ledger.lottery.clone();
        let call = Call {
            from: mined.tx.from,
            value: mined.tx.value,
            data: &mined.tx.data,
        };
        let Err(Halt::Reverted(reason)) = before.run(&world.terms, call, block.env()) else {
            return;
        };
        let is_over = [
            "Round must be in betting state",
            "Round not in betting state",
            "No bets placed",
            "No participants in round",
        ];
        if is_over.contains(&reason) && !self.has_public_refund {
            let what = format!("{reason}, in block {}", block.number);
            self.violate("at most one action a round is mined", what);
        }
        let is_regular = matches!(self.blocks, Blocks::Every(_));
        if reason == "Min draw time not reached" && is_regular && self.patience.is_calm(now) {
            let what = format!("{reason}, in block {}", block.number);
            self.violate("a draw is sent for a block that allows it", what);
        }
    }

    /// The round that ran before these blocks, newest first: was it drawn, and in time?
    fn judge_round(&mut self, world: &World, blocks: &[usize], now: Duration) {
        let Some(window) = self.window.filter(|window| window.payable) else {
            return;
        };
        let due = self.patience.due(window.opens);
        let is_due = due < window.closes && !self.has_standing && !self.sends.is_cap_reached();
        let Some(how) = blocks
            .iter()
            .find_map(|index| world.ending(*index, window.round_id))
        else {
            let runs = world.head().ledger.lottery.round_id == window.round_id;
            if runs && now > due && is_due {
                let late = (now - window.opens).as_secs_f64();
                let what = format!(
                    "round {} of {} wei, {late:.1} s after its window opened",
                    window.round_id, window.pot
                );
                self.violate("a round is drawn in time", what);
            }
            let refund_due = self.patience.due(window.closes) + REFUND_WITHIN;
            let is_closed = world.head().timestamp > world.head().ledger.lottery.max_draw_time;
            let is_due = now > refund_due && !self.has_standing && !self.sends.is_priced_out(world);
            if runs && is_closed && is_due {
                let what = format!("round {}, due {refund_due:?}", window.round_id);
                self.violate("a missed round is refunded", what);
            }
            return;
        };
        if how == "drawWinner" {
            let after = now.saturating_sub(window.opens);
            self.drawn.push((window.round_id, after));
        } else if is_due {
            let what = format!(
                "round {} was not drawn, due {due:?}, closes {:?}",
                window.round_id, window.closes
            );
            self.violate("a round is drawn in time", what);
        }
    }

    /// What waits in the pool can be mined, or was sent before the daemon can have heard of the reorg that gave nonces
    /// back: it cannot be called back from there, and does no harm, since the contract guards what is automatic.
    fn judge_pool(&mut self, world: &World, now: Duration) {
        let next = world.pending_nonce();
        let heard = self.patience.due(self.patience.reorganized) + BACKOFF;
        for pooled in world.pool.iter().filter(|pooled| pooled.tx.nonce > next) {
            let sent_at = *self.gaps.entry(pooled.tx.hash).or_insert(now);
            if sent_at > heard && !self.gaps_told {
                self.gaps_told = true;
                let what = format!("{} was sent where {next} is next", pooled.tx.nonce);
                self.violate("no nonce gap is made", what);
            }
        }
    }

    /// What has to be shown or told by now, while that daemon runs.
    pub fn watched(&mut self, daemon: usize, world: &World, now: Duration) {
        let (sight, truth) = self.sight(daemon, world, now);
        let found = sight.watched(&truth);
        self.violations.extend(found);
    }

    pub fn published(
        &mut self,
        daemon: usize,
        publication: &Publication,
        world: &World,
        now: Duration,
    ) {
        let (sight, truth) = self.sight(daemon, world, now);
        let found = sight.published(publication, &truth);
        self.violations.extend(found);
    }

    /// What that daemon shows, and what it is held against.
    fn sight<'a>(
        &'a mut self,
        daemon: usize,
        world: &'a World,
        now: Duration,
    ) -> (&'a mut Sight, Truth<'a>) {
        let truth = Truth {
            world,
            patience: &self.patience,
            following: &self.following,
            window: self.window,
            now,
        };
        (&mut self.sights[daemon], truth)
    }

    pub fn turned(&mut self, turns: u64, now: Duration) {
        let (before, since) = self.turns;
        if now < since + Duration::from_secs(1) {
            if turns > before + TURNS_PER_SEC_MAX {
                self.violate(
                    "nothing turns without progress",
                    format!("{} turns in a second", turns - before),
                );
            }
            return;
        }
        self.turns = (turns, now);
    }

    /// After the troubles, and some peace.
    pub fn ended(&mut self, daemon: usize, snapshot: Option<&Snapshot>, sky: &Sky, now: Duration) {
        const RULE: &str = "after the troubles all is as it should be";
        let Some(snapshot) = snapshot else {
            return self.violate(RULE, "the daemon does not run".to_owned());
        };
        let world = &sky.world;
        let head = world.head();
        let told = snapshot.head.map(|told| (told.number, told.timestamp));
        let (number, timestamp) = told.unwrap_or_default();
        let behind = head.number.saturating_sub(number);
        // Where each transaction makes a block, dozens may come in the time of a few answers.
        let behind_secs = head.timestamp.saturating_sub(timestamp);
        if behind > 40 && behind_secs > BEHIND_SECS_MAX {
            self.violate(RULE, format!("the daemon is {behind} blocks behind"));
        }
        let is_readable = self.has_read_all(daemon, head.number, now);
        if is_readable && snapshot.syncing && now > self.sights[daemon].synced + SYNCED_WITHIN {
            let since = now.saturating_sub(self.sights[daemon].synced);
            self.violate(RULE, format!("it has read the past for {since:?}"));
        }
        if !snapshot.connection.reachable {
            self.violate(
                RULE,
                format!("unreachable: {:?}", snapshot.connection.problem),
            );
        }
        // Whose nonce another daemon has used learns of it at the next two blocks, which nobody makes here.
        let no_block_comes = self.blocks == Blocks::OnDemand && self.sights.len() > 1;
        let flight = snapshot.operator.own.in_flight.as_ref();
        if let Some(flight) = flight.filter(|_| !no_block_comes) {
            self.violate("every flight ends", format!("{flight:?}"));
        }
        // A chain that makes blocks on demand does stand still, which is told.
        let is_true =
            |alert: &Alert| alert.code == AlertCode::HeadStale && self.blocks == Blocks::OnDemand;
        let mut alerts = snapshot.operator.alerts.iter();
        if let Some(alert) = alerts.find(|alert| self.is_plain && !is_true(alert)) {
            self.violate("no false alarm", format!("{alert:?}"));
        }
        self.check_alarms(daemon, snapshot, world);
        self.check_requests(sky, now);
        if is_readable || !snapshot.syncing {
            self.check_history(daemon, snapshot, world);
        }
        let calls: u64 = sky.calls.values().sum();
        let minutes = now.as_secs_f64() / 60.0;
        let blocks = world.canonical.len() as f64 / minutes;
        let most = 90.0 + 8.0 * blocks * self.endpoints as f64;
        if self.is_plain && calls as f64 / minutes > most {
            let what = format!(
                "{:.0} a minute at {blocks:.0} blocks: {:?}",
                calls as f64 / minutes,
                sky.calls
            );
            self.violate("calls stay within budget", what);
        }
    }

    /// Whether a daemon has had the time to read all logs. Where answers take as long as blocks do, those of the newest are
    /// always on their way; and a start walks down through all that there is, as many blocks a step as may be asked for.
    fn has_read_all(&self, daemon: usize, head: u64, now: Duration) -> bool {
        let walked = self.sights[daemon].started + self.patience.way_through(head, now);
        self.patience.can_bring_logs(now) && now > walked
    }

    /// Whether all has been read up to where the other was.
    pub fn is_as_far(seen: &Snapshot, fresh: &Snapshot) -> bool {
        let number = |snapshot: &Snapshot| snapshot.head.map(|head| head.number);
        !fresh.syncing && !fresh.owed.history && number(fresh) >= number(seen)
    }

    /// What a daemon that was started just now shows, against what the one shows that has met the troubles.
    pub fn compared(&mut self, seen: &Snapshot, fresh: &Snapshot, now: Duration) {
        const RULE: &str = "after the troubles all is as a fresh start has it";
        if !Oracle::is_as_far(seen, fresh) {
            let head = seen.head.map_or(0, |head| head.number);
            if self.has_read_all(0, head, now) {
                self.violate(RULE, format!("it is not ready: {:?}", fresh.owed));
            }
            return;
        }
        let ends = |snapshot: &Snapshot| -> Vec<_> {
            let ends = snapshot.history.iter();
            ends.map(|it| (it.round_id, it.position.block_hash, it.total_pot_wei))
                .collect()
        };
        let events = |snapshot: &Snapshot| -> Vec<String> {
            let is_event = |item: &&LiveFeedItem| matches!(item, LiveFeedItem::Event(_));
            let events = snapshot.live_feed.iter().filter(is_event);
            events.map(LiveFeedItem::id).collect()
        };
        let (told, is) = (events(seen), events(fresh));
        let shared = told.len().min(is.len());
        let differs = match seen.syncing {
            true => None,
            false if ends(seen) != ends(fresh) => Some("history"),
            false if told[told.len() - shared..] != is[is.len() - shared..] => Some("feed"),
            false => None,
        };
        let differs = differs
            .or((seen.round != fresh.round).then_some("round"))
            .or((seen.config != fresh.config).then_some("configuration"));
        if let Some(what) = differs {
            let rounds = (&seen.round, &fresh.round);
            self.violate(
                RULE,
                format!("the {what} differs: {rounds:?} {told:#?} {is:#?}"),
            );
        }
    }

    fn check_alarms(&mut self, daemon: usize, snapshot: &Snapshot, world: &World) {
        let lottery = &world.head().ledger.lottery;
        if !lottery.is_betting {
            let stands = self.blocks == Blocks::OnDemand;
            for what in self.sights[daemon].alarms.ended(snapshot, stands) {
                self.violate("what has ended is told to have", what);
            }
            return;
        }
        // The round is locked: whose fault that is has to be known.
        for (player, _) in &lottery.players {
            let is_unpayable = world.terms.unpayable.contains(player);
            if is_unpayable && !self.sights[daemon].alarms.has_told_unpayable(player) {
                let what = format!("{player:#x} in round {}", lottery.round_id);
                self.violate("who cannot be paid is named", what);
            }
        }
    }

    /// Who does badly all the time is left alone, as long as others do well.
    fn check_requests(&mut self, sky: &Sky, now: Duration) {
        let minutes = now.as_secs_f64() / 60.0;
        if let Some(endpoint) = self.failing {
            let requests = sky.requests.get(&endpoint).copied().unwrap_or(0) as f64 / minutes;
            let daemons = self.sights.len() as f64;
            if requests > REQUESTS_IN_VAIN_MAX * daemons {
                let what = format!("endpoint {endpoint}: {requests:.0} a minute");
                self.violate("who does badly is left alone", what);
            }
        }
        let is_regular = matches!(self.blocks, Blocks::Every(_));
        if let Some(endpoint) = self.trailing.filter(|_| is_regular) {
            let heads = sky.heads_asked.get(&endpoint).copied().unwrap_or(0) as f64;
            let daemons = self.sights.len() as f64;
            let most = HEADS_OF_TRAILING_MAX * daemons * minutes
                + self.patience.heads_of_start() * f64::from(self.starts + self.suspensions);
            if heads > most {
                let what = format!("endpoint {endpoint}: {heads} times in {minutes:.1} minutes");
                self.violate("who trails is asked after the others", what);
            }
        }
    }

    fn check_history(&mut self, daemon: usize, snapshot: &Snapshot, world: &World) {
        const RULE: &str = "the history is true";
        let mut ends = Vec::new();
        for index in &world.canonical {
            let block = &world.blocks[*index];
            for mined in block.mined.iter().filter(|mined| mined.succeeded) {
                let ends_round = ["drawWinner", "refundExpiredRound", "refundRound"];
                if function_of(&mined.tx.data).is_some_and(|name| ends_round.contains(&name)) {
                    ends.push((block.hash, mined));
                }
            }
        }
        ends.reverse();
        let shown = snapshot.history.len();
        if shown < ends.len().min(6) {
            let told: Vec<u64> = snapshot.history.iter().map(|it| it.round_id).collect();
            let what = format!("daemon {daemon} shows {told:?} of {} rounds", ends.len());
            return self.violate(RULE, what);
        }
        for (finished, (hash, mined)) in snapshot.history.iter().zip(&ends) {
            let completed = matches!(finished.outcome, Outcome::Completed { .. });
            let was_drawn = mined.events.len() == 3 && mined.events[1].topics.len() == 3;
            if finished.position.block_hash != *hash || completed != was_drawn {
                let what = format!("round {}: {:?}", finished.round_id, finished.outcome);
                return self.violate(RULE, what);
            }
        }
    }
}

fn trails(plan: &Plan, endpoint: usize) -> bool {
    let mut lasting = plan.lasting.iter();
    lasting.any(|(own, trouble)| *own == endpoint && matches!(trouble, Trouble::Behind(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_daemon_may_ask_in_vain_so_often_and_no_more() {
        let mut oracle = Oracle::new(&Plan::plain(2, 1));
        let of_two = |index: usize| (Duration::from_millis(index as u64), 0, (index % 2) as Group);
        oracle.asked((0..2 * IN_VAIN_MAX).map(of_two).collect());
        assert_eq!(oracle.violations, []);
        oracle.asked(vec![of_two(2 * IN_VAIN_MAX)]);
        assert_eq!(oracle.violations.len(), 1);
        assert_eq!(oracle.violations[0].rule, "who does badly is left alone");
    }
}
