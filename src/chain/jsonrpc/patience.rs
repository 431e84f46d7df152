//! Waiting for a server that asks for fewer calls, where nobody else can be asked: a question is one of many that hang
//! together (a look at the chain, the check of a draw), and all of them would begin anew, with more calls than it takes to
//! wait a moment and go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::base::clock::Clock;
use crate::chain::error::{ErrorKind, RpcError};

/// One after the other; who names a longer wait than the last, or still refuses after it, is left alone.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(300),
    Duration::from_millis(600),
    Duration::from_millis(1_200),
];

#[derive(Default)]
pub(super) struct Patience {
    /// There is nobody else to ask.
    is_alone: AtomicBool,
    /// It was waited for in vain, and has not answered since.
    is_spent: AtomicBool,
}

impl Patience {
    pub(super) fn set_alone(&self, is_alone: bool) {
        self.is_alone.store(is_alone, Ordering::Relaxed);
    }

    /// The answer to `ask`, which is asked again after a pause where the server wants fewer calls.
    pub(super) fn waited<T>(
        &self,
        clock: &Clock,
        ask: impl Fn() -> Result<T, RpcError>,
    ) -> Result<T, RpcError> {
        for pause in PAUSES {
            let answer = ask();
            let named = match &answer {
                Err(error) => match error.kind {
                    ErrorKind::RateLimited { retry_after } => retry_after.unwrap_or_default(),
                    _ => return answer,
                },
                Ok(_) => {
                    self.is_spent.store(false, Ordering::Relaxed);
                    return answer;
                }
            };
            let is_worth_it = self.is_alone.load(Ordering::Relaxed)
                && !self.is_spent.load(Ordering::Relaxed)
                && named <= PAUSES[2];
            if !is_worth_it {
                return answer;
            }
            clock.pause(pause.max(named));
        }
        ask()
            .inspect(|_| self.is_spent.store(false, Ordering::Relaxed))
            .inspect_err(|_| self.is_spent.store(true, Ordering::Relaxed))
    }
}
