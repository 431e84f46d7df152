//! Chains as their families differ: what code sees as PREVRANDAO and NUMBER, what a pool takes, what a node can do, and how
//! blocks come. Each is a plan on one endpoint with nothing else that is wrong: it draws in time, and nobody is accused.

use std::time::Duration;

use crate::node::{Blooms, Character};
use crate::plan::{Blocks, Plan, Planned, What};
use crate::world::{Randomness, Rules, GWEI};

const ROUNDS: usize = 4;

/// Each family by its name, as a plan.
pub fn families() -> Vec<(&'static str, Plan)> {
    let plan = |blocks, character, rules| Plan {
        blocks,
        rules,
        endpoints: vec![(character, Duration::from_millis(40))],
        ..Plan::plain(1, ROUNDS)
    };
    let every = |ms| Blocks::Every(Duration::from_millis(ms));
    vec![
        (
            "Ethereum",
            plan(every(12_000), Character::default(), Rules::default()),
        ),
        (
            "OP stack",
            plan(every(2_000), Character::default(), op_stack()),
        ),
        (
            "Arbitrum and Orbit",
            plan(every(250), orbit_node(), orbit()),
        ),
        (
            "zk rollups",
            plan(
                every(1_000),
                rollup_node(),
                constant(2_500_000_000_000_000, false),
            ),
        ),
        ("BSC", plan(every(750), Character::default(), bsc())),
        (
            "Polygon",
            with_reorgs(plan(every(2_000), Character::default(), polygon())),
        ),
        (
            "Avalanche",
            plan(
                Blocks::Around(Duration::from_secs(2)),
                avalanche_node(),
                constant(1, true),
            ),
        ),
    ]
}

fn op_stack() -> Rules {
    Rules {
        randomness: Randomness::Below,
        data_fee: 20_000 * GWEI,
        ..Rules::default()
    }
}

fn constant(value: u64, in_difficulty: bool) -> Rules {
    Rules {
        randomness: Randomness::Constant {
            value,
            in_difficulty,
        },
        ..Rules::default()
    }
}

fn orbit() -> Rules {
    Rules {
        number_is_below: true,
        data_gas: 400_000,
        ..constant(1, true)
    }
}

fn orbit_node() -> Character {
    Character {
        has_pending: false,
        ..Character::default()
    }
}

fn rollup_node() -> Character {
    Character {
        overrides_in_call: false,
        overrides_in_estimate: false,
        blooms: Blooms::Empty,
        has_fee_hints: false,
        takes_hashes: false,
        takes_batches: false,
        ..Character::default()
    }
}

fn bsc() -> Rules {
    Rules {
        is_base_fee_zero: true,
        least_tip: GWEI,
        ..constant(2, true)
    }
}

fn polygon() -> Rules {
    Rules {
        least_tip: 25 * GWEI,
        ..constant(22, true)
    }
}

/// Branches of some blocks are taken back all the time, just after a draw as well.
fn with_reorgs(mut plan: Plan) -> Plan {
    let reorg = |round: usize| Planned {
        round,
        begins_ms: [-9_000, 3_000, 9_000][round % 3],
        lasts: Duration::ZERO,
        what: What::Reorg {
            depth: 2 + 3 * round as u64,
            keeps: true,
        },
    };
    plan.troubles = (0..ROUNDS).map(reorg).collect();
    plan
}

fn avalanche_node() -> Character {
    Character {
        counts_logs_by_transaction: true,
        ..Character::default()
    }
}
