//! The list of endpoints: which is asked first, which is left alone for a while, and whose word does not count because
//! it serves another chain. It never sleeps: an endpoint in backoff is passed over.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, Receiver};

use crate::base::clock::{jitter, Clock};
use crate::base::metrics::Metrics;
use crate::chain::client::{Endpoint, EndpointHealth};
use crate::chain::error::{ErrorKind, RpcError};

const BACKOFF_MIN_MS: u64 = 250;
const BACKOFF_MAX_MS: u64 = 10_000;
/// How long an endpoint that refuses to serve us is left alone.
const PARKED_FOR: Duration = Duration::from_secs(60);
const CHAIN_ID_EVERY: Duration = Duration::from_secs(600);
/// A head older than this (or three block times) behind the best is stale whatever the HTTP status says.
const STALE_SECS_MIN: u64 = 15;

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
    /// A head this much older than the best is stale.
    stale_secs: Arc<AtomicU64>,
}

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
    pub fn new(
        config: &EndpointsConfig,
        clock: Clock,
        metrics: &Metrics,
    ) -> Result<Endpoints, RpcError> {
        let list = config
            .urls
            .iter()
            .map(|url| {
                Endpoint::new(
                    url,
                    config.proxy_url.as_deref(),
                    config.timeout,
                    metrics.clone(),
                )
            })
            .collect::<Result<Vec<_>, _>>()?;
        let stale_secs = Arc::new(AtomicU64::new(STALE_SECS_MIN));
        Ok(Endpoints {
            list: Arc::new(list),
            chain_id: config.chain_id,
            clock,
            stale_secs,
        })
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
            let result = self.check_chain_id(&endpoint).and_then(|()| ask(&endpoint));
            match result {
                Ok(answer) => {
                    endpoint.with_health(EndpointHealth::note_success);
                    return Ok(answer);
                }
                Err(error) if error.is_node_answer() => return Err(error),
                Err(error) => {
                    self.note_failure(&endpoint, &error);
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| self.none_left()))
    }

    /// Asks every usable endpoint at once, each on a thread of its own, and hands over the answers as they come; the
    /// stream ends when all have answered. A hanging endpoint holds nobody up, and is not asked again before it is done.
    pub fn ask_each<T: Send + 'static>(
        &self,
        ask: impl Fn(&Endpoint) -> Result<T, RpcError> + Clone + Send + 'static,
    ) -> Receiver<(Endpoint, Result<T, RpcError>)> {
        let usable = self.best_first();
        let alone = usable.len() == 1;
        let (answers, receiver) = bounded(usable.len());
        for endpoint in usable {
            let Some(aside) = endpoint.claim_aside() else {
                continue;
            };
            let (endpoints, ask, answers) = (self.clone(), ask.clone(), answers.clone());
            let work = move || {
                let result = endpoints.check_chain_id(&aside).and_then(|()| ask(&aside));
                match &result {
                    Ok(_) => aside.with_health(EndpointHealth::note_success),
                    Err(error) => endpoints.note_failure(&aside, error),
                }
                let endpoint = aside.clone();
                drop(aside);
                // Nobody listens any more once one answer was enough.
                let _ = answers.send((endpoint, result));
            };
            if alone {
                work();
            } else if let Err(error) = std::thread::Builder::new()
                .name("rpc".to_owned())
                .spawn(work)
            {
                log::error!("no thread to ask an endpoint: {error}");
            }
        }
        receiver
    }

    /// Takes down what a failure says of the endpoint; what the node itself refused says nothing.
    pub fn note_failure(&self, endpoint: &Endpoint, error: &RpcError) {
        if error.is_node_answer() {
            return;
        }
        let now = self.clock.now();
        endpoint.with_health(|health| health.note_failure(error, now));
    }

    pub fn note_head(&self, endpoint: &Endpoint, number: u64, timestamp: u64) {
        endpoint.with_health(|health| health.head = Some((number, timestamp)));
    }

    /// The measured block time: three of them without news make a head stale, but never less than 15 s.
    pub fn note_block_time(&self, mean_spacing_secs: f64) {
        let three_blocks = (3.0 * mean_spacing_secs).clamp(0.0, 3_600.0) as u64;
        self.stale_secs
            .store(three_blocks.max(STALE_SECS_MIN), Ordering::Relaxed);
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
                    && health.failures == 0,
                head: health.head.map(|(number, _)| number),
                latency: health.latency,
                last_error: health.last_error,
            }
        };
        self.list.iter().map(report).collect()
    }

    /// Ready endpoints: fresh before stale, few failures before many, else as configured. With none ready, the one whose
    /// wait ends first, so that a lone endpoint in trouble is still asked.
    fn best_first(&self) -> Vec<Endpoint> {
        let now = self.clock.now();
        let oldest_fresh = self.oldest_fresh_timestamp();
        let mut ready: Vec<(bool, u32, usize)> = Vec::new();
        let mut soonest: Option<(Instant, usize)> = None;
        for (place, endpoint) in self.list.iter().enumerate() {
            let health = endpoint.with_health(|health| health.clone());
            if health.wrong_chain.is_some() && !health.chain_check_due(now) {
                continue;
            }
            match health.not_before.filter(|until| *until > now) {
                None => ready.push((health.is_older_than(oldest_fresh), health.failures, place)),
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
        let mut places: Vec<usize> = ready.into_iter().map(|(_, _, place)| place).collect();
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
        best.saturating_sub(self.stale_secs.load(Ordering::Relaxed))
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

    fn chain_check_due(&self, now: Instant) -> bool {
        self.chain_checked_at
            .is_none_or(|at| now.saturating_duration_since(at) >= CHAIN_ID_EVERY)
    }

    fn note_success(&mut self) {
        self.failures = 0;
        self.not_before = None;
        self.parked = false;
        self.last_error = None;
    }

    fn note_failure(&mut self, error: &RpcError, now: Instant) {
        self.last_error = Some(error.to_string());
        self.failures = self.failures.saturating_add(1);
        let ceiling_ms = (BACKOFF_MIN_MS << self.failures.min(6)).min(BACKOFF_MAX_MS);
        let backoff = Duration::from_millis(jitter(ceiling_ms));
        let wait = match &error.kind {
            ErrorKind::Parked => PARKED_FOR,
            ErrorKind::RateLimited { retry_after } => retry_after.unwrap_or(backoff),
            // A block that is not there yet will be there soon.
            ErrorKind::Behind => Duration::from_millis(jitter(BACKOFF_MIN_MS)),
            _ => backoff,
        };
        self.parked = error.kind == ErrorKind::Parked;
        self.not_before = Some(now + wait);
        if error.kind == ErrorKind::Transport {
            self.chain_checked_at = None;
        }
    }
}
