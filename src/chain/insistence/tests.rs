//! Endpoints that spoil some of their answers, over scripted transports.

use std::sync::atomic::AtomicBool;
use std::sync::Arc;

use serde_json::{json, Value};

use super::*;
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::chain::endpoints::Endpoints;
use crate::chain::error::ErrorKind;
use crate::chain::node::CallRequest;
use crate::chain::query;
use crate::chain::script::ways::{error_answer, status};
use crate::chain::script::{answer_calls, Script};
use crate::chain::transport::{Answer, Transport};
use crate::chain::types::{Address, BlockId, H256, U256};

const BALANCE: &[Method] = &[Method::GetBalance];

type Reply = Result<Answer, RpcError>;

fn sound(method: &str, _params: &Value) -> Result<Value, Value> {
    let word = format!("0x{:064x}", 3);
    Ok(match method {
        "eth_chainId" => json!("0x1"),
        "web3_clientVersion" => json!("geth"),
        "eth_call" | "eth_sendRawTransaction" => json!(word),
        "eth_getBlockByNumber" => json!({
            "number": "0x10", "hash": format!("0x{:064x}", 16), "parentHash": word, "timestamp": "0x64",
        }),
        _ => json!("0x5"),
    })
}

/// A node that answers the questions with that method for which `spoils`, given how many there were before, has an answer
/// in place of the true one.
fn spoiling(
    method: &'static str,
    spoils: impl Fn(u32) -> Option<Reply> + Send + Sync + 'static,
) -> Script {
    let before = AtomicU32::new(0);
    Script::of_requests("http://node", move |request| {
        let is_asked = match request {
            Value::Array(calls) => calls.iter().any(|call| call["method"] == method),
            call => call["method"] == method,
        };
        let spoilt = match is_asked {
            true => spoils(before.fetch_add(1, Ordering::Relaxed)),
            false => None,
        };
        spoilt.unwrap_or_else(|| Ok(Answer::json(answer_calls(request, sound))))
    })
}

fn page() -> Reply {
    status(200, "<html>Bad gateway</html>")
}

fn over(scripts: Vec<Script>, clock: &Clock) -> (Vec<Arc<Script>>, Endpoints) {
    let scripts: Vec<Arc<Script>> = scripts.into_iter().map(Arc::new).collect();
    let transports = scripts.iter().map(|it| it.clone() as Arc<dyn Transport>);
    let endpoints = Endpoints::over(transports.collect(), 1, clock.clone(), &Metrics::default());
    (scripts, endpoints)
}

fn lone(script: Script) -> (Arc<Script>, Endpoints) {
    let (mut scripts, endpoints) = over(vec![script], &Clock::manual(0));
    (scripts.remove(0), endpoints)
}

fn balance(endpoint: &Endpoint) -> Result<U256, RpcError> {
    endpoint.balance(Address::zero(), BlockId::Latest)
}

/// The calls with that method that went out, alone or in batches.
fn asked(script: &Script, method: &str) -> usize {
    let is_it = |call: &&Value| call["method"] == method;
    let requests = script.asked();
    let calls = requests.iter().map(|request| match request {
        Value::Array(calls) => calls.iter().filter(is_it).count(),
        call => usize::from(is_it(&call)),
    });
    calls.sum()
}

