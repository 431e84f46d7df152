//! Threads that run one at a time: whoever comes to a wait hands the baton to another whose wait is over, and time moves
//! only when there is none. Which of several goes first is drawn from the seed, so that a run can be repeated exactly.
//! What the threads do, and what they wait for, is theirs.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{Builder, Thread};
use std::time::{Duration, Instant};

use lottery::base::clock::{Clock, Scheduler};
use support::random::Random;

/// Threads that live and die together: one run of a daemon. The world's own is 0.
pub type Group = u32;

/// What the threads of a killed group unwind with; no panic, so no hook prints it.
struct Killed;

pub struct Baton {
    itself: Weak<Baton>,
    start: Instant,
    start_unix_ms: u64,
    shared: Mutex<Shared>,
}

struct Shared {
    elapsed: Duration,
    waiting: Vec<Waiting>,
    /// How many threads a group has, in the baton's hands or waiting for it.
    alive: BTreeMap<Group, usize>,
    killed: BTreeSet<Group>,
    /// Groups that do not run before that time: their machine is suspended.
    suspended: BTreeMap<Group, Duration>,
    random: Random,
    /// Chance as the threads draw it; apart from that of the order, so that one more wait does not change it.
    chance: Random,
    turns: u64,
}

struct Waiting {
    me: Me,
    is_ready: Box<dyn Fn() -> bool + Send>,
    deadline: Option<Duration>,
}

#[derive(Clone)]
struct Me {
    baton: Weak<Baton>,
    group: Group,
    thread: Thread,
    has_baton: Arc<AtomicBool>,
}

impl Me {
    fn here(baton: &Arc<Baton>, group: Group) -> Me {
        Me {
            baton: Arc::downgrade(baton),
            group,
            thread: std::thread::current(),
            has_baton: Arc::default(),
        }
    }
}

thread_local! {
    static ME: RefCell<Option<Me>> = const { RefCell::new(None) };
}

type Job = Box<dyn FnOnce() + Send>;

/// Threads of the operating system that have nothing to do: starting one takes longer than most questions.
static IDLE: Mutex<Vec<mpsc::Sender<Job>>> = Mutex::new(Vec::new());

impl Baton {
    /// Makes the calling thread the world's, which has the baton.
    pub fn take(seed: u64, start_unix_ms: u64) -> Arc<Baton> {
        let mut random = Random::new(seed);
        let baton = Arc::new_cyclic(|itself| Baton {
            itself: itself.clone(),
            start: Instant::now(),
            start_unix_ms,
            shared: Mutex::new(Shared {
                elapsed: Duration::ZERO,
                waiting: Vec::new(),
                alive: BTreeMap::new(),
                killed: BTreeSet::new(),
                suspended: BTreeMap::new(),
                chance: Random::new(random.number()),
                random,
                turns: 0,
            }),
        });
        ME.set(Some(Me::here(&baton, 0)));
        baton
    }

    pub fn clock(self: &Arc<Baton>) -> Clock {
        Clock::simulated(self.clone())
    }

    pub fn elapsed(&self) -> Duration {
        self.shared().elapsed
    }

    /// How often the baton was handed on so far.
    pub fn turns(&self) -> u64 {
        self.shared().turns
    }

    /// Suspends the calling thread for that long.
    pub fn pause(&self, pause: Duration) {
        let until = self.now() + pause;
        self.wait(Box::new(|| false), Some(until));
    }

    /// What `start` starts belongs to that group.
    pub fn in_group<T>(&self, group: Group, start: impl FnOnce() -> T) -> T {
        let before = own().group;
        set_group(group);
        let result = start();
        set_group(before);
        result
    }

    /// Ends every thread of a group at the wait that it is in, as kill -9 would.
    pub fn kill(self: &Arc<Baton>, group: Group) {
        let mut shared = self.shared();
        shared.killed.insert(group);
        shared.suspended.remove(&group);
        drop(shared);
        self.wait_for_end(group);
    }

    /// Waits until no thread of the group is left.
    pub fn wait_for_end(self: &Arc<Baton>, group: Group) {
        while self
            .shared()
            .alive
            .get(&group)
            .is_some_and(|alive| *alive > 0)
        {
            self.pause(Duration::from_millis(1));
        }
    }

