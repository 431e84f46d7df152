//! HTTP in front of the node: one thread a connection, kept alive, with the endpoint's faults applied on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{json, Value};

use crate::faults::{Character, Fault, Faults};
use crate::node::Node;
use crate::relay;
use crate::rpc::{answer, bytes_json, Answer, RpcError};
use crate::tx::Transaction;
use crate::{websocket, Endpoint};

const BODY_MAX_BYTES: usize = 16 << 20;

/// What all endpoints and the miner share.
#[derive(Default)]
pub struct Shared {
    node: Mutex<Option<Node>>,
    /// The node behind, by its URL, where it is another.
    behind: Option<String>,
    /// Told of every change of the chain, for those who wait.
    pub changed: Condvar,
    pub stopping: AtomicBool,
    requests: Mutex<BTreeMap<String, u64>>,
    raw_transactions: Mutex<Vec<Vec<u8>>>,
    connections_total: AtomicU64,
    /// By their number, so that each can be forgotten when it ends.
    connections: Mutex<BTreeMap<u64, TcpStream>>,
    websockets: Mutex<BTreeSet<u64>>,
}

impl Shared {
    pub fn new(node: Node) -> Shared {
        Shared {
            node: Mutex::new(Some(node)),
            ..Shared::default()
        }
    }

    pub fn before(url: String) -> Shared {
        Shared {
            behind: Some(url),
            ..Shared::default()
        }
    }

    fn answer(&self, character: &Character, method: &str, params: &Value) -> Answer {
        match &self.behind {
            Some(url) => relay::ask(url, method, params),
            None => self.with(|node| answer(node, character, method, params)),
        }
    }

