//! What the sender asks the chain: everything for one action from one endpoint at one block, in one round trip where the
//! endpoint takes batches; and what became of what is out.

use std::time::Duration;

use crate::actors::sender::extras::{ExtraQuestions, ExtraTickets, Extras};
use crate::actors::sender::{Check, Order, Sender};
use crate::chain::error::{ErrorKind, RpcError};
use crate::chain::fees::Prices;
use crate::chain::method::Method;
use crate::chain::node::{BlockOverrides, Endpoint, Purpose};
use crate::chain::query;
use crate::chain::together::{Answers, Ticket, Together};
use crate::chain::tx::PendingTransaction;
use crate::chain::types::{Address, BlockId, BlockRef, CallRequest, Receipt, H256, U256};
use crate::lottery::action::ActionKind;
use crate::lottery::contract::{action_calldata, revert_meaning, RevertMeaning};
use crate::lottery::send_state::{Included, Receipts, SendState};

/// How long an endpoint may take before the next is asked as well: a draw may be due.
pub(super) const PATIENCE: Duration = Duration::from_millis(400);
/// How long the other endpoints may take to show a receipt that one of them lost.
const RECEIPT_SEARCH: Duration = Duration::from_secs(2);
/// What is better with than without. What one endpoint does not tell of it is asked of another first, then left out.
pub(super) const TO_PREPARE_WELL: &[Method] = &[
    Method::Call,
    Method::TransactionCount,
    Method::GetBalance,
    Method::BlockByHash,
];
/// What cannot be done without.
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

/// What an endpoint says to an action: a refusal of the contract's is an answer too.
pub(super) type Told = Result<Gathered, RpcError>;

/// What the chain shows of the action in flight; what could not be read is unknown.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) latest_nonce: Option<u64>,
    pub(crate) receipts: Receipts,
}

/// Everything that is asked before an action is signed. It owns what it is about, so that several endpoints can be asked
/// at once.
#[derive(Clone)]
pub(super) struct Preflight {
    kind: ActionKind,
    account: Address,
    request: CallRequest,
    head: BlockRef,
    next_block_time: u64,
    is_called: bool,
    is_legacy: bool,
}

/// The questions of a preflight, on their way.
struct CheckTickets {
    call: Ticket<Vec<u8>>,
    /// Where no time can be overridden: the same at the head itself.
    at_head: Option<Ticket<Vec<u8>>>,
}

impl Preflight {
    /// With the answer to every question, or an error: so that another endpoint is asked which has them all.
    pub(super) fn ask_whole(&self, endpoint: &Endpoint) -> Result<Told, RpcError> {
        self.told(self.gather(endpoint, true))
    }

    /// With what it needs, and whatever else is told.
    pub(super) fn ask_needed(&self, endpoint: &Endpoint) -> Result<Told, RpcError> {
        self.told(self.gather(endpoint, false))
    }

    fn told(&self, gathered: Result<Gathered, RpcError>) -> Result<Told, RpcError> {
        match gathered {
            Err(error) if !error.is_final() => Err(error),
            told => Ok(told),
        }
    }

    fn gather(&self, endpoint: &Endpoint, is_whole: bool) -> Result<Gathered, RpcError> {
        // The head that the store knows may be long gone when nobody has answered for a while.
        let block = match self.is_called {
            true => exactly(self.head),
            false => BlockId::Latest,
        };
        let overrides = self.is_called.then(|| endpoint.block_overrides());
        let questions = ExtraQuestions {
            account: self.account,
            request: self.request.clone(),
            at: block,
            estimate_at: overrides
                .filter(|overrides| overrides.call && overrides.estimate)
                .map(|_| Some(self.next_block_time)),
        };
        let mut together = endpoint.together();
        let check = overrides.map(|overrides| self.add_check(&mut together, overrides));
        let nonce = together.add(query::transaction_count(self.account, block));
        let pending = query::transaction_count(self.account, BlockId::Pending);
        let pending_nonce = together.add(pending);
        let beside: Option<ExtraTickets> =
            is_whole.then(|| questions.add(&mut together, endpoint, |_| true));
        let mut answers = together.send()?;

        let is_unpayable = match check {
            Some(check) => check.take(&mut answers, self.kind)? == Passes::Unpayable,
            None => false,
        };
        let nonce = answers.take(nonce)?;
        // Nodes without a pending state show no gap.
        let pending_nonce = answers.take(pending_nonce).unwrap_or(nonce);
        let mut extras = Extras::default();
        match beside {
            Some(tickets) => extras.take(tickets, &mut answers),
            None => extras = questions.ask(endpoint),
        }
        if let Some(error) = extras.refusal.take() {
            tolerate_unpayable_draw(error, self.kind)?;
        }
        let is_short = extras.header.is_none() || extras.balance_wei.is_none();
        if is_whole && is_short || !self.is_called && extras.header.is_none() {
            let unknown = || RpcError::invalid_answer("the head or the balance is not told");
            return Err(extras.missing.unwrap_or_else(unknown));
        }
        let rival = match pending_nonce > nonce {
            true => endpoint
                .pending_transaction(self.account, nonce)
                .unwrap_or_default(),
            false => None,
        };
        let header = extras.header.as_ref();
        Ok(Gathered {
            nonce,
            pending_nonce,
            rival,
            balance_wei: extras.balance_wei,
            prices: extras.prices(self.is_legacy)?,
            estimate: extras.estimate.filter(|_| !is_unpayable),
            block_gas_limit: header.and_then(|header| header.gas_limit),
            head: header.map_or(self.head, BlockRef::from),
        })
    }

