use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What a peer would see of a connection that is fed `pieces`, one line an event.
fn drive(pieces: &[&[u8]], limits: Limits) -> Vec<String> {
    let now = Instant::now();
    let mut connection = Connection::new(PEER, limits, now);
    let mut seen = Vec::new();
    for piece in pieces {
        if connection.is_closed() {
            break;
        }
        let mut event = connection.receive(piece, now);
        while let Some(happened) = event.take() {
            seen.push(describe(&happened));
            if let Event::Request { keep_alive, .. } = happened {
                assert!(
                    !connection.wants_input(),
                    "nothing is read while a request is worked on"
                );
                connection.begin_writing(keep_alive, now);
                event = connection.end_writing(now);
                if !keep_alive {
                    assert!(connection.is_closed());
                }
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
            keep_alive,
        } => {
            let query = request
                .query
                .as_ref()
                .map_or(String::new(), |query| format!("?{query}"));
            let body = String::from_utf8_lossy(&request.body);
            let end = if *keep_alive { "" } else { " last" };
            format!("{} {}{query} {body:?}{end}", request.method, request.path)
        }
        Event::Upgrade { request, rest, .. } => {
            format!(
                "upgrade {} {:?} +{}",
                request.path,
                request.query,
                rest.len()
            )
        }
        Event::Refuse(refusal) => format!("{} {}", refusal.status, refusal.code),
    }
}

const HOST: &str = "Host: x\r\n";

/// Requests and what becomes of them, after RFC 9110, RFC 9112 and RFC 6455.
#[test]
fn requests_become_events() {
    let socket =
        "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let table: Vec<(String, &[&str])> = vec![
        (format!("GET / HTTP/1.1\r\n{HOST}\r\n"), &["GET / \"\""]),
        // Empty lines before a request are passed over, and bare newlines end lines.
        (format!("\r\n\r\nGET /a HTTP/1.1\r\n{HOST}\r\n"), &["GET /a \"\""]),
        ("GET /a HTTP/1.1\nHost: x\n\n".to_owned(), &["GET /a \"\""]),
        // Keep-alive by version and by field.
        (format!("GET / HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n"), &["GET / \"\" last"]),
        (format!("GET / HTTP/1.1\r\n{HOST}connection: foo, CLOSE\r\n\r\n"), &["GET / \"\" last"]),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), &["GET / \"\" last"]),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_owned(), &["GET / \"\""]),
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
        (format!("POST /p HTTP/1.1\r\n{HOST}Content-Length: 65537\r\n\r\n"), &["413 body_too_large"]),
        (format!("POST /p HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), &["411 length_required"]),
        (format!("POST /p HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"), &["411 length_required"]),
        (format!("POST /p HTTP/1.1\r\n{HOST}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"), &["417 expectation_failed"]),
        // Targets.
        (format!("GET /a%20b?x=%20 HTTP/1.1\r\n{HOST}\r\n"), &["GET /a b?x=%20 \"\""]),
        (format!("GET http://y:1/a?b HTTP/1.1\r\n{HOST}\r\n"), &["GET /a?b \"\""]),
        (format!("GET http://y HTTP/1.1\r\n{HOST}\r\n"), &["GET / \"\""]),
        (format!("GET http://y?b HTTP/1.1\r\n{HOST}\r\n"), &["GET /?b \"\""]),
        (format!("GET /%zz HTTP/1.1\r\n{HOST}\r\n"), &["400 bad_target"]),
        (format!("GET /%2 HTTP/1.1\r\n{HOST}\r\n"), &["400 bad_target"]),
        (format!("GET /%00 HTTP/1.1\r\n{HOST}\r\n"), &["400 bad_target"]),
        (format!("GET /%ff HTTP/1.1\r\n{HOST}\r\n"), &["400 bad_target"]),
        (format!("OPTIONS * HTTP/1.1\r\n{HOST}\r\n"), &["400 bad_target"]),
        (format!("CONNECT y:443 HTTP/1.1\r\n{HOST}\r\n"), &["400 bad_target"]),
        // Heads.
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), &["400 bad_host"]),
        (format!("GET / HTTP/1.1\r\n{HOST}{HOST}\r\n"), &["400 bad_host"]),
        (format!("GET / HTTP/2.0\r\n{HOST}\r\n"), &["505 http_version"]),
        ("hello\r\n\r\n".to_owned(), &["400 bad_request"]),
        ("GET / HTTP/1.1\r\nHost x\r\n\r\n".to_owned(), &["400 bad_request"]),
        (format!("GET / HTTP/1.1\r\n{HOST}A: \0\r\n\r\n"), &["400 bad_request"]),
        (format!("GET / HTTP/1.1\r\n{HOST}{}\r\n", "A: b\r\n".repeat(64)), &["431 head_too_large"]),
        (format!("GET / HTTP/1.1\r\n{HOST}A: {}", "b".repeat(9_000)), &["431 head_too_large"]),
        (format!("GET /{} HTTP/1.1\r\n{HOST}\r\n", "b".repeat(9_000)), &["431 head_too_large"]),
        // WebSocket handshakes.
        (format!("GET /ws/lottery?since=a:1 HTTP/1.1\r\n{HOST}{socket}\r\nrest"), &["upgrade /ws/lottery Some(\"since=a:1\") +4"]),
        (format!("GET /ws HTTP/1.1\r\n{HOST}{socket}\r\n"), &["upgrade /ws None +0"]),
        (format!("GET /other HTTP/1.1\r\n{HOST}{socket}\r\n"), &["GET /other \"\""]),
        (format!("GET /ws HTTP/1.1\r\n{HOST}\r\n"), &["426 upgrade_required"]),
        (format!("POST /ws HTTP/1.1\r\n{HOST}{socket}\r\n"), &["405 method_not_allowed"]),
        (format!("GET /ws HTTP/1.1\r\n{HOST}{}\r\n", socket.replace("13", "8")), &["426 websocket_version"]),
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
    let body = format!("POST / HTTP/1.1\r\n{HOST}Content-Length: 9\r\n\r\nhalf");
    for (bytes, patience, ends) in [
        ("", limits.idle_time, None),
        (head.as_str(), limits.head_time, Some(408)),
        (body.as_str(), limits.body_time, Some(408)),
    ] {
        let mut connection = Connection::new(PEER, limits, start);
        assert_eq!(connection.receive(bytes.as_bytes(), start), None);
        assert_eq!(connection.deadline(), Some(start + patience), "{bytes:?}");
        assert_eq!(
            connection.expire(start + patience - Duration::from_nanos(1)),
            None
        );
        assert!(!connection.is_closed());
        let status = connection
            .expire(start + patience)
            .map(|event| match event {
                Event::Refuse(refusal) => refusal.status,
                other => panic!("{other:?}"),
            });
        assert_eq!(status, ends, "{bytes:?}");
        assert!(connection.is_closed());
    }
}

