//! The fault matrix: in each cell something goes wrong around a draw, and the round must end rightly all the same. All
//! cells run side by side, each with a chain and a daemon of its own; a table says what each cost.
//!
//! `cargo test --test it fault_matrix -- --nocapture 2>/dev/null` prints the table; MATRIX_REPEAT=20 runs it so many times over, and
//! MATRIX_ONLY=part picks the cells whose name has that part.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::Duration;

use devchain::{Distortion, Fault, Faults, Mining, Reorged};
use ethabi::{Contract, Token};
use lottery::chain::encode::encode_hex;
use lottery::chain::types::Address;
use lottery::lottery::contract::ABI_JSON;
use lottery::lottery::round::RoundState;
use serde_json::{json, Value};

use support::chain::{hex_address, wait_for, Chain, Lottery, Timing, OPERATOR};
use support::daemon::{Daemon, Options};
use support::BET_WEI;

const PUBLISHER: usize = 0;
const PLAYER: usize = 2;
const SEND: &str = "eth_sendRawTransaction";

/// What a cell's chain and daemon are like.
struct Setup {
    block_ms: u64,
    endpoints: usize,
    window_secs: u64,
    betting_secs: u64,
    time_offset_secs: i64,
    mining: Option<Mining>,
}

const USUAL: Setup = Setup {
    block_ms: 1_000,
    endpoints: 1,
    window_secs: 18,
    betting_secs: 6,
    time_offset_secs: 0,
    mining: None,
};

/// How the round must end, and within which cost.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Drawn,
    Refunded,
    /// Betting goes on: the empty round was extended.
    Alive,
}

struct Cell {
    name: &'static str,
    setup: Setup,
    end: End,
    /// Transactions of the operator that may revert on chain.
    reverted_max: usize,
    /// Blocks between the first that allows a draw and the draw's; None where the fault itself sets the time.
    delay_max: Option<u64>,
    play: fn(&Scene),
}

/// A cell's stage.
struct Scene<'a> {
    chain: &'a Chain,
    lottery: &'a Lottery<'a>,
}

#[derive(Debug)]
struct Cost {
    end: End,
    delay_blocks: Option<u64>,
    sent: usize,
    gas: u64,
    reverted: usize,
}

impl Scene<'_> {
    fn faults(&self) -> Faults {
        self.chain.dev().faults()
    }

    fn start(&self) -> Daemon {
        self.start_with(json!({}))
    }

    fn start_with(&self, operator: Value) -> Daemon {
        let endpoints = self.chain.dev().endpoints();
        let for_daemons = &endpoints[..endpoints.len() - 1];
        let urls: Vec<String> = for_daemons.iter().map(devchain::Endpoint::url).collect();
        let config =
            json!({"blockchain": {"rpc_url": urls, "rpc_timeout": 2}, "operator": operator});
        let options = Options {
            config,
            ..Options::default()
        };
        let daemon = Daemon::start(self.lottery, options);
        wait_for("the daemon to read the chain", || {
            let (_, status) = daemon.get("/api/status");
            (status["asOf"]["syncing"] == false).then_some(())
        });
        daemon
    }

    fn bets(&self) {
        for player in PLAYER..PLAYER + 3 {
            self.lottery.bet(player, BET_WEI);
        }
    }

    fn head_time(&self) -> u64 {
        self.chain.dev().head_timestamp()
    }

    fn until_time(&self, timestamp: u64) {
        wait_for("the moment", || {
            (self.head_time() >= timestamp).then_some(())
        });
    }

    fn until_blocks(&self, blocks: u64) {
        let target = self.chain.dev().head_number() + blocks;
        assert!(self
            .chain
            .dev()
            .wait_for_block(target, Duration::from_secs(60)));
    }

    /// Waits until the daemon has sent so many raw transactions, repetitions included.
    fn until_sent(&self, count: usize) {
        wait_for("a transaction", || {
            (self.chain.dev().raw_transactions().len() >= count).then_some(())
        });
    }

    /// Just before the window opens.
    fn until_window(&self) {
        self.until_time(self.lottery.round().min_draw_time - 2);
    }

    fn until_ended(&self) {
        wait_for("the round's end", || {
            (self.lottery.round().round_id > 1).then_some(())
        });
    }

    /// The operator's own mined transactions since `from`: (block, succeeded, gas).
    fn mined(&self, from: u64) -> Vec<(u64, bool, u64)> {
        let operator = hex_address(self.chain.account(OPERATOR));
        let mut found = Vec::new();
        for number in from + 1..=self.chain.dev().head_number() {
            let receipts = self
                .chain
                .rpc("eth_getBlockReceipts", json!([format!("0x{number:x}")]));
            for receipt in receipts.as_array().unwrap() {
                if receipt["from"] == operator {
                    let gas = u64::from_str_radix(&receipt["gasUsed"].as_str().unwrap()[2..], 16);
                    found.push((number, receipt["status"] == "0x1", gas.unwrap()));
                }
            }
        }
        found
    }

    /// A transaction of the operator's account that is not the daemon's.
    fn foreign(&self, gwei: u64) -> String {
        let operator = hex_address(self.chain.account(OPERATOR));
        let nonce = self
            .chain
            .rpc("eth_getTransactionCount", json!([operator, "latest"]));
        let fee = format!("0x{:x}", gwei * 1_000_000_000);
        let hash = self.chain.rpc(
            "eth_sendTransaction",
            json!([{
                "from": operator, "to": operator, "nonce": nonce, "gas": "0x5208",
                "maxFeePerGas": fee, "maxPriorityFeePerGas": fee,
            }]),
        );
        hash.as_str().unwrap().to_owned()
    }

    fn node_says_once(&self, message: &str) {
        let fault = Fault::Error {
            code: -32_000,
            message: message.to_owned(),
        };
        self.faults().add(fault, Some(SEND), Some(1));
        let _daemon = self.start();
        self.bets();
        self.until_ended();
    }

    /// A daemon that was killed after it sent a draw, and started again; nothing is mined.
    fn restarted_while_pending(&self) -> Daemon {
        let daemon = self.start();
        self.bets();
        self.until_window();
        self.chain.dev().hold_transactions(true);
        self.until_sent(1);
        drop(daemon);
        self.start()
    }

    fn operator_balance(&self, wei: &str) {
        let operator = hex_address(self.chain.account(OPERATOR));
        self.chain.rpc("anvil_setBalance", json!([operator, wei]));
    }
}

