//! What following costs and how late it is: JSON-RPC calls a minute by method, and the delay from a block to the store
//! that holds it, for fast and slow chains, few and many players, polling and subscribed.
//!
//! Each cell is a test chain and the daemon's own threads (no web, no key) in this process. The moment of a block is when
//! the chain tells its waiters; the moment of the store is when a listener has the publication. Cells of one block time
//! run side by side. `cargo bench --bench following` takes about twenty minutes, `-- --block-ms 2000` plays the cells of
//! one block time, `-- --smoke` takes a minute and a half.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use devchain::Mining;
use lottery::actors::messages::PublicationReceiver;
use lottery::app::Core;
use lottery::base::shutdown::{Shutdown, StopReason};
use lottery::chain::types::U256;
use lottery::config::{self, Sources};

use support::chain::{hex_address, Chain, Lottery, Timing, CHAIN_ID};
use support::quantile::quantile;
use support::BET_WEI;

/// Bets of one block while a cell is prepared.
const BETS_PER_BLOCK: usize = 200;

#[derive(Clone, Copy)]
struct Cell {
    block_ms: u64,
    participants: usize,
    subscribed: bool,
    rest: Duration,
    bets: usize,
}

struct Figures {
    calls: BTreeMap<String, f64>,
    blocks: Vec<Duration>,
    bets: Vec<Duration>,
}

fn main() {
    let smoke = std::env::args().any(|argument| argument == "--smoke");
    println!(
        "targets: at rest at most 45 calls a minute at 2 s and 25 at 12 s, whatever the players; a block noticed within \
         1 s at p95 polling, within 0.1 s subscribed\n"
    );
    let groups: &[(u64, u64, usize)] = match smoke {
        true => &[(250, 5, 3), (2_000, 10, 2)],
        false => &[(250, 60, 40), (2_000, 180, 40), (12_000, 300, 15)],
    };
    let only = std::env::args()
        .skip_while(|argument| argument != "--block-ms")
        .nth(1);
    let participants: &[usize] = if smoke { &[10] } else { &[10, 200, 5_000] };
    for (block_ms, rest_secs, bets) in groups {
        if only
            .as_ref()
            .is_some_and(|only| *only != block_ms.to_string())
        {
            continue;
        }
        let cells = participants.iter().flat_map(|participants| {
            [false, true].map(|subscribed| Cell {
                block_ms: *block_ms,
                participants: *participants,
                subscribed,
                rest: Duration::from_secs(*rest_secs),
                bets: *bets,
            })
        });
        let running: Vec<_> = cells
            .map(|cell| (cell, std::thread::spawn(move || measure(cell))))
            .collect();
        for (cell, figures) in running {
            print(cell, figures.join().expect("the cell ran to its end"));
        }
    }
}

fn measure(cell: Cell) -> Figures {
    let chain = Chain::devchain_with(devchain::Config {
        mining: Mining::Automatic,
        more_accounts: cell.participants,
        ..Default::default()
    });
    let lottery = chain.deploy(Timing {
        betting: 1_000_000_000,
        ..Timing::default()
    });
    let dev = chain.dev();
    dev.set_mining(Mining::Manual);
    for player in 0..cell.participants {
        bet(&lottery, 2 + player);
        if player % BETS_PER_BLOCK == BETS_PER_BLOCK - 1 {
            dev.mine();
        }
    }
    dev.mine();
    dev.set_mining(Mining::IntervalMs(cell.block_ms));
    let (core, publications) = follow(&chain, &lottery, cell.subscribed);
    wait_until_read(&publications, cell.participants);
    // The rhythm is learned from heads of the new spacing.
    dev.wait_for_block(dev.head_number() + 6, Duration::from_secs(120));
    let before = dev.requests();
    let started = Instant::now();
    let blocks = blocks_noticed(&chain, &publications, cell.rest);
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    let mut calls = BTreeMap::new();
    for (method, count) in dev.requests() {
        let new = count - before.get(&method).copied().unwrap_or(0);
        if new > 0 {
            calls.insert(method, new as f64 / minutes);
        }
    }
    let bets = bets_noticed(&chain, &lottery, &publications, cell);
    core.stop(StopReason::Requested);
    Figures {
        calls,
        blocks,
        bets,
    }
}

fn bet(lottery: &Lottery, player: usize) {
    let transaction = lottery.transaction(player, "placeBet", &[], BET_WEI);
    lottery.chain.submit(&transaction);
}

