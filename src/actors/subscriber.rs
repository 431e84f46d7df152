//! Keeps a subscription open and hands its news to the poller. While no socket is up the poller polls; nothing waits for
//! this thread.

use std::time::Duration;

use crossbeam_channel::Sender;

use crate::base::clock::Clock;
use crate::base::shutdown::Shutdown;
use crate::base::thread::Beat;
use crate::chain::error::RpcError;
use crate::chain::http::Certificate;
use crate::chain::subscription::{Notice, Reach, Subscription};
use crate::chain::types::Address;

/// News that may wait for the poller; what finds no room is old by the time the poller looks.
pub(crate) const NOTICES_MAX: usize = 64;
/// How long a wait for news keeps a stop waiting.
const TICK: Duration = Duration::from_millis(200);
/// How long the poller may take to hear that the socket is up or down.
const HANDOVER_MAX: Duration = Duration::from_secs(5);

/// A socket that was up for so long was worth its opening: when it breaks off, the next is opened soon.
const SETTLED_AFTER: Duration = Duration::from_secs(60);
const WAIT_MAX_MS: u64 = 60_000;

/// Tries in a row to have a socket that came to nothing: none came up, or it broke off at once. Meanwhile heads are polled, so
/// the next ones come ever later.
#[derive(Default)]
struct InVain(u32);

impl InVain {
    /// A socket broke off that was up for so long; zero where none came up.
    fn note_end(&mut self, up_for: Duration) {
        self.0 = match up_for >= SETTLED_AFTER {
            true => 1,
            false => self.0.saturating_add(1),
        };
    }

    fn wait_max_ms(&self) -> u64 {
        (250u64 << self.0.min(8)).min(WAIT_MAX_MS)
    }
}

pub struct Subscriber {
    /// ws:// or wss://, taken in turn; their paths hold API keys.
    urls: Vec<String>,
    reach: Reach,
    chain_id: u64,
    contract: Address,
    notices: Sender<Notice>,
    clock: Clock,
}

impl Subscriber {
    pub fn new(
        (urls, authorities): (Vec<String>, Vec<Certificate>),
        chain_id: u64,
        contract: Address,
        notices: Sender<Notice>,
        clock: Clock,
    ) -> Subscriber {
        Subscriber {
            urls,
            reach: Reach::new(authorities),
            chain_id,
            contract,
            notices,
            clock,
        }
    }

    /// The thread's body.
    pub fn run(&mut self, shutdown: &Shutdown, beat: &Beat) -> Result<(), String> {
        // After a failure of this thread the poller must not wait for a socket that is gone.
        self.tell(Notice::Down)?;
        let mut in_vain = InVain::default();
        for url in self.urls.iter().cycle() {
            beat.turn();
            let Subscriber {
                reach,
                chain_id,
                contract,
                ..
            } = &*self;
            let opened = Subscription::open(reach, url, *chain_id, *contract, TICK);
            let error = match opened {
                Ok(mut subscription) => {
                    let up_at = self.clock.now();
                    let host = subscription.host();
                    match in_vain.0 {
                        0 | 1 => log::info!("{host}: subscribed"),
                        _ => log::debug!("{host}: subscribed once more"),
                    }
                    self.tell(Notice::Up)?;
                    let ended = self.follow(&mut subscription, shutdown, beat);
                    self.tell(Notice::Down)?;
                    in_vain.note_end(self.clock.now() - up_at);
                    match ended {
                        None => return Ok(()),
                        Some(error) => error,
                    }
                }
                Err(error) => {
                    in_vain.note_end(Duration::ZERO);
                    error
                }
            };
            match in_vain.0 {
                1 => log::warn!("no subscription, heads are polled: {error}"),
                _ => log::debug!("no subscription: {error}"),
            }
            let ceiling_ms = in_vain.wait_max_ms();
            let wait = Duration::from_millis(self.clock.jitter(ceiling_ms).max(50));
            let until = self.clock.now() + wait;
            let stopped = self.clock.wait_any(&[shutdown.signal()], Some(until));
            if stopped.is_some() {
                return Ok(());
            }
        }
        Err("eth_subscribe without an endpoint".to_owned())
    }

    /// Hands over news until the socket breaks; None when the daemon stops.
    fn follow(
        &self,
        subscription: &mut Subscription,
        shutdown: &Shutdown,
        beat: &Beat,
    ) -> Option<RpcError> {
        while !shutdown.is_tripped() {
            beat.turn();
            match subscription.news() {
                Ok(Some(notice)) => {
                    let _ = self.notices.try_send(notice);
                }
                Ok(None) => {}
                Err(error) => return Some(error),
            }
        }
        None
    }

    fn tell(&self, notice: Notice) -> Result<(), String> {
        self.notices
            .send_timeout(notice, HANDOVER_MAX)
            .map_err(|_| "the poller takes no news".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_breaks_off_each_socket_at_once_is_asked_for_one_ever_later() {
        let mut in_vain = InVain::default();
        let mut waits = |up_secs: &[u64]| -> Vec<u64> {
            let after = |secs: &u64| {
                in_vain.note_end(Duration::from_secs(*secs));
                in_vain.wait_max_ms()
            };
            up_secs.iter().map(after).collect()
        };
        let soon_after_each = [
            500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000,
        ];
        assert_eq!(waits(&[0, 1, 0, 3, 0, 0, 59, 0, 1]), soon_after_each);
        assert_eq!(waits(&[60, 0, 3_600, 1]), [500, 1_000, 500, 1_000]);
    }
}
