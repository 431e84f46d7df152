//! A node whose answers take longer than its blocks: the draw is signed before its window, so that after its head the
//! sending alone is left; and what was signed is not sent once anything that it rests on has changed.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::*;
use crate::chain::script::answer_calls;
use crate::chain::transport::Answer;
use crate::chain::types::BlockRef;

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

type Change = fn(&mut Stage);

impl Slow {
    /// The fields of the newest head are what `head` makes of them.
    fn new(head: impl Fn(&mut Value) + Send + Sync + 'static) -> Slow {
        Slow::taking(settings(), |_| ANSWER, head, 1)
    }

    /// Each request takes its own time, at each of the endpoints.
    fn taking(
        settings: Settings,
        takes: fn(&Value) -> Duration,
        head: impl Fn(&mut Value) + Send + Sync + 'static,
        endpoints: usize,
    ) -> Slow {
        let known = Arc::new(OnceLock::<(Clock, SharedNode, Instant)>::new());
        let head = Arc::new(head);
        let quirk = || -> Quirk {
            let (world, head) = (known.clone(), head.clone());
            let half = move |request: &Value| {
                if let Some((clock, node, start)) = world.get() {
                    clock.advance(takes(request) / 2);
                    mine_due(clock, node, *start);
                }
            };
            Box::new(move |request, sound| {
                half(request);
                let answer = answer_calls(request, |method, params| {
                    let mut told = sound(method, params)?;
                    if method == "eth_getBlockByNumber" && params[0] == "latest" {
                        head(&mut told);
                    }
                    Ok(told)
                });
                half(request);
                Ok(Answer::json(answer))
            })
        };
        let quirks = (0..endpoints).map(|_| Some(quirk())).collect();
        let mut stage = Stage::before(settings, |_| {}, quirks);
        let start = stage.clock.now();
        let is_first = known.set((stage.clock.clone(), stage.node.clone(), start));
        assert!(is_first.is_ok());
        // The rehearsal is still to come, and whoever follows the chain has learnt how long an answer takes.
        stage.operator.round = RoundMemory::of(7);
        for endpoint in stage.endpoints.list() {
            endpoint.head().unwrap();
        }
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

/// What was heard at the rehearsal was heard late: that later heads are further on than time has passed since is no news.
#[test]
fn where_heads_are_heard_of_late_their_time_is_confirmed_before_the_window() {
    let mut slow = Slow::taking(settings(), |_| ANSWER, |_| {}, 2);
    // The store knows only of what was there when these two were asked for the first time.
    slow.is_deaf = true;
    slow.step();
    slow.is_deaf = false;
    slow.until(MIN - 4);
    let trips = slow.trips_of_sending();
    assert!(trips <= 2, "{trips} trips, where each endpoint is sent one");
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
    let changes: [(&str, Change); 3] = [
        ("a reorg", |stage| {
            let mut snapshot = (*stage.snapshot.load()).clone();
            snapshot.reorgs_total += 1;
            stage.snapshot.swap(Arc::new(snapshot));
        }),
        ("another configuration", |stage| {
            let other = Address::repeat_byte(0xdd);
            stage.node.with(|node| node.operator = other);
        }),
        ("a minute", |stage| {
            let draw = stage.operator.round.foresight.draw.as_mut().unwrap();
            draw.signed_at -= Duration::from_secs(60);
        }),
    ];
    for (what, change) in changes {
        let mut slow = Slow::new(|_| {});
        slow.until(MIN - 4);
        change(&mut slow.stage);
        let trips = slow.trips_of_sending();
        assert!(trips > 1, "after {what}: {trips} trips");
    }
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

#[test]
fn where_the_check_alone_is_slow_it_begins_as_much_ahead() {
    const CHECK: Duration = Duration::from_secs(12);
    let calls_the_contract = |request: &Value| match request.to_string().contains("\"eth_call\"") {
        true => CHECK,
        false => Duration::from_millis(10),
    };
    let mut slow = Slow::taking(settings(), calls_the_contract, |_| {}, 1);
    let before = slow.stage.node.round_trips();
    slow.until(MIN - 4);
    let trips = slow.stage.node.round_trips() - before;
    assert!(trips < 20, "{trips} round trips: heads are not asked for");
    assert_eq!(slow.trips_of_sending(), 1);
    let drawn_at = slow.drawn_at();
    assert!(drawn_at <= MIN + SPACING_SECS, "drawn at {drawn_at}");
}

#[test]
fn nothing_is_signed_ahead_for_a_twin_or_an_empty_round() {
    let mut alone = settings();
    alone.policy.extend_empty_rounds = false;
    let mut standby = alone;
    standby.policy.standby_delay = Duration::from_secs(20);
    for (settings, players, expected) in [(alone, 3, true), (standby, 3, false), (alone, 0, false)]
    {
        let mut slow = Slow::taking(settings, |_| ANSWER, |_| {}, 1);
        slow.stage.players.truncate(players);
        slow.until(MIN - 4);
        let signed = slow.stage.operator.round.foresight.draw.is_some();
        assert_eq!(signed, expected, "{players} players");
    }
}

#[test]
fn a_head_that_was_asked_for_and_came_late_brings_the_next_one_sooner() {
    let stage = Stage::new(|_| {});
    let now = stage.clock.now();
    for (blocks, elapsed, least) in [(1, 2, 2), (1, 3, 1), (2, 5, 1), (1, 4, 0), (2, 4, 2)] {
        let mut memory = RoundMemory::of(7);
        let head = stage.snapshot.load().head.unwrap();
        let glanced = BlockRef {
            number: head.number + blocks,
            timestamp: head.timestamp + elapsed,
            ..head
        };
        memory.foresight.glance = Some((glanced, now));
        let moment = Moment::of(stage.snapshot.load(), &memory, now).unwrap();
        assert_eq!(moment.newest, glanced);
        let next = glanced.timestamp + least;
        assert_eq!(
            moment.next_block_time, next,
            "{blocks} blocks in {elapsed} s"
        );
        assert_eq!(moment.schedule.least_to_next_secs, least);
    }
}
