//! Raw transactions: decoded, their sender recovered, and signed for the dev accounts. Types 0 (EIP-155), 1 and 2.

use k256::ecdsa::{RecoveryId, Signature, SigningKey, VerifyingKey};
use revm::context::transaction::{AccessList, AccessListItem};
use revm::primitives::{keccak256, Address, Bytes, B256, U256};
use rlp::{Rlp, RlpStream};

/// A transaction with its sender.
#[derive(Clone, Debug)]
pub struct Transaction {
    pub hash: B256,
    pub from: Address,
    pub kind: u8,
    pub chain_id: Option<u64>,
    pub nonce: u64,
    pub gas_limit: u64,
    /// Of a legacy transaction the gas price.
    pub max_fee: u128,
    pub max_priority_fee: u128,
    pub to: Option<Address>,
    pub value: U256,
    pub input: Bytes,
    pub access_list: AccessList,
    pub signature: (u64, U256, U256),
}

impl Transaction {
    /// What a unit of gas costs at this base fee, and what of it is the tip.
    pub fn effective_price(&self, base_fee: u64) -> (u128, u128) {
        let price = self
            .max_fee
            .min(u128::from(base_fee).saturating_add(self.max_priority_fee));
        (price, price.saturating_sub(u128::from(base_fee)))
    }

    pub fn cost(&self) -> U256 {
        U256::from(self.max_fee)
            .saturating_mul(U256::from(self.gas_limit))
            .saturating_add(self.value)
    }

    pub fn decode(raw: &[u8]) -> Result<Transaction, String> {
        match raw.first() {
            None => Err("empty transaction".to_owned()),
            Some(1) => typed(raw, 1),
            Some(2) => typed(raw, 2),
            Some(byte) if *byte >= 0xc0 => legacy(raw),
            Some(_) => Err("transaction type not supported".to_owned()),
        }
    }

    /// EIP-2028 and EIP-3860: what a transaction costs before it runs.
    pub fn intrinsic_gas(&self) -> u64 {
        let zeros = self.input.iter().filter(|byte| **byte == 0).count() as u64;
        let others = self.input.len() as u64 - zeros;
        let creation = match self.to {
            None => 32_000 + 2 * (self.input.len() as u64).div_ceil(32),
            Some(_) => 0,
        };
        21_000 + 4 * zeros + 16 * others + creation
    }
}

fn legacy(raw: &[u8]) -> Result<Transaction, String> {
    let list = Rlp::new(raw);
    if list.item_count().map_err(text)? != 9 {
        return Err("rlp: a legacy transaction has 9 fields".to_owned());
    }
    let v: u64 = number(&list, 6)?;
    let (chain_id, parity) = match v {
        27 | 28 => (None, v - 27),
        35.. => (Some((v - 35) / 2), (v - 35) % 2),
        _ => return Err("invalid sender".to_owned()),
    };
    let mut unsigned = RlpStream::new_list(if chain_id.is_some() { 9 } else { 6 });
    for field in 0..6 {
        unsigned.append_raw(list.at(field).map_err(text)?.as_raw(), 1);
    }
    if let Some(chain_id) = chain_id {
        unsigned.append(&chain_id).append(&0u8).append(&0u8);
    }
    let (r, s) = (word(&list, 7)?, word(&list, 8)?);
    let gas_price = wide(&list, 1)?;
    Ok(Transaction {
        hash: keccak256(raw),
        from: recover(keccak256(unsigned.out()), parity, r, s)?,
        kind: 0,
        chain_id,
        nonce: number(&list, 0)?,
        gas_limit: number(&list, 2)?,
        max_fee: gas_price,
        max_priority_fee: gas_price,
        to: recipient(&list, 3)?,
        value: word(&list, 4)?,
        input: list
            .at(5)
            .and_then(|item| item.data())
            .map_err(text)?
            .to_vec()
            .into(),
        access_list: AccessList::default(),
        signature: (v, r, s),
    })
}

fn typed(raw: &[u8], kind: u8) -> Result<Transaction, String> {
    let list = Rlp::new(&raw[1..]);
    // Type 1 has one price where type 2 has tip and cap.
    let fields = if kind == 2 { 9 } else { 8 };
    if list.item_count().map_err(text)? != fields + 3 {
        return Err(format!(
            "rlp: a transaction of type {kind} has {} fields",
            fields + 3
        ));
    }
    let mut unsigned = RlpStream::new_list(fields);
    for field in 0..fields {
        unsigned.append_raw(list.at(field).map_err(text)?.as_raw(), 1);
    }
    let payload = [&[kind][..], &unsigned.out()].concat();
    let parity: u64 = number(&list, fields)?;
    let (r, s) = (word(&list, fields + 1)?, word(&list, fields + 2)?);
    let recipient_field = fields - 4;
    Ok(Transaction {
        hash: keccak256(raw),
        from: recover(keccak256(payload), parity, r, s)?,
        kind,
        chain_id: Some(number(&list, 0)?),
        nonce: number(&list, 1)?,
        max_priority_fee: wide(&list, 2)?,
        max_fee: wide(&list, if kind == 2 { 3 } else { 2 })?,
        gas_limit: number(&list, recipient_field - 1)?,
        to: recipient(&list, recipient_field)?,
        value: word(&list, recipient_field + 1)?,
        input: list
            .at(recipient_field + 2)
            .and_then(|item| item.data())
            .map_err(text)?
            .to_vec()
            .into(),
        access_list: access_list(&list.at(recipient_field + 3).map_err(text)?)?,
        signature: (parity, r, s),
    })
}

