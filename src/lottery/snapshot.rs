//! Everything known as of one block, and the changes that listeners hear of. How a snapshot changes is the reducer's
//! business (`state`), how it looks as JSON is the web view's.

use std::sync::Arc;
use std::time::Instant;

use crate::base::clock::ChainTime;
use crate::chain::types::{BlockRef, H256};
use crate::lottery::action::ActionRecord;
use crate::lottery::alert::Alert;
use crate::lottery::event::EventRecord;
use crate::lottery::history::{FinishedRound, HistorySummary, Outcome};
use crate::lottery::operator_status::ShownOperator;
use crate::lottery::participants::{Participants, ParticipantsUpdate};
use crate::lottery::persistent::PersistentVec;
use crate::lottery::round::{ContractConfig, Round};

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

/// What could not be read so far. The live state never waits for it: round and head are right all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// The feed, the players and the history lack the logs above this block.
    pub logs_above: Option<u64>,
    /// The walk back through history has not come to its end.
    pub history: bool,
    /// Why it does not get on, in public words; None while it does.
    pub problem: Option<String>,
    /// It has not got on for minutes: nobody should wait for it any longer.
    pub is_stalled: bool,
    /// Readers had better go elsewhere until it is read; never true for ever.
    pub is_awaited: bool,
}

impl Owed {
    /// Before the first reading.
    pub fn everything() -> Owed {
        Owed {
            logs_above: None,
            history: true,
            problem: None,
            is_stalled: false,
            is_awaited: true,
        }
    }

    /// One sentence for health and probes; None when nothing is owed.
    pub fn sentence(&self) -> Option<String> {
        let what = match (self.logs_above, self.history) {
            (Some(block), _) => format!("the feed is behind since block {block}"),
            (None, true) => "the logs of older rounds are still being read".to_owned(),
            (None, false) => return None,
        };
        Some(match &self.problem {
            Some(problem) => format!("{what}: {problem}"),
            None => what,
        })
    }
}

/// The measured rhythm of the chain, from the last 32 heads.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BlockSchedule {
    /// Mean seconds between blocks; None until two heads are known.
    pub mean_spacing_secs: Option<f64>,
    /// Seconds by which the next block is later than the newest, at least: what the last ones were apart, less where they
    /// came late; 0 when equal times were seen or too little is known.
    pub least_to_next_secs: u64,
}

/// Everything known, as of one block. Immutable: the store makes a new one for each change and shares it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// None until the first block was read.
    pub head: Option<BlockRef>,
    pub chain_time: Option<ChainTime>,
    /// True until all logs up to the head were applied (start, or after an outage).
    pub syncing: bool,
    pub owed: Owed,
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
    pub operator: Arc<ShownOperator>,
    /// Oldest first, at most 100.
    pub actions: Arc<Vec<Arc<ActionRecord>>>,
    pub reorgs_total: u64,
    /// The hash of the chain's first block; None while it is not known.
    pub genesis: Option<H256>,
}

impl Snapshot {
    /// Chain time at `now`; 0 before the first block.
    pub(crate) fn chain_time_at(&self, now: Instant) -> u64 {
        self.chain_time.map_or(0, |time| time.at(now))
    }

    pub(crate) fn history_summary(&self) -> HistorySummary {
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
    OperatorStatus(Arc<ShownOperator>),
    OperatorAlert(Arc<Alert>),
    Reorg(ReorgNotice),
    Finality(Finality),
    ConnectionStatus(ConnectionStatus),
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
