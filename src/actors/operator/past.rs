//! PURE: what the feed tells of the operator's own last day: extensions, and the actions that cost something.

use crate::lottery::event::{EventRecord, LotteryEvent};
use crate::lottery::snapshot::{LiveFeedItem, Snapshot};

const DAY_SECS: u64 = 86_400;

/// How often the round was extended, and how often any round was in the last day, as far as the feed goes back.
pub(super) fn extensions(snapshot: &Snapshot, round_id: u64, carried_time: u64) -> (u32, usize) {
    let mut of_round = 0;
    let mut in_a_day = 0;
    for record in events(snapshot) {
        if let LotteryEvent::EndTimeExtended { round_id: of, .. } = record.event {
            in_a_day += usize::from(is_of_last_day(record, carried_time));
            of_round += u32::from(of == round_id);
        }
    }
    (of_round, in_a_day)
}

pub(super) fn events(snapshot: &Snapshot) -> impl Iterator<Item = &EventRecord> {
    snapshot.live_feed.iter().filter_map(|item| match item {
        LiveFeedItem::Event(record) => Some(record.as_ref()),
        LiveFeedItem::Alert(_) => None,
    })
}

pub(super) fn is_of_last_day(record: &EventRecord, carried_time: u64) -> bool {
    record.position.block_timestamp > carried_time.saturating_sub(DAY_SECS)
}

pub(super) fn is_operators_work(event: &LotteryEvent) -> bool {
    event.ended_round().is_some() || matches!(event, LotteryEvent::EndTimeExtended { .. })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::lottery::event::LogPosition;
    use crate::lottery::state::unread;

    #[test]
    fn extensions_are_those_of_the_chain_whoever_was_started_since() {
        let mut snapshot = unread();
        const NOW: u64 = 1_000_000;
        let feed = [
            (7, NOW - DAY_SECS),
            (6, NOW - 60_000),
            (7, NOW - 50_000),
            (7, NOW - 10),
        ];
        for (round_id, block_timestamp) in feed {
            let event = LotteryEvent::EndTimeExtended {
                round_id,
                old_end_time: NOW,
                new_end_time: NOW,
            };
            let position = LogPosition {
                block_timestamp,
                ..LogPosition::default()
            };
            let record = Arc::new(EventRecord { event, position });
            snapshot.live_feed.push(LiveFeedItem::Event(record));
        }
        assert_eq!(extensions(&snapshot, 7, NOW), (3, 3));
        assert_eq!(extensions(&snapshot, 8, NOW + 40_000), (0, 1));
    }
}
