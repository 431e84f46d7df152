//! The description against the real answers, by a validator that knows exactly the words the schemas use.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use crate::base::clock::Clock;
use crate::lottery::snapshot::{Publication, StoreEvent};
use crate::web::connection::{Connection, Event, Limits, Rules};
use crate::web::fixture::{self, Fixture};
use crate::web::handshake::shake;
use crate::web::http::{Port, Reply};
use crate::web::openapi::{document, kinds, meanings};
use crate::web::reply::write_refusal;
use crate::web::routes::ROUTES;
use crate::web::stream::Stream;

/// What is wrong with `value`, with the path to it; None when `schema` allows it.
fn fault(document: &Value, schema: &Value, value: &Value, path: &str) -> Option<String> {
    let rules = schema.as_object().expect("a schema is an object");
    rules
        .iter()
        .find_map(|(word, rule)| match (word.as_str(), rule) {
            ("description", _) => None,
            ("$ref", Value::String(name)) => {
                let pointer = name.strip_prefix('#').unwrap();
                let schema = document.pointer(pointer).expect(pointer);
                fault(document, schema, value, path)
            }
            ("anyOf", Value::Array(options)) => {
                let faults: Vec<String> = options
                    .iter()
                    .filter_map(|option| fault(document, option, value, path))
                    .collect();
                (faults.len() == options.len()).then(|| faults.join(" and "))
            }
            ("required", Value::Array(names)) => {
                let is_missing = |name: &&Value| value.get(name.as_str().unwrap()).is_none();
                let missing = names.iter().find(is_missing);
                missing.map(|name| format!("{path}: {name} is missing"))
            }
            ("properties", Value::Object(members)) => members.iter().find_map(|(name, schema)| {
                let member = value.get(name)?;
                fault(document, schema, member, &format!("{path}.{name}"))
            }),
            ("additionalProperties", rule) => {
                let is_described = |name: &str| schema["properties"].get(name).is_some();
                let mut others = value
                    .as_object()?
                    .iter()
                    .filter(|(name, _)| !is_described(name));
                others.find_map(|(name, member)| {
                    let path = format!("{path}.{name}");
                    match rule {
                        Value::Bool(true) => None,
                        Value::Bool(false) => Some(format!("{path} is not described")),
                        rule => fault(document, rule, member, &path),
                    }
                })
            }
            ("items", rule) => {
                let mut items = value.as_array()?.iter().enumerate();
                items.find_map(|(index, item)| {
                    fault(document, rule, item, &format!("{path}[{index}]"))
                })
            }
            (word, rule) => (!allows(word, rule, value))
                .then(|| format!("{path}: {value} against {word} {rule}")),
        })
}

/// Whether a rule that looks at nothing but the value itself allows it.
fn allows(word: &str, rule: &Value, value: &Value) -> bool {
    match word {
        "type" => has_type(rule.as_str().unwrap(), value),
        "enum" => rule.as_array().unwrap().contains(value),
        "pattern" => value
            .as_str()
            .is_some_and(|text| fits(rule.as_str().unwrap(), text)),
        "minimum" => value
            .as_f64()
            .is_none_or(|number| number >= rule.as_f64().unwrap()),
        "maximum" => value
            .as_f64()
            .is_none_or(|number| number <= rule.as_f64().unwrap()),
        unknown => panic!("the validator does not know {unknown}"),
    }
}

fn has_type(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        unknown => panic!("{unknown} is no type"),
    }
}

fn fits(pattern: &str, text: &str) -> bool {
    let hex = |length: usize| {
        text.strip_prefix("0x").is_some_and(|digits| {
            digits.len() == length && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        })
    };
    match pattern {
        kinds::ADDRESS => hex(40),
        "^0x[0-9a-f]{64}$" => hex(64) && text.to_lowercase() == text,
        "^[0-9]+$" => !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit()),
        unknown => panic!("the validator does not know {unknown}"),
    }
}

/// What the description says against an answer of that path: None where it fits.
fn misfit(document: &Value, path: &str, method: &str, reply: &Reply) -> Option<String> {
    let responses = &document["paths"][path][method]["responses"];
    let status = reply.status.to_string();
    let response = responses.get(&status).unwrap_or(&responses["default"]);
    let Some(content_type) = fixture::header(reply, "Content-Type") else {
        return response.get("content").map(Value::to_string);
    };
    let Some(content) = response["content"].get(content_type) else {
        return Some(format!("{content_type} is not described"));
    };
    let body = match content_type {
        "application/json" => serde_json::from_slice(&reply.body).unwrap(),
        _ => Value::String(String::from_utf8(reply.body.to_vec()).unwrap()),
    };
    fault(document, &content["schema"], &body, "body")
}

