//! The first screen in words, written into the page before any script runs: for the first paint, and for readers without
//! JavaScript. The page's own `round.js` says the same, and goes on from there.

use crate::chain::types::U256;
use crate::lottery::alert::{Alert, AlertCode, Severity, Subject};
use crate::lottery::history::{FinishedRound, Outcome};
use crate::lottery::lateness::LateReason;
use crate::lottery::proof;
use crate::lottery::round::{ContractConfig, Phase, Round};
use crate::lottery::snapshot::Snapshot;
use crate::web::view::strip::{self, Strip};
use crate::web::view::words::{
    chance, countdown, counted, duration, ether, ether_short, grouped, percent, short, time_of_day,
};

/// How long a result stays in view when the next round has begun.
const RESULT_SECS: u64 = 60;
/// How long a result is news while nobody bets.
const NEWS_SECS: u64 = 600;

/// The first screen; all of it plain text but the strip.
pub struct Hero {
    /// A phase, or locked, drawn, refunded, unknown.
    pub kind: &'static str,
    pub kicker: String,
    /// Its lines told apart by \n; None where a clock stands instead.
    pub big: Option<String>,
    pub clock: String,
    pub line: String,
    /// None where no pot is known or has been.
    pub pot: Option<String>,
    pub pot_line: String,
    pub note: String,
    /// What the page's script lets a visitor do here.
    pub actions: Vec<String>,
    pub strip: Strip,
    /// What links to the page are titled with, and what they say.
    pub title: String,
    pub description: String,
}

/// The running round, or the last result while it is news; `chain_time` in unix seconds.
pub fn hero(snapshot: &Snapshot, chain_time: u64) -> Hero {
    let Some(round) = snapshot.round.as_ref() else {
        return unknown();
    };
    let config = snapshot.config.as_deref();
    let phase = round.phase(chain_time);
    let last = snapshot.history.first();
    if let Some(last) = last.filter(|last| last.round_id + 1 == round.round_id) {
        let age_secs = chain_time.saturating_sub(last.position.block_timestamp);
        let is_news = match phase {
            Phase::Waiting => age_secs < NEWS_SECS,
            Phase::Betting => age_secs < RESULT_SECS,
            _ => false,
        };
        if is_news {
            let mut hero = finished(last);
            if phase == Phase::Betting {
                hero.actions.push(leave(snapshot));
            }
            return hero;
        }
    }
    match phase {
        Phase::Waiting => waiting(round, config, last.map(|last| &**last)),
        Phase::Overdue if is_locked(snapshot, round) => locked(snapshot, round),
        _ => running(snapshot, round, phase, chain_time),
    }
}

/// Whether the operator has found that the bets cannot go back either.
fn is_locked(snapshot: &Snapshot, round: &Round) -> bool {
    let mut alerts = snapshot.operator.alerts.iter();
    alerts.any(|alert| {
        alert.code == AlertCode::StuckRound && alert.round_id() == Some(round.round_id)
    })
}

fn locked(snapshot: &Snapshot, round: &Round) -> Hero {
    let running = running(snapshot, round, Phase::Overdue, round.max_draw_time);
    Hero {
        kind: "locked",
        kicker: format!("{} is stuck", name(round.round_id)),
        big: Some("The pot\nis locked".to_owned()),
        line: "Somebody in it cannot be paid, and the contract pays everybody back or nobody. Do not bet: what is in it is not safe."
            .to_owned(),
        pot_line: format!("of {}", counted(round.participant_count, "player")),
        note: format!(
            "The draw window closed at {}. Anyone may try to return all bets: it passes once everybody can be paid.",
            time_of_day(round.max_draw_time)
        ),
        ..running
    }
}

/// What holds and concerns those who bet: their round, one of them, or the draw. What the first screen or the page's
/// notice says in words of its own is left out.
pub(crate) fn warnings(snapshot: &Snapshot) -> impl Iterator<Item = &Alert> {
    let round_id = snapshot.round.as_ref().map(|round| round.round_id);
    let alerts = snapshot.operator.alerts.iter().map(|alert| &**alert);
    alerts.filter(move |alert| match (alert.code, &alert.subject) {
        (AlertCode::ChainUnreachable | AlertCode::DrawMissed | AlertCode::StuckRound, _) => false,
        (_, Subject::Player(_)) => true,
        (_, Subject::Round(of)) if Some(*of) == round_id => true,
        _ => alert.severity == Severity::Critical,
    })
}

