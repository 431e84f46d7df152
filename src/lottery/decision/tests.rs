//! Decisions at the very bounds of the window, and that none is ever made at a wrong time.

use super::*;
use crate::chain::types::{Address, U256};
use proptest::prelude::*;

const MIN: u64 = 1_285;
const MAX: u64 = 1_460;

fn round(pot: u64) -> Round {
    Round {
        round_id: 3,
        state: RoundState::Betting,
        start_time: 1_100,
        end_time: 1_280,
        min_draw_time: MIN,
        max_draw_time: MAX,
        total_pot_wei: U256::from(pot),
        participant_count: pot.min(1),
    }
}

fn config() -> ContractConfig {
    ContractConfig {
        publisher: Address::zero(),
        operator: Address::zero(),
        commission_bps: 250,
        min_bet_wei: U256::one(),
        betting_duration_secs: 180,
        min_draw_delay_secs: 5,
        max_draw_delay_secs: 180,
        min_end_time_extension_secs: 60,
        min_participants: 2,
    }
}

fn policy() -> Policy {
    Policy {
        draw_retry_delay: Duration::from_secs(45),
        max_draw_retries: 3,
        extend_empty_rounds: true,
        standby_delay: Duration::ZERO,
    }
}

fn schedule(spacing: u64) -> BlockSchedule {
    BlockSchedule {
        mean_spacing_secs: Some(spacing as f64),
        least_to_next_secs: spacing,
    }
}

fn told(time: Option<u64>) -> PendingTime {
    time.map_or(PendingTime::Unasked, PendingTime::Told)
}

/// Nothing is known beyond the round and the head: no failure, nothing pending, nothing asked.
fn facts<'a>(round: &'a Round, config: &'a ContractConfig, chain_time: ChainTime) -> Facts<'a> {
    Facts {
        round,
        config: Some(config),
        chain_time,
        schedule: schedule(2),
        draw_failures: Failures::default(),
        refund_failures: Failures::default(),
        extensions_left: true,
        extensions_of_round: 0,
        ruled_out: None,
        ruled_out_until: None,
        pending: PendingTime::Unasked,
        arrival_unseen: false,
        draw_hopeless: false,
        stuck_until: None,
        unanswered: None,
        unchecked_spent: false,
    }
}

/// Decides on a head at `timestamp` that was seen `age` ago.
fn check(
    round: &Round,
    timestamp: u64,
    age: Duration,
    change: impl FnOnce(&mut Facts),
) -> Decision {
    let config = config();
    let seen_at = Instant::now();
    let chain_time = ChainTime {
        head_timestamp: timestamp,
        seen_at,
    };
    let mut facts = facts(round, &config, chain_time);
    change(&mut facts);
    decide(&facts, &policy(), seen_at + age)
}

fn name(decision: Decision) -> &'static str {
    match decision {
        Decision::Wait {
            why: Why::NotStarted,
            ..
        } => "not started",
        Decision::Wait {
            why: Why::Betting, ..
        } => "betting",
        Decision::Wait {
            why: Why::BeforeWindow { .. },
            ..
        } => "before",
        Decision::Wait {
            why: Why::WindowClosing,
            ..
        } => "closing",
        Decision::Wait {
            why: Why::RetryDelay,
            ..
        } => "retry",
        Decision::Wait {
            why: Why::RuledOutAtThisHead,
            ..
        } => "ruled out",
        Decision::Wait {
            why: Why::Unanswered,
            ..
        } => "unanswered",
        Decision::Wait {
            why: Why::NobodyPayable,
            ..
        } => "nobody payable",
        Decision::Wait {
            why: Why::Stuck, ..
        } => "stuck",
        Decision::DrawUnchecked => "unchecked",
        Decision::Wait {
            why: Why::Standby, ..
        } => "standby",
        Decision::Wait {
            why: Why::GivenUp, ..
        } => "given up",
        Decision::AskPendingTime => "ask",
        Decision::Act(ActionKind::Draw) => "draw",
        Decision::Act(ActionKind::RefundExpired) => "refund",
        Decision::Act(ActionKind::Extend { .. }) => "extend",
        Decision::Act(_) => "other",
        Decision::Blocked(Trouble::DeadEmptyRound) => "dead",
        Decision::Blocked(Trouble::TooManyExtensions) => "too many",
    }
}

