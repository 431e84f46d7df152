//! When to look at the head again. Pure: it learns the chain's rhythm and aims just behind the next block, so that a
//! regular chain costs about one call a block; an irregular one is looked at every poll interval.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::chain::cursor::Cursor;

/// A block that was due and not there is looked for again after this share of the spacing.
const MISS_SHARE: u32 = 8;
const MISS_MIN: Duration = Duration::from_millis(100);
const MISS_MAX: Duration = Duration::from_millis(700);
/// A block this late after its time is overdue; on an irregular chain twice that.
const GRACE: Duration = Duration::from_secs(1);
/// Over how many arrivals the usual gap is taken.
const GAPS: usize = 9;
/// Beyond this no block is waited for without a look.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// How much earlier the next look comes when so many in a row found their block at once: this finds the blocks' true
/// time, at the price of a look that comes too early.
const EARLIER_SHARE: u32 = 16;
const EARLIER_AFTER: u32 = 4;

#[derive(Debug)]
pub struct Pace {
    poll_interval: Duration,
    /// Mean spacing, where the chain is regular enough to aim.
    spacing: Option<Duration>,
    /// Mean spacing of any chain, by its timestamps.
    mean: Option<Duration>,
    /// How long the last blocks took to come, by our own clock.
    gaps: VecDeque<Duration>,
    tip: Option<(u64, Instant)>,
    /// The best estimate of when the newest block came.
    came_at: Option<Instant>,
    /// A block was seen to come, and those since then are counted on from it. One that was found there may have come as long
    /// ago as blocks are apart.
    is_aimed: bool,
    misses: u32,
    /// Looks in a row that found their block at once.
    hits: u32,
    last_look_at: Option<Instant>,
}

impl Pace {
    pub fn new(poll_interval: Duration) -> Pace {
        Pace {
            poll_interval,
            spacing: None,
            mean: None,
            gaps: VecDeque::new(),
            tip: None,
            came_at: None,
            is_aimed: false,
            misses: 0,
            hits: 0,
            last_look_at: None,
        }
    }

    /// The head was looked at and had moved; `now` is when it was asked for.
    pub(crate) fn moved(&mut self, now: Instant, cursor: &Cursor) {
        self.spacing = cursor.regular_spacing_secs().map(Duration::from_secs);
        let blocks = self.note_gap(now, cursor);
        self.mean = cursor
            .mean_spacing_secs()
            .map(|secs| Duration::from_secs_f64(secs.clamp(0.0, 3_600.0)));
        self.hits = match self.misses {
            0 => self.hits + 1,
            _ => 0,
        };
        let early = match self.spacing {
            // Found at once again and again: it may have come earlier, so the next look aims earlier.
            Some(spacing) if self.hits >= EARLIER_AFTER => {
                self.hits = 0;
                spacing / EARLIER_SHARE
            }
            _ => Duration::ZERO,
        };
        let counted = self.counted_on(blocks).filter(|counted| *counted <= now);
        let was_seen_to_come = self.misses > 0 && self.was_looked_at_lately(now);
        self.is_aimed = was_seen_to_come || counted.is_some();
        let came_at = match self.last_look_at {
            // Soon after the look that did not show it yet, or up to now: what is aimed too early is found out at once.
            Some(before) if was_seen_to_come => now.min(before + self.again_after()),
            _ => counted.unwrap_or(now),
        };
        self.came_at = came_at.checked_sub(early);
        self.misses = 0;
        self.last_look_at = Some(now);
    }

    /// How many blocks have come since the head last moved.
    fn note_gap(&mut self, now: Instant, cursor: &Cursor) -> u32 {
        let Some(number) = cursor.tip().map(|tip| tip.number) else {
            return 0;
        };
        let Some((before, at)) = self.tip.replace((number, now)) else {
            return 0;
        };
        let blocks = u32::try_from(number.saturating_sub(before)).unwrap_or(u32::MAX);
        if blocks > 0 {
            self.gaps
                .push_back(now.saturating_duration_since(at) / blocks);
            if self.gaps.len() > GAPS {
                self.gaps.pop_front();
            }
        }
        blocks
    }

    /// When the newest block came, by one before it that was seen to come. However late the look at it was answered, the next
    /// is no later.
    fn counted_on(&self, blocks: u32) -> Option<Instant> {
        let (came_at, spacing) = (self.came_at.filter(|_| self.is_aimed)?, self.spacing?);
        came_at.checked_add(spacing.checked_mul(blocks)?)
    }

    fn was_looked_at_lately(&self, now: Instant) -> bool {
        let lately = 2 * self.poll_interval;
        self.last_look_at
            .is_some_and(|at| now.saturating_duration_since(at) <= lately)
    }

