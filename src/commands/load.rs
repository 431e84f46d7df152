//! The configuration that a command asks for, from its arguments; problems and warnings are told here.

use std::path::{Path, PathBuf};

use crate::base::text_file::read_text;
use crate::commands::arguments::Arguments;
use crate::commands::exit::Exit;
use crate::commands::logging;
use crate::commands::output::tell;
use crate::config::{self, ClientConfig, Config, ConfigError, Sources};

const DEFAULT_FILE: &str = "lottery.conf";
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
    let path = arguments
        .config
        .clone()
        .unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    let usage = |problem: String| {
        tell(&problem);
        Exit::Usage
    };
    let text = read_file(&path, arguments.config.is_some()).map_err(usage)?;
    let sources = Sources {
        file: text.map(|text| (path.as_path(), text)),
        env: arguments.env.clone(),
        sets: &arguments.sets,
    };
    read(sources).map_err(|error| usage(error.to_string()))
}

/// None when the default file is not there: variables and flags may be enough.
fn read_file(path: &Path, was_named: bool) -> Result<Option<String>, String> {
    match read_text(path, FILE_BYTES_MAX) {
        Ok(mut text) => Ok(Some(std::mem::take(&mut *text))),
        Err(error) if !was_named && error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: cannot be read: {error}", path.display())),
    }
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        log::warn!("{warning}");
    }
}
