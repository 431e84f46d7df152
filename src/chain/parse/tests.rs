//! Answers of nodes, whole and broken, as data; no answer panics.

use super::*;
use crate::chain::encode::encode_hex;
use crate::chain::error::ErrorKind;
use crate::chain::json::Json;
use proptest::prelude::*;
use serde_json::{json, Value};

/// The same functions, of answers that are written down as values.
macro_rules! of_values {
    ($($name:ident($($more:ident: $kind:ty),*) -> $found:ty;)*) => {
        $(fn $name(value: &Value $(, $more: $kind)*) -> $found {
            super::$name(Json::from(value).part() $(, $more)*)
        })*
    };
}

of_values! {
    header() -> Result<Header, RpcError>;
    logs(address: Address) -> Result<Vec<Log>, RpcError>;
    receipt() -> Result<Option<Receipt>, RpcError>;
    opcodes() -> Result<Opcodes, RpcError>;
    fee_history() -> FeeHistory;
    pending_transaction(sender: Address, nonce: u64) -> Result<Option<PendingTransaction>, RpcError>;
    quantity(field: &str) -> Result<U256, RpcError>;
    number(field: &str) -> Result<u64, RpcError>;
    bytes(field: &str) -> Result<Vec<u8>, RpcError>;
}

fn hash(number: u64) -> String {
    format!("0x{number:064x}")
}

fn block() -> Value {
    json!({
        "number": "0x10", "hash": hash(16), "parentHash": hash(15), "timestamp": "0x64", "mixHash": hash(9),
        "baseFeePerGas": "0x7", "gasLimit": "0x1c9c380", "logsBloom": encode_hex(&[0; 256]), "transactions": [],
    })
}

fn a_log() -> Value {
    json!({
        "address": "0x00000000000000000000000000000000000000aa", "topics": [hash(1)], "data": "0x01",
        "blockNumber": "0x10", "blockHash": hash(16), "transactionHash": hash(3), "logIndex": "0x0",
        "removed": false,
    })
}

fn a_receipt() -> Value {
    json!({
        "transactionHash": hash(3), "blockNumber": "0x10", "blockHash": hash(16), "status": "0x1",
        "gasUsed": "0x5208", "effectiveGasPrice": "0x9",
    })
}

#[test]
fn whole_answers_are_read() {
    let header = header(&block()).unwrap();
    assert_eq!(
        (header.number, header.timestamp, header.gas_limit),
        (16, 100, Some(30_000_000))
    );
    assert_eq!(header.base_fee_wei, Some(U256::from(7)));
    assert!(!header.has_transactions);
    let logs = logs(&json!([a_log()]), Address::from_low_u64_be(0xaa)).unwrap();
    assert_eq!(
        (logs[0].block_number, logs[0].log_index, &logs[0].data[..]),
        (16, 0, &[1][..])
    );
    let receipt = receipt(&a_receipt()).unwrap().unwrap();
    assert!(receipt.succeeded);
    assert_eq!(receipt.gas_used, 21_000);
}

#[test]
fn what_only_some_chains_tell_in_a_header_is_read_where_it_is_there() {
    let mut told = block();
    told["difficulty"] = json!("0x2");
    told["l1BlockNumber"] = json!("0x1b58");
    let whole = header(&told).unwrap();
    assert_eq!(
        (whole.mix_hash, whole.difficulty, whole.l1_block_number),
        (Some(H256::from_low_u64_be(9)), Some(2.into()), Some(7_000))
    );
    for nothing in [json!(null), json!("0x"), json!("0x0"), json!(7)] {
        told["mixHash"] = nothing;
        assert_eq!(header(&told).unwrap().mix_hash, None);
    }
}

