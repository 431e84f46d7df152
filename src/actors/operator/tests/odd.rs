//! Odd endpoints around a draw: whatever the first of two answers, to whatever it is asked, the draw lands in the first
//! block that allows it or shortly after, and nobody is accused; and on the only endpoint nothing that a draw can do
//! without stops it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::chain::method::Method;
use crate::chain::script::answer_calls;
use crate::chain::script::ways::{fail_if_asked, status, ways_to_fail, Fail};
use crate::chain::transport::Answer;
use crate::lottery::action::ActionState;

/// Fails whatever request asks this method.
fn failing(method: Method, fail: Fail) -> Quirk {
    Box::new(move |request, sound| fail_if_asked(request, method.name(), fail, sound))
}

/// Answers some calls in its own way; None leaves a call to the sound node.
pub(super) fn saying(
    say: impl Fn(&str, &Value, &node::Sound) -> Option<Result<Value, Value>> + Send + Sync + 'static,
) -> Quirk {
    Box::new(move |request, sound| {
        Ok(Answer::json(answer_calls(request, |method, params| {
            say(method, params, sound).unwrap_or_else(|| sound(method, params))
        })))
    })
}

/// Waits until what is out has come to the node: once one endpoint has taken it nobody waits for the others.
pub(super) fn delivered(stage: &Stage) {
    let Some(newest) = stage
        .operator
        .flight
        .as_ref()
        .and_then(|flight| flight.state.newest().map(|newest| newest.hash))
    else {
        return;
    };
    let until = std::time::Instant::now() + Duration::from_secs(10);
    while !stage.sent().iter().any(|sent| sent.hash == newest) {
        assert!(std::time::Instant::now() < until, "it never comes");
        std::thread::yield_now();
    }
}

/// How many blocks after the first that allowed it the draw was mined; what else is wrong in words.
fn played(quirks: Vec<Option<Quirk>>) -> Result<u64, String> {
    let mut stage = Stage::before(settings(), |_| {}, quirks);
    while stage.node.with(|node| node.head().timestamp) < MIN {
        delivered(&stage);
        stage.block();
    }
    let mut late = 0;
    while stage.mined().last() != Some(&(ActionKind::Draw, true)) {
        if late == 40 {
            return Err(format!("not drawn: {}", stage.phase()));
        }
        late += 1;
        delivered(&stage);
        stage.block();
    }
    alone_and_unaccused(&stage, "a draw").map(|()| late)
}

/// That nothing else was mined, and nobody is accused.
pub(super) fn alone_and_unaccused(stage: &Stage, what: &str) -> Result<(), String> {
    let mined = stage.mined();
    if mined.len() > 1 {
        return Err(format!("more than {what} was mined: {mined:?}"));
    }
    let codes = stage.alert_codes();
    let accuses = |code: &String| code.contains("unpayable") || code.contains("operator_changed");
    match codes.into_iter().find(accuses) {
        Some(code) => Err(format!("told: {code}")),
        None => Ok(()),
    }
}

/// A cell of a table: a name, and the endpoints.
pub(super) type Odd = (String, Vec<Option<Quirk>>);
/// How many blocks late it is played; what else is wrong in words.
pub(super) type Play = fn(Vec<Option<Quirk>>) -> Result<u64, String>;

/// The cells of a table that are later than allowed, in words.
pub(super) fn later_than(most: u64, play: Play, cells: impl Iterator<Item = Odd>) -> Vec<String> {
    let judged = cells.filter_map(|(cell, quirks)| match play(quirks) {
        Ok(late) if late <= most => None,
        Ok(late) => Some(format!("{cell}: {late} blocks late")),
        Err(why) => Some(format!("{cell}: {why}")),
    });
    judged.collect()
}

/// Each of these methods failed in each way, by the first of so many endpoints.
fn failing_each(
    methods: impl Iterator<Item = Method>,
    endpoints: usize,
) -> impl Iterator<Item = Odd> {
    methods.flat_map(move |method| {
        ways_to_fail().into_iter().map(move |(way, fail)| {
            let cell = format!("{} by {way}", method.name());
            let mut quirks = vec![Some(failing(method, fail))];
            quirks.resize_with(endpoints, || None);
            (cell, quirks)
        })
    })
}

