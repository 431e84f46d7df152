//! One endpoint: typed questions sent alone (`together` sends several at once), and what is known of the endpoint on the way. Who is
//! asked when is the business of `endpoints`.

use std::fmt;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::chain::error::{ErrorKind, RpcError};
use crate::chain::health::{Health, Learned};
use crate::chain::json::Json;
use crate::chain::jsonrpc::{JsonRpc, Results, RpcCall};
use crate::chain::log_range::LogRange;
use crate::chain::method::Method;
use crate::chain::query::{self, Query};
use crate::chain::transport::Transport;
use crate::chain::tx::PendingTransaction;
use crate::chain::types::{Address, BlockId, FeeHistory, Header, Opcodes, Receipt, H256, U256};

pub use crate::chain::types::CallRequest;

/// Which calls of an endpoint honour an overridden block time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockOverrides {
    pub call: bool,
    pub estimate: bool,
}

/// How long it is believed that overrides are honoured, that they are not, and that a try met silence.
const OVERRIDES_FOR: Duration = Duration::from_secs(3_600);
const NO_OVERRIDES_FOR: Duration = Duration::from_secs(300);
const SILENT_OVERRIDES_FOR: Duration = Duration::from_secs(30);
/// How long an endpoint is not asked what it stayed silent on, where that can be done without.
const LEFT_OUT_FOR: Duration = Duration::from_secs(300);

/// A cheap handle: clones share connection and health.
#[derive(Clone)]
pub struct Endpoint {
    pub(super) shared: Arc<Shared>,
    /// What it spoils is asked for once more: nobody else is left that does well.
    pub(super) insists: bool,
}

pub(super) struct Shared {
    rpc: JsonRpc,
    pub(super) clock: Clock,
    metrics: Metrics,
    health: Mutex<Health>,
    abilities: Mutex<Abilities>,
    /// By purpose: threads of `Endpoints` that wait for an answer.
    asides: [Mutex<Asides>; 3],
    pub(super) log_range: Mutex<LogRange>,
    pub(super) hashes: Mutex<Hashes>,
    /// By method: so many answers in a row came spoilt.
    pub(super) spoilt: [AtomicU32; Method::ALL.len()],
}

/// What is known of the endpoint's way with block hashes (EIP-1898) in calls on state.
#[derive(Default)]
pub(super) struct Hashes {
    /// It takes none.
    pub(super) refused: Learned<()>,
    /// So often in a row it was in trouble when it was asked with one, and answered with the number.
    pub(super) doubts: u32,
}

/// What was learned of an endpoint by trying.
#[derive(Default)]
struct Abilities {
    overrides: Learned<BlockOverrides>,
    /// By method: it lets questions that nobody needs an answer to wait for ever.
    left_out: [Learned<()>; Method::ALL.len()],
}

/// So many questions of one purpose may wait for an endpoint that hangs; another one only after a while.
const ASIDES_MAX: u32 = 4;
const ASIDE_AGAIN_AFTER: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Asides {
    waiting: u32,
    newest_at: Option<Instant>,
}

/// Why an endpoint is asked on a thread of its own; a question of one purpose never keeps the other waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Follow,
    Prepare,
    Act,
}

/// An endpoint that is asked on a thread of its own; another may be asked in its stead when this is dropped.
pub(crate) struct Aside(Endpoint, Purpose);

impl std::ops::Deref for Aside {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.0
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let mut asides = self.0.asides(self.1);
        asides.waiting = asides.waiting.saturating_sub(1);
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Endpoint({})", self.host())
    }
}

impl PartialEq for Endpoint {
    fn eq(&self, other: &Endpoint) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Endpoint {
    /// A node behind any transport.
    pub fn over(transport: Arc<dyn Transport>, clock: Clock, metrics: Metrics) -> Endpoint {
        Endpoint {
            shared: Arc::new(Shared {
                rpc: JsonRpc::over(transport, clock.clone()),
                clock,
                metrics,
                health: Mutex::default(),
                abilities: Mutex::default(),
                asides: Default::default(),
                log_range: Mutex::default(),
                hashes: Mutex::default(),
                spoilt: Default::default(),
            }),
            insists: false,
        }
    }

    /// The same endpoint. Where it is all that is left it is asked once more for what it spoils, and waited for when it asks for
    /// fewer calls; that holds for all who share it.
    pub(super) fn insisting(&self, insists: bool) -> Endpoint {
        self.shared.rpc.set_alone(insists);
        Endpoint {
            insists,
            ..self.clone()
        }
    }

    /// `scheme://host[:port]`: all that may be shown of it.
    pub fn host(&self) -> &str {
        self.shared.rpc.host()
    }

    /// The time by the clock that its answers are measured with.
    pub(crate) fn now(&self) -> Instant {
        self.shared.clock.now()
    }

    /// How many calls are surely answered in one round trip just now.
    pub(crate) fn sure_batch_size(&self) -> usize {
        self.shared.rpc.sure_batch_size()
    }

    /// Looks at or changes what is known of its health.
    pub(crate) fn with_health<T>(&self, change: impl FnOnce(&mut Health) -> T) -> T {
        change(&mut locked(&self.shared.health))
    }

    /// Claims the right to ask on a thread of its own; None while an earlier question of this purpose has not waited
    /// long for its answer, or too many wait.
    pub(crate) fn claim_aside(&self, purpose: Purpose) -> Option<Aside> {
        let (mut asides, now) = (self.asides(purpose), self.shared.clock.now());
        let is_patient = asides
            .newest_at
            .is_none_or(|at| now.saturating_duration_since(at) >= ASIDE_AGAIN_AFTER);
        let is_free = asides.waiting == 0 || asides.waiting < ASIDES_MAX && is_patient;
        is_free.then(|| {
            asides.waiting += 1;
            asides.newest_at = Some(now);
            Aside(self.clone(), purpose)
        })
    }

    fn asides(&self, purpose: Purpose) -> MutexGuard<'_, Asides> {
        locked(&self.shared.asides[purpose as usize])
    }

