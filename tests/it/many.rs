//! A long history of the real contract, on the bundled chain and on another: each of hundreds of rounds verifies, a
//! script in another language agrees on each, and what a node lies about is found in each round that it lies about.

use std::collections::BTreeMap;

use devchain::{Config, Distortion, Fault, Relay};
use serde_json::{json, Value};

use support::chain::{hex_address, Chain, Lottery, Timing};
use support::history::{Ending, History};

use crate::histories::all_are_verified;
use crate::proofs::{another_block, change_data, python, run_at, SCRIPT};

/// At least so many of each, and bets of all kinds.
const DRAWS: usize = 200;
const REFUNDS: usize = 50;

/// What ends the rounds between the draws: five refunds in four endings.
const REFUNDING: [Ending; 4] = [
    Ending::TooFew,
    Ending::RefundedByOperator,
    Ending::RefundedAsExpired,
    Ending::TwoInOneBlock,
];

fn round_of(log: &Value) -> u64 {
    let topic = log["topics"][1].as_str().unwrap();
    u64::from_str_radix(&topic[topic.len() - 16..], 16).unwrap()
}

/// Plays draws and refunds of up to ten bets until there are as many as wanted.
fn play_many(lottery: &Lottery) {
    let mut history = History::new(lottery, 8, 7);
    // A bet that came with an end makes two players of one: a few endings more make up for that.
    for index in 0..DRAWS + 8 {
        let late_secs = if index % 6 == 0 { 17 } else { 0 };
        history.play(2 + index % 9, Ending::Drawn { late_secs });
        if index % 4 == 0 {
            history.play(1 + index % 7, REFUNDING[index / 4 % REFUNDING.len()]);
        }
    }
}

/// In one process: the script's exit code for each round from the first on.
fn check_all_with_script(url: &str, lottery: &Lottery, rounds: usize) -> Vec<u64> {
    let output = python()
        .args(["-c", ALL_ROUNDS, SCRIPT, url, &hex_address(lottery.address)])
        .arg(rounds.to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"))
}

const ALL_ROUNDS: &str = r#"
import contextlib, importlib.util, io, json, sys

path, url, contract, rounds = sys.argv[1:]
spec = importlib.util.spec_from_file_location("script", path)
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)
head = int(script.rpc(url, "eth_blockNumber"), 16)
with contextlib.redirect_stdout(io.StringIO()):
    codes = [script.check(url, contract, round_id, 0, head) for round_id in range(1, int(rounds) + 1)]
print(json.dumps(codes))
"#;

/// What a lie is about: an end's log, a round's bets, the receipt or the header of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Draw,
    Refund,
    Bets,
    Receipt,
    Header,
    HeaderOfDraw,
}

