//! Numbers and times as the page writes them, for what the server puts into the page before any script runs. The
//! page's own `format.js` writes the same, so that nothing jumps when it takes over. Pure.

use crate::chain::types::U256;
pub(crate) use crate::lottery::words::time_of_day;
pub use crate::lottery::words::{ether, short};

const SIGNIFICANT_DIGITS: usize = 6;

/// Ether in at most six significant digits, cut and never rounded up; the whole part is never cut.
pub(crate) fn ether_short(wei: U256) -> String {
    let exact = ether(wei);
    let (whole, fraction) = exact.split_once('.').unwrap_or((&exact, ""));
    let kept = match whole {
        "0" => fraction.len() - fraction.trim_start_matches('0').len() + SIGNIFICANT_DIGITS,
        _ => SIGNIFICANT_DIGITS.saturating_sub(whole.len()),
    };
    let shown = fraction[..kept.min(fraction.len())].trim_end_matches('0');
    match shown {
        "" => grouped(whole),
        shown => format!("{}.{shown}", grouped(whole)),
    }
}

/// Digits in groups of three: 1234567 is 1,234,567.
pub(crate) fn grouped(number: impl ToString) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun: "1 player", "2 players".
pub fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(count))
}

/// `part` of `whole` in millionths; 0 of nothing.
pub(crate) fn millionths(part: U256, whole: U256) -> u64 {
    part.full_mul(U256::from(1_000_000u64))
        .checked_div(whole.into())
        .and_then(|scaled| u64::try_from(scaled).ok())
        .unwrap_or(0)
}

/// `part` of `whole` as "12.3 %", with two decimals below ten percent; the sign never stands on another line.
pub(crate) fn percent(part: U256, whole: U256) -> String {
    match millionths(part, whole) {
        0..100 if part.is_zero() => "0\u{a0}%".to_owned(),
        0..100 => "<0.01\u{a0}%".to_owned(),
        share @ 100_000.. => format!("{}\u{a0}%", decimals(share / 1_000, 1)),
        share => format!("{}\u{a0}%", decimals(share / 100, 2)),
    }
}

/// The chance of `part` of `whole` in words: "1 chance in 5".
pub fn chance(part: U256, whole: U256) -> String {
    if part >= whole || part.is_zero() {
        return "certain, with nobody else in".to_owned();
    }
    let tenths = whole.saturating_mul(10.into()).saturating_add(part / 2) / part;
    let in_tenths = u64::try_from(tenths).unwrap_or(u64::MAX);
    if in_tenths <= 10 {
        return "nearly certain".to_owned();
    }
    let times = match in_tenths {
        0..30 if in_tenths % 10 != 0 => decimals(in_tenths, 1),
        _ => grouped(in_tenths.saturating_add(5) / 10),
    };
    format!("1 chance in\u{a0}{times}")
}

fn decimals(scaled: u64, count: usize) -> String {
    let digits = format!("{scaled:0>width$}", width = count + 1);
    let (whole, fraction) = digits.split_at(digits.len() - count);
    format!("{whole}.{fraction}")
}

/// A countdown: 161 is "02:41", 3761 is "1:02:41".
pub(crate) fn countdown(secs: u64) -> String {
    let (days, hours) = (secs / 86_400, secs / 3_600 % 24);
    let clock = format!("{:02}:{:02}", secs / 60 % 60, secs % 60);
    match (days, hours) {
        (0, 0) => clock,
        (0, hours) => format!("{hours}:{clock}"),
        _ => format!("{} d {hours:02}:{clock}", grouped(days)),
    }
}

/// A length of time by its two largest parts: "3 min", "1 min 35 s".
pub fn duration(secs: u64) -> String {
    let parts = [
        (secs / 86_400, "d"),
        (secs / 3_600 % 24, "h"),
        (secs / 60 % 60, "min"),
        (secs % 60, "s"),
    ];
    let shown: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .take(2)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    match shown.is_empty() {
        true => "0 s".to_owned(),
        false => shown.join(" "),
    }
}

/// What comes from the chain is text, never HTML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wei(text: &str) -> U256 {
        U256::from_dec_str(text).unwrap()
    }

    #[test]
    fn ether_is_cut_to_six_digits_and_never_rounded_up() {
        for (amount, shown) in [
            ("0", "0"),
            ("1", "0.000000000000000001"),
            ("922500000000000000", "0.9225"),
            ("999999999999999999", "0.999999"),
            ("1234567890123456789", "1.23456"),
            ("1234567890123456789012345", "1,234,567"),
            ("100000000000000000000", "100"),
        ] {
            assert_eq!(ether_short(wei(amount)), shown, "{amount}");
        }
    }

    #[test]
    fn shares_and_chances_read_well() {
        for (part, whole, share, odds) in [
            (0u64, 10u64, "0 %", "certain, with nobody else in"),
            (1, 100_000, "<0.01 %", "1 chance in 100,000"),
            (78, 1_000, "7.80 %", "1 chance in 13"),
            (2, 5, "40.0 %", "1 chance in 2.5"),
            (999, 1_000, "99.9 %", "nearly certain"),
            (90, 100, "90.0 %", "1 chance in 1.1"),
            (1, 1, "100.0 %", "certain, with nobody else in"),
        ] {
            let (part, whole) = (part.into(), whole.into());
            let shown = percent(part, whole).replace('\u{a0}', " ");
            assert_eq!(shown, share, "{part} of {whole}");
            assert_eq!(
                chance(part, whole).replace('\u{a0}', " "),
                odds,
                "{part} of {whole}"
            );
        }
        assert_eq!(percent(1.into(), U256::zero()), "<0.01\u{a0}%");
        assert_eq!(millionths(U256::MAX, U256::MAX), 1_000_000);
    }

    #[test]
    fn times_read_well() {
        for (secs, clock, words) in [
            (0, "00:00", "0 s"),
            (95, "01:35", "1 min 35 s"),
            (3_761, "1:02:41", "1 h 2 min"),
            (180_000, "2 d 02:00:00", "2 d 2 h"),
        ] {
            assert_eq!(countdown(secs), clock);
            assert_eq!(duration(secs), words);
        }
        assert_eq!(counted(1, "player"), "1 player");
        assert_eq!(counted(1_200, "player"), "1,200 players");
    }
}
