//! The whole thing on one machine with nothing installed: a chain, the contract, a dozen players that bet, and the
//! daemon with its page. Some rounds end in a draw, some in a refund.
//!
//! `cargo run --release --example demo -- [--port 6080] [--rounds N]`

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use devchain::{Config as ChainConfig, Devchain, Fault, Mining};
use lottery::app::Daemon;
use lottery::base::shutdown::{Shutdown, StopReason};
use lottery::config::{self, Sources};
use lottery::lottery::contract::decode_round;
use lottery::lottery::history::{FinishedRound, Outcome};
use lottery::lottery::round::{Round, RoundState};
use lottery::lottery::words::ether;
use lottery::web::view::address;
use serde_json::{json, Value};
use support::chain::OPERATOR_KEY;

/// Of the public dev accounts the second operates, the first publishes, the others play.
const PLAYERS: usize = 12;
const FIRST_PLAYER: usize = 2;
const BETTING_SECS: u64 = 60;
/// After a round's end the players leave its result on the page, and the first bet to the visitor.
const PAUSE: Duration = Duration::from_secs(30);
/// How long a missed round stays open to anyone's refund before the operator is let go.
const OVERDUE_SECS: u64 = 12;
/// The account of the visitor's practice wallet, after the players'.
const VISITOR: usize = FIRST_PLAYER + PLAYERS;
const MIN_DRAW_DELAY_SECS: u64 = 3;
const MAX_DRAW_DELAY_SECS: u64 = 12;
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What a round is made to show.
#[derive(Clone, Copy, PartialEq)]
enum Story {
    Draw,
    TooFewPlayers,
    /// The operator's transactions are held back until the window is over.
    OperatorPaused,
}

fn story(round_id: u64) -> Story {
    match round_id % 5 {
        3 => Story::TooFewPlayers,
        4 => Story::OperatorPaused,
        _ => Story::Draw,
    }
}

fn main() -> ExitCode {
    let (port, rounds) = match arguments() {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("{problem}\nusage: demo [--port PORT] [--rounds N]");
            return ExitCode::from(2);
        }
    };
    match run(port, rounds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<(u16, Option<u64>), String> {
    let (mut port, mut rounds) = (6080, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{argument} needs a value"))?;
        let bad = || format!("{argument} is {value}, allowed is a number");
        match argument.as_str() {
            "--port" => port = value.parse().map_err(|_| bad())?,
            "--rounds" => rounds = Some(value.parse().map_err(|_| bad())?),
            _ => return Err(format!("{argument} is not known")),
        }
    }
    Ok((port, rounds))
}

fn run(port: u16, rounds: Option<u64>) -> Result<(), String> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("lottery=info"))
        .init();
    let shutdown = Shutdown::new();
    let on_signal = shutdown.clone();
    ctrlc::set_handler(move || on_signal.trip(StopReason::Requested))
        .map_err(|error| error.to_string())?;

    let chain_config = ChainConfig {
        mining: Mining::IntervalMs(1_000),
        more_accounts: PLAYERS + 1,
        ..ChainConfig::default()
    };
    let chain = Arc::new(Devchain::start(chain_config).map_err(|error| error.to_string())?);
    let contract = Contract::deploy(chain.clone())?;
    let sets = [
        format!("blockchain.rpc_url={}", chain.url()),
        "blockchain.chain_id=31337".to_owned(),
        format!("blockchain.contract_address={}", contract.address),
        format!("server.port={port}"),
    ];
    let env = vec![(
        "LOTTERY_OPERATOR_PRIVATE_KEY".to_owned(),
        OPERATOR_KEY.to_owned(),
    )];
    let sources = Sources {
        file: None,
        env,
        sets: &sets,
    };
    let config = config::load(sources).map_err(|error| error.to_string())?;
    let wallet = include_str!("wallet.js")
        .replace("{{chain}}", &chain.url().replace("http", "ws"))
        .replace(
            "{{account}}",
            contract.accounts[VISITOR].as_str().unwrap_or_default(),
        );
    let daemon = Daemon::start_with_script(&config, shutdown.clone(), &wallet)
        .map_err(|error| error.to_string())?;
    let base = format!("http://{}", daemon.local_addr());
    println!(
        "\n  the page       {base}/\n  the round      curl {base}/api/round/status\n  \
         the history    curl {base}/api/history\n  the feed       {}/ws/lottery\n  \
         the chain      {} (chain id 31337), contract {}\n\n\
         Open the page, connect the practice wallet, bet, and check the draw: all of it is test ether, and\n\
         10 of it nearly always win. Rounds take about 95 s. One in five has a single player, one in five an operator held back past\n\
         its window. Ctrl-C ends it.\n",
        base.replace("http", "ws"),
        chain.url(),
        contract.address
    );

    let players = {
        let (contract, shutdown) = (contract.clone(), shutdown.clone());
        std::thread::spawn(move || play(&contract, &shutdown))
    };
    let mut told = 0;
    while !shutdown.wait_timeout(LOOK_EVERY) {
        let history = daemon.snapshot().load().history.clone();
        for round in history.iter().rev().filter(|round| round.round_id > told) {
            println!("{}", describe(round));
        }
        told = history
            .first()
            .map_or(told, |round| round.round_id.max(told));
        if rounds.is_some_and(|rounds| told >= rounds) {
            shutdown.trip(StopReason::Requested);
        }
    }
    let reason = daemon.wait();
    let _ = players.join();
    match reason {
        StopReason::Requested => Ok(()),
        StopReason::Failed(why) => Err(why),
    }
}

