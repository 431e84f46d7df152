//! What the contract can have logged, and in which order: its own rules, played along with its events. An event that does
//! not follow from those before it was changed on the way, made up, or had others before it that were left out. Whether
//! winner, prize and sums are right is `proof`'s and `audit`'s business. Pure.

use serde::{Deserialize, Serialize};

use crate::chain::types::{Address, H256, U256};
use crate::lottery::calendar::Calendar;
use crate::lottery::continuity::{around, Tally};
use crate::lottery::event::{EventRecord, LotteryEvent};
use crate::lottery::proof::{OPERATORS_REFUND, PUBLIC_REFUND, TOO_FEW_PLAYERS};
use crate::lottery::round::{ContractConfig, Round, RoundState, RoundTimes};

const REASONS: [&str; 3] = [TOO_FEW_PLAYERS, OPERATORS_REFUND, PUBLIC_REFUND];

/// Follows the events in chain order. What is not known when it begins is taken from the first event that tells it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Rules {
    calendar: Calendar,
    min_extension_secs: u64,
    /// What is in force, and the block at whose end it was read: what that block logs of it is no news.
    read_at: u64,
    operator: Option<Address>,
    min_bet_wei: Option<U256>,
    min_participants: Option<u64>,
    /// Block and time of the newest event.
    newest: Option<(u64, u64)>,
    tally: Option<Tally>,
    /// An end of which not everything has been seen yet.
    ending: Option<Ending>,
}

/// What an event is to the rules.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ruled {
    /// For one that ends a round: that round's times, where they are known.
    pub times: Option<RoundTimes>,
    /// What of it the contract cannot have logged, and in which round.
    pub broken: Vec<(Option<u64>, String)>,
}

/// One transaction ends a round and makes the next; it logs three things of that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
struct Ending {
    transaction: H256,
    /// Which round went from which state to which: as its change tells it, and as its end does.
    change: Option<(u64, u8, u8)>,
    end: Option<(u64, u8, u8)>,
    /// The round before the one that was made.
    before_created: Option<u64>,
}

impl Rules {
    /// Of the contract with this configuration. `before` is what was in force at the end of a block before the first event,
    /// or of its own block, where that is known; `is_whole` says that the first event is the first of all.
    pub fn new(
        config: &ContractConfig,
        before: Option<&(u64, ContractConfig)>,
        is_whole: bool,
    ) -> Rules {
        let in_force = before.map(|(_, config)| config);
        let betting_secs = in_force.map(|config| config.betting_duration_secs);
        Rules {
            calendar: Calendar::new(config, betting_secs),
            min_extension_secs: config.min_end_time_extension_secs,
            read_at: before.map_or(0, |(number, _)| *number),
            operator: in_force.map(|config| config.operator),
            min_bet_wei: in_force.map(|config| config.min_bet_wei),
            min_participants: in_force.map(|config| config.min_participants),
            newest: None,
            tally: is_whole.then(Tally::beginning),
            ending: None,
        }
    }

    /// Takes the next event.
    pub fn take(&mut self, record: &EventRecord) -> Ruled {
        let running = self.tally.map(|tally| tally.round_id());
        let mut broken: Vec<(Option<u64>, String)> = Vec::new();
        if let Some(ended) = self.unfinished_before(record) {
            broken.push((ended.round_id(), ended.lacks()));
        }
        let why = self
            .out_of_time(record)
            .or_else(|| self.out_of_order(&record.event))
            .or_else(|| self.against_the_rules(record));
        self.take_setting(record);
        if let Some((_, after)) = around(&record.event) {
            self.tally = Some(after);
        }
        let ended_as_told = self.take_end(record);
        let what = (record.event.name(), record.position.block_number);
        let told = why.or(ended_as_told);
        let told = told.map(|why| format!("{} in block {}: {why}", what.0, what.1));
        broken.extend(told.map(|why| (running.or(record.event.round_id()), why)));
        Ruled {
            times: self.calendar.take(record),
            broken,
        }
    }

    /// What the newest block's state has otherwise than the events have led to: they are not all there, or not as they
    /// were logged.
    pub fn close(&self, config: &ContractConfig, round: &Round) -> Vec<String> {
        let mut found = Vec::new();
        found.extend(self.ending.as_ref().map(Ending::lacks));
        let mut compare = |what: &str, logged: Option<String>, held: String| {
            if let Some(logged) = logged.filter(|logged| *logged != held) {
                found.push(format!(
                    "{what}: {held} by the contract's state, {logged} by its logs"
                ));
            }
        };
        compare(
            "operator",
            self.operator.map(|address| format!("{address:#x}")),
            format!("{:#x}", config.operator),
        );
        compare(
            "least bet in wei",
            self.min_bet_wei.map(|wei| wei.to_string()),
            config.min_bet_wei.to_string(),
        );
        compare(
            "seconds of betting",
            self.calendar.betting_secs().map(|secs| secs.to_string()),
            config.betting_duration_secs.to_string(),
        );
        compare(
            "players that a draw needs",
            self.min_participants.map(|count| count.to_string()),
            config.min_participants.to_string(),
        );
        let held = Tally::from(round);
        compare(
            "running round",
            self.tally.map(|tally| tally.to_string()),
            held.to_string(),
        );
        let logged = self
            .calendar
            .running()
            .filter(|times| times.start_time > 0 && self.tally == Some(held));
        let window = |times: RoundTimes| {
            format!(
                "from {} to {}, drawn from {} to {}",
                times.start_time, times.end_time, times.min_draw_time, times.max_draw_time
            )
        };
        if let Some(times) = round.times() {
            compare("its times", logged.map(window), window(times));
        }
        found
    }

