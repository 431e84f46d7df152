//! Whole rounds, end to end: bets on a real EVM, the real binary, and what chain, API and feed say of each end.

use serde_json::{json, Value};

use support::chain::{hex_address, wait_for, Chain, Lottery, Timing, CHAIN_ID};
use support::daemon::{lottery_in, Daemon, Options};
use support::BET_WEI;

/// Runs each test on devchain, and on anvil where that is installed.
macro_rules! on_both_chains {
    ($($name:ident),* $(,)?) => {
        mod devchain { $( #[test] fn $name() { super::$name(&super::Chain::devchain(1)); } )* }
        mod anvil {
            $( #[test] #[ignore = "needs anvil"] fn $name() { super::$name(&super::Chain::anvil(1)); } )*
        }
    };
}

on_both_chains!(
    rounds_are_drawn_and_refunded,
    manual_actions_work_with_the_automatic_operator_disabled,
    manual_actions_work_just_after_the_operator_crashed,
    a_restart_in_the_middle_of_a_round_loses_nothing,
    a_signal_ends_it_cleanly,
    without_a_key_it_follows_and_serves,
    a_draw_is_verified_from_the_chain_alone,
);

fn bets(lottery: &Lottery, players: std::ops::Range<usize>) {
    for player in players {
        lottery.bet(player, BET_WEI * player as u64);
    }
}

/// Lets chain time reach the draw window.
fn to_the_window(lottery: &Lottery) {
    lottery.skip_to(lottery.round().min_draw_time.saturating_sub(2));
}

fn ended(lottery: &Lottery, round_id: u64) {
    wait_for("the round's end", || {
        (lottery.round().round_id > round_id).then_some(())
    });
}

fn history_row(daemon: &Daemon, round_id: u64) -> Value {
    wait_for("the round in the history", || {
        let (status, history) = daemon.get("/api/history");
        assert_eq!(status, 200, "{history}");
        let rounds = history["rounds"].as_array().unwrap();
        rounds
            .iter()
            .find(|round| round["roundId"] == round_id)
            .cloned()
    })
}

fn rounds_are_drawn_and_refunded(chain: &Chain) {
    let lottery = chain.deploy(Timing::default());
    let daemon = Daemon::start(&lottery, Options::default());
    let mut feed = daemon.feed("");
    assert_eq!(feed.read()["type"], "snapshot");
    for round_id in 1..=3 {
        bets(&lottery, 2..5);
        to_the_window(&lottery);
        ended(&lottery, round_id);
        let winner = lottery
            .winner_of(round_id)
            .expect("the chain names a winner");
        let told = feed.wait("history_update", |payload| {
            payload["round"]["roundId"] == round_id
        });
        let row = history_row(&daemon, round_id);
        for seen in [&told["payload"]["round"], &row] {
            assert_eq!(seen["type"], "RoundCompleted");
            assert_eq!(
                seen["winner"].as_str().unwrap().to_lowercase(),
                hex_address(winner)
            );
            assert_eq!(seen["verdict"], "verified", "{seen}");
        }
    }
    // Chain time leaps over the whole window: only the guarded refund is left.
    bets(&lottery, 2..4);
    lottery.skip_to(lottery.round().max_draw_time + 1);
    ended(&lottery, 4);
    let row = history_row(&daemon, 4);
    assert_eq!(row["refundReason"], "Draw time expired - public refund");
    feed.wait("history_update", |payload| payload["round"]["roundId"] == 4);
    // One player is fewer than minParticipants: the draw itself refunds.
    bets(&lottery, 2..3);
    to_the_window(&lottery);
    ended(&lottery, 5);
    assert_eq!(
        history_row(&daemon, 5)["refundReason"],
        "Insufficient participants"
    );
    feed.wait("history_update", |payload| {
        payload["round"]["type"] == "RoundRefunded"
    });
    let (_, history) = daemon.get("/api/history");
    assert_eq!(history["summary"]["completedRounds"], 3);
    assert_eq!(history["summary"]["refundedRounds"], 2);
}

fn manual_draw_and_refund(chain: &Chain, lottery: &Lottery, daemon: &Daemon) {
    bets(lottery, 2..4);
    wait_for("the bets in the API", || {
        let (_, round) = daemon.get("/api/round/status");
        (round["participantCount"] == 2).then_some(())
    });
    let first = lottery.round().round_id;
    let (status, refusal) = daemon.post("/api/round/draw", &json!({"roundId": first + 7}));
    assert_eq!(status, 409, "{refusal}");
    to_the_window(lottery);
    wait_for("the window in the API", || {
        let (_, round) = daemon.get("/api/round/status");
        (round["phase"] == "draw_window").then_some(())
    });
    let action = daemon.act("/api/round/draw", &json!({"roundId": first}));
    assert_eq!(action["state"], "done", "{action}");
    assert!(lottery.winner_of(first).is_some());

    bets(lottery, 2..4);
    wait_for("the next round in the API", || {
        let (_, round) = daemon.get("/api/round/status");
        (round["roundId"] == first + 1 && round["participantCount"] == 2).then_some(())
    });
    let early = daemon.post("/api/round/refund", &json!({"roundId": first + 1}));
    assert_eq!(early.0, 409, "{}", early.1);
    let forced = daemon.act(
        "/api/round/refund",
        &json!({"roundId": first + 1, "force": true}),
    );
    assert_eq!(forced["state"], "done", "{forced}");
    assert_eq!(
        history_row(daemon, first + 1)["refundReason"],
        "Operator-initiated refund"
    );
    assert_eq!(chain.try_rpc("eth_chainId", json!([])).unwrap(), "0x7a69");
}

fn manual_actions_work_with_the_automatic_operator_disabled(chain: &Chain) {
    let lottery = chain.deploy(Timing::default());
    let daemon = Daemon::switched_off(&lottery);
    manual_draw_and_refund(chain, &lottery, &daemon);
}

fn manual_actions_work_just_after_the_operator_crashed(chain: &Chain) {
    let lottery = chain.deploy(Timing::default());
    let env = vec![("PANIC_ONCE_IN", "operator".to_owned())];
    let daemon = Daemon::start(
        &lottery,
        Options {
            env,
            ..Options::default()
        },
    );
    let restarted = || {
        let (_, health) = daemon.get("/api/health");
        let components = health["components"].as_array().unwrap();
        let operator = components
            .iter()
            .find(|component| component["name"] == "operator")
            .unwrap();
        (operator["restarts"] == 1 && operator["running"] == true).then_some(())
    };
    wait_for("the restart of the operator", restarted);
    bets(&lottery, 2..4);
    let round_id = lottery.round().round_id;
    wait_for("the bets in the API", || {
        let (_, round) = daemon.get("/api/round/status");
        (round["participantCount"] == 2).then_some(())
    });
    let forced = daemon.act(
        "/api/round/refund",
        &json!({"roundId": round_id, "force": true}),
    );
    assert_eq!(forced["state"], "done", "{forced}");
    // The automatic operator is back as well.
    bets(&lottery, 2..4);
    to_the_window(&lottery);
    ended(&lottery, round_id + 1);
    assert!(lottery.winner_of(round_id + 1).is_some());
}

fn a_restart_in_the_middle_of_a_round_loses_nothing(chain: &Chain) {
    let lottery = chain.deploy(Timing::default());
    let daemon = Daemon::start(&lottery, Options::default());
    bets(&lottery, 2..4);
    to_the_window(&lottery);
    ended(&lottery, 1);
    bets(&lottery, 2..5);
    wait_for("the bets in the API", || {
        let (_, round) = daemon.get("/api/round/status");
        (round["participantCount"] == 3).then_some(())
    });
    let (_, before) = daemon.get("/api/round/participants");
    daemon.stop();
    let daemon = Daemon::start(&lottery, Options::default());
    wait_for("the round after the restart", || {
        let (_, status) = daemon.get("/api/status");
        (status["asOf"]["syncing"] == false).then_some(())
    });
    let (_, after) = daemon.get("/api/round/participants");
    assert_eq!(before["participants"], after["participants"]);
    assert_eq!(history_row(&daemon, 1)["type"], "RoundCompleted");
    to_the_window(&lottery);
    ended(&lottery, 2);
    assert!(lottery.winner_of(2).is_some());
    assert_eq!(history_row(&daemon, 2)["verdict"], "verified");
}

fn a_signal_ends_it_cleanly(chain: &Chain) {
    let lottery = chain.deploy(Timing::default());
    let daemon = Daemon::start(&lottery, Options::default());
    let mut feed = daemon.feed("");
    assert_eq!(feed.read()["type"], "snapshot");
    let watcher = std::thread::spawn(move || {
        feed.wait("shutdown", |_| true);
        feed.read()
    });
    let (status, took) = daemon.stop();
    assert_eq!(status.code(), Some(0));
    assert!(took.as_secs() < 2, "it took {took:?}");
    assert_eq!(
        watcher.join().unwrap(),
        json!({"type": "close", "code": 1001})
    );
}

fn without_a_key_it_follows_and_serves(chain: &Chain) {
    let lottery = chain.deploy(Timing::default());
    let daemon = Daemon::start(
        &lottery,
        Options {
            without_key: true,
            ..Options::default()
        },
    );
    bets(&lottery, 2..4);
    let mut feed = daemon.feed("");
    feed.wait("snapshot", |_| true);
    lottery.bet(5, BET_WEI);
    let update = feed.wait("participants_update", |payload| {
        payload["totalParticipants"] == 3
    });
    assert_eq!(update["payload"]["roundId"], 1);
    let (status, operator) = daemon.get("/api/operator/status");
    assert_eq!((status, &operator["keyLoaded"]), (200, &json!(false)));
    let (status, refused) = daemon.post("/api/round/refund", &json!({"roundId": 1, "force": true}));
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("no_key")));
}

fn a_draw_is_verified_from_the_chain_alone(chain: &Chain) {
    let lottery = chain.deploy(Timing::default());
    bets(&lottery, 2..6);
    lottery.skip_to(lottery.round().min_draw_time);
    lottery.operate("drawWinner", &[]);
    lottery.bet(2, BET_WEI);
    lottery.operate("refundRound", &[]);
    let dir = tempfile::TempDir::new().unwrap();
    let verify = |arguments: &[&str]| {
        let output = lottery_in(&dir)
            .arg("verify")
            .args(arguments)
            .args(["--set", &format!("blockchain.rpc_url={}", chain.url)])
            .args(["--set", &format!("blockchain.chain_id={CHAIN_ID}")])
            .args([
                "--set",
                &format!(
                    "blockchain.contract_address={}",
                    hex_address(lottery.address)
                ),
            ])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text)
    };
    let (code, text) = verify(&["1"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("verdict           verified"), "{text}");
    let (code, json) = verify(&["1", "--json"]);
    let round: Value = serde_json::from_str(&json).unwrap();
    let winner = round["proof"]["recomputedWinner"].as_str().unwrap();
    assert_eq!(code, Some(0));
    assert_eq!(
        winner.to_lowercase(),
        hex_address(lottery.winner_of(1).unwrap())
    );
    let (code, text) = verify(&["2"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("nothing was drawn"), "{text}");
    assert!(text.contains("verdict           verified"), "{text}");
    assert_eq!(verify(&["3"]).0, Some(3));
}
