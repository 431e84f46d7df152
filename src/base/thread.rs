//! Named threads under supervision: a thread that panics or fails is restarted in place with backoff, its health is
//! kept for all to read, and too many restarts (or a stuck thread) end the process through the stop token.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, Receiver};

use crate::base::clock::Clock;
use crate::base::memory;
use crate::base::shutdown::{Never, Shutdown, StopReason};

/// More restarts than this within `RESTART_WINDOW` end the process.
const RESTARTS_MAX: usize = 5;
const RESTART_WINDOW: Duration = Duration::from_secs(600);
/// A thread without a turn for half this long is named unhealthy; after all of it the process ends.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// What to do when a thread fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    Restart,
    EndProcess,
}

/// The health of every supervised thread.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<Vec<Component>>>);

/// One supervised thread as `/api/health` shows it.
#[derive(Clone, Debug)]
pub struct Component {
    pub name: &'static str,
    pub last_turn: Instant,
    pub restarts: Vec<Instant>,
    pub restarts_total: u64,
    pub last_error: Option<String>,
    pub running: bool,
}

impl Component {
    pub(crate) fn is_turning(&self, now: Instant) -> bool {
        self.running && now.saturating_duration_since(self.last_turn) < stuck_after() / 2
    }
}

/// A thread's own handle to say that it turned.
#[derive(Clone)]
pub struct Beat {
    health: Health,
    name: &'static str,
    clock: Clock,
}

thread_local! {
    /// Of the supervised thread that this one is, or works for.
    static BEAT: RefCell<Option<Beat>> = const { RefCell::new(None) };
}

/// Within a long turn: a step that takes a bounded time is over. A turn of many such steps is slow, and no hung thread's.
pub(crate) fn note_progress() {
    BEAT.with_borrow(|beat| beat.iter().for_each(Beat::note));
}

/// `work` for a thread of its own; its progress is that of the thread that this is called on, which waits for it.
pub(crate) fn in_this_turn(work: impl FnOnce() + Send + 'static) -> impl FnOnce() + Send + 'static {
    let beat = BEAT.with_borrow(Option::clone);
    move || {
        BEAT.set(beat);
        work();
    }
}

/// A supervised thread, for whoever waits for its end.
pub struct Running {
    name: &'static str,
    clock: Clock,
    /// Nobody sends on it: it is disconnected when the thread has ended.
    ended: Receiver<Never>,
}

impl Running {
    /// Waits for its end, at most `within`; false when it still runs then (the process ends anyway).
    pub fn join(self, within: Duration) -> bool {
        let deadline = self.clock.now() + within;
        let has_ended = self
            .clock
            .wait_any(&[&self.ended], Some(deadline))
            .is_some();
        if !has_ended {
            log::warn!("thread {} did not stop in time", self.name);
        }
        has_ended
    }
}

impl Beat {
    /// Tells supervision that the thread's loop has come round.
    pub fn turn(&self) {
        self.note();
        memory::follow_giving_back();
        #[cfg(debug_assertions)]
        injected::strike(self.name);
    }

    fn note(&self) {
        let now = self.clock.now();
        self.health
            .with(self.name, |component| component.last_turn = now);
    }
}

impl Health {
    pub fn components(&self) -> Vec<Component> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// True while every thread runs and turns.
    pub(crate) fn all_turning(&self, now: Instant) -> bool {
        self.components()
            .iter()
            .all(|component| component.is_turning(now))
    }

    fn with(&self, name: &'static str, change: impl FnOnce(&mut Component)) {
        let mut components = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(component) = components
            .iter_mut()
            .find(|component| component.name == name)
        {
            change(component);
        }
    }

    fn register(&self, name: &'static str, now: Instant) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Component {
                name,
                last_turn: now,
                restarts: Vec::new(),
                restarts_total: 0,
                last_error: None,
                running: true,
            });
    }
}

/// Starts `body` on a named thread of the clock's. `body` is run again after a failure (a panic or an error) as
/// `on_failure` says; when it returns Ok the thread is done.
///
/// # Errors
/// When there can be no further thread.
pub fn spawn_supervised<F>(
    name: &'static str,
    clock: &Clock,
    health: &Health,
    shutdown: &Shutdown,
    on_failure: OnFailure,
    mut body: F,
) -> std::io::Result<Running>
where
    F: FnMut(&Beat) -> Result<(), String> + Send + 'static,
{
    health.register(name, clock.now());
    let beat = Beat {
        health: health.clone(),
        name,
        clock: clock.clone(),
    };
    let shutdown = shutdown.clone();
    let (end, ended) = bounded::<Never>(0);
    clock.spawn(name, move || {
        // Dropped with the rest when the thread ends, in whatever way.
        let _end = end;
        BEAT.set(Some(beat.clone()));
        supervise(&beat, &shutdown, on_failure, &mut body);
    })?;
    Ok(Running {
        name,
        clock: clock.clone(),
        ended,
    })
}