    /// All events of a block have its time, and no block is older than one below it.
    fn out_of_time(&mut self, record: &EventRecord) -> Option<String> {
        let position = &record.position;
        let (block, time) = (position.block_number, position.block_timestamp);
        let (older, before) = self.newest.replace((block, time))?;
        let fits = match block == older {
            true => time == before,
            false => time >= before,
        };
        (!fits).then(|| format!("its time is {time}, after {before} in block {older}"))
    }

    /// Each bet and each end follow from the pot before them, and a round begins when the last has ended.
    fn out_of_order(&self, event: &LotteryEvent) -> Option<String> {
        let (before, _) = around(event)?;
        let tally = self.tally.filter(|tally| Some(*tally) != before)?;
        Some(format!("it does not follow from {tally}"))
    }

    fn against_the_rules(&self, record: &EventRecord) -> Option<String> {
        let time = record.position.block_timestamp;
        let is_news = record.position.block_number > self.read_at;
        let is_begun = self.tally.is_some_and(|tally| tally.is_begun());
        match &record.event {
            LotteryEvent::BetPlaced { round_id, .. } => {
                let times = self.calendar.running()?;
                let is_taken = (times.start_time..=times.end_time).contains(&time);
                (times.round_id == *round_id && !is_taken).then(|| {
                    format!(
                        "it was placed at {time}, bets were taken from {} to {}",
                        times.start_time, times.end_time
                    )
                })
            }
            LotteryEvent::EndTimeExtended {
                round_id,
                old_end_time,
                new_end_time,
            } => self.extended(*round_id, (*old_end_time, *new_end_time), time),
            LotteryEvent::RoundStateChanged {
                old_state,
                new_state,
                ..
            } => {
                use RoundState::{Betting, Completed, Drawing, Refunded, Waiting};
                let is_made = matches!(
                    (old_state, new_state),
                    (Waiting, Betting) | (Drawing, Completed) | (Drawing | Betting, Refunded)
                );
                (!is_made).then(|| "the contract never logs such a change".to_owned())
            }
            LotteryEvent::RoundCompleted {
                participant_count, ..
            } => {
                let least = self.min_participants?;
                (*participant_count < least)
                    .then(|| format!("{participant_count} players, where a draw needs {least}"))
            }
            LotteryEvent::RoundRefunded {
                participant_count,
                reason,
                ..
            } => self.refunded(*participant_count, reason),
            LotteryEvent::RoundCreated {
                start_time,
                end_time,
                min_draw_time,
                max_draw_time,
                ..
            } => {
                let times = [start_time, end_time, min_draw_time, max_draw_time];
                let is_blank = times.into_iter().all(|time| *time == 0);
                (!is_blank).then(|| "it names times of a round that has not begun".to_owned())
            }
            LotteryEvent::OperatorUpdated { old_operator, .. } if is_news => {
                changed(is_begun, self.operator, old_operator)
            }
            LotteryEvent::MinBetAmountUpdated { old_amount_wei, .. } if is_news => {
                changed(is_begun, self.min_bet_wei, old_amount_wei)
            }
            LotteryEvent::BettingDurationUpdated {
                old_duration_secs, ..
            } if is_news => changed(is_begun, self.calendar.betting_secs(), old_duration_secs),
            LotteryEvent::MinParticipantsUpdated { old_min, .. } if is_news => {
                changed(is_begun, self.min_participants, old_min)
            }
            _ => None,
        }
    }

    fn extended(&self, round_id: u64, (old, new): (u64, u64), time: u64) -> Option<String> {
        let is_running = |tally: Tally| tally.is_begun() && tally.round_id() == round_id;
        if !self.tally.is_none_or(is_running) {
            return Some(format!("round {round_id} takes no bets"));
        }
        let known = self.calendar.running().map(|times| times.end_time);
        if let Some(known) = known.filter(|known| *known != old) {
            return Some(format!("betting was to end at {known}, not at {old}"));
        }
        let least = time
            .saturating_add(self.min_extension_secs)
            .max(old.saturating_add(1));
        (new < least || time > old).then(|| format!("at {time} it cannot be moved to {new}"))
    }