    pub fn stop(&self, endpoints: &mut [Endpoint]) {
        self.stopping.store(true, Ordering::SeqCst);
        self.changed.notify_all();
        self.cut_connections();
        for endpoint in endpoints {
            // The accept loop looks at the flag when a connection comes.
            let _ = TcpStream::connect(endpoint.address);
            if let Some(thread) = endpoint.thread.take() {
                let _ = thread.join();
            }
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, Option<Node>> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `act` on the node and wakes all who wait for a change.
    pub fn with<T>(&self, act: impl FnOnce(&mut Node) -> T) -> T {
        let mut guard = self.lock();
        // Invariant: the node is there from `new` until the process ends; what is before another asks that one.
        let result = act(guard.as_mut().expect("the node is never taken away"));
        drop(guard);
        self.changed.notify_all();
        result
    }

    pub fn requests(&self) -> BTreeMap<String, u64> {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub fn raw_transactions(&self) -> Vec<Vec<u8>> {
        self.raw_transactions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn note(&self, method: &str, params: &Value) {
        *self
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(method.to_owned())
            .or_insert(0) += 1;
        if method == "eth_sendRawTransaction" {
            let raw = params
                .get(0)
                .and_then(Value::as_str)
                .and_then(|text| text.parse::<revm::primitives::Bytes>().ok());
            if let Some(raw) = raw {
                self.raw_transactions
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(raw.to_vec());
            }
        }
    }

    pub fn cut_connections(&self) {
        for stream in self.connections().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub fn cut_websockets(&self) {
        let websockets = self.websockets().clone();
        for (number, stream) in self.connections().iter() {
            if websockets.contains(number) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    fn websockets(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.websockets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> MutexGuard<'_, BTreeMap<u64, TcpStream>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens on loopback; port 0 takes a free one.
pub fn listen(
    shared: Arc<Shared>,
    faults: Faults,
    port: u16,
) -> std::io::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let address = listener.local_addr()?;
    let handle = std::thread::spawn(move || {
        for stream in listener.incoming() {
            if shared.stopping.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream else { continue };
            let (shared, faults) = (shared.clone(), faults.clone());
            let number = shared.connections_total.fetch_add(1, Ordering::SeqCst);
            if let Ok(copy) = stream.try_clone() {
                shared.connections().insert(number, copy);
            }
            std::thread::spawn(move || {
                let _ = serve(&stream, number, &shared, &faults);
                let _ = stream.shutdown(Shutdown::Both);
                shared.websockets().remove(&number);
                shared.connections().remove(&number);
            });
        }
    });
    Ok((address, handle))
}

fn serve(stream: &TcpStream, number: u64, shared: &Shared, faults: &Faults) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while !shared.stopping.load(Ordering::SeqCst) {
        let body = match read_request(&mut reader)? {
            None => return Ok(()),
            Some(Request::Call(body)) => body,
            Some(Request::Upgrade(_))
                if faults.character().refuses_websocket || shared.behind.is_some() =>
            {
                return (&mut &*stream).write_all(&http(404, None, "no WebSocket here"));
            }
            Some(Request::Upgrade(key)) => {
                shared.websockets().insert(number);
                return websocket::serve(stream, &key, shared, faults);
            }
        };
        match respond(&body, shared, faults) {
            Response::Whole(bytes) => (&mut &*stream).write_all(&bytes)?,
            Response::Last(bytes) => return (&mut &*stream).write_all(&bytes),
        }
    }
    Ok(())
}

enum Request {
    Call(Vec<u8>),
    /// To a WebSocket, with the client's key.
    Upgrade(String),
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> std::io::Result<Option<Request>> {
    let mut length = 0;
    let mut key = None;
    loop {
        let mut line = String::new();
        if reader.by_ref().take(16 * 1024).read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if let Some((name, value)) = line.split_once(':') {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap_or(0);
            }
            if name.eq_ignore_ascii_case("sec-websocket-key") {
                key = Some(value.trim().to_owned());
            }
        }
        if line.trim().is_empty() {
            break;
        }
    }
    if let Some(key) = key {
        return Ok(Some(Request::Upgrade(key)));
    }
    if length > BODY_MAX_BYTES {
        return Ok(None);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Request::Call(body)))
}

/// What goes back on the connection.
enum Response {
    Whole(Vec<u8>),
    /// Then the connection is cut.
    Last(Vec<u8>),
}

fn respond(body: &[u8], shared: &Shared, faults: &Faults) -> Response {
    let Ok(request) = serde_json::from_slice::<Value>(body) else {
        let text = error_body(&Value::Null, -32_700, "parse error");
        return Response::Whole(http(200, None, &text));
    };
    let calls: Vec<&Value> = match &request {
        Value::Array(calls) => calls.iter().collect(),
        single => vec![single],
    };
    let struck_each: Vec<Vec<Fault>> = calls
        .iter()
        .map(|call| faults.strike(call["method"].as_str().unwrap_or_default()))
        .collect();
    let struck = struck_each.concat();
    if let Some(response) = strike_below_json(&struck, shared) {
        return response;
    }
    let character = faults.character_of_request();
    if request.is_array() && character.refuses_batches {
        let text = error_body(&Value::Null, -32_600, "batch requests are not supported");
        return Response::Whole(http(200, None, &text));
    }
    let mut answers: Vec<Value> = calls
        .iter()
        .zip(&struck_each)
        .map(|(call, struck)| answer_one(call, shared, &character, struck))
        .collect();
    if request.is_array() && character.loses_batch_items {
        answers.pop();
    }
    if character.reorders_batches {
        answers.reverse();
    }
    let text = match request.is_array() {
        true => Value::Array(answers).to_string(),
        false => answers.pop().unwrap_or_default().to_string(),
    };
    let reworded = struck.iter().find_map(|fault| match fault {
        Fault::Reword(rewording) => Some(rewording.apply(&text)),
        _ => None,
    });
    if let Some(bytes) = reworded {
        return Response::Last(bytes);
    }
    let mut response = http(200, None, &text);
    if struck.contains(&Fault::ResetAfter) {
        return Response::Last(Vec::new());
    }
    if struck.contains(&Fault::Truncated) {
        response.truncate(response.len() - text.len() / 2 - 1);
        return Response::Last(response);
    }
    Response::Whole(response)
}

/// A call that came over a WebSocket; None where a fault cuts the connection.
pub fn respond_to(body: &[u8], shared: &Shared, faults: &Faults) -> Option<String> {
    match respond(body, shared, faults) {
        Response::Whole(bytes) => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
        }
        Response::Last(_) => None,
    }
}

/// Faults that need no answer of the node.
fn strike_below_json(struck: &[Fault], shared: &Shared) -> Option<Response> {
    let latency = struck.iter().filter_map(|fault| match fault {
        Fault::Latency(delay) => Some(*delay),
        _ => None,
    });
    // A batch is one request: what makes each of its calls late makes the whole late once.
    std::thread::sleep(latency.max().unwrap_or_default());
    for fault in struck {
        match fault {
            Fault::Status(status, retry_after) => {
                return Some(Response::Whole(http(*status, *retry_after, "unavailable")))
            }
            Fault::Reset => return Some(Response::Last(Vec::new())),
            Fault::Raw(bytes) => return Some(Response::Last(bytes.to_vec())),
            Fault::Html => {
                let page = "<html><body>Bad gateway</body></html>";
                return Some(Response::Whole(http(200, None, page)));
            }
            Fault::Hang => {
                while !shared.stopping.load(Ordering::SeqCst) {
                    std::thread::park_timeout(Duration::from_millis(50));
                }
                return Some(Response::Last(Vec::new()));
            }
            _ => {}
        }
    }
    None
}

fn answer_one(call: &Value, shared: &Shared, character: &Character, struck: &[Fault]) -> Value {
    let id = call.get("id").cloned().unwrap_or(Value::Null);
    let method = call["method"].as_str().unwrap_or_default();
    let params = call.get("params").cloned().unwrap_or_else(|| json!([]));
    shared.note(method, &params);
    for fault in struck {
        match fault {
            Fault::Error { code, message } => {
                return json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}});
            }
            Fault::Null => return json!({"jsonrpc": "2.0", "id": id, "result": null}),
            Fault::EmptyLogs if method == "eth_getLogs" => {
                return json!({"jsonrpc": "2.0", "id": id, "result": []});
            }
            Fault::Swallow if method == "eth_sendRawTransaction" => {
                let raw = params
                    .get(0)
                    .and_then(Value::as_str)
                    .and_then(|text| text.parse::<revm::primitives::Bytes>().ok());
                if let Some(Ok(known)) = raw.map(|raw| Transaction::decode(&raw)) {
                    return json!({"jsonrpc": "2.0", "id": id, "result": bytes_json(known.hash.as_slice())});
                }
            }
            _ => {}
        }
    }
    match shared.answer(character, method, &params) {
        Ok(mut result) => {
            for fault in struck {
                if let Fault::Distort(distortion) = fault {
                    distortion.apply(&mut result);
                }
            }
            json!({"jsonrpc": "2.0", "id": id, "result": result})
        }
        Err(RpcError {
            code,
            message,
            data,
        }) => {
            let mut error = json!({"code": code, "message": message});
            if let Some(data) = data {
                error["data"] = data;
            }
            json!({"jsonrpc": "2.0", "id": id, "error": error})
        }
    }
}

fn error_body(id: &Value, code: i64, message: &str) -> String {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}).to_string()
}

fn http(status: u16, retry_after: Option<u64>, body: &str) -> Vec<u8> {
    let retry = retry_after.map_or(String::new(), |secs| format!("retry-after: {secs}\r\n"));
    let kind = if body.starts_with('<') {
        "text/html"
    } else {
        "application/json"
    };
    format!(
        "HTTP/1.1 {status} -\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n{retry}\r\n{body}",
        body.len()
    )
    .into_bytes()
}
