//! The ten public accounts of the phrase "test test test test test test test test test test test junk", with their keys.

use k256::ecdsa::SigningKey;
use revm::primitives::Address;

use crate::tx::address_of;

const KEYS: [&str; 10] = [
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
    "47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
    "8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
    "92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e",
    "4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356",
    "dbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97",
    "2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6",
];

#[derive(Clone)]
pub struct Account {
    pub address: Address,
    pub key: SigningKey,
}

/// The public accounts, then `more` whose keys are the numbers from 1,000 on.
pub fn accounts(more: usize) -> Vec<Account> {
    let public = KEYS.iter().map(|hex| {
        let mut bytes = [0u8; 32];
        for (place, byte) in bytes.iter_mut().enumerate() {
            // Invariant: the constants above are 64 hex digits.
            *byte = u8::from_str_radix(&hex[2 * place..2 * place + 2], 16).expect("hex digits");
        }
        bytes
    });
    let numbered = (0..more).map(|number| {
        let mut bytes = [0u8; 32];
        bytes[24..].copy_from_slice(&(1_000 + number as u64).to_be_bytes());
        bytes
    });
    public
        .chain(numbered)
        .map(|bytes| {
            // Invariant: the constants and small numbers are below the curve's order and not zero.
            let key = SigningKey::from_slice(&bytes).expect("a valid key");
            Account {
                address: address_of(key.verifying_key()),
                key,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_accounts_have_their_well_known_addresses() {
        let accounts = accounts(1);
        assert_eq!(accounts.len(), 11);
        assert_eq!(
            format!("{:#x}", accounts[0].address),
            "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
        );
        assert_eq!(
            format!("{:#x}", accounts[9].address),
            "0xa0ee7a142d267c1f36714e4a8f75612f20a79720"
        );
    }
}
