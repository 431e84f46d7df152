//! The live feed's items: the contract's events in words and under their names in the ABI, and the operator's alerts.

use serde_json::{json, Value};

use crate::chain::types::{to_checksum, Address};
use crate::lottery::alert::Severity;
use crate::lottery::event::LotteryEvent;
use crate::lottery::snapshot::{LiveFeedItem, Snapshot};
use crate::web::view::{address, as_of, ether, place, wei, with_finality};

pub fn feed_item(item: &LiveFeedItem) -> Value {
    match item {
        LiveFeedItem::Event(record) => {
            let mut body = json!({
                "id": item.id(),
                "type": record.event.name(),
                "message": sentence(&record.event),
                "details": event_args(&record.event),
                "severity": Severity::Info.label(),
                "timestamp": record.position.block_timestamp,
            });
            place(&mut body, &record.position);
            body
        }
        LiveFeedItem::Alert(told) => json!({
            "id": told.id,
            "type": "operator_alert",
            "message": told.message,
            "details": {"code": told.code, "roundId": told.round_id},
            "severity": told.severity.label(),
            "timestamp": told.unix_ms / 1000,
            "blockNumber": null,
            "transactionHash": null,
            "logIndex": null,
        }),
    }
}

/// GET /api/activities: newest first; None when `before` names no item of the feed.
pub fn activities(snapshot: &Snapshot, limit: usize, before: Option<&str>) -> Option<Value> {
    let mut items = snapshot.live_feed.iter().rev();
    if let Some(before) = before {
        items.find(|item| item.id() == before)?;
    }
    let labelled = |item: &LiveFeedItem| {
        let body = feed_item(item);
        match item {
            LiveFeedItem::Event(record) => {
                with_finality(body, &snapshot.finality, record.position.block_number)
            }
            LiveFeedItem::Alert(_) => {
                let mut body = body;
                body["finality"] = Value::Null;
                body
            }
        }
    };
    let page: Vec<Value> = items.by_ref().take(limit).map(labelled).collect();
    let more = items.next().is_some();
    let next_before = page.last().filter(|_| more).map(|item| item["id"].clone());
    Some(json!({"asOf": as_of(snapshot), "activities": page, "nextBefore": next_before}))
}

/// The event's arguments under their names in the ABI.
pub fn event_args(event: &LotteryEvent) -> Value {
    match event {
        LotteryEvent::BetPlaced {
            round_id,
            player,
            amount_wei,
            new_total_wei,
            timestamp,
        } => json!({
            "roundId": round_id, "player": address(*player), "amount": wei(*amount_wei),
            "newTotal": wei(*new_total_wei), "timestamp": timestamp,
        }),
        LotteryEvent::BettingDurationUpdated {
            old_duration_secs,
            new_duration_secs,
            timestamp,
        } => json!({
            "oldDuration": old_duration_secs, "newDuration": new_duration_secs, "timestamp": timestamp,
        }),
        LotteryEvent::EndTimeExtended {
            round_id,
            old_end_time,
            new_end_time,
            timestamp,
        } => json!({
            "roundId": round_id, "oldEndTime": old_end_time, "newEndTime": new_end_time, "timestamp": timestamp,
        }),
        LotteryEvent::MinBetAmountUpdated {
            old_amount_wei,
            new_amount_wei,
            timestamp,
        } => json!({
            "oldAmount": wei(*old_amount_wei), "newAmount": wei(*new_amount_wei), "timestamp": timestamp,
        }),
        LotteryEvent::MinParticipantsUpdated {
            old_min,
            new_min,
            timestamp,
        } => {
            json!({"oldMin": old_min, "newMin": new_min, "timestamp": timestamp})
        }
        LotteryEvent::OperatorUpdated {
            old_operator,
            new_operator,
            timestamp,
        } => json!({
            "oldOperator": address(*old_operator), "newOperator": address(*new_operator), "timestamp": timestamp,
        }),
        LotteryEvent::RoundCompleted {
            round_id,
            winner,
            total_pot_wei,
            participant_count,
            winner_prize_wei,
            publisher_commission_wei,
            random_seed,
            timestamp,
        } => json!({
            "roundId": round_id, "winner": address(*winner), "totalPot": wei(*total_pot_wei),
            "participantCount": participant_count, "winnerPrize": wei(*winner_prize_wei),
            "publisherCommission": wei(*publisher_commission_wei), "randomSeed": wei(*random_seed),
            "timestamp": timestamp,
        }),
        LotteryEvent::RoundCreated {
            round_id,
            start_time,
            end_time,
            min_draw_time,
            max_draw_time,
            timestamp,
        } => {
            json!({
                "roundId": round_id, "startTime": start_time, "endTime": end_time,
                "minDrawTime": min_draw_time, "maxDrawTime": max_draw_time, "timestamp": timestamp,
            })
        }
        LotteryEvent::RoundRefunded {
            round_id,
            total_refunded_wei,
            participant_count,
            reason,
            timestamp,
        } => {
            json!({
                "roundId": round_id, "totalRefunded": wei(*total_refunded_wei),
                "participantCount": participant_count, "reason": reason, "timestamp": timestamp,
            })
        }
        LotteryEvent::RoundStateChanged {
            round_id,
            old_state,
            new_state,
            timestamp,
        } => json!({
            "roundId": round_id, "oldState": old_state.number(), "newState": new_state.number(),
            "timestamp": timestamp,
        }),
        LotteryEvent::Withdrawn {
            to,
            amount_wei,
            timestamp,
        } => {
            json!({"to": address(*to), "amount": wei(*amount_wei), "timestamp": timestamp})
        }
    }
}

