//! What the figures mean for a draw: prices against the caps, money against the price, a standby's delay against the
//! window, and what a contract or a pool answers when it is tried. Pure.

use crate::actors::sender::DRAW_GAS;
use crate::chain::error::{ErrorKind, NodeError, RpcError};
use crate::chain::types::U256;
use crate::commands::check::findings::{Findings, Verdict};
use crate::lottery::round::ContractConfig;
use crate::web::view::ether;

const OTHER_ENDPOINT: &str = "use another endpoint";
/// A balance below so many draws is short.
const DRAWS_AT_HAND_MIN: u64 = 3;

/// The caps of the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caps {
    pub max_fee_wei: U256,
    pub max_tx_fee_wei: U256,
}

/// The price of a unit of gas against both caps. A base fee above a cap keeps every transaction out of every block.
pub(crate) fn price(findings: &mut Findings, price_wei: U256, caps: Caps, players: u64) {
    const CHECK: &str = "price";
    let gas = U256::from(DRAW_GAS.gas(players));
    let affordable_wei = caps.max_tx_fee_wei / gas;
    let (cap_wei, setting, cap_text) = match affordable_wei < caps.max_fee_wei {
        true => (
            affordable_wei,
            "blockchain.max_tx_fee_ether",
            format!(
                "{} gwei, which is max_tx_fee_ether ({}) over {gas} gas",
                gwei(affordable_wei),
                ether(caps.max_tx_fee_wei)
            ),
        ),
        false => (
            caps.max_fee_wei,
            "blockchain.max_fee_gwei",
            format!("max_fee_gwei ({})", gwei(caps.max_fee_wei)),
        ),
    };
    let found = format!(
        "{} gwei a unit of gas, allowed is {cap_text}",
        gwei(price_wei)
    );
    if price_wei >= cap_wei {
        let way_out = format!("no draw would be mined: raise {setting}, or wait for lower prices");
        findings.bad(CHECK, found, &way_out);
    } else if price_wei.saturating_mul(U256::from(2)) > cap_wei {
        let cost = format!("more than half of the cap: if it doubles no draw is mined, so consider a higher {setting}");
        findings.costs(CHECK, found, &cost);
    } else {
        findings.good(CHECK, found);
    }
}

/// The key's money against the price of a draw.
pub(crate) fn balance(findings: &mut Findings, balance_wei: U256, price_wei: U256, players: u64) {
    const CHECK: &str = "balance";
    let draw_wei = price_wei.saturating_mul(U256::from(DRAW_GAS.gas(players)));
    let found = format!(
        "{} ETH, a draw costs about {} ETH at the present price",
        ether(balance_wei),
        ether(draw_wei)
    );
    if balance_wei.is_zero() || balance_wei < draw_wei {
        findings.bad(CHECK, found, "send ether to the key's address");
    } else if balance_wei < draw_wei.saturating_mul(U256::from(DRAWS_AT_HAND_MIN)) {
        let cost =
            format!("fewer than {DRAWS_AT_HAND_MIN} draws' worth: send ether to the key's address");
        findings.costs(CHECK, found, &cost);
    } else {
        findings.good(CHECK, found);
    }
}

/// The draw window, and whether a standby that sleeps so long could still draw in it.
pub(crate) fn window(findings: &mut Findings, found: &ContractConfig, standby_secs: u64) {
    let window_secs = found
        .max_draw_delay_secs
        .saturating_sub(found.min_draw_delay_secs);
    findings.plain("draw window", format!("{window_secs} s"));
    if standby_secs == 0 {
        return;
    }
    // A standby that wakes after the window, or in its last third, could never draw.
    let fits = standby_secs.saturating_mul(3) <= window_secs.saturating_mul(2);
    let told = format!("{standby_secs} s of a window of {window_secs} s");
    match fits {
        true => findings.good("standby_delay", told),
        false => findings.bad(
            "standby_delay",
            told,
            "set operator.standby_delay to at most two thirds of the window",
        ),
    }
}

