//! What a start takes over from an earlier life of the daemon: the transaction that is still pending, and what was spent
//! and extended in the last day, read from the chain.

use std::time::Duration;

use crate::actors::operator::flight::Flight;
use crate::actors::operator::moment::Moment;
use crate::actors::operator::past::{events, is_of_last_day, is_operators_work};
use crate::actors::operator::Operator;
use crate::chain::types::H256;
use crate::lottery::action::ActionKind;
use crate::lottery::send_state::SendState;

/// A failed look at the past is repeated after this long; it must not keep a draw waiting.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// So many of the key's transactions are looked at.
const RECEIPTS_MAX: usize = 60;

impl Operator {
    pub(super) fn recover(&mut self, moment: &Moment) {
        let Some(sender) = &self.sender else { return };
        let waits = self.recovery.again_at.is_some_and(|at| moment.now < at);
        if waits || !(self.recovery.pending || self.recovery.spending) {
            return;
        }
        // What this life has sent meanwhile holds that nonce: the node would tell of it, and it would be taken for an earlier one's.
        self.recovery.pending &= self.flight.is_none();
        if self.recovery.pending {
            match sender.found_pending(&moment.round, moment.head, moment.now) {
                Ok(found) => {
                    self.recovery.pending = false;
                    if let Some((kind, state)) = found {
                        self.take_up_found(kind, state, moment);
                    }
                }
                Err(error) => {
                    log::debug!("what is pending of the key cannot be read yet: {error}");
                    self.recovery.again_at = Some(moment.now + AGAIN_AFTER);
                }
            }
            return;
        }
        // The feed tells of the last day only when it has been read.
        if moment.snapshot.syncing {
            return;
        }
        let carried_time = moment.carried_time();
        let ended: Vec<(H256, u64)> = events(&moment.snapshot)
            .filter(|record| is_of_last_day(record, carried_time))
            .filter(|record| is_operators_work(&record.event))
            .map(|record| {
                let position = &record.position;
                (position.transaction_hash, position.block_timestamp)
            })
            .take(RECEIPTS_MAX)
            .collect();
        let hashes = ended.iter().map(|(hash, _)| *hash).collect();
        match sender.costs_of_own(hashes) {
            Ok(costs) => {
                self.recovery.spending = false;
                for (hash, wei) in costs {
                    let times = ended.iter().find(|(known, _)| *known == hash);
                    let age_secs =
                        times.map_or(0, |(_, timestamp)| carried_time.saturating_sub(*timestamp));
                    let age = Duration::from_secs(age_secs);
                    let at = moment.now.checked_sub(age).unwrap_or(moment.now);
                    self.spending.note_spent(hash, wei, at);
                }
            }
            Err(error) => {
                log::debug!("what was spent in the last day cannot be read yet: {error}");
                self.recovery.again_at = Some(moment.now + AGAIN_AFTER);
            }
        }
    }

    fn take_up_found(&mut self, kind: ActionKind, state: SendState, moment: &Moment) {
        let round_id = moment.round.round_id;
        log::info!(
            "what is pending of this key is taken up round={} action={} nonce={}",
            moment.round.round_id,
            kind.label(),
            state.nonce
        );
        self.automatic_actions += 1;
        let id = format!("auto-{round_id}-{}", self.automatic_actions);
        let record = self.reporter.new_record(id, kind, round_id, false);
        self.flight = Some(Flight::new(state, record, moment));
    }
}
