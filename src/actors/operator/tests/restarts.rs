//! A daemon that is started anew goes on with what its key has done, told by the chain alone.

use super::*;
use crate::chain::types::H256;
use crate::lottery::event::{EventRecord, LogPosition, LotteryEvent};
use crate::lottery::snapshot::LiveFeedItem;

const DAY: Duration = Duration::from_secs(86_400);

/// The feed that a start reads tells of the last draw, mined in the newest block but `blocks_ago`.
pub(super) fn tell_of_the_draw(stage: &Stage, transaction_hash: H256) {
    let head = stage.node.with(|node| node.head());
    let event = LotteryEvent::RoundCompleted {
        round_id: 7,
        winner: Address::repeat_byte(2),
        total_pot_wei: U256::exp10(15),
        participant_count: 3,
        winner_prize_wei: U256::exp10(15),
        publisher_commission_wei: U256::zero(),
        random_seed: U256::one(),
    };
    let position = LogPosition {
        block_number: head.number,
        block_hash: head.hash,
        block_timestamp: head.timestamp,
        transaction_hash,
        transaction_index: 0,
        log_index: 0,
    };
    let mut snapshot = (*stage.snapshot.load()).clone();
    let record = Arc::new(EventRecord { event, position });
    snapshot.live_feed.push(LiveFeedItem::Event(record));
    stage.snapshot.swap(Arc::new(snapshot));
}

#[test]
fn what_the_last_day_cost_is_counted_again_from_the_receipts_of_the_keys_own_actions() {
    let mut stage = Stage::new(|node| node.l1_fee_wei = 77);
    stage.until(MIN + 4);
    assert_eq!(stage.mined(), [(ActionKind::Draw, true)]);
    let now = stage.clock.now();
    let spent_wei = stage.operator.spending.spent_wei(now);
    // 100,000 gas at 1 gwei, and what the chain below takes.
    assert_eq!(spent_wei, U256::exp10(14) + 77);
    let draw = stage.sent()[0].hash;
    tell_of_the_draw(&stage, draw);
    // Of another key's action: it is on the feed, but it cost this key nothing.
    tell_of_the_draw(&stage, H256::repeat_byte(0xab));
    stage.restart();
    stage.block();
    let now = stage.clock.now();
    assert_eq!(stage.operator.spending.spent_wei(now), spent_wei);
    let almost = now + DAY - Duration::from_secs(60);
    assert_eq!(stage.operator.spending.spent_wei(almost), spent_wei);
    let over = now + DAY;
    assert_eq!(stage.operator.spending.spent_wei(over), U256::zero());
}

#[test]
fn what_cannot_be_counted_at_the_start_is_asked_for_again() {
    let mut stage = Stage::new(|_| {});
    stage.until(MIN + 4);
    let draw = stage.sent()[0].hash;
    tell_of_the_draw(&stage, draw);
    let spent_wei = stage.operator.spending.spent_wei(stage.clock.now());
    stage.node.with(|node| node.is_silent = true);
    stage.restart();
    assert!(stage
        .operator
        .spending
        .spent_wei(stage.clock.now())
        .is_zero());
    stage.node.with(|node| node.is_silent = false);
    stage.pass(60);
    assert_eq!(
        stage.operator.spending.spent_wei(stage.clock.now()),
        spent_wei
    );
}

#[test]
fn a_draw_that_is_out_is_taken_up_and_not_sent_beside() {
    let mut stage = Stage::new(|node| node.holds_back = true);
    stage.until(MIN + 2);
    let before = stage.sent();
    assert!(!before.is_empty());
    stage.restart();
    assert!(stage.operator.in_flight().is_some(), "{}", stage.phase());
    assert_eq!(stage.sent(), before);
    stage.until(MIN + 40);
    let after = stage.sent();
    assert!(after.iter().all(|sent| sent.nonce == before[0].nonce));
    for pair in after.windows(2).filter(|pair| pair[0].hash != pair[1].hash) {
        assert!(pair[1].fee.outbids(&pair[0].fee), "{pair:?}");
    }
    stage.node.with(|node| node.holds_back = false);
    stage.until(MIN + 60);
    assert_eq!(stage.mined(), [(ActionKind::Draw, true)]);
}

/// A command may come before the start has looked at what an earlier life left: its action stays its own, and ends.
#[test]
fn what_a_command_sends_at_the_start_is_not_taken_for_what_an_earlier_life_left() {
    let mut by_hand = settings();
    by_hand.automatic = false;
    let mut stage = Stage::with(by_hand, |_| {});
    stage.until(MIN + 2);
    let command = Command {
        action_id: "manual-1".to_owned(),
        round_id: 7,
        kind: CommandKind::Draw,
    };
    stage.operator.recovery = Recovery::default();
    stage.commands.send(command).unwrap();
    stage.turn();
    assert_eq!(stage.sent().len(), 1);
    stage.block();
    let told: Vec<String> = stage.records().iter().map(|it| it.id.clone()).collect();
    assert!(told.iter().all(|id| id == "manual-1"), "{told:?}");
    assert_eq!(stage.records().last().unwrap().state, ActionState::Done);
}
