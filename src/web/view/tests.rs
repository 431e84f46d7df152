//! Every message of the feed with its payload, and the shapes that a client lays over each other.

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use super::*;
use crate::lottery::event::EventRecord;
use crate::lottery::history::Outcome;
use crate::lottery::participants::ParticipantsLedger;
use crate::lottery::participants::ParticipantsUpdate;
use crate::lottery::round::RoundState;
use crate::lottery::snapshot::{LiveFeedItem, ReorgNotice};
use crate::web::{fixture, openapi};

#[test]
fn every_message_has_its_type_and_payload() {
    let state = fixture::snapshot();
    let whole = snapshot(&state, &Deployment::default());
    let record = Arc::new(EventRecord {
        event: fixture::every_event().remove(0),
        position: fixture::position(980, 4),
    });
    let item = LiveFeedItem::Event(record.clone());
    let players = ParticipantsUpdate {
        round_id: 7,
        total_participants: 3,
        total_amount_wei: fixture::cents(20),
        replaces_all: true,
        changed: state.participants.first_page().to_vec(),
    };
    let notice = ReorgNotice {
        ancestor: Some(979),
        retracted: vec![item.id()],
        history: Some(state.history.clone()),
        live_feed: None,
    };
    let config = state.config.clone().unwrap();
    let told = Arc::new(fixture::alert());
    let table = [
        (
            StoreEvent::RoundUpdate(state.round.clone()),
            "round_update",
            json!({"round": whole["round"]}),
        ),
        (
            StoreEvent::RoundUpdate(None),
            "round_update",
            json!({"round": null}),
        ),
        (
            StoreEvent::Participants(players),
            "participants_update",
            json!({
                "roundId": 7, "totalParticipants": 3, "totalAmountWei": "200000000000000000", "replacesAll": true,
                "changed": whole["participants"]["participants"],
            }),
        ),
        (
            StoreEvent::HistoryUpdate(state.history[0].clone()),
            "history_update",
            json!({"round": whole["history"]["rounds"][0], "summary": whole["history"]["summary"]}),
        ),
        (
            StoreEvent::LiveFeed(item.clone()),
            "live_feed",
            json!({"item": whole["liveFeed"][11]}),
        ),
        (
            StoreEvent::BlockchainEvent(record),
            "blockchain_event",
            json!({
                "event": "BetPlaced", "name": "BetPlaced", "args": whole["liveFeed"][11]["details"],
                "blockNumber": 980, "logIndex": 4,
                "transactionHash": whole["liveFeed"][11]["transactionHash"],
            }),
        ),
        (
            StoreEvent::ConfigUpdate(config),
            "config_update",
            json!({"config": whole["config"]}),
        ),
        (
            StoreEvent::OperatorStatus(state.operator.clone()),
            "operator_status",
            json!({"operator": whole["operator"]}),
        ),
        (
            StoreEvent::OperatorAlert(told),
            "operator_alert",
            whole["operator"]["alerts"][0].clone(),
        ),
        (
            StoreEvent::Reorg(notice),
            "reorg",
            json!({
                "ancestor": 979, "retracted": [item.id()], "history": whole["history"], "liveFeed": null,
            }),
        ),
        (
            StoreEvent::Finality(state.finality),
            "finality",
            whole["finality"].clone(),
        ),
        (
            StoreEvent::ConnectionStatus(state.connection.clone()),
            "connection_status",
            json!({"connection": whole["connection"]}),
        ),
    ];
    let described = openapi::document();
    let described = &described["components"]["schemas"]["FeedMessage"]["properties"]["type"];
    let described = described["enum"].as_array().unwrap();
    for (happened, kind, mut payload) in table {
        payload["asOf"] = json!({
            "blockNumber": 1_000,
            "blockHash": format!("0x{}", "aa".repeat(32)),
            "timestamp": 10_000,
            "syncing": false,
        });
        assert_eq!(event(&happened, &state), (kind, payload));
        assert!(described.contains(&json!(kind)), "{kind}");
    }
}

