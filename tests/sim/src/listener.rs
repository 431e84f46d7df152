//! A listener to the feed: it begins with a snapshot, applies every change that is told, and holds the result against the
//! snapshot that the change led to. What the snapshots say of the chain is `oracle`'s to judge.

use std::collections::BTreeMap;
use std::sync::Arc;

use lottery::chain::types::U256;
use lottery::lottery::history::FinishedRound;
use lottery::lottery::operator_status::ShownOperator;
use lottery::lottery::participants::{Participant, ParticipantsUpdate};
use lottery::lottery::round::{ContractConfig, Round};
use lottery::lottery::snapshot::{
    ConnectionStatus, Finality, LiveFeedItem, Publication, Snapshot, StoreEvent,
};

/// A publication whose changes do not tell all leaves one number out; more are left out only when the queue was full.
const STEP_MAX: u64 = 2;

/// What the changes have come to.
struct Heard {
    number: u64,
    round: Option<Round>,
    /// By first bet; after a change that replaces all, those of the first page.
    players: BTreeMap<u32, Participant>,
    players_total: u64,
    players_wei: U256,
    config: Option<Arc<ContractConfig>>,
    history: Vec<Arc<FinishedRound>>,
    feed: Vec<LiveFeedItem>,
    operator: Arc<ShownOperator>,
    connection: ConnectionStatus,
    finality: Finality,
}

#[derive(Default)]
pub struct Listener {
    heard: Option<Heard>,
}

impl Listener {
    /// A new run begins with a snapshot.
    pub fn restarted(&mut self) {
        self.heard = None;
    }

    /// What a change left untold, in words.
    pub fn published(&mut self, publication: &Publication) -> Option<String> {
        let Publication {
            number, snapshot, ..
        } = publication;
        let Some(heard) = &mut self.heard else {
            self.heard = Some(Heard::begin(*number, snapshot));
            return None;
        };
        let step = number.saturating_sub(heard.number);
        if step != 1 {
            *heard = Heard::begin(*number, snapshot);
            let is_lost = step == 0 || step > STEP_MAX;
            return is_lost.then(|| format!("{step} steps to publication {number}"));
        }
        heard.number = *number;
        for event in &publication.events {
            heard.take(event);
        }
        heard.trim(snapshot);
        let what = heard.differs(snapshot)?;
        Some(format!("{what} at publication {number}"))
    }
}

impl Heard {
    fn begin(number: u64, snapshot: &Snapshot) -> Heard {
        let players = snapshot.participants.in_bet_order();
        Heard {
            number,
            round: snapshot.round.clone(),
            players: players.map(|one| (one.order, one.clone())).collect(),
            players_total: snapshot.participants.len() as u64,
            players_wei: snapshot.participants.total_amount_wei(),
            config: snapshot.config.clone(),
            history: snapshot.history.to_vec(),
            feed: snapshot.live_feed.iter().cloned().collect(),
            operator: snapshot.operator.clone(),
            connection: snapshot.connection.clone(),
            finality: snapshot.finality,
        }
    }

    fn take(&mut self, event: &StoreEvent) {
        match event {
            StoreEvent::RoundUpdate(round) => self.round = round.clone(),
            StoreEvent::Participants(update) => self.take_players(update),
            StoreEvent::HistoryUpdate(finished) => self.history.insert(0, finished.clone()),
            StoreEvent::LiveFeed(item) => self.feed.push(item.clone()),
            // The feed's line tells the same.
            StoreEvent::BlockchainEvent(_) | StoreEvent::OperatorAlert(_) => {}
            StoreEvent::ConfigUpdate(config) => self.config = Some(config.clone()),
            StoreEvent::OperatorStatus(status) => self.operator = status.clone(),
            StoreEvent::Reorg(notice) => {
                self.feed
                    .retain(|item| !notice.retracted.contains(&item.id()));
                if let Some(history) = &notice.history {
                    self.history = history.to_vec();
                }
            }
            StoreEvent::Finality(finality) => self.finality = *finality,
            StoreEvent::ConnectionStatus(connection) => self.connection = connection.clone(),
        }
    }

    fn take_players(&mut self, update: &ParticipantsUpdate) {
        if update.replaces_all {
            self.players.clear();
        }
        let changed = update.changed.iter();
        self.players
            .extend(changed.map(|one| (one.order, one.clone())));
        self.players_total = update.total_participants;
        self.players_wei = update.total_amount_wei;
    }

    /// The oldest leave by themselves: how many are kept is known to every listener.
    fn trim(&mut self, snapshot: &Snapshot) {
        let surplus = self.feed.len().saturating_sub(snapshot.live_feed.len());
        self.feed.drain(..surplus);
        self.history.truncate(snapshot.history.len());
    }

    /// What the changes have not come to.
    fn differs(&self, snapshot: &Snapshot) -> Option<&'static str> {
        let players = &snapshot.participants;
        let shown = players.in_bet_order();
        let same_players = self.players_total == players.len() as u64
            && self.players_wei == players.total_amount_wei()
            && shown.eq(self.players.values());
        [
            ("the round", self.round == snapshot.round),
            ("the players", same_players),
            ("the configuration", self.config == snapshot.config),
            ("the history", self.history == *snapshot.history),
            ("the feed", self.feed.iter().eq(snapshot.live_feed.iter())),
            ("the operator", self.operator == snapshot.operator),
            ("the connection", self.connection == snapshot.connection),
            ("the finality", self.finality == snapshot.finality),
        ]
        .into_iter()
        .find_map(|(what, is_same)| (!is_same).then_some(what))
    }
}

#[cfg(test)]
mod tests {
    use lottery::lottery::state::{Limits, State, Update};

    use super::*;

    #[test]
    fn what_no_message_tells_and_what_is_lost_are_noticed() {
        let connection = ConnectionStatus {
            reachable: true,
            since_unix_ms: 1,
            problem: None,
        };
        let limits = Limits {
            live_feed_max_entries: 9,
            round_history_max: 9,
        };
        let mut state = State::new(limits, connection);
        let mut listener = Listener::default();
        let mut publish = |number, safe_block, is_told: bool| {
            let finalized_block = safe_block / 2;
            let finality = Finality {
                safe_block,
                finalized_block,
            };
            let events = state.apply(Update::Finality(finality)).events;
            listener.published(&Publication {
                number,
                snapshot: Arc::new(state.snapshot().clone()),
                events: if is_told { events } else { Vec::new() },
            })
        };
        assert_eq!(publish(1, 0, true), None);
        assert_eq!(publish(2, 4, true), None);
        let untold = publish(3, 8, false);
        assert_eq!(untold.as_deref(), Some("the finality at publication 3"));
        // One number is left out where the snapshot has to be read anew.
        assert_eq!(publish(5, 10, false), None);
        let lost = publish(9, 12, true);
        assert_eq!(lost.as_deref(), Some("4 steps to publication 9"));
    }
}
