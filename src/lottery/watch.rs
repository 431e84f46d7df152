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
    /// When nothing had run for a while: what was so meanwhile nobody has seen.
    pub woken_unix_ms: u64,
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
    let since_unix_ms = connection.since_unix_ms.max(sights.woken_unix_ms);
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
    let stands = sights.now.saturating_duration_since(time.seen_at);
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
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::clock::ChainTime;
    use crate::chain::types::{BlockRef, H256, U256};
    use crate::lottery::event::LogPosition;
    use crate::lottery::proof::Proof;
    use crate::lottery::snapshot::BlockSchedule;
    use crate::lottery::state::unread;

    const MIN: u64 = 1_000;
    const MAX: u64 = 1_175;

    fn snapshot(head_timestamp: u64, seen_at: Instant) -> Snapshot {
        let mut snapshot = unread();
        snapshot.head = Some(BlockRef {
            number: 10,
            hash: H256::zero(),
            parent_hash: H256::zero(),
            timestamp: head_timestamp,
        });
        snapshot.chain_time = Some(ChainTime {
            head_timestamp,
            seen_at,
        });
        snapshot.schedule = BlockSchedule {
            mean_spacing_secs: Some(2.0),
            least_to_next_secs: 2,
        };
        snapshot.round = Some(Round {
            round_id: 7,
            state: RoundState::Betting,
            start_time: MIN - 185,
            end_time: MIN - 5,
            min_draw_time: MIN,
            max_draw_time: MAX,
            total_pot_wei: U256::one(),
            participant_count: 2,
        });
        snapshot
    }

    /// The codes that hold `age_secs` after the head was seen.
    fn holding(
        snapshot: &Snapshot,
        seen_at: Instant,
        age_secs: u64,
        in_flight: Option<&InFlight>,
    ) -> Vec<AlertCode> {
        let conditions = conditions(&Sights {
            snapshot,
            in_flight,
            endpoints: &[],
            operator: Some(Address::repeat_byte(1)),
            chain_id: 1,
            now: seen_at + Duration::from_secs(age_secs),
            unix_ms: age_secs * 1_000,
            woken_unix_ms: 0,
        });
        conditions.iter().map(|condition| condition.code).collect()
    }

    fn in_flight(action: ActionKind) -> InFlight {
        InFlight {
            action,
            round_id: 7,
            nonce: 1,
            hashes: vec![H256::zero()],
            attempts: 1,
        }
    }

    #[test]
    fn a_draw_is_overdue_when_a_third_of_its_window_is_gone_without_a_transaction() {
        let seen_at = Instant::now();
        let at = |head, age| holding(&snapshot(head, seen_at), seen_at, age, None);
        assert_eq!(at(MIN - 10, 0), []);
        assert_eq!(at(MIN + 58, 0), []);
        assert_eq!(at(MIN + 59, 0), [AlertCode::DrawOverdue]);
        // Time alone makes it so, when nobody tells of blocks.
        assert_eq!(at(MIN - 10, 69), [AlertCode::DrawOverdue]);
        assert_eq!(at(MAX, 0), [AlertCode::DrawOverdue]);
        let out = in_flight(ActionKind::Draw);
        let told = holding(&snapshot(MIN + 59, seen_at), seen_at, 0, Some(&out));
        assert_eq!(told, []);
        // Whether it was missed only a later block can say.
        assert_eq!(at(MAX, 1), []);
        assert_eq!(at(MAX + 1, 0), [AlertCode::DrawMissed]);
        let refund = in_flight(ActionKind::RefundExpired);
        let told = holding(&snapshot(MAX + 1, seen_at), seen_at, 0, Some(&refund));
        assert_eq!(told, [AlertCode::DrawMissed, AlertCode::RefundSent]);
    }

    #[test]
    fn silence_and_a_standing_head_are_told_after_a_while() {
        let seen_at = Instant::now();
        let mut silent = snapshot(MIN - 500, seen_at);
        silent.connection.reachable = false;
        assert_eq!(holding(&silent, seen_at, 14, None), []);
        assert_eq!(
            holding(&silent, seen_at, 15, None),
            [AlertCode::ChainUnreachable]
        );
        silent.head = None;
        silent.chain_time = None;
        silent.round = None;
        assert_eq!(
            holding(&silent, seen_at, 15, None),
            [AlertCode::ChainUnreachable]
        );
        let standing = snapshot(MIN - 500, seen_at);
        assert_eq!(holding(&standing, seen_at, 119, None), []);
        assert_eq!(
            holding(&standing, seen_at, 120, None),
            [AlertCode::HeadStale]
        );
    }

    #[test]
    fn an_empty_round_is_told_of_a_minute_or_ten_blocks_before_its_end() {
        let seen_at = Instant::now();
        let at = |head, age, spacing_secs| {
            let mut empty = snapshot(head, seen_at);
            empty.round.as_mut().unwrap().total_pot_wei = U256::zero();
            empty.schedule.mean_spacing_secs = Some(spacing_secs);
            holding(&empty, seen_at, age, None)
        };
        let end = MIN - 5;
        assert_eq!(at(end - 61, 0, 2.0), []);
        assert_eq!(at(end - 60, 0, 2.0), [AlertCode::EmptyRound]);
        assert_eq!(at(end - 70, 10, 2.0), [AlertCode::EmptyRound]);
        assert_eq!(at(end - 81, 0, 8.0), []);
        assert_eq!(at(end - 80, 0, 8.0), [AlertCode::EmptyRound]);
        // Not in the first half of its 180 s, however slow the blocks are.
        assert_eq!(at(end - 91, 0, 30.0), []);
        assert_eq!(at(end - 90, 0, 30.0), [AlertCode::EmptyRound]);
        assert_eq!(at(end, 0, 2.0), [AlertCode::EmptyRound]);
        assert_eq!(at(end + 1, 0, 2.0), [AlertCode::StuckRound]);
        // With a bet it is as any other.
        assert_eq!(holding(&snapshot(end, seen_at), seen_at, 0, None), []);
    }

    #[test]
    fn a_round_that_ended_without_a_bet_is_stuck_and_another_chain_is_named() {
        let seen_at = Instant::now();
        let mut dead = snapshot(MIN - 4, seen_at);
        dead.round.as_mut().unwrap().total_pot_wei = U256::zero();
        assert_eq!(holding(&dead, seen_at, 0, None), [AlertCode::StuckRound]);
        let wrong = EndpointSight {
            host: "https://node.example".to_owned(),
            wrong_chain: Some(5),
        };
        let told = wrong_chain(&wrong, 1).unwrap();
        assert_eq!(told.subject, Subject::Endpoint(wrong.host.clone()));
        assert!(told.message.contains("chain 5"), "{}", told.message);
        let right = EndpointSight {
            wrong_chain: None,
            ..wrong
        };
        assert_eq!(wrong_chain(&right, 1), None);
    }

    #[test]
    fn only_a_draw_that_does_not_follow_is_told_of_and_only_while_it_is_thought_so() {
        let seen_at = Instant::now();
        let judged = |verdict: Verdict| {
            let mut snapshot = snapshot(MIN - 500, seen_at);
            snapshot.history = Arc::new(vec![Arc::new(FinishedRound {
                round_id: 6,
                start_time: 0,
                end_time: 0,
                min_draw_time: 0,
                max_draw_time: 0,
                total_pot_wei: U256::one(),
                participant_count: 2,
                outcome: Outcome::Completed {
                    winner: Address::zero(),
                    winner_prize_wei: U256::one(),
                    publisher_commission_wei: U256::zero(),
                    random_seed: U256::zero(),
                },
                bets: Vec::new(),
                winner_total_wei: None,
                proof: Proof {
                    verdict,
                    ..Proof::of_refund(Verdict::Verified)
                },
                draw_delay: None,
                position: LogPosition::default(),
            })]);
            holding(&snapshot, seen_at, 0, None)
        };
        let why = || "the winner is another".to_owned();
        assert_eq!(
            judged(Verdict::Mismatch { why: why() }),
            [AlertCode::ProofMismatch]
        );
        assert_eq!(judged(Verdict::Verified), []);
        assert_eq!(judged(Verdict::Unverifiable { why: why() }), []);
    }
}
