//! The poller and the store before nodes of our own making, without sockets and on a clock that the test moves: whatever
//! a node cannot or will not do, the live state comes, and what is missing is owed and named.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{never, Receiver};
use devchain::{Config, Mining, Reorged};
use lottery::actors::event_manager::{EventManager, Settings};
use lottery::actors::memory_store::MemoryStore;
use lottery::actors::messages::{PublicationReceiver, SharedSnapshot};
use lottery::base::clock::Clock;
use lottery::base::metrics::Metrics;
use lottery::base::shutdown::{Shutdown, StopReason};
use lottery::base::thread::{spawn_supervised, Beat, Health, OnFailure, Running};
use lottery::chain::endpoints::Endpoints;
use lottery::chain::script::Script;
use lottery::chain::transport::Transport;
use lottery::chain::types::{Address, U256};
use lottery::lottery::contract::get_config_calldata;
use lottery::lottery::snapshot::{ConnectionStatus, Snapshot};
use lottery::lottery::state::State;
use serde_json::{json, Value};
use support::chain::{Chain, Lottery, Timing, CHAIN_ID};
use support::BET_WEI;

/// A way to fail.
type Failure = fn() -> Result<Value, Value>;
/// A thread's body.
type Body = Box<dyn FnMut(&Shutdown, &Beat) -> Result<(), String> + Send>;
/// What becomes of a call: None leaves it to the chain.
type Quirk = dyn Fn(&Chain, &str, &Value) -> Option<Result<Value, Value>> + Send + Sync;

const LONG: Timing = Timing {
    betting: 1_000_000,
    min_draw_delay: 5,
    max_draw_delay: 180,
    min_extension: 60,
};
/// How long the test may take in real time until it holds that nothing more will come.
const PATIENCE: Duration = Duration::from_secs(60);

struct Poller {
    snapshot: SharedSnapshot,
    publications: PublicationReceiver,
    clock: Clock,
    shutdown: Shutdown,
    nodes: Vec<Arc<Script>>,
    threads: Vec<Running>,
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.shutdown.trip(StopReason::Requested);
        for thread in self.threads.drain(..) {
            thread.join(Duration::from_secs(60));
        }
    }
}

fn chain() -> Arc<Chain> {
    let config = Config {
        mining: Mining::Automatic,
        ..Config::default()
    };
    Arc::new(Chain::devchain_with(config))
}

fn sound() -> Box<Quirk> {
    Box::new(|_, _, _| None)
}

fn hex_text(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("0x{digits}")
}

fn error(code: i64, message: &str) -> Value {
    json!({"code": code, "message": message})
}

/// One scripted node for each quirk: it answers as the chain does, except where its quirk has an answer of its own.
fn nodes(chain: &Arc<Chain>, quirks: Vec<Box<Quirk>>) -> Vec<Arc<Script>> {
    let node = |(index, quirk): (usize, Box<Quirk>)| {
        let chain = chain.clone();
        Arc::new(Script::of_calls(
            &format!("node {index}"),
            move |method, params| match quirk(&chain, method, params) {
                Some(answer) => answer,
                None => chain
                    .dev()
                    .rpc(method, params.clone())
                    .map_err(|text| error(-32_000, &text)),
            },
        ))
    };
    quirks.into_iter().enumerate().map(node).collect()
}

fn settings(contract: Address) -> Settings {
    Settings {
        contract,
        chain_id: CHAIN_ID,
        poll_interval: Duration::from_secs(1),
        round_interval: Duration::from_secs(2),
        config_interval: Duration::from_secs(20),
        start_block_offset: 500,
        history_max_blocks: 200_000,
        round_history_max: 20,
    }
}

