//! A cell's stage: a chain with a lottery on it, and the few things that cells do there and wait for. What goes wrong is
//! left to the cells.

use devchain::{Endpoint, Fault, Faults, Relay};
use ethabi::{Contract, Token};
use lottery::chain::encode::encode_hex;
use lottery::lottery::contract::ABI_JSON;
use serde_json::{json, Value};

use support::chain::{hex_address, wait_for, Chain, Lottery, OPERATOR};
use support::daemon::{Daemon, Options};
use support::BET_WEI;

pub const PLAYER: usize = 2;
pub const SEND: &str = "eth_sendRawTransaction";

/// A cell's stage.
pub struct Scene<'a> {
    pub chain: &'a Chain,
    /// What stands before anvil, where the chain is that.
    pub relay: Option<&'a Relay>,
    pub lottery: &'a Lottery<'a>,
}

impl Scene<'_> {
    /// Those for daemons.
    fn endpoints(&self) -> &[Endpoint] {
        match self.relay {
            Some(relay) => relay.endpoints(),
            // The last one is the test's own.
            None => self.chain.dev().endpoints().split_last().unwrap().1,
        }
    }

    pub fn faults(&self) -> Faults {
        self.endpoints()[0].faults.clone()
    }

    pub fn raw_transactions(&self) -> Vec<Vec<u8>> {
        match self.relay {
            Some(relay) => relay.raw_transactions(),
            None => self.chain.dev().raw_transactions(),
        }
    }

    pub fn head_number(&self) -> u64 {
        self.head().0
    }

    /// Number and timestamp.
    fn head(&self) -> (u64, u64) {
        match self.relay {
            Some(_) => self.chain.head(),
            None => {
                let chain = self.chain.dev();
                (chain.head_number(), chain.head_timestamp())
            }
        }
    }

    pub fn start(&self) -> Daemon {
        self.start_with(json!({}))
    }

    pub fn start_with(&self, operator: Value) -> Daemon {
        let urls: Vec<String> = self.endpoints().iter().map(Endpoint::url).collect();
        let config =
            json!({"blockchain": {"rpc_url": urls, "rpc_timeout": 2}, "operator": operator});
        let options = Options {
            config,
            ..Options::default()
        };
        let daemon = Daemon::start(self.lottery, options);
        wait_for("the daemon to read the chain", || {
            let (_, status) = daemon.get("/api/status");
            (status["asOf"]["syncing"] == false).then_some(())
        });
        daemon
    }

    pub fn bets(&self) {
        for player in PLAYER..PLAYER + 3 {
            self.lottery.bet(player, BET_WEI);
        }
    }

    pub fn head_time(&self) -> u64 {
        self.head().1
    }

    pub fn until_time(&self, timestamp: u64) {
        wait_for("the moment", || {
            (self.head_time() >= timestamp).then_some(())
        });
    }

    pub fn until_blocks(&self, blocks: u64) {
        let target = self.head_number() + blocks;
        wait_for("the blocks", || {
            (self.head_number() >= target).then_some(())
        });
    }

    /// Waits until the daemon has sent so many raw transactions, repetitions included.
    pub fn until_sent(&self, count: usize) {
        wait_for("a transaction", || {
            (self.raw_transactions().len() >= count).then_some(())
        });
    }

    /// Just before the window opens.
    pub fn until_window(&self) {
        self.until_time(self.lottery.round().min_draw_time - 2);
    }

    pub fn until_ended(&self) {
        wait_for("the round's end", || {
            (self.lottery.round().round_id > 1).then_some(())
        });
    }

    /// The operator's own mined transactions since `from`: (block, succeeded, gas).
    pub fn mined(&self, from: u64) -> Vec<(u64, bool, u64)> {
        let operator = hex_address(self.chain.account(OPERATOR));
        let mut found = Vec::new();
        for number in from + 1..=self.head_number() {
            let receipts = self
                .chain
                .rpc("eth_getBlockReceipts", json!([format!("0x{number:x}")]));
            for receipt in receipts.as_array().unwrap() {
                if receipt["from"] == operator {
                    let gas = u64::from_str_radix(&receipt["gasUsed"].as_str().unwrap()[2..], 16);
                    found.push((number, receipt["status"] == "0x1", gas.unwrap()));
                }
            }
        }
        found
    }

    /// A transaction of the operator's account that is not the daemon's.
    pub fn foreign(&self, gwei: u64) -> String {
        let operator = hex_address(self.chain.account(OPERATOR));
        let nonce = self
            .chain
            .rpc("eth_getTransactionCount", json!([operator, "latest"]));
        let fee = format!("0x{:x}", gwei * 1_000_000_000);
        let hash = self.chain.rpc(
            "eth_sendTransaction",
            json!([{
                "from": operator, "to": operator, "nonce": nonce, "gas": "0x5208",
                "maxFeePerGas": fee, "maxPriorityFeePerGas": fee,
            }]),
        );
        hash.as_str().unwrap().to_owned()
    }

    pub fn node_says_once(&self, message: &str) {
        let fault = Fault::Error {
            code: -32_000,
            message: message.to_owned(),
        };
        self.faults().add(fault, Some(SEND), Some(1));
        let _daemon = self.start();
        self.bets();
        self.until_ended();
    }

    /// A daemon that was killed after it sent a draw, and started again; nothing is mined.
    pub fn restarted_while_pending(&self) -> Daemon {
        let daemon = self.start();
        self.bets();
        self.until_window();
        self.chain.dev().hold_transactions(true);
        self.until_sent(1);
        drop(daemon);
        self.start()
    }

    pub fn operator_balance(&self, wei: &str) {
        let operator = hex_address(self.chain.account(OPERATOR));
        self.chain.rpc("anvil_setBalance", json!([operator, wei]));
    }

    /// A transaction of one of the chain's accounts to the lottery.
    pub fn send_as(&self, account: usize, function: &str, arguments: &[Token]) {
        self.chain.send(json!({
            "from": hex_address(self.chain.account(account)), "to": hex_address(self.lottery.address),
            "data": calldata(function, arguments), "gas": "0x4c4b40",
        }));
    }
}

fn calldata(function: &str, arguments: &[Token]) -> String {
    let abi = Contract::load(ABI_JSON.as_bytes()).unwrap();
    encode_hex(
        &abi.function(function)
            .unwrap()
            .encode_input(arguments)
            .unwrap(),
    )
}