fn calldata(function: &str, arguments: &[Token]) -> String {
    let abi = Contract::load(ABI_JSON.as_bytes()).unwrap();
    encode_hex(
        &abi.function(function)
            .unwrap()
            .encode_input(arguments)
            .unwrap(),
    )
}

fn as_account(scene: &Scene, account: usize, function: &str, arguments: &[Token]) {
    scene.chain.send(json!({
        "from": hex_address(scene.chain.account(account)), "to": hex_address(scene.lottery.address),
        "data": calldata(function, arguments), "gas": "0x4c4b40",
    }));
}

fn cell(name: &'static str, delay_max: Option<u64>, play: fn(&Scene)) -> Cell {
    Cell {
        name,
        setup: USUAL,
        end: End::Drawn,
        reverted_max: 0,
        delay_max,
        play,
    }
}

fn refunded(name: &'static str, play: fn(&Scene)) -> Cell {
    Cell {
        end: End::Refunded,
        ..cell(name, None, play)
    }
}

fn undisturbed(scene: &Scene) {
    let _daemon = scene.start();
    scene.bets();
    scene.until_ended();
}

fn reorg_after_the_draw(scene: &Scene, depth: u64, fate: Reorged) {
    let _daemon = scene.start();
    scene.bets();
    scene.until_ended();
    scene.until_blocks(depth - 1);
    scene.chain.dev().reorg(depth, fate);
    scene.until_ended();
    // What was done stays done.
    scene.until_blocks(3);
    assert_eq!(scene.lottery.round().round_id, 2);
}

