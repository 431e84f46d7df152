//! JSON-RPC 2.0 with one server, over any transport: requests get their ids, answers are matched by them, and come back
//! as results or typed errors. A batch that the server does not take is asked one by one. No retries, no health: that is
//! the business of `endpoints`.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use serde_json::{json, Value};

use crate::chain::error::{bounded_wait, classify, retry_hint, ErrorKind, RpcError};
use crate::chain::transport::{Answer, Body, Transport};

/// So many broken batches in a row are a server that does not know them, rather than bad luck.
const BROKEN_BATCHES_MAX: u32 = 3;
/// Items in one batch; more is sent as several.
pub const BATCH_MAX: usize = 10;

/// One request of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct RpcCall {
    pub method: &'static str,
    pub params: Value,
}

/// The conversation with one JSON-RPC server.
pub struct JsonRpc {
    transport: Arc<dyn Transport>,
    next_id: AtomicU64,
    batch_refused: AtomicBool,
    /// Batches in a row that came back broken.
    batches_broken: AtomicU32,
    /// web3_clientVersion in lower case, once known: some codes mean something on one client only.
    client: OnceLock<String>,
}

impl JsonRpc {
    pub fn over(transport: Arc<dyn Transport>) -> JsonRpc {
        JsonRpc {
            transport,
            next_id: AtomicU64::new(1),
            batch_refused: AtomicBool::new(false),
            batches_broken: AtomicU32::new(0),
            client: OnceLock::new(),
        }
    }

    /// scheme://host[:port], without path, query and user.
    pub fn host(&self) -> &str {
        self.transport.host()
    }

    /// Remembers what the server calls itself.
    pub fn note_client(&self, version: &str) {
        let _ = self.client.set(version.to_lowercase());
    }

    pub fn call(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let answer = self.post(&request)?;
        if answer.get("id").and_then(Value::as_u64) != Some(id) && answer.get("error").is_none() {
            return Err(RpcError::invalid_answer(format!(
                "{}: {method}: the answer's id is not {id}",
                self.host()
            )));
        }
        self.result_of(method, answer)
    }

    /// Several calls at once; each has its own result, in the order of `calls`. A server that takes no batches is asked
    /// one by one from then on.
    pub fn batch(&self, calls: &[RpcCall]) -> Result<Vec<Result<Value, RpcError>>, RpcError> {
        let mut results = Vec::with_capacity(calls.len());
        for part in calls.chunks(BATCH_MAX) {
            if part.len() > 1 && !self.batch_refused.load(Ordering::Relaxed) {
                if let Some(mut answers) = self.batch_part(part)? {
                    results.append(&mut answers);
                    continue;
                }
            }
            for call in part {
                let result = self.call(call.method, call.params.clone());
                match result {
                    Err(error) if !error.is_node_answer() && error.kind != ErrorKind::Behind => {
                        return Err(error)
                    }
                    result => results.push(result),
                }
            }
        }
        Ok(results)
    }

    /// None when the server does not take batches.
    fn batch_part(
        &self,
        calls: &[RpcCall],
    ) -> Result<Option<Vec<Result<Value, RpcError>>>, RpcError> {
        // calls.len() is at most BATCH_MAX.
        let first = self
            .next_id
            .fetch_add(calls.len() as u64, Ordering::Relaxed);
        let request: Vec<Value> = calls
            .iter()
            .zip(first..)
            .map(|(call, id)| json!({"jsonrpc": "2.0", "id": id, "method": call.method, "params": call.params}))
            .collect();
        let answer = match self.post(&Value::Array(request)) {
            Err(error) if error.kind == ErrorKind::InvalidAnswer => {
                return Err(self.broken_batch(error))
            }
            answer => answer?,
        };
        let Value::Array(mut answers) = answer else {
            self.refuse_batches();
            return Ok(None);
        };
        let mut results = Vec::with_capacity(calls.len());
        for (call, id) in calls.iter().zip(first..) {
            let place = answers
                .iter()
                .position(|answer| answer.get("id").and_then(Value::as_u64) == Some(id));
            let Some(place) = place else {
                return Err(self.broken_batch(RpcError::invalid_answer(format!(
                    "{}: {}: the batch's answer lacks id {id}",
                    self.host(),
                    call.method
                ))));
            };
            results.push(self.result_of(call.method, answers.swap_remove(place)));
        }
        self.batches_broken.store(0, Ordering::Relaxed);
        Ok(Some(results))
    }

