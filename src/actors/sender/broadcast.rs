//! Hands signed bytes to the nodes, reads their refusals, and signs anew at the same nonce where that cures one.

use std::time::{Duration, Instant};

use crate::actors::sender::extras::ExtraQuestions;
use crate::actors::sender::reads::PATIENCE;
use crate::actors::sender::{paying, NotSigned, Sender, SECOND_OPINION};
use crate::chain::demanded::{fee_cap_wei, least_fee};
use crate::chain::error::{NodeError, RpcError};
use crate::chain::fees::{
    bump, ceiling_wei, offer_ceiling_wei, quote, Fee, FeeLimits, Prices, Quote,
};
use crate::chain::insistence::PROMPT;
use crate::chain::method::Method;
use crate::chain::node::{Endpoint, Purpose};
use crate::chain::types::{BlockId, BlockRef, U256};
use crate::lottery::action::ActionKind;
use crate::lottery::round::Round;
use crate::lottery::send_state::{SendState, Variant};

/// So often at most a refused transaction is signed anew at one head; against a pending one that is not ours, once.
const SIGNED_ANEW_MAX: usize = 5;
/// Even the slowest endpoint has answered, or has run into its own time-out.
const ANSWER_WITHIN: Duration = Duration::from_secs(35);

/// What became of a broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broadcast {
    /// At least one node holds it.
    Accepted,
    /// No node said no, none said yes.
    MaybeSent(String),
    /// Every node that answered said no. The text is for the log.
    Rejected(NodeError, String),
}

impl Broadcast {
    /// Nobody takes it, since its nonce is not the next.
    pub(crate) fn is_about_nonce(&self) -> bool {
        use NodeError::{NonceTooHigh, NonceTooLow};
        matches!(self, Broadcast::Rejected(NonceTooLow | NonceTooHigh, _))
    }

    /// Nobody takes it, since the account does not hold what it may cost.
    pub(crate) fn is_short_of_funds(&self) -> bool {
        use NodeError::{GasAllowance, InsufficientFunds};
        matches!(
            self,
            Broadcast::Rejected(InsufficientFunds | GasAllowance, _)
        )
    }
}

/// What a replacement rests on.
pub(super) struct Market {
    pub(super) prices: Prices,
    balance_wei: Option<U256>,
    block_gas_limit: Option<u64>,
    estimate: Option<u64>,
}

impl Sender {
    /// Hands the newest variant to every usable endpoint. A refusal that signing anew can cure is cured at once; what is
    /// pending at this nonce and is not ours is outbid by one step a block.
    pub(crate) fn broadcast(
        &mut self,
        state: &mut SendState,
        head: BlockRef,
        round: &Round,
        now: Instant,
    ) -> Broadcast {
        let mut outcome = self.send_newest(state);
        for turn in 0..SIGNED_ANEW_MAX {
            note_outcome(state, &outcome);
            let Broadcast::Rejected(class, why) = &outcome else {
                return outcome;
            };
            if *class == NodeError::ReplacementUnderpriced && turn > 0 && !state.was_accepted() {
                return outcome;
            }
            match self.cure(*class, why, state, round) {
                Some(variant) if !state.is_full() => state.add(variant, head, now),
                _ => return outcome,
            }
            outcome = self.send_newest(state);
        }
        note_outcome(state, &outcome);
        outcome
    }

    /// Another variant that the same nodes should take; None where signing anew cannot help.
    fn cure(
        &mut self,
        class: NodeError,
        why: &str,
        state: &SendState,
        round: &Round,
    ) -> Option<Variant> {
        let newest = state.newest()?;
        let (kind, mut gas) = (newest.kind, newest.gas_limit);
        if !self.learns_from(class, why, newest) {
            return None;
        }
        let market = self.market(kind).ok()?;
        let Market {
            prices,
            balance_wei,
            ..
        } = market;
        let gas_max = self.gas_max(market.block_gas_limit);
        let limits = self.limits(self.settings.limits.max_tx_fee_wei);
        let is_short = class == NodeError::InsufficientFunds
            || class == NodeError::GasAllowance && is_short_of_funds(newest, balance_wei);
        let paying = paying(balance_wei, prices.least_cost_wei(gas));
        // The pool and the balance agree.
        if is_short && balance_wei.is_some() && paying.is_none() {
            return None;
        }
        let held = state.was_accepted().then_some(newest.fee);
        let fresh = |gas| fresh_quote(&prices, &limits, (gas, paying), held);
        let wanted = self.gas(kind, market.estimate, round.participant_count, gas_max);
        let offered = match class {
            _ if is_short => {
                // What a pool holds cannot be replaced by a lower offer.
                let lowered = newest.fee.lowered(prices.least_wei());
                let fee = lowered.filter(|_| !state.was_accepted())?;
                Quote { fee, capped: true }.within(ceiling_wei(&limits, gas, paying))
            }
            NodeError::GasTooLow | NodeError::GasAllowance => {
                let doubled = gas.saturating_mul(2);
                gas = doubled.max(wanted.ok()?).min(gas_max);
                fresh(gas)?
            }
            NodeError::GasTooHigh => {
                // Cut below what it needs it would only burn that much.
                wanted.ok()?;
                gas = gas.min(gas_max);
                fresh(gas)?
            }
            NodeError::TypeNotSupported if !state.was_accepted() => fresh(gas)?,
            _ => {
                let raised = bump(newest.fee, &prices, &limits, gas, paying);
                let fee = raised.fee.raised_to(least_fee(why), prices.least_wei());
                Quote { fee, ..raised }.within(offer_ceiling_wei(&prices, &limits, gas, paying))
            }
        };
        let same_kind_of_fee = is_legacy(&offered.fee) == is_legacy(&newest.fee);
        if offered.fee == newest.fee && gas == newest.gas_limit && same_kind_of_fee {
            return None;
        }
        let variant = self.sign(kind, state.nonce, gas, offered).ok()?;
        let is_new = state.kind_of(&variant.hash).is_none();
        is_new.then_some(variant)
    }

