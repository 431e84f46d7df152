//! The words of the lottery: round, participants, history, live feed, operator status, and the snapshot that binds
//! them to one block. Plain data; how it changes is the reducer's business, how it looks as JSON is the web view's.

use std::sync::Arc;
use std::time::Instant;

use crate::base::clock::ChainTime;
use crate::chain::types::{Address, H256, U256};
use crate::lottery::participants::Participants;
use crate::lottery::persistent::PersistentVec;
use crate::lottery::proof::Verdict;

/// The contract's `RoundState`, by its numbers 0 to 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoundState {
    Waiting,
    Betting,
    Drawing,
    Completed,
    Refunded,
}

impl RoundState {
    pub const ALL: [RoundState; 5] = [
        RoundState::Waiting,
        RoundState::Betting,
        RoundState::Drawing,
        RoundState::Completed,
        RoundState::Refunded,
    ];

    pub fn from_number(number: u64) -> Option<RoundState> {
        usize::try_from(number)
            .ok()
            .and_then(|index| Self::ALL.get(index).copied())
    }

    pub fn number(self) -> u8 {
        self as u8
    }

    pub fn label(self) -> &'static str {
        match self {
            RoundState::Waiting => "WAITING",
            RoundState::Betting => "BETTING",
            RoundState::Drawing => "DRAWING",
            RoundState::Completed => "COMPLETED",
            RoundState::Refunded => "REFUNDED",
        }
    }
}

/// The contract's running round, as getRound() gives it (a finished round is never seen there).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    pub round_id: u64,
    pub state: RoundState,
    /// Unix seconds of the chain; all four are 0 until the round has started.
    pub start_time: u64,
    pub end_time: u64,
    pub min_draw_time: u64,
    pub max_draw_time: u64,
    pub total_pot_wei: U256,
    pub participant_count: u64,
}

/// Where a round stands at a given chain time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not started: the first bet starts it.
    Waiting,
    Betting,
    /// Bets are closed, the draw window has not opened.
    Closed,
    DrawWindow,
    /// The window is over with money in the pot: only a refund is left.
    Overdue,
    /// Ended without a bet: the contract accepts nothing any more.
    Stuck,
}

impl Phase {
    pub fn label(self) -> &'static str {
        match self {
            Phase::Waiting => "waiting",
            Phase::Betting => "betting",
            Phase::Closed => "closed",
            Phase::DrawWindow => "draw_window",
            Phase::Overdue => "overdue",
            Phase::Stuck => "stuck",
        }
    }
}

impl Round {
    /// The phase at `chain_time` (unix seconds); the bounds are the contract's own, both ends of the window inclusive.
    pub fn phase(&self, chain_time: u64) -> Phase {
        if self.state != RoundState::Betting {
            return Phase::Waiting;
        }
        if chain_time <= self.end_time {
            Phase::Betting
        } else if self.total_pot_wei.is_zero() {
            Phase::Stuck
        } else if chain_time < self.min_draw_time {
            Phase::Closed
        } else if chain_time <= self.max_draw_time {
            Phase::DrawWindow
        } else {
            Phase::Overdue
        }
    }
}

/// getConfig() of the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContractConfig {
    pub publisher: Address,
    pub operator: Address,
    /// PUBLISHER_COMMISSION_RATE in basis points of 10,000.
    pub commission_bps: u64,
    pub min_bet_wei: U256,
    pub betting_duration_secs: u64,
    pub min_draw_delay_secs: u64,
    pub max_draw_delay_secs: u64,
    pub min_end_time_extension_secs: u64,
    pub min_participants: u64,
}

/// One player's bets in the running round, added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    pub address: Address,
    pub total_amount_wei: U256,
    /// Place in first-bet order, from 0; the contract's own order.
    pub order: u32,
}

/// Where in the chain an item was logged; (block_hash, log_index) is its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPosition {
    pub block_number: u64,
    pub block_hash: H256,
    /// The block's timestamp, unix seconds.
    pub block_timestamp: u64,
    pub transaction_hash: H256,
    pub log_index: u64,
}

/// One BetPlaced of a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bet {
    pub player: Address,
    pub amount_wei: U256,
    pub position: LogPosition,
}

/// How a round ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Completed {
        winner: Address,
        winner_prize_wei: U256,
        publisher_commission_wei: U256,
        random_seed: U256,
    },
    Refunded {
        reason: String,
    },
}

