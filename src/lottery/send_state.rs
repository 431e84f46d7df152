//! One logical action in flight: many signed variants, one nonce. Pure: at each head it is told what the chain shows
//! and answers what to do next; signing, sending and asking are the operator's work.
//!
//! All variants stay candidates for ever: whichever is mined decides. Because they share a nonce, at most one can be.

use std::time::{Duration, Instant};

use crate::chain::fees::Fee;
use crate::chain::types::BlockRef;
use crate::chain::types::{H256, U256};
use crate::lottery::action::ActionKind;
use crate::lottery::round::{Round, RoundState};

/// An unmined transaction is replaced after this many blocks.
const REPLACE_AFTER_BLOCKS: u64 = 2;

/// One signed transaction of the action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    pub kind: ActionKind,
    pub hash: H256,
    pub raw: Vec<u8>,
    pub fee: Fee,
    pub gas_limit: u64,
}

/// A variant's receipt in a canonical block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Included {
    pub hash: H256,
    pub block_number: u64,
    pub block_hash: H256,
    pub succeeded: bool,
    pub gas_used: u64,
    pub effective_gas_price_wei: U256,
}

impl Included {
    pub fn cost_wei(&self) -> U256 {
        self.effective_gas_price_wei
            .saturating_mul(U256::from(self.gas_used))
    }
}

#[derive(Clone, Debug)]
pub struct SendState {
    pub round_id: u64,
    pub nonce: u64,
    /// Oldest first; never empty once begun.
    variants: Vec<Variant>,
    first_sent_at: Instant,
    /// The head at which the newest variant was signed.
    signed_at_block: u64,
    /// The newest head at which the newest variant was sent. A reorg makes a new head without a new height.
    sent_at_head: H256,
    /// Heads in a row at which the nonce was used up without a receipt of ours.
    used_up_heads: u32,
    /// A node took one of the variants. Until then whatever is pending at this nonce is not ours.
    accepted: bool,
    /// The newest variant was refused for its fee: something pending at this nonce offers more.
    outbid: bool,
}

/// What one head shows.
#[derive(Clone, Copy, Debug)]
pub struct HeadFacts<'a> {
    pub head: BlockRef,
    /// The earliest time the next block can have.
    pub next_block_time: u64,
    pub round: &'a Round,
    /// The account's transaction count at this head.
    pub latest_nonce: u64,
    /// The canonical receipt among all variants, if any.
    pub included: Option<Included>,
}

#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub tx_timeout: Duration,
    pub confirmations: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Wait,
    /// Send the newest variant's same bytes again.
    Rebroadcast,
    /// Sign a new variant at the same nonce, with a safe bump over the newest.
    Replace(ActionKind),
    /// Mined with success, deep enough.
    Done(Included),
    /// Mined and reverted.
    Reverted(Included),
    /// Not mined in time; the nonce is still open and the variants may yet be mined.
    TimedOut,
    /// Another transaction of the same key took the nonce.
    NonceTaken,
    /// A reorg gave an earlier nonce of the key back: ours would wait behind it for ever.
    NonceGap,
}

impl SendState {
    pub fn begin(
        round_id: u64,
        nonce: u64,
        first: Variant,
        head: BlockRef,
        now: Instant,
    ) -> SendState {
        SendState {
            round_id,
            nonce,
            variants: vec![first],
            first_sent_at: now,
            signed_at_block: head.number,
            sent_at_head: head.hash,
            used_up_heads: 0,
            accepted: false,
            outbid: false,
        }
    }

    pub fn newest(&self) -> Option<&Variant> {
        self.variants.last()
    }

    pub fn variants(&self) -> &[Variant] {
        &self.variants
    }

    pub fn hashes(&self) -> Vec<H256> {
        self.variants.iter().map(|variant| variant.hash).collect()
    }

    /// What the variant of this hash does.
    pub fn kind_of(&self, hash: &H256) -> Option<ActionKind> {
        self.find(hash).map(|variant| variant.kind)
    }

    pub fn gas_limit_of(&self, hash: &H256) -> Option<u64> {
        self.find(hash).map(|variant| variant.gas_limit)
    }

    fn find(&self, hash: &H256) -> Option<&Variant> {
        self.variants.iter().find(|variant| variant.hash == *hash)
    }

