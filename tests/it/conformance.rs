//! devchain against anvil: the same script of calls gives the same answers, field by field.
//!
//! Left out of the comparison, and nothing else: block hashes, roots, mixHash and size (and what derives from them),
//! fields that only one of the two adds to the standard's, the gas price of a transaction that waits (its cap on one, what
//! it would pay next on the other), and the words of a node's refusals: those must mean the same
//! to the daemon instead, which reads them in one place.

use ethabi::{Contract, Token};
use lottery::chain::encode::encode_hex;
use lottery::chain::error::classify;
use lottery::chain::fees::Fee;
use lottery::chain::key::OperatorKey;
use lottery::chain::method::Method;
use lottery::chain::tx::Transaction;
use lottery::chain::types::{Address, U256};
use lottery::lottery::contract::ABI_JSON;
use serde_json::{json, Value};

use support::chain::{hex_address, wait_for, Chain, CHAIN_ID, OPERATOR_KEY};
use support::BET_WEI;

/// Fields whose values may differ.
const INCOMPARABLE: &[&str] = &[
    "blockHash",
    "parentHash",
    "mixHash",
    "size",
    "stateRoot",
    "transactionsRoot",
    "receiptsRoot",
    "withdrawalsRoot",
    "requestsHash",
    "sha3Uncles",
];
/// Fields that only one of the two has.
const EXTRA: &[&str] = &[
    "totalDifficulty",
    "blobGasPrice",
    "blobGasUsed",
    "baseFeePerBlobGas",
    "blobGasUsedRatio",
];
const GENESIS_SECS: u64 = 2_000_000_000;
const GWEI: u64 = 1_000_000_000;

/// One chain, and every question asked with its answer.
struct Script<'a> {
    chain: &'a Chain,
    clock_secs: u64,
    answers: Vec<(String, Value)>,
}

impl Script<'_> {
    /// Asks, and keeps what can be compared of the answer.
    fn ask(&mut self, label: &str, method: &str, params: Value) -> Value {
        let call = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        let mut answer = self.chain.post(&call).unwrap();
        let raw = answer.clone();
        comparable(&mut answer, asked(method));
        self.answers.push((format!("{label}: {method}"), answer));
        raw["result"].clone()
    }

    /// Sends a transaction of an unlocked account, mined at once in a block with a set time; its receipt.
    fn send(&mut self, label: &str, transaction: Value) -> Value {
        self.clock_secs += 10;
        self.ask(label, "evm_setNextBlockTimestamp", json!([self.clock_secs]));
        let hash = self.ask(label, "eth_sendTransaction", json!([transaction]));
        // anvil answers before the block is mined.
        wait_for("the block", || {
            let receipt = self.chain.rpc("eth_getTransactionReceipt", json!([hash]));
            (!receipt.is_null()).then_some(())
        });
        self.ask(label, "eth_getTransactionReceipt", json!([hash]))
    }
}

/// Refusals are read as the daemon reads those of this kind of question: about a transaction, or about anything else.
fn asked(method: &str) -> Method {
    match method {
        "eth_sendRawTransaction" | "eth_sendTransaction" => Method::SendRawTransaction,
        _ => Method::Call,
    }
}

fn comparable(answer: &mut Value, method: Method) {
    match answer {
        Value::Array(items) => items.iter_mut().for_each(|item| comparable(item, method)),
        Value::Object(fields) => {
            if let Some(error) = fields.get_mut("error") {
                *error = meaning(error, method);
                return;
            }
            if fields.contains_key("parentHash") {
                fields.remove("hash");
            }
            if fields.get("transactionIndex") == Some(&Value::Null) {
                fields.remove("gasPrice");
            }
            fields.retain(|name, _| {
                let name = name.as_str();
                !INCOMPARABLE.contains(&name) && !EXTRA.contains(&name)
            });
            fields
                .values_mut()
                .for_each(|field| comparable(field, method));
        }
        _ => {}
    }
}

/// What the daemon makes of a refusal; a revert also with its words and data.
fn meaning(error: &Value, method: Method) -> Value {
    json!(format!("{:?}", classify(method, error, "").kind))
}

