//! What an action can do without and is better with: an estimate of its gas, the balance, the prices. They go out beside
//! what an action needs, in the same round trip; where an endpoint lets them wait for ever they are asked one by one,
//! and the one that stays silent is left out for some minutes, so that it costs no second action its time.

use crate::chain::error::RpcError;
use crate::chain::fees::{Prices, Tips};
use crate::chain::method::Method;
use crate::chain::node::Endpoint;
use crate::chain::query::{self, Query};
use crate::chain::together::{Answers, Ticket, Together};
use crate::chain::types::{Address, BlockId, CallRequest, FeeHistory, Header, U256};

/// Asked one by one in this order: prices first, since without any nothing can be offered.
const ONE_BY_ONE: [Method; 6] = [
    Method::BlockByNumber,
    Method::GasPrice,
    Method::EstimateGas,
    Method::GetBalance,
    Method::FeeHistory,
    Method::MaxPriorityFee,
];

/// The questions; they own all that they are about.
#[derive(Clone)]
pub(super) struct ExtraQuestions {
    pub(super) account: Address,
    pub(super) request: CallRequest,
    pub(super) at: BlockId,
    /// None: no estimate is wanted; else the time that the block is given for it, where it can be given one.
    pub(super) estimate_at: Option<Option<u64>>,
}

/// Their answers on the way.
#[derive(Default)]
pub(super) struct ExtraTickets {
    header: Option<Ticket<Header>>,
    estimate: Option<Ticket<u64>>,
    balance: Option<Ticket<U256>>,
    history: Option<Ticket<FeeHistory>>,
    suggested_tip: Option<Ticket<U256>>,
    gas_price: Option<Ticket<U256>>,
}

/// Their answers, each as far as it was told.
#[derive(Default)]
pub(super) struct Extras {
    pub(super) header: Option<Header>,
    pub(super) balance_wei: Option<U256>,
    pub(super) estimate: Option<u64>,
    /// The contract's, to the estimate.
    pub(super) refusal: Option<RpcError>,
    history: FeeHistory,
    suggested_tip_wei: Option<U256>,
    gas_price_wei: Option<U256>,
    /// Why the first of those that are missing is; the estimate and the two hints are nobody's fault.
    pub(super) missing: Option<RpcError>,
}

impl ExtraQuestions {
    /// Adds what the endpoint is not left alone with, of the methods that are wanted.
    pub(super) fn add(
        &self,
        together: &mut Together,
        endpoint: &Endpoint,
        is_wanted: impl Fn(Method) -> bool,
    ) -> ExtraTickets {
        let goes = |method| is_wanted(method) && !endpoint.leaves_out(method);
        fn add<T>(
            together: &mut Together,
            query: Query<T>,
            goes: impl Fn(Method) -> bool,
        ) -> Option<Ticket<T>> {
            goes(query.method()).then(|| together.add(query))
        }
        let estimate = self
            .estimate_at
            .map(|time| query::estimate_gas(&self.request, self.at, time));
        ExtraTickets {
            header: add(together, query::header_by_number(self.at), goes),
            estimate: estimate.and_then(|query| add(together, query, goes)),
            balance: add(together, query::balance(self.account, self.at), goes),
            history: add(together, query::fee_history(), goes),
            suggested_tip: add(together, query::max_priority_fee_wei(), goes),
            gas_price: add(together, query::gas_price_wei(), goes),
        }
    }

    /// Asks them by themselves: together, and one by one where that is met with silence.
    pub(super) fn ask(&self, endpoint: &Endpoint) -> Extras {
        let mut extras = Extras::default();
        match self.ask_some(endpoint, &mut extras, |_| true) {
            Err(error) if error.is_silent_or_limited() => self.ask_one_by_one(endpoint),
            Err(error) => {
                extras.missing = Some(error);
                extras
            }
            Ok(()) => extras,
        }
    }

    /// Asks each alone; the one that meets silence is left out for a while.
    pub(super) fn ask_one_by_one(&self, endpoint: &Endpoint) -> Extras {
        let mut extras = Extras::default();
        for method in ONE_BY_ONE {
            if let Err(error) = self.ask_some(endpoint, &mut extras, |it| it == method) {
                log::debug!("{}: left out for a while: {error}", endpoint.host());
                endpoint.leave_out(method);
                extras.note_missing(error);
            }
        }
        extras
    }

    fn ask_some(
        &self,
        endpoint: &Endpoint,
        extras: &mut Extras,
        is_wanted: impl Fn(Method) -> bool,
    ) -> Result<(), RpcError> {
        let mut together = endpoint.together();
        let tickets = self.add(&mut together, endpoint, is_wanted);
        extras.take(tickets, &mut together.send()?);
        Ok(())
    }
}

impl Extras {
    /// Adds what was answered.
    pub(super) fn take(&mut self, tickets: ExtraTickets, answers: &mut Answers) {
        if let Some(ticket) = tickets.estimate {
            match answers.take(ticket) {
                Ok(gas) => self.estimate = Some(gas),
                Err(error) if error.is_final() => self.refusal = Some(error),
                // An estimate is a hint: a formula does as well.
                Err(_) => {}
            }
        }
        if let Some(ticket) = tickets.header {
            self.header = self.taken(answers.take(ticket));
        }
        if let Some(ticket) = tickets.balance {
            self.balance_wei = self.taken(answers.take(ticket));
        }
        if let Some(ticket) = tickets.history {
            self.history = answers.take(ticket).unwrap_or_default();
        }
        if let Some(ticket) = tickets.suggested_tip {
            self.suggested_tip_wei = answers.take(ticket).ok();
        }
        if let Some(ticket) = tickets.gas_price {
            self.gas_price_wei = self.taken(answers.take(ticket));
        }
    }

