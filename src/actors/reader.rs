//! Reads the chain for the poller: what one endpoint shows beyond the cursor, checked and bound to one block. It
//! changes nothing; its only memory is what it has learned of the chain's blooms.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use crate::chain::cursor::{Cursor, Relation};
use crate::chain::error::RpcError;
use crate::chain::logs::HASHES_MAX;
use crate::chain::node::{CallRequest, Endpoint};
use crate::chain::types::BlockRef;
use crate::chain::types::{Address, BlockId, BloomInput, Header, Log, H256, U256};
use crate::lottery::continuity::{follow, Stand};
use crate::lottery::contract;
use crate::lottery::history::LoggedEvent;
use crate::lottery::round::{ContractConfig, Round};
use crate::lottery::state::Rollback;

mod events;

pub use events::states_kept_at;

/// Up to this many missed blocks are linked header by header and read at once; the logs of more are replayed.
pub const LINKED_BLOCKS_MAX: u64 = 64;
/// So many headers before the first head make the chain's rhythm and small reorgs known from the start.
const HEADERS_AT_START: u64 = 32;
/// How many remembered blocks are compared in one batch when looking for a common ancestor.
const ANCESTOR_STEP: usize = 8;

/// What is asked of a reading.
#[derive(Clone, Debug, Default)]
pub struct Question {
    pub cursor: Arc<Cursor>,
    /// The head, where it has been announced; else it is asked for.
    pub announced: Option<Header>,
    /// Round and configuration, whether or not anything was logged.
    pub refresh: bool,
    /// The players, read from the contract itself.
    pub participants: bool,
    /// Where the round stood at the cursor's tip, if that is certain.
    pub stand: Option<Stand>,
    /// Logs are being replayed: the reading brings the live state alone.
    pub replaying: bool,
    /// Logs above this block are read anew, whatever the blooms say.
    pub reread_above: Option<u64>,
}

#[derive(Debug)]
pub enum Reading {
    Unchanged,
    /// The endpoint shows an older block of the chain that we know.
    Lagging {
        number: u64,
        timestamp: u64,
    },
    Advanced(Box<Advanced>),
}

/// Everything read at one head.
#[derive(Debug)]
pub struct Advanced {
    pub is_first: bool,
    pub rollback: Option<Rollback>,
    pub head: Header,
    /// A block far below the first one read, by which later doubts are settled.
    pub anchor: Option<(u64, H256)>,
    /// New blocks for the cursor, rising; the head is the last. Empty when the head had not moved.
    pub blocks: Vec<BlockRef>,
    /// The logs above this block are left to be replayed.
    pub replay_above: Option<BlockRef>,
    pub events: Vec<LoggedEvent>,
    pub round: Option<Round>,
    pub config: Option<ContractConfig>,
    pub participants: Option<Vec<(Address, U256)>>,
    /// The events do not lead from where the round stood to where it stands: some are missing.
    pub is_unexplained: bool,
    evidence: BloomEvidence,
}

/// What blocks with our logs say about the chain's blooms.
#[derive(Clone, Copy, Debug, Default)]
struct BloomEvidence {
    /// A bloom contained our contract.
    truthful: bool,
    /// A bloom did not.
    lying: bool,
}

#[derive(Debug)]
pub struct Reader {
    contract: Address,
    blooms_trusted: AtomicBool,
    blooms_lied: AtomicBool,
}

impl Reader {
    pub fn new(contract: Address) -> Reader {
        Reader {
            contract,
            blooms_trusted: AtomicBool::new(false),
            blooms_lied: AtomicBool::new(false),
        }
    }

    pub fn contract(&self) -> Address {
        self.contract
    }

    /// Keeps what a reading showed of the blooms.
    pub fn learn(&self, advanced: &Advanced) {
        self.learn_of(advanced.evidence);
    }

    /// Keeps what the bloom of a block that holds our logs shows.
    pub fn learn_from(&self, header: &Header) {
        let truthful = self.bloom_contains_us(header);
        self.learn_of(BloomEvidence {
            truthful,
            lying: !truthful,
        });
    }

    /// True once a bloom has proven itself, and none has lied.
    pub fn trusts_blooms(&self) -> bool {
        self.blooms_trusted.load(Ordering::Relaxed) && !self.blooms_lied.load(Ordering::Relaxed)
    }

