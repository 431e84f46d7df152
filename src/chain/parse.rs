//! JSON results to typed values. Nothing of an answer is trusted: a needed field that is missing, too large or of the
//! wrong form makes the whole answer invalid, and the error names the field. An optional one is unknown instead.

use serde_json::Value;

use crate::chain::encode::{decode_hex, without_prefix};
use crate::chain::error::RpcError;
use crate::chain::fees::Fee;
use crate::chain::tx::PendingTransaction;
use crate::chain::types::{Address, Bloom, FeeHistory, Header, Log, Opcodes, Receipt, H256, U256};

/// The root of an empty Merkle Patricia trie: keccak256(rlp("")).
const NO_TRANSACTIONS_ROOT: [u8; 32] = [
    0x56, 0xe8, 0x1f, 0x17, 0x1b, 0xcc, 0x55, 0xa6, 0xff, 0x83, 0x45, 0xe6, 0x92, 0xc0, 0xf8, 0x6e,
    0x5b, 0x48, 0xe0, 0x1b, 0x99, 0x6c, 0xad, 0xc0, 0x01, 0x62, 0x2f, 0xb5, 0xe3, 0x63, 0xb4, 0x21,
];

/// The year 4147. What is above it is no time in seconds: some nodes give milliseconds, or nanoseconds.
const TIMESTAMP_MAX: u64 = 1 << 36;
/// No block that could have taken in a contract has a lower limit: what is below is no limit that binds anybody.
const GAS_LIMIT_MIN: u64 = 1_000_000;

/// A block's header; `null` means that the endpoint does not have the block.
pub fn header(value: &Value) -> Result<Header, RpcError> {
    if value.is_null() {
        return Err(RpcError::behind("the endpoint does not have the block"));
    }
    Ok(Header {
        number: number(&value["number"], "number")?,
        hash: fixed_hash(&value["hash"], "hash")?,
        parent_hash: fixed_hash(&value["parentHash"], "parentHash")?,
        timestamp: number(&value["timestamp"], "timestamp")
            .ok()
            .filter(|timestamp| *timestamp <= TIMESTAMP_MAX)
            .ok_or_else(|| missing("timestamp", &value["timestamp"]))?,
        mix_hash: fixed_hash(&value["mixHash"], "mixHash").ok(),
        difficulty: quantity(&value["difficulty"], "difficulty").ok(),
        l1_block_number: number(&value["l1BlockNumber"], "l1BlockNumber").ok(),
        base_fee_wei: quantity(&value["baseFeePerGas"], "baseFeePerGas").ok(),
        gas_limit: number(&value["gasLimit"], "gasLimit")
            .ok()
            .filter(|limit| *limit >= GAS_LIMIT_MIN),
        logs_bloom: bytes_of(&value["logsBloom"], "logsBloom", 256)
            .ok()
            .map(|bloom| Bloom::from_slice(&bloom)),
        has_transactions: has_transactions(value),
    })
}

/// By the list, or by the list's root where a header comes without it (announced heads do).
fn has_transactions(value: &Value) -> bool {
    match &value["transactions"] {
        Value::Array(transactions) => !transactions.is_empty(),
        _ => {
            let root = fixed_hash(&value["transactionsRoot"], "transactionsRoot");
            root != Ok(H256(NO_TRANSACTIONS_ROOT))
        }
    }
}

/// Logs of `address` alone, none of them for `null`; one that is removed, foreign or without a block spoils the answer.
pub fn logs(value: &Value, address: Address) -> Result<Vec<Log>, RpcError> {
    if value.is_null() {
        return Ok(Vec::new());
    }
    let items = value.as_array().ok_or_else(|| missing("logs", value))?;
    items.iter().map(|item| log(item, address)).collect()
}

