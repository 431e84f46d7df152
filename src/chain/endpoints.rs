//! The list of endpoints: which is asked first, which is left alone for a while, which trails the others, and whose
//! word does not count because it serves another chain. It never sleeps: an endpoint in backoff is passed over, and one
//! that does not answer is hedged with the next.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, Receiver, Sender};

use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::base::thread;
use crate::chain::error::{ErrorKind, RpcError};
use crate::chain::health::{Chain, Health};
use crate::chain::http::{Http, HttpSettings};
use crate::chain::method::Method;
use crate::chain::node::{Endpoint, Purpose};
use crate::chain::query;
use crate::chain::transport::Transport;

mod hedging;

pub(crate) use hedging::Hedge;

/// A head older than this (or three block times) behind the best is stale whatever the HTTP status says.
const STALE_SECS_MIN: u64 = 15;
/// A head this much (or two block times) behind one that was read at the same time sets its endpoint back.
const TRAILING_SECS_MIN: u64 = 3;

/// Where the endpoints are. It has no Debug, since URLs hold keys.
#[derive(Clone)]
pub struct EndpointsConfig {
    pub urls: Vec<String>,
    pub http: HttpSettings,
    pub chain_id: u64,
}

/// A cloneable handle; all clones share the endpoints' health.
#[derive(Clone)]
pub struct Endpoints {
    list: Arc<Vec<Endpoint>>,
    chain_id: u64,
    clock: Clock,
    /// The measured block time in milliseconds; 0 while unknown.
    block_time_ms: Arc<AtomicU64>,
}

/// What came back of one endpoint.
pub(crate) type Arrival<T> = (Endpoint, Result<T, RpcError>);

/// One endpoint as the API and `check` show it.
#[derive(Clone, Debug)]
pub struct EndpointReport {
    pub host: String,
    pub healthy: bool,
    pub head: Option<u64>,
    pub latency: Option<Duration>,
    /// The kind of the last failure, without a word of the server's.
    pub last_error: Option<&'static str>,
    /// The methods that failed when they were last asked, and those by which it told what the others did not.
    pub failing: Vec<&'static str>,
}

impl Endpoints {
    /// The endpoints at these URLs, over HTTP.
    ///
    /// # Errors
    /// When one of the URLs is none.
    pub fn new(
        config: &EndpointsConfig,
        clock: Clock,
        metrics: &Metrics,
    ) -> Result<Endpoints, RpcError> {
        let mut transports: Vec<Arc<dyn Transport>> = Vec::new();
        for url in &config.urls {
            transports.push(Arc::new(Http::new(url, &config.http)?));
        }
        Ok(Endpoints::over(transports, config.chain_id, clock, metrics))
    }

    /// The endpoints behind any transports, in the order of preference.
    pub fn over(
        transports: Vec<Arc<dyn Transport>>,
        chain_id: u64,
        clock: Clock,
        metrics: &Metrics,
    ) -> Endpoints {
        let endpoint = |transport| Endpoint::over(transport, clock.clone(), metrics.clone());
        let list = Arc::new(transports.into_iter().map(endpoint).collect());
        Endpoints {
            list,
            chain_id,
            clock,
            block_time_ms: Arc::default(),
        }
    }

    pub fn list(&self) -> &[Endpoint] {
        &self.list
    }

    /// Runs `ask` on the best endpoint, and on the next when it fails for a reason that may lie with the endpoint. What
    /// is final comes back at once. `methods` are those that `ask` cannot do without: who fails one of them is asked last.
    ///
    /// # Errors
    /// A final one, or the last endpoint's.
    pub(crate) fn with_endpoint<T>(
        &self,
        methods: &[Method],
        ask: impl Fn(&Endpoint) -> Result<T, RpcError>,
    ) -> Result<T, RpcError> {
        let mut last = None;
        for endpoint in self.best_first(methods) {
            match self.asked(&endpoint, methods, &ask) {
                Err(error) if !error.is_final() => last = Some(error),
                answer => return answer,
            }
        }
        Err(last.unwrap_or_else(|| self.none_left()))
    }

    /// A second opinion: the answer of the first endpoint other than `first` that has one. Who failed when last asked has
    /// none: waiting for its time-out would make each question cost one.
    pub(crate) fn with_another<T>(
        &self,
        first: &Endpoint,
        methods: &[Method],
        ask: impl Fn(&Endpoint) -> Result<T, RpcError>,
    ) -> Option<T> {
        let mut others = self.others(first, methods);
        others.find_map(|endpoint| self.asked(&endpoint, methods, &ask).ok())
    }

