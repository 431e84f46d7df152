//! This one contract: its data, its calldata and logs, and the pure cores that decide. No IO, no threads, no clock.

pub mod continuity;
pub mod contract;
pub mod decision;
pub mod model;
pub mod participants;
pub mod persistent;
#[cfg(test)]
pub mod play;
pub mod proof;
pub mod send_state;
pub mod state;
