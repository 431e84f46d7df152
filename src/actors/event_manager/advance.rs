//! Takes a reading over: what it says of reorgs, the cursor and what is owed, and the update that the store hears.

use std::sync::Arc;
use std::time::Instant;

use crate::actors::backfill::{Backfill, Limits};
use crate::actors::event_manager::looks::SECOND_OPINION_MIN;
use crate::actors::event_manager::{EventManager, Following};
use crate::actors::reader::{Advanced, Debt, Sound};
use crate::base::clock::ChainTime;
use crate::chain::node::Endpoint;
use crate::chain::types::BlockRef;
use crate::lottery::continuity::Tally;
use crate::lottery::history::LoggedEvent;
use crate::lottery::round::{ContractConfig, Round};
use crate::lottery::snapshot::BlockSchedule;
use crate::lottery::state::{Advance, Rollback, Update};

/// What was read of the contract at the head.
#[derive(Default)]
struct LiveState {
    round: Option<Round>,
    config: Option<ContractConfig>,
}

impl EventManager {
    pub(super) fn take_advanced(
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
        let genesis = advanced.is_first.then(|| advanced.genesis());
        let following = &mut self.following;
        let cursor = Arc::make_mut(&mut following.cursor);
        if let Some((number, hash)) = advanced.anchor {
            cursor.push_anchor(number, hash);
        }
        advanced.blocks.iter().for_each(|block| cursor.push(*block));
        if advanced.blocks.is_empty() && rollback.is_none() {
            following.pace.unchanged(now);
        } else {
            following.looks.overtake_all();
            following.head_seen_at = advanced.head_told_at;
            following.looks.second_opinion = (None, SECOND_OPINION_MIN);
            let asked_at = advanced.head_asked_at;
            following.pace.moved(asked_at, &following.cursor);
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
            following.older.begin_backfill(backfill);
        }
        if let Some(mean_secs) = following.cursor.mean_spacing_secs() {
            self.endpoints.note_block_time(mean_secs);
        }
        self.endpoints
            .note_head(endpoint, head.number, head.timestamp);
        let events = self.note_logs(&advanced, head, now);
        let state = LiveState {
            round: advanced.round,
            config: advanced.config,
        };
        self.send_advance(rollback, events, state)?;
        match genesis {
            Some(genesis) => self.send(Update::Genesis(genesis)),
            None => Ok(()),
        }
    }

    /// Takes down up to where the logs are known; the events that go out with this head.
    fn note_logs(&mut self, advanced: &Advanced, head: BlockRef, now: Instant) -> Vec<LoggedEvent> {
        let debt = advanced.owed.as_ref().map(|debt| self.whole(debt));
        let following = &mut self.following;
        let round = advanced.round.as_ref();
        let Some(tally) = round.map(Tally::from) else {
            return advanced.events.clone();
        };
        let tip = Sound { block: head, tally };
        if let Some(debt) = &debt {
            log::debug!(
                "logs above block {} are owed: {}",
                debt.above.number,
                debt.why
            );
        }
        match &debt {
            Some(debt) => following.older.owe(debt, tip, now),
            None if following.older.is_paid(advanced.paid_above) => {
                following.older.end_replay();
                following.sound = Some(tip);
                return advanced.events.clone();
            }
            // Events come in chain order: these wait for those below them.
            None if following.older.logs_are_owed() => following.older.extend_to(tip),
            None => {
                following.sound = Some(tip);
                return advanced.events.clone();
            }
        }
        Vec::new()
    }

    /// The debt, with what is known of where it begins: where nothing was owed before, the game stood there as it did at the
    /// newest sound block. What blooms that have not proven themselves may have hidden in between is owed as well.
    fn whole(&self, debt: &Debt) -> Debt {
        let Following { sound, older, .. } = &self.following;
        match sound.filter(|_| !older.logs_are_owed()) {
            Some(sound) => Debt {
                above: match self.reader.blooms().are_trusted() {
                    true => debt.above,
                    false => sound.block,
                },
                tally: Some(sound.tally),
                why: debt.why.clone(),
            },
            None => debt.clone(),
        }
    }

    fn send_advance(
        &self,
        rollback: Option<Rollback>,
        events: Vec<LoggedEvent>,
        state: LiveState,
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
                least_to_next_secs: cursor.least_to_next_secs().unwrap_or(0),
            },
            syncing: self.following.older.logs_are_owed(),
            events,
            round: state.round,
            config: state.config,
        })))
    }

    /// Events of missed blocks, told at the head that is known.
    pub(super) fn send_replayed(&self, events: Vec<LoggedEvent>) -> Result<(), String> {
        self.send_advance(None, events, LiveState::default())
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
                following.older.lower_to(ancestor, hash);
                following.sound = following
                    .sound
                    .filter(|sound| sound.block.number <= ancestor);
            }
            Rollback::Everything => {
                log::warn!("reorg deeper than what is remembered: reading everything anew");
                cursor.clear();
                following.older.forget();
                following.sound = None;
            }
        }
    }
}
