//! What goes wrong, on demand: each endpoint of the chain has its own faults, so that failover can be tested.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

/// One thing that goes wrong with a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The answer comes late.
    Latency(Duration),
    /// An HTTP status without JSON, with Retry-After in seconds where given.
    Status(u16, Option<u64>),
    /// The connection is cut without an answer.
    Reset,
    /// The body ends in the middle.
    Truncated,
    /// HTTP 200 with a page instead of JSON.
    Html,
    /// No answer, and the connection stays open.
    Hang,
    /// A JSON-RPC error.
    Error { code: i64, message: String },
    /// The result is null.
    Null,
    /// eth_getLogs answers with nothing.
    EmptyLogs,
    /// eth_sendRawTransaction answers with the hash and forgets the transaction.
    Swallow,
    /// The call is carried out, and then the connection is cut without an answer.
    ResetAfter,
    /// These bytes instead of an HTTP answer, and then the connection is cut.
    Raw(Arc<[u8]>),
    /// The result is changed on its way out.
    Distort(Distortion),
    /// The whole answer, JSON by then, is said in another way, and then the connection is cut.
    Reword(Rewording),
}

/// What becomes of a result.
#[derive(Clone)]
pub struct Distortion(Arc<dyn Fn(&mut Value) + Send + Sync>);

impl Distortion {
    pub fn new(distort: impl Fn(&mut Value) + Send + Sync + 'static) -> Distortion {
        Distortion(Arc::new(distort))
    }

    pub fn apply(&self, result: &mut Value) {
        (self.0)(result);
    }
}

impl fmt::Debug for Distortion {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("Distortion")
    }
}

impl PartialEq for Distortion {
    fn eq(&self, other: &Distortion) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// What bytes become of an answer's JSON.
#[derive(Clone)]
pub struct Rewording(Arc<Reword>);

type Reword = dyn Fn(&str) -> Vec<u8> + Send + Sync;

impl Rewording {
    pub fn new(reword: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Rewording {
        Rewording(Arc::new(reword))
    }

    pub fn apply(&self, json: &str) -> Vec<u8> {
        (self.0)(json)
    }
}

impl fmt::Debug for Rewording {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("Rewording")
    }
}

impl PartialEq for Rewording {
    fn eq(&self, other: &Rewording) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// When a fault strikes.
#[derive(Clone, Debug)]
struct Rule {
    fault: Fault,
    /// None: every method.
    method: Option<String>,
    /// None: until cleared.
    left: Option<u32>,
}

/// What an endpoint is like for as long as it stays so.
#[derive(Clone, Debug, Default)]
pub struct Character {
    /// Its head trails the chain's by so many blocks.
    pub lag_blocks: u64,
    /// Its head stands still at this block.
    pub frozen_at: Option<u64>,
    /// Several nodes behind one URL: each request meets any of them, which trails by so many blocks.
    pub lags: Vec<u64>,
    pub chain_id: Option<u64>,
    pub refuses_batches: bool,
    pub reorders_batches: bool,
    /// The last answer of a batch is missing.
    pub loses_batch_items: bool,
    /// It takes no WebSocket.
    pub refuses_websocket: bool,
    /// Its WebSockets stay open and tell nothing.
    pub mute_websocket: bool,
    /// No block by its hash, neither in calls (EIP-1898) nor in eth_getLogs.
    pub refuses_block_hashes: bool,
    pub ignores_call_overrides: bool,
    pub refuses_estimate_overrides: bool,
    /// No base fee in headers, and no EIP-1559 transactions.
    pub legacy_only: bool,
    /// It takes no raw transaction whose gas limit times fee cap is above this, in wei (geth's --rpc.txfeecap).
    pub fee_cap_wei: Option<u128>,
    /// It has the states of so many newest blocks, and says this to a call on an older one.
    pub keeps_states: Option<(u64, &'static str)>,
    /// The most blocks of one eth_getLogs, and what it says beyond.
    pub log_range: Option<(u64, String)>,
}

/// A cloneable handle to one endpoint's faults.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    rules: VecDeque<Rule>,
    character: Character,
    requests: u64,
    struck: u64,
}

impl Faults {
    /// From now on, for every request or for those of one method; `times` bounds how often.
    pub fn add(&self, fault: Fault, method: Option<&str>, times: Option<u32>) {
        let rule = Rule {
            fault,
            method: method.map(str::to_owned),
            left: times,
        };
        self.lock().rules.push_back(rule);
    }

    /// Everything works again.
    pub fn clear(&self) {
        let mut inner = self.lock();
        *inner = Inner {
            struck: inner.struck,
            ..Inner::default()
        };
    }

    /// How many have struck so far.
    pub fn struck(&self) -> u64 {
        self.lock().struck
    }

    pub fn set(&self, change: impl FnOnce(&mut Character)) {
        change(&mut self.lock().character);
    }

    pub fn character(&self) -> Character {
        self.lock().character.clone()
    }

    /// As the next request meets it.
    pub fn character_of_request(&self) -> Character {
        let mut inner = self.lock();
        let mut character = inner.character.clone();
        if !character.lags.is_empty() {
            inner.requests = inner.requests.wrapping_add(1);
            let place = scrambled(inner.requests) % character.lags.len() as u64;
            character.lag_blocks += character.lags[place as usize];
        }
        character
    }

    /// The faults that strike this request, used up as their counts say.
    pub fn strike(&self, method: &str) -> Vec<Fault> {
        let mut inner = self.lock();
        let mut struck = Vec::new();
        for rule in &mut inner.rules {
            let fits = rule.method.as_deref().is_none_or(|wanted| wanted == method);
            if fits && rule.left != Some(0) {
                rule.left = rule.left.map(|left| left - 1);
                struck.push(rule.fault.clone());
            }
        }
        inner.rules.retain(|rule| rule.left != Some(0));
        inner.struck += struck.len() as u64;
        struck
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// SplitMix64's finalizer: no pattern that a client could fall in step with, and the same in each run.
fn scrambled(number: u64) -> u64 {
    let mut bits = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_its_method_as_often_as_it_was_told() {
        let faults = Faults::default();
        faults.add(Fault::Reset, Some("eth_call"), Some(2));
        faults.add(Fault::Html, None, None);
        assert_eq!(faults.strike("eth_call"), [Fault::Reset, Fault::Html]);
        assert_eq!(faults.strike("eth_chainId"), [Fault::Html]);
        assert_eq!(faults.strike("eth_call"), [Fault::Reset, Fault::Html]);
        assert_eq!(faults.strike("eth_call"), [Fault::Html]);
        faults.clear();
        assert_eq!(faults.strike("eth_call"), []);
        assert_eq!(faults.struck(), 6);
    }
}
