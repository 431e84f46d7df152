//! The real binary against a real EVM. Tests marked "needs anvil" run where anvil is installed (the program named by
//! ANVIL, or on the path): `cargo test -- --include-ignored`.

mod assault;
mod attacks;
// The benchmark shares these two and uses what the tests do not.
#[allow(dead_code)]
mod chain;
mod conformance;
mod contract;
#[allow(dead_code)]
mod daemon;
mod failover;
mod follower;
mod following;
mod foreign;
mod frames;
mod matrix;
mod page;
mod rounds;
mod threads;
mod web;
