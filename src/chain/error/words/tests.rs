//! Errors of nodes in every dress, as data.

use super::*;
use crate::chain::method::Method;
use serde_json::json;
use NodeError::*;

fn class(method: Method, code: i64, message: &str, client: &str) -> ErrorKind {
    let error = json!({"code": code, "message": message});
    classify(method, &error, client).kind
}

fn call_class(code: i64, message: &str, client: &str) -> ErrorKind {
    class(Method::Call, code, message, client)
}

fn verdict(code: i64, message: &str, client: &str) -> ErrorKind {
    class(Method::SendRawTransaction, code, message, client)
}

#[test]
fn a_rate_limit_may_say_how_long() {
    for (text, ms) in [
        ("rate limit reached, try again in 2s", Some(2_000)),
        ("Too many requests. Retry after 500 ms", Some(500)),
        ("retry in 1.5 seconds.", Some(1_500)),
        ("slow down, available in 2 minutes", Some(120_000)),
        ("try again in 7.", Some(7_000)),
        ("try again in 99999999999 s", Some(3_600_000)),
        ("try again later", None),
        ("try again in a while", None),
    ] {
        let hint = retry_hint(text).map(|wait| wait.as_millis());
        assert_eq!(hint, ms, "{text}");
    }
    let limited = call_class(-32_005, "request limit: try again in 3 s", "");
    let retry_after = Some(Duration::from_secs(3));
    assert_eq!(limited, ErrorKind::RateLimited { retry_after });
}

#[test]
fn messages_of_the_nodes_are_sorted_by_their_words() {
    for (message, expected) in [
        ("already known", AlreadyKnown),
        ("transaction already imported", AlreadyKnown),
        ("Known transaction: 0xabc", AlreadyKnown),
        ("unknown transaction", Other),
        ("ALREADY_EXISTS: already known", AlreadyKnown),
        ("AlreadyKnown", AlreadyKnown),
        ("OwnNonceAlreadyUsed", AlreadyKnown),
        ("Transaction with the same hash was already imported.", AlreadyKnown),
        ("replacement transaction underpriced", ReplacementUnderpriced),
        ("INTERNAL_ERROR: could not replace existing tx", ReplacementUnderpriced),
        ("ReplacementNotAllowed", ReplacementUnderpriced),
        ("future transaction tries to replace pending", TransientPool),
        ("txpool is full", TransientPool),
        ("transaction underpriced: tip needed 1", Underpriced),
        ("max fee per gas less than block base fee: address 0x..", Underpriced),
        ("FeeTooLow", Underpriced),
        ("Nonce too low", NonceTooLow),
        ("nonce too low: next nonce 5, tx nonce 4", NonceTooLow),
        ("OldNonce", NonceTooLow),
        ("nonce too high", NonceTooHigh),
        ("Transaction nonce is too distant from current sender nonce", NonceTooHigh),
        ("insufficient funds for gas * price + value", InsufficientFunds),
        ("Insufficient funds for gas * price + value", InsufficientFunds),
        ("Upfront cost exceeds account balance", InsufficientFunds),
        ("gas required exceeds allowance (21000)", GasAllowance),
        ("intrinsic gas too low", GasTooLow),
        ("exceeds block gas limit", GasTooHigh),
        ("transaction gas limit too high", GasTooHigh),
        ("transaction type not supported", TypeNotSupported),
        ("EIP-1559 style fee params (maxFeePerGas or maxPriorityFeePerGas) received but they are not supported", TypeNotSupported),
        ("tx fee (1.50 ether) exceeds the configured cap (1.00 ether)", NodeFeeCap),
        ("only replay-protected (EIP-155) transactions allowed over RPC", FatalConfig),
        ("invalid chain id for signer: have 1 want 2", FatalConfig),
        ("something new", Other),
    ] {
        assert_eq!(verdict(-32000, message, "geth"), ErrorKind::Node(expected), "{message}");
        // Of a transaction alone can a pool say such things.
        assert_eq!(call_class(-32000, message, "geth"), ErrorKind::Refused, "{message}");
    }
}

