//! Feeds the public port's two state machines (HTTP connections, and what WebSocket clients send) with requests and
//! frames that are good, odd or broken, cut anywhere. Ends with an error at the first panic or unbounded buffer, and
//! names the execution, which the seed makes repeatable.
//!
//! `cargo bench --bench fuzz` runs 10 million executions; `-- --executions N`, `-- --seconds N` and `-- --seed N` choose.

use std::net::{IpAddr, Ipv4Addr};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lottery::web::connection::{Connection, Event, Limits, Rules};
use lottery::web::http::Port;
use lottery::web::inbound::{Heard, Inbound, MESSAGE_BYTES_MAX};
use support::random::Random;

/// Executions handed to a thread at a time.
const PORTION: u64 = 10_000;
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Pieces of requests, of which most are right where they stand.
const HTTP_PIECES: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\n",
    b"GET /api/round/player?player=%30x HTTP/1.1\r\n",
    b"HEAD /healthz HTTP/1.1\r\n",
    b"POST /api/round/draw HTTP/1.1\r\n",
    b"GET http://example.org/api HTTP/1.1\r\n",
    b"GET /%zz HTTP/1.1\r\n",
    b"GET / HTTP/1.0\r\n",
    b"GET  /  HTTP/9.9\r\n",
    b"OPTIONS * HTTP/1.1\r\n",
    b"Host: x\r\n",
    b"Host:\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 5\r\nContent-Length: 6\r\n",
    b"Content-Length: 18446744073709551616\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length: 70000\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive, Upgrade\r\n",
    b"Upgrade: websocket\r\n",
    b"Sec-WebSocket-Version: 13\r\n",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    b"X-Forwarded-For: 1.2.3.4, ::1\r\n",
    b"Authorization: Bearer \xff\xfe\r\n",
    b" folded\r\n",
    b": no name\r\n",
    b"\r\n",
    b"\n",
    b"hello",
    b"\0\0\0\0",
];

/// At most so many bytes.
fn some_bytes(random: &mut Random, most: usize) -> Vec<u8> {
    let length = random.index(most + 1);
    random.bytes(length)
}

/// Changes a byte here and there.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    while !bytes.is_empty() && random.one_in(3) {
        let index = random.index(bytes.len());
        match random.below(3) {
            0 => bytes[index] = random.number() as u8,
            1 => drop(bytes.remove(index)),
            _ => bytes.insert(index, random.number() as u8),
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str| -> Option<u64> {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1)?.parse().ok()
    };
    let seed = number("--seed").unwrap_or(7);
    let seconds = number("--seconds").map(Duration::from_secs);
    let executions = match seconds {
        Some(_) => u64::MAX,
        None => number("--executions").unwrap_or(10_000_000),
    };
    // A panic is reported once, with its execution.
    std::panic::set_hook(Box::new(|_| {}));
    let (taken, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let failed = Arc::new(AtomicBool::new(false));
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let (taken, done, failed) = (taken.clone(), done.clone(), failed.clone());
            std::thread::spawn(move || {
                while !failed.load(Ordering::Relaxed)
                    && seconds.is_none_or(|seconds| started.elapsed() < seconds)
                {
                    let first = taken.fetch_add(PORTION, Ordering::Relaxed);
                    let last = first.saturating_add(PORTION).min(executions);
                    if first >= executions {
                        break;
                    }
                    for execution in first..last {
                        if let Err(why) = execute(seed, execution) {
                            println!("execution {execution} of seed {seed}: {why}");
                            failed.store(true, Ordering::Relaxed);
                            return;
                        }
                    }
                    done.fetch_add(last - first, Ordering::Relaxed);
                }
            })
        })
        .collect();
    workers
        .into_iter()
        .for_each(|worker| worker.join().expect("failures are caught"));
    let (done, elapsed) = (done.load(Ordering::Relaxed), started.elapsed());
    println!(
        "{done} executions of seed {seed} in {elapsed:.1?} ({:.0} a second)",
        done as f64 / elapsed.as_secs_f64()
    );
    if failed.load(Ordering::Relaxed) {
        std::process::exit(1);
    }
}

fn execute(seed: u64, execution: u64) -> Result<(), String> {
    let mut random = Random::new(seed ^ execution.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let run = || match execution % 2 {
        0 => connection(&mut random),
        _ => inbound(&mut random),
    };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result,
        Err(payload) => {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| {
                payload
                    .downcast_ref::<&str>()
                    .map(|text| (*text).to_owned())
            });
            Err(format!("panicked: {}", text.unwrap_or_default()))
        }
    }
}

