//! Signs and sends: everything an action needs is read from one endpoint at one block, checked, priced, signed, and
//! handed to every healthy endpoint. It decides nothing about rounds and remembers nothing but what it learned of the
//! chain (legacy fees, a cap on gas) and the last balance.

mod reads;
mod warnings;

use std::time::{Duration, Instant};

use thiserror::Error;

use crate::chain::endpoints::Endpoints;
use crate::chain::error::{ErrorKind, NodeError, RpcError};
use crate::chain::fees::{
    bump, gas_limit, quote, FeeLimits, GasFormula, Prices, Quote, TooMuchGas, EIP_7825_GAS_MAX,
};
use crate::chain::key::OperatorKey;
use crate::chain::method::Method;
use crate::chain::node::Endpoint;
use crate::chain::tx::{PendingTransaction, Transaction};
use crate::chain::types::BlockRef;
use crate::chain::types::{Address, BlockId, Header, H256, U256};
use crate::lottery::action::ActionKind;
use crate::lottery::contract::{action_calldata, revert_meaning, RevertMeaning};
use crate::lottery::round::Round;
use crate::lottery::send_state::{SendState, Variant};

pub use warnings::Note;

/// Measured on the contract, with a margin.
const DRAW_GAS: GasFormula = GasFormula {
    base: 300_000,
    per_participant: 13_000,
};
const REFUND_GAS: GasFormula = GasFormula {
    base: 120_000,
    per_participant: 26_000,
};
const EXTEND_GAS: GasFormula = GasFormula {
    base: 100_000,
    per_participant: 0,
};
const CANCEL_GAS: u64 = 21_000;
/// So often at most a refused transaction is signed anew at one head; against a pending one that is not ours, once.
const SIGNED_ANEW_MAX: usize = 3;
/// What signing cannot do without.
const PREPARING: &[Method] = &[
    Method::BlockByHash,
    Method::Call,
    Method::TransactionCount,
    Method::GetBalance,
];
const REPLACING: &[Method] = &[Method::BlockByNumber, Method::GetBalance];
/// Once a node has refused a transaction, how long another one may take to accept it.
const SECOND_OPINION: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub struct SenderSettings {
    pub contract: Address,
    pub chain_id: u64,
    pub limits: FeeLimits,
    pub gas_multiplier: f64,
}

pub struct Sender {
    key: OperatorKey,
    endpoints: Endpoints,
    settings: SenderSettings,
    balance_wei: Option<U256>,
    /// This chain takes no EIP-1559 transactions.
    legacy: bool,
    /// A node has refused more gas than EIP-7825 allows.
    gas_capped: bool,
    /// A node has refused a transaction that might cost more than this.
    node_cap_wei: Option<U256>,
}

/// One action to prepare.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    pub kind: ActionKind,
    pub round: &'a Round,
    pub head: BlockRef,
    /// What the mining block's time is expected to be.
    pub next_block_time: u64,
    pub check: Check,
    /// What the round's earlier transactions left of the most that it may cost.
    pub spend_max_wei: U256,
    /// A pending transaction of this key that does the same is outbid, not waited for.
    pub outbid_twin: bool,
}

/// How an action is checked before it is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// By calls at the head.
    Called,
    /// Not at all, since nobody answers calls; sent only while the newest head's time lies in here.
    Unchecked { earliest: u64, latest: u64 },
}

/// Why nothing was signed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Attempt {
    #[error("it would revert: {}", reason.as_deref().unwrap_or("without a reason: a player cannot be paid"))]
    Reverts {
        meaning: RevertMeaning,
        reason: Option<String>,
    },
    #[error("the chain cannot be asked: {0}")]
    Unreachable(RpcError),
    #[error("{too_much}: at most {participants_max} players fit")]
    TooMuchGas {
        too_much: TooMuchGas,
        participants_max: u64,
    },
    #[error("the balance of {balance_wei} wei does not pay {needed_wei} wei of gas")]
    InsufficientFunds { balance_wei: U256, needed_wei: U256 },
    #[error("{left_wei} wei are left of what this round may cost (max_tx_fee_ether), {needed_wei} wei are needed")]
    RoundTooCostly { left_wei: U256, needed_wei: U256 },
    #[error("the same transaction of this key is pending already at nonce {nonce}")]
    TwinPending { nonce: u64 },
    #[error("the head's time {head_timestamp} does not allow it any more, or not yet")]
    OutsideWindow { head_timestamp: u64 },
}

