//! `lottery audit`: reads all rounds since the contract's first block, side by side within the endpoints' limits, and
//! prints one line a round, then the account. What must hold is `lottery::audit`'s business; here it is read, compared
//! with receipts and balances, and told.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crossbeam_channel::bounded;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::actors::reader::Reader;
use crate::app;
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::chain::endpoints::Endpoints;
use crate::chain::error::RpcError;
use crate::chain::method::Method;
use crate::chain::types::{Address, BlockId, CallRequest, Header, H256};
use crate::commands::arguments::{Arguments, CommandSpec, OptionSpec, JSON};
use crate::commands::exit::Exit;
use crate::commands::load;
use crate::commands::locate::{is_at, read_up};
use crate::commands::output::{print, tell};
use crate::commands::verify::calls;
use crate::config::Config;
use crate::lottery::audit::Audit;
use crate::lottery::contract;
use crate::lottery::history::LoggedEvent;
use crate::lottery::round::{ContractConfig, RoundState};
use crate::lottery::search::first_where;

mod report;

use report::{csv, describe, Shown};

/// How many ranges of blocks are read at once, and how long each is.
const READERS: usize = 4;
const RANGE_BLOCKS: u64 = 2_000;
/// A range that no endpoint answers for is asked again, at a falling pace, so often.
const TRIES: u32 = 8;
/// How often progress is shown and the state file written.
const SHOW_EVERY: Duration = Duration::from_millis(500);
const SAVE_EVERY: Duration = Duration::from_secs(10);

const FROM: OptionSpec = OptionSpec {
    long: "from",
    short: None,
    value: Some("N"),
    meaning: "the first round (default: 1)",
};
const TO: OptionSpec = OptionSpec {
    long: "to",
    short: None,
    value: Some("N"),
    meaning: "the last round (default: the last one that has ended)",
};
const CSV: OptionSpec = OptionSpec {
    long: "csv",
    short: None,
    value: None,
    meaning: "print the rounds alone, as comma-separated values",
};
const STATE: OptionSpec = OptionSpec {
    long: "state",
    short: None,
    value: Some("FILE"),
    meaning: "keep what was read there, and go on from it the next time",
};

pub(super) static COMMAND: CommandSpec = CommandSpec {
    name: "audit",
    operand: None,
    summary: "check every round since the contract's first block, and where all ether went",
    details: "\
Needs neither daemon nor key: blockchain.rpc_url, chain_id and contract_address are enough.
Every figure comes from the chain. Statistics are printed with their p-values and sample sizes,
and are no verdict. Exit code 3 says that something does not add up; it is named.
",
    options: &[FROM, TO, CSV, JSON, STATE],
    examples: &[
        "lottery audit",
        "lottery audit --from 100 --to 200 --csv",
        "lottery audit --json --state audit.json",
    ],
    run,
};

/// What the arguments ask for.
struct Request<'a> {
    from: u64,
    to: Option<u64>,
    state: Option<&'a Path>,
}

/// What is kept between two runs; of use only on the chain and contract that it was read from.
#[derive(Deserialize, Serialize)]
struct Kept {
    chain_id: u64,
    contract: Address,
    from: u64,
    /// The newest block that was read.
    block: (u64, H256),
    audit: Audit,
}

