//! Ranges of logs over scripted transports: whatever goes wrong with a long one, shorter ones come through.

use super::*;
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::chain::json::Json;
use crate::chain::script::ways::status;
use crate::chain::script::{answer_calls, Script};
use crate::chain::transport::Answer;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::Arc;

const LAST: u64 = 99;

fn us() -> Address {
    Address::from_low_u64_be(0xaa)
}

fn hash(number: u64) -> String {
    format!("0x{number:064x}")
}

fn number_of(value: &Value) -> u64 {
    let text = value.as_str().unwrap_or_default();
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or(u64::MAX)
}

fn header_json(number: u64, parent: u64) -> Value {
    json!({
        "number": format!("0x{number:x}"), "hash": hash(number), "parentHash": hash(parent),
        "timestamp": format!("0x{number:x}"), "transactions": [],
    })
}

fn log_json(block: u64, transaction: u64, index: u64) -> Value {
    json!({
        "address": format!("{:#x}", us()), "topics": [hash(1)], "data": "0x",
        "blockNumber": format!("0x{block:x}"), "blockHash": hash(block),
        "transactionHash": hash(block * 1_000 + transaction),
        "transactionIndex": format!("0x{transaction:x}"), "logIndex": format!("0x{index:x}"),
    })
}

/// A chain of a hundred blocks with a log in every tenth.
fn chain(method: &str, params: &Value) -> Result<Value, Value> {
    Ok(match method {
        "eth_getBlockByNumber" => match number_of(&params[0]) {
            number if number <= LAST => header_json(number, number.saturating_sub(1)),
            _ => Value::Null,
        },
        "eth_getLogs" => {
            let (from, to) = (
                number_of(&params[0]["fromBlock"]),
                number_of(&params[0]["toBlock"]),
            );
            let found = (from..=to).filter(|block| block % 10 == 0);
            match found.map(|block| log_json(block, 0, 0)).collect::<Vec<_>>() {
                none if none.is_empty() => Value::Null,
                some => Value::from(some),
            }
        }
        _ => Value::Null,
    })
}

fn span(request: &Value) -> u64 {
    let calls = request.as_array().cloned().unwrap_or(vec![request.clone()]);
    let logs = calls.iter().find(|call| call["method"] == "eth_getLogs");
    logs.map_or(0, |call| {
        let filter = &call["params"][0];
        number_of(&filter["toBlock"]) + 1 - number_of(&filter["fromBlock"])
    })
}

fn over(script: Script) -> (Arc<Script>, Endpoint) {
    let script = Arc::new(script);
    let endpoint = Endpoint::over(script.clone(), Clock::manual(0), Metrics::default());
    (script, endpoint)
}

/// Reads the whole chain, chunk by chunk; a failed chunk is asked again.
fn read_all(endpoint: &Endpoint, upward: bool) -> HashSet<u64> {
    let (mut from, mut to, mut blocks) = (0, LAST, HashSet::new());
    let mut failures = 0;
    while from <= to {
        match endpoint.log_chunk(us(), (from, to), upward) {
            Ok(chunk) => {
                blocks.extend(chunk.logs.iter().map(|log| log.block_number));
                match upward {
                    true => from = chunk.last.number + 1,
                    false if chunk.first.number == 0 => return blocks,
                    false => to = chunk.first.number - 1,
                }
            }
            Err(error) => {
                failures += 1;
                assert!(failures < 50, "{error}");
            }
        }
    }
    blocks
}

