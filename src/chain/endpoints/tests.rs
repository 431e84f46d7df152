//! Failover, parking, hedging and the chain check over scripted transports; and the table of every method by every way to
//! fail.

use crossbeam_channel::bounded;

use super::*;
use crate::chain::node::CallRequest;
use crate::chain::query;
use crate::chain::script::ways::{error_answer, fail_if_asked, status, ways_to_fail};
use crate::chain::script::{answer_calls, Script};
use crate::chain::transport::Answer;
use crate::chain::types::{Address, BlockId, H256};
use serde_json::{json, Value};

const CHAIN: u64 = 31_337;

fn hash(number: u64) -> String {
    format!("0x{number:064x}")
}

/// A sound node's answer to any method.
fn sound(method: &str, _params: &Value) -> Result<Value, Value> {
    let address = format!("0x{:040x}", 0xaa);
    Ok(match method {
        "eth_chainId" => json!("0x7a69"),
        "net_version" => json!("31337"),
        "web3_clientVersion" => json!("geth/v1"),
        "eth_getBlockByNumber" | "eth_getBlockByHash" => json!({
            "number": "0x10", "hash": hash(16), "parentHash": hash(15), "timestamp": "0x64",
            "transactions": [],
        }),
        "eth_call" => json!(hash(7)),
        "eth_getLogs" => json!([{
            "address": address, "topics": [hash(1)], "data": "0x", "blockNumber": "0x10",
            "blockHash": hash(16), "transactionHash": hash(3), "transactionIndex": "0x0", "logIndex": "0x0",
        }]),
        "eth_getCode" => json!("0x00"),
        "eth_feeHistory" => json!({"baseFeePerGas": ["0x1"], "reward": [["0x1", "0x1"]]}),
        "eth_getTransactionReceipt" => json!({
            "transactionHash": hash(3), "blockNumber": "0x10", "blockHash": hash(16), "status": "0x1",
            "gasUsed": "0x5208",
        }),
        "eth_sendRawTransaction" => json!(hash(3)),
        _ => json!("0x5"),
    })
}

fn node(name: &str) -> Script {
    Script::of_calls(&format!("http://{name}"), sound)
}

/// A node that fails one method as `fail` says.
fn failing(
    name: &str,
    method: &'static str,
    fail: impl Fn() -> Result<Answer, RpcError> + Send + Sync + 'static,
) -> Script {
    Script::of_requests(&format!("http://{name}"), move |request| {
        fail_if_asked(request, method, &fail, sound)
    })
}

fn over(scripts: Vec<Script>) -> (Vec<Arc<Script>>, Endpoints, Clock) {
    let scripts: Vec<Arc<Script>> = scripts.into_iter().map(Arc::new).collect();
    let transports = scripts.iter().map(|it| it.clone() as Arc<dyn Transport>);
    let clock = Clock::manual(0);
    let metrics = Metrics::default();
    let endpoints = Endpoints::over(transports.collect(), CHAIN, clock.clone(), &metrics);
    (scripts, endpoints, clock)
}

fn asked_of(script: &Script, method: &str) -> usize {
    let requests = script.asked();
    let calls = requests.iter().flat_map(|request| match request {
        Value::Array(calls) => calls.as_slice(),
        call => std::slice::from_ref(call),
    });
    calls.filter(|call| call["method"] == method).count()
}

const BALANCE: &[Method] = &[Method::GetBalance];
const COUNT: &[Method] = &[Method::TransactionCount];

fn balance_of(endpoint: &Endpoint) -> Result<(), RpcError> {
    endpoint.balance(Address::zero(), BlockId::Latest).map(drop)
}

fn count_of(endpoint: &Endpoint) -> Result<(), RpcError> {
    endpoint
        .transaction_count(Address::zero(), BlockId::Latest)
        .map(drop)
}

type Ask = fn(&Endpoint) -> Result<(), RpcError>;

