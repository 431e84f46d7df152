//! eth_getLogs so that its answer can be believed. An empty list proves nothing by itself, so each question goes out in
//! one batch with another that shows the endpoint to have the block; a range is linked to its neighbours by the headers
//! at its ends, and is as long as the endpoint lets it be.

use std::collections::HashMap;
use std::sync::PoisonError;

use serde_json::{json, Value};

use crate::chain::block_hashes::may_mean_no_hashes;
use crate::chain::encode;
use crate::chain::error::{ErrorKind, RpcError};
use crate::chain::jsonrpc::BATCH_MAX;
use crate::chain::log_range::LogRange;
use crate::chain::method::Method;
use crate::chain::node::{twice_if_behind, Endpoint};
use crate::chain::parse;
use crate::chain::query::{self, Query};
use crate::chain::types::{Address, BlockId, CallRequest, Header, Log, H256};

/// So many blocks can be asked by hash beside the call that goes with them.
pub(crate) const HASHES_MAX: usize = BATCH_MAX - 1;

/// So many blocks that a reorg took back while they were read are followed all the same.
const GONE_BLOCKS_MAX: u32 = 2;
/// So many numbers without blocks are passed over at the end of a range.
const HOLES_MAX: usize = 8;

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
    pub(crate) fn log_range_blocks(&self) -> u64 {
        self.with_log_range(|range| range.blocks())
    }

    fn with_log_range<T>(&self, change: impl FnOnce(&mut LogRange) -> T) -> T {
        let range = self.shared.log_range.lock();
        change(&mut range.unwrap_or_else(PoisonError::into_inner))
    }

    /// The address's logs in blocks `from` to `to`, both included, or in as many of them as the endpoint answers for at
    /// once: the lowest of them when `upward`, else the highest. Whatever goes wrong with a range of several blocks
    /// halves it. An empty answer is asked for twice.
    ///
    /// # Errors
    /// Any kind: of a range of one block, or one that a shorter range would not cure at once.
    pub fn log_chunk(
        &self,
        address: Address,
        ends: (u64, u64),
        upward: bool,
    ) -> Result<LogChunk, RpcError> {
        let range = |from, to| {
            let chunk = self.range_once(address, from, to)?;
            if !chunk.logs.is_empty() {
                return Ok(chunk);
            }
            let again = self.range_once(address, from, to)?;
            match again.last.hash == chunk.last.hash {
                true => Ok(again),
                false => Err(RpcError::behind("the chain moved while its logs were read")),
            }
        };
        self.longest(ends, upward, range)
    }

    /// The same, for who asks for what is empty once more by itself, or elsewhere.
    ///
    /// # Errors
    /// As `log_chunk`.
    pub(crate) fn log_chunk_once(
        &self,
        address: Address,
        ends: (u64, u64),
        upward: bool,
    ) -> Result<LogChunk, RpcError> {
        self.longest(ends, upward, |from, to| self.range_once(address, from, to))
    }

    fn longest(
        &self,
        (from, to): (u64, u64),
        upward: bool,
        read: impl Fn(u64, u64) -> Result<LogChunk, RpcError>,
    ) -> Result<LogChunk, RpcError> {
        loop {
            let blocks = self
                .log_range_blocks()
                .min(to.saturating_sub(from).saturating_add(1));
            let (first, last) = match upward {
                true => (from, from.saturating_add(blocks - 1)),
                false => (to.saturating_sub(blocks - 1), to),
            };
            match twice_if_behind(|| read(first, last)) {
                Ok(chunk) => {
                    self.with_log_range(|range| range.grow_after(blocks));
                    return Ok(chunk);
                }
                Err(error) => {
                    let named = error.log_range_hint_blocks();
                    let is_shorter = self.with_log_range(|range| range.shrink_after(blocks, named));
                    // The next question has a shorter range; to ask it now would only wait for the same silence again.
                    let is_vain = error.is_silent_or_limited() || error.kind == ErrorKind::Behind;
                    if !is_shorter || is_vain || self.shows_no_blocks() {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn range_once(&self, address: Address, from: u64, to: u64) -> Result<LogChunk, RpcError> {
        let filter = json!({
            "address": encode::address(address), "fromBlock": encode::number(from), "toBlock": encode::number(to),
        });
        let mut together = self.together();
        let logs = together.add(get_logs(filter, address));
        let first = together.add(query::header(BlockId::Number(from)));
        let last = together.add(query::header(BlockId::Number(to)));
        let mut answers = together.send()?;
        let logs = in_chain_order(answers.take(logs)?)?;
        let end =
            |found: Result<Header, RpcError>, inward: &mut dyn Iterator<Item = u64>| match found {
                Err(error) if !error.is_passing() => self.header_beside_hole(error, inward),
                found => found,
            };
        let first = end(answers.take(first), &mut (from + 1..=to))?;
        let last = end(answers.take(last), &mut (from..to).rev())?;
        let chunk = LogChunk { first, last, logs };
        for log in &chunk.logs {
            let end = [&chunk.first, &chunk.last]
                .into_iter()
                .find(|header| header.number == log.block_number);
            if let Some(header) = end.filter(|header| header.hash != log.block_hash) {
                return Err(other_block(log.block_hash, header));
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

    /// Where a number has no block, the range ends with the next one that has. `refusal` is what the number itself got.
    fn header_beside_hole(
        &self,
        refusal: RpcError,
        inward: &mut dyn Iterator<Item = u64>,
    ) -> Result<Header, RpcError> {
        for number in inward.take(HOLES_MAX) {
            match self.ask(&query::header(BlockId::Number(number))) {
                Err(error) if error.is_passing() => return Err(error),
                Err(_) => {}
                found => return found,
            }
        }
        Err(refusal)
    }

    /// The headers from the lowest at or above `lowest` up to `head`, rising, each the parent of the next. They are asked
    /// for by number, together; where that leaves a link out (a number without a block, a chain that moves) the parent is
    /// asked for by its hash.
    ///
    /// # Errors
    /// When a parent is not to be had, or the chain has moved by more than a few blocks.
    pub(crate) fn ancestry(&self, head: &Header, lowest: u64) -> Result<Vec<Header>, RpcError> {
        let mut together = self.together();
        let tickets: Vec<_> = (lowest..head.number)
            .map(|number| together.add(query::header(BlockId::Number(number))))
            .collect();
        let mut answers = together.send()?;
        let mut known = HashMap::new();
        for ticket in tickets {
            match answers.take(ticket) {
                Ok(header) => drop(known.insert(header.hash, header)),
                Err(error) if error.is_passing() => return Err(error),
                // A number without a block, or a node that shows old blocks by hash alone.
                Err(_) => {}
            }
        }
        let mut headers = vec![head.clone()];
        let mut newest = head.clone();
        let mut gone = 0;
        while newest.number > lowest {
            let parent: Header = match known.remove(&newest.parent_hash) {
                Some(parent) => parent,
                None => {
                    // The chain has another block there by now: step by step this one only leads along what is gone.
                    let is_gone = known.values().any(|it| it.number + 1 == newest.number);
                    gone += u32::from(is_gone);
                    if gone > GONE_BLOCKS_MAX {
                        return Err(RpcError::behind("the chain moved while it was read"));
                    }
                    self.header(BlockId::Hash(newest.parent_hash))?
                }
            };
            if parent.number >= newest.number {
                return Err(RpcError::invalid_answer(
                    "a parent that is not below its child",
                ));
            }
            // The numbers between have no block.
            if parent.number < lowest {
                break;
            }
            headers.push(parent.clone());
            newest = parent;
        }
        headers.reverse();
        Ok(headers)
    }

    /// The address's logs of these blocks (at most `HASHES_MAX`), in chain order, and the answer of a call at `block`, in
    /// one batch: that the call is answered shows that the endpoint has the block.
    pub(crate) fn logs_and_call(
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
        let mut together = self.together();
        let tickets: Vec<_> = headers
            .iter()
            .map(|header| together.add(get_logs_at(address, header.hash)))
            .collect();
        let called = together.add(query::call(request, block, None));
        let mut answers = together.send()?;
        let answer = match answers.take(called) {
            // The endpoint may refuse hashes of blocks: asked alone, that is found out.
            Err(error) if may_mean_no_hashes(&error) => self.call(request, block, None)?,
            answer => answer?,
        };
        let mut logs = Vec::new();
        for (ticket, header) in tickets.into_iter().zip(headers) {
            let of_block = match answers.take(ticket) {
                // Some take no hash for logs either.
                Err(error) if may_mean_no_hashes(&error) => {
                    self.range_once(address, header.number, header.number)?.logs
                }
                found => found?,
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
}

/// A log lies in `block`, where `header` is what that block's number shows.
pub(crate) fn other_block(block: H256, header: &Header) -> RpcError {
    RpcError::behind(format!(
        "a log lies in block {block:#x}, and block {} is {:#x}",
        header.number, header.hash
    ))
}

fn get_logs(filter: Value, address: Address) -> Query<Vec<Log>> {
    Query::new(Method::GetLogs, json!([filter]), move |answer| {
        parse::logs(answer, address)
    })
}

fn get_logs_at(address: Address, block_hash: H256) -> Query<Vec<Log>> {
    let filter =
        json!({"address": encode::address(address), "blockHash": encode::hash(block_hash)});
    get_logs(filter, address)
}

/// Sorts by (block, transaction, log index). A log that came twice is one; two that share an identity, or two hashes at
/// one height, spoil the answer.
fn in_chain_order(mut logs: Vec<Log>) -> Result<Vec<Log>, RpcError> {
    logs.sort_by_key(|log| (log.block_number, log.transaction_index, log.log_index));
    logs.dedup();
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
        // Some chains count the logs anew in each transaction.
        if (log.transaction_hash, log.log_index) == (next.transaction_hash, next.log_index) {
            return Err(RpcError::invalid_answer(format!(
                "two logs {} of block {}",
                log.log_index, log.block_number
            )));
        }
    }
    Ok(logs)
}

#[cfg(test)]
mod tests;