    /// The head was looked at and had not moved.
    pub(crate) fn unchanged(&mut self, now: Instant) {
        self.misses = self.misses.saturating_add(1);
        self.last_look_at = Some(now);
    }

    /// How long to wait before the next look.
    pub fn wait(&self, now: Instant) -> Duration {
        let (Some(spacing), Some(came_at)) = (self.spacing, self.came_at) else {
            return self.irregular_wait();
        };
        if now > came_at + 3 * spacing.max(self.poll_interval) {
            // The rhythm is lost (a stopped chain, blocks on demand): back to plain polling.
            return self.poll_interval;
        }
        if !self.is_aimed {
            return self.poll_interval.min(spacing / 2);
        }
        let due = came_at + spacing;
        let again_after = self.again_after();
        let soonest = self.last_look_at.map_or(now, |at| at + again_after);
        let wait = due.max(soonest).saturating_duration_since(now);
        wait.min(WAIT_MAX)
    }

    /// How soon a block that is due is looked for again.
    fn again_after(&self) -> Duration {
        let share = self.spacing.map(|spacing| spacing / MISS_SHARE);
        share
            .unwrap_or(MISS_MAX)
            .clamp(MISS_MIN, MISS_MAX)
            .min(self.poll_interval)
    }

    /// How long to wait where heads are announced: until the next is overdue.
    pub(crate) fn wait_for_news(&self, now: Instant) -> Duration {
        let (Some(_), Some(came_at)) = (self.spacing, self.came_at) else {
            return WAIT_MAX;
        };
        let overdue_at = came_at + self.overdue_after();
        match overdue_at > now {
            true => (overdue_at - now).min(WAIT_MAX),
            // Nothing was announced, and nothing found: the announcements may have stopped unnoticed.
            false => self.poll_interval,
        }
    }

    /// How long after the newest block the next one is overdue.
    pub(crate) fn overdue_after(&self) -> Duration {
        // Timestamps may jump (a chain that was stopped, a test that moves time); what was seen to come did not.
        let mut gaps: Vec<Duration> = self.gaps.iter().copied().collect();
        gaps.sort_unstable();
        match (self.spacing, gaps.get(gaps.len() / 2)) {
            (Some(spacing), _) => spacing + GRACE,
            (None, Some(median)) => (*median + 2 * GRACE).min(WAIT_MAX),
            (None, None) => WAIT_MAX,
        }
    }