#[test]
fn a_snapshot_spells_its_parts() {
    let whole = snapshot(&fixture::snapshot(), &Deployment::default());
    assert_eq!(
        whole["round"],
        json!({
            "roundId": 7, "state": 1, "stateLabel": "BETTING", "startTime": 9_900, "endTime": 10_080,
            "minDrawTime": 10_085, "maxDrawTime": 10_260, "totalPotWei": "200000000000000000", "participantCount": 3,
        })
    );
    let players = &whole["participants"]["participants"];
    assert_eq!(
        players[1],
        json!({
            "address": "0x0000000000000000000000000000000000000001", "order": 0,
            "totalAmountWei": "70000000000000000",
        })
    );
    let row = &whole["history"]["rounds"][0];
    assert_eq!(
        (
            &row["type"],
            &row["stateLabel"],
            &row["verdict"],
            &row["verdictWhy"]
        ),
        (
            &json!("RoundCompleted"),
            &json!("COMPLETED"),
            &json!("verified"),
            &json!(null)
        )
    );
    assert!(row.get("bets").is_none() && row.get("finality").is_none());
    // A refund is checked too; nothing was drawn in it.
    let refund = &whole["history"]["rounds"][1];
    assert_eq!(
        (&refund["verdict"], &refund["drawPoint"]),
        (&json!("verified"), &json!(null))
    );
    assert_eq!(
        (&row["drawDelaySeconds"], &row["drawDelayBlocks"]),
        (&json!(7), &json!(1))
    );
    assert_eq!(whole["liveFeed"][0]["id"], "alert-9999000-1");
    assert_eq!(whole["liveFeed"][1]["id"], "990-4-00000000");
    assert!(whole["liveFeed"][1].get("finality").is_none());
}

#[test]
fn before_the_first_block_all_is_null() {
    let whole = snapshot(&fixture::empty_snapshot(), &Deployment::default());
    assert_eq!(
        whole["asOf"],
        json!({"blockNumber": null, "blockHash": null, "timestamp": null, "syncing": true})
    );
    assert_eq!(
        (&whole["round"], &whole["config"]),
        (&json!(null), &json!(null))
    );
    let status = round_status(&fixture::empty_snapshot(), Instant::now());
    assert_eq!(
        (&status["phase"], &status["chainTime"]),
        (&json!(null), &json!(null))
    );
}

