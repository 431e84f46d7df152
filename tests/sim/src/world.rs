//! The true chain: a tree of blocks with the contract's state after each, the pool, and who sees how much of it. It knows
//! no JSON; when blocks come and what players do is decided by the campaign.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lottery::chain::types::{Address, H256};
use support::random::Random;

use crate::baton::Group;
use crate::contract::{function_of, Call, Env, Event, Halt, Lottery, Terms};
use crate::sends::{Attempt, Rival, Told};

pub const GAS_LIMIT: u64 = 30_000_000;
pub const TRANSFER_GAS: u64 = 21_000;
pub const GWEI: u128 = 1_000_000_000;

/// A transaction, the operator's or a player's.
#[derive(Clone, Debug)]
pub struct Tx {
    pub hash: H256,
    pub from: Address,
    pub nonce: u64,
    pub to: Option<Address>,
    pub value: u128,
    pub data: Vec<u8>,
    pub gas_limit: u64,
    /// Of a legacy transaction both are the gas price.
    pub cap: u128,
    pub tip: u128,
    pub is_legacy: bool,
}

#[derive(Clone, Debug)]
pub struct Mined {
    pub tx: Arc<Tx>,
    pub succeeded: bool,
    pub gas_used: u64,
    pub price: u128,
    pub events: Vec<Event>,
    pub first_log: usize,
}

/// What the chain holds after a block.
#[derive(Clone, Debug)]
pub struct Ledger {
    pub lottery: Lottery,
    pub operator_nonce: u64,
    pub operator_wei: u128,
}

#[derive(Clone, Debug)]
pub struct Block {
    pub number: u64,
    pub hash: H256,
    pub parent: Option<usize>,
    pub timestamp: u64,
    pub prevrandao: H256,
    /// NUMBER as its code sees it.
    pub number_seen: u64,
    pub base_fee: u128,
    pub gas_used: u64,
    pub mined: Vec<Mined>,
    pub ledger: Arc<Ledger>,
}

impl Block {
    pub fn env(&self) -> Env {
        Env {
            timestamp: self.timestamp,
            number: self.number_seen,
            prevrandao: self.prevrandao,
        }
    }

    pub fn has_logs(&self) -> bool {
        self.mined.iter().any(|mined| !mined.events.is_empty())
    }
}

/// What is not the same on every chain.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub randomness: Randomness,
    /// NUMBER is that of the chain below.
    pub number_is_below: bool,
    /// No base fee is ever taken.
    pub is_base_fee_zero: bool,
    /// The least that a pool takes as a tip.
    pub least_tip: u128,
    /// What each transaction takes on top, for its data in the chain below.
    pub data_gas: u64,
    /// The same in ether, beside all gas.
    pub data_fee: u128,
}

/// What code sees as PREVRANDAO.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Randomness {
    #[default]
    Fresh,
    /// That of the chain below, which makes a block for several of this one.
    Below,
    Constant {
        value: u64,
        in_difficulty: bool,
    },
}

const BLOCKS_A_BLOCK_BELOW: u64 = 6;

pub struct Pooled {
    pub tx: Arc<Tx>,
    pub since_block: u64,
}

pub struct World {
    pub contract: Address,
    pub operator: Address,
    pub terms: Terms,
    pub blocks: Vec<Block>,
    /// The best chain, by number.
    pub canonical: Vec<usize>,
    by_hash: HashMap<H256, usize>,
    /// Blocks that hold a transaction, by its hash.
    holders: HashMap<H256, Vec<usize>>,
    pub pool: Vec<Pooled>,
    /// What players want in the next block.
    pub wanted: Vec<Tx>,
    /// What the next block's base fee will be.
    pub next_base_fee: u128,
    pub rules: Rules,
    random: Random,
    /// What was handed to a node since the oracle last looked, taken or not.
    pub attempts: Vec<Attempt>,
    /// What became of it, as runs were told.
    pub told: Told,
    /// Simulated time, as of the last request, and which run of a daemon made it.
    pub now: Duration,
    pub asked_by: Group,
    /// The newer of the next block's time and the clock's.
    pub chain_time: u64,
}

