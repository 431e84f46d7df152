//! The poller thread: the only reader of the chain for state. Each turn looks at the head; when it moved, the new
//! blocks' logs and the round are read at that very block and handed to the store as one update.
//!
//! A turn is a fetch that answers with an update, and an apply that cannot fail: nothing of the poller's own memory
//! changes before the fetch has succeeded whole. Where a subscription announces heads, it wakes the poller sooner; what
//! is read, and how it is checked, is the same.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{never, Receiver};

use crate::actors::backfill::{Backfill, Limits};
use crate::actors::event_manager::history::{Job, Step};
use crate::actors::memory_store::UpdateSender;
use crate::actors::messages::SharedSnapshot;
use crate::actors::pace::Pace;
use crate::actors::reader::{Advanced, Question, Reader, Reading};
use crate::actors::replay::Replay;
use crate::base::clock::{ChainTime, Clock, Wakeable};
use crate::base::shutdown::Shutdown;
use crate::base::thread::Beat;
use crate::chain::cursor::Cursor;
use crate::chain::endpoints::Endpoints;
use crate::chain::error::{ErrorKind, RpcError};
use crate::chain::node::Endpoint;
use crate::chain::subscription::Notice;
use crate::chain::types::BlockRef;
use crate::chain::types::{Address, BlockId, Header, H256, U256};
use crate::lottery::continuity::Stand;
use crate::lottery::history::LoggedEvent;
use crate::lottery::round::{ContractConfig, Phase, Round};
use crate::lottery::snapshot::{BlockSchedule, ConnectionStatus, Finality};
use crate::lottery::state::{Advance, Rollback, Update};

mod history;

/// Without the tags `safe` and `finalized`, blocks this deep count as final.
const FINALITY_DEPTH: u64 = 64;
const FINALITY_EVERY: Duration = Duration::from_secs(60);
/// Every change of round and configuration is logged, so reading them anew only bounds what a lying answer could hide.
const REFRESH_EVERY_MIN: Duration = Duration::from_secs(120);
/// How long an endpoint may take before the next is asked as well; shorter while a draw may be due.
const PATIENCE: Duration = Duration::from_secs(2);
const PATIENCE_IN_WINDOW: Duration = Duration::from_millis(400);
/// While a block is overdue another endpoint is asked whether it has it, ever less often.
const SECOND_LOOK_MIN: Duration = Duration::from_secs(2);
const SECOND_LOOK_MAX: Duration = Duration::from_secs(15);
/// A reading whose events do not explain the round is asked for so many times before the logs are read anew.
const DOUBTS_MAX: u32 = 2;
const DOUBT_AGAIN: Duration = Duration::from_millis(200);

#[derive(Clone, Debug)]
pub struct Settings {
    pub contract: Address,
    pub poll_interval: Duration,
    pub round_interval: Duration,
    pub config_interval: Duration,
    pub start_block_offset: u64,
    pub history_max_blocks: u64,
    pub round_history_max: usize,
}

pub struct EventManager {
    settings: Settings,
    endpoints: Endpoints,
    /// Of new heads; never any, where heads are polled.
    notices: Receiver<Notice>,
    updates: UpdateSender,
    snapshot: SharedSnapshot,
    clock: Clock,
    reader: Arc<Reader>,
    reachable: Option<bool>,
    finality_read_at: Option<Instant>,
    following: Following,
}

/// All that is known of the chain; a restart of the thread begins with nothing.
struct Following {
    cursor: Arc<Cursor>,
    pace: Pace,
    subscribed: bool,
    announced: Option<Header>,
    head_seen_at: Instant,
    refreshed_at: Option<Instant>,
    /// The head at which the players were last asked of the contract itself.
    participants_read_at: Option<H256>,
    /// The newest block whose round the events explain, and where the round stood.
    sound: Option<(u64, Stand)>,
    doubts: u32,
    second_look: (Option<Instant>, Duration),
    replay: Option<Replay>,
    backfill: Option<Backfill>,
    job: Option<Job>,
    job_failures: u32,
    job_not_before: Option<Instant>,
    failures: u32,
}

/// What was read of the contract at the head.
#[derive(Default)]
struct State {
    round: Option<Round>,
    config: Option<ContractConfig>,
    participants: Option<Vec<(Address, U256)>>,
}