fn poller(chain: &Arc<Chain>, contract: Address, quirks: Vec<Box<Quirk>>) -> Poller {
    let clock = Clock::manual(1_700_000_000_000);
    let nodes = nodes(chain, quirks);
    let transports = nodes.iter().map(|node| node.clone() as Arc<dyn Transport>);
    let endpoints = Endpoints::over(
        transports.collect(),
        CHAIN_ID,
        clock.clone(),
        &Metrics::default(),
    );
    let connection = ConnectionStatus {
        reachable: false,
        since_unix_ms: 0,
        problem: None,
    };
    let state = State::new(MemoryStore::limits(1_000, 20), connection);
    let (mut store, updates, snapshot) = MemoryStore::new(state);
    let publications = store.add_listener();
    let mut manager = EventManager::new(
        settings(contract),
        endpoints,
        never(),
        updates,
        snapshot.clone(),
        clock.clone(),
    );
    let (health, shutdown) = (Health::default(), Shutdown::new());
    let for_store = clock.clone();
    let spawn = |name, body: Body| {
        let (mut body, stop) = (body, shutdown.clone());
        spawn_supervised(
            name,
            &clock,
            &health,
            &shutdown,
            OnFailure::EndProcess,
            move |beat| body(&stop, beat),
        )
        .unwrap()
    };
    let threads = vec![
        spawn(
            "store",
            Box::new(move |stop, beat| store.run(&for_store, stop, beat)),
        ),
        spawn(
            "poller",
            Box::new(move |stop, beat| manager.run(stop, beat)),
        ),
    ];
    Poller {
        snapshot,
        publications,
        clock,
        shutdown,
        nodes,
        threads,
    }
}

impl Poller {
    /// Moves time on until the snapshot is as wanted; how long that took by the poller's clock.
    fn until(&self, what: &str, is_there: impl Fn(&Snapshot) -> bool) -> Duration {
        let (began, real) = (self.clock.now(), Instant::now());
        loop {
            let snapshot = self.snapshot.load();
            if is_there(&snapshot) {
                return self.clock.now() - began;
            }
            assert!(
                !self.shutdown.is_tripped(),
                "the poller failed: {:?}",
                self.shutdown.reason()
            );
            assert!(
                real.elapsed() < PATIENCE,
                "{what} never came: {snapshot:#?}"
            );
            // Where nothing is told for a moment everybody waits for time to pass.
            if self
                .publications
                .recv_timeout(Duration::from_millis(5))
                .is_err()
            {
                self.clock.advance(Duration::from_millis(100));
            }
        }
    }

    /// Waits until the pot is what the contract holds, and the players make it up; then what is owed is left to see.
    fn until_played(&self, chain: &Chain, contract: Address) -> Duration {
        let pot = pot(chain, contract);
        self.until("the pot and its players", |snapshot| {
            let round = snapshot.round.as_ref();
            round.is_some_and(|round| round.total_pot_wei == pot)
                && snapshot.participants.total_amount_wei() == pot
        })
    }

    fn until_synced(&self, chain: &Chain) -> Duration {
        let head = chain.dev().head_number();
        self.until("all logs up to the head", |snapshot| {
            !snapshot.syncing && snapshot.head.is_some_and(|known| known.number == head)
        })
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load()
    }
}

fn pot(chain: &Chain, contract: Address) -> U256 {
    let lottery = Lottery {
        chain,
        address: contract,
    };
    lottery.round().total_pot_wei
}

/// Three bets of two players in blocks of their own.
fn bets(lottery: &Lottery) {
    for player in [2, 3, 2] {
        lottery.bet(player, BET_WEI * player as u64);
    }
}

/// The poller follows, then meets bets; the live state and the players are there within `most`.
fn plays_within(quirks: Vec<Box<Quirk>>, most: Duration) -> (Arc<Chain>, Address, Poller) {
    let chain = chain();
    let contract = chain.deploy(LONG).address;
    let poller = poller(&chain, contract, quirks);
    poller.until("the first round", |snapshot| snapshot.round.is_some());
    let lottery = Lottery {
        chain: &chain,
        address: contract,
    };
    bets(&lottery);
    let took = poller.until_played(&chain, contract);
    assert!(took <= most, "it took {took:?}");
    (chain, contract, poller)
}

const SOON: Duration = Duration::from_secs(4);

#[test]
fn on_a_sound_node_nothing_is_owed() {
    let (chain, _, poller) = plays_within(vec![sound()], SOON);
    poller.until_synced(&chain);
    let snapshot = poller.snapshot();
    assert_eq!(snapshot.owed.sentence(), None);
    assert_eq!(snapshot.participants.len(), 2);
    assert!(snapshot.config.is_some() && snapshot.connection.reachable);
}

