//! The texts of `--help`, from the table of commands.

use crate::commands::arguments::{CommandSpec, OptionSpec, COMMON, VERSION};

const ABOUT: &str = "\
lottery operates an on-chain lottery: it follows the contract, draws each round in its
window or refunds it after, and serves a page, an HTTP API and a WebSocket feed.
";

const REST: &str = "
`lottery COMMAND --help` tells more of a command, `lottery --help settings` shows every
setting with its default and what is allowed.

Settings come from the file, then from variables like LOTTERY_BLOCKCHAIN_RPC_URL, then
from --set. The operator's key comes from operator.key_file, a keystore, the variable
LOTTERY_OPERATOR_PRIVATE_KEY or systemd's credential operator_key, or stays with a signer
at operator.signer_url. RUST_LOG sets how much is logged (info by default).

Exit codes: 0 done or stopped by a signal, 1 failed while running, 2 bad usage or
configuration, 3 the answer is no.
";

/// What there is, in one screen.
pub(crate) fn overview(commands: &[&'static CommandSpec]) -> String {
    let mut text = format!("{ABOUT}\nUsage: lottery [COMMAND] [OPTIONS]\n\nCommands:\n");
    let rows = commands.iter().map(|command| {
        let operand = command.operand.map(|operand| format!(" {operand}"));
        let name = format!("{}{}", command.name, operand.unwrap_or_default());
        (name, command.summary)
    });
    text += &columns(rows.collect());
    text += "\nOptions:\n";
    text += &options(COMMON.iter().chain([&VERSION]));
    text += "\nExamples:\n";
    for example in commands
        .iter()
        .filter_map(|command| command.examples.first())
    {
        text += &format!("  {example}\n");
    }
    text + REST
}

/// One command with its options.
pub(crate) fn of_command(command: &CommandSpec) -> String {
    let operand = command.operand.map(|operand| format!(" {operand}"));
    let mut text = format!(
        "lottery {}: {}\n\nUsage: lottery {}{} [OPTIONS]\n\n{}\nOptions:\n",
        command.name,
        command.summary,
        command.name,
        operand.unwrap_or_default(),
        command.details
    );
    text += &options(command.options.iter().chain(COMMON));
    text += "\nExamples:\n";
    for example in command.examples {
        text += &format!("  {example}\n");
    }
    text
}

fn options<'a>(options: impl Iterator<Item = &'a OptionSpec>) -> String {
    let rows = options.map(|option| {
        let short = option
            .short
            .map_or("    ".to_owned(), |short| format!("-{short}, "));
        let value = option.value.map(|value| format!(" {value}"));
        let name = format!("{short}--{}{}", option.long, value.unwrap_or_default());
        (name, option.meaning)
    });
    columns(rows.collect())
}

fn columns(rows: Vec<(String, &str)>) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter()
        .map(|(name, meaning)| format!("  {name:width$}  {meaning}\n"))
        .collect()
}
