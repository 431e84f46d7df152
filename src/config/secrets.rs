//! The key, the API token and other secrets: from exactly one source each, from files that nobody else can read, shown
//! never and zeroed when dropped.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::config::raw::{Raw, Source};

pub const KEY_VARIABLE: &str = "LOTTERY_OPERATOR_PRIVATE_KEY";
/// A secret's file is a line or a small JSON document.
const SECRET_FILE_MAX_BYTES: u64 = 64 * 1024;

/// A text that must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn new(text: String) -> Secret {
        Secret(Zeroizing::new(text))
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("***")
    }
}

/// The operator's key as it was found, not yet made into a key.
#[derive(Clone, Debug)]
pub enum KeyMaterial {
    Hex(Secret),
    Keystore { json: Secret, password: Secret },
}

pub struct KeyFiles {
    pub key_file: Option<(String, Source)>,
    pub keystore_file: Option<(String, Source)>,
    pub keystore_password_file: Option<(String, Source)>,
}

/// The key from exactly one of variable, file, keystore and credential; None when there is none at all.
pub fn operator_key(
    raw: &mut Raw,
    variable: Option<String>,
    files: KeyFiles,
    credentials: Option<&str>,
) -> Option<KeyMaterial> {
    let credential = credential(credentials, "operator_key");
    let mut named = Vec::new();
    if variable.is_some() {
        named.push(format!("environment variable {KEY_VARIABLE}"));
    }
    if let Some((path, _)) = &files.key_file {
        named.push(format!("operator.key_file ({path})"));
    }
    if let Some((path, _)) = &files.keystore_file {
        named.push(format!("operator.keystore_file ({path})"));
    }
    if credential.is_some() {
        named.push("the systemd credential operator_key".to_owned());
    }
    if named.len() > 1 {
        raw.problems.push(format!(
            "the operator's key has more than one source, allowed is one: {}",
            named.join(" and ")
        ));
        return None;
    }
    if let Some(key) = variable {
        return Some(KeyMaterial::Hex(Secret::new(key)));
    }
    if let Some((path, source)) = files.key_file {
        return read_secret(raw, &path, &source, "operator.key_file", credentials)
            .map(KeyMaterial::Hex);
    }
    if let Some((path, source)) = files.keystore_file {
        return keystore(
            raw,
            (path, source),
            files.keystore_password_file,
            credentials,
        );
    }
    let path = credential?.display().to_string();
    let source = Source::Variable("CREDENTIALS_DIRECTORY".to_owned());
    read_secret(raw, &path, &source, "credential operator_key", credentials).map(KeyMaterial::Hex)
}

fn keystore(
    raw: &mut Raw,
    (path, source): (String, Source),
    password_file: Option<(String, Source)>,
    credentials: Option<&str>,
) -> Option<KeyMaterial> {
    let json = read_secret(raw, &path, &source, "operator.keystore_file", credentials);
    let password_file = password_file.or_else(|| {
        let path = credential(credentials, "keystore_password")?;
        Some((
            path.display().to_string(),
            Source::Variable("CREDENTIALS_DIRECTORY".to_owned()),
        ))
    });
    let Some((path, source)) = password_file else {
        raw.problems.push(format!(
            "{source}: operator.keystore_file needs operator.keystore_password_file, or the credential keystore_password"
        ));
        return None;
    };
    let password = read_secret(
        raw,
        &path,
        &source,
        "operator.keystore_password_file",
        credentials,
    )?;
    Some(KeyMaterial::Keystore {
        json: json?,
        password,
    })
}

/// The token for manual actions, from its file or systemd's credential.
pub fn api_token(
    raw: &mut Raw,
    file: Option<(String, Source)>,
    credentials: Option<&str>,
) -> Option<Secret> {
    let (path, source) = file.or_else(|| {
        let path = credential(credentials, "api_token")?;
        Some((
            path.display().to_string(),
            Source::Variable("CREDENTIALS_DIRECTORY".to_owned()),
        ))
    })?;
    let token = read_secret(raw, &path, &source, "server.api_token_file", credentials)?;
    let text = token.expose();
    let fits = (16..=512).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !fits {
        let found = format!("a file with {} characters", text.chars().count());
        raw.problem(
            &source,
            "server.api_token_file",
            &found,
            "one line of 16 to 512 visible ASCII characters",
        );
        return None;
    }
    Some(token)
}

fn credential(directory: Option<&str>, name: &str) -> Option<PathBuf> {
    Some(Path::new(directory?).join(name)).filter(|path| path.exists())
}

/// Reads a secret's file, trimmed. Outside systemd's credentials nobody else may be able to read it.
fn read_secret(
    raw: &mut Raw,
    path: &str,
    source: &Source,
    key: &str,
    credentials: Option<&str>,
) -> Option<Secret> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => {
            raw.problems
                .push(format!("{source}: {key}: {path} cannot be read: {error}"));
            return None;
        }
    };
    let mode = metadata.permissions().mode() & 0o777;
    let is_credential = credentials.is_some_and(|directory| Path::new(path).starts_with(directory));
    if mode & 0o077 != 0 && !is_credential {
        raw.problems.push(format!(
            "{source}: {key}: {path} has mode {mode:03o}, allowed is access for its owner alone: chmod 600 {path}"
        ));
        return None;
    }
    if metadata.len() > SECRET_FILE_MAX_BYTES {
        raw.problems.push(format!(
            "{source}: {key}: {path} has {} bytes, allowed are {SECRET_FILE_MAX_BYTES}",
            metadata.len()
        ));
        return None;
    }
    match std::fs::read_to_string(path).map(Zeroizing::new) {
        Ok(text) => Some(Secret::new(text.trim().to_owned())),
        Err(error) => {
            raw.problems
                .push(format!("{source}: {key}: {path} cannot be read: {error}"));
            None
        }
    }
}
