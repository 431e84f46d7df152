//! The store thread: it alone owns the state. It applies updates, swaps the shared snapshot, and fans publications out.
//!
//! The store never blocks: a listener whose queue is full loses the publication and notices it by the gap in the
//! numbers. A change that its events do not tell whole skips a number on purpose, so that every listener re-reads.
//!
//! `turn` does all the work and never waits; the thread around it only sleeps until an update has come.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{bounded, Receiver, Sender, TryRecvError};

use crate::actors::messages::{PublicationReceiver, SharedSnapshot};
use crate::base::clock::Clock;
use crate::base::shutdown::{Shutdown, Waker};
use crate::base::thread::Beat;
use crate::lottery::snapshot::Publication;
use crate::lottery::state::{Limits, State, Update};

/// Updates that may wait for the store; whoever sends more waits (the poller) or tries again (the operator).
const UPDATES_MAX: usize = 1_024;
/// Publications that may wait for one listener.
const PUBLICATIONS_MAX: usize = 1_024;
const IDLE_TURN: Duration = Duration::from_secs(5);

/// The store before its thread runs: listeners are added here.
pub struct MemoryStore {
    updates: Receiver<Update>,
    shared: SharedSnapshot,
    state: State,
    listeners: Vec<Listener>,
    published: u64,
}

/// One who hears of each change.
struct Listener {
    publications: Sender<Arc<Publication>>,
    /// For a thread that does not sleep on the channel: called on the store's thread after each publication.
    waker: Option<Waker>,
}

/// Where the poller and the operator send what they learned.
pub type UpdateSender = Sender<Update>;

impl MemoryStore {
    pub fn new(state: State) -> (MemoryStore, UpdateSender, SharedSnapshot) {
        let (sender, updates) = bounded(UPDATES_MAX);
        let shared = SharedSnapshot::new(Arc::new(state.snapshot().clone()));
        let store = MemoryStore {
            updates,
            shared: shared.clone(),
            state,
            listeners: Vec::new(),
            published: 0,
        };
        (store, sender, shared)
    }

    pub fn limits(live_feed_max_entries: usize, round_history_max: usize) -> Limits {
        Limits {
            live_feed_max_entries,
            round_history_max,
        }
    }

    /// A listener that waits for publications on the channel itself.
    pub fn add_listener(&mut self) -> PublicationReceiver {
        self.listen(None)
    }

    /// A listener that is woken after each publication, and then takes what the channel holds.
    pub(crate) fn add_listener_with(&mut self, waker: Waker) -> PublicationReceiver {
        self.listen(Some(waker))
    }

    fn listen(&mut self, waker: Option<Waker>) -> PublicationReceiver {
        let (publications, receiver) = bounded(PUBLICATIONS_MAX);
        self.listeners.push(Listener {
            publications,
            waker,
        });
        receiver
    }

    /// The thread's body: returns when the token is tripped or nobody is left who could send.
    pub fn run(&mut self, clock: &Clock, shutdown: &Shutdown, beat: &Beat) -> Result<(), String> {
        loop {
            beat.turn();
            // What was sent before the token was tripped is still applied.
            let is_last = shutdown.is_tripped();
            if !self.turn() || is_last {
                return Ok(());
            }
            // Woken or not, the next turn looks for itself.
            let deadline = clock.now() + IDLE_TURN;
            clock.wait_any(&[&self.updates, shutdown.signal()], Some(deadline));
        }
    }

