//! The public side: page, HTTP API, WebSocket feed. It reads snapshots, forwards events, and hands manual actions to
//! the operator; it never asks the chain.
//!
//! The gate's thread accepts and carries HTTP on both ports, workers answer by `api`, the hub's thread carries the feed.
//! The whole of JSON is spelled in `view`.

pub mod api;
pub mod assets;
#[cfg(test)]
mod bundle;
pub(crate) mod client;
mod clients;
pub mod commands;
pub mod connection;
pub mod deflate;
pub mod descriptors;
pub mod feed;
#[cfg(test)]
mod fixture;
mod forwarded;
pub mod gate;
mod handshake;
pub mod http;
pub mod inbound;
mod jobs;
mod making;
pub mod metrics;
pub mod occupancy;
pub mod openapi;
pub mod query;
mod ready;
pub mod reply;
pub mod rounds;
pub mod routes;
pub mod server;
mod shown;
pub mod stream;
pub mod view;
pub mod workers;
