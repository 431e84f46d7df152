//! Query strings and paths: known parameters with their ranges, and what percent escapes stand for. Parameters that a
//! route does not know come from outside (tracking, cache-busting) and mean nothing.

use percent_encoding::percent_decode_str;

use crate::chain::types::{Address, U256};
use crate::web::routes::Parameter;
use crate::web::shown::shown;

/// What is wrong, naming parameter, value and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadQuery(pub String);

/// The parameters that were given, each known to the route and given once.
pub struct Query(Vec<(String, String)>);

impl Query {
    /// # Errors
    /// A known parameter that is given twice, or whose value is not percent-encoded UTF-8.
    pub fn parse(text: Option<&str>, known: &[Parameter]) -> Result<Query, BadQuery> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        for part in meaningful(text.unwrap_or_default(), known) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let Some(name) = form_decode(name) else {
                continue;
            };
            if parameters.iter().any(|(given, _)| *given == name) {
                return Err(BadQuery(format!("{name} is given twice")));
            }
            let Some(value) = form_decode(value) else {
                let part = shown(part);
                return Err(BadQuery(format!("{part} is not percent-encoded UTF-8")));
            };
            parameters.push((name, value));
        }
        Ok(Query(parameters))
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(given, _)| given == name)?;
        Some(value)
    }

    pub(crate) fn optional_number(
        &self,
        name: &str,
        min: u64,
        max: u64,
    ) -> Result<Option<u64>, BadQuery> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| is_plain);
        match number.filter(|number| (min..=max).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(BadQuery(format!(
                "{name} is {}, allowed are whole numbers from {min} to {max}",
                shown(text)
            ))),
        }
    }

    pub fn number(&self, name: &str, default: u64, min: u64, max: u64) -> Result<u64, BadQuery> {
        Ok(self.optional_number(name, min, max)?.unwrap_or(default))
    }

    pub fn address(&self, name: &str) -> Result<Address, BadQuery> {
        let Some(text) = self.text(name) else {
            return Err(BadQuery(format!(
                "{name} is missing, it is an address: 0x and 40 hex digits"
            )));
        };
        text.strip_prefix("0x")
            .filter(|digits| digits.len() == 40)
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| {
                let text = shown(text);
                BadQuery(format!("{name} is {text}, allowed is 0x and 40 hex digits"))
            })
    }

    /// An amount that is needed, from 1 up.
    pub(crate) fn wei(&self, name: &str) -> Result<U256, BadQuery> {
        let allowed = "allowed is wei as a whole number from 1, in decimal digits";
        let Some(text) = self.text(name) else {
            return Err(BadQuery(format!("{name} is missing, {allowed}")));
        };
        let is_decimal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        U256::from_dec_str(text)
            .ok()
            .filter(|wei| is_decimal && !wei.is_zero())
            .ok_or_else(|| BadQuery(format!("{name} is {}, {allowed}", shown(text))))
    }
}

/// The parts of a query that give a known parameter, as they were sent.
pub(crate) fn meaningful<'a>(
    query: &'a str,
    known: &'a [Parameter],
) -> impl Iterator<Item = &'a str> {
    query.split('&').filter(|part| {
        let name = part.split('=').next().and_then(form_decode);
        name.is_some_and(|name| known.iter().any(|parameter| parameter.name == name))
    })
}

/// In queries a plus sign is a space.
fn form_decode(text: &str) -> Option<String> {
    percent_decode(&text.replace('+', " "))
}

/// None for a broken escape or bytes that are not UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let is_escape = |after: &str| {
        let digits = after.as_bytes();
        digits.len() >= 2 && digits[..2].iter().all(u8::is_ascii_hexdigit)
    };
    // The decoder lets broken escapes stand.
    if !text.split('%').skip(1).all(is_escape) {
        return None;
    }
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// A path with its escapes resolved, but for that of the slash: it is a part of a name there, and no separator.
pub(crate) fn decode_path(path: &str) -> Option<String> {
    if !path.contains('%') {
        return Some(path.to_owned());
    }
    let names: Option<Vec<String>> = path
        .split('/')
        .map(|name| Some(percent_decode(name)?.replace('/', "%2F")))
        .collect();
    Some(names?.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::routes::{find, Endpoint};

    fn parse(path: &str, query: &str) -> Result<Query, BadQuery> {
        Query::parse(Some(query), find(path).unwrap().0.parameters)
    }

    #[test]
    fn numbers_have_their_bounds() {
        assert_eq!(find("/api/history").unwrap().0.endpoint, Endpoint::History);
        for (query, expected) in [
            ("", Ok(20)),
            ("limit=1", Ok(1)),
            ("limit=20&", Ok(20)),
            ("&&limit=%32", Ok(2)),
            (
                "limit=0",
                Err("limit is 0, allowed are whole numbers from 1 to 20"),
            ),
            (
                "limit=21",
                Err("limit is 21, allowed are whole numbers from 1 to 20"),
            ),
            ("limit=", Err("limit is , allowed")),
            ("limit", Err("limit is , allowed")),
            ("limit=-1", Err("limit is -1, allowed")),
            ("limit=1e1", Err("limit is 1e1, allowed")),
            (
                "limit=99999999999999999999",
                Err("limit is 99999999999999999999, allowed"),
            ),
            ("limit=1&limit=1", Err("limit is given twice")),
            ("limit=%2B1", Err("limit is +1, allowed")),
            // What the route does not know means nothing, however it is written.
            ("Limit=1", Ok(20)),
            ("utm_source=%zz&fbclid=%ff&limit=2&_=1&_=2", Ok(2)),
            ("%zz=1&limit=3", Ok(3)),
            ("limit=%zz", Err("limit=%zz is not percent-encoded UTF-8")),
            ("limit=%ff", Err("limit=%ff is not percent-encoded UTF-8")),
            ("limit=%4", Err("limit=%4 is not percent-encoded UTF-8")),
        ] {
            let found =
                parse("/api/history", query).and_then(|query| query.number("limit", 20, 1, 20));
            match expected {
                Ok(number) => assert_eq!(found, Ok(number), "{query}"),
                Err(message) => assert!(
                    found.clone().is_err_and(|bad| bad.0.contains(message)),
                    "{found:?}"
                ),
            }
        }
        assert!(parse("/api/status", "x=1").is_ok());
    }

    #[test]
    fn an_escaped_slash_is_no_separator() {
        for (path, decoded) in [
            ("/a/b", Some("/a/b")),
            ("/a%2Fb", Some("/a%2Fb")),
            ("/a%2fb", Some("/a%2Fb")),
            ("/%61%20%C3%A9%c3%a9", Some("/a éé")),
            ("/%", None),
            ("/%2", None),
            ("/%zz", None),
            ("/%ff", None),
            ("/%+1", None),
        ] {
            assert_eq!(decode_path(path).as_deref(), decoded, "{path}");
        }
    }

    #[test]
    fn addresses_are_0x_and_40_digits() {
        let digits = "00000000000000000000000000000000000000aB";
        let address = |query: &str| parse("/api/round/player", query).unwrap().address("player");
        assert_eq!(
            address(&format!("player=0x{digits}")),
            Ok(Address::from_low_u64_be(0xab))
        );
        for bad in [
            String::new(),
            "player=".to_owned(),
            format!("player={digits}"),
            format!("player=0x{digits}0"),
            format!("player=0x{}é", &digits[2..]),
        ] {
            let message = address(&bad).unwrap_err().0;
            assert!(message.starts_with("player is"), "{message}");
        }
    }
}
