//! What a signer elsewhere may answer, and what becomes of it: each field forged, each dress and each name of the call.

use std::sync::Mutex;

use super::*;
use crate::chain::error::ErrorKind;
use crate::chain::script::Script;
use crate::chain::transport::Answer;

fn key() -> OperatorKey {
    let digits = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
    OperatorKey::from_hex(digits).unwrap()
}

fn draw(fee: Fee) -> Transaction {
    Transaction {
        chain_id: 31_337,
        nonce: 7,
        to: Address::repeat_byte(0xcc),
        value_wei: U256::zero(),
        data: vec![0x0d, 0x9d, 0xf4, 0x4f],
        gas_limit: 366_000,
        fee,
    }
}

fn kinds() -> [Transaction; 2] {
    let gwei = |count: u64| U256::from(count) * U256::exp10(9);
    [
        draw(Fee::Dynamic {
            cap_wei: gwei(3),
            tip_wei: U256::one(),
        }),
        draw(Fee::Legacy {
            gas_price_wei: gwei(37),
        }),
    ]
}

/// A signer that answers each call as it is told.
fn signer(
    respond: impl Fn(&str, &Value) -> Result<Value, Value> + Send + Sync + 'static,
) -> (Signer, Arc<Script>) {
    let script = Arc::new(Script::of_calls("http://signer.example", respond));
    let remote = RemoteSigner::over(script.clone(), key().address(), Clock::manual(0));
    (Signer::Elsewhere(remote), script)
}

fn raw(transaction: &Transaction) -> String {
    encode_hex(&transaction.sign(&key()).raw)
}

fn unknown_method() -> Value {
    json!({"code": -32601, "message": "the method does not exist/is not available"})
}

#[test]
fn what_is_asked_for_is_signed_in_either_dress_and_under_either_name() {
    for transaction in kinds() {
        let bytes = raw(&transaction);
        for (name, answer) in [
            ("eth_signTransaction", json!(bytes)),
            ("eth_signTransaction", json!({"raw": bytes, "tx": {}})),
            (
                "account_signTransaction",
                json!({"raw": bytes, "tx": {"nonce": "0x1"}}),
            ),
        ] {
            let (signer, script) = signer(move |method, _| match method == name {
                true => Ok(answer.clone()),
                false => Err(unknown_method()),
            });
            for _ in 0..2 {
                assert_eq!(signer.sign(&transaction), Ok(transaction.sign(&key())));
            }
            // The name is learned once.
            let calls = if name.starts_with("eth") { 2 } else { 3 };
            assert_eq!(script.asked().len(), calls);
        }
    }
}

#[test]
fn the_request_names_every_field_that_is_signed() {
    let [dynamic, legacy] = kinds();
    let common = json!({
        "from": "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266",
        "to": format!("0x{}", "cc".repeat(20)),
        "gas": "0x595b0", "value": "0x0", "nonce": "0x7", "data": "0x0d9df44f", "chainId": "0x7a69",
    });
    for (transaction, fees) in [
        (
            dynamic,
            json!({"maxFeePerGas": "0xb2d05e00", "maxPriorityFeePerGas": "0x1"}),
        ),
        (legacy, json!({"gasPrice": "0x89d5f3200"})),
    ] {
        let mut expected = common.as_object().unwrap().clone();
        expected.extend(fees.as_object().unwrap().clone());
        assert_eq!(
            request(&transaction, key().address()),
            Value::Object(expected)
        );
    }
}

#[test]
fn another_transaction_than_was_asked_for_is_refused_by_the_field_that_differs() {
    type Change = fn(&mut Transaction);
    let changes: [(&str, Change); 7] = [
        ("chain id", |it| it.chain_id = 1),
        ("nonce", |it| it.nonce += 1),
        ("recipient", |it| it.to = Address::repeat_byte(0xee)),
        ("value", |it| it.value_wei = U256::one()),
        ("data", |it| it.data.push(0)),
        ("gas limit", |it| it.gas_limit -= 1),
        ("type", |it| {
            it.fee = match it.fee {
                Fee::Dynamic { cap_wei, .. } => Fee::Legacy {
                    gas_price_wei: cap_wei,
                },
                Fee::Legacy { gas_price_wei } => Fee::Dynamic {
                    cap_wei: gas_price_wei,
                    tip_wei: gas_price_wei,
                },
            }
        }),
    ];
    let [dynamic, legacy] = kinds();
    for transaction in [&dynamic, &legacy] {
        for (field, change) in changes {
            let mut forged = transaction.clone();
            change(&mut forged);
            refused(transaction, raw(&forged), field);
        }
    }
    let with_fee = |fee| raw(&draw(fee));
    let cap_wei = dynamic.fee.cap_wei();
    let (dearer, tip_wei) = (cap_wei + 1, U256::one());
    let fees = [
        (dearer, tip_wei, "fee cap (maxFeePerGas)"),
        (cap_wei, cap_wei, "tip (maxPriorityFeePerGas)"),
    ];
    for (cap_wei, tip_wei, field) in fees {
        refused(&dynamic, with_fee(Fee::Dynamic { cap_wei, tip_wei }), field);
    }
    let gas_price_wei = dearer;
    refused(
        &legacy,
        with_fee(Fee::Legacy { gas_price_wei }),
        "gas price",
    );
}

