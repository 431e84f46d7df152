//! Requests as few clients write them and attackers do: what each is answered, and that nothing behind an ambiguous one is
//! ever taken for another request.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::chain::Chain;
use support::daemon::{Daemon, TOKEN};

use crate::web::{connect, exchange, serving};

/// What would be answered with 200 if it were taken for a request.
const HIDDEN: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

/// The statuses of all answers on a connection, in their order.
fn statuses(daemon: &Daemon, bytes: &[u8]) -> Vec<u16> {
    let answer = exchange(daemon, bytes);
    answer
        .match_indices("HTTP/1.1 ")
        .filter_map(|(at, _)| answer.get(at + 9..at + 12)?.parse().ok())
        .collect()
}

/// Each is sent with what would be another request behind it, on a connection of its own.
fn check(cases: &[(&str, String, &[u16])]) {
    let chain = Chain::devchain(1);
    let (_, daemon) = serving(&chain);
    for (what, request, expected) in cases {
        let bytes = request.replace("{host}", "Host: x\r\n") + HIDDEN;
        assert_eq!(statuses(&daemon, bytes.as_bytes()), *expected, "{what}");
    }
}

fn case<'a>(what: &'a str, request: &str, expected: &'a [u16]) -> (&'a str, String, &'a [u16]) {
    (what, request.to_owned(), expected)
}

/// The request asks that the connection ends, so what is behind it is never one.
fn last<'a>(what: &'a str, line: &str, expected: &'a [u16]) -> (&'a str, String, &'a [u16]) {
    let request = format!("{line}\r\n{{host}}Connection: close\r\n\r\n");
    (what, request, expected)
}

#[test]
fn a_body_is_framed_in_one_way_or_not_at_all() {
    let post = "POST /api/round/draw HTTP/1.1\r\n{host}";
    let get = "GET /healthz HTTP/1.1\r\n{host}";
    let with = |start: &str, fields: &str| format!("{start}{fields}\r\n\r\n");
    let mut cases = vec![
        ("chunks in HTTP/1.0", with("GET / HTTP/1.0\r\n", "Connection: keep-alive\r\nTransfer-Encoding: chunked"), &[400][..]),
        ("a chunk", with(get, "Transfer-Encoding: chunked") + "1\r\nx\r\n0\r\n\r\n", &[411]),
        ("a chunk with an extension", with(get, "Transfer-Encoding: chunked") + "0;a=b\r\n\r\n", &[411]),
        ("chunks with a trailer", with(get, "Transfer-Encoding: chunked") + "0\r\nA: b\r\n\r\n", &[411]),
        ("chunks to a manual action", with(post, "Transfer-Encoding: chunked") + "0\r\n\r\n", &[411]),
        ("two codings", with(get, "Transfer-Encoding: gzip, chunked"), &[501]),
        ("two codings on two lines", with(get, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), &[501]),
        ("an unknown coding", with(get, "Transfer-Encoding: xchunked"), &[501]),
        ("a coding of no name", with(get, "Transfer-Encoding: "), &[400]),
        ("a space before the colon", with(get, "Transfer-Encoding : chunked"), &[400]),
        ("chunks and a length", with(get, "Content-Length: 5\r\nTransfer-Encoding: chunked"), &[411]),
        ("two lengths", with(post, "Content-Length: 5\r\nContent-Length: 6"), &[400]),
        ("two lengths on a line", with(post, "Content-Length: 5, 6"), &[400]),
        ("a length with a sign", with(post, "Content-Length: +5"), &[400]),
        ("a length in hex", with(post, "Content-Length: 0x5"), &[400]),
        ("a length of no digits", with(post, "Content-Length:"), &[400]),
        ("a length with a space", with(post, "Content-Length: 5 5"), &[400]),
        ("a length beyond 64 bits", with(post, "Content-Length: 18446744073709551621"), &[400]),
        ("a length to a reader", with(get, "Content-Length: 36"), &[413]),
        ("a length without a token", with(post, "Content-Length: 36"), &[401]),
        ("a length to nowhere", with("PUT /nothing HTTP/1.1\r\n{host}", "Content-Length: 36"), &[404]),
        ("a length to everything", with("OPTIONS * HTTP/1.1\r\n{host}", "Content-Length: 36"), &[204]),
        ("a wait for 100", with(get, "Expect: 100-continue"), &[417]),
        ("a handshake with a body", with("GET /ws HTTP/1.1\r\n{host}", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 36"), &[413]),
    ];
    // The same length said twice is one, and nothing is one as well: what is behind them is a request.
    let end = "GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    cases.push((
        "an empty body in chunks",
        with(get, "Transfer-Encoding: chunked") + "0\r\n\r\n" + end,
        &[200, 404],
    ));
    cases.push((
        "a length of 0, twice",
        with(get, "Content-Length: 0, 0\r\nContent-Length: 0") + end,
        &[200, 404],
    ));
    check(&cases);
}

