//! Where following stands: a ring of recent blocks, and what a newly seen head means against it. Pure; fetching the
//! headers that settle a doubt is the poller's work.
//!
//! After an outage the ring may have gaps: only blocks that were read are in it, in rising order. Of the blocks below it
//! a few are kept as anchors, by which an endpoint that lags far behind is told from one of another chain.

use std::collections::VecDeque;

use crate::chain::types::{BlockRef, H256};

/// How many blocks are remembered: a reorg deeper than this rebuilds everything as at start.
pub(crate) const RING_LEN: usize = 256;
/// How many anchors are kept; of more, every second one goes.
const ANCHORS_MAX: usize = 64;
/// Over how many heads the rhythm of the chain is measured.
const SPACING_HEADS: usize = 32;
/// A block that comes late may be followed sooner than usual, for so many heads.
const CATCHING_UP_HEADS: usize = 8;
/// Blocks that are further apart follow each other by slots or periods that the chain's rules hold, also after a late one.
const BY_TIMER_SECS_MAX: u64 = 2;
/// What is further behind was stopped, or its clock was moved, and nothing is caught up.
const BEHIND_SECS_MAX: u64 = 10;
/// So many equal spacings are a new rhythm, and so many are one that holds, whatever came before: a reorg puts blocks
/// together that no chain makes so.
const NEW_RHYTHM_HEADS: usize = 3;
const HELD_RHYTHM_HEADS: usize = 8;

/// What a head says, judged by the ring alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    /// Nothing is known yet.
    First,
    /// The head is the tip.
    Unchanged,
    /// An older block of our own chain: the endpoint lags.
    Behind,
    /// The tip's child.
    Next,
    /// Lower than all that is remembered: an anchor has to tell.
    Below,
    /// Higher than the tip's child: blocks are missing between, and the tip has to be looked up again.
    Ahead,
    /// Another block at a known height, or a child of another parent: a reorg, if the endpoint's ancestry bears it out.
    Fork,
}

#[derive(Clone, Debug, Default)]
pub struct Cursor {
    ring: VecDeque<BlockRef>,
    /// (number, hash), rising, all below the ring.
    anchors: Vec<(u64, H256)>,
}

impl Cursor {
    pub fn tip(&self) -> Option<&BlockRef> {
        self.ring.back()
    }

    pub(crate) fn relation(&self, head: &BlockRef) -> Relation {
        let Some(tip) = self.tip() else {
            return Relation::First;
        };
        if head.hash == tip.hash {
            Relation::Unchanged
        } else if head.number > tip.number + 1 {
            Relation::Ahead
        } else if head.number == tip.number + 1 {
            if head.parent_hash == tip.hash {
                Relation::Next
            } else {
                Relation::Fork
            }
        } else if self
            .ring
            .front()
            .is_some_and(|oldest| head.number < oldest.number)
        {
            Relation::Below
        } else if self
            .at(head.number)
            .is_some_and(|known| known.hash == head.hash)
        {
            Relation::Behind
        } else {
            Relation::Fork
        }
    }

    /// The remembered blocks from the newest at or below `number`, newest first: where to look for a common ancestor.
    pub(crate) fn newest_from(&self, number: u64) -> impl Iterator<Item = &BlockRef> {
        self.ring
            .iter()
            .rev()
            .skip_while(move |block| block.number > number)
    }

    pub fn at(&self, number: u64) -> Option<&BlockRef> {
        let place = self
            .ring
            .binary_search_by_key(&number, |block| block.number)
            .ok()?;
        self.ring.get(place)
    }

    /// Forgets every block above `ancestor`; answers with what was forgotten.
    pub fn rewind(&mut self, ancestor: u64) -> Vec<BlockRef> {
        let keep = self.ring.partition_point(|block| block.number <= ancestor);
        let forgotten: Vec<BlockRef> = self.ring.split_off(keep).into();
        debug_assert!(self.tip().is_none_or(|tip| tip.number <= ancestor));
        debug_assert!(forgotten.iter().all(|block| block.number > ancestor));
        forgotten
    }

    pub fn clear(&mut self) {
        *self = Cursor::default();
    }

    /// The highest block at or below `number` that is remembered below the ring.
    pub(crate) fn anchor_below(&self, number: u64) -> Option<(u64, H256)> {
        let place = self
            .anchors
            .partition_point(|(anchor, _)| *anchor <= number);
        self.anchors[..place].last().copied()
    }