#[test]
fn the_right_transaction_is_refused_in_a_wrong_signature_or_encoding() {
    let other = OperatorKey::from_hex(&"46".repeat(32)).unwrap();
    for transaction in kinds() {
        let bytes = transaction.sign(&key()).raw;
        let by_other = encode_hex(&transaction.sign(&other).raw);
        refused(&transaction, by_other, "sender");
        let longer = encode_hex(&[bytes.clone(), vec![0]].concat());
        refused(&transaction, longer, "encoding");
        // The last byte of s: another signature, by nobody or by somebody else.
        let mut bent = bytes.clone();
        *bent.last_mut().unwrap() ^= 1;
        let error = answered(&transaction, encode_hex(&bent)).unwrap_err();
        let told = error.to_string();
        assert!(
            told.contains("sender differs") || told.contains("signature differs"),
            "{told}"
        );
        for cut in 0..bytes.len() {
            assert!(answered(&transaction, encode_hex(&bytes[..cut])).is_err());
        }
    }
}

#[test]
fn the_high_twin_of_a_signature_is_refused() {
    // EIP-2: (r, n - s) with the other parity is a signature as well, under another hash.
    let order = U256::from_str_radix(
        "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141",
        16,
    )
    .unwrap();
    for transaction in kinds() {
        let bytes = transaction.sign(&key()).raw;
        let (head, s) = bytes.split_at(bytes.len() - 32);
        let high = order - U256::from_big_endian(s);
        let mut tail = [0; 32];
        high.to_big_endian(&mut tail);
        let mut forged = [head, &tail].concat();
        // The parity is the byte before the marks and bytes of r and s.
        let parity = forged.len() - 67;
        forged[parity] = match transaction.fee {
            Fee::Dynamic { .. } if forged[parity] == 1 => 0x80,
            Fee::Dynamic { .. } => 1,
            Fee::Legacy { .. } if forged[parity] % 2 == 0 => forged[parity] - 1,
            Fee::Legacy { .. } => forged[parity] + 1,
        };
        refused(&transaction, encode_hex(&forged), "signature");
    }
}

#[test]
fn an_access_list_is_refused() {
    let [transaction, _] = kinds();
    let raw = transaction.sign(&key()).raw;
    let own = rlp::Rlp::new(&raw[1..]);
    let mut stream = rlp::RlpStream::new_list(12);
    for index in 0..12 {
        match index {
            8 => stream
                .begin_list(1)
                .begin_list(2)
                .append(&Address::zero())
                .begin_list(0),
            _ => stream.append_raw(own.at(index).unwrap().as_raw(), 1),
        };
    }
    let forged = [vec![0x02], stream.out().to_vec()].concat();
    refused(&transaction, encode_hex(&forged), "access list");
}

#[test]
fn no_answer_is_no_signature_and_says_nothing_secret() {
    let [transaction, _] = kinds();
    for (answer, told) in [
        (Ok(json!("0xzz")), "gave an answer that cannot be read"),
        (Ok(json!(null)), "gave an answer that cannot be read"),
        (Ok(json!({"tx": {}})), "gave an answer that cannot be read"),
        (
            Err(json!({"code": -32000, "message": "Request denied by s3cret"})),
            "answered with an error",
        ),
        (Err(unknown_method()), "answered with an error"),
    ] {
        let (signer, _) = signer(move |_, _| answer.clone());
        let error = signer.sign(&transaction).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the signer does not sign: it {told}")
        );
    }
    let failing = Script::of_requests("http://signer.example", |_| {
        Err(RpcError::transport("timed out"))
    });
    let failing = Arc::new(failing);
    let remote = RemoteSigner::over(failing.clone(), key().address(), Clock::manual(0));
    let error = remote.sign(&transaction).unwrap_err();
    assert!(
        matches!(&error, SignerError::Unanswered(it) if it.kind == ErrorKind::Transport),
        "{error}"
    );
    // What is silent under one name is not asked under the other.
    assert_eq!(failing.asked().len(), 1);
}

#[test]
fn a_proof_is_a_call_that_no_block_can_take() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = asked.clone();
    let script = Script::of_requests("http://signer.example", move |request| {
        heard.lock().unwrap().push(request["params"][0].clone());
        Ok(Answer::json(json!({"id": request["id"], "result": "0x"})))
    });
    let to = Address::repeat_byte(0xcc);
    let remote = RemoteSigner::over(Arc::new(script), key().address(), Clock::manual(0));
    for is_legacy in [false, true] {
        let error = remote
            .sign(&signing_proof(1, to, vec![1], is_legacy))
            .unwrap_err();
        assert_eq!(error, SignerError::Unfit { differs: "type" });
    }
    let asked = asked.lock().unwrap();
    for (request, price) in asked.iter().zip(["maxFeePerGas", "gasPrice"]) {
        assert_eq!(request["nonce"], "0xfffffffffffffffe");
        assert_eq!(
            (&request["gas"], &request["data"]),
            (&json!("0x5208"), &json!("0x01"))
        );
        assert_eq!(request[price], "0x0");
    }
    let by_key = Signer::Key(key()).sign(&signing_proof(1, to, vec![1], false));
    assert!(by_key.is_ok(), "{by_key:?}");
}

/// What becomes of these bytes as the answer for the transaction.
fn answered(transaction: &Transaction, bytes: String) -> Result<SignedTransaction, SignerError> {
    let (signer, _) = signer(move |_, _| Ok(json!(bytes)));
    signer.sign(transaction)
}

fn refused(transaction: &Transaction, bytes: String, field: &'static str) {
    let expected = SignerError::Unfit { differs: field };
    assert_eq!(answered(transaction, bytes), Err(expected), "{field}");
}
