//! The blocks up to which the chain promises to change nothing any more: `safe` and `finalized`, read once a minute.
//! Where a chain has no such tags, a depth stands in for them.

use std::time::{Duration, Instant};

use crate::actors::event_manager::{EventManager, Input};
use crate::chain::error::RpcError;
use crate::chain::types::BlockId;
use crate::lottery::snapshot::Finality;
use crate::lottery::state::Update;

/// Without the tags `safe` and `finalized`, blocks this deep count as final.
const FINALITY_DEPTH: u64 = 64;
const EVERY: Duration = Duration::from_secs(60);
/// An answer that did not come is asked for again after this.
const AGAIN: Duration = Duration::from_secs(10);

/// What is known of the tags.
#[derive(Default)]
pub(super) struct Marks {
    is_asked: bool,
    due: Option<Instant>,
    /// The chain has the tags: a failure to read them is just that.
    known: MarksRead,
}

/// The numbers behind the tags; None where the node does not say.
#[derive(Clone, Copy, Debug, Default)]
pub struct MarksRead {
    safe: Option<u64>,
    finalized: Option<u64>,
}

impl EventManager {
    pub(super) fn start_marks(&mut self, now: Instant) {
        let following = &mut self.following;
        let is_due = following.marks.due.is_none_or(|due| now >= due);
        let endpoint = match &following.endpoint {
            Some(endpoint) if is_due && !following.marks.is_asked => endpoint.clone(),
            _ => return,
        };
        let work = move || {
            let number = |tag| match endpoint.header(tag) {
                Ok(header) => Ok(Some(header.number)),
                // No such tag, or no such block yet.
                Err(error) if !error.is_passing() => Ok(None),
                Err(error) => Err(error),
            };
            Ok(MarksRead {
                finalized: number(BlockId::Finalized)?,
                safe: number(BlockId::Safe)?,
            })
        };
        let as_input = |result: Result<MarksRead, RpcError>| Input::Marks { result };
        following.marks.is_asked = following.jobs.start(&self.clock, "marks", work, as_input);
        following.marks.due = Some(now + AGAIN);
    }

    pub(super) fn marks_wake_at(&self, now: Instant) -> Option<Instant> {
        let marks = &self.following.marks;
        let can_ask = self.following.endpoint.is_some() && !marks.is_asked;
        can_ask.then(|| marks.due.unwrap_or(now))
    }

    pub(super) fn take_marks(
        &mut self,
        result: Result<MarksRead, RpcError>,
        now: Instant,
    ) -> Result<(), String> {
        let following = &mut self.following;
        following.marks.is_asked = false;
        let read = match result {
            Ok(read) => read,
            Err(error) => {
                log::debug!("finality: {error}");
                return Ok(());
            }
        };
        let Some(tip) = following.cursor.tip() else {
            return Ok(());
        };
        let marks = &mut following.marks;
        marks.due = Some(now + EVERY);
        marks.known = MarksRead {
            safe: read.safe.or(marks.known.safe),
            finalized: read.finalized.or(marks.known.finalized),
        };
        let finality = finality(marks.known, tip.number);
        self.send(Update::Finality(finality))
    }
}

/// What counts as safe and final at this head.
fn finality(marks: MarksRead, tip: u64) -> Finality {
    let by_depth = tip.saturating_sub(FINALITY_DEPTH);
    let finalized_block = marks.finalized.or(marks.safe).unwrap_or(by_depth).min(tip);
    let safe_block = marks.safe.unwrap_or(finalized_block);
    Finality {
        safe_block: safe_block.max(finalized_block).min(tip),
        finalized_block,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_count_where_they_are_known_and_a_depth_where_not() {
        let of = |safe, finalized, tip| {
            let finality = finality(MarksRead { safe, finalized }, tip);
            (finality.safe_block, finality.finalized_block)
        };
        assert_eq!(of(Some(90), Some(80), 100), (90, 80));
        assert_eq!(of(None, Some(80), 100), (80, 80));
        assert_eq!(of(Some(90), None, 100), (90, 90));
        assert_eq!(of(None, None, 100), (36, 36));
        assert_eq!(of(None, None, 10), (0, 0));
        // Nothing above the head that is shown.
        assert_eq!(of(Some(190), Some(180), 100), (100, 100));
        // Nothing is safe less than final.
        assert_eq!(of(Some(70), Some(80), 100), (80, 80));
    }
}
