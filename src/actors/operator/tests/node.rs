//! A node of a few lines: blocks, a pool of one account, a contract that knows only when it may be drawn and refunded, and
//! refusals on demand.

use std::sync::{Arc, Mutex};

use rlp::Rlp;
use serde_json::{json, Value};
use sha3::{Digest, Keccak256};

use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::chain::cursor::Cursor;
use crate::chain::endpoints::Endpoints;
use crate::chain::error::RpcError;
use crate::chain::fees::Fee;
use crate::chain::script::{answer_calls, Script};
use crate::chain::transport::{Answer, Transport};
use crate::chain::types::{Address, BlockRef, H256, U256};
use crate::lottery::action::ActionKind;
use crate::lottery::contract::action_of_calldata;

pub(super) const CHAIN_ID: u64 = 31_337;
pub(super) const CONTRACT: Address = Address::repeat_byte(0xcc);

/// A transaction as it came in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sent {
    pub(super) kind: ActionKind,
    pub(super) nonce: u64,
    pub(super) fee: Fee,
    pub(super) gas_limit: u64,
    pub(super) hash: H256,
    pub(super) data: Vec<u8>,
}

/// A sound node's answer to a call.
pub(super) type Sound<'a> = dyn Fn(&str, &Value) -> Result<Value, Value> + 'a;
/// How an endpoint answers a request, given what a sound one would say to each call.
pub(super) type Quirk = Box<dyn Fn(&Value, &Sound) -> Result<Answer, RpcError> + Send + Sync>;

type Refuse = dyn Fn(&Sent) -> Option<String> + Send;

pub(super) struct Node {
    blocks: Vec<Block>,
    key_address: Address,
    pub(super) operator: Address,
    pub(super) window: (u64, u64),
    pub(super) balance_wei: U256,
    pub(super) base_fee_wei: U256,
    pub(super) block_gas_limit: u64,
    pool: Option<Sent>,
    /// Blocks stay empty.
    pub(super) holds_back: bool,
    pub(super) is_silent: bool,
    /// Calls run in the head's own time, whatever time is asked for.
    pub(super) ignores_times: bool,
    pub(super) sent: Vec<Sent>,
    pub(super) mined: Vec<(ActionKind, bool)>,
    pub(super) ended_by: Option<ActionKind>,
    refuse: Option<Box<Refuse>>,
    failing: Vec<(&'static str, Value)>,
    pub(super) unpayable: Vec<Address>,
    /// So many draws revert without a reason when they are mined.
    pub(super) draw_reverts: u32,
    /// A draw with less runs out of gas when it is mined.
    pub(super) draw_gas: u64,
    /// The contract refuses everything for this reason.
    pub(super) reason: Option<String>,
    /// What the chain below takes for each transaction.
    pub(super) l1_fee_wei: u64,
}

#[derive(Clone)]
struct Block {
    at: BlockRef,
    mined: Option<(Sent, bool)>,
    nonce_after: u64,
}

#[derive(Clone)]
pub(super) struct SharedNode {
    node: Arc<Mutex<Node>>,
    trips: Arc<Mutex<u64>>,
}

impl SharedNode {
    pub(super) fn new(
        key_address: Address,
        timestamp: u64,
        change: impl FnOnce(&mut Node),
    ) -> SharedNode {
        let first = Block {
            at: BlockRef {
                number: 100,
                hash: H256::from_low_u64_be(100),
                parent_hash: H256::from_low_u64_be(99),
                timestamp,
            },
            mined: None,
            nonce_after: 5,
        };
        let mut node = Node {
            blocks: vec![first],
            key_address,
            operator: key_address,
            window: (super::MIN, super::MAX),
            balance_wei: U256::exp10(18),
            base_fee_wei: U256::exp10(9),
            block_gas_limit: 30_000_000,
            pool: None,
            holds_back: false,
            is_silent: false,
            ignores_times: false,
            sent: Vec::new(),
            mined: Vec::new(),
            ended_by: None,
            refuse: None,
            failing: Vec::new(),
            unpayable: Vec::new(),
            draw_reverts: 0,
            draw_gas: 0,
            reason: None,
            l1_fee_wei: 0,
        };
        change(&mut node);
        SharedNode {
            node: Arc::new(Mutex::new(node)),
            trips: Arc::default(),
        }
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Node) -> T) -> T {
        look(&mut self.node.lock().unwrap())
    }

    pub(super) fn round_trips(&self) -> u64 {
        *self.trips.lock().unwrap()
    }

    pub(super) fn endpoints(&self, clock: &Clock) -> Endpoints {
        self.endpoints_of(clock, vec![None])
    }

