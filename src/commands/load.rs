//! The configuration that a command asks for, from its arguments; problems and warnings are told here.

use std::io::ErrorKind;
use std::path::Path;

use zeroize::Zeroizing;

use crate::base::text_file::read_text;
use crate::commands::arguments::Arguments;
use crate::commands::exit::Exit;
use crate::commands::logging;
use crate::commands::output::tell;
use crate::config::{self, ClientConfig, Config, ConfigError, Sources};

/// Where the configuration is looked for when none is named: here, and where the package puts it.
const DEFAULT_FILES: [&str; 2] = ["lottery.conf", "/etc/lottery/lottery.conf"];
/// Some hundred times what all settings take.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Everything, the operator's key included.
pub(crate) fn whole(arguments: &Arguments) -> Result<Config, Exit> {
    let config = load(arguments, config::load)?;
    logging::hide(config.hidden_texts());
    warn(&config.warnings);
    Ok(config)
}

/// What reading the chain takes: no key, no token.
pub(crate) fn to_read(arguments: &Arguments) -> Result<Config, Exit> {
    let config = load(arguments, config::load_to_read)?;
    logging::hide(config.hidden_texts());
    warn(&config.warnings);
    Ok(config)
}

/// What asking the running daemon takes: where it listens, and its token.
pub(crate) fn to_ask(arguments: &Arguments) -> Result<ClientConfig, Exit> {
    let config = load(arguments, config::load_to_ask)?;
    warn(&config.warnings);
    Ok(config)
}

fn load<T>(
    arguments: &Arguments,
    read: impl Fn(Sources) -> Result<T, ConfigError>,
) -> Result<T, Exit> {
    logging::start();
    let usage = |problem: String| {
        tell(&problem);
        Exit::Usage
    };
    let file = match &arguments.config {
        Some(path) => read_file(path).map(|text| Some((path.as_path(), text))),
        None => first_of(DEFAULT_FILES.map(Path::new)),
    };
    let sources = Sources {
        file: file.map_err(usage)?,
        env: arguments.env.clone(),
        sets: &arguments.sets,
    };
    read(sources).map_err(|error| usage(error.to_string()))
}

/// The first of these that is there; none is needed, since variables and flags may be enough. The last one is the
/// machine's: who may not read it goes on without.
fn first_of<const N: usize>(paths: [&Path; N]) -> Result<Option<(&Path, String)>, String> {
    for (index, path) in paths.into_iter().enumerate() {
        match read_text(path, FILE_BYTES_MAX) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.kind() == ErrorKind::PermissionDenied && index + 1 == N => {
                log::warn!("{}: left out: {error}", path.display());
            }
            text => return told(path, text).map(|text| Some((path, text))),
        }
    }
    Ok(None)
}

fn read_file(path: &Path) -> Result<String, String> {
    told(path, read_text(path, FILE_BYTES_MAX))
}

fn told(path: &Path, text: std::io::Result<Zeroizing<String>>) -> Result<String, String> {
    match text {
        Ok(mut text) => Ok(std::mem::take(&mut *text)),
        Err(error) => Err(format!("{}: cannot be read: {error}", path.display())),
    }
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        log::warn!("{warning}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;

    #[test]
    fn the_first_configuration_that_is_there_is_taken() {
        let dir = TempDir::new().unwrap();
        let [here, system] = ["here", "system"].map(|name| dir.path().join(name));
        let found = || first_of([&here, &system]);
        assert_eq!(found(), Ok(None));
        std::fs::write(&system, "{}").unwrap();
        assert_eq!(found(), Ok(Some((system.as_path(), "{}".to_owned()))));
        std::fs::write(&here, "{\"server\": {}}").unwrap();
        let own = "{\"server\": {}}".to_owned();
        assert_eq!(found(), Ok(Some((here.as_path(), own))));
        // What is here and cannot be read is not passed over.
        std::fs::write(&here, [0xff]).unwrap();
        assert!(found().is_err_and(|problem| problem.contains("here: cannot be read")));
    }

    /// Root may read everything: then there is nothing to be seen.
    #[test]
    fn the_machines_configuration_is_left_out_by_who_may_not_read_it() {
        let dir = TempDir::new().unwrap();
        let [here, system] = ["here", "system"].map(|name| dir.path().join(name));
        std::fs::write(&system, "{}").unwrap();
        std::fs::set_permissions(&system, PermissionsExt::from_mode(0o000)).unwrap();
        if std::fs::read(&system).is_ok() {
            return;
        }
        assert_eq!(first_of([&here, &system]), Ok(None));
        std::fs::rename(&system, &here).unwrap();
        assert!(first_of([&here, &system]).is_err());
    }
}
