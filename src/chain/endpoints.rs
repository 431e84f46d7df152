//! The list of endpoints: which is asked first, which is left alone for a while, which trails the others, and whose
//! word does not count because it serves another chain. It never sleeps: an endpoint in backoff is passed over, and one
//! that does not answer is hedged with the next.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, Receiver, RecvTimeoutError, Sender};

use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::chain::error::{ErrorKind, RpcError};
use crate::chain::http::Http;
use crate::chain::node::{Endpoint, EndpointHealth, Purpose};
use crate::chain::transport::Transport;

const BACKOFF_MIN_MS: u64 = 250;
const BACKOFF_MAX_MS: u64 = 10_000;
/// How long an endpoint that refuses to serve us is left alone.
const PARKED_FOR: Duration = Duration::from_secs(60);
const CHAIN_ID_EVERY: Duration = Duration::from_secs(600);
/// A head older than this (or three block times) behind the best is stale whatever the HTTP status says.
const STALE_SECS_MIN: u64 = 15;
/// A head this much (or two block times) behind one that was read at the same time sets its endpoint back.
const TRAILING_SECS_MIN: u64 = 3;
/// Heads read within this time of each other count as read at the same time.
const SAME_TIME: Duration = Duration::from_secs(3);
/// How long an endpoint that trailed is asked after the others; twice as long each time it trails again.
const SET_BACK_FOR: Duration = Duration::from_secs(15);
const SET_BACK_DOUBLINGS_MAX: u32 = 4;

#[derive(Clone, Debug)]
pub struct EndpointsConfig {
    pub urls: Vec<String>,
    pub proxy_url: Option<String>,
    pub timeout: Duration,
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
pub type Arrival<T> = (Endpoint, Result<T, RpcError>);

/// One endpoint as the API and `check` show it.
#[derive(Clone, Debug)]
pub struct EndpointReport {
    pub host: String,
    pub healthy: bool,
    pub head: Option<u64>,
    pub latency: Option<Duration>,
    pub last_error: Option<String>,
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
            let http = Http::new(url, config.proxy_url.as_deref(), config.timeout)?;
            transports.push(Arc::new(http));
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

    /// Runs `ask` on the best endpoint, and on the next when it fails for a reason that lies with the endpoint. What the
    /// node or the contract itself refused is an answer and comes back at once.
    pub fn with_endpoint<T>(
        &self,
        ask: impl Fn(&Endpoint) -> Result<T, RpcError>,
    ) -> Result<T, RpcError> {
        let mut last = None;
        for endpoint in self.best_first() {
            match self.asked(&endpoint, &ask) {
                Err(error) if !error.is_node_answer() => last = Some(error),
                answer => return answer,
            }
        }
        Err(last.unwrap_or_else(|| self.none_left()))
    }

    /// A second opinion: the answer of the first endpoint other than `first` that has one.
    pub fn with_another<T>(
        &self,
        first: &Endpoint,
        ask: impl Fn(&Endpoint) -> Result<T, RpcError>,
    ) -> Option<T> {
        let others = self.best_first().into_iter();
        let mut others = others.filter(|endpoint| endpoint != first);
        others.find_map(|endpoint| self.asked(&endpoint, &ask).ok())
    }

    /// Runs `ask` on the best endpoint, on the next as well when `patience` passes without an answer, and on the next at
    /// once after a failure. The first answer counts; who let it wait is set back. With one endpoint nothing is hedged.
    pub fn hedged<T: Send + 'static>(
        &self,
        patience: Duration,
        ask: impl Fn(&Endpoint) -> Result<T, RpcError> + Clone + Send + 'static,
    ) -> Result<(Endpoint, T), RpcError> {
        // The calls of a question have their own time-outs: it ends in any case.
        self.first_answer(self.best_first(), (patience, Duration::from_secs(600)), ask)
    }

