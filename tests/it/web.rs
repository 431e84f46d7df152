//! The public port against clients that are odd, rude or hostile: whatever they do, others are answered.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use support::chain::{Chain, Lottery, Timing};
use support::daemon::{Daemon, Options};
use support::random::Random;
use support::BET_WEI;

const PATIENCE: Duration = Duration::from_secs(20);

pub fn serving(chain: &Chain) -> (Lottery<'_>, Daemon) {
    let lottery = chain.deploy(Timing::default());
    let daemon = Daemon::start(&lottery, Options::default());
    daemon.wait_ready();
    (lottery, daemon)
}

pub fn connect(daemon: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(daemon.url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends bytes on a connection of their own; all that comes back until the server closes it.
pub fn exchange(daemon: &Daemon, bytes: &[u8]) -> String {
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
        // The begin of a TLS handshake, whose client waits for the answer before it says more.
        ("\u{16}\u{3}\u{1}\u{2}".to_owned(), 400, "bad_request"),
        ("\r\n".repeat(600), 400, "bad_request"),
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
            format!("GET / HTTP/1.1\r\n{host}A: {}\r\n\r\n", "x".repeat(33_000)),
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

/// What the port makes of requests as RFC 9112 has them, and as it does not.
#[test]
fn the_port_keeps_to_http() {
    let chain = Chain::devchain(1);
    let (_, daemon) = serving(&chain);
    let last = "Host: x\r\nConnection: close\r\n";
    for (request, status, part) in [
        (
            format!("GET /healthz HTTP/1.1\r\n{last}\r\n"),
            200,
            "\"status\":\"ok\"",
        ),
        (
            format!("\r\n\r\nGET /healthz HTTP/1.1\r\n{last}\r\n"),
            200,
            "Content-Length:",
        ),
        (
            "GET /healthz HTTP/1.0\r\n\r\n".to_owned(),
            200,
            "Connection: close",
        ),
        (
            format!("GET http://example.org/healthz HTTP/1.1\r\n{last}\r\n"),
            200,
            "\"ok\"",
        ),
        (
            format!("GET /%68ealthz HTTP/1.1\r\n{last}\r\n"),
            200,
            "\"ok\"",
        ),
        (
            format!("HEAD /api/status HTTP/1.1\r\n{last}\r\n"),
            200,
            "ETag:",
        ),
        (
            format!("POST /api/status HTTP/1.1\r\n{last}\r\n"),
            405,
            "Allow: GET, HEAD, OPTIONS",
        ),
        (
            format!("DELETE /api/round/draw HTTP/1.1\r\n{last}\r\n"),
            405,
            "Allow: POST, OPTIONS",
        ),
        (
            format!("POST /api/round/draw HTTP/1.1\r\n{last}\r\n"),
            401,
            "WWW-Authenticate:",
        ),
        (
            format!("OPTIONS /api/status HTTP/1.1\r\n{last}\r\n"),
            204,
            "Allow:",
        ),
        (
            format!("GET /nothing HTTP/1.1\r\n{last}\r\n"),
            404,
            "not_found",
        ),
        (
            format!("GET /api/history?limit=x HTTP/1.1\r\n{last}\r\n"),
            400,
            "limit",
        ),
        (
            format!("GET /api/history?colour=red HTTP/1.1\r\n{last}\r\n"),
            200,
            "rounds",
        ),
        (
            "GET / HTTP/2.0\r\nHost: x\r\n\r\n".to_owned(),
            505,
            "http_version",
        ),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400, "Host"),
        (
            format!("POST / HTTP/1.1\r\n{last}Expect: 100-continue\r\nContent-Length: 1\r\n\r\n"),
            417,
            "expect",
        ),
        (
            format!("POST / HTTP/1.1\r\n{last}Content-Length: 5\r\nContent-Length: 6\r\n\r\n"),
            400,
            "Content-Length",
        ),
        (
            format!("POST / HTTP/1.1\r\n{last}Content-Length: -1\r\n\r\n"),
            400,
            "Content-Length",
        ),
        (
            format!(
                "POST / HTTP/1.1\r\n{last}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
            ),
            4,
            "",
        ),
    ] {
        let answer = exchange(&daemon, request.as_bytes());
        // A status of one digit stands for its class.
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{request}: {answer}"
        );
        assert!(
            answer.to_lowercase().contains(&part.to_lowercase()),
            "{request}: {answer}"
        );
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        assert!(!request.starts_with("HEAD") || body.is_empty(), "{answer}");
    }
}

/// Browsers and crawlers ask for these whatever the page says.
#[test]
fn an_icon_and_a_word_to_crawlers_are_there() {
    let chain = Chain::devchain(1);
    let (_, daemon) = serving(&chain);
    let icon = "\0\0\u{1}\0\u{1}\0  ";
    for (path, content_type, begin) in [
        ("/favicon.ico", "image/x-icon", icon),
        ("/robots.txt", "text/plain; charset=utf-8", "# "),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = exchange(&daemon, request.as_bytes());
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(
            head.contains(&format!("\r\nContent-Type: {content_type}")),
            "{head}"
        );
        assert!(head.contains("\r\nETag: "), "{head}");
        assert!(body.starts_with(begin), "{body}");
    }
}

#[test]
fn a_request_that_never_ends_is_given_up() {
    let chain = Chain::devchain(1);
    let (_, daemon) = serving(&chain);
    let answer = exchange(&daemon, b"GET / HTTP/1.1\r\nHost: x\r\n");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
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

#[test]
fn who_comes_back_is_told_what_was_missed() {
    let chain = Chain::devchain(1);
    let (lottery, daemon) = serving(&chain);
    let mut feed = daemon.feed("");
    let snapshot = feed.read();
    lottery.bet(2, BET_WEI);
    let seen = feed.wait("participants_update", |_| true);
    lottery.bet(3, BET_WEI);
    feed.wait("participants_update", |update| {
        update["totalParticipants"] == 2
    });
    let epoch = snapshot["payload"]["epoch"].as_str().unwrap();
    let mut back = daemon.feed(&format!("?since={epoch}:{}", seen["seq"]));
    let first = back.read();
    assert_eq!(
        first["seq"].as_u64().unwrap(),
        seen["seq"].as_u64().unwrap() + 1
    );
    back.wait("participants_update", |update| {
        update["totalParticipants"] == 2
    });
    let mut lost = daemon.feed("?since=0123456789abcdef:1");
    let resync = lost.read();
    assert_eq!(
        (&resync["type"], &resync["payload"]["resync"]),
        (&"snapshot".into(), &true.into())
    );
}

#[test]
fn random_bytes_change_nothing() {
    let chain = Chain::devchain(1);
    let (_, daemon) = serving(&chain);
    let mut random = Random::new(7);
    for round in 0..200 {
        let mut stream = connect(&daemon);
        let bytes = random.bytes(round * 7 % 2_000);
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
