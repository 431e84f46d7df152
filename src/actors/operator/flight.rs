//! The transaction in flight: looked after at every head until it is mined, replaced or given up, counted, and taken up
//! again when a reorg takes it back.

use std::time::{Duration, Instant};

use crate::actors::operator::{Flight, Landed, Operator, EXTENSIONS_PER_DAY_MAX, FLIGHT_LOOK};
use crate::actors::sender::Broadcast;
use crate::chain::error::NodeError;
use crate::chain::types::BlockRef;
use crate::chain::types::{Address, U256};
use crate::lottery::action::{ActionKind, ActionState};
use crate::lottery::alert::Severity;
use crate::lottery::decision::Failures;
use crate::lottery::proof::{self, ProofInputs};
use crate::lottery::round::{Round, RoundState};
use crate::lottery::send_state::{HeadFacts, Included, Step};
use crate::lottery::snapshot::Snapshot;

const DAY: Duration = Duration::from_secs(86_400);
/// A landed action is remembered this long, to be sent again when a reorg takes it back.
const LANDED_KEPT_BLOCKS: u64 = 64;

impl Operator {
    /// When a reorg has taken back the block of the last draw or refund, the action is in flight again, and its same
    /// bytes are sent again. Some(when to look again) while that cannot be told yet.
    pub(super) fn take_up_after_reorg(
        &mut self,
        snapshot: &Snapshot,
        round: &Round,
        now: Instant,
    ) -> Option<Instant> {
        let (Some(landed), Some(head)) = (&self.landed, snapshot.head) else {
            return None;
        };
        let record = &landed.flight.record;
        let kept_until = landed.included.block_number + LANDED_KEPT_BLOCKS;
        if self.flight.is_some() || head.number > kept_until {
            self.landed = None;
            return None;
        }
        if record.round_id != round.round_id || round.state != RoundState::Betting {
            return None;
        }
        // The round runs: after a reorg, or because the store has not come to the block that ended it.
        let sender = self.sender.as_ref()?;
        if !matches!(sender.look(&landed.flight.state), Ok(seen) if seen.included.is_none()) {
            return Some(now + FLIGHT_LOOK);
        }
        let Landed { mut flight, .. } = self.landed.take()?;
        log::warn!(
            "{} of round {} was taken back by a reorg: the same transaction is sent again",
            flight.record.kind.label(),
            round.round_id
        );
        flight.record.state = ActionState::Pending;
        flight.record.block_number = None;
        flight.record.gas_used = None;
        flight.looked = None;
        flight.state.begin_again_after_reorg(head, now);
        let next_block_time = self.round.next_block_time(snapshot, head);
        let demanded = flight
            .state
            .at_window(round, head.timestamp, next_block_time);
        if demanded.is_none() {
            self.broadcast(&mut flight, head, round);
        }
        self.publish_flight(&mut flight);
        self.flight = Some(flight);
        None
    }

    /// Looks after the transaction in flight.
    pub(super) fn drive(
        &mut self,
        snapshot: &Snapshot,
        round: &Round,
        now: Instant,
    ) -> Option<Instant> {
        let head = snapshot.head?;
        let mut flight = self.flight.take()?;
        self.status.phase = format!(
            "{} of round {}: {} transactions out",
            flight.record.kind.label(),
            flight.record.round_id,
            flight.state.variants().len()
        );
        let looked_just_now = flight
            .looked
            .is_some_and(|(hash, at)| hash == head.hash && now < at + FLIGHT_LOOK);
        if looked_just_now {
            let again = flight.looked.map(|(_, at)| at + FLIGHT_LOOK);
            self.flight = Some(flight);
            return again;
        }
        flight.looked = Some((head.hash, now));
        let seen = self
            .sender
            .as_mut()
            .map(|sender| sender.look(&flight.state));
        let Some(Ok(seen)) = seen else {
            if let Some(Err(error)) = seen {
                log::warn!("receipts cannot be read: {error}");
            }
            self.flight = Some(flight);
            return Some(now + FLIGHT_LOOK);
        };
        let facts = HeadFacts {
            head,
            next_block_time: self.round.next_block_time(snapshot, head),
            round,
            latest_nonce: seen.latest_nonce,
            included: seen.included,
        };
        let step = flight.state.step(&facts, &self.settings.rules, now);
        self.take_step(step, flight, head, round, now);
        // What has ended may be due once more, for the very next block.
        Some(match self.flight {
            Some(_) => now + FLIGHT_LOOK,
            None => now,
        })
    }

    pub(super) fn take_step(
        &mut self,
        step: Step,
        mut flight: Flight,
        head: BlockRef,
        round: &Round,
        now: Instant,
    ) {
        match step {
            Step::Wait => {}
            Step::Rebroadcast => self.broadcast(&mut flight, head, round),
            Step::Replace(kind) => {
                let paused = flight.paused_until.is_some_and(|until| now < until);
                if !(paused && kind == flight.record.kind) {
                    self.replace(kind, &mut flight, head, round, now);
                }
            }
            Step::TimedOut => {
                self.timed_out(&mut flight, round, now);
                self.broadcast(&mut flight, head, round);
            }
            Step::Done(included) => return self.done(flight, included, head, now),
            Step::Reverted(included) => return self.reverted(flight, included, head, round, now),
            Step::NonceTaken | Step::NonceGap => {
                let what = match step {
                    Step::NonceGap => "a reorg gave back a nonce before",
                    _ => "another transaction of this key took",
                };
                let text = format!("{what} nonce {}", flight.state.nonce);
                log::warn!("{text}");
                return self.end_record(&mut flight.record, ActionState::Failed, Some(text));
            }
        }
        self.publish_flight(&mut flight);
        self.flight = Some(flight);
    }

