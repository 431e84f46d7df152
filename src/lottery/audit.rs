//! Audits the whole lottery from its events alone: every round since the first, each ended once and as it had to, and
//! where every wei went. Pure: it takes events in chain order with the sender of each end, gives each finished round out as
//! a row, and keeps what the account needs: sums, and a few figures a round.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use sha3::{Digest, Keccak256};

use crate::chain::types::{Address, H256, U256};
use crate::lottery::event::{EventRecord, LotteryEvent};
use crate::lottery::fairness::Fairness;
use crate::lottery::history::{FinishedRound, LoggedEvent, Outcome, Running};
use crate::lottery::proof::{draw_point, totals, Verdict, PUBLIC_REFUND};
use crate::lottery::round::ContractConfig;

mod row;
pub mod statistics;
#[cfg(test)]
mod tests;

use row::{checksummed, decimal};
pub use row::{Row, Sender};

use statistics::{kolmogorov_smirnov, poisson_tail, Uniformity};

/// Something that does not add up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The round that it is about; None for the lottery as a whole.
    pub round_id: Option<u64>,
    pub problem: String,
}

/// Where the ether went, over all rounds that were read, and what the figures say.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    pub rounds: u64,
    pub drawn: u64,
    pub refunded: u64,
    pub refunds_by_reason: BTreeMap<String, u64>,
    pub bets: u64,
    pub players: usize,
    #[serde(with = "decimal")]
    pub bet_wei: U256,
    #[serde(with = "decimal")]
    pub prizes_wei: U256,
    #[serde(with = "decimal")]
    pub refunded_wei: U256,
    #[serde(with = "decimal")]
    pub commission_wei: U256,
    #[serde(with = "decimal")]
    pub withdrawn_wei: U256,
    /// What the contract must hold.
    #[serde(with = "decimal")]
    pub balance_wei: U256,
    pub verified: u64,
    pub mismatched: u64,
    pub unverifiable: u64,
    pub timed_draws: u64,
    pub first_block_draws: u64,
    pub median_delay_secs: Option<u64>,
    pub longest_delay_secs: Option<u64>,
    pub longest_delay_blocks: Option<u64>,
    pub randomness_known_ahead: Option<bool>,
    /// How many rounds each address ended.
    #[serde(serialize_with = "checksummed::keys")]
    pub ended_by: BTreeMap<Address, u64>,
    /// Of all logs up to the end of the last round: the same over every honest node.
    pub logs_digest: H256,
    /// Of the points that were drawn, over the pot.
    pub uniformity: Option<Uniformity>,
    pub luckiest: Option<Luck>,
}

/// The address whose wins its stakes explain least.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Luck {
    #[serde(serialize_with = "checksummed::serialize")]
    pub address: Address,
    pub wins: u64,
    /// The sum of its shares in the pots.
    pub expected_wins: f64,
    /// The chance of so many wins or more.
    pub p_value: f64,
    /// Among so many addresses that is the least; with n of them a least one near 1/n is what chance gives.
    pub addresses: usize,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Stakes {
    wins: u64,
    expected_wins: f64,
}

/// What has been read so far. It can be written down and taken up again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Audit {
    /// Rounds below are passed over.
    first_round: u64,
    commission_bps: u64,
    publisher: Address,
    running: Running,
    /// The round that ended last.
    ended: Option<u64>,
    findings: Vec<Finding>,
    fairness: Fairness,
    refunds_by_reason: BTreeMap<String, u64>,
    bets: u64,
    players: HashSet<Address>,
    bet_wei: U256,
    prizes_wei: U256,
    refunded_wei: U256,
    commission_wei: U256,
    withdrawn_wei: U256,
    ended_by: BTreeMap<Address, u64>,
    /// Who did what the operator alone may since that was last changed: draws (true), and refunds.
    operated_by: BTreeSet<(bool, Address)>,
    /// Of all logs so far from the first round on, each with the digest before it; and up to the last end.
    logs_digest: H256,
    ended_digest: H256,
    /// The smallest bet since the least one allowed was last changed, and its round.
    smallest_bet: Option<(U256, u64)>,
    points: Vec<f64>,
    stakes: HashMap<Address, Stakes>,
    delays_secs: Vec<u64>,
    held: Vec<Held>,
}

/// What the contract must hold at the end of a block in which a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub round_id: u64,
    pub block_number: u64,
    pub wei: U256,
}

