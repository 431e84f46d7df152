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
//!
//! Chapters that belong to no single type stand before the rooms and modules that they tell of:
//!
//! * [When something is wrong](commands#when-something-is-wrong): by symptom and by alert.
//! * [How it follows](actors::event_manager#how-it-follows) the chain, and [how it decides](lottery::decision#how-it-decides).
//! * [Checking a draw](lottery::proof#checking-a-draw): what is proven, and what is not.
//! * [By kind of chain](lottery#by-kind-of-chain): what was tried, what holds, and what does not.
//! * [A signer on another machine](chain::signer#a-signer-on-another-machine).

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