#[test]
fn the_opcodes_are_three_words() {
    let words = |words: &[u64]| {
        let hex: String = words.iter().map(|word| format!("{word:064x}")).collect();
        json!(format!("0x{hex}"))
    };
    let read = opcodes(&words(&[16, 5, 100])).unwrap();
    assert_eq!(
        (read.prevrandao, read.number, read.timestamp),
        (H256::from_low_u64_be(5), 16, 100)
    );
    assert!(opcodes(&words(&[5, 16])).is_err());
    assert!(opcodes(&json!(format!("0x{}", "f".repeat(192)))).is_err());
}

#[test]
fn a_header_without_a_list_of_transactions_tells_by_its_root() {
    let mut announced = block();
    announced["transactions"] = Value::Null;
    let empty = format!("{:#x}", H256(NO_TRANSACTIONS_ROOT));
    for (root, has_transactions) in [(json!(empty), false), (json!(hash(5)), true)] {
        announced["transactionsRoot"] = root;
        assert_eq!(
            header(&announced).unwrap().has_transactions,
            has_transactions
        );
    }
}

#[test]
fn a_missing_or_wrong_field_is_named() {
    for field in ["number", "hash", "parentHash", "timestamp"] {
        for bad in [
            Value::Null,
            json!("0x"),
            json!("0xzz"),
            json!(7.5),
            json!(-7),
            json!(true),
            json!("0x11111111111111111"),
        ] {
            let mut block = block();
            block[field] = bad;
            let error = header(&block).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidAnswer);
            assert!(error.to_string().starts_with(field), "{error}");
        }
    }
    assert_eq!(header(&Value::Null).unwrap_err().kind, ErrorKind::Behind);
    // Seconds up to the year 4147; the same in milliseconds is no time.
    for (timestamp, is_one) in [
        (1_700_000_000, true),
        (TIMESTAMP_MAX, true),
        (TIMESTAMP_MAX + 1, false),
        (1_700_000_000_000, false),
        (u64::MAX, false),
    ] {
        let mut block = block();
        block["timestamp"] = json!(format!("0x{timestamp:x}"));
        assert_eq!(header(&block).is_ok(), is_one, "{timestamp}");
    }
    let mut bad = a_receipt();
    bad["status"] = json!("0x2");
    assert!(receipt(&bad).is_err());
    bad["blockHash"] = Value::Null;
    assert_eq!(receipt(&bad), Ok(None));
}

#[test]
fn a_receipt_is_read_as_far_as_it_tells() {
    for (status, succeeded) in [
        (json!("0x1"), Some(true)),
        (json!("0x01"), Some(true)),
        (json!(1), Some(true)),
        (json!(true), Some(true)),
        (json!("0x0"), Some(false)),
        (json!(0), Some(false)),
        (json!(false), Some(false)),
        // Before Byzantium there was none; and what is no status is none.
        (json!(null), None),
        (json!("0x"), None),
        (json!(2), None),
        (json!("success"), None),
    ] {
        let mut odd = a_receipt();
        odd["status"] = status.clone();
        let found = receipt(&odd).ok().flatten().map(|it| it.succeeded);
        assert_eq!(found, succeeded, "{status}");
    }
    for price in [json!(null), json!("0x"), json!("much")] {
        let mut odd = a_receipt();
        odd["effectiveGasPrice"] = price;
        let found = receipt(&odd).unwrap().unwrap();
        assert_eq!(found.effective_gas_price_wei, None);
    }
}

#[test]
fn a_gas_limit_that_nothing_fits_into_is_none() {
    for (limit, found) in [(0, None), (999_999, None), (1_000_000, Some(1_000_000))] {
        let mut odd = block();
        odd["gasLimit"] = json!(format!("0x{limit:x}"));
        assert_eq!(header(&odd).unwrap().gas_limit, found, "{limit}");
    }
}

#[test]
fn hashes_and_bytes_may_be_written_in_any_case() {
    let mut loud = block();
    loud["hash"] = json!(hash(0xabc).to_uppercase());
    let header = header(&loud).unwrap();
    assert_eq!(header.hash, H256::from_low_u64_be(0xabc));
    for odd in ["0xabc", "0xabcg", "abcd", "0x ab"] {
        assert!(bytes(&json!(odd), "x").is_err(), "{odd}");
    }
}

