//! One logical action in flight: many signed variants, one nonce. Pure: at each head it is told what the chain shows
//! and answers what to do next; signing, sending and asking are the operator's work.
//!
//! All variants stay candidates for ever: whichever is mined decides. Because they share a nonce, at most one can be.

use std::time::{Duration, Instant};

use crate::chain::fees::Fee;
use crate::chain::types::{BlockRef, H256};
use crate::lottery::action::ActionKind;
use crate::lottery::round::{Round, RoundState};

mod variant;

pub use variant::{Cost, Included, Room, Variant};

/// An unmined transaction is replaced after this many blocks, where time allows.
const REPLACE_AFTER_BLOCKS: u64 = 2;
/// In a draw window the first replacements come quickly, each rests twice as long as the one before, up to this: some
/// twenty fit into the usual window, and quick blocks do not drive the fee to its cap.
const DRAW_BUMP_SECS_MAX: u64 = 12;
/// Outside one they are further apart; a refund's distance doubles with each, since nothing is lost by its waiting.
const BUMP_SECS_MIN: u64 = 10;
const REFUND_BUMP_SECS_MAX: u64 = 120;
/// An action is let go so many blocks after its round is over: no plausible reorg brings the round back.
const OUTLIVES_ROUND_BLOCKS: u64 = 64;
/// On a head that stands, what no pool has taken is sent again after this, and what one has taken, and may have lost,
/// after that: a chain that makes blocks on demand makes none before it has it.
const REFUSED_AGAIN: Duration = Duration::from_secs(5);
const TAKEN_AGAIN: Duration = Duration::from_secs(15);
/// Receipts may trail the count by a moment: a nonce is someone else's once a second head says so, or, where the head stands,
/// after this.
const USED_UP_HEADS: u32 = 2;
const USED_UP_FOR: Duration = Duration::from_secs(15);
/// What a restart finds pending is given so many blocks before it is sent again or outbid.
const FOUND_PATIENCE_BLOCKS: u64 = 6;
/// More variants than any ladder of fees has; what is out is sent again from then on.
const VARIANTS_MAX: usize = 100;

#[derive(Clone, Debug)]
pub struct SendState {
    pub round_id: u64,
    pub nonce: u64,
    /// Oldest first; never empty once begun.
    variants: Vec<Variant>,
    first_sent_at: Instant,
    /// The head at which the newest variant was signed, and when that was.
    signed_at_block: u64,
    signed_at: Instant,
    /// How often the fee was raised.
    bumps: u32,
    /// The newest head at which the newest variant was sent. A reorg makes a new head without a new height.
    sent_at_head: H256,
    sent_at: Instant,
    /// Heads in a row at which the nonce was used up without a receipt of ours.
    used_up_heads: u32,
    /// Since when it has been used up so.
    used_up_since: Option<Instant>,
    /// A node took one of the variants. Until then whatever is pending at this nonce is not ours.
    accepted: bool,
    /// A variant may have reached a pool: taken, or sent without an answer. What every node has refused was not.
    maybe_out: bool,
    /// The newest variant that a pool may hold: only what outbids it takes its place.
    held: Option<usize>,
    /// The newest variant was refused for its fee: something pending at this nonce offers more.
    outbid: bool,
    /// Every node that answered knew the nonce as used.
    nonce_refused: bool,
    /// It was found pending at a start: until this block it is left alone.
    left_alone_until: Option<u64>,
    /// The block at which the round was first seen to be over.
    round_over_at: Option<u64>,
}

/// What is known of the receipts of all variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipts {
    /// The canonical one.
    Found(Included),
    /// Nobody has one.
    None,
    /// They could not be read.
    Unknown,
}

