//! Which block a parameter means: by number, by hash or by tag, as far as the endpoint shows the chain. What is read there
//! is left to the methods.

use serde_json::Value;

use super::values::{bad, fail, hash, number, RpcError};
use crate::faults::Character;
use crate::node::Node;

/// Which state and which environment a block parameter means.
pub struct At {
    pub number: u64,
    pub pending: bool,
}

/// A lagging endpoint shows an older head.
pub fn visible_head(node: &Node, character: &Character) -> u64 {
    node.head()
        .header
        .number
        .min(character.frozen_at.unwrap_or(u64::MAX))
        .saturating_sub(character.lag_blocks)
}

pub fn block_at(node: &Node, block: &Value, head: u64) -> Result<At, RpcError> {
    let known = |number: u64| match number <= head {
        true => Ok(At {
            number,
            pending: false,
        }),
        false => Err(unknown_block()),
    };
    let by_hash = |value: &Value| {
        let number = node.number_of(&hash(value)?);
        number
            .filter(|number| *number <= head)
            .map(|number| At {
                number,
                pending: false,
            })
            .ok_or_else(unknown_block)
    };
    match block {
        Value::Null => known(head),
        Value::Object(fields) => match (fields.get("blockHash"), fields.get("blockNumber")) {
            (Some(value), _) => by_hash(value),
            (None, Some(value)) => known(number(value)?),
            (None, None) => Err(bad(
                "a block is a number, a tag, or an object with blockHash or blockNumber",
            )),
        },
        Value::String(tag) => match tag.as_str() {
            "latest" => known(head),
            "pending" => Ok(At {
                number: head,
                pending: true,
            }),
            "safe" => known(head.saturating_sub(node.config.safe_depth)),
            "finalized" => known(head.saturating_sub(node.config.finalized_depth)),
            "earliest" => known(0),
            text if text.len() == 66 => by_hash(block),
            _ => known(number(block)?),
        },
        _ => known(number(block)?),
    }
}

pub fn unknown_block() -> RpcError {
    fail(-32_000, "header not found")
}
