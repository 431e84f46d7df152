//! How what an endpoint shows hangs together with what is known: the common ancestor of two branches, and what proves
//! that a lower head is another chain and not an endpoint that trails.
//!
//! Blocks are asked for by number in one batch. Where that fails (some chains have numbers without a block, some nodes
//! give old blocks only by hash) the walk goes from parent to parent.

use crate::actors::reader::debt::{linked_blocks_max, LINKED_BLOCKS_MAX};
use crate::actors::reader::{lagging, Question, Reader, Reading, Span};
use crate::chain::cursor::Cursor;
use crate::chain::error::RpcError;
use crate::chain::node::Endpoint;
use crate::chain::types::{BlockId, BlockRef, Header};
use crate::lottery::state::Rollback;

/// How many remembered blocks are compared in one batch when looking for a common ancestor.
const ANCESTOR_STEP: usize = 8;

impl Reader {
    /// The head is some blocks above the tip: on the same chain, if the tip is still there.
    pub(super) fn read_ahead(
        &self,
        endpoint: &Endpoint,
        question: &Question,
        tip: BlockRef,
        head: Header,
    ) -> Result<Reading, RpcError> {
        let mut span = Span::after(tip, head);
        let is_ours = if span.head.parent_hash == tip.hash {
            span.headers = vec![span.head.clone()];
            true
        } else if span.len() <= linked_blocks_max(endpoint) {
            let headers = endpoint.ancestry(&span.head, tip.number + 1)?;
            let parent_hash = headers.first().map(|first| first.parent_hash);
            span.headers = headers;
            parent_hash == Some(tip.hash)
        } else {
            match endpoint.header(BlockId::Number(tip.number)) {
                Ok(header) => header.hash == tip.hash,
                Err(error) if error.is_passing() => return Err(error),
                // That the block exists is no proof that it is still on the chain; the logs of what came after it are
                // linked to it one by one, and will tell.
                Err(error) => match endpoint.header(BlockId::Hash(tip.hash)) {
                    Ok(_) => true,
                    Err(_) => return Err(error),
                },
            }
        };
        match is_ours {
            true => self.read_after(endpoint, question, span),
            false => self.read_fork(endpoint, question, span.head),
        }
    }

    /// The head is lower than all that is remembered: an endpoint far behind, unless something proves another chain.
    pub(super) fn read_below(
        &self,
        endpoint: &Endpoint,
        question: &Question,
        head: Header,
    ) -> Result<Reading, RpcError> {
        let cursor = &question.cursor;
        // On one chain a lower block is never younger: this is what a development node that was started anew shows.
        if cursor
            .tip()
            .is_some_and(|tip| head.timestamp > tip.timestamp)
        {
            return self.read_first(endpoint, head, Some(Rollback::Everything));
        }
        let Some((number, hash)) = cursor.anchor_below(head.number) else {
            return Ok(lagging(&head));
        };
        if endpoint.with_health(|health| health.is_proven(head.hash, hash)) {
            return Ok(lagging(&head));
        }
        match endpoint.header(BlockId::Number(number)) {
            Ok(header) if header.hash != hash => {
                self.read_first(endpoint, head, Some(Rollback::Everything))
            }
            Ok(_) => {
                endpoint.with_health(|health| health.note_proven(head.hash, hash));
                Ok(lagging(&head))
            }
            Err(error) if error.is_passing() => Err(error),
            Err(_) => Ok(lagging(&head)),
        }
    }

    /// Whether the endpoint stands below that head by now, or beside it. Read alone, what it had shown before would be all that
    /// is remembered, and on a chain that makes no block for long there would be nothing to tell the one from an endpoint
    /// that trails.
    pub(super) fn has_left(endpoint: &Endpoint, head: &Header) -> bool {
        let now = endpoint.head();
        now.is_ok_and(|now| now.hash != head.hash && now.number <= head.number)
    }