fn unknown() -> Hero {
    Hero {
        kind: "unknown",
        kicker: "Reading the chain".to_owned(),
        big: Some("Not known\nyet".to_owned()),
        clock: "–".to_owned(),
        line: "What runs here, and whether anybody has bet, is told as soon as the chain was read."
            .to_owned(),
        pot: None,
        pot_line: "The pot is not known yet".to_owned(),
        note: "\u{a0}".to_owned(),
        actions: Vec::new(),
        strip: strip::empty(),
        title: "Lottery".to_owned(),
        description: DESCRIPTION.to_owned(),
    }
}

const CHECK: &str = "Check this draw";

const DESCRIPTION: &str =
    "An on-chain lottery that you can watch, join and check: the pot is a strip, and one wei of it is drawn.";

/// The way from a result to the running round.
pub(crate) fn leave(snapshot: &Snapshot) -> String {
    match &snapshot.round {
        Some(round) => format!("Go to round {}", grouped(round.round_id)),
        None => "Go to the running round".to_owned(),
    }
}

fn name(round_id: u64) -> String {
    format!("Round {}", grouped(round_id))
}

fn waiting(round: &Round, config: Option<&ContractConfig>, last: Option<&FinishedRound>) -> Hero {
    let line = match config {
        Some(config) => format!(
            "Betting then stays open for {}.",
            duration(config.betting_duration_secs)
        ),
        None => "The first bet starts the round.".to_owned(),
    };
    let shown = last.map(finished);
    let (pot, pot_line) = match last.map(|last| (last, &last.outcome)) {
        None => (None, "No round has finished yet".to_owned()),
        Some((
            last,
            Outcome::Completed {
                winner,
                winner_prize_wei,
                ..
            },
        )) => (
            Some(format!("{} ETH", ether_short(*winner_prize_wei))),
            format!(
                "went to {} in round {}",
                short(*winner),
                grouped(last.round_id)
            ),
        ),
        Some((last, Outcome::Refunded { .. })) => (
            Some(format!("{} ETH", ether_short(last.total_pot_wei))),
            format!(
                "of round {} went back to its players",
                grouped(last.round_id)
            ),
        ),
    };
    let note = last.map_or("\u{a0}".to_owned(), |last| {
        format!(
            "Above: the pot of round {}, which ended at {}.",
            grouped(last.round_id),
            time_of_day(last.position.block_timestamp)
        )
    });
    Hero {
        kind: "waiting",
        kicker: name(round.round_id),
        big: Some("Opens with\nthe first bet".to_owned()),
        clock: "–".to_owned(),
        line,
        pot,
        pot_line,
        note,
        actions: match last.map(|last| &last.outcome) {
            Some(Outcome::Completed { .. }) => vec![CHECK.to_owned()],
            _ => Vec::new(),
        },
        strip: shown.map_or_else(strip::empty, |shown| shown.strip),
        title: format!(
            "{} opens with the first bet · Lottery",
            name(round.round_id)
        ),
        description: DESCRIPTION.to_owned(),
    }
}

fn running(snapshot: &Snapshot, round: &Round, phase: Phase, chain_time: u64) -> Hero {
    let config = snapshot.config.as_deref();
    let name = name(round.round_id);
    let is_short = config.is_some_and(|config| config.min_participants > round.participant_count);
    let (kicker, line, clock) = match phase {
        Phase::Closed => (
            format!("{name} is closed"),
            "until one wei of the pot can be drawn",
            countdown(round.min_draw_time.saturating_sub(chain_time)),
        ),
        Phase::DrawWindow => (
            format!("{name}: {}", drawing(snapshot, round, is_short)),
            "since the first block that could draw it",
            format!("+{}", countdown(chain_time.saturating_sub(round.min_draw_time))),
        ),
        Phase::Overdue => (
            format!("{name} was not drawn in time"),
            "late. Nobody can win it any more: every bet goes back.",
            format!("+{}", countdown(chain_time.saturating_sub(round.max_draw_time))),
        ),
        Phase::Stuck => (
            format!("{name} is stuck"),
            "It ended without a bet. The contract takes nothing more in this round; no money is in it.",
            "–".to_owned(),
        ),
        Phase::Betting | Phase::Waiting => (
            format!("{name} is open"),
            "to bet in this round, then one wei is drawn",
            countdown(round.end_time.saturating_sub(chain_time)),
        ),
    };
    let is_stuck = phase == Phase::Stuck;
    let pot = format!("{} ETH", ether_short(round.total_pot_wei));
    let players = counted(round.participant_count, "player");
    Hero {
        kind: phase.label(),
        big: is_stuck.then(|| "Do not bet".to_owned()),
        clock,
        line: line.to_owned(),
        note: note(round, phase, config, snapshot.operator.own.held_up_by),
        actions: match phase {
            Phase::Overdue => vec!["Return all bets".to_owned()],
            _ => Vec::new(),
        },
        strip: strip::of(
            snapshot
                .participants
                .in_bet_order()
                .map(|player| (player.address, player.total_amount_wei)),
            None,
        ),
        title: format!("{kicker}, {pot} in the pot · Lottery"),
        description: format!("{players} in, {pot} in the pot. {DESCRIPTION}"),
        kicker,
        pot: Some(pot),
        pot_line: pot_line(round, phase, config, is_short),
    }
}

