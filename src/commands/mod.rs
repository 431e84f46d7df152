//! The command line: arguments to one invocation, each invocation to an exit code. Data goes to stdout, talk to stderr.

mod check;
mod exit;
mod verify;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use crate::app::{Core, Daemon};
use crate::base::shutdown::{Shutdown, StopReason};
pub use crate::commands::exit::Exit;
use crate::commands::exit::ENDED_AT_ONCE;
use crate::config::{self, Config, Sources};
use crate::lottery::action::{ActionRecord, ActionState};
use crate::lottery::command::CommandKind;
use crate::web::view;

const DEFAULT_FILE: &str = "lottery.conf";
/// How long `draw` and `refund` wait for the action's end.
const ACTION_WITHIN: Duration = Duration::from_secs(300);
const ASK_EVERY: Duration = Duration::from_millis(500);

const HELP: &str = "\
lottery operates an on-chain lottery: it follows the contract, draws each round in its
window or refunds it after, and serves a page, an HTTP API and a WebSocket feed.

Usage: lottery [COMMAND] [OPTIONS]

Commands:
  run      follow, draw and serve (this is what happens without a command)
  check    load everything, ask every endpoint, print a table; sends nothing
  verify N recompute the draw of round N from public chain data alone
  draw     ask the running daemon to draw the running round
  refund   ask the running daemon to refund the running round

Options:
  --config FILE            the configuration (default: lottery.conf, if it is there)
  --set SECTION.KEY=VALUE  overrides one setting; may be repeated
  --round N                draw, refund: the round that is meant (default: the running one)
  --force                  refund: also before the draw window is over
  --direct                 draw, refund: act without a running daemon
  --json                   check, verify, draw, refund: print JSON
  --help, --version
  --help settings          every setting with its default and what is allowed

Settings come from the file, then from variables like LOTTERY_BLOCKCHAIN_RPC_URL, then
from --set. The operator's key comes from operator.key_file, a keystore, the variable
LOTTERY_OPERATOR_PRIVATE_KEY or systemd's credential operator_key.

Examples:
  lottery --set blockchain.contract_address=0x5FbDB2315678afecb367f032d93F642f64180aa3
  lottery check --config /etc/lottery/lottery.conf
  lottery verify 7 --json
  lottery refund --round 7 --force

Exit codes: 0 done or stopped by a signal, 1 failed while running, 2 bad usage or
configuration, 3 the answer is no.
";

#[derive(Clone, Debug, PartialEq, Eq)]
enum Command {
    Run,
    Check,
    Verify { round_id: u64 },
    Draw,
    Refund,
    Help,
    HelpOnSettings,
    Version,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Invocation {
    command: Command,
    config: Option<PathBuf>,
    sets: Vec<String>,
    round: Option<u64>,
    force: bool,
    direct: bool,
    json: bool,
}

/// Runs the command that the arguments name; how it ended.
pub fn main(
    args: impl Iterator<Item = OsString>,
    env: impl Iterator<Item = (OsString, OsString)>,
) -> Exit {
    let invocation = match parse(args) {
        Ok(invocation) => invocation,
        Err(problem) => {
            eprintln!("{problem}\nlottery --help shows what is possible");
            return Exit::Usage;
        }
    };
    match invocation.command {
        Command::Help => {
            print!("{HELP}");
            return Exit::Done;
        }
        Command::HelpOnSettings => {
            print!("{}", config::settings_help());
            return Exit::Done;
        }
        Command::Version => {
            println!(
                "lottery {} ({})",
                env!("CARGO_PKG_VERSION"),
                env!("LOTTERY_COMMIT")
            );
            return Exit::Done;
        }
        _ => {}
    }
    // A variable that is not UTF-8 cannot be one of ours.
    let env = env
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let config = match load(&invocation, env) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return Exit::Usage;
        }
    };
    start_logging();
    for warning in &config.warnings {
        log::warn!("{warning}");
    }
    match invocation.command {
        Command::Check => check::run(&config, invocation.json),
        Command::Verify { round_id } => verify::run(&config, round_id, invocation.json),
        Command::Draw => act(&config, &invocation, false),
        Command::Refund => act(&config, &invocation, true),
        _ => run(&config),
    }
}

