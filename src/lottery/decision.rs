//! What to do now about the running round. Pure: the newest snapshot's facts and `now` in, one decision out.
//!
//! All times are chain times. The next block's time is at least the head's time plus the smallest recent spacing, so a
//! draw sent when that bound reaches minDrawTime lands in the first block that allows it. On a chain whose head does
//! not move the node is asked instead (`PendingTime`), and where it knows no better, chain time carried forward counts:
//! the preflight at that time decides.

use std::time::{Duration, Instant};

use crate::base::clock::ChainTime;
use crate::lottery::action::ActionKind;
use crate::lottery::round::{ContractConfig, Phase, Round, RoundState};
use crate::lottery::snapshot::BlockSchedule;

/// A head that has not moved for this long (or three block times, if longer) is asked about, not waited for.
const STILL_HEAD: Duration = Duration::from_secs(5);
/// Whatever block time was measured, it is not waited for longer: a chain that mines on demand has any.
const STILL_HEAD_MAX: Duration = Duration::from_secs(10);
/// The longest that an empty round is extended at once.
const EXTENSION_SECS_MAX: u64 = 86_400;
/// An empty round is kept alive when less than this (or five block times) remains.
const EXTEND_BEFORE_SECS: f64 = 30.0;
/// In the window's last third a draw that nobody would check is sent unchecked.
const UNCHECKED_AFTER: (u64, u64) = (2, 3);
/// Room between sending an extension and its block, so that the new end is still far enough away there.
const EXTEND_SLACK_SECS: u64 = 30;

/// The operator's settings that bear on deciding.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    pub draw_retry_delay: Duration,
    pub max_draw_retries: u32,
    pub extend_empty_rounds: bool,
    /// How long after the due time a standby acts; zero for the first daemon.
    pub standby_delay: Duration,
}

/// What went wrong so far with the round's draw or refund.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    pub count: u32,
    pub last_at: Option<Instant>,
}

/// Everything a decision rests on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub round: &'a Round,
    pub config: Option<&'a ContractConfig>,
    pub chain_time: ChainTime,
    pub schedule: BlockSchedule,
    pub draw_failures: Failures,
    pub refund_failures: Failures,
    pub extensions_left: bool,
    /// How often the running round was extended.
    pub extensions_of_round: u32,
    /// A named revert has ruled this action out at the newest head.
    pub ruled_out: Option<ActionKind>,
    /// Where the same head may tell otherwise later: when to ask again.
    pub ruled_out_until: Option<Instant>,
    /// What a node said of the next block's time at the newest head.
    pub pending: PendingTime,
    /// No block can make the draw pass: whoever would win or be paid back cannot be paid.
    pub draw_hopeless: bool,
    /// The refund cannot pass, since a player cannot be paid; tried again only then.
    pub stuck_until: Option<Instant>,
    /// Since when no endpoint has answered what an action has to ask; None while they do.
    pub unanswered: Option<Unanswered>,
    /// This round's one unchecked draw was sent already.
    pub unchecked_spent: bool,
}

/// What a node gives the block after a head that stands still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PendingTime {
    #[default]
    Unasked,
    /// Unix seconds.
    Told(u64),
    /// It has no pending block.
    Unknown,
}

/// The earliest time that the block after the newest head can be expected to have.
pub fn next_block_time(
    chain_time: ChainTime,
    schedule: &BlockSchedule,
    pending: PendingTime,
    now: Instant,
) -> u64 {
    let head_timestamp = chain_time.head_timestamp;
    let bound = head_timestamp.saturating_add(schedule.min_spacing_secs);
    match pending {
        PendingTime::Unasked => bound,
        PendingTime::Told(time) if time > head_timestamp => time,
        // The node's pending block is just the latest one: it says nothing of the next.
        PendingTime::Told(_) | PendingTime::Unknown => chain_time.at(now).max(bound),
    }
}

/// The endpoints do not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// When the last question failed.
    pub last_at: Instant,
    /// When to ask again.
    pub again_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing to do before `wake` (or a new head, whichever comes first).
    Wait {
        why: Why,
        wake: Option<Instant>,
    },
    /// The head stands still: learn the pending block's time and decide again.
    AskPendingTime,
    Act(ActionKind),
    /// Draw without asking the contract first: nobody answers, and the window is about to close.
    DrawUnchecked,
    /// Only a person can help.
    Blocked(Trouble),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    NotStarted,
    Betting,
    BeforeWindow {
        starts_in_secs: u64,
    },
    /// The window's last block may still come; a refund has to wait until a head is past it.
    WindowClosing,
    RetryDelay,
    /// A preflight said no at this head.
    RuledOutAtThisHead,
    /// No endpoint answered; asked again in a moment.
    Unanswered,
    Standby,
    GivenUp,
    /// No block can make the draw pass.
    NobodyPayable,
    /// The window is over and the refund cannot pass; tried again at a growing pace.
    Stuck,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The round ended without a bet: every function of the contract reverts for ever.
    DeadEmptyRound,
    /// More extensions of an empty round than a day allows.
    TooManyExtensions,
}

