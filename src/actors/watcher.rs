//! Tells what begins and ends with time alone, whatever holds up the operator: its questions wait for slow endpoints, and
//! an outage would be told as late as they are answered. What only the operator knows it hands over at each of its turns.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::actors::alerts::Alerts;
use crate::actors::messages::SharedSnapshot;
use crate::base::clock::Clock;
use crate::base::shutdown::Shutdown;
use crate::base::thread::Beat;
use crate::chain::endpoints::Endpoints;
use crate::chain::health::Chain;
use crate::chain::node::Endpoint;
use crate::chain::types::Address;
use crate::lottery::action::InFlight;
use crate::lottery::alert::Condition;
use crate::lottery::watch::{self, EndpointSight, Sights, Sleep};

/// So often at least the operator looks whether conditions have begun or ended.
pub(crate) const EVERY: Duration = Duration::from_secs(2);
/// An operator that has not looked for so long is held up, and the watcher looks in its place.
const HELD_UP: Duration = Duration::from_millis(2_500);
/// Between two looks so far apart nothing ran: the host slept, and what it slept through is no outage.
const SLEPT_MS: u64 = 10_000;

/// A cloneable handle, of the operator and of the thread.
#[derive(Clone)]
pub struct Watcher {
    shared: Arc<Mutex<Shared>>,
    snapshot: SharedSnapshot,
    endpoints: Endpoints,
    /// Whose draws the contract has to accept.
    operator: Option<Address>,
    chain_id: u64,
    clock: Clock,
}

struct Shared {
    alerts: Alerts,
    /// What the operator has raised, and has out, as of its last turn.
    raised: Vec<Condition>,
    in_flight: Option<InFlight>,
    looked_at: Instant,
    looked_unix_ms: u64,
    /// When last nothing ran.
    slept: Option<Sleep>,
}

impl Watcher {
    pub fn new(
        alerts: Alerts,
        snapshot: SharedSnapshot,
        endpoints: Endpoints,
        (operator, chain_id): (Option<Address>, u64),
        clock: Clock,
    ) -> Watcher {
        let shared = Shared {
            alerts,
            raised: Vec::new(),
            in_flight: None,
            looked_at: clock.now(),
            looked_unix_ms: clock.unix_ms(),
            slept: None,
        };
        Watcher {
            shared: Arc::new(Mutex::new(shared)),
            snapshot,
            endpoints,
            operator,
            chain_id,
            clock,
        }
    }

    /// The thread's body.
    ///
    /// # Errors
    /// Never; a thread's body may.
    pub fn run(&self, shutdown: &Shutdown, beat: &Beat) -> Result<(), String> {
        let rest = |until| self.clock.wait_any(&[shutdown.signal()], Some(until));
        while rest(self.stand_in(self.clock.now())).is_none() {
            beat.turn();
        }
        Ok(())
    }

    /// Looks where nobody has for a while; until when that can rest.
    fn stand_in(&self, now: Instant) -> Instant {
        let mut shared = self.shared();
        if now >= shared.looked_at + HELD_UP {
            self.look(&mut shared);
        }
        shared.looked_at + HELD_UP
    }

    /// The operator's turn: what it has raised holds until its next, and so does what it has out.
    pub(crate) fn hear(&self, raised: Vec<Condition>, in_flight: Option<InFlight>) {
        let mut shared = self.shared();
        (shared.raised, shared.in_flight) = (raised, in_flight);
        self.look(&mut shared);
    }

