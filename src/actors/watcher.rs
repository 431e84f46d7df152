//! Tells what begins and ends with time alone, whatever holds up the operator: its questions wait for slow endpoints, and
//! an outage would be told as late as they are answered. What only the operator knows it hands over at each of its turns.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
use crate::lottery::alert::{Alert, Condition};
use crate::lottery::watch::{self, EndpointSight, Sights};

/// So often at least it is looked whether conditions have begun or ended.
pub(crate) const EVERY: Duration = Duration::from_secs(2);
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
    looked_unix_ms: u64,
    /// When nothing had run for a while.
    woken_unix_ms: u64,
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
            looked_unix_ms: clock.unix_ms(),
            woken_unix_ms: 0,
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
        let rest = || {
            let until = self.clock.now() + EVERY;
            self.clock.wait_any(&[shutdown.signal()], Some(until))
        };
        while rest().is_none() {
            beat.turn();
            self.look(&mut self.shared());
        }
        Ok(())
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

    /// What holds now.
    pub(crate) fn firing(&self) -> Vec<Arc<Alert>> {
        self.shared().alerts.firing()
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
        if unix_ms.saturating_sub(shared.looked_unix_ms) > SLEPT_MS {
            shared.woken_unix_ms = unix_ms;
        }
        shared.looked_unix_ms = unix_ms;
        let mut holding = watch::conditions(&Sights {
            snapshot: &self.snapshot.load(),
            in_flight: shared.in_flight.as_ref(),
            endpoints: &endpoints,
            operator: self.operator,
            chain_id: self.chain_id,
            now: self.clock.now(),
            unix_ms,
            woken_unix_ms: shared.woken_unix_ms,
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

    /// How many seconds after its start a chain that answers nothing is told of, where nothing runs for `sleeps`.
    fn told_after(sleeps: Duration) -> Duration {
        let clock = Clock::manual(5_000);
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
        let start = clock.now();
        clock.advance(sleeps);
        loop {
            // The operator waits for an answer all the time.
            watcher.look(&mut watcher.shared());
            if let Ok(update) = told.try_recv() {
                assert!(matches!(update, Update::Alert(_)), "{update:?}");
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
}
