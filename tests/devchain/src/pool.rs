//! The mempool by geth's rules: nonce order for each sender, gaps wait, a replacement must raise fee cap and tip by a
//! tenth each, and what cannot pay the base fee stays until it can.

use std::collections::{BTreeMap, HashMap};

use revm::primitives::{Address, B256};

use crate::tx::Transaction;

#[derive(Clone, Default)]
pub struct Pool {
    by_sender: HashMap<Address, BTreeMap<u64, Entry>>,
    arrivals: u64,
}

#[derive(Clone)]
struct Entry {
    transaction: Transaction,
    /// Earlier arrivals win among equal tips.
    arrival: u64,
    /// The head at which it came.
    since_block: u64,
}

impl Pool {
    pub fn add(
        &mut self,
        transaction: Transaction,
        head: u64,
        replace_with_any_rise: bool,
    ) -> Result<(), &'static str> {
        let queue = self.by_sender.entry(transaction.from).or_default();
        if let Some(known) = queue.get(&transaction.nonce) {
            let known = &known.transaction;
            if known.hash == transaction.hash {
                return Err("already known");
            }
            let raised = |new: u128, old: u128| match replace_with_any_rise {
                true => new > old,
                false => new.saturating_mul(10) >= old.saturating_mul(11),
            };
            let cap_only = replace_with_any_rise
                || raised(transaction.max_priority_fee, known.max_priority_fee);
            if !(raised(transaction.max_fee, known.max_fee) && cap_only) {
                return Err("replacement transaction underpriced");
            }
        }
        self.arrivals += 1;
        let entry = Entry {
            arrival: self.arrivals,
            since_block: head,
            transaction,
        };
        queue.insert(entry.transaction.nonce, entry);
        Ok(())
    }

    pub fn find(&self, hash: &B256) -> Option<&Transaction> {
        self.iter().find(|transaction| transaction.hash == *hash)
    }

    pub fn remove(&mut self, hash: &B256) -> Option<Transaction> {
        for queue in self.by_sender.values_mut() {
            let nonce = queue
                .iter()
                .find(|(_, entry)| entry.transaction.hash == *hash)
                .map(|(nonce, _)| *nonce);
            if let Some(nonce) = nonce {
                return queue.remove(&nonce).map(|entry| entry.transaction);
            }
        }
        None
    }

    pub fn clear(&mut self) {
        self.by_sender.clear();
    }

    /// Forgets transactions whose nonce is used up, and those that came more than `keep_blocks` before `head`.
    pub fn prune(
        &mut self,
        nonce_of: impl Fn(&Address) -> u64,
        head: u64,
        keep_blocks: Option<u64>,
    ) {
        for (sender, queue) in &mut self.by_sender {
            let next = nonce_of(sender);
            queue.retain(|nonce, entry| {
                let aged = keep_blocks.is_some_and(|keep| head >= entry.since_block + keep);
                *nonce >= next && !aged
            });
        }
        self.by_sender.retain(|_, queue| !queue.is_empty());
    }

    /// The next nonce of the account, behind what is ready in the pool.
    pub fn pending_nonce(&self, sender: &Address, latest: u64) -> u64 {
        let queue = self.by_sender.get(sender);
        (latest..)
            .find(|nonce| !queue.is_some_and(|queue| queue.contains_key(nonce)))
            .unwrap_or(latest)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Transaction> {
        self.by_sender
            .values()
            .flat_map(|queue| queue.values().map(|entry| &entry.transaction))
    }

    /// True when nothing stands between the account's nonce and this transaction.
    pub fn is_ready(&self, transaction: &Transaction, latest: u64) -> bool {
        transaction.nonce < self.pending_nonce(&transaction.from, latest)
    }

    /// The best transaction to mine next: highest tip, then earliest, in each sender's nonce order.
    pub fn best(
        &self,
        base_fee: u64,
        nonce_of: impl Fn(&Address) -> u64,
        skipped: &[B256],
    ) -> Option<Transaction> {
        self.by_sender
            .iter()
            .filter_map(|(sender, queue)| queue.get(&nonce_of(sender)))
            .filter(|entry| entry.transaction.max_fee >= u128::from(base_fee))
            .filter(|entry| !skipped.contains(&entry.transaction.hash))
            .max_by_key(|entry| {
                (
                    entry.transaction.effective_price(base_fee).1,
                    std::cmp::Reverse(entry.arrival),
                )
            })
            .map(|entry| entry.transaction.clone())
    }
}
