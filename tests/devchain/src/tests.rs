//! The chain over its wire: pool rules, time, going back, and every way of failing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{json, Value};

use crate::accounts::accounts;
use crate::faults::{Distortion, Fault};
use crate::rpc::bytes_json;
use crate::tx::Unsigned;
use crate::{Config, Devchain, Family, Mining, Reorged};

const GWEI: u128 = 1_000_000_000;

fn manual() -> Devchain {
    Devchain::start(Config {
        mining: Mining::Manual,
        ..Config::default()
    })
    .unwrap()
}

/// A raw transfer of the first account.
fn transfer(nonce: u64, max_fee: u128, max_priority_fee: u128, wei: u64) -> Value {
    let accounts = accounts(0);
    let unsigned = Unsigned {
        chain_id: 31_337,
        nonce,
        gas_limit: 21_000,
        max_fee,
        max_priority_fee,
        to: Some(accounts[9].address),
        value: revm::primitives::U256::from(wei),
        input: Default::default(),
    };
    json!([bytes_json(&unsigned.sign(&accounts[0].key).unwrap())])
}

fn received_wei(chain: &Devchain) -> u128 {
    let to = format!("{:#x}", accounts(0)[9].address);
    let balance = chain.rpc("eth_getBalance", json!([to, "latest"])).unwrap();
    let wei = u128::from_str_radix(&balance.as_str().unwrap()[2..], 16).unwrap();
    wei - 10_000 * 10u128.pow(18)
}

fn send(chain: &Devchain, raw: Value) -> Result<Value, String> {
    chain.rpc("eth_sendRawTransaction", raw)
}

/// One HTTP exchange on a connection of its own: all that came back.
fn exchange(chain: &Devchain, body: &Value) -> String {
    let address = chain.url().replace("http://", "");
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let body = body.to_string();
    write!(
        stream,
        "POST / HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = Vec::new();
    // The connection stays open behind a whole answer: the time-out ends it.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

#[test]
fn a_replacement_must_raise_cap_and_tip_by_a_tenth() {
    let chain = manual();
    send(&chain, transfer(0, 10 * GWEI, GWEI, 1)).unwrap();
    for (cap, tip, passes) in [
        (11 * GWEI - 1, 2 * GWEI, false),
        (20 * GWEI, GWEI * 11 / 10 - 1, false),
        (11 * GWEI, GWEI * 11 / 10, true),
    ] {
        let answer = send(&chain, transfer(0, cap, tip, 2));
        assert_eq!(answer.is_ok(), passes, "{cap} {tip}: {answer:?}");
        if let Err(message) = answer {
            assert_eq!(message, "replacement transaction underpriced");
        }
    }
    let again = send(&chain, transfer(0, 11 * GWEI, GWEI * 11 / 10, 2));
    assert_eq!(again, Err("already known".to_owned()));
    chain.mine();
    assert_eq!(received_wei(&chain), 2);
    let used = send(&chain, transfer(0, 50 * GWEI, 9 * GWEI, 3));
    assert_eq!(
        used,
        Err("nonce too low: next nonce 1, tx nonce 0".to_owned())
    );
}

#[test]
fn a_gap_waits_and_what_cannot_pay_the_base_fee_waits_too() {
    let chain = manual();
    send(&chain, transfer(1, 10 * GWEI, GWEI, 10)).unwrap();
    chain.mine();
    assert_eq!(received_wei(&chain), 0);
    let status = chain.rpc("txpool_status", json!([])).unwrap();
    assert_eq!(status, json!({"pending": "0x0", "queued": "0x1"}));
    send(&chain, transfer(0, GWEI, 1, 1)).unwrap();
    chain
        .rpc("anvil_setNextBlockBaseFeePerGas", json!([2_000_000_000u64]))
        .unwrap();
    chain.mine();
    assert_eq!(received_wei(&chain), 0);
    chain
        .rpc("anvil_setNextBlockBaseFeePerGas", json!([900_000_000u64]))
        .unwrap();
    chain.mine();
    assert_eq!(received_wei(&chain), 11);
}

#[test]
fn pending_transactions_can_be_made_to_leave() {
    let chain = manual();
    chain.drop_pending_after(Some(2));
    send(&chain, transfer(1, 10 * GWEI, GWEI, 1)).unwrap();
    chain.mine();
    let status =
        |chain: &Devchain| chain.rpc("txpool_status", json!([])).unwrap()["queued"].clone();
    assert_eq!(status(&chain), "0x1");
    chain.mine();
    assert_eq!(status(&chain), "0x0");
}

#[test]
fn a_reorg_changes_hashes_and_takes_state_back() {
    for (fate, expected) in [(Reorged::Kept, 5), (Reorged::Dropped, 0)] {
        let chain = manual();
        chain.mine();
        send(&chain, transfer(0, 10 * GWEI, GWEI, 5)).unwrap();
        chain.mine();
        chain.mine();
        assert_eq!(received_wei(&chain), 5);
        let hash = |number: &str| {
            chain
                .rpc("eth_getBlockByNumber", json!([number, false]))
                .unwrap()["hash"]
                .clone()
        };
        let (first, second, third) = (hash("0x1"), hash("0x2"), hash("0x3"));
        chain.reorg(2, fate);
        assert_eq!(chain.head_number(), 3);
        assert_eq!(received_wei(&chain), expected);
        assert_eq!(hash("0x1"), first);
        assert_ne!(hash("0x2"), second);
        let gone = chain
            .rpc("eth_getBlockByHash", json!([third, false]))
            .unwrap();
        assert_eq!(gone, Value::Null);
    }
}

#[test]
fn interval_blocks_are_exactly_apart() {
    let chain = Devchain::start(Config {
        mining: Mining::IntervalMs(1_000),
        ..Config::default()
    })
    .unwrap();
    assert!(chain.wait_for_block(3, Duration::from_secs(10)));
    let time = |number: u64| {
        let block = chain
            .rpc(
                "eth_getBlockByNumber",
                json!([format!("0x{number:x}"), false]),
            )
            .unwrap();
        u64::from_str_radix(&block["timestamp"].as_str().unwrap()[2..], 16).unwrap()
    };
    assert_eq!(time(2), time(1) + 1);
    assert_eq!(time(3), time(2) + 1);
}

#[test]
fn each_fault_shows_on_the_wire() {
    let chain = manual();
    chain.mine();
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []});
    let healthy = exchange(&chain, &call);
    assert!(
        healthy.ends_with("{\"id\":1,\"jsonrpc\":\"2.0\",\"result\":\"0x1\"}"),
        "{healthy}"
    );
    let distortion = Distortion::new(|result| *result = json!("0x99"));
    for (fault, part) in [
        (Fault::Status(429, Some(7)), "HTTP/1.1 429 -\r\ncontent-type: application/json\r\ncontent-length: 11\r\nretry-after: 7"),
        (Fault::Html, "<html>"),
        (Fault::Error { code: -32_005, message: "limit".to_owned() }, "\"error\":{\"code\":-32005,\"message\":\"limit\"}"),
        (Fault::Null, "\"result\":null"),
        (Fault::Raw(b"gibberish".as_slice().into()), "gibberish"),
        (Fault::Distort(distortion), "\"result\":\"0x99\""),
        (Fault::Latency(Duration::from_millis(1)), "\"result\":\"0x1\""),
    ] {
        chain.faults().add(fault.clone(), Some("eth_blockNumber"), Some(1));
        let answer = exchange(&chain, &call);
        assert!(answer.contains(part), "{fault:?}: {answer}");
    }
    for fault in [Fault::Reset, Fault::ResetAfter, Fault::Hang] {
        chain.faults().add(fault.clone(), None, Some(1));
        assert_eq!(exchange(&chain, &call), "", "{fault:?}");
    }
    chain.faults().add(Fault::Truncated, None, Some(1));
    let cut = exchange(&chain, &call);
    assert!(
        cut.starts_with("HTTP/1.1 200") && cut.len() < healthy.len(),
        "{cut}"
    );
    assert_eq!(exchange(&chain, &call), healthy);
}