/// Every method that a question needs, and the question.
fn questions() -> Vec<(Method, Ask)> {
    fn latest() -> BlockId {
        BlockId::Latest
    }
    vec![
        (Method::BlockByNumber, |endpoint| endpoint.head().map(drop)),
        (Method::BlockByHash, |endpoint| {
            let hash = H256::from_low_u64_be(16);
            endpoint.header(BlockId::Hash(hash)).map(drop)
        }),
        (Method::Call, |endpoint| {
            endpoint
                .call(&CallRequest::default(), latest(), None)
                .map(drop)
        }),
        (Method::EstimateGas, |endpoint| {
            endpoint
                .estimate_gas(&CallRequest::default(), latest(), None)
                .map(drop)
        }),
        (Method::GasPrice, |endpoint| {
            endpoint.gas_price_wei().map(drop)
        }),
        (Method::GetBalance, balance_of),
        (Method::GetCode, |endpoint| {
            endpoint.code(Address::zero(), latest()).map(drop)
        }),
        (Method::GetLogs, |endpoint| {
            let chunk = endpoint.log_chunk(Address::from_low_u64_be(0xaa), (16, 16), true)?;
            assert_eq!(chunk.logs.len(), 1);
            Ok(())
        }),
        (Method::SendRawTransaction, |endpoint| {
            endpoint.send_raw_transaction(&[1]).map(drop)
        }),
        (Method::TransactionCount, count_of),
        (Method::TransactionReceipt, |endpoint| {
            let receipt = endpoint.receipt(H256::from_low_u64_be(3))?;
            assert!(receipt.is_some());
            Ok(())
        }),
    ]
}

#[test]
fn every_method_failed_in_every_way_is_answered_by_the_next_endpoint() {
    for (method, ask) in questions() {
        for (way, fail) in ways_to_fail() {
            // A pool's refusal in words that nobody knows may be a verdict, which sending itself weighs.
            let is_verdict = method == Method::SendRawTransaction && way == "an unknown code";
            if is_verdict
                || way == "behind" && method == Method::SendRawTransaction
                || way == "indexing" && method == Method::SendRawTransaction
            {
                continue;
            }
            let cell = format!("{} by {way}", method.name());
            let (scripts, endpoints, _) = over(vec![failing("a", method.name(), fail), node("b")]);
            let methods: &[Method] = &[method];
            let answer = endpoints.with_endpoint(methods, ask);
            assert_eq!(answer, Ok(()), "{cell}");
            assert!(asked_of(&scripts[1], method.name()) > 0, "{cell}");
            let reports = endpoints.reports();
            assert!(!reports[0].healthy && reports[1].healthy, "{cell}");
            assert!(reports[0].failing.contains(&method.name()), "{cell}");
            // From now on the sound one is asked first, and for this method alone.
            let before = asked_of(&scripts[0], method.name());
            assert_eq!(endpoints.with_endpoint(methods, ask), Ok(()), "{cell}");
            assert_eq!(asked_of(&scripts[0], method.name()), before, "{cell}");
            if way != "a time-out" && method != Method::TransactionCount {
                endpoints.with_endpoint(COUNT, count_of).unwrap();
                assert_eq!(
                    asked_of(&scripts[0], "eth_getTransactionCount"),
                    1,
                    "{cell}"
                );
            }
        }
    }
}

#[test]
fn a_null_where_a_value_is_owed_sends_the_question_on() {
    for (method, ask) in questions() {
        // A receipt that is not there is told as null, and so are no logs.
        if matches!(method, Method::TransactionReceipt | Method::GetLogs) {
            continue;
        }
        let null = Script::of_calls("http://a", move |asked, params| {
            match asked == method.name() {
                true => Ok(Value::Null),
                false => sound(asked, params),
            }
        });
        let (_, endpoints, _) = over(vec![null, node("b")]);
        let answer = endpoints.with_endpoint(&[method], ask);
        assert_eq!(answer, Ok(()), "{}", method.name());
    }
}

#[test]
fn hedged_questions_and_second_opinions_fail_over_in_the_same_way() {
    for (way, fail) in ways_to_fail() {
        let (_, endpoints, _) = over(vec![failing("a", "eth_getBalance", fail), node("b")]);
        let patience = Duration::from_secs(1);
        let answer = endpoints.hedged(Purpose::Follow, BALANCE, patience, balance_of);
        assert_eq!(answer.unwrap().0.host(), "http://b", "{way}");
        let second = &endpoints.list()[1];
        assert_eq!(
            endpoints.with_another(second, BALANCE, balance_of),
            None,
            "{way}"
        );
    }
}

