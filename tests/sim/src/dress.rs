//! The same truth in another dress: as servers and proxies write it that read the standard in their own way. How an
//! answer fails is `wire`'s.

use serde_json::{json, Value};

/// A way to write what is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dress {
    UpperCase,
    UpperCasePrefix,
    LeadingZeros,
    /// Quantities as JSON numbers.
    PlainNumbers,
    IdsAsText,
    IdsAsFractions,
    /// Each item of a batch comes twice.
    BatchTwice,
    /// Items that nobody asked for stand before and behind.
    BatchWithStrangers,
    BatchReversed,
    /// Single answers come as lists of one.
    ListsOfOne,
    NoVersion,
    /// An error that is null beside each result, and the other way round.
    BothKeys,
    /// Objects have keys that nobody has heard of.
    MoreKeys,
    /// Of a header only what is required.
    BareHeaders,
    BareReceipts,
    LogsReversed,
    LogsTwice,
    LogsOfOthers,
    ErrorsAsText,
    CodesAsText,
    /// Errors within errors.
    ErrorsWrapped,
    /// Reverts without their data.
    ReasonsInWords,
}

/// What a header has to have.
const REQUIRED: [&str; 5] = ["number", "hash", "parentHash", "timestamp", "transactions"];

impl Dress {
    pub const ALL: [Dress; 22] = [
        Dress::UpperCase,
        Dress::UpperCasePrefix,
        Dress::LeadingZeros,
        Dress::PlainNumbers,
        Dress::IdsAsText,
        Dress::IdsAsFractions,
        Dress::BatchTwice,
        Dress::BatchWithStrangers,
        Dress::BatchReversed,
        Dress::ListsOfOne,
        Dress::NoVersion,
        Dress::BothKeys,
        Dress::MoreKeys,
        Dress::BareHeaders,
        Dress::BareReceipts,
        Dress::LogsReversed,
        Dress::LogsTwice,
        Dress::LogsOfOthers,
        Dress::ErrorsAsText,
        Dress::CodesAsText,
        Dress::ErrorsWrapped,
        Dress::ReasonsInWords,
    ];

    /// Logs that contradict themselves are not believed, and nobody else is there to ask: draws come all the same.
    pub fn hides_the_past(self) -> bool {
        matches!(self, Dress::LogsTwice | Dress::LogsOfOthers)
    }

    /// A call's result or error.
    pub fn result(self, method: &str, result: Result<Value, Value>) -> Result<Value, Value> {
        match (self, result) {
            (_, Ok(result)) => Ok(self.good(method, result)),
            (Dress::ErrorsAsText, Err(error)) => Err(error["message"].clone()),
            (Dress::CodesAsText, Err(mut error)) => {
                error["code"] = Value::from(error["code"].to_string());
                Err(error)
            }
            (Dress::ErrorsWrapped, Err(error)) => {
                Err(json!({"code": -32_603, "message": "Internal error", "data": error}))
            }
            (Dress::ReasonsInWords, Err(mut error)) => {
                if let Some(fields) = error.as_object_mut() {
                    fields.remove("data");
                }
                Err(error)
            }
            (_, Err(error)) => Err(error),
        }
    }

    fn good(self, method: &str, mut result: Value) -> Value {
        let is_block = method.starts_with("eth_getBlock");
        match self {
            Dress::UpperCase => each_text(&mut result, &|text| {
                Value::from(format!("0x{}", text[2..].to_uppercase()))
            }),
            Dress::UpperCasePrefix => each_text(&mut result, &|text| {
                Value::from(format!("0X{}", &text[2..]))
            }),
            Dress::LeadingZeros if !is_bytes(method) => {
                each_text(&mut result, &|text| match is_quantity(text) {
                    true => Value::from(format!("0x000{}", &text[2..])),
                    false => Value::from(text),
                })
            }
            Dress::PlainNumbers if !is_bytes(method) => each_text(&mut result, &|text| {
                let number = u64::from_str_radix(&text[2..], 16).ok();
                let number = number.filter(|_| is_quantity(text));
                number.map_or(Value::from(text), Value::from)
            }),
            Dress::MoreKeys => {
                for_each_object(&mut result, &|fields| {
                    fields.insert("unheardOf".to_owned(), json!({"of": [null, 1.5]}));
                });
            }
            Dress::BareHeaders if is_block => {
                if let Some(fields) = result.as_object_mut() {
                    fields.retain(|key, _| REQUIRED.contains(&key.as_str()));
                }
            }
            Dress::BareReceipts if method == "eth_getTransactionReceipt" => {
                if let Some(fields) = result.as_object_mut() {
                    fields.retain(|key, _| {
                        !["status", "effectiveGasPrice", "logs", "from"].contains(&key.as_str())
                    });
                }
            }
            Dress::LogsReversed | Dress::LogsTwice | Dress::LogsOfOthers
                if method == "eth_getLogs" =>
            {
                if let Some(logs) = result.as_array_mut() {
                    match self {
                        Dress::LogsReversed => logs.reverse(),
                        Dress::LogsTwice => logs.extend_from_within(..),
                        _ => {
                            let mut others = logs.clone();
                            for log in &mut others {
                                log["address"] = json!(format!("0x{}", "77".repeat(20)));
                            }
                            logs.append(&mut others);
                        }
                    }
                }
            }
            _ => {}
        }
        result
    }

    /// The whole answer to a request.
    pub fn answer(self, answer: Value) -> Value {
        let single = |item: Value| self.item(item);
        match (self, answer) {
            (_, Value::Array(items)) => {
                let mut items: Vec<Value> = items.into_iter().map(single).collect();
                match self {
                    Dress::BatchTwice => items.extend_from_within(..),
                    Dress::BatchReversed => items.reverse(),
                    Dress::BatchWithStrangers => {
                        items.insert(0, json!({"id": 999_999_999, "result": "0x1"}));
                        items.extend([json!(null), json!("0x1"), json!({"id": null, "result": 1})]);
                    }
                    _ => {}
                }
                Value::Array(items)
            }
            (Dress::ListsOfOne, answer) => json!([answer]),
            (_, answer) => single(answer),
        }
    }

    fn item(self, mut item: Value) -> Value {
        let Some(fields) = item.as_object_mut() else {
            return item;
        };
        match self {
            Dress::IdsAsText => {
                fields["id"] = Value::from(fields["id"].to_string());
            }
            Dress::IdsAsFractions => {
                fields["id"] = json!(fields["id"].as_f64());
            }
            Dress::NoVersion => {
                fields.remove("jsonrpc");
            }
            Dress::BothKeys => {
                for key in ["result", "error"] {
                    fields.entry(key).or_insert(Value::Null);
                }
            }
            _ => {}
        }
        item
    }
}

/// True where what looks like a quantity may be bytes.
fn is_bytes(method: &str) -> bool {
    matches!(method, "eth_getCode" | "eth_call")
}

fn is_quantity(text: &str) -> bool {
    (3..=18).contains(&text.len())
}

/// Replaces every text of hex digits.
fn each_text(value: &mut Value, change: &dyn Fn(&str) -> Value) {
    match value {
        Value::String(text) if text.starts_with("0x") => *value = change(text),
        Value::Array(items) => items.iter_mut().for_each(|item| each_text(item, change)),
        Value::Object(fields) => fields.values_mut().for_each(|item| each_text(item, change)),
        _ => {}
    }
}

fn for_each_object(value: &mut Value, change: &dyn Fn(&mut serde_json::Map<String, Value>)) {
    match value {
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| for_each_object(item, change)),
        Value::Object(fields) => change(fields),
        _ => {}
    }
}
