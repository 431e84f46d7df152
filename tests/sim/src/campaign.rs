//! Plays a plan: makes blocks, lets players bet, brings on the troubles, starts and kills the daemon, and has the oracle
//! look at each step. All of it happens on one thread of the simulation, the world's.

use std::collections::BTreeMap;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lottery::base::clock::{Clock, Wakeable};
use lottery::chain::types::Address;
use lottery::lottery::snapshot::Snapshot;
use support::chain::OPERATOR_KEY;
use support::random::Random;
use support::BET_WEI;

use crate::baton::{Baton, Group};
use crate::contract::{selector, Lottery, Terms};
use crate::daemon::Daemon;
use crate::oracle::{Oracle, Violation};
use crate::panics;
use crate::plan::{Blocks, Plan, Planned, What, FIRST_BET_WITHIN};
use crate::wire::{Active, Endpoint, Sky};
use crate::world::World;

/// Chain time at the beginning.
pub const GENESIS: u64 = 1_790_000_000;

/// When it is that chain time; the beginning for what was before.
pub fn at_chain_time(time: u64) -> Duration {
    Duration::from_secs(time.saturating_sub(GENESIS))
}

/// How long everything is left in peace at the end: longer than the longest that an endpoint is left alone.
const QUIET: Duration = Duration::from_secs(150);
/// On a chain that makes blocks on demand, others demand one so long after a window has closed.
const OTHERS_AFTER_SECS: u64 = 30;
/// Every so many campaigns a fresh daemon is started at the end, and reads all that there is within that time.
const COMPARED_EVERY: u64 = 3;
const FRESH_WITHIN: Duration = Duration::from_secs(300);
/// No campaign lasts longer, whatever goes wrong in it.
const LONGEST: Duration = Duration::from_secs(6 * 3_600);

/// What became of a campaign.
#[derive(Debug)]
pub struct Outcome {
    pub violations: Vec<Violation>,
    /// How long after its window had opened each round was drawn.
    pub drawn: Vec<(u64, Duration)>,
    pub rounds: usize,
    pub blocks: usize,
    /// How often each method was asked for.
    pub calls: BTreeMap<String, u64>,
    pub turns: u64,
    pub elapsed: Duration,
    pub story: Vec<(Duration, String)>,
}

struct Campaign<'a> {
    plan: &'a Plan,
    baton: Arc<Baton>,
    clock: Clock,
    sky: Arc<Mutex<Sky>>,
    random: Random,
    /// The first, and where the plan has one another that stands by.
    daemons: Vec<Daemon>,
    groups: Group,
    oracle: Oracle,
    next_block_at: Option<Duration>,
    stalled: u32,
    held: u32,
    fee_factor: u64,
    /// Bets that are to come: when, who.
    bets: Vec<(Duration, Address)>,
    /// Troubles of the running round: when, and whether it begins.
    edges: Vec<(Duration, usize, bool)>,
    rounds_begun: usize,
    window_seen: u64,
    begun_by_round: Vec<bool>,
}

/// Plays the plan to its end, or to the first violation.
pub fn play(plan: &Plan) -> Outcome {
    let start_ms = (GENESIS as i64 + plan.host_clock_off_secs) as u64 * 1_000;
    let baton = Baton::take(plan.seed, start_ms);
    panics::listen();
    let mut campaign = Campaign::new(plan, baton);
    // A panic of the world's own must not unwind through threads that still wait for their turn: they are ended first.
    let played = catch_unwind(AssertUnwindSafe(|| {
        campaign.start_daemons();
        campaign.run();
        campaign.judge_end();
    }));
    campaign.hear_panics();
    if let (Err(_), Some(threads)) = (played, campaign.baton.spin()) {
        campaign
            .oracle
            .violate("nothing turns without progress", threads);
    }
    let outcome = campaign.end();
    panics::ignore();
    outcome
}

/// The times of some blocks before the beginning.
fn history(blocks: Blocks, random: &mut Random) -> Vec<u64> {
    let mut before = Duration::ZERO;
    let mut times = Vec::new();
    for _ in 0..40 {
        before += match blocks {
            Blocks::Every(spacing) => spacing,
            Blocks::Around(mean) => around(mean, random),
            Blocks::OnDemand => Duration::from_secs(random.below(9)),
        };
        times.push((GENESIS - 1).saturating_sub(before.as_secs()));
    }
    times.reverse();
    times
}

fn around(mean: Duration, random: &mut Random) -> Duration {
    mean / 4 + mean.mul_f64(random.below(2_750) as f64 / 1_000.0)
}