fn parse(args: impl Iterator<Item = OsString>) -> Result<Invocation, String> {
    let mut args = args;
    let mut command = None;
    let mut invocation = Invocation {
        command: Command::Run,
        config: None,
        sets: Vec::new(),
        round: None,
        force: false,
        direct: false,
        json: false,
    };
    while let Some(arg) = args.next() {
        let text = arg.to_string_lossy().into_owned();
        let (flag, inline) = match text.split_once('=').filter(|_| text.starts_with("--")) {
            Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
            None => (text.clone(), None),
        };
        let takes_value = matches!(flag.as_str(), "--config" | "-c" | "--set" | "--round");
        if inline.is_some() && !takes_value {
            return Err(format!("{flag} takes no value"));
        }
        let mut value = || {
            let next = inline
                .clone()
                .or_else(|| args.next().map(|next| next.to_string_lossy().into_owned()));
            next.ok_or_else(|| format!("{flag} needs a value"))
        };
        match flag.as_str() {
            "--config" | "-c" => invocation.config = Some(PathBuf::from(value()?)),
            "--set" => invocation.sets.push(value()?),
            "--round" => invocation.round = Some(round_number("--round", &value()?)?),
            "--force" => invocation.force = true,
            "--direct" => invocation.direct = true,
            "--json" => invocation.json = true,
            "--help" | "-h" | "help" => {
                let command = match args.next() {
                    Some(topic) if topic == "settings" => Command::HelpOnSettings,
                    _ => Command::Help,
                };
                return Ok(Invocation {
                    command,
                    ..invocation
                });
            }
            "--version" | "-V" => {
                return Ok(Invocation {
                    command: Command::Version,
                    ..invocation
                })
            }
            word => {
                let known = match word {
                    "run" => Command::Run,
                    "check" => Command::Check,
                    "verify" => Command::Verify {
                        round_id: round_number("the round to verify", &value()?)?,
                    },
                    "draw" => Command::Draw,
                    "refund" => Command::Refund,
                    _ => return Err(format!("{word} is neither a command nor an option")),
                };
                if command.replace(known).is_some() {
                    return Err(format!("{word}: only one command can be given"));
                }
            }
        }
    }
    invocation.command = command.unwrap_or(Command::Run);
    let acts = matches!(invocation.command, Command::Draw | Command::Refund);
    let misplaced = [
        (
            invocation.round.is_some() && !acts,
            "--round goes with draw and refund",
        ),
        (
            invocation.direct && !acts,
            "--direct goes with draw and refund",
        ),
        (
            invocation.force && invocation.command != Command::Refund,
            "--force goes with refund",
        ),
        (
            invocation.json && invocation.command == Command::Run,
            "--json goes with check, verify, draw and refund",
        ),
    ];
    match misplaced.iter().find(|(is_so, _)| *is_so) {
        Some((_, problem)) => Err((*problem).to_owned()),
        None => Ok(invocation),
    }
}

fn round_number(name: &str, text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{name} is {text}, allowed are whole numbers from 1"))
}

fn load(invocation: &Invocation, env: Vec<(String, String)>) -> Result<Config, String> {
    let path = invocation
        .config
        .clone()
        .unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    let file = match std::fs::read_to_string(&path) {
        Ok(text) => Some((path.as_path(), text)),
        // Without a file of its own choosing, variables and flags may be enough.
        Err(error)
            if invocation.config.is_none() && error.kind() == std::io::ErrorKind::NotFound =>
        {
            None
        }
        Err(error) => return Err(format!("{}: cannot be read: {error}", path.display())),
    };
    config::load(Sources {
        file,
        env,
        sets: &invocation.sets,
    })
    .map_err(|error| error.to_string())
}

fn start_logging() {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned());
    let mut builder = env_logger::Builder::new();
    builder.parse_filters(&filter);
    // At trace these print paths, queries and handshakes, and with them API keys.
    for target in [
        "ureq",
        "ureq_proto",
        "rustls",
        "tungstenite",
        "tiny_http",
        "polling",
        "mio",
    ] {
        builder.filter_module(target, log::LevelFilter::Info);
    }
    // A second initialisation, as in tests, changes nothing.
    let _ = builder.try_init();
}

