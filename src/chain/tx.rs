//! An unsigned transaction to signed bytes: EIP-1559 (type 2) and EIP-155 (legacy). Pure.

use rlp::RlpStream;
use sha3::{Digest, Keccak256};

use crate::chain::fees::Fee;
use crate::chain::key::{OperatorKey, Signature};
use crate::chain::types::{Address, H256, U256};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    pub chain_id: u64,
    pub nonce: u64,
    pub to: Address,
    pub value_wei: U256,
    pub data: Vec<u8>,
    pub gas_limit: u64,
    pub fee: Fee,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTransaction {
    pub raw: Vec<u8>,
    pub hash: H256,
}

impl Transaction {
    pub fn sign(&self, key: &OperatorKey) -> SignedTransaction {
        let signature = key.sign(&keccak(&self.unsigned()));
        let raw = self.signed(&signature);
        let hash = H256(keccak(&raw));
        SignedTransaction { raw, hash }
    }

    fn unsigned(&self) -> Vec<u8> {
        match self.fee {
            Fee::Dynamic { .. } => self.typed(None),
            Fee::Legacy { .. } => {
                let mut stream = RlpStream::new_list(9);
                self.append_legacy(&mut stream);
                // EIP-155: the chain id and two zeros take the signature's place.
                stream.append(&self.chain_id).append(&0u8).append(&0u8);
                stream.out().to_vec()
            }
        }
    }

    fn signed(&self, signature: &Signature) -> Vec<u8> {
        match self.fee {
            Fee::Dynamic { .. } => self.typed(Some(signature)),
            Fee::Legacy { .. } => {
                let mut stream = RlpStream::new_list(9);
                self.append_legacy(&mut stream);
                let v = U256::from(self.chain_id) * 2 + 35 + u8::from(signature.y_is_odd);
                stream.append(&v).append(&signature.r).append(&signature.s);
                stream.out().to_vec()
            }
        }
    }

    fn append_legacy(&self, stream: &mut RlpStream) {
        stream
            .append(&self.nonce)
            .append(&self.fee.cap_wei())
            .append(&self.gas_limit)
            .append(&self.to)
            .append(&self.value_wei)
            .append(&self.data);
    }

    /// EIP-2718 envelope of EIP-1559's fields, with the signature or without.
    fn typed(&self, signature: Option<&Signature>) -> Vec<u8> {
        let (cap_wei, tip_wei) = match self.fee {
            Fee::Dynamic { cap_wei, tip_wei } => (cap_wei, tip_wei),
            Fee::Legacy { gas_price_wei } => (gas_price_wei, gas_price_wei),
        };
        let mut stream = RlpStream::new_list(if signature.is_some() { 12 } else { 9 });
        stream
            .append(&self.chain_id)
            .append(&self.nonce)
            .append(&tip_wei)
            .append(&cap_wei)
            .append(&self.gas_limit)
            .append(&self.to)
            .append(&self.value_wei)
            .append(&self.data)
            .begin_list(0);
        if let Some(signature) = signature {
            stream
                .append(&u8::from(signature.y_is_odd))
                .append(&signature.r)
                .append(&signature.s);
        }
        let mut bytes = vec![0x02];
        bytes.extend_from_slice(&stream.out());
        bytes
    }
}

fn keccak(bytes: &[u8]) -> [u8; 32] {
    Keccak256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::error::encode_hex;

    #[test]
    fn the_example_of_eip_155_is_signed_to_the_byte() {
        let key = OperatorKey::from_hex(&"46".repeat(32)).unwrap();
        let transaction = Transaction {
            chain_id: 1,
            nonce: 9,
            to: Address::repeat_byte(0x35),
            value_wei: U256::exp10(18),
            data: vec![],
            gas_limit: 21_000,
            fee: Fee::Legacy {
                gas_price_wei: U256::from(20_000_000_000u64),
            },
        };
        assert_eq!(
            encode_hex(&transaction.unsigned()),
            "0xec098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a764000080018080"
        );
        assert_eq!(
            encode_hex(&transaction.sign(&key).raw),
            "0xf86c098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a76400008025a0\
             28ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276a067cbe9d8997f761aecb703304b38\
             00ccf555c9f3dc64214b297fb1966a3b6d83"
        );
    }
}
