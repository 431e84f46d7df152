//! Signers of other makers in place of a key: a daemon that holds none draws and refunds by what they sign, tells when they
//! are silent, and goes on by itself when they are back.

use std::process::Command;

use serde_json::{json, Value};
use support::chain::{
    hex_address, wait_for, Chain, Lottery, Timing, CHAIN_ID, OPERATOR, OPERATOR_KEY,
};
use support::daemon::{lottery_in, Daemon, Options};
use support::BET_WEI;
use tempfile::TempDir;

use support::programs::free_port;

use crate::foreign::Program;

/// eth-account behind HTTP, in the dress of web3signer or of clef.
fn eth_account(port: u16, dialect: &str) -> Program {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/packaging/signer.py");
    let port = port.to_string();
    let signer = Program::start(Command::new(python).args([script, &port, OPERATOR_KEY, dialect]));
    signer.wait("signing");
    signer
}

fn config(lottery: &Lottery, signer_url: &str) -> Value {
    let account = hex_address(lottery.chain.account(OPERATOR));
    json!({
        "blockchain": {"operator_address": account},
        "operator": {"signer_url": signer_url},
    })
}

fn keyless(config: Value) -> Options {
    Options {
        config,
        without_key: true,
        ..Options::default()
    }
}

/// Two bets, and chain time just before the window.
fn play_to_the_window(lottery: &Lottery) {
    lottery.bet(2, BET_WEI);
    lottery.bet(3, BET_WEI);
    lottery.skip_to(lottery.round().min_draw_time - 4);
}

fn is_firing(daemon: &Daemon, code: &str) -> bool {
    let (_, status) = daemon.get("/api/operator/status");
    let alerts = status["alerts"].as_array().unwrap();
    alerts.iter().any(|alert| alert["code"] == code)
}

#[test]
#[ignore = "needs Python with eth-account"]
fn eth_account_signs_draws_and_refunds_in_either_dialect() {
    for dialect in ["web3signer", "clef"] {
        let chain = Chain::devchain(1);
        let lottery = chain.deploy(Timing::default());
        let port = free_port();
        let _signer = eth_account(port, dialect);
        let url = format!("http://127.0.0.1:{port}");
        let daemon = Daemon::start(&lottery, keyless(config(&lottery, &url)));
        daemon.wait_ready();
        play_to_the_window(&lottery);
        wait_for("the draw", || lottery.winner_of(1));
        lottery.bet(2, BET_WEI);
        wait_for("the next round", || {
            let (_, round) = daemon.get("/api/round/status");
            (round["roundId"] == 2 && round["participantCount"] == 1).then_some(())
        });
        let refund = daemon.act("/api/round/refund", &json!({"roundId": 2, "force": true}));
        assert_eq!(refund["state"], "done", "{dialect}: {refund}");
    }
}

#[test]
#[ignore = "needs Python with eth-account"]
fn an_outage_of_the_signer_in_the_window_is_told_and_ends_with_the_draw() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let port = free_port();
    let signer = eth_account(port, "web3signer");
    let url = format!("http://user:s3cretword@127.0.0.1:{port}/k3y-in-a-path");
    let daemon = Daemon::start(&lottery, keyless(config(&lottery, &url)));
    daemon.wait_ready();
    drop(signer);
    play_to_the_window(&lottery);
    wait_for("the alert", || {
        is_firing(&daemon, "signer_failed").then_some(())
    });
    lottery.skip_to(lottery.round().min_draw_time + 5);
    let line = daemon.wait_log("the signer does not sign");
    assert!(
        !line.contains("s3cretword") && !line.contains("k3y-in-a-path"),
        "{line}"
    );
    assert_eq!(lottery.winner_of(1), None);
    let _signer = eth_account(port, "web3signer");
    wait_for("the draw", || lottery.winner_of(1));
    wait_for("the alert's end", || {
        (!is_firing(&daemon, "signer_failed")).then_some(())
    });
}

#[test]
#[ignore = "needs anvil"]
fn check_asks_the_signer_for_a_draw_that_no_block_can_take() {
    // Anvil signs for its accounts as nodes used to: one more maker's signer.
    let chain = Chain::anvil(1);
    let lottery = chain.deploy(Timing::default());
    let dir = TempDir::new().unwrap();
    let check = |signer_url: &str| {
        let mut config = config(&lottery, signer_url);
        config["blockchain"]["rpc_url"] = json!(chain.url);
        config["blockchain"]["chain_id"] = json!(CHAIN_ID);
        config["blockchain"]["contract_address"] = json!(hex_address(lottery.address));
        std::fs::write(dir.path().join("lottery.conf"), config.to_string()).unwrap();
        let output = lottery_in(&dir).arg("check").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text)
    };
    let (code, text) = check(&chain.url);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("signs a draw that no block can take"),
        "{text}"
    );
    let (code, text) = check(&format!("http://127.0.0.1:{}", free_port()));
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("the signer does not sign"), "{text}");
    // And a whole round by it.
    let daemon = Daemon::start(&lottery, keyless(config(&lottery, &chain.url)));
    daemon.wait_ready();
    play_to_the_window(&lottery);
    wait_for("the draw", || lottery.winner_of(1));
}
