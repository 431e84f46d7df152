//! Every word of every log of a short history is changed, and every log left out: an audit names it, or, where what a node
//! says fits all else that it says, the digest of all logs tells that another node says something else.

use devchain::{Config, Distortion, Fault};
use ethabi::{Contract, Token};
use serde_json::{json, Value};

use lottery::lottery::contract::ABI_JSON;
use support::chain::{hex_address, number_token, Chain, Lottery, Timing};
use support::BET_WEI;

use crate::proofs::run_at;

const PUBLISHER: usize = 0;
const NEXT_OPERATOR: usize = 8;

fn bets(lottery: &Lottery, players: &[usize]) {
    for player in players {
        lottery.bet(*player, BET_WEI * 3);
    }
}

fn send(lottery: &Lottery, account: usize, function: &str, arguments: &[Token]) {
    let transaction = lottery.transaction(account, function, arguments, 0);
    lottery.chain.send(transaction);
}

fn draw(lottery: &Lottery, operator: usize) {
    let min_draw_time = lottery.round().min_draw_time;
    lottery
        .chain
        .rpc("evm_setNextBlockTimestamp", json!([min_draw_time]));
    send(lottery, operator, "drawWinner", &[]);
}

/// All that the contract can log.
fn play(lottery: &Lottery) {
    let operate = |function: &str, arguments: &[Token]| lottery.operate(function, arguments);
    bets(lottery, &[2, 3, 2]);
    draw(lottery, 1);
    operate("updateMinBetAmount", &[number_token(2 * BET_WEI)]);
    operate("updateBettingDuration", &[number_token(240)]);
    operate("updateMinParticipants", &[number_token(3)]);
    bets(lottery, &[5, 6]);
    draw(lottery, 1);
    bets(lottery, &[2]);
    operate("refundRound", &[]);
    send(lottery, PUBLISHER, "withdraw", &[]);
    operate("startRound", &[]);
    let end = lottery.round().end_time;
    operate("extendBettingTime", &[number_token(end + 100)]);
    bets(lottery, &[3]);
    lottery.skip_to(lottery.round().max_draw_time + 1);
    send(lottery, 7, "refundExpiredRound", &[]);
    let next = lottery.chain.account(NEXT_OPERATOR);
    send(lottery, PUBLISHER, "setOperator", &[Token::Address(next)]);
    bets(lottery, &[2, 3, 4]);
    draw(lottery, NEXT_OPERATOR);
    bets(lottery, &[4]);
}

/// The audit's exit code, what it found, and the digest at the end of each round.
fn audit(url: &str, lottery: &Lottery) -> (Option<i32>, String, Vec<Value>) {
    let output = run_at(url, lottery, &["audit", "--json"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let body: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
    let rows = body["rounds"].as_array().unwrap();
    let digests = rows.iter().map(|row| row["logsDigest"].clone()).collect();
    (output.status.code(), body["findings"].to_string(), digests)
}

/// Changes the digit at `at` of a text of hex digits, to one that is a value of every type there is.
fn change_digit(text: &mut Value, at: usize) {
    let mut digits = text.as_str().unwrap().to_owned();
    let changed = match &digits[at..=at] {
        "1" | "3" => "2",
        "2" | "4" => "3",
        _ => "1",
    };
    digits.replace_range(at..=at, changed);
    *text = json!(digits);
}

/// What becomes of a log, null where it is left out, and the name of that.
type Change = (String, Box<dyn Fn(&mut Value) + Send + Sync>);

/// The names of what a log says, each with what changes it; the event itself stands for leaving it out.
fn changes(abi: &Contract, log: &Value) -> Vec<Change> {
    let signature = |event: &&ethabi::Event| json!(format!("{:#x}", event.signature()));
    let event = abi
        .events()
        .find(|event| signature(event) == log["topics"][0]);
    let event = event.unwrap();
    let (indexed, plain): (Vec<_>, Vec<_>) = event.inputs.iter().partition(|input| input.indexed);
    let named = |name: &str| format!("{} {name}", event.name);
    let left_out = |log: &mut Value| *log = Value::Null;
    let mut changes: Vec<Change> = vec![(event.name.clone(), Box::new(left_out))];
    for (input, index) in indexed.iter().zip(1..) {
        let change = move |log: &mut Value| change_digit(&mut log["topics"][index], 65);
        changes.push((named(&input.name), Box::new(change)));
    }
    for (input, index) in plain.iter().zip(0..) {
        // The word of a text says where it stands: its first letter is changed.
        let at = match input.name == "reason" {
            true => 2 + 64 * 5 + 1,
            false => 2 + 64 * index + 63,
        };
        let change = move |log: &mut Value| change_digit(&mut log["data"], at);
        changes.push((named(&input.name), Box::new(change)));
    }
    changes
}

/// What fits all that a node says otherwise, some of the times: who else might have bet, and when. Times that nothing
/// depends on, and an extension that nobody needed.
const ONLY_OTHERS_TELL: [&str; 10] = [
    "BetPlaced player",
    "BetPlaced timestamp",
    "BettingDurationUpdated timestamp",
    "EndTimeExtended",
    "EndTimeExtended newEndTime",
    "EndTimeExtended timestamp",
    "MinBetAmountUpdated timestamp",
    "MinParticipantsUpdated timestamp",
    "OperatorUpdated timestamp",
    "Withdrawn timestamp",
];

#[test]
fn whatever_is_changed_in_a_log_is_named_or_told_by_another_node() {
    let chain = Chain::devchain_on(Config::default(), 1);
    let lottery = chain.deploy(Timing::default());
    play(&lottery);
    let endpoint = &chain.dev().endpoints()[0];
    let (code, findings, honest) = audit(&endpoint.url(), &lottery);
    assert_eq!((code, findings.as_str()), (Some(0), "[]"));
    assert_eq!(honest.len(), 5);
    let ended = lottery.logs("RoundCompleted");
    let last_end = ended.last().unwrap()["blockNumber"].clone();
    let abi = Contract::load(ABI_JSON.as_bytes()).unwrap();
    let filter = json!([{"address": hex_address(lottery.address), "fromBlock": "0x0"}]);
    let logs = chain.rpc("eth_getLogs", filter);
    for log in logs.as_array().unwrap() {
        let place = |log: &Value| [log["blockNumber"].clone(), log["logIndex"].clone()];
        for (name, change) in changes(&abi, log) {
            let changed = place(log);
            let distortion = Distortion::new(move |logs| {
                let Value::Array(logs) = logs else { return };
                let own = logs.iter_mut().filter(|log| place(log) == changed);
                own.for_each(&change);
                logs.retain(|log| !log.is_null());
            });
            let fault = Fault::Distort(distortion);
            endpoint.faults.add(fault, Some("eth_getLogs"), None);
            let (code, findings, digests) = audit(&endpoint.url(), &lottery);
            endpoint.faults.clear();
            if code == Some(0) {
                assert!(ONLY_OTHERS_TELL.contains(&&*name), "{name} in {log}");
            } else {
                assert_eq!(code, Some(3), "{name} in {log}: {findings}");
                assert_ne!(findings, "[]", "{name} in {log}");
            }
            let is_in_rows = log["blockNumber"] == last_end || digests != honest;
            let is_after = chain_order(log) > chain_order(&ended[ended.len() - 1]);
            assert!(is_in_rows || is_after, "{name} in {log}");
        }
    }
}

fn chain_order(log: &Value) -> u64 {
    let digits = log["blockNumber"].as_str().unwrap();
    u64::from_str_radix(&digits[2..], 16).unwrap()
}