/// Logs that nobody gives freeze nothing: the round is followed bet by bet, the players come from the contract, health
/// names what is owed, nobody is kept waiting for ever, and all of it is made up for when they come.
#[test]
fn logs_that_are_refused_everywhere_are_owed_and_freeze_nothing() {
    let refused = Arc::new(AtomicU64::new(1));
    let asked = refused.clone();
    let quirk: Box<Quirk> = Box::new(move |_, method, _| {
        let is_refused = method == "eth_getLogs" && asked.load(Ordering::SeqCst) == 1;
        is_refused.then(|| Err(error(-32_000, "the archive is closed on Thursdays")))
    });
    let (chain, contract, poller) = plays_within(vec![quirk], Duration::from_secs(12));
    poller.until("the name of what is owed", |snapshot| {
        let sentence = snapshot.owed.sentence().unwrap_or_default();
        sentence.contains("the feed is behind since block")
            && sentence.contains("asked for logs answered with an error")
    });
    let snapshot = poller.snapshot();
    assert!(snapshot.syncing && snapshot.owed.is_awaited);
    let shown = serde_json::to_string(&snapshot.owed.sentence()).unwrap();
    assert!(
        !shown.contains("Thursdays"),
        "a server's words are for the log: {shown}"
    );
    // The head moves on, and with it the round, to the end of the round and into the next.
    let lottery = Lottery {
        chain: &chain,
        address: contract,
    };
    lottery.operate("refundRound", &[]);
    let took = poller.until("the next round", |snapshot| {
        snapshot
            .round
            .as_ref()
            .is_some_and(|round| round.round_id == 2)
            && snapshot.participants.is_empty()
    });
    assert!(took <= SOON, "it took {took:?}");
    lottery.bet(4, BET_WEI);
    poller.until_played(&chain, contract);
    poller.until("no more waiting", |snapshot| !snapshot.owed.is_awaited);
    assert!(poller.snapshot().owed.is_stalled);
    refused.store(0, Ordering::SeqCst);
    poller.until_synced(&chain);
    poller.until("nothing owed", |snapshot| {
        snapshot.owed.sentence().is_none()
    });
    let snapshot = poller.snapshot();
    assert_eq!(
        snapshot.history.len(),
        1,
        "the ended round is in the history"
    );
    assert_eq!(snapshot.history[0].bets.len(), 3);
    assert_eq!(snapshot.participants.len(), 1);
}

/// A call that is never answered holds up nobody but itself.
#[test]
fn logs_that_never_come_freeze_nothing() {
    let (release, held): (_, Receiver<()>) = crossbeam_channel::bounded(0);
    let quirk: Box<Quirk> = Box::new(move |_, method, _| {
        if method == "eth_getLogs" {
            let _ = held.recv();
        }
        None
    });
    let (_chain, _, poller) = plays_within(vec![quirk], Duration::from_secs(30));
    drop(release);
    drop(poller);
}

/// A bloom that lies, or is none, hides no round; neither do other fields of a header that following can do without.
#[test]
fn what_a_header_tells_besides_may_be_anything() {
    let lying = format!("0x{}1", "0".repeat(511));
    for fields in [
        json!({"logsBloom": lying}),
        json!({"logsBloom": null, "gasLimit": "0x0", "mixHash": null}),
        json!({"logsBloom": "0x", "gasLimit": "0x10000000000000000", "mixHash": "0x0"}),
        json!({"logsBloom": "absent", "gasLimit": "absent", "mixHash": "absent", "baseFeePerGas": "absent"}),
        json!({"logsBloom": 7, "gasLimit": -1, "mixHash": {}, "baseFeePerGas": "much"}),
    ] {
        let odd = fields.clone();
        let quirk: Box<Quirk> = Box::new(move |chain, method, params| {
            let is_block = method.starts_with("eth_getBlockBy");
            is_block.then(|| {
                let mut block = chain.dev().rpc(method, params.clone()).unwrap_or_default();
                if let Some(block) = block.as_object_mut() {
                    block.extend(odd.as_object().unwrap().clone());
                    block.retain(|_, value| value != "absent");
                }
                Ok(block)
            })
        });
        let (chain, _, poller) = plays_within(vec![quirk], Duration::from_secs(25));
        poller.until_synced(&chain);
        assert_eq!(poller.snapshot().live_feed.len(), 5, "{fields}");
    }
}

