//! What the public port owes the network, on the real binary: no answer is lost, no client locks out another, and what
//! HTTP has in small print is kept.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{json, Value};
use support::chain::{wait_for, Chain, Timing};
use support::daemon::{Daemon, Options, TOKEN};

use crate::web::{connect, exchange, serving};

fn with_config(chain: &Chain, config: Value) -> Daemon {
    let lottery = chain.deploy(Timing::default());
    let options = Options {
        config,
        ..Options::default()
    };
    Daemon::quiet(&lottery, options)
}

/// Reads to the end; an error when the connection was reset rather than closed.
fn rest(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn assert_envelope(answer: &str, status: u16, code: &str) {
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status} ")),
        "{answer}"
    );
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"));
    assert_eq!(body["error"]["code"], code, "{answer}");
    for field in [
        "Content-Type: application/json",
        "X-Content-Type-Options: nosniff",
        "Referrer-Policy: no-referrer",
        "Cache-Control: no-store",
    ] {
        assert!(head.contains(field), "{field} in {head}");
    }
}

/// A client that goes on sending its body while it is refused still hears why.
#[test]
fn an_answer_is_not_lost_to_bytes_that_nobody_reads() {
    let chain = Chain::devchain(1);
    let (_, daemon) = serving(&chain);
    for (head, status, code) in [
        (
            "POST /api/round/draw HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n",
            413,
            "body_too_large",
        ),
        (
            "POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
            405,
            "method_not_allowed",
        ),
        (
            "POST /api/round/draw HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            411,
            "length_required",
        ),
    ] {
        let mut stream = connect(&daemon);
        stream.write_all(head.as_bytes()).unwrap();
        for _ in 0..50 {
            // Where the connection was reset, the first write hears of it, and what is read after it looks like a close.
            let written = stream.write_all(&[b'x'; 1_000]);
            written.expect("what still comes is taken");
            std::thread::yield_now();
        }
        let answer = rest(&mut stream).expect("a close, not a reset");
        assert_envelope(&answer, status, code);
    }
}

/// What was asked before the broken request is answered, in order; what stands behind it is not.
#[test]
fn every_answer_that_was_begun_is_sent() {
    let chain = Chain::devchain(1);
    let (_, daemon) = serving(&chain);
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let bytes = [
        ask("/api/contract/address"),
        ask("/nothing"),
        ask("/healthz"),
        "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        ask("/api/contract/address"),
        "x".repeat(20_000),
    ];
    let mut stream = connect(&daemon);
    stream.write_all(bytes.concat().as_bytes()).unwrap();
    let answer = rest(&mut stream).expect("a close, not a reset");
    let statuses: Vec<&str> = answer
        .match_indices("HTTP/1.1 ")
        .map(|(at, _)| &answer[at + 9..at + 12])
        .collect();
    assert_eq!(statuses, ["200", "404", "200", "400"], "{answer}");
    // Whoever says that it sends no more is answered as well.
    let mut stream = connect(&daemon);
    stream
        .write_all((ask("/healthz") + &ask("/nothing")).as_bytes())
        .unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let answer = rest(&mut stream).unwrap();
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 2, "{answer}");
}

/// A body is taken only where one belongs, from whoever has the token.
#[test]
fn bodies_are_judged_by_their_heads() {
    let chain = Chain::devchain(1);
    let (_, daemon) = serving(&chain);
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    // None of these sends its body, and none is waited for.
    for (request, status) in [
        ("POST /nothing HTTP/1.1\r\n", 404),
        ("PUT /api/status HTTP/1.1\r\n", 405),
        ("GET /api/status HTTP/1.1\r\n", 413),
        ("GET / HTTP/1.1\r\n", 413),
        ("POST /api/round/draw HTTP/1.1\r\n", 401),
        ("POST /ws HTTP/1.1\r\n", 405),
    ] {
        let begun = Instant::now();
        let bytes = format!("{request}Host: x\r\nContent-Length: 1024\r\n\r\n");
        let answer = exchange(&daemon, bytes.as_bytes());
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}: {answer}"
        );
        assert!(answer.contains("\r\nConnection: close"), "{answer}");
        assert!(begun.elapsed() < Duration::from_secs(8), "{request}");
    }
    for (length, status) in [(1_024, 400), (1_025, 413)] {
        let body = "x".repeat(length);
        let answer = exchange(
            &daemon,
            format!(
                "POST /api/round/draw HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{bearer}\
                 Content-Length: {length}\r\n\r\n{body}"
            )
            .as_bytes(),
        );
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{length}: {answer}"
        );
    }
}

