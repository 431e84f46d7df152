//! Which lottery this is: the chain and the contract, by which answers that never change are told from those of another
//! deployment under the same address of the daemon.

use serde_json::{json, Value};

use crate::chain::types::{Address, H256};
use crate::lottery::snapshot::Snapshot;
use crate::web::view::{address, hash};

/// Of the genesis hash, so many hex digits name the chain.
const GENESIS_DIGITS: usize = 16;

/// What the configuration says of it.
#[derive(Clone, Debug, Default)]
pub struct Deployment {
    pub chain_id: u64,
    pub contract: Address,
    pub explorer_url: Option<String>,
}

impl Deployment {
    /// `chainId-contract-genesis`, the contract in lower case, the genesis hash without 0x and cut short: the value of `of`
    /// in requests for answers that may be kept for ever. None while the chain's first block is not known.
    pub fn name(&self, genesis: Option<H256>) -> Option<String> {
        let genesis = format!("{:x}", genesis?);
        let short = &genesis[..GENESIS_DIGITS];
        Some(format!("{}-{:#x}-{short}", self.chain_id, self.contract))
    }
}

/// `deployment` in GET /api/status and in the snapshot message.
pub fn deployment(deployment: &Deployment, snapshot: &Snapshot) -> Value {
    json!({
        "chainId": deployment.chain_id,
        "contract": address(deployment.contract),
        "explorerUrl": deployment.explorer_url,
        "genesis": snapshot.genesis.map(hash),
    })
}

/// GET /api/contract/address.
pub fn contract_address(deployment: &Deployment) -> Value {
    json!({
        "address": address(deployment.contract),
        "chainId": deployment.chain_id,
        "explorerUrl": deployment.explorer_url,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_has_a_name_once_its_chain_is_known() {
        let deployment = Deployment {
            chain_id: 31_337,
            contract: Address::repeat_byte(0xab),
            explorer_url: None,
        };
        assert_eq!(deployment.name(None), None);
        let expected = format!("31337-0x{}-{}", "ab".repeat(20), "cd".repeat(8));
        assert_eq!(
            deployment.name(Some(H256::repeat_byte(0xcd))),
            Some(expected)
        );
    }
}