/// Each method failed in each way by the first of two.
pub(super) fn failing_of_two() -> impl Iterator<Item = Odd> {
    failing_each(Method::ALL.into_iter(), 2)
}

/// What an action cannot do without, where there is one endpoint.
const NEEDED: [Method; 3] = [
    Method::Call,
    Method::TransactionCount,
    Method::SendRawTransaction,
];

/// Each other method failed in each way by the only one.
pub(super) fn failing_alone() -> impl Iterator<Item = Odd> {
    let methods = Method::ALL.into_iter();
    failing_each(methods.filter(|method| !NEEDED.contains(method)), 1)
}

/// What is told by the first of two and is not true, and costs more blocks than it may.
pub(super) fn late_by_untruths(play: Play) -> Vec<String> {
    let judged = untruths().into_iter().flat_map(|(what, most, say)| {
        let cell = (what.to_owned(), vec![Some(saying(say)), None]);
        later_than(most, play, std::iter::once(cell))
    });
    judged.collect()
}

#[test]
fn each_method_failed_in_each_way_by_the_first_of_two_makes_no_draw_late() {
    assert_eq!(later_than(0, played, failing_of_two()), [""; 0]);
}

#[test]
fn what_a_draw_can_do_without_may_fail_in_each_way_on_the_only_endpoint() {
    assert_eq!(later_than(1, played, failing_alone()), [""; 0]);
}

type Say = fn(&str, &Value, &node::Sound) -> Option<Result<Value, Value>>;

pub(super) fn refused(message: &str) -> Option<Result<Value, Value>> {
    Some(Err(error(-32_000, message)))
}

fn reverted(reason: &str) -> Option<Result<Value, Value>> {
    Some(Err(error(3, &format!("execution reverted: {reason}"))))
}

/// True for a call of the contract.
fn is_action(method: &str, params: &Value) -> bool {
    let calls = matches!(method, "eth_call" | "eth_estimateGas");
    calls && params[0]["to"] == json!(format!("{CONTRACT:#x}"))
}

/// The sound node's block with fields of its own.
pub(super) fn block_with(
    (method, params, sound): (&str, &Value, &node::Sound),
    fields: Value,
) -> Option<Result<Value, Value>> {
    if !method.starts_with("eth_getBlockBy") || params[0] == "pending" {
        return None;
    }
    let mut block = sound(method, params).ok()?;
    if let (Some(block), Value::Object(fields)) = (block.as_object_mut(), fields) {
        block.extend(fields);
    }
    Some(Ok(block))
}

fn receipt_with(
    (method, params, sound): (&str, &Value, &node::Sound),
    fields: Value,
) -> Option<Result<Value, Value>> {
    if method != "eth_getTransactionReceipt" {
        return None;
    }
    let mut receipt = sound(method, params).ok()?;
    if let (Some(receipt), Value::Object(fields)) = (receipt.as_object_mut(), fields) {
        receipt.extend(fields);
    }
    Some(Ok(receipt))
}

fn counting(
    method: &str,
    params: &Value,
    sound: &node::Sound,
    by: i64,
) -> Option<Result<Value, Value>> {
    if method != "eth_getTransactionCount" {
        return None;
    }
    let told = sound(method, params).ok()?;
    let count = i64::from_str_radix(told.as_str()?.strip_prefix("0x")?, 16).ok()?;
    Some(Ok(json!(format!("0x{:x}", count + by))))
}

pub(super) fn sending(
    method: &str,
    answer: Option<Result<Value, Value>>,
) -> Option<Result<Value, Value>> {
    answer.filter(|_| method == "eth_sendRawTransaction")
}

fn answering(method: &str, asked: &str, answer: Value) -> Option<Result<Value, Value>> {
    (method == asked).then_some(Ok(answer))
}