#[test]
fn an_endpoint_can_lie_about_all_that_it_is() {
    let chain = manual();
    for _ in 0..10 {
        chain.mine();
    }
    let ask = |method: &str, params: Value| {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        exchange(&chain, &call)
    };
    chain.faults().set(|character| {
        character.lag_blocks = 3;
        character.chain_id = Some(5);
        character.legacy_only = true;
        character.log_range = Some((4, "at most 4 blocks".to_owned()));
    });
    assert!(ask("eth_blockNumber", json!([])).contains("\"0x7\""));
    assert!(ask("eth_chainId", json!([])).contains("\"0x5\""));
    assert!(!ask("eth_getBlockByNumber", json!(["latest", false])).contains("baseFeePerGas"));
    assert!(
        ask("eth_sendRawTransaction", transfer(0, 9 * GWEI, GWEI, 1)).contains("not supported")
    );
    let logs = |from: &str| {
        ask(
            "eth_getLogs",
            json!([{"fromBlock": from, "toBlock": "0x7"}]),
        )
    };
    assert!(logs("0x3").contains("at most 4 blocks"));
    assert!(logs("0x4").contains("\"result\":[]"));
    chain
        .faults()
        .set(|character| character.refuses_batches = true);
    let batch = json!([{"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}]);
    assert!(exchange(&chain, &batch).contains("not supported"));
}

#[test]
fn a_swallowed_transaction_is_confirmed_and_forgotten() {
    let chain = manual();
    chain.faults().add(Fault::Swallow, None, Some(1));
    let raw = transfer(0, 9 * GWEI, GWEI, 1);
    let call =
        json!({"jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": raw});
    assert!(exchange(&chain, &call).contains("\"result\":\"0x"));
    chain.mine();
    assert_eq!(received_wei(&chain), 0);
    assert_eq!(chain.raw_transactions().len(), 1);
    assert!(exchange(&chain, &call).contains("\"result\":\"0x"));
    chain.mine();
    assert_eq!(received_wei(&chain), 1);
}

/// On each family of chains contracts see what the header says, in that family's own fields.
#[test]
fn contracts_see_what_their_family_of_chains_shows() {
    for family in [
        Family::Ethereum,
        Family::Optimism,
        Family::Difficulty,
        Family::Orbit,
        Family::Constant,
    ] {
        let chain = Devchain::start(Config {
            family,
            ..Config::default()
        })
        .unwrap();
        chain.mine();
        let block = chain
            .rpc("eth_getBlockByNumber", json!(["0x1", false]))
            .unwrap();
        let call = json!([{"data": "0x43600052446020524260405260606000f3"}, "0x1"]);
        let seen = chain.rpc("eth_call", call).unwrap();
        let word = |field: &str| {
            let digits = block[field].as_str().unwrap_or("0x0");
            format!("{:0>64}", &digits[2..])
        };
        let (prevrandao, number) = match family {
            Family::Ethereum | Family::Optimism => (word("mixHash"), word("number")),
            Family::Difficulty => (word("difficulty"), word("number")),
            Family::Orbit => (word("difficulty"), word("l1BlockNumber")),
            Family::Constant => (format!("{:064x}", 2_500_000_000_000_000u64), word("number")),
        };
        let expected = format!("0x{number}{prevrandao}{}", word("timestamp"));
        assert_eq!(seen, json!(expected), "{family:?}");
    }
}