fn run(config: &Config) -> Exit {
    let shutdown = Shutdown::new();
    let on_signal = shutdown.clone();
    let installed = ctrlc::set_handler(move || {
        if on_signal.is_tripped() {
            std::process::exit(ENDED_AT_ONCE);
        }
        log::info!("stopping");
        on_signal.trip(StopReason::Requested);
    });
    if let Err(error) = installed {
        eprintln!("signals cannot be handled: {error}");
        return Exit::Failed;
    }
    let daemon = match Daemon::start(config, shutdown) {
        Ok(daemon) => daemon,
        Err(error) => {
            eprintln!("{error}");
            return if error.is_configuration() {
                Exit::Usage
            } else {
                Exit::Failed
            };
        }
    };
    log::info!(
        "serving on http://{} (API at /api/status, feed at /ws/lottery)",
        daemon.local_addr()
    );
    if let Some(address) = daemon.private_addr() {
        log::info!("metrics on http://{address}/metrics");
    }
    match daemon.wait() {
        StopReason::Requested => {
            log::info!("stopped");
            Exit::Done
        }
        StopReason::Failed(why) => {
            log::error!("stopped: {why}");
            Exit::Failed
        }
    }
}

/// A manual draw or refund, by the running daemon or directly.
fn act(config: &Config, invocation: &Invocation, refund: bool) -> Exit {
    let result = match invocation.direct {
        true => act_directly(config, invocation, refund),
        false => ask_daemon(config, invocation, refund),
    };
    match result {
        Ok(action) => {
            let done = action["state"] == "done";
            if invocation.json {
                println!("{action}");
            } else {
                println!("{}", describe(&action));
            }
            if done {
                Exit::Done
            } else {
                Exit::Failed
            }
        }
        Err((code, problem)) => {
            eprintln!("{problem}");
            code
        }
    }
}

fn describe(action: &Value) -> String {
    let word = |key: &str| action[key].as_str().unwrap_or("?").to_owned();
    match action["state"] == "done" {
        true => format!(
            "{} of round {} done in block {} ({})",
            word("action"),
            action["roundId"],
            action["blockNumber"],
            action["hashes"]
                .as_array()
                .and_then(|hashes| hashes.last()?.as_str())
                .unwrap_or("?")
        ),
        false => format!(
            "{} of round {} {}: {}",
            word("action"),
            action["roundId"],
            word("state"),
            word("error")
        ),
    }
}

fn ask_daemon(
    config: &Config,
    invocation: &Invocation,
    refund: bool,
) -> Result<Value, (Exit, String)> {
    let Some(token) = &config.server.api_token else {
        return Err((
            Exit::Usage,
            "server.api_token_file is not set: the daemon takes commands with its token alone"
                .to_owned(),
        ));
    };
    let mut address = config.server.listen;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let client = ApiClient {
        base: format!("http://{address}"),
        token: token.expose(),
    };
    let round_id = match invocation.round {
        Some(round_id) => round_id,
        None => {
            let (_, status) = client.get("/api/round/status")?;
            status["roundId"].as_u64().ok_or((
                Exit::Failed,
                "the daemon does not know the round yet".to_owned(),
            ))?
        }
    };
    let mut body = json!({"roundId": round_id});
    if invocation.force {
        body["force"] = json!(true);
    }
    let path = if refund {
        "/api/round/refund"
    } else {
        "/api/round/draw"
    };
    let (status, accepted) = client.post(path, &body)?;
    if status != 202 {
        let code = if status == 409 {
            Exit::No
        } else {
            Exit::Failed
        };
        return Err((
            code,
            accepted["error"]["message"]
                .as_str()
                .unwrap_or("the daemon refused")
                .to_owned(),
        ));
    }
    let id = accepted["actionId"].as_str().unwrap_or_default().to_owned();
    eprintln!("accepted as action {id}");
    let until = Instant::now() + ACTION_WITHIN;
    loop {
        let (_, action) = client.get(&format!("/api/operator/actions/{id}"))?;
        if matches!(action["state"].as_str(), Some("done" | "failed")) {
            return Ok(action);
        }
        if Instant::now() >= until {
            let secs = ACTION_WITHIN.as_secs();
            return Err((
                Exit::Failed,
                format!("action {id} has not ended in {secs} s; the daemon goes on with it"),
            ));
        }
        std::thread::sleep(ASK_EVERY);
    }
}

struct ApiClient<'a> {
    base: String,
    token: &'a str,
}

