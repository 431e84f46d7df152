//! The poller: the only reader of the chain for state. It looks at the head; when that moved, the new blocks' logs and the
//! round are read at that very block and handed to the store as one update.
//!
//! All that waits for the chain runs as a job on a thread of its own (`jobs`): a look at the head, a step through logs
//! that are owed (`older`), the players as the contract tells them (`older`), the finalized block (`marks`). What they
//! bring comes back as an input, and everything that can wake the poller is one of its inputs. So `turn` starts what is
//! due and `take` applies what has come; neither ever waits, and the thread around them does nothing else.
//!
//! The live state waits for nothing that it can do without: where the logs do not come, a second look asks for head and
//! round alone, and the logs are owed.
#![doc = include_str!("event_manager.md")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{never, Receiver, TryRecvError};

use crate::actors::event_manager::input::Input;
use crate::actors::event_manager::jobs::Jobs;
use crate::actors::event_manager::looks::{Look, Looks, LIVE};
use crate::actors::event_manager::marks::Marks;
use crate::actors::event_manager::older::Older;
use crate::actors::memory_store::UpdateSender;
use crate::actors::messages::SharedSnapshot;
use crate::actors::pace::Pace;
use crate::actors::reader::{Reader, Reading, Sound};
use crate::base::clock::{Clock, Wakeable};
use crate::base::shutdown::Shutdown;
use crate::base::thread::Beat;
use crate::chain::cursor::Cursor;
use crate::chain::endpoints::Endpoints;
use crate::chain::error::{ErrorKind, RpcError};
use crate::chain::node::Endpoint;
use crate::chain::subscription::Notice;
use crate::chain::types::{Address, Header, H256};
use crate::lottery::round::Phase;
use crate::lottery::snapshot::{ConnectionStatus, Owed};
use crate::lottery::state::Update;

mod advance;
mod catching_up;
mod input;
mod jobs;
mod looking;
mod looks;
mod marking;
mod marks;
mod older;

/// No wait is longer, so that supervision sees the thread turn.
const TURN_MAX: Duration = Duration::from_secs(10);
/// An announced head that the endpoint asked for the rest does not have yet is looked for again after this.
const ANNOUNCED_AGAIN: Duration = Duration::from_millis(200);

#[derive(Clone, Debug)]
pub struct Settings {
    pub contract: Address,
    pub chain_id: u64,
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
    connection: Option<Connection>,
    owed_told: Owed,
    following: Following,
}

/// What the world was last told of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    Up,
    /// No endpoint can be read.
    Down,
    /// The chain can be read, but our contract is not on it.
    NoLottery,
}

/// All that is known of the chain; a restart of the thread begins with nothing.
struct Following {
    cursor: Arc<Cursor>,
    pace: Pace,
    jobs: Jobs,
    subscribed: bool,
    announced: Option<Header>,
    look_due: Instant,
    looks: Looks,
    /// Looks in a row that failed.
    failures: u32,
    /// The endpoint of the last good look.
    endpoint: Option<Endpoint>,
    head_seen_at: Instant,
    refreshed_at: Option<Instant>,
    refresh_asked_at: Option<Instant>,
    /// The newest block up to which the logs are known and explain the round.
    sound: Option<Sound>,
    older: Older,
    marks: Marks,
}

impl Following {
    fn new(poll_interval: Duration, now: Instant) -> Following {
        Following {
            cursor: Arc::default(),
            pace: Pace::new(poll_interval),
            jobs: Jobs::new(),
            subscribed: false,
            announced: None,
            look_due: now,
            looks: Looks::default(),
            failures: 0,
            endpoint: None,
            head_seen_at: now,
            refreshed_at: None,
            refresh_asked_at: None,
            sound: None,
            older: Older::default(),
            marks: Marks::default(),
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
            reader: Arc::new(Reader::new(settings.contract, settings.chain_id)),
            settings,
            endpoints,
            notices,
            updates,
            snapshot,
            clock,
            connection: None,
            owed_told: Owed::everything(),
            following,
        }
    }

    /// The thread's body. A restart after a failure forgets what it knew and reads everything anew.
    pub fn run(&mut self, shutdown: &Shutdown, beat: &Beat) -> Result<(), String> {
        self.begin_anew(self.clock.now());
        while !shutdown.is_tripped() {
            beat.turn();
            let now = self.clock.now();
            let wake_at = self.turn(now)?.min(now + TURN_MAX);
            let answers = self.following.jobs.answers().clone();
            let sources: [&dyn Wakeable; 3] = [shutdown.signal(), &answers, &self.notices];
            let _ = self.clock.wait_any(&sources, Some(wake_at));
            while let Some(input) = self.next_input() {
                self.take(input, self.clock.now())?;
            }
        }
        Ok(())
    }

    /// Forgets all that is known of the chain: the next look is a first one, and its update replaces what the store holds.
    fn begin_anew(&mut self, now: Instant) {
        let subscribed = self.following.subscribed;
        self.following = Following::new(self.settings.poll_interval, now);
        self.following.subscribed = subscribed;
    }

    /// Starts what is due; when to turn again unless an input comes first.
    ///
    /// # Errors
    /// When the store is gone.
    pub fn turn(&mut self, now: Instant) -> Result<Instant, String> {
        self.start_looks(now);
        self.start_older(now);
        self.start_players(now);
        self.start_marks(now);
        self.tell_owed(now)?;
        let wakes = [
            self.looks_wake_at(),
            self.older_wakes_at(now),
            self.players_wake_at(now),
            self.marks_wake_at(now),
        ];
        let soonest = wakes.into_iter().flatten().min();
        Ok(soonest.unwrap_or(now + TURN_MAX).max(now))
    }

