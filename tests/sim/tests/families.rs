//! Whole rounds on chains of every family, on simulated time.

use sim::campaign::play;
use sim::families::families;
use sim::plan::Blocks;

#[test]
fn every_family_of_chains_draws_in_time_and_accuses_nobody() {
    for (name, plan) in families() {
        let outcome = play(&plan);
        let broken = outcome.violations;
        assert!(broken.is_empty(), "{name}: {broken:?}");
        let drawn = outcome.drawn;
        assert_eq!(drawn.len(), plan.rounds.len(), "{name}: {drawn:?}");
        // Where blocks come at known times and stay, the first one that may hold a draw does, or the next.
        if let (Blocks::Every(spacing), true) = (plan.blocks, plan.troubles.is_empty()) {
            let in_time = drawn.iter().all(|(_, after)| *after <= spacing);
            assert!(in_time, "{name}: {drawn:?}");
        }
    }
}