    /// Remembers a block below the ring and above the other anchors.
    pub(crate) fn push_anchor(&mut self, number: u64, hash: H256) {
        debug_assert!(self.anchors.last().is_none_or(|last| last.0 < number));
        if self.anchors.len() == ANCHORS_MAX {
            let mut place = 0;
            self.anchors.retain(|_| {
                place += 1;
                // The lowest stays: it is what every deep doubt comes down to.
                place % 2 == 1
            });
        }
        self.anchors.push((number, hash));
    }

    /// Makes `block` the tip. Blocks come in rising order: what is not above the tip was rewound before.
    pub fn push(&mut self, block: BlockRef) {
        debug_assert!(self.tip().is_none_or(|tip| tip.number < block.number));
        if self.ring.len() == RING_LEN {
            let oldest = self.ring.pop_front();
            if let Some(oldest) = oldest.filter(|oldest| oldest.number % RING_LEN as u64 == 0) {
                self.push_anchor(oldest.number, oldest.hash);
            }
        }
        self.ring.push_back(block);
        debug_assert!(self.ring.len() <= RING_LEN && self.anchors.len() <= ANCHORS_MAX);
        debug_assert!(self.anchors.last().is_none_or(|(anchor, _)| {
            let lowest = self.ring.front().map(|oldest| oldest.number);
            lowest.is_none_or(|lowest| *anchor < lowest)
        }));
    }

    /// Mean seconds between the last blocks; None until two are known.
    pub(crate) fn mean_spacing_secs(&self) -> Option<f64> {
        self.mean_spacing_secs_over(SPACING_HEADS)
    }

    fn mean_spacing_secs_over(&self, spacings: usize) -> Option<f64> {
        let newest = self.tip()?;
        let oldest = self.recent(spacings).next()?;
        let blocks = newest
            .number
            .checked_sub(oldest.number)
            .filter(|blocks| *blocks > 0)?;
        // Differences of timestamps and numbers are far below 2^53, where f64 is exact.
        Some(newest.timestamp.saturating_sub(oldest.timestamp) as f64 / blocks as f64)
    }

    /// Seconds by which the block after the tip is later than it, at least: the smallest difference between consecutive
    /// timestamps, or the one that blocks by slots have kept to of late, less what that block may catch up of lateness.
    /// None until two blocks are known.
    pub(crate) fn least_to_next_secs(&self) -> Option<u64> {
        let held = self.regular_spacing_secs_over(HELD_RHYTHM_HEADS);
        let min = held
            .filter(|spacing| *spacing > BY_TIMER_SECS_MAX)
            .or_else(|| self.min_spacing_secs_over(SPACING_HEADS))?;
        let tip = self.tip()?;
        let behind = self.recent(CATCHING_UP_HEADS).map(|before| {
            let blocks = tip.number.saturating_sub(before.number);
            secs_behind(min, blocks, tip.timestamp.saturating_sub(before.timestamp))
        });
        Some(min.saturating_sub(behind.max()?))
    }

    /// Seconds between blocks that come at regular times, apart from a missed one now and then; None on other chains,
    /// and where blocks come faster than timestamps can tell. A change of the rhythm is believed after a few blocks.
    pub(crate) fn regular_spacing_secs(&self) -> Option<u64> {
        [SPACING_HEADS, NEW_RHYTHM_HEADS]
            .into_iter()
            .find_map(|spacings| self.regular_spacing_secs_over(spacings))
    }

    fn regular_spacing_secs_over(&self, spacings: usize) -> Option<u64> {
        let blocks = self.recent(spacings).count();
        let min = self
            .min_spacing_secs_over(spacings)
            .filter(|min| *min > 0)?;
        let mean = self.mean_spacing_secs_over(spacings)?;
        // A tenth of missed slots still makes a regular chain.
        (blocks > NEW_RHYTHM_HEADS && mean <= 1.1 * min as f64).then_some(min)
    }

    fn min_spacing_secs_over(&self, spacings: usize) -> Option<u64> {
        let blocks: Vec<&BlockRef> = self.recent(spacings).collect();
        blocks
            .windows(2)
            .map(|pair| {
                // Across a gap, some of the missing are no further apart than the mean.
                let blocks = pair[1].number.saturating_sub(pair[0].number);
                pair[1].timestamp.saturating_sub(pair[0].timestamp) / blocks.max(1)
            })
            .min()
    }

