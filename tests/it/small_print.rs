//! The small print of HTTP and of the feed's handshake, on the real binary: what is framed in two ways is refused, every
//! path takes all that may be asked of it, and whoever never comes to an end is brought to one.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use support::chain::Chain;
use support::daemon::Daemon;
use support::frames::{close_code, frame, handshake};

use crate::web::{connect, exchange, serving};

/// Requests, and what their answers must and must not have in the head.
#[test]
fn the_small_print_of_http() {
    let chain = Chain::devchain(1);
    let (_, daemon) = serving(&chain);
    let last = "Host: x\r\nConnection: close\r\n\r\n";
    let etag = {
        let answer = exchange(
            &daemon,
            format!("GET /api/openapi.json HTTP/1.1\r\n{last}").as_bytes(),
        );
        let tag = answer.split("\r\nETag: ").nth(1).unwrap();
        tag.split("\r\n").next().unwrap().to_owned()
    };
    let tags = format!(
        "GET /api/openapi.json HTTP/1.1\r\nIf-None-Match: \"x\"\r\nIf-None-Match: {etag}\r\n{last}"
    );
    let packed = format!(
        "GET /api/openapi.json HTTP/1.1\r\nAccept-Encoding: br\r\nAccept-Encoding: gzip\r\n{last}"
    );
    let no_chunks =
        format!("GET /healthz HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{last}0\r\n\r\n");
    let long = format!("GET /{} HTTP/1.1\r\n{last}", "x".repeat(9_000));
    let chunk = format!("HEAD /healthz HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{last}1\r\nx");
    let table: [(String, u16, &[&str], &[&str]); 18] = [
        (chunk, 411, &["Content-Length: "], &["{"]),
        (
            format!("GET /ws HTTP/1.1\r\n{last}"),
            426,
            &["Upgrade: websocket", "Connection: close, Upgrade"],
            &[],
        ),
        (
            format!("PUT /ws HTTP/1.1\r\n{last}"),
            405,
            &["Allow: GET, OPTIONS"],
            &[],
        ),
        (
            format!("HEAD /ws/lottery HTTP/1.1\r\n{last}"),
            405,
            &["Allow: GET, OPTIONS"],
            &["{"],
        ),
        (
            format!("OPTIONS /ws HTTP/1.1\r\n{last}"),
            204,
            &["Allow: GET, OPTIONS"],
            &["Content-Length"],
        ),
        (
            format!("OPTIONS * HTTP/1.1\r\n{last}"),
            204,
            &["Allow: GET, HEAD, POST, OPTIONS"],
            &["Content-Length"],
        ),
        (
            format!("OPTIONS / HTTP/1.1\r\n{last}"),
            204,
            &["Allow: "],
            &["Content-Length"],
        ),
        (
            "HEAD / HTTP/1.1\r\n\r\n".to_owned(),
            400,
            &["Content-Length: "],
            &["{"],
        ),
        (format!("HEAD /%zz HTTP/1.1\r\n{last}"), 400, &[], &["{"]),
        (
            format!("HEAD /api/status HTTP/1.1\r\n{last}"),
            200,
            &["Content-Length: "],
            &["{"],
        ),
        (tags, 304, &["ETag: "], &["Content-Length"]),
        (
            packed,
            200,
            &["Content-Encoding: gzip", "Vary: Accept-Encoding"],
            &[],
        ),
        (
            "GET /healthz HTTP/1.0\r\nExpect: 100-continue\r\nUpgrade: websocket\r\n\r\n"
                .to_owned(),
            200,
            &["Connection: close"],
            &[],
        ),
        (long, 414, &[], &[]),
        (
            format!("GET HTTP://x/healthz HTTP/1.1\r\n{last}"),
            200,
            &[],
            &[],
        ),
        (no_chunks, 200, &[], &[]),
        (
            format!("GET /%61pi/%73tatus HTTP/1.1\r\n{last}"),
            200,
            &[],
            &[],
        ),
        (
            format!("GET /api%2fstatus HTTP/1.1\r\n{last}"),
            404,
            &[],
            &[],
        ),
    ];
    for (request, status, has, lacks) in table {
        let answer = exchange(&daemon, request.as_bytes());
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request:.80}: {answer:.300}"
        );
        for part in has {
            assert!(answer.contains(part), "{part} in {answer:.600}");
        }
        for part in lacks {
            assert!(!answer.contains(part), "{part} not in {answer:.600}");
        }
    }
    // A client of HTTP/1.0 is told that the connection goes on, and it does.
    let mut stream = connect(&daemon);
    for _ in 0..2 {
        stream
            .write_all(b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            .unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\"ok\"}") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            answer.contains("\r\nConnection: keep-alive\r\n"),
            "{answer}"
        );
    }
}