#[test]
fn a_head_is_read_as_everybody_reads_it() {
    let get = "GET /healthz HTTP/1.1\r\n{host}";
    let fields = |count: usize| {
        format!(
            "{get}Connection: close\r\n{}\r\n",
            "A: b\r\n".repeat(count - 2)
        )
    };
    check(&[
        case("a folded line", &format!("{get}A: b\r\n c\r\n\r\n"), &[400]),
        case("a first field that is folded", "GET /healthz HTTP/1.1\r\n Host: x\r\n\r\n", &[400]),
        case("a bare CR", &format!("{get}A: b\rContent-Length: 9\r\n\r\n"), &[400]),
        case("a zero byte in a value", &format!("{get}A: b\0c\r\n\r\n"), &[400]),
        case("a zero byte in a name", &format!("{get}A\0: b\r\n\r\n"), &[400]),
        case("a field of no name", &format!("{get}: b\r\n\r\n"), &[400]),
        case("a field of no colon", &format!("{get}Abc\r\n\r\n"), &[400]),
        case("bare LF", "GET /healthz HTTP/1.1\nHost: x\nConnection: close\n\n", &[200]),
        case("no version", "GET /healthz\r\n\r\n", &[400]),
        case("HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[505]),
        case("a version of three digits", &format!("GET / HTTP/1.10\r\n{}\r\n", "{host}"), &[400]),
        case("TLS", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\r\n\r\n", &[400]),
        case("two Hosts", "GET /healthz HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", &[400]),
        case("two Hosts in HTTP/1.0", "GET /healthz HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", &[400]),
        case("a Host with a path", "GET /healthz HTTP/1.1\r\nHost: x/y\r\n\r\n", &[400]),
        case("a Host with an account", "GET /healthz HTTP/1.1\r\nHost: a@x\r\n\r\n", &[400]),
        case("a Host of IPv6", "GET /healthz HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close\r\n\r\n", &[200]),
        case("no Host in HTTP/1.0", "GET /healthz HTTP/1.0\r\n\r\n", &[200]),
        case("to close and to keep", &format!("{get}Connection: keep-alive, close\r\n\r\n"), &[200]),
        case("100 fields", &fields(100), &[200]),
        case("101 fields", &fields(101), &[431]),
        case("a name as long as a head", &format!("{get}{}: b\r\n\r\n", "a".repeat(40_000)), &[431]),
        case("a method as long as a target", &format!("{} / HTTP/1.1\r\n{}\r\n", "A".repeat(9_000), "{host}"), &[414]),
        case("an upgrade to HTTP/2", &format!("{get}Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"), &[200]),
        case("a WebSocket of the API", &format!("{get}Connection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n"), &[200]),
    ]);
}

#[test]
fn a_target_means_one_thing() {
    let parameters = |count: usize| format!("GET /api/history?{} HTTP/1.1", "a&".repeat(count));
    check(&[
        last(
            "an absolute target",
            "GET http://other.example/healthz?x HTTP/1.1",
            &[200],
        ),
        last(
            "an absolute target without a path",
            "GET https://x HTTP/1.1",
            &[200],
        ),
        last(
            "an absolute target without a host",
            "GET http:///healthz HTTP/1.1",
            &[400],
        ),
        last("another scheme", "GET ftp://x/healthz HTTP/1.1", &[400]),
        last("a tunnel", "CONNECT x:443 HTTP/1.1", &[400]),
        last("a star that is read", "GET * HTTP/1.1", &[400]),
        last("a relative target", "GET healthz HTTP/1.1", &[400]),
        last("TRACE", "TRACE / HTTP/1.1", &[405]),
        last("a method in lower case", "get / HTTP/1.1", &[405]),
        last("dots", "GET /api/../healthz HTTP/1.1", &[404]),
        last("escaped dots", "GET /api/%2e%2e/healthz HTTP/1.1", &[404]),
        last("two slashes", "GET //healthz HTTP/1.1", &[404]),
        last("a backslash", "GET /api\\status HTTP/1.1", &[404]),
        last("an escaped zero", "GET /healthz%00 HTTP/1.1", &[400]),
        last(
            "an escaped line break",
            "GET /healthz%0d%0aA:b HTTP/1.1",
            &[404],
        ),
        last("escapes twice", "GET /%2568ealthz HTTP/1.1", &[404]),
        last("another case", "GET /HEALTHZ HTTP/1.1", &[404]),
        last("a slash at the end", "GET /healthz/ HTTP/1.1", &[404]),
        last("round 0", "GET /round/0 HTTP/1.1", &[404]),
        last(
            "a round beyond 64 bits",
            "GET /api/history/18446744073709551616 HTTP/1.1",
            &[400],
        ),
        last(
            "a parameter given twice",
            "GET /api/history?limit=1&limit=1 HTTP/1.1",
            &[400],
        ),
        last(
            "a parameter given twice, once escaped",
            "GET /api/history?limit=1&li%6Dit=2 HTTP/1.1",
            &[400],
        ),
        last("4,000 parameters", &parameters(4_000), &[200]),
        last("10,000 parameters", &parameters(10_000), &[414]),
    ]);
}

/// What asks for less, or for it on a condition, is answered with all of it, or with "not modified".
#[test]
fn conditions_and_ranges() {
    let chain = Chain::devchain(1);
    let (_, daemon) = serving(&chain);
    let ask = |method: &str, fields: &str| {
        let request = format!(
            "{method} /api/openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n"
        );
        exchange(&daemon, request.as_bytes())
    };
    let head = ask("HEAD", "");
    let field = |name: &str| {
        let (_, rest) = head.split_once(&format!("\r\n{name}: ")).unwrap();
        rest.split("\r\n").next().unwrap().to_owned()
    };
    let (tag, length) = (
        field("ETag"),
        field("Content-Length").parse::<usize>().unwrap(),
    );
    let many = format!("If-None-Match: {}{tag}\r\n", "\"x\", ".repeat(3_000));
    for (fields, status) in [
        ("Range: bytes=0-1\r\n".to_owned(), 200),
        ("Range: bytes=99999999-\r\n".to_owned(), 200),
        (format!("Range: bytes=0-1{}\r\n", ",0-1".repeat(1_000)), 200),
        (format!("Range: bytes=0-1\r\nIf-Range: {tag}\r\n"), 200),
        (
            "If-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT\r\n".to_owned(),
            200,
        ),
        ("If-None-Match: \"x\"\r\n".to_owned(), 200),
        ("If-None-Match: *\r\n".to_owned(), 304),
        (format!("If-None-Match: W/{tag}\r\n"), 304),
        (many, 304),
    ] {
        let answer = ask("GET", &fields);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{fields:.60}: {answer:.300}"
        );
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(
            body.len(),
            if status == 200 { length } else { 0 },
            "{fields:.60}"
        );
    }
}

/// HEAD says what GET would: the same fields, and nothing behind them.
#[test]
fn a_head_is_that_of_the_answer() {
    let chain = Chain::devchain(1);
    let (_, daemon) = serving(&chain);
    let (_, document) = daemon.get("/api/openapi.json");
    let described = document["paths"].as_object().unwrap();
    // The feed's is a handshake, which has no head.
    let mut paths: Vec<String> = described
        .keys()
        .filter(|path| *path != "/ws/lottery")
        .map(|path| path.replace("{roundId}", "1").replace("{actionId}", "x"))
        .collect();
    paths.extend(
        [
            "/",
            "/round/1",
            "/app.js",
            "/style.css",
            "/bet.svg?amountWei=1",
            "/nothing",
            "/%zz",
            "/favicon.ico",
            "/robots.txt",
        ]
        .map(str::to_owned),
    );
    for path in paths {
        for accept in ["identity", "gzip"] {
            let ask = |method: &str| {
                let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept-Encoding: {accept}\r\n\r\n");
                let answer = exchange(&daemon, request.as_bytes());
                let (head, body) = answer.split_once("\r\n\r\n").unwrap();
                // What moves from second to second has another date, tag and length.
                let moves = ["Date: ", "ETag: ", "Content-Length: "];
                let is_fixed = |line: &&str| !moves.iter().any(|name| line.starts_with(name));
                let fixed: Vec<&str> = head.lines().filter(is_fixed).collect();
                let has = moves.map(|name| head.contains(name));
                (fixed.join("\n"), has, body.len())
            };
            let (get, head) = (ask("GET"), ask("HEAD"));
            assert_eq!((&head.0, head.1, head.2), (&get.0, get.1, 0), "{path}");
        }
    }
}

/// A manual action takes its own small body, and says what is wrong with any other.
#[test]
fn odd_bodies_of_manual_actions() {
    let chain = Chain::devchain(1);
    let (_, daemon) = serving(&chain);
    let packed = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\xed\xc1\x01\x0d\x00\x00";
    let deep = "[".repeat(1_000);
    for (fields, body) in [
        ("Content-Encoding: gzip\r\n", &packed[..]),
        ("", deep.as_bytes()),
        ("", b"\xff\xfe{\0\"\0"),
        ("", b"\xef\xbb\xbf{\"roundId\": 1}"),
        ("", b"{\"roundId\": 1, \"roundId\": 2}"),
        ("", b"{\"roundId\": 1} {\"roundId\": 1}"),
        ("", b"{\"roundId\": 1e400}"),
        ("", b"{\"roundId\": NaN}"),
        (
            "Content-Type: application/x-www-form-urlencoded\r\n",
            b"roundId=1",
        ),
    ] {
        let head = format!(
            "POST /api/round/draw HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n{fields}\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        let answer = exchange(&daemon, &[head.as_bytes(), body].concat());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{body:?}: {answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["error"]["code"], "bad_body", "{answer}");
    }
}

/// Connections that are cut off while their answers are held back cost nothing meanwhile.
#[test]
fn who_is_gone_keeps_nobody_busy() {
    let chain = Chain::devchain(1);
    let (_, daemon) = serving(&chain);
    let guess = b"POST /api/round/draw HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong\r\n\r\n";
    let begun = Instant::now();
    let busy_before = daemon.cpu_ticks();
    while begun.elapsed() < Duration::from_secs(3) {
        let mut stream = connect(&daemon);
        stream.write_all(guess).unwrap();
        std::thread::park_timeout(Duration::from_millis(20));
        // With nothing to linger for, a close cuts the connection off.
        let at_once = Some(Duration::ZERO);
        socket2::SockRef::from(&stream).set_linger(at_once).unwrap();
    }
    // A hundred ticks are a second.
    let busy = daemon.cpu_ticks() - busy_before;
    assert!(busy < 100, "{busy} ticks in three seconds");
    assert_eq!(daemon.get("/healthz").0, 200);
}