impl World {
    pub fn new(
        terms: Terms,
        contract: Address,
        lottery: Lottery,
        timestamp: u64,
        random: Random,
    ) -> World {
        let operator = lottery.operator;
        let mut world = World {
            contract,
            operator,
            terms,
            blocks: Vec::new(),
            canonical: Vec::new(),
            by_hash: HashMap::new(),
            holders: HashMap::new(),
            pool: Vec::new(),
            wanted: Vec::new(),
            next_base_fee: GWEI,
            rules: Rules::default(),
            random,
            attempts: Vec::new(),
            told: Told::default(),
            now: Duration::ZERO,
            asked_by: 0,
            chain_time: 0,
        };
        let ledger = Ledger {
            lottery,
            operator_nonce: 0,
            operator_wei: 100 * GWEI * GWEI,
        };
        world.push(None, timestamp, Vec::new(), Arc::new(ledger));
        world
    }

    pub fn head(&self) -> &Block {
        // Invariant: the first block is pushed at once and never taken away.
        &self.blocks[*self.canonical.last().expect("a first block")]
    }

    pub fn head_index(&self) -> usize {
        self.canonical[self.canonical.len() - 1]
    }

    pub fn index_of(&self, hash: &H256) -> Option<usize> {
        self.by_hash.get(hash).copied()
    }

    pub fn is_canonical(&self, index: usize) -> bool {
        let number = self.blocks[index].number as usize;
        self.canonical.get(number) == Some(&index)
    }

    /// The block of that number on the chain that ends in `tip`.
    pub fn at(&self, tip: usize, number: u64) -> Option<usize> {
        if number > self.blocks[tip].number {
            return None;
        }
        let mut index = tip;
        while !self.is_canonical(index) {
            if self.blocks[index].number == number {
                return Some(index);
            }
            index = self.blocks[index].parent?;
        }
        match number <= self.blocks[index].number {
            true => Some(self.canonical[number as usize]),
            false => None,
        }
    }

    /// The block on the chain that ends in `tip` that holds the transaction.
    pub fn holder(&self, tip: usize, hash: &H256) -> Option<(usize, usize)> {
        let holders = self.holders.get(hash)?;
        let on_chain = |index: &&usize| self.at(tip, self.blocks[**index].number) == Some(**index);
        let index = *holders.iter().find(on_chain)?;
        let mut mined = self.blocks[index].mined.iter();
        Some((index, mined.position(|mined| mined.tx.hash == *hash)?))
    }

    /// The number of the newest block that the best chain shares with the one that ends in `tip`.
    pub fn newest_shared(&self, tip: usize) -> u64 {
        let mut index = tip;
        while !self.is_canonical(index) {
            // Invariant: the first block is never taken away.
            index = self.blocks[index]
                .parent
                .expect("the first block is on every chain");
        }
        self.blocks[index].number
    }

    /// True where the block is `of` or one of its ancestors.
    pub fn is_ancestor(&self, index: usize, of: usize) -> bool {
        self.at(of, self.blocks[index].number) == Some(index)
    }