    /// A new variant was signed at this head.
    pub fn add(&mut self, variant: Variant, head: BlockRef) {
        self.variants.push(variant);
        self.signed_at_block = head.number;
        self.sent_at_head = head.hash;
    }

    pub fn note_sent(&mut self, head: BlockRef) {
        self.sent_at_head = head.hash;
    }

    pub fn note_accepted(&mut self) {
        self.accepted = true;
        self.outbid = false;
    }

    pub fn note_outbid(&mut self) {
        self.outbid = true;
    }

    pub fn was_accepted(&self) -> bool {
        self.accepted
    }

    /// The block with the action's receipt was replaced: the same bytes are due again, and time starts anew.
    pub fn begin_again_after_reorg(&mut self, head: BlockRef, now: Instant) {
        self.first_sent_at = now;
        self.signed_at_block = head.number;
        self.sent_at_head = head.hash;
        self.used_up_heads = 0;
    }

    /// A failed attempt was counted and its delay has passed: the time-out starts anew.
    pub fn begin_again(&mut self, now: Instant) {
        self.first_sent_at = now;
    }

    /// What to do at this head (or at a later look at the same head).
    pub fn step(&mut self, facts: &HeadFacts, rules: &Rules, now: Instant) -> Step {
        if let Some(included) = facts.included {
            self.used_up_heads = 0;
            if !included.succeeded {
                return Step::Reverted(included);
            }
            let confirmed = facts.head.number.saturating_sub(included.block_number) + 1;
            return if confirmed >= rules.confirmations {
                Step::Done(included)
            } else {
                Step::Wait
            };
        }
        if facts.latest_nonce > self.nonce {
            // Receipts may trail the count by a moment; only at a second head is the nonce really someone else's.
            if facts.head.hash != self.sent_at_head {
                self.used_up_heads += 1;
                self.sent_at_head = facts.head.hash;
            }
            return if self.used_up_heads >= 2 {
                Step::NonceTaken
            } else {
                Step::Wait
            };
        }
        self.used_up_heads = 0;
        match self.newest().map(|variant| variant.kind) {
            // A forced refund is never let go of while it could hit a later round.
            Some(kind) if facts.latest_nonce < self.nonce && kind != ActionKind::RefundForced => {
                Step::NonceGap
            }
            Some(kind) => self.step_pending(kind, facts, rules, now),
            None => Step::NonceTaken,
        }
    }

    /// What the round's own times demand of a pending action: None while it may still be mined as it is.
    pub fn at_window(&self, round: &Round, timestamp: u64, next_block_time: u64) -> Option<Step> {
        let kind = self.newest()?.kind;
        let round_over = round.round_id != self.round_id || round.state != RoundState::Betting;
        if round_over && kind != ActionKind::Cancel {
            return Some(Step::Replace(ActionKind::Cancel));
        }
        if kind == ActionKind::Draw && next_block_time > round.max_draw_time {
            // Closed to draws: nothing of ours is sent again, and once a head is past the window the refund takes over.
            return Some(match timestamp > round.max_draw_time {
                true => Step::Replace(ActionKind::RefundExpired),
                false => Step::Wait,
            });
        }
        let too_late =
            matches!(kind, ActionKind::Extend { .. }) && next_block_time > round.end_time;
        too_late.then_some(Step::Replace(ActionKind::Cancel))
    }

    fn step_pending(
        &mut self,
        kind: ActionKind,
        facts: &HeadFacts,
        rules: &Rules,
        now: Instant,
    ) -> Step {
        let new_head = facts.head.hash != self.sent_at_head;
        if let Some(step) = self.at_window(facts.round, facts.head.timestamp, facts.next_block_time)
        {
            return step;
        }
        if now.saturating_duration_since(self.first_sent_at) >= rules.tx_timeout {
            return Step::TimedOut;
        }
        let patience = if self.outbid { 1 } else { REPLACE_AFTER_BLOCKS };
        if facts.head.number >= self.signed_at_block.saturating_add(patience) {
            return Step::Replace(kind);
        }
        if new_head {
            Step::Rebroadcast
        } else {
            Step::Wait
        }
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        tx_timeout: Duration::from_secs(180),
        confirmations: 1,
    };

