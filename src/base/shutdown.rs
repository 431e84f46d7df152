//! The stop token: tripped once, with a reason, it wakes every wait in the process at once.
//!
//! Waiting is done on a channel that nobody ever sends on: dropping its only sender is the signal, so any number of
//! threads can select on it beside their own work. A thread that sleeps elsewhere, on sockets, registers a waker.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{bounded, Receiver, RecvTimeoutError, Sender};

/// Why the process stops; it decides the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// SIGINT, SIGTERM, or the owner of the daemon asked.
    Requested,
    /// A thread failed for good; the text names it and the cause.
    Failed(String),
}

/// A message that cannot exist: receiving on the stop channel only ever reports the disconnect.
#[derive(Clone, Copy, Debug)]
pub enum Never {}

/// A cloneable handle to one process-wide (or one component's) stop.
#[derive(Clone)]
pub struct Shutdown {
    shared: Arc<Mutex<Shared>>,
    signal: Receiver<Never>,
}

struct Shared {
    sender: Option<Sender<Never>>,
    reason: Option<StopReason>,
    wakers: Vec<Waker>,
}

/// Wakes a thread that does not sleep on the token's channel. It is called on the thread that trips the token, so it must
/// be quick and must not wait.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

impl Default for Shutdown {
    fn default() -> Self {
        Shutdown::new()
    }
}

impl Shutdown {
    pub fn new() -> Shutdown {
        let (sender, signal) = bounded(0);
        Shutdown {
            shared: Arc::new(Mutex::new(Shared {
                sender: Some(sender),
                reason: None,
                wakers: Vec::new(),
            })),
            signal,
        }
    }

    /// Trips the token. The first reason stays; later calls change nothing.
    pub fn trip(&self, reason: StopReason) {
        let mut shared = self.lock();
        if shared.sender.take().is_none() {
            return;
        }
        shared.reason = Some(reason);
        let wakers = std::mem::take(&mut shared.wakers);
        // A waker may ask the token.
        drop(shared);
        wakers.iter().for_each(|wake| wake());
    }

    /// `wake` is called when the token is tripped, at once where it already is.
    pub(crate) fn on_trip(&self, wake: Waker) {
        let mut shared = self.lock();
        if shared.reason.is_none() {
            shared.wakers.push(wake);
            return;
        }
        drop(shared);
        wake();
    }

    pub fn is_tripped(&self) -> bool {
        self.reason().is_some()
    }

    pub fn reason(&self) -> Option<StopReason> {
        self.lock().reason.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For `select!`: becomes ready (disconnected) when the token is tripped.
    pub fn signal(&self) -> &Receiver<Never> {
        &self.signal
    }

    /// Waits at most `timeout`; true when the token was tripped.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        matches!(
            self.signal.recv_timeout(timeout),
            Err(RecvTimeoutError::Disconnected)
        )
    }

    /// Waits until the token is tripped.
    pub fn wait(&self) -> StopReason {
        // A channel of `Never` can only disconnect, and it does so after the reason was set.
        let _ = self.signal.recv();
        self.reason().unwrap_or(StopReason::Requested)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trip_wakes_every_wait_and_keeps_the_first_reason() {
        let shutdown = Shutdown::new();
        assert!(!shutdown.wait_timeout(Duration::from_millis(1)));
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let shutdown = shutdown.clone();
                std::thread::spawn(move || shutdown.wait())
            })
            .collect();
        shutdown.trip(StopReason::Failed("store".into()));
        shutdown.trip(StopReason::Requested);
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), StopReason::Failed("store".into()));
        }
        assert!(shutdown.is_tripped());
        assert!(shutdown.wait_timeout(Duration::from_secs(60)));
    }

    #[test]
    fn wakers_are_called_once_and_see_the_token_tripped() {
        let shutdown = Shutdown::new();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let waker = |name: &'static str| -> Waker {
            let (calls, token) = (calls.clone(), shutdown.clone());
            Arc::new(move || calls.lock().unwrap().push((name, token.is_tripped())))
        };
        shutdown.on_trip(waker("first"));
        assert!(calls.lock().unwrap().is_empty());
        shutdown.trip(StopReason::Requested);
        shutdown.trip(StopReason::Requested);
        shutdown.on_trip(waker("late"));
        assert_eq!(*calls.lock().unwrap(), [("first", true), ("late", true)]);
    }
}
