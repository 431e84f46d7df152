//! Whom the sender asks: for everything that one action needs, the best endpoint and soon the next; for what became of
//! what is out, each that may know. The questions before signing are in `preflight`.

use std::sync::Arc;
use std::time::Duration;

use crate::actors::sender::inquiry::timing;
use crate::actors::sender::preflight::{Preflight, Told, TO_PREPARE, TO_PREPARE_WELL};
use crate::actors::sender::{Check, Order, Sender, SECOND_OPINION};
use crate::chain::endpoints::Hedge;
use crate::chain::error::RpcError;
use crate::chain::method::Method;
use crate::chain::node::{Endpoint, Purpose};
use crate::chain::query;
use crate::chain::together::Ticket;
use crate::chain::types::{BlockId, BlockRef, CallRequest, Receipt, U256};
use crate::lottery::action::ActionKind;
use crate::lottery::contract::action_calldata;
use crate::lottery::send_state::{Included, Receipts, SendState, Variant};

/// How long an endpoint may take before the next is asked as well: a draw may be due.
pub(super) const PATIENCE: Duration = Duration::from_millis(400);
/// How long the other endpoints may take to show a receipt that one of them lost.
const RECEIPT_SEARCH: Duration = Duration::from_secs(2);
const TO_GLANCE: &[Method] = &[Method::BlockByNumber];
pub(super) const TO_LOOK: &[Method] = &[Method::TransactionCount];
const TO_FIND_RECEIPTS: &[Method] = &[Method::TransactionReceipt];

/// What the chain shows of the action in flight; what could not be read is unknown.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) latest_nonce: Option<u64>,
    pub(crate) receipts: Receipts,
}

impl Sender {
    /// Asks for all that the order needs, the next endpoint as well where the first lets it wait. What one endpoint does
    /// not tell is asked of the next, all of it anew; only when none tells it, what an action can do without is left out.
    ///
    /// # Errors
    /// When no endpoint tells what the action needs.
    pub(super) fn gather(&self, order: &Order) -> Result<(Endpoint, Told), RpcError> {
        let preflight = self.preflight(order);
        let whole = {
            let preflight = preflight.clone();
            move |endpoint: &Endpoint| preflight.ask_whole(endpoint)
        };
        // An objection of a quick endpoint waits for one that is slower and may see it otherwise.
        let by = |methods| {
            let hedge = Hedge::any(Purpose::Prepare, methods, PATIENCE);
            hedge.for_news(Told::is_ok, SECOND_OPINION)
        };
        let answer = self.endpoints.asked_by(&by(TO_PREPARE_WELL), whole);
        answer.or_else(|_| {
            let needed = move |endpoint: &Endpoint| preflight.ask_needed(endpoint);
            self.endpoints.asked_by(&by(TO_PREPARE), needed)
        })
    }

    pub(super) fn preflight(&self, order: &Order) -> Preflight {
        Preflight {
            kind: order.kind,
            account: self.address(),
            request: self.request(order.kind),
            head: order.head,
            next_block_time: order.next_block_time,
            pending: order.pending,
            is_called: matches!(order.check, Check::Called | Check::Ahead),
            is_ahead: order.check == Check::Ahead,
            is_timely: timing(order.kind, order.next_block_time, order.round).is_none(),
            is_legacy: self.legacy,
            met_silence: Arc::default(),
        }
    }

    pub(super) fn request(&self, kind: ActionKind) -> CallRequest {
        let to = match kind {
            ActionKind::Cancel => self.address(),
            _ => self.settings.contract,
        };
        CallRequest::to(to, action_calldata(kind)).from(self.address())
    }

    /// Nonce and receipts, the nonce at this very head: an endpoint that lags says nothing. While the nonce is open, no
    /// variant can have been mined. `expects_open` where the round at that head shows nothing else.
    pub(crate) fn look(&mut self, state: &SendState, head: BlockRef, expects_open: bool) -> Seen {
        let counted = match self.counted(head, state.nonce, expects_open) {
            Ok(counted) => Some(counted),
            Err(error) => {
                log::debug!("the nonce at block {} cannot be read: {error}", head.number);
                None
            }
        };
        let is_open = |nonce: &u64| *nonce <= state.nonce;
        let latest_nonce = counted.as_ref().map(|counted| counted.believed);
        let receipts = match &counted {
            Some(counted) if counted.told.iter().all(is_open) => Receipts::None,
            // The round goes on, and so does who is believed: a receipt of anybody else's is none.
            Some(counted) if expects_open && is_open(&counted.believed) => Receipts::None,
            _ => self.receipts(state),
        };
        let is_found = matches!(receipts, Receipts::Found(_));
        Seen {
            // A receipt is worth more than a count.
            latest_nonce: latest_nonce.map(|nonce| match is_found {
                true => nonce.max(state.nonce.saturating_add(1)),
                false => nonce,
            }),
            receipts,
        }
    }