    /// As `hedged`, but passing over `first` and waiting no longer than `patience` for the last: a second opinion. None
    /// when there is nobody else to ask.
    pub fn hedged_without<T: Send + 'static>(
        &self,
        first: &Endpoint,
        patience: Duration,
        ask: impl Fn(&Endpoint) -> Result<T, RpcError> + Clone + Send + 'static,
    ) -> Option<Result<(Endpoint, T), RpcError>> {
        let mut usable = self.best_first();
        usable.retain(|endpoint| endpoint != first);
        (!usable.is_empty()).then(|| self.first_answer(usable, (patience, patience), ask))
    }

    fn first_answer<T: Send + 'static>(
        &self,
        usable: Vec<Endpoint>,
        (patience, with_last): (Duration, Duration),
        ask: impl Fn(&Endpoint) -> Result<T, RpcError> + Clone + Send + 'static,
    ) -> Result<(Endpoint, T), RpcError> {
        if self.list.len() == 1 {
            return self.with_endpoint(|endpoint| Ok((endpoint.clone(), ask(endpoint)?)));
        }
        let (answers, arrivals) = bounded(usable.len());
        let mut answers = Some(answers);
        let mut rest = usable.into_iter();
        let mut unanswered: Vec<Endpoint> = Vec::new();
        let mut last = None;
        loop {
            let next = rest.next();
            match (&next, &answers) {
                (Some(endpoint), Some(answers)) => {
                    if !self.ask_aside(Purpose::Follow, endpoint, ask.clone(), answers) {
                        continue;
                    }
                    unanswered.push(endpoint.clone());
                }
                // Only the threads hold senders now, so that the wait below ends with the last of them.
                _ => answers = None,
            }
            let arrival = match (&next, unanswered.is_empty()) {
                (_, true) => None,
                (Some(_), false) => self.arrival_within(&arrivals, patience).ok(),
                (None, false) => self.arrival_within(&arrivals, with_last).ok(),
            };
            match arrival {
                Some((endpoint, Ok(answer))) => {
                    unanswered.retain(|waiting| *waiting != endpoint);
                    unanswered.iter().for_each(|slow| self.set_back(slow));
                    return Ok((endpoint, answer));
                }
                Some((_, Err(error))) if error.is_node_answer() => return Err(error),
                Some((endpoint, Err(error))) => {
                    unanswered.retain(|waiting| *waiting != endpoint);
                    last = Some(error);
                }
                None if next.is_none() => return Err(last.unwrap_or_else(|| self.none_left())),
                None => {}
            }
        }
    }

    fn arrival_within<T: Send + 'static>(
        &self,
        arrivals: &Receiver<Arrival<T>>,
        wait: Duration,
    ) -> Result<Arrival<T>, RecvTimeoutError> {
        let deadline = self.clock.now() + wait;
        self.clock.recv_deadline(arrivals, deadline)
    }

    /// Asks every usable endpoint at once, each on a thread of its own, and hands over the answers as they come; the
    /// stream ends when all have answered. A hanging endpoint holds nobody up, and is not asked again before it is done.
    pub fn ask_each<T: Send + 'static>(
        &self,
        ask: impl Fn(&Endpoint) -> Result<T, RpcError> + Clone + Send + 'static,
    ) -> Receiver<Arrival<T>> {
        let usable = self.best_first();
        let (answers, arrivals) = bounded(usable.len());
        if let [endpoint] = &usable[..] {
            let result = self.asked(endpoint, &ask);
            // The channel has room for one.
            let _ = answers.send((endpoint.clone(), result));
            return arrivals;
        }
        for endpoint in &usable {
            self.ask_aside(Purpose::Act, endpoint, ask.clone(), &answers);
        }
        arrivals
    }

    /// The next answer of a stream that `ask_each` has begun, waited for until `deadline`; None when it does not come.
    pub fn next_answer<T: Send + 'static>(
        &self,
        answers: &Receiver<Arrival<T>>,
        deadline: Option<Instant>,
    ) -> Option<Arrival<T>> {
        self.clock.wait_any(&[answers], deadline)?;
        answers.try_recv().ok()
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Asks on a thread of its own; false when an earlier question of that kind still waits for its answer.
    fn ask_aside<T: Send + 'static>(
        &self,
        purpose: Purpose,
        endpoint: &Endpoint,
        ask: impl Fn(&Endpoint) -> Result<T, RpcError> + Send + 'static,
        answers: &Sender<Arrival<T>>,
    ) -> bool {
        let Some(aside) = endpoint.claim_aside(purpose) else {
            return false;
        };
        let (endpoints, answers) = (self.clone(), answers.clone());
        let work = move || {
            let result = endpoints.asked(&aside, &ask);
            let endpoint = aside.clone();
            drop(aside);
            // Nobody listens any more once one answer was enough.
            let _ = answers.send((endpoint, result));
        };
        let spawned = self.clock.spawn("rpc", work);
        if let Err(error) = &spawned {
            log::error!("no thread to ask an endpoint: {error}");
        }
        spawned.is_ok()
    }

    /// One question, and what it says of the endpoint's health.
    fn asked<T>(
        &self,
        endpoint: &Endpoint,
        ask: impl Fn(&Endpoint) -> Result<T, RpcError>,
    ) -> Result<T, RpcError> {
        let result = self.check_chain_id(endpoint).and_then(|()| ask(endpoint));
        match &result {
            Ok(_) => endpoint.with_health(EndpointHealth::note_success),
            Err(error) => self.note_failure(endpoint, error),
        }
        result
    }

    /// Takes down what a failure says of the endpoint; what the node itself refused says nothing.
    pub fn note_failure(&self, endpoint: &Endpoint, error: &RpcError) {
        if error.is_node_answer() {
            return;
        }
        let now = self.clock.now();
        endpoint.with_health(|health| health.note_failure(error, now, &self.clock));
    }

    /// Takes down a head, and sets back every endpoint whose own, read at the same time, trails it.
    pub fn note_head(&self, endpoint: &Endpoint, number: u64, timestamp: u64) {
        let now = self.clock.now();
        endpoint.with_health(|health| {
            health.head = Some((number, timestamp));
            health.head_read_at = Some(now);
        });
        let margin_secs = self.block_times_secs(2).max(TRAILING_SECS_MIN);
        for other in self.list.iter().filter(|other| *other != endpoint) {
            let trails = other.with_health(|health| {
                let is_fresh = health
                    .head_read_at
                    .is_some_and(|at| now.saturating_duration_since(at) <= SAME_TIME);
                let is_older = health
                    .head
                    .is_some_and(|(_, theirs)| theirs.saturating_add(margin_secs) <= timestamp);
                is_fresh && is_older
            });
            if trails {
                self.set_back(other);
            }
        }
    }

    /// The endpoint answers, but late or with an old head: the others are asked before it for a while.
    pub fn set_back(&self, endpoint: &Endpoint) {
        if self.list.len() == 1 {
            return;
        }
        let now = self.clock.now();
        endpoint.with_health(|health| {
            if health.set_back_until.is_some_and(|until| until > now) {
                return;
            }
            // One that did well for as long as it was last set back begins anew.
            let had_recovered = health
                .set_back_until
                .is_none_or(|until| now > until + SET_BACK_FOR * (1 << health.set_backs));
            health.set_backs = match had_recovered {
                true => 0,
                false => (health.set_backs + 1).min(SET_BACK_DOUBLINGS_MAX),
            };
            health.set_back_until = Some(now + SET_BACK_FOR * (1 << health.set_backs));
        });
        log::debug!("{} trails the others", endpoint.host());
    }

    /// The measured block time, by which heads are judged.
    pub fn note_block_time(&self, mean_spacing_secs: f64) {
        let ms = (mean_spacing_secs * 1_000.0).clamp(0.0, 1_200_000.0) as u64;
        self.block_time_ms.store(ms, Ordering::Relaxed);
    }

    fn block_times_secs(&self, blocks: u64) -> u64 {
        (blocks * self.block_time_ms.load(Ordering::Relaxed)).div_ceil(1_000)
    }

    /// How long until an endpoint may be asked again; zero when one may be now.
    pub fn ready_in(&self) -> Duration {
        let now = self.clock.now();
        let waits = self.list.iter().map(|endpoint| {
            endpoint.with_health(|health| {
                health
                    .not_before
                    .map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
            })
        });
        waits.min().unwrap_or_default()
    }

    pub fn reports(&self) -> Vec<EndpointReport> {
        let now = self.clock.now();
        let oldest_fresh = self.oldest_fresh_timestamp();
        let report = |endpoint: &Endpoint| {
            let health = endpoint.with_health(|health| health.clone());
            EndpointReport {
                host: endpoint.host().to_owned(),
                healthy: health.is_ready(now)
                    && !health.is_older_than(oldest_fresh)
                    && !health.is_set_back(now)
                    && health.failures == 0,
                head: health.head.map(|(number, _)| number),
                latency: health.latency,
                last_error: health.last_error,
            }
        };
        self.list.iter().map(report).collect()
    }

    /// Ready endpoints: fresh before stale, those that keep up before those set back, few failures before many, else as
    /// configured. With none ready, the one whose wait ends first, so that a lone endpoint in trouble is still asked.
    fn best_first(&self) -> Vec<Endpoint> {
        let now = self.clock.now();
        let oldest_fresh = self.oldest_fresh_timestamp();
        let mut ready: Vec<(bool, bool, u32, usize)> = Vec::new();
        let mut soonest: Option<(Instant, usize)> = None;
        for (place, endpoint) in self.list.iter().enumerate() {
            let health = endpoint.with_health(|health| health.clone());
            if health.wrong_chain.is_some() && !health.chain_check_due(now) {
                continue;
            }
            match health.not_before.filter(|until| *until > now) {
                None => ready.push((
                    health.is_older_than(oldest_fresh),
                    health.is_set_back(now),
                    health.failures,
                    place,
                )),
                Some(until) if health.parked => {
                    log::trace!("{} is parked for {:?}", endpoint.host(), until - now);
                }
                Some(until) => {
                    if soonest.is_none_or(|(known, _)| until < known) {
                        soonest = Some((until, place));
                    }
                }
            }
        }
        ready.sort_unstable();
        let mut places: Vec<usize> = ready.into_iter().map(|(.., place)| place).collect();
        if places.is_empty() {
            places.extend(soonest.map(|(_, place)| place));
        }
        places
            .into_iter()
            .map(|place| self.list[place].clone())
            .collect()
    }

    fn oldest_fresh_timestamp(&self) -> u64 {
        let timestamps = self
            .list
            .iter()
            .filter_map(|endpoint| endpoint.with_health(|health| health.head));
        let best = timestamps
            .map(|(_, timestamp)| timestamp)
            .max()
            .unwrap_or(0);
        best.saturating_sub(self.block_times_secs(3).max(STALE_SECS_MIN))
    }

    /// Before the first use, after any transport failure, and every ten minutes.
    fn check_chain_id(&self, endpoint: &Endpoint) -> Result<(), RpcError> {
        let now = self.clock.now();
        if !endpoint.with_health(|health| health.chain_check_due(now)) {
            return match endpoint.with_health(|health| health.wrong_chain) {
                Some(found) => Err(self.wrong_chain(endpoint, found)),
                None => Ok(()),
            };
        }
        let found = endpoint.chain_id()?;
        let wrong = (found != self.chain_id).then_some(found);
        let news = endpoint.with_health(|health| {
            let news = health.wrong_chain != wrong;
            health.chain_checked_at = Some(now);
            health.wrong_chain = wrong;
            news
        });
        // Some error codes can be read only when the client is known; a node that keeps its name secret is no worse.
        let _ = endpoint.client_version();
        match wrong {
            Some(found) => {
                let error = self.wrong_chain(endpoint, found);
                if news {
                    log::error!("{error}");
                }
                Err(error)
            }
            None => Ok(()),
        }
    }

    fn wrong_chain(&self, endpoint: &Endpoint, found: u64) -> RpcError {
        let text = format!(
            "{} serves chain {found}, blockchain.chain_id is {}: it is not used",
            endpoint.host(),
            self.chain_id
        );
        RpcError::new(ErrorKind::Parked, text)
    }

    fn none_left(&self) -> RpcError {
        let reasons = self.list.iter().map(|endpoint| {
            let reason = endpoint.with_health(|health| health.last_error.clone());
            reason.unwrap_or_else(|| format!("{} is not ready", endpoint.host()))
        });
        RpcError::transport(reasons.collect::<Vec<_>>().join("; "))
    }
}

