//! Health by event and time: every boundary, without an endpoint.

use super::*;
use proptest::prelude::*;

const CALL: &[Method] = &[Method::Call];
const BALANCE: &[Method] = &[Method::GetBalance];
const BOTH: &[Method] = &[Method::Call, Method::GetBalance];
/// The longest wait that chance can give a first failure.
const CHANCE: u64 = 499;

fn error(kind: ErrorKind, method: Method) -> RpcError {
    RpcError::new(kind, "text").of(method)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// (asked to be left alone, waits, is doubted) for these methods.
fn standing(health: &Health, methods: &[Method], now: Instant) -> (bool, bool, bool) {
    let rank = health.rank(methods, 0, now).unwrap();
    (rank.is_parked, rank.waits, rank.is_doubted)
}

#[test]
fn a_failure_counts_for_its_method_alone() {
    for kind in [
        ErrorKind::Refused,
        ErrorKind::InvalidAnswer,
        ErrorKind::Unavailable,
        ErrorKind::Parked,
        ErrorKind::Behind,
        ErrorKind::RateLimited { retry_after: None },
    ] {
        let (mut health, now) = (Health::default(), Instant::now());
        health.note_failure(BOTH, &error(kind.clone(), Method::Call), CHANCE, now);
        assert!(standing(&health, CALL, now).2, "{kind:?}");
        assert!(standing(&health, BOTH, now).2, "{kind:?}");
        assert_eq!(
            standing(&health, BALANCE, now),
            (false, false, false),
            "{kind:?}"
        );
        assert_eq!(health.failing().collect::<Vec<_>>(), CALL);
        assert!(!health.is_healthy(0, now));
        health.note_success(BALANCE);
        assert!(
            standing(&health, CALL, now).2,
            "another method's success heals nothing"
        );
        health.note_success(CALL);
        assert!(health.is_healthy(0, now));
        assert_eq!(health.last_error(), None);
    }
}

#[test]
fn silence_counts_for_all_methods_until_anything_is_answered() {
    let (mut health, now) = (Health::default(), Instant::now());
    health.note_chain(5, 5, now);
    health.note_failure(
        CALL,
        &error(ErrorKind::Transport, Method::Call),
        CHANCE,
        now,
    );
    assert_eq!(standing(&health, BALANCE, now), (false, true, true));
    assert!(
        health.is_chain_check_due(now),
        "another server may answer next"
    );
    health.note_success(BALANCE);
    assert_eq!(standing(&health, BALANCE, now), (false, false, false));
    assert!(standing(&health, CALL, now).2);
}

#[test]
fn an_error_of_no_single_call_counts_for_all_that_the_question_needs() {
    let (mut health, now) = (Health::default(), Instant::now());
    let moved = RpcError::behind("the chain moved");
    health.note_failure(BOTH, &moved, CHANCE, now);
    assert!(standing(&health, CALL, now).2 && standing(&health, BALANCE, now).2);
    assert!(!standing(&health, &[Method::GetLogs], now).2);
}

#[test]
fn verdicts_and_reverts_say_nothing_of_the_endpoint() {
    let reverted = ErrorKind::Reverted {
        reason: None,
        data: Vec::new(),
    };
    for kind in [
        reverted,
        ErrorKind::Node(crate::chain::error::NodeError::Other),
    ] {
        let (mut health, now) = (Health::default(), Instant::now());
        let verdict = error(kind, Method::SendRawTransaction);
        health.note_failure(&[Method::SendRawTransaction], &verdict, CHANCE, now);
        assert!(health.is_healthy(0, now));
        let local = verdict.of_this_endpoint();
        health.note_failure(&[Method::SendRawTransaction], &local, CHANCE, now);
        assert!(!health.is_healthy(0, now));
    }
}

#[test]
fn how_long_an_endpoint_is_left_alone_follows_from_what_it_said() {
    let limited = |secs: Option<u64>| ErrorKind::RateLimited {
        retry_after: secs.map(Duration::from_secs),
    };
    for (kind, wait, is_parked) in [
        (ErrorKind::Parked, secs(60), true),
        (limited(Some(7)), secs(7), true),
        (limited(None), ms(CHANCE), true),
        (ErrorKind::Transport, ms(CHANCE), false),
        (ErrorKind::Refused, ms(CHANCE), false),
        (ErrorKind::Behind, ms(CHANCE % 250), false),
    ] {
        let (mut health, now) = (Health::default(), Instant::now());
        health.note_failure(CALL, &error(kind.clone(), Method::Call), CHANCE, now);
        assert_eq!(health.ready_in(CALL, now), wait, "{kind:?}");
        let until = now + wait;
        assert_eq!(
            standing(&health, CALL, until - ms(1)).0,
            is_parked,
            "{kind:?}"
        );
        assert!(standing(&health, CALL, until - ms(1)).1, "{kind:?}");
        assert!(!standing(&health, CALL, until).1, "{kind:?}");
        let doubted_for = wait.max(DOUBTED_FOR);
        assert!(
            standing(&health, CALL, now + doubted_for - ms(1)).2,
            "{kind:?}"
        );
        assert!(!standing(&health, CALL, now + doubted_for).2, "{kind:?}");
    }
}

#[test]
fn backoff_and_doubt_double_to_their_ceilings() {
    let (mut health, now) = (Health::default(), Instant::now());
    let refused = error(ErrorKind::Refused, Method::Call);
    let mut seen = Vec::new();
    for _ in 0..9 {
        health.note_failure(CALL, &refused, u64::MAX - 1, now);
        let doubted = health.methods[Method::Call as usize].doubted_until.unwrap();
        seen.push((health.ready_in(CALL, now), doubted - now));
    }
    let doubts: Vec<u64> = seen.iter().map(|(_, doubt)| doubt.as_secs()).collect();
    assert_eq!(doubts, [30, 60, 120, 240, 480, 600, 600, 600, 600]);
    assert!(seen.iter().all(|(wait, _)| *wait < ms(BACKOFF_MAX_MS)));
}

#[test]
fn a_method_that_recovers_is_doubted_for_longer_when_it_fails_again() {
    let (mut health, now) = (Health::default(), Instant::now());
    let refused = error(ErrorKind::Refused, Method::Call);
    health.note_failure(BOTH, &refused, CHANCE, now);
    health.note_recovered(Method::Call);
    assert!(health.is_healthy(0, now));
    assert_eq!((health.failing().next(), health.last_error()), (None, None));
    health.note_failure(BOTH, &refused, CHANCE, now);
    assert!(standing(&health, CALL, now + 2 * DOUBTED_FOR - ms(1)).2);
    health.note_success(CALL);
    health.note_failure(BOTH, &refused, CHANCE, now);
    assert!(
        !standing(&health, CALL, now + DOUBTED_FOR).2,
        "a real answer makes it good"
    );
}

#[test]
fn the_chain_is_checked_before_use_each_ten_minutes_and_a_wrong_one_each_minute() {
    let (mut health, now) = (Health::default(), Instant::now());
    assert!(health.is_chain_check_due(now));
    assert!(health.note_chain(5, 5, now), "news");
    assert!(!health.note_chain(5, 5, now), "no news");
    assert!(!health.is_chain_check_due(now + CHAIN_ID_EVERY - ms(1)));
    assert!(health.is_chain_check_due(now + CHAIN_ID_EVERY));
    assert!(health.note_chain(6, 5, now));
    assert_eq!(health.rank(CALL, 0, now), None);
    assert_eq!(health.last_error(), Some("serves another chain"));
    assert!(
        health.rank(CALL, 0, now + CHAIN_ID_AGAIN).is_some(),
        "it may be asked again"
    );
    assert!(health.note_chain(5, 5, now));
    assert!(health.rank(CALL, 0, now).is_some());
}

#[test]
fn an_endpoint_that_does_not_tell_its_chain_is_used_after_the_others() {
    let now = Instant::now();
    let refused = error(ErrorKind::Refused, Method::ChainId);
    let silent = error(ErrorKind::Transport, Method::ChainId);
    let mut health = Health::default();
    assert!(health.note_chain_untold(&refused, now), "it refuses to say");
    let untold = health.rank(CALL, 0, now).unwrap();
    assert!(untold > Health::default().rank(CALL, 0, now).unwrap());
    assert!(!health.is_chain_check_due(now + CHAIN_ID_AGAIN - ms(1)));
    let mut health = Health::default();
    assert!(
        !health.note_chain_untold(&silent, now),
        "silence may be of the moment"
    );
    assert!(health.is_chain_check_due(now));
    assert!(health.note_chain_untold(&silent, now));
    // What was found wrong stays wrong.
    let mut health = Health::default();
    health.note_chain(6, 5, now);
    health.note_chain_untold(&refused, now);
    assert_eq!(health.chain(), Chain::Wrong(6));
}

#[test]
fn a_head_may_be_stale_or_trail() {
    let (mut health, now) = (Health::default(), Instant::now());
    assert!(
        !health.rank(CALL, 100, now).unwrap().is_stale,
        "unknown is not stale"
    );
    health.note_head(7, 99, now);
    assert!(health.rank(CALL, 100, now).unwrap().is_stale);
    assert!(!health.rank(CALL, 99, now).unwrap().is_stale);
    assert!(health.trails(102, 3, now));
    assert!(!health.trails(101, 3, now));
    assert!(health.trails(102, 3, now + SAME_TIME));
    assert!(
        !health.trails(102, 3, now + SAME_TIME + ms(1)),
        "read too long ago to say"
    );
}

#[test]
fn being_set_back_again_and_again_lasts_longer() {
    let (mut health, mut now) = (Health::default(), Instant::now());
    for lasts in [15, 30, 60, 120, 240, 240] {
        health.set_back(now);
        health.set_back(now + ms(1));
        assert!(health.is_set_back(now + secs(lasts) - ms(1)), "{lasts}");
        now += secs(lasts);
        assert!(!health.is_set_back(now), "{lasts}");
    }
    // After as long a time of doing well it begins anew.
    now += secs(241);
    health.set_back(now);
    assert!(!health.is_set_back(now + secs(15)));
}

#[test]
fn the_worst_reason_decides_the_order() {
    let rank = |change: fn(&mut Rank)| {
        let mut rank = Health::default().rank(CALL, 0, Instant::now()).unwrap();
        change(&mut rank);
        rank
    };
    let order = [
        rank(|_| {}),
        rank(|rank| rank.is_chain_untold = true),
        rank(|rank| rank.is_set_back = true),
        rank(|rank| rank.is_stale = true),
        rank(|rank| rank.is_doubted = true),
        rank(|rank| rank.waits = true),
        rank(|rank| rank.is_parked = true),
    ];
    assert!(order.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(order[5].is_open() && !order[6].is_open());
}

#[test]
fn what_is_learned_is_believed_for_a_while() {
    let (mut learned, now) = (Learned::default(), Instant::now());
    assert_eq!(learned.at(now), None);
    learned.learn(7, now + secs(10));
    assert_eq!(learned.at(now + secs(10) - ms(1)), Some(7));
    assert_eq!(learned.at(now + secs(10)), None);
    learned.learn(8, now + secs(10));
    learned.forget();
    assert_eq!(learned.at(now), None);
}

fn any_kind() -> impl Strategy<Value = ErrorKind> {
    prop_oneof![
        Just(ErrorKind::Transport),
        Just(ErrorKind::Parked),
        Just(ErrorKind::Behind),
        Just(ErrorKind::Refused),
        Just(ErrorKind::InvalidAnswer),
        Just(ErrorKind::Unavailable),
        proptest::option::of(0..3_600u64).prop_map(|secs| ErrorKind::RateLimited {
            retry_after: secs.map(Duration::from_secs)
        }),
    ]
}

proptest! {
    /// Nothing is held against an endpoint for good: whatever happened, after an hour and ten minutes it is as fit as any.
    #[test]
    fn everything_is_forgiven(
        failures in proptest::collection::vec((any_kind(), 0..Method::ALL.len(), any::<u64>(), 0..1_000u64), 0..40),
    ) {
        let (mut health, mut now) = (Health::default(), Instant::now());
        health.note_chain(5, 5, now);
        for (kind, method, chance, later_ms) in failures {
            now += ms(later_ms);
            let method = Method::ALL[method];
            health.note_failure(&[method], &error(kind, method), chance, now);
            prop_assert!(health.ready_in(&Method::ALL, now) <= secs(3_600));
        }
        prop_assert!(health.is_healthy(0, now + secs(3_600)));
    }
}

#[test]
fn who_is_outvoted_is_asked_after_the_others_until_it_agrees_again() {
    let (mut health, now) = (Health::default(), Instant::now());
    let sound = Health::default().rank(BOTH, 0, now).unwrap();
    health.note_vote(Method::Call, false);
    // Neither its answers nor time make it right.
    health.note_success(BOTH);
    let later = now + secs(100_000);
    for at in [now, later] {
        assert!(health.rank(BOTH, 0, at).unwrap() > sound);
        assert_eq!(health.rank(BALANCE, 0, at), Some(sound));
        assert!(!health.is_healthy(0, at));
    }
    assert_eq!(health.outvoted().collect::<Vec<_>>(), CALL);
    assert_eq!(health.failing().count(), 0, "it answers");
    health.note_vote(Method::Call, true);
    assert_eq!(health.rank(BOTH, 0, now), Some(sound));
}
