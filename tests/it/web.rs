//! The public port against clients that are odd, rude or hostile: whatever they do, others are answered.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::chain::{wait_for, Chain, Lottery, Timing};
use crate::daemon::{Daemon, Options};

const BET_WEI: u64 = 1_000_000_000_000_000;
const PATIENCE: Duration = Duration::from_secs(20);

fn serving(chain: &Chain) -> (Lottery<'_>, Daemon) {
    let lottery = chain.deploy(Timing::default());
    let daemon = Daemon::start(&lottery, Options::default());
    wait_for("the daemon to be ready", || {
        (daemon.get("/readyz").0 == 200).then_some(())
    });
    (lottery, daemon)
}

fn connect(daemon: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(daemon.url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends bytes on a connection of their own; all that comes back until the server closes it.
fn exchange(daemon: &Daemon, bytes: &[u8]) -> String {
    let mut stream = connect(daemon);
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the connection stays open: {error}"),
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn broken_requests_are_refused_by_name_and_the_connection_ends() {
    let chain = Chain::devchain(1);
    let (_, daemon) = serving(&chain);
    let host = "Host: x\r\n";
    for (request, status, code) in [
        ("nonsense\r\n\r\n".to_owned(), 400, "bad_request"),
        (
            format!("GET /%zz HTTP/1.1\r\n{host}\r\n"),
            400,
            "bad_target",
        ),
        (
            format!("POST /api/round/draw HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n"),
            411,
            "length_required",
        ),
        (
            format!("POST /api/round/draw HTTP/1.1\r\n{host}Content-Length: 99999\r\n\r\n"),
            413,
            "body_too_large",
        ),
        (
            format!("GET / HTTP/1.1\r\n{host}A: {}\r\n\r\n", "x".repeat(9_000)),
            431,
            "head_too_large",
        ),
        (
            format!("GET /ws/lottery HTTP/1.1\r\n{host}\r\n"),
            426,
            "upgrade_required",
        ),
    ] {
        let answer = exchange(&daemon, request.as_bytes());
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}: {answer}"
        );
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("Connection: close"), "{head}");
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["error"]["code"], code, "{request}");
        assert!(!body["error"]["message"].as_str().unwrap().is_empty());
    }
}

#[test]
fn one_connection_carries_many_requests() {
    let chain = Chain::devchain(1);
    let (_, daemon) = serving(&chain);
    let one = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let head = "HEAD /api/status HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = "GET /api/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = exchange(&daemon, format!("{one}{head}{one}{last}").as_bytes());
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 404").count(), 1, "{answer}");
    assert_eq!(
        answer.matches("\"status\":\"ok\"").count(),
        2,
        "a HEAD has no body: {answer}"
    );
}

#[test]
fn clients_that_pipeline_and_never_read_hold_up_nobody() {
    let chain = Chain::devchain(1);
    let (lottery, daemon) = serving(&chain);
    let requests = "GET /api/status HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2_000);
    let deaf: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = connect(&daemon);
            stream.set_nonblocking(true).unwrap();
            // As much as the buffers of both sides hold.
            let _ = stream.write(requests.as_bytes());
            stream
        })
        .collect();
    // One endless head beside them.
    let mut endless = connect(&daemon);
    endless.write_all(b"GET / HTTP/1.1\r\nA: ").unwrap();
    lottery.bet(2, BET_WEI);
    let mut feed = daemon.feed("");
    feed.wait("snapshot", |_| true);
    lottery.bet(3, BET_WEI);
    feed.wait("participants_update", |update| {
        update["totalParticipants"] == 2
    });
    for _ in 0..50 {
        let (status, round) = daemon.get("/api/round/status");
        assert_eq!((status, &round["roundId"]), (200, &Value::from(1)));
    }
    assert!(
        daemon.resident_kib() < 64 * 1024,
        "{} KiB",
        daemon.resident_kib()
    );
    drop(deaf);
}

/// A masked client frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | length as u8),
        length => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
    }
    // A mask of zeros leaves the payload as it is.
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// Sends frames behind a good handshake; the close code, or None when the connection ends without one.
fn close_code(daemon: &Daemon, frames: &[u8]) -> Option<u16> {
    let mut stream = connect(daemon);
    let handshake = "GET /ws/lottery HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(handshake.as_bytes()).unwrap();
    stream.write_all(frames).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.1 101"), "{text}, {frames:?}");
    assert!(
        text.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        "the accept key of RFC 6455: {text}"
    );
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap();
    last_close(&answer[end + 4..])
}

