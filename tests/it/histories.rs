//! Whole histories of random rounds on the real contract: every round verifies, every wei is accounted for.
//! What single rounds and tampered chains must show is left to `proofs`, and to `many` what a long history must.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc, Mutex};
use std::time::Duration;

use devchain::{Config, Distortion, Family, Fault, Reorged};
use serde_json::{json, Value};

use support::chain::{wait_for, Chain, Lottery, Timing};
use support::history::{Ending, History};
use support::BET_WEI;

use crate::proofs::run_at;

/// All endings, so that no history leaves one to chance.
const ENDINGS: [Ending; 6] = [
    Ending::Drawn { late_secs: 0 },
    Ending::TwoInOneBlock,
    Ending::TooFew,
    Ending::Drawn { late_secs: 30 },
    Ending::RefundedByOperator,
    Ending::RefundedAsExpired,
];

fn play(history: &mut History, random_rounds: usize) {
    for ending in ENDINGS {
        history.play(4, ending);
    }
    for index in 0..random_rounds {
        let ending = history.any_ending();
        history.play(2 + index % 9, ending);
    }
}

/// Every round that the chain's own logs tell of is in the audit, and is verified. How many rounds those are.
pub(crate) fn all_are_verified(url: &str, lottery: &Lottery, of: &str) -> u64 {
    let output = run_at(url, lottery, &["audit", "--json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    let body: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    assert_eq!(body["findings"], json!([]), "{of}: {said}");
    assert_eq!(output.status.code(), Some(0), "{of}: {said}");
    let drawn = lottery.logs("RoundCompleted").len() as u64;
    let refunded = lottery.logs("RoundRefunded").len() as u64;
    let account = &body["account"];
    assert_eq!(
        (&account["drawn"], &account["refunded"]),
        (&json!(drawn), &json!(refunded)),
        "{of}"
    );
    assert_eq!(account["verified"], drawn + refunded, "{of}: {account}");
    assert_eq!(account["bets"], lottery.logs("BetPlaced").len(), "{of}");
    assert!(drawn >= 2 && refunded >= 4, "{of}: {account}");
    drawn + refunded
}

/// Blocks with a log of that event, one for each log.
fn blocks_of(lottery: &Lottery, event: &str) -> Vec<Value> {
    let logs = lottery.logs(event);
    logs.iter().map(|log| log["blockNumber"].clone()).collect()
}

/// Two rounds in one block, and a bet in the block of a draw: the histories have them.
fn has_shared_blocks(lottery: &Lottery, of: &str) {
    let mut refunds = blocks_of(lottery, "RoundRefunded");
    let all = refunds.len();
    refunds.dedup();
    assert!(refunds.len() < all, "{of}: no two rounds in one block");
    let bets = blocks_of(lottery, "BetPlaced");
    let draws = blocks_of(lottery, "RoundCompleted");
    let is_shared = draws.iter().any(|block| bets.contains(block));
    assert!(is_shared, "{of}: no bet in the block of a draw");
}

/// Headers do not tell mixHash at all from here on.
fn leave_out_mix_hashes(chain: &Chain) {
    let without = Distortion::new(|block| {
        if let Some(block) = block.as_object_mut() {
            block.remove("mixHash");
        }
    });
    let faults = &chain.dev().endpoints()[0].faults;
    for method in ["eth_getBlockByNumber", "eth_getBlockByHash"] {
        faults.add(Fault::Distort(without.clone()), Some(method), None);
    }
}

/// An EVM refuses code that begins with 0xef (EIP-3541), also as the answer of code that is only tried.
#[test]
fn a_draw_whose_prevrandao_cannot_begin_a_contract_is_verified() {
    let chain = Chain::devchain_on(Config::default(), 1);
    let lottery = chain.deploy(Timing::default());
    History::new(&lottery, 1, 7).play(4, Ending::Drawn { late_secs: 0 });
    let begins_as_none_may = || {
        let block = chain.rpc("eth_getBlockByNumber", json!(["latest", false]));
        block["mixHash"]
            .as_str()
            .expect("a hash")
            .starts_with("0xef")
    };
    while !begins_as_none_may() {
        chain.dev().reorg(1, Reorged::Kept);
    }
    assert_eq!(lottery.logs("RoundCompleted").len(), 1);
    leave_out_mix_hashes(&chain);
    let url = chain.dev().endpoints()[0].url();
    let output = run_at(&url, &lottery, &["audit", "--json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
}

#[test]
fn random_rounds_are_verified_on_every_family_of_chains() {
    for (seed, family) in [
        (0, Family::Optimism),
        (1, Family::Ethereum),
        (2, Family::Difficulty),
        (3, Family::Orbit),
        (4, Family::Constant),
        (5, Family::Ethereum),
        (6, Family::Ethereum),
    ] {
        let chain = Chain::devchain_on(
            Config {
                family,
                ..Config::default()
            },
            1,
        );
        let lottery = chain.deploy(Timing::default());
        let mut history = History::new(&lottery, seed, 7);
        // A branch that is taken back and mined anew has other hashes, and so other winners.
        history.has_reorgs = seed > 4;
        play(&mut history, 10);
        let url = chain.dev().endpoints()[0].url();
        let of = format!("{family:?}, seed {seed}");
        all_are_verified(&url, &lottery, &of);
        has_shared_blocks(&lottery, &of);
        assert_eq!(history.reorgs > 0, history.has_reorgs, "{of}");
        // The opcodes still tell it.
        leave_out_mix_hashes(&chain);
        all_are_verified(&url, &lottery, &format!("{of}, without mixHash"));
    }
}

/// The head is read first, and its logs last.
#[test]
fn a_head_that_is_taken_back_while_an_audit_reads_makes_nothing_up() {
    let chain = Chain::devchain_on(Config::default(), 1);
    let lottery = chain.deploy(Timing::default());
    for player in 2..5 {
        lottery.bet(player, BET_WEI);
    }
    let endpoint = &chain.dev().endpoints()[0];
    let slow = Fault::Latency(Duration::from_secs(2));
    endpoint.faults.add(slow, Some("eth_getLogs"), None);
    let url = endpoint.url();
    let output = std::thread::scope(|scope| {
        let audit = scope.spawn(|| run_at(&url, &lottery, &["audit", "--json"]));
        let asked = || endpoint.faults.struck() > 0;
        wait_for("the reading of logs", || asked().then_some(()));
        chain.dev().reorg(1, Reorged::Dropped);
        while chain.head().0 < 4 {
            chain.dev().mine();
        }
        audit.join().unwrap()
    });
    let said = String::from_utf8_lossy(&output.stderr);
    let body: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    assert_eq!(body["findings"], json!([]), "{said}");
    assert_eq!(body["account"]["bets"], 2, "{said}");
    assert_eq!(output.status.code(), Some(0), "{said}");
}

/// The last block of the first range that an audit reads of a young chain.
const FIRST_RANGE_ENDS: u64 = 64;

/// Told of once the first range's last block has been shown, and the logs of the second are about to be: they wait for an
/// answer.
fn between_two_ranges(chain: &Chain) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
    let ((reached, is_reached), (go_on, may_go_on)) = (mpsc::channel(), mpsc::channel());
    let number = |of: &Value| {
        let text = of.as_str().unwrap_or("0x0");
        u64::from_str_radix(&text[2..], 16).expect("a quantity")
    };
    let is_first_read = Arc::new(AtomicBool::new(false));
    let read = is_first_read.clone();
    let headers = Distortion::new(move |block| {
        if number(&block["number"]) == FIRST_RANGE_ENDS {
            read.store(true, Ordering::SeqCst);
        }
    });
    let once = Mutex::new(Some((reached, may_go_on)));
    let logs = Distortion::new(move |logs| {
        if number(&logs[0]["blockNumber"]) <= FIRST_RANGE_ENDS {
            return;
        }
        let once = once.lock().expect("nobody panics with it").take();
        if let Some((reached, may_go_on)) = once {
            let is_read = || is_first_read.load(Ordering::SeqCst).then_some(());
            wait_for("the first range", is_read);
            let _ = reached.send(());
            let _ = may_go_on.recv();
        }
    });
    let faults = &chain.dev().endpoints()[0].faults;
    faults.add(Fault::Distort(headers), Some("eth_getBlockByNumber"), None);
    faults.add(Fault::Distort(logs), Some("eth_getLogs"), None);
    (is_reached, go_on)
}

#[test]
fn what_is_taken_back_between_two_ranges_of_an_audit_is_read_again() {
    let chain = Chain::devchain_on(Config::default(), 1);
    let lottery = chain.deploy(Timing::default());
    lottery.bet(2, BET_WEI);
    for bet_at in [62, 67] {
        while chain.head().0 + 1 < bet_at {
            chain.dev().mine();
        }
        lottery.bet(3, BET_WEI);
    }
    let head = chain.head().0;
    let (is_reached, go_on) = between_two_ranges(&chain);
    let url = chain.dev().endpoints()[0].url();
    let output = std::thread::scope(|scope| {
        let audit = scope.spawn(|| run_at(&url, &lottery, &["audit", "--json"]));
        is_reached.recv().expect("the second range is asked for");
        // The first range ended on the branch that goes.
        chain.dev().reorg(head - 60, Reorged::Dropped);
        while chain.head().0 < head {
            chain.dev().mine();
        }
        go_on.send(()).expect("the second range waits");
        audit.join().unwrap()
    });
    let said = String::from_utf8_lossy(&output.stderr);
    let body: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(body["findings"], json!([]), "{said}");
    assert_eq!(body["account"]["bets"], 1, "{said}");
}
