//! eth_getLogs: blocks, addresses and topics of a filter, and the ranges that a node refuses. Subscriptions ask for the logs
//! of one block.

use revm::primitives::{Address, B256};
use serde_json::Value;

use super::at::block_at;
use super::shapes::log_json;
use super::values::{address, fail, hash, number, text, Answer, RpcError};
use crate::block::Block;
use crate::faults::Character;
use crate::node::Node;

pub fn logs(node: &Node, filter: &Value, head: u64, character: &Character) -> Answer {
    let (from, to) = range(node, filter, head)?;
    if let Some((most, message)) = &character.log_range {
        if to.saturating_sub(from) + 1 > *most {
            return Err(fail(-32_602, message.clone()));
        }
    }
    let wanted: Option<Vec<Address>> = match filter.get("address") {
        None | Some(Value::Null) => None,
        Some(Value::Array(items)) => Some(items.iter().map(address).collect::<Result<_, _>>()?),
        Some(item) => Some(vec![address(item)?]),
    };
    let topics = filter
        .get("topics")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let mut found = Vec::new();
    for block in (from..=to).filter_map(|number| node.block(number)) {
        for (index, receipt) in block.receipts.iter().enumerate() {
            for (place, log) in receipt.logs.iter().enumerate() {
                let ours = wanted
                    .as_ref()
                    .is_none_or(|wanted| wanted.contains(&log.address));
                if ours && topics_fit(&topics, log.topics())? {
                    found.push(log_json(block, index, receipt, place));
                }
            }
        }
    }
    Ok(Value::Array(found))
}

/// The first and the last block that a filter means.
fn range(node: &Node, filter: &Value, head: u64) -> Result<(u64, u64), RpcError> {
    match filter.get("blockHash").filter(|hash| !hash.is_null()) {
        Some(value) => {
            let number = node
                .number_of(&hash(value)?)
                .filter(|number| *number <= head);
            let number = number.ok_or_else(|| fail(-32_000, "unknown block"))?;
            Ok((number, number))
        }
        None => {
            let bound = |name: &str| block_at(node, filter.get(name).unwrap_or(&Value::Null), head);
            let to = match filter.get("toBlock") {
                Some(value) if node.config.as_anvil && block_at(node, value, head).is_err() => head,
                Some(value) if block_at(node, value, head).is_err() => {
                    return Err(fail(
                        -32_000,
                        format!(
                            "block range extends beyond current head block {}",
                            number(value)?
                        ),
                    ));
                }
                _ => bound("toBlock")?.number,
            };
            Ok((bound("fromBlock")?.number, to))
        }
    }
}

/// The logs of one block that fit a subscription's filter.
pub fn logs_of_block(
    node: &Node,
    block: &Block,
    filter: &Value,
    character: &Character,
) -> Vec<Value> {
    let mut filter = filter.clone();
    filter["blockHash"] = text(block.header.hash);
    let found = logs(node, &filter, block.header.number, character);
    found
        .ok()
        .and_then(|found| found.as_array().cloned())
        .unwrap_or_default()
}

fn topics_fit(wanted: &[Value], topics: &[B256]) -> Result<bool, RpcError> {
    for (place, wanted) in wanted.iter().enumerate() {
        let choices = match wanted {
            Value::Null => continue,
            Value::Array(choices) => choices.iter().map(hash).collect::<Result<Vec<_>, _>>()?,
            one => vec![hash(one)?],
        };
        if !topics
            .get(place)
            .is_some_and(|topic| choices.contains(topic))
        {
            return Ok(false);
        }
    }
    Ok(true)
}
