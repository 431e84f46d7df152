//! Signs and sends: everything an action needs is read from one endpoint at one block, checked, priced, signed, and
//! handed to every healthy endpoint. It decides nothing about rounds and remembers nothing but what it learned of the
//! chain (legacy fees, a cap on gas) and the last balance.

use std::time::{Duration, Instant};

use thiserror::Error;

use crate::chain::client::{CallRequest, Endpoint};
use crate::chain::endpoints::Endpoints;
use crate::chain::error::{ErrorKind, NodeError, RpcError};
use crate::chain::fees::{
    bump, gas_limit, quote, FeeLimits, GasFormula, Prices, Quote, TooMuchGas, EIP_7825_GAS_MAX,
};
use crate::chain::key::OperatorKey;
use crate::chain::tx::Transaction;
use crate::chain::types::{Address, BlockId, Header, PendingTransaction, H256, U256};
use crate::lottery::contract::{action_calldata, revert_meaning, RevertMeaning};
use crate::lottery::model::{ActionKind, HeadRef, Round, Severity, Snapshot};
use crate::lottery::send_state::{Included, SendState, Variant};

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
/// Once a node has refused a transaction, how long another one may take to accept it.
const SECOND_OPINION: Duration = Duration::from_secs(1);
/// How long the other endpoints may take to show a receipt that one of them lost.
const RECEIPT_SEARCH: Duration = Duration::from_secs(2);
/// Below so many draws' worth of balance a warning is due.
const DRAWS_WORTH_MIN: u64 = 3;

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
    pub head: HeadRef,
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

/// Something to tell the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub code: &'static str,
    pub severity: Severity,
    pub message: String,
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

/// What the chain shows of the action in flight.
pub struct Seen {
    pub latest_nonce: u64,
    pub included: Option<Included>,
}

