//! One connection's states on a manual clock: where requests begin and end however the bytes are cut, how long each state
//! is waited for, and that buffers are bounded. Sockets and crowds are tried on the real binary.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A body is taken wherever a path begins with /p.
fn rules(limits: Limits) -> Arc<Rules> {
    Arc::new(Rules {
        limits,
        takes_body: Box::new(|request| request.path.starts_with("/p")),
    })
}

fn connection(limits: Limits, now: Instant) -> Connection {
    Connection::new(PEER, Port::Public, rules(limits), now)
}

/// What a peer would see of a connection that is fed `pieces`, one line an event.
fn drive(pieces: &[&[u8]], limits: Limits) -> Vec<String> {
    let now = Instant::now();
    let mut connection = connection(limits, now);
    let mut seen = Vec::new();
    for piece in pieces {
        if connection.is_closed() || connection.is_lingering() {
            break;
        }
        let mut event = connection.receive(piece, now);
        while let Some(happened) = event.take() {
            seen.push(describe(&happened));
            if let Event::Request { persistence, .. } = happened {
                assert!(
                    !connection.wants_input(),
                    "nothing is read while a request is worked on"
                );
                connection.begin_writing(persistence, now);
                event = connection.end_writing(now);
                assert_eq!(connection.is_lingering(), !persistence.keeps());
            } else {
                assert!(connection.is_closed());
            }
        }
    }
    seen
}

fn describe(event: &Event) -> String {
    match event {
        Event::Request {
            request,
            persistence,
        } => {
            let query = request
                .query
                .as_ref()
                .map_or(String::new(), |query| format!("?{query}"));
            let body = String::from_utf8_lossy(&request.body);
            let body = if request.body_is_left {
                "left".to_owned()
            } else {
                format!("{body:?}")
            };
            let end = match persistence {
                Persistence::Keep => "",
                Persistence::KeepTold => " told",
                Persistence::Close => " last",
            };
            format!("{} {}{query} {body}{end}", request.method, request.path)
        }
        Event::Upgrade { request, rest, .. } => {
            format!(
                "upgrade {} {:?} +{}",
                request.path,
                request.query,
                rest.len()
            )
        }
        Event::Refuse(refused) => {
            let refusal = &refused.refusal;
            let headers = refusal.headers.iter();
            let named: String = headers
                .map(|(name, value)| format!(" {name}={value}"))
                .collect();
            format!("{} {}{named}", refusal.status, refusal.code)
        }
    }
}

const HOST: &str = "Host: x\r\n";

