//! From model to JSON: the only place where the public contract's keys are spelled. Pure.
//!
//! Wei and seeds are decimal strings, addresses EIP-55, hashes 0x lower case, times unix seconds. The parts of a
//! snapshot and the payloads of the updates have the same shapes, so that a client can lay one over the other.

use std::time::Instant;

use serde_json::{json, Map, Value};

use crate::base::thread::Component;
use crate::chain::endpoints::EndpointReport;
use crate::chain::types::{to_checksum, Address, H256, U256};
use crate::lottery::model::{
    ActionRecord, Alert, Bet, ConnectionStatus, ContractConfig, Finality, FinishedRound, InFlight,
    LiveFeedItem, LogPosition, LotteryEvent, OperatorStatus, Outcome, Participant, Rehearsal,
    Round, Severity, Snapshot, StoreEvent,
};
use crate::lottery::proof::{self, ProofInputs};

/// Items of the live feed and rows of the history in the snapshot message.
const SNAPSHOT_FEED_LEN: usize = 50;
const SNAPSHOT_HISTORY_LEN: usize = 20;

/// The type and payload of an update's message.
pub fn event(event: &StoreEvent, snapshot: &Snapshot) -> (&'static str, Value) {
    let (kind, mut payload) = match event {
        StoreEvent::RoundUpdate(running) => (
            "round_update",
            json!({"round": running.as_ref().map(|running| round(running, snapshot))}),
        ),
        StoreEvent::Participants(update) => (
            "participants_update",
            json!({
                "roundId": update.round_id,
                "totalParticipants": update.total_participants,
                "totalAmountWei": wei(update.total_amount_wei),
                "replacesAll": update.replaces_all,
                "changed": update.changed.iter().map(participant).collect::<Vec<_>>(),
            }),
        ),
        StoreEvent::HistoryUpdate(round) => (
            "history_update",
            json!({"round": history_row(round), "summary": history_summary(snapshot)}),
        ),
        StoreEvent::LiveFeed(item) => ("live_feed", json!({"item": feed_item(item)})),
        StoreEvent::BlockchainEvent(record) => (
            "blockchain_event",
            json!({
                "event": record.event.name(),
                "name": record.event.name(),
                "args": event_args(&record.event),
                "blockNumber": record.position.block_number,
                "transactionHash": hash(record.position.transaction_hash),
                "logIndex": record.position.log_index,
            }),
        ),
        StoreEvent::ConfigUpdate(config) => {
            ("config_update", json!({"config": contract_config(config)}))
        }
        StoreEvent::OperatorStatus(status) => {
            ("operator_status", json!({"operator": operator(status)}))
        }
        StoreEvent::OperatorAlert(told) => ("operator_alert", json!({"alert": alert(told)})),
        StoreEvent::Reorg(notice) => (
            "reorg",
            json!({"ancestor": notice.ancestor, "retracted": notice.retracted}),
        ),
        StoreEvent::Finality(finality) => ("finality", finality_json(finality)),
        StoreEvent::ConnectionStatus(status) => (
            "connection_status",
            json!({"connection": connection(status)}),
        ),
    };
    payload["asOf"] = as_of(snapshot);
    (kind, payload)
}

/// The payload of the snapshot message; the hub adds epoch and seq.
pub fn snapshot(snapshot: &Snapshot) -> Value {
    json!({
        "asOf": as_of(snapshot),
        "round": snapshot.round.as_ref().map(|running| round(running, snapshot)),
        "participants": {
            "roundId": snapshot.round.as_ref().map(|round| round.round_id),
            "totalParticipants": snapshot.participants.len(),
            "totalAmountWei": wei(snapshot.participants.total_amount_wei()),
            "participants": snapshot.participants.first_page().iter().map(participant).collect::<Vec<_>>(),
        },
        "history": {
            "rounds": snapshot.history.iter().take(SNAPSHOT_HISTORY_LEN).map(|round| history_row(round)).collect::<Vec<_>>(),
            "summary": history_summary(snapshot),
        },
        "liveFeed": snapshot.live_feed.iter().rev().take(SNAPSHOT_FEED_LEN).map(feed_item).collect::<Vec<_>>(),
        "operator": operator(&snapshot.operator),
        "config": snapshot.config.as_deref().map(contract_config),
        "connection": connection(&snapshot.connection),
        "finality": finality_json(&snapshot.finality),
    })
}