/// Of two nodes the first fails one method in one way; of a single one, a method that following can do without.
#[test]
fn what_one_node_fails_at_stops_nothing() {
    let ways: [(&str, Failure); 6] = [
        ("an error of no known code", || {
            Err(error(-1, "computer says no"))
        }),
        ("an internal error", || {
            Err(error(-32_603, "Internal error"))
        }),
        ("a string for an error", || Err(json!("nope"))),
        ("null", || Ok(Value::Null)),
        ("the wrong type", || Ok(json!({"x": [1]}))),
        ("an empty string", || Ok(json!(""))),
    ];
    for method in [
        "eth_chainId",
        "eth_getBlockByNumber",
        "eth_getBlockByHash",
        "eth_getLogs",
        "eth_call",
        "eth_getCode",
    ] {
        for (way, fail) in ways {
            let of_first: Box<Quirk> = Box::new(move |_, asked, _| (asked == method).then(fail));
            let (chain, _, poller) = plays_within(vec![of_first, sound()], Duration::from_secs(12));
            let took = poller.until_synced(&chain);
            assert!(took <= Duration::from_secs(30), "{method}, {way}: {took:?}");
            assert_eq!(poller.snapshot().live_feed.len(), 5, "{method}, {way}");
        }
    }
    for method in [
        "eth_getLogs",
        "eth_getBlockByHash",
        "eth_getCode",
        "web3_clientVersion",
    ] {
        for (_, fail) in ways {
            let lone: Box<Quirk> = Box::new(move |_, asked, _| (asked == method).then(fail));
            plays_within(vec![lone], Duration::from_secs(15));
        }
    }
}

/// Tags, old headers, the configuration: the round is there without them.
#[test]
fn what_following_can_do_without_is_done_without() {
    let tags: Box<Quirk> = Box::new(|_, method, params| {
        let is_tag = matches!(params[0].as_str(), Some("safe" | "finalized"));
        (method == "eth_getBlockByNumber" && is_tag)
            .then(|| Err(error(-39_001, "what is finality, anyway?")))
    });
    let old_headers: Box<Quirk> = Box::new(|_, method, params| {
        let is_latest = params[0] == "latest";
        (method == "eth_getBlockByNumber" && !is_latest).then(|| Err(error(-32_000, "pruned")))
    });
    let config: Box<Quirk> = Box::new(|_, method, params| {
        let selector = hex_text(&get_config_calldata());
        let is_config = params[0]["data"].as_str() == Some(selector.as_str());
        (method == "eth_call" && is_config).then(|| Err(error(-32_000, "not today")))
    });
    let block_hashes: Box<Quirk> = Box::new(|_, method, params| {
        (method == "eth_call" && params[1].is_object())
            .then(|| Err(error(-32_602, "I do not speak 1898")))
    });
    for (what, quirk) in [
        ("finality", tags),
        ("old headers", old_headers),
        ("configuration", config),
        ("hashes in calls", block_hashes),
    ] {
        let (_, _, poller) = plays_within(vec![quirk], Duration::from_secs(15));
        let snapshot = poller.snapshot();
        assert!(snapshot.connection.reachable, "{what}");
        assert_eq!(snapshot.config.is_none(), what == "configuration");
    }
}

/// Only even numbers have a block, as on chains that skip slots.
#[test]
fn numbers_without_a_block_are_walked_over_by_parent() {
    let quirk: Box<Quirk> = Box::new(|chain, method, params| Some(sparse(chain, method, params)));
    let (chain, _, poller) = plays_within(vec![quirk], SOON);
    for _ in 0..30 {
        chain.dev().mine();
    }
    let head = 2 * chain.dev().head_number();
    poller.until("the head of the sparse chain", |snapshot| {
        snapshot.head.is_some_and(|known| known.number == head)
    });
    chain.dev().reorg(2, Reorged::Kept);
    let head = 2 * chain.dev().head_number();
    chain.dev().mine();
    poller.until("the head after a reorg", |snapshot| {
        snapshot.head.is_some_and(|known| known.number == head + 2)
    });
}

