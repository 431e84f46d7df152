//! The command line: arguments to a request, a request to its command, each command to an exit code. Data goes to
//! stdout, talk to stderr. Each command is one file with its options, its help and what it does.
#![doc = include_str!("trouble.md")]

mod act;
mod arguments;
mod audit;
mod check;
mod exit;
mod help;
mod load;
mod locate;
mod logging;
mod output;
mod pages;
mod patience;
mod run;
mod signals;
mod status;
mod systemd;
mod verify;

use std::ffi::OsString;

use crate::commands::arguments::{CommandSpec, Request, Topic};
pub use crate::commands::exit::Exit;
use crate::commands::output::{print, tell};
use crate::config;

/// Every command. The first one runs when none is named.
static COMMANDS: &[&CommandSpec] = &[
    &run::COMMAND,
    &check::COMMAND,
    &status::COMMAND,
    &verify::COMMAND,
    &audit::COMMAND,
    &act::DRAW,
    &act::REFUND,
];

/// Runs the command that the arguments name; how it ended.
pub fn main(
    args: impl Iterator<Item = OsString>,
    env: impl Iterator<Item = (OsString, OsString)>,
) -> Exit {
    // What is not UTF-8 is no setting of ours, and stands out as a wrong value where one is wanted.
    let text = |text: OsString| text.to_string_lossy().into_owned();
    let env = env.map(|(name, value)| (text(name), text(value))).collect();
    match arguments::parse(args, env, COMMANDS) {
        Ok(Request::Run(arguments)) => (arguments.command.run)(&arguments),
        Ok(Request::Help(None)) => print(&help::overview(COMMANDS), Exit::Done),
        Ok(Request::Help(Some(command))) => print(&help::of_command(command), Exit::Done),
        Ok(Request::Topic(topic)) => print(&text_on(topic), Exit::Done),
        Ok(Request::Version) => print(&version(), Exit::Done),
        Err(misuse) => {
            let of_command = misuse.command.map(|command| format!("{} ", command.name));
            let (problem, of_command) = (misuse.problem, of_command.unwrap_or_default());
            tell(&format!(
                "{problem}\nlottery {of_command}--help shows what is possible"
            ));
            Exit::Usage
        }
    }
}

fn text_on(topic: Topic) -> String {
    match topic {
        Topic::Settings => config::settings_help(),
        Topic::Man => pages::man(COMMANDS),
        Topic::Bash => pages::bash(COMMANDS),
        Topic::Zsh => pages::zsh(COMMANDS),
        Topic::Fish => pages::fish(COMMANDS),
    }
}

fn version() -> String {
    format!(
        "lottery {} ({})\n",
        env!("CARGO_PKG_VERSION"),
        env!("LOTTERY_COMMIT")
    )
}

#[cfg(test)]
mod tests;