    fn refunded(&self, participant_count: u64, reason: &str) -> Option<String> {
        if !REASONS.contains(&reason) {
            return Some("the contract never gives such a reason".to_owned());
        }
        let least = self
            .min_participants
            .filter(|_| reason == TOO_FEW_PLAYERS)?;
        (participant_count >= least)
            .then(|| format!("{participant_count} players are enough for a draw"))
    }

    fn take_setting(&mut self, record: &EventRecord) {
        if record.position.block_number <= self.read_at {
            return;
        }
        match &record.event {
            LotteryEvent::OperatorUpdated { new_operator, .. } => {
                self.operator = Some(*new_operator);
            }
            LotteryEvent::MinBetAmountUpdated { new_amount_wei, .. } => {
                self.min_bet_wei = Some(*new_amount_wei);
            }
            LotteryEvent::MinParticipantsUpdated { new_min, .. } => {
                self.min_participants = Some(*new_min);
            }
            _ => {}
        }
    }

    /// An end that lacks something, where this event is not of its transaction.
    fn unfinished_before(&mut self, record: &EventRecord) -> Option<Ending> {
        let is_same = |ending: &mut Ending| {
            let is_part = Part::of(&record.event).is_some_and(|part| !ending.has(part));
            ending.transaction == record.position.transaction_hash && is_part
        };
        self.ending.take_if(|ending| !is_same(ending))
    }

    /// Takes a part of an end; once all are there, whether they tell the same.
    fn take_end(&mut self, record: &EventRecord) -> Option<String> {
        let part = Part::of(&record.event)?;
        let ending = self.ending.get_or_insert_with(|| Ending {
            transaction: record.position.transaction_hash,
            ..Ending::default()
        });
        match part {
            Part::Change(round_id, from, to) => ending.change = Some((round_id, from, to)),
            Part::End(round_id, from, to) => ending.end = Some((round_id, from, to)),
            Part::Created(before) => ending.before_created = Some(before),
        }
        if !ending.is_whole() {
            return None;
        }
        let ending = self.ending.take()?;
        let ended = ending.end.map(|(round_id, ..)| round_id);
        (ending.change != ending.end || ending.before_created != ended)
            .then(|| "what its transaction logs beside it is of another end".to_owned())
    }
}

/// What an end logs.
#[derive(Clone, Copy)]
enum Part {
    Change(u64, u8, u8),
    End(u64, u8, u8),
    Created(u64),
}

impl Part {
    fn of(event: &LotteryEvent) -> Option<Part> {
        use RoundState::{Betting, Completed, Drawing, Refunded, Waiting};
        match event {
            LotteryEvent::RoundStateChanged {
                new_state: Waiting | Betting,
                ..
            } => None,
            LotteryEvent::RoundStateChanged {
                round_id,
                old_state,
                new_state,
            } => Some(Part::Change(
                *round_id,
                old_state.number(),
                new_state.number(),
            )),
            LotteryEvent::RoundCompleted { round_id, .. } => {
                Some(Part::End(*round_id, Drawing.number(), Completed.number()))
            }
            LotteryEvent::RoundRefunded {
                round_id, reason, ..
            } => {
                let from = match reason == TOO_FEW_PLAYERS {
                    true => Drawing,
                    false => Betting,
                };
                Some(Part::End(*round_id, from.number(), Refunded.number()))
            }
            LotteryEvent::RoundCreated { round_id, .. } => {
                Some(Part::Created(round_id.saturating_sub(1)))
            }
            _ => None,
        }
    }
}

impl Ending {
    fn has(&self, part: Part) -> bool {
        match part {
            Part::Change(..) => self.change.is_some(),
            Part::End(..) => self.end.is_some(),
            Part::Created(_) => self.before_created.is_some(),
        }
    }

    fn is_whole(&self) -> bool {
        self.change.is_some() && self.end.is_some() && self.before_created.is_some()
    }

    fn round_id(&self) -> Option<u64> {
        let told = self.end.or(self.change).map(|(round_id, ..)| round_id);
        told.or(self.before_created)
    }

    fn lacks(&self) -> String {
        let parts = [
            (self.change.is_none(), "RoundStateChanged"),
            (self.end.is_none(), "RoundCompleted or RoundRefunded"),
            (self.before_created.is_none(), "RoundCreated"),
        ];
        let missing = parts.into_iter().filter(|(is_missing, _)| *is_missing);
        let missing: Vec<&str> = missing.map(|(_, name)| name).collect();
        format!("an end was logged without {}", missing.join(", without "))
    }
}

/// A setting is changed between rounds alone, from what it was.
fn changed<T: PartialEq + std::fmt::Debug>(
    is_begun: bool,
    in_force: Option<T>,
    old: &T,
) -> Option<String> {
    if is_begun {
        return Some("settings cannot be changed while a round runs".to_owned());
    }
    let in_force = in_force.filter(|in_force| in_force != old)?;
    Some(format!("{in_force:?} was in force before, not {old:?}"))
}

#[cfg(test)]
mod tests;