    /// Looks for the newest remembered block that the endpoint's chain has too.
    pub(super) fn read_fork(
        &self,
        endpoint: &Endpoint,
        question: &Question,
        head: Header,
    ) -> Result<Reading, RpcError> {
        let known: Vec<BlockRef> = question.cursor.newest_from(head.number).copied().collect();
        let (near, far) = known.split_at(known.len().min(ANCESTOR_STEP));
        let numbers: Vec<u64> = near.iter().map(|block| block.number).collect();
        let ancestor = match endpoint.headers(&numbers) {
            Ok(theirs) => {
                let mut pairs = near.iter().zip(&theirs);
                let shared = pairs.find(|(block, header)| block.hash == header.hash);
                match shared {
                    Some((block, _)) => Some(*block),
                    None => newest_shared(endpoint, far)?,
                }
            }
            Err(error) if error.is_passing() => return Err(error),
            Err(_) => ancestor_by_parent(endpoint, &question.cursor, &head)?,
        };
        let Some(ancestor) = ancestor else {
            return self.read_first(endpoint, head, Some(Rollback::Everything));
        };
        let tip = question.cursor.tip();
        let is_tip = tip.map(|tip| tip.hash) == Some(ancestor.hash);
        let is_newest = known.first().map(|block| block.hash) == Some(ancestor.hash);
        let is_younger = tip.is_some_and(|tip| head.timestamp > tip.timestamp);
        if is_newest && !is_tip && !is_younger {
            // Nothing that is remembered differs: the head is one that was passed over, and the endpoint lags.
            return Ok(lagging(&head));
        }
        let mut span = Span::after(ancestor, head);
        span.rollback = (!is_tip).then_some(Rollback::To(ancestor.number));
        self.read_after(endpoint, question, span)
    }
}

/// The newest remembered block among the ancestors of `head`, as far as they are walked.
fn ancestor_by_parent(
    endpoint: &Endpoint,
    cursor: &Cursor,
    head: &Header,
) -> Result<Option<BlockRef>, RpcError> {
    let mut block = head.clone();
    for _ in 0..LINKED_BLOCKS_MAX {
        let remembered = cursor
            .newest_from(block.number)
            .find(|known| known.hash == block.parent_hash);
        if let Some(ancestor) = remembered {
            return Ok(Some(*ancestor));
        }
        block = parent_of(endpoint, &block)?;
    }
    Ok(None)
}

fn parent_of(endpoint: &Endpoint, block: &Header) -> Result<Header, RpcError> {
    let parent = endpoint.header(BlockId::Hash(block.parent_hash))?;
    match parent.number < block.number {
        true => Ok(parent),
        false => Err(RpcError::invalid_answer(format!(
            "block {} has block {} as its parent",
            block.number, parent.number
        ))),
    }
}