/// What nodes say that nobody has listed.
#[test]
fn a_refusal_in_words_of_its_own_means_what_it_says() {
    for (message, expected) in [
        // erigon
        ("underpriced", Underpriced),
        ("IntrinsicGas", GasTooLow),
        ("gas limit is too high", GasTooHigh),
        ("mined", NonceTooLow),
        ("replaced by transaction with higher tip", ReplacementUnderpriced),
        // reth, and what else is built of revm
        ("nonce 4 too low, expected 5", NonceTooLow),
        ("nonce 6 too high, expected 5", NonceTooHigh),
        ("gas price is less than basefee", Underpriced),
        ("lack of funds (0) for max fee (21000)", InsufficientFunds),
        ("transaction overdraws from account", InsufficientFunds),
        ("call gas cost (21064) exceeds the gas limit (21000)", GasTooLow),
        ("gas floor (21064) exceeds the gas limit (21000)", GasTooLow),
        ("transaction gas limit (17000000) is greater than the cap (16777216)", GasTooHigh),
        ("transaction's gas limit 40 exceeds block's gas limit 30", GasTooHigh),
        ("insufficient gas price to replace existing transaction", ReplacementUnderpriced),
        ("transaction feeCap 5 below chain minimum", Underpriced),
        ("transaction priority fee below minimum required priority fee 1000000000", Underpriced),
        ("transaction discarded outright due to pool size constraints", TransientPool),
        ("[0xab]: already imported", AlreadyKnown),
        // besu
        ("Intrinsic gas exceeds gas limit", GasTooLow),
        ("An invalid transaction with a lower nonce exists", TransientPool),
        ("Transaction type EIP1559 is invalid, accepted transaction types are [FRONTIER]", TypeNotSupported),
        ("Upfront cost exceeds balance", InsufficientFunds),
        // nethermind
        ("TxGasLimitCapExceeded: Gas limit 17000000 exceeds cap of 16777216", GasTooHigh),
        ("GasLimitExceeded, Gas limit: 40, gas limit of rejected tx: 50", GasTooHigh),
        // parity
        ("Transaction gas is too low. There is not enough gas to cover minimal cost of the transaction (minimal: 21064, got: 21000).", GasTooLow),
        ("Transaction cost exceeds current gas limit. Limit: 8000000, got: 9000000.", GasTooHigh),
        ("Transaction gas price 1 is too low. There is another transaction with same nonce in the queue.", ReplacementUnderpriced),
        ("Transaction gas price is too low. It does not satisfy your node's minimal gas price (minimal: 1000, got: 1)", Underpriced),
        ("There are too many transactions in the queue. Your transaction was dropped due to limit.", TransientPool),
        // hardhat, ganache
        ("Transaction requires at least 21064 gas but got 21000", GasTooLow),
        ("Transaction maxFeePerGas (1) is too low for the next block, which has a baseFeePerGas of 875000000", Underpriced),
        ("Sender doesn't have enough funds to send tx. The max upfront cost is: 2 and the sender's balance is: 1.", InsufficientFunds),
        ("the tx doesn't have the correct nonce. account has nonce of: 1 tx has nonce of: 0", NonceTooLow),
        ("base fee exceeds gas limit", GasTooLow),
        // those of other chains
        ("submit transaction to pool failed: Pool(Stale)", NonceTooLow),
        ("submit transaction to pool failed: Pool(AlreadyImported)", AlreadyKnown),
        ("The transaction has too low priority to replace another transaction already in the pool.", ReplacementUnderpriced),
        ("tx already exists in cache", AlreadyKnown),
        ("tx already in mempool", AlreadyKnown),
        ("transaction already finalized", NonceTooLow),
        ("account sequence mismatch, expected 6, got 5: incorrect account sequence", NonceTooLow),
        ("provided fee < minimum global fee (10 < 20). Please increase the gas price.: insufficient fee", Underpriced),
        ("insufficient balance of the sender to pay for gas", InsufficientFunds),
        ("rlp: expected input list for types.Transaction", TypeNotSupported),
        ("failed to decode signed transaction", TypeNotSupported),
        ("fee too high: 9, use less than 3 * 1.5", NodeFeeCap),
        ("not enough gas price", Underpriced),
        ("requires at least 30 gwei gas price", Underpriced),
        ("transaction with nonce 5 already in the pool", ReplacementUnderpriced),
        ("in-flight transaction limit reached for delegated accounts", TransientPool),
        ("max priority fee per gas higher than max fee per gas", Other),
        ("computer says no", Other),
    ] {
        for code in [-32_000, -32_003, -32_603, 7] {
            let found = match verdict(code, message, "") {
                // Nothing was made of it, and the code says that the server stumbled.
                ErrorKind::Refused if code == -32_603 => Other,
                ErrorKind::Node(found) => found,
                other => panic!("{message}: {other:?}"),
            };
            assert_eq!(found, expected, "{message} ({code})");
        }
        assert_eq!(call_class(-32000, message, ""), ErrorKind::Refused, "{message}");
    }
}