fn calldata(function: &str, arguments: &[Token]) -> String {
    let abi = Contract::load(ABI_JSON.as_bytes()).unwrap();
    let function = abi.function(function).unwrap();
    encode_hex(&function.encode_input(arguments).unwrap())
}

fn creation(accounts: &[Address]) -> String {
    let number = |secs: u64| Token::Uint(U256::from(secs));
    let arguments = ethabi::encode(&[
        Token::Address(accounts[0]),
        Token::Address(accounts[1]),
        number(250),
        number(5),
        number(180),
        number(60),
    ]);
    encode_hex(&[devchain::lottery_bytecode(), arguments].concat())
}

fn transaction(from: Address, to: Option<Address>, data: &str, wei: u64) -> Value {
    let mut transaction = json!({
        "from": hex_address(from), "data": data, "value": format!("0x{wei:x}"), "gas": "0x4c4b40",
        "maxFeePerGas": format!("0x{:x}", 10 * GWEI), "maxPriorityFeePerGas": format!("0x{GWEI:x}"),
    });
    if let Some(to) = to {
        transaction["to"] = json!(hex_address(to));
    }
    transaction
}

fn signed(nonce: u64, to: Address, fee: Fee, gas_limit: u64, wei: u64) -> (String, String) {
    let key = OperatorKey::from_hex(OPERATOR_KEY).unwrap();
    let transaction = Transaction {
        chain_id: CHAIN_ID,
        nonce,
        to,
        value_wei: U256::from(wei),
        data: Vec::new(),
        gas_limit,
        fee,
    };
    let signed = transaction.sign(&key);
    (encode_hex(&signed.raw), format!("{:#x}", signed.hash))
}

fn dynamic(max_gwei: u64, tip_gwei: u64) -> Fee {
    Fee::Dynamic {
        cap_wei: U256::from(max_gwei * GWEI),
        tip_wei: U256::from(tip_gwei * GWEI),
    }
}

fn run(chain: &Chain) -> Vec<(String, Value)> {
    let mut script = Script {
        chain,
        clock_secs: GENESIS_SECS,
        answers: Vec::new(),
    };
    let accounts: Vec<Address> = (0..5).map(|index| chain.account(index)).collect();
    script.ask("start", "eth_chainId", json!([]));
    script.ask("start", "net_version", json!([]));
    script.ask("start", "eth_accounts", json!([]));
    script.ask("start", "eth_syncing", json!([]));
    let lottery = contract(&mut script, &accounts);
    state(&mut script, &accounts, lottery);
    history(&mut script, lottery);
    pool(&mut script, &accounts);
    refusals(&mut script, &accounts, lottery);
    going_back(&mut script, &accounts);
    script.answers
}

/// A round's life: deployment, bets, a revert, too few players.
fn contract(script: &mut Script, accounts: &[Address]) -> Address {
    let receipt = script.send(
        "deploy",
        transaction(accounts[0], None, &creation(accounts), 0),
    );
    let address = receipt["contractAddress"].as_str().unwrap();
    let lottery: Address = address.parse().unwrap();
    let code = script.ask("deployed", "eth_getCode", json!([address, "latest"]));
    assert!(code.as_str().unwrap().len() > 1_000, "{code}");
    let bet = calldata("placeBet", &[]);
    let act =
        |from: usize, data: &str, wei: u64| transaction(accounts[from], Some(lottery), data, wei);
    script.send("first bet", act(2, &bet, BET_WEI));
    script.send("second bet", act(2, &bet, 2 * BET_WEI));
    let reverted = script.send("bet too low", act(3, &bet, 1));
    assert_eq!(reverted["status"], "0x0");
    script.clock_secs += 180;
    script.send(
        "draw for one player",
        act(1, &calldata("drawWinner", &[]), 0),
    );
    script.send("next round", act(3, &bet, BET_WEI));
    lottery
}

