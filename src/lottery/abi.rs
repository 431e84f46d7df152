//! The contract's ABI, and what ethabi makes of answers and logs turned into values with every range checked. Which
//! functions and events there are is `contract`'s and `event`'s business.
//!
//! ethabi checks no ranges (a uint8 of 2314 passes) and its `as_u64` panics, so every value goes through `Fields`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use ethabi::param_type::Reader;
use ethabi::{Event, EventParam, Function, Param, ParamType, StateMutability, Token};
use serde_json::Value;
use thiserror::Error;

use crate::chain::types::{Address, Log, H256, U256};
use crate::lottery::round::RoundState;

/// The ABI as it is served to clients.
pub const ABI_JSON: &str = include_str!("lottery.abi.json");

/// By name.
static FUNCTIONS: LazyLock<HashMap<String, Function>> = LazyLock::new(|| {
    let functions = entries("function")
        .into_iter()
        .map(|entry| function_of(&entry));
    functions.map(|it| (it.name.clone(), it)).collect()
});

/// By their first topic.
static EVENTS: LazyLock<HashMap<H256, Known>> = LazyLock::new(|| {
    let events = entries("event").into_iter().map(|entry| event_of(&entry));
    events.map(|it| (it.signature(), it.into())).collect()
});

/// An event, and how its arguments are laid out in a log.
struct Known {
    event: Event,
    topics: Vec<ParamType>,
    data: Vec<ParamType>,
}

impl From<Event> for Known {
    fn from(event: Event) -> Known {
        let kinds = |indexed: bool| {
            let inputs = event.inputs.iter().filter(|it| it.indexed == indexed);
            inputs.map(|it| it.kind.clone()).collect()
        };
        Known {
            topics: kinds(true),
            data: kinds(false),
            event,
        }
    }
}

impl Known {
    /// The arguments of a log with this event's signature, in the order of the ABI. As ethabi does it, which builds a table
    /// of names for each log.
    fn arguments(&self, log: &Log) -> ethabi::Result<Vec<Token>> {
        let topics = log.topics.get(1..).unwrap_or_default();
        let topics: Vec<u8> = topics.iter().flat_map(|topic| topic.0).collect();
        let topics = ethabi::decode(&self.topics, &topics)?;
        // One topic is one argument: those of the interface take a word each.
        if 1 + topics.len() != log.topics.len() {
            return Err(ethabi::Error::InvalidData);
        }
        let (mut topics, data) = (topics.into_iter(), ethabi::decode(&self.data, &log.data)?);
        let mut data = data.into_iter();
        let inputs = self.event.inputs.iter();
        let arguments = inputs.map(|it| match it.indexed {
            true => topics.next(),
            false => data.next(),
        });
        arguments
            .collect::<Option<_>>()
            .ok_or(ethabi::Error::InvalidData)
    }
}

/// ethabi's own loader takes some 60 KB of the binary; a test holds this one to it.
fn entries(kind: &str) -> Vec<Value> {
    // Invariant, here and below: the ABI is part of the binary.
    let mut entries: Vec<Value> = serde_json::from_str(ABI_JSON).expect("the embedded ABI is JSON");
    entries.retain(|entry| entry["type"] == kind);
    entries
}

fn function_of(entry: &Value) -> Function {
    let params = |part: &str| {
        let params = listed(&entry[part]);
        let params = params.map(|param| Param {
            name: text(&param["name"]),
            kind: type_of(param),
            internal_type: None,
        });
        params.collect()
    };
    #[allow(deprecated)] // ethabi wants the old field as well.
    Function {
        name: text(&entry["name"]),
        inputs: params("inputs"),
        outputs: params("outputs"),
        constant: None,
        // What ethabi does not read when it encodes and decodes.
        state_mutability: StateMutability::NonPayable,
    }
}

fn event_of(entry: &Value) -> Event {
    let params = listed(&entry["inputs"]).map(|param| EventParam {
        name: text(&param["name"]),
        kind: type_of(param),
        indexed: param["indexed"] == true,
    });
    Event {
        name: text(&entry["name"]),
        inputs: params.collect(),
        anonymous: entry["anonymous"] == true,
    }
}

