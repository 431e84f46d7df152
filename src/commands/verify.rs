//! `lottery verify N`: recomputes how a round ended from public chain data alone, and tells each step in words that a
//! player understands. No daemon, no key, nothing kept, over whatever endpoints are configured.

use std::fmt::Write;

use crate::actors::reader::Reader;
use crate::app;
use crate::base::clock::Clock;
use crate::base::metrics::{Metrics, Value};
use crate::chain::types::{to_checksum, Address, U256};
use crate::commands::arguments::{whole_from_1, Arguments, CommandSpec, JSON};
use crate::commands::exit::Exit;
use crate::commands::load;
use crate::commands::locate::{locate, Found};
use crate::commands::output::{print, tell};
use crate::commands::patience::in_vain;
use crate::config::Config;
use crate::lottery::history::{FinishedRound, Outcome};
use crate::lottery::proof::{draw_point, totals, winner_among, Inputs, Verdict};
use crate::lottery::words::ether;
use crate::web::view;

/// More bets than these are counted, not listed: the JSON has them all.
const BETS_LISTED_MAX: usize = 40;

pub(super) static COMMAND: CommandSpec = CommandSpec {
    name: "verify",
    operand: Some("N"),
    summary: "recompute the draw of round N from public chain data alone",
    details: "\
Needs neither daemon nor key: blockchain.rpc_url, chain_id and contract_address are enough.
An endpoint that keeps old states (an archive node) lets it find a round far back with a few
dozen calls; with others the events of other rounds show the way, and what that can cost at
most is told before it starts.
Exit code 3 says that the end of the round does not follow from the chain's data, or that
data are missing.
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
    let metrics = Metrics::default();
    let endpoints = match app::endpoints(config, &Clock::system(), &metrics) {
        Ok(endpoints) => endpoints,
        Err(error) => {
            tell(&error.to_string());
            return Exit::Usage;
        }
    };
    let reader = Reader::new(
        config.blockchain.contract_address,
        config.blockchain.chain_id,
    );
    let found = locate(&endpoints, &reader, round_id);
    tell(&format!("{} calls to the chain", calls(&metrics)));
    match found {
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
        Ok(Found::NotFinished { running }) => {
            tell(&format!(
                "round {round_id} has not ended on this contract, where round {running} runs: nothing to verify"
            ));
            Exit::No
        }
        Err(error) => {
            let (text, exit) = in_vain(&error);
            tell(&text);
            exit
        }
    }
}

/// How many JSON-RPC calls were made.
pub fn calls(metrics: &Metrics) -> u64 {
    let families = metrics.families();
    let made = families.get("lottery_rpc_requests_total");
    let counts = made.map_or_else(Vec::new, |family| family.series.values().collect());
    counts
        .into_iter()
        .map(|value| match value {
            Value::Number(number) => *number as u64,
            Value::Histogram { .. } => 0,
        })
        .sum()
}

fn describe(round: &FinishedRound) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_round(&mut text, round);
    text
}

fn write_round(text: &mut String, round: &FinishedRound) -> std::fmt::Result {
    let position = &round.position;
    writeln!(text, "round {}", round.round_id)?;
    line(text, "ended in block", position.block_number)?;
    line(
        text,
        "transaction",
        format!("{:#x}", position.transaction_hash),
    )?;
    line(text, "bets", round.bets.len())?;
    for bet in round.bets.iter().take(BETS_LISTED_MAX) {
        let (wei, pot) = (ether(bet.amount_wei), ether(bet.new_total_wei));
        writeln!(
            text,
            "    {} bet {wei} ETH, pot {pot} ETH",
            to_checksum(&bet.player)
        )?;
    }
    if let Some(more) = round
        .bets
        .len()
        .checked_sub(BETS_LISTED_MAX)
        .filter(|more| *more > 0)
    {
        writeln!(text, "    and {more} more: --json lists them all")?;
    }
    write_outcome(text, round)?;
    let verdict = &round.proof.verdict;
    match verdict.why() {
        Some(why) => line(text, "verdict", format!("{}: {why}", verdict.label())),
        None => line(text, "verdict", verdict.label()),
    }
}

