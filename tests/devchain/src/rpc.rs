//! JSON-RPC methods by their names, with the words and codes that real nodes use. What each of them does is left to the
//! parts.

mod at;
mod calls;
mod control;
mod fees;
mod logs;
mod reads;
mod sending;
mod shapes;
mod values;

use serde_json::{json, Value};

use crate::faults::Character;
use crate::node::Node;

pub use at::visible_head;
pub use logs::logs_of_block;
pub use shapes::announced_json;
pub use values::{bytes_json, Answer, RpcError};

use at::block_at;
use values::{bad, hex, text};

pub fn answer(node: &mut Node, character: &Character, method: &str, params: &Value) -> Answer {
    let p = |index: usize| params.get(index).unwrap_or(&Value::Null);
    let head = visible_head(node, character);
    let names_hash = [p(0), p(1)]
        .iter()
        .any(|param| param.get("blockHash").is_some());
    if character.refuses_block_hashes && names_hash {
        return Err(bad("a block is a number or a tag here"));
    }
    let chain_id = character.chain_id.unwrap_or(node.config.chain_id);
    match method {
        "eth_chainId" => Ok(hex(chain_id)),
        "net_version" => Ok(json!(chain_id.to_string())),
        "web3_clientVersion" => Ok(json!("devchain/v0.1.0")),
        "eth_syncing" => Ok(json!(false)),
        "eth_blockNumber" => Ok(hex(head)),
        "eth_accounts" => {
            let accounts = node.accounts.iter();
            Ok(accounts.map(|account| text(account.address)).collect())
        }
        "eth_gasPrice" => Ok(hex(u128::from(node.next_base_fee()) + 1_000_000_000)),
        "eth_maxPriorityFeePerGas" => Ok(hex(1_000_000_000u64)),
        "eth_feeHistory" => {
            let newest = block_at(node, p(1), head)?.number;
            fees::fee_history(node, newest, p(0), p(2), character)
        }
        "eth_getBlockByNumber" => reads::block_by_number(node, character, params, head),
        "eth_getBlockByHash" => reads::block_by_hash(node, character, params, head),
        "eth_getBlockReceipts" => reads::receipts_of_block(node, p(0), head),
        "eth_getTransactionByHash" => reads::transaction_by_hash(node, p(0), head),
        "eth_getTransactionReceipt" => reads::receipt(node, p(0), head),
        "eth_getTransactionCount" | "eth_getBalance" | "eth_getCode" => {
            reads::account(node, method, params, head)
        }
        "eth_getStorageAt" => reads::storage(node, params, head),
        "eth_getLogs" => logs::logs(node, p(0), head, character),
        "eth_call" => calls::call(node, character, params, head),
        "eth_estimateGas" => calls::estimate(node, character, params, head),
        "eth_sendRawTransaction" => sending::send_raw(node, character, p(0)),
        "eth_sendTransaction" => sending::send_transaction(node, p(0)),
        "txpool_status" => reads::pool_status(node),
        _ => control::control(node, method, params),
    }
}
