//! Which conditions hold of snapshots made for it, at times made for it.

use std::sync::Arc;

use super::*;
use crate::base::clock::ChainTime;
use crate::chain::types::{BlockRef, H256, U256};
use crate::lottery::event::LogPosition;
use crate::lottery::proof::Proof;
use crate::lottery::snapshot::BlockSchedule;
use crate::lottery::state::unread;

const MIN: u64 = 1_000;
const MAX: u64 = 1_175;

fn snapshot(head_timestamp: u64, seen_at: Instant) -> Snapshot {
    let mut snapshot = unread();
    snapshot.head = Some(BlockRef {
        number: 10,
        hash: H256::zero(),
        parent_hash: H256::zero(),
        timestamp: head_timestamp,
    });
    snapshot.chain_time = Some(ChainTime {
        head_timestamp,
        seen_at,
    });
    snapshot.schedule = BlockSchedule {
        mean_spacing_secs: Some(2.0),
        least_to_next_secs: 2,
    };
    snapshot.round = Some(Round {
        round_id: 7,
        state: RoundState::Betting,
        start_time: MIN - 185,
        end_time: MIN - 5,
        min_draw_time: MIN,
        max_draw_time: MAX,
        total_pot_wei: U256::one(),
        participant_count: 2,
    });
    snapshot
}

/// What is looked at `age_secs` after the head was seen.
fn sights(snapshot: &Snapshot, seen_at: Instant, age_secs: u64) -> Sights<'_> {
    Sights {
        snapshot,
        in_flight: None,
        endpoints: &[],
        operator: Some(Address::repeat_byte(1)),
        chain_id: 1,
        now: seen_at + Duration::from_secs(age_secs),
        unix_ms: age_secs * 1_000,
        slept: None,
    }
}

fn codes(sights: &Sights) -> Vec<AlertCode> {
    let conditions = conditions(sights);
    conditions.iter().map(|condition| condition.code).collect()
}

/// The codes that hold `age_secs` after the head was seen.
fn holding(
    snapshot: &Snapshot,
    seen_at: Instant,
    age_secs: u64,
    in_flight: Option<&InFlight>,
) -> Vec<AlertCode> {
    codes(&Sights {
        in_flight,
        ..sights(snapshot, seen_at, age_secs)
    })
}

fn in_flight(action: ActionKind) -> InFlight {
    InFlight {
        action,
        round_id: 7,
        nonce: 1,
        hashes: vec![H256::zero()],
        attempts: 1,
    }
}

#[test]
fn a_draw_is_overdue_when_a_third_of_its_window_is_gone_without_a_transaction() {
    let seen_at = Instant::now();
    let at = |head, age| holding(&snapshot(head, seen_at), seen_at, age, None);
    assert_eq!(at(MIN - 10, 0), []);
    assert_eq!(at(MIN + 58, 0), []);
    assert_eq!(at(MIN + 59, 0), [AlertCode::DrawOverdue]);
    // Time alone makes it so, when nobody tells of blocks.
    assert_eq!(at(MIN - 10, 69), [AlertCode::DrawOverdue]);
    assert_eq!(at(MAX, 0), [AlertCode::DrawOverdue]);
    let out = in_flight(ActionKind::Draw);
    let told = holding(&snapshot(MIN + 59, seen_at), seen_at, 0, Some(&out));
    assert_eq!(told, []);
    // Whether it was missed only a later block can say.
    assert_eq!(at(MAX, 1), []);
    assert_eq!(at(MAX + 1, 0), [AlertCode::DrawMissed]);
    let refund = in_flight(ActionKind::RefundExpired);
    let told = holding(&snapshot(MAX + 1, seen_at), seen_at, 0, Some(&refund));
    assert_eq!(told, [AlertCode::DrawMissed, AlertCode::RefundSent]);
}

