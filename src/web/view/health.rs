//! What those who run the daemon ask first: status in one answer, threads, endpoints, failing checks.

use std::time::Instant;

use serde_json::{json, Map, Value};

use crate::base::thread::Component;
use crate::chain::endpoints::EndpointReport;
use crate::lottery::round::Phase;
use crate::lottery::snapshot::Snapshot;
use crate::web::view::{
    as_of, connection, deployment, finality, history, operator, round_status, totals, wei,
    Deployment,
};

/// Rows of the history in GET /api/status.
const STATUS_ROUNDS_LEN: usize = 5;

/// GET /api/status.
pub fn status(
    snapshot: &Snapshot,
    of: &Deployment,
    now: Instant,
    websocket_clients: usize,
) -> Value {
    let mut last_rounds = history(snapshot, STATUS_ROUNDS_LEN, None);
    json!({
        "asOf": as_of(snapshot),
        "deployment": deployment(of, snapshot),
        "round": round_status(snapshot, now),
        "participants": totals(snapshot),
        "lastRounds": last_rounds["rounds"].take(),
        "operator": operator(&snapshot.operator),
        "chain": {
            "connection": connection(&snapshot.connection),
            "blockTimeSeconds": snapshot.schedule.mean_spacing_secs,
            "chainTime": snapshot.chain_time.map(|time| time.at(now)),
            "finality": finality(&snapshot.finality),
            "reorgs": snapshot.reorgs_total,
        },
        "websocketClients": websocket_clients,
    })
}

/// What GET /api/health tells beside the snapshot.
pub struct Vitals<'a> {
    pub components: &'a [Component],
    pub endpoints: &'a [EndpointReport],
    /// The failing checks of /readyz.
    pub failing: &'a [(&'static str, String)],
    pub websocket_clients: usize,
}

/// GET /api/health: the details behind both probes, and the troubles that fail neither.
pub fn health(snapshot: &Snapshot, now: Instant, vitals: &Vitals) -> Value {
    let time = snapshot.chain_time;
    let phase = snapshot
        .round
        .as_ref()
        .zip(time)
        .map(|(round, time)| round.phase(time.at(now)));
    let turning = vitals.components.iter().all(|known| known.is_turning(now));
    json!({
        "asOf": as_of(snapshot),
        "version": env!("CARGO_PKG_VERSION"),
        "commit": env!("LOTTERY_COMMIT"),
        "healthy": turning,
        "ready": checks(vitals.failing),
        "components": vitals.components.iter().map(|known| component(known, now)).collect::<Vec<_>>(),
        "endpoints": vitals.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        "connection": connection(&snapshot.connection),
        "owed": snapshot.owed.sentence(),
        "headAgeSeconds": time.map(|time| now.saturating_duration_since(time.seen_at).as_secs()),
        "drawOverdue": phase == Some(Phase::Overdue),
        "balanceWei": snapshot.operator.own.balance_wei.map(wei),
        "websocketClients": vitals.websocket_clients,
    })
}

fn component(component: &Component, now: Instant) -> Value {
    json!({
        "name": component.name,
        "running": component.running,
        "turning": component.is_turning(now),
        "lastTurnSecondsAgo": now.saturating_duration_since(component.last_turn).as_secs(),
        "restarts": component.restarts_total,
        "lastError": component.last_error,
    })
}

fn endpoint(report: &EndpointReport) -> Value {
    let latency_ms = report
        .latency
        .map(|latency| u64::try_from(latency.as_millis()).unwrap_or(u64::MAX));
    json!({
        "host": report.host,
        "healthy": report.healthy,
        "headBlock": report.head,
        "latencyMs": latency_ms,
        "lastError": report.last_error,
        "failing": report.failing,
    })
}

/// The answer of a probe: what fails, by name, and why.
pub fn checks(failing: &[(&'static str, String)]) -> Value {
    let why: Map<String, Value> = failing
        .iter()
        .map(|(name, why)| ((*name).to_owned(), json!(why)))
        .collect();
    json!({"status": if failing.is_empty() { "ok" } else { "failing" }, "failing": why})
}