fn supervise(
    beat: &Beat,
    shutdown: &Shutdown,
    on_failure: OnFailure,
    body: &mut dyn FnMut(&Beat) -> Result<(), String>,
) {
    let (name, health) = (beat.name, &beat.health);
    loop {
        beat.turn();
        let cause = match catch_unwind(AssertUnwindSafe(|| body(beat))) {
            Ok(Ok(())) => break,
            Ok(Err(error)) => error,
            Err(payload) => format!("panicked: {}", panic_text(payload.as_ref())),
        };
        log::error!("{name}: {cause}");
        let now = beat.clock.now();
        let Some(backoff) = note_failure(health, name, &cause, now) else {
            shutdown.trip(StopReason::Failed(format!(
                "{name} failed more than {RESTARTS_MAX} times: {cause}"
            )));
            break;
        };
        if on_failure == OnFailure::EndProcess {
            shutdown.trip(StopReason::Failed(format!("{name}: {cause}")));
            break;
        }
        let deadline = beat.clock.now() + backoff;
        let stop = beat.clock.wait_any(&[shutdown.signal()], Some(deadline));
        if stop.is_some() {
            break;
        }
        log::info!("{name}: restarting");
    }
    health.with(name, |component| component.running = false);
}

/// Ends the process when a supervised thread has not turned for a minute: a stuck thread is never duplicated.
pub(crate) fn spawn_watchdog(
    health: &Health,
    shutdown: &Shutdown,
) -> std::io::Result<JoinHandle<()>> {
    let health = health.clone();
    let shutdown = shutdown.clone();
    Builder::new().name("watchdog".to_owned()).spawn(move || {
        while !shutdown.wait_timeout(stuck_after() / 12) {
            let now = Instant::now();
            let stuck = health.components().into_iter().find(|component| {
                component.running
                    && now.saturating_duration_since(component.last_turn) >= stuck_after()
            });
            if let Some(component) = stuck {
                let reason = format!(
                    "{} has not turned for {} s",
                    component.name,
                    stuck_after().as_secs()
                );
                log::error!("{reason}");
                shutdown.trip(StopReason::Failed(reason));
            }
        }
    })
}

/// Records a failure; the backoff before the restart, or None when there were too many.
fn note_failure(
    health: &Health,
    name: &'static str,
    cause: &str,
    now: Instant,
) -> Option<Duration> {
    let mut backoff = None;
    health.with(name, |component| {
        component
            .restarts
            .retain(|at| now.saturating_duration_since(*at) < RESTART_WINDOW);
        component.last_error = Some(cause.to_owned());
        component.last_turn = now;
        if component.restarts.len() < RESTARTS_MAX {
            // 200 ms, then doubling: quick enough that a draw window of some seconds survives one crash.
            backoff = Some(Duration::from_millis(200 << component.restarts.len()));
            component.restarts.push(now);
            component.restarts_total += 1;
        }
    });
    backoff
}

/// How long a thread may go without a turn before the process ends; half of it is slow.
fn stuck_after() -> Duration {
    #[cfg(debug_assertions)]
    if let Some(secs) = injected::stuck_after_secs() {
        return Duration::from_secs(secs);
    }
    STUCK_AFTER
}

/// A point inside a turn at which tests of debug builds let a thread panic, once: PANIC_ONCE_AT=point. It does nothing in
/// a release build.
pub(crate) fn panic_point(point: &'static str) {
    #[cfg(debug_assertions)]
    injected::strike_at(point);
    let _ = point;
}

/// Failures on demand, for tests of debug builds: release builds know nothing of them.
#[cfg(debug_assertions)]
mod injected {
    use std::collections::HashMap;
    use std::sync::{Mutex, OnceLock, PoisonError};
    use std::time::Duration;

    static TURNS: OnceLock<Mutex<HashMap<&'static str, u32>>> = OnceLock::new();

    /// With PANIC_ONCE_IN=name in the environment the thread of that name panics at the first turn of its body, with
    /// STICK_ONCE_IN=name it hangs there for ever.
    pub fn strike(name: &'static str) {
        let is = |variable: &str| std::env::var(variable).is_ok_and(|wanted| wanted == name);
        let (panics, sticks) = (is("PANIC_ONCE_IN"), is("STICK_ONCE_IN"));
        if !panics && !sticks {
            return;
        }
        let turn = {
            let turns = TURNS.get_or_init(Mutex::default);
            let mut turns = turns.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = turns.entry(name).or_insert(0);
            *turn += 1;
            *turn
        };
        // The first turn is supervision's own.
        match turn {
            2 if panics => panic!("the failure that PANIC_ONCE_IN asked for"),
            2 => loop {
                std::thread::park_timeout(Duration::from_secs(3_600));
            },
            _ => {}
        }
    }

