//! The reducer: all that is known of the lottery, and how an update changes it. Pure: no IO, no clock, no threads;
//! `apply` cannot fail and answers with the events that listeners hear.
//!
//! History and participants are derived from one ordered list of the contract's events. New events are absorbed one
//! by one; after a reorg or a backfill the derived part is made anew from the list by the same code, so that what is
//! held afterwards is what a fresh start on that chain would hold.

use std::sync::Arc;

use crate::base::clock::ChainTime;
use crate::chain::cursor::RING_LEN;
use crate::chain::types::{BlockRef, H256};
use crate::lottery::action::ActionRecord;
use crate::lottery::alert::AlertChange;
use crate::lottery::event::EventRecord;
use crate::lottery::history::{FinishedRound, LoggedEvent, Running};
use crate::lottery::lateness::LateReason;
use crate::lottery::operator_status::{OperatorStatus, ShownOperator};
use crate::lottery::participants::{Participant, ParticipantsUpdate, PlayersRead};
use crate::lottery::persistent::PersistentVec;
use crate::lottery::players::Players;
use crate::lottery::round::{ContractConfig, Round};
use crate::lottery::snapshot::{
    BlockSchedule, ConnectionStatus, Finality, LiveFeedItem, Owed, ReorgNotice, Snapshot,
    StoreEvent,
};

/// What is shown of a chain of which nothing has been read yet.
#[cfg(test)]
pub(crate) fn unread() -> Snapshot {
    let limits = Limits {
        live_feed_max_entries: 10,
        round_history_max: 10,
    };
    let connection = ConnectionStatus {
        reachable: true,
        since_unix_ms: 0,
        problem: None,
    };
    State::new(limits, connection).snapshot().clone()
}

#[cfg(test)]
mod tests;

/// How many actions are kept for those who ask.
const ACTIONS_MAX: usize = 100;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub live_feed_max_entries: usize,
    pub round_history_max: usize,
}

/// What has to be taken back before an update applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rollback {
    /// Everything above this block.
    To(u64),
    /// Everything: the reorg is deeper than what is remembered.
    Everything,
}

/// The chain moved: one consistent reading of one block.
#[derive(Clone, Debug)]
pub struct Advance {
    pub rollback: Option<Rollback>,
    pub head: BlockRef,
    pub time: ChainTime,
    pub schedule: BlockSchedule,
    pub syncing: bool,
    /// New events up to the head, in chain order.
    pub events: Vec<LoggedEvent>,
    /// The round at the head; None when nothing can have changed it.
    pub round: Option<Round>,
    pub config: Option<ContractConfig>,
}

#[derive(Clone, Debug)]
pub enum Update {
    Advance(Box<Advance>),
    /// Older events, in chain order, all below those known; `complete` when no more are to come.
    Backfill {
        events: Vec<LoggedEvent>,
        complete: bool,
    },
    Players(PlayersRead),
    Owed(Owed),
    Finality(Finality),
    Connection(ConnectionStatus),
    Operator(Arc<OperatorStatus>),
    Alerts(AlertChange),
    Action(Arc<ActionRecord>),
    /// The hash of the chain's first block, by which two chains of one number are told apart; None where nobody gives it.
    Genesis(Option<H256>),
}

/// What applying an update led to.
#[derive(Debug, Default)]
pub struct Applied {
    pub events: Vec<StoreEvent>,
    /// The events do not tell the whole change: listeners must read the snapshot anew.
    pub resync: bool,
}

#[derive(Clone, Debug)]
pub struct State {
    limits: Limits,
    snapshot: Snapshot,
    /// All events that the kept rounds and the running one are made of, in chain order.
    events: Vec<LoggedEvent>,
    /// Newest first; more than are shown while a reorg could bring them back.
    history: Vec<Arc<FinishedRound>>,
    running: Running,
    players: Players,
    live_syncing: bool,
    backfill_complete: bool,
}

