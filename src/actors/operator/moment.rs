//! One look at the world: everything that a turn of the operator rests on, taken once and handed on whole, so that no
//! two steps of a turn see different things.

use std::sync::Arc;
use std::time::Instant;

use crate::actors::operator::memory::RoundMemory;
use crate::base::clock::ChainTime;
use crate::chain::cursor::secs_behind;
use crate::chain::types::BlockRef;
use crate::lottery::decision::{next_block_time, PendingTime};
use crate::lottery::round::Round;
use crate::lottery::snapshot::{BlockSchedule, Snapshot};

pub(super) struct Moment {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) round: Round,
    pub(super) head: BlockRef,
    /// The newest head that is known: the store's, or a newer one that was asked for here.
    pub(super) newest: BlockRef,
    pub(super) chain_time: ChainTime,
    /// The chain's rhythm, as of the newest head.
    pub(super) schedule: BlockSchedule,
    pub(super) now: Instant,
    /// What the next block's time is expected to be: the node's word where it was asked, else the bound of the heads.
    pub(super) next_block_time: u64,
    /// What a node said of the next block, where it was asked.
    pub(super) pending: PendingTime,
}

impl Moment {
    /// None until the chain has been read.
    pub(super) fn of(
        snapshot: Arc<Snapshot>,
        memory: &RoundMemory,
        now: Instant,
    ) -> Option<Moment> {
        let round = snapshot.round.clone()?;
        let (head, mut chain_time) = (snapshot.head?, snapshot.chain_time?);
        let (mut newest, mut schedule) = (head, snapshot.schedule);
        if let Some((glanced, seen_at)) = memory.foresight.newer_than(head, now) {
            newest = glanced;
            chain_time = ChainTime {
                head_timestamp: glanced.timestamp,
                seen_at,
            };
            let least = &mut schedule.least_to_next_secs;
            let blocks = glanced.number.saturating_sub(head.number);
            let elapsed = glanced.timestamp.saturating_sub(head.timestamp);
            *least = least.saturating_sub(secs_behind(*least, blocks, elapsed));
        }
        let pending = memory.pending_at(head, now);
        let next_block_time = next_block_time(chain_time, &schedule, pending, now);
        Some(Moment {
            snapshot,
            round,
            head,
            newest,
            chain_time,
            schedule,
            now,
            next_block_time,
            pending,
        })
    }

    /// Chain time carried forward to now, in unix seconds.
    pub(super) fn carried_time(&self) -> u64 {
        self.chain_time.at(self.now)
    }
}