#[test]
fn an_optional_field_that_cannot_be_used_is_unknown_and_voids_nothing() {
    for bad in [
        Value::Null,
        json!("0x"),
        json!("0xzz"),
        json!(7.5),
        json!({}),
        json!("0x11111111111111111"),
    ] {
        let mut odd = block();
        for field in [
            "gasLimit",
            "logsBloom",
            "mixHash",
            "l1BlockNumber",
            "transactions",
            "transactionsRoot",
        ] {
            odd[field] = bad.clone();
        }
        odd["difficulty"] = json!("nothing");
        odd["baseFeePerGas"] = json!("0x");
        let header = header(&odd).unwrap();
        let none = (None, None, None, None, None);
        let found = (
            header.gas_limit,
            header.logs_bloom.map(drop),
            header.mix_hash.map(drop),
            header.l1_block_number,
            header.difficulty.or(header.base_fee_wei),
        );
        assert_eq!(found, none, "{bad}");
        assert!(header.has_transactions, "they may be there: {bad}");
    }
    let mut odd = block();
    odd["gasLimit"] = json!("0x0");
    odd["mixHash"] = json!("0x0");
    odd["difficulty"] = json!("0x2");
    odd["l1BlockNumber"] = json!("0x11");
    odd["surprise"] = json!({"new": []});
    let header = header(&odd).unwrap();
    assert_eq!((header.gas_limit, header.mix_hash), (None, None));
    assert_eq!(header.difficulty, Some(U256::from(2)));
    assert_eq!(header.l1_block_number, Some(17));
}

#[test]
fn numbers_may_have_leading_zeros_and_upper_case() {
    let long = format!("0x{}ff", "0".repeat(80));
    for (text, number_found) in [
        ("0x0", 0),
        ("0x000", 0),
        ("0x00A", 10),
        ("0XfF", 255),
        (&long, 255),
    ] {
        assert_eq!(number(&json!(text), "x"), Ok(number_found), "{text}");
    }
    // Plain numbers say the same.
    assert_eq!(number(&json!(0), "x"), Ok(0));
    assert_eq!(number(&json!(u64::MAX), "x"), Ok(u64::MAX));
    assert_eq!(number(&json!(1_700_000_000.0), "x"), Ok(1_700_000_000));
    for bad in [
        json!(-1),
        json!(-1.0),
        json!(1.5),
        json!(1e22),
        json!([1]),
        json!({"hex": "0x1"}),
    ] {
        assert!(quantity(&bad, "x").is_err(), "{bad}");
    }
    for bad in ["", "0x", "ff", "0x-1", "0x+1", "0x 1", "-0x1", "0xg"] {
        assert!(quantity(&json!(bad), "x").is_err(), "{bad}");
    }
    assert!(quantity(&json!(format!("0x1{}", "0".repeat(64))), "x").is_err());
}

#[test]
fn prices_are_read_as_far_as_they_are_told() {
    let wei = |number: u64| Some(U256::from(number));
    let history = json!({
        "baseFeePerGas": ["0x1", null, "0x3"],
        "reward": [["0x5", "0x9"], null, [null, "0x8"], ["0x4", "0x7"], [], ["0x6", null]],
    });
    assert_eq!(
        fee_history(&history),
        FeeHistory {
            next_base_fee_wei: wei(3),
            median_reward_wei: wei(5),
            high_reward_wei: wei(8),
        }
    );
    for nothing in [
        Value::Null,
        json!({}),
        json!("0x1"),
        json!({"baseFeePerGas": [null], "reward": null}),
        json!({"baseFeePerGas": [], "reward": [[]]}),
    ] {
        assert_eq!(fee_history(&nothing), FeeHistory::default(), "{nothing}");
    }
}

