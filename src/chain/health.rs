//! What is known of an endpoint: how fresh its head is, which chain it serves, and for each method how it did and until
//! when it is left alone. Pure: every function takes the time, and the chance that spreads retries. Who is asked in what
//! order follows from `rank`; asking is the business of `endpoints`.
//!
//! An endpoint that fails one method goes to the back for that method alone. One that stays silent goes to the back for
//! all of them, until it answers anything. Nothing is held against it for good.

use std::time::{Duration, Instant};

use crate::chain::error::{ErrorKind, RpcError};
use crate::chain::method::Method;
use crate::chain::types::H256;

const BACKOFF_MIN_MS: u64 = 250;
const BACKOFF_MAX_MS: u64 = 10_000;
/// How long a method that an endpoint refuses to serve is left alone.
const PARKED_FOR: Duration = Duration::from_secs(60);
/// How long an endpoint comes after the others for a method that it failed; doubled each time it fails again.
const DOUBTED_FOR: Duration = Duration::from_secs(30);
const DOUBTED_FOR_MAX: Duration = Duration::from_secs(600);
const CHAIN_ID_EVERY: Duration = Duration::from_secs(600);
/// A wrong chain, or one that could not be told, is asked about again sooner.
const CHAIN_ID_AGAIN: Duration = Duration::from_secs(60);
/// Heads read within this time of each other count as read at the same time.
const SAME_TIME: Duration = Duration::from_secs(3);
/// How long an endpoint that trailed is asked after the others; twice as long each time it trails again.
const SET_BACK_FOR: Duration = Duration::from_secs(15);
const SET_BACK_DOUBLINGS_MAX: u32 = 4;

/// What is known of one endpoint.
#[derive(Clone, Debug, Default)]
pub struct Health {
    head: Option<Head>,
    /// The last head below ours that was found to be of our chain, and the block below it by which it was. A hash stands for
    /// all that is below it, so that this is asked once.
    proven: Option<(H256, H256)>,
    chain: Chain,
    chain_checked_at: Option<Instant>,
    /// Checks of the chain id in a row that found silence.
    chain_checks_silent: u32,
    methods: [Record; Method::ALL.len()],
    /// Over all methods: what stayed without any answer.
    silence: Record,
    /// Asked after the others until then: it was slow, or its head trailed.
    set_back_until: Option<Instant>,
    /// How often in a row it was set back again.
    set_backs: u32,
    /// The last error, as the public may know it, until all that failed works again.
    last_error: Option<&'static str>,
    latency: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    number: u64,
    timestamp: u64,
    read_at: Instant,
}

/// Which chain an endpoint serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chain {
    #[default]
    Unasked,
    Right,
    /// The chain id that it gives.
    Wrong(u64),
    /// It does not say. It is used after those that do.
    Untold,
}

/// How an endpoint did at one thing.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    /// In a row.
    failures: u32,
    /// Better not asked before.
    not_before: Option<Instant>,
    /// It asked for that itself: before then it is asked only when it is the only one.
    is_parked: bool,
    /// Others are asked before it until then.
    doubted_until: Option<Instant>,
    /// What it told of a block was not what the others told. It answers, so no success ends this, only that it agrees again.
    is_outvoted: bool,
}

/// How fit an endpoint is for a question: the smallest is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// It asked to be left alone.
    is_parked: bool,
    /// It failed a moment ago.
    waits: bool,
    is_doubted: bool,
    /// It told of a block what the others did not.
    is_outvoted: bool,
    is_stale: bool,
    is_set_back: bool,
    is_chain_untold: bool,
}

impl Rank {
    /// False for one that is asked only when nobody else is left.
    pub fn is_open(&self) -> bool {
        !self.is_parked
    }

    /// True for one that failed when it was last asked.
    pub(crate) fn is_failing(&self) -> bool {
        self.waits || self.is_doubted
    }
}

impl Record {
    fn fail(&mut self, wait: Duration, is_parked: bool, now: Instant) {
        let doublings = self.failures.min(6);
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + wait);
        self.is_parked = is_parked;
        let doubted_for = (DOUBTED_FOR * (1 << doublings)).min(DOUBTED_FOR_MAX);
        self.doubted_until = Some(now + doubted_for.max(wait));
    }

    fn waits(&self, now: Instant) -> bool {
        self.not_before.is_some_and(|until| until > now)
    }

    fn is_doubted(&self, now: Instant) -> bool {
        self.doubted_until.is_some_and(|until| until > now)
    }
}

impl Health {
    /// These methods were answered.
    pub(crate) fn note_success(&mut self, methods: &[Method]) {
        for method in methods {
            let record = &mut self.methods[*method as usize];
            *record = Record {
                is_outvoted: record.is_outvoted,
                ..Record::default()
            };
        }
        self.silence = Record::default();
        if self.failing().next().is_none() {
            self.last_error = None;
        }
    }

