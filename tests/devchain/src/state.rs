//! Accounts and storage at the head, and what each block changed, backwards: any kept block's state is the head's with
//! later changes undone. This makes old state cheap to read, and reorgs and snapshots cheap to do.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;

use revm::primitives::{Address, B256, U256};
use revm::state::{AccountInfo, Bytecode, EvmState};
use revm::DatabaseRef;

/// The state at the head.
#[derive(Clone, Default)]
pub struct State {
    accounts: HashMap<Address, AccountInfo>,
    storage: HashMap<(Address, U256), U256>,
    /// No block after this one, by its number, has changed the slot.
    changed: HashMap<(Address, U256), u64>,
}

/// What has to be put back to undo a block.
#[derive(Clone, Default)]
pub struct Undo {
    accounts: BTreeMap<Address, Option<AccountInfo>>,
    storage: BTreeMap<(Address, U256), U256>,
}

impl State {
    pub fn account(&self, address: &Address) -> AccountInfo {
        self.accounts.get(address).cloned().unwrap_or_default()
    }

    /// Changes one account outside any transaction.
    pub fn set_account(&mut self, address: Address, info: AccountInfo, undo: &mut Undo) {
        let before = self.accounts.insert(address, info);
        undo.accounts.entry(address).or_insert(before);
    }

    /// Takes a transaction's changes over; what they replace goes into `undo`, unless an earlier change of the same
    /// block is already there.
    pub fn commit(&mut self, changes: EvmState, undo: &mut Undo) {
        for (address, account) in changes {
            if !account.is_touched() {
                continue;
            }
            for (slot, value) in &account.storage {
                if value.is_changed() {
                    let key = (address, *slot);
                    let before = self.storage.insert(key, value.present_value());
                    undo.storage
                        .entry(key)
                        .or_insert(before.unwrap_or_default());
                }
            }
            let gone = account.is_empty() || account.is_selfdestructed();
            let before = match gone {
                true => self.accounts.remove(&address),
                false => self.accounts.insert(address, account.info),
            };
            undo.accounts.entry(address).or_insert(before);
        }
    }

    /// A block with this number has changed what is in `undo`.
    pub fn note_changes(&mut self, undo: &Undo, number: u64) {
        let keys = undo.storage.keys();
        self.changed.extend(keys.map(|key| (*key, number)));
    }

    pub fn undo(&mut self, undo: Undo) {
        for (address, info) in undo.accounts {
            match info {
                Some(info) => self.accounts.insert(address, info),
                None => self.accounts.remove(&address),
            };
        }
        self.storage.extend(undo.storage);
    }
}

/// The state as it was before some of the newest blocks. What is asked for is looked up in what they changed: whoever asks
/// for old states reads little of each.
pub struct View<'a> {
    state: &'a State,
    /// The blocks taken back, oldest first, and the number of the first of them.
    undone: &'a [Undo],
    from: u64,
    overridden: HashMap<Address, AccountInfo>,
}

impl<'a> View<'a> {
    /// Before block `from`; `undos` are those of all blocks, by their numbers.
    pub fn new(state: &'a State, undos: &'a [Undo], from: u64) -> View<'a> {
        let undone = usize::try_from(from)
            .ok()
            .and_then(|from| undos.get(from..));
        View {
            state,
            undone: undone.unwrap_or_default(),
            from,
            overridden: HashMap::new(),
        }
    }

    pub fn account(&self, address: &Address) -> AccountInfo {
        self.found(address).cloned().unwrap_or_default()
    }

    fn found(&self, address: &Address) -> Option<&AccountInfo> {
        if let Some(info) = self.overridden.get(address) {
            return Some(info);
        }
        let mut undone = self.undone.iter();
        match undone.find_map(|it| it.accounts.get(address)) {
            Some(before) => before.as_ref(),
            None => self.state.accounts.get(address),
        }
    }

    /// Lays another account over the state, as state overrides do.
    pub fn override_account(&mut self, address: Address, info: AccountInfo) {
        self.overridden.insert(address, info);
    }
}

impl DatabaseRef for View<'_> {
    type Error = Infallible;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self.found(&address).cloned())
    }

    fn code_by_hash_ref(&self, _code_hash: B256) -> Result<Bytecode, Infallible> {
        // Every account carries its code, so nobody asks by hash.
        Ok(Bytecode::default())
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, Infallible> {
        let key = (address, slot);
        let changed = self.state.changed.get(&key);
        let undone = match changed.is_some_and(|number| *number >= self.from) {
            true => self.undone,
            false => &[],
        };
        let before = undone.iter().find_map(|it| it.storage.get(&key));
        let known = before.or_else(|| self.state.storage.get(&key));
        Ok(known.copied().unwrap_or_default())
    }

    fn block_hash_ref(&self, _number: u64) -> Result<B256, Infallible> {
        Ok(B256::ZERO)
    }
}