impl ApiClient<'_> {
    fn agent(&self) -> ureq::Agent {
        ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(10)))
            .proxy(None)
            .build()
            .new_agent()
    }

    fn get(&self, path: &str) -> Result<(u16, Value), (Exit, String)> {
        self.answer(self.agent().get(format!("{}{path}", self.base)).call())
    }

    fn post(&self, path: &str, body: &Value) -> Result<(u16, Value), (Exit, String)> {
        let request = self
            .agent()
            .post(format!("{}{path}", self.base))
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", self.token));
        self.answer(request.send(body.to_string()))
    }

    fn answer(
        &self,
        result: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<(u16, Value), (Exit, String)> {
        let unreachable = |error: ureq::Error| {
            (
                Exit::Failed,
                format!(
                    "no daemon answers at {}: {error}; --direct acts without one",
                    self.base
                ),
            )
        };
        let mut response = result.map_err(unreachable)?;
        let text = response.body_mut().read_to_string().map_err(unreachable)?;
        let value = serde_json::from_str(&text).map_err(|_| {
            (
                Exit::Failed,
                format!("what answers at {} is not this daemon", self.base),
            )
        })?;
        Ok((response.status().as_u16(), value))
    }
}

/// Follows and acts in this process, without serving anything.
fn act_directly(
    config: &Config,
    invocation: &Invocation,
    refund: bool,
) -> Result<Value, (Exit, String)> {
    if config.operator.key.is_none() {
        return Err((
            Exit::Usage,
            "no key is configured: --direct needs one".to_owned(),
        ));
    }
    let shutdown = Shutdown::new();
    let (core, publications) = Core::start(config, false, shutdown.clone(), 1)
        .map_err(|error| (Exit::Usage, error.to_string()))?;
    let until = Instant::now() + ACTION_WITHIN;
    let mut action_id = None;
    let action = loop {
        let snapshot = core.snapshot.load();
        if let (None, Some(round)) = (&action_id, &snapshot.round) {
            let round_id = invocation.round.unwrap_or(round.round_id);
            let kind = if refund {
                CommandKind::Refund {
                    force: invocation.force,
                }
            } else {
                CommandKind::Draw
            };
            action_id = core.operator.submit(round_id, kind).ok();
        }
        let record = action_id
            .as_deref()
            .and_then(|id| core.operator.action(&snapshot, id));
        let ended =
            |record: &ActionRecord| matches!(record.state, ActionState::Done | ActionState::Failed);
        match record.filter(|record| ended(record)) {
            Some(record) => break Ok(view::action(&record)),
            None if Instant::now() >= until || shutdown.is_tripped() => {
                let problem = snapshot.connection.problem.clone().unwrap_or_default();
                break Err((Exit::Failed, format!("nothing was done in time: {problem}")));
            }
            None => {}
        }
        let _ = publications[0].recv_timeout(ASK_EVERY);
    };
    core.stop(StopReason::Requested);
    action
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Invocation, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn command(line: &str) -> Command {
        parsed(line).unwrap().command
    }

    #[test]
    fn words_become_commands() {
        for (line, expected) in [
            ("", Command::Run),
            ("run", Command::Run),
            ("--config x", Command::Run),
            ("check --json", Command::Check),
            ("verify 7", Command::Verify { round_id: 7 }),
            ("draw", Command::Draw),
            ("refund --force", Command::Refund),
            ("--help", Command::Help),
            ("draw -h", Command::Help),
            ("-V", Command::Version),
        ] {
            assert_eq!(command(line), expected, "{line}");
        }
        let full = parsed(
            "refund --config=a.conf --set a.b=c --set=d.e=f=g --round 9 --force --direct --json",
        );
        let expected = Invocation {
            command: Command::Refund,
            config: Some(PathBuf::from("a.conf")),
            sets: vec!["a.b=c".to_owned(), "d.e=f=g".to_owned()],
            round: Some(9),
            force: true,
            direct: true,
            json: true,
        };
        assert_eq!(full, Ok(expected));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, named) in [
            ("fly", "fly is neither a command nor an option"),
            ("--fly", "--fly is neither a command nor an option"),
            ("draw refund", "refund: only one command can be given"),
            ("--config", "--config needs a value"),
            ("--set", "--set needs a value"),
            ("verify", "verify needs a value"),
            (
                "verify x",
                "the round to verify is x, allowed are whole numbers from 1",
            ),
            (
                "draw --round 0",
                "--round is 0, allowed are whole numbers from 1",
            ),
            ("draw --round -1", "--round is -1"),
            ("draw --force", "--force goes with refund"),
            ("draw --force=yes", "--force takes no value"),
            ("check --round 1", "--round goes with draw and refund"),
            ("run --direct", "--direct goes with draw and refund"),
            ("--json", "--json goes with check, verify, draw and refund"),
        ] {
            let problem = parsed(line).unwrap_err();
            assert!(problem.contains(named), "{line}: {problem}");
        }
    }
}
