//! Quotes, replacements and gas limits as tables with their boundaries, and as properties: no price above its caps, no
//! replacement that a pool would refuse. What nodes answer about prices is tried in the sender's tests.

use super::*;
use proptest::prelude::*;

fn gwei(amount: u64) -> U256 {
    U256::from(amount) * U256::exp10(9)
}

fn limits() -> FeeLimits {
    FeeLimits {
        max_fee_wei: gwei(500),
        max_tx_fee_wei: U256::exp10(18),
    }
}

fn dynamic(base: u64, tip: u64) -> Prices {
    Prices::Dynamic {
        next_base_fee_wei: gwei(base),
        tips: Tips {
            median_reward_wei: Some(gwei(tip)),
            ..Tips::default()
        },
    }
}

#[test]
fn a_quote_is_twice_the_base_fee_and_the_larger_tip() {
    let prices = Prices::Dynamic {
        next_base_fee_wei: gwei(10),
        tips: Tips {
            median_reward_wei: Some(gwei(1)),
            suggested_wei: Some(gwei(2)),
            ..Tips::default()
        },
    };
    let quote = quote(&prices, &limits(), 300_000, None);
    assert_eq!(
        quote,
        Quote {
            fee: Fee::Dynamic {
                cap_wei: gwei(22),
                tip_wei: gwei(2)
            },
            capped: false
        }
    );
}

#[test]
fn the_tip_is_never_nothing() {
    let prices = Prices::Dynamic {
        next_base_fee_wei: U256::zero(),
        tips: Tips::default(),
    };
    let fee = quote(&prices, &limits(), 300_000, None).fee;
    assert_eq!(
        fee,
        Fee::Dynamic {
            cap_wei: U256::one(),
            tip_wei: U256::one()
        }
    );
}

#[test]
fn a_suggestion_is_followed_as_far_as_others_bear_it_out() {
    let cases = [
        // (high reward, suggested, gas price, base fee) in gwei => tip
        (Some(1), Some(400), None, 10, gwei(4)),
        (Some(1), Some(3), None, 10, gwei(3)),
        (Some(1), None, Some(14), 10, gwei(4)),
        (Some(1), None, Some(15), 10, U256::one()),
        (Some(1), Some(400), Some(410), 10, gwei(4)),
        // Nothing was paid lately: one voice is followed to 2 gwei, two that agree wherever they lead.
        (None, None, Some(1), 0, gwei(1)),
        (Some(0), None, Some(1), 0, gwei(1)),
        (None, Some(0), Some(1), 0, gwei(1)),
        (None, Some(400), None, 10, gwei(400)),
        (None, Some(400), Some(11), 10, gwei(2)),
        (None, Some(30), Some(45), 10, gwei(30)),
        (None, None, None, 10, U256::one()),
        (None, None, Some(5), 10, U256::one()),
    ];
    for (high, suggested, price, base, expected) in cases {
        let tips = Tips {
            median_reward_wei: None,
            high_reward_wei: high.map(gwei),
            suggested_wei: suggested.map(gwei),
            gas_price_wei: price.map(gwei),
        };
        assert_eq!(tips.tip_wei(gwei(base)), expected, "{tips:?} at {base}");
    }
}

#[test]
fn what_a_refusal_names_is_offered() {
    let fee = Fee::Dynamic {
        cap_wei: gwei(3),
        tip_wei: gwei(1),
    };
    let tip = |wei| LeastFee {
        tip_wei: Some(wei),
        price_wei: None,
    };
    let price = |wei| LeastFee {
        tip_wei: None,
        price_wei: Some(wei),
    };
    let raised = |cap, tip| Fee::Dynamic {
        cap_wei: gwei(cap),
        tip_wei: gwei(tip),
    };
    assert_eq!(fee.raised_to(LeastFee::default(), gwei(1)), fee);
    assert_eq!(fee.raised_to(tip(gwei(5)), gwei(1)), raised(7, 5));
    assert_eq!(fee.raised_to(price(gwei(5)), gwei(1)), raised(10, 4));
    let legacy = Fee::Legacy {
        gas_price_wei: gwei(1),
    };
    let expected = Fee::Legacy {
        gas_price_wei: gwei(5),
    };
    assert_eq!(legacy.raised_to(price(gwei(4)), U256::zero()), expected);
}