fn access_list(list: &Rlp) -> Result<AccessList, String> {
    let mut items = Vec::new();
    for item in list {
        let address = item.at(0).and_then(|item| item.data()).map_err(text)?;
        let mut storage_keys = Vec::new();
        for key in item.at(1).map_err(text)?.iter() {
            storage_keys.push(B256::try_from(key.data().map_err(text)?).map_err(text)?);
        }
        items.push(AccessListItem {
            address: Address::try_from(address).map_err(text)?,
            storage_keys,
        });
    }
    Ok(AccessList(items))
}

/// What a dev account sends, before it is signed.
pub struct Unsigned {
    pub chain_id: u64,
    pub nonce: u64,
    pub gas_limit: u64,
    pub max_fee: u128,
    pub max_priority_fee: u128,
    pub to: Option<Address>,
    pub value: U256,
    pub input: Bytes,
}

impl Unsigned {
    /// The signed bytes of a type 2 transaction.
    pub fn sign(&self, key: &SigningKey) -> Result<Vec<u8>, String> {
        let payload = self.encode(None);
        let (signature, recovery) = key
            .sign_prehash_recoverable(keccak256(&payload).as_slice())
            .map_err(text)?;
        let (r, s) = signature.split_bytes();
        let parts = (
            u8::from(recovery.is_y_odd()),
            U256::from_be_slice(&r),
            U256::from_be_slice(&s),
        );
        Ok(self.encode(Some(parts)))
    }

    fn encode(&self, signature: Option<(u8, U256, U256)>) -> Vec<u8> {
        let mut stream = RlpStream::new_list(if signature.is_some() { 12 } else { 9 });
        stream.append(&self.chain_id).append(&self.nonce);
        append_number(&mut stream, U256::from(self.max_priority_fee));
        append_number(&mut stream, U256::from(self.max_fee));
        stream.append(&self.gas_limit);
        match self.to {
            Some(to) => stream.append(&to.as_slice()),
            None => stream.append_empty_data(),
        };
        append_number(&mut stream, self.value);
        stream.append(&self.input.as_ref()).begin_list(0);
        if let Some((parity, r, s)) = signature {
            stream.append(&parity);
            append_number(&mut stream, r);
            append_number(&mut stream, s);
        }
        [&[2u8][..], &stream.out()].concat()
    }
}

/// Big-endian without leading zeros.
pub fn append_number(stream: &mut RlpStream, number: U256) {
    stream.append(&number.to_be_bytes_trimmed_vec());
}

pub fn address_of(key: &VerifyingKey) -> Address {
    let point = key.to_encoded_point(false);
    Address::from_slice(&keccak256(&point.as_bytes()[1..])[12..])
}

fn recover(hash: B256, parity: u64, r: U256, s: U256) -> Result<Address, String> {
    let invalid = || "invalid sender".to_owned();
    let signature = Signature::from_scalars(r.to_be_bytes::<32>(), s.to_be_bytes::<32>())
        .map_err(|_| invalid())?;
    if signature.normalize_s().is_some() || parity > 1 {
        return Err(invalid());
    }
    let recovery = RecoveryId::new(parity == 1, false);
    let key = VerifyingKey::recover_from_prehash(hash.as_slice(), &signature, recovery)
        .map_err(|_| invalid())?;
    Ok(address_of(&key))
}

fn recipient(list: &Rlp, field: usize) -> Result<Option<Address>, String> {
    let data = list.at(field).and_then(|item| item.data()).map_err(text)?;
    match data.len() {
        0 => Ok(None),
        _ => Ok(Some(Address::try_from(data).map_err(text)?)),
    }
}

fn number(list: &Rlp, field: usize) -> Result<u64, String> {
    list.val_at(field).map_err(text)
}

fn wide(list: &Rlp, field: usize) -> Result<u128, String> {
    u128::try_from(word(list, field)?).map_err(|_| "rlp: a price above 2^128".to_owned())
}

fn word(list: &Rlp, field: usize) -> Result<U256, String> {
    let data = list.at(field).and_then(|item| item.data()).map_err(text)?;
    U256::try_from_be_slice(data).ok_or_else(|| "rlp: a number above 2^256".to_owned())
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