impl State {
    pub fn new(limits: Limits, connection: ConnectionStatus) -> State {
        State {
            limits,
            snapshot: Snapshot {
                head: None,
                chain_time: None,
                syncing: true,
                owed: Owed::everything(),
                round: None,
                participants: Default::default(),
                config: None,
                history: Arc::default(),
                live_feed: PersistentVec::default(),
                schedule: BlockSchedule::default(),
                finality: Finality::default(),
                connection,
                operator: Arc::default(),
                actions: Arc::default(),
                reorgs_total: 0,
                genesis: None,
            },
            events: Vec::new(),
            history: Vec::new(),
            running: Running::default(),
            players: Players::default(),
            live_syncing: true,
            backfill_complete: false,
        }
    }

    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub fn apply(&mut self, update: Update) -> Applied {
        let mut applied = Applied::default();
        match update {
            Update::Advance(advance) => self.advance(*advance, &mut applied),
            Update::Backfill { events, complete } => self.backfill(events, complete, &mut applied),
            Update::Players(read) => self.take_players(read, &mut applied),
            Update::Owed(owed) => self.snapshot.owed = owed,
            Update::Finality(finality) => {
                if self.snapshot.finality != finality {
                    self.snapshot.finality = finality;
                    applied.events.push(StoreEvent::Finality(finality));
                }
            }
            Update::Connection(connection) => {
                if self.snapshot.connection != connection {
                    self.snapshot.connection = connection.clone();
                    applied
                        .events
                        .push(StoreEvent::ConnectionStatus(connection));
                }
            }
            Update::Operator(status) => {
                let shown = ShownOperator {
                    own: (*status).clone(),
                    alerts: self.snapshot.operator.alerts.clone(),
                };
                self.show_operator(shown, &mut applied);
            }
            Update::Alerts(AlertChange { news, firing }) => {
                for alert in news {
                    self.feed(LiveFeedItem::Alert(alert.clone()), &mut applied);
                    applied.events.push(StoreEvent::OperatorAlert(alert));
                }
                let shown = ShownOperator {
                    own: self.snapshot.operator.own.clone(),
                    alerts: firing,
                };
                self.show_operator(shown, &mut applied);
            }
            Update::Action(action) => self.note_action(action),
            Update::Genesis(genesis) => {
                // No message tells it: it comes with a snapshot.
                applied.resync = self.snapshot.genesis != genesis;
                self.snapshot.genesis = genesis;
            }
        }
        applied
    }

    fn advance(&mut self, advance: Advance, applied: &mut Applied) {
        let head_before = self.snapshot.head.map_or(0, |head| head.number);
        invariant(
            advance.rollback.is_some() || advance.head.number >= head_before,
            || {
                format!(
                    "the head went from {head_before} to {}",
                    advance.head.number
                )
            },
        );
        let mut replaces_all = advance.rollback.is_some();
        match advance.rollback {
            Some(Rollback::To(ancestor)) => self.roll_back(Some(ancestor), applied),
            Some(Rollback::Everything) => {
                self.roll_back(None, applied);
                // It may be another chain.
                applied.resync |= self.snapshot.genesis.take().is_some();
            }
            None => {}
        }
        // Whose bets count is decided by the round at the head, whatever logs are still to come.
        if let Some(round) = &advance.round {
            let bets = self.running.bets_of(round.round_id);
            replaces_all |= self.players.turn_to(round.round_id, bets);
        }
        let mut changed = Vec::new();
        for event in advance.events {
            let is_known =
                |last: &LoggedEvent| last.record.position.order() >= event.record.position.order();
            if !self.events.last().is_some_and(is_known) {
                self.take_event(event, &mut changed, applied);
            }
        }
        self.snapshot.head = Some(advance.head);
        self.snapshot.chain_time = Some(advance.time);
        self.snapshot.schedule = advance.schedule;
        self.live_syncing = advance.syncing;
        self.snapshot.syncing = self.live_syncing || !self.backfill_complete;
        if let Some(round) = advance.round {
            if self.snapshot.round.as_ref() != Some(&round) {
                self.snapshot.round = Some(round.clone());
                applied.events.push(StoreEvent::RoundUpdate(Some(round)));
            }
        }
        if let Some(round) = &self.snapshot.round {
            let bets = self.running.bets_of(round.round_id);
            replaces_all |= self.players.adopt_logs_if_whole(round, bets);
        }
        self.publish_participants(replaces_all, changed, applied);
        if let Some(config) = advance.config {
            if self.snapshot.config.as_deref() != Some(&config) {
                let config = Arc::new(config);
                self.snapshot.config = Some(config.clone());
                applied.events.push(StoreEvent::ConfigUpdate(config));
            }
        }
    }