    fn taken<T>(&mut self, answer: Result<T, RpcError>) -> Option<T> {
        answer.map_err(|error| self.note_missing(error)).ok()
    }

    fn note_missing(&mut self, error: RpcError) {
        self.missing.get_or_insert(error);
    }

    /// Dynamic where a base fee is known and the chain takes such, else legacy.
    ///
    /// # Errors
    /// When nothing tells any price.
    pub(super) fn prices(&self, legacy: bool) -> Result<Prices, RpcError> {
        let told_wei = self.history.next_base_fee_wei;
        let base_fee_wei = match &self.header {
            // What a block cost bounds what the next one can, whatever else is told.
            Some(header) => header.base_fee_wei.map(|in_header_wei| {
                let next_wei = told_wei.unwrap_or(in_header_wei);
                match in_header_wei.is_zero() {
                    true => next_wei,
                    false => next_wei
                        .min(in_header_wei.saturating_mul(U256::from(2)))
                        .max(in_header_wei / U256::from(2)),
                }
            }),
            // A chain from before EIP-1559 may answer eth_feeHistory all the same, with base fees of 0.
            None => told_wei.filter(|wei| !wei.is_zero()),
        };
        if let Some(next_base_fee_wei) = base_fee_wei.filter(|_| !legacy) {
            return Ok(Prices::Dynamic {
                next_base_fee_wei,
                tips: Tips {
                    median_reward_wei: self.history.median_reward_wei,
                    high_reward_wei: self.history.high_reward_wei,
                    suggested_wei: self.suggested_tip_wei,
                    gas_price_wei: self.gas_price_wei,
                },
            });
        }
        let tip_wei = self.history.median_reward_wei.max(self.suggested_tip_wei);
        let made_up_wei =
            base_fee_wei.map(|base_wei| base_wei.saturating_add(tip_wei.unwrap_or(U256::one())));
        match (self.gas_price_wei.or(made_up_wei), &self.missing) {
            (Some(gas_price_wei), _) => Ok(Prices::Legacy { gas_price_wei }),
            (None, Some(error)) => Err(error.clone()),
            (None, None) => Err(RpcError::invalid_answer("no price is told")),
        }
    }

    /// The same; where nothing else tells a price, the one that was left out for its silence is asked for after all.
    ///
    /// # Errors
    /// When nothing tells any price.
    pub(super) fn prices_at(
        &mut self,
        endpoint: &Endpoint,
        legacy: bool,
    ) -> Result<Prices, RpcError> {
        let told = self.prices(legacy);
        if told.is_ok() || !endpoint.leaves_out(Method::GasPrice) {
            return told;
        }
        self.gas_price_wei = Some(endpoint.ask(&query::gas_price_wei())?);
        self.prices(legacy)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::base::clock::Clock;
    use crate::base::metrics::Metrics;
    use crate::chain::script::Script;

    #[test]
    fn what_a_block_cost_bounds_what_the_next_one_can() {
        for (in_header, told, expected) in [
            (Some(100), None, Some(100)),
            (Some(100), Some(112), Some(112)),
            (Some(100), Some(88), Some(88)),
            (Some(100), Some(200), Some(200)),
            (Some(100), Some(201), Some(200)),
            (Some(100), Some(u64::MAX), Some(200)),
            (Some(100), Some(0), Some(50)),
            (Some(0), Some(7), Some(7)),
            (Some(0), None, Some(0)),
            // A header without a base fee is a chain without.
            (None, Some(7), None),
            (None, None, None),
        ] {
            let extras = Extras {
                header: Some(Header {
                    base_fee_wei: in_header.map(U256::from),
                    ..Header::bare(1)
                }),
                history: FeeHistory {
                    next_base_fee_wei: told.map(U256::from),
                    ..FeeHistory::default()
                },
                gas_price_wei: Some(U256::from(5)),
                ..Extras::default()
            };
            let found = match extras.prices(false).unwrap() {
                Prices::Dynamic {
                    next_base_fee_wei, ..
                } => Some(next_base_fee_wei.as_u64()),
                Prices::Legacy { .. } => None,
            };
            assert_eq!(found, expected, "{in_header:?} {told:?}");
        }
    }

    #[test]
    fn a_price_that_was_left_out_is_made_of_the_base_fee_or_asked_for_after_all() {
        let wei = U256::from;
        let mut extras = Extras {
            header: Some(Header {
                base_fee_wei: Some(wei(100)),
                ..Header::bare(1)
            }),
            suggested_tip_wei: Some(wei(7)),
            ..Extras::default()
        };
        let legacy = |gas_price_wei: u64| Prices::Legacy {
            gas_price_wei: wei(gas_price_wei),
        };
        let node = Script::of_calls("http://a", |method, _| {
            assert_eq!(method, "eth_gasPrice");
            Ok(json!("0x9"))
        });
        let endpoint = Endpoint::over(Arc::new(node), Clock::manual(0), Metrics::default());
        assert_eq!(extras.prices_at(&endpoint, true), Ok(legacy(107)));
        extras.header = None;
        assert!(extras.prices_at(&endpoint, true).is_err(), "it was asked");
        endpoint.leave_out(Method::GasPrice);
        assert_eq!(extras.prices_at(&endpoint, true), Ok(legacy(9)));
    }

    #[test]
    fn where_nothing_tells_a_price_the_reason_is_told() {
        let silent = Extras {
            missing: Some(RpcError::transport("timed out")),
            ..Extras::default()
        };
        let error = silent.prices(false).unwrap_err();
        assert_eq!(error.to_string(), "timed out");
        assert!(Extras::default().prices(true).is_err());
    }
}
