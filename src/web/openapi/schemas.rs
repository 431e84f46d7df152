//! The schemas of the answers. They are strict: every field is named and always there, so that a test over real answers
//! finds both a field that is missing and one that nobody described.

use serde_json::{Map, Value};

use crate::lottery::alert::AlertCode;
use crate::web::openapi::kinds::Kind::*;
use crate::web::openapi::kinds::*;
use crate::web::openapi::rounds::{FEED, HISTORY, ROUND, TOTALS};

pub fn all() -> Value {
    let groups = [SHARED, HEALTH, ROUND, HISTORY, FEED, CONTRACT, OPERATOR];
    let schemas: Map<String, Value> = groups
        .into_iter()
        .flatten()
        .map(|(name, kind)| ((*name).to_owned(), kind.schema()))
        .collect();
    Value::Object(schemas)
}

const SHARED: &[Field] = &[
    (
        "Error",
        Object(&[("error", Object(&[("code", Text), ("message", Text)]))]),
    ),
    (
        "AsOf",
        Object(&[
            ("blockNumber", Nullable(&Integer)),
            ("blockHash", Nullable(&Hash)),
            ("timestamp", Nullable(&Integer)),
            ("syncing", Boolean),
        ]),
    ),
    (
        "Connection",
        Object(&[
            ("reachable", Boolean),
            ("since", Integer),
            ("problem", Nullable(&Text)),
        ]),
    ),
    (
        "Finality",
        Object(&[("safeBlock", Integer), ("finalizedBlock", Integer)]),
    ),
    (
        "Document",
        Having(&["openapi", "info", "servers", "paths", "components"]),
    ),
];

const COMPONENT: Kind = Object(&[
    ("name", Text),
    ("running", Boolean),
    ("turning", Boolean),
    ("lastTurnSecondsAgo", Integer),
    ("restarts", Integer),
    ("lastError", Nullable(&Text)),
]);

const ENDPOINT: Kind = Object(&[
    ("host", Text),
    (
        "healthy",
        Described(&Boolean, "it answers, and is not behind the others"),
    ),
    ("headBlock", Nullable(&Integer)),
    ("latencyMs", Nullable(&Integer)),
    ("lastError", Nullable(&Text)),
    ("failing", Array(&Text)),
]);

const CHAIN: Kind = Object(&[
    ("connection", Reference("Connection")),
    ("blockTimeSeconds", Nullable(&Number)),
    ("chainTime", Nullable(&Integer)),
    ("finality", Reference("Finality")),
    ("reorgs", Integer),
]);

const HEALTH: &[Field] = &[
    (
        "Checks",
        Object(&[
            ("status", OneOf(&["ok", "failing"])),
            ("failing", Named(&Text)),
        ]),
    ),
    (
        "Health",
        Object(&[
            AS_OF,
            ("version", Text),
            ("commit", Text),
            ("healthy", Boolean),
            ("ready", Reference("Checks")),
            ("components", Array(&COMPONENT)),
            ("endpoints", Array(&ENDPOINT)),
            ("connection", Reference("Connection")),
            ("owed", Nullable(&Text)),
            ("headAgeSeconds", Nullable(&Integer)),
            ("drawOverdue", Boolean),
            ("balanceWei", Nullable(&Decimal)),
            ("websocketClients", Integer),
        ]),
    ),
    (
        "Status",
        Object(&[
            AS_OF,
            ("deployment", Reference("Deployment")),
            ("round", Reference("RoundStatus")),
            ("participants", Object(TOTALS)),
            ("lastRounds", Array(&Reference("HistoryRow"))),
            ("operator", Reference("Operator")),
            ("chain", CHAIN),
            ("websocketClients", Integer),
        ]),
    ),
];

const CONTRACT: &[Field] = &[
    (
        "ContractConfigStatus",
        Object(&[
            AS_OF,
            ("publisher", Address),
            ("operator", Address),
            ("commissionBps", Integer),
            ("minBetWei", Decimal),
            ("bettingDurationSeconds", Integer),
            ("minDrawDelaySeconds", Integer),
            ("maxDrawDelaySeconds", Integer),
            ("minEndTimeExtensionSeconds", Integer),
            ("minParticipants", Integer),
        ]),
    ),
    (
        "Deployment",
        Object(&[
            ("chainId", Integer),
            ("contract", Address),
            ("explorerUrl", Nullable(&Text)),
            (
                "genesis",
                Described(
                    &Nullable(&Hash),
                    "of the chain's first block; null while it is not known",
                ),
            ),
        ]),
    ),
    (
        "ContractAddress",
        Object(&[
            ("address", Address),
            ("chainId", Integer),
            ("explorerUrl", Nullable(&Text)),
        ]),
    ),
    ("Abi", Array(&Having(&["type"]))),
];

const IN_FLIGHT: Kind = Object(&[
    ("action", ACTION),
    ("roundId", Integer),
    ("nonce", Integer),
    ("hashes", Array(&Hash)),
    ("attempts", Integer),
]);

const REHEARSAL: Kind = Object(&[
    ("roundId", Integer),
    ("timestamp", Integer),
    ("ready", Boolean),
    ("problems", Array(&Text)),
]);

const ALERT: Kind = Object(&[
    ("id", Text),
    (
        "code",
        Labels(|| AlertCode::ALL.iter().map(|code| code.label()).collect()),
    ),
    (
        "subject",
        Described(
            &Nullable(&Text),
            "the round, endpoint or player that it is about",
        ),
    ),
    ("state", OneOf(&["firing", "resolved"])),
    ("severity", SEVERITY),
    ("message", Text),
    ("roundId", Nullable(&Integer)),
    ("since", Integer),
    ("timestamp", Integer),
]);

const OPERATOR_FIELDS: &[Field] = &[
    ("isRunning", Boolean),
    ("address", Nullable(&Address)),
    ("keyLoaded", Boolean),
    (
        "phase",
        Described(&Text, "why it waits, or what it does, in words"),
    ),
    ("currentRoundId", Nullable(&Integer)),
    ("scheduledDrawRoundId", Nullable(&Integer)),
    ("scheduledDrawDueAt", Nullable(&Integer)),
    ("lastEventTime", Nullable(&Integer)),
    ("lastDrawAttempt", Nullable(&Integer)),
    ("consecutiveDrawFailures", Integer),
    ("maxDrawRetries", Integer),
    ("watchdogLastCheck", Nullable(&Integer)),
    ("inFlight", Nullable(&IN_FLIGHT)),
    ("balanceWei", Nullable(&Decimal)),
    ("rehearsal", Nullable(&REHEARSAL)),
    ("heldUpBy", Nullable(&LATE_REASON)),
    ("alerts", Array(&ALERT)),
];

const OPERATOR: &[Field] = &[
    ("Operator", Object(OPERATOR_FIELDS)),
    ("OperatorStatus", Joined(&[OPERATOR_FIELDS, &[AS_OF]])),
    (
        "Accepted",
        Object(&[("actionId", Text), ("roundId", Integer), ("location", Text)]),
    ),
    (
        "Action",
        Object(&[
            ("id", Text),
            ("action", ACTION),
            ("roundId", Integer),
            ("manual", Boolean),
            (
                "state",
                OneOf(&["queued", "preparing", "pending", "done", "failed"]),
            ),
            ("attempts", Integer),
            ("hashes", Array(&Hash)),
            ("blockNumber", Nullable(&Integer)),
            ("gasUsed", Nullable(&Integer)),
            ("error", Nullable(&Text)),
            ("createdAt", Integer),
            ("updatedAt", Integer),
        ]),
    ),
];
