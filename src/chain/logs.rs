//! eth_getLogs so that its answer can be believed. An empty list proves nothing by itself, so each question goes out in
//! one batch with another that shows the endpoint to have the block; a range is linked to its neighbours by the headers
//! at its ends, and is as long as the endpoint lets it be.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{json, Value};

use crate::chain::error::{LogRangeLimit, NodeError, RpcError};
use crate::chain::jsonrpc::{RpcCall, BATCH_MAX};
use crate::chain::node::{
    address_json, call_params, get_block, hash_json, hex_number, twice_if_behind, CallRequest,
    Endpoint,
};
use crate::chain::parse;
use crate::chain::types::{Address, BlockId, Header, Log, H256};

const RANGE_BLOCKS_START: u64 = 500;
const RANGE_BLOCKS_MAX: u64 = 10_000;
/// So many blocks can be asked by hash beside the call that goes with them.
pub const HASHES_MAX: usize = BATCH_MAX - 1;

/// How many blocks an endpoint answers for in one eth_getLogs, as far as is known.
#[derive(Debug)]
pub struct LogRange {
    blocks: AtomicU64,
    /// What it has named as its limit.
    most: AtomicU64,
}

impl Default for LogRange {
    fn default() -> LogRange {
        LogRange {
            blocks: AtomicU64::new(RANGE_BLOCKS_START),
            most: AtomicU64::new(RANGE_BLOCKS_MAX),
        }
    }
}

impl LogRange {
    fn blocks(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed).max(1)
    }

    /// A range of this length was answered: the next may be longer.
    fn grow_after(&self, blocks: u64) {
        let most = self.most.load(Ordering::Relaxed);
        if blocks >= self.blocks() {
            self.blocks.store((blocks * 2).min(most), Ordering::Relaxed);
        }
    }

    /// A range of this length was refused; false when it cannot be any shorter.
    fn shrink_after(&self, blocks: u64, limit: LogRangeLimit) -> bool {
        if blocks <= 1 {
            return false;
        }
        let shorter = match limit.blocks.filter(|most| *most < blocks) {
            Some(most) => {
                self.most.store(most, Ordering::Relaxed);
                most
            }
            None => blocks / 2,
        };
        self.blocks.store(shorter.max(1), Ordering::Relaxed);
        true
    }
}

/// The logs of a range, with the headers at its ends as the same endpoint shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    pub first: Header,
    pub last: Header,
    /// In chain order.
    pub logs: Vec<Log>,
}

impl Endpoint {
    /// How many blocks a chunk has best.
    pub fn log_range_blocks(&self) -> u64 {
        self.shared.log_range.blocks()
    }

