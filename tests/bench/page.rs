//! What the page costs a visitor, in headless Chromium before the real daemon: its first paint, what comes over the wire,
//! how it moves, and what a bet costs the page's own thread, from an empty round to five thousand players. Nothing here
//! passes or fails: it prints, and names the targets.
//!
//! `cargo bench --bench page` takes about twenty minutes, ten of them for the heap, which `-- --without-heap` leaves out;
//! `-- --smoke` runs everything briefly, and `-- --players 1000` one crowd alone.
//! It needs chromium (the program named by CHROMIUM, or on the path).

use std::time::{Duration, Instant};

use devchain::Mining;
use serde_json::{json, Value};
use support::browser::Browser;
use support::chain::{Chain, Lottery, Timing};
use support::daemon::{Daemon, Options};
use support::BET_WEI;

/// Accounts before the players: publisher, operator, and the visitor of other tests.
const FIRST_PLAYER: usize = 2;
const BETS_PER_BLOCK: usize = 100;
/// Long enough for a part to have grown to its new size.
const GROWN: Duration = Duration::from_millis(600);

/// Keeps from the first moment what cannot be asked for later.
const WATCH: &str = "window.shifted = 0; window.longest = 0; \
    new PerformanceObserver((list) => list.getEntries().forEach(({ value }) => (window.shifted += value))) \
        .observe({ type: 'layout-shift', buffered: true }); \
    new PerformanceObserver((list) => list.getEntries().forEach(({ duration }) => (window.longest = Math.max(window.longest, duration)))) \
        .observe({ type: 'longtask', buffered: true });";

const FIGURES: &str = "(() => { \
    const [page] = performance.getEntriesByType('navigation'); \
    const files = performance.getEntriesByType('resource'); \
    const size = ({ transferSize }) => transferSize; \
    return { \
        paint: performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null, \
        answered: page.responseEnd, \
        files: files.filter(({ name }) => !name.includes('/api/')).length, \
        asked: files.filter(({ name }) => name.includes('/api/')).length, \
        bytes: files.map(size).reduce((sum, next) => sum + next, size(page)), \
        shifted, longest }; })()";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let given = |name: &str| arguments.iter().any(|argument| argument == name);
    let smoke = given("--smoke");
    println!(
        "targets: first paint within 100 ms, 150 KB (48 KB gzipped) in 3 requests, shift below 0.02, a bet within 16 ms, \
         no task over 50 ms at load, a flat heap\n"
    );
    let named = arguments
        .iter()
        .skip_while(|argument| *argument != "--players");
    let named = named
        .skip(1)
        .take(1)
        .map(|count| count.parse().expect("a number of players"));
    let mut crowds: Vec<usize> = named.collect();
    if crowds.is_empty() {
        crowds = if smoke {
            vec![3]
        } else {
            vec![0, 12, 1_000, 5_000]
        };
    }
    for players in crowds {
        let chain = crowd(players);
        let lottery = playing(&chain, players);
        let daemon = Daemon::quiet(
            &lottery,
            Options {
                without_key: true,
                ..Options::default()
            },
        );
        for throttling in [1, 4] {
            loads(&daemon, players, throttling, if smoke { 1 } else { 7 });
        }
        if players > 0 {
            bets(&daemon, &lottery, players, if smoke { 2 } else { 20 });
        }
        if (players == 12 || smoke) && !given("--without-heap") {
            heap(
                &daemon,
                &lottery,
                Duration::from_secs(if smoke { 2 } else { 600 }),
            );
        }
    }
}

fn crowd(players: usize) -> Chain {
    Chain::devchain_with(devchain::Config {
        mining: Mining::Automatic,
        more_accounts: players,
        ..devchain::Config::default()
    })
}

/// A round with these players, on a chain with a block a second.
fn playing(chain: &Chain, players: usize) -> Lottery<'_> {
    let lottery = chain.deploy(Timing {
        betting: 1_000_000,
        ..Timing::default()
    });
    let dev = chain.dev();
    dev.set_mining(Mining::Manual);
    for player in 0..players {
        // Some hold much and most hold little.
        let times = 1 + 2_000 / (1 + player as u64 * 7 % 1_000);
        let bet = lottery.transaction(FIRST_PLAYER + player, "placeBet", &[], BET_WEI * times);
        chain.submit(&bet);
        if player % BETS_PER_BLOCK == BETS_PER_BLOCK - 1 {
            dev.mine();
        }
    }
    dev.mine();
    dev.set_mining(Mining::IntervalMs(1_000));
    lottery
}

