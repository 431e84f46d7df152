//! More players than a transaction can serve: what cannot fit is not sent, by whatever way it would come about, but told.

use super::*;
use crate::chain::fees::EIP_7825_GAS_MAX;

/// A draw of so many players that no block takes in until the window is over; the refund then takes over its nonce.
fn missed(players: u64, refuse: fn(&node::Sent) -> Option<String>) -> Stage {
    let mut stage = Stage::new(|node| {
        node.holds_back = true;
        node.refuse(refuse);
        node.fail("eth_estimateGas", error(-32_601, "method not found"));
    });
    let player = |id| (Address::from_low_u64_be(id), U256::exp10(15));
    stage.players = (1..=players).map(player).collect();
    stage.until(MAX + 20);
    assert!(stage
        .sent()
        .iter()
        .any(|sent| sent.kind == ActionKind::Draw));
    stage
}

fn refunds(stage: &Stage) -> Vec<u64> {
    let sent = stage.sent().into_iter();
    let refunds = sent.filter(|sent| sent.kind == ActionKind::RefundExpired);
    refunds.map(|sent| sent.gas_limit).collect()
}

fn told_of_gas(stage: &Stage) -> bool {
    let blocked = |alert: &Arc<Alert>| alert.code == AlertCode::ActionBlocked;
    stage
        .alerts()
        .into_iter()
        .filter(blocked)
        .any(|alert| alert.message.contains("gas"))
}

#[test]
fn a_refund_that_no_block_can_hold_is_not_sent_in_a_draws_place() {
    // A block of 30,000,000 gas holds a draw of 1,600 players, and no refund of them.
    let stage = missed(1_600, |_| None);
    assert_eq!(refunds(&stage), [0; 0]);
    assert!(told_of_gas(&stage), "{:?}", stage.alerts());
}

#[test]
fn a_refund_that_no_transaction_may_be_is_not_cut_to_what_one_may() {
    let stage = missed(900, |sent| {
        let is_much = sent.gas_limit > EIP_7825_GAS_MAX;
        is_much.then(|| "transaction gas limit too high (cap: 16777216)".to_owned())
    });
    let refunds = refunds(&stage);
    let formula = 120_000 + 26_000 * 900;
    assert!(
        !refunds.is_empty() && refunds.iter().all(|gas| *gas == formula),
        "{refunds:?}"
    );
    assert!(told_of_gas(&stage), "{:?}", stage.alerts());
}

/// The last draw that was sent; from now on the round has players, as a reorg brings them, for whom its gas is too little.
fn outgrow(stage: &mut Stage) -> node::Sent {
    let draw = stage.sent().last().unwrap().clone();
    let player = |id| (Address::from_low_u64_be(id), U256::exp10(15));
    stage.players = (1..=40).map(player).collect();
    let needed = draw.gas_limit + 21 * 10_300;
    stage.node.with(|node| node.draw_gas = needed);
    draw
}

#[test]
fn a_draw_that_a_reorg_took_back_has_gas_for_the_players_that_the_reorg_brought() {
    let mut stage = Stage::new(|_| {});
    stage.until(MIN);
    assert_eq!(stage.mined(), [(ActionKind::Draw, true)]);
    let drawn = outgrow(&mut stage);
    stage.node.with(|node| node.reorg(1));
    stage.turn();
    let again = stage.sent().last().unwrap().clone();
    assert_eq!((again.kind, again.nonce), (ActionKind::Draw, drawn.nonce));
    assert!(again.fee.outbids(&drawn.fee), "{again:?} over {drawn:?}");
    stage.block();
    assert_eq!(stage.mined(), [(ActionKind::Draw, true)]);
}

#[test]
fn where_the_other_branch_mines_it_before_that_it_is_drawn_anew_at_once_and_is_no_failure() {
    let mut stage = Stage::new(|node| node.holds_back = true);
    stage.until(MIN);
    outgrow(&mut stage);
    stage.node.with(|node| node.holds_back = false);
    stage.block();
    assert_eq!(stage.mined(), [(ActionKind::Draw, false)]);
    stage.block();
    let twice = [(ActionKind::Draw, false), (ActionKind::Draw, true)];
    assert_eq!(stage.mined(), twice);
    assert_eq!(stage.operator.reporter.status.consecutive_draw_failures, 0);
    let codes = stage.alert_codes();
    assert!(
        !codes.contains(&"action_failed firing".to_owned()),
        "{codes:?}"
    );
}
