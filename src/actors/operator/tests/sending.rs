//! What several pools say of one draw, each in its own way.

use std::sync::atomic::{AtomicBool, Ordering};

use super::odd::{delivered, refused, saying, sending};
use super::*;
use crate::chain::error::RpcError;
use crate::chain::script::answer_calls;
use crate::chain::transport::Answer;

#[test]
fn a_draw_that_one_pool_calls_used_while_another_is_not_heard_is_still_known_and_paid_for() {
    let first = AtomicBool::new(true);
    let calls_it_used = saying(move |method, _, _| {
        let answer = sending(method, refused("nonce too low"));
        answer.filter(|_| first.swap(false, Ordering::Relaxed))
    });
    let is_not_heard: Quirk = Box::new(|request, sound| {
        let answer = answer_calls(request, sound);
        match request["method"] == "eth_sendRawTransaction" {
            true => Err(RpcError::transport("timed out")),
            false => Ok(Answer::json(answer)),
        }
    });
    let quirks = vec![Some(calls_it_used), Some(is_not_heard)];
    let mut stage = Stage::before(settings(), |_| {}, quirks);
    while stage.mined().is_empty() {
        delivered(&stage);
        stage.block();
    }
    stage.block();
    assert_eq!(stage.mined(), [(ActionKind::Draw, true)]);
    assert_eq!(stage.node.with(|node| node.head().timestamp), MIN + 2);
    let spent_wei = stage.operator.spending.spent_wei(stage.clock.now());
    assert_eq!(spent_wei, U256::exp10(14), "100,000 gas at 1 gwei");
    assert_eq!(stage.alert_codes(), [""; 0]);
}
