//! The ground under every other room: time, stopping, threads, metrics, JSON as it was written. It knows nothing of chains or lotteries.

pub mod clock;
pub(crate) mod members;
pub mod metrics;
pub mod shutdown;
pub mod thread;