/// What ended a wait.
enum Woken {
    Stop,
    Due,
    Notice(Notice),
    /// The subscriber is gone for good.
    Unsubscribed,
    Job(Result<Step, RpcError>),
}

impl Following {
    fn new(poll_interval: Duration, now: Instant) -> Following {
        Following {
            cursor: Arc::default(),
            pace: Pace::new(poll_interval),
            subscribed: false,
            announced: None,
            head_seen_at: now,
            refreshed_at: None,
            participants_read_at: None,
            sound: None,
            doubts: 0,
            second_look: (None, SECOND_LOOK_MIN),
            replay: None,
            backfill: None,
            job: None,
            job_failures: 0,
            job_not_before: None,
            failures: 0,
        }
    }

    fn tip_hash(&self) -> Option<H256> {
        self.cursor.tip().map(|tip| tip.hash)
    }
}

impl EventManager {
    pub fn new(
        settings: Settings,
        endpoints: Endpoints,
        notices: Receiver<Notice>,
        updates: UpdateSender,
        snapshot: SharedSnapshot,
        clock: Clock,
    ) -> EventManager {
        let following = Following::new(settings.poll_interval, clock.now());
        EventManager {
            reader: Arc::new(Reader::new(settings.contract)),
            settings,
            endpoints,
            notices,
            updates,
            snapshot,
            clock,
            reachable: None,
            finality_read_at: None,
            following,
        }
    }

    /// The thread's body. A restart after a failure forgets what it knew and reads everything anew.
    pub fn run(&mut self, shutdown: &Shutdown, beat: &Beat) -> Result<(), String> {
        let subscribed = self.following.subscribed;
        self.following = Following::new(self.settings.poll_interval, self.clock.now());
        self.following.subscribed = subscribed;
        loop {
            beat.turn();
            let due = self.clock.now() + self.turn()?;
            loop {
                self.start_job();
                match self.wait_until(due, shutdown) {
                    Woken::Stop => return Ok(()),
                    Woken::Due => break,
                    Woken::Notice(notice) => {
                        self.take_notice(notice);
                        break;
                    }
                    Woken::Unsubscribed => {
                        self.notices = never();
                        self.following.subscribed = false;
                        break;
                    }
                    Woken::Job(result) => self.take_job(result)?,
                }
                beat.turn();
            }
        }
    }

    fn wait_until(&self, due: Instant, shutdown: &Shutdown) -> Woken {
        let job = self.following.job.as_ref();
        let job = job.map_or_else(never, |job| job.answer.clone());
        let news: [&dyn Wakeable; 3] = [shutdown.signal(), &self.notices, &job];
        match self.clock.wait_any(&news, Some(due)) {
            None => Woken::Due,
            Some(0) => Woken::Stop,
            Some(1) => match self.notices.recv() {
                Ok(notice) => Woken::Notice(notice),
                Err(_) => Woken::Unsubscribed,
            },
            Some(_) => {
                Woken::Job(job.recv().unwrap_or_else(|_| {
                    Err(RpcError::transport("a step through the history failed"))
                }))
            }
        }
    }

    /// One look at the chain; how long to wait before the next.
    fn turn(&mut self) -> Result<Duration, String> {
        let question = self.question();
        let is_announced = question.announced.is_some();
        let (endpoint, reading) = match self.ask(&question) {
            Ok(read) => read,
            // The announcement was faster than the endpoint that is asked for the rest.
            Err(error) if is_announced && error.kind == ErrorKind::Behind => {
                return Ok(DOUBT_AGAIN)
            }
            Err(error) => return self.note_failure(&error),
        };
        self.following.failures = 0;
        self.note_reachable(true, None)?;
        let (endpoint, reading) = match reading {
            Reading::Advanced(_) => (endpoint, reading),
            _ if is_announced => (endpoint, reading),
            idle => self.second_look(endpoint, idle, question),
        };
        let now = self.clock.now();
        match reading {
            Reading::Unchanged => self.following.pace.unchanged(now),
            Reading::Lagging { number, timestamp } => {
                log::debug!("{} lags: its head is {number}", endpoint.host());
                self.endpoints.note_head(&endpoint, number, timestamp);
                self.following.pace.unchanged(now);
            }
            Reading::Advanced(advanced) => {
                if let Some(again) = self.doubt(&endpoint, &advanced) {
                    return Ok(again);
                }
                self.take(*advanced, &endpoint, now)?;
            }
        }
        self.read_finality(&endpoint, now)?;
        let (pace, now) = (&self.following.pace, self.clock.now());
        Ok(match self.following.subscribed {
            true => pace.wait_for_news(now),
            false => pace.wait(now),
        })
    }

