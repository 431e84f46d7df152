//! Reads the errors of nodes, in whatever dress they come: an object, a string, a number, with the data of a revert at
//! any depth. Codes lie (the same number means a rate limit on one node and a low nonce on another), so words are read
//! before codes; and words count only where they can mean something: a pool judges transactions, a contract refuses calls.

use std::time::Duration;

use serde_json::Value;

use crate::chain::encode::decode_hex;
use crate::chain::error::{bounded_wait, meaning, ErrorKind, NodeError, RpcError};
use crate::chain::method::Method;

/// What stands under `error` in an answer to a call of `method`. `client` is web3_clientVersion, lower case, where it is
/// known: some codes mean something on one client only.
pub fn classify(method: Method, error: &Value, client: &str) -> RpcError {
    let (code, message) = (code_of(error), message_of(error));
    // Nodes hide the reason behind "Internal error" and put it under `data`, in words.
    let hidden = hidden_words(&error["data"], 0).unwrap_or_default();
    let words = format!("{message} {hidden}").to_lowercase();
    let shown = match (hidden, code) {
        ("", None) => message.clone(),
        ("", Some(code)) => format!("{message} (code {code})"),
        (_, None) => format!("{message}: {hidden}"),
        (_, Some(code)) => format!("{message}: {hidden} (code {code})"),
    };
    if method.runs_code() {
        if let Some((reason, data)) = revert(code, &[&message, hidden], &words, &error["data"]) {
            let text = match &reason {
                Some(reason) => format!("reverted: {reason}"),
                None => format!("reverted without a reason ({shown})"),
            };
            return RpcError::new(ErrorKind::Reverted { reason, data }, text).of(method);
        }
    }
    let kind = kind_of(method, code, &words, client);
    let kind = match kind {
        ErrorKind::RateLimited { .. } => ErrorKind::RateLimited {
            retry_after: wait_named(error).or_else(|| retry_hint(&words)),
        },
        kind => kind,
    };
    RpcError::new(kind, shown).of(method)
}

fn kind_of(method: Method, code: Option<i64>, words: &str, client: &str) -> ErrorKind {
    let says = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    let limited = ErrorKind::RateLimited { retry_after: None };
    if method == Method::SendRawTransaction {
        if let Some((_, verdict)) = VERDICTS.iter().find(|(part, _)| words.contains(part)) {
            return ErrorKind::Node(*verdict);
        }
    }
    if says(RATE) {
        return limited;
    }
    if method == Method::SendRawTransaction {
        if let Some(verdict) = meaning::verdict(words) {
            return ErrorKind::Node(verdict);
        }
    } else if says(BEHIND) || !is_malformed(code) && meaning::lacks_block(words) {
        return ErrorKind::Behind;
    }
    let besu = client.contains("besu");
    match (method, code) {
        (Method::SendRawTransaction, Some(-32001)) if besu => {
            ErrorKind::Node(NodeError::NonceTooLow)
        }
        (Method::SendRawTransaction, Some(-32009)) if besu => {
            ErrorKind::Node(NodeError::Underpriced)
        }
        // A range that is too long is often told with the code of a rate limit.
        (Method::GetLogs, Some(-32005)) if says(RANGE) => ErrorKind::Refused,
        (_, Some(429 | -32005 | -32016 | -32097)) => limited,
        // The server itself stumbled, or one behind it: no pool has judged.
        (Method::SendRawTransaction, None | Some(-32700..=-32600)) => ErrorKind::Refused,
        (Method::SendRawTransaction, _) if meaning::is_of_the_way(words) => ErrorKind::Refused,
        (Method::SendRawTransaction, _) => ErrorKind::Node(NodeError::Other),
        (_, Some(-32001)) => ErrorKind::Behind,
        _ => ErrorKind::Refused,
    }
}

/// The codes of a question that the server does not understand, or a method that it does not have.
fn is_malformed(code: Option<i64>) -> bool {
    matches!(code, Some(-32700 | -32602..=-32600))
}

