//! Several endpoints that fail in turn, each in its own way; history far below the head; news by subscription.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use devchain::{Config, Fault, Mining, Reorged};
use lottery::base::clock::Clock;
use lottery::base::metrics::Metrics;
use lottery::chain::http::{Http, HttpSettings};
use lottery::chain::node;
use serde_json::{json, Value};

use crate::following::{differences, follower_options, fresh, in_step, LONG};
use support::chain::{wait_for, Chain, Lottery, Timing};
use support::daemon::{Daemon, Options};
use support::follower::Follower;
use support::BET_WEI;

fn on_demand(endpoints: usize) -> Chain {
    let config = Config {
        mining: Mining::Automatic,
        ..Config::default()
    };
    Chain::devchain_on(config, endpoints)
}

fn mine(chain: &Chain, blocks: u64) {
    for _ in 0..blocks {
        chain.dev().mine();
    }
}

/// With a block a second; one of the three endpoints is always good, and each phase has a draw due.
#[test]
fn with_one_good_endpoint_of_three_nothing_is_late() {
    let config = Config {
        mining: Mining::IntervalMs(1_000),
        ..Config::default()
    };
    let chain = Chain::devchain_on(config, 3);
    let lottery = chain.deploy(Timing::default());
    let daemon = Daemon::start(
        &lottery,
        Options {
            config: json!({"blockchain": {"rpc_url": chain.urls(3)}}),
            env: vec![("RUST_LOG", "lottery=debug".to_owned())],
            ..Options::default()
        },
    );
    daemon.wait_ready();
    let endpoints = chain.dev().endpoints();
    let strike = |place: usize, fault: Fault| endpoints[place].faults.add(fault, None, None);
    let phases: [&dyn Fn(); 5] = [
        &|| {
            strike(0, Fault::Hang);
            strike(1, Fault::Status(503, None));
        },
        &|| {
            let head = chain.dev().head_number();
            endpoints[1].faults.set(|it| it.frozen_at = Some(head));
            strike(2, Fault::Reset);
        },
        &|| {
            strike(0, Fault::Html);
            strike(2, Fault::Status(429, Some(2)));
        },
        &|| {
            endpoints[0].faults.set(|it| it.lag_blocks = 8);
            strike(1, Fault::Null);
        },
        &|| {
            strike(1, Fault::Latency(Duration::from_secs(3)));
            strike(2, Fault::Truncated);
        },
    ];
    let mut worst = [0; 5];
    for (phase, begin) in phases.iter().enumerate() {
        let round_id = lottery.round().round_id;
        lottery.bet(2, BET_WEI);
        lottery.bet(3, BET_WEI);
        endpoints[..3].iter().for_each(|it| it.faults.clear());
        begin();
        lottery.skip_to(lottery.round().min_draw_time - 3);
        let until = Instant::now() + Duration::from_secs(40);
        while lottery.winner_of(round_id).is_none() {
            assert!(
                Instant::now() < until,
                "round {round_id} was not drawn in phase {phase}"
            );
            let (_, round) = daemon.get("/api/round/status");
            let shown = round["asOf"]["blockNumber"].as_u64().unwrap();
            worst[phase] = worst[phase].max(chain.dev().head_number().saturating_sub(shown));
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
    assert!(
        worst.iter().all(|secs| *secs <= 5),
        "the state was {worst:?} s old"
    );
}

fn finished_ids(daemon: &Daemon) -> Vec<u64> {
    let (_, history) = daemon.get("/api/history?limit=20");
    let rounds = history["rounds"].as_array().unwrap();
    rounds
        .iter()
        .map(|row| row["roundId"].as_u64().unwrap())
        .collect()
}

/// 22 rounds, then many empty blocks; the daemon comes late.
fn history_comes_back(limit: Option<(u64, &str)>) {
    let chain = on_demand(1);
    let lottery = chain.deploy(LONG);
    for round in 0..22 {
        lottery.bet(2 + round % 3, BET_WEI);
        lottery.operate("refundRound", &[]);
    }
    lottery.bet(2, BET_WEI);
    mine(&chain, 3_000);
    let faults = chain.dev().faults();
    faults.set(|it| it.log_range = limit.map(|(most, message)| (most, message.to_owned())));
    // Slow enough that the beginning can be seen.
    faults.add(
        Fault::Latency(Duration::from_millis(500)),
        Some("eth_getLogs"),
        Some(2),
    );
    let daemon = Daemon::start(&lottery, follower_options(&chain.urls(1)));
    assert_eq!(daemon.get("/").0, 200);
    let first = wait_for("the round's state", || {
        let (_, round) = daemon.get("/api/round/status");
        (round["roundId"] == 23).then_some(round)
    });
    assert_eq!(first["asOf"]["syncing"], true, "{first}");
    wait_for("the end of the walk back", || in_step(&daemon, &chain));
    assert_eq!(finished_ids(&daemon), (3..=22).rev().collect::<Vec<u64>>());
    let (_, participants) = daemon.get("/api/round/participants");
    assert_eq!(participants["totalAmountWei"], BET_WEI.to_string());
}

#[test]
fn the_history_is_back_after_a_restart_from_far_below() {
    history_comes_back(None);
}

#[test]
fn the_history_is_back_where_logs_come_a_hundred_blocks_at_a_time() {
    history_comes_back(Some((100, "eth_getLogs is limited to a 100 block range")));
}

/// What endpoints say when a range is too long, with 100 blocks allowed.
#[test]
fn every_way_of_refusing_a_range_is_understood() {
    let chain = on_demand(1);
    let lottery = chain.deploy(LONG);
    for bet in 0..12 {
        lottery.bet(2 + bet % 3, BET_WEI);
        mine(&chain, 70);
    }
    let head = chain.dev().head_number();
    for message in [
        "query exceeds limit, this block range should work: [0x0, 0x63]",
        "Log response size exceeded. try with this block range [0x0,0x63].",
        "exceeded max range: 100",
        "eth_getLogs is limited to a 100 range",
        "you can query at most 100 blocks",
        "block range is too wide",
        "query returned more than 10000 results",
        "query exceeds max results 20000",
        "response size exceeded the limit",
        "exceed maximum block range",
        "block range exceeds maximum rpc range limit",
    ] {
        let faults = chain.dev().faults();
        faults.set(|it| it.log_range = Some((100, message.to_owned())));
        let settings = HttpSettings {
            timeout: Duration::from_secs(10),
            ..HttpSettings::default()
        };
        let http = Http::new(&chain.dev().url(), &settings).unwrap();
        let clock = Clock::system();
        let endpoint = node::Endpoint::over(Arc::new(http), clock, Metrics::default());
        let (mut below, mut seen) = (head + 1, HashSet::new());
        while below > 0 {
            let chunk = endpoint.log_chunk(lottery.address, (0, below - 1), false);
            let chunk = chunk.unwrap_or_else(|error| panic!("{message}: {error}"));
            let logs = chunk.logs.iter();
            seen.extend(logs.map(|log| (log.block_hash, log.log_index)));
            below = chunk.first.number;
        }
        // Each bet has one log, the first one starts the round as well, and the deployment set the betting's duration.
        assert_eq!(seen.len(), 14, "{message}");
    }
}

/// History that does not come, in words that are in no list: the log says so once, and when it is over.
#[test]
fn logs_that_nobody_gives_are_told_in_the_log_once() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let refused = Fault::Error {
        code: -32_000,
        message: "the archive is closed on Thursdays".to_owned(),
    };
    chain.dev().faults().add(refused, Some("eth_getLogs"), None);
    let daemon = Daemon::start(&lottery, Options::default());
    let told = |lines: &[String]| {
        let told = lines.iter().filter(|line| line.contains("cannot be read"));
        told.count()
    };
    let lines = daemon.log_until("the logs of older rounds cannot be read");
    assert_eq!(told(&lines), 1, "{lines:#?}");
    let line = lines.last().unwrap();
    assert!(
        line.contains(" WARN ") && line.contains("Thursdays"),
        "{line}"
    );
    let head = chain.dev().head_number();
    wait_for("more tries", || {
        (chain.dev().head_number() >= head + 15).then_some(())
    });
    chain.dev().faults().clear();
    let lines = daemon.log_until("logs can be read again");
    assert_eq!(told(&lines), 0, "{lines:#?}");
}

/// A generator of plays: small, and the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Random blocks of bets and ends of rounds, and random reorgs; after each step the daemon and a client that followed
/// all along hold what a fresh start holds.
fn random_chain(seed: u64, subscribed: bool) {
    let config = Config {
        mining: Mining::Automatic,
        ..Config::default()
    };
    let chain = Chain::devchain_on(config, 1);
    let lottery = chain.deploy(LONG);
    mine(&chain, 20);
    chain.dev().set_mining(Mining::Manual);
    let mut options = follower_options(&chain.urls(1));
    if subscribed {
        let url = chain.dev().url();
        options.config["blockchain"]["rpc_url"] = json!([url, url.replace("http", "ws")]);
        options.config["event_manager"]["event_source"] = json!("eth_subscribe");
    }
    let daemon = Daemon::start(&lottery, options);
    wait_for("the daemon at the head", || in_step(&daemon, &chain));
    let mut follower = Follower::connect(&daemon);
    // Small seeds alone would begin alike.
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut played = Vec::new();
    for _ in 0..8 {
        for _ in 0..1 + dice.roll(4) {
            played.push(step(&chain, &lottery, &mut dice));
        }
        let expected = fresh(&lottery);
        assert!(
            follower.follow_until(&expected),
            "seed {seed}, {played:#?}\n{}",
            differences(&follower.of_the_chain(), &expected, "")
        );
    }
}

fn step(chain: &Chain, lottery: &Lottery, dice: &mut Dice) -> String {
    let dev = chain.dev();
    match dice.roll(8) {
        0..=4 => {
            let bets = 1 + dice.roll(3);
            for _ in 0..bets {
                let player = 2 + dice.roll(4) as usize;
                let wei = BET_WEI * (1 + dice.roll(5));
                chain.submit(&lottery.transaction(player, "placeBet", &[], wei));
            }
            dev.mine();
            format!("{bets} bets in a block")
        }
        5 if !lottery.round().total_pot_wei.is_zero() => {
            chain.submit(&lottery.transaction(support::chain::OPERATOR, "refundRound", &[], 0));
            dev.mine();
            "a refund".to_owned()
        }
        5 => {
            dev.mine();
            "an empty block".to_owned()
        }
        roll => {
            let depth = 1 + dice.roll(12);
            let transactions = match roll {
                6 => Reorged::Kept,
                _ => Reorged::Dropped,
            };
            dev.reorg(depth, transactions);
            format!("a reorg of {depth}, transactions {transactions:?}")
        }
    }
}

#[test]
fn random_reorgs_of_random_chains_leave_what_a_fresh_start_holds() {
    let plays: Vec<_> = (1..=4u64)
        .map(|seed| std::thread::spawn(move || random_chain(seed, seed % 2 == 0)))
        .collect();
    plays.into_iter().for_each(|play| play.join().unwrap());
}

/// Polling alone would take half a minute to see a bet here.
fn announced_bets(chain: &Chain, ws_url: &str) {
    let lottery = chain.deploy(LONG);
    let daemon = Daemon::start(
        &lottery,
        Options {
            config: json!({
                "blockchain": {"rpc_url": [chain.url, ws_url]},
                "event_manager": {"event_source": "eth_subscribe", "event_poll_interval_sec": 30},
            }),
            without_key: true,
            ..Options::default()
        },
    );
    daemon.wait_log("subscribed");
    wait_for("the state", || {
        let (_, round) = daemon.get("/api/round/status");
        (round["asOf"]["syncing"] == false).then_some(())
    });
    let mut feed = daemon.feed("");
    for bets in 1..=5u64 {
        let began = Instant::now();
        lottery.bet(2, BET_WEI);
        feed.wait("participants_update", |payload| {
            payload["totalAmountWei"].as_str() == Some(&(bets * BET_WEI).to_string())
        });
        let took = began.elapsed();
        assert!(
            took < Duration::from_secs(10),
            "bet {bets} was polled for: {took:?}"
        );
    }
    let (_, participants) = daemon.get("/api/round/participants");
    assert_eq!(
        participants["participants"].as_array().map(Vec::len),
        Some(1)
    );
}

#[test]
fn bets_are_announced_by_devchain() {
    let chain = on_demand(0);
    announced_bets(&chain, &chain.url.replace("http", "ws"));
}

#[test]
#[ignore = "needs anvil"]
fn bets_are_announced_by_anvil() {
    let chain = Chain::anvil_with(&[]);
    announced_bets(&chain, &chain.url.replace("http", "ws"));
}

#[test]
fn a_subscription_without_its_endpoint_is_told_at_the_start() {
    let dir = tempfile::TempDir::new().unwrap();
    let run = |url: &Value| {
        let config = json!({
            "blockchain": {"rpc_url": url, "chain_id": 1, "contract_address": format!("0x{}", "11".repeat(20))},
            "event_manager": {"event_source": "eth_subscribe"},
        });
        std::fs::write(dir.path().join("lottery.conf"), config.to_string()).unwrap();
        let output = support::daemon::lottery_in(&dir).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let without = run(&json!("http://127.0.0.1:1"));
    assert!(
        without.contains("a ws:// or wss:// URL in the list"),
        "{without}"
    );
    let alone = run(&json!("ws://127.0.0.1:1/secret"));
    assert!(alone.contains("one with http(s)://"), "{alone}");
    assert!(!alone.contains("secret"), "{alone}");
}
