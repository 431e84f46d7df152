//! What can be known of the block that mined a draw, and what is said where too little is.

use crate::chain::types::{Header, Opcodes, H256, U256};

/// What is known of the block that mined a draw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrawBlock {
    /// The opcodes as a call in that block sees them; None where its state is out of reach.
    pub opcodes: Option<Opcodes>,
    /// What its header offers; None where it is out of reach.
    pub header: Option<HeaderValues>,
}

/// The fields of a header in which some chain keeps what its EVM sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderValues {
    pub number: u64,
    pub mix_hash: Option<H256>,
    pub difficulty: Option<U256>,
    /// The number of the chain below, as Arbitrum's headers tell it.
    pub l1_block_number: Option<u64>,
}

impl From<&Header> for HeaderValues {
    fn from(header: &Header) -> HeaderValues {
        HeaderValues {
            number: header.number,
            mix_hash: header.mix_hash,
            difficulty: header.difficulty,
            l1_block_number: header.l1_block_number,
        }
    }
}

impl DrawBlock {
    /// Why nothing reproduced the seed.
    pub(super) fn missing(&self) -> &'static str {
        match (&self.header, &self.opcodes) {
            (None, None) => "the header of the draw's block is out of reach",
            (_, None) => {
                "the state of the draw's block is out of reach, and nothing in its header reproduces the seed"
            }
            (_, Some(_)) => {
                "the node runs calls in another block than the draw's, and nothing in its header reproduces the seed"
            }
        }
    }
}
