//! Who signs transactions: a key in this process, or a signer on another machine that speaks JSON-RPC, such as web3signer
//! (`eth_signTransaction`) or clef (`account_signTransaction`). What a signer elsewhere answers is believed in nothing: it is
//! the transaction that was asked for, to the last byte and signed by the right account, or it is refused. When to sign,
//! and what to do while nobody signs, is decided above.
#![doc = include_str!("signer.md")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{json, Value};
use thiserror::Error;

use crate::base::clock::Clock;
use crate::chain::encode::{self, decode_hex, encode_hex};
use crate::chain::error::RpcError;
use crate::chain::fees::Fee;
use crate::chain::json::Json;
use crate::chain::jsonrpc::JsonRpc;
use crate::chain::key::OperatorKey;
use crate::chain::method::Method;
use crate::chain::transport::Transport;
use crate::chain::tx::{SignedTransaction, Transaction};
use crate::chain::types::{Address, U256};

/// A signer elsewhere has so long for one signature: a draw that waits longer is late.
pub(crate) const SIGNED_WITHIN: Duration = Duration::from_secs(5);
/// EIP-2681: the highest nonce that a transaction may bear. No account ever comes to it.
const NONCE_MAX: u64 = u64::MAX - 1;
/// Less than any call needs.
const PROOF_GAS: u64 = 21_000;

/// Signs for one account.
#[derive(Debug)]
pub enum Signer {
    Key(OperatorKey),
    Elsewhere(RemoteSigner),
}

/// A signer behind JSON-RPC.
pub struct RemoteSigner {
    rpc: JsonRpc,
    account: Address,
    /// It knows clef's name of the call, not that of nodes and of web3signer.
    speaks_clef: AtomicBool,
}

/// A call that shows, once signed, that others like it would be, and that no block can take: it bears the last of all nonces,
/// pays nothing for gas and has too little of it. `is_legacy` says which type is tried.
pub(crate) fn signing_proof(
    chain_id: u64,
    to: Address,
    data: Vec<u8>,
    is_legacy: bool,
) -> Transaction {
    let zero = U256::zero();
    Transaction {
        chain_id,
        nonce: NONCE_MAX,
        to,
        value_wei: zero,
        data,
        gas_limit: PROOF_GAS,
        fee: match is_legacy {
            true => Fee::Legacy {
                gas_price_wei: zero,
            },
            false => Fee::Dynamic {
                cap_wei: zero,
                tip_wei: zero,
            },
        },
    }
}

/// Why there is no signature. The text holds no word of the signer's and is fit for the API.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SignerError {
    #[error("the signer does not sign: it {}", .0.public())]
    Unanswered(RpcError),
    #[error("the signer's answer is refused: it is not the transaction that was asked for, {differs} differs")]
    Unfit { differs: &'static str },
}

impl SignerError {
    /// With the signer's own words, for the log.
    pub(crate) fn detail(&self) -> String {
        match self {
            SignerError::Unanswered(error) => format!("the signer does not sign: {error}"),
            SignerError::Unfit { .. } => self.to_string(),
        }
    }
}

impl Signer {
    pub fn address(&self) -> Address {
        match self {
            Signer::Key(key) => key.address(),
            Signer::Elsewhere(signer) => signer.account,
        }
    }

    /// Signs; elsewhere within a bounded time.
    ///
    /// # Errors
    /// When a signer elsewhere does not answer, or answers with anything but this transaction signed by its account.
    pub(crate) fn sign(&self, transaction: &Transaction) -> Result<SignedTransaction, SignerError> {
        match self {
            Signer::Key(key) => Ok(transaction.sign(key)),
            Signer::Elsewhere(signer) => signer.sign(transaction),
        }
    }
}

impl std::fmt::Debug for RemoteSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "RemoteSigner({:#x} at {})", self.account, self.host())
    }
}

impl RemoteSigner {
    pub fn over(transport: Arc<dyn Transport>, account: Address, clock: Clock) -> RemoteSigner {
        RemoteSigner {
            rpc: JsonRpc::over(transport, clock),
            account,
            speaks_clef: AtomicBool::new(false),
        }
    }

    /// scheme://host[:port].
    pub(crate) fn host(&self) -> &str {
        self.rpc.host()
    }

    /// # Errors
    /// Those of `Signer::sign`.
    pub(crate) fn sign(&self, transaction: &Transaction) -> Result<SignedTransaction, SignerError> {
        let params = json!([request(transaction, self.account)]);
        let answer = self.ask(&params).map_err(SignerError::Unanswered)?;
        // web3signer answers with the bytes, clef and geth with an object that has them beside their meaning.
        let answer = answer.part();
        let raw = answer.as_str().or(answer.at("raw").as_str());
        let raw = raw.and_then(decode_hex).ok_or_else(|| {
            let text = format!("{}: the answer holds no signed transaction", self.host());
            SignerError::Unanswered(RpcError::invalid_answer(text))
        })?;
        transaction
            .signed_elsewhere(raw, self.account)
            .map_err(|differs| SignerError::Unfit { differs })
    }

    /// Asks under the name that worked last; where that is unknown, under the other.
    fn ask(&self, params: &Value) -> Result<Json, RpcError> {
        let speaks_clef = self.speaks_clef.load(Ordering::Relaxed);
        let error = match self.rpc.call(method(speaks_clef), params) {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if error.is_passing() || !says_unknown_method(&error) {
            return Err(error);
        }
        let answer = self.rpc.call(method(!speaks_clef), params);
        match &answer {
            Err(other) if says_unknown_method(other) => return Err(error),
            _ => self.speaks_clef.store(!speaks_clef, Ordering::Relaxed),
        }
        answer
    }
}

fn method(speaks_clef: bool) -> Method {
    match speaks_clef {
        true => Method::AccountSignTransaction,
        false => Method::SignTransaction,
    }
}

fn says_unknown_method(error: &RpcError) -> bool {
    let text = error.to_string().to_lowercase();
    let unknown = ["not found", "not exist", "not available", "not supported"];
    text.contains("-32601") || text.contains("method") && unknown.iter().any(|it| text.contains(it))
}

/// The transaction as both kinds of signers take it.
fn request(transaction: &Transaction, account: Address) -> Value {
    let quantity = |wei: U256| Value::String(format!("{wei:#x}"));
    let mut request = json!({
        "from": encode::address(account),
        "to": encode::address(transaction.to),
        "gas": encode::number(transaction.gas_limit),
        "value": quantity(transaction.value_wei),
        "nonce": encode::number(transaction.nonce),
        "data": encode_hex(&transaction.data),
        "chainId": encode::number(transaction.chain_id),
    });
    match transaction.fee {
        Fee::Dynamic { cap_wei, tip_wei } => {
            request["maxFeePerGas"] = quantity(cap_wei);
            request["maxPriorityFeePerGas"] = quantity(tip_wei);
        }
        Fee::Legacy { gas_price_wei } => request["gasPrice"] = quantity(gas_price_wei),
    }
    request
}

#[cfg(test)]
mod tests;