fn cells() -> Vec<Cell> {
    vec![
        cell("nothing goes wrong", Some(0), undisturbed),
        cell("transaction swallowed", Some(2), |scene| {
            scene.faults().add(Fault::Swallow, Some(SEND), Some(1));
            undisturbed(scene);
        }),
        cell("dropped from the pool after 2 blocks", None, |scene| {
            let _daemon = scene.start();
            scene.bets();
            scene.chain.dev().drop_pending_after(Some(2));
            scene.until_window();
            scene.chain.dev().hold_transactions(true);
            scene.until_sent(1);
            scene.until_blocks(4);
            scene.chain.dev().hold_transactions(false);
            scene.until_ended();
        }),
        cell(
            "base fee x10 between send and inclusion",
            Some(6),
            |scene| {
                let _daemon = scene.start();
                scene.bets();
                scene.until_window();
                scene.chain.dev().hold_transactions(true);
                scene.until_sent(1);
                scene.chain.rpc(
                    "anvil_setNextBlockBaseFeePerGas",
                    json!([20_000_000_000u64]),
                );
                scene.chain.dev().hold_transactions(false);
                scene.until_ended();
            },
        ),
        cell("node says: already known", Some(2), |scene| {
            scene.node_says_once("already known")
        }),
        cell("node says: replacement underpriced", Some(2), |scene| {
            scene.node_says_once("replacement transaction underpriced");
        }),
        cell("node says: nonce too low", Some(2), |scene| {
            scene.node_says_once("nonce too low: next nonce 9, tx nonce 1");
        }),
        cell("node says: nonce too high", Some(2), |scene| {
            scene.node_says_once("nonce too high")
        }),
        cell("the node caps fees at half of ours", Some(2), |scene| {
            // 290,000 gas at a fee cap of some 2 gwei are offered first.
            let cap = 300_000_000_000_000;
            scene
                .faults()
                .set(|character| character.fee_cap_wei = Some(cap));
            undisturbed(scene);
        }),
        cell("node says: txpool is full", Some(2), |scene| {
            scene.node_says_once("txpool is full")
        }),
        cell("the answer to sending is cut off", Some(2), |scene| {
            scene.faults().add(Fault::ResetAfter, Some(SEND), Some(1));
            undisturbed(scene);
        }),
        cell("a foreign transaction takes the nonce", Some(6), |scene| {
            let _daemon = scene.start();
            scene.bets();
            scene.until_window();
            scene.chain.dev().hold_transactions(true);
            scene.until_sent(1);
            scene.foreign(400);
            scene.chain.dev().hold_transactions(false);
            scene.until_ended();
        }),
        cell("no funds, topped up in the window", None, |scene| {
            let _daemon = scene.start();
            scene.bets();
            scene.operator_balance("0x0");
            scene.until_time(scene.lottery.round().min_draw_time + 3);
            assert_eq!(scene.lottery.round().round_id, 1);
            scene.operator_balance("0xde0b6b3a7640000");
            let topped_up = scene.chain.dev().head_number();
            scene.until_ended();
            assert!(scene.chain.dev().head_number() <= topped_up + 4);
        }),
        cell("a chain without EIP-1559", Some(1), |scene| {
            scene.faults().set(|character| character.legacy_only = true);
            undisturbed(scene);
        }),
        Cell {
            setup: Setup {
                window_secs: 40,
                ..USUAL
            },
            reverted_max: 40,
            ..cell("the winner cannot be paid for 5 blocks", None, unpayable)
        },
        cell("reorg of 1 block drops the draw", None, |scene| {
            reorg_after_the_draw(scene, 1, Reorged::Dropped);
        }),
        cell("reorg of 3 blocks drops the draw", None, |scene| {
            reorg_after_the_draw(scene, 3, Reorged::Dropped);
        }),
        cell(
            "reorg of 3 blocks, the pool keeps the draw",
            None,
            |scene| {
                reorg_after_the_draw(scene, 3, Reorged::Kept);
            },
        ),
        Cell {
            setup: Setup {
                endpoints: 2,
                ..USUAL
            },
            ..cell("one endpoint never shows the receipt", Some(0), |scene| {
                scene
                    .faults()
                    .add(Fault::Null, Some("eth_getTransactionReceipt"), None);
                undisturbed(scene);
            })
        },
        Cell {
            setup: Setup {
                endpoints: 2,
                ..USUAL
            },
            ..cell("one endpoint has another chain id", Some(0), |scene| {
                scene.faults().set(|character| character.chain_id = Some(5));
                undisturbed(scene);
            })
        },
        Cell {
            setup: Setup {
                endpoints: 2,
                ..USUAL
            },
            ..cell("one endpoint hangs from the window on", Some(5), |scene| {
                let _daemon = scene.start();
                scene.bets();
                scene.until_window();
                scene.faults().add(Fault::Hang, None, None);
                scene.until_ended();
                scene.faults().clear();
            })
        },
        cell("killed between signing and sending", Some(12), |scene| {
            let daemon = scene.start();
            scene.bets();
            scene.faults().add(Fault::Swallow, Some(SEND), Some(1));
            scene.until_sent(1);
            drop(daemon);
            let _daemon = scene.start();
            scene.until_ended();
        }),
        cell("killed between sending and receipt", None, |scene| {
            let _daemon = scene.restarted_while_pending();
            // What is pending does what the new daemon would do: it is given time, not outbid.
            scene.until_blocks(3);
            assert_eq!(scene.chain.dev().raw_transactions().len(), 1);
            scene.chain.dev().hold_transactions(false);
            scene.until_ended();
        }),
        cell("killed after sending what nobody mines", None, |scene| {
            let _daemon = scene.restarted_while_pending();
            scene.until_sent(2);
            scene.chain.dev().hold_transactions(false);
            scene.until_ended();
        }),
        cell(
            "an unknown transaction is pending at the start",
            None,
            |scene| {
                scene.bets();
                scene.chain.dev().hold_transactions(true);
                scene.foreign(400);
                let _daemon = scene.start();
                // The first transaction of ours already offers more, and the pool takes it.
                scene.until_sent(1);
                scene.chain.dev().hold_transactions(false);
                scene.until_ended();
            },
        ),
        cell(
            "what is pending at the start cannot be seen",
            None,
            unseen_stranger,
        ),
        Cell {
            setup: Setup {
                time_offset_secs: 600,
                ..USUAL
            },
            ..cell(
                "chain time 10 minutes ahead of the host",
                Some(0),
                undisturbed,
            )
        },
        Cell {
            setup: Setup {
                time_offset_secs: -600,
                ..USUAL
            },
            ..cell(
                "chain time 10 minutes behind the host",
                Some(0),
                undisturbed,
            )
        },
        Cell {
            setup: Setup {
                mining: Some(Mining::Automatic),
                window_secs: 60,
                ..USUAL
            },
            ..cell("mining on demand: the head never moves", Some(0), |scene| {
                let _daemon = scene.start();
                scene.bets();
                scene.chain.dev().increase_time(10);
                scene.until_ended();
            })
        },
        Cell {
            setup: Setup {
                block_ms: 2_000,
                window_secs: 6,
                ..USUAL
            },
            ..cell("a window of 6 s with 2 s blocks", Some(0), undisturbed)
        },
        refunded("the window closes while the draw is pending", |scene| {
            let _daemon = scene.start();
            scene.bets();
            scene.until_window();
            scene.chain.dev().hold_transactions(true);
            scene.until_sent(1);
            scene.until_time(scene.lottery.round().max_draw_time + 3);
            scene.chain.dev().hold_transactions(false);
            scene.until_ended();
        }),
        cell("RPC down for the first 80 % of the window", None, |scene| {
            let _daemon = scene.start();
            scene.bets();
            scene.until_window();
            let round = scene.lottery.round();
            scene.faults().add(Fault::Status(503, None), None, None);
            wait_for("80 % of the window", || {
                let gone = scene.head_time().saturating_sub(round.min_draw_time);
                (gone * 10 >= (round.max_draw_time - round.min_draw_time) * 8).then_some(())
            });
            scene.faults().clear();
            scene.until_ended();
        }),
        cell("every preflight fails by transport", None, |scene| {
            let _daemon = scene.start();
            scene.bets();
            scene.until_window();
            for method in ["eth_call", "eth_estimateGas"] {
                scene.faults().add(Fault::Reset, Some(method), None);
            }
            wait_for("the draw", || {
                let logs = scene.lottery.logs("RoundCompleted");
                (!logs.is_empty()).then_some(())
            });
            scene.faults().clear();
            scene.until_ended();
        }),
        Cell {
            setup: Setup {
                window_secs: 6,
                ..USUAL
            },
            ..refunded("somebody else refunds first", |scene| {
                let _daemon = scene.start();
                scene.bets();
                scene.until_window();
                let overdue = scene.lottery.round().max_draw_time + 1;
                scene.faults().add(
                    Fault::Error {
                        code: -32_000,
                        message: "txpool is full".to_owned(),
                    },
                    Some(SEND),
                    None,
                );
                scene.until_time(overdue);
                as_account(scene, PLAYER, "refundExpiredRound", &[]);
                scene.faults().clear();
                scene.until_ended();
                scene.until_blocks(4);
            })
        },
        Cell {
            setup: Setup {
                betting_secs: 36,
                ..USUAL
            },
            end: End::Alive,
            ..cell("an empty round near its end", None, |scene| {
                let _daemon = scene.start();
                as_account(scene, OPERATOR, "startRound", &[]);
                let end = scene.lottery.round().end_time;
                scene.until_time(end);
                assert!(scene.lottery.round().end_time > end);
                scene.lottery.bet(PLAYER, BET_WEI);
            })
        },
        cell(
            "two daemons with one key, one standing by",
            Some(0),
            |scene| {
                let _first = scene.start();
                let _second = scene.start_with(json!({"standby_delay": 5}));
                scene.bets();
                scene.until_ended();
                scene.until_blocks(8);
            },
        ),
        cell("the first of two daemons is gone", Some(8), |scene| {
            let first = scene.start();
            let _second = scene.start_with(json!({"standby_delay": 5}));
            scene.bets();
            drop(first);
            scene.until_ended();
        }),
        Cell {
            setup: Setup {
                window_secs: 8,
                ..USUAL
            },
            ..refunded("the operator is replaced in the contract", |scene| {
                let _daemon = scene.start();
                let other = Token::Address(Address::repeat_byte(7));
                as_account(scene, PUBLISHER, "setOperator", &[other]);
                scene.bets();
                scene.until_ended();
            })
        },
    ]
}

