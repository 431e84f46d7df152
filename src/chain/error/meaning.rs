//! What a refusal means whose words are in no list. There are more nodes than anybody has read, and each words the same few
//! verdicts in its own way: here a sentence is taken apart into what it is about and what it says of that. Spaces, dashes and
//! capitals do not count, so that `NonceTooLow`, `nonce-too-low` and "nonce 4 is too low" are near enough the same.

use crate::chain::error::NodeError;

/// What a sentence is about (any of these), what it says of it (any of these; of some things any mention is enough), and the
/// verdict. The first that fits decides.
type Rule = (&'static [&'static str], &'static [&'static str], NodeError);

const TOO_LOW: &[&str] = &[
    "toolow",
    "toosmall",
    "below",
    "lessthan",
    "lowerthan",
    "smallerthan",
    "insufficient",
    "notenough",
    "atleast",
    "minimum",
];
const TOO_HIGH: &[&str] = &[
    "toohigh",
    "toolarge",
    "exceed",
    "above",
    "beyond",
    "greaterthan",
    "higherthan",
    "largerthan",
    "morethan",
    "reached",
];
const NOT_AT_ALL: &[&str] = &[
    "notsupported",
    "unsupported",
    "invalid",
    "unknown",
    "notallowed",
    "notaccepted",
    "accepted",
    "disabled",
    "notactive",
    "notactivated",
    "notenabled",
    "unrecognized",
    "expected",
    "tooshort",
    "decod",
    "deserializ",
    "pars",
];
const ANYTHING: &[&str] = &[""];

const RULES: &[Rule] = &[
    // Another transaction is what is wrong.
    (&["withalowernonce"], ANYTHING, NodeError::TransientPool),
    (
        &["replac", "samenonce", "anothertransaction"],
        &[
            "underpriced",
            "toolow",
            "insufficient",
            "notenough",
            "notallowed",
            "cannot",
            "couldnot",
            "mustbe",
            "atleast",
            "higher",
            "already",
            "exists",
        ],
        NodeError::ReplacementUnderpriced,
    ),
    (
        &["nonce"],
        &[
            "toohigh",
            "toolarge",
            "toofar",
            "toodistant",
            "gap",
            "future",
            "ahead",
        ],
        NodeError::NonceTooHigh,
    ),
    (
        &["nonce"],
        &[
            "alreadyin",
            "alreadypending",
            "alreadyexists",
            "alreadyqueued",
        ],
        NodeError::ReplacementUnderpriced,
    ),
    (
        &["already"],
        &["mined", "finalized", "confirmed", "included", "executed"],
        NodeError::NonceTooLow,
    ),
    (
        &["already", "duplicate", "exists"],
        &[
            "known",
            "imported",
            "pool",
            "incache",
            "inqueue",
            "submitted",
            "received",
            "samehash",
            "duplicatetransaction",
            "duplicatetx",
            "transactionexists",
            "transactionalreadyexists",
            "txalreadyexists",
        ],
        NodeError::AlreadyKnown,
    ),
    (
        &["nonce", "accountsequence"],
        &[
            "toolow",
            "lessthan",
            "lowerthan",
            "smallerthan",
            "used",
            "old",
            "stale",
            "expired",
            "invalid",
            "incorrect",
            "correct",
            "wrong",
            "mismatch",
            "unexpected",
        ],
        NodeError::NonceTooLow,
    ),
    (
        &["transactionisoutdated", "poolstale", "transactionstale"],
        ANYTHING,
        NodeError::NonceTooLow,
    ),
    (
        &["fund", "balance", "upfrontcost", "overdraw"],
        &[
            "insufficient",
            "notenough",
            "lackof",
            "exceed",
            "havesufficient",
            "haveenough",
            "toolow",
            "overdraw",
            "lessthan",
            "below",
            "cover",
            "greaterthan",
        ],
        NodeError::InsufficientFunds,
    ),
    (
        &[
            "transactiontype",
            "txtype",
            "typedtransaction",
            "1559",
            "dynamicfee",
            "rlp",
            "decodetransaction",
            "decodesignedtransaction",
            "decoderawtransaction",
        ],
        NOT_AT_ALL,
        NodeError::TypeNotSupported,
    ),
    (
        &["feecap", "txfee", "transactionfee"],
        TOO_HIGH,
        NodeError::NodeFeeCap,
    ),
    (
        &["feetoohigh", "feeistoohigh"],
        ANYTHING,
        NodeError::NodeFeeCap,
    ),
    (&["underpriced"], ANYTHING, NodeError::Underpriced),
    (
        &["fee", "price", "gastip", "prioritytip"],
        TOO_LOW,
        NodeError::Underpriced,
    ),
    (
        &[
            "intrinsicgas",
            "gasfloor",
            "callgascost",
            "requiresatleast",
            "gastoolow",
            "gasistoolow",
            "notenoughgas",
            "gaslimittoolow",
            "gaslimitistoolow",
            "gaslimitbelow",
            "gaslimitlessthan",
            "basefeeexceedsgaslimit",
            "outofgas",
        ],
        ANYTHING,
        NodeError::GasTooLow,
    ),
    (
        &["gaslimit", "suppliedgas", "blockgas"],
        TOO_HIGH,
        NodeError::GasTooHigh,
    ),
    (
        &[
            "pool",
            "queue",
            "slots",
            "inflight",
            "transactions",
            "spammer",
        ],
        &[
            "full", "limit", "size", "overflow", "dropped", "toomany", "exceed", "capacity",
            "spammer",
        ],
        NodeError::TransientPool,
    ),
    (&["temporarilybanned"], ANYTHING, NodeError::TransientPool),
];

