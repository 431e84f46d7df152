//! What goes wrong in each cell of the matrix, and how its round must end all the same. How a cell is run and judged is
//! left to the matrix.

use devchain::{Distortion, Fault, Mining, Reorged};
use ethabi::Token;
use lottery::chain::types::Address;
use serde_json::json;

use support::chain::{hex_address, wait_for, OPERATOR};
use support::BET_WEI;

use super::scene::{Scene, PLAYER, SEND};

const PUBLISHER: usize = 0;

/// What a cell's chain and daemon are like.
pub struct Setup {
    pub block_ms: u64,
    pub endpoints: usize,
    pub window_secs: u64,
    pub betting_secs: u64,
    pub time_offset_secs: i64,
    pub mining: Option<Mining>,
}

pub const USUAL: Setup = Setup {
    block_ms: 1_000,
    endpoints: 1,
    window_secs: 18,
    betting_secs: 6,
    time_offset_secs: 0,
    mining: None,
};

/// How the round must end, and within which cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    Drawn,
    Refunded,
    /// Betting goes on: the empty round was extended.
    Alive,
}

pub struct Cell {
    pub name: &'static str,
    pub setup: Setup,
    pub end: End,
    /// Transactions of the operator that may revert on chain.
    pub reverted_max: usize,
    /// Blocks between the first that allows a draw and the draw's; None where the fault itself sets the time.
    pub delay_max: Option<u64>,
    /// It does to the chain or its pool what only our own lets be done to it.
    pub needs_devchain: bool,
    pub play: Box<dyn Fn(&Scene) + Send + Sync>,
}

pub fn cell(
    name: &'static str,
    delay_max: Option<u64>,
    play: impl Fn(&Scene) + Send + Sync + 'static,
) -> Cell {
    Cell {
        name,
        setup: USUAL,
        end: End::Drawn,
        reverted_max: 0,
        delay_max,
        needs_devchain: false,
        play: Box::new(play),
    }
}

/// A cell that anvil cannot play.
fn own(cell: Cell) -> Cell {
    Cell {
        needs_devchain: true,
        ..cell
    }
}

