//! The side of systemd that a service talks to: a socket that takes its notifications. What a service has to say there is left
//! to the tests.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crossbeam_channel::{unbounded, Receiver};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// What systemd hears, message by message.
pub struct Systemd {
    path: String,
    heard: Receiver<String>,
    _dir: TempDir,
}

impl Systemd {
    pub fn listening() -> Systemd {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let (sender, heard) = unbounded();
        std::thread::spawn(move || {
            let mut buffer = [0; 4_096];
            while let Ok(len) = socket.recv(&mut buffer) {
                let message = String::from_utf8_lossy(&buffer[..len]).into_owned();
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        Systemd {
            path: path.display().to_string(),
            heard,
            _dir: dir,
        }
    }

    /// Waits for a message with this part.
    pub fn wait(&self, part: &str) -> String {
        loop {
            match self.heard.recv_timeout(PATIENCE) {
                Ok(message) if message.contains(part) => return message,
                Ok(_) => {}
                Err(_) => panic!("systemd was not told {part:?}"),
            }
        }
    }

    /// All that was said and not waited for.
    pub fn heard(&self) -> Vec<String> {
        self.heard.try_iter().collect()
    }

    /// What systemd gives to a service of Type=notify with a watchdog.
    pub fn environment(&self, watchdog_usec: u64) -> Vec<(&'static str, String)> {
        vec![
            ("NOTIFY_SOCKET", self.path.clone()),
            ("WATCHDOG_USEC", watchdog_usec.to_string()),
        ]
    }
}