/// An action tried as the operator: a named revert is an answer as good as success, since the round may not be there yet.
pub(crate) fn tried(
    findings: &mut Findings,
    check: &'static str,
    answer: Result<Vec<u8>, RpcError>,
) {
    match answer {
        Ok(_) => findings.good(check, "would succeed now"),
        Err(error) => match &error.kind {
            ErrorKind::Reverted {
                reason: Some(reason),
                ..
            } => findings.good(check, format!("answered: {reason}")),
            ErrorKind::Reverted { .. } => findings.costs(
                check,
                error.to_string(),
                "a player that cannot be paid, or a contract that is not the lottery",
            ),
            _ => findings.bad(check, error.to_string(), OTHER_ENDPOINT),
        },
    }
}

/// What became of a transaction that no pool may take: only a pool's verdict shows that a good one would be looked at.
pub(crate) fn sending<T>(findings: &mut Findings, answer: Result<T, RpcError>) {
    const CHECK: &str = "sending";
    let Err(error) = answer else {
        return findings.good(CHECK, "takes transactions without looking at them");
    };
    let text = error.to_string();
    let lower = text.to_lowercase();
    let denied = [
        "method",
        "not found",
        "not supported",
        "not allowed",
        "not available",
        "forbidden",
    ];
    match error.kind {
        ErrorKind::Node(NodeError::TypeNotSupported) => findings.add(
            CHECK,
            Verdict::Good,
            format!("answered: {text}"),
            Some("legacy transactions will be sent".to_owned()),
        ),
        ErrorKind::Node(class) if class != NodeError::Other => {
            findings.good(
                CHECK,
                format!("a bad transaction is refused as one: {text}"),
            );
        }
        ErrorKind::Node(_) | ErrorKind::Reverted { .. }
            if !denied.iter().any(|words| lower.contains(words)) =>
        {
            findings.costs(
                CHECK,
                text,
                "refused in unknown words: a good transaction may be taken, but try one before you rely on it",
            );
        }
        _ => findings.bad(
            CHECK,
            text,
            "this endpoint takes no transactions: use another one for eth_sendRawTransaction",
        ),
    }
}