    /// By eth_chainId, or by net_version where that is refused.
    pub fn chain_id(&self) -> Result<u64, RpcError> {
        match self.ask(&query::chain_id()) {
            Err(error) if !error.is_passing() => self.ask(&query::net_version()).map_err(|_| error),
            answer => answer,
        }
    }

    /// What the node calls itself; some error codes can be read only when that is known.
    pub(crate) fn client_version(&self) -> Result<String, RpcError> {
        let version = self.ask(&query::client_version())?;
        self.shared.rpc.note_client(&version);
        Ok(version)
    }

    pub(crate) fn knows_client(&self) -> bool {
        self.shared.rpc.knows_client()
    }

    pub fn head(&self) -> Result<Header, RpcError> {
        self.header(BlockId::Latest)
    }

    pub fn header(&self, block: BlockId) -> Result<Header, RpcError> {
        twice_if_behind(|| self.ask(&query::header(block)))
    }

    /// eth_call; `time` overrides the block's timestamp where the endpoint can.
    pub fn call(
        &self,
        request: &CallRequest,
        block: BlockId,
        time: Option<u64>,
    ) -> Result<Vec<u8>, RpcError> {
        twice_if_behind(|| self.ask(&query::call(request, block, time)))
    }

    pub(crate) fn estimate_gas(
        &self,
        request: &CallRequest,
        block: BlockId,
        time: Option<u64>,
    ) -> Result<u64, RpcError> {
        self.ask(&query::estimate_gas(request, block, time))
    }

    pub(crate) fn transaction_count(
        &self,
        address: Address,
        block: BlockId,
    ) -> Result<u64, RpcError> {
        self.ask(&query::transaction_count(address, block))
    }

    pub fn balance(&self, address: Address, block: BlockId) -> Result<U256, RpcError> {
        self.ask(&query::balance(address, block))
    }

    pub fn code(&self, address: Address, block: BlockId) -> Result<Vec<u8>, RpcError> {
        self.ask(&query::code(address, block))
    }

    /// What recent blocks paid. A hint: whatever is wrong with the answer, it is unknown, and nobody's health suffers.
    pub fn fee_history(&self) -> Option<FeeHistory> {
        self.hint(&query::fee_history())
    }

    pub fn gas_price_wei(&self) -> Result<U256, RpcError> {
        self.ask(&query::gas_price_wei())
    }

    pub(crate) fn send_raw_transaction(&self, raw: &[u8]) -> Result<H256, RpcError> {
        self.ask(&query::send_raw_transaction(raw))
    }

    /// None while the transaction is not mined.
    pub fn receipt(&self, hash: H256) -> Result<Option<Receipt>, RpcError> {
        self.ask(&query::receipt(hash))
    }

    /// What the pool holds of this account at this nonce, as far as the node's pending block shows it.
    pub(crate) fn pending_transaction(
        &self,
        sender: Address,
        nonce: u64,
    ) -> Result<Option<PendingTransaction>, RpcError> {
        self.ask(&query::pending_transaction(sender, nonce))
    }

    /// The timestamp that the node gives its pending block.
    pub(crate) fn pending_timestamp(&self) -> Result<u64, RpcError> {
        self.ask(&query::timestamp(BlockId::Pending))
    }

    /// PREVRANDAO, NUMBER and TIMESTAMP as code in that block sees them.
    pub(crate) fn block_opcodes(&self, block: BlockId) -> Result<Opcodes, RpcError> {
        self.ask(&query::block_opcodes(block))
    }