fn write_outcome(text: &mut String, round: &FinishedRound) -> std::fmt::Result {
    match &round.outcome {
        Outcome::Refunded { reason } => {
            line(
                text,
                "refunded",
                format!("{} ETH: {reason}", ether(round.total_pot_wei)),
            )?;
            line(
                text,
                "draw",
                "nothing was drawn: each player got the bets above back",
            )?;
        }
        Outcome::Completed {
            winner,
            winner_prize_wei,
            publisher_commission_wei,
            random_seed,
        } => {
            match &round.proof.inputs {
                Some(inputs) => write_draw(text, round, inputs)?,
                None => line(text, "inputs", "out of reach")?,
            }
            line(text, "announced seed", random_seed)?;
            line(text, "announced winner", to_checksum(winner))?;
            line(text, "prize", format!("{} ETH", ether(*winner_prize_wei)))?;
            line(
                text,
                "commission",
                format!("{} ETH", ether(*publisher_commission_wei)),
            )?;
            if let Some(delay) = round.draw_delay {
                let first = match delay.blocks {
                    0 => "in the first block that allowed it".to_owned(),
                    blocks => format!(
                        "{blocks} blocks and {} s after the first block that allowed it",
                        delay.secs
                    ),
                };
                line(text, "drawn", first)?;
            }
        }
    }
    Ok(())
}

/// The draw, step by step: what went in, the seed, the point in the pot, and whose stretch of the pot it lies in.
fn write_draw(text: &mut String, round: &FinishedRound, inputs: &Inputs) -> std::fmt::Result {
    line(
        text,
        "inputs",
        "five numbers, which the contract hashed to a seed:",
    )?;
    line(text, "timestamp", inputs.timestamp)?;
    let (source, number_source) = (inputs.prevrandao_source, inputs.number_source);
    line(
        text,
        "prevrandao",
        format!("{:#x} ({})", inputs.prevrandao, source.label()),
    )?;
    if round.proof.known_ahead {
        line(
            text,
            "",
            "this value could be known before the block was made: whoever sent the draw could have computed the winner",
        )?;
    }
    line(
        text,
        "number",
        format!("{} ({})", inputs.number, number_source.label()),
    )?;
    line(text, "roundId", round.round_id)?;
    line(text, "totalPotWei", round.total_pot_wei)?;
    let seed = inputs.seed(round.round_id, round.total_pot_wei);
    line(text, "recomputed seed", seed)?;
    let Some(point) = draw_point(seed, round.total_pot_wei) else {
        return Ok(());
    };
    line(
        text,
        "point",
        format!("{point}: the seed modulo the pot, a place in it in wei"),
    )?;
    let totals = totals(&round.bets);
    line(
        text,
        "players",
        format!(
            "{}, by first bet: the pot is a line, on which each has as much as it has bet in all",
            totals.len()
        ),
    )?;
    let drawn = winner_among(seed, round.total_pot_wei, totals.iter().copied());
    write_stretches(text, &totals, point)?;
    match drawn {
        Some(player) => line(text, "recomputed winner", to_checksum(&player)),
        None => line(text, "recomputed winner", "unknown: bets are missing"),
    }
}

fn write_stretches(text: &mut String, totals: &[(Address, U256)], point: U256) -> std::fmt::Result {
    let mut from = U256::zero();
    for (index, (player, total)) in totals.iter().enumerate() {
        let below = from.saturating_add(*total);
        let is_drawn = (from..below).contains(&point);
        if index < BETS_LISTED_MAX || is_drawn {
            let mark = if is_drawn { "  <- the point" } else { "" };
            writeln!(
                text,
                "    {} {from} up to {below}{mark}",
                to_checksum(player)
            )?;
        }
        from = below;
    }
    Ok(())
}

fn line(text: &mut String, name: &str, value: impl std::fmt::Display) -> std::fmt::Result {
    writeln!(text, "  {name:<18}{value}")
}