/// A round that was drawn or refunded, kept for the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedRound {
    pub round_id: u64,
    /// Unix seconds; 0 where the logs that tell them are out of reach.
    pub start_time: u64,
    pub end_time: u64,
    pub min_draw_time: u64,
    pub max_draw_time: u64,
    pub total_pot_wei: U256,
    pub participant_count: u64,
    pub outcome: Outcome,
    /// In (block, log index) order; empty where out of reach.
    pub bets: Vec<Bet>,
    /// The check of the draw against header and bets; None for a refund.
    pub verdict: Option<Verdict>,
    /// prevrandao of the block that mined the end, an input of the proof.
    pub prevrandao: Option<H256>,
    /// Of the RoundCompleted or RoundRefunded log; its block timestamp is when the round finished.
    pub position: LogPosition,
}

/// Every event of the contract, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LotteryEvent {
    BetPlaced {
        round_id: u64,
        player: Address,
        amount_wei: U256,
        new_total_wei: U256,
        timestamp: u64,
    },
    BettingDurationUpdated {
        old_duration_secs: u64,
        new_duration_secs: u64,
        timestamp: u64,
    },
    EndTimeExtended {
        round_id: u64,
        old_end_time: u64,
        new_end_time: u64,
        timestamp: u64,
    },
    MinBetAmountUpdated {
        old_amount_wei: U256,
        new_amount_wei: U256,
        timestamp: u64,
    },
    MinParticipantsUpdated {
        old_min: u64,
        new_min: u64,
        timestamp: u64,
    },
    OperatorUpdated {
        old_operator: Address,
        new_operator: Address,
        timestamp: u64,
    },
    RoundCompleted {
        round_id: u64,
        winner: Address,
        total_pot_wei: U256,
        participant_count: u64,
        winner_prize_wei: U256,
        publisher_commission_wei: U256,
        random_seed: U256,
        timestamp: u64,
    },
    RoundCreated {
        round_id: u64,
        start_time: u64,
        end_time: u64,
        min_draw_time: u64,
        max_draw_time: u64,
        timestamp: u64,
    },
    RoundRefunded {
        round_id: u64,
        total_refunded_wei: U256,
        participant_count: u64,
        reason: String,
        timestamp: u64,
    },
    RoundStateChanged {
        round_id: u64,
        old_state: RoundState,
        new_state: RoundState,
        timestamp: u64,
    },
    Withdrawn {
        to: Address,
        amount_wei: U256,
        timestamp: u64,
    },
}

impl LotteryEvent {
    /// The event's name in the ABI.
    pub fn name(&self) -> &'static str {
        match self {
            LotteryEvent::BetPlaced { .. } => "BetPlaced",
            LotteryEvent::BettingDurationUpdated { .. } => "BettingDurationUpdated",
            LotteryEvent::EndTimeExtended { .. } => "EndTimeExtended",
            LotteryEvent::MinBetAmountUpdated { .. } => "MinBetAmountUpdated",
            LotteryEvent::MinParticipantsUpdated { .. } => "MinParticipantsUpdated",
            LotteryEvent::OperatorUpdated { .. } => "OperatorUpdated",
            LotteryEvent::RoundCompleted { .. } => "RoundCompleted",
            LotteryEvent::RoundCreated { .. } => "RoundCreated",
            LotteryEvent::RoundRefunded { .. } => "RoundRefunded",
            LotteryEvent::RoundStateChanged { .. } => "RoundStateChanged",
            LotteryEvent::Withdrawn { .. } => "Withdrawn",
        }
    }
}

impl LotteryEvent {
    /// The block's timestamp, unix seconds: the contract stamps every event with it.
    pub fn timestamp(&self) -> u64 {
        match self {
            LotteryEvent::BetPlaced { timestamp, .. }
            | LotteryEvent::BettingDurationUpdated { timestamp, .. }
            | LotteryEvent::EndTimeExtended { timestamp, .. }
            | LotteryEvent::MinBetAmountUpdated { timestamp, .. }
            | LotteryEvent::MinParticipantsUpdated { timestamp, .. }
            | LotteryEvent::OperatorUpdated { timestamp, .. }
            | LotteryEvent::RoundCompleted { timestamp, .. }
            | LotteryEvent::RoundCreated { timestamp, .. }
            | LotteryEvent::RoundRefunded { timestamp, .. }
            | LotteryEvent::RoundStateChanged { timestamp, .. }
            | LotteryEvent::Withdrawn { timestamp, .. } => *timestamp,
        }
    }

    /// True for events after which getConfig() answers differently.
    pub fn changes_config(&self) -> bool {
        matches!(
            self,
            LotteryEvent::BettingDurationUpdated { .. }
                | LotteryEvent::MinBetAmountUpdated { .. }
                | LotteryEvent::MinParticipantsUpdated { .. }
                | LotteryEvent::OperatorUpdated { .. }
        )
    }
}

/// A decoded event with its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    pub event: LotteryEvent,
    pub position: LogPosition,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