fn type_of(param: &Value) -> ParamType {
    match text(&param["type"]).as_str() {
        "tuple" => ParamType::Tuple(listed(&param["components"]).map(type_of).collect()),
        name => Reader::read(name).expect("the embedded ABI has known types"),
    }
}

fn listed(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// An answer or a log that is not what the contract's interface promises.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    #[error("{what}: {cause}")]
    Malformed { what: String, cause: String },
    #[error("{what}: {field} is {value}, allowed is {allowed}")]
    NotAllowed {
        what: String,
        field: &'static str,
        value: String,
        allowed: &'static str,
    },
}

/// The function's calldata.
pub(crate) fn encode(name: &str, tokens: &[Token]) -> Vec<u8> {
    // Invariant: names and argument types here are those of the embedded ABI; a test encodes each.
    function(name)
        .encode_input(tokens)
        .expect("calldata of a known function")
}

fn function(name: &str) -> &'static Function {
    // Invariant: as above.
    FUNCTIONS.get(name).expect("a function of the embedded ABI")
}

/// What the function answered, value by value.
pub(crate) fn decode_output(name: &str, answer: &[u8]) -> Result<Fields, DecodeError> {
    let what = || format!("{name}()");
    if answer.is_empty() {
        return Err(malformed(
            &what(),
            "an empty answer: no such contract at this address and block",
        ));
    }
    match function(name).decode_output(answer) {
        Ok(tokens) => Ok(Fields::new(what(), tokens)),
        Err(error) => Err(malformed(&what(), &error.to_string())),
    }
}

/// The event's name and its arguments in the order of the ABI; None for a log that the interface does not name.
pub(crate) fn decode_log(log: &Log) -> Result<Option<(&'static str, Fields)>, DecodeError> {
    let Some(known) = log.topics.first().and_then(|topic| EVENTS.get(topic)) else {
        return Ok(None);
    };
    let name = known.event.name.as_str();
    let tokens = known
        .arguments(log)
        .map_err(|error| malformed(name, &error.to_string()))?;
    Ok(Some((name, Fields::new(name, tokens))))
}

pub(crate) fn malformed(what: &str, cause: &str) -> DecodeError {
    DecodeError::Malformed {
        what: what.to_owned(),
        cause: cause.to_owned(),
    }
}

/// Decoded values, taken one by one in the order of the ABI.
#[derive(Debug)]
pub(crate) struct Fields {
    what: Cow<'static, str>,
    tokens: std::vec::IntoIter<Token>,
}

impl Fields {
    fn new(what: impl Into<Cow<'static, str>>, tokens: Vec<Token>) -> Fields {
        Fields {
            what: what.into(),
            tokens: tokens.into_iter(),
        }
    }

    /// The next value, which the ABI calls `field`.
    pub(crate) fn take<T: AbiValue>(&mut self, field: &'static str) -> Result<T, DecodeError> {
        let token = self
            .tokens
            .next()
            .ok_or_else(|| malformed(&self.what, &format!("{field} is missing")))?;
        T::from_token(&token).ok_or_else(|| DecodeError::NotAllowed {
            what: self.what.clone().into_owned(),
            field,
            // Integers as they are written; ethabi shows them in hex.
            value: match token {
                Token::Uint(number) | Token::Int(number) => number.to_string(),
                other => other.to_string().chars().take(80).collect(),
            },
            allowed: T::ALLOWED,
        })
    }

    /// Goes on inside the tuple that is the next value.
    pub(crate) fn enter_tuple(self) -> Result<Fields, DecodeError> {
        let mut tokens = self.tokens;
        match tokens.next() {
            Some(Token::Tuple(inner)) => Ok(Fields::new(self.what, inner)),
            _ => Err(malformed(&self.what, "not a tuple")),
        }
    }
}

/// A type that values of the ABI are read as.
pub(crate) trait AbiValue: Sized {
    /// What is allowed, in words, for the error.
    const ALLOWED: &'static str;

    fn from_token(token: &Token) -> Option<Self>;
}

impl AbiValue for U256 {
    const ALLOWED: &'static str = "a whole number below 2^256";

    fn from_token(token: &Token) -> Option<U256> {
        match token {
            Token::Uint(number) => Some(*number),
            _ => None,
        }
    }
}

