//! The table of every JSON-RPC method in every way to fail, on simulated time.

use std::time::Duration;

use sim::answers::{cells, faults, undressed, unlisted};
use sim::campaign::play;
use sim::node::Blooms;
use sim::plan::{Plan, Planned, What};
use sim::wire::{Trouble, Way};

#[test]
fn the_table_has_a_row_for_each_method_that_is_asked_for() {
    assert_eq!(unlisted(), Vec::<String>::new());
}

#[test]
fn whatever_becomes_of_one_method_draws_come_in_time_and_nobody_is_accused() {
    let cells = cells();
    assert!(cells.len() > 900, "{} cells", cells.len());
    let faults = faults(&cells, 2);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_truth_is_understood_in_whatever_dress_it_comes() {
    assert_eq!(undressed(), Vec::<String>::new());
}

#[test]
fn logs_that_are_left_out_are_had_later_or_given_up() {
    let broken = |lasts_secs| {
        let mut plan = Plan::plain(1, 8);
        let (node, _) = &mut plan.endpoints[0];
        // So few blocks at once that it takes many steps to where something shows that logs are missing.
        node.log_blocks_max = 10;
        node.blooms = Blooms::Absent;
        let what = What::Of(0, Trouble::Answers(Some("eth_getLogs"), Way::Null));
        plan.troubles.push(Planned {
            round: 1,
            begins_ms: -10_000,
            lasts: Duration::from_secs(lasts_secs),
            what,
        });
        let violations = play(&plan).violations.into_iter();
        violations.map(|it| it.rule).collect::<Vec<_>>()
    };
    assert_eq!(broken(100), [""; 0]);
    // After two minutes the history does without them, and nobody is kept waiting for it.
    assert_eq!(broken(400), ["the history is true"]);
}
