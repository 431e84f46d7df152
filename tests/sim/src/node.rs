//! JSON-RPC as one node answers it: methods over the tree of blocks, as far as this node sees it and with what it can do.
//! How an answer gets lost or spoilt on its way is left to `wire`.

use lottery::chain::types::{Address, H256, U256};
use serde_json::{json, Value};

use crate::contract::{Env, Halt, Lottery};
use crate::world::{Block, Mined, Randomness, Tx, World, GAS_LIMIT};

/// Returns TIMESTAMP as one word.
const TIMESTAMP_CODE: &str = "0x4260005260206000f3";
/// Returns NUMBER, PREVRANDAO and TIMESTAMP as three words.
const OPCODES_CODE: &str = "0x43600052446020524260405260606000f3";
const ESTIMATE_CODE: &str = "0x42650fffffffffff14601057600080fd5b00";

/// What a node can do, and how it answers what others answer differently.
#[derive(Clone, Debug)]
pub struct Character {
    pub client: &'static str,
    pub overrides_in_call: bool,
    pub overrides_in_estimate: bool,
    pub has_pending: bool,
    pub takes_hashes: bool,
    pub takes_batches: bool,
    pub takes_type_2: bool,
    pub has_base_fee: bool,
    pub blooms: Blooms,
    /// Blocks of one eth_getLogs.
    pub log_blocks_max: u64,
    /// State older than so many blocks is gone.
    pub states_kept: u64,
    pub knows_finality: bool,
    pub has_fee_hints: bool,
    /// Logs are counted anew in each transaction.
    pub counts_logs_by_transaction: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Blooms {
    Full,
    Absent,
    Null,
    /// Of zeros, whatever the block holds.
    Empty,
}

impl Default for Character {
    fn default() -> Character {
        Character {
            client: "Geth/v1.14.0",
            overrides_in_call: true,
            overrides_in_estimate: true,
            has_pending: true,
            takes_hashes: true,
            takes_batches: true,
            takes_type_2: true,
            has_base_fee: true,
            blooms: Blooms::Full,
            log_blocks_max: 10_000,
            states_kept: 128,
            knows_finality: true,
            has_fee_hints: true,
            counts_logs_by_transaction: false,
        }
    }
}

/// One node: the newest block that it has, and its character.
pub struct Node<'a> {
    pub world: &'a mut World,
    pub tip: usize,
    /// What the clock of the node's next block will show.
    pub next_timestamp: u64,
    pub character: &'a Character,
}

type Answer = Result<Value, Value>;

pub fn fail(code: i64, message: &str) -> Value {
    json!({"code": code, "message": message})
}

fn hex(number: impl Into<U256>) -> Value {
    Value::from(format!("{:#x}", number.into()))
}

fn hash_json(hash: H256) -> Value {
    Value::from(format!("{hash:#x}"))
}

fn bytes_json(bytes: &[u8]) -> Value {
    Value::from(hex_text(bytes))
}

fn hex_text(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("0x");
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    let digits = value.as_str()?.strip_prefix("0x")?;
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(byte).collect()
}

