//! Where settings come from, how an origin is told, and how a value is shown without giving away a secret in it.

use std::fmt;
use std::path::Path;

use ureq::http::Uri;
use zeroize::Zeroizing;

use crate::config::secret::Secret;

/// Where the configuration comes from; injected, so that tests need no process environment.
pub struct Sources<'a> {
    /// None when the default file is not there: environment and flags may be enough.
    pub file: Option<(&'a Path, String)>,
    pub env: Vec<(String, String)>,
    /// `section.key=value` of each --set.
    pub sets: &'a [String],
}

/// All that is wrong, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// Where one value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Line and column of the value, both from 1.
    File {
        path: String,
        line: usize,
        column: usize,
    },
    Variable(String),
    Flag,
    /// Nobody set it: it is the default.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Source::File { path, line, column } => write!(f, "{path}:{line}:{column}"),
            Source::Variable(name) => write!(f, "environment variable {name}"),
            Source::Flag => write!(f, "--set"),
            Source::Default => write!(f, "default"),
        }
    }
}

/// What a text says once the marks that editors leave at its start, and space around it, are gone.
pub(crate) fn content(text: &str) -> &str {
    text.trim_start_matches('\u{feff}').trim()
}

/// At most 60 characters of a value, control characters escaped.
pub(crate) fn shorten(text: &str) -> String {
    let plain: String = text.chars().flat_map(shown_char).collect();
    match plain.chars().count() {
        0..=60 => plain,
        _ => format!("{}...", plain.chars().take(57).collect::<String>()),
    }
}

fn shown_char(char: char) -> Box<dyn Iterator<Item = char>> {
    match char.is_control() {
        true => Box::new(char.escape_default()),
        false => Box::new(std::iter::once(char)),
    }
}

/// The parts of a URL that may be secrets: userinfo as a whole and its password, and each part of path and query.
pub(crate) fn hidden_in_url(url: &Secret) -> Vec<Zeroizing<String>> {
    let rest = url.expose().split_once("://").map_or("", |(_, rest)| rest);
    let (authority, path) = match rest.find(['/', '?', '#']) {
        Some(end) => rest.split_at(end),
        None => (rest, ""),
    };
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    let password = user.split_once(':').map_or("", |(_, password)| password);
    let parts = path.split(['/', '?', '#', '&', '=']);
    let parts = parts.chain([user, password]);
    parts
        .filter(|part| !part.is_empty())
        .map(|part| Zeroizing::new(part.to_owned()))
        .collect()
}

/// A URL cut down to scheme, host and port: userinfo, path and query may hold keys.
pub(crate) fn shown_url(text: &str) -> String {
    let Some((scheme, _)) = text.split_once("://") else {
        return format!("a text of {} characters without ://", text.chars().count());
    };
    let scheme: String = scheme.chars().take(10).collect();
    match text.parse::<Uri>() {
        Ok(uri) => {
            let host = uri.host().unwrap_or_default();
            let port = uri.port().map(|port| format!(":{port}"));
            format!("{scheme}://{host}{}", port.unwrap_or_default())
        }
        Err(_) => format!("{scheme}://..."),
    }
}