/// The event in words.
fn sentence(event: &LotteryEvent) -> String {
    match event {
        LotteryEvent::BetPlaced {
            round_id,
            player,
            amount_wei,
            ..
        } => {
            format!(
                "{} bet {} ETH in round {round_id}",
                short(*player),
                ether(*amount_wei)
            )
        }
        LotteryEvent::BettingDurationUpdated {
            old_duration_secs,
            new_duration_secs,
            ..
        } => {
            format!("Betting now lasts {new_duration_secs} s (was {old_duration_secs} s)")
        }
        LotteryEvent::EndTimeExtended {
            round_id,
            old_end_time,
            new_end_time,
            ..
        } => {
            let secs = new_end_time.saturating_sub(*old_end_time);
            format!("Betting in round {round_id} goes on {secs} s longer")
        }
        LotteryEvent::MinBetAmountUpdated {
            old_amount_wei,
            new_amount_wei,
            ..
        } => {
            format!(
                "The smallest bet is now {} ETH (was {} ETH)",
                ether(*new_amount_wei),
                ether(*old_amount_wei)
            )
        }
        LotteryEvent::MinParticipantsUpdated {
            old_min, new_min, ..
        } => {
            format!("A draw now needs {new_min} players (was {old_min})")
        }
        LotteryEvent::OperatorUpdated {
            old_operator,
            new_operator,
            ..
        } => {
            format!(
                "{} is the operator now (was {})",
                short(*new_operator),
                short(*old_operator)
            )
        }
        LotteryEvent::RoundCompleted {
            round_id,
            winner,
            winner_prize_wei,
            ..
        } => {
            format!(
                "{} won {} ETH in round {round_id}",
                short(*winner),
                ether(*winner_prize_wei)
            )
        }
        LotteryEvent::RoundCreated { round_id, .. } => {
            format!("Round {round_id} waits for its first bet")
        }
        LotteryEvent::RoundRefunded {
            round_id,
            total_refunded_wei,
            reason,
            ..
        } => {
            format!(
                "Round {round_id} was refunded, {} ETH in all: {reason}",
                ether(*total_refunded_wei)
            )
        }
        LotteryEvent::RoundStateChanged {
            round_id,
            old_state,
            new_state,
            ..
        } => {
            format!(
                "Round {round_id} went from {} to {}",
                old_state.label(),
                new_state.label()
            )
        }
        LotteryEvent::Withdrawn { to, amount_wei, .. } => {
            format!("{} withdrew {} ETH", short(*to), ether(*amount_wei))
        }
    }
}

fn short(address: Address) -> String {
    let text = to_checksum(&address);
    format!("{}…{}", &text[..6], &text[38..])
}
