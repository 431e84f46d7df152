//! Many short rounds, each with a random fault around its draw, on several chains side by side. Ends with an error when
//! a window was missed, a round was refunded without need, or a transaction of the operator reverted (a double send
//! would). The seed decides which round meets which fault.
//!
//! `cargo bench --bench soak` plays 1,000 rounds in about six minutes; `-- --rounds 20 --seed 7` fewer, or other ones.
//! `-- --minutes 60` watches one daemon for an hour instead, on anvil behind two endpoints that fail at random; it needs
//! anvil (the program named by ANVIL, or on the path).

mod hours;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use devchain::{Config, Fault, Mining, Reorged};
use serde_json::{json, Value};

use support::chain::{hex_address, wait_for, Chain, Lottery, Timing, OPERATOR};
use support::daemon::{Daemon, Options};
use support::random::Random;
use support::BET_WEI;

const LANES_MAX: u64 = 32;
const SEND: &str = "eth_sendRawTransaction";
const FAULTS: [&str; 18] = [
    "nothing",
    "swallowed",
    "sent, and no answer",
    "refused with an error",
    "HTTP 503",
    "no preflight",
    "broken bodies",
    "slow answers",
    "an endpoint hangs",
    "base fee x5",
    "not mined for 2 blocks",
    "dropped from the pool",
    "a foreign transaction",
    "reorg, the pool keeps",
    "reorg, the pool forgets",
    "kill -9",
    "not mined before the window closes",
    "HTTP 429",
];
const REFUSALS: [&str; 6] = [
    "already known",
    "replacement transaction underpriced",
    "nonce too low",
    "nonce too high",
    "txpool is full",
    "transaction underpriced",
];

#[derive(Default)]
struct Tally {
    rounds: BTreeMap<&'static str, usize>,
    problems: Vec<String>,
    /// Resident KiB of a daemon that was never restarted: after a fifth of its rounds, and at the end.
    memory_kib: Option<(u64, u64)>,
}

