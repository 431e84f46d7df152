//! The ground under every other room: time, stopping, threads, memory, metrics, JSON as it was written, text files. It knows nothing of chains or lotteries.

pub mod clock;
pub(crate) mod members;
pub(crate) mod memory;
pub mod metrics;
pub mod shutdown;
pub(crate) mod text_file;
pub mod thread;
