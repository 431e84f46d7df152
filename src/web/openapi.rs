//! The API's own description, OpenAPI 3.1: one table of routes, from which the router knows what exists.

use serde_json::{json, Map, Value};

/// A route with its query parameters (name, type, meaning) and the fields of its answer.
struct Route {
    path: &'static str,
    method: &'static str,
    summary: &'static str,
    parameters: &'static [(&'static str, &'static str, &'static str)],
    required: &'static [&'static str],
    success: &'static str,
}

const ROUTES: &[Route] = &[
    Route {
        path: "/healthz",
        method: "get",
        summary: "200 while every thread turns, else 503 with the failing ones",
        parameters: &[],
        required: &["status", "failing"],
        success: "200",
    },
    Route {
        path: "/readyz",
        method: "get",
        summary: "200 when the chain is fresh, synced and the key is the contract's operator, else 503",
        parameters: &[],
        required: &["status", "failing"],
        success: "200",
    },
    Route {
        path: "/api/health",
        method: "get",
        summary: "Threads, endpoints (hosts only), ages and versions",
        parameters: &[],
        required: &["asOf", "version", "commit", "healthy", "ready", "components", "endpoints", "connection"],
        success: "200",
    },
    Route {
        path: "/api/status",
        method: "get",
        summary: "Round, participant totals, last five rounds, operator, chain and number of feed clients",
        parameters: &[],
        required: &["asOf", "round", "participants", "lastRounds", "operator", "chain", "websocketClients"],
        success: "200",
    },
    Route {
        path: "/api/round/status",
        method: "get",
        summary: "The running round and its phase",
        parameters: &[],
        required: &["asOf", "roundId", "phase", "chainTime"],
        success: "200",
    },
    Route {
        path: "/api/round/participants",
        method: "get",
        summary: "Participants by amount, descending",
        parameters: &[
            ("limit", "integer", "1 to 1000, 200 unless given"),
            ("offset", "integer", "how many to pass over, 0 unless given"),
        ],
        required: &["asOf", "roundId", "participants", "totalParticipants", "totalAmountWei"],
        success: "200",
    },
    Route {
        path: "/api/round/player",
        method: "get",
        summary: "One player's bets and chance (percent of the pot)",
        parameters: &[("player", "string", "an address; required")],
        required: &["asOf", "player", "roundId", "totalAmountWei", "winRate"],
        success: "200",
    },
    Route {
        path: "/api/round/draw",
        method: "post",
        summary: "Asks the operator to draw the running round; needs the token",
        parameters: &[],
        required: &["actionId", "roundId", "location"],
        success: "202",
    },
    Route {
        path: "/api/round/refund",
        method: "post",
        summary: "Asks the operator to refund the running round; needs the token",
        parameters: &[],
        required: &["actionId", "roundId", "location"],
        success: "202",
    },
    Route {
        path: "/api/history",
        method: "get",
        summary: "Finished rounds, newest first",
        parameters: &[
            ("limit", "integer", "at most round_history_max, 20 unless given"),
            ("before", "integer", "only rounds below this number"),
        ],
        required: &["asOf", "rounds", "summary", "nextBefore"],
        success: "200",
    },
    Route {
        path: "/api/history/{roundId}",
        method: "get",
        summary: "One finished round with its bets, its draw and its proof",
        parameters: &[],
        required: &["asOf", "roundId", "type", "bets", "proof", "finality"],
        success: "200",
    },
    Route {
        path: "/api/activities",
        method: "get",
        summary: "The live feed, newest first",
        parameters: &[
            ("limit", "integer", "at most live_feed_max_entries, 50 unless given"),
            ("before", "string", "only items older than the one of this id"),
        ],
        required: &["asOf", "activities", "nextBefore"],
        success: "200",
    },
    Route {
        path: "/api/contract/config",
        method: "get",
        summary: "The contract's configuration",
        parameters: &[],
        required: &["asOf", "publisher", "operator", "minBetWei", "bettingDurationSeconds", "minParticipants"],
        success: "200",
    },
    Route {
        path: "/api/contract/address",
        method: "get",
        summary: "The contract's address and chain",
        parameters: &[],
        required: &["address", "chainId", "explorerUrl"],
        success: "200",
    },
    Route {
        path: "/contracts/abi/Lottery.abi",
        method: "get",
        summary: "The contract's ABI",
        parameters: &[],
        required: &[],
        success: "200",
    },
    Route {
        path: "/api/operator/status",
        method: "get",
        summary: "The operator: what it waits for or does, what is in flight, its alerts",
        parameters: &[],
        required: &["asOf", "isRunning", "keyLoaded", "phase", "maxDrawRetries", "inFlight", "alerts"],
        success: "200",
    },
    Route {
        path: "/api/operator/actions/{id}",
        method: "get",
        summary: "One action: its state, transactions and error; the last 100 are kept",
        parameters: &[],
        required: &["id", "action", "roundId", "state", "attempts", "hashes", "blockNumber", "error"],
        success: "200",
    },
    Route {
        path: "/api/openapi.json",
        method: "get",
        summary: "This document",
        parameters: &[],
        required: &["openapi", "info", "paths"],
        success: "200",
    },
];

/// True for a path of the table without parameters in it.
pub fn is_known(path: &str) -> bool {
    ROUTES.iter().any(|route| route.path == path)
}

/// The fields that a success of `path` always has.
#[cfg(test)]
pub fn required_fields(path: &str) -> &'static [&'static str] {
    ROUTES
        .iter()
        .find(|route| route.path == path)
        .map_or(&[], |route| route.required)
}

pub fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let mut operation = json!({
            "summary": route.summary,
            "responses": {
                route.success: {
                    "description": "success",
                    "content": {"application/json": {"schema": schema(route)}},
                },
                "default": {"$ref": "#/components/responses/Error"},
            },
        });
        let parameters = parameters(route);
        if !parameters.is_empty() {
            operation["parameters"] = Value::Array(parameters);
        }
        if route.method == "post" {
            operation["security"] = json!([{"token": []}]);
            operation["requestBody"] = request_body(route.path);
        }
        paths.insert(route.path.to_owned(), json!({route.method: operation}));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "lottery",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Wei and seeds are decimal strings, addresses EIP-55, times unix seconds. \
                            The feed is a WebSocket at /ws/lottery.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {"Error": {
                "description": "what is wrong and what to do",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            }},
            "schemas": {"Error": {
                "type": "object",
                "required": ["error"],
                "properties": {"error": {
                    "type": "object",
                    "required": ["code", "message"],
                    "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
                }},
            }},
        },
    })
}

fn schema(route: &Route) -> Value {
    if route.required.is_empty() {
        return json!({});
    }
    json!({"type": "object", "required": route.required})
}

fn parameters(route: &Route) -> Vec<Value> {
    let in_query = route.parameters.iter().map(|(name, kind, meaning)| {
        json!({
            "name": name, "in": "query", "description": meaning, "required": meaning.ends_with("required"),
            "schema": {"type": kind},
        })
    });
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).map(|name| {
        json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
    });
    in_path.chain(in_query).collect()
}

fn request_body(path: &str) -> Value {
    let mut properties = json!({"roundId": {"type": "integer", "minimum": 1}});
    if path.ends_with("refund") {
        properties["force"] = json!({"type": "boolean"});
    }
    json!({
        "required": true,
        "content": {"application/json": {"schema": {
            "type": "object", "required": ["roundId"], "properties": properties, "additionalProperties": false,
        }}},
    })
}