    pub(super) fn broadcast(&mut self, flight: &mut Flight, head: BlockRef, round: &Round) {
        let Some(sender) = &mut self.sender else {
            return;
        };
        let outcome = sender.broadcast(&mut flight.state, head, round);
        flight.state.note_sent(head);
        let label = flight.record.kind.label();
        flight.record.error = match outcome {
            Broadcast::Accepted => None,
            Broadcast::MaybeSent(why) => {
                log::warn!(
                    "{label} of round {}: no node confirmed it: {why}",
                    flight.record.round_id
                );
                Some(why)
            }
            // The nonce is used up: receipts will tell by whom.
            Broadcast::Rejected(NodeError::NonceTooLow, _) => None,
            Broadcast::Rejected(class, why) => {
                log::warn!(
                    "{label} of round {} was refused: {why}",
                    flight.record.round_id
                );
                if matches!(class, NodeError::InsufficientFunds | NodeError::FatalConfig) {
                    let round_id = Some(flight.record.round_id);
                    self.alerts.raise(
                        "transaction_refused",
                        Severity::Critical,
                        round_id,
                        why.clone(),
                    );
                }
                Some(why)
            }
        };
    }

    pub(super) fn replace(
        &mut self,
        kind: ActionKind,
        flight: &mut Flight,
        head: BlockRef,
        round: &Round,
        now: Instant,
    ) {
        let same = kind == flight.record.kind;
        if same && self.spent_wei(now) >= self.settings.max_spend_wei_per_day {
            let text =
                "max_spend_ether_per_day is reached: fees are not raised any more".to_owned();
            self.alerts.raise(
                "spend_limit",
                Severity::Critical,
                Some(round.round_id),
                text,
            );
            return self.broadcast(flight, head, round);
        }
        let Some(sender) = &mut self.sender else {
            return;
        };
        match sender.replacement(&flight.state, kind, round) {
            Ok((variant, _)) => {
                if !same {
                    log::warn!(
                        "{} of round {} is replaced by {} at nonce {}",
                        flight.record.kind.label(),
                        flight.record.round_id,
                        kind.label(),
                        flight.state.nonce
                    );
                    flight.record.kind = kind;
                    flight.paused_until = None;
                }
                flight.state.add(variant, head);
                self.broadcast(flight, head, round);
            }
            Err(problem) => {
                log::warn!("no replacement at nonce {}: {problem}", flight.state.nonce);
                if same {
                    self.broadcast(flight, head, round);
                }
            }
        }
    }

    /// The transaction was not mined in time: one failure, and the same nonce is tried again after the delay.
    pub(super) fn timed_out(&mut self, flight: &mut Flight, round: &Round, now: Instant) {
        let kind = flight.record.kind;
        let text = format!(
            "{} of round {} was not mined in {} s",
            kind.label(),
            round.round_id,
            self.settings.rules.tx_timeout.as_secs()
        );
        self.note_failure(kind, now, &text);
        flight.record.error = Some(text);
        flight.paused_until = Some(now + self.settings.policy.draw_retry_delay);
        flight.state.begin_again(now);
    }

    /// Takes down what was mined; the action that it was.
    fn note_included(
        &mut self,
        flight: &mut Flight,
        included: &Included,
        now: Instant,
    ) -> ActionKind {
        let kind = flight
            .state
            .kind_of(&included.hash)
            .unwrap_or(flight.record.kind);
        self.note_spent(included, kind, now);
        flight.record.block_number = Some(included.block_number);
        flight.record.gas_used = Some(included.gas_used);
        flight.record.hashes = flight.state.hashes();
        kind
    }

    pub(super) fn done(
        &mut self,
        mut flight: Flight,
        included: Included,
        head: BlockRef,
        now: Instant,
    ) {
        let kind = self.note_included(&mut flight, &included, now);
        flight.record.kind = kind;
        log::info!(
            "{} of round {} done in block {} ({} gas, {:#x})",
            kind.label(),
            flight.record.round_id,
            included.block_number,
            included.gas_used,
            included.hash
        );
        self.count_outcome(kind, "done");
        match kind {
            ActionKind::Draw => self.round.draw_failures = Failures::default(),
            ActionKind::RefundExpired | ActionKind::RefundForced => {
                self.round.refund_failures = Failures::default();
            }
            ActionKind::Extend { .. } | ActionKind::Cancel => {}
        }
        // Until the store has the block that ended the round, the same action must not be thought due again.
        self.round.ruled_out = Some((head.hash, kind));
        self.alerts.clear("action_failed");
        self.alerts.clear("action_blocked");
        self.end_record(&mut flight.record, ActionState::Done, None);
        let ends_round = matches!(
            kind,
            ActionKind::Draw | ActionKind::RefundExpired | ActionKind::RefundForced
        );
        if ends_round {
            self.landed = Some(Landed { flight, included });
        }
    }