fn pot_line(
    round: &Round,
    phase: Phase,
    config: Option<&ContractConfig>,
    is_short: bool,
) -> String {
    let players = counted(round.participant_count, "player");
    match (phase, config) {
        (Phase::Stuck, _) => "Nobody has lost anything".to_owned(),
        (Phase::Overdue, _) => format!("to return to {players}"),
        (_, Some(config)) if is_short => {
            let missing = config.min_participants - round.participant_count;
            format!("{players} · {} more needed for a draw", grouped(missing))
        }
        (_, Some(config)) => {
            let prize = ether_short(prize(round.total_pot_wei, config));
            format!("{players} · winner takes {prize}")
        }
        (_, None) => players,
    }
}

fn drawing(snapshot: &Snapshot, round: &Round, is_short: bool) -> &'static str {
    let in_flight = snapshot.operator.own.in_flight.as_ref();
    if is_short {
        "too few players, the draw returns every bet"
    } else if in_flight.is_some_and(|flight| flight.round_id == round.round_id) {
        "the draw is on its way"
    } else {
        "the draw is due"
    }
}

/// The pot less the commission, as the contract rounds it.
fn prize(pot_wei: U256, config: &ContractConfig) -> U256 {
    let commission = pot_wei
        .full_mul(config.commission_bps.into())
        .checked_div(U256::from(10_000u64).into())
        .and_then(|commission| U256::try_from(commission).ok());
    pot_wei.saturating_sub(commission.unwrap_or(U256::MAX))
}

/// What happens next if nothing is done.
fn note(
    round: &Round,
    phase: Phase,
    config: Option<&ContractConfig>,
    held_up_by: Option<LateReason>,
) -> String {
    let latest = time_of_day(round.max_draw_time);
    match phase {
        Phase::Betting => {
            let few = config.map_or("With too few players".to_owned(), |config| {
                format!("With fewer than {} players", grouped(config.min_participants))
            });
            let end = time_of_day(round.end_time);
            format!("Closes at {end}. {few}, or if nobody draws by {latest}, everyone is paid back.")
        }
        Phase::Closed | Phase::DrawWindow => {
            let held_up = held_up_words(held_up_by);
            format!("If nobody draws by {latest}, everyone is paid back.{held_up}")
        }
        Phase::Overdue => format!(
            "The draw window closed at {latest}. Anyone with a wallet may now return all bets; it costs only the fee."
        ),
        Phase::Waiting | Phase::Stuck => "\u{a0}".to_owned(),
    }
}

