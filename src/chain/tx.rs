//! An unsigned transaction to signed bytes: EIP-1559 (type 2) and EIP-155 (legacy), and whether bytes that somebody else
//! signed are that very transaction. Pure.

use rlp::{Rlp, RlpStream};
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

/// A transaction that waits in a node's pool, as far as it bears on outbidding it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PendingTransaction {
    pub hash: H256,
    /// None for a contract creation.
    pub to: Option<Address>,
    pub value_wei: U256,
    pub data: Vec<u8>,
    pub gas_limit: u64,
    pub fee: Fee,
}

/// The fields of the two kinds of transactions, in the order of their encodings.
const DYNAMIC_FIELDS: [&str; 12] = [
    "chain id",
    "nonce",
    "tip (maxPriorityFeePerGas)",
    "fee cap (maxFeePerGas)",
    "gas limit",
    "recipient",
    "value",
    "data",
    "access list",
    "signature",
    "signature",
    "signature",
];
const LEGACY_FIELDS: [&str; 9] = [
    "nonce",
    "gas price",
    "gas limit",
    "recipient",
    "value",
    "data",
    "chain id",
    "signature",
    "signature",
];
const SIGNATURE_FIELDS: usize = 3;

impl Transaction {
    /// These bytes as this transaction, where they are it to the last byte, signed by `signer`. Of a stranger's bytes only
    /// the signature is read: with it our own encoding must give the same.
    ///
    /// # Errors
    /// What differs, as a word for the first such field.
    pub(crate) fn signed_elsewhere(
        &self,
        raw: Vec<u8>,
        signer: Address,
    ) -> Result<SignedTransaction, &'static str> {
        let fields: &[&str] = match self.fee {
            Fee::Dynamic { .. } => &DYNAMIC_FIELDS,
            Fee::Legacy { .. } => &LEGACY_FIELDS,
        };
        let list = Rlp::new(self.fields_of(&raw).ok_or("type")?);
        if !list.is_list() {
            return Err("type");
        }
        if list.item_count() != Ok(fields.len()) {
            return Err("encoding");
        }
        let at = fields.len() - SIGNATURE_FIELDS;
        let word = |index| list.val_at::<U256>(index).map_err(|_| fields[index]);
        let (v, r, s) = (word(at)?, word(at + 1)?, word(at + 2)?);
        // Any v but the two that can be shows when the bytes are compared.
        let y_is_odd = match self.fee {
            Fee::Dynamic { .. } => v == U256::one(),
            Fee::Legacy { .. } => v == self.legacy_v(true),
        };
        let signature = Signature { r, s, y_is_odd };
        let own = self.signed(&signature);
        if own != raw {
            let own = Rlp::new(self.fields_of(&own).unwrap_or_default());
            let item = |list: &Rlp, index| list.at(index).map(|item| item.as_raw().to_vec()).ok();
            let differs = |index: &usize| item(&list, *index) != item(&own, *index);
            let first = (0..fields.len()).find(differs);
            return Err(first.map_or("encoding", |index| fields[index]));
        }
        match signature.signer(&keccak(&self.unsigned())) {
            Some(found) if found == signer => Ok(SignedTransaction {
                hash: H256(keccak(&raw)),
                raw,
            }),
            Some(_) => Err("sender"),
            None => Err("signature"),
        }
    }

    /// The list of fields in signed bytes; None where they are of another type than this transaction.
    fn fields_of<'a>(&self, raw: &'a [u8]) -> Option<&'a [u8]> {
        match self.fee {
            Fee::Dynamic { .. } => raw.strip_prefix(&[0x02]),
            Fee::Legacy { .. } => Some(raw),
        }
    }

    /// EIP-155: what a legacy signature says of the chain and of its own parity.
    fn legacy_v(&self, y_is_odd: bool) -> U256 {
        U256::from(self.chain_id) * 2 + 35 + u8::from(y_is_odd)
    }

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
                let v = self.legacy_v(signature.y_is_odd);
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
    use crate::chain::encode::encode_hex;

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

    /// Signed once with ethers 6.13.4 and the first public dev key.
    #[test]
    fn an_independent_library_signs_the_same_bytes() {
        let key = OperatorKey::from_hex(
            "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
        )
        .unwrap();
        let contract: Address = "5fbdb2315678afecb367f032d93f642f64180aa3".parse().unwrap();
        let draw = Transaction {
            chain_id: 31_337,
            nonce: 0,
            to: contract,
            value_wei: U256::zero(),
            data: vec![0x0d, 0x9d, 0xf4, 0x4f],
            gas_limit: 366_000,
            fee: Fee::Dynamic {
                cap_wei: U256::from(3_000_000_000u64),
                tip_wei: U256::one(),
            },
        };
        let transfer = Transaction {
            chain_id: 1,
            nonce: 300,
            to: key.address(),
            value_wei: U256::from(123_456_789_012_345_678u64),
            data: vec![],
            gas_limit: 21_000,
            fee: Fee::Dynamic {
                cap_wei: U256::from(500_000_000_000u64),
                tip_wei: U256::from(2_500_000_000u64),
            },
        };
        let legacy = Transaction {
            chain_id: 137,
            nonce: 7,
            fee: Fee::Legacy {
                gas_price_wei: U256::from(37_500_000_000u64),
            },
            ..draw.clone()
        };
        for (transaction, raw, hash) in [
            (
                draw,
                "0x02f86d827a69800184b2d05e00830595b0945fbdb2315678afecb367f032d93f642f64180aa380840d9df44f\
                 c001a07f44e2bc00075a871ef89ba5ba4092d846082b90d430e601f18536e64f9fd16ba024dbae73184b31126f\
                 7c0ad0b345ee1a644650ad6b24161eab8b4f1f5dd26fcc",
                "0xc5f08cebdfe6b93be417a47f89ebbd6c2ddb4a3587953c41e2e765e7e83c851c",
            ),
            (
                transfer,
                "0x02f8750182012c849502f90085746a52880082520894f39fd6e51aad88f6f4ce6ab8827279cfffb922668801\
                 b69b4ba630f34e80c001a07b94dd889989c74ed2e43e86027a33615af9f5fa494bf52d76a6a9f90a7189cfa024\
                 61d61079a1054aa836cd0efa40086cc5d8ab1f133a1a72c4fd26b340cc5f01",
                "0xafea37bacc6a022caa6590ebab7851952ff6d994a02b01c609b0b7f1b969324f",
            ),
            (
                legacy,
                "0xf86b078508bb2c9700830595b0945fbdb2315678afecb367f032d93f642f64180aa380840d9df44f820135a0\
                 e360298516f4d31f07ac07b12d91b137af5d7b693ed4d3befb064b7066a75245a0144546b5b64eb2c0fc9890d2\
                 5324b9f78aceee2ca0311e606564729a3d977af1",
                "0x7591ebb42be6b117d7f0dd94eff46373a6ed54b8c44f7db6329bec85ab1f30ea",
            ),
        ] {
            let signed = transaction.sign(&key);
            assert_eq!(encode_hex(&signed.raw), raw);
            assert_eq!(format!("{:#x}", signed.hash), hash);
        }
    }
}
