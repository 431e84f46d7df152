//! What the operator remembers of the running round, forgotten with it, and of what its transactions cost in a day.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::actors::operator::foresight::Foresight;
use crate::chain::types::{BlockRef, H256, U256};
use crate::lottery::action::{ActionKind, ActionRecord};
use crate::lottery::decision::{Failures, PendingTime, Unanswered};
use crate::lottery::lateness::LateReason;
use crate::lottery::payable::Payability;

const DAY: Duration = Duration::from_secs(86_400);
/// What a node said of its pending block is asked again after this long, while the head stands.
const PENDING_FOR: Duration = Duration::from_secs(5);
/// A refund that a player makes impossible is tried again after this long, and each time twice as late.
const STUCK_AGAIN_MIN: Duration = Duration::from_secs(45);
const STUCK_AGAIN_MAX: Duration = Duration::from_secs(3_600);

/// Of the running round.
#[derive(Debug, Default)]
pub(super) struct RoundMemory {
    pub(super) round_id: u64,
    /// Bets were taken.
    pub(super) has_begun: bool,
    pub(super) draw_failures: Failures,
    pub(super) refund_failures: Failures,
    pub(super) ruled_out: Option<RuledOut>,
    pending: Option<Pending>,
    /// The action that was refused last, and how often in a row for the same reason.
    pub(super) refusal: Option<Refusal>,
    /// The refund cannot pass, since a player cannot be paid.
    pub(super) stuck: Option<Stuck>,
    /// Who among the bettors was found to be unpayable.
    pub(super) payability: Payability,
    pub(super) probed_at: Option<Instant>,
    /// Draws that reverted because a player could not be paid: no failures of ours, but they are counted.
    pub(super) unpayable_draws: u32,
    /// No endpoint answers.
    pub(super) unanswered: Option<Unanswered>,
    /// The one draw that may go unchecked was tried.
    pub(super) unchecked_spent: bool,
    /// Gas paid for draws that reverted because a player cannot be paid.
    pub(super) unpayable_wei: U256,
    /// Since this block, the same transaction of this key was seen pending without being ours.
    pub(super) twin_since: Option<u64>,
    /// When everything that a draw needs was last looked at, and whether something was missing.
    pub(super) rehearsed: Option<(Instant, bool)>,
    /// The time of a head that others tell too, and when it was seen.
    pub(super) time_confirmed: Option<(u64, Instant)>,
    pub(super) foresight: Foresight,
    /// What has held up the draw since it is due.
    pub(super) held_up_by: Option<LateReason>,
}

/// Which head was not seen to come.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    unseen: Option<H256>,
    /// The newest head.
    head: Option<BlockRef>,
    /// As of the last look.
    reorgs: u64,
}

impl Arrivals {
    /// A look at `head`, after so many reorgs since the start. The first head was not seen to come, nor one that a reorg put
    /// there, nor one that was caught up with: it may have been there for as long as nobody told of it.
    pub(super) fn note(&mut self, head: BlockRef, reorgs: u64) {
        let is_next = |before: BlockRef| head.number <= before.number + 1;
        let was_seen = self.reorgs == reorgs && self.head.is_some_and(is_next);
        if self.head.is_none_or(|before| before.hash != head.hash) || self.reorgs != reorgs {
            self.unseen = (!was_seen).then_some(head.hash);
        }
        (self.head, self.reorgs) = (Some(head), reorgs);
    }

    pub(super) fn is_unseen(&self, head: BlockRef) -> bool {
        self.unseen == Some(head.hash)
    }
}

impl RoundMemory {
    pub(super) fn of(round_id: u64) -> RoundMemory {
        RoundMemory {
            round_id,
            ..RoundMemory::default()
        }
    }

    /// What a node said of the next block's time at this head, while that is fresh.
    pub(super) fn pending_at(&self, head: BlockRef, now: Instant) -> PendingTime {
        let is_fresh = |pending: &Pending| {
            let age = now.saturating_duration_since(pending.asked_at);
            pending.head == head.hash && age < PENDING_FOR
        };
        let fresh = self.pending.filter(is_fresh);
        fresh.map_or(PendingTime::Unasked, |pending| pending.time)
    }

    pub(super) fn note_pending(&mut self, head: BlockRef, time: PendingTime, asked_at: Instant) {
        self.pending = Some(Pending {
            head: head.hash,
            time,
            asked_at,
        });
    }

    pub(super) fn forget_pending(&mut self) {
        self.pending = None;
    }

    /// What is ruled out at this head just now.
    pub(super) fn ruled_out_at(&self, head: BlockRef, now: Instant) -> Option<RuledOut> {
        self.ruled_out
            .filter(|it| it.head == head.hash && it.until > now)
    }

    /// Not at this head again, unless it still stands at `until`: a chain that makes blocks on demand would otherwise
    /// never see another try.
    pub(super) fn rule_out(&mut self, head: BlockRef, kind: ActionKind, until: Instant) {
        let head = head.hash;
        self.ruled_out = Some(RuledOut { head, kind, until });
    }

    /// The refund was found to be impossible once more: each time the next try comes twice as late.
    pub(super) fn note_stuck(&mut self, reason: String, now: Instant) {
        let tries = self.stuck.as_ref().map_or(0, |stuck| stuck.tries) + 1;
        let wait = STUCK_AGAIN_MIN.saturating_mul(1 << (tries - 1).min(16));
        self.stuck = Some(Stuck {
            reason,
            tries,
            again_at: now + wait.min(STUCK_AGAIN_MAX),
        });
    }
}

