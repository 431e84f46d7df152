//! One question to several endpoints: the next is asked as well when one lets it wait, and the first answer counts. Which
//! endpoints there are, and in which order they are asked, is the list's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, Receiver};

use crate::chain::endpoints::{Arrival, Endpoints};
use crate::chain::error::RpcError;
use crate::chain::method::Method;
use crate::chain::node::{Endpoint, Purpose};

/// A question ends with its calls' own time-outs; this is longer than all of them together.
const ANSWER_WITHIN: Duration = Duration::from_secs(600);

/// One that is behind has little to tell, and one that has just failed hardly more: beside another they are asked only after
/// so many times the patience, or when the second has been left alone for as long as it should be. Where the other fails they
/// are asked at once, as any.
const NO_HASTE_TIMES: u32 = 5;

/// Which answers are worth having.
type HasNews<T> = Arc<dyn Fn(&T) -> bool + Send + Sync>;

/// How long each endpoint may take, and which answers are worth having.
pub(crate) struct Hedge<T> {
    purpose: Purpose,
    methods: &'static [Method],
    /// After this the next endpoint is asked as well.
    patience: Duration,
    /// And after this, when there is no next one, nobody is waited for any more.
    with_last: Duration,
    /// An answer without news counts only when no other comes within that time: a quick endpoint that knows nothing new
    /// would else for ever overtake a slow one that does. None where any answer will do.
    news: Option<(HasNews<T>, Duration)>,
}

impl<T> Hedge<T> {
    /// Any answer counts.
    pub(crate) fn any(
        purpose: Purpose,
        methods: &'static [Method],
        patience: Duration,
    ) -> Hedge<T> {
        Hedge {
            purpose,
            methods,
            patience,
            with_last: ANSWER_WITHIN,
            news: None,
        }
    }

    /// What has news counts before what has none, if it comes within that time.
    pub(crate) fn for_news(
        self,
        has_news: impl Fn(&T) -> bool + Send + Sync + 'static,
        within: Duration,
    ) -> Hedge<T> {
        let news = Some((Arc::new(has_news) as HasNews<T>, within));
        Hedge { news, ..self }
    }

    fn has_news(&self, answer: &T) -> bool {
        let news = self.news.as_ref();
        news.is_none_or(|(has_news, _)| has_news(answer))
    }

    /// How long the last of all is waited for where it is not waited for as long as it takes.
    fn patience_with_last(&self) -> Duration {
        self.patience.max(self.news_within())
    }

    fn news_within(&self) -> Duration {
        let news = self.news.as_ref();
        news.map_or(Duration::ZERO, |(_, within)| *within)
    }
}

/// The answers that are waited for.
struct Awaited<T> {
    arrivals: Receiver<Arrival<T>>,
    unanswered: Vec<Endpoint>,
}

