//! How it is said: methods, queries, headers, tags, compression, the two ports, and requests of any kind at all.

use std::io::Read;
use std::time::Duration;

use proptest::prelude::*;

use super::{code, message, with_state};
use crate::web::fixture::{self, header, json as body_of, Fixture, TOKEN};
use crate::web::http::Port;
use crate::web::routes;

#[test]
fn headers_suit_the_kind_of_answer() {
    let fixture = with_state();
    for target in [
        "/",
        "/app.js",
        "/api/status",
        "/nowhere",
        "/api/history?limit=x",
    ] {
        let reply = fixture.get(target);
        assert_eq!(header(&reply, "X-Content-Type-Options"), Some("nosniff"));
        assert_eq!(header(&reply, "Referrer-Policy"), Some("no-referrer"));
        assert_eq!(
            header(&reply, "Access-Control-Allow-Origin"),
            Some("*"),
            "{target}"
        );
        assert_eq!(header(&reply, "Access-Control-Allow-Credentials"), None);
    }
    let posted = fixture.post("/api/round/draw", "{}");
    assert_eq!(header(&posted, "Access-Control-Allow-Origin"), None);
    let page = fixture.get("/?from=somewhere");
    assert_eq!(
        (page.status, header(&page, "Content-Type")),
        (200, Some("text/html; charset=utf-8"))
    );
    let policy = header(&page, "Content-Security-Policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self';"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"));
    for (target, caching) in [
        ("/", "no-cache"),
        ("/style.css", "no-cache"),
        ("/api/round/status", "no-cache"),
        ("/api/history/6", "no-cache"),
        ("/api/history/5", "no-cache"),
        ("/api/history/4", "no-cache"),
        ("/api/history/2", "no-store"),
    ] {
        let reply = fixture.get(target);
        assert_eq!(header(&reply, "Cache-Control"), Some(caching), "{target}");
    }
}

/// "For ever" is said only where the URL names the deployment, of what is settled; such an answer is of no block.
#[test]
fn a_settled_round_of_a_named_deployment_is_immutable() {
    const FOR_EVER: &str = "public, max-age=31536000, immutable";
    let mut fixture = with_state();
    let contract = format!("{:#x}", fixture::address(0xc0));
    let name = format!("31337-{contract}-9e9e9e9e9e9e9e9e");
    for (round, is_for_ever) in [
        (6, false),
        (5, false),
        (4, true),
        // Out of reach today, but perhaps not of the next endpoint.
        (3, false),
    ] {
        for of in [name.clone(), name.to_uppercase().replace("0X", "0x")] {
            let reply = fixture.get(&format!("/api/history/{round}?of={of}"));
            let caching = if is_for_ever { FOR_EVER } else { "no-cache" };
            assert_eq!(header(&reply, "Cache-Control"), Some(caching), "{round}");
            assert_eq!(
                body_of(&reply).get("asOf").is_none(),
                is_for_ever,
                "{round}"
            );
            assert_eq!(body_of(&reply)["roundId"], round);
        }
    }
    for other in [
        format!("1-{contract}-9e9e9e9e9e9e9e9e"),
        format!("31337-{contract}-0000000000000000"),
        format!("31337-{:#x}-9e9e9e9e9e9e9e9e", fixture::address(0xc1)),
        String::new(),
    ] {
        let reply = fixture.get(&format!("/api/history/4?of={other}"));
        assert_eq!(
            (reply.status, code(&reply).as_str()),
            (404, "other_deployment"),
            "{other}"
        );
    }
    let status = body_of(&fixture.get("/api/status"));
    let genesis = format!("0x{}", "9e".repeat(32));
    assert_eq!(status["deployment"]["genesis"], genesis);
    assert_eq!(status["deployment"]["chainId"], 31_337);
    // While the chain is not known by its genesis, nothing is for ever.
    let mut snapshot = fixture::snapshot();
    snapshot.genesis = None;
    fixture = Fixture::new(snapshot);
    let reply = fixture.get(&format!("/api/history/4?of={name}"));
    assert_eq!(header(&reply, "Cache-Control"), Some("no-cache"));
}

#[test]
fn an_answer_that_the_client_has_is_not_sent_again() {
    let fixture = with_state();
    for target in [
        "/",
        "/app.js",
        "/api/status",
        "/api/openapi.json",
        "/api/history/4",
    ] {
        let first = fixture.get(target);
        let tag = header(&first, "ETag").unwrap().to_owned();
        assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
        for (known, status) in [
            (tag.clone(), 304),
            (format!("W/{tag}, \"other\""), 304),
            ("*".to_owned(), 304),
            ("\"other\"".to_owned(), 200),
        ] {
            for method in ["GET", "HEAD"] {
                let reply = fixture.send(method, target, &[("if-none-match", &known)], "");
                assert_eq!(reply.status, status, "{target} {known}");
                assert_eq!(header(&reply, "ETag"), Some(tag.as_str()));
                assert_eq!(reply.body.is_empty(), status == 304);
            }
        }
    }
    let before = fixture.get("/api/round/status");
    fixture.clock.advance(Duration::from_secs(1));
    let after = fixture.get("/api/round/status");
    assert_ne!(header(&before, "ETag"), header(&after, "ETag"));
    assert_eq!(header(&fixture.get("/nowhere"), "ETag"), None);
}

#[test]
fn long_answers_are_compressed_for_those_who_take_it() {
    let fixture = with_state();
    for (target, is_long) in [
        ("/", true),
        ("/style.css", true),
        ("/api/history", true),
        ("/api/contract/address", false),
    ] {
        let plain = fixture.get(target);
        let packed = fixture.send("GET", target, &[("accept-encoding", "br, gzip;q=0.5")], "");
        assert_eq!(header(&plain, "Content-Encoding"), None);
        assert_eq!(header(&plain, "Vary").is_some(), is_long, "{target}");
        assert_eq!(
            header(&packed, "Content-Encoding"),
            is_long.then_some("gzip"),
            "{target}"
        );
        let mut unpacked = Vec::new();
        match is_long {
            true => {
                assert!(packed.body.len() * 10 < plain.body.len() * 6, "{target}");
                flate2::read::GzDecoder::new(&packed.body[..])
                    .read_to_end(&mut unpacked)
                    .unwrap();
                assert_ne!(header(&plain, "ETag"), header(&packed, "ETag"));
            }
            false => unpacked = packed.body.to_vec(),
        }
        assert_eq!(unpacked[..], plain.body[..], "{target}");
        let tag = header(&packed, "ETag").unwrap();
        let again = [("accept-encoding", "gzip"), ("if-none-match", tag)];
        assert_eq!(fixture.send("GET", target, &again, "").status, 304);
    }
}

#[test]
fn methods() {
    let fixture = with_state();
    for (method, target, status, allow) in [
        ("POST", "/", 405, Some("GET, HEAD, OPTIONS")),
        ("PUT", "/api/status", 405, Some("GET, HEAD, OPTIONS")),
        ("DELETE", "/api/history/6", 405, Some("GET, HEAD, OPTIONS")),
        (
            "POST",
            "/api/operator/actions/a-1",
            405,
            Some("GET, HEAD, OPTIONS"),
        ),
        ("GET", "/api/round/draw", 405, Some("POST, OPTIONS")),
        ("HEAD", "/api/round/refund", 405, Some("POST, OPTIONS")),
        ("get", "/api/status", 405, Some("GET, HEAD, OPTIONS")),
        ("OPTIONS", "/api/status", 204, Some("GET, HEAD, OPTIONS")),
        ("OPTIONS", "/", 204, Some("GET, HEAD, OPTIONS")),
        ("OPTIONS", "/api/round/draw", 204, Some("POST, OPTIONS")),
        ("OPTIONS", "/nowhere", 404, None),
        ("POST", "/nowhere", 404, None),
        ("HEAD", "/api/status", 200, None),
        ("OPTIONS", "*", 204, Some("GET, HEAD, POST, OPTIONS")),
        ("OPTIONS", "/ws/lottery", 204, Some("GET, OPTIONS")),
        ("GET", "/api%2Fstatus", 404, None),
    ] {
        let reply = fixture.send(method, target, &[], "");
        assert_eq!(reply.status, status, "{method} {target}");
        assert_eq!(header(&reply, "Allow"), allow, "{method} {target}");
        if status == 405 {
            assert_eq!(code(&reply), "method_not_allowed");
        }
    }
    let read = fixture.send("OPTIONS", "/api/status", &[], "");
    assert_eq!(header(&read, "Access-Control-Allow-Origin"), Some("*"));
    assert_eq!(
        header(&read, "Access-Control-Allow-Methods"),
        Some("GET, HEAD")
    );
    let command = fixture.send("OPTIONS", "/api/round/draw", &[], "");
    assert_eq!(header(&command, "Access-Control-Allow-Origin"), None);
    assert_eq!(
        fixture.get("/api/status").body,
        fixture.send("HEAD", "/api/status", &[], "").body
    );
}

#[test]
fn bad_queries_name_the_parameter() {
    let fixture = with_state();
    for (target, named) in [
        (
            "/api/round/participants?limit=0",
            "limit is 0, allowed are whole numbers from 1 to 1000",
        ),
        ("/api/round/participants?limit=1001", "limit is 1001"),
        ("/api/round/participants?offset=-1", "offset is -1"),
        ("/api/round/player", "player is missing"),
        (
            "/api/round/player?player=0x1",
            "player is 0x1, allowed is 0x and 40 hex digits",
        ),
        (
            "/api/history?limit=21",
            "limit is 21, allowed are whole numbers from 1 to 20",
        ),
        ("/api/history?before=0", "before is 0"),
        ("/api/history?limit=1&limit=2", "limit is given twice"),
        ("/api/activities?limit=1001", "limit is 1001"),
        (
            "/api/activities?before=nothing",
            "before is nothing, allowed is the id of an item",
        ),
    ] {
        let reply = fixture.get(target);
        assert_eq!(
            (reply.status, code(&reply).as_str()),
            (400, "bad_query"),
            "{target}"
        );
        assert!(
            message(&reply).contains(named),
            "{target}: {}",
            message(&reply)
        );
    }
}

/// Tracking and cache-busting parameters come from outside and mean nothing.
#[test]
fn unknown_parameters_are_ignored() {
    let fixture = with_state();
    for target in [
        "/api/round/participants?page=2",
        "/api/status?verbose",
        "/api/history/6?x=1&utm_source=a%20b",
        "/api/history?_=123&_=456&fbclid=%zz",
        "/healthz?x",
        "/?utm_campaign=x",
        "/app.js?v=3",
    ] {
        assert_eq!(fixture.get(target).status, 200, "{target}");
    }
}

#[test]
fn a_body_that_was_left_is_named_where_nothing_else_is_wrong() {
    let fixture = with_state();
    for (method, target, status, named) in [
        ("GET", "/api/status", 413, "body_too_large"),
        ("GET", "/", 413, "body_too_large"),
        ("POST", "/api/status", 405, "method_not_allowed"),
        ("POST", "/nowhere", 404, "not_found"),
        ("POST", "/api/round/draw", 401, "unauthorized"),
    ] {
        let mut request = fixture::request(method, target, &[], "");
        request.body_is_left = true;
        let reply = fixture.api.handle(&request);
        assert_eq!(
            (reply.status, code(&reply).as_str()),
            (status, named),
            "{target}"
        );
    }
}

#[test]
fn a_wrong_token_is_answered_late() {
    let fixture = with_state();
    for (token, is_late) in [("Bearer wrong", true), ("Basic x", false)] {
        let headers = [("authorization", token)];
        let reply = fixture.send("POST", "/api/round/draw", &headers, "{\"roundId\":7}");
        assert_eq!(
            (reply.status, !reply.delay.is_zero()),
            (401, is_late),
            "{token}"
        );
    }
    let right = fixture.post("/api/round/draw", "{\"roundId\":7}");
    assert!(right.delay.is_zero());
}

#[test]
fn the_private_port_has_the_metrics_and_takes_no_actions() {
    let fixture = with_state();
    fixture.get("/api/status");
    let private = |method: &str, target: &str| {
        let authorization = format!("Bearer {TOKEN}");
        let headers = [("authorization", authorization.as_str())];
        let mut request = fixture::request(method, target, &headers, "{\"roundId\":7}");
        request.port = Port::Private;
        fixture.api.handle(&request)
    };
    let metrics = private("GET", "/metrics");
    assert_eq!(
        header(&metrics, "Content-Type"),
        Some("text/plain; version=0.0.4")
    );
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(
        text.contains("lottery_http_requests_total{status=\"200\"} 1\n"),
        "{text}"
    );
    assert!(text.contains("lottery_websocket_clients 3\n"), "{text}");
    assert_eq!(private("GET", "/metrics?x=1").status, 200);
    assert_eq!(private("GET", "/ws").status, 404);
    assert_eq!(private("POST", "/metrics").status, 405);
    assert_eq!(private("OPTIONS", "/metrics").status, 204);
    for target in ["/healthz", "/readyz", "/api/status", "/"] {
        let reply = private("GET", target);
        assert_eq!(reply.status, 200, "{target}");
        // A page of another origin has no business with this port.
        assert_eq!(header(&reply, "Access-Control-Allow-Origin"), None);
    }
    let preflight = private("OPTIONS", "/api/status");
    assert_eq!(
        (
            preflight.status,
            header(&preflight, "Access-Control-Allow-Origin")
        ),
        (204, None)
    );
    let refused = private("POST", "/api/round/refund");
    assert_eq!(
        (refused.status, code(&refused).as_str()),
        (403, "read_only")
    );
    assert!(fixture.commands.is_empty());
}

#[test]
fn the_page_tells_the_state_without_javascript() {
    let mut snapshot = fixture::snapshot();
    let mut hostile = fixture::refunded(5, 950);
    hostile.outcome = crate::lottery::history::Outcome::Refunded {
        reason: "<script>alert('\"&')</script>".to_owned(),
    };
    snapshot.history = vec![hostile.into()].into();
    let page = Fixture::new(snapshot).get("/");
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(
        html.contains("Round 7 is open, 0.2 ETH in the pot"),
        "{html}"
    );
    assert!(
        html.contains("The contract says: \u{2068}&lt;script&gt;")
            && !html.contains("<script>alert"),
        "{html}"
    );
    for asset in ["style.css", "app.js"] {
        assert_eq!(
            Fixture::new(fixture::empty_snapshot())
                .get(&format!("/{asset}"))
                .status,
            200
        );
    }
}

/// Paths near to those that exist, and all others.
fn target() -> impl Strategy<Value = String> {
    let known: Vec<String> = routes::ROUTES
        .iter()
        .map(|route| route.path.to_owned())
        .collect();
    let near = prop::sample::select(known);
    let part =
        "(limit|offset|before|player|[a-zé%&=]{0,5})=([0-9]{0,21}|0x[0-9a-fA-F]{0,42}|.{0,8})";
    let query = prop::collection::vec(part, 0..4).prop_map(|parts| parts.join("&"));
    (
        prop_oneof![
            near,
            "/api/history/.{0,24}",
            "/api/operator/actions/.{0,24}",
            ".{0,64}"
        ],
        "(/|x|)",
        query,
    )
        .prop_map(|(path, tail, query)| format!("{path}{tail}?{query}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_request_makes_it_panic(
        method in prop_oneof!["GET", "HEAD", "POST", "OPTIONS", "[A-Za-z]{0,8}"],
        target in target(),
        accepted in prop_oneof![Just("gzip".to_owned()), "[a-z*;=,.0-9q ]{0,24}", ".{0,16}"],
        tag in ".{0,24}",
        authorization in prop_oneof![Just(format!("Bearer {TOKEN}")), ".{0,24}"],
        body in prop_oneof![
            "\\{\"roundId\":[0-9e.-]{0,22}(,\"force\":(true|false|1))?\\}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..64),
        ],
        with_state in any::<bool>(),
    ) {
        let fixture = Fixture::new(if with_state { fixture::snapshot() } else { fixture::empty_snapshot() });
        let headers = [
            ("accept-encoding", accepted.as_str()),
            ("if-none-match", tag.as_str()),
            ("authorization", authorization.as_str()),
        ];
        let mut request = fixture::request(&method, &target, &headers, "");
        request.body = body;
        for port in [Port::Public, Port::Private] {
            request.port = port;
            let reply = fixture.api.handle(&request);
            prop_assert!((200..=503).contains(&reply.status) && reply.status != 500);
            for (name, value) in &reply.headers {
                prop_assert!(value.is_ascii() && !value.contains(['\r', '\n']), "{}: {:?}", name, value);
            }
            if reply.status >= 400 {
                let body = body_of(&reply);
                let is_probe = body["status"] == "failing";
                prop_assert!(is_probe || body["error"]["code"].is_string(), "{}", body);
            }
        }
    }
}
