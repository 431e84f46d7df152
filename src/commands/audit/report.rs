//! What an audit found, as people and as programs read it: one line a round and the account in words, or the rounds as
//! comma-separated values; and when progress was told last.

use std::fmt::Write;
use std::io::IsTerminal;
use std::time::Instant;

use crate::chain::types::{to_checksum, Address};
use crate::lottery::audit::{Account, Audit, Row};
use crate::lottery::words::ether;

/// When progress was last told.
pub(super) struct Shown {
    pub on_terminal: bool,
    pub at: Instant,
    pub saved_at: Instant,
}

impl Shown {
    pub fn new(now: Instant) -> Shown {
        Shown {
            on_terminal: std::io::stderr().is_terminal(),
            at: now,
            saved_at: now,
        }
    }
}

pub(super) fn csv(rows: &[Row]) -> String {
    let mut text = String::from(
        "round,end,block,transaction,finished_at,bets,players,pot_wei,winner,prize_wei,commission_wei,\
         refund_reason,verdict,delay_blocks,delay_secs,sender\n",
    );
    for row in rows {
        let address = |address: &Option<Address>| address.map(|address| to_checksum(&address));
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        let cells = [
            row.round_id.to_string(),
            row.end.clone(),
            row.block_number.to_string(),
            format!("{:#x}", row.transaction_hash),
            row.finished_at.to_string(),
            row.bets.to_string(),
            row.players.to_string(),
            row.pot_wei.to_string(),
            address(&row.winner).unwrap_or_default(),
            row.prize_wei.to_string(),
            row.commission_wei.to_string(),
            quoted(row.refund_reason.as_deref().unwrap_or_default()),
            row.verdict.clone(),
            number(row.delay_blocks).unwrap_or_default(),
            number(row.delay_secs).unwrap_or_default(),
            address(&row.sender).unwrap_or_default(),
        ];
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text
}

/// A reason is the contract's text: it may hold anything.
fn quoted(text: &str) -> String {
    match text.is_empty() {
        true => String::new(),
        false => format!("\"{}\"", text.replace('"', "\"\"")),
    }
}

pub(super) fn describe(audit: &Audit) -> String {
    let mut text = String::new();
    for row in audit.rows() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", row_in_words(row));
    }
    let _ = write_account(&mut text, audit);
    text
}

fn row_in_words(row: &Row) -> String {
    let end = match (&row.winner, &row.refund_reason) {
        (Some(winner), _) => format!("{} won {} ETH", to_checksum(winner), ether(row.prize_wei)),
        (None, reason) => format!("refunded: {}", reason.as_deref().unwrap_or_default()),
    };
    let delay = match row.delay_blocks {
        Some(0) => ", in the first block".to_owned(),
        Some(blocks) => format!(", {blocks} blocks late"),
        None => String::new(),
    };
    format!(
        "round {} block {}: {} bets of {} players, {} ETH: {end}{delay}: {}",
        row.round_id,
        row.block_number,
        row.bets,
        row.players,
        ether(row.pot_wei),
        row.verdict
    )
}

fn write_account(text: &mut String, audit: &Audit) -> std::fmt::Result {
    let account = audit.summary();
    writeln!(text)?;
    write_ether(text, &account)?;
    writeln!(
        text,
        "checked: {} verified, {} mismatched, {} unverifiable",
        account.verified, account.mismatched, account.unverifiable
    )?;
    if account.timed_draws > 0 {
        writeln!(
            text,
            "delays: {} of {} draws in the first block that allowed them; median {} s, longest {} s",
            account.first_block_draws,
            account.timed_draws,
            account.median_delay_secs.unwrap_or_default(),
            account.longest_delay_secs.unwrap_or_default()
        )?;
    }
    for (address, rounds) in &account.ended_by {
        writeln!(text, "ended by {}: {rounds} rounds", to_checksum(address))?;
    }
    if let Some(uniformity) = account.uniformity {
        writeln!(
            text,
            "points in the pot: Kolmogorov-Smirnov distance {:.4} from uniform, p = {:.3} ({} draws)",
            uniformity.distance, uniformity.p_value, uniformity.samples
        )?;
    }
    if let Some(luck) = &account.luckiest {
        writeln!(
            text,
            "luckiest: {} won {} times, {:.2} expected, p = {:.4} (the least of {} addresses)",
            to_checksum(&luck.address),
            luck.wins,
            luck.expected_wins,
            luck.p_value,
            luck.addresses
        )?;
    }
    if account.randomness_known_ahead == Some(true) {
        writeln!(
            text,
            "randomness: known ahead on this chain: whoever sends a draw can compute the winner before"
        )?;
    }
    for finding in audit.findings() {
        match finding.round_id {
            Some(round_id) => writeln!(
                text,
                "DOES NOT ADD UP: round {round_id}: {}",
                finding.problem
            )?,
            None => writeln!(text, "DOES NOT ADD UP: {}", finding.problem)?,
        }
    }
    if audit.findings().is_empty() {
        writeln!(text, "everything adds up")?;
    }
    Ok(())
}

fn write_ether(text: &mut String, account: &Account) -> std::fmt::Result {
    writeln!(
        text,
        "{} rounds: {} drawn, {} refunded; {} bets of {} players",
        account.rounds, account.drawn, account.refunded, account.bets, account.players
    )?;
    for (reason, rounds) in &account.refunds_by_reason {
        writeln!(text, "refunded {rounds} times: {reason}")?;
    }
    writeln!(
        text,
        "ether: {} bet = {} prizes + {} refunded + {} commission + what is in the running pot; {} withdrawn, {} held",
        ether(account.bet_wei),
        ether(account.prizes_wei),
        ether(account.refunded_wei),
        ether(account.commission_wei),
        ether(account.withdrawn_wei),
        ether(account.balance_wei)
    )
}
