//! The transaction in flight: looked after at every head until it is mined, replaced or given up. It is changed where it
//! stands and never taken out while anything else runs, so that a crash in the middle of a turn loses nothing that is
//! out. What an action's end means for the round lies in `ending`.

use std::time::Instant;

use crate::actors::operator::flight::{Flight, Landed, FLIGHT_LOOK};
use crate::actors::operator::moment::Moment;
use crate::actors::operator::Operator;
use crate::actors::sender::Broadcast;
use crate::base::thread::panic_point;
use crate::chain::error::NodeError;
use crate::lottery::action::{ActionKind, ActionState};
use crate::lottery::alert::{AlertCode, Severity};
use crate::lottery::decision::{still_after, PendingTime, Unanswered};
use crate::lottery::lateness::LateReason;
use crate::lottery::round::RoundState;
use crate::lottery::send_state::{HeadFacts, Included, Receipts, Step};

/// A landed action is remembered this long, to be sent again when a reorg takes it back.
const LANDED_KEPT_BLOCKS: u64 = 64;

impl Operator {
    /// Looks after the transaction in flight; when to look again.
    pub(super) fn drive(&mut self, moment: &Moment) -> Instant {
        let Some(flight) = &self.flight else {
            return moment.now;
        };
        let out = match flight.state.variants().len() {
            1 => "1 transaction out".to_owned(),
            several => format!("{several} transactions out"),
        };
        self.reporter.status.phase = format!("{}: {out}", flight.label());
        if let Some(again) = flight.rests_until(moment.head, moment.now) {
            return again;
        }
        if self.must_ask_pending_time(moment) {
            self.ask_pending_time(moment);
            return moment.now;
        }
        let (Some(flight), Some(sender)) = (&mut self.flight, &mut self.sender) else {
            return moment.now;
        };
        flight.looked = Some((moment.head.hash, moment.now));
        let goes_on = !flight.state.is_over(&moment.round);
        let seen = sender.look(&flight.state, moment.head, goes_on);
        panic_point("operator-looked");
        let (nonce, sees_gaps) = (flight.state.nonce, flight.sees_gaps(moment));
        let is_telling = |latest: &u64| *latest >= nonce || sees_gaps;
        let facts = HeadFacts {
            head: moment.head,
            next_block_time: moment.next_block_time,
            round: &moment.round,
            latest_nonce: seen.latest_nonce.filter(is_telling),
            receipts: seen.receipts,
        };
        let step = flight.state.step(&facts, &self.settings.rules, moment.now);
        self.take_step(step, moment);
        // What has ended may be due once more, for the very next block.
        match self.flight {
            Some(_) => moment.now + FLIGHT_LOOK,
            None => moment.now,
        }
    }

    /// While the head stands, it does not show that the window closes: a draw sent after that would only revert.
    fn must_ask_pending_time(&self, moment: &Moment) -> bool {
        let is_draw = |flight: &Flight| flight.record.kind == ActionKind::Draw;
        let stands_from = moment.chain_time.seen_at + still_after(&moment.schedule);
        let is_silent = |unanswered: Unanswered| unanswered.again_at > moment.now;
        self.flight.as_ref().is_some_and(is_draw)
            && moment.now >= stands_from
            && self.round.pending_at(moment.head, moment.now) == PendingTime::Unasked
            && !self.round.unanswered.is_some_and(is_silent)
    }

    fn take_step(&mut self, step: Step, moment: &Moment) {
        let Some(flight) = &mut self.flight else {
            return;
        };
        match step {
            Step::Wait => {}
            Step::Rebroadcast => self.broadcast(moment),
            Step::Replace(kind) => {
                let paused = flight.paused_until.is_some_and(|until| moment.now < until);
                if !(paused && kind == flight.record.kind) {
                    self.replace(kind, moment);
                }
            }
            Step::TimedOut => {
                self.timed_out(moment);
                self.broadcast(moment);
            }
            Step::Done(included) => self.done(included, moment),
            Step::Reverted(included) => self.reverted(included, moment),
            Step::EndedUnseen => {
                let nonce = flight.state.nonce;
                let text = format!(
                    "the round is over and nonce {nonce} is used, but no receipt can be read"
                );
                log::warn!("{text} {}", flight.fields());
                self.end_flight(ActionState::Done, Some(text));
            }
            Step::LetGo => {
                let text = "let go: its round is over, and nothing of it was mined".to_owned();
                log::warn!("{text} {}", flight.fields());
                self.end_flight(ActionState::Failed, Some(text));
            }
            Step::NonceTaken | Step::NonceGap => {
                if let Some(sender) = &mut self.sender {
                    sender.doubt_nonce(None);
                }
                let what = match step {
                    Step::NonceGap => "a reorg gave back a nonce before",
                    _ => "another transaction of this key took",
                };
                let text = format!("{what} nonce {}", flight.state.nonce);
                log::warn!("{text} {}", flight.fields());
                self.end_flight(ActionState::Failed, Some(text));
            }
        }
    }