    /// Applies one new event to all that depends on it.
    fn take_event(
        &mut self,
        mut event: LoggedEvent,
        changed: &mut Vec<Participant>,
        applied: &mut Applied,
    ) {
        if let Some(facts) = &mut event.finish {
            // A round that was followed live is known better than the node may tell afterwards.
            let live = self.snapshot.round.as_ref();
            let live = live.and_then(|round| round.times());
            let live = live.filter(|times| self.running.has_times(times));
            facts.times = facts.times.or(live);
            facts.held_up_by = self.held_up_by(&event.record);
        }
        applied
            .events
            .push(StoreEvent::BlockchainEvent(event.record.clone()));
        self.feed(LiveFeedItem::Event(event.record.clone()), applied);
        for participant in self.players.take_bet(&event.record) {
            changed.retain(|known| known.order != participant.order);
            changed.push(participant);
        }
        let finished = self.running.absorb(&event);
        self.events.push(event);
        if let Some(finished) = finished {
            let finished = Arc::new(finished);
            self.history.insert(0, finished.clone());
            self.forget_old_rounds();
            applied.events.push(StoreEvent::HistoryUpdate(finished));
        }
    }

    /// What the operator saw hold up the draw that this is, if it was at that round.
    fn held_up_by(&self, end: &EventRecord) -> Option<LateReason> {
        let operator = &self.snapshot.operator.own;
        let drawn = end.event.ended_round();
        let seen = drawn.filter(|_| operator.current_round_id == drawn);
        let hash = &end.position.transaction_hash;
        let mut actions = self.snapshot.actions.iter();
        let is_own = actions.any(|action| action.hashes.contains(hash));
        match seen.is_some() && operator.is_running && !is_own {
            true => Some(LateReason::SentByAnother),
            false => operator.held_up_by.filter(|_| seen.is_some()),
        }
    }

    /// Players that the contract itself told, where the logs could not.
    fn take_players(&mut self, read: PlayersRead, applied: &mut Applied) {
        let bets = self.running.bets_of(read.round_id);
        if self.players.take_reading(read, bets) {
            self.publish_participants(true, Vec::new(), applied);
        }
    }

    fn publish_participants(
        &mut self,
        replaces_all: bool,
        changed: Vec<Participant>,
        applied: &mut Applied,
    ) {
        self.snapshot.participants = self.players.view().clone();
        if !replaces_all && changed.is_empty() {
            return;
        }
        let view = &self.snapshot.participants;
        applied
            .events
            .push(StoreEvent::Participants(ParticipantsUpdate {
                round_id: self
                    .snapshot
                    .round
                    .as_ref()
                    .map_or(self.running.round_id, |round| round.round_id),
                total_participants: view.len() as u64,
                total_amount_wei: view.total_amount_wei(),
                replaces_all,
                changed: if replaces_all {
                    view.first_page().to_vec()
                } else {
                    changed
                },
            }));
    }

    /// Takes back everything above `ancestor` (everything at all for None).
    fn roll_back(&mut self, ancestor: Option<u64>, applied: &mut Applied) {
        let gone = |record: &EventRecord| {
            ancestor.is_none_or(|ancestor| record.position.block_number > ancestor)
        };
        let is_gone =
            |item: &&LiveFeedItem| matches!(item, LiveFeedItem::Event(record) if gone(record));
        let feed = &self.snapshot.live_feed;
        let retracted: Vec<String> = feed.iter().filter(is_gone).map(LiveFeedItem::id).collect();
        let kept = feed.iter().filter(|item| !is_gone(item)).cloned().collect();
        self.snapshot.live_feed = kept;
        self.events.retain(|event| !gone(&event.record));
        let history_before = self.snapshot.history.clone();
        self.derive_again();
        let bets = self.running.bets_of(self.players.round_id());
        self.players.begin_anew(bets);
        self.snapshot.reorgs_total += 1;
        if ancestor.is_none() {
            self.backfill_complete = false;
            applied.resync = true;
        }
        let is_feed_changed = !retracted.is_empty();
        applied.events.push(StoreEvent::Reorg(ReorgNotice {
            ancestor,
            retracted,
            history: (history_before != self.snapshot.history)
                .then(|| self.snapshot.history.clone()),
            live_feed: is_feed_changed.then(|| self.snapshot.live_feed.clone()),
        }));
    }

