//! `lottery audit`: checks all rounds since the contract's first block, prints one line a round as it is read, then the
//! account. What must hold is `lottery::audit`'s business; reading is `reading`'s, the state file `kept`'s.

use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::actors::reader::invalid;
use crate::app;
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::chain::error::RpcError;
use crate::chain::method::Method;
use crate::chain::node::Endpoint;
use crate::chain::types::{BlockId, CallRequest, Header, H256, U256};
use crate::commands::arguments::{Arguments, CommandSpec, OptionSpec, JSON};
use crate::commands::exit::Exit;
use crate::commands::load;
use crate::commands::locate::is_at;
use crate::commands::output::tell;
use crate::commands::patience::{in_vain, patiently, OldStates};
use crate::commands::verify::calls;
use crate::lottery::audit::Audit;
use crate::lottery::contract;
use crate::lottery::round::{ContractConfig, Round, RoundState};
use crate::lottery::rules::Rules;
use crate::lottery::search::first_where;

mod facts;
mod kept;
mod reading;
mod report;

use kept::{Files, Kept, Resumed, Subject};
use reading::{read, Range, Source, Start, RANGE_BLOCKS_MAX};
use report::{Format, Printer};

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
    meaning: "keep what was read there and in FILE.rows, to go on from",
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
    format: Format,
}

impl Request<'_> {
    fn of(arguments: &Arguments) -> Result<Request<'_>, String> {
        let (from, to) = (
            arguments.number(&FROM)?.unwrap_or(1),
            arguments.number(&TO)?,
        );
        let format = match (arguments.has(&CSV), arguments.has(&JSON)) {
            (true, true) => return Err("only one of --csv and --json can be given".to_owned()),
            (true, false) => Format::Csv,
            (false, true) => Format::Json,
            (false, false) => Format::Words,
        };
        let state = arguments.text(&STATE).map(Path::new);
        if to.is_some_and(|to| to < from) {
            return Err("--to is below --from".to_owned());
        }
        if to.is_some() && state.is_some() {
            return Err(
                "--state goes on to the newest round each time: it takes no --to".to_owned(),
            );
        }
        Ok(Request {
            from,
            to,
            state,
            format,
        })
    }
}

fn run(arguments: &Arguments) -> Exit {
    let request = match Request::of(arguments) {
        Ok(request) => request,
        Err(problem) => {
            tell(&problem);
            return Exit::Usage;
        }
    };
    if let Some(Err(problem)) = request.state.map(kept::check) {
        tell(&format!("--state: {problem}"));
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
        source: Source {
            endpoints: &endpoints,
            states: &OldStates::of(&endpoints),
            contract: config.blockchain.contract_address,
        },
        subject: Subject {
            chain_id: config.blockchain.chain_id,
            contract: config.blockchain.contract_address,
            from: request.from,
        },
        clock: &clock,
        request: &request,
    };
    let mut printer = Printer::new(request.format);
    let audit = match auditor.audit(&mut printer) {
        Ok(audit) => audit,
        Err(error) => {
            let (why, exit) = in_vain(&error);
            return printer.give_up(&why, exit);
        }
    };
    tell(&format!("{} calls to the chain", calls(&metrics)));
    let found = audit.findings().len();
    if found > 0 {
        tell(&format!("{found} things do not add up"));
    }
    printer.finish(&audit)
}

struct Auditor<'a> {
    source: Source<'a>,
    subject: Subject,
    clock: &'a Clock,
    request: &'a Request<'a>,
}

/// What the contract holds, and how much of it waits for the publisher.
struct Funds {
    balance_wei: U256,
    pending_wei: U256,
}

/// What the contract's state is at one block.
struct Held {
    config: ContractConfig,
    round: Round,
    /// None where no audit of all rounds is asked for.
    funds: Option<Funds>,
}

/// How far an audit has come.
struct Progress {
    audit: Audit,
    /// As they stand after the newest range.
    rules: Rules,
    /// The newest block of that range; None before the first.
    last: Option<(u64, H256)>,
    /// None without a state file, and once it cannot be written.
    files: Option<Files>,
    is_shown: bool,
    /// Rows on the same terminal show it, too.
    is_among_rows: bool,
    shown_at: Instant,
    saved_at: Instant,
}

