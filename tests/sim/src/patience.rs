//! How long the daemon may take: what is wrong when, and with whom, how long recovering takes, and what questions cost on
//! endpoints that are slow or take no batches. What has to be done in that time is `oracle`'s.

use std::time::Duration;

use crate::plan::{Blocks, Plan, Planned, What};
use crate::wire::{Trouble, Way};

/// An endpoint that refused to serve is left alone for so long, and an endpoint in trouble is asked again after at most
/// ten seconds.
const PARKED: Duration = Duration::from_secs(75);
pub const BACKOFF: Duration = Duration::from_secs(16);
/// A time-out, another endpoint, and all the questions anew.
const FOUND_OUT: Duration = Duration::from_secs(25);
/// What the other daemon has left in the pool is left alone for six blocks, and then outbid.
const OUTBIDS_WITHIN: Duration = Duration::from_secs(75);
/// What a start finds in the pool is left alone for six blocks, of which a usual draw takes two.
const FOUND_TIMES: u32 = 4;
/// An endpoint is clearly behind the others by twice what the daemon lets pass.
const TRAILING_BLOCKS: u64 = 4;
const TRAILING: Duration = Duration::from_secs(6);
const FOR_EVER: Duration = Duration::from_secs(1 << 32);
/// Whoever has failed a batch is asked one by one for so long.
const SINGLE_CALLS_FOR: Duration = Duration::from_secs(600);
/// One after the other, from the head that allows a draw to its block: with batches (the head, its link in two, logs in two
/// ranges that are asked for twice, what a draw needs in two, the draw), and one by one.
const ROUND_TRIPS: u32 = 10;
const SINGLE_ROUND_TRIPS: u32 = 28;
/// A step through logs that are owed, likewise: an answer without logs is asked for again, and of a second endpoint.
const STEP_ROUND_TRIPS: u32 = 4;
const SINGLE_STEP_ROUND_TRIPS: u32 = 12;
/// Who trails is asked for its head so often until a start has found that out.
const HEADS_OF_TRAILING_PER_START: f64 = 10.0;
/// The headers that a start reads before it knows a head.
const FIRST_HEADERS: u32 = 32;
/// A new block of a regular chain is seen.
const POLLED_WITHIN: Duration = Duration::from_secs(3);
/// What stands still is asked about after this, and the answer is believed for that long.
const STILL_KNOWN_WITHIN: Duration = Duration::from_secs(16);

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
    /// Of one daemon.
    daemon: Option<usize>,
    /// What was sent is not mined, and nobody is kept from sending.
    is_of_blocks: bool,
}

impl Bad {
    /// When whoever met it has recovered.
    fn over(&self) -> Duration {
        self.ends + self.recovery
    }
}

pub struct Patience {
    endpoints: usize,
    daemons: usize,
    /// How much later than the first another daemon acts.
    takes_over: Duration,
    blocks: Blocks,
    latency: Duration,
    takes_batches: bool,
    /// The fewest blocks of one eth_getLogs.
    log_blocks_max: u64,
    bad: Vec<Bad>,
    /// The last reorg: what was drawn before may be due once more since.
    pub reorganized: Duration,
}

