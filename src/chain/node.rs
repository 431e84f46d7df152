//! One endpoint with typed calls: what the daemon asks of a node, and what it learns of that node on the way.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::chain::error::{encode_hex, ErrorKind, NodeError, RpcError};
use crate::chain::jsonrpc::{JsonRpc, RpcCall};
use crate::chain::logs::LogRange;
use crate::chain::parse;
use crate::chain::transport::Transport;
use crate::chain::types::{
    Address, BlockId, Header, Opcodes, PendingTransaction, Receipt, H256, U256,
};

/// A message call, for eth_call and eth_estimateGas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallRequest {
    pub from: Option<Address>,
    pub to: Address,
    pub data: Vec<u8>,
}

impl CallRequest {
    pub fn to(to: Address, data: Vec<u8>) -> CallRequest {
        CallRequest {
            from: None,
            to,
            data,
        }
    }

    pub fn from(mut self, from: Address) -> CallRequest {
        self.from = Some(from);
        self
    }

    fn json(&self) -> Value {
        let mut request = json!({"to": address_json(self.to), "data": encode_hex(&self.data)});
        if let Some(from) = self.from {
            request["from"] = address_json(from);
        }
        request
    }
}

/// eth_feeHistory in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeeHistory {
    /// Of the block after the newest one.
    pub next_base_fee_wei: Option<U256>,
    pub median_reward_wei: Option<U256>,
}

/// Which calls of an endpoint honour an overridden block time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockOverrides {
    pub call: bool,
    pub estimate: bool,
}

/// Returns the block's TIMESTAMP as one word: TIMESTAMP PUSH1 0 MSTORE PUSH1 32 PUSH1 0 RETURN.
const TIMESTAMP_PROBE: &str = "0x4260005260206000f3";
/// Returns PREVRANDAO, NUMBER and TIMESTAMP of the block as three words.
const OPCODES_PROBE: &str = "0x44600052436020524260405260606000f3";
/// A time no chain will reach, so that an answer with it proves that the override was honoured.
const PROBE_TIME: u64 = 0x0fff_ffff_ffff;
/// Reverts unless TIMESTAMP equals the probe's time, so that an estimate succeeds only where the override counts:
/// TIMESTAMP PUSH6 0x0fffffffffff EQ PUSH1 0x0f JUMPI PUSH1 0 DUP1 REVERT JUMPDEST STOP, as initialisation code.
const ESTIMATE_PROBE: &str = "0x42650fffffffffff14601057600080fd5b00";

