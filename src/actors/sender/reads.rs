//! What the sender asks the chain: everything for one action from one endpoint at one block, in one round trip where the
//! endpoint takes batches; and what became of what is out.

use std::time::Duration;

use crate::actors::sender::{Check, Order, Sender};
use crate::chain::error::{ErrorKind, RpcError};
use crate::chain::fees::{Prices, Tips};
use crate::chain::method::Method;
use crate::chain::node::{BlockOverrides, Endpoint};
use crate::chain::query;
use crate::chain::together::{Answers, Ticket, Together};
use crate::chain::tx::PendingTransaction;
use crate::chain::types::{
    BlockId, BlockRef, CallRequest, FeeHistory, Header, Receipt, H256, U256,
};
use crate::lottery::action::ActionKind;
use crate::lottery::contract::{action_calldata, revert_meaning, RevertMeaning};
use crate::lottery::send_state::{Included, Receipts, SendState};

/// How long the other endpoints may take to show a receipt that one of them lost.
const RECEIPT_SEARCH: Duration = Duration::from_secs(2);
/// What cannot be done without. All else that is asked beside it is asked of another endpoint first, then left out.
const TO_PREPARE: &[Method] = &[Method::Call, Method::TransactionCount];
const TO_LOOK: &[Method] = &[Method::TransactionCount];
const TO_FIND_RECEIPTS: &[Method] = &[Method::TransactionReceipt];

/// Everything read for one action, from one endpoint at one block.
pub(super) struct Gathered {
    pub(super) nonce: u64,
    pub(super) pending_nonce: u64,
    /// What is pending at `nonce`, where the node shows it.
    pub(super) rival: Option<PendingTransaction>,
    /// None where no endpoint tells it.
    pub(super) balance_wei: Option<U256>,
    pub(super) prices: Prices,
    pub(super) estimate: Option<u64>,
    /// None where no limit is known.
    pub(super) block_gas_limit: Option<u64>,
    /// The block that all of it was read at.
    pub(super) head: BlockRef,
}

/// What the chain shows of the action in flight; what could not be read is unknown.
#[derive(Debug)]
pub(crate) struct Seen {
    pub latest_nonce: Option<u64>,
    pub receipts: Receipts,
}

/// The questions about prices, on their way.
pub(super) struct PriceTickets {
    header: Ticket<Header>,
    history: Ticket<FeeHistory>,
    suggested_tip_wei: Ticket<U256>,
    gas_price_wei: Ticket<U256>,
}

/// The answers to them. The hints among them may be missing; the header is not, or says why.
pub(super) struct AskedPrices {
    pub(super) header: Result<Header, RpcError>,
    history: FeeHistory,
    suggested_tip_wei: Option<U256>,
    gas_price_wei: Result<U256, RpcError>,
}

impl PriceTickets {
    pub(super) fn add(together: &mut Together, block: BlockId) -> PriceTickets {
        PriceTickets {
            header: together.add(query::header(block)),
            history: together.add(query::fee_history()),
            suggested_tip_wei: together.add(query::max_priority_fee_wei()),
            gas_price_wei: together.add(query::gas_price_wei()),
        }
    }

    pub(super) fn take(self, answers: &mut Answers) -> AskedPrices {
        AskedPrices {
            header: answers.take(self.header),
            history: answers.take(self.history).unwrap_or_default(),
            suggested_tip_wei: answers.take(self.suggested_tip_wei).ok(),
            gas_price_wei: answers.take(self.gas_price_wei),
        }
    }
}

impl AskedPrices {
    /// Dynamic where a base fee is known and the chain takes such, else legacy.
    pub(super) fn prices(&self, legacy: bool) -> Result<Prices, RpcError> {
        let in_header = match &self.header {
            Ok(header) => header.base_fee_wei,
            Err(_) => None,
        };
        // A chain from before EIP-1559 may answer eth_feeHistory all the same, with base fees of 0.
        let in_history = self.history.next_base_fee_wei;
        let base_fee_wei = match in_header {
            Some(wei) => in_history.or(Some(wei)),
            None if self.header.is_err() => in_history.filter(|wei| !wei.is_zero()),
            None => None,
        };
        match base_fee_wei.filter(|_| !legacy) {
            Some(next_base_fee_wei) => Ok(Prices::Dynamic {
                next_base_fee_wei,
                tips: Tips {
                    median_reward_wei: self.history.median_reward_wei,
                    high_reward_wei: self.history.high_reward_wei,
                    suggested_wei: self.suggested_tip_wei,
                    gas_price_wei: self.gas_price_wei.clone().ok(),
                },
            }),
            None => Ok(Prices::Legacy {
                gas_price_wei: self.gas_price_wei.clone()?,
            }),
        }
    }
}

