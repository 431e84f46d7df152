//! Shortly before the window: everything that a draw will need is looked at, and again until nothing is missing. What was
//! not looked at then, the time by which an action is due, is when it begins.

use std::time::Duration;

use crate::actors::operator::moment::Moment;
use crate::actors::operator::starting::NOT_YET_RETRY;
use crate::actors::operator::Operator;
use crate::actors::sender::{Check, ToldTime};
use crate::lottery::action::ActionKind;
use crate::lottery::alert::{AlertCode, Severity, Subject};
use crate::lottery::operator_status::Rehearsal;
use crate::lottery::round::RoundState;

/// The rehearsal is held this long before the window opens.
const BEFORE_SECS: u64 = 60;
/// While something is missing it is held again so often.
const AGAIN_AFTER: Duration = Duration::from_secs(15);
/// Blocks come unevenly, and so much sooner than time passes.
const UNEVEN_SECS: u64 = 1;

/// While the balance is told to be low it is looked at again so often, if no draw is near that would do so.
const BALANCE_EVERY: Duration = Duration::from_secs(60);

impl Operator {
    pub(super) fn rehearse_when_due(&mut self, moment: &Moment) {
        let (round, chain_time) = (&moment.round, moment.carried_time());
        let is_close = round.state == RoundState::Betting
            && !round.total_pot_wei.is_zero()
            && chain_time.saturating_add(BEFORE_SECS) >= round.min_draw_time
            && chain_time < round.min_draw_time;
        let is_due = match self.round.rehearsed {
            None => true,
            // The last blocks before the window belong to the draw.
            Some((at, missing)) => {
                let rested = moment.now.saturating_duration_since(at) >= AGAIN_AFTER;
                let spacing = moment.schedule.least_to_next_secs.max(1);
                let has_time = moment.next_block_time + 2 * spacing < round.min_draw_time;
                missing && rested && has_time
            }
        };
        if !(is_close && is_due) {
            return;
        }
        let Some(sender) = &mut self.sender else {
            return;
        };
        let (problems, told_time) = sender.rehearse(&moment.snapshot, round);
        let balance_wei = sender.balance_wei();
        self.round.rehearsed = Some((moment.now, !problems.is_empty()));
        let time = match told_time {
            ToldTime::Agreed(time) => Some(time),
            ToldTime::Unconfirmed => Some(moment.head.timestamp),
            ToldTime::Disputed { .. } => None,
        };
        self.round.time_confirmed = time.map(|time| (time, moment.chain_time.seen_at));
        let told = (!problems.is_empty()).then(|| problems.join("; "));
        let subject = Subject::Round(round.round_id);
        let alerts = &mut self.reporter.alerts;
        alerts.set(AlertCode::Rehearsal, subject, Severity::Warning, told);
        let status = &mut self.reporter.status;
        status.balance_wei = balance_wei.or(status.balance_wei);
        status.rehearsal = Some(Rehearsal {
            round_id: round.round_id,
            unix_ms: self.reporter.clock.unix_ms(),
            ready: problems.is_empty(),
            problems,
        });
        self.time_check(moment);
    }

    /// Begins the action, where it is due not by one endpoint's word alone.
    pub(super) fn begin_if_due(&mut self, kind: ActionKind, moment: &Moment) {
        match self.is_due_by_others(kind, moment) {
            true => self.begin(kind, Check::Called, moment),
            false => {
                let again_at = moment.now + NOT_YET_RETRY;
                self.round.rule_out(moment.head, kind, again_at);
            }
        }
    }

    /// Whether others give the head a time, too, by which this action is due. On one endpoint's word for it a draw would be
    /// mined too early, and a refund sent that the contract refuses, or a round given up that can be drawn.
    fn is_due_by_others(&mut self, kind: ActionKind, moment: &Moment) -> bool {
        let rests_on_it = match kind {
            ActionKind::Draw => !self.is_time_expected(moment),
            ActionKind::RefundExpired => true,
            _ => false,
        };
        let Some(sender) = self.sender.as_mut().filter(|_| rests_on_it) else {
            return true;
        };
        let (head, round) = (moment.newest, &moment.round);
        let told = match sender.confirm_time(head) {
            ToldTime::Agreed(time) => time,
            // The window must not pass while nobody can tell; for a refund there is time.
            ToldTime::Disputed { earliest } if kind == ActionKind::RefundExpired => earliest,
            ToldTime::Disputed { .. } | ToldTime::Unconfirmed => head.timestamp,
        };
        let sooner = head.timestamp.saturating_sub(told);
        let is_due = sooner == 0
            || match kind {
                ActionKind::Draw => {
                    moment.next_block_time.saturating_sub(sooner) >= round.min_draw_time
                }
                _ => told > round.max_draw_time,
            };
        if is_due {
            self.round.time_confirmed = Some((head.timestamp, moment.chain_time.seen_at));
        } else {
            log::warn!(
                "others give block {} the time {told}: round {} is not due by it",
                head.number,
                round.round_id
            );
        }
        is_due
    }

    /// Whether the head's time follows from one that others told, and from what has passed since. That one may have been heard
    /// of two answers late: asked about where answers are slow, it would make the draw late.
    fn is_time_expected(&self, moment: &Moment) -> bool {
        let heard_late = 2 * self.quickest_answer().unwrap_or_default();
        self.round.time_confirmed.is_some_and(|(time, seen_at)| {
            let passed = moment.now.saturating_duration_since(seen_at) + heard_late;
            let latest = time.saturating_add(passed.as_secs() + UNEVEN_SECS);
            moment.newest.timestamp <= latest
        })
    }

    /// A balance that was low may have been topped up: that is told before the next draw finds it out.
    pub(super) fn watch_balance(&mut self, moment: &Moment) {
        let (round, now) = (&moment.round, moment.now);
        let is_far = round.state == RoundState::Waiting
            || moment.carried_time().saturating_add(2 * BEFORE_SECS) < round.min_draw_time;
        let rested = |at| now.saturating_duration_since(at) >= BALANCE_EVERY;
        let is_told = self.reporter.alerts.is_raised(AlertCode::LowBalance);
        if !(is_told && is_far && self.balance_looked_at.is_none_or(rested)) {
            return;
        }
        self.balance_looked_at = Some(now);
        let Some(sender) = &mut self.sender else {
            return;
        };
        if let Some(note) = sender.look_at_balance(round) {
            self.reporter.status.balance_wei = sender.balance_wei();
            let alerts = &mut self.reporter.alerts;
            alerts.set(note.code, Subject::None, Severity::Warning, note.message);
        }
    }
}