#[test]
fn the_window_is_met_at_its_very_bounds() {
    // With blocks every 2 s the next block comes at head + 2.
    for (head, expected) in [
        (1_100, "betting"),
        (1_280, "betting"),
        (1_281, "before"),
        (MIN - 3, "before"),
        (MIN - 2, "draw"),
        (MIN - 1, "draw"),
        (MIN, "draw"),
        (MIN + 1, "draw"),
        (MAX - 3, "draw"),
        (MAX - 2, "draw"),
        (MAX - 1, "closing"),
        (MAX, "closing"),
        (MAX + 1, "refund"),
        (MAX + 100_000, "refund"),
    ] {
        assert_eq!(
            name(check(&round(5), head, Duration::ZERO, |_| {})),
            expected,
            "head {head}"
        );
    }
}

#[test]
fn without_a_known_spacing_the_head_itself_must_be_in_the_window() {
    for (head, expected) in [
        (MIN - 1, "before"),
        (MIN, "draw"),
        (MAX, "draw"),
        (MAX + 1, "refund"),
    ] {
        let decision = check(&round(5), head, Duration::ZERO, |facts| {
            facts.schedule = BlockSchedule::default()
        });
        assert_eq!(name(decision), expected, "head {head}");
    }
}

#[test]
fn a_round_that_has_not_started_is_left_alone() {
    let waiting = Round {
        state: RoundState::Waiting,
        ..round(0)
    };
    assert_eq!(
        name(check(&waiting, 5_000, Duration::ZERO, |_| {})),
        "not started"
    );
}

#[test]
fn a_head_that_stands_still_is_asked_about_and_never_the_host_clock() {
    let at = |age: u64, pending| {
        name(check(
            &round(5),
            MIN - 10,
            Duration::from_secs(age),
            |facts| facts.pending = told(pending),
        ))
    };
    // Chain time carried forward reaches minDrawTime after 10 s.
    assert_eq!(at(9, None), "before");
    assert_eq!(at(10, None), "ask");
    assert_eq!(at(10, Some(MIN - 1)), "before");
    assert_eq!(at(10, Some(MIN)), "draw");
    assert_eq!(at(10, Some(MAX)), "draw");
    assert_eq!(at(10, Some(MAX + 1)), "closing");
    // Before three blocks are out, a head does not stand.
    let soon = |age| {
        let change = |facts: &mut Facts| facts.schedule.least_to_next_secs = 1;
        name(check(&round(5), MIN - 2, Duration::from_secs(age), change))
    };
    assert_eq!(soon(5), "before");
    assert_eq!(soon(6), "ask");
}

#[test]
fn a_pending_block_that_is_just_the_latest_leaves_it_to_carried_time() {
    for pending in [
        PendingTime::Told(MIN - 10),
        PendingTime::Told(7),
        PendingTime::Unknown,
    ] {
        let at = |age: u64| {
            let change = |facts: &mut Facts| facts.pending = pending;
            name(check(&round(5), MIN - 10, Duration::from_secs(age), change))
        };
        assert_eq!(at(9), "before", "{pending:?}");
        assert_eq!(at(10), "draw", "{pending:?}");
        assert_eq!(at(10 + MAX - MIN), "draw", "{pending:?}");
        assert_eq!(at(11 + MAX - MIN), "closing", "{pending:?}");
    }
}

#[test]
fn no_block_time_makes_a_still_head_be_waited_for_longer_than_ten_seconds() {
    for (mean, secs) in [
        (None, 5.0),
        (Some(0.25), 5.0),
        (Some(2.0), 6.0),
        (Some(12.0), 10.0),
        (Some(1e9), 10.0),
    ] {
        let schedule = BlockSchedule {
            mean_spacing_secs: mean,
            least_to_next_secs: 0,
        };
        assert_eq!(
            still_after(&schedule),
            Duration::from_secs_f64(secs),
            "{mean:?}"
        );
    }
}

#[test]
fn a_draw_that_nobody_can_be_paid_by_waits_and_a_stuck_refund_comes_back() {
    let hopeless = check(&round(5), MIN, Duration::ZERO, |facts| {
        facts.draw_hopeless = true
    });
    assert_eq!(name(hopeless), "nobody payable");
    let at = |age: u64| {
        name(check(
            &round(5),
            MAX + 1,
            Duration::from_secs(age),
            |facts| {
                facts.stuck_until = Some(facts.chain_time.seen_at + Duration::from_secs(100));
                facts.ruled_out = Some(ActionKind::RefundExpired);
            },
        ))
    };
    assert_eq!((at(99), at(100)), ("stuck", "refund"));
}

