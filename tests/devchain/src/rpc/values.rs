//! Quantities, hashes and bytes in JSON, both ways, and what is answered where they are not what they should be. Which
//! method takes which of them is left to the methods.

use revm::primitives::{Address, Bytes, B256, U256};
use serde_json::Value;

/// A JSON-RPC error.
#[derive(Clone, Debug, PartialEq)]
pub struct RpcError {
    pub code: i64,
    pub message: String,
    pub data: Option<Value>,
}

pub type Answer = Result<Value, RpcError>;

pub fn fail(code: i64, message: impl Into<String>) -> RpcError {
    RpcError {
        code,
        message: message.into(),
        data: None,
    }
}

pub fn bad(message: impl Into<String>) -> RpcError {
    fail(-32_602, message)
}

pub fn hex(number: impl std::fmt::LowerHex) -> Value {
    Value::from(format!("0x{number:x}"))
}

/// Addresses and hashes, lower case.
pub fn text(fixed: impl std::fmt::LowerHex) -> Value {
    Value::from(format!("{fixed:#x}"))
}

pub fn bytes_json(bytes: &[u8]) -> Value {
    Value::from(
        bytes
            .iter()
            .fold("0x".to_owned(), |text, byte| text + &format!("{byte:02x}")),
    )
}

pub fn quantity(value: &Value) -> Result<U256, RpcError> {
    let parsed = match value {
        Value::Number(number) => number.as_u64().map(U256::from),
        Value::String(text) => match text.strip_prefix("0x") {
            Some(digits) => U256::from_str_radix(digits, 16).ok(),
            None => U256::from_str_radix(text, 10).ok(),
        },
        _ => None,
    };
    parsed.ok_or_else(|| bad(format!("invalid argument: {value} is not a quantity")))
}

pub fn number(value: &Value) -> Result<u64, RpcError> {
    u64::try_from(quantity(value)?)
        .map_err(|_| bad(format!("invalid argument: {value} is above 2^64")))
}

pub fn wide(value: &Value) -> Result<u128, RpcError> {
    u128::try_from(quantity(value)?)
        .map_err(|_| bad(format!("invalid argument: {value} is above 2^128")))
}

pub fn address(value: &Value) -> Result<Address, RpcError> {
    let parsed = value.as_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| bad(format!("invalid argument: {value} is not an address")))
}

pub fn hash(value: &Value) -> Result<B256, RpcError> {
    let parsed = value.as_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| bad(format!("invalid argument: {value} is not a hash")))
}

pub fn bytes(value: &Value) -> Result<Bytes, RpcError> {
    let parsed = value.as_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| bad(format!("invalid argument: {value} is not hex data")))
}