    /// What has come, oldest first.
    fn next_input(&mut self) -> Option<Input> {
        if let Ok(answer) = self.following.jobs.answers().try_recv() {
            return Some(answer);
        }
        match self.notices.try_recv() {
            Ok(notice) => Some(Input::Notice(notice)),
            Err(TryRecvError::Disconnected) => Some(Input::Unsubscribed),
            Err(TryRecvError::Empty) => None,
        }
    }

    /// Applies what has come.
    ///
    /// # Errors
    /// When the store is gone.
    pub fn take(&mut self, input: Input, now: Instant) -> Result<(), String> {
        match input {
            Input::Notice(notice) => self.take_notice(notice, now),
            Input::Unsubscribed => {
                self.notices = never();
                self.following.subscribed = false;
                self.following.look_due = now;
            }
            Input::Look { id, result } => self.take_look(id, result, now)?,
            Input::Older { begun, result } => self.take_older(begun, result, now)?,
            Input::Players { at, result } => self.take_players(&at, result)?,
            Input::Marks { result } => self.take_marks(result, now)?,
        }
        Ok(())
    }

    fn take_notice(&mut self, notice: Notice, now: Instant) {
        let following = &mut self.following;
        match notice {
            Notice::Head(header) => following.announced = Some(*header),
            Notice::Changed => following.announced = None,
            Notice::Up => following.subscribed = true,
            Notice::Down => following.subscribed = false,
        }
        following.look_due = now;
    }

    fn take_look(
        &mut self,
        id: u64,
        result: Result<Look, RpcError>,
        now: Instant,
    ) -> Result<(), String> {
        // One that was overtaken by another tells nothing new.
        let Some(ended) = self.following.looks.end(id) else {
            return Ok(());
        };
        let look = match result {
            Ok(look) => look,
            Err(error) if ended.is_announced && error.kind == ErrorKind::Behind => {
                self.following.look_due = now + ANNOUNCED_AGAIN;
                return Ok(());
            }
            // The other one may still succeed.
            Err(_) if !self.following.looks.is_empty() => {
                let rest = self.patience(now);
                self.following.looks.rest_until(now + rest);
                return Ok(());
            }
            Err(error) => {
                log::debug!("a look failed: {error}");
                let problem = format!("the last endpoint asked {}", error.public());
                return self.note_failure(Connection::Down, problem, now);
            }
        };
        if ended.tip != self.following.tip_hash() {
            self.following.look_due = now;
            return Ok(());
        }
        if let Reading::NoLottery { why } = look.reading {
            return self.note_failure(Connection::NoLottery, why, now);
        }
        self.following.failures = 0;
        self.following.looks.note(look.is_doubtful);
        self.note_connection(Connection::Up, None)?;
        match look.reading {
            Reading::Unchanged | Reading::NoLottery { .. } => {
                self.following.older.note_still_head();
                self.following.pace.unchanged(now);
            }
            Reading::Lagging { number, timestamp } => {
                log::debug!("{} lags: its head is {number}", look.endpoint.host());
                self.endpoints.note_head(&look.endpoint, number, timestamp);
                self.following.pace.unchanged(now);
                // It overtakes nobody, and will not do so in a moment either.
                let rest = self.patience(now);
                self.following.looks.rest_until(now + rest);
            }
            Reading::Advanced(advanced) => self.take_advanced(*advanced, &look.endpoint, now)?,
        }
        let following = &mut self.following;
        following.endpoint = Some(look.endpoint);
        following.look_due = now
            + match following.subscribed {
                true => following.pace.wait_for_news(now),
                false => following.pace.wait(now),
            };
        Ok(())
    }

    /// Nothing could be read: `problem` is why, in words for everybody.
    fn note_failure(
        &mut self,
        connection: Connection,
        problem: String,
        now: Instant,
    ) -> Result<(), String> {
        let failures = self.following.failures.saturating_add(1);
        self.following.failures = failures;
        // A single lost packet is not an outage.
        if failures >= 2 || self.connection != Some(Connection::Up) {
            self.note_connection(connection, Some(problem))?;
        }
        let wait = backoff(failures, &self.clock).max(self.endpoints.ready_in(LIVE));
        self.following.look_due = now + wait.min(self.until_deadline(now));
        Ok(())
    }

    /// How long a wait may be at most, so that no deadline of the round is slept through.
    fn until_deadline(&self, now: Instant) -> Duration {
        const SHORTEST: Duration = Duration::from_secs(1);
        const LONGEST: Duration = Duration::from_secs(50);
        let snapshot = self.snapshot.load();
        let (Some(round), Some(time)) = (&snapshot.round, snapshot.chain_time) else {
            return LONGEST;
        };
        let until = |timestamp| time.instant_of(timestamp).saturating_duration_since(now);
        match round.phase(time.at(now)) {
            Phase::Betting => until(round.end_time).clamp(SHORTEST, LONGEST),
            Phase::Closed | Phase::DrawWindow => SHORTEST,
            _ => LONGEST,
        }
    }

    fn note_connection(
        &mut self,
        connection: Connection,
        problem: Option<String>,
    ) -> Result<(), String> {
        if self.connection == Some(connection) {
            return Ok(());
        }
        if connection == Connection::Up && self.connection.is_some() {
            log::info!("the chain can be read again");
        }
        if let Some(problem) = &problem {
            log::warn!("the chain cannot be read: {problem}");
        }
        self.connection = Some(connection);
        let since_unix_ms = self.clock.unix_ms();
        self.send(Update::Connection(ConnectionStatus {
            reachable: connection == Connection::Up,
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
