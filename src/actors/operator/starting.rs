//! From a decision or a command to a transaction in flight: prepared, signed, noted as being out, and only then sent; and
//! what a refusal before any signature means.

use std::time::Duration;

use crate::actors::operator::flight::Flight;
use crate::actors::operator::memory::Refusal;
use crate::actors::operator::moment::Moment;
use crate::actors::operator::reporter::describe_action;
use crate::actors::operator::Operator;
use crate::actors::sender::{Check, NotSigned, Order, Prepared};
use crate::base::thread::panic_point;
use crate::lottery::action::{ActionKind, ActionRecord, ActionState};
use crate::lottery::alert::{AlertCode, Severity, Subject};
use crate::lottery::contract::RevertMeaning;
use crate::lottery::decision::{PendingTime, Unanswered};

/// When no endpoint answered, the next try comes this much later.
const UNANSWERED_RETRY: Duration = Duration::from_millis(500);
/// When the signer did not sign, the next try comes this much later.
const SIGNER_RETRY: Duration = Duration::from_secs(1);
/// On a head that stands, what was not yet allowed is tried again after this long.
pub(super) const NOT_YET_RETRY: Duration = Duration::from_secs(3);
/// And what was refused for any other reason, or reverted in a block, after this.
pub(super) const STANDING_RETRY: Duration = Duration::from_secs(12);
/// A pending transaction of this key that does the same may take this long before it is outbid.
const TWIN_PATIENCE_BLOCKS: u64 = 6;

impl Operator {
    /// An action of the operator's own. Tries that are refused alike share one record, and one phase.
    pub(super) fn begin(&mut self, kind: ActionKind, check: Check, moment: &Moment) {
        let round_id = moment.round.round_id;
        let refused_before = self.round.refusal.as_ref();
        let record = match refused_before.filter(|refusal| refusal.kind.label() == kind.label()) {
            Some(refusal) => ActionRecord {
                kind,
                ..refusal.record.clone()
            },
            None => {
                let phase = describe_action(kind, &moment.round);
                self.reporter.say_phase(round_id, phase);
                self.automatic_actions += 1;
                let id = format!("auto-{round_id}-{}", self.automatic_actions);
                let mut record = self.reporter.new_record(id, kind, round_id, false);
                record.state = ActionState::Preparing;
                self.reporter.publish_record(&mut record);
                record
            }
        };
        self.start(record, check, moment);
    }

    /// Prepares and signs the first transaction of an action; it is in flight before anyone is told of it.
    pub(super) fn start(&mut self, record: ActionRecord, check: Check, moment: &Moment) {
        if let Some(record) = self.try_start(record, check, moment, true) {
            // Its nonce is not the next: another endpoint may know it, and the first may have thought again.
            self.try_start(record, check, moment, false);
        }
    }

    /// As `start`; the action's record, where it came to nothing for its nonce alone and `may_repeat`.
    fn try_start(
        &mut self,
        record: ActionRecord,
        check: Check,
        moment: &Moment,
        may_repeat: bool,
    ) -> Option<ActionRecord> {
        let is_foreseen =
            check == Check::Called && !record.manual && record.kind == ActionKind::Draw;
        let foreseen = match is_foreseen {
            true => self.take_foreseen(moment),
            false => None,
        };
        let sender = self.sender.as_mut()?;
        if record.kind == ActionKind::Draw {
            self.reporter.status.last_draw_attempt_unix_ms = Some(self.reporter.clock.unix_ms());
        }
        let twin_until = self
            .round
            .twin_since
            .map(|since| since + TWIN_PATIENCE_BLOCKS);
        let max_wei = self.settings.max_tx_fee_wei;
        let order = Order {
            kind: record.kind,
            round: &moment.round,
            head: moment.newest,
            next_block_time: moment.next_block_time,
            pending: moment.pending,
            check,
            spend_max_wei: match record.kind {
                ActionKind::Draw => max_wei.saturating_sub(self.round.unpayable_wei),
                _ => max_wei,
            },
            outbid_twin: record.manual
                || twin_until.is_some_and(|until| moment.head.number >= until),
            // What is still out of an earlier round holds the nonce that this action needs.
            over: self.flight.as_ref().map(|flight| &flight.state),
        };
        let prepared = foreseen.map_or_else(|| sender.prepare(&order, moment.now), Ok);
        let balance_wei = sender.balance_wei();
        self.reporter.status.balance_wei = balance_wei.or(self.reporter.status.balance_wei);
        match prepared {
            Ok(prepared) => self.set_out(prepared, record, check, moment, may_repeat),
            Err(why) => {
                self.not_started(record, why, moment);
                None
            }
        }
    }

    /// Sends what was signed. Where no pool takes it for the reason that was doubted, nothing was begun.
    fn set_out(
        &mut self,
        prepared: Prepared,
        record: ActionRecord,
        check: Check,
        moment: &Moment,
        may_repeat: bool,
    ) -> Option<ActionRecord> {
        let Prepared {
            state,
            notes,
            doubt,
            ..
        } = prepared;
        self.round.unanswered = None;
        for note in notes {
            let subject = match note.code {
                AlertCode::LowBalance => Subject::None,
                _ => Subject::Round(moment.round.round_id),
            };
            let alerts = &mut self.reporter.alerts;
            alerts.set(note.code, subject, Severity::Warning, note.message);
        }
        // What takes over an earlier round's nonce stays out, refused or not.
        let is_alone = self.flight.is_none();
        let is_extension = matches!(record.kind, ActionKind::Extend { .. });
        self.set_flight(Flight::new(state, record, moment), moment);
        self.reporter.watcher.hear_of_flight(self.in_flight());
        panic_point("operator-signed");
        if doubt.is_none() {
            self.tell_flight();
        }
        let outcome = self.send(moment)?;
        // A refusal of what was signed anew says nothing of what a pool took, or may have taken, before; and one pool's nothing of
        // what another does that has not answered.
        let is_out = |flight: &Flight| flight.state.may_be_held();
        let is_alone = is_alone && !self.flight.as_ref().is_some_and(is_out);
        if let Some(why) = doubt.filter(|_| is_alone && outcome.is_short_of_funds()) {
            let flight = self.flight.take()?;
            self.not_started(flight.record, why, moment);
            return None;
        }
        if is_alone && may_repeat && outcome.is_about_nonce() {
            self.note_outcome(outcome);
            return self.flight.take().map(|flight| flight.record);
        }
        self.round.unchecked_spent |= check != Check::Called;
        if is_extension {
            self.spending.note_extension(moment.now);
        }
        self.end_refusal();
        self.reporter.alerts.clear(AlertCode::ActionBlocked);
        self.note_outcome(outcome);
        None
    }