fn log(value: &Value, expected: Address) -> Result<Log, RpcError> {
    if !value["removed"].is_null() && flag(&value["removed"], "removed")? {
        return Err(RpcError::behind("a log of a removed block"));
    }
    let found = address(&value["address"], "address")?;
    if found != expected {
        return Err(RpcError::invalid_answer(format!(
            "a log of {found:#x}, asked was {expected:#x}"
        )));
    }
    let topics = value["topics"]
        .as_array()
        .ok_or_else(|| missing("topics", &value["topics"]))?;
    Ok(Log {
        address: found,
        topics: topics
            .iter()
            .map(|topic| fixed_hash(topic, "topics"))
            .collect::<Result<_, _>>()?,
        data: bytes(&value["data"], "data")?,
        block_number: number(&value["blockNumber"], "blockNumber")?,
        block_hash: fixed_hash(&value["blockHash"], "blockHash")?,
        transaction_hash: fixed_hash(&value["transactionHash"], "transactionHash")?,
        transaction_index: number(&value["transactionIndex"], "transactionIndex").unwrap_or(0),
        log_index: number(&value["logIndex"], "logIndex")?,
    })
}

/// None while the transaction is not mined.
pub fn receipt(value: &Value) -> Result<Option<Receipt>, RpcError> {
    if value.is_null() || value["blockHash"].is_null() {
        return Ok(None);
    }
    let succeeded = flag(&value["status"], "status")?;
    Ok(Some(Receipt {
        transaction_hash: fixed_hash(&value["transactionHash"], "transactionHash")?,
        block_number: number(&value["blockNumber"], "blockNumber")?,
        block_hash: fixed_hash(&value["blockHash"], "blockHash")?,
        succeeded,
        gas_used: number(&value["gasUsed"], "gasUsed")?,
        effective_gas_price_wei: quantity(&value["effectiveGasPrice"], "effectiveGasPrice").ok(),
        l1_fee_wei: optional(&value["l1Fee"], "l1Fee", quantity)
            .map(Option::unwrap_or_default)
            .ok(),
        from: address(&value["from"], "from").ok(),
        to: address(&value["to"], "to").ok(),
    }))
}

/// The transaction of this sender and nonce among a pending block's; None where the node shows none, or only hashes.
pub(crate) fn pending_transaction(
    block: &Value,
    sender: Address,
    nonce: u64,
) -> Result<Option<PendingTransaction>, RpcError> {
    for item in block["transactions"]
        .as_array()
        .map_or(&[][..], Vec::as_slice)
    {
        // Others' transactions may be of kinds that nobody here has heard of.
        let is_ours = address(&item["from"], "from") == Ok(sender);
        if !is_ours || number(&item["nonce"], "nonce") != Ok(nonce) {
            continue;
        }
        let to = match &item["to"] {
            Value::Null => None,
            to => Some(address(to, "to")?),
        };
        let fee = match (&item["maxFeePerGas"], &item["maxPriorityFeePerGas"]) {
            (Value::Null, _) | (_, Value::Null) => Fee::Legacy {
                gas_price_wei: quantity(&item["gasPrice"], "gasPrice")?,
            },
            (cap, tip) => Fee::Dynamic {
                cap_wei: quantity(cap, "maxFeePerGas")?,
                tip_wei: quantity(tip, "maxPriorityFeePerGas")?,
            },
        };
        return Ok(Some(PendingTransaction {
            hash: fixed_hash(&item["hash"], "hash")?,
            to,
            value_wei: optional(&item["value"], "value", quantity)?.unwrap_or_default(),
            data: bytes(&item["input"], "input")?,
            gas_limit: optional(&item["gas"], "gas", number)?.unwrap_or_default(),
            fee,
        }));
    }
    Ok(None)
}

