//! Whether logs lie where they should: in the blocks that were asked for, on the chain that is being read.

use std::collections::HashMap;

use crate::chain::error::RpcError;
use crate::chain::logs::other_block;
use crate::chain::types::{Header, Log};

/// Every log lies in one of the blocks that were asked for.
pub(super) fn check_blocks(logs: &[Log], headers: &[Header]) -> Result<(), RpcError> {
    let by_number: HashMap<u64, &Header> = headers
        .iter()
        .map(|header| (header.number, header))
        .collect();
    logs.iter()
        .try_for_each(|log| match by_number.get(&log.block_number) {
            Some(header) => check_hash(log, header),
            None => Err(RpcError::invalid_answer(
                "a log of a block that was not asked for",
            )),
        })
}

pub(super) fn check_hash(log: &Log, header: &Header) -> Result<(), RpcError> {
    match log.block_hash == header.hash {
        true => Ok(()),
        false => Err(other_block(log.block_hash, header)),
    }
}
