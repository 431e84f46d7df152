//! What is served beside the table of routes, as its description has it: the page, the code of a bet, the metrics and the
//! feed. None of it answers in JSON.

use serde_json::{json, Map, Value};

use crate::web::openapi::kinds::{text_like, Kind};
use crate::web::openapi::parts::{in_path, in_query, refusals, response};
use crate::web::routes::{Parameter, BET_PARAMETERS, FEED_PARAMETERS};

/// One path and its GET.
struct Served {
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    parameters: &'static [Parameter],
    status: &'static str,
    /// None for an answer without a body.
    content_type: Option<&'static str>,
}

const HTML: Option<&str> = Some("text/html; charset=utf-8");

const SERVED: &[Served] = &[
    Served {
        path: "/",
        id: "page",
        summary: "The page, with the running round in its first screen; it takes any query",
        parameters: &[],
        status: "200",
        content_type: HTML,
    },
    Served {
        path: "/round/{roundId}",
        id: "roundPage",
        summary: "The same page on one round, as links to it show it",
        parameters: &[],
        status: "200",
        content_type: HTML,
    },
    Served {
        path: "/bet.svg",
        id: "betCode",
        summary: "The QR code that asks a phone's wallet to bet, by EIP-681",
        parameters: BET_PARAMETERS,
        status: "200",
        content_type: Some("image/svg+xml"),
    },
    Served {
        path: METRICS,
        id: "metrics",
        summary: "Metrics for Prometheus, on the private port alone",
        parameters: &[],
        status: "200",
        content_type: Some("text/plain; version=0.0.4"),
    },
    Served {
        path: FEED,
        id: "feed",
        summary: "The feed, a WebSocket (also at /ws): each text is a FeedMessage",
        parameters: FEED_PARAMETERS,
        status: "101",
        content_type: None,
    },
];

const METRICS: &str = "/metrics";
const FEED: &str = "/ws/lottery";

/// The paths with their operations.
pub(crate) fn paths() -> Map<String, Value> {
    let paths = SERVED
        .iter()
        .map(|served| (served.path.to_owned(), json!({"get": operation(served)})));
    paths.collect()
}

fn operation(served: &Served) -> Value {
    let mut answer = json!({"description": "the answer"});
    if let Some(content_type) = served.content_type {
        answer["content"] = json!({content_type: {"schema": Kind::Text.schema()}});
    }
    let mut responses = refusals(!served.parameters.is_empty());
    responses.insert(served.status.to_owned(), answer);
    let mut parameters: Vec<Value> = served.parameters.iter().map(in_query).collect();
    if served.path.ends_with("{roundId}") {
        parameters.push(in_path("roundId", Kind::RoundNumber.schema()));
    }
    if served.path == FEED {
        let meaning = "no handshake, or one of another version";
        responses.insert("426".to_owned(), response(meaning, "Error"));
        parameters.extend(
            HANDSHAKE
                .iter()
                .map(|(name, pattern)| handshake(name, pattern)),
        );
    }
    let mut operation = json!({
        "operationId": served.id,
        "summary": served.summary,
        "responses": responses,
        "parameters": parameters,
    });
    if served.path == METRICS {
        operation["servers"] = json!([{
            "url": "http://{metrics_listen}",
            "variables": {"metrics_listen": {
                "default": "127.0.0.1:9464", "description": "server.metrics_listen, where it is set",
            }},
        }]);
    }
    operation
}

/// What a handshake has to say (RFC 6455, 4.1): fields, and what suits them.
const HANDSHAKE: &[(&str, &str)] = &[
    ("Upgrade", "^websocket$"),
    ("Connection", "^Upgrade$"),
    ("Sec-WebSocket-Version", "^13$"),
    ("Sec-WebSocket-Key", "^[A-Za-z0-9+/]{22}==$"),
];

fn handshake(name: &str, pattern: &str) -> Value {
    let schema = text_like(pattern);
    json!({"name": name, "in": "header", "required": true, "schema": schema})
}
