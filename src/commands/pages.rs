//! The man page and the completions of shells, from the tables that `--help` is printed from.

use crate::commands::arguments::{CommandSpec, OptionSpec, COMMON, VERSION};
use crate::config;

/// A page for man(1), in roff.
pub(crate) fn man(commands: &[&'static CommandSpec]) -> String {
    let mut page = String::from(
        ".TH LOTTERY 1\n.SH NAME\nlottery \\- operates an on-chain lottery\n.SH SYNOPSIS\n.B lottery\n\
         [COMMAND] [OPTIONS]\n.SH DESCRIPTION\nFollows the contract over JSON-RPC, draws each round in its window or \
         refunds it after, and serves a page, an HTTP API and a WebSocket feed.\n.SH COMMANDS\n",
    );
    for command in commands {
        let operand = command.operand.map(|operand| format!(" {operand}"));
        let name = format!("{}{}", command.name, operand.unwrap_or_default());
        page += &format!(".TP\n.B {}\n{}.\n", roff(&name), roff(command.summary));
        page += &roff(command.details);
        for option in command.options {
            page += &format!(
                ".RS\n.TP\n.B {}\n{}\n.RE\n",
                roff(&usage(option)),
                roff(option.meaning)
            );
        }
    }
    page += ".SH OPTIONS\n";
    for option in COMMON.iter().chain([&VERSION]) {
        page += &format!(
            ".TP\n.B {}\n{}\n",
            roff(&usage(option)),
            roff(option.meaning)
        );
    }
    page += ".SH SETTINGS\n.nf\n";
    page += &roff(&config::settings_help());
    page += ".fi\n.SH EXIT STATUS\n0 done or stopped by a signal, 1 failed while running, 2 bad usage or configuration, \
             3 the answer is no.\n.SH EXAMPLES\n.nf\n";
    for example in commands.iter().flat_map(|command| command.examples) {
        page += &format!("{}\n", roff(example));
    }
    page + ".fi\n"
}

fn usage(option: &OptionSpec) -> String {
    let short = option.short.map(|short| format!("-{short}, "));
    let value = option.value.map(|value| format!(" {value}"));
    let (short, value) = (short.unwrap_or_default(), value.unwrap_or_default());
    format!("{short}--{}{value}", option.long)
}

/// Text that roff takes literally: no line begins with a request, and a hyphen can be copied.
fn roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    let lines = escaped
        .split('\n')
        .map(|line| match line.starts_with(['.', '\'']) {
            true => format!("\\&{line}"),
            false => line.to_owned(),
        });
    lines.collect::<Vec<_>>().join("\n")
}

/// Names of commands and topics that stand behind `help`.
fn words(commands: &[&'static CommandSpec]) -> String {
    let names: Vec<&str> = commands.iter().map(|command| command.name).collect();
    names.join(" ")
}

fn flags<'a>(options: impl Iterator<Item = &'a OptionSpec>) -> String {
    let flags: Vec<String> = options.map(|option| format!("--{}", option.long)).collect();
    flags.join(" ")
}

fn settings() -> String {
    let mut names: Vec<String> = config::setting_names();
    names.iter_mut().for_each(|name| name.push('='));
    names.join(" ")
}

/// For bash.
pub(crate) fn bash(commands: &[&'static CommandSpec]) -> String {
    let mut cases = String::new();
    for command in commands {
        let options = flags(command.options.iter().chain(COMMON));
        cases += &format!("        {}) words=\"{options}\" ;;\n", command.name);
    }
    format!(
        r#"# Completion of lottery for bash.
_lottery() {{
    local word previous command words index
    word=${{COMP_WORDS[COMP_CWORD]}}
    previous=${{COMP_WORDS[COMP_CWORD - 1]}}
    case $previous in
        --config|-c) compopt -o filenames; COMPREPLY=($(compgen -f -- "$word")); return ;;
        --set) compopt -o nospace; COMPREPLY=($(compgen -W "{settings}" -- "$word")); return ;;
        help) COMPREPLY=($(compgen -W "{names} settings" -- "$word")); return ;;
    esac
    for ((index = 1; index < COMP_CWORD; index++)); do
        case " {names} " in *" ${{COMP_WORDS[index]}} "*) command=${{COMP_WORDS[index]}} ;; esac
    done
    case $command in
{cases}        *) words="{names} help {common}" ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -F _lottery lottery
"#,
        settings = settings(),
        names = words(commands),
        common = flags(COMMON.iter().chain([&VERSION])),
    )
}

/// For zsh.
pub(crate) fn zsh(commands: &[&'static CommandSpec]) -> String {
    let mut text = String::from(
        "#compdef lottery\n# Completion of lottery for zsh.\nlocal -a commands\ncommands=(\n",
    );
    for command in commands {
        text += &format!("    '{}:{}'\n", command.name, quoted(command.summary));
    }
    text += ")\n_arguments -C \\\n";
    for option in COMMON.iter().chain([&VERSION]) {
        text += &format!("    {} \\\n", zsh_option(option));
    }
    text += "    '1:command:{_describe command commands}' \\\n    '*::argument:->rest'\ncase $words[1] in\n";
    for command in commands {
        let options = command.options.iter().chain(COMMON);
        let options: Vec<String> = options.map(zsh_option).collect();
        text += &format!(
            "    {}) _arguments {} ;;\n",
            command.name,
            options.join(" ")
        );
    }
    text + "esac\n"
}

fn zsh_option(option: &OptionSpec) -> String {
    let value = match option.value {
        Some("FILE") => ":file:_files".to_owned(),
        Some("SECTION.KEY=VALUE") => format!(":setting:({})", settings()),
        Some(value) => format!(":{value}:"),
        None => String::new(),
    };
    format!("'--{}[{}]{value}'", option.long, quoted(option.meaning))
}

fn quoted(text: &str) -> String {
    text.replace('\'', "'\\''").replace(['[', ']', ':'], " ")
}

/// For fish.
pub(crate) fn fish(commands: &[&'static CommandSpec]) -> String {
    let names = words(commands);
    let mut text = String::from("# Completion of lottery for fish.\ncomplete -c lottery -f\n");
    for command in commands {
        let summary = fish_quoted(command.summary);
        text += &format!(
            "complete -c lottery -n 'not __fish_seen_subcommand_from {names}' -a {} -d '{summary}'\n",
            command.name
        );
        for option in command.options {
            text += &format!(
                "complete -c lottery -n '__fish_seen_subcommand_from {}' {}\n",
                command.name,
                fish_option(option)
            );
        }
    }
    for option in COMMON.iter().chain([&VERSION]) {
        text += &format!("complete -c lottery {}\n", fish_option(option));
    }
    text
}

fn fish_option(option: &OptionSpec) -> String {
    let short = option.short.map(|short| format!(" -s {short}"));
    let value = match option.value {
        Some("FILE") => " -r -F".to_owned(),
        Some("SECTION.KEY=VALUE") => format!(" -x -a '{}'", settings()),
        Some(_) => " -x".to_owned(),
        None => String::new(),
    };
    let meaning = fish_quoted(option.meaning);
    format!(
        "-l {}{}{value} -d '{meaning}'",
        option.long,
        short.unwrap_or_default()
    )
}

fn fish_quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "\\'")
}