    /// The blocks that bound the last `spacings`.
    fn recent(&self, spacings: usize) -> impl Iterator<Item = &BlockRef> {
        self.ring
            .iter()
            .skip(self.ring.len().saturating_sub(spacings + 1))
    }
}

/// How far so many blocks that took `elapsed` seconds have fallen behind blocks `spacing` seconds apart, as far as a
/// miner by a timer may catch it up: the block after a late one then has a time that is less than `spacing` above it.
pub(crate) fn secs_behind(spacing: u64, blocks: u64, elapsed: u64) -> u64 {
    let behind = elapsed.saturating_sub(spacing.saturating_mul(blocks));
    match spacing <= BY_TIMER_SECS_MAX && behind <= BEHIND_SECS_MAX {
        true => behind,
        false => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hash(branch: u64, number: u64) -> H256 {
        H256::from_low_u64_be(branch * 1_000_000 + number)
    }

    fn block(branch: u64, number: u64) -> BlockRef {
        BlockRef {
            number,
            hash: hash(branch, number),
            parent_hash: hash(branch, number.wrapping_sub(1)),
            timestamp: 1_000 + 2 * number,
        }
    }

    fn cursor(numbers: impl IntoIterator<Item = u64>) -> Cursor {
        let mut cursor = Cursor::default();
        numbers
            .into_iter()
            .for_each(|number| cursor.push(block(0, number)));
        cursor
    }

    #[test]
    fn a_head_is_judged_by_number_hash_and_parent() {
        assert_eq!(Cursor::default().relation(&block(0, 5)), Relation::First);
        let cursor = cursor(10..=20);
        for (head, relation) in [
            (block(0, 20), Relation::Unchanged),
            (block(0, 21), Relation::Next),
            (block(1, 21), Relation::Fork),
            (block(0, 22), Relation::Ahead),
            (block(1, 22), Relation::Ahead),
            (block(0, 19), Relation::Behind),
            (block(0, 10), Relation::Behind),
            (block(1, 19), Relation::Fork),
            (block(1, 20), Relation::Fork),
            (block(0, 9), Relation::Below),
            (block(1, 9), Relation::Below),
        ] {
            assert_eq!(cursor.relation(&head), relation, "{head:?}");
        }
    }

    #[test]
    fn rewinding_forgets_what_is_above_the_ancestor() {
        let mut cursor = cursor(10..=20);
        let gone: Vec<u64> = cursor.rewind(17).iter().map(|block| block.number).collect();
        assert_eq!(gone, [18, 19, 20]);
        assert_eq!(cursor.tip().unwrap().number, 17);
        assert_eq!(cursor.rewind(17), []);
        let newest: Vec<u64> = cursor
            .newest_from(15)
            .map(|block| block.number)
            .take(3)
            .collect();
        assert_eq!(newest, [15, 14, 13]);
    }

    /// Blocks so many seconds apart.
    fn spaced(spacings: &[u64]) -> Cursor {
        let (mut cursor, mut timestamp) = (Cursor::default(), 1_000);
        for (number, spacing) in (0..).zip(std::iter::once(&0).chain(spacings)) {
            timestamp += spacing;
            cursor.push(BlockRef {
                timestamp,
                ..block(0, number)
            });
        }
        cursor
    }

    #[test]
    fn spacing_is_measured_over_the_last_heads() {
        assert_eq!(cursor([5]).mean_spacing_secs(), None);
        assert_eq!(cursor([5]).least_to_next_secs(), None);
        assert_eq!(cursor(1..=60).mean_spacing_secs(), Some(2.0));
        let mut gapped = cursor([1, 2, 50]);
        assert_eq!(gapped.least_to_next_secs(), Some(2));
        let at = |number, timestamp| BlockRef {
            timestamp,
            ..block(0, number)
        };
        // What is missing between was no further apart than a second.
        let then = block(0, 50).timestamp;
        gapped.push(at(53, then + 3));
        assert_eq!(gapped.least_to_next_secs(), Some(1));
        gapped.push(at(54, then + 3));
        assert_eq!(gapped.least_to_next_secs(), Some(0));
    }

    #[test]
    fn a_reorgs_odd_spacing_is_forgotten_once_blocks_keep_to_their_slots_again() {
        let least = |spacings: &[u64]| spaced(spacings).least_to_next_secs();
        let after_reorg = [[12; 9].as_slice(), &[0]].concat();
        assert_eq!(least(&[after_reorg.as_slice(), &[12; 7]].concat()), Some(0));
        assert_eq!(
            least(&[after_reorg.as_slice(), &[12; 8]].concat()),
            Some(12)
        );
        // Where a timer makes the blocks, the least that was seen counts for longer.
        assert_eq!(least(&[[2; 9].as_slice(), &[0], &[2; 8]].concat()), Some(0));
        assert_eq!(least(&[4, 9, 5, 12, 3, 7, 4, 4, 11, 9, 5]), Some(3));
    }

    #[test]
    fn the_block_after_a_late_one_may_come_sooner_where_a_timer_makes_them() {
        let least = |spacings: &[&[u64]]| spaced(&spacings.concat()).least_to_next_secs();
        let cases: [(&[&[u64]], u64); 10] = [
            (&[&[1; 40]], 1),
            // Late by a second, and so is what comes after it: the next may be in time again.
            (&[&[1; 40], &[2]], 0),
            (&[&[1; 40], &[2, 1, 1, 1]], 0),
            (&[&[1; 40], &[2], &[1; 8]], 1),
            (&[&[2; 40], &[3]], 1),
            (&[&[2; 40], &[3, 2, 3]], 0),
            (&[&[2; 40], &[4]], 0),
            (&[&[1; 40], &[600], &[1; 2]], 1),
            // A missed slot is caught up by nobody.
            (&[&[12; 30], &[24]], 12),
            (&[&[5; 30], &[7]], 5),
        ];
        for (spacings, expected) in cases {
            assert_eq!(least(spacings), Some(expected), "{spacings:?}");
        }
    }

    #[test]
    fn a_rhythm_is_regular_spacings_and_a_new_one_is_learned_soon() {
        let of = |spacings: &[u64]| spaced(spacings).regular_spacing_secs();
        assert_eq!(of(&[12, 12]), None, "too few to tell");
        assert_eq!(of(&[12, 12, 12]), Some(12));
        assert_eq!(of(&[12; 40]), Some(12));
        assert_eq!(
            of(&[[12; 15].as_slice(), &[24], &[12; 15]].concat()),
            Some(12)
        );
        assert_eq!(of(&[[2; 30].as_slice(), &[12; 3]].concat()), Some(12));
        assert_eq!(of(&[[12; 30].as_slice(), &[2; 3]].concat()), Some(2));
        assert_eq!(of(&[3, 9, 14, 2, 30, 8]), None);
        assert_eq!(of(&[0, 0, 1, 0, 0, 1]), None);
    }

    #[test]
    fn anchors_reach_down_to_the_first_and_stay_few() {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.anchor_below(u64::MAX), None);
        cursor.push_anchor(0, hash(0, 0));
        (5..40_000).for_each(|number| cursor.push(block(0, number)));
        assert!(cursor.anchors.len() <= ANCHORS_MAX);
        assert_eq!(cursor.anchor_below(255), Some((0, hash(0, 0))));
        let newest = cursor.anchor_below(u64::MAX).unwrap();
        assert!(newest.0 + 2 * RING_LEN as u64 > 40_000 - RING_LEN as u64);
        assert_eq!(newest.1, hash(0, newest.0));
        assert!(cursor.anchors.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let middle = cursor.anchor_below(20_000).unwrap();
        assert!(middle.0 <= 20_000 && middle.0 > 10_000, "{middle:?}");
        cursor.clear();
        assert_eq!(cursor.anchor_below(u64::MAX), None);
    }

    proptest! {
        #[test]
        fn the_ring_is_bounded_and_finds_what_it_holds(length in 1..600u64) {
            let cursor = cursor(0..length);
            let held = length.min(RING_LEN as u64);
            prop_assert_eq!(cursor.newest_from(u64::MAX).count() as u64, held);
            prop_assert_eq!(cursor.at(length - held).map(|block| block.number), Some(length - held));
            prop_assert!(cursor.at(length).is_none());
        }
    }
}
