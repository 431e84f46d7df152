//! A node whose answers take longer than its blocks: the draw is signed before its window, so that after its head the
//! sending alone is left; and what was signed is not sent once anything that it rests on has changed.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::*;
use crate::chain::script::answer_calls;
use crate::chain::transport::Answer;

const ANSWER: Duration = Duration::from_secs(3);
const SPACING_SECS: u64 = 2;
/// For so many more than are known there is room.
const PLAYERS_TO_COME: u64 = 16;

/// Blocks come as time passes, also while an answer is waited for.
struct Slow {
    stage: Stage,
    start: Instant,
    /// The store hears of no block any more.
    is_deaf: bool,
}

/// Makes the blocks that are due by now.
fn mine_due(clock: &Clock, node: &SharedNode, start: Instant) {
    let due = MIN - 60 + clock.now().saturating_duration_since(start).as_secs();
    while node.with(|node| node.head().timestamp) + SPACING_SECS <= due {
        node.with(|node| node.mine(SPACING_SECS));
    }
}

impl Slow {
    /// The fields of the newest head are what `head` makes of them.
    fn new(head: impl Fn(&mut Value) + Send + Sync + 'static) -> Slow {
        let known = Arc::new(OnceLock::<(Clock, SharedNode, Instant)>::new());
        let world = known.clone();
        let half = move || {
            if let Some((clock, node, start)) = world.get() {
                clock.advance(ANSWER / 2);
                mine_due(clock, node, *start);
            }
        };
        let quirk: Quirk = Box::new(move |request, sound| {
            half();
            let answer = answer_calls(request, |method, params| {
                let mut told = sound(method, params)?;
                if method == "eth_getBlockByNumber" && params[0] == "latest" {
                    head(&mut told);
                }
                Ok(told)
            });
            half();
            Ok(Answer::json(answer))
        });
        let stage = Stage::before(settings(), |_| {}, vec![Some(quirk)]);
        let start = stage.clock.now();
        let is_first = known.set((stage.clock.clone(), stage.node.clone(), start));
        assert!(is_first.is_ok());
        // Whoever follows the chain has learnt how long an answer takes.
        stage.endpoints.list()[0].head().unwrap();
        Slow {
            stage,
            start,
            is_deaf: false,
        }
    }

    /// A moment passes, and the operator has one turn: the round trips that it took.
    fn step(&mut self) -> u64 {
        let stage = &mut self.stage;
        stage.clock.advance(Duration::from_millis(100));
        mine_due(&stage.clock, &stage.node, self.start);
        if !self.is_deaf {
            stage.read();
        }
        let before = stage.node.round_trips();
        stage.operator.turn(stage.clock.now()).unwrap();
        stage.told.extend(stage.updates.try_iter());
        stage.node.round_trips() - before
    }

    fn until(&mut self, timestamp: u64) {
        while self.stage.node.with(|node| node.head().timestamp) < timestamp {
            self.step();
        }
        assert_eq!(self.stage.sent(), [], "nothing goes out before the window");
    }

    /// The round trips of the turn that sends the draw.
    fn trips_of_sending(&mut self) -> u64 {
        for _ in 0..1_000 {
            let trips = self.step();
            if !self.stage.sent().is_empty() {
                return trips;
            }
        }
        panic!("no draw is sent");
    }

    /// The time of the block that has the draw, which came through.
    fn drawn_at(&mut self) -> u64 {
        while self.stage.mined().is_empty() {
            self.step();
        }
        assert_eq!(self.stage.mined(), [(ActionKind::Draw, true)]);
        self.stage.node.with(|node| node.mined_at()).unwrap()
    }
}

#[test]
fn where_answers_are_slow_the_sending_alone_is_left_when_the_head_comes() {
    let mut slow = Slow::new(|_| {});
    slow.until(MIN - 4);
    assert_eq!(slow.trips_of_sending(), 1);
    let gas = slow.stage.sent()[0].gas_limit;
    let needed = 300_000 + 13_000 * (3 + PLAYERS_TO_COME);
    assert!(gas >= needed, "room for players that came last: {gas}");
    let drawn_at = slow.drawn_at();
    assert!(drawn_at <= MIN + SPACING_SECS, "drawn at {drawn_at}");
}

#[test]
fn the_head_is_asked_for_when_the_store_is_slow_to_hear_of_it() {
    let mut slow = Slow::new(|_| {});
    slow.until(MIN - 6);
    slow.is_deaf = true;
    assert_eq!(slow.trips_of_sending(), 1);
    let drawn_at = slow.drawn_at();
    assert!(drawn_at <= MIN + 2 * SPACING_SECS, "drawn at {drawn_at}");
}

#[test]
fn a_head_that_is_further_on_than_time_has_passed_is_not_believed() {
    for further_secs in [10, 12, 60, 1_000, 1_000_000] {
        let mut slow = Slow::new(move |head| {
            let text = head["timestamp"].as_str().unwrap();
            let told = u64::from_str_radix(&text[2..], 16).unwrap() + further_secs;
            head["number"] = json!("0xffff");
            head["timestamp"] = json!(format!("0x{told:x}"));
        });
        slow.until(MIN - 4);
        slow.trips_of_sending();
        let drawn_at = slow.drawn_at();
        assert!(drawn_at >= MIN, "{further_secs} s further on: {drawn_at}");
    }
}

#[test]
fn what_was_signed_ahead_is_checked_anew_once_what_it_rests_on_has_changed() {
    let more_players = |stage: &mut Stage, count: u64| {
        let players = (0..count).map(|id| (Address::from_low_u64_be(900 + id), U256::one()));
        stage.players.extend(players);
    };
    for (count, is_kept) in [(PLAYERS_TO_COME, true), (PLAYERS_TO_COME + 1, false)] {
        let mut slow = Slow::new(|_| {});
        slow.until(MIN - 4);
        more_players(&mut slow.stage, count);
        let trips = slow.trips_of_sending();
        assert_eq!(trips == 1, is_kept, "{count} players more: {trips} trips");
    }
    let mut slow = Slow::new(|_| {});
    slow.until(MIN - 4);
    let mut snapshot = (*slow.stage.snapshot.load()).clone();
    snapshot.reorgs_total += 1;
    slow.stage.snapshot.swap(Arc::new(snapshot));
    let trips = slow.trips_of_sending();
    assert!(trips > 1, "after a reorg: {trips} trips");
}

#[test]
fn no_draw_is_sent_after_a_late_block_that_the_next_may_catch_up_with() {
    for (late, soon) in [(4, 1), (6, 0)] {
        let mut stage = Stage::new(|_| {});
        stage.until(MIN - 2 - late);
        for spacing in [late, soon, 2, 2, 2] {
            stage.clock.advance(Duration::from_secs(spacing));
            stage.node.with(|node| node.mine(spacing));
            stage.turn();
        }
        assert_eq!(stage.mined(), [(ActionKind::Draw, true)], "late by {late}");
        let mined_at = stage.node.with(|node| node.mined_at()).unwrap();
        assert!(mined_at <= MIN + 3, "late by {late}: mined at {mined_at}");
    }
}