    /// Endpoints that all show this node, each through its quirk.
    pub(super) fn endpoints_of(&self, clock: &Clock, quirks: Vec<Option<Quirk>>) -> Endpoints {
        let script = |(index, quirk): (usize, Option<Quirk>)| {
            let shared = self.clone();
            let script = Script::of_requests(&format!("http://{index}.example"), move |request| {
                *shared.trips.lock().unwrap() += 1;
                if shared.with(|node| node.is_silent) {
                    return Err(RpcError::transport("timed out"));
                }
                let answer =
                    |method: &str, params: &Value| shared.with(|node| node.answer(method, params));
                match &quirk {
                    Some(quirk) => quirk(request, &answer),
                    None => Ok(Answer::json(answer_calls(request, answer))),
                }
            });
            Arc::new(script) as Arc<dyn Transport>
        };
        let transports = quirks.into_iter().enumerate().map(script).collect();
        Endpoints::over(transports, CHAIN_ID, clock.clone(), &Metrics::default())
    }
}

impl Node {
    pub(super) fn head(&self) -> BlockRef {
        self.blocks.last().unwrap().at
    }

    /// All blocks, as who follows the chain remembers them.
    pub(super) fn cursor(&self) -> Cursor {
        let mut cursor = Cursor::default();
        self.blocks.iter().for_each(|block| cursor.push(block.at));
        cursor
    }

    /// The time of the first block that has a transaction of the key.
    pub(super) fn mined_at(&self) -> Option<u64> {
        let block = self.blocks.iter().find(|block| block.mined.is_some());
        block.map(|block| block.at.timestamp)
    }

    pub(super) fn refuse(&mut self, refuse: impl Fn(&Sent) -> Option<String> + Send + 'static) {
        self.refuse = Some(Box::new(refuse));
    }

    /// Every call of this method, or with this word among its parameters, is answered with the error.
    pub(super) fn fail(&mut self, what: &'static str, error: Value) {
        self.failing.push((what, error));
    }

    /// The pool drops what it has.
    pub(super) fn forget(&mut self) {
        self.pool = None;
    }

    pub(super) fn mine(&mut self, secs: u64) {
        let parent = self.blocks.last().unwrap().clone();
        let number = parent.at.number + 1;
        let timestamp = parent.at.timestamp + secs;
        let mut block = Block {
            at: BlockRef {
                number,
                hash: H256::from_low_u64_be(1_000 * self.blocks.len() as u64 + timestamp),
                parent_hash: parent.at.hash,
                timestamp,
            },
            mined: None,
            nonce_after: parent.nonce_after,
        };
        let fits = |sent: &Sent| sent.nonce == parent.nonce_after;
        if let Some(sent) = self.pool.take_if(|sent| !self.holds_back && fits(sent)) {
            let mut succeeds =
                self.verdict(sent.kind, timestamp).is_ok() && !self.runs_out_of_gas(&sent);
            if sent.kind == ActionKind::Draw && succeeds && self.draw_reverts > 0 {
                self.draw_reverts -= 1;
                succeeds = false;
            }
            if succeeds && sent.kind != ActionKind::Cancel {
                self.ended_by = Some(sent.kind);
            }
            self.mined.push((sent.kind, succeeds));
            block.nonce_after += 1;
            block.mined = Some((sent, succeeds));
        }
        self.blocks.push(block);
    }

    fn runs_out_of_gas(&self, sent: &Sent) -> bool {
        sent.kind == ActionKind::Draw && sent.gas_limit < self.draw_gas
    }

    /// The newest block gives way to an empty one; the pool has forgotten what was in it.
    pub(super) fn reorg(&mut self, depth: usize) {
        self.blocks.truncate(self.blocks.len() - depth);
        self.ended_by = None;
        self.mined.clear();
        for _ in 0..depth {
            self.mine(3);
        }
    }

    /// The newest block gives way to another, which takes what was in it once more.
    pub(super) fn reorg_of_what_was_mined(&mut self) {
        let mined = self.blocks.last_mut().and_then(|block| block.mined.take());
        self.pool = mined.map(|(sent, _)| sent);
        self.reorg(1);
    }

    /// What the contract says to the action in a block of this time; the text of its revert, empty for none.
    fn verdict(&self, kind: ActionKind, timestamp: u64) -> Result<(), String> {
        let (min, max) = self.window;
        let not_running = || Err("Round must be in betting state".to_owned());
        match (&self.reason, kind) {
            (_, ActionKind::Cancel) => Ok(()),
            (Some(reason), _) => Err(reason.clone()),
            _ if self.ended_by.is_some() => not_running(),
            (None, ActionKind::Draw) if timestamp < min => {
                Err("Min draw time not reached".to_owned())
            }
            (None, ActionKind::Draw) if timestamp > max => {
                Err("Draw time expired, refund required".to_owned())
            }
            (None, ActionKind::RefundExpired) if timestamp <= max => {
                Err("Max draw time not expired".to_owned())
            }
            (None, ActionKind::RefundExpired) if !self.unpayable.is_empty() => Err(String::new()),
            (None, ActionKind::Draw) if self.unpayable.len() == 3 => Err(String::new()),
            _ => Ok(()),
        }
    }