/// The code, where it is a number in any writing.
fn code_of(error: &Value) -> Option<i64> {
    let code = &error["code"];
    match code {
        Value::String(text) => text.trim().parse().ok(),
        // A code is far below 2^53; the cast saturates.
        _ => code
            .as_i64()
            .or_else(|| code.as_f64().map(|code| code as i64)),
    }
}

/// The words of an error, wherever they stand.
fn message_of(error: &Value) -> String {
    if let Value::String(text) = error {
        return text.clone();
    }
    for key in ["message", "error", "reason", "details", "msg"] {
        match &error[key] {
            Value::String(text) if !text.is_empty() => return text.clone(),
            Value::Object(inner) => {
                if let Some(text) = inner.get("message").and_then(Value::as_str) {
                    return text.to_owned();
                }
            }
            _ => {}
        }
    }
    match error {
        Value::Object(fields) if fields.is_empty() => "an error without a message".to_owned(),
        other => other.to_string(),
    }
}

/// The words under `data`, at the first depth that has any.
fn hidden_words(data: &Value, depth: u8) -> Option<&str> {
    match data {
        Value::String(text) => (!text.starts_with("0x")).then_some(text),
        Value::Object(fields) if depth < 4 => ["message", "originalError", "cause", "error"]
            .iter()
            .filter_map(|key| fields.get(*key))
            .find_map(|inner| hidden_words(inner, depth + 1)),
        _ => None,
    }
}

/// A pool's refusals, most specific first; the first that occurs decides.
const VERDICTS: &[(&str, NodeError)] = {
    use NodeError::*;
    &[
        ("unknown transaction", Other),
        ("already known", AlreadyKnown),
        ("transaction already imported", AlreadyKnown),
        ("known transaction", AlreadyKnown),
        ("existing txn with same hash", AlreadyKnown),
        ("alreadyknown", AlreadyKnown),
        ("ownnoncealreadyused", AlreadyKnown),
        ("same hash was already imported", AlreadyKnown),
        ("future transaction tries to replace pending", TransientPool),
        ("txpool is full", TransientPool),
        ("sub-pool is full", TransientPool),
        ("queue full", TransientPool),
        (
            "replacement transaction underpriced",
            ReplacementUnderpriced,
        ),
        ("could not replace existing tx", ReplacementUnderpriced),
        ("replacementnotallowed", ReplacementUnderpriced),
        (
            "an existing transaction had higher priority",
            ReplacementUnderpriced,
        ),
        ("transaction underpriced", Underpriced),
        ("gas price below", Underpriced),
        ("fee too low", Underpriced),
        ("feetoolow", Underpriced),
        ("max fee per gas less than block base fee", Underpriced),
        ("gas price too low", Underpriced),
        ("nonce too low", NonceTooLow),
        ("nonce is too low", NonceTooLow),
        ("oldnonce", NonceTooLow),
        ("invalid transaction nonce", NonceTooLow),
        ("nonce too high", NonceTooHigh),
        ("noncegap", NonceTooHigh),
        ("exceeds next nonce", NonceTooHigh),
        ("too distant from current sender nonce", NonceTooHigh),
        ("insufficient funds", InsufficientFunds),
        ("insufficientfunds", InsufficientFunds),
        ("upfront cost exceeds account balance", InsufficientFunds),
        ("not enough funds for gas", InsufficientFunds),
        ("gas required exceeds allowance", GasAllowance),
        ("intrinsic gas too low", GasTooLow),
        ("intrinsic gas too high", GasTooHigh),
        ("exceeds block gas limit", GasTooHigh),
        ("gas limit too high", GasTooHigh),
        ("floor data gas", GasTooLow),
        ("transaction type not supported", TypeNotSupported),
        (
            "fork supporting this transaction type is not activated",
            TypeNotSupported,
        ),
        ("invalid transaction type", TypeNotSupported),
        ("eip-1559 style fee params", TypeNotSupported),
        ("exceeds the configured cap", NodeFeeCap),
        ("transaction fee cap exceeded", NodeFeeCap),
        ("only replay-protected", FatalConfig),
        ("invalid sender", FatalConfig),
        ("invalid chain id", FatalConfig),
        ("wrong chainid", FatalConfig),
    ]
};
const BEHIND: &[&str] = &[
    "header not found",
    "unknown block",
    "missing trie node",
    "beyond current head",
    "blockoutofrange",
    "block out of range",
    "resource not found",
    "block not found",
    "historical state",
    "state is not available",
    "state not available",
    "pruned",
    "transaction indexing is in progress",
];
const RATE: &[&str] = &[
    "rate limit",
    "rate-limit",
    "ratelimit",
    "too many request",
    "too many concurrent",
    "request rate",
    "call rate",
    "rate exceeded",
    "requests per second",
    "requests per minute",
    "requests per day",
    "rps limit",
    "slow down",
    "usage limit",
    "request limit",
    "compute units per second",
    "capacity exceeded",
    "quota",
    "daily request count",
    "throttl",
    "503 service temporarily unavailable",
];
/// Words of ranges that are too long, where the code alone would mean a rate limit.
const RANGE: &[&str] = &["range", "results", "response size", "blocks"];

