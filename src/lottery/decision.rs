//! What to do now about the running round. Pure: the newest snapshot's facts and `now` in, one decision out.
//!
//! All times are chain times. The next block's time is at least the head's time plus the smallest recent spacing, so a
//! draw sent when that bound reaches minDrawTime lands in the first block that allows it. On a chain whose head does
//! not move the node is asked instead (`PendingTime`), and where it knows no better, chain time carried forward counts:
//! the preflight at that time decides.
#![doc = include_str!("decision.md")]

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
pub(crate) struct Failures {
    pub count: u32,
    pub last_at: Option<Instant>,
}

/// Everything a decision rests on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
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
    /// The newest head was not seen to come: it is the first that was read, or a reorg put it there. How long it had stood
    /// by then is not known, so that its time carried forward may be far behind.
    pub arrival_unseen: bool,
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
pub(crate) enum PendingTime {
    #[default]
    Unasked,
    /// Unix seconds.
    Told(u64),
    /// It has no pending block.
    Unknown,
}

/// The earliest time that the block after the newest head can be expected to have.
pub(crate) fn next_block_time(
    chain_time: ChainTime,
    schedule: &BlockSchedule,
    pending: PendingTime,
    now: Instant,
) -> u64 {
    let head_timestamp = chain_time.head_timestamp;
    let bound = head_timestamp.saturating_add(schedule.least_to_next_secs);
    match pending {
        PendingTime::Unasked => bound,
        PendingTime::Told(time) if !pending.is_silent_about_next(head_timestamp) => time,
        PendingTime::Told(_) | PendingTime::Unknown => chain_time.at(now).max(bound),
    }
}

impl PendingTime {
    /// A node was asked, and only chain time carried forward tells of the next block: the node has no pending block, or
    /// one that is just the latest.
    pub(crate) fn is_silent_about_next(self, head_timestamp: u64) -> bool {
        match self {
            PendingTime::Unasked => false,
            PendingTime::Told(time) => time <= head_timestamp,
            PendingTime::Unknown => true,
        }
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
pub(crate) enum Decision {
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

pub(crate) fn decide(facts: &Facts, policy: &Policy, now: Instant) -> Decision {
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
        && time
            .at(now)
            .saturating_add(facts.schedule.least_to_next_secs)
            <= round.max_draw_time
        && facts.draw_failures.count <= policy.max_draw_retries
}

impl Facts<'_> {
    fn next_block_time(&self, now: Instant) -> u64 {
        next_block_time(self.chain_time, &self.schedule, self.pending, now)
    }
}

/// How long a head may stand before the node is asked for its pending time.
pub(crate) fn still_after(schedule: &BlockSchedule) -> Duration {
    let three_blocks = 3.0 * schedule.mean_spacing_secs.unwrap_or(0.0).clamp(0.0, 600.0);
    Duration::from_secs_f64(three_blocks).clamp(STILL_HEAD, STILL_HEAD_MAX)
}

fn before_window(facts: &Facts, now: Instant) -> Decision {
    let (round, time) = (facts.round, facts.chain_time);
    let carried = time.at(now);
    let still = still_after(&facts.schedule);
    let stands_from = time.seen_at + still;
    let still_until = match facts.arrival_unseen {
        true => stands_from,
        false => stands_from.max(time.instant_of(round.min_draw_time)),
    };
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
mod tests;
