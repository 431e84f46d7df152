//! What the daemon hands to the nodes, judged by who sees the true chain: what cannot be mined in time any more is not sent,
//! and nothing offers more than the caps. What becomes of it on the chain is `oracle`'s.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use lottery::chain::types::H256;

use crate::baton::Group;
use crate::contract::function_of;
use crate::plan::Plan;
use crate::world::{Mined, World, GWEI};

/// The daemon's own caps, as configured.
const MAX_FEE_WEI: u128 = 500 * GWEI;
const MAX_TX_FEE_WEI: u128 = GWEI * GWEI;

/// Chain time as it is told is as much ahead of what the daemon takes for it.
const EARLY_SECS: u64 = 2;
/// What waits for so many blocks is late, and what is late is offered for more within this time: so long the last of many
/// offers rests.
const BLOCKS_UNRAISED_MAX: u64 = 8;
const RAISED_WITHIN: Duration = Duration::from_secs(20);

/// A transaction on its way to a node, taken or not.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    pub at: Duration,
    /// The run of a daemon that sends it.
    pub run: Group,
    pub hash: H256,
    pub function: Option<&'static str>,
    pub nonce: u64,
    pub round_id: u64,
    pub is_legacy: bool,
    /// When the round begins, when its window opens, and the newest that the daemon can take for the time: all in chain time.
    pub starts: u64,
    pub opens: u64,
    pub chain_time: u64,
    pub cap: u128,
    pub gas_limit: u64,
    /// What the pool holds at this nonce.
    pub rival: Option<Rival>,
    /// The run was told that the account cannot pay what was sent before at this nonce.
    pub is_short: bool,
}

/// Another transaction of the same nonce.
#[derive(Clone, Copy, Debug)]
pub struct Rival {
    pub hash: H256,
    /// A pool lets the new one take its place.
    pub is_outbid: bool,
    /// The new one offers less.
    pub is_dearer: bool,
    /// The run was told that a node has it.
    pub is_told: bool,
}

/// What runs were told of what they sent, as far as it reached them.
#[derive(Default)]
pub struct Told {
    /// A node has it, or says so.
    taken: HashSet<(Group, H256)>,
    /// The account cannot pay it.
    short: HashSet<(Group, u64)>,
}

impl Told {
    pub fn taken(&mut self, run: Group, hash: H256) {
        self.taken.insert((run, hash));
    }

    pub fn short(&mut self, run: Group, nonce: u64) {
        self.short.insert((run, nonce));
    }

    pub fn is_taken(&self, run: Group, hash: H256) -> bool {
        self.taken.contains(&(run, hash))
    }

    pub fn is_short(&self, run: Group, nonce: u64) -> bool {
        self.short.contains(&(run, nonce))
    }
}

/// What the daemon that sent something can have known then.
#[derive(Clone, Copy)]
pub struct Known {
    /// How long it may take to hear of what the chain shows; None where that is not to be said.
    pub grace: Option<Duration>,
    /// After a reorg a nonce may come back, and with it what was let go.
    pub is_branched: bool,
    /// It has seen all that was spent.
    pub of_all_spent: bool,
}

pub struct Sends {
    /// Of a daemon that stands by, and how much later than the first it acts.
    standbys: HashSet<Group>,
    delay: Duration,
    daily_cap: Option<u128>,
    /// What was spent until then, in all.
    spent: Vec<(Duration, u128)>,
    /// Since when the next block comes after the running round's window.
    hopeless: Option<(u64, Duration)>,
    /// What was sent, when, and by which run first.
    sent: HashMap<H256, (Group, Duration)>,
    /// Which run was the first to use a nonce.
    first_at: HashMap<u64, Group>,
    /// The newest at each nonce, by run.
    newest: HashMap<(Group, u64), Attempt>,
}

impl Sends {
    pub fn new(plan: &Plan) -> Sends {
        Sends {
            standbys: HashSet::new(),
            delay: plan.standby.unwrap_or_default(),
            daily_cap: plan.daily_cap.map(|cap| cap.wei),
            spent: Vec::new(),
            hopeless: None,
            sent: HashMap::new(),
            first_at: HashMap::new(),
            newest: HashMap::new(),
        }
    }

    /// That run is of a daemon that stands by.
    pub fn stands_by(&mut self, run: Group) {
        self.standbys.insert(run);
    }

    /// The next block's time is known anew.
    pub fn next_block(&mut self, timestamp: u64, world: &World, now: Duration) {
        let lottery = &world.head().ledger.lottery;
        let is_hopeless = lottery.is_betting && timestamp > lottery.max_draw_time;
        let known = self.hopeless.filter(|known| known.0 == lottery.round_id);
        self.hopeless = is_hopeless.then(|| known.unwrap_or((lottery.round_id, now)));
    }

    /// A transaction of the operator's was mined.
    pub fn mined(&mut self, mined: &Mined, now: Duration) {
        let before = self.spent.last().map_or(0, |(_, wei)| *wei);
        let cost = mined.price * u128::from(mined.gas_used);
        self.spent.push((now, before + cost));
    }

    pub fn is_cap_reached(&self) -> bool {
        let spent = self.spent.last().map_or(0, |(_, wei)| *wei);
        self.daily_cap.is_some_and(|cap| spent >= cap)
    }

