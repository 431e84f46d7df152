//! `lottery check`: everything that can be known before running, asked of every endpoint; nothing is sent.

use serde_json::{json, Value};

use crate::app;
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::chain::error::RpcError;
use crate::chain::node::{CallRequest, Endpoint};
use crate::chain::subscription::Subscription;
use crate::chain::types::{to_checksum, Address, BlockId};
use crate::chain::url::shown_host;
use crate::commands::arguments::{CommandSpec, JSON};
use crate::commands::exit::Exit;
use crate::commands::load;
use crate::commands::output::{print, tell};
use crate::config::Config;
use crate::lottery::contract::{decode_config, get_config_calldata};
use crate::lottery::round::ContractConfig;
use crate::lottery::words::ether;

/// One row of the table.
struct Row {
    subject: String,
    check: &'static str,
    /// None: worth knowing, but neither right nor wrong.
    passed: Option<bool>,
    found: String,
}

pub(super) static COMMAND: CommandSpec = CommandSpec {
    name: "check",
    operand: None,
    summary: "load everything, ask every endpoint, print a table; sends nothing",
    details: "",
    options: &[JSON],
    examples: &["lottery check --config /etc/lottery/lottery.conf"],
    run: |arguments| match load::whole(arguments) {
        Ok(config) => run(&config, arguments.has(&JSON)),
        Err(exit) => exit,
    },
};

fn run(config: &Config, as_json: bool) -> Exit {
    let key_address = match app::load_key(config) {
        Ok(key) => key.map(|key| key.address()),
        Err(error) => {
            tell(&error.to_string());
            return Exit::Usage;
        }
    };
    let (clock, metrics) = (Clock::system(), Metrics::default());
    let endpoints = match app::endpoints(config, &clock, &metrics) {
        Ok(endpoints) => endpoints,
        Err(error) => {
            tell(&error.to_string());
            return Exit::Usage;
        }
    };
    let mut rows = vec![Row {
        subject: "key".to_owned(),
        check: "loaded",
        passed: key_address.map(|_| true),
        found: key_address.map_or("none: the daemon will not draw".to_owned(), |address| {
            to_checksum(&address)
        }),
    }];
    let mut usable = 0;
    for endpoint in endpoints.list() {
        let before = rows.len();
        check_endpoint(endpoint, config, key_address, &mut rows);
        usable += usize::from(rows[before..].iter().all(|row| row.passed != Some(false)));
    }
    for url in &config.blockchain.subscribe_urls {
        rows.push(check_subscription(url.expose(), config));
    }
    let passed = rows.iter().all(|row| row.passed != Some(false)) && usable > 0;
    let text = match as_json {
        true => format!("{}\n", as_value(&rows, passed)),
        false => as_table(&rows),
    };
    match passed {
        true => print(&text, Exit::Done),
        false => print(&text, Exit::No),
    }
}

fn check_subscription(url: &str, config: &Config) -> Row {
    let blockchain = &config.blockchain;
    let (chain_id, contract) = (blockchain.chain_id, blockchain.contract_address);
    let opened = Subscription::open(url, chain_id, contract, blockchain.rpc_timeout);
    Row {
        subject: shown_host(url, &["ws", "wss"]).unwrap_or_default(),
        check: "subscription",
        passed: Some(opened.is_ok()),
        found: opened.map_or_else(
            |error| error.to_string(),
            |_| "heads and logs are announced".to_owned(),
        ),
    }
}