/// An answer by its status, the fields of its head in lower case, and its body.
struct Answered {
    status: u16,
    fields: Vec<(String, String)>,
    body: String,
}

impl Answered {
    fn field(&self, name: &str) -> Option<&str> {
        let (_, value) = self.fields.iter().find(|(known, _)| known == name)?;
        Some(value)
    }

    /// All that are there, whatever they say.
    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.fields.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        names
    }
}

fn ask(daemon: &Daemon, method: &str, target: &str, fields: &str) -> Answered {
    let request =
        format!("{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n");
    let answer = exchange(daemon, request.as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").expect(&answer);
    let (line, fields) = head.split_once("\r\n").unwrap();
    let fields = fields.split("\r\n").map(|line| {
        let (name, value) = line.split_once(": ").expect(line);
        (name.to_lowercase(), value.to_owned())
    });
    Answered {
        status: line[9..12].parse().unwrap(),
        fields: fields.collect(),
        body: body.to_owned(),
    }
}

/// Everything that can be read, by the description and by the page.
fn readable(daemon: &Daemon) -> Vec<String> {
    let (_, document) = daemon.get("/api/openapi.json");
    let described = document["paths"].as_object().unwrap().iter();
    let described = described.filter(|(path, operations)| {
        operations.get("get").is_some() && *path != "/metrics" && *path != "/ws/lottery"
    });
    let beside = [
        "/index.html",
        "/style.css",
        "/app.js",
        "/favicon.ico",
        "/robots.txt",
    ];
    described
        .map(|(path, _)| match path.as_str() {
            "/api/round/player" => format!("{path}?player=0x{:040}", 1),
            "/bet.svg" => format!("{path}?amountWei=1"),
            path => path.replace("{roundId}", "1").replace("{id}", "none"),
        })
        .chain(beside.map(str::to_owned))
        .collect()
}

#[test]
fn every_path_takes_all_that_may_be_asked_of_it() {
    let chain = Chain::devchain(1);
    let (_lottery, daemon) = serving(&chain);
    let paths = readable(&daemon);
    assert!(paths.len() > 20, "{paths:?}");
    for path in &paths {
        let got = ask(&daemon, "GET", path, "");
        let head = ask(&daemon, "HEAD", path, "");
        assert_eq!((head.status, &*head.body), (got.status, ""), "{path}");
        assert_eq!(head.names(), got.names(), "{path}");
        let length = got.field("content-length").unwrap();
        let is_text = !got.body.contains('\u{fffd}');
        assert!(!is_text || length == got.body.len().to_string(), "{path}");
        let options = ask(&daemon, "OPTIONS", path, "");
        assert_eq!((options.status, &*options.body), (204, ""), "{path}");
        assert_eq!(options.field("allow"), Some("GET, HEAD, OPTIONS"), "{path}");
        let put = ask(&daemon, "PUT", path, "");
        assert_eq!(
            (put.status, put.field("allow")),
            (405, options.field("allow"))
        );
        if got.status == 200 {
            reads(&daemon, path, &got);
        }
    }
}

/// Conditions, parts and codings.
fn reads(daemon: &Daemon, path: &str, got: &Answered) {
    let tag = got.field("etag").expect(path);
    // What is made anew each second has another tag by then.
    let is_same = || ask(daemon, "HEAD", path, "").field("etag") == Some(tag);
    for method in ["GET", "HEAD"] {
        for known in [
            "*",
            &format!("\"x\", W/{tag}"),
            &format!("\"x\"\r\nIf-None-Match: {tag}"),
        ] {
            let answer = ask(daemon, method, path, &format!("If-None-Match: {known}\r\n"));
            if answer.status == 200 && !is_same() {
                continue;
            }
            assert_eq!((answer.status, &*answer.body), (304, ""), "{path}: {known}");
            assert_eq!(answer.field("content-length"), None, "{path}");
            assert!(answer.field("etag").is_some() && answer.field("cache-control").is_some());
        }
    }
    let unknown = format!("If-None-Match: \"x\", {}\r\n", tag.trim_matches('"'));
    assert_eq!(ask(daemon, "GET", path, &unknown).status, 200, "{path}");
    for (demanded, status) in [("*", 200), ("\"x\"", 412), (&*format!("W/{tag}"), 412)] {
        let answer = ask(daemon, "GET", path, &format!("If-Match: {demanded}\r\n"));
        assert_eq!(answer.status, status, "{path}: {demanded}");
    }
    let part = ask(
        daemon,
        "GET",
        path,
        "Range: bytes=0-0, -1\r\nIf-Range: \"x\"\r\n",
    );
    assert_eq!(
        (part.status, part.field("content-range")),
        (200, None),
        "{path}"
    );
    let plain = ask(
        daemon,
        "GET",
        path,
        "Accept-Encoding: gzip;q=0, *;q=0.0\r\n",
    );
    assert_eq!((plain.status, plain.field("content-encoding")), (200, None));
    let packed = ask(daemon, "GET", path, "Accept-Encoding: br, x-gzip;q=0.1\r\n");
    assert_eq!(packed.field("vary"), got.field("vary"), "{path}");
    let is_packed = packed.field("content-encoding") == Some("gzip");
    assert_eq!(is_packed, got.field("vary").is_some(), "{path}");
    assert_eq!(
        packed.field("etag").unwrap().ends_with("-gzip\""),
        is_packed
    );
}

/// What two programs could cut in two ways (one of them a proxy before this one) is refused and ends the connection, so
/// that nothing behind it is taken for a request.
#[test]
fn what_is_framed_in_two_ways_is_refused() {
    let chain = Chain::devchain(1);
    let (_lottery, daemon) = serving(&chain);
    let hidden = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n";
    for (fields, status) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", 411),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0", 411),
        ("Content-Length: 4\r\nContent-Length: 5", 400),
        ("Content-Length: 5, 6", 400),
        ("Content-Length: 5 5", 400),
        ("Content-Length: 0x5", 400),
        ("Content-Length: 5;", 400),
        ("Content-Length : 5", 400),
        ("Content-Length\u{b}: 5", 400),
        ("Content-Length: 99999999999999999999999", 400),
        ("Transfer-Encoding : chunked", 400),
        ("Transfer-Encoding: chunked, chunked", 501),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            501,
        ),
        ("Transfer-Encoding: xchunked", 501),
        ("Transfer-Encoding: chunked;q=1", 501),
        ("Transfer-Encoding: \u{b}chunked", 400),
        ("Transfer-Encoding:", 400),
        ("A: b\r\n Transfer-Encoding: chunked", 400),
        ("A: b\rTransfer-Encoding: chunked", 400),
        ("A\0: b", 400),
        ("Host: y", 400),
        ("Expect: 200-ok", 417),
        ("Expect: 100-continue", 417),
    ] {
        for method in ["GET", "POST"] {
            let head = format!("{method} /healthz HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
            let answer = exchange(&daemon, format!("{head}{hidden}").as_bytes());
            let is_refused = answer.starts_with(&format!("HTTP/1.1 {status} "));
            assert!(is_refused, "{head}: {answer:.300}");
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{head}: {answer}");
            assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        }
    }
    // HTTP/1.0 knows no chunks, and a body there ends with the connection, which is no way to ask.
    let old = "POST /healthz HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let answer = exchange(&daemon, format!("{old}{hidden}").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
}