fn main() {
    let (mut rounds, mut seed, mut minutes) = (1_000, 1, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let number = |text: Option<String>| text.and_then(|text| text.parse().ok());
        match argument.as_str() {
            "--rounds" => rounds = number(arguments.next()).expect("--rounds takes a number"),
            "--seed" => seed = number(arguments.next()).expect("--seed takes a number"),
            "--minutes" => {
                minutes = Some(number(arguments.next()).expect("--minutes takes a number"));
            }
            // Cargo's own.
            "--bench" => {}
            other => panic!("{other}: known are --rounds, --minutes and --seed"),
        }
    }
    if let Some(minutes) = minutes {
        let is_well = hours::play(Duration::from_secs(60 * minutes), seed);
        std::process::exit(i32::from(!is_well));
    }
    let lanes = (rounds / 5).clamp(1, LANES_MAX);
    let started = Instant::now();
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..lanes)
            .map(|lane| {
                let share = rounds / lanes + u64::from(lane < rounds % lanes);
                scope.spawn(move || play_lane(lane, share, seed))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let mut met: BTreeMap<&str, usize> = BTreeMap::new();
    for tally in &tallies {
        for (fault, count) in &tally.rounds {
            *met.entry(fault).or_default() += count;
        }
    }
    for (fault, count) in &met {
        println!("{count:6}  {fault}");
    }
    for (before, after) in tallies.iter().filter_map(|tally| tally.memory_kib) {
        println!("memory: {before} KiB after a fifth of the rounds, {after} KiB at the end");
    }
    let problems: Vec<&String> = tallies.iter().flat_map(|tally| &tally.problems).collect();
    println!(
        "{} rounds on {lanes} chains with seed {seed} in {:.0} s: {} problems",
        met.values().sum::<usize>(),
        started.elapsed().as_secs_f64(),
        problems.len()
    );
    for problem in &problems {
        println!("  {problem}");
    }
    std::process::exit(i32::from(!problems.is_empty()));
}

fn start(lottery: &Lottery) -> Daemon {
    let urls = lottery.chain.urls(2);
    let options = Options {
        config: json!({"blockchain": {"rpc_url": urls, "rpc_timeout": 2}}),
        quiet: true,
        ..Options::default()
    };
    Daemon::start(lottery, options)
}

fn play_lane(lane: u64, rounds: u64, seed: u64) -> Tally {
    let config = Config {
        mining: Mining::IntervalMs(1_000),
        ..Config::default()
    };
    let chain = Chain::devchain_on(config, 2);
    let lottery = chain.deploy(Timing {
        betting: 4,
        min_draw_delay: 1,
        max_draw_delay: 13,
        min_extension: 20,
    });
    let mut daemon = start(&lottery);
    let mut random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(lane));
    let (mut tally, mut early_kib) = (Tally::default(), 0);
    let mut met = Vec::new();
    let begun = chain.dev().head_number();
    for round_id in 1..=rounds {
        let mut fault = *random.pick(&FAULTS);
        // Half of the daemons live through it all, so that their memory can be watched.
        if fault == "kill -9" && lane.is_multiple_of(2) {
            fault = FAULTS[0];
        }
        *tally.rounds.entry(fault).or_default() += 1;
        met.push(fault);
        lottery.bet(2, BET_WEI);
        lottery.bet(3, BET_WEI);
        let min_draw_time = lottery.round().min_draw_time;
        wait_for("the window", || {
            (chain.dev().head_timestamp() + 2 >= min_draw_time).then_some(())
        });
        if fault == "kill -9" {
            drop(daemon);
            daemon = start(&lottery);
        } else {
            strike(fault, &lottery, &mut random);
        }
        let ended = || (lottery.round().round_id > round_id).then_some(());
        wait_for("the round's end", ended);
        if let "reorg, the pool keeps" | "reorg, the pool forgets" = fault {
            let fate = match fault {
                "reorg, the pool keeps" => Reorged::Kept,
                _ => Reorged::Dropped,
            };
            chain.dev().reorg(1 + random.below(2), fate);
            wait_for("the round's end after the reorg", ended);
        }
        for endpoint in chain.dev().endpoints() {
            endpoint.faults.clear();
        }
        chain.dev().drop_pending_after(None);
        chain.dev().hold_transactions(false);
        if round_id == rounds.div_ceil(5) {
            early_kib = daemon.resident_kib();
        }
    }
    if lane.is_multiple_of(2) {
        tally.memory_kib = Some((early_kib, daemon.resident_kib()));
    }
    tally.problems = problems(&lottery, begun, &met);
    for problem in &mut tally.problems {
        problem.insert_str(0, &format!("chain {lane}: "));
    }
    tally
}

