//! What is not known is said as unknown, by page, API and command alike: before a block was read, and before a round can
//! have a winner.

use serde_json::Value;
use tempfile::TempDir;

use support::chain::{wait_for, Chain, Timing};
use support::daemon::{lottery_in, Daemon, Options};
use support::BET_WEI;

/// The page as it is served, before any script has run.
fn page(daemon: &Daemon) -> String {
    let (status, page) = daemon.get("/");
    assert_eq!(status, 200);
    page.as_str().unwrap().to_owned()
}

#[test]
fn before_a_block_was_read_nothing_is_made_up() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = Daemon::without_chain(&lottery);
    let page = page(&daemon);
    for part in ["Reading the chain", "The pot is not known yet"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    for wrong in ["null", "obody has bet", "winner takes", "As of block"] {
        assert!(!page.contains(wrong), "{wrong}: {page}");
    }
    let (_, round) = daemon.get("/api/round/status");
    for key in ["roundId", "phase", "totalPotWei", "participantCount"] {
        assert_eq!(round[key], Value::Null, "{key}: {round}");
    }
    let port = daemon.url.rsplit(':').next().unwrap();
    let dir = TempDir::new().unwrap();
    let output = lottery_in(&dir)
        .args(["status", "--set", &format!("server.port={port}")])
        .output();
    let told = String::from_utf8(output.unwrap().stdout).unwrap();
    for line in [
        "block       not known yet",
        "round       not known yet",
        "players     not known yet",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    assert!(!told.contains("null"), "{told}");
}

#[test]
fn a_prize_is_named_once_enough_have_bet() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = Daemon::quiet(&lottery, Options::default());
    for (bettor, words, unsaid) in [
        (2, "1 player · 1 more needed for a draw", "winner takes"),
        (3, "2 players · winner takes 0.0", "more needed"),
    ] {
        lottery.bet(bettor, BET_WEI);
        let page = wait_for(words, || {
            Some(page(&daemon)).filter(|page| page.contains(words))
        });
        assert!(!page.contains(unsaid), "{unsaid}: {page}");
    }
}