pub fn player(index: usize) -> Address {
    Address::from_low_u64_be(0xbe77_0000 + index as u64)
}

pub fn contract_address() -> Address {
    Address::repeat_byte(0xc0)
}

fn operator() -> Address {
    let key = lottery::chain::key::OperatorKey::from_hex(OPERATOR_KEY);
    key.expect("the public dev key is one").address()
}

impl<'a> Campaign<'a> {
    fn new(plan: &'a Plan, baton: Arc<Baton>) -> Campaign<'a> {
        let mut random = Random::new(plan.seed ^ 0x0b5e_55ed);
        let terms = Terms {
            publisher: Address::repeat_byte(0xab),
            commission_bps: 250,
            min_draw_delay: plan.min_draw_delay_secs,
            max_draw_delay: plan.min_draw_delay_secs + plan.window_secs,
            min_extension: 10,
            unpayable: vec![player(99)],
        };
        let mut lottery = Lottery::new(operator());
        lottery.betting_duration = plan.betting_secs;
        let worlds = Random::new(random.number());
        let mut world = World::new(terms, contract_address(), lottery, GENESIS - 6_000, worlds);
        world.rules = plan.rules.clone();
        // Some history before the daemon, in the chain's own rhythm.
        for timestamp in history(plan.blocks, &mut random) {
            world.mine(timestamp, true);
        }
        let endpoints = plan.endpoints.iter().map(|(character, latency)| Endpoint {
            character: character.clone(),
            latency: *latency,
            tip: 0,
        });
        let mut sky = Sky {
            endpoints: endpoints.collect(),
            world,
            active: plan
                .standing
                .iter()
                .chain(&plan.lasting)
                .map(Active::of)
                .collect(),
            next_timestamp: GENESIS,
            calls: Default::default(),
            requests: Default::default(),
            heads_asked: Default::default(),
            in_vain: Vec::new(),
            story: Vec::new(),
        };
        sky.show();
        let oracle = Oracle::new(plan);
        Campaign {
            plan,
            clock: baton.clock(),
            baton,
            sky: Arc::new(Mutex::new(sky)),
            random,
            daemons: (0..plan.daemons())
                .map(|index| Daemon::new(plan, index))
                .collect(),
            groups: 0,
            oracle,
            next_block_at: Some(Duration::ZERO),
            stalled: 0,
            held: 0,
            fee_factor: 1,
            bets: Vec::new(),
            edges: Vec::new(),
            rounds_begun: 0,
            window_seen: 0,
            begun_by_round: vec![false; plan.rounds.len()],
        }
    }

    fn sky(&self) -> MutexGuard<'_, Sky> {
        self.sky.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, what: String) {
        let elapsed = self.baton.elapsed();
        self.sky().story.push((elapsed, what));
    }

    fn start_daemons(&mut self) {
        (0..self.daemons.len()).for_each(|index| self.start_daemon(index));
    }

    fn start_daemon(&mut self, index: usize) {
        self.groups += 1;
        let group = self.groups;
        self.daemons[index].start(group, &self.baton, &self.sky);
        self.tell(format!("daemon {index} starts, run {group}"));
        self.oracle.restarted(index, group, self.baton.elapsed());
    }

    fn kill_daemon(&mut self, index: usize) {
        if let Some(running) = self.daemons[index].running.take() {
            self.tell(format!("daemon {index} is killed, run {}", running.group));
            self.baton.kill(running.group);
        }
    }

    fn kill_daemons(&mut self) {
        (0..self.daemons.len()).for_each(|index| self.kill_daemon(index));
    }

    fn run(&mut self) {
        let mut over_since = None;
        while self.oracle.violations.is_empty() {
            let now = self.baton.elapsed();
            if let Some(threads) = self.baton.spin() {
                self.oracle
                    .violate("nothing turns without progress", threads);
                break;
            }
            if now > LONGEST {
                self.oracle
                    .violate("the campaign does not end", String::new());
            }
            self.look();
            self.hear_panics();
            let is_over = self.is_over();
            if !self.plan.standing.is_empty() && (is_over || self.is_missed()) {
                break;
            }
            let since = *over_since.get_or_insert(now);
            match is_over {
                false => over_since = None,
                true if now >= since + QUIET => break,
                true => {}
            }
            self.step(now);
        }
    }

