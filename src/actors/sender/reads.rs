//! Whom the sender asks: for everything that one action needs, the best endpoint and soon the next; for what became of
//! what is out, each that may know. The questions before signing are in `preflight`.

use std::sync::Arc;
use std::time::Duration;

use crate::actors::sender::preflight::{Preflight, Told, TO_PREPARE, TO_PREPARE_WELL};
use crate::actors::sender::{Check, Order, Sender, SECOND_OPINION};
use crate::chain::endpoints::Hedge;
use crate::chain::error::RpcError;
use crate::chain::method::Method;
use crate::chain::node::{Endpoint, Purpose};
use crate::chain::query;
use crate::chain::together::Ticket;
use crate::chain::types::{BlockId, BlockRef, CallRequest, Receipt, H256, U256};
use crate::lottery::action::ActionKind;
use crate::lottery::contract::action_calldata;
use crate::lottery::send_state::{Included, Receipts, SendState};

/// How long an endpoint may take before the next is asked as well: a draw may be due.
pub(super) const PATIENCE: Duration = Duration::from_millis(400);
/// How long the other endpoints may take to show a receipt that one of them lost.
const RECEIPT_SEARCH: Duration = Duration::from_secs(2);
const TO_LOOK: &[Method] = &[Method::TransactionCount];
const TO_FIND_RECEIPTS: &[Method] = &[Method::TransactionReceipt];

/// What the chain shows of the action in flight; what could not be read is unknown.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) latest_nonce: Option<u64>,
    pub(crate) receipts: Receipts,
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
        // An objection of a quick endpoint waits for one that is slower and may see it otherwise.
        let by = |methods| {
            let hedge = Hedge::any(Purpose::Prepare, methods, PATIENCE);
            hedge.for_news(Told::is_ok, SECOND_OPINION)
        };
        let answer = self.endpoints.asked_by(&by(TO_PREPARE_WELL), whole);
        answer.or_else(|_| {
            let needed = move |endpoint: &Endpoint| preflight.ask_needed(endpoint);
            self.endpoints.asked_by(&by(TO_PREPARE), needed)
        })
    }

    pub(super) fn preflight(&self, order: &Order) -> Preflight {
        Preflight {
            kind: order.kind,
            account: self.address(),
            request: self.request(order.kind),
            head: order.head,
            next_block_time: order.next_block_time,
            pending: order.pending,
            is_called: order.check == Check::Called,
            is_legacy: self.legacy,
            met_silence: Arc::default(),
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
        let address = self.address();
        let count =
            move |endpoint: &Endpoint| endpoint.transaction_count(address, BlockId::from(head));
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
            Err(error) if !error.is_passing() => Ok((endpoint.clone(), None)),
            answer => answer.map(|time| (endpoint.clone(), Some(time))),
        };
        let (first, told) = self.endpoints.with_endpoint(&[], ask)?;
        // One that has no such block says nothing for the others.
        let another = || self.endpoints.with_another(&first, &[], ask)?.1;
        Ok(told.or_else(another))
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
