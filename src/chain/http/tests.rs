//! The transport against servers of a few bytes: what they send is an answer, or none, and never more than that.

use super::*;
use crate::chain::error::ErrorKind;
use crate::chain::names::tests::Script;
use serde_json::{json, Value};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

fn settings() -> HttpSettings {
    HttpSettings {
        timeout: Duration::from_secs(5),
        secrets: vec!["secret-key".to_owned()],
        ..HttpSettings::default()
    }
}

/// Serves one canned HTTP answer to one request.
fn serve<T: Into<Vec<u8>>>(answer: impl FnOnce(Value) -> T + Send + 'static) -> Http {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v3/secret-key", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" || line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let request = serde_json::from_slice(&body).unwrap();
        let answer: Vec<u8> = answer(request).into();
        reader.get_mut().write_all(&answer).unwrap();
    });
    Http::new(&url, &settings()).unwrap()
}

fn http(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
        body.len()
    )
}

#[test]
fn a_name_that_nobody_knows_is_told_as_that() {
    // Too long for any name server to be asked.
    let name = format!("{}.example", "long".repeat(80));
    let error = std::net::ToSocketAddrs::to_socket_addrs(&(name.as_str(), 80)).unwrap_err();
    assert_eq!(describe_io(&error), UNKNOWN_NAME, "{error:?}");
}

#[test]
fn what_this_machine_lacks_is_no_fault_of_the_servers() {
    for code in [libc::EMFILE, libc::ENFILE] {
        let error = std::io::Error::from_raw_os_error(code);
        assert_eq!(describe_io(&error), NO_DESCRIPTORS);
    }
}

/// Answers `count` requests, each on a connection of its own, and tells its port.
fn serve_each(count: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(count) {
            let mut stream = stream.unwrap();
            let mut start = [0; 16];
            stream.read_exact(&mut start).unwrap();
            let answer = http("200 OK", "", "{}");
            stream.write_all(answer.as_bytes()).unwrap();
            // Not closed before all of the request was taken.
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    port
}

fn server_at(ports: &[u16]) -> Http {
    let names = Names::told_by(Script::of(ports));
    Http::at(names, "http://node.example/", &settings()).unwrap()
}

#[test]
fn who_was_reached_is_reached_while_no_name_can_be_looked_up() {
    let server = server_at(&[serve_each(2)]);
    server.post(&json!({})).unwrap();
    server.names.doubt();
    server.post(&json!({})).unwrap();
}

#[test]
fn who_is_no_longer_where_the_name_was_is_looked_for_at_once() {
    let server = server_at(&[serve_each(1), serve_each(1)]);
    server.post(&json!({})).unwrap();
    server.post(&json!({})).unwrap_err();
    server.post(&json!({})).unwrap();
}

#[test]
fn a_request_goes_out_whole_and_its_answer_comes_back_with_its_status() {
    let request = json!({"id": 5, "method": "eth_chainId"});
    let server = serve(|request| http("400 Bad Request", "", &request.to_string()));
    let answer = server.post(&request).unwrap();
    assert_eq!(
        (answer.status, answer.body),
        (400, Body::Json(request.into()))
    );
    let limited = http("429 Too Many Requests", "retry-after: 7\r\n", "slow down");
    let answer = serve(|_| limited).post(&json!({})).unwrap();
    assert_eq!(answer.retry_after, Some(Duration::from_secs(7)));
    assert_eq!(answer.body, Body::Text("slow down".into()));
}

#[test]
fn bodies_may_be_larger_than_the_buffers_and_a_head_as_large_as_one_is_no_answer() {
    let large = json!({"id": 5, "params": "x".repeat(4 * INPUT_BUFFER_BYTES)});
    let echo = serve(|request| http("200 OK", "", &request.to_string()));
    assert_eq!(echo.post(&large).unwrap().body, Body::Json(large.into()));
    let cookies = |bytes| format!("set-cookie: {}\r\n", "c".repeat(bytes));
    let head = http("200 OK", &cookies(INPUT_BUFFER_BYTES / 2), "{}");
    let answer = serve(|_| head).post(&json!({})).unwrap();
    assert_eq!(answer.body, Body::Json(json!({}).into()));
    let head = http("200 OK", &cookies(INPUT_BUFFER_BYTES), "{}");
    let error = serve(|_| head).post(&json!({})).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Transport);
}

#[test]
fn a_wait_is_named_in_seconds_or_by_a_date() {
    let in_a_minute = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(61));
    let wait = wait_named(&in_a_minute).unwrap();
    assert!((50..=61).contains(&wait.as_secs()), "{wait:?}");
    let past = wait_named("Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(past, Some(Duration::ZERO));
    assert_eq!(wait_named(" 7 "), Some(Duration::from_secs(7)));
    for nonsense in ["", "soon", "-1", "1.5e", "99999999999999999999999"] {
        assert_eq!(wait_named(nonsense), None, "{nonsense}");
    }
}