impl Audit {
    /// Of the contract with this configuration, from round `first_round` on.
    pub fn new(config: &ContractConfig, first_round: u64) -> Audit {
        Audit {
            first_round,
            commission_bps: config.commission_bps,
            publisher: config.publisher,
            running: Running::default(),
            ended: None,
            findings: Vec::new(),
            fairness: Fairness::default(),
            refunds_by_reason: BTreeMap::new(),
            bets: 0,
            players: HashSet::new(),
            bet_wei: U256::zero(),
            prizes_wei: U256::zero(),
            refunded_wei: U256::zero(),
            commission_wei: U256::zero(),
            withdrawn_wei: U256::zero(),
            ended_by: BTreeMap::new(),
            operated_by: BTreeSet::new(),
            logs_digest: H256::zero(),
            ended_digest: H256::zero(),
            smallest_bet: None,
            points: Vec::new(),
            stakes: HashMap::new(),
            delays_secs: Vec::new(),
            held: Vec::new(),
        }
    }

    /// The round that ended last.
    pub fn ended(&self) -> Option<u64> {
        self.ended
    }

    /// How many rounds have been given out as rows.
    pub fn rounds(&self) -> u64 {
        self.fairness.drawn + self.fairness.refunded
    }

    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// What the contract must hold at the end of each block in which a round ended; empty unless read from round 1.
    pub fn held(&self) -> &[Held] {
        match self.is_whole() {
            true => &self.held,
            false => &[],
        }
    }

    /// True when read since the first round, so that all ether is accounted for.
    fn is_whole(&self) -> bool {
        self.first_round == 1
    }

    /// What the contract must hold after the last event.
    pub fn balance_wei(&self) -> U256 {
        [self.prizes_wei, self.refunded_wei, self.withdrawn_wei]
            .into_iter()
            .fold(self.bet_wei, U256::saturating_sub)
    }

    /// What must wait for the publisher to be withdrawn.
    pub(crate) fn pending_wei(&self) -> U256 {
        self.commission_wei.saturating_sub(self.withdrawn_wei)
    }

    /// Takes down something that was found beside the events.
    pub fn find(&mut self, round_id: Option<u64>, problem: String) {
        self.findings.push(Finding { round_id, problem });
    }

    /// Takes the next event in chain order; `sender` is who sent the transaction, for an event that ends a round. That
    /// round comes back.
    pub fn take(&mut self, event: &LoggedEvent, sender: Option<Sender>) -> Option<Row> {
        let record = &event.record;
        let finished = self.running.absorb(event);
        self.account(record);
        let finished = finished.filter(|round| round.round_id >= self.first_round);
        let row = finished.map(|round| self.end(&round, sender));
        let block_number = record.position.block_number;
        let wei = self.balance_wei();
        let last = self.held.last_mut();
        if let Some(last) = last.filter(|last| last.block_number == block_number) {
            last.wei = wei;
        }
        row
    }

    /// Adds the next log, before its event is taken, to the digest of all. It begins with the first bet of the first round,
    /// or what that round logs before, wherever the reading began.
    pub fn chain(&mut self, event: &LotteryEvent, digest: H256) {
        let is_first = event.round_id() >= Some(self.first_round)
            && !matches!(event, LotteryEvent::RoundCreated { .. });
        if is_first || !self.logs_digest.is_zero() {
            let both = Keccak256::new().chain_update(self.logs_digest);
            self.logs_digest = H256::from_slice(&both.chain_update(digest).finalize());
        }
    }

    /// Compares what was in force last with the contract's configuration at the newest block.
    pub fn close(&mut self, config: &ContractConfig) {
        self.check_operator(config.operator);
        self.check_smallest_bet(config.min_bet_wei);
    }

