//! The API's own description, OpenAPI 3.1: made of the table of routes and the schemas of what they answer.

use serde_json::{json, Map, Value};

use crate::web::openapi::kinds::Kind;
use crate::web::openapi::parts::{refusals, response};
use crate::web::routes::{Endpoint, Route, ROUTES};

mod beside;
mod kinds;
mod meanings;
mod parts;
mod rounds;
mod schemas;
#[cfg(test)]
mod tests;

/// The largest round that a manual action can name: JSON has no larger integers that all programs agree on.
const ROUND_MAX: u64 = (1 << 53) - 1;

pub fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let method = if route.is_command() { "post" } else { "get" };
        paths.insert(route.path.to_owned(), json!({method: operation(route)}));
    }
    paths.extend(beside::paths());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "lottery",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT", "identifier": "MIT"},
            "description": "An on-chain lottery, as of the newest block. Wei and seeds are decimal strings, addresses \
                            EIP-55, hashes 0x lower case, times unix seconds. State answers say as of which block they \
                            speak; items from a log say how settled they are. GET answers carry an ETag and honour \
                            If-None-Match. The same state is pushed over a WebSocket at /ws/lottery.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {
                "type": "http", "scheme": "bearer", "description": "the content of server.api_token_file",
            }},
            "schemas": schemas::all(),
        },
    })
}

fn operation(route: &Route) -> Value {
    let takes_values =
        route.is_command() || !route.parameters.is_empty() || route.path_parameter().is_some();
    let mut responses = refusals(takes_values);
    let (status, meaning) = match route.is_command() {
        true => ("202", "handed to the operator"),
        false => ("200", "the answer"),
    };
    responses.insert(status.to_owned(), response(meaning, route.schema));
    for (status, meaning) in route.refusals {
        // A failing probe answers in the same shape as a passing one.
        let is_probe = matches!(route.endpoint, Endpoint::Healthz | Endpoint::Readyz);
        let schema = if is_probe { route.schema } else { "Error" };
        responses.insert(status.to_string(), response(meaning, schema));
    }
    let mut operation = json!({
        "operationId": operation_id(route.endpoint),
        "summary": route.summary,
        "responses": responses,
    });
    let parameters: Vec<Value> = path_parameter(route)
        .into_iter()
        .chain(route.parameters.iter().map(parts::in_query))
        .collect();
    if !parameters.is_empty() {
        operation["parameters"] = Value::Array(parameters);
    }
    if route.is_command() {
        operation["security"] = json!([{"token": []}]);
        operation["requestBody"] = request_body(route.endpoint);
    }
    operation
}

fn operation_id(endpoint: Endpoint) -> String {
    let name = format!("{endpoint:?}");
    name[..1].to_lowercase() + &name[1..]
}

fn path_parameter(route: &Route) -> Option<Value> {
    let (_, name) = route.path_parameter()?;
    let schema = match route.endpoint {
        Endpoint::FinishedRound => Kind::RoundNumber.schema(),
        _ => Kind::Text.schema(),
    };
    Some(parts::in_path(name, schema))
}

fn request_body(endpoint: Endpoint) -> Value {
    let mut properties =
        json!({"roundId": {"type": "integer", "minimum": 1, "maximum": ROUND_MAX}});
    if endpoint == Endpoint::Refund {
        properties["force"] = json!({
            "type": "boolean", "description": "refund even before the draw window is over",
        });
    }
    json!({
        "required": true,
        "content": {"application/json": {"schema": {
            "type": "object", "required": ["roundId"], "properties": properties, "additionalProperties": false,
        }}},
    })
}
