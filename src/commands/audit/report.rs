//! What an audit found, as people and as programs read it: one line a round and the account in words, one JSON document,
//! or the rounds as comma-separated values. A round is printed when it is read, and not kept.

use std::fmt::Write as _;
use std::io::{self, BufWriter, ErrorKind, Stdout, Write as _};

use serde_json::json;

use crate::chain::types::{to_checksum, Address};
use crate::commands::exit::Exit;
use crate::commands::output::tell;
use crate::lottery::audit::{Account, Audit, Row};
use crate::lottery::words::ether;
use crate::web::view::counted;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Words,
    Csv,
    Json,
}

const CSV_HEADER: &str =
    "round,end,block,transaction,finished_at,bets,players,pot_wei,winner,prize_wei,commission_wei,\
     refund_reason,verdict,delay_blocks,delay_secs,sender,\
     logs_digest\n";

/// Prints rounds as they come, and the account after them. Once its reader has gone away, or the disk is full, it is
/// silent, and `is_cut_off` says so.
pub(super) struct Printer {
    format: Format,
    out: BufWriter<Stdout>,
    rounds: u64,
    failure: Option<io::Error>,
}

impl Printer {
    pub fn new(format: Format) -> Printer {
        Printer {
            format,
            out: BufWriter::new(io::stdout()),
            rounds: 0,
            failure: None,
        }
    }

    pub fn is_cut_off(&self) -> bool {
        self.failure.is_some()
    }

    pub fn row(&mut self, row: &Row) {
        let text = match self.format {
            Format::Words => row_in_words(row) + "\n",
            Format::Csv => csv_line(row),
            Format::Json if self.rounds == 0 => json!(row).to_string(),
            Format::Json => format!(",\n{}", json!(row)),
        };
        self.begin();
        self.write(&text);
        self.rounds += 1;
    }

    /// What has been printed is for its reader to see.
    pub fn flush(&mut self) {
        if self.failure.is_none() {
            self.failure = self.out.flush().err();
        }
    }

    /// The account and the findings; how the command ends.
    pub fn finish(mut self, audit: &Audit) -> Exit {
        self.begin();
        let text = match self.format {
            Format::Words => account_in_words(audit),
            Format::Csv => String::new(),
            Format::Json => format!(
                "],\"account\":{},\"findings\":{}}}\n",
                json!(audit.summary()),
                json!(audit.findings())
            ),
        };
        self.write(&text);
        self.end(match audit.findings() {
            [] => Exit::Done,
            _ => Exit::No,
        })
    }

    /// The audit ended early, with what was printed so far: a document is closed, and says why.
    pub fn give_up(mut self, why: &str, exit: Exit) -> Exit {
        if self.format == Format::Json && self.rounds > 0 {
            self.write(&format!("],\"error\":{}}}\n", json!(why)));
        }
        tell(why);
        self.end(exit)
    }

    fn end(mut self, exit: Exit) -> Exit {
        self.flush();
        match self.failure {
            Some(error) if error.kind() != ErrorKind::BrokenPipe => {
                tell(&format!("stdout cannot be written: {error}"));
                Exit::Failed
            }
            _ => exit,
        }
    }

    /// What comes before the first round.
    fn begin(&mut self) {
        let text = match (self.rounds, self.format) {
            (0, Format::Csv) => CSV_HEADER,
            (0, Format::Json) => "{\"rounds\":[",
            _ => return,
        };
        self.write(text);
    }

    fn write(&mut self, text: &str) {
        if self.failure.is_none() {
            self.failure = self.out.write_all(text.as_bytes()).err();
        }
    }
}

fn csv_line(row: &Row) -> String {
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
        format!("{:#x}", row.logs_digest),
    ];
    cells.join(",") + "\n"
}

/// A reason is the contract's text: it may hold anything.
fn quoted(text: &str) -> String {
    match text.is_empty() {
        true => String::new(),
        false => format!("\"{}\"", text.replace('"', "\"\"")),
    }
}

fn account_in_words(audit: &Audit) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
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
        Some(blocks) => format!(", {} late", counted(blocks, "block")),
        None => String::new(),
    };
    format!(
        "round {} block {}: {} of {}, {} ETH: {end}{delay}: {}",
        row.round_id,
        row.block_number,
        counted(row.bets as u64, "bet"),
        counted(row.players, "player"),
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
        let rounds = counted(*rounds, "round");
        writeln!(text, "ended by {}: {rounds}", to_checksum(address))?;
    }
    write_chance(text, &account)?;
    if account.randomness_known_ahead == Some(true) {
        writeln!(
            text,
            "randomness: known ahead on this chain: whoever sends a draw can compute the winner before"
        )?;
    }
    if let Some(last) = audit.ended() {
        writeln!(
            text,
            "logs up to the end of round {last}: digest {:#x}, the same over every honest node",
            account.logs_digest
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
    match (audit.findings(), account.rounds) {
        ([], 0) => writeln!(
            text,
            "no round of these has ended yet; what there is adds up"
        ),
        ([], _) => writeln!(text, "everything adds up"),
        _ => Ok(()),
    }
}

/// How surprising the draws are under honest chance.
fn write_chance(text: &mut String, account: &Account) -> std::fmt::Result {
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
            "luckiest: {} won {}, {:.2} expected, p = {:.4} (the least of {} addresses)",
            to_checksum(&luck.address),
            counted(luck.wins, "time"),
            luck.expected_wins,
            luck.p_value,
            luck.addresses
        )?;
    }
    Ok(())
}

fn write_ether(text: &mut String, account: &Account) -> std::fmt::Result {
    writeln!(
        text,
        "{}: {} drawn, {} refunded; {} of {}",
        counted(account.rounds, "round"),
        account.drawn,
        account.refunded,
        counted(account.bets, "bet"),
        counted(account.players as u64, "player")
    )?;
    for (reason, rounds) in &account.refunds_by_reason {
        writeln!(text, "refunded {}: {reason}", counted(*rounds, "time"))?;
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