fn check_endpoint(endpoint: &Endpoint, config: &Config, key: Option<Address>, rows: &mut Vec<Row>) {
    let mut row = |check, passed, found: String| {
        rows.push(Row {
            subject: endpoint.host().to_owned(),
            check,
            passed,
            found,
        });
    };
    match endpoint.chain_id() {
        Ok(id) => row(
            "chain id",
            Some(id == config.blockchain.chain_id),
            id.to_string(),
        ),
        Err(error) => return row("chain id", Some(false), error.to_string()),
    }
    let version = endpoint
        .client_version()
        .unwrap_or_else(|error| error.to_string());
    row("client", None, version);
    let contract = config.blockchain.contract_address;
    match endpoint.code(contract, BlockId::Latest) {
        Ok(code) => row(
            "code at the address",
            Some(!code.is_empty()),
            format!("{} bytes", code.len()),
        ),
        Err(error) => row("code at the address", Some(false), error.to_string()),
    }
    let answer = endpoint
        .call(
            &CallRequest::to(contract, get_config_calldata()),
            BlockId::Latest,
            None,
        )
        .and_then(|answer| {
            decode_config(&answer).map_err(|error| RpcError::invalid_answer(error.to_string()))
        });
    match answer {
        Ok(found) => check_contract(&found, config, key, &mut row),
        Err(error) => row("contract", Some(false), error.to_string()),
    }
    if let Some(key) = key {
        match endpoint.balance(key, BlockId::Latest) {
            Ok(wei) => row(
                "balance",
                Some(!wei.is_zero()),
                format!("{} ETH", ether(wei)),
            ),
            Err(error) => row("balance", Some(false), error.to_string()),
        }
    }
    let overrides = endpoint.block_overrides();
    let word = |can| if can { "yes" } else { "no" };
    let (call, estimate) = (word(overrides.call), word(overrides.estimate));
    let found = format!("eth_call {call}, eth_estimateGas {estimate}");
    row("block overrides", None, found);
    let Ok(head) = endpoint.head() else {
        return row("head", Some(false), "cannot be read".to_owned());
    };
    row("head", Some(true), format!("block {}", head.number));
    let lowest = head.number.saturating_sub(1);
    let batch = endpoint.headers(&[lowest, head.number]);
    row(
        "batch",
        None,
        batch.map_or_else(
            |error| error.to_string(),
            |_| "taken, or asked one by one".to_owned(),
        ),
    );
    let from = head
        .number
        .saturating_sub(config.event_manager.start_block_offset);
    let chunk = endpoint.log_chunk(contract, (from, head.number), false);
    row(
        "log range",
        None,
        match chunk {
            Ok(chunk) => format!(
                "{} of {} blocks at once, {} logs",
                chunk.last.number - chunk.first.number + 1,
                head.number - from + 1,
                chunk.logs.len()
            ),
            Err(error) => error.to_string(),
        },
    );
}

fn check_contract(
    found: &ContractConfig,
    config: &Config,
    key: Option<Address>,
    row: &mut impl FnMut(&'static str, Option<bool>, String),
) {
    row(
        "operator",
        key.map(|key| key == found.operator),
        to_checksum(&found.operator),
    );
    let window_secs = found
        .max_draw_delay_secs
        .saturating_sub(found.min_draw_delay_secs);
    row("draw window", None, format!("{window_secs} s"));
    let standby_secs = config.operator.standby_delay.as_secs();
    if standby_secs > 0 {
        // A standby that wakes after the window, or in its last third, could never draw.
        let fits = standby_secs.saturating_mul(3) <= window_secs.saturating_mul(2);
        row(
            "standby_delay",
            Some(fits),
            format!("{standby_secs} s of a window of {window_secs} s"),
        );
    }
}

fn as_value(rows: &[Row], passed: bool) -> Value {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| json!({"subject": row.subject, "check": row.check, "passed": row.passed, "found": row.found}))
        .collect();
    json!({"passed": passed, "checks": rows})
}

fn as_table(rows: &[Row]) -> String {
    let width = |text: fn(&Row) -> usize| rows.iter().map(text).max().unwrap_or(0);
    let (subjects, checks) = (width(|row| row.subject.len()), width(|row| row.check.len()));
    let mut text = String::new();
    for row in rows {
        let mark = match row.passed {
            Some(true) => "ok",
            Some(false) => "NO",
            None => "  ",
        };
        text += &format!(
            "{mark}  {:subjects$}  {:checks$}  {}\n",
            row.subject, row.check, row.found
        );
    }
    text
}