fn last_close(mut bytes: &[u8]) -> Option<u16> {
    while bytes.len() >= 2 {
        let (head, length) = match bytes[1] {
            126 => (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]]))),
            127 => (
                10,
                u64::from_be_bytes(bytes[2..10].try_into().unwrap()) as usize,
            ),
            length => (2, usize::from(length)),
        };
        let payload = bytes.get(head..head + length)?;
        if bytes[0] == 0x88 {
            return Some(
                payload
                    .get(..2)
                    .map_or(1005, |code| u16::from_be_bytes([code[0], code[1]])),
            );
        }
        bytes = &bytes[head + length..];
    }
    None
}

#[test]
fn frames_that_break_the_rules_close_with_their_code() {
    let chain = Chain::devchain(1);
    let (_, daemon) = serving(&chain);
    let text = |payload: &[u8]| frame(0x81, payload);
    let close = |payload: &[u8]| frame(0x88, payload);
    for (what, frames, code) in [
        (
            "a close is answered",
            close(&1000u16.to_be_bytes()),
            Some(1000),
        ),
        ("a close without a code", close(b""), Some(1005)),
        (
            "a message of 1 KiB, then a close",
            [text(&[b'x'; 1_024]), close(&1000u16.to_be_bytes())].concat(),
            Some(1000),
        ),
        (
            "a message of more than 1 KiB",
            text(&[b'x'; 1_025]),
            Some(1009),
        ),
        (
            "a fragmented one of more than 1 KiB",
            [frame(0x01, &[b'x'; 600]), frame(0x80, &[b'x'; 600])].concat(),
            Some(1009),
        ),
        (
            "six messages in a second",
            text(b"hi").repeat(6),
            Some(1008),
        ),
        ("pings count too", frame(0x89, b"").repeat(6), Some(1008)),
        ("not UTF-8", text(b"\xff\xfe"), Some(1007)),
        ("unmasked", b"\x81\x02hi".to_vec(), Some(1002)),
        ("an unknown opcode", frame(0x83, b""), Some(1002)),
        ("reserved bits", frame(0xc1, b"hi"), Some(1002)),
        ("a continuation of nothing", frame(0x80, b"hi"), Some(1002)),
        ("a fragmented ping", frame(0x09, b""), Some(1002)),
        ("a ping of 126 bytes", frame(0x89, &[0; 126]), Some(1002)),
    ] {
        assert_eq!(close_code(&daemon, &frames), code, "{what}");
    }
}

#[test]
fn who_comes_back_is_told_what_was_missed() {
    let chain = Chain::devchain(1);
    let (lottery, daemon) = serving(&chain);
    let mut feed = daemon.feed("");
    let snapshot = feed.next();
    lottery.bet(2, BET_WEI);
    let seen = feed.wait("participants_update", |_| true);
    lottery.bet(3, BET_WEI);
    feed.wait("participants_update", |update| {
        update["totalParticipants"] == 2
    });
    let epoch = snapshot["payload"]["epoch"].as_str().unwrap();
    let mut back = daemon.feed(&format!("?since={epoch}:{}", seen["seq"]));
    let first = back.next();
    assert_eq!(
        first["seq"].as_u64().unwrap(),
        seen["seq"].as_u64().unwrap() + 1
    );
    back.wait("participants_update", |update| {
        update["totalParticipants"] == 2
    });
    let mut lost = daemon.feed("?since=0123456789abcdef:1");
    let resync = lost.next();
    assert_eq!(
        (&resync["type"], &resync["payload"]["resync"]),
        (&"snapshot".into(), &true.into())
    );
}

#[test]
fn random_bytes_change_nothing() {
    let chain = Chain::devchain(1);
    let (_, daemon) = serving(&chain);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..200 {
        let mut stream = connect(&daemon);
        let bytes: Vec<u8> = (0..(round * 7 % 2_000))
            .map(|_| {
                // xorshift64
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        let _ = stream.write_all(&bytes);
    }
    let begun = Instant::now();
    assert_eq!(daemon.get("/healthz").0, 200);
    assert!(begun.elapsed() < PATIENCE);
    let (_, health) = daemon.get("/api/health");
    let restarts = health["components"].as_array().unwrap().iter();
    assert!(restarts.clone().count() > 0);
    for component in restarts {
        assert_eq!(component["restarts"], 0, "{component}");
    }
}
