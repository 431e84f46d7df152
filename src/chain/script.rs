//! A transport that answers from a script: for tests without sockets, and for simulated nodes. The daemon itself never
//! uses it.

use std::sync::{Mutex, PoisonError};

use serde_json::{json, Value};

use crate::chain::error::RpcError;
use crate::chain::transport::{Answer, Transport};

#[cfg(test)]
pub(crate) mod ways;

type Respond = dyn Fn(&Value) -> Result<Answer, RpcError> + Send + Sync;

/// A server made of a function.
pub struct Script {
    host: String,
    respond: Box<Respond>,
    asked: Mutex<Vec<Value>>,
}

impl Script {
    /// A server that decides about each request as a whole: its status, its body, or that there is no answer.
    pub(crate) fn of_requests(
        host: &str,
        respond: impl Fn(&Value) -> Result<Answer, RpcError> + Send + Sync + 'static,
    ) -> Script {
        Script {
            host: host.to_owned(),
            respond: Box::new(respond),
            asked: Mutex::default(),
        }
    }

    /// A server that takes batches and answers each call, given as method and params, with a result or with what stands
    /// under `error`.
    pub fn of_calls(
        host: &str,
        respond: impl Fn(&str, &Value) -> Result<Value, Value> + Send + Sync + 'static,
    ) -> Script {
        Script::of_requests(host, move |request| {
            Ok(Answer::json(answer_calls(request, &respond)))
        })
    }

    /// Every request so far, as it was sent, in order.
    pub fn asked(&self) -> Vec<Value> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Transport for Script {
    fn host(&self) -> &str {
        &self.host
    }

    fn post(&self, request: &Value) -> Result<Answer, RpcError> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(request.clone());
        (self.respond)(request)
    }
}

/// The whole answer to a request, a batch or a single call, made of the answers to its calls: `respond` is given method
/// and params, and answers with a result or with what stands under `error`.
pub(crate) fn answer_calls(
    request: &Value,
    respond: impl Fn(&str, &Value) -> Result<Value, Value>,
) -> Value {
    let answer = |call: &Value| {
        let method = call["method"].as_str().unwrap_or_default();
        match respond(method, &call["params"]) {
            Ok(result) => json!({"jsonrpc": "2.0", "id": call["id"], "result": result}),
            Err(error) => json!({"jsonrpc": "2.0", "id": call["id"], "error": error}),
        }
    };
    match request {
        Value::Array(calls) => Value::Array(calls.iter().map(answer).collect()),
        call => answer(call),
    }
}
