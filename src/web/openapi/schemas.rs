//! The schemas of the answers. They are strict: every field is named and always there, so that a test over real answers
//! finds both a field that is missing and one that nobody described.

use serde_json::{json, Map, Value};

use crate::lottery::alert::AlertCode;
use crate::web::openapi::kinds::*;
use crate::web::openapi::rounds::{feed, history, late_reason, round, totals};

pub fn all() -> Value {
    let mut schemas = Map::new();
    for group in [
        shared(),
        health(),
        round(),
        history(),
        feed(),
        contract(),
        operator(),
    ] {
        schemas.extend(
            group
                .into_iter()
                .map(|(name, schema)| (name.to_owned(), schema)),
        );
    }
    Value::Object(schemas)
}

fn shared() -> Schemas {
    vec![
        (
            "Error",
            object(vec![(
                "error",
                object(vec![("code", text()), ("message", text())]),
            )]),
        ),
        (
            "AsOf",
            object(vec![
                ("blockNumber", nullable(integer())),
                ("blockHash", nullable(hash())),
                ("timestamp", nullable(integer())),
                ("syncing", boolean()),
            ]),
        ),
        (
            "Connection",
            object(vec![
                ("reachable", boolean()),
                ("since", integer()),
                ("problem", nullable(text())),
            ]),
        ),
        (
            "Finality",
            object(vec![
                ("safeBlock", integer()),
                ("finalizedBlock", integer()),
            ]),
        ),
        (
            "Document",
            json!({
                "type": "object",
                "required": ["openapi", "info", "servers", "paths", "components"],
            }),
        ),
    ]
}

fn health() -> Schemas {
    let component = object(vec![
        ("name", text()),
        ("running", boolean()),
        ("turning", boolean()),
        ("lastTurnSecondsAgo", integer()),
        ("restarts", integer()),
        ("lastError", nullable(text())),
    ]);
    let endpoint = object(vec![
        ("host", text()),
        (
            "healthy",
            described(boolean(), "it answers, and is not behind the others"),
        ),
        ("headBlock", nullable(integer())),
        ("latencyMs", nullable(integer())),
        ("lastError", nullable(text())),
        ("failing", array(text())),
    ]);
    let chain = object(vec![
        ("connection", reference("Connection")),
        (
            "blockTimeSeconds",
            nullable(json!({"type": "number", "minimum": 0})),
        ),
        ("chainTime", nullable(integer())),
        ("finality", reference("Finality")),
        ("reorgs", integer()),
    ]);
    vec![
        (
            "Checks",
            object(vec![
                ("status", one_of(&["ok", "failing"])),
                (
                    "failing",
                    json!({"type": "object", "additionalProperties": text()}),
                ),
            ]),
        ),
        (
            "Health",
            object(vec![
                ("asOf", reference("AsOf")),
                ("version", text()),
                ("commit", text()),
                ("healthy", boolean()),
                ("ready", reference("Checks")),
                ("components", array(component)),
                ("endpoints", array(endpoint)),
                ("connection", reference("Connection")),
                ("owed", nullable(text())),
                ("headAgeSeconds", nullable(integer())),
                ("drawOverdue", boolean()),
                ("balanceWei", nullable(decimal())),
                ("websocketClients", integer()),
            ]),
        ),
        (
            "Status",
            object(vec![
                ("asOf", reference("AsOf")),
                ("deployment", reference("Deployment")),
                ("round", reference("RoundStatus")),
                ("participants", object(totals())),
                ("lastRounds", array(reference("HistoryRow"))),
                ("operator", reference("Operator")),
                ("chain", chain),
                ("websocketClients", integer()),
            ]),
        ),
    ]
}

fn contract() -> Schemas {
    vec![
        (
            "ContractConfigStatus",
            object(vec![
                ("asOf", reference("AsOf")),
                ("publisher", address()),
                ("operator", address()),
                ("commissionBps", integer()),
                ("minBetWei", decimal()),
                ("bettingDurationSeconds", integer()),
                ("minDrawDelaySeconds", integer()),
                ("maxDrawDelaySeconds", integer()),
                ("minEndTimeExtensionSeconds", integer()),
                ("minParticipants", integer()),
            ]),
        ),
        (
            "Deployment",
            object(vec![
                ("chainId", integer()),
                ("contract", address()),
                ("explorerUrl", nullable(text())),
                (
                    "genesis",
                    described(
                        nullable(hash()),
                        "of the chain's first block; null while it is not known",
                    ),
                ),
            ]),
        ),
        (
            "ContractAddress",
            object(vec![
                ("address", address()),
                ("chainId", integer()),
                ("explorerUrl", nullable(text())),
            ]),
        ),
        (
            "Abi",
            array(json!({"type": "object", "required": ["type"]})),
        ),
    ]
}

fn operator_fields() -> Fields {
    let in_flight = object(vec![
        ("action", action_kind()),
        ("roundId", integer()),
        ("nonce", integer()),
        ("hashes", array(hash())),
        ("attempts", integer()),
    ]);
    let rehearsal = object(vec![
        ("roundId", integer()),
        ("timestamp", integer()),
        ("ready", boolean()),
        ("problems", array(text())),
    ]);
    let alert = object(vec![
        ("id", text()),
        (
            "code",
            one_of(
                &AlertCode::ALL
                    .iter()
                    .map(|code| code.label())
                    .collect::<Vec<_>>(),
            ),
        ),
        (
            "subject",
            described(
                nullable(text()),
                "the round, endpoint or player that it is about",
            ),
        ),
        ("state", one_of(&["firing", "resolved"])),
        ("severity", severity()),
        ("message", text()),
        ("roundId", nullable(integer())),
        ("since", integer()),
        ("timestamp", integer()),
    ]);
    vec![
        ("isRunning", boolean()),
        ("address", nullable(address())),
        ("keyLoaded", boolean()),
        (
            "phase",
            described(text(), "why it waits, or what it does, in words"),
        ),
        ("currentRoundId", nullable(integer())),
        ("scheduledDrawRoundId", nullable(integer())),
        ("scheduledDrawDueAt", nullable(integer())),
        ("lastEventTime", nullable(integer())),
        ("lastDrawAttempt", nullable(integer())),
        ("consecutiveDrawFailures", integer()),
        ("maxDrawRetries", integer()),
        ("watchdogLastCheck", nullable(integer())),
        ("inFlight", nullable(in_flight)),
        ("balanceWei", nullable(decimal())),
        ("rehearsal", nullable(rehearsal)),
        ("heldUpBy", nullable(late_reason())),
        ("alerts", array(alert)),
    ]
}

fn operator() -> Schemas {
    let mut status = operator_fields();
    status.push(("asOf", reference("AsOf")));
    vec![
        ("Operator", object(operator_fields())),
        ("OperatorStatus", object(status)),
        (
            "Accepted",
            object(vec![
                ("actionId", text()),
                ("roundId", integer()),
                ("location", text()),
            ]),
        ),
        (
            "Action",
            object(vec![
                ("id", text()),
                ("action", action_kind()),
                ("roundId", integer()),
                ("manual", boolean()),
                (
                    "state",
                    one_of(&["queued", "preparing", "pending", "done", "failed"]),
                ),
                ("attempts", integer()),
                ("hashes", array(hash())),
                ("blockNumber", nullable(integer())),
                ("gasUsed", nullable(integer())),
                ("error", nullable(text())),
                ("createdAt", integer()),
                ("updatedAt", integer()),
            ]),
        ),
    ]
}
