//! The operator's private key: read once, shown never, zeroed when dropped.

use std::fmt;

use k256::ecdsa::{RecoveryId, SigningKey, VerifyingKey};
use sha3::{Digest, Keccak256};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::chain::encode::without_prefix;
use crate::chain::types::{Address, U256};

/// A secp256k1 key and its address. `SigningKey` zeroes its memory on drop.
pub struct OperatorKey {
    signing: SigningKey,
    address: Address,
}

/// Low-s, as EIP-2 demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    pub r: U256,
    pub s: U256,
    pub y_is_odd: bool,
}

/// Never holds the offending value.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum KeyError {
    #[error(
        "the private key must be 64 hex digits, with or without 0x; it has {found} characters"
    )]
    Length { found: usize },
    #[error("the private key must be 64 hex digits; character {place} is no hex digit")]
    Digit { place: usize },
    #[error("the private key must lie between 1 and the order of secp256k1 less 1")]
    Range,
}

impl fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "OperatorKey({:#x})", self.address)
    }
}

impl OperatorKey {
    /// 32 bytes of hex, 0x optional, white space around it ignored.
    pub fn from_hex(text: &str) -> Result<OperatorKey, KeyError> {
        let text = text.trim();
        let digits = without_prefix(text).unwrap_or(text);
        if digits.chars().count() != 64 {
            return Err(KeyError::Length {
                found: digits.chars().count(),
            });
        }
        let mut bytes = Zeroizing::new([0u8; 32]);
        for (place, digit) in digits.chars().enumerate() {
            let value = digit
                .to_digit(16)
                .ok_or(KeyError::Digit { place: place + 1 })?;
            // A hex digit is below 16.
            bytes[place / 2] = bytes[place / 2] << 4 | value as u8;
        }
        OperatorKey::from_bytes(&bytes)
    }

    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Result<OperatorKey, KeyError> {
        let signing = SigningKey::from_slice(bytes).map_err(|_| KeyError::Range)?;
        Ok(OperatorKey {
            address: address_of(signing.verifying_key()),
            signing,
        })
    }

    pub fn address(&self) -> Address {
        self.address
    }

    /// Signs a 32-byte hash, deterministically (RFC 6979).
    pub fn sign(&self, hash: &[u8; 32]) -> Signature {
        // Invariant: a prehash of 32 bytes is long enough, and a valid key signs everything.
        let (signature, recovery) = self
            .signing
            .sign_prehash_recoverable(hash)
            .expect("a valid key signs any 32-byte hash");
        let (r, s) = signature.split_bytes();
        Signature {
            r: U256::from_big_endian(&r),
            s: U256::from_big_endian(&s),
            y_is_odd: recovery.is_y_odd(),
        }
    }
}

impl Signature {
    /// Who made this signature of a 32-byte hash; None where nobody can have made it, or where its s is the high one of
    /// the two, which EIP-2 forbids.
    pub(crate) fn signer(&self, hash: &[u8; 32]) -> Option<Address> {
        let scalar = |word: U256| {
            let mut bytes = [0; 32];
            word.to_big_endian(&mut bytes);
            bytes
        };
        let (r, s) = (scalar(self.r), scalar(self.s));
        let signature = k256::ecdsa::Signature::from_scalars(r, s).ok()?;
        if signature.normalize_s().is_some() {
            return None;
        }
        let recovery = RecoveryId::new(self.y_is_odd, false);
        let key = VerifyingKey::recover_from_prehash(hash, &signature, recovery);
        key.ok().map(|key| address_of(&key))
    }
}

fn address_of(key: &VerifyingKey) -> Address {
    let point = key.to_encoded_point(false);
    let hash = Keccak256::digest(&point.as_bytes()[1..]);
    Address::from_slice(&hash[12..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEV_KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

    #[test]
    fn the_first_dev_account_has_its_well_known_address() {
        for text in [
            DEV_KEY.to_owned(),
            format!("0x{DEV_KEY}"),
            format!(" 0x{DEV_KEY}\n"),
            format!("0X{}", DEV_KEY.to_uppercase()),
        ] {
            let key = OperatorKey::from_hex(&text).unwrap();
            assert_eq!(
                format!("{:#x}", key.address()),
                "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
            );
        }
    }

    #[test]
    fn bad_keys_are_refused_without_being_repeated() {
        let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
        for (text, error) in [
            ("", KeyError::Length { found: 0 }),
            (&DEV_KEY[1..], KeyError::Length { found: 63 }),
            (&format!("{DEV_KEY}0"), KeyError::Length { found: 65 }),
            (&DEV_KEY.replacen('c', "g", 1), KeyError::Digit { place: 2 }),
            (&"é".repeat(64), KeyError::Digit { place: 1 }),
            (&"0".repeat(64), KeyError::Range),
            (order, KeyError::Range),
            (&"f".repeat(64), KeyError::Range),
        ] {
            assert_eq!(OperatorKey::from_hex(text).unwrap_err(), error);
        }
        let below = order.replace("4141", "4140");
        assert!(OperatorKey::from_hex(&below).is_ok());
    }

    #[test]
    fn debug_shows_the_address_alone() {
        let key = OperatorKey::from_hex(DEV_KEY).unwrap();
        assert_eq!(
            format!("{key:?}"),
            "OperatorKey(0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266)"
        );
    }
}