/// Answers in good form that are not true, and what they cost at the most, in blocks.
fn untruths() -> Vec<(&'static str, u64, Say)> {
    vec![
        ("nonces far ahead", 0, |m, p, s| counting(m, p, s, 1_000)),
        ("nonces one ahead", 0, |m, p, s| counting(m, p, s, 1)),
        ("nonces that are used", 0, |m, p, s| counting(m, p, s, -1)),
        ("a pending nonce below the latest", 0, |m, p, s| {
            let is_pending = p[1] == "pending";
            is_pending.then(|| counting(m, p, s, -3))?
        }),
        ("no balance", 0, |m, _, _| {
            answering(m, "eth_getBalance", json!("0x0"))
        }),
        ("a balance of a wei", 0, |m, _, _| {
            answering(m, "eth_getBalance", json!("0x1"))
        }),
        ("a gas limit of nothing", 0, |m, p, s| {
            block_with((m, p, s), json!({"gasLimit": "0x5208"}))
        }),
        ("a gas limit below a draw", 0, |m, p, s| {
            block_with(
                (m, p, s),
                json!({"gasLimit": "0xf4241", "baseFeePerGas": "0x0"}),
            )
        }),
        ("an estimate of nothing", 0, |m, p, _| {
            (is_action(m, p) && m == "eth_estimateGas").then(|| Ok(json!("0x1")))
        }),
        ("an estimate that fits nowhere", 0, |m, p, _| {
            (is_action(m, p) && m == "eth_estimateGas").then(|| Ok(json!("0x7fffffffffffffff")))
        }),
        (
            "a base fee in the history that nobody pays",
            0,
            |m, _, _| {
                answering(
                    m,
                    "eth_feeHistory",
                    json!({
                        "baseFeePerGas": ["0xffffffffffffffffffffffff"], "reward": [["0xffffffffffffffffffffff", "0xffffffffffffffffffffff"]],
                    }),
                )
            },
        ),
        ("a base fee in the head that nobody pays", 0, |m, p, s| {
            block_with(
                (m, p, s),
                json!({"baseFeePerGas": "0xffffffffffffffffffffffff"}),
            )
        }),
        ("a price that nobody pays", 0, |m, _, _| {
            answering(m, "eth_gasPrice", json!("0xffffffffffffffffffffffff"))
        }),
        ("a tip that nobody pays", 0, |m, _, _| {
            answering(
                m,
                "eth_maxPriorityFeePerGas",
                json!("0xffffffffffffffffffffffff"),
            )
        }),
        ("no base fee", 0, |m, p, s| {
            block_with((m, p, s), json!({"baseFeePerGas": null}))
        }),
        ("calls of nobody", 0, |m, p, _| {
            is_action(m, p).then(|| reverted("Only operator can call this function"))?
        }),
        ("calls of another block", 0, |m, p, _| {
            is_action(m, p).then(|| reverted("Round must be in betting state"))?
        }),
        ("calls of another time", 0, |m, p, _| {
            is_action(m, p).then(|| reverted("Min draw time not reached"))?
        }),
        ("calls that know no reason", 0, |m, p, _| {
            is_action(m, p).then(|| Some(Err(error(3, "execution reverted"))))?
        }),
        ("calls that run out", 0, |m, p, _| {
            is_action(m, p).then(|| refused("out of gas"))?
        }),
        ("sendings that go nowhere", 0, |m, _, _| {
            sending(m, Some(Ok(json!(format!("0x{}", "5".repeat(64))))))
        }),
        ("sendings known already that are not", 0, |m, _, _| {
            sending(m, refused("already known"))
        }),
        ("sendings as null", 0, |m, _, _| {
            sending(m, Some(Ok(Value::Null)))
        }),
        ("nonce too low", 0, |m, _, _| {
            sending(m, refused("nonce too low"))
        }),
        ("nonce too high", 0, |m, _, _| {
            sending(m, refused("nonce too high"))
        }),
        ("no funds", 0, |m, _, _| {
            sending(m, refused("insufficient funds for gas * price + value"))
        }),
        ("outbid", 0, |m, _, _| {
            sending(m, refused("replacement transaction underpriced"))
        }),
        ("underpriced", 0, |m, _, _| {
            sending(
                m,
                refused("transaction underpriced: tip needed 99999999999999"),
            )
        }),
        ("another type", 0, |m, _, _| {
            sending(m, refused("transaction type not supported"))
        }),
        ("too much gas", 0, |m, _, _| {
            sending(m, refused("exceeds block gas limit"))
        }),
        ("too little gas", 0, |m, _, _| {
            sending(m, refused("intrinsic gas too low"))
        }),
        ("too dear", 0, |m, _, _| {
            sending(
                m,
                refused("tx fee (1.00 ether) exceeds the configured cap (0.000001 ether)"),
            )
        }),
        ("a stranger", 0, |m, _, _| {
            sending(m, refused("invalid sender"))
        }),
        ("a full pool", 0, |m, _, _| {
            sending(m, refused("txpool is full"))
        }),
        ("unknown words", 0, |m, _, _| {
            sending(m, refused("mercury is in retrograde"))
        }),
        ("no receipts", 0, |m, _, _| {
            answering(m, "eth_getTransactionReceipt", Value::Null)
        }),
        ("receipts of others", 0, |m, p, s| {
            receipt_with(
                (m, p, s),
                json!({"transactionHash": format!("0x{}", "5".repeat(64))}),
            )
        }),
        ("receipts without status", 0, |m, p, s| {
            receipt_with((m, p, s), json!({"status": null}))
        }),
        ("receipts of failure", 0, |m, p, s| {
            receipt_with((m, p, s), json!({"status": "0x0"}))
        }),
        ("receipts of another block", 0, |m, p, s| {
            receipt_with(
                (m, p, s),
                json!({"blockHash": format!("0x{}", "5".repeat(64))}),
            )
        }),
        ("another chain", 0, |m, _, _| {
            answering(m, "eth_chainId", json!("0x1"))
        }),
        ("blocks of another hash", 0, |m, p, s| {
            block_with((m, p, s), json!({"hash": format!("0x{}", "5".repeat(64))}))
        }),
        ("blocks of another number", 0, |m, p, s| {
            block_with((m, p, s), json!({"number": "0x7fffffffffffffff"}))
        }),
        ("times in milliseconds", 0, |m, p, s| {
            block_with((m, p, s), json!({"timestamp": "0x19b76da3c00"}))
        }),
        ("one answer to all", 0, |_, _, _| Some(Ok(json!("0x1")))),
        ("nothing to all", 0, |_, _, _| Some(Ok(json!("0x")))),
        ("reverts to all", 0, |_, _, _| reverted("no")),
        ("code at every address", 0, |m, _, _| {
            answering(m, "eth_getCode", json!("0x60"))
        }),
    ]
}

