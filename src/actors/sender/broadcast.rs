//! Hands signed bytes to the nodes, reads their refusals, and signs anew at the same nonce where that cures one.

use std::time::{Duration, Instant};

use crossbeam_channel::TryRecvError;

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
use crate::lottery::send_state::{Room, SendState, Variant};

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

/// What can be offered for some gas.
struct Pricing {
    prices: Prices,
    limits: FeeLimits,
    paying: Option<U256>,
}

impl Pricing {
    fn fresh(&self, gas: u64) -> Quote {
        quote(&self.prices, &self.limits, gas, self.paying)
    }

    fn raised(&self, fee: Fee, gas: u64) -> Quote {
        bump(fee, &self.prices, &self.limits, gas, self.paying)
    }

    fn within(&self, offered: Quote, gas: u64) -> Quote {
        let ceiling_wei = offer_ceiling_wei(&self.prices, &self.limits, gas, self.paying);
        offered.within(ceiling_wei)
    }

    /// Another amount of gas for what was last offered. What a pool may hold makes place for a higher offer alone, and more
    /// gas is not one.
    fn with_gas(&self, newest: Fee, state: &SendState, gas: u64) -> Quote {
        let fresh = self.fresh(gas);
        match state.held_fee().map(|held| newest.outbids(&held)) {
            None => fresh,
            Some(true) => {
                let fee = fresh.fee.no_less_than(&newest);
                self.within(Quote { fee, ..fresh }, gas)
            }
            Some(false) => self.raised(state.fee_to_outbid(newest), gas),
        }
    }
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
            if *class == NodeError::ReplacementUnderpriced && turn > 0 {
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
        let kind = newest.kind;
        let mut room = newest.room;
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
        let paying = paying(balance_wei, prices.least_cost_wei(room.gas));
        // The pool and the balance agree.
        if is_short && balance_wei.is_some() && paying.is_none() {
            return None;
        }
        let pricing = Pricing {
            prices,
            limits,
            paying,
        };
        let with_gas = |gas| pricing.with_gas(newest.fee, state, gas);
        let wanted = self.gas(kind, market.estimate, round.participant_count, gas_max);
        let offered = match class {
            _ if is_short => {
                // What a pool holds cannot be replaced by a lower offer.
                let lowered = newest.fee.lowered(prices.least_wei());
                let fee = lowered.filter(|_| !state.was_accepted())?;
                Quote { fee, capped: true }.within(ceiling_wei(&limits, room.gas, paying))
            }
            NodeError::GasTooLow | NodeError::GasAllowance => {
                let (doubled, wanted) = (room.gas.saturating_mul(2), wanted.ok()?);
                room = Room {
                    gas: doubled.max(wanted.gas).min(gas_max),
                    players_max: wanted.players_max.max(room.players_max),
                };
                with_gas(room.gas)
            }
            NodeError::GasTooHigh => {
                // Cut below what it needs it would only burn that much.
                wanted.ok()?;
                room.gas = room.gas.min(gas_max);
                with_gas(room.gas)
            }
            NodeError::TypeNotSupported if !state.was_accepted() => pricing.fresh(room.gas),
            _ => {
                let raised = pricing.raised(state.fee_to_outbid(newest.fee), room.gas);
                let fee = raised.fee.raised_to(least_fee(why), prices.least_wei());
                pricing.within(Quote { fee, ..raised }, room.gas)
            }
        };
        if !cures(class, state, offered.fee, room.gas) {
            return None;
        }
        let variant = self.sign(kind, state.nonce, room, offered).ok()?;
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
        let participants = round.participant_count;
        let room = match is_same {
            true => self.gas_after(previous, market.estimate, participants, gas_max)?,
            false => self.gas(kind, market.estimate, participants, gas_max)?,
        };
        let gas = room.gas;
        let limits = self.limits(self.settings.limits.max_tx_fee_wei);
        let least_wei = market.prices.least_cost_wei(gas);
        // A pool that took the previous one has seen that the account can pay it.
        let proven_wei = match state.was_accepted() {
            true => least_wei.max(previous.worst_wei()),
            false => least_wei,
        };
        let paying = paying(market.balance_wei, proven_wei);
        let outbid = state.fee_to_outbid(previous.fee);
        let raised = bump(outbid, &market.prices, &limits, gas, paying);
        if raised.capped && self.capped_at_nonce != Some(state.nonce) {
            self.capped_at_nonce = Some(state.nonce);
            log::warn!(
                "a fee limit keeps the replacement at nonce {} low",
                state.nonce
            );
        }
        let takes_its_place = match state.was_accepted() {
            true => raised.fee.outbids(&previous.fee),
            false => raised.fee != previous.fee || gas != previous.room.gas,
        };
        if is_same && !takes_its_place || state.is_full() {
            return Ok(None);
        }
        let variant = self.sign(kind, state.nonce, room, raised)?;
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
        let mut sent = self.send_once(state);
        let is_unanswered = matches!(sent.outcome, Broadcast::MaybeSent(_));
        if is_unanswered && sent.is_spoilt && clock.now() - started <= PROMPT {
            if let Broadcast::MaybeSent(why) = &sent.outcome {
                log::debug!("{why}: sent once more");
            }
            state.note_maybe_sent();
            sent = self.send_once(state);
        }
        match sent.is_accepted {
            true => state.note_accepted(),
            false if sent.is_unheard => state.note_maybe_held(),
            false => {}
        }
        sent.outcome
    }

