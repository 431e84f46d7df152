//! Draws on every family of chains, honest and not, and what the recomputation says of each.

use proptest::prelude::*;

use super::*;
use crate::lottery::event::LogPosition;
use crate::lottery::round::RoundTimes;

const TIMESTAMP: u64 = 1_700_000_000;

/// Bets of (player, wei), in order, each with the pot after it.
fn bets(amounts: &[(u64, u64)]) -> Vec<Bet> {
    let mut pot_wei = U256::zero();
    let bet = |(player, wei): &(u64, u64)| {
        pot_wei += U256::from(*wei);
        Bet {
            player: Address::from_low_u64_be(*player),
            amount_wei: U256::from(*wei),
            new_total_wei: pot_wei,
            position: LogPosition {
                block_number: 1,
                block_hash: H256::zero(),
                block_timestamp: 1,
                transaction_hash: H256::zero(),
                transaction_index: 0,
                log_index: 0,
            },
        }
    };
    amounts.iter().map(bet).collect()
}

/// What the contract announces when its EVM sees these two values.
fn drawn(bets: &[Bet], round_id: u64, prevrandao: H256, number: u64) -> Draw<'_> {
    let total_pot_wei = bets.last().map_or(U256::zero(), |bet| bet.new_total_wei);
    let seen = Inputs {
        timestamp: TIMESTAMP,
        prevrandao,
        prevrandao_source: RandomnessSource::Opcode,
        number,
        number_source: NumberSource::Opcode,
    };
    let random_seed = seen.seed(round_id, total_pot_wei);
    let totals = totals(bets);
    Draw {
        round_id,
        timestamp: TIMESTAMP,
        total_pot_wei,
        participant_count: totals.len() as u64,
        winner: winner_among(random_seed, total_pot_wei, totals).unwrap(),
        winner_prize_wei: total_pot_wei,
        publisher_commission_wei: U256::zero(),
        random_seed,
        bets,
    }
}

fn header(number: u64, mix_hash: H256) -> HeaderValues {
    HeaderValues {
        number,
        mix_hash: Some(mix_hash),
        difficulty: Some(U256::zero()),
        l1_block_number: None,
    }
}

fn only_header(header: HeaderValues) -> DrawBlock {
    DrawBlock {
        opcodes: None,
        header: Some(header),
    }
}

fn told(prevrandao: H256, number: u64, header: HeaderValues) -> DrawBlock {
    let opcodes = Opcodes {
        prevrandao,
        number,
        timestamp: TIMESTAMP,
    };
    DrawBlock {
        opcodes: Some(opcodes),
        header: Some(header),
    }
}

fn sources(proof: &Proof) -> (&'static str, &'static str) {
    let inputs = proof.inputs.unwrap();
    (
        inputs.prevrandao_source.label(),
        inputs.number_source.label(),
    )
}

fn chance(byte: u8) -> H256 {
    H256::repeat_byte(byte)
}

#[test]
fn the_winner_is_the_first_whose_running_sum_exceeds_the_target() {
    let bets = bets(&[(1, 10), (2, 5), (1, 10), (3, 5)]);
    let wins = |target: u64| winner_among(target.into(), 30.into(), totals(&bets)).unwrap();
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
    assert_eq!(winner_among(U256::one(), U256::zero(), []), None);
}

/// Each family of chains, with the block's state at hand and without: verified, and the values are named.
#[test]
fn the_values_are_found_where_each_family_of_chains_keeps_them() {
    let bets = bets(&[(1, 10), (2, 20)]);
    let bsc = HeaderValues {
        difficulty: Some(2.into()),
        ..header(99, H256::zero())
    };
    let orbit = HeaderValues {
        difficulty: Some(1.into()),
        l1_block_number: Some(7_000),
        ..header(99, chance(4))
    };
    for (name, prevrandao, number, header, from_header, known_ahead) in [
        (
            "Ethereum",
            chance(7),
            99,
            header(99, chance(7)),
            ("mixHash", "number"),
            false,
        ),
        (
            "BSC",
            H256::from_low_u64_be(2),
            99,
            bsc,
            ("difficulty", "number"),
            true,
        ),
        (
            "Arbitrum",
            H256::from_low_u64_be(1),
            7_000,
            orbit,
            ("difficulty", "l1BlockNumber"),
            true,
        ),
    ] {
        let draw = drawn(&bets, 3, prevrandao, number);
        let with_state = verify(
            &draw,
            &told(prevrandao, number, header),
            &mut ChainHabits::default(),
        );
        assert_eq!(with_state.verdict, Verdict::Verified, "{name}");
        assert_eq!(sources(&with_state), ("opcode", "opcode"), "{name}");
        assert_eq!(with_state.known_ahead, known_ahead, "{name}");
        let without = verify(&draw, &only_header(header), &mut ChainHabits::default());
        assert_eq!(without.verdict, Verdict::Verified, "{name}");
        assert_eq!(sources(&without), from_header, "{name}");
        assert_eq!(without.known_ahead, known_ahead, "{name}");
    }
}