#[test]
fn who_is_behind_has_no_second_opinion_of_what_is_at_the_head() {
    let (scripts, endpoints, clock) = over(vec![node("a"), node("b")]);
    let [first, other] = endpoints.list() else {
        panic!("two");
    };
    let ask = || endpoints.with_another_at_head(first, BALANCE, balance_of);
    assert!(ask().is_some(), "nothing is known of its head");
    endpoints.note_head(other, 90, 4_985);
    endpoints.note_head(first, 100, 5_000);
    let before = scripts[1].asked().len();
    assert!(ask().is_none());
    assert_eq!(scripts[1].asked().len(), before);
    assert!(endpoints.with_another(first, BALANCE, balance_of).is_some());
    // One whose head was not read lately may have it by now.
    clock.advance(Duration::from_secs(1));
    assert!(ask().is_some());
}

#[test]
fn a_revert_is_final_and_costs_nobody_anything() {
    let reverting = || error_answer(json!({"code": 3, "message": "execution reverted: No"}));
    let (scripts, endpoints, _) = over(vec![failing("a", "eth_call", reverting), node("b")]);
    let ask = |endpoint: &Endpoint| endpoint.call(&CallRequest::default(), BlockId::Latest, None);
    let error = endpoints.with_endpoint(&[Method::Call], ask).unwrap_err();
    assert!(error.is_final());
    assert_eq!(scripts[1].asked().len(), 0);
    assert!(endpoints.reports()[0].healthy);
    // Of a call that cannot revert another endpoint may know better.
    let answer = endpoints.with_endpoint(&[Method::Call], |endpoint: &Endpoint| {
        ask(endpoint).map_err(RpcError::of_this_endpoint)
    });
    assert!(answer.is_ok());
}

#[test]
fn hints_touch_nobodys_health() {
    for (way, fail) in ways_to_fail() {
        for method in ["eth_feeHistory", "eth_maxPriorityFeePerGas"] {
            let (_, endpoints, _) = over(vec![failing("a", method, fail)]);
            let ask = |endpoint: &Endpoint| {
                let history = endpoint.fee_history().unwrap_or_default();
                let tip = endpoint.ask(&query::max_priority_fee_wei());
                let known = tip.ok().or(history.next_base_fee_wei);
                assert!(known.is_some(), "{way}");
                count_of(endpoint)
            };
            assert_eq!(
                endpoints.with_endpoint(COUNT, ask),
                Ok(()),
                "{method} by {way}"
            );
            assert!(endpoints.reports()[0].healthy, "{method} by {way}");
        }
    }
}

#[test]
fn the_only_endpoint_is_used_whatever_it_says_of_its_chain() {
    for (way, fail) in ways_to_fail() {
        let (_, endpoints, _) = over(vec![failing("a", "eth_chainId", fail)]);
        let _ = endpoints.with_endpoint(COUNT, count_of);
        assert_eq!(endpoints.with_endpoint(COUNT, count_of), Ok(()), "{way}");
    }
}

#[test]
fn an_endpoint_of_another_chain_is_never_asked_and_named() {
    let other = Script::of_calls("http://a", |method, params| match method {
        "eth_chainId" => Ok(json!("0x5")),
        _ => sound(method, params),
    });
    let (scripts, endpoints, clock) = over(vec![other, node("b")]);
    for _ in 0..3 {
        assert_eq!(endpoints.with_endpoint(COUNT, count_of), Ok(()));
    }
    assert_eq!(asked_of(&scripts[0], "eth_chainId"), 1);
    assert_eq!(asked_of(&scripts[0], "eth_getTransactionCount"), 0);
    let report = &endpoints.reports()[0];
    assert_eq!(
        (report.healthy, report.last_error),
        (false, Some("serves another chain"))
    );
    clock.advance(Duration::from_secs(60));
    assert_eq!(endpoints.with_endpoint(COUNT, count_of), Ok(()));
    assert_eq!(
        asked_of(&scripts[0], "eth_chainId"),
        2,
        "it may have been mended"
    );
    // Alone it is not used either.
    let other = Script::of_calls("http://a", |_, _| Ok(json!("0x5")));
    let (_, endpoints, _) = over(vec![other]);
    let error = endpoints.with_endpoint(COUNT, count_of).unwrap_err();
    assert!(error.to_string().contains("serves chain 5"), "{error}");
}