    /// One caught lying is the end of trust for good.
    fn learn_of(&self, evidence: BloomEvidence) {
        if evidence.truthful {
            self.blooms_trusted.store(true, Ordering::Relaxed);
        }
        if evidence.lying && !self.blooms_lied.swap(true, Ordering::Relaxed) {
            log::warn!("this chain's blooms leave out logs: they are not used any more");
        }
    }

    /// One consistent reading of what `endpoint` shows beyond the cursor.
    pub fn read(&self, endpoint: &Endpoint, question: &Question) -> Result<Reading, RpcError> {
        let head = match &question.announced {
            Some(head) => head.clone(),
            None => endpoint.head()?,
        };
        let cursor = &question.cursor;
        let Some(tip) = cursor.tip().copied() else {
            return self.read_first(endpoint, head, None);
        };
        match cursor.relation(&BlockRef::from(&head)) {
            Relation::First => self.read_first(endpoint, head, None),
            Relation::Behind => Ok(lagging(&head)),
            Relation::Below => self.read_below(endpoint, question, head),
            Relation::Fork => self.read_fork(endpoint, question, head),
            Relation::Unchanged | Relation::Next if question.reread_above.is_some() => {
                self.read_again(endpoint, question, head)
            }
            Relation::Unchanged if question.refresh || question.participants => {
                self.read_state(endpoint, question, self.nothing_new(head))
            }
            Relation::Unchanged => Ok(Reading::Unchanged),
            Relation::Next => self.read_after(endpoint, question, Span::after(tip, head)),
            Relation::Ahead => self.read_ahead(endpoint, question, tip, head),
        }
    }

    /// The head is some blocks above the tip: on the same chain, if the tip is still there.
    fn read_ahead(
        &self,
        endpoint: &Endpoint,
        question: &Question,
        tip: BlockRef,
        head: Header,
    ) -> Result<Reading, RpcError> {
        let mut span = Span::after(tip, head);
        let is_ours = if span.len() <= LINKED_BLOCKS_MAX {
            let headers = self.linked_headers(endpoint, tip.number + 1, &span.head)?;
            let parent_hash = headers.first().map(|first| first.parent_hash);
            span.headers = headers;
            parent_hash == Some(tip.hash)
        } else {
            endpoint.header(BlockId::Number(tip.number))?.hash == tip.hash
        };
        match (is_ours, question.reread_above) {
            (true, None) => self.read_after(endpoint, question, span),
            (true, Some(_)) => self.read_again(endpoint, question, span.head),
            (false, _) => self.read_fork(endpoint, question, span.head),
        }
    }

    /// The head is lower than all that is remembered: an endpoint far behind, unless an anchor proves another chain.
    fn read_below(
        &self,
        endpoint: &Endpoint,
        question: &Question,
        head: Header,
    ) -> Result<Reading, RpcError> {
        let Some((number, hash)) = question.cursor.anchor_below(head.number) else {
            return Ok(lagging(&head));
        };
        match endpoint.header(BlockId::Number(number))?.hash == hash {
            true => Ok(lagging(&head)),
            false => self.read_first(endpoint, head, Some(Rollback::Everything)),
        }
    }

    /// Reads the logs above a block of the cursor once more, with what has come since.
    fn read_again(
        &self,
        endpoint: &Endpoint,
        question: &Question,
        head: Header,
    ) -> Result<Reading, RpcError> {
        let base = question
            .reread_above
            .and_then(|above| question.cursor.at(above));
        match base {
            Some(base) => {
                let mut span = Span::after(*base, head);
                span.rollback = Some(Rollback::To(base.number));
                self.read_after(endpoint, question, span)
            }
            None => self.read_first(endpoint, head, Some(Rollback::Everything)),
        }
    }

