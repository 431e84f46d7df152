//! The key and the API token: from exactly one source each, from files that nobody else can read.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::base::text_file::read_text;
use crate::chain::key::OperatorKey;
use crate::config::kinds::File;
use crate::config::raw::{Raw, KEY_VARIABLE};
use crate::config::secret::Secret;
use crate::config::source::{content, Source};
use crate::config::table::{
    Described, Setting, API_TOKEN_FILE, KEYSTORE_FILE, KEYSTORE_PASSWORD_FILE, KEY_FILE,
    OPERATOR_ADDRESS, SIGNER_URL,
};

/// Where systemd puts the credentials of a unit.
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// A secret's file is a line or a small JSON document.
const SECRET_FILE_BYTES_MAX: u64 = 64 * 1024;

/// The operator's key as it was found, not yet made into a key.
#[derive(Clone, Debug)]
pub enum KeyMaterial {
    Hex(Secret),
    Keystore {
        json: Secret,
        password: Secret,
    },
    /// It lies elsewhere: the URL of who signs with it.
    Elsewhere {
        signer_url: Secret,
    },
}

/// What the environment says about secrets.
pub(crate) struct Environment {
    key: Option<Secret>,
    credentials: Option<PathBuf>,
}

/// One secret's file, and who named it.
struct SecretFile {
    path: PathBuf,
    source: Source,
    name: String,
}

impl SecretFile {
    /// How a problem with it begins.
    fn told(&self) -> String {
        format!("{}: {}: {}", self.source, self.name, self.path.display())
    }
}

impl Environment {
    /// An empty variable is not set.
    pub fn of(env: &[(String, String)]) -> Environment {
        let variable = |wanted: &str| {
            let found = env.iter().find(|(name, _)| name == wanted);
            found
                .map(|(_, value)| content(value))
                .filter(|value| !value.is_empty())
        };
        Environment {
            key: variable(KEY_VARIABLE).map(|key| Secret::new(key.to_owned())),
            credentials: variable(CREDENTIALS_VARIABLE).map(PathBuf::from),
        }
    }

    /// A credential that systemd handed over.
    fn credential(&self, name: &str) -> Option<SecretFile> {
        let path = self.credentials.as_ref()?.join(name);
        path.exists().then(|| SecretFile {
            path,
            source: Source::Variable(CREDENTIALS_VARIABLE.to_owned()),
            name: format!("credential {name}"),
        })
    }
}

/// The key from exactly one of variable, file, keystore, credential and signer; None when there is none at all.
pub(crate) fn operator_key(raw: &mut Raw, environment: &Environment) -> Option<KeyMaterial> {
    let key_file = configured(raw, &KEY_FILE);
    let keystore_file = configured(raw, &KEYSTORE_FILE);
    let credential = environment.credential("operator_key");
    let signer_url = raw.optional(&SIGNER_URL);
    let mut named = Vec::new();
    if environment.key.is_some() {
        named.push(format!("environment variable {KEY_VARIABLE}"));
    }
    for file in [&key_file, &keystore_file].into_iter().flatten() {
        named.push(format!("{} ({})", file.name, file.path.display()));
    }
    if credential.is_some() {
        named.push("the systemd credential operator_key".to_owned());
    }
    if signer_url.is_some() {
        named.push(SIGNER_URL.path());
    }
    if named.len() > 1 {
        raw.problems.push(format!(
            "the operator's key has more than one source, allowed is one: {}",
            named.join(" and ")
        ));
        return None;
    }
    if let Some(key) = &environment.key {
        let source = Source::Variable(KEY_VARIABLE.to_owned());
        return hex_key(raw, &source.to_string(), key.clone());
    }
    if let Some(signer_url) = signer_url {
        // A signer may hold many accounts, and must not be needed for a start.
        if !raw.has(&OPERATOR_ADDRESS) {
            raw.missing(
                &OPERATOR_ADDRESS,
                "the account that operator.signer_url is to sign for",
            );
        }
        return Some(KeyMaterial::Elsewhere { signer_url });
    }
    if let Some(file) = keystore_file {
        return keystore(raw, file, environment);
    }
    let file = key_file.or(credential)?;
    let key = read_secret(raw, &file, environment)?;
    hex_key(raw, &file.told(), key)
}

/// A key that is none is told with all that is wrong, rather than when it is made.
fn hex_key(raw: &mut Raw, told: &str, key: Secret) -> Option<KeyMaterial> {
    match OperatorKey::from_hex(key.expose()) {
        Ok(_) => Some(KeyMaterial::Hex(key)),
        Err(error) => {
            raw.problems.push(format!("{told}: {error}"));
            None
        }
    }
}