    /// Takes down what a refusal tells of the chain; false where signing anew cures nothing.
    fn learns_from(&mut self, class: NodeError, why: &str, newest: &Variant) -> bool {
        match class {
            NodeError::TypeNotSupported if !self.legacy => {
                log::info!("this chain takes no EIP-1559 transactions: legacy ones from now on");
                self.legacy = true;
            }
            NodeError::GasTooHigh if !self.gas_capped => self.gas_capped = true,
            NodeError::NodeFeeCap => self.note_node_cap(newest, why),
            NodeError::ReplacementUnderpriced
            | NodeError::Underpriced
            | NodeError::GasTooLow
            | NodeError::GasTooHigh
            | NodeError::GasAllowance
            | NodeError::InsufficientFunds => {}
            _ => return false,
        }
        true
    }

    fn note_node_cap(&mut self, newest: &Variant, why: &str) {
        let offered_wei = newest.worst_wei();
        let cap_wei = fee_cap_wei(why)
            .filter(|cap_wei| *cap_wei < offered_wei)
            .unwrap_or(offered_wei / 2);
        log::warn!("a node takes no fee above {cap_wei} wei: {why}");
        self.node_cap_wei = Some(cap_wei);
    }

    /// A new variant at the same nonce: the same action with a safe bump, or another action in its place. None where it
    /// would not take the place of what is out.
    ///
    /// # Errors
    /// Why nothing was signed.
    pub fn replacement(
        &mut self,
        state: &SendState,
        kind: ActionKind,
        round: &Round,
    ) -> Result<Option<Variant>, NotSigned> {
        let Some(previous) = state.newest() else {
            return Ok(None);
        };
        let market = self.market(kind)?;
        self.balance_wei = market.balance_wei.or(self.balance_wei);
        let gas_max = self.gas_max(market.block_gas_limit);
        let is_same = kind == previous.kind;
        let gas = match is_same && previous.gas_limit <= gas_max {
            true => previous.gas_limit,
            false => self.gas(kind, market.estimate, round.participant_count, gas_max)?,
        };
        let limits = self.limits(self.settings.limits.max_tx_fee_wei);
        let least_wei = market.prices.least_cost_wei(gas);
        // A pool that took the previous one has seen that the account can pay it.
        let proven_wei = match state.was_accepted() {
            true => least_wei.max(previous.worst_wei()),
            false => least_wei,
        };
        let paying = paying(market.balance_wei, proven_wei);
        let raised = bump(previous.fee, &market.prices, &limits, gas, paying);
        if raised.capped && self.capped_at_nonce != Some(state.nonce) {
            self.capped_at_nonce = Some(state.nonce);
            log::warn!(
                "a fee limit keeps the replacement at nonce {} low",
                state.nonce
            );
        }
        let takes_its_place = match state.was_accepted() {
            true => raised.fee.outbids(&previous.fee),
            false => raised.fee != previous.fee || gas != previous.gas_limit,
        };
        if is_same && !takes_its_place || state.is_full() {
            return Ok(None);
        }
        let variant = self.sign(kind, state.nonce, gas, raised)?;
        let is_new = state.kind_of(&variant.hash).is_none();
        Ok(is_new.then_some(variant))
    }

