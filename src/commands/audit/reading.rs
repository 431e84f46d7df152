//! Reads ranges of blocks side by side and hands their events over in chain order. A range is read in two steps: its logs,
//! and, once those of all ranges below tell when each round can be drawn, what the ends of rounds need beside them
//! (`facts`). No range is longer than what its neighbours promise to hold, so that few logs are in memory at a time.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crossbeam_channel::{bounded, Receiver, Sender};
use sha3::{Digest, Keccak256};

use crate::actors::reader::decoded;
use crate::chain::endpoints::Endpoints;
use crate::chain::error::RpcError;
use crate::chain::method::Method;
use crate::chain::types::{Address, Header, Log, H256};
use crate::commands::audit::facts::{add_facts, Dated, Read, ENDS};
use crate::commands::patience::{again_while, is_contradiction, OldStates};
use crate::lottery::event::EventRecord;
use crate::lottery::rules::Rules;

/// How many threads read, and how many ranges are on their way.
const READERS: usize = 4;
const AHEAD: usize = 6;
/// How long ranges are: at first, and at most. Between them they are as long as so many logs take.
const RANGE_BLOCKS_START: u64 = 64;
pub(super) const RANGE_BLOCKS_MAX: u64 = 2_000;
const RANGE_LOGS: u64 = 1_000;
/// So near the head a block may still be taken back. What was handed over stays so: no range with such a block is, before all
/// above it has been read and follows from it.
const UNSETTLED_BLOCKS: u64 = 256;

/// Who is asked, and for which contract's logs.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub endpoints: &'a Endpoints,
    pub states: &'a OldStates<'a>,
    pub contract: Address,
}

/// Where the reading begins: at block `next`, whose parent is `parent` where that is known.
pub(super) struct Start {
    pub next: u64,
    pub parent: Option<H256>,
    pub rules: Rules,
}

/// A range that was read, next after the one before it.
pub(super) struct Range {
    pub events: Vec<Read>,
    /// Number and hash of its last block.
    pub last: (u64, H256),
    /// What the events up to its end have led to.
    pub rules: Rules,
}

enum Job {
    Logs { from: u64, to: u64 },
    Facts { dated: Vec<Dated>, is_first: bool },
}

enum Done {
    Logs(Logs),
    Facts(Vec<Read>),
}

/// The logs of a range, decoded, each with its digest, and the blocks at its ends.
struct Logs {
    records: Vec<(Arc<EventRecord>, H256)>,
    parent: H256,
    last: (u64, H256),
}

type Outcome = (usize, Result<Done, RpcError>);

/// Reads everything from `start` to `head`; `take` gets each range in order and says whether to go on. Where the chain moves
/// meanwhile, it is read once more from what stands: as often as that gets any further, and else with patience.
///
/// # Errors
/// When no endpoint answers for a range, or what they answer does not hang together.
pub(super) fn read(
    source: Source,
    start: Start,
    head: &Header,
    take: impl FnMut(Range) -> bool,
) -> Result<(), RpcError> {
    let reading = RefCell::new((start, take));
    let next = || reading.borrow().0.next;
    let from_what_stands = || {
        let (stands, take) = &mut *reading.borrow_mut();
        read_once(source, stands, head, take)
    };
    loop {
        let (begun_at, methods) = (next(), &[Method::GetLogs]);
        match again_while(
            source.endpoints,
            methods,
            is_contradiction,
            from_what_stands,
        ) {
            Err(error) if is_contradiction(&error) && next() > begun_at => {}
            read => return read,
        }
    }
}

/// The same, as long as the chain stands still. `stands` is moved on behind each range that `take` has got.
fn read_once(
    source: Source,
    stands: &mut Start,
    head: &Header,
    take: &mut impl FnMut(Range) -> bool,
) -> Result<(), RpcError> {
    let (give, jobs) = bounded::<(usize, Job)>(AHEAD);
    let (done, outcomes) = bounded::<Outcome>(AHEAD);
    std::thread::scope(|scope| {
        for _ in 0..READERS {
            let (jobs, done) = (jobs.clone(), done.clone());
            scope.spawn(move || {
                for (index, job) in jobs {
                    if done.send((index, source.work(&job))).is_err() {
                        return;
                    }
                }
            });
        }
        drop((jobs, done));
        // Dropped at the end of this closure, whichever way: then the readers end.
        let mut line = Line {
            give,
            outcomes,
            next: stands.next,
            head: head.number,
            blocks: RANGE_BLOCKS_START,
            begun: 0,
            dated: 0,
            taken: 0,
            logs: BTreeMap::new(),
            waiting: BTreeMap::new(),
            facts: BTreeMap::new(),
            unsettled: VecDeque::new(),
            parent: stands.parent,
            rules: stands.rules.clone(),
        };
        while let Some(range) = line.next_range()? {
            *stands = Start {
                next: range.last.0 + 1,
                parent: Some(range.last.1),
                rules: range.rules.clone(),
            };
            if !take(range) {
                break;
            }
        }
        Ok(())
    })
}

/// The ranges on their way. At most `AHEAD` of them are, each with one job, so that no queue ever blocks.
struct Line {
    give: Sender<(usize, Job)>,
    outcomes: Receiver<Outcome>,
    /// The first block that nobody was sent for yet.
    next: u64,
    head: u64,
    /// How long the next range is.
    blocks: u64,
    /// How many ranges were begun, dated, and read whole.
    begun: usize,
    dated: usize,
    taken: usize,
    /// By range: logs that wait for those below, ranges whose facts are being read, and facts that are there.
    logs: BTreeMap<usize, Logs>,
    waiting: BTreeMap<usize, ((u64, H256), Rules)>,
    facts: BTreeMap<usize, Vec<Read>>,
    /// Read whole, and not handed over yet.
    unsettled: VecDeque<Range>,
    parent: Option<H256>,
    rules: Rules,
}