/// Requests and what becomes of them, after RFC 9110, RFC 9112 and RFC 6455.
#[test]
fn requests_become_events() {
    let socket =
        "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let long_target = format!("GET /{} \"\"", "b".repeat(8_191));
    let long = [long_target.as_str()];
    let table: Vec<(String, &[&str])> = vec![
        (format!("GET / HTTP/1.1\r\n{HOST}\r\n"), &["GET / \"\""]),
        // Empty lines before a request are passed over, and bare newlines end lines.
        (format!("\r\n\r\nGET /a HTTP/1.1\r\n{HOST}\r\n"), &["GET /a \"\""]),
        ("GET /a HTTP/1.1\nHost: x\n\n".to_owned(), &["GET /a \"\""]),
        (format!("{}GET /a HTTP/1.1\r\n{HOST}\r\n", "\r\n".repeat(512)), &["GET /a \"\""]),
        ("\r\n".repeat(513), &["400 bad_request"]),
        // What is no method is refused before its line ends: nobody waits for more of a TLS handshake.
        ("\u{16}\u{3}\u{1}".to_owned(), &["400 bad_request"]),
        ("GET\t/".to_owned(), &["400 bad_request"]),
        (" /".to_owned(), &["400 bad_request"]),
        ("GET".to_owned(), &[]),
        // Keep-alive by version and by field.
        (format!("GET / HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n"), &["GET / \"\" last"]),
        (format!("GET / HTTP/1.1\r\n{HOST}connection: foo, CLOSE\r\n\r\n"), &["GET / \"\" last"]),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), &["GET / \"\" last"]),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_owned(), &["GET / \"\" told"]),
        ("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n".to_owned(), &["GET / \"\" last"]),
        (format!("GET / HTTP/1.1\r\n{HOST}Connection: keep-alive\r\nConnection: close\r\n\r\n"), &["GET / \"\" last"]),
        // Pipelining.
        (format!("GET /1 HTTP/1.1\r\n{HOST}\r\nGET /2 HTTP/1.1\r\n{HOST}\r\nGET /3"), &["GET /1 \"\"", "GET /2 \"\""]),
        (format!("GET /1 HTTP/1.1\r\n{HOST}Connection: close\r\n\r\nGET /2 HTTP/1.1\r\n{HOST}\r\n"), &["GET /1 \"\" last"]),
        // Bodies by Content-Length alone; none means none.
        (format!("POST /p HTTP/1.1\r\n{HOST}\r\n"), &["POST /p \"\""]),
        (format!("POST /p HTTP/1.1\r\n{HOST}Content-Length: 2\r\n\r\nhiGET / HTTP/1.1\r\n{HOST}\r\n"), &["POST /p \"hi\"", "GET / \"\""]),
        (format!("POST /p HTTP/1.1\r\n{HOST}Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi"), &["POST /p \"hi\""]),
        (format!("POST /p HTTP/1.1\r\n{HOST}Content-Length: 2, 2\r\n\r\nhi"), &["POST /p \"hi\""]),
        (format!("POST /p HTTP/1.1\r\n{HOST}Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi"), &["400 bad_length"]),
        (format!("POST /p HTTP/1.1\r\n{HOST}Content-Length: +2\r\n\r\nhi"), &["400 bad_length"]),
        (format!("POST /p HTTP/1.1\r\n{HOST}Content-Length: -1\r\n\r\n"), &["400 bad_length"]),
        (format!("POST /p HTTP/1.1\r\n{HOST}Content-Length: \r\n\r\n"), &["400 bad_length"]),
        (format!("POST /p HTTP/1.1\r\n{HOST}Content-Length: 99999999999999999999\r\n\r\n"), &["400 bad_length"]),
        (format!("POST /p HTTP/1.1\r\n{HOST}Content-Length: 1025\r\n\r\n"), &["413 body_too_large"]),
        (format!("POST /p HTTP/1.1\r\n{HOST}Content-Length: 1024\r\n\r\n"), &[]),
        // Where none is taken the head alone is judged, and the connection ends.
        (format!("POST /x HTTP/1.1\r\n{HOST}Content-Length: 2\r\n\r\n"), &["POST /x left last"]),
        (format!("GET /x HTTP/1.1\r\n{HOST}Content-Length: 2\r\n\r\nhiGET / HTTP/1.1\r\n{HOST}\r\n"), &["GET /x left last"]),
        (format!("POST /x HTTP/1.1\r\n{HOST}Content-Length: 1025\r\n\r\n"), &["413 body_too_large"]),
        (format!("POST /x HTTP/1.1\r\n{HOST}Content-Length: 0\r\n\r\nGET / HTTP/1.1\r\n{HOST}\r\n"), &["POST /x \"\"", "GET / \"\""]),
        // Some clients send an empty body in chunks with a GET.
        (format!("GET /a HTTP/1.1\r\n{HOST}Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\nGET /b HTTP/1.1\r\n{HOST}\r\n"), &["GET /a \"\"", "GET /b \"\""]),
        (format!("HEAD /a HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n"), &[]),
        (format!("GET /a HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"), &["411 length_required"]),
        (format!("GET /a HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"), &["411 length_required"]),
        (format!("GET /a HTTP/1.1\r\n{HOST}Transfer-Encoding: gzip, chunked\r\n\r\n"), &["501 not_implemented"]),
        (format!("GET /a HTTP/1.1\r\n{HOST}Transfer-Encoding:\r\n\r\n"), &["400 bad_request"]),
        ("GET /a HTTP/1.0\r\nExpect: 100-continue\r\n\r\n".to_owned(), &["GET /a \"\" last"]),
        (format!("POST /p HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), &["411 length_required"]),
        (format!("POST /p HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"), &["411 length_required"]),
        (format!("POST /p HTTP/1.1\r\n{HOST}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"), &["417 expectation_failed"]),
        // Targets.
        (format!("GET /a%20b?x=%20 HTTP/1.1\r\n{HOST}\r\n"), &["GET /a b?x=%20 \"\""]),
        (format!("GET http://y:1/a?b HTTP/1.1\r\n{HOST}\r\n"), &["GET /a?b \"\""]),
        (format!("GET http://y HTTP/1.1\r\n{HOST}\r\n"), &["GET / \"\""]),
        (format!("GET HTTPS://y/a HTTP/1.1\r\n{HOST}\r\n"), &["GET /a \"\""]),
        (format!("GET http:///a HTTP/1.1\r\n{HOST}\r\n"), &["400 bad_target"]),
        (format!("GET ?a HTTP/1.1\r\n{HOST}\r\n"), &["400 bad_target"]),
        (format!("GET ftp://y/a HTTP/1.1\r\n{HOST}\r\n"), &["400 bad_target"]),
        (format!("GET /a%2Fb%2fc/%C3%a9 HTTP/1.1\r\n{HOST}\r\n"), &["GET /a%2Fb%2Fc/é \"\""]),
        (format!("GET http://y?b HTTP/1.1\r\n{HOST}\r\n"), &["GET /?b \"\""]),
        (format!("GET /%zz HTTP/1.1\r\n{HOST}\r\n"), &["400 bad_target"]),
        (format!("GET /%2 HTTP/1.1\r\n{HOST}\r\n"), &["400 bad_target"]),
        (format!("GET /%00 HTTP/1.1\r\n{HOST}\r\n"), &["400 bad_target"]),
        (format!("GET /%ff HTTP/1.1\r\n{HOST}\r\n"), &["400 bad_target"]),
        (format!("OPTIONS * HTTP/1.1\r\n{HOST}\r\n"), &["OPTIONS * \"\""]),
        (format!("GET * HTTP/1.1\r\n{HOST}\r\n"), &["400 bad_target"]),
        (format!("CONNECT y:443 HTTP/1.1\r\n{HOST}\r\n"), &["400 bad_target"]),
        // Heads.
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), &["400 bad_host"]),
        (format!("GET / HTTP/1.1\r\n{HOST}{HOST}\r\n"), &["400 bad_host"]),
        (format!("GET / HTTP/2.0\r\n{HOST}\r\n"), &["505 http_version"]),
        ("hello\r\n\r\n".to_owned(), &["400 bad_request"]),
        ("GET / HTTP/1.1\r\nHost x\r\n\r\n".to_owned(), &["400 bad_request"]),
        (format!("GET / HTTP/1.1\r\n{HOST}A: \0\r\n\r\n"), &["400 bad_request"]),
        (format!("GET / HTTP/1.1\r\n{HOST}{}\r\n", "A: b\r\n".repeat(100)), &["431 head_too_large"]),
        (format!("GET / HTTP/1.1\r\n{HOST}{}\r\n", "A: b\r\n".repeat(99)), &["GET / \"\""]),
        // Values are opaque; cookies of other services may be long.
        (format!("GET / HTTP/1.1\r\n{HOST}Cookie: é{}\r\n\r\n", "b".repeat(30_000)), &["GET / \"\""]),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(), &["400 bad_host"]),
        ("GET / HTTP/1.1\r\nHost: é\r\n\r\n".to_owned(), &["400 bad_host"]),
        ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n".to_owned(), &["GET / \"\""]),
        (format!("GET / HTTP/1.1\r\n{HOST}A: {}", "b".repeat(33_000)), &["431 head_too_large"]),
        (format!("GET /{} HTTP/1.1\r\n{HOST}\r\n", "b".repeat(9_000)), &["414 target_too_long"]),
        (format!("GET /{}", "b".repeat(9_000)), &["414 target_too_long"]),
        (format!("GET /{} HTTP/1.1\r\n{HOST}\r\n", "b".repeat(8_191)), &long),
        // WebSocket handshakes.
        (format!("GET /ws/lottery?since=a:1 HTTP/1.1\r\n{HOST}{socket}\r\nrest"), &["upgrade /ws/lottery Some(\"since=a:1\") +4"]),
        (format!("GET /ws HTTP/1.1\r\n{HOST}{socket}\r\n"), &["upgrade /ws None +0"]),
        (format!("GET /other HTTP/1.1\r\n{HOST}{socket}\r\n"), &["GET /other \"\""]),
        (format!("GET /ws HTTP/1.1\r\n{HOST}\r\n"), &["426 upgrade_required Upgrade=websocket"]),
        (format!("GET /ws HTTP/1.0\r\n{socket}\r\n"), &["426 upgrade_required Upgrade=websocket"]),
        (format!("GET /other HTTP/1.0\r\n{socket}\r\n"), &["GET /other \"\" told"]),
        (format!("POST /ws HTTP/1.1\r\n{HOST}{socket}\r\n"), &["405 method_not_allowed Allow=GET, OPTIONS"]),
        (format!("HEAD /ws/lottery HTTP/1.1\r\n{HOST}\r\n"), &["405 method_not_allowed Allow=GET, OPTIONS"]),
        (format!("OPTIONS /ws HTTP/1.1\r\n{HOST}\r\n"), &["OPTIONS /ws \"\""]),
        (format!("GET /ws HTTP/1.1\r\n{HOST}{socket}Content-Length: 3\r\n\r\nabc"), &["GET /ws left last"]),
        (format!("GET /ws HTTP/1.1\r\n{HOST}{}\r\n", socket.replace("13", "8")), &["426 websocket_version Upgrade=websocket Sec-WebSocket-Version=13"]),
        (format!("GET /ws HTTP/1.1\r\n{HOST}{}\r\n", socket.replace("dGhl", "d")), &["400 websocket_key"]),
        (format!("GET /ws HTTP/1.1\r\n{HOST}{}\r\n", socket.replace("Q==", "Q=.")), &["400 websocket_key"]),
    ];
    for (bytes, expected) in table {
        assert_eq!(
            drive(&[bytes.as_bytes()], Limits::default()),
            expected,
            "{bytes:?}"
        );
    }
}

