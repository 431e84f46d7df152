//! JSON-RPC's dresses and batches, from scripted answers.

use std::sync::atomic::AtomicBool;

use super::batching::{SMALLER_FOR_MAX, STRIKES_MAX};
use super::*;
use crate::chain::error::NodeError;
use crate::chain::script::{answer_calls, Script};

fn over(script: Script) -> (Arc<Script>, Clock, JsonRpc) {
    let (script, clock) = (Arc::new(script), Clock::manual(0));
    let rpc = JsonRpc::over(script.clone(), clock.clone());
    (script, clock, rpc)
}

fn fixed(status: u16, body: Body) -> JsonRpc {
    let answer = Answer {
        status,
        retry_after: None,
        body,
    };
    over(Script::of_requests("http://node", move |_| {
        Ok(answer.clone())
    }))
    .2
}

fn kind(rpc: &JsonRpc) -> ErrorKind {
    let error = rpc.call(Method::ChainId, &json!([])).unwrap_err();
    assert_eq!(error.method, Some(Method::ChainId), "{error}");
    error.kind
}

fn text(text: &str) -> Body {
    Body::Text(text.to_owned())
}

fn limited(secs: Option<u64>) -> ErrorKind {
    ErrorKind::RateLimited {
        retry_after: secs.map(Duration::from_secs),
    }
}

fn calls(count: usize) -> Vec<RpcCall> {
    let call = |index: usize| RpcCall {
        method: Method::BlockByNumber,
        params: json!([index]),
    };
    (0..count).map(call).collect()
}

/// Answers each call with its parameter.
fn echo(_method: &str, params: &Value) -> Result<Value, Value> {
    Ok(params[0].clone())
}

fn echoed(results: &[Result<Json, RpcError>]) -> Vec<u64> {
    let number = |result: &Result<Json, RpcError>| result.as_ref().unwrap().part().as_u64();
    results.iter().filter_map(number).collect()
}

#[test]
fn a_result_comes_back_whole() {
    let (_, _, rpc) = over(Script::of_calls("http://node", |method, _| {
        assert_eq!(method, "eth_chainId");
        Ok(json!("0x1"))
    }));
    let answer = rpc.call(Method::ChainId, &json!([]));
    assert_eq!(answer, Ok(json!("0x1").into()));
}

#[test]
fn broken_answers_are_told_apart() {
    let html = "<html>Bad gateway</html>";
    assert_eq!(kind(&fixed(200, text(html))), ErrorKind::Unavailable);
    for no_answer in [
        json!({}),
        json!([]),
        json!(null),
        json!("0x1"),
        json!(7),
        json!({"id": 1}),
        json!({"id": 99, "result": "0x1"}),
        json!({"id": null, "result": "0x1"}),
        json!({"result": "0x1"}),
    ] {
        let found = kind(&fixed(200, Body::Json(no_answer.clone().into())));
        assert_eq!(found, ErrorKind::InvalidAnswer, "{no_answer}");
    }
    let nonce = json!({"id": 1, "error": {"code": -32000, "message": "nonce too low"}});
    let server = fixed(500, Body::Json(nonce.into()));
    let error = server.call(Method::SendRawTransaction, &json!([]));
    let verdict = ErrorKind::Node(NodeError::NonceTooLow);
    assert_eq!(error.unwrap_err().kind, verdict);
}

#[test]
fn a_status_of_failure_is_read_with_its_body() {
    let internal = json!({"id": 1, "error": {"code": -32603, "message": "Internal error"}});
    for status in [300, 302, 307, 401, 402, 403, 404, 405, 410] {
        assert_eq!(
            kind(&fixed(status, text(""))),
            ErrorKind::Parked,
            "{status}"
        );
        let told = fixed(status, Body::Json(internal.clone().into()));
        assert_eq!(kind(&told), ErrorKind::Parked, "{status}");
    }
    for status in [408, 500, 502, 503, 504, 520, 599] {
        let found = kind(&fixed(status, text("<html></html>")));
        assert_eq!(found, ErrorKind::Unavailable, "{status}");
        let told = fixed(status, Body::Json(internal.clone().into()));
        assert_eq!(kind(&told), ErrorKind::Unavailable, "{status}");
    }
    for status in [100, 400, 413, 422] {
        assert_eq!(
            kind(&fixed(status, text(""))),
            ErrorKind::Refused,
            "{status}"
        );
    }
    // What the body says in words that are known counts more.
    let behind = json!({"id": 1, "error": {"code": -32000, "message": "header not found"}});
    for status in [400, 404, 500] {
        let told = fixed(status, Body::Json(behind.clone().into()));
        assert_eq!(kind(&told), ErrorKind::Behind, "{status}");
    }
}

