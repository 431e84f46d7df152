//! Transactions that come by the wire, signed or to be signed by one of the node's accounts. Whether the pool takes them is
//! left to the node.

use serde_json::Value;

use super::calls::{call_error, call_of};
use super::values::{bytes, fail, number, text, wide, Answer};
use crate::faults::Character;
use crate::node::Node;
use crate::tx::{Transaction, Unsigned};

/// eth_sendRawTransaction, with the refusals that are the endpoint's own.
pub fn send_raw(node: &mut Node, character: &Character, raw: &Value) -> Answer {
    let raw = bytes(raw)?;
    if character.legacy_only && raw.first().is_some_and(|kind| *kind < 0xc0) {
        return Err(fail(-32_000, "transaction type not supported"));
    }
    let decoded = Transaction::decode(&raw);
    if let Some(cap) = character.fee_cap_wei {
        let fee = decoded.as_ref().map_or(0, |known| {
            known.max_fee.saturating_mul(known.gas_limit.into())
        });
        if fee > cap {
            let ether = |wei: u128| wei as f64 / 1e18;
            let message = format!(
                "tx fee ({:.2} ether) exceeds the configured cap ({:.2} ether)",
                ether(fee),
                ether(cap)
            );
            return Err(fail(-32_000, message));
        }
    }
    if node.config.as_anvil && decoded.is_err() {
        return Err(fail(-32_602, "failed to decode signed transaction"));
    }
    node.submit(&raw)
        .map(text)
        .map_err(|message| fail(-32_000, message))
}

/// eth_sendTransaction, from an account whose key the node has; what is not given is filled in.
pub fn send_transaction(node: &mut Node, request: &Value) -> Answer {
    let call = call_of(request, &Value::Null, &Value::Null, false)?;
    let Some(account) = node
        .accounts
        .iter()
        .find(|account| account.address == call.from)
        .cloned()
    else {
        return Err(fail(-32_602, "No Signer available"));
    };
    let head = node.head().header.number;
    let latest = node.nonce(&call.from);
    let nonce = match request.get("nonce").filter(|nonce| !nonce.is_null()) {
        Some(nonce) => number(nonce)?,
        None => node.pool.pending_nonce(&call.from, latest),
    };
    let gas_limit = match call.gas {
        Some(gas) => gas,
        None => node.estimate(&call, head, true).map_err(call_error)?,
    };
    let fee = |name: &str| {
        request
            .get(name)
            .filter(|fee| !fee.is_null())
            .map(wide)
            .transpose()
    };
    let tip = fee("maxPriorityFeePerGas")?.unwrap_or(1_000_000_000);
    let cap = fee("maxFeePerGas")?.or(fee("gasPrice")?);
    let unsigned = Unsigned {
        chain_id: node.config.chain_id,
        nonce,
        gas_limit,
        max_fee: cap.unwrap_or(2 * u128::from(node.next_base_fee()) + tip),
        max_priority_fee: tip,
        to: call.to,
        value: call.value,
        input: call.data,
    };
    let raw = unsigned
        .sign(&account.key)
        .map_err(|message| fail(-32_000, message))?;
    node.submit(&raw)
        .map(text)
        .map_err(|message| fail(-32_000, message))
}
