//! The way between the daemon and the simulated nodes: latency, and every way in which an answer is late, lost or spoilt.
//! What a sound node answers is `node`'s.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lottery::chain::error::RpcError;
use lottery::chain::transport::{Answer, Body, Transport};
use lottery::chain::types::H256;
use serde_json::{json, Value};

use crate::baton::{Baton, Group};
use crate::campaign::GENESIS;
use crate::dress::Dress;
use crate::lies::Lie;
use crate::node::{fail, Character, Node};
use crate::world::World;

/// The daemon's own time-out, as configured.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// How a question can go wrong, whether it is asked of a sound node or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Status(u16),
    /// A status with a JSON-RPC error in its body.
    StatusWithError(u16),
    TimeOut,
    Refused,
    CutBody,
    Html,
    UnknownCode,
    StringError,
    RateLimit,
    Null,
    WrongType,
    WrongId,
    NoResult,
    /// A list of nothing in answer to a batch; to a single call, an empty object.
    EmptyBatch,
    /// One error object in answer to a batch.
    BatchError,
    /// HTTP 429 that asks to be left alone for so many seconds.
    RetryAfter(u64),
    /// A status of success without a body.
    NoBody(u16),
    ErrorNumber,
    ErrorList,
    /// An error object with nothing in it, and no result.
    EmptyError,
    /// A sound result, and an error beside it.
    ErrorBeside,
    /// The answer to another question: of the right shape, with another meaning.
    Another,
    /// In answer to a batch nothing, where the answer should stand.
    Missing,
}

impl Way {
    /// Every way in which an answer fails.
    pub fn all() -> impl Iterator<Item = Way> {
        Way::DRAWN.into_iter().chain(Way::OTHERS)
    }

    /// What only the table of answers plays.
    const OTHERS: [Way; 11] = [
        Way::EmptyBatch,
        Way::BatchError,
        Way::RetryAfter(3_600),
        Way::NoBody(200),
        Way::NoBody(204),
        Way::ErrorNumber,
        Way::ErrorList,
        Way::EmptyError,
        Way::ErrorBeside,
        Way::Another,
        Way::Missing,
    ];

    /// What campaigns draw from: with any more, each seed would mean another plan.
    pub const DRAWN: [Way; 22] = [
        Way::Status(301),
        Way::Status(400),
        Way::Status(401),
        Way::Status(402),
        Way::Status(403),
        Way::Status(404),
        Way::Status(405),
        Way::Status(429),
        Way::Status(500),
        Way::Status(503),
        Way::StatusWithError(400),
        Way::StatusWithError(500),
        Way::TimeOut,
        Way::Refused,
        Way::CutBody,
        Way::Html,
        Way::UnknownCode,
        Way::StringError,
        Way::Null,
        Way::WrongType,
        Way::WrongId,
        Way::NoResult,
    ];
}

