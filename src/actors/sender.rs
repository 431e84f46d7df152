//! Signs and sends: everything an action needs is read from one endpoint at one block in one round trip, checked, priced
//! and signed here; handing it to the nodes and curing their refusals lies in `broadcast`, what is asked before signing in
//! `preflight`, who is asked in `reads`, whose word counts in `opinions` and `nonces`, what can be done without in `extras`,
//! how much gas an action is given in `gas`, questions about what has happened in `inquiry`, what the owner should know in
//! `warnings`. It decides nothing about rounds and remembers nothing but what it learned of the chain (legacy fees, a cap on
//! gas), the last balance, the next nonce, and whose word the last action rests on.

mod broadcast;
mod extras;
mod gas;
mod inquiry;
mod nonces;
mod opinions;
mod preflight;
mod reads;
mod warnings;

use std::time::{Duration, Instant};

use thiserror::Error;

use crate::actors::sender::nonces::Nonces;
use crate::actors::sender::preflight::{Gathered, Told};
use crate::chain::endpoints::Endpoints;
use crate::chain::error::{ErrorKind, RpcError};
use crate::chain::fees::{bump, quote, FeeLimits, Quote, TooMuchGas};
use crate::chain::node::Endpoint;
use crate::chain::signer::{Signer, SignerError};
use crate::chain::tx::{PendingTransaction, Transaction};
use crate::chain::types::{Address, BlockRef, H256, U256};
use crate::lottery::action::ActionKind;
use crate::lottery::contract::{action_calldata, revert_meaning, RevertMeaning};
use crate::lottery::decision::PendingTime;
use crate::lottery::round::Round;
use crate::lottery::send_state::{Room, SendState, Variant};

pub(crate) use broadcast::Broadcast;
pub(crate) use gas::DRAW_GAS;
pub(crate) use inquiry::RevertCause;
pub(crate) use opinions::ToldTime;
pub(crate) use warnings::Note;

/// Once one endpoint objects to a transaction, how long another may take to see it otherwise.
const SECOND_OPINION: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub struct SenderSettings {
    pub contract: Address,
    pub chain_id: u64,
    pub limits: FeeLimits,
    pub gas_multiplier: f64,
}

pub struct Sender {
    signer: Signer,
    /// When the signer last failed, with why; None since it last signed.
    signer_failure: Option<(Instant, SignerError)>,
    endpoints: Endpoints,
    settings: SenderSettings,
    balance_wei: Option<U256>,
    /// This chain takes no EIP-1559 transactions.
    legacy: bool,
    /// A node has refused more gas than EIP-7825 allows.
    gas_capped: bool,
    /// The gas that a block has room for, as it was told last.
    block_gas_limit: Option<u64>,
    /// The head that was last asked for it while bets are taken.
    room_asked_at: Option<H256>,
    /// A node has refused a transaction that might cost more than this.
    node_cap_wei: Option<U256>,
    /// The nonce at which a limit on fees was last logged.
    capped_at_nonce: Option<u64>,
    /// Whose word the last action rests on.
    source: Option<Endpoint>,
    nonces: Nonces,
}

/// What can be signed, by what one endpoint told.
struct Offer {
    gathered: Gathered,
    room: Room,
    quote: Quote,
    /// The balance that it told does not pay for it. What a draw is worth is not lost to one figure that may be wrong: the
    /// pool has the last word.
    doubt: Option<NotSigned>,
}

impl Offer {
    fn nonce(&self) -> u64 {
        self.gathered.nonce
    }
}

/// One action to prepare.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    pub kind: ActionKind,
    pub round: &'a Round,
    pub head: BlockRef,
    /// What the mining block's time is expected to be.
    pub next_block_time: u64,
    /// What a node said of that block, where it was asked since the head stands.
    pub(crate) pending: PendingTime,
    pub check: Check,
    /// What the round's earlier transactions left of the most that it may cost.
    pub spend_max_wei: U256,
    /// A pending transaction of this key that does the same is outbid, not waited for.
    pub outbid_twin: bool,
    /// What is still out of an earlier round, at a nonce that this action may have to take over.
    pub over: Option<&'a SendState>,
}