    /// One endpoint may have lost the receipt, or may not be able to read any, or show a failure that was none or a cost that
    /// cannot be: the others are asked before it is believed.
    fn receipts(&self, state: &SendState) -> Receipts {
        let variants = state.variants().to_vec();
        let l1_fee_max_wei = self.settings.limits.max_tx_fee_wei;
        let ask = move |endpoint: &Endpoint| included_at(endpoint, &variants, l1_fee_max_wei);
        let is_sure = |included: &Included| included.worth() == (true, true);
        let first =
            self.endpoints
                .hedged(Purpose::Prepare, TO_FIND_RECEIPTS, PATIENCE, ask.clone());
        let mut found = match first {
            Ok((_, Some(included))) if is_sure(&included) => return Receipts::Found(included),
            Ok((_, Some(included))) => Receipts::Found(included),
            Ok((_, None)) => Receipts::None,
            Err(error) => {
                log::debug!("receipts cannot be read: {error}");
                Receipts::Unknown
            }
        };
        if self.endpoints.list().len() == 1 {
            return found;
        }
        let deadline = self.endpoints.clock().now() + RECEIPT_SEARCH;
        let answers = self
            .endpoints
            .ask_each((Purpose::Act, None), TO_FIND_RECEIPTS, ask);
        while let Some((_, answer)) = self.endpoints.next_answer(&answers, Some(deadline)) {
            match answer {
                Ok(Some(included)) if is_sure(&included) => return Receipts::Found(included),
                Ok(Some(included)) => match found {
                    Receipts::Found(known) if known.worth() > included.worth() => {}
                    _ => found = Receipts::Found(included),
                },
                Ok(None) if found == Receipts::Unknown => found = Receipts::None,
                _ => {}
            }
        }
        found
    }

    /// The newest head: any endpoint's, rather one that has reached `wanted_timestamp`.
    ///
    /// # Errors
    /// When no endpoint answers.
    pub(crate) fn newest_head(&self, wanted_timestamp: u64) -> Result<BlockRef, RpcError> {
        let hedge = Hedge::any(Purpose::Prepare, TO_GLANCE, PATIENCE);
        let has_news = move |head: &BlockRef| head.timestamp >= wanted_timestamp;
        let hedge = hedge.for_news(has_news, SECOND_OPINION);
        let ask = |endpoint: &Endpoint| endpoint.head().map(|head| BlockRef::from(&head));
        let answer = self.endpoints.asked_by(&hedge, ask);
        answer.map(|(_, head)| head)
    }

    /// The timestamp that a node gives its pending block; None where nodes answer but have no such block.
    ///
    /// # Errors
    /// When no endpoint answers.
    pub(crate) fn pending_time(&self) -> Result<Option<u64>, RpcError> {
        let ask = |endpoint: &Endpoint| match endpoint.pending_timestamp() {
            Err(error) if !error.is_passing() => Ok((endpoint.clone(), None)),
            answer => answer.map(|time| (endpoint.clone(), Some(time))),
        };
        let (first, told) = self.endpoints.with_endpoint(&[], ask)?;
        // One that has no such block says nothing for the others.
        let another = || self.endpoints.with_another(&first, &[], ask)?.1;
        Ok(told.or_else(another))
    }
}