pub fn as_of(snapshot: &Snapshot) -> Value {
    match snapshot.head {
        Some(head) => json!({
            "blockNumber": head.number,
            "blockHash": hash(head.hash),
            "timestamp": head.timestamp,
            "syncing": snapshot.syncing,
        }),
        None => json!({"blockNumber": null, "blockHash": null, "timestamp": null, "syncing": true}),
    }
}

fn round(round: &Round, snapshot: &Snapshot) -> Value {
    json!({
        "roundId": round.round_id,
        "state": round.state.number(),
        "stateLabel": round.state.label(),
        "startTime": round.start_time,
        "endTime": round.end_time,
        "minDrawTime": round.min_draw_time,
        "maxDrawTime": round.max_draw_time,
        "totalPotWei": wei(round.total_pot_wei),
        "participantCount": round.participant_count,
        "minParticipants": snapshot.config.as_deref().map(|config| config.min_participants),
    })
}

/// GET /api/round/status: the round with its phase at chain time carried forward to `now`.
pub fn round_status(snapshot: &Snapshot, now: Instant) -> Value {
    let chain_time = snapshot.chain_time_at(now);
    let mut status = match &snapshot.round {
        Some(running) => round(running, snapshot),
        None => json!({"roundId": null}),
    };
    status["phase"] = json!(snapshot
        .round
        .as_ref()
        .map(|round| round.phase(chain_time).label()));
    status["chainTime"] = json!(chain_time);
    status["asOf"] = as_of(snapshot);
    status
}

fn participant(participant: &Participant) -> Value {
    json!({
        "address": address(participant.address),
        "totalAmountWei": wei(participant.total_amount_wei),
        "order": participant.order,
    })
}

pub fn participants(snapshot: &Snapshot, limit: usize, offset: usize) -> Value {
    let total = snapshot.participants.total_amount_wei();
    let rows: Vec<Value> = snapshot
        .participants
        .page(limit, offset)
        .iter()
        .map(|entry| {
            let mut row = participant(entry);
            row["share"] = json!(percent(entry.total_amount_wei, total));
            row
        })
        .collect();
    json!({
        "asOf": as_of(snapshot),
        "roundId": snapshot.round.as_ref().map(|round| round.round_id),
        "participants": rows,
        "totalParticipants": snapshot.participants.len(),
        "totalAmountWei": wei(total),
    })
}

pub fn player(snapshot: &Snapshot, player: Address) -> Value {
    let amount_wei = snapshot
        .participants
        .find(&player)
        .map_or(U256::zero(), |participant| participant.total_amount_wei);
    json!({
        "asOf": as_of(snapshot),
        "player": address(player),
        "roundId": snapshot.round.as_ref().map(|round| round.round_id),
        "totalAmountWei": wei(amount_wei),
        "winRate": percent(amount_wei, snapshot.participants.total_amount_wei()),
    })
}

