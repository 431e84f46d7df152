//! Who plays in the running round. The bets that were logged tell it; where logs are missing, the contract itself does,
//! as of one block, and the logs of later blocks are added to that. Which round is running is never guessed from logs.
//! `bets` are always those that were logged of the running round, in chain order.

use crate::chain::types::U256;
use crate::lottery::event::{Bet, EventRecord, LotteryEvent};
use crate::lottery::participants::{Participant, Participants, ParticipantsLedger, PlayersRead};
use crate::lottery::round::Round;

#[derive(Clone, Debug, Default)]
pub struct Players {
    round_id: u64,
    ledger: ParticipantsLedger,
    /// The contract told them as of this block.
    read_at: Option<u64>,
}

impl Players {
    pub fn view(&self) -> &Participants {
        self.ledger.view()
    }

    #[cfg(test)]
    pub(crate) fn are_of_the_contract(&self) -> bool {
        self.read_at.is_some()
    }

    pub fn round_id(&self) -> u64 {
        self.round_id
    }

    /// The round at the head is this one; true when it was another before.
    pub(crate) fn turn_to(&mut self, round_id: u64, bets: &[Bet]) -> bool {
        let is_another = self.round_id != round_id;
        if is_another {
            self.round_id = round_id;
            self.begin_anew(bets);
        }
        is_another
    }

    /// Only what the logs tell counts.
    pub(crate) fn begin_anew(&mut self, bets: &[Bet]) {
        let bets = bets.iter().map(|bet| (bet.player, bet.amount_wei));
        self.ledger = ParticipantsLedger::from_bets(bets);
        self.read_at = None;
    }

    /// Adds a bet of the running round; the answer lists the entries that changed.
    pub(crate) fn take_bet(&mut self, record: &EventRecord) -> Vec<Participant> {
        let is_new = |block: u64| self.read_at.is_none_or(|read_at| block > read_at);
        match record.event {
            LotteryEvent::BetPlaced {
                round_id,
                player,
                amount_wei,
                ..
            } if round_id == self.round_id && is_new(record.position.block_number) => {
                self.ledger.add(player, amount_wei)
            }
            _ => Vec::new(),
        }
    }

    /// Takes what the contract told, with the bets logged since; false when it is of another round.
    pub(crate) fn take_reading(&mut self, read: PlayersRead, bets: &[Bet]) -> bool {
        if read.round_id != self.round_id {
            return false;
        }
        let later = bets
            .iter()
            .filter(|bet| bet.position.block_number > read.block_number)
            .map(|bet| (bet.player, bet.amount_wei));
        self.ledger = ParticipantsLedger::from_bets(read.totals.into_iter().chain(later));
        self.read_at = Some(read.block_number);
        true
    }

    /// What the contract told is let go once the logs explain the whole pot; true when that changed anything.
    pub(crate) fn adopt_logs_if_whole(&mut self, round: &Round, bets: &[Bet]) -> bool {
        if self.read_at.is_none() {
            return false;
        }
        let sum = bets
            .iter()
            .fold(U256::zero(), |sum, bet| sum.saturating_add(bet.amount_wei));
        let is_whole = sum == round.total_pot_wei;
        if is_whole {
            self.begin_anew(bets);
        }
        is_whole
    }

    /// After older bets have become known.
    pub(crate) fn adopt_older_logs(&mut self, round: &Round, bets: &[Bet]) {
        match self.read_at {
            Some(_) => {
                self.adopt_logs_if_whole(round, bets);
            }
            None => self.begin_anew(bets),
        }
    }
}