/// An action is not tried again at that head before `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RuledOut {
    head: H256,
    pub(super) kind: ActionKind,
    pub(super) until: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    head: H256,
    time: PendingTime,
    asked_at: Instant,
}

/// Why an action was refused, and its record, which serves all tries that were refused alike.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) kind: ActionKind,
    pub(super) reason: String,
    pub(super) tries: u32,
    pub(super) record: ActionRecord,
}

#[derive(Clone, Debug)]
pub(super) struct Stuck {
    pub(super) reason: String,
    pub(super) tries: u32,
    pub(super) again_at: Instant,
}

/// What was spent on gas, and how often an empty round was extended, in the last day.
#[derive(Debug, Default)]
pub(super) struct Spending {
    spent: VecDeque<Spent>,
    extended_at: VecDeque<Instant>,
}

impl Spending {
    /// What a transaction cost; one that is known already is not counted again.
    pub(super) fn note_spent(&mut self, hash: H256, wei: U256, at: Instant) {
        if self.spent.iter().all(|spent| spent.hash != hash) {
            self.spent.push_back(Spent { hash, wei, at });
        }
    }

    pub(super) fn note_extension(&mut self, at: Instant) {
        self.extended_at.push_back(at);
    }

    pub(super) fn spent_wei(&mut self, now: Instant) -> U256 {
        self.spent.retain(|spent| is_within_a_day(spent.at, now));
        let add = |sum: U256, spent: &Spent| sum.saturating_add(spent.wei);
        self.spent.iter().fold(U256::zero(), add)
    }

    pub(super) fn extensions(&mut self, now: Instant) -> usize {
        self.extended_at.retain(|at| is_within_a_day(*at, now));
        self.extended_at.len()
    }
}

#[derive(Clone, Copy, Debug)]
struct Spent {
    hash: H256,
    wei: U256,
    at: Instant,
}

fn is_within_a_day(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < DAY
}

/// What is left to be taken over.
#[derive(Debug)]
pub(super) struct Recovery {
    pub(super) pending: bool,
    pub(super) spending: bool,
    pub(super) again_at: Option<Instant>,
}

impl Default for Recovery {
    fn default() -> Recovery {
        Recovery {
            pending: true,
            spending: true,
            again_at: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(number: u64) -> BlockRef {
        BlockRef {
            number,
            hash: H256::from_low_u64_be(number),
            parent_hash: H256::zero(),
            timestamp: 100,
        }
    }

    #[test]
    fn what_is_a_day_old_no_longer_counts() {
        let start = Instant::now();
        let mut spending = Spending::default();
        let hash = H256::from_low_u64_be;
        spending.note_spent(hash(1), U256::from(5), start);
        // A reorg shows a receipt twice.
        spending.note_spent(hash(1), U256::from(5), start);
        spending.note_extension(start);
        let later = start + Duration::from_secs(10);
        spending.note_spent(hash(2), U256::from(7), later);
        let almost = start + DAY - Duration::from_nanos(1);
        assert_eq!(spending.spent_wei(almost), U256::from(12));
        assert_eq!(spending.extensions(almost), 1);
        assert_eq!(spending.spent_wei(start + DAY), U256::from(7));
        assert_eq!(spending.extensions(start + DAY), 0);
        assert_eq!(spending.spent_wei(later + DAY), U256::zero());
    }

    #[test]
    fn what_was_learned_at_one_head_says_nothing_of_another() {
        let now = Instant::now();
        let mut memory = RoundMemory::of(3);
        let later = now + DAY;
        memory.rule_out(head(1), ActionKind::Draw, later);
        memory.note_pending(head(1), PendingTime::Told(104), now);
        let ruled_out = |memory: &RoundMemory, number, at| {
            memory.ruled_out_at(head(number), at).map(|it| it.kind)
        };
        let just_before = later - Duration::from_nanos(1);
        assert_eq!(ruled_out(&memory, 1, just_before), Some(ActionKind::Draw));
        assert_eq!(memory.pending_at(head(1), now), PendingTime::Told(104));
        assert_eq!(ruled_out(&memory, 2, now), None);
        assert_eq!(memory.pending_at(head(2), now), PendingTime::Unasked);
        // On a head that stands, both are asked again after a while.
        assert_eq!(
            memory.pending_at(head(1), now + PENDING_FOR),
            PendingTime::Unasked
        );
        assert_eq!(ruled_out(&memory, 1, later), None);
    }

    #[test]
    fn the_first_head_and_one_that_a_reorg_put_there_or_that_was_caught_up_with_were_not_seen_to_come(
    ) {
        let mut arrivals = Arrivals::default();
        let unseen = |arrivals: &mut Arrivals, number, reorgs| {
            arrivals.note(head(number), reorgs);
            arrivals.is_unseen(head(number))
        };
        assert!(unseen(&mut arrivals, 1, 0));
        assert!(unseen(&mut arrivals, 1, 0), "it still stands");
        assert!(!unseen(&mut arrivals, 2, 0));
        assert!(unseen(&mut arrivals, 3, 1));
        assert!(!unseen(&mut arrivals, 4, 1));
        assert!(unseen(&mut arrivals, 6, 1));
        assert!(unseen(&mut arrivals, 6, 1));
        assert!(!unseen(&mut arrivals, 7, 1));
    }

    #[test]
    fn a_stuck_round_is_tried_at_a_growing_pace_to_an_hour() {
        let mut memory = RoundMemory::of(3);
        let now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..9 {
            memory.note_stuck("why".to_owned(), now);
            waits.push((memory.stuck.as_ref().unwrap().again_at - now).as_secs());
        }
        assert_eq!(waits, [45, 90, 180, 360, 720, 1_440, 2_880, 3_600, 3_600]);
    }
}
