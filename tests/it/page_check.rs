//! The page's own recomputation of a draw against the daemon's, on random rounds of every kind of chain; and that a lie
//! about any figure of a round is found when the chain itself is asked. Node runs the page's modules as they are.

use std::process::Command;

use lottery::chain::types::{Address, H256, U256};
use lottery::lottery::proof::{self, Inputs, NumberSource, RandomnessSource};
use serde_json::{json, Value};
use support::chain::{hex_address, Chain, Timing};
use support::daemon::{Daemon, Options};
use support::random::Random;
use tempfile::TempDir;

const ROUNDS: usize = 200;
const CENT: u64 = 10_000_000_000_000_000;

/// Runs a script of node beside the page's modules; its last line, as JSON.
fn node(script: &str, input: &Value) -> Value {
    let dir = TempDir::new().unwrap();
    let www = concat!(env!("CARGO_MANIFEST_DIR"), "/www");
    for entry in std::fs::read_dir(www).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    std::fs::write(dir.path().join("package.json"), r#"{"type": "module"}"#).unwrap();
    std::fs::write(dir.path().join("input.json"), input.to_string()).unwrap();
    std::fs::write(dir.path().join("test.js"), script).unwrap();
    let output = Command::new("node")
        .arg("test.js")
        .current_dir(dir.path())
        .output()
        .expect("node can be started");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_str(told.trim()).unwrap_or_else(|error| panic!("{error}: {told}"))
}

/// Every kind of block: random as on Ethereum and OP-like chains, a small difficulty as on BSC, a constant with a number
/// of the chain below as on Arbitrum.
fn random_inputs(random: &mut Random) -> Inputs {
    let timestamp = 1_600_000_000 + random.below(400_000_000);
    let number = random.below(1 << 40);
    let (prevrandao, number) = match random.below(4) {
        0 => (H256::from_low_u64_be(1 + random.below(2)), number),
        1 => (H256::from_low_u64_be(1), random.below(1 << 25)),
        2 => (H256::zero(), number),
        _ => (H256::from_slice(&random.bytes(32)), number),
    };
    Inputs {
        timestamp,
        prevrandao,
        number,
        prevrandao_source: RandomnessSource::Opcode,
        number_source: NumberSource::Opcode,
    }
}

#[test]
#[ignore = "needs node"]
fn the_page_draws_the_same_winners_as_the_daemon() {
    let mut random = Random::new(17);
    let mut rounds = Vec::new();
    let mut expected = Vec::new();
    for round_id in 1..=ROUNDS as u64 {
        let players: Vec<Address> = (0..1 + random.below(40))
            .map(|_| Address::from_slice(&random.bytes(20)))
            .collect();
        let bets: Vec<(Address, U256)> = (0..1 + random.below(80))
            .map(|_| {
                let wei = U256::from(random.number()) * U256::from(1 + random.below(1 << 20));
                (*random.pick(&players), wei)
            })
            .collect();
        let mut totals: Vec<(Address, U256)> = Vec::new();
        for (player, wei) in &bets {
            match totals.iter_mut().find(|(known, _)| known == player) {
                Some((_, total)) => *total += *wei,
                None => totals.push((*player, *wei)),
            }
        }
        let pot = totals.iter().fold(U256::zero(), |sum, (_, wei)| sum + *wei);
        let inputs = random_inputs(&mut random);
        let seed = inputs.seed(round_id, pot);
        let winner = proof::winner_among(seed, pot, totals).unwrap();
        let bets = bets.iter().map(
            |(player, wei)| json!({"player": hex_address(*player), "amountWei": wei.to_string()}),
        );
        rounds.push(json!({
            "inputs": {
                "timestamp": inputs.timestamp, "prevrandao": format!("{:#x}", inputs.prevrandao),
                "number": inputs.number, "roundId": round_id, "totalPotWei": pot.to_string(),
            },
            "bets": bets.collect::<Vec<_>>(),
        }));
        expected.push(json!([
            seed.to_string(),
            (seed % pot).to_string(),
            hex_address(winner)
        ]));
    }
    let script = r#"
        import { readFileSync } from "node:fs";
        import { drawAgain } from "./check.js";
        const rounds = JSON.parse(readFileSync("input.json", "utf8"));
        console.log(JSON.stringify(rounds.map(({ inputs, bets }) => {
          const { seed, point, players, winner } = drawAgain(inputs, bets);
          return [String(seed), String(point), players[winner].player];
        })));
    "#;
    assert_eq!(node(script, &Value::from(rounds)), Value::from(expected));
}

/// Asks the chain itself as a wallet would, and examines the round with each figure that the server tells changed in turn.
const FORGER: &str = r#"
    import { readFileSync } from "node:fs";
    import { examine } from "./check.js";
    import { witnessOf } from "./witness.js";
    const { told, row, rpc, contract } = JSON.parse(readFileSync("input.json", "utf8"));
    const request = async (method, params = []) => {
      const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
      const answer = await (await fetch(rpc, { method: "POST", headers: { "content-type": "application/json" }, body })).json();
      if (answer.error) throw Object.assign(new Error(answer.error.message), answer.error);
      return answer.result;
    };
    const site = { contract, chainId: 31337 };
    // What a daemon saw by itself, and no chain tells.
    const asides = ["drawDelayReason", "asOf", "verdictWhy", "source", "knownAhead", "finality"];
    const leaves = (value, path) => value === null || typeof value !== "object"
      ? [[path, value]]
      : Object.entries(value).flatMap(([key, inner]) => asides.includes(key) ? [] : leaves(inner, [...path, key]));
    const other = (value) => {
      if (value === null) return "1";
      if (typeof value === "number") return value + 1;
      if (typeof value === "boolean") return !value;
      if (/^0x/.test(value)) return value.slice(0, -1) + (value.endsWith("1") ? "2" : "1");
      if (/^\d+$/.test(value)) return String(BigInt(value) + 1n);
      return { verified: "mismatch", RoundCompleted: "RoundRefunded" }[value] ?? value + "!";
    };
    const forged = (path, value) => {
      const copy = structuredClone(told);
      const inside = path.slice(0, -1).reduce((at, key) => at[key], copy);
      inside[path.at(-1)] = value;
      return copy;
    };
    const verdictOf = async (lie) => {
      try {
        // The list of rounds is left out: a liar would forge it, too.
        return examine(lie, await witnessOf({ request }, site, lie)).verdict;
      } catch (error) {
        return `refused: ${error.message}`;
      }
    };
    const honest = examine(told, await witnessOf({ request }, site, told), row);
    const believed = [];
    const paths = leaves(told, []);
    for (const [path, value] of paths) {
      if (await verdictOf(forged(path, other(value))) === "holds") believed.push(path.join("."));
    }
    const shorter = { ...structuredClone(told), bets: told.bets.slice(1) };
    if (await verdictOf(shorter) === "holds") believed.push("a bet less");
    console.log(JSON.stringify({ honest: honest.verdict, open: honest.checks.filter(({ holds }) => holds !== true), believed, count: paths.length }));
"#;

#[test]
#[ignore = "needs node"]
fn every_forged_figure_of_a_round_is_found_through_the_chain() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    for player in [2, 3, 4, 2] {
        lottery.bet(player, player as u64 * CENT);
    }
    lottery.skip_to(lottery.round().min_draw_time);
    lottery.operate("drawWinner", &[]);
    lottery.bet(2, CENT);
    lottery.skip_to(lottery.round().max_draw_time + 1);
    lottery.operate("refundExpiredRound", &[]);
    let options = Options {
        without_key: true,
        ..Options::default()
    };
    let daemon = Daemon::quiet(&lottery, options);
    for round_id in [1, 2] {
        let (status, told) = daemon.get(&format!("/api/history/{round_id}"));
        assert_eq!(status, 200, "{told}");
        let rows = daemon.get("/api/history").1["rounds"].clone();
        let rows = rows.as_array().unwrap();
        let row = rows.iter().find(|row| row["roundId"] == round_id).unwrap();
        let input = json!({
            "told": told, "row": row, "rpc": chain.url, "contract": hex_address(lottery.address),
        });
        let found = node(FORGER, &input);
        assert_eq!(found["honest"], "holds", "{found}");
        assert_eq!(found["believed"], json!([]), "{found}");
        assert!(found["count"].as_u64().unwrap() > 20, "{found}");
    }
}