#[test]
fn each_state_has_its_patience() {
    let limits = Limits::default();
    let start = Instant::now();
    let head = format!("GET / HTTP/1.1\r\n{HOST}");
    let body = format!("POST /p HTTP/1.1\r\n{HOST}Content-Length: 9\r\n\r\nhalf");
    for (bytes, patience, ends) in [
        ("", limits.idle_time, None),
        ("GE", limits.head_time, Some((408, None))),
        (head.as_str(), limits.head_time, Some((408, Some("GET")))),
        (body.as_str(), limits.body_time, Some((408, Some("POST")))),
    ] {
        let mut connection = connection(limits, start);
        assert_eq!(connection.receive(bytes.as_bytes(), start), None);
        assert_eq!(connection.deadline(), Some(start + patience), "{bytes:?}");
        assert_eq!(
            connection.expire(start + patience - Duration::from_nanos(1)),
            None
        );
        assert!(!connection.is_closed());
        let refused = connection
            .expire(start + patience)
            .map(|event| match event {
                Event::Refuse(refused) => (refused.refusal.status, refused.method),
                other => panic!("{other:?}"),
            });
        let ends = ends.map(|(status, method)| (status, method.map(str::to_owned)));
        assert_eq!(refused, ends, "{bytes:?}");
        assert!(connection.is_closed());
    }
}