/// A signed first transaction, not sent yet.
pub struct Prepared {
    pub state: SendState,
    pub notes: Vec<Note>,
}

/// What became of a broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broadcast {
    /// At least one node holds it.
    Accepted,
    /// No node said no, none said yes.
    MaybeSent(String),
    Rejected(NodeError, String),
}

impl Sender {
    pub fn new(key: OperatorKey, endpoints: Endpoints, settings: SenderSettings) -> Sender {
        Sender {
            key,
            endpoints,
            settings,
            balance_wei: None,
            legacy: false,
            gas_capped: false,
            node_cap_wei: None,
        }
    }

    pub fn address(&self) -> Address {
        self.key.address()
    }

    /// As of the last action or rehearsal.
    pub fn balance_wei(&self) -> Option<U256> {
        self.balance_wei
    }

    /// The timestamp that a node gives its pending block.
    pub fn pending_time(&self) -> Option<u64> {
        self.endpoints
            .with_endpoint(&[Method::Call], Endpoint::pending_timestamp)
            .ok()
    }

    pub fn block(&self, hash: H256) -> Option<Header> {
        self.endpoints
            .with_endpoint(&[Method::BlockByHash], |endpoint| {
                endpoint.header(BlockId::Hash(hash))
            })
            .ok()
    }

    /// Checks, prices and signs the action's first transaction.
    pub fn prepare(&mut self, order: &Order, now: Instant) -> Result<Prepared, Attempt> {
        let Order { kind, round, .. } = *order;
        let gathered = self
            .endpoints
            .with_endpoint(PREPARING, |endpoint| self.gather(endpoint, order))
            .map_err(attempt_of)?;
        self.balance_wei = Some(gathered.balance_wei);
        if let Check::Unchecked { earliest, latest } = order.check {
            let head_timestamp = gathered.head.timestamp;
            if !(earliest..=latest).contains(&head_timestamp) {
                return Err(Attempt::OutsideWindow { head_timestamp });
            }
        }
        let formula = gas_formula(kind);
        let gas_max = self.gas_max(gathered.block_gas_limit);
        let gas = gas_limit(
            gathered.estimate,
            self.settings.gas_multiplier,
            formula,
            round.participant_count,
            gas_max,
        )
        .map_err(|too_much| Attempt::TooMuchGas {
            too_much,
            participants_max: formula.participants_max(gas_max),
        })?;
        let needed_wei = least_price(&gathered.prices).saturating_mul(U256::from(gas));
        if gathered.balance_wei < needed_wei {
            return Err(Attempt::InsufficientFunds {
                balance_wei: gathered.balance_wei,
                needed_wei,
            });
        }
        if order.spend_max_wei < needed_wei {
            return Err(Attempt::RoundTooCostly {
                left_wei: order.spend_max_wei,
                needed_wei,
            });
        }
        let limits = self.limits(order.spend_max_wei);
        let balance = Some(gathered.balance_wei);
        let offered = match &gathered.rival {
            Some(rival) if self.is_twin(rival, kind) && !order.outbid_twin => {
                return Err(Attempt::TwinPending {
                    nonce: gathered.nonce,
                })
            }
            Some(rival) => bump(rival.fee, &gathered.prices, &limits, gas, balance),
            None => quote(&gathered.prices, &limits, gas, balance),
        };
        let variant = self.sign(kind, gathered.nonce, gas, offered);
        let state = SendState::begin(round.round_id, gathered.nonce, variant, gathered.head, now);
        Ok(Prepared {
            state,
            notes: self.notes(&gathered, gas_max, offered, round),
        })
    }

