//! `lottery verify` and `lottery audit` on the real contract: on every family of chains, far back, and on chains that were tampered with.

use std::process::{Command, Output};

use devchain::{Config, Distortion, Family, Fault};
use serde_json::{json, Value};

use lottery::chain::types::to_checksum;
use support::chain::{hex_address, Chain, Lottery, Timing, CHAIN_ID, OPERATOR};
use support::daemon::{lottery_in, Daemon};
use support::BET_WEI;

/// What an endpoint says that has no old states.
const PRUNED: &str = "missing trie node";

fn chain(family: Family) -> Chain {
    let config = Config {
        family,
        ..Config::default()
    };
    Chain::devchain_on(config, 1)
}

/// Plays a round of `players` that is drawn in the first second that allows it.
fn drawn(lottery: &Lottery, players: std::ops::Range<usize>) {
    for player in players {
        lottery.bet(player, BET_WEI * player as u64);
    }
    let min_draw_time = lottery.round().min_draw_time;
    let chain = &lottery.chain;
    chain.rpc("evm_setNextBlockTimestamp", json!([min_draw_time]));
    lottery.operate("drawWinner", &[]);
}

/// The command's exit code, its JSON, and what it said on the side.
fn verify(chain: &Chain, lottery: &Lottery, round_id: u64) -> (Option<i32>, Value, String) {
    let output = run(chain, lottery, &["verify", &round_id.to_string(), "--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let round = serde_json::from_str(&text).unwrap_or(Value::Null);
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), round, said)
}

fn run(chain: &Chain, lottery: &Lottery, arguments: &[&str]) -> Output {
    run_at(&chain.dev().endpoints()[0].url(), lottery, arguments)
}

/// The command over the endpoint at `url` alone.
pub(crate) fn run_at(url: &str, lottery: &Lottery, arguments: &[&str]) -> Output {
    let dir = tempfile::TempDir::new().unwrap();
    let address = hex_address(lottery.address);
    lottery_in(&dir)
        .args(arguments)
        .args(["--set", &format!("blockchain.rpc_url={url}")])
        .args(["--set", &format!("blockchain.chain_id={CHAIN_ID}")])
        .args(["--set", &format!("blockchain.contract_address={address}")])
        .output()
        .unwrap()
}

#[test]
fn draws_are_verified_on_every_family_of_chains() {
    for (family, known_ahead) in [
        (Family::Ethereum, false),
        (Family::Optimism, false),
        (Family::Difficulty, true),
        (Family::Orbit, true),
        (Family::Constant, true),
    ] {
        let chain = chain(family);
        let lottery = chain.deploy(Timing::default());
        drawn(&lottery, 2..6);
        let (code, round, said) = verify(&chain, &lottery, 1);
        assert_eq!(round["verdict"], "verified", "{family:?} {round} {said}");
        assert_eq!(code, Some(0));
        let randomness = json!({"source": "opcode", "knownAhead": known_ahead});
        assert_eq!(round["proof"]["randomness"], randomness, "{family:?}");
        assert_eq!(round["drawDelayBlocks"], 0, "{family:?} {round}");
        let winner = round["proof"]["recomputedWinner"].as_str().unwrap();
        let drawn = hex_address(lottery.winner_of(1).unwrap());
        assert_eq!(winner.to_lowercase(), drawn);
    }
}

#[test]
fn a_round_far_back_costs_few_calls_where_old_states_are_told() {
    let chain = chain(Family::Ethereum);
    let lottery = chain.deploy(Timing::default());
    drawn(&lottery, 2..5);
    drawn(&lottery, 2..5);
    for _ in 0..50_000 {
        chain.dev().mine();
    }
    drawn(&lottery, 2..5);
    let faults = &chain.dev().endpoints()[0].faults;
    faults.set(|character| {
        character.log_range = Some((500, "block range is too wide".to_owned()));
    });
    let before = chain.calls();
    let (code, round, said) = verify(&chain, &lottery, 2);
    let calls = chain.calls() - before;
    assert_eq!(
        (code, &round["verdict"]),
        (Some(0), &json!("verified")),
        "{said}"
    );
    assert!(calls <= 60, "{calls} calls");
    assert!(
        said.contains(&format!("{calls} calls to the chain")),
        "{calls} {said}"
    );
}

