//! Campaigns that once failed, played again: none of them breaks a rule any more.

use sim::campaign::play;
use sim::kept::campaigns;

#[test]
fn what_once_failed_stays_mended() {
    for (plan, found) in campaigns() {
        let seed = plan.seed;
        let outcome = play(&plan);
        let broken = outcome.violations.iter();
        let broken: Vec<String> = broken
            .map(|violation| format!("{}: {}", violation.rule, violation.what))
            .collect();
        assert!(broken.is_empty(), "seed {seed} ({found}): {broken:?}");
        assert!(outcome.rounds > 0, "seed {seed}: nothing was played");
    }
}
