//! A draw that was signed before its window, with what it rests on, and the newest head that was asked for besides the
//! store's. When that is done, and what becomes of it, is left to `looking_ahead`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::actors::sender::Prepared;
use crate::chain::types::BlockRef;
use crate::lottery::round::{ContractConfig, Round, RoundState};
use crate::lottery::snapshot::Snapshot;

/// Fees move: what was signed longer ago is not sent any more.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// A head that the store has not heard of within that time is on no chain that it follows.
const GLANCE_KEPT_FOR: Duration = Duration::from_secs(15);

/// What was done ahead in this turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ahead {
    Nothing,
    /// The draw is signed, and its head comes soon: whatever else would be asked now can wait.
    Awaited,
    /// The chain was asked, so that this moment is over.
    Asked,
}

/// What has been done ahead for the round's draw.
#[derive(Debug, Default)]
pub(super) struct Foresight {
    pub(super) draw: Option<Foreseen>,
    /// How long a check of the draw took at the rehearsal.
    pub(super) check_takes: Option<Duration>,
    /// Not tried again before this.
    pub(super) again_at: Option<Instant>,
    /// The newest head that was asked for here, and when its answer came.
    pub(super) glance: Option<(BlockRef, Instant)>,
}

/// A draw that is signed, and was never sent.
#[derive(Debug)]
pub(super) struct Foreseen {
    pub(super) prepared: Prepared,
    pub(super) signed_at: Instant,
    pub(super) basis: Basis,
}

/// What a check ahead rests on. New players change only the gas, for which there is room; beyond that room they count.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Basis {
    round_id: u64,
    state: RoundState,
    window: (u64, u64),
    config: Option<Arc<ContractConfig>>,
    reorgs_total: u64,
}

impl Basis {
    pub(super) fn of(round: &Round, snapshot: &Snapshot) -> Basis {
        let Round {
            round_id,
            state,
            min_draw_time,
            max_draw_time,
            ..
        } = *round;
        Basis {
            round_id,
            state,
            window: (min_draw_time, max_draw_time),
            config: snapshot.config.clone(),
            reorgs_total: snapshot.reorgs_total,
        }
    }
}

impl Foresight {
    /// The newest head that was asked for here, where that is still of use.
    pub(super) fn newer_than(&self, head: BlockRef, now: Instant) -> Option<(BlockRef, Instant)> {
        self.glance.filter(|(glanced, at)| {
            glanced.number > head.number
                && glanced.timestamp >= head.timestamp
                && now.saturating_duration_since(*at) < GLANCE_KEPT_FOR
        })
    }
}

impl Foreseen {
    pub(super) fn is_good(&self, round: &Round, snapshot: &Snapshot, now: Instant) -> bool {
        now.saturating_duration_since(self.signed_at) < KEPT_FOR
            && self.basis == Basis::of(round, snapshot)
            && self.prepared.state.has_gas_for(round.participant_count)
    }
}
