//! What the daemon holds of the chain, whatever its endpoints and the chain itself do: at the end the daemon, and a
//! client that followed its feed all along, hold what a fresh start on a healthy endpoint holds.
//!
//! ROW=part-of-a-name plays the rows of that name alone, with the daemon's log.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use devchain::{Config, Distortion, Fault, Faults, Mining, Reorged};
use serde_json::{json, Value};

use support::chain::{wait_for, Chain, Lottery, Timing};
use support::daemon::{Daemon, Options};
use support::follower::{shown, Follower};
use support::BET_WEI;

/// How long the daemon may take to hold what is true.
const PATIENCE: Duration = Duration::from_secs(30);
pub const LONG: Timing = Timing {
    betting: 1_000_000,
    min_draw_delay: 5,
    max_draw_delay: 180,
    min_extension: 60,
};

pub struct Scene<'a> {
    pub chain: &'a Chain,
    pub lottery: Lottery<'a>,
    pub daemon: Daemon,
}

impl Scene<'_> {
    fn faults(&self, endpoint: usize) -> &Faults {
        &self.chain.dev().endpoints()[endpoint].faults
    }

    /// Bets in blocks of their own, the end of a round, and bets of the next.
    fn activity(&self) {
        for player in [2, 3, 2] {
            self.lottery.bet(player, BET_WEI * player as u64);
        }
        self.lottery.operate("refundRound", &[]);
        for player in [4, 5] {
            self.lottery.bet(player, BET_WEI);
        }
    }

    fn mine(&self, blocks: u64) {
        for _ in 0..blocks {
            self.chain.dev().mine();
        }
    }

    /// Waits until the daemon shows the chain's head.
    fn in_step(&self) {
        wait_for("the daemon at the head", || {
            in_step(&self.daemon, self.chain)
        });
    }
}

pub fn in_step(daemon: &Daemon, chain: &Chain) -> Option<()> {
    let (_, round) = daemon.get("/api/round/status");
    let as_of = &round["asOf"];
    (as_of["blockNumber"] == chain.dev().head_number() && as_of["syncing"] == false).then_some(())
}

pub fn follower_options(urls: &[String]) -> Options {
    Options {
        config: json!({
            "blockchain": {"rpc_url": urls, "rpc_timeout": 3},
            // What a lying answer hides is looked for this often.
            "event_manager": {"contract_config_interval_sec": 1, "event_poll_interval_sec": 0.25},
        }),
        without_key: true,
        quiet: std::env::var("ROW").is_err(),
        env: vec![("RUST_LOG", "lottery=debug".to_owned())],
        ..Options::default()
    }
}

pub fn fresh(lottery: &Lottery) -> Value {
    let daemon = Daemon::start(
        lottery,
        follower_options(std::slice::from_ref(&lottery.chain.url)),
    );
    wait_for("a fresh daemon at the head", || {
        let follower = Follower::connect(&daemon);
        follower
            .is_at(lottery.chain.dev().head_number())
            .then(|| follower.of_the_chain())
    })
}

/// Before the daemon starts, and while it follows.
struct Row {
    name: &'static str,
    endpoints: usize,
    subscribed: bool,
    prepare: fn(&Chain),
    disturb: fn(&Scene),
}

fn row(name: &'static str, disturb: fn(&Scene)) -> Row {
    Row {
        name,
        endpoints: 1,
        subscribed: false,
        prepare: |_| {},
        disturb,
    }
}

/// The same from the first request on, with the usual activity.
fn always(name: &'static str, prepare: fn(&Chain)) -> Row {
    Row {
        prepare,
        ..row(name, |it| it.activity())
    }
}

fn of_two(row: Row) -> Row {
    Row {
        endpoints: 2,
        ..row
    }
}

fn subscribed(row: Row) -> Row {
    Row {
        subscribed: true,
        ..row
    }
}

fn play(row: &Row) {
    let config = Config {
        mining: Mining::Automatic,
        ..Config::default()
    };
    let chain = Chain::devchain_on(config, row.endpoints);
    let lottery = chain.deploy(LONG);
    lottery.bet(2, BET_WEI);
    lottery.operate("refundRound", &[]);
    lottery.bet(3, BET_WEI);
    (row.prepare)(&chain);
    let mut urls = chain.urls(row.endpoints);
    let mut options = follower_options(&urls);
    if row.subscribed {
        urls.push(urls[0].replace("http", "ws"));
        options.config["blockchain"]["rpc_url"] = json!(urls);
        options.config["event_manager"]["event_source"] = json!("eth_subscribe");
    }
    let daemon = Daemon::start(&lottery, options);
    daemon.wait_ready();
    let mut follower = Follower::connect(&daemon);
    let scene = Scene {
        chain: &chain,
        lottery,
        daemon,
    };
    (row.disturb)(&scene);
    let expected = fresh(&scene.lottery);
    let until = Instant::now() + PATIENCE;
    let mut held = Value::Null;
    while held != expected {
        assert!(
            Instant::now() < until,
            "the daemon:\n{}",
            differences(&held, &expected, "")
        );
        held = shown(&scene.daemon);
    }
    assert!(
        follower.follow_until(&expected),
        "a client:\n{}",
        differences(&follower.of_the_chain(), &expected, "")
    );
}