    /// What is out offers less than the newest block took, and may not be raised since the day's cap is reached: it waits for
    /// cheaper blocks.
    pub fn is_priced_out(&self, world: &World) -> bool {
        let (head, mut pool) = (world.head(), world.pool.iter());
        let next = pool.find(|pooled| pooled.tx.nonce == head.ledger.operator_nonce);
        self.is_cap_reached() && next.is_some_and(|pooled| pooled.tx.cap < head.base_fee)
    }

    /// Whether the daily cap was reached by then. No campaign lasts a day.
    fn was_cap_reached(&self, at: Duration) -> bool {
        let before = self.spent.iter().rev().find(|(mined, _)| *mined <= at);
        self.daily_cap
            .is_some_and(|cap| before.is_some_and(|(_, wei)| *wei >= cap))
    }

    /// What is wrong with an attempt: the rule, and how.
    pub fn judge(&mut self, attempt: &Attempt, known: Known) -> Option<(&'static str, String)> {
        let Attempt { at, cap, run, .. } = *attempt;
        // On a slow endpoint's way an older offer may be overtaken by a newer one.
        let is_first_sight = !self.sent.contains_key(&attempt.hash);
        self.sent.entry(attempt.hash).or_insert((run, at));
        let before = self.newest.insert((run, attempt.nonce), *attempt);
        let most = cap.saturating_mul(u128::from(attempt.gas_limit));
        if cap > MAX_FEE_WEI || most > MAX_TX_FEE_WEI {
            return Some(("nothing offers more than the caps", format!("{attempt:?}")));
        }
        let is_own = |rival: &Rival| self.sent.get(&rival.hash).is_some_and(|sent| sent.0 == run);
        let rival = attempt.rival.filter(is_own);
        // Who was told that the account cannot pay it has to offer less, unless it knows that a node has what it sent before.
        let may_lower = |rival: &Rival| attempt.is_short && rival.is_dearer && !rival.is_told;
        let is_outbid = rival.is_none_or(|rival| rival.is_outbid || may_lower(&rival));
        if !is_outbid && is_first_sight && !known.is_branched {
            return Some(("what replaces offers a tenth more", format!("{attempt:?}")));
        }
        let is_raise = before.is_some_and(|before| {
            // What is signed anew as a legacy transaction is no raise.
            let same = |it: &Attempt| (it.function, it.round_id, it.is_legacy);
            before.hash != attempt.hash && same(&before) == same(attempt)
        });
        let spent_by = known.grace.map(|grace| at.saturating_sub(grace));
        let is_capped = spent_by.is_some_and(|at| self.was_cap_reached(at)) && known.of_all_spent;
        if is_raise && is_capped {
            let rule = "nothing is raised when the day's cap is reached";
            return Some((rule, format!("{attempt:?}")));
        }
        let is_draw = attempt.function == Some("drawWinner");
        let is_early = attempt.chain_time + EARLY_SECS < attempt.opens + self.delay.as_secs();
        // Until it has heard of a round, it may still look after the one before.
        let heard = known.grace.map(|grace| attempt.starts + grace.as_secs());
        let is_of_round = heard.is_some_and(|heard| attempt.chain_time > heard);
        // What it finds of the first's in the pool it takes up.
        let is_own_idea = *self.first_at.entry(attempt.nonce).or_insert(run) == run;
        let is_standby = self.standbys.contains(&run) && is_own_idea && !known.is_branched;
        if is_draw && is_early && is_of_round && is_standby {
            let rule = "who stands by leaves the first its time";
            return Some((rule, format!("{attempt:?}")));
        }
        let (round_id, since) = self.hopeless?;
        let is_known = known.grace.is_some_and(|grace| at > since + grace);
        (is_draw && is_known).then(|| {
            let what = format!("round {round_id}, hopeless since {since:?}: {attempt:?}");
            ("no draw is sent that comes after its window", what)
        })
    }

    /// A draw that waits in the pool, within its window, for longer than until the offer of more is `due` that follows one, once
    /// that has rested.
    pub fn forgotten(
        &self,
        world: &World,
        due: impl Fn(Duration, Duration) -> Duration,
        now: Duration,
    ) -> Option<String> {
        let head = world.head();
        let (lottery, next) = (&head.ledger.lottery, head.ledger.operator_nonce);
        let is_open = lottery.is_betting && head.timestamp < lottery.max_draw_time;
        let mut pool = world.pool.iter();
        let pooled = pool.find(|pooled| pooled.tx.nonce == next)?;
        let (_, sent_at) = self.sent.get(&pooled.tx.hash)?;
        let has_room = pooled.tx.cap < MAX_FEE_WEI / 2;
        let waits = head.number > pooled.since_block + BLOCKS_UNRAISED_MAX;
        let is_late = now > due(*sent_at, RAISED_WITHIN) && self.daily_cap.is_none();
        let is_draw = function_of(&pooled.tx.data) == Some("drawWinner");
        (is_open && is_draw && has_room && waits && is_late)
            .then(|| format!("{:#x} of {sent_at:?}, at {now:?}", pooled.tx.hash))
    }
}
