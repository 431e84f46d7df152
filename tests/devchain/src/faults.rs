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
    pub chain_id: Option<u64>,
    pub refuses_batches: bool,
    pub reorders_batches: bool,
    /// It takes no WebSocket.
    pub refuses_websocket: bool,
    /// Its WebSockets stay open and tell nothing.
    pub mute_websocket: bool,
    pub ignores_call_overrides: bool,
    pub refuses_estimate_overrides: bool,
    /// No base fee in headers, and no EIP-1559 transactions.
    pub legacy_only: bool,
    /// It takes no raw transaction whose gas limit times fee cap is above this, in wei (geth's --rpc.txfeecap).
    pub fee_cap_wei: Option<u128>,
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
        *self.lock() = Inner::default();
    }

    pub fn set(&self, change: impl FnOnce(&mut Character)) {
        change(&mut self.lock().character);
    }

    pub fn character(&self) -> Character {
        self.lock().character.clone()
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
        struck
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    }
}
