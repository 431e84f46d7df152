//! The poller thread: the only reader of the chain for state. Each turn looks at the head on one endpoint; when it
//! moved, the new blocks' logs and the round are read at that very block and handed to the store as one update.
//!
//! A turn is a fetch that answers with an update, and an apply that cannot fail: nothing of the poller's own memory
//! changes before the fetch has succeeded whole.

use std::time::{Duration, Instant};

use crate::actors::backfill::Backfill;
use crate::actors::memory_store::UpdateSender;
use crate::actors::messages::SharedSnapshot;
use crate::actors::pace::Pace;
use crate::actors::reader::{Advanced, Reader, Reading, Wants};
use crate::base::clock::{ChainTime, Clock};
use crate::base::shutdown::Shutdown;
use crate::base::thread::Beat;
use crate::chain::client::Endpoint;
use crate::chain::cursor::{BlockRef, Cursor};
use crate::chain::endpoints::Endpoints;
use crate::chain::error::{ErrorKind, RpcError};
use crate::chain::types::{Address, BlockId, H256};
use crate::lottery::model::{
    BlockSchedule, ConnectionStatus, Finality, HeadRef, Phase, RoundState,
};
use crate::lottery::state::{Advance, Rollback, Update};

/// Without the tags `safe` and `finalized`, blocks this deep count as final.
const FINALITY_DEPTH: u64 = 64;
const FINALITY_EVERY: Duration = Duration::from_secs(60);
/// Every change of round and configuration is logged, so reading them anew only bounds what a lying answer could hide.
const REFRESH_EVERY_MIN: Duration = Duration::from_secs(300);

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
    updates: UpdateSender,
    snapshot: SharedSnapshot,
    clock: Clock,
    cursor: Cursor,
    reader: Reader,
    pace: Pace,
    backfill: Option<Backfill>,
    refreshed_at: Option<Instant>,
    /// The head at which the players were last asked of the contract itself.
    participants_read_at: Option<H256>,
    finality_read_at: Option<Instant>,
    head_seen_at: Instant,
    failures: u32,
    reachable: Option<bool>,
}

impl EventManager {
    pub fn new(
        settings: Settings,
        endpoints: Endpoints,
        updates: UpdateSender,
        snapshot: SharedSnapshot,
        clock: Clock,
    ) -> EventManager {
        let head_seen_at = clock.now();
        EventManager {
            reader: Reader::new(settings.contract),
            pace: Pace::new(settings.poll_interval),
            settings,
            endpoints,
            updates,
            snapshot,
            clock,
            cursor: Cursor::default(),
            backfill: None,
            refreshed_at: None,
            participants_read_at: None,
            finality_read_at: None,
            head_seen_at,
            failures: 0,
            reachable: None,
        }
    }

    /// The thread's body. A restart after a failure forgets the cursor and reads everything anew.
    pub fn run(&mut self, shutdown: &Shutdown, beat: &Beat) -> Result<(), String> {
        self.cursor.clear();
        loop {
            beat.turn();
            let next = self.clock.now() + self.turn()?;
            // The time until the next look is the history's, as long as it is not whole.
            while self.clock.now() < next && !shutdown.is_tripped() && self.fill_history()? {
                beat.turn();
            }
            if shutdown.wait_timeout(next.saturating_duration_since(self.clock.now())) {
                return Ok(());
            }
        }
    }

    /// One look at the chain; how long to wait before the next.
    fn turn(&mut self) -> Result<Duration, String> {
        let reading = self.endpoints.with_endpoint(|endpoint| {
            let reading = self.reader.read(endpoint, &self.cursor, self.wants())?;
            Ok((reading, endpoint.clone()))
        });
        let (reading, endpoint) = match reading {
            Ok(read) => read,
            Err(error) => return self.note_failure(&error),
        };
        self.failures = 0;
        self.note_reachable(true, None)?;
        let now = self.clock.now();
        match reading {
            Reading::Unchanged => self.pace.unchanged(now),
            Reading::Lagging { number, timestamp } => {
                log::debug!("{} lags: its head is {number}", endpoint.host());
                self.endpoints.note_head(&endpoint, number, timestamp);
                self.pace.unchanged(now);
            }
            Reading::Advanced(advanced) => self.take(*advanced, &endpoint, now)?,
        }
        self.read_finality(&endpoint, now)?;
        Ok(self.pace.wait(self.clock.now()))
    }

