//! One daemon for hours on anvil, with a block a second, behind two endpoints of which each fails at random and recovers:
//! round after round is played, and each minute told what the daemon holds of memory and descriptors and what it logged.
//! Ends with an error when a window was missed, a round was refunded, a transaction reverted, or what it holds grew.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use devchain::{Fault, Faults, Relay};
use serde_json::json;

use support::chain::{wait_for, Chain, Lottery, Timing};
use support::daemon::{Daemon, Options};
use support::random::Random;
use support::BET_WEI;

use crate::problems;

/// A sound stretch and an ill one are each as long as this at most; the window is longer, so that both can be ill in it.
const SOUND_SECS_MAX: u64 = 30;
const ILL_SECS_MAX: u64 = 20;
/// In an hour the live feed's thousand events come in some forty minutes; what is held after that has no more reason to grow.
const SETTLED_PART: (u32, u32) = (3, 4);
/// What may be held at the end beyond what was held when all had settled.
const GROWN_MAX_KIB: u64 = 1_024;
const GROWN_MAX_DESCRIPTORS: usize = 8;
const SEND: &str = "eth_sendRawTransaction";

/// What the daemon has at a moment.
#[derive(Clone, Copy)]
struct Held {
    memory_kib: u64,
    descriptors: usize,
}

impl Held {
    fn by(daemon: &Daemon) -> Held {
        Held {
            memory_kib: daemon.allocated_kib(),
            descriptors: daemon.descriptors(),
        }
    }
}

#[derive(Default)]
struct Tally {
    rounds: u64,
    lines: usize,
    /// Those among them that are warnings or errors.
    warnings: usize,
    /// When all had settled, and at the end.
    held: Option<(Held, Held)>,
}

/// Plays for so long, prints what it saw, and answers whether all went well.
pub fn play(time: Duration, seed: u64) -> bool {
    let chain = Chain::anvil(1);
    let relay = Relay::start(&chain.url, 2).expect("loopback has free ports");
    let lottery = chain.deploy(Timing {
        betting: 10,
        min_draw_delay: 2,
        max_draw_delay: 45,
        min_extension: 20,
    });
    let (begun, _) = chain.head();
    let urls: Vec<String> = relay.endpoints().iter().map(|one| one.url()).collect();
    let options = Options {
        config: json!({"blockchain": {"rpc_url": urls, "rpc_timeout": 2}}),
        quiet: true,
        ..Options::default()
    };
    let daemon = Daemon::start(&lottery, options);
    daemon.wait_ready();
    let stopping = AtomicBool::new(false);
    let tally = std::thread::scope(|scope| {
        for (number, endpoint) in (1..).zip(relay.endpoints()) {
            let random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(number));
            let (faults, stopping) = (&endpoint.faults, &stopping);
            scope.spawn(move || fall_ill_and_recover(faults, random, stopping));
        }
        let tally = watch(&lottery, &daemon, time);
        stopping.store(true, Ordering::SeqCst);
        tally
    });
    let met = vec!["ill endpoints"; tally.rounds as usize];
    let mut problems = problems(&lottery, begun, &met);
    problems.extend(growth(&tally));
    let struck: u64 = relay
        .endpoints()
        .iter()
        .map(|one| one.faults.struck())
        .sum();
    println!(
        "{} rounds on anvil in {:.0} min with seed {seed}, {struck} requests met a fault, {:.1} lines logged a round, {:.1} of \
         them warnings or errors: {} problems",
        tally.rounds,
        time.as_secs_f64() / 60.0,
        tally.lines as f64 / tally.rounds as f64,
        tally.warnings as f64 / tally.rounds as f64,
        problems.len()
    );
    for problem in &problems {
        println!("  {problem}");
    }
    problems.is_empty()
}