    /// The group's threads stand still for that long, as on a host that sleeps.
    pub fn suspend(&self, group: Group, pause: Duration) {
        let mut shared = self.shared();
        let until = shared.elapsed + pause;
        shared.suspended.insert(group, until);
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands the baton to the next. The lock is held, so that nobody else decides meanwhile.
    fn hand_on(shared: &mut Shared) {
        shared.turns += 1;
        let next = shared.next();
        next.me.has_baton.store(true, Ordering::Release);
        next.me.thread.unpark();
    }

    fn end(&self, group: Group) {
        let mut shared = self.shared();
        if let Some(alive) = shared.alive.get_mut(&group) {
            *alive -= 1;
        }
        Baton::hand_on(&mut shared);
    }
}

impl Shared {
    /// Takes out the thread whose turn it is; moves time to where there is one.
    fn next(&mut self) -> Waiting {
        loop {
            let ready: Vec<usize> = (0..self.waiting.len())
                .filter(|index| self.is_over(&self.waiting[*index]))
                .collect();
            if !ready.is_empty() {
                let index = *self.random.pick(&ready);
                return self.waiting.remove(index);
            }
            let next = self
                .waiting
                .iter()
                .filter_map(|waiting| self.wake_of(waiting))
                .min();
            // Invariant: the world waits with a deadline or runs.
            self.elapsed = next.expect("somebody's wait has an end");
        }
    }

    fn is_over(&self, waiting: &Waiting) -> bool {
        if self.killed.contains(&waiting.me.group) {
            return true;
        }
        let suspended = self.suspended.get(&waiting.me.group);
        if suspended.is_some_and(|until| self.elapsed < *until) {
            return false;
        }
        waiting
            .deadline
            .is_some_and(|deadline| deadline <= self.elapsed)
            || (waiting.is_ready)()
    }

    fn wake_of(&self, waiting: &Waiting) -> Option<Duration> {
        let suspended = self.suspended.get(&waiting.me.group).copied();
        let suspended = suspended.filter(|until| *until > self.elapsed);
        match (waiting.deadline, suspended) {
            (Some(deadline), Some(until)) => Some(deadline.max(until)),
            (deadline, until) => deadline.or(until),
        }
    }
}

impl Scheduler for Baton {
    fn now(&self) -> Instant {
        self.start + self.shared().elapsed
    }

    fn unix_ms(&self) -> u64 {
        let elapsed_ms = self.shared().elapsed.as_millis();
        self.start_unix_ms + u64::try_from(elapsed_ms).unwrap_or(u64::MAX)
    }

    fn wait(&self, is_ready: Box<dyn Fn() -> bool + Send>, deadline: Option<Instant>) {
        if std::thread::panicking() {
            return;
        }
        let me = own();
        let deadline = deadline.map(|at| at.saturating_duration_since(self.start));
        {
            let mut shared = self.shared();
            shared.waiting.push(Waiting {
                me: me.clone(),
                is_ready,
                deadline,
            });
            Baton::hand_on(&mut shared);
        }
        while !me.has_baton.swap(false, Ordering::Acquire) {
            std::thread::park();
        }
        if self.shared().killed.contains(&me.group) {
            resume_unwind(Box::new(Killed));
        }
    }

    fn spawn(&self, _name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        let group = own().group;
        let baton = self.itself.upgrade();
        let baton = baton.ok_or_else(|| io::Error::other("the simulation is over"))?;
        let (to_me, from_thread) = mpsc::channel::<Me>();
        let job: Job = Box::new(move || {
            let me = Me::here(&baton, group);
            ME.set(Some(me.clone()));
            let _ = to_me.send(me.clone());
            while !me.has_baton.swap(false, Ordering::Acquire) {
                std::thread::park();
            }
            let is_killed = baton.shared().killed.contains(&group);
            if !is_killed {
                let _ = catch_unwind(AssertUnwindSafe(work));
            }
            baton.end(group);
        });
        give(job)?;
        let me = from_thread.recv().map_err(io::Error::other)?;
        let mut shared = self.shared();
        *shared.alive.entry(group).or_insert(0) += 1;
        shared.waiting.push(Waiting {
            me,
            is_ready: Box::new(|| true),
            deadline: None,
        });
        Ok(())
    }