/// The questions of a preflight, on their way.
struct CheckTickets {
    call: Ticket<Vec<u8>>,
    /// Where no time can be overridden: the same at the head itself.
    at_head: Option<Ticket<Vec<u8>>>,
    estimate: Option<Ticket<u64>>,
}

impl Sender {
    /// Reads everything that the order needs. What one endpoint does not tell is asked of the next, all of it anew; only
    /// when none tells it, what an action can do without is left out.
    pub(super) fn gather(&self, order: &Order) -> Result<Gathered, RpcError> {
        let whole = |endpoint: &Endpoint| self.gather_from(endpoint, order, true);
        match self.endpoints.with_endpoint(TO_PREPARE, whole) {
            Err(error) if !error.is_final() && !error.is_passing() => {
                self.endpoints.with_endpoint(TO_PREPARE, |endpoint| {
                    self.gather_from(endpoint, order, false)
                })
            }
            gathered => gathered,
        }
    }

    fn gather_from(
        &self,
        endpoint: &Endpoint,
        order: &Order,
        is_whole: bool,
    ) -> Result<Gathered, RpcError> {
        let address = self.key.address();
        let is_called = order.check == Check::Called;
        // The head that the store knows may be long gone when nobody has answered for a while.
        let block = match is_called {
            true => exactly(order.head),
            false => BlockId::Latest,
        };
        let overrides = match is_called {
            true => Some(endpoint.block_overrides()),
            false => None,
        };
        let mut together = endpoint.together();
        let check = overrides.map(|overrides| self.ask_check(&mut together, order, overrides));
        let nonce = together.add(query::transaction_count(address, block));
        let pending_nonce = together.add(query::transaction_count(address, BlockId::Pending));
        let balance = together.add(query::balance(address, block));
        let prices = PriceTickets::add(&mut together, block);
        let mut answers = together.send()?;

        let estimate = match check {
            Some(check) => check.take(&mut answers, order)?,
            None => None,
        };
        let nonce = answers.take(nonce)?;
        // Nodes without a pending state show no gap.
        let pending_nonce = answers.take(pending_nonce).unwrap_or(nonce);
        let balance_wei = match answers.take(balance) {
            Err(error) if is_whole => return Err(error),
            balance => balance.ok(),
        };
        let asked = prices.take(&mut answers);
        let header = match &asked.header {
            Err(error) if is_whole || !is_called => return Err(error.clone()),
            header => header.as_ref().ok(),
        };
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
            balance_wei,
            prices: self.prices(&asked)?,
            estimate,
            block_gas_limit: header.and_then(|header| header.gas_limit),
            head: header.map_or(order.head, BlockRef::from),
        })
    }

    /// Calls and estimates the action as the next block would run it.
    fn ask_check(
        &self,
        together: &mut Together,
        order: &Order,
        overrides: BlockOverrides,
    ) -> CheckTickets {
        let request = self.request(order.kind);
        let (block, time) = (exactly(order.head), Some(order.next_block_time));
        if !overrides.call {
            return CheckTickets {
                call: together.add(query::call(&request, BlockId::Pending, None)),
                at_head: Some(together.add(query::call(&request, block, None))),
                estimate: None,
            };
        }
        let estimate = || together.add(query::estimate_gas(&request, block, time));
        let estimate = overrides.estimate.then(estimate);
        CheckTickets {
            call: together.add(query::call(&request, block, time)),
            at_head: None,
            estimate,
        }
    }

    pub(super) fn request(&self, kind: ActionKind) -> CallRequest {
        let to = match kind {
            ActionKind::Cancel => self.address(),
            _ => self.settings.contract,
        };
        CallRequest::to(to, action_calldata(kind)).from(self.address())
    }

    /// Nonce and receipts, the nonce at this very head: an endpoint that lags says nothing. While the nonce is open, no
    /// variant can have been mined.
    pub(crate) fn look(&self, state: &SendState, head: BlockRef) -> Seen {
        let address = self.key.address();
        let count = |endpoint: &Endpoint| endpoint.transaction_count(address, exactly(head));
        let latest_nonce = match self.endpoints.with_endpoint(TO_LOOK, count) {
            Ok(nonce) => Some(nonce),
            Err(error) => {
                log::debug!("the nonce at block {} cannot be read: {error}", head.number);
                None
            }
        };
        let receipts = match latest_nonce {
            Some(latest_nonce) if latest_nonce <= state.nonce => Receipts::None,
            _ => self.receipts(state),
        };
        Seen {
            latest_nonce,
            receipts,
        }
    }

    /// One endpoint may have lost the receipt, or may not be able to read any: the others are asked before it is believed.
    fn receipts(&self, state: &SendState) -> Receipts {
        let offered: Vec<(H256, U256)> = state
            .variants()
            .iter()
            .map(|variant| (variant.hash, variant.fee.cap_wei()))
            .collect();
        let first = |endpoint: &Endpoint| included_at(endpoint, &offered);
        let mut found = match self.endpoints.with_endpoint(TO_FIND_RECEIPTS, first) {
            Ok(Some(included)) => return Receipts::Found(included),
            Ok(None) => Receipts::None,
            Err(error) => {
                log::debug!("receipts cannot be read: {error}");
                Receipts::Unknown
            }
        };
        if self.endpoints.list().len() == 1 {
            return found;
        }
        let deadline = self.endpoints.clock().now() + RECEIPT_SEARCH;
        let answers = self.endpoints.ask_each(TO_FIND_RECEIPTS, move |endpoint| {
            included_at(endpoint, &offered)
        });
        while let Some((_, answer)) = self.endpoints.next_answer(&answers, Some(deadline)) {
            match answer {
                Ok(Some(included)) => return Receipts::Found(included),
                Ok(None) => found = Receipts::None,
                Err(_) => {}
            }
        }
        found
    }

    /// The timestamp that a node gives its pending block; None where nodes answer but have no such block.
    ///
    /// # Errors
    /// When no endpoint answers.
    pub(crate) fn pending_time(&self) -> Result<Option<u64>, RpcError> {
        let ask = |endpoint: &Endpoint| match endpoint.pending_timestamp() {
            Err(error) if !error.is_passing() => Ok(None),
            answer => answer.map(Some),
        };
        self.endpoints.with_endpoint(&[], ask)
    }
}