    /// The function by which this block ended that round, if it did.
    pub fn ending(&self, index: usize, round_id: u64) -> Option<&'static str> {
        let block = &self.blocks[index];
        let before = block
            .parent
            .map(|parent| &self.blocks[parent].ledger.lottery)?;
        let is_ended = before.round_id <= round_id && block.ledger.lottery.round_id > round_id;
        let mut mined = block.mined.iter().filter(|mined| mined.succeeded);
        let ends = ["drawWinner", "refundExpiredRound", "refundRound"];
        let ended = |mined: &Mined| function_of(&mined.tx.data).filter(|name| ends.contains(name));
        mined.find_map(ended).filter(|_| is_ended)
    }

    fn fresh_hash(&mut self) -> H256 {
        H256::from_slice(&self.random.bytes(32))
    }

    fn push(
        &mut self,
        parent: Option<usize>,
        timestamp: u64,
        mined: Vec<Mined>,
        ledger: Arc<Ledger>,
    ) -> usize {
        let index = self.blocks.len();
        let block = Block {
            number: parent.map_or(0, |parent| self.blocks[parent].number + 1),
            hash: self.fresh_hash(),
            parent,
            timestamp,
            prevrandao: H256::zero(),
            number_seen: 0,
            base_fee: self.next_base_fee,
            gas_used: mined.iter().map(|mined| mined.gas_used).sum(),
            mined,
            ledger,
        };
        self.by_hash.insert(block.hash, index);
        for mined in &block.mined {
            self.holders.entry(mined.tx.hash).or_default().push(index);
        }
        self.canonical.truncate(block.number as usize);
        self.canonical.push(index);
        self.blocks.push(block);
        index
    }

    /// A block on top of the best chain with what players want and, where `takes_ours`, what the pool holds.
    pub fn mine(&mut self, timestamp: u64, takes_ours: bool) {
        let parent = self.head_index();
        let number = self.blocks[parent].number + 1;
        let fresh = self.fresh_hash();
        let env = Env {
            timestamp,
            number: match self.rules.number_is_below {
                true => 21_000_000 + number / BLOCKS_A_BLOCK_BELOW,
                false => number,
            },
            prevrandao: match self.rules.randomness {
                Randomness::Fresh => fresh,
                Randomness::Below if number.is_multiple_of(BLOCKS_A_BLOCK_BELOW) => fresh,
                Randomness::Below => self.blocks[parent].prevrandao,
                Randomness::Constant { value, .. } => H256::from_low_u64_be(value),
            },
        };
        let mut ledger = (*self.blocks[parent].ledger).clone();
        let mut mined = Vec::new();
        let mut logs = 0;
        for tx in std::mem::take(&mut self.wanted) {
            self.execute(Arc::new(tx), &mut ledger, env, &mut mined, &mut logs);
        }
        while let Some(index) = self.next_of_pool(&ledger).filter(|_| takes_ours) {
            let tx = self.pool.remove(index).tx;
            self.execute(tx, &mut ledger, env, &mut mined, &mut logs);
        }
        let nonce = ledger.operator_nonce;
        let ledger = match mined.is_empty() {
            true => self.blocks[parent].ledger.clone(),
            false => Arc::new(ledger),
        };
        let index = self.push(Some(parent), timestamp, mined, ledger);
        self.blocks[index].prevrandao = env.prevrandao;
        self.blocks[index].number_seen = env.number;
        self.pool.retain(|pooled| pooled.tx.nonce >= nonce);
    }

    fn next_of_pool(&self, ledger: &Ledger) -> Option<usize> {
        self.pool.iter().position(|pooled| {
            let tx = &pooled.tx;
            tx.nonce == ledger.operator_nonce
                && tx.cap >= self.next_base_fee
                && ledger.operator_wei >= tx.cap * u128::from(tx.gas_limit) + tx.value
        })
    }

    fn execute(
        &self,
        tx: Arc<Tx>,
        ledger: &mut Ledger,
        env: Env,
        mined: &mut Vec<Mined>,
        logs: &mut usize,
    ) {
        let (result, gas_needed) = self.call(&ledger.lottery, &tx, env);
        let has_gas = tx.gas_limit >= gas_needed;
        let (succeeded, events) = match result {
            Ok((lottery, events)) if has_gas => {
                ledger.lottery = lottery;
                (true, events)
            }
            _ => (false, Vec::new()),
        };
        let gas_used = gas_needed.min(tx.gas_limit);
        let price = tx.cap.min(self.next_base_fee + tx.tip);
        if tx.from == self.operator {
            ledger.operator_nonce = tx.nonce + 1;
            ledger.operator_wei -= price * u128::from(gas_used) + self.rules.data_fee;
        }
        let first_log = *logs;
        *logs += events.len();
        mined.push(Mined {
            tx,
            succeeded,
            gas_used,
            price,
            events,
            first_log,
        });
    }

    /// What a transaction would do, and the gas that it takes.
    #[allow(clippy::type_complexity)]
    pub fn call(
        &self,
        lottery: &Lottery,
        tx: &Tx,
        env: Env,
    ) -> (Result<(Lottery, Vec<Event>), Halt>, u64) {
        let data_gas = self.rules.data_gas;
        if tx.to != Some(self.contract) || tx.data.is_empty() {
            let is_refused =
                tx.value > 0 && tx.to.is_some_and(|to| self.terms.unpayable.contains(&to));
            let result = match is_refused {
                true => Err(Halt::Bare),
                false => Ok((lottery.clone(), Vec::new())),
            };
            return (result, TRANSFER_GAS + data_gas);
        }
        let mut after = lottery.clone();
        let call = Call {
            from: tx.from,
            value: tx.value,
            data: &tx.data,
        };
        let players = lottery.players.len() as u64;
        let gas = match function_of(&tx.data) {
            Some("drawWinner") => {
                90_000 + players * 7_000 + lottery.winner_index(env) as u64 * 2_400
            }
            Some("refundRound" | "refundExpiredRound") => 60_000 + players * 19_000,
            _ => 60_000,
        };
        (
            after
                .run(&self.terms, call, env)
                .map(|events| (after, events)),
            gas + data_gas,
        )
    }

    /// Takes the newest `depth` blocks away; the branch that replaces them has `length` blocks, with the same times.
    /// What they held waits again from the branch's head on, where the pool `keeps` it; bets always do. Whether the branch
    /// takes what the operator sent is said by `takes_ours`.
    pub fn reorg(&mut self, depth: u64, keeps: bool, takes_ours: bool, length: u64) {
        let depth = (depth as usize).min(self.canonical.len() - 1);
        let removed = self.canonical.split_off(self.canonical.len() - depth);
        let mut times: Vec<u64> = removed
            .iter()
            .map(|index| self.blocks[*index].timestamp)
            .collect();
        let last = times
            .last()
            .copied()
            .unwrap_or_else(|| self.head().timestamp);
        times.resize((length as usize).min(depth + 1), last);
        let branch_head = self.head().number + times.len() as u64;
        for index in &removed {
            for mined in self.blocks[*index].mined.clone() {
                match mined.tx.from == self.operator {
                    true if keeps => self.pool.push(Pooled {
                        tx: mined.tx,
                        since_block: branch_head,
                    }),
                    true => {}
                    false => self.wanted.push((*mined.tx).clone()),
                }
            }
        }
        if !keeps {
            self.pool.clear();
        }
        for timestamp in times {
            self.mine(timestamp, takes_ours);
        }
    }

    /// Takes a transaction into the pool, by geth's rules.
    ///
    /// # Errors
    /// In the words of geth.
    pub fn submit(&mut self, tx: Tx) -> Result<H256, String> {
        self.attempts.push(self.attempt(&tx));
        let ledger = &self.head().ledger;
        if self.holder(self.head_index(), &tx.hash).is_some() {
            return Err("already known".to_owned());
        }
        if tx.from != self.operator {
            return Err("insufficient funds for gas * price + value: balance 0".to_owned());
        }
        if tx.nonce < ledger.operator_nonce {
            return Err(format!(
                "nonce too low: next nonce {}, tx nonce {}",
                ledger.operator_nonce, tx.nonce
            ));
        }
        if tx.gas_limit > GAS_LIMIT {
            return Err("exceeds block gas limit".to_owned());
        }
        if tx.gas_limit < TRANSFER_GAS + self.rules.data_gas {
            return Err("intrinsic gas too low".to_owned());
        }
        let least = self.rules.least_tip;
        if tx.tip < least {
            let tip = tx.tip;
            return Err(format!(
                "transaction underpriced: tip needed {least}, tip permitted {tip}"
            ));
        }
        let offered = tx.cap * u128::from(tx.gas_limit) + tx.value;
        if offered + self.rules.data_fee > ledger.operator_wei {
            let have = ledger.operator_wei;
            return Err(format!(
                "insufficient funds for gas * price + value: balance {have}"
            ));
        }
        if let Some(known) = self.pool.iter().find(|pooled| pooled.tx.nonce == tx.nonce) {
            if known.tx.hash == tx.hash {
                return Err("already known".to_owned());
            }
            if !is_outbid(&tx, &known.tx) {
                return Err("replacement transaction underpriced".to_owned());
            }
        }
        let hash = tx.hash;
        self.pool.retain(|pooled| pooled.tx.nonce != tx.nonce);
        let tx = Arc::new(tx);
        self.pool.push(Pooled {
            tx,
            since_block: self.head().number,
        });
        Ok(hash)
    }

    fn attempt(&self, tx: &Tx) -> Attempt {
        let rival = self.pool.iter().map(|pooled| &pooled.tx);
        let mut rival = rival.filter(|rival| rival.nonce == tx.nonce && rival.hash != tx.hash);
        Attempt {
            at: self.now,
            run: self.asked_by,
            hash: tx.hash,
            function: function_of(&tx.data),
            nonce: tx.nonce,
            round_id: self.head().ledger.lottery.round_id,
            is_legacy: tx.is_legacy,
            starts: self.head().ledger.lottery.start_time,
            opens: self.head().ledger.lottery.min_draw_time,
            chain_time: self.chain_time,
            cap: tx.cap,
            gas_limit: tx.gas_limit,
            is_short: self.told.is_short(self.asked_by, tx.nonce),
            rival: rival.next().map(|rival| Rival {
                hash: rival.hash,
                is_dearer: rival.cap > tx.cap,
                is_told: self.told.is_taken(self.asked_by, rival.hash),
                // At the cap another kind of action goes out all the same, for whoever takes it.
                is_outbid: is_outbid(tx, rival)
                    || rival.is_legacy != tx.is_legacy
                    || function_of(&rival.data) != function_of(&tx.data),
            }),
        }
    }

    /// The pool holds a transaction of the operator's next nonce. What waits behind a nonce that is missing makes no node mine.
    pub fn has_next(&self) -> bool {
        let next = self.head().ledger.operator_nonce;
        self.pool.iter().any(|pooled| pooled.tx.nonce == next)
    }

    /// The operator's next nonce behind what waits.
    pub fn pending_nonce(&self) -> u64 {
        let latest = self.head().ledger.operator_nonce;
        let waits = |nonce: &u64| self.pool.iter().any(|pooled| pooled.tx.nonce == *nonce);
        (latest..).find(|nonce| !waits(nonce)).unwrap_or(latest)
    }

    /// A player's call of the contract, in the next block.
    pub fn want(&mut self, player: Address, value: u128, data: Vec<u8>) {
        let hash = self.fresh_hash();
        self.wanted.push(Tx {
            hash,
            from: player,
            nonce: 0,
            to: Some(self.contract),
            value,
            data,
            gas_limit: GAS_LIMIT,
            cap: 1_000 * GWEI,
            tip: GWEI,
            is_legacy: false,
        });
    }
}

/// Whether a pool lets `new` take the place of `old`.
fn is_outbid(new: &Tx, old: &Tx) -> bool {
    let is_raised = |new: u128, old: u128| new * 10 >= old * 11;
    is_raised(new.cap, old.cap) && is_raised(new.tip, old.tip)
}