/// Looks for a canonical receipt among all variants; newest first.
fn included_at(
    endpoint: &Endpoint,
    variants: &[Variant],
    l1_fee_max_wei: U256,
) -> Result<Option<Included>, RpcError> {
    let mut together = endpoint.together();
    let tickets: Vec<(Ticket<Option<Receipt>>, &Variant)> = variants
        .iter()
        .rev()
        .map(|variant| (together.add(query::receipt(variant.hash)), variant))
        .collect();
    let mut answers = together.send()?;
    let mut unread = None;
    for (ticket, variant) in tickets {
        let receipt = match answers.take(ticket) {
            Ok(Some(receipt)) => receipt,
            Ok(None) => continue,
            Err(error) => {
                unread = Some(error);
                continue;
            }
        };
        let header = endpoint.header(BlockId::Number(receipt.block_number))?;
        if header.hash != receipt.block_hash {
            continue;
        }
        return Ok(Some(Included {
            hash: receipt.transaction_hash,
            block_number: receipt.block_number,
            block_hash: receipt.block_hash,
            succeeded: receipt.succeeded,
            gas_used: receipt.gas_used,
            cost: variant.cost(&receipt, header.base_fee_wei, l1_fee_max_wei),
        }));
    }
    match unread {
        Some(error) => Err(error),
        None => Ok(None),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Instant;

    use serde_json::{json, Value};

    use super::*;
    use crate::actors::sender::SenderSettings;
    use crate::base::clock::Clock;
    use crate::base::metrics::Metrics;
    use crate::chain::endpoints::Endpoints;
    use crate::chain::fees::{Fee, FeeLimits};
    use crate::chain::key::OperatorKey;
    use crate::chain::script::Script;
    use crate::chain::signer::Signer;
    use crate::chain::transport::Transport;
    use crate::chain::types::{Address, H256};
    use crate::lottery::send_state::Room;

    /// The draw at nonce 5 was mined in this block.
    const HEAD: BlockRef = BlockRef {
        number: 12,
        hash: H256::repeat_byte(12),
        parent_hash: H256::repeat_byte(11),
        timestamp: 100,
    };
    const DRAW: H256 = H256::repeat_byte(0xd0);

    fn head_json() -> Value {
        json!({
            "number": "0xc", "hash": format!("{:#x}", HEAD.hash), "parentHash": format!("{:#x}", HEAD.parent_hash),
            "timestamp": "0x64",
        })
    }

    fn receipt_json() -> Value {
        json!({
            "transactionHash": format!("{DRAW:#x}"), "blockNumber": "0xc", "blockHash": format!("{:#x}", HEAD.hash),
            "status": "0x1", "gasUsed": "0x5208", "effectiveGasPrice": "0x7",
        })
    }

    fn fails(message: &str) -> Result<Value, Value> {
        Err(json!({"code": -32_000, "message": message}))
    }

    /// What one server says to a call.
    type Says = fn(&str, &Value) -> Result<Value, Value>;

    fn in_step(method: &str, _: &Value) -> Result<Value, Value> {
        Ok(match method {
            "eth_chainId" => json!("0x7a69"),
            "eth_getTransactionCount" => json!("0x6"),
            "eth_getTransactionReceipt" => receipt_json(),
            _ => head_json(),
        })
    }

    /// A block behind: it knows neither the head nor what was mined in it, and its newest nonce is a lower one.
    fn lagging(method: &str, params: &Value) -> Result<Value, Value> {
        match method {
            "eth_chainId" => Ok(json!("0x7a69")),
            "eth_getTransactionCount" if params[1].is_object() => fails("header not found"),
            "eth_getTransactionCount" => Ok(json!("0x5")),
            _ => Ok(Value::Null),
        }
    }

    /// The same, and hashes mean nothing to it: each block that it does not have is its newest.
    fn lagging_by_number(method: &str, params: &Value) -> Result<Value, Value> {
        match method {
            "eth_getTransactionCount" if params[1].is_object() => fails("invalid argument 1"),
            _ => lagging(method, params),
        }
    }

    /// One URL with a server behind it that lags, for the nonce, and one that does not, for all else.
    fn lagging_for_nonces(method: &str, params: &Value) -> Result<Value, Value> {
        match method {
            "eth_getTransactionCount" => lagging(method, params),
            _ => in_step(method, params),
        }
    }

    /// A sender of the public test key.
    pub(in crate::actors::sender) fn sender_over(endpoints: Endpoints) -> Sender {
        let key = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
        let settings = SenderSettings {
            contract: Address::repeat_byte(0xcc),
            chain_id: 31_337,
            limits: FeeLimits {
                max_fee_wei: U256::exp10(12),
                max_tx_fee_wei: U256::exp10(18),
            },
            gas_multiplier: 1.25,
        };
        let signer = Signer::Key(OperatorKey::from_hex(key).unwrap());
        Sender::new(signer, endpoints, settings)
    }

    fn look(servers: Vec<Says>) -> Seen {
        let clock = Clock::manual(5_000_000);
        let transports = servers.into_iter().enumerate().map(|(index, says)| {
            let script = Script::of_calls(&format!("http://{index}.example"), says);
            Arc::new(script) as Arc<dyn Transport>
        });
        let metrics = Metrics::default();
        let endpoints = Endpoints::over(transports.collect(), 31_337, clock.clone(), &metrics);
        let mut sender = sender_over(endpoints);
        let variant = Variant {
            kind: ActionKind::Draw,
            hash: DRAW,
            raw: vec![1],
            fee: Fee::Legacy {
                gas_price_wei: U256::from(7),
            },
            room: Room {
                gas: 300_000,
                players_max: 2,
            },
        };
        let now: Instant = clock.now();
        let before = BlockRef {
            number: 11,
            hash: HEAD.parent_hash,
            ..HEAD
        };
        sender.look(&SendState::begin(7, 5, variant, before, now), HEAD, false)
    }

    #[test]
    fn the_lower_nonce_of_a_server_that_lags_is_never_taken_for_the_heads() {
        let found = |seen: &Seen| matches!(seen.receipts, Receipts::Found(included) if included.hash == DRAW);
        // Alone it leaves the nonce unknown, and what others behind its URL know of the receipt counts.
        for says in [lagging as Says, lagging_by_number] {
            let seen = look(vec![says]);
            assert_eq!((seen.latest_nonce, seen.receipts), (None, Receipts::None));
        }
        let seen = look(vec![lagging_for_nonces]);
        assert_eq!(seen.latest_nonce, None);
        assert!(found(&seen), "{seen:?}");
        // Beside another one, whichever is asked first, the other's word is the head's.
        for (first, second) in [
            (lagging as Says, in_step as Says),
            (lagging_by_number, in_step),
            (in_step, lagging),
            (lagging_for_nonces, in_step),
        ] {
            let seen = look(vec![first, second]);
            assert_eq!(seen.latest_nonce, Some(6));
            assert!(found(&seen), "{seen:?}");
        }
    }
}