    /// The address's logs in blocks `from` to `to`, both included, or in as many of them as the endpoint answers for at
    /// once: the lowest of them when `upward`, else the highest.
    pub fn log_chunk(
        &self,
        address: Address,
        (from, to): (u64, u64),
        upward: bool,
    ) -> Result<LogChunk, RpcError> {
        let range = &self.shared.log_range;
        loop {
            let blocks = range.blocks().min(to.saturating_sub(from) + 1);
            let (first, last) = match upward {
                true => (from, from + blocks - 1),
                false => (to - (blocks - 1), to),
            };
            match twice_if_behind(|| self.range(address, first, last)) {
                Ok(chunk) => {
                    range.grow_after(blocks);
                    return Ok(chunk);
                }
                Err(error) => {
                    let limit = error.log_range_limit();
                    if !limit.is_some_and(|limit| range.shrink_after(blocks, limit)) {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// An empty answer is asked for twice.
    fn range(&self, address: Address, from: u64, to: u64) -> Result<LogChunk, RpcError> {
        let chunk = self.range_once(address, from, to)?;
        if !chunk.logs.is_empty() {
            return Ok(chunk);
        }
        let again = self.range_once(address, from, to)?;
        match again.last.hash == chunk.last.hash {
            true => Ok(again),
            false => Err(RpcError::behind("the chain moved while its logs were read")),
        }
    }

    fn range_once(&self, address: Address, from: u64, to: u64) -> Result<LogChunk, RpcError> {
        let filter = json!([{
            "address": address_json(address), "fromBlock": hex_number(from), "toBlock": hex_number(to),
        }]);
        let calls = [
            get_logs(filter),
            get_block(BlockId::Number(from)),
            get_block(BlockId::Number(to)),
        ];
        let [logs, first, last] = self.ask_all(&calls)?;
        let chunk = LogChunk {
            first: parse::header(&first?)?,
            last: parse::header(&last?)?,
            logs: in_chain_order(parse::logs(&logs?, address)?)?,
        };
        if (chunk.first.number, chunk.last.number) != (from, to) {
            return Err(RpcError::invalid_answer(format!(
                "asked for blocks {from} and {to}, got {} and {}",
                chunk.first.number, chunk.last.number
            )));
        }
        for log in &chunk.logs {
            let end = [&chunk.first, &chunk.last]
                .into_iter()
                .find(|header| header.number == log.block_number);
            if end.is_some_and(|header| header.hash != log.block_hash) {
                return Err(RpcError::behind("a log of a block that was replaced"));
            }
            if !(from..=to).contains(&log.block_number) {
                return Err(RpcError::invalid_answer(format!(
                    "a log of block {}, asked were {from} to {to}",
                    log.block_number
                )));
            }
        }
        Ok(chunk)
    }

    /// The address's logs of these blocks (at most `HASHES_MAX`), in chain order, and the answer of a call at `block`, in
    /// one batch: that the call is answered shows that the endpoint has the block.
    pub fn logs_and_call(
        &self,
        address: Address,
        headers: &[&Header],
        request: &CallRequest,
        block: BlockId,
    ) -> Result<(Vec<Log>, Vec<u8>), RpcError> {
        twice_if_behind(|| self.logs_and_call_once(address, headers, request, block))
    }

    fn logs_and_call_once(
        &self,
        address: Address,
        headers: &[&Header],
        request: &CallRequest,
        block: BlockId,
    ) -> Result<(Vec<Log>, Vec<u8>), RpcError> {
        let mut calls: Vec<RpcCall> = headers
            .iter()
            .map(|header| get_logs_at(address, header.hash))
            .collect();
        calls.push(RpcCall {
            method: "eth_call",
            params: call_params(request, self.state_block(block), None),
        });
        let mut answers = self.ask_batch(&calls)?;
        // One answer for each call: that is what `ask_batch` promises.
        let call = answers.pop().unwrap_or(Ok(Value::Null));
        let answer = match call {
            // The endpoint may refuse hashes of blocks: asked alone, that is found out.
            Err(error) if error.node_error() == Some(NodeError::Other) => {
                self.call(request, block, None)?
            }
            answer => {
                let bytes = parse::bytes(&answer?, "eth_call")?;
                self.check_still_there(block)?;
                bytes
            }
        };
        let mut logs = Vec::new();
        for (found, header) in answers.into_iter().zip(headers) {
            let of_block = match found {
                Err(error) if error.node_error() == Some(NodeError::Other) => {
                    self.range_once(address, header.number, header.number)?.logs
                }
                found => parse::logs(&found?, address)?,
            };
            if let Some(log) = of_block.iter().find(|log| log.block_hash != header.hash) {
                return Err(RpcError::behind(format!(
                    "a log of block {:#x}, asked was {:#x}",
                    log.block_hash, header.hash
                )));
            }
            logs.extend(of_block);
        }
        Ok((in_chain_order(logs)?, answer))
    }

    fn ask_all<const N: usize>(
        &self,
        calls: &[RpcCall; N],
    ) -> Result<[Result<Value, RpcError>; N], RpcError> {
        self.ask_batch(calls)?
            .try_into()
            .map_err(|_| RpcError::invalid_answer("a batch without an answer for each call"))
    }
}

fn get_logs(params: Value) -> RpcCall {
    RpcCall {
        method: "eth_getLogs",
        params,
    }
}

fn get_logs_at(address: Address, block_hash: H256) -> RpcCall {
    get_logs(json!([{"address": address_json(address), "blockHash": hash_json(block_hash)}]))
}

/// Sorts by (block, log index); the same identity twice, or two hashes at one height, spoil the answer.
fn in_chain_order(mut logs: Vec<Log>) -> Result<Vec<Log>, RpcError> {
    logs.sort_by_key(|log| (log.block_number, log.log_index));
    for pair in logs.windows(2) {
        let (log, next) = (&pair[0], &pair[1]);
        if log.block_number != next.block_number {
            continue;
        }
        if log.block_hash != next.block_hash {
            return Err(RpcError::behind(format!(
                "logs of two blocks of number {}",
                log.block_number
            )));
        }
        if log.log_index == next.log_index {
            return Err(RpcError::invalid_answer(format!(
                "log {} of block {} came twice",
                log.log_index, log.block_number
            )));
        }
    }
    Ok(logs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_range_shrinks_to_the_named_limit_or_by_half_and_grows_again() {
        let range = LogRange::default();
        assert_eq!(range.blocks(), 500);
        assert!(range.shrink_after(500, LogRangeLimit { blocks: None }));
        assert_eq!(range.blocks(), 250);
        range.grow_after(250);
        assert_eq!(range.blocks(), 500);
        range.grow_after(3);
        assert_eq!(
            range.blocks(),
            500,
            "a short range proves nothing of a longer one"
        );
        assert!(range.shrink_after(500, LogRangeLimit { blocks: Some(100) }));
        range.grow_after(100);
        assert_eq!(range.blocks(), 100, "beyond a named limit it never grows");
        assert!(!range.shrink_after(1, LogRangeLimit { blocks: Some(1) }));
        // A limit that is not below what was refused is no help.
        assert!(range.shrink_after(
            100,
            LogRangeLimit {
                blocks: Some(2_000)
            }
        ));
        assert_eq!(range.blocks(), 50);
    }

    proptest! {
        #[test]
        fn a_range_always_ends_up_below_what_an_endpoint_allows(allowed in 1u64..20_000, asks in 1usize..60) {
            let (range, limit) = (LogRange::default(), LogRangeLimit { blocks: None });
            for _ in 0..asks {
                let blocks = range.blocks();
                prop_assert!((1..=RANGE_BLOCKS_MAX).contains(&blocks));
                match blocks <= allowed {
                    true => range.grow_after(blocks),
                    false => prop_assert!(range.shrink_after(blocks, limit)),
                }
            }
            while range.blocks() > allowed {
                prop_assert!(range.shrink_after(range.blocks(), limit));
            }
        }
    }
}
