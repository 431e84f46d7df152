//! Reads the chain for the poller: what one endpoint shows beyond the cursor, checked and bound to one block. It
//! changes nothing; its only memory is what it has learned of the chain's blooms (`blooms`).
//!
//! The live state comes first: a reading that has head and round is a good one even when the logs, the configuration or
//! older headers could not be had. What is missing is named (`Debt`), and left to the poller to have fetched later.
//! How blocks are linked is in `ancestry`, logs become events in `events`, players are read in `players`.

use std::sync::Arc;
use std::time::Instant;

use crate::actors::reader::blooms::{Blooms, Evidence};
use crate::actors::reader::debt::linked_blocks_max;
use crate::actors::reader::placement::check_blocks;
use crate::chain::cursor::{Cursor, Relation};
use crate::chain::error::{ErrorKind, RpcError};
use crate::chain::logs::HASHES_MAX;
use crate::chain::node::Endpoint;
use crate::chain::types::{Address, BlockId, BlockRef, CallRequest, Header, Log, H256};
use crate::lottery::abi::DecodeError;
use crate::lottery::continuity::{follow, Tally};
use crate::lottery::contract;
use crate::lottery::history::LoggedEvent;
use crate::lottery::round::{ContractConfig, Round};
use crate::lottery::state::Rollback;

mod ancestry;
mod blooms;
mod debt;
mod events;
mod no_lottery;
mod paying;
mod placement;
mod players;

pub use debt::Debt;
pub(crate) use events::{decoded, first_allowed, States};

/// So many headers before the first head make the chain's rhythm and small reorgs known from the start.
const HEADERS_AT_START: u64 = 32;

/// What is asked of a reading.
#[derive(Clone, Debug, Default)]
pub struct Question {
    pub cursor: Arc<Cursor>,
    /// The head, where it has been announced; else it is asked for.
    pub announced: Option<Header>,
    /// Round and configuration, whether or not anything was logged.
    pub refresh: bool,
    /// The newest block up to which the logs are known and lead to the round.
    pub sound: Option<Sound>,
    /// The live state alone: logs are owed already, or have been waited for too long.
    pub live_only: bool,
    /// Logs that are owed, where they are so few that they come with those of the head.
    pub debt: Option<Debt>,
}

/// A block up to which all logs are known, and what they lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sound {
    pub block: BlockRef,
    pub tally: Tally,
}

#[derive(Debug)]
pub enum Reading {
    Unchanged,
    /// The endpoint shows an older block of the chain that we know.
    Lagging {
        number: u64,
        timestamp: u64,
    },
    /// There is a chain, but not our contract on it: `why` is a sentence for everybody.
    NoLottery {
        why: String,
    },
    Advanced(Box<Advanced>),
}

/// Everything read at one head.
#[derive(Debug)]
pub struct Advanced {
    pub is_first: bool,
    pub rollback: Option<Rollback>,
    pub head: Header,
    /// When the head was asked for, and when it was told: what is read besides takes its time.
    pub head_asked_at: Instant,
    pub head_told_at: Instant,
    /// A block far below the first one read, by which later doubts are settled.
    pub anchor: Option<(u64, H256)>,
    /// New blocks for the cursor, rising; the head is the last. Empty when the head had not moved.
    pub blocks: Vec<BlockRef>,
    /// The logs that could not be read, or do not explain the round.
    pub owed: Option<Debt>,
    /// The endpoint's own logs do not lead to its own round: one of them is not true.
    pub is_contradictory: bool,
    /// Where owed logs came with this reading: the block above which its events begin.
    pub paid_above: Option<BlockRef>,
    pub events: Vec<LoggedEvent>,
    /// The round at the head; None when nothing can have changed it.
    pub round: Option<Round>,
    /// The configuration at the head; None when it was not asked for, or not to be had.
    pub config: Option<ContractConfig>,
    evidence: Evidence,
}