    fn question(&mut self) -> Question {
        let (following, snapshot, now) =
            (&mut self.following, self.snapshot.load(), self.clock.now());
        let interval = match self.reader.trusts_blooms() {
            true => REFRESH_EVERY_MIN,
            // An unproven bloom may hide a log; the state would show it.
            false => self.settings.round_interval,
        };
        let interval = interval.max(self.settings.config_interval);
        // The store has caught up with us, and still its players do not explain the pot: ask the contract.
        let in_step = snapshot.head.map(|head| head.hash) == following.tip_hash();
        let players_wei = snapshot.participants.total_amount_wei();
        let unexplained = snapshot
            .round
            .as_ref()
            .is_some_and(|round| round.total_pot_wei != players_wei);
        let asked = following.participants_read_at == following.tip_hash();
        let searching = following.replay.is_some()
            || following
                .backfill
                .as_ref()
                .is_some_and(|backfill| !backfill.has_round_start());
        let rereads = following.doubts == DOUBTS_MAX + 1;
        Question {
            cursor: following.cursor.clone(),
            announced: following.announced.take(),
            refresh: following
                .refreshed_at
                .is_none_or(|at| now.saturating_duration_since(at) >= interval),
            participants: in_step && unexplained && !searching && !asked,
            stand: following.sound.map(|(_, stand)| stand),
            replaying: following.replay.is_some(),
            reread_above: following
                .sound
                .map(|(number, _)| number)
                .filter(|_| rereads),
        }
    }

    fn ask(&self, question: &Question) -> Result<(Endpoint, Reading), RpcError> {
        let (reader, question) = (self.reader.clone(), question.clone());
        self.endpoints.hedged(self.patience(), move |endpoint| {
            reader
                .read(endpoint, &question)
                .map_err(RpcError::of_this_endpoint)
        })
    }

    /// A head that does not move although it should, or that went back: somebody else may know better.
    fn second_look(
        &mut self,
        endpoint: Endpoint,
        idle: Reading,
        question: Question,
    ) -> (Endpoint, Reading) {
        let now = self.clock.now();
        let lags = matches!(idle, Reading::Lagging { .. });
        let following = &mut self.following;
        let overdue = now >= following.head_seen_at + following.pace.overdue_after();
        let (looked_at, every) = following.second_look;
        let is_due = looked_at.is_none_or(|at| now >= at + every);
        if !(lags || overdue && is_due) {
            return (endpoint, idle);
        }
        following.second_look = (Some(now), (every * 2).min(SECOND_LOOK_MAX));
        let reader = self.reader.clone();
        let patience = self.patience();
        let other = self
            .endpoints
            .hedged_without(&endpoint, patience, move |endpoint| {
                reader
                    .read(endpoint, &question)
                    .map_err(RpcError::of_this_endpoint)
            });
        match other {
            Some(Ok((other, Reading::Advanced(advanced)))) if !advanced.blocks.is_empty() => {
                self.endpoints.set_back(&endpoint);
                (other, Reading::Advanced(advanced))
            }
            _ => (endpoint, idle),
        }
    }

    /// Events that do not lead to the round's state are missing some: asked again of others first, then read anew from
    /// the last sound block whatever the blooms say, and at last taken with a warning, since the state itself is certain.
    fn doubt(&mut self, endpoint: &Endpoint, advanced: &Advanced) -> Option<Duration> {
        if !advanced.is_unexplained {
            self.following.doubts = 0;
            return None;
        }
        self.following.doubts += 1;
        let number = advanced.head.number;
        if self.following.doubts <= DOUBTS_MAX + 1 && self.following.sound.is_some() {
            log::debug!(
                "{}: the logs up to block {number} do not explain the round",
                endpoint.host()
            );
            self.endpoints.set_back(endpoint);
            return Some(DOUBT_AGAIN);
        }
        log::warn!("logs up to block {number} are missing: the players are read from the contract");
        self.following.doubts = 0;
        None
    }

