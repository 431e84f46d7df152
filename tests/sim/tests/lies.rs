//! Whatever one node tells that is not so, on simulated time.

use sim::lies::faults;

#[test]
fn one_liar_among_honest_nodes_makes_no_draw_late_or_in_vain() {
    let faults = faults();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
