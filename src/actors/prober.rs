//! Looks at the endpoints' heads, at all of them once and then at one every 15 s in turn: without it a frozen endpoint
//! would look as good as the rest. A method that an endpoint failed is tried again here, by a harmless question, so that
//! no draw has to be the one that finds out. It reads for the endpoints' health alone, never state, and may wait for a
//! dead one without holding anybody up.

use std::time::Duration;

use crate::base::clock::Clock;
use crate::base::shutdown::Shutdown;
use crate::base::thread::Beat;
use crate::chain::endpoints::Endpoints;
use crate::chain::method::Method;
use crate::chain::node::Endpoint;

const EVERY: Duration = Duration::from_secs(15);

/// The thread's body; with a single endpoint there is nothing to compare.
pub fn run(
    endpoints: &Endpoints,
    clock: &Clock,
    shutdown: &Shutdown,
    beat: &Beat,
) -> Result<(), String> {
    let list = endpoints.list();
    if list.len() > 1 {
        for endpoint in list {
            look(endpoints, endpoint);
            beat.turn();
        }
    }
    let mut turn = 0usize;
    while clock
        .wait_any(&[shutdown.signal()], Some(clock.now() + EVERY))
        .is_none()
    {
        beat.turn();
        turn = turn.wrapping_add(1);
        if list.len() > 1 {
            look(endpoints, &list[turn % list.len()]);
            for endpoint in list {
                endpoints.try_failing_methods(endpoint);
                beat.turn();
            }
        }
    }
    Ok(())
}

fn look(endpoints: &Endpoints, endpoint: &Endpoint) {
    const METHODS: &[Method] = &[Method::BlockByNumber];
    match endpoint.head() {
        Ok(head) => {
            endpoint.with_health(|health| health.note_success(METHODS));
            endpoints.note_head(endpoint, head.number, head.timestamp);
        }
        Err(error) => endpoints.note_failure(endpoint, METHODS, &error),
    }
}
