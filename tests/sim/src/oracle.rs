//! What must hold, judged by one who sees the true chain: draws in time, nothing published that is not so, nothing sent
//! twice, no false alarm, and after the troubles everything as if there had been none.

use std::collections::HashMap;
use std::time::Duration;

use lottery::chain::types::{H256, U256};
use lottery::lottery::alert::{Alert, AlertCode};
use lottery::lottery::history::Outcome;
use lottery::lottery::round::RoundState;
use lottery::lottery::snapshot::{Publication, Snapshot};

use crate::contract::function_of;
use crate::plan::{Blocks, Plan, Planned, What};
use crate::wire::{Sky, Trouble, Way};
use crate::world::{Mined, World};

/// An endpoint that refused to serve is left alone for so long, and an endpoint in trouble is asked again after at most
/// ten seconds.
const PARKED: Duration = Duration::from_secs(75);
const BACKOFF: Duration = Duration::from_secs(16);
/// A time-out, another endpoint, and all the questions anew.
const FOUND_OUT: Duration = Duration::from_secs(25);
/// So often at least all logs are known, when nothing is wrong.
const SYNCED_WITHIN: Duration = Duration::from_secs(45);
/// Whoever has failed a batch is asked one by one for so long.
const SINGLE_CALLS_FOR: Duration = Duration::from_secs(600);
/// One after the other, from the head that allows a draw to its block: with batches, and one by one.
const ROUND_TRIPS: u32 = 8;
const SINGLE_ROUND_TRIPS: u32 = 28;
/// A step through logs that are owed, likewise: an answer without logs is asked for again, and of a second endpoint.
const STEP_ROUND_TRIPS: u32 = 4;
const SINGLE_STEP_ROUND_TRIPS: u32 = 12;
/// The baton is handed on so often in a second of simulated time only by a loop that makes no progress.
const TURNS_PER_SEC_MAX: u64 = 20_000;

#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    pub rule: &'static str,
    pub what: String,
}

/// A time in which something was wrong.
#[derive(Debug)]
struct Bad {
    begins: Duration,
    ends: Duration,
    /// Of one endpoint, or of the chain or the daemon.
    endpoint: Option<usize>,
    recovery: Duration,
    /// A batch may have failed in it while single calls did not.
    spoils_batches: bool,
}

impl Bad {
    /// When whoever met it has recovered.
    fn over(&self) -> Duration {
        self.ends + self.recovery
    }
}

pub struct Oracle {
    pub violations: Vec<Violation>,
    /// How long after its window had opened each round was drawn.
    pub drawn: Vec<(u64, Duration)>,
    endpoints: usize,
    blocks: Blocks,
    latency: Duration,
    takes_batches: bool,
    /// The fewest blocks of one eth_getLogs.
    log_blocks_max: u64,
    is_plain: bool,
    /// Something is wrong all the time: how soon a draw is due then is not for this to say.
    has_standing: bool,
    bad: Vec<Bad>,
    /// The newest head that was published.
    published: Option<H256>,
    /// The running round's window, and when it opened.
    window: Option<Window>,
    turns: (u64, Duration),
    /// The newest block that was judged.
    judged: Option<usize>,
    /// Transactions that wait behind a nonce that is missing, and when each was first seen.
    gaps: HashMap<H256, Duration>,
    gaps_told: bool,
    reorgs: bool,
    /// The last reorg: what was drawn before may be due once more since.
    reorganized: Duration,
    /// When all logs up to the head were last known.
    synced: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    round_id: u64,
    opens: Duration,
    closes: Duration,
    pot: u128,
    payable: bool,
}

impl Oracle {
    pub fn new(plan: &Plan) -> Oracle {
        let latencies = plan.endpoints.iter().map(|(_, latency)| *latency);
        let takes_batches = plan.endpoints.iter().all(|(node, _)| node.takes_batches);
        let log_blocks = plan.endpoints.iter().map(|(node, _)| node.log_blocks_max);
        Oracle {
            violations: Vec::new(),
            drawn: Vec::new(),
            endpoints: plan.endpoints.len(),
            blocks: plan.blocks,
            latency: latencies.max().unwrap_or_default(),
            takes_batches,
            log_blocks_max: log_blocks.min().unwrap_or(u64::MAX),
            is_plain: plan.troubles.is_empty() && plan.standing.is_empty(),
            has_standing: !plan.standing.is_empty(),
            bad: Vec::new(),
            published: None,
            window: None,
            turns: (0, Duration::ZERO),
            judged: None,
            gaps: HashMap::new(),
            gaps_told: false,
            reorgs: false,
            reorganized: Duration::ZERO,
            synced: Duration::ZERO,
        }
    }

