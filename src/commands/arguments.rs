//! Arguments to a request, by the table of commands and options that `--help` is printed from. What an argument means is
//! the business of the command that it goes with.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::Arg;

use crate::commands::exit::Exit;

/// One command: what it is called, what it takes, and what runs it.
pub(crate) struct CommandSpec {
    pub name: &'static str,
    /// What stands behind the name, as the usage shows it.
    pub operand: Option<&'static str>,
    /// One line for the list of commands.
    pub summary: &'static str,
    /// What its own help says beyond that.
    pub details: &'static str,
    pub options: &'static [OptionSpec],
    pub examples: &'static [&'static str],
    pub run: fn(&Arguments) -> Exit,
}

/// One option of one or more commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OptionSpec {
    pub long: &'static str,
    pub short: Option<char>,
    /// What its value is called; None when it takes none.
    pub value: Option<&'static str>,
    pub meaning: &'static str,
}

const CONFIG: OptionSpec = OptionSpec {
    long: "config",
    short: Some('c'),
    value: Some("FILE"),
    meaning: "the settings (default: lottery.conf here, else in /etc/lottery)",
};
const SET: OptionSpec = OptionSpec {
    long: "set",
    short: None,
    value: Some("SECTION.KEY=VALUE"),
    meaning: "overrides one setting; may be repeated",
};
pub(crate) const HELP: OptionSpec = OptionSpec {
    long: "help",
    short: Some('h'),
    value: None,
    meaning: "what this is and how it is used",
};
pub(crate) const VERSION: OptionSpec = OptionSpec {
    long: "version",
    short: Some('V'),
    value: None,
    meaning: "version and commit",
};
pub(crate) const JSON: OptionSpec = OptionSpec {
    long: "json",
    short: None,
    value: None,
    meaning: "print JSON",
};

/// What every command takes.
pub(crate) const COMMON: &[OptionSpec] = &[CONFIG, SET, HELP];

/// What is asked for.
pub(crate) enum Request {
    Run(Arguments),
    /// None: the overview.
    Help(Option<&'static CommandSpec>),
    /// One of `TOPICS`.
    Topic(Topic),
    Version,
}

/// What `help` shows beside commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    Settings,
    Man,
    Bash,
    Zsh,
    Fish,
}

/// The topics by name; all but the first are for packagers.
const TOPICS: &[(&str, Topic)] = &[
    ("settings", Topic::Settings),
    ("man", Topic::Man),
    ("bash", Topic::Bash),
    ("zsh", Topic::Zsh),
    ("fish", Topic::Fish),
];

/// What is wrong with the arguments, in words.
pub(crate) struct Misuse {
    pub problem: String,
    /// The command that was meant, whose help says more.
    pub command: Option<&'static CommandSpec>,
}

/// A command with everything that was given to it.
pub(crate) struct Arguments {
    pub command: &'static CommandSpec,
    pub operand: Option<String>,
    pub config: Option<PathBuf>,
    pub sets: Vec<String>,
    pub env: Vec<(String, String)>,
    given: Vec<(OptionSpec, Option<String>)>,
}

impl Arguments {
    pub fn has(&self, option: &OptionSpec) -> bool {
        self.given.iter().any(|(given, _)| given == option)
    }

    /// The text that an option was given.
    pub fn text(&self, option: &OptionSpec) -> Option<&str> {
        let given = self.given.iter().rev().find(|(given, _)| given == option);
        given.and_then(|(_, text)| text.as_deref())
    }

    /// The number that an option was given.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn number(&self, option: &OptionSpec) -> Result<Option<u64>, String> {
        let Some(text) = self.text(option) else {
            return Ok(None);
        };
        whole_from_1(&format!("--{}", option.long), text).map(Some)
    }
}

/// A number from 1, such as a round's.
///
/// # Errors
/// The text, named, with what is allowed.
pub(crate) fn whole_from_1(name: &str, text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{name} is {text}, allowed are whole numbers from 1"))
}

/// What the arguments ask for; the first of the commands is what runs without a name.
///
/// # Errors
/// What is wrong, and with which command.
pub(crate) fn parse(
    args: impl IntoIterator<Item = OsString>,
    env: Vec<(String, String)>,
    commands: &[&'static CommandSpec],
) -> Result<Request, Misuse> {
    let (mut words, mut given): (Vec<String>, Vec<(OptionSpec, OsString)>) = Default::default();
    // The command may stand behind the first mistake, which is the one to tell.
    let mut first_problem = Ok(());
    let mut parser = lexopt::Parser::from_args(args);
    loop {
        let taken = take_next(&mut parser, commands, &mut words, &mut given);
        match taken {
            Ok(true) => {}
            Ok(false) => break,
            Err(problem) => first_problem = first_problem.and(Err(problem)),
        }
    }
    let asked = first_problem.and_then(|()| request(&words, given, env, commands));
    asked.map_err(|problem| {
        let meant = |command: &&&'static CommandSpec| {
            words.first().is_some_and(|word| word == command.name)
        };
        Misuse {
            problem,
            command: commands.iter().find(meant).copied(),
        }
    })
}

