//! When each round begins, ends and can be drawn, as the contract's events alone tell it: a round begins in the block that
//! logs it, lasts as long as betting lasts by then, and is extended by events of its own. So no old state has to be
//! asked for. Pure.

use serde::{Deserialize, Serialize};

use crate::lottery::event::{EventRecord, LotteryEvent};
use crate::lottery::round::{ContractConfig, RoundState, RoundTimes};

/// Follows the events in chain order.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Calendar {
    /// None while nothing has told it.
    betting_secs: Option<u64>,
    /// From the end of betting; they are the contract's for ever.
    min_draw_delay_secs: u64,
    max_draw_delay_secs: u64,
    running: Option<RoundTimes>,
}

impl Calendar {
    /// Of the contract with this configuration; `betting_secs` is how long betting lasted before the first event, where
    /// that is known.
    pub(crate) fn new(config: &ContractConfig, betting_secs: Option<u64>) -> Calendar {
        Calendar {
            betting_secs,
            min_draw_delay_secs: config.min_draw_delay_secs,
            max_draw_delay_secs: config.max_draw_delay_secs,
            running: None,
        }
    }

    /// How long betting lasts in a round that begins now, where that is known.
    pub(crate) fn betting_secs(&self) -> Option<u64> {
        self.betting_secs
    }

    /// The times of the round that runs; None before it begins, and where nothing tells them.
    pub(crate) fn running(&self) -> Option<RoundTimes> {
        self.running
    }

    /// Takes the next event; for one that ends a round, that round's times, where they are known.
    pub(crate) fn take(&mut self, record: &EventRecord) -> Option<RoundTimes> {
        match &record.event {
            LotteryEvent::BettingDurationUpdated {
                new_duration_secs, ..
            } => self.betting_secs = Some(*new_duration_secs),
            LotteryEvent::RoundStateChanged {
                round_id,
                new_state: RoundState::Betting,
                ..
            } => {
                let start_time = record.position.block_timestamp;
                let lasts = self.betting_secs;
                self.running = lasts.map(|lasts| {
                    self.times(*round_id, start_time, start_time.saturating_add(lasts))
                });
            }
            LotteryEvent::EndTimeExtended {
                round_id,
                new_end_time,
                ..
            } => {
                let known = self.running.filter(|times| times.round_id == *round_id);
                let start_time = known.map_or(0, |times| times.start_time);
                self.running = Some(self.times(*round_id, start_time, *new_end_time));
            }
            event => {
                let ended = event.ended_round()?;
                return self.running.take().filter(|times| times.round_id == ended);
            }
        }
        None
    }

    fn times(&self, round_id: u64, start_time: u64, end_time: u64) -> RoundTimes {
        RoundTimes {
            round_id,
            start_time,
            end_time,
            min_draw_time: end_time.saturating_add(self.min_draw_delay_secs),
            max_draw_time: end_time.saturating_add(self.max_draw_delay_secs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::types::{Address, H256, U256};
    use crate::lottery::event::LogPosition;

    fn calendar(betting_secs: Option<u64>) -> Calendar {
        Calendar {
            betting_secs,
            min_draw_delay_secs: 5,
            max_draw_delay_secs: 180,
            running: None,
        }
    }

    fn at(block_timestamp: u64, event: LotteryEvent) -> EventRecord {
        let position = LogPosition {
            block_number: 1,
            block_hash: H256::zero(),
            block_timestamp,
            transaction_hash: H256::zero(),
            transaction_index: 0,
            log_index: 0,
        };
        EventRecord { event, position }
    }

    fn begun(round_id: u64, time: u64) -> EventRecord {
        let (old_state, new_state) = (RoundState::Waiting, RoundState::Betting);
        at(
            time,
            LotteryEvent::RoundStateChanged {
                round_id,
                old_state,
                new_state,
            },
        )
    }

    fn ended(round_id: u64) -> EventRecord {
        at(
            9_999,
            LotteryEvent::RoundRefunded {
                round_id,
                total_refunded_wei: U256::one(),
                participant_count: 1,
                reason: String::new(),
            },
        )
    }

    fn extended(round_id: u64, new_end_time: u64) -> EventRecord {
        let old_end_time = 0;
        at(
            1_100,
            LotteryEvent::EndTimeExtended {
                round_id,
                old_end_time,
                new_end_time,
            },
        )
    }

    fn window(calendar: &mut Calendar, records: &[EventRecord]) -> Option<(u64, u64, u64)> {
        let times = records.iter().filter_map(|record| calendar.take(record));
        times
            .last()
            .map(|times| (times.start_time, times.min_draw_time, times.max_draw_time))
    }

    #[test]
    fn a_round_lasts_as_long_as_betting_lasted_when_it_began() {
        let longer = at(
            1_050,
            LotteryEvent::BettingDurationUpdated {
                old_duration_secs: 100,
                new_duration_secs: 600,
            },
        );
        let first = [begun(1, 1_000), longer.clone(), ended(1)];
        let mut known = calendar(Some(100));
        assert_eq!(window(&mut known, &first), Some((1_000, 1_105, 1_280)));
        let second = [begun(2, 2_000), ended(2)];
        assert_eq!(window(&mut known, &second), Some((2_000, 2_605, 2_780)));
        // Where nobody tells how long betting lasted at first, its first change does.
        let mut unknown = calendar(None);
        assert_eq!(window(&mut unknown, &first), None);
        assert_eq!(window(&mut unknown, &second), Some((2_000, 2_605, 2_780)));
    }

    #[test]
    fn an_extension_moves_the_window() {
        let events = [begun(1, 1_000), extended(1, 5_000), ended(1)];
        let moved = Some((1_000, 5_005, 5_180));
        assert_eq!(window(&mut calendar(Some(100)), &events), moved);
        let moved = Some((0, 5_005, 5_180));
        assert_eq!(window(&mut calendar(None), &events), moved);
    }

    #[test]
    fn of_another_round_nothing_is_told() {
        let mut calendar = calendar(Some(100));
        assert_eq!(window(&mut calendar, &[begun(1, 1_000), ended(2)]), None);
        assert_eq!(window(&mut calendar, &[ended(1)]), None);
        calendar.take(&begun(3, 1_000));
        let foreign = at(
            1_000,
            LotteryEvent::Withdrawn {
                to: Address::zero(),
                amount_wei: U256::one(),
            },
        );
        assert_eq!(calendar.take(&foreign), None);
        let times = [extended(4, u64::MAX), ended(4)];
        let end = u64::MAX;
        assert_eq!(window(&mut calendar, &times), Some((0, end, end)));
    }
}