    fn take(
        &mut self,
        advanced: Advanced,
        endpoint: &Endpoint,
        now: Instant,
    ) -> Result<(), String> {
        let head = BlockRef::from(&advanced.head);
        // A poller that was restarted begins anew: what the store holds may be of another branch by now.
        let begins_anew = advanced.is_first && self.snapshot.load().head.is_some();
        let rollback = advanced
            .rollback
            .or(begins_anew.then_some(Rollback::Everything));
        if let Some(rollback) = rollback {
            self.note_rollback(rollback, &head);
        }
        self.reader.learn(&advanced);
        let following = &mut self.following;
        let cursor = Arc::make_mut(&mut following.cursor);
        if let Some((number, hash)) = advanced.anchor {
            cursor.push_anchor(number, hash);
        }
        advanced.blocks.iter().for_each(|block| cursor.push(*block));
        if advanced.blocks.is_empty() && rollback.is_none() {
            following.pace.unchanged(now);
        } else {
            following.head_seen_at = now;
            following.second_look = (None, SECOND_LOOK_MIN);
            following.pace.moved(now, &following.cursor);
        }
        if advanced.participants.is_some() {
            following.participants_read_at = Some(head.hash);
        }
        if advanced.config.is_some() {
            following.refreshed_at = Some(now);
        }
        if advanced.is_first {
            let limits = Limits {
                first_chunk_blocks: self.settings.start_block_offset,
                history_max_blocks: self.settings.history_max_blocks,
                round_history_max: self.settings.round_history_max,
            };
            let backfill = Backfill::new(&advanced.head, advanced.round.as_ref(), limits);
            following.backfill = Some(backfill);
        }
        if let Some(base) = &advanced.replay_above {
            match &mut following.replay {
                Some(replay) => replay.extend_to(&head),
                None => {
                    let missed = head.number.saturating_sub(base.number);
                    log::info!("{missed} blocks were missed: their logs are replayed");
                    following.replay = Some(Replay::new(base, &head));
                }
            }
        }
        if let Some(round) = &advanced.round {
            following.sound = Some((head.number, Stand::from(round)));
        }
        if let Some(mean_secs) = following.cursor.mean_spacing_secs() {
            self.endpoints.note_block_time(mean_secs);
        }
        self.endpoints
            .note_head(endpoint, head.number, head.timestamp);
        let state = State {
            round: advanced.round,
            config: advanced.config,
            participants: advanced.participants,
        };
        self.send_advance(rollback, advanced.events, state)
    }

    fn send_advance(
        &self,
        rollback: Option<Rollback>,
        events: Vec<LoggedEvent>,
        state: State,
    ) -> Result<(), String> {
        let cursor = &self.following.cursor;
        let Some(head) = cursor.tip() else {
            return Ok(());
        };
        self.send(Update::Advance(Box::new(Advance {
            rollback,
            head: *head,
            time: ChainTime {
                head_timestamp: head.timestamp,
                seen_at: self.following.head_seen_at,
            },
            schedule: BlockSchedule {
                mean_spacing_secs: cursor.mean_spacing_secs(),
                min_spacing_secs: cursor.min_spacing_secs().unwrap_or(0),
            },
            syncing: self.following.replay.is_some(),
            events,
            round: state.round,
            config: state.config,
            participants: state.participants,
        })))
    }

    /// Events of missed blocks, told at the head that is known.
    fn send_replayed(&self, events: Vec<LoggedEvent>) -> Result<(), String> {
        self.send_advance(None, events, State::default())
    }

    fn note_rollback(&mut self, rollback: Rollback, head: &BlockRef) {
        let following = &mut self.following;
        let cursor = Arc::make_mut(&mut following.cursor);
        match rollback {
            Rollback::To(ancestor) => {
                let gone = cursor.rewind(ancestor);
                log::warn!(
                    "reorg: {} blocks above {ancestor} replaced, head is now {}",
                    gone.len(),
                    head.number
                );
                // Invariant: the ancestor was found among the remembered blocks.
                let hash = cursor.tip().map(|tip| tip.hash).unwrap_or_default();
                if let Some(backfill) = &mut following.backfill {
                    backfill.lower_to(ancestor, hash);
                }
                if let Some(replay) = &mut following.replay {
                    replay.lower_to(ancestor, hash);
                }
            }
            Rollback::Everything => {
                log::warn!("reorg deeper than what is remembered: reading everything anew");
                cursor.clear();
                following.replay = None;
                following.job = None;
            }
        }
    }