    /// One acceptance is enough, and a refusal counts only when no endpoint accepts, silence least. But what was accepted and
    /// not mined for some blocks may have been swallowed: then who says that the chain takes no such transaction at all is
    /// heard as well.
    fn send_once(&self, state: &SendState) -> Sent {
        let mut sent = Sent {
            outcome: Broadcast::MaybeSent("no endpoint is fit to send".to_owned()),
            is_accepted: false,
            is_unheard: false,
            is_spoilt: false,
        };
        let Some(variant) = state.newest().filter(|newest| !newest.raw.is_empty()) else {
            sent.outcome = Broadcast::MaybeSent("its bytes are not known here".to_owned());
            return sent;
        };
        let (raw, sent_hash) = (variant.raw.clone(), variant.hash);
        let answers = self.endpoints.ask_each(
            (Purpose::Act, None),
            &[Method::SendRawTransaction],
            move |endpoint| endpoint.send_raw_transaction(&raw),
        );
        let clock = self.endpoints.clock();
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
            match refusal {
                None => sent.take_acceptance(),
                Some(error) => sent.take_refusal(endpoint.host(), &error),
            }
            if sent.is_accepted && !state.is_replaced() {
                return sent;
            }
            if !matches!(sent.outcome, Broadcast::MaybeSent(_)) {
                deadline = deadline.min(clock.now() + SECOND_OPINION);
            }
        }
        // Who has not answered yet may take it yet.
        sent.is_unheard |= !matches!(answers.try_recv(), Err(TryRecvError::Disconnected));
        sent
    }
}

/// What came back of the sending of one variant.
struct Sent {
    outcome: Broadcast,
    /// A node took it, whatever others say of it.
    is_accepted: bool,
    /// A node has neither taken nor refused it, as far as can be told.
    is_unheard: bool,
    /// An answer was none.
    is_spoilt: bool,
}

impl Sent {
    fn take_acceptance(&mut self) {
        self.is_accepted = true;
        if !matches!(self.outcome, Broadcast::Rejected(class, _) if is_the_chains_own(class)) {
            self.outcome = Broadcast::Accepted;
        }
    }

    fn take_refusal(&mut self, host: &str, error: &RpcError) {
        match error.node_error() {
            // Beside an acceptance nothing else counts, whichever came first.
            Some(class) if self.is_accepted && !is_the_chains_own(class) => {}
            Some(class) if !says_more(class, &self.outcome) => {}
            Some(class) => self.outcome = Broadcast::Rejected(class, format!("{host}: {error}")),
            None => {
                self.is_unheard = true;
                if matches!(self.outcome, Broadcast::MaybeSent(_)) {
                    self.is_spoilt |= error.is_spoilt();
                    self.outcome = Broadcast::MaybeSent(error.public().to_owned());
                }
            }
        }
    }
}

/// Whether a refusal of the newest variant may be cured by that offer: it is another, and more than what a pool has taken.
fn cures(class: NodeError, state: &SendState, offered: Fee, gas: u64) -> bool {
    let is_refused = |newest: &Variant| {
        offered == newest.fee
            && gas == newest.room.gas
            && is_legacy(&offered) == is_legacy(&newest.fee)
    };
    // A node's own cap, or a type that it does not take, says nothing of the pool that took what is out.
    let is_of_one_node = matches!(class, NodeError::NodeFeeCap | NodeError::TypeNotSupported);
    let held = state.held_fee().filter(|_| state.was_accepted());
    let is_enough = is_of_one_node || held.is_none_or(|held| offered.outbids(&held));
    is_enough && !state.newest().is_some_and(is_refused)
}

fn note_outcome(state: &mut SendState, outcome: &Broadcast) {
    match outcome {
        Broadcast::MaybeSent(_) => state.note_maybe_sent(),
        Broadcast::Rejected(NodeError::ReplacementUnderpriced, _) => state.note_outbid(),
        Broadcast::Rejected(NodeError::NonceTooLow, _) => state.note_nonce_refused(),
        Broadcast::Accepted | Broadcast::Rejected(..) => {}
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
/// another has named what signing anew may cure, and what would hold in every pool is not unsaid by what one holds against it.
fn says_more(class: NodeError, than: &Broadcast) -> bool {
    let names_nothing = |class| matches!(class, NodeError::TransientPool | NodeError::Other);
    match than {
        Broadcast::Accepted => is_the_chains_own(class),
        Broadcast::MaybeSent(_) => true,
        Broadcast::Rejected(known, _) if is_the_chains_own(*known) => is_the_chains_own(class),
        Broadcast::Rejected(known, _) => names_nothing(*known) || !names_nothing(class),
    }
}

fn is_legacy(fee: &Fee) -> bool {
    matches!(fee, Fee::Legacy { .. })
}

#[cfg(test)]
mod tests;
