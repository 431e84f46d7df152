//! The parts that the operations are made of: parameters and responses.

use serde_json::{json, Map, Value};

use crate::web::openapi::kinds::{text_like, Kind, WEI};
use crate::web::routes::{Parameter, ParameterKind};

pub(crate) fn in_path(name: &str, schema: Value) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": schema})
}

pub(crate) fn in_query(parameter: &Parameter) -> Value {
    let schema = match parameter.kind {
        ParameterKind::Number { min, max } => {
            json!({"type": "integer", "minimum": min, "maximum": max})
        }
        ParameterKind::Address => Kind::Address.schema(),
        ParameterKind::Wei => text_like(WEI),
        ParameterKind::Text => Kind::Text.schema(),
    };
    json!({
        "name": parameter.name,
        "in": "query",
        "required": parameter.is_required,
        "description": parameter.meaning,
        "schema": schema,
    })
}

pub(crate) fn response(meaning: &str, schema: &'static str) -> Value {
    json!({
        "description": meaning,
        "content": {"application/json": {"schema": Kind::Reference(schema).schema()}},
    })
}

/// The refusals that every path has; `takes_values`: some of them may be wrong.
pub(crate) fn refusals(takes_values: bool) -> Map<String, Value> {
    let mut responses = Map::new();
    if takes_values {
        let meaning = "a parameter or the body is wrong: the message names it and what is allowed";
        responses.insert("400".to_owned(), response(meaning, "Error"));
    }
    let meaning = "refused: the message says what is wrong and what to do";
    responses.insert("default".to_owned(), response(meaning, "Error"));
    responses
}