    /// Waits for the next thing to happen, and does it.
    fn step(&mut self, now: Duration) {
        let next = self.next_event().unwrap_or(now + Duration::from_secs(1));
        let deadline = self.clock.now() + next.saturating_sub(now);
        let running = self.daemons.iter().filter_map(|it| it.running.as_ref());
        let news: Vec<&dyn Wakeable> = running.map(|it| &it.publications as _).collect();
        self.clock.wait_any(&news, Some(deadline));
        self.act();
    }

    /// Another daemon, which has met none of the troubles, comes to see the same.
    fn compare_with_fresh(&mut self, seen: &Snapshot) {
        self.kill_daemons();
        self.start_daemon(0);
        let until = self.baton.elapsed() + FRESH_WITHIN;
        loop {
            self.look();
            let now = self.baton.elapsed();
            let fresh = self.shown(0);
            let Some(fresh) = fresh.filter(|_| self.oracle.violations.is_empty()) else {
                return;
            };
            if Oracle::is_as_far(seen, &fresh) || now > until {
                return self.oracle.compared(seen, &fresh, now);
            }
            self.step(now);
        }
    }

    /// All rounds are played, or the last is locked for good; all troubles are gone.
    fn is_over(&self) -> bool {
        let waiting = !self.sky().world.head().ledger.lottery.is_betting;
        self.rounds_begun == self.plan.rounds.len()
            && (waiting || self.is_locked())
            && self.bets.is_empty()
            && self.edges.is_empty()
    }

    /// Comparing takes its time, so not every campaign ends with it; what is wrong all the time is no base for it.
    fn is_compared(&self) -> bool {
        let is_sound = self.oracle.violations.is_empty() && self.plan.standing.is_empty();
        is_sound && self.plan.seed.is_multiple_of(COMPARED_EVERY)
    }

    /// Neither draw nor refund can pass any more, since somebody cannot be paid.
    fn is_locked(&self) -> bool {
        let sky = self.sky();
        let mut players = sky.world.head().ledger.lottery.players.iter();
        let has_unpayable = players.any(|(player, _)| sky.world.terms.unpayable.contains(player));
        drop(sky);
        has_unpayable && self.is_missed()
    }

    /// The running round's window is over.
    fn is_missed(&self) -> bool {
        let head = self.sky().world.head().clone();
        let lottery = &head.ledger.lottery;
        lottery.is_betting && head.timestamp > lottery.max_draw_time
    }

    fn next_event(&self) -> Option<Duration> {
        let bets = self.bets.iter().map(|(at, _)| *at);
        let edges = self.edges.iter().map(|(at, ..)| *at);
        bets.chain(edges).chain(self.next_block_at).min()
    }

    /// Has the oracle look at what was published.
    fn look(&mut self) {
        let (now, turns) = (self.baton.elapsed(), self.baton.turns());
        let mut sky = self.sky.lock().unwrap_or_else(PoisonError::into_inner);
        self.oracle.sent(&mut sky.world);
        self.oracle.asked(std::mem::take(&mut sky.in_vain));
        for (index, daemon) in self.daemons.iter().enumerate() {
            let Some(running) = &daemon.running else {
                continue;
            };
            for publication in running.publications.try_iter() {
                self.oracle.published(index, &publication, &sky.world, now);
            }
            self.oracle.watched(index, &sky.world, now);
        }
        self.oracle.turned(turns, now);
    }

    /// What a daemon that runs shows.
    fn shown(&self, index: usize) -> Option<Arc<Snapshot>> {
        let running = self.daemons[index].running.as_ref();
        running.map(|running| running.core.snapshot.load())
    }

    fn act(&mut self) {
        let now = self.baton.elapsed();
        while let Some(index) = self.edges.iter().position(|(at, ..)| *at <= now) {
            let (_, trouble, begins) = self.edges.remove(index);
            self.turn_trouble(trouble, begins);
        }
        while let Some(index) = self.bets.iter().position(|(at, _)| *at <= now) {
            let (_, who) = self.bets.remove(index);
            let wei = u128::from(BET_WEI) * u128::from(1 + self.random.below(40));
            let mut sky = self.sky();
            sky.world.want(who, wei, selector("placeBet").to_vec());
        }
        if self.next_block_at.is_some_and(|at| at <= now) {
            self.make_block();
        }
        self.follow_round();
    }

    fn chain_time(&self) -> u64 {
        GENESIS + self.baton.elapsed().as_secs()
    }

