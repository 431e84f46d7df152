//! What is told to have held up a draw that came late, by what went wrong; nothing where nothing did.

use super::*;
use crate::lottery::lateness::LateReason;

/// What goes wrong while the draw is due, from its last block before the window on, until it is over.
type Trouble = (
    LateReason,
    fn(&mut Settings),
    fn(&mut Stage),
    fn(&mut Stage),
);

fn usual(_: &mut Settings) {}

fn of_node(stage: &Stage, change: impl FnOnce(&mut Node)) {
    stage.node.with(change);
}

const TROUBLES: [Trouble; 9] = [
    (
        LateReason::NotMined,
        usual,
        |stage| of_node(stage, |node| node.holds_back = true),
        |stage| of_node(stage, |node| node.holds_back = false),
    ),
    (
        LateReason::LowBalance,
        usual,
        |stage| {
            of_node(stage, |node| {
                node.balance_wei = U256::zero();
                node.refuse(|_| Some("insufficient funds for gas * price + value".to_owned()));
            });
        },
        |stage| {
            of_node(stage, |node| {
                node.balance_wei = U256::exp10(18);
                node.refuse(|_| None);
            });
        },
    ),
    (
        LateReason::FeeCapped,
        usual,
        |stage| {
            of_node(stage, |node| {
                node.base_fee_wei = U256::exp10(9) * 900;
                node.holds_back = true;
            });
        },
        |stage| of_node(stage, |node| node.holds_back = false),
    ),
    (
        LateReason::NoAnswer,
        usual,
        |stage| of_node(stage, |node| node.is_silent = true),
        |stage| of_node(stage, |node| node.is_silent = false),
    ),
    (
        LateReason::Reverted,
        usual,
        |stage| {
            of_node(stage, |node| {
                node.reason = Some("Only operator can call this function".to_owned());
            });
        },
        |stage| of_node(stage, |node| node.reason = None),
    ),
    (
        LateReason::UnpayablePlayer,
        usual,
        |stage| of_node(stage, |node| node.draw_reverts = 2),
        |_| {},
    ),
    (
        LateReason::StandingBy,
        |settings| settings.policy.standby_delay = Duration::from_secs(6),
        |_| {},
        |_| {},
    ),
    (
        LateReason::SwitchedOff,
        |settings| settings.automatic = false,
        |_| {},
        |stage| {
            let command = Command {
                action_id: "by hand".to_owned(),
                round_id: 7,
                kind: CommandKind::Draw,
            };
            stage.commands.send(command).unwrap();
        },
    ),
    (
        LateReason::StartedLate,
        |settings| settings.automatic = false,
        |_| {},
        |stage| {
            stage.settings.automatic = true;
            stage.restart();
        },
    ),
];

/// What the operator told last of that round.
fn told(stage: &Stage) -> Option<LateReason> {
    let statuses = stage.told.iter().rev();
    let of_round = statuses.filter_map(|update| match update {
        Update::Operator(status) => Some(status),
        _ => None,
    });
    let mut of_round = of_round.filter(|status| status.current_round_id == Some(7));
    of_round.next().and_then(|status| status.held_up_by)
}

#[test]
fn a_late_draw_has_the_reason_that_held_it_up() {
    for (reason, set, begins, ends) in TROUBLES {
        let mut settings = settings();
        set(&mut settings);
        let mut stage = Stage::with(settings, |_| {});
        stage.until(MIN - 4);
        begins(&mut stage);
        stage.until(MIN + 4);
        ends(&mut stage);
        stage.until(MIN + 60);
        assert_eq!(told(&stage), Some(reason));
        let drawn = stage.mined();
        assert_eq!(drawn.last(), Some(&(ActionKind::Draw, true)), "{reason:?}");
    }
}

#[test]
fn a_draw_in_time_has_no_reason_and_one_whose_block_nobody_foresaw_says_so() {
    let mut stage = Stage::new(|_| {});
    stage.until(MIN + 10);
    assert_eq!(stage.mined(), [(ActionKind::Draw, true)]);
    assert_eq!(told(&stage), None);

    let mut stage = Stage::new(|_| {});
    stage.until(MIN - 6);
    // Over so many seconds no block was ever made.
    stage.clock.advance(Duration::from_secs(2));
    stage.node.with(|node| node.mine(8));
    stage.turn();
    stage.until(MIN + 10);
    assert_eq!(told(&stage), Some(LateReason::Unforeseen));
}

#[test]
fn a_draw_whose_block_was_taken_back_says_so() {
    let mut stage = Stage::new(|_| {});
    stage.until(MIN + 2);
    assert_eq!(stage.mined(), [(ActionKind::Draw, true)]);
    stage.node.with(|node| node.reorg(1));
    stage.turn();
    assert_eq!(told(&stage), Some(LateReason::Reorg));
}
