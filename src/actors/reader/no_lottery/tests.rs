//! What is said of the contract where its round cannot be read, over scripted transports.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::actors::reader::{Question, Reading};
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::chain::script::ways::{error_answer, status, ways_to_fail};
use crate::chain::script::{answer_calls, Script};
use crate::chain::transport::{Answer, Body};
use crate::chain::types::Address;

/// The first reading of a chain where all calls are answered with `called`, and code stands at each address.
fn first_reading(
    called: impl Fn() -> Result<Answer, RpcError> + Send + Sync + 'static,
    code: &'static str,
) -> Result<Reading, RpcError> {
    let node = Script::of_requests("http://node", move |request| {
        if request["method"] == "eth_call" {
            let mut answer = called()?;
            // The right id, where it is not the id that is wrong.
            if let Body::Json(json) = &answer.body {
                let mut body = json.to_value();
                if body["id"] == 1 {
                    body["id"] = request["id"].clone();
                    answer.body = Body::Json(body.into());
                }
            }
            return Ok(answer);
        }
        let word = format!("0x{:064x}", 16);
        Ok(Answer::json(answer_calls(request, |method, _| {
            Ok(match method {
                "eth_getCode" => json!(code),
                _ => {
                    json!({"number": "0x10", "hash": word, "parentHash": word, "timestamp": "0x64"})
                }
            })
        })))
    });
    let endpoint = Endpoint::over(Arc::new(node), Clock::manual(0), Metrics::default());
    Reader::new(Address::zero(), 5).read(&endpoint, &Question::default())
}

fn result(result: &str) -> Result<Answer, RpcError> {
    Ok(Answer::json(json!({"id": 1, "result": result})))
}

#[test]
fn what_an_endpoint_spoils_says_nothing_of_the_contract() {
    for (way, fail) in ways_to_fail() {
        let reading = first_reading(fail, "0x60");
        assert!(reading.is_err(), "{way}: {reading:?}");
    }
    first_reading(|| status(200, "<html>"), "0x").unwrap_err();
    first_reading(|| result("no hex"), "0x60").unwrap_err();
}

#[test]
fn what_is_not_the_lottery_is_named() {
    let why = |called: fn() -> Result<Answer, RpcError>, code| match first_reading(called, code) {
        Ok(Reading::NoLottery { why }) => why,
        other => panic!("{other:?}"),
    };
    let reverts = || error_answer(json!({"code": 3, "message": "execution reverted"}));
    let other = "the contract at 0x0000000000000000000000000000000000000000 is not the lottery: getRound() ";
    assert_eq!(why(reverts, "0x60"), format!("{other}reverted"));
    assert_eq!(
        why(|| result("0x"), "0x60"),
        format!("{other}answers something else")
    );
    assert_eq!(
        why(|| result("0x"), "0x"),
        "no contract at 0x0000000000000000000000000000000000000000 on chain 5"
    );
}