    fn make_block(&mut self) {
        let now = self.baton.elapsed();
        let spacing = match self.plan.blocks {
            Blocks::Every(spacing) => spacing,
            Blocks::Around(mean) => around(mean, &mut self.random),
            Blocks::OnDemand => Duration::from_millis(50),
        };
        self.next_block_at = Some(now + spacing);
        let time = self.chain_time();
        let takes_ours = self.held == 0;
        let mut sky = self.sky.lock().unwrap_or_else(PoisonError::into_inner);
        if self.stalled > 0 {
            // A node's next block has the time of its clock.
            sky.next_timestamp = (GENESIS + (now + spacing).as_secs()).max(sky.next_timestamp);
            self.oracle.next_block(sky.next_timestamp, &sky.world, now);
            return;
        }
        // Where a window was missed, somebody else's transaction brings the block that shows it, sooner or later.
        let closed = sky.world.head().ledger.lottery.max_draw_time + OTHERS_AFTER_SECS;
        let is_missed = sky.world.head().ledger.lottery.is_betting && time > closed;
        let is_idle = sky.world.wanted.is_empty()
            && !(sky.world.has_next() && takes_ours)
            && !(is_missed && time > sky.world.head().timestamp + OTHERS_AFTER_SECS);
        if self.plan.blocks == Blocks::OnDemand && is_idle {
            sky.next_timestamp = time.max(sky.world.head().timestamp + 1);
            self.oracle.next_block(sky.next_timestamp, &sky.world, now);
            return;
        }
        let timestamp = time.max(sky.world.head().timestamp);
        let drift = 875 + u128::from(self.random.below(251));
        sky.world.next_base_fee =
            (sky.world.next_base_fee * drift / 1_000).clamp(7, 60_000_000_000);
        if sky.world.rules.is_base_fee_zero {
            sky.world.next_base_fee = 0;
        }
        let fee = sky.world.next_base_fee;
        sky.world.next_base_fee = fee * u128::from(self.fee_factor);
        sky.world.mine(timestamp, takes_ours);
        let mined = sky.world.head().clone();
        sky.world.next_base_fee = fee;
        sky.next_timestamp = (GENESIS + (now + spacing).as_secs()).max(timestamp);
        sky.show();
        for tx in mined.mined.iter().map(|mined| (&mined.tx, mined.succeeded)) {
            let (tx, succeeded) = tx;
            let what = crate::contract::function_of(&tx.data).unwrap_or("a transfer");
            let who = if tx.from == sky.world.operator {
                "operator"
            } else {
                "player"
            };
            let line = format!(
                "block {} at {}: {what} of the {who}{}",
                mined.number,
                at_chain_time(timestamp).as_secs(),
                if succeeded { "" } else { " REVERTED" }
            );
            sky.story.push((now, line));
        }
        self.oracle.sent(&mut sky.world);
        self.oracle.moved(&sky.world, now);
        self.oracle.next_block(sky.next_timestamp, &sky.world, now);
    }

    /// Begins rounds, and knows their windows when they have one.
    fn follow_round(&mut self) {
        let now = self.baton.elapsed();
        let lottery = self.sky().world.head().ledger.lottery.clone();
        let is_idle = self.bets.is_empty() && self.sky().world.wanted.is_empty();
        if !lottery.is_betting && is_idle {
            let newest = self.rounds_begun.checked_sub(1);
            let is_lost = newest.is_some_and(|index| !self.begun_by_round[index]);
            if is_lost {
                // A reorg has taken the round's first bet away for good.
                self.bets.push((now + Duration::from_secs(1), player(0)));
            } else if self.rounds_begun < self.plan.rounds.len() {
                self.begin_round(now);
            }
        }
        if lottery.is_betting && lottery.min_draw_time != self.window_seen {
            self.window_seen = lottery.min_draw_time;
            let index = self.rounds_begun.saturating_sub(1);
            let opens = at_chain_time(lottery.min_draw_time);
            if !std::mem::replace(&mut self.begun_by_round[index], true) {
                self.schedule_troubles(index, opens, now);
            }
        }
    }

    fn begin_round(&mut self, now: Duration) {
        let round = &self.plan.rounds[self.rounds_begun];
        self.rounds_begun += 1;
        let first_within_ms = FIRST_BET_WITHIN.as_millis() as u64;
        let first = now + Duration::from_millis(self.random.below(first_within_ms));
        let betting_ms = self.plan.betting_secs * 1_000;
        self.bets.push((first, player(0)));
        for index in 1..round.players {
            let at = first + Duration::from_millis(self.random.below(betting_ms * 9 / 10));
            self.bets.push((at, player(index)));
        }
        for _ in 0..round.second_bets {
            let at = first + Duration::from_millis(self.random.below(betting_ms * 9 / 10));
            let who = player(self.random.index(round.players));
            self.bets.push((at, who));
        }
        if round.with_unpayable {
            self.bets
                .push((first + Duration::from_millis(betting_ms / 3), player(99)));
        }
    }