    /// A harmless question with this method was answered: the method is asked for again, but when it then fails it counts
    /// as failing once more.
    pub(crate) fn note_recovered(&mut self, method: Method) {
        let record = &mut self.methods[method as usize];
        record.not_before = None;
        record.doubted_until = None;
        self.note_success(&[]);
    }

    /// A question with these methods failed: counted against the method that the error names, else against all of them.
    /// What the contract or a pool refused says nothing of the endpoint. `chance` is any random number.
    pub(crate) fn note_failure(
        &mut self,
        methods: &[Method],
        error: &RpcError,
        chance: u64,
        now: Instant,
    ) {
        if error.is_final() {
            return;
        }
        self.last_error = Some(error.public());
        let failed = match &error.method {
            Some(method) => std::slice::from_ref(method),
            None => methods,
        };
        for method in failed {
            let record = &mut self.methods[*method as usize];
            record.fail(
                wait_after(&error.kind, record.failures, chance),
                is_told_off(&error.kind),
                now,
            );
        }
        if error.kind == ErrorKind::Transport {
            let wait = wait_after(&error.kind, self.silence.failures, chance);
            self.silence.fail(wait, false, now);
            if error.method != Some(Method::ChainId) {
                // Another server may be behind the URL when it comes back.
                self.chain_checked_at = None;
            }
        }
    }

    /// Whether what it told with this method, of a block that others were asked about too, is what was believed.
    pub(crate) fn note_vote(&mut self, method: Method, agrees: bool) {
        self.methods[method as usize].is_outvoted = !agrees;
    }

    pub(crate) fn is_outvoted(&self, method: Method) -> bool {
        self.methods[method as usize].is_outvoted
    }

    /// Its head, as just read.
    pub(crate) fn note_head(&mut self, number: u64, timestamp: u64, now: Instant) {
        self.head = Some(Head {
            number,
            timestamp,
            read_at: now,
        });
    }

    pub(crate) fn is_proven(&self, head: H256, by: H256) -> bool {
        self.proven == Some((head, by))
    }

    /// A head below ours is of our chain: it has this block of ours below it.
    pub(crate) fn note_proven(&mut self, head: H256, by: H256) {
        self.proven = Some((head, by));
    }

    pub(crate) fn note_latency(&mut self, latency: Duration) {
        self.latency = Some(latency);
    }

    /// True when its head was read just now and is at least `margin_secs` older than `timestamp`.
    pub fn trails(&self, timestamp: u64, margin_secs: u64, now: Instant) -> bool {
        self.head.is_some_and(|head| {
            now.saturating_duration_since(head.read_at) <= SAME_TIME
                && head.timestamp.saturating_add(margin_secs) <= timestamp
        })
    }

    /// True where its head, carried forward since it was read, is older than that by so much: it has nothing to tell of what
    /// is newer.
    pub(crate) fn is_behind(&self, timestamp: u64, margin_secs: u64, now: Instant) -> bool {
        self.head.is_some_and(|head| {
            let since = now.saturating_duration_since(head.read_at).as_secs();
            let carried = head.timestamp.saturating_add(since);
            carried.saturating_add(margin_secs) <= timestamp
        })
    }

    /// It answers, but late or with an old head: the others are asked before it for a while.
    pub(crate) fn set_back(&mut self, now: Instant) {
        if self.is_set_back(now) {
            return;
        }
        // One that did well for as long as it was last set back begins anew.
        let last_for = SET_BACK_FOR * (1 << self.set_backs);
        let had_recovered = self
            .set_back_until
            .is_none_or(|until| now > until + last_for);
        self.set_backs = match had_recovered {
            true => 0,
            false => (self.set_backs + 1).min(SET_BACK_DOUBLINGS_MAX),
        };
        self.set_back_until = Some(now + SET_BACK_FOR * (1 << self.set_backs));
    }

    /// The chain id was asked for and told; true when that is news.
    pub(crate) fn note_chain(&mut self, found: u64, expected: u64, now: Instant) -> bool {
        let chain = match found == expected {
            true => Chain::Right,
            false => Chain::Wrong(found),
        };
        let is_news = self.chain != chain;
        self.chain = chain;
        self.chain_checked_at = Some(now);
        self.chain_checks_silent = 0;
        is_news
    }

    /// The chain id was asked for in vain. True when the endpoint is to be used all the same: it refuses to say, or it
    /// was silent about this twice, and a draw can do without the answer.
    pub(crate) fn note_chain_untold(&mut self, error: &RpcError, now: Instant) -> bool {
        self.chain_checks_silent = self.chain_checks_silent.saturating_add(1);
        if error.is_passing() && self.chain_checks_silent < 2 {
            return false;
        }
        // What was found wrong before stays wrong.
        if !matches!(self.chain, Chain::Wrong(_)) {
            self.chain = Chain::Untold;
        }
        self.chain_checked_at = Some(now);
        true
    }

    pub fn chain(&self) -> Chain {
        self.chain
    }

