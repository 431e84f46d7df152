//! An Ethereum node in the process: revm under a real JSON-RPC server, for tests and the demo.
//!
//! State is true to Ethereum in all that a client can act on: headers with bloom, mixHash and base fee, receipts, logs,
//! calls at any block with overrides, fee history, batches, a mempool by geth's rules. Roots are constants. Time can be
//! moved, blocks can be taken back, and each endpoint can be made to fail in its own way.
//!
//! ```
//! let chain = devchain::Devchain::start(devchain::Config::default()).unwrap();
//! chain.mine();
//! assert_eq!(chain.head_number(), 1);
//! println!("listening on {}", chain.url());
//! ```

mod accounts;
mod block;
mod faults;
mod node;
mod pool;
mod relay;
mod rpc;
mod server;
mod state;
#[cfg(test)]
mod tests;
mod tx;
mod websocket;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

pub use block::Family;
pub use faults::{Character, Distortion, Fault, Faults, Rewording};
pub use node::{Config, Mining, Reorged};
pub use relay::Relay;
pub use tx::Transaction;

use node::Node;
use server::Shared;

/// A running chain; dropping it stops its threads.
pub struct Devchain {
    shared: Arc<Shared>,
    endpoints: Vec<Endpoint>,
    miner: Option<JoinHandle<()>>,
}

/// One URL of the chain, with faults of its own.
pub struct Endpoint {
    address: SocketAddr,
    pub faults: Faults,
    thread: Option<JoinHandle<()>>,
}

impl Endpoint {
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Devchain {
    /// A chain with one endpoint on a free port.
    pub fn start(config: Config) -> std::io::Result<Devchain> {
        Devchain::start_on(config, &[0])
    }

    /// A chain with one endpoint for each port; 0 takes a free one.
    pub fn start_on(config: Config, ports: &[u16]) -> std::io::Result<Devchain> {
        let shared = Arc::new(Shared::new(Node::new(config)));
        let mut endpoints = Vec::new();
        for port in ports {
            let faults = Faults::default();
            let (address, thread) = server::listen(shared.clone(), faults.clone(), *port)?;
            endpoints.push(Endpoint {
                address,
                faults,
                thread: Some(thread),
            });
        }
        let for_miner = shared.clone();
        let miner = Some(std::thread::spawn(move || mine_by_interval(&for_miner)));
        Ok(Devchain {
            shared,
            endpoints,
            miner,
        })
    }

    /// The first endpoint's URL.
    pub fn url(&self) -> String {
        self.endpoints
            .first()
            .map(Endpoint::url)
            .unwrap_or_default()
    }

    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The first endpoint's faults.
    pub fn faults(&self) -> Faults {
        self.endpoints
            .first()
            .map(|endpoint| endpoint.faults.clone())
            .unwrap_or_default()
    }

    pub fn mine(&self) -> u64 {
        self.shared.with(Node::mine)
    }

    pub fn set_mining(&self, mining: Mining) {
        self.shared.with(|node| node.set_mining(mining));
    }

    pub fn increase_time(&self, secs: u64) {
        self.shared.with(|node| node.increase_time(secs));
    }

    pub fn reorg(&self, depth: u64, transactions: Reorged) {
        self.shared.with(|node| node.reorg(depth, transactions));
    }

    /// Pending transactions leave the pool unmined after so many blocks.
    pub fn drop_pending_after(&self, blocks: Option<u64>) {
        self.shared.with(|node| node.drop_after_blocks = blocks);
    }

    /// While held back, transactions wait in the pool and blocks come without them.
    pub fn hold_transactions(&self, held: bool) {
        self.shared.with(|node| node.mines_empty = held);
    }

    /// Cuts every WebSocket.
    pub fn cut_websockets(&self) {
        self.shared.cut_websockets();
    }

    pub fn head_number(&self) -> u64 {
        self.shared.with(|node| node.head().header.number)
    }

    pub fn head_timestamp(&self) -> u64 {
        self.shared.with(|node| node.head().header.timestamp)
    }

    /// A call without the wire, by the rules of a healthy endpoint.
    pub fn rpc(&self, method: &str, params: Value) -> Result<Value, String> {
        let character = Character::default();
        self.shared
            .with(|node| rpc::answer(node, &character, method, &params))
            .map_err(|error| error.message)
    }

    /// Calls by method, over all endpoints.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        self.shared.requests()
    }

    /// Every raw transaction that was sent, whatever became of it.
    pub fn raw_transactions(&self) -> Vec<Vec<u8>> {
        self.shared.raw_transactions()
    }

    /// Waits for the head to reach `number`; false when `patience` runs out first.
    pub fn wait_for_block(&self, number: u64, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut guard = self.shared.lock();
        loop {
            if guard
                .as_ref()
                .is_some_and(|node| node.head().header.number >= number)
            {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            guard = self
                .shared
                .changed
                .wait_timeout(guard, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Drop for Devchain {
    fn drop(&mut self) {
        self.shared.stop(&mut self.endpoints);
        if let Some(miner) = self.miner.take() {
            let _ = miner.join();
        }
    }
}

fn mine_by_interval(shared: &Shared) {
    let mut guard = shared.lock();
    while !shared.stopping.load(Ordering::SeqCst) {
        let due_ms = guard.as_ref().and_then(Node::next_due_ms);
        let now_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64);
        match due_ms {
            Some(due_ms) if due_ms <= now_ms => {
                if let Some(node) = guard.as_mut() {
                    node.mine();
                }
                shared.changed.notify_all();
            }
            _ => {
                let wait = due_ms.map_or(500, |due_ms| (due_ms - now_ms).min(500));
                let wait = Duration::from_millis(wait.max(1));
                guard = shared
                    .changed
                    .wait_timeout(guard, wait)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
        }
    }
}

/// Creation code of our Lottery contract, to which the constructor's arguments are appended.
pub fn lottery_bytecode() -> Vec<u8> {
    bytecode(include_str!("../../contract/Lottery.json"))
}

/// Creation code of the bettor that cannot receive ether.
pub fn rejector_bytecode() -> Vec<u8> {
    bytecode(include_str!("../../contract/Rejector.json"))
}

fn bytecode(artifact: &str) -> Vec<u8> {
    // Invariant: the artifacts are part of the crate, and tests deploy them.
    let artifact: Value = serde_json::from_str(artifact).expect("the artifact is JSON");
    let hex = artifact["bytecode"]
        .as_str()
        .expect("the artifact has bytecode");
    let bytes: revm::primitives::Bytes = hex.parse().expect("the bytecode is hex");
    bytes.to_vec()
}