/// Asks every route of the table for an answer of each kind and checks it against its schema.
fn check(fixture: &Fixture) {
    let document = document();
    let action = fixture.submit_one();
    for route in ROUTES {
        let queries: &[&str] = match route.path {
            "/api/round/participants" => &["", "limit=1&offset=1", "limit=0"],
            "/api/round/player" => &["", "player=0x0000000000000000000000000000000000000001"],
            "/api/history" => &["", "limit=1", "before=2", "before=x"],
            "/api/activities" => &["", "limit=3", "before=nothing"],
            _ => &[""],
        };
        let paths: Vec<String> = match route.path {
            "/api/history/{roundId}" => ["1", "4", "5", "6", "7", "8", "x"]
                .map(|id| format!("/api/history/{id}"))
                .into(),
            "/api/operator/actions/{id}" => ["a-1", action.as_str(), "none"]
                .map(|id| format!("/api/operator/actions/{id}"))
                .into(),
            path => vec![path.to_owned()],
        };
        for (path, query) in paths
            .iter()
            .flat_map(|path| queries.iter().map(move |query| (path, *query)))
        {
            let (method, reply) = match route.is_command() {
                true => ("post", fixture.post(path, "{\"roundId\":7}")),
                false => ("get", fixture.get(&format!("{path}?{query}"))),
            };
            let fault = misfit(&document, route.path, method, &reply);
            assert_eq!(fault, None, "{path}?{query} {}", reply.status);
        }
    }
}

#[test]
fn real_answers_fit_their_schemas() {
    check(&Fixture::new(fixture::snapshot()));
    check(&Fixture::new(fixture::empty_snapshot()));
    let mut waiting = fixture::snapshot();
    waiting.config = None;
    waiting.syncing = true;
    check(&Fixture::new(waiting));
}

#[test]
fn what_is_no_json_is_as_described() {
    let document = document();
    let fixture = Fixture::new(fixture::snapshot());
    for (path, target, port, status) in [
        ("/", "/?utm_source=x", Port::Public, 200),
        ("/round/{roundId}", "/round/6", Port::Public, 200),
        ("/round/{roundId}", "/round/99", Port::Public, 200),
        ("/round/{roundId}", "/round/0", Port::Public, 404),
        ("/bet.svg", "/bet.svg?amountWei=1", Port::Public, 200),
        ("/bet.svg", "/bet.svg?amountWei=0", Port::Public, 400),
        ("/bet.svg", "/bet.svg", Port::Public, 400),
        ("/metrics", "/metrics", Port::Private, 200),
        ("/metrics", "/metrics", Port::Public, 404),
    ] {
        let mut request = fixture::request("GET", target, &[], "");
        request.port = port;
        let reply = fixture.api.handle(&request);
        assert_eq!(reply.status, status, "{target}");
        assert_eq!(misfit(&document, path, "get", &reply), None, "{target}");
        let responses = &document["paths"][path]["get"]["responses"];
        let is_own = responses.get(status.to_string()).is_some();
        assert_eq!(is_own, status != 404, "{target}");
    }
}

/// What a handshake with these fields is answered.
fn shaken(fields: &[(&str, &str)]) -> Reply {
    let rules = Rules {
        limits: Limits::default(),
        takes_body: Box::new(|_| false),
    };
    let now = Instant::now();
    let peer = [127, 0, 0, 1].into();
    let mut connection = Connection::new(peer, Port::Public, Arc::new(rules), now);
    let fields = fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"));
    let fields: String = fields.collect();
    let head = format!("GET /ws/lottery HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    match connection.receive(head.as_bytes(), now) {
        Some(Event::Upgrade { request, key, .. }) => {
            let answer = String::from_utf8(shake(&request, &key).answer).unwrap();
            Reply {
                status: answer[9..12].parse().unwrap(),
                headers: Vec::new(),
                body: Arc::from([]),
                delay: Duration::ZERO,
            }
        }
        Some(Event::Refuse(refused)) => write_refusal(Port::Public, Some("GET"), refused.refusal),
        other => panic!("{other:?}"),
    }
}