#[test]
fn bytes_one_by_one_do_not_buy_time() {
    let limits = Limits::default();
    let start = Instant::now();
    let mut connection = connection(limits, start);
    let mut now = start;
    for byte in b"GET / HTTP/1.1" {
        assert_eq!(connection.receive(&[*byte], now), None);
        now += Duration::from_millis(700);
    }
    assert_eq!(connection.deadline(), Some(start + limits.head_time));
}

#[test]
fn a_working_connection_waits_and_a_reader_that_stalls_is_left() {
    let limits = Limits::default();
    let start = Instant::now();
    let mut connection = connection(limits, start);
    let bytes = format!("GET / HTTP/1.1\r\n{HOST}\r\n");
    assert!(connection.receive(bytes.as_bytes(), start).is_some());
    assert_eq!(connection.deadline(), Some(start + limits.work_time));
    connection.begin_writing(Persistence::Keep, start);
    let later = start + limits.write_time / 2;
    connection.note_progress(later);
    assert_eq!(connection.expire(start + limits.write_time), None);
    assert!(!connection.is_closed());
    assert_eq!(connection.expire(later + limits.write_time), None);
    assert!(connection.is_closed());
}

#[test]
fn after_the_last_answer_what_still_comes_is_thrown_away_for_a_while() {
    let limits = Limits::default();
    let start = Instant::now();
    let mut connection = connection(limits, start);
    let bytes = format!("POST /x HTTP/1.1\r\n{HOST}Content-Length: 900\r\n\r\nsome of it");
    assert!(connection.receive(bytes.as_bytes(), start).is_some());
    connection.begin_writing(Persistence::Close, start);
    assert_eq!(connection.end_writing(start), None);
    assert!(connection.is_lingering() && connection.wants_input());
    assert_eq!(connection.held_bytes(), 0);
    let half = vec![b'x'; limits.linger_bytes / 2];
    assert_eq!(connection.receive(&half, start), None);
    assert!(connection.wants_input());
    assert_eq!(connection.receive(&half, start), None);
    assert!(!connection.wants_input(), "it has been heard out");
    assert!(connection.is_lingering(), "and is not cut off for it");
    assert_eq!(
        (connection.waiting_bytes(), connection.held_bytes()),
        (0, 0)
    );
    assert_eq!(connection.deadline(), Some(start + limits.linger_time));
    assert_eq!(connection.expire(start + limits.linger_time), None);
    assert!(connection.is_closed());
}