#[test]
fn what_is_not_true_of_the_first_of_two_makes_no_draw_late() {
    assert_eq!(late_by_untruths(played), [""; 0]);
}

#[test]
fn a_balance_that_is_not_true_of_the_only_endpoint_makes_no_draw_late() {
    let about_balances = untruths()
        .into_iter()
        .filter(|(what, _, _)| what.contains("balance"));
    let cells = about_balances.map(|(what, _, say)| (what.to_owned(), vec![Some(saying(say))]));
    assert_eq!(later_than(0, played, cells), [""; 0]);
}

#[test]
fn a_busy_pool_does_not_hide_what_another_refuses_a_draw_for() {
    let takes_legacy = |method: &str, params: &Value, _: &node::Sound| {
        let is_dynamic = params[0]
            .as_str()
            .is_some_and(|raw| raw.starts_with("0x02"));
        sending(method, refused("transaction type not supported")).filter(|_| is_dynamic)
    };
    let is_busy =
        |method: &str, _: &Value, _: &node::Sound| sending(method, refused("the node is busy"));
    for _ in 0..8 {
        let quirks = vec![Some(saying(takes_legacy)), Some(saying(is_busy))];
        assert_eq!(played(quirks), Ok(0));
    }
}

/// As `say` from the first transaction on that this endpoint is sent.
fn once_sent(say: Say) -> Quirk {
    let was_sent = AtomicBool::new(false);
    saying(move |method, params, sound| {
        was_sent.fetch_or(method == "eth_sendRawTransaction", Ordering::Relaxed);
        was_sent
            .load(Ordering::Relaxed)
            .then(|| say(method, params, sound))?
    })
}

