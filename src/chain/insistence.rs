//! Asking once more: where one endpoint is all that is left to ask, an answer of it that came spoilt (a page, half an
//! answer, the answer to something else) is not the end of a question, and of all that hangs together with it. The very
//! question is asked again at once, once. Silence is not asked twice, since that would double the wait for it; neither is
//! who spoils all that a method is asked for. Who wants fewer calls is waited for by `jsonrpc`.
//!
//! What is sent to a pool is not sent again here: whether it has arrived only the sender can find out.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::chain::error::RpcError;
use crate::chain::json::Json;
use crate::chain::jsonrpc::{Results, RpcCall};
use crate::chain::method::Method;
use crate::chain::node::Endpoint;

/// What took longer was spoilt by a time-out somewhere behind the endpoint, and would be so again.
pub(crate) const PROMPT: Duration = Duration::from_secs(2);
/// So many spoilt answers of a method in a row are no accident: until one comes whole it is asked once each time.
const SPOILT_MAX: u32 = 4;
/// And so many of blocks, which any node can show.
const SPOILT_BLOCKS_MAX: u32 = 2;

impl Endpoint {
    /// The answer to `ask`, a question with this method; to the same once more where the first comes spoilt.
    pub(super) fn insisted<T>(
        &self,
        method: Method,
        ask: impl Fn() -> Result<T, RpcError>,
    ) -> Result<T, RpcError> {
        let started = self.now();
        match ask() {
            Err(error) if self.asks_again(method, &error, self.now() - started) => {
                ask().inspect_err(|error| self.note_spoilt(method, error))
            }
            answer => answer,
        }
    }

    /// The answers to these calls, which `ask` asks for together: to those once more that come spoilt, by `alone`.
    pub(super) fn insisted_together(
        &self,
        calls: &[RpcCall],
        ask: impl Fn(&[RpcCall]) -> Results,
        alone: impl Fn(&RpcCall) -> Result<Json, RpcError>,
    ) -> Results {
        let Some(first) = calls.first() else {
            return ask(calls);
        };
        let started = self.now();
        let mut results = self.insisted(first.method, || ask(calls))?;
        // An endpoint that takes no batches was asked for each in turn.
        let each_took = (self.now() - started) / u32::try_from(results.len()).unwrap_or(1).max(1);
        for (call, result) in calls.iter().zip(&mut results) {
            match result {
                Ok(_) => self.note_whole(call.method),
                Err(error) if self.asks_again(call.method, error, each_took) => {
                    *result = alone(call).inspect_err(|error| self.note_spoilt(call.method, error));
                }
                Err(_) => {}
            }
        }
        Ok(results)
    }

    /// Takes down that an answer failed, and says whether to ask once more.
    pub(super) fn asks_again(&self, method: Method, error: &RpcError, took: Duration) -> bool {
        self.note_spoilt(method, error);
        let asks_again = self.insists
            && error.is_spoilt()
            && method != Method::SendRawTransaction
            && took <= PROMPT
            && self.spoilt(method).load(Ordering::Relaxed) <= SPOILT_MAX;
        if asks_again {
            log::debug!("{error}: asked once more");
        }
        asks_again
    }

    fn note_spoilt(&self, method: Method, error: &RpcError) {
        if error.is_spoilt() {
            self.spoilt(method).fetch_add(1, Ordering::Relaxed);
        }
    }

    /// An answer came whole.
    pub(super) fn note_whole(&self, method: Method) {
        self.spoilt(method).store(0, Ordering::Relaxed);
    }

    /// It spoils whatever it is asked: what it refuses it does not refuse for how it was asked.
    pub(super) fn shows_no_blocks(&self) -> bool {
        self.spoilt(Method::BlockByNumber).load(Ordering::Relaxed) > SPOILT_BLOCKS_MAX
    }

    fn spoilt(&self, method: Method) -> &AtomicU32 {
        &self.shared.spoilt[method as usize]
    }
}

#[cfg(test)]
mod tests;
