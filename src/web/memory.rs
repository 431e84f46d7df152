//! Memory that an attack took goes back to the system when it is over: the allocator would keep it for the next one. When
//! that is due is decided purely; how it is done depends on the C library.

use std::time::{Duration, Instant};

/// Below so many connections nothing is worth it.
const PEAK_MIN: usize = 256;
/// So much memory weighs as much as a connection.
const BYTES_PER_UNIT: usize = 4 * 1024;
/// How long it must have been calm.
const CALM: Duration = Duration::from_secs(5);

/// Watches the load and says when memory can go back.
#[derive(Debug, Default)]
pub(crate) struct MemoryWatch {
    peak: usize,
    calm_since: Option<Instant>,
}

impl MemoryWatch {
    /// True once after each time that the load fell to half of its peak, or below, and stayed there.
    pub(crate) fn is_due(&mut self, connections: usize, bytes: usize, now: Instant) -> bool {
        let load = connections + bytes / BYTES_PER_UNIT;
        self.peak = self.peak.max(load);
        if self.peak < PEAK_MIN || load * 2 > self.peak {
            self.calm_since = None;
            return false;
        }
        let since = *self.calm_since.get_or_insert(now);
        let is_due = now.saturating_duration_since(since) >= CALM;
        if is_due {
            self.peak = load;
            self.calm_since = None;
        }
        is_due
    }
}

/// Gives what is free back to the system.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn give_back() {
    // SAFETY: malloc_trim only looks at the allocator's own lists, under its locks.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators do it by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_once_when_an_attack_is_over() {
        let start = Instant::now();
        let at = |secs: u64| start + Duration::from_secs(secs);
        let mut watch = MemoryWatch::default();
        for (secs, connections, mib, is_due) in [
            // A quiet day.
            (0, 200, 0, false),
            (100, 0, 0, false),
            // An attack that pauses, and one that ends.
            (200, 10_000, 0, false),
            (210, 100, 0, false),
            (214, 5_001, 0, false),
            (215, 100, 0, false),
            (219, 100, 0, false),
            (220, 100, 0, true),
            (221, 100, 0, false),
            (300, 0, 0, false),
            // Few connections that held much.
            (400, 10, 16, false),
            (401, 10, 0, false),
            (406, 10, 0, true),
        ] {
            let due = watch.is_due(connections, mib << 20, at(secs));
            assert_eq!(due, is_due, "{secs}");
        }
    }
}
