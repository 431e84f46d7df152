//! Who among the bettors cannot be paid, and what that means for a draw and a refund. Prize and refunds are pushed with
//! 2,300 gas, so a contract that takes no ether makes every refund revert, and every draw that it would win. Pure: how an
//! address is probed is the sender's business.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::chain::types::{Address, U256};

/// A contract among the bettors may become payable, or cease to be: it is probed again after this long.
const PROBED_FOR: Duration = Duration::from_secs(30);

/// What was found of the running round's bettors.
#[derive(Clone, Debug, Default)]
pub struct Payability {
    probed: HashMap<Address, Probe>,
}

/// What a probe of one address found, as far as it found anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// An account without code takes whatever it is sent.
    NoCode,
    Payable,
    Unpayable,
    /// The answer says nothing of the address.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    found: Found,
    at: Instant,
}

/// Whether a draw can pass.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outlook {
    /// Nobody is known to be unpayable.
    Fine,
    /// It passes only in a block that draws somebody who can be paid: the share of the pot that these hold, 0 to 1.
    Chance { share: f64 },
    /// No block can make it pass.
    Hopeless,
}

impl Payability {
    pub fn note(&mut self, address: Address, found: Found, at: Instant) {
        self.probed.insert(address, Probe { found, at });
    }

    /// The bettors to probe now: new ones, and contracts whose probe is old. At most `max`.
    pub fn due(
        &self,
        bettors: impl Iterator<Item = (Address, U256)>,
        max: usize,
        now: Instant,
    ) -> Vec<(Address, U256)> {
        let is_due = |address: &Address| {
            self.probed.get(address).is_none_or(|probe| {
                let age = now.saturating_duration_since(probe.at);
                probe.found != Found::NoCode && age >= PROBED_FOR
            })
        };
        bettors
            .filter(|(address, _)| is_due(address))
            .take(max)
            .collect()
    }

    /// Everybody who is known to be unpayable.
    pub fn unpayable(&self) -> BTreeSet<Address> {
        let of = |(address, probe): (&Address, &Probe)| {
            (probe.found == Found::Unpayable).then_some(*address)
        };
        self.probed.iter().filter_map(of).collect()
    }

    /// What a draw among these bettors can come to; below `min_participants` it pays everybody back.
    pub(crate) fn outlook(
        &self,
        bettors: impl Iterator<Item = (Address, U256)>,
        min_participants: u64,
    ) -> Outlook {
        let unpayable = self.unpayable();
        if unpayable.is_empty() {
            return Outlook::Fine;
        }
        let (mut count, mut pot_wei, mut payable_wei) = (0u64, U256::zero(), U256::zero());
        for (address, amount_wei) in bettors {
            count += 1;
            pot_wei = pot_wei.saturating_add(amount_wei);
            if !unpayable.contains(&address) {
                payable_wei = payable_wei.saturating_add(amount_wei);
            }
        }
        match () {
            () if payable_wei == pot_wei => Outlook::Fine,
            () if count < min_participants || payable_wei.is_zero() => Outlook::Hopeless,
            () => Outlook::Chance {
                share: ratio(payable_wei, pot_wei),
            },
        }
    }
}

fn ratio(part: U256, whole: U256) -> f64 {
    // Millionths are more than anybody wants to know.
    let millionths = part.saturating_mul(U256::from(1_000_000u64)) / whole.max(U256::one());
    millionths.min(U256::from(1_000_000u64)).as_u64() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bettors(amounts: &[(u8, u64)]) -> impl Iterator<Item = (Address, U256)> + '_ {
        let of = |(id, wei): &(u8, u64)| (Address::repeat_byte(*id), U256::from(*wei));
        amounts.iter().map(of)
    }

    fn with_unpayable(ids: &[u8]) -> Payability {
        let mut payability = Payability::default();
        for id in ids {
            let address = Address::repeat_byte(*id);
            payability.note(address, Found::Unpayable, Instant::now());
        }
        payability
    }

    #[test]
    fn an_outlook_is_the_share_that_can_be_paid() {
        let three = [(1, 10), (2, 20), (3, 70)];
        for (unpayable, min, expected) in [
            (&[][..], 2, Outlook::Fine),
            (&[9], 2, Outlook::Fine),
            (&[3], 2, Outlook::Chance { share: 0.3 }),
            (&[1], 3, Outlook::Chance { share: 0.9 }),
            // Too few players: the draw pays everybody back, so one who takes nothing stops it in any block.
            (&[1], 4, Outlook::Hopeless),
            (&[1, 2, 3], 2, Outlook::Hopeless),
        ] {
            let outlook = with_unpayable(unpayable).outlook(bettors(&three), min);
            assert_eq!(outlook, expected, "{unpayable:?} of three, {min} needed");
        }
        assert_eq!(with_unpayable(&[1]).outlook(bettors(&[]), 2), Outlook::Fine);
    }

    #[test]
    fn accounts_are_probed_once_and_contracts_again() {
        let start = Instant::now();
        let mut payability = Payability::default();
        let all = [(1, 1), (2, 1), (3, 1)];
        let due = |payability: &Payability, max, at| -> Vec<u8> {
            let due = payability.due(bettors(&all), max, at);
            due.iter().map(|(address, _)| address.0[0]).collect()
        };
        assert_eq!(due(&payability, 2, start), [1, 2]);
        payability.note(Address::repeat_byte(1), Found::NoCode, start);
        payability.note(Address::repeat_byte(2), Found::Unpayable, start);
        assert_eq!(
            due(&payability, 9, start + PROBED_FOR - Duration::from_nanos(1)),
            [3]
        );
        assert_eq!(due(&payability, 9, start + PROBED_FOR), [2, 3]);
        // It has become payable.
        payability.note(Address::repeat_byte(2), Found::Payable, start);
        assert!(payability.unpayable().is_empty());
    }
}