    pub fn violate(&mut self, rule: &'static str, what: String) {
        self.violations.push(Violation { rule, what });
    }

    pub fn trouble(&mut self, begins: Duration, ends: Duration, planned: &Planned) {
        let parks = |way: Way| {
            matches!(
                way,
                Way::Status(300..=428)
                    | Way::StatusWithError(400..=428)
                    | Way::RateLimit
                    | Way::Status(429)
            )
        };
        let (endpoint, recovery) = match &planned.what {
            What::Of(endpoint, Trouble::Answers(_, way) | Trouble::Batches(way)) if parks(*way) => {
                (Some(*endpoint), PARKED)
            }
            What::Of(endpoint, _) => (Some(*endpoint), BACKOFF),
            What::Killed | What::Suspended => (None, BACKOFF),
            _ => (None, BACKOFF),
        };
        self.reorgs |= matches!(planned.what, What::Reorg { .. });
        let spoils_batches = matches!(
            planned.what,
            What::Of(_, Trouble::Answers(..) | Trouble::Batches(_))
        );
        self.bad.push(Bad {
            begins,
            ends,
            endpoint,
            recovery,
            spoils_batches,
        });
    }

    pub fn reorganized(&mut self, now: Duration) {
        self.reorganized = now;
    }

    pub fn killed(&mut self, _now: Duration) {
        self.published = None;
    }

    pub fn restarted(&mut self, now: Duration) {
        self.published = None;
        self.bad.push(Bad {
            begins: now,
            ends: now,
            endpoint: None,
            recovery: BACKOFF,
            spoils_batches: false,
        });
    }

    /// Whether every endpoint is asked in batches at that time.
    fn has_batches(&self, at: Duration) -> bool {
        let spoils =
            |bad: &Bad| bad.spoils_batches && bad.begins <= at && at < bad.ends + SINGLE_CALLS_FOR;
        self.takes_batches && !self.bad.iter().any(spoils)
    }

    /// Whether the endpoints can bring logs clearly sooner than blocks bring new ones: else the past is never read to its
    /// end, however it is asked for.
    fn can_bring_logs(&self, at: Duration) -> bool {
        let spacing = match self.blocks {
            Blocks::Every(spacing) | Blocks::Around(spacing) => spacing,
            Blocks::OnDemand => return true,
        };
        let round_trips = match self.has_batches(at) {
            true => STEP_ROUND_TRIPS,
            false => SINGLE_STEP_ROUND_TRIPS,
        };
        let step_secs = (self.latency * round_trips).as_secs_f64();
        self.log_blocks_max as f64 * spacing.as_secs_f64() > 1.5 * step_secs
    }

    /// How long a draw may take when all is well: a block to see that it is due, one to be mined in, and the questions
    /// in between, one after the other where an endpoint takes no batches.
    fn usual(&self, from: Duration) -> Duration {
        let spacing = match self.blocks {
            Blocks::Every(spacing) => spacing,
            Blocks::Around(mean) => mean * 3,
            // What duty asks of chains that make blocks on demand.
            Blocks::OnDemand => Duration::from_secs(13),
        };
        let round_trips = match self.has_batches(from) {
            true => ROUND_TRIPS,
            false => SINGLE_ROUND_TRIPS,
        };
        spacing * 2 + self.latency * round_trips + Duration::from_secs(2)
    }

    /// From when on a draw was possible without interruption, and what it may take from there.
    fn due(&self, opens: Duration) -> Duration {
        let mut from = opens.max(self.reorganized);
        let mut allowed = self.usual(from);
        loop {
            let until = from + allowed;
            let meets = |bad: &&Bad| bad.begins < until && bad.over() > from;
            let bad: Vec<&Bad> = self.bad.iter().filter(meets).collect();
            let is_of = |bad: &&&Bad, own: usize| bad.endpoint == Some(own);
            let all_down = (0..self.endpoints).all(|own| bad.iter().any(|bad| is_of(&bad, own)));
            // What stands in the way of every endpoint has to end, and recovering takes its time.
            let of_all = bad.iter().filter(|bad| bad.endpoint.is_none() || all_down);
            if let Some(over) = of_all.map(|bad| bad.over()).max() {
                from = over;
                allowed = allowed.max(self.usual(from));
                continue;
            }
            // One endpoint in trouble costs the time to find that out.
            let found_out = self.usual(from).max(FOUND_OUT);
            if bad.is_empty() || allowed >= found_out {
                return until;
            }
            allowed = found_out;
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
            self.judge_block(world, *index);
        }
        self.judge_round(world, &blocks, now);
        self.judge_pool(world, now);
        let head = world.head();
        let lottery = &head.ledger.lottery;
        self.window = (lottery.is_betting && lottery.pot > 0).then(|| {
            let at = |time: u64| {
                now.saturating_sub(Duration::from_secs(head.timestamp.saturating_sub(time)))
                    + Duration::from_secs(time.saturating_sub(head.timestamp))
            };
            Window {
                round_id: lottery.round_id,
                opens: at(lottery.min_draw_time),
                closes: at(lottery.max_draw_time),
                pot: lottery.pot,
                payable: !lottery
                    .players
                    .iter()
                    .any(|(player, _)| world.terms.unpayable.contains(player)),
            }
        });
    }

