//! Untyped settings with their origin, from file, variables and flags; later sources win. Reading a setting by its
//! kind records a problem instead of failing, so that all problems are told together.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::file;
use crate::config::kinds::{split_list, Form, Kind, List};
use crate::config::source::{content, shorten, shown_url, ConfigError, Source, Sources};
use crate::config::table::{Described, Fallback, Setting, TABLE};

const VARIABLE_PREFIX: &str = "LOTTERY_";
/// The one variable that is no setting: the operator's key, 64 hex digits.
pub(crate) const KEY_VARIABLE: &str = "LOTTERY_OPERATOR_PRIVATE_KEY";
/// A name that differs from a known one in so few characters is a slip of the pen.
const NEAR_MISS_EDITS: usize = 2;
/// What orchestrators inject for a service of the same name begins like this.
const SERVICE_LINKS: &[&str] = &["tcp://", "udp://", "sctp://"];

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

/// One value as it was found.
#[derive(Clone, Debug)]
struct Found {
    value: Value,
    /// As written: numbers are read from it, so that no amount goes through a float.
    text: String,
    source: Source,
}

pub(crate) struct Raw {
    found: BTreeMap<String, Found>,
    pub problems: Vec<String>,
    pub warnings: Vec<String>,
}

impl Raw {
    /// # Errors
    /// Only broken JSON ends here; every other fault is kept in `problems`.
    pub fn gather(sources: &Sources) -> Result<Raw, ConfigError> {
        let mut raw = Raw {
            found: BTreeMap::new(),
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
        let text = text.trim_start_matches('\u{feff}');
        let entries =
            file::entries(text).map_err(|fault| ConfigError(vec![format!("{path}:{fault}")]))?;
        for entry in entries {
            let source = Source::File {
                path: path.to_owned(),
                line: entry.line,
                column: entry.column,
            };
            let value = match serde_json::from_str::<Value>(entry.json) {
                Ok(value) => value,
                Err(error) => {
                    self.problems
                        .push(format!("{source}: broken JSON: {error}"));
                    continue;
                }
            };
            match entry.key {
                None => {
                    let shown = shown(&value, entry.json, true);
                    self.problem(&source, &entry.section, &shown, "a section, { ... }");
                }
                Some(key) => self.take(&entry.section, &key, value, entry.json, source),
            }
        }
        Ok(())
    }

    fn take_variable(&mut self, name: &str, value: &str) {
        let source = Source::Variable(name.to_owned());
        if name == KEY_VARIABLE || content(value).is_empty() {
            return;
        }
        let known = TABLE.iter().find(|setting| setting.variable() == name);
        let is_ours = name.starts_with(VARIABLE_PREFIX);
        if is_ours && is_service_link(value) {
            self.warnings.push(format!(
                "{source} is ignored: its value is a service link that an orchestrator injected"
            ));
        } else if let Some(setting) = known {
            let value = Value::String(value.to_owned());
            self.take(setting.section(), setting.key(), value, "", source);
        } else if let Some(meant) = near_miss(name) {
            let told = format!("{source}: no such setting (did you mean {meant}?)");
            // A name without our prefix may well belong to somebody else.
            match is_ours {
                true => self.problems.push(told),
                false => self.warnings.push(told),
            }
        } else if is_ours {
            let hint = part_of(name).map(|meant| format!(" (did you mean {meant}?)"));
            let hint = hint.unwrap_or_default();
            self.warnings
                .push(format!("{source} is ignored: no such setting{hint}"));
        }
    }

    fn take_flag(&mut self, set: &str) {
        let path_and_value = set.split_once('=');
        let section_key_value =
            path_and_value.and_then(|(path, value)| Some((path.trim().split_once('.')?, value)));
        match section_key_value {
            Some(((section, key), value)) => {
                let value = Value::String(value.to_owned());
                self.take(section, key, value, "", Source::Flag);
            }
            None => {
                // What follows the name may be a secret.
                let name = set.split(['=', ' ']).next().unwrap_or_default();
                let shown = match name.contains("://") {
                    true => shown_url(name),
                    false => shorten(name),
                };
                self.problems
                    .push(format!("--set {shown}: it must be section.key=value"));
            }
        }
    }

    fn take(&mut self, section: &str, key: &str, value: Value, written: &str, source: Source) {
        if key.contains("private_key") || key == "mnemonic" {
            self.problems.push(format!(
                "{source}: {section}.{key}: a key does not belong here; put it into a file that only you can read and \
                 set operator.key_file, or set the variable {KEY_VARIABLE}"
            ));
            return;
        }
        let is_forgotten =
            |(known, keys): &(&str, &[&str])| *known == section && keys.contains(&key);
        if FORGOTTEN.iter().any(is_forgotten) {
            self.warnings.push(format!(
                "{source}: {section}.{key} is ignored: it means nothing here"
            ));
            return;
        }
        let of_section = || TABLE.iter().filter(|setting| setting.section() == section);
        if of_section().next().is_none() {
            let hint = did_you_mean(section, TABLE.iter().map(|setting| setting.section()));
            let (section, key) = (shorten(section), shorten(key));
            self.problems.push(format!(
                "{source}: {section}.{key}: no section {section}{hint}"
            ));
            return;
        }
        let Some(setting) = of_section().find(|setting| setting.key() == key) else {
            let hint = did_you_mean(key, of_section().map(|setting| setting.key()));
            let key = shorten(key);
            self.problems
                .push(format!("{source}: {section}.{key}: no such key{hint}"));
            return;
        };
        self.set(setting.path(), value, written, source);
    }

    fn set(&mut self, path: String, value: Value, written: &str, source: Source) {
        let from_file = |source: &Source| matches!(source, Source::File { .. });
        if let Some(known) = self.found.get(&path) {
            if from_file(&known.source) && from_file(&source) {
                self.problems.push(format!(
                    "{source}: {path} stands twice, first at {}",
                    known.source
                ));
            }
        }
        let text = content(value.as_str().unwrap_or(written)).to_owned();
        // null is how JSON says "not set", and an empty text how a template does.
        if value.is_null() || text.is_empty() {
            return;
        }
        let found = Found {
            value,
            text,
            source,
        };
        self.found.insert(path, found);
    }

    /// True when somebody set it, rightly or not.
    pub fn has(&self, setting: &dyn Described) -> bool {
        self.found.contains_key(&setting.path())
    }

    /// Where it was set.
    pub fn source(&self, setting: &dyn Described) -> Source {
        let found = self.found.get(&setting.path());
        found.map_or(Source::Default, |found| found.source.clone())
    }

    pub fn problem(&mut self, source: &Source, path: &str, shown: &str, allowed: &str) {
        self.problems
            .push(format!("{source}: {path} is {shown}, allowed is {allowed}"));
    }

    /// Tells that a setting lacks something which only `what` says.
    pub fn missing(&mut self, setting: &dyn Described, what: &str) {
        let (path, variable) = (setting.path(), setting.variable());
        self.problems.push(format!(
            "{path} is missing: set {what}, in lottery.conf, as {variable} or with --set {path}=..."
        ));
    }

    /// Settings that are right each by itself, and wrong together.
    pub fn conflict(&mut self, what: String) {
        self.problems.push(what);
    }

    /// The value that somebody set. None when nobody did, or after a problem was recorded.
    pub fn optional<K: Kind + Sync>(&mut self, setting: &Setting<K>) -> Option<K::Value> {
        let Some(found) = self.found.get(&setting.path()).cloned() else {
            if let Fallback::Required(what) = setting.fallback {
                self.missing(setting, what);
            }
            return None;
        };
        let from_text = !matches!(found.source, Source::File { .. });
        let form_is_right = match &found.value {
            Value::String(_) => from_text || matches!(K::FORM, Form::Text | Form::List),
            Value::Number(_) => K::FORM == Form::Number,
            Value::Bool(_) => K::FORM == Form::Flag,
            _ => false,
        };
        let value = setting.kind.parse(&found.text).filter(|_| form_is_right);
        if value.is_none() {
            let shown = shown(&found.value, &found.text, K::IS_SECRET);
            let allowed = setting.kind.allowed();
            self.problem(&found.source, &setting.path(), &shown, &allowed);
        }
        value
    }

    /// The value that somebody set, else the default. None only after a problem was recorded, or without a default.
    pub fn value<K: Kind + Sync>(&mut self, setting: &Setting<K>) -> Option<K::Value> {
        if let (Fallback::Value(text), false) = (setting.fallback, self.has(setting)) {
            return setting.kind.parse(text);
        }
        self.optional(setting)
    }

    /// The right items of a list; a problem for each wrong one, and for a required list without any.
    pub fn list<K: Kind + Sync>(&mut self, setting: &Setting<List<K>>) -> Vec<K::Value> {
        let Some(found) = self.found.get(&setting.path()).cloned() else {
            return self.value(setting).unwrap_or_default();
        };
        let items: Option<Vec<String>> = match (&found.value, &found.source) {
            (Value::String(text), Source::File { .. }) => Some(vec![content(text).to_owned()]),
            (Value::String(_), _) => Some(split_list(&found.text).map(str::to_owned).collect()),
            (Value::Array(items), _) => {
                let texts = items.iter().map(|item| item.as_str());
                texts.map(|text| Some(content(text?).to_owned())).collect()
            }
            _ => None,
        };
        let path = setting.path();
        let Some(items) = items else {
            let shown = shown(&found.value, &found.text, K::IS_SECRET);
            self.problem(
                &found.source,
                &path,
                &shown,
                "a string or a list of strings",
            );
            return Vec::new();
        };
        if let (true, Fallback::Required(what)) = (items.is_empty(), setting.fallback) {
            self.missing(setting, what);
        }
        let mut values = Vec::new();
        for item in items {
            match setting.kind.0.parse(&item) {
                Some(value) => values.push(value),
                None => {
                    let shown = match K::IS_SECRET {
                        true => shown_url(&item),
                        false => shorten(&item),
                    };
                    self.problem(&found.source, &path, &shown, &setting.kind.allowed());
                }
            }
        }
        values
    }
}

/// A value as an error may show it.
fn shown(value: &Value, written: &str, is_secret: bool) -> String {
    match value {
        Value::String(text) if is_secret || text.contains("://") => {
            format!("\"{}\"", shown_url(text))
        }
        Value::String(text) => shorten(&Value::String(text.clone()).to_string()),
        Value::Array(items) if is_secret => format!("a list of {} items", items.len()),
        Value::Object(_) if is_secret => "an object".to_owned(),
        Value::Array(_) | Value::Object(_) => shorten(&value.to_string()),
        _ => shorten(written),
    }
}

fn is_service_link(value: &str) -> bool {
    let value = content(value);
    SERVICE_LINKS.iter().any(|scheme| value.starts_with(scheme))
}

/// All variables that mean something.
fn variables() -> impl Iterator<Item = String> {
    let settings = TABLE.iter().map(|setting| setting.variable());
    settings.chain([KEY_VARIABLE.to_owned()])
}

/// The one variable of which this is a part: without its section, or without its end.
fn part_of(name: &str) -> Option<String> {
    let key = name.strip_prefix(VARIABLE_PREFIX)?;
    let (end, begin) = (format!("_{key}"), format!("{name}_"));
    let mut meant = variables().filter(|known| known.ends_with(&end) || known.starts_with(&begin));
    let first = meant.next()?;
    meant.next().is_none().then_some(first)
}

/// The variable that was probably meant.
fn near_miss(name: &str) -> Option<String> {
    let upper = name.to_uppercase();
    let distances = variables().map(|known| (strsim::levenshtein(&upper, &known), known));
    let (edits, meant) = distances.min()?;
    (edits <= NEAR_MISS_EDITS).then_some(meant)
}

fn did_you_mean<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    let closest = known
        .map(|name| (strsim::levenshtein(word, name), name))
        .min();
    match closest {
        Some((edits, name)) if edits <= 3.max(word.len() / 3) => format!(" (did you mean {name}?)"),
        _ => String::new(),
    }
}
