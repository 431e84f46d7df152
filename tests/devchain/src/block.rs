//! Headers, receipts and blooms, and the base fee's rule. Roots are constants: nothing here is proved to anybody.

use revm::primitives::{keccak256, Address, Log, B256, U256};
use rlp::RlpStream;

use crate::tx::{append_number, Transaction};

pub const GAS_LIMIT: u64 = 30_000_000;
pub const INITIAL_BASE_FEE: u64 = 1_000_000_000;

/// What contracts see as PREVRANDAO and NUMBER, and where the header says so: it is not the same on every chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// mixHash and number, as on Ethereum.
    #[default]
    Ethereum,
    /// The same two, with the mixHash of the chain below, which several blocks share, as on the OP stack.
    Optimism,
    /// A small constant, told as difficulty beside a mixHash of zeros, as on BSC.
    Difficulty,
    /// The constant 1 and the number of the chain below, told as l1BlockNumber, as on Arbitrum.
    Orbit,
    /// A constant that no header tells, as on zk rollups.
    Constant,
}

#[derive(Clone, Debug)]
pub struct Header {
    pub number: u64,
    pub hash: B256,
    pub parent_hash: B256,
    pub timestamp: u64,
    pub mix_hash: B256,
    pub family: Family,
    pub base_fee: u64,
    pub gas_used: u64,
    pub gas_limit: u64,
    pub bloom: Bloom,
}

#[derive(Clone, Debug)]
pub struct Receipt {
    pub succeeded: bool,
    pub gas_used: u64,
    pub cumulative_gas_used: u64,
    pub effective_gas_price: u128,
    pub contract: Option<Address>,
    pub logs: Vec<Log>,
    pub bloom: Bloom,
    /// Index of the first log in its block.
    pub first_log: usize,
}

#[derive(Clone, Debug)]
pub struct Block {
    pub header: Header,
    pub transactions: Vec<Transaction>,
    pub receipts: Vec<Receipt>,
}

/// The 2048-bit filter of a block's or receipt's logs (Yellow Paper, 4.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bloom(pub [u8; 256]);

impl Default for Bloom {
    fn default() -> Bloom {
        Bloom([0; 256])
    }
}

impl Bloom {
    pub fn of<'a>(logs: impl Iterator<Item = &'a Log>) -> Bloom {
        let mut bloom = Bloom::default();
        for log in logs {
            bloom.add(log.address.as_slice());
            log.topics()
                .iter()
                .for_each(|topic| bloom.add(topic.as_slice()));
        }
        bloom
    }

    fn add(&mut self, bytes: &[u8]) {
        let hash = keccak256(bytes);
        for pair in hash[..6].chunks(2) {
            let bit = usize::from(u16::from_be_bytes([pair[0], pair[1]]) & 0x07ff);
            self.0[255 - bit / 8] |= 1 << (bit % 8);
        }
    }
}

impl Header {
    /// PREVRANDAO and NUMBER as contracts see them.
    pub fn seen(&self) -> (B256, u64) {
        let constant = |number: u64| B256::from(U256::from(number));
        match self.family {
            Family::Ethereum | Family::Optimism => (self.mix_hash, self.number),
            Family::Difficulty => (constant(2), self.number),
            Family::Orbit => (constant(1), number_below(self.number)),
            Family::Constant => (constant(2_500_000_000_000_000), self.number),
        }
    }

    /// mixHash, difficulty and l1BlockNumber as the header tells them.
    pub fn told(&self) -> (B256, u64, Option<u64>) {
        match self.family {
            Family::Ethereum | Family::Optimism => (self.mix_hash, 0, None),
            Family::Difficulty => (B256::ZERO, 2, None),
            Family::Orbit => (self.mix_hash, 1, Some(number_below(self.number))),
            Family::Constant => (B256::ZERO, 0, None),
        }
    }

    /// keccak of the RLP header with every field up to Prague.
    pub fn seal(mut self) -> Header {
        let empty_root = B256::repeat_byte(0x56);
        let mut stream = RlpStream::new_list(21);
        let hash = |stream: &mut RlpStream, hash: &B256| {
            stream.append(&hash.as_slice());
        };
        hash(&mut stream, &self.parent_hash);
        hash(&mut stream, &empty_root);
        stream.append(&Address::ZERO.as_slice());
        for _ in 0..3 {
            hash(&mut stream, &empty_root);
        }
        stream.append(&&self.bloom.0[..]);
        for number in [
            0,
            self.number,
            self.gas_limit,
            self.gas_used,
            self.timestamp,
        ] {
            append_number(&mut stream, U256::from(number));
        }
        stream.append_empty_data();
        hash(&mut stream, &self.mix_hash);
        stream.append(&&[0u8; 8][..]);
        append_number(&mut stream, U256::from(self.base_fee));
        hash(&mut stream, &empty_root);
        for _ in 0..2 {
            append_number(&mut stream, U256::ZERO);
        }
        hash(&mut stream, &B256::ZERO);
        hash(&mut stream, &empty_root);
        self.hash = keccak256(stream.out());
        self
    }

    /// The next block's base fee (EIP-1559).
    pub fn next_base_fee(&self) -> u64 {
        let target = self.gas_limit / 2;
        let (base, used) = (u128::from(self.base_fee), self.gas_used);
        let change = |distance: u64| base * u128::from(distance) / u128::from(target.max(1)) / 8;
        let next = match used.cmp(&target) {
            std::cmp::Ordering::Equal => base,
            std::cmp::Ordering::Greater => base + change(used - target).max(1),
            std::cmp::Ordering::Less => base - change(target - used),
        };
        u64::try_from(next).unwrap_or(u64::MAX)
    }
}

/// Of the chain below, which makes a block for each eight of ours.
pub fn number_below(number: u64) -> u64 {
    20_000_000 + number / 8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(base_fee: u64, gas_used: u64) -> Header {
        Header {
            number: 1,
            hash: B256::ZERO,
            parent_hash: B256::ZERO,
            timestamp: 1,
            mix_hash: B256::ZERO,
            family: Family::Ethereum,
            base_fee,
            gas_used,
            gas_limit: GAS_LIMIT,
            bloom: Bloom::default(),
        }
    }

    #[test]
    fn the_base_fee_moves_by_an_eighth_at_most() {
        for (base, used, next) in [
            (1_000_000_000, 15_000_000, 1_000_000_000),
            (1_000_000_000, 30_000_000, 1_125_000_000),
            (1_000_000_000, 0, 875_000_000),
            (1_000_000_000, 22_500_000, 1_062_500_000),
            (7, 0, 7),
            (1, 30_000_000, 2),
        ] {
            assert_eq!(header(base, used).next_base_fee(), next, "{base} {used}");
        }
    }

    #[test]
    fn a_bloom_sets_three_bits_of_an_address() {
        // The published example: 0x095e7baea6a6c7c4c2dfeb977efac326af552d87 sets bits 1183, 1684 and 1830.
        let address: Address = "0x095e7baea6a6c7c4c2dfeb977efac326af552d87"
            .parse()
            .unwrap();
        let bloom = Bloom::of([Log::new_unchecked(address, vec![], vec![].into())].iter());
        assert_eq!(bloom.0.iter().map(|byte| byte.count_ones()).sum::<u32>(), 3);
        let mut again = bloom;
        again.add(address.as_slice());
        assert_eq!(bloom, again);
    }
}