#[test]
fn twenty_extensions_last_for_weeks() {
    let lengths: Vec<u64> = (0..20)
        .map(|before| extension_secs(&config(), before))
        .collect();
    assert_eq!(lengths[..4], [180, 360, 720, 1_440]);
    assert_eq!(lengths[9], 86_400);
    assert!(lengths.iter().sum::<u64>() > 7 * 86_400, "{lengths:?}");
    let long = ContractConfig {
        betting_duration_secs: 100_000,
        ..config()
    };
    assert_eq!(extension_secs(&long, u32::MAX), 100_000);
}

#[test]
fn failures_wait_and_give_up_but_never_sleep_through_the_window() {
    let after = |count, ago: u64, head| {
        let seen = check(&round(5), head, Duration::from_secs(100), |facts| {
            let now = facts.chain_time.seen_at + Duration::from_secs(100);
            facts.draw_failures = Failures {
                count,
                last_at: Some(now - Duration::from_secs(ago)),
            };
        });
        name(seen)
    };
    assert_eq!(after(1, 44, MIN), "retry");
    assert_eq!(after(1, 45, MIN), "draw");
    assert_eq!(after(3, 45, MIN), "draw");
    assert_eq!(after(4, 45, MIN), "given up");
    // The window closes 20 s after the failure: the next try comes after 10 s, not after 45.
    assert_eq!(after(1, 9, MAX - 111), "retry");
    assert_eq!(after(1, 10, MAX - 110), "draw");
}

#[test]
fn refunds_slow_down_but_never_end() {
    let after = |count, ago: u64| {
        name(check(
            &round(5),
            MAX + 1,
            Duration::from_secs(1_000),
            |facts| {
                let now = facts.chain_time.seen_at + Duration::from_secs(1_000);
                facts.refund_failures = Failures {
                    count,
                    last_at: Some(now - Duration::from_secs(ago)),
                };
            },
        ))
    };
    assert_eq!((after(1, 44), after(1, 45)), ("retry", "refund"));
    assert_eq!((after(9, 449), after(9, 450)), ("retry", "refund"));
}

#[test]
fn an_action_ruled_out_at_this_head_waits_for_the_next() {
    let draw = check(&round(5), MIN, Duration::ZERO, |facts| {
        facts.ruled_out = Some(ActionKind::Draw)
    });
    assert_eq!(name(draw), "ruled out");
    let refund = check(&round(5), MAX + 1, Duration::ZERO, |facts| {
        facts.ruled_out = Some(ActionKind::RefundExpired)
    });
    assert_eq!(name(refund), "ruled out");
}

#[test]
fn an_empty_round_is_extended_near_its_end_and_named_when_dead() {
    for (head, expected) in [
        (1_100, "betting"),
        (1_248, "betting"),
        (1_249, "extend"),
        (1_278, "extend"),
        (1_279, "dead"),
        (1_281, "dead"),
    ] {
        assert_eq!(
            name(check(&round(0), head, Duration::ZERO, |_| {})),
            expected,
            "head {head}"
        );
    }
    let extend = check(&round(0), 1_270, Duration::ZERO, |_| {});
    assert_eq!(
        extend,
        Decision::Act(ActionKind::Extend {
            new_end_time: 1_272 + 180
        })
    );
    let spent = check(&round(0), 1_270, Duration::ZERO, |facts| {
        facts.extensions_left = false
    });
    assert_eq!(name(spent), "too many");
}