    /// The same of what only somebody at the head can tell.
    pub(crate) fn with_another_at_head<T>(
        &self,
        first: &Endpoint,
        methods: &[Method],
        ask: impl Fn(&Endpoint) -> Result<T, RpcError>,
    ) -> Option<T> {
        let others = self.others(first, methods);
        let stale_secs = self.stale_after_secs();
        let mut at_head = others.filter(|endpoint| !self.is_behind(endpoint, stale_secs));
        at_head.find_map(|endpoint| self.asked(&endpoint, methods, &ask).ok())
    }

    fn others<'a>(
        &'a self,
        first: &'a Endpoint,
        methods: &'a [Method],
    ) -> impl Iterator<Item = Endpoint> + 'a {
        let listed = self.best_first(methods).into_iter();
        listed.filter(move |endpoint| endpoint != first && !self.fails(endpoint, methods))
    }

    /// Asks every usable endpoint at once, each on a thread of its own, and hands over the answers as they come; the stream
    /// ends when all have answered. A hanging endpoint holds nobody up, and is not asked again before it is done. Where one
    /// (`but`) has answered already, those are left alone that failed a moment ago.
    pub(crate) fn ask_each<T: Send + 'static>(
        &self,
        (purpose, but): (Purpose, Option<&Endpoint>),
        methods: &'static [Method],
        ask: impl Fn(&Endpoint) -> Result<T, RpcError> + Clone + Send + 'static,
    ) -> Receiver<Arrival<T>> {
        let mut usable = self.best_first(methods);
        usable.retain(|endpoint| {
            let is_ready = || self.wait_of(endpoint, methods).is_zero();
            but.is_none_or(|first| endpoint != first && is_ready())
        });
        let (answers, arrivals) = bounded(usable.len());
        if self.list.len() == 1 {
            for endpoint in usable {
                let result = self.asked(&endpoint, methods, &ask);
                // The channel has room for each.
                let _ = answers.send((endpoint, result));
            }
            return arrivals;
        }
        for endpoint in &usable {
            self.ask_aside(purpose, endpoint, methods, ask.clone(), &answers);
        }
        arrivals
    }

    /// The next answer of a stream that `ask_each` has begun, waited for until `deadline`; None when it does not come.
    pub(crate) fn next_answer<T: Send + 'static>(
        &self,
        answers: &Receiver<Arrival<T>>,
        deadline: Option<Instant>,
    ) -> Option<Arrival<T>> {
        self.clock.wait_any(&[answers], deadline)?;
        answers.try_recv().ok()
    }

    /// The clock that all waiting for endpoints goes by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Asks on a thread of its own; false when an earlier question of that kind still waits for its answer.
    fn ask_aside<T: Send + 'static>(
        &self,
        purpose: Purpose,
        endpoint: &Endpoint,
        methods: &'static [Method],
        ask: impl Fn(&Endpoint) -> Result<T, RpcError> + Send + 'static,
        answers: &Sender<Arrival<T>>,
    ) -> bool {
        let Some(aside) = endpoint.claim_aside(purpose) else {
            return false;
        };
        let (endpoints, answers) = (self.clone(), answers.clone());
        let work = move || {
            let result = endpoints.asked(&aside, methods, &ask);
            let endpoint = aside.clone();
            drop(aside);
            // Nobody listens any more once one answer was enough.
            let _ = answers.send((endpoint, result));
        };
        let spawned = self.clock.spawn("rpc", thread::in_this_turn(work));
        if let Err(error) = &spawned {
            log::error!("no thread to ask an endpoint: {error}");
        }
        spawned.is_ok()
    }

    /// One question, and what it says of the endpoint's health.
    fn asked<T>(
        &self,
        endpoint: &Endpoint,
        methods: &[Method],
        ask: impl Fn(&Endpoint) -> Result<T, RpcError>,
    ) -> Result<T, RpcError> {
        let result = self.check_chain_id(endpoint).and_then(|()| ask(endpoint));
        match &result {
            Ok(_) => endpoint.with_health(|health| health.note_success(methods)),
            Err(error) => self.note_failure(endpoint, methods, error),
        }
        result
    }

    /// Takes down what a failure says of the endpoint: of the method that it names, else of all of `methods`. What is
    /// final says nothing.
    pub(crate) fn note_failure(&self, endpoint: &Endpoint, methods: &[Method], error: &RpcError) {
        let (now, chance) = (self.clock.now(), self.clock.jitter(u64::MAX));
        endpoint.with_health(|health| health.note_failure(methods, error, chance, now));
        log::debug!("{}: {error}", endpoint.host());
    }

    /// Takes down a head, and sets back every endpoint whose own, read at the same time, trails it.
    pub(crate) fn note_head(&self, endpoint: &Endpoint, number: u64, timestamp: u64) {
        let now = self.clock.now();
        let is_believed = endpoint.with_health(|health| {
            health.note_head(number, timestamp, now);
            tells_time(health)
        });
        if !is_believed {
            return;
        }
        let margin_secs = self.trailing_after_secs();
        for other in self.list.iter().filter(|other| *other != endpoint) {
            if other.with_health(|health| health.trails(timestamp, margin_secs, now)) {
                self.set_back(other);
            }
        }
    }

    /// The endpoint answers, but late or with an old head: the others are asked before it for a while.
    pub(crate) fn set_back(&self, endpoint: &Endpoint) {
        if self.list.len() == 1 {
            return;
        }
        let now = self.clock.now();
        endpoint.with_health(|health| health.set_back(now));
        log::debug!("{} trails the others", endpoint.host());
    }

    /// Asks the endpoint a harmless question with each method that it failed and is not asked to be left alone with; one
    /// that is answered is used again.
    pub(crate) fn try_failing_methods(&self, endpoint: &Endpoint) {
        let failing: Vec<Method> = endpoint.with_health(|health| health.failing().collect());
        for method in failing {
            let is_ready = self.wait_of(endpoint, &[method]).is_zero();
            let Some(probe) = query::probe(method).filter(|_| is_ready) else {
                continue;
            };
            match endpoint.ask(&probe) {
                Ok(()) => endpoint.with_health(|health| health.note_recovered(method)),
                Err(error) => self.note_failure(endpoint, &[method], &error),
            }
        }
    }

    /// The measured block time, by which heads are judged.
    pub(crate) fn note_block_time(&self, mean_spacing_secs: f64) {
        let ms = (mean_spacing_secs * 1_000.0).clamp(0.0, 1_200_000.0) as u64;
        self.block_time_ms.store(ms, Ordering::Relaxed);
    }

    fn block_times_secs(&self, blocks: u64) -> u64 {
        (blocks * self.block_time_ms.load(Ordering::Relaxed)).div_ceil(1_000)
    }

    /// How long until an endpoint may be asked again for these methods; zero when one may be now.
    pub(crate) fn ready_in(&self, methods: &[Method]) -> Duration {
        let waits = self
            .list
            .iter()
            .map(|endpoint| self.wait_of(endpoint, methods));
        waits.min().unwrap_or_default()
    }

    fn wait_of(&self, endpoint: &Endpoint, methods: &[Method]) -> Duration {
        let now = self.clock.now();
        endpoint.with_health(|health| health.ready_in(methods, now))
    }

    pub(crate) fn reports(&self) -> Vec<EndpointReport> {
        let (now, fresh_from) = (self.clock.now(), self.oldest_fresh_timestamp());
        let report = |endpoint: &Endpoint| {
            let health = endpoint.with_health(|health| health.clone());
            EndpointReport {
                host: endpoint.host().to_owned(),
                healthy: health.is_healthy(fresh_from, now),
                head: health.head().map(|(number, _)| number),
                latency: health.latency(),
                last_error: health.last_error(),
                failing: health
                    .failing()
                    .chain(health.outvoted())
                    .map(Method::name)
                    .collect(),
            }
        };
        self.list.iter().map(report).collect()
    }

    /// By `Rank`, among equals as configured. Who asked to be left alone is asked only when nobody else is left or does
    /// well, after them, and only the one whose wait ends first: so a lone endpoint in trouble is still asked, and no wait
    /// that one of them names, however long, makes a draw late that it could serve. Where all others fail, one is all that is
    /// left, and insisted on.
    fn best_first(&self, methods: &[Method]) -> Vec<Endpoint> {
        let (now, fresh_from) = (self.clock.now(), self.oldest_fresh_timestamp());
        let mut open = Vec::new();
        let mut soonest: Option<(Duration, usize)> = None;
        for (index, endpoint) in self.list.iter().enumerate() {
            endpoint.with_health(|health| match health.rank(methods, fresh_from, now) {
                Some(rank) if rank.is_open() => open.push((rank, index)),
                Some(_) => {
                    let ready_in = (health.ready_in(methods, now), index);
                    soonest = Some(soonest.map_or(ready_in, |known| known.min(ready_in)));
                }
                None => {}
            });
        }
        open.sort_unstable();
        let last_resort = soonest.filter(|_| open.iter().all(|(rank, _)| rank.is_failing()));
        let mut order: Vec<usize> = open.into_iter().map(|(_, index)| index).collect();
        order.extend(last_resort.map(|(_, index)| index));
        let listed = order.into_iter().map(|index| &self.list[index]);
        let insists = |endpoint: &Endpoint| {
            let mut others = self.list.iter().filter(|other| *other != endpoint);
            others.all(|other| self.fails(other, methods))
        };
        listed
            .map(|endpoint| endpoint.insisting(insists(endpoint)))
            .collect()
    }

    /// True where some endpoint did not fail these methods when it was last asked: what can be done without is better not
    /// asked of anybody else, since waiting for a time-out would make late what cannot.
    pub(crate) fn any_does_well(&self, methods: &[Method]) -> bool {
        let mut list = self.list.iter();
        list.any(|endpoint| !self.fails(endpoint, methods))
    }

    fn fails(&self, endpoint: &Endpoint, methods: &[Method]) -> bool {
        let now = self.clock.now();
        let rank = endpoint.with_health(|health| health.rank(methods, 0, now));
        rank.is_none_or(|rank| rank.is_failing())
    }

    /// The newest time of a head that any endpoint has shown whose times are believed, in unix seconds; 0 before the first.
    pub(crate) fn newest_timestamp(&self) -> u64 {
        let told = |health: &mut Health| health.head().filter(|_| tells_time(health));
        let heads = self.list.iter();
        let heads = heads.filter_map(|endpoint| endpoint.with_health(told));
        heads.map(|(_, timestamp)| timestamp).max().unwrap_or(0)
    }

    fn oldest_fresh_timestamp(&self) -> u64 {
        self.newest_timestamp()
            .saturating_sub(self.stale_after_secs())
    }

    fn stale_after_secs(&self) -> u64 {
        self.block_times_secs(3).max(STALE_SECS_MIN)
    }

    fn trailing_after_secs(&self) -> u64 {
        self.block_times_secs(2).max(TRAILING_SECS_MIN)
    }

    /// Whether its head, as far as can be told now, is so much behind.
    fn is_behind(&self, endpoint: &Endpoint, margin_secs: u64) -> bool {
        let (newest, now) = (self.newest_timestamp(), self.clock.now());
        endpoint.with_health(|health| health.is_behind(newest, margin_secs, now))
    }

    /// Before the first use, after any silence, and every ten minutes. An endpoint that will not say which chain it
    /// serves is used all the same, after those that do: a draw can do without the answer.
    fn check_chain_id(&self, endpoint: &Endpoint) -> Result<(), RpcError> {
        let now = self.clock.now();
        if endpoint.with_health(|health| health.is_chain_check_due(now)) {
            match self.chain_id_of(endpoint) {
                Ok(found) => {
                    let is_news =
                        endpoint.with_health(|health| health.note_chain(found, self.chain_id, now));
                    if is_news && found != self.chain_id {
                        log::error!("{}", self.wrong_chain(endpoint, found));
                    }
                }
                Err(error) => {
                    if !endpoint.with_health(|health| health.note_chain_untold(&error, now)) {
                        return Err(error);
                    }
                    log::warn!("{} does not tell its chain: {error}", endpoint.host());
                }
            }
            if !endpoint.knows_client() {
                // Some error codes can be read only when the client is known; one that keeps its name secret is no worse.
                let _ = endpoint.client_version();
            }
        }
        match endpoint.with_health(|health| health.chain()) {
            Chain::Wrong(found) => Err(self.wrong_chain(endpoint, found)),
            _ => Ok(()),
        }
    }

    /// The chain that it serves. The only endpoint has to say twice that it serves another one: several servers may answer
    /// at its URL, and without it there is none.
    fn chain_id_of(&self, endpoint: &Endpoint) -> Result<u64, RpcError> {
        match endpoint.chain_id() {
            Ok(found) if found != self.chain_id && self.list.len() == 1 => endpoint.chain_id(),
            told => told,
        }
    }

    fn wrong_chain(&self, endpoint: &Endpoint, found: u64) -> RpcError {
        let text = format!(
            "{} serves chain {found}, blockchain.chain_id is {}: it is not used",
            endpoint.host(),
            self.chain_id
        );
        RpcError::new(ErrorKind::Parked, text).told_as("serves another chain")
    }

    fn none_left(&self) -> RpcError {
        let reasons = self.list.iter().map(|endpoint| {
            let reason = endpoint.with_health(|health| health.last_error());
            format!("{} {}", endpoint.host(), reason.unwrap_or("is not ready"))
        });
        RpcError::transport(reasons.collect::<Vec<_>>().join("; "))
    }
}

/// Whether the times that it gives its blocks are those that others give them, as far as they were asked.
fn tells_time(health: &Health) -> bool {
    !health.is_outvoted(Method::BlockByNumber)
}

#[cfg(test)]
mod tests;
