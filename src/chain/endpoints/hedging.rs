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
            with_last: hedge.patience.max(hedge.news_within()),
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
            let wait = match next.is_some() {
                true => hedge.patience,
                false => hedge.with_last,
            };
            match self.arrival_until(&mut awaited, self.clock.now() + wait) {
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
