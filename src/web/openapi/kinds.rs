//! The kinds of values that answers are made of, as constants, and the schema of each.

use serde_json::{json, Map, Value};

use crate::lottery::lateness::LateReason;
use crate::web::openapi::meanings::meaning;

pub(crate) const ADDRESS: &str = "^0x[0-9a-fA-F]{40}$";
/// From 1, and never past 256 bits.
pub(crate) const WEI: &str = "^0*[1-9][0-9]{0,76}$";
const HASH: &str = "^0x[0-9a-f]{64}$";
const DECIMAL: &str = "^[0-9]+$";

/// What stands in one place of an answer.
#[derive(Clone, Copy)]
pub enum Kind {
    /// From 0.
    Integer,
    /// From 0, with a fraction.
    Number,
    Percent,
    /// A round as a path names it.
    RoundNumber,
    Boolean,
    Text,
    Decimal,
    Address,
    Hash,
    OneOf(&'static [&'static str]),
    /// One of the words that a type has for its values.
    Labels(fn() -> Vec<&'static str>),
    /// The schema of that name.
    Reference(&'static str),
    Nullable(&'static Kind),
    Array(&'static Kind),
    /// With a meaning that is not its name's usual one.
    Described(&'static Kind, &'static str),
    /// Every field is required, and there are no others.
    Object(&'static [Field]),
    /// The same of several lists of fields.
    Joined(&'static [&'static [Field]]),
    /// The same, but the named field may be missing.
    Without(&'static str, &'static [&'static [Field]]),
    /// An object with at least these fields, of any kind.
    Having(&'static [&'static str]),
    /// An object of any names.
    Named(&'static Kind),
}

/// A field of an object, or a schema, with its name.
pub type Field = (&'static str, Kind);

pub(crate) const AS_OF: Field = ("asOf", Kind::Reference("AsOf"));
pub(crate) const FINALITY: Kind = Kind::OneOf(&["latest", "safe", "finalized"]);
pub(crate) const SEVERITY: Kind = Kind::OneOf(&["info", "warning", "critical"]);
pub(crate) const ACTION: Kind = Kind::OneOf(&[
    "draw",
    "refund_expired",
    "refund_forced",
    "extend",
    "cancel",
]);
/// What held up a draw.
pub(crate) const LATE_REASON: Kind =
    Kind::Labels(|| LateReason::ALL.iter().map(|it| it.label()).collect());

impl Kind {
    pub fn schema(self) -> Value {
        match self {
            Kind::Integer => json!({"type": "integer", "minimum": 0}),
            Kind::Number => json!({"type": "number", "minimum": 0}),
            Kind::Percent => json!({
                "type": "number", "minimum": 0, "maximum": 100, "description": "percent of the pot",
            }),
            Kind::RoundNumber => json!({"type": "integer", "minimum": 1, "maximum": u64::MAX}),
            Kind::Boolean => json!({"type": "boolean"}),
            Kind::Text => json!({"type": "string"}),
            Kind::Decimal => text_like(DECIMAL),
            Kind::Address => text_like(ADDRESS),
            Kind::Hash => text_like(HASH),
            Kind::OneOf(words) => json!({"type": "string", "enum": words}),
            Kind::Labels(words) => json!({"type": "string", "enum": words()}),
            Kind::Reference(name) => json!({"$ref": format!("#/components/schemas/{name}")}),
            Kind::Nullable(kind) => json!({"anyOf": [kind.schema(), {"type": "null"}]}),
            Kind::Array(kind) => json!({"type": "array", "items": kind.schema()}),
            Kind::Described(kind, meaning) => {
                let mut schema = kind.schema();
                schema["description"] = json!(meaning);
                schema
            }
            Kind::Object(fields) => object(&[fields], None),
            Kind::Joined(lists) => object(lists, None),
            Kind::Without(name, lists) => object(lists, Some(name)),
            Kind::Having([]) => json!({"type": "object"}),
            Kind::Having(names) => json!({"type": "object", "required": names}),
            Kind::Named(kind) => json!({"type": "object", "additionalProperties": kind.schema()}),
        }
    }
}

pub(crate) fn text_like(pattern: &str) -> Value {
    json!({"type": "string", "pattern": pattern})
}

/// A field that is not described has its name's usual meaning.
fn object(lists: &[&[Field]], without_need: Option<&str>) -> Value {
    let (mut required, mut properties) = (Vec::new(), Map::new());
    for (name, kind) in lists.iter().flat_map(|fields| fields.iter()) {
        let mut schema = kind.schema();
        if let (None, Some(meaning)) = (schema.get("description"), meaning(name)) {
            schema["description"] = json!(meaning);
        }
        if without_need != Some(*name) {
            required.push(*name);
        }
        properties.insert((*name).to_owned(), schema);
    }
    json!({
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": false,
    })
}
