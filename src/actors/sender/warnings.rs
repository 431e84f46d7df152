//! What the owner should know before it is too late.

use std::time::{Duration, Instant};

use crate::actors::sender::extras::ExtraQuestions;
use crate::actors::sender::gas::REFUND_GAS;
use crate::actors::sender::preflight::Gathered;
use crate::actors::sender::{Sender, SenderSettings, ToldTime, DRAW_GAS, SECOND_OPINION};
use crate::chain::fees::{ceiling_wei, Prices, Quote, EIP_7825_GAS_MAX};
use crate::chain::method::Method;
use crate::chain::node::Endpoint;
use crate::chain::query;
use crate::chain::signer::{signing_proof, SignerError};
use crate::chain::types::{to_checksum, BlockId, BlockRef, U256};
use crate::lottery::action::ActionKind;
use crate::lottery::alert::AlertCode;
use crate::lottery::contract::action_calldata;
use crate::lottery::round::Round;
use crate::lottery::snapshot::Snapshot;
use crate::lottery::words::ether;

/// Below so many draws' worth of balance a warning is due.
const DRAWS_WORTH_MIN: u64 = 3;

/// A warning is due where a refund needs this share of the gas that a transaction may use.
const CROWDED_PERCENT: u64 = 70;

/// Blocks have room for more than this: below it, how much more need not be known.
const SMALL_BLOCK_GAS: u64 = 5_000_000;

/// While the window is far, so long may answers take by which endpoints agree.
const REHEARSED_WITHIN: Duration = Duration::from_secs(5);

/// A signer that has failed is tried again after this long, where nothing has to be signed before.
const SIGNER_AGAIN: Duration = Duration::from_secs(15);

/// A condition that was looked at: it holds where there is a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub code: AlertCode,
    pub message: Option<String>,
}

impl Sender {
    /// Looks at everything that a draw will need: one entry a problem, and what time is told of the head.
    pub(crate) fn rehearse(
        &mut self,
        snapshot: &Snapshot,
        round: &Round,
    ) -> (Vec<String>, ToldTime) {
        let mut problems = Vec::new();
        let address = self.address();
        match snapshot.config.as_deref() {
            Some(config) if config.operator != address => problems.push(format!(
                "the key's address {} is not the contract's operator {}",
                to_checksum(&address),
                to_checksum(&config.operator)
            )),
            Some(_) => {}
            None => problems.push("the contract's configuration is not known".to_owned()),
        }
        self.prove_signer();
        problems.extend(self.signer_problem());
        let told = self.agree_in_time(snapshot, round);
        let methods = [Method::TransactionCount, Method::GetBalance];
        let questions = ExtraQuestions {
            account: address,
            request: self.request(ActionKind::Draw),
            at: BlockId::Latest,
            estimate_at: Some(None),
        };
        let read = self
            .endpoints
            .with_endpoint(&methods, |endpoint: &Endpoint| {
                // Learned now, so that the draw need not find it out.
                endpoint.block_overrides();
                let mut together = endpoint.together();
                let latest = together.add(query::transaction_count(address, BlockId::Latest));
                let pending = together.add(query::transaction_count(address, BlockId::Pending));
                let mut answers = together.send()?;
                let latest = answers.take(latest)?;
                let pending = answers.take(pending).unwrap_or(latest);
                let mut extras = questions.ask(endpoint);
                let prices = extras.prices_at(endpoint, self.legacy)?;
                match (extras.balance_wei, extras.missing) {
                    (None, Some(error)) => Err(error),
                    (balance_wei, _) => {
                        Ok((endpoint.clone(), (latest, pending, balance_wei, prices)))
                    }
                }
            });
        match read {
            Ok((first, (latest, pending, balance_wei, prices))) => {
                let least_wei = least_balance_wei(&prices, round);
                let balance_wei =
                    balance_wei.map(|told_wei| self.agreed_balance(first, told_wei, least_wei));
                self.balance_wei = balance_wei.or(self.balance_wei);
                if pending > latest {
                    let count = pending - latest;
                    problems.push(format!("{count} transactions of the key are pending"));
                }
                let low = |balance_wei| low_balance(balance_wei, &prices, round);
                problems.extend(balance_wei.and_then(low));
                problems.extend(self.too_dear(&prices, round));
            }
            Err(error) => {
                log::warn!("rehearsal: {error}");
                problems.push(format!("the chain cannot be asked: it {}", error.public()));
            }
        }
        (problems, told)
    }

