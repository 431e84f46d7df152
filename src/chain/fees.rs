//! What to pay and how much gas to allow. Pure.
//!
//! A first quote is 2 x the next base fee plus a tip; a replacement satisfies the strictest pool rules known (geth, reth
//! and erigon: fee cap AND tip each at least a tenth higher; nethermind and besu: the effective price) and is never
//! below a fresh quote. Sources: EIP-1559, EIP-7825, and the nodes' own pool code.

use thiserror::Error;

use crate::chain::demanded::LeastFee;
use crate::chain::types::U256;

/// EIP-7825: no transaction may use more gas than this where it is in force.
pub const EIP_7825_GAS_MAX: u64 = 16_777_216;

/// What a transaction offers a unit of gas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fee {
    /// EIP-1559.
    Dynamic { cap_wei: U256, tip_wei: U256 },
    /// For chains without a base fee.
    Legacy { gas_price_wei: U256 },
}

impl Fee {
    /// The most a unit of gas can cost.
    pub fn cap_wei(&self) -> U256 {
        match self {
            Fee::Dynamic { cap_wei, .. } => *cap_wei,
            Fee::Legacy { gas_price_wei } => *gas_price_wei,
        }
    }
}

/// What the node says about prices now; what it does not say is unknown, never an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prices {
    Dynamic { next_base_fee_wei: U256, tips: Tips },
    Legacy { gas_price_wei: U256 },
}

/// Where a tip can be learned from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tips {
    /// The median of what recent blocks' median transactions paid.
    pub median_reward_wei: Option<U256>,
    /// The same of their 90th percentile; None where recent blocks were empty.
    pub high_reward_wei: Option<U256>,
    /// eth_maxPriorityFeePerGas.
    pub suggested_wei: Option<U256>,
    /// eth_gasPrice: base fee and tip in one.
    pub gas_price_wei: Option<U256>,
}

/// A suggested tip is followed up to so many times what the dearer transactions of recent blocks paid.
const SUGGESTION_TIMES_MAX: u64 = 4;
/// Where recent blocks tell nothing, a tip above this is followed only when two sources agree on it: 2 gwei.
const LONE_SUGGESTION_MAX_WEI: u64 = 2_000_000_000;

impl Tips {
    /// What to offer beside a base fee; at least 1 wei, since some pools take nothing less.
    fn tip_wei(&self, base_fee_wei: U256) -> U256 {
        let in_gas_price = self
            .gas_price_wei
            .map(|price| price.saturating_sub(base_fee_wei));
        let suggested = match self.high_reward_wei.filter(|wei| !wei.is_zero()) {
            Some(high) => {
                let most = high.saturating_mul(U256::from(SUGGESTION_TIMES_MAX));
                let bounded = self.suggested_wei.map(|wei| wei.min(most));
                bounded.max(in_gas_price.filter(|wei| *wei <= most))
            }
            None => {
                let lone = U256::from(LONE_SUGGESTION_MAX_WEI);
                let agreed = match (self.suggested_wei, in_gas_price) {
                    (Some(one), Some(other)) => one.min(other),
                    (one, other) => one.or(other).unwrap_or_default(),
                };
                let larger = self.suggested_wei.max(in_gas_price);
                larger.map(|wei| wei.min(agreed.max(lone)))
            }
        };
        let median = self.median_reward_wei.unwrap_or_default();
        median.max(suggested.unwrap_or_default()).max(U256::one())
    }
}

impl Prices {
    /// The least a unit of gas can cost in the next block.
    pub fn least_wei(&self) -> U256 {
        match self {
            Prices::Dynamic {
                next_base_fee_wei, ..
            } => *next_base_fee_wei,
            Prices::Legacy { gas_price_wei } => *gas_price_wei,
        }
    }
}

/// The most that may be offered.
#[derive(Clone, Copy, Debug)]
pub struct FeeLimits {
    pub max_fee_wei: U256,
    pub max_tx_fee_wei: U256,
}

/// A fee, and whether a limit made it lower than it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    pub fee: Fee,
    pub capped: bool,
}

/// The limit for one transaction of `gas_limit`: per gas, per transaction, and what the account holds.
pub fn ceiling_wei(limits: &FeeLimits, gas_limit: u64, balance_wei: Option<U256>) -> U256 {
    let gas = U256::from(gas_limit.max(1));
    let mut ceiling = limits.max_fee_wei.min(limits.max_tx_fee_wei / gas);
    if let Some(balance_wei) = balance_wei {
        ceiling = ceiling.min(balance_wei / gas);
    }
    ceiling
}