/// A receipt of the newest block for whatever is asked for, and a nonce that fits to it.
fn mined_with(
    status: &str,
    (method, params, sound): (&str, &Value, &node::Sound),
) -> Option<Result<Value, Value>> {
    if method != "eth_getTransactionReceipt" {
        return counting(method, params, sound, 1);
    }
    let head = sound("eth_getBlockByNumber", &json!(["latest", false])).ok()?;
    Some(Ok(json!({
        "transactionHash": params[0], "blockNumber": head["number"], "blockHash": head["hash"], "status": status,
        "gasUsed": "0x5208", "effectiveGasPrice": "0x7",
    })))
}

/// What becomes of a draw that so many blocks do not take; what is wrong in words.
fn held_back(blocks: u64, quirk: Quirk) -> Result<(), String> {
    let quirks = vec![Some(quirk), None];
    let mut stage = Stage::before(settings(), |node| node.holds_back = true, quirks);
    let until = |stage: &mut Stage, timestamp: u64| {
        while stage.node.with(|node| node.head().timestamp) < timestamp {
            delivered(stage);
            stage.block();
        }
        delivered(stage);
    };
    until(&mut stage, MIN - 2 + 2 * blocks);
    let mut prices: Vec<_> = stage.sent().iter().map(|sent| sent.fee.cap_wei()).collect();
    prices.dedup();
    if (prices.len() as u64) < 1 + blocks / 3 {
        return Err(format!("{} prices in {blocks} blocks", prices.len()));
    }
    stage.node.with(|node| node.holds_back = false);
    until(&mut stage, MIN + 2 * blocks + 12);
    let sent = stage.sent();
    if sent.iter().any(|sent| sent.kind != ActionKind::Draw) {
        return Err(format!("sent: {sent:?}"));
    }
    if stage.mined() != [(ActionKind::Draw, true)] {
        return Err(format!("mined: {:?}", stage.mined()));
    }
    let told: Vec<_> = stage.records().iter().map(|record| record.state).collect();
    match told.contains(&ActionState::Failed) || told.last() != Some(&ActionState::Done) {
        true => Err(format!("told: {told:?}")),
        false => Ok(()),
    }
}