#[test]
fn a_spoilt_answer_of_the_only_endpoint_is_asked_for_once_more() {
    let again: [fn() -> Reply; 9] = [
        page,
        || status(200, ""),
        || status(200, "{\"jsonrpc\":\"2.0\",\"id\":1,\"res"),
        || status(502, ""),
        || {
            error_answer(json!("down")).map(|answer| Answer {
                status: 503,
                ..answer
            })
        },
        || Err(RpcError::new(ErrorKind::Unavailable, "cut off")),
        || Ok(Answer::json(json!({"id": 99, "result": "0x5"}))),
        || Ok(Answer::json(json!({"result": "0x5"}))),
        || Ok(Answer::json(json!([]))),
    ];
    for (way, fail) in again.into_iter().enumerate() {
        let first = move |before| (before == 0).then(fail);
        let (script, endpoints) = lone(spoiling("eth_getBalance", first));
        let answer = endpoints.with_endpoint(BALANCE, balance);
        assert_eq!(answer, Ok(U256::from(5)), "way {way}");
        assert_eq!(asked(&script, "eth_getBalance"), 2, "way {way}");
        assert!(endpoints.reports()[0].healthy, "way {way}");
    }
    // As is one that is whole, but of another type.
    let first = |before| {
        let wrong = |request: &Value| json!({"id": request["id"], "result": {"wei": 5}});
        (before == 0).then_some(wrong)
    };
    let before = AtomicU32::new(0);
    let (script, endpoints) = lone(Script::of_requests("http://node", move |request| {
        let wrong = match request["method"] == "eth_getBalance" {
            true => first(before.fetch_add(1, Ordering::Relaxed)),
            false => None,
        };
        let sound = answer_calls(request, sound);
        Ok(Answer::json(wrong.map_or(sound, |wrong| wrong(request))))
    }));
    assert!(endpoints.with_endpoint(BALANCE, balance).is_ok());
    assert_eq!(asked(&script, "eth_getBalance"), 2);
}

#[test]
fn silence_refusals_and_wishes_to_be_left_alone_are_not_asked_twice() {
    let once: [fn() -> Reply; 4] = [
        || Err(RpcError::transport("timed out")),
        || {
            Ok(Answer {
                retry_after: Some(Duration::from_secs(2)),
                ..status(503, "")?
            })
        },
        || status(403, ""),
        || error_answer(json!({"code": -32_601, "message": "no such method"})),
    ];
    for (way, fail) in once.into_iter().enumerate() {
        let (script, endpoints) = lone(spoiling("eth_getBalance", move |_| Some(fail())));
        endpoints.with_endpoint(BALANCE, balance).unwrap_err();
        assert_eq!(asked(&script, "eth_getBalance"), 1, "way {way}");
    }
    // What was sent may have arrived: whether it goes out again is not decided here.
    let (script, endpoints) = lone(spoiling("eth_sendRawTransaction", |_| Some(page())));
    let send = |endpoint: &Endpoint| endpoint.send_raw_transaction(&[1]);
    let sent = endpoints.with_endpoint(&[Method::SendRawTransaction], send);
    sent.unwrap_err();
    assert_eq!(asked(&script, "eth_sendRawTransaction"), 1);
}

#[test]
fn who_wants_fewer_calls_is_waited_for_a_moment_where_nobody_else_is_left() {
    let ways: [fn() -> Reply; 4] = [
        || status(429, ""),
        || status(200, "Too many requests"),
        || error_answer(json!({"code": -32_005, "message": "limit"})),
        || {
            Ok(Answer {
                retry_after: Some(Duration::from_secs(1)),
                ..status(429, "")?
            })
        },
    ];
    for (way, fail) in ways.into_iter().enumerate() {
        // Twice a little, then for long, then not at all.
        let limited = |before| before < 2 || (3..9).contains(&before);
        let node = spoiling("eth_getBalance", move |before| limited(before).then(fail));
        let (script, endpoints) = lone(node);
        let started = endpoints.clock().now();
        let ask = |asked_by_then| {
            let answer = endpoints.with_endpoint(BALANCE, balance);
            assert_eq!(asked(&script, "eth_getBalance"), asked_by_then, "way {way}");
            answer.is_ok()
        };
        assert!(ask(3), "way {way}");
        let waited = endpoints.clock().now() - started;
        let most = Duration::from_millis(2_000);
        assert!(Duration::from_millis(900) <= waited && waited <= most);
        // Whoever was waited for in vain is not until he answers.
        assert_eq!(
            [ask(7), ask(8), ask(9), ask(10)],
            [false, false, false, true]
        );
    }
    // Where another can be asked, he is, at once.
    let limited = spoiling("eth_getBalance", |_| Some(status(429, "")));
    let clock = Clock::manual(0);
    let (scripts, endpoints) = over(vec![limited, spoiling("", |_| None)], &clock);
    let started = clock.now();
    assert!(endpoints.with_endpoint(BALANCE, balance).is_ok());
    assert_eq!(asked(&scripts[0], "eth_getBalance"), 1);
    assert_eq!(clock.now(), started);
}