/// Takes the next word, or option with its value; false when there is none.
fn take_next(
    parser: &mut lexopt::Parser,
    commands: &[&'static CommandSpec],
    words: &mut Vec<String>,
    given: &mut Vec<(OptionSpec, OsString)>,
) -> Result<bool, String> {
    let (shown, option) = match parser.next().map_err(|error| error.to_string())? {
        None => return Ok(false),
        Some(Arg::Value(word)) => {
            words.push(word.to_string_lossy().into_owned());
            return Ok(true);
        }
        Some(Arg::Long(long)) => (
            format!("--{long}"),
            known(commands, |option| option.long == long),
        ),
        Some(Arg::Short(short)) => (
            format!("-{short}"),
            known(commands, |option| option.short == Some(short)),
        ),
    };
    let option = option.ok_or_else(|| {
        // A value of its own is no word.
        let _ = parser.optional_value();
        format!("{shown} is neither a command nor an option")
    })?;
    let value = match option.value {
        Some(_) => parser
            .value()
            .map_err(|_| format!("{shown} needs a value"))?,
        None if parser.optional_value().is_some() => return Err(format!("{shown} takes no value")),
        None => OsString::new(),
    };
    given.push((option, value));
    Ok(true)
}

fn request(
    words: &[String],
    given: Vec<(OptionSpec, OsString)>,
    env: Vec<(String, String)>,
    commands: &[&'static CommandSpec],
) -> Result<Request, String> {
    let has = |wanted: &OptionSpec| given.iter().any(|(option, _)| option == wanted);
    let asks_help = words.first().is_some_and(|word| word == "help");
    if asks_help || has(&HELP) {
        return help_on(words.get(usize::from(asks_help)), commands);
    }
    if has(&VERSION) {
        return Ok(Request::Version);
    }
    let (command, operand) = command(words, commands)?;
    if let Some((option, _)) = given
        .iter()
        .find(|(option, _)| !COMMON.contains(option) && !command.options.contains(option))
    {
        return Err(misplaced(option, commands));
    }
    Ok(Request::Run(sort(command, operand, given, env)))
}

fn known(
    commands: &[&'static CommandSpec],
    is_meant: impl Fn(&OptionSpec) -> bool,
) -> Option<OptionSpec> {
    let of_commands = commands.iter().flat_map(|command| command.options);
    let all = COMMON.iter().chain([&VERSION]).chain(of_commands);
    all.copied().find(is_meant)
}

fn help_on(topic: Option<&String>, commands: &[&'static CommandSpec]) -> Result<Request, String> {
    let Some(topic) = topic else {
        return Ok(Request::Help(None));
    };
    if let Some((_, topic)) = TOPICS.iter().find(|(name, _)| name == topic) {
        return Ok(Request::Topic(*topic));
    }
    let command = commands.iter().find(|command| command.name == topic);
    command
        .map(|command| Request::Help(Some(command)))
        .ok_or_else(|| format!("{topic} is neither a command nor \"settings\""))
}

fn command(
    words: &[String],
    commands: &[&'static CommandSpec],
) -> Result<(&'static CommandSpec, Option<String>), String> {
    let named = |word: &String| commands.iter().find(|command| command.name == word);
    let Some((first, rest)) = words.split_first() else {
        let default = commands.first().ok_or("there are no commands")?;
        return Ok((default, None));
    };
    let command =
        named(first).ok_or_else(|| format!("{first} is neither a command nor an option"))?;
    let operands_max = usize::from(command.operand.is_some());
    match rest.get(operands_max) {
        Some(word) if named(word).is_some() => {
            return Err(format!("{word}: only one command can be given"))
        }
        Some(word) => return Err(format!("{word}: {first} takes nothing like that")),
        None => {}
    }
    match (command.operand, rest.first()) {
        (Some(operand), None) => Err(format!("{first} needs a value: {operand}")),
        (_, operand) => Ok((command, operand.cloned())),
    }
}

fn misplaced(option: &OptionSpec, commands: &[&'static CommandSpec]) -> String {
    let takers: Vec<&str> = commands
        .iter()
        .filter(|command| command.options.contains(option))
        .map(|command| command.name)
        .collect();
    let takers = match takers.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        _ => takers.concat(),
    };
    format!("--{} goes with {takers}", option.long)
}

fn sort(
    command: &'static CommandSpec,
    operand: Option<String>,
    options: Vec<(OptionSpec, OsString)>,
    env: Vec<(String, String)>,
) -> Arguments {
    let mut arguments = Arguments {
        command,
        operand,
        config: None,
        sets: Vec::new(),
        env,
        given: Vec::new(),
    };
    for (option, value) in options {
        if option == CONFIG {
            arguments.config = Some(PathBuf::from(value));
            continue;
        }
        let value = value.to_string_lossy().into_owned();
        match option == SET {
            true => arguments.sets.push(value),
            false => arguments.given.push((option, option.value.map(|_| value))),
        }
    }
    arguments
}
