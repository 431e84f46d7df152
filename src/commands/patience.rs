//! Questions that can wait: what no endpoint answers for now is asked again, at a falling pace.

use std::cell::RefCell;
use std::time::Duration;

use crate::chain::endpoints::Endpoints;
use crate::chain::error::{ErrorKind, RpcError};
use crate::chain::method::Method;
use crate::chain::node::Endpoint;
use crate::commands::exit::Exit;

/// So often it is asked again; the waits add up to half a minute.
const TRIES: u32 = 8;

/// What the best endpoint answers that can. As long as one of them fails for a reason that passes, a definite refusal by
/// others counts for nothing, and all are asked again.
///
/// # Errors
/// A definite refusal by all, or one that has not passed.
pub(super) fn patiently<T>(
    endpoints: &Endpoints,
    methods: &[Method],
    ask: impl Fn(&Endpoint) -> Result<T, RpcError>,
) -> Result<T, RpcError> {
    again_while(endpoints, methods, RpcError::is_passing, || {
        let passing = RefCell::new(None);
        let answer = endpoints.with_endpoint(methods, |endpoint| {
            ask(endpoint).inspect_err(|error| {
                if error.is_passing() {
                    passing.replace(Some(error.clone()));
                }
            })
        });
        answer.map_err(|error| passing.take().unwrap_or(error))
    })
}

/// Asks again while `may_pass` holds of the error.
///
/// # Errors
/// The last one.
pub(super) fn again_while<T>(
    endpoints: &Endpoints,
    methods: &[Method],
    may_pass: impl Fn(&RpcError) -> bool,
    ask: impl Fn() -> Result<T, RpcError>,
) -> Result<T, RpcError> {
    let clock = endpoints.clock();
    let mut tries = 0;
    loop {
        match ask() {
            Err(error) if tries < TRIES && may_pass(&error) => {
                let wait = Duration::from_millis(100 << tries).max(endpoints.ready_in(methods));
                clock.wait_any(&[], Some(clock.now() + wait));
                tries += 1;
            }
            answer => return answer,
        }
    }
}

/// What is said once patience is over, and how the command ends: answers that contradict each other are answers. An
/// endpoint that says itself that it lacks a block has not answered.
pub(super) fn in_vain(error: &RpcError) -> (String, Exit) {
    match (&error.kind, error.method) {
        (ErrorKind::Behind, None) => (
            format!("what the chain tells does not hang together: {error}"),
            Exit::No,
        ),
        _ => (format!("the chain cannot be read: {error}"), Exit::Failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_that_contradict_each_other_are_a_no() {
        let contradiction = RpcError::behind("a log lies in another block");
        assert_eq!(in_vain(&contradiction).1, Exit::No);
        let lagging = contradiction.of(Method::Call);
        assert_eq!(in_vain(&lagging).1, Exit::Failed);
        let silent = RpcError::transport("no answer");
        assert_eq!(in_vain(&silent).1, Exit::Failed);
    }
}
