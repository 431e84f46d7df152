//! What an audit of a long history costs. Two histories are played on a chain in this process, on the real contract: one
//! of 200 draws and 50 refunds, on which a script in another language checks each round where PYTHON names one, and one
//! of 10,000 rounds with 200,000 bets. Printed are the audit's time and the peak of its memory (VmHWM, looked at every 2
//! ms), beside the time of merely reading the same logs: the same ranges over one connection, each answer parsed. Of the long
//! history each is done thrice, in turns, and the middle one counts. Nothing here is timed while the chain plays.
//!
//! `cargo bench --bench audit` takes half an hour, nearly all of it playing; `-- --smoke` plays small histories, and
//! `--rounds N` makes the long one so long.

use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use lottery::chain::types::Address;
use serde_json::{json, Value};

use support::chain::{hex_address, Chain, Lottery, Timing, CHAIN_ID};
use support::daemon::lottery_in;
use support::history::{Ending, History};
use support::quantile::quantile;

/// As the audit asks.
const RANGE_BLOCKS: u64 = 2_000;
const BETS_PER_ROUND: usize = 20;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let is_smoke = arguments.iter().any(|argument| argument == "--smoke");
    let (draws, refunds, rounds) = if is_smoke {
        (6, 4, 30)
    } else {
        (200, 50, 10_000)
    };
    let named = arguments.iter().position(|argument| argument == "--rounds");
    let named = named.and_then(|index| arguments.get(index + 1)?.parse().ok());
    let rounds = named.unwrap_or(rounds);
    if std::env::var_os("KEEP").is_none() {
        mixed(draws, refunds);
    }
    long(rounds);
}

/// Every kind of ending; each round is checked by the script, too.
fn mixed(draws: u64, refunds: u64) {
    let (chain, address) = deployed();
    let lottery = Lottery {
        chain: &chain,
        address,
    };
    let mut history = History::new(&lottery, 1, 8);
    history.has_reorgs = true;
    let count = |event: &str| lottery.logs(event).len() as u64;
    while count("RoundCompleted") < draws || count("RoundRefunded") < refunds {
        let ending = history.any_ending();
        history.play(6, ending);
    }
    let (drawn, refunded) = (count("RoundCompleted"), count("RoundRefunded"));
    let audited = audit(&chain, &lottery);
    println!(
        "{drawn} draws, {refunded} refunds, {} reorgs: {audited}",
        history.reorgs
    );
    let Ok(python) = std::env::var("PYTHON") else {
        println!("no PYTHON: the script in another language has checked none");
        return;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/packaging/check_draw.py");
    let agreed = (1..=drawn + refunded).filter(|round_id| {
        let arguments = [
            script,
            &chain.url,
            &hex_address(address),
            &round_id.to_string(),
        ];
        let mut command = std::process::Command::new(&python);
        let output = command.args(arguments).output().expect("PYTHON runs");
        output.status.success()
    });
    println!("the script agrees on {} of them", agreed.count());
}

/// Draws alone, with as many bets as a busy lottery has.
fn long(rounds: u64) {
    let (chain, address) = deployed();
    let lottery = Lottery {
        chain: &chain,
        address,
    };
    let mut history = History::new(&lottery, 2, 200);
    let began = Instant::now();
    for _ in 0..rounds {
        history.play(BETS_PER_ROUND, Ending::Drawn { late_secs: 0 });
    }
    println!("{rounds} rounds played in {:.0?}", began.elapsed());
    if std::env::var_os("KEEP").is_some() {
        println!("{} {}", chain.url, hex_address(lottery.address));
        loop {
            std::thread::park();
        }
    }
    let (mut audits, mut reads) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        audits.push(audit(&chain, &lottery));
        reads.push(read_logs(&chain, &lottery));
    }
    audits.sort_by_key(|audited| audited.took);
    let (audited, read) = (&audits[1], quantile(&mut reads, 50));
    let ratio = audited.took.as_secs_f64() / read.as_secs_f64();
    println!("{rounds} rounds: {audited}");
    println!("reading the logs alone {read:.2?}: the audit takes {ratio:.1} times as long");
}

fn deployed() -> (Chain, Address) {
    let chain = Chain::devchain_with(devchain::Config {
        more_accounts: 200,
        ..Default::default()
    });
    let address = chain.deploy(Timing::default()).address;
    (chain, address)
}

struct Audited {
    took: Duration,
    peak_kib: u64,
    calls: u64,
    findings: usize,
    verified: u64,
    exit: Option<i32>,
}

impl std::fmt::Display for Audited {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(
            formatter,
            "exit {:?}, {} verified, {} findings, {:.2?}, {} calls, at most {:.1} MiB",
            self.exit,
            self.verified,
            self.findings,
            self.took,
            self.calls,
            self.peak_kib as f64 / 1024.0
        )
    }
}

fn audit(chain: &Chain, lottery: &Lottery) -> Audited {
    let dir = tempfile::TempDir::new().unwrap();
    let calls = chain.calls();
    let began = Instant::now();
    let mut child = lottery_in(&dir)
        .args(["audit", "--json"])
        .args(["--set", &format!("blockchain.rpc_url={}", chain.url)])
        .args(["--set", &format!("blockchain.chain_id={CHAIN_ID}")])
        .args([
            "--set",
            &format!(
                "blockchain.contract_address={}",
                hex_address(lottery.address)
            ),
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        text
    });
    let mut peak_kib = 0;
    let status = loop {
        peak_kib = peak_kib.max(peak_of(child.id()));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::park_timeout(Duration::from_millis(2));
    };
    let took = began.elapsed();
    let body: Value = serde_json::from_str(&reading.join().unwrap()).unwrap_or(Value::Null);
    Audited {
        took,
        peak_kib,
        calls: chain.calls() - calls,
        findings: body["findings"].as_array().map_or(0, Vec::len),
        verified: body["account"]["verified"].as_u64().unwrap_or(0),
        exit: status.code(),
    }
}

/// The most memory that the process had resident so far, in KiB; 0 once it has ended.
fn peak_of(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    kib.and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

fn read_logs(chain: &Chain, lottery: &Lottery) -> Duration {
    let agent = ureq::Agent::new_with_defaults();
    let head = chain.head().0;
    let began = Instant::now();
    for from in (0..=head).step_by(RANGE_BLOCKS as usize) {
        let to = (from + RANGE_BLOCKS - 1).min(head);
        let filter = json!({
            "address": hex_address(lottery.address), "fromBlock": format!("0x{from:x}"), "toBlock": format!("0x{to:x}"),
        });
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_getLogs", "params": [filter]});
        let mut response = agent
            .post(&chain.url)
            .header("content-type", "application/json")
            .send(&call.to_string())
            .unwrap();
        let body = response.body_mut().with_config().limit(1 << 30);
        let answer: Value = serde_json::from_str(&body.read_to_string().unwrap()).unwrap();
        std::hint::black_box(answer);
    }
    began.elapsed()
}