/// Targets that lead elsewhere where they are tidied up, or that are none; and heads that are only long.
#[test]
fn odd_targets_and_floods_of_fields_lead_nowhere() {
    let chain = Chain::devchain(1);
    let (_lottery, daemon) = serving(&chain);
    for (method, target, status) in [
        ("GET", "//x/healthz", 404),
        ("GET", "/./healthz", 404),
        ("GET", "/api/../healthz", 404),
        ("GET", "/%2e%2e/healthz", 404),
        ("GET", "/%2568ealthz", 404),
        ("GET", "/api%2Fstatus", 404),
        ("GET", "/api%5cstatus", 404),
        ("GET", "/api//status", 404),
        ("GET", "/healthz%20", 404),
        ("GET", "/healthz%0d%0aA:%20b", 404),
        ("GET", "/healthz;a=b", 404),
        ("GET", "/healthz#a", 404),
        ("GET", "/\u{e9}", 404),
        ("GET", "/\"<script>", 404),
        ("GET", "/round/1/../2", 404),
        ("GET", "/round/-1", 404),
        ("GET", "/%00", 400),
        ("GET", "/%c3", 400),
        ("GET", "/%", 400),
        ("GET", "healthz", 400),
        ("GET", "*", 400),
        ("GET", "http:///healthz", 400),
        ("GET", "file:///etc/passwd", 400),
        ("CONNECT", "x:443", 400),
        ("TRACE", "/healthz", 405),
        ("get", "/healthz", 405),
        ("GET", "http://user:password@x:1/healthz?a", 200),
        ("GET", "http://[::1]/healthz", 200),
        ("OPTIONS", "*", 204),
    ] {
        let answer = ask(&daemon, method, target, "");
        assert_eq!(answer.status, status, "{method} {target}: {}", answer.body);
        assert_eq!(answer.field("a"), None, "{target}");
    }
    let many = |count: usize| "A: b\r\n".repeat(count);
    let long = |length: usize| format!("A: {}\r\n", "b".repeat(length));
    for (fields, status) in [
        (many(98), 200),
        (many(99), 431),
        (many(5_000), 431),
        (long(32_000), 200),
        (long(33_000), 431),
        (long(900_000), 431),
        (format!("{}: b\r\n", "A".repeat(40_000)), 431),
        (long(300).repeat(97), 200),
    ] {
        let answer = ask(&daemon, "GET", "/healthz", &fields);
        assert_eq!(answer.status, status, "{} bytes", fields.len());
    }
    assert!(
        daemon.resident_kib() < 64 << 10,
        "{}",
        daemon.resident_kib()
    );
}