/// A cheap handle: clones share connection and health.
#[derive(Clone)]
pub struct Endpoint {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    rpc: JsonRpc,
    clock: Clock,
    metrics: Metrics,
    overrides: OnceLock<BlockOverrides>,
    /// It takes no block hashes (EIP-1898) in state calls.
    hashes_refused: AtomicBool,
    health: Mutex<EndpointHealth>,
    /// By purpose: threads of `Endpoints` that wait for an answer.
    asides: [Mutex<Asides>; 2],
    pub(super) log_range: LogRange,
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
pub enum Purpose {
    Follow,
    Act,
}

/// What `endpoints` keeps of this endpoint's condition.
#[derive(Clone, Debug, Default)]
pub struct EndpointHealth {
    /// Number and timestamp.
    pub head: Option<(u64, u64)>,
    pub head_read_at: Option<Instant>,
    /// Asked after the others until then: it was slow, or its head trailed.
    pub set_back_until: Option<Instant>,
    /// How often in a row it was set back again.
    pub set_backs: u32,
    pub chain_checked_at: Option<Instant>,
    pub wrong_chain: Option<u64>,
    pub not_before: Option<Instant>,
    /// It refused to serve us: not asked before `not_before`, even when nothing else is left.
    pub parked: bool,
    pub failures: u32,
    pub last_error: Option<String>,
    pub latency: Option<Duration>,
}

/// An endpoint that is asked on a thread of its own; the place is free again when this is dropped.
pub struct Aside(Endpoint, Purpose);

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
                rpc: JsonRpc::over(transport),
                clock,
                metrics,
                overrides: OnceLock::new(),
                hashes_refused: AtomicBool::new(false),
                health: Mutex::default(),
                asides: Default::default(),
                log_range: LogRange::default(),
            }),
        }
    }

    /// scheme://host[:port]: all that may be shown of it.
    pub fn host(&self) -> &str {
        self.shared.rpc.host()
    }

    /// Looks at or changes what is kept of its health.
    pub fn with_health<T>(&self, change: impl FnOnce(&mut EndpointHealth) -> T) -> T {
        change(
            &mut self
                .shared
                .health
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Claims a place for a question of this purpose; None while an earlier one has not waited long for its answer, or
    /// too many wait.
    pub fn claim_aside(&self, purpose: Purpose) -> Option<Aside> {
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
        self.shared.asides[purpose as usize]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub fn chain_id(&self) -> Result<u64, RpcError> {
        parse::number(&self.ask("eth_chainId", json!([]))?, "chain id")
    }

    pub fn client_version(&self) -> Result<String, RpcError> {
        let answer = self.ask("web3_clientVersion", json!([]))?;
        let version = answer
            .as_str()
            .unwrap_or("unknown")
            .chars()
            .take(200)
            .collect::<String>();
        self.shared.rpc.note_client(&version);
        Ok(version)
    }

    pub fn head(&self) -> Result<Header, RpcError> {
        self.header(BlockId::Latest)
    }

    pub fn header(&self, block: BlockId) -> Result<Header, RpcError> {
        let header = twice_if_behind(|| {
            let call = get_block(block);
            parse::header(&self.ask(call.method, call.params)?)
        })?;
        match block {
            BlockId::Number(number) if number != header.number => Err(RpcError::invalid_answer(
                format!("asked for block {number}, got block {}", header.number),
            )),
            BlockId::Hash(hash) | BlockId::Exactly { hash, .. } if hash != header.hash => {
                Err(RpcError::invalid_answer(format!(
                    "asked for block {hash:#x}, got {:#x}",
                    header.hash
                )))
            }
            _ => Ok(header),
        }
    }

    /// The headers of these blocks, in the order asked.
    pub fn headers(&self, numbers: &[u64]) -> Result<Vec<Header>, RpcError> {
        let calls: Vec<RpcCall> = numbers
            .iter()
            .map(|number| get_block(BlockId::Number(*number)))
            .collect();
        let headers = self
            .ask_batch(&calls)?
            .into_iter()
            .map(|answer| parse::header(&answer?))
            .collect::<Result<Vec<_>, _>>()?;
        match headers
            .iter()
            .zip(numbers)
            .find(|(header, number)| header.number != **number)
        {
            Some((header, number)) => Err(RpcError::invalid_answer(format!(
                "asked for block {number}, got block {}",
                header.number
            ))),
            None => Ok(headers),
        }
    }

    /// eth_call; `time` overrides the block's timestamp where the endpoint can.
    pub fn call(
        &self,
        request: &CallRequest,
        block: BlockId,
        time: Option<u64>,
    ) -> Result<Vec<u8>, RpcError> {
        let ask = || self.ask_state("eth_call", block, |at| call_params(request, at, time));
        parse::bytes(&twice_if_behind(ask)?, "eth_call")
    }

    /// Several calls at one block, in batches; any that fails fails all.
    pub fn calls(
        &self,
        requests: &[CallRequest],
        block: BlockId,
    ) -> Result<Vec<Vec<u8>>, RpcError> {
        let Some((first, rest)) = requests.split_first() else {
            return Ok(Vec::new());
        };
        // The first one finds out how this endpoint wants its blocks named.
        let mut answers = vec![self.call(first, block, None)?];
        let at = self.state_block(block);
        let calls: Vec<RpcCall> = rest
            .iter()
            .map(|request| RpcCall {
                method: "eth_call",
                params: call_params(request, at.clone(), None),
            })
            .collect();
        for answer in self.ask_batch(&calls)? {
            answers.push(parse::bytes(&answer?, "eth_call")?);
        }
        self.check_still_there(block)?;
        Ok(answers)
    }

    pub fn estimate_gas(
        &self,
        request: &CallRequest,
        block: BlockId,
        time: Option<u64>,
    ) -> Result<u64, RpcError> {
        let answer = self.ask_state("eth_estimateGas", block, |at| {
            call_params(request, at, time)
        })?;
        parse::number(&answer, "eth_estimateGas")
    }

    pub fn transaction_count(&self, address: Address, block: BlockId) -> Result<u64, RpcError> {
        let answer = self.ask_state("eth_getTransactionCount", block, |at| {
            json!([address_json(address), at])
        })?;
        parse::number(&answer, "eth_getTransactionCount")
    }

    pub fn balance(&self, address: Address, block: BlockId) -> Result<U256, RpcError> {
        let answer = self.ask_state("eth_getBalance", block, |at| {
            json!([address_json(address), at])
        })?;
        parse::quantity(&answer, "eth_getBalance")
    }

    pub fn code(&self, address: Address, block: BlockId) -> Result<Vec<u8>, RpcError> {
        let answer = self.ask_state("eth_getCode", block, |at| {
            json!([address_json(address), at])
        })?;
        parse::bytes(&answer, "eth_getCode")
    }

    /// The next block's base fee and the median of the last ten blocks' median tips.
    pub fn fee_history(&self) -> Result<FeeHistory, RpcError> {
        let answer = self.ask("eth_feeHistory", json!(["0xa", "latest", [50.0]]))?;
        let next_base_fee_wei = match answer["baseFeePerGas"]
            .as_array()
            .and_then(|fees| fees.last())
        {
            Some(fee) => Some(parse::quantity(fee, "baseFeePerGas")?),
            None => None,
        };
        let mut rewards = Vec::new();
        for block in answer["reward"].as_array().map_or(&[][..], Vec::as_slice) {
            if let Some(reward) = block.get(0) {
                rewards.push(parse::quantity(reward, "reward")?);
            }
        }
        rewards.sort_unstable();
        Ok(FeeHistory {
            next_base_fee_wei,
            median_reward_wei: rewards.get(rewards.len() / 2).copied(),
        })
    }

    pub fn max_priority_fee_wei(&self) -> Result<U256, RpcError> {
        parse::quantity(
            &self.ask("eth_maxPriorityFeePerGas", json!([]))?,
            "eth_maxPriorityFeePerGas",
        )
    }

    pub fn gas_price_wei(&self) -> Result<U256, RpcError> {
        parse::quantity(&self.ask("eth_gasPrice", json!([]))?, "eth_gasPrice")
    }

    pub fn send_raw_transaction(&self, raw: &[u8]) -> Result<H256, RpcError> {
        parse::fixed_hash(
            &self.ask("eth_sendRawTransaction", json!([encode_hex(raw)]))?,
            "eth_sendRawTransaction",
        )
    }

    pub fn receipt(&self, hash: H256) -> Result<Option<Receipt>, RpcError> {
        let receipt =
            parse::receipt(&self.ask("eth_getTransactionReceipt", json!([hash_json(hash)]))?)?;
        match receipt {
            Some(receipt) if receipt.transaction_hash != hash => {
                Err(RpcError::invalid_answer("a receipt of another transaction"))
            }
            receipt => Ok(receipt),
        }
    }

    /// What the pool holds of this account at this nonce, as far as the node's pending block shows it.
    pub fn pending_transaction(
        &self,
        sender: Address,
        nonce: u64,
    ) -> Result<Option<PendingTransaction>, RpcError> {
        let block = self.ask("eth_getBlockByNumber", json!(["pending", true]))?;
        parse::pending_transaction(&block, sender, nonce)
    }

    /// The timestamp that the node gives its pending block.
    pub fn pending_timestamp(&self) -> Result<u64, RpcError> {
        let answer = self.ask("eth_call", json!([{"data": TIMESTAMP_PROBE}, "pending"]))?;
        parse::number(&strip_word(&answer), "pending timestamp")
    }

    /// What the EVM sees in this block.
    ///
    /// # Errors
    /// `Behind` where the endpoint does not have the block's state any more.
    pub fn block_opcodes(&self, block: BlockId) -> Result<Opcodes, RpcError> {
        let answer =
            self.ask_state("eth_call", block, |at| json!([{"data": OPCODES_PROBE}, at]))?;
        parse::opcodes(&answer)
    }

    /// Probed once: which calls honour `time`.
    pub fn block_overrides(&self) -> Result<BlockOverrides, RpcError> {
        if let Some(known) = self.shared.overrides.get() {
            return Ok(*known);
        }
        let overrides = json!({"time": hex_number(PROBE_TIME)});
        let params = json!([{"data": TIMESTAMP_PROBE}, "latest", {}, overrides]);
        let call = match self.ask("eth_call", params) {
            Ok(answer) => parse::number(&strip_word(&answer), "probe").ok() == Some(PROBE_TIME),
            Err(error) if error.is_node_answer() => false,
            Err(error) => return Err(error),
        };
        let estimate = call && {
            let params = json!([{"data": ESTIMATE_PROBE}, "latest", {}, overrides]);
            match self.ask("eth_estimateGas", params) {
                Ok(_) => true,
                Err(error) if error.is_node_answer() => false,
                Err(error) => return Err(error),
            }
        };
        Ok(*self
            .shared
            .overrides
            .get_or_init(|| BlockOverrides { call, estimate }))
    }

    pub(super) fn ask(&self, method: &'static str, params: Value) -> Result<Value, RpcError> {
        let started = self.shared.clock.now();
        let result = self.shared.rpc.call(method, params);
        self.record(method, started, result.as_ref().err());
        result
    }

    /// A call on a block's state. Where the endpoint takes no hashes its number is used, and the hash checked after.
    fn ask_state(
        &self,
        method: &'static str,
        block: BlockId,
        params: impl Fn(Value) -> Value,
    ) -> Result<Value, RpcError> {
        let result = self.ask(method, params(self.state_block(block)));
        let BlockId::Exactly { .. } = block else {
            return result;
        };
        let by_hash = !self.shared.hashes_refused.load(Ordering::Relaxed);
        let refused = matches!(&result, Err(error) if error.node_error() == Some(NodeError::Other));
        if !(by_hash && refused) {
            let answer = result?;
            self.check_still_there(block)?;
            return Ok(answer);
        }
        self.shared.hashes_refused.store(true, Ordering::Relaxed);
        match self.ask(method, params(self.state_block(block))) {
            Ok(answer) => {
                log::info!("{} takes no block hashes: asking by number", self.host());
                self.check_still_there(block)?;
                Ok(answer)
            }
            Err(error) => {
                // The refusal had another reason.
                self.shared.hashes_refused.store(false, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// How this endpoint is told of the block.
    pub(super) fn state_block(&self, block: BlockId) -> Value {
        match block {
            BlockId::Exactly { number, .. }
                if self.shared.hashes_refused.load(Ordering::Relaxed) =>
            {
                Value::from(hex_number(number))
            }
            _ => state_block(block),
        }
    }

    /// After asking by number: the number must still mean the same block.
    pub(super) fn check_still_there(&self, block: BlockId) -> Result<(), RpcError> {
        match block {
            BlockId::Exactly { number, hash }
                if self.shared.hashes_refused.load(Ordering::Relaxed) =>
            {
                match self.header(BlockId::Number(number))?.hash == hash {
                    true => Ok(()),
                    false => Err(RpcError::behind("the block was replaced while it was read")),
                }
            }
            _ => Ok(()),
        }
    }

    pub(super) fn ask_batch(
        &self,
        calls: &[RpcCall],
    ) -> Result<Vec<Result<Value, RpcError>>, RpcError> {
        let started = self.shared.clock.now();
        let results = self.shared.rpc.batch(calls);
        for (place, call) in calls.iter().enumerate() {
            let error = match &results {
                Ok(results) => results.get(place).and_then(|result| result.as_ref().err()),
                Err(error) => Some(error),
            };
            self.record(call.method, started, error);
        }
        results
    }

    fn record(&self, method: &'static str, started: Instant, error: Option<&RpcError>) {
        let outcome = match error.map(|error| &error.kind) {
            None => "ok",
            Some(ErrorKind::Transport) => "transport",
            Some(ErrorKind::RateLimited { .. }) => "rate_limited",
            Some(ErrorKind::Parked) => "refused",
            Some(ErrorKind::Behind) => "behind",
            Some(ErrorKind::InvalidAnswer) => "invalid",
            Some(ErrorKind::Reverted { .. }) => "reverted",
            Some(ErrorKind::Node(_)) => "error",
        };
        let elapsed = self.shared.clock.now().saturating_duration_since(started);
        self.with_health(|health| health.latency = Some(elapsed));
        let metrics = &self.shared.metrics;
        let labels = [
            ("method", method),
            ("endpoint", self.host()),
            ("outcome", outcome),
        ];
        metrics.add(
            "lottery_rpc_requests_total",
            "JSON-RPC calls.",
            &labels,
            1.0,
        );
        let help = "Seconds from request to answer.";
        metrics.observe(
            "lottery_rpc_request_duration_seconds",
            help,
            &labels[..2],
            elapsed.as_secs_f64(),
        );
    }
}

/// Several nodes may answer at one URL, and the next have what this one lacks.
pub(super) fn twice_if_behind<T>(ask: impl Fn() -> Result<T, RpcError>) -> Result<T, RpcError> {
    match ask() {
        Err(error) if error.kind == ErrorKind::Behind => ask(),
        result => result,
    }
}

pub(super) fn get_block(block: BlockId) -> RpcCall {
    match block {
        BlockId::Hash(hash) | BlockId::Exactly { hash, .. } => RpcCall {
            method: "eth_getBlockByHash",
            params: json!([hash_json(hash), false]),
        },
        _ => RpcCall {
            method: "eth_getBlockByNumber",
            params: json!([state_block(block), false]),
        },
    }
}

pub(super) fn call_params(request: &CallRequest, at: Value, time: Option<u64>) -> Value {
    match time {
        Some(time) => json!([request.json(), at, {}, {"time": hex_number(time)}]),
        None => json!([request.json(), at]),
    }
}

/// A block as state calls take it: EIP-1898 for a hash.
fn state_block(block: BlockId) -> Value {
    match block {
        BlockId::Number(number) => Value::from(hex_number(number)),
        BlockId::Hash(hash) | BlockId::Exactly { hash, .. } => {
            json!({"blockHash": hash_json(hash)})
        }
        BlockId::Latest => Value::from("latest"),
        BlockId::Pending => Value::from("pending"),
        BlockId::Safe => Value::from("safe"),
        BlockId::Finalized => Value::from("finalized"),
    }
}

pub(super) fn hex_number(number: u64) -> String {
    format!("0x{number:x}")
}

pub(super) fn address_json(address: Address) -> Value {
    Value::from(format!("{address:#x}"))
}

pub(super) fn hash_json(hash: H256) -> Value {
    Value::from(format!("{hash:#x}"))
}

/// A 32-byte word as a quantity; anything else is left for the parser to refuse.
fn strip_word(answer: &Value) -> Value {
    match answer
        .as_str()
        .and_then(|text| text.strip_prefix("0x"))
        .filter(|digits| digits.len() == 64)
    {
        Some(digits) => Value::from(format!("0x{digits}")),
        None => Value::Null,
    }
}