/// devchain's block n as block 2n, and no block of an odd number.
fn sparse(chain: &Chain, method: &str, params: &Value) -> Result<Value, Value> {
    let number = |value: &Value| {
        let text = value.as_str()?.strip_prefix("0x")?;
        u64::from_str_radix(text, 16).ok()
    };
    let mut params = params.clone();
    let is_block = method == "eth_getBlockByNumber";
    if let Some(asked) = number(&params[0]).filter(|_| is_block) {
        if asked % 2 == 1 {
            return Err(error(-32_001, "slot was skipped"));
        }
        params[0] = json!(format!("{:#x}", asked / 2));
    }
    if let Some(asked) = number(&params[1]).filter(|_| method == "eth_call") {
        params[1] = json!(format!("{:#x}", asked / 2));
    }
    if method == "eth_getLogs" && params[0].get("fromBlock").is_some() {
        let (from, to) = (
            number(&params[0]["fromBlock"]),
            number(&params[0]["toBlock"]),
        );
        params[0]["fromBlock"] = json!(format!("{:#x}", from.unwrap_or(0).div_ceil(2)));
        params[0]["toBlock"] = json!(format!("{:#x}", to.unwrap_or(0) / 2));
    }
    let mut answer = chain
        .dev()
        .rpc(method, params)
        .map_err(|text| error(-32_000, &text))?;
    let double = |item: &mut Value, key: &str| {
        if let Some(known) = number(&item[key]) {
            item[key] = json!(format!("{:#x}", 2 * known));
        }
    };
    match &mut answer {
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| double(item, "blockNumber")),
        Value::Object(_) if method.starts_with("eth_getBlock") => double(&mut answer, "number"),
        _ => {}
    }
    Ok(answer)
}

