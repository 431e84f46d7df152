//! From model to JSON: the only place where the public contract's keys are spelled. Pure.
//!
//! Wei and seeds are decimal strings, addresses EIP-55, hashes 0x lower case, times unix seconds. The parts of a
//! snapshot and the payloads of the updates have the same shapes, so that a client can lay one over the other.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{json, Value};

use crate::actors::webhook::format::alert_fields;
use crate::chain::types::{to_checksum, Address, H256, U256};
use crate::lottery::event::LogPosition;
use crate::lottery::history::FinishedRound;
use crate::lottery::participants::Participant;
use crate::lottery::persistent::PersistentVec;
use crate::lottery::round::{ContractConfig, Round};
use crate::lottery::snapshot::{
    ConnectionStatus, Finality, LiveFeedItem, ReorgNotice, Snapshot, StoreEvent,
};

mod deployment;
mod health;
pub mod hero;
mod history;
mod items;
mod operator;
mod strip;
#[cfg(test)]
mod tests;
mod words;

pub(crate) use crate::lottery::words::ether;
pub use deployment::{contract_address, deployment, Deployment};
pub(crate) use health::{checks, health, status, Vitals};
pub(crate) use hero::{hero, Hero};
pub(crate) use history::{fairness, finished_round, history, verified_round};
pub(crate) use items::activities;
pub(crate) use operator::{accepted, action, operator_status};
pub(crate) use words::{counted, escape, grouped};

use history::{history_row, history_summary};
use items::{event_args, feed_item};
use operator::operator;

/// Items of the live feed and rows of the history in the snapshot message.
const SNAPSHOT_FEED_LEN: usize = 50;
const SNAPSHOT_HISTORY_LEN: usize = 20;
/// Of the snapshot's payload; what is left to 64 KiB is for the envelope.
const SNAPSHOT_BYTES_MAX: usize = 64 * 1024 - 512;

/// The type and payload of an update's message.
pub fn event(event: &StoreEvent, snapshot: &Snapshot) -> (&'static str, Value) {
    let (kind, mut payload) = match event {
        StoreEvent::RoundUpdate(running) => (
            "round_update",
            json!({"round": running.as_ref().map(round)}),
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
                "args": event_args(record),
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
        StoreEvent::OperatorAlert(told) => ("operator_alert", alert_fields(told)),
        StoreEvent::Reorg(notice) => ("reorg", reorg(notice, snapshot)),
        StoreEvent::Finality(known) => ("finality", finality(known)),
        StoreEvent::ConnectionStatus(status) => (
            "connection_status",
            json!({"connection": connection(status)}),
        ),
    };
    payload["asOf"] = as_of(snapshot);
    (kind, payload)
}

/// The payload of the snapshot message; the hub adds epoch and seq. Of the live feed it takes the newest items that the
/// message has room for, which is all of them but for the longest of rounds.
pub fn snapshot(snapshot: &Snapshot, of: &Deployment) -> Value {
    let mut participants = totals(snapshot);
    participants["roundId"] = json!(snapshot.round.as_ref().map(|round| round.round_id));
    participants["participants"] = snapshot
        .participants
        .first_page()
        .iter()
        .map(participant)
        .collect();
    let mut body = json!({
        "asOf": as_of(snapshot),
        "deployment": deployment(of, snapshot),
        "round": snapshot.round.as_ref().map(round),
        "participants": participants,
        "history": newest_history(&snapshot.history, snapshot),
        "operator": operator(&snapshot.operator),
        "config": snapshot.config.as_deref().map(contract_config),
        "connection": connection(&snapshot.connection),
        "finality": finality(&snapshot.finality),
        "liveFeed": [],
    });
    let mut bytes_left = SNAPSHOT_BYTES_MAX.saturating_sub(body.to_string().len());
    body["liveFeed"] = newest_items(&snapshot.live_feed)
        .map_while(|item| {
            // The comma between two items counts too.
            bytes_left = bytes_left.checked_sub(item.to_string().len() + 1)?;
            Some(item)
        })
        .collect();
    body
}

/// What a message without news says: the block that the client's state is of, and chain time carried forward to `now`.
pub(crate) fn heartbeat(snapshot: &Snapshot, now: Instant) -> Value {
    json!({
        "asOf": as_of(snapshot),
        "chainTime": snapshot.chain_time.map(|time| time.at(now)),
    })
}

/// What a reorg took away; history and live feed whole where it changed them, because older parts may have come back.
fn reorg(notice: &ReorgNotice, snapshot: &Snapshot) -> Value {
    let history = notice.history.as_deref();
    let live_feed = notice.live_feed.as_ref();
    json!({
        "ancestor": notice.ancestor,
        "retracted": notice.retracted,
        "history": history.map(|rounds| newest_history(rounds, snapshot)),
        "liveFeed": live_feed.map(|items| newest_items(items).collect::<Vec<_>>()),
    })
}

fn newest_history(rounds: &[Arc<FinishedRound>], snapshot: &Snapshot) -> Value {
    let rounds = rounds.iter().take(SNAPSHOT_HISTORY_LEN);
    json!({
        "rounds": rounds.map(|round| history_row(round)).collect::<Vec<_>>(),
        "summary": history_summary(snapshot),
    })
}

fn newest_items(items: &PersistentVec<LiveFeedItem>) -> impl Iterator<Item = Value> + '_ {
    items.iter().rev().take(SNAPSHOT_FEED_LEN).map(feed_item)
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

/// A round as the feed tells it: neither the phase, which chain time alone moves on, nor anything of the configuration,
/// so that no change but its own makes it stale.
fn round(round: &Round) -> Value {
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
    })
}

