//! Finished rounds: the rows of the history, and one round with its bets and the proof of its draw.

use serde_json::{json, Value};

use crate::lottery::event::Bet;
use crate::lottery::fairness::Fairness;
use crate::lottery::history::{FinishedRound, Outcome};
use crate::lottery::lateness::LateReason;
use crate::lottery::proof::{draw_point, totals, winner_among};
use crate::lottery::snapshot::{Finality, Snapshot};
use crate::web::view::{address, as_of, hash, place, wei, with_finality};

/// A row of the history, without its bets.
pub fn history_row(round: &FinishedRound) -> Value {
    let mut row = json!({
        "roundId": round.round_id,
        "startTime": round.start_time,
        "endTime": round.end_time,
        "minDrawTime": round.min_draw_time,
        "maxDrawTime": round.max_draw_time,
        "totalPotWei": wei(round.total_pot_wei),
        "participantCount": round.participant_count,
        "winner": null,
        "winnerPrizeWei": null,
        "publisherCommissionWei": null,
        "randomSeed": null,
        "refundReason": null,
        "finishedAt": round.position.block_timestamp,
        "verdict": round.proof.verdict.label(),
        "verdictWhy": round.proof.verdict.why(),
        "drawDelaySeconds": round.draw_delay.map(|delay| delay.secs),
        "drawDelayBlocks": round.draw_delay.map(|delay| delay.blocks),
        "drawDelayReason": round.draw_delay.and_then(|delay| delay.reason).map(LateReason::label),
        "winnerTotalAmountWei": round.winner_total_wei.map(wei),
        "drawPoint": null,
    });
    match &round.outcome {
        Outcome::Completed {
            winner,
            winner_prize_wei,
            publisher_commission_wei,
            random_seed,
        } => {
            row["type"] = json!("RoundCompleted");
            row["stateLabel"] = json!("COMPLETED");
            row["winner"] = json!(address(*winner));
            row["winnerPrizeWei"] = json!(wei(*winner_prize_wei));
            row["publisherCommissionWei"] = json!(wei(*publisher_commission_wei));
            row["randomSeed"] = json!(wei(*random_seed));
            row["drawPoint"] = json!(draw_point(*random_seed, round.total_pot_wei).map(wei));
        }
        Outcome::Refunded { reason } => {
            row["type"] = json!("RoundRefunded");
            row["stateLabel"] = json!("REFUNDED");
            row["refundReason"] = json!(reason);
        }
    }
    place(&mut row, &round.position);
    row
}

/// GET /api/history: rounds below `before`, newest first.
pub fn history(snapshot: &Snapshot, limit: usize, before: Option<u64>) -> Value {
    let mut rows = snapshot
        .history
        .iter()
        .filter(|round| before.is_none_or(|before| round.round_id < before))
        .map(|round| {
            with_finality(
                history_row(round),
                &snapshot.finality,
                round.position.block_number,
            )
        });
    let page: Vec<Value> = rows.by_ref().take(limit).collect();
    let more = rows.next().is_some();
    let next_before = page
        .last()
        .filter(|_| more)
        .map(|row| row["roundId"].clone());
    json!({
        "asOf": as_of(snapshot),
        "rounds": page,
        "summary": history_summary(snapshot),
        "nextBefore": next_before,
    })
}

pub(crate) fn history_summary(snapshot: &Snapshot) -> Value {
    let summary = snapshot.history_summary();
    json!({
        "totalRounds": summary.total_rounds,
        "completedRounds": summary.completed_rounds,
        "refundedRounds": summary.refunded_rounds,
        "totalVolumeWei": wei(summary.total_volume_wei),
    })
}

/// GET /api/fairness: figures over the kept rounds.
pub(crate) fn fairness(snapshot: &Snapshot) -> Value {
    let figures = Fairness::of(snapshot.history.iter().map(|round| &**round));
    json!({
        "asOf": as_of(snapshot),
        "drawn": figures.drawn,
        "refunded": figures.refunded,
        "verified": figures.verified,
        "mismatched": figures.mismatched,
        "unverifiable": figures.unverifiable,
        "timedDraws": figures.timed_draws,
        "firstBlockDraws": figures.first_block_draws,
        "longestDelaySeconds": figures.longest_delay_secs,
        "longestDelayBlocks": figures.longest_delay_blocks,
        "randomnessKnownAhead": figures.known_ahead,
    })
}

/// GET /api/history/N: one round with its bets, its draw and its proof, as of no block in particular.
pub(crate) fn finished_round(finality: &Finality, round: &FinishedRound) -> Value {
    let row = history_row(round);
    let mut body = with_finality(row, finality, round.position.block_number);
    let bets = round.bets.iter();
    body["bets"] = bets
        .map(|known| with_finality(bet(known), finality, known.position.block_number))
        .collect();
    body["proof"] = proof(round);
    body
}

/// What `lottery verify` prints: a round with its proof, as of no block in particular.
pub(crate) fn verified_round(round: &FinishedRound) -> Value {
    let mut body = history_row(round);
    body["bets"] = round.bets.iter().map(bet).collect();
    body["proof"] = proof(round);
    body
}

fn bet(bet: &Bet) -> Value {
    let mut row = json!({
        "player": address(bet.player),
        "amountWei": wei(bet.amount_wei),
        "timestamp": bet.position.block_timestamp,
    });
    place(&mut row, &bet.position);
    row
}

/// Where the draw's PREVRANDAO was read, and whether it could be known before its block was made; null where nothing was
/// drawn, or nothing is known of the block.
fn randomness(round: &FinishedRound) -> Value {
    match round.proof.inputs {
        Some(inputs) => json!({
            "source": inputs.prevrandao_source.label(),
            "knownAhead": round.proof.known_ahead,
        }),
        None => Value::Null,
    }
}

/// What anyone needs to draw the winner again, and what came out when this daemon did; null for a refund.
fn proof(round: &FinishedRound) -> Value {
    let Outcome::Completed {
        winner,
        random_seed,
        ..
    } = &round.outcome
    else {
        return Value::Null;
    };
    let row = history_row(round);
    let mut body = json!({
        "seed": wei(*random_seed),
        "winner": address(*winner),
        "randomness": randomness(round),
        "inputs": null,
        "recomputedSeed": null,
        "recomputedWinner": null,
    });
    for shared in [
        "verdict",
        "verdictWhy",
        "drawDelaySeconds",
        "drawDelayBlocks",
        "drawDelayReason",
        "drawPoint",
    ] {
        body[shared] = row[shared].clone();
    }
    let Some(inputs) = &round.proof.inputs else {
        return body;
    };
    let seed = inputs.seed(round.round_id, round.total_pot_wei);
    body["inputs"] = json!({
        "timestamp": inputs.timestamp,
        "prevrandao": hash(inputs.prevrandao),
        "prevrandaoSource": inputs.prevrandao_source.label(),
        "number": inputs.number,
        "numberSource": inputs.number_source.label(),
        "roundId": round.round_id,
        "totalPotWei": wei(round.total_pot_wei),
    });
    body["recomputedSeed"] = json!(wei(seed));
    let winner = winner_among(seed, round.total_pot_wei, totals(&round.bets));
    body["recomputedWinner"] = json!(winner.map(address));
    body
}