    fn variant(kind: ActionKind, number: u64) -> Variant {
        Variant {
            kind,
            hash: H256::from_low_u64_be(number),
            raw: vec![],
            fee: Fee::Legacy {
                gas_price_wei: U256::one(),
            },
            gas_limit: 300_000,
        }
    }

    fn head(number: u64, timestamp: u64) -> BlockRef {
        BlockRef {
            number,
            hash: H256::from_low_u64_be(number),
            parent_hash: H256::zero(),
            timestamp,
        }
    }

    fn round() -> Round {
        Round {
            round_id: 3,
            state: RoundState::Betting,
            start_time: 0,
            end_time: 90,
            min_draw_time: 100,
            max_draw_time: 200,
            total_pot_wei: U256::one(),
            participant_count: 1,
        }
    }

    fn included(block_number: u64, succeeded: bool) -> Included {
        Included {
            hash: H256::from_low_u64_be(1),
            block_number,
            block_hash: H256::zero(),
            succeeded,
            gas_used: 1,
            effective_gas_price_wei: U256::one(),
        }
    }

    struct Pending {
        state: SendState,
        round: Round,
        start: Instant,
    }

    /// An action sent at head 10, nonce 5.
    fn pending(kind: ActionKind) -> Pending {
        let start = Instant::now();
        Pending {
            state: SendState::begin(3, 5, variant(kind, 1), head(10, 100), start),
            round: round(),
            start,
        }
    }

    impl Pending {
        fn at(&mut self, number: u64, timestamp: u64, change: impl FnOnce(&mut HeadFacts)) -> Step {
            let mut facts = HeadFacts {
                head: head(number, timestamp),
                next_block_time: timestamp + 2,
                round: &self.round,
                latest_nonce: 5,
                included: None,
            };
            change(&mut facts);
            self.state
                .step(&facts, &RULES, self.start + Duration::from_secs(1))
        }
    }

    #[test]
    fn an_unmined_draw_is_rebroadcast_at_each_head_and_replaced_after_two_blocks() {
        let mut draw = pending(ActionKind::Draw);
        assert_eq!(draw.at(10, 100, |_| {}), Step::Wait);
        assert_eq!(draw.at(11, 102, |_| {}), Step::Rebroadcast);
        draw.state.note_sent(head(11, 102));
        assert_eq!(draw.at(11, 102, |_| {}), Step::Wait);
        assert_eq!(draw.at(12, 104, |_| {}), Step::Replace(ActionKind::Draw));
        draw.state.add(variant(ActionKind::Draw, 2), head(12, 104));
        assert_eq!(draw.at(13, 106, |_| {}), Step::Rebroadcast);
        assert_eq!(draw.state.hashes().len(), 2);
    }

    #[test]
    fn what_is_outbid_is_raised_once_a_block_until_a_node_takes_it() {
        let mut draw = pending(ActionKind::Draw);
        draw.state.note_outbid();
        assert_eq!(draw.at(10, 100, |_| {}), Step::Wait);
        assert_eq!(draw.at(11, 102, |_| {}), Step::Replace(ActionKind::Draw));
        draw.state.add(variant(ActionKind::Draw, 2), head(11, 102));
        assert_eq!(draw.at(11, 102, |_| {}), Step::Wait);
        draw.state.note_accepted();
        assert_eq!(draw.at(12, 104, |_| {}), Step::Rebroadcast);
    }

    #[test]
    fn after_a_reorg_the_same_bytes_go_out_and_the_clock_starts_anew() {
        let mut draw = pending(ActionKind::Draw);
        let later = draw.start + Duration::from_secs(500);
        draw.state.begin_again_after_reorg(head(20, 100), later);
        let round = round();
        let facts = HeadFacts {
            head: head(21, 102),
            next_block_time: 104,
            round: &round,
            latest_nonce: 5,
            included: None,
        };
        assert_eq!(draw.state.step(&facts, &RULES, later), Step::Rebroadcast);
        assert_eq!(draw.state.variants().len(), 1);
    }