#[test]
fn whatever_fails_of_a_long_range_a_shorter_one_is_asked() {
    type Fail = fn(&Value) -> Result<Answer, RpcError>;
    fn error(request: &Value, error: Value) -> Result<Answer, RpcError> {
        let answer = answer_calls(request, |method, params| match method {
            "eth_getLogs" => Err(error.clone()),
            _ => chain(method, params),
        });
        Ok(Answer::json(answer))
    }
    let ways: [(&str, Fail); 10] = [
        ("words nobody knows", |it| {
            error(it, json!({"code": -32_000, "message": "too big, sorry"}))
        }),
        ("an internal error", |it| {
            error(it, json!({"code": -32_603, "message": "Internal error"}))
        }),
        ("a string", |it| error(it, json!("no"))),
        ("a named limit", |it| {
            error(
                it,
                json!({"code": -32_602, "message": "limited to a 7 range"}),
            )
        }),
        ("a rate limit", |it| {
            error(it, json!({"code": -32_005, "message": "limit"}))
        }),
        ("a time-out", |_| Err(RpcError::transport("timed out"))),
        ("HTTP 413", |_| status(413, "")),
        ("HTTP 500", |_| status(500, "")),
        ("HTTP 403", |_| status(403, "")),
        ("a body cut off", |_| status(200, "{\"jso")),
    ];
    for (way, fail) in ways {
        for upward in [true, false] {
            let (_, endpoint) = over(Script::of_requests("http://node", move |request| {
                match span(request) > 7 {
                    true => fail(request),
                    false => Ok(Answer::json(answer_calls(request, chain))),
                }
            }));
            let expected: HashSet<u64> = (0..=LAST).step_by(10).collect();
            assert_eq!(read_all(&endpoint, upward), expected, "{way}");
        }
    }
}

#[test]
fn a_range_of_one_block_that_fails_is_an_error() {
    let (script, endpoint) = over(Script::of_calls(
        "http://node",
        |method, params| match method {
            "eth_getLogs" => Err(json!("no")),
            _ => chain(method, params),
        },
    ));
    let error = endpoint.log_chunk(us(), (0, LAST), true).unwrap_err();
    assert_eq!(error.method, Some(Method::GetLogs));
    assert!(script.asked().len() < 12);
    assert_eq!(endpoint.log_range_blocks(), 1);
}

#[test]
fn of_who_shows_no_blocks_either_no_shorter_range_is_asked_at_once() {
    let (script, endpoint) = over(Script::of_requests("http://node", |_| status(503, "")));
    for _ in 0..3 {
        endpoint.head().unwrap_err();
    }
    let before = script.asked().len();
    assert!(endpoint.log_chunk(us(), (0, LAST), true).is_err());
    // The batch, and each of its calls.
    assert_eq!(script.asked().len(), before + 4);
    // The next question is for fewer all the same.
    assert!(endpoint.log_range_blocks() < LAST);
}

#[test]
fn numbers_without_blocks_are_passed_over() {
    for hole in [
        Ok(Value::Null),
        Err(json!({"code": 1, "message": "a null round"})),
    ] {
        for (ends, upward) in [((3, 17), true), ((3, 17), false)] {
            let hole = hole.clone();
            let is_hole = |number: u64| number % 10 == 3 || number % 10 == 7;
            let (_, endpoint) = over(Script::of_calls("http://node", move |method, params| {
                let number = number_of(&params[0]);
                match method {
                    "eth_getBlockByNumber" if is_hole(number) => hole.clone(),
                    _ => chain(method, params),
                }
            }));
            let chunk = endpoint.log_chunk(us(), ends, upward).unwrap();
            assert_eq!((chunk.first.number, chunk.last.number), (4, 16));
            assert_eq!(chunk.logs.len(), 1);
        }
    }
}

#[test]
fn a_page_in_place_of_a_block_is_not_taken_for_a_number_without_one() {
    for (spoilt, upward) in [(3, true), (17, false)] {
        let (_, endpoint) = over(Script::of_requests("http://node", move |request| {
            let is_spoilt = request["method"] == "eth_getBlockByNumber"
                && number_of(&request["params"][0]) == spoilt;
            // Without batches a page stands for one answer.
            match request.is_array() || is_spoilt {
                true => status(200, "<html>Bad gateway</html>"),
                false => Ok(Answer::json(answer_calls(request, chain))),
            }
        }));
        let error = endpoint.log_chunk(us(), (3, 17), upward).unwrap_err();
        assert!(error.is_passing(), "block {spoilt}: {error}");
    }
}

