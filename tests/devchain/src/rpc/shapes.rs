//! Blocks, transactions, receipts and logs as JSON, member by member as real nodes tell them. Which of them is asked for is
//! left to the methods.

use revm::primitives::{b256, Address, B256};
use serde_json::{json, Value};

use super::values::{bytes_json, hex, text};
use crate::block::{Block, Receipt};
use crate::faults::Character;
use crate::node::Node;
use crate::tx::Transaction;

/// The root of no transactions: keccak256(rlp("")).
const EMPTY_ROOT_HASH: B256 =
    b256!("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421");

/// A block as newHeads shows it: without its transactions.
pub fn announced_json(block: &Block, character: &Character) -> Value {
    let mut header = block_json(block, false, character);
    if let Some(fields) = header.as_object_mut() {
        for field in ["transactions", "uncles", "size", "withdrawals"] {
            fields.remove(field);
        }
    }
    header
}

pub fn block_json(block: &Block, full: bool, character: &Character) -> Value {
    let header = &block.header;
    let (mix_hash, difficulty, number_below) = header.told();
    let transactions: Vec<Value> = block
        .transactions
        .iter()
        .enumerate()
        .map(|(index, known)| match full {
            true => transaction_json(known, Some((block, index))),
            false => text(known.hash),
        })
        .collect();
    let root = text(B256::repeat_byte(0x56));
    let transactions_root = match transactions.is_empty() {
        true => text(EMPTY_ROOT_HASH),
        false => root.clone(),
    };
    let mut body = json!({
        "number": hex(header.number), "hash": text(header.hash), "parentHash": text(header.parent_hash),
        "timestamp": hex(header.timestamp), "mixHash": text(mix_hash), "gasUsed": hex(header.gas_used),
        "gasLimit": hex(header.gas_limit), "logsBloom": bytes_json(&header.bloom.0), "transactions": transactions,
        "baseFeePerGas": hex(header.base_fee), "miner": text(Address::ZERO), "difficulty": hex(difficulty),
        "extraData": "0x", "nonce": "0x0000000000000000", "sha3Uncles": root, "stateRoot": root,
        "transactionsRoot": transactions_root, "receiptsRoot": root, "withdrawalsRoot": root, "withdrawals": [],
        "uncles": [], "size": "0x0", "blobGasUsed": "0x0", "excessBlobGas": "0x0",
        "parentBeaconBlockRoot": text(B256::ZERO), "requestsHash": root,
    });
    if let Some(number) = number_below {
        body["l1BlockNumber"] = hex(number);
    }
    if character.legacy_only {
        if let Some(fields) = body.as_object_mut() {
            fields.remove("baseFeePerGas");
        }
    }
    body
}

pub fn pending_block(node: &Node, full: bool) -> Value {
    let head = &node.head().header;
    let shown = |known: &Transaction| match full {
        true => transaction_json(known, None),
        false => text(known.hash),
    };
    json!({
        "number": hex(head.number + 1), "hash": null, "parentHash": text(head.hash),
        "timestamp": hex(node.next_block_timestamp()), "baseFeePerGas": hex(node.next_base_fee()),
        "gasLimit": hex(node.config.gas_limit), "transactions": node.pool.iter().map(shown).collect::<Vec<_>>(),
    })
}

pub fn transaction_json(transaction: &Transaction, place: Option<(&Block, usize)>) -> Value {
    let (v, r, s) = transaction.signature;
    let mut body = json!({
        "hash": text(transaction.hash), "from": text(transaction.from), "to": transaction.to.map(text),
        "nonce": hex(transaction.nonce), "gas": hex(transaction.gas_limit), "value": hex(transaction.value),
        "input": bytes_json(&transaction.input), "type": hex(transaction.kind), "v": hex(v), "r": hex(r), "s": hex(s),
        "chainId": transaction.chain_id.map(hex), "gasPrice": hex(transaction.max_fee),
        "blockHash": null, "blockNumber": null, "transactionIndex": null,
    });
    if transaction.kind == 2 {
        body["maxFeePerGas"] = hex(transaction.max_fee);
        body["maxPriorityFeePerGas"] = hex(transaction.max_priority_fee);
    }
    if transaction.kind > 0 {
        body["accessList"] = transaction
            .access_list
            .0
            .iter()
            .map(|item| json!({"address": text(item.address), "storageKeys": item.storage_keys.iter().map(|key| text(*key)).collect::<Vec<_>>()}))
            .collect();
        body["yParity"] = hex(v);
    }
    if let Some((block, index)) = place {
        body["blockHash"] = text(block.header.hash);
        body["blockNumber"] = hex(block.header.number);
        body["transactionIndex"] = hex(index);
        body["blockTimestamp"] = hex(block.header.timestamp);
        body["gasPrice"] = hex(transaction.effective_price(block.header.base_fee).0);
    }
    body
}

pub fn receipt_json(block: &Block, index: usize) -> Value {
    let (transaction, receipt) = (&block.transactions[index], &block.receipts[index]);
    let logs: Vec<Value> = (0..receipt.logs.len())
        .map(|place| log_json(block, index, receipt, place))
        .collect();
    json!({
        "transactionHash": text(transaction.hash), "transactionIndex": hex(index),
        "blockHash": text(block.header.hash), "blockNumber": hex(block.header.number),
        "from": text(transaction.from), "to": transaction.to.map(text),
        "status": if receipt.succeeded { "0x1" } else { "0x0" }, "gasUsed": hex(receipt.gas_used),
        "cumulativeGasUsed": hex(receipt.cumulative_gas_used), "effectiveGasPrice": hex(receipt.effective_gas_price),
        "contractAddress": receipt.contract.map(text), "logs": logs, "logsBloom": bytes_json(&receipt.bloom.0),
        "type": hex(transaction.kind), "blockTimestamp": block.header.timestamp,
    })
}

pub fn log_json(block: &Block, index: usize, receipt: &Receipt, place: usize) -> Value {
    let log = &receipt.logs[place];
    json!({
        "address": text(log.address), "topics": log.topics().iter().map(|topic| text(*topic)).collect::<Vec<_>>(),
        "data": bytes_json(&log.data.data), "blockNumber": hex(block.header.number),
        "blockHash": text(block.header.hash), "blockTimestamp": hex(block.header.timestamp),
        "transactionHash": text(block.transactions[index].hash), "transactionIndex": hex(index),
        "logIndex": hex(receipt.first_log + place), "removed": false,
    })
}
