//! One signed transaction of an action, and what it cost where it was mined.

use crate::chain::fees::Fee;
use crate::chain::types::{Receipt, H256, U256};
use crate::lottery::action::ActionKind;

/// One signed transaction of the action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    pub kind: ActionKind,
    pub hash: H256,
    pub raw: Vec<u8>,
    pub fee: Fee,
    pub room: Room,
}

/// The gas that an action is given, and for how many players of its round that suffices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub gas: u64,
    /// The largest number where the gas does not depend on them.
    pub players_max: u64,
}

impl Variant {
    /// The most that it can cost.
    pub(crate) fn worst_wei(&self) -> U256 {
        self.fee.cap_wei().saturating_mul(U256::from(self.room.gas))
    }

    /// What it cost in a block with that base fee. Nobody's word for it is taken beyond what was offered, or, for publishing
    /// it on the chain below, beyond `l1_fee_max_wei`: a cap on what is spent is neither evaded nor reached by a lie.
    pub(crate) fn cost(
        &self,
        receipt: &Receipt,
        base_fee_wei: Option<U256>,
        l1_fee_max_wei: U256,
    ) -> Cost {
        // 0 where a pool did not tell the limit of what it held.
        let is_within = |gas: &u64| self.room.gas == 0 || *gas <= self.room.gas;
        let gas = Some(receipt.gas_used).filter(|gas| *gas > 0 && is_within(gas));
        let price_wei = self
            .fee
            .paid_wei(receipt.effective_gas_price_wei, base_fee_wei);
        let l1_fee_wei = receipt.l1_fee_wei.filter(|wei| *wei <= l1_fee_max_wei);
        let gas_wei = price_wei
            .unwrap_or_else(|| self.fee.most_paid_wei(base_fee_wei))
            .saturating_mul(U256::from(gas.unwrap_or(self.room.gas)));
        Cost {
            // An unknown fee below is counted as what was offered for the gas: nothing else says how large it may be.
            wei: gas_wei.saturating_add(l1_fee_wei.unwrap_or_else(|| self.worst_wei())),
            is_told: gas.is_some() && price_wei.is_some() && l1_fee_wei.is_some(),
        }
    }
}

/// What a mined transaction cost its sender in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    pub wei: U256,
    /// False where the receipt leaves a part of it unknown, of which the most that was offered is counted.
    pub is_told: bool,
}

/// A variant's receipt in a canonical block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Included {
    pub hash: H256,
    pub block_number: u64,
    pub block_hash: H256,
    pub succeeded: bool,
    pub gas_used: u64,
    pub cost: Cost,
}

impl Included {
    /// How much one endpoint's word of it is worth: a failure may have been none, a cost may have been another.
    pub(crate) fn worth(&self) -> (bool, bool) {
        (self.succeeded, self.cost.is_told)
    }
}
