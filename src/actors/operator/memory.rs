//! What the operator remembers of the running round, forgotten with it, and of what its transactions cost in a day.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::chain::types::{BlockRef, H256, U256};
use crate::lottery::action::ActionKind;
use crate::lottery::decision::{Failures, Unanswered};

const DAY: Duration = Duration::from_secs(86_400);

/// Of the running round.
#[derive(Debug, Default)]
pub(super) struct RoundMemory {
    pub(super) round_id: u64,
    pub(super) draw_failures: Failures,
    pub(super) refund_failures: Failures,
    /// At that head, that action was ruled out.
    pub(super) ruled_out: Option<(H256, ActionKind)>,
    /// At that head, the node gave its pending block this time.
    pub(super) pending_time: Option<(H256, u64)>,
    /// No endpoint answers.
    pub(super) unanswered: Option<Unanswered>,
    /// The one draw that may go unchecked was tried.
    pub(super) unchecked_spent: bool,
    /// Gas paid for draws that reverted because a player cannot be paid.
    pub(super) unpayable_wei: U256,
    /// Since this block, the same transaction of this key was seen pending without being ours.
    pub(super) twin_since: Option<u64>,
    pub(super) rehearsed: bool,
}

impl RoundMemory {
    pub(super) fn of(round_id: u64) -> RoundMemory {
        RoundMemory {
            round_id,
            ..RoundMemory::default()
        }
    }

    pub(super) fn pending_time_at(&self, head: BlockRef) -> Option<u64> {
        let at_this_head = self.pending_time.filter(|(at, _)| *at == head.hash);
        at_this_head.map(|(_, time)| time)
    }

    pub(super) fn ruled_out_at(&self, head: BlockRef) -> Option<ActionKind> {
        let at_this_head = self.ruled_out.filter(|(at, _)| *at == head.hash);
        at_this_head.map(|(_, kind)| kind)
    }
}

/// What was spent on gas, and how often an empty round was extended, in the last day.
#[derive(Debug, Default)]
pub(super) struct Spending {
    spent: VecDeque<(Instant, U256)>,
    extended_at: VecDeque<Instant>,
}

impl Spending {
    pub(super) fn note_spent(&mut self, wei: U256, at: Instant) {
        self.spent.push_back((at, wei));
    }

    pub(super) fn note_extension(&mut self, at: Instant) {
        self.extended_at.push_back(at);
    }

    pub(super) fn spent_wei(&mut self, now: Instant) -> U256 {
        self.spent.retain(|(at, _)| is_within_a_day(*at, now));
        let add = |sum: U256, (_, wei): &(Instant, U256)| sum.saturating_add(*wei);
        self.spent.iter().fold(U256::zero(), add)
    }

    pub(super) fn extensions(&mut self, now: Instant) -> usize {
        self.extended_at.retain(|at| is_within_a_day(*at, now));
        self.extended_at.len()
    }
}

fn is_within_a_day(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < DAY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_day_old_no_longer_counts() {
        let start = Instant::now();
        let mut spending = Spending::default();
        spending.note_spent(U256::from(5), start);
        spending.note_extension(start);
        let later = start + Duration::from_secs(10);
        spending.note_spent(U256::from(7), later);
        let almost = start + DAY - Duration::from_nanos(1);
        assert_eq!(spending.spent_wei(almost), U256::from(12));
        assert_eq!(spending.extensions(almost), 1);
        assert_eq!(spending.spent_wei(start + DAY), U256::from(7));
        assert_eq!(spending.extensions(start + DAY), 0);
        assert_eq!(spending.spent_wei(later + DAY), U256::zero());
    }

    #[test]
    fn what_was_learned_at_one_head_says_nothing_of_another() {
        let head = |number: u64| BlockRef {
            number,
            hash: H256::from_low_u64_be(number),
            parent_hash: H256::zero(),
            timestamp: 100,
        };
        let mut memory = RoundMemory::of(3);
        memory.ruled_out = Some((head(1).hash, ActionKind::Draw));
        memory.pending_time = Some((head(1).hash, 104));
        assert_eq!(memory.ruled_out_at(head(1)), Some(ActionKind::Draw));
        assert_eq!(memory.pending_time_at(head(1)), Some(104));
        assert_eq!(memory.ruled_out_at(head(2)), None);
        assert_eq!(memory.pending_time_at(head(2)), None);
    }
}
