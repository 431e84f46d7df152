//! Shortly before the window: everything that a draw will need is looked at, and again until nothing is missing.

use std::time::Duration;

use crate::actors::operator::moment::Moment;
use crate::actors::operator::Operator;
use crate::lottery::alert::{AlertCode, Severity, Subject};
use crate::lottery::operator_status::Rehearsal;
use crate::lottery::round::RoundState;

/// The rehearsal is held this long before the window opens.
const BEFORE_SECS: u64 = 60;
/// While something is missing it is held again so often.
const AGAIN_AFTER: Duration = Duration::from_secs(15);

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
        let problems = sender.rehearse(&moment.snapshot, round);
        let balance_wei = sender.balance_wei();
        self.round.rehearsed = Some((moment.now, !problems.is_empty()));
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