#[test]
fn a_constant_that_no_header_tells_is_verified_by_the_chain_alone_and_said_when_it_comes_again() {
    let bets = bets(&[(1, 10), (2, 20)]);
    let draw = drawn(&bets, 3, chance(9), 99);
    let block = told(chance(9), 99, header(99, chance(1)));
    let mut habits = ChainHabits::default();
    let first = verify(&draw, &block, &mut habits);
    assert_eq!(
        (first.verdict, first.known_ahead),
        (Verdict::Verified, false)
    );
    assert!(verify(&draw, &block, &mut habits).known_ahead);
    let without_state = verify(&draw, &only_header(header(99, chance(1))), &mut habits);
    assert_eq!(without_state.verdict.label(), "unverifiable");
}

#[test]
fn only_the_chains_own_word_or_settled_draws_accuse() {
    let bets = bets(&[(1, 10), (2, 20)]);
    let honest = drawn(&bets, 3, chance(7), 99);
    let forged = Draw {
        random_seed: honest.random_seed + 1,
        ..honest
    };
    let block = told(chance(7), 99, header(99, chance(7)));
    let header_alone = only_header(header(99, chance(7)));
    let unsettled = &mut ChainHabits::default();
    assert_eq!(
        verify(&forged, &block, unsettled).verdict.label(),
        "mismatch"
    );
    let doubt = verify(&forged, &header_alone, unsettled).verdict;
    assert_eq!(
        doubt.why(),
        Some("the state of the draw's block is out of reach, and nothing in its header reproduces the seed")
    );
    assert_eq!(doubt.label(), "unverifiable");

    let mut settled = ChainHabits::default();
    assert_eq!(
        verify(&honest, &header_alone, &mut settled).verdict,
        Verdict::Verified
    );
    assert_eq!(
        verify(&forged, &header_alone, &mut settled).verdict.label(),
        "mismatch"
    );
    // What a node does not tell accuses nobody.
    for mix_hash in [None, Some(H256::zero())] {
        let untold = HeaderValues {
            mix_hash,
            ..header(99, chance(7))
        };
        let doubt = verify(&honest, &only_header(untold), &mut settled).verdict;
        assert_eq!(doubt.label(), "unverifiable", "{mix_hash:?}");
    }
    let nothing = verify(&forged, &DrawBlock::default(), &mut settled);
    assert_eq!(
        nothing.verdict.why(),
        Some("the header of the draw's block is out of reach")
    );
    assert_eq!(nothing.inputs, None);
}

/// A header that does not tell what the contract saw is odd where earlier ones did, each time it comes, and no more is
/// accused by what headers say from then on.
#[test]
fn a_header_that_strays_from_those_before_it_is_told() {
    let bets = bets(&[(1, 10), (2, 20)]);
    let draw = |byte| drawn(&bets, 3, chance(byte), 99);
    let at = |byte, shown| told(chance(byte), 99, header(99, chance(shown)));
    let mut habits = ChainHabits::default();
    let strays = [(7, 7), (8, 1), (9, 9), (10, 1)].map(|(seen, shown)| {
        let proof = verify(&draw(seen), &at(seen, shown), &mut habits);
        assert_eq!(proof.verdict, Verdict::Verified);
        proof.header_strays
    });
    assert_eq!(strays, [false, true, false, true]);
    let forged = verify(&draw(11), &only_header(header(99, chance(1))), &mut habits);
    assert_eq!(forged.verdict.label(), "unverifiable");
    // On a chain whose headers never told it, nothing strays.
    let mut habits = ChainHabits::default();
    let strays = [7, 8].map(|seen| verify(&draw(seen), &at(seen, 1), &mut habits).header_strays);
    assert_eq!(strays, [false, false]);
}

/// Hardhat and its kin run a call in the block to come; other nodes answer with a constant of their own.
#[test]
fn a_node_that_calls_in_another_context_accuses_nobody() {
    let bets = bets(&[(1, 10), (2, 20)]);
    let honest = drawn(&bets, 3, chance(7), 99);
    let unknown = header(99, chance(1));
    for (number, timestamp) in [(100, TIMESTAMP + 1), (99, TIMESTAMP + 1), (100, TIMESTAMP)] {
        let opcodes = Opcodes {
            prevrandao: chance(8),
            number,
            timestamp,
        };
        let block = DrawBlock {
            opcodes: Some(opcodes),
            header: Some(unknown),
        };
        let proof = verify(&honest, &block, &mut ChainHabits::default());
        assert_eq!(
            proof.verdict.label(),
            "unverifiable",
            "{number} {timestamp}"
        );
    }
    // The header reproduces the draw: so the call saw something else, here and from now on.
    let mut habits = ChainHabits::default();
    let odd = told(chance(8), 99, header(99, chance(7)));
    let proof = verify(&honest, &odd, &mut habits);
    assert_eq!(
        (&proof.verdict, sources(&proof)),
        (&Verdict::Verified, ("mixHash", "opcode"))
    );
    let proof = verify(
        &honest,
        &told(
            chance(8),
            99,
            HeaderValues {
                mix_hash: None,
                ..unknown
            },
        ),
        &mut habits,
    );
    assert_eq!(proof.verdict.label(), "unverifiable");
}