    fn read_first(
        &self,
        endpoint: &Endpoint,
        head: Header,
        rollback: Option<Rollback>,
    ) -> Result<Reading, RpcError> {
        let lowest = head.number.saturating_sub(HEADERS_AT_START);
        let headers = self.linked_headers(endpoint, lowest, &head);
        // Older headers only make the rhythm known sooner.
        let headers = headers.unwrap_or_else(|_| vec![head.clone()]);
        let genesis = match lowest {
            0 => None,
            _ => endpoint.header(BlockId::Number(0)).ok(),
        };
        let calls = [
            CallRequest::to(self.contract, contract::get_round_calldata()),
            CallRequest::to(self.contract, contract::get_config_calldata()),
        ];
        let answers = endpoint.calls(&calls, exactly(&head))?;
        let [round, config] = &answers[..] else {
            return Err(RpcError::invalid_answer("two calls have two answers"));
        };
        Ok(Reading::Advanced(Box::new(Advanced {
            is_first: true,
            rollback,
            anchor: genesis.map(|header| (header.number, header.hash)),
            blocks: headers.iter().map(BlockRef::from).collect(),
            round: Some(contract::decode_round(round).map_err(invalid)?),
            config: Some(contract::decode_config(config).map_err(invalid)?),
            ..self.nothing_new(head)
        })))
    }

    /// Looks for the newest remembered block that the endpoint's chain has too.
    fn read_fork(
        &self,
        endpoint: &Endpoint,
        question: &Question,
        head: Header,
    ) -> Result<Reading, RpcError> {
        let known: Vec<BlockRef> = question.cursor.from_newest(head.number).copied().collect();
        let (near, far) = known.split_at(known.len().min(ANCESTOR_STEP));
        let numbers: Vec<u64> = near.iter().map(|block| block.number).collect();
        let theirs = endpoint.headers(&numbers)?;
        let shared = |(block, header): &(&BlockRef, &Header)| block.hash == header.hash;
        let mut ancestor = near
            .iter()
            .zip(&theirs)
            .find(shared)
            .map(|(block, _)| *block);
        if ancestor.is_none() {
            ancestor = self.newest_shared(endpoint, far)?;
        }
        let Some(ancestor) = ancestor else {
            return self.read_first(endpoint, head, Some(Rollback::Everything));
        };
        let tip = question.cursor.tip();
        let is_tip = tip.map(|tip| tip.hash) == Some(ancestor.hash);
        let is_newest = known.first().map(|block| block.hash) == Some(ancestor.hash);
        if is_newest && !is_tip {
            // Nothing that is remembered differs: the head is one that was passed over, and the endpoint lags.
            return Ok(lagging(&head));
        }
        let mut span = Span::after(ancestor, head);
        span.rollback = (!is_tip).then_some(Rollback::To(ancestor.number));
        self.read_after(endpoint, question, span)
    }

    /// Of blocks that fall from newest to oldest, the first that the endpoint has too: below it all are shared.
    fn newest_shared(
        &self,
        endpoint: &Endpoint,
        blocks: &[BlockRef],
    ) -> Result<Option<BlockRef>, RpcError> {
        let (mut from, mut to) = (0, blocks.len());
        while from < to {
            let middle = (from + to) / 2;
            let block = &blocks[middle];
            match endpoint.header(BlockId::Number(block.number))?.hash == block.hash {
                true => to = middle,
                false => from = middle + 1,
            }
        }
        Ok(blocks.get(from).copied())
    }

    fn read_after(
        &self,
        endpoint: &Endpoint,
        question: &Question,
        span: Span,
    ) -> Result<Reading, RpcError> {
        let replays = question.replaying || span.len() > LINKED_BLOCKS_MAX;
        let lowest =
            (span.base.number + 1).max(span.head.number.saturating_sub(LINKED_BLOCKS_MAX - 1));
        let headers = match span.headers.is_empty() {
            true => self.linked_headers(endpoint, lowest, &span.head)?,
            false => span.headers,
        };
        let first_parent = headers.first().map(|first| first.parent_hash);
        if lowest == span.base.number + 1 && first_parent.is_some_and(|hash| hash != span.base.hash)
        {
            return Err(RpcError::behind("the chain moved while it was read"));
        }
        let advanced = Advanced {
            rollback: span.rollback,
            blocks: headers.iter().map(BlockRef::from).collect(),
            replay_above: replays.then_some(span.base),
            ..self.nothing_new(span.head)
        };
        let advanced = match replays {
            true => Advanced {
                round: Some(self.round_at(endpoint, exactly(&advanced.head))?),
                ..advanced
            },
            false => self.with_events(endpoint, question, &span.base, &headers, advanced)?,
        };
        let config_changed = advanced
            .events
            .iter()
            .any(|event| event.record.event.changes_config());
        let question = Question {
            refresh: question.refresh || config_changed || advanced.rollback.is_some(),
            // Players are read at a head that the store has seen first; see the poller.
            participants: false,
            ..question.clone()
        };
        self.read_state(endpoint, &question, advanced)
    }