/// What one head shows.
#[derive(Clone, Copy, Debug)]
pub struct HeadFacts<'a> {
    pub head: BlockRef,
    /// The earliest time the next block can have.
    pub next_block_time: u64,
    pub round: &'a Round,
    /// The account's transaction count at this head, where it could be read.
    pub latest_nonce: Option<u64>,
    pub receipts: Receipts,
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
    /// The nonce is used and the round is over, though no receipt can be read: the action has ended.
    EndedUnseen,
    /// The round is over and nothing of ours can be mined any more, or it is not worth waiting for.
    LetGo,
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
            signed_at: now,
            bumps: 0,
            sent_at_head: head.hash,
            sent_at: now,
            used_up_heads: 0,
            used_up_since: None,
            accepted: false,
            maybe_out: false,
            held: None,
            outbid: false,
            nonce_refused: false,
            left_alone_until: None,
            round_over_at: None,
        }
    }

    /// What was found pending at a start: a node holds it already.
    pub fn found(
        round_id: u64,
        nonce: u64,
        pending: Variant,
        head: BlockRef,
        now: Instant,
    ) -> SendState {
        SendState {
            accepted: true,
            maybe_out: true,
            held: Some(0),
            left_alone_until: Some(head.number + FOUND_PATIENCE_BLOCKS),
            ..SendState::begin(round_id, nonce, pending, head, now)
        }
    }

    /// The next round's action takes over the nonce that this one still holds.
    pub fn pass_on(&mut self, round_id: u64, next: Variant, head: BlockRef, now: Instant) {
        self.round_id = round_id;
        self.first_sent_at = now;
        self.round_over_at = None;
        self.left_alone_until = None;
        self.add(next, head, now);
        self.bumps = 0;
    }

    pub fn newest(&self) -> Option<&Variant> {
        self.variants.last()
    }

    pub(crate) fn variants(&self) -> &[Variant] {
        &self.variants
    }

    pub fn hashes(&self) -> Vec<H256> {
        self.variants.iter().map(|variant| variant.hash).collect()
    }

    /// What the variant of this hash does.
    pub(crate) fn kind_of(&self, hash: &H256) -> Option<ActionKind> {
        self.find(hash).map(|variant| variant.kind)
    }

    pub(crate) fn find(&self, hash: &H256) -> Option<&Variant> {
        self.variants.iter().find(|variant| variant.hash == *hash)
    }

    /// A new variant was signed at this head.
    pub fn add(&mut self, variant: Variant, head: BlockRef, now: Instant) {
        debug_assert!(
            self.find(&variant.hash).is_none(),
            "a variant is added twice"
        );
        self.variants.push(variant);
        self.bumps = self.bumps.saturating_add(1);
        self.note_signing(head, now);
    }

    /// The time for a replacement has come, but it would equal what is out: the next one is due as late as after it.
    pub(crate) fn note_signing(&mut self, head: BlockRef, now: Instant) {
        self.signed_at_block = head.number;
        self.signed_at = now;
        self.note_sent(head, now);
    }

    /// What was sent first was not mined in time.
    pub(crate) fn is_replaced(&self) -> bool {
        self.bumps > 0
    }

    pub(crate) fn is_full(&self) -> bool {
        self.variants.len() >= VARIANTS_MAX
    }

    pub(crate) fn note_sent(&mut self, head: BlockRef, now: Instant) {
        self.sent_at_head = head.hash;
        self.sent_at = now;
    }

    pub(crate) fn note_accepted(&mut self) {
        self.accepted = true;
        self.maybe_out = true;
        self.outbid = false;
        self.note_maybe_held();
    }

    /// No node said no, and none said yes.
    pub(crate) fn note_maybe_sent(&mut self) {
        self.maybe_out = true;
        self.note_maybe_held();
    }

    /// Not every node that was handed the newest variant has said no.
    pub(crate) fn note_maybe_held(&mut self) {
        self.held = self.variants.len().checked_sub(1);
    }

    /// What whoever may hold a variant lets be replaced by more only.
    pub(crate) fn held_fee(&self) -> Option<Fee> {
        self.held.map(|index| self.variants[index].fee)
    }

    /// What a raised offer is to take the place of: one that was lowered for want of funds is below what a pool may hold.
    pub(crate) fn fee_to_outbid(&self, newest: Fee) -> Fee {
        let is_lowered = |held: &Fee| held.cap_wei() > newest.cap_wei();
        self.held_fee().filter(is_lowered).unwrap_or(newest)
    }

    pub(crate) fn note_nonce_refused(&mut self) {
        self.nonce_refused = true;
    }

    pub(crate) fn note_outbid(&mut self) {
        self.outbid = true;
    }

    pub(crate) fn was_accepted(&self) -> bool {
        self.accepted
    }

    /// Whether a pool took one of the variants, or may have, though all that were heard refuse the newest.
    pub(crate) fn may_be_held(&self) -> bool {
        self.held.is_some()
    }

    /// The block with the action's receipt was replaced: the same bytes are due again, and time starts anew.
    pub(crate) fn begin_again_after_reorg(&mut self, head: BlockRef, now: Instant) {
        self.first_sent_at = now;
        self.note_signing(head, now);
        self.note_not_used_up();
        self.round_over_at = None;
    }

    /// It was signed a moment ago, at a head above that one: what is shown there is older.
    pub(crate) fn is_ahead_of(&self, head: BlockRef, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.signed_at);
        head.number < self.signed_at_block && since < USED_UP_FOR
    }

    /// A failed attempt was counted and its delay has passed: the time-out starts anew.
    pub(crate) fn begin_again(&mut self, now: Instant) {
        self.first_sent_at = now;
    }

    /// What to do at this head (or at a later look at the same head).
    pub fn step(&mut self, facts: &HeadFacts, rules: &Rules, now: Instant) -> Step {
        let over_since = self.note_round(facts);
        if let Receipts::Found(included) = facts.receipts {
            self.note_not_used_up();
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
        let outlived = over_since
            .is_some_and(|since| facts.head.number >= since.saturating_add(OUTLIVES_ROUND_BLOCKS));
        if outlived {
            return Step::LetGo;
        }
        let Some(latest_nonce) = facts.latest_nonce else {
            return Step::Wait;
        };
        if latest_nonce > self.nonce {
            return self.step_used_up(facts, over_since.is_some(), now);
        }
        self.note_not_used_up();
        let Some(kind) = self.newest().map(|variant| variant.kind) else {
            return Step::LetGo;
        };
        // A forced refund is not let go of so soon while it could hit a later round.
        if latest_nonce < self.nonce && kind != ActionKind::RefundForced {
            return Step::NonceGap;
        }
        self.step_pending(kind, facts, rules, now)
    }

    /// Takes down whether the round is over; since which block it has been.
    fn note_round(&mut self, facts: &HeadFacts) -> Option<u64> {
        self.round_over_at = match self.is_over(facts.round) {
            true => self.round_over_at.or(Some(facts.head.number)),
            false => None,
        };
        self.round_over_at
    }

    pub(crate) fn is_over(&self, round: &Round) -> bool {
        round.round_id != self.round_id || round.state != RoundState::Betting
    }

    /// Whether the newest variant has gas for so many players: a reorg may bring more of them into the round.
    pub(crate) fn has_gas_for(&self, players: u64) -> bool {
        self.newest()
            .is_some_and(|newest| newest.room.players_max >= players)
    }

    fn note_not_used_up(&mut self) {
        self.used_up_heads = 0;
        self.used_up_since = None;
    }

    /// The nonce is used, and no receipt of ours was found.
    fn step_used_up(&mut self, facts: &HeadFacts, is_over: bool, now: Instant) -> Step {
        let since = *self.used_up_since.get_or_insert(now);
        if facts.head.hash != self.sent_at_head {
            self.used_up_heads += 1;
            self.sent_at_head = facts.head.hash;
        }
        let is_sure = self.used_up_heads >= USED_UP_HEADS
            || now.saturating_duration_since(since) >= USED_UP_FOR;
        match facts.receipts {
            // What every node has refused was not mined either: the nonce was never free.
            _ if self.nonce_refused && !self.maybe_out && !is_over => Step::NonceTaken,
            _ if !is_sure => Step::Wait,
            Receipts::Unknown if is_over => Step::EndedUnseen,
            _ => Step::NonceTaken,
        }
    }

    /// What the round's own times demand of a pending action: None while it may still be mined as it is.
    pub(crate) fn at_window(
        &self,
        round: &Round,
        timestamp: u64,
        next_block_time: u64,
    ) -> Option<Step> {
        let kind = self.newest()?.kind;
        if self.is_over(round) {
            if !self.maybe_out {
                return Some(Step::LetGo);
            }
            if kind != ActionKind::Cancel {
                return Some(Step::Replace(ActionKind::Cancel));
            }
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
        let left_alone = self.left_alone_until;
        if left_alone.is_some_and(|until| facts.head.number < until) {
            return Step::Wait;
        }
        if !self.is_full() && self.is_replacement_due(kind, facts, now) {
            return Step::Replace(kind);
        }
        let again_after = if self.accepted {
            TAKEN_AGAIN
        } else {
            REFUSED_AGAIN
        };
        if new_head || now.saturating_duration_since(self.sent_at) >= again_after {
            Step::Rebroadcast
        } else {
            Step::Wait
        }
    }

    fn is_replacement_due(&self, kind: ActionKind, facts: &HeadFacts, now: Instant) -> bool {
        if !self.has_gas_for(facts.round.participant_count) {
            return facts.head.hash != self.sent_at_head;
        }
        let patience = if self.outbid { 1 } else { REPLACE_AFTER_BLOCKS };
        let rested = now.saturating_duration_since(self.signed_at);
        facts.head.number >= self.signed_at_block.saturating_add(patience)
            && rested >= self.rest_between_bumps(kind)
    }

    /// How long after a signature the next one may come.
    fn rest_between_bumps(&self, kind: ActionKind) -> Duration {
        let secs = match kind {
            ActionKind::Draw => (1 << self.bumps.min(8)).min(DRAW_BUMP_SECS_MAX),
            ActionKind::RefundExpired | ActionKind::RefundForced => {
                (BUMP_SECS_MIN << self.bumps.min(8)).min(REFUND_BUMP_SECS_MAX)
            }
            ActionKind::Extend { .. } | ActionKind::Cancel => BUMP_SECS_MIN,
        };
        // What offers less than a pending transaction of another is not in any pool, so nothing is raised by waiting.
        match self.outbid {
            true => Duration::ZERO,
            false => Duration::from_secs(secs),
        }
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests;
