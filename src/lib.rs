//! `lottery` operates an on-chain lottery: it follows the contract over JSON-RPC, draws each round's winner inside the
//! contract's time window or refunds after it, and serves page, HTTP API and WebSocket feed.
//!
//! The rooms, each importing only from those above it:
//!
//! * [`base`]: time, stopping, threads, metrics.
//! * [`chain`]: any Ethereum chain over JSON-RPC: typed calls, failover, fees, keys, signed transactions.
//! * [`lottery`]: this contract: model, bindings, and the pure cores (reducer, decision, send state, proof, rules, audit).
//! * [`actors`]: the poller, the store and the operator threads.
//! * [`web`]: the public port: gate, API, feed, page.
//! * [`app`]: the wiring of all these into one daemon.
//! * [`commands`]: the command line; a command runs the daemon, or uses parts of it.

// What is printed goes through commands::output: println! panics when its reader has gone away.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod base;
pub mod chain;
pub mod config;
pub mod lottery;

pub mod actors;

pub mod web;

pub mod app;
pub mod commands;
