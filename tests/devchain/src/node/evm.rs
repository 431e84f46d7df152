//! Running the EVM: transactions for a block that is mined, calls and estimates on any block's state. Which transactions a
//! block takes is left to mining.

use std::convert::Infallible;

use revm::context::result::{EVMError, ExecutionResult, InvalidTransaction, Output};
use revm::context::{BlockEnv, CfgEnv, TxEnv};
use revm::database_interface::WrapDatabaseRef;
use revm::primitives::hardfork::SpecId;
use revm::primitives::{Address, Bytes, TxKind, U256};
use revm::state::{AccountInfo, Bytecode};
use revm::{Context, ExecuteEvm, MainBuilder, MainContext};

use super::Node;
use crate::block::{Bloom, Header, Receipt};
use crate::state::{Undo, View};
use crate::tx::Transaction;

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

impl Node {
    /// Runs a transaction on the newest state; the receipt leaves what depends on the block's others at zero.
    pub(super) fn execute(
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
        let view = View::new(&self.state, &[], 0);
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
        let view = self.view_with(number, call);
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
        let mut high = call.gas.unwrap_or(u64::MAX).min(self.config.gas_limit);
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

    /// The state of a block, with the balances and codes that the call puts in its stead.
    fn view_with(&self, number: u64, call: &Call) -> View<'_> {
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
        view
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