impl Fee {
    /// The fee raised to what a refusal named as the least.
    pub fn raised_to(self, least: LeastFee, base_fee_wei: U256) -> Fee {
        let price = least.price_wei.unwrap_or_default();
        match self {
            Fee::Dynamic { cap_wei, tip_wei } => {
                let in_price = price.saturating_sub(base_fee_wei);
                let tip_wei = tip_wei.max(least.tip_wei.unwrap_or_default()).max(in_price);
                let cap_wei = cap_wei
                    .max(
                        base_fee_wei
                            .saturating_mul(U256::from(2))
                            .saturating_add(tip_wei),
                    )
                    .max(price.saturating_mul(U256::from(2)));
                Fee::Dynamic { cap_wei, tip_wei }
            }
            Fee::Legacy { gas_price_wei } => {
                let with_tip = base_fee_wei.saturating_add(least.tip_wei.unwrap_or_default());
                Fee::Legacy {
                    gas_price_wei: gas_price_wei.max(percent(price.max(with_tip), 125)),
                }
            }
        }
    }

    /// The next lower offer for an account that is refused for its funds though they seem to suffice; None once the
    /// fee is down at what the next block costs at the least.
    pub fn lowered(self, least_wei: U256) -> Option<Fee> {
        let cap_wei = self.cap_wei();
        let lower = (cap_wei / U256::from(4) * U256::from(3))
            .max(least_wei)
            .max(U256::one());
        (lower < cap_wei).then(|| clamp(self, lower).fee)
    }

    /// Whether every pool would let this take the place of `previous`.
    pub fn outbids(&self, previous: &Fee) -> bool {
        let is_tenth_more = |new: U256, old: U256| {
            new.saturating_mul(U256::from(10)) >= old.saturating_mul(U256::from(11)) && new > old
        };
        is_tenth_more(self.cap_wei(), previous.cap_wei())
            && is_tenth_more(self.tip_wei(), previous.tip_wei())
    }

    fn tip_wei(&self) -> U256 {
        match self {
            Fee::Dynamic { tip_wei, .. } => *tip_wei,
            Fee::Legacy { gas_price_wei } => *gas_price_wei,
        }
    }
}

impl Quote {
    /// The same, as far as these limits allow.
    pub fn within(self, limits: &FeeLimits, gas_limit: u64, balance_wei: Option<U256>) -> Quote {
        let clamped = clamp(self.fee, ceiling_wei(limits, gas_limit, balance_wei));
        Quote {
            capped: clamped.capped || self.capped,
            ..clamped
        }
    }
}

/// The fee for a first transaction.
pub fn quote(
    prices: &Prices,
    limits: &FeeLimits,
    gas_limit: u64,
    balance_wei: Option<U256>,
) -> Quote {
    clamp(
        uncapped(prices),
        ceiling_wei(limits, gas_limit, balance_wei),
    )
}

/// The fee for a replacement of `previous` at the same nonce.
pub fn bump(
    previous: Fee,
    prices: &Prices,
    limits: &FeeLimits,
    gas_limit: u64,
    balance_wei: Option<U256>,
) -> Quote {
    let raised = match (previous, uncapped(prices)) {
        // The chain turned out to take no dynamic fees: the price alone has to outbid both.
        (Fee::Dynamic { cap_wei, .. }, Fee::Legacy { gas_price_wei }) => Fee::Legacy {
            gas_price_wei: tenth_more(cap_wei)
                .saturating_add(U256::one())
                .max(gas_price_wei),
        },
        (Fee::Dynamic { cap_wei, tip_wei }, fresh) => {
            let base_fee_wei = match prices {
                Prices::Dynamic {
                    next_base_fee_wei, ..
                } => *next_base_fee_wei,
                Prices::Legacy { .. } => U256::zero(),
            };
            let (fresh_cap, fresh_tip) = match fresh {
                Fee::Dynamic { cap_wei, tip_wei } => (cap_wei, tip_wei),
                Fee::Legacy { gas_price_wei } => (gas_price_wei, gas_price_wei),
            };
            let tip = tenth_more(tip_wei)
                .max(tip_wei.saturating_add(tenth_of(base_fee_wei.saturating_add(tip_wei))))
                .saturating_add(U256::one())
                .max(fresh_tip);
            let cap = tenth_more(cap_wei)
                .max(
                    base_fee_wei
                        .saturating_mul(U256::from(2))
                        .saturating_add(tip),
                )
                .saturating_add(U256::one())
                .max(fresh_cap);
            Fee::Dynamic {
                cap_wei: cap,
                tip_wei: tip,
            }
        }
        (Fee::Legacy { gas_price_wei }, fresh) => Fee::Legacy {
            gas_price_wei: percent(gas_price_wei, 125)
                .saturating_add(U256::one())
                .max(fresh.cap_wei()),
        },
    };
    clamp(raised, ceiling_wei(limits, gas_limit, balance_wei))
}