    /// `safe` and `finalized`, once a minute.
    fn read_finality(&mut self, endpoint: &Endpoint, now: Instant) -> Result<(), String> {
        let due = self
            .finality_read_at
            .is_none_or(|at| now.saturating_duration_since(at) >= FINALITY_EVERY);
        let Some(tip) = self.following.cursor.tip().filter(|_| due) else {
            return Ok(());
        };
        let by_depth = tip.number.saturating_sub(FINALITY_DEPTH);
        let read = |tag| match endpoint.header(tag) {
            Ok(header) => Ok(Some(header.number)),
            // No such tag, or no such block yet.
            Err(error) if error.is_node_answer() || error.kind == ErrorKind::Behind => Ok(None),
            Err(error) => Err(error),
        };
        // Unreachable just now: the next turn asks again, and reports it if it lasts.
        let (Ok(finalized), Ok(safe)) = (read(BlockId::Finalized), read(BlockId::Safe)) else {
            return Ok(());
        };
        let finalized_block = finalized.or(safe).unwrap_or(by_depth);
        let safe_block = safe.unwrap_or(finalized_block).max(finalized_block);
        self.finality_read_at = Some(now);
        self.send(Update::Finality(Finality {
            safe_block,
            finalized_block,
        }))
    }

    fn note_failure(&mut self, error: &RpcError) -> Result<Duration, String> {
        let failures = self.following.failures.saturating_add(1);
        self.following.failures = failures;
        log::debug!("a reading failed: {error}");
        // A single lost packet is not an outage.
        if failures >= 2 || self.reachable.is_none() {
            self.note_reachable(false, Some(error.to_string()))?;
        }
        let wait = backoff(failures, &self.clock).max(self.endpoints.ready_in());
        Ok(wait.min(self.until_deadline()))
    }

    /// How long a wait may be at most, so that no deadline of the round is slept through.
    fn until_deadline(&self) -> Duration {
        const SHORTEST: Duration = Duration::from_secs(1);
        const LONGEST: Duration = Duration::from_secs(50);
        let snapshot = self.snapshot.load();
        let (Some(round), Some(time)) = (&snapshot.round, snapshot.chain_time) else {
            return LONGEST;
        };
        let now = self.clock.now();
        let until = |timestamp| time.instant_of(timestamp).saturating_duration_since(now);
        match round.phase(time.at(now)) {
            Phase::Betting => until(round.end_time).clamp(SHORTEST, LONGEST),
            Phase::Closed | Phase::DrawWindow => SHORTEST,
            _ => LONGEST,
        }
    }

    fn patience(&self) -> Duration {
        let snapshot = self.snapshot.load();
        let phase = |round: &Round| round.phase(snapshot.chain_time_at(self.clock.now()));
        match snapshot.round.as_ref().map(phase) {
            Some(Phase::DrawWindow) => PATIENCE_IN_WINDOW,
            _ => PATIENCE,
        }
    }

    fn take_notice(&mut self, notice: Notice) {
        match notice {
            Notice::Head(header) => self.following.announced = Some(*header),
            Notice::Changed => self.following.announced = None,
            Notice::Up => self.following.subscribed = true,
            Notice::Down => self.following.subscribed = false,
        }
    }

    fn note_reachable(&mut self, reachable: bool, problem: Option<String>) -> Result<(), String> {
        if self.reachable == Some(reachable) {
            return Ok(());
        }
        if reachable && self.reachable == Some(false) {
            log::info!("the chain can be read again");
        }
        if let Some(problem) = &problem {
            log::warn!("the chain cannot be read: {problem}");
        }
        self.reachable = Some(reachable);
        let since_unix_ms = self.clock.unix_ms();
        self.send(Update::Connection(ConnectionStatus {
            reachable,
            since_unix_ms,
            problem,
        }))
    }

    fn send(&self, update: Update) -> Result<(), String> {
        self.updates
            .send(update)
            .map_err(|_| "the store is gone".to_owned())
    }
}

/// Exponential with full jitter, 250 ms to 10 s.
fn backoff(failures: u32, clock: &Clock) -> Duration {
    let ceiling_ms = (250u64 << failures.min(6)).min(10_000);
    Duration::from_millis(clock.jitter(ceiling_ms).max(50))
}