#[test]
fn each_thing_that_does_not_follow_from_the_seed_is_named() {
    let bets = bets(&[(1, 10), (2, 20)]);
    let honest = drawn(&bets, 3, chance(7), 99);
    let block = only_header(header(99, chance(7)));
    let why = |draw: Draw| {
        let verdict = verify(&draw, &block, &mut ChainHabits::default()).verdict;
        (
            verdict.label(),
            verdict.why().unwrap_or_default().to_owned(),
        )
    };
    let loser = totals(&bets)
        .into_iter()
        .map(|(player, _)| player)
        .find(|player| *player != honest.winner)
        .unwrap();
    let (label, text) = why(Draw {
        winner: loser,
        ..honest
    });
    assert!(
        label == "mismatch" && text.starts_with("the winner is 0x"),
        "{text}"
    );
    assert_eq!(
        why(Draw {
            participant_count: 3,
            ..honest
        }),
        (
            "mismatch",
            "2 players bet, the contract announced 3".to_owned()
        )
    );
    assert_eq!(
        why(Draw {
            winner_prize_wei: 29.into(),
            ..honest
        }),
        (
            "mismatch",
            "prize 29 wei and commission 0 wei are not the pot of 30 wei".to_owned()
        )
    );
    assert_eq!(
        why(Draw {
            bets: &bets[1..],
            ..honest
        }),
        (
            "unverifiable",
            "the known bets add up to 20 wei, the pot is 30 wei".to_owned()
        )
    );
    let mut swapped = bets.clone();
    swapped.swap(0, 1);
    assert_eq!(
        why(Draw {
            bets: &swapped,
            ..honest
        }),
        (
            "unverifiable",
            "the bets do not lead from pot to pot in the order they are known".to_owned()
        )
    );
}

#[test]
fn a_refund_gives_every_bet_back_for_a_reason_that_can_be() {
    let bets = bets(&[(1, 10), (2, 20), (1, 5)]);
    let times = RoundTimes {
        round_id: 3,
        start_time: 100,
        end_time: 280,
        min_draw_time: 285,
        max_draw_time: 460,
    };
    let check = |total: u64, players, reason, timestamp| {
        verify_refund(&bets, total.into(), players, reason, timestamp, Some(times)).label()
    };
    const EXPIRED: &str = "Draw time expired - public refund";
    const FEW: &str = "Insufficient participants";
    for (total, players, reason, timestamp, label) in [
        (35, 2, EXPIRED, 461, "verified"),
        (35, 2, EXPIRED, 460, "mismatch"),
        (35, 2, FEW, 285, "verified"),
        (35, 2, FEW, 460, "verified"),
        (35, 2, FEW, 284, "mismatch"),
        (35, 2, FEW, 461, "mismatch"),
        (35, 2, "Operator-initiated refund", 101, "verified"),
        (35, 3, EXPIRED, 461, "mismatch"),
        (36, 2, EXPIRED, 461, "unverifiable"),
    ] {
        assert_eq!(
            check(total, players, reason, timestamp),
            label,
            "{total} {players} {reason} {timestamp}"
        );
    }
    let unknown_times = verify_refund(&bets, 35.into(), 2, EXPIRED, 1, None);
    assert_eq!(unknown_times, Verdict::Verified);
}

proptest! {
    /// Whatever was bet, the honest draw is verified, and no other winner or seed is.
    #[test]
    fn an_honest_draw_is_verified_and_a_changed_one_is_not(
        amounts in proptest::collection::vec((0..9u64, 1..99u64), 1..20),
        prevrandao in any::<[u8; 32]>(), number in 1..u64::MAX, is_constant in any::<bool>(), add in 1..9u64,
    ) {
        let bets = bets(&amounts);
        let prevrandao = match is_constant {
            true => H256::from_low_u64_be(2),
            false => H256(prevrandao),
        };
        let draw = drawn(&bets, 3, prevrandao, number);
        prop_assert!(bets.iter().any(|bet| bet.player == draw.winner));
        let block = told(prevrandao, number, header(number, prevrandao));
        let proof = verify(&draw, &block, &mut ChainHabits::default());
        prop_assert_eq!(proof.verdict, Verdict::Verified);
        let seed = Draw { random_seed: draw.random_seed ^ U256::from(add), ..draw };
        let winner = Draw { winner: draw.winner ^ Address::from_low_u64_be(add << 32), ..draw };
        for forged in [seed, winner] {
            let proof = verify(&forged, &block, &mut ChainHabits::default());
            prop_assert_eq!(proof.verdict.label(), "mismatch");
        }
    }
}
