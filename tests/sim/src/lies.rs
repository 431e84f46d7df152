//! What one node tells that is well-formed and not so, while the others tell the truth: whatever it is, draws come in time, none
//! of them in vain, and nobody is accused. Left out are fields of the round that nothing else tells: they are shown as they
//! are told, and the draw's check finds out what is so.

use std::time::Duration;

use serde_json::{json, Value};

use crate::campaign::play;
use crate::plan::{Plan, Planned, What};
use crate::wire::Trouble;
use crate::world::GWEI;

/// A field of getRound().
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    RoundId = 0,
    Pot = 5,
    State = 10,
}

/// A lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// The time of all blocks is so many seconds further on.
    Time(i64),
    /// The newest block is one of its own, so many blocks further on.
    NewestBlock(u64),
    Nonce(i64),
    Balance(u128),
    BaseFee(u128),
    /// What is told of tips and of the price of gas.
    Prices(u128),
    Estimate(u64),
    /// The draw would revert.
    Reverts(&'static str),
    /// A field of the round is so much more or less.
    Round(Field, i64),
    /// Every account has code.
    Code,
    ReceiptFails,
    NoReceipt,
    /// Whatever is sent has another hash.
    OtherHash,
    /// Whatever is sent is refused so, and taken.
    RefusedAndTaken(&'static str),
    /// Whatever is sent is refused so, and not taken.
    Refused(&'static str),
}

const DRAW: &str = "0xb2185bb1";
const GET_ROUND: &str = "0x9f8743f7";

impl Lie {
    pub const ALL: &[Lie] = &[
        Lie::Time(1),
        Lie::Time(2),
        Lie::Time(3),
        Lie::Time(9),
        Lie::Time(70),
        Lie::Time(100_000),
        Lie::Time(-1),
        Lie::Time(-3),
        Lie::Time(-9),
        Lie::Time(-70),
        Lie::NewestBlock(1),
        Lie::NewestBlock(3),
        Lie::NewestBlock(1_000_000),
        Lie::Nonce(1),
        Lie::Nonce(-1),
        Lie::Nonce(7),
        Lie::Balance(0),
        Lie::Balance(1),
        Lie::Balance(u128::MAX),
        Lie::BaseFee(0),
        Lie::BaseFee(1),
        Lie::BaseFee(50 * GWEI),
        Lie::BaseFee(100_000 * GWEI),
        Lie::Prices(0),
        Lie::Prices(100_000 * GWEI),
        Lie::Estimate(0),
        Lie::Estimate(21_000),
        Lie::Estimate(90_000),
        Lie::Estimate(60_000_000),
        Lie::Reverts("Not in draw window"),
        Lie::Reverts("Transfer failed"),
        Lie::Reverts("Only operator can call this function"),
        Lie::Round(Field::RoundId, -1),
        Lie::Round(Field::Pot, -1_000),
        Lie::Round(Field::State, -1),
        Lie::Code,
        Lie::ReceiptFails,
        Lie::NoReceipt,
        Lie::OtherHash,
        Lie::RefusedAndTaken("already known"),
        Lie::RefusedAndTaken("nonce too low"),
        Lie::RefusedAndTaken("internal error"),
        Lie::Refused("already known"),
        Lie::Refused("nonce too low"),
        Lie::Refused("nonce too high"),
        Lie::Refused("insufficient funds for gas * price + value"),
        Lie::Refused("replacement transaction underpriced"),
        Lie::Refused("intrinsic gas too low"),
        Lie::Refused("transaction type not supported"),
    ];

    /// What is told in place of what is so.
    pub fn tell(
        self,
        method: &str,
        params: &Value,
        truth: Result<Value, Value>,
    ) -> Result<Value, Value> {
        let fail = |message: &str| Err(json!({"code": -32_000, "message": message}));
        let data = || params[0]["data"].as_str().unwrap_or_default().to_owned();
        let is_block = method.starts_with("eth_getBlockBy");
        match (self, method) {
            (Lie::Refused(words) | Lie::RefusedAndTaken(words), "eth_sendRawTransaction") => {
                fail(words)
            }
            (Lie::OtherHash, "eth_sendRawTransaction") => {
                truth.map(|_| json!(format!("0x{}", "ab".repeat(32))))
            }
            (Lie::Reverts(words), "eth_call" | "eth_estimateGas") if data() == DRAW => {
                Err(json!({"code": 3, "message": format!("execution reverted: {words}")}))
            }
            (Lie::Nonce(by), "eth_getTransactionCount") => truth.map(|told| more(&told, by)),
            (Lie::Balance(wei), "eth_getBalance") => truth.map(|_| json!(format!("{wei:#x}"))),
            (Lie::Estimate(gas), "eth_estimateGas") => truth.map(|_| json!(format!("{gas:#x}"))),
            (Lie::Code, "eth_getCode") => truth.map(|_| json!("0x6000")),
            (Lie::NoReceipt, "eth_getTransactionReceipt") => Ok(Value::Null),
            (Lie::Prices(wei), "eth_gasPrice" | "eth_maxPriorityFeePerGas") => {
                truth.map(|_| json!(format!("{wei:#x}")))
            }
            (Lie::Round(field, by), "eth_call") if data() == GET_ROUND => {
                truth.map(|told| json!(changed(told.as_str().unwrap_or_default(), field, by)))
            }
            (_, _) => truth.map(|mut told| {
                match (self, method) {
                    (Lie::ReceiptFails, "eth_getTransactionReceipt") if told.is_object() => {
                        told["status"] = json!("0x0");
                    }
                    (Lie::Time(by), _) if is_block && told.is_object() => {
                        told["timestamp"] = more(&told["timestamp"], by);
                    }
                    (Lie::NewestBlock(by), _) if is_block && params[0] == "latest" => {
                        told["number"] = more(&told["number"], by as i64);
                        told["timestamp"] = more(&told["timestamp"], by as i64);
                        told["parentHash"] = json!(format!("0x{}", "cd".repeat(32)));
                        told["hash"] = json!(format!("0x{}", "ce".repeat(32)));
                    }
                    (Lie::BaseFee(wei), _) if is_block && told.is_object() => {
                        told["baseFeePerGas"] = json!(format!("{wei:#x}"));
                    }
                    (Lie::BaseFee(wei), "eth_feeHistory") => {
                        if let Some(fees) = told["baseFeePerGas"].as_array_mut() {
                            fees.fill(json!(format!("{wei:#x}")));
                        }
                    }
                    (Lie::Prices(wei), "eth_feeHistory") => {
                        let rewards = told["reward"].as_array_mut();
                        for rewards in rewards.into_iter().flatten() {
                            if let Some(rewards) = rewards.as_array_mut() {
                                rewards.fill(json!(format!("{wei:#x}")));
                            }
                        }
                    }
                    _ => {}
                }
                told
            }),
        }
    }

    /// Whether what is sent reaches the pool.
    pub fn takes(self) -> bool {
        !matches!(self, Lie::Refused(_))
    }
}

fn more(told: &Value, by: i64) -> Value {
    let text = told.as_str().unwrap_or_default();
    let number = u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or_default();
    json!(format!("{:#x}", number.saturating_add_signed(by)))
}

fn changed(round: &str, field: Field, by: i64) -> String {
    let at = 2 + 64 * field as usize;
    let Some(word) = round.get(at..at + 64) else {
        return round.to_owned();
    };
    let number = u128::from_str_radix(&word[32..], 16).unwrap_or_default();
    let number = number.saturating_add_signed(by.into());
    format!("{}{number:064x}{}", &round[..at], &round[at + 64..])
}

const ROUNDS: usize = 3;
/// Blocks come once a second, and a draw may be two of them late.
const LATEST: Duration = Duration::from_secs(2);
/// Before the second round's window opens, and until after its draw.
const SHORTLY_BEFORE_MS: i64 = -12_000;
const LASTS: Duration = Duration::from_secs(40);

/// What goes wrong where one of so many endpoints tells a lie: from the start on, or in the second round.
pub fn faults() -> Vec<String> {
    let liars = [(0, 3), (0, 2), (1, 2)];
    let since = [None, Some(SHORTLY_BEFORE_MS)];
    let tales = Lie::ALL.iter().flat_map(|lie| liars.map(|of| (*lie, of)));
    let tales = tales.flat_map(|(lie, of)| since.map(|begins_ms| (lie, of, begins_ms)));
    tales.filter_map(fault).collect()
}

fn fault(
    (lie, (liar, endpoints), begins_ms): (Lie, (usize, usize), Option<i64>),
) -> Option<String> {
    let mut plan = Plan::plain(endpoints, ROUNDS);
    let trouble = Trouble::Lies(lie);
    match begins_ms {
        None => plan.standing = vec![(liar, trouble)],
        Some(begins_ms) => {
            plan.troubles = vec![Planned {
                round: 1,
                begins_ms,
                lasts: LASTS,
                what: What::Of(liar, trouble),
            }];
        }
    }
    let outcome = play(&plan);
    let in_time = outcome.drawn.iter().filter(|(_, after)| *after <= LATEST);
    let is_sound = in_time.count() == ROUNDS && outcome.violations.is_empty();
    (!is_sound).then(|| {
        let (drawn, broken) = (outcome.drawn, outcome.violations);
        format!("{lie:?} of endpoint {liar} of {endpoints}, {begins_ms:?}: {drawn:?}, {broken:?}")
    })
}