#[test]
fn without_old_states_the_logs_are_read_and_it_says_so() {
    let chain = chain(Family::Ethereum);
    let lottery = chain.deploy(Timing::default());
    drawn(&lottery, 2..5);
    lottery.bet(2, BET_WEI);
    lottery.operate("refundRound", &[]);
    for _ in 0..2_000 {
        chain.dev().mine();
    }
    let faults = &chain.dev().endpoints()[0].faults;
    faults.set(|character| character.keeps_states = Some((128, PRUNED)));
    for round_id in [1, 2] {
        let (code, round, said) = verify(&chain, &lottery, round_id);
        assert_eq!(
            (code, &round["verdict"]),
            (Some(0), &json!("verified")),
            "{said}"
        );
        assert!(
            said.contains("no endpoint tells the contract's old states"),
            "{said}"
        );
    }
    let (_, round, _) = verify(&chain, &lottery, 1);
    assert_eq!(round["proof"]["inputs"]["prevrandaoSource"], "mixHash");
}

#[test]
fn a_failure_that_passes_is_not_taken_for_a_chain_without_old_states() {
    let chain = chain(Family::Ethereum);
    let lottery = chain.deploy(Timing::default());
    drawn(&lottery, 2..5);
    for _ in 0..20 {
        chain.dev().mine();
    }
    drawn(&lottery, 2..5);
    let faults = &chain.dev().endpoints()[0].faults;
    for fault in [
        Fault::Status(503, None),
        Fault::Status(429, None),
        Fault::Reset,
    ] {
        let before = faults.struck();
        faults.add(fault.clone(), Some("eth_call"), Some(3));
        let (code, round, said) = verify(&chain, &lottery, 1);
        let verdict = (code, &round["verdict"]);
        assert_eq!(verdict, (Some(0), &json!("verified")), "{fault:?}: {said}");
        assert_eq!(faults.struck() - before, 3, "{fault:?}");
        assert!(said.contains("it ran from block"), "{fault:?}: {said}");
    }
}

/// Trouble that never ends says no more of old states than a refusal does: both commands wait for it as long, and go on
/// without. What they cannot do without ends them both in the same way.
#[test]
fn old_states_that_never_come_are_waited_for_once_and_done_without() {
    let outcomes_under = |trouble: &dyn Fn(&devchain::Faults)| {
        let chain = chain(Family::Ethereum);
        let lottery = chain.deploy(Timing::default());
        drawn(&lottery, 2..5);
        drawn(&lottery, 2..5);
        for _ in 0..200 {
            chain.dev().mine();
        }
        trouble(&chain.dev().endpoints()[0].faults);
        std::thread::scope(|scope| {
            let verified = scope.spawn(|| verify(&chain, &lottery, 1));
            let (code, body, said) = audit(&chain, &lottery, &[]);
            let audited = (code, body["rounds"][0].clone(), said);
            [verified.join().unwrap(), audited]
        })
    };
    let busy = |faults: &devchain::Faults| {
        faults.set(|character| character.keeps_states = Some((128, "rate limit exceeded")));
    };
    let down = |faults: &devchain::Faults| {
        faults.add(Fault::Status(503, None), Some("eth_call"), None);
    };
    std::thread::scope(|scope| {
        let without_old_states = scope.spawn(|| outcomes_under(&busy));
        for (code, _, said) in outcomes_under(&down) {
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains("the chain cannot be read"), "{said}");
            // The person who waits knows why.
            let again = said.matches("HTTP status 503: it is asked again, for half a minute");
            assert_eq!(again.count(), 1, "{said}");
        }
        for (code, round, said) in without_old_states.join().unwrap() {
            let verdict = (code, &round["verdict"]);
            assert_eq!(verdict, (Some(0), &json!("verified")), "{said}");
            let told = said.matches("no endpoint tells the contract's old states");
            assert_eq!(told.count(), 1, "{said}");
        }
    });
}

#[test]
fn without_old_states_a_round_far_back_is_found_by_the_events_of_others() {
    let chain = chain(Family::Ethereum);
    let lottery = chain.deploy(Timing::default());
    drawn(&lottery, 2..5);
    drawn(&lottery, 2..5);
    for _ in 0..125 {
        for _ in 0..400 {
            chain.dev().mine();
        }
        lottery.bet(2, BET_WEI);
        lottery.operate("refundRound", &[]);
    }
    let faults = &chain.dev().endpoints()[0].faults;
    faults.set(|character| {
        character.keeps_states = Some((128, PRUNED));
        character.log_range = Some((500, "block range is too wide".to_owned()));
    });
    let before = chain.calls();
    let (code, round, said) = verify(&chain, &lottery, 2);
    let calls = chain.calls() - before;
    let verdict = (code, &round["verdict"]);
    assert_eq!(verdict, (Some(0), &json!("verified")), "{said}");
    assert!(calls <= 90, "{calls} calls: {said}");
    for told in ["500 blocks an answer", "up to 60", "at most", "calls more"] {
        assert!(said.contains(told), "{told} in {said}");
    }
}

