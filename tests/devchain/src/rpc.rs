//! JSON-RPC methods: from parameters to the node and back to JSON, with the words and codes that real nodes use.

use revm::primitives::{b256, Address, Bytes, B256, U256};
use serde_json::{json, Value};

use crate::block::{Block, Receipt, GAS_LIMIT};
use crate::faults::Character;
use crate::node::{Call, CallError, Mining, Node, Reorged};
use crate::tx::{Transaction, Unsigned};

/// The root of no transactions: keccak256(rlp("")).
const EMPTY_ROOT_HASH: B256 =
    b256!("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421");

/// A JSON-RPC error.
#[derive(Clone, Debug, PartialEq)]
pub struct RpcError {
    pub code: i64,
    pub message: String,
    pub data: Option<Value>,
}

type Answer = Result<Value, RpcError>;

fn fail(code: i64, message: impl Into<String>) -> RpcError {
    RpcError {
        code,
        message: message.into(),
        data: None,
    }
}

fn bad(message: impl Into<String>) -> RpcError {
    fail(-32_602, message)
}

/// Which state and which environment a block parameter means.
struct At {
    number: u64,
    pending: bool,
}

pub fn answer(node: &mut Node, character: &Character, method: &str, params: &Value) -> Answer {
    let p = |index: usize| params.get(index).unwrap_or(&Value::Null);
    let head = visible_head(node, character);
    let names_hash = [p(0), p(1)]
        .iter()
        .any(|param| param.get("blockHash").is_some());
    if character.refuses_block_hashes && names_hash {
        return Err(bad("a block is a number or a tag here"));
    }
    match method {
        "eth_chainId" => Ok(hex(character.chain_id.unwrap_or(node.config.chain_id))),
        "net_version" => Ok(json!(character
            .chain_id
            .unwrap_or(node.config.chain_id)
            .to_string())),
        "web3_clientVersion" => Ok(json!("devchain/v0.1.0")),
        "eth_syncing" => Ok(json!(false)),
        "eth_blockNumber" => Ok(hex(head)),
        "eth_accounts" => Ok(node
            .accounts
            .iter()
            .map(|account| text(account.address))
            .collect()),
        "eth_gasPrice" => Ok(hex(u128::from(node.next_base_fee()) + 1_000_000_000)),
        "eth_maxPriorityFeePerGas" => Ok(hex(1_000_000_000u64)),
        "eth_feeHistory" => {
            let newest = block_at(node, p(1), head)?.number;
            fee_history(node, newest, p(0), p(2), character)
        }
        "eth_getBlockByNumber" => match p(0).as_str() {
            Some("pending") => Ok(pending_block(node, p(1).as_bool().unwrap_or(false))),
            _ => {
                let number = match block_at(node, p(0), head) {
                    Ok(at) => at.number,
                    Err(_) => return Ok(Value::Null),
                };
                let full = p(1).as_bool().unwrap_or(false);
                Ok(node
                    .block(number)
                    .map_or(Value::Null, |block| block_json(block, full, character)))
            }
        },
        "eth_getBlockByHash" => {
            let number = node
                .number_of(&hash(p(0))?)
                .filter(|number| *number <= head);
            let full = p(1).as_bool().unwrap_or(false);
            Ok(number
                .and_then(|number| node.block(number))
                .map_or(Value::Null, |block| block_json(block, full, character)))
        }
        "eth_getBlockReceipts" => {
            let number = block_at(node, p(0), head)?.number;
            let block = node.block(number).ok_or_else(unknown_block)?;
            Ok((0..block.receipts.len())
                .map(|index| receipt_json(block, index))
                .collect())
        }
        "eth_getTransactionByHash" => {
            let hash = hash(p(0))?;
            Ok(
                match node
                    .place_of(&hash)
                    .filter(|(block, _)| block.header.number <= head)
                {
                    Some((block, index)) => {
                        transaction_json(&block.transactions[index], Some((block, index)))
                    }
                    None => node
                        .pool
                        .find(&hash)
                        .map_or(Value::Null, |known| transaction_json(known, None)),
                },
            )
        }
        "eth_getTransactionReceipt" => {
            let place = node
                .place_of(&hash(p(0))?)
                .filter(|(block, _)| block.header.number <= head);
            Ok(place.map_or(Value::Null, |(block, index)| receipt_json(block, index)))
        }
        "eth_getTransactionCount" => {
            let (address, at) = (address(p(0))?, block_at(node, p(1), head)?);
            let nonce = node.account_at(&address, at.number).nonce;
            Ok(hex(if at.pending {
                node.pool.pending_nonce(&address, nonce)
            } else {
                nonce
            }))
        }
        "eth_getBalance" => {
            let at = block_at(node, p(1), head)?;
            Ok(hex(node.account_at(&address(p(0))?, at.number).balance))
        }
        "eth_getCode" => {
            let at = block_at(node, p(1), head)?;
            let code = node.account_at(&address(p(0))?, at.number).code;
            Ok(bytes_json(
                &code.map(|code| code.original_bytes()).unwrap_or_default(),
            ))
        }
        "eth_getStorageAt" => {
            let at = block_at(node, p(2), head)?;
            let word = node.storage_at(address(p(0))?, quantity(p(1))?, at.number);
            Ok(json!(format!("0x{word:064x}")))
        }
        "eth_getLogs" => logs(node, p(0), head, character),
        "eth_call" => {
            let (call, at) = (
                call(p(0), p(2), p(3), !character.ignores_call_overrides)?,
                block_at(node, p(1), head)?,
            );
            let kept = character.keeps_states.unwrap_or(u64::MAX);
            if at.number.saturating_add(kept) <= head {
                return Err(fail(-32_000, "missing trie node"));
            }
            let gas = call.gas.unwrap_or(GAS_LIMIT);
            node.call(&call, at.number, at.pending, gas)
                .map(|(data, _)| bytes_json(&data))
                .map_err(call_error)
        }
        "eth_estimateGas" => {
            if character.refuses_estimate_overrides && params.get(3).is_some() {
                return Err(bad("too many arguments, want at most 3"));
            }
            // anvil and geth estimate on the pending block unless told otherwise.
            let block = if p(1).is_null() {
                json!("pending")
            } else {
                p(1).clone()
            };
            let (call, at) = (call(p(0), p(2), p(3), true)?, block_at(node, &block, head)?);
            node.estimate(&call, at.number, at.pending)
                .map(hex)
                .map_err(call_error)
        }
        "eth_sendRawTransaction" => {
            let raw = bytes(p(0))?;
            if character.legacy_only && raw.first().is_some_and(|kind| *kind < 0xc0) {
                return Err(fail(-32_000, "transaction type not supported"));
            }
            if let Some(cap) = character.fee_cap_wei {
                let fee = Transaction::decode(&raw).map_or(0, |known| {
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
            if node.config.as_anvil && Transaction::decode(&raw).is_err() {
                return Err(fail(-32_602, "failed to decode signed transaction"));
            }
            node.submit(&raw)
                .map(text)
                .map_err(|message| fail(-32_000, message))
        }
        "eth_sendTransaction" => send_transaction(node, p(0)),
        "txpool_status" => {
            let ready = node
                .pool
                .iter()
                .filter(|known| node.pool.is_ready(known, node.nonce(&known.from)))
                .count();
            Ok(json!({"pending": hex(ready), "queued": hex(node.pool.iter().count() - ready)}))
        }
        _ => control(node, method, params),
    }
}

/// What steers the chain, under the names that anvil and hardhat gave it.
fn control(node: &mut Node, method: &str, params: &Value) -> Answer {
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
        "evm_setAutomine" => {
            let on = p(0)
                .as_bool()
                .ok_or_else(|| bad("evm_setAutomine takes true or false"))?;
            node.set_mining(if on {
                Mining::Automatic
            } else {
                Mining::Manual
            });
            Ok(Value::Null)
        }
        "evm_setIntervalMining" => {
            let secs = number(p(0))?;
            node.set_mining(if secs == 0 {
                Mining::Manual
            } else {
                Mining::IntervalMs(secs * 1000)
            });
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

/// A lagging endpoint shows an older head.
pub fn visible_head(node: &Node, character: &Character) -> u64 {
    node.head()
        .header
        .number
        .min(character.frozen_at.unwrap_or(u64::MAX))
        .saturating_sub(character.lag_blocks)
}

fn block_at(node: &Node, block: &Value, head: u64) -> Result<At, RpcError> {
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

fn unknown_block() -> RpcError {
    fail(-32_000, "header not found")
}

fn call(
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

fn call_error(error: CallError) -> RpcError {
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

fn send_transaction(node: &mut Node, request: &Value) -> Answer {
    let call = call(request, &Value::Null, &Value::Null, false)?;
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

fn fee_history(
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
        let mut tips: Vec<(u128, u64)> = block
            .transactions
            .iter()
            .zip(&block.receipts)
            .map(|(known, receipt)| {
                (
                    known.effective_price(block.header.base_fee).1,
                    receipt.gas_used,
                )
            })
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
        if percentiles.is_empty() {
            continue;
        }
        rewards.push(
            percentiles
                .iter()
                .map(|percentile| hex(at(*percentile)))
                .collect::<Value>(),
        );
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

fn logs(node: &Node, filter: &Value, head: u64, character: &Character) -> Answer {
    let (from, to) = match filter.get("blockHash").filter(|hash| !hash.is_null()) {
        Some(value) => {
            let number = node
                .number_of(&hash(value)?)
                .filter(|number| *number <= head);
            let number = number.ok_or_else(|| fail(-32_000, "unknown block"))?;
            (number, number)
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
            (bound("fromBlock")?.number, to)
        }
    };
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

fn block_json(block: &Block, full: bool, character: &Character) -> Value {
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

fn pending_block(node: &Node, full: bool) -> Value {
    let head = &node.head().header;
    let shown = |known: &Transaction| match full {
        true => transaction_json(known, None),
        false => text(known.hash),
    };
    json!({
        "number": hex(head.number + 1), "hash": null, "parentHash": text(head.hash),
        "timestamp": hex(node.next_block_timestamp()), "baseFeePerGas": hex(node.next_base_fee()),
        "gasLimit": hex(GAS_LIMIT), "transactions": node.pool.iter().map(shown).collect::<Vec<_>>(),
    })
}

fn transaction_json(transaction: &Transaction, place: Option<(&Block, usize)>) -> Value {
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

fn receipt_json(block: &Block, index: usize) -> Value {
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

fn log_json(block: &Block, index: usize, receipt: &Receipt, place: usize) -> Value {
    let log = &receipt.logs[place];
    json!({
        "address": text(log.address), "topics": log.topics().iter().map(|topic| text(*topic)).collect::<Vec<_>>(),
        "data": bytes_json(&log.data.data), "blockNumber": hex(block.header.number),
        "blockHash": text(block.header.hash), "blockTimestamp": hex(block.header.timestamp),
        "transactionHash": text(block.transactions[index].hash), "transactionIndex": hex(index),
        "logIndex": hex(receipt.first_log + place), "removed": false,
    })
}

fn hex(number: impl std::fmt::LowerHex) -> Value {
    Value::from(format!("0x{number:x}"))
}

/// Addresses and hashes, lower case.
fn text(fixed: impl std::fmt::LowerHex) -> Value {
    Value::from(format!("{fixed:#x}"))
}

pub fn bytes_json(bytes: &[u8]) -> Value {
    Value::from(
        bytes
            .iter()
            .fold("0x".to_owned(), |text, byte| text + &format!("{byte:02x}")),
    )
}

fn quantity(value: &Value) -> Result<U256, RpcError> {
    let parsed = match value {
        Value::Number(number) => number.as_u64().map(U256::from),
        Value::String(text) => match text.strip_prefix("0x") {
            Some(digits) => U256::from_str_radix(digits, 16).ok(),
            None => U256::from_str_radix(text, 10).ok(),
        },
        _ => None,
    };
    parsed.ok_or_else(|| bad(format!("invalid argument: {value} is not a quantity")))
}

fn number(value: &Value) -> Result<u64, RpcError> {
    u64::try_from(quantity(value)?)
        .map_err(|_| bad(format!("invalid argument: {value} is above 2^64")))
}

fn wide(value: &Value) -> Result<u128, RpcError> {
    u128::try_from(quantity(value)?)
        .map_err(|_| bad(format!("invalid argument: {value} is above 2^128")))
}

fn address(value: &Value) -> Result<Address, RpcError> {
    let parsed = value.as_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| bad(format!("invalid argument: {value} is not an address")))
}

fn hash(value: &Value) -> Result<B256, RpcError> {
    let parsed = value.as_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| bad(format!("invalid argument: {value} is not a hash")))
}

fn bytes(value: &Value) -> Result<Bytes, RpcError> {
    let parsed = value.as_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| bad(format!("invalid argument: {value} is not hex data")))
}
