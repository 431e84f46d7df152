//! Every question that a draw and a refund ask of an endpoint, and those that following asks, each once and of this
//! endpoint alone. What the answers mean is judged in `rules`.

use std::time::{SystemTime, UNIX_EPOCH};

use sha3::{Digest, Keccak256};

use crate::chain::error::RpcError;
use crate::chain::fees::Fee;
use crate::chain::jsonrpc::BATCH_MAX;
use crate::chain::key::OperatorKey;
use crate::chain::node::{CallRequest, Endpoint};
use crate::chain::tx::Transaction;
use crate::chain::types::{to_checksum, Address, BlockId, Header, H256, U256};
use crate::commands::check::findings::Findings;
use crate::commands::check::rules::{self, Caps};
use crate::config::Config;
use crate::lottery::action::ActionKind;
use crate::lottery::contract::{
    action_calldata, decode_config, decode_participants, decode_round, get_config_calldata,
    get_participants_calldata, get_round_calldata,
};
use crate::lottery::round::{ContractConfig, Round};

const OTHER_ENDPOINT: &str = "use another endpoint";

/// One endpoint under examination.
struct Examined<'a> {
    endpoint: &'a Endpoint,
    config: &'a Config,
    /// Whose actions are tried: the key's address, else the contract's operator.
    key: Option<Address>,
    findings: &'a mut Findings,
}

/// Asks everything that still makes sense after the answers so far.
pub(crate) fn ask_all(
    endpoint: &Endpoint,
    config: &Config,
    key: Option<Address>,
    findings: &mut Findings,
) {
    let mut examined = Examined {
        endpoint,
        config,
        key,
        findings,
    };
    if !examined.is_the_right_chain() {
        return;
    }
    let Some(head) = examined.head() else {
        return;
    };
    let Some((round, contract)) = examined.contract(&head) else {
        return;
    };
    let sender = key.unwrap_or(contract.operator);
    examined.actions(sender, &head);
    examined.account(sender, &head, round.participant_count);
    examined.sending(&head);
    examined.receipts();
    examined.following(&head);
    examined.abilities();
    examined.randomness(&head);
}

