//! What things cost, with the method beside each figure. Nothing here passes or fails: it prints.
//!
//! `cargo bench --bench bench` takes about three minutes; `-- --smoke` runs everything once, briefly.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lottery::base::clock::Clock;
use lottery::web::stream::Stream;
use lottery::web::view::{self, Deployment};
use serde_json::Value;

use support::chain::{Chain, Timing};
use support::daemon::{Daemon, Options};
use support::publications::{advance, bet, publication, state_with};
use support::quantile::quantile;
use support::BET_WEI;

fn main() {
    let smoke = std::env::args().any(|argument| argument == "--smoke");
    println!("medians and 95th percentiles; on a shared machine read ratios rather than absolute times\n");
    reducer(if smoke { 50 } else { 2_000 });
    encoding(if smoke { 20 } else { 500 });
    latencies(if smoke { 3 } else { 40 });
    idle(Duration::from_secs(if smoke { 3 } else { 60 }));
}

/// Prints median and 95th percentile of durations.
fn print(name: &str, mut samples: Vec<Duration>) {
    println!(
        "{name:58} median {:>11.3?}   p95 {:>11.3?}   n {}",
        quantile(&mut samples, 50),
        quantile(&mut samples, 95),
        samples.len()
    );
}

/// One bet applied to a round of so many players, and the snapshot published (cloned) after it.
fn reducer(samples: u64) {
    for participants in [10, 1_000, 10_000] {
        let mut state = state_with(participants);
        let mut kept = Vec::new();
        let times = (0..samples).map(|sample| {
            let number = participants + sample + 1;
            let update = advance(number, vec![bet(number, sample * 7 % participants)]);
            let started = Instant::now();
            state.apply(update);
            let snapshot = Arc::new(state.snapshot().clone());
            let took = started.elapsed();
            // An older snapshot is still being read somewhere, as in life.
            kept = vec![snapshot];
            took
        });
        print(
            &format!("reducer: a bet among {participants} players"),
            times.collect(),
        );
    }
}

fn encoding(samples: usize) {
    for participants in [10, 1_000, 10_000] {
        let state = state_with(participants);
        let bytes = view::snapshot(state.snapshot(), &Deployment::default())
            .to_string()
            .len();
        let times = (0..samples).map(|_| {
            let started = Instant::now();
            std::hint::black_box(
                view::snapshot(state.snapshot(), &Deployment::default()).to_string(),
            );
            started.elapsed()
        });
        print(
            &format!("encoding: snapshot with {participants} players ({bytes} bytes)"),
            times.collect(),
        );
    }
    let mut state = state_with(1_000);
    let mut stream = Stream::new(
        Arc::new(state.snapshot().clone()),
        Deployment::default(),
        Clock::system(),
    );
    let update = advance(1_001, vec![bet(1_001, 5)]);
    let mut publication = publication(&mut state, 0, update);
    let times = (0..samples).map(|_| {
        let started = Instant::now();
        for event in &publication.events {
            std::hint::black_box(view::event(event, &publication.snapshot).1.to_string());
        }
        started.elapsed()
    });
    print(
        &format!(
            "encoding: the {} messages of a bet",
            publication.events.len()
        ),
        times.collect(),
    );
    let times = (0..samples).map(|_| {
        publication.number += 1;
        let started = Instant::now();
        std::hint::black_box(stream.take(&publication));
        started.elapsed()
    });
    print(
        "encoding: the same as frames, plain and deflated",
        times.collect(),
    );
}

/// A bet is sent between two blocks of a chain with 1 s blocks; watched are the moment its block exists, the moment the
/// API shows it (asked in a tight loop), and the moment a feed client has it.
fn latencies(samples: usize) {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing {
        betting: 100_000,
        ..Timing::default()
    });
    let daemon = Daemon::start(&lottery, Options::default());
    let (mut shown, mut pushed) = (Vec::new(), Vec::new());
    lottery.bet(2, BET_WEI);
    for sample in 0..samples {
        let mut feed = daemon.feed("");
        feed.wait("snapshot", |_| true);
        let pot = wei_of(&daemon.get("/api/round/status").1) + u128::from(BET_WEI);
        let watcher = std::thread::spawn(move || {
            feed.wait("round_update", |payload| wei_of(&payload["round"]) >= pot);
            Instant::now()
        });
        lottery.bet(2 + sample % 8, BET_WEI);
        // The receipt is there at most 50 ms after the block.
        let mined = Instant::now();
        while wei_of(&daemon.get("/api/round/status").1) < pot {}
        let in_api = Instant::now();
        let on_feed = watcher.join().unwrap();
        shown.push(in_api.saturating_duration_since(mined));
        pushed.push(on_feed.saturating_duration_since(in_api));
    }
    print("latency: from a bet's receipt to the snapshot (API)", shown);
    print("latency: from the snapshot to a feed client", pushed);
}

fn wei_of(round: &Value) -> u128 {
    round["totalPotWei"]
        .as_str()
        .and_then(|wei| wei.parse().ok())
        .unwrap_or(0)
}

/// The daemon with 2 s blocks and nothing to do: resident memory, and its share of one core.
fn idle(duration: Duration) {
    let chain = Chain::devchain(2);
    let lottery = chain.deploy(Timing {
        betting: 100_000,
        ..Timing::default()
    });
    let daemon = Daemon::start(&lottery, Options::default());
    lottery.bet(2, BET_WEI);
    let before = daemon.cpu_ticks();
    let calls_before = chain.calls();
    std::thread::park_timeout(duration);
    let ticks = daemon.cpu_ticks() - before;
    // Linux counts in hundredths of a second.
    let share = ticks as f64 / 100.0 / duration.as_secs_f64() * 100.0;
    let calls = (chain.calls() - calls_before) as f64 / duration.as_secs_f64() * 60.0;
    println!(
        "{:58} {:.1} MB resident, {share:.2} % of a core, {calls:.0} calls a minute",
        "idle: the daemon at 2 s blocks",
        daemon.resident_kib() as f64 / 1024.0
    );
}