impl Severity {
    pub fn label(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// Something the operator's owner should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// `alert-` + unix milliseconds + `-` + counter.
    pub id: String,
    /// Stable snake_case name of the condition, e.g. `draw_failed`.
    pub code: &'static str,
    pub severity: Severity,
    pub message: String,
    pub round_id: Option<u64>,
    pub unix_ms: u64,
}

/// One line of the live feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveFeedItem {
    Event(Arc<EventRecord>),
    Alert(Arc<Alert>),
}

impl LiveFeedItem {
    /// blockNumber-logIndex-first 8 hex digits of blockHash for logs, the alert's own id for alerts.
    pub fn id(&self) -> String {
        match self {
            LiveFeedItem::Event(record) => {
                let position = &record.position;
                let hash = format!("{:x}", position.block_hash);
                format!(
                    "{}-{}-{}",
                    position.block_number,
                    position.log_index,
                    &hash[..8]
                )
            }
            LiveFeedItem::Alert(alert) => alert.id.clone(),
        }
    }
}

/// The block a snapshot speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadRef {
    pub number: u64,
    pub hash: H256,
    pub timestamp: u64,
}

/// The newest safe and finalized blocks known (or their depth substitute).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Finality {
    pub safe_block: u64,
    pub finalized_block: u64,
}

impl Finality {
    pub fn label(&self, block_number: u64) -> &'static str {
        if block_number <= self.finalized_block {
            "finalized"
        } else if block_number <= self.safe_block {
            "safe"
        } else {
            "latest"
        }
    }
}

/// Whether the chain can be reached, and since when that has been so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionStatus {
    pub reachable: bool,
    pub since_unix_ms: u64,
    /// Why not, in words without secrets; None while reachable.
    pub problem: Option<String>,
}

/// The measured rhythm of the chain, from the last 32 heads.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BlockSchedule {
    /// Mean seconds between blocks; None until two heads are known.
    pub mean_spacing_secs: Option<f64>,
    /// Smallest difference between consecutive timestamps; 0 when equal times were seen or too little is known.
    pub min_spacing_secs: u64,
}

/// What an action does on chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActionKind {
    /// drawWinner()
    Draw,
    /// refundExpiredRound(): guarded by the contract.
    RefundExpired,
    /// refundRound(): no time gate; only on explicit, forced command.
    RefundForced,
    /// extendBettingTime(newEndTime)
    Extend { new_end_time: u64 },
    /// An empty transfer to ourselves that takes the nonce of a transaction which must not be mined any more.
    Cancel,
}

impl ActionKind {
    pub fn label(self) -> &'static str {
        match self {
            ActionKind::Draw => "draw",
            ActionKind::RefundExpired => "refund_expired",
            ActionKind::RefundForced => "refund_forced",
            ActionKind::Extend { .. } => "extend",
            ActionKind::Cancel => "cancel",
        }
    }
}

/// The action whose transaction is out, as the status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    pub action: ActionKind,
    pub round_id: u64,
    pub nonce: u64,
    pub hashes: Vec<H256>,
    pub attempts: u32,
}

/// The check made shortly before the window opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rehearsal {
    pub round_id: u64,
    pub unix_ms: u64,
    pub ready: bool,
    /// One entry a check that failed, in words.
    pub problems: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorStatus {
    /// False when disabled, without a key, or while the thread is down.
    pub is_running: bool,
    pub address: Option<Address>,
    pub key_loaded: bool,
    /// In words: why it waits, or what it does.
    pub phase: String,
    pub current_round_id: Option<u64>,
    pub scheduled_draw_round_id: Option<u64>,
    /// Unix seconds of chain time.
    pub scheduled_draw_due_at: Option<u64>,
    pub last_event_unix_ms: Option<u64>,
    pub last_draw_attempt_unix_ms: Option<u64>,
    pub consecutive_draw_failures: u32,
    pub max_draw_retries: u32,
    pub watchdog_last_check_unix_ms: Option<u64>,
    pub in_flight: Option<InFlight>,
    pub balance_wei: Option<U256>,
    pub rehearsal: Option<Rehearsal>,
    /// Conditions that hold now; newest last.
    pub alerts: Vec<Arc<Alert>>,
}

/// The life of one manual or automatic action, for GET /api/operator/actions/ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionRecord {
    pub id: String,
    pub kind: ActionKind,
    pub round_id: u64,
    pub manual: bool,
    pub state: ActionState,
    pub attempts: u32,
    pub hashes: Vec<H256>,
    pub block_number: Option<u64>,
    pub gas_used: Option<u64>,
    pub error: Option<String>,
    pub created_unix_ms: u64,
    pub updated_unix_ms: u64,
}

