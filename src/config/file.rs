//! lottery.conf as text: its sections and keys, each value with the line and column where it stands. Nothing is judged
//! here but whether it is JSON; duplicates are kept, so that they can be named.

use serde_json::value::RawValue;

use crate::base::members::Members;

/// One value of the file, or a section itself.
pub(crate) struct Entry<'a> {
    pub section: String,
    /// None for what stands where a section is wanted.
    pub key: Option<String>,
    /// The value's JSON as written: amounts are read from it without going through a float.
    pub json: &'a str,
    pub line: usize,
    pub column: usize,
}

/// Every value in the order of the file.
///
/// # Errors
/// What is wrong with the text as JSON, with line and column; only the first such fault can be told.
pub(crate) fn entries(text: &str) -> Result<Vec<Entry<'_>>, String> {
    const WANTED: &str = "the file must hold one JSON object of sections";
    if text.trim().is_empty() {
        return Err(format!("1:1: it is empty, {WANTED}"));
    }
    let whole: &RawValue = serde_json::from_str(text).map_err(|error| {
        let cause = error.to_string();
        let cause = cause.split(" at line").next().unwrap_or_default();
        format!("{}:{}: broken JSON: {cause}", error.line(), error.column())
    })?;
    let position = |value: &RawValue| position_at(text, offset_in(text, value.get()));
    let broken = |value: &RawValue, error: serde_json::Error| {
        let (line, column) = position(value);
        let cause = error.to_string();
        let cause = cause.split(" at line").next().unwrap_or_default();
        format!("{line}:{column}: broken JSON: {cause}")
    };
    if !is_object(whole) {
        return Err(format!("1:1: {WANTED}"));
    }
    let sections: Members<&RawValue> =
        serde_json::from_str(whole.get()).map_err(|e| broken(whole, e))?;
    let mut entries = Vec::new();
    let mut add = |section: &str, key: Option<String>, value: &'_ RawValue| {
        let start = offset_in(text, value.get());
        let (line, column) = position_at(text, start);
        entries.push(Entry {
            section: section.to_owned(),
            key,
            json: &text[start..start + value.get().len()],
            line,
            column,
        });
    };
    for (section, value) in sections.0 {
        if !is_object(value) {
            add(&section, None, value);
            continue;
        }
        let keys: Members<&RawValue> =
            serde_json::from_str(value.get()).map_err(|e| broken(value, e))?;
        for (key, value) in keys.0 {
            add(&section, Some(key), value);
        }
    }
    Ok(entries)
}

fn is_object(value: &RawValue) -> bool {
    value.get().starts_with('{')
}

/// Where a part of the text, borrowed from it, begins.
fn offset_in(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}

/// Line and column of a byte, both from 1.
fn position_at(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}
