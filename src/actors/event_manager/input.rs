//! What can wake the poller. How each comes about stands with what brings it; what becomes of each, in `EventManager::take`.

use crate::actors::event_manager::looks::Look;
use crate::actors::event_manager::marks::MarksRead;
use crate::actors::event_manager::older::{Begun, Step};
use crate::chain::error::RpcError;
use crate::chain::subscription::Notice;
use crate::chain::types::BlockRef;
use crate::lottery::participants::PlayersRead;

/// Everything that can wake the poller, but for the stop and the passing of time.
pub enum Input {
    Notice(Notice),
    /// The subscriber is gone for good.
    Unsubscribed,
    Look {
        id: u64,
        result: Result<Look, RpcError>,
    },
    /// A step through older logs.
    Older {
        begun: Begun,
        result: Result<Step, RpcError>,
    },
    /// The players, as the contract tells them at that block.
    Players {
        at: BlockRef,
        result: Result<PlayersRead, RpcError>,
    },
    Marks {
        result: Result<MarksRead, RpcError>,
    },
}
