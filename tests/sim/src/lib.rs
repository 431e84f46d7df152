//! The daemon on simulated time: poller, store, operator, sender and alerts as they are, in one process, before a
//! simulated chain and nodes that fail in every way that is known. A seed decides everything, so that a failure can be
//! played again, step by step.
//!
//! * [`baton`]: threads one at a time, and time that jumps.
//! * [`contract`], [`world`]: the truth: the contract, the blocks, the pool.
//! * [`node`], [`wire`]: what the daemon is told of it, and how that gets lost.
//! * [`plan`], [`campaign`], [`daemon`]: what happens; [`oracle`], with [`sight`], [`alarms`], [`following`], [`listener`], [`sends`] and [`patience`]: what must hold;
//!   [`shrink`]: the smallest plan that still fails.
//! * [`families`]: a plan for each family of chains.
//! * [`kept`]: campaigns that once failed.
//! * [`answers`]: a table of every method in every way to fail, and one of each [`dress`] that a true answer may come in.

pub mod alarms;
pub mod answers;
pub mod baton;
pub mod campaign;
pub mod contract;
pub mod daemon;
pub mod dress;
pub mod families;
pub mod following;
pub mod kept;
pub mod lies;
pub mod listener;
pub mod log;
pub mod node;
pub mod oracle;
mod panics;
pub mod patience;
pub mod plan;
pub mod sends;
pub mod shrink;
pub mod sight;
pub mod wire;
pub mod world;