pub fn decide(facts: &Facts, policy: &Policy, now: Instant) -> Decision {
    let round = facts.round;
    if round.state != RoundState::Betting {
        return Decision::Wait {
            why: Why::NotStarted,
            wake: None,
        };
    }
    if let Some(Unanswered { again_at, .. }) = facts.unanswered.filter(|it| it.again_at > now) {
        return Decision::Wait {
            why: Why::Unanswered,
            wake: Some(again_at),
        };
    }
    if round.total_pot_wei.is_zero() {
        return empty_round(facts, policy, now);
    }
    if facts.chain_time.head_timestamp > round.max_draw_time {
        return overdue(facts, policy, now);
    }
    if may_go_unchecked(facts, policy, now) {
        return Decision::DrawUnchecked;
    }
    let next = facts.next_block_time(now);
    if next > round.max_draw_time {
        return Decision::Wait {
            why: Why::WindowClosing,
            wake: None,
        };
    }
    if next >= round.min_draw_time {
        return in_window(facts, policy, now);
    }
    before_window(facts, now)
}

/// Every question in the window's last third failed by transport: better one unchecked draw than a missed window.
fn may_go_unchecked(facts: &Facts, policy: &Policy, now: Instant) -> bool {
    let (round, time) = (facts.round, facts.chain_time);
    let Some(unanswered) = facts.unanswered.filter(|_| !facts.unchecked_spent) else {
        return false;
    };
    let (part, whole) = UNCHECKED_AFTER;
    let length = round.max_draw_time.saturating_sub(round.min_draw_time);
    let last_third = round.min_draw_time + length / whole * part + policy.standby_delay.as_secs();
    let last_asked = time.at(unanswered.last_at);
    last_asked >= last_third
        && time.at(now).saturating_add(facts.schedule.min_spacing_secs) <= round.max_draw_time
        && facts.draw_failures.count <= policy.max_draw_retries
}

impl Facts<'_> {
    fn next_block_time(&self, now: Instant) -> u64 {
        next_block_time(self.chain_time, &self.schedule, self.pending, now)
    }
}

/// How long a head may stand before the node is asked for its pending time.
pub fn still_after(schedule: &BlockSchedule) -> Duration {
    let three_blocks = 3.0 * schedule.mean_spacing_secs.unwrap_or(0.0).clamp(0.0, 600.0);
    Duration::from_secs_f64(three_blocks).clamp(STILL_HEAD, STILL_HEAD_MAX)
}

fn before_window(facts: &Facts, now: Instant) -> Decision {
    let (round, time) = (facts.round, facts.chain_time);
    let carried = time.at(now);
    let still_until = (time.seen_at + still_after(&facts.schedule))
        .max(time.instant_of(round.min_draw_time) + still_after(&facts.schedule));
    if facts.pending == PendingTime::Unasked && now >= still_until {
        return Decision::AskPendingTime;
    }
    let why = match round.phase(carried) {
        Phase::Betting => Why::Betting,
        _ => Why::BeforeWindow {
            starts_in_secs: round.min_draw_time.saturating_sub(carried),
        },
    };
    Decision::Wait {
        why,
        wake: Some(still_until.max(now + STILL_HEAD / 5)),
    }
}

fn in_window(facts: &Facts, policy: &Policy, now: Instant) -> Decision {
    let (round, time) = (facts.round, facts.chain_time);
    if let Some(wait) = stand_by(facts, policy, round.min_draw_time, now) {
        return wait;
    }
    if facts.draw_failures.count > policy.max_draw_retries {
        return Decision::Wait {
            why: Why::GivenUp,
            wake: None,
        };
    }
    let closes = time.instant_of(round.max_draw_time);
    if let Some(retry_at) = retry_at(facts.draw_failures, policy, now, closes) {
        return Decision::Wait {
            why: Why::RetryDelay,
            wake: Some(retry_at),
        };
    }
    if facts.draw_hopeless {
        return Decision::Wait {
            why: Why::NobodyPayable,
            wake: None,
        };
    }
    if facts.ruled_out == Some(ActionKind::Draw) {
        return ruled_out(facts);
    }
    Decision::Act(ActionKind::Draw)
}

fn overdue(facts: &Facts, policy: &Policy, now: Instant) -> Decision {
    if let Some(wait) = stand_by(facts, policy, facts.round.max_draw_time, now) {
        return wait;
    }
    // Refunds have no closing time: after the quick retries they go on at ten times the delay, never stopping.
    let failures = facts.refund_failures;
    let delay = if failures.count > policy.max_draw_retries {
        10
    } else {
        1
    } * policy.draw_retry_delay;
    if let Some(at) = failures
        .last_at
        .map(|last| last + delay)
        .filter(|at| *at > now)
    {
        return Decision::Wait {
            why: Why::RetryDelay,
            wake: Some(at),
        };
    }
    if let Some(until) = facts.stuck_until {
        return match until > now {
            true => Decision::Wait {
                why: Why::Stuck,
                wake: Some(until),
            },
            false => Decision::Act(ActionKind::RefundExpired),
        };
    }
    if facts.ruled_out == Some(ActionKind::RefundExpired) {
        return ruled_out(facts);
    }
    Decision::Act(ActionKind::RefundExpired)
}