    /// Adds the events of `headers`, and the round that they lead to.
    fn with_events(
        &self,
        endpoint: &Endpoint,
        question: &Question,
        base: &BlockRef,
        headers: &[Header],
        mut advanced: Advanced,
    ) -> Result<Advanced, RpcError> {
        let rereading = question.reread_above.is_some();
        let touched: Vec<&Header> = headers
            .iter()
            .filter(|header| rereading || self.may_hold_our_logs(header))
            .collect();
        if touched.is_empty() && advanced.rollback.is_none() {
            return Ok(advanced);
        }
        let at_head = exactly(&advanced.head);
        let (logs, round) = if touched.len() <= HASHES_MAX {
            let request = CallRequest::to(self.contract, contract::get_round_calldata());
            let (logs, answer) =
                endpoint.logs_and_call(self.contract, &touched, &request, at_head)?;
            (logs, contract::decode_round(&answer).map_err(invalid)?)
        } else {
            let logs = self.logs_above(endpoint, base, &advanced.head)?;
            (logs, self.round_at(endpoint, at_head)?)
        };
        let by_number: HashMap<u64, &Header> = headers
            .iter()
            .map(|header| (header.number, header))
            .collect();
        for log in &logs {
            match by_number.get(&log.block_number) {
                Some(header) => check_hash(log, header)?,
                None => {
                    return Err(RpcError::invalid_answer(
                        "a log of a block that was not asked for",
                    ))
                }
            }
        }
        advanced.events = self.events(endpoint, logs, headers, states_kept_at(&advanced.head))?;
        // What stood at another ancestor is not known.
        let is_known = rereading || advanced.rollback.is_none();
        let start = question.stand.filter(|_| is_known);
        let end = follow(start, &advanced.events);
        advanced.is_unexplained = match end {
            Ok(end) => end.is_some_and(|end| end != Stand::from(&round)),
            Err(gap) => {
                log::debug!("{}: {gap}", endpoint.host());
                true
            }
        };
        for event in &advanced.events {
            if let Some(header) = by_number.get(&event.record.position.block_number) {
                let truthful = self.bloom_contains_us(header);
                advanced.evidence.truthful |= truthful;
                advanced.evidence.lying |= !truthful;
            }
        }
        advanced.round = Some(round);
        Ok(advanced)
    }

    /// Our contract's logs from `base` up to `head`, chunk linked to chunk.
    fn logs_above(
        &self,
        endpoint: &Endpoint,
        base: &BlockRef,
        head: &Header,
    ) -> Result<Vec<Log>, RpcError> {
        let (mut next, mut parent_hash) = (base.number + 1, base.hash);
        let mut logs = Vec::new();
        while next <= head.number {
            let mut chunk = endpoint.log_chunk(self.contract, (next, head.number), true)?;
            if chunk.first.parent_hash != parent_hash {
                return Err(RpcError::behind("the chain moved while its logs were read"));
            }
            logs.append(&mut chunk.logs);
            (next, parent_hash) = (chunk.last.number + 1, chunk.last.hash);
        }
        match parent_hash == head.hash {
            true => Ok(logs),
            false => Err(RpcError::behind("the chain moved while its logs were read")),
        }
    }

    fn read_state(
        &self,
        endpoint: &Endpoint,
        question: &Question,
        mut advanced: Advanced,
    ) -> Result<Reading, RpcError> {
        let block = exactly(&advanced.head);
        if question.refresh {
            if advanced.round.is_none() {
                let round = self.round_at(endpoint, block)?;
                // Nothing was logged, so nothing may have changed.
                advanced.is_unexplained = question
                    .stand
                    .is_some_and(|stand| stand != Stand::from(&round));
                advanced.round = Some(round);
            }
            let answer = self.call(endpoint, contract::get_config_calldata(), block)?;
            advanced.config = Some(contract::decode_config(&answer).map_err(invalid)?);
        }
        if question.participants {
            advanced.participants = Some(self.participants_at(endpoint, block)?);
        }
        Ok(Reading::Advanced(Box::new(advanced)))
    }

