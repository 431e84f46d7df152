//! The V3 keystore (Web3 Secret Storage): a key encrypted under a password by scrypt or PBKDF2 and AES-128-CTR.

use aes::cipher::{KeyIvInit, StreamCipher};
use serde_json::Value;
use sha3::{Digest, Keccak256};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::chain::encode::{decode_hex, without_prefix};
use crate::chain::key::{KeyError, OperatorKey};

/// scrypt's working memory is 128 x n x r bytes.
const KDF_MEMORY_MAX_BYTES: u64 = 512 << 20;
const PBKDF2_ROUNDS_MAX: u64 = 10_000_000;

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum KeystoreError {
    #[error("{field} is missing or not what a V3 keystore has there")]
    Field { field: &'static str },
    #[error("{field} is {value}, allowed is {allowed}")]
    Value {
        field: &'static str,
        value: String,
        allowed: &'static str,
    },
    #[error(
        "the key derivation would take {bytes} bytes of memory, allowed are {KDF_MEMORY_MAX_BYTES}"
    )]
    Memory { bytes: u64 },
    #[error("the password is wrong, or the file is damaged")]
    Password,
    #[error(transparent)]
    Key(#[from] KeyError),
}

pub(crate) fn decrypt(json: &str, password: &str) -> Result<OperatorKey, KeystoreError> {
    let file: Value = serde_json::from_str(json).map_err(|_| KeystoreError::Field {
        field: "the JSON object",
    })?;
    check(&file["version"], "version", &Value::from(3), "3")?;
    // Some programs write "Crypto".
    let crypto = file
        .get("crypto")
        .or_else(|| file.get("Crypto"))
        .unwrap_or(&Value::Null);
    check(
        &crypto["cipher"],
        "crypto.cipher",
        &Value::from("aes-128-ctr"),
        "aes-128-ctr",
    )?;
    let derived = derive(crypto, password)?;
    let mut secret = Zeroizing::new(hex(&crypto["ciphertext"], "crypto.ciphertext")?);
    let mac = hex(&crypto["mac"], "crypto.mac")?;
    let found = Keccak256::new()
        .chain_update(&derived[16..32])
        .chain_update(&secret[..])
        .finalize();
    if found[..] != mac[..] {
        return Err(KeystoreError::Password);
    }
    let iv = hex(&crypto["cipherparams"]["iv"], "crypto.cipherparams.iv")?;
    let mut cipher =
        ctr::Ctr128BE::<aes::Aes128>::new_from_slices(&derived[..16], &iv).map_err(|_| {
            KeystoreError::Field {
                field: "crypto.cipherparams.iv",
            }
        })?;
    cipher.apply_keystream(&mut secret);
    let bytes: &[u8; 32] = secret[..].try_into().map_err(|_| KeystoreError::Field {
        field: "crypto.ciphertext",
    })?;
    Ok(OperatorKey::from_bytes(bytes)?)
}

fn derive(crypto: &Value, password: &str) -> Result<Zeroizing<[u8; 32]>, KeystoreError> {
    let parameters = &crypto["kdfparams"];
    let salt = hex(&parameters["salt"], "crypto.kdfparams.salt")?;
    check(
        &parameters["dklen"],
        "crypto.kdfparams.dklen",
        &Value::from(32),
        "32",
    )?;
    let mut derived = Zeroizing::new([0; 32]);
    match crypto["kdf"].as_str() {
        Some("scrypt") => {
            let n = number(&parameters["n"], "crypto.kdfparams.n")?;
            let r = number(&parameters["r"], "crypto.kdfparams.r")?;
            let p = number(&parameters["p"], "crypto.kdfparams.p")?;
            let bytes = n
                .saturating_mul(r)
                .saturating_mul(128)
                .saturating_add(r.saturating_mul(p).saturating_mul(128));
            if bytes > KDF_MEMORY_MAX_BYTES {
                return Err(KeystoreError::Memory { bytes });
            }
            let bad_n = || KeystoreError::Value {
                field: "crypto.kdfparams.n",
                value: n.to_string(),
                allowed: "a power of two from 2",
            };
            if !n.is_power_of_two() || n < 2 {
                return Err(bad_n());
            }
            // Both are bounded by the memory limit above, and log2 of a u64 is below 64.
            let parameters =
                scrypt::Params::new(n.ilog2() as u8, r as u32, p as u32).map_err(|_| bad_n())?;
            scrypt::scrypt(password.as_bytes(), &salt, &parameters, &mut derived[..])
                .map_err(|_| bad_n())?;
        }
        Some("pbkdf2") => {
            check(
                &parameters["prf"],
                "crypto.kdfparams.prf",
                &Value::from("hmac-sha256"),
                "hmac-sha256",
            )?;
            let rounds = number(&parameters["c"], "crypto.kdfparams.c")?;
            let allowed = (1..=PBKDF2_ROUNDS_MAX).contains(&rounds);
            let Some(rounds) = u32::try_from(rounds).ok().filter(|_| allowed) else {
                return Err(KeystoreError::Value {
                    field: "crypto.kdfparams.c",
                    value: rounds.to_string(),
                    allowed: "1 to 10000000",
                });
            };
            pbkdf2::pbkdf2_hmac::<sha2::Sha256>(
                password.as_bytes(),
                &salt,
                rounds,
                &mut derived[..],
            );
        }
        _ => {
            return Err(KeystoreError::Value {
                field: "crypto.kdf",
                value: crypto["kdf"].to_string(),
                allowed: "scrypt or pbkdf2",
            })
        }
    }
    Ok(derived)
}

