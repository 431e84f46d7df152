//! Query strings: known parameters with their ranges; whatever is left over is an error that names it.

use crate::chain::types::Address;
use crate::web::commands::shown;
use crate::web::http::Request;
use crate::web::routes::Parameter;

/// What is wrong, naming parameter, value and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadQuery(pub String);

/// The parameters that were given, each known to the route and given once.
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(request: &Request, known: &[Parameter]) -> Result<Query, BadQuery> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        let text = request.query.as_deref().unwrap_or_default();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let decode = |text: &str| {
                percent_decode(&text.replace('+', " ")).ok_or_else(|| {
                    BadQuery(format!("{} is not percent-encoded UTF-8", shown(part)))
                })
            };
            let name = decode(name)?;
            if known.iter().all(|parameter| parameter.name != name) {
                return Err(unknown(&name, known));
            }
            if parameters.iter().any(|(given, _)| *given == name) {
                return Err(BadQuery(format!("{name} is given twice")));
            }
            parameters.push((name, decode(value)?));
        }
        Ok(Query(parameters))
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(given, _)| given == name)?;
        Some(value)
    }

    pub fn optional_number(&self, name: &str, min: u64, max: u64) -> Result<Option<u64>, BadQuery> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match text
            .parse()
            .ok()
            .filter(|number| (min..=max).contains(number))
        {
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
}

fn unknown(name: &str, known: &[Parameter]) -> BadQuery {
    let name = shown(name);
    if known.is_empty() {
        return BadQuery(format!(
            "{name} is not known: this route takes no parameters"
        ));
    }
    let known: Vec<&str> = known.iter().map(|parameter| parameter.name).collect();
    BadQuery(format!(
        "{name} is not known, allowed are: {}",
        known.join(", ")
    ))
}

/// None for a broken escape or bytes that are not UTF-8.
pub fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        // Two hex digits are below 256.
        bytes.push((digit()? * 16 + digit()?) as u8);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::routes::{find, Endpoint};

    fn parse(path: &str, query: &str) -> Result<Query, BadQuery> {
        let request = Request {
            method: "GET".to_owned(),
            path: path.to_owned(),
            query: Some(query.to_owned()),
            headers: vec![],
            body: vec![],
            peer: [127, 0, 0, 1].into(),
        };
        Query::parse(&request, find(path).unwrap().0.parameters)
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
            (
                "Limit=1",
                Err("Limit is not known, allowed are: limit, before"),
            ),
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
        let none = parse("/api/status", "x=1").err().unwrap();
        assert_eq!(none.0, "x is not known: this route takes no parameters");
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
