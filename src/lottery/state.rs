//! The reducer: all that is known of the lottery, and how an update changes it. Pure: no IO, no clock, no threads;
//! `apply` cannot fail and answers with the events that listeners hear.
//!
//! History and participants are derived from one ordered list of the contract's events. New events are absorbed one
//! by one; after a reorg or a backfill the derived part is made anew from the list by the same code, so that what is
//! held afterwards is what a fresh start on that chain would hold.

use std::sync::Arc;

use crate::base::clock::ChainTime;
use crate::chain::cursor::RING_LEN;
use crate::chain::types::{Address, H256, U256};
use crate::lottery::model::{
    ActionRecord, Alert, Bet, BlockSchedule, ConnectionStatus, ContractConfig, EventRecord,
    Finality, FinishedRound, HeadRef, LiveFeedItem, LotteryEvent, OperatorStatus, Outcome,
    Participant, ParticipantsUpdate, ReorgNotice, Round, RoundState, Snapshot, StoreEvent,
};
use crate::lottery::participants::ParticipantsLedger;
use crate::lottery::persistent::PersistentVec;
use crate::lottery::proof::{self, ProofInputs, Verdict};

/// How many actions are kept for those who ask.
const ACTIONS_MAX: usize = 100;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub live_feed_max_entries: usize,
    pub round_history_max: usize,
}

/// What is read of the chain beside the log that ends a round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FinishFacts {
    /// mixHash of the block that mined the end.
    pub prevrandao: Option<H256>,
    /// getRound() one block earlier, where that block's state could be read.
    pub round_before: Option<Round>,
}

/// An event of the contract as the poller delivers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedEvent {
    pub record: Arc<EventRecord>,
    /// For RoundCompleted and RoundRefunded.
    pub finish: Option<FinishFacts>,
}

impl LoggedEvent {
    fn place(&self) -> (u64, u64) {
        (
            self.record.position.block_number,
            self.record.position.log_index,
        )
    }
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
    pub head: HeadRef,
    pub time: ChainTime,
    pub schedule: BlockSchedule,
    pub syncing: bool,
    /// New events up to the head, in chain order.
    pub events: Vec<LoggedEvent>,
    /// The round at the head; None when nothing can have changed it.
    pub round: Option<Round>,
    pub config: Option<ContractConfig>,
    /// (player, total) in first-bet order, read from the contract at the head: replaces what the logs say.
    pub participants: Option<Vec<(Address, U256)>>,
}

#[derive(Clone, Debug)]
pub enum Update {
    Advance(Box<Advance>),
    /// Older events, in chain order, all below those known; `complete` when no more are to come.
    Backfill {
        events: Vec<LoggedEvent>,
        complete: bool,
    },
    Finality(Finality),
    Connection(ConnectionStatus),
    Operator(Arc<OperatorStatus>),
    Alert(Arc<Alert>),
    Action(Arc<ActionRecord>),
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
    ledger: ParticipantsLedger,
    /// The ledger was read from the contract because the logs did not explain the pot.
    ledger_from_contract: bool,
    live_syncing: bool,
    backfill_complete: bool,
}

/// The events of the round that has not ended yet.
#[derive(Clone, Debug, Default)]
struct Running {
    round_id: u64,
    /// Unix seconds; 0 while the start is out of reach.
    start_time: u64,
    bets: Vec<Bet>,
}

