//! What the poller has running beside itself: each job asks the chain on a thread of its own and answers with an input.
//! How many run at once is bounded by their kinds, each of which starts its next only when the last has answered.

use std::panic::{catch_unwind, AssertUnwindSafe};

use crossbeam_channel::{bounded, Receiver, Sender};

use crate::actors::event_manager::input::Input;
use crate::base::clock::Clock;
use crate::chain::error::RpcError;

/// More answers than jobs can run at once.
const ANSWERS_MAX: usize = 64;

pub(super) struct Jobs {
    answered: Sender<Input>,
    answers: Receiver<Input>,
}

impl Jobs {
    pub(super) fn new() -> Jobs {
        let (answered, answers) = bounded(ANSWERS_MAX);
        Jobs { answered, answers }
    }

    pub(super) fn answers(&self) -> &Receiver<Input> {
        &self.answers
    }

    /// Runs `work` beside the poller; false when there is no thread for it. What `work` answers, or that it panicked,
    /// comes back as the input that `as_input` makes of it.
    pub(super) fn start<T>(
        &self,
        clock: &Clock,
        name: &str,
        work: impl FnOnce() -> Result<T, RpcError> + Send + 'static,
        as_input: impl FnOnce(Result<T, RpcError>) -> Input + Send + 'static,
    ) -> bool {
        let answered = self.answered.clone();
        let guarded = move || {
            let result = catch_unwind(AssertUnwindSafe(work))
                .unwrap_or_else(|_| Err(RpcError::transport("a reading failed for good")));
            // Nobody listens any more after a restart of the poller.
            let _ = answered.send(as_input(result));
        };
        let spawned = clock.spawn(name, guarded);
        if let Err(error) = &spawned {
            log::error!("no thread to read the chain: {error}");
        }
        spawned.is_ok()
    }
}
