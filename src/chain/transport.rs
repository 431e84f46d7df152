//! JSON-RPC 2.0 to one URL over HTTP: requests out, results or typed errors back. No retries, no health: that is the
//! business of `endpoints`. Redirects are not followed and no proxy is taken from the environment.
//!
//! The URL's path and query hold API keys, so it is shown anywhere only as scheme://host.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{json, Value};

use crate::chain::error::{bounded_wait, classify, retry_hint, ErrorKind, RpcError};

/// The largest answer that is read.
const BODY_MAX_BYTES: u64 = 32 << 20;
/// So many broken batches in a row are a server that does not know them, rather than bad luck.
const BROKEN_BATCHES_MAX: u32 = 3;
/// Items in one batch; more is sent as several.
pub const BATCH_MAX: usize = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// One request of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct RpcCall {
    pub method: &'static str,
    pub params: Value,
}

/// A connection (kept alive) to one JSON-RPC server.
pub struct Connection {
    agent: ureq::Agent,
    url: String,
    host: String,
    next_id: AtomicU64,
    batch_refused: AtomicBool,
    /// Batches in a row that came back broken.
    batches_broken: AtomicU32,
    /// web3_clientVersion in lower case, once known: some codes mean something on one client only.
    client: OnceLock<String>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Connection")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// `proxy_url` is the only proxy ever used.
    pub fn new(
        url: &str,
        proxy_url: Option<&str>,
        timeout: Duration,
    ) -> Result<Connection, RpcError> {
        let host = shown_host(url, &["http", "https"])?;
        let proxy = match proxy_url {
            Some(proxy_url) => Some(
                ureq::Proxy::new(proxy_url)
                    .map_err(|_| RpcError::transport("blockchain.proxy_url is not a proxy URL"))?,
            ),
            None => None,
        };
        let agent = ureq::Agent::config_builder()
            .timeout_connect(Some(CONNECT_TIMEOUT.min(timeout)))
            .timeout_global(Some(timeout))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .proxy(proxy)
            .user_agent(concat!("lottery/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Connection {
            agent,
            url: url.to_owned(),
            host,
            next_id: AtomicU64::new(1),
            batch_refused: AtomicBool::new(false),
            batches_broken: AtomicU32::new(0),
            client: OnceLock::new(),
        })
    }

    /// scheme://host[:port], without path, query and user.
    pub fn host(&self) -> &str {
        &self.host
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
                self.host
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
                    self.host, call.method
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
        log::info!("{} takes no batches: asking one by one", self.host);
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
                self.host
            ))),
        }
    }

    fn post(&self, request: &Value) -> Result<Value, RpcError> {
        let body = request.to_string();
        let mut response = self
            .agent
            .post(&self.url)
            .header("content-type", "application/json")
            .send(&body)
            .map_err(|error| RpcError::transport(format!("{}: {}", self.host, describe(&error))))?;
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(|secs: u64| Duration::from_secs(secs.min(3_600)));
        let bytes = response
            .body_mut()
            .with_config()
            .limit(BODY_MAX_BYTES)
            .read_to_vec()
            .map_err(|error| RpcError::transport(format!("{}: {}", self.host, describe(&error))))?;
        let kind = match status {
            200..=299 => None,
            401 | 403 | 404 | 405 | 410 => Some(ErrorKind::Parked),
            429 => Some(ErrorKind::RateLimited {
                retry_after: retry_after.or_else(|| retry_hint(&String::from_utf8_lossy(&bytes))),
            }),
            300..=399 => Some(ErrorKind::Parked),
            // JSON-RPC errors come with 400 or 500 from some nodes: their body tells more than the status.
            _ if is_rpc_error(&bytes) => None,
            _ => Some(ErrorKind::Transport),
        };
        if let Some(kind) = kind {
            return Err(RpcError::new(
                kind,
                format!("{}: HTTP status {status}", self.host),
            ));
        }
        serde_json::from_slice(&bytes).map_err(|_| {
            let start: String = String::from_utf8_lossy(&bytes).chars().take(40).collect();
            RpcError::invalid_answer(format!("{}: the answer is not JSON: {start:?}", self.host))
        })
    }
}

