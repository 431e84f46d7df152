//! Every kind of argument, right and wrong, with the words that a person gets to read.

use std::path::PathBuf;

use super::*;
use crate::commands::arguments::{Arguments, JSON};

fn parsed(line: &str) -> Result<Request, String> {
    parsed_for(line).map_err(|(problem, _)| problem)
}

/// What is wrong comes with the name of the command that was meant.
fn parsed_for(line: &str) -> Result<Request, (String, Option<&'static str>)> {
    let words = line.split_whitespace().map(OsString::from);
    let parsed = arguments::parse(words, Vec::new(), COMMANDS);
    parsed.map_err(|misuse| (misuse.problem, misuse.command.map(|command| command.name)))
}

fn arguments(line: &str) -> Arguments {
    match parsed(line) {
        Ok(Request::Run(arguments)) => arguments,
        Ok(_) => panic!("{line}: no command"),
        Err(problem) => panic!("{line}: {problem}"),
    }
}

#[test]
fn words_become_commands() {
    for (line, expected) in [
        ("", "run"),
        ("run", "run"),
        ("--config x", "run"),
        ("-c x", "run"),
        ("check --json", "check"),
        ("--json check", "check"),
        ("verify 7", "verify"),
        ("verify --json 7", "verify"),
        ("draw", "draw"),
        ("refund --force", "refund"),
    ] {
        assert_eq!(arguments(line).command.name, expected, "{line}");
    }
    assert_eq!(arguments("verify 7").operand.as_deref(), Some("7"));
    let full = arguments(
        "refund --config=a.conf --set a.b=c --set=d.e=f=g --round 9 --force --direct --json",
    );
    assert_eq!(full.command.name, "refund");
    assert_eq!(full.config, Some(PathBuf::from("a.conf")));
    assert_eq!(full.sets, ["a.b=c", "d.e=f=g"]);
    let option = |name: &str| {
        let options = full.command.options.iter();
        *options
            .into_iter()
            .find(|option| option.long == name)
            .unwrap()
    };
    assert_eq!(full.number(&option("round")), Ok(Some(9)));
    assert!(full.has(&option("force")) && full.has(&option("direct")) && full.has(&JSON));
    assert!(!arguments("refund").has(&JSON));
}

#[test]
fn help_comes_for_the_whole_for_each_command_and_for_the_settings() {
    for line in ["--help", "-h", "help", "--set a.b=c --help"] {
        assert!(matches!(parsed(line), Ok(Request::Help(None))), "{line}");
    }
    for command in COMMANDS {
        let name = command.name;
        for line in [
            format!("{name} --help"),
            format!("{name} -h"),
            format!("--help {name}"),
            format!("help {name}"),
        ] {
            match parsed(&line) {
                Ok(Request::Help(Some(found))) => assert_eq!(found.name, name),
                _ => panic!("{line}"),
            }
        }
        let text = help::of_command(command);
        assert!(text.starts_with(&format!("lottery {name}: ")), "{text}");
        assert!(
            text.contains("--config FILE") && text.contains("Examples:\n  lottery"),
            "{text}"
        );
        for option in command.options {
            assert!(text.contains(option.meaning), "{text}");
        }
        assert!(help::overview(COMMANDS).contains(command.summary));
    }
    for line in ["--help settings", "help settings"] {
        assert!(
            matches!(parsed(line), Ok(Request::Topic(Topic::Settings))),
            "{line}"
        );
    }
    for line in ["--version", "-V", "check -V"] {
        assert!(matches!(parsed(line), Ok(Request::Version)), "{line}");
    }
    assert!(parsed("help me").is_err_and(|problem| problem.contains("neither a command")));
}

#[test]
fn help_fits_a_terminal() {
    let own = COMMANDS.iter().map(|command| help::of_command(command));
    for text in own.chain([help::overview(COMMANDS)]) {
        for line in text.lines() {
            assert!(line.chars().count() <= 96, "{line}");
        }
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (line, named) in [
        ("fly", "fly is neither a command nor an option"),
        ("--fly", "--fly is neither a command nor an option"),
        ("-x", "-x is neither a command nor an option"),
        ("draw refund", "refund: only one command can be given"),
        ("draw 7", "7: draw takes nothing like that"),
        ("verify 7 8", "8: verify takes nothing like that"),
        ("--config", "--config needs a value"),
        ("--set", "--set needs a value"),
        ("verify", "verify needs a value"),
        ("draw --force", "--force goes with refund"),
        ("draw --force=yes", "--force takes no value"),
        ("check --round 1", "--round goes with draw and refund"),
        ("run --direct", "--direct goes with draw and refund"),
        (
            "--json",
            "--json goes with check, status, verify, audit, draw and refund",
        ),
    ] {
        let problem = parsed(line).err().unwrap_or_default();
        assert!(problem.contains(named), "{line}: {problem}");
    }
}

#[test]
fn a_mistake_leads_to_the_help_of_the_command_that_was_meant() {
    for (line, command, named) in [
        ("check --offlin", Some("check"), "--offlin"),
        ("--offlin check", Some("check"), "--offlin"),
        ("--offlin=check audit", Some("audit"), "--offlin"),
        ("verify", Some("verify"), "needs a value"),
        ("draw --force --fly", Some("draw"), "--fly"),
        ("draw --force=yes --fly", Some("draw"), "--force"),
        ("status --config", Some("status"), "--config needs"),
        ("run --direct", Some("run"), "--direct goes with"),
        ("--fly", None, "--fly"),
        ("fly --json", None, "fly"),
        ("help me", None, "me"),
    ] {
        let (problem, meant) = parsed_for(line).err().unwrap();
        assert_eq!(meant, command, "{line}: {problem}");
        assert!(problem.contains(named), "{line}: {problem}");
    }
}

#[test]
fn rounds_are_whole_numbers_from_1() {
    let round = *act_round();
    for (line, problem) in [
        (
            "draw --round 0",
            "--round is 0, allowed are whole numbers from 1",
        ),
        (
            "draw --round -1",
            "--round is -1, allowed are whole numbers from 1",
        ),
        (
            "draw --round x",
            "--round is x, allowed are whole numbers from 1",
        ),
    ] {
        assert_eq!(arguments(line).number(&round), Err(problem.to_owned()));
    }
    assert_eq!(
        arguments("draw --round 1 --round 2").number(&round),
        Ok(Some(2))
    );
    assert_eq!(arguments("draw").number(&round), Ok(None));
    assert_eq!(
        arguments::whole_from_1("the round to verify", "x"),
        Err("the round to verify is x, allowed are whole numbers from 1".to_owned())
    );
}

fn act_round() -> &'static arguments::OptionSpec {
    let options = act::DRAW.options.iter();
    let mut found = options.filter(|option| option.long == "round");
    found.next().unwrap()
}
