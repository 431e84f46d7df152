//! JSON results to typed values. Nothing of an answer is trusted: a needed field that is missing, too large or of the
//! wrong form makes the whole answer invalid, and the error names the field. An optional one is unknown instead.

use crate::chain::encode::{decode_hex, decode_hex_into, without_prefix};
use crate::chain::error::RpcError;
use crate::chain::fees::Fee;
use crate::chain::json::Part;
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

/// The EVM has no more of them in a log.
const TOPICS_MAX: usize = 4;

/// A block's header; `null` means that the endpoint does not have the block.
pub fn header(value: Part) -> Result<Header, RpcError> {
    if value.is_null() {
        return Err(RpcError::behind("the endpoint does not have the block"));
    }
    Ok(Header {
        number: number(value.at("number"), "number")?,
        hash: fixed_hash(value.at("hash"), "hash")?,
        parent_hash: fixed_hash(value.at("parentHash"), "parentHash")?,
        timestamp: number(value.at("timestamp"), "timestamp")
            .ok()
            .filter(|timestamp| *timestamp <= TIMESTAMP_MAX)
            .ok_or_else(|| missing("timestamp", value.at("timestamp")))?,
        mix_hash: fixed_hash(value.at("mixHash"), "mixHash").ok(),
        difficulty: quantity(value.at("difficulty"), "difficulty").ok(),
        l1_block_number: number(value.at("l1BlockNumber"), "l1BlockNumber").ok(),
        base_fee_wei: quantity(value.at("baseFeePerGas"), "baseFeePerGas").ok(),
        gas_limit: number(value.at("gasLimit"), "gasLimit")
            .ok()
            .filter(|limit| *limit >= GAS_LIMIT_MIN),
        logs_bloom: bytes_of(value.at("logsBloom"), "logsBloom").ok().map(Bloom),
        has_transactions: has_transactions(value),
    })
}

/// By the list, or by the list's root where a header comes without it (announced heads do).
fn has_transactions(value: Part) -> bool {
    match value.at("transactions").items() {
        Some(mut transactions) => transactions.next().is_some(),
        None => {
            let root = fixed_hash(value.at("transactionsRoot"), "transactionsRoot");
            root != Ok(H256(NO_TRANSACTIONS_ROOT))
        }
    }
}

/// Logs of `address` alone, none of them for `null`; one that is removed, foreign or without a block spoils the answer.
pub fn logs(value: Part, address: Address) -> Result<Vec<Log>, RpcError> {
    if value.is_null() {
        return Ok(Vec::new());
    }
    let items = value.items().ok_or_else(|| missing("logs", value))?;
    items.map(|item| log(item, address)).collect()
}

fn log(value: Part, expected: Address) -> Result<Log, RpcError> {
    if !value.at("removed").is_null() && flag(value.at("removed"), "removed")? {
        return Err(RpcError::behind("a log of a removed block"));
    }
    let found = address(value.at("address"), "address")?;
    if found != expected {
        return Err(RpcError::invalid_answer(format!(
            "a log of {found:#x}, asked was {expected:#x}"
        )));
    }
    let topics = value.at("topics");
    let topics = topics.items().ok_or_else(|| missing("topics", topics))?;
    let mut hashes = Vec::with_capacity(TOPICS_MAX);
    for topic in topics {
        hashes.push(fixed_hash(topic, "topics")?);
    }
    Ok(Log {
        address: found,
        topics: hashes,
        data: bytes(value.at("data"), "data")?,
        block_number: number(value.at("blockNumber"), "blockNumber")?,
        block_hash: fixed_hash(value.at("blockHash"), "blockHash")?,
        transaction_hash: fixed_hash(value.at("transactionHash"), "transactionHash")?,
        transaction_index: number(value.at("transactionIndex"), "transactionIndex").unwrap_or(0),
        log_index: number(value.at("logIndex"), "logIndex")?,
    })
}

/// None while the transaction is not mined.
pub fn receipt(value: Part) -> Result<Option<Receipt>, RpcError> {
    if value.is_null() || value.at("blockHash").is_null() {
        return Ok(None);
    }
    let succeeded = flag(value.at("status"), "status")?;
    Ok(Some(Receipt {
        transaction_hash: fixed_hash(value.at("transactionHash"), "transactionHash")?,
        block_number: number(value.at("blockNumber"), "blockNumber")?,
        block_hash: fixed_hash(value.at("blockHash"), "blockHash")?,
        succeeded,
        gas_used: number(value.at("gasUsed"), "gasUsed")?,
        effective_gas_price_wei: quantity(value.at("effectiveGasPrice"), "effectiveGasPrice").ok(),
        l1_fee_wei: optional(value.at("l1Fee"), "l1Fee", quantity)
            .map(Option::unwrap_or_default)
            .ok(),
        from: address(value.at("from"), "from").ok(),
        to: address(value.at("to"), "to").ok(),
    }))
}

