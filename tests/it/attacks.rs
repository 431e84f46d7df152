//! Each attack with a draw due in the middle of it: whatever goes on at the public port, others are answered and follow
//! the feed, memory stays bounded, the draw is in the first block that allows it, and afterwards all is as before.

use support::assault::{all, raise_descriptor_limit, Assault};
use support::chain::{wait_for, Chain};
use support::daemon::Daemon;
use support::BET_WEI;

/// More than before that may be left a minute after an attack, beside its bets.
const LEFT_KIB_MAX: u64 = 2_048;
/// A bet stays as an event that may be taken back, and as one of its round's in the history.
const BETS_PER_KIB: u64 = 2;

fn withstand(assault: &Assault) {
    let chain = Chain::devchain(2);
    let (lottery, daemon) = assault.prepare(&chain);
    answers(&daemon);
    let quiet_kib = daemon.allocated_kib();
    let ongoing = assault.begin(&daemon, &lottery);
    answers(&daemon);
    let mut feed = daemon.feed("");
    feed.wait("snapshot", |_| true);
    lottery.skip_to(lottery.round().min_draw_time - 6);
    wait_for("the draw", || {
        answers(&daemon);
        lottery.winner_of(1)
    });
    feed.wait("history_update", |update| update["round"]["roundId"] == 1);
    let drawn = &lottery.logs("RoundCompleted")[0];
    assert_eq!(lottery.blocks_late(drawn), 0);
    let resident_mib = daemon.resident_kib() / 1_024;
    assert!(
        resident_mib < assault.memory_max_mib,
        "{resident_mib} MiB are resident"
    );
    drop(ongoing);
    let mut feed = daemon.feed("");
    feed.wait("snapshot", |_| true);
    lottery.bet(4, BET_WEI);
    feed.wait("participants_update", |update| {
        update["totalParticipants"] == 1
    });
    answers(&daemon);
    let left_kib_max = LEFT_KIB_MAX + assault.bets / BETS_PER_KIB;
    wait_for("the memory to be given back", || {
        (daemon.allocated_kib() <= quiet_kib + left_kib_max).then_some(())
    });
    let (_, health) = daemon.get("/api/health");
    for component in health["components"].as_array().unwrap() {
        assert_eq!(component["restarts"], 0, "{component}");
    }
}

fn answers(daemon: &Daemon) {
    for path in ["/", "/healthz", "/api/round/status"] {
        assert_eq!(daemon.get(path).0, 200, "{path}");
    }
}

fn withstand_all(names: &[&str]) {
    raise_descriptor_limit();
    let assaults = all(1_000);
    for name in names {
        let assault = assaults.iter().find(|assault| assault.name == *name);
        withstand(assault.unwrap_or_else(|| panic!("{name} is no attack")));
    }
}

#[test]
fn idle_and_slow_clients() {
    withstand_all(&[
        "2,000 idle connections",
        "500 clients that send a byte a second",
    ]);
}

#[test]
fn clients_that_do_not_end_and_do_not_read() {
    withstand_all(&[
        "an endless header",
        "100 clients that pipeline and never read",
    ]);
}

#[test]
fn more_connections_than_descriptors() {
    withstand_all(&["300 connections on 256 descriptors"]);
}

#[test]
fn websocket_clients_that_never_read_or_never_stop_sending() {
    withstand_all(&[
        "50 WebSocket clients that never read",
        "20 WebSocket clients that never stop sending",
    ]);
}

#[test]
fn a_thousand_websocket_clients_and_random_bytes() {
    withstand_all(&["1,000 WebSocket clients", "random bytes on both ports"]);
}

#[test]
fn requests_that_do_not_end() {
    withstand_all(&[
        "a crowd whose bodies do not end",
        "a crowd whose heads do not end",
    ]);
}

#[test]
fn garbage_behind_requests() {
    withstand_all(&["a crowd that pipelines garbage"]);
}

#[test]
fn a_crowd_of_one_network_and_one_that_asks_for_what_is_not_ready() {
    withstand_all(&[
        "a crowd out of one /64 of IPv6",
        "256 clients that ask for what is not ready",
    ]);
}

#[test]
fn clients_that_fill_the_line() {
    withstand_all(&["five clients that fill the line of requests"]);
}

#[test]
fn a_herd_of_pages() {
    withstand_all(&["a herd of pages after a round of 1,500 bets"]);
}
