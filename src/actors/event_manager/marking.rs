//! Reads the tags `safe` and `finalized` once a minute; what they mean stands in `marks`.

use std::time::{Duration, Instant};

use crate::actors::event_manager::input::Input;
use crate::actors::event_manager::marks::{finality, MarksRead};
use crate::actors::event_manager::EventManager;
use crate::chain::error::RpcError;
use crate::chain::types::BlockId;
use crate::lottery::state::Update;

const EVERY: Duration = Duration::from_secs(60);
/// An answer that did not come is asked for again after this.
const AGAIN: Duration = Duration::from_secs(10);

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
