//! Everything that is asked of a node, as values: method, parameters, and how the answer is read. `node` sends them,
//! alone or several together.

use serde_json::{json, Value};

use crate::chain::encode;
use crate::chain::error::RpcError;
use crate::chain::json::Part;
use crate::chain::method::Method;
use crate::chain::parse;
use crate::chain::tx::PendingTransaction;
use crate::chain::types::{
    Address, BlockId, CallRequest, FeeHistory, Header, Opcodes, Receipt, H256, U256,
};

/// Returns the block's TIMESTAMP as one word: TIMESTAMP PUSH1 0 MSTORE PUSH1 32 PUSH1 0 RETURN.
const TIMESTAMP_PROBE: &str = "0x4260005260206000f3";
/// Returns NUMBER, PREVRANDAO and TIMESTAMP as three words. What initialisation code returns is the code of a contract, and
/// none may begin with 0xef (EIP-3541), as one PREVRANDAO in 256 does: NUMBER comes first.
const OPCODES_PROBE: &str = "0x43600052446020524260405260606000f3";
/// A time no chain will reach, so that an answer with it proves that the override was honoured.
pub(super) const PROBE_TIME: u64 = 0x0fff_ffff_ffff;
/// Reverts unless TIMESTAMP equals the probe's time, so that an estimate succeeds only where the override counts:
/// TIMESTAMP PUSH6 0x0fffffffffff EQ PUSH1 0x0f JUMPI PUSH1 0 DUP1 REVERT JUMPDEST STOP, as initialisation code.
const ESTIMATE_PROBE: &str = "0x42650fffffffffff14601057600080fd5b00";

pub(super) type Params = dyn Fn(Value) -> Value + Send + Sync;
pub(super) type Read<T> = dyn Fn(Part) -> Result<T, RpcError> + Send + Sync;

/// One question to a node.
pub struct Query<T> {
    pub(super) method: Method,
    /// The block whose state is asked for.
    pub(super) at: Option<BlockId>,
    /// The parameters, given how the node wants that block named.
    pub(super) params: Box<Params>,
    pub(super) read: Box<Read<T>>,
}

impl<T> Query<T> {
    pub(crate) fn method(&self) -> Method {
        self.method
    }

    pub(super) fn new(
        method: Method,
        params: Value,
        read: impl Fn(Part) -> Result<T, RpcError> + Send + Sync + 'static,
    ) -> Query<T> {
        Query {
            method,
            at: None,
            params: Box::new(move |_| params.clone()),
            read: Box::new(read),
        }
    }

    fn on_state(
        method: Method,
        at: BlockId,
        params: impl Fn(Value) -> Value + Send + Sync + 'static,
        read: impl Fn(Part) -> Result<T, RpcError> + Send + Sync + 'static,
    ) -> Query<T> {
        Query {
            method,
            at: Some(at),
            params: Box::new(params),
            read: Box::new(read),
        }
    }
}

pub fn chain_id() -> Query<u64> {
    Query::new(Method::ChainId, json!([]), |answer| {
        parse::number(answer, "chain id")
    })
}

/// The network's id, which is the chain's on nearly all chains: decimal, in a string.
pub fn net_version() -> Query<u64> {
    Query::new(Method::NetVersion, json!([]), |answer| {
        let text = answer.as_str().unwrap_or_default();
        text.parse()
            .map_err(|_| RpcError::invalid_answer(format!("net_version is {answer}")))
    })
}

pub(crate) fn client_version() -> Query<String> {
    Query::new(Method::ClientVersion, json!([]), |answer| {
        let name = answer.as_str().unwrap_or("unknown");
        Ok(name.chars().take(200).collect())
    })
}

