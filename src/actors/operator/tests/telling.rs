//! What is told over a round: phases, alerts with their begin and end, and who cannot be paid.

use super::*;

#[test]
fn a_rehearsal_names_fees_and_settings_when_the_caps_are_too_low() {
    let mut stage = Stage::new(|node| node.base_fee_wei = U256::exp10(9) * 612);
    stage.until(MIN - 30);
    let rehearsal = stage.operator.reporter.status.rehearsal.clone().unwrap();
    let told = rehearsal.problems.join("; ");
    for part in ["612 gwei", "max_fee_gwei is 500", "max_tx_fee_ether is 1"] {
        assert!(told.contains(part), "{told}");
    }
    // It gets cheaper: the alert ends before the window opens.
    stage.node.with(|node| node.base_fee_wei = U256::exp10(9));
    stage.until(MIN - 8);
    assert_eq!(
        stage.alert_codes(),
        ["rehearsal firing", "rehearsal resolved"]
    );
}

#[test]
fn a_draw_that_no_block_can_make_pass_is_not_sent_and_the_round_is_stuck() {
    let mut stage = Stage::new(|node| {
        for id in 1..=3 {
            node.unpayable.push(Address::repeat_byte(id));
        }
    });
    stage.until(MAX + 200);
    let sent = stage.sent();
    assert!(sent.is_empty(), "{sent:?}");
    assert!(stage.phase().starts_with("stuck: "), "{}", stage.phase());
    let codes = stage.alert_codes();
    let count = |code: &str| codes.iter().filter(|told| *told == code).count();
    assert_eq!(count("unpayable_player firing"), 3);
    assert_eq!(count("stuck_round firing"), 1);
    assert!(
        stage.records().len() < 12,
        "one record serves all tries: {}",
        stage.records().len()
    );
    // They begin to take ether: the refund passes, at the latest an hour after.
    stage.node.with(|node| node.unpayable.clear());
    stage.until(MAX + 200 + 1_500);
    assert_eq!(stage.mined(), [(ActionKind::RefundExpired, true)]);
}

#[test]
fn where_a_share_can_be_paid_each_block_is_tried_and_the_cost_is_told() {
    let player = Address::repeat_byte(2);
    let mut stage = Stage::new(|node| {
        node.unpayable.push(player);
        node.draw_reverts = 4;
    });
    stage.until(MIN + 14);
    let reverted = [(ActionKind::Draw, false); 4];
    assert_eq!(stage.mined()[..4], reverted);
    assert_eq!(stage.mined()[4..], [(ActionKind::Draw, true)]);
    assert_eq!(stage.operator.reporter.status.consecutive_draw_failures, 0);
    // The player holds a third of the pot; each draw in vain takes 100,000 gas at 1 gwei.
    let alerts = stage.alerts();
    let costly = alerts.iter().rfind(|alert| {
        alert.code == AlertCode::UnpayablePlayer && alert.message.contains("have reverted")
    });
    let told = costly.expect("what it costs is told").message.clone();
    for part in [
        "a draw passes in 66.7 % of the blocks",
        "4 draws have reverted so far, for 0.0004 ETH of gas",
    ] {
        assert!(told.contains(part), "{told}");
    }
    let accused = alerts
        .into_iter()
        .filter(|alert| alert.code == AlertCode::UnpayablePlayer);
    let accused: Vec<_> = accused.map(|alert| alert.subject.clone()).collect();
    assert_eq!(accused[..1], [Subject::Player(player)]);
    assert!(
        accused
            .iter()
            .all(|subject| *subject == Subject::Player(player)),
        "{accused:?}"
    );
}

#[test]
fn an_action_that_is_refused_in_each_block_has_one_phase_and_one_alert() {
    let mut stage = Stage::new(|node| {
        node.reason = Some("Only operator can call this function".to_owned());
    });
    stage.until(MIN);
    let mut phases = std::collections::BTreeSet::new();
    while stage.node.with(|node| node.head().timestamp) < MIN + 60 {
        stage.block();
        phases.insert(stage.phase().split('(').next().unwrap().to_owned());
    }
    assert_eq!(phases.len(), 1, "{phases:?}");
    let codes = stage.alert_codes();
    assert_eq!(
        codes
            .iter()
            .filter(|told| *told == "action_blocked firing")
            .count(),
        1,
        "{codes:?}"
    );
}

