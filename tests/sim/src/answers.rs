//! Each JSON-RPC method in each way to fail: on the first of two endpoints nothing may stop a draw, and on the only one
//! nothing that a draw can do without. What a cell's campaign does is `campaign`'s.

use std::time::Duration;

use crate::campaign::play;
use crate::plan::{Plan, METHODS};
use crate::wire::{Trouble, Way};

/// What a draw can do without.
const DISPENSABLE: [&str; 5] = [
    "eth_getLogs",
    "eth_getCode",
    "eth_estimateGas",
    "eth_feeHistory",
    "eth_maxPriorityFeePerGas",
];
/// Of a window of 60 s: two endpoints that take their whole time-out, one after the other, fit in.
const LATEST: Duration = Duration::from_secs(45);

/// The cells in which a round was not drawn in time, in words; and how many cells there are.
pub fn missed() -> (Vec<String>, usize) {
    let (mut missed, mut cells) = (Vec::new(), 0);
    for (endpoints, methods) in [(2, &METHODS[..]), (1, &DISPENSABLE[..])] {
        for method in methods {
            for way in Way::ALL {
                cells += 1;
                let mut plan = Plan::plain(endpoints, 1);
                plan.standing = vec![(0, Trouble::Answers(Some(method), way))];
                let drawn = play(&plan).drawn.first().map(|(_, after)| *after);
                if drawn.is_none_or(|after| after > LATEST) {
                    missed.push(format!(
                        "{method}, {way:?}, 1 of {endpoints}: drawn after {drawn:?}"
                    ));
                }
            }
        }
    }
    (missed, cells)
}