/// A node whose pending block shows no transactions: outbidding goes step by step.
fn unseen_stranger(scene: &Scene) {
    scene.bets();
    scene.chain.dev().hold_transactions(true);
    scene.foreign(9);
    let hide = Distortion::new(|result| {
        if result["hash"].is_null() {
            result["transactions"] = json!([]);
        }
    });
    scene
        .faults()
        .add(Fault::Distort(hide), Some("eth_getBlockByNumber"), None);
    let _daemon = scene.start();
    scene.until_sent(3);
    scene.chain.dev().hold_transactions(false);
    scene.until_ended();
}

/// Nearly all of the pot is a bettor's that cannot receive, until it can.
fn unpayable(scene: &Scene) {
    let chain = scene.chain;
    let daemon = scene.start();
    let rejector = chain.send(json!({
        "from": hex_address(chain.account(0)), "data": encode_hex(&devchain::rejector_bytecode()), "gas": "0x4c4b40",
    }));
    let selector = encode_hex(&ethabi::short_signature(
        "bet",
        &[ethabi::ParamType::Address],
    ));
    let argument = encode_hex(&ethabi::encode(&[Token::Address(scene.lottery.address)]));
    chain.send(json!({
        "from": hex_address(chain.account(PLAYER)), "to": rejector["contractAddress"],
        "value": format!("0x{:x}", BET_WEI * 10_000), "data": format!("{selector}{}", &argument[2..]), "gas": "0x4c4b40",
    }));
    scene.lottery.bet(PLAYER, BET_WEI);
    let before = chain.dev().head_number();
    wait_for("five reverted draws", || {
        let reverted = scene
            .mined(before)
            .iter()
            .filter(|(_, succeeded, _)| !succeeded)
            .count();
        (reverted >= 5).then_some(())
    });
    let alerts = daemon.get("/api/operator/status").1["alerts"].to_string();
    let rejected = rejector["contractAddress"].as_str().unwrap();
    assert!(
        alerts.contains(rejected),
        "{rejected} is not named: {alerts}"
    );
    chain.rpc("anvil_setCode", json!([rejector["contractAddress"], "0x"]));
    scene.until_ended();
}

