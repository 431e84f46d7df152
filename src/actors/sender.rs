//! Signs and sends: everything an action needs is read from one endpoint at one block, checked, priced, signed, and
//! handed to every healthy endpoint. It decides nothing about rounds and remembers nothing but what it learned of the
//! chain (legacy fees, a cap on gas) and the last balance.

use std::time::Instant;

use thiserror::Error;

use crate::chain::client::{CallRequest, Endpoint};
use crate::chain::endpoints::Endpoints;
use crate::chain::error::{ErrorKind, NodeError, RpcError};
use crate::chain::fees::{
    bump, gas_limit, quote, FeeLimits, GasFormula, Prices, Quote, TooMuchGas, EIP_7825_GAS_MAX,
};
use crate::chain::key::OperatorKey;
use crate::chain::tx::Transaction;
use crate::chain::types::{Address, BlockId, U256};
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
/// A pending transaction that is not ours is outbid at once, in so many steps at most.
const LADDER_MAX: usize = 12;
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
    balance_wei: U256,
    prices: Prices,
    estimate: Option<u64>,
    block_gas_limit: u64,
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

    /// Checks, prices and signs the action's first transaction. `next_block_time` is what the mining block's time is
    /// expected to be.
    pub fn prepare(
        &mut self,
        kind: ActionKind,
        head: HeadRef,
        next_block_time: u64,
        round: &Round,
        now: Instant,
    ) -> Result<Prepared, Attempt> {
        let gathered = self
            .endpoints
            .with_endpoint(|endpoint| self.gather(endpoint, kind, head, next_block_time))
            .map_err(attempt_of)?;
        self.balance_wei = Some(gathered.balance_wei);
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
        let offered = quote(
            &gathered.prices,
            &self.settings.limits,
            gas,
            Some(gathered.balance_wei),
        );
        let needed_wei = least_price(&gathered.prices).saturating_mul(U256::from(gas));
        if gathered.balance_wei < needed_wei {
            return Err(Attempt::InsufficientFunds {
                balance_wei: gathered.balance_wei,
                needed_wei,
            });
        }
        let variant = self.sign(kind, gathered.nonce, gas, offered);
        let state = SendState::begin(round.round_id, gathered.nonce, variant, head.number, now);
        Ok(Prepared {
            state,
            notes: self.notes(&gathered, gas_max, offered, round),
        })
    }

    /// Hands the newest variant to every healthy endpoint; where a node already holds another transaction of this
    /// nonce, outbids it step by step.
    pub fn broadcast(&mut self, state: &mut SendState, head: HeadRef, round: &Round) -> Broadcast {
        let mut outcome = self.send_newest(state);
        for _ in 0..LADDER_MAX {
            let Broadcast::Rejected(class, _) = &outcome else {
                break;
            };
            let Some(kind) = state.newest().map(|variant| variant.kind) else {
                break;
            };
            match class {
                NodeError::ReplacementUnderpriced | NodeError::Underpriced => {}
                NodeError::TypeNotSupported if !self.legacy => {
                    log::info!(
                        "this chain takes no EIP-1559 transactions: legacy ones from now on"
                    );
                    self.legacy = true;
                }
                NodeError::GasLimit if !self.gas_capped => self.gas_capped = true,
                _ => break,
            }
            match self.replacement(state, kind, round) {
                Ok((variant, capped)) => {
                    state.add(variant, head.number);
                    outcome = self.send_newest(state);
                    if capped {
                        break;
                    }
                }
                Err(error) => return Broadcast::MaybeSent(error.to_string()),
            }
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
        let raised = bump(
            previous.fee,
            &prices,
            &self.settings.limits,
            gas,
            Some(balance_wei),
        );
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
            for endpoint in self.endpoints.all_usable() {
                if let Ok(Some(included)) = included_at(&endpoint, state) {
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

    fn gather(
        &self,
        endpoint: &Endpoint,
        kind: ActionKind,
        head: HeadRef,
        next_block_time: u64,
    ) -> Result<Gathered, RpcError> {
        let address = self.key.address();
        let block = BlockId::Exactly {
            number: head.number,
            hash: head.hash,
        };
        let header = endpoint.header(block)?;
        let request = CallRequest::to(self.settings.contract, action_calldata(kind)).from(address);
        let overrides = endpoint.block_overrides()?;
        let preflight = match overrides.call {
            true => endpoint.call(&request, block, Some(next_block_time)),
            false => endpoint.call(&request, BlockId::Pending, None),
        };
        let may_be_sent = match preflight {
            Ok(_) => true,
            Err(error) => tolerate_unpayable_draw(error, kind)?,
        };
        let estimate = match overrides.estimate && may_be_sent {
            true => match endpoint.estimate_gas(&request, block, Some(next_block_time)) {
                Ok(gas) => Some(gas),
                Err(error) if matches!(error.kind, ErrorKind::Node(_)) => None,
                Err(error) => {
                    tolerate_unpayable_draw(error, kind)?;
                    None
                }
            },
            false => None,
        };
        let nonce = endpoint.transaction_count(address, block)?;
        // Nodes without a pending state show no gap.
        let pending_nonce = endpoint
            .transaction_count(address, BlockId::Pending)
            .unwrap_or(nonce);
        Ok(Gathered {
            nonce,
            pending_nonce,
            balance_wei: endpoint.balance(address, block)?,
            prices: self.prices(endpoint, header.base_fee_wei)?,
            estimate,
            block_gas_limit: header.gas_limit,
        })
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

    fn send_newest(&self, state: &SendState) -> Broadcast {
        let Some(variant) = state.newest() else {
            return Broadcast::MaybeSent("nothing was signed yet".to_owned());
        };
        let mut outcome = Broadcast::MaybeSent("no endpoint is fit to send".to_owned());
        for endpoint in self.endpoints.all_usable() {
            let error = match endpoint.send_raw_transaction(&variant.raw) {
                Ok(hash) => {
                    if hash != variant.hash {
                        log::warn!(
                            "{} answered with hash {hash:#x}, sent was {:#x}",
                            endpoint.host(),
                            variant.hash
                        );
                    }
                    outcome = Broadcast::Accepted;
                    continue;
                }
                Err(error) => error,
            };
            self.endpoints.note_failure(&endpoint, &error);
            match error.node_error() {
                Some(NodeError::AlreadyKnown) => outcome = Broadcast::Accepted,
                // One acceptance wins over any refusal, a refusal over silence.
                _ if outcome == Broadcast::Accepted => {}
                Some(class) => {
                    outcome = Broadcast::Rejected(class, format!("{}: {error}", endpoint.host()))
                }
                None if matches!(outcome, Broadcast::MaybeSent(_)) => {
                    outcome = Broadcast::MaybeSent(error.to_string());
                }
                None => {}
            }
        }
        outcome
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
fn tolerate_unpayable_draw(error: RpcError, kind: ActionKind) -> Result<bool, RpcError> {
    match &error.kind {
        ErrorKind::Reverted { reason, data }
            if kind == ActionKind::Draw
                && revert_meaning(reason.as_deref(), data) == RevertMeaning::Unpayable =>
        {
            Ok(false)
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
