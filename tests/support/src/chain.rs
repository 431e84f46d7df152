//! A test chain behind its JSON-RPC URL, anvil or devchain alike: everything goes through the wire, so that a test
//! cannot tell them apart.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ethabi::{Contract, ParamType, Token};
use lottery::chain::encode::{decode_hex, encode_hex};
use lottery::chain::types::{Address, H256, U256};
use lottery::lottery::contract::{decode_round, get_round_calldata, ABI_JSON};
use lottery::lottery::round::Round;
use serde_json::{json, Value};

/// Keys of the first two accounts of the well-known phrase "test test ... junk".
pub const OPERATOR_KEY: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
pub const OPERATOR: usize = 1;

pub const CHAIN_ID: u64 = 31_337;
const PATIENCE: Duration = Duration::from_secs(60);

/// The contract's times, in seconds.
#[derive(Clone, Copy)]
pub struct Timing {
    pub betting: u64,
    pub min_draw_delay: u64,
    pub max_draw_delay: u64,
    pub min_extension: u64,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            betting: 180,
            min_draw_delay: 5,
            max_draw_delay: 180,
            min_extension: 60,
        }
    }
}

enum Node {
    Anvil(Child),
    Devchain(devchain::Devchain),
}

pub struct Chain {
    pub url: String,
    node: Node,
    accounts: Vec<Address>,
}

impl Drop for Chain {
    fn drop(&mut self) {
        if let Node::Anvil(child) = &mut self.node {
            // Installed by npm, anvil is the child of a script: the whole group has to go.
            if let Ok(group) = i32::try_from(child.id()) {
                // SAFETY: kill(2) touches no memory; the group is our child's own.
                unsafe { libc::kill(-group, libc::SIGKILL) };
            }
            let _ = child.wait();
        }
    }
}

impl Chain {
    /// The real thing: the program named by ANVIL, else `anvil` on the path, with a block every `block_secs`.
    pub fn anvil(block_secs: u64) -> Chain {
        Chain::anvil_with(&["--block-time", &block_secs.to_string()])
    }