#[test]
fn who_did_not_reach_a_pool_tells_no_verdict_of_one() {
    for message in [
        "request timed out",
        "upstream connect error or disconnect/reset before headers",
        "Initial sync is still in progress",
        "Temporary internal error. Please retry",
        "context deadline exceeded",
        "the service is unavailable",
    ] {
        for code in [-32_000, -32_002, 12] {
            let found = verdict(code, message, "");
            assert_eq!(found, ErrorKind::Refused, "{message} ({code})");
        }
    }
}

#[test]
fn a_rate_limit_is_one_in_any_words() {
    let limited = ErrorKind::RateLimited { retry_after: None };
    for message in [
        "Too many request, try again later",
        "project ID request rate exceeded",
        "You've exceeded the RPS limit available on the current plan.",
        "limited to 25 requests per second",
        "monthly quota reached",
        "please slow down",
        "too many concurrent connections",
    ] {
        assert_eq!(call_class(15, message, ""), limited, "{message}");
        assert_eq!(verdict(15, message, ""), limited, "{message}");
    }
    for message in [
        "Batch of more than 3 requests are not allowed on free tier",
        "Number of requests exceeds max batch size",
        "Requested range exceeds maximum RPC range limit",
    ] {
        let found = call_class(31, message, "");
        assert_eq!(found, ErrorKind::Refused, "{message}");
    }
}

#[test]
fn a_block_that_is_not_there_is_told_in_many_words() {
    for message in [
        "header for hash not found",
        "hash is not currently canonical",
        "block 0xabc not found",
        "old data not available due to pruning: min block 5",
        "Block 0xabc could not be found",
        "could not find block",
        "World state unavailable",
        "cannot query unfinalized data",
        "requested from block 9 after last accepted block 8",
        "Block with such an ID doesn't exist yet",
        "the block does not exist (block number: 9)",
        "state histories haven't been fully indexed yet",
        "height 9 is not available, lowest height is 10",
        "requested block height is bigger than the latest height",
    ] {
        let found = call_class(-32_000, message, "");
        assert_eq!(found, ErrorKind::Behind, "{message}");
    }
    for (code, message) in [
        (
            -32_601,
            "the method eth_getBlockByHash does not exist/is not available",
        ),
        (-32_000, "method eth_getBlockByHash not found"),
        (-32_000, "unknown field `blockHash`, expected one of"),
        (-32_000, "block overrides are not supported"),
        (-32_000, "missing value for required argument 1: block"),
        (-32_000, "invalid block hash: unknown format"),
    ] {
        let found = call_class(code, message, "");
        assert_eq!(found, ErrorKind::Refused, "{message}");
    }
}

#[test]
fn what_an_endpoint_lacks_is_behind() {
    for message in [
        "header not found",
        "Unknown block",
        "missing trie node 0xabc (path ) state 0xdef is not available",
        "block number 9 is beyond current head 8",
        "BlockOutOfRangeError: block height is 8 but requested was 9",
        "resource not found",
    ] {
        assert_eq!(
            call_class(-32000, message, ""),
            ErrorKind::Behind,
            "{message}"
        );
    }
}

