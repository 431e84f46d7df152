//! What a draw costs in calls: in the last minute before its window, and from there until it is mined, over all endpoints.
//! What following costs at rest is measured by the benches.

use std::time::Duration;

use devchain::{Config, Fault, Mining};
use serde_json::json;

use support::chain::{wait_for, Chain, Timing};
use support::daemon::{Daemon, Options};
use support::BET_WEI;

/// At rest it is 45 a minute at the most; the rehearsal asks all that a draw will need, and times it: 76 where blocks come in
/// time. Each that a busy machine makes late is looked for once or twice in vain.
const LAST_MINUTE_MAX: u64 = 90;
/// The check, the draw, and what became of it, beside what following costs in four blocks: 25.
const WINDOW_MAX: u64 = 36;

/// The daemon's calls in the last minute before the window, and from there until the draw is known to be mined.
fn calls(endpoints: usize) -> (u64, u64) {
    let config = Config {
        mining: Mining::IntervalMs(2_000),
        ..Config::default()
    };
    let chain = Chain::devchain_on(config, endpoints);
    let lottery = chain.deploy(Timing::default());
    let asked = &chain.dev().endpoints()[..endpoints];
    for endpoint in asked {
        // Nothing but counting.
        let at_once = Fault::Latency(Duration::ZERO);
        endpoint.faults.add(at_once, None, None);
    }
    let config = json!({"blockchain": {"rpc_url": chain.urls(endpoints)}});
    let options = Options {
        config,
        ..Options::default()
    };
    let daemon = Daemon::start(&lottery, options);
    daemon.wait_ready();
    lottery.bet(2, BET_WEI);
    lottery.bet(3, BET_WEI);
    let opens_at = lottery.round().min_draw_time;
    lottery.skip_to(opens_at - 64);
    let counted_at = |timestamp: u64| {
        wait_for("the moment", || (chain.head().1 >= timestamp).then_some(()));
        asked
            .iter()
            .map(|endpoint| endpoint.faults.struck())
            .sum::<u64>()
    };
    let minute_before = counted_at(opens_at - 62);
    // Nothing is waited for as long as a minute.
    let _half = counted_at(opens_at - 32);
    let opening = counted_at(opens_at - 2);
    let last = wait_for("the draw", || lottery.logs("RoundCompleted").pop());
    assert_eq!(lottery.blocks_late(&last), 0);
    let drawn = counted_at(chain.head().1 + 4);
    (opening - minute_before, drawn - opening)
}

#[test]
fn a_draw_takes_few_calls_in_the_minute_before_its_window_and_in_it() {
    let counted = std::thread::scope(|scope| {
        let rounds = [1, 2].map(|endpoints| scope.spawn(move || calls(endpoints)));
        rounds.map(|round| round.join().unwrap())
    });
    println!("calls before the window and in it, with 1 and 2 endpoints: {counted:?}");
    for (endpoints, (before, within)) in [1, 2].into_iter().zip(counted) {
        assert!(
            before <= LAST_MINUTE_MAX,
            "{endpoints} endpoints: {before} calls before the window"
        );
        assert!(
            within <= WINDOW_MAX,
            "{endpoints} endpoints: {within} calls in it"
        );
    }
}