    fn schedule_troubles(&mut self, round: usize, opens: Duration, now: Duration) {
        for (index, planned) in self.plan.troubles.iter().enumerate() {
            if planned.round != round {
                continue;
            }
            let offset = Duration::from_millis(planned.begins_ms.unsigned_abs());
            let begins = match planned.begins_ms < 0 {
                true => opens.saturating_sub(offset),
                false => opens + offset,
            };
            let begins = begins.max(now);
            let ends = begins + planned.lasts;
            self.edges.push((begins, index, true));
            self.edges.push((ends, index, false));
            self.oracle.trouble(begins, ends, planned);
        }
        self.edges.sort();
    }

    fn turn_trouble(&mut self, index: usize, begins: bool) {
        let Planned { what, .. } = &self.plan.troubles[index];
        let verb = if begins { "begins" } else { "ends" };
        self.tell(format!("{verb}: {what:?}"));
        let by = if begins { 1 } else { -1 };
        match what {
            What::Of(endpoint, trouble) => {
                let (endpoint, trouble) = (*endpoint, trouble.clone());
                let mut sky = self.sky();
                match begins {
                    true => sky.active.push(Active { endpoint, trouble }),
                    false => {
                        let mut active = sky.active.iter();
                        let same =
                            |known: &Active| known.endpoint == endpoint && known.trouble == trouble;
                        if let Some(index) = active.position(same) {
                            sky.active.remove(index);
                        }
                    }
                }
                sky.show();
            }
            What::Held => self.held = self.held.saturating_add_signed(by),
            What::Stall => self.stalled = self.stalled.saturating_add_signed(by),
            What::FeeSpike(factor) => self.fee_factor = if begins { *factor } else { 1 },
            What::Reorg { depth, keeps } if begins => self.reorg(*depth, *keeps, depth + 1),
            What::ShortReorg { depth, length } if begins => self.reorg(*depth, true, *length),
            What::PoolForgets if begins => self.sky().world.pool.clear(),
            What::Killed(daemon) if begins => self.kill_daemon(*daemon),
            What::Killed(daemon) if self.daemons[*daemon].running.is_none() => {
                self.start_daemon(*daemon);
            }
            What::Suspended(daemon) if begins => {
                if let Some(running) = &self.daemons[*daemon].running {
                    let lasts = self.plan.troubles[index].lasts;
                    self.baton.suspend(running.group, lasts);
                }
            }
            What::PublicRefund => {
                let refund = selector("refundExpiredRound").to_vec();
                self.sky().world.want(player(77), 0, refund);
            }
            _ => {}
        }
    }

    /// What a thread of the daemon caught for itself is a fault all the same.
    fn hear_panics(&mut self) {
        if let Some(what) = panics::heard() {
            self.oracle.violate("nothing panics", what);
        }
    }

    fn judge_end(&mut self) {
        // With what is wrong all the time the last draw is the end, and what follows a draw still on its way.
        if self.oracle.violations.is_empty() && self.plan.standing.is_empty() {
            for index in 0..self.daemons.len() {
                let shown = self.shown(index);
                let sky = self.sky.lock().unwrap_or_else(PoisonError::into_inner);
                let now = self.baton.elapsed();
                self.oracle.ended(index, shown.as_deref(), &sky, now);
            }
            if let Some(seen) = self.shown(0).filter(|_| self.is_compared()) {
                self.compare_with_fresh(&seen);
            }
        }
    }

    fn reorg(&mut self, depth: u64, keeps: bool, length: u64) {
        let (takes_ours, now) = (self.held == 0, self.baton.elapsed());
        let mut sky = self.sky.lock().unwrap_or_else(PoisonError::into_inner);
        sky.world.reorg(depth, keeps, takes_ours, length);
        sky.show();
        self.oracle.reorganized(now);
        self.oracle.moved(&sky.world, now);
    }

    fn end(mut self) -> Outcome {
        self.kill_daemons();
        let (elapsed, turns) = (self.baton.elapsed(), self.baton.turns());
        let mut sky = self.sky();
        let story = std::mem::take(&mut sky.story);
        let (blocks, calls) = (sky.world.blocks.len(), std::mem::take(&mut sky.calls));
        drop(sky);
        Outcome {
            violations: self.oracle.violations,
            drawn: self.oracle.drawn,
            rounds: self.rounds_begun,
            blocks,
            calls,
            turns,
            elapsed,
            story,
        }
    }
}