fn strike(fault: &str, lottery: &Lottery, random: &mut Random) {
    let (chain, dev) = (lottery.chain, lottery.chain.dev());
    let all = |fault: Fault, method: Option<&str>, times: u32| {
        for endpoint in &dev.endpoints()[..2] {
            endpoint.faults.add(fault.clone(), method, Some(times));
        }
    };
    let times = 1 + random.below(6) as u32;
    match fault {
        "swallowed" => all(Fault::Swallow, Some(SEND), 1),
        "sent, and no answer" => all(Fault::ResetAfter, Some(SEND), times),
        "refused with an error" => {
            let message = (*random.pick(&REFUSALS)).to_owned();
            all(
                Fault::Error {
                    code: -32_000,
                    message,
                },
                Some(SEND),
                1,
            );
        }
        "HTTP 503" => {
            // Nobody answers for up to half of the window.
            all(Fault::Status(503, None), None, u32::MAX);
            dev.wait_for_block(
                dev.head_number() + u64::from(times),
                Duration::from_secs(60),
            );
            dev.endpoints()[..2]
                .iter()
                .for_each(|endpoint| endpoint.faults.clear());
        }
        "HTTP 429" => all(Fault::Status(429, Some(1)), None, times),
        "no preflight" => all(Fault::Reset, Some("eth_call"), times),
        "broken bodies" => {
            all(Fault::Truncated, None, times);
            all(Fault::Html, None, times);
        }
        "slow answers" => all(Fault::Latency(Duration::from_millis(200)), None, 5 * times),
        "an endpoint hangs" => dev.faults().add(Fault::Hang, None, Some(times)),
        "base fee x5" => {
            let fee = json!([10_000_000_000u64]);
            chain.rpc("anvil_setNextBlockBaseFeePerGas", fee);
        }
        "not mined for 2 blocks" => hold(dev, 4),
        "dropped from the pool" => {
            dev.drop_pending_after(Some(1));
            hold(dev, 4);
        }
        "a foreign transaction" => {
            dev.hold_transactions(true);
            send_from_elsewhere(chain);
            hold(dev, 3);
        }
        "not mined before the window closes" => {
            dev.hold_transactions(true);
            let closes = lottery.round().max_draw_time;
            wait_for("the window's end", || {
                (dev.head_timestamp() > closes).then_some(())
            });
            dev.hold_transactions(false);
        }
        _ => {}
    }
}

/// A transaction of the operator's account that is not the daemon's.
fn send_from_elsewhere(chain: &Chain) {
    let operator = hex_address(chain.account(OPERATOR));
    let nonce = chain.rpc("eth_getTransactionCount", json!([operator, "latest"]));
    // Another one of the daemon's may be in the pool already and be worth more.
    let _ = chain.try_rpc(
        "eth_sendTransaction",
        json!([{
            "from": operator, "to": operator, "nonce": nonce, "gas": "0x5208",
            "maxFeePerGas": "0xba43b7400", "maxPriorityFeePerGas": "0xba43b7400",
        }]),
    );
}

/// No transaction is mined for so many blocks.
fn hold(dev: &devchain::Devchain, blocks: u64) {
    dev.hold_transactions(true);
    dev.wait_for_block(dev.head_number() + blocks, Duration::from_secs(60));
    dev.hold_transactions(false);
}

/// What the chain says of the rounds: each ended once, drawn unless it could not be, and nothing reverted.
fn problems(lottery: &Lottery, begun: u64, met: &[&str]) -> Vec<String> {
    let mut problems = Vec::new();
    let ids = |event: &str| -> Vec<u64> {
        let id = |log: &Value| u64::from_str_radix(&log["topics"][1].as_str().unwrap()[2..], 16);
        lottery
            .logs(event)
            .iter()
            .map(|log| id(log).unwrap())
            .collect()
    };
    let (drawn, refunded) = (ids("RoundCompleted"), ids("RoundRefunded"));
    for (round_id, fault) in (1..).zip(met) {
        let count = |ended: &[u64]| ended.iter().filter(|id| **id == round_id).count();
        let expected = match *fault {
            "not mined before the window closes" => (0, 1),
            _ => (1, 0),
        };
        let found = (count(&drawn), count(&refunded));
        if found != expected {
            problems.push(format!(
                "round {round_id} ({fault}): (drawn, refunded) {found:?}, expected {expected:?}"
            ));
        }
    }
    let (operator, contract) = (
        hex_address(lottery.chain.account(OPERATOR)),
        hex_address(lottery.address),
    );
    for number in begun + 1..=lottery.chain.head().0 {
        let receipts = lottery
            .chain
            .rpc("eth_getBlockReceipts", json!([format!("0x{number:x}")]));
        for receipt in receipts.as_array().unwrap() {
            let ours = receipt["from"] == operator && receipt["to"] == contract;
            if ours && receipt["status"] != "0x1" {
                problems.push(format!("a transaction reverted in block {number}"));
            }
        }
    }
    problems
}