#[test]
fn range_limits_carry_their_hint() {
    for (message, blocks) in [
        (
            "Log response size exceeded. this block range should work: [0x1, 0x64]",
            Some(100),
        ),
        (
            "query returned more than 10000 results. Try with this block range [0x10,0x1f].",
            Some(16),
        ),
        ("exceed max range: 2000", None),
        ("block range too large, max range: 1,000", Some(1_000)),
        ("eth_getLogs is limited to a 10,000 range", Some(10_000)),
        ("range must cover at most 800 blocks", Some(800)),
        ("block range is too wide", None),
        ("query returned more than 10000 results", None),
        ("query exceeds max results 20000", None),
        ("exceed maximum block range: 50000", None),
        ("exceeds maximum RPC range limit", None),
    ] {
        let error = json!({"code": -32_602, "message": message});
        let error = classify(Method::GetLogs, &error, "");
        assert_eq!(error.kind, ErrorKind::Refused, "{message}");
        let hint = error.log_range_hint_blocks();
        let blocks = (message == "exceed max range: 2000")
            .then_some(2_000)
            .or(blocks);
        assert_eq!(hint, blocks, "{message}");
    }
    let error = json!({"code": -32_005, "message": "query returned more than 10000 results"});
    assert_eq!(
        classify(Method::GetLogs, &error, "").kind,
        ErrorKind::Refused
    );
}

#[test]
fn codes_speak_only_where_messages_do_not() {
    let limited = ErrorKind::RateLimited { retry_after: None };
    assert_eq!(call_class(-32005, "daily quota", ""), limited);
    assert_eq!(call_class(-32603, "Too Many Requests", ""), limited);
    assert_eq!(
        verdict(-32005, "insufficient funds", ""),
        ErrorKind::Node(InsufficientFunds)
    );
    assert_eq!(
        verdict(-32603, "Nonce too low", ""),
        ErrorKind::Node(NonceTooLow)
    );
    assert_eq!(
        verdict(-32001, "x", "besu/v24"),
        ErrorKind::Node(NonceTooLow)
    );
    assert_eq!(call_class(-32001, "x", "anvil/v1"), ErrorKind::Behind);
    assert_eq!(
        verdict(-32009, "x", "besu/v24"),
        ErrorKind::Node(Underpriced)
    );
    assert_eq!(verdict(-32009, "x", "geth"), ErrorKind::Node(Other));
}

#[test]
fn a_server_that_stumbles_judges_nothing() {
    for method in Method::ALL {
        for error in [
            json!({"code": -32603, "message": "Internal error"}),
            json!({"code": -32601, "message": "the method does not exist"}),
            json!({"code": "-32603", "message": null}),
            json!("Internal error"),
            json!({}),
            json!(17),
            json!(["a list"]),
            json!(true),
        ] {
            let found = classify(method, &error, "");
            assert_eq!(found.kind, ErrorKind::Refused, "{method:?} {error}");
            assert_eq!(found.method, Some(method));
            assert!(!found.is_final() && !found.to_string().is_empty());
        }
    }
    // The words of another error are found wherever they stand.
    for error in [
        json!("Too Many Requests"),
        json!({"code": -32000, "message": "", "error": "request limit reached"}),
        json!({"error": {"message": "rate limit exceeded"}}),
        json!({"code": "429", "message": "slow down"}),
        json!({"code": 429.0}),
        json!({"code": -32603, "message": "Internal error", "data": "throttled"}),
        json!({"code": -32603, "message": "Internal error", "data": {"message": "too many requests"}}),
    ] {
        let limited = ErrorKind::RateLimited { retry_after: None };
        assert_eq!(
            classify(Method::GetBalance, &error, "").kind,
            limited,
            "{error}"
        );
    }
}

fn called(code: i64, message: &str, data: Value) -> RpcError {
    let error = json!({"code": code, "message": message, "data": data});
    classify(Method::Call, &error, "")
}

/// Error("No bets placed").
const NO_BETS: &str = "0x08c379a00000000000000000000000000000000000000000000000000000000000000020\
     000000000000000000000000000000000000000000000000000000000000000e\
     4e6f206265747320706c61636564000000000000000000000000000000000000";

