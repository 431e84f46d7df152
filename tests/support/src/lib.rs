//! What the tests of the real binary, the benchmarks and the demo share. Nothing here is part of the daemon, and nothing
//! here asserts what a daemon has to do: that is left to those who use it.

pub mod assault;
pub mod browser;
pub mod chain;
pub mod daemon;
pub mod follower;
pub mod frames;
pub mod held;
pub mod history;
pub mod programs;
pub mod publications;
pub mod quantile;
pub mod random;
pub mod systemd;

/// What players bet where the amount does not matter: a finney.
pub const BET_WEI: u64 = 1_000_000_000_000_000;
