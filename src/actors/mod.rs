//! The three threads that work: the poller, the store, the operator, and the messages between them.

pub mod messages;
