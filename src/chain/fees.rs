//! What to pay and how much gas to allow. Pure.
//!
//! A first quote is 2 x the next base fee plus a tip; a replacement satisfies the strictest pool rules known (geth, reth
//! and erigon: fee cap AND tip each at least a tenth higher; nethermind and besu: the effective price) and is never
//! below a fresh quote. Sources: EIP-1559, EIP-7825, and the nodes' own pool code.

use thiserror::Error;

use crate::chain::demanded::LeastFee;
use crate::chain::types::U256;

/// EIP-7825: no transaction may use more gas than this where it is in force.
pub(crate) const EIP_7825_GAS_MAX: u64 = 16_777_216;

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

    /// What a unit of gas cost in a block with that base fee, as a receipt tells it; None where it cannot have been so:
    /// no block takes more than was offered, or less than its base fee, or takes anything for nothing.
    pub(crate) fn paid_wei(
        &self,
        told_wei: Option<U256>,
        base_fee_wei: Option<U256>,
    ) -> Option<U256> {
        let cap_wei = self.cap_wei();
        let least_wei = base_fee_wei.unwrap_or_default().max(U256::one());
        match (told_wei, self) {
            // Before EIP-1559 a receipt told no price, since it was the one offered.
            (None, Fee::Legacy { gas_price_wei }) => Some(*gas_price_wei),
            _ => told_wei.filter(|wei| (least_wei.min(cap_wei)..=cap_wei).contains(wei)),
        }
    }

    /// The most that a unit of gas can have cost there.
    pub(crate) fn most_paid_wei(&self, base_fee_wei: Option<U256>) -> U256 {
        match (self, base_fee_wei.filter(|wei| !wei.is_zero())) {
            (Fee::Dynamic { cap_wei, tip_wei }, Some(base_fee_wei)) => {
                base_fee_wei.saturating_add(*tip_wei).min(*cap_wei)
            }
            _ => self.cap_wei(),
        }
    }
}

/// What the node says about prices now; what it does not say is unknown, never an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prices {
    Dynamic { next_base_fee_wei: U256, tips: Tips },
    Legacy { gas_price_wei: U256 },
}

/// Where a tip can be learned from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tips {
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
    pub(crate) fn least_wei(&self) -> U256 {
        match self {
            Prices::Dynamic {
                next_base_fee_wei, ..
            } => *next_base_fee_wei,
            Prices::Legacy { gas_price_wei } => *gas_price_wei,
        }
    }

    /// What a unit of gas is worth there to whoever makes the next block, with the tip that others pay.
    fn fair_wei(&self) -> U256 {
        match self {
            Prices::Dynamic {
                next_base_fee_wei,
                tips,
            } => next_base_fee_wei.saturating_add(tips.tip_wei(*next_base_fee_wei)),
            Prices::Legacy { gas_price_wei } => *gas_price_wei,
        }
    }

    /// The least that so much gas can cost there.
    pub(crate) fn least_cost_wei(&self, gas: u64) -> U256 {
        self.least_wei().saturating_mul(U256::from(gas))
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
pub(crate) fn ceiling_wei(limits: &FeeLimits, gas_limit: u64, balance_wei: Option<U256>) -> U256 {
    let gas = U256::from(gas_limit.max(1));
    let ceiling = limits.max_fee_wei.min(limits.max_tx_fee_wei / gas);
    ceiling.min(balance_wei.map_or(U256::MAX, |wei| wei / gas))
}

/// The same for an offer that no pool has refused for want of funds: a balance takes away what is offered for later blocks,
/// not what the next one is worth. One endpoint's figure, if it is wrong, would else keep the transaction out of all blocks.
pub(crate) fn offer_ceiling_wei(
    prices: &Prices,
    limits: &FeeLimits,
    gas_limit: u64,
    balance_wei: Option<U256>,
) -> U256 {
    let held = ceiling_wei(limits, gas_limit, balance_wei);
    let most = ceiling_wei(limits, gas_limit, None);
    held.max(prices.fair_wei().min(most))
}

impl Fee {
    /// The fee raised to what a refusal named as the least.
    pub(crate) fn raised_to(self, least: LeastFee, base_fee_wei: U256) -> Fee {
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
    pub(crate) fn lowered(self, least_wei: U256) -> Option<Fee> {
        let cap_wei = self.cap_wei();
        let lower = (cap_wei / U256::from(4) * U256::from(3))
            .max(least_wei)
            .max(U256::one());
        (lower < cap_wei).then(|| clamp(self, lower).fee)
    }

    /// The higher of both offers, where they are of one kind; else this one.
    pub(crate) fn no_less_than(self, other: &Fee) -> Fee {
        match (self, *other) {
            (
                Fee::Dynamic { cap_wei, tip_wei },
                Fee::Dynamic {
                    cap_wei: other_cap_wei,
                    tip_wei: other_tip_wei,
                },
            ) => Fee::Dynamic {
                cap_wei: cap_wei.max(other_cap_wei),
                tip_wei: tip_wei.max(other_tip_wei),
            },
            (
                Fee::Legacy { gas_price_wei },
                Fee::Legacy {
                    gas_price_wei: other_wei,
                },
            ) => Fee::Legacy {
                gas_price_wei: gas_price_wei.max(other_wei),
            },
            (own, _) => own,
        }
    }

    /// Whether every pool would let this take the place of `previous`.
    pub(crate) fn outbids(&self, previous: &Fee) -> bool {
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
    /// The same, as far as this ceiling allows.
    pub(crate) fn within(self, ceiling_wei: U256) -> Quote {
        let clamped = clamp(self.fee, ceiling_wei);
        Quote {
            capped: clamped.capped || self.capped,
            ..clamped
        }
    }
}

/// The fee for a first transaction.
pub(crate) fn quote(
    prices: &Prices,
    limits: &FeeLimits,
    gas_limit: u64,
    balance_wei: Option<U256>,
) -> Quote {
    let ceiling_wei = offer_ceiling_wei(prices, limits, gas_limit, balance_wei);
    clamp(uncapped(prices), ceiling_wei)
}

/// The fee for a replacement of `previous` at the same nonce.
pub(crate) fn bump(
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
    let ceiling_wei = offer_ceiling_wei(prices, limits, gas_limit, balance_wei);
    clamp(raised, ceiling_wei)
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

    /// What such actions were measured to need: the formula is a quarter above it.
    pub fn needed(&self, participants: u64) -> u64 {
        let gas = self.gas(participants);
        gas - gas / 5
    }

    /// The most players with whom the action fits into `gas_max`.
    pub fn participants_max(&self, gas_max: u64) -> u64 {
        let with_margin = gas_max.saturating_add(gas_max / 4);
        with_margin.saturating_sub(self.base) / self.per_participant.max(1)
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
    let needed = estimate.unwrap_or_else(|| formula.needed(participants));
    if needed > gas_max {
        return Err(TooMuchGas {
            needed,
            allowed: gas_max,
        });
    }
    Ok(wanted.min(gas_max))
}

#[cfg(test)]
mod tests;
