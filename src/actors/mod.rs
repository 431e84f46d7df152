//! The three threads that work (the poller, the store, the operator) with their parts, and the messages between them.

pub mod alerts;
pub mod backfill;
pub mod event_manager;
pub mod memory_store;
pub mod messages;
pub mod operator;
pub mod pace;
pub mod prober;
pub mod reader;
pub mod replay;
pub mod sender;
pub mod subscriber;
pub mod watcher;
pub mod webhook;