fn state(script: &mut Script, accounts: &[Address], lottery: Address) {
    let address = hex_address(lottery);
    let round = json!({"to": address, "data": calldata("getRound", &[])});
    for block in [
        json!("latest"),
        json!("0x3"),
        json!("earliest"),
        json!("safe"),
        json!("finalized"),
        json!("pending"),
        json!("0xffff"),
    ] {
        script.ask(
            &format!("state at {block}"),
            "eth_call",
            json!([round, block]),
        );
    }
    let head = script.ask("head", "eth_getBlockByNumber", json!(["latest", false]));
    let by_hash = json!({"blockHash": head["hash"]});
    script.ask("by hash", "eth_call", json!([round, by_hash]));
    script.ask("by hash", "eth_getBlockByHash", json!([head["hash"], true]));
    script.ask(
        "by foreign hash",
        "eth_getBlockByHash",
        json!([format!("0x{}", "77".repeat(32)), false]),
    );
    let draw = json!({"from": hex_address(accounts[1]), "to": address, "data": calldata("drawWinner", &[])});
    script.ask("too early", "eth_call", json!([draw, "latest"]));
    let late = json!({"time": format!("0x{:x}", script.clock_secs + 400)});
    script.ask(
        "too late by override",
        "eth_call",
        json!([draw, "latest", {}, late]),
    );
    let due = json!({"time": format!("0x{:x}", script.clock_secs + 190)});
    script.ask(
        "in time by override",
        "eth_call",
        json!([draw, "latest", {}, due]),
    );
    let poor = json!({"from": hex_address(accounts[4]), "to": address, "data": calldata("placeBet", &[]), "value": "0xffffffffffffffffffff"});
    script.ask("cannot pay", "eth_call", json!([poor, "latest"]));
    script.ask("cannot pay", "eth_estimateGas", json!([poor, "latest"]));
    let bet = json!({"from": hex_address(accounts[4]), "to": address, "data": calldata("placeBet", &[]), "value": format!("0x{BET_WEI:x}")});
    script.ask("too early", "eth_estimateGas", json!([draw]));
    script.ask("a bet's gas", "eth_estimateGas", json!([bet]));
    let paid = json!({hex_address(accounts[4]): {"balance": "0xffffffffffffffffffffff"}});
    script.ask(
        "balance by override",
        "eth_call",
        json!([poor, "latest", paid]),
    );
    for account in [accounts[0], accounts[2], lottery] {
        let account = hex_address(account);
        script.ask("balance", "eth_getBalance", json!([account, "latest"]));
        script.ask("balance then", "eth_getBalance", json!([account, "0x2"]));
        script.ask(
            "nonce",
            "eth_getTransactionCount",
            json!([account, "latest"]),
        );
        script.ask(
            "nonce",
            "eth_getTransactionCount",
            json!([account, "pending"]),
        );
    }
    script.ask(
        "storage",
        "eth_getStorageAt",
        json!([address, "0x0", "latest"]),
    );
    script.ask("bet", "eth_call", json!([bet, "latest"]));
}

fn history(script: &mut Script, lottery: Address) {
    let address = hex_address(lottery);
    for number in 0..=6 {
        let number = format!("0x{number:x}");
        script.ask("block", "eth_getBlockByNumber", json!([number, false]));
        script.ask("receipts", "eth_getBlockReceipts", json!([number]));
    }
    script.ask("full", "eth_getBlockByNumber", json!(["0x2", true]));
    script.ask("beyond", "eth_getBlockByNumber", json!(["0xffff", false]));
    let abi = Contract::load(ABI_JSON.as_bytes()).unwrap();
    let topic = |event: &str| format!("{:#x}", abi.event(event).unwrap().signature());
    let any = json!([topic("BetPlaced"), topic("RoundRefunded")]);
    for filter in [
        json!({"address": address, "fromBlock": "0x0", "toBlock": "latest"}),
        json!({"address": [address], "fromBlock": "0x0", "topics": [topic("BetPlaced")]}),
        json!({"address": address, "fromBlock": "0x0", "topics": [any]}),
        json!({"address": address, "fromBlock": "0x0", "topics": [null, format!("0x{:064x}", 2)]}),
        json!({"address": address, "fromBlock": "0x2", "toBlock": "0x2"}),
        json!({"address": hex_address(Address::repeat_byte(9)), "fromBlock": "0x0"}),
        json!({"fromBlock": "0x0", "toBlock": "0xffff"}),
    ] {
        script.ask(&format!("logs {filter}"), "eth_getLogs", json!([filter]));
    }
    let block = script.ask("block", "eth_getBlockByNumber", json!(["0x2", false]));
    script.ask(
        "logs of a block",
        "eth_getLogs",
        json!([{"blockHash": block["hash"]}]),
    );
    script.ask(
        "logs of no block",
        "eth_getLogs",
        json!([{"blockHash": format!("0x{}", "77".repeat(32))}]),
    );
    script.ask(
        "fees",
        "eth_feeHistory",
        json!(["0x3", "latest", [10.0, 50.0]]),
    );
    script.ask("fees", "eth_feeHistory", json!(["0x400", "latest", []]));
}