/// A row of the history, without its bets.
pub fn history_row(round: &FinishedRound) -> Value {
    let mut row = json!({
        "roundId": round.round_id,
        "startTime": round.start_time,
        "endTime": round.end_time,
        "minDrawTime": round.min_draw_time,
        "maxDrawTime": round.max_draw_time,
        "totalPotWei": wei(round.total_pot_wei),
        "participantCount": round.participant_count,
        "winner": null,
        "winnerPrizeWei": null,
        "publisherCommissionWei": null,
        "randomSeed": null,
        "refundReason": null,
        "finishedAt": round.position.block_timestamp,
        "verdict": round.verdict.as_ref().map(|verdict| verdict.label()),
        "verdictWhy": round.verdict.as_ref().and_then(|verdict| verdict.why()),
    });
    match &round.outcome {
        Outcome::Completed {
            winner,
            winner_prize_wei,
            publisher_commission_wei,
            random_seed,
        } => {
            row["type"] = json!("RoundCompleted");
            row["stateLabel"] = json!("COMPLETED");
            row["winner"] = json!(address(*winner));
            row["winnerPrizeWei"] = json!(wei(*winner_prize_wei));
            row["publisherCommissionWei"] = json!(wei(*publisher_commission_wei));
            row["randomSeed"] = json!(wei(*random_seed));
        }
        Outcome::Refunded { reason } => {
            row["type"] = json!("RoundRefunded");
            row["stateLabel"] = json!("REFUNDED");
            row["refundReason"] = json!(reason);
        }
    }
    place(&mut row, &round.position);
    row
}

fn with_finality(mut item: Value, finality: &Finality, block_number: u64) -> Value {
    item["finality"] = json!(finality.label(block_number));
    item
}

pub fn history(snapshot: &Snapshot, limit: usize, before: Option<u64>) -> Value {
    let mut rows = snapshot
        .history
        .iter()
        .filter(|round| before.is_none_or(|before| round.round_id < before))
        .map(|round| {
            with_finality(
                history_row(round),
                &snapshot.finality,
                round.position.block_number,
            )
        });
    let page: Vec<Value> = rows.by_ref().take(limit).collect();
    let more = rows.next().is_some();
    let next_before = page
        .last()
        .filter(|_| more)
        .map(|row| row["roundId"].clone());
    json!({
        "asOf": as_of(snapshot),
        "rounds": page,
        "summary": history_summary(snapshot),
        "nextBefore": next_before,
    })
}

fn history_summary(snapshot: &Snapshot) -> Value {
    let summary = snapshot.history_summary();
    json!({
        "totalRounds": summary.total_rounds,
        "completedRounds": summary.completed_rounds,
        "refundedRounds": summary.refunded_rounds,
        "totalVolumeWei": wei(summary.total_volume_wei),
    })
}

/// GET /api/history/N: one round with its bets, its draw and its proof.
pub fn finished_round(snapshot: &Snapshot, round: &FinishedRound) -> Value {
    let mut body = with_finality(
        history_row(round),
        &snapshot.finality,
        round.position.block_number,
    );
    body["asOf"] = as_of(snapshot);
    body["bets"] = round.bets.iter().map(bet).collect();
    body["proof"] = proof_json(round);
    body
}

fn bet(bet: &Bet) -> Value {
    let mut row = json!({
        "player": address(bet.player),
        "amountWei": wei(bet.amount_wei),
        "timestamp": bet.position.block_timestamp,
    });
    place(&mut row, &bet.position);
    row
}

fn proof_json(round: &FinishedRound) -> Value {
    let Outcome::Completed {
        winner,
        random_seed,
        ..
    } = &round.outcome
    else {
        return Value::Null;
    };
    let delay = round
        .position
        .block_timestamp
        .checked_sub(round.min_draw_time);
    let mut body = json!({
        "seed": wei(*random_seed),
        "winner": address(*winner),
        "verdict": round.verdict.as_ref().map(|verdict| verdict.label()),
        "verdictWhy": round.verdict.as_ref().and_then(|verdict| verdict.why()),
        "drawDelaySeconds": delay.filter(|_| round.min_draw_time > 0),
        "inputs": null,
        "recomputedSeed": null,
        "recomputedWinner": null,
    });
    let Some(prevrandao) = round.prevrandao else {
        return body;
    };
    let inputs = ProofInputs {
        block_timestamp: round.position.block_timestamp,
        prevrandao,
        block_number: round.position.block_number,
        round_id: round.round_id,
        total_pot_wei: round.total_pot_wei,
        bets: &round.bets,
    };
    let seed = proof::seed(&inputs);
    body["inputs"] = json!({
        "timestamp": inputs.block_timestamp,
        "prevrandao": hash(prevrandao),
        "number": inputs.block_number,
        "roundId": inputs.round_id,
        "totalPotWei": wei(inputs.total_pot_wei),
    });
    body["recomputedSeed"] = json!(wei(seed));
    body["recomputedWinner"] =
        json!(proof::winner(seed, inputs.total_pot_wei, inputs.bets).map(address));
    body
}