    /// Which calls honour an overridden time. Found out by trying, which costs two calls; an ability that is missing is
    /// looked for again after some minutes, one that met silence sooner.
    pub(crate) fn block_overrides(&self) -> BlockOverrides {
        let now = self.shared.clock.now();
        if let Some(known) = self.abilities().overrides.at(now) {
            return known;
        }
        let call = self.ask(&query::call_override_probe());
        let estimate = match &call {
            Ok(true) => self.ask(&query::estimate_override_probe()),
            _ => Ok(false),
        };
        if matches!(&estimate, Err(error) if error.is_silent_or_limited()) {
            // An action would wait for its estimate next, and in vain.
            self.leave_out(Method::EstimateGas);
        }
        let is_passing =
            |answer: &Result<bool, RpcError>| matches!(answer, Err(error) if error.is_passing());
        let believed_for = match (&call, &estimate) {
            (call, _) if is_passing(call) => SILENT_OVERRIDES_FOR,
            (Ok(true), Ok(true)) => OVERRIDES_FOR,
            _ => NO_OVERRIDES_FOR,
        };
        let overrides = BlockOverrides {
            call: call.unwrap_or(false),
            estimate: estimate.unwrap_or(false),
        };
        let mut abilities = self.abilities();
        abilities.overrides.learn(overrides, now + believed_for);
        overrides
    }

    /// One question.
    ///
    /// # Errors
    /// Any kind; the error names the method.
    pub fn ask<T>(&self, query: &Query<T>) -> Result<T, RpcError> {
        let read = |answer: Json| {
            let told = (query.read)(answer.part()).map_err(|error| error.of(query.method));
            told.inspect(|_| self.note_whole(query.method))
        };
        let answer = self.answer_to(query)?;
        match read(answer) {
            Err(error) if self.asks_again(query.method, &error, Duration::ZERO) => {
                read(self.answer_to(query)?)
            }
            told => told,
        }
    }

    fn answer_to<T>(&self, query: &Query<T>) -> Result<Json, RpcError> {
        match query.at {
            None => self.send(query.method, &(query.params)(Value::Null)),
            Some(block) => self.ask_state(query.method, block, &query.params),
        }
    }

    fn hint<T>(&self, query: &Query<T>) -> Option<T> {
        self.ask(query)
            .map_err(|error| log::debug!("{}: no hint: {error}", self.host()))
            .ok()
    }

    /// It stayed silent on a question with this method that can be done without.
    pub(crate) fn leave_out(&self, method: Method) {
        let until = self.shared.clock.now() + LEFT_OUT_FOR;
        self.abilities().left_out[method as usize].learn((), until);
    }

    /// True while such questions are better not asked.
    pub(crate) fn leaves_out(&self, method: Method) -> bool {
        let now = self.shared.clock.now();
        self.abilities().left_out[method as usize].at(now).is_some()
    }

    fn abilities(&self) -> MutexGuard<'_, Abilities> {
        locked(&self.shared.abilities)
    }

    pub(super) fn send(&self, method: Method, params: &Value) -> Result<Json, RpcError> {
        self.insisted(method, || self.send_once(method, params))
    }

    fn send_once(&self, method: Method, params: &Value) -> Result<Json, RpcError> {
        let started = self.shared.clock.now();
        let result = self.shared.rpc.call(method, params);
        self.record(method, started, result.as_ref().err());
        result
    }

    pub(super) fn send_batch(&self, calls: &[RpcCall]) -> Results {
        let alone = |call: &RpcCall| self.send_once(call.method, &call.params);
        self.insisted_together(calls, |calls| self.send_batch_once(calls), alone)
    }

    fn send_batch_once(&self, calls: &[RpcCall]) -> Results {
        let started = self.shared.clock.now();
        let results = self.shared.rpc.batch(calls);
        for (index, call) in calls.iter().enumerate() {
            let error = match &results {
                Ok(results) => results.get(index).and_then(|result| result.as_ref().err()),
                Err(error) => Some(error),
            };
            self.record(call.method, started, error);
        }
        results
    }

    fn record(&self, method: Method, started: Instant, error: Option<&RpcError>) {
        let outcome = match error.map(|error| &error.kind) {
            None => "ok",
            Some(ErrorKind::Transport) => "transport",
            Some(ErrorKind::RateLimited { .. }) => "rate_limited",
            Some(ErrorKind::Parked) => "refused",
            Some(ErrorKind::Behind) => "behind",
            Some(ErrorKind::Unavailable) => "unavailable",
            Some(ErrorKind::InvalidAnswer) => "invalid",
            Some(ErrorKind::Reverted { .. }) => "reverted",
            Some(ErrorKind::Refused | ErrorKind::Node(_)) => "error",
        };
        let elapsed = self.shared.clock.now().saturating_duration_since(started);
        self.with_health(|health| health.note_latency(elapsed));
        let metrics = &self.shared.metrics;
        let labels = [
            ("method", method.name()),
            ("endpoint", self.host()),
            ("outcome", outcome),
        ];
        let name = "lottery_rpc_requests_total";
        metrics.add(name, "JSON-RPC calls.", &labels, 1.0);
        let name = "lottery_rpc_request_duration_seconds";
        let help = "Seconds from request to answer.";
        metrics.observe(name, help, &labels[..2], elapsed.as_secs_f64());
    }
}

/// Several nodes may answer at one URL, and the next have what this one lacks.
pub(super) fn twice_if_behind<T>(ask: impl Fn() -> Result<T, RpcError>) -> Result<T, RpcError> {
    match ask() {
        Err(error) if error.kind == ErrorKind::Behind => ask(),
        result => result,
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
