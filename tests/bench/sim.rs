//! Rounds on simulated time, from a seed: `cargo bench --profile sim --bench sim -- --rounds N [--seed S]` plays campaigns of six
//! rounds on all processors until N rounds are played, and ends with an error at the first violation, with its story.
//! `-- --seed S --replay` plays that one campaign again, and tells it whatever becomes of it, with `--calls` each request too. `-- --kept` plays the campaigns
//! that once failed. `--brief` tells a violation
//! in one line, with the rounds played until then, and `--skip S,S` leaves campaigns out: both are for `tests/sim/mutate`.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Instant;

use sim::campaign::{play, Outcome};
use sim::kept::campaigns;
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
        sim::log::tell(arguments.iter().any(|argument| argument == "--calls"));
        let plan = Plan::of(seed);
        return tell(&plan, &play(&plan));
    }
    let given = |name: &str| arguments.iter().any(|argument| argument == name);
    if given("--kept") && !kept() {
        std::process::exit(1);
    }
    let skip = arguments.iter().position(|argument| argument == "--skip");
    let skip = skip.and_then(|index| arguments.get(index + 1));
    let skipped = skip.into_iter().flat_map(|seeds| seeds.split(','));
    let how = How {
        keeps_going: given("--keep-going"),
        is_brief: given("--brief"),
        skipped: skipped.filter_map(|seed| seed.parse().ok()).collect(),
    };
    let rounds = number("--rounds");
    let rounds = rounds.unwrap_or(if given("--kept") { 0 } else { 10_000 });
    if rounds > 0 && !run(seed, rounds, how) {
        std::process::exit(1);
    }
}

/// How a run goes on after a violation, and which campaigns it leaves out.
#[derive(Clone)]
struct How {
    keeps_going: bool,
    is_brief: bool,
    skipped: HashSet<u64>,
}

/// Plays the campaigns that once failed; false after a violation.
fn kept() -> bool {
    let mut is_sound = true;
    let mut played = 0;
    for (plan, found) in campaigns() {
        played += 1;
        for violation in play(&plan).violations {
            is_sound = false;
            println!(
                "seed {} ({found}): {}: {}",
                plan.seed, violation.rule, violation.what
            );
        }
    }
    println!("{played} kept campaigns");
    is_sound
}

/// False after a violation.
fn run(seed: u64, rounds: u64, how: How) -> bool {
    let How {
        keeps_going: keep_going,
        is_brief,
        skipped,
    } = how;
    let (next, played) = (Arc::new(AtomicU64::new(seed)), Arc::new(AtomicU64::new(0)));
    let failed = Arc::new(AtomicBool::new(false));
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let worker = |_| {
        let (next, played, failed) = (next.clone(), played.clone(), failed.clone());
        let skipped = skipped.clone();
        std::thread::spawn(move || {
            while played.load(Ordering::Relaxed) < rounds {
                if failed.load(Ordering::Relaxed) && !keep_going {
                    return;
                }
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if skipped.contains(&seed) {
                    continue;
                }
                let plan = Plan::of(seed);
                let outcome = play(&plan);
                let before = played.load(Ordering::Relaxed);
                played.fetch_add(outcome.rounds as u64, Ordering::Relaxed);
                if let Some(violation) = outcome.violations.first() {
                    if is_brief && !failed.swap(true, Ordering::Relaxed) {
                        println!("{before} rounds, seed {seed}: {}", violation.rule);
                        return;
                    }
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

fn tell(plan: &Plan, outcome: &Outcome) {
    println!("{plan:#?}");
    for (at, what) in &outcome.story {
        println!("{:>9.3}  {what}", at.as_secs_f64());
    }
    for violation in &outcome.violations {
        println!("BROKEN: {}: {}", violation.rule, violation.what);
    }
    let calls: u64 = outcome.calls.values().sum();
    let minutes = outcome.elapsed.as_secs_f64() / 60.0;
    println!(
        "{} rounds, {} blocks, {} calls, {} turns in {minutes:.1} simulated minutes",
        outcome.rounds, outcome.blocks, calls, outcome.turns
    );
}