    pub(super) fn reverted(
        &mut self,
        mut flight: Flight,
        included: Included,
        head: BlockRef,
        round: &Round,
        now: Instant,
    ) {
        let kind = self.note_included(&mut flight, &included, now);
        let out_of_gas = flight
            .state
            .gas_limit_of(&included.hash)
            .is_some_and(|limit| included.gas_used >= limit);
        let still_running =
            round.round_id == flight.record.round_id && round.state == RoundState::Betting;
        let text = format!(
            "{} of round {} reverted in block {} ({} gas{}, {:#x})",
            kind.label(),
            flight.record.round_id,
            included.block_number,
            included.gas_used,
            if out_of_gas { ", all there was" } else { "" },
            included.hash
        );
        self.count_outcome(kind, "reverted");
        if kind == ActionKind::Draw && still_running && !out_of_gas {
            // The prize could not be paid in that block; another block picks another winner. No failure of ours.
            let who = match self.drawn_in(&included, round) {
                Some(player) => format!("{player:#x} was drawn and cannot be paid"),
                None => "a player cannot be paid".to_owned(),
            };
            let told = format!("{text}: {who}; another block may pick another winner");
            log::warn!("{told}");
            self.alerts.raise(
                "unpayable_player",
                Severity::Critical,
                Some(round.round_id),
                told,
            );
            let cost_wei = included.cost_wei();
            self.round.unpayable_wei = self.round.unpayable_wei.saturating_add(cost_wei);
        } else if still_running {
            self.note_failure(kind, now, &text);
            self.round.ruled_out = Some((head.hash, kind));
        } else {
            log::warn!("{text}: the round is over");
        }
        self.end_record(&mut flight.record, ActionState::Failed, Some(text));
    }

    /// Whom a draw in that block picked, as the contract computes it.
    fn drawn_in(&self, included: &Included, round: &Round) -> Option<Address> {
        let header = self.sender.as_ref()?.block(included.block_hash)?;
        let snapshot = self.snapshot.load();
        if snapshot.participants.total_amount_wei() != round.total_pot_wei {
            return None;
        }
        let seed = proof::seed(&ProofInputs {
            block_timestamp: header.timestamp,
            prevrandao: header.mix_hash,
            block_number: header.number,
            round_id: round.round_id,
            total_pot_wei: round.total_pot_wei,
            bets: &[],
        });
        let totals = snapshot
            .participants
            .in_bet_order()
            .map(|participant| (participant.address, participant.total_amount_wei));
        proof::winner_among(seed, round.total_pot_wei, totals)
    }

    pub(super) fn note_failure(&mut self, kind: ActionKind, now: Instant, text: &str) {
        let failures = match kind {
            ActionKind::Draw => &mut self.round.draw_failures,
            _ => &mut self.round.refund_failures,
        };
        failures.count += 1;
        failures.last_at = Some(now);
        self.status.consecutive_draw_failures = self.round.draw_failures.count;
        log::error!("{text}");
        self.alerts.raise(
            "action_failed",
            Severity::Critical,
            Some(self.round.round_id),
            text.to_owned(),
        );
    }

    pub(super) fn extensions_left(&mut self, now: Instant) -> bool {
        while self
            .extended_at
            .front()
            .is_some_and(|at| now.saturating_duration_since(*at) >= DAY)
        {
            self.extended_at.pop_front();
        }
        self.extended_at.len() < EXTENSIONS_PER_DAY_MAX
            && self.spent_wei(now) < self.settings.max_spend_wei_per_day
    }

    pub(super) fn note_spent(&mut self, included: &Included, kind: ActionKind, now: Instant) {
        let cost_wei = included.cost_wei();
        self.spent.push_back((now, cost_wei));
        let ether = cost_wei.to_string().parse::<f64>().unwrap_or(0.0) / 1e18;
        let labels = [("action", kind.label())];
        self.metrics.add(
            "lottery_gas_spent_ether_total",
            "Ether spent on gas.",
            &labels,
            ether,
        );
        if let Some(balance_wei) = &mut self.status.balance_wei {
            *balance_wei = balance_wei.saturating_sub(cost_wei);
        }
    }

    pub(super) fn spent_wei(&mut self, now: Instant) -> U256 {
        while self
            .spent
            .front()
            .is_some_and(|(at, _)| now.saturating_duration_since(*at) >= DAY)
        {
            self.spent.pop_front();
        }
        self.spent
            .iter()
            .fold(U256::zero(), |sum, (_, wei)| sum.saturating_add(*wei))
    }

    pub(super) fn count_outcome(&self, kind: ActionKind, outcome: &str) {
        let labels = [("action", kind.label()), ("outcome", outcome)];
        self.metrics.add(
            "lottery_transactions_total",
            "Transactions by action and outcome.",
            &labels,
            1.0,
        );
    }
}