    #[test]
    fn success_needs_depth_and_a_vanished_receipt_puts_the_action_back() {
        let mut draw = pending(ActionKind::Draw);
        let deep = Rules {
            confirmations: 3,
            ..RULES
        };
        let round = round();
        let mut at = |number, included: Option<Included>| {
            let facts = HeadFacts {
                head: head(number, 100 + number),
                next_block_time: 102 + number,
                round: &round,
                latest_nonce: if included.is_none() { 5 } else { 6 },
                included,
            };
            draw.state.step(&facts, &deep, draw.start)
        };
        assert_eq!(at(11, Some(included(11, true))), Step::Wait);
        assert_eq!(at(12, None), Step::Replace(ActionKind::Draw));
        assert_eq!(at(12, Some(included(12, true))), Step::Wait);
        assert_eq!(
            at(14, Some(included(12, true))),
            Step::Done(included(12, true))
        );
        assert_eq!(
            at(14, Some(included(12, false))),
            Step::Reverted(included(12, false))
        );
    }

    #[test]
    fn a_draw_that_outlives_its_window_gives_its_nonce_to_the_refund() {
        let mut draw = pending(ActionKind::Draw);
        assert_eq!(draw.at(11, 198, |_| {}), Step::Rebroadcast);
        // The next block comes past maxDrawTime: nothing of ours is sent, and no refund before a head is past it.
        assert_eq!(draw.at(12, 199, |_| {}), Step::Wait);
        assert_eq!(draw.at(12, 200, |_| {}), Step::Wait);
        assert_eq!(
            draw.at(13, 201, |_| {}),
            Step::Replace(ActionKind::RefundExpired)
        );
    }

    #[test]
    fn what_is_pending_when_the_round_is_over_is_taken_back() {
        for kind in [
            ActionKind::Draw,
            ActionKind::RefundForced,
            ActionKind::RefundExpired,
        ] {
            let mut action = pending(kind);
            action.round.round_id = 4;
            assert_eq!(
                action.at(11, 150, |_| {}),
                Step::Replace(ActionKind::Cancel),
                "{kind:?}"
            );
        }
        let mut cancel = pending(ActionKind::Cancel);
        cancel.round.round_id = 4;
        assert_eq!(cancel.at(11, 150, |_| {}), Step::Rebroadcast);
        let mut late = pending(ActionKind::Extend { new_end_time: 500 });
        assert_eq!(late.at(11, 88, |_| {}), Step::Rebroadcast);
        assert_eq!(late.at(11, 89, |_| {}), Step::Replace(ActionKind::Cancel));
    }

    #[test]
    fn a_foreign_transaction_with_our_nonce_is_believed_at_the_second_head() {
        let mut draw = pending(ActionKind::Draw);
        let taken = |facts: &mut HeadFacts| facts.latest_nonce = 6;
        assert_eq!(draw.at(10, 100, taken), Step::Wait);
        assert_eq!(draw.at(11, 102, taken), Step::Wait);
        assert_eq!(draw.at(11, 102, taken), Step::Wait);
        assert_eq!(draw.at(12, 104, taken), Step::NonceTaken);
    }

    #[test]
    fn a_nonce_that_a_reorg_gave_back_leaves_no_gap() {
        let mut draw = pending(ActionKind::Draw);
        let step = draw.at(11, 102, |facts| facts.latest_nonce = 4);
        assert_eq!(step, Step::NonceGap);
    }

    #[test]
    fn a_new_head_of_the_same_height_is_a_new_head() {
        let mut draw = pending(ActionKind::Draw);
        let reorged = |facts: &mut HeadFacts| facts.head.hash = H256::from_low_u64_be(99);
        assert_eq!(draw.at(10, 100, reorged), Step::Rebroadcast);
    }

    #[test]
    fn time_runs_out_after_the_configured_seconds() {
        let mut draw = pending(ActionKind::Draw);
        let round = round();
        let facts = HeadFacts {
            head: head(11, 102),
            next_block_time: 104,
            round: &round,
            latest_nonce: 5,
            included: None,
        };
        let at = |state: &mut SendState, secs| {
            state.step(&facts, &RULES, draw.start + Duration::from_secs(secs))
        };
        assert_eq!(at(&mut draw.state, 179), Step::Rebroadcast);
        assert_eq!(at(&mut draw.state, 180), Step::TimedOut);
        draw.state
            .begin_again(draw.start + Duration::from_secs(180));
        assert_eq!(at(&mut draw.state, 300), Step::Rebroadcast);
    }
}
