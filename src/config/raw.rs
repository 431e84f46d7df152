//! Untyped settings with their origin: the file's JSON with line and column of each value, variables, flags. Reading a
//! value by its type records a problem instead of failing, so that all problems are told together.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value;

use crate::chain::types::U256;
use crate::config::{ConfigError, Sources, KEYS};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    File {
        path: String,
        line: usize,
        column: usize,
    },
    Variable(String),
    Flag,
}

#[derive(Clone, Debug)]
struct Setting {
    value: Value,
    /// As written: numbers are read from it, so that no amount goes through a float.
    text: String,
    source: Source,
}

pub struct Raw {
    settings: BTreeMap<(&'static str, &'static str), Setting>,
    pub problems: Vec<String>,
    pub warnings: Vec<String>,
}

/// Keys of the earlier program in Python that mean nothing here.
const FORGOTTEN: &[(&str, &[&str])] = &[
    ("blockchain", &["memo"]),
    (
        "lottery",
        &[
            "draw_interval_minutes",
            "betting_cutoff_minutes",
            "single_bet_amount",
            "max_bets_per_user",
        ],
    ),
];

const VARIABLE_PREFIX: &str = "LOTTERY_";

impl Raw {
    pub fn gather(sources: Sources) -> Result<Raw, ConfigError> {
        let mut raw = Raw {
            settings: BTreeMap::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
        };
        if let Some((path, text)) = &sources.file {
            raw.take_file(&path.display().to_string(), text)?;
        }
        for (name, value) in &sources.env {
            raw.take_variable(name, value);
        }
        for set in sources.sets {
            raw.take_flag(set);
        }
        Ok(raw)
    }

    fn take_file(&mut self, path: &str, text: &str) -> Result<(), ConfigError> {
        let value: Value = serde_json::from_str(text).map_err(|error| {
            let cause = error.to_string();
            let cause = cause.split(" at line").next().unwrap_or_default();
            ConfigError(vec![format!(
                "{path}:{}:{}: broken JSON: {cause}",
                error.line(),
                error.column()
            )])
        })?;
        let Value::Object(_) = value else {
            let text = format!("{path}:1:1: the file must hold one JSON object of sections");
            return Err(ConfigError(vec![text]));
        };
        for entry in Scanner::new(text).sections() {
            let source = Source::File {
                path: path.to_owned(),
                line: entry.line,
                column: entry.column,
            };
            match entry.key {
                None if !entry.is_object => {
                    let allowed = "a section, { ... }";
                    self.problem(&source, &entry.section, &shorten(entry.text), allowed);
                }
                None => {}
                Some(key) => self.take(&entry.section, &key, entry.text, source, true),
            }
        }
        Ok(())
    }

    fn take_variable(&mut self, name: &str, value: &str) {
        let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else {
            return;
        };
        if name == super::secrets::KEY_VARIABLE {
            return;
        }
        let lower = rest.to_lowercase();
        let known = KEYS.iter().find_map(|(section, _)| {
            Some((*section, lower.strip_prefix(section)?.strip_prefix('_')?))
        });
        let source = Source::Variable(name.to_owned());
        match known {
            Some((section, key)) if is_key(section, key) && name == name.to_uppercase() => {
                self.take(section, key, value, source, false);
            }
            _ => {
                let names = KEYS.iter().flat_map(|(section, keys)| {
                    keys.iter()
                        .map(move |key| format!("{VARIABLE_PREFIX}{section}_{key}").to_uppercase())
                });
                self.problems.push(format!(
                    "{source}: no such setting{}",
                    did_you_mean(name, names)
                ));
            }
        }
    }

    fn take_flag(&mut self, set: &str) {
        match set
            .split_once('=')
            .and_then(|(path, value)| Some((path.split_once('.')?, value)))
        {
            Some(((section, key), value)) => self.take(section, key, value, Source::Flag, false),
            None => self.problems.push(format!(
                "--set {}: it must be section.key=value",
                shorten(set)
            )),
        }
    }