/// Where two values differ, a line each.
pub fn differences(held: &Value, expected: &Value, path: &str) -> String {
    let keys: Vec<String> = match (held, expected) {
        (Value::Object(a), Value::Object(b)) => a.keys().chain(b.keys()).cloned().collect(),
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let pairs = a.iter().zip(b).enumerate();
            let lines = pairs.map(|(index, (a, b))| differences(a, b, &format!("{path}[{index}]")));
            return lines.collect();
        }
        _ if held == expected => return String::new(),
        _ => return format!("{path} is {held}, a fresh start has {expected}\n"),
    };
    let mut lines: Vec<String> = keys
        .iter()
        .map(|key| differences(&held[key], &expected[key], &format!("{path}.{key}")))
        .collect();
    lines.dedup();
    lines.concat()
}

fn distort(faults: &Faults, method: &str, times: Option<u32>, change: fn(&mut Value)) {
    faults.add(Fault::Distort(Distortion::new(change)), Some(method), times);
}

/// Changes a list of logs that has any.
fn with_logs(answer: &mut Value, change: impl FnOnce(&mut Vec<Value>)) {
    if let Some(logs) = answer.as_array_mut().filter(|logs| !logs.is_empty()) {
        change(logs);
    }
}

fn set_bloom(header: &mut Value, digit: &str) {
    if header.is_object() {
        header["logsBloom"] = json!(format!("0x{}{digit}", "0".repeat(511)));
    }
}

