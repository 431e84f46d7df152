//! What a setting can be: how its text becomes a value, and in which words it is told what is allowed. The words serve
//! errors, `--help` and the README alike.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use ureq::http::Uri;

use crate::chain::types::{to_checksum, Address, U256};
use crate::config::secret::Secret;

/// The JSON that a file may give. Variables and flags are texts, whatever their kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Number,
    Flag,
    /// A list of texts, or one text.
    List,
}

/// One kind of value.
pub(crate) trait Kind {
    type Value;
    const FORM: Form;
    /// True when a value may hold a key, so that errors show its host at most.
    const IS_SECRET: bool = false;

    /// What is allowed, in words that go on after "allowed is".
    fn allowed(&self) -> String;

    /// None when the text is not allowed.
    fn parse(&self, text: &str) -> Option<Self::Value>;
}

/// An IPv4 or IPv6 address, brackets allowed.
pub(crate) struct Ip;

impl Kind for Ip {
    type Value = IpAddr;
    const FORM: Form = Form::Text;

    fn allowed(&self) -> String {
        "an IPv4 or IPv6 address".to_owned()
    }

    fn parse(&self, text: &str) -> Option<IpAddr> {
        let bare = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        bare.unwrap_or(text).parse().ok()
    }
}

/// An address with a port.
pub(crate) struct Listener;

impl Kind for Listener {
    type Value = SocketAddr;
    const FORM: Form = Form::Text;

    fn allowed(&self) -> String {
        "address:port, e.g. 127.0.0.1:9464".to_owned()
    }

    fn parse(&self, text: &str) -> Option<SocketAddr> {
        text.parse().ok()
    }
}

/// An address or a network in CIDR notation.
pub(crate) struct Network;

impl Kind for Network {
    type Value = IpNet;
    const FORM: Form = Form::Text;

    fn allowed(&self) -> String {
        "addresses and networks like 10.0.0.0/8".to_owned()
    }

    fn parse(&self, text: &str) -> Option<IpNet> {
        let network = text.parse().ok();
        network.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
    }
}

/// A whole number, both ends of the range included.
pub(crate) struct Whole(pub u64, pub u64);

impl Kind for Whole {
    type Value = u64;
    const FORM: Form = Form::Number;

    fn allowed(&self) -> String {
        format!("a whole number from {} to {}", self.0, self.1)
    }

    fn parse(&self, text: &str) -> Option<u64> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| is_plain);
        number.filter(|number| (self.0..=self.1).contains(number))
    }
}

/// A number that may have decimals, both ends of the range included.
pub(crate) struct Decimal(pub f64, pub f64);

impl Kind for Decimal {
    type Value = f64;
    const FORM: Form = Form::Number;

    fn allowed(&self) -> String {
        format!("a number from {} to {}", self.0, self.1)
    }

    fn parse(&self, text: &str) -> Option<f64> {
        let number = text.parse().ok();
        number.filter(|number| (self.0..=self.1).contains(number))
    }
}

/// A span of time in seconds, decimals allowed, both ends of the range included.
pub(crate) struct Seconds(pub f64, pub f64);

impl Kind for Seconds {
    type Value = Duration;
    const FORM: Form = Form::Number;

    fn allowed(&self) -> String {
        format!("a number of seconds from {} to {}", self.0, self.1)
    }

