//! The fault matrix: in each cell something goes wrong around a draw, and the round must end rightly all the same. All
//! cells run side by side, each with a chain and a daemon of its own, and a table says what each cost. It is a program of its
//! own because some cells allow no block's delay: beside other tests it would be the machine that is late. What does not
//! change the chain itself is played on anvil too, behind endpoints that fail in the same ways.
//!
//! `cargo test --test matrix -- --nocapture 2>/dev/null` prints the table; MATRIX_REPEAT=20 runs it so many times over, and
//! MATRIX_ONLY=part picks the cells whose name has that part.

mod answers;
mod cells;
mod scene;

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use devchain::{Mining, Relay};
use lottery::lottery::round::RoundState;

use support::chain::{Chain, Timing};

use cells::{Cell, End, Setup};
use scene::Scene;

#[derive(Debug)]
struct Cost {
    end: End,
    delay_blocks: Option<u64>,
    sent: usize,
    gas: u64,
    reverted: usize,
}

/// Whose chain a cell is played on.
#[derive(Clone, Copy, PartialEq)]
enum Node {
    Devchain,
    Anvil,
}

/// One matrix at a time has the machine.
static TURN: Mutex<()> = Mutex::new(());

fn start(setup: &Setup, node: Node) -> (Chain, Option<Relay>) {
    if node == Node::Anvil {
        let chain = Chain::anvil(setup.block_ms / 1_000);
        let relay = Relay::start(&chain.url, setup.endpoints).unwrap();
        return (chain, Some(relay));
    }
    let config = devchain::Config {
        mining: setup.mining.unwrap_or(Mining::IntervalMs(setup.block_ms)),
        time_offset_secs: setup.time_offset_secs,
        ..Default::default()
    };
    (Chain::devchain_on(config, setup.endpoints), None)
}

fn run(cell: &Cell, node: Node) -> Cost {
    let setup = &cell.setup;
    let (chain, relay) = start(setup, node);
    let lottery = chain.deploy(Timing {
        betting: setup.betting_secs,
        min_draw_delay: 2,
        max_draw_delay: 2 + setup.window_secs,
        min_extension: 20,
    });
    let scene = Scene {
        chain: &chain,
        relay: relay.as_ref(),
        lottery: &lottery,
    };
    let begun = scene.head_number();
    let sent_before = scene.raw_transactions().len();
    (cell.play)(&scene);
    let mined = scene.mined(begun);
    let mut raw = scene.raw_transactions().split_off(sent_before);
    raw.sort_unstable();
    raw.dedup();
    Cost {
        end: match () {
            () if !lottery.logs("RoundCompleted").is_empty() => End::Drawn,
            () if !lottery.logs("RoundRefunded").is_empty() => End::Refunded,
            () => {
                assert_eq!(lottery.round().state, RoundState::Betting);
                End::Alive
            }
        },
        delay_blocks: lottery
            .logs("RoundCompleted")
            .first()
            .map(|log| lottery.blocks_late(log)),
        sent: raw.len(),
        gas: mined.iter().map(|(_, _, gas)| gas).sum(),
        reverted: mined.iter().filter(|(_, succeeded, _)| !succeeded).count(),
    }
}

/// What is wrong with what a cell cost; None when all is right.
fn fault_of(cell: &Cell, cost: &Cost) -> Option<String> {
    if cost.end != cell.end {
        return Some(format!("{:?} instead of {:?}", cost.end, cell.end));
    }
    if cost.reverted > cell.reverted_max {
        return Some(format!("{} transactions reverted", cost.reverted));
    }
    let late = |max: u64| cost.delay_blocks.is_some_and(|delay| delay > max);
    cell.delay_max
        .filter(|max| late(*max))
        .map(|max| format!("later than {max} blocks"))
}

#[test]
fn the_fault_matrix() {
    play(Node::Devchain, cells::cells());
}

#[test]
fn odd_answers_make_no_draw_late_and_accuse_nobody() {
    play(Node::Devchain, answers::cells());
}

#[test]
#[ignore = "needs anvil"]
fn the_fault_matrix_on_anvil() {
    play(Node::Anvil, cells::cells());
}

/// So many chains and daemons, and no more, are quick enough together.
const AT_ONCE: usize = 50;

fn side_by_side(cells: &[Cell], node: Node) -> Vec<std::thread::Result<Cost>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..)
            .zip(cells)
            .map(|(number, cell)| {
                // Their blocks, and with them their draws, are spread over a second: all at once they would be late by
                // each other.
                let delay = Duration::from_secs(1) * number / cells.len() as u32;
                scope.spawn(move || {
                    std::thread::park_timeout(delay);
                    catch_unwind(AssertUnwindSafe(|| run(cell, node)))
                })
            })
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join().unwrap());
        joined.collect()
    })
}

fn play(node: Node, mut cells: Vec<Cell>) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let repeat: usize = std::env::var("MATRIX_REPEAT").map_or(1, |text| text.parse().unwrap());
    let only = std::env::var("MATRIX_ONLY").unwrap_or_default();
    let is_played = |cell: &Cell| node == Node::Devchain || !cell.needs_devchain;
    cells.retain(|cell| cell.name.contains(&only) && is_played(cell));
    let mut failed = Vec::new();
    for turn in 1..=repeat {
        let results: Vec<_> = cells
            .chunks(AT_ONCE)
            .flat_map(|some| side_by_side(some, node))
            .collect();
        println!(
            "| what goes wrong | ends | blocks late | transactions | gas |\n|---|---|---|---|---|"
        );
        for (cell, result) in cells.iter().zip(results) {
            let fault = match result {
                Ok(cost) => {
                    let late = cost
                        .delay_blocks
                        .map_or("-".to_owned(), |blocks| blocks.to_string());
                    println!(
                        "| {} | {:?} | {late} | {} | {} |",
                        cell.name, cost.end, cost.sent, cost.gas
                    );
                    fault_of(cell, &cost)
                }
                Err(_) => Some("it panicked".to_owned()),
            };
            if let Some(fault) = fault {
                failed.push(format!("turn {turn}, {}: {fault}", cell.name));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