/// Everything read for one action, from one endpoint at one block.
struct Gathered {
    nonce: u64,
    pending_nonce: u64,
    /// What is pending at `nonce`, where the node shows it.
    rival: Option<PendingTransaction>,
    balance_wei: U256,
    prices: Prices,
    estimate: Option<u64>,
    block_gas_limit: u64,
    head_number: u64,
    head_hash: H256,
    head_timestamp: u64,
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
            .with_endpoint(Endpoint::pending_timestamp)
            .ok()
    }

    pub fn block(&self, hash: H256) -> Option<Header> {
        self.endpoints
            .with_endpoint(|endpoint| endpoint.header(BlockId::Hash(hash)))
            .ok()
    }

    /// Checks, prices and signs the action's first transaction.
    pub fn prepare(&mut self, order: &Order, now: Instant) -> Result<Prepared, Attempt> {
        let Order { kind, round, .. } = *order;
        let gathered = self
            .endpoints
            .with_endpoint(|endpoint| self.gather(endpoint, order))
            .map_err(attempt_of)?;
        self.balance_wei = Some(gathered.balance_wei);
        if let Check::Unchecked { earliest, latest } = order.check {
            let head_timestamp = gathered.head_timestamp;
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
        let state = SendState::begin(
            round.round_id,
            gathered.nonce,
            variant,
            gathered.head_number,
            gathered.head_hash,
            now,
        );
        Ok(Prepared {
            state,
            notes: self.notes(&gathered, gas_max, offered, round),
        })
    }

    /// Hands the newest variant to every usable endpoint. A refusal that signing anew can cure is cured at once; what is
    /// pending at this nonce and is not ours is outbid by one step a block.
    pub fn broadcast(&mut self, state: &mut SendState, head: HeadRef, round: &Round) -> Broadcast {
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
                    state.add(variant, head.number, head.hash);
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
        let (prices, balance_wei, block_gas_limit) = self.endpoints.with_endpoint(|endpoint| {
            let head = endpoint.head()?;
            let balance_wei = endpoint.balance(self.key.address(), BlockId::Latest)?;
            Ok((
                self.prices(endpoint, head.base_fee_wei)?,
                balance_wei,
                head.gas_limit,
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

    /// Nonce and receipts. While the nonce is open, no variant can have been mined.
    pub fn look(&self, state: &SendState) -> Result<Seen, RpcError> {
        let address = self.key.address();
        let ask = |endpoint: &Endpoint| {
            let latest_nonce = endpoint.transaction_count(address, BlockId::Latest)?;
            let included = match latest_nonce > state.nonce {
                true => included_at(endpoint, state)?,
                false => None,
            };
            Ok(Seen {
                latest_nonce,
                included,
            })
        };
        let mut seen = self.endpoints.with_endpoint(ask)?;
        if seen.latest_nonce > state.nonce && seen.included.is_none() {
            // One endpoint may have lost the receipt: the others are asked before it is believed.
            let searched = state.clone();
            let answers = self
                .endpoints
                .ask_each(move |endpoint| included_at(endpoint, &searched));
            let deadline = Instant::now() + RECEIPT_SEARCH;
            while let Ok((_, answer)) = answers.recv_deadline(deadline) {
                if let Ok(Some(included)) = answer {
                    seen.included = Some(included);
                    break;
                }
            }
        }
        Ok(seen)
    }

    /// Looks at everything that a draw will need; one entry a problem.
    pub fn rehearse(&mut self, snapshot: &Snapshot, round: &Round) -> Vec<String> {
        let mut problems = Vec::new();
        let address = self.key.address();
        match snapshot.config.as_deref() {
            Some(config) if config.operator != address => problems.push(format!(
                "the key's address {address:#x} is not the contract's operator {:#x}",
                config.operator
            )),
            Some(_) => {}
            None => problems.push("the contract's configuration is not known".to_owned()),
        }
        let read = self.endpoints.with_endpoint(|endpoint| {
            let head = endpoint.head()?;
            let latest = endpoint.transaction_count(address, BlockId::Latest)?;
            let pending = endpoint
                .transaction_count(address, BlockId::Pending)
                .unwrap_or(latest);
            let balance_wei = endpoint.balance(address, BlockId::Latest)?;
            Ok((
                latest,
                pending,
                balance_wei,
                self.prices(endpoint, head.base_fee_wei)?,
            ))
        });
        match read {
            Ok((latest, pending, balance_wei, prices)) => {
                self.balance_wei = Some(balance_wei);
                if pending > latest {
                    problems.push(format!(
                        "{} transactions of the key are pending",
                        pending - latest
                    ));
                }
                let draw_wei = draw_cost_wei(&prices, round);
                if balance_wei < draw_wei.saturating_mul(U256::from(DRAWS_WORTH_MIN)) {
                    problems.push(low_balance(balance_wei, draw_wei));
                }
            }
            Err(error) => problems.push(format!("the chain cannot be asked: {error}")),
        }
        problems
    }

    fn gather(&self, endpoint: &Endpoint, order: &Order) -> Result<Gathered, RpcError> {
        let address = self.key.address();
        let (block, header) = match order.check {
            Check::Called => {
                let block = BlockId::Exactly {
                    number: order.head.number,
                    hash: order.head.hash,
                };
                (block, endpoint.header(block)?)
            }
            // The head that the store knows may be long gone.
            Check::Unchecked { .. } => (BlockId::Latest, endpoint.head()?),
        };
        let estimate = match order.check {
            Check::Called => self.preflight(endpoint, order, block)?,
            Check::Unchecked { .. } => None,
        };
        let nonce = endpoint.transaction_count(address, block)?;
        // Nodes without a pending state show no gap.
        let pending_nonce = endpoint
            .transaction_count(address, BlockId::Pending)
            .unwrap_or(nonce);
        let rival = match pending_nonce > nonce {
            true => endpoint
                .pending_transaction(address, nonce)
                .unwrap_or_default(),
            false => None,
        };
        Ok(Gathered {
            nonce,
            pending_nonce,
            rival,
            balance_wei: endpoint.balance(address, block)?,
            prices: self.prices(endpoint, header.base_fee_wei)?,
            estimate,
            block_gas_limit: header.gas_limit,
            head_number: header.number,
            head_hash: header.hash,
            head_timestamp: header.timestamp,
        })
    }

    /// Calls and estimates the action as the next block would run it: the gas where it can be known, an error when it
    /// would revert for a reason that sending cannot change.
    fn preflight(
        &self,
        endpoint: &Endpoint,
        order: &Order,
        block: BlockId,
    ) -> Result<Option<u64>, RpcError> {
        let kind = order.kind;
        let time = Some(order.next_block_time);
        let request =
            CallRequest::to(self.settings.contract, action_calldata(kind)).from(self.address());
        let overrides = endpoint.block_overrides()?;
        let called = match overrides.call {
            true => endpoint.call(&request, block, time),
            false => endpoint.call(&request, BlockId::Pending, None),
        };
        if let Err(error) = called {
            tolerate_unpayable_draw(error, kind)?;
            return Ok(None);
        }
        if !overrides.estimate {
            return Ok(None);
        }
        match endpoint.estimate_gas(&request, block, time) {
            Ok(gas) => Ok(Some(gas)),
            Err(error) if matches!(error.kind, ErrorKind::Node(_)) => Ok(None),
            Err(error) => tolerate_unpayable_draw(error, kind).map(|()| None),
        }
    }

    fn prices(&self, endpoint: &Endpoint, base_fee_wei: Option<U256>) -> Result<Prices, RpcError> {
        let Some(base_fee_wei) = base_fee_wei.filter(|_| !self.legacy) else {
            return Ok(Prices::Legacy {
                gas_price_wei: endpoint.gas_price_wei()?,
            });
        };
        // Both calls are missing on some nodes; the head's base fee and a tip of 1 wei are always there.
        let history = match endpoint.fee_history() {
            Ok(history) => Some(history),
            Err(error) if error.is_node_answer() => None,
            Err(error) => return Err(error),
        };
        let suggested_tip_wei = match endpoint.max_priority_fee_wei() {
            Ok(tip_wei) => Some(tip_wei),
            Err(error) if error.is_node_answer() => None,
            Err(error) => return Err(error),
        };
        Ok(Prices::Dynamic {
            next_base_fee_wei: history
                .as_ref()
                .and_then(|history| history.next_base_fee_wei)
                .unwrap_or(base_fee_wei),
            median_reward_wei: history.and_then(|history| history.median_reward_wei),
            suggested_tip_wei,
        })
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
            .ask_each(move |endpoint| endpoint.send_raw_transaction(&raw));
        let mut outcome = Broadcast::MaybeSent("no endpoint is fit to send".to_owned());
        let mut deadline = None;
        loop {
            let answer = match deadline {
                Some(deadline) => answers.recv_deadline(deadline).ok(),
                None => answers.recv().ok(),
            };
            let Some((endpoint, answer)) = answer else {
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
                    deadline = Some(Instant::now() + SECOND_OPINION);
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

    fn notes(&self, gathered: &Gathered, gas_max: u64, offered: Quote, round: &Round) -> Vec<Note> {
        let mut notes = Vec::new();
        let mut warn = |code, message| {
            notes.push(Note {
                code,
                severity: Severity::Warning,
                message,
            })
        };
        if gathered.pending_nonce > gathered.nonce {
            let count = gathered.pending_nonce - gathered.nonce;
            warn(
                "unknown_pending",
                format!("{count} unknown transactions of the key are pending and are outbid"),
            );
        }
        let draw_wei = draw_cost_wei(&gathered.prices, round);
        if gathered.balance_wei < draw_wei.saturating_mul(U256::from(DRAWS_WORTH_MIN)) {
            warn("low_balance", low_balance(gathered.balance_wei, draw_wei));
        }
        if offered.capped {
            warn(
                "fee_capped",
                "a fee limit or the balance keeps the fee below what it should be".to_owned(),
            );
        }
        let refund_gas = REFUND_GAS.gas(round.participant_count);
        if refund_gas.saturating_mul(10) >= gas_max.saturating_mul(7) {
            let (refunds, draws) = (
                REFUND_GAS.participants_max(gas_max),
                DRAW_GAS.participants_max(gas_max),
            );
            let text = format!(
                "{} players: a refund becomes impossible at {refunds}, a draw at {draws}",
                round.participant_count
            );
            warn("too_many_players", text);
        }
        notes
    }
}

/// Looks for a canonical receipt among all variants, newest first.
fn included_at(endpoint: &Endpoint, state: &SendState) -> Result<Option<Included>, RpcError> {
    for variant in state.variants().iter().rev() {
        let Some(receipt) = endpoint.receipt(variant.hash)? else {
            continue;
        };
        if endpoint.header(BlockId::Number(receipt.block_number))?.hash != receipt.block_hash {
            continue;
        }
        return Ok(Some(Included {
            hash: variant.hash,
            block_number: receipt.block_number,
            block_hash: receipt.block_hash,
            succeeded: receipt.succeeded,
            gas_used: receipt.gas_used,
            effective_gas_price_wei: receipt.effective_gas_price_wei,
        }));
    }
    Ok(None)
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

/// A draw that cannot pay this block's winner may pay another block's: it is sent all the same.
fn tolerate_unpayable_draw(error: RpcError, kind: ActionKind) -> Result<(), RpcError> {
    match &error.kind {
        ErrorKind::Reverted { reason, data }
            if kind == ActionKind::Draw
                && revert_meaning(reason.as_deref(), data) == RevertMeaning::Unpayable =>
        {
            Ok(())
        }
        _ => Err(error),
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

fn draw_cost_wei(prices: &Prices, round: &Round) -> U256 {
    least_price(prices).saturating_mul(U256::from(DRAW_GAS.gas(round.participant_count)))
}

fn low_balance(balance_wei: U256, draw_wei: U256) -> String {
    format!(
        "the balance of {balance_wei} wei is below {DRAWS_WORTH_MIN} draws at {draw_wei} wei each"
    )
}