/// How an action is checked before it is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// By calls at the head.
    Called,
    /// By calls at a head before the one that allows it: that it is too early is no objection, and more players may come.
    Ahead,
    /// Not at all, since nobody answers calls; sent only while the newest head's time lies in here.
    Unchecked { earliest: u64, latest: u64 },
}

/// Why nothing was signed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NotSigned {
    #[error("it would revert: {}", reason.as_deref().unwrap_or("without a reason: a player cannot be paid"))]
    Reverts {
        meaning: RevertMeaning,
        reason: Option<String>,
    },
    #[error("the chain cannot be asked: {}", .0.public())]
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
    #[error("{0}")]
    Signer(#[from] SignerError),
    #[error("the head's time {head_timestamp} does not allow it any more, or not yet")]
    OutsideWindow { head_timestamp: u64 },
}

impl NotSigned {
    /// Only a person can help, or a change on the chain.
    pub(crate) fn is_blocking(&self) -> bool {
        matches!(
            self,
            NotSigned::Reverts {
                meaning: RevertMeaning::Hopeless,
                ..
            } | NotSigned::TooMuchGas { .. }
                | NotSigned::InsufficientFunds { .. }
                | NotSigned::RoundTooCostly { .. }
        )
    }

    /// The reason without its numbers: the same words for as long as it is the same reason.
    pub fn class(&self) -> String {
        match self {
            NotSigned::Reverts { reason, .. } => match reason {
                Some(reason) => format!("the contract says \"{reason}\""),
                None => "a player cannot be paid".to_owned(),
            },
            NotSigned::Unreachable(_) => "no endpoint answers".to_owned(),
            NotSigned::TooMuchGas { .. } => "more gas than a transaction may use".to_owned(),
            NotSigned::InsufficientFunds { .. } => "the balance does not pay the gas".to_owned(),
            NotSigned::RoundTooCostly { .. } => "max_tx_fee_ether of the round is spent".to_owned(),
            NotSigned::TwinPending { .. } => "the same transaction is pending already".to_owned(),
            NotSigned::OutsideWindow { .. } => "outside the window".to_owned(),
            NotSigned::Signer(_) => "the signer does not sign".to_owned(),
        }
    }
}

impl From<RpcError> for NotSigned {
    fn from(error: RpcError) -> NotSigned {
        match &error.kind {
            ErrorKind::Reverted { reason, data } if error.is_final() => NotSigned::Reverts {
                meaning: revert_meaning(reason.as_deref(), data),
                reason: reason.clone(),
            },
            _ => NotSigned::Unreachable(error),
        }
    }
}

/// A signed first transaction, not sent yet.
#[derive(Debug)]
pub struct Prepared {
    pub state: SendState,
    pub notes: Vec<Note>,
    /// Why no pool may take it, as far as the endpoints tell. One that refuses it too is to be believed.
    pub doubt: Option<NotSigned>,
}

impl Sender {
    pub fn new(signer: Signer, endpoints: Endpoints, settings: SenderSettings) -> Sender {
        Sender {
            signer,
            signer_failure: None,
            endpoints,
            settings,
            balance_wei: None,
            legacy: false,
            gas_capped: false,
            block_gas_limit: None,
            room_asked_at: None,
            node_cap_wei: None,
            capped_at_nonce: None,
            source: None,
            nonces: Nonces::default(),
        }
    }

    pub fn address(&self) -> Address {
        self.signer.address()
    }

    /// As of the last action or rehearsal.
    pub fn balance_wei(&self) -> Option<U256> {
        self.balance_wei
    }

    /// Checks, prices and signs the action's first transaction.
    ///
    /// # Errors
    /// Why nothing was signed.
    pub(crate) fn prepare(&mut self, order: &Order, now: Instant) -> Result<Prepared, NotSigned> {
        let (source, offer) = self.opinion(order)?;
        self.source = Some(source);
        let Offer {
            gathered,
            room,
            quote,
            doubt,
        } = offer;
        self.balance_wei = gathered.balance_wei.or(self.balance_wei);
        self.block_gas_limit = gathered.block_gas_limit.or(self.block_gas_limit);
        let variant = self.sign(order.kind, gathered.nonce, room, quote)?;
        let round = order.round;
        let state = SendState::begin(round.round_id, gathered.nonce, variant, gathered.head, now);
        Ok(Prepared {
            state,
            notes: self.notes(&gathered, quote, round),
            doubt,
        })
    }