    fn backfill(&mut self, mut older: Vec<LoggedEvent>, complete: bool, applied: &mut Applied) {
        if let Some(first) = self.events.first() {
            older.retain(|event| event.record.position.order() < first.record.position.order());
        }
        if !older.is_empty() {
            let feed: Vec<LiveFeedItem> = older
                .iter()
                .map(|event| LiveFeedItem::Event(event.record.clone()))
                .chain(self.snapshot.live_feed.iter().cloned())
                .collect();
            let surplus = feed.len().saturating_sub(self.limits.live_feed_max_entries);
            self.snapshot.live_feed = feed.into_iter().skip(surplus).collect();
            older.append(&mut self.events);
            self.events = older;
            self.derive_again();
            if let Some(round) = &self.snapshot.round {
                let bets = self.running.bets_of(round.round_id);
                self.players.adopt_older_logs(round, bets);
            }
            self.snapshot.participants = self.players.view().clone();
            applied.resync = true;
        }
        self.backfill_complete |= complete;
        let syncing = self.live_syncing || !self.backfill_complete;
        applied.resync |= syncing != self.snapshot.syncing;
        self.snapshot.syncing = syncing;
    }

    fn derive_again(&mut self) {
        self.running = Running::default();
        self.history.clear();
        for event in &self.events {
            if let Some(finished) = self.running.absorb(event) {
                self.history.insert(0, Arc::new(finished));
            }
        }
        self.forget_old_rounds();
    }

    /// Shows `round_history_max` rounds. Older ones are forgotten, with their events, once no reorg that is followed
    /// block by block can reach them any more.
    fn forget_old_rounds(&mut self) {
        let newest_block = self
            .events
            .last()
            .map_or(0, |event| event.record.position.block_number);
        let mut forgotten = None;
        while self.history.len() > self.limits.round_history_max {
            let out_of_reach = |round: &Arc<FinishedRound>| {
                round.position.block_number.saturating_add(RING_LEN as u64) < newest_block
            };
            let Some(oldest) = self.history.last().filter(|round| out_of_reach(round)) else {
                break;
            };
            forgotten = Some(oldest.position.order());
            self.history.pop();
        }
        if let Some(last_order) = forgotten {
            self.events
                .retain(|event| event.record.position.order() > last_order);
        }
        let shown = self
            .history
            .iter()
            .take(self.limits.round_history_max)
            .cloned();
        self.snapshot.history = Arc::new(shown.collect());
    }

    fn feed(&mut self, item: LiveFeedItem, applied: &mut Applied) {
        self.snapshot.live_feed.push(item.clone());
        if self.snapshot.live_feed.len() > self.limits.live_feed_max_entries {
            self.snapshot.live_feed.pop_front();
        }
        applied.events.push(StoreEvent::LiveFeed(item));
    }

    fn show_operator(&mut self, shown: ShownOperator, applied: &mut Applied) {
        if *self.snapshot.operator != shown {
            let shown = Arc::new(shown);
            self.snapshot.operator = shown.clone();
            applied.events.push(StoreEvent::OperatorStatus(shown));
        }
    }

    fn note_action(&mut self, action: Arc<ActionRecord>) {
        let actions = Arc::make_mut(&mut self.snapshot.actions);
        match actions.iter_mut().find(|known| known.id == action.id) {
            Some(known) => *known = action,
            None => actions.push(action),
        }
        if actions.len() > ACTIONS_MAX {
            actions.remove(0);
        }
    }
}

/// What must hold whatever is delivered: a break is a fault of ours, told in the log and ending a test.
fn invariant(holds: bool, what: impl FnOnce() -> String) {
    if !holds {
        let what = what();
        log::error!("the state contradicts itself: {what}");
        debug_assert!(false, "{what}");
    }
}
