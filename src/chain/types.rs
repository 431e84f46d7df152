//! Blocks, logs and receipts as the daemon uses them: every field checked and typed, nothing of JSON left.

pub use ethabi::ethereum_types::{Address, Bloom, BloomInput, H256, U256};

/// A block by number, by hash (EIP-1898), or by tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockId {
    Number(u64),
    Hash(H256),
    /// One very block, for state calls: by its hash where the node takes that, else by its number with the hash checked.
    Exactly {
        number: u64,
        hash: H256,
    },
    Latest,
    Pending,
    Safe,
    Finalized,
}

/// One block of the chain, told from every other one by its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRef {
    pub number: u64,
    pub hash: H256,
    pub parent_hash: H256,
    /// Unix seconds.
    pub timestamp: u64,
}

impl From<&Header> for BlockRef {
    fn from(header: &Header) -> BlockRef {
        BlockRef {
            number: header.number,
            hash: header.hash,
            parent_hash: header.parent_hash,
            timestamp: header.timestamp,
        }
    }
}

impl From<BlockRef> for BlockId {
    /// That very block.
    fn from(block: BlockRef) -> BlockId {
        BlockId::Exactly {
            number: block.number,
            hash: block.hash,
        }
    }
}

impl From<&Header> for BlockId {
    fn from(header: &Header) -> BlockId {
        BlockRef::from(header).into()
    }
}

/// A header. What makes it a block of the chain is always there; of the rest each field is None where the node does not
/// give it, or gives something unusable, so that only who needs it does without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub number: u64,
    pub hash: H256,
    pub parent_hash: H256,
    /// Unix seconds; never a number that is no such time.
    pub timestamp: u64,
    /// The block's prevrandao on Ethereum and its kin; None where the node does not tell it.
    pub mix_hash: Option<H256>,
    /// What PREVRANDAO answers on chains that kept its old meaning; None where the node does not tell it.
    pub difficulty: Option<U256>,
    /// What NUMBER answers on Arbitrum and its kin, whose headers tell it; None elsewhere.
    pub l1_block_number: Option<u64>,
    /// None on chains from before EIP-1559.
    pub base_fee_wei: Option<U256>,
    /// None where no limit is known, or none that could be one.
    pub gas_limit: Option<u64>,
    pub logs_bloom: Option<Bloom>,
    /// True also where the node does not tell.
    pub has_transactions: bool,
}

#[cfg(test)]
impl Header {
    /// A block of which a node tells nothing that can be done without.
    pub(crate) fn bare(number: u64) -> Header {
        Header {
            number,
            hash: H256::zero(),
            parent_hash: H256::zero(),
            timestamp: 0,
            mix_hash: None,
            difficulty: None,
            l1_block_number: None,
            base_fee_wei: None,
            gas_limit: None,
            logs_bloom: None,
            has_transactions: false,
        }
    }
}

/// The EVM's own answer to PREVRANDAO, NUMBER and TIMESTAMP in a block: not on every chain what the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opcodes {
    pub prevrandao: H256,
    pub number: u64,
    /// Unix seconds.
    pub timestamp: u64,
}

/// One log of a canonical block; `removed` logs never get this far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub address: Address,
    pub topics: Vec<H256>,
    pub data: Vec<u8>,
    pub block_number: u64,
    pub block_hash: H256,
    pub transaction_hash: H256,
    /// With the log's index it gives the order in a block; 0 where the node does not tell.
    pub transaction_index: u64,
    /// Counted through the block, by some chains anew in each transaction. With the hashes of block and transaction it is
    /// the log's identity.
    pub log_index: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub transaction_hash: H256,
    pub block_number: u64,
    pub block_hash: H256,
    pub succeeded: bool,
    pub gas_used: u64,
    /// None on nodes from before EIP-1559, and on others that do not tell.
    pub effective_gas_price_wei: Option<U256>,
    /// What publishing it on the chain below cost beside its gas, 0 on chains that tell of none; None where what is told
    /// is no amount.
    pub l1_fee_wei: Option<U256>,
    /// Who sent it, and to whom, where the node tells; what makes a contract has no `to`.
    pub from: Option<Address>,
    pub to: Option<Address>,
}

impl Receipt {
    /// What the sender paid in all; None where the receipt does not tell, or tells what nobody can have paid: nothing, or
    /// more than `most_wei` for the gas or for publishing it.
    pub(crate) fn cost_wei(&self, most_wei: U256) -> Option<U256> {
        let price_wei = self.effective_gas_price_wei?;
        let gas_wei = price_wei.saturating_mul(U256::from(self.gas_used));
        let l1_fee_wei = self.l1_fee_wei.filter(|wei| *wei <= most_wei)?;
        let is_possible = !gas_wei.is_zero() && gas_wei <= most_wei;
        is_possible.then(|| gas_wei.saturating_add(l1_fee_wei))
    }
}

/// A message call, for eth_call and eth_estimateGas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallRequest {
    pub from: Option<Address>,
    pub to: Address,
    pub data: Vec<u8>,
    pub value_wei: U256,
    /// None: as much as the node allows.
    pub gas: Option<u64>,
}

impl CallRequest {
    pub fn to(to: Address, data: Vec<u8>) -> CallRequest {
        CallRequest {
            to,
            data,
            ..CallRequest::default()
        }
    }

    pub fn from(mut self, from: Address) -> CallRequest {
        self.from = Some(from);
        self
    }

    /// Sends `value_wei` along.
    pub(crate) fn with_value(mut self, value_wei: U256) -> CallRequest {
        self.value_wei = value_wei;
        self
    }

    /// Gives the call no more than this to run with.
    pub(crate) fn with_gas(mut self, gas: u64) -> CallRequest {
        self.gas = Some(gas);
        self
    }
}

/// eth_feeHistory in short; what the node leaves out is None.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeeHistory {
    /// Of the block after the newest one.
    pub next_base_fee_wei: Option<U256>,
    /// The median over the blocks of each block's median tip.
    pub median_reward_wei: Option<U256>,
    /// The median over the blocks of what a tenth of each block's gas paid more than.
    pub high_reward_wei: Option<U256>,
}

/// EIP-55: the address with its checksum in the letters' case.
pub fn to_checksum(address: &Address) -> String {
    use sha3::{Digest, Keccak256};

    let digits = format!("{address:x}");
    let hash = Keccak256::digest(digits.as_bytes());
    let mut text = String::with_capacity(42);
    text.push_str("0x");
    for (index, digit) in digits.chars().enumerate() {
        let nibble = hash[index / 2] >> if index % 2 == 0 { 4 } else { 0 } & 0x0f;
        text.push(if nibble >= 8 {
            digit.to_ascii_uppercase()
        } else {
            digit
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_match_the_examples_of_eip_55() {
        for text in [
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
            "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        ] {
            let address: Address = text[2..].parse().unwrap();
            assert_eq!(to_checksum(&address), text);
        }
    }
}