#[test]
fn a_revert_is_a_revert_in_every_dress() {
    for (code, message, data, reason) in [
        (-32015, "VM execution error.", json!(format!("Reverted {NO_BETS}")), Some("No bets placed")),
        (-32015, "VM execution error.", json!("revert"), None),
        (-32015, "VM execution error.", json!(null), None),
        (-32015, "Transaction execution fails", json!(NO_BETS), Some("No bets placed")),
        (-32000, "VM execution error", json!("Reverted 0x"), None),
        (-32000, "execution reverted", json!({"data": NO_BETS}), Some("No bets placed")),
        (-32603, "Internal error", json!({"message": "execution reverted", "data": NO_BETS}), Some("No bets placed")),
        (-32603, "Internal JSON-RPC error.", json!({"originalError": {"data": NO_BETS, "message": "reverted"}, "message": "reverted"}), Some("No bets placed")),
        (-32000, "VM Exception while processing transaction: revert", json!({"0xab": {"error": "revert", "return": NO_BETS}}), Some("No bets placed")),
        (-32603, "Error: VM Exception while processing transaction: reverted with reason string 'No bets placed'", json!(null), Some("No bets placed")),
        (3, "", json!(NO_BETS), Some("No bets placed")),
        // Where nobody gives the data, the reason is in words somewhere.
        (-32603, "Internal error", json!({"message": "execution reverted: No bets placed"}), Some("No bets placed")),
        (-32603, "Internal error", json!("execution reverted: No bets placed"), Some("No bets placed")),
        (-32603, "Internal JSON-RPC error.", json!({"originalError": {"message": "execution reverted: No bets placed"}}), Some("No bets placed")),
        (-32000, "VM Exception while processing transaction: revert", json!({"0xab": {"error": "revert", "reason": "No bets placed"}}), Some("No bets placed")),
        (-32000, "execution reverted (No bets placed)", json!(null), Some("No bets placed")),
        (-32000, "call reverted with reason: No bets placed", json!(null), Some("No bets placed")),
        (-32000, "Transaction reverted without a reason string", json!(null), None),
        (-32000, "execution reverted", json!({"message": "revert"}), None),
        (3, "execution reverted: rate limit", json!(null), Some("rate limit")),
    ] {
        let error = called(code, message, data.clone());
        let ErrorKind::Reverted { reason: found, .. } = &error.kind else {
            panic!("{message} {data}: {error:?}");
        };
        assert_eq!(found.as_deref(), reason, "{message} {data}");
        assert!(error.is_final());
    }
    for method in Method::ALL.into_iter().filter(|method| !method.runs_code()) {
        let error = json!({"code": 3, "message": "execution reverted"});
        assert_eq!(
            classify(method, &error, "").kind,
            ErrorKind::Refused,
            "{method:?}"
        );
    }
    // A code alone does not outweigh words of another kind.
    assert_eq!(
        called(3, "header not found", json!(null)).kind,
        ErrorKind::Behind
    );
    assert_eq!(
        called(-32000, "out of gas", json!(null)).kind,
        ErrorKind::Refused
    );
}

#[test]
fn reverts_give_their_reason_from_data_or_words() {
    let data = NO_BETS;
    let reason = |error: RpcError| match error.kind {
        ErrorKind::Reverted { reason, .. } => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        reason(called(3, "execution reverted", json!(data))),
        Some("No bets placed".into())
    );
    assert_eq!(
        reason(called(-32000, "execution reverted: Nope", json!(null))),
        Some("Nope".into())
    );
    assert_eq!(reason(called(3, "execution reverted", json!("0x"))), None);
    let panic = format!("0x4e487b71{:064x}", 0x11);
    assert_eq!(
        reason(called(3, "execution reverted", json!(panic))),
        Some("panic 0x11".into())
    );
    let words =
        "VM Exception while processing transaction: revert Only operator can call this function";
    assert_eq!(
        reason(called(-32000, words, json!(null))),
        Some("Only operator can call this function".into())
    );
    let garbled = called(3, "execution reverted", json!("0x08c379a0ff"));
    assert_eq!(reason(garbled), None);
}
