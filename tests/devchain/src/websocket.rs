//! eth_subscribe: newHeads and logs over a WebSocket on the same port. A reorg is told as nodes tell it: the logs that
//! are gone once more with `removed`, then the new blocks.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use revm::primitives::B256;
use serde_json::{json, Value};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

use crate::faults::{Character, Faults};
use crate::node::Node;
use crate::rpc;
use crate::server::{respond_to, Shared};

/// Blocks that are remembered for the reorg that takes them away.
const TOLD_MAX: usize = 512;

/// Both directions of one socket: whole frames are written under the lock, by the reader and by the teller.
struct Socket<'a> {
    stream: &'a TcpStream,
    writing: &'a Mutex<()>,
}

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        (&mut &*self.stream).read(buffer)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _writing = lock(self.writing);
        (&mut &*self.stream).write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One subscription of a connection.
struct Wanted {
    id: String,
    /// None for heads, a filter for logs.
    filter: Option<Value>,
}

/// Serves the connection from its handshake to its end.
pub fn serve(
    stream: &TcpStream,
    key: &str,
    shared: &Shared,
    faults: &Faults,
) -> std::io::Result<()> {
    let accept = derive_accept_key(key.as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n"
    );
    (&mut &*stream).write_all(head.as_bytes())?;
    let (writing, wanted, over) = (
        Mutex::new(()),
        Mutex::new(Vec::new()),
        AtomicBool::new(false),
    );
    let socket = || Socket {
        stream,
        writing: &writing,
    };
    std::thread::scope(|scope| {
        let teller = scope.spawn(|| tell(socket(), shared, faults, &wanted, &over));
        let mut incoming = WebSocket::from_raw_socket(socket(), Role::Server, None);
        let mut outgoing = WebSocket::from_raw_socket(socket(), Role::Server, None);
        while let Ok(message) = incoming.read() {
            let Message::Text(text) = message else {
                continue;
            };
            let answer = answer(text.as_str(), shared, faults, &wanted);
            let Some(answer) = answer else { break };
            if outgoing.send(Message::text(answer)).is_err() {
                break;
            }
        }
        over.store(true, Ordering::SeqCst);
        let _ = stream.shutdown(Shutdown::Both);
        shared.changed.notify_all();
        let _ = teller.join();
    });
    Ok(())
}

/// None where a fault cuts the connection.
fn answer(
    text: &str,
    shared: &Shared,
    faults: &Faults,
    wanted: &Mutex<Vec<Wanted>>,
) -> Option<String> {
    static IDS: AtomicU64 = AtomicU64::new(1);
    let request: Value = serde_json::from_str(text).unwrap_or_default();
    let (id, params) = (&request["id"], &request["params"]);
    match request["method"].as_str() {
        Some("eth_subscribe") => {
            let filter = match params[0].as_str() {
                Some("newHeads") => None,
                Some("logs") => Some(params[1].clone()),
                _ => {
                    let error = json!({"code": -32_601, "message": "no such subscription"});
                    return Some(json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string());
                }
            };
            let subscription = format!("{:#x}", IDS.fetch_add(1, Ordering::SeqCst));
            lock(wanted).push(Wanted {
                id: subscription.clone(),
                filter,
            });
            Some(json!({"jsonrpc": "2.0", "id": id, "result": subscription}).to_string())
        }
        Some("eth_unsubscribe") => {
            let mut wanted = lock(wanted);
            let before = wanted.len();
            wanted.retain(|wanted| params[0] != wanted.id);
            let gone = wanted.len() < before;
            Some(json!({"jsonrpc": "2.0", "id": id, "result": gone}).to_string())
        }
        _ => respond_to(text.as_bytes(), shared, faults),
    }
}

/// Waits for changes of the chain and tells them.
fn tell(
    socket: Socket,
    shared: &Shared,
    faults: &Faults,
    wanted: &Mutex<Vec<Wanted>>,
    over: &AtomicBool,
) {
    let mut outgoing = WebSocket::from_raw_socket(socket, Role::Server, None);
    let mut told: VecDeque<(u64, B256)> = VecDeque::new();
    let is_over = || over.load(Ordering::SeqCst) || shared.stopping.load(Ordering::SeqCst);
    let mut guard = shared.lock();
    while !is_over() {
        let character = faults.character();
        let news = guard
            .as_ref()
            .map(|node| news(node, &character, &mut told, &lock(wanted)))
            .unwrap_or_default();
        if news.is_empty() || character.mute_websocket {
            let patience = Duration::from_millis(200);
            guard = shared
                .changed
                .wait_timeout(guard, patience)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            continue;
        }
        drop(guard);
        for (subscription, result) in news {
            let params = json!({"subscription": subscription, "result": result});
            let text = json!({"jsonrpc": "2.0", "method": "eth_subscription", "params": params})
                .to_string();
            if outgoing.send(Message::text(text)).is_err() {
                return;
            }
        }
        guard = shared.lock();
    }
}

/// What there is to tell since the last time, as (subscription, result).
fn news(
    node: &Node,
    character: &Character,
    told: &mut VecDeque<(u64, B256)>,
    wanted: &[Wanted],
) -> Vec<(String, Value)> {
    let head = rpc::visible_head(node, character);
    let hash_at = |number: u64| node.block(number).map(|block| block.header.hash);
    let mut news = Vec::new();
    let Some(&(newest, _)) = told.back() else {
        told.extend(hash_at(head).map(|hash| (head, hash)));
        return news;
    };
    let mut next = newest.saturating_add(1);
    while let Some(&(number, hash)) = told.back() {
        if number <= head && hash_at(number) == Some(hash) {
            break;
        }
        // A lagging endpoint takes nothing back, it only tells nothing new.
        if number > head && hash_at(number) == Some(hash) {
            return news;
        }
        told.pop_back();
        next = number;
        for wanted in wanted {
            if wanted.filter.is_some() {
                news.push((
                    wanted.id.clone(),
                    json!({"removed": true, "blockHash": format!("{hash}")}),
                ));
            }
        }
    }
    for number in next..=head {
        let Some(block) = node.block(number) else {
            break;
        };
        for wanted in wanted {
            match &wanted.filter {
                None => news.push((wanted.id.clone(), rpc::announced_json(block, character))),
                Some(filter) => {
                    let logs = rpc::logs_of_block(node, block, filter, character);
                    news.extend(logs.into_iter().map(|log| (wanted.id.clone(), log)));
                }
            }
        }
        told.push_back((number, block.header.hash));
        if told.len() > TOLD_MAX {
            told.pop_front();
        }
    }
    news
}
