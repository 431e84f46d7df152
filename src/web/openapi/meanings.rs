//! What the fields of answers mean and what they are counted in, by their names: a name means the same wherever it stands.
//! Where one says more or something else, it is described where it is listed.

/// None for a name that nobody has described.
pub(crate) fn meaning(name: &str) -> Option<&'static str> {
    let known = GROUPS.iter().flat_map(|group| group.iter());
    let mut found = known.filter(|(known, _)| *known == name);
    found.next().map(|(_, meaning)| *meaning)
}

pub(crate) type Meanings = &'static [(&'static str, &'static str)];

pub(crate) const GROUPS: &[Meanings] =
    &[SHARED, ROUND, HISTORY, FAIRNESS, CONTRACT, OPERATOR, HEALTH];

const SHARED: Meanings = &[
    ("asOf", "the newest block that the answer is made of"),
    (
        "blockNumber",
        "number of the block; null where there is none yet",
    ),
    ("blockHash", "hash of the block"),
    ("transactionHash", "hash of the transaction that logged it"),
    ("logIndex", "index of the log in its block, from 0"),
    (
        "timestamp",
        "when it happened, in unix seconds; of what stands in a block, the block's time",
    ),
    ("since", "since when it is so, in unix seconds"),
    ("syncing", "logs of the past are still being read"),
    ("finality", "how settled its block is"),
    ("id", "names it among its kind"),
    ("message", "what it is, in words for people"),
    ("code", "what it is, in a word for programs"),
    ("error", "what went wrong; null where nothing did"),
    ("severity", "how much it matters"),
    (
        "nextBefore",
        "the value of `before` that goes on from here; null at the end",
    ),
    (
        "roundId",
        "number of the round, from 1; null while none is known",
    ),
    ("address", "the address meant, EIP-55"),
    ("player", "address of the player"),
    ("state", "the state it is in"),
    ("status", "ok while nothing fails"),
    ("type", "what kind it is of"),
    (
        "websocketClients",
        "clients of the feed that are connected now",
    ),
    (
        "deployment",
        "the contract and chain that all of this is about",
    ),
    ("connection", "whether the chain can be read"),
];

const ROUND: Meanings = &[
    ("round", "the running round"),
    ("stateLabel", "the contract's name for the round's state"),
    ("phase", "what the round's state and chain time amount to"),
    (
        "startTime",
        "when the round began, in unix seconds; 0 before its first bet",
    ),
    ("endTime", "when betting ends, in unix seconds"),
    (
        "minDrawTime",
        "from when the round may be drawn, in unix seconds",
    ),
    (
        "maxDrawTime",
        "until when the round may be drawn, in unix seconds",
    ),
    ("totalPotWei", "all that was bet in the round, in wei"),
    ("participantCount", "players in the round"),
    (
        "minParticipants",
        "players that a draw needs; with fewer the round is refunded",
    ),
    ("participants", "the players and what they have bet"),
    ("totalParticipants", "players in the running round"),
    (
        "totalAmountWei",
        "what was bet in the running round, in wei: by the player named, or by all",
    ),
];

const HISTORY: Meanings = &[
    ("rounds", "finished rounds, newest first"),
    ("lastRounds", "up to five finished rounds, newest first"),
    ("summary", "over the finished rounds that are kept"),
    ("totalRounds", "finished rounds"),
    ("completedRounds", "rounds that were drawn"),
    ("refundedRounds", "rounds that were refunded"),
    (
        "totalVolumeWei",
        "all that was bet in finished rounds, in wei",
    ),
    ("winner", "address of the winner; null of a refunded round"),
    (
        "winnerPrizeWei",
        "what the winner was paid, in wei; null of a refunded round",
    ),
    (
        "winnerTotalAmountWei",
        "what the winner had bet in the round, in wei; null where it is not known",
    ),
    (
        "publisherCommissionWei",
        "what the publisher was paid, in wei; null of a refunded round",
    ),
    (
        "randomSeed",
        "the seed of the draw, a 256-bit number; null of a refunded round",
    ),
    (
        "refundReason",
        "why the round was refunded, in the contract's words; null of a drawn one",
    ),
    (
        "finishedAt",
        "time of the block that ended the round, in unix seconds",
    ),
    (
        "verdict",
        "whether the round's end follows from public chain data",
    ),
    (
        "verdictWhy",
        "why not, or why that cannot be told; null when verified",
    ),
    ("bets", "every bet of the round, in the order of the chain"),
    ("amountWei", "the amount of this bet, in wei"),
    ("proof", "the draw computed anew; null of a refunded round"),
    ("seed", "the seed that the contract drew, a 256-bit number"),
    (
        "recomputedSeed",
        "the seed that follows from the inputs; null where they are not known",
    ),
    (
        "recomputedWinner",
        "address of the winner that follows from seed and bets; null where they are not known",
    ),
    (
        "randomness",
        "where the chance of this draw came from; null where it is not known",
    ),
    ("prevrandao", "what PREVRANDAO was in the draw's block"),
    ("prevrandaoSource", "where the PREVRANDAO was read"),
    (
        "number",
        "what NUMBER was in the draw's block: on some chains not the block's own number",
    ),
    ("numberSource", "where that number was read"),
    ("activities", "what happened, newest first"),
];

