//! One action in flight, step by step.

use super::*;
use crate::chain::types::U256;

const RULES: Rules = Rules {
    tx_timeout: Duration::from_secs(180),
    confirmations: 1,
};

fn variant(kind: ActionKind, number: u64) -> Variant {
    Variant {
        kind,
        hash: H256::from_low_u64_be(number),
        raw: vec![],
        fee: Fee::Legacy {
            gas_price_wei: U256::one(),
        },
        room: Room {
            gas: 300_000,
            players_max: 2,
        },
    }
}

fn head(number: u64, timestamp: u64) -> BlockRef {
    BlockRef {
        number,
        hash: H256::from_low_u64_be(number),
        parent_hash: H256::zero(),
        timestamp,
    }
}

fn round() -> Round {
    Round {
        round_id: 3,
        state: RoundState::Betting,
        start_time: 0,
        end_time: 90,
        min_draw_time: 100,
        max_draw_time: 200,
        total_pot_wei: U256::one(),
        participant_count: 1,
    }
}

fn included(block_number: u64, succeeded: bool) -> Included {
    Included {
        hash: H256::from_low_u64_be(1),
        block_number,
        block_hash: H256::zero(),
        succeeded,
        gas_used: 1,
        cost: Cost {
            wei: U256::one(),
            is_told: true,
        },
    }
}

struct Pending {
    state: SendState,
    round: Round,
    start: Instant,
}

/// An action sent at head 10, nonce 5.
fn pending(kind: ActionKind) -> Pending {
    let start = Instant::now();
    Pending {
        state: SendState::begin(3, 5, variant(kind, 1), head(10, 100), start),
        round: round(),
        start,
    }
}

impl Pending {
    fn at(&mut self, number: u64, timestamp: u64, change: impl FnOnce(&mut HeadFacts)) -> Step {
        let mut facts = HeadFacts {
            head: head(number, timestamp),
            next_block_time: timestamp + 2,
            round: &self.round,
            latest_nonce: Some(5),
            receipts: Receipts::None,
        };
        change(&mut facts);
        self.state
            .step(&facts, &RULES, self.start + Duration::from_secs(1))
    }
}

#[test]
fn an_unmined_draw_is_rebroadcast_at_each_head_and_replaced_after_two_blocks() {
    let mut draw = pending(ActionKind::Draw);
    assert_eq!(draw.at(10, 100, |_| {}), Step::Wait);
    assert_eq!(draw.at(11, 102, |_| {}), Step::Rebroadcast);
    draw.state.note_sent(head(11, 102), draw.start);
    assert_eq!(draw.at(11, 102, |_| {}), Step::Wait);
    assert_eq!(draw.at(12, 104, |_| {}), Step::Replace(ActionKind::Draw));
    draw.state
        .add(variant(ActionKind::Draw, 2), head(12, 104), draw.start);
    assert_eq!(draw.at(13, 106, |_| {}), Step::Rebroadcast);
    assert_eq!(draw.state.hashes().len(), 2);
}

#[test]
fn what_has_gas_for_fewer_players_than_a_reorg_brought_is_replaced_at_the_next_head() {
    for kind in [ActionKind::Draw, ActionKind::RefundExpired] {
        let mut action = pending(kind);
        action.round.participant_count = 2;
        assert_eq!(action.at(11, 102, |_| {}), Step::Rebroadcast, "{kind:?}");
        action.round.participant_count = 3;
        assert_eq!(action.at(10, 100, |_| {}), Step::Wait, "{kind:?}");
        assert_eq!(action.at(11, 102, |_| {}), Step::Replace(kind));
        let enough = Variant {
            room: Room {
                gas: 300_000,
                players_max: 3,
            },
            ..variant(kind, 2)
        };
        action.state.add(enough, head(11, 102), action.start);
        assert_eq!(action.at(11, 102, |_| {}), Step::Wait, "{kind:?}");
        assert_eq!(action.at(12, 104, |_| {}), Step::Rebroadcast, "{kind:?}");
    }
}