    /// What the others tell of the head is waited for as long as there is time.
    fn agree_in_time(&mut self, snapshot: &Snapshot, round: &Round) -> ToldTime {
        let (Some(head), Some(chain_time)) = (snapshot.head, snapshot.chain_time) else {
            return ToldTime::Unconfirmed;
        };
        let time = chain_time.at(self.endpoints.clock().now());
        let opens_in = Duration::from_secs(round.min_draw_time.saturating_sub(time));
        self.agree_on_head(head, (opens_in / 4).clamp(SECOND_OPINION, REHEARSED_WITHIN))
    }

    /// Why the signer signs nothing, as of its last try; None while it does.
    pub(crate) fn signer_problem(&self) -> Option<String> {
        let failure = self.signer_failure.as_ref();
        failure.map(|(_, error)| error.to_string())
    }

    /// A signer that has failed is tried again after a while, whether or not anything is to be signed: its outage ends when
    /// it is over.
    pub(crate) fn try_signer_again(&mut self, now: Instant) {
        let failed = self.signer_failure.as_ref();
        if failed.is_some_and(|(at, _)| now >= *at + SIGNER_AGAIN) {
            self.prove_signer();
        }
    }

    fn prove_signer(&mut self) {
        let SenderSettings {
            contract, chain_id, ..
        } = self.settings;
        let draw = action_calldata(ActionKind::Draw);
        let proof = signing_proof(chain_id, contract, draw, self.legacy);
        let proven = self.signer.sign(&proof).map(drop);
        self.note_signer(proven.as_ref().err());
    }

    /// Notes how the signer did; what is new is logged.
    pub(super) fn note_signer(&mut self, failure: Option<&SignerError>) {
        let known = self.signer_failure.as_ref().map(|(_, error)| error);
        match failure {
            Some(error) if known != failure => log::warn!("{}", error.detail()),
            None if known.is_some() => log::info!("the signer signs again"),
            _ => {}
        }
        let now = self.endpoints.clock().now();
        self.signer_failure = failure.map(|error| (now, error.clone()));
    }

    /// The limits do not let a draw pay even what the next block costs at the least.
    fn too_dear(&self, prices: &Prices, round: &Round) -> Option<String> {
        let gas = DRAW_GAS.gas(round.participant_count);
        let limits = &self.settings.limits;
        let least_wei = prices.least_wei();
        (ceiling_wei(limits, gas, None) < least_wei).then(|| {
            format!(
                "the next block costs {} gwei a unit of gas, and a draw of {gas} gas {} ETH: blockchain.max_fee_gwei \
                 is {} and blockchain.max_tx_fee_ether is {}",
                gwei(least_wei),
                ether(prices.least_cost_wei(gas)),
                gwei(limits.max_fee_wei),
                ether(limits.max_tx_fee_wei)
            )
        })
    }

