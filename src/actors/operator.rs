//! The operator thread: it wakes on store events, a tick, a deadline or a command, looks at the newest snapshot, and
//! does what the pure decision says. It keeps no state of the chain; a lost event cannot lose a draw, a repeated one
//! cannot double it.
//!
//! At most one action is in flight, whoever asked for it. What the sender does lies in `sender`; when to act lies in
//! `lottery::decision`; what to do with a pending transaction lies in `lottery::send_state`.

mod flight;
mod telling;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crossbeam_channel::{select, Receiver};

use self::telling::{describe, describe_action};

use crate::actors::alerts::Alerts;
use crate::actors::memory_store::UpdateSender;
use crate::actors::messages::{Command, CommandKind, PublicationReceiver, SharedSnapshot};
use crate::actors::sender::{Attempt, Check, Order, Prepared, Sender};
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::base::shutdown::Shutdown;
use crate::base::thread::Beat;
use crate::chain::types::BlockRef;
use crate::chain::types::{H256, U256};
use crate::lottery::action::{ActionKind, ActionRecord, ActionState};
use crate::lottery::alert::Severity;
use crate::lottery::contract::RevertMeaning;
use crate::lottery::decision::{decide, Decision, Facts, Failures, Policy, Unanswered, Why};
use crate::lottery::operator_status::{OperatorStatus, Rehearsal};
use crate::lottery::round::{Round, RoundState};
use crate::lottery::send_state::{Included, Rules, SendState};
use crate::lottery::snapshot::Snapshot;

/// The rehearsal is held this long before the window opens.
const REHEARSAL_BEFORE_SECS: u64 = 60;
const EXTENSIONS_PER_DAY_MAX: usize = 20;
/// A head already looked at is looked at again this soon while a transaction is out: receipts can trail the head.
const FLIGHT_LOOK: Duration = Duration::from_millis(1_500);
/// When no endpoint answered, the next try comes this much later.
const UNANSWERED_RETRY: Duration = Duration::from_millis(500);
/// A pending transaction of this key that does the same may take this long before it is outbid.
const TWIN_PATIENCE_BLOCKS: u64 = 6;

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// False: only commands are carried out.
    pub automatic: bool,
    pub draw_check_interval: Duration,
    pub policy: Policy,
    pub rules: Rules,
    pub max_spend_wei_per_day: U256,
    /// The most that one round's draws may cost while a player cannot be paid.
    pub max_tx_fee_wei: U256,
}

pub struct Operator {
    settings: Settings,
    sender: Option<Sender>,
    snapshot: SharedSnapshot,
    publications: PublicationReceiver,
    commands: Receiver<Command>,
    updates: UpdateSender,
    clock: Clock,
    metrics: Metrics,
    alerts: Alerts,
    status: OperatorStatus,
    round: RoundMemory,
    flight: Option<Flight>,
    landed: Option<Landed>,
    waiting_commands: VecDeque<Command>,
    /// (when, wei) of the transactions mined in the last day.
    spent: VecDeque<(Instant, U256)>,
    extended_at: VecDeque<Instant>,
    automatic_actions: u64,
}

/// What is remembered of the running round; forgotten with it.
#[derive(Debug, Default)]
struct RoundMemory {
    round_id: u64,
    draw_failures: Failures,
    refund_failures: Failures,
    /// At that head, that action was ruled out.
    ruled_out: Option<(H256, ActionKind)>,
    /// At that head, the node gave its pending block this time.
    pending_time: Option<(H256, u64)>,
    /// No endpoint answers.
    unanswered: Option<Unanswered>,
    /// The one draw that may go unchecked was tried.
    unchecked_spent: bool,
    /// Gas paid for draws that reverted because a player cannot be paid.
    unpayable_wei: U256,
    /// Since this block, the same transaction of this key was seen pending without being ours.
    twin_since: Option<u64>,
    rehearsed: bool,
}

impl RoundMemory {
    /// What the next block's time is expected to be: the node's word where it was asked, else the bound of the heads.
    fn next_block_time(&self, snapshot: &Snapshot, head: BlockRef) -> u64 {
        let bound = head
            .timestamp
            .saturating_add(snapshot.schedule.min_spacing_secs);
        match self.pending_time {
            Some((at, time)) if at == head.hash => time.max(head.timestamp),
            _ => bound,
        }
    }
}

/// The one action in flight.
struct Flight {
    state: SendState,
    record: ActionRecord,
    /// The last head at which receipts were looked for, and when.
    looked: Option<(H256, Instant)>,
    /// After a time-out: no new variant before this.
    paused_until: Option<Instant>,
}