#[test]
fn a_question_that_took_long_before_it_was_spoilt_is_not_asked_twice() {
    for (secs, times) in [(2, 2), (3, 1)] {
        let clock = Clock::manual(0);
        let slow = clock.clone();
        let script = spoiling("eth_getBalance", move |_| {
            slow.advance(Duration::from_secs(secs));
            Some(status(504, ""))
        });
        let (scripts, endpoints) = over(vec![script], &clock);
        endpoints.with_endpoint(BALANCE, balance).unwrap_err();
        assert_eq!(asked(&scripts[0], "eth_getBalance"), times, "{secs} s");
    }
}

#[test]
fn of_several_endpoints_only_the_last_one_that_does_well_is_asked_twice() {
    let silent = || Some(Err(RpcError::transport("timed out")));
    let silent = spoiling("eth_getBalance", move |_| silent());
    let odd = spoiling("eth_getBalance", |before| (before % 2 == 0).then(page));
    let (scripts, endpoints) = over(vec![silent, odd], &Clock::manual(0));
    let counts = || [0, 1].map(|index: usize| asked(&scripts[index], "eth_getBalance"));
    endpoints.with_endpoint(BALANCE, balance).unwrap_err();
    assert_eq!(counts(), [1, 1], "nothing was known yet against the first");
    for times in [[2, 2], [2, 4], [2, 6]] {
        endpoints.with_endpoint(BALANCE, balance).unwrap();
        assert_eq!(counts(), times);
    }
}

#[test]
fn who_spoils_everything_is_not_asked_twice_for_ever() {
    let spoils = |before| (before != 6).then(page);
    let (script, endpoints) = lone(spoiling("eth_getBalance", spoils));
    let counts = [0; 6].map(|_| {
        let before = asked(&script, "eth_getBalance");
        let _ = endpoints.with_endpoint(BALANCE, balance);
        asked(&script, "eth_getBalance") - before
    });
    assert_eq!(counts, [2, 2, 1, 1, 1, 2], "until the fifth came whole");
}

#[test]
fn of_several_questions_together_only_the_spoilt_ones_are_asked_once_more() {
    // It takes no batches, and spoils the first answer to one of three.
    let before = AtomicU32::new(0);
    let (script, endpoints) = lone(Script::of_requests("http://node", move |request| {
        let is_spoilt =
            request["method"] == "eth_getCode" && before.fetch_add(1, Ordering::Relaxed) == 0;
        match request.is_array() || is_spoilt {
            true => page(),
            false => Ok(Answer::json(answer_calls(request, sound))),
        }
    }));
    let ask = |endpoint: &Endpoint| {
        let mut together = endpoint.together();
        let balance = together.add(query::balance(Address::zero(), BlockId::Latest));
        let code = together.add(query::code(Address::zero(), BlockId::Latest));
        let count = together.add(query::transaction_count(Address::zero(), BlockId::Latest));
        let mut answers = together.send()?;
        Ok((
            answers.take(balance)?,
            answers.take(code),
            answers.take(count)?,
        ))
    };
    let (balance, code, count) = endpoints.with_endpoint(&[], ask).unwrap();
    assert_eq!((balance, count), (U256::from(5), 5));
    assert!(
        code.is_err(),
        "0x5 is no code, and its answer was not taken twice: {code:?}"
    );
    let alone = |method: &str| {
        let requests = script.asked();
        requests.iter().filter(|it| it["method"] == method).count()
    };
    let counts = ["eth_getBalance", "eth_getCode", "eth_getTransactionCount"].map(alone);
    assert_eq!(counts, [1, 2, 1]);
}