#[test]
fn an_account_without_funds_is_told_of_once_and_draws_as_soon_as_it_has_some() {
    let mut stage = Stage::new(|node| {
        node.balance_wei = U256::zero();
        node.refuse(|_| Some("insufficient funds for gas * price + value".to_owned()));
    });
    stage.until(MIN + 30);
    let blocked = |stage: &Stage| {
        let told = stage.alert_codes().into_iter();
        told.filter(|told| told.starts_with("action_blocked"))
            .collect::<Vec<_>>()
    };
    assert_eq!(blocked(&stage), ["action_blocked firing"]);
    assert!(stage.operator.in_flight().is_none(), "nothing of it is out");
    let tries = stage.sent().len();
    assert!((10..20).contains(&tries), "one a block: {tries}");
    let records = stage.records().len();
    assert!(records <= 3, "one record serves all tries: {records}");
    stage.node.with(|node| {
        node.balance_wei = U256::exp10(18);
        node.refuse(|_| None);
    });
    stage.block();
    stage.block();
    assert_eq!(stage.mined(), [(ActionKind::Draw, true)]);
    let both = ["action_blocked firing", "action_blocked resolved"];
    assert_eq!(blocked(&stage), both);
}

#[test]
fn the_contracts_other_operator_is_a_condition_from_the_start() {
    let mut stage = Stage::new(|node| node.operator = Address::repeat_byte(9));
    let told = |stage: &Stage| {
        let codes = stage.alert_codes().into_iter();
        let told: Vec<String> = codes
            .filter(|told| told.starts_with("operator_changed"))
            .collect();
        told
    };
    stage.players.clear();
    stage.block();
    assert_eq!(told(&stage), ["operator_changed firing"]);
    let ours = stage.operator.reporter.status.address.unwrap();
    stage.node.with(|node| node.operator = ours);
    stage.block();
    assert_eq!(
        told(&stage),
        ["operator_changed firing", "operator_changed resolved"]
    );
}

#[test]
fn silence_over_a_window_is_told_and_so_is_its_end() {
    let mut stage = Stage::new(|_| {});
    stage.until(MIN - 10);
    stage.node.with(|node| node.is_silent = true);
    let unix_ms = stage.clock.unix_ms();
    stage.connection(false, unix_ms);
    stage.pass(150);
    let codes = stage.alert_codes();
    for code in ["chain_unreachable firing", "draw_overdue firing"] {
        assert_eq!(
            codes.iter().filter(|told| *told == code).count(),
            1,
            "{codes:?}"
        );
    }
    stage.node.with(|node| node.is_silent = false);
    stage.connection(true, stage.clock.unix_ms());
    stage
        .node
        .with(|node| node.mine(MAX + 10 - node.head().timestamp));
    stage.turn();
    stage.until(MAX + 20);
    let codes = stage.alert_codes();
    for code in [
        "chain_unreachable resolved",
        "draw_missed firing",
        "refund_sent firing",
        "draw_missed resolved",
    ] {
        assert_eq!(
            codes.iter().filter(|told| *told == code).count(),
            1,
            "{code}: {codes:?}"
        );
    }
    assert_eq!(stage.mined(), [(ActionKind::RefundExpired, true)]);
}

