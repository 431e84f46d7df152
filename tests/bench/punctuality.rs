//! How often a draw lands in the first block whose time allows it: many contracts, each with a daemon and an operator
//! key of its own, side by side on one chain of regular blocks. Devchain always, anvil where it is installed.
//!
//! `cargo bench --bench punctuality` takes about a quarter of an hour; `-- --smoke` plays a few rounds.

use std::collections::BTreeMap;
use std::time::Duration;

use ethabi::Token;
use lottery::chain::key::OperatorKey;
use serde_json::{json, Value};

use support::chain::{hex_address, number_token, Chain, Lottery, Timing, OPERATOR};
use support::daemon::{Daemon, Options};
use support::BET_WEI;

const PUBLISHER: usize = 0;

/// One chain and what is played on it.
struct Run {
    name: &'static str,
    spacing_secs: u64,
    contracts: usize,
    rounds_each: u64,
}

fn main() {
    let smoke = std::env::args().any(|argument| argument == "--smoke");
    let runs: &[Run] = match smoke {
        true => &[Run {
            name: "devchain",
            spacing_secs: 1,
            contracts: 3,
            rounds_each: 1,
        }],
        false => &[
            Run {
                name: "devchain",
                spacing_secs: 1,
                contracts: 10,
                rounds_each: 10,
            },
            Run {
                name: "anvil",
                spacing_secs: 1,
                contracts: 10,
                rounds_each: 10,
            },
            Run {
                name: "devchain",
                spacing_secs: 2,
                contracts: 20,
                rounds_each: 5,
            },
            Run {
                name: "anvil",
                spacing_secs: 2,
                contracts: 20,
                rounds_each: 5,
            },
            Run {
                name: "devchain",
                spacing_secs: 12,
                contracts: 20,
                rounds_each: 2,
            },
            Run {
                name: "anvil",
                spacing_secs: 12,
                contracts: 20,
                rounds_each: 2,
            },
        ],
    };
    for run in runs {
        let chain = match run.name {
            "anvil" => Chain::anvil(run.spacing_secs),
            _ => Chain::devchain(run.spacing_secs),
        };
        let lateness = play(&chain, run);
        let rounds: usize = lateness.values().sum();
        println!(
            "{:9} {:2} s blocks: {} of {rounds} draws in the first block that allows it; blocks late: {lateness:?}",
            run.name,
            run.spacing_secs,
            lateness.get(&0).copied().unwrap_or(0),
        );
    }
}

/// Plays the rounds; how many draws came how many blocks late.
fn play(chain: &Chain, run: &Run) -> BTreeMap<u64, usize> {
    let contracts = set_up(chain, run);
    let mut lateness = BTreeMap::new();
    for round in 0..run.rounds_each {
        let bets: Vec<Value> = contracts
            .iter()
            .flat_map(|(lottery, _)| {
                [2, 3].map(|player| lottery.transaction(player, "placeBet", &[], BET_WEI))
            })
            .map(|bet| chain.submit(&bet))
            .collect();
        bets.iter().for_each(|hash| drop(chain.receipt(hash)));
        for (lottery, _) in &contracts {
            let ended = lottery.round().max_draw_time;
            loop {
                if let Some(log) = lottery.logs("RoundCompleted").get(round as usize) {
                    *lateness.entry(lottery.blocks_late(log)).or_default() += 1;
                    break;
                }
                assert!(chain.head().1 <= ended, "a window was missed");
                std::thread::park_timeout(Duration::from_millis(500));
            }
        }
    }
    lateness
}

/// All contracts in a few blocks, and a daemon for each.
fn set_up<'a>(chain: &'a Chain, run: &Run) -> Vec<(Lottery<'a>, Daemon)> {
    let timing = Timing {
        betting: (3 * run.spacing_secs).max(6),
        min_draw_delay: 2 * run.spacing_secs + 1,
        max_draw_delay: 2 * run.spacing_secs + 1 + (5 * run.spacing_secs).max(60),
        min_extension: 20,
    };
    let sent: Vec<Value> = (0..run.contracts)
        .map(|_| chain.submit(&chain.deployment(timing)))
        .collect();
    let lotteries: Vec<Lottery> = sent
        .iter()
        .map(|hash| chain.deployed(&chain.receipt(hash)))
        .collect();
    let keys: Vec<String> = (0..run.contracts)
        .map(|index| format!("{:064x}", 0xa000 + index))
        .collect();
    let mut sent = Vec::new();
    for (lottery, key) in lotteries.iter().zip(&keys) {
        let operator = OperatorKey::from_hex(key).unwrap().address();
        let wealth = json!([hex_address(operator), "0x56bc75e2d63100000"]);
        chain.rpc("anvil_setBalance", wealth);
        let betting = [number_token(timing.betting)];
        sent.push(lottery.transaction(OPERATOR, "updateBettingDuration", &betting, 0));
        sent.push(lottery.transaction(PUBLISHER, "setOperator", &[Token::Address(operator)], 0));
    }
    // Nobody may change the operator before the operator has set the time: one block after the other.
    for account in [OPERATOR, PUBLISHER] {
        let from = hex_address(chain.account(account));
        let hashes: Vec<Value> = sent
            .iter()
            .filter(|transaction| transaction["from"] == from)
            .map(|transaction| chain.submit(transaction))
            .collect();
        hashes.iter().for_each(|hash| drop(chain.receipt(hash)));
    }
    let start = |(lottery, key): (Lottery<'a>, String)| {
        let options = Options {
            key: Some(key),
            quiet: true,
            ..Options::default()
        };
        let daemon = Daemon::start(&lottery, options);
        (lottery, daemon)
    };
    lotteries.into_iter().zip(keys).map(start).collect()
}
