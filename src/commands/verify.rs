//! `lottery verify N`: recomputes a round's draw from public chain data alone. No daemon, no key, nothing kept: the
//! round's logs are searched from the head backwards, over whatever endpoints are configured.

use serde_json::Value;

use crate::actors::reader::Reader;
use crate::app;
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::chain::endpoints::Endpoints;
use crate::chain::error::RpcError;
use crate::chain::types::to_checksum;
use crate::commands::arguments::{whole_from_1, Arguments, CommandSpec, JSON};
use crate::commands::exit::Exit;
use crate::commands::load;
use crate::commands::output::{print, tell};
use crate::config::Config;
use crate::lottery::event::LotteryEvent;
use crate::lottery::history::{finished_round, LoggedEvent};
use crate::lottery::history::{FinishedRound, Outcome};
use crate::lottery::proof::Verdict;
use crate::lottery::round::RoundState;
use crate::web::view;

const CHUNK_BLOCKS_MAX: u64 = 10_000;

/// What the search found.
enum Found {
    Round(Box<FinishedRound>),
    /// No end of that round: it runs, it has not begun, or it is not of this contract.
    NotFinished,
}

pub(super) static COMMAND: CommandSpec = CommandSpec {
    name: "verify",
    operand: Some("N"),
    summary: "recompute the draw of round N from public chain data alone",
    details: "\
Needs neither daemon nor key: blockchain.rpc_url, chain_id and contract_address are enough.
Exit code 3 says that the draw is not what the chain's data make it.
",
    options: &[JSON],
    examples: &["lottery verify 7 --json"],
    run,
};

fn run(arguments: &Arguments) -> Exit {
    let operand = arguments.operand.as_deref().unwrap_or_default();
    let round_id = match whole_from_1("the round to verify", operand) {
        Ok(round_id) => round_id,
        Err(problem) => {
            tell(&problem);
            return Exit::Usage;
        }
    };
    let config = match load::to_read(arguments) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    verify(&config, round_id, arguments.has(&JSON))
}

fn verify(config: &Config, round_id: u64, as_json: bool) -> Exit {
    let endpoints = match app::endpoints(config, &Clock::system(), &Metrics::default()) {
        Ok(endpoints) => endpoints,
        Err(error) => {
            tell(&error.to_string());
            return Exit::Usage;
        }
    };
    let reader = Reader::new(config.blockchain.contract_address);
    match find(&endpoints, &reader, round_id) {
        Ok(Found::Round(round)) => {
            let text = match as_json {
                true => format!("{}\n", view::verified_round(&round)),
                false => describe(&round),
            };
            match round.proof.verdict {
                Verdict::Verified => print(&text, Exit::Done),
                _ => print(&text, Exit::No),
            }
        }
        Ok(Found::NotFinished) => {
            tell(&format!(
                "round {round_id} has not ended on this contract: there is nothing to verify"
            ));
            Exit::No
        }
        Err(error) => {
            tell(&format!("the chain cannot be read: {error}"));
            Exit::Failed
        }
    }
}

/// Reads back from the head until the round's end and all its bets are known.
fn find(endpoints: &Endpoints, reader: &Reader, round_id: u64) -> Result<Found, RpcError> {
    let mut unread_below = endpoints.with_endpoint(|endpoint| endpoint.head())?.number + 1;
    let mut events: Vec<LoggedEvent> = Vec::new();
    while unread_below > 0 {
        let range = (
            unread_below.saturating_sub(CHUNK_BLOCKS_MAX),
            unread_below - 1,
        );
        let (from, mut older) = endpoints.with_endpoint(|endpoint| {
            let chunk = endpoint.log_chunk(reader.contract(), range, false)?;
            let from = chunk.first.number;
            let ends = [chunk.first, chunk.last];
            Ok((from, reader.events(endpoint, chunk.logs, &ends, u64::MAX)?))
        })?;
        let is_past = older
            .iter()
            .any(|event| is_before_bets(&event.record.event, round_id));
        older.append(&mut events);
        events = older;
        if is_past {
            break;
        }
        unread_below = from;
        tell(&format!("reading on below block {unread_below}"));
    }
    Ok(match finished_round(&events, round_id) {
        Some(round) => Found::Round(Box::new(round)),
        None => Found::NotFinished,
    })
}

/// True for what can only come before the round's first bet.
fn is_before_bets(event: &LotteryEvent, wanted: u64) -> bool {
    match *event {
        LotteryEvent::RoundStateChanged {
            round_id,
            new_state: RoundState::Betting,
            ..
        } => round_id <= wanted,
        LotteryEvent::RoundCompleted { round_id, .. }
        | LotteryEvent::RoundRefunded { round_id, .. } => round_id < wanted,
        _ => false,
    }
}

fn describe(round: &FinishedRound) -> String {
    let mut text = format!("round {}\n", round.round_id);
    let mut line = |name: &str, value: String| text += &format!("  {name:<18}{value}\n");
    line("ended in block", round.position.block_number.to_string());
    line(
        "transaction",
        format!("{:#x}", round.position.transaction_hash),
    );
    line("bets", round.bets.len().to_string());
    if let Outcome::Refunded { reason } = &round.outcome {
        line("refunded", reason.clone());
        line("draw", "nothing was drawn".to_owned());
    } else {
        describe_draw(round, &mut line);
    }
    let verdict = &round.proof.verdict;
    match verdict.why() {
        Some(why) => line("verdict", format!("{}: {why}", verdict.label())),
        None => line("verdict", verdict.label().to_owned()),
    }
    text
}

fn describe_draw(round: &FinishedRound, line: &mut impl FnMut(&str, String)) {
    let proof = view::verified_round(round)["proof"].clone();
    let number = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    for input in [
        "timestamp",
        "prevrandao",
        "number",
        "roundId",
        "totalPotWei",
    ] {
        line(input, number(&proof["inputs"][input]));
    }
    line("announced seed", number(&proof["seed"]));
    line("recomputed seed", number(&proof["recomputedSeed"]));
    if let Outcome::Completed { winner, .. } = round.outcome {
        line("announced winner", to_checksum(&winner));
    }
    line("recomputed winner", number(&proof["recomputedWinner"]));
}