/// The word of the data at `index` of the contract's logs with this name, changed by one.
fn change_word(lottery: &Lottery, name: &str, index: usize) -> Distortion {
    let topic = lottery.logs(name)[0]["topics"][0].clone();
    Distortion::new(move |result| {
        let logs = result.as_array_mut().into_iter().flatten();
        let own = logs.filter(|log| log["topics"][0] == topic);
        own.for_each(|log| change_data(log, index));
    })
}

/// The word of the log's data at `index`, changed in its last digit.
pub(crate) fn change_data(log: &mut Value, index: usize) {
    let mut data = log["data"].as_str().unwrap().to_owned();
    let at = 2 + 64 * index + 63;
    let changed = if &data[at..=at] == "0" { "1" } else { "0" };
    data.replace_range(at..=at, changed);
    log["data"] = json!(data);
}

/// The block with this number is shown under another hash.
pub(crate) fn another_block(number: Value) -> Distortion {
    Distortion::new(move |block| {
        if block["number"] == number {
            block["hash"] = json!(format!("0x{}", "5".repeat(64)));
        }
    })
}

#[test]
fn what_was_tampered_with_is_found_and_named() {
    let chain = chain(Family::Ethereum);
    let lottery = chain.deploy(Timing::default());
    drawn(&lottery, 2..6);
    let faults = &chain.dev().endpoints()[0].faults;
    // RoundCompleted: pot, players, prize, commission, seed, time. BetPlaced: amount, pot after it, time.
    for (name, index, verdict, named) in [
        ("RoundCompleted", 4, "mismatch", "the contract announced"),
        ("RoundCompleted", 0, "mismatch", "the seed is"),
        ("RoundCompleted", 1, "mismatch", "players bet"),
        ("RoundCompleted", 2, "mismatch", "are not the pot"),
        ("BetPlaced", 0, "unverifiable", "the known bets add up to"),
        (
            "BetPlaced",
            1,
            "unverifiable",
            "do not lead from pot to pot",
        ),
    ] {
        let distortion = change_word(&lottery, name, index);
        faults.add(Fault::Distort(distortion), Some("eth_getLogs"), None);
        let (code, round, said) = verify(&chain, &lottery, 1);
        faults.clear();
        let why = round["verdictWhy"].as_str().unwrap_or_default();
        assert_eq!(round["verdict"], verdict, "{name} {index}: {why} {said}");
        assert!(why.contains(named), "{name} {index}: {why}");
        assert_eq!(code, Some(3));
    }
    // A header that tells another mixHash than the EVM saw: the chain's own word counts.
    let forged = Distortion::new(|block| block["mixHash"] = json!(format!("0x{}", "5".repeat(64))));
    faults.add(Fault::Distort(forged), Some("eth_getBlockByNumber"), None);
    assert_eq!(verify(&chain, &lottery, 1).1["verdict"], "verified");
    faults.clear();
    // One of another block than the log's is no header of the draw.
    let number = lottery.logs("RoundCompleted")[0]["blockNumber"].clone();
    let other = Fault::Distort(another_block(number));
    faults.add(other, Some("eth_getBlockByNumber"), None);
    let (code, _, said) = verify(&chain, &lottery, 1);
    assert_eq!(code, Some(3), "{said}");
    let named = format!("is 0x{}", "5".repeat(64));
    assert!(said.contains(&named), "{said}");
}

/// The audit's exit code, its JSON, and what it said on the side.
fn audit(chain: &Chain, lottery: &Lottery, arguments: &[&str]) -> (Option<i32>, Value, String) {
    let output = run(chain, lottery, &[&["audit", "--json"], arguments].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), body, said)
}

fn played(lottery: &Lottery) {
    drawn(lottery, 2..6);
    lottery.bet(2, BET_WEI);
    lottery.operate("refundRound", &[]);
    drawn(lottery, 3..7);
    lottery.bet(4, BET_WEI * 3);
}

fn number(body: &Value, name: &str) -> u128 {
    let text = body["account"][name].as_str().unwrap();
    text.parse().unwrap()
}