fn is_rpc_error(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Value>(bytes)
        .is_ok_and(|value| value.get("error").is_some_and(Value::is_object))
}

/// A transport error in words; ureq's own texts may hold the URL, so only its kind is told.
fn describe(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "timed out".to_owned(),
        ureq::Error::Io(error) => format!("{}", error.kind()),
        ureq::Error::HostNotFound => "the host is not found".to_owned(),
        ureq::Error::ConnectionFailed => "connection failed".to_owned(),
        ureq::Error::BodyExceedsLimit(limit) => format!("the answer is larger than {limit} bytes"),
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => "TLS failed".to_owned(),
        ureq::Error::Protocol(_) => "broken HTTP".to_owned(),
        _ => "the request failed".to_owned(),
    }
}

/// scheme://host[:port] of a URL with one of these schemes: all that may be shown of it.
pub fn shown_host(url: &str, schemes: &[&str]) -> Result<String, RpcError> {
    let bad = || {
        let allowed: Vec<String> = schemes
            .iter()
            .map(|scheme| format!("{scheme}://host"))
            .collect();
        RpcError::transport(format!("an RPC URL must be {}", allowed.join(" or ")))
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
    if !schemes.contains(&scheme) {
        return Err(bad());
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    if host.is_empty() {
        return Err(bad());
    }
    Ok(format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;

    /// Serves one canned HTTP answer after another, each made from the request's JSON body.
    fn serve(answers: Vec<Box<dyn Fn(Value) -> String + Send>>) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v3/secret-key", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for answer in answers {
                let (stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream);
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    if line == "\r\n" || line.is_empty() {
                        break;
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let request = serde_json::from_slice(&body).unwrap();
                reader
                    .get_mut()
                    .write_all(answer(request).as_bytes())
                    .unwrap();
            }
        });
        Connection::new(&url, None, Duration::from_secs(5)).unwrap()
    }

    fn http(status: &str, headers: &str, body: &str) -> String {
        format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
            body.len()
        )
    }

    fn fixed(answer: String) -> Connection {
        serve(vec![Box::new(move |_| answer.clone())])
    }

    fn kind(connection: &Connection) -> ErrorKind {
        connection.call("eth_chainId", json!([])).unwrap_err().kind
    }

    #[test]
    fn a_result_comes_back_whole() {
        let connection = serve(vec![Box::new(|request| {
            assert_eq!(request["method"], "eth_chainId");
            http(
                "200 OK",
                "",
                &json!({"jsonrpc": "2.0", "id": request["id"], "result": "0x1"}).to_string(),
            )
        })]);
        assert_eq!(connection.call("eth_chainId", json!([])), Ok(json!("0x1")));
    }

    #[test]
    fn broken_answers_are_told_apart() {
        let html = "<html>Bad gateway</html>";
        assert_eq!(
            kind(&fixed(http("200 OK", "", html))),
            ErrorKind::InvalidAnswer
        );
        assert_eq!(
            kind(&fixed(http("200 OK", "", "{}"))),
            ErrorKind::InvalidAnswer
        );
        let foreign = json!({"id": 99, "result": "0x1"}).to_string();
        assert_eq!(
            kind(&fixed(http("200 OK", "", &foreign))),
            ErrorKind::InvalidAnswer
        );
        assert_eq!(
            kind(&fixed(http("502 Bad Gateway", "", html))),
            ErrorKind::Transport
        );
        assert_eq!(
            kind(&fixed(http("403 Forbidden", "", ""))),
            ErrorKind::Parked
        );
        assert_eq!(
            kind(&fixed(
                "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{\"id\"".into()
            )),
            ErrorKind::Transport
        );
        assert_eq!(kind(&fixed(String::new())), ErrorKind::Transport);
        let moved = http("302 Found", "location: http://127.0.0.1:1/\r\n", "");
        assert_eq!(kind(&fixed(moved)), ErrorKind::Parked);
        let limited = http("429 Too Many Requests", "retry-after: 7\r\n", "slow down");
        let retry_after = Some(Duration::from_secs(7));
        assert_eq!(
            kind(&fixed(limited)),
            ErrorKind::RateLimited { retry_after }
        );
        let hinted = http("429 Too Many Requests", "", "try again in 4s");
        let retry_after = Some(Duration::from_secs(4));
        assert_eq!(kind(&fixed(hinted)), ErrorKind::RateLimited { retry_after });
        let told = json!({"id": 1, "error": {
            "code": -32005, "message": "daily request count exceeded, request rate limited",
            "data": {"rate": {"backoff_seconds": 30}},
        }});
        let retry_after = Some(Duration::from_secs(30));
        assert_eq!(
            kind(&fixed(http("200 OK", "", &told.to_string()))),
            ErrorKind::RateLimited { retry_after }
        );
        let error =
            json!({"id": 1, "error": {"code": -32000, "message": "nonce too low"}}).to_string();
        let told = kind(&fixed(http("500 Internal Server Error", "", &error)));
        assert_eq!(
            told,
            ErrorKind::Node(crate::chain::error::NodeError::NonceTooLow)
        );
    }

    #[test]
    fn an_answer_without_end_is_cut_off() {
        let connection = fixed(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
            BODY_MAX_BYTES + 1
        ));
        assert_eq!(kind(&connection), ErrorKind::Transport);
    }

    fn two_calls() -> Vec<RpcCall> {
        vec![
            RpcCall {
                method: "eth_chainId",
                params: json!([]),
            },
            RpcCall {
                method: "eth_blockNumber",
                params: json!([]),
            },
        ]
    }

    #[test]
    fn a_batch_is_matched_by_id_in_any_order_and_each_item_has_its_own_error() {
        let connection = serve(vec![Box::new(|request| {
            let answers = json!([
                {"id": request[1]["id"], "error": {"code": -32000, "message": "header not found"}},
                {"id": request[0]["id"], "result": "0x1"},
            ]);
            http("200 OK", "", &answers.to_string())
        })]);
        let results = connection.batch(&two_calls()).unwrap();
        assert_eq!(results[0], Ok(json!("0x1")));
        assert_eq!(results[1].as_ref().unwrap_err().kind, ErrorKind::Behind);
    }

    #[test]
    fn a_batch_that_lacks_an_id_is_no_answer() {
        let connection = serve(vec![Box::new(|request| {
            http(
                "200 OK",
                "",
                &json!([{"id": request[0]["id"], "result": "0x1"}]).to_string(),
            )
        })]);
        assert_eq!(
            connection.batch(&two_calls()).unwrap_err().kind,
            ErrorKind::InvalidAnswer
        );
    }

    #[test]
    fn a_server_that_takes_no_batches_is_asked_one_by_one() {
        let single = |request: Value| {
            http(
                "200 OK",
                "",
                &json!({"id": request["id"], "result": "0x5"}).to_string(),
            )
        };
        let refuse = |_| {
            http(
                "200 OK",
                "",
                &json!({"error": {"code": -32600, "message": "no batches"}}).to_string(),
            )
        };
        let connection = serve(vec![
            Box::new(refuse),
            Box::new(single),
            Box::new(single),
            Box::new(single),
            Box::new(single),
        ]);
        for _ in 0..2 {
            assert_eq!(
                connection.batch(&two_calls()).unwrap(),
                [Ok(json!("0x5")), Ok(json!("0x5"))]
            );
        }
    }

    #[test]
    fn nothing_shows_more_of_the_url_than_its_host() {
        let connection = Connection::new(
            "https://user:pw@rpc.example:8443/v3/secret-key?k=2",
            None,
            Duration::from_secs(1),
        )
        .unwrap();
        assert_eq!(connection.host(), "https://rpc.example:8443");
        assert!(!format!("{connection:?}").contains("secret"));
        let refused = fixed(String::new());
        let error = refused.call("eth_chainId", json!([])).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        for bad in [
            "rpc.example",
            "ftp://rpc.example",
            "http://",
            "http:///path",
        ] {
            assert!(
                Connection::new(bad, None, Duration::from_secs(1)).is_err(),
                "{bad}"
            );
        }
    }
}
