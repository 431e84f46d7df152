//! Methods that steer the chain rather than read it: mining, time, fees, balances, ways back. What they do is the node's.

use serde_json::{json, Value};

use super::values::{
    address, bad, bytes, fail, hash, hex, number, quantity, text, Answer, RpcError,
};
use crate::node::{Mining, Node, Reorged};

/// What steers the chain, under the names that anvil and hardhat gave it.
pub fn control(node: &mut Node, method: &str, params: &Value) -> Answer {
    let p = |index: usize| params.get(index).unwrap_or(&Value::Null);
    match method {
        "evm_mine" => {
            let at = p(0).get("timestamp").unwrap_or(p(0));
            if !at.is_null() {
                node.set_next_timestamp(number(at)?).map_err(bad)?;
            }
            node.mine();
            Ok(json!("0x0"))
        }
        "anvil_mine" | "hardhat_mine" => {
            let count = if p(0).is_null() { 1 } else { number(p(0))? };
            for _ in 0..count.min(100_000) {
                node.mine();
            }
            Ok(Value::Null)
        }
        "evm_increaseTime" => Ok(json!(node.increase_time(number(p(0))?))),
        "evm_setNextBlockTimestamp" => {
            node.set_next_timestamp(number(p(0))?).map_err(bad)?;
            Ok(Value::Null)
        }
        "anvil_setNextBlockBaseFeePerGas" | "hardhat_setNextBlockBaseFeePerGas" => {
            node.set_next_base_fee(number(p(0))?);
            Ok(Value::Null)
        }
        "evm_setAutomine" | "evm_setIntervalMining" => {
            node.set_mining(mining(method, p(0))?);
            Ok(Value::Null)
        }
        "anvil_setBalance" | "hardhat_setBalance" => {
            node.set_balance(address(p(0))?, quantity(p(1))?);
            Ok(Value::Null)
        }
        "anvil_setCode" | "hardhat_setCode" => {
            node.set_code(address(p(0))?, bytes(p(1))?);
            Ok(Value::Null)
        }
        "anvil_dropTransaction" => Ok(node
            .pool
            .remove(&hash(p(0))?)
            .map_or(Value::Null, |known| text(known.hash))),
        "anvil_reorg" => {
            node.reorg(number(p(0))?, Reorged::Dropped);
            Ok(Value::Null)
        }
        "evm_snapshot" => Ok(hex(node.snapshot())),
        "evm_revert" => Ok(json!(node.revert(number(p(0))?))),
        _ => Err(fail(
            -32_601,
            format!("the method {method} does not exist/is not available"),
        )),
    }
}

/// When blocks are mined from now on.
fn mining(method: &str, wanted: &Value) -> Result<Mining, RpcError> {
    if method == "evm_setAutomine" {
        return match wanted.as_bool() {
            Some(true) => Ok(Mining::Automatic),
            Some(false) => Ok(Mining::Manual),
            None => Err(bad("evm_setAutomine takes true or false")),
        };
    }
    match number(wanted)? {
        0 => Ok(Mining::Manual),
        secs => Ok(Mining::IntervalMs(secs * 1000)),
    }
}