/// Prices of the last blocks. A hint is never worth an error: what cannot be read is unknown.
pub fn fee_history(value: &Value) -> FeeHistory {
    let base_fees = value["baseFeePerGas"].as_array();
    let rewards = |percentile: usize| {
        let blocks = value["reward"].as_array().map_or(&[][..], Vec::as_slice);
        let mut rewards: Vec<U256> = blocks
            .iter()
            .filter_map(|block| quantity(&block[percentile], "reward").ok())
            .collect();
        rewards.sort_unstable();
        rewards.get(rewards.len() / 2).copied()
    };
    FeeHistory {
        next_base_fee_wei: base_fees.and_then(|fees| quantity(fees.last()?, "baseFeePerGas").ok()),
        median_reward_wei: rewards(0),
        high_reward_wei: rewards(1),
    }
}

/// A 32-byte word as a quantity.
pub fn word(value: &Value, field: &str) -> Result<U256, RpcError> {
    Ok(U256::from(fixed_hash(value, field)?.as_bytes()))
}

/// NUMBER, PREVRANDAO and TIMESTAMP as three words.
pub fn opcodes(value: &Value) -> Result<Opcodes, RpcError> {
    let words = bytes_of(value, "the block's opcodes", 96)?;
    let narrow =
        |word: &[u8]| u64::try_from(U256::from(word)).map_err(|_| missing("opcode", value));
    Ok(Opcodes {
        number: narrow(&words[..32])?,
        prevrandao: H256::from_slice(&words[32..64]),
        timestamp: narrow(&words[64..])?,
    })
}

/// None for a field that is absent or null.
fn optional<T>(
    value: &Value,
    field: &str,
    read: impl Fn(&Value, &str) -> Result<T, RpcError>,
) -> Result<Option<T>, RpcError> {
    match value {
        Value::Null => Ok(None),
        value => read(value, field).map(Some),
    }
}

/// A quantity: 0x and hex digits, leading zeros or not, below 2^256; or a plain JSON number.
pub fn quantity(value: &Value, field: &str) -> Result<U256, RpcError> {
    if let Some(number) = value.as_u64() {
        return Ok(U256::from(number));
    }
    value
        .as_str()
        .and_then(without_prefix)
        .filter(|digits| {
            !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        })
        .map(|digits| digits.trim_start_matches('0'))
        .filter(|digits| digits.len() <= 64)
        .and_then(|digits| match digits {
            "" => Some(U256::zero()),
            digits => U256::from_str_radix(digits, 16).ok(),
        })
        .ok_or_else(|| missing(field, value))
}

pub fn number(value: &Value, field: &str) -> Result<u64, RpcError> {
    u64::try_from(quantity(value, field)?).map_err(|_| missing(field, value))
}

/// Yes or no, as a boolean, its name, or 1 and 0; anything else is unknown, which is neither.
fn flag(value: &Value, field: &str) -> Result<bool, RpcError> {
    let named = value.as_str().and_then(|name| {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        (is("true") || is("false")).then(|| is("true"))
    });
    match (value.as_bool().or(named), number(value, field)) {
        (Some(known), _) => Ok(known),
        (None, Ok(0)) => Ok(false),
        (None, Ok(1)) => Ok(true),
        _ => Err(missing(field, value)),
    }
}

fn address(value: &Value, field: &str) -> Result<Address, RpcError> {
    Ok(Address::from_slice(&bytes_of(value, field, 20)?))
}

pub(crate) fn fixed_hash(value: &Value, field: &str) -> Result<H256, RpcError> {
    Ok(H256::from_slice(&bytes_of(value, field, 32)?))
}

pub fn bytes(value: &Value, field: &str) -> Result<Vec<u8>, RpcError> {
    value
        .as_str()
        .and_then(decode_hex)
        .ok_or_else(|| missing(field, value))
}

fn bytes_of(value: &Value, field: &str, len: usize) -> Result<Vec<u8>, RpcError> {
    bytes(value, field)
        .ok()
        .filter(|bytes| bytes.len() == len)
        .ok_or_else(|| missing(field, value))
}

fn missing(field: &str, value: &Value) -> RpcError {
    let shown: String = value.to_string().chars().take(80).collect();
    RpcError::invalid_answer(format!("{field} is {shown}, which it cannot be"))
}

#[cfg(test)]
mod tests;
