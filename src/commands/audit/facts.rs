//! What the verdict on a round's end needs beside the logs, and no more: the header of its block, which mostly shows by
//! itself what the contract hashed; the header below, which mostly shows that the draw could not have come sooner; and the
//! receipt, which names who sent it. The ends of a range are asked for together.

use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::Arc;

use crate::actors::reader::{first_allowed, States};
use crate::chain::endpoints::Endpoints;
use crate::chain::error::RpcError;
use crate::chain::logs::other_block;
use crate::chain::method::Method;
use crate::chain::node::Endpoint;
use crate::chain::query;
use crate::chain::types::{Address, BlockId, Header, Opcodes, Receipt, H256};
use crate::lottery::audit::Sender;
use crate::lottery::event::{EventRecord, LogPosition, LotteryEvent};
use crate::lottery::history::{FinishFacts, LoggedEvent};
use crate::lottery::proof::{header_tells, DrawBlock, HeaderValues};
use crate::lottery::rules::Ruled;

/// So many ends are asked for at once: their answers are in memory together.
const ENDS_AT_ONCE: usize = 16;

/// What is asked for each end.
pub(super) const ENDS: &[Method] = &[Method::BlockByNumber, Method::TransactionReceipt];

/// An event, the digest of its log, and what the contract's rules say of it.
pub(super) struct Dated {
    pub record: Arc<EventRecord>,
    pub digest: H256,
    pub ruled: Ruled,
}

/// An event with all that was asked beside it: who sent its transaction, for ends of rounds alone, and what is wrong with
/// it, its receipt or its header, and with which round that is.
pub(super) struct Read {
    pub event: LoggedEvent,
    pub digest: H256,
    pub sender: Option<Sender>,
    pub problems: Vec<(Option<u64>, String)>,
}

/// Adds what the ends of rounds need. The very first draw's block is asked what calls see in it, as is each block whose
/// header does not explain the seed.
///
/// # Errors
/// When no endpoint gives the headers and the receipts.
pub(super) fn add_facts(
    (endpoints, contract): (&Endpoints, Address),
    dated: &[Dated],
    is_first: bool,
    states: States,
) -> Result<Vec<Read>, RpcError> {
    let ends: Vec<&Dated> = dated.iter().filter(|it| is_end(it)).collect();
    let mut known = BTreeMap::new();
    for (index, some) in ends.chunks(ENDS_AT_ONCE).enumerate() {
        let facts = endpoints.with_endpoint(ENDS, |endpoint| {
            let with_opcodes = is_first && index == 0;
            facts_of((endpoint, contract), some, with_opcodes, states)
        })?;
        let orders = some.iter().map(|end| end.record.position.order());
        known.extend(orders.zip(facts));
    }
    let read = dated.iter().map(|it| {
        let Dated {
            record,
            digest,
            ruled,
        } = it;
        let facts = known.remove(&record.position.order());
        let (finish, sender, of_end) = match facts {
            Some(facts) => (Some(facts.finish), facts.sender, facts.problems),
            None => (None, None, Vec::new()),
        };
        let round_id = record.event.ended_round();
        let of_end = of_end.into_iter().map(|problem| (round_id, problem));
        let problems = ruled.broken.iter().cloned().chain(of_end).collect();
        let event = LoggedEvent {
            record: record.clone(),
            finish: finish.map(Box::new),
        };
        Read {
            event,
            digest: *digest,
            sender,
            problems,
        }
    });
    Ok(read.collect())
}

struct Facts {
    finish: FinishFacts,
    sender: Option<Sender>,
    problems: Vec<String>,
}

fn is_end(dated: &Dated) -> bool {
    dated.record.event.ended_round().is_some()
}

fn is_draw(end: &Dated) -> bool {
    matches!(end.record.event, LotteryEvent::RoundCompleted { .. })
}

fn facts_of(
    (endpoint, contract): (&Endpoint, Address),
    ends: &[&Dated],
    with_opcodes: bool,
    states: States,
) -> Result<Vec<Facts>, RpcError> {
    let (mut headers, receipts) = headers_and_receipts(endpoint, ends)?;
    let mut lies = contradicted(endpoint, ends, &mut headers, &receipts)?;
    let opcodes = opcodes(endpoint, ends, &headers, (with_opcodes, states))?;
    let facts = ends.iter().map(|end| {
        let position = &end.record.position;
        let header = header_of(&headers, position)?;
        let receipt = receipts.get(&position.transaction_hash);
        let (sender, mut problems) = check_receipt(receipt, position, contract);
        problems.extend(lies.remove(&position.block_number));
        if header.timestamp != position.block_timestamp {
            problems.push(format!(
                "the header of its block says {}, the contract saw {}",
                header.timestamp, position.block_timestamp
            ));
        }
        let below = position.block_number.checked_sub(1);
        let below = below.and_then(|number| headers.get(&number));
        let draw_times = end.ruled.times.filter(|_| is_draw(end));
        let first_allowed = match draw_times.zip(below) {
            Some((times, below)) => {
                states.unless_passing(earliest(endpoint, header, below, times.min_draw_time))?
            }
            None => None,
        };
        Ok(Facts {
            finish: FinishFacts {
                block: DrawBlock {
                    opcodes: opcodes.get(&position.block_number).copied(),
                    header: Some(header.into()),
                },
                times: end.ruled.times,
                first_allowed,
                held_up_by: None,
            },
            sender,
            problems,
        })
    });
    facts.collect()
}

type Receipts = BTreeMap<H256, Receipt>;