#[test]
fn a_rate_limit_is_one_in_whatever_dress() {
    let header = Answer {
        status: 429,
        retry_after: Some(Duration::from_secs(7)),
        body: text("slow down"),
    };
    let (_, _, rpc) = over(Script::of_requests("http://node", move |_| {
        Ok(header.clone())
    }));
    assert_eq!(kind(&rpc), limited(Some(7)));
    // Who is in trouble may say for how long, too.
    let header = Answer {
        status: 503,
        retry_after: Some(Duration::from_secs(7_200)),
        body: text("<html>down for maintenance</html>"),
    };
    let (_, _, rpc) = over(Script::of_requests("http://node", move |_| {
        Ok(header.clone())
    }));
    assert_eq!(kind(&rpc), limited(Some(3_600)));
    assert_eq!(kind(&fixed(429, text("try again in 4s"))), limited(Some(4)));
    // nginx tells its own limits so; where nobody is behind it, it says 502.
    let page = "<html>\r\n<head><title>503 Service Temporarily Unavailable</title></head>";
    assert_eq!(kind(&fixed(503, text(page))), limited(None));
    let told = json!({"id": 1, "error": {
        "code": -32005, "message": "daily request count exceeded, request rate limited",
        "data": {"rate": {"backoff_seconds": 30}},
    }});
    assert_eq!(
        kind(&fixed(200, Body::Json(told.into()))),
        limited(Some(30))
    );
    for (status, body) in [
        (200, text("Too Many Requests")),
        (
            200,
            Body::Json(json!({"message": "API rate limit exceeded"}).into()),
        ),
        (
            200,
            Body::Json(json!({"id": 1, "error": "rate limit"}).into()),
        ),
        (403, text("request limit reached")),
        (503, text("throttled")),
        (
            400,
            Body::Json(json!({"id": 1, "error": {"code": 429, "message": "no"}}).into()),
        ),
    ] {
        let found = kind(&fixed(status, body.clone()));
        assert_eq!(found, limited(None), "{status} {body:?}");
    }
}

#[test]
fn ids_compare_by_value() {
    for dress in [
        |id: u64| json!(id),
        |id: u64| json!(id as f64),
        |id: u64| json!(id.to_string()),
        |id: u64| json!(format!("{id}.0")),
        |id: u64| json!(format!("0x{id:x}")),
    ] {
        let (_, _, rpc) = over(Script::of_requests("http://node", move |request| {
            let mut answer = answer_calls(request, echo);
            let items = match &mut answer {
                Value::Array(items) => items.iter_mut().collect(),
                item => vec![item],
            };
            for item in items {
                item["id"] = dress(item["id"].as_u64().unwrap());
            }
            Ok(Answer::json(answer))
        }));
        assert_eq!(rpc.call(Method::ChainId, &json!([5])), Ok(json!(5).into()));
        assert_eq!(echoed(&rpc.batch(&calls(3)).unwrap()), [0, 1, 2]);
    }
}

#[test]
fn a_single_answer_may_come_in_a_list() {
    for others in [json!([]), json!([{"id": 7_000, "result": 6}, null, 7])] {
        let (_, _, rpc) = over(Script::of_requests("http://node", move |request| {
            let mut list = others.as_array().unwrap().clone();
            list.insert(0, answer_calls(request, echo));
            Ok(Answer::json(Value::Array(list)))
        }));
        assert_eq!(rpc.call(Method::ChainId, &json!([5])), Ok(json!(5).into()));
    }
}

#[test]
fn an_error_that_is_empty_beside_a_result_is_none() {
    for empty in [
        json!(null),
        json!(false),
        json!(0),
        json!(""),
        json!([]),
        json!({}),
        json!({"code": 0, "message": "", "data": null}),
        json!({"code": 0, "message": "success"}),
    ] {
        let answer = json!({"id": 1, "result": "0x1", "error": empty});
        let rpc = fixed(200, Body::Json(answer.clone().into()));
        let found = rpc.call(Method::ChainId, &json!([]));
        assert_eq!(found, Ok(json!("0x1").into()), "{answer}");
    }
    // Alone it is one all the same, and one that says something is one beside any result.
    for error in [
        json!(0),
        json!({}),
        json!([]),
        json!(""),
        json!(true),
        json!([1]),
    ] {
        let answer = json!({"id": 1, "error": error});
        assert_eq!(
            kind(&fixed(200, Body::Json(answer.into()))),
            ErrorKind::Refused
        );
    }
    for error in [json!(true), json!([1]), json!("no"), json!({"code": 1})] {
        let answer = json!({"id": 1, "result": "0x1", "error": error});
        assert_eq!(
            kind(&fixed(200, Body::Json(answer.into()))),
            ErrorKind::Refused
        );
    }
}

