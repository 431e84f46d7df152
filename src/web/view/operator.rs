//! The operator: its status, its alerts, and the life of each action.

use serde_json::{json, Value};

use crate::actors::webhook::format::alert_fields;
use crate::lottery::action::{ActionRecord, InFlight};
use crate::lottery::lateness::LateReason;
use crate::lottery::operator_status::{Rehearsal, ShownOperator};
use crate::lottery::snapshot::Snapshot;
use crate::web::view::{address, as_of, hash, wei};

/// GET /api/operator/status.
pub(crate) fn operator_status(snapshot: &Snapshot) -> Value {
    let mut body = operator(&snapshot.operator);
    body["asOf"] = as_of(snapshot);
    body
}

pub fn operator(shown: &ShownOperator) -> Value {
    let status = &shown.own;
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
        "heldUpBy": status.held_up_by.map(LateReason::label),
        "alerts": shown.alerts.iter().map(|told| alert_fields(told)).collect::<Vec<_>>(),
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

/// GET /api/operator/actions/ID.
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

/// The answer to a manual action that was handed to the operator.
pub fn accepted(action_id: &str, round_id: u64, location: &str) -> Value {
    json!({"actionId": action_id, "roundId": round_id, "location": location})
}

fn seconds(unix_ms: Option<u64>) -> Option<u64> {
    unix_ms.map(|unix_ms| unix_ms / 1000)
}
