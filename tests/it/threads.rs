//! Every thread fails once, by a panic and by a call that never returns: the rest goes on, health names it, and it is
//! restarted, or the process ends so that its supervisor starts it anew.

use serde_json::{json, Value};

use support::chain::{wait_for, Chain, Lottery, Timing};
use support::daemon::{Daemon, Options};
use support::BET_WEI;

const RESTARTED: [&str; 10] = [
    "event-manager",
    "endpoint-prober",
    "subscriber",
    "operator",
    "watcher",
    "feed",
    "gate",
    "web-worker-1",
    "web-worker-2",
    "webhook",
];
/// In place of a minute; half of it is more than any thread is idle for.
const STUCK_AFTER_SECS: u64 = 36;
/// Whoever wants to ask the daemon anything asks these.
const SERVING: [&str; 3] = ["gate", "web-worker-1", "web-worker-2"];

fn start(lottery: &Lottery, variable: &'static str, thread: &str) -> Daemon {
    let url = &lottery.chain.url;
    let config = json!({
        "server": {"metrics_listen": "127.0.0.1:0"},
        "blockchain": {"rpc_url": [url, url.replace("http", "ws")]},
        "event_manager": {"event_source": "eth_subscribe"},
        "operator": {"alert_webhook": "http://127.0.0.1:9/"},
    });
    let env = vec![
        (variable, thread.to_owned()),
        ("STUCK_AFTER_SECS", STUCK_AFTER_SECS.to_string()),
    ];
    Daemon::start(
        lottery,
        Options {
            config,
            env,
            quiet: true,
            ..Options::default()
        },
    )
}

fn component(daemon: &Daemon, name: &str) -> Value {
    let (_, health) = daemon.get("/api/health");
    let components = health["components"].as_array().unwrap();
    let found = components.iter().find(|known| known["name"] == name);
    found
        .unwrap_or_else(|| panic!("{name} is not among the components"))
        .clone()
}

/// A bet is read, shown and told.
fn all_goes_on(lottery: &Lottery, daemon: &Daemon) {
    let mut feed = daemon.feed("");
    let before = feed.wait("snapshot", |_| true);
    let before = before["payload"]["participants"]["totalAmountWei"].clone();
    lottery.bet(2, BET_WEI);
    feed.wait("participants_update", |payload| {
        payload["totalAmountWei"] != before && payload["totalAmountWei"] != "0"
    });
    wait_for("the bet in the API", || {
        let (_, round) = daemon.get("/api/round/status");
        (round["totalPotWei"] == lottery.round().total_pot_wei.to_string()).then_some(())
    });
}

fn panics(chain: &Chain, thread: &str) {
    let lottery = chain.deploy(Timing::default());
    let daemon = start(&lottery, "PANIC_ONCE_IN", thread);
    wait_for("the restart", || {
        let found = component(&daemon, thread);
        (found["restarts"] == 1 && found["running"] == true).then_some(())
    });
    let found = component(&daemon, thread);
    let error = found["lastError"].as_str().unwrap();
    assert!(error.starts_with("panicked: "), "{found}");
    all_goes_on(&lottery, &daemon);
    assert_eq!(daemon.get("/healthz").0, 200);
}

fn sticks(chain: &Chain, thread: &str) {
    let lottery = chain.deploy(Timing::default());
    let mut daemon = start(&lottery, "STICK_ONCE_IN", thread);
    if !SERVING.contains(&thread) {
        wait_for("health to name the stuck thread", || {
            let found = component(&daemon, thread);
            (found["turning"] == false).then_some(())
        });
        assert_eq!(daemon.get("/healthz").0, 503);
    }
    daemon.wait_log(&format!("{thread} has not turned for {STUCK_AFTER_SECS} s"));
    assert_eq!(daemon.ended().code(), Some(1));
}

/// Each thread's daemon on a chain of its own, side by side.
fn each(threads: &'static [&'static str], play: fn(&Chain, &str)) {
    let plays: Vec<_> = threads
        .iter()
        .map(|thread| {
            let play = std::thread::spawn(move || play(&Chain::devchain(1), thread));
            (*thread, play)
        })
        .collect();
    let failed: Vec<&str> = plays
        .into_iter()
        .filter_map(|(thread, play)| play.join().is_err().then_some(thread))
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn a_thread_that_panics_is_restarted_and_the_rest_goes_on() {
    each(&RESTARTED, panics);
}

#[test]
fn a_thread_that_hangs_is_named_and_ends_the_process() {
    each(&RESTARTED, sticks);
}

#[test]
fn the_stores_failure_ends_the_process() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let mut daemon = start(&lottery, "PANIC_ONCE_IN", "store");
    daemon.wait_log("store: panicked: ");
    assert_eq!(daemon.ended().code(), Some(1));
    let mut daemon = start(&lottery, "STICK_ONCE_IN", "store");
    daemon.wait_log(&format!("store has not turned for {STUCK_AFTER_SECS} s"));
    assert_eq!(daemon.ended().code(), Some(1));
}

/// Points in the driving of a transaction at which the operator is made to crash.
const CRASHES: [&str; 4] = [
    "operator-signed",
    "operator-sent",
    "operator-looked",
    "operator-replaced",
];

/// The operator crashes with a transaction out; after its restart it still knows it, and it is the one that is mined.
fn nothing_that_is_out_is_lost(chain: &Chain, point: &str) {
    let lottery = chain.deploy(Timing {
        betting: 6,
        min_draw_delay: 2,
        max_draw_delay: 62,
        min_extension: 20,
    });
    let daemon = start(&lottery, "PANIC_ONCE_AT", point);
    lottery.bet(2, BET_WEI);
    lottery.bet(3, BET_WEI);
    let sent_before = chain.dev().raw_transactions().len();
    chain.dev().hold_transactions(true);
    wait_for("the restart", || {
        (component(&daemon, "operator")["restarts"] == 1).then_some(())
    });
    wait_for("a transaction", || {
        (chain.dev().raw_transactions().len() > sent_before).then_some(())
    });
    let out = || daemon.get("/api/operator/status").1["inFlight"].clone();
    let known = wait_for("what is in flight", || {
        let known = out();
        known.is_object().then_some(known)
    });
    // A second action is refused, and what is out stays known.
    let body = json!({"roundId": 1, "force": true});
    let refused = daemon.act("/api/round/refund", &body);
    let error = refused["error"].as_str().unwrap();
    assert!(error.contains("is in flight"), "{refused}");
    assert_eq!(out()["nonce"], known["nonce"]);
    chain.dev().hold_transactions(false);
    wait_for("the draw", || (lottery.round().round_id == 2).then_some(()));
    // Done by the action that was begun before the crash, not by another one.
    wait_for("the action's end", || {
        let (_, action) = daemon.get("/api/operator/actions/auto-1-1");
        assert_ne!(action["state"], "failed", "{action}");
        (action["state"] == "done").then_some(())
    });
    assert_eq!(daemon.get("/api/operator/actions/auto-1-2").0, 404);
}

#[test]
fn a_crash_in_the_middle_of_a_draw_loses_no_transaction() {
    each(&CRASHES, nothing_that_is_out_is_lost);
}