fn follow(chain: &Chain, lottery: &Lottery, subscribed: bool) -> (Core, PublicationReceiver) {
    let mut sets = vec![
        format!("blockchain.chain_id={CHAIN_ID}"),
        format!(
            "blockchain.contract_address={}",
            hex_address(lottery.address)
        ),
        format!("blockchain.rpc_url={}", chain.url),
    ];
    if subscribed {
        let news = chain.url.replace("http", "ws");
        sets[2] = format!("blockchain.rpc_url={},{news}", chain.url);
        sets.push("event_manager.event_source=eth_subscribe".to_owned());
    }
    let sources = Sources {
        file: None,
        env: Vec::new(),
        sets: &sets,
    };
    let config = config::load(sources).expect("the settings are right");
    let started = Core::start(&config, false, Shutdown::new(), vec![None]);
    let (core, mut publications) = started.unwrap_or_else(|error| panic!("no start: {error}"));
    (core, publications.remove(0))
}

fn wait_until_read(publications: &PublicationReceiver, participants: usize) {
    let until = Instant::now() + Duration::from_secs(120);
    while let Ok(publication) = publications.recv_deadline(until) {
        let snapshot = &publication.snapshot;
        if !snapshot.syncing && snapshot.participants.len() == participants {
            return;
        }
    }
    panic!("{participants} players were not read");
}

/// For each block of that time, how long after it the store held it or a later one.
fn blocks_noticed(
    chain: &Chain,
    publications: &PublicationReceiver,
    time: Duration,
) -> Vec<Duration> {
    let over = Arc::new(AtomicBool::new(false));
    let (mut delays, mut came) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let (dev, mut came) = (chain.dev(), Vec::new());
            let mut next = dev.head_number() + 1;
            while !over.load(Ordering::Relaxed) {
                if dev.wait_for_block(next, Duration::from_millis(200)) {
                    came.push((next, Instant::now()));
                    next += 1;
                }
            }
            came
        });
        let mut held = Vec::new();
        let until = Instant::now() + time;
        while let Ok(publication) = publications.recv_deadline(until) {
            if let Some(head) = publication.snapshot.head {
                held.push((head.number, Instant::now()));
            }
        }
        over.store(true, Ordering::Relaxed);
        came = watcher.join().expect("the watcher only waits");
        for (number, at) in &came {
            let noticed = held.iter().find(|(head, _)| head >= number);
            delays.extend(noticed.map(|(_, held_at)| held_at.saturating_duration_since(*at)));
        }
    });
    delays
}

/// For each bet, how long after its block the store had its pot.
fn bets_noticed(
    chain: &Chain,
    lottery: &Lottery,
    publications: &PublicationReceiver,
    cell: Cell,
) -> Vec<Duration> {
    let mut pot = lottery.round().total_pot_wei;
    (0..cell.bets)
        .map(|number| {
            publications.try_iter().for_each(drop);
            pot += U256::from(BET_WEI);
            let dev = chain.dev();
            let next = dev.head_number() + 1;
            bet(lottery, 2 + number % cell.participants);
            dev.wait_for_block(next, Duration::from_secs(60));
            let mined = Instant::now();
            let until = Instant::now() + Duration::from_secs(60);
            while let Ok(publication) = publications.recv_deadline(until) {
                let round = publication.snapshot.round.as_ref();
                if round.is_some_and(|round| round.total_pot_wei >= pot) {
                    break;
                }
            }
            mined.elapsed()
        })
        .collect()
}

fn print(cell: Cell, figures: Figures) {
    let total: f64 = figures.calls.values().sum();
    let source = if cell.subscribed {
        "subscribed"
    } else {
        "polling"
    };
    println!(
        "blocks of {:>5.2} s, {:>5} players, {source:>10}: {total:>6.1} calls a minute; block to store {}; bet to store {}",
        cell.block_ms as f64 / 1_000.0,
        cell.participants,
        quantiles(figures.blocks),
        quantiles(figures.bets),
    );
    let calls: Vec<String> = figures
        .calls
        .iter()
        .map(|(method, rate)| format!("{method} {rate:.1}"))
        .collect();
    println!("    {}", calls.join(", "));
}

fn quantiles(mut delays: Vec<Duration>) -> String {
    if delays.is_empty() {
        return "median - p95 - (n 0)".to_owned();
    }
    let (median, p95) = (quantile(&mut delays, 50), quantile(&mut delays, 95));
    format!("median {median:.1?} p95 {p95:.1?} (n {})", delays.len())
}