    /// That the round nears what one transaction may carry, as long as there is time to do something about it. Where
    /// blocks have room for more, EIP-7825's cap is taken to hold: no node tells that before it refuses.
    pub(crate) fn crowd(&mut self, round: &Round, head: BlockRef) -> Option<String> {
        let is_near = |gas: u64, gas_max: u64| {
            gas.saturating_mul(100) >= gas_max.saturating_mul(CROWDED_PERCENT)
        };
        let players = round.participant_count;
        let refund_gas = REFUND_GAS.needed(players);
        let is_unknown = self.block_gas_limit.is_none() && self.room_asked_at != Some(head.hash);
        if is_unknown && is_near(refund_gas, SMALL_BLOCK_GAS) {
            self.room_asked_at = Some(head.hash);
            let ask = |endpoint: &Endpoint| endpoint.header(BlockId::from(head));
            let header = self.endpoints.with_endpoint(&[Method::BlockByNumber], ask);
            self.block_gas_limit = header.ok().and_then(|header| header.gas_limit);
        }
        let gas_max = self
            .block_gas_limit
            .unwrap_or(u64::MAX)
            .min(EIP_7825_GAS_MAX);
        // A block with less room is certain; the cap is, once a node has refused more.
        let basis = match gas_max < EIP_7825_GAS_MAX || self.gas_capped {
            true => "",
            false => ", as EIP-7825 has it (whether this chain keeps to it, no node has told)",
        };
        is_near(refund_gas, gas_max).then(|| {
            format!(
                "{players} players bet, and a transaction that may use {gas_max} gas{basis} refunds at most {} and draws \
                 among at most {}: with more, the pot stays locked",
                REFUND_GAS.participants_max(gas_max),
                DRAW_GAS.participants_max(gas_max)
            )
        })
    }

    /// Whether the balance is still, or again, below what is due for this round; None where nobody tells.
    pub(crate) fn look_at_balance(&mut self, round: &Round) -> Option<Note> {
        let address = self.address();
        let ask = |endpoint: &Endpoint| {
            let told_wei = endpoint.balance(address, BlockId::Latest)?;
            Ok((endpoint.clone(), told_wei))
        };
        let told = self.endpoints.with_endpoint(&[Method::GetBalance], ask);
        let (first, told_wei) = told.ok()?;
        let prices = self.market(ActionKind::Draw).ok()?.prices;
        let balance_wei = self.agreed_balance(first, told_wei, least_balance_wei(&prices, round));
        self.balance_wei = Some(balance_wei);
        Some(Note {
            code: AlertCode::LowBalance,
            message: low_balance(balance_wei, &prices, round),
        })
    }

    /// What a look at everything for an action shows, whether it holds or not.
    pub(super) fn notes(&self, gathered: &Gathered, offered: Quote, round: &Round) -> Vec<Note> {
        let unknown = gathered.pending_nonce.saturating_sub(gathered.nonce);
        let low = gathered
            .balance_wei
            .and_then(|balance_wei| low_balance(balance_wei, &gathered.prices, round));
        [
            (
                AlertCode::UnknownPending,
                (unknown > 0).then(|| {
                    format!("{unknown} unknown transactions of the key are pending and are outbid")
                }),
            ),
            (AlertCode::LowBalance, low),
            (
                AlertCode::FeeCapped,
                offered.capped.then(|| {
                    "a fee limit or the balance keeps the fee below what it should be".to_owned()
                }),
            ),
        ]
        .into_iter()
        .map(|(code, message)| Note { code, message })
        .collect()
    }
}

/// The price of a draw at the least.
fn draw_wei(prices: &Prices, round: &Round) -> U256 {
    prices.least_cost_wei(DRAW_GAS.gas(round.participant_count))
}

/// Below this a warning is due.
fn least_balance_wei(prices: &Prices, round: &Round) -> U256 {
    draw_wei(prices, round).saturating_mul(U256::from(DRAWS_WORTH_MIN))
}

fn low_balance(balance_wei: U256, prices: &Prices, round: &Round) -> Option<String> {
    let draw_wei = draw_wei(prices, round);
    (balance_wei < least_balance_wei(prices, round)).then(|| {
        format!(
            "the balance of {} ETH is below {DRAWS_WORTH_MIN} draws at {} ETH each",
            ether(balance_wei),
            ether(draw_wei)
        )
    })
}

/// Wei as gwei, exact.
fn gwei(wei: U256) -> String {
    ether(wei.saturating_mul(U256::exp10(9)))
}