#[test]
fn a_branch_that_a_deep_reorg_took_back_is_not_followed_block_by_block() {
    // Above this block the numbers show another branch than the head's; by hash that is still there.
    for (shared, steps) in [
        (19, Some(0)),
        (18, Some(1)),
        (17, Some(2)),
        (16, None),
        (2, None),
    ] {
        let (script, endpoint) = over(Script::of_calls("http://node", move |method, params| {
            let number = number_of(&params[0]);
            let mut header = header_json(number, number - 1);
            if method == "eth_getBlockByNumber" && number > shared {
                header["hash"] = json!(hash(number + 500));
            }
            Ok(header)
        }));
        let head = parse::header(Json::from(header_json(20, 19)).part()).unwrap();
        let found = endpoint.ancestry(&head, 12);
        let by_hash = script.asked().len() - 1;
        match steps {
            Some(steps) => {
                assert_eq!(found.unwrap().len(), 9, "{shared}");
                assert_eq!(by_hash, steps);
            }
            None => {
                assert_eq!(found.unwrap_err().kind, ErrorKind::Behind);
                assert_eq!(by_hash, 2, "{shared}");
            }
        }
    }
}

#[test]
fn ancestors_are_found_by_parent_where_numbers_have_holes() {
    // Blocks 20, 18, 17, 14, ...: their parents are not one number below.
    const NUMBERS: [u64; 6] = [20, 18, 17, 14, 13, 10];
    let parent = |number: u64| {
        let below = NUMBERS.into_iter().filter(move |other| *other < number);
        below.max().unwrap_or(0)
    };
    let block = move |number: u64| match NUMBERS.contains(&number) {
        true => Ok(header_json(number, parent(number))),
        false => Err(json!("requested epoch was a null round")),
    };
    let (script, endpoint) = over(Script::of_calls(
        "http://node",
        move |method, params| match method {
            "eth_getBlockByNumber" => block(number_of(&params[0])),
            "eth_getBlockByHash" => block(number_of(&params[0])),
            _ => Ok(Value::Null),
        },
    ));
    let head = parse::header(Json::from(header_json(20, 18)).part()).unwrap();
    let found = endpoint.ancestry(&head, 13).unwrap();
    let numbers: Vec<u64> = found.iter().map(|header| header.number).collect();
    assert_eq!(numbers, [13, 14, 17, 18, 20]);
    assert_eq!(script.asked().len(), 1, "one batch is enough");
    // What lies below a hole at the end is known only from the parent itself.
    let found = endpoint.ancestry(&head, 12).unwrap();
    assert_eq!(found.first().map(|header| header.number), Some(13));
    assert_eq!(script.asked().len(), 3);
    assert_eq!(
        endpoint.ancestry(&head, 20).unwrap(),
        std::slice::from_ref(&head)
    );
    // A chain that moves meanwhile is told, not mixed.
    let (_, endpoint) = over(Script::of_calls("http://node", move |method, params| {
        let other = json!({"hash": hash(777), "parentHash": hash(776)});
        let mut header = block(number_of(&params[0]))?;
        if method == "eth_getBlockByNumber" {
            header["hash"] = other["hash"].clone();
        }
        Ok(header)
    }));
    let numbers: Vec<u64> = endpoint
        .ancestry(&head, 12)
        .unwrap()
        .iter()
        .map(|header| header.number)
        .collect();
    assert_eq!(
        numbers,
        [13, 14, 17, 18, 20],
        "by hash, whatever the numbers show"
    );
}

#[test]
fn logs_of_one_block_may_share_their_index() {
    let read = |logs: Vec<Value>| {
        let logs = Json::from(Value::from(logs));
        in_chain_order(parse::logs(logs.part(), us()).unwrap())
    };
    let shuffled = vec![
        log_json(5, 2, 0),
        log_json(5, 1, 1),
        log_json(5, 1, 0),
        log_json(4, 9, 0),
    ];
    let order: Vec<(u64, u64, u64)> = read(shuffled)
        .unwrap()
        .iter()
        .map(|log| (log.block_number, log.transaction_index, log.log_index))
        .collect();
    assert_eq!(order, [(4, 9, 0), (5, 1, 0), (5, 1, 1), (5, 2, 0)]);
    let twice = read(vec![
        log_json(5, 1, 1),
        log_json(5, 1, 0),
        log_json(5, 1, 1),
    ]);
    assert_eq!(twice.unwrap().len(), 2, "a proxy joins ranges that overlap");
    let mut other = log_json(5, 1, 1);
    other["data"] = json!("0x02");
    let contradictory = read(vec![log_json(5, 1, 1), other]).unwrap_err();
    assert_eq!(contradictory.kind, ErrorKind::InvalidAnswer);
}