/// A guess costs the guesser a second, and nobody else anything.
#[test]
fn wrong_tokens_are_answered_late_and_logged() {
    let chain = Chain::devchain(1);
    let (_, daemon) = serving(&chain);
    let begun = Instant::now();
    let mut guess = connect(&daemon);
    guess
        .write_all(
            b"POST /api/round/draw HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong\r\nConnection: close\r\n\r\n",
        )
        .unwrap();
    assert_eq!(daemon.get("/api/round/status").0, 200);
    assert!(begun.elapsed() < Duration::from_millis(900), "others wait");
    let answer = rest(&mut guess).unwrap();
    assert_envelope(&answer, 401, "unauthorized");
    assert!(begun.elapsed() >= Duration::from_secs(1));
    daemon.wait_log("wrong tokens for /api/round/draw");
}

/// The same bytes are two requests each time, however the answer of the first was kept.
#[test]
fn a_ready_answer_is_of_its_own_request_and_of_its_own_time() {
    let chain = Chain::devchain(1);
    let (_, daemon) = serving(&chain);
    let pair = b"GET /api/contract/address HTTP/1.1\nHost: x\n\n\
                 GET /contracts/abi/Lottery.abi HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for _ in 0..3 {
        let answer = exchange(&daemon, pair);
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
        assert!(
            answer.contains("\"chainId\":") && answer.contains("drawWinner"),
            "{answer}"
        );
    }
    // What one request is known by is no other's, however much they are alike.
    let alike = [
        ("GET", "/api/contract/address", "", "\"chainId\":"),
        ("GET", "/api/contract/addres", "", "\"not_found\""),
        ("HEAD", "/api/contract/address", "", "Content-Length"),
        ("GET", "/contracts/abi/Lottery.abi", "", "drawWinner"),
        (
            "GET",
            "/api/contract/address",
            "Accept-Encoding: gzip\r\n",
            "\"chainId\":",
        ),
        (
            "GET",
            "/api/contract/address",
            "If-None-Match: *\r\n",
            "304 Not Modified",
        ),
    ];
    let begun = SystemTime::now();
    while begun.elapsed().unwrap() < Duration::from_millis(1_500) {
        for (method, target, fields, holds) in alike {
            let head = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{fields}");
            let answer = exchange(
                &daemon,
                format!("{head}Connection: close\r\n\r\n").as_bytes(),
            );
            assert!(answer.contains(holds), "{head}: {answer}");
            let has_body = method == "GET" && !fields.starts_with("If");
            let body = answer.split_once("\r\n\r\n").unwrap().1;
            assert_eq!(!body.is_empty(), has_body, "{head}: {answer}");
        }
    }
    // Asked for again and again over some seconds, with fields that say nothing, the date is always that of now.
    let begun = SystemTime::now();
    let mut dates = Vec::new();
    while begun.elapsed().unwrap() < Duration::from_millis(2_500) {
        let number = dates.len();
        let request = format!(
            "GET /api/openapi.json HTTP/1.1\r\nHost: x\r\nCookie: a={number}\r\nConnection: close\r\n\r\n"
        );
        let before = SystemTime::now();
        let answer = exchange(&daemon, request.as_bytes());
        let date = answer.split("\r\nDate: ").nth(1).unwrap();
        let date = httpdate::parse_http_date(date.split("\r\n").next().unwrap()).unwrap();
        let early = before.duration_since(date).unwrap_or_default();
        assert!(early < Duration::from_secs(2), "{early:?}");
        dates.push(date);
    }
    dates.dedup();
    assert!(dates.len() >= 3, "{dates:?}");
}