#[test]
fn a_crowd_is_told_while_bets_are_taken_and_before_a_refund_is_out_of_reach() {
    let mut stage = Stage::new(|_| {});
    let crowd = |count: u64| {
        let player = |id| (Address::from_low_u64_be(id), U256::exp10(15));
        (1..=count).map(player).collect()
    };
    let firing = "too_many_players firing".to_owned();
    // 70 % of 16,777,216 gas are less than a refund of 561 players needs, and more than one of 560.
    stage.players = crowd(560);
    stage.block();
    assert!(!stage.alert_codes().contains(&firing));
    stage.players = crowd(561);
    stage.block();
    let mut alerts = stage.alerts().into_iter();
    let alert = alerts.rfind(|alert| alert.code == AlertCode::TooManyPlayers);
    let message = alert.expect("it is told").message.clone();
    for part in [
        "561 players",
        "at most 801",
        "at most 1590",
        "no node has told",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_crowd_is_told_in_the_first_round_too_where_blocks_have_little_room() {
    let mut stage = Stage::new(|node| node.block_gas_limit = 10_000_000);
    let player = |id| (Address::from_low_u64_be(id), U256::exp10(15));
    stage.players = (1..=340).map(player).collect();
    stage.block();
    let mut alerts = stage.alerts().into_iter();
    let alert = alerts.rfind(|alert| alert.code == AlertCode::TooManyPlayers);
    let message = alert.expect("it is told").message.clone();
    for part in ["may use 10000000 gas refunds at most 47", "340 players"] {
        assert!(message.contains(part), "{message}");
    }
}

/// The alerts that were listed last.
fn listed(stage: &Stage) -> Vec<AlertCode> {
    let told = stage.told.iter().rev().find_map(|update| match update {
        Update::Alerts(change) => Some(&change.firing),
        _ => None,
    });
    let listed = told.into_iter().flatten();
    listed.map(|alert| alert.code).collect()
}

#[test]
fn that_fees_are_not_raised_ends_with_what_is_out_also_where_its_round_is_over() {
    let mut settings = settings();
    settings.max_spend_wei_per_day = U256::zero();
    settings.rules.tx_timeout = Duration::from_secs(60);
    let mut stage = Stage::with(settings, |node| node.holds_back = true);
    stage.until(MIN + 4);
    // Somebody else refunds: what is out is taken back, and that waits as well.
    let over = |node: &mut node::Node| node.ended_by = Some(ActionKind::RefundExpired);
    stage.node.with(over);
    stage.until(MIN + 100);
    assert_eq!(listed(&stage), [AlertCode::SpendLimit]);
    stage.node.with(|node| node.holds_back = false);
    stage.block();
    stage.block();
    assert_eq!(stage.mined(), [(ActionKind::Cancel, true)]);
    assert_eq!(listed(&stage), []);
}

#[test]
fn where_all_can_be_paid_a_draw_that_reverts_without_a_reason_accuses_nobody() {
    let mut stage = Stage::new(|node| node.draw_reverts = 3);
    stage.until(MIN + 4);
    assert_eq!(stage.mined(), [(ActionKind::Draw, false); 3]);
    let failures = |stage: &Stage| stage.operator.reporter.status.consecutive_draw_failures;
    assert_eq!(failures(&stage), 3, "they are counted");
    stage.until(MIN + 10);
    assert_eq!(stage.mined()[3..], [(ActionKind::Draw, true)]);
    assert_eq!(stage.alert_codes(), [""; 0]);
    assert_eq!(failures(&stage), 0);
}

#[test]
fn a_low_balance_is_told_once_and_so_is_its_end() {
    // It pays a draw and a half.
    let mut stage = Stage::new(|node| node.balance_wei = U256::exp10(15));
    stage.until(MIN + 10);
    assert_eq!(stage.mined(), [(ActionKind::Draw, true)]);
    let told = |stage: &Stage| {
        let codes = stage.alert_codes().into_iter();
        let told = codes.filter(|told| told.starts_with("low_balance"));
        told.collect::<Vec<String>>()
    };
    stage.pass(200);
    assert_eq!(told(&stage), ["low_balance firing"]);
    // It is topped up while nobody bets: that is no later told than a minute after.
    stage.node.with(|node| node.balance_wei = U256::exp10(18));
    stage.pass(60);
    assert_eq!(told(&stage), ["low_balance firing", "low_balance resolved"]);
    let before = stage.node.round_trips();
    stage.pass(200);
    assert_eq!(
        stage.node.round_trips(),
        before,
        "then nobody asks any more"
    );
}

#[test]
fn no_word_of_a_nodes_own_errors_is_told_in_public() {
    const WORDS: &str = "sesame http://10.0.0.7/v3/k3y opens";
    for method in [
        "eth_call",
        "eth_estimateGas",
        "eth_getTransactionCount",
        "eth_getBalance",
        "eth_sendRawTransaction",
        "eth_getTransactionReceipt",
        "eth_getBlockByNumber",
        "eth_gasPrice",
    ] {
        let mut stage = Stage::new(|node| {
            node.fail(method, error(-32_000, WORDS));
            node.refuse(|_| Some(format!("insufficient funds: {WORDS}")));
        });
        stage.until(MAX + 40);
        let told = format!("{:?} {}", stage.told, stage.phase());
        assert!(
            !told.contains("sesame") && !told.contains("k3y"),
            "{method}: {told}"
        );
    }
    // Nor of a pool's.
    for words in ["sesame", "invalid sender: sesame", "txpool is full: sesame"] {
        let mut stage = Stage::new(|node| node.refuse(move |_| Some(words.to_owned())));
        stage.until(MAX + 40);
        let told = format!("{:?} {}", stage.told, stage.phase());
        assert!(!told.contains("sesame"), "{words}: {told}");
    }
}