    fn participants_at(
        &self,
        endpoint: &Endpoint,
        block: BlockId,
    ) -> Result<Vec<(Address, U256)>, RpcError> {
        let answer = self.call(endpoint, contract::get_participants_calldata(), block)?;
        let players = contract::decode_participants(&answer).map_err(invalid)?;
        let calls: Vec<CallRequest> = players
            .iter()
            .map(|player| {
                CallRequest::to(self.contract, contract::get_bet_amount_calldata(*player))
            })
            .collect();
        let answers = endpoint.calls(&calls, block)?;
        players
            .into_iter()
            .zip(answers)
            .map(|(player, answer)| {
                Ok((
                    player,
                    contract::decode_bet_amount(&answer).map_err(invalid)?,
                ))
            })
            .collect()
    }

    fn round_at(&self, endpoint: &Endpoint, block: BlockId) -> Result<Round, RpcError> {
        let answer = self.call(endpoint, contract::get_round_calldata(), block)?;
        contract::decode_round(&answer).map_err(invalid)
    }

    fn call(
        &self,
        endpoint: &Endpoint,
        data: Vec<u8>,
        block: BlockId,
    ) -> Result<Vec<u8>, RpcError> {
        endpoint.call(&CallRequest::to(self.contract, data), block, None)
    }

    /// Headers from `lowest` to `head`, each the parent of the next.
    fn linked_headers(
        &self,
        endpoint: &Endpoint,
        lowest: u64,
        head: &Header,
    ) -> Result<Vec<Header>, RpcError> {
        let numbers: Vec<u64> = (lowest..head.number).collect();
        let mut headers = if numbers.is_empty() {
            Vec::new()
        } else {
            endpoint.headers(&numbers)?
        };
        headers.push(head.clone());
        let linked = headers.windows(2).all(|pair| {
            pair[0].hash == pair[1].parent_hash && pair[0].number + 1 == pair[1].number
        });
        if linked {
            Ok(headers)
        } else {
            Err(RpcError::behind(
                "the chain moved while its headers were read",
            ))
        }
    }

    /// False where the bloom proves that our contract logged nothing. A bloom of zeros over transactions is no bloom,
    /// until this chain's have shown that they are real.
    fn may_hold_our_logs(&self, header: &Header) -> bool {
        if header.logs_bloom.is_zero() {
            return header.has_transactions && !self.trusts_blooms();
        }
        self.blooms_lied.load(Ordering::Relaxed) || self.bloom_contains_us(header)
    }

    fn bloom_contains_us(&self, header: &Header) -> bool {
        header
            .logs_bloom
            .contains_input(BloomInput::Raw(self.contract.as_bytes()))
    }

    fn nothing_new(&self, head: Header) -> Advanced {
        Advanced {
            is_first: false,
            rollback: None,
            head,
            anchor: None,
            blocks: Vec::new(),
            replay_above: None,
            events: Vec::new(),
            round: None,
            config: None,
            participants: None,
            is_unexplained: false,
            evidence: BloomEvidence::default(),
        }
    }
}

/// Blocks to be read: those above `base`, which is on the endpoint's chain, up to `head`.
struct Span {
    base: BlockRef,
    rollback: Option<Rollback>,
    head: Header,
    /// Of all these blocks, where they have been read already.
    headers: Vec<Header>,
}

impl Span {
    fn after(base: BlockRef, head: Header) -> Span {
        Span {
            base,
            rollback: None,
            head,
            headers: Vec::new(),
        }
    }

    fn len(&self) -> u64 {
        self.head.number.saturating_sub(self.base.number)
    }
}

fn lagging(head: &Header) -> Reading {
    Reading::Lagging {
        number: head.number,
        timestamp: head.timestamp,
    }
}

fn exactly(header: &Header) -> BlockId {
    BlockId::Exactly {
        number: header.number,
        hash: header.hash,
    }
}

fn invalid(error: contract::DecodeError) -> RpcError {
    RpcError::invalid_answer(error.to_string())
}

fn check_hash(log: &Log, header: &Header) -> Result<(), RpcError> {
    if log.block_hash == header.hash {
        Ok(())
    } else {
        Err(RpcError::behind(
            "a log lies in a block that is not on the chain being read",
        ))
    }
}