/// What a pool says of a transaction; None where nothing can be made of it.
pub(super) fn verdict(words: &str) -> Option<NodeError> {
    let words = squeezed(words);
    // The whole of what one node says of what was mined meanwhile.
    if words == "mined" {
        return Some(NodeError::NonceTooLow);
    }
    let says = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    let fits = |(about, said, _): &&Rule| says(about) && says(said);
    RULES.iter().find(fits).map(|(_, _, verdict)| *verdict)
}

/// True for words of a server that could not hand the question on, or did not hear the answer: nothing was judged.
pub(super) fn is_of_the_way(words: &str) -> bool {
    const TROUBLE: &[&str] = &[
        "timeout",
        "timedout",
        "gateway",
        "upstream",
        "internalerror",
        "internalservererror",
        "unavailable",
        "overloaded",
        "busy",
        "connection",
        "tryagain",
        "temporar",
        "sync",
        "notready",
        "maintenance",
        "deadline",
        "canceled",
    ];
    let words = squeezed(words);
    TROUBLE.iter().any(|part| words.contains(part))
}

/// True for words by which a node lacks a block, or its state. What finds fault with the question itself is none.
pub(super) fn lacks_block(words: &str) -> bool {
    const WHAT: &[&str] = &[
        "block",
        "header",
        "state",
        "height",
        "hash",
        "trie node",
        "root",
        "epoch",
        "finalized data",
        "old data",
    ];
    const LACKS: &[&str] = &[
        "not found",
        "not available",
        "unavailable",
        "missing",
        "unknown",
        "not exist",
        "n't exist",
        "not be found",
        "could not find",
        "cannot find",
        "can't find",
        "unfinalized",
        "canonical",
        "pruning",
        "future",
        "after last accepted",
        "not yet",
        "too old",
        "ahead of",
        "bigger than the latest",
        "greater than the latest",
        "higher than the latest",
        "no longer",
        "no state",
        "fully indexed",
    ];
    const OF_THE_QUESTION: &[&str] = &[
        "method",
        "argument",
        "param",
        "field",
        "invalid",
        "support",
        "unmarshal",
        "deserializ",
        "parse",
        "variant",
        "expected",
        "override",
        "specify",
        "required",
        "range",
    ];
    let says = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    says(WHAT) && says(LACKS) && !says(OF_THE_QUESTION)
}

/// Letters and digits alone, of words in lower case.
fn squeezed(words: &str) -> String {
    words.chars().filter(char::is_ascii_alphanumeric).collect()
}
