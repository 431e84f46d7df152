//! Who holds how many connections: the caps on all, on WebSockets, and on one address. What a connection holds of them it
//! gives back when its admission is dropped, wherever it ends.

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

/// Below so many addresses their table is not worth making smaller.
const ADDRESSES_KEPT: usize = 256;

/// What one connection holds of the caps.
pub struct Admission {
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

    pub(crate) fn is_full(&self) -> bool {
        self.connections() >= self.caps.connections
    }

    /// WebSockets included.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    pub fn cap(&self) -> usize {
        self.caps.connections
    }

    pub fn websockets(&self) -> usize {
        self.shared.websockets.load(Ordering::Relaxed)
    }

    /// An admission for a new connection; `ip` is None where the address is a trusted proxy's and does not count. None when
    /// that address has all it may have.
    pub fn enter(&self, ip: Option<IpAddr>) -> Option<Admission> {
        if !self.take_ip(ip) {
            return None;
        }
        self.shared.connections.fetch_add(1, Ordering::Relaxed);
        Some(Admission {
            shared: self.shared.clone(),
            ip,
            is_websocket: false,
        })
    }

    /// Turns the admission into a WebSocket's, counted by `forwarded` where the socket's own address was not counted. False
    /// when WebSockets fill nine tenths of all, or that address has all it may have.
    pub fn upgrade(&self, admission: &mut Admission, forwarded: Option<IpAddr>) -> bool {
        if self.websockets() >= self.caps.connections.saturating_mul(9) / 10 {
            return false;
        }
        if admission.ip.is_none() && forwarded.is_some() {
            if !self.take_ip(forwarded) {
                return false;
            }
            admission.ip = forwarded;
        }
        self.shared.websockets.fetch_add(1, Ordering::Relaxed);
        admission.is_websocket = true;
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
        let count = by_ip.entry(client_of(ip)).or_insert(0);
        let free = *count < self.caps.per_ip;
        *count += usize::from(free);
        free
    }
}

/// Whom an address stands for. A client of IPv6 has a whole /64 to choose its addresses from.
pub(crate) fn client_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
    }
}

impl Drop for Admission {
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
        let ip = client_of(ip);
        if let Some(count) = by_ip.get_mut(&ip) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                by_ip.remove(&ip);
            }
        }
        if by_ip.capacity() > ADDRESSES_KEPT && by_ip.len() < by_ip.capacity() / 4 {
            by_ip.shrink_to(ADDRESSES_KEPT);
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
    fn an_address_has_its_cap_and_gets_back_what_it_left() {
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
        let mut admissions: Vec<Admission> =
            (0..10).map(|_| occupancy.enter(None).unwrap()).collect();
        assert!(occupancy.is_full());
        assert!(occupancy.upgrade(&mut admissions[0], ip(1)));
        assert!(!occupancy.upgrade(&mut admissions[1], ip(1)));
        for (index, admission) in admissions.iter_mut().enumerate().skip(1).take(8) {
            assert!(occupancy.upgrade(admission, ip(100 + index as u8)));
        }
        assert_eq!(occupancy.websockets(), 9);
        assert!(!occupancy.upgrade(&mut admissions[9], ip(200)));
        admissions.clear();
        assert_eq!(occupancy.websockets(), 0);
        assert!(!occupancy.is_full());
    }

    #[test]
    fn a_client_of_ipv6_is_its_64() {
        let occupancy = Occupancy::new(Caps {
            connections: 100,
            per_ip: 2,
        });
        let enter = |text: &str| occupancy.enter(Some(text.parse().unwrap()));
        let first = enter("2001:db8:0:1::1").unwrap();
        let _second = enter("2001:db8:0:1:ffff:ffff:ffff:ffff").unwrap();
        assert!(enter("2001:db8:0:1::7").is_none());
        assert!(enter("2001:db8:0:2::1").is_some());
        drop(first);
        assert!(enter("2001:db8:0:1::7").is_some());
    }

    #[test]
    fn a_crowd_that_left_leaves_a_small_table() {
        let occupancy = Occupancy::new(Caps {
            connections: 20_000,
            per_ip: 1,
        });
        let crowd: Vec<Admission> = (0..10_000u32)
            .map(|number| {
                occupancy
                    .enter(Some(IpAddr::from(number.to_be_bytes())))
                    .unwrap()
            })
            .collect();
        drop(crowd);
        let capacity = occupancy.shared.by_ip.lock().unwrap().capacity();
        assert!(capacity <= 4 * ADDRESSES_KEPT, "{capacity}");
    }
}