    /// Blocks that come faster than timestamps can tell are looked for a little more often, so that a look that is late
    /// by itself still finds them within the interval.
    fn irregular_wait(&self) -> Duration {
        match self.mean {
            Some(mean) if mean < self.poll_interval => self.poll_interval * 3 / 4,
            _ => self.poll_interval,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::types::BlockRef;
    use crate::chain::types::H256;

    fn cursor(timestamps: &[u64]) -> Cursor {
        let mut cursor = Cursor::default();
        for (number, timestamp) in timestamps.iter().enumerate() {
            cursor.push(BlockRef {
                number: number as u64,
                hash: H256::from_low_u64_be(number as u64 + 1),
                parent_hash: H256::from_low_u64_be(number as u64),
                timestamp: *timestamp,
            });
        }
        cursor
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_regular_chain_is_looked_at_when_its_block_is_due() {
        let start = Instant::now();
        let mut pace = Pace::new(SECOND);
        assert_eq!(pace.wait(start), SECOND);
        let mut timestamps = vec![0, 12, 24, 36];
        pace.moved(start, &cursor(&timestamps));
        let mut came_at = start + 5 * SECOND;
        pace.unchanged(came_at - MISS_MAX);
        let mut comes = |pace: &mut Pace, seen_at| {
            timestamps.push(timestamps.len() as u64 * 12);
            pace.moved(seen_at, &cursor(&timestamps));
        };
        comes(&mut pace, came_at);
        assert_eq!(pace.wait(came_at), 12 * SECOND);
        for number in 1..EARLIER_AFTER {
            came_at += 12 * SECOND;
            comes(&mut pace, came_at);
            assert_eq!(pace.wait(came_at), 12 * SECOND, "after {number} hits");
        }
        came_at += 12 * SECOND;
        comes(&mut pace, came_at);
        assert_eq!(pace.wait(came_at), Duration::from_millis(12_000 - 750));
        let look = came_at + Duration::from_millis(11_250);
        pace.unchanged(look);
        assert_eq!(pace.wait(look), Duration::from_millis(700));
        comes(&mut pace, look + MISS_MAX);
        assert_eq!(pace.wait(look + MISS_MAX), 12 * SECOND);
    }

    #[test]
    fn until_a_block_was_seen_to_come_it_may_have_come_long_ago() {
        let start = Instant::now();
        let at = |secs: u64| start + Duration::from_secs(secs);
        let mut pace = Pace::new(SECOND);
        let mut timestamps = vec![0, 12, 24, 36];
        pace.moved(at(0), &cursor(&timestamps));
        assert_eq!(pace.wait(at(0)), SECOND, "it was found there");
        pace.unchanged(at(1));
        assert_eq!(pace.wait(at(1)), SECOND);
        timestamps.push(48);
        pace.moved(at(2), &cursor(&timestamps));
        // It was seen to come, and not at the last moment for sure.
        assert_eq!(pace.wait(at(2)), Duration::from_millis(11_700));
        // After an outage the rhythm is what it was.
        timestamps.extend([60, 72, 84]);
        pace.moved(at(45), &cursor(&timestamps));
        assert_eq!(pace.wait(at(45)), Duration::from_millis(4_700));
        // And where blocks have come that could not have, it is found out anew.
        timestamps.extend([96, 108]);
        pace.moved(at(55), &cursor(&timestamps));
        assert_eq!(pace.wait(at(55)), SECOND);
        // What nobody looked for just before was not seen to come.
        pace.unchanged(at(56));
        timestamps.push(120);
        pace.moved(at(66), &cursor(&timestamps));
        assert_eq!(pace.wait(at(66)), SECOND);
    }

    #[test]
    fn an_irregular_or_stopped_chain_is_polled() {
        let start = Instant::now();
        let mut pace = Pace::new(SECOND);
        pace.moved(start, &cursor(&[0, 1, 30, 31, 90]));
        assert_eq!(pace.wait(start), SECOND);
        pace.moved(start, &cursor(&[0, 0, 0, 1]));
        assert_eq!(pace.wait(start), SECOND * 3 / 4);
        pace.moved(start, &cursor(&[0, 2, 4, 6]));
        let late = start + 7 * SECOND;
        pace.unchanged(late);
        assert_eq!(pace.wait(late), SECOND);
    }

    #[test]
    fn announced_blocks_are_waited_for_until_they_are_overdue() {
        let start = Instant::now();
        let mut pace = Pace::new(SECOND);
        assert_eq!(pace.wait_for_news(start), WAIT_MAX);
        pace.moved(start, &cursor(&[0, 2, 4, 6]));
        assert_eq!(pace.overdue_after(), 3 * SECOND);
        assert_eq!(pace.wait_for_news(start), 3 * SECOND);
        assert_eq!(pace.wait_for_news(start + 3 * SECOND), SECOND);
        pace.moved(start, &cursor(&[0, 30, 60, 90]));
        assert_eq!(pace.wait(start), SECOND);
        pace.moved(start, &cursor(&[0, 1, 30, 31, 90]));
        assert_eq!(pace.wait_for_news(start), WAIT_MAX);
        // It has been seen to come at once, whatever its timestamps say.
        assert_eq!(pace.overdue_after(), 2 * SECOND);
    }

    #[test]
    fn a_regular_chain_costs_little_more_than_a_call_a_block() {
        // Blocks every 2 s from 0.3 s on, looked at for ten minutes.
        let (looks, late) = followed_for_ten_minutes(0);
        assert!(looks <= 370, "{looks} looks for 300 blocks");
        let worst = late.iter().max();
        assert!(
            worst <= Some(&1_000),
            "a block was noticed {worst:?} ms late"
        );
    }

    #[test]
    fn answers_that_come_late_do_not_put_the_next_look_off() {
        let (_, late) = followed_for_ten_minutes(400);
        let worst = late.iter().skip(3).max();
        assert!(
            worst <= Some(&1_200),
            "a block was noticed {worst:?} ms late"
        );
    }

    /// Blocks every 2 s from 0.3 s on, each look answered so many milliseconds after it is due: how many looks there were, and
    /// how late each block was noticed.
    fn followed_for_ten_minutes(answer_ms: u64) -> (u32, Vec<u64>) {
        let start = Instant::now();
        let blocks = |newest: u64| {
            let timestamps: Vec<u64> = (0..newest + 5).map(|number| 2 * number).collect();
            cursor(&timestamps)
        };
        let (mut pace, mut now, mut seen, mut looks, mut late) =
            (Pace::new(SECOND), 0u64, 0u64, 0u32, Vec::new());
        while now < 600_000 {
            looks += 1;
            let newest = (now + 1_700) / 2_000;
            let asked_at = start + Duration::from_millis(now);
            now += answer_ms;
            let told_at = start + Duration::from_millis(now);
            if newest > seen {
                late.push(now - (newest * 2_000 - 1_700));
                seen = newest;
                pace.moved(asked_at, &blocks(newest));
            } else {
                pace.unchanged(told_at);
            }
            now += pace.wait(told_at).as_millis() as u64;
        }
        (looks, late)
    }
}