impl Auditor<'_> {
    fn audit(&self, printer: &mut Printer) -> Result<Audit, RpcError> {
        let endpoints = self.source.endpoints;
        let head = patiently(endpoints, &[Method::BlockByNumber], Endpoint::head)?;
        // Read now: later the endpoint may not have that block's state any more.
        let mut held = self.held_at(BlockId::from(&head))?;
        let (start, mut progress) = self.start(&held.config, &head, printer)?;
        read(self.source, start, &head, |range| {
            self.take(&mut progress, range, &head, printer)
        })?;
        let mut audit = progress.audit;
        if self.request.to.is_none() && !printer.is_cut_off() {
            // Another block has taken the head's place meanwhile: its logs are what was read.
            if let Some((number, hash)) = progress.last.filter(|(_, hash)| *hash != head.hash) {
                held = self.held_at(BlockId::Exactly { number, hash })?;
            }
            audit.close(&held.config);
            for problem in progress.rules.close(&held.config, &held.round) {
                audit.find(None, problem);
            }
            if let Some(funds) = &held.funds {
                self.check_funds(&mut audit, funds);
            }
        }
        Ok(audit)
    }

    fn held_at(&self, block: BlockId) -> Result<Held, RpcError> {
        let endpoints = self.source.endpoints;
        let config = patiently(endpoints, &[Method::Call], |endpoint| {
            self.config_at(endpoint, block)
        })?;
        let round = patiently(endpoints, &[Method::Call], |endpoint| {
            let answer = self.call(endpoint, contract::get_round_calldata(), block)?;
            contract::decode_round(&answer).map_err(invalid)
        })?;
        let is_whole = self.request.from == 1 && self.request.to.is_none();
        let funds = is_whole
            .then(|| self.funds_at(&config, block))
            .transpose()?;
        Ok(Held {
            config,
            round,
            funds,
        })
    }

    fn config_at(&self, endpoint: &Endpoint, block: BlockId) -> Result<ContractConfig, RpcError> {
        let answer = self.call(endpoint, contract::get_config_calldata(), block)?;
        contract::decode_config(&answer).map_err(invalid)
    }

    fn call(&self, endpoint: &Endpoint, data: Vec<u8>, at: BlockId) -> Result<Vec<u8>, RpcError> {
        endpoint.call(&CallRequest::to(self.subject.contract, data), at, None)
    }

    fn funds_at(&self, config: &ContractConfig, block: BlockId) -> Result<Funds, RpcError> {
        let Source {
            endpoints,
            contract: address,
            ..
        } = self.source;
        let balance_wei = patiently(endpoints, &[Method::GetBalance], |endpoint| {
            endpoint.balance(address, block)
        })?;
        let data = contract::pending_withdrawals_calldata(config.publisher);
        let pending_wei = patiently(endpoints, &[Method::Call], |endpoint| {
            let answer = self.call(endpoint, data.clone(), block)?;
            contract::decode_pending_withdrawals(&answer).map_err(invalid)
        })?;
        Ok(Funds {
            balance_wei,
            pending_wei,
        })
    }

    /// From what was kept, or from the contract's first block.
    fn start(
        &self,
        config: &ContractConfig,
        head: &Header,
        printer: &mut Printer,
    ) -> Result<(Start, Progress), RpcError> {
        let now = self.clock.now();
        let progress = |audit, rules: &Rules, files| Progress {
            audit,
            rules: rules.clone(),
            last: None,
            files,
            is_shown: std::io::stderr().is_terminal(),
            is_among_rows: std::io::stdout().is_terminal(),
            shown_at: now,
            saved_at: now,
        };
        if let Some(path) = self.request.state.filter(|path| path.exists()) {
            match self.resume(path, printer)? {
                Ok((files, kept)) => {
                    let start = Start {
                        next: kept.block.0 + 1,
                        parent: Some(kept.block.1),
                        rules: kept.rules,
                    };
                    let progress = progress(kept.audit, &start.rules, Some(files));
                    return Ok((start, progress));
                }
                Err(why) => tell(&format!("{}: {why}: reading anew", path.display())),
            }
        }
        let next = self.first_block(head);
        let is_first_of_all = self.request.from == 1 || next == 0;
        let files = self.request.state.and_then(|path| {
            let files = Files::create(path);
            files.map_err(|error| tell_unwritable(path, &error)).ok()
        });
        let start = Start {
            next,
            parent: None,
            rules: Rules::new(config, self.config_before(next).as_ref(), is_first_of_all),
        };
        let audit = Audit::new(config, self.request.from);
        let progress = progress(audit, &start.rules, files);
        Ok((start, progress))
    }

    /// What `path` keeps of this chain, or why it is of no use.
    fn resume(&self, path: &Path, printer: &mut Printer) -> Result<Resumed, RpcError> {
        let kept = match Kept::read(path, &self.subject) {
            Ok(kept) => kept,
            Err(why) => return Ok(Err(why)),
        };
        let (number, hash) = kept.block;
        let header = patiently(
            self.source.endpoints,
            &[Method::BlockByNumber],
            |endpoint| endpoint.header(BlockId::Number(number)),
        );
        match header {
            Ok(header) if header.hash == hash => {
                Ok(Files::resume(path, kept, |row| printer.row(row)))
            }
            Err(error) if error.is_passing() => Err(error),
            _ => Ok(Err(format!("the chain has another block {number} now"))),
        }
    }

    /// Where the first round's logs begin: found by old states, else block 0.
    fn first_block(&self, head: &Header) -> u64 {
        let Source {
            states, contract, ..
        } = self.source;
        let from = self.request.from;
        let found = first_where(0, head.number, head.number, |number| {
            is_at(states, contract, number, |round| {
                round.round_id > from
                    || round.round_id == from && (from == 1 || round.state == RoundState::Betting)
            })
        });
        found.unwrap_or_else(|_| {
            tell(&format!(
                "the logs are read from block 0, at most {RANGE_BLOCKS_MAX} blocks at a time"
            ));
            0
        })
    }

    /// What was in force at the end of the block before `next`, or of that one where the contract was not there before;
    /// None where no endpoint tells the state there.
    fn config_before(&self, next: u64) -> Option<(u64, ContractConfig)> {
        let blocks = next.checked_sub(1).into_iter().chain([next]);
        let mut configs = blocks.filter_map(|number| {
            let config = self.source.states.ask(|endpoint| {
                let data = contract::get_config_calldata();
                let answer = self.call(endpoint, data, BlockId::Number(number))?;
                // There was no contract yet.
                let answer = Some(answer).filter(|answer| !answer.is_empty());
                let config = answer
                    .map(|answer| contract::decode_config(&answer))
                    .transpose();
                config.map_err(invalid)
            });
            Some((number, config.ok()??))
        });
        configs.next()
    }

    /// Takes the events of a range; false once all that was asked for has been read, or nobody listens any more.
    fn take(
        &self,
        progress: &mut Progress,
        range: Range,
        head: &Header,
        printer: &mut Printer,
    ) -> bool {
        for read in range.events {
            if self
                .request
                .to
                .is_some_and(|to| progress.audit.ended() >= Some(to))
            {
                return false;
            }
            for (round_id, problem) in read.problems {
                if round_id.is_none_or(|round_id| round_id >= self.request.from) {
                    progress.audit.find(round_id, problem);
                }
            }
            progress.audit.chain(&read.event.record.event, read.digest);
            if let Some(row) = progress.audit.take(&read.event, read.sender) {
                printer.row(&row);
                if progress.is_among_rows {
                    progress.shown_at = self.clock.now();
                }
                self.keep(&mut progress.files, |files| files.add(&row));
            }
        }
        printer.flush();
        let now = self.clock.now();
        let is_last = range.last.0 >= head.number;
        if is_last || now.saturating_duration_since(progress.saved_at) >= SAVE_EVERY {
            progress.saved_at = now;
            let Progress { audit, files, .. } = progress;
            self.keep(files, |files| {
                files.save(self.subject, range.last, audit, &range.rules)
            });
        }
        if progress.is_shown && now.saturating_duration_since(progress.shown_at) >= SHOW_EVERY {
            progress.shown_at = now;
            let (last, rounds) = (range.last.0, progress.audit.rounds());
            tell(&format!("block {last} of {}, {rounds} rounds", head.number));
        }
        progress.rules = range.rules;
        progress.last = Some(range.last);
        !printer.is_cut_off()
    }

    /// Writes to the state file, where there is one; one that cannot be written is told of once.
    fn keep(
        &self,
        files: &mut Option<Files>,
        write: impl FnOnce(&mut Files) -> std::io::Result<()>,
    ) {
        let written = files.as_mut().map(write);
        if let (Some(Err(error)), Some(path)) = (written, self.request.state) {
            tell_unwritable(path, &error);
            *files = None;
        }
    }

    /// All ether is accounted for: what the contract holds, and what waits for the publisher, follow from the events.
    fn check_funds(&self, audit: &mut Audit, funds: &Funds) {
        let (pending, due) = (funds.pending_wei, audit.pending_wei());
        if pending != due {
            let problem = format!("{pending} wei wait for the publisher, {due} wei were due");
            audit.find(None, problem);
        }
        let (balance, due) = (funds.balance_wei, audit.balance_wei());
        if balance == due {
            return;
        }
        // Once off, it stays off: the first end of a round at which it is tells since when.
        let Source {
            states, contract, ..
        } = self.source;
        let ends = audit.held().len() as u64;
        let held = |index: u64| audit.held().get(usize::try_from(index).ok()?);
        let since = first_where(0, ends, ends, |index| match held(index) {
            Some(held) => {
                let block = BlockId::Number(held.block_number);
                Ok(states.ask(|endpoint| endpoint.balance(contract, block))? != held.wei)
            }
            None => Ok::<bool, RpcError>(true),
        });
        let since = since.ok().and_then(held).map(|held| held.round_id);
        audit.find(
            since,
            format!("the contract holds {balance} wei, its events account for {due} wei"),
        );
    }
}

fn tell_unwritable(path: &Path, error: &std::io::Error) {
    tell(&format!("{}: cannot be written: {error}", path.display()));
}
