//! Every way in which a server can fail to answer, whatever it is asked.

use serde_json::{json, Value};

use crate::chain::error::RpcError;
use crate::chain::script::answer_calls;
use crate::chain::transport::{Answer, Body};

pub(crate) fn error_answer(error: Value) -> Result<Answer, RpcError> {
    Ok(Answer::json(
        json!({"jsonrpc": "2.0", "id": 1, "error": error}),
    ))
}

pub(crate) fn status(status: u16, body: &str) -> Result<Answer, RpcError> {
    Ok(Answer {
        status,
        retry_after: None,
        body: Body::Text(body.to_owned()),
    })
}

/// Fails whatever request asks this method, alone or in a batch; others are answered as `sound` says.
pub(crate) fn fail_if_asked(
    request: &Value,
    method: &str,
    fail: impl Fn() -> Result<Answer, RpcError>,
    sound: impl Fn(&str, &Value) -> Result<Value, Value>,
) -> Result<Answer, RpcError> {
    let asked = |call: &Value| call["method"] == method;
    let is_asked = match request {
        Value::Array(calls) => calls.iter().any(asked),
        call => asked(call),
    };
    match is_asked {
        true => fail(),
        false => Ok(Answer::json(answer_calls(request, sound))),
    }
}

pub(crate) type Fail = fn() -> Result<Answer, RpcError>;

pub(crate) fn ways_to_fail() -> Vec<(&'static str, Fail)> {
    vec![
        ("HTTP 400", || status(400, "")),
        ("HTTP 401", || status(401, "")),
        ("HTTP 402", || status(402, "pay")),
        ("HTTP 403", || status(403, "")),
        ("HTTP 404", || status(404, "not here")),
        ("HTTP 405", || status(405, "")),
        ("HTTP 413", || status(413, "")),
        ("HTTP 418", || status(418, "")),
        ("HTTP 422", || status(422, "")),
        ("HTTP 429", || status(429, "")),
        ("HTTP 500", || status(500, "")),
        ("HTTP 502", || status(502, "<html>Bad gateway</html>")),
        ("HTTP 503", || status(503, "")),
        ("a redirect", || status(302, "")),
        ("a time-out", || Err(RpcError::transport("timed out"))),
        ("a body cut off", || {
            status(200, "{\"jsonrpc\":\"2.0\",\"id\":1,\"res")
        }),
        ("an empty body", || status(200, "")),
        ("a page", || status(200, "<html></html>")),
        ("an unknown error", || {
            error_answer(json!({"code": -32_603, "message": "Internal error"}))
        }),
        ("an unknown code", || {
            error_answer(json!({"code": -39_999, "message": "something new"}))
        }),
        ("method not found", || {
            error_answer(json!({"code": -32_601, "message": "no such method"}))
        }),
        ("behind", || {
            error_answer(json!({"code": -32_000, "message": "header not found"}))
        }),
        ("indexing", || {
            error_answer(json!({"code": -32_000, "message": "transaction indexing is in progress"}))
        }),
        ("a rate limit", || {
            error_answer(json!({"code": -32_005, "message": "limit"}))
        }),
        ("a string", || error_answer(json!("Internal error"))),
        ("an empty error", || error_answer(json!({}))),
        ("a number", || error_answer(json!(5))),
        ("HTTP 402 with a body", || {
            Ok(Answer {
                status: 402,
                ..error_answer(json!({"code": -32_000, "message": "quota"}))?
            })
        }),
        ("HTTP 503 with a body", || {
            Ok(Answer {
                status: 503,
                ..error_answer(json!("Internal error"))?
            })
        }),
        ("a wrong type", || {
            Ok(Answer::json(
                json!({"id": 1, "result": {"what": [1.5, true]}}),
            ))
        }),
        ("null", || Ok(Answer::json(Value::Null))),
        ("a list", || Ok(Answer::json(json!([1, 2])))),
        ("an empty list", || Ok(Answer::json(json!([])))),
        ("a wrong id", || {
            Ok(Answer::json(json!({"id": 12_345_678, "result": "0x5"})))
        }),
        ("no id", || Ok(Answer::json(json!({"result": "0x5"})))),
        ("neither result nor error", || {
            Ok(Answer::json(json!({"id": 1})))
        }),
    ]
}
