//! eth_feeHistory: base fees, how full blocks were, and what tips they took. The fees themselves are made where blocks are
//! mined.

use serde_json::{json, Value};

use super::values::{fail, hex, number, Answer};
use crate::block::Block;
use crate::faults::Character;
use crate::node::Node;

pub fn fee_history(
    node: &Node,
    newest: u64,
    count: &Value,
    percentiles: &Value,
    character: &Character,
) -> Answer {
    if character.legacy_only {
        return Err(fail(
            -32_601,
            "the method eth_feeHistory does not exist/is not available",
        ));
    }
    let count = number(count)?.clamp(1, 1024);
    let oldest = newest.saturating_sub(count - 1);
    let wants_rewards = percentiles.is_array();
    let percentiles: Vec<f64> = percentiles
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_f64)
        .collect();
    let (mut fees, mut ratios, mut rewards) = (Vec::new(), Vec::new(), Vec::new());
    for block in (oldest..=newest).filter_map(|number| node.block(number)) {
        fees.push(hex(block.header.base_fee));
        ratios.push(json!(
            block.header.gas_used as f64 / block.header.gas_limit as f64
        ));
        if percentiles.is_empty() {
            continue;
        }
        rewards.push(rewards_of(block, &percentiles));
    }
    let next = match newest == node.head().header.number {
        true => node.next_base_fee(),
        false => node
            .block(newest)
            .map_or(0, |block| block.header.next_base_fee()),
    };
    fees.push(hex(next));
    let mut history =
        json!({"oldestBlock": hex(oldest), "baseFeePerGas": fees, "gasUsedRatio": ratios});
    if wants_rewards {
        history["reward"] = json!(rewards);
    }
    Ok(history)
}

/// The tips that a block's transactions gave, each percentile by the gas they used.
fn rewards_of(block: &Block, percentiles: &[f64]) -> Value {
    let base_fee = block.header.base_fee;
    let transactions = block.transactions.iter().zip(&block.receipts);
    let mut tips: Vec<(u128, u64)> = transactions
        .map(|(known, receipt)| (known.effective_price(base_fee).1, receipt.gas_used))
        .collect();
    tips.sort_unstable();
    let at = |percentile: f64| {
        let wanted = (block.header.gas_used as f64 * percentile / 100.0) as u64;
        let mut sum = 0;
        tips.iter()
            .find(|(_, gas)| {
                sum += gas;
                sum >= wanted
            })
            .map_or(0, |(tip, _)| *tip)
    };
    percentiles
        .iter()
        .map(|percentile| hex(at(*percentile)))
        .collect()
}