    /// How long it takes to hear what the order would be checked by, whatever that is.
    pub(crate) fn time_check(&mut self, order: &Order) -> Duration {
        let started = self.endpoints.clock().now();
        if let Err(why) = self.opinion(order) {
            log::debug!("the check was timed, and says: {why}");
        }
        let ended = self.endpoints.clock().now();
        ended.saturating_duration_since(started)
    }

    /// What follows from what one endpoint told: an offer, or why there is none.
    fn judge(&self, order: &Order, told: Told) -> Result<Offer, NotSigned> {
        let kind = order.kind;
        let gathered = told?;
        if let Check::Unchecked { earliest, latest } = order.check {
            let head_timestamp = gathered.head.timestamp;
            if !(earliest..=latest).contains(&head_timestamp) {
                return Err(NotSigned::OutsideWindow { head_timestamp });
            }
        }
        let room = self.room(order, &gathered)?;
        let gas = room.gas;
        let needed_wei = gathered.prices.least_cost_wei(gas);
        let paying = paying(gathered.balance_wei, needed_wei);
        let too_little = gathered.balance_wei.filter(|_| paying.is_none());
        let doubt = too_little.map(|balance_wei| NotSigned::InsufficientFunds {
            balance_wei,
            needed_wei,
        });
        if order.spend_max_wei < needed_wei {
            return Err(NotSigned::RoundTooCostly {
                left_wei: order.spend_max_wei,
                needed_wei,
            });
        }
        let nonce = gathered.nonce;
        let limits = self.limits(order.spend_max_wei);
        let rival = gathered.rival.as_ref();
        let is_twin = rival.is_some_and(|rival| self.is_twin(rival, kind));
        if is_twin && !order.outbid_twin && order.over.is_none() {
            return Err(NotSigned::TwinPending { nonce });
        }
        let over = order.over.filter(|over| over.nonce == nonce);
        let holds = over.and_then(SendState::newest).map(|newest| newest.fee);
        let holds = match (rival.map(|rival| rival.fee), holds) {
            (Some(one), Some(other)) if one.cap_wei() > other.cap_wei() => Some(one),
            (one, other) => other.or(one),
        };
        let quote = match holds {
            Some(fee) => bump(fee, &gathered.prices, &limits, gas, paying),
            None => quote(&gathered.prices, &limits, gas, paying),
        };
        Ok(Offer {
            gathered,
            room,
            quote,
            doubt,
        })
    }

    /// What the last action rests on has turned out to be doubtful: whoever told it is asked after the others for a while.
    pub(crate) fn doubt_source(&mut self) {
        if let Some(source) = self.source.take() {
            self.endpoints.set_back(&source);
        }
    }

    /// The same of its nonce, which is not the next, or not any more; `used` where a pool says that it is used.
    pub(crate) fn doubt_nonce(&mut self, used: Option<u64>) {
        match used {
            Some(nonce) => self.nonces.note_used(nonce),
            None => self.nonces.forget(),
        }
        self.doubt_source();
    }

    /// A transaction of this nonce was mined.
    pub(crate) fn note_mined(&mut self, nonce: u64) {
        self.nonces.note_mined(nonce);
    }

    fn sign(
        &mut self,
        kind: ActionKind,
        nonce: u64,
        room: Room,
        offered: Quote,
    ) -> Result<Variant, SignerError> {
        let to = match kind {
            ActionKind::Cancel => self.signer.address(),
            _ => self.settings.contract,
        };
        let transaction = Transaction {
            chain_id: self.settings.chain_id,
            nonce,
            to,
            value_wei: U256::zero(),
            data: action_calldata(kind),
            gas_limit: room.gas,
            fee: offered.fee,
        };
        let signed = self.signer.sign(&transaction);
        self.note_signer(signed.as_ref().err());
        let signed = signed?;
        Ok(Variant {
            kind,
            hash: signed.hash,
            raw: signed.raw,
            fee: offered.fee,
            room,
        })
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
}

/// The balance where it pays this, so that prices keep within it. One that does not says nothing of what can be offered: the
/// pool knows better.
fn paying(balance_wei: Option<U256>, needed_wei: U256) -> Option<U256> {
    balance_wei.filter(|wei| *wei >= needed_wei)
}