    fn take(&mut self, section: &str, key: &str, text: &str, source: Source, is_json: bool) {
        if key.contains("private_key") || key == "mnemonic" {
            self.problems.push(format!(
                "{source}: {section}.{key}: a key does not belong here; put it into a file that only you can read and \
                 set operator.key_file, or set the variable {}",
                super::secrets::KEY_VARIABLE
            ));
            return;
        }
        if FORGOTTEN
            .iter()
            .any(|(known, keys)| *known == section && keys.contains(&key))
        {
            self.warnings.push(format!(
                "{source}: {section}.{key} is ignored: it means nothing here"
            ));
            return;
        }
        let Some((section, keys)) = KEYS.iter().find(|(known, _)| *known == section) else {
            let hint = did_you_mean(
                section,
                KEYS.iter().map(|(section, _)| (*section).to_owned()),
            );
            self.problems.push(format!(
                "{source}: {section}.{key}: no section {section}{hint}"
            ));
            return;
        };
        let Some(key) = keys.iter().find(|known| **known == key) else {
            let hint = did_you_mean(key, keys.iter().map(|key| (*key).to_owned()));
            self.problems
                .push(format!("{source}: {section}.{key}: no such key{hint}"));
            return;
        };
        let value = match is_json {
            true => serde_json::from_str(text).unwrap_or(Value::Null),
            false => Value::String(text.to_owned()),
        };
        let from_file = |source: &Source| matches!(source, Source::File { .. });
        if let Some(known) = self.settings.get(&(*section, *key)) {
            if from_file(&known.source) && from_file(&source) {
                self.problems.push(format!(
                    "{source}: {section}.{key} stands twice, first at {}",
                    known.source
                ));
            }
        }
        let text = value.as_str().unwrap_or(text).to_owned();
        if value.is_null() {
            // null is how JSON says "not set".
            self.settings.remove(&(*section, *key));
        } else {
            self.settings.insert(
                (section, key),
                Setting {
                    value,
                    text,
                    source,
                },
            );
        }
    }

    pub fn has(&self, section: &'static str, key: &'static str) -> bool {
        self.settings.contains_key(&(section, key))
    }

    pub fn problem(&mut self, source: &Source, key: &str, value: &str, allowed: &str) {
        self.problems
            .push(format!("{source}: {key} is {value}, allowed is {allowed}"));
    }

    pub fn missing(&mut self, section: &str, key: &str, what: &str) {
        let variable = format!("{VARIABLE_PREFIX}{section}_{key}").to_uppercase();
        self.problems.push(format!(
            "{section}.{key} is missing: set {what}, in lottery.conf, as {variable} or with --set {section}.{key}=..."
        ));
    }

    /// Settings that are right each by itself, and wrong together.
    pub fn conflict(&mut self, what: &str) {
        self.problems.push(what.to_owned());
    }

    /// A text that `parse` accepts, or `default` when the key is not set.
    pub fn parsed<T>(
        &mut self,
        section: &'static str,
        key: &'static str,
        allowed: &str,
        default: T,
        parse: impl Fn(&str) -> Option<T>,
    ) -> T {
        self.optional(section, key, allowed, parse)
            .unwrap_or(default)
    }

    pub fn optional<T>(
        &mut self,
        section: &'static str,
        key: &'static str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let setting = self.settings.get(&(section, key))?.clone();
        let parsed = setting.value.as_str().and_then(|text| parse(text.trim()));
        if parsed.is_none() {
            let shown = match setting.text.contains("://") {
                // URLs may hold keys behind their host.
                true => format!("\"{}\"", super::shown_url(&setting.text)),
                false => shorten(&setting.value.to_string()),
            };
            self.problem(
                &setting.source,
                &format!("{section}.{key}"),
                &shown,
                allowed,
            );
        }
        parsed
    }

    /// A path or any other non-empty text, with its origin.
    pub fn text(&mut self, section: &'static str, key: &'static str) -> Option<(String, Source)> {
        let source = self.settings.get(&(section, key))?.source.clone();
        let text = self.optional(section, key, "a path", |text| {
            (!text.is_empty()).then(|| text.to_owned())
        })?;
        Some((text, source))
    }

