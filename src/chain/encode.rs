//! Values to JSON as nodes want them, and hex both ways.

use serde_json::{json, Value};

use crate::chain::types::{Address, BlockId, CallRequest, H256};

/// Bytes of a 0x-prefixed hex string, in whatever case.
pub fn decode_hex(text: &str) -> Option<Vec<u8>> {
    hex::decode(without_prefix(text)?).ok()
}

/// The same, of as many bytes as `bytes` has room for; false for any other text.
pub(crate) fn decode_hex_into(text: &str, bytes: &mut [u8]) -> bool {
    without_prefix(text).is_some_and(|digits| hex::decode_to_slice(digits, bytes).is_ok())
}

/// The digits behind 0x, or 0X.
pub(crate) fn without_prefix(text: &str) -> Option<&str> {
    text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))
}

/// 0x and lower-case digits.
pub fn encode_hex(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

/// A quantity: no leading zeros.
pub fn number(number: u64) -> Value {
    Value::from(format!("0x{number:x}"))
}

pub fn address(address: Address) -> Value {
    Value::from(format!("{address:#x}"))
}

pub fn hash(hash: H256) -> Value {
    Value::from(format!("{hash:#x}"))
}

/// A block as calls on its state take it: EIP-1898 for a hash.
pub fn block(block: BlockId) -> Value {
    match block {
        BlockId::Number(at) => number(at),
        BlockId::Hash(at) | BlockId::Exactly { hash: at, .. } => json!({"blockHash": hash(at)}),
        BlockId::Latest => Value::from("latest"),
        BlockId::Pending => Value::from("pending"),
        BlockId::Safe => Value::from("safe"),
        BlockId::Finalized => Value::from("finalized"),
    }
}

/// A message call.
fn call_request(request: &CallRequest) -> Value {
    let mut value = json!({"to": address(request.to), "data": encode_hex(&request.data)});
    if let Some(from) = request.from {
        value["from"] = address(from);
    }
    if !request.value_wei.is_zero() {
        value["value"] = Value::from(format!("0x{:x}", request.value_wei));
    }
    if let Some(gas) = request.gas {
        value["gas"] = number(gas);
    }
    value
}

/// The parameters of eth_call and eth_estimateGas; `time` overrides the block's timestamp.
pub(crate) fn call_params(request: &CallRequest, at: Value, time: Option<u64>) -> Value {
    match time {
        Some(time) => json!([call_request(request), at, {}, {"time": number(time)}]),
        None => json!([call_request(request), at]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_there_and_back() {
        assert_eq!(
            decode_hex(&encode_hex(&[0, 1, 0xfe])),
            Some(vec![0, 1, 0xfe])
        );
        assert_eq!(decode_hex("0x"), Some(vec![]));
        assert_eq!(decode_hex("0xFe"), Some(vec![0xfe]));
        assert_eq!(decode_hex("0XFE"), Some(vec![0xfe]));
        for bad in ["", "12", "0x1", "0xzz", "0xé"] {
            assert_eq!(decode_hex(bad), None, "{bad}");
        }
    }
}