    /// Hands the newest variant to every usable endpoint. A refusal that signing anew can cure is cured at once; what is
    /// pending at this nonce and is not ours is outbid by one step a block.
    pub fn broadcast(&mut self, state: &mut SendState, head: BlockRef, round: &Round) -> Broadcast {
        let mut outcome = self.send_newest(state);
        for turn in 0..SIGNED_ANEW_MAX {
            let (Broadcast::Rejected(class, why), Some(newest)) = (&outcome, state.newest()) else {
                break;
            };
            let kind = newest.kind;
            match class {
                NodeError::ReplacementUnderpriced if turn > 0 && !state.was_accepted() => break,
                NodeError::ReplacementUnderpriced | NodeError::Underpriced => {}
                NodeError::TypeNotSupported if !self.legacy => {
                    log::info!(
                        "this chain takes no EIP-1559 transactions: legacy ones from now on"
                    );
                    self.legacy = true;
                }
                NodeError::GasLimit if !self.gas_capped => self.gas_capped = true,
                NodeError::NodeFeeCap => {
                    let offered_wei = newest
                        .fee
                        .cap_wei()
                        .saturating_mul(U256::from(newest.gas_limit));
                    let cap_wei = fee_cap_named(why)
                        .filter(|cap_wei| *cap_wei < offered_wei)
                        .unwrap_or(offered_wei / 2);
                    log::warn!("a node takes no fee above {cap_wei} wei: {why}");
                    self.node_cap_wei = Some(cap_wei);
                }
                _ => break,
            }
            match self.replacement(state, kind, round) {
                Ok((variant, capped)) => {
                    state.add(variant, head);
                    outcome = self.send_newest(state);
                    if capped && self.node_cap_wei.is_none() {
                        break;
                    }
                }
                Err(error) => return Broadcast::MaybeSent(error.to_string()),
            }
        }
        match &outcome {
            Broadcast::Accepted => state.note_accepted(),
            Broadcast::Rejected(NodeError::ReplacementUnderpriced, _) => state.note_outbid(),
            _ => {}
        }
        outcome
    }

    /// A new variant at the same nonce: the same action with a safe bump, or another action in its place.
    pub fn replacement(
        &mut self,
        state: &SendState,
        kind: ActionKind,
        round: &Round,
    ) -> Result<(Variant, bool), RpcError> {
        let (prices, balance_wei, block_gas_limit) =
            self.endpoints.with_endpoint(REPLACING, |endpoint| {
                let head = endpoint.head()?;
                let balance_wei = endpoint.balance(self.key.address(), BlockId::Latest)?;
                Ok((
                    self.prices(endpoint, head.base_fee_wei)?,
                    balance_wei,
                    head.gas_limit.unwrap_or(u64::MAX),
                ))
            })?;
        self.balance_wei = Some(balance_wei);
        let Some(previous) = state.newest() else {
            return Err(RpcError::invalid_answer("nothing was signed yet"));
        };
        let gas_max = self.gas_max(block_gas_limit);
        let gas = match kind == previous.kind {
            true => previous.gas_limit.min(gas_max),
            false => gas_formula(kind).gas(round.participant_count).min(gas_max),
        };
        let limits = self.limits(self.settings.limits.max_tx_fee_wei);
        let raised = bump(previous.fee, &prices, &limits, gas, Some(balance_wei));
        if raised.capped {
            log::warn!(
                "a fee limit keeps the replacement at nonce {} low",
                state.nonce
            );
        }
        Ok((self.sign(kind, state.nonce, gas, raised), raised.capped))
    }

    fn sign(&self, kind: ActionKind, nonce: u64, gas_limit: u64, offered: Quote) -> Variant {
        let to = match kind {
            ActionKind::Cancel => self.key.address(),
            _ => self.settings.contract,
        };
        let transaction = Transaction {
            chain_id: self.settings.chain_id,
            nonce,
            to,
            value_wei: U256::zero(),
            data: action_calldata(kind),
            gas_limit,
            fee: offered.fee,
        };
        let signed = transaction.sign(&self.key);
        Variant {
            kind,
            hash: signed.hash,
            raw: signed.raw,
            fee: offered.fee,
            gas_limit,
        }
    }

