//! Query strings: known parameters with their ranges; whatever is left over is an error that names it.

use crate::chain::types::Address;
use crate::web::http::Request;

/// What is wrong, naming parameter, value and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadQuery(pub String);

pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(request: &Request) -> Result<Query, BadQuery> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        let text = request.query.as_deref().unwrap_or_default();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let decode = |text: &str| {
                percent_decode(&text.replace('+', " "))
                    .ok_or_else(|| BadQuery(format!("{part} is not percent-encoded UTF-8")))
            };
            let name = decode(name)?;
            if parameters.iter().any(|(known, _)| *known == name) {
                return Err(BadQuery(format!("{name} is given twice")));
            }
            parameters.push((name, decode(value)?));
        }
        Ok(Query(parameters))
    }

    /// Takes a parameter out.
    pub fn text(&mut self, name: &str) -> Option<String> {
        let place = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(place).1)
    }

    pub fn optional_number(
        &mut self,
        name: &str,
        min: u64,
        max: u64,
    ) -> Result<Option<u64>, BadQuery> {
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
                "{name} is {text}, allowed are whole numbers from {min} to {max}"
            ))),
        }
    }

    pub fn number(
        &mut self,
        name: &str,
        default: u64,
        min: u64,
        max: u64,
    ) -> Result<u64, BadQuery> {
        Ok(self.optional_number(name, min, max)?.unwrap_or(default))
    }

    pub fn address(&mut self, name: &str) -> Result<Address, BadQuery> {
        let Some(text) = self.text(name) else {
            return Err(BadQuery(format!(
                "{name} is missing, it is an address: 0x and 40 hex digits"
            )));
        };
        text.strip_prefix("0x")
            .filter(|digits| digits.len() == 40)
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| BadQuery(format!("{name} is {text}, allowed is 0x and 40 hex digits")))
    }

    /// Every parameter must have been taken.
    pub fn finish(self) -> Result<(), BadQuery> {
        match self.0.first() {
            Some((name, _)) => Err(BadQuery(format!("{name} is not a parameter of this route"))),
            None => Ok(()),
        }
    }
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