/// A block's header; an answer with another block's is invalid.
pub fn header(block: BlockId) -> Query<Header> {
    let (method, params) = match block {
        BlockId::Hash(hash) | BlockId::Exactly { hash, .. } => {
            (Method::BlockByHash, json!([encode::hash(hash), false]))
        }
        _ => (Method::BlockByNumber, json!([encode::block(block), false])),
    };
    Query::new(method, params, move |answer| {
        // Every node has one, and who shows none now will not show it soon either.
        if block == BlockId::Latest && answer.is_null() {
            return Err(RpcError::invalid_answer("there is no newest block"));
        }
        let header = parse::header(answer)?;
        match block {
            BlockId::Number(number) if number != header.number => Err(RpcError::invalid_answer(
                format!("asked for block {number}, got block {}", header.number),
            )),
            BlockId::Hash(hash) | BlockId::Exactly { hash, .. } if hash != header.hash => {
                Err(RpcError::invalid_answer(format!(
                    "asked for block {hash:#x}, got {:#x}",
                    header.hash
                )))
            }
            _ => Ok(header),
        }
    })
}

/// The same, of a block that has to be the one of its number: asked for by that, which every node answers.
pub(crate) fn header_by_number(block: BlockId) -> Query<Header> {
    let (number, hash) = match block {
        BlockId::Exactly { number, hash } => (number, hash),
        other => return header(other),
    };
    let numbered = header(BlockId::Number(number));
    let read = move |answer: Part| {
        let found = (numbered.read)(answer)?;
        match found.hash == hash {
            true => Ok(found),
            false => Err(RpcError::behind("another block has the block's number")),
        }
    };
    Query {
        read: Box::new(read),
        ..numbered
    }
}

/// eth_call; `time` overrides the block's timestamp where the endpoint can.
pub fn call(request: &CallRequest, block: BlockId, time: Option<u64>) -> Query<Vec<u8>> {
    let request = request.clone();
    Query::on_state(
        Method::Call,
        block,
        move |at| encode::call_params(&request, at, time),
        |answer| parse::bytes(answer, "eth_call"),
    )
}

pub(crate) fn estimate_gas(request: &CallRequest, block: BlockId, time: Option<u64>) -> Query<u64> {
    let request = request.clone();
    Query::on_state(
        Method::EstimateGas,
        block,
        move |at| encode::call_params(&request, at, time),
        |answer| parse::number(answer, "eth_estimateGas"),
    )
}

pub(crate) fn transaction_count(address: Address, block: BlockId) -> Query<u64> {
    of_account(Method::TransactionCount, address, block, |answer| {
        parse::number(answer, "eth_getTransactionCount")
    })
}

pub fn balance(address: Address, block: BlockId) -> Query<U256> {
    of_account(Method::GetBalance, address, block, |answer| {
        parse::quantity(answer, "eth_getBalance")
    })
}

pub fn code(address: Address, block: BlockId) -> Query<Vec<u8>> {
    of_account(Method::GetCode, address, block, |answer| {
        parse::bytes(answer, "eth_getCode")
    })
}

fn of_account<T>(
    method: Method,
    address: Address,
    block: BlockId,
    read: impl Fn(Part) -> Result<T, RpcError> + Send + Sync + 'static,
) -> Query<T> {
    let params = move |at| json!([encode::address(address), at]);
    Query::on_state(method, block, params, read)
}

/// What the last ten blocks paid.
pub fn fee_history() -> Query<FeeHistory> {
    let params = json!(["0xa", "latest", [50.0, 90.0]]);
    Query::new(Method::FeeHistory, params, |answer| {
        Ok(parse::fee_history(answer))
    })
}

pub(crate) fn max_priority_fee_wei() -> Query<U256> {
    Query::new(Method::MaxPriorityFee, json!([]), |answer| {
        parse::quantity(answer, "eth_maxPriorityFeePerGas")
    })
}

pub fn gas_price_wei() -> Query<U256> {
    Query::new(Method::GasPrice, json!([]), |answer| {
        parse::quantity(answer, "eth_gasPrice")
    })
}

pub(crate) fn send_raw_transaction(raw: &[u8]) -> Query<H256> {
    let params = json!([encode::encode_hex(raw)]);
    Query::new(Method::SendRawTransaction, params, |answer| {
        parse::fixed_hash(answer, "eth_sendRawTransaction")
    })
}