    pub fn flag(&mut self, section: &'static str, key: &'static str, default: bool) -> bool {
        let Some(setting) = self.settings.get(&(section, key)).cloned() else {
            return default;
        };
        let flag = match (&setting.value, setting.text.trim()) {
            (Value::Bool(flag), _) => Some(*flag),
            (Value::String(_), "true") if setting.source_is_text() => Some(true),
            (Value::String(_), "false") if setting.source_is_text() => Some(false),
            _ => None,
        };
        flag.unwrap_or_else(|| {
            let shown = shorten(&setting.value.to_string());
            self.problem(
                &setting.source,
                &format!("{section}.{key}"),
                &shown,
                "true or false",
            );
            default
        })
    }

    pub fn whole(
        &mut self,
        section: &'static str,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> u64 {
        let allowed = format!("a whole number from {} to {}", range.start(), range.end());
        self.number(section, key, &allowed, default, |text| {
            text.parse().ok().filter(|n| range.contains(n))
        })
    }

    pub fn decimal(
        &mut self,
        section: &'static str,
        key: &'static str,
        default: f64,
        min: f64,
        max: f64,
    ) -> f64 {
        let allowed = format!("a number from {min} to {max}");
        self.number(section, key, &allowed, default, |text| {
            text.parse()
                .ok()
                .filter(|number: &f64| *number >= min && *number <= max)
        })
    }

    pub fn seconds(
        &mut self,
        section: &'static str,
        key: &'static str,
        default: f64,
        min: f64,
        max: f64,
    ) -> Duration {
        let allowed = format!("a number of seconds from {min} to {max}");
        let seconds = self.number(section, key, &allowed, default, |text| {
            text.parse()
                .ok()
                .filter(|number: &f64| *number >= min && *number <= max)
        });
        Duration::from_secs_f64(seconds)
    }

    /// An amount in units of 10^`digits` wei, exact to the wei.
    pub fn amount(
        &mut self,
        section: &'static str,
        key: &'static str,
        default: &str,
        digits: usize,
        unit: &str,
    ) -> U256 {
        let allowed =
            format!("an amount in {unit} above 0 and below 10^12, at most {digits} decimals");
        let parse = |text: &str| parse_amount(text, digits).filter(|wei| !wei.is_zero());
        let default = parse(default).unwrap_or_default();
        self.number(section, key, &allowed, default, parse)
    }

    fn number<T>(
        &mut self,
        section: &'static str,
        key: &'static str,
        allowed: &str,
        default: T,
        parse: impl Fn(&str) -> Option<T>,
    ) -> T {
        let Some(setting) = self.settings.get(&(section, key)).cloned() else {
            return default;
        };
        let is_number =
            setting.value.is_number() || (setting.value.is_string() && setting.source_is_text());
        match parse(setting.text.trim()).filter(|_| is_number) {
            Some(number) => number,
            None => {
                let shown = match setting.value.is_number() {
                    true => shorten(&setting.text),
                    false => shorten(&setting.value.to_string()),
                };
                self.problem(
                    &setting.source,
                    &format!("{section}.{key}"),
                    &shown,
                    allowed,
                );
                default
            }
        }
    }

    /// A JSON list of strings, one string, or a comma separated text from variable or flag.
    pub fn list(
        &mut self,
        section: &'static str,
        key: &'static str,
        default: &[&str],
    ) -> Vec<(String, Source)> {
        let Some(setting) = self.settings.get(&(section, key)).cloned() else {
            return default
                .iter()
                .map(|text| ((*text).to_owned(), Source::Flag))
                .collect();
        };
        let items: Option<Vec<String>> = match &setting.value {
            Value::String(text) if setting.source_is_text() => Some(
                text.split(',')
                    .map(|item| item.trim().to_owned())
                    .filter(|item| !item.is_empty())
                    .collect(),
            ),
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect(),
            _ => None,
        };
        match items {
            Some(items) => items
                .into_iter()
                .map(|item| (item, setting.source.clone()))
                .collect(),
            None => {
                let shown = shorten(&setting.value.to_string());
                self.problem(
                    &setting.source,
                    &format!("{section}.{key}"),
                    &shown,
                    "a string or a list of strings",
                );
                Vec::new()
            }
        }
    }
}