fn check(
    value: &Value,
    field: &'static str,
    expected: &Value,
    allowed: &'static str,
) -> Result<(), KeystoreError> {
    match value == expected {
        true => Ok(()),
        false => Err(KeystoreError::Value {
            field,
            value: value.to_string(),
            allowed,
        }),
    }
}

fn number(value: &Value, field: &'static str) -> Result<u64, KeystoreError> {
    value
        .as_u64()
        .filter(|number| *number > 0)
        .ok_or(KeystoreError::Field { field })
}

fn hex(value: &Value, field: &'static str) -> Result<Vec<u8>, KeystoreError> {
    let digits = value.as_str().ok_or(KeystoreError::Field { field })?;
    let digits = without_prefix(digits).unwrap_or(digits);
    decode_hex(&format!("0x{digits}")).ok_or(KeystoreError::Field { field })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two test vectors of the Web3 Secret Storage definition; the password is "testpassword".
    const PBKDF2: &str = r#"{
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": "6087dab2f9fdbbfaddc31a909735c1e6"},
            "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
            "kdf": "pbkdf2",
            "kdfparams": {
                "c": 262144, "dklen": 32, "prf": "hmac-sha256",
                "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"
            },
            "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"
        },
        "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6", "version": 3
    }"#;
    const SCRYPT: &str = r#"{
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": "83dbcc02d8ccb40e466191a123791e0e"},
            "ciphertext": "d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c",
            "kdf": "scrypt",
            "kdfparams": {
                "dklen": 32, "n": 262144, "p": 8, "r": 1,
                "salt": "ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19"
            },
            "mac": "2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097"
        },
        "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6", "version": 3
    }"#;

    #[test]
    fn the_published_vectors_are_decrypted() {
        let expected = OperatorKey::from_hex(
            "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d",
        )
        .unwrap();
        for file in [PBKDF2, SCRYPT] {
            assert_eq!(
                decrypt(file, "testpassword").unwrap().address(),
                expected.address()
            );
        }
        assert_eq!(
            decrypt(PBKDF2, "wrong").unwrap_err(),
            KeystoreError::Password
        );
    }

    #[test]
    fn greedy_and_broken_files_are_refused() {
        let refused =
            |from: &str, to: &str| decrypt(&SCRYPT.replace(from, to), "testpassword").unwrap_err();
        let greedy = refused("\"n\": 262144", "\"n\": 8388608");
        assert!(matches!(greedy, KeystoreError::Memory { .. }), "{greedy}");
        assert_eq!(
            refused("\"version\": 3", "\"version\": 1").to_string(),
            "version is 1, allowed is 3"
        );
        assert!(refused("\"n\": 262144", "\"n\": 1000")
            .to_string()
            .contains("power of two"));
        assert!(refused("aes-128-ctr", "aes-256-gcm")
            .to_string()
            .contains("aes-128-ctr"));
        assert!(
            refused("83dbcc02d8", "zz").to_string().contains("iv"),
            "{}",
            refused("83dbcc02d8", "zz")
        );
        assert!(refused("\"scrypt\"", "\"argon2\"")
            .to_string()
            .contains("scrypt or pbkdf2"));
        assert!(decrypt("[]", "x").is_err());
    }
}