impl State {
    pub fn new(limits: Limits, connection: ConnectionStatus) -> State {
        State {
            limits,
            snapshot: Snapshot {
                head: None,
                chain_time: None,
                syncing: true,
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
            },
            events: Vec::new(),
            history: Vec::new(),
            running: Running::default(),
            ledger: ParticipantsLedger::default(),
            ledger_from_contract: false,
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
                if *self.snapshot.operator != *status {
                    self.snapshot.operator = status.clone();
                    applied.events.push(StoreEvent::OperatorStatus(status));
                }
            }
            Update::Alert(alert) => {
                self.feed(LiveFeedItem::Alert(alert.clone()), &mut applied);
                applied.events.push(StoreEvent::OperatorAlert(alert));
            }
            Update::Action(action) => self.note_action(action),
        }
        applied
    }

    fn advance(&mut self, advance: Advance, applied: &mut Applied) {
        let round_before = self.snapshot.round.as_ref().map(|round| round.round_id);
        let mut replaces_all = advance.participants.is_some() || advance.rollback.is_some();
        let mut changed = Vec::new();
        match advance.rollback {
            Some(Rollback::To(ancestor)) => self.roll_back(Some(ancestor), applied),
            Some(Rollback::Everything) => self.roll_back(None, applied),
            None => {}
        }
        for event in advance.events {
            if self
                .events
                .last()
                .is_some_and(|last| last.place() >= event.place())
            {
                continue;
            }
            replaces_all |= self.take_event(event, &mut changed, applied);
        }
        if let Some(participants) = advance.participants {
            self.ledger = ParticipantsLedger::from_bets(participants);
            self.ledger_from_contract = true;
        }
        self.snapshot.head = Some(advance.head);
        self.snapshot.chain_time = Some(advance.time);
        self.snapshot.schedule = advance.schedule;
        self.live_syncing = advance.syncing;
        self.snapshot.syncing = self.live_syncing || !self.backfill_complete;
        if let Some(round) = advance.round {
            replaces_all |= round_before != Some(round.round_id);
            if self.snapshot.round.as_ref() != Some(&round) {
                self.snapshot.round = Some(round.clone());
                applied.events.push(StoreEvent::RoundUpdate(Some(round)));
            }
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

    /// Applies one new event to all that depends on it; true when it emptied the list of participants.
    fn take_event(
        &mut self,
        mut event: LoggedEvent,
        changed: &mut Vec<Participant>,
        applied: &mut Applied,
    ) -> bool {
        if let Some(facts) = &mut event.finish {
            // A round that was followed live is known better than the node may tell afterwards.
            facts.round_before = facts
                .round_before
                .take()
                .or_else(|| self.snapshot.round.clone());
        }
        applied
            .events
            .push(StoreEvent::BlockchainEvent(event.record.clone()));
        self.feed(LiveFeedItem::Event(event.record.clone()), applied);
        if let LotteryEvent::BetPlaced {
            player, amount_wei, ..
        } = event.record.event
        {
            for participant in self.ledger.add(player, amount_wei) {
                changed.retain(|known| known.order != participant.order);
                changed.push(participant);
            }
        }
        let finished = absorb(&event, &mut self.running);
        self.events.push(event);
        let Some(finished) = finished else {
            return false;
        };
        let finished = Arc::new(finished);
        self.history.insert(0, finished.clone());
        self.forget_old_rounds();
        self.ledger = ParticipantsLedger::default();
        self.ledger_from_contract = false;
        changed.clear();
        applied.events.push(StoreEvent::HistoryUpdate(finished));
        true
    }

    fn publish_participants(
        &mut self,
        replaces_all: bool,
        changed: Vec<Participant>,
        applied: &mut Applied,
    ) {
        self.snapshot.participants = self.ledger.view().clone();
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
        let retracted = self
            .snapshot
            .live_feed
            .iter()
            .filter(|item| matches!(item, LiveFeedItem::Event(record) if gone(record)))
            .map(LiveFeedItem::id)
            .collect();
        self.snapshot.live_feed = self
            .snapshot
            .live_feed
            .iter()
            .filter(|item| !matches!(item, LiveFeedItem::Event(record) if gone(record)))
            .cloned()
            .collect();
        self.events.retain(|event| !gone(&event.record));
        self.derive_again();
        self.ledger = self.ledger_of_bets();
        self.ledger_from_contract = false;
        self.snapshot.reorgs_total += 1;
        if ancestor.is_none() {
            self.backfill_complete = false;
            applied.resync = true;
        }
        applied.events.push(StoreEvent::Reorg(ReorgNotice {
            ancestor,
            retracted,
        }));
    }

    fn backfill(&mut self, mut older: Vec<LoggedEvent>, complete: bool, applied: &mut Applied) {
        if let Some(first) = self.events.first() {
            older.retain(|event| event.place() < first.place());
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
            self.adopt_bets_that_explain_the_pot();
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
            if let Some(finished) = absorb(event, &mut self.running) {
                self.history.insert(0, Arc::new(finished));
            }
        }
        self.forget_old_rounds();
    }

    fn ledger_of_bets(&self) -> ParticipantsLedger {
        ParticipantsLedger::from_bets(
            self.running
                .bets
                .iter()
                .map(|bet| (bet.player, bet.amount_wei)),
        )
    }

    /// The logs replace what was known of the players only when they explain the whole pot.
    fn adopt_bets_that_explain_the_pot(&mut self) {
        let from_bets = self.ledger_of_bets();
        let pot_wei = self
            .snapshot
            .round
            .as_ref()
            .map(|round| round.total_pot_wei);
        if pot_wei == Some(from_bets.view().total_amount_wei()) || !self.ledger_from_contract {
            self.ledger = from_bets;
            self.ledger_from_contract = false;
        }
        self.snapshot.participants = self.ledger.view().clone();
    }

    /// Shows `round_history_max` rounds. Older ones are forgotten, with their events, once no reorg that is followed
    /// block by block can reach them any more.
    fn forget_old_rounds(&mut self) {
        let newest_block = self.events.last().map_or(0, |event| event.place().0);
        let mut forgotten = None;
        while self.history.len() > self.limits.round_history_max {
            let out_of_reach = |round: &Arc<FinishedRound>| {
                round.position.block_number.saturating_add(RING_LEN as u64) < newest_block
            };
            let Some(oldest) = self.history.last().filter(|round| out_of_reach(round)) else {
                break;
            };
            forgotten = Some((oldest.position.block_number, oldest.position.log_index));
            self.history.pop();
        }
        if let Some(last_place) = forgotten {
            self.events.retain(|event| event.place() > last_place);
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

/// Takes one event, in chain order, into the running round; the finished round when the event ended it.
fn absorb(event: &LoggedEvent, running: &mut Running) -> Option<FinishedRound> {
    let record = &event.record;
    let outcome = match &record.event {
        LotteryEvent::BetPlaced {
            round_id,
            player,
            amount_wei,
            ..
        } => {
            running.enter(*round_id);
            running.bets.push(Bet {
                player: *player,
                amount_wei: *amount_wei,
                position: record.position.clone(),
            });
            return None;
        }
        LotteryEvent::RoundStateChanged {
            round_id,
            new_state: RoundState::Betting,
            timestamp,
            ..
        } => {
            running.enter(*round_id);
            running.start_time = *timestamp;
            return None;
        }
        LotteryEvent::RoundCompleted {
            winner,
            winner_prize_wei,
            publisher_commission_wei,
            random_seed,
            ..
        } => Outcome::Completed {
            winner: *winner,
            winner_prize_wei: *winner_prize_wei,
            publisher_commission_wei: *publisher_commission_wei,
            random_seed: *random_seed,
        },
        LotteryEvent::RoundRefunded { reason, .. } => Outcome::Refunded {
            reason: reason.clone(),
        },
        _ => return None,
    };
    Some(finish(event, outcome, std::mem::take(running)))
}

impl Running {
    /// Makes sure that the bets are those of `round_id`.
    fn enter(&mut self, round_id: u64) {
        if self.round_id != round_id {
            *self = Running {
                round_id,
                ..Running::default()
            };
        }
    }
}

fn finish(event: &LoggedEvent, outcome: Outcome, mut running: Running) -> FinishedRound {
    let record = &event.record;
    let (round_id, total_pot_wei, participant_count) = match record.event {
        LotteryEvent::RoundCompleted {
            round_id,
            total_pot_wei,
            participant_count,
            ..
        } => (round_id, total_pot_wei, participant_count),
        LotteryEvent::RoundRefunded {
            round_id,
            total_refunded_wei,
            participant_count,
            ..
        } => (round_id, total_refunded_wei, participant_count),
        _ => (running.round_id, U256::zero(), 0),
    };
    running.enter(round_id);
    let facts = event.finish.clone().unwrap_or_default();
    let before = facts
        .round_before
        .filter(|round| round.round_id == round_id && round.state == RoundState::Betting);
    let times = before.map_or((running.start_time, 0, 0, 0), |round| {
        (
            round.start_time,
            round.end_time,
            round.min_draw_time,
            round.max_draw_time,
        )
    });
    let verdict = match outcome {
        Outcome::Completed {
            winner,
            random_seed,
            ..
        } => Some(verdict(
            facts.prevrandao,
            record,
            (round_id, total_pot_wei),
            &running.bets,
            (random_seed, winner),
        )),
        Outcome::Refunded { .. } => None,
    };
    FinishedRound {
        round_id,
        start_time: times.0,
        end_time: times.1,
        min_draw_time: times.2,
        max_draw_time: times.3,
        total_pot_wei,
        participant_count,
        outcome,
        bets: running.bets,
        verdict,
        prevrandao: facts.prevrandao,
        position: record.position.clone(),
    }
}

fn verdict(
    prevrandao: Option<H256>,
    record: &EventRecord,
    (round_id, total_pot_wei): (u64, U256),
    bets: &[Bet],
    (announced_seed, announced_winner): (U256, Address),
) -> Verdict {
    let Some(prevrandao) = prevrandao else {
        return Verdict::Unverifiable {
            why: "the header of the draw's block is out of reach".to_owned(),
        };
    };
    let inputs = ProofInputs {
        block_timestamp: record.position.block_timestamp,
        prevrandao,
        block_number: record.position.block_number,
        round_id,
        total_pot_wei,
        bets,
    };
    proof::verify(&inputs, announced_seed, announced_winner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lottery::model::LogPosition;
    use crate::lottery::participants::FIRST_PAGE_LEN;
    use proptest::prelude::*;
    use std::time::Instant;

    const LIMITS: Limits = Limits {
        live_feed_max_entries: 12,
        round_history_max: 3,
    };

    /// A little chain: each block has a branch (so that a reorg changes hashes) and what happens in it.
    #[derive(Clone, Debug, PartialEq)]
    struct Block {
        branch: u64,
        acts: Vec<Act>,
    }

    #[derive(Clone, Debug, PartialEq)]
    enum Act {
        Bet {
            player: u64,
            wei: u64,
        },
        /// Ends the running round, if it has bets.
        Draw,
        Refund,
    }

    fn hash(block: &Block, number: u64) -> H256 {
        H256::from_low_u64_be(block.branch * 1_000 + number)
    }

    /// What the contract would log and hold after each block.
    fn play(blocks: &[Block]) -> Vec<(Vec<LoggedEvent>, Round)> {
        let mut round = waiting(1);
        let mut players: Vec<u64> = Vec::new();
        let mut out = Vec::new();
        for (number, block) in blocks.iter().enumerate() {
            let number = number as u64;
            let before = round.clone();
            let mut events = Vec::new();
            let mut emit = |event: LotteryEvent, finish: Option<FinishFacts>| {
                let position = LogPosition {
                    block_number: number,
                    block_hash: hash(block, number),
                    block_timestamp: 100 + number,
                    transaction_hash: H256::from_low_u64_be(number),
                    log_index: events.len() as u64,
                };
                events.push(LoggedEvent {
                    record: Arc::new(EventRecord { event, position }),
                    finish,
                });
            };
            for act in &block.acts {
                let timestamp = 100 + number;
                let facts = || {
                    Some(FinishFacts {
                        prevrandao: Some(H256::zero()),
                        round_before: Some(before.clone()),
                    })
                };
                match act {
                    Act::Bet { player, wei } => {
                        if round.state == RoundState::Waiting {
                            round.state = RoundState::Betting;
                            round.start_time = timestamp;
                            let (old_state, new_state) = (RoundState::Waiting, RoundState::Betting);
                            let round_id = round.round_id;
                            emit(
                                LotteryEvent::RoundStateChanged {
                                    round_id,
                                    old_state,
                                    new_state,
                                    timestamp,
                                },
                                None,
                            );
                        }
                        if !players.contains(player) {
                            players.push(*player);
                        }
                        round.total_pot_wei += U256::from(*wei);
                        round.participant_count = players.len() as u64;
                        let bet = LotteryEvent::BetPlaced {
                            round_id: round.round_id,
                            player: Address::from_low_u64_be(*player),
                            amount_wei: U256::from(*wei),
                            new_total_wei: round.total_pot_wei,
                            timestamp,
                        };
                        emit(bet, None);
                    }
                    Act::Draw | Act::Refund if round.total_pot_wei.is_zero() => {}
                    Act::Draw => {
                        let event = LotteryEvent::RoundCompleted {
                            round_id: round.round_id,
                            winner: Address::from_low_u64_be(players[0]),
                            total_pot_wei: round.total_pot_wei,
                            participant_count: round.participant_count,
                            winner_prize_wei: round.total_pot_wei,
                            publisher_commission_wei: U256::zero(),
                            random_seed: U256::one(),
                            timestamp,
                        };
                        emit(event, facts());
                        round = waiting(round.round_id + 1);
                        players.clear();
                    }
                    Act::Refund => {
                        let event = LotteryEvent::RoundRefunded {
                            round_id: round.round_id,
                            total_refunded_wei: round.total_pot_wei,
                            participant_count: round.participant_count,
                            reason: "x".to_owned(),
                            timestamp,
                        };
                        emit(event, facts());
                        round = waiting(round.round_id + 1);
                        players.clear();
                    }
                }
            }
            out.push((events, round.clone()));
        }
        out
    }

    fn waiting(round_id: u64) -> Round {
        Round {
            round_id,
            state: RoundState::Waiting,
            start_time: 0,
            end_time: 0,
            min_draw_time: 0,
            max_draw_time: 0,
            total_pot_wei: U256::zero(),
            participant_count: 0,
        }
    }

    fn state() -> State {
        State::new(
            LIMITS,
            ConnectionStatus {
                reachable: true,
                since_unix_ms: 0,
                problem: None,
            },
        )
    }

    /// The update that brings blocks `from..=to` of `blocks`.
    fn advance(blocks: &[Block], from: usize, to: usize, rollback: Option<Rollback>) -> Update {
        let played = play(blocks);
        let head = HeadRef {
            number: to as u64,
            hash: hash(&blocks[to], to as u64),
            timestamp: 100 + to as u64,
        };
        Update::Advance(Box::new(Advance {
            rollback,
            head,
            time: ChainTime {
                head_timestamp: head.timestamp,
                seen_at: Instant::now(),
            },
            schedule: BlockSchedule::default(),
            syncing: false,
            events: played[from..=to]
                .iter()
                .flat_map(|(events, _)| events.clone())
                .collect(),
            round: Some(played[to].1.clone()),
            config: None,
            participants: None,
        }))
    }

    fn fresh(blocks: &[Block]) -> State {
        let mut state = state();
        state.apply(advance(blocks, 0, blocks.len() - 1, None));
        state.apply(Update::Backfill {
            events: Vec::new(),
            complete: true,
        });
        state
    }

    /// All that a reader can see of the chain's content.
    type Seen = (
        Option<Round>,
        Vec<Arc<FinishedRound>>,
        Vec<Participant>,
        U256,
        Vec<String>,
    );

    fn seen(state: &State) -> Seen {
        let snapshot = state.snapshot();
        (
            snapshot.round.clone(),
            snapshot.history.to_vec(),
            snapshot.participants.page(usize::MAX, 0),
            snapshot.participants.total_amount_wei(),
            snapshot.live_feed.iter().map(LiveFeedItem::id).collect(),
        )
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            6 => (0..5u64, 1..9u64).prop_map(|(player, wei)| Act::Bet { player, wei }),
            1 => Just(Act::Draw),
            1 => Just(Act::Refund),
        ]
    }

    fn branch(branch: u64) -> impl Strategy<Value = Vec<Block>> {
        proptest::collection::vec(proptest::collection::vec(act(), 0..3), 1..14).prop_map(
            move |blocks| {
                blocks
                    .into_iter()
                    .map(|acts| Block { branch, acts })
                    .collect()
            },
        )
    }

    proptest! {
        /// After any reorg, read in any portions, everything that was kept equals a fresh start on the new chain. The
        /// feed is the exception: what fell off its old end does not come back.
        #[test]
        fn a_reorg_leaves_what_a_fresh_start_would_hold(
            old in branch(1), new in branch(2), ancestor in 0..13usize, portion in 1..5usize,
        ) {
            let ancestor = ancestor % old.len();
            let mut state = state();
            let mut from = 0;
            while from < old.len() {
                let to = (from + portion - 1).min(old.len() - 1);
                state.apply(advance(&old, from, to, None));
                from = to + 1;
            }
            state.apply(Update::Backfill { events: Vec::new(), complete: true });
            prop_assert_eq!(seen(&state), seen(&fresh(&old)));

            let mut chain = old[..=ancestor].to_vec();
            chain.extend(new);
            let update = advance(&chain, ancestor + 1, chain.len() - 1, Some(Rollback::To(ancestor as u64)));
            let applied = state.apply(update);
            let (round, history, participants, total, feed) = seen(&state);
            let (round2, history2, participants2, total2, feed2) = seen(&fresh(&chain));
            prop_assert_eq!((round, participants, total), (round2, participants2, total2));
            prop_assert_eq!(history, history2);
            prop_assert!(feed2.ends_with(&feed) , "{:?} {:?}", feed, feed2);
            let told = matches!(&applied.events[0], StoreEvent::Reorg(notice) if notice.ancestor == Some(ancestor as u64));
            prop_assert!(told);
        }

        /// The walk back brings what a start further back would have brought.
        #[test]
        fn a_backfill_is_the_same_as_an_earlier_start(blocks in branch(1), cut in 0..13usize, middle in 0..13usize) {
            let cut = cut % blocks.len();
            let middle = middle % (cut + 1);
            let played = play(&blocks);
            let events = |range: std::ops::Range<usize>| {
                played[range].iter().flat_map(|(events, _)| events.clone()).collect::<Vec<_>>()
            };
            let mut state = state();
            state.apply(advance(&blocks, cut, blocks.len() - 1, None));
            prop_assert!(state.snapshot().syncing);
            state.apply(Update::Backfill { events: events(middle..cut), complete: false });
            let last = state.apply(Update::Backfill { events: events(0..middle), complete: true });
            prop_assert!(last.resync && !state.snapshot().syncing);
            prop_assert_eq!(seen(&state), seen(&fresh(&blocks)));
        }

        /// A client that follows the participants' updates holds what a new snapshot shows.
        #[test]
        fn participants_updates_tell_the_whole_change(blocks in branch(1)) {
            let mut state = state();
            let mut held: Vec<Participant> = Vec::new();
            for number in 0..blocks.len() {
                for event in state.apply(advance(&blocks, number, number, None)).events {
                    if let StoreEvent::Participants(update) = event {
                        if update.replaces_all {
                            held.clear();
                        }
                        for changed in update.changed {
                            held.retain(|known| known.order != changed.order);
                            held.push(changed);
                        }
                        prop_assert_eq!(update.total_participants, held.len() as u64);
                    }
                }
                held.sort_by_key(|p| (std::cmp::Reverse(p.total_amount_wei), p.order));
                prop_assert!(held.len() <= FIRST_PAGE_LEN);
                prop_assert_eq!(&held[..], state.snapshot().participants.first_page());
            }
        }
    }

    fn bets(amounts: &[u64]) -> Vec<Block> {
        let bet = |(player, wei): (usize, &u64)| Block {
            branch: 1,
            acts: vec![Act::Bet {
                player: player as u64,
                wei: *wei,
            }],
        };
        amounts.iter().enumerate().map(bet).collect()
    }

    #[test]
    fn rounds_are_forgotten_when_no_reorg_can_reach_them() {
        let round = || Block {
            branch: 1,
            acts: vec![Act::Bet { player: 1, wei: 5 }, Act::Refund],
        };
        let empty = || Block {
            branch: 1,
            acts: vec![],
        };
        let mut blocks: Vec<Block> = (0..5).map(|_| round()).collect();
        let mut state = fresh(&blocks);
        assert_eq!(
            (state.history.len(), state.snapshot().history.len()),
            (5, 3)
        );
        blocks.extend((0..RING_LEN + 5).map(|_| empty()));
        blocks.push(round());
        state.apply(advance(&blocks, 5, blocks.len() - 1, None));
        assert_eq!(
            (state.history.len(), state.snapshot().history.len()),
            (3, 3)
        );
        assert_eq!(state.events.first().unwrap().place().0, 3);
    }

    #[test]
    fn a_new_head_without_events_says_nothing() {
        let mut blocks = bets(&[5]);
        blocks.push(Block {
            branch: 1,
            acts: vec![],
        });
        let mut state = state();
        state.apply(advance(&blocks, 0, 0, None));
        assert_eq!(state.apply(advance(&blocks, 1, 1, None)).events, []);
        assert_eq!(state.snapshot().head.unwrap().number, 1);
    }

    #[test]
    fn an_event_delivered_twice_counts_once() {
        let blocks = bets(&[5, 7]);
        let mut state = state();
        state.apply(advance(&blocks, 0, 1, None));
        state.apply(advance(&blocks, 0, 1, None));
        assert_eq!(
            state.snapshot().participants.total_amount_wei(),
            U256::from(12)
        );
    }

    #[test]
    fn players_read_from_the_contract_hold_until_the_logs_explain_the_pot() {
        let blocks = bets(&[5, 7]);
        let mut state = state();
        let Update::Advance(mut late) = advance(&blocks, 1, 1, None) else {
            panic!()
        };
        late.participants = Some(vec![
            (Address::from_low_u64_be(0), 5.into()),
            (Address::from_low_u64_be(1), 7.into()),
        ]);
        state.apply(Update::Advance(late));
        assert_eq!(
            state.snapshot().participants.total_amount_wei(),
            U256::from(12)
        );
        let (events, _) = play(&blocks).remove(0);
        state.apply(Update::Backfill {
            events,
            complete: true,
        });
        assert_eq!(state.snapshot().participants.page(9, 0).len(), 2);
        assert!(!state.ledger_from_contract);
    }

    #[test]
    fn everything_is_forgotten_when_the_reorg_is_too_deep() {
        let blocks = bets(&[5, 7]);
        let mut state = fresh(&blocks);
        let other = vec![Block {
            branch: 9,
            acts: vec![Act::Bet { player: 4, wei: 1 }],
        }];
        let applied = state.apply(advance(&other, 0, 0, Some(Rollback::Everything)));
        assert!(applied.resync && state.snapshot().syncing);
        assert!(
            matches!(&applied.events[0], StoreEvent::Reorg(ReorgNotice { ancestor: None, retracted }) if retracted.len() == 3)
        );
        assert_eq!(
            state.snapshot().participants.total_amount_wei(),
            U256::one()
        );
        assert_eq!(state.snapshot().reorgs_total, 1);
    }

    #[test]
    fn a_status_is_told_only_when_it_changes_and_actions_are_bounded() {
        let mut state = state();
        let status = Arc::new(OperatorStatus {
            phase: "x".to_owned(),
            ..OperatorStatus::default()
        });
        assert_eq!(
            state.apply(Update::Operator(status.clone())).events.len(),
            1
        );
        assert_eq!(state.apply(Update::Operator(status)).events.len(), 0);
    }
}