    fn answer(&mut self, method: &str, params: &Value) -> Result<Value, Value> {
        let text = params.to_string();
        let fails = |what: &str| method == what || text.contains(&format!("\"{what}\""));
        if let Some((_, error)) = self.failing.iter().find(|(what, _)| fails(what)) {
            return Err(error.clone());
        }
        let hex = |number: u64| json!(format!("0x{number:x}"));
        Ok(match method {
            "eth_chainId" => hex(CHAIN_ID),
            "web3_clientVersion" => json!("Geth/v1"),
            "eth_getBlockByNumber" if params[0] == "pending" => json!({
                "hash": null, "number": null, "transactions": self.pooled_json(),
            }),
            "eth_getBlockByNumber" | "eth_getBlockByHash" => self.block_json(&params[0]),
            "eth_getTransactionCount" => {
                let nonce = self.blocks.last().unwrap().nonce_after;
                let is_pending = params[1] == "pending";
                hex(nonce + u64::from(is_pending && self.pool.is_some()))
            }
            "eth_getBalance" => json!(format!("{:#x}", self.balance_wei)),
            "eth_gasPrice" => json!(format!("{:#x}", self.base_fee_wei * 2)),
            "eth_maxPriorityFeePerGas" => json!("0x3b9aca00"),
            "eth_feeHistory" => json!({
                "baseFeePerGas": [format!("{:#x}", self.base_fee_wei)], "reward": [["0x1", "0x3b9aca00"]],
            }),
            "eth_getCode" => {
                let address: Address = params[0].as_str().unwrap()[2..].parse().unwrap();
                json!(if self.unpayable.contains(&address) {
                    "0x60"
                } else {
                    "0x"
                })
            }
            "eth_call" => return self.call(params),
            "eth_estimateGas" => {
                self.call(params)?;
                hex(200_000)
            }
            "eth_sendRawTransaction" => return self.take(params[0].as_str().unwrap()),
            "eth_getTransactionReceipt" => self.receipt_json(&params[0]),
            _ => return Err(json!({"code": -32601, "message": "method not found"})),
        })
    }

    fn call(&self, params: &Value) -> Result<Value, Value> {
        let head_time = self.head().timestamp;
        let overridden = params[3]["time"].as_str();
        let overridden = overridden.filter(|_| !self.ignores_times);
        let overridden = overridden.map(|text| u64::from_str_radix(&text[2..], 16).unwrap());
        let time = overridden.unwrap_or(head_time);
        let word = |number: u64| format!("{:064x}", number);
        let request = &params[0];
        let data = request["data"]
            .as_str()
            .or(request["input"].as_str())
            .unwrap_or("0x");
        let to = request["to"]
            .as_str()
            .map(|text| text[2..].parse::<Address>().unwrap());
        let reverted = |reason: &str| {
            let message = match reason {
                "" => "execution reverted".to_owned(),
                reason => format!("execution reverted: {reason}"),
            };
            json!({"code": 3, "message": message, "data": "0x"})
        };
        match to {
            None if data.starts_with("0x4260") => Ok(json!(format!("0x{}", word(time)))),
            // PREVRANDAO, NUMBER and TIMESTAMP; the second player wins.
            None => Ok(json!(format!(
                "0x{}{}{}",
                word(self.lucky()),
                word(1),
                word(time)
            ))),
            Some(to) if to == CONTRACT => {
                let data = crate::chain::encode::decode_hex(data).unwrap();
                let kind = action_of_calldata(&data).unwrap();
                match self.verdict(kind, time) {
                    Ok(()) => Ok(json!("0x")),
                    Err(reason) => Err(reverted(&reason)),
                }
            }
            Some(player) if self.unpayable.contains(&player) => Err(reverted("")),
            Some(_) => Ok(json!("0x")),
        }
    }

    /// A PREVRANDAO; any will do.
    fn lucky(&self) -> u64 {
        self.head().number
    }