#[test]
fn a_batch_with_odd_items_is_asked_call_by_call() {
    type Spoil = fn(&mut Vec<Value>);
    let ways: [(&str, Spoil); 7] = [
        ("one is missing", |items| drop(items.pop())),
        ("one is null", |items| items[1] = Value::Null),
        ("one has no id", |items| items[1]["id"] = Value::Null),
        ("one has another's id", |items| {
            items[1]["id"] = json!(1u64 << 40)
        }),
        ("all have one id", |items| {
            let id = items[0]["id"].clone();
            items.iter_mut().for_each(|item| item["id"] = id.clone());
        }),
        ("none is an object", |items| {
            items.iter_mut().for_each(|item| *item = json!("0x1"));
        }),
        ("empty", Vec::clear),
    ];
    for (way, spoil) in ways {
        let (_, _, rpc) = over(Script::of_requests("http://node", move |request| {
            let mut answer = answer_calls(request, echo);
            if let Value::Array(items) = &mut answer {
                spoil(items);
            }
            Ok(Answer::json(answer))
        }));
        assert_eq!(echoed(&rpc.batch(&calls(3)).unwrap()), [0, 1, 2], "{way}");
    }
    // What comes beside what was asked for is nobody's, and the first of two answers counts.
    let (_, _, rpc) = over(Script::of_requests("http://node", |request| {
        let mut answer = answer_calls(request, echo);
        if let Value::Array(items) = &mut answer {
            let again = json!({"id": items[0]["id"], "result": 77});
            items.extend([json!(null), json!({"id": 1u64 << 40, "result": 78}), again]);
        }
        Ok(Answer::json(answer))
    }));
    assert_eq!(echoed(&rpc.batch(&calls(3)).unwrap()), [0, 1, 2]);
}

#[test]
fn a_batch_is_matched_by_id_in_any_order_and_each_item_has_its_own_error() {
    let (script, _, rpc) = over(Script::of_requests("http://node", |request| {
        Ok(Answer::json(json!([
            {"id": request[1]["id"], "error": {"code": -32000, "message": "header not found"}},
            {"id": request[0]["id"], "result": "0x1"},
        ])))
    }));
    let results = rpc.batch(&calls(2)).unwrap();
    assert_eq!(results[0], Ok(json!("0x1").into()));
    let error = results[1].as_ref().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Behind);
    assert_eq!(error.method, Some(Method::BlockByNumber));
    assert_eq!(script.asked().len(), 1);
}

#[test]
fn many_calls_go_out_in_batches_of_ten() {
    let (script, _, rpc) = over(Script::of_calls("http://node", echo));
    let numbers: Vec<u64> = (0..25).collect();
    assert_eq!(echoed(&rpc.batch(&calls(25)).unwrap()), numbers);
    let sizes: Vec<usize> = script.asked().iter().map(calls_in).collect();
    assert_eq!(sizes, [10, 10, 5]);
}

fn calls_in(request: &Value) -> usize {
    request.as_array().map_or(1, Vec::len)
}