/// Pending, replaced, mined, all by signed transactions.
fn pool(script: &mut Script, accounts: &[Address]) {
    let operator = hex_address(accounts[1]);
    let nonce = script.ask(
        "pool",
        "eth_getTransactionCount",
        json!([operator, "latest"]),
    );
    let nonce = u64::from_str_radix(nonce.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    script.ask("pool", "evm_setAutomine", json!([false]));
    let to = accounts[4];
    let (first, _) = signed(nonce, to, dynamic(5, 1), 21_000, 1);
    let (raised, raised_hash) = signed(nonce, to, dynamic(6, 2), 21_000, 2);
    let (gap, gap_hash) = signed(nonce + 2, to, dynamic(5, 1), 21_000, 3);
    let legacy = Fee::Legacy {
        gas_price_wei: U256::from(5 * GWEI),
    };
    let (old, old_hash) = signed(nonce + 1, to, legacy, 21_000, 4);
    script.ask("first", "eth_sendRawTransaction", json!([first]));
    script.ask("again", "eth_sendRawTransaction", json!([first]));
    let (lower, _) = signed(nonce, to, dynamic(5, 1), 21_000, 9);
    script.ask("no rise", "eth_sendRawTransaction", json!([lower]));
    script.ask("raised", "eth_sendRawTransaction", json!([raised]));
    script.ask("gap", "eth_sendRawTransaction", json!([gap]));
    script.ask("waiting", "eth_getTransactionByHash", json!([gap_hash]));
    script.ask("pending", "eth_getTransactionByHash", json!([raised_hash]));
    script.ask("pending", "eth_getTransactionReceipt", json!([raised_hash]));
    script.ask(
        "behind one",
        "eth_getTransactionCount",
        json!([operator, "pending"]),
    );
    script.ask("filled", "eth_sendRawTransaction", json!([old]));
    script.ask(
        "behind all",
        "eth_getTransactionCount",
        json!([operator, "pending"]),
    );
    script.ask("counted", "txpool_status", json!([]));
    script.clock_secs += 10;
    script.ask(
        "mined",
        "evm_setNextBlockTimestamp",
        json!([script.clock_secs]),
    );
    script.ask("mined", "evm_mine", json!([]));
    for hash in [&raised_hash, &old_hash, &gap_hash] {
        script.ask("mined", "eth_getTransactionByHash", json!([hash]));
        script.ask("mined", "eth_getTransactionReceipt", json!([hash]));
    }
    script.ask("mined", "eth_getBlockByNumber", json!(["latest", true]));
    script.ask("emptied", "txpool_status", json!([]));
    script.ask("used nonce", "eth_sendRawTransaction", json!([first]));
    script.ask("pool", "evm_setAutomine", json!([true]));
}

fn refusals(script: &mut Script, accounts: &[Address], lottery: Address) {
    let to = accounts[4];
    let nonce = script.ask(
        "refusals",
        "eth_getTransactionCount",
        json!([hex_address(accounts[1]), "latest"]),
    );
    let nonce = u64::from_str_radix(nonce.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    let (little_gas, _) = signed(nonce, to, dynamic(5, 1), 20_999, 1);
    script.ask("little gas", "eth_sendRawTransaction", json!([little_gas]));
    let (much_gas, _) = signed(nonce, to, dynamic(5, 1), 30_000_001, 1);
    script.ask("much gas", "eth_sendRawTransaction", json!([much_gas]));
    let (tip, _) = signed(nonce, to, dynamic(1, 2), 21_000, 1);
    script.ask("tip above cap", "eth_sendRawTransaction", json!([tip]));
    let (poor, _) = signed(nonce, to, dynamic(500_000_000, 1), 30_000_000, 1);
    script.ask("poor", "eth_sendRawTransaction", json!([poor]));
    script.ask("broken", "eth_sendRawTransaction", json!(["0x02c0"]));
    script.ask("unknown method", "eth_nothing", json!([]));
    let draw = json!({"from": hex_address(accounts[2]), "to": hex_address(lottery), "data": calldata("drawWinner", &[])});
    script.ask("not the operator", "eth_call", json!([draw, "latest"]));
    script.ask(
        "not the operator",
        "eth_estimateGas",
        json!([draw, "latest"]),
    );
    let none = json!({"to": hex_address(lottery), "data": "0x12345678"});
    script.ask("no such function", "eth_call", json!([none, "latest"]));
    script.ask(
        "no contract",
        "eth_call",
        json!([{"to": hex_address(to), "data": "0x12345678"}, "latest"]),
    );
    let batch = json!([
        {"jsonrpc": "2.0", "id": 3, "method": "eth_chainId", "params": []},
        {"jsonrpc": "2.0", "id": "b", "method": "eth_nothing", "params": []},
        {"jsonrpc": "2.0", "id": 1, "method": "eth_getTransactionReceipt", "params": [format!("0x{}", "77".repeat(32))]},
    ]);
    let mut answer = script.chain.post(&batch).unwrap();
    comparable(&mut answer, Method::Call);
    script.answers.push(("batch".to_owned(), answer));
}

fn going_back(script: &mut Script, accounts: &[Address]) {
    let id = script.ask("before", "evm_snapshot", json!([]));
    script.send(
        "value",
        transaction(accounts[3], Some(accounts[4]), "0x", 12_345),
    );
    let there = hex_address(accounts[4]);
    script.ask("paid", "eth_getBalance", json!([there, "latest"]));
    script.ask("back", "evm_revert", json!([id]));
    script.ask("unpaid", "eth_getBalance", json!([there, "latest"]));
    script.ask("unpaid", "eth_blockNumber", json!([]));
    script.ask("rich", "anvil_setBalance", json!([there, "0x10"]));
    script.ask("rich", "eth_getBalance", json!([there, "latest"]));
    script.ask(
        "dear",
        "anvil_setNextBlockBaseFeePerGas",
        json!(["0x77359400"]),
    );
    script.clock_secs += 10;
    script.ask(
        "dear",
        "evm_setNextBlockTimestamp",
        json!([script.clock_secs]),
    );
    script.ask("dear", "evm_mine", json!([]));
    script.ask("dear", "eth_getBlockByNumber", json!(["latest", false]));
    script.ask("dear", "eth_feeHistory", json!(["0x1", "latest", []]));
    script.ask("skipped", "anvil_mine", json!(["0x3"]));
    script.ask("skipped", "eth_blockNumber", json!([]));
}

/// Collects the places where two answers differ.
fn differ(place: &str, anvil: &Value, devchain: &Value, found: &mut Vec<String>) {
    match (anvil, devchain) {
        (Value::Object(left), Value::Object(right)) => {
            let right_only = right.keys().filter(|name| !left.contains_key(*name));
            for name in left.keys().chain(right_only) {
                let (left, right) = (&anvil[name], &devchain[name]);
                differ(&format!("{place}.{name}"), left, right, found);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                differ(&format!("{place}[{index}]"), left, right, found);
            }
        }
        _ if anvil == devchain => {}
        _ => found.push(format!("{place}: {anvil} on anvil, {devchain} on devchain")),
    }
}

#[test]
#[ignore = "needs anvil"]
fn devchain_answers_as_anvil_does() {
    let start = GENESIS_SECS.to_string();
    let anvil = run(&Chain::anvil_with(&["--timestamp", &start]));
    let devchain = run(&Chain::devchain_with(devchain::Config {
        genesis_timestamp: Some(GENESIS_SECS),
        as_anvil: true,
        ..Default::default()
    }));
    let mut differences = Vec::new();
    for ((label, wanted), (other, found)) in anvil.iter().zip(&devchain) {
        assert_eq!(label, other);
        differ(label, wanted, found, &mut differences);
    }
    assert_eq!(anvil.len(), devchain.len());
    assert!(
        differences.is_empty(),
        "{} differences in {} answers:\n{}",
        differences.len(),
        anvil.len(),
        differences.join("\n")
    );
}