#[test]
fn an_offer_sinks_to_what_the_next_block_costs_and_no_further() {
    let mut fee = Fee::Dynamic {
        cap_wei: gwei(21),
        tip_wei: gwei(1),
    };
    let mut caps = Vec::new();
    while let Some(lower) = fee.lowered(gwei(10)) {
        fee = lower;
        caps.push(fee.cap_wei());
        assert!(caps.len() < 10);
    }
    assert_eq!(caps.first(), Some(&(gwei(63) / 4)));
    assert_eq!(caps.last(), Some(&gwei(10)));
}

#[test]
fn only_a_tenth_more_on_both_takes_the_place_of_what_is_out() {
    let fee = |cap: u64, tip: u64| Fee::Dynamic {
        cap_wei: U256::from(cap),
        tip_wei: U256::from(tip),
    };
    let old = fee(100, 10);
    assert!(fee(110, 11).outbids(&old));
    assert!(!fee(109, 11).outbids(&old) && !fee(110, 10).outbids(&old) && !old.outbids(&old));
    assert!(!fee(0, 0).outbids(&fee(0, 0)));
}

#[test]
fn every_limit_bites_and_says_so() {
    let high = dynamic(400, 1);
    let quote_with = |limits: FeeLimits, gas, balance| quote(&high, &limits, gas, balance);
    assert_eq!(quote_with(limits(), 300_000, None).fee.cap_wei(), gwei(500));
    let small_transaction = FeeLimits {
        max_tx_fee_wei: gwei(300_000 * 7),
        ..limits()
    };
    let quote = quote_with(small_transaction, 300_000, None);
    assert_eq!((quote.fee.cap_wei(), quote.capped), (gwei(7), true));
    // A balance takes away what is offered for later blocks, not what the next one is worth.
    for (held, cap, tip) in [(450, 450, 1), (402, 402, 1), (401, 401, 1), (400, 401, 1)] {
        let poor = quote_with(limits(), 300_000, Some(gwei(300_000 * held)));
        let fee = Fee::Dynamic {
            cap_wei: gwei(cap),
            tip_wei: gwei(tip),
        };
        assert_eq!(poor, Quote { fee, capped: true });
    }
}

#[test]
fn legacy_chains_pay_a_quarter_more_than_the_gas_price() {
    let prices = Prices::Legacy {
        gas_price_wei: gwei(8),
    };
    let first = quote(&prices, &limits(), 300_000, None).fee;
    assert_eq!(
        first,
        Fee::Legacy {
            gas_price_wei: gwei(10)
        }
    );
    let second = bump(first, &prices, &limits(), 300_000, None).fee;
    assert_eq!(
        second,
        Fee::Legacy {
            gas_price_wei: U256::from(12_500_000_001u64)
        }
    );
}

#[test]
fn six_bumps_fit_below_the_default_cap() {
    let prices = dynamic(30, 1);
    let mut fee = quote(&prices, &limits(), 300_000, None).fee;
    for _ in 0..6 {
        let next = bump(fee, &prices, &limits(), 300_000, None);
        assert!(!next.capped);
        fee = next.fee;
    }
}

#[test]
fn gas_allows_for_another_winner_and_stops_at_the_maximum() {
    let draw = GasFormula {
        base: 300_000,
        per_participant: 13_000,
    };
    assert_eq!(
        gas_limit(Some(200_000), 1.25, draw, 10, 30_000_000),
        Ok(290_000)
    );
    assert_eq!(
        gas_limit(Some(2_000_000), 1.25, draw, 10, 30_000_000),
        Ok(2_500_000)
    );
    assert_eq!(gas_limit(None, 1.25, draw, 10, 30_000_000), Ok(430_000));
    assert_eq!(
        gas_limit(Some(900_000), 1.25, draw, 10, 1_000_000),
        Ok(1_000_000)
    );
    let too_much = TooMuchGas {
        needed: 1_000_001,
        allowed: 1_000_000,
    };
    assert_eq!(
        gas_limit(Some(1_000_001), 1.25, draw, 10, 1_000_000),
        Err(too_much)
    );
    let needed = TooMuchGas {
        needed: 344_000,
        allowed: 343_999,
    };
    assert_eq!(gas_limit(None, 1.25, draw, 10, 343_999), Err(needed));
    // The margin is no need: what is left of it is taken.
    assert_eq!(gas_limit(None, 1.25, draw, 10, 344_000), Ok(344_000));
    let most = draw.participants_max(EIP_7825_GAS_MAX);
    assert_eq!(most, 1_590);
    assert!(draw.needed(most) <= EIP_7825_GAS_MAX && draw.needed(most + 1) > EIP_7825_GAS_MAX);
}

