//! The operator: at each turn it looks at the newest snapshot and does what the pure decision says. It keeps no state of
//! the chain; a lost event cannot lose a draw, a repeated one cannot double it.
//!
//! At most one action is in flight, whoever asked for it (`flight`). What the sender does lies in `sender`; when to act
//! lies in `lottery::decision`; what to do with a pending transaction lies in `lottery::send_state`. The thread around
//! `turn` only waits: for the store's news, a command, or the time that the turn named.

mod driving;
mod ending;
mod flight;
mod foresight;
mod lateness;
mod looking_ahead;
mod memory;
mod moment;
mod past;
mod players;
mod recovery;
mod rehearsal;
mod reporter;
mod starting;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError};

use self::flight::{Flight, Landed};
use self::foresight::Ahead;
use self::memory::{Arrivals, Recovery, RoundMemory, Spending};
use self::moment::Moment;
use self::reporter::{describe, Reporter};

use crate::actors::alerts::{Alerts, Raised};
use crate::actors::memory_store::UpdateSender;
use crate::actors::messages::{PublicationReceiver, SharedSnapshot};
use crate::actors::sender::{Check, Sender};
use crate::actors::watcher::{self, Watcher};
use crate::base::clock::{Clock, Wakeable};
use crate::base::metrics::Metrics;
use crate::base::shutdown::Shutdown;
use crate::base::thread::Beat;
use crate::chain::endpoints::Endpoints;
use crate::chain::types::{Address, U256};
use crate::lottery::action::{ActionKind, ActionState, InFlight};
use crate::lottery::alert::{AlertCode, Severity, Subject};
use crate::lottery::command::{admit, Command, Grounds};
use crate::lottery::decision::{decide, Decision, Facts, Policy, Trouble, Why};
use crate::lottery::operator_status::OperatorStatus;
use crate::lottery::payable::Outlook;
use crate::lottery::round::{Round, RoundState};
use crate::lottery::send_state::Rules;
use crate::lottery::snapshot::Snapshot;

const EXTENSIONS_PER_DAY_MAX: usize = 20;

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
    pub chain_id: u64,
    /// Whose draws the contract has to accept, where there is no key to tell.
    pub operator_address: Option<Address>,
}

pub struct Operator {
    settings: Settings,
    sender: Option<Sender>,
    endpoints: Endpoints,
    publications: PublicationReceiver,
    commands: Receiver<Command>,
    waiting_commands: VecDeque<Command>,
    reporter: Reporter,
    round: RoundMemory,
    spending: Spending,
    flight: Option<Flight>,
    landed: Option<Landed>,
    recovery: Recovery,
    automatic_actions: u64,
    arrivals: Arrivals,
    /// For a low balance to be told no longer than it is.
    balance_looked_at: Option<Instant>,
}