type Way = (&'static str, fn(&Value) -> Answer);

/// Every way in which servers were seen to fail batches.
fn batch_failures() -> Vec<Way> {
    fn with_status(status: u16) -> Answer {
        Answer {
            status,
            ..Answer::json(json!({"error": {"code": -32600, "message": "no batches"}}))
        }
    }
    fn list(request: &Value, error: Value) -> Answer {
        Answer::json(answer_calls(request, |_, _| Err(error.clone())))
    }
    vec![
        ("HTTP 400", |_| with_status(400)),
        ("HTTP 403", |_| with_status(403)),
        ("HTTP 405", |_| with_status(405)),
        ("HTTP 413", |_| with_status(413)),
        ("HTTP 422", |_| with_status(422)),
        ("HTTP 500", |_| with_status(500)),
        ("HTTP 503", |_| with_status(503)),
        ("one error", |_| {
            Answer::json(json!({"id": null, "error": {"code": -32600, "message": "no"}}))
        }),
        ("one result", |_| {
            Answer::json(json!({"id": 1, "result": "0x1"}))
        }),
        ("a list of errors", |request| {
            list(request, json!({"code": -32600, "message": "no"}))
        }),
        ("a list of strings", |request| {
            list(request, json!("no batches"))
        }),
        ("an empty list", |_| Answer::json(json!([]))),
        ("no ids", |request| {
            let mut answers = answer_calls(request, echo);
            answers
                .as_array_mut()
                .unwrap()
                .iter_mut()
                .for_each(|item| item["id"] = Value::Null);
            Answer::json(answers)
        }),
        ("half a list", |request| {
            let mut answers = answer_calls(request, echo);
            answers.as_array_mut().unwrap().truncate(1);
            Answer::json(answers)
        }),
        ("a page", |_| Answer {
            body: text("<html></html>"),
            ..Answer::json(Value::Null)
        }),
        ("null", |_| Answer::json(Value::Null)),
    ]
}

#[test]
fn a_batch_that_fails_in_whatever_way_is_made_smaller_then_single_and_tried_again_later() {
    for (way, fail) in batch_failures() {
        for largest in [1, 3] {
            let (script, clock, rpc) = over(Script::of_requests("http://node", move |request| {
                Ok(match calls_in(request) > largest {
                    true => fail(request),
                    false => Answer::json(answer_calls(request, echo)),
                })
            }));
            let numbers: Vec<u64> = (0..10).collect();
            for _ in 0..5 {
                let results = rpc.batch(&calls(10));
                let results = results.unwrap_or_else(|error| panic!("{way}: {error}"));
                assert_eq!(echoed(&results), numbers, "{way}");
            }
            let before = script.asked().len();
            assert!(rpc.batch(&calls(10)).is_ok());
            let now: Vec<usize> = script.asked()[before..].iter().map(calls_in).collect();
            assert!(now.iter().all(|size| *size <= largest), "{way}: {now:?}");
            clock.advance(SMALLER_FOR_MAX);
            let before = script.asked().len();
            assert!(rpc.batch(&calls(10)).is_ok());
            assert_eq!(calls_in(&script.asked()[before]), BATCH_MAX, "{way}");
        }
    }
}

/// A server that serves so many calls of a batch, and has this to say of the others.
fn serving_some(most: usize, rest: Value) -> impl Fn(&Value) -> Result<Answer, RpcError> {
    move |request| {
        let mut answer = answer_calls(request, echo);
        for item in answer.as_array_mut().into_iter().flatten().skip(most) {
            item["result"] = Value::Null;
            item["error"] = rest.clone();
        }
        Ok(Answer::json(answer))
    }
}

#[test]
fn a_server_that_serves_only_some_of_each_batch_gets_batches_that_it_serves() {
    for rest in [
        json!({"code": -32005, "message": "limit exceeded"}),
        json!({"code": -32600, "message": "too many calls in a batch"}),
        json!("no"),
    ] {
        for most in [1, 3, 9] {
            let (_, clock, rpc) = over(Script::of_requests(
                "http://node",
                serving_some(most, rest.clone()),
            ));
            let whole = (0..20).find(|_| {
                let results = rpc.batch(&calls(10));
                results.is_ok_and(|results| results.iter().all(Result::is_ok))
            });
            assert!(whole.is_some(), "{most} {rest}");
            assert!(rpc.batch_size() <= most);
            clock.advance(SMALLER_FOR_MAX);
            assert_eq!(rpc.batch_size(), BATCH_MAX, "tried again");
        }
    }
}

#[test]
fn a_call_that_is_never_served_makes_no_batches_smaller() {
    let (script, _, rpc) = over(Script::of_calls("http://node", |_, params| {
        match params[0] == 9 {
            true => Err(json!({"code": -32005, "message": "no"})),
            false => Ok(params[0].clone()),
        }
    }));
    let before = script.asked().len();
    for _ in 0..30 {
        assert_eq!(
            rpc.batch(&calls(10))
                .unwrap()
                .iter()
                .filter(|it| it.is_err())
                .count(),
            1
        );
    }
    assert_eq!(rpc.batch_size(), BATCH_MAX);
    assert_eq!(script.asked().len() - before, 31, "it was asked alone once");
}

#[test]
fn a_result_is_one_whatever_status_it_comes_with() {
    for status in [202, 400, 404, 429, 500, 503] {
        let server = fixed(status, Body::Json(json!({"id": 1, "result": "0x1"}).into()));
        let answer = server.call(Method::ChainId, &json!([]));
        assert_eq!(answer, Ok(json!("0x1").into()), "{status}");
        let mixed = json!([{"id": 1, "result": "0x1"}, {"id": 2, "error": {"code": -32601, "message": "no"}}]);
        let results = fixed(status, Body::Json(mixed.into()))
            .batch(&calls(2))
            .unwrap();
        let told: Vec<bool> = results.iter().map(Result::is_ok).collect();
        assert_eq!(told, [true, false], "{status}");
    }
    // It has to be a result, and of this question.
    for other in [
        json!({"id": 1, "result": null}),
        json!({"result": "0x1"}),
        json!({"id": 1, "result": "0x1", "error": "no"}),
    ] {
        let found = kind(&fixed(500, Body::Json(other.into())));
        assert_eq!(found, ErrorKind::Unavailable);
    }
}

#[test]
fn a_server_that_fails_whatever_it_is_asked_is_not_asked_ten_times() {
    for (way, fail) in batch_failures() {
        let (script, _, rpc) = over(Script::of_requests("http://node", move |_| {
            Ok(fail(&json!([])))
        }));
        assert!(rpc.batch(&calls(10)).is_err(), "{way}");
        assert!(script.asked().len() <= 1 + ALONE_MAX, "{way}");
        assert_eq!(
            rpc.batch_size(),
            BATCH_MAX,
            "{way}: nothing was learned of batches"
        );
    }
}

#[test]
fn a_server_that_fails_whatever_it_is_asked_is_asked_no_more_however_large_its_batches_are() {
    let of_one = calls(10);
    let (mut of_two, mut of_another_last) = (calls(10), calls(10));
    let every_other = of_two.iter_mut().skip(1).step_by(2);
    every_other.for_each(|call| call.method = Method::GasPrice);
    of_another_last[9].method = Method::GasPrice;
    let all: &'static [&str] = &["eth_getBlockByNumber", "eth_gasPrice"];
    let one = &all[..1];
    for (largest, calls, refused, is_over, asked) in [
        (1, &of_two, all, true, 3),
        (2, &of_two, all, true, 3 + 2),
        (10, &of_two, all, true, 1 + 3),
        (2, &of_one, all, true, 3 + 2),
        (10, &of_one, all, true, 1 + 3),
        // What one method alone is refused may be served to the others.
        (1, &of_one, one, false, 10),
        (1, &of_two, one, false, 10),
        (2, &of_two, one, false, 3 + 2 + 4),
        (2, &of_another_last, one, false, 5 * 3),
        (10, &of_another_last, one, false, 1 + 10),
    ] {
        for (way, fail) in batch_failures() {
            let way = format!("{way}, batches of {largest}, {refused:?} refused");
            let is_down = Arc::new(AtomicBool::new(false));
            let seen = is_down.clone();
            let (script, _, rpc) = over(Script::of_requests("http://node", move |request| {
                let text = request.to_string();
                let fails = match seen.load(Ordering::Relaxed) {
                    true => refused.iter().any(|method| text.contains(method)),
                    false => calls_in(request) > largest,
                };
                Ok(match fails {
                    true => fail(&json!([])),
                    false => Answer::json(answer_calls(request, echo)),
                })
            }));
            while rpc.batch_size() > largest {
                assert!(rpc.batch(calls).is_ok(), "{way}");
            }
            is_down.store(true, Ordering::Relaxed);
            let before = script.asked().len();
            assert_eq!(rpc.batch(calls).is_err(), is_over, "{way}");
            assert_eq!(script.asked().len() - before, asked, "{way}");
        }
    }
}

#[test]
fn a_call_that_fails_alone_as_well_spoils_only_itself() {
    let (_, _, rpc) = over(Script::of_requests("http://node", |request| {
        Ok(match request.is_array() {
            true => Answer::json(json!({"error": {"code": -32600, "message": "no"}})),
            false => Answer::json(answer_calls(request, |_, params| {
                match params[0] == json!(0) {
                    true => Err(json!({"code": -32601, "message": "no such method"})),
                    false => Ok(params[0].clone()),
                }
            })),
        })
    }));
    let results = rpc.batch(&calls(4)).unwrap();
    assert_eq!(results[0].as_ref().unwrap_err().kind, ErrorKind::Refused);
    assert_eq!(echoed(&results[1..]), [1, 2, 3]);
}

#[test]
fn a_rate_limited_batch_is_a_rate_limit_and_only_many_in_a_row_make_batches_smaller() {
    let refusal = || json!({"id": null, "error": {"code": -32005, "message": "too many requests"}});
    let (script, _, rpc) = over(Script::of_requests("http://node", move |request| {
        Ok(Answer::json(match calls_in(request) > 2 {
            true => refusal(),
            false => answer_calls(request, echo),
        }))
    }));
    for _ in 0..STRIKES_MAX {
        assert_eq!(rpc.batch(&calls(4)).unwrap_err().kind, limited(None));
    }
    assert_eq!(script.asked().len(), STRIKES_MAX as usize);
    assert_eq!(rpc.batch_size(), 2);
    assert_eq!(echoed(&rpc.batch(&calls(4)).unwrap()), [0, 1, 2, 3]);
    // Each item of a list may say the same.
    let (_, _, rpc) = over(Script::of_calls("http://node", |_, _| {
        Err(json!({"code": -32016, "message": "over the limit"}))
    }));
    assert_eq!(rpc.batch(&calls(4)).unwrap_err().kind, limited(None));
    assert_eq!(rpc.batch_size(), BATCH_MAX);
}

#[test]
fn silence_is_told_at_once_and_often_enough_makes_batches_smaller() {
    let (script, _, rpc) = over(Script::of_requests("http://node", |request| match request
        .is_array()
    {
        true => Err(RpcError::transport("timed out")),
        false => Ok(Answer::json(answer_calls(request, echo))),
    }));
    for _ in 0..STRIKES_MAX {
        assert_eq!(rpc.batch(&calls(2)).unwrap_err().kind, ErrorKind::Transport);
    }
    assert_eq!(script.asked().len(), STRIKES_MAX as usize);
    assert_eq!(echoed(&rpc.batch(&calls(2)).unwrap()), [0, 1]);
}

#[test]
fn a_method_that_spoils_every_batch_that_it_is_part_of_is_asked_for_beside_it_until_it_is_answered()
{
    let mut calls = calls(12);
    for (index, call) in calls.iter_mut().enumerate().skip(2) {
        let methods = [Method::Call, Method::GetBalance, Method::GasPrice];
        call.method = methods[index % 3];
    }
    let balances = calls.iter().filter(|it| it.method == Method::GetBalance);
    let balances = balances.count();
    for (way, fail) in batch_failures() {
        let is_spoilt = Arc::new(AtomicBool::new(true));
        let seen = is_spoilt.clone();
        let (script, clock, rpc) = over(Script::of_requests("http://node", move |request| {
            let is_spoilt = seen.load(Ordering::Relaxed);
            Ok(
                match is_spoilt && request.to_string().contains("eth_getBalance") {
                    true => fail(&json!([])),
                    false => Answer::json(answer_calls(request, echo)),
                },
            )
        }));
        let ask = || {
            let before = script.asked().len();
            let results = rpc.batch(&calls).unwrap();
            let mut failed = 0;
            for (index, (call, result)) in calls.iter().zip(&results).enumerate() {
                match result {
                    Ok(answer) => assert_eq!(answer.part().as_u64(), Some(index as u64), "{way}"),
                    Err(_) => {
                        failed += 1;
                        assert_eq!(call.method, Method::GetBalance, "{way}");
                    }
                }
            }
            let asked = script.asked();
            let sizes: Vec<usize> = asked[before..].iter().map(calls_in).collect();
            (failed, sizes)
        };
        let (failed, _) = ask();
        assert_eq!((failed, rpc.batch_size()), (balances, BATCH_MAX), "{way}");
        let beside = [vec![12 - balances], vec![1; balances]].concat();
        assert_eq!(ask(), (balances, beside.clone()), "{way}");
        is_spoilt.store(false, Ordering::Relaxed);
        assert_eq!(ask(), (0, beside), "{way}");
        assert_eq!(ask(), (0, vec![10, 2]), "{way}");
        // Nor is it left out of them for ever where it is never asked for.
        is_spoilt.store(true, Ordering::Relaxed);
        ask();
        is_spoilt.store(false, Ordering::Relaxed);
        clock.advance(SMALLER_FOR_MAX);
        assert_eq!(ask(), (0, vec![10, 2]), "{way}");
    }
}