/// How a node's answer is made untrue (null: it is left out), and the words with which that is found.
type Lie = (About, &'static str, fn(&mut Value));

/// RoundCompleted has pot, players, prize, commission, seed, time. BetPlaced: amount, pot after it, time. RoundRefunded:
/// sum, players.
const LIES: [Lie; 13] = [
    (About::Draw, "the seed is", |log| change_data(log, 4)),
    (About::Draw, "players bet", |log| change_data(log, 1)),
    (About::Draw, "are not the pot", |log| change_data(log, 2)),
    (About::Draw, "the winner is", |log| {
        log["topics"][2] = json!(format!("0x{:064x}", 7));
    }),
    (About::Refund, "the known bets add up to", |log| {
        change_data(log, 0);
    }),
    (About::Refund, "players bet", |log| change_data(log, 1)),
    (About::Bets, "the known bets add up to", |log| {
        change_data(log, 0);
    }),
    (About::Bets, "do not lead from pot to pot", |log| {
        change_data(log, 1);
    }),
    (About::Bets, "the known bets add up to", |log| {
        let data = log["data"].as_str().unwrap();
        // The round's first bet is the pot after it.
        if data[2..66] == data[66..130] {
            *log = Value::Null;
        }
    }),
    (About::Receipt, "the receipt names another block", |it| {
        it["blockHash"] = json!(format!("0x{}", "b".repeat(64)));
    }),
    (About::Receipt, "what ended it failed", |receipt| {
        receipt["status"] = json!("0x0");
    }),
    (About::Header, "the header of its block says", |block| {
        block["timestamp"] = json!("0x7");
    }),
    (About::HeaderOfDraw, "neither in mixHash nor", |block| {
        block["mixHash"] = json!(format!("0x{}", "c".repeat(64)));
    }),
];

/// One round in so many is left honest.
const HONEST: u64 = 9;

/// By what a node's answer is known: a log by event and round, a receipt by its transaction, a header by its number.
fn key(answer: &Value) -> String {
    match &answer["topics"] {
        Value::Array(topics) => format!("{} {}", topics[0], topics[1]),
        _ if answer["status"].is_string() => answer["transactionHash"].to_string(),
        _ => answer["number"].to_string(),
    }
}

/// Lies told of rounds, each round another one: by what they are told of.
struct Dealt {
    lies: BTreeMap<String, Lie>,
    by_round: BTreeMap<u64, Lie>,
}

impl Dealt {
    fn among(lottery: &Lottery) -> Dealt {
        let draws = lottery.logs("RoundCompleted");
        let refunds = lottery.logs("RoundRefunded");
        let bet = lottery.logs("BetPlaced")[0]["topics"][0].clone();
        let in_block = |number: &Value| {
            let ends = draws.iter().chain(&refunds);
            ends.filter(|end| end["blockNumber"] == *number).count()
        };
        let mut dealt = Dealt {
            lies: BTreeMap::new(),
            by_round: BTreeMap::new(),
        };
        let mut lies = LIES.iter().cycle();
        let ends = draws.iter().map(|end| (end, true));
        let ends = ends.chain(refunds.iter().map(|end| (end, false)));
        for (end, is_draw) in ends.filter(|(end, _)| !round_of(end).is_multiple_of(HONEST)) {
            let has_block = in_block(&end["blockNumber"]) == 1;
            let fits = |about: About| match about {
                About::Draw => is_draw,
                About::Refund => !is_draw,
                About::Bets | About::Receipt => true,
                About::Header => has_block,
                About::HeaderOfDraw => is_draw && has_block,
            };
            let lie = *lies.find(|(about, ..)| fits(*about)).unwrap();
            let of = match lie.0 {
                About::Draw | About::Refund => key(end),
                About::Bets => format!("{bet} {}", end["topics"][1]),
                About::Receipt => end["transactionHash"].to_string(),
                About::Header | About::HeaderOfDraw => end["blockNumber"].to_string(),
            };
            dealt.lies.insert(of, lie);
            dealt.by_round.insert(round_of(end), lie);
        }
        dealt
    }

    /// How often the lie with these words is told.
    fn told(&self, (about, words, _): Lie) -> usize {
        let told = self.by_round.values();
        told.filter(|lie| (lie.0, lie.1) == (about, words)).count()
    }

    fn distortion(&self) -> Distortion {
        let lies = self.lies.clone();
        let tell = move |answer: &mut Value| {
            if let Some((_, _, untrue)) = lies.get(&key(answer)) {
                untrue(answer);
            }
        };
        Distortion::new(move |result| match result {
            Value::Array(logs) => {
                logs.iter_mut().for_each(&tell);
                logs.retain(|log| !log.is_null());
            }
            answer => tell(answer),
        })
    }
}

/// What an audit over `url` finds, by round.
fn found(url: &str, lottery: &Lottery) -> BTreeMap<Option<u64>, Vec<String>> {
    let output = run_at(url, lottery, &["audit", "--json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "nothing is found: {said}");
    let body: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut found: BTreeMap<_, Vec<String>> = BTreeMap::new();
    let findings = body["findings"].as_array();
    for finding in findings.unwrap_or_else(|| panic!("{body} {said}")) {
        let problem = finding["problem"].as_str().unwrap().to_owned();
        let of_round = found.entry(finding["roundId"].as_u64()).or_default();
        of_round.push(problem);
    }
    found
}

/// A history of many rounds, and an endpoint before its chain that can be made to lie.
struct Many<'a> {
    lottery: &'a Lottery<'a>,
    relay: Relay,
}

impl Many<'_> {
    /// What `act` comes to over an endpoint that answers these methods so.
    fn lied_to<T>(&self, lies: &[(&str, Distortion)], act: impl FnOnce(&str, &Lottery) -> T) -> T {
        let endpoint = &self.relay.endpoints()[0];
        for (method, distortion) in lies {
            let fault = Fault::Distort(distortion.clone());
            endpoint.faults.add(fault, Some(*method), None);
        }
        let told = act(&endpoint.url(), self.lottery);
        endpoint.faults.clear();
        told
    }

    /// Each round of which a lie is told is found with the lie's words, and no honest one is.
    fn each_lie_is_found(&self, dealt: &Dealt) {
        let lies = [
            "eth_getLogs",
            "eth_getTransactionReceipt",
            "eth_getBlockByNumber",
        ]
        .map(|method| (method, dealt.distortion()));
        let mut found = self.lied_to(&lies, found);
        // What the contract holds does not fit the sums of bets that were changed; the first such round has that too.
        for of_round in found.values_mut() {
            of_round.retain(|problem| !problem.contains("the contract holds"));
        }
        found.retain(|_, of_round| !of_round.is_empty());
        for (round_id, (about, words, _)) in &dealt.by_round {
            let of_round = found.remove(&Some(*round_id)).unwrap_or_default();
            let is_found = of_round.iter().any(|problem| problem.contains(words));
            assert!(is_found, "{round_id}: {about:?}, {words}: {of_round:?}");
        }
        found.remove(&None);
        assert!(found.is_empty(), "honest rounds: {found:?}");
    }

    /// A header that is another block's, of one draw in the middle of a range: at a range's ends the reading stops at it.
    fn another_block_is_found(&self) {
        let draws = self.lottery.logs("RoundCompleted");
        let draw = &draws[draws.len() / 4];
        let other = another_block(draw["blockNumber"].clone());
        let found = self.lied_to(&[("eth_getBlockByNumber", other)], found);
        let found: Vec<_> = found.into_iter().collect();
        let [(of, words)] = &found[..] else {
            panic!("one round: {found:?}");
        };
        assert_eq!(*of, Some(round_of(draw)), "{words:?}");
        assert!(words[0].contains("by log and receipt"), "{words:?}");
    }

    /// What is wrong with no round alone.
    fn lies_about_the_whole_are_found(&self) {
        let sender = Distortion::new(|receipt| {
            receipt["from"] = json!(format!("0x{}", "b".repeat(40)));
        });
        let balance = Distortion::new(|balance| *balance = json!("0x7"));
        let lies = [
            ("eth_getTransactionReceipt", sender),
            ("eth_getBalance", balance),
        ];
        let found: Vec<String> = self.lied_to(&lies, found).into_values().flatten().collect();
        for words in ["sent a draw, while", "the contract holds 7 wei"] {
            let is_found = found.iter().any(|problem| problem.contains(words));
            assert!(is_found, "{words}: {found:?}");
        }
    }

    /// The script agrees on each round, and finds what is said untrue of each in logs.
    fn a_script_agrees_on_each(&self, dealt: &Dealt, all: usize) {
        let check = |url: &str, lottery: &Lottery| check_all_with_script(url, lottery, all);
        let codes = check(&self.lottery.chain.url, self.lottery);
        assert_eq!(codes, vec![0; all]);
        let codes = self.lied_to(&[("eth_getLogs", dealt.distortion())], check);
        for (round_id, code) in (1..).zip(codes) {
            let lie = dealt.by_round.get(&round_id);
            let is_in_logs =
                lie.is_some_and(|lie| matches!(lie.0, About::Draw | About::Refund | About::Bets));
            assert_eq!(code != 0, is_in_logs, "round {round_id}: {code}");
        }
    }
}

fn many_rounds_are_verified_and_every_lie_is_found(chain: &Chain, of: &str) {
    let lottery = chain.deploy(Timing::default());
    play_many(&lottery);
    let all = all_are_verified(&chain.url, &lottery, of);
    let drawn = lottery.logs("RoundCompleted").len();
    let refunded = lottery.logs("RoundRefunded").len();
    assert!(
        drawn >= DRAWS && refunded >= REFUNDS,
        "{of}: {drawn} {refunded}"
    );
    let dealt = Dealt::among(&lottery);
    for lie in LIES {
        assert!(dealt.told(lie) >= 5, "{of}: {:?}, {}", lie.0, lie.1);
    }
    let many = Many {
        lottery: &lottery,
        relay: Relay::start(&chain.url, 1).unwrap(),
    };
    many.each_lie_is_found(&dealt);
    many.another_block_is_found();
    many.lies_about_the_whole_are_found();
    many.a_script_agrees_on_each(&dealt, drawn + refunded);
    assert_eq!(all, (drawn + refunded) as u64);
}

#[test]
#[ignore = "needs anvil, and python with pycryptodome"]
fn two_hundred_draws_on_anvil_are_verified_and_every_lie_is_found() {
    many_rounds_are_verified_and_every_lie_is_found(&Chain::anvil_with(&[]), "anvil");
}

#[test]
#[ignore = "needs python with pycryptodome"]
fn two_hundred_draws_are_verified_and_every_lie_is_found() {
    let chain = Chain::devchain_with(Config::default());
    many_rounds_are_verified_and_every_lie_is_found(&chain, "devchain");
}