/// Calls `take` with the bytes cut in random places, until it says that it wants no more.
fn cut(
    random: &mut Random,
    mut bytes: &[u8],
    mut take: impl FnMut(&[u8]) -> Result<bool, String>,
) -> Result<(), String> {
    let longest = 1 + random.index(bytes.len().max(1));
    while !bytes.is_empty() {
        let length = 1 + random.index(longest.min(bytes.len()));
        if !take(&bytes[..length])? {
            break;
        }
        bytes = &bytes[length..];
    }
    Ok(())
}

fn connection(random: &mut Random) -> Result<(), String> {
    let limits = Limits {
        head_bytes: 600,
        body_bytes: 2_000,
        ..Limits::default()
    };
    let rules = Arc::new(Rules {
        limits,
        takes_body: Box::new(|request| request.path.contains("draw")),
    });
    let mut bytes = Vec::new();
    for _ in 0..random.below(14) {
        bytes.extend(*random.pick(HTTP_PIECES));
    }
    if random.one_in(4) {
        bytes.extend(some_bytes(random, 800));
    }
    mutate(random, &mut bytes);
    let mut now = Instant::now();
    let mut machine = Connection::new(PEER, Port::Public, rules, now);
    let pauses: Vec<u64> = (0..8).map(|_| random.number() % 9_000).collect();
    let is_slow = random.one_in(8);
    let mut turn = 0;
    cut(random, &bytes, |piece| {
        turn += 1;
        if is_slow {
            now += Duration::from_millis(pauses[turn % pauses.len()]);
            let _ = machine.expire(now);
        }
        if !machine.wants_input() {
            return Ok(false);
        }
        let mut event = machine.receive(piece, now);
        // The answer to each request is written at once, which lets the next one through.
        while let Some(Event::Request {
            persistence,
            request,
        }) = event
        {
            if request.body.len() > limits.body_bytes {
                return Err(format!("a body of {} bytes", request.body.len()));
            }
            machine.begin_writing(persistence, now);
            event = machine.end_writing(now);
        }
        let waiting = machine.waiting_bytes();
        let most = 2 * (limits.head_bytes + limits.body_bytes + piece.len());
        if machine.held_bytes() > most {
            return Err(format!("{} bytes are held", machine.held_bytes()));
        }
        match waiting <= limits.head_bytes + limits.body_bytes + piece.len() {
            true => Ok(event.is_none() && !machine.is_closed()),
            false => Err(format!("{waiting} bytes wait")),
        }
    })
}

/// A frame whose parts are right most of the time.
fn frame(random: &mut Random) -> Vec<u8> {
    const FIRST: [u8; 12] = [
        0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x88, 0x89, 0x8a, 0x83, 0xc1, 0x09,
    ];
    let payload = match random.below(6) {
        0 => some_bytes(random, 1_100),
        1 => vec![b'x'; 126 + random.index(3)],
        2 => 1000u16.to_be_bytes().to_vec(),
        _ => some_bytes(random, 20),
    };
    let mut bytes = vec![*random.pick(&FIRST)];
    let mask = if random.one_in(10) { 0 } else { 0x80 };
    match payload.len() {
        _ if random.one_in(30) => {
            bytes.push(mask | 127);
            bytes.extend(random.number().to_be_bytes());
        }
        length @ 0..=125 => bytes.push(mask | length as u8),
        length => {
            bytes.push(mask | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
    }
    if mask != 0 {
        bytes.extend([0; 4]);
    }
    bytes.extend(payload);
    bytes
}

fn inbound(random: &mut Random) -> Result<(), String> {
    let mut bytes = Vec::new();
    for _ in 0..random.below(8) {
        bytes.extend(frame(random));
    }
    mutate(random, &mut bytes);
    let mut now = Instant::now();
    let mut inbound = Inbound::new(now, random.one_in(2));
    let is_slow = random.one_in(2);
    cut(random, &bytes, |piece| {
        if is_slow {
            now += Duration::from_millis(300);
        }
        let heard = inbound.receive(piece, now);
        let waiting = inbound.waiting_bytes();
        if waiting > MESSAGE_BYTES_MAX + piece.len() {
            return Err(format!("{waiting} bytes wait"));
        }
        match heard {
            Heard::Reply(bytes) if bytes.len() > 5 * 131 => {
                Err(format!("an answer of {} bytes", bytes.len()))
            }
            Heard::Nothing | Heard::Reply(_) => Ok(true),
            Heard::Goodbye(_) | Heard::Refuse { .. } => Ok(false),
        }
    })
}