/// What a handshake may look like, and may not.
#[test]
fn handshakes_are_read_closely() {
    let chain = Chain::devchain(1);
    let (_lottery, daemon) = serving(&chain);
    let good = handshake(None);
    let with = |fields: &str| good.replacen("Host: x\r\n", &format!("Host: x\r\n{fields}\r\n"), 1);
    let instead = |from: &str, to: &str| good.replacen(from, to, 1);
    let bye = frame(0x88, b"");
    for (request, status) in [
        (good.clone(), 101),
        (
            instead("Upgrade: websocket", "Upgrade: h2c, WebSocket"),
            101,
        ),
        (
            instead("Connection: Upgrade", "Connection: keep-alive, upgrade"),
            101,
        ),
        (instead("/ws/lottery", "http://x/ws?since=%zz"), 101),
        (with("Sec-WebSocket-Protocol: chat"), 101),
        (
            with("Sec-WebSocket-Extensions: ;;,\"permessage-deflate"),
            101,
        ),
        (with("Origin: https://elsewhere.example"), 101),
        (with("Content-Length: 0"), 101),
        (with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400),
        (instead("ZQ==", "ZQ="), 400),
        (instead("dGhl", "dG l"), 400),
        (instead("Sec-WebSocket-Key", "Key"), 400),
        (with("Sec-WebSocket-Version: 13"), 426),
        (instead("Version: 13", "Version: 13, 8"), 426),
        (instead("Version: 13", "Version: 013"), 426),
        (instead("Sec-WebSocket-Version: 13\r\n", ""), 426),
        (instead("Upgrade: websocket", "Upgrade: websocket/13"), 426),
        (
            instead("Connection: Upgrade", "Connection: keep-alive"),
            426,
        ),
        (instead("HTTP/1.1", "HTTP/1.0"), 426),
        (instead("GET", "POST"), 405),
        (instead("GET", "HEAD"), 405),
        (with("Content-Length: 5"), 413),
        (
            with("Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\n\r\n",
            411,
        ),
        (with("Expect: 100-continue"), 417),
    ] {
        let answer = exchange(&daemon, &[request.as_bytes(), &bye].concat());
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}: {answer:.300}"
        );
    }
    // Behind another request, and behind a body of no chunks, it is one all the same.
    let before = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let empty = with("Transfer-Encoding: chunked") + "0\r\n\r\n";
    for request in [format!("{before}{good}"), empty] {
        let answer = exchange(&daemon, &[request.as_bytes(), &bye].concat());
        assert!(answer.contains("HTTP/1.1 101 "), "{request}: {answer:.300}");
    }
}