    /// Prices, balance, limits and what the action would use, in one round trip.
    pub(super) fn market(&self, kind: ActionKind) -> Result<Market, RpcError> {
        let questions = ExtraQuestions {
            account: self.address(),
            request: self.request(kind),
            at: BlockId::Latest,
            estimate_at: Some(None),
        };
        let is_legacy = self.legacy;
        let ask = move |endpoint: &Endpoint| {
            let mut extras = questions.ask(endpoint);
            Ok(Market {
                prices: extras.prices_at(endpoint, is_legacy)?,
                balance_wei: extras.balance_wei,
                block_gas_limit: extras.header.and_then(|header| header.gas_limit),
                estimate: extras.estimate,
            })
        };
        let purpose = Purpose::Prepare;
        let answer = self.endpoints.hedged(purpose, &[], PATIENCE, ask);
        answer.map(|(_, market)| market)
    }

    /// Hands it over, and once more at once where all that came back were spoilt answers: the page may have come in place of
    /// the sending. It may have been mined meanwhile, so that it is known to be perhaps out before a pool calls its nonce used.
    fn send_newest(&self, state: &mut SendState) -> Broadcast {
        let clock = self.endpoints.clock();
        let started = clock.now();
        match self.send_once(state) {
            (Broadcast::MaybeSent(why), true) if clock.now() - started <= PROMPT => {
                log::debug!("{why}: sent once more");
                state.note_maybe_sent();
                self.send_once(state).0
            }
            (outcome, _) => outcome,
        }
    }

    /// What became of it, and whether an answer was spoilt. One acceptance is enough, and a refusal counts only when no
    /// endpoint accepts, silence least. But what was accepted and not mined for some blocks may have been swallowed: then who
    /// says that the chain takes no such transaction at all is heard as well.
    fn send_once(&self, state: &SendState) -> (Broadcast, bool) {
        let Some(variant) = state.newest().filter(|newest| !newest.raw.is_empty()) else {
            let why = "its bytes are not known here".to_owned();
            return (Broadcast::MaybeSent(why), false);
        };
        let (raw, sent_hash) = (variant.raw.clone(), variant.hash);
        let answers = self.endpoints.ask_each(
            (Purpose::Act, None),
            &[Method::SendRawTransaction],
            move |endpoint| endpoint.send_raw_transaction(&raw),
        );
        let clock = self.endpoints.clock();
        let mut outcome = Broadcast::MaybeSent("no endpoint is fit to send".to_owned());
        let mut is_spoilt = false;
        let mut deadline = clock.now() + ANSWER_WITHIN;
        while let Some((endpoint, answer)) = self.endpoints.next_answer(&answers, Some(deadline)) {
            let refusal = match answer {
                Ok(hash) => {
                    if hash != sent_hash {
                        let host = endpoint.host();
                        log::warn!("{host} answered with hash {hash:#x}, sent was {sent_hash:#x}");
                    }
                    None
                }
                Err(error) if error.node_error() == Some(NodeError::AlreadyKnown) => None,
                Err(error) => Some(error),
            };
            let Some(error) = refusal else {
                if !state.is_replaced() {
                    return (Broadcast::Accepted, is_spoilt);
                }
                if !matches!(outcome, Broadcast::Rejected(class, _) if is_the_chains_own(class)) {
                    outcome = Broadcast::Accepted;
                }
                deadline = deadline.min(clock.now() + SECOND_OPINION);
                continue;
            };
            match error.node_error() {
                Some(class) if !says_more(class, &outcome) => {}
                Some(class) => {
                    outcome = Broadcast::Rejected(class, format!("{}: {error}", endpoint.host()));
                    deadline = deadline.min(clock.now() + SECOND_OPINION);
                }
                None if matches!(outcome, Broadcast::MaybeSent(_)) => {
                    is_spoilt |= error.is_spoilt();
                    outcome = Broadcast::MaybeSent(error.public().to_owned());
                }
                None => {}
            }
        }
        (outcome, is_spoilt)
    }
}

/// What is offered anew for that much gas. A pool that holds one of ours lets nothing take its place that is less than what
/// was to replace it: None where no more can be offered than that.
fn fresh_quote(
    prices: &Prices,
    limits: &FeeLimits,
    (gas, paying): (u64, Option<U256>),
    held: Option<Fee>,
) -> Option<Quote> {
    let fresh = quote(prices, limits, gas, paying);
    let Some(held) = held else {
        return Some(fresh);
    };
    let fee = fresh.fee.no_less_than(&held);
    let ceiling_wei = offer_ceiling_wei(prices, limits, gas, paying);
    let offered = Quote { fee, ..fresh }.within(ceiling_wei);
    (offered.fee == fee).then_some(offered)
}

fn note_outcome(state: &mut SendState, outcome: &Broadcast) {
    match outcome {
        Broadcast::Accepted => state.note_accepted(),
        Broadcast::MaybeSent(_) => state.note_maybe_sent(),
        Broadcast::Rejected(NodeError::ReplacementUnderpriced, _) => state.note_outbid(),
        Broadcast::Rejected(NodeError::NonceTooLow, _) => state.note_nonce_refused(),
        Broadcast::Rejected(..) => {}
    }
}