/// The transaction of this sender and nonce among a pending block's; None where the node shows none, or only hashes.
pub(crate) fn pending_transaction(
    block: Part,
    sender: Address,
    nonce: u64,
) -> Result<Option<PendingTransaction>, RpcError> {
    for item in block.at("transactions").items().into_iter().flatten() {
        // Others' transactions may be of kinds that nobody here has heard of.
        let is_ours = address(item.at("from"), "from") == Ok(sender);
        if !is_ours || number(item.at("nonce"), "nonce") != Ok(nonce) {
            continue;
        }
        let to = optional(item.at("to"), "to", address)?;
        let (cap, tip) = (item.at("maxFeePerGas"), item.at("maxPriorityFeePerGas"));
        let fee = match cap.is_null() || tip.is_null() {
            true => Fee::Legacy {
                gas_price_wei: quantity(item.at("gasPrice"), "gasPrice")?,
            },
            false => Fee::Dynamic {
                cap_wei: quantity(cap, "maxFeePerGas")?,
                tip_wei: quantity(tip, "maxPriorityFeePerGas")?,
            },
        };
        return Ok(Some(PendingTransaction {
            hash: fixed_hash(item.at("hash"), "hash")?,
            to,
            value_wei: optional(item.at("value"), "value", quantity)?.unwrap_or_default(),
            data: bytes(item.at("input"), "input")?,
            gas_limit: optional(item.at("gas"), "gas", number)?.unwrap_or_default(),
            fee,
        }));
    }
    Ok(None)
}

/// Prices of the last blocks. A hint is never worth an error: what cannot be read is unknown.
pub fn fee_history(value: Part) -> FeeHistory {
    let base_fee = value
        .at("baseFeePerGas")
        .items()
        .and_then(|fees| fees.last());
    let rewards = |percentile: usize| {
        let blocks = value.at("reward").items().into_iter().flatten();
        let mut rewards: Vec<U256> = blocks
            .filter_map(|block| block.items()?.nth(percentile))
            .filter_map(|reward| quantity(reward, "reward").ok())
            .collect();
        rewards.sort_unstable();
        rewards.get(rewards.len() / 2).copied()
    };
    FeeHistory {
        next_base_fee_wei: base_fee.and_then(|fee| quantity(fee, "baseFeePerGas").ok()),
        median_reward_wei: rewards(0),
        high_reward_wei: rewards(1),
    }
}

/// A 32-byte word as a quantity.
pub fn word(value: Part, field: &str) -> Result<U256, RpcError> {
    Ok(U256::from(fixed_hash(value, field)?.as_bytes()))
}

/// NUMBER, PREVRANDAO and TIMESTAMP as three words.
pub fn opcodes(value: Part) -> Result<Opcodes, RpcError> {
    let words: [u8; 96] = bytes_of(value, "the block's opcodes")?;
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
    value: Part,
    field: &str,
    read: impl Fn(Part, &str) -> Result<T, RpcError>,
) -> Result<Option<T>, RpcError> {
    match value.is_null() {
        true => Ok(None),
        false => read(value, field).map(Some),
    }
}

/// A quantity: 0x and hex digits, leading zeros or not, below 2^256; or a plain JSON number, which may be written as a
/// fraction as long as it is whole and exact.
pub fn quantity(value: Part, field: &str) -> Result<U256, RpcError> {
    const EXACT_MAX: f64 = (1u64 << 53) as f64;
    let is_whole = |number: &f64| (0.0..=EXACT_MAX).contains(number) && number.fract() == 0.0;
    // The cast is exact.
    let whole = || value.as_f64().filter(is_whole).map(|number| number as u64);
    if let Some(number) = value.as_u64().or_else(whole) {
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
            short if short.len() <= 16 => u64::from_str_radix(short, 16).ok().map(U256::from),
            digits => U256::from_str_radix(digits, 16).ok(),
        })
        .ok_or_else(|| missing(field, value))
}

pub fn number(value: Part, field: &str) -> Result<u64, RpcError> {
    u64::try_from(quantity(value, field)?).map_err(|_| missing(field, value))
}

/// Yes or no, as a boolean, its name, or 1 and 0; anything else is unknown, which is neither.
fn flag(value: Part, field: &str) -> Result<bool, RpcError> {
    let named = || {
        let name = value.as_str()?;
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        (is("true") || is("false")).then(|| is("true"))
    };
    if let Some(known) = value.as_bool().or_else(named) {
        return Ok(known);
    }
    match number(value, field)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(missing(field, value)),
    }
}

fn address(value: Part, field: &str) -> Result<Address, RpcError> {
    bytes_of(value, field).map(Address::from)
}

pub(crate) fn fixed_hash(value: Part, field: &str) -> Result<H256, RpcError> {
    bytes_of(value, field).map(H256)
}

pub fn bytes(value: Part, field: &str) -> Result<Vec<u8>, RpcError> {
    value
        .as_str()
        .and_then(decode_hex)
        .ok_or_else(|| missing(field, value))
}

fn bytes_of<const LEN: usize>(value: Part, field: &str) -> Result<[u8; LEN], RpcError> {
    let mut bytes = [0; LEN];
    match value.as_str() {
        Some(text) if decode_hex_into(text, &mut bytes) => Ok(bytes),
        _ => Err(missing(field, value)),
    }
}

fn missing(field: &str, value: Part) -> RpcError {
    let shown: String = value.to_string().chars().take(80).collect();
    RpcError::invalid_answer(format!("{field} is {shown}, which it cannot be"))
}

#[cfg(test)]
mod tests;