    pub fn anvil_with(arguments: &[&str]) -> Chain {
        let program = std::env::var("ANVIL").unwrap_or_else(|_| "anvil".to_owned());
        let mut child = Command::new(&program)
            .args(["--port", "0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("Listening on ").map(str::to_owned))
            .expect("anvil says where it listens");
        std::thread::spawn(move || lines.for_each(drop));
        Chain::new(format!("http://{address}"), Node::Anvil(child))
    }

    /// Our own node, with a block every `block_secs`.
    pub fn devchain(block_secs: u64) -> Chain {
        Chain::devchain_with(devchain::Config {
            mining: devchain::Mining::IntervalMs(block_secs * 1000),
            ..Default::default()
        })
    }

    pub fn devchain_with(config: devchain::Config) -> Chain {
        let chain = devchain::Devchain::start(config).unwrap();
        Chain::new(chain.url(), Node::Devchain(chain))
    }

    /// With so many endpoints for a daemon, each with faults of its own, and a healthy one behind them for the test.
    pub fn devchain_on(config: devchain::Config, endpoints: usize) -> Chain {
        let chain = devchain::Devchain::start_on(config, &vec![0; endpoints + 1]).unwrap();
        let own = chain.endpoints()[endpoints].url();
        Chain::new(own, Node::Devchain(chain))
    }

    /// The addresses of the first so many endpoints, for a daemon.
    pub fn urls(&self, endpoints: usize) -> Vec<String> {
        let own = &self.dev().endpoints()[..endpoints];
        own.iter().map(devchain::Endpoint::url).collect()
    }

    /// Our own node's handle, for what no call over the wire can do.
    pub fn dev(&self) -> &devchain::Devchain {
        match &self.node {
            Node::Devchain(chain) => chain,
            Node::Anvil(_) => panic!("this is anvil"),
        }
    }

    fn new(url: String, node: Node) -> Chain {
        let mut chain = Chain {
            url,
            node,
            accounts: Vec::new(),
        };
        let accounts = chain.rpc("eth_accounts", json!([]));
        let accounts = accounts.as_array().unwrap().iter().map(address);
        chain.accounts = accounts.collect();
        chain
    }

    pub fn rpc(&self, method: &str, params: Value) -> Value {
        self.try_rpc(method, params)
            .unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    pub fn try_rpc(&self, method: &str, params: Value) -> Result<Value, String> {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let answer = self.post(&call)?;
        match answer.get("error") {
            Some(error) => Err(error.to_string()),
            None => Ok(answer["result"].clone()),
        }
    }

    /// Sends a body as it is, a batch for example.
    pub fn post(&self, body: &Value) -> Result<Value, String> {
        let mut response = ureq::post(&self.url)
            .header("content-type", "application/json")
            .send(&body.to_string())
            .map_err(|error| error.to_string())?;
        let text = response
            .body_mut()
            .read_to_string()
            .map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    /// Calls that devchain has answered, ours included.
    pub fn calls(&self) -> u64 {
        match &self.node {
            Node::Devchain(chain) => chain.requests().values().sum(),
            Node::Anvil(_) => 0,
        }
    }

    pub fn account(&self, index: usize) -> Address {
        self.accounts[index]
    }

    /// Deploys our contract: account 0 publishes, account 1 operates, 2.5 % commission.
    pub fn deploy(&self, timing: Timing) -> Lottery<'_> {
        let lottery = self.deployed(&self.send(self.deployment(timing)));
        if timing.betting != 180 {
            lottery.operate("updateBettingDuration", &[number_token(timing.betting)]);
        }
        lottery
    }

    pub fn deployed(&self, receipt: &Value) -> Lottery<'_> {
        Lottery {
            chain: self,
            address: address(&receipt["contractAddress"]),
        }
    }

    /// The transaction that deploys our contract, with bets taken for the contract's own 180 s.
    pub fn deployment(&self, timing: Timing) -> Value {
        let bytecode = devchain::lottery_bytecode();
        let arguments = ethabi::encode(&[
            Token::Address(self.account(0)),
            Token::Address(self.account(OPERATOR)),
            number_token(250),
            number_token(timing.min_draw_delay),
            number_token(timing.max_draw_delay),
            number_token(timing.min_extension),
        ]);
        let data = [bytecode, arguments].concat();
        json!({
            "from": hex_address(self.account(0)), "data": encode_hex(&data), "gas": "0x4c4b40",
        })
    }

    /// Sends from an unlocked account and waits for the receipt, which must be a success.
    pub fn send(&self, transaction: Value) -> Value {
        self.receipt(&self.submit(&transaction))
    }

    /// Sends from an unlocked account; its hash.
    pub fn submit(&self, transaction: &Value) -> Value {
        self.rpc("eth_sendTransaction", json!([transaction]))
    }

    /// Waits for the receipt, which must be a success.
    pub fn receipt(&self, hash: &Value) -> Value {
        let receipt = wait_for("a receipt", || {
            let receipt = self.rpc("eth_getTransactionReceipt", json!([hash]));
            (!receipt.is_null()).then_some(receipt)
        });
        assert_eq!(receipt["status"], "0x1", "reverted: {hash}");
        receipt
    }

    /// Moves chain time: the next block comes at least `secs` later than it would have.
    pub fn skip(&self, secs: u64) {
        self.rpc("evm_increaseTime", json!([secs]));
        self.rpc("evm_mine", json!([]));
    }

    pub fn head(&self) -> (u64, u64) {
        let block = self.rpc("eth_getBlockByNumber", json!(["latest", false]));
        (number(&block["number"]), number(&block["timestamp"]))
    }
}

/// The contract as a player, its operator or its publisher sees it.
pub struct Lottery<'a> {
    pub chain: &'a Chain,
    pub address: Address,
}

impl Lottery<'_> {
    pub fn bet(&self, player: usize, wei: u64) -> Value {
        self.call_as(player, "placeBet", &[], wei)
    }