    /// What a reading has to bring beside the new blocks' logs.
    fn wants(&self) -> Wants {
        let snapshot = self.snapshot.load();
        let intervals = self
            .settings
            .config_interval
            .max(self.settings.round_interval);
        let interval = intervals.max(REFRESH_EVERY_MIN);
        let now = self.clock.now();
        // The store has caught up with us, and still its players do not explain the pot: ask the contract.
        let in_step = snapshot.head.map(|head| head.hash) == self.cursor.tip().map(|tip| tip.hash);
        let unexplained = snapshot.round.as_ref().is_some_and(|round| {
            round.state == RoundState::Betting
                && round.total_pot_wei != snapshot.participants.total_amount_wei()
        });
        let asked = self.participants_read_at == self.cursor.tip().map(|tip| tip.hash);
        let searching = self
            .backfill
            .as_ref()
            .is_some_and(|backfill| !backfill.has_round_start());
        Wants {
            refresh: self
                .refreshed_at
                .is_none_or(|at| now.saturating_duration_since(at) >= interval),
            participants: in_step && unexplained && !searching && !asked,
            first_range_blocks: self.settings.start_block_offset,
        }
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
        for block in &advanced.blocks {
            self.cursor.push(*block);
        }
        if advanced.blocks.is_empty() && rollback.is_none() {
            self.pace.unchanged(now);
        } else {
            self.head_seen_at = now;
            self.pace.moved(now, &self.cursor);
        }
        if advanced.participants.is_some() {
            self.participants_read_at = Some(head.hash);
        }
        if advanced.config.is_some() {
            self.refreshed_at = Some(now);
        }
        self.endpoints
            .note_head(endpoint, head.number, head.timestamp);
        if advanced.is_first {
            self.backfill = Some(Backfill::new(
                advanced.first_block_read,
                &advanced.events,
                advanced.round.as_ref(),
                (
                    self.settings.round_history_max,
                    self.settings.history_max_blocks,
                ),
            ));
        }
        self.reader.learn(&advanced);
        self.send(Update::Advance(Box::new(Advance {
            rollback,
            head: HeadRef {
                number: head.number,
                hash: head.hash,
                timestamp: head.timestamp,
            },
            time: ChainTime {
                head_timestamp: head.timestamp,
                seen_at: self.head_seen_at,
            },
            schedule: BlockSchedule {
                mean_spacing_secs: self.cursor.mean_spacing_secs(),
                min_spacing_secs: self.cursor.min_spacing_secs().unwrap_or(0),
            },
            syncing: false,
            events: advanced.events,
            round: advanced.round,
            config: advanced.config,
            participants: advanced.participants,
        })))
    }

    fn note_rollback(&mut self, rollback: Rollback, head: &BlockRef) {
        match rollback {
            Rollback::To(ancestor) => {
                let gone = self.cursor.rewind(ancestor);
                log::warn!(
                    "reorg: {} blocks above {ancestor} replaced, head is now {}",
                    gone.len(),
                    head.number
                );
                if let Some(backfill) = &mut self.backfill {
                    backfill.lower_to(ancestor);
                }
            }
            Rollback::Everything => {
                log::warn!("reorg deeper than what is remembered: reading everything anew");
                self.cursor.clear();
            }
        }
    }

    /// `safe` and `finalized`, once a minute.
    fn read_finality(&mut self, endpoint: &Endpoint, now: Instant) -> Result<(), String> {
        let due = self
            .finality_read_at
            .is_none_or(|at| now.saturating_duration_since(at) >= FINALITY_EVERY);
        let Some(tip) = self.cursor.tip().filter(|_| due) else {
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

    /// One step of the walk back through history; false when there is none to take, or it failed and can wait.
    fn fill_history(&mut self) -> Result<bool, String> {
        let Some(backfill) = &self.backfill else {
            return Ok(false);
        };
        let step = self.endpoints.with_endpoint(|endpoint| {
            let mut stepped = backfill.clone();
            let events = stepped.step(endpoint, &self.reader)?;
            Ok((stepped, events))
        });
        match step {
            Ok((stepped, events)) => {
                let complete = stepped.is_complete();
                self.backfill = (!complete).then_some(stepped);
                if complete || !events.is_empty() {
                    self.send(Update::Backfill { events, complete })?;
                }
                Ok(true)
            }
            Err(error) => {
                log::debug!("history: {error}");
                Ok(false)
            }
        }
    }

    fn note_failure(&mut self, error: &RpcError) -> Result<Duration, String> {
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            log::warn!("the chain cannot be read: {error}");
        }
        // A single lost packet is not an outage.
        if self.failures >= 2 || self.reachable.is_none() {
            self.note_reachable(false, Some(error.to_string()))?;
        }
        let snapshot = self.snapshot.load();
        let now = self.clock.now();
        let urgent = snapshot.round.as_ref().is_some_and(|round| {
            matches!(
                round.phase(snapshot.chain_time_at(now)),
                Phase::Closed | Phase::DrawWindow
            )
        });
        Ok(backoff(self.failures, urgent))
    }

    fn note_reachable(&mut self, reachable: bool, problem: Option<String>) -> Result<(), String> {
        if self.reachable == Some(reachable) {
            return Ok(());
        }
        if reachable && self.reachable == Some(false) {
            log::info!("the chain can be read again");
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

/// Exponential with full jitter, 250 ms to 10 s; at most 1 s while a draw may be due.
fn backoff(failures: u32, urgent: bool) -> Duration {
    let cap_ms = if urgent { 1_000 } else { 10_000 };
    let ceiling_ms = (250u64 << failures.min(6)).min(cap_ms);
    Duration::from_millis(crate::base::clock::jitter(ceiling_ms).max(50))
}