/// True for words that ask for fewer calls.
pub(crate) fn says_rate_limit(text: &str) -> bool {
    let text = text.to_lowercase();
    RATE.iter().any(|part| text.contains(part))
}

/// How long a rate limit asks to wait, where its text says: "try again in 2s", "retry after 500 ms".
pub(crate) fn retry_hint(text: &str) -> Option<Duration> {
    const PHRASES: [&str; 5] = [
        "try again in ",
        "retry in ",
        "retry after ",
        "retry-after: ",
        "available in ",
    ];
    let text = text.to_lowercase();
    PHRASES.iter().find_map(|phrase| {
        let (_, rest) = text.split_once(phrase)?;
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, unit) = rest.split_at(digits.unwrap_or(rest.len()));
        let number: f64 = number.trim_end_matches('.').parse().ok()?;
        let unit = unit.trim_start();
        let secs = match unit {
            _ if unit.starts_with("ms") || unit.starts_with("milli") => number / 1_000.0,
            _ if unit.starts_with('m') => number * 60.0,
            _ => number,
        };
        Some(bounded_wait(secs))
    })
}

/// Infura's way to say how long.
fn wait_named(error: &Value) -> Option<Duration> {
    error["data"]["rate"]["backoff_seconds"]
        .as_f64()
        .map(bounded_wait)
}

/// The number of blocks a refusal allows: from a bracketed range `[0x1,0x2]`, or the number behind the known phrases.
pub(super) fn range_hint(text: &str) -> Option<u64> {
    bracketed_range(text).or_else(|| {
        ["max range:", "limited to a", "limited to", "at most"]
            .iter()
            .find_map(|phrase| {
                let (_, rest) = text.split_once(phrase)?;
                // "more than 10000 results" limits results, not blocks; these phrases limit blocks.
                let digits: String = rest
                    .trim_start()
                    .chars()
                    .take_while(|c| c.is_ascii_digit() || *c == ',')
                    .filter(char::is_ascii_digit)
                    .collect();
                digits.parse().ok().filter(|blocks| *blocks > 0)
            })
    })
}

fn bracketed_range(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once('[')?;
    let (from, to) = rest.split(']').next()?.split_once(',')?;
    let parse = |hex: &str| u64::from_str_radix(hex.trim().strip_prefix("0x")?, 16).ok();
    parse(to)?.checked_sub(parse(from)?)?.checked_add(1)
}