    /// Before the first use, after any silence, and every ten minutes.
    pub(crate) fn is_chain_check_due(&self, now: Instant) -> bool {
        let every = match self.chain {
            Chain::Right => CHAIN_ID_EVERY,
            _ => CHAIN_ID_AGAIN,
        };
        self.chain_checked_at
            .is_none_or(|at| now.saturating_duration_since(at) >= every)
    }

    /// How fit it is for a question with these methods; None for one of another chain. A head from before `fresh_from`
    /// (unix seconds) is stale.
    pub fn rank(&self, methods: &[Method], fresh_from: u64, now: Instant) -> Option<Rank> {
        if matches!(self.chain, Chain::Wrong(_)) && !self.is_chain_check_due(now) {
            return None;
        }
        let records = || methods.iter().map(|method| &self.methods[*method as usize]);
        Some(Rank {
            is_parked: records().any(|record| record.is_parked && record.waits(now)),
            waits: records().any(|record| record.waits(now)) || self.silence.waits(now),
            is_doubted: records().any(|record| record.is_doubted(now))
                || self.silence.is_doubted(now),
            is_outvoted: records().any(|record| record.is_outvoted),
            is_stale: self.head.is_some_and(|head| head.timestamp < fresh_from),
            is_set_back: self.is_set_back(now),
            is_chain_untold: self.chain == Chain::Untold,
        })
    }

    /// How long until it may be asked a question with these methods; zero when it may be now.
    pub(crate) fn ready_in(&self, methods: &[Method], now: Instant) -> Duration {
        let records = methods.iter().map(|method| &self.methods[*method as usize]);
        records
            .chain([&self.silence])
            .filter_map(|record| record.not_before)
            .map(|until| until.saturating_duration_since(now))
            .max()
            .unwrap_or_default()
    }

    pub(crate) fn is_healthy(&self, fresh_from: u64, now: Instant) -> bool {
        self.rank(&Method::ALL, fresh_from, now)
            .is_some_and(|rank| {
                rank == Rank {
                    is_parked: false,
                    waits: false,
                    is_doubted: false,
                    is_outvoted: false,
                    is_stale: false,
                    is_set_back: false,
                    is_chain_untold: false,
                }
            })
    }

    /// The methods by which it tells what the others do not.
    pub(crate) fn outvoted(&self) -> impl Iterator<Item = Method> + '_ {
        let is_outvoted = |method: &Method| self.is_outvoted(*method);
        Method::ALL.into_iter().filter(is_outvoted)
    }

    /// The methods that failed when they were last asked.
    pub fn failing(&self) -> impl Iterator<Item = Method> + '_ {
        let fails = |method: &Method| self.methods[*method as usize].doubted_until.is_some();
        Method::ALL.into_iter().filter(fails)
    }

    /// Number and timestamp.
    pub fn head(&self) -> Option<(u64, u64)> {
        self.head.map(|head| (head.number, head.timestamp))
    }

    pub(crate) fn last_error(&self) -> Option<&'static str> {
        match self.chain {
            Chain::Wrong(_) => Some("serves another chain"),
            _ => self.last_error,
        }
    }

    pub fn latency(&self) -> Option<Duration> {
        self.latency
    }

    /// It has last left a question without any answer, and that was a moment ago.
    pub(crate) fn is_silent(&self, now: Instant) -> bool {
        self.silence.is_doubted(now)
    }

    fn is_set_back(&self, now: Instant) -> bool {
        self.set_back_until.is_some_and(|until| until > now)
    }
}

/// Exponential with full jitter, unless the endpoint said how long.
fn wait_after(kind: &ErrorKind, failures_before: u32, chance: u64) -> Duration {
    let ceiling_ms = (BACKOFF_MIN_MS << (failures_before + 1).min(6)).min(BACKOFF_MAX_MS);
    let backoff = Duration::from_millis(chance % ceiling_ms);
    match kind {
        ErrorKind::Parked => PARKED_FOR,
        ErrorKind::RateLimited { retry_after } => retry_after.unwrap_or(backoff),
        // A block that is not there yet will be there soon.
        ErrorKind::Behind => Duration::from_millis(chance % BACKOFF_MIN_MS),
        _ => backoff,
    }
}

/// True for what asks to be left alone.
fn is_told_off(kind: &ErrorKind) -> bool {
    matches!(kind, ErrorKind::Parked | ErrorKind::RateLimited { .. })
}

/// Something learned by trying, believed for a while.
#[derive(Clone, Copy, Debug)]
pub struct Learned<T>(Option<(T, Instant)>);

impl<T> Default for Learned<T> {
    fn default() -> Learned<T> {
        Learned(None)
    }
}

impl<T: Copy> Learned<T> {
    /// What is believed at `now`; None when it has to be tried (again).
    pub fn at(&self, now: Instant) -> Option<T> {
        self.0
            .filter(|(_, until)| now < *until)
            .map(|(value, _)| value)
    }

    pub(crate) fn learn(&mut self, value: T, until: Instant) {
        self.0 = Some((value, until));
    }

    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests;
