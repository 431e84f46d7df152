//! eth_call and eth_estimateGas: what is called, on which state, and why it failed in the words of real nodes. The call
//! itself is run by the node.

use revm::primitives::U256;
use serde_json::{json, Value};

use super::at::block_at;
use super::values::{
    address, bad, bytes, bytes_json, fail, hex, number, quantity, Answer, RpcError,
};
use crate::faults::Character;
use crate::node::{Call, CallError, Node};

/// eth_call: the state of a block that the node still keeps, with what the caller puts in its stead.
pub fn call(node: &Node, character: &Character, params: &Value, head: u64) -> Answer {
    let p = |index: usize| params.get(index).unwrap_or(&Value::Null);
    let (call, at) = (
        call_of(p(0), p(2), p(3), !character.ignores_call_overrides)?,
        block_at(node, p(1), head)?,
    );
    if let Some((kept, refusal)) = character.keeps_states {
        if at.number.saturating_add(kept) <= head {
            return Err(fail(-32_000, refusal));
        }
    }
    let gas = call.gas.unwrap_or(node.config.gas_limit);
    node.call(&call, at.number, at.pending, gas)
        .map(|(data, _)| bytes_json(&data))
        .map_err(call_error)
}

/// eth_estimateGas.
pub fn estimate(node: &Node, character: &Character, params: &Value, head: u64) -> Answer {
    let p = |index: usize| params.get(index).unwrap_or(&Value::Null);
    if character.refuses_estimate_overrides && params.get(3).is_some() {
        return Err(bad("too many arguments, want at most 3"));
    }
    // anvil and geth estimate on the pending block unless told otherwise.
    let block = if p(1).is_null() {
        json!("pending")
    } else {
        p(1).clone()
    };
    let (call, at) = (
        call_of(p(0), p(2), p(3), true)?,
        block_at(node, &block, head)?,
    );
    node.estimate(&call, at.number, at.pending)
        .map(hex)
        .map_err(call_error)
}

/// The call that a request describes, with the states and the block that it overrides.
pub fn call_of(
    request: &Value,
    states: &Value,
    block: &Value,
    with_block: bool,
) -> Result<Call, RpcError> {
    let field = |name: &str| request.get(name).filter(|value| !value.is_null());
    let mut call = Call {
        from: field("from").map(address).transpose()?.unwrap_or_default(),
        to: field("to").map(address).transpose()?,
        value: field("value")
            .map(quantity)
            .transpose()?
            .unwrap_or_default(),
        data: field("input")
            .or_else(|| field("data"))
            .map(bytes)
            .transpose()?
            .unwrap_or_default(),
        gas: field("gas").map(number).transpose()?,
        ..Call::default()
    };
    if with_block {
        let over = |name: &str| block.get(name).filter(|value| !value.is_null());
        call.time = over("time")
            .or_else(|| over("timestamp"))
            .map(number)
            .transpose()?;
        call.number = over("number").map(number).transpose()?;
    }
    for (account, fields) in states.as_object().into_iter().flatten() {
        let account = address(&Value::from(account.as_str()))?;
        if let Some(balance) = fields.get("balance") {
            call.balances.push((account, quantity(balance)?));
        }
        if let Some(code) = fields.get("code") {
            call.codes.push((account, bytes(code)?));
        }
    }
    Ok(call)
}

pub fn call_error(error: CallError) -> RpcError {
    match error {
        CallError::Reverted(data) => {
            let message = match revert_reason(&data) {
                Some(reason) => format!("execution reverted: {reason}"),
                None => "execution reverted".to_owned(),
            };
            RpcError {
                code: 3,
                message,
                data: Some(bytes_json(&data)),
            }
        }
        CallError::Halted(reason) => fail(-32_000, format!("EVM error: {reason}")),
        CallError::Invalid(message) => fail(-32_000, message),
    }
}

/// The text of Error(string).
fn revert_reason(data: &[u8]) -> Option<String> {
    let body = data.strip_prefix(&[0x08, 0xc3, 0x79, 0xa0])?;
    let length = usize::try_from(U256::from_be_slice(body.get(32..64)?)).ok()?;
    String::from_utf8(body.get(64..64usize.checked_add(length)?)?.to_vec()).ok()
}