/// Something that is wrong for a while, on one endpoint.
#[derive(Clone, Debug, PartialEq)]
pub enum Trouble {
    /// Every question goes wrong, or those of one method.
    Answers(Option<&'static str>, Way),
    /// Answers take so much longer.
    Slow(Duration),
    /// The node is so many blocks behind.
    Behind(u64),
    /// The node's head stands still.
    Frozen,
    /// Transactions are accepted and forgotten.
    Swallows,
    /// Transactions are taken, but nobody hears of it.
    SendUnanswered,
    /// Transactions are refused in these words.
    RefusesSends(&'static str),
    /// Batches are answered in this way, single calls as ever.
    Batches(Way),
    /// Everything that is answered comes in an odd dress.
    Dressed(Dress),
    /// Something is told that is not so.
    Lies(Lie),
}

pub struct Active {
    pub endpoint: usize,
    pub trouble: Trouble,
}

impl Active {
    pub fn of((endpoint, trouble): &(usize, Trouble)) -> Active {
        Active {
            endpoint: *endpoint,
            trouble: trouble.clone(),
        }
    }
}

pub struct Endpoint {
    pub character: Character,
    pub latency: Duration,
    pub tip: usize,
}

/// Everything that the threads of the daemon and the campaign share.
pub struct Sky {
    pub world: World,
    pub endpoints: Vec<Endpoint>,
    pub active: Vec<Active>,
    pub next_timestamp: u64,
    pub calls: BTreeMap<String, u64>,
    /// How often each endpoint was asked, whole batches counting once. What is sent is not counted: duty has it go to everybody
    /// at every new head.
    pub requests: BTreeMap<usize, u64>,
    /// How often each was asked for its head.
    pub heads_asked: BTreeMap<usize, u64>,
    /// When an endpoint that answers nothing as it should was asked and by which run, since the oracle last looked.
    pub in_vain: Vec<(Duration, usize, Group)>,
    pub story: Vec<(Duration, String)>,
}

impl Sky {
    /// Lets the nodes see the chain as it is now.
    pub fn show(&mut self) {
        let head = self.world.head_index();
        for index in 0..self.endpoints.len() {
            let mut behind = 0;
            let mut is_frozen = false;
            for active in self.active.iter().filter(|active| active.endpoint == index) {
                match active.trouble {
                    Trouble::Behind(blocks) => behind = blocks,
                    Trouble::Frozen => is_frozen = true,
                    _ => {}
                }
            }
            if !is_frozen {
                let number = self.world.blocks[head].number.saturating_sub(behind);
                self.endpoints[index].tip = self.world.at(head, number).unwrap_or(head);
            }
        }
    }

    pub fn has(&self, endpoint: usize, trouble: &Trouble) -> bool {
        let mut active = self.active.iter();
        active.any(|active| active.endpoint == endpoint && active.trouble == *trouble)
    }

    /// What `pick` takes of an endpoint's troubles.
    fn of<T>(&self, endpoint: usize, pick: impl Fn(&Trouble) -> Option<T>) -> Option<T> {
        let mut own = self.active.iter().filter(|it| it.endpoint == endpoint);
        own.find_map(|active| pick(&active.trouble))
    }

    /// How a question of that method goes wrong.
    fn way(&self, endpoint: usize, method: &str) -> Option<Way> {
        self.of(endpoint, |trouble| match trouble {
            Trouble::Answers(of, way) if of.is_none_or(|of| of == method) => Some(*way),
            _ => None,
        })
    }

    fn answers_nothing(&self, endpoint: usize) -> bool {
        let pick = |trouble: &Trouble| matches!(trouble, Trouble::Answers(None, _)).then_some(());
        self.of(endpoint, pick).is_some()
    }

    fn batch_way(&self, endpoint: usize) -> Option<Way> {
        self.of(endpoint, |trouble| match trouble {
            Trouble::Batches(way) => Some(*way),
            _ => None,
        })
    }

    fn dress(&self, endpoint: usize) -> Option<Dress> {
        self.of(endpoint, |trouble| match trouble {
            Trouble::Dressed(dress) => Some(*dress),
            _ => None,
        })
    }

    fn lie(&self, endpoint: usize) -> Option<Lie> {
        self.of(endpoint, |trouble| match trouble {
            Trouble::Lies(lie) => Some(*lie),
            _ => None,
        })
    }

    fn latency(&self, endpoint: usize) -> Duration {
        let active = self
            .active
            .iter()
            .filter(|active| active.endpoint == endpoint);
        let slow = active.filter_map(|active| match active.trouble {
            Trouble::Slow(by) => Some(by),
            _ => None,
        });
        self.endpoints[endpoint].latency + slow.sum::<Duration>()
    }

    /// The whole answer, a batch or a single one, as it goes over the wire.
    fn dressed(&self, endpoint: usize, answer: Value) -> Value {
        match self.dress(endpoint) {
            Some(dress) => dress.answer(answer),
            None => answer,
        }
    }

    fn call(&mut self, endpoint: usize, method: &str, params: &Value) -> Result<Value, Value> {
        *self.calls.entry(method.to_owned()).or_insert(0) += 1;
        if method == "eth_sendRawTransaction" {
            let refusal = self.of(endpoint, |trouble| match trouble {
                Trouble::RefusesSends(words) => Some(*words),
                _ => None,
            });
            if let Some(words) = refusal {
                return Err(fail(-32_000, words));
            }
            if self.has(endpoint, &Trouble::Swallows) {
                let raw = params[0].as_str().unwrap_or_default().to_owned();
                return swallowed(&raw).ok_or_else(|| fail(-32_000, "rlp: not a transaction"));
            }
        }
        let Endpoint { character, tip, .. } = &self.endpoints[endpoint];
        let mut node = Node {
            world: &mut self.world,
            tip: *tip,
            next_timestamp: self.next_timestamp,
            character,
        };
        node.answer(method, params)
    }
}

/// The transaction of these bytes.
fn decoded(raw: &str) -> Option<devchain::Transaction> {
    let pairs = raw.strip_prefix("0x")?.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let raw: Vec<u8> = pairs.map(byte).collect::<Option<_>>()?;
    devchain::Transaction::decode(&raw).ok()
}

/// The hash of a transaction that goes nowhere.
fn swallowed(raw: &str) -> Option<Value> {
    Some(Value::from(format!("{:#x}", decoded(raw)?.hash)))
}

/// The transport to one simulated node.
pub struct Wire {
    pub baton: Arc<Baton>,
    pub sky: Arc<Mutex<Sky>>,
    /// The run of a daemon that asks.
    pub run: Group,
    pub endpoint: usize,
    pub host: String,
}

impl Wire {
    fn sky(&self) -> MutexGuard<'_, Sky> {
        self.sky.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer that the node at the other end gives, by the troubles of this moment.
    fn exchange(&self, request: &Value) -> Exchange {
        let mut sky = self.sky();
        sky.world.now = self.baton.elapsed();
        sky.world.asked_by = self.run;
        sky.world.chain_time = sky.next_timestamp.max(GENESIS + sky.world.now.as_secs());
        let own = self.endpoint;
        if request["method"] != "eth_sendRawTransaction" {
            *sky.requests.entry(own).or_insert(0) += 1;
        }
        if request["method"] == "eth_getBlockByNumber" && request["params"][0] == "latest" {
            *sky.heads_asked.entry(own).or_insert(0) += 1;
        }
        if sky.answers_nothing(own) {
            let now = sky.world.now;
            sky.in_vain.push((now, own, self.run));
        }
        let Value::Array(calls) = request else {
            let method = request["method"].as_str().unwrap_or_default();
            let way = sky.way(own, method);
            if let Some(lost) = way.and_then(|way| instead(way, false)) {
                return lost;
            }
            let answer = self.item(&mut sky, request, way);
            let is_lost =
                method == "eth_sendRawTransaction" && sky.has(own, &Trouble::SendUnanswered);
            return match is_lost {
                true => Exchange::TimedOut,
                false => answered(way.map_or(200, status), sky.dressed(own, answer)),
            };
        };
        let takes_batches = sky.endpoints[own].character.takes_batches;
        let batch_way = match takes_batches {
            true => sky.batch_way(own),
            false => Some(Way::Status(400)),
        };
        let ways: Vec<Option<Way>> = calls
            .iter()
            .map(|call| {
                batch_way.or_else(|| sky.way(own, call["method"].as_str().unwrap_or_default()))
            })
            .collect();
        let spoilt = || ways.iter().flatten().copied();
        if let Some(lost) = spoilt().find_map(|way| instead(way, true)) {
            return lost;
        }
        let answers = calls
            .iter()
            .zip(&ways)
            .filter(|(_, way)| **way != Some(Way::Missing))
            .map(|(call, way)| self.item(&mut sky, call, *way))
            .collect();
        let status = spoilt().map(status).find(|status| *status != 200);
        answered(status.unwrap_or(200), sky.dressed(own, answers))
    }

    /// What the node tells, and where it lies what is so.
    fn told(&self, sky: &mut Sky, method: &str, params: &Value) -> Result<Value, Value> {
        let Some(lie) = sky.lie(self.endpoint) else {
            return sky.call(self.endpoint, method, params);
        };
        let truth = match method == "eth_sendRawTransaction" && !lie.takes() {
            true => Ok(Value::Null),
            false => sky.call(self.endpoint, method, params),
        };
        lie.tell(method, params, truth)
    }

    fn item(&self, sky: &mut Sky, call: &Value, way: Option<Way>) -> Value {
        let method = call["method"].as_str().unwrap_or_default();
        let result = match way {
            Some(Way::UnknownCode | Way::StatusWithError(_)) => {
                Err(fail(-32_603, "Internal error"))
            }
            Some(Way::StringError) => Err(json!("something went wrong")),
            Some(Way::ErrorNumber) => Err(json!(500)),
            Some(Way::ErrorList) => Err(json!([fail(-32_603, "Internal error")])),
            Some(Way::EmptyError) => Err(json!({})),
            Some(Way::Another) => Ok(another(method)),
            Some(Way::RateLimit) => Err(fail(-32_005, "request rate exceeded")),
            Some(Way::Null) => Ok(Value::Null),
            Some(Way::WrongType) => Ok(json!({"unexpected": [1, 2]})),
            _ => self.told(sky, method, &call["params"]),
        };
        let id = match way {
            Some(Way::WrongId) => json!(999_999_999),
            _ => call["id"].clone(),
        };
        let result = match sky.dress(self.endpoint) {
            Some(dress) => dress.result(method, result),
            None => result,
        };
        match result {
            _ if matches!(way, Some(Way::NoResult | Way::Missing)) => {
                json!({"jsonrpc": "2.0", "id": id})
            }
            Ok(result) if way == Some(Way::ErrorBeside) => {
                let error = fail(-32_603, "Internal error");
                json!({"jsonrpc": "2.0", "id": id, "result": result, "error": error})
            }
            Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
            Err(error) => json!({"jsonrpc": "2.0", "id": id, "error": error}),
        }
    }
}

/// The methods of a request, in short.
fn told(request: &Value) -> String {
    let method = |call: &Value| call["method"].as_str().unwrap_or_default().to_owned();
    let Value::Array(calls) = request else {
        return format!("{} {}", method(request), request["params"]);
    };
    let methods: Vec<String> = calls.iter().map(method).collect();
    methods.join(", ")
}

enum Exchange {
    Answered(Answer),
    TimedOut,
    Refused,
}

fn answered(status: u16, body: Value) -> Exchange {
    Exchange::Answered(Answer {
        status,
        retry_after: None,
        body: Body::Json(body.into()),
    })
}

/// The HTTP status that goes with answers of which one goes wrong in this way.
fn status(way: Way) -> u16 {
    match way {
        Way::StatusWithError(status) => status,
        _ => 200,
    }
}

/// A result that another method, or the same of something else, would have.
fn another(method: &str) -> Value {
    match method {
        "eth_getBlockByNumber" | "eth_getBlockByHash" => json!({
            "number": "0x7", "hash": format!("0x{}", "77".repeat(32)),
            "parentHash": format!("0x{}", "66".repeat(32)), "timestamp": "0x60000000",
        }),
        "eth_getTransactionReceipt" | "eth_sendRawTransaction" => {
            json!(format!("0x{}", "77".repeat(32)))
        }
        "eth_getLogs" => json!([]),
        "eth_call" | "eth_getCode" => json!(format!("0x{}", "00".repeat(96))),
        "web3_clientVersion" | "net_version" => json!("1"),
        _ => json!("0x77359400"),
    }
}

/// What comes instead of the whole answer; None where only single answers are spoilt.
fn instead(way: Way, is_batch: bool) -> Option<Exchange> {
    let text = |status, text: &str| {
        Some(Exchange::Answered(Answer {
            status,
            retry_after: None,
            body: Body::Text(text.to_owned()),
        }))
    };
    let refused = json!({"jsonrpc": "2.0", "id": null, "error": fail(-32_600, "invalid request")});
    match way {
        Way::Status(status) => text(status, "no"),
        Way::NoBody(status) => text(status, ""),
        Way::CutBody => text(200, "{\"jsonrpc\":\"2.0\",\"id\":1,\"resu"),
        Way::Html => text(200, "<html><body>Bad gateway</body></html>"),
        Way::EmptyBatch if is_batch => Some(answered(200, json!([]))),
        Way::EmptyBatch => Some(answered(200, json!({}))),
        Way::BatchError => Some(answered(200, refused)),
        Way::RetryAfter(secs) => Some(Exchange::Answered(Answer {
            status: 429,
            retry_after: Some(Duration::from_secs(secs)),
            body: Body::Text("slow down".to_owned()),
        })),
        Way::TimeOut => Some(Exchange::TimedOut),
        Way::Refused => Some(Exchange::Refused),
        _ => None,
    }
}

impl Transport for Wire {
    fn host(&self) -> &str {
        &self.host
    }

    fn post(&self, request: &Value) -> Result<Answer, RpcError> {
        let latency = self.sky().latency(self.endpoint);
        log::trace!("{} is asked {}", self.host, told(request));
        self.baton.pause(latency / 2);
        match self.exchange(request) {
            Exchange::Answered(_) if latency >= TIMEOUT => {
                self.baton.pause(TIMEOUT.saturating_sub(latency / 2));
                Err(self.lost("timed out"))
            }
            Exchange::Answered(answer) => {
                self.baton.pause(latency / 2);
                self.note_told(request, &answer);
                Ok(answer)
            }
            Exchange::TimedOut => {
                self.baton.pause(TIMEOUT.saturating_sub(latency / 2));
                Err(self.lost("timed out"))
            }
            Exchange::Refused => Err(self.lost("connection refused")),
        }
    }
}

impl Wire {
    /// What a sound answer tells the run of what it has sent.
    fn note_told(&self, request: &Value, answer: &Answer) {
        let Body::Json(body) = &answer.body else {
            return;
        };
        let body = body.to_value();
        let is_answer = answer.status == 200 && body["id"] == request["id"];
        if !is_answer || request["method"] != "eth_sendRawTransaction" {
            return;
        }
        let raw = request["params"][0].as_str().unwrap_or_default();
        let Some(sent) = decoded(raw) else {
            return;
        };
        let mut sky = self.sky();
        let told = &mut sky.world.told;
        match body["error"]["message"].as_str() {
            Some(words) if words.contains("insufficient funds") => told.short(self.run, sent.nonce),
            Some(words) if words.contains("already known") => {
                told.taken(self.run, H256(sent.hash.0))
            }
            None if body["result"].is_string() => told.taken(self.run, H256(sent.hash.0)),
            _ => {}
        }
    }

    fn lost(&self, why: &str) -> RpcError {
        RpcError::transport(format!("{}: {why}", self.host))
    }
}