#[test]
fn no_logs_may_be_told_as_null() {
    assert_eq!(logs(&Value::Null, Address::zero()), Ok(Vec::new()));
}

#[test]
fn a_pending_transaction_is_found_by_sender_and_nonce() {
    let sender = Address::from_low_u64_be(0xaa);
    let item = |from: Address, nonce: u64| {
        json!({
            "from": format!("{from:#x}"), "nonce": format!("0x{nonce:x}"), "to": null, "input": "0x0102",
            "gasPrice": "0x9", "hash": hash(nonce),
        })
    };
    let mut dynamic = item(sender, 8);
    dynamic["maxFeePerGas"] = json!("0x7");
    dynamic["maxPriorityFeePerGas"] = json!("0x2");
    let block = json!({"transactions": [item(Address::zero(), 8), item(sender, 7), dynamic]});
    let found = |nonce| pending_transaction(&block, sender, nonce).unwrap();
    let legacy = Fee::Legacy {
        gas_price_wei: U256::from(9),
    };
    assert_eq!(
        found(7).map(|it| (it.fee, it.data, it.hash)),
        Some((legacy, vec![1, 2], H256::from_low_u64_be(7)))
    );
    let dynamic = Fee::Dynamic {
        cap_wei: U256::from(7),
        tip_wei: U256::from(2),
    };
    assert_eq!(found(8).map(|it| it.fee), Some(dynamic));
    assert_eq!(found(9), None);
    let strange = json!({"transactions": [{"from": 5}, {"type": "0x7e"}, null, item(sender, 7)]});
    assert!(pending_transaction(&strange, sender, 7).unwrap().is_some());
    let hashes = json!({"transactions": ["0x01"]});
    assert_eq!(pending_transaction(&hashes, sender, 7), Ok(None));
    assert_eq!(pending_transaction(&Value::Null, sender, 7), Ok(None));
}

#[test]
fn removed_and_foreign_logs_spoil_the_answer() {
    let ours = Address::from_low_u64_be(0xaa);
    let removed = |mark: Value| {
        let mut log = a_log();
        log["removed"] = mark;
        logs(&json!([log]), ours)
    };
    for (mark, found) in [
        (json!(true), Some(ErrorKind::Behind)),
        (json!("true"), Some(ErrorKind::Behind)),
        (json!("0x1"), Some(ErrorKind::Behind)),
        (json!(1), Some(ErrorKind::Behind)),
        (json!(false), None),
        (json!("False"), None),
        (json!(0), None),
        (Value::Null, None),
        // Unknown is not "no".
        (json!(2), Some(ErrorKind::InvalidAnswer)),
        (json!("yes"), Some(ErrorKind::InvalidAnswer)),
        (json!([]), Some(ErrorKind::InvalidAnswer)),
    ] {
        let shown = mark.to_string();
        assert_eq!(
            removed(mark).err().map(|error| error.kind),
            found,
            "{shown}"
        );
    }
    assert_eq!(
        logs(&json!([a_log()]), Address::zero()).unwrap_err().kind,
        ErrorKind::InvalidAnswer
    );
    // The order in a block that cannot be read is unknown; the pots that the logs name will prove it.
    let mut unordered = a_log();
    unordered["transactionIndex"] = json!("third");
    assert_eq!(
        logs(&json!([unordered]), ours).unwrap()[0].transaction_index,
        0
    );
    let mut pending = a_log();
    pending["blockHash"] = Value::Null;
    assert!(logs(&json!([pending]), ours).is_err());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "(0x)?[0-9a-fA-Fxé]{0,70}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        let key = prop_oneof![
            "number|hash|topics|logs|status|blockHash|address|transactions|removed",
            "[a-z]{1,4}"
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key, inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_answer_panics(value in any_json()) {
        let _ = (header(&value), logs(&value, Address::zero()), receipt(&value), quantity(&value, "x"));
    }
}