fn run(cell: &Cell) -> Cost {
    let setup = &cell.setup;
    let config = devchain::Config {
        mining: setup.mining.unwrap_or(Mining::IntervalMs(setup.block_ms)),
        time_offset_secs: setup.time_offset_secs,
        ..Default::default()
    };
    let chain = Chain::devchain_on(config, setup.endpoints);
    let lottery = chain.deploy(Timing {
        betting: setup.betting_secs,
        min_draw_delay: 2,
        max_draw_delay: 2 + setup.window_secs,
        min_extension: 20,
    });
    let scene = Scene {
        chain: &chain,
        lottery: &lottery,
    };
    let begun = chain.dev().head_number();
    let sent_before = chain.dev().raw_transactions().len();
    (cell.play)(&scene);
    let mined = scene.mined(begun);
    let mut raw = chain.dev().raw_transactions().split_off(sent_before);
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
    let repeat: usize = std::env::var("MATRIX_REPEAT").map_or(1, |text| text.parse().unwrap());
    let only = std::env::var("MATRIX_ONLY").unwrap_or_default();
    let mut failed = Vec::new();
    for turn in 1..=repeat {
        let cells: Vec<Cell> = cells()
            .into_iter()
            .filter(|cell| cell.name.contains(&only))
            .collect();
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = cells
                .iter()
                .map(|cell| scope.spawn(|| catch_unwind(AssertUnwindSafe(|| run(cell)))))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
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