/// GET /api/round/status: the round with its phase at chain time carried forward to `now`; all null before the first
/// block.
pub(crate) fn round_status(snapshot: &Snapshot, now: Instant) -> Value {
    let chain_time = snapshot.chain_time.map(|time| time.at(now));
    let mut status = match &snapshot.round {
        Some(running) => round(running),
        None => json!({
            "roundId": null, "state": null, "stateLabel": null, "startTime": null, "endTime": null,
            "minDrawTime": null, "maxDrawTime": null, "totalPotWei": null, "participantCount": null,
        }),
    };
    let phase = snapshot.round.as_ref().zip(chain_time);
    status["phase"] = json!(phase.map(|(round, chain_time)| round.phase(chain_time).label()));
    status["minParticipants"] = json!(snapshot
        .config
        .as_deref()
        .map(|config| config.min_participants));
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

fn totals(snapshot: &Snapshot) -> Value {
    json!({
        "totalParticipants": snapshot.participants.len(),
        "totalAmountWei": wei(snapshot.participants.total_amount_wei()),
    })
}

/// GET /api/round/participants: by amount, descending; `share` is percent of the total.
pub fn participants(snapshot: &Snapshot, limit: usize, offset: usize) -> Value {
    let total_wei = snapshot.participants.total_amount_wei();
    let page = snapshot.participants.page(limit, offset);
    let rows = page.iter().map(|entry| {
        let mut row = participant(entry);
        row["share"] = json!(percent(entry.total_amount_wei, total_wei));
        row
    });
    let mut body = totals(snapshot);
    body["participants"] = rows.collect();
    body["asOf"] = as_of(snapshot);
    body["roundId"] = json!(snapshot.round.as_ref().map(|round| round.round_id));
    body
}

/// GET /api/round/player.
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

/// GET /api/contract/config; None before the configuration was read.
pub(crate) fn contract_config_status(snapshot: &Snapshot) -> Option<Value> {
    let mut body = contract_config(snapshot.config.as_deref()?);
    body["asOf"] = as_of(snapshot);
    Some(body)
}

fn contract_config(config: &ContractConfig) -> Value {
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

fn connection(status: &ConnectionStatus) -> Value {
    json!({
        "reachable": status.reachable,
        "since": status.since_unix_ms / 1000,
        "problem": status.problem,
    })
}

fn finality(finality: &Finality) -> Value {
    json!({"safeBlock": finality.safe_block, "finalizedBlock": finality.finalized_block})
}

/// An item of an HTTP answer says how settled it is; on the feed the client compares block numbers instead.
fn with_finality(mut item: Value, finality: &Finality, block_number: u64) -> Value {
    item["finality"] = json!(finality.label(block_number));
    item
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

/// `part` of `whole` in percent with six decimals, by integers alone; 0 of nothing.
fn percent(part: U256, whole: U256) -> f64 {
    let millionths = part
        .full_mul(U256::from(100_000_000u64))
        .checked_div(whole.into())
        .and_then(|scaled| u64::try_from(scaled).ok())
        .unwrap_or(0);
    // At most 10^8, which an f64 holds exactly.
    millionths as f64 / 1e6
}