    pub fn summary(&self) -> Account {
        let mut delays = self.delays_secs.clone();
        delays.sort_unstable();
        Account {
            rounds: self.rounds(),
            drawn: self.fairness.drawn,
            refunded: self.fairness.refunded,
            refunds_by_reason: self.refunds_by_reason.clone(),
            bets: self.bets,
            players: self.players.len(),
            bet_wei: self.bet_wei,
            prizes_wei: self.prizes_wei,
            refunded_wei: self.refunded_wei,
            commission_wei: self.commission_wei,
            withdrawn_wei: self.withdrawn_wei,
            balance_wei: self.balance_wei(),
            verified: self.fairness.verified,
            mismatched: self.fairness.mismatched,
            unverifiable: self.fairness.unverifiable,
            timed_draws: self.fairness.timed_draws,
            first_block_draws: self.fairness.first_block_draws,
            median_delay_secs: delays.get(delays.len() / 2).copied(),
            longest_delay_secs: self.fairness.longest_delay_secs,
            longest_delay_blocks: self.fairness.longest_delay_blocks,
            randomness_known_ahead: self.fairness.known_ahead,
            ended_by: self.ended_by.clone(),
            logs_digest: self.ended_digest,
            uniformity: kolmogorov_smirnov(&self.points),
            luckiest: self.luckiest(),
        }
    }

    /// Where the ether went, and what a change of the configuration says of what was before.
    fn account(&mut self, record: &EventRecord) {
        let first_round = self.first_round;
        let is_counted = |round_id: u64| round_id >= first_round;
        match &record.event {
            LotteryEvent::BetPlaced {
                round_id,
                player,
                amount_wei,
                ..
            } if is_counted(*round_id) => {
                self.bets += 1;
                self.players.insert(*player);
                self.bet_wei = self.bet_wei.saturating_add(*amount_wei);
                let is_smaller = self
                    .smallest_bet
                    .is_none_or(|(known, _)| *amount_wei < known);
                if is_smaller {
                    self.smallest_bet = Some((*amount_wei, *round_id));
                }
            }
            LotteryEvent::RoundCompleted {
                round_id,
                winner_prize_wei,
                publisher_commission_wei,
                ..
            } if is_counted(*round_id) => {
                self.prizes_wei = self.prizes_wei.saturating_add(*winner_prize_wei);
                self.commission_wei = self
                    .commission_wei
                    .saturating_add(*publisher_commission_wei);
            }
            LotteryEvent::RoundRefunded {
                round_id,
                total_refunded_wei,
                ..
            } if is_counted(*round_id) => {
                self.refunded_wei = self.refunded_wei.saturating_add(*total_refunded_wei);
            }
            LotteryEvent::Withdrawn { to, amount_wei } => {
                self.withdrawn_wei = self.withdrawn_wei.saturating_add(*amount_wei);
                if *to != self.publisher {
                    let problem =
                        format!("{to:#x} withdrew {amount_wei} wei, which only the publisher may");
                    self.find(None, problem);
                }
            }
            LotteryEvent::RoundCreated { round_id, .. } => {
                if let Some(ended) = self.ended.filter(|ended| ended + 1 != *round_id) {
                    let problem = format!("it was created after round {ended} ended");
                    self.find(Some(*round_id), problem);
                }
            }
            LotteryEvent::OperatorUpdated { old_operator, .. } => {
                self.check_operator(*old_operator)
            }
            LotteryEvent::MinBetAmountUpdated { old_amount_wei, .. } => {
                self.check_smallest_bet(*old_amount_wei);
            }
            _ => {}
        }
    }

    fn end(&mut self, round: &FinishedRound, sender: Option<Sender>) -> Row {
        let expected = self.ended.map_or(self.first_round, |ended| ended + 1);
        if round.round_id != expected {
            let problem = format!("it ended where round {expected} had to end next");
            self.find(Some(round.round_id), problem);
        }
        self.ended = Some(round.round_id);
        if let Some(why) = round.proof.verdict.why() {
            let problem = format!("{}: {why}", round.proof.verdict.label());
            self.find(Some(round.round_id), problem);
        }
        if round.proof.header_strays {
            let problem = "the header of its block tells neither in mixHash nor elsewhere what the contract and a call in \
                           the block saw; headers before it did";
            self.find(Some(round.round_id), problem.to_owned());
        }
        self.fairness.add(round);
        if let Some(sender) = sender {
            *self.ended_by.entry(sender.account).or_default() += 1;
        }
        self.ended_digest = self.logs_digest;
        let account = sender.map(|sender| sender.account);
        let mut row = Row::of(round, account, self.ended_digest);
        let is_draw = matches!(round.outcome, Outcome::Completed { .. });
        if !is_public(&round.outcome) {
            let caller = sender.filter(|sender| sender.is_caller);
            let caller = caller.map(|caller| (is_draw, caller.account));
            self.operated_by.extend(caller);
        }
        match &round.outcome {
            Outcome::Completed {
                winner,
                winner_prize_wei,
                publisher_commission_wei,
                random_seed,
            } => {
                row.winner = Some(*winner);
                row.prize_wei = *winner_prize_wei;
                row.commission_wei = *publisher_commission_wei;
                self.check_commission(round, *publisher_commission_wei);
                self.check_window(round);
                self.delays_secs
                    .extend(round.draw_delay.map(|delay| delay.secs));
                if round.proof.verdict == Verdict::Verified {
                    self.take_draw(round, *winner, *random_seed);
                }
            }
            Outcome::Refunded { reason } => {
                *self.refunds_by_reason.entry(reason.clone()).or_default() += 1;
                row.refund_reason = Some(reason.clone());
            }
        }
        self.held.push(Held {
            round_id: round.round_id,
            block_number: round.position.block_number,
            wei: self.balance_wei(),
        });
        row
    }

