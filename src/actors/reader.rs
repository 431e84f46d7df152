//! Reads the chain for the poller: what one endpoint shows beyond the cursor, checked and bound to one block. It
//! changes nothing; its only memory is what it has learned of the chain's blooms and of the log ranges allowed.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use crate::chain::client::{CallRequest, Endpoint};
use crate::chain::cursor::{BlockRef, Cursor, Relation};
use crate::chain::error::{NodeError, RpcError};
use crate::chain::types::{Address, BlockId, BloomInput, Header, Log, H256, U256};
use crate::lottery::contract;
use crate::lottery::model::{ContractConfig, EventRecord, LogPosition, LotteryEvent, Round};
use crate::lottery::state::{FinishFacts, LoggedEvent, Rollback};

/// Up to this many missed blocks are linked header by header; beyond it only the newest are.
const LINKED_BLOCKS_MAX: u64 = 64;
/// So many headers before the first head make the chain's rhythm and small reorgs known from the start.
const HEADERS_AT_START: u64 = 32;
/// Blocks to ask for logs one by one, by hash, before a range is cheaper.
const BLOCKS_BY_HASH_MAX: usize = 8;
const RANGE_BLOCKS_START: u64 = 500;
const RANGE_BLOCKS_MAX: u64 = 10_000;
/// How many remembered blocks are compared in one batch when looking for a common ancestor.
const ANCESTOR_STEP: usize = 8;

/// What a reading has to bring beside the new blocks' logs.
#[derive(Clone, Copy, Debug)]
pub struct Wants {
    /// Round and configuration, whether or not anything was logged.
    pub refresh: bool,
    /// The players, read from the contract itself.
    pub participants: bool,
    /// How far back the first reading's logs reach.
    pub first_range_blocks: u64,
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
    /// New blocks for the cursor, rising; the head is the last. Empty when the head had not moved.
    pub blocks: Vec<BlockRef>,
    pub events: Vec<LoggedEvent>,
    pub round: Option<Round>,
    pub config: Option<ContractConfig>,
    pub participants: Option<Vec<(Address, U256)>>,
    /// The lowest block whose logs were read, for a first reading.
    pub first_block_read: u64,
    evidence: BloomEvidence,
}

/// What this reading says about the chain's blooms.
#[derive(Clone, Copy, Debug, Default)]
struct BloomEvidence {
    /// A block with our logs whose bloom contained our contract.
    truthful: bool,
    /// A block with our logs whose bloom did not.
    lying: bool,
}

#[derive(Debug)]
pub struct Reader {
    contract: Address,
    bloom_trusted: bool,
    bloom_lied: bool,
    range_blocks: AtomicU64,
}

impl Reader {
    pub fn new(contract: Address) -> Reader {
        Reader {
            contract,
            bloom_trusted: false,
            bloom_lied: false,
            range_blocks: AtomicU64::new(RANGE_BLOCKS_START),
        }
    }

    /// Keeps what a reading showed of the blooms. One caught lying is not used again.
    pub fn learn(&mut self, advanced: &Advanced) {
        self.bloom_trusted |= advanced.evidence.truthful;
        if advanced.evidence.lying && !self.bloom_lied {
            log::warn!("this chain's blooms leave out logs: they are not used any more");
            self.bloom_lied = true;
        }
    }

    /// One consistent reading of what `endpoint` shows beyond `cursor`.
    pub fn read(
        &self,
        endpoint: &Endpoint,
        cursor: &Cursor,
        wants: Wants,
    ) -> Result<Reading, RpcError> {
        let head = endpoint.head()?;
        let Some(tip) = cursor.tip() else {
            return self.read_first(endpoint, head, None, wants);
        };
        match cursor.relation(&BlockRef::from(&head)) {
            Relation::First => self.read_first(endpoint, head, None, wants),
            Relation::Unchanged if wants.refresh || wants.participants => {
                self.read_state(endpoint, self.nothing_new(head), wants)
            }
            Relation::Unchanged => Ok(Reading::Unchanged),
            Relation::Behind => Ok(Reading::Lagging {
                number: head.number,
                timestamp: head.timestamp,
            }),
            Relation::Next => self.read_after(endpoint, *tip, None, head, wants),
            Relation::Ahead => {
                let now_there = endpoint.header(BlockId::Number(tip.number))?;
                if now_there.hash == tip.hash {
                    self.read_after(endpoint, *tip, None, head, wants)
                } else {
                    self.read_fork(endpoint, cursor, head, wants)
                }
            }
            Relation::Fork => self.read_fork(endpoint, cursor, head, wants),
        }
    }

