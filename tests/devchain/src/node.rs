//! The chain itself: blocks, time, mining, reorgs. One struct behind one lock; no sockets, no JSON. What blocks and calls
//! do to the state is left to `evm`.

mod evm;

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use revm::primitives::{keccak256, Address, Bytes, B256, U256};
use revm::state::{AccountInfo, Bytecode};

use crate::accounts::Account;
use crate::block::{
    number_below, Block, Bloom, Family, Header, Receipt, GAS_LIMIT, INITIAL_BASE_FEE,
};
use crate::pool::Pool;
use crate::state::{State, Undo, View};
use crate::tx::Transaction;

pub use evm::{Call, CallError};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mining {
    /// Each transaction mines a block.
    Automatic,
    /// A block every so many milliseconds; timestamps advance by exactly that.
    IntervalMs(u64),
    /// Only when told.
    Manual,
}

#[derive(Clone, Debug)]
pub struct Config {
    pub chain_id: u64,
    pub mining: Mining,
    /// Accounts beyond the ten public ones.
    pub more_accounts: usize,
    /// Seconds that chain time is ahead of the host's clock.
    pub time_offset_secs: i64,
    /// The first block's, instead of now; time then runs on from there.
    pub genesis_timestamp: Option<u64>,
    /// Where the two differ, as anvil: any higher fee cap replaces, and logs may be asked for beyond the head. Otherwise
    /// as geth: a tenth more of cap and tip replaces, and a range beyond the head is refused.
    pub as_anvil: bool,
    /// Blocks until `safe` and `finalized` follow the head.
    pub safe_depth: u64,
    pub finalized_depth: u64,
    /// What contracts see of the block they run in.
    pub family: Family,
    /// A block's.
    pub gas_limit: u64,
    /// The most that one transaction may be given (EIP-7825), where there is such a cap.
    pub transaction_gas_max: Option<u64>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            chain_id: 31_337,
            mining: Mining::Automatic,
            more_accounts: 0,
            time_offset_secs: 0,
            genesis_timestamp: None,
            as_anvil: false,
            safe_depth: 32,
            finalized_depth: 64,
            family: Family::Ethereum,
            gas_limit: GAS_LIMIT,
            transaction_gas_max: None,
        }
    }
}

/// What happens to the transactions of blocks that a reorg takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reorged {
    /// They are in the pool again, and so in the new branch's first block.
    Kept,
    Dropped,
}

pub struct Node {
    pub config: Config,
    pub accounts: Vec<Account>,
    pub pool: Pool,
    pub mining: Mining,
    state: State,
    blocks: Vec<Block>,
    undos: Vec<Undo>,
    by_hash: HashMap<B256, u64>,
    places: HashMap<B256, (u64, usize)>,
    snapshots: Vec<u64>,
    offset_secs: i64,
    next_timestamp: Option<u64>,
    next_base_fee: Option<u64>,
    /// Sets branches apart: without it a reorg would mine the same blocks again.
    salt: u64,
    /// Transactions leave the pool unmined after so many blocks.
    pub drop_after_blocks: Option<u64>,
    /// Blocks come, but none of them takes a transaction.
    pub mines_empty: bool,
    /// Where interval mining began: (unix milliseconds, blocks mined since).
    schedule: (u64, u64),
}

fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