/// Whoever fills all connections with half a head, or with nothing, goes before a newcomer that asks.
#[test]
fn a_newcomer_is_served_where_others_only_hold_on() {
    let chain = Chain::devchain(1);
    let daemon = with_config(&chain, json!({"server": {"max_connections": 16}}));
    for part in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: x\r\nCookie: abc"] {
        let holders: Vec<TcpStream> = (0..16)
            .map(|_| {
                let mut stream = connect(&daemon);
                stream.write_all(part.as_bytes()).unwrap();
                stream
            })
            .collect();
        std::thread::park_timeout(Duration::from_millis(150));
        for _ in 0..3 {
            let mut newcomer = connect(&daemon);
            std::thread::park_timeout(Duration::from_millis(60));
            let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            newcomer.write_all(request).unwrap();
            let answer = rest(&mut newcomer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{part:?}: {answer}");
        }
        drop(holders);
    }
}

/// Nobody is sent away whose request is only on its way, and who has sent more goes after who has sent less, however long
/// either has been there.
#[test]
fn who_is_about_to_ask_stays_and_who_says_nothing_goes_first() {
    let chain = Chain::devchain(1);
    let daemon = with_config(&chain, json!({"server": {"max_connections": 16}}));
    let ends = "Connection: close\r\n\r\n";
    let head = "GET /healthz HTTP/1.1\r\nHost: x\r\n";
    let ask = |stream: &mut TcpStream, bytes: &str| stream.write_all(bytes.as_bytes());
    let is_answered = |stream: &mut TcpStream| {
        let answer = rest(stream).unwrap_or_default();
        answer.starts_with("HTTP/1.1 200 ")
    };
    // All come at once, one more than there is room for. Where this machine stops in between, they were not at once.
    wait_for("seventeen that come at once", || {
        let begun = Instant::now();
        let mut all: Vec<TcpStream> = (0..17).map(|_| connect(&daemon)).collect();
        for stream in &mut all[..16] {
            let _ = ask(stream, &format!("{head}{ends}"));
        }
        let at_once = begun.elapsed() < Duration::from_millis(60);
        let answered = all[..16].iter_mut().map(is_answered);
        let answered = answered.filter(|is_answered| *is_answered).count();
        assert!(!at_once || answered == 16, "{answered} of 16 were answered");
        at_once.then_some(())
    });
    let mut talker = connect(&daemon);
    ask(
        &mut talker,
        &format!("{head}Cookie: {}\r\n", "x".repeat(900)),
    )
    .unwrap();
    let silent: Vec<TcpStream> = (0..15).map(|_| connect(&daemon)).collect();
    std::thread::park_timeout(Duration::from_millis(150));
    let mut newcomer = connect(&daemon);
    ask(&mut newcomer, &format!("{head}{ends}")).unwrap();
    assert!(is_answered(&mut newcomer));
    ask(&mut talker, ends).unwrap();
    assert!(is_answered(&mut talker), "it had sent the most");
    drop(silent);
}

pub(crate) fn handshake(daemon: &Daemon, forwarded: Option<&str>) -> (TcpStream, String) {
    let forwarded = forwarded.map_or(String::new(), |value| {
        format!("X-Forwarded-For: {value}\r\n")
    });
    let mut stream = connect(daemon);
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{forwarded}\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    let status = String::from_utf8_lossy(&head[9..]).into_owned();
    (stream, status)
}