#[test]
fn what_is_not_the_lottery_is_named_and_one_deployed_later_is_taken_up() {
    let chain = chain();
    let rejector = {
        let data = hex_text(&devchain::rejector_bytecode());
        let deployment = json!({
            "from": format!("{:#x}", chain.account(0)), "data": data, "gas": "0x4c4b40",
        });
        chain.deployed(&chain.send(deployment)).address
    };
    let of_another = poller(&chain, rejector, vec![sound()]);
    of_another.until("the name of what is there", |snapshot| {
        let problem = snapshot.connection.problem.clone().unwrap_or_default();
        problem.contains("is not the lottery: getRound() ")
    });
    // Where the next contract of the publisher will be.
    let nonce = chain.rpc(
        "eth_getTransactionCount",
        json!([format!("{:#x}", chain.account(0)), "latest"]),
    );
    let nonce = u64::from_str_radix(nonce.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    let next = contract_address(chain.account(0), nonce);
    let early = poller(&chain, next, vec![sound()]);
    early.until("the name of the hole", |snapshot| {
        let expected = format!(
            "no contract at {} on chain {CHAIN_ID}",
            lottery::chain::types::to_checksum(&next)
        );
        snapshot.connection.problem.as_deref() == Some(expected.as_str())
    });
    assert!(!early.snapshot().connection.reachable);
    assert_eq!(chain.deploy(Timing::default()).address, next);
    let took = early.until("the lottery", |snapshot| {
        snapshot.round.is_some() && snapshot.connection.reachable
    });
    assert!(took <= Duration::from_secs(25), "it took {took:?}");
}

/// keccak of the list of sender and nonce, in RLP.
fn contract_address(sender: Address, nonce: u64) -> Address {
    use sha3::{Digest, Keccak256};
    assert!((1..128).contains(&nonce));
    let mut list = vec![0xc0 + 22, 0x80 + 20];
    list.extend_from_slice(sender.as_bytes());
    list.push(nonce as u8);
    Address::from_slice(&Keccak256::digest(&list)[12..])
}

/// A development node that was started anew shows lower numbers and later times: it is another chain, not a lag.
#[test]
fn a_chain_that_begins_anew_is_taken_up() {
    let (first, second) = (chain(), chain());
    let contract = first.deploy(LONG).address;
    assert_eq!(second.deploy(LONG).address, contract);
    for _ in 0..400 {
        first.dev().mine();
    }
    second.dev().increase_time(100_000);
    second.dev().mine();
    let begun_anew = Arc::new(AtomicU64::new(0));
    let (of, anew) = (begun_anew.clone(), second.clone());
    let quirk: Box<Quirk> = Box::new(move |_, method, params| {
        let is_anew = of.load(Ordering::SeqCst) == 1;
        is_anew.then(|| {
            let answer = anew.dev().rpc(method, params.clone());
            answer.map_err(|text| error(-32_000, &text))
        })
    });
    let poller = poller(&first, contract, vec![quirk]);
    poller.until_synced(&first);
    begun_anew.store(1, Ordering::SeqCst);
    let head = second.dev().head_number();
    let took = poller.until("the new chain", |snapshot| {
        snapshot.head.is_some_and(|known| known.number == head)
    });
    assert!(took <= Duration::from_secs(20), "it took {took:?}");
    assert_eq!(poller.snapshot().reorgs_total, 1);
}

/// While logs are refused and each call finds the head moved on, the players are read at one block all the same.
#[test]
fn players_are_read_at_one_block_whatever_the_head_does() {
    let (chain, asked_at) = (chain(), Arc::new(Mutex::new(Vec::new())));
    let contract = chain.deploy(LONG).address;
    let lottery = Lottery {
        chain: &chain,
        address: contract,
    };
    for player in 2..9 {
        lottery.bet(player, BET_WEI);
    }
    let noted = asked_at.clone();
    let quirk: Box<Quirk> = Box::new(move |chain, method, params| match method {
        "eth_getLogs" => Some(Err(error(-32_000, "no"))),
        "eth_call" => {
            let data = params[0]["data"].as_str().unwrap_or_default().to_owned();
            noted.lock().unwrap().push((data, params[1].clone()));
            chain.dev().mine();
            None
        }
        _ => None,
    });
    let poller = poller(&chain, contract, vec![quirk]);
    poller.until_played(&chain, contract);
    assert_eq!(poller.snapshot().participants.len(), 7);
    let asked = asked_at.lock().unwrap();
    let amounts: Vec<&Value> = asked
        .iter()
        .filter(|(data, _)| data.len() == 2 + 2 * 36)
        .map(|(_, at)| at)
        .collect();
    assert!(amounts.len() >= 7);
    assert!(
        amounts.windows(2).take(6).all(|pair| pair[0] == pair[1]),
        "{amounts:?}"
    );
}

/// A jump of the head by a thousand blocks, with logs a hundred blocks at a time.
#[test]
fn a_long_gap_is_made_up_for_while_the_state_is_live() {
    let limited: Box<Quirk> = Box::new(|_, method, params| {
        let number = |key: &str| {
            let text = params[0][key].as_str()?.strip_prefix("0x")?;
            u64::from_str_radix(text, 16).ok()
        };
        let is_wide = number("toBlock")? - number("fromBlock")? >= 100;
        (method == "eth_getLogs" && is_wide).then(|| Err(error(-32_000, "that is too much for me")))
    });
    let (chain, contract, poller) = plays_within(vec![limited], SOON);
    poller.until_synced(&chain);
    for _ in 0..1_000 {
        chain.dev().mine();
    }
    let lottery = Lottery {
        chain: &chain,
        address: contract,
    };
    lottery.bet(5, BET_WEI);
    let pot = pot(&chain, contract);
    let took = poller.until("the live pot", |snapshot| {
        snapshot
            .round
            .as_ref()
            .is_some_and(|round| round.total_pot_wei == pot)
    });
    assert!(took <= SOON, "it took {took:?}");
    poller.until_synced(&chain);
    let snapshot = poller.snapshot();
    assert_eq!(snapshot.participants.total_amount_wei(), pot);
    assert_eq!(snapshot.live_feed.len(), 6);
}

/// At rest a block costs a call for its head, and a little for the rest.
#[test]
fn a_quiet_chain_is_asked_little() {
    let (chain, _, poller) = plays_within(vec![sound()], SOON);
    poller.until_synced(&chain);
    let asked_before = poller.nodes[0].asked().len();
    let began = poller.clock.now();
    let mut mined = 0;
    while poller.clock.now() - began < Duration::from_secs(60) {
        chain.dev().increase_time(2);
        chain.dev().mine();
        mined += 1;
        let head = chain.dev().head_number();
        let soon = poller.until("the block", |snapshot| {
            snapshot.head.is_some_and(|known| known.number == head)
        });
        assert!(soon <= Duration::from_secs(2));
        poller
            .clock
            .advance(Duration::from_secs(2).saturating_sub(soon));
    }
    let asked = poller.nodes[0].asked().len() - asked_before;
    assert!(
        asked <= 2 * mined + 20,
        "{asked} requests for {mined} blocks"
    );
}