#[test]
fn on_a_head_that_stands_an_unmined_draw_is_sent_again_after_a_while() {
    let mut draw = pending(ActionKind::Draw);
    let round = round();
    let facts = HeadFacts {
        head: head(10, 100),
        next_block_time: 102,
        round: &round,
        latest_nonce: Some(5),
        receipts: Receipts::None,
    };
    let at = |draw: &mut Pending, ms| {
        let now = draw.start + Duration::from_millis(ms);
        let step = draw.state.step(&facts, &RULES, now);
        if step == Step::Rebroadcast {
            draw.state.note_sent(facts.head, now);
        }
        step
    };
    assert_eq!(at(&mut draw, 4_999), Step::Wait);
    assert_eq!(at(&mut draw, 5_000), Step::Rebroadcast);
    assert_eq!(at(&mut draw, 9_999), Step::Wait);
    draw.state.note_accepted();
    assert_eq!(at(&mut draw, 19_999), Step::Wait);
    assert_eq!(at(&mut draw, 20_000), Step::Rebroadcast);
}

#[test]
fn what_is_outbid_is_raised_once_a_block_until_a_node_takes_it() {
    let mut draw = pending(ActionKind::Draw);
    draw.state.note_outbid();
    assert_eq!(draw.at(10, 100, |_| {}), Step::Wait);
    assert_eq!(draw.at(11, 102, |_| {}), Step::Replace(ActionKind::Draw));
    draw.state
        .add(variant(ActionKind::Draw, 2), head(11, 102), draw.start);
    assert_eq!(draw.at(11, 102, |_| {}), Step::Wait);
    draw.state.note_accepted();
    assert_eq!(draw.at(12, 104, |_| {}), Step::Rebroadcast);
}

#[test]
fn after_a_reorg_the_same_bytes_go_out_and_the_clock_starts_anew() {
    let mut draw = pending(ActionKind::Draw);
    let later = draw.start + Duration::from_secs(500);
    draw.state.begin_again_after_reorg(head(20, 100), later);
    let round = round();
    let facts = HeadFacts {
        head: head(21, 102),
        next_block_time: 104,
        round: &round,
        latest_nonce: Some(5),
        receipts: Receipts::None,
    };
    assert_eq!(draw.state.step(&facts, &RULES, later), Step::Rebroadcast);
    assert_eq!(draw.state.variants().len(), 1);
}

#[test]
fn success_needs_depth_and_a_vanished_receipt_puts_the_action_back() {
    let mut draw = pending(ActionKind::Draw);
    let deep = Rules {
        confirmations: 3,
        ..RULES
    };
    let round = round();
    let mut at = |number, included: Option<Included>| {
        let facts = HeadFacts {
            head: head(number, 100 + number),
            next_block_time: 102 + number,
            round: &round,
            latest_nonce: Some(if included.is_none() { 5 } else { 6 }),
            receipts: included.map_or(Receipts::None, Receipts::Found),
        };
        let now = draw.start + Duration::from_secs(number - 10);
        draw.state.step(&facts, &deep, now)
    };
    assert_eq!(at(11, Some(included(11, true))), Step::Wait);
    assert_eq!(at(12, None), Step::Replace(ActionKind::Draw));
    assert_eq!(at(12, Some(included(12, true))), Step::Wait);
    assert_eq!(
        at(14, Some(included(12, true))),
        Step::Done(included(12, true))
    );
    assert_eq!(
        at(14, Some(included(12, false))),
        Step::Reverted(included(12, false))
    );
}

#[test]
fn a_draw_that_outlives_its_window_gives_its_nonce_to_the_refund() {
    let mut draw = pending(ActionKind::Draw);
    assert_eq!(draw.at(11, 198, |_| {}), Step::Rebroadcast);
    // The next block comes past maxDrawTime: nothing of ours is sent, and no refund before a head is past it.
    assert_eq!(draw.at(12, 199, |_| {}), Step::Wait);
    assert_eq!(draw.at(12, 200, |_| {}), Step::Wait);
    assert_eq!(
        draw.at(13, 201, |_| {}),
        Step::Replace(ActionKind::RefundExpired)
    );
}

