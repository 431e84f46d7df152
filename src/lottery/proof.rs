//! Recomputes a draw from what anyone can read: the header of the block that mined it and the round's BetPlaced logs.

use std::collections::HashMap;

use sha3::{Digest, Keccak256};

use crate::chain::types::{Address, H256, U256};
use crate::lottery::event::Bet;

/// Everything that decided a draw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofInputs<'a> {
    pub block_timestamp: u64,
    pub prevrandao: H256,
    pub block_number: u64,
    pub round_id: u64,
    pub total_pot_wei: U256,
    /// In (block, log index) order.
    pub bets: &'a [Bet],
}

/// What the recomputation says of the contract's announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Verified,
    Mismatch { why: String },
    Unverifiable { why: String },
}

impl Verdict {
    pub fn label(&self) -> &'static str {
        match self {
            Verdict::Verified => "verified",
            Verdict::Mismatch { .. } => "mismatch",
            Verdict::Unverifiable { .. } => "unverifiable",
        }
    }

    pub fn why(&self) -> Option<&str> {
        match self {
            Verdict::Verified => None,
            Verdict::Mismatch { why } | Verdict::Unverifiable { why } => Some(why),
        }
    }
}

/// keccak256 of the five 32-byte big-endian words the contract hashes.
pub fn seed(inputs: &ProofInputs) -> U256 {
    let mut hasher = Keccak256::new();
    for word in [
        U256::from(inputs.block_timestamp),
        U256::from_big_endian(inputs.prevrandao.as_bytes()),
        U256::from(inputs.block_number),
        U256::from(inputs.round_id),
        inputs.total_pot_wei,
    ] {
        let mut bytes = [0; 32];
        word.to_big_endian(&mut bytes);
        hasher.update(bytes);
    }
    U256::from_big_endian(&hasher.finalize())
}

/// The first player, in first-bet order, at which the running sum of total bets exceeds seed mod pot.
pub fn winner(seed: U256, total_pot_wei: U256, bets: &[Bet]) -> Option<Address> {
    let mut places: HashMap<Address, usize> = HashMap::new();
    let mut totals: Vec<(Address, U256)> = Vec::new();
    for bet in bets {
        let place = *places.entry(bet.player).or_insert_with(|| {
            totals.push((bet.player, U256::zero()));
            totals.len() - 1
        });
        totals[place].1 = totals[place].1.checked_add(bet.amount_wei)?;
    }
    winner_among(seed, total_pot_wei, totals)
}

/// The same of what each player has bet in all, in first-bet order.
pub fn winner_among(
    seed: U256,
    total_pot_wei: U256,
    totals: impl IntoIterator<Item = (Address, U256)>,
) -> Option<Address> {
    let target = seed.checked_rem(total_pot_wei)?;
    let mut running = U256::zero();
    totals.into_iter().find_map(|(player, total)| {
        running = running.saturating_add(total);
        (running > target).then_some(player)
    })
}

/// Compares the contract's seed and winner with the recomputed ones.
pub fn verify(inputs: &ProofInputs, announced_seed: U256, announced_winner: Address) -> Verdict {
    let sum = inputs
        .bets
        .iter()
        .try_fold(U256::zero(), |sum, bet| sum.checked_add(bet.amount_wei));
    if sum != Some(inputs.total_pot_wei) {
        let found = sum.map_or("more than 2^256".to_owned(), |sum| sum.to_string());
        return Verdict::Unverifiable {
            why: format!(
                "the known bets add up to {found} wei, the pot is {} wei",
                inputs.total_pot_wei
            ),
        };
    }
    let seed = seed(inputs);
    if seed != announced_seed {
        return Verdict::Mismatch {
            why: format!("the seed is {seed}, the contract announced {announced_seed}"),
        };
    }
    match winner(seed, inputs.total_pot_wei, inputs.bets) {
        Some(winner) if winner == announced_winner => Verdict::Verified,
        Some(winner) => Verdict::Mismatch {
            why: format!("the winner is {winner:#x}, the contract announced {announced_winner:#x}"),
        },
        None => Verdict::Unverifiable {
            why: "the pot is empty".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lottery::event::LogPosition;
    use proptest::prelude::*;

    fn bet(player: u64, wei: u64) -> Bet {
        let position = LogPosition {
            block_number: 1,
            block_hash: H256::zero(),
            block_timestamp: 1,
            transaction_hash: H256::zero(),
            log_index: 0,
        };
        Bet {
            player: Address::from_low_u64_be(player),
            amount_wei: U256::from(wei),
            position,
        }
    }

    #[test]
    fn the_winner_is_the_first_whose_running_sum_exceeds_the_target() {
        let bets = [bet(1, 10), bet(2, 5), bet(1, 10), bet(3, 5)];
        let wins = |target: u64| winner(U256::from(target), U256::from(30), &bets).unwrap();
        for (target, player) in [
            (0, 1),
            (19, 1),
            (20, 2),
            (24, 2),
            (25, 3),
            (29, 3),
            (30, 1),
            (59, 3),
        ] {
            assert_eq!(wins(target), Address::from_low_u64_be(player), "{target}");
        }
        assert_eq!(winner(U256::one(), U256::zero(), &[]), None);
    }

    #[test]
    fn verdicts_name_what_does_not_fit() {
        let bets = [bet(1, 10), bet(2, 20)];
        let inputs = ProofInputs {
            block_timestamp: 1_700_000_000,
            prevrandao: H256::repeat_byte(7),
            block_number: 99,
            round_id: 3,
            total_pot_wei: U256::from(30),
            bets: &bets,
        };
        let seed = seed(&inputs);
        let won = winner(seed, inputs.total_pot_wei, &bets).unwrap();
        let lost = if won == bets[0].player {
            bets[1].player
        } else {
            bets[0].player
        };
        assert_eq!(verify(&inputs, seed, won), Verdict::Verified);
        assert_eq!(verify(&inputs, seed, lost).label(), "mismatch");
        assert_eq!(verify(&inputs, seed + 1, won).label(), "mismatch");
        let partial = ProofInputs {
            bets: &bets[1..],
            ..inputs
        };
        let verdict = verify(&partial, seed, won);
        assert_eq!(
            verdict.why(),
            Some("the known bets add up to 20 wei, the pot is 30 wei")
        );
    }

    proptest! {
        #[test]
        fn some_bettor_always_wins(seed in any::<[u8; 32]>(), bets in proptest::collection::vec((0..9u64, 1..99u64), 1..20)) {
            let pot: u64 = bets.iter().map(|bet| bet.1).sum();
            let bets: Vec<Bet> = bets.into_iter().map(|(player, wei)| bet(player, wei)).collect();
            let winner = winner(U256::from_big_endian(&seed), U256::from(pot), &bets).unwrap();
            prop_assert!(bets.iter().any(|bet| bet.player == winner));
        }
    }
}