    fn take(&mut self, raw: &str) -> Result<Value, Value> {
        let sent = decoded(raw, self.key_address);
        self.sent.push(sent.clone());
        if let Some(message) = self.refuse.as_ref().and_then(|refuse| refuse(&sent)) {
            return Err(json!({"code": -32000, "message": message}));
        }
        let nonce = self.blocks.last().unwrap().nonce_after;
        if sent.nonce < nonce {
            return Err(json!({"code": -32000, "message": "nonce too low"}));
        }
        match &self.pool {
            Some(known) if known.hash == sent.hash => {
                return Err(json!({"code": -32000, "message": "already known"}));
            }
            Some(known) if known.nonce == sent.nonce && !sent.fee.outbids(&known.fee) => {
                return Err(
                    json!({"code": -32000, "message": "replacement transaction underpriced"}),
                );
            }
            _ => {}
        }
        let hash = sent.hash;
        self.pool = Some(sent);
        Ok(json!(format!("{hash:#x}")))
    }

    fn pooled_json(&self) -> Value {
        let of = |sent: &Sent| {
            let (cap_wei, tip_wei) = match sent.fee {
                Fee::Dynamic { cap_wei, tip_wei } => (cap_wei, tip_wei),
                Fee::Legacy { gas_price_wei } => (gas_price_wei, gas_price_wei),
            };
            json!({
                "hash": format!("{:#x}", sent.hash), "from": format!("{:#x}", self.key_address),
            "l1Fee": format!("0x{:x}", self.l1_fee_wei),
                "to": format!("{CONTRACT:#x}"), "nonce": format!("0x{:x}", sent.nonce), "value": "0x0",
                "input": format!("0x{}", hex_of(&sent.data)), "gas": format!("0x{:x}", sent.gas_limit), "type": "0x2",
                "maxFeePerGas": format!("{cap_wei:#x}"), "maxPriorityFeePerGas": format!("{tip_wei:#x}"),
            })
        };
        json!(self.pool.iter().map(of).collect::<Vec<_>>())
    }

    fn block_json(&self, id: &Value) -> Value {
        let text = id.as_str().unwrap();
        let is_it = |block: &&Block| match text {
            "latest" => true,
            text => {
                text == format!("{:#x}", block.at.hash)
                    || text == format!("0x{:x}", block.at.number)
            }
        };
        let Some(block) = self.blocks.iter().rev().find(is_it) else {
            return Value::Null;
        };
        json!({
            "number": format!("0x{:x}", block.at.number), "hash": format!("{:#x}", block.at.hash),
            "parentHash": format!("{:#x}", block.at.parent_hash), "timestamp": format!("0x{:x}", block.at.timestamp),
            "baseFeePerGas": format!("{:#x}", self.base_fee_wei), "gasLimit": format!("{:#x}", self.block_gas_limit), "transactions": [],
        })
    }

    fn receipt_json(&self, hash: &Value) -> Value {
        let found = self.blocks.iter().find_map(|block| {
            let (sent, succeeded) = block.mined.as_ref()?;
            let is_it = format!("{:#x}", sent.hash) == hash.as_str().unwrap();
            is_it.then_some((block, sent, succeeded))
        });
        let Some((block, sent, succeeded)) = found else {
            return Value::Null;
        };
        let gas_used = match self.runs_out_of_gas(sent) {
            true => sent.gas_limit,
            false => 100_000,
        };
        json!({
            "transactionHash": hash, "blockNumber": format!("0x{:x}", block.at.number),
            "blockHash": format!("{:#x}", block.at.hash), "status": if *succeeded { "0x1" } else { "0x0" },
            "gasUsed": format!("0x{gas_used:x}"), "effectiveGasPrice": "0x3b9aca00", "from": format!("{:#x}", self.key_address),
            "l1Fee": format!("0x{:x}", self.l1_fee_wei),
        })
    }
}

fn decoded(raw: &str, key_address: Address) -> Sent {
    let bytes = crate::chain::encode::decode_hex(raw).unwrap();
    let is_typed = bytes[0] == 2;
    let list = Rlp::new(if is_typed { &bytes[1..] } else { &bytes });
    let number = |index: usize| list.val_at::<U256>(index).unwrap();
    let (nonce, fee, gas_limit, to, data) = match is_typed {
        true => {
            let fee = Fee::Dynamic {
                tip_wei: number(2),
                cap_wei: number(3),
            };
            (number(1), fee, number(4), 5, 7)
        }
        false => {
            let fee = Fee::Legacy {
                gas_price_wei: number(1),
            };
            (number(0), fee, number(2), 3, 5)
        }
    };
    let to: Address = list.val_at(to).unwrap();
    let data: Vec<u8> = list.val_at(data).unwrap();
    let kind = match to == key_address {
        true => ActionKind::Cancel,
        false => action_of_calldata(&data).unwrap(),
    };
    Sent {
        kind,
        nonce: nonce.as_u64(),
        fee,
        gas_limit: gas_limit.as_u64(),
        hash: H256::from_slice(&Keccak256::digest(&bytes)),
        data,
    }
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