/// The fields that are said to be needed are those that are.
#[test]
fn the_feed_is_as_described() {
    let document = document();
    let feed = &document["paths"]["/ws/lottery"]["get"];
    let parameters = feed["parameters"].as_array().unwrap().iter();
    let headers = parameters.filter(|parameter| parameter["in"] == "header");
    let needed: Vec<(&str, &str)> = headers
        .map(|parameter| {
            assert_eq!(parameter["required"], true);
            let pattern = parameter["schema"]["pattern"].as_str().unwrap();
            let value = match pattern.trim_matches(['^', '$']) {
                "[A-Za-z0-9+/]{22}==" => "dGhlIHNhbXBsZSBub25jZQ==",
                plain => plain,
            };
            (parameter["name"].as_str().unwrap(), value)
        })
        .collect();
    let answered = |fields: &[(&str, &str)]| {
        let reply = shaken(fields);
        let found = misfit(&document, "/ws/lottery", "get", &reply);
        assert_eq!(found, None, "{fields:?}");
        assert!(feed["responses"].get(reply.status.to_string()).is_some());
        reply.status
    };
    assert_eq!(answered(&needed), 101);
    for index in 0..needed.len() {
        let mut fields = needed.clone();
        fields.remove(index);
        assert!(matches!(answered(&fields), 400 | 426), "{fields:?}");
    }
}

#[test]
fn messages_of_the_feed_fit_their_schema() {
    let document = document();
    let snapshot = Arc::new(fixture::snapshot());
    let mut stream = Stream::new(snapshot.clone(), fixture::deployment(), Clock::system());
    let mut messages = stream.take(&Publication {
        number: 1,
        snapshot,
        events: vec![StoreEvent::RoundUpdate(None)],
    });
    messages.extend(stream.greet(None));
    messages.extend([stream.heartbeat(), stream.shutdown()]);
    assert_eq!(messages.len(), 4);
    for message in messages {
        let frame = message.frame(false);
        let begin = frame.iter().position(|byte| *byte == b'{').unwrap();
        let value: Value = serde_json::from_slice(&frame[begin..]).unwrap();
        let schema = kinds::Kind::Reference("FeedMessage").schema();
        assert_eq!(
            fault(&document, &schema, &value, "message"),
            None,
            "{value}"
        );
    }
}

#[test]
fn the_validator_finds_what_does_not_fit() {
    let document = document();
    let schema = kinds::Kind::Reference("Checks").schema();
    for (value, named) in [
        (json!({"status": "ok"}), "\"failing\" is missing"),
        (json!({"status": "fine", "failing": {}}), "against enum"),
        (json!({"status": "ok", "failing": {"a": 1}}), "against type"),
        (
            json!({"status": "ok", "failing": {}, "more": 1}),
            "body.more is not described",
        ),
        (json!([]), "body"),
    ] {
        let found = fault(&document, &schema, &value, "body").unwrap();
        assert!(found.contains(named), "{found}");
    }
}

#[test]
fn every_reference_has_its_schema_and_every_operation_its_own_name() {
    let document = document();
    let text = document.to_string();
    for part in text.split("\"$ref\":\"#").skip(1) {
        let pointer = part.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
    let mut names: Vec<&str> = text
        .split("\"operationId\":\"")
        .skip(1)
        .map(|part| part.split('"').next().unwrap())
        .collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ROUTES.len() + 5);
    assert_eq!(
        document["paths"]["/api/round/refund"]["post"]["security"],
        json!([{"token": []}])
    );
}

/// Of every object in a schema, its fields without a meaning.
fn undescribed(schema: &Value, path: &str, found: &mut Vec<String>) {
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let meaning = member["description"].as_str().unwrap_or_default();
        let says_its_unit = match () {
            () if name.ends_with("Wei") => meaning.contains("wei"),
            () if name.ends_with("Seconds") => {
                meaning.contains("seconds") || meaning.contains("time")
            }
            () if name.ends_with("Ms") => meaning.contains("milliseconds"),
            () => true,
        };
        if meaning.is_empty() || !says_its_unit {
            found.push(path.clone());
        }
        undescribed(member, &path, found);
    }
    let inner = ["items", "additionalProperties"].map(|word| &schema[word]);
    let options = schema["anyOf"].as_array().into_iter().flatten();
    let inner = inner.into_iter().filter(|schema| schema.is_object());
    for inner in inner.chain(options) {
        undescribed(inner, path, found);
    }
}

#[test]
fn every_field_has_its_meaning_and_every_meaning_a_field() {
    let document = document();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let mut found = Vec::new();
    for (name, schema) in schemas {
        undescribed(schema, name, &mut found);
    }
    assert!(found.is_empty(), "{found:?}");
    let text = document["components"].to_string();
    let known: Vec<&str> = meanings::GROUPS
        .iter()
        .flat_map(|group| group.iter())
        .map(|(name, _)| *name)
        .collect();
    for (index, name) in known.iter().enumerate() {
        assert!(
            text.contains(&format!("\"{name}\":{{")),
            "{name} is no field"
        );
        assert!(!known[..index].contains(name), "{name} stands twice");
    }
}
