//! Whether a run of the contract's events is whole. Each bet names the pot after it and each end the pot before it, so
//! that an event which a node left out shows as a break. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::chain::types::U256;
use crate::lottery::event::LotteryEvent;
use crate::lottery::history::LoggedEvent;
use crate::lottery::round::{Round, RoundState};

/// Where the game is: which round, whether it has begun, and what is in its pot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Tally {
    round_id: u64,
    is_begun: bool,
    pot_wei: U256,
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("events of the contract are missing before log {log_index} of block {block_number}")]
pub struct Gap {
    pub block_number: u64,
    pub log_index: u64,
}

impl Tally {
    /// Before the first bet of all.
    pub(crate) fn beginning() -> Tally {
        Tally {
            round_id: 1,
            is_begun: false,
            pot_wei: U256::zero(),
        }
    }

    pub(crate) fn round_id(&self) -> u64 {
        self.round_id
    }

    /// True while bets are taken, or a draw is waited for.
    pub(crate) fn is_begun(&self) -> bool {
        self.is_begun
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let (round_id, pot_wei) = (self.round_id, self.pot_wei);
        match self.is_begun {
            true => write!(formatter, "round {round_id} with {pot_wei} wei in its pot"),
            false => write!(formatter, "round {round_id}, which has not begun"),
        }
    }
}

impl From<&Round> for Tally {
    fn from(round: &Round) -> Tally {
        Tally {
            round_id: round.round_id,
            is_begun: round.state == RoundState::Betting,
            pot_wei: round.total_pot_wei,
        }
    }
}

/// Where `events`, in chain order, lead from `tally`; None while nothing has told. Fails at the first that does not
/// follow from what came before it.
pub fn follow(tally: Option<Tally>, events: &[LoggedEvent]) -> Result<Option<Tally>, Gap> {
    events.iter().try_fold(tally, |tally, event| {
        let Some((before, after)) = around(&event.record.event) else {
            return Ok(tally);
        };
        match (tally, before) {
            (Some(tally), Some(before)) if tally == before => Ok(Some(after)),
            (None, Some(_)) => Ok(Some(after)),
            _ => Err(Gap {
                block_number: event.record.position.block_number,
                log_index: event.record.position.log_index,
            }),
        }
    })
}

/// Where the game was before the first of `events` that tells.
pub(crate) fn tally_before(events: &[LoggedEvent]) -> Option<Tally> {
    let mut told = events
        .iter()
        .filter_map(|event| around(&event.record.event));
    told.next()?.0
}

/// The tally before and after an event that moves it; a before of None can never be.
pub(crate) fn around(event: &LotteryEvent) -> Option<(Option<Tally>, Tally)> {
    let begun = |round_id, pot_wei| Tally {
        round_id,
        is_begun: true,
        pot_wei,
    };
    let waiting = |round_id| Tally {
        round_id,
        is_begun: false,
        pot_wei: U256::zero(),
    };
    Some(match *event {
        LotteryEvent::BetPlaced {
            round_id,
            amount_wei,
            new_total_wei,
            ..
        } => {
            let before = new_total_wei.checked_sub(amount_wei);
            (
                before.map(|pot_wei| begun(round_id, pot_wei)),
                begun(round_id, new_total_wei),
            )
        }
        LotteryEvent::RoundStateChanged {
            round_id,
            new_state: RoundState::Betting,
            ..
        } => (Some(waiting(round_id)), begun(round_id, U256::zero())),
        LotteryEvent::RoundCompleted {
            round_id,
            total_pot_wei: pot_wei,
            ..
        }
        | LotteryEvent::RoundRefunded {
            round_id,
            total_refunded_wei: pot_wei,
            ..
        } => (
            Some(begun(round_id, pot_wei)),
            waiting(round_id.saturating_add(1)),
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lottery::play::{branch, play};
    use proptest::prelude::*;

    proptest! {
        /// Whatever single event is left out of a chain shows: as a break, or in where the events lead.
        #[test]
        fn a_whole_chain_follows_and_one_with_an_event_missing_does_not(
            blocks in branch(0), place in any::<prop::sample::Index>(),
        ) {
            let played = play(&blocks);
            let events: Vec<LoggedEvent> = played.iter().flat_map(|(events, _)| events.clone()).collect();
            let first = Tally::beginning();
            let last = Tally::from(&played[played.len() - 1].1);
            prop_assert_eq!(follow(Some(first), &events), Ok(Some(last)));
            prop_assert_eq!(tally_before(&events), (!events.is_empty()).then_some(first));
            if events.is_empty() {
                return Ok(());
            }
            let mut holed = events;
            holed.remove(place.index(holed.len()));
            prop_assert_ne!(follow(Some(first), &holed), Ok(Some(last)));
        }
    }
}