#[test]
fn a_body_may_be_packed_unasked_or_begin_with_a_mark() {
    let value = json!({"id": 1, "result": "0x1"});
    let marked = http("200 OK", "", &format!("\u{feff}{value}"));
    let answer = serve(|_| marked).post(&json!({})).unwrap();
    assert_eq!(answer.body, Body::Json(value.clone().into()));
    let packed = |text: &[u8]| {
        let level = flate2::Compression::fast();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    };
    let sent = |coding: &str, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\ncontent-encoding: {coding}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    let whole = packed(value.to_string().as_bytes());
    for coding in ["gzip", "X-Gzip", "identity"] {
        let sent = sent(coding, &whole);
        let answer = serve(move |_| sent).post(&json!({})).unwrap();
        assert_eq!(answer.body, Body::Json(value.clone().into()), "{coding}");
    }
    // Cut off, spoilt, or so large unpacked that nobody wants it: no answer.
    let huge = packed(&vec![b' '; BODY_MAX_BYTES as usize + 1]);
    let mut spoilt = whole.clone();
    spoilt[10] ^= 0xff;
    for (body, told) in [
        (&spoilt[..], "gave a broken answer"),
        (&whole[..whole.len() / 2], "cut its answer off"),
        (&huge[..], "gave an answer that is too large"),
    ] {
        let sent = sent("gzip", body);
        let error = serve(move |_| sent).post(&json!({})).unwrap_err();
        assert_eq!(error.public(), told);
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let moved = http("302 Found", "location: http://127.0.0.1:1/\r\n", "");
    assert_eq!(serve(|_| moved).post(&json!({})).unwrap().status, 302);
}

#[test]
fn what_is_cut_off_or_without_end_is_no_answer() {
    let part = "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{\"id\"";
    let chunk = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n17\r\n{\"id\"";
    for (answer, kind) in [
        ("", ErrorKind::Transport),
        ("HTTP/1.1 200 OK\r\ncontent-le", ErrorKind::Transport),
        ("no HTTP at all\r\n\r\n", ErrorKind::Transport),
        // The server had something to say, and may say it when it is asked again.
        (part, ErrorKind::Unavailable),
        (chunk, ErrorKind::Unavailable),
    ] {
        let error = serve(move |_| answer).post(&json!({})).unwrap_err();
        assert_eq!(error.kind, kind, "{answer:?}: {error}");
    }
}

#[test]
fn nothing_shows_more_of_the_url_than_its_host() {
    let url = "https://user:pw@rpc.example:8443/v3/secret-key?k=2";
    let server = Http::new(url, &settings()).unwrap();
    assert_eq!(server.host(), "https://rpc.example:8443");
    let error = serve(|_| String::new()).post(&json!({})).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    let told = server.without_secrets("no such key: secret-key");
    assert_eq!(told, "no such key: ...");
}

#[test]
fn failures_are_told_in_words_that_may_be_public() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let url = format!("http://{}", unused.unwrap());
    let server = Http::new(&url, &settings()).unwrap();
    let error = server.post(&json!({})).unwrap_err();
    assert_eq!(error.public(), "refused the connection");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let timeout = Duration::from_millis(50);
    let hasty = HttpSettings {
        timeout,
        ..settings()
    };
    let error = Http::new(&url, &hasty).unwrap().post(&json!({}));
    assert_eq!(error.unwrap_err().public(), "timed out");
}

#[test]
fn an_account_is_sent_decoded() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let url = format!("http://user:p%40ss@{address}/rpc");
    let asked = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let lines = BufReader::new(stream).lines();
        lines
            .map(|line| line.unwrap().to_lowercase())
            .take_while(|line| !line.is_empty())
            .collect::<Vec<_>>()
    });
    let _ = Http::new(&url, &settings()).unwrap().post(&json!({}));
    let lines = asked.join().unwrap();
    let sent = "authorization: basic dxnlcjpwqhnz".to_owned();
    assert!(lines.contains(&sent), "{lines:?}");
    assert!(lines[0].starts_with("post /rpc "), "{lines:?}");
}

#[test]
fn authorities_are_certificates_in_pem() {
    for (bad, why) in [
        ("", "no certificate"),
        ("nonsense", "no certificate"),
        (
            "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
            "broken PEM",
        ),
    ] {
        let error = authorities(bad.as_bytes()).unwrap_err();
        assert!(error.contains(why), "{bad}: {error}");
    }
}