    /// Applies the updates that have come, at most as many as may wait at once; false when none can come any more.
    pub fn turn(&mut self) -> bool {
        for _ in 0..UPDATES_MAX {
            match self.updates.try_recv() {
                Ok(update) => self.apply(update),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        true
    }

    fn apply(&mut self, update: Update) {
        let applied = self.state.apply(update);
        let snapshot = Arc::new(self.state.snapshot().clone());
        self.shared.swap(snapshot.clone());
        self.published += if applied.resync { 2 } else { 1 };
        let publication = Arc::new(Publication {
            number: self.published,
            snapshot,
            events: applied.events,
        });
        for listener in &self.listeners {
            // Full: the listener lags and will see the gap. Disconnected: its thread is down; it reads anew on return.
            let _ = listener.publications.try_send(publication.clone());
            if let Some(wake) = &listener.waker {
                wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::thread::{spawn_supervised, Health, OnFailure};
    use crate::lottery::snapshot::{ConnectionStatus, Finality, StoreEvent};
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn store() -> (MemoryStore, UpdateSender, SharedSnapshot) {
        let connection = ConnectionStatus {
            reachable: false,
            since_unix_ms: 0,
            problem: None,
        };
        MemoryStore::new(State::new(MemoryStore::limits(1_000, 20), connection))
    }

    fn finality(block: u64) -> Update {
        Update::Finality(Finality {
            safe_block: block,
            finalized_block: block,
        })
    }

    #[test]
    fn every_listener_hears_each_change_in_order_and_the_snapshot_follows() {
        let (mut store, updates, shared) = store();
        let listeners = [store.add_listener(), store.add_listener()];
        let (health, shutdown) = (Health::default(), Shutdown::new());
        let stop = shutdown.clone();
        let thread = spawn_supervised(
            "store",
            &Clock::system(),
            &health,
            &shutdown,
            OnFailure::EndProcess,
            move |beat| store.run(&Clock::system(), &stop, beat),
        )
        .unwrap();
        for block in 1..=3 {
            updates.send(finality(block)).unwrap();
        }
        for listener in listeners {
            for block in 1..=3 {
                let publication = listener.recv_timeout(Duration::from_secs(10)).unwrap();
                assert_eq!(publication.number, block);
                assert_eq!(publication.snapshot.finality.safe_block, block);
                assert!(matches!(publication.events[..], [StoreEvent::Finality(_)]));
            }
        }
        assert_eq!(shared.load().finality.finalized_block, 3);
        shutdown.trip(crate::base::shutdown::StopReason::Requested);
        assert!(thread.join(Duration::from_secs(10)));
    }

    #[test]
    fn a_turn_applies_what_has_come_and_wakes_whoever_asked_for_it() {
        let (mut store, updates, shared) = store();
        let woken = Arc::new(AtomicUsize::new(0));
        let counted = woken.clone();
        let listener = store.add_listener_with(Arc::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        }));
        assert!(store.turn() && listener.is_empty());
        for block in 1..=3 {
            updates.send(finality(block)).unwrap();
        }
        assert!(store.turn());
        assert_eq!(shared.load().finality.safe_block, 3);
        assert_eq!(listener.try_iter().count(), 3);
        assert_eq!(woken.load(Ordering::SeqCst), 3);
        drop(updates);
        assert!(!store.turn(), "nobody is left who could send");
    }

    #[test]
    fn a_full_listener_loses_publications_and_can_tell() {
        let (mut store, _updates, _shared) = store();
        let listener = store.add_listener();
        for block in 0..PUBLICATIONS_MAX as u64 + 10 {
            store.apply(finality(block + 1));
        }
        assert_eq!(listener.try_iter().count(), PUBLICATIONS_MAX);
        store.apply(finality(1_000_000));
        let next = listener.try_recv().unwrap();
        assert_eq!(next.number, PUBLICATIONS_MAX as u64 + 11);
    }

    #[test]
    fn a_change_that_its_events_do_not_tell_skips_a_number() {
        let (mut store, _updates, _shared) = store();
        let listener = store.add_listener();
        store.apply(finality(1));
        // The end of the backfill turns "syncing" off only once the live side is in step, which it is not yet.
        store.apply(Update::Backfill {
            events: Vec::new(),
            complete: true,
        });
        assert_eq!(
            listener
                .try_iter()
                .map(|publication| publication.number)
                .collect::<Vec<_>>(),
            [1, 2]
        );
    }
}