/// The reason and the data of a revert; None where the error is none.
fn revert(
    code: Option<i64>,
    texts: &[&str],
    words: &str,
    data: &Value,
) -> Option<(Option<String>, Vec<u8>)> {
    // Code 3 is what geth defined for reverts, -32015 what parity and nethermind have; others only say it in words.
    let says_revert = words.contains("revert") || words.contains("vm execution error");
    if !says_revert {
        let other = RATE.iter().chain(BEHIND).any(|part| words.contains(part));
        if other || !matches!(code, Some(3 | -32015)) {
            return None;
        }
    }
    let named = reason_named(data, 0);
    let data = revert_data(data, 0).unwrap_or_default();
    let in_words = || texts.iter().find_map(|text| reason_in_words(text));
    let reason = reason_in(&data).or_else(|| match data.is_empty() {
        true => named.or_else(in_words),
        false => None,
    });
    Some((reason, data))
}

/// The reason where it has a name of its own, as Ganache gives it one under the transaction's hash.
fn reason_named(data: &Value, depth: u8) -> Option<String> {
    let fields = data.as_object().filter(|_| depth < 4)?;
    let named = fields.get("reason").and_then(Value::as_str);
    let named = named.filter(|reason| !reason.is_empty()).map(str::to_owned);
    named.or_else(|| {
        let mut inner = fields.values();
        inner.find_map(|inner| reason_named(inner, depth + 1))
    })
}

/// Most nodes put the data at `error.data`, some behind a word, some levels deeper.
fn revert_data(data: &Value, depth: u8) -> Option<Vec<u8>> {
    const KEYS: [&str; 6] = [
        "data",
        "result",
        "return",
        "output",
        "originalError",
        "error",
    ];
    match data {
        Value::String(text) => {
            let (_, digits) = text.split_once("0x")?;
            let end = digits.find(|c: char| !c.is_ascii_hexdigit());
            decode_hex(&format!("0x{}", &digits[..end.unwrap_or(digits.len())]))
        }
        Value::Object(fields) if depth < 4 => KEYS
            .iter()
            .filter_map(|key| fields.get(*key))
            // Ganache files it under the transaction's hash.
            .chain(
                fields
                    .iter()
                    .filter(|(key, _)| key.starts_with("0x"))
                    .map(|(_, value)| value),
            )
            .find_map(|inner| revert_data(inner, depth + 1)),
        _ => None,
    }
}

/// The reason behind the known phrases: `execution reverted: No bets placed`, `revert No bets placed`, `reverted with
/// reason string 'No bets placed'`, `execution reverted (No bets placed)`.
fn reason_in_words(message: &str) -> Option<String> {
    const PHRASES: [&str; 6] = [
        "reason string ",
        "reverted: ",
        "revert: ",
        "reverted (",
        "reverted with reason",
        "revert ",
    ];
    let rest = PHRASES
        .iter()
        .find_map(|phrase| message.split_once(phrase))
        .map(|(_, rest)| rest)?;
    let rest = rest.trim().trim_matches(['\'', '"', ':', ' ']);
    let rest = rest
        .strip_suffix(')')
        .filter(|rest| !rest.contains('('))
        .unwrap_or(rest);
    (!rest.is_empty() && !rest.starts_with("0x")).then(|| rest.to_owned())
}

/// The string of Error(string), or the code of Panic(uint256), in a revert's data.
fn reason_in(data: &[u8]) -> Option<String> {
    let (selector, body) = (data.get(..4)?, &data[4..]);
    match selector {
        [0x08, 0xc3, 0x79, 0xa0] => ethabi::decode(&[ethabi::ParamType::String], body)
            .ok()?
            .into_iter()
            .next()?
            .into_string(),
        [0x4e, 0x48, 0x7b, 0x71] => {
            let code = ethabi::decode(&[ethabi::ParamType::Uint(256)], body).ok()?;
            Some(format!(
                "panic 0x{:x}",
                code.into_iter().next()?.into_uint()?
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