impl EndpointHealth {
    fn is_ready(&self, now: Instant) -> bool {
        self.wrong_chain.is_none() && self.not_before.is_none_or(|until| until <= now)
    }

    fn is_older_than(&self, oldest_fresh: u64) -> bool {
        self.head
            .is_some_and(|(_, timestamp)| timestamp < oldest_fresh)
    }

    fn is_set_back(&self, now: Instant) -> bool {
        self.set_back_until.is_some_and(|until| until > now)
    }

    fn chain_check_due(&self, now: Instant) -> bool {
        let every = match self.wrong_chain {
            Some(_) => PARKED_FOR,
            None => CHAIN_ID_EVERY,
        };
        self.chain_checked_at
            .is_none_or(|at| now.saturating_duration_since(at) >= every)
    }

    pub fn note_success(&mut self) {
        self.failures = 0;
        self.not_before = None;
        self.parked = false;
        self.last_error = None;
    }

    fn note_failure(&mut self, error: &RpcError, now: Instant, clock: &Clock) {
        self.last_error = Some(error.to_string());
        self.failures = self.failures.saturating_add(1);
        let ceiling_ms = (BACKOFF_MIN_MS << self.failures.min(6)).min(BACKOFF_MAX_MS);
        let backoff = Duration::from_millis(clock.jitter(ceiling_ms));
        let wait = match &error.kind {
            ErrorKind::Parked => PARKED_FOR,
            ErrorKind::RateLimited { retry_after } => retry_after.unwrap_or(backoff),
            // A block that is not there yet will be there soon.
            ErrorKind::Behind => Duration::from_millis(clock.jitter(BACKOFF_MIN_MS)),
            _ => backoff,
        };
        self.parked = error.kind == ErrorKind::Parked;
        self.not_before = Some(now + wait);
        if error.kind == ErrorKind::Transport {
            self.chain_checked_at = None;
        }
    }
}
