//! Which conditions hold, as far as the snapshot and what is known of the endpoints tell. Pure, and true with or without
//! a key, whether or not anybody answers: what only the operator itself can know (its funds, its refusals) it adds.
//!
//! Times of a round are chain time, carried forward. The host's clock only measures how long nobody has answered.

use std::time::{Duration, Instant};

use crate::chain::types::{to_checksum, Address};
use crate::lottery::action::{ActionKind, InFlight};
use crate::lottery::alert::{AlertCode, Condition, Subject};
use crate::lottery::history::{FinishedRound, Outcome};
use crate::lottery::proof::{Verdict, TOO_FEW_PLAYERS};
use crate::lottery::round::{Phase, Round, RoundState};
use crate::lottery::snapshot::Snapshot;
use crate::lottery::words::time_of_day;

/// A chain that answers nothing for this long is told.
const UNREACHABLE_MS: u64 = 15_000;
/// A head that stands for this long (or ten block times) is told.
const STALE: Duration = Duration::from_secs(120);
const STALE_BLOCKS: f64 = 10.0;
/// An empty round is told of when less than this (or ten block times) remains, twice what is left when it is extended,
/// but not before its middle.
const EMPTY_BEFORE_SECS: f64 = 60.0;
const EMPTY_BEFORE_BLOCKS: f64 = 10.0;
/// A refund is listed for this long after it.
const REFUND_TOLD_SECS: u64 = 3_600;

/// What is looked at.
pub(crate) struct Sights<'a> {
    pub snapshot: &'a Snapshot,
    /// What the operator has out now, which the snapshot may not show yet.
    pub in_flight: Option<&'a InFlight>,
    pub endpoints: &'a [EndpointSight],
    /// Whose draws the contract has to accept: the key's address, or the configured operator's.
    pub operator: Option<Address>,
    pub chain_id: u64,
    pub now: Instant,
    pub unix_ms: u64,
    /// When last nothing ran: what was so meanwhile nobody has seen.
    pub slept: Option<Sleep>,
}

/// A time in which nothing ran, since the host slept: by the clock that measures, which may have slept too, and by the host's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sleep {
    pub from: Instant,
    pub until: Instant,
    pub from_unix_ms: u64,
    pub until_unix_ms: u64,
}

impl Sleep {
    /// How much of what has passed since then it was.
    fn since(&self, at: Instant) -> Duration {
        self.until.saturating_duration_since(self.from.max(at))
    }

    fn ms_since(&self, unix_ms: u64) -> u64 {
        self.until_unix_ms
            .saturating_sub(self.from_unix_ms.max(unix_ms))
    }
}

/// What is known of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EndpointSight {
    pub host: String,
    /// The chain that it serves, where that is another one than configured.
    pub wrong_chain: Option<u64>,
}

/// Everything that holds now.
pub(crate) fn conditions(sights: &Sights) -> Vec<Condition> {
    let mut holding = Vec::new();
    holding.extend(chain_unreachable(sights));
    holding.extend(head_stale(sights));
    holding.extend(
        sights
            .endpoints
            .iter()
            .filter_map(|known| wrong_chain(known, sights.chain_id)),
    );
    holding.extend(operator_changed(sights));
    if let Some(round) = &sights.snapshot.round {
        holding.extend(of_round(sights, round));
    }
    holding.extend(
        sights
            .snapshot
            .history
            .iter()
            .filter_map(|finished| proof_mismatch(finished)),
    );
    holding.extend(refunded(sights));
    holding
}

fn chain_unreachable(sights: &Sights) -> Option<Condition> {
    let connection = &sights.snapshot.connection;
    let since_unix_ms = connection.since_unix_ms;
    let slept_ms = sights.slept.map_or(0, |it| it.ms_since(since_unix_ms));
    let since_unix_ms = since_unix_ms.saturating_add(slept_ms);
    let for_ms = sights.unix_ms.saturating_sub(since_unix_ms);
    if connection.reachable || for_ms < UNREACHABLE_MS {
        return None;
    }
    let as_of = match sights.snapshot.head {
        Some(head) => format!("what is shown is as of block {}", head.number),
        None => "no block has been read yet".to_owned(),
    };
    let text =
        format!("the chain cannot be read: {as_of}; nothing can be drawn or refunded meanwhile");
    Some(Condition::critical(
        AlertCode::ChainUnreachable,
        Subject::None,
        text,
    ))
}

fn head_stale(sights: &Sights) -> Option<Condition> {
    let snapshot = sights.snapshot;
    let (head, time) = (snapshot.head?, snapshot.chain_time?);
    let slept = sights.slept.map(|it| it.since(time.seen_at));
    let stands = sights.now.saturating_duration_since(time.seen_at);
    let stands = stands.saturating_sub(slept.unwrap_or_default());
    let usual_secs = snapshot.schedule.mean_spacing_secs?.clamp(0.0, 3_600.0);
    let limit = STALE.max(Duration::from_secs_f64(STALE_BLOCKS * usual_secs));
    if !snapshot.connection.reachable || stands < limit {
        return None;
    }
    let text = format!(
        "no block has come after {}, where one comes every {usual_secs:.0} s: the chain or the endpoints stand still",
        head.number
    );
    Some(Condition::warning(
        AlertCode::HeadStale,
        Subject::None,
        text,
    ))
}

