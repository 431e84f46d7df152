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
        let mut failures = 0u32;
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
                    failures = 0;
                    log::info!("{}: subscribed", subscription.host());
                    self.tell(Notice::Up)?;
                    let ended = self.follow(&mut subscription, shutdown, beat);
                    self.tell(Notice::Down)?;
                    match ended {
                        None => return Ok(()),
                        Some(error) => error,
                    }
                }
                Err(error) => error,
            };
            failures = failures.saturating_add(1);
            match failures {
                1 => log::warn!("no subscription, heads are polled: {error}"),
                _ => log::debug!("no subscription: {error}"),
            }
            let ceiling_ms = (250u64 << failures.min(6)).min(10_000);
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
