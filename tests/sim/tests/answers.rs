//! The table of every JSON-RPC method in every way to fail, on simulated time.

use sim::answers::{cells, faults, undressed, unlisted};

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