/// A server that speaks in its own way, with the body of a sound answer; None where what it says is no answer.
fn ways_to_speak() -> Vec<(&'static str, Vec<u8>, Option<Value>)> {
    const SOUND: &str = r#"{"id":1,"result":"0x1"}"#;
    let sound = || Some(json!({"id": 1, "result": "0x1"}));
    let head = |head: &str, body: &[u8]| [head.as_bytes(), b"\r\n\r\n", body].concat();
    let sized = |text: &str| {
        head(
            &format!("HTTP/1.1 200 OK\r\ncontent-length: {}", text.len()),
            text.as_bytes(),
        )
    };
    let ok = "HTTP/1.1 200 OK";
    let until_closed = |text: &str| head(&format!("{ok}\r\nconnection: close"), text.as_bytes());
    let text = |text: &str| Some(Value::from(text));
    vec![
        (
            "HTTP/1.0, to its end",
            head("HTTP/1.0 200 OK", SOUND.as_bytes()),
            sound(),
        ),
        ("HTTP/1.1, to its end", until_closed(SOUND), sound()),
        (
            "no reason",
            head(
                &format!("HTTP/1.1 200\r\ncontent-length: {}", SOUND.len()),
                SOUND.as_bytes(),
            ),
            sound(),
        ),
        (
            "a continue before",
            [&b"HTTP/1.1 100 Continue\r\n\r\n"[..], &sized(SOUND)].concat(),
            sound(),
        ),
        (
            "hints before",
            [
                &b"HTTP/1.1 103 Early Hints\r\nlink: </>\r\n\r\n"[..],
                &sized(SOUND),
            ]
            .concat(),
            sound(),
        ),
        (
            "cookies",
            head(
                &format!(
                    "{ok}\r\nset-cookie: a=b\r\nset-cookie: c=d\r\ncontent-length: {}",
                    SOUND.len()
                ),
                SOUND.as_bytes(),
            ),
            sound(),
        ),
        (
            "another type",
            head(
                &format!(
                    "{ok}\r\ncontent-type: text/html\r\ncontent-length: {}",
                    SOUND.len()
                ),
                SOUND.as_bytes(),
            ),
            sound(),
        ),
        (
            "chunks",
            head(
                &format!("{ok}\r\ntransfer-encoding: chunked"),
                format!(
                    "5\r\n{}\r\n12;x=y\r\n{}\r\n0\r\ntrailer: z\r\n\r\n",
                    &SOUND[..5],
                    &SOUND[5..]
                )
                .as_bytes(),
            ),
            sound(),
        ),
        (
            "chunks without an end",
            head(
                &format!("{ok}\r\ntransfer-encoding: chunked"),
                format!("17\r\n{SOUND}\r\n").as_bytes(),
            ),
            None,
        ),
        (
            "a chunk of no size",
            head(
                &format!("{ok}\r\ntransfer-encoding: chunked"),
                b"zz\r\nab\r\n0\r\n\r\n",
            ),
            None,
        ),
        (
            "space around",
            sized(&format!("\r\n\t {SOUND} \n")),
            sound(),
        ),
        (
            "keys twice",
            sized(r#"{"id":7,"result":null,"id":1,"result":"0x1"}"#),
            sound(),
        ),
        (
            "more after the answer",
            sized(&format!("{SOUND}x")),
            sound(),
        ),
        ("two answers", sized(&format!("{SOUND}\n{SOUND}")), sound()),
        (
            "packed, it says, and is not",
            head(
                &format!(
                    "{ok}\r\ncontent-encoding: gzip\r\ncontent-length: {}",
                    SOUND.len()
                ),
                SOUND.as_bytes(),
            ),
            sound(),
        ),
        ("a word", sized("\"busy\""), text("busy")),
        (
            "a word and more",
            sized("\"busy\" now"),
            text("\"busy\" now"),
        ),
        ("a body of nothing", sized(""), text("")),
        ("no content", head("HTTP/1.1 204 No Content", b""), text("")),
        ("nothing", Vec::new(), None),
        (
            "a wrong size",
            head(&format!("{ok}\r\ncontent-length: 99999"), SOUND.as_bytes()),
            None,
        ),
        (
            "a size of words",
            head(&format!("{ok}\r\ncontent-length: many"), SOUND.as_bytes()),
            None,
        ),
        ("no HTTP", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), None),
        (
            "a head without end",
            format!("{ok}\r\n{}", "x: y\r\n".repeat(100_000)).into_bytes(),
            None,
        ),
        (
            "no UTF-8",
            head(&format!("{ok}\r\ncontent-length: 3"), &[b'"', 0xff, b'"']),
            text("\"\u{fffd}\""),
        ),
        (
            "deep",
            sized(&"[".repeat(100_000)),
            text(&"[".repeat(TEXT_MAX_BYTES)),
        ),
    ]
}

#[test]
fn however_a_server_speaks_there_is_an_answer_or_none() {
    let mut odd = Vec::new();
    for (way, said, expected) in ways_to_speak() {
        let heard = serve(move |_| said)
            .post(&json!({}))
            .map(|answer| match answer.body {
                Body::Json(json) => json.to_value(),
                Body::Text(text) => Value::from(text),
            });
        if heard.as_ref().ok() != expected.as_ref() {
            odd.push(format!("{way}: {heard:?}"));
        }
    }
    assert_eq!(odd, [""; 0]);
}

#[test]
fn an_address_of_either_kind_needs_no_name() {
    for listening in ["127.0.0.1:0", "[::1]:0"] {
        // Not every machine has an address of the newer kind.
        let Ok(listener) = TcpListener::bind(listening) else {
            continue;
        };
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4_096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
        });
        let answer = Http::new(&url, &settings()).unwrap().post(&json!({}));
        assert_eq!(answer.unwrap().body, Body::Json(json!({}).into()), "{url}");
        serving.join().unwrap();
    }
}
