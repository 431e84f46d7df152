//! What the daemon hands to the nodes, judged by who sees the true chain: what cannot be mined in time any more is not sent,
//! and nothing offers more than the caps. What becomes of it on the chain is `oracle`'s.

use std::time::Duration;

use crate::world::{World, GWEI};

/// The daemon's own caps, as configured.
const MAX_FEE_WEI: u128 = 500 * GWEI;
const MAX_TX_FEE_WEI: u128 = GWEI * GWEI;

/// A transaction on its way to a node, taken or not.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    pub at: Duration,
    pub function: Option<&'static str>,
    pub nonce: u64,
    pub cap: u128,
    pub gas_limit: u64,
}

#[derive(Default)]
pub struct Sends {
    /// Since when the next block comes after the running round's window.
    hopeless: Option<(u64, Duration)>,
}

impl Sends {
    /// The next block's time is known anew.
    pub fn next_block(&mut self, timestamp: u64, world: &World, now: Duration) {
        let lottery = &world.head().ledger.lottery;
        let is_hopeless = lottery.is_betting && timestamp > lottery.max_draw_time;
        let known = self.hopeless.filter(|known| known.0 == lottery.round_id);
        self.hopeless = is_hopeless.then(|| known.unwrap_or((lottery.round_id, now)));
    }

    /// What is wrong with an attempt: the rule, and how. `grace` is how long the daemon may take to hear that it is hopeless;
    /// None where that is not to be said.
    pub fn judge(
        &self,
        attempt: &Attempt,
        grace: Option<Duration>,
    ) -> Option<(&'static str, String)> {
        let Attempt { at, cap, .. } = *attempt;
        let most = cap.saturating_mul(u128::from(attempt.gas_limit));
        if cap > MAX_FEE_WEI || most > MAX_TX_FEE_WEI {
            return Some(("nothing offers more than the caps", format!("{attempt:?}")));
        }
        let (round_id, since) = self.hopeless?;
        let is_draw = attempt.function == Some("drawWinner");
        (is_draw && grace.is_some_and(|grace| at > since + grace)).then(|| {
            let what = format!("round {round_id}, hopeless since {since:?}: {attempt:?}");
            ("no draw is sent that comes after its window", what)
        })
    }
}