    /// A page of a proxy now and then says nothing of batches; nothing but broken ones does.
    fn broken_batch(&self, error: RpcError) -> RpcError {
        if self.batches_broken.fetch_add(1, Ordering::Relaxed) + 1 >= BROKEN_BATCHES_MAX {
            self.refuse_batches();
        }
        error
    }

    fn refuse_batches(&self) {
        log::info!("{} takes no batches: asking one by one", self.host());
        self.batch_refused.store(true, Ordering::Relaxed);
    }

    fn result_of(&self, method: &str, mut answer: Value) -> Result<Value, RpcError> {
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            let code = error.get("code").and_then(Value::as_i64).unwrap_or(0);
            let message = error
                .get("message")
                .and_then(Value::as_str)
                .unwrap_or("an error without a message");
            // Most nodes put the revert data at error.data, some one level deeper.
            let data = error
                .get("data")
                .and_then(|data| data.as_str().or_else(|| data.get("data")?.as_str()));
            let client = self.client.get().map_or("", String::as_str);
            let mut classified = classify(code, message, data, client);
            // Infura's way to say how long.
            let backoff_secs = error["data"]["rate"]["backoff_seconds"].as_f64();
            if let (ErrorKind::RateLimited { retry_after }, Some(secs)) =
                (&mut classified.kind, backoff_secs)
            {
                *retry_after = Some(bounded_wait(secs));
            }
            return Err(classified);
        }
        match answer.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => Err(RpcError::invalid_answer(format!(
                "{}: {method}: no result and no error",
                self.host()
            ))),
        }
    }

    fn post(&self, request: &Value) -> Result<Value, RpcError> {
        let Answer {
            status,
            retry_after,
            body,
        } = self.transport.post(request)?;
        let is_rpc_error = matches!(&body, Body::Json(value) if value["error"].is_object());
        let kind = match (status, &body) {
            (200..=299, _) => None,
            (300..=399 | 401 | 403 | 404 | 405 | 410, _) => Some(ErrorKind::Parked),
            (429, body) => Some(ErrorKind::RateLimited {
                retry_after: retry_after
                    .map(|wait| bounded_wait(wait.as_secs_f64()))
                    .or_else(|| retry_hint(&body.text())),
            }),
            // JSON-RPC errors come with 400 or 500 from some nodes: their body tells more than the status.
            _ if is_rpc_error => None,
            _ => Some(ErrorKind::Transport),
        };
        if let Some(kind) = kind {
            let text = format!("{}: HTTP status {status}", self.host());
            return Err(RpcError::new(kind, text));
        }
        match body {
            Body::Json(value) => Ok(value),
            Body::Text(text) => {
                let start: String = text.chars().take(40).collect();
                Err(RpcError::invalid_answer(format!(
                    "{}: the answer is not JSON: {start:?}",
                    self.host()
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::error::NodeError;
    use crate::chain::script::Script;
    use std::time::Duration;

    fn fixed(status: u16, body: Body) -> JsonRpc {
        JsonRpc::over(Arc::new(Script::of_requests("http://node", move |_| {
            Ok(Answer {
                status,
                retry_after: None,
                body: body.clone(),
            })
        })))
    }

    fn kind(connection: &JsonRpc) -> ErrorKind {
        connection.call("eth_chainId", json!([])).unwrap_err().kind
    }

    fn text(text: &str) -> Body {
        Body::Text(text.to_owned())
    }

    #[test]
    fn a_result_comes_back_whole() {
        let connection = JsonRpc::over(Arc::new(Script::of_calls("http://node", |method, _| {
            assert_eq!(method, "eth_chainId");
            Ok(json!("0x1"))
        })));
        assert_eq!(connection.call("eth_chainId", json!([])), Ok(json!("0x1")));
    }

    #[test]
    fn broken_answers_are_told_apart() {
        let html = "<html>Bad gateway</html>";
        assert_eq!(kind(&fixed(200, text(html))), ErrorKind::InvalidAnswer);
        assert_eq!(
            kind(&fixed(200, Body::Json(json!({})))),
            ErrorKind::InvalidAnswer
        );
        let foreign = Body::Json(json!({"id": 99, "result": "0x1"}));
        assert_eq!(kind(&fixed(200, foreign)), ErrorKind::InvalidAnswer);
        assert_eq!(kind(&fixed(502, text(html))), ErrorKind::Transport);
        assert_eq!(kind(&fixed(403, text(""))), ErrorKind::Parked);
        assert_eq!(kind(&fixed(302, text(""))), ErrorKind::Parked);
        let error = json!({"id": 1, "error": {"code": -32000, "message": "nonce too low"}});
        assert_eq!(
            kind(&fixed(500, Body::Json(error))),
            ErrorKind::Node(NodeError::NonceTooLow)
        );
    }

    #[test]
    fn a_rate_limit_says_how_long_in_its_header_its_text_or_its_data() {
        let wait = |secs| ErrorKind::RateLimited {
            retry_after: Some(Duration::from_secs(secs)),
        };
        let limited = JsonRpc::over(Arc::new(Script::of_requests("http://node", |_| {
            Ok(Answer {
                status: 429,
                retry_after: Some(Duration::from_secs(7)),
                body: Body::Text("slow down".to_owned()),
            })
        })));
        assert_eq!(kind(&limited), wait(7));
        assert_eq!(kind(&fixed(429, text("try again in 4s"))), wait(4));
        let told = json!({"id": 1, "error": {
            "code": -32005, "message": "daily request count exceeded, request rate limited",
            "data": {"rate": {"backoff_seconds": 30}},
        }});
        assert_eq!(kind(&fixed(200, Body::Json(told))), wait(30));
    }

    fn two_calls() -> Vec<RpcCall> {
        ["eth_chainId", "eth_blockNumber"]
            .map(|method| RpcCall {
                method,
                params: json!([]),
            })
            .to_vec()
    }

    #[test]
    fn a_batch_is_matched_by_id_in_any_order_and_each_item_has_its_own_error() {
        let connection = JsonRpc::over(Arc::new(Script::of_requests("http://node", |request| {
            Ok(Answer::json(json!([
                {"id": request[1]["id"], "error": {"code": -32000, "message": "header not found"}},
                {"id": request[0]["id"], "result": "0x1"},
            ])))
        })));
        let results = connection.batch(&two_calls()).unwrap();
        assert_eq!(results[0], Ok(json!("0x1")));
        assert_eq!(results[1].as_ref().unwrap_err().kind, ErrorKind::Behind);
    }

    #[test]
    fn a_batch_that_lacks_an_id_is_no_answer() {
        let connection = JsonRpc::over(Arc::new(Script::of_requests("http://node", |request| {
            let first = json!([{"id": request[0]["id"], "result": "0x1"}]);
            Ok(Answer::json(first))
        })));
        let error = connection.batch(&two_calls()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidAnswer);
    }

    #[test]
    fn a_server_that_takes_no_batches_is_asked_one_by_one() {
        let script = Arc::new(Script::of_requests("http://node", |request| {
            Ok(Answer::json(match request.is_array() {
                true => json!({"error": {"code": -32600, "message": "no batches"}}),
                false => json!({"id": request["id"], "result": "0x5"}),
            }))
        }));
        let connection = JsonRpc::over(script.clone());
        for _ in 0..2 {
            assert_eq!(
                connection.batch(&two_calls()).unwrap(),
                [Ok(json!("0x5")), Ok(json!("0x5"))]
            );
        }
        assert_eq!(script.asked().len(), 5);
    }
}