impl Patience {
    pub fn new(plan: &Plan) -> Patience {
        let latencies = plan.endpoints.iter().map(|(_, latency)| *latency);
        let log_blocks = plan.endpoints.iter().map(|(node, _)| node.log_blocks_max);
        Patience {
            endpoints: plan.endpoints.len(),
            daemons: plan.daemons(),
            takes_over: plan
                .standby
                .map_or(Duration::ZERO, |delay| delay + OUTBIDS_WITHIN),
            blocks: plan.blocks,
            latency: latencies.max().unwrap_or_default(),
            takes_batches: plan.endpoints.iter().all(|(node, _)| node.takes_batches),
            log_blocks_max: log_blocks.min().unwrap_or(u64::MAX),
            bad: Patience::lasting(plan),
            reorganized: Duration::ZERO,
        }
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
            _ => (None, BACKOFF),
        };
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
            daemon: match planned.what {
                What::Killed(daemon) | What::Suspended(daemon) => Some(daemon),
                _ => None,
            },
            is_of_blocks: matches!(planned.what, What::Held | What::FeeSpike(_)),
        });
    }

    pub fn restarted(&mut self, daemon: usize, now: Duration) {
        self.bad.push(Bad {
            begins: now,
            ends: now,
            endpoint: None,
            recovery: BACKOFF,
            spoils_batches: false,
            daemon: Some(daemon),
            is_of_blocks: false,
        });
    }

    /// The endpoint that answers nothing as it should, or trails, all the time, where nothing is ever wrong with the others.
    pub fn fails_alone(plan: &Plan) -> Option<usize> {
        let spacing = match plan.blocks {
            Blocks::Every(spacing) | Blocks::Around(spacing) => spacing,
            Blocks::OnDemand => Duration::ZERO,
        };
        let is_told = |trouble: &Trouble| match trouble {
            Trouble::Answers(None, _) | Trouble::Frozen => true,
            // A head that is a moment old may be on its way.
            Trouble::Behind(blocks) => {
                *blocks >= TRAILING_BLOCKS && spacing.mul_f64(*blocks as f64) >= TRAILING
            }
            _ => false,
        };
        let mut lasting = plan.lasting.iter();
        let (endpoint, _) = lasting.find(|(_, trouble)| is_told(trouble))?;
        let of_another =
            |planned: &Planned| matches!(planned.what, What::Of(other, _) if other != *endpoint);
        (!plan.troubles.iter().any(of_another)).then_some(*endpoint)
    }

    /// What an endpoint does badly all the time.
    fn lasting(plan: &Plan) -> Vec<Bad> {
        let lasting = plan.lasting.iter().map(|(endpoint, trouble)| Bad {
            begins: Duration::ZERO,
            ends: FOR_EVER,
            endpoint: Some(*endpoint),
            recovery: Duration::ZERO,
            spoils_batches: matches!(trouble, Trouble::Answers(..)),
            daemon: None,
            is_of_blocks: false,
        });
        lasting.collect()
    }

    /// Whether nothing has been wrong of late with any endpoint or with the daemon.
    pub fn is_calm(&self, now: Duration) -> bool {
        !self.is_near(now, |bad| bad.endpoint.is_some() || bad.daemon.is_some())
    }

    /// Whether that daemon does not run, or has only just begun to.
    pub fn is_down(&self, daemon: usize, now: Duration) -> bool {
        self.is_near(now, |bad| bad.daemon == Some(daemon))
    }

    fn is_near(&self, now: Duration, which: impl Fn(&Bad) -> bool) -> bool {
        let mut bad = self.bad.iter();
        bad.any(|bad| which(bad) && bad.begins <= now && now < bad.over())
    }

    /// How long after a block that shows something what is sent may still be of before: the block has to be seen, and what
    /// was under way then goes out. None where something is wrong with who would show it, or was until a moment ago.
    pub fn until_known(&self, now: Duration) -> Option<Duration> {
        let is_regular = matches!(self.blocks, Blocks::Every(_)) && !self.is_near(now, |_| true);
        let known = match is_regular {
            true => self.latency * self.round_trips(now) + POLLED_WITHIN,
            false => self.usual(now) + STILL_KNOWN_WITHIN,
        };
        let of_teller = |bad: &&Bad| bad.endpoint.is_some() || bad.daemon.is_some();
        let past = self.bad.iter().filter(|bad| bad.begins <= now);
        let recovered = past.filter(of_teller).map(Bad::over).max();
        recovered.is_none_or(|at| now > at + known).then_some(known)
    }

    fn round_trips(&self, at: Duration) -> u32 {
        match self.has_batches(at) {
            true => ROUND_TRIPS,
            false => SINGLE_ROUND_TRIPS,
        }
    }

    /// Whether every endpoint is asked in batches at that time.
    fn has_batches(&self, at: Duration) -> bool {
        let spoils =
            |bad: &Bad| bad.spoils_batches && bad.begins <= at && at < bad.ends + SINGLE_CALLS_FOR;
        self.takes_batches && !self.bad.iter().any(spoils)
    }

    /// Whether the endpoints can bring logs clearly sooner than blocks bring new ones: else the past is never read to its
    /// end, however it is asked for.
    pub fn can_bring_logs(&self, at: Duration) -> bool {
        let spacing = match self.blocks {
            Blocks::Every(spacing) | Blocks::Around(spacing) => spacing,
            Blocks::OnDemand => return true,
        };
        // One by one, not even the headers of new blocks come as quickly as the blocks do.
        if !self.has_batches(at) && self.latency >= spacing {
            return false;
        }
        self.log_blocks_max as f64 * spacing.as_secs_f64() > 1.5 * self.step(at).as_secs_f64()
    }

    /// How long a step through logs takes.
    fn step(&self, at: Duration) -> Duration {
        self.latency
            * match self.has_batches(at) {
                true => STEP_ROUND_TRIPS,
                false => SINGLE_STEP_ROUND_TRIPS,
            }
    }

    /// How long the way through the logs of so many blocks takes.
    pub fn way_through(&self, blocks: u64, at: Duration) -> Duration {
        self.step(at)
            .mul_f64(blocks as f64 / self.log_blocks_max as f64)
    }

    /// How often who trails is asked for its head until a start has found that out. Where headers come one by one, whoever does
    /// well shows no head before it has read those of a start, and who trails is asked for its own with each block until then.
    pub fn heads_of_start(&self) -> f64 {
        let blocks = match self.blocks {
            Blocks::Every(spacing) if !self.takes_batches => {
                let start = self.latency * (FIRST_HEADERS + SINGLE_ROUND_TRIPS);
                start.as_secs_f64() / spacing.as_secs_f64()
            }
            _ => 0.0,
        };
        HEADS_OF_TRAILING_PER_START + blocks
    }

    /// How long a draw may take when all is well: a block to see that it is due, one to be mined in, and the questions
    /// in between, one after the other where an endpoint takes no batches.
    pub fn usual(&self, from: Duration) -> Duration {
        let spacing = match self.blocks {
            Blocks::Every(spacing) => spacing,
            Blocks::Around(mean) => mean * 3,
            // What duty asks of chains that make blocks on demand.
            Blocks::OnDemand => Duration::from_secs(13),
        };
        spacing * 2 + self.latency * self.round_trips(from) + Duration::from_secs(2)
    }

    /// From when on a draw was possible without interruption, and what it may take from there.
    pub fn due(&self, opens: Duration) -> Duration {
        self.due_by(opens, None)
    }

    /// When a block of that time is shown: after a draw, its block is looked for in between. What goes wrong while that is
    /// under way stands in its way as well.
    pub fn shown_by(&self, mined: Duration, daemon: usize) -> Duration {
        let besides = self.latency * SINGLE_ROUND_TRIPS;
        self.due_in_spite(mined, (Some(daemon), besides), |_| false)
    }

    /// The same of more than was offered at `from`, once that has rested, whatever blocks take: what goes wrong meanwhile
    /// stands in its way as well. What a start finds pending is left alone at first.
    pub fn due_raised(&self, from: Duration, rests: Duration) -> Duration {
        let started = self.bad.iter().filter(|bad| bad.daemon.is_some());
        let started = started.map(Bad::over).filter(|at| *at > from);
        let outbid = started.map(|at| at + self.usual(at) * FOUND_TIMES + rests);
        let due = self.due_in_spite(from + rests, (None, Duration::ZERO), |bad| bad.is_of_blocks);
        due.max(outbid.max().unwrap_or_default())
    }

    /// The same of what one daemon does by itself.
    pub fn due_by(&self, opens: Duration, who: Option<usize>) -> Duration {
        self.due_in_spite(opens, (who, Duration::ZERO), |_| false)
    }

    /// The same of what takes so much longer, where some of what was wrong is no excuse.
    fn due_in_spite(
        &self,
        opens: Duration,
        (who, besides): (Option<usize>, Duration),
        is_none: impl Fn(&Bad) -> bool,
    ) -> Duration {
        let mut from = opens.max(self.reorganized);
        let mut allowed = self.usual(from) + besides;
        loop {
            let until = from + allowed;
            let meets = |bad: &&Bad| bad.begins < until && bad.over() > from && !is_none(bad);
            let bad: Vec<&Bad> = self.bad.iter().filter(meets).collect();
            // Of the endpoints one has to be free again, what stands in the way of all has to end, and recovering takes its
            // time.
            let free_at = |own: usize| {
                let own = bad.iter().filter(|bad| bad.endpoint == Some(own));
                own.map(|bad| bad.over()).max().unwrap_or_default()
            };
            let one_free = (0..self.endpoints).map(free_at).min().unwrap_or_default();
            let of_all = bad
                .iter()
                .filter(|bad| bad.endpoint.is_none() && bad.daemon.is_none());
            let all_over = of_all.map(|bad| bad.over()).max().unwrap_or_default();
            let runs_at = |own: usize| {
                let own = bad.iter().filter(|bad| bad.daemon == Some(own));
                own.map(|bad| bad.over()).max().unwrap_or_default()
            };
            let one_runs = match who {
                Some(daemon) => runs_at(daemon),
                None => (0..self.daemons).map(runs_at).min().unwrap_or_default(),
            };
            let free = one_free.max(all_over).max(one_runs);
            if free > from {
                from = free;
                allowed = allowed.max(self.usual(from) + besides);
                continue;
            }
            let taken_over = self.usual(from).max(FOUND_OUT) + self.takes_over + besides;
            if bad.iter().any(|bad| bad.daemon == Some(0)) && allowed < taken_over {
                allowed = taken_over;
                continue;
            }
            // One endpoint in trouble costs the time to find that out.
            let found_out = self.usual(from).max(FOUND_OUT) + besides;
            if bad.is_empty() || allowed >= found_out {
                return until;
            }
            allowed = found_out;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_wrong_while_an_offer_rests_excuses_that_no_more_is_offered_and_what_is_over_by_then_does_not(
    ) {
        let mut patience = Patience::new(&Plan::plain(1, 1));
        let (sent, rests) = (Duration::from_secs(30), Duration::from_secs(20));
        let due = patience.due_raised(sent, rests);
        let second = Duration::from_secs(1);
        let outage = Planned {
            round: 0,
            begins_ms: 0,
            lasts: Duration::ZERO,
            what: What::Of(0, Trouble::Frozen),
        };
        patience.trouble(sent, sent + second, &outage);
        assert_eq!(patience.due_raised(sent, rests), due, "it had recovered");
        let ends = due + 20 * second;
        patience.trouble(sent + 6 * second, ends, &outage);
        assert!(patience.due_raised(sent, rests) > ends);
    }

    #[test]
    fn what_goes_wrong_before_a_block_has_to_be_shown_excuses_that_it_is_late_however_late_it_begins(
    ) {
        let mut plan = Plan::plain(1, 1);
        plan.endpoints[0].1 = Duration::from_millis(315);
        let mut patience = Patience::new(&plan);
        let (mined, second) = (Duration::from_secs(30), Duration::from_secs(1));
        let due = patience.shown_by(mined, 0);
        let outage = Planned {
            round: 0,
            begins_ms: 0,
            lasts: Duration::ZERO,
            what: What::Of(0, Trouble::Frozen),
        };
        let ends = due + 20 * second;
        patience.trouble(due, ends, &outage);
        assert_eq!(patience.shown_by(mined, 0), due, "it began too late");
        patience.trouble(due - second, ends, &outage);
        assert!(patience.shown_by(mined, 0) > ends);
        // What a draw takes is less, and was over before.
        assert!(patience.due(mined) < due - second);
    }
}
