//! Amounts and addresses as people read them: ether without rounding, addresses in short. And kinds with labels for
//! programs.

use crate::chain::types::{to_checksum, Address, U256};

/// An enumeration whose kinds have labels, in an order that counts.
macro_rules! labelled {
    ($(#[$of_all:meta])* pub enum $name:ident; $($(#[$doc:meta])* $variant:ident = $label:literal,)*) => {
        $(#[$of_all])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            pub fn label(self) -> &'static str {
                match self {
                    $($name::$variant => $label,)*
                }
            }
        }
    };
}
pub(crate) use labelled;

/// Wei as ether, exact, without trailing zeros.
pub fn ether(wei: U256) -> String {
    let unit = U256::exp10(18);
    let fraction = format!("{:0>18}", (wei % unit).to_string());
    match fraction.trim_end_matches('0') {
        "" => (wei / unit).to_string(),
        fraction => format!("{}.{fraction}", wei / unit),
    }
}

/// Time of day in UTC, "07:47:44 UTC": the reader's zone is not known here.
pub(crate) fn time_of_day(unix_secs: u64) -> String {
    let secs = unix_secs % 86_400;
    format!(
        "{:02}:{:02}:{:02} UTC",
        secs / 3_600,
        secs / 60 % 60,
        secs % 60
    )
}

/// The first and last four digits, which is how wallets show an address.
pub fn short(address: Address) -> String {
    let text = to_checksum(&address);
    format!("{}…{}", &text[..6], &text[38..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_moment_is_told_by_its_time_of_day() {
        let secs = 86_400 + 7 * 3_600 + 47 * 60 + 4;
        assert_eq!(time_of_day(secs), "07:47:04 UTC");
    }

    #[test]
    fn ether_is_exact() {
        for (amount, expected) in [
            (U256::zero(), "0"),
            (U256::one(), "0.000000000000000001"),
            (U256::exp10(17), "0.1"),
            (U256::exp10(18), "1"),
            (U256::exp10(18) * 12 + U256::exp10(15), "12.001"),
            (
                U256::MAX,
                "115792089237316195423570985008687907853269984665640564039457.584007913129639935",
            ),
        ] {
            assert_eq!(ether(amount), expected);
        }
    }

    proptest! {
        #[test]
        fn ether_parses_back_to_wei(words in any::<[u64; 4]>()) {
            let amount = U256(words);
            let text = ether(amount);
            let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
            let padded = format!("{whole}{fraction:0<18}");
            prop_assert_eq!(U256::from_dec_str(&padded).unwrap(), amount);
        }
    }
}