#[test]
fn the_only_endpoint_has_to_say_twice_that_it_serves_another_chain() {
    for turns_wrong in [0, 1] {
        let turn = AtomicU64::new(turns_wrong);
        let flapping = Script::of_calls("http://a", move |method, params| match method {
            "eth_chainId" => Ok(json!(
                ["0x1", "0x7a69"][turn.fetch_add(1, Ordering::Relaxed) as usize % 2]
            )),
            _ => sound(method, params),
        });
        let (_, endpoints, clock) = over(vec![flapping]);
        for _ in 0..5 {
            assert_eq!(
                endpoints.with_endpoint(&[Method::GetBalance], balance_of),
                Ok(())
            );
            clock.advance(Duration::from_secs(700));
        }
    }
}

#[test]
fn the_chain_is_checked_again_after_silence() {
    let silent = std::sync::atomic::AtomicBool::new(false);
    let silent = Arc::new(silent);
    let is_silent = silent.clone();
    let script = Script::of_requests("http://a", move |request| {
        match is_silent.load(Ordering::SeqCst) {
            true => Err(RpcError::transport("timed out")),
            false => Ok(Answer::json(answer_calls(request, sound))),
        }
    });
    let (scripts, endpoints, _) = over(vec![script]);
    endpoints.with_endpoint(COUNT, count_of).unwrap();
    endpoints.with_endpoint(COUNT, count_of).unwrap();
    assert_eq!(asked_of(&scripts[0], "eth_chainId"), 1);
    silent.store(true, Ordering::SeqCst);
    endpoints.with_endpoint(COUNT, count_of).unwrap_err();
    silent.store(false, Ordering::SeqCst);
    endpoints.with_endpoint(COUNT, count_of).unwrap();
    assert_eq!(asked_of(&scripts[0], "eth_chainId"), 2);
}

#[test]
fn a_parked_endpoint_is_left_alone_unless_nobody_else_is_left() {
    let (scripts, endpoints, clock) = over(vec![
        failing("a", "eth_getBalance", || status(403, "")),
        node("b"),
    ]);
    endpoints.with_endpoint(BALANCE, balance_of).unwrap();
    clock.advance(Duration::from_secs(59));
    endpoints.with_endpoint(BALANCE, balance_of).unwrap();
    assert_eq!(asked_of(&scripts[0], "eth_getBalance"), 1);
    clock.advance(Duration::from_secs(1));
    endpoints.with_endpoint(BALANCE, balance_of).unwrap();
    assert_eq!(
        asked_of(&scripts[0], "eth_getBalance"),
        2,
        "after a minute it is tried again"
    );
    let (scripts, endpoints, _) = over(vec![failing("a", "eth_getBalance", || status(403, ""))]);
    for tries in 1..3 {
        endpoints.with_endpoint(BALANCE, balance_of).unwrap_err();
        assert_eq!(asked_of(&scripts[0], "eth_getBalance"), tries);
    }
    assert!(endpoints.ready_in(BALANCE) > Duration::ZERO);
    assert_eq!(endpoints.ready_in(COUNT), Duration::ZERO);
}

#[test]
fn a_method_that_failed_is_tried_by_a_harmless_question() {
    use std::sync::atomic::AtomicBool;
    for (method, ask) in questions() {
        let is_broken = Arc::new(AtomicBool::new(true));
        let broken = is_broken.clone();
        let script = Script::of_requests("http://a", move |request| {
            let text = request.to_string();
            match broken.load(Ordering::SeqCst) && text.contains(method.name()) {
                true => status(500, ""),
                false => Ok(Answer::json(answer_calls(request, sound))),
            }
        });
        let (scripts, endpoints, clock) = over(vec![script, node("b")]);
        let first = endpoints.list()[0].clone();
        endpoints.with_endpoint(&[method], ask).unwrap();
        let used = || asked_of(&scripts[0], method.name());
        let before = used();
        endpoints.try_failing_methods(&first);
        clock.advance(Duration::from_secs(10));
        endpoints.try_failing_methods(&first);
        assert!(!endpoints.reports()[0].healthy);
        let is_tried = query::probe(method).is_some();
        assert_eq!(used() > before, is_tried, "{method:?}");
        is_broken.store(false, Ordering::SeqCst);
        clock.advance(Duration::from_secs(10));
        endpoints.try_failing_methods(&first);
        assert_eq!(endpoints.reports()[0].healthy, is_tried, "{method:?}");
    }
}

