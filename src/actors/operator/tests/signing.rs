//! Rounds whose transactions are signed elsewhere: by a signer that falls silent, or signs what nobody asked for.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::chain::encode::{decode_hex, encode_hex};
use crate::chain::error::RpcError;
use crate::chain::script::{answer_calls, Script};
use crate::chain::signer::RemoteSigner;
use crate::chain::transport::Answer;
use crate::chain::tx::Transaction;
use crate::lottery::lateness::LateReason;

/// What the signer does; a test changes it while a round runs.
#[derive(Default)]
struct Conduct {
    is_silent: AtomicBool,
    /// So much is added to each nonce.
    nonce_shift: AtomicU64,
    asked: AtomicU64,
}

/// A stage whose operator has its transactions signed elsewhere.
fn stage() -> (Stage, Arc<Conduct>) {
    let mut stage = Stage::new(|_| {});
    let conduct = Arc::new(Conduct::default());
    let own = conduct.clone();
    let script = Script::of_requests("http://signer.example", move |request| {
        own.asked.fetch_add(1, Ordering::Relaxed);
        if own.is_silent.load(Ordering::Relaxed) {
            return Err(RpcError::transport("timed out"));
        }
        let shift = own.nonce_shift.load(Ordering::Relaxed);
        let answer = |_: &str, params: &Value| Ok(json!(signed(&params[0], shift)));
        Ok(Answer::json(answer_calls(request, answer)))
    });
    let account = OperatorKey::from_hex(KEY).unwrap().address();
    let remote = RemoteSigner::over(Arc::new(script), account, stage.clock.clone());
    let remote = Signer::Elsewhere(remote);
    stage.operator.sender = Some(sender(remote, &stage.endpoints, U256::exp10(18)));
    // The rehearsal of the stage's own key counts for nothing.
    stage.operator.round.rehearsed = None;
    (stage, conduct)
}

/// A request as a sound signer signs it, but for its nonce.
fn signed(request: &Value, nonce_shift: u64) -> String {
    let word = |name: &str| {
        let digits = request[name].as_str().unwrap().trim_start_matches("0x");
        U256::from_str_radix(digits, 16).unwrap()
    };
    let transaction = Transaction {
        chain_id: word("chainId").as_u64(),
        nonce: word("nonce").as_u64().wrapping_add(nonce_shift),
        to: request["to"].as_str().unwrap().parse().unwrap(),
        value_wei: word("value"),
        data: decode_hex(request["data"].as_str().unwrap()).unwrap(),
        gas_limit: word("gas").as_u64(),
        fee: Fee::Dynamic {
            cap_wei: word("maxFeePerGas"),
            tip_wei: word("maxPriorityFeePerGas"),
        },
    };
    let key = OperatorKey::from_hex(KEY).unwrap();
    encode_hex(&transaction.sign(&key).raw)
}

#[test]
fn a_signer_elsewhere_makes_no_draw_late() {
    let (mut stage, conduct) = stage();
    stage.until(MIN + 2);
    assert_eq!(stage.mined(), [(ActionKind::Draw, true)]);
    // Once for the rehearsal, once for the draw.
    assert_eq!(conduct.asked.load(Ordering::Relaxed), 2);
    assert_eq!(stage.alert_codes(), Vec::<String>::new());
}

#[test]
fn a_silent_signer_is_told_of_before_the_window_and_until_it_signs_again() {
    let (mut stage, conduct) = stage();
    conduct.is_silent.store(true, Ordering::Relaxed);
    stage.until(MIN - 40);
    let told = stage.alert_codes();
    assert_eq!(told, ["rehearsal firing", "signer_failed firing"]);
    conduct.is_silent.store(false, Ordering::Relaxed);
    stage.until(MIN - 10);
    let told = stage.alert_codes();
    assert!(
        told.contains(&"signer_failed resolved".to_owned()),
        "{told:?}"
    );
    stage.until(MIN + 2);
    assert_eq!(stage.mined(), [(ActionKind::Draw, true)]);
}

#[test]
fn an_outage_of_the_signer_in_the_window_is_told_and_the_draw_comes_with_its_end() {
    let (mut stage, conduct) = stage();
    stage.until(MIN - 10);
    conduct.is_silent.store(true, Ordering::Relaxed);
    stage.until(MIN + 20);
    assert_eq!(stage.sent(), []);
    let held_up_by = stage.operator.reporter.status.held_up_by;
    assert_eq!(held_up_by, Some(LateReason::SignerFailed));
    assert!(stage
        .alert_codes()
        .contains(&"signer_failed firing".to_owned()));
    let alert = stage
        .alerts()
        .into_iter()
        .find(|it| it.subject == Subject::None);
    assert_eq!(
        alert.unwrap().message,
        "the signer does not sign: it did not answer"
    );
    // It is tried at every head and every second between, not more.
    let before = conduct.asked.load(Ordering::Relaxed);
    stage.pass(10);
    let tries = conduct.asked.load(Ordering::Relaxed) - before;
    assert!((8..=12).contains(&tries), "{tries}");
    conduct.is_silent.store(false, Ordering::Relaxed);
    stage.block();
    stage.block();
    assert_eq!(stage.mined(), [(ActionKind::Draw, true)]);
    assert!(stage
        .alert_codes()
        .contains(&"signer_failed resolved".to_owned()));
}

#[test]
fn nothing_is_sent_that_was_not_asked_for() {
    let (mut stage, conduct) = stage();
    conduct.nonce_shift.store(1, Ordering::Relaxed);
    stage.until(MIN + 20);
    assert_eq!(stage.sent(), []);
    let told: Vec<String> = stage.alerts().iter().map(|it| it.message.clone()).collect();
    assert!(
        told.iter().any(|it| it.ends_with("nonce differs")),
        "{told:?}"
    );
    conduct.nonce_shift.store(0, Ordering::Relaxed);
    stage.block();
    stage.block();
    assert_eq!(stage.mined(), [(ActionKind::Draw, true)]);
}

#[test]
fn what_cannot_be_signed_anew_stays_out_and_is_raised_once_it_can() {
    let (mut stage, conduct) = stage();
    stage.node.with(|node| node.holds_back = true);
    stage.until(MIN);
    assert!(!stage.sent().is_empty());
    conduct.is_silent.store(true, Ordering::Relaxed);
    for _ in 0..4 {
        stage.block();
    }
    // The bytes that were signed are sent again at every head.
    let hashes: std::collections::BTreeSet<_> = stage.sent().iter().map(|it| it.hash).collect();
    assert_eq!(hashes.len(), 1);
    conduct.is_silent.store(false, Ordering::Relaxed);
    for _ in 0..4 {
        stage.block();
    }
    let fees: Vec<U256> = stage.sent().iter().map(|it| it.fee.cap_wei()).collect();
    assert!(fees.last() > fees.first(), "{fees:?}");
    stage.node.with(|node| node.holds_back = false);
    stage.block();
    assert_eq!(stage.mined(), [(ActionKind::Draw, true)]);
}