/// Of blocks that fall from newest to oldest, the first that the endpoint has too: below it all are shared.
fn newest_shared(endpoint: &Endpoint, blocks: &[BlockRef]) -> Result<Option<BlockRef>, RpcError> {
    let (mut from, mut to) = (0, blocks.len());
    while from < to {
        let middle = (from + to) / 2;
        let block = &blocks[middle];
        let is_shared = match endpoint.header(BlockId::Number(block.number)) {
            Ok(header) => header.hash == block.hash,
            Err(error) if error.is_passing() => return Err(error),
            Err(_) => false,
        };
        match is_shared {
            true => to = middle,
            false => from = middle + 1,
        }
    }
    Ok(blocks.get(from).copied())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::Arc;

    use serde_json::{json, Value};

    use super::*;
    use crate::base::clock::Clock;
    use crate::base::metrics::Metrics;
    use crate::chain::encode::encode_hex;
    use crate::chain::error::ErrorKind;
    use crate::chain::script::Script;
    use crate::chain::types::{Address, H256};
    use crate::lottery::abi::tests::words;

    fn hash(number: u64) -> H256 {
        H256::from_low_u64_be(number + 1)
    }

    /// A node that stands at block 5.
    fn standing(_: &str, params: &Value) -> Result<Value, Value> {
        let number = match params[0].as_str() {
            Some("latest") => 5,
            _ => 0,
        };
        let parent = number.max(1) - 1;
        Ok(header(number, [hash(number), hash(parent)], 100 + number))
    }

    fn header(number: u64, [own, parent]: [H256; 2], timestamp: u64) -> Value {
        json!({
            "number": format!("{number:#x}"), "hash": own, "parentHash": parent,
            "timestamp": format!("{timestamp:#x}"),
        })
    }

    #[test]
    fn a_low_head_is_asked_once_whether_it_is_of_our_chain() {
        let mut cursor = Cursor::default();
        cursor.push_anchor(0, hash(0));
        for number in 20..30 {
            cursor.push(BlockRef {
                number,
                hash: hash(number),
                parent_hash: hash(number - 1),
                timestamp: 100 + number,
            });
        }
        let question = Question {
            cursor: Arc::new(cursor),
            ..Question::default()
        };
        let node = Arc::new(Script::of_calls("http://a", standing));
        let clock = Clock::manual(5_000_000);
        let endpoint = Endpoint::over(node.clone(), clock, Metrics::default());
        let reader = Reader::new(Address::zero(), 31_337);
        let look = || {
            let before = node.asked().len();
            let reading = reader.read(&endpoint, &question).unwrap();
            assert!(matches!(reading, Reading::Lagging { number: 5, .. }));
            node.asked().len() - before
        };
        assert_eq!((look(), look(), look()), (2, 1, 1));
    }

    /// `getRound()` of round 7 with that in its pot.
    fn round(pot_wei: u64) -> Value {
        json!(encode_hex(&words(&[7, 0, 0, 0, 0, pot_wei, 2, 0, 0, 0, 1])))
    }

    fn read(
        question: &Question,
        respond: impl Fn(&str, &Value) -> Result<Value, Value> + Send + Sync + 'static,
    ) -> Result<Reading, RpcError> {
        let node = Arc::new(Script::of_calls("http://a", respond));
        let endpoint = Endpoint::over(node, Clock::manual(5_000_000), Metrics::default());
        Reader::new(Address::zero(), 31_337).read(&endpoint, question)
    }

    #[test]
    fn a_first_head_that_a_lower_one_has_replaced_before_it_was_linked_is_none() {
        let (was_shown, head) = (AtomicBool::new(false), 9);
        let first = read(&Question::default(), move |method, params| {
            match method {
                "eth_call" => return Ok(round(10)),
                // What a node kept of the branch that is gone, it does not show.
                "eth_getBlockByHash" => return Ok(Value::Null),
                _ => {}
            }
            let is_latest = params[0] == "latest";
            if is_latest && !was_shown.swap(true, Ordering::Relaxed) {
                let hashes = [hash(90 + head), hash(90 + head - 1)];
                return Ok(header(head, hashes, 100 + head));
            }
            match params[0].as_str() {
                Some("0x6" | "0x7" | "0x8") => Ok(Value::Null),
                _ => standing(method, params),
            }
        });
        assert_eq!(first.unwrap_err().kind, ErrorKind::Behind);
    }

    #[test]
    fn after_a_reorg_logs_that_are_left_out_are_missed_since_the_round_stood_elsewhere() {
        let mut cursor = Cursor::default();
        for (number, of) in [(3, 3), (4, 4), (5, 95)] {
            cursor.push(BlockRef {
                number,
                hash: hash(of),
                parent_hash: hash(number - 1),
                timestamp: 100 + number,
            });
        }
        let question = Question {
            cursor: Arc::new(cursor),
            ..Question::default()
        };
        for (pot_before, is_owed) in [(10, true), (30, false)] {
            let reading = read(&question, move |method, params| match method {
                "eth_getLogs" => Ok(json!([])),
                "eth_call" if params[1]["blockHash"] == json!(hash(4)) => Ok(round(pot_before)),
                "eth_call" => Ok(round(30)),
                _ => match params[0].as_str() {
                    Some("0x3" | "0x4") => {
                        let number = u64::from(params[0] == "0x4") + 3;
                        Ok(header(number, [hash(number), hash(number - 1)], 103))
                    }
                    _ => standing(method, &json!(["latest"])),
                },
            });
            let Reading::Advanced(advanced) = reading.unwrap() else {
                panic!("a reorg is an advance");
            };
            assert_eq!(advanced.rollback, Some(Rollback::To(4)));
            assert_eq!(advanced.owed.is_some(), is_owed, "{:?}", advanced.owed);
        }
    }
}
