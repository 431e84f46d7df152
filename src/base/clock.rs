//! Time as the daemon sees it: a monotonic clock for waiting, the wall clock for labels, and chain time for deciding.
//! All waiting, all helper threads and all chance come from here too, so that a simulation can put its own in their place.
//!
//! The host's wall clock is never used to decide anything about a round; it only stamps alerts and log lines.
//! Chain time is the newest canonical head's timestamp, carried forward by the monotonic clock.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{bounded, Receiver, RecvTimeoutError, Select, Sender, TryRecvError};

/// A source of time, waits, helper threads and chance: the system's, a manual twin that tests move by hand, or a
/// simulation's. Clones share the source.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Manual(Arc<Manual>),
    Simulated(Arc<dyn Scheduler>),
}

/// What a simulation gives in place of the operating system. The threads that it starts run one at a time: one runs
/// until it waits here or ends, then the scheduler picks the next whose wait is over, and moves time forward only when
/// there is none. So a run depends on nothing but the seed of `random`.
pub trait Scheduler: Send + Sync {
    fn now(&self) -> Instant;

    /// Milliseconds since 1970 by the simulated host's wall clock.
    fn unix_ms(&self) -> u64;

    /// Suspends the calling thread until `is_ready` says true or `deadline` is reached; None waits for ever. `is_ready`
    /// is cheap, has no effects, and may be asked on any thread, whenever another thread has come to a wait.
    fn wait(&self, is_ready: Box<dyn Fn() -> bool + Send>, deadline: Option<Instant>);

    /// Starts a thread that takes its turns with the others.
    ///
    /// # Errors
    /// As the operating system would: when there can be no further thread.
    fn spawn(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<()>;

    /// The next number of a sequence that the seed decides.
    fn random(&self) -> u64;
}

/// Something whose readiness ends a wait: the receiving end of a channel, ready when it holds a message or nobody can
/// send one any more.
pub trait Wakeable {
    /// Adds itself to a wait of the operating system's.
    fn add_to<'a>(&'a self, select: &mut Select<'a>);

    /// Tells the readiness, from any thread and for as long as it is kept.
    fn readiness(&self) -> Box<dyn Fn() -> bool + Send>;
}

impl<T: Send + 'static> Wakeable for Receiver<T> {
    fn add_to<'a>(&'a self, select: &mut Select<'a>) {
        select.recv(self);
    }

    fn readiness(&self) -> Box<dyn Fn() -> bool + Send> {
        let receiver = self.clone();
        // `Select::try_ready` would say the same, but yields to the operating system a few times before it says no. Of an
        // empty channel nothing can be taken: where readiness is asked for, nobody else runs.
        Box::new(move || {
            !receiver.is_empty() || matches!(receiver.try_recv(), Err(TryRecvError::Disconnected))
        })
    }
}

struct Manual {
    start: Instant,
    start_unix_ms: u64,
    moved: Mutex<Moved>,
}

#[derive(Default)]
struct Moved {
    elapsed: Duration,
    /// Threads in a wait: they look again when time has moved.
    waiting: Vec<Sender<()>>,
    drawn: u64,
}

impl Clock {
    pub fn system() -> Clock {
        Clock(Source::System)
    }

    /// A clock that stands still at `start_unix_ms` until `advance` moves it. Its chance is the same in every run.
    pub fn manual(start_unix_ms: u64) -> Clock {
        Clock(Source::Manual(Arc::new(Manual {
            start: Instant::now(),
            start_unix_ms,
            moved: Mutex::default(),
        })))
    }

    /// The clock of a simulation.
    pub fn simulated(scheduler: Arc<dyn Scheduler>) -> Clock {
        Clock(Source::Simulated(scheduler))
    }

