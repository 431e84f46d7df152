//! Threads that run one at a time: whoever comes to a wait hands the baton to another whose wait is over, and time moves
//! only when there is none. Which of several goes first is drawn from the seed, so that a run can be repeated exactly.
//! What the threads do, and what they wait for, is theirs.
//!
//! To the operating system all of them are one thread, the world's: each has a stack of its own, and handing the baton
//! on is a change of stacks. That takes a hundredth of the time that two real threads need to wake each other.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use lottery::base::clock::{Clock, Scheduler};
use support::random::Random;

/// Threads that live and die together: one run of a daemon. The world's own is 0.
pub type Group = u32;

/// What the threads of a killed group unwind with; no panic, so no hook prints it.
struct Killed;

/// The baton is handed on so often at one instant only by threads that make no progress.
const TURNS_AT_ONE_INSTANT_MAX: u64 = 10_000;
/// The last so many of them are counted by thread, so that the guilty are named.
const TURNS_NAMED: u64 = 2_000;
/// A thread asks for the time so often without a wait only when it waits for time to pass by itself.
const TIMES_ASKED_MAX: u64 = 1_000_000;
/// Of each thread's stack; what is not used costs nothing.
const STACK_BYTES: usize = 1 << 20;

pub struct Baton {
    itself: Weak<Baton>,
    start: Instant,
    start_unix_ms: u64,
    shared: Mutex<Shared>,
}

struct Shared {
    elapsed: Duration,
    waiting: Vec<Waiting>,
    /// How many threads a group has.
    alive: BTreeMap<Group, usize>,
    killed: BTreeSet<Group>,
    /// Groups that do not run before that time: their machine is suspended.
    suspended: BTreeMap<Group, Duration>,
    random: Random,
    /// Chance as the threads draw it; apart from that of the order, so that one more wait does not change it.
    chance: Random,
    turns: u64,
    instant: AtOneInstant,
    /// What was found to turn without progress; from then on only the world runs, to end everything.
    spin: Option<String>,
}

/// What has happened since time last moved.
#[derive(Default)]
struct AtOneInstant {
    elapsed: Duration,
    turns: u64,
    by_thread: BTreeMap<Arc<str>, u64>,
    /// How often the thread that runs has asked for the time.
    times_asked: u64,
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
    name: Arc<str>,
    /// Of its stack; None for the world, whose stack is the operating system's thread's.
    id: Option<u64>,
}

/// The simulated threads of this thread of the operating system.
#[derive(Default)]
struct Threads {
    stacks: BTreeMap<u64, Stack>,
    started: u64,
    /// Of threads that have ended, for the next.
    free: Vec<DefaultStack>,
}

struct Stack {
    /// Taken out while it runs.
    coroutine: Option<Coroutine<(), (), (), DefaultStack>>,
    /// How it hands the baton back; null before it has begun.
    yielder: *const Yielder<(), ()>,
}