#[test]
fn a_standby_lets_the_first_daemon_try() {
    let standby = Policy {
        standby_delay: Duration::from_secs(20),
        ..policy()
    };
    let seen_at = Instant::now();
    let (round, config) = (round(5), config());
    let at = |head_timestamp, age| {
        let chain_time = ChainTime {
            head_timestamp,
            seen_at,
        };
        let facts = facts(&round, &config, chain_time);
        name(decide(&facts, &standby, seen_at + Duration::from_secs(age)))
    };
    assert_eq!((at(MIN, 19), at(MIN, 20)), ("standby", "draw"));
    // The time runs from the window's opening, not from the newest head.
    assert_eq!((at(MIN + 17, 2), at(MIN + 17, 3)), ("standby", "draw"));
    assert_eq!((at(MIN + 18, 0), at(MAX - 2, 0)), ("draw", "draw"));
    assert_eq!((at(MAX + 1, 18), at(MAX + 1, 19)), ("standby", "refund"));
    assert_eq!(at(MAX + 20, 0), "refund");
}

#[test]
fn unanswered_questions_wait_and_in_the_last_third_one_draw_goes_unchecked() {
    let at = |head, age: u64, failed: u64, again: u64, spent| {
        name(check(&round(5), head, Duration::from_secs(age), |facts| {
            let second = |secs| facts.chain_time.seen_at + Duration::from_secs(secs);
            facts.unanswered = Some(Unanswered {
                last_at: second(failed),
                again_at: second(again),
            });
            facts.unchecked_spent = spent;
        }))
    };
    // The window is 175 s long; its last third begins 116 s in.
    assert_eq!(at(MIN, 115, 115, 116, false), "unanswered");
    assert_eq!(at(MIN, 116, 116, 117, false), "unanswered");
    assert_eq!(at(MIN, 117, 116, 117, false), "unchecked");
    // The last question was asked before the last third: it is asked once more first.
    assert_eq!(at(MIN, 116, 115, 116, false), "draw");
    assert_eq!(at(MIN, 117, 116, 117, true), "draw");
    assert_eq!(at(MIN, 173, 172, 173, false), "unchecked");
    assert_eq!(at(MIN, 174, 173, 174, false), "draw");
    // The head was last seen before the window opened.
    assert_eq!(at(MIN - 10, 127, 126, 127, false), "unchecked");
    assert_eq!(at(MAX + 1, 0, 0, 1, false), "unanswered");
    assert_eq!(at(MAX + 1, 1, 0, 1, false), "refund");
}

proptest! {
    /// Whatever the head, a draw is decided only when a block could include it, a refund only past the window.
    #[test]
    fn never_a_draw_or_a_refund_at_a_wrong_time(
        head in 1_000..2_000u64, spacing in 0..30u64, age in 0..2_000u64, pot in 0..3u64,
        pending in proptest::option::of(1_000..2_000u64), failures in 0..6u32,
    ) {
        let decision = check(&round(pot), head, Duration::from_secs(age), |facts| {
            facts.schedule = schedule(spacing);
            facts.pending = told(pending);
            facts.draw_failures.count = failures;
        });
        let carried = (head + age).max(head + spacing);
        let next = pending.map_or(head + spacing, |pending| if pending > head { pending } else { carried });
        match decision {
            Decision::Act(ActionKind::Draw) => {
                prop_assert!(pot > 0 && (MIN..=MAX).contains(&next) && head <= MAX && failures <= 3);
            }
            Decision::Act(ActionKind::RefundExpired) => prop_assert!(pot > 0 && head > MAX),
            Decision::Act(ActionKind::Extend { new_end_time }) => {
                prop_assert!(pot == 0 && next <= 1_280 && new_end_time > 1_280);
            }
            Decision::Act(other) => prop_assert!(false, "{other:?}"),
            _ => {}
        }
    }
}

#[test]
fn the_time_of_a_head_that_was_not_seen_to_come_is_asked_for_before_it_seems_due() {
    // Half a window away by the head's time carried forward, which may be far behind.
    let round = round(5);
    let at = round.min_draw_time - 60;
    let still = still_after(&schedule(2));
    let seen = |age, change: fn(&mut Facts)| check(&round, at, age, change);
    let unseen = |facts: &mut Facts| facts.arrival_unseen = true;
    let early = still - Duration::from_millis(1);
    assert!(matches!(seen(early, unseen), Decision::Wait { .. }));
    assert_eq!(seen(still, unseen), Decision::AskPendingTime);
    assert!(matches!(seen(still, |_| {}), Decision::Wait { .. }));
    let told = seen(still, |facts| {
        facts.arrival_unseen = true;
        facts.pending = PendingTime::Told(facts.round.min_draw_time);
    });
    assert_eq!(told, Decision::Act(ActionKind::Draw));
}