#[test]
fn what_is_pending_when_the_round_is_over_is_taken_back() {
    for kind in [
        ActionKind::Draw,
        ActionKind::RefundForced,
        ActionKind::RefundExpired,
    ] {
        let mut action = pending(kind);
        action.state.note_maybe_sent();
        action.round.round_id = 4;
        assert_eq!(
            action.at(11, 150, |_| {}),
            Step::Replace(ActionKind::Cancel),
            "{kind:?}"
        );
    }
    let mut cancel = pending(ActionKind::Cancel);
    cancel.state.note_accepted();
    cancel.round.round_id = 4;
    assert_eq!(cancel.at(11, 150, |_| {}), Step::Rebroadcast);
    let mut late = pending(ActionKind::Extend { new_end_time: 500 });
    assert_eq!(late.at(11, 88, |_| {}), Step::Rebroadcast);
    assert_eq!(late.at(11, 89, |_| {}), Step::Replace(ActionKind::Cancel));
}

#[test]
fn a_foreign_transaction_with_our_nonce_is_believed_at_the_second_head() {
    let mut draw = pending(ActionKind::Draw);
    let taken = |facts: &mut HeadFacts| facts.latest_nonce = Some(6);
    assert_eq!(draw.at(10, 100, taken), Step::Wait);
    assert_eq!(draw.at(11, 102, taken), Step::Wait);
    assert_eq!(draw.at(11, 102, taken), Step::Wait);
    assert_eq!(draw.at(12, 104, taken), Step::NonceTaken);
}

#[test]
fn on_a_head_that_stands_a_foreign_transaction_is_believed_after_a_while() {
    let mut draw = pending(ActionKind::Draw);
    let round = round();
    let mut at = |secs, latest_nonce| {
        let facts = HeadFacts {
            head: head(10, 100),
            next_block_time: 102,
            round: &round,
            latest_nonce: Some(latest_nonce),
            receipts: Receipts::None,
        };
        let now = draw.start + Duration::from_secs(secs);
        draw.state.step(&facts, &RULES, now)
    };
    assert_eq!(at(1, 6), Step::Wait);
    assert_eq!(at(15, 6), Step::Wait);
    assert_eq!(at(16, 6), Step::NonceTaken);
    // A count that was taken back begins anew.
    assert_eq!(at(17, 5), Step::Rebroadcast);
    assert_eq!(at(18, 6), Step::Wait);
}

#[test]
fn a_nonce_that_a_reorg_gave_back_leaves_no_gap() {
    let mut draw = pending(ActionKind::Draw);
    let step = draw.at(11, 102, |facts| facts.latest_nonce = Some(4));
    assert_eq!(step, Step::NonceGap);
}

#[test]
fn what_was_signed_at_a_newer_head_is_ahead_of_an_older_one_for_a_moment() {
    let draw = pending(ActionKind::Draw);
    let is_ahead = |number, secs| {
        let now = draw.start + Duration::from_secs(secs);
        draw.state.is_ahead_of(head(number, 100), now)
    };
    assert!(is_ahead(9, 1) && !is_ahead(10, 1));
    assert!(!is_ahead(9, 15), "nobody else has heard of that head");
}

#[test]
fn what_no_node_took_is_let_go_when_its_round_is_over() {
    for kind in [
        ActionKind::Draw,
        ActionKind::RefundForced,
        ActionKind::Cancel,
    ] {
        let mut action = pending(kind);
        action.round.round_id = 4;
        assert_eq!(action.at(11, 150, |_| {}), Step::LetGo, "{kind:?}");
    }
}

#[test]
fn no_action_outlives_its_round_by_more_than_a_plausible_reorg() {
    let mut cancel = pending(ActionKind::Cancel);
    cancel.state.note_accepted();
    cancel.round.round_id = 4;
    assert_eq!(cancel.at(11, 150, |_| {}), Step::Rebroadcast);
    assert_ne!(cancel.at(74, 276, |_| {}), Step::LetGo);
    assert_eq!(cancel.at(75, 278, |_| {}), Step::LetGo);
    // Not even when nobody tells anything.
    let silent = |facts: &mut HeadFacts| {
        (facts.latest_nonce, facts.receipts) = (None, Receipts::Unknown);
    };
    assert_eq!(cancel.at(74, 276, silent), Step::Wait);
    assert_eq!(cancel.at(75, 278, silent), Step::LetGo);
    // A round that a reorg brought back has not been over.
    cancel.round.round_id = 3;
    cancel.at(76, 150, |_| {});
    cancel.round.round_id = 4;
    assert_ne!(cancel.at(77, 280, |_| {}), Step::LetGo);
}