impl Setting {
    /// Variables and flags are texts, whatever their type.
    fn source_is_text(&self) -> bool {
        !matches!(self.source, Source::File { .. })
    }
}

fn parse_amount(text: &str, digits: usize) -> Option<U256> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty()
        || whole.len() > 12
        || fraction.len() > digits
        || !all_digits(whole)
        || !all_digits(fraction)
    {
        return None;
    }
    U256::from_dec_str(&format!("{whole}{fraction:0<digits$}")).ok()
}

fn is_key(section: &str, key: &str) -> bool {
    KEYS.iter()
        .any(|(known, keys)| *known == section && keys.contains(&key))
}

fn shorten(text: &str) -> String {
    match text.chars().count() {
        0..=60 => text.to_owned(),
        _ => format!("{}...", text.chars().take(57).collect::<String>()),
    }
}

fn did_you_mean(word: &str, known: impl Iterator<Item = String>) -> String {
    let closest = known.map(|name| (distance(word, &name), name)).min();
    match closest {
        Some((distance, name)) if distance <= 3.max(word.len() / 3) => {
            format!(" (did you mean {name}?)")
        }
        _ => String::new(),
    }
}

/// Levenshtein's edit distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// One key of one section with the place of its value, or a section itself.
struct Entry<'a> {
    section: String,
    key: Option<String>,
    text: &'a str,
    is_object: bool,
    line: usize,
    column: usize,
}

/// Walks over JSON that serde_json has found well-formed, to learn where each value stands.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Scanner<'a> {
        Scanner { text, at: 0 }
    }

    fn sections(mut self) -> Vec<Entry<'a>> {
        let mut entries = Vec::new();
        self.members(|scanner, section| {
            let (line, column) = scanner.place();
            let start = scanner.at;
            let is_object = scanner.peek() == Some(b'{');
            if is_object {
                scanner.members(|scanner, key| {
                    let (line, column) = scanner.place();
                    let start = scanner.at;
                    scanner.skip_value();
                    let text = &scanner.text[start..scanner.at];
                    let section = section.clone();
                    entries.push(Entry {
                        section,
                        key: Some(key),
                        text,
                        is_object: false,
                        line,
                        column,
                    });
                });
            } else {
                scanner.skip_value();
            }
            let text = &scanner.text[start..scanner.at];
            entries.push(Entry {
                section,
                key: None,
                text,
                is_object,
                line,
                column,
            });
        });
        entries
    }

    /// Calls `visit` at the start of each member's value of the object here; `visit` moves past the value.
    fn members(&mut self, mut visit: impl FnMut(&mut Self, String)) {
        self.skip_space();
        self.at += 1;
        loop {
            self.skip_space();
            match self.peek() {
                Some(b'"') => {}
                Some(b',') => {
                    self.at += 1;
                    continue;
                }
                _ => {
                    self.at = (self.at + 1).min(self.text.len());
                    return;
                }
            }
            let start = self.at;
            self.skip_string();
            let key = serde_json::from_str(&self.text[start..self.at]).unwrap_or_default();
            self.skip_space();
            self.at += 1;
            self.skip_space();
            visit(self, key);
        }
    }

    fn skip_value(&mut self) {
        let mut depth = 0usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    self.skip_string();
                    if depth == 0 {
                        return;
                    }
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth == 0 => return,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        self.at += 1;
                        return;
                    }
                }
                b',' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => return,
                _ => {}
            }
            self.at += 1;
        }
    }

    fn skip_string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += match byte {
                b'"' => {
                    self.at += 1;
                    return;
                }
                b'\\' => 2,
                _ => 1,
            };
        }
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Line and column, both from 1.
    fn place(&self) -> (usize, usize) {
        let before = &self.text[..self.at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (
            before.matches('\n').count() + 1,
            before[line_start..].chars().count() + 1,
        )
    }
}