const FAIRNESS: Meanings = &[
    ("drawn", "rounds kept that were drawn"),
    ("refunded", "rounds kept that were refunded"),
    (
        "mismatched",
        "rounds whose end does not follow from the chain",
    ),
    ("unverifiable", "rounds whose end could not be checked"),
    (
        "longestDelaySeconds",
        "the longest delay of a draw, in seconds of chain time; null before any was timed",
    ),
    (
        "longestDelayBlocks",
        "the longest delay of a draw, in blocks; null before any was timed",
    ),
];

const CONTRACT: Meanings = &[
    ("publisher", "address that the commission goes to"),
    (
        "commissionBps",
        "the publisher's part of the pot, in hundredths of a percent",
    ),
    ("minBetWei", "the smallest bet, in wei"),
    (
        "bettingDurationSeconds",
        "how long bets are taken from the first one on, in seconds",
    ),
    (
        "minDrawDelaySeconds",
        "from the end of betting to the begin of the draw window, in seconds",
    ),
    (
        "maxDrawDelaySeconds",
        "from the end of betting to the end of the draw window, in seconds",
    ),
    (
        "minEndTimeExtensionSeconds",
        "from an extension to the new end of betting, at least, in seconds",
    ),
    ("chainId", "the chain's id, by EIP-155"),
    ("contract", "address of the contract"),
    (
        "explorerUrl",
        "where the chain's blocks can be looked up; null where none is configured",
    ),
];

const OPERATOR: Meanings = &[
    (
        "operator",
        "who draws and refunds: the contract's operator, or what the one here is doing",
    ),
    (
        "isRunning",
        "it acts by itself: it is enabled, has a key, and its thread is up",
    ),
    (
        "keyLoaded",
        "a key is configured, whether it is the contract's operator's or not",
    ),
    (
        "currentRoundId",
        "number of the round that the operator works on; null while there is none",
    ),
    (
        "scheduledDrawRoundId",
        "number of the round that is to be drawn next; null while none is",
    ),
    (
        "scheduledDrawDueAt",
        "when that draw is due, in unix seconds; null while none is",
    ),
    (
        "lastEventTime",
        "when the last event of the contract was heard of, in unix seconds",
    ),
    (
        "lastDrawAttempt",
        "when a draw was last sent, in unix seconds; null before the first",
    ),
    (
        "consecutiveDrawFailures",
        "draws of the running round that failed, since one last succeeded",
    ),
    (
        "maxDrawRetries",
        "draws that may fail before it is a matter for people",
    ),
    (
        "watchdogLastCheck",
        "when the operator last looked at the round, in unix seconds",
    ),
    (
        "heldUpBy",
        "what has held up the running round's draw since it is due; null while nothing has",
    ),
    (
        "inFlight",
        "the action whose transaction is on its way; null while none is",
    ),
    ("action", "what is done"),
    ("nonce", "the transaction's nonce"),
    (
        "hashes",
        "hashes of the transactions sent for it, replacements included",
    ),
    ("attempts", "transactions sent for it"),
    (
        "balanceWei",
        "what the operator's address holds, in wei; null while it is not known",
    ),
    (
        "rehearsal",
        "the last trial of a draw before its window; null before the first",
    ),
    ("problems", "what would stop the draw, in words"),
    (
        "alerts",
        "conditions that hold now and that somebody should look at",
    ),
    ("actionId", "names the action at /api/operator/actions/ID"),
    ("location", "path of the action's own answer"),
    ("manual", "it was asked for over this API"),
    (
        "gasUsed",
        "gas that the mined transaction used; null before",
    ),
    ("createdAt", "when it began, in unix seconds"),
    (
        "updatedAt",
        "when something of it last changed, in unix seconds",
    ),
];

const HEALTH: Meanings = &[
    ("failing", "what fails"),
    ("version", "the daemon's version"),
    ("commit", "the commit that the daemon was built from"),
    ("healthy", "every thread of the daemon turns"),
    ("ready", "whether all is in place"),
    ("components", "the daemon's threads"),
    ("name", "the component's name"),
    ("running", "the thread lives"),
    ("turning", "the thread has made a turn lately"),
    (
        "lastTurnSecondsAgo",
        "since the thread's last turn, in seconds",
    ),
    (
        "restarts",
        "how often the thread was started again after a crash",
    ),
    (
        "lastError",
        "the class of the last error; null where there was none",
    ),
    (
        "endpoints",
        "the RPC endpoints, in the order of the configuration",
    ),
    ("host", "the endpoint's host; no more of its URL is told"),
    (
        "headBlock",
        "number of the newest block that the endpoint has told of; null before the first",
    ),
    (
        "latencyMs",
        "how long answers take, in milliseconds; null before the first",
    ),
    (
        "owed",
        "what of the past is still to be read, in words; null where nothing is",
    ),
    (
        "headAgeSeconds",
        "since the newest block came, in seconds; null before the first",
    ),
    (
        "drawOverdue",
        "the draw window is over and its round is not drawn",
    ),
    ("chain", "the chain as it is seen from here"),
    ("reachable", "some endpoint answers"),
    (
        "problem",
        "the class of what is wrong; null where nothing is",
    ),
    (
        "blockTimeSeconds",
        "measured time between blocks, in seconds; null before it is known",
    ),
    (
        "chainTime",
        "the newest block's time carried forward, in unix seconds; null before the first",
    ),
    ("reorgs", "reorgs seen since the start"),
    (
        "safeBlock",
        "number of the newest block that is safe; 0 where none is known",
    ),
    (
        "finalizedBlock",
        "number of the newest block that is final; 0 where none is known",
    ),
];