    /// Calls the action as the next block would run it.
    fn add_check(&self, together: &mut Together, overrides: BlockOverrides) -> CheckTickets {
        let (request, block) = (&self.request, exactly(self.head));
        if !overrides.call {
            return CheckTickets {
                call: together.add(query::call(request, BlockId::Pending, None)),
                at_head: Some(together.add(query::call(request, block, None))),
            };
        }
        CheckTickets {
            call: together.add(query::call(request, block, Some(self.next_block_time))),
            at_head: None,
        }
    }
}

impl Sender {
    /// Asks for all that the order needs, the next endpoint as well where the first lets it wait. What one endpoint does
    /// not tell is asked of the next, all of it anew; only when none tells it, what an action can do without is left out.
    ///
    /// # Errors
    /// When no endpoint tells what the action needs.
    pub(super) fn gather(&self, order: &Order) -> Result<(Endpoint, Told), RpcError> {
        let preflight = self.preflight(order);
        let whole = {
            let preflight = preflight.clone();
            move |endpoint: &Endpoint| preflight.ask_whole(endpoint)
        };
        let purpose = Purpose::Prepare;
        let answer = self
            .endpoints
            .hedged(purpose, TO_PREPARE_WELL, PATIENCE, whole);
        answer.or_else(|_| {
            let needed = move |endpoint: &Endpoint| preflight.ask_needed(endpoint);
            self.endpoints.hedged(purpose, TO_PREPARE, PATIENCE, needed)
        })
    }

    pub(super) fn preflight(&self, order: &Order) -> Preflight {
        Preflight {
            kind: order.kind,
            account: self.address(),
            request: self.request(order.kind),
            head: order.head,
            next_block_time: order.next_block_time,
            is_called: order.check == Check::Called,
            is_legacy: self.legacy,
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
        let count = move |endpoint: &Endpoint| endpoint.transaction_count(address, exactly(head));
        let counted = self
            .endpoints
            .hedged(Purpose::Prepare, TO_LOOK, PATIENCE, count);
        let latest_nonce = match counted {
            Ok((_, nonce)) => Some(nonce),
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
        let ask = move |endpoint: &Endpoint| included_at(endpoint, &offered);
        let first =
            self.endpoints
                .hedged(Purpose::Prepare, TO_FIND_RECEIPTS, PATIENCE, ask.clone());
        let mut found = match first {
            Ok((_, Some(included))) => return Receipts::Found(included),
            Ok((_, None)) => Receipts::None,
            Err(error) => {
                log::debug!("receipts cannot be read: {error}");
                Receipts::Unknown
            }
        };
        if self.endpoints.list().len() == 1 {
            return found;
        }
        let deadline = self.endpoints.clock().now() + RECEIPT_SEARCH;
        let answers = self
            .endpoints
            .ask_each((Purpose::Act, None), TO_FIND_RECEIPTS, ask);
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

/// How a call went that does not forbid to send.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Passes {
    Well,
    /// It cannot pay this block's winner.
    Unpayable,
}

impl CheckTickets {
    /// An error when the action would revert for a reason that sending cannot change.
    fn take(self, answers: &mut Answers, kind: ActionKind) -> Result<Passes, RpcError> {
        let called = answers.take(self.call);
        let at_head = self.at_head.map(|ticket| answers.take(ticket));
        let called = match (called, at_head) {
            // Without a pending block the head itself serves, where its own time allows the action.
            (Err(error), Some(at_head)) if !error.is_final() => at_head,
            (called, _) => called,
        };
        match called {
            Ok(_) => Ok(Passes::Well),
            Err(error) => tolerate_unpayable_draw(error, kind).map(|()| Passes::Unpayable),
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