fn a_raw_answer(head: &str, body_bytes: usize) -> Fault {
    let mut answer = format!("HTTP/1.1 {head}content-length: {body_bytes}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + body_bytes, b' ');
    Fault::Raw(answer.into())
}

/// The fault strikes the next requests (of one method), and the chain goes on meanwhile.
fn struck(scene: &Scene, fault: Fault, method: Option<&str>, times: u32) {
    scene.faults(0).add(fault, method, Some(times));
    scene.activity();
}

fn reorged(scene: &Scene, depth: u64, transactions: Reorged) {
    scene.activity();
    scene.in_step();
    scene.chain.dev().reorg(depth, transactions);
    scene.lottery.bet(6, BET_WEI);
}

fn deep_reorg(scene: &Scene, transactions: Reorged) {
    scene.mine(30);
    scene.activity();
    scene.mine(100);
    scene.activity();
    scene.mine(180);
    scene.in_step();
    scene.chain.dev().reorg(300, transactions);
    scene.lottery.bet(6, BET_WEI);
}

fn reorgs() -> Vec<Row> {
    use Reorged::{Dropped, Kept};
    vec![
        row("a reorg of 1 block, its bet moves", |it| {
            reorged(it, 1, Kept)
        }),
        row("a reorg of 1 block, its bet is gone", |it| {
            reorged(it, 1, Dropped)
        }),
        row("a reorg of 3 blocks, their bets move into one", |it| {
            reorged(it, 3, Kept)
        }),
        row("a reorg of 3 blocks takes a round's end back", |it| {
            reorged(it, 3, Dropped)
        }),
        row("a reorg of 10 blocks merges whole rounds", |it| {
            reorged(it, 10, Kept)
        }),
        row("a reorg of 10 blocks takes whole rounds", |it| {
            reorged(it, 10, Dropped)
        }),
        row("a reorg of 100 blocks, beyond what is read at once", |it| {
            it.activity();
            it.mine(100);
            it.in_step();
            it.chain.dev().reorg(104, Dropped);
            it.activity();
        }),
        row(
            "a reorg of 300 blocks, deeper than what is remembered",
            |it| deep_reorg(it, Dropped),
        ),
        row("a reorg of 300 blocks that keeps the bets", |it| {
            deep_reorg(it, Kept)
        }),
        row("a reorg to a lower head", |it| {
            it.activity();
            it.in_step();
            let head = it.chain.dev().head_number();
            it.chain.rpc("evm_snapshot", json!([]));
            it.mine(5);
            it.in_step();
            it.chain.rpc("evm_revert", json!(["0x0"]));
            assert_eq!(it.chain.dev().head_number(), head);
            it.mine(1);
        }),
        subscribed(row("a reorg of 3 blocks, announced", |it| {
            reorged(it, 3, Dropped)
        })),
        subscribed(row("a reorg of 300 blocks, announced", |it| {
            deep_reorg(it, Dropped)
        })),
    ]
}

fn lags() -> Vec<Row> {
    vec![
        always("nodes that trail by some blocks behind one URL", |chain| {
            chain.dev().faults().set(|it| it.lags = vec![0, 2, 0, 5, 1]);
        }),
        row(
            "a node that trails by more than is remembered behind one URL",
            |it| {
                it.mine(400);
                it.in_step();
                it.faults(0).set(|it| it.lags = vec![0, 350]);
                it.activity();
            },
        ),
        of_two(row("an endpoint that falls behind", |it| {
            it.faults(0).set(|it| it.lag_blocks = 4);
            it.activity();
        })),
        of_two(always("an endpoint that has always been behind", |chain| {
            chain.dev().faults().set(|it| it.lag_blocks = 3);
        })),
    ]
}

fn logs() -> Vec<Row> {
    vec![
        row("logs are left out for a while", |it| {
            struck(it, Fault::EmptyLogs, Some("eth_getLogs"), 3)
        }),
        of_two(row(
            "logs are left out for ever, by the first endpoint",
            |it| {
                it.faults(0)
                    .add(Fault::EmptyLogs, Some("eth_getLogs"), None);
                it.activity();
            },
        )),
        of_two(always(
            "logs of the history are left out, by the first endpoint",
            |chain| {
                chain
                    .dev()
                    .faults()
                    .add(Fault::EmptyLogs, Some("eth_getLogs"), None);
            },
        )),
        row("some logs are left out for a while", |it| {
            distort(it.faults(0), "eth_getLogs", Some(4), |logs| {
                with_logs(logs, |logs| drop(logs.pop()));
            });
            it.activity();
        }),
        of_two(row(
            "some logs are left out for ever, by the first endpoint",
            |it| {
                distort(it.faults(0), "eth_getLogs", None, |logs| {
                    with_logs(logs, |logs| drop(logs.remove(0)));
                });
                it.activity();
            },
        )),
        always("blooms are all zeros", |chain| {
            for method in ["eth_getBlockByNumber", "eth_getBlockByHash"] {
                distort(&chain.dev().faults(), method, None, |header| {
                    set_bloom(header, "0")
                });
            }
        }),
        always("blooms are wrong", |chain| {
            for method in ["eth_getBlockByNumber", "eth_getBlockByHash"] {
                distort(&chain.dev().faults(), method, None, |header| {
                    set_bloom(header, "1")
                });
            }
        }),
        row("a log comes twice", |it| {
            distort(it.faults(0), "eth_getLogs", Some(3), |logs| {
                with_logs(logs, |logs| logs.push(logs[0].clone()));
            });
            it.activity();
        }),
        row("a log is marked as removed", |it| {
            distort(it.faults(0), "eth_getLogs", Some(3), |logs| {
                with_logs(logs, |logs| logs[0]["removed"] = json!(true));
            });
            it.activity();
        }),
        row("a log of another contract", |it| {
            distort(it.faults(0), "eth_getLogs", Some(3), |logs| {
                with_logs(logs, |logs| {
                    logs[0]["address"] = json!(format!("0x{}", "77".repeat(20)))
                });
            });
            it.activity();
        }),
        row("a log of a block that nobody knows", |it| {
            distort(it.faults(0), "eth_getLogs", Some(3), |logs| {
                with_logs(logs, |logs| {
                    logs[0]["blockHash"] = json!(format!("0x{}", "77".repeat(32)))
                });
            });
            it.activity();
        }),
        always("hashes of blocks are refused in calls and logs", |chain| {
            chain
                .dev()
                .faults()
                .set(|it| it.refuses_block_hashes = true);
        }),
    ]
}

fn transport() -> Vec<Row> {
    const LIMITED: &str = "rate limit exceeded, try again in 1s";
    vec![
        row("429 with Retry-After", |it| {
            struck(it, Fault::Status(429, Some(1)), None, 2)
        }),
        row("429 without Retry-After", |it| {
            struck(it, Fault::Status(429, None), None, 4)
        }),
        row("a rate limit told in the body", |it| {
            let message = LIMITED.to_owned();
            struck(
                it,
                Fault::Error {
                    code: -32_005,
                    message,
                },
                None,
                3,
            )
        }),
        of_two(row("429 for ever, by the first endpoint", |it| {
            it.faults(0)
                .add(Fault::Status(429, Some(3_600)), None, None);
            it.activity();
        })),
        row("5xx", |it| struck(it, Fault::Status(502, None), None, 4)),
        of_two(row("403 for ever, by the first endpoint", |it| {
            it.faults(0).add(Fault::Status(403, None), None, None);
            it.activity();
        })),
        row("a page instead of JSON", |it| {
            struck(it, Fault::Html, None, 5)
        }),
        row("a body that ends in the middle", |it| {
            struck(it, Fault::Truncated, None, 4)
        }),
        row("a cut connection", |it| struck(it, Fault::Reset, None, 5)),
        row("a body of 40 MiB", |it| {
            struck(it, a_raw_answer("200 OK\r\n", 40 << 20), None, 2)
        }),
        of_two(row("a redirect", |it| {
            let head = "302 Found\r\nlocation: http://127.0.0.1:1/\r\n";
            it.faults(0).add(a_raw_answer(head, 0), None, None);
            it.activity();
        })),
        of_two(row("an endpoint that hangs", |it| {
            it.faults(0).add(Fault::Hang, None, None);
            it.activity();
        })),
        row("null for a block", |it| {
            struck(it, Fault::Null, Some("eth_getBlockByNumber"), 4)
        }),
        row("null for everything", |it| struck(it, Fault::Null, None, 6)),
        always("batches are refused", |chain| {
            chain.dev().faults().set(|it| it.refuses_batches = true);
        }),
        always("batches come back in another order", |chain| {
            chain.dev().faults().set(|it| it.reorders_batches = true);
        }),
        always("batches come back with an answer missing", |chain| {
            chain.dev().faults().set(|it| it.loses_batch_items = true);
        }),
        of_two(row("another chain after a reconnect", |it| {
            it.faults(0).set(|it| it.chain_id = Some(999));
            it.faults(0).set(|it| it.lag_blocks = 2);
            struck(it, Fault::Reset, None, 1);
            wait_for("the wrong chain to be noticed", || {
                let (_, status) = it.daemon.get("/api/operator/status");
                status["alerts"]
                    .to_string()
                    .contains("serves chain 999")
                    .then_some(())
            });
        })),
    ]
}

fn times() -> Vec<Row> {
    vec![
        row("an hour of outage and 2,000 missed blocks", |it| {
            it.faults(0).add(Fault::Reset, None, None);
            wait_for("the outage to be noticed", || {
                let (_, status) = it.daemon.get("/api/status");
                (status["chain"]["connection"]["reachable"] == false).then_some(())
            });
            it.chain.dev().increase_time(3_600);
            for _ in 0..8 {
                it.activity();
                it.mine(244);
            }
            it.faults(0).clear();
        }),
        row("four blocks a second, with equal timestamps", |it| {
            it.chain.dev().set_mining(Mining::IntervalMs(250));
            it.activity();
            it.activity();
            it.chain.dev().set_mining(Mining::Manual);
        }),
        subscribed(row("four blocks a second, announced", |it| {
            it.chain.dev().set_mining(Mining::IntervalMs(250));
            it.activity();
            it.activity();
            it.chain.dev().set_mining(Mining::Manual);
        })),
        subscribed(row("the usual, announced", |it| it.activity())),
        subscribed(row("the socket of the announcements drops", |it| {
            it.activity();
            it.faults(0).set(|it| it.refuses_websocket = true);
            it.chain.dev().cut_websockets();
            it.activity();
            it.in_step();
            it.faults(0).set(|it| it.refuses_websocket = false);
            it.activity();
        })),
        subscribed(row("the socket of the announcements falls silent", |it| {
            it.faults(0).set(|it| it.mute_websocket = true);
            it.activity();
        })),
    ]
}

/// Rows side by side; every one that fails is told, with why.
fn play_all(mut rows: Vec<Row>) {
    if let Ok(part) = std::env::var("ROW") {
        rows.retain(|row| row.name.contains(&part));
    }
    const SIDE_BY_SIDE: usize = 4;
    let (rows, next) = (Arc::new(rows), Arc::new(AtomicUsize::new(0)));
    let failed = Arc::new(Mutex::new(Vec::new()));
    let workers: Vec<_> = (0..SIDE_BY_SIDE)
        .map(|_| {
            let (rows, next, failed) = (rows.clone(), next.clone(), failed.clone());
            std::thread::spawn(move || {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::SeqCst)) {
                    if let Err(why) = std::panic::catch_unwind(|| play(row)) {
                        let why = why.downcast_ref::<String>().cloned().unwrap_or_default();
                        failed.lock().unwrap().push(format!("{}: {why}", row.name));
                    }
                }
            })
        })
        .collect();
    workers
        .into_iter()
        .for_each(|worker| worker.join().unwrap());
    let failed = failed.lock().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn reorgs_leave_what_a_fresh_start_holds() {
    play_all(reorgs());
}

#[test]
fn endpoints_that_trail_never_take_the_state_back() {
    play_all(lags());
}

#[test]
fn logs_are_believed_only_when_they_explain_the_state() {
    play_all(logs());
}

#[test]
fn whatever_the_wire_does_nothing_is_lost() {
    play_all(transport());
}

#[test]
fn outages_fast_blocks_and_lost_sockets_are_made_up_for() {
    play_all(times());
}
