//! The looks at the head that have not answered, and what a look brings. When one is due and what it asks stands in
//! `looking`.

use std::time::{Duration, Instant};

use crate::actors::reader::Reading;
use crate::chain::method::Method;
use crate::chain::node::Endpoint;
use crate::chain::types::H256;

/// What the live state alone cannot do without.
pub(super) const LIVE: &[Method] = &[Method::BlockByNumber, Method::Call];
/// A look that takes so many times its patience is overtaken by one for the live state alone.
const OVERTAKEN_AFTER: u32 = 3;
/// After so many doubtful looks in a row less is asked for.
const LESS_AFTER: u32 = 2;
/// How long an endpoint that may show more is waited for, and how often that is doubled at most.
const NEWS_WITHIN: Duration = Duration::from_secs(2);
const NEWS_DOUBLINGS_MAX: u32 = 3;
/// While a block is overdue another endpoint is asked whether it has it, ever less often.
pub(super) const SECOND_OPINION_MIN: Duration = Duration::from_secs(2);

/// What a look brought, and of whom.
pub struct Look {
    pub(super) endpoint: Endpoint,
    pub(super) reading: Reading,
    /// It shows less than there should be, and nobody else has shown more in time. None where it shows nothing new and
    /// nobody else was asked, which says nothing either way.
    pub(super) is_doubtful: Option<bool>,
}

/// The looks that have not answered: one, or one and the second that overtakes it.
pub(super) struct Looks {
    pub(super) waiting: Vec<Waiting>,
    pub(super) next_id: u64,
    /// So many looks in a row were doubtful.
    pub(super) doubtful: u32,
    /// One that should overtake the first brought nothing: the next one rests until then.
    overtakes_again: Option<Instant>,
    /// When another endpoint was last asked for a block that is overdue, and how long it is left alone after that.
    pub(super) second_opinion: (Option<Instant>, Duration),
}

pub(super) struct Waiting {
    pub(super) id: u64,
    pub(super) since: Instant,
    pub(super) live_only: bool,
    pub(super) is_announced: bool,
    /// The cursor's tip when it was asked: what it brings continues that, or is of no use.
    pub(super) tip: Option<H256>,
}

impl Default for Looks {
    fn default() -> Looks {
        Looks {
            waiting: Vec::new(),
            next_id: 0,
            doubtful: 0,
            overtakes_again: None,
            second_opinion: (None, SECOND_OPINION_MIN),
        }
    }
}

impl Looks {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes the look off the list; None when it was overtaken.
    pub(super) fn end(&mut self, id: u64) -> Option<Waiting> {
        let index = self.waiting.iter().position(|look| look.id == id)?;
        Some(self.waiting.remove(index))
    }

    /// How a look has ended.
    pub(super) fn note(&mut self, is_doubtful: Option<bool>) {
        self.doubtful = match is_doubtful {
            Some(true) => self.doubtful.saturating_add(1),
            Some(false) => 0,
            None => self.doubtful,
        };
    }

    /// Whoever could show more is too slow to do so with all logs: the next look asks for the live state alone.
    pub(super) fn asks_for_less(&self) -> bool {
        self.doubtful >= LESS_AFTER
    }

    /// How long whoever may show more is waited for: ever longer while nobody does, until the slowest has had its say.
    pub(super) fn news_within(&self) -> Duration {
        NEWS_WITHIN * (1 << self.doubtful.min(NEWS_DOUBLINGS_MAX))
    }

    /// The head has moved: whatever else is out there began from an older one.
    pub(super) fn overtake_all(&mut self) {
        self.waiting.clear();
    }

    /// One of two has brought nothing, or could not begin. It may have failed at once, as it does when every endpoint is
    /// still busy with an earlier question: without a rest the next would follow on its heels.
    pub(super) fn rest_until(&mut self, at: Instant) {
        self.overtakes_again = Some(at);
    }

    /// When a look for the live state alone goes out beside the one that is waited for; None where there are two, or where
    /// it would ask for nothing less. `patience` is what a look that began then is given.
    pub(super) fn overtaken_at(
        &self,
        patience: impl FnOnce(Instant) -> Duration,
    ) -> Option<Instant> {
        let [look] = &self.waiting[..] else {
            return None;
        };
        let asks_for_logs = !look.live_only && look.tip.is_some();
        let at = look.since + patience(look.since) * OVERTAKEN_AFTER;
        asks_for_logs.then(|| self.overtakes_again.map_or(at, |again| again.max(at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    fn waiting(since: Instant, live_only: bool) -> Waiting {
        Waiting {
            id: 0,
            since,
            live_only,
            is_announced: false,
            tip: Some(H256::repeat_byte(1)),
        }
    }

    #[test]
    fn a_look_that_hangs_is_overtaken_and_one_that_overtakes_in_vain_rests_before_the_next() {
        let start = Instant::now();
        let at = |looks: &Looks| looks.overtaken_at(|_| PATIENCE).map(|at| at - start);
        let mut looks = Looks::default();
        assert_eq!(at(&looks), None);
        looks.waiting.push(waiting(start, false));
        assert_eq!(at(&looks), Some(PATIENCE * OVERTAKEN_AFTER));
        looks.waiting.push(waiting(start, true));
        assert_eq!(at(&looks), None, "two are enough");
        looks.waiting.pop();
        looks.rest_until(start + PATIENCE);
        assert_eq!(at(&looks), Some(PATIENCE * OVERTAKEN_AFTER));
        looks.rest_until(start + PATIENCE * 9);
        assert_eq!(at(&looks), Some(PATIENCE * 9));
        looks.waiting[0].live_only = true;
        assert_eq!(at(&looks), None, "there is nothing less to ask for");
    }

    #[test]
    fn after_two_doubtful_looks_less_is_asked_for_until_one_is_sound() {
        let mut looks = Looks::default();
        looks.note(Some(true));
        assert!(!looks.asks_for_less());
        assert_eq!(looks.news_within(), NEWS_WITHIN * 2);
        looks.note(Some(true));
        assert!(looks.asks_for_less());
        looks.note(None);
        assert!(looks.asks_for_less(), "nobody was asked");
        (0..99).for_each(|_| looks.note(Some(true)));
        assert_eq!(looks.news_within(), Duration::from_secs(16));
        looks.note(Some(false));
        assert!(!looks.asks_for_less());
        assert_eq!(looks.news_within(), NEWS_WITHIN);
        looks.note(Some(true));
        assert!(!looks.asks_for_less());
    }
}