impl Advanced {
    /// The hash of the chain's first block, where it was among what was read.
    pub fn genesis(&self) -> Option<H256> {
        let anchor = self.anchor.filter(|(number, _)| *number == 0);
        let first = self.blocks.iter().find(|block| block.number == 0);
        anchor
            .map(|(_, hash)| hash)
            .or(first.map(|block| block.hash))
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

#[derive(Debug)]
pub struct Reader {
    contract: Address,
    chain_id: u64,
    blooms: Blooms,
}

impl Reader {
    pub fn new(contract: Address, chain_id: u64) -> Reader {
        Reader {
            contract,
            chain_id,
            blooms: Blooms::new(contract),
        }
    }

    pub fn contract(&self) -> Address {
        self.contract
    }

    /// What is known of the chain's blooms.
    pub fn blooms(&self) -> &Blooms {
        &self.blooms
    }

    /// Keeps what a reading showed of the blooms.
    pub(crate) fn learn(&self, advanced: &Advanced) {
        self.blooms.learn(advanced.evidence);
    }

    /// Looks at the blooms of the blocks of `events`, of some of them where there are many.
    pub(crate) fn learn_of_blooms(&self, endpoint: &Endpoint, events: &[LoggedEvent]) {
        if self.blooms.have_lied() {
            return;
        }
        let mut numbers: Vec<u64> = events
            .iter()
            .map(|event| event.record.position.block_number)
            .collect();
        numbers.dedup();
        numbers.truncate(HASHES_MAX);
        if numbers.is_empty() {
            return;
        }
        // Without the headers nothing is learned this time.
        if let Ok(headers) = endpoint.headers(&numbers) {
            self.blooms.learn(self.blooms.evidence_of(events, &headers));
        }
    }

    /// One consistent reading of what `endpoint` shows beyond the cursor.
    ///
    /// # Errors
    /// When the head, its link to what is known, or the round at it cannot be read.
    pub fn read(&self, endpoint: &Endpoint, question: &Question) -> Result<Reading, RpcError> {
        let head_asked_at = endpoint.now();
        let head = match &question.announced {
            Some(head) => head.clone(),
            None => endpoint.head()?,
        };
        let head_told_at = endpoint.now();
        let mut reading = self.read_up_to(endpoint, question, head)?;
        if let Reading::Advanced(advanced) = &mut reading {
            advanced.head_asked_at = head_asked_at;
            advanced.head_told_at = head_told_at;
        }
        Ok(reading)
    }

    fn read_up_to(
        &self,
        endpoint: &Endpoint,
        question: &Question,
        head: Header,
    ) -> Result<Reading, RpcError> {
        let cursor = &question.cursor;
        let Some(tip) = cursor.tip().copied() else {
            return self.read_first(endpoint, head, None);
        };
        match cursor.relation(&BlockRef::from(&head)) {
            Relation::First => self.read_first(endpoint, head, None),
            Relation::Behind => Ok(lagging(&head)),
            Relation::Below => self.read_below(endpoint, question, head),
            Relation::Fork => self.read_fork(endpoint, question, head),
            Relation::Unchanged if question.refresh => {
                let advanced = self.nothing_new(endpoint, head);
                self.read_state(endpoint, question, advanced)
            }
            Relation::Unchanged => Ok(Reading::Unchanged),
            Relation::Next => self.read_after(endpoint, question, Span::after(tip, head)),
            Relation::Ahead => self.read_ahead(endpoint, question, tip, head),
        }
    }

    /// The first head: the round comes before everything else, and what only helps may fail.
    fn read_first(
        &self,
        endpoint: &Endpoint,
        head: Header,
        rollback: Option<Rollback>,
    ) -> Result<Reading, RpcError> {
        let at_head = BlockId::from(&head);
        let round = match self.round_at(endpoint, at_head) {
            Ok(round) => round,
            Err(error) => {
                return match self.why_no_lottery(endpoint, at_head, &error) {
                    Some(why) => Ok(Reading::NoLottery { why }),
                    None => Err(error),
                }
            }
        };
        let config = self.config_at(endpoint, at_head);
        let lowest = head.number.saturating_sub(HEADERS_AT_START);
        let older = match endpoint.ancestry(&head, lowest) {
            Err(error) if error.kind == ErrorKind::Behind && Reader::has_left(endpoint, &head) => {
                return Err(RpcError::behind("the chain moved while it was read"));
            }
            older => older,
        };
        let genesis = match &older {
            // A node that shows no older headers will not show the oldest either.
            Ok(_) if lowest > 0 => endpoint.header(BlockId::Number(0)).ok(),
            _ => None,
        };
        let headers = older.unwrap_or_else(|_| vec![head.clone()]);
        Ok(Reading::Advanced(Box::new(Advanced {
            is_first: true,
            rollback,
            anchor: genesis.map(|header| (header.number, header.hash)),
            blocks: headers.iter().map(BlockRef::from).collect(),
            round: Some(round),
            config,
            ..self.nothing_new(endpoint, head)
        })))
    }

    /// Reads what lies above `span.base`, which is known to be on the endpoint's chain.
    fn read_after(
        &self,
        endpoint: &Endpoint,
        question: &Question,
        span: Span,
    ) -> Result<Reading, RpcError> {
        let linked_max = linked_blocks_max(endpoint);
        let is_long = span.len() > linked_max;
        let lowest = (span.base.number + 1).max(span.head.number.saturating_sub(linked_max - 1));
        let headers = match span.headers.is_empty() {
            true => endpoint.ancestry(&span.head, lowest)?,
            false => span.headers,
        };
        let parent_hash = headers.first().map(|first| first.parent_hash);
        if !is_long && parent_hash != Some(span.base.hash) {
            return Err(RpcError::behind("the chain moved while it was read"));
        }
        let mut advanced = Advanced {
            rollback: span.rollback,
            blocks: headers.iter().map(BlockRef::from).collect(),
            ..self.nothing_new(endpoint, span.head)
        };
        // What a reorg leaves of a debt is paid step by step.
        let has_old_debt = question.debt.is_some() && advanced.rollback.is_some();
        let is_live_only = is_long || question.live_only || has_old_debt;
        let owed = question.debt.as_ref().filter(|_| !is_live_only);
        if let Some(debt) = owed {
            self.add_owed_events(endpoint, debt, &headers, &mut advanced)?;
        } else if is_live_only {
            advanced.round = Some(self.round_at(endpoint, BlockId::from(&advanced.head))?);
            advanced.owed = Some(Debt {
                above: span.base,
                tally: None,
                why: format!("{} blocks are to be caught up with", headers.len()),
            });
        } else {
            // Where nothing was logged since, the round stood at the base as it did at the newest sound block.
            let tally = question.sound.map(|sound| sound.tally);
            let tally = tally.filter(|_| advanced.rollback.is_none());
            self.add_events(endpoint, (&span.base, tally), &headers, &mut advanced)?;
        }
        let config_changed = advanced
            .events
            .iter()
            .any(|event| event.record.event.changes_config());
        let question = Question {
            refresh: question.refresh || config_changed || advanced.rollback.is_some(),
            ..question.clone()
        };
        self.read_state(endpoint, &question, advanced)
    }

    /// Adds the events of `headers`, and the round that they lead to. Where the logs cannot be had, or leave something
    /// out, the round is taken all the same and the logs are owed.
    fn add_events(
        &self,
        endpoint: &Endpoint,
        (base, tally): (&BlockRef, Option<Tally>),
        headers: &[Header],
        advanced: &mut Advanced,
    ) -> Result<(), RpcError> {
        let touched: Vec<&Header> = headers
            .iter()
            .filter(|header| self.blooms.may_hold_our_logs(header))
            .collect();
        // What pays a debt names the round that the logs lead to, even where there turn out to be none.
        let is_quiet = advanced.rollback.is_none() && advanced.paid_above.is_none();
        if touched.is_empty() && is_quiet {
            return Ok(());
        }
        let at_head = BlockId::from(&advanced.head);
        let read = self.logs_and_round(endpoint, base, &touched, &advanced.head);
        let (logs, round) = match read {
            Ok((logs, round)) => (Ok(logs), round),
            // The round has a call of its own; only when that fails as well is the endpoint of no use.
            Err(error) => (Err(error), self.round_at(endpoint, at_head)?),
        };
        let after = Tally::from(&round);
        advanced.round = Some(round);
        let events = logs.and_then(|logs| {
            check_blocks(&logs, headers)?;
            let events = self.events(
                endpoint,
                logs,
                headers,
                States::kept_at(advanced.head.number),
            )?;
            let before = self.tally_at(endpoint, BlockId::from(*base), tally)?;
            let why = match follow(before, &events) {
                Ok(end) if end.is_none_or(|end| end == after) => return Ok(events),
                Ok(_) => "the logs do not lead to the round".to_owned(),
                Err(gap) => gap.to_string(),
            };
            advanced.is_contradictory = true;
            Err(RpcError::behind(why))
        });
        match events {
            Ok(events) => {
                advanced.evidence = self.blooms.evidence_of(&events, headers);
                advanced.events = events;
            }
            Err(error) => {
                advanced.owed = Some(Debt {
                    above: *base,
                    tally,
                    why: format!("{}: {error}", endpoint.host()),
                })
            }
        }
        Ok(())
    }

    fn logs_and_round(
        &self,
        endpoint: &Endpoint,
        base: &BlockRef,
        touched: &[&Header],
        head: &Header,
    ) -> Result<(Vec<Log>, Round), RpcError> {
        if touched.len() > HASHES_MAX {
            let logs = self.logs_above(endpoint, base, head)?;
            return Ok((logs, self.round_at(endpoint, BlockId::from(head))?));
        }
        let request = CallRequest::to(self.contract, contract::get_round_calldata());
        let (logs, answer) =
            endpoint.logs_and_call(self.contract, touched, &request, BlockId::from(head))?;
        Ok((logs, contract::decode_round(&answer).map_err(invalid)?))
    }

    /// Adds round and configuration where the question wants them whatever was logged.
    fn read_state(
        &self,
        endpoint: &Endpoint,
        question: &Question,
        mut advanced: Advanced,
    ) -> Result<Reading, RpcError> {
        if question.refresh {
            let block = BlockId::from(&advanced.head);
            if advanced.round.is_none() {
                let round = self.round_at(endpoint, block)?;
                let owes_nothing = !question.live_only && question.debt.is_none();
                let unexplained = question
                    .sound
                    .filter(|sound| owes_nothing && sound.tally != Tally::from(&round));
                advanced.is_contradictory = unexplained.is_some();
                advanced.owed = unexplained.map(|sound| Debt {
                    above: sound.block,
                    tally: Some(sound.tally),
                    why: "the round changed and no bloom told of it".to_owned(),
                });
                advanced.round = Some(round);
            }
            advanced.config = self.config_at(endpoint, block);
        }
        Ok(Reading::Advanced(Box::new(advanced)))
    }

    pub(crate) fn round_at(&self, endpoint: &Endpoint, block: BlockId) -> Result<Round, RpcError> {
        let answer = self.call(endpoint, contract::get_round_calldata(), block)?;
        contract::decode_round(&answer).map_err(invalid)
    }

    /// None where it cannot be read: everything but the checks of the operator goes on without.
    fn config_at(&self, endpoint: &Endpoint, block: BlockId) -> Option<ContractConfig> {
        let answer = self.call(endpoint, contract::get_config_calldata(), block);
        let config = answer.and_then(|answer| contract::decode_config(&answer).map_err(invalid));
        config
            .map_err(|error| log::debug!("{}: getConfig(): {error}", endpoint.host()))
            .ok()
    }

    fn call(
        &self,
        endpoint: &Endpoint,
        data: Vec<u8>,
        block: BlockId,
    ) -> Result<Vec<u8>, RpcError> {
        endpoint.call(&CallRequest::to(self.contract, data), block, None)
    }

    fn nothing_new(&self, endpoint: &Endpoint, head: Header) -> Advanced {
        Advanced {
            is_first: false,
            rollback: None,
            head,
            head_asked_at: endpoint.now(),
            head_told_at: endpoint.now(),
            anchor: None,
            blocks: Vec::new(),
            owed: None,
            is_contradictory: false,
            paid_above: None,
            events: Vec::new(),
            round: None,
            config: None,
            evidence: Evidence::default(),
        }
    }
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

/// An answer of the contract's that is not what its interface promises.
pub(crate) fn invalid(error: DecodeError) -> RpcError {
    RpcError::invalid_answer(error.to_string())
}