impl ActionRecord {
    /// An action that nothing has been done for yet.
    pub fn queued(
        id: String,
        kind: ActionKind,
        round_id: u64,
        manual: bool,
        unix_ms: u64,
    ) -> ActionRecord {
        ActionRecord {
            id,
            kind,
            round_id,
            manual,
            state: ActionState::Queued,
            attempts: 0,
            hashes: Vec::new(),
            block_number: None,
            gas_used: None,
            error: None,
            created_unix_ms: unix_ms,
            updated_unix_ms: unix_ms,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionState {
    /// Accepted, not yet begun.
    Queued,
    /// Being prepared: preflight, fees, nonce.
    Preparing,
    /// At least one transaction is out.
    Pending,
    Done,
    Failed,
}

impl ActionState {
    pub fn label(self) -> &'static str {
        match self {
            ActionState::Queued => "queued",
            ActionState::Preparing => "preparing",
            ActionState::Pending => "pending",
            ActionState::Done => "done",
            ActionState::Failed => "failed",
        }
    }
}

/// Totals over all kept rounds of the history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistorySummary {
    pub total_rounds: u64,
    pub completed_rounds: u64,
    pub refunded_rounds: u64,
    pub total_volume_wei: U256,
}

/// Everything known, as of one block. Immutable: the store makes a new one for each change and shares it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// None until the first block was read.
    pub head: Option<HeadRef>,
    pub chain_time: Option<ChainTime>,
    /// True until all logs up to the head were applied (start, or after an outage).
    pub syncing: bool,
    pub round: Option<Round>,
    pub participants: Participants,
    pub config: Option<Arc<ContractConfig>>,
    /// Newest first, at most round_history_max.
    pub history: Arc<Vec<Arc<FinishedRound>>>,
    /// Oldest first, at most live_feed_max_entries.
    pub live_feed: PersistentVec<LiveFeedItem>,
    pub schedule: BlockSchedule,
    pub finality: Finality,
    pub connection: ConnectionStatus,
    pub operator: Arc<OperatorStatus>,
    /// Oldest first, at most 100.
    pub actions: Arc<Vec<Arc<ActionRecord>>>,
    pub reorgs_total: u64,
}

impl Snapshot {
    /// Chain time at `now`; 0 before the first block.
    pub fn chain_time_at(&self, now: Instant) -> u64 {
        self.chain_time.map_or(0, |time| time.at(now))
    }

    pub fn history_summary(&self) -> HistorySummary {
        let mut summary = HistorySummary::default();
        for round in self.history.iter() {
            summary.total_rounds += 1;
            match round.outcome {
                Outcome::Completed { .. } => summary.completed_rounds += 1,
                Outcome::Refunded { .. } => summary.refunded_rounds += 1,
            }
            summary.total_volume_wei = summary.total_volume_wei.saturating_add(round.total_pot_wei);
        }
        summary
    }
}

/// One change of the shared state, as listeners hear of it; each is one message of the feed.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreEvent {
    RoundUpdate(Option<Round>),
    Participants(ParticipantsUpdate),
    HistoryUpdate(Arc<FinishedRound>),
    LiveFeed(LiveFeedItem),
    BlockchainEvent(Arc<EventRecord>),
    ConfigUpdate(Arc<ContractConfig>),
    OperatorStatus(Arc<OperatorStatus>),
    OperatorAlert(Arc<Alert>),
    Reorg(ReorgNotice),
    Finality(Finality),
    ConnectionStatus(ConnectionStatus),
}

/// What changed among the participants; its size does not depend on how many play.
#[derive(Clone, Debug, PartialEq)]
pub struct ParticipantsUpdate {
    pub round_id: u64,
    pub total_participants: u64,
    pub total_amount_wei: U256,
    /// True when the listed participants replace the whole first page (a new round, or bets taken away by a reorg).
    pub replaces_all: bool,
    /// Changed entries and those that entered the first page.
    pub changed: Vec<Participant>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ReorgNotice {
    /// The newest block that both branches share; None when it lies deeper than what is remembered.
    pub ancestor: Option<u64>,
    /// Ids of the live feed's items that are gone.
    pub retracted: Vec<String>,
    /// All that is shown of the history now, where the reorg changed it: older rounds may have come back.
    pub history: Option<Arc<Vec<Arc<FinishedRound>>>>,
    /// What is left of the live feed, where the reorg changed it.
    pub live_feed: Option<PersistentVec<LiveFeedItem>>,
}

/// One step of the store: the new snapshot and what led to it. Numbers grow by exactly 1, so a listener that missed
/// one notices by itself.
#[derive(Clone, Debug)]
pub struct Publication {
    pub number: u64,
    pub snapshot: Arc<Snapshot>,
    pub events: Vec<StoreEvent>,
}