    fn random(&self) -> u64 {
        self.shared().chance.number()
    }
}

/// Simulated time on this thread; nothing where it is no thread of a simulation.
pub fn elapsed_here() -> Duration {
    let baton = ME.with_borrow(|me| me.as_ref().and_then(|me| me.baton.upgrade()));
    baton.map_or(Duration::ZERO, |baton| baton.elapsed())
}

fn own() -> Me {
    let own = ME.with_borrow(Clone::clone);
    // Invariant: simulated clocks are used by the world and by threads that the baton has started.
    own.expect("a thread of the simulation")
}

fn set_group(group: Group) {
    ME.with_borrow_mut(|me| {
        if let Some(me) = me {
            me.group = group;
        }
    });
}

/// Has an idle thread of the operating system do the job, or a new one.
fn give(mut job: Job) -> io::Result<()> {
    let idle = || IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let Some(worker) = idle().pop() else {
            break;
        };
        match worker.send(job) {
            Ok(()) => return Ok(()),
            Err(unsent) => job = unsent.0,
        }
    }
    let (worker, jobs) = mpsc::channel::<Job>();
    let again = worker.clone();
    Builder::new().name("sim".to_owned()).spawn(move || {
        for job in jobs {
            job();
            idle().push(again.clone());
        }
    })?;
    let ended = |_| io::Error::other("the thread has ended");
    worker.send(job).map_err(ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two threads that note when they were awake, and one that is killed in its wait.
    fn notes(seed: u64) -> Vec<(u64, &'static str)> {
        let baton = Baton::take(seed, 0);
        let clock = baton.clock();
        let notes: Arc<Mutex<Vec<(u64, &'static str)>>> = Arc::default();
        for (name, ms) in [("a", 30), ("b", 20), ("c", 20)] {
            let (noted, own) = (notes.clone(), clock.clone());
            let sleep = move || {
                for _ in 0..3 {
                    let until = own.now() + Duration::from_millis(ms);
                    assert_eq!(own.wait_any(&[], Some(until)), None);
                    noted.lock().unwrap().push((own.unix_ms(), name));
                }
            };
            baton.in_group(1, || clock.spawn(name, sleep)).unwrap();
        }
        let silent = clock.clone();
        let forever = move || {
            silent.wait_any(&[], None);
        };
        baton
            .in_group(2, || clock.spawn("silent", forever))
            .unwrap();
        baton.pause(Duration::from_millis(50));
        baton.kill(2);
        baton.wait_for_end(1);
        let notes = notes.lock().unwrap().clone();
        notes
    }

    #[test]
    fn time_moves_from_wait_to_wait_and_the_seed_decides_the_rest() {
        let of_seed = notes(1);
        let times: Vec<u64> = of_seed.iter().map(|(ms, _)| *ms).collect();
        assert_eq!(times, [20, 20, 30, 40, 40, 60, 60, 60, 90]);
        assert_eq!(notes(1), of_seed);
        assert!(
            (2..20).any(|seed| notes(seed) != of_seed),
            "the order differs"
        );
    }

    #[test]
    fn a_suspended_group_wakes_late() {
        let baton = Baton::take(1, 0);
        let clock = baton.clock();
        let (woken, heard) = crossbeam_channel::bounded(1);
        let own = clock.clone();
        // It has not run yet when its machine is suspended, and naps only after.
        let nap = move || {
            let until = own.now() + Duration::from_secs(1);
            own.wait_any(&[], Some(until));
            woken.send(own.unix_ms()).unwrap();
        };
        baton.in_group(1, || clock.spawn("nap", nap)).unwrap();
        baton.suspend(1, Duration::from_secs(7));
        let until = clock.now() + Duration::from_secs(60);
        assert_eq!(clock.recv_deadline(&heard, until), Ok(8_000));
        baton.wait_for_end(1);
    }
}
