//! This one contract: its data, its calldata and logs, and the pure cores that decide. No IO, no threads, no clock.
#![doc = include_str!("chains.md")]

pub mod abi;
pub mod action;
pub mod alert;
pub mod audit;
pub(crate) mod calendar;
pub mod command;
pub mod continuity;
pub mod contract;
pub mod decision;
pub mod event;
pub mod fairness;
pub mod history;
pub(crate) mod lateness;
pub mod operator_status;
pub mod participants;
pub mod payable;
pub mod persistent;
#[cfg(test)]
pub mod play;
pub mod players;
pub mod proof;
pub mod round;
pub(crate) mod rules;
pub mod search;
pub mod send_state;
pub mod snapshot;
pub mod state;
pub mod watch;
pub mod words;
