//! How the benchmarks sum up what they have measured; they print it themselves.

use std::time::Duration;

/// The sample below which `share` percent of them lie; there has to be one. Sorts them.
pub fn quantile(samples: &mut [Duration], share: usize) -> Duration {
    samples.sort_unstable();
    samples[(samples.len() * share / 100).min(samples.len() - 1)]
}
