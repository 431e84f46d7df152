//! What is made of pools' answers.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::actors::sender::inquiry::tests::betting;
use crate::actors::sender::reads::tests::sender_over;
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::chain::endpoints::Endpoints;
use crate::chain::script::Script;
use crate::chain::transport::Transport;
use crate::chain::types::H256;

const GWEI: u64 = 1_000_000_000;

/// What a pool answers: a result, or an error's words.
type Says = Result<&'static str, &'static str>;

const TAKEN: Says = Ok("0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
const GAS_TOO_LOW: Says = Err("intrinsic gas too low");

fn dynamic(cap_gwei: u64, tip_gwei: u64) -> Fee {
    Fee::Dynamic {
        cap_wei: U256::from(cap_gwei * GWEI),
        tip_wei: U256::from(tip_gwei * GWEI),
    }
}

/// What is signed anew, and whether a pool is known to hold any of it, after the last of these offers was handed to pools
/// that answer so; they all see a base fee and a tip of 1 gwei. Where `is_first_held` one of them has taken the first.
fn sent_to(pools: &[Says], offers: &[Fee], is_first_held: bool) -> (Vec<(Fee, u64)>, SendState) {
    let clock = Clock::manual(5_000_000);
    let pool = |(index, says): (usize, &Says)| {
        let says = *says;
        let pool = Script::of_calls(&format!("http://{index}"), move |method, _| match method {
            "eth_chainId" => Ok(json!("0x7a69")),
            "eth_gasPrice" => Ok(json!(format!("{:#x}", 2 * GWEI))),
            "eth_maxPriorityFeePerGas" => Ok(json!(format!("{GWEI:#x}"))),
            "eth_getBalance" => Ok(json!(format!("{:#x}", u64::MAX))),
            "eth_getBlockByNumber" => Ok(json!({
                "number": "0xc", "hash": H256::repeat_byte(12), "parentHash": H256::repeat_byte(11),
                "timestamp": "0x64", "baseFeePerGas": format!("{GWEI:#x}"),
            })),
            "eth_sendRawTransaction" => match says {
                Ok(result) => Ok(json!(result)),
                Err(words) => Err(json!({"code": -32000, "message": words})),
            },
            _ => Err(json!({"code": -32601, "message": "method not found"})),
        });
        Arc::new(pool) as Arc<dyn Transport>
    };
    let pools = pools.iter().enumerate().map(pool).collect();
    let endpoints = Endpoints::over(pools, 31_337, clock.clone(), &Metrics::default());
    let mut sender = sender_over(endpoints);
    let head = BlockRef {
        number: 12,
        hash: H256::repeat_byte(12),
        parent_hash: H256::repeat_byte(11),
        timestamp: 100,
    };
    let round = betting();
    let variant = |index: usize| Variant {
        kind: ActionKind::Draw,
        hash: H256::repeat_byte(0xd0 + index as u8),
        raw: vec![1],
        fee: offers[index],
        room: Room {
            gas: 300_000,
            players_max: 2,
        },
    };
    let now = clock.now();
    let mut state = SendState::begin(7, 5, variant(0), head, now);
    if is_first_held {
        state.note_accepted();
    }
    (1..offers.len()).for_each(|index| state.add(variant(index), head, now));
    sender.broadcast(&mut state, head, &round, now);
    let cures = state.variants().iter().skip(offers.len());
    let cures = cures.map(|cure| (cure.fee, cure.room.gas)).collect();
    (cures, state)
}

/// What is offered after a pool has called the gas of the last of these offers too little.
fn offered_after(offers: &[Fee], is_first_held: bool) -> Vec<(Fee, u64)> {
    sent_to(&[GAS_TOO_LOW], offers, is_first_held).0
}

#[test]
fn more_gas_is_offered_for_no_less_than_was_to_replace_what_a_pool_holds() {
    let (first, second) = (dynamic(16, 3), dynamic(20, 4));
    let cures = offered_after(&[first, second], true);
    assert_eq!(cures.first(), Some(&(second, 600_000)));
    assert!(cures.iter().all(|(fee, _)| *fee == second), "{cures:?}");
    // Where no pool holds anything, a fresh quote is enough.
    let fresh = offered_after(&[first, second], false);
    assert_eq!(fresh.first(), Some(&(dynamic(3, 1), 600_000)));
}

#[test]
fn what_a_pool_holds_itself_is_outbid_by_an_offer_of_more_gas() {
    for held in [dynamic(20, 4), dynamic(2, 1)] {
        let cures = offered_after(&[held], true);
        let (fee, gas_limit) = cures[0];
        assert!(fee.outbids(&held) && gas_limit == 600_000, "{cures:?}");
        // What was refused is held by nobody: still more gas costs no further raise.
        assert!(cures.iter().all(|(next, _)| *next == fee), "{cures:?}");
    }
    // What cannot be outbid within the limits stays.
    assert_eq!(offered_after(&[dynamic(950, 950)], true), []);
}

#[test]
fn beside_a_pool_that_has_taken_it_others_do_not_raise_what_is_offered() {
    const UNDERPRICED: Says = Err("replacement transaction underpriced");
    const NO_TYPE_2: Says = Err("transaction type not supported");
    let offers = [dynamic(16, 3), dynamic(20, 4)];
    // In whatever order they answer.
    for _ in 0..20 {
        let (cures, state) = sent_to(&[UNDERPRICED, TAKEN, UNDERPRICED], &offers, false);
        assert_eq!(cures, []);
        assert!(state.was_accepted());
        // Who says that the chain takes none of this type is heard, once.
        let (cures, state) = sent_to(&[UNDERPRICED, NO_TYPE_2, TAKEN], &offers, false);
        assert!(cures.len() <= 1, "{cures:?}");
        assert!(state.was_accepted());
    }
    // Of a pool that holds something dearer of another's, one step a block.
    assert_eq!(sent_to(&[UNDERPRICED], &offers, true).0.len(), 1);
}

#[test]
fn what_a_node_may_have_taken_without_saying_so_is_outbid_as_well() {
    // The answer of the first is none, so that it may hold the offer.
    let (cures, state) = sent_to(&[Ok("nothing"), GAS_TOO_LOW], &[dynamic(20, 4)], false);
    assert!(!state.was_accepted());
    assert!(
        cures.iter().all(|(fee, _)| fee.outbids(&dynamic(20, 4))),
        "{cures:?}"
    );
}

#[test]
fn what_was_lowered_is_raised_to_take_the_place_of_what_a_pool_holds() {
    let (held, lowered) = (dynamic(20, 4), dynamic(5, 2));
    for says in [
        "replacement transaction underpriced",
        "intrinsic gas too low",
    ] {
        let (cures, _) = sent_to(&[Err(says)], &[held, lowered], true);
        assert!(!cures.is_empty(), "{says}");
        assert!(cures.iter().all(|(fee, _)| fee.outbids(&held)), "{cures:?}");
    }
}

/// Whichever pool answers last.
#[test]
fn that_a_chain_takes_no_such_type_is_heard_beside_a_pool_that_finds_the_account_short() {
    let pools = [
        Err("transaction type not supported"),
        Err("insufficient funds for gas * price + value"),
    ];
    let [no_type_2, short] = &pools;
    for pools in [[*no_type_2, *short], [*short, *no_type_2]].repeat(10) {
        let (cures, _) = sent_to(&pools, &[dynamic(20, 4)], false);
        assert!(matches!(cures[0].0, Fee::Legacy { .. }), "{cures:?}");
    }
}