#[test]
fn who_has_sent_the_least_for_the_longest_goes_first() {
    let limits = Limits::default();
    let start = Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let connected = |ms: u64, bytes: &str, sent_ms: u64| {
        let mut connection = connection(limits, at(ms));
        connection.receive(bytes.as_bytes(), at(sent_ms));
        connection
    };
    let request = format!("GET / HTTP/1.1\r\n{HOST}\r\n");
    let mut working = connected(0, &request, 1);
    let lingering = {
        let mut connection = connection(limits, at(950));
        connection.linger(at(950));
        connection
    };
    let ranked = [
        ("lingers", lingering),
        ("silent since the start", connected(0, "", 0)),
        (
            "two bytes of a head since the start",
            connected(0, "GE", 900),
        ),
        (
            "half a head since the start",
            connected(0, &request[..20], 500),
        ),
        ("silent for a shorter time", connected(300, "", 300)),
    ];
    let now = at(1_000);
    let ranks: Vec<_> = ranked
        .iter()
        .map(|(_, known)| known.eviction_rank(now))
        .collect();
    for (index, pair) in ranks.windows(2).enumerate() {
        assert!(
            pair[0].is_some() && pair[0] < pair[1],
            "{}",
            ranked[index].0
        );
    }
    assert_eq!(working.eviction_rank(now), None, "its answer is being made");
    working.begin_writing(Persistence::Keep, at(2));
    assert!(working.eviction_rank(now).is_some(), "it does not read");
    for (ms, is_safe) in [(901, true), (900, false)] {
        let newcomer = connected(ms, "", ms);
        assert_eq!(newcomer.eviction_rank(now).is_none(), is_safe, "{ms}");
    }
}

#[test]
fn who_asks_now_and_then_is_quiet_in_between() {
    let start = Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let mut known = connection(Limits::default(), start);
    assert!(known.is_quiet(start), "it has never asked");
    let request = format!("GET / HTTP/1.1\r\n{HOST}\r\n");
    assert_eq!(known.receive(&request.as_bytes()[..9], at(10)), None);
    assert!(known.is_quiet(at(10)), "it has not asked yet");
    assert!(known.receive(&request.as_bytes()[9..], at(20)).is_some());
    known.begin_writing(Persistence::Keep, at(30));
    assert_eq!(known.end_writing(at(40)), None);
    assert!(!known.is_quiet(at(1_019)) && known.is_quiet(at(1_020)));
    let mut refused = connection(Limits::default(), start);
    assert!(refused.receive(b"nonsense\r\n\r\n", start).is_some());
    assert!(!refused.is_quiet(at(999)));
}

#[test]
fn a_refusal_knows_the_method_where_it_came_that_far() {
    for (bytes, method) in [
        (format!("HEAD /%zz HTTP/1.1\r\n{HOST}\r\n"), Some("HEAD")),
        ("HEAD / HTTP/1.1\r\n\r\n".to_owned(), Some("HEAD")),
        ("HEAD / HTTP/1.1\r\nA b\r\n\r\n".to_owned(), Some("HEAD")),
        (format!("HEAD /{}", "x".repeat(9_000)), Some("HEAD")),
        (
            format!("HEAD / HTTP/1.1\r\nA: {}", "x".repeat(33_000)),
            Some("HEAD"),
        ),
        (
            format!("HEAD / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n1\r\nx"),
            Some("HEAD"),
        ),
        ("\u{1}\r\n\r\n".to_owned(), None),
    ] {
        let now = Instant::now();
        let event = connection(Limits::default(), now).receive(bytes.as_bytes(), now);
        let Some(Event::Refuse(refused)) = event else {
            panic!("{event:?}");
        };
        assert_eq!(refused.method.as_deref(), method, "{bytes:.40}");
    }
}

