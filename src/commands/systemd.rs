//! What systemd wants to hear (Type=notify): that the daemon serves, one line on the round, that the loops turn, and that
//! it stops. The watchdog hangs on the loops alone: an endpoint that is down is no reason to be killed.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use crate::lottery::snapshot::Snapshot;
use crate::web::view::ether;

/// So often the status is looked at where no watchdog asks for more.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// The socket that systemd listens on, and what it was told last.
pub(super) struct Notifier {
    socket: UnixDatagram,
    address: SocketAddr,
    /// Within this long the watchdog has to be fed.
    watchdog: Option<Duration>,
    status: String,
}

impl Notifier {
    /// None when nobody wants to be notified, or the socket cannot be had.
    pub fn from_env(env: &[(String, String)]) -> Option<Notifier> {
        let variable = |wanted: &str| {
            let found = env.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.as_str())
        };
        let path = variable("NOTIFY_SOCKET")?;
        let address = match path.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(path),
        };
        let is_ours =
            variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let within = variable("WATCHDOG_USEC").and_then(|micros| micros.parse().ok());
        Some(Notifier {
            socket: UnixDatagram::unbound().ok()?,
            address: address.ok()?,
            watchdog: within
                .filter(|micros| is_ours && *micros > 0)
                .map(Duration::from_micros),
            status: String::new(),
        })
    }

    /// How long to wait between two calls of `tick`.
    pub fn period(&self) -> Duration {
        let often_enough = self.watchdog.map(|within| within / 3);
        often_enough.map_or(STATUS_EVERY, |period| period.min(STATUS_EVERY))
    }

    pub fn ready(&self) {
        self.send("READY=1");
    }

    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=stopping");
    }

    /// Tells the status when it has changed, and feeds the watchdog while every loop turns.
    pub fn tick(&mut self, is_turning: bool, status: String) {
        if status != self.status {
            self.send(&format!("STATUS={status}"));
            self.status = status;
        }
        if is_turning && self.watchdog.is_some() {
            self.send("WATCHDOG=1");
        }
    }

    /// Nothing hangs on a message that does not arrive.
    fn send(&self, message: &str) {
        let _ = self.socket.send_to_addr(message.as_bytes(), &self.address);
    }
}

/// The round and the operator in one line.
pub(super) fn status_line(snapshot: &Snapshot, now: Instant) -> String {
    let mut parts = Vec::new();
    if !snapshot.connection.reachable {
        let problem = snapshot.connection.problem.as_deref();
        parts.push(format!(
            "chain not reachable: {}",
            problem.unwrap_or("no reason told")
        ));
    }
    if let Some(round) = &snapshot.round {
        let phase = round.phase(snapshot.chain_time_at(now)).label();
        parts.push(format!(
            "round {} {}, {} players, {} ETH",
            round.round_id,
            phase.replace('_', " "),
            snapshot.participants.len(),
            ether(round.total_pot_wei)
        ));
    }
    if !snapshot.operator.own.phase.is_empty() {
        parts.push(snapshot.operator.own.phase.clone());
    }
    let line = parts.join("; ");
    line.chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn nobody_is_told_where_nobody_asked() {
        assert!(Notifier::from_env(&env(&[])).is_none());
        assert!(Notifier::from_env(&env(&[("WATCHDOG_USEC", "1000000")])).is_none());
        assert!(Notifier::from_env(&env(&[("NOTIFY_SOCKET", "@name")])).is_some());
    }

    #[test]
    fn the_watchdog_is_fed_often_enough_and_only_by_whom_it_watches() {
        let period = |more: &[(&str, &str)]| {
            let mut pairs = vec![("NOTIFY_SOCKET", "/run/nowhere")];
            pairs.extend(more);
            Notifier::from_env(&env(&pairs)).unwrap().period()
        };
        let own = std::process::id().to_string();
        for (more, millis) in [
            (&[][..], 1_000),
            (&[("WATCHDOG_USEC", "600000")], 200),
            (&[("WATCHDOG_USEC", "60000000")], 1_000),
            (&[("WATCHDOG_USEC", "0")], 1_000),
            (&[("WATCHDOG_USEC", "x")], 1_000),
            (&[("WATCHDOG_USEC", "600000"), ("WATCHDOG_PID", "1")], 1_000),
            (&[("WATCHDOG_USEC", "600000"), ("WATCHDOG_PID", &own)], 200),
        ] {
            assert_eq!(period(more), Duration::from_millis(millis), "{more:?}");
        }
    }

    #[test]
    fn a_status_is_told_once_and_the_watchdog_hears_of_turning_loops_alone() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        systemd.set_nonblocking(true).unwrap();
        let path = path.display().to_string();
        let pairs = env(&[("NOTIFY_SOCKET", &path), ("WATCHDOG_USEC", "1000000")]);
        let mut notifier = Notifier::from_env(&pairs).unwrap();
        let heard = || {
            let mut buffer = [0; 512];
            let mut messages = Vec::new();
            while let Ok(len) = systemd.recv(&mut buffer) {
                messages.push(String::from_utf8_lossy(&buffer[..len]).into_owned());
            }
            messages
        };
        notifier.ready();
        assert_eq!(heard(), ["READY=1"]);
        notifier.tick(true, "round 1".to_owned());
        assert_eq!(heard(), ["STATUS=round 1", "WATCHDOG=1"]);
        notifier.tick(true, "round 1".to_owned());
        assert_eq!(heard(), ["WATCHDOG=1"]);
        notifier.tick(false, "round 1".to_owned());
        assert_eq!(heard(), [""; 0]);
        notifier.stopping();
        assert_eq!(heard(), ["STOPPING=1\nSTATUS=stopping"]);
        drop(systemd);
        notifier.tick(true, "round 2".to_owned());
    }
}
