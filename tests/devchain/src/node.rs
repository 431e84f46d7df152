//! The chain itself: blocks, time, mining, execution, reorgs. One struct behind one lock; no sockets, no JSON.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::{SystemTime, UNIX_EPOCH};

use revm::context::result::{EVMError, ExecutionResult, InvalidTransaction, Output};
use revm::context::{BlockEnv, CfgEnv, TxEnv};
use revm::database_interface::WrapDatabaseRef;
use revm::primitives::hardfork::SpecId;
use revm::primitives::{keccak256, Address, Bytes, TxKind, B256, U256};
use revm::state::{AccountInfo, Bytecode};
use revm::{Context, ExecuteEvm, MainBuilder, MainContext};

use crate::accounts::Account;
use crate::block::{Block, Bloom, Family, Header, Receipt, GAS_LIMIT, INITIAL_BASE_FEE};
use crate::pool::Pool;
use crate::state::{State, Undo, View};
use crate::tx::Transaction;

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

/// A call without a transaction: eth_call and eth_estimateGas.
#[derive(Clone, Debug, Default)]
pub struct Call {
    pub from: Address,
    pub to: Option<Address>,
    pub value: U256,
    pub data: Bytes,
    pub gas: Option<u64>,
    pub time: Option<u64>,
    pub number: Option<u64>,
    pub balances: Vec<(Address, U256)>,
    pub codes: Vec<(Address, Bytes)>,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    Reverted(Bytes),
    Halted(String),
    Invalid(String),
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
            gas_limit: GAS_LIMIT,
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
        let above = usize::try_from(number).map_or(usize::MAX, |number| number.saturating_add(1));
        View::new(&self.state, self.undos.iter().skip(above).rev())
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
        if transaction.gas_limit > GAS_LIMIT {
            return Err("exceeds block gas limit".to_owned());
        }
        if transaction.gas_limit < intrinsic_gas(transaction) {
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
        let mix = [
            parent.hash.as_slice(),
            &number.to_be_bytes(),
            &self.salt.to_be_bytes(),
        ]
        .concat();
        let mut header = Header {
            number,
            hash: B256::ZERO,
            parent_hash: parent.hash,
            timestamp,
            mix_hash: keccak256(mix),
            family: self.config.family,
            base_fee,
            gas_used: 0,
            gas_limit: GAS_LIMIT,
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
            if header.gas_used + transaction.gas_limit > GAS_LIMIT {
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

    fn execute(
        &mut self,
        transaction: &Transaction,
        header: &Header,
        undo: &mut Undo,
    ) -> Result<Receipt, String> {
        let environment = TxEnv::builder()
            .tx_type(Some(transaction.kind))
            .caller(transaction.from)
            .gas_limit(transaction.gas_limit)
            .gas_price(transaction.max_fee)
            .gas_priority_fee((transaction.kind == 2).then_some(transaction.max_priority_fee))
            .kind(transaction.to.map_or(TxKind::Create, TxKind::Call))
            .value(transaction.value)
            .data(transaction.input.clone())
            .nonce(transaction.nonce)
            .chain_id(transaction.chain_id)
            .access_list(transaction.access_list.clone())
            .build()
            .map_err(|error| format!("{error:?}"))?;
        let chain_id = self.config.chain_id;
        let view = View::new(&self.state, std::iter::empty());
        let outcome = Context::mainnet()
            .with_db(WrapDatabaseRef(view))
            .with_cfg(configuration(chain_id))
            .with_block(block_environment(header))
            .build_mainnet()
            .transact(environment)
            .map_err(|error| error.to_string())?;
        self.state.commit(outcome.state, undo);
        let gas_used = outcome.result.tx_gas_used();
        let contract = match (&outcome.result, transaction.to) {
            (
                ExecutionResult::Success {
                    output: Output::Create(_, address),
                    ..
                },
                None,
            ) => *address,
            (_, None) => Some(transaction.from.create(transaction.nonce)),
            _ => None,
        };
        let succeeded = outcome.result.is_success();
        let logs = match outcome.result {
            ExecutionResult::Success { logs, .. } => logs,
            _ => Vec::new(),
        };
        Ok(Receipt {
            succeeded,
            gas_used,
            cumulative_gas_used: 0,
            effective_gas_price: transaction.effective_price(header.base_fee).0,
            contract,
            bloom: Bloom::of(logs.iter()),
            logs,
            first_log: 0,
        })
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

    // Calls

    /// Runs a call on the state of block `number`; `pending` gives it the next block's environment.
    pub fn call(
        &self,
        call: &Call,
        number: u64,
        pending: bool,
        gas: u64,
    ) -> Result<(Bytes, u64), CallError> {
        let Some(block) = self.block(number) else {
            return Err(CallError::Invalid("header not found".to_owned()));
        };
        let mut header = block.header.clone();
        if pending {
            header.number += 1;
            header.timestamp = self.next_block_timestamp();
            header.base_fee = self.next_base_fee();
        }
        header.timestamp = call.time.unwrap_or(header.timestamp);
        header.number = call.number.unwrap_or(header.number);
        let mut view = self.view(number);
        for (address, balance) in &call.balances {
            let info = AccountInfo {
                balance: *balance,
                ..view.account(address)
            };
            view.override_account(*address, info);
        }
        for (address, code) in &call.codes {
            let info = view.account(address);
            let code = Bytecode::new_raw(code.clone());
            let (balance, nonce) = (info.balance, info.nonce);
            view.override_account(
                *address,
                AccountInfo::new(balance, nonce, code.hash_slow(), code),
            );
        }
        let nonce = view.account(&call.from).nonce;
        let mut cfg = configuration(self.config.chain_id);
        cfg.disable_base_fee = true;
        cfg.disable_eip3607 = true;
        cfg.disable_nonce_check = true;
        let environment = TxEnv::builder()
            .caller(call.from)
            .gas_limit(gas)
            .gas_price(0)
            .kind(call.to.map_or(TxKind::Create, TxKind::Call))
            .value(call.value)
            .data(call.data.clone())
            .nonce(nonce)
            .chain_id(Some(self.config.chain_id))
            .build()
            .map_err(|error| CallError::Invalid(format!("{error:?}")))?;
        let outcome = Context::mainnet()
            .with_db(WrapDatabaseRef(view))
            .with_cfg(cfg)
            .with_block(block_environment(&header))
            .build_mainnet()
            .transact(environment)
            .map_err(|error| CallError::Invalid(refusal(&error)))?;
        let used = outcome.result.tx_gas_used();
        match outcome.result {
            ExecutionResult::Success { output, .. } => Ok((output.into_data(), used)),
            ExecutionResult::Revert { output, .. } => Err(CallError::Reverted(output)),
            ExecutionResult::Halt { reason, .. } => Err(CallError::Halted(format!("{reason:?}"))),
        }
    }

    /// The least gas with which the call succeeds, found by halving.
    pub fn estimate(&self, call: &Call, number: u64, pending: bool) -> Result<u64, CallError> {
        let mut high = call.gas.unwrap_or(GAS_LIMIT).min(GAS_LIMIT);
        let (_, used) = self.call(call, number, pending, high)?;
        let mut low = used.saturating_sub(1);
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            match self.call(call, number, pending, middle) {
                Ok(_) => high = middle,
                Err(_) => low = middle,
            }
        }
        Ok(high)
    }
}

/// The words of geth for a transaction that cannot run.
fn refusal(error: &EVMError<Infallible>) -> String {
    match error {
        EVMError::Transaction(InvalidTransaction::LackOfFundForMaxFee { fee, balance }) => {
            format!("insufficient funds for gas * price + value: balance {balance}, tx cost {fee}")
        }
        other => other.to_string(),
    }
}

fn configuration(chain_id: u64) -> CfgEnv {
    let mut cfg = CfgEnv::new_with_spec(SpecId::PRAGUE);
    cfg.chain_id = chain_id;
    cfg
}

fn block_environment(header: &Header) -> BlockEnv {
    let (prevrandao, number) = header.seen();
    BlockEnv {
        number: U256::from(number),
        beneficiary: Address::ZERO,
        timestamp: U256::from(header.timestamp),
        gas_limit: header.gas_limit,
        basefee: header.base_fee,
        prevrandao: Some(prevrandao),
        ..BlockEnv::default()
    }
}

/// EIP-2028 and EIP-3860: what a transaction costs before it runs.
fn intrinsic_gas(transaction: &Transaction) -> u64 {
    let zeros = transaction.input.iter().filter(|byte| **byte == 0).count() as u64;
    let others = transaction.input.len() as u64 - zeros;
    let creation = match transaction.to {
        None => 32_000 + 2 * (transaction.input.len() as u64).div_ceil(32),
        Some(_) => 0,
    };
    21_000 + 4 * zeros + 16 * others + creation
}