fn refunded(name: &'static str, play: impl Fn(&Scene) + Send + Sync + 'static) -> Cell {
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

/// The draw is sent, and kept out of every block until the fault is done.
fn while_the_draw_is_held(scene: &Scene, fault: impl FnOnce()) {
    let _daemon = scene.start();
    scene.bets();
    scene.until_window();
    scene.chain.dev().hold_transactions(true);
    scene.until_sent(1);
    fault();
    scene.chain.dev().hold_transactions(false);
    scene.until_ended();
}

fn base_fee_times_ten(scene: &Scene) {
    let base_fee = json!([20_000_000_000u64]);
    scene.chain.rpc("anvil_setNextBlockBaseFeePerGas", base_fee);
}

/// By the first endpoint, from now on.
fn nonce_far_ahead(scene: &Scene) {
    let far = Distortion::new(|nonce| *nonce = json!("0x400"));
    let method = Some("eth_getTransactionCount");
    scene.faults().add(Fault::Distort(far), method, None);
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

pub fn cells() -> Vec<Cell> {
    vec![
        cell("nothing goes wrong", Some(0), undisturbed),
        cell("transaction swallowed", Some(2), |scene| {
            scene.faults().add(Fault::Swallow, Some(SEND), Some(1));
            undisturbed(scene);
        }),
        own(cell(
            "dropped from the pool after 2 blocks",
            None,
            |scene| {
                scene.chain.dev().drop_pending_after(Some(2));
                while_the_draw_is_held(scene, || scene.until_blocks(4));
            },
        )),
        own(cell(
            "base fee x10 between send and inclusion",
            Some(6),
            |scene| {
                while_the_draw_is_held(scene, || base_fee_times_ten(scene));
            },
        )),
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
        own(cell(
            "the node caps fees at half of ours",
            Some(2),
            |scene| {
                // 290,000 gas at a fee cap of some 2 gwei are offered first.
                let cap = 300_000_000_000_000;
                scene
                    .faults()
                    .set(|character| character.fee_cap_wei = Some(cap));
                undisturbed(scene);
            },
        )),
        cell("node says: txpool is full", Some(2), |scene| {
            scene.node_says_once("txpool is full")
        }),
        cell("the answer to sending is cut off", Some(2), |scene| {
            scene.faults().add(Fault::ResetAfter, Some(SEND), Some(1));
            undisturbed(scene);
        }),
        own(cell(
            "a foreign transaction takes the nonce",
            Some(6),
            |scene| while_the_draw_is_held(scene, || drop(scene.foreign(400))),
        )),
        cell(
            "no balance, no code, no receipt, no block by hash",
            Some(1),
            |scene| {
                for method in [
                    "eth_getBalance",
                    "eth_getCode",
                    "eth_getTransactionReceipt",
                    "eth_getBlockByHash",
                ] {
                    let refused = Fault::Status(403, None);
                    scene.faults().add(refused, Some(method), None);
                }
                undisturbed(scene);
            },
        ),
        cell("no funds, topped up in the window", None, |scene| {
            let _daemon = scene.start();
            scene.bets();
            scene.operator_balance("0x0");
            scene.until_time(scene.lottery.round().min_draw_time + 3);
            assert_eq!(scene.lottery.round().round_id, 1);
            scene.operator_balance("0xde0b6b3a7640000");
            let topped_up = scene.head_number();
            scene.until_ended();
            assert!(scene.head_number() <= topped_up + 4);
        }),
        cell("the only endpoint tells no balance", Some(0), |scene| {
            let nothing = Distortion::new(|balance| *balance = json!("0x0"));
            let fault = Fault::Distort(nothing);
            scene.faults().add(fault, Some("eth_getBalance"), None);
            undisturbed(scene);
        }),
        cell(
            "the only endpoint hangs at a block's hash",
            Some(0),
            |scene| {
                scene
                    .faults()
                    .add(Fault::Hang, Some("eth_getBlockByHash"), None);
                undisturbed(scene);
                scene.faults().clear();
            },
        ),
        own(cell("a chain without EIP-1559", Some(1), |scene| {
            scene.faults().set(|character| character.legacy_only = true);
            undisturbed(scene);
        })),
        Cell {
            setup: Setup {
                window_secs: 40,
                ..USUAL
            },
            reverted_max: 40,
            ..cell("the winner cannot be paid for 5 blocks", None, unpayable)
        },
        own(cell("reorg of 1 block drops the draw", None, |scene| {
            reorg_after_the_draw(scene, 1, Reorged::Dropped);
        })),
        own(cell("reorg of 3 blocks drops the draw", None, |scene| {
            reorg_after_the_draw(scene, 3, Reorged::Dropped);
        })),
        own(cell(
            "reorg of 3 blocks, the pool keeps the draw",
            None,
            |scene| {
                reorg_after_the_draw(scene, 3, Reorged::Kept);
            },
        )),
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
            ..cell("one endpoint tells a nonce far ahead", Some(1), |scene| {
                nonce_far_ahead(scene);
                undisturbed(scene);
            })
        },
        own(Cell {
            setup: Setup {
                endpoints: 2,
                ..USUAL
            },
            ..cell(
                "base fee x10 while one endpoint tells a nonce far ahead",
                Some(4),
                |scene| {
                    while_the_draw_is_held(scene, || {
                        nonce_far_ahead(scene);
                        base_fee_times_ten(scene);
                    });
                },
            )
        }),
        own(Cell {
            setup: Setup {
                endpoints: 2,
                ..USUAL
            },
            ..cell("one endpoint has another chain id", Some(0), |scene| {
                scene.faults().set(|character| character.chain_id = Some(5));
                undisturbed(scene);
            })
        }),
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
        own(cell("killed between sending and receipt", None, |scene| {
            let _daemon = scene.restarted_while_pending();
            // What is pending does what the new daemon would do: it is given time, not outbid.
            scene.until_blocks(3);
            assert_eq!(scene.raw_transactions().len(), 1);
            scene.chain.dev().hold_transactions(false);
            scene.until_ended();
        })),
        own(cell(
            "killed after sending what nobody mines",
            None,
            |scene| {
                let _daemon = scene.restarted_while_pending();
                scene.until_sent(2);
                scene.chain.dev().hold_transactions(false);
                scene.until_ended();
            },
        )),
        own(cell(
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
        )),
        own(cell(
            "what is pending at the start cannot be seen",
            None,
            unseen_stranger,
        )),
        own(Cell {
            setup: Setup {
                time_offset_secs: 600,
                ..USUAL
            },
            ..cell(
                "chain time 10 minutes ahead of the host",
                Some(0),
                undisturbed,
            )
        }),
        own(Cell {
            setup: Setup {
                time_offset_secs: -600,
                ..USUAL
            },
            ..cell(
                "chain time 10 minutes behind the host",
                Some(0),
                undisturbed,
            )
        }),
        own(Cell {
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
        }),
        Cell {
            setup: Setup {
                block_ms: 2_000,
                window_secs: 6,
                ..USUAL
            },
            ..cell("a window of 6 s with 2 s blocks", Some(0), undisturbed)
        },
        own(refunded(
            "the window closes while the draw is pending",
            |scene| {
                let _daemon = scene.start();
                scene.bets();
                scene.until_window();
                scene.chain.dev().hold_transactions(true);
                scene.until_sent(1);
                scene.until_time(scene.lottery.round().max_draw_time + 3);
                scene.chain.dev().hold_transactions(false);
                scene.until_ended();
            },
        )),
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
                scene.send_as(PLAYER, "refundExpiredRound", &[]);
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
                scene.send_as(OPERATOR, "startRound", &[]);
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
                scene.send_as(PUBLISHER, "setOperator", &[other]);
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
    let rejector = scene.lottery.bet_unpayable(PLAYER, BET_WEI * 10_000);
    let rejector = hex_address(rejector);
    scene.lottery.bet(PLAYER, BET_WEI);
    let before = scene.head_number();
    wait_for("five reverted draws", || {
        let reverted = scene
            .mined(before)
            .iter()
            .filter(|(_, succeeded, _)| !succeeded)
            .count();
        (reverted >= 5).then_some(())
    });
    let alerts = daemon.get("/api/operator/status").1["alerts"].to_string();
    assert!(
        alerts.contains(&rejector),
        "{rejector} is not named: {alerts}"
    );
    chain.rpc("anvil_setCode", json!([rejector, "0x"]));
    scene.until_ended();
}