    /// A bet of `player`'s money by a new contract that takes no ether back; its address.
    pub fn bet_unpayable(&self, player: usize, wei: u64) -> Address {
        let account = |index: usize| hex_address(self.chain.account(index));
        let rejector = self.chain.send(json!({
            "from": account(0), "data": encode_hex(&devchain::rejector_bytecode()), "gas": "0x4c4b40",
        }));
        let rejector = address(&rejector["contractAddress"]);
        let selector = ethabi::short_signature("bet", &[ParamType::Address]);
        let arguments = ethabi::encode(&[Token::Address(self.address)]);
        self.chain.send(json!({
            "from": account(player), "to": hex_address(rejector), "value": format!("0x{wei:x}"),
            "data": encode_hex(&[&selector[..], &arguments].concat()), "gas": "0x4c4b40",
        }));
        rejector
    }

    pub fn operate(&self, function: &str, arguments: &[Token]) -> Value {
        self.call_as(OPERATOR, function, arguments, 0)
    }

    fn call_as(&self, account: usize, function: &str, arguments: &[Token], wei: u64) -> Value {
        let transaction = self.transaction(account, function, arguments, wei);
        self.chain.send(transaction)
    }

    /// A call of the contract as an account's transaction.
    pub fn transaction(
        &self,
        account: usize,
        function: &str,
        arguments: &[Token],
        wei: u64,
    ) -> Value {
        let abi = Contract::load(ABI_JSON.as_bytes()).unwrap();
        let data = abi
            .function(function)
            .unwrap()
            .encode_input(arguments)
            .unwrap();
        json!({
            "from": hex_address(self.chain.account(account)), "to": hex_address(self.address),
            "data": encode_hex(&data), "value": format!("0x{wei:x}"), "gas": "0x4c4b40",
        })
    }

    pub fn round(&self) -> Round {
        self.round_at("latest")
    }

    fn round_at(&self, block: &str) -> Round {
        let call =
            json!({"to": hex_address(self.address), "data": encode_hex(&get_round_calldata())});
        let answer = self.chain.rpc("eth_call", json!([call, block]));
        decode_round(&decode_hex(answer.as_str().unwrap()).unwrap()).unwrap()
    }

    /// Topics and data of every log of that event, oldest first.
    pub fn logs(&self, event: &str) -> Vec<Value> {
        let abi = Contract::load(ABI_JSON.as_bytes()).unwrap();
        let topic = format!("{:#x}", abi.event(event).unwrap().signature());
        let filter =
            json!([{"address": hex_address(self.address), "fromBlock": "0x0", "topics": [topic]}]);
        self.chain
            .rpc("eth_getLogs", filter)
            .as_array()
            .unwrap()
            .clone()
    }

    /// Blocks between the first that allowed the draw of this RoundCompleted log and the one that has it.
    pub fn blocks_late(&self, log: &Value) -> u64 {
        let drawn = number(&log["blockNumber"]);
        let opens = self.round_at(&format!("0x{:x}", drawn - 1)).min_draw_time;
        let time = |block: u64| {
            let params = json!([format!("0x{block:x}"), false]);
            number(&self.chain.rpc("eth_getBlockByNumber", params)["timestamp"])
        };
        let mut first = drawn;
        while first > 0 && time(first - 1) >= opens {
            first -= 1;
        }
        drawn - first
    }

    /// The winner that the chain's own log names for the round.
    pub fn winner_of(&self, round_id: u64) -> Option<Address> {
        let id = format!("{:#x}", H256::from_low_u64_be(round_id));
        let logs = self.logs("RoundCompleted");
        let log = logs.iter().find(|log| log["topics"][1] == id)?;
        let topic = decode_hex(log["topics"][2].as_str()?)?;
        Some(Address::from_slice(&topic[12..]))
    }

    /// Skips chain time to `timestamp` or a little later.
    pub fn skip_to(&self, timestamp: u64) {
        // Blocks that came faster than one a second are ahead of the clock that is moved.
        while let Some(secs @ 1..) = timestamp.checked_sub(self.chain.head().1) {
            self.chain.skip(secs);
        }
    }
}

pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            Instant::now() < until,
            "{what} did not come in {} s",
            PATIENCE.as_secs()
        );
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

pub fn number_token(number: u64) -> Token {
    Token::Uint(U256::from(number))
}

pub fn hex_address(address: Address) -> String {
    format!("{address:#x}")
}

fn address(value: &Value) -> Address {
    Address::from_slice(&decode_hex(value.as_str().unwrap()).unwrap())
}

fn number(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}
