//! What the sender asks the chain: everything for one action from one endpoint at one block, and what became of it.

use std::time::Duration;

use crate::actors::sender::{Check, Order, Sender};
use crate::chain::error::{ErrorKind, RpcError};
use crate::chain::fees::Prices;
use crate::chain::method::Method;
use crate::chain::node::{CallRequest, Endpoint};
use crate::chain::tx::PendingTransaction;
use crate::chain::types::BlockRef;
use crate::chain::types::{BlockId, U256};
use crate::lottery::action::ActionKind;
use crate::lottery::contract::{action_calldata, revert_meaning, RevertMeaning};
use crate::lottery::send_state::{Included, SendState};

/// How long the other endpoints may take to show a receipt that one of them lost.
const RECEIPT_SEARCH: Duration = Duration::from_secs(2);

/// Everything read for one action, from one endpoint at one block.
pub(super) struct Gathered {
    pub(super) nonce: u64,
    pub(super) pending_nonce: u64,
    /// What is pending at `nonce`, where the node shows it.
    pub(super) rival: Option<PendingTransaction>,
    pub(super) balance_wei: U256,
    pub(super) prices: Prices,
    pub(super) estimate: Option<u64>,
    pub(super) block_gas_limit: u64,
    /// The block that all of it was read at.
    pub(super) head: BlockRef,
}

/// What the chain shows of the action in flight.
pub struct Seen {
    pub latest_nonce: u64,
    pub included: Option<Included>,
}

impl Sender {
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
        let mut seen = self
            .endpoints
            .with_endpoint(&[Method::TransactionCount], ask)?;
        if seen.latest_nonce > state.nonce && seen.included.is_none() {
            // One endpoint may have lost the receipt: the others are asked before it is believed.
            let searched = state.clone();
            let answers = self
                .endpoints
                .ask_each(&[Method::TransactionReceipt], move |endpoint| {
                    included_at(endpoint, &searched)
                });
            let deadline = self.endpoints.clock().now() + RECEIPT_SEARCH;
            while let Some((_, answer)) = self.endpoints.next_answer(&answers, Some(deadline)) {
                if let Ok(Some(included)) = answer {
                    seen.included = Some(included);
                    break;
                }
            }
        }
        Ok(seen)
    }

    pub(super) fn gather(&self, endpoint: &Endpoint, order: &Order) -> Result<Gathered, RpcError> {
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
            block_gas_limit: header.gas_limit.unwrap_or(u64::MAX),
            head: BlockRef::from(&header),
        })
    }

    /// Calls and estimates the action as the next block would run it: the gas where it can be known, an error when it
    /// would revert for a reason that sending cannot change.
    pub(super) fn preflight(
        &self,
        endpoint: &Endpoint,
        order: &Order,
        block: BlockId,
    ) -> Result<Option<u64>, RpcError> {
        let kind = order.kind;
        let time = Some(order.next_block_time);
        let request =
            CallRequest::to(self.settings.contract, action_calldata(kind)).from(self.address());
        let overrides = endpoint.block_overrides();
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
            Err(error) if matches!(error.kind, ErrorKind::Reverted { .. }) => {
                tolerate_unpayable_draw(error, kind).map(|()| None)
            }
            // The formula's gas does as well.
            Err(_) => Ok(None),
        }
    }

    pub(super) fn prices(
        &self,
        endpoint: &Endpoint,
        base_fee_wei: Option<U256>,
    ) -> Result<Prices, RpcError> {
        let Some(base_fee_wei) = base_fee_wei.filter(|_| !self.legacy) else {
            return Ok(Prices::Legacy {
                gas_price_wei: endpoint.gas_price_wei()?,
            });
        };
        // Both calls are missing on some nodes; the head's base fee and a tip of 1 wei are always there.
        let history = endpoint.fee_history();
        let suggested_tip_wei = endpoint.max_priority_fee_wei();
        Ok(Prices::Dynamic {
            next_base_fee_wei: history
                .as_ref()
                .and_then(|history| history.next_base_fee_wei)
                .unwrap_or(base_fee_wei),
            median_reward_wei: history.and_then(|history| history.median_reward_wei),
            suggested_tip_wei,
        })
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