#[test]
fn one_in_backoff_is_asked_when_all_others_fail() {
    let refuse = || status(400, "");
    let (scripts, endpoints, _) = over(vec![
        failing("a", "eth_getBalance", refuse),
        failing("b", "eth_getBalance", refuse),
    ]);
    for tries in 1..3 {
        endpoints.with_endpoint(BALANCE, balance_of).unwrap_err();
        for script in &scripts {
            assert_eq!(asked_of(script, "eth_getBalance"), tries);
        }
    }
}

#[test]
fn one_that_asks_for_an_hour_is_asked_after_those_that_fail() {
    let for_an_hour = || {
        Ok(Answer {
            retry_after: Some(Duration::from_secs(3_600)),
            ..status(429, "")?
        })
    };
    let is_broken = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let broken = is_broken.clone();
    let fails = Script::of_requests("http://b", move |request| {
        match broken.load(Ordering::SeqCst) && request["method"] == "eth_getBalance" {
            true => status(400, ""),
            false => Ok(Answer::json(answer_calls(request, sound))),
        }
    });
    let limited = failing("a", "eth_getBalance", for_an_hour);
    let (scripts, endpoints, clock) = over(vec![limited, fails]);
    let asked = || [0, 1].map(|index: usize| asked_of(&scripts[index], "eth_getBalance"));
    for turn in 1..4 {
        endpoints.with_endpoint(BALANCE, balance_of).unwrap();
        clock.advance(Duration::from_secs(20));
        assert_eq!(
            asked(),
            [1, turn],
            "its wish is heeded while another serves"
        );
    }
    is_broken.store(true, Ordering::SeqCst);
    endpoints.with_endpoint(BALANCE, balance_of).unwrap_err();
    assert_eq!(asked(), [1, 4]);
    endpoints.with_endpoint(BALANCE, balance_of).unwrap_err();
    assert_eq!(asked(), [2, 5], "whoever may know is asked");
}

#[test]
fn an_endpoint_that_lets_a_question_wait_is_hedged_and_set_back() {
    let (let_go, held) = crossbeam_channel::bounded::<()>(0);
    let slow = Script::of_requests("http://a", move |request| {
        if request["method"] == "eth_getBalance" {
            // Until the test is over.
            let _ = held.recv();
        }
        Ok(Answer::json(answer_calls(request, sound)))
    });
    let scripts: Vec<Arc<dyn Transport>> = vec![Arc::new(slow), Arc::new(node("b"))];
    let endpoints = Endpoints::over(scripts, CHAIN, Clock::system(), &Metrics::default());
    let patience = Duration::from_millis(5);
    let (endpoint, ()) = endpoints
        .hedged(Purpose::Follow, BALANCE, patience, balance_of)
        .unwrap();
    assert_eq!(endpoint.host(), "http://b");
    let reports = endpoints.reports();
    assert!(!reports[0].healthy && reports[1].healthy);
    drop(let_go);
}

#[test]
fn a_quick_answer_without_news_does_not_overtake_a_slow_one_that_has_some() {
    let (taken, is_taken) = bounded::<()>(1);
    let slow = Script::of_requests("http://a", move |request| {
        if request["method"] == "eth_getBalance" {
            // Only when the other's answer was looked at.
            let _ = is_taken.recv_timeout(Duration::from_secs(5));
        }
        Ok(Answer::json(answer_calls(request, sound)))
    });
    let scripts: Vec<Arc<dyn Transport>> = vec![Arc::new(slow), Arc::new(node("b"))];
    let endpoints = Endpoints::over(scripts, CHAIN, Clock::system(), &Metrics::default());
    let has_news = move |host: &String| {
        let has_news = host == "http://a";
        if !has_news {
            let _ = taken.try_send(());
        }
        has_news
    };
    let hedge = Hedge::any(Purpose::Follow, BALANCE, Duration::from_millis(5));
    let hedge = hedge.for_news(has_news, Duration::from_secs(5));
    let ask = |endpoint: &Endpoint| balance_of(endpoint).map(|()| endpoint.host().to_owned());
    let (endpoint, told) = endpoints.asked_by(&hedge, ask).unwrap();
    assert_eq!((endpoint.host(), told.as_str()), ("http://a", "http://a"));
    // Where nobody else is on the way, what there is counts.
    let second = endpoints.asked_without(&endpoint, &hedge, ask);
    assert_eq!(second.unwrap().unwrap().1, "http://b");
}