    /// Our contract's logs from `from` to `to`, both included, in chain order.
    pub fn logs(&self, endpoint: &Endpoint, from: u64, to: u64) -> Result<Vec<Log>, RpcError> {
        let mut logs = Vec::new();
        let mut next = from;
        while next <= to {
            let size = self.range_blocks.load(Ordering::Relaxed).max(1);
            let end = to.min(next.saturating_add(size - 1));
            match endpoint.logs_in_range(self.contract, next, end) {
                Ok(mut found) => {
                    logs.append(&mut found);
                    if end - next + 1 == size {
                        self.range_blocks
                            .store((size * 2).min(RANGE_BLOCKS_MAX), Ordering::Relaxed);
                    }
                    next = end + 1;
                }
                Err(error) => {
                    let Some(limit) = error.log_range_limit().filter(|_| end > next) else {
                        return Err(error);
                    };
                    let halved = (end - next).div_ceil(2);
                    let allowed = limit.blocks.map_or(halved, |blocks| blocks.min(end - next));
                    self.range_blocks.store(allowed.max(1), Ordering::Relaxed);
                }
            }
        }
        in_chain_order(logs)
    }

    /// Our contract's logs of one block: by its hash where the endpoint can, else by its number.
    fn logs_of(&self, endpoint: &Endpoint, header: &Header) -> Result<Vec<Log>, RpcError> {
        match endpoint.logs_at_hash(self.contract, header.hash) {
            Err(error) if error.node_error() == Some(NodeError::Other) => {
                endpoint.logs_in_range(self.contract, header.number, header.number)
            }
            result => result,
        }
    }

    /// Decodes logs and adds what ends of rounds need. `headers` are those already read, by number.
    pub fn events(
        &self,
        endpoint: &Endpoint,
        logs: Vec<Log>,
        headers: &HashMap<u64, Header>,
        with_rounds_before: bool,
    ) -> Result<Vec<LoggedEvent>, RpcError> {
        let mut events = Vec::with_capacity(logs.len());
        for log in logs {
            let decoded = contract::decode_log(&log).map_err(|error| {
                RpcError::invalid_answer(format!("log of the contract: {error}"))
            })?;
            let Some(event) = decoded else { continue };
            let ends_round = matches!(
                event,
                LotteryEvent::RoundCompleted { .. } | LotteryEvent::RoundRefunded { .. }
            );
            let finish = match ends_round {
                true => Some(self.finish_facts(endpoint, &log, headers, with_rounds_before)?),
                false => None,
            };
            let position = LogPosition {
                block_number: log.block_number,
                block_hash: log.block_hash,
                // The contract stamps every event with its block's time.
                block_timestamp: event.timestamp(),
                transaction_hash: log.transaction_hash,
                log_index: log.log_index,
            };
            events.push(LoggedEvent {
                record: Arc::new(EventRecord { event, position }),
                finish,
            });
        }
        Ok(events)
    }

    fn finish_facts(
        &self,
        endpoint: &Endpoint,
        log: &Log,
        headers: &HashMap<u64, Header>,
        with_round_before: bool,
    ) -> Result<FinishFacts, RpcError> {
        let header = match headers.get(&log.block_number) {
            Some(header) => header.clone(),
            None => endpoint.header(BlockId::Number(log.block_number))?,
        };
        check_hash(log, &header)?;
        let round_before = match log
            .block_number
            .checked_sub(1)
            .filter(|_| with_round_before)
        {
            // Old state is often out of a node's reach; then the times stay unknown.
            Some(before) => self.round_at(endpoint, BlockId::Number(before)).ok(),
            None => None,
        };
        Ok(FinishFacts {
            prevrandao: Some(header.mix_hash),
            round_before,
        })
    }