fn ruled_out(facts: &Facts) -> Decision {
    Decision::Wait {
        why: Why::RuledOutAtThisHead,
        wake: facts.ruled_out_until,
    }
}

/// A standby leaves the first `standby_delay` after `due` to the first daemon.
fn stand_by(facts: &Facts, policy: &Policy, due: u64, now: Instant) -> Option<Decision> {
    if policy.standby_delay.is_zero() {
        return None;
    }
    let own_turn = due.saturating_add(policy.standby_delay.as_secs());
    let time = facts.chain_time;
    (time.at(now).max(facts.next_block_time(now)) < own_turn).then(|| Decision::Wait {
        why: Why::Standby,
        wake: Some(time.instant_of(own_turn)),
    })
}

/// When the next attempt may be made, if not now. A wait that would outlast the window is halved into it: the next
/// attempt comes sooner rather than never.
fn retry_at(failures: Failures, policy: &Policy, now: Instant, closes: Instant) -> Option<Instant> {
    let last = failures.last_at?;
    let mut at = last + policy.draw_retry_delay;
    if at >= closes {
        at = last + closes.saturating_duration_since(last) / 2;
    }
    (at > now).then_some(at)
}

fn empty_round(facts: &Facts, policy: &Policy, now: Instant) -> Decision {
    let (round, time) = (facts.round, facts.chain_time);
    let next = facts.next_block_time(now);
    if time.head_timestamp > round.end_time || next > round.end_time {
        return Decision::Blocked(Trouble::DeadEmptyRound);
    }
    let Some(config) = facts.config.filter(|_| policy.extend_empty_rounds) else {
        return Decision::Wait {
            why: Why::Betting,
            wake: None,
        };
    };
    let five_blocks = 5.0
        * facts
            .schedule
            .mean_spacing_secs
            .unwrap_or(0.0)
            .clamp(0.0, 600.0);
    let before_secs = EXTEND_BEFORE_SECS.max(five_blocks) as u64;
    let carried = time.at(now).max(next);
    if round.end_time.saturating_sub(carried) >= before_secs {
        let wake = time.instant_of(round.end_time.saturating_sub(before_secs) + 1);
        return Decision::Wait {
            why: Why::Betting,
            wake: Some(wake.max(now + STILL_HEAD / 5)),
        };
    }
    if !facts.extensions_left {
        return Decision::Blocked(Trouble::TooManyExtensions);
    }
    let reach_secs = extension_secs(config, facts.extensions_of_round);
    let new_end_time = carried.saturating_add(reach_secs).max(round.end_time + 1);
    if matches!(facts.ruled_out, Some(ActionKind::Extend { .. })) {
        return ruled_out(facts);
    }
    Decision::Act(ActionKind::Extend { new_end_time })
}

/// Each extension of a round is twice the last, up to a day: a round that nobody joins is kept alive for weeks.
fn extension_secs(config: &ContractConfig, extended_before: u32) -> u64 {
    let least = config
        .min_end_time_extension_secs
        .saturating_add(EXTEND_SLACK_SECS);
    let first = config.betting_duration_secs.max(least);
    let doubled = first.saturating_mul(1 << extended_before.min(32));
    doubled.min(EXTENSION_SECS_MAX.max(first))
}

#[cfg(test)]
mod tests {
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
            min_spacing_secs: spacing,
        }
    }

    fn told(time: Option<u64>) -> PendingTime {
        time.map_or(PendingTime::Unasked, PendingTime::Told)
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
        let mut facts = Facts {
            round,
            config: Some(&config),
            chain_time: ChainTime {
                head_timestamp: timestamp,
                seen_at,
            },
            schedule: schedule(2),
            draw_failures: Failures::default(),
            refund_failures: Failures::default(),
            extensions_left: true,
            extensions_of_round: 0,
            ruled_out: None,
            ruled_out_until: None,
            pending: PendingTime::Unasked,
            draw_hopeless: false,
            stuck_until: None,
            unanswered: None,
            unchecked_spent: false,
        };
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
        // Chain time carried forward reaches minDrawTime after 10 s; three blocks are 6 s.
        assert_eq!(at(15, None), "before");
        assert_eq!(at(16, None), "ask");
        assert_eq!(at(16, Some(MIN - 1)), "before");
        assert_eq!(at(16, Some(MIN)), "draw");
        assert_eq!(at(16, Some(MAX)), "draw");
        assert_eq!(at(16, Some(MAX + 1)), "closing");
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
                min_spacing_secs: 0,
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
            let facts = Facts {
                round: &round,
                config: Some(&config),
                chain_time: ChainTime {
                    head_timestamp,
                    seen_at,
                },
                schedule: schedule(2),
                draw_failures: Failures::default(),
                refund_failures: Failures::default(),
                extensions_left: true,
                extensions_of_round: 0,
                ruled_out: None,
                ruled_out_until: None,
                pending: PendingTime::Unasked,
                draw_hopeless: false,
                stuck_until: None,
                unanswered: None,
                unchecked_spent: false,
            };
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
}