    /// The flight is over: its record is told, and nothing is out any more.
    pub(super) fn end_flight(
        &mut self,
        state: ActionState,
        error: Option<String>,
    ) -> Option<Flight> {
        let mut flight = self.flight.take()?;
        flight.news();
        self.reporter.end_sent(&mut flight.record, state, error);
        Some(flight)
    }

    /// Tells the record of what is in flight where it has changed: before the sending, since whose draw it is must be known
    /// when its block is read.
    pub(super) fn tell_flight(&mut self) {
        if let Some(mut record) = self.flight.as_mut().and_then(Flight::news) {
            self.reporter.publish_record(&mut record);
        }
    }

    /// Hands the newest variant of what is in flight to every endpoint.
    pub(super) fn broadcast(&mut self, moment: &Moment) {
        if let Some(outcome) = self.send(moment) {
            self.note_outcome(outcome);
        }
    }

    /// The same, and nothing is made of what became of it. None when nothing is in flight.
    pub(super) fn send(&mut self, moment: &Moment) -> Option<Broadcast> {
        let (flight, sender) = (self.flight.as_mut()?, self.sender.as_mut()?);
        let outcome = sender.broadcast(&mut flight.state, moment.head, &moment.round, moment.now);
        panic_point("operator-sent");
        flight.state.note_sent(moment.head, moment.now);
        Some(outcome)
    }

    /// Takes down what became of a broadcast, and tells what stands in its way.
    pub(super) fn note_outcome(&mut self, outcome: Broadcast) {
        let (Some(flight), Some(sender)) = (&mut self.flight, &mut self.sender) else {
            return;
        };
        let (label, fields) = (flight.label(), flight.fields());
        if outcome == Broadcast::Accepted {
            flight.log_sent();
            self.reporter.alerts.clear(AlertCode::ActionBlocked);
        }
        let is_held_up = outcome.is_short_of_funds() && flight.record.kind == ActionKind::Draw;
        flight.record.error = match outcome {
            Broadcast::Accepted => None,
            Broadcast::MaybeSent(why) => {
                log::warn!("no node confirmed it: {why} {fields}");
                Some(why)
            }
            // The nonce is used up: receipts will tell by whom, or another endpoint that it never was free.
            Broadcast::Rejected(NodeError::NonceTooLow, _) => {
                sender.doubt_nonce(Some(flight.state.nonce));
                None
            }
            Broadcast::Rejected(class, why) => {
                log::warn!("refused: {why} {fields}");
                if class == NodeError::NonceTooHigh {
                    sender.doubt_nonce(None);
                }
                let told = words(class);
                let is_blocking = matches!(
                    class,
                    NodeError::InsufficientFunds
                        | NodeError::GasAllowance
                        | NodeError::GasTooHigh
                        | NodeError::FatalConfig
                );
                if is_blocking {
                    let (code, round_id) = (AlertCode::ActionBlocked, flight.record.round_id);
                    let text = format!("{label} is refused: {told}");
                    self.reporter
                        .alert(code, Severity::Critical, round_id, text);
                }
                Some(told.to_owned())
            }
        };
        if is_held_up {
            self.hold_up(LateReason::LowBalance);
        }
    }

    fn replace(&mut self, kind: ActionKind, moment: &Moment) {
        let (Some(flight), Some(sender)) = (&mut self.flight, &mut self.sender) else {
            return;
        };
        let same = kind == flight.record.kind;
        if same {
            // It is late: another endpoint may know a nonce or a price that is better.
            sender.doubt_source();
        }
        if same && self.spending.spent_wei(moment.now) >= self.settings.max_spend_wei_per_day {
            let text =
                "max_spend_ether_per_day is reached: fees are not raised any more".to_owned();
            let (code, round_id) = (AlertCode::SpendLimit, flight.record.round_id);
            self.reporter
                .alert(code, Severity::Critical, round_id, text);
            return self.broadcast(moment);
        }
        match sender.replacement(&flight.state, kind, &moment.round) {
            Ok(Some(variant)) => {
                if !same {
                    log::warn!("replaced by {} {}", kind.label(), flight.fields());
                    flight.record.kind = kind;
                    flight.paused_until = None;
                }
                flight.state.add(variant, moment.head, moment.now);
                self.tell_flight();
                panic_point("operator-replaced");
                self.broadcast(moment);
            }
            Ok(None) => {
                flight.state.note_signing(moment.head, moment.now);
                self.broadcast(moment);
            }
            Err(problem) => {
                log::warn!("no replacement: {problem} {}", flight.fields());
                if problem.is_blocking() {
                    let (code, round_id) = (AlertCode::ActionBlocked, flight.record.round_id);
                    let told = format!("{} of round {round_id}: {problem}", kind.label());
                    self.reporter
                        .alert(code, Severity::Critical, round_id, told);
                }
                if same {
                    self.broadcast(moment);
                }
            }
        }
    }