/// Times, counts and ids: the contract keeps them in 256 bits, and none of them gets near 2^64.
impl AbiValue for u64 {
    const ALLOWED: &'static str = "0 to 2^64 - 1";

    fn from_token(token: &Token) -> Option<u64> {
        U256::from_token(token).and_then(|number| u64::try_from(number).ok())
    }
}

impl AbiValue for RoundState {
    const ALLOWED: &'static str = "0 to 4";

    fn from_token(token: &Token) -> Option<RoundState> {
        u64::from_token(token).and_then(RoundState::from_number)
    }
}

impl AbiValue for Address {
    const ALLOWED: &'static str = "an address";

    fn from_token(token: &Token) -> Option<Address> {
        match token {
            Token::Address(address) => Some(*address),
            _ => None,
        }
    }
}

impl AbiValue for String {
    const ALLOWED: &'static str = "a text";

    fn from_token(token: &Token) -> Option<String> {
        match token {
            Token::String(text) => Some(text.clone()),
            _ => None,
        }
    }
}

impl AbiValue for Vec<Address> {
    const ALLOWED: &'static str = "a list of addresses";

    fn from_token(token: &Token) -> Option<Vec<Address>> {
        match token {
            Token::Array(items) => items.iter().map(Address::from_token).collect(),
            _ => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn word(value: u64) -> [u8; 32] {
        let mut bytes = [0; 32];
        U256::from(value).to_big_endian(&mut bytes);
        bytes
    }

    pub(crate) fn words(values: &[u64]) -> Vec<u8> {
        values.iter().flat_map(|value| word(*value)).collect()
    }

    pub(crate) fn events() -> impl Iterator<Item = &'static Event> {
        EVENTS.values().map(|known| &known.event)
    }

    /// What ethabi makes of the log of an event, and what is made of it here.
    pub(crate) fn both_ways(event: &Event, log: &Log) -> [Result<Vec<Token>, String>; 2] {
        let raw = ethabi::RawLog {
            topics: log.topics.clone(),
            data: log.data.clone(),
        };
        let theirs = event.parse_log(raw).map(|parsed| {
            let params = parsed.params.into_iter();
            params.map(|param| param.value).collect()
        });
        let ours = EVENTS[&event.signature()].arguments(log);
        [theirs, ours].map(|it| it.map_err(|error| error.to_string()))
    }

    #[test]
    fn the_abi_is_read_as_ethabi_reads_it() {
        let contract = ethabi::Contract::load(ABI_JSON.as_bytes()).unwrap();
        let kinds = |params: &[Param]| -> Vec<(String, ParamType)> {
            let params = params.iter();
            params
                .map(|it| (it.name.clone(), it.kind.clone()))
                .collect()
        };
        assert_eq!(FUNCTIONS.len(), contract.functions().count());
        for theirs in contract.functions() {
            let ours = function(&theirs.name);
            assert_eq!(ours.short_signature(), theirs.short_signature());
            assert_eq!(kinds(&ours.inputs), kinds(&theirs.inputs));
            assert_eq!(kinds(&ours.outputs), kinds(&theirs.outputs));
        }
        assert_eq!(EVENTS.len(), contract.events().count());
        for theirs in contract.events() {
            let ours = EVENTS.get(&theirs.signature()).map(|known| &known.event);
            assert_eq!(ours, Some(theirs));
        }
    }

    #[test]
    fn a_value_that_is_not_allowed_is_named_with_its_field_and_what_is_allowed() {
        let wrong = |token: Token| Fields::new("getRound()".to_owned(), vec![token]);
        let error = wrong(Token::Uint(2314.into())).take::<RoundState>("state");
        assert_eq!(
            error.unwrap_err().to_string(),
            "getRound(): state is 2314, allowed is 0 to 4"
        );
        let error = wrong(Token::String("x".to_owned())).take::<u64>("roundId");
        assert_eq!(
            error.unwrap_err().to_string(),
            "getRound(): roundId is x, allowed is 0 to 2^64 - 1"
        );
        let error = Fields::new("getRound()".to_owned(), vec![]).take::<U256>("totalPot");
        assert_eq!(
            error.unwrap_err().to_string(),
            "getRound(): totalPot is missing"
        );
    }
}
