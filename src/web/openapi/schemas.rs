//! The schemas of the answers. They are strict: every field is named and always there, so that a test over real answers
//! finds both a field that is missing and one that nobody described.

use serde_json::{json, Map, Value};

use crate::lottery::alert::AlertCode;
use crate::lottery::event::LotteryEvent;
use crate::lottery::proof::{NumberSource, RandomnessSource};

pub const ADDRESS: &str = "^0x[0-9a-fA-F]{40}$";
const HASH: &str = "^0x[0-9a-f]{64}$";
const DECIMAL: &str = "^[0-9]+$";

pub fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

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

type Schemas = Vec<(&'static str, Value)>;
type Fields = Vec<(&'static str, Value)>;

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
        ("healthy", boolean()),
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

fn totals() -> Fields {
    vec![
        ("totalParticipants", integer()),
        ("totalAmountWei", decimal()),
    ]
}

fn round() -> Schemas {
    let phases = [
        "waiting",
        "betting",
        "closed",
        "draw_window",
        "overdue",
        "stuck",
    ];
    let participant = object(vec![
        ("address", address()),
        ("totalAmountWei", decimal()),
        (
            "order",
            described(integer(), "place in first-bet order, from 0"),
        ),
        ("share", percent()),
    ]);
    let mut participants = totals();
    participants.extend([
        ("asOf", reference("AsOf")),
        ("roundId", nullable(integer())),
        ("participants", array(participant)),
    ]);
    vec![
        (
            "RoundStatus",
            object(vec![
                ("asOf", reference("AsOf")),
                ("roundId", nullable(integer())),
                ("state", nullable(integer())),
                (
                    "stateLabel",
                    nullable(one_of(&[
                        "WAITING",
                        "BETTING",
                        "DRAWING",
                        "COMPLETED",
                        "REFUNDED",
                    ])),
                ),
                ("phase", nullable(one_of(&phases))),
                ("startTime", nullable(integer())),
                ("endTime", nullable(integer())),
                ("minDrawTime", nullable(integer())),
                ("maxDrawTime", nullable(integer())),
                ("totalPotWei", nullable(decimal())),
                ("participantCount", nullable(integer())),
                ("minParticipants", nullable(integer())),
                (
                    "chainTime",
                    described(
                        nullable(integer()),
                        "the newest block's time, carried forward by the daemon's monotonic clock",
                    ),
                ),
            ]),
        ),
        ("Participants", object(participants)),
        (
            "Player",
            object(vec![
                ("asOf", reference("AsOf")),
                ("player", address()),
                ("roundId", nullable(integer())),
                ("totalAmountWei", decimal()),
                ("winRate", percent()),
            ]),
        ),
    ]
}

/// Of an item that was logged.
fn place() -> Fields {
    vec![
        ("blockNumber", integer()),
        ("transactionHash", hash()),
        ("logIndex", integer()),
        ("finality", one_of(&["latest", "safe", "finalized"])),
    ]
}

fn history_row() -> Fields {
    let mut row = vec![
        ("roundId", integer()),
        ("type", one_of(&["RoundCompleted", "RoundRefunded"])),
        ("stateLabel", one_of(&["COMPLETED", "REFUNDED"])),
        ("startTime", integer()),
        ("endTime", integer()),
        ("minDrawTime", integer()),
        ("maxDrawTime", integer()),
        ("totalPotWei", decimal()),
        ("participantCount", integer()),
        ("winner", nullable(address())),
        ("winnerPrizeWei", nullable(decimal())),
        ("publisherCommissionWei", nullable(decimal())),
        ("randomSeed", nullable(decimal())),
        ("refundReason", nullable(text())),
        ("finishedAt", integer()),
    ];
    row.push(("winnerTotalAmountWei", nullable(decimal())));
    row.extend(verdict());
    row.extend(place());
    row
}

/// What the check of a round's end says, and how its draw came about.
fn verdict() -> Fields {
    vec![
        ("verdict", one_of(&["verified", "mismatch", "unverifiable"])),
        ("verdictWhy", nullable(text())),
        (
            "drawDelaySeconds",
            described(
                nullable(integer()),
                "chain time from the first block that allowed the draw to the draw's block",
            ),
        ),
        (
            "drawDelayBlocks",
            described(
                nullable(integer()),
                "blocks from the first one that allowed the draw; 0 is that block",
            ),
        ),
        (
            "drawPoint",
            described(nullable(decimal()), "the seed modulo the pot, in wei"),
        ),
    ]
}

fn history() -> Schemas {
    let mut bet = vec![
        ("player", address()),
        ("amountWei", decimal()),
        ("timestamp", integer()),
    ];
    bet.extend(place());
    let inputs = object(vec![
        ("timestamp", integer()),
        ("prevrandao", hash()),
        (
            "prevrandaoSource",
            one_of(&RandomnessSource::ALL.map(RandomnessSource::label)),
        ),
        ("number", integer()),
        (
            "numberSource",
            one_of(&NumberSource::ALL.map(NumberSource::label)),
        ),
        ("roundId", integer()),
        ("totalPotWei", decimal()),
    ]);
    let mut proof = vec![
        (
            "inputs",
            described(
                nullable(inputs),
                "keccak256 of timestamp, prevrandao, number, roundId and totalPotWei as 32-byte big-endian words is the seed",
            ),
        ),
        ("seed", decimal()),
        ("winner", address()),
        ("recomputedSeed", nullable(decimal())),
        ("recomputedWinner", nullable(address())),
    ];
    let sources = RandomnessSource::ALL.map(RandomnessSource::label);
    let randomness = object(vec![
        (
            "source",
            described(one_of(&sources), "where the PREVRANDAO was read"),
        ),
        (
            "knownAhead",
            described(
                boolean(),
                "it was a constant or a difficulty: whoever sent the draw could have computed the winner before",
            ),
        ),
    ]);
    proof.push(("randomness", nullable(randomness)));
    proof.extend(verdict());
    let mut finished = history_row();
    finished.extend([
        ("asOf", reference("AsOf")),
        ("bets", array(object(bet))),
        ("proof", nullable(object(proof))),
    ]);
    vec![
        ("HistoryRow", object(history_row())),
        (
            "History",
            object(vec![
                ("asOf", reference("AsOf")),
                ("rounds", array(reference("HistoryRow"))),
                (
                    "summary",
                    object(vec![
                        ("totalRounds", integer()),
                        ("completedRounds", integer()),
                        ("refundedRounds", integer()),
                        ("totalVolumeWei", decimal()),
                    ]),
                ),
                ("nextBefore", nullable(integer())),
            ]),
        ),
        ("FinishedRound", object(finished)),
        ("Fairness", fairness()),
    ]
}

fn fairness() -> Value {
    object(vec![
        ("asOf", reference("AsOf")),
        ("drawn", integer()),
        ("refunded", integer()),
        (
            "verified",
            described(
                integer(),
                "rounds whose end follows from the chain; refunds are checked too",
            ),
        ),
        ("mismatched", integer()),
        ("unverifiable", integer()),
        (
            "timedDraws",
            described(integer(), "draws whose delay is known"),
        ),
        (
            "firstBlockDraws",
            described(
                integer(),
                "draws in the first block that allowed them, among those timed",
            ),
        ),
        ("longestDelaySeconds", nullable(integer())),
        ("longestDelayBlocks", nullable(integer())),
        (
            "randomnessKnownAhead",
            described(
                nullable(boolean()),
                "PREVRANDAO could be known before the block; null before any draw told",
            ),
        ),
    ])
}

fn feed() -> Schemas {
    let activity = object(vec![
        ("id", text()),
        (
            "type",
            described(
                one_of(&[LotteryEvent::NAMES, &["operator_alert"]].concat()),
                "the contract event's name, or operator_alert",
            ),
        ),
        ("message", text()),
        (
            "details",
            described(
                json!({"type": "object"}),
                "the event's arguments under their names in the ABI",
            ),
        ),
        ("severity", severity()),
        ("timestamp", integer()),
        ("blockNumber", nullable(integer())),
        ("transactionHash", nullable(hash())),
        ("logIndex", nullable(integer())),
        (
            "finality",
            nullable(one_of(&["latest", "safe", "finalized"])),
        ),
    ]);
    vec![(
        "Activities",
        object(vec![
            ("asOf", reference("AsOf")),
            ("activities", array(activity)),
            ("nextBefore", nullable(text())),
        ]),
    )]
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

fn action_kind() -> Value {
    one_of(&[
        "draw",
        "refund_expired",
        "refund_forced",
        "extend",
        "cancel",
    ])
}

fn severity() -> Value {
    one_of(&["info", "warning", "critical"])
}

/// Every field is required, and there are no others.
fn object(fields: Fields) -> Value {
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let properties: Map<String, Value> = fields
        .iter()
        .map(|(name, schema)| ((*name).to_owned(), schema.clone()))
        .collect();
    json!({
        "type": "object",
        "required": names,
        "properties": properties,
        "additionalProperties": false,
    })
}

fn array(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

fn nullable(schema: Value) -> Value {
    json!({"anyOf": [schema, {"type": "null"}]})
}

fn described(mut schema: Value, description: &str) -> Value {
    schema["description"] = json!(description);
    schema
}

fn one_of(values: &[&str]) -> Value {
    json!({"type": "string", "enum": values})
}

fn integer() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn percent() -> Value {
    json!({"type": "number", "minimum": 0, "maximum": 100, "description": "percent of the pot"})
}

fn boolean() -> Value {
    json!({"type": "boolean"})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn decimal() -> Value {
    json!({"type": "string", "pattern": DECIMAL})
}

fn address() -> Value {
    json!({"type": "string", "pattern": ADDRESS})
}

fn hash() -> Value {
    json!({"type": "string", "pattern": HASH})
}