/// What becomes of a sent transaction, look by look: [finalized block, receipt's block and status, known, nonce].
#[test]
#[ignore = "needs node"]
fn sent_transactions_come_to_their_states() {
    let script = r#"
        import { step } from "./track.js";
        const known = { nonce: "0x5" };
        const mined = (block, status = "0x1") => ({ receipt: { blockNumber: block, status }, transaction: null, nonce: null });
        const waits = { receipt: null, transaction: known, nonce: null };
        const gone = (nonce) => ({ receipt: null, transaction: null, nonce });
        const follow = (looks) => looks.reduce((states, [seen, final]) => {
          const last = states.at(-1) ?? { state: "pending", nonce: null, blockNumber: null, misses: 0 };
          return [...states, step(last, seen, final)];
        }, []).map(({ state }) => state);
        console.log(JSON.stringify({
          final: follow([[waits, 0], [mined("0x9"), 3], [mined("0x9"), 9]]),
          reverted: follow([[waits, 0], [mined("0x9", "0x0"), 3]]),
          takenBack: follow([[mined("0x9"), 3], [waits, 3], [mined("0xa"), 3]]),
          replaced: follow([[waits, 0], [gone(6), 0], [gone(6), 0]]),
          dropped: follow([[waits, 0], ...Array(6).fill([gone(5), 0])]),
        }));
    "#;
    let pending = "pending";
    assert_eq!(
        node(script, &Value::Null),
        json!({
            "final": [pending, "included", "final"],
            "reverted": [pending, "reverted"],
            "takenBack": ["included", pending, "included"],
            "replaced": [pending, pending, "replaced"],
            "dropped": [pending, pending, pending, pending, pending, pending, "dropped"],
        })
    );
}

/// Without Intl, whose first use costs more than the page's first screen.
#[test]
#[ignore = "needs node"]
fn moments_are_told_in_the_readers_zone_with_as_much_of_the_date_as_is_needed() {
    let script = r#"
        delete globalThis.Intl;
        const { localTime } = await import("./format.js");
        const today = new Date(2026, 10, 27, 23, 59, 59);
        const told = (...parts) => localTime(new Date(...parts).getTime() / 1000, today);
        console.log(JSON.stringify([told(2026, 10, 27, 0, 5, 9), told(2026, 10, 2, 13, 45, 0), told(2025, 10, 27, 7, 0, 0)]));
    "#;
    assert_eq!(
        node(script, &Value::Null),
        json!(["00:05:09", "2 Nov, 13:45:00", "27 Nov 2025, 07:00:00"])
    );
}