fn run(arguments: &Arguments) -> Exit {
    let numbers = (arguments.number(&FROM), arguments.number(&TO));
    let (from, to) = match numbers {
        (Ok(from), Ok(to)) => (from.unwrap_or(1), to),
        (Err(problem), _) | (_, Err(problem)) => {
            tell(&problem);
            return Exit::Usage;
        }
    };
    if to.is_some_and(|to| to < from) || arguments.has(&CSV) && arguments.has(&JSON) {
        tell("--to is not below --from, and only one of --csv and --json can be given");
        return Exit::Usage;
    }
    let config = match load::to_read(arguments) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let (clock, metrics) = (Clock::system(), Metrics::default());
    let endpoints = match app::endpoints(&config, &clock, &metrics) {
        Ok(endpoints) => endpoints,
        Err(error) => {
            tell(&error.to_string());
            return Exit::Usage;
        }
    };
    let auditor = Auditor {
        config: &config,
        clock: &clock,
        endpoints: &endpoints,
        reader: Reader::new(
            config.blockchain.contract_address,
            config.blockchain.chain_id,
        ),
    };
    let request = Request {
        from,
        to,
        state: arguments.text(&STATE).map(Path::new),
    };
    let audit = match auditor.audit(&request) {
        Ok(audit) => audit,
        Err(error) => {
            tell(&format!("the chain cannot be read: {error}"));
            return Exit::Failed;
        }
    };
    tell(&format!("{} calls to the chain", calls(&metrics)));
    let text = if arguments.has(&CSV) {
        csv(audit.rows())
    } else if arguments.has(&JSON) {
        let body = json!({
            "rounds": audit.rows(), "account": audit.summary(), "findings": audit.findings(),
        });
        format!("{body}\n")
    } else {
        describe(&audit)
    };
    match audit.findings() {
        [] => print(&text, Exit::Done),
        findings => {
            tell(&format!("{} things do not add up", findings.len()));
            print(&text, Exit::No)
        }
    }
}

struct Auditor<'a> {
    config: &'a Config,
    clock: &'a Clock,
    endpoints: &'a Endpoints,
    reader: Reader,
}

/// An event with who sent its transaction, and what is wrong with its receipt; both for ends of rounds alone.
type Sent = (LoggedEvent, Option<Address>, Option<String>);