/// The headers of the blocks of `ends` and of those below draws, by number; and the receipts, by transaction.
fn headers_and_receipts(
    endpoint: &Endpoint,
    ends: &[&Dated],
) -> Result<(BTreeMap<u64, Header>, Receipts), RpcError> {
    let mut together = endpoint.together();
    let (mut headers, mut receipts) = (BTreeMap::new(), BTreeMap::new());
    for end in ends {
        let LogPosition {
            block_number,
            transaction_hash,
            ..
        } = end.record.position;
        let below = block_number.checked_sub(1);
        let below = below.filter(|_| is_draw(end) && end.ruled.times.is_some());
        for number in below.into_iter().chain([block_number]) {
            headers
                .entry(number)
                .or_insert_with(|| together.add(query::header(BlockId::Number(number))));
        }
        receipts
            .entry(transaction_hash)
            .or_insert_with(|| together.add(query::receipt(transaction_hash)));
    }
    let mut answers = together.send()?;
    let mut found = BTreeMap::new();
    for (number, ticket) in headers {
        match answers.take(ticket) {
            Ok(header) => drop(found.insert(number, header)),
            Err(error) if error.is_passing() => return Err(error),
            // A number without a block, or a node that shows old blocks by hash alone.
            Err(_) => {}
        }
    }
    for end in ends {
        let position = &end.record.position;
        if let Entry::Vacant(missing) = found.entry(position.block_number) {
            missing.insert(endpoint.header(BlockId::Hash(position.block_hash))?);
        }
    }
    let mut mined = BTreeMap::new();
    for (hash, ticket) in receipts {
        let receipt = match answers.take(ticket)? {
            // Another node behind the same address may know it.
            None => endpoint.receipt(hash)?,
            found => found,
        };
        mined.extend(receipt.map(|receipt| (hash, receipt)));
    }
    Ok((found, mined))
}

/// What the node shows for a block's number, where that is another block than log and receipt say: no reorg, which would
/// have moved the transaction. In `headers` their block takes its place. By the block's number, in words.
fn contradicted(
    endpoint: &Endpoint,
    ends: &[&Dated],
    headers: &mut BTreeMap<u64, Header>,
    receipts: &Receipts,
) -> Result<BTreeMap<u64, String>, RpcError> {
    let mut lies = BTreeMap::new();
    for end in ends {
        let LogPosition {
            block_number: number,
            block_hash: hash,
            transaction_hash,
            ..
        } = end.record.position;
        let shown = headers.get(&number).map(|header| header.hash);
        let receipt = receipts.get(&transaction_hash);
        let is_agreed = receipt.is_some_and(|receipt| receipt.block_hash == hash);
        if let Some(shown) = shown.filter(|shown| *shown != hash && is_agreed) {
            headers.insert(number, endpoint.header(BlockId::Hash(hash))?);
            let words = format!(
                "its block {number} is {hash:#x} by log and receipt, and {shown:#x} by its number"
            );
            lies.insert(number, words);
        }
    }
    Ok(lies)
}

/// By block: what calls see in it, where that is asked and the state is in reach.
fn opcodes(
    endpoint: &Endpoint,
    ends: &[&Dated],
    headers: &BTreeMap<u64, Header>,
    (with_first, states): (bool, States),
) -> Result<BTreeMap<u64, Opcodes>, RpcError> {
    let mut together = endpoint.together();
    let mut asked = BTreeMap::new();
    for (index, end) in ends.iter().filter(|end| is_draw(end)).enumerate() {
        let position = &end.record.position;
        let header = header_of(headers, position)?;
        let values = HeaderValues::from(header);
        let tells = header_tells(&end.record.event, position.block_timestamp, &values);
        if !tells || with_first && index == 0 {
            asked
                .entry(position.block_number)
                .or_insert_with(|| together.add(query::block_opcodes(BlockId::from(header))));
        }
    }
    let mut answers = together.send();
    let mut told = BTreeMap::new();
    for (number, ticket) in asked {
        let answer = match &mut answers {
            Ok(answers) => answers.take(ticket),
            Err(error) => Err(error.clone()),
        };
        told.extend(
            states
                .unless_passing(answer)?
                .map(|opcodes| (number, opcodes)),
        );
    }
    Ok(told)
}

fn header_of<'a>(
    headers: &'a BTreeMap<u64, Header>,
    position: &LogPosition,
) -> Result<&'a Header, RpcError> {
    match headers.get(&position.block_number) {
        Some(header) if header.hash == position.block_hash => Ok(header),
        Some(header) => Err(other_block(position.block_hash, header)),
        None => Err(RpcError::behind("the block of a log has no header")),
    }
}

/// Number and time of the first block that allowed the draw in `header`'s block; `below` is the one before that.
///
/// # Errors
/// As `first_allowed`.
fn earliest(
    endpoint: &Endpoint,
    header: &Header,
    below: &Header,
    min_draw_time: u64,
) -> Result<(u64, u64), RpcError> {
    match below.timestamp < min_draw_time {
        true => Ok((header.number, header.timestamp)),
        false => first_allowed(endpoint, below, min_draw_time),
    }
}

/// Who sent the transaction that ended the round, and what is wrong with its receipt.
fn check_receipt(
    receipt: Option<&Receipt>,
    position: &LogPosition,
    contract: Address,
) -> (Option<Sender>, Vec<String>) {
    let problem = match receipt {
        None => "the transaction that ended it has no receipt",
        Some(receipt) if !receipt.succeeded => "the receipt says that what ended it failed",
        Some(receipt) if receipt.block_hash != position.block_hash => {
            "the receipt names another block than the log"
        }
        Some(receipt) => {
            let sender = receipt.from.map(|account| Sender {
                account,
                is_caller: receipt.to.is_none_or(|to| to == contract),
            });
            return (sender, Vec::new());
        }
    };
    (None, vec![problem.to_owned()])
}