/// Whoever never comes to an end is brought to one, and hears why where the protocol has a word for it.
#[test]
fn what_never_ends_is_ended() {
    let chain = Chain::devchain(1);
    let (_lottery, daemon) = serving(&chain);
    let bye = frame(0x88, &1000u16.to_be_bytes());
    let endless = [&[0x82, 0xff][..], &(1u64 << 40).to_be_bytes(), &[0; 4]].concat();
    let crumbs = [frame(0x01, b"a"), frame(0x00, b"b").repeat(5)].concat();
    for (what, first, again, code) in [
        ("talks on behind its close", bye, frame(0x81, b"x"), 1000),
        ("never answers a close", frame(0xf1, b"x"), Vec::new(), 1002),
        (
            "talks on behind a close",
            frame(0x83, b"x"),
            frame(0x89, b"x"),
            1002,
        ),
        ("fragments without an end", crumbs, frame(0x00, b"b"), 1008),
        (
            "a flood of pings",
            frame(0x89, b"p").repeat(6),
            frame(0x89, b"p"),
            1008,
        ),
        (
            "a flood of pongs",
            frame(0x8a, b"p").repeat(6),
            frame(0x8a, b"p"),
            1008,
        ),
        ("a frame without an end", endless, vec![0; 100], 1009),
    ] {
        let mut stream = connect(&daemon);
        let opening = [handshake(None).as_bytes(), &first].concat();
        stream.write_all(&opening).unwrap();
        let begun = Instant::now();
        let mut told = stream.try_clone().unwrap();
        let heard = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = told.read_to_end(&mut bytes);
            bytes
        });
        // Until the connection is gone; whoever says nothing more only waits for that.
        while begun.elapsed() < Duration::from_secs(20) {
            if stream.write_all(&again).is_err() || (again.is_empty() && heard.is_finished()) {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        assert!(begun.elapsed() < Duration::from_secs(15), "{what}");
        let bytes = heard.join().unwrap();
        let end = bytes
            .windows(4)
            .position(|part| part == b"\r\n\r\n")
            .unwrap();
        assert_eq!(close_code(&bytes[end + 4..]), Some(code), "{what}");
    }
    // Half a head is answered late, to a HEAD without a body.
    let answer = exchange(&daemon, b"HEAD / HTTP/1.1\r\nHost: x\r\n");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

/// With so small a window that the kernel takes little for it.
fn slow_reader(daemon: &Daemon) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(2_048).unwrap();
    let address: std::net::SocketAddr = daemon.url["http://".len()..].parse().unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

/// A page that is read in crumbs comes whole, and keeps nobody waiting.
#[test]
fn whoever_reads_slowly_reads_all() {
    let chain = Chain::devchain(1);
    let (_lottery, daemon) = serving(&chain);
    let ask = |target: &str, last: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n{last}\r\n");
    let requests = ask("/app.js", "").repeat(60) + &ask("/", "Connection: close\r\n");
    let mut readers: Vec<(TcpStream, Vec<u8>)> = (0..4)
        .map(|_| {
            let mut stream = slow_reader(&daemon);
            stream.write_all(requests.as_bytes()).unwrap();
            (stream, Vec::new())
        })
        .collect();
    for _ in 0..40 {
        for (stream, bytes) in &mut readers {
            let mut crumb = [0; 100];
            let count = stream.read(&mut crumb).unwrap();
            bytes.extend(&crumb[..count]);
        }
        let begun = Instant::now();
        assert_eq!(daemon.get("/healthz").0, 200);
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "{:?}",
            begun.elapsed()
        );
    }
    for (mut stream, mut bytes) in readers {
        // In crumbs it would take minutes.
        let socket = socket2::SockRef::from(&stream);
        socket.set_recv_buffer_size(1 << 20).unwrap();
        stream.read_to_end(&mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text.matches("HTTP/1.1 200 OK\r\n").count(), 61);
        assert!(
            text.trim_end().ends_with("</html>"),
            "{:.200}",
            &text[text.len() - 200..]
        );
    }
}