proptest! {
    #[test]
    fn a_bump_passes_every_pool_unless_a_limit_bites(
        cap in 1..1_000_000_000_000u64, tip in 1..1_000_000_000_000u64,
        base in 0..1_000_000_000_000u64, reward in 0..1_000_000_000_000u64,
    ) {
        let previous = Fee::Dynamic { cap_wei: U256::from(cap.max(tip)), tip_wei: U256::from(tip.min(cap)) };
        let prices = Prices::Dynamic {
            next_base_fee_wei: U256::from(base),
            tips: Tips { median_reward_wei: Some(U256::from(reward)), ..Tips::default() },
        };
        let wide = FeeLimits { max_fee_wei: U256::MAX, max_tx_fee_wei: U256::MAX };
        let next = bump(previous, &prices, &wide, 1, None);
        let fresh = quote(&prices, &wide, 1, None);
        let (Fee::Dynamic { cap_wei: c0, tip_wei: t0 }, Fee::Dynamic { cap_wei: c1, tip_wei: t1 },
             Fee::Dynamic { cap_wei: cq, tip_wei: tq }) = (previous, next.fee, fresh.fee) else { panic!() };
        prop_assert!(!next.capped);
        prop_assert!(c1 * 10 >= c0 * 11 && t1 * 10 >= t0 * 11 && c1 >= cq && t1 >= tq && c1 >= t1);
        // The effective price at the current base fee rises by a tenth as well.
        let effective = |cap: U256, tip: U256| cap.min(tip + base);
        prop_assert!(effective(c1, t1) * 10 >= effective(c0, t0) * 11);
    }

    #[test]
    fn no_fee_is_ever_above_its_limits(
        base in any::<u64>(), gas in 21_000..30_000_000u64, max_gwei in 1..1_000u64, balance in any::<u64>(),
    ) {
        let prices = Prices::Dynamic {
            next_base_fee_wei: U256::from(base), tips: Tips::default(),
        };
        let limits = FeeLimits { max_fee_wei: gwei(max_gwei), max_tx_fee_wei: U256::exp10(18) };
        let first = quote(&prices, &limits, gas, Some(U256::from(balance)));
        let second = bump(first.fee, &prices, &limits, gas, Some(U256::from(balance)));
        for fee in [first.fee, second.fee] {
            prop_assert!(fee.cap_wei() <= limits.max_fee_wei);
            prop_assert!(fee.cap_wei() * gas <= limits.max_tx_fee_wei);
            prop_assert!(fee.cap_wei() <= (U256::from(balance) / gas).max(prices.fair_wei()));
        }
    }
}

#[test]
fn the_higher_of_two_offers_is_taken_in_both_of_its_parts() {
    let dynamic = |cap: u64, tip: u64| Fee::Dynamic {
        cap_wei: U256::from(cap),
        tip_wei: U256::from(tip),
    };
    let legacy = |price: u64| Fee::Legacy {
        gas_price_wei: U256::from(price),
    };
    for (own, other, higher) in [
        (dynamic(9, 2), dynamic(7, 3), dynamic(9, 3)),
        (dynamic(7, 3), dynamic(9, 2), dynamic(9, 3)),
        (legacy(5), legacy(6), legacy(6)),
        (legacy(6), legacy(5), legacy(6)),
        (legacy(5), dynamic(9, 2), legacy(5)),
    ] {
        assert_eq!(own.no_less_than(&other), higher, "{own:?}, {other:?}");
    }
}