fn uncapped(prices: &Prices) -> Fee {
    match prices {
        Prices::Dynamic {
            next_base_fee_wei,
            tips,
        } => {
            let tip_wei = tips.tip_wei(*next_base_fee_wei);
            let cap_wei = next_base_fee_wei
                .saturating_mul(U256::from(2))
                .saturating_add(tip_wei);
            Fee::Dynamic { cap_wei, tip_wei }
        }
        Prices::Legacy { gas_price_wei } => Fee::Legacy {
            gas_price_wei: percent(*gas_price_wei, 125).max(U256::one()),
        },
    }
}

fn clamp(fee: Fee, ceiling_wei: U256) -> Quote {
    let capped = fee.cap_wei() > ceiling_wei;
    let fee = match fee {
        Fee::Dynamic { cap_wei, tip_wei } => Fee::Dynamic {
            cap_wei: cap_wei.min(ceiling_wei),
            tip_wei: tip_wei.min(ceiling_wei),
        },
        Fee::Legacy { gas_price_wei } => Fee::Legacy {
            gas_price_wei: gas_price_wei.min(ceiling_wei),
        },
    };
    Quote { fee, capped }
}

/// 1.25 is used where 1.10 is demanded, so that six replacements outrun any rise a window can see.
fn tenth_more(wei: U256) -> U256 {
    percent(wei, 125)
}

fn tenth_of(wei: U256) -> U256 {
    wei / U256::from(10) + U256::one()
}

/// Rounded up; saturating, since nobody owns 2^256 wei.
fn percent(wei: U256, percent: u64) -> U256 {
    wei.saturating_mul(U256::from(percent))
        .saturating_add(U256::from(99))
        / U256::from(100)
}

/// How the gas of an action grows with the players, for when no estimate can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GasFormula {
    pub base: u64,
    pub per_participant: u64,
}

impl GasFormula {
    pub fn gas(&self, participants: u64) -> u64 {
        self.base
            .saturating_add(self.per_participant.saturating_mul(participants))
    }

    /// With how many players the action no longer fits into `gas_max`.
    pub fn participants_max(&self, gas_max: u64) -> u64 {
        gas_max.saturating_sub(self.base) / self.per_participant.max(1)
    }
}

#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{needed} gas are needed, at most {allowed} are allowed")]
pub struct TooMuchGas {
    pub needed: u64,
    pub allowed: u64,
}

/// The gas limit: the estimate with a margin for another winner in another block, or the formula; at most `gas_max`.
pub fn gas_limit(
    estimate: Option<u64>,
    multiplier: f64,
    formula: GasFormula,
    participants: u64,
    gas_max: u64,
) -> Result<u64, TooMuchGas> {
    let wanted = match estimate {
        // An estimate fits a block's gas and the multiplier is at most 10, far below 2^53.
        Some(estimate) => ((estimate as f64 * multiplier).ceil() as u64).max(
            estimate
                .saturating_add(3_000u64.saturating_mul(participants))
                .saturating_add(60_000),
        ),
        None => formula.gas(participants),
    };
    let needed = estimate.unwrap_or(wanted);
    if needed > gas_max {
        return Err(TooMuchGas {
            needed,
            allowed: gas_max,
        });
    }
    Ok(wanted.min(gas_max))
}

#[cfg(test)]
mod tests {
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
        let poor = quote_with(limits(), 300_000, Some(gwei(300_000 * 3)));
        assert_eq!(
            poor,
            Quote {
                fee: Fee::Dynamic {
                    cap_wei: gwei(3),
                    tip_wei: gwei(1)
                },
                capped: true
            }
        );
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
            needed: 430_000,
            allowed: 400_000,
        };
        assert_eq!(gas_limit(None, 1.25, draw, 10, 400_000), Err(needed));
        assert_eq!(draw.participants_max(EIP_7825_GAS_MAX), 1_267);
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
                prop_assert!(fee.cap_wei() * gas <= limits.max_tx_fee_wei.min(U256::from(balance)));
            }
        }
    }
}