    /// Panics at the first passage of the point that PANIC_ONCE_AT names.
    pub(super) fn strike_at(point: &'static str) {
        if !std::env::var("PANIC_ONCE_AT").is_ok_and(|wanted| wanted == point) {
            return;
        }
        let passages = TURNS.get_or_init(Mutex::default);
        let mut passages = passages.lock().unwrap_or_else(PoisonError::into_inner);
        let passage = passages.entry(point).or_insert(0);
        *passage += 1;
        let is_first = *passage == 1;
        drop(passages);
        assert!(!is_first, "the failure that PANIC_ONCE_AT asked for");
    }

    pub(super) fn stuck_after_secs() -> Option<u64> {
        std::env::var("STUCK_AFTER_SECS").ok()?.parse().ok()
    }
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}

/// Joins `handle`, waiting at most `deadline`; false when it still runs then (the process ends anyway).
pub(crate) fn join_deadline(handle: JoinHandle<()>, deadline: Duration) -> bool {
    let until = Instant::now() + deadline;
    while !handle.is_finished() {
        if Instant::now() >= until {
            log::warn!(
                "thread {} did not stop in time",
                handle.thread().name().unwrap_or("?")
            );
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
    handle.join().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_panicking_thread_is_restarted_and_its_cause_kept() {
        let (health, shutdown) = (Health::default(), Shutdown::new());
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = runs.clone();
        let handle = spawn_supervised(
            "worker",
            &Clock::system(),
            &health,
            &shutdown,
            OnFailure::Restart,
            move |_| match counted.fetch_add(1, Ordering::SeqCst) {
                0 => panic!("first run"),
                _ => Ok(()),
            },
        )
        .unwrap();
        assert!(handle.join(Duration::from_secs(10)));
        assert_eq!(runs.load(Ordering::SeqCst), 2);
        let component = &health.components()[0];
        assert_eq!(component.restarts_total, 1);
        assert_eq!(component.last_error.as_deref(), Some("panicked: first run"));
        assert!(!shutdown.is_tripped());
    }

    #[test]
    fn a_failure_that_must_end_the_process_trips_the_token() {
        let (health, shutdown) = (Health::default(), Shutdown::new());
        let handle = spawn_supervised(
            "store",
            &Clock::system(),
            &health,
            &shutdown,
            OnFailure::EndProcess,
            |_| Err("broken".to_owned()),
        )
        .unwrap();
        assert!(handle.join(Duration::from_secs(10)));
        assert_eq!(
            shutdown.reason(),
            Some(StopReason::Failed("store: broken".into()))
        );
        assert!(!health.all_turning(Instant::now()));
    }

    #[test]
    fn more_than_five_restarts_are_too_many() {
        let health = Health::default();
        health.register("worker", Instant::now());
        let backoffs: Vec<_> = (0..6)
            .map(|_| note_failure(&health, "worker", "again", Instant::now()))
            .collect();
        assert_eq!(backoffs[0], Some(Duration::from_millis(200)));
        assert_eq!(backoffs[4], Some(Duration::from_millis(3_200)));
        assert_eq!(backoffs[5], None);
    }

    #[test]
    fn a_step_of_a_long_turn_counts_for_the_thread_that_waits_for_it() {
        let (health, shutdown, clock) = (Health::default(), Shutdown::new(), Clock::manual(0));
        let (its_health, its_clock) = (health.clone(), clock.clone());
        let body = move |_: &Beat| {
            let last_turn = || its_health.components()[0].last_turn;
            let begun = last_turn();
            let secs = Duration::from_secs;
            its_clock.advance(secs(10));
            note_progress();
            assert_eq!(last_turn(), begun + secs(10));
            its_clock.advance(secs(10));
            let beside = std::thread::spawn(in_this_turn(note_progress));
            beside.join().unwrap();
            assert_eq!(last_turn(), begun + secs(20));
            its_clock.advance(secs(10));
            // Nobody's who is waited for here.
            std::thread::spawn(note_progress).join().unwrap();
            assert_eq!(last_turn(), begun + secs(20));
            Ok(())
        };
        let on_failure = OnFailure::EndProcess;
        let handle = spawn_supervised("worker", &clock, &health, &shutdown, on_failure, body);
        assert!(handle.unwrap().join(Duration::from_secs(60)));
        assert_eq!(shutdown.reason(), None);
    }
}