impl Examined<'_> {
    fn is_the_right_chain(&mut self) -> bool {
        let answer = self.endpoint.chain_id();
        let wanted = self.config.blockchain.chain_id;
        match self.findings.needed("chain id", answer, OTHER_ENDPOINT) {
            Some(id) if id == wanted => self.findings.good("chain id", id.to_string()),
            Some(id) => {
                let found = format!("{id}, blockchain.chain_id is {wanted}");
                let way_out = "take an endpoint of that chain, or correct blockchain.chain_id";
                self.findings.bad("chain id", found, way_out);
                return false;
            }
            None => return false,
        }
        let version = self.endpoint.client_version();
        let version = version.unwrap_or_else(|error| format!("not told: {error}"));
        self.findings.plain("client", version);
        true
    }

    fn head(&mut self) -> Option<Header> {
        let answer = self.endpoint.head();
        let head = self.findings.needed("head", answer, OTHER_ENDPOINT)?;
        self.findings.good("head", format!("block {}", head.number));
        let by_hash = self.endpoint.header(BlockId::Hash(head.hash));
        let cost = "a reorg cannot be told from a lagging endpoint: use another one beside it";
        if self
            .findings
            .wanted("block by hash", by_hash, cost)
            .is_some()
        {
            self.findings.good("block by hash", "found");
        }
        Some(head)
    }

    /// As following reads it, at this very head.
    fn contract(&mut self, head: &Header) -> Option<(Round, ContractConfig)> {
        let address = self.config.blockchain.contract_address;
        let code = self.endpoint.code(address, BlockId::from(head));
        let cost = "whether a contract is there is told from its answers alone";
        let code = self.findings.wanted("code at the address", code, cost);
        if code.as_ref().is_some_and(Vec::is_empty) {
            let found = format!(
                "no contract at {} on chain {}",
                to_checksum(&address),
                self.config.blockchain.chain_id
            );
            let way_out = "correct blockchain.contract_address";
            self.findings.bad("code at the address", found, way_out);
            return None;
        }
        if let Some(code) = code {
            let found = format!("{} bytes", code.len());
            self.findings.good("code at the address", found);
        }
        let round = self.read(head, "getRound", get_round_calldata(), decode_round);
        let contract = self.read(head, "getConfig", get_config_calldata(), decode_config);
        let way_out =
            "use another endpoint; if all answer so, the contract there is not the lottery";
        let round = self.findings.needed("getRound", round, way_out);
        let contract = self.findings.needed("getConfig", contract, way_out);
        let (round, contract) = (round?, contract?);
        let told = format!("round {}, {}", round.round_id, round.state.label());
        self.findings.good("getRound", told);
        self.operator(&contract);
        rules::window(
            self.findings,
            &contract,
            self.config.operator.standby_delay.as_secs(),
        );
        let players = self.read(
            head,
            "getParticipants",
            get_participants_calldata(),
            decode_participants,
        );
        let cost = "where logs are lost, the list of players stays incomplete";
        if let Some(players) = self.findings.wanted("getParticipants", players, cost) {
            let told = format!("{} players", players.len());
            self.findings.good("getParticipants", told);
        }
        Some((round, contract))
    }

    fn read<T, E: std::fmt::Display>(
        &self,
        head: &Header,
        name: &str,
        calldata: Vec<u8>,
        decode: impl Fn(&[u8]) -> Result<T, E>,
    ) -> Result<T, RpcError> {
        let request = CallRequest::to(self.config.blockchain.contract_address, calldata);
        let answer = self.endpoint.call(&request, BlockId::from(head), None)?;
        decode(&answer).map_err(|error| RpcError::invalid_answer(format!("{name}: {error}")))
    }

    fn operator(&mut self, contract: &ContractConfig) {
        let operator = to_checksum(&contract.operator);
        match self.key {
            None => self.findings.plain("operator", operator),
            Some(key) if key == contract.operator => self.findings.good("operator", operator),
            Some(key) => {
                let found = format!("{operator}, the key's address is {}", to_checksum(&key));
                let way_out =
                    "configure the operator's key, or have the publisher call setOperator";
                self.findings.bad("operator", found, way_out);
            }
        }
    }

    /// Both actions, tried as the operator at the head: nothing is sent.
    fn actions(&mut self, sender: Address, head: &Header) {
        let contract = self.config.blockchain.contract_address;
        for (check, kind) in [
            ("drawWinner", ActionKind::Draw),
            ("refundExpiredRound", ActionKind::RefundExpired),
        ] {
            let request = CallRequest::to(contract, action_calldata(kind)).from(sender);
            rules::tried(
                self.findings,
                check,
                self.endpoint.call(&request, BlockId::from(head), None),
            );
        }
        // Of a plain transfer, since an estimate of an action that would revert says nothing.
        let request = CallRequest::to(sender, Vec::new()).from(sender);
        let estimate = self.endpoint.estimate_gas(&request, BlockId::Latest, None);
        let cost = "gas is taken from a formula, with a larger margin than an estimate needs";
        if let Some(gas) = self.findings.wanted("eth_estimateGas", estimate, cost) {
            self.findings
                .good("eth_estimateGas", format!("{gas} gas for a transfer"));
        }
    }

    /// What a transaction of the operator needs to know: nonce, prices, money.
    fn account(&mut self, sender: Address, head: &Header, players: u64) {
        // At the very head, as an action reads it: what `latest` means may be another block by now.
        let latest = self.endpoint.transaction_count(sender, BlockId::from(head));
        let latest = self.findings.needed("nonce", latest, OTHER_ENDPOINT);
        let pending = self.endpoint.transaction_count(sender, BlockId::Pending);
        let cost = "a transaction of the key that hangs in the pool is not seen";
        let pending = self.findings.wanted("pending nonce", pending, cost);
        match (latest, pending) {
            (Some(latest), Some(pending)) if pending > latest => self.findings.costs(
                "nonce",
                format!("{latest} latest, {pending} with what is pending"),
                "transactions of the key are pending: they are outbid or waited for",
            ),
            (Some(latest), _) => self.findings.good("nonce", latest.to_string()),
            (None, _) => {}
        }
        let gas_price = self.endpoint.gas_price_wei().ok();
        let price = match (head.base_fee_wei, gas_price) {
            (Some(base_fee), gas_price) => Some(gas_price.unwrap_or(base_fee).max(base_fee)),
            (None, gas_price) => gas_price,
        };
        let Some(price_wei) = price else {
            let found = "no base fee in the head, and eth_gasPrice fails: no price can be offered";
            return self.findings.bad("price", found, OTHER_ENDPOINT);
        };
        let caps = Caps {
            max_fee_wei: self.config.blockchain.max_fee_wei,
            max_tx_fee_wei: self.config.blockchain.max_tx_fee_wei,
        };
        rules::price(self.findings, price_wei, caps, players);
        let balance = self.endpoint.balance(sender, BlockId::from(head));
        let cost =
            "that the operator runs out of ether is noticed when a node refuses its transaction";
        if let Some(wei) = self.findings.wanted("balance", balance, cost) {
            match self.key {
                Some(_) => rules::balance(self.findings, wei, price_wei, players),
                None => self.findings.plain(
                    "balance",
                    format!("{} ETH of the operator", crate::web::view::ether(wei)),
                ),
            }
        }
    }

    /// A transaction that no block may ever hold: a gas limit of 1, from an account that was made up just now.
    fn sending(&mut self, head: &Header) {
        let Some(key) = made_up_key() else {
            return;
        };
        let transaction = Transaction {
            chain_id: self.config.blockchain.chain_id,
            nonce: 0,
            to: self.config.blockchain.contract_address,
            value_wei: U256::zero(),
            data: Vec::new(),
            gas_limit: 1,
            fee: match head.base_fee_wei {
                Some(base_fee) => Fee::Dynamic {
                    cap_wei: base_fee + U256::one(),
                    tip_wei: U256::one(),
                },
                None => Fee::Legacy {
                    gas_price_wei: U256::one(),
                },
            },
        };
        let raw = transaction.sign(&key).raw;
        rules::sending(self.findings, self.endpoint.send_raw_transaction(&raw));
    }

    fn receipts(&mut self) {
        let unknown = H256(random_bytes());
        let cost = "the end of an action is told from the nonce and the round alone";
        let answer = self.endpoint.receipt(unknown);
        if self.findings.wanted("receipts", answer, cost).is_some() {
            self.findings.good("receipts", "answered");
        }
    }

    fn following(&mut self, head: &Header) {
        self.batches(head);
        let from = head
            .number
            .saturating_sub(self.config.event_manager.start_block_offset);
        let contract = self.config.blockchain.contract_address;
        let chunk = self
            .endpoint
            .log_chunk(contract, (from, head.number), false);
        let cost = "draws go on, but bets, history and feed need another endpoint";
        if let Some(chunk) = self.findings.wanted("eth_getLogs", chunk, cost) {
            let found = format!(
                "{} of {} blocks at once, {} logs",
                chunk.last.number - chunk.first.number + 1,
                head.number - from + 1,
                chunk.logs.len()
            );
            self.findings.good("eth_getLogs", found);
        }
    }

    /// As many calls at once as the daemon ever sends; those that fail so are asked again in smaller batches, or alone.
    fn batches(&mut self, head: &Header) {
        const CHECK: &str = "batch";
        let lowest = (head.number + 1).saturating_sub(BATCH_MAX as u64);
        let numbers: Vec<u64> = (lowest..=head.number).collect();
        let batch = self.endpoint.headers(&numbers);
        let cost = "what goes together elsewhere goes in more round trips: on slow answers, later";
        if self.findings.wanted(CHECK, batch, cost).is_none() {
            return;
        }
        match self.endpoint.sure_batch_size() {
            1 => self.findings.costs(CHECK, "refused", cost),
            most if most < BATCH_MAX => {
                let found = format!("at most {most} calls at once");
                self.findings.costs(CHECK, found, cost);
            }
            _ => {
                let found = format!("{} calls at once", numbers.len());
                self.findings.good(CHECK, found);
            }
        }
    }

    fn abilities(&mut self) {
        let overrides = self.endpoint.block_overrides();
        let cost = "a draw cannot be tried out at the next block's time: it waits for the head's, a block later";
        match overrides.call {
            true => {
                let estimate = if overrides.estimate { "yes" } else { "no" };
                let found = format!("eth_call yes, eth_estimateGas {estimate}");
                self.findings.good("block overrides", found);
            }
            false => self.findings.costs("block overrides", "eth_call no", cost),
        }
        let pending = self.endpoint.pending_timestamp();
        let cost = "while the head stands still, the next block's time is guessed";
        if self
            .findings
            .wanted("pending block", pending, cost)
            .is_some()
        {
            self.findings.good("pending block", "its time is told");
        }
    }

    /// Whether whoever draws could know the winner before the block is made.
    fn randomness(&mut self, head: &Header) {
        let seen_at = |number| self.endpoint.block_opcodes(BlockId::Number(number));
        let pair = seen_at(head.number).and_then(|newest| {
            let before = seen_at(head.number.saturating_sub(1))?;
            Ok((newest.prevrandao, before.prevrandao))
        });
        let check = "PREVRANDAO";
        let cost = "draws are verified by what headers say";
        match self.findings.wanted(check, pair, cost) {
            Some((newest, before)) if newest == before => self.findings.costs(
                check,
                "the same in two blocks",
                "it can be known ahead on this chain, and the winner with it; the page says so beside every draw",
            ),
            Some(_) => self.findings.good(check, "another one in each block"),
            None => {}
        }
    }
}

fn made_up_key() -> Option<OperatorKey> {
    OperatorKey::from_bytes(&random_bytes()).ok()
}

/// Bytes that nobody has used before; they guard nothing.
fn random_bytes() -> [u8; 32] {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let mut hasher = Keccak256::new();
    hasher.update(now.unwrap_or_default().as_nanos().to_be_bytes());
    hasher.update(std::process::id().to_be_bytes());
    hasher.finalize().into()
}
