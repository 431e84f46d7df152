//! Time as the daemon sees it: a monotonic clock for waiting, the wall clock for labels, and chain time for deciding.
//!
//! The host's wall clock is never used to decide anything about a round; it only stamps alerts and log lines.
//! Chain time is the newest canonical head's timestamp, carried forward by the monotonic clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of monotonic and wall time; the manual twin is moved by hand in tests.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Manual {
        start: Instant,
        start_unix_ms: u64,
        elapsed_ms: Arc<AtomicU64>,
    },
}

impl Clock {
    pub fn system() -> Clock {
        Clock(Source::System)
    }

    /// A clock that stands still at `start_unix_ms` until `advance` moves it.
    pub fn manual(start_unix_ms: u64) -> Clock {
        Clock(Source::Manual {
            start: Instant::now(),
            start_unix_ms,
            elapsed_ms: Arc::default(),
        })
    }

    /// Moves a manual clock forward; a system clock moves by itself and ignores this.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual { elapsed_ms, .. } = &self.0 {
            elapsed_ms.fetch_add(
                u64::try_from(by.as_millis()).unwrap_or(u64::MAX),
                Ordering::SeqCst,
            );
        }
    }

    pub fn now(&self) -> Instant {
        match &self.0 {
            Source::System => Instant::now(),
            Source::Manual {
                start, elapsed_ms, ..
            } => *start + Duration::from_millis(elapsed_ms.load(Ordering::SeqCst)),
        }
    }

    /// Milliseconds since 1970 by the host's wall clock: for labels only.
    pub fn unix_ms(&self) -> u64 {
        match &self.0 {
            Source::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| {
                    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
                }),
            Source::Manual {
                start_unix_ms,
                elapsed_ms,
                ..
            } => start_unix_ms + elapsed_ms.load(Ordering::SeqCst),
        }
    }

    pub fn unix_secs(&self) -> u64 {
        self.unix_ms() / 1000
    }
}

/// Chain time: a head's timestamp and the monotonic instant at which that head was first seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainTime {
    pub head_timestamp: u64,
    pub seen_at: Instant,
}

impl ChainTime {
    /// The head's timestamp carried forward to `now`, in unix seconds.
    pub fn at(&self, now: Instant) -> u64 {
        self.head_timestamp
            .saturating_add(now.saturating_duration_since(self.seen_at).as_secs())
    }

    /// The instant at which carried-forward chain time reaches `timestamp`; now or earlier if it already has.
    pub fn instant_of(&self, timestamp: u64) -> Instant {
        // A thousand years is later than any wait and cannot overflow an Instant.
        let wait_secs = timestamp
            .saturating_sub(self.head_timestamp)
            .min(31_536_000_000);
        self.seen_at + Duration::from_secs(wait_secs)
    }
}

/// A random number below `ceiling` (0 for a ceiling of 0): spreads retries, good for nothing secret.
pub fn jitter(ceiling: u64) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // Every RandomState is keyed anew by the standard library, so the hash of nothing is a fresh number.
    let random = std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish();
    random.checked_rem(ceiling).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_clock_moves_only_when_told() {
        let clock = Clock::manual(1_000);
        let before = clock.now();
        assert_eq!(clock.unix_ms(), 1_000);
        clock.advance(Duration::from_millis(2_500));
        assert_eq!(clock.unix_ms(), 3_500);
        assert_eq!(clock.now() - before, Duration::from_millis(2_500));
        assert_eq!(clock.unix_secs(), 3);
    }

    #[test]
    fn chain_time_is_the_head_carried_forward() {
        let seen_at = Instant::now();
        let time = ChainTime {
            head_timestamp: 100,
            seen_at,
        };
        assert_eq!(time.at(seen_at), 100);
        assert_eq!(time.at(seen_at + Duration::from_millis(1_999)), 101);
        assert_eq!(time.instant_of(103), seen_at + Duration::from_secs(3));
        assert_eq!(time.instant_of(99), seen_at);
        assert!(time.instant_of(u64::MAX) > seen_at);
    }
}