impl Operator {
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        settings: Settings,
        sender: Option<Sender>,
        endpoints: Endpoints,
        snapshot: SharedSnapshot,
        publications: PublicationReceiver,
        commands: Receiver<Command>,
        updates: UpdateSender,
        clock: Clock,
        metrics: Metrics,
    ) -> Operator {
        let status = OperatorStatus {
            is_running: settings.automatic && sender.is_some(),
            address: sender.as_ref().map(Sender::address),
            key_loaded: sender.is_some(),
            max_draw_retries: settings.policy.max_draw_retries,
            ..OperatorStatus::default()
        };
        let alerts = Alerts::new(updates.clone(), clock.clone(), metrics.clone());
        let reporter = Reporter {
            alerts: Raised::default(),
            watcher: Watcher::new(
                alerts,
                snapshot.clone(),
                endpoints.clone(),
                (
                    status.address.or(settings.operator_address),
                    settings.chain_id,
                ),
                clock.clone(),
            ),
            updates,
            snapshot,
            clock,
            metrics,
            status,
        };
        Operator {
            settings,
            sender,
            endpoints,
            publications,
            commands,
            waiting_commands: VecDeque::new(),
            reporter,
            round: RoundMemory::default(),
            spending: Spending::default(),
            flight: None,
            landed: None,
            recovery: Recovery::default(),
            automatic_actions: 0,
            arrivals: Arrivals::default(),
            balance_looked_at: None,
        }
    }

    /// What tells of conditions beside the operator, for a thread of its own.
    pub fn watcher(&self) -> Watcher {
        self.reporter.watcher.clone()
    }

    /// The thread's body. After a crash it is entered again with what is in flight still known.
    pub fn run(&mut self, shutdown: &Shutdown, beat: &Beat) -> Result<(), String> {
        while !shutdown.is_tripped() {
            beat.turn();
            let wake = self.turn(self.reporter.clock.now())?;
            // Woken or not, the next turn looks for itself.
            let news: [&dyn Wakeable; 3] = [&self.publications, &self.commands, shutdown.signal()];
            self.reporter.clock.wait_any(&news, Some(wake));
        }
        Ok(())
    }

    /// Hears the news and the commands, acts, and tells what has changed; when to turn again at the latest.
    ///
    /// # Errors
    /// When the store is gone.
    pub(crate) fn turn(&mut self, now: Instant) -> Result<Instant, String> {
        self.hear()?;
        let wake = self.look(now);
        self.tell_flight();
        self.watch_signer(now);
        let raised = self.reporter.alerts.conditions();
        self.reporter.watcher.hear(raised, self.in_flight());
        // Without a key it is another daemon's draw.
        let held_up_by = self.round.held_up_by.filter(|_| self.sender.is_some());
        self.reporter.status.held_up_by = held_up_by;
        self.reporter.publish_status(self.in_flight())?;
        let tick = now + self.tick();
        Ok(wake.map_or(tick, |wake| wake.min(tick)))
    }

    /// That nobody signs is told from the first try that fails to the first that does not.
    fn watch_signer(&mut self, now: Instant) {
        let Some(sender) = &mut self.sender else {
            return;
        };
        sender.try_signer_again(now);
        let (code, problem) = (AlertCode::SignerFailed, sender.signer_problem());
        let alerts = &mut self.reporter.alerts;
        alerts.set(code, Subject::None, Severity::Critical, problem);
    }

    /// How long nothing happens at the longest: conditions begin and end with time alone.
    fn tick(&self) -> Duration {
        self.settings.draw_check_interval.min(watcher::EVERY)
    }

    fn hear(&mut self) -> Result<(), String> {
        // Level-triggered: only the newest snapshot counts, however many changes led to it.
        loop {
            match self.publications.try_recv() {
                Ok(_) => {
                    let unix_ms = self.reporter.clock.unix_ms();
                    self.reporter.status.last_event_unix_ms = Some(unix_ms);
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Err("the store is gone".to_owned()),
            }
        }
        self.waiting_commands.extend(self.commands.try_iter());
        Ok(())
    }

    /// One look at the newest snapshot; when to look again, where something has a time.
    fn look(&mut self, now: Instant) -> Option<Instant> {
        let snapshot = self.reporter.snapshot.load();
        let unix_ms = self.reporter.clock.unix_ms();
        self.reporter.status.watchdog_last_check_unix_ms = Some(unix_ms);
        let Some(moment) = self.enter(snapshot, now) else {
            self.reporter.status.phase = "waiting for the chain".to_owned();
            return None;
        };
        if let Some(wake) = self.take_up_after_reorg(&moment) {
            return Some(wake);
        }
        self.watch_lateness(&moment);
        while let Some(command) = self.waiting_commands.pop_front() {
            self.obey(command, &moment);
        }
        self.recover(&moment);
        let wake = self.flight.is_some().then(|| self.drive(&moment));
        let out_of = self.flight.as_ref().map(|flight| flight.record.round_id);
        if out_of == Some(moment.round.round_id) {
            return wake;
        }
        if self.sender.is_none() {
            self.reporter.status.phase = "following only: no key is configured".to_owned();
            return None;
        }
        if !self.settings.automatic {
            if out_of.is_none() {
                self.reporter.status.phase = "disabled: only commands are carried out".to_owned();
            }
            return wake;
        }
        // What is still out of an earlier round never holds up this one.
        let own = self.act_by_itself(&moment);
        match (wake, own) {
            (Some(wake), Some(own)) => Some(wake.min(own)),
            (wake, own) => wake.or(own),
        }
    }

    /// The moment at `now`, in the memory of its round.
    fn enter(&mut self, snapshot: Arc<Snapshot>, now: Instant) -> Option<Moment> {
        let round = snapshot.round.as_ref()?;
        let (round_id, is_betting) = (round.round_id, round.state == RoundState::Betting);
        let before = self.round.round_id;
        // A reorg may take back a round's first bet, and with it all that was known of the round.
        if before != round_id || self.round.has_begun && !is_betting {
            self.end_refusal();
            self.round = RoundMemory::of(round_id);
            self.reporter.alerts.leave_round();
        }
        self.round.has_begun |= is_betting;
        let moment = Moment::of(snapshot, &self.round, now)?;
        if before != round_id {
            self.enter_lateness(before, &moment);
        }
        self.arrivals
            .note(moment.head, moment.snapshot.reorgs_total);
        let round = &moment.round;
        let scheduled = round.state == RoundState::Betting;
        let status = &mut self.reporter.status;
        status.current_round_id = Some(round_id);
        status.scheduled_draw_round_id = scheduled.then_some(round_id);
        status.scheduled_draw_due_at = scheduled.then_some(round.min_draw_time);
        let failures = self.round.draw_failures.count;
        status.consecutive_draw_failures = failures.saturating_add(self.round.unpayable_draws);
        Some(moment)
    }

    fn act_by_itself(&mut self, moment: &Moment) -> Option<Instant> {
        match self.look_ahead(moment) {
            Ahead::Asked => return Some(self.reporter.clock.now()),
            Ahead::Awaited => {}
            Ahead::Nothing => {
                self.rehearse_when_due(moment);
                self.watch_balance(moment);
                self.probe_players(moment);
                self.watch_crowd(moment);
            }
        }
        let (round, now) = (&moment.round, moment.now);
        let carried_time = moment.carried_time();
        let (extended, extended_in_a_day) =
            past::extensions(&moment.snapshot, round.round_id, carried_time);
        let ruled_out = self.round.ruled_out_at(moment.head, now);
        let facts = Facts {
            round,
            config: moment.snapshot.config.as_deref(),
            chain_time: moment.chain_time,
            schedule: moment.schedule,
            draw_failures: self.round.draw_failures,
            refund_failures: self.round.refund_failures,
            extensions_left: self.extensions_left(extended_in_a_day, now),
            extensions_of_round: extended,
            ruled_out: ruled_out.map(|it| it.kind),
            ruled_out_until: ruled_out.map(|it| it.until),
            pending: self.round.pending_at(moment.head, now),
            arrival_unseen: self.arrivals.is_unseen(moment.head),
            draw_hopeless: self.outlook(moment) == Outlook::Hopeless,
            stuck_until: self.round.stuck.as_ref().map(|stuck| stuck.again_at),
            unanswered: self.round.unanswered,
            unchecked_spent: self.round.unchecked_spent,
        };
        match decide(&facts, &self.settings.policy, now) {
            Decision::Wait { why, wake } => {
                self.wait(why, round);
                self.wait_lateness(why, moment);
                wake
            }
            Decision::AskPendingTime => {
                self.ask_pending_time(moment);
                Some(now)
            }
            Decision::Act(kind) => {
                self.begin_if_due(kind, moment);
                Some(now)
            }
            Decision::DrawUnchecked => {
                log::warn!(
                    "round {}: no endpoint answers and the window is about to close: drawing unchecked",
                    round.round_id
                );
                let spacing = moment.schedule.least_to_next_secs;
                let check = Check::Unchecked {
                    earliest: round.min_draw_time.saturating_sub(spacing),
                    latest: round.max_draw_time.saturating_sub(spacing),
                };
                self.begin(ActionKind::Draw, check, moment);
                Some(now)
            }
            Decision::Blocked(trouble) => {
                self.blocked(trouble, round);
                None
            }
        }
    }

    /// Carries out a person's command, or tells why not; what is in flight is not touched by a refusal.
    fn obey(&mut self, command: Command, moment: &Moment) {
        let Command {
            action_id,
            round_id,
            kind,
        } = command;
        let in_flight = self.in_flight();
        let grounds = Grounds {
            round: &moment.round,
            chain_time: moment.carried_time(),
            key_loaded: self.sender.is_some(),
            in_flight: in_flight.as_ref(),
        };
        let admitted = admit(round_id, kind, &grounds);
        let action = admitted.clone().unwrap_or_else(|_| kind.action());
        let mut record = self.reporter.new_record(action_id, action, round_id, true);
        match admitted {
            Ok(kind) => {
                log::info!("asked for by hand round={round_id} action={}", kind.label());
                self.start(record, Check::Called, moment);
            }
            Err(refused) => {
                let text = Some(refused.to_string());
                self.reporter
                    .end_record(&mut record, ActionState::Failed, text);
            }
        }
    }

    fn wait(&mut self, why: Why, round: &Round) {
        let phase = describe(why, round, &self.round);
        if why == Why::GivenUp {
            let text = format!("{phase}; a manual draw is still possible");
            let (code, round_id) = (AlertCode::DrawGivenUp, round.round_id);
            self.reporter
                .alert(code, Severity::Critical, round_id, text);
        }
        if self.flight.is_none() {
            self.reporter.say_phase(round.round_id, phase);
        }
    }

    fn blocked(&mut self, trouble: Trouble, round: &Round) {
        let round_id = round.round_id;
        let text = match trouble {
            Trouble::DeadEmptyRound => {
                format!("stuck: round {round_id} ended without a bet, and the contract accepts nothing any more")
            }
            Trouble::TooManyExtensions => {
                let text = format!("round {round_id} is empty and was extended {EXTENSIONS_PER_DAY_MAX} times in a day");
                let code = AlertCode::TooManyExtensions;
                self.reporter
                    .alert(code, Severity::Critical, round_id, text.clone());
                text
            }
        };
        if self.flight.is_none() {
            self.reporter.say_phase(round_id, text);
        }
    }

    fn in_flight(&self) -> Option<InFlight> {
        self.flight.as_ref().map(Flight::in_flight)
    }

    fn extensions_left(&mut self, seen_on_chain: usize, now: Instant) -> bool {
        self.spending.extensions(now).max(seen_on_chain) < EXTENSIONS_PER_DAY_MAX
            && self.spending.spent_wei(now) < self.settings.max_spend_wei_per_day
    }
}

#[cfg(test)]
mod tests;