#[test]
fn what_the_first_of_two_tells_of_a_draw_that_is_out_ends_no_flight_before_its_time() {
    let lies: [(&str, Say); 8] = [
        ("nothing", |_, _, _| None),
        ("a nonce far ahead", |m, p, s| counting(m, p, s, 1_000)),
        ("a nonce one ahead", |m, p, s| counting(m, p, s, 1)),
        ("a nonce that is used", |m, p, s| counting(m, p, s, -1)),
        ("a nonce that never moves", |m, _, _| {
            answering(m, "eth_getTransactionCount", json!("0x5"))
        }),
        ("that it is mined", |m, p, s| mined_with("0x1", (m, p, s))),
        ("that it has failed", |m, p, s| mined_with("0x0", (m, p, s))),
        ("that what was mined has failed", |m, p, s| {
            receipt_with((m, p, s), json!({"status": "0x0"}))
        }),
    ];
    let cells = lies.into_iter().flat_map(|lie| [(0, lie), (6, lie)]);
    let wrong = cells.filter_map(|(blocks, (what, say))| {
        let why = held_back(blocks, once_sent(say)).err()?;
        Some(format!("{what}, out for {blocks} blocks: {why}"))
    });
    assert_eq!(wrong.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn who_was_outvoted_at_the_rehearsal_is_not_asked_first_at_the_draw() {
    let lies: [Say; 4] = [
        |m, p, s| counting(m, p, s, 1_000),
        |m, p, s| {
            let time = s(m, p).ok()?["timestamp"].as_str()?.to_owned();
            let time = u64::from_str_radix(&time[2..], 16).ok()?;
            block_with((m, p, s), json!({"timestamp": format!("{:#x}", time + 20)}))
        },
        |m, _, _| answering(m, "eth_getBalance", json!("0x0")),
        // It pays a draw, not three.
        |m, _, _| answering(m, "eth_getBalance", json!("0x16bcc41e90000")),
    ];
    for say in lies {
        let asked = Arc::new(AtomicU64::new(0));
        let is_cured = Arc::new(AtomicBool::new(false));
        let (counter, cured) = (asked.clone(), is_cured.clone());
        let liar = saying(move |method, params, sound| {
            counter.fetch_add(u64::from(method == "eth_call"), Ordering::Relaxed);
            let lies = !cured.load(Ordering::Relaxed);
            lies.then(|| say(method, params, sound))?
        });
        let mut stage = Stage::before(settings(), |_| {}, vec![Some(liar), None]);
        // Between the rehearsal and the draw lies more time than anybody is set back for.
        stage.until(MIN - 4);
        asked.store(0, Ordering::Relaxed);
        stage.block();
        assert_eq!(stage.sent().first().map(|sent| sent.nonce), Some(5));
        assert_eq!(asked.load(Ordering::Relaxed), 0);
        assert_eq!(
            stage.alert_codes(),
            [""; 0],
            "what others tell is alarming to nobody"
        );
        let outvoted = |stage: &Stage| {
            let endpoint = &stage.endpoints.list()[0];
            endpoint.with_health(|health| health.outvoted().count())
        };
        assert_eq!(outvoted(&stage), 1);
        is_cured.store(true, Ordering::Relaxed);
        stage.round_id = 9;
        stage.clock.advance(Duration::from_secs(1_900));
        stage.node.with(|node| node.mine(1_900));
        stage.until(stage.round().min_draw_time - 40);
        assert_eq!(outvoted(&stage), 0);
    }
}

#[test]
fn a_balance_that_barely_pays_the_base_fee_takes_nothing_from_the_tip_until_a_pool_agrees() {
    let gwei = |amount: u64| U256::exp10(9) * amount;
    // The base fee is 1 gwei and so is the tip: what is told pays half of both.
    let told = gwei(280_000);
    for is_true in [false, true] {
        let tells = move |method: &str, _: &Value, _: &node::Sound| {
            answering(method, "eth_getBalance", json!(format!("{told:#x}")))
        };
        let pool = move |node: &mut Node| {
            node.refuse(move |sent| {
                let worst = sent.fee.cap_wei() * U256::from(sent.gas_limit);
                let is_refused = is_true && worst > told;
                is_refused.then(|| "insufficient funds for gas * price + value".to_owned())
            });
        };
        let mut stage = Stage::before(settings(), pool, vec![Some(saying(tells))]);
        stage.until(MIN);
        assert_eq!(stage.mined(), [(ActionKind::Draw, true)], "true: {is_true}");
        let caps: Vec<U256> = stage.sent().iter().map(|sent| sent.fee.cap_wei()).collect();
        assert_eq!(caps[0], gwei(2), "true: {is_true}");
        assert_eq!(caps.len(), 1 + usize::from(is_true), "{caps:?}");
    }
}

/// What the draw is said to have cost, and what is counted anew after a restart, where the first of two, or the only one,
/// tells these fields of its receipts; and what was offered for its gas.
fn counted_with(fields: &Value, is_alone: bool) -> [U256; 3] {
    let fields = fields.clone();
    let lies =
        saying(move |method, params, sound| receipt_with((method, params, sound), fields.clone()));
    let quirks = [Some(lies), None].into_iter();
    let quirks = quirks.take(if is_alone { 1 } else { 2 }).collect();
    let mut stage = Stage::before(settings(), |_| {}, quirks);
    while stage.mined().is_empty() || stage.operator.flight.is_some() {
        delivered(&stage);
        stage.block();
    }
    let draw = stage.sent().pop().unwrap();
    let spent_wei = stage.operator.spending.spent_wei(stage.clock.now());
    restarts::tell_of_the_draw(&stage, draw.hash);
    stage.restart();
    stage.block();
    let again_wei = stage.operator.spending.spent_wei(stage.clock.now());
    let offered_wei = draw.fee.cap_wei() * U256::from(draw.gas_limit);
    [spent_wei, again_wei, offered_wei]
}

#[test]
fn no_receipt_makes_a_draw_cost_nothing_or_more_than_was_offered() {
    let absurd = ["0x0", "-1", "much", "", &format!("0x8{}", "0".repeat(63))];
    let absurd = absurd.map(|text| json!(text));
    let absurd = absurd.into_iter().chain([json!(-1), json!({}), json!(0.5)]);
    let mut lies: Vec<Value> = absurd
        .flat_map(|lie| {
            [
                json!({"effectiveGasPrice": lie}),
                json!({"l1Fee": lie}),
                json!({"effectiveGasPrice": lie, "l1Fee": lie}),
            ]
        })
        .collect();
    lies.push(json!({"effectiveGasPrice": null}));
    lies.extend(["0x0", "0xffffffffffffffff"].map(|gas| json!({"gasUsed": gas})));
    // 100,000 gas at 1 gwei.
    let truth_wei = U256::exp10(14);
    let mut wrong = Vec::new();
    for lie in lies {
        let [spent_wei, again_wei, _] = counted_with(&lie, false);
        if (spent_wei, again_wei) != (truth_wei, truth_wei) {
            wrong.push(format!("{lie} of two: {spent_wei}, again {again_wei}"));
        }
        let [spent_wei, again_wei, offered_wei] = counted_with(&lie, true);
        let is_possible = spent_wei >= truth_wei && spent_wei <= offered_wei * 2;
        // What was offered is not known any more: the truth, or unknown.
        if !is_possible || !(again_wei.is_zero() || again_wei == truth_wei) {
            wrong.push(format!("{lie} alone: {spent_wei}, again {again_wei}"));
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn a_page_in_place_of_the_first_sending_makes_no_draw_late_and_neither_does_one_after_it() {
    for arrives in [false, true] {
        for mined_at_once in [false, true] {
            let first = AtomicBool::new(true);
            let spoils: Quirk = Box::new(move |request, sound| {
                let answer = || Ok(Answer::json(answer_calls(request, sound)));
                let is_sending = request["method"] == "eth_sendRawTransaction";
                if !(is_sending && first.swap(false, Ordering::Relaxed)) {
                    return match is_sending && arrives && mined_at_once {
                        true => Ok(Answer::json(answer_calls(request, |_, _| {
                            Err(error(-32_000, "nonce too low"))
                        }))),
                        false => answer(),
                    };
                }
                if arrives {
                    let _ = answer();
                }
                status(200, "<html>Bad gateway</html>")
            });
            let case = format!("arrives {arrives}, mined at once {mined_at_once}");
            assert_eq!(played(vec![Some(spoils)]), Ok(0), "{case}");
        }
    }
}

#[test]
fn a_draw_that_was_taken_is_known_and_paid_for_whatever_is_said_of_its_nonce_then() {
    let first = AtomicBool::new(true);
    // It is taken, and mined before it is sent once more.
    let spoils: Quirk = Box::new(move |request, sound| {
        if request["method"] != "eth_sendRawTransaction" {
            return Ok(Answer::json(answer_calls(request, sound)));
        }
        if first.swap(false, Ordering::Relaxed) {
            let _ = answer_calls(request, sound);
            return status(200, "<html>Bad gateway</html>");
        }
        Ok(Answer::json(answer_calls(request, |_, _| {
            Err(error(-32_000, "nonce too low"))
        })))
    });
    let mut stage = Stage::before(settings(), |_| {}, vec![Some(spoils)]);
    while stage.mined().is_empty() {
        stage.block();
    }
    stage.block();
    assert_eq!(stage.mined(), [(ActionKind::Draw, true)]);
    assert!(stage.operator.flight.is_none());
    let spent_wei = stage.operator.spending.spent_wei(stage.clock.now());
    assert_eq!(spent_wei, U256::exp10(14), "100,000 gas at 1 gwei");
    assert_eq!(stage.alert_codes(), [""; 0]);
}