#[test]
fn all_are_asked_at_once_and_each_answers_for_itself() {
    let refuse = || error_answer(json!({"code": -32_000, "message": "nonce too low"}));
    let (_, endpoints, _) = over(vec![
        failing("a", "eth_sendRawTransaction", refuse),
        node("b"),
        failing("c", "eth_sendRawTransaction", || status(500, "")),
    ]);
    let arrivals = endpoints.ask_each(
        (Purpose::Act, None),
        &[Method::SendRawTransaction],
        |endpoint| endpoint.send_raw_transaction(&[1]),
    );
    let mut outcomes: Vec<(String, bool)> = arrivals
        .iter()
        .map(|(endpoint, answer)| (endpoint.host().to_owned(), answer.is_ok()))
        .collect();
    outcomes.sort_unstable();
    let expected = [("http://a", false), ("http://b", true), ("http://c", false)];
    assert_eq!(outcomes, expected.map(|(host, ok)| (host.to_owned(), ok)));
    let healthy: Vec<bool> = endpoints.reports().iter().map(|it| it.healthy).collect();
    assert_eq!(healthy, [true, true, false], "a verdict is no sickness");
}

#[test]
fn beside_one_that_has_answered_nobody_is_asked_who_failed_a_moment_ago() {
    let (_, endpoints, clock) = over(vec![node("a"), node("b"), node("c")]);
    let (first, failing) = (endpoints.list()[0].clone(), endpoints.list()[1].clone());
    let trouble = RpcError::new(ErrorKind::Unavailable, "HTTP status 500");
    while endpoints.wait_of(&failing, COUNT).is_zero() {
        endpoints.note_failure(&failing, COUNT, &trouble);
    }
    let asked = |but: Option<&Endpoint>| {
        let answers = endpoints.ask_each((Purpose::Prepare, but), COUNT, count_of);
        let hosts = answers
            .iter()
            .map(|(endpoint, _)| endpoint.host().to_owned());
        let mut hosts: Vec<String> = hosts.collect();
        hosts.sort_unstable();
        hosts
    };
    assert_eq!(asked(Some(&first)), ["http://c"]);
    clock.advance(endpoints.wait_of(&failing, COUNT));
    assert_eq!(asked(Some(&first)), ["http://b", "http://c"]);
    // Where nobody has answered yet, whoever may is asked.
    while endpoints.wait_of(&failing, COUNT).is_zero() {
        endpoints.note_failure(&failing, COUNT, &trouble);
    }
    assert_eq!(asked(None), ["http://a", "http://b", "http://c"]);
}

#[test]
fn a_frozen_or_trailing_head_sends_an_endpoint_back() {
    let (scripts, endpoints, clock) = over(vec![node("a"), node("b")]);
    endpoints.note_block_time(2.0);
    let list = endpoints.list().to_vec();
    endpoints.note_head(&list[0], 10, 1_000);
    endpoints.note_head(&list[1], 12, 1_004);
    endpoints.with_endpoint(COUNT, count_of).unwrap();
    assert_eq!(
        scripts[0].asked().len(),
        0,
        "its head trails one that was read just now"
    );
    clock.advance(Duration::from_secs(16));
    endpoints.note_head(&list[1], 20, 1_020);
    endpoints.with_endpoint(COUNT, count_of).unwrap();
    assert_eq!(scripts[0].asked().len(), 0, "its head is stale");
}

#[test]
fn a_whole_preflight_is_one_round_trip_with_an_answer_for_each_question() {
    let reverting = Script::of_calls("http://a", |method, params| match method {
        "eth_estimateGas" => Err(json!({"code": 3, "message": "execution reverted: No"})),
        _ => sound(method, params),
    });
    let (scripts, endpoints, _) = over(vec![reverting]);
    let block = BlockId::Exactly {
        number: 16,
        hash: H256::from_low_u64_be(16),
    };
    let (request, account) = (CallRequest::default(), Address::zero());
    let mut together = endpoints.list()[0].together();
    let header = together.add(query::header(block));
    let called = together.add(query::call(&request, block, Some(99)));
    let estimate = together.add(query::estimate_gas(&request, block, Some(99)));
    let nonce = together.add(query::transaction_count(account, block));
    let balance = together.add(query::balance(account, block));
    let history = together.add(query::fee_history());
    let mut answers = together.send().unwrap();
    assert_eq!(scripts[0].asked().len(), 1);
    assert_eq!(answers.take(header).unwrap().number, 16);
    assert_eq!(answers.take(called).unwrap().len(), 32);
    let refusal = answers.take(estimate).unwrap_err();
    assert!(refusal.is_final() && refusal.method == Some(Method::EstimateGas));
    assert_eq!(answers.take(nonce), Ok(5));
    assert_eq!(answers.take(balance), Ok(5.into()));
    assert!(answers.take(history).unwrap().next_base_fee_wei.is_some());
}

