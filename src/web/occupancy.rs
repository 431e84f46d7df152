//! Who holds how many connections: the caps on all, on WebSockets, and on one address. A seat is given back when it is
//! dropped, wherever its connection ends.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Clone, Copy, Debug)]
pub struct Caps {
    pub connections: usize,
    /// 0 means no limit.
    pub per_ip: usize,
}

#[derive(Clone)]
pub struct Occupancy {
    caps: Caps,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    connections: AtomicUsize,
    websockets: AtomicUsize,
    by_ip: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection's place.
pub struct Seat {
    shared: Arc<Shared>,
    ip: Option<IpAddr>,
    is_websocket: bool,
}

impl Occupancy {
    pub fn new(caps: Caps) -> Occupancy {
        Occupancy {
            caps,
            shared: Arc::default(),
        }
    }

    pub fn is_full(&self) -> bool {
        self.shared.connections.load(Ordering::Relaxed) >= self.caps.connections
    }

    pub fn websockets(&self) -> usize {
        self.shared.websockets.load(Ordering::Relaxed)
    }

    /// A seat for a new connection; `ip` is None where the address is a trusted proxy's and does not count. None when
    /// that address has all it may have.
    pub fn enter(&self, ip: Option<IpAddr>) -> Option<Seat> {
        if !self.take_ip(ip) {
            return None;
        }
        self.shared.connections.fetch_add(1, Ordering::Relaxed);
        Some(Seat {
            shared: self.shared.clone(),
            ip,
            is_websocket: false,
        })
    }

    /// Turns the seat into a WebSocket's, counted by `forwarded` where the socket's own address was not counted. False
    /// when WebSockets fill nine tenths of all, or that address has all it may have.
    pub fn upgrade(&self, seat: &mut Seat, forwarded: Option<IpAddr>) -> bool {
        if self.websockets() >= self.caps.connections.saturating_mul(9) / 10 {
            return false;
        }
        if seat.ip.is_none() && forwarded.is_some() {
            if !self.take_ip(forwarded) {
                return false;
            }
            seat.ip = forwarded;
        }
        self.shared.websockets.fetch_add(1, Ordering::Relaxed);
        seat.is_websocket = true;
        true
    }

    fn take_ip(&self, ip: Option<IpAddr>) -> bool {
        let Some(ip) = ip.filter(|_| self.caps.per_ip > 0) else {
            return true;
        };
        let mut by_ip = self
            .shared
            .by_ip
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = by_ip.entry(ip).or_insert(0);
        let free = *count < self.caps.per_ip;
        *count += usize::from(free);
        free
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        if self.is_websocket {
            self.shared.websockets.fetch_sub(1, Ordering::Relaxed);
        }
        let Some(ip) = self.ip else { return };
        let mut by_ip = self
            .shared
            .by_ip
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_ip.get_mut(&ip) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                by_ip.remove(&ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn an_address_has_its_cap_and_gets_its_places_back() {
        let occupancy = Occupancy::new(Caps {
            connections: 100,
            per_ip: 2,
        });
        let first = occupancy.enter(ip(1)).unwrap();
        let _second = occupancy.enter(ip(1)).unwrap();
        assert!(occupancy.enter(ip(1)).is_none());
        assert!(occupancy.enter(ip(2)).is_some());
        drop(first);
        assert!(occupancy.enter(ip(1)).is_some());
        assert!((0..50).all(|_| occupancy.enter(None).is_some()));
    }

    #[test]
    fn websockets_fill_nine_tenths_at_most_and_count_by_the_forwarded_address() {
        let occupancy = Occupancy::new(Caps {
            connections: 10,
            per_ip: 1,
        });
        let mut seats: Vec<Seat> = (0..10).map(|_| occupancy.enter(None).unwrap()).collect();
        assert!(occupancy.is_full());
        assert!(occupancy.upgrade(&mut seats[0], ip(1)));
        assert!(!occupancy.upgrade(&mut seats[1], ip(1)));
        for (place, seat) in seats.iter_mut().enumerate().skip(1).take(8) {
            assert!(occupancy.upgrade(seat, ip(100 + place as u8)));
        }
        assert_eq!(occupancy.websockets(), 9);
        assert!(!occupancy.upgrade(&mut seats[9], ip(200)));
        seats.clear();
        assert_eq!(occupancy.websockets(), 0);
        assert!(!occupancy.is_full());
    }
}
