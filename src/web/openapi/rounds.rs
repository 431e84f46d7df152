//! The schemas of rounds, running and finished, and of what happens in them.

use serde_json::{json, Value};

use crate::lottery::event::LotteryEvent;
use crate::lottery::lateness::LateReason;
use crate::lottery::proof::{NumberSource, RandomnessSource};
use crate::web::openapi::kinds::*;

pub fn totals() -> Fields {
    vec![
        ("totalParticipants", integer()),
        ("totalAmountWei", decimal()),
    ]
}

pub fn round() -> Schemas {
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
pub fn place() -> Fields {
    vec![
        ("blockNumber", integer()),
        ("transactionHash", hash()),
        ("logIndex", integer()),
        ("finality", one_of(&["latest", "safe", "finalized"])),
    ]
}

pub fn history_row() -> Fields {
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

/// What held up a draw.
pub(crate) fn late_reason() -> Value {
    let labels: Vec<&str> = LateReason::ALL.iter().map(|it| it.label()).collect();
    one_of(&labels)
}

/// What the check of a round's end says, and how its draw came about.
pub fn verdict() -> Fields {
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
            "drawDelayReason",
            described(
                nullable(late_reason()),
                "what held up a draw that was not in that block, as this daemon saw it; null where it does not know",
            ),
        ),
        (
            "drawPoint",
            described(nullable(decimal()), "the seed modulo the pot, in wei"),
        ),
    ]
}

pub fn history() -> Schemas {
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
        ("FinishedRound", without_need(object(finished), "asOf")),
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

pub fn feed() -> Schemas {
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
    vec![
        (
            "Activities",
            object(vec![
                ("asOf", reference("AsOf")),
                ("activities", array(activity)),
                ("nextBefore", nullable(text())),
            ]),
        ),
        ("FeedMessage", message()),
    ]
}

/// What the feed sends.
fn message() -> Value {
    let types = [
        "snapshot",
        "round_update",
        "participants_update",
        "history_update",
        "live_feed",
        "blockchain_event",
        "config_update",
        "operator_status",
        "operator_alert",
        "reorg",
        "finality",
        "connection_status",
        "heartbeat",
        "shutdown",
    ];
    object(vec![
        ("type", one_of(&types)),
        (
            "seq",
            described(
                integer(),
                "grows by exactly 1 a message; snapshot, heartbeat and shutdown bear the newest",
            ),
        ),
        (
            "timestamp",
            described(integer(), "when it was made, in unix seconds"),
        ),
        (
            "payload",
            described(json!({"type": "object"}), "what its type tells of"),
        ),
    ])
}
