//! Odd endpoints around a refund: what holds of a draw holds of the end of a round whose window has passed.

use std::sync::atomic::{AtomicBool, Ordering};

use super::odd::{
    alone_and_unaccused, block_with, delivered, failing_alone, failing_of_two, late_by_untruths,
    later_than, saying,
};
use super::*;

/// How many blocks after the first that allowed it the refund was mined; what else is wrong in words.
fn refunded(change: impl FnOnce(&mut Node), quirks: Vec<Option<Quirk>>) -> Result<u64, String> {
    let mut stage = Stage::before(settings(), change, quirks);
    let secs = MAX - stage.node.with(|node| node.head().timestamp);
    stage.clock.advance(Duration::from_secs(secs));
    stage.node.with(|node| node.mine(secs));
    stage.turn();
    assert!(
        stage.sent().is_empty(),
        "the next block is too late for a draw"
    );
    // This head is the first that shows the window to be over; the next block can have the refund.
    stage.block();
    let mut late = 0;
    loop {
        delivered(&stage);
        stage.block();
        if stage.mined().last() == Some(&(ActionKind::RefundExpired, true)) {
            break;
        }
        late += 1;
        if late == 40 {
            return Err(format!("not refunded: {}", stage.phase()));
        }
    }
    alone_and_unaccused(&stage, "a refund").map(|()| late)
}

fn refunded_by(quirks: Vec<Option<Quirk>>) -> Result<u64, String> {
    refunded(|_| {}, quirks)
}

#[test]
fn each_method_failed_in_each_way_by_the_first_of_two_makes_no_refund_late() {
    assert_eq!(later_than(0, refunded_by, failing_of_two()), [""; 0]);
}

#[test]
fn what_a_refund_can_do_without_may_fail_in_each_way_on_the_only_endpoint() {
    assert_eq!(later_than(1, refunded_by, failing_alone()), [""; 0]);
}

#[test]
fn what_is_not_true_of_the_first_of_two_makes_no_refund_late() {
    assert_eq!(late_by_untruths(refunded_by), [""; 0]);
}

#[test]
fn without_overridden_times_and_a_pending_block_the_heads_own_time_allows_the_refund() {
    for takes_times in [true, false] {
        for knows_pending in [true, false] {
            let late = refunded(
                |node| {
                    node.ignores_times = !takes_times;
                    if !knows_pending {
                        node.fail("pending", error(-32601, "pending is not supported"));
                    }
                },
                vec![None],
            );
            assert_eq!(
                late,
                Ok(0),
                "times: {takes_times}, pending: {knows_pending}"
            );
        }
    }
}

/// Gives blocks times that are so far ahead.
fn ahead_by(secs: u64) -> Quirk {
    ahead_once(Arc::new(AtomicBool::new(true)), secs)
}

/// The same, once that is so.
fn ahead_once(is_so: Arc<AtomicBool>, secs: u64) -> Quirk {
    saying(move |method, params, sound| {
        is_so.load(Ordering::Relaxed).then_some(())?;
        let time = sound(method, params).ok()?["timestamp"]
            .as_str()?
            .to_owned();
        let time = u64::from_str_radix(&time[2..], 16).ok()?;
        let told = json!({"timestamp": format!("{:#x}", time + secs)});
        block_with((method, params, sound), told)
    })
}

/// The store follows an endpoint whose times are ahead; another tells them as they are.
#[test]
fn neither_a_draw_nor_a_refund_is_sent_on_one_endpoints_word_for_the_time() {
    for (ahead_secs, end) in [(70, ActionKind::Draw), (400, ActionKind::RefundExpired)] {
        let quirks = vec![Some(ahead_by(ahead_secs)), None];
        let mut stage = Stage::before(settings(), |_| {}, quirks);
        stage.ahead_secs = ahead_secs;
        // No rehearsal was held: by those times there was none to hold.
        stage.operator.round.rehearsed = None;
        while stage.mined().is_empty() {
            let head_time = stage.node.with(|node| node.head().timestamp);
            assert!(head_time < MAX + 60, "{ahead_secs}: {}", stage.phase());
            stage.block();
        }
        assert_eq!(stage.mined(), [(end, true)], "{ahead_secs} s ahead");
    }
}

/// As above, by so little that the rehearsal is held at those times, too: what others told at it counts.
#[test]
fn a_head_that_was_ahead_at_the_rehearsal_opens_no_window() {
    let quirks = vec![Some(ahead_by(9)), None];
    let mut stage = Stage::before(settings(), |_| {}, quirks);
    stage.ahead_secs = 9;
    stage.operator.round = RoundMemory::of(7);
    while stage.mined().is_empty() {
        assert!(stage.node.with(|node| node.head().timestamp) < MAX);
        stage.block();
    }
    assert_eq!(stage.mined(), [(ActionKind::Draw, true)]);
}

/// The same, from shortly before the window on.
#[test]
fn a_head_that_jumps_ahead_after_the_rehearsal_opens_no_window() {
    for ahead_secs in [2, 3, 9] {
        let jumps = Arc::new(AtomicBool::new(false));
        let quirks = vec![Some(ahead_once(jumps.clone(), ahead_secs)), None];
        let mut stage = Stage::before(settings(), |_| {}, quirks);
        stage.until(MIN - 8);
        jumps.store(true, Ordering::Relaxed);
        stage.ahead_secs = ahead_secs;
        while stage.mined().is_empty() {
            assert!(stage.node.with(|node| node.head().timestamp) < MAX);
            stage.block();
        }
        let drawn = [(ActionKind::Draw, true)];
        assert_eq!(stage.mined(), drawn, "{ahead_secs} s ahead");
    }
}