thread_local! {
    static ME: RefCell<Option<Me>> = const { RefCell::new(None) };
    static THREADS: RefCell<Threads> = RefCell::default();
}

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
                instant: AtOneInstant::default(),
                spin: None,
            }),
        });
        ME.set(Some(Me {
            baton: Arc::downgrade(&baton),
            group: 0,
            name: Arc::from("world"),
            id: None,
        }));
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

    /// The threads that turned at one instant until the world was given the baton by force, and how often of late.
    pub fn spin(&self) -> Option<String> {
        self.shared().spin.clone()
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

    /// Lets the others run, each in its turn, until it is the world's.
    fn run_others(&self) {
        loop {
            let next = {
                let mut shared = self.shared();
                let next = shared.next();
                shared.note_turn(&next.me);
                next.me
            };
            let (id, group) = (next.id, next.group);
            ME.set(Some(next));
            let Some(id) = id else {
                return;
            };
            if has_ended(id) {
                if let Some(alive) = self.shared().alive.get_mut(&group) {
                    *alive -= 1;
                }
            }
        }
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

    fn note_turn(&mut self, me: &Me) {
        self.turns += 1;
        let elapsed = self.elapsed;
        let instant = &mut self.instant;
        if instant.elapsed != elapsed {
            *instant = AtOneInstant {
                elapsed,
                ..AtOneInstant::default()
            };
        }
        instant.turns += 1;
        instant.times_asked = 0;
        if instant.turns + TURNS_NAMED > TURNS_AT_ONE_INSTANT_MAX {
            *instant.by_thread.entry(me.name.clone()).or_insert(0) += 1;
        }
        if instant.turns >= TURNS_AT_ONE_INSTANT_MAX && self.spin.is_none() {
            self.spin = Some(format!("{elapsed:?}: {:?}", instant.by_thread));
        }
    }

    fn is_over(&self, waiting: &Waiting) -> bool {
        if self.killed.contains(&waiting.me.group) {
            return true;
        }
        if self.spin.is_some() {
            return waiting.me.group == 0;
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
        let mut shared = self.shared();
        shared.instant.times_asked += 1;
        if shared.instant.times_asked > TIMES_ASKED_MAX && !std::thread::panicking() {
            let elapsed = shared.elapsed;
            shared.instant.times_asked = 0;
            let asks = || format!("{elapsed:?}: {} never waits", own().name);
            shared.spin.get_or_insert_with(asks);
            drop(shared);
            resume_unwind(Box::new(Killed));
        }
        self.start + shared.elapsed
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
        self.shared().waiting.push(Waiting {
            me: me.clone(),
            is_ready,
            deadline,
        });
        match me.id {
            None => self.run_others(),
            Some(id) => hand_back(id),
        }
        if self.shared().killed.contains(&me.group) {
            resume_unwind(Box::new(Killed));
        }
    }

    fn spawn(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        let group = own().group;
        let baton = self.itself.clone();
        let body = move || {
            let is_killed = baton
                .upgrade()
                .is_none_or(|baton| baton.shared().killed.contains(&group));
            if !is_killed {
                let _ = catch_unwind(AssertUnwindSafe(work));
            }
        };
        let me = Me {
            baton: self.itself.clone(),
            group,
            name: Arc::from(name),
            id: Some(begin(body)?),
        };
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

/// A stack on which `body` will run when it is first its turn.
fn begin(body: impl FnOnce() + 'static) -> io::Result<u64> {
    THREADS.with_borrow_mut(|threads| {
        let stack = match threads.free.pop() {
            Some(stack) => stack,
            None => DefaultStack::new(STACK_BYTES)?,
        };
        let id = threads.started;
        threads.started += 1;
        let begun = move |yielder: &Yielder<(), ()>, ()| {
            THREADS.with_borrow_mut(|threads| {
                if let Some(stack) = threads.stacks.get_mut(&id) {
                    stack.yielder = yielder;
                }
            });
            body();
        };
        let coroutine = Some(Coroutine::with_stack(stack, begun));
        let yielder = std::ptr::null();
        threads.stacks.insert(id, Stack { coroutine, yielder });
        Ok(id)
    })
}

/// Lets a thread run until it waits; true when it has come to its end instead.
fn has_ended(id: u64) -> bool {
    let taken = THREADS.with_borrow_mut(|threads| threads.stacks.get_mut(&id)?.coroutine.take());
    let Some(mut coroutine) = taken else {
        return true;
    };
    let result = coroutine.resume(());
    THREADS.with_borrow_mut(|threads| match result {
        CoroutineResult::Yield(()) => {
            if let Some(stack) = threads.stacks.get_mut(&id) {
                stack.coroutine = Some(coroutine);
            }
            false
        }
        CoroutineResult::Return(()) => {
            threads.stacks.remove(&id);
            threads.free.push(coroutine.into_stack());
            true
        }
    })
}

/// Back to the world, which decides whose turn it is.
fn hand_back(id: u64) {
    let yielder = THREADS.with_borrow(|threads| threads.stacks.get(&id).map(|stack| stack.yielder));
    // SAFETY: the calling thread runs on that stack, so its coroutine has begun, which set the pointer, and not ended,
    // until which the yielder lives.
    if let Some(yielder) = yielder.and_then(|yielder| unsafe { yielder.as_ref() }) {
        yielder.suspend(());
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
    fn threads_that_turn_at_one_instant_are_named_and_the_world_goes_on() {
        let baton = Baton::take(1, 0);
        let clock = baton.clock();
        let spinning = clock.clone();
        let spin = move || loop {
            spinning.wait_any(&[], Some(spinning.now()));
        };
        baton.in_group(1, || clock.spawn("dizzy", spin)).unwrap();
        baton.pause(Duration::from_secs(1));
        assert_eq!(baton.spin().unwrap(), "0ns: {\"dizzy\": 2000}");
        baton.kill(1);
    }

    #[test]
    fn a_thread_that_waits_for_time_to_pass_by_itself_is_named() {
        let baton = Baton::take(1, 0);
        let clock = baton.clock();
        let asking = clock.clone();
        let ask = move || {
            let start = asking.now();
            while asking.now() < start + Duration::from_secs(1) {}
        };
        baton.in_group(1, || clock.spawn("asker", ask)).unwrap();
        baton.pause(Duration::from_secs(1));
        assert_eq!(baton.spin().unwrap(), "0ns: asker never waits");
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