/// "Gas required exceeds allowance" speaks of funds where the balance does not pay the gas that was offered.
fn is_short_of_funds(newest: &Variant, balance_wei: Option<U256>) -> bool {
    balance_wei.is_some_and(|balance_wei| balance_wei < newest.worst_wei())
}

/// A refusal that would hold in every pool of the chain, where it is true.
fn is_the_chains_own(class: NodeError) -> bool {
    matches!(class, NodeError::TypeNotSupported | NodeError::GasTooHigh)
}

/// Whether a refusal counts beside what others have answered: a pool that is just busy says nothing of the transaction, where
/// another has named what signing anew may cure.
fn says_more(class: NodeError, than: &Broadcast) -> bool {
    let names_nothing = |class| matches!(class, NodeError::TransientPool | NodeError::Other);
    match than {
        Broadcast::Accepted => is_the_chains_own(class),
        Broadcast::MaybeSent(_) => true,
        Broadcast::Rejected(known, _) => names_nothing(*known) || !names_nothing(class),
    }
}

fn is_legacy(fee: &Fee) -> bool {
    matches!(fee, Fee::Legacy { .. })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::actors::sender::inquiry::tests::betting;
    use crate::actors::sender::reads::tests::sender_over;
    use crate::base::clock::Clock;
    use crate::base::metrics::Metrics;
    use crate::chain::endpoints::Endpoints;
    use crate::chain::script::Script;
    use crate::chain::types::H256;

    const GWEI: u64 = 1_000_000_000;

    fn dynamic(cap_gwei: u64, tip_gwei: u64) -> Fee {
        Fee::Dynamic {
            cap_wei: U256::from(cap_gwei * GWEI),
            tip_wei: U256::from(tip_gwei * GWEI),
        }
    }

    /// What is offered after a pool, in which base fee and tip are 1 gwei, has called the gas too little.
    fn offered_after(first: Fee, is_accepted: bool) -> Vec<(Fee, u64)> {
        let clock = Clock::manual(5_000_000);
        let pool = Script::of_calls("http://a", |method, _| match method {
            "eth_chainId" => Ok(json!("0x7a69")),
            "eth_gasPrice" => Ok(json!(format!("{:#x}", 2 * GWEI))),
            "eth_maxPriorityFeePerGas" => Ok(json!(format!("{GWEI:#x}"))),
            "eth_getBalance" => Ok(json!(format!("{:#x}", u64::MAX))),
            "eth_getBlockByNumber" => Ok(json!({
                "number": "0xc", "hash": H256::repeat_byte(12), "parentHash": H256::repeat_byte(11),
                "timestamp": "0x64", "baseFeePerGas": format!("{GWEI:#x}"),
            })),
            "eth_sendRawTransaction" => {
                Err(json!({"code": -32000, "message": "intrinsic gas too low"}))
            }
            _ => Err(json!({"code": -32601, "message": "method not found"})),
        });
        let metrics = Metrics::default();
        let endpoints = Endpoints::over(vec![Arc::new(pool)], 31_337, clock.clone(), &metrics);
        let mut sender = sender_over(endpoints);
        let head = BlockRef {
            number: 12,
            hash: H256::repeat_byte(12),
            parent_hash: H256::repeat_byte(11),
            timestamp: 100,
        };
        let round = betting();
        let variant = Variant {
            kind: ActionKind::Draw,
            hash: H256::repeat_byte(0xd0),
            raw: vec![1],
            fee: first,
            gas_limit: 300_000,
        };
        let now = clock.now();
        let mut state = SendState::begin(7, 5, variant, head, now);
        if is_accepted {
            state.note_accepted();
        }
        sender.broadcast(&mut state, head, &round, now);
        let cures = state.variants().iter().skip(1);
        cures.map(|cure| (cure.fee, cure.gas_limit)).collect()
    }

    #[test]
    fn more_gas_is_offered_for_no_less_than_was_to_replace_what_a_pool_holds() {
        let first = dynamic(20, 4);
        let held = offered_after(first, true);
        assert_eq!(held.first(), Some(&(first, 600_000)));
        assert!(held.iter().all(|(fee, _)| *fee == first), "{held:?}");
        // Where no pool holds anything, a fresh quote is enough.
        let fresh = offered_after(first, false);
        assert_eq!(fresh.first(), Some(&(dynamic(3, 1), 600_000)));
        // And it is what is offered where it is more.
        let low = dynamic(2, 1);
        let raised = offered_after(low, true);
        assert_eq!(raised.first(), Some(&(dynamic(3, 1), 600_000)));
    }
}