impl Node {
    pub fn new(config: Config) -> Node {
        let accounts = crate::accounts::accounts(config.more_accounts);
        let mut node = Node {
            mining: config.mining,
            offset_secs: config
                .genesis_timestamp
                .map_or(config.time_offset_secs, |start| {
                    (start as i64).saturating_sub_unsigned(unix_ms() / 1000)
                }),
            accounts,
            pool: Pool::default(),
            state: State::default(),
            blocks: Vec::new(),
            undos: Vec::new(),
            by_hash: HashMap::new(),
            places: HashMap::new(),
            snapshots: Vec::new(),
            next_timestamp: None,
            // As on anvil: the first block has the genesis block's fee.
            next_base_fee: Some(INITIAL_BASE_FEE),
            salt: 0,
            drop_after_blocks: None,
            mines_empty: false,
            schedule: (unix_ms(), 0),
            config,
        };
        let genesis = Header {
            number: 0,
            hash: B256::ZERO,
            parent_hash: B256::ZERO,
            timestamp: node.clock(),
            mix_hash: B256::ZERO,
            family: node.config.family,
            base_fee: INITIAL_BASE_FEE,
            gas_used: 0,
            gas_limit: node.config.gas_limit,
            bloom: Bloom::default(),
        };
        node.push(genesis.seal(), Vec::new(), Vec::new(), Undo::default());
        let balance = U256::from(10_000u64) * U256::from(10u64).pow(U256::from(18u64));
        for account in node.accounts.clone() {
            node.set_balance(account.address, balance);
        }
        node
    }

    pub fn head(&self) -> &Block {
        // Invariant: the genesis block is pushed at once and never taken back.
        self.blocks.last().expect("there is always a genesis block")
    }

    pub fn block(&self, number: u64) -> Option<&Block> {
        self.blocks.get(usize::try_from(number).ok()?)
    }

    pub fn number_of(&self, hash: &B256) -> Option<u64> {
        self.by_hash.get(hash).copied()
    }

    /// Block and index of a mined transaction.
    pub fn place_of(&self, hash: &B256) -> Option<(&Block, usize)> {
        let (number, index) = self.places.get(hash)?;
        Some((self.block(*number)?, *index))
    }

    pub fn account_at(&self, address: &Address, number: u64) -> AccountInfo {
        self.view(number).account(address)
    }

    pub fn storage_at(&self, address: Address, slot: U256, number: u64) -> U256 {
        use revm::DatabaseRef;
        self.view(number)
            .storage_ref(address, slot)
            .unwrap_or_default()
    }

    pub fn set_balance(&mut self, address: Address, wei: U256) {
        let info = AccountInfo {
            balance: wei,
            ..self.state.account(&address)
        };
        if let Some(undo) = self.undos.last_mut() {
            self.state.set_account(address, info, undo);
        }
    }

    pub fn set_code(&mut self, address: Address, code: Bytes) {
        let info = self.state.account(&address);
        let code = Bytecode::new_raw(code);
        let info = AccountInfo::new(info.balance, info.nonce, code.hash_slow(), code);
        if let Some(undo) = self.undos.last_mut() {
            self.state.set_account(address, info, undo);
        }
    }

