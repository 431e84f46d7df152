//! Logs that are owed: those above a block. How many blocks are linked at once to pay for them; the paying stands in
//! `paying`.

use crate::chain::node::Endpoint;
use crate::chain::types::BlockRef;
use crate::lottery::continuity::Tally;

/// Up to this many missed blocks are linked header by header and read at once; the logs of more are replayed.
pub(super) const LINKED_BLOCKS_MAX: u64 = 64;
/// And no more than come in so many round trips: one by one, dozens of headers take longer than as many blocks.
const LINKED_ROUND_TRIPS_MAX: u64 = 7;

/// Logs that are still to be read: those above a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Debt {
    pub above: BlockRef,
    /// What the logs up to that block lead to, where it is known.
    pub tally: Option<Tally>,
    /// In words for the log.
    pub why: String,
}

/// How many missed blocks are linked at once with what this endpoint brings in a round trip.
pub(super) fn linked_blocks_max(endpoint: &Endpoint) -> u64 {
    let at_once = u64::try_from(endpoint.sure_batch_size()).unwrap_or(u64::MAX);
    LINKED_BLOCKS_MAX.min(at_once.saturating_mul(LINKED_ROUND_TRIPS_MAX))
}
