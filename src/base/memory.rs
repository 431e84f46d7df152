//! Memory that an attack or a large answer took goes back to the system when it is free again: the allocator would keep
//! it for the next one. When that is due is decided purely; how it is measured and done depends on the C library.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often it is measured: giving back takes milliseconds, and taking anew costs a little as well.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// So much more than could not be given back last time is worth it.
const SPARE_BYTES: i64 = 64 << 10;

/// Has all threads share one store of free memory: with one for each, what an attack took stays in pieces between what
/// others keep. To be called before there are threads.
pub(crate) fn share_one_store() {
    // SAFETY: it sets a number of the allocator's own, under its locks.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// How many times memory was given back.
static GIVEN_BACK: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Of these, how many this thread has followed.
    static FOLLOWED: Cell<u64> = const { Cell::new(0) };
}

/// To be called by each thread that lasts, again and again: gives up what the allocator keeps for this thread alone when
/// memory was given back since. Each such piece can hold a page.
pub(crate) fn follow_giving_back() {
    let given_back = GIVEN_BACK.load(Ordering::Relaxed);
    if FOLLOWED.replace(given_back) != given_back {
        give_up_thread_store();
    }
}

/// Watches what is resident and not in use.
#[derive(Debug, Default)]
pub(crate) struct MemoryWatch {
    looked_at: Option<Instant>,
    /// The least that was left: what lies between things in use stays.
    least_bytes: Option<i64>,
}

impl MemoryWatch {
    /// To be called again and again; gives back what is free when that is worth it.
    pub(crate) fn look(&mut self, now: Instant) {
        if self.is_time(now) && self.is_due(spare_bytes()) {
            GIVEN_BACK.fetch_add(1, Ordering::Relaxed);
            follow_giving_back();
            give_back();
            self.least_bytes = Some(spare_bytes());
        }
    }

    fn is_time(&mut self, now: Instant) -> bool {
        // The first look comes before anybody was served: that much is spare in quiet.
        let is_time = self
            .looked_at
            .is_none_or(|at| now.saturating_duration_since(at) >= LOOK_EVERY);
        if is_time {
            self.looked_at = Some(now);
        }
        is_time
    }

    fn is_due(&mut self, spare_bytes: i64) -> bool {
        let least = self
            .least_bytes
            .map_or(spare_bytes, |least| least.min(spare_bytes));
        self.least_bytes = Some(least);
        spare_bytes - least > SPARE_BYTES
    }
}

/// What is resident of our own making and not in use; where nothing tells what is resident, all that is free. What was
/// taken and never written to is not resident: it moves the whole scale down, at times below zero.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn spare_bytes() -> i64 {
    // SAFETY: it only reads the allocator's own counts, under its locks.
    let known = unsafe { libc::mallinfo2() };
    let used = known.uordblks + known.hblkhd;
    match resident_bytes() {
        Some(resident) => resident as i64 - used as i64,
        None => known.fordblks as i64,
    }
}

/// Pages of files are left out.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn resident_bytes() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = text.split(' ').skip(1).map(str::parse::<usize>);
    let (resident, shared) = (pages.next()?.ok()?, pages.next()?.ok()?);
    // SAFETY: a question without arguments in memory.
    let page_bytes = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
    Some(resident.saturating_sub(shared) * page_bytes)
}

/// Gives what is free back to the system.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_back() {
    // SAFETY: malloc_trim only looks at the allocator's own lists, under its locks.
    unsafe { libc::malloc_trim(0) };
}

/// glibc keeps up to seven pieces of each small size for the thread that freed them, and gives them up only when it ends.
/// So all are taken out, and freed by one that ends.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_up_thread_store() {
    const PIECES_A_SIZE: usize = 7;
    const STEP_BYTES: usize = 16;
    let sizes_bytes = (24..=1_032).step_by(STEP_BYTES);
    let pieces = sizes_bytes.flat_map(|bytes| [bytes; PIECES_A_SIZE]);
    let pieces: Vec<Vec<u8>> = pieces.map(Vec::with_capacity).collect();
    // Without a thread they are freed here and kept again.
    if let Ok(freeing) = std::thread::Builder::new().spawn(move || drop(pieces)) {
        let _ = freeing.join();
    }
}

/// Other allocators give back by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn spare_bytes() -> i64 {
    0
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_back() {}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_up_thread_store() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spare_is_given_back_when_it_is_worth_it() {
        let mut watch = MemoryWatch::default();
        for (spare_kib, is_due) in [
            // What lies about from the start, and a quiet day.
            (3_000, false),
            (3_064, false),
            // More than that, until it is given back.
            (3_065, true),
            (9_000, true),
            // Less was left than ever: from there it is counted.
            (2_000, false),
            (2_064, false),
            (2_065, true),
        ] {
            let due = watch.is_due(spare_kib << 10);
            assert_eq!(due, is_due, "{spare_kib}");
        }
        watch.least_bytes = Some(8_000 << 10);
        assert!(
            !watch.is_due(8_064 << 10),
            "so much could not be given back"
        );
        assert!(watch.is_due(8_065 << 10));
    }

    #[test]
    fn it_is_looked_at_now_and_then() {
        let start = Instant::now();
        let mut watch = MemoryWatch::default();
        let mut is_time = |millis| watch.is_time(start + Duration::from_millis(millis));
        let seen = [0, 4_999, 5_000, 5_001, 9_999, 10_000].map(&mut is_time);
        assert_eq!(seen, [true, false, true, false, false, true]);
    }

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn what_was_freed_counts_as_spare_until_it_is_given_back() {
        // Small pieces, each of which the allocator keeps, and one that holds the top.
        let pieces: Vec<Vec<u8>> = (0..40_000).map(|_| vec![1; 1_000]).collect();
        let top = vec![1_u8; 1_000];
        let before = spare_bytes();
        drop(pieces);
        let freed = spare_bytes();
        assert!(freed > before + (15 << 20), "{before} {freed}");
        give_back();
        let left = spare_bytes();
        assert!(left + (15 << 20) < freed, "{freed} {left}");
        drop(top);
    }
}