fn wrong_chain(endpoint: &EndpointSight, chain_id: u64) -> Option<Condition> {
    let found = endpoint.wrong_chain?;
    let host = &endpoint.host;
    let text = format!("{host} serves chain {found}, configured is {chain_id}: it is not used");
    let subject = Subject::Endpoint(host.clone());
    Some(Condition::critical(
        AlertCode::EndpointWrongChain,
        subject,
        text,
    ))
}

fn operator_changed(sights: &Sights) -> Option<Condition> {
    let (ours, config) = (sights.operator?, sights.snapshot.config.as_deref()?);
    if config.operator == ours {
        return None;
    }
    let text = format!(
        "the contract's operator is {}, here it is {}: the contract accepts no draw from here",
        to_checksum(&config.operator),
        to_checksum(&ours)
    );
    Some(Condition::critical(
        AlertCode::OperatorChanged,
        Subject::None,
        text,
    ))
}

fn of_round(sights: &Sights, round: &Round) -> Option<Condition> {
    let snapshot = sights.snapshot;
    let (head, carried) = (snapshot.head?, snapshot.chain_time_at(sights.now));
    let round_id = round.round_id;
    let subject = Subject::Round(round_id);
    if round.phase(head.timestamp) == Phase::Stuck {
        let text =
            format!("round {round_id} ended without a bet: the contract accepts nothing any more");
        return Some(Condition::critical(AlertCode::StuckRound, subject, text));
    }
    if round.state != RoundState::Betting {
        return None;
    }
    if round.total_pot_wei.is_zero() {
        return empty_near_its_end(snapshot, round, carried);
    }
    // Whether the window passed unused is certain only when a block after it still shows the round running.
    if head.timestamp > round.max_draw_time {
        let text = format!(
            "round {round_id} was not drawn before its window closed at {}: only a refund is left",
            time_of_day(round.max_draw_time)
        );
        return Some(Condition::critical(AlertCode::DrawMissed, subject, text));
    }
    let third = round.max_draw_time.saturating_sub(round.min_draw_time) / 3;
    let is_out = sights.in_flight.is_some_and(|flight| {
        flight.round_id == round_id
            && flight.action == ActionKind::Draw
            && !flight.hashes.is_empty()
    });
    let is_overdue =
        carried > round.min_draw_time.saturating_add(third) && carried <= round.max_draw_time;
    (is_overdue && !is_out).then(|| {
        let text = format!(
            "a third of round {round_id}'s draw window is gone without a transaction: it closes at {}",
            time_of_day(round.max_draw_time)
        );
        Condition::critical(AlertCode::DrawOverdue, subject, text)
    })
}

/// While bets are taken: once they are not, an empty round is stuck.
fn empty_near_its_end(snapshot: &Snapshot, round: &Round, carried: u64) -> Option<Condition> {
    let usual_secs = snapshot.schedule.mean_spacing_secs.unwrap_or(0.0);
    let blocks_secs = EMPTY_BEFORE_BLOCKS * usual_secs.clamp(0.0, 3_600.0);
    let half_secs = round.end_time.saturating_sub(round.start_time) / 2;
    let before_secs = (EMPTY_BEFORE_SECS.max(blocks_secs) as u64).min(half_secs);
    if round.end_time.saturating_sub(carried) > before_secs {
        return None;
    }
    let Round {
        round_id, end_time, ..
    } = *round;
    let end = time_of_day(end_time);
    let text = format!(
        "nobody has bet in round {round_id}, which ends at {end}: unless somebody bets or it is extended before, the \
         contract accepts nothing any more"
    );
    let (code, subject) = (AlertCode::EmptyRound, Subject::Round(round_id));
    Some(Condition::warning(code, subject, text))
}

fn proof_mismatch(finished: &FinishedRound) -> Option<Condition> {
    let Verdict::Mismatch { why } = &finished.proof.verdict else {
        return None;
    };
    let round_id = finished.round_id;
    let text =
        format!("the draw of round {round_id} does not follow from the chain's values: {why}");
    Some(Condition::critical(
        AlertCode::ProofMismatch,
        Subject::Round(round_id),
        text,
    ))
}

fn refunded(sights: &Sights) -> Option<Condition> {
    let snapshot = sights.snapshot;
    let told = |round_id: u64, text: String| {
        Some(Condition::warning(
            AlertCode::RefundSent,
            Subject::Round(round_id),
            text,
        ))
    };
    let refund = sights.in_flight.filter(|flight| {
        matches!(
            flight.action,
            ActionKind::RefundExpired | ActionKind::RefundForced
        )
    });
    if let Some(flight) = refund {
        let round_id = flight.round_id;
        return told(
            round_id,
            format!("a refund of round {round_id} is on its way"),
        );
    }
    let newest = snapshot.history.first()?;
    let Outcome::Refunded { reason, .. } = &newest.outcome else {
        return None;
    };
    let age_secs = snapshot
        .chain_time_at(sights.now)
        .saturating_sub(newest.position.block_timestamp);
    if reason == TOO_FEW_PLAYERS || age_secs >= REFUND_TOLD_SECS {
        return None;
    }
    told(
        newest.round_id,
        format!("round {} was refunded: {reason}", newest.round_id),
    )
}

#[cfg(test)]
mod tests;
