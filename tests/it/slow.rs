//! Endpoints that answer slowly: how late a draw comes where each answer takes seconds, on chains with a block a second.
//! And endpoints that let many questions wait for ever, one after the other. Those that do not answer at all, or oddly,
//! are left to the fault matrix and the failover tests.

use std::time::Duration;

use devchain::{Character, Config, Fault, Mining};
use serde_json::json;

use support::chain::{wait_for, Chain, Timing};
use support::daemon::{Daemon, Options};
use support::BET_WEI;

/// The answers are slow for so long before the window opens: what the daemon knows by then came slowly too.
const BEFORE_SECS: u64 = 20;

/// Blocks between the first that allowed the draw and the one that has it, where every answer takes so long, and where
/// batches are refused each call has its own.
fn blocks_late(answer_takes: Duration, endpoints: usize, refuses_batches: bool) -> u64 {
    let config = Config {
        mining: Mining::IntervalMs(1_000),
        ..Config::default()
    };
    let chain = Chain::devchain_on(config, endpoints);
    let lottery = chain.deploy(Timing::default());
    let slow = &chain.dev().endpoints()[..endpoints];
    for endpoint in slow {
        let refuse = |character: &mut Character| character.refuses_batches = refuses_batches;
        endpoint.faults.set(refuse);
    }
    let config = json!({"blockchain": {"rpc_url": chain.urls(endpoints)}});
    let daemon = Daemon::start(
        &lottery,
        Options {
            config,
            ..Options::default()
        },
    );
    daemon.wait_ready();
    lottery.bet(2, BET_WEI);
    lottery.bet(3, BET_WEI);
    lottery.skip_to(lottery.round().min_draw_time - BEFORE_SECS);
    for endpoint in slow {
        endpoint
            .faults
            .add(Fault::Latency(answer_takes), None, None);
    }
    let log = wait_for("the draw", || lottery.logs("RoundCompleted").pop());
    lottery.blocks_late(&log)
}

/// The draw was checked and signed before its head, and its head is asked for without a break: what is left is one answer
/// that tells of the head, and one round trip that sends. Where the answers fall among the blocks is a matter of chance, and
/// one round in some fifteen is an answer later: of three at most one may be, and by no more than that. Answers of three
/// seconds fill the time before the window up to its opening, since a draw needs seven, one after the other, until it is
/// signed and its head is asked for: there one more is due to each.
#[test]
fn a_draw_costs_two_round_trips_after_the_head_that_allows_it() {
    let cases = [(1, 1), (1, 2), (3, 1), (3, 2)];
    let rounds = [cases; 3].concat();
    let rounds = rounds
        .iter()
        .map(|(secs, endpoints)| (secs * 1_000, *endpoints, false));
    let late = side_by_side(&rounds.collect::<Vec<_>>());
    println!("seconds an answer and endpoints {cases:?}, thrice: {late:?} blocks late");
    for (index, (secs, endpoints)) in cases.into_iter().enumerate() {
        let most = match secs {
            1 => 2,
            _ => 10,
        };
        let mut late: Vec<u64> = late
            .iter()
            .skip(index)
            .step_by(cases.len())
            .copied()
            .collect();
        late.sort_unstable();
        assert!(
            late[1] <= most && late[2] <= most + secs,
            "{secs} s an answer, {endpoints} endpoints: {late:?} blocks late, at most {most} are due"
        );
    }
}

/// A check takes some twenty answers, one after the other: it is over before the head comes.
#[test]
fn where_no_calls_go_together_a_draw_is_as_punctual() {
    let cases = [(50, 1), (100, 1), (300, 1), (100, 2)];
    let late = side_by_side(&cases.map(|(ms, endpoints)| (ms, endpoints, true)));
    println!("milliseconds an answer and endpoints {cases:?}: {late:?} blocks late");
    let most = [1, 1, 2, 1];
    let in_time = late.iter().zip(most).all(|(late, most)| *late <= most);
    assert!(in_time, "{cases:?}: {late:?} blocks late, at most {most:?}");
}

/// What a draw can do without is waited for in vain, question by question, for longer than a thread may hang.
#[test]
fn a_turn_of_many_time_outs_is_no_hung_threads() {
    let config = Config {
        mining: Mining::IntervalMs(1_000),
        ..Config::default()
    };
    let chain = Chain::devchain_on(config, 1);
    let lottery = chain.deploy(Timing::default());
    let config = json!({"blockchain": {"rpc_url": chain.urls(1), "rpc_timeout": 5}});
    let daemon = Daemon::start(
        &lottery,
        Options {
            config,
            // In place of a minute; more than any thread is idle for.
            env: vec![("STUCK_AFTER_SECS", "20".to_owned())],
            ..Options::default()
        },
    );
    daemon.wait_ready();
    lottery.bet(2, BET_WEI);
    lottery.bet(3, BET_WEI);
    for method in [
        "eth_estimateGas",
        "eth_feeHistory",
        "eth_gasPrice",
        "eth_getBalance",
        "eth_maxPriorityFeePerGas",
    ] {
        let faults = &chain.dev().endpoints()[0].faults;
        faults.add(Fault::Hang, Some(method), None);
    }
    lottery.skip_to(lottery.round().min_draw_time - 45);
    let log = wait_for("the draw", || lottery.logs("RoundCompleted").pop());
    let late = lottery.blocks_late(&log);
    assert!(late <= 1, "{late} blocks late");
    chain.dev().endpoints()[0].faults.clear();
}

/// The blocks late of rounds with so many milliseconds an answer, so many endpoints, and batches that are refused or not.
fn side_by_side(cases: &[(u64, usize, bool)]) -> Vec<u64> {
    std::thread::scope(|scope| {
        let begin = |(ms, endpoints, refuses_batches): &(u64, usize, bool)| {
            let answer_takes = Duration::from_millis(*ms);
            let (endpoints, refuses_batches) = (*endpoints, *refuses_batches);
            scope.spawn(move || blocks_late(answer_takes, endpoints, refuses_batches))
        };
        let rounds: Vec<_> = cases.iter().map(begin).collect();
        rounds
            .into_iter()
            .map(|round| round.join().unwrap())
            .collect()
    })
}