    /// A transaction is about to go out.
    pub(crate) fn hear_of_flight(&self, in_flight: Option<InFlight>) {
        self.shared().in_flight = in_flight;
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what holds now, with or without a key, whether or not the chain answers.
    fn look(&self, shared: &mut Shared) {
        let sight = |endpoint: &Endpoint| EndpointSight {
            host: endpoint.host().to_owned(),
            wrong_chain: match endpoint.with_health(|health| health.chain()) {
                Chain::Wrong(found) => Some(found),
                _ => None,
            },
        };
        let endpoints: Vec<EndpointSight> = self.endpoints.list().iter().map(sight).collect();
        let unix_ms = self.clock.unix_ms();
        let now = self.clock.now();
        if unix_ms.saturating_sub(shared.looked_unix_ms) > SLEPT_MS {
            shared.slept = Some(Sleep {
                from: shared.looked_at,
                until: now,
                from_unix_ms: shared.looked_unix_ms,
                until_unix_ms: unix_ms,
            });
        }
        (shared.looked_at, shared.looked_unix_ms) = (now, unix_ms);
        let mut holding = watch::conditions(&Sights {
            snapshot: &self.snapshot.load(),
            in_flight: shared.in_flight.as_ref(),
            endpoints: &endpoints,
            operator: self.operator,
            chain_id: self.chain_id,
            now,
            unix_ms,
            slept: shared.slept,
        });
        holding.extend(shared.raised.iter().cloned());
        shared.alerts.tell(holding);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::metrics::Metrics;
    use crate::lottery::snapshot::ConnectionStatus;
    use crate::lottery::state::{Limits, State, Update};
    use crossbeam_channel::Receiver;

    /// Of a chain that answers nothing.
    fn watcher(clock: &Clock) -> (Watcher, Receiver<Update>) {
        let connection = ConnectionStatus {
            reachable: false,
            since_unix_ms: clock.unix_ms(),
            problem: None,
        };
        let limits = Limits {
            live_feed_max_entries: 9,
            round_history_max: 9,
        };
        let state = State::new(limits, connection);
        let snapshot = SharedSnapshot::new(Arc::new(state.snapshot().clone()));
        let (updates, told) = crossbeam_channel::bounded(9);
        let metrics = Metrics::default();
        let alerts = Alerts::new(updates, clock.clone(), metrics.clone());
        let endpoints = Endpoints::over(Vec::new(), 1, clock.clone(), &metrics);
        let watcher = Watcher::new(alerts, snapshot, endpoints, (None, 1), clock.clone());
        (watcher, told)
    }

    /// How many seconds after its start it is told of, where nothing runs for `sleeps`.
    fn told_after(sleeps: Duration) -> Duration {
        let clock = Clock::manual(5_000);
        let (watcher, told) = watcher(&clock);
        let start = clock.now();
        clock.advance(sleeps);
        loop {
            // The operator waits for an answer all the time.
            watcher.look(&mut watcher.shared());
            if let Ok(update) = told.try_recv() {
                assert!(matches!(update, Update::Alerts(_)), "{update:?}");
                return clock.now() - start;
            }
            clock.advance(Duration::from_secs(1));
        }
    }

    #[test]
    fn an_outage_is_told_after_15_s_while_the_operator_waits_and_not_one_that_the_host_slept_through(
    ) {
        assert_eq!(told_after(Duration::ZERO), Duration::from_secs(15));
        let slept = Duration::from_secs(49);
        assert_eq!(told_after(slept), slept + Duration::from_secs(15));
    }

    #[test]
    fn it_looks_in_the_operators_place_only_where_the_operator_does_not() {
        let clock = Clock::manual(5_000);
        let (watcher, told) = watcher(&clock);
        let mut rests_until = clock.now() + HELD_UP;
        for _ in 0..7 {
            clock.advance(EVERY);
            watcher.hear(Vec::new(), None);
            assert!(rests_until > clock.now(), "both look");
            rests_until = watcher.stand_in(clock.now());
            assert_eq!(rests_until, clock.now() + HELD_UP);
        }
        // The operator is held up from here on; a second later the outage has lasted long enough to be told.
        let due = clock.now() + HELD_UP;
        clock.advance(Duration::from_secs(1));
        assert_eq!(watcher.stand_in(clock.now()), due);
        assert!(told.is_empty());
        clock.advance(due - clock.now());
        assert_eq!(watcher.stand_in(due), due + HELD_UP);
        assert_eq!(told.len(), 1);
    }
}
