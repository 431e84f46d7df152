//! Makes a plan that fails smaller, as long as it still breaks the same rule.

use crate::campaign::{play, Outcome};
use crate::plan::{Plan, RoundPlan};

/// The smallest plan found by leaving out troubles, rounds and endpoints one by one, with what becomes of it.
pub fn smallest(plan: &Plan) -> (Plan, Outcome) {
    let mut best = plan.clone();
    let mut outcome = play(&best);
    let Some(rule) = outcome.violations.first().map(|violation| violation.rule) else {
        return (best, outcome);
    };
    loop {
        let smaller = candidates(&best).into_iter().find_map(|candidate| {
            let outcome = play(&candidate);
            let fails = outcome
                .violations
                .first()
                .is_some_and(|violation| violation.rule == rule);
            fails.then_some((candidate, outcome))
        });
        match smaller {
            Some((plan, found)) => (best, outcome) = (plan, found),
            None => return (best, outcome),
        }
    }
}

fn candidates(plan: &Plan) -> Vec<Plan> {
    let mut candidates = Vec::new();
    for index in 0..plan.troubles.len() {
        let mut smaller = plan.clone();
        smaller.troubles.remove(index);
        candidates.push(smaller);
    }
    if plan.rounds.len() > 1 {
        let mut smaller = plan.clone();
        smaller.rounds.pop();
        smaller
            .troubles
            .retain(|planned| planned.round < smaller.rounds.len());
        candidates.push(smaller);
        let mut later = plan.clone();
        later.rounds.remove(0);
        later.troubles.retain(|planned| planned.round > 0);
        later
            .troubles
            .iter_mut()
            .for_each(|planned| planned.round -= 1);
        candidates.push(later);
    }
    for index in 0..plan.endpoints.len() {
        let mut plainer = plan.clone();
        plainer.endpoints[index].0 = Default::default();
        if format!("{plainer:?}") != format!("{plan:?}") {
            candidates.push(plainer);
        }
    }
    for index in 0..plan.rounds.len() {
        let mut fewer = plan.clone();
        if fewer.rounds[index].players > 2 {
            fewer.rounds[index] = RoundPlan {
                players: 2,
                ..fewer.rounds[index].clone()
            };
            candidates.push(fewer);
        }
    }
    candidates
}