/// The last draw or refund that was mined with success.
struct Landed {
    flight: Flight,
    included: Included,
}

impl Operator {
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        settings: Settings,
        sender: Option<Sender>,
        snapshot: SharedSnapshot,
        publications: PublicationReceiver,
        commands: Receiver<Command>,
        updates: UpdateSender,
        clock: Clock,
        metrics: Metrics,
    ) -> Operator {
        let status = OperatorStatus {
            address: sender.as_ref().map(Sender::address),
            key_loaded: sender.is_some(),
            max_draw_retries: settings.policy.max_draw_retries,
            ..OperatorStatus::default()
        };
        Operator {
            settings,
            sender,
            snapshot,
            publications,
            commands,
            alerts: Alerts::new(updates.clone(), clock.clone()),
            updates,
            clock,
            metrics,
            status,
            round: RoundMemory::default(),
            flight: None,
            landed: None,
            waiting_commands: VecDeque::new(),
            spent: VecDeque::new(),
            extended_at: VecDeque::new(),
            automatic_actions: 0,
        }
    }

    /// The thread's body. After a crash it is entered again with what is in flight still known.
    pub fn run(&mut self, shutdown: &Shutdown, beat: &Beat) -> Result<(), String> {
        self.status.is_running = self.settings.automatic && self.sender.is_some();
        loop {
            beat.turn();
            let now = self.clock.now();
            let wake = self.turn(now);
            self.publish_status()?;
            let tick = now + self.settings.draw_check_interval;
            let wait = wake
                .unwrap_or(tick)
                .min(tick)
                .saturating_duration_since(self.clock.now());
            select! {
                recv(self.publications) -> publication => {
                    if publication.is_err() {
                        return Err("the store is gone".to_owned());
                    }
                    // Level-triggered: only the newest snapshot counts, however many changes led to it.
                    while self.publications.try_recv().is_ok() {}
                    self.status.last_event_unix_ms = Some(self.clock.unix_ms());
                }
                recv(self.commands) -> command => {
                    if let Ok(command) = command {
                        self.waiting_commands.push_back(command);
                    }
                }
                recv(shutdown.signal()) -> _ => return Ok(()),
                default(wait) => {}
            }
        }
    }

    /// One look at the newest snapshot; when to look again at the latest.
    fn turn(&mut self, now: Instant) -> Option<Instant> {
        let snapshot = self.snapshot.load();
        self.status.watchdog_last_check_unix_ms = Some(self.clock.unix_ms());
        let Some(round) = snapshot.round.clone() else {
            self.status.phase = "waiting for the chain".to_owned();
            return None;
        };
        self.enter_round(&round);
        if let Some(wake) = self.take_up_after_reorg(&snapshot, &round, now) {
            return Some(wake);
        }
        if self.flight.is_some() {
            self.refuse_commands_beside_the_flight();
            return self.drive(&snapshot, &round, now);
        }
        while let Some(command) = self.waiting_commands.pop_front() {
            self.obey(command, &snapshot, &round, now);
            if self.flight.is_some() {
                return Some(now + FLIGHT_LOOK);
            }
        }
        if self.sender.is_none() {
            self.status.phase = "following only: no key is configured".to_owned();
            return None;
        }
        if !self.settings.automatic {
            self.status.phase = "disabled: only commands are carried out".to_owned();
            return None;
        }
        self.act_by_itself(&snapshot, &round, now)
    }

    fn enter_round(&mut self, round: &Round) {
        if self.round.round_id != round.round_id {
            self.round = RoundMemory {
                round_id: round.round_id,
                ..RoundMemory::default()
            };
            self.alerts.clear_round();
        }
        let scheduled = round.state == RoundState::Betting;
        self.status.current_round_id = Some(round.round_id);
        self.status.scheduled_draw_round_id = scheduled.then_some(round.round_id);
        self.status.scheduled_draw_due_at = scheduled.then_some(round.min_draw_time);
        self.status.consecutive_draw_failures = self.round.draw_failures.count;
    }

    fn act_by_itself(
        &mut self,
        snapshot: &Snapshot,
        round: &Round,
        now: Instant,
    ) -> Option<Instant> {
        let (Some(head), Some(chain_time)) = (snapshot.head, snapshot.chain_time) else {
            return None;
        };
        self.rehearse_when_due(snapshot, round, now);
        let facts = Facts {
            round,
            config: snapshot.config.as_deref(),
            chain_time,
            schedule: snapshot.schedule,
            draw_failures: self.round.draw_failures,
            refund_failures: self.round.refund_failures,
            extensions_left: self.extensions_left(now),
            ruled_out: self
                .round
                .ruled_out
                .filter(|(at, _)| *at == head.hash)
                .map(|(_, kind)| kind),
            pending_timestamp: self
                .round
                .pending_time
                .filter(|(at, _)| *at == head.hash)
                .map(|(_, time)| time),
            unanswered: self.round.unanswered,
            unchecked_spent: self.round.unchecked_spent,
        };
        match decide(&facts, &self.settings.policy, now) {
            Decision::Wait { why, wake } => {
                self.say_phase(describe(why, round), why == Why::GivenUp);
                wake
            }
            Decision::AskPendingTime => {
                let asked = self
                    .sender
                    .as_ref()
                    .and_then(|sender| sender.pending_time());
                self.round.pending_time = asked.map(|time| (head.hash, time));
                match asked {
                    Some(_) => self.round.unanswered = None,
                    None => self.note_unanswered(),
                }
                Some(now)
            }
            Decision::Act(kind) => {
                self.begin(kind, Check::Called, snapshot, round, now);
                Some(now)
            }
            Decision::DrawUnchecked => {
                log::warn!(
                    "round {}: no endpoint answers and the window is about to close: drawing unchecked",
                    round.round_id
                );
                let spacing = snapshot.schedule.min_spacing_secs;
                let check = Check::Unchecked {
                    earliest: round.min_draw_time.saturating_sub(spacing),
                    latest: round.max_draw_time.saturating_sub(spacing),
                };
                self.begin(ActionKind::Draw, check, snapshot, round, now);
                Some(now)
            }
            Decision::Blocked(trouble) => {
                self.blocked(trouble, round);
                None
            }
        }
    }

    fn begin(
        &mut self,
        kind: ActionKind,
        check: Check,
        snapshot: &Snapshot,
        round: &Round,
        now: Instant,
    ) {
        self.say_phase(describe_action(kind, round), false);
        self.automatic_actions += 1;
        let id = format!("auto-{}-{}", round.round_id, self.automatic_actions);
        let record = self.new_record(id, kind, round.round_id, false);
        self.start(record, check, snapshot, round, now);
    }

    fn note_unanswered(&mut self) {
        let now = self.clock.now();
        self.round.unanswered = Some(Unanswered {
            last_at: now,
            again_at: now + UNANSWERED_RETRY,
        });
    }

    /// A person's command, when nothing is in flight.
    fn obey(&mut self, command: Command, snapshot: &Snapshot, round: &Round, now: Instant) {
        let past_window = snapshot
            .head
            .is_some_and(|head| head.timestamp > round.max_draw_time);
        let kind = match command.kind {
            // Past the window the guarded refund does the same and cannot hit a later round.
            CommandKind::Refund { .. } if past_window => ActionKind::RefundExpired,
            kind => kind.action(),
        };
        let mut record = self.new_record(command.action_id, kind, command.round_id, true);
        let refusal = if self.sender.is_none() {
            Some("no key is configured".to_owned())
        } else if command.round_id != round.round_id {
            Some(format!(
                "round {} is not running, round {} is",
                command.round_id, round.round_id
            ))
        } else if round.state != RoundState::Betting {
            Some(format!(
                "round {} is {}, it must be BETTING",
                round.round_id,
                round.state.label()
            ))
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return self.end_record(&mut record, ActionState::Failed, Some(refusal));
        }
        log::info!("manual {} of round {}", kind.label(), round.round_id);
        self.start(record, Check::Called, snapshot, round, now);
    }

    fn refuse_commands_beside_the_flight(&mut self) {
        let Some(flight) = &self.flight else { return };
        let busy = format!(
            "{} of round {} is in flight (action {}): at most one action can be",
            flight.record.kind.label(),
            flight.record.round_id,
            flight.record.id
        );
        while let Some(command) = self.waiting_commands.pop_front() {
            let mut record = self.new_record(
                command.action_id,
                command.kind.action(),
                command.round_id,
                true,
            );
            self.end_record(&mut record, ActionState::Failed, Some(busy.clone()));
        }
    }

    /// Prepares, signs and sends the first transaction of an action.
    fn start(
        &mut self,
        mut record: ActionRecord,
        check: Check,
        snapshot: &Snapshot,
        round: &Round,
        now: Instant,
    ) {
        record.state = ActionState::Preparing;
        self.publish_record(&mut record);
        let (Some(sender), Some(head)) = (&mut self.sender, snapshot.head) else {
            let text = "the chain has not been read yet".to_owned();
            return self.end_record(&mut record, ActionState::Failed, Some(text));
        };
        if record.kind == ActionKind::Draw {
            self.status.last_draw_attempt_unix_ms = Some(self.clock.unix_ms());
        }
        let twin_until = self
            .round
            .twin_since
            .map(|since| since + TWIN_PATIENCE_BLOCKS);
        let order = Order {
            kind: record.kind,
            round,
            head,
            next_block_time: self.round.next_block_time(snapshot, head),
            check,
            spend_max_wei: match record.kind {
                ActionKind::Draw => self
                    .settings
                    .max_tx_fee_wei
                    .saturating_sub(self.round.unpayable_wei),
                _ => self.settings.max_tx_fee_wei,
            },
            outbid_twin: record.manual || twin_until.is_some_and(|until| head.number >= until),
        };
        let prepared = sender.prepare(&order, now);
        self.status.balance_wei = sender.balance_wei().or(self.status.balance_wei);
        match prepared {
            Ok(Prepared { state, notes }) => {
                self.round.unanswered = None;
                self.round.unchecked_spent |= check != Check::Called;
                for note in notes {
                    self.alerts
                        .raise(note.code, note.severity, Some(round.round_id), note.message);
                }
                if matches!(record.kind, ActionKind::Extend { .. }) {
                    self.extended_at.push_back(now);
                }
                record.state = ActionState::Pending;
                let mut flight = Flight {
                    state,
                    record,
                    looked: None,
                    paused_until: None,
                };
                self.broadcast(&mut flight, head, round);
                self.publish_flight(&mut flight);
                self.flight = Some(flight);
            }
            Err(attempt) => self.not_started(record, attempt, head),
        }
    }

    /// Nothing was signed: say why, and at which head not to try again.
    fn not_started(&mut self, mut record: ActionRecord, attempt: Attempt, head: BlockRef) {
        let round_id = record.round_id;
        let kind = record.kind;
        let text = attempt.to_string();
        if !record.manual {
            self.round.ruled_out = Some((head.hash, kind));
            self.round.unanswered = None;
        }
        match &attempt {
            Attempt::Reverts { meaning, .. } => match meaning {
                RevertMeaning::NotYet => {
                    log::debug!("{} of round {round_id}: {text}", kind.label())
                }
                RevertMeaning::Hopeless => {
                    self.alerts.raise(
                        "action_blocked",
                        Severity::Critical,
                        Some(round_id),
                        text.clone(),
                    );
                }
                RevertMeaning::Unpayable => {
                    self.alerts.raise(
                        "unpayable_player",
                        Severity::Critical,
                        Some(round_id),
                        text.clone(),
                    );
                }
                _ => log::warn!("{} of round {round_id}: {text}", kind.label()),
            },
            Attempt::Unreachable(_) => {
                // The chain did not answer: this says nothing about the head, so the next wake tries again.
                self.round.ruled_out = None;
                self.round.pending_time = None;
                self.note_unanswered();
                log::warn!("{} of round {round_id}: {text}", kind.label());
            }
            Attempt::TwinPending { .. } => {
                self.round.twin_since.get_or_insert(head.number);
                log::warn!(
                    "{} of round {round_id}: {text}: it is given time",
                    kind.label()
                );
            }
            Attempt::OutsideWindow { .. } => {
                log::warn!("{} of round {round_id}: {text}", kind.label());
            }
            Attempt::TooMuchGas { .. }
            | Attempt::InsufficientFunds { .. }
            | Attempt::RoundTooCostly { .. } => {
                self.alerts.raise(
                    "action_blocked",
                    Severity::Critical,
                    Some(round_id),
                    text.clone(),
                );
            }
        }
        self.end_record(&mut record, ActionState::Failed, Some(text));
    }

    /// Shortly before the window: everything a draw will need, looked at once.
    fn rehearse_when_due(&mut self, snapshot: &Snapshot, round: &Round, now: Instant) {
        let chain_time = snapshot.chain_time_at(now);
        let due = round.state == RoundState::Betting
            && !round.total_pot_wei.is_zero()
            && chain_time.saturating_add(REHEARSAL_BEFORE_SECS) >= round.min_draw_time
            && chain_time < round.min_draw_time;
        if !due || self.round.rehearsed {
            return;
        }
        let Some(sender) = &mut self.sender else {
            return;
        };
        self.round.rehearsed = true;
        let problems = sender.rehearse(snapshot, round);
        self.status.balance_wei = sender.balance_wei().or(self.status.balance_wei);
        for problem in &problems {
            self.alerts.raise(
                "rehearsal",
                Severity::Warning,
                Some(round.round_id),
                problem.clone(),
            );
        }
        self.status.rehearsal = Some(Rehearsal {
            round_id: round.round_id,
            unix_ms: self.clock.unix_ms(),
            ready: problems.is_empty(),
            problems,
        });
    }
}