fn describe(round: &FinishedRound) -> String {
    let end = match &round.outcome {
        Outcome::Completed {
            winner,
            winner_prize_wei,
            ..
        } => format!(
            "{} won {} ETH, {} s after the window opened ({})",
            address(*winner),
            ether(*winner_prize_wei),
            round
                .position
                .block_timestamp
                .saturating_sub(round.min_draw_time),
            round.proof.verdict.label()
        ),
        Outcome::Refunded { reason } => format!("refunded: {reason}"),
    };
    format!(
        "round {}: {} players, {} ETH: {end}",
        round.round_id,
        round.participant_count,
        ether(round.total_pot_wei)
    )
}

/// Bets in each round until the end; holds the operator's transactions back where the story says so.
fn play(contract: &Contract, shutdown: &Shutdown) {
    let mut bets_of_round = (0, 0);
    let mut begun = Instant::now();
    let mut held_back = false;
    while !shutdown.wait_timeout(Duration::from_millis(2_000)) {
        let Ok(round) = contract.round() else {
            continue;
        };
        let now = contract.chain.head_timestamp();
        if story(round.round_id) == Story::OperatorPaused
            && now <= round.max_draw_time + OVERDUE_SECS
            && now + 5 >= round.end_time
        {
            if !held_back && round.state == RoundState::Betting {
                contract
                    .chain
                    .faults()
                    .add(Fault::Swallow, Some("eth_sendRawTransaction"), None);
                held_back = true;
            }
        } else if held_back {
            contract.chain.faults().clear();
            held_back = false;
        }
        if bets_of_round.0 != round.round_id {
            bets_of_round = (round.round_id, 0);
            begun = Instant::now();
        }
        let is_pause =
            round.state == RoundState::Waiting && round.round_id > 1 && begun.elapsed() < PAUSE;
        let bets_wanted = if story(round.round_id) == Story::TooFewPlayers {
            2
        } else {
            18
        };
        let open = round.state == RoundState::Waiting || now + 2 <= round.end_time;
        if open && !is_pause && bets_of_round.1 < bets_wanted {
            contract.bet(&round, bets_of_round.1);
            bets_of_round.1 += 1;
        }
    }
}

/// The contract, reached without the wire.
#[derive(Clone)]
struct Contract {
    chain: Arc<Devchain>,
    address: String,
    accounts: Vec<Value>,
}

impl Contract {
    fn deploy(chain: Arc<Devchain>) -> Result<Contract, String> {
        let accounts = chain
            .rpc("eth_accounts", json!([]))?
            .as_array()
            .cloned()
            .unwrap_or_default();
        let word = |value: u64| format!("{value:064x}");
        let owner = |index: usize| {
            let address: &Value = &accounts[index];
            format!(
                "{:0>64}",
                address
                    .as_str()
                    .unwrap_or_default()
                    .trim_start_matches("0x")
            )
        };
        let code: String = devchain::lottery_bytecode()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let times = word(250) + &word(MIN_DRAW_DELAY_SECS) + &word(MAX_DRAW_DELAY_SECS) + &word(10);
        let data = format!("0x{code}{}{}{times}", owner(0), owner(1));
        let mut contract = Contract {
            chain,
            address: String::new(),
            accounts: accounts.clone(),
        };
        let receipt =
            contract.send(json!({"from": accounts[0], "data": data, "gas": "0x4c4b40"}))?;
        contract.address = receipt["contractAddress"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let duration = format!(
            "0x{}{}",
            selector("updateBettingDuration"),
            word(BETTING_SECS)
        );
        contract.send(json!({"from": accounts[1], "to": contract.address, "data": duration, "gas": "0x30d40"}))?;
        Ok(contract)
    }

    fn send(&self, transaction: Value) -> Result<Value, String> {
        let hash = self
            .chain
            .rpc("eth_sendTransaction", json!([transaction]))?;
        loop {
            let head = self.chain.head_number();
            let receipt = self.chain.rpc("eth_getTransactionReceipt", json!([hash]))?;
            if !receipt.is_null() {
                return Ok(receipt);
            }
            if !self.chain.wait_for_block(head + 1, Duration::from_secs(10)) {
                return Err("the chain stands still".to_owned());
            }
        }
    }

    fn round(&self) -> Result<Round, String> {
        let data = format!("0x{}", selector("getRound"));
        let answer = self.chain.rpc(
            "eth_call",
            json!([{"to": self.address, "data": data}, "latest"]),
        )?;
        let bytes = lottery::chain::encode::decode_hex(answer.as_str().unwrap_or_default())
            .unwrap_or_default();
        decode_round(&bytes).map_err(|error| error.to_string())
    }

    /// The round's n-th bet, by a player and of an amount that follow from both numbers.
    fn bet(&self, round: &Round, number: u64) {
        let players = if story(round.round_id) == Story::TooFewPlayers {
            1
        } else {
            PLAYERS as u64
        };
        let player = FIRST_PLAYER + ((round.round_id * 5 + number * 7) % players) as usize;
        let wei = (1 + (round.round_id * 31 + number * 17) % 40) * 2_500_000_000_000_000;
        let bet = json!({
            "from": self.accounts[player], "to": self.address, "value": format!("0x{wei:x}"),
            "data": format!("0x{}", selector("placeBet")), "gas": "0x493e0",
        });
        // A bet that comes too late is the player's bad luck.
        let _ = self.chain.rpc("eth_sendTransaction", json!([bet]));
    }
}

/// The first four bytes of the function's hash, from the ABI.
fn selector(function: &str) -> String {
    let abi = ethabi::Contract::load(lottery::lottery::contract::ABI_JSON.as_bytes());
    let function = abi.ok().and_then(|abi| {
        abi.function(function)
            .ok()
            .map(|function| function.short_signature())
    });
    function
        .unwrap_or_default()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