impl CheckTickets {
    /// The gas where it can be known; an error when the action would revert for a reason that sending cannot change.
    fn take(self, answers: &mut Answers, order: &Order) -> Result<Option<u64>, RpcError> {
        let called = answers.take(self.call);
        let at_head = self.at_head.map(|ticket| answers.take(ticket));
        let estimated = self.estimate.map(|ticket| answers.take(ticket));
        let called = match (called, at_head) {
            // Without a pending block the head itself serves, where its own time allows the action.
            (Err(error), Some(at_head)) if !error.is_final() => at_head,
            (called, _) => called,
        };
        if let Err(error) = called {
            return tolerate_unpayable_draw(error, order.kind).map(|()| None);
        }
        match estimated {
            Some(Ok(gas)) => Ok(Some(gas)),
            Some(Err(error)) if error.is_final() => {
                tolerate_unpayable_draw(error, order.kind).map(|()| None)
            }
            // An estimate is a hint: the formula does as well.
            Some(Err(_)) | None => Ok(None),
        }
    }
}

pub(super) fn exactly(head: BlockRef) -> BlockId {
    BlockId::Exactly {
        number: head.number,
        hash: head.hash,
    }
}

/// Looks for a canonical receipt among all variants, given with the most that each offers a unit of gas; newest first.
fn included_at(
    endpoint: &Endpoint,
    offered: &[(H256, U256)],
) -> Result<Option<Included>, RpcError> {
    let mut together = endpoint.together();
    let tickets: Vec<(Ticket<Option<Receipt>>, U256)> = offered
        .iter()
        .rev()
        .map(|(hash, cap_wei)| (together.add(query::receipt(*hash)), *cap_wei))
        .collect();
    let mut answers = together.send()?;
    let mut unread = None;
    for (ticket, cap_wei) in tickets {
        let receipt = match answers.take(ticket) {
            Ok(Some(receipt)) => receipt,
            Ok(None) => continue,
            Err(error) => {
                unread = Some(error);
                continue;
            }
        };
        let header = endpoint.header(BlockId::Number(receipt.block_number))?;
        if header.hash != receipt.block_hash {
            continue;
        }
        return Ok(Some(Included {
            hash: receipt.transaction_hash,
            block_number: receipt.block_number,
            block_hash: receipt.block_hash,
            succeeded: receipt.succeeded,
            gas_used: receipt.gas_used,
            // Where the node does not tell, no less is counted than it can have been.
            effective_gas_price_wei: receipt.effective_gas_price_wei.unwrap_or(cap_wei),
            l1_fee_wei: receipt.l1_fee_wei,
        }));
    }
    match unread {
        Some(error) => Err(error),
        None => Ok(None),
    }
}

/// What the contract said, where it was the contract that said no.
pub(super) fn meaning_of(error: &RpcError) -> Option<RevertMeaning> {
    match &error.kind {
        ErrorKind::Reverted { reason, data } => Some(revert_meaning(reason.as_deref(), data)),
        _ => None,
    }
}

/// A draw that cannot pay this block's winner may pay another block's: it is sent all the same.
fn tolerate_unpayable_draw(error: RpcError, kind: ActionKind) -> Result<(), RpcError> {
    let is_unpayable = meaning_of(&error) == Some(RevertMeaning::Unpayable);
    match kind == ActionKind::Draw && is_unpayable {
        true => Ok(()),
        false => Err(error),
    }
}
