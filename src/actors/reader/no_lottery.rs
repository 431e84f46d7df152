//! What is said of the contract's address where the round cannot be read there.

use crate::actors::reader::Reader;
use crate::chain::error::{ErrorKind, RpcError};
use crate::chain::node::Endpoint;
use crate::chain::types::{to_checksum, BlockId};

impl Reader {
    /// What stands at the contract's address instead of the lottery, where that is why the round cannot be read.
    pub(super) fn why_no_lottery(
        &self,
        endpoint: &Endpoint,
        block: BlockId,
        error: &RpcError,
    ) -> Option<String> {
        let fault = match &error.kind {
            ErrorKind::Reverted { .. } => "getRound() reverted",
            // Of a call that was answered: what an endpoint spoils says nothing of the contract.
            ErrorKind::InvalidAnswer if error.method.is_none() => {
                "getRound() answers something else"
            }
            _ => return None,
        };
        let address = to_checksum(&self.contract);
        match endpoint.code(self.contract, block).ok()?.is_empty() {
            true => Some(format!(
                "no contract at {address} on chain {}",
                self.chain_id
            )),
            false => Some(format!(
                "the contract at {address} is not the lottery: {fault}"
            )),
        }
    }
}

#[cfg(test)]
mod tests;