/// The page is opened so many times in a browser that runs already and keeps nothing of it.
fn loads(daemon: &Daemon, players: usize, throttling: u32, times: usize) {
    let mut browser = open(daemon);
    browser.ask("Network.enable", json!({}));
    browser.ask("Network.setCacheDisabled", json!({"cacheDisabled": true}));
    browser.ask(
        "Emulation.setCPUThrottlingRate",
        json!({"rate": throttling}),
    );
    let mut bare_paints: Vec<f64> = Vec::new();
    let mut opened: Vec<Value> = (0..times)
        .map(|_| {
            bare_paints.push(bare_paint(&mut browser, daemon));
            browser.go_to("about:blank");
            go_to(&mut browser, daemon);
            browser.evaluate(FIGURES)
        })
        .collect();
    bare_paints.sort_by(f64::total_cmp);
    let spin = spin(&mut browser);
    let mut middle = |name: &str| {
        opened.sort_by(|a, b| {
            let figure = |value: &Value| value[name].as_f64().unwrap_or(f64::MAX);
            figure(a).total_cmp(&figure(b))
        });
        let figure = |index: usize| opened[index][name].as_f64().unwrap_or(f64::NAN);
        (figure(times / 2), figure(times - 1))
    };
    let (paint, paint_worst) = middle("paint");
    let (answered, _) = middle("answered");
    let (shifted, shifted_worst) = middle("shifted");
    let (_, longest) = middle("longest");
    println!(
        "{players:>5} players, processor {throttling} times slower: first paint {paint:.0} ms (worst {paint_worst:.0}; the answer \
         was there after {answered:.0}, and five lines of plain text are painted after {:.0}), shift {shifted:.4} (worst {shifted_worst:.4}), longest task {longest:.0} ms, {} bytes in \
         1 + {} requests, {} more of the API; ten million additions take {spin:.0} ms",
        bare_paints[times / 2],
        middle("bytes").0,
        middle("files").0,
        middle("asked").0,
    );
}

/// What this browser on this machine needs for the least that a server can send: no page is painted sooner.
fn bare_paint(browser: &mut Browser, daemon: &Daemon) -> f64 {
    browser.go_to("about:blank");
    browser.go_to(&format!("{}/robots.txt", daemon.url));
    browser.wait("the paint of plain text", |browser| {
        browser.evaluate(FIGURES)["paint"].is_number()
    });
    browser.evaluate(FIGURES)["paint"]
        .as_f64()
        .unwrap_or(f64::NAN)
}

fn open(daemon: &Daemon) -> Browser {
    let mut browser = Browser::start();
    browser.inject(WATCH);
    go_to(&mut browser, daemon);
    browser
}

/// Until the page is live and has drawn the players.
fn go_to(browser: &mut Browser, daemon: &Daemon) {
    browser.go_to(&daemon.url);
    browser.wait_text_in("#link", "live");
    browser.wait("the first paint", |browser| {
        browser.evaluate(FIGURES)["paint"].is_number()
    });
    // What the page asks for after its first screen is on its way for a moment.
    std::thread::park_timeout(2 * GROWN);
}

/// One bet a block. Of each bet the costliest task is the frame that shows it; the rest is its growing.
fn bets(daemon: &Daemon, lottery: &Lottery, players: usize, count: usize) {
    let mut browser = open(daemon);
    let spin = spin(&mut browser);
    let mut feed = daemon.feed("");
    let mut costs: Vec<(f64, f64)> = (0..count)
        .map(|number| {
            let tasks = browser.tasks_during(|_| {
                let player = FIRST_PLAYER + number * 37 % players;
                let bet = lottery.transaction(player, "placeBet", &[], 20 * BET_WEI);
                lottery.chain.submit(&bet);
                feed.wait("participants_update", |_| true);
                std::thread::park_timeout(GROWN);
            });
            let longest = tasks.iter().copied().fold(0.0, f64::max);
            (longest, tasks.iter().sum())
        })
        .collect();
    costs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let whole = costs.iter().map(|(_, all)| all).sum::<f64>() / count as f64;
    println!(
        "{players:>5} players, a bet: its frame costs the page's thread {:.1} ms (worst {:.1}), with all growing {whole:.1} ms of the \
         second; meanwhile ten million additions take {spin:.0} ms",
        costs[count / 2].0,
        costs[count - 1].0,
    );
}

/// How fast the machine is at the moment: about 10 ms where nothing else runs.
fn spin(browser: &mut Browser) -> f64 {
    let script = "(() => { const add = (count) => { let sum = 0; for (let i = 0; i < count; i++) sum = (sum * 31 + i) | 0; return sum; }; \
                  add(1e6); const from = performance.now(); add(1e7); return performance.now() - from; })()";
    browser.evaluate(script).as_f64().unwrap_or(f64::NAN)
}

/// A bet a block for so long, and what the page holds of memory at its beginning, in between and at its end.
fn heap(daemon: &Daemon, lottery: &Lottery, time: Duration) {
    let mut browser = open(daemon);
    let mut feed = daemon.feed("");
    let started = Instant::now();
    let mut held = Vec::new();
    let mut number = 0;
    while started.elapsed() < time {
        if started.elapsed() >= time / 10 * held.len() as u32 {
            browser.ask("HeapProfiler.collectGarbage", json!({}));
            let used = browser.ask("Runtime.getHeapUsage", json!({}))["usedSize"].as_f64();
            held.push(used.unwrap_or(f64::NAN) / 1e6);
        }
        let bet = lottery.transaction(FIRST_PLAYER + number % 3, "placeBet", &[], BET_WEI);
        lottery.chain.submit(&bet);
        feed.wait("participants_update", |_| true);
        number += 1;
    }
    println!("      heap in MB over {time:?} with {number} bets: {held:.2?}");
}