    fn parse(&self, text: &str) -> Option<Duration> {
        let seconds = Decimal(self.0, self.1).parse(text)?;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// An amount of money in units of 10^`decimals` wei, exact to the wei.
pub(crate) struct Amount {
    pub unit: &'static str,
    pub decimals: usize,
}

impl Kind for Amount {
    type Value = U256;
    const FORM: Form = Form::Number;

    fn allowed(&self) -> String {
        format!(
            "an amount in {} above 0 and below 10^12, at most {} decimals",
            self.unit, self.decimals
        )
    }

    fn parse(&self, text: &str) -> Option<U256> {
        let decimals = self.decimals;
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if !(1..=12).contains(&whole.len())
            || fraction.len() > decimals
            || !all_digits(whole)
            || !all_digits(fraction)
        {
            return None;
        }
        let wei = U256::from_dec_str(&format!("{whole}{fraction:0<decimals$}")).ok();
        wei.filter(|wei| !wei.is_zero())
    }
}

pub(crate) struct Flag;

impl Kind for Flag {
    type Value = bool;
    const FORM: Form = Form::Flag;

    fn allowed(&self) -> String {
        "true or false".to_owned()
    }

    fn parse(&self, text: &str) -> Option<bool> {
        text.parse().ok()
    }
}

/// One of a few words.
pub(crate) struct Choice<T: 'static>(pub &'static [(&'static str, T)]);

impl<T: Copy> Kind for Choice<T> {
    type Value = T;
    const FORM: Form = Form::Text;

    fn allowed(&self) -> String {
        let words: Vec<String> = self.0.iter().map(|(word, _)| format!("{word:?}")).collect();
        match words.split_last() {
            Some((last, others)) if !others.is_empty() => {
                format!("{} or {last}", others.join(", "))
            }
            _ => words.concat(),
        }
    }

    fn parse(&self, text: &str) -> Option<T> {
        let known = self.0.iter().find(|(word, _)| *word == text);
        known.map(|(_, value)| *value)
    }
}

/// A file's path. Whether it can be read is seen by who reads it.
pub(crate) struct File(pub &'static str);

impl Kind for File {
    type Value = PathBuf;
    const FORM: Form = Form::Text;

    fn allowed(&self) -> String {
        self.0.to_owned()
    }

    fn parse(&self, text: &str) -> Option<PathBuf> {
        Some(PathBuf::from(text))
    }
}

/// The address of an account or a contract; mixed case must carry the right EIP-55 checksum.
pub(crate) struct Account;

impl Kind for Account {
    type Value = Address;
    const FORM: Form = Form::Text;

    fn allowed(&self) -> String {
        "0x and 40 hex digits, not all zero, with a right EIP-55 checksum if in mixed case"
            .to_owned()
    }

    fn parse(&self, text: &str) -> Option<Address> {
        let digits = text.strip_prefix("0x")?;
        let address: Address = digits.parse().ok().filter(|_| digits.len() == 40)?;
        let one_case = digits == digits.to_lowercase() || digits == digits.to_uppercase();
        (!address.is_zero() && (one_case || to_checksum(&address) == text)).then_some(address)
    }
}

/// An http or https URL that anyone may see, and that links are made of by what is put behind it.
pub(crate) struct PublicUrl;

impl Kind for PublicUrl {
    type Value = String;
    const FORM: Form = Form::Text;
    const IS_SECRET: bool = true;

    fn allowed(&self) -> String {
        "http://host[:port][/path] or https://...".to_owned()
    }

    fn parse(&self, text: &str) -> Option<String> {
        let url = url_of(text, HTTP)?;
        let (_, rest) = url.split_once("://")?;
        let authority = rest.split('/').next().unwrap_or_default();
        let is_public = !authority.contains('@') && !rest.contains(['?', '#']);
        is_public.then(|| url.trim_end_matches('/').to_owned())
    }
}

/// A URL of one of these schemes that may hold a password or a key.
pub(crate) struct SecretUrl(pub &'static [&'static str]);

impl Kind for SecretUrl {
    type Value = Secret;
    const FORM: Form = Form::Text;
    const IS_SECRET: bool = true;

    fn allowed(&self) -> String {
        let forms: Vec<String> = self
            .0
            .iter()
            .map(|scheme| format!("{scheme}://..."))
            .collect();
        forms.join(" or ")
    }

    fn parse(&self, text: &str) -> Option<Secret> {
        url_of(text, self.0).map(Secret::new)
    }
}

/// An endpoint of the chain: http(s) for every call, ws(s) for news.
pub(crate) struct EndpointUrl;

impl Kind for EndpointUrl {
    type Value = Secret;
    const FORM: Form = Form::Text;
    const IS_SECRET: bool = true;

    fn allowed(&self) -> String {
        "http://host[:port][/path] or https://...; ws:// and wss:// only with event_manager.event_source \"eth_subscribe\""
            .to_owned()
    }

    fn parse(&self, text: &str) -> Option<Secret> {
        url_of(text, &["http", "https", "ws", "wss"]).map(Secret::new)
    }
}

/// Any number of values; an empty list is no value at all.
pub(crate) struct List<K>(pub K);

impl<K: Kind> Kind for List<K> {
    type Value = Vec<K::Value>;
    const FORM: Form = Form::List;
    const IS_SECRET: bool = K::IS_SECRET;

    fn allowed(&self) -> String {
        self.0.allowed()
    }

    fn parse(&self, text: &str) -> Option<Vec<K::Value>> {
        split_list(text).map(|item| self.0.parse(item)).collect()
    }
}

pub(crate) const HTTP: &[&str] = &["http", "https"];

/// The items of a list in a variable or a flag.
pub(crate) fn split_list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

/// A URL of one of these schemes, which may be in any case and then is in lower case, with a host, and a port that exists
/// if it names one.
fn url_of(text: &str, schemes: &[&str]) -> Option<String> {
    let uri = text.parse::<Uri>().ok()?;
    let authority = uri.authority()?;
    let (scheme, rest) = text.split_once("://")?;
    let is_meant = |known: &&&str| known.eq_ignore_ascii_case(scheme);
    let scheme = schemes.iter().find(is_meant)?;
    let after_user = authority.as_str().rsplit('@').next().unwrap_or_default();
    let port_text = after_user
        .strip_prefix(authority.host())
        .and_then(|rest| rest.strip_prefix(':'));
    let port_is_right = port_text.is_none_or(|text| text.parse::<u16>().is_ok_and(|port| port > 0));
    let is_right = !authority.host().is_empty() && port_is_right;
    is_right.then(|| format!("{scheme}://{rest}"))
}