/// Round after round; each minute is told.
fn watch(lottery: &Lottery, daemon: &Daemon, time: Duration) -> Tally {
    let mut tally = Tally::default();
    let started = Instant::now();
    let mut told_minutes = 0;
    while started.elapsed() < time {
        tally.rounds += 1;
        lottery.bet(2, BET_WEI);
        lottery.bet(3, BET_WEI);
        wait_for("the round's end", || {
            (lottery.round().round_id > tally.rounds).then_some(())
        });
        let logged = daemon.logged();
        tally.lines += logged.len();
        tally.warnings += logged.iter().filter(|line| is_warning(line)).count();
        // Why it was, only the daemon can tell.
        let reverts = logged.iter().filter(|line| line.contains("revert"));
        reverts.for_each(|line| println!("  round {}: {line}", tally.rounds));
        let held = Held::by(daemon);
        let minutes = started.elapsed().as_secs() / 60;
        if minutes > told_minutes {
            told_minutes = minutes;
            println!(
                "{minutes:4} min: {} rounds, {} KiB, {} descriptors, {} lines logged, {} of them warnings or errors",
                tally.rounds, held.memory_kib, held.descriptors, tally.lines, tally.warnings
            );
        }
        let (part, whole) = SETTLED_PART;
        if started.elapsed() >= time / whole * part {
            let settled = tally.held.map_or(held, |(settled, _)| settled);
            tally.held = Some((settled, held));
        }
    }
    tally
}

/// What it holds more than it should.
fn growth(tally: &Tally) -> Vec<String> {
    let Some((settled, last)) = tally.held else {
        return vec!["the time was too short to see what it holds".to_owned()];
    };
    println!(
        "held when all had settled and at the end: {} and {} KiB, {} and {} descriptors",
        settled.memory_kib, last.memory_kib, settled.descriptors, last.descriptors
    );
    let has_grown = [
        (
            "memory",
            last.memory_kib > settled.memory_kib + GROWN_MAX_KIB,
        ),
        (
            "descriptors",
            last.descriptors > settled.descriptors + GROWN_MAX_DESCRIPTORS,
        ),
    ];
    has_grown
        .iter()
        .filter(|(_, grew)| *grew)
        .map(|(what, _)| format!("{what} grew"))
        .collect()
}

fn is_warning(line: &str) -> bool {
    line.contains(" WARN ") || line.contains(" ERROR ")
}

fn fall_ill_and_recover(faults: &Faults, mut random: Random, stopping: &AtomicBool) {
    while !stopping.load(Ordering::SeqCst) {
        pass(1 + random.below(SOUND_SECS_MAX), stopping);
        let (fault, method) = illness(&mut random);
        faults.add(fault, method, None);
        pass(1 + random.below(ILL_SECS_MAX), stopping);
        faults.clear();
    }
}

fn pass(secs: u64, stopping: &AtomicBool) {
    let until = Instant::now() + Duration::from_secs(secs);
    while Instant::now() < until && !stopping.load(Ordering::SeqCst) {
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

fn illness(random: &mut Random) -> (Fault, Option<&'static str>) {
    let methods = [
        None,
        None,
        Some("eth_call"),
        Some("eth_getLogs"),
        Some("eth_getBlockByNumber"),
        Some("eth_getTransactionReceipt"),
        Some("eth_getTransactionCount"),
        Some(SEND),
    ];
    let method = *random.pick(&methods);
    let error = |message: &str| Fault::Error {
        code: -32_000,
        message: message.to_owned(),
    };
    let fault = match random.below(11) {
        0 => Fault::Status(503, None),
        1 => Fault::Status(429, Some(1 + random.below(5))),
        2 => Fault::Html,
        3 => Fault::Truncated,
        4 => Fault::Reset,
        5 => Fault::ResetAfter,
        // Longer than the daemon waits, and shorter.
        6 => Fault::Latency(Duration::from_secs(3)),
        7 => Fault::Latency(Duration::from_millis(50 + random.below(1_000))),
        8 => error("internal error"),
        9 => Fault::Null,
        _ => return (Fault::Swallow, Some(SEND)),
    };
    (fault, method)
}
