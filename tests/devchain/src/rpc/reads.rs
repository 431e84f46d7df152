//! What is read of blocks, transactions and accounts. What it looks like in JSON is left to the shapes.

use serde_json::{json, Value};

use super::at::{block_at, unknown_block};
use super::shapes::{block_json, pending_block, receipt_json, transaction_json};
use super::values::{address, bytes_json, hash, hex, quantity, Answer};
use crate::faults::Character;
use crate::node::Node;

pub fn block_by_number(node: &Node, character: &Character, params: &Value, head: u64) -> Answer {
    let full = params.get(1).and_then(Value::as_bool).unwrap_or(false);
    let wanted = params.get(0).unwrap_or(&Value::Null);
    if wanted.as_str() == Some("pending") {
        return Ok(pending_block(node, full));
    }
    let found = block_at(node, wanted, head).ok();
    Ok(found
        .and_then(|at| node.block(at.number))
        .map_or(Value::Null, |block| block_json(block, full, character)))
}

pub fn block_by_hash(node: &Node, character: &Character, params: &Value, head: u64) -> Answer {
    let full = params.get(1).and_then(Value::as_bool).unwrap_or(false);
    let wanted = hash(params.get(0).unwrap_or(&Value::Null))?;
    let number = node.number_of(&wanted).filter(|number| *number <= head);
    Ok(number
        .and_then(|number| node.block(number))
        .map_or(Value::Null, |block| block_json(block, full, character)))
}

pub fn receipts_of_block(node: &Node, block: &Value, head: u64) -> Answer {
    let number = block_at(node, block, head)?.number;
    let block = node.block(number).ok_or_else(unknown_block)?;
    Ok((0..block.receipts.len())
        .map(|index| receipt_json(block, index))
        .collect())
}

/// A mined transaction as far as the endpoint shows the chain, or one of the pool.
pub fn transaction_by_hash(node: &Node, wanted: &Value, head: u64) -> Answer {
    let hash = hash(wanted)?;
    let mined = node
        .place_of(&hash)
        .filter(|(block, _)| block.header.number <= head);
    Ok(match mined {
        Some((block, index)) => transaction_json(&block.transactions[index], Some((block, index))),
        None => node
            .pool
            .find(&hash)
            .map_or(Value::Null, |known| transaction_json(known, None)),
    })
}

pub fn receipt(node: &Node, wanted: &Value, head: u64) -> Answer {
    let mined = node
        .place_of(&hash(wanted)?)
        .filter(|(block, _)| block.header.number <= head);
    Ok(mined.map_or(Value::Null, |(block, index)| receipt_json(block, index)))
}

/// The nonce, the balance or the code of an account at a block.
pub fn account(node: &Node, method: &str, params: &Value, head: u64) -> Answer {
    let p = |index: usize| params.get(index).unwrap_or(&Value::Null);
    let (address, at) = (address(p(0))?, block_at(node, p(1), head)?);
    let account = node.account_at(&address, at.number);
    Ok(match method {
        "eth_getBalance" => hex(account.balance),
        "eth_getCode" => {
            let code = account.code.map(|code| code.original_bytes());
            bytes_json(&code.unwrap_or_default())
        }
        _ if at.pending => hex(node.pool.pending_nonce(&address, account.nonce)),
        _ => hex(account.nonce),
    })
}

pub fn storage(node: &Node, params: &Value, head: u64) -> Answer {
    let p = |index: usize| params.get(index).unwrap_or(&Value::Null);
    let at = block_at(node, p(2), head)?;
    let word = node.storage_at(address(p(0))?, quantity(p(1))?, at.number);
    Ok(json!(format!("0x{word:064x}")))
}

pub fn pool_status(node: &Node) -> Answer {
    let ready = node
        .pool
        .iter()
        .filter(|known| node.pool.is_ready(known, node.nonce(&known.from)))
        .count();
    Ok(json!({"pending": hex(ready), "queued": hex(node.pool.iter().count() - ready)}))
}