    /// The contract draws in the round's window alone: otherwise what the logs say of its times is not so.
    fn check_window(&mut self, round: &FinishedRound) {
        let (from, to) = (round.min_draw_time, round.max_draw_time);
        let drawn_at = round.position.block_timestamp;
        if to > 0 && !(from..=to).contains(&drawn_at) {
            let problem = format!(
                "it was drawn at {drawn_at}, its logs allow that from {from} to {to} alone"
            );
            self.find(Some(round.round_id), problem);
        }
    }

    /// commission = floor(pot x rate / 10,000)
    fn check_commission(&mut self, round: &FinishedRound, announced: U256) {
        let rate = U256::from(self.commission_bps);
        let due = round
            .total_pot_wei
            .checked_mul(rate)
            .map(|scaled| scaled / 10_000);
        if due.is_some_and(|due| due != announced) {
            let due = due.unwrap_or_default();
            let problem = format!("the commission is {announced} wei, {due} wei were due");
            self.find(Some(round.round_id), problem);
        }
    }

    /// What chance did: where in the pot the point lay, and what each player could hope for.
    fn take_draw(&mut self, round: &FinishedRound, winner: Address, random_seed: U256) {
        let Some(point) = draw_point(random_seed, round.total_pot_wei) else {
            return;
        };
        self.points.push(share(point, round.total_pot_wei));
        for (player, total) in totals(&round.bets) {
            let stakes = self.stakes.entry(player).or_default();
            stakes.expected_wins += share(total, round.total_pot_wei);
            stakes.wins += u64::from(player == winner);
        }
    }

    fn check_operator(&mut self, in_force: Address) {
        for (is_draw, sender) in std::mem::take(&mut self.operated_by) {
            if sender == in_force {
                continue;
            }
            let what = match is_draw {
                true => "a draw",
                false => "a refund that only the operator may send",
            };
            let problem = format!("{sender:#x} sent {what}, while {in_force:#x} was the operator");
            self.find(None, problem);
        }
    }

    fn check_smallest_bet(&mut self, in_force_wei: U256) {
        let smallest = self.smallest_bet.take();
        if let Some((wei, round_id)) = smallest.filter(|(wei, _)| *wei < in_force_wei) {
            let problem = format!("a bet of {wei} wei, while {in_force_wei} wei were the least");
            self.find(Some(round_id), problem);
        }
    }

    fn luckiest(&self) -> Option<Luck> {
        let lucks = self.stakes.iter().map(|(address, stakes)| Luck {
            address: *address,
            wins: stakes.wins,
            expected_wins: stakes.expected_wins,
            p_value: poisson_tail(stakes.wins, stakes.expected_wins),
            addresses: self.stakes.len(),
        });
        lucks.min_by(|a, b| {
            a.p_value
                .total_cmp(&b.p_value)
                .then_with(|| a.address.cmp(&b.address))
        })
    }
}

/// A refund that anybody may send, as its reason says.
fn is_public(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refunded { reason } if reason == PUBLIC_REFUND)
}

/// `part` of `whole`, for statistics: to about 15 digits.
fn share(part: U256, whole: U256) -> f64 {
    // Scaled down together, so that the larger one fits 128 bits and the quotient keeps its digits.
    let shift = whole.bits().saturating_sub(128);
    let (part, whole) = ((part >> shift).low_u128(), (whole >> shift).low_u128());
    part as f64 / (whole.max(1)) as f64
}