/// A finished round as the first screen of its own page, and of the running one while it is news.
pub fn finished(round: &FinishedRound) -> Hero {
    let name = name(round.round_id);
    let totals = proof::totals(&round.bets);
    let at = time_of_day(round.position.block_timestamp);
    let pot = ether_short(round.total_pot_wei);
    let players = counted(round.participant_count, "player");
    match &round.outcome {
        Outcome::Completed {
            winner,
            winner_prize_wei,
            random_seed,
            ..
        } => {
            let held = totals.iter().find(|(player, _)| player == winner);
            let held = held.map(|(_, wei)| *wei);
            let point = proof::draw_point(*random_seed, round.total_pot_wei);
            let pot_line = held.map_or(format!("of {pot} in the pot"), |held| {
                let share = percent(held, round.total_pot_wei);
                format!("held {share}, {}", chance(held, round.total_pot_wei))
            });
            let prize = ether(*winner_prize_wei);
            Hero {
                kind: "drawn",
                kicker: point.map_or(format!("{name} is drawn"), |point| {
                    format!("{name} is drawn. The needle fell on wei {}", grouped(point))
                }),
                big: Some(format!("{}\ntakes it", short(*winner))),
                clock: "–".to_owned(),
                line: "Every wei of the pot had the same chance.".to_owned(),
                pot: Some(format!("{} ETH", ether_short(*winner_prize_wei))),
                note: drawn_note(round, &at, &pot),
                actions: vec![CHECK.to_owned(), "Share".to_owned()],
                title: format!(
                    "{} won {prize} ETH in round {} · Lottery",
                    short(*winner),
                    round.round_id
                ),
                description: format!(
                    "{players} held {pot} ETH; the winner {pot_line}. Check the draw yourself."
                ),
                pot_line,
                strip: strip::of(totals, point.zip(Some(*winner))),
            }
        }
        Outcome::Refunded { reason } => Hero {
            kind: "refunded",
            kicker: format!("{name} was refunded"),
            big: Some("Everyone is\npaid back".to_owned()),
            clock: "–".to_owned(),
            line: reason_words(reason),
            pot: Some(format!("{pot} ETH")),
            pot_line: format!("went back to {players}"),
            note: format!("Paid back at {at}."),
            actions: vec!["Details".to_owned(), "Share".to_owned()],
            strip: strip::of(totals, None),
            title: format!(
                "Round {} was refunded, {pot} ETH in all · Lottery",
                round.round_id
            ),
            description: format!("{} {players} got their bets back.", reason_words(reason)),
        },
    }
}

fn drawn_note(round: &FinishedRound, at: &str, pot: &str) -> String {
    let delay = match round.draw_delay {
        None => String::new(),
        Some(delay) if delay.blocks == 0 => ", in the first block that allowed it".to_owned(),
        Some(delay) => format!(
            ", {} ({}) after the first that allowed it",
            counted(delay.blocks, "block"),
            duration(delay.secs)
        ),
    };
    let players = counted(round.participant_count, "player");
    let held_up = held_up_words(round.draw_delay.and_then(|delay| delay.reason));
    format!("Drawn at {at}{delay}, from {pot} ETH of {players}.{held_up}")
}

/// Why a draw is late or was; the page's script writes the same.
fn held_up_words(reason: Option<LateReason>) -> String {
    reason.map_or(String::new(), |reason| {
        let words = held_up(reason);
        format!(" What held it up, as this server saw it: {words}.")
    })
}

fn held_up(reason: LateReason) -> &'static str {
    match reason {
        LateReason::NotMined => "it was sent in time, and no block took it at once",
        LateReason::Unforeseen => "that block came sooner than expected, or was shown late",
        LateReason::FeeCapped => "a cap kept its fee too low",
        LateReason::LowBalance => "the operator was short of ether for its fee",
        LateReason::SignerFailed => "it was not signed",
        LateReason::NoAnswer => "no node of the chain answered",
        LateReason::Reverted => "the contract refused a try",
        LateReason::UnpayablePlayer => "a try would have been won by a player who cannot be paid",
        LateReason::Reorg => "the chain took the block of an earlier draw back",
        LateReason::StandingBy => "it was left to another server first",
        LateReason::SwitchedOff => "the operator was switched off",
        LateReason::StartedLate => "this server was started after that",
        LateReason::SentByAnother => "it did not come from this server",
    }
}

fn reason_words(reason: &str) -> String {
    match reason {
        "Insufficient participants" => "Too few players took part for a draw.".to_owned(),
        "Draw time expired - public refund" => "Nobody drew it within its window.".to_owned(),
        "Operator-initiated refund" => "The operator called it off.".to_owned(),
        // Its direction of writing stays its own.
        other => format!("The contract says: \u{2068}{other}\u{2069}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_held_a_draw_up_is_told_by_the_script_in_the_same_words() {
        let script = include_str!("../../../www/round.js");
        for reason in LateReason::ALL {
            let entry = format!("\n  {}: \"{}\",\n", reason.label(), held_up(*reason));
            assert!(script.contains(&entry), "{entry}");
        }
    }

    #[test]
    fn a_reason_of_the_contracts_own_is_set_apart_and_the_same_in_the_script() {
        let script = include_str!("../../../www/round.js");
        let words = "The contract says: \\u2068${refundReason}\\u2069.";
        assert!(script.contains(words));
        // First the sign that begins an isolate of either direction, at last the one that ends it.
        assert_eq!(
            reason_words("\u{5d0}"),
            "The contract says: \u{2068}\u{5d0}\u{2069}."
        );
    }
}