impl Line {
    /// None after the last.
    fn next_range(&mut self) -> Result<Option<Range>, RpcError> {
        loop {
            self.begin();
            if self.taken == self.begun {
                return Ok(self.unsettled.pop_front());
            }
            if let Some(events) = self.facts.remove(&self.taken) {
                let Some((last, rules)) = self.waiting.remove(&self.taken) else {
                    return Err(RpcError::behind("a range was read that nobody asked for"));
                };
                self.taken += 1;
                let range = Range {
                    events,
                    last,
                    rules,
                };
                if last.0.saturating_add(UNSETTLED_BLOCKS) <= self.head {
                    return Ok(Some(range));
                }
                self.unsettled.push_back(range);
                continue;
            }
            match self.outcomes.recv() {
                Ok((index, Ok(Done::Logs(logs)))) => drop(self.logs.insert(index, logs)),
                Ok((index, Ok(Done::Facts(facts)))) => drop(self.facts.insert(index, facts)),
                Ok((_, Err(error))) => return Err(error),
                Err(_) => return Err(RpcError::behind("the reading threads have ended")),
            }
            self.date()?;
        }
    }

    /// Sends for as many ranges as may be on their way.
    fn begin(&mut self) {
        while self.begun - self.taken < AHEAD && self.next <= self.head {
            let from = self.next;
            let to = self.head.min(from.saturating_add(self.blocks - 1));
            // The readers are there as long as this is.
            let _ = self.give.send((self.begun, Job::Logs { from, to }));
            self.begun += 1;
            self.next = to + 1;
        }
    }

    /// Holds the events to the contract's rules, range by range in order: these tell the times of rounds too. Then sends for
    /// what else ends need.
    fn date(&mut self) -> Result<(), RpcError> {
        while let Some(logs) = self.logs.remove(&self.dated) {
            if self.parent.is_some_and(|parent| parent != logs.parent) {
                return Err(RpcError::behind("the chain moved while it was read"));
            }
            self.parent = Some(logs.last.1);
            self.resize(logs.records.len());
            let dated = logs.records.into_iter().map(|(record, digest)| {
                let ruled = self.rules.take(&record);
                Dated {
                    record,
                    digest,
                    ruled,
                }
            });
            let dated: Vec<Dated> = dated.collect();
            let is_first = self.dated == 0;
            let _ = self.give.send((self.dated, Job::Facts { dated, is_first }));
            let after = (logs.last, self.rules.clone());
            self.waiting.insert(self.dated, after);
            self.dated += 1;
        }
        Ok(())
    }

    /// The next ranges are twice as long while they hold few logs, and half as long once they hold many.
    fn resize(&mut self, logs: usize) {
        let logs = u64::try_from(logs).unwrap_or(u64::MAX);
        if logs > RANGE_LOGS {
            self.blocks = (self.blocks / 2).max(1);
        } else if logs < RANGE_LOGS / 3 {
            self.blocks = (self.blocks * 2).min(RANGE_BLOCKS_MAX);
        }
    }
}

impl Source<'_> {
    fn work(&self, job: &Job) -> Result<Done, RpcError> {
        // Once the chain has moved, what is below may have to be read anew as well.
        let may_pass = |error: &RpcError| !is_contradiction(error);
        match job {
            Job::Logs { from, to } => {
                let logs = || self.logs(*from, *to).map(Done::Logs);
                again_while(self.endpoints, &[Method::GetLogs], may_pass, logs)
            }
            Job::Facts { dated, is_first } => {
                let facts = |states| {
                    add_facts((self.endpoints, self.contract), dated, *is_first, states)
                        .map(Done::Facts)
                };
                self.states.with_or_without(ENDS, may_pass, facts)
            }
        }
    }

    fn logs(&self, from: u64, to: u64) -> Result<Logs, RpcError> {
        let (mut records, mut parent, mut last) = (Vec::new(), None, None);
        let mut next = from;
        while next <= to {
            let chunk = self
                .endpoints
                .with_endpoint(&[Method::GetLogs], |endpoint| {
                    endpoint.log_chunk(self.contract, (next, to), true)
                })?;
            if last.is_some_and(|(_, hash)| hash != chunk.first.parent_hash) {
                return Err(RpcError::behind("the chain moved while it was read"));
            }
            parent = parent.or(Some(chunk.first.parent_hash));
            last = Some((chunk.last.number, chunk.last.hash));
            next = chunk.last.number + 1;
            for log in &chunk.logs {
                records.extend(decoded(log)?.map(|record| (Arc::new(record), digest_of(log))));
            }
        }
        match (parent, last) {
            (Some(parent), Some(last)) => Ok(Logs {
                records,
                parent,
                last,
            }),
            _ => Err(RpcError::invalid_answer("a range without a block")),
        }
    }
}

/// Of all that a log says, and where it stands.
fn digest_of(log: &Log) -> H256 {
    let mut hasher = Keccak256::new();
    hasher.update(log.block_number.to_be_bytes());
    hasher.update(log.block_hash);
    hasher.update(log.transaction_hash);
    hasher.update(log.topics.len().to_be_bytes());
    for topic in &log.topics {
        hasher.update(topic);
    }
    hasher.update(&log.data);
    H256::from_slice(&hasher.finalize())
}
