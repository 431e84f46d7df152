//! The numbers that a pool names when it refuses a transaction: the least tip, the least price, the most fee. Pure.
//! Which class a refusal is of is decided in `error`; here its text is only searched for amounts.

use crate::chain::types::U256;

/// The least that a refusal asks for, a unit of gas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeastFee {
    pub tip_wei: Option<U256>,
    /// The whole price: base fee and tip.
    pub price_wei: Option<U256>,
}

/// Phrases before the number of the least tip.
const TIP_PHRASES: [&str; 7] = [
    "tip needed",
    "minimum tip",
    "min tip",
    "minimum priority fee",
    "priority fee per gas too low, minimum",
    "tip required",
    "least tip",
];
/// Phrases before the number of the least price; in a text about tips they name the tip.
const LEAST_PHRASES: [&str; 10] = [
    "minimum needed",
    "minimum required",
    "minimum gas price",
    "minimum is",
    "minimum:",
    "minimum",
    "at least",
    "required",
    "needed",
    "want",
];
/// Phrases before the base fee of the block that the transaction would have been in.
const BASE_FEE_PHRASES: [&str; 3] = ["basefee", "base fee", "baseFeePerGas"];

/// What the refusal says would have been enough.
pub(crate) fn least_fee(refusal: &str) -> LeastFee {
    let text = refusal.to_lowercase();
    let named = |phrases: &[&str]| {
        phrases
            .iter()
            .find_map(|phrase| amount_after(&text, phrase))
    };
    let is_about_tips = text.contains("tip") || text.contains("priority");
    let mut least = LeastFee {
        tip_wei: named(&TIP_PHRASES),
        price_wei: named(&BASE_FEE_PHRASES),
    };
    if let Some(amount) = named(&LEAST_PHRASES) {
        match is_about_tips {
            true => least.tip_wei = least.tip_wei.or(Some(amount)),
            false => least.price_wei = Some(amount.max(least.price_wei.unwrap_or_default())),
        }
    }
    least
}

/// The most that a node lets a transaction cost, which stands last: `... the configured cap (1.00 ether)` in geth's words, in
/// wei in reth's.
pub fn fee_cap_wei(refusal: &str) -> Option<U256> {
    let (_, within) = refusal.rsplit_once('(')?;
    let (amount, _) = within.split_once(')')?;
    let (number, unit) = amount.trim().split_once(' ')?;
    let exponent = match unit {
        "ether" => 18,
        "gwei" => 9,
        "wei" => 0,
        _ => return None,
    };
    scaled(number, exponent).filter(|wei| !wei.is_zero())
}

/// The first amount shortly behind the phrase: decimal or hexadecimal wei, or a decimal fraction of gwei or ether.
fn amount_after(text: &str, phrase: &str) -> Option<U256> {
    const GAP_MAX_CHARS: usize = 24;
    let (_, rest) = text.split_once(&phrase.to_lowercase())?;
    let digits_at = rest.find(|c: char| c.is_ascii_digit())?;
    let (gap, rest) = rest.split_at(digits_at);
    // Another number's name lies between where the gap is long or ends a clause.
    if gap.chars().count() > GAP_MAX_CHARS || gap.contains([',', ';']) {
        return None;
    }
    if let Some(hex) = rest.strip_prefix("0x") {
        let end = hex.find(|c: char| !c.is_ascii_hexdigit());
        return U256::from_str_radix(&hex[..end.unwrap_or(hex.len())], 16).ok();
    }
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = rest.split_at(end.unwrap_or(rest.len()));
    let unit = unit.trim_start();
    let exponent = match unit {
        _ if unit.starts_with("gwei") => 9,
        _ if unit.starts_with("eth") => 18,
        _ => 0,
    };
    scaled(number.trim_end_matches('.'), exponent)
}

/// A decimal number times ten to the power of `exponent`; digits finer than a unit are left out.
fn scaled(number: &str, exponent: usize) -> Option<U256> {
    let (whole, fraction) = number.trim().split_once('.').unwrap_or((number.trim(), ""));
    let fraction: String = fraction
        .chars()
        .chain(std::iter::repeat('0'))
        .take(exponent)
        .collect();
    U256::from_dec_str(&format!("{whole}{fraction}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wei(amount: u64) -> Option<U256> {
        Some(U256::from(amount))
    }

    #[test]
    fn the_least_is_read_as_nodes_write_it() {
        for (refusal, tip_wei, price_wei) in [
            // geth, before and after 1.15; bor and op-geth word it alike.
            ("transaction underpriced: gas tip cap 1, minimum needed 1000000000", wei(1_000_000_000), None),
            ("transaction underpriced: tip needed 25000000000, tip permitted 1", wei(25_000_000_000), None),
            (
                "max fee per gas less than block base fee: address 0xf39f, maxFeePerGas: 1, baseFee: 875000000",
                None,
                wei(875_000_000),
            ),
            // nethermind
            ("FeeTooLow, MaxFeePerGas too low. MaxFeePerGas: 7, BaseFee: 1200", None, wei(1_200)),
            // besu, erigon, avalanche, and made-up kin
            ("gas price below configured minimum gas price 1000", None, wei(1_000)),
            ("transaction underpriced: minimum required 0x3b9aca00", None, wei(1_000_000_000)),
            ("gas price too low, at least 30 gwei", None, wei(30_000_000_000)),
            ("tip too low: minimum tip is 1.5 gwei", wei(1_500_000_000), None),
            ("effective gas price 3 is too low, want 5 wei", None, wei(5)),
            // Nothing named.
            ("transaction underpriced", None, None),
            ("FeeTooLow", None, None),
            ("gas price below configured minimum gas price", None, None),
            ("minimum needed, but the number 7 is another's", None, None),
        ] {
            assert_eq!(least_fee(refusal), LeastFee { tip_wei, price_wei }, "{refusal}");
        }
    }

    #[test]
    fn the_most_a_transaction_may_cost_is_what_stands_last() {
        let refusal = "tx fee (2.50 ether) exceeds the configured cap (1.00 ether)";
        assert_eq!(fee_cap_wei(refusal), Some(U256::exp10(18)));
        let reths = "tx fee (2500 wei) exceeds the configured cap (1000 wei)";
        assert_eq!(fee_cap_wei(reths), wei(1_000));
        let fine = "exceeds the configured cap (0.0000000000000000015 ether)";
        assert_eq!(fee_cap_wei(fine), wei(1));
        assert_eq!(fee_cap_wei("exceeds the configured cap (0.00 ether)"), None);
        assert_eq!(fee_cap_wei("exceeds the configured cap"), None);
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in "\\PC{0,80}", number in any::<u64>()) {
            least_fee(&text);
            fee_cap_wei(&text);
            let named = least_fee(&format!("{text}; minimum tip {number}"));
            prop_assert!(named.tip_wei.is_some());
        }
    }
}