fn feed_item(item: &LiveFeedItem) -> Value {
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

/// Newest first; None when `before` names no item of the feed.
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
            LiveFeedItem::Alert(_) => body,
        }
    };
    let page: Vec<Value> = items.by_ref().take(limit).map(labelled).collect();
    let more = items.next().is_some();
    let next_before = page.last().filter(|_| more).map(|item| item["id"].clone());
    Some(json!({"asOf": as_of(snapshot), "activities": page, "nextBefore": next_before}))
}

/// The event's arguments under their names in the ABI.
fn event_args(event: &LotteryEvent) -> Value {
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
pub fn sentence(event: &LotteryEvent) -> String {
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

pub fn contract_config(config: &ContractConfig) -> Value {
    json!({
        "publisher": address(config.publisher),
        "operator": address(config.operator),
        "commissionBps": config.commission_bps,
        "minBetWei": wei(config.min_bet_wei),
        "bettingDurationSeconds": config.betting_duration_secs,
        "minDrawDelaySeconds": config.min_draw_delay_secs,
        "maxDrawDelaySeconds": config.max_draw_delay_secs,
        "minEndTimeExtensionSeconds": config.min_end_time_extension_secs,
        "minParticipants": config.min_participants,
    })
}

pub fn operator(status: &OperatorStatus) -> Value {
    json!({
        "isRunning": status.is_running,
        "address": status.address.map(address),
        "keyLoaded": status.key_loaded,
        "phase": status.phase,
        "currentRoundId": status.current_round_id,
        "scheduledDrawRoundId": status.scheduled_draw_round_id,
        "scheduledDrawDueAt": status.scheduled_draw_due_at,
        "lastEventTime": seconds(status.last_event_unix_ms),
        "lastDrawAttempt": seconds(status.last_draw_attempt_unix_ms),
        "consecutiveDrawFailures": status.consecutive_draw_failures,
        "maxDrawRetries": status.max_draw_retries,
        "watchdogLastCheck": seconds(status.watchdog_last_check_unix_ms),
        "inFlight": status.in_flight.as_ref().map(in_flight),
        "balanceWei": status.balance_wei.map(wei),
        "rehearsal": status.rehearsal.as_ref().map(rehearsal),
        "alerts": status.alerts.iter().map(|told| alert(told)).collect::<Vec<_>>(),
    })
}

fn in_flight(flight: &InFlight) -> Value {
    json!({
        "action": flight.action.label(),
        "roundId": flight.round_id,
        "nonce": flight.nonce,
        "hashes": flight.hashes.iter().map(|known| hash(*known)).collect::<Vec<_>>(),
        "attempts": flight.attempts,
    })
}

fn rehearsal(rehearsal: &Rehearsal) -> Value {
    json!({
        "roundId": rehearsal.round_id,
        "timestamp": rehearsal.unix_ms / 1000,
        "ready": rehearsal.ready,
        "problems": rehearsal.problems,
    })
}

fn alert(alert: &Alert) -> Value {
    json!({
        "id": alert.id,
        "code": alert.code,
        "severity": alert.severity.label(),
        "message": alert.message,
        "roundId": alert.round_id,
        "timestamp": alert.unix_ms / 1000,
    })
}

pub fn action(action: &ActionRecord) -> Value {
    json!({
        "id": action.id,
        "action": action.kind.label(),
        "roundId": action.round_id,
        "manual": action.manual,
        "state": action.state.label(),
        "attempts": action.attempts,
        "hashes": action.hashes.iter().map(|known| hash(*known)).collect::<Vec<_>>(),
        "blockNumber": action.block_number,
        "gasUsed": action.gas_used,
        "error": action.error,
        "createdAt": action.created_unix_ms / 1000,
        "updatedAt": action.updated_unix_ms / 1000,
    })
}

pub fn connection(status: &ConnectionStatus) -> Value {
    json!({
        "reachable": status.reachable,
        "since": status.since_unix_ms / 1000,
        "problem": status.problem,
    })
}

fn finality_json(finality: &Finality) -> Value {
    json!({"safeBlock": finality.safe_block, "finalizedBlock": finality.finalized_block})
}

/// GET /api/status.
pub fn status(snapshot: &Snapshot, now: Instant, websocket_clients: usize) -> Value {
    let mut last_rounds = history(snapshot, 5, None);
    json!({
        "asOf": as_of(snapshot),
        "round": round_status(snapshot, now),
        "participants": {
            "totalParticipants": snapshot.participants.len(),
            "totalAmountWei": wei(snapshot.participants.total_amount_wei()),
        },
        "lastRounds": last_rounds["rounds"].take(),
        "operator": operator(&snapshot.operator),
        "chain": {
            "connection": connection(&snapshot.connection),
            "blockTimeSeconds": snapshot.schedule.mean_spacing_secs,
            "chainTime": snapshot.chain_time_at(now),
            "finality": finality_json(&snapshot.finality),
            "reorgs": snapshot.reorgs_total,
        },
        "websocketClients": websocket_clients,
    })
}

pub fn component(component: &Component, now: Instant) -> Value {
    json!({
        "name": component.name,
        "running": component.running,
        "turning": component.is_turning(now),
        "lastTurnSecondsAgo": now.saturating_duration_since(component.last_turn).as_secs(),
        "restarts": component.restarts_total,
        "lastError": component.last_error,
    })
}

pub fn endpoint(report: &EndpointReport) -> Value {
    json!({
        "host": report.host,
        "healthy": report.healthy,
        "headBlock": report.head,
        "latencyMs": report.latency.map(|latency| u64::try_from(latency.as_millis()).unwrap_or(u64::MAX)),
        "lastError": report.last_error,
    })
}

pub fn checks(failing: &[(&'static str, String)]) -> Value {
    let failing: Map<String, Value> = failing
        .iter()
        .map(|(name, why)| ((*name).to_owned(), json!(why)))
        .collect();
    json!({"status": if failing.is_empty() { "ok" } else { "failing" }, "failing": failing})
}

pub fn error(code: &str, message: &str) -> Value {
    json!({"error": {"code": code, "message": message}})
}

pub fn address(address: Address) -> String {
    to_checksum(&address)
}

fn place(item: &mut Value, position: &LogPosition) {
    item["blockNumber"] = json!(position.block_number);
    item["transactionHash"] = json!(hash(position.transaction_hash));
    item["logIndex"] = json!(position.log_index);
}

fn hash(hash: H256) -> String {
    format!("{hash:#x}")
}

fn wei(wei: U256) -> String {
    wei.to_string()
}

fn seconds(unix_ms: Option<u64>) -> Option<u64> {
    unix_ms.map(|unix_ms| unix_ms / 1000)
}

fn short(address: Address) -> String {
    let text = to_checksum(&address);
    format!("{}…{}", &text[..6], &text[38..])
}

/// Wei as ether, exact, without trailing zeros.
pub fn ether(wei: U256) -> String {
    let unit = U256::exp10(18);
    let fraction = format!("{:0>18}", (wei % unit).to_string());
    match fraction.trim_end_matches('0') {
        "" => (wei / unit).to_string(),
        fraction => format!("{}.{fraction}", wei / unit),
    }
}

/// `part` of `whole` in percent with six decimals, by integers alone; 0 of nothing.
fn percent(part: U256, whole: U256) -> f64 {
    let millionths = part
        .checked_mul(U256::from(100_000_000u64))
        .and_then(|scaled| scaled.checked_div(whole))
        .and_then(|scaled| u64::try_from(scaled).ok())
        .unwrap_or(0);
    // At most 10^8, which an f64 holds exactly.
    millionths as f64 / 1e6
}
