//! The schemas of rounds, running and finished, and of what happens in them.

use crate::lottery::event::LotteryEvent;
use crate::lottery::proof::{NumberSource, RandomnessSource};
use crate::web::openapi::kinds::Kind::*;
use crate::web::openapi::kinds::*;

pub(crate) const TOTALS: &[Field] = &[("totalParticipants", Integer), ("totalAmountWei", Decimal)];

const PHASES: Kind = OneOf(&[
    "waiting",
    "betting",
    "closed",
    "draw_window",
    "overdue",
    "stuck",
]);

const PARTICIPANT: Kind = Object(&[
    ("address", Address),
    ("totalAmountWei", Decimal),
    (
        "order",
        Described(&Integer, "place in first-bet order, from 0"),
    ),
    ("share", Percent),
]);

pub(crate) const ROUND: &[Field] = &[
    (
        "RoundStatus",
        Object(&[
            AS_OF,
            ("roundId", Nullable(&Integer)),
            ("state", Nullable(&Integer)),
            (
                "stateLabel",
                Nullable(&OneOf(&[
                    "WAITING",
                    "BETTING",
                    "DRAWING",
                    "COMPLETED",
                    "REFUNDED",
                ])),
            ),
            ("phase", Nullable(&PHASES)),
            ("startTime", Nullable(&Integer)),
            ("endTime", Nullable(&Integer)),
            ("minDrawTime", Nullable(&Integer)),
            ("maxDrawTime", Nullable(&Integer)),
            ("totalPotWei", Nullable(&Decimal)),
            ("participantCount", Nullable(&Integer)),
            ("minParticipants", Nullable(&Integer)),
            (
                "chainTime",
                Described(
                    &Nullable(&Integer),
                    "the newest block's time, carried forward by the daemon's monotonic clock",
                ),
            ),
        ]),
    ),
    (
        "Participants",
        Joined(&[
            TOTALS,
            &[
                AS_OF,
                ("roundId", Nullable(&Integer)),
                ("participants", Array(&PARTICIPANT)),
            ],
        ]),
    ),
    (
        "Player",
        Object(&[
            AS_OF,
            ("player", Address),
            ("roundId", Nullable(&Integer)),
            ("totalAmountWei", Decimal),
            ("winRate", Percent),
        ]),
    ),
];

/// Of an item that was logged.
const PLACE: &[Field] = &[
    ("blockNumber", Integer),
    ("transactionHash", Hash),
    ("logIndex", Integer),
    ("finality", FINALITY),
];

/// What the contract says of a round that is over.
const ENDED: &[Field] = &[
    ("roundId", Integer),
    ("type", OneOf(&["RoundCompleted", "RoundRefunded"])),
    ("stateLabel", OneOf(&["COMPLETED", "REFUNDED"])),
    ("startTime", Integer),
    ("endTime", Integer),
    ("minDrawTime", Integer),
    ("maxDrawTime", Integer),
    ("totalPotWei", Decimal),
    ("participantCount", Integer),
    ("winner", Nullable(&Address)),
    ("winnerPrizeWei", Nullable(&Decimal)),
    ("publisherCommissionWei", Nullable(&Decimal)),
    ("randomSeed", Nullable(&Decimal)),
    ("refundReason", Nullable(&Text)),
    ("finishedAt", Integer),
    ("winnerTotalAmountWei", Nullable(&Decimal)),
];

/// What the check of a round's end says, and how its draw came about.
const VERDICT: &[Field] = &[
    ("verdict", OneOf(&["verified", "mismatch", "unverifiable"])),
    ("verdictWhy", Nullable(&Text)),
    (
        "drawDelaySeconds",
        Described(
            &Nullable(&Integer),
            "chain time from the first block that allowed the draw to the draw's block",
        ),
    ),
    (
        "drawDelayBlocks",
        Described(
            &Nullable(&Integer),
            "blocks from the first one that allowed the draw; 0 is that block",
        ),
    ),
    (
        "drawDelayReason",
        Described(
            &Nullable(&LATE_REASON),
            "what held up a draw that was not in that block, as this daemon saw it; null \
             where it does not know",
        ),
    ),
    (
        "drawPoint",
        Described(&Nullable(&Decimal), "the seed modulo the pot, in wei"),
    ),
];

const BET: &[Field] = &[
    ("player", Address),
    ("amountWei", Decimal),
    ("timestamp", Integer),
];

const RANDOMNESS_SOURCE: Kind =
    Labels(|| RandomnessSource::ALL.map(RandomnessSource::label).to_vec());