#[test]
fn silence_and_a_standing_head_are_told_after_a_while() {
    let seen_at = Instant::now();
    let mut silent = snapshot(MIN - 500, seen_at);
    silent.connection.reachable = false;
    assert_eq!(holding(&silent, seen_at, 14, None), []);
    assert_eq!(
        holding(&silent, seen_at, 15, None),
        [AlertCode::ChainUnreachable]
    );
    silent.head = None;
    silent.chain_time = None;
    silent.round = None;
    assert_eq!(
        holding(&silent, seen_at, 15, None),
        [AlertCode::ChainUnreachable]
    );
    let standing = snapshot(MIN - 500, seen_at);
    assert_eq!(holding(&standing, seen_at, 119, None), []);
    assert_eq!(
        holding(&standing, seen_at, 120, None),
        [AlertCode::HeadStale]
    );
    // What the host slept through nobody has seen, and what was so before it still is.
    let woken = |snapshot, age_secs| {
        let at = |secs| seen_at + Duration::from_secs(secs);
        let slept = Some(Sleep {
            from: at(10),
            until: at(900),
            from_unix_ms: 10_000,
            until_unix_ms: 900_000,
        });
        codes(&Sights {
            slept,
            ..sights(snapshot, seen_at, age_secs)
        })
    };
    assert_eq!(woken(&standing, 900 + 109), []);
    assert_eq!(woken(&standing, 900 + 110), [AlertCode::HeadStale]);
    assert_eq!(woken(&silent, 900 + 4), []);
    assert_eq!(woken(&silent, 900 + 5), [AlertCode::ChainUnreachable]);
}

#[test]
fn an_empty_round_is_told_of_a_minute_or_ten_blocks_before_its_end() {
    let seen_at = Instant::now();
    let at = |head, age, spacing_secs| {
        let mut empty = snapshot(head, seen_at);
        empty.round.as_mut().unwrap().total_pot_wei = U256::zero();
        empty.schedule.mean_spacing_secs = Some(spacing_secs);
        holding(&empty, seen_at, age, None)
    };
    let end = MIN - 5;
    assert_eq!(at(end - 61, 0, 2.0), []);
    assert_eq!(at(end - 60, 0, 2.0), [AlertCode::EmptyRound]);
    assert_eq!(at(end - 70, 10, 2.0), [AlertCode::EmptyRound]);
    assert_eq!(at(end - 81, 0, 8.0), []);
    assert_eq!(at(end - 80, 0, 8.0), [AlertCode::EmptyRound]);
    // Not in the first half of its 180 s, however slow the blocks are.
    assert_eq!(at(end - 91, 0, 30.0), []);
    assert_eq!(at(end - 90, 0, 30.0), [AlertCode::EmptyRound]);
    assert_eq!(at(end, 0, 2.0), [AlertCode::EmptyRound]);
    assert_eq!(at(end + 1, 0, 2.0), [AlertCode::StuckRound]);
    // With a bet it is as any other.
    assert_eq!(holding(&snapshot(end, seen_at), seen_at, 0, None), []);
}

#[test]
fn a_round_that_ended_without_a_bet_is_stuck_and_another_chain_is_named() {
    let seen_at = Instant::now();
    let mut dead = snapshot(MIN - 4, seen_at);
    dead.round.as_mut().unwrap().total_pot_wei = U256::zero();
    assert_eq!(holding(&dead, seen_at, 0, None), [AlertCode::StuckRound]);
    let wrong = EndpointSight {
        host: "https://node.example".to_owned(),
        wrong_chain: Some(5),
    };
    let told = wrong_chain(&wrong, 1).unwrap();
    assert_eq!(told.subject, Subject::Endpoint(wrong.host.clone()));
    assert!(told.message.contains("chain 5"), "{}", told.message);
    let right = EndpointSight {
        wrong_chain: None,
        ..wrong
    };
    assert_eq!(wrong_chain(&right, 1), None);
}

#[test]
fn only_a_draw_that_does_not_follow_is_told_of_and_only_while_it_is_thought_so() {
    let seen_at = Instant::now();
    let judged = |verdict: Verdict| {
        let mut snapshot = snapshot(MIN - 500, seen_at);
        snapshot.history = Arc::new(vec![Arc::new(FinishedRound {
            round_id: 6,
            start_time: 0,
            end_time: 0,
            min_draw_time: 0,
            max_draw_time: 0,
            total_pot_wei: U256::one(),
            participant_count: 2,
            outcome: Outcome::Completed {
                winner: Address::zero(),
                winner_prize_wei: U256::one(),
                publisher_commission_wei: U256::zero(),
                random_seed: U256::zero(),
            },
            bets: Vec::new(),
            winner_total_wei: None,
            proof: Proof {
                verdict,
                ..Proof::of_refund(Verdict::Verified)
            },
            draw_delay: None,
            position: LogPosition::default(),
        })]);
        holding(&snapshot, seen_at, 0, None)
    };
    let why = || "the winner is another".to_owned();
    assert_eq!(
        judged(Verdict::Mismatch { why: why() }),
        [AlertCode::ProofMismatch]
    );
    assert_eq!(judged(Verdict::Verified), []);
    assert_eq!(judged(Verdict::Unverifiable { why: why() }), []);
}