    /// Moves a manual clock forward and wakes who waits for it; other clocks move by themselves and ignore this.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(manual) = &self.0 {
            let waiting = {
                let mut moved = manual.moved();
                moved.elapsed += by;
                std::mem::take(&mut moved.waiting)
            };
            for waiter in waiting {
                // One who waits no longer has dropped its end.
                let _ = waiter.send(());
            }
        }
    }

    pub fn now(&self) -> Instant {
        match &self.0 {
            Source::System => Instant::now(),
            Source::Manual(manual) => manual.start + manual.moved().elapsed,
            Source::Simulated(scheduler) => scheduler.now(),
        }
    }

    /// Milliseconds since 1970 by the host's wall clock: for labels only.
    pub fn unix_ms(&self) -> u64 {
        match &self.0 {
            Source::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, whole_ms),
            Source::Manual(manual) => manual
                .start_unix_ms
                .saturating_add(whole_ms(manual.moved().elapsed)),
            Source::Simulated(scheduler) => scheduler.unix_ms(),
        }
    }

    pub(crate) fn unix_secs(&self) -> u64 {
        self.unix_ms() / 1000
    }

    /// Waits until one of `sources` is ready, and says which; None when `deadline` came first. Without a deadline it
    /// waits for ever. In a simulation the first of several ready ones is told.
    pub fn wait_any(&self, sources: &[&dyn Wakeable], deadline: Option<Instant>) -> Option<usize> {
        match &self.0 {
            Source::System => {
                let mut select = Select::new();
                sources.iter().for_each(|source| source.add_to(&mut select));
                match deadline {
                    Some(deadline) => select.ready_deadline(deadline).ok(),
                    None => Some(select.ready()),
                }
            }
            Source::Manual(manual) => manual.wait_any(sources, deadline),
            Source::Simulated(scheduler) => {
                let sources: Vec<_> = sources.iter().map(|source| source.readiness()).collect();
                let sources = Arc::new(Mutex::new(sources));
                let first_ready = {
                    let sources = sources.clone();
                    move || {
                        let sources = sources.lock().unwrap_or_else(PoisonError::into_inner);
                        sources.iter().position(|is_ready| is_ready())
                    }
                };
                let asked = first_ready.clone();
                scheduler.wait(Box::new(move || asked().is_some()), deadline);
                first_ready()
            }
        }
    }

    /// Waits for nothing else than that time. A manual clock is moved by it: who waits so is alone on his thread.
    pub(crate) fn pause(&self, by: Duration) {
        match &self.0 {
            Source::Manual(_) => self.advance(by),
            _ => drop(self.wait_any(&[], Some(self.now() + by))),
        }
    }

    /// The next message of a channel, waited for until `deadline`.
    ///
    /// # Errors
    /// `Timeout` when the deadline came first, `Disconnected` when nobody can send any more.
    pub fn recv_deadline<T: Send + 'static>(
        &self,
        receiver: &Receiver<T>,
        deadline: Instant,
    ) -> Result<T, RecvTimeoutError> {
        loop {
            match receiver.try_recv() {
                Ok(message) => return Ok(message),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) => {}
            }
            if self.wait_any(&[receiver], Some(deadline)).is_none() {
                return Err(RecvTimeoutError::Timeout);
            }
        }
    }

    /// Starts a helper thread that ends by itself.
    ///
    /// # Errors
    /// When the system has no further thread.
    pub fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        match &self.0 {
            Source::Simulated(scheduler) => scheduler.spawn(name, Box::new(work)),
            Source::System | Source::Manual(_) => {
                Builder::new().name(name.to_owned()).spawn(work).map(drop)
            }
        }
    }

    /// A random number below `ceiling` (0 for a ceiling of 0): spreads retries, good for nothing secret.
    pub(crate) fn jitter(&self, ceiling: u64) -> u64 {
        let random = match &self.0 {
            Source::System => {
                use std::hash::{BuildHasher, Hasher};
                // Every RandomState is keyed anew by the standard library, so the hash of nothing is a fresh number.
                let keyed = std::collections::hash_map::RandomState::new();
                keyed.build_hasher().finish()
            }
            Source::Manual(manual) => {
                let mut moved = manual.moved();
                moved.drawn = moved.drawn.wrapping_add(1);
                // Numbers far apart for neighbours: the golden ratio's multiples, as SplitMix64 takes them.
                moved.drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16
            }
            Source::Simulated(scheduler) => scheduler.random(),
        };
        random.checked_rem(ceiling).unwrap_or(0)
    }
}