/// Gwei with at most three decimals.
fn gwei(wei: U256) -> String {
    let milli = wei / U256::exp10(6);
    let (whole, rest) = milli.div_mod(U256::from(1_000));
    let decimals = format!("{:03}", rest.low_u64());
    match decimals.trim_end_matches('0') {
        "" => whole.to_string(),
        decimals => format!("{whole}.{decimals}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::types::Address;

    fn gwei_of(amount: u64) -> U256 {
        U256::from(amount) * U256::exp10(9)
    }

    fn caps(max_fee_gwei: u64, max_tx_fee_gwei: u64) -> Caps {
        Caps {
            max_fee_wei: gwei_of(max_fee_gwei),
            max_tx_fee_wei: gwei_of(max_tx_fee_gwei),
        }
    }

    fn one(judge: impl FnOnce(&mut Findings)) -> (Verdict, String) {
        let mut findings = Findings::of("x");
        judge(&mut findings);
        let last = findings.list.pop().unwrap();
        let advice = last.advice.unwrap_or_default();
        (last.verdict, format!("{} {advice}", last.found))
    }

    #[test]
    fn a_price_at_the_cap_is_told_with_both_numbers_and_the_setting() {
        // 300,000 gas of an empty round: 1,000,000 gwei are 3.333 a unit.
        for (price_gwei, caps, verdict, named) in [
            (499, caps(1_000, u64::MAX / 4), Verdict::Good, "499 gwei"),
            (
                501,
                caps(1_000, u64::MAX / 4),
                Verdict::Costs,
                "max_fee_gwei (1000)",
            ),
            (
                999,
                caps(1_000, u64::MAX / 4),
                Verdict::Costs,
                "blockchain.max_fee_gwei",
            ),
            (
                1_000,
                caps(1_000, u64::MAX / 4),
                Verdict::Bad,
                "raise blockchain.max_fee_gwei",
            ),
            (
                1,
                caps(1_000, 1_000_000),
                Verdict::Good,
                "allowed is 3.333 gwei",
            ),
            (
                2,
                caps(1_000, 1_000_000),
                Verdict::Costs,
                "max_tx_fee_ether (0.001)",
            ),
            (
                4,
                caps(1_000, 1_000_000),
                Verdict::Bad,
                "raise blockchain.max_tx_fee_ether",
            ),
        ] {
            let (found, text) = one(|findings| price(findings, gwei_of(price_gwei), caps, 0));
            assert_eq!(found, verdict, "{price_gwei}: {text}");
            assert!(text.contains(named), "{text}");
        }
    }

    #[test]
    fn a_balance_is_measured_in_draws() {
        for (balance_gwei, verdict) in [
            (0, Verdict::Bad),
            (299_999, Verdict::Bad),
            (300_000, Verdict::Costs),
            (899_999, Verdict::Costs),
            (900_000, Verdict::Good),
        ] {
            let judge = |findings: &mut Findings| {
                balance(findings, gwei_of(balance_gwei), gwei_of(1), 0);
            };
            assert_eq!(one(judge).0, verdict, "{balance_gwei}");
        }
        let free = one(|findings| balance(findings, U256::zero(), U256::zero(), 0));
        assert_eq!(free.0, Verdict::Bad);
    }

    #[test]
    fn a_standby_that_sleeps_past_two_thirds_of_the_window_is_refused() {
        let config = |min_draw_delay_secs, max_draw_delay_secs| ContractConfig {
            min_draw_delay_secs,
            max_draw_delay_secs,
            publisher: Address::zero(),
            operator: Address::zero(),
            commission_bps: 0,
            min_bet_wei: U256::one(),
            betting_duration_secs: 180,
            min_end_time_extension_secs: 60,
            min_participants: 2,
        };
        for (standby_secs, verdict) in [
            (0, Verdict::Plain),
            (1, Verdict::Good),
            (60, Verdict::Good),
            (61, Verdict::Bad),
            (u64::MAX, Verdict::Bad),
        ] {
            let judge = |findings: &mut Findings| window(findings, &config(5, 95), standby_secs);
            assert_eq!(one(judge).0, verdict, "{standby_secs}");
        }
        assert_eq!(
            one(|findings| window(findings, &config(9, 5), 1)).0,
            Verdict::Bad
        );
    }

    #[test]
    fn a_named_revert_is_an_answer_and_a_refusal_to_call_is_none() {
        let reverted = |reason: Option<&str>| {
            let reason = reason.map(str::to_owned);
            RpcError::new(
                ErrorKind::Reverted {
                    reason,
                    data: Vec::new(),
                },
                "reverted",
            )
        };
        for (answer, verdict) in [
            (Ok(Vec::new()), Verdict::Good),
            (
                Err(reverted(Some("Min draw time not reached"))),
                Verdict::Good,
            ),
            (Err(reverted(None)), Verdict::Costs),
            (Err(RpcError::transport("cut off")), Verdict::Bad),
            (
                Err(RpcError::new(ErrorKind::Parked, "HTTP 403")),
                Verdict::Bad,
            ),
        ] {
            assert_eq!(
                one(|findings| tried(findings, "drawWinner", answer)).0,
                verdict
            );
        }
    }

    #[test]
    fn only_a_pools_verdict_shows_that_transactions_are_taken() {
        let node = |class, text: &str| Err(RpcError::new(ErrorKind::Node(class), text));
        for (answer, verdict) in [
            (Ok(()), Verdict::Good),
            (
                node(NodeError::GasTooLow, "intrinsic gas too low"),
                Verdict::Good,
            ),
            (
                node(NodeError::InsufficientFunds, "insufficient funds"),
                Verdict::Good,
            ),
            (
                node(
                    NodeError::TypeNotSupported,
                    "transaction type not supported",
                ),
                Verdict::Good,
            ),
            (node(NodeError::Other, "computer says no"), Verdict::Costs),
            (
                node(
                    NodeError::Other,
                    "the method eth_sendRawTransaction does not exist",
                ),
                Verdict::Bad,
            ),
            (node(NodeError::Other, "Method not found"), Verdict::Bad),
            (
                Err(RpcError::new(ErrorKind::Parked, "HTTP 405")),
                Verdict::Bad,
            ),
            (Err(RpcError::transport("timed out")), Verdict::Bad),
        ] {
            let (found, text) = one(|findings| sending(findings, answer));
            assert_eq!(found, verdict, "{text}");
        }
    }

    #[test]
    fn gwei_are_told_with_the_decimals_that_count() {
        for (wei, text) in [
            (0u64, "0"),
            (1_000_000_000, "1"),
            (1_234_567_891, "1.234"),
            (50_000_000, "0.05"),
        ] {
            assert_eq!(gwei(U256::from(wei)), text);
        }
    }
}
