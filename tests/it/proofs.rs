//! `lottery verify` on the real contract: on every family of chains, far back, and on chains that were tampered with.

use std::process::Output;

use devchain::{Config, Distortion, Family, Fault};
use serde_json::{json, Value};

use support::chain::{hex_address, Chain, Lottery, Timing, CHAIN_ID};
use support::daemon::lottery_in;
use support::BET_WEI;

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
    lottery.skip_to(lottery.round().min_draw_time - 1);
    lottery.operate("drawWinner", &[]);
}

/// The command's exit code, its JSON, and what it said on the side.
fn verify(chain: &Chain, lottery: &Lottery, round_id: u64) -> (Option<i32>, Value, String) {
    let output = run(chain, lottery, &[&round_id.to_string(), "--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let round = serde_json::from_str(&text).unwrap_or(Value::Null);
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), round, said)
}

fn run(chain: &Chain, lottery: &Lottery, arguments: &[&str]) -> Output {
    let dir = tempfile::TempDir::new().unwrap();
    let url = chain.dev().endpoints()[0].url();
    let address = hex_address(lottery.address);
    lottery_in(&dir)
        .arg("verify")
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
    faults.set(|character| character.keeps_states = Some(128));
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

/// The word of the data at `index` of the contract's log with this name, changed by one.
fn change_word(lottery: &Lottery, name: &str, index: usize) -> Distortion {
    let topic = lottery.logs(name)[0]["topics"][0].clone();
    Distortion::new(move |result| {
        for log in result.as_array_mut().into_iter().flatten() {
            if log["topics"][0] != topic {
                continue;
            }
            let mut data = log["data"].as_str().unwrap().to_owned();
            let at = 2 + 64 * index + 63;
            let changed = if &data[at..=at] == "0" { "1" } else { "0" };
            data.replace_range(at..=at, changed);
            log["data"] = json!(data);
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
}