    fn read_first(
        &self,
        endpoint: &Endpoint,
        head: Header,
        rollback: Option<Rollback>,
        wants: Wants,
    ) -> Result<Reading, RpcError> {
        let lowest = head.number.saturating_sub(HEADERS_AT_START);
        let mut headers = self
            .linked_headers(endpoint, lowest, &head)
            .unwrap_or_default();
        if headers.is_empty() {
            headers.push(head.clone());
        }
        let from = head
            .number
            .saturating_sub(wants.first_range_blocks.saturating_sub(1));
        let by_number = headers
            .iter()
            .map(|header| (header.number, header.clone()))
            .collect();
        // A node that refuses the range must not keep the round from being shown: history then comes from the walk back.
        let events = self
            .logs(endpoint, from, head.number)
            .and_then(|logs| self.events(endpoint, logs, &by_number, true));
        let (events, first_block_read) = match events {
            Ok(events) => (events, from),
            Err(error) if error.is_node_answer() => (Vec::new(), head.number + 1),
            Err(error) => return Err(error),
        };
        let advanced = Advanced {
            is_first: true,
            rollback,
            blocks: headers.iter().map(BlockRef::from).collect(),
            evidence: self.evidence(&events, &by_number),
            events,
            round: Some(self.round_at(endpoint, exactly(&head))?),
            first_block_read,
            ..self.nothing_new(head)
        };
        self.read_state(
            endpoint,
            advanced,
            Wants {
                refresh: true,
                participants: false,
                ..wants
            },
        )
    }

    fn read_fork(
        &self,
        endpoint: &Endpoint,
        cursor: &Cursor,
        head: Header,
        wants: Wants,
    ) -> Result<Reading, RpcError> {
        let known: Vec<BlockRef> = cursor.from_newest(head.number).copied().collect();
        for step in known.chunks(ANCESTOR_STEP) {
            let numbers: Vec<u64> = step.iter().map(|block| block.number).collect();
            let theirs = endpoint.headers(&numbers)?;
            let ancestor = step
                .iter()
                .zip(&theirs)
                .find(|(block, header)| block.hash == header.hash);
            if let Some((ancestor, _)) = ancestor {
                let is_tip = cursor.tip().is_some_and(|tip| tip.hash == ancestor.hash);
                let rollback = (!is_tip).then_some(Rollback::To(ancestor.number));
                return self.read_after(endpoint, *ancestor, rollback, head, wants);
            }
        }
        self.read_first(endpoint, head, Some(Rollback::Everything), wants)
    }

    /// Reads the blocks above `base`, which is on the endpoint's chain, up to `head`.
    fn read_after(
        &self,
        endpoint: &Endpoint,
        base: BlockRef,
        rollback: Option<Rollback>,
        head: Header,
        wants: Wants,
    ) -> Result<Reading, RpcError> {
        let lowest = (base.number + 1).max(head.number.saturating_sub(LINKED_BLOCKS_MAX - 1));
        let headers = self.linked_headers(endpoint, lowest, &head)?;
        let whole = lowest == base.number + 1;
        if whole
            && headers
                .first()
                .is_some_and(|first| first.parent_hash != base.hash)
        {
            return Err(RpcError::behind("the chain moved while it was read"));
        }
        let touched: Vec<&Header> = headers
            .iter()
            .filter(|header| self.may_hold_our_logs(header))
            .collect();
        let by_number: HashMap<u64, Header> = headers
            .iter()
            .map(|header| (header.number, header.clone()))
            .collect();
        let logs = if !whole || touched.len() > BLOCKS_BY_HASH_MAX {
            self.logs(endpoint, base.number + 1, head.number)?
        } else {
            let mut logs = Vec::new();
            for header in &touched {
                logs.append(&mut self.logs_of(endpoint, header)?);
            }
            in_chain_order(logs)?
        };
        self.check_canonical(endpoint, &logs, &by_number)?;
        let events = self.events(endpoint, logs, &by_number, head.number > base.number + 1)?;
        let moved = !events.is_empty() || !whole || rollback.is_some();
        let config_changed = events
            .iter()
            .any(|event| event.record.event.changes_config());
        let advanced = Advanced {
            rollback,
            blocks: headers.iter().map(BlockRef::from).collect(),
            round: match moved {
                true => Some(self.round_at(endpoint, exactly(&head))?),
                false => None,
            },
            evidence: self.evidence(&events, &by_number),
            events,
            ..self.nothing_new(head)
        };
        let refresh = wants.refresh || config_changed || rollback.is_some();
        // Players are read at a head that the store has seen first; see the poller.
        self.read_state(
            endpoint,
            advanced,
            Wants {
                refresh,
                participants: false,
                ..wants
            },
        )
    }