fn number(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

fn hash(value: &Value) -> Option<H256> {
    bytes(value)
        .filter(|bytes| bytes.len() == 32)
        .map(|bytes| H256::from_slice(&bytes))
}

fn address(value: &Value) -> Option<Address> {
    bytes(value)
        .filter(|bytes| bytes.len() == 20)
        .map(|bytes| Address::from_slice(&bytes))
}

/// Which block's state, and whether the call runs in a block after it.
struct At {
    index: usize,
    is_pending: bool,
}

impl Node<'_> {
    pub fn answer(&mut self, method: &str, params: &Value) -> Answer {
        let p = |index: usize| params.get(index).unwrap_or(&Value::Null);
        match method {
            "eth_chainId" => Ok(hex(31_337)),
            "net_version" => Ok(json!("31337")),
            "web3_clientVersion" => Ok(json!(self.character.client)),
            "eth_blockNumber" => Ok(hex(self.head().number)),
            "eth_getBlockByNumber" => Ok(self.block_by_number(p(0), p(1))),
            "eth_getBlockByHash" => {
                let index = hash(p(0)).and_then(|hash| self.seen(&hash));
                Ok(index.map_or(Value::Null, |index| self.block_json(index)))
            }
            "eth_getLogs" => self.logs(p(0)),
            "eth_call" => self.eth_call(params),
            "eth_estimateGas" => self.estimate(params),
            "eth_getTransactionCount" => {
                let at = self.state_at(p(1))?;
                let is_ours = address(p(0)) == Some(self.world.operator);
                Ok(hex(match (is_ours, at.is_pending) {
                    (false, _) => 0,
                    (true, true) => self.world.pending_nonce(),
                    (true, false) => self.block(at.index).ledger.operator_nonce,
                }))
            }
            "eth_getBalance" => {
                let at = self.state_at(p(1))?;
                let is_ours = address(p(0)) == Some(self.world.operator);
                let wei = self.block(at.index).ledger.operator_wei;
                Ok(hex(if is_ours { wei } else { 0 }))
            }
            "eth_getCode" => {
                let who = address(p(0));
                let unpayable = &self.world.terms.unpayable;
                let is_contract = who == Some(self.world.contract)
                    || who.is_some_and(|who| unpayable.contains(&who));
                Ok(json!(if is_contract { "0x60806040" } else { "0x" }))
            }
            "eth_getTransactionReceipt" => {
                let found = hash(p(0)).and_then(|hash| self.world.holder(self.tip, &hash));
                Ok(found.map_or(Value::Null, |(index, place)| {
                    self.receipt_json(index, place)
                }))
            }
            "eth_getTransactionByHash" => {
                Ok(hash(p(0)).map_or(Value::Null, |hash| self.transaction(hash)))
            }
            "eth_gasPrice" => {
                let tip = self.world.rules.least_tip.max(1_000_000_000);
                Ok(hex(self.world.next_base_fee + tip))
            }
            "eth_maxPriorityFeePerGas" if self.character.has_fee_hints => Ok(hex(1_000_000_000)),
            "eth_feeHistory" if self.character.has_fee_hints => Ok(self.fee_history()),
            "eth_sendRawTransaction" => self.send(p(0)),
            _ => Err(fail(
                -32_601,
                &format!("the method {method} does not exist/is not available"),
            )),
        }
    }

    fn block(&self, index: usize) -> &Block {
        &self.world.blocks[index]
    }

    fn head(&self) -> &Block {
        self.block(self.tip)
    }

    /// A block by its hash, as far as this node has it.
    fn seen(&self, hash: &H256) -> Option<usize> {
        let index = self.world.index_of(hash)?;
        (self.block(index).number <= self.head().number).then_some(index)
    }

    fn by_tag(&self, tag: &str) -> Option<usize> {
        let below_head = |depth: u64| {
            let number = self.head().number.saturating_sub(depth);
            self.world
                .at(self.tip, number)
                .filter(|_| self.character.knows_finality)
        };
        match tag {
            "latest" => Some(self.tip),
            "safe" => below_head(32),
            "finalized" => below_head(64),
            "earliest" => Some(self.world.canonical[0]),
            _ => None,
        }
    }

    fn block_by_number(&self, which: &Value, full: &Value) -> Value {
        let tag = which.as_str().unwrap_or_default();
        if tag == "pending" {
            return match self.character.has_pending {
                true => self.pending_block(full.as_bool() == Some(true)),
                false => Value::Null,
            };
        }
        let index = match number(which) {
            Some(number) => self.world.at(self.tip, number),
            None => self.by_tag(tag),
        };
        index.map_or(Value::Null, |index| self.block_json(index))
    }

    fn block_json(&self, index: usize) -> Value {
        let block = self.block(index);
        let parent = block
            .parent
            .map_or_else(H256::zero, |parent| self.block(parent).hash);
        let hashes = block.mined.iter().map(|mined| hash_json(mined.tx.hash));
        let mut json = json!({
            "number": hex(block.number), "hash": hash_json(block.hash), "parentHash": hash_json(parent),
            "timestamp": hex(block.timestamp), "mixHash": hash_json(block.prevrandao), "difficulty": "0x0",
            "gasLimit": hex(GAS_LIMIT), "gasUsed": hex(block.gas_used),
            "transactions": hashes.collect::<Vec<_>>(),
        });
        if self.character.has_base_fee {
            json["baseFeePerGas"] = hex(block.base_fee);
        }
        let rules = &self.world.rules;
        if let Randomness::Constant {
            value,
            in_difficulty,
        } = rules.randomness
        {
            json["mixHash"] = hash_json(H256::zero());
            json["difficulty"] = hex(if in_difficulty { value } else { 0 });
        }
        if rules.number_is_below {
            json["l1BlockNumber"] = hex(block.number_seen);
        }
        match self.character.blooms {
            // A bloom that says yes to everything where there is a log at all, which no honest bloom contradicts.
            Blooms::Full => {
                let byte = if block.has_logs() { "ff" } else { "00" };
                json["logsBloom"] = Value::from(format!("0x{}", byte.repeat(256)));
            }
            Blooms::Empty => json["logsBloom"] = Value::from(format!("0x{}", "00".repeat(256))),
            Blooms::Null => json["logsBloom"] = Value::Null,
            Blooms::Absent => {}
        }
        json
    }

    fn pending_block(&self, full: bool) -> Value {
        let waiting = self.world.pool.iter().map(|pooled| match full {
            true => transaction_json(&pooled.tx),
            false => hash_json(pooled.tx.hash),
        });
        json!({
            "number": hex(self.head().number + 1), "parentHash": hash_json(self.head().hash),
            "timestamp": hex(self.next_timestamp), "transactions": waiting.collect::<Vec<_>>(),
            "baseFeePerGas": hex(self.world.next_base_fee), "gasLimit": hex(GAS_LIMIT),
        })
    }

    /// The block whose state a parameter means.
    fn state_at(&self, which: &Value) -> Result<At, Value> {
        if let Some(hash_wanted) = which.get("blockHash") {
            if !self.character.takes_hashes {
                return Err(fail(
                    -32_602,
                    "invalid argument 1: a block number or a tag is expected",
                ));
            }
            let index = hash(hash_wanted).and_then(|hash| self.seen(&hash));
            return self.with_state(index);
        }
        let tag = which.as_str().unwrap_or("latest");
        if tag == "pending" {
            return match self.character.has_pending {
                true => Ok(At {
                    index: self.tip,
                    is_pending: true,
                }),
                false => Err(fail(-32_000, "pending state is not available")),
            };
        }
        self.with_state(match number(which) {
            Some(number) => self.world.at(self.tip, number),
            None => self.by_tag(tag),
        })
    }

    fn with_state(&self, index: Option<usize>) -> Result<At, Value> {
        let index = index.ok_or_else(|| fail(-32_000, "header not found"))?;
        let age = self.head().number.saturating_sub(self.block(index).number);
        match age <= self.character.states_kept {
            true => Ok(At {
                index,
                is_pending: false,
            }),
            false => Err(fail(-32_000, "missing trie node: state is not available")),
        }
    }

    /// The block that a call runs in.
    fn env(&self, at: &At, overrides: &Value, honours: bool) -> Env {
        let block = self.block(at.index);
        let mut env = block.env();
        if at.is_pending {
            env.number += 1;
            env.timestamp = self.next_timestamp;
        }
        if let Some(time) = number(&overrides["time"]).filter(|_| honours) {
            env.timestamp = time;
        }
        env
    }

    fn eth_call(&mut self, params: &Value) -> Answer {
        let (request, overrides) = (&params[0], &params[3]);
        let at = self.state_at(&params[1])?;
        let env = self.env(&at, overrides, self.character.overrides_in_call);
        let code = request["data"]
            .as_str()
            .or(request["input"].as_str())
            .unwrap_or("0x");
        if request["to"].is_null() {
            let words = match code {
                TIMESTAMP_CODE => vec![word(env.timestamp)],
                OPCODES_CODE => vec![word(env.number), env.prevrandao.0, word(env.timestamp)],
                _ => return Err(fail(3, "execution reverted")),
            };
            let code = words.concat();
            return match code.first() {
                // EIP-3541.
                Some(0xef) => Err(fail(-32000, "invalid code: must not begin with 0xef")),
                _ => Ok(bytes_json(&code)),
            };
        }
        let lottery = self.block(at.index).ledger.lottery.clone();
        let tx = self.request(request);
        if tx.to == Some(self.world.contract) {
            if let Some(answer) = lottery.view(&self.world.terms, &tx.data) {
                return Ok(bytes_json(&answer));
            }
        }
        self.dry(&lottery, &tx, env).map(|_| json!("0x"))
    }

    /// The gas that a call takes.
    fn dry(&self, lottery: &Lottery, tx: &Tx, env: Env) -> Result<u64, Value> {
        match self.world.call(lottery, tx, env) {
            (Ok(_), gas) => Ok(gas),
            (Err(halt), _) => Err(reverted(halt)),
        }
    }

    fn estimate(&mut self, params: &Value) -> Answer {
        let (request, overrides) = (&params[0], &params[3]);
        if !overrides.is_null() && !self.character.overrides_in_estimate {
            return Err(fail(-32_602, "too many arguments, want at most 3"));
        }
        let which = if params[1].is_null() {
            json!("pending")
        } else {
            params[1].clone()
        };
        let at = self.state_at(&which)?;
        let env = self.env(&at, overrides, true);
        if request["to"].is_null() {
            let is_probe = request["data"] == ESTIMATE_CODE && env.timestamp == 0x0fff_ffff_ffff;
            return match is_probe {
                true => Ok(hex(60_000)),
                false => Err(reverted(Halt::Bare)),
            };
        }
        let lottery = self.block(at.index).ledger.lottery.clone();
        let tx = self.request(request);
        self.dry(&lottery, &tx, env).map(hex)
    }

    fn request(&self, request: &Value) -> Tx {
        let data = bytes(&request["data"]).or_else(|| bytes(&request["input"]));
        Tx {
            hash: H256::zero(),
            from: address(&request["from"]).unwrap_or_default(),
            nonce: 0,
            to: address(&request["to"]),
            value: bytes(&request["value"]).map_or(0, |_| quantity(&request["value"])),
            data: data.unwrap_or_default(),
            gas_limit: GAS_LIMIT,
            cap: 0,
            tip: 0,
            is_legacy: false,
        }
    }

    fn logs(&self, filter: &Value) -> Answer {
        let is_ours = address(&filter["address"]) == Some(self.world.contract);
        let bounds = match filter.get("blockHash") {
            Some(wanted) => {
                let index = hash(wanted).and_then(|hash| self.seen(&hash));
                let index = index.ok_or_else(|| fail(-32_000, "unknown block"))?;
                return Ok(Value::Array(self.logs_of(index)));
            }
            None => [&filter["fromBlock"], &filter["toBlock"]].map(|bound| {
                let head = self.head().number;
                number(bound).unwrap_or(if bound == "earliest" { 0 } else { head })
            }),
        };
        let [from, to] = bounds;
        if to > self.head().number {
            return Err(fail(
                -32_000,
                "block range extends beyond current head block",
            ));
        }
        if to.saturating_sub(from) >= self.character.log_blocks_max {
            let most = self.character.log_blocks_max;
            return Err(fail(
                -32_005,
                &format!("eth_getLogs is limited to a {most} blocks range"),
            ));
        }
        let indices = (from..=to).filter_map(|number| self.world.at(self.tip, number));
        let logs = indices
            .filter(|_| is_ours)
            .flat_map(|index| self.logs_of(index));
        Ok(logs.collect())
    }

    fn logs_of(&self, index: usize) -> Vec<Value> {
        let mined = self.block(index).mined.iter().enumerate();
        mined
            .flat_map(|(place, mined)| self.logs_json(index, place, mined))
            .collect()
    }

    fn logs_json(&self, index: usize, place: usize, mined: &Mined) -> Vec<Value> {
        let block = self.block(index);
        let first_log = match self.character.counts_logs_by_transaction {
            true => 0,
            false => mined.first_log,
        };
        let log = |(log, event): (usize, &crate::contract::Event)| {
            json!({
                "address": format!("{:#x}", self.world.contract), "removed": false,
                "topics": event.topics.iter().map(|topic| hash_json(*topic)).collect::<Vec<_>>(),
                "data": bytes_json(&event.data), "blockNumber": hex(block.number),
                "blockHash": hash_json(block.hash), "transactionHash": hash_json(mined.tx.hash),
                "transactionIndex": hex(place), "logIndex": hex(first_log + log),
            })
        };
        mined.events.iter().enumerate().map(log).collect()
    }

    fn receipt_json(&self, index: usize, place: usize) -> Value {
        let (block, mined) = (self.block(index), &self.block(index).mined[place]);
        json!({
            "transactionHash": hash_json(mined.tx.hash), "transactionIndex": hex(place),
            "blockNumber": hex(block.number), "blockHash": hash_json(block.hash),
            "from": format!("{:#x}", mined.tx.from), "to": mined.tx.to.map(|to| format!("{to:#x}")),
            "status": hex(u64::from(mined.succeeded)), "gasUsed": hex(mined.gas_used),
            "effectiveGasPrice": hex(mined.price), "logs": self.logs_json(index, place, mined),
            "l1Fee": hex(self.world.rules.data_fee),
        })
    }

    fn transaction(&self, hash: H256) -> Value {
        if let Some((index, place)) = self.world.holder(self.tip, &hash) {
            let block = self.block(index);
            let mut json = transaction_json(&block.mined[place].tx);
            json["blockNumber"] = hex(block.number);
            json["blockHash"] = hash_json(block.hash);
            json["transactionIndex"] = hex(place);
            return json;
        }
        let mut pool = self.world.pool.iter();
        let waiting = pool.find(|pooled| pooled.tx.hash == hash);
        waiting.map_or(Value::Null, |pooled| transaction_json(&pooled.tx))
    }

    fn fee_history(&self) -> Value {
        let newest = self.head().number;
        let oldest = newest.saturating_sub(9);
        let blocks = (oldest..=newest).filter_map(|number| self.world.at(self.tip, number));
        let mut fees: Vec<Value> = blocks
            .map(|index| hex(self.block(index).base_fee))
            .collect();
        let rewards = vec![json!(["0x3b9aca00", "0x3b9aca00"]); fees.len()];
        let ratios = vec![json!(0.5); fees.len()];
        fees.push(hex(self.world.next_base_fee));
        json!({
            "oldestBlock": hex(oldest), "baseFeePerGas": fees, "gasUsedRatio": ratios, "reward": rewards,
        })
    }

    fn send(&mut self, raw: &Value) -> Answer {
        let raw = bytes(raw).ok_or_else(|| fail(-32_602, "invalid argument 0: hex string"))?;
        let decoded = devchain::Transaction::decode(&raw).map_err(|why| fail(-32_000, &why))?;
        if decoded.kind == 2 && !self.character.takes_type_2 {
            return Err(fail(-32_000, "transaction type not supported"));
        }
        let tx = Tx {
            hash: H256(decoded.hash.0),
            from: Address::from(decoded.from.into_array()),
            nonce: decoded.nonce,
            to: decoded.to.map(|to| Address::from(to.into_array())),
            value: decoded.value.try_into().unwrap_or(u128::MAX >> 1),
            data: decoded.input.to_vec(),
            gas_limit: decoded.gas_limit,
            cap: decoded.max_fee,
            tip: decoded.max_priority_fee,
            is_legacy: decoded.kind == 0,
        };
        match self.world.submit(tx) {
            Ok(hash) => Ok(hash_json(hash)),
            Err(why) => Err(fail(-32_000, &why)),
        }
    }
}

fn word(number: u64) -> [u8; 32] {
    crate::contract::word(number)
}

fn quantity(value: &Value) -> u128 {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
    digits
        .and_then(|digits| u128::from_str_radix(digits, 16).ok())
        .unwrap_or(0)
}

fn reverted(halt: Halt) -> Value {
    let message = match halt {
        Halt::Reverted(reason) => format!("execution reverted: {reason}"),
        Halt::Bare => "execution reverted".to_owned(),
    };
    json!({"code": 3, "message": message, "data": hex_text(&halt.data())})
}

fn transaction_json(tx: &Tx) -> Value {
    let mut json = json!({
        "hash": hash_json(tx.hash), "from": format!("{:#x}", tx.from), "nonce": hex(tx.nonce),
        "to": tx.to.map(|to| format!("{to:#x}")), "input": bytes_json(&tx.data), "value": hex(tx.value),
        "gas": hex(tx.gas_limit), "gasPrice": hex(tx.cap), "type": if tx.is_legacy { "0x0" } else { "0x2" },
        "blockNumber": null, "blockHash": null,
    });
    if !tx.is_legacy {
        json["maxFeePerGas"] = hex(tx.cap);
        json["maxPriorityFeePerGas"] = hex(tx.tip);
    }
    json
}