    /// One acceptance is enough; a refusal counts only when no endpoint accepts, and silence least.
    fn send_newest(&self, state: &SendState) -> Broadcast {
        let Some(variant) = state.newest() else {
            return Broadcast::MaybeSent("nothing was signed yet".to_owned());
        };
        let (raw, sent_hash) = (variant.raw.clone(), variant.hash);
        let answers = self
            .endpoints
            .ask_each(&[Method::SendRawTransaction], move |endpoint| {
                endpoint.send_raw_transaction(&raw)
            });
        let mut outcome = Broadcast::MaybeSent("no endpoint is fit to send".to_owned());
        let mut deadline = None;
        loop {
            let Some((endpoint, answer)) = self.endpoints.next_answer(&answers, deadline) else {
                return outcome;
            };
            let error = match answer {
                Ok(hash) if hash != sent_hash => {
                    log::warn!(
                        "{} answered with hash {hash:#x}, sent was {sent_hash:#x}",
                        endpoint.host()
                    );
                    return Broadcast::Accepted;
                }
                Ok(_) => return Broadcast::Accepted,
                Err(error) => error,
            };
            match error.node_error() {
                Some(NodeError::AlreadyKnown) => return Broadcast::Accepted,
                Some(class) => {
                    outcome = Broadcast::Rejected(class, format!("{}: {error}", endpoint.host()));
                    deadline = Some(self.endpoints.clock().now() + SECOND_OPINION);
                }
                None if matches!(outcome, Broadcast::MaybeSent(_)) => {
                    outcome = Broadcast::MaybeSent(error.to_string());
                }
                None => {}
            }
        }
    }

    /// It would do what we are about to do: a second daemon with this key, or this one before a restart.
    fn is_twin(&self, rival: &PendingTransaction, kind: ActionKind) -> bool {
        rival.to == Some(self.settings.contract) && rival.data == action_calldata(kind)
    }

    fn limits(&self, spend_max_wei: U256) -> FeeLimits {
        let configured = &self.settings.limits;
        FeeLimits {
            max_fee_wei: configured.max_fee_wei,
            max_tx_fee_wei: configured
                .max_tx_fee_wei
                .min(spend_max_wei)
                .min(self.node_cap_wei.unwrap_or(U256::MAX)),
        }
    }

    fn gas_max(&self, block_gas_limit: u64) -> u64 {
        match self.gas_capped {
            true => block_gas_limit.min(EIP_7825_GAS_MAX),
            false => block_gas_limit,
        }
    }
}

fn gas_formula(kind: ActionKind) -> GasFormula {
    match kind {
        ActionKind::Draw => DRAW_GAS,
        ActionKind::RefundExpired | ActionKind::RefundForced => REFUND_GAS,
        ActionKind::Extend { .. } => EXTEND_GAS,
        ActionKind::Cancel => GasFormula {
            base: CANCEL_GAS,
            per_participant: 0,
        },
    }
}

fn attempt_of(error: RpcError) -> Attempt {
    match &error.kind {
        ErrorKind::Reverted { reason, data } => Attempt::Reverts {
            meaning: revert_meaning(reason.as_deref(), data),
            reason: reason.clone(),
        },
        _ => Attempt::Unreachable(error),
    }
}

/// The cap that a node's refusal names last, as geth writes it: `... exceeds the configured cap (1.00 ether)`.
fn fee_cap_named(refusal: &str) -> Option<U256> {
    let (before, _) = refusal.rsplit_once(" ether)")?;
    let (_, amount) = before.rsplit_once('(')?;
    let ether: f64 = amount.parse().ok()?;
    // Node limits are round numbers of ether: a gwei is fine enough, and the cast saturates.
    let gwei = (ether * 1e9) as u64;
    (gwei > 0).then(|| U256::from(gwei) * U256::exp10(9))
}

/// The least a unit of gas can cost in the next block.
fn least_price(prices: &Prices) -> U256 {
    match prices {
        Prices::Dynamic {
            next_base_fee_wei, ..
        } => *next_base_fee_wei,
        Prices::Legacy { gas_price_wei } => *gas_price_wei,
    }
}