    fn view(&self, number: u64) -> View<'_> {
        View::new(&self.state, &self.undos, number.saturating_add(1))
    }

    // Time

    /// Chain time by the host's clock and the offset.
    fn clock(&self) -> u64 {
        (unix_ms() / 1000).saturating_add_signed(self.offset_secs)
    }

    pub fn increase_time(&mut self, secs: u64) -> i64 {
        self.offset_secs = self.offset_secs.saturating_add_unsigned(secs);
        self.offset_secs
    }

    pub fn set_next_timestamp(&mut self, timestamp: u64) -> Result<(), String> {
        let head = self.head().header.timestamp;
        if timestamp < head {
            return Err(format!(
                "timestamp {timestamp} is lower than the previous block's timestamp {head}"
            ));
        }
        self.next_timestamp = Some(timestamp);
        Ok(())
    }

    pub fn set_next_base_fee(&mut self, wei: u64) {
        self.next_base_fee = Some(wei);
    }

    pub fn set_mining(&mut self, mining: Mining) {
        self.mining = mining;
        self.schedule = (unix_ms(), 0);
    }

    /// When the next block of interval mining is due, in unix milliseconds.
    pub fn next_due_ms(&self) -> Option<u64> {
        match self.mining {
            Mining::IntervalMs(interval) => {
                Some(self.schedule.0 + (self.schedule.1 + 1) * interval)
            }
            Mining::Automatic | Mining::Manual => None,
        }
    }

    /// The timestamp that a block mined now would get.
    pub fn next_block_timestamp(&self) -> u64 {
        let head = self.head().header.timestamp;
        if let Some(timestamp) = self.next_timestamp {
            return timestamp.max(head);
        }
        match self.mining {
            Mining::IntervalMs(interval) => {
                let due = self.next_due_ms().unwrap_or_else(unix_ms) / 1000;
                let earliest = if interval < 1_000 { head } else { head + 1 };
                due.saturating_add_signed(self.offset_secs).max(earliest)
            }
            Mining::Automatic | Mining::Manual => self.clock().max(head + 1),
        }
    }

    pub fn next_base_fee(&self) -> u64 {
        self.next_base_fee
            .unwrap_or_else(|| self.head().header.next_base_fee())
    }

    // Transactions

    /// Takes a raw transaction into the pool; mines at once in automatic mode.
    pub fn submit(&mut self, raw: &[u8]) -> Result<B256, String> {
        let transaction = Transaction::decode(raw)?;
        let hash = transaction.hash;
        self.admit(&transaction)?;
        let head = self.head().header.number;
        self.pool.add(transaction, head, self.config.as_anvil)?;
        if self.mining == Mining::Automatic {
            self.mine();
        }
        Ok(hash)
    }

    fn admit(&self, transaction: &Transaction) -> Result<(), String> {
        match transaction.chain_id {
            Some(id) if id != self.config.chain_id => {
                return Err(format!(
                    "invalid chain id for signer: have {id} want {}",
                    self.config.chain_id
                ));
            }
            None => {
                return Err(
                    "only replay-protected (EIP-155) transactions allowed over RPC".to_owned(),
                )
            }
            Some(_) => {}
        }
        if self.places.contains_key(&transaction.hash) {
            return Err("already known".to_owned());
        }
        let account = self.state.account(&transaction.from);
        if transaction.nonce < account.nonce {
            let (next, found) = (account.nonce, transaction.nonce);
            return Err(format!(
                "nonce too low: next nonce {next}, tx nonce {found}"
            ));
        }
        if transaction.max_priority_fee > transaction.max_fee {
            return Err("max priority fee per gas higher than max fee per gas".to_owned());
        }
        if transaction.gas_limit > self.config.gas_limit {
            return Err("exceeds block gas limit".to_owned());
        }
        if let Some(cap) = self.config.transaction_gas_max {
            let wanted = transaction.gas_limit;
            if wanted > cap {
                return Err(format!(
                    "transaction gas limit too high (cap: {cap}, tx: {wanted})"
                ));
            }
        }
        if transaction.gas_limit < transaction.intrinsic_gas() {
            return Err("intrinsic gas too low".to_owned());
        }
        if transaction.cost() > account.balance {
            let (have, want) = (account.balance, transaction.cost());
            return Err(format!(
                "insufficient funds for gas * price + value: balance {have}, tx cost {want}"
            ));
        }
        Ok(())
    }

    pub fn nonce(&self, address: &Address) -> u64 {
        self.state.account(address).nonce
    }

    // Mining

    /// Mines one block of what the pool holds; its number.
    pub fn mine(&mut self) -> u64 {
        let timestamp = self.next_block_timestamp();
        if matches!(self.mining, Mining::IntervalMs(_)) {
            self.schedule.1 += 1;
        }
        if let Some(wanted) = self.next_timestamp.take() {
            // From here on time runs on from the moment that was set.
            let host = i64::try_from(unix_ms() / 1000).unwrap_or(i64::MAX);
            self.offset_secs = i64::try_from(wanted)
                .unwrap_or(i64::MAX)
                .saturating_sub(host);
        }
        let parent = self.head().header.clone();
        let base_fee = self
            .next_base_fee
            .take()
            .unwrap_or_else(|| parent.next_base_fee());
        let number = parent.number + 1;
        let mix = match self.config.family {
            Family::Optimism => number_below(number).to_be_bytes().to_vec(),
            _ => [
                parent.hash.as_slice(),
                &number.to_be_bytes(),
                &self.salt.to_be_bytes(),
            ]
            .concat(),
        };
        let mut header = Header {
            number,
            hash: B256::ZERO,
            parent_hash: parent.hash,
            timestamp,
            mix_hash: keccak256(mix),
            family: self.config.family,
            base_fee,
            gas_used: 0,
            gas_limit: self.config.gas_limit,
            bloom: Bloom::default(),
        };
        let (mut transactions, mut receipts, mut undo) = (Vec::new(), Vec::new(), Undo::default());
        let mut skipped = Vec::new();
        let mut logs = 0;
        while let Some(transaction) = self
            .pool
            .best(base_fee, |sender| self.nonce(sender), &skipped)
            .filter(|_| !self.mines_empty)
        {
            if header.gas_used + transaction.gas_limit > header.gas_limit {
                skipped.push(transaction.hash);
                continue;
            }
            match self.execute(&transaction, &header, &mut undo) {
                Ok(mut receipt) => {
                    header.gas_used += receipt.gas_used;
                    receipt.cumulative_gas_used = header.gas_used;
                    receipt.first_log = logs;
                    logs += receipt.logs.len();
                    self.pool.remove(&transaction.hash);
                    transactions.push(transaction);
                    receipts.push(receipt);
                }
                Err(_) => skipped.push(transaction.hash),
            }
        }
        header.bloom = Bloom::of(receipts.iter().flat_map(|receipt| &receipt.logs));
        self.push(header.seal(), transactions, receipts, undo);
        let (state, keep) = (&self.state, self.drop_after_blocks);
        self.pool
            .prune(|sender| state.account(sender).nonce, number, keep);
        number
    }

    fn push(
        &mut self,
        header: Header,
        transactions: Vec<Transaction>,
        receipts: Vec<Receipt>,
        undo: Undo,
    ) {
        self.by_hash.insert(header.hash, header.number);
        self.state.note_changes(&undo, header.number);
        for (index, transaction) in transactions.iter().enumerate() {
            self.places.insert(transaction.hash, (header.number, index));
        }
        self.blocks.push(Block {
            header,
            transactions,
            receipts,
        });
        self.undos.push(undo);
    }

    // Going back

    /// Takes the newest `depth` blocks back and mines as many new ones.
    pub fn reorg(&mut self, depth: u64, transactions: Reorged) {
        let depth = depth.min(self.head().header.number);
        let old = self.rewind(self.head().header.number - depth);
        self.salt += 1;
        if transactions == Reorged::Kept {
            let head = self.head().header.number;
            for transaction in old.into_iter().flat_map(|block| block.transactions) {
                // A newer transaction of the same nonce in the pool stays.
                let _ = self.pool.add(transaction, head, false);
            }
        }
        for _ in 0..depth {
            self.mine();
        }
    }

    /// Takes back every block above `number`; what was taken back, oldest first.
    pub fn rewind(&mut self, number: u64) -> Vec<Block> {
        let keep = usize::try_from(number)
            .unwrap_or(usize::MAX)
            .saturating_add(1)
            .min(self.blocks.len());
        for undo in self.undos.drain(keep..).rev() {
            self.state.undo(undo);
        }
        let gone = self.blocks.split_off(keep);
        for block in &gone {
            self.by_hash.remove(&block.header.hash);
            for transaction in &block.transactions {
                self.places.remove(&transaction.hash);
            }
        }
        gone
    }

    pub fn snapshot(&mut self) -> u64 {
        self.snapshots.push(self.head().header.number);
        self.snapshots.len() as u64 - 1
    }

    /// Goes back to a snapshot; it and all later ones are used up.
    pub fn revert(&mut self, id: u64) -> bool {
        let Ok(place) = usize::try_from(id) else {
            return false;
        };
        let Some(number) = self.snapshots.get(place).copied() else {
            return false;
        };
        self.snapshots.truncate(place);
        self.rewind(number);
        self.pool.clear();
        self.salt += 1;
        true
    }
}
