//! The public side: page, HTTP API, WebSocket feed. It reads snapshots, forwards events, and hands manual actions to
//! the operator; it never asks the chain.

pub mod http;