    /// The transaction was not mined in time: one failure, and the same nonce is tried again after the delay.
    fn timed_out(&mut self, moment: &Moment) {
        let timeout_secs = self.settings.rules.tx_timeout.as_secs();
        let Some(flight) = &mut self.flight else {
            return;
        };
        let kind = flight.record.kind;
        let text = format!("{} was not mined in {timeout_secs} s", flight.label());
        flight.record.error = Some(text.clone());
        flight.paused_until = Some(moment.now + self.settings.policy.draw_retry_delay);
        flight.state.begin_again(moment.now);
        // What nobody waits for any more is no failure of the round that runs now.
        match flight.state.is_over(&moment.round) {
            true => log::warn!("{text}"),
            false => self.note_failure(kind, moment.now, &text),
        }
    }

    /// When a reorg has taken back the block of the last draw or refund, the action is in flight again, with its same
    /// bytes where they have gas for the round's players. Some(when to look again) while that cannot be told yet.
    pub(super) fn take_up_after_reorg(&mut self, moment: &Moment) -> Option<Instant> {
        let landed = self.landed.as_ref()?;
        let (head, round) = (moment.head, &moment.round);
        let kept_until = landed.included.block_number + LANDED_KEPT_BLOCKS;
        if self.flight.is_some() || head.number > kept_until {
            self.landed = None;
            return None;
        }
        let round_id = landed.flight.record.round_id;
        if round_id != round.round_id || round.state != RoundState::Betting {
            return None;
        }
        // The round runs: after a reorg, or because the store has not come to the block that ended it.
        let sender = self.sender.as_mut()?;
        let seen = sender.look(&landed.flight.state, head, false);
        let nonce = landed.flight.state.nonce;
        let is_used = seen.latest_nonce.is_some_and(|latest| latest > nonce);
        // Mined once more on the new branch, in a block that the contract refused it in, or where it ended the round before
        // this one: it is spent, and what the round needs is decided anew.
        let is_spent = |included: Included| {
            !included.succeeded || is_used && included.block_number <= head.number
        };
        if matches!(seen.receipts, Receipts::Found(included) if is_spent(included)) {
            self.landed = None;
            return None;
        }
        let is_open = seen.latest_nonce.is_some_and(|latest| latest <= nonce);
        if !(is_open || seen.receipts == Receipts::None) {
            return Some(moment.now + FLIGHT_LOOK);
        }
        let Landed { flight, .. } = self.landed.take()?;
        let flight = self.flight.insert(flight);
        log::warn!("taken back by a reorg {}", flight.fields());
        flight.record.state = ActionState::Pending;
        flight.record.block_number = None;
        flight.record.gas_used = None;
        flight.looked = None;
        flight.state.begin_again_after_reorg(head, moment.now);
        let demanded = flight
            .state
            .at_window(round, head.timestamp, moment.next_block_time);
        let kind = flight.record.kind;
        let suffices = flight.state.has_gas_for(round.participant_count);
        match demanded {
            None if suffices => self.broadcast(moment),
            None => self.replace(kind, moment),
            Some(_) => {}
        }
        None
    }
}

/// What a pool's verdict means, in words of our own: a node's text is for the log alone, since it may echo what nobody
/// should read.
fn words(class: NodeError) -> &'static str {
    match class {
        NodeError::AlreadyKnown => "the pool has it already",
        NodeError::ReplacementUnderpriced => "something pending at this nonce offers more",
        NodeError::TransientPool => "the pool takes nothing just now",
        NodeError::Underpriced => "the pool wants a higher fee",
        NodeError::NonceTooLow => "the nonce is used",
        NodeError::NonceTooHigh => "the pool waits for an earlier nonce",
        NodeError::InsufficientFunds => "the balance does not suffice",
        NodeError::GasAllowance => "the balance does not pay the gas",
        NodeError::GasTooLow => "the pool wants more gas",
        NodeError::GasTooHigh => "it uses more gas than the chain allows",
        NodeError::TypeNotSupported => "the chain takes no such transactions",
        NodeError::NodeFeeCap => "the node takes no fee as high",
        NodeError::FatalConfig => "the key or the chain id is wrong for this chain",
        NodeError::Other => "the pool refuses it",
    }
}