#[test]
fn events_are_told_in_words() {
    let sentences: Vec<String> = fixture::every_event()
        .into_iter()
        .map(|event| {
            let position = fixture::position(980, 4);
            let item = LiveFeedItem::Event(Arc::new(EventRecord { event, position }));
            feed_item(&item)["message"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(
        sentences,
        [
            "0x0000…0001 bet 0.05 ETH in round 7",
            "Betting now lasts 240 s (was 180 s)",
            "Betting in round 7 goes on 60 s longer",
            "The smallest bet is now 0.000000000000000001 ETH (was 0.001 ETH)",
            "A draw now needs 3 players (was 2)",
            "0x0000…000E is the operator now (was 0x0000…000d)",
            "0x0000…0001 won 0.095 ETH in round 6",
            "Round 7 waits for its first bet",
            "Round 5 was refunded, 3 ETH in all: Insufficient participants",
            "Round 7 went from WAITING to BETTING",
            "0x0000…000F withdrew 1 ETH",
        ]
    );
}

/// The names that `details` and `args` use are those of the ABI, all of them and in no other spelling.
#[test]
fn arguments_have_the_names_of_the_abi() {
    let abi: Value = serde_json::from_str(crate::lottery::contract::ABI_JSON).unwrap();
    let declared = |name: &str| -> Vec<&str> {
        let entries = abi.as_array().unwrap().iter();
        let event = entries
            .filter(|entry| entry["type"] == "event")
            .find(|entry| entry["name"] == name)
            .unwrap();
        let mut names: Vec<&str> = event["inputs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|input| input["name"].as_str().unwrap())
            .collect();
        names.sort_unstable();
        names
    };
    for event in fixture::every_event() {
        let position = fixture::position(980, 4);
        let args = event_args(&EventRecord {
            event: event.clone(),
            position,
        });
        let mut used: Vec<&str> = args
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        used.sort_unstable();
        assert_eq!(used, declared(event.name()), "{}", event.name());
    }
}

/// 200 players, 20 rounds and 50 items; each pot is all ether there is, and the players of one share it.
#[test]
fn a_full_snapshot_stays_under_64_kib() {
    let mut state = fixture::snapshot();
    let amount = |n: u64| U256::from(120_000_000u64) * U256::exp10(18) + n * 7_777;
    let player = |n: u64| Address::from_slice(&[0xab; 20]) ^ Address::from_low_u64_be(n);
    let players = (0..5_000).map(|n| (player(n), amount(n) / 200));
    state.participants = ParticipantsLedger::from_bets(players).view().clone();
    let won = |n: u64| {
        let mut round = fixture::completed(1_000_000 + n, 990);
        round.total_pot_wei = amount(n);
        round.outcome = Outcome::Completed {
            winner: player(n),
            winner_prize_wei: amount(n),
            publisher_commission_wei: amount(n),
            random_seed: U256::MAX,
        };
        round.position.transaction_hash = H256::repeat_byte(0xfe);
        Arc::new(round)
    };
    state.history = Arc::new((0..20).rev().map(won).collect());
    let bet = |n: u64| {
        let event = crate::lottery::event::LotteryEvent::BetPlaced {
            round_id: 1_000_000,
            player: player(n),
            amount_wei: amount(n) / 200,
            new_total_wei: amount(n),
        };
        let position = fixture::position(100_000_000 + n, 1_000);
        LiveFeedItem::Event(Arc::new(EventRecord { event, position }))
    };
    state.live_feed = (0..200).map(bet).collect();
    let whole = snapshot(&state, &Deployment::default());
    assert_eq!(
        whole["participants"]["participants"]
            .as_array()
            .unwrap()
            .len(),
        200
    );
    assert_eq!(whole["history"]["rounds"].as_array().unwrap().len(), 20);

    assert_eq!(whole["liveFeed"].as_array().unwrap().len(), 50);
    assert_eq!(whole["liveFeed"][0]["blockNumber"], 100_000_199);
    let bytes = whole.to_string().len();
    assert!(bytes <= SNAPSHOT_BYTES_MAX, "{bytes}");

    // Where the items are longer than the message has room for, the oldest of them stay out.
    let endless = |n: u64| {
        let mut alert = fixture::alert();
        alert.id = format!("alert-{n}");
        alert.message = "x".repeat(2_000);
        LiveFeedItem::Alert(Arc::new(alert))
    };
    state.live_feed = (0..200).map(endless).collect();
    let whole = snapshot(&state, &Deployment::default());
    let items = whole["liveFeed"].as_array().unwrap();
    assert!(!items.is_empty() && items.len() < 50);
    assert_eq!(items[0]["id"], "alert-199");
    assert!(whole.to_string().len() <= SNAPSHOT_BYTES_MAX);
}

#[test]
fn the_phase_follows_chain_time() {
    let mut state = fixture::snapshot();
    let now = Instant::now();
    fixture::seen_at(&mut state, now);
    for (time, phase) in [
        (10_080, "betting"),
        (10_081, "closed"),
        (10_084, "closed"),
        (10_085, "draw_window"),
        (10_260, "draw_window"),
        (10_261, "overdue"),
    ] {
        let later = now + std::time::Duration::from_secs(time - fixture::HEAD_TIME);
        let status = round_status(&state, later);
        assert_eq!(
            (&status["phase"], &status["chainTime"]),
            (&json!(phase), &json!(time))
        );
    }
    state.round.as_mut().unwrap().state = RoundState::Waiting;
    assert_eq!(round_status(&state, now)["phase"], "waiting");
}

#[test]
fn percents_have_six_decimals() {
    for (part, whole, expected) in [
        (0u64, 0u64, "0.0"),
        (5, 0, "0.0"),
        (0, 3, "0.0"),
        (1, 3, "33.333333"),
        (2, 3, "66.666666"),
        (3, 3, "100.0"),
        (1, 7_000, "0.014285"),
    ] {
        let found = json!(percent(part.into(), whole.into())).to_string();
        assert_eq!(found, expected, "{part} of {whole}");
    }
    let huge = U256::MAX;
    assert_eq!(percent(huge, huge), 100.0);
    assert_eq!(percent(huge / 2, huge), 49.999999);
}