#[test]
fn bytes_one_by_one_do_not_buy_time() {
    let limits = Limits::default();
    let start = Instant::now();
    let mut connection = Connection::new(PEER, limits, start);
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
    let mut connection = Connection::new(PEER, limits, start);
    let bytes = format!("GET / HTTP/1.1\r\n{HOST}\r\n");
    assert!(connection.receive(bytes.as_bytes(), start).is_some());
    assert_eq!(connection.deadline(), None);
    connection.begin_writing(true, start);
    let later = start + limits.write_time / 2;
    connection.note_progress(later);
    assert_eq!(connection.expire(start + limits.write_time), None);
    assert!(!connection.is_closed());
    assert_eq!(connection.expire(later + limits.write_time), None);
    assert!(connection.is_closed());
}

/// A request out of parts that are good, odd or broken.
fn traffic() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just(format!("GET /a?b=c HTTP/1.1\r\n{HOST}\r\n").into_bytes()),
        Just(format!("POST /p HTTP/1.1\r\n{HOST}Content-Length: 5\r\n\r\nhello").into_bytes()),
        Just(format!("HEAD / HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n").into_bytes()),
        Just(b"\r\n".to_vec()),
        Just(b"GET / HTTP/1.0\r\n\r\n".to_vec()),
        Just(b"Content-Length: 70000\r\n\r\n".to_vec()),
        Just(vec![b'a'; 310]),
        proptest::collection::vec(any::<u8>(), 0..40),
    ];
    proptest::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// How the network cuts the bytes changes nothing.
    #[test]
    fn cuts_do_not_matter(bytes in traffic(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20)) {
        let limits = Limits { head_bytes: 300, ..Limits::default() };
        let whole = drive(&[&bytes], limits);
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        let pieces: Vec<&[u8]> = places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(drive(&pieces, limits), whole.clone());
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(drive(&single, limits), whole);
    }

    /// Whatever comes, nothing panics, and what is kept stays within the limits and one read.
    #[test]
    fn buffers_are_bounded(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..5_000), 0..40)) {
        let now = Instant::now();
        let limits = Limits::default();
        let mut connection = Connection::new(PEER, limits, now);
        for piece in &pieces {
            if !connection.wants_input() {
                break;
            }
            connection.receive(piece, now);
            prop_assert!(connection.input.len() < limits.head_bytes + limits.body_bytes + 5_000);
        }
    }
}
