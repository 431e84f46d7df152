//! The kinds of values that the schemas are made of.

use serde_json::{json, Map, Value};

use crate::web::openapi::meanings::meaning;

pub(crate) const ADDRESS: &str = "^0x[0-9a-fA-F]{40}$";
/// From 1, and never past 256 bits.
pub(crate) const WEI: &str = "^0*[1-9][0-9]{0,76}$";
const HASH: &str = "^0x[0-9a-f]{64}$";
const DECIMAL: &str = "^[0-9]+$";

/// Schemas by their names.
pub type Schemas = Vec<(&'static str, Value)>;
/// Fields of an object by their names.
pub type Fields = Vec<(&'static str, Value)>;

/// Every field is required, and there are no others. One that is not described here has its name's usual meaning.
pub fn object(fields: Fields) -> Value {
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let properties: Map<String, Value> = fields
        .iter()
        .map(|(name, schema)| {
            let mut schema = schema.clone();
            if schema.get("description").is_none() {
                if let Some(meaning) = meaning(name) {
                    schema["description"] = json!(meaning);
                }
            }
            ((*name).to_owned(), schema)
        })
        .collect();
    json!({
        "type": "object",
        "required": names,
        "properties": properties,
        "additionalProperties": false,
    })
}

/// The same with one field that may be missing.
pub(crate) fn without_need(mut schema: Value, name: &str) -> Value {
    if let Some(required) = schema["required"].as_array_mut() {
        required.retain(|known| known != name);
    }
    schema
}

pub fn array(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

pub(crate) fn nullable(schema: Value) -> Value {
    json!({"anyOf": [schema, {"type": "null"}]})
}

pub(crate) fn described(mut schema: Value, description: &str) -> Value {
    schema["description"] = json!(description);
    schema
}

pub(crate) fn one_of(values: &[&str]) -> Value {
    json!({"type": "string", "enum": values})
}

pub(crate) fn integer() -> Value {
    json!({"type": "integer", "minimum": 0})
}

/// A round as a path names it.
pub(crate) fn round_number() -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": u64::MAX})
}

pub(crate) fn percent() -> Value {
    json!({"type": "number", "minimum": 0, "maximum": 100, "description": "percent of the pot"})
}

pub fn boolean() -> Value {
    json!({"type": "boolean"})
}

pub fn text() -> Value {
    json!({"type": "string"})
}

pub(crate) fn decimal() -> Value {
    json!({"type": "string", "pattern": DECIMAL})
}

pub fn address() -> Value {
    json!({"type": "string", "pattern": ADDRESS})
}

pub fn hash() -> Value {
    json!({"type": "string", "pattern": HASH})
}

pub fn severity() -> Value {
    one_of(&["info", "warning", "critical"])
}

pub(crate) fn action_kind() -> Value {
    one_of(&[
        "draw",
        "refund_expired",
        "refund_forced",
        "extend",
        "cancel",
    ])
}

pub(crate) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}