impl Endpoints {
    /// Runs `ask` on the best endpoint, on the next as well when `patience` passes without an answer, and on the next at
    /// once after a failure. The first answer counts; who let it wait is set back. With one endpoint nothing is hedged.
    ///
    /// # Errors
    /// As `with_endpoint`.
    pub(crate) fn hedged<T: Send + 'static>(
        &self,
        purpose: Purpose,
        methods: &'static [Method],
        patience: Duration,
        ask: impl Fn(&Endpoint) -> Result<T, RpcError> + Clone + Send + 'static,
    ) -> Result<(Endpoint, T), RpcError> {
        self.asked_by(&Hedge::any(purpose, methods, patience), ask)
    }

    /// As `hedged`, by any terms.
    ///
    /// # Errors
    /// As `with_endpoint`.
    pub(crate) fn asked_by<T: Send + 'static>(
        &self,
        hedge: &Hedge<T>,
        ask: impl Fn(&Endpoint) -> Result<T, RpcError> + Clone + Send + 'static,
    ) -> Result<(Endpoint, T), RpcError> {
        self.first_answer(self.best_first(hedge.methods), hedge, ask)
    }

    /// Passing over `first`, and not waiting for the last of the others for ever: a second opinion. None when there is
    /// nobody else to ask.
    pub(crate) fn asked_without<T: Send + 'static>(
        &self,
        first: &Endpoint,
        hedge: &Hedge<T>,
        ask: impl Fn(&Endpoint) -> Result<T, RpcError> + Clone + Send + 'static,
    ) -> Option<Result<(Endpoint, T), RpcError>> {
        let mut usable = self.best_first(hedge.methods);
        usable.retain(|endpoint| endpoint != first);
        let hedge = Hedge {
            with_last: hedge.patience_with_last(),
            news: hedge.news.clone(),
            ..*hedge
        };
        (!usable.is_empty()).then(|| self.first_answer(usable, &hedge, ask))
    }

    fn first_answer<T: Send + 'static>(
        &self,
        usable: Vec<Endpoint>,
        hedge: &Hedge<T>,
        ask: impl Fn(&Endpoint) -> Result<T, RpcError> + Clone + Send + 'static,
    ) -> Result<(Endpoint, T), RpcError> {
        let methods = hedge.methods;
        if self.list.len() == 1 {
            let ask = |endpoint: &Endpoint| Ok((endpoint.clone(), ask(endpoint)?));
            return self.with_endpoint(methods, ask);
        }
        let (answers, arrivals) = bounded(usable.len());
        let mut answers = Some(answers);
        let mut rest = usable.into_iter();
        let mut awaited = Awaited {
            arrivals,
            unanswered: Vec::new(),
        };
        let mut last = None;
        loop {
            let next = rest.next();
            match (&next, &answers) {
                (Some(endpoint), Some(answers)) => {
                    if !self.ask_aside(hedge.purpose, endpoint, methods, ask.clone(), answers) {
                        continue;
                    }
                    awaited.unanswered.push(endpoint.clone());
                }
                // Only the threads hold senders now, so that the wait below ends with the last of them.
                _ => answers = None,
            }
            let arrival = match next.is_some() {
                true => {
                    let patience = self.patience_before(rest.as_slice().first(), hedge);
                    self.arrival_until(&mut awaited, self.clock.now() + patience)
                }
                false => self.arrival_of_last(&mut awaited, hedge, last.is_some()),
            };
            match arrival {
                Some((endpoint, Ok(answer))) => {
                    let first = (endpoint, answer);
                    return Ok(self.with_news(first, &mut awaited, hedge));
                }
                Some((_, Err(error))) if error.is_final() => return Err(error),
                Some((_, Err(error))) => last = Some(error),
                None if next.is_none() => return Err(last.unwrap_or_else(|| self.none_left())),
                None => {}
            }
        }
    }

    /// How long the others are waited for before that one is asked as well.
    fn patience_before<T>(&self, next: Option<&Endpoint>, hedge: &Hedge<T>) -> Duration {
        let longest = hedge.patience * NO_HASTE_TIMES;
        match next {
            Some(next) if self.is_behind(next, self.trailing_after_secs()) => longest,
            Some(next) => self
                .wait_of(next, hedge.methods)
                .clamp(hedge.patience, longest),
            None => hedge.patience,
        }
    }

    /// The next answer while there is nobody else to ask. Where others have failed, whoever turns out to be silent meanwhile
    /// is not waited for any longer.
    fn arrival_of_last<T: Send + 'static>(
        &self,
        awaited: &mut Awaited<T>,
        hedge: &Hedge<T>,
        has_failed: bool,
    ) -> Option<Arrival<T>> {
        let deadline = self.clock.now() + hedge.with_last;
        loop {
            let look_at = match has_failed {
                true => deadline.min(self.clock.now() + hedge.patience_with_last()),
                false => deadline,
            };
            let arrival = self.arrival_until(awaited, look_at);
            // Sooner, nobody is left who could answer.
            let is_over = look_at == deadline || self.clock.now() < look_at;
            if arrival.is_some() || is_over || self.may_wait_in_vain(hedge, awaited) {
                return arrival;
            }
        }
    }

    /// Only such are waited for as have last stayed silent. One more silence may take minutes, since a question is many calls:
    /// where something is due, whoever has failed otherwise may well answer before that, when it is asked again.
    fn may_wait_in_vain<T>(&self, hedge: &Hedge<T>, awaited: &Awaited<T>) -> bool {
        let now = self.clock.now();
        let is_silent = |endpoint: &Endpoint| endpoint.with_health(|health| health.is_silent(now));
        hedge.purpose == Purpose::Prepare && awaited.unanswered.iter().all(is_silent)
    }

    /// The first answer, or one with news that was asked for beside it and comes soon; who lets it wait is set back.
    fn with_news<T: Send + 'static>(
        &self,
        first: (Endpoint, T),
        awaited: &mut Awaited<T>,
        hedge: &Hedge<T>,
    ) -> (Endpoint, T) {
        let mut best = first;
        let deadline = self.clock.now() + hedge.news_within();
        while !hedge.has_news(&best.1) {
            match self.arrival_until(awaited, deadline) {
                Some((endpoint, Ok(answer))) => best = (endpoint, answer),
                Some((_, Err(_))) => {}
                None => break,
            }
        }
        awaited
            .unanswered
            .iter()
            .for_each(|slow| self.set_back(slow));
        best
    }

    /// The next answer; None when none comes until then, or none is awaited.
    fn arrival_until<T: Send + 'static>(
        &self,
        awaited: &mut Awaited<T>,
        deadline: Instant,
    ) -> Option<Arrival<T>> {
        if awaited.unanswered.is_empty() {
            return None;
        }
        let arrival = self.clock.recv_deadline(&awaited.arrivals, deadline).ok()?;
        awaited.unanswered.retain(|waiting| *waiting != arrival.0);
        Some(arrival)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::base::clock::Clock;
    use crate::base::metrics::Metrics;
    use crate::chain::script::{answer_calls, Script};
    use crate::chain::transport::{Answer, Transport};
    use crate::chain::types::{Address, BlockId};

    const BALANCE: &[Method] = &[Method::GetBalance];

    #[test]
    fn where_something_is_due_one_that_was_silent_is_not_waited_for_after_the_others_have_failed() {
        let (let_go, held) = bounded::<()>(0);
        // Whether the question ends before the silent one has answered: that it is silent was known, or turns out meanwhile.
        let ends = |purpose, (was_silent, turns_silent): (bool, bool), within: Duration| {
            let held = held.clone();
            let silent = Script::of_requests("http://a", move |_| {
                // Until the test is over.
                let _ = held.recv();
                Err(RpcError::transport("timed out"))
            });
            let behind = Script::of_requests("http://b", |request| {
                Ok(Answer::json(answer_calls(
                    request,
                    |method, _| match method {
                        "eth_chainId" => Ok(json!("0x7a69")),
                        _ => Err(json!({"code": -32000, "message": "header not found"})),
                    },
                )))
            });
            let scripts: Vec<Arc<dyn Transport>> = vec![Arc::new(silent), Arc::new(behind)];
            let clock = Clock::system();
            let endpoints = Endpoints::over(scripts, 31_337, clock, &Metrics::default());
            let note_silence = |endpoints: &Endpoints| {
                let error = RpcError::transport("timed out");
                endpoints.note_failure(&endpoints.list()[0], BALANCE, &error);
            };
            if was_silent {
                note_silence(&endpoints);
            }
            let asked = endpoints.clone();
            let (told, heard) = bounded(1);
            std::thread::spawn(move || {
                let patience = Duration::from_millis(5);
                let answer = asked.hedged(purpose, BALANCE, patience, |endpoint| {
                    endpoint.balance(Address::zero(), BlockId::Latest)
                });
                let _ = told.send(answer.is_err());
            });
            if turns_silent {
                let other = &endpoints.list()[1];
                while endpoints.wait_of(other, BALANCE).is_zero() {
                    std::thread::yield_now();
                }
                note_silence(&endpoints);
            }
            heard.recv_timeout(within) == Ok(true)
        };
        let soon = Duration::from_millis(300);
        let in_time = Duration::from_secs(20);
        assert!(!ends(Purpose::Prepare, (false, false), soon));
        assert!(!ends(Purpose::Follow, (true, false), soon));
        assert!(ends(Purpose::Prepare, (true, false), in_time));
        assert!(ends(Purpose::Prepare, (false, true), in_time));
        drop(let_go);
    }

    #[test]
    fn one_that_is_behind_or_has_just_failed_is_asked_late_beside_another_and_at_once_in_its_place()
    {
        let (let_go, held) = bounded::<()>(0);
        let left_alone_for =
            |endpoints: &Endpoints| endpoints.wait_of(&endpoints.list()[1], BALANCE);
        // How long it takes until the second has answered for the first, which hangs or fails.
        let answered_after = |hangs: bool, is_behind: bool, waits: Duration, patience: Duration| {
            let held = held.clone();
            let first = Script::of_requests("http://a", move |_| {
                if hangs {
                    // Until the test is over.
                    let _ = held.recv();
                }
                Err(RpcError::transport("connection refused"))
            });
            let second = Script::of_calls("http://b", |method, _| match method {
                "eth_chainId" => Ok(json!("0x7a69")),
                _ => Ok(json!("0x5")),
            });
            let scripts: Vec<Arc<dyn Transport>> = vec![Arc::new(first), Arc::new(second)];
            let endpoints = Endpoints::over(scripts, 31_337, Clock::system(), &Metrics::default());
            let [ahead, other] = endpoints.list() else {
                panic!("two");
            };
            endpoints.note_head(ahead, 100, 5_000);
            endpoints.note_head(other, 90, if is_behind { 4_990 } else { 4_998 });
            // How long it is to be left alone is left to chance.
            while left_alone_for(&endpoints) < waits {
                endpoints.note_failure(other, BALANCE, &RpcError::behind("no such block"));
            }
            let begun = Instant::now();
            let answer = endpoints.hedged(Purpose::Follow, BALANCE, patience, |endpoint| {
                endpoint.balance(Address::zero(), BlockId::Latest)
            });
            assert_eq!(answer.unwrap().0.host(), "http://b");
            begun.elapsed()
        };
        let (short, long) = (Duration::from_millis(40), Duration::from_secs(1));
        let (none, some) = (Duration::ZERO, Duration::from_millis(100));
        let late = short * NO_HASTE_TIMES;
        assert!(answered_after(true, true, none, short) >= late);
        assert!(answered_after(true, false, none, long) < long * NO_HASTE_TIMES);
        assert!(answered_after(false, true, none, long) < long);
        assert!(answered_after(true, false, some, short) > short * 2);
        assert!(answered_after(false, false, some, long) < long);
        drop(let_go);
    }
}