#[test]
fn a_server_in_trouble_is_not_taken_for_one_that_knows_no_block_hashes() {
    let by_hash = |request: &Value| request["params"][1].is_object();
    for (spoils, is_believed) in [(1, false), (u32::MAX, true)] {
        let before = AtomicU32::new(0);
        let (script, endpoints) = lone(Script::of_requests("http://node", move |request| {
            let is_spoilt = by_hash(request) && before.fetch_add(1, Ordering::Relaxed) < spoils;
            match is_spoilt {
                true => page(),
                false => Ok(Answer::json(answer_calls(request, sound))),
            }
        }));
        let endpoint = &endpoints.list()[0];
        let hash = H256::from_low_u64_be(16);
        let block = BlockId::Exactly { number: 16, hash };
        for _ in 0..4 {
            endpoint.call(&CallRequest::default(), block, None).unwrap();
        }
        let hashes = script.asked().iter().filter(|it| by_hash(it)).count();
        assert_eq!(hashes, if is_believed { 3 } else { 4 }, "of four questions");
    }
}

#[test]
fn who_shows_no_blocks_is_not_asked_by_number_what_it_refuses() {
    let hash = H256::from_low_u64_be(16);
    let block = BlockId::Exactly { number: 16, hash };
    for (failures, alone, together) in [(1, 2, 7), (3, 1, 3)] {
        let is_mended = Arc::new(AtomicBool::new(false));
        let has_been = is_mended.clone();
        let node = Script::of_requests("http://node", move |request| {
            match has_been.load(Ordering::Relaxed) {
                true if request["params"][1].is_object() => error_answer(json!("no")),
                true => Ok(Answer::json(answer_calls(request, sound))),
                false => status(503, ""),
            }
        });
        let (script, endpoints) = over(
            vec![node, Script::of_calls("http://other", sound)],
            &Clock::manual(0),
        );
        let endpoint = &endpoints.list()[0];
        for _ in 0..failures {
            endpoint.head().unwrap_err();
        }
        let asked = |ask: &dyn Fn()| {
            let before = script[0].asked().len();
            ask();
            script[0].asked().len() - before
        };
        let count = || drop(endpoint.transaction_count(Address::zero(), block));
        assert_eq!(asked(&count), alone, "after {failures}");
        let count = || {
            let mut together = endpoint.together();
            together.add(query::transaction_count(Address::zero(), block));
            together.add(query::header_by_number(block));
            let _ = together.send();
        };
        let beside = asked(&count);
        assert_eq!(beside, together, "after {failures}");
        // A single block shows that it is mended, whatever else it has failed at since.
        is_mended.store(true, Ordering::Relaxed);
        endpoint.head().unwrap();
        assert_eq!(endpoint.transaction_count(Address::zero(), block), Ok(5));
    }
}

#[test]
fn who_shows_no_newest_block_is_asked_once_and_then_ever_more_seldom() {
    let silent = Script::of_calls("http://node", |method, params| match method {
        "eth_getBlockByNumber" => Ok(Value::Null),
        _ => sound(method, params),
    });
    let clock = Clock::manual(0);
    let (scripts, endpoints) = over(
        vec![silent, Script::of_calls("http://other", sound)],
        &clock,
    );
    let endpoint = &endpoints.list()[0];
    const HEAD: &[Method] = &[Method::BlockByNumber];
    let mut waits = Vec::new();
    for _ in 0..20 {
        let failed = endpoint.head().unwrap_err();
        endpoints.note_failure(endpoint, HEAD, &failed);
        waits.push(endpoint.with_health(|it| it.ready_in(HEAD, clock.now())));
    }
    assert_eq!(asked(&scripts[0], "eth_getBlockByNumber"), 20);
    assert!(waits.iter().any(|wait| *wait > PROMPT), "{waits:?}");
}