impl Auditor<'_> {
    fn audit(&self, request: &Request) -> Result<Audit, RpcError> {
        let head = self
            .endpoints
            .with_endpoint(&[Method::BlockByNumber], |endpoint| endpoint.head())?;
        let config = self.config_at(&head)?;
        let kept = request.state.and_then(|path| self.kept(path, request.from));
        let (mut audit, next) = match kept {
            Some(kept) => (kept.audit, kept.block.0 + 1),
            None => (
                Audit::new(&config, request.from),
                self.first_block(&head, request.from),
            ),
        };
        self.read(&mut audit, (next, &head), request)?;
        if request.to.is_none() {
            audit.close(&config);
            self.check_balances(&mut audit, &config, &head);
        }
        Ok(audit)
    }

    fn config_at(&self, head: &Header) -> Result<ContractConfig, RpcError> {
        let request = CallRequest::to(self.reader.contract(), contract::get_config_calldata());
        let answer = self.endpoints.with_endpoint(&[Method::Call], |endpoint| {
            endpoint.call(&request, BlockId::from(head), None)
        })?;
        contract::decode_config(&answer)
            .map_err(|error| RpcError::invalid_answer(error.to_string()))
    }

    /// Where the first round's logs begin: found by old states, else block 0.
    fn first_block(&self, head: &Header, from: u64) -> u64 {
        let found = first_where(0, head.number, head.number, |number| {
            is_at(self.endpoints, &self.reader, number, |round| {
                round.round_id > from
                    || round.round_id == from && (from == 1 || round.state == RoundState::Betting)
            })
        });
        found.unwrap_or_else(|error| {
            tell(&format!(
                "no endpoint tells old states ({error}): the logs are read from block 0, {RANGE_BLOCKS} blocks at a time"
            ));
            0
        })
    }

    /// What was kept, if it was read from this very chain.
    fn kept(&self, path: &Path, from: u64) -> Option<Kept> {
        let text = std::fs::read_to_string(path).ok()?;
        let anew = |why: &str| tell(&format!("{}: {why}: reading anew", path.display()));
        let kept: Kept = match serde_json::from_str(&text) {
            Ok(kept) => kept,
            Err(error) => {
                anew(&error.to_string());
                return None;
            }
        };
        let ours = (
            self.config.blockchain.chain_id,
            self.reader.contract(),
            from,
        );
        if (kept.chain_id, kept.contract, kept.from) != ours {
            anew("of another chain, contract or first round");
            return None;
        }
        let (number, hash) = kept.block;
        let header = self
            .endpoints
            .with_endpoint(&[Method::BlockByNumber], |endpoint| {
                endpoint.header(BlockId::Number(number))
            });
        match header {
            Ok(header) if header.hash == hash => Some(kept),
            _ => {
                anew(&format!("the chain has another block {number} now"));
                None
            }
        }
    }

    /// Reads the blocks from `next` to the head side by side, and takes their events in order.
    fn read(
        &self,
        audit: &mut Audit,
        (next, head): (u64, &Header),
        request: &Request,
    ) -> Result<(), RpcError> {
        let starts: Vec<u64> = (next..=head.number)
            .step_by(usize::try_from(RANGE_BLOCKS).unwrap_or(usize::MAX))
            .collect();
        let (give, todo) = bounded::<(usize, u64)>(READERS);
        let (done, results) = bounded(READERS);
        std::thread::scope(|scope| {
            // Dropped at the end of this closure, whichever way: then the readers end.
            let (give, results) = (give, results);
            for _ in 0..READERS {
                let (todo, done) = (todo.clone(), done.clone());
                scope.spawn(move || {
                    for (index, from) in todo {
                        let to = (from + RANGE_BLOCKS - 1).min(head.number);
                        let read = self.patiently(|| self.read_range(from, to));
                        if done.send((index, read)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop((todo, done));
            let mut given = starts.iter().copied().enumerate();
            for range in given.by_ref().take(READERS) {
                // The readers are there: each takes one.
                let _ = give.send(range);
            }
            let mut shown = Shown::new(self.clock.now());
            let mut early = BTreeMap::new();
            for (index, start) in starts.iter().enumerate() {
                let events: Vec<Sent> = loop {
                    if let Some(events) = early.remove(&index) {
                        break events;
                    }
                    let Ok((read, events)) = results.recv() else {
                        return Err(RpcError::behind("the reading threads have ended"));
                    };
                    early.insert(read, events?);
                    if let Some(range) = given.next() {
                        let _ = give.send(range);
                    }
                };
                for (event, sender, problem) in events {
                    let round_id = event.record.event.ended_round();
                    if request
                        .to
                        .is_some_and(|to| audit.rows().last().is_some_and(|row| row.round_id >= to))
                    {
                        return Ok(());
                    }
                    if let Some(problem) = problem.filter(|_| round_id >= Some(request.from)) {
                        audit.find(round_id, problem);
                    }
                    audit.take(&event, sender);
                }
                let last = (start + RANGE_BLOCKS - 1).min(head.number);
                self.show(&mut shown, audit, (last, head), request)?;
            }
            self.save(audit, (head.number, head.hash), request);
            Ok(())
        })
    }

    fn read_range(&self, from: u64, to: u64) -> Result<Vec<Sent>, RpcError> {
        let events = read_up(self.endpoints, &self.reader, from, to)?;
        events
            .into_iter()
            .map(|event| match event.record.event.ended_round() {
                Some(_) => self.with_sender(event),
                None => Ok((event, None, None)),
            })
            .collect()
    }

    fn with_sender(&self, event: LoggedEvent) -> Result<Sent, RpcError> {
        let position = &event.record.position;
        let hash = position.transaction_hash;
        let receipt = self
            .endpoints
            .with_endpoint(&[Method::TransactionReceipt], |endpoint| {
                endpoint.receipt(hash)
            })?;
        let problem = match &receipt {
            None => Some("the transaction that ended it has no receipt"),
            Some(receipt) if !receipt.succeeded => {
                Some("the receipt says that what ended it failed")
            }
            Some(receipt) if receipt.block_hash != position.block_hash => {
                Some("the receipt names another block than the log")
            }
            Some(_) => None,
        }
        .map(str::to_owned);
        let sender = receipt
            .filter(|_| problem.is_none())
            .and_then(|receipt| receipt.from);
        Ok((event, sender, problem))
    }

    /// Asks again, at a falling pace, what no endpoint answers for now.
    fn patiently<T>(&self, ask: impl Fn() -> Result<T, RpcError>) -> Result<T, RpcError> {
        let mut tries = 0;
        loop {
            match ask() {
                Err(_) if tries < TRIES => {
                    let wait = Duration::from_millis(100 << tries)
                        .max(self.endpoints.ready_in(&[Method::GetLogs]));
                    self.clock.wait_any(&[], Some(self.clock.now() + wait));
                    tries += 1;
                }
                answer => return answer,
            }
        }
    }

    fn show(
        &self,
        shown: &mut Shown,
        audit: &Audit,
        (last, head): (u64, &Header),
        request: &Request,
    ) -> Result<(), RpcError> {
        let now = self.clock.now();
        if shown.on_terminal && now.saturating_duration_since(shown.at) >= SHOW_EVERY {
            shown.at = now;
            let rounds = audit.rows().len();
            tell(&format!("block {last} of {}, {rounds} rounds", head.number));
        }
        if request.state.is_some() && now.saturating_duration_since(shown.saved_at) >= SAVE_EVERY {
            shown.saved_at = now;
            let block = BlockId::Number(last);
            let header = self
                .endpoints
                .with_endpoint(&[Method::BlockByNumber], |endpoint| endpoint.header(block))?;
            self.save(audit, (last, header.hash), request);
        }
        Ok(())
    }

    /// Written beside and put in place, so that an end in the middle spoils nothing.
    fn save(&self, audit: &Audit, block: (u64, H256), request: &Request) {
        let Some(path) = request.state else { return };
        let kept = Kept {
            chain_id: self.config.blockchain.chain_id,
            contract: self.reader.contract(),
            from: request.from,
            block,
            audit: audit.clone(),
        };
        let beside = path.with_extension("new");
        let written = serde_json::to_vec(&kept)
            .map_err(std::io::Error::other)
            .and_then(|text| std::fs::write(&beside, text))
            .and_then(|()| std::fs::rename(&beside, path));
        if let Err(error) = written {
            tell(&format!("{}: cannot be written: {error}", path.display()));
        }
    }

    /// All ether is accounted for: what the contract holds, and what waits for the publisher, follow from the events.
    fn check_balances(&self, audit: &mut Audit, config: &ContractConfig, head: &Header) {
        if !audit.is_whole() {
            return;
        }
        let address = self.reader.contract();
        let balance_at = |block| {
            self.endpoints
                .with_endpoint(&[Method::GetBalance], |endpoint| {
                    endpoint.balance(address, block)
                })
        };
        let pending = self.endpoints.with_endpoint(&[Method::Call], |endpoint| {
            let data = contract::pending_withdrawals_calldata(config.publisher);
            let answer =
                endpoint.call(&CallRequest::to(address, data), BlockId::from(head), None)?;
            contract::decode_pending_withdrawals(&answer)
                .map_err(|error| RpcError::invalid_answer(error.to_string()))
        });
        let (Ok(balance), Ok(pending)) = (balance_at(BlockId::from(head)), pending) else {
            tell("the contract's balance cannot be read: it is not compared");
            return;
        };
        if pending != audit.pending_wei() {
            let due = audit.pending_wei();
            audit.find(
                None,
                format!("{pending} wei wait for the publisher, {due} wei were due"),
            );
        }
        let due = audit.balance_wei();
        if balance == due {
            return;
        }
        // Once off, it stays off: the first end of a round at which it is tells since when.
        let ends: Vec<_> = audit.balances().to_vec();
        let since = first_where(0, ends.len() as u64, ends.len() as u64, |index| {
            let end = usize::try_from(index)
                .ok()
                .and_then(|index| ends.get(index));
            let Some((number, due)) = end else {
                return Ok(true);
            };
            Ok::<bool, RpcError>(balance_at(BlockId::Number(*number))? != *due)
        });
        let since = since
            .ok()
            .and_then(|index| audit.rows().get(usize::try_from(index).ok()?));
        let since = since.map(|row| row.round_id);
        audit.find(
            since,
            format!("the contract holds {balance} wei, its events account for {due} wei"),
        );
    }
}