    /// What was out of an earlier round gives its nonce to the new action, or has lost it.
    fn set_flight(&mut self, new: Flight, moment: &Moment) {
        let Some(old) = &mut self.flight else {
            self.flight = Some(new);
            return;
        };
        let told = format!(
            "its nonce {} goes on to the next round's action",
            old.state.nonce
        );
        log::warn!("{told} {}", old.fields());
        let Flight { state, record, .. } = new;
        let mut ended = std::mem::replace(&mut old.record, record);
        match state.newest().filter(|_| state.nonce == old.state.nonce) {
            Some(newest) => {
                let round_id = moment.round.round_id;
                old.state
                    .pass_on(round_id, newest.clone(), moment.head, moment.now);
            }
            None => old.state = state,
        }
        old.begin_again(moment);
        self.reporter
            .end_sent(&mut ended, ActionState::Failed, Some(told));
    }

    /// Nothing was signed: say why, and at which head not to try again.
    fn not_started(&mut self, mut record: ActionRecord, why: NotSigned, moment: &Moment) {
        let (round_id, kind) = (record.round_id, record.kind);
        let text = why.to_string();
        if record.manual {
            log::warn!(
                "{text} round={round_id} action={} manual=true",
                kind.label()
            );
            let state = ActionState::Failed;
            return self.reporter.end_record(&mut record, state, Some(text));
        }
        self.refusal_lateness(kind, &why);
        self.round.unanswered = None;
        let again_at = moment.now + STANDING_RETRY;
        self.round.rule_out(moment.head, kind, again_at);
        match &why {
            NotSigned::Unreachable(_) => {
                // The chain did not answer: this says nothing about the head, so the next wake tries again.
                self.round.ruled_out = None;
                self.round.forget_pending();
                self.note_unanswered();
            }
            NotSigned::Reverts { meaning, .. } => match meaning {
                RevertMeaning::NotYet => {
                    let again_at = moment.now + NOT_YET_RETRY;
                    self.round.rule_out(moment.head, kind, again_at);
                }
                RevertMeaning::Unpayable => self.unpayable(kind, moment),
                _ => {}
            },
            NotSigned::Signer(_) => {
                // From now on: a signer that hangs has used up more than that.
                let again_at = self.reporter.clock.now() + SIGNER_RETRY;
                self.round.rule_out(moment.head, kind, again_at);
            }
            NotSigned::TwinPending { .. } => {
                self.round.twin_since.get_or_insert(moment.head.number);
            }
            _ => {}
        }
        if why.is_blocking() {
            self.reporter.alert(
                AlertCode::ActionBlocked,
                Severity::Critical,
                round_id,
                format!("{} of round {round_id}: {text}", kind.label()),
            );
        }
        self.note_refusal(record, why.class(), text);
    }

    /// A refusal is logged, and its record told, when its reason is new; after that it is counted.
    fn note_refusal(&mut self, mut record: ActionRecord, reason: String, text: String) {
        let (kind, round_id) = (record.kind, record.round_id);
        let known = self
            .round
            .refusal
            .as_mut()
            .filter(|refusal| refusal.kind.label() == kind.label() && refusal.reason == reason);
        if let Some(refusal) = known {
            refusal.tries += 1;
            return;
        }
        self.end_refusal();
        log::warn!("{text} round={round_id} action={}", kind.label());
        self.reporter
            .end_record(&mut record, ActionState::Failed, Some(text));
        self.round.refusal = Some(Refusal {
            kind,
            reason,
            tries: 1,
            record,
        });
    }

    /// Another reason, or none any more.
    pub(super) fn end_refusal(&mut self) {
        let Some(refusal) = self.round.refusal.take() else {
            return;
        };
        if refusal.tries > 1 {
            let (label, round_id) = (refusal.kind.label(), self.round.round_id);
            let (tries, reason) = (refusal.tries, refusal.reason);
            log::info!("refused {tries} times: {reason} round={round_id} action={label}");
        }
    }

    fn note_unanswered(&mut self) {
        let now = self.reporter.clock.now();
        self.round.unanswered = Some(Unanswered {
            last_at: now,
            again_at: now + UNANSWERED_RETRY,
        });
    }

    /// The head stands still: what does a node give the block after it?
    pub(super) fn ask_pending_time(&mut self, moment: &Moment) {
        let Some(sender) = &self.sender else { return };
        match sender.pending_time() {
            Ok(told) => {
                self.round.unanswered = None;
                let time = told.map_or(PendingTime::Unknown, PendingTime::Told);
                // Fresh from the answer on: what a slow endpoint says is of use all the same.
                let now = self.reporter.clock.now();
                self.round.note_pending(moment.head, time, now);
            }
            Err(_) => self.note_unanswered(),
        }
    }
}