    fn judge_block(&mut self, world: &World, index: usize) {
        let block = &world.blocks[index];
        let ours = |mined: &&Mined| mined.tx.from == world.operator;
        for mined in block.mined.iter().filter(ours) {
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
        }
    }

    /// The round that ran before these blocks, newest first: was it drawn, and in time?
    fn judge_round(&mut self, world: &World, blocks: &[usize], now: Duration) {
        let Some(window) = self.window.filter(|window| window.payable) else {
            return;
        };
        let due = self.due(window.opens);
        let is_due = due < window.closes && !self.has_standing;
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
        let heard = self.due(self.reorganized) + BACKOFF;
        for pooled in world.pool.iter().filter(|pooled| pooled.tx.nonce > next) {
            let sent_at = *self.gaps.entry(pooled.tx.hash).or_insert(now);
            if sent_at > heard && !self.gaps_told {
                self.gaps_told = true;
                let what = format!("{} was sent where {next} is next", pooled.tx.nonce);
                self.violate("no nonce gap is made", what);
            }
        }
    }

    pub fn published(&mut self, publication: &Publication, world: &World, now: Duration) {
        let snapshot = &publication.snapshot;
        if !snapshot.syncing {
            self.synced = now;
        }
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
            if went_back && !self.reorgs {
                let (from, to) = (world.blocks[before].number, head.number);
                self.violate(
                    "the head never goes back",
                    format!("from {from} to {to} at {now:?}"),
                );
            }
        }
        self.published = Some(head.hash);
        self.check_round(snapshot, world, index);
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

    fn check_round(&mut self, snapshot: &Snapshot, world: &World, index: usize) {
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
        // While the players are behind the pot, they are known to be.
        if told_wei == U256::from(truth.pot) && told != is {
            let number = world.blocks[index].number;
            self.violate(
                "what is published is true",
                format!("block {number}: players {told:?}, are {is:?}"),
            );
        }
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
    pub fn ended(&mut self, snapshot: Option<&Snapshot>, sky: &Sky, now: Duration) {
        const RULE: &str = "after the troubles all is as it should be";
        let Some(snapshot) = snapshot else {
            return self.violate(RULE, "the daemon does not run".to_owned());
        };
        let world = &sky.world;
        let head = world.head();
        let behind = snapshot
            .head
            .map_or(u64::MAX, |told| head.number.saturating_sub(told.number));
        if behind > 40 {
            self.violate(RULE, format!("the daemon is {behind} blocks behind"));
        }
        // Where answers take as long as blocks do, the logs of the newest are always on their way.
        let is_readable = self.can_bring_logs(now);
        if is_readable && snapshot.syncing && now > self.synced + SYNCED_WITHIN {
            let since = now.saturating_sub(self.synced);
            self.violate(RULE, format!("it has read the past for {since:?}"));
        }
        if !snapshot.connection.reachable {
            self.violate(
                RULE,
                format!("unreachable: {:?}", snapshot.connection.problem),
            );
        }
        if let Some(flight) = &snapshot.operator.in_flight {
            self.violate("every flight ends", format!("{flight:?}"));
        }
        // A chain that makes blocks on demand does stand still, which is told.
        let is_true =
            |alert: &Alert| alert.code == AlertCode::HeadStale && self.blocks == Blocks::OnDemand;
        let mut alerts = snapshot.operator.alerts.iter();
        if let Some(alert) = alerts.find(|alert| self.is_plain && !is_true(alert)) {
            self.violate("no false alarm", format!("{alert:?}"));
        }
        if is_readable || !snapshot.syncing {
            self.check_history(snapshot, world);
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

    fn check_history(&mut self, snapshot: &Snapshot, world: &World) {
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
            return self.violate(RULE, format!("{shown} rounds of {}", ends.len()));
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
