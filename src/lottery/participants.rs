//! The running round's players: totals, first-bet order, and the order by amount of which the first page is kept ready.
//!
//! Cloning is cheap, so each snapshot owns its own; the cost of a bet grows with the logarithm of the players.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::chain::types::{Address, U256};
use crate::lottery::persistent::PersistentVec;

/// How many participants the snapshot message carries; the rest is paged over HTTP.
pub const FIRST_PAGE_LEN: usize = 200;

/// One player's bets in the running round, added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    pub address: Address,
    pub total_amount_wei: U256,
    /// Place in first-bet order, from 0; the contract's own order.
    pub order: u32,
}

/// What changed among the participants; its size does not depend on how many play.
#[derive(Clone, Debug, PartialEq)]
pub struct ParticipantsUpdate {
    pub round_id: u64,
    pub total_participants: u64,
    pub total_amount_wei: U256,
    /// True when the listed participants replace the whole first page (a new round, or bets taken away by a reorg).
    pub replaces_all: bool,
    /// Changed entries and those that entered the first page.
    pub changed: Vec<Participant>,
}

/// A round's players as the contract itself tells them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlayersRead {
    /// They were read at this block: bets of later blocks are not in it.
    pub block_number: u64,
    pub round_id: u64,
    /// (player, total) in first-bet order.
    pub totals: Vec<(Address, U256)>,
}

/// What readers see: immutable, cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Participants {
    /// In first-bet order.
    all: PersistentVec<Participant>,
    /// By amount, descending, then by first bet; at most `FIRST_PAGE_LEN`.
    first_page: Arc<Vec<Participant>>,
    total_amount_wei: U256,
}

impl Participants {
    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub fn total_amount_wei(&self) -> U256 {
        self.total_amount_wei
    }

    pub(crate) fn first_page(&self) -> &[Participant] {
        &self.first_page
    }

    /// In first-bet order, the contract's own.
    pub fn in_bet_order(&self) -> impl Iterator<Item = &Participant> {
        self.all.iter()
    }

    pub fn find(&self, address: &Address) -> Option<&Participant> {
        self.all
            .iter()
            .find(|participant| participant.address == *address)
    }

    /// `limit` participants from `offset` by amount, descending, then by first bet.
    pub fn page(&self, limit: usize, offset: usize) -> Vec<Participant> {
        let end = offset.saturating_add(limit).min(self.len());
        if offset >= end {
            return Vec::new();
        }
        if end <= self.first_page.len() {
            return self.first_page[offset..end].to_vec();
        }
        let mut ranked: Vec<&Participant> = self.all.iter().collect();
        ranked.sort_unstable_by_key(|participant| rank(participant));
        ranked[offset..end]
            .iter()
            .map(|participant| (*participant).clone())
            .collect()
    }
}

type Rank = (Reverse<U256>, u32);

fn rank(participant: &Participant) -> Rank {
    (Reverse(participant.total_amount_wei), participant.order)
}

/// The writer's side: the shared view and the indexes that keep it up to date.
#[derive(Clone, Debug, Default)]
pub struct ParticipantsLedger {
    view: Participants,
    by_address: HashMap<Address, u32>,
    ranking: BTreeSet<Rank>,
}

impl ParticipantsLedger {
    /// The ledger after these (player, amount) pairs, in bet order.
    pub(crate) fn from_bets(bets: impl IntoIterator<Item = (Address, U256)>) -> ParticipantsLedger {
        let mut ledger = ParticipantsLedger::default();
        for (player, amount_wei) in bets {
            ledger.record(player, amount_wei);
        }
        ledger.refresh_first_page();
        ledger
    }

    pub fn view(&self) -> &Participants {
        &self.view
    }

    /// Adds a bet; the answer lists the player's entry and an entry that this bet lifted onto the first page.
    pub fn add(&mut self, player: Address, amount_wei: U256) -> Vec<Participant> {
        let order = self.record(player, amount_wei);
        self.refresh_first_page();
        self.view
            .all
            .get(order as usize)
            .cloned()
            .into_iter()
            .collect()
    }

    fn record(&mut self, player: Address, amount_wei: U256) -> u32 {
        self.view.total_amount_wei = self.view.total_amount_wei.saturating_add(amount_wei);
        if let Some(&order) = self.by_address.get(&player) {
            let (ranking, all) = (&mut self.ranking, &mut self.view.all);
            all.update(order as usize, |participant| {
                ranking.remove(&rank(participant));
                participant.total_amount_wei =
                    participant.total_amount_wei.saturating_add(amount_wei);
                ranking.insert(rank(participant));
            });
            return order;
        }
        // A round of four billion players does not fit in any block's gas.
        let order = u32::try_from(self.view.all.len()).unwrap_or(u32::MAX);
        let participant = Participant {
            address: player,
            total_amount_wei: amount_wei,
            order,
        };
        self.ranking.insert(rank(&participant));
        self.by_address.insert(player, order);
        self.view.all.push(participant);
        order
    }

    fn refresh_first_page(&mut self) {
        let all = &self.view.all;
        let page = self
            .ranking
            .iter()
            .take(FIRST_PAGE_LEN)
            .filter_map(|(_, order)| all.get(*order as usize).cloned())
            .collect();
        self.view.first_page = Arc::new(page);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(number: u8) -> Address {
        Address::from_low_u64_be(u64::from(number) + 1)
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_list(bets in proptest::collection::vec((any::<u8>(), 1..50u64), 0..600)) {
            let mut model: Vec<(Address, u64)> = Vec::new();
            let mut ledger = ParticipantsLedger::default();
            for (player, amount) in &bets {
                let player = address(*player);
                match model.iter_mut().find(|(known, _)| *known == player) {
                    Some((_, total)) => *total += amount,
                    None => model.push((player, *amount)),
                }
                let changed = ledger.add(player, U256::from(*amount));
                prop_assert_eq!(changed[0].address, player);
            }
            let view = ledger.view();
            prop_assert_eq!(view.total_amount_wei(), U256::from(bets.iter().map(|bet| bet.1).sum::<u64>()));
            let in_order: Vec<_> = view.in_bet_order().map(|p| (p.address, p.total_amount_wei.as_u64())).collect();
            prop_assert_eq!(&in_order, &model);
            model.sort_by_key(|(_, total)| Reverse(*total));
            let ranked: Vec<_> = view.page(usize::MAX, 0).iter().map(|p| (p.address, p.total_amount_wei.as_u64())).collect();
            prop_assert_eq!(&ranked, &model);
            let first: Vec<_> = view.first_page().iter().map(|p| (p.address, p.total_amount_wei.as_u64())).collect();
            prop_assert_eq!(&first[..], &model[..model.len().min(FIRST_PAGE_LEN)]);
            let again = ParticipantsLedger::from_bets(bets.iter().map(|(p, a)| (address(*p), U256::from(*a))));
            prop_assert_eq!(again.view().page(usize::MAX, 0), view.page(usize::MAX, 0));
        }
    }

    #[test]
    fn pages_beyond_the_end_are_empty() {
        let ledger = ParticipantsLedger::from_bets([(address(1), U256::from(5))]);
        assert_eq!(ledger.view().page(10, 1), vec![]);
        assert_eq!(ledger.view().page(0, 0), vec![]);
        assert_eq!(ledger.view().page(usize::MAX, usize::MAX), vec![]);
        assert_eq!(
            ledger.view().find(&address(1)).unwrap().total_amount_wei,
            U256::from(5)
        );
        assert!(ledger.view().find(&address(2)).is_none());
    }
}
