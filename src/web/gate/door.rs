//! Who is let in: newcomers are accepted while there is room, told why where there is none, and room is made at the cost
//! of those who have sent the least. What becomes of who is in lies in the gate itself.

use std::io::{ErrorKind, Write};
use std::net::{IpAddr, TcpStream};
use std::time::{Duration, Instant};

use polling::Event as Readiness;

use crate::web::connection::Connection;
use crate::web::gate::{Gate, DROPPED_AT_ONCE, LISTENER_KEY};
use crate::web::http::{encode, Persistence, Port};
use crate::web::metrics::count_answers;
use crate::web::occupancy::Occupancy;
use crate::web::reply::{too_many, write_refusal, Refusal};

/// Of the cap on connections, the part that is evicted at once when it is reached.
const EVICTED_PART: usize = 256;
/// Newcomers let in before others are served again.
const ACCEPTED_AT_ONCE: usize = 256;
/// Those at once that are told why they were not let in; more are closed without a word.
const TURNED_AWAY_MAX: usize = 256;
/// How long nothing is accepted after the descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long nothing is accepted while everybody has just come: then some are newcomers no longer.
const CROWD_PAUSE: Duration = Duration::from_millis(20);

impl Gate {
    pub(super) fn accept(&mut self, index: usize, now: Instant) -> Result<(), String> {
        for _ in 0..ACCEPTED_AT_ONCE {
            if !self.makes_room(index, now) {
                // Who comes now waits in the backlog: better than to be sent away, and it is not for long.
                self.accept_again_at = Some(now + CROWD_PAUSE);
                return Ok(());
            }
            let Some(listener) = self.listeners.get(index) else {
                return Ok(());
            };
            match listener.socket.accept() {
                Ok((stream, address)) => {
                    self.admit(index, stream, address.ip().to_canonical(), now)
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => break,
                    ErrorKind::Interrupted
                    | ErrorKind::ConnectionAborted
                    | ErrorKind::ConnectionReset => {}
                    _ => {
                        // Out of descriptors or memory: room is made, and accepting goes on in a moment.
                        log::debug!("accept: {error}");
                        let port = listener.port;
                        self.evict(port, DROPPED_AT_ONCE, now);
                        self.accept_again_at = Some(now + ACCEPT_PAUSE);
                        return Ok(());
                    }
                },
            }
        }
        let Some(listener) = self.listeners.get(index) else {
            return Ok(());
        };
        let interest = Readiness::readable(LISTENER_KEY + index);
        self.poller
            .modify(&listener.socket, interest)
            .map_err(|error| format!("listener: {error}"))
    }

    /// Evicts where a port is full; false when that has to wait until those who have just come had their time.
    fn makes_room(&mut self, index: usize, now: Instant) -> bool {
        let Some(listener) = self.listeners.get(index) else {
            return true;
        };
        let (port, is_full) = (listener.port, listener.occupancy.is_full());
        let count = (listener.occupancy.cap() / EVICTED_PART).max(1);
        !is_full || self.evict(port, count, now) > 0 || !self.clients.has_newcomer(port, now)
    }

    fn admit(&mut self, index: usize, stream: TcpStream, peer: IpAddr, now: Instant) {
        if stream.set_nonblocking(true).is_err() || stream.set_nodelay(true).is_err() {
            return;
        }
        let (port, occupancy) = {
            let listener = &self.listeners[index];
            (listener.port, listener.occupancy.clone())
        };
        if occupancy.is_full() {
            let busy = too_many("connections are open", "5");
            return self.turn_away(&occupancy, stream, (port, peer), busy, now);
        }
        let is_counted = port == Port::Public && !self.is_trusted(peer);
        let Some(admission) = occupancy.enter(is_counted.then_some(peer)) else {
            let busy = too_many("connections of your address are open", "15");
            return self.turn_away(&occupancy, stream, (port, peer), busy, now);
        };
        if self.watch(&stream) {
            let machine = Connection::new(peer, port, self.rules.clone(), now);
            self.clients
                .insert(stream, machine, admission, (port, peer), false);
        }
    }

    /// Tells a client why it is not let in; it hears it even if it sends its request meanwhile.
    fn turn_away(
        &mut self,
        occupancy: &Occupancy,
        mut stream: TcpStream,
        (port, peer): (Port, IpAddr),
        busy: Refusal,
        now: Instant,
    ) {
        count_answers(&self.metrics, busy.status, 1);
        let reply = write_refusal(port, None, busy);
        // It fits into the socket's buffer, which is empty.
        let written = stream.write(&encode(&reply, Persistence::Close, false));
        if written.is_err() || stream.shutdown(std::net::Shutdown::Write).is_err() {
            return;
        }
        if occupancy.is_full() || self.turned_away >= TURNED_AWAY_MAX || !self.watch(&stream) {
            return;
        }
        if let Some(admission) = occupancy.enter(None) {
            let mut machine = Connection::new(peer, port, self.rules.clone(), now);
            machine.linger(now);
            self.turned_away += 1;
            self.clients
                .insert(stream, machine, admission, (port, peer), true);
        }
    }
}