    fn read_state(
        &self,
        endpoint: &Endpoint,
        mut advanced: Advanced,
        wants: Wants,
    ) -> Result<Reading, RpcError> {
        let block = exactly(&advanced.head);
        if wants.refresh {
            if advanced.round.is_none() {
                advanced.round = Some(self.round_at(endpoint, block)?);
            }
            let answer = self.call(endpoint, contract::get_config_calldata(), block)?;
            advanced.config = Some(contract::decode_config(&answer).map_err(invalid)?);
        }
        if wants.participants {
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

    /// Every log must lie in a block of the chain being read; blocks beyond the linked ones are looked up.
    fn check_canonical(
        &self,
        endpoint: &Endpoint,
        logs: &[Log],
        headers: &HashMap<u64, Header>,
    ) -> Result<(), RpcError> {
        let mut looked_up: HashMap<u64, Header> = HashMap::new();
        for log in logs {
            let known = headers
                .get(&log.block_number)
                .or_else(|| looked_up.get(&log.block_number));
            if let Some(header) = known {
                check_hash(log, header)?;
                continue;
            }
            let header = endpoint.header(BlockId::Number(log.block_number))?;
            check_hash(log, &header)?;
            looked_up.insert(log.block_number, header);
        }
        Ok(())
    }

    fn may_hold_our_logs(&self, header: &Header) -> bool {
        if !header.has_transactions && header.logs_bloom.is_zero() {
            return false;
        }
        !self.bloom_trusted || self.bloom_lied || self.bloom_contains_us(header)
    }

    fn bloom_contains_us(&self, header: &Header) -> bool {
        header
            .logs_bloom
            .contains_input(BloomInput::Raw(self.contract.as_bytes()))
    }

    fn evidence(&self, events: &[LoggedEvent], headers: &HashMap<u64, Header>) -> BloomEvidence {
        let mut evidence = BloomEvidence::default();
        for event in events {
            if let Some(header) = headers.get(&event.record.position.block_number) {
                match self.bloom_contains_us(header) {
                    true => evidence.truthful = true,
                    false => evidence.lying = true,
                }
            }
        }
        evidence
    }

    fn nothing_new(&self, head: Header) -> Advanced {
        Advanced {
            is_first: false,
            rollback: None,
            first_block_read: head.number,
            head,
            blocks: Vec::new(),
            events: Vec::new(),
            round: None,
            config: None,
            participants: None,
            evidence: BloomEvidence::default(),
        }
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

/// Sorts by (block, log index); the same identity twice spoils the answer.
fn in_chain_order(mut logs: Vec<Log>) -> Result<Vec<Log>, RpcError> {
    logs.sort_by_key(|log| (log.block_number, log.log_index));
    let mut seen: HashSet<(H256, u64)> = HashSet::with_capacity(logs.len());
    match logs
        .iter()
        .find(|log| !seen.insert((log.block_hash, log.log_index)))
    {
        Some(log) => Err(RpcError::invalid_answer(format!(
            "log {} of block {} came twice",
            log.log_index, log.block_number
        ))),
        None => Ok(logs),
    }
}
