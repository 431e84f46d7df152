//! `lottery draw` and `lottery refund`: a manual action, by the running daemon over its API, or with --direct by this
//! process, which follows the chain just as long as the action takes.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use crate::app::Core;
use crate::base::shutdown::{Shutdown, StopReason};
use crate::commands::arguments::{Arguments, CommandSpec, OptionSpec, JSON};
use crate::commands::exit::Exit;
use crate::commands::load;
use crate::commands::output::{print, tell};
use crate::config::Config;
use crate::lottery::command::CommandKind;
use crate::web::client::{ActionAnswer, ApiClient, ClientError};
use crate::web::view;

/// How long an action's end is waited for.
const ACTION_WITHIN: Duration = Duration::from_secs(300);
const ASK_EVERY: Duration = Duration::from_millis(500);

const ROUND: OptionSpec = OptionSpec {
    long: "round",
    short: None,
    value: Some("N"),
    meaning: "the round that is meant (default: the running one)",
};
const DIRECT: OptionSpec = OptionSpec {
    long: "direct",
    short: None,
    value: None,
    meaning: "act without a running daemon, with the key that is configured",
};
const FORCE: OptionSpec = OptionSpec {
    long: "force",
    short: None,
    value: None,
    meaning: "also before the draw window is over",
};

pub(super) static DRAW: CommandSpec = CommandSpec {
    name: "draw",
    operand: None,
    summary: "ask the running daemon to draw the running round",
    details: "\
Asks the daemon that listens on server.host and server.port, with the token of
server.api_token_file, and waits for the end. No other setting is used but with --direct.
",
    options: &[ROUND, DIRECT, JSON],
    examples: &["lottery draw --round 7", "lottery draw --direct"],
    run: |arguments| act(arguments, CommandKind::Draw),
};

pub(super) static REFUND: CommandSpec = CommandSpec {
    name: "refund",
    operand: None,
    summary: "ask the running daemon to refund the running round",
    details: "\
Asks the daemon that listens on server.host and server.port, with the token of
server.api_token_file, and waits for the end. No other setting is used but with --direct.
Before the draw window is over only --force refunds, and takes the draw from the players.
",
    options: &[ROUND, FORCE, DIRECT, JSON],
    examples: &["lottery refund --round 7 --force"],
    run: |arguments| {
        let force = arguments.has(&FORCE);
        act(arguments, CommandKind::Refund { force })
    },
};

/// The action as it ended: in JSON, and as read from there.
type Ended = (Value, ActionAnswer);

fn act(arguments: &Arguments, kind: CommandKind) -> Exit {
    let round_id = match arguments.number(&ROUND) {
        Ok(round_id) => round_id,
        Err(problem) => {
            tell(&problem);
            return Exit::Usage;
        }
    };
    let ended = match arguments.has(&DIRECT) {
        true => act_directly(arguments, round_id, kind),
        false => ask_daemon(arguments, round_id, kind),
    };
    match ended {
        Ok((json, action)) => {
            let exit = match action.is_done() {
                true => Exit::Done,
                false => Exit::Failed,
            };
            let text = match arguments.has(&JSON) {
                true => json.to_string(),
                false => describe(&action),
            };
            print(&format!("{text}\n"), exit)
        }
        Err(exit) => exit,
    }
}

fn describe(action: &ActionAnswer) -> String {
    let ActionAnswer {
        action: name,
        round_id,
        state,
        ..
    } = action;
    if !action.is_done() {
        let why = action.error.as_deref().unwrap_or("no reason was given");
        return format!("{name} of round {round_id} {state}: {why}");
    }
    let block = action
        .block_number
        .map_or("a block not named".to_owned(), |number| {
            format!("block {number}")
        });
    let hash = action.hashes.last().map(|hash| format!(" ({hash})"));
    format!(
        "{name} of round {round_id} done in {block}{}",
        hash.unwrap_or_default()
    )
}

fn ask_daemon(
    arguments: &Arguments,
    round_id: Option<u64>,
    kind: CommandKind,
) -> Result<Ended, Exit> {
    let config = load::to_ask(arguments)?;
    let usage = |problem: &str| {
        tell(problem);
        Err(Exit::Usage)
    };
    let Some(token) = &config.api_token else {
        return usage(
            "server.api_token_file is not set: the daemon takes commands with its token alone",
        );
    };
    if config.server.port() == 0 {
        return usage(
            "server.port is 0: the daemon took a free port, name it with --set server.port=...",
        );
    }
    let client = ApiClient::new(config.server);
    let failed = |error: ClientError| {
        tell(&match &error {
            ClientError::Unreachable { .. } => format!("{error}; --direct acts without one"),
            _ => error.to_string(),
        });
        match error {
            ClientError::Refused { status: 409, .. } => Exit::No,
            _ => Exit::Failed,
        }
    };
    let round_id = round_id.map_or_else(|| client.round_id(), Ok);
    let accepted = round_id.and_then(|round_id| client.act(round_id, kind, token));
    let id = accepted.map_err(failed)?;
    tell(&format!("accepted as action {id}"));
    let until = Instant::now() + ACTION_WITHIN;
    loop {
        let (json, action) = client.action(&id).map_err(failed)?;
        if action.has_ended() {
            return Ok((json, action));
        }
        if Instant::now() >= until {
            let secs = ACTION_WITHIN.as_secs();
            tell(&format!(
                "action {id} has not ended in {secs} s; the daemon goes on with it"
            ));
            return Err(Exit::Failed);
        }
        std::thread::sleep(ASK_EVERY);
    }
}

/// Follows and acts in this process, without serving anything.
fn act_directly(
    arguments: &Arguments,
    round_id: Option<u64>,
    kind: CommandKind,
) -> Result<Ended, Exit> {
    let config: Config = load::whole(arguments)?;
    if config.operator.key.is_none() {
        tell("no key is configured: --direct needs one");
        return Err(Exit::Usage);
    }
    let shutdown = Shutdown::new();
    let (core, publications) =
        Core::start(&config, false, shutdown.clone(), vec![None]).map_err(|error| {
            tell(&error.to_string());
            match error.is_configuration() {
                true => Exit::Usage,
                false => Exit::Failed,
            }
        })?;
    let until = Instant::now() + ACTION_WITHIN;
    let mut action_id = None;
    let ended = loop {
        let snapshot = core.snapshot.load();
        if let (None, Some(round)) = (&action_id, &snapshot.round) {
            let round_id = round_id.unwrap_or(round.round_id);
            action_id = core.operator.submit(round_id, kind).ok();
        }
        let record = action_id
            .as_deref()
            .and_then(|id| core.operator.action(&snapshot, id));
        let json = record.map(|record| view::action(&record));
        let read = json.and_then(|json| Some((ActionAnswer::deserialize(&json).ok()?, json)));
        match read.filter(|(action, _)| action.has_ended()) {
            Some((action, json)) => break Ok((json, action)),
            None if Instant::now() >= until || shutdown.is_tripped() => {
                let problem = snapshot.connection.problem.clone().unwrap_or_default();
                tell(&format!("nothing was done in time: {problem}"));
                break Err(Exit::Failed);
            }
            None => {}
        }
        let _ = publications[0].recv_timeout(ASK_EVERY);
    };
    core.stop(StopReason::Requested);
    ended
}