fn keystore(raw: &mut Raw, file: SecretFile, environment: &Environment) -> Option<KeyMaterial> {
    let json = read_secret(raw, &file, environment);
    let password_file = configured(raw, &KEYSTORE_PASSWORD_FILE)
        .or_else(|| environment.credential("keystore_password"));
    let Some(password_file) = password_file else {
        raw.problems.push(format!(
            "{}: operator.keystore_file needs operator.keystore_password_file, or the credential keystore_password",
            file.source
        ));
        return None;
    };
    let password = read_secret(raw, &password_file, environment)?;
    Some(KeyMaterial::Keystore {
        json: json?,
        password,
    })
}

/// The token for manual actions, from its file or systemd's credential.
pub(crate) fn api_token(raw: &mut Raw, environment: &Environment) -> Option<Secret> {
    let file = configured(raw, &API_TOKEN_FILE).or_else(|| environment.credential("api_token"))?;
    let token = read_secret(raw, &file, environment)?;
    let text = token.expose();
    let fits = (16..=512).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !fits {
        let found = format!("a file with {} characters", text.chars().count());
        raw.problem(
            &file.source,
            &file.name,
            &found,
            "one line of 16 to 512 visible ASCII characters",
        );
        return None;
    }
    Some(token)
}

fn configured(raw: &mut Raw, setting: &Setting<File>) -> Option<SecretFile> {
    let path = raw.optional(setting)?;
    Some(SecretFile {
        path,
        source: raw.source(setting),
        name: setting.path(),
    })
}

/// Reads a secret's file, without space and byte order mark around it.
fn read_secret(raw: &mut Raw, file: &SecretFile, environment: &Environment) -> Option<Secret> {
    let told = file.told();
    let result = std::fs::metadata(&file.path)
        .map_err(|error| format!("cannot be read: {error}"))
        .and_then(|metadata| {
            if metadata.is_dir() {
                return Err("is a directory, allowed is a file".to_owned());
            }
            let is_credential = environment
                .credentials
                .as_ref()
                .is_some_and(|directory| file.path.starts_with(directory));
            let mode = metadata.permissions().mode() & 0o777;
            if let Some(warning) = judge_mode(mode, is_credential, &file.path, lies_read_only)? {
                raw.warnings.push(format!("{told} {warning}"));
            }
            read_bounded(&file.path)
        });
    match result {
        Ok(text) => Some(text),
        Err(problem) => {
            raw.problems.push(format!("{told} {problem}"));
            None
        }
    }
}

/// Whether a secret's file of this mode may be used, and with which warning. Nobody but its owner should be able to
/// read it; where that cannot be arranged, on a read-only mount such as orchestrators make for secrets, it is said.
fn judge_mode(
    mode: u32,
    is_credential: bool,
    path: &Path,
    lies_read_only: impl Fn(&Path) -> bool,
) -> Result<Option<String>, String> {
    if mode & 0o077 == 0 || is_credential {
        return Ok(None);
    }
    if lies_read_only(path) {
        return Ok(Some(format!(
            "has mode {mode:03o}: others on this machine may read it (its mount is read-only, so it is used all the same)"
        )));
    }
    let path = path.display();
    Err(format!(
        "has mode {mode:03o}, allowed is access for its owner alone: chmod 600 {path}"
    ))
}

fn lies_read_only(path: &Path) -> bool {
    let mount = rustix::fs::statvfs(path);
    mount.is_ok_and(|mount| mount.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

fn read_bounded(path: &Path) -> Result<Secret, String> {
    let text = read_text(path, SECRET_FILE_BYTES_MAX)
        .map_err(|error| format!("cannot be read: {error}"))?;
    match content(&text) {
        "" => Err("is empty".to_owned()),
        secret => Ok(Secret::new(secret.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_others_can_read_is_used_on_a_read_only_mount_alone() {
        let judge = |mode, is_credential, read_only| {
            judge_mode(mode, is_credential, Path::new("/run/key"), |_| read_only)
        };
        for mode in [0o400, 0o600, 0o700] {
            assert_eq!(judge(mode, false, false), Ok(None), "{mode:o}");
        }
        for mode in [0o440, 0o444, 0o640, 0o604, 0o601, 0o777] {
            assert_eq!(judge(mode, true, false), Ok(None), "{mode:o}");
            let warning = judge(mode, false, true).unwrap().unwrap();
            assert!(warning.starts_with(&format!("has mode {mode:03o}")));
            let refused = judge(mode, false, false).unwrap_err();
            assert!(refused.ends_with("chmod 600 /run/key"), "{refused}");
        }
    }

    #[test]
    fn a_mount_says_itself_whether_it_is_read_only() {
        assert!(!lies_read_only(&std::env::temp_dir()));
        assert!(!lies_read_only(Path::new("/nowhere/at/all")));
    }
}
