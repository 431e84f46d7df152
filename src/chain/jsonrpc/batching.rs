//! What is known of the batches that a server takes: how large they may be, and which methods spoil those that they are part
//! of. Pure: every function that needs it takes the time.

use std::time::{Duration, Instant};

use crate::chain::method::Method;

/// Items in one batch; more is sent as several.
pub(crate) const BATCH_MAX: usize = 10;
/// How long a server is spared larger batches once it failed one; twice as long each time it fails one again.
const SMALLER_FOR: Duration = Duration::from_secs(15);
pub(super) const SMALLER_FOR_MAX: Duration = Duration::from_secs(600);
/// So many batches in a row without an answer, or told off as too many calls, are the batches' fault.
pub(super) const STRIKES_MAX: u32 = 3;

/// How large the server's batches may be, as far as is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batching {
    size: usize,
    /// So many were answered together since a batch last failed.
    proven: usize,
    /// When full batches are tried again.
    full_again_at: Option<Instant>,
    /// How often they were tried again in vain, and how many calls the largest had that failed.
    in_vain: u32,
    failed: usize,
    /// Batches in a row that were not answered, or told off as too many calls, or in which a call failed beside others.
    strikes: u32,
    /// Until then a call that fails in a batch is not suspected to fail for the batch: one failed alone, too.
    acquitted_until: Option<Instant>,
    /// Methods that fail, and take with them every batch that they are part of: they are asked for beside it, until they are
    /// answered, or for so long.
    apart: [bool; Method::ALL.len()],
    apart_until: Option<Instant>,
}

impl Default for Batching {
    fn default() -> Batching {
        Batching {
            size: BATCH_MAX,
            proven: BATCH_MAX,
            full_again_at: None,
            in_vain: 0,
            failed: 0,
            strikes: 0,
            acquitted_until: None,
            apart: [false; Method::ALL.len()],
            apart_until: None,
        }
    }
}

impl Batching {
    pub(super) fn size_at(&mut self, now: Instant) -> usize {
        if self.full_again_at.take_if(|at| *at <= now).is_some() {
            self.size = BATCH_MAX;
            self.strikes = 0;
        }
        self.size
    }

    /// So many are answered in one round trip, by all that is known: larger batches that failed are only tried again.
    pub(super) fn sure_size_at(&mut self, now: Instant) -> usize {
        self.size_at(now).min(self.proven)
    }

    /// The methods that are asked for beside a batch.
    pub(super) fn apart_at(&mut self, now: Instant) -> [bool; Method::ALL.len()] {
        if self.apart_until.take_if(|until| *until <= now).is_some() {
            self.apart = Batching::default().apart;
        }
        self.apart
    }

    /// A batch of so many calls was answered.
    pub(super) fn note_answered(&mut self, calls: usize) {
        self.strikes = 0;
        self.proven = self.proven.max(calls);
        if calls >= self.failed {
            (self.in_vain, self.failed) = (0, 0);
            self.proven = BATCH_MAX;
        }
    }

    /// A call failed in a batch of so many whose other calls were answered; true when it is time to find out whether that is
    /// the batch's fault.
    pub(super) fn suspects(&mut self, calls: usize, now: Instant) -> bool {
        if self.acquitted_until.is_some_and(|until| now < until) {
            self.note_answered(calls);
            return false;
        }
        self.strikes += 1;
        let is_time = self.strikes >= STRIKES_MAX;
        if is_time {
            self.strikes = 0;
        }
        is_time
    }

    /// It was not: the call fails alone as well.
    pub(super) fn acquit(&mut self, now: Instant) {
        self.acquitted_until = Some(now + SMALLER_FOR_MAX);
    }

    /// A batch of `failed` calls was too much.
    pub(super) fn shrink(&mut self, failed: usize, now: Instant) {
        self.size = (failed / 2).max(1);
        self.proven = self.proven.min(self.size);
        self.strikes = 0;
        self.failed = self.failed.max(failed);
        if self.full_again_at.is_none() {
            self.in_vain = self.in_vain.saturating_add(1);
        }
        let doublings = self.in_vain.saturating_sub(1).min(6);
        let smaller_for = (SMALLER_FOR * (1 << doublings)).min(SMALLER_FOR_MAX);
        self.full_again_at = Some(now + smaller_for);
    }

    /// A batch failed as a whole, and of its calls these do alone as well.
    pub(super) fn set_apart(&mut self, methods: &[Method], now: Instant) {
        for method in methods {
            self.apart[*method as usize] = true;
        }
        self.apart_until = Some(now + SMALLER_FOR_MAX);
    }

    /// It is answered alone, and need not be apart any more.
    pub(super) fn take_back(&mut self, method: Method) {
        self.apart[method as usize] = false;
    }

    /// A batch of `failed` calls met silence or a rate limit, which may have nothing to do with batches; true when it
    /// shrank all the same.
    pub(super) fn strike(&mut self, failed: usize, now: Instant) -> bool {
        self.strikes += 1;
        let shrinks = self.strikes >= STRIKES_MAX;
        if shrinks {
            self.shrink(failed, now);
        }
        shrinks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_failed_one_batch_is_tried_with_full_ones_soon_and_who_fails_them_again_ever_later() {
        let start = Instant::now();
        let (mut batching, mut now) = (Batching::default(), start);
        let mut spared = Vec::new();
        for _ in 0..9 {
            assert_eq!(batching.size_at(now), BATCH_MAX);
            batching.shrink(BATCH_MAX, now);
            batching.shrink(5, now);
            // Smaller ones say nothing of those that failed.
            batching.note_answered(BATCH_MAX / 2);
            let failed_at = now;
            while batching.size_at(now) < BATCH_MAX {
                now += Duration::from_secs(1);
            }
            spared.push((now - failed_at).as_secs());
        }
        assert_eq!(spared, [15, 30, 60, 120, 240, 480, 600, 600, 600]);
        batching.note_answered(BATCH_MAX);
        batching.shrink(BATCH_MAX, now);
        assert_eq!(batching.size_at(now + SMALLER_FOR), BATCH_MAX);
    }

    #[test]
    fn that_larger_batches_are_tried_again_makes_them_no_surer() {
        let start = Instant::now();
        let mut batching = Batching::default();
        assert_eq!(batching.sure_size_at(start), BATCH_MAX);
        for failed in [BATCH_MAX, 5, 2] {
            batching.shrink(failed, start);
        }
        let later = start + SMALLER_FOR;
        assert_eq!(batching.size_at(later), BATCH_MAX);
        assert_eq!(batching.sure_size_at(later), 1);
        batching.note_answered(7);
        assert_eq!(batching.sure_size_at(later), 7);
        batching.note_answered(BATCH_MAX);
        assert_eq!(batching.sure_size_at(later), BATCH_MAX);
        batching.shrink(7, later);
        assert_eq!(batching.sure_size_at(later), 3);
    }
}