/// An address that holds all it may is told so, a client of IPv6 being its /64; others come in.
#[test]
fn one_client_cannot_take_all_connections() {
    let chain = Chain::devchain(1);
    let config =
        json!({"server": {"max_connections_per_ip": 3, "trusted_proxies": ["127.0.0.0/8"]}});
    let daemon = with_config(&chain, config);
    for (forwarded, others) in [
        (
            &[
                "2001:db8:1:1::1",
                "[2001:db8:1:1::2]:443",
                "2001:db8:1:1:ffff::3",
                "[2001:db8:1:1::4]",
            ][..],
            "2001:db8:1:2::1",
        ),
        (
            &[
                "192.0.2.1",
                "192.0.2.1:80",
                "7.7.7.7, 192.0.2.1",
                "192.0.2.1, 127.0.0.1",
            ],
            "192.0.2.2",
        ),
        // What cannot be read counts for the proxy itself.
        (
            &["unknown", "192.0.2.9, _hidden", "300.0.0.1", "[::"],
            "192.0.2.3",
        ),
    ] {
        let mut held = Vec::new();
        for (index, value) in forwarded.iter().enumerate() {
            let (mut stream, status) = handshake(&daemon, Some(value));
            if index < 3 {
                assert_eq!(status, "101", "{value}");
                held.push(stream);
                continue;
            }
            assert_eq!(status, "503", "{value}");
            let answer = format!("HTTP/1.1 503{}", rest(&mut stream).unwrap());
            assert_envelope(&answer, 503, "busy");
            assert!(answer.contains("\r\nRetry-After: 30"), "{answer}");
        }
        assert_eq!(handshake(&daemon, Some(others)).1, "101");
    }
    // Without a proxy in between it is the connection itself that is refused, and told why.
    let direct = json!({"server": {"max_connections_per_ip": 3, "trusted_proxies": []}});
    let daemon = with_config(&chain, direct);
    let held: Vec<TcpStream> = (0..3)
        .map(|_| {
            wait_for("a connection to be free", || {
                let (stream, status) = handshake(&daemon, None);
                (status == "101").then_some(stream)
            })
        })
        .collect();
    let mut refused = connect(&daemon);
    let _ = refused.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let answer = rest(&mut refused).expect("a close, not a reset");
    assert_envelope(&answer, 503, "busy");
    assert!(answer.contains("\r\nRetry-After: 15"), "{answer}");
    drop(held);
    wait_for("the way to be free", || {
        let mut stream = connect(&daemon);
        let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).unwrap();
        rest(&mut stream)
            .ok()?
            .starts_with("HTTP/1.1 200")
            .then_some(())
    });
}

/// Cookies of other services under the same name are long, and not always ASCII.
#[test]
fn long_and_odd_fields_are_none_of_our_business() {
    let chain = Chain::devchain(1);
    let (_, daemon) = serving(&chain);
    let mut request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: ".to_vec();
    request.extend(vec![b'c'; 30_000]);
    request.extend(b"\xff\xfe\xe9\r\nX-Name: J\xfcrgen\r\nIf-None-Match: \xff\r\nAccept-Encoding: \xff\r\n\r\n");
    let answer = exchange(&daemon, &request);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    for (field, status) in [
        ("Host: \u{e9}", 400),
        ("Host: x\r\nContent-Length: \u{e9}", 400),
    ] {
        let answer = exchange(
            &daemon,
            format!("GET / HTTP/1.1\r\n{field}\r\n\r\n").as_bytes(),
        );
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{field}: {answer}"
        );
    }
}

/// Refusals by the port itself count, and the private port answers whatever comes with a body.
#[test]
fn the_private_port_stays_open_and_counts_what_the_port_refuses() {
    let chain = Chain::devchain(1);
    let daemon = with_config(&chain, json!({"server": {"metrics_listen": "127.0.0.1:0"}}));
    let private = daemon.private_address();
    let ask = |bytes: &str| {
        let mut stream = TcpStream::connect(&private).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        rest(&mut stream).unwrap()
    };
    for _ in 0..70 {
        let refused = ask("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n");
        assert_envelope(&refused, 413, "body_too_large");
    }
    // Connections that only hold on to it do not shut it either.
    let held: Vec<TcpStream> = (0..64)
        .map(|_| TcpStream::connect(&private).unwrap())
        .collect();
    std::thread::park_timeout(Duration::from_millis(200));
    for (target, status) in [
        ("/healthz", 200),
        ("/api/status", 200),
        ("/api/round/draw", 403),
        ("/ws", 404),
    ] {
        let answer = ask(&format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        ));
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{target}: {answer}"
        );
        assert!(!answer.contains("Access-Control"), "{answer}");
    }
    drop(held);
    exchange(&daemon, b"\x01\r\n\r\n");
    let metrics = ask("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let counted = |status: u16| {
        let line = format!("lottery_http_requests_total{{status=\"{status}\"}} ");
        let count = metrics
            .split(&line)
            .nth(1)
            .map(|rest| rest.lines().next().unwrap());
        count
            .and_then(|count| count.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    assert!(counted(413) >= 70.0 && counted(400) >= 1.0, "{metrics}");
    assert_eq!(daemon.get("/healthz").0, 200);
    let gone = connect(&daemon)
        .read(&mut [0; 1])
        .err()
        .map(|error| error.kind());
    assert!(matches!(
        gone,
        None | Some(ErrorKind::WouldBlock | ErrorKind::TimedOut)
    ));
}