/// A node that takes no block hashes in calls on state, and refuses them with `refusal`.
fn without_hashes(refusal: Value) -> Script {
    Script::of_calls("http://a", move |method, params| {
        let by_hash = |param: &Value| param.get("blockHash").is_some();
        match params
            .as_array()
            .is_some_and(|params| params.iter().any(by_hash))
        {
            true => Err(refusal.clone()),
            false => sound(method, params),
        }
    })
}

#[test]
fn an_endpoint_without_block_hashes_is_asked_by_number_with_the_hash_checked() {
    for refusal in [
        json!({"code": -32_602, "message": "invalid argument 1: expected string"}),
        json!("bad params"),
    ] {
        let block = |hash| BlockId::Exactly {
            number: 16,
            hash: H256::from_low_u64_be(hash),
        };
        let request = CallRequest::default();
        let (scripts, endpoints, clock) = over(vec![without_hashes(refusal.clone())]);
        let endpoint = &endpoints.list()[0];
        assert!(endpoint.call(&request, block(16), None).is_ok());
        let many = vec![request.clone(); 3];
        let before = scripts[0].asked().len();
        assert_eq!(endpoint.calls(&many, block(16)).unwrap().len(), 3);
        assert_eq!(
            scripts[0].asked().len() - before,
            1,
            "calls and check in one batch"
        );
        let error = endpoint.calls(&many, block(99)).unwrap_err();
        assert_eq!(
            error.kind,
            ErrorKind::Behind,
            "the number means another block"
        );
        let error = endpoint.call(&request, block(99), None).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Behind);
        // Together as well it is found out at once.
        let (scripts, endpoints, _) = over(vec![without_hashes(refusal)]);
        let endpoint = &endpoints.list()[0];
        assert_eq!(endpoint.calls(&many, block(16)).unwrap().len(), 3);
        let before = scripts[0].asked().len();
        endpoint.calls(&many, block(16)).unwrap();
        assert_eq!(scripts[0].asked().len() - before, 1);
        clock.advance(Duration::from_secs(600));
    }
}

#[test]
fn overrides_that_were_not_found_are_looked_for_again() {
    use std::sync::atomic::AtomicU64;
    let tries = Arc::new(AtomicU64::new(0));
    let counted = tries.clone();
    let script = Script::of_calls("http://a", move |method, params| {
        match (method, params.as_array().map_or(0, Vec::len)) {
            ("eth_call", 4) if counted.fetch_add(1, Ordering::SeqCst) == 0 => {
                Err(json!({"code": -32_603, "message": "Internal error"}))
            }
            ("eth_call", 4) => Ok(json!(hash(query::PROBE_TIME))),
            _ => sound(method, params),
        }
    });
    let (_, endpoints, clock) = over(vec![script]);
    let endpoint = &endpoints.list()[0];
    assert!(!endpoint.block_overrides().call);
    assert!(!endpoint.block_overrides().call);
    assert_eq!(tries.load(Ordering::SeqCst), 1, "believed for some minutes");
    clock.advance(Duration::from_secs(300));
    let found = endpoint.block_overrides();
    assert!(found.call && found.estimate);
    assert_eq!(tries.load(Ordering::SeqCst), 2);
    endpoint.block_overrides();
    assert_eq!(tries.load(Ordering::SeqCst), 2);
    // Silence says less, and is believed for less.
    let silent = failing("a", "eth_call", || Err(RpcError::transport("timed out")));
    let (scripts, endpoints, clock) = over(vec![silent]);
    assert!(!endpoints.list()[0].block_overrides().call);
    clock.advance(Duration::from_secs(30));
    assert!(!endpoints.list()[0].block_overrides().call);
    assert_eq!(scripts[0].asked().len(), 2);
}
