//! Bettors that cannot be paid: found by probing while betting is open, named, and taken into account when deciding.

use std::time::Duration;

use crate::actors::operator::moment::Moment;
use crate::actors::operator::Operator;
use crate::chain::types::{Address, U256};
use crate::lottery::action::ActionKind;
use crate::lottery::alert::{AlertCode, Condition, Severity, Subject};
use crate::lottery::payable::Outlook;
use crate::lottery::round::{Round, RoundState};
use crate::lottery::snapshot::Snapshot;
use crate::lottery::words::ether;

/// So many addresses are probed at once, and not again sooner than this.
const PROBED_AT_ONCE_MAX: usize = 40;
const PROBE_EVERY: Duration = Duration::from_secs(5);

impl Operator {
    /// Probes bettors that have not been, as long as that can hold up no draw.
    pub(super) fn probe_players(&mut self, moment: &Moment) {
        let (round, now) = (&moment.round, moment.now);
        let Some(sender) = &self.sender else { return };
        if round.state != RoundState::Betting || !knows_bettors(moment) {
            return;
        }
        // Once the next block may be drawn in, only a suspicion is worth the time.
        let spacing = moment.schedule.least_to_next_secs.max(1);
        let is_early = moment.next_block_time.saturating_add(2 * spacing) < round.min_draw_time;
        let is_suspect = self.round.unpayable_draws > 0
            || self.round.stuck.is_some()
            || !self.round.payability.unpayable().is_empty();
        let rested = |at| now.saturating_duration_since(at) >= PROBE_EVERY;
        if !(is_early || is_suspect) || !self.round.probed_at.is_none_or(rested) {
            return;
        }
        let bettors = bettors(&moment.snapshot);
        let due = self.round.payability.due(bettors, PROBED_AT_ONCE_MAX, now);
        if due.is_empty() {
            return;
        }
        self.round.probed_at = Some(now);
        let due = due.into_iter().map(|(address, own_wei)| {
            (
                address,
                pushed_to_winner_wei(&moment.snapshot, round).unwrap_or(own_wei),
            )
        });
        for (address, found) in sender.probe(due.collect(), moment.head) {
            self.round.payability.note(address, found, now);
        }
        self.tell_of_unpayable(moment);
    }

    /// Tells, while bets are still taken, that the round nears what one transaction may carry.
    pub(super) fn watch_crowd(&mut self, moment: &Moment) {
        let (round, head) = (&moment.round, moment.head);
        let Some(sender) = &mut self.sender else {
            return;
        };
        let told = match round.state {
            RoundState::Betting => sender.crowd(round, head),
            _ => None,
        };
        let (code, subject) = (AlertCode::TooManyPlayers, Subject::Round(round.round_id));
        let alerts = &mut self.reporter.alerts;
        alerts.set(code, subject, Severity::Warning, told);
    }

    /// What a draw can come to, as far as the probes tell.
    pub(super) fn outlook(&self, moment: &Moment) -> Outlook {
        let min = moment.snapshot.config.as_deref();
        let min = min.map_or(2, |config| config.min_participants);
        let bettors = bettors(&moment.snapshot);
        match knows_bettors(moment) {
            true => self.round.payability.outlook(bettors, min),
            false => Outlook::Fine,
        }
    }

    /// A preflight has just said that somebody cannot be paid.
    pub(super) fn unpayable(&mut self, kind: ActionKind, moment: &Moment) {
        let is_refund = matches!(kind, ActionKind::RefundExpired | ActionKind::RefundForced);
        if is_refund {
            let who = match self.round.payability.unpayable().first() {
                Some(player) => format!("{player:#x}"),
                None => "a player".to_owned(),
            };
            let round_id = moment.round.round_id;
            let reason =
                format!("{who} cannot be paid back, and a refund pays everybody or nobody");
            let told = format!("round {round_id} is stuck: {reason}");
            self.round.note_stuck(reason, moment.now);
            let subject = Subject::Round(round_id);
            let alerts = &mut self.reporter.alerts;
            alerts.raise(Condition::critical(AlertCode::StuckRound, subject, told));
        }
        self.round.unpayable_draws += u32::from(kind == ActionKind::Draw);
        self.tell_of_unpayable(moment);
    }

    /// Names who cannot be paid, with the chance that is left and what trying has cost.
    pub(super) fn tell_of_unpayable(&mut self, moment: &Moment) {
        let unpayable = self.round.payability.unpayable();
        let outlook = match self.outlook(moment) {
            Outlook::Hopeless => "no block can make a draw pass, so none is sent".to_owned(),
            Outlook::Chance { share } => {
                format!("a draw passes in {:.1} % of the blocks", share * 100.0)
            }
            Outlook::Fine => "draws are tried in each block".to_owned(),
        };
        let cost = match self.round.unpayable_draws {
            0 => String::new(),
            draws => {
                let spent = ether(self.round.unpayable_wei);
                format!("; {draws} draws have reverted so far, for {spent} ETH of gas")
            }
        };
        let alerts = &mut self.reporter.alerts;
        alerts.clear(AlertCode::UnpayablePlayer);
        for player in unpayable {
            let text = format!("{player:#x} cannot be paid: {outlook}{cost}");
            let subject = Subject::Player(player);
            alerts.raise(Condition::critical(
                AlertCode::UnpayablePlayer,
                subject,
                text,
            ));
        }
    }
}

fn bettors(snapshot: &Snapshot) -> impl Iterator<Item = (Address, U256)> + '_ {
    let participants = snapshot.participants.in_bet_order();
    participants.map(|participant| (participant.address, participant.total_amount_wei))
}

/// True when the bettors that the snapshot names explain the pot.
fn knows_bettors(moment: &Moment) -> bool {
    let total_wei = moment.snapshot.participants.total_amount_wei();
    !total_wei.is_zero() && total_wei == moment.round.total_pot_wei
}

/// What a winner would be sent; None where everybody would get back their own.
fn pushed_to_winner_wei(snapshot: &Snapshot, round: &Round) -> Option<U256> {
    let config = snapshot.config.as_deref()?;
    let is_past = snapshot.head?.timestamp > round.max_draw_time;
    if is_past || round.participant_count < config.min_participants {
        return None;
    }
    let commission_wei = round
        .total_pot_wei
        .saturating_mul(U256::from(config.commission_bps))
        / U256::from(10_000u64);
    Some(round.total_pot_wei.saturating_sub(commission_wei))
}
