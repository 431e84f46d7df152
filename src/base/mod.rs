//! The ground under every other room: time, stopping, threads, metrics. It knows nothing of chains or lotteries.

pub mod clock;
pub mod metrics;
pub mod shutdown;
pub mod thread;