/// None while the transaction is not mined.
pub fn receipt(hash: H256) -> Query<Option<Receipt>> {
    let params = json!([encode::hash(hash)]);
    Query::new(
        Method::TransactionReceipt,
        params,
        move |answer| match parse::receipt(answer)? {
            Some(receipt) if receipt.transaction_hash != hash => {
                Err(RpcError::invalid_answer("a receipt of another transaction"))
            }
            receipt => Ok(receipt),
        },
    )
}

/// What the pool holds of this account at this nonce, as far as the node's pending block shows it.
pub(crate) fn pending_transaction(
    sender: Address,
    nonce: u64,
) -> Query<Option<PendingTransaction>> {
    Query::new(
        Method::BlockByNumber,
        json!(["pending", true]),
        move |answer| parse::pending_transaction(answer, sender, nonce),
    )
}

/// The timestamp that a node gives the block: for `Pending`, what it would give the next.
pub fn timestamp(block: BlockId) -> Query<u64> {
    let params = |at| json!([{"data": TIMESTAMP_PROBE}, at]);
    Query::on_state(Method::Call, block, params, |answer| {
        u64::try_from(parse::word(answer, "timestamp")?)
            .map_err(|_| RpcError::invalid_answer("a timestamp above 2^64"))
    })
}

/// What a block's code sees of its own block.
pub(crate) fn block_opcodes(block: BlockId) -> Query<Opcodes> {
    let params = |at| json!([{"data": OPCODES_PROBE}, at]);
    Query::on_state(Method::Call, block, params, parse::opcodes)
}

/// A harmless question by which a method shows that it works; None where there is none.
pub(crate) fn probe(method: Method) -> Option<Query<()>> {
    let account = encode::address(Address::zero());
    let nothing = encode::hash(H256::zero());
    let params = match method {
        Method::BlockByNumber => json!(["latest", false]),
        Method::BlockByHash => json!([nothing, false]),
        Method::Call => json!([{"data": TIMESTAMP_PROBE}, "latest"]),
        Method::EstimateGas => json!([{"to": account}, "latest"]),
        Method::GetBalance | Method::GetCode | Method::TransactionCount => {
            json!([account, "latest"])
        }
        Method::GetLogs => {
            json!([{"address": account, "fromBlock": "latest", "toBlock": "latest"}])
        }
        Method::GasPrice => json!([]),
        Method::TransactionReceipt => json!([nothing]),
        _ => return None,
    };
    Some(Query::new(method, params, move |answer| {
        let is_sound = match method {
            Method::BlockByNumber => answer.is_object(),
            // Of what does not exist there is nothing to tell.
            Method::BlockByHash | Method::TransactionReceipt => true,
            Method::GetLogs => answer.items().is_some() || answer.is_null(),
            _ => answer.as_str().is_some(),
        };
        match is_sound {
            true => Ok(()),
            false => Err(RpcError::invalid_answer(format!(
                "a probe's answer is {answer}"
            ))),
        }
    }))
}

/// True where eth_call honours an overridden time.
pub(super) fn call_override_probe() -> Query<bool> {
    let params =
        json!([{"data": TIMESTAMP_PROBE}, "latest", {}, {"time": encode::number(PROBE_TIME)}]);
    Query::new(Method::Call, params, |answer| {
        Ok(parse::word(answer, "probe").is_ok_and(|word| word == U256::from(PROBE_TIME)))
    })
}

/// Answered at all only where eth_estimateGas honours an overridden time.
pub(super) fn estimate_override_probe() -> Query<bool> {
    let params =
        json!([{"data": ESTIMATE_PROBE}, "latest", {}, {"time": encode::number(PROBE_TIME)}]);
    Query::new(Method::EstimateGas, params, |answer| {
        Ok(parse::quantity(answer, "probe").is_ok())
    })
}