const INPUTS: Kind = Object(&[
    ("timestamp", Integer),
    ("prevrandao", Hash),
    ("prevrandaoSource", RANDOMNESS_SOURCE),
    ("number", Integer),
    (
        "numberSource",
        Labels(|| NumberSource::ALL.map(NumberSource::label).to_vec()),
    ),
    ("roundId", Integer),
    ("totalPotWei", Decimal),
]);

const RANDOMNESS: Kind = Object(&[
    (
        "source",
        Described(&RANDOMNESS_SOURCE, "where the PREVRANDAO was read"),
    ),
    (
        "knownAhead",
        Described(
            &Boolean,
            "it was a constant or a difficulty: whoever sent the draw could have computed the \
             winner before",
        ),
    ),
]);

const PROOF: &[Field] = &[
    (
        "inputs",
        Described(
            &Nullable(&INPUTS),
            "keccak256 of timestamp, prevrandao, number, roundId and totalPotWei as 32-byte \
             big-endian words is the seed",
        ),
    ),
    ("seed", Decimal),
    ("winner", Address),
    ("recomputedSeed", Nullable(&Decimal)),
    ("recomputedWinner", Nullable(&Address)),
    ("randomness", Nullable(&RANDOMNESS)),
];

const FINISHED: &[Field] = &[
    AS_OF,
    ("bets", Array(&Joined(&[BET, PLACE]))),
    ("proof", Nullable(&Joined(&[PROOF, VERDICT]))),
];

pub(crate) const HISTORY: &[Field] = &[
    ("HistoryRow", Joined(&[ENDED, VERDICT, PLACE])),
    (
        "History",
        Object(&[
            AS_OF,
            ("rounds", Array(&Reference("HistoryRow"))),
            (
                "summary",
                Object(&[
                    ("totalRounds", Integer),
                    ("completedRounds", Integer),
                    ("refundedRounds", Integer),
                    ("totalVolumeWei", Decimal),
                ]),
            ),
            ("nextBefore", Nullable(&Integer)),
        ]),
    ),
    (
        "FinishedRound",
        Without("asOf", &[ENDED, VERDICT, PLACE, FINISHED]),
    ),
    ("Fairness", FAIRNESS),
];

const FAIRNESS: Kind = Object(&[
    AS_OF,
    ("drawn", Integer),
    ("refunded", Integer),
    (
        "verified",
        Described(
            &Integer,
            "rounds whose end follows from the chain; refunds are checked too",
        ),
    ),
    ("mismatched", Integer),
    ("unverifiable", Integer),
    (
        "timedDraws",
        Described(&Integer, "draws whose delay is known"),
    ),
    (
        "firstBlockDraws",
        Described(
            &Integer,
            "draws in the first block that allowed them, among those timed",
        ),
    ),
    ("longestDelaySeconds", Nullable(&Integer)),
    ("longestDelayBlocks", Nullable(&Integer)),
    (
        "randomnessKnownAhead",
        Described(
            &Nullable(&Boolean),
            "PREVRANDAO could be known before the block; null before any draw told",
        ),
    ),
]);

const ACTIVITY: Kind = Object(&[
    ("id", Text),
    (
        "type",
        Described(
            &Labels(|| [LotteryEvent::NAMES, &["operator_alert"]].concat()),
            "the contract event's name, or operator_alert",
        ),
    ),
    ("message", Text),
    (
        "details",
        Described(
            &Having(&[]),
            "the event's arguments under their names in the ABI",
        ),
    ),
    ("severity", SEVERITY),
    ("timestamp", Integer),
    ("blockNumber", Nullable(&Integer)),
    ("transactionHash", Nullable(&Hash)),
    ("logIndex", Nullable(&Integer)),
    ("finality", Nullable(&FINALITY)),
]);

pub(crate) const FEED: &[Field] = &[
    (
        "Activities",
        Object(&[
            AS_OF,
            ("activities", Array(&ACTIVITY)),
            ("nextBefore", Nullable(&Text)),
        ]),
    ),
    ("FeedMessage", MESSAGE),
];

/// What the feed sends.
const MESSAGE: Kind = Object(&[
    (
        "type",
        OneOf(&[
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
        ]),
    ),
    (
        "seq",
        Described(
            &Integer,
            "grows by exactly 1 a message; snapshot, heartbeat and shutdown bear the newest",
        ),
    ),
    (
        "timestamp",
        Described(&Integer, "when it was made, in unix seconds"),
    ),
    ("payload", Described(&Having(&[]), "what its type tells of")),
]);