impl Manual {
    fn moved(&self) -> std::sync::MutexGuard<'_, Moved> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_any(&self, sources: &[&dyn Wakeable], deadline: Option<Instant>) -> Option<usize> {
        loop {
            let (waiter, time_moved) = bounded(1);
            let is_over = {
                let mut moved = self.moved();
                moved.waiting.push(waiter);
                deadline.is_some_and(|deadline| self.start + moved.elapsed >= deadline)
            };
            let mut select = Select::new();
            sources.iter().for_each(|source| source.add_to(&mut select));
            if is_over {
                return select.try_ready().ok();
            }
            let time = select.recv(&time_moved);
            let ready = select.ready();
            if ready != time {
                return Some(ready);
            }
        }
    }
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
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
    pub(crate) fn instant_of(&self, timestamp: u64) -> Instant {
        // A thousand years is later than any wait and cannot overflow an Instant.
        let wait_secs = timestamp
            .saturating_sub(self.head_timestamp)
            .min(31_536_000_000);
        self.seen_at + Duration::from_secs(wait_secs)
    }
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
    fn a_wait_on_a_manual_clock_ends_with_a_message_or_when_time_is_moved() {
        let clock = Clock::manual(0);
        let (numbers, received) = crossbeam_channel::unbounded();
        let deadline = clock.now() + Duration::from_secs(5);
        numbers.send(7).unwrap();
        assert_eq!(clock.recv_deadline(&received, deadline), Ok(7));
        let mover = clock.clone();
        let waiter = std::thread::spawn(move || mover.recv_deadline(&received, deadline));
        clock.advance(Duration::from_secs(4));
        assert!(!waiter.is_finished());
        clock.advance(Duration::from_secs(1));
        assert_eq!(waiter.join().unwrap(), Err(RecvTimeoutError::Timeout));
        let (gone, received) = bounded::<u8>(1);
        drop(gone);
        let ended = clock.recv_deadline(&received, deadline);
        assert_eq!(ended, Err(RecvTimeoutError::Disconnected));
    }

    #[test]
    fn of_several_channels_the_ready_one_is_told() {
        for clock in [Clock::system(), Clock::manual(0)] {
            let ((_first, one), (second, two)) = (bounded::<u8>(1), bounded(1));
            let soon = clock.now() + Duration::from_millis(1);
            second.send("message").unwrap();
            assert_eq!(clock.wait_any(&[&one, &two], Some(soon)), Some(1));
            two.recv().unwrap();
            clock.advance(Duration::from_millis(1));
            assert_eq!(clock.wait_any(&[&one, &two], Some(soon)), None);
        }
    }

    /// A simulation of a single thread: time jumps to the end of each wait that nothing else ends.
    struct Alone {
        start: Instant,
        elapsed: Mutex<Duration>,
    }

    impl Scheduler for Alone {
        fn now(&self) -> Instant {
            self.start + *self.elapsed.lock().unwrap()
        }

        fn unix_ms(&self) -> u64 {
            5
        }

        fn wait(&self, is_ready: Box<dyn Fn() -> bool + Send>, deadline: Option<Instant>) {
            if !is_ready() {
                *self.elapsed.lock().unwrap() = deadline.unwrap() - self.start;
            }
        }

        fn spawn(&self, _name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<()> {
            work();
            Ok(())
        }

        fn random(&self) -> u64 {
            41
        }
    }

    #[test]
    fn a_simulation_gives_time_waits_threads_and_chance() {
        let clock = Clock::simulated(Arc::new(Alone {
            start: Instant::now(),
            elapsed: Mutex::default(),
        }));
        let deadline = clock.now() + Duration::from_secs(60);
        let (numbers, received) = bounded(1);
        clock
            .spawn("helper", move || numbers.send(9).unwrap())
            .unwrap();
        assert_eq!(clock.recv_deadline(&received, deadline), Ok(9));
        assert!(clock.now() < deadline);
        let (_kept, silent) = bounded::<u8>(1);
        let ended = clock.recv_deadline(&silent, deadline);
        assert_eq!(ended, Err(RecvTimeoutError::Timeout));
        assert_eq!(
            (clock.now(), clock.unix_ms(), clock.jitter(10)),
            (deadline, 5, 1)
        );
    }

    #[test]
    fn chance_stays_below_its_ceiling() {
        for clock in [Clock::system(), Clock::manual(0)] {
            assert_eq!(clock.jitter(0), 0);
            assert!((0..100).all(|_| clock.jitter(10) < 10));
            assert!((0..100).any(|_| clock.jitter(u64::MAX) > 1_000));
        }
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