/// A request out of parts that are good, odd or broken.
fn traffic() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just(format!("GET /a?b=c HTTP/1.1\r\n{HOST}\r\n").into_bytes()),
        Just(format!("POST /p HTTP/1.1\r\n{HOST}Content-Length: 5\r\n\r\nhello").into_bytes()),
        Just(format!("HEAD / HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n").into_bytes()),
        Just(b"\r\n".to_vec()),
        Just(vec![b'\n'; 800]),
        Just(b"GET / HTTP/1.0\r\n\r\n".to_vec()),
        Just(b"Content-Length: 70000\r\n\r\n".to_vec()),
        Just(vec![b'a'; 310]),
        Just(format!("{} / HTTP/1.1\r\n{HOST}\r\n", "A".repeat(180)).into_bytes()),
        proptest::collection::vec(any::<u8>(), 0..40),
    ];
    proptest::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

/// A whole request.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let ends = [
        "",
        "Connection: close\r\n",
        "Transfer-Encoding: chunked\r\nx",
    ];
    // No letters that spell /ws, which is for WebSocket clients.
    let part = (prop::sample::select(ends.to_vec()), "[a-v/]{0,9}", 0..2u8);
    part.prop_map(|(end, path, minor)| {
        let (end, body) = match end.strip_suffix('x') {
            Some(end) if minor == 1 => (end, "0\r\n\r\n"),
            Some(_) => ("", ""),
            None => (end, ""),
        };
        format!("GET /{path} HTTP/1.{minor}\r\n{HOST}{end}\r\n{body}").into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// How the network cuts the bytes changes nothing.
    #[test]
    fn cuts_do_not_matter(bytes in traffic(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20)) {
        let limits = Limits { head_bytes: 300, target_bytes: 100, ..Limits::default() };
        let whole = drive(&[&bytes], limits);
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        ends.extend([0, bytes.len()]);
        ends.sort_unstable();
        let pieces: Vec<&[u8]> = ends.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(drive(&pieces, limits), whole.clone());
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(drive(&single, limits), whole);
    }

    /// Whatever comes, nothing panics, and what is kept stays within the limits and one read.
    #[test]
    fn what_is_known_is_taken_as_if_it_were_read(
        before in prop::sample::select(vec!["", "GET /a HTTP/1.1\r\n", "\r\n\r\nGET /a HTTP/1.1\r\n"]),
        request in request(),
    ) {
        let now = Instant::now();
        let later = now + Duration::from_millis(500);
        let before = match before {
            "" => Vec::new(),
            line => format!("{line}{HOST}\r\n").into_bytes(),
        };
        let [mut reads, mut knows] = [(), ()].map(|()| {
            let mut connection = connection(Limits::default(), now);
            let mut event = connection.receive(&before, now);
            while let Some(Event::Request { persistence, .. }) = event {
                connection.begin_writing(persistence, now);
                event = connection.end_writing(now);
            }
            connection
        });
        prop_assert!(reads.is_between_requests());
        let event = reads.receive(&request, later);
        prop_assert!(matches!(event, Some(Event::Request { .. })), "{:?}", event);
        knows.take_known(&request, later);
        let all_of = |of: Connection| {
            (of.state, of.input, of.lines_end, of.since, of.waiting_since, of.heard_bytes, of.asked_at)
        };
        prop_assert_eq!(all_of(reads), all_of(knows));
    }

    #[test]
    fn buffers_are_bounded(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..5_000), 0..40)) {
        let now = Instant::now();
        let limits = Limits::default();
        let mut connection = connection(limits, now);
        for piece in &pieces {
            if !connection.wants_input() {
                break;
            }
            connection.receive(piece, now);
            prop_assert!(connection.waiting_bytes() < limits.head_bytes + limits.body_bytes + 5_000);
            prop_assert!(connection.held_bytes() <= 2 * (limits.head_bytes + limits.body_bytes + 5_000));
        }
    }
}
