//! Rounds with as many players as one transaction can carry, under EIP-7825's cap on a transaction's gas and with the
//! large blocks of chains that have none.

use std::time::Duration;

use devchain::{Config, Fault, Mining};
use serde_json::json;

use support::chain::{wait_for, Chain, Lottery, Timing};
use support::daemon::{Daemon, Options};
use support::history::History;

const TRANSACTION_GAS_MAX: u64 = 16_777_216;

fn capped(players: usize) -> Chain {
    Chain::devchain_with(Config {
        more_accounts: players,
        transaction_gas_max: Some(TRANSACTION_GAS_MAX),
        ..Config::default()
    })
}

/// A round in which so many players have bet, on a chain that then has a block each second.
fn crowded(lottery: &Lottery, players: usize) {
    History::new(lottery, 1, players).crowd(players);
    assert_eq!(lottery.round().participant_count, players as u64);
    let mining = Mining::IntervalMs(1_000);
    lottery.chain.dev().set_mining(mining);
}

fn alerts(daemon: &Daemon) -> String {
    daemon.get("/api/operator/status").1["alerts"].to_string()
}

fn until_ended(lottery: &Lottery) {
    wait_for("the round's end", || {
        (lottery.round().round_id > 1).then_some(())
    });
}

#[test]
fn fifteen_hundred_players_are_told_while_they_bet_and_drawn_under_the_cap() {
    let chain = capped(1_500);
    let lottery = chain.deploy(Timing::default());
    crowded(&lottery, 1_500);
    let daemon = Daemon::start(&lottery, Options::default());
    let told = wait_for("the alert while bets are taken", || {
        let told = alerts(&daemon);
        told.contains("too_many_players").then_some(told)
    });
    assert!(told.contains("1500 players"), "{told}");
    let (_, time) = chain.head();
    assert!(time < lottery.round().end_time, "betting is over: {time}");
    lottery.skip_to(lottery.round().min_draw_time - 2);
    until_ended(&lottery);
    assert_eq!(lottery.logs("RoundCompleted").len(), 1, "it was not drawn");
}

/// The check alone is slow, at a node that does it beside its blocks; where it began with the window the draw would be as
/// many seconds late.
#[test]
fn a_draw_of_fifteen_hundred_is_checked_before_its_window() {
    let chain = Chain::devchain_with(Config {
        more_accounts: 1_500,
        ..Config::default()
    });
    let lottery = chain.deploy(Timing::default());
    crowded(&lottery, 1_500);
    let slow = Fault::Latency(Duration::from_secs(8));
    let method = Some("eth_estimateGas");
    chain.dev().faults().add(slow, method, None);
    // A debug build of the chain takes seconds to try a draw.
    let config = json!({"blockchain": {"rpc_timeout": 30}});
    let options = Options {
        config,
        ..Options::default()
    };
    let _daemon = Daemon::start(&lottery, options);
    lottery.skip_to(lottery.round().min_draw_time - 55);
    let drawn = wait_for("the draw", || lottery.logs("RoundCompleted").pop());
    let late = lottery.blocks_late(&drawn);
    assert!(late <= 2, "{late} blocks late");
}

#[test]
fn seven_hundred_players_are_refunded_under_the_cap() {
    let chain = capped(700);
    let lottery = chain.deploy(Timing::default());
    crowded(&lottery, 700);
    lottery.skip_to(lottery.round().max_draw_time + 1);
    let _daemon = Daemon::start(&lottery, Options::default());
    until_ended(&lottery);
    let refunded = lottery.logs("RoundRefunded");
    assert_eq!(refunded.len(), 1);
    let balance = chain.rpc(
        "eth_getBalance",
        json!([support::chain::hex_address(lottery.address), "latest"]),
    );
    assert_eq!(balance, "0x0", "not everything was paid back");
}

#[test]
#[ignore = "plays five thousand bets: half a minute"]
fn five_thousand_players_are_drawn_where_blocks_are_large() {
    let chain = Chain::devchain_with(Config {
        more_accounts: 5_000,
        gas_limit: 200_000_000,
        ..Config::default()
    });
    let lottery = chain.deploy(Timing::default());
    crowded(&lottery, 5_000);
    lottery.skip_to(lottery.round().min_draw_time - 15);
    let _daemon = Daemon::start(&lottery, Options::default());
    until_ended(&lottery);
    assert_eq!(lottery.logs("RoundCompleted").len(), 1);
}