#[test]
fn without_receipts_the_nonce_and_the_round_tell_that_it_has_ended() {
    let unread = |facts: &mut HeadFacts| {
        (facts.latest_nonce, facts.receipts) = (Some(6), Receipts::Unknown);
    };
    let mut draw = pending(ActionKind::Draw);
    draw.round.round_id = 4;
    assert_eq!(draw.at(11, 102, unread), Step::Wait);
    assert_eq!(draw.at(12, 104, unread), Step::EndedUnseen);
    // The round runs on: whatever took the nonce, it did not end the round.
    let mut draw = pending(ActionKind::Draw);
    assert_eq!(draw.at(11, 102, unread), Step::Wait);
    assert_eq!(draw.at(12, 104, unread), Step::NonceTaken);
}

#[test]
fn replacements_keep_a_distance_in_time() {
    let at = |action: &mut Pending, number: u64, millis: u64| {
        let facts = HeadFacts {
            head: head(number, 150),
            next_block_time: 150,
            round: &action.round,
            latest_nonce: Some(5),
            receipts: Receipts::None,
        };
        let now = action.start + Duration::from_millis(millis);
        action.state.step(&facts, &RULES, now)
    };
    // Four blocks a second.
    let mut draw = pending(ActionKind::Draw);
    assert_eq!(at(&mut draw, 13, 999), Step::Rebroadcast);
    assert_eq!(at(&mut draw, 13, 1_000), Step::Replace(ActionKind::Draw));
    // A refund waits 10 s, then 20, 40, 80, and never more than 120.
    let mut refund = pending(ActionKind::RefundForced);
    let mut signed_at_ms = 0;
    for (bump, rest_ms) in [10_000, 20_000, 40_000, 80_000, 120_000, 120_000]
        .iter()
        .enumerate()
    {
        let number = 20 + 10 * bump as u64;
        refund
            .state
            .begin_again(refund.start + Duration::from_millis(signed_at_ms));
        let due_ms = signed_at_ms + rest_ms;
        assert_eq!(at(&mut refund, number, due_ms - 1), Step::Rebroadcast);
        let kind = ActionKind::RefundForced;
        assert_eq!(at(&mut refund, number, due_ms), Step::Replace(kind));
        let now = refund.start + Duration::from_millis(due_ms);
        refund
            .state
            .add(variant(kind, 100 + bump as u64), head(number, 150), now);
        signed_at_ms = due_ms;
    }
}

#[test]
fn what_a_restart_finds_pending_is_left_alone_for_six_blocks() {
    let start = Instant::now();
    let state = SendState::found(3, 5, variant(ActionKind::Draw, 1), head(10, 100), start);
    let mut found = Pending {
        state,
        round: round(),
        start,
    };
    assert_eq!(found.at(15, 110, |_| {}), Step::Wait);
    assert_eq!(found.at(16, 112, |_| {}), Step::Replace(ActionKind::Draw));
    // Its round's end takes it back at once.
    let state = SendState::found(
        3,
        5,
        variant(ActionKind::RefundForced, 1),
        head(10, 100),
        start,
    );
    let mut found = Pending {
        state,
        round: round(),
        start,
    };
    found.round.round_id = 4;
    assert_eq!(found.at(11, 102, |_| {}), Step::Replace(ActionKind::Cancel));
}

#[test]
fn a_new_head_of_the_same_height_is_a_new_head() {
    let mut draw = pending(ActionKind::Draw);
    let reorged = |facts: &mut HeadFacts| facts.head.hash = H256::from_low_u64_be(99);
    assert_eq!(draw.at(10, 100, reorged), Step::Rebroadcast);
}

#[test]
fn time_runs_out_after_the_configured_seconds() {
    let mut draw = pending(ActionKind::Draw);
    let round = round();
    let facts = HeadFacts {
        head: head(11, 102),
        next_block_time: 104,
        round: &round,
        latest_nonce: Some(5),
        receipts: Receipts::None,
    };
    let at = |state: &mut SendState, secs| {
        state.step(&facts, &RULES, draw.start + Duration::from_secs(secs))
    };
    assert_eq!(at(&mut draw.state, 179), Step::Rebroadcast);
    assert_eq!(at(&mut draw.state, 180), Step::TimedOut);
    draw.state
        .begin_again(draw.start + Duration::from_secs(180));
    assert_eq!(at(&mut draw.state, 300), Step::Rebroadcast);
}
