//! Rounds on simulated time, from a seed: `cargo bench --profile sim --bench sim -- --rounds N [--seed S]` plays campaigns of six
//! rounds on all processors until N rounds are played, and ends with an error at the first violation, with its story.
//! `-- --seed S --replay` plays that one campaign again, and tells it whatever becomes of it. `-- --answers` plays the table
//! of every JSON-RPC method in every way to fail.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Instant;

use sim::campaign::{play, Outcome};
use sim::plan::Plan;
use sim::shrink::smallest;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str| -> Option<u64> {
        let index = arguments.iter().position(|argument| argument == name)?;
        arguments.get(index + 1)?.parse().ok()
    };
    let seed = number("--seed").unwrap_or(1);
    if arguments.iter().any(|argument| argument == "--replay") {
        sim::log::tell();
        let plan = Plan::of(seed);
        return tell(&plan, &play(&plan));
    }
    if arguments.iter().any(|argument| argument == "--answers") {
        return answers();
    }
    let rounds = number("--rounds").unwrap_or(10_000);
    let keep_going = arguments.iter().any(|argument| argument == "--keep-going");
    if !run(seed, rounds, keep_going) {
        std::process::exit(1);
    }
}

/// False after a violation.
fn run(seed: u64, rounds: u64, keep_going: bool) -> bool {
    let (next, played) = (Arc::new(AtomicU64::new(seed)), Arc::new(AtomicU64::new(0)));
    let failed = Arc::new(AtomicBool::new(false));
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let worker = |_| {
        let (next, played, failed) = (next.clone(), played.clone(), failed.clone());
        std::thread::spawn(move || {
            while played.load(Ordering::Relaxed) < rounds {
                if failed.load(Ordering::Relaxed) && !keep_going {
                    return;
                }
                let seed = next.fetch_add(1, Ordering::Relaxed);
                let plan = Plan::of(seed);
                let outcome = play(&plan);
                played.fetch_add(outcome.rounds as u64, Ordering::Relaxed);
                if let Some(violation) = outcome.violations.first() {
                    println!("seed {seed}: {}: {}", violation.rule, violation.what);
                    if !failed.swap(true, Ordering::Relaxed) && !keep_going {
                        let (plan, outcome) = smallest(&plan);
                        tell(&plan, &outcome);
                    }
                }
            }
        })
    };
    let workers: Vec<_> = (0..threads).map(worker).collect();
    for worker in workers {
        worker.join().expect("a campaign does not panic");
    }
    let (played, secs) = (
        played.load(Ordering::Relaxed),
        started.elapsed().as_secs_f64(),
    );
    println!(
        "{played} rounds from seed {seed} in {secs:.1} s ({:.0} a second)",
        played as f64 / secs
    );
    !failed.load(Ordering::Relaxed)
}

fn answers() {
    let (missed, cells) = sim::answers::missed();
    missed.iter().for_each(|cell| println!("{cell}"));
    println!("{} of {cells} cells missed", missed.len());
    if !missed.is_empty() {
        std::process::exit(1);
    }
}

fn tell(plan: &Plan, outcome: &Outcome) {
    println!("{plan:#?}");
    for (at, what) in &outcome.story {
        println!("{:>9.3}  {what}", at.as_secs_f64());
    }
    for violation in &outcome.violations {
        println!("BROKEN: {}: {}", violation.rule, violation.what);
    }
    let minutes = outcome.elapsed.as_secs_f64() / 60.0;
    println!(
        "{} rounds, {} blocks, {} calls, {} turns in {minutes:.1} simulated minutes",
        outcome.rounds, outcome.blocks, outcome.calls, outcome.turns
    );
}