#[test]
fn an_audit_accounts_for_every_wei() {
    let chain = chain(Family::Ethereum);
    let lottery = chain.deploy(Timing::default());
    played(&lottery);
    let (code, body, said) = audit(&chain, &lottery, &[]);
    assert_eq!((code, &body["findings"]), (Some(0), &json!([])), "{said}");
    let account = &body["account"];
    assert_eq!(
        (&account["drawn"], &account["refunded"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(
        (&account["verified"], &account["firstBlockDraws"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(
        (&account["bets"], &account["players"]),
        (&json!(10), &json!(5))
    );
    let bet = u128::from(BET_WEI) * (14 + 1 + 18 + 3);
    assert_eq!(number(&body, "betWei"), bet);
    let paid = number(&body, "prizesWei") + number(&body, "refundedWei");
    assert_eq!(number(&body, "balanceWei"), bet - paid);
    let held = chain.rpc(
        "eth_getBalance",
        json!([hex_address(lottery.address), "latest"]),
    );
    let held = u128::from_str_radix(&held.as_str().unwrap()[2..], 16).unwrap();
    assert_eq!(held, bet - paid);

    let operator = to_checksum(&chain.account(OPERATOR));
    assert_eq!(account["endedBy"], json!({operator.as_str(): 3}));
    assert_eq!(body["rounds"][0]["sender"], operator);

    let (_, some, _) = audit(&chain, &lottery, &["--from", "2", "--to", "2"]);
    assert_eq!(some["rounds"].as_array().unwrap().len(), 1, "{some}");
    assert_eq!(
        some["rounds"][0]["refundReason"],
        "Operator-initiated refund"
    );
    let words = run(&chain, &lottery, &["audit"]);
    let words = String::from_utf8(words.stdout).unwrap();
    assert!(words.ends_with("everything adds up\n"), "{words}");
    assert!(words.contains(": 1 bet of 1 player, "), "{words}");
    let none = run(&chain, &lottery, &["audit", "--from", "9"]);
    let none = String::from_utf8(none.stdout).unwrap();
    assert!(none.contains("no round of these has ended yet"), "{none}");
    let csv = run(&chain, &lottery, &["audit", "--csv"]);
    let csv = String::from_utf8(csv.stdout).unwrap();
    assert_eq!(csv.lines().count(), 4, "{csv}");
}

#[test]
fn an_audit_names_what_was_tampered_with() {
    let chain = chain(Family::Ethereum);
    let lottery = chain.deploy(Timing::default());
    played(&lottery);
    let faults = &chain.dev().endpoints()[0].faults;
    let distorted = |method: &str, distortion: Distortion, named: &str| {
        faults.add(Fault::Distort(distortion), Some(method), None);
        let (code, body, said) = audit(&chain, &lottery, &[]);
        faults.clear();
        let findings = body["findings"].to_string();
        assert_eq!(code, Some(3), "{named}: {said}");
        assert!(findings.contains(named), "{named}: {findings}");
    };
    distorted(
        "eth_getLogs",
        change_word(&lottery, "RoundCompleted", 4),
        "mismatch: the seed is",
    );
    distorted(
        "eth_getLogs",
        change_word(&lottery, "BetPlaced", 0),
        "the known bets add up to",
    );
    distorted(
        "eth_getLogs",
        change_word(&lottery, "RoundRefunded", 0),
        "the known bets add up to",
    );
    distorted(
        "eth_getTransactionReceipt",
        Distortion::new(|receipt| receipt["from"] = json!(format!("0x{}", "b".repeat(40)))),
        "sent a draw, while",
    );
    distorted(
        "eth_getTransactionReceipt",
        Distortion::new(|receipt| receipt["blockHash"] = json!(format!("0x{}", "b".repeat(64)))),
        "the receipt names another block",
    );
    distorted(
        "eth_getBalance",
        Distortion::new(|balance| *balance = json!("0x7")),
        "the contract holds 7 wei",
    );
}

#[test]
fn an_audit_goes_on_from_what_it_kept_and_reads_anew_on_another_chain() {
    let chain = chain(Family::Ethereum);
    let lottery = chain.deploy(Timing::default());
    drawn(&lottery, 2..6);
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("audit.json");
    let kept = file.to_str().unwrap();
    let (_, first, _) = audit(&chain, &lottery, &["--state", kept]);
    drawn(&lottery, 2..4);
    let before = chain.calls();
    let (code, second, said) = audit(&chain, &lottery, &["--state", kept]);
    let resumed = chain.calls() - before;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(second["rounds"][0], first["rounds"][0]);
    assert_eq!(second["account"]["drawn"], 2);
    let before = chain.calls();
    let (_, whole, _) = audit(&chain, &lottery, &[]);
    assert!(resumed < chain.calls() - before, "{resumed}");
    assert_eq!(whole["account"], second["account"]);

    chain.dev().reorg(3, devchain::Reorged::Dropped);
    chain.dev().mine();
    let (_, anew, said) = audit(&chain, &lottery, &["--state", kept]);
    assert!(said.contains("reading anew"), "{said}");
    assert_eq!(anew["account"]["drawn"], 1, "{anew}");
}

/// What becomes of a file that an audit is to go on from.
type Spoiling<'a> = (&'a str, &'a dyn Fn(&str) -> String, &'a str);

#[test]
fn an_audit_counts_on_nothing_that_is_not_as_it_wrote_it() {
    let chain = chain(Family::Ethereum);
    let lottery = chain.deploy(Timing::default());
    played(&lottery);
    let dir = tempfile::TempDir::new().unwrap();
    let (file, rows) = (dir.path().join("state"), dir.path().join("state.rows"));
    let state = ["--state", file.to_str().unwrap()];
    let (_, whole, _) = audit(&chain, &lottery, &state);
    let kept = [&file, &rows].map(|path| std::fs::read_to_string(path).unwrap());
    let number = |text: &str, name: &str, value: &str| {
        let from = text.find(&format!("\"{name}\":")).unwrap() + name.len() + 3;
        let to = from + text[from..].find(',').unwrap();
        format!("{}{value}{}", &text[..from], &text[to..])
    };
    let spoilings: [Spoiling; 9] = [
        (
            "state",
            &|text| text[..text.len() / 2].to_owned(),
            "not as it was written",
        ),
        (
            "state",
            &|text| text.lines().next().unwrap().to_owned(),
            "by another version",
        ),
        ("state", &|_| String::new(), "reading anew"),
        (
            "state",
            &|text| number(text, "ended", "18446744073709551615"),
            "not as it was written",
        ),
        (
            "state",
            &|text| number(text, "bets", "-1"),
            "not as it was written",
        ),
        (
            "state",
            &|text| number(text, "rows_bytes", "1e400"),
            "not as it was written",
        ),
        (
            "state.rows",
            &|text| text.replace("verified", "mismatch"),
            "not as it was written",
        ),
        (
            "state.rows",
            &|text| text[..text.len() - 1].to_owned(),
            "not as it was written",
        ),
        (
            "state.rows",
            &|text| text[..text.len() / 2].to_owned(),
            "state.rows: ",
        ),
    ];
    for (name, spoil, told) in spoilings {
        std::fs::write(&file, &kept[0]).unwrap();
        std::fs::write(&rows, &kept[1]).unwrap();
        let path = dir.path().join(name);
        let spoiled = spoil(&std::fs::read_to_string(&path).unwrap());
        std::fs::write(&path, spoiled).unwrap();
        let (code, body, said) = audit(&chain, &lottery, &state);
        assert_eq!((code, &body), (Some(0), &whole), "{name}: {said}");
        assert!(
            said.contains("reading anew") && said.contains(told),
            "{told}: {said}"
        );
        let (_, _, said) = audit(&chain, &lottery, &state);
        assert!(!said.contains("reading anew"), "{told}: {said}");
    }
    // Longer than memory: told by its length alone.
    let long = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
    long.set_len(1 << 40).unwrap();
    let (code, _, said) = audit(&chain, &lottery, &state);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("bytes, which are allowed: reading anew"),
        "{said}"
    );
}

#[test]
fn an_audit_takes_no_place_that_is_not_its_own() {
    let chain = chain(Family::Ethereum);
    let lottery = chain.deploy(Timing::default());
    let dir = tempfile::TempDir::new().unwrap();
    let [notes, folder, pipe, beside] =
        ["notes", "folder", "pipe", "beside.rows"].map(|name| dir.path().join(name));
    std::fs::write(&notes, "remember the milk").unwrap();
    std::fs::create_dir(&folder).unwrap();
    for pipe in [&pipe, &beside] {
        let made = Command::new("mkfifo").arg(pipe).status().unwrap();
        assert!(made.success());
    }
    for (name, told) in [
        ("notes", "notes: not of an audit"),
        ("folder", "folder: not a file"),
        ("pipe", "pipe: not a file"),
        ("beside", "beside.rows: not a file"),
        ("notes/state", "Not a directory"),
    ] {
        let path = dir.path().join(name);
        let (code, _, said) = audit(&chain, &lottery, &["--state", path.to_str().unwrap()]);
        assert_eq!(code, Some(2), "{name}: {said}");
        assert!(said.contains(told), "{name}: {said}");
    }
    assert_eq!(
        std::fs::read_to_string(&notes).unwrap(),
        "remember the milk"
    );
}

/// The delay is the chain's word; its reason is this daemon's, in the feed and in all answers alike.
#[test]
fn a_late_draw_is_told_with_what_held_it_up() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = Daemon::switched_off(&lottery);
    let mut feed = daemon.feed("");
    for player in 2..5 {
        lottery.bet(player, BET_WEI);
    }
    lottery.skip_to(lottery.round().min_draw_time);
    feed.wait("operator_status", |status| {
        status["operator"]["heldUpBy"] == "switched_off"
    });
    daemon.act("/api/round/draw", &json!({"roundId": 1}));
    let told = feed.wait("history_update", |update| update["round"]["roundId"] == 1);
    let (_, round) = daemon.get("/api/history/1");
    for row in [&told["payload"]["round"], &round, &round["proof"]] {
        assert_eq!(row["drawDelayReason"], "switched_off", "{row}");
        assert!(row["drawDelayBlocks"].as_u64() > Some(0), "{row}");
    }
    let (_, status) = daemon.get("/api/operator/status");
    assert_eq!(status["heldUpBy"], Value::Null);
}

/// The README's script, which knows none of our code, comes to the same results.
#[test]
#[ignore = "needs python with pycryptodome"]
fn a_script_in_another_language_agrees() {
    for family in [Family::Ethereum, Family::Difficulty, Family::Orbit] {
        let chain = chain(family);
        let lottery = chain.deploy(Timing::default());
        played(&lottery);
        for round_id in 1..=3 {
            let (code, said) = check_with_script(&chain, &lottery, round_id);
            assert_eq!(code, Some(0), "{family:?} {round_id}: {said}");
            let (_, round, _) = verify(&chain, &lottery, round_id);
            assert_eq!(round["verdict"], "verified");
            if let Some(winner) = lottery.winner_of(round_id) {
                let winner = hex_address(winner);
                assert!(
                    said.contains(&format!("winner {winner}, announced {winner}")),
                    "{said}"
                );
            }
        }
        let faults = &chain.dev().endpoints()[0].faults;
        let forged = change_word(&lottery, "RoundCompleted", 4);
        faults.add(Fault::Distort(forged), Some("eth_getLogs"), None);
        assert_eq!(
            check_with_script(&chain, &lottery, 1).0,
            Some(3),
            "{family:?}"
        );
    }
}

#[test]
#[ignore = "needs python with pycryptodome"]
fn the_script_says_what_it_takes_and_what_it_misses() {
    let chain = chain(Family::Ethereum);
    let lottery = chain.deploy(Timing::default());
    played(&lottery);
    for (arguments, code, told) in [
        (&["1", "0"][..], 0, "everything follows"),
        (&["1", "0", "3"], 1, "ends 0 times in blocks 0 to 3"),
        (&["9"], 1, "round 9 ends 0 times"),
        (&["x"], 2, "python3 check_draw.py"),
        (&["1", "-1"], 2, "python3 check_draw.py"),
        (&["1", "2", "3", "4"], 2, "python3 check_draw.py"),
        (&[], 2, "python3 check_draw.py"),
    ] {
        let (found, said) = run_script(&chain, &lottery, arguments);
        assert_eq!(found, Some(code), "{arguments:?}: {said}");
        assert!(said.contains(told), "{arguments:?}: {said}");
    }
}

fn check_with_script(chain: &Chain, lottery: &Lottery, round_id: u64) -> (Option<i32>, String) {
    run_script(chain, lottery, &[&round_id.to_string()])
}

fn run_script(chain: &Chain, lottery: &Lottery, arguments: &[&str]) -> (Option<i32>, String) {
    let url = chain.dev().endpoints()[0].url();
    let output = python()
        .args([SCRIPT, &url, &hex_address(lottery.address)])
        .args(arguments)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// The README's script for players.
pub(crate) const SCRIPT: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/packaging/check_draw.py");

pub(crate) fn python() -> Command {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    Command::new(python)
}
