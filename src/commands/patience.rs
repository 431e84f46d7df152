//! Questions that can wait: what no endpoint answers for now is asked again, at a falling pace. The states of old blocks
//! are what can be done without: verify and audit wait for them, and go on without them, by one rule.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Once;
use std::time::Duration;

use crate::actors::reader::States;
use crate::chain::endpoints::Endpoints;
use crate::chain::error::{ErrorKind, RpcError};
use crate::chain::method::Method;
use crate::chain::node::Endpoint;
use crate::commands::exit::Exit;
use crate::commands::output::tell;

/// So often it is asked again; the waits add up to half a minute.
const TRIES: u32 = 8;

/// A shorter wait needs no word.
const TOLD_FROM: Duration = Duration::from_millis(500);

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
        once(endpoints, methods, &ask)
    })
}

/// As `patiently`, without asking again.
fn once<T>(
    endpoints: &Endpoints,
    methods: &[Method],
    ask: impl Fn(&Endpoint) -> Result<T, RpcError>,
) -> Result<T, RpcError> {
    let passing = RefCell::new(None);
    let answer = endpoints.with_endpoint(methods, |endpoint| {
        ask(endpoint).inspect_err(|error| {
            if error.is_passing() {
                passing.replace(Some(error.clone()));
            }
        })
    });
    answer.map_err(|error| passing.take().unwrap_or(error))
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
    again(endpoints, methods, TRIES, &may_pass, &ask)
}

fn again<T>(
    endpoints: &Endpoints,
    methods: &[Method],
    tries: u32,
    may_pass: &impl Fn(&RpcError) -> bool,
    ask: &impl Fn() -> Result<T, RpcError>,
) -> Result<T, RpcError> {
    let clock = endpoints.clock();
    let mut tried = 0;
    loop {
        match ask() {
            Err(error) if tried < tries && may_pass(&error) => {
                let wait = Duration::from_millis(100 << tried).max(endpoints.ready_in(methods));
                if wait >= TOLD_FROM {
                    tell_once(&error);
                }
                clock.pause(wait);
                tried += 1;
            }
            answer => return answer,
        }
    }
}

/// Whoever waits for the command hears why: in the first wait of it, whatever else is waited for afterwards.
fn tell_once(error: &RpcError) {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        tell(&format!(
            "{error}: it is asked again, for half a minute or so"
        ));
    });
}

/// The states of old blocks. Not every endpoint tells them, and mostly a verdict needs none: so they are waited for in
/// vain once, and from then on what does not come at once is out of reach, as where they are refused.
pub(super) struct OldStates<'a> {
    endpoints: &'a Endpoints,
    is_told: AtomicBool,
    given_up: AtomicBool,
}

impl<'a> OldStates<'a> {
    pub fn of(endpoints: &'a Endpoints) -> OldStates<'a> {
        OldStates {
            endpoints,
            is_told: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
        }
    }

    /// What the best endpoint answers of a state.
    ///
    /// # Errors
    /// As `patiently`; the caller does without.
    pub fn ask<T>(&self, ask: impl Fn(&Endpoint) -> Result<T, RpcError>) -> Result<T, RpcError> {
        let methods = &[Method::Call];
        let ask = || once(self.endpoints, methods, &ask);
        let tries = self.tries();
        let answer = again(self.endpoints, methods, tries, &RpcError::is_passing, &ask);
        answer.inspect_err(|error| self.note(error))
    }

    /// An answer of which states are a part, with them if they come, and else without them.
    ///
    /// # Errors
    /// When it does not come without them either, and all that `may_pass` was waited for.
    pub fn with_or_without<T>(
        &self,
        methods: &[Method],
        may_pass: impl Fn(&RpcError) -> bool,
        ask: impl Fn(States) -> Result<T, RpcError>,
    ) -> Result<T, RpcError> {
        let tries = self.tries();
        let asked = |states, tries| {
            let ask = || ask(states);
            again(self.endpoints, methods, tries, &may_pass, &ask)
        };
        match asked(States::Patiently, tries) {
            Err(error) if error.is_passing() => {
                let answer = asked(States::Spared, TRIES - tries)?;
                self.note(&error);
                Ok(answer)
            }
            answer => answer,
        }
    }

    /// The same of the best endpoint, where only what passes is waited for.
    ///
    /// # Errors
    /// As `with_or_without`.
    pub fn patiently<T>(
        &self,
        methods: &[Method],
        ask: impl Fn(&Endpoint, States) -> Result<T, RpcError>,
    ) -> Result<T, RpcError> {
        self.with_or_without(methods, RpcError::is_passing, |states| {
            once(self.endpoints, methods, |endpoint| ask(endpoint, states))
        })
    }

    fn tries(&self) -> u32 {
        match self.given_up.load(Ordering::Relaxed) {
            true => 0,
            false => TRIES,
        }
    }

    fn note(&self, error: &RpcError) {
        if error.is_passing() {
            self.given_up.store(true, Ordering::Relaxed);
        }
        if !self.is_told.swap(true, Ordering::Relaxed) {
            tell(&format!(
                "no endpoint tells the contract's old states: {error}"
            ));
        }
    }
}

/// What is said once patience is over, and how the command ends: answers that contradict each other are answers. An
/// endpoint that says itself that it lacks a block has not answered.
pub(super) fn in_vain(error: &RpcError) -> (String, Exit) {
    match is_contradiction(error) {
        true => (
            format!("what the chain tells does not hang together: {error}"),
            Exit::No,
        ),
        false => (format!("the chain cannot be read: {error}"), Exit::Failed),
    }
}

/// Answers that contradict each other: the chain moved between them, or they are not all true.
pub(super) fn is_contradiction(error: &RpcError) -> bool {
    error.kind == ErrorKind::Behind && error.method.is_none()
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
