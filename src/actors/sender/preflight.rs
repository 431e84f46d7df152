//! Everything that is asked before an action is signed: of one endpoint at one block, in one round trip where it takes
//! batches. Which endpoint, and what another one says, lies in the sender.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use crate::actors::sender::extras::{ExtraQuestions, ExtraTickets, Extras};
use crate::chain::error::{ErrorKind, RpcError};
use crate::chain::fees::Prices;
use crate::chain::method::Method;
use crate::chain::node::{BlockOverrides, Endpoint};
use crate::chain::query;
use crate::chain::together::{Answers, Ticket, Together};
use crate::chain::tx::PendingTransaction;
use crate::chain::types::{Address, BlockId, BlockRef, CallRequest, U256};
use crate::lottery::action::ActionKind;
use crate::lottery::contract::{revert_meaning, RevertMeaning};
use crate::lottery::decision::PendingTime;

/// What is better with than without. What one endpoint does not tell of it is asked of another first, then left out.
pub(super) const TO_PREPARE_WELL: &[Method] = &[
    Method::Call,
    Method::TransactionCount,
    Method::GetBalance,
    Method::BlockByNumber,
];
/// What cannot be done without.
pub(super) const TO_PREPARE: &[Method] = &[Method::Call, Method::TransactionCount];

/// Everything read for one action, from one endpoint at one block.
pub(super) struct Gathered {
    pub(super) nonce: u64,
    pub(super) pending_nonce: u64,
    /// What is pending at `nonce`, where the node shows it.
    pub(super) rival: Option<PendingTransaction>,
    /// None where no endpoint tells it.
    pub(super) balance_wei: Option<U256>,
    pub(super) prices: Prices,
    pub(super) estimate: Option<u64>,
    /// None where no limit is known.
    pub(super) block_gas_limit: Option<u64>,
    /// The block that all of it was read at.
    pub(super) head: BlockRef,
}

/// What an endpoint says to an action: a refusal of the contract's is an answer too.
pub(super) type Told = Result<Gathered, RpcError>;

/// Everything that is asked before an action is signed. It owns what it is about, so that several endpoints can be asked
/// at once.
#[derive(Clone)]
pub(super) struct Preflight {
    pub(super) kind: ActionKind,
    pub(super) account: Address,
    pub(super) request: CallRequest,
    pub(super) head: BlockRef,
    pub(super) next_block_time: u64,
    pub(super) pending: PendingTime,
    pub(super) is_called: bool,
    pub(super) is_ahead: bool,
    /// The mining block's time is expected to allow the action.
    pub(super) is_timely: bool,
    pub(super) is_legacy: bool,
    /// All questions together met silence: another try would cost a second time-out.
    pub(super) met_silence: Arc<AtomicBool>,
}

/// The questions of a preflight, on their way.
struct CheckTickets {
    call: Ticket<Vec<u8>>,
    /// Where no time can be overridden: the same at the head itself.
    at_head: Option<Ticket<Vec<u8>>>,
    /// The pending block is none: that it is too early is said of a block that is there already.
    ignores_too_early: bool,
    /// Nor does the head speak of the next block's time, where it is asked in its place.
    ignores_too_early_at_head: bool,
}

impl Preflight {
    /// With the answer to every question, or an error: so that another endpoint is asked which has them all.
    pub(super) fn ask_whole(&self, endpoint: &Endpoint) -> Result<Told, RpcError> {
        self.told(
            self.at_newest(endpoint)
                .and_then(|it| it.gather(endpoint, true)),
        )
    }

    /// With what it needs, and whatever else is told.
    pub(super) fn ask_needed(&self, endpoint: &Endpoint) -> Result<Told, RpcError> {
        self.told(
            self.at_newest(endpoint)
                .and_then(|it| it.gather(endpoint, false)),
        )
    }

    /// A head that seems to stand may only be old, where answers are slow: the endpoint's own is taken where it is newer,
    /// since bets may have come that an estimate has to know of.
    fn at_newest(&self, endpoint: &Endpoint) -> Result<Preflight, RpcError> {
        let mut newest = self.clone();
        if self.is_called && self.pending != PendingTime::Unasked {
            match endpoint.head() {
                Ok(own) if own.number > self.head.number => {
                    newest.next_block_time = self.next_block_time.max(own.timestamp);
                    newest.head = BlockRef::from(&own);
                }
                Err(error) if error.is_passing() => return Err(error),
                _ => {}
            }
        }
        Ok(newest)
    }

    fn told(&self, gathered: Result<Gathered, RpcError>) -> Result<Told, RpcError> {
        match gathered {
            Err(error) if !error.is_final() => Err(error),
            told => Ok(told),
        }
    }

    fn gather(&self, endpoint: &Endpoint, is_whole: bool) -> Result<Gathered, RpcError> {
        // The head that the store knows may be long gone when nobody has answered for a while.
        let block = match self.is_called {
            true => BlockId::from(self.head),
            false => BlockId::Latest,
        };
        let overrides = self.is_called.then(|| endpoint.block_overrides());
        let questions = ExtraQuestions {
            account: self.account,
            request: self.request.clone(),
            at: block,
            estimate_at: overrides
                .filter(|overrides| overrides.call && overrides.estimate)
                .map(|_| Some(self.next_block_time)),
        };
        let mut together = endpoint.together();
        let check = overrides.map(|overrides| self.add_check(&mut together, overrides));
        let nonce = together.add(query::transaction_count(self.account, block));
        let pending = query::transaction_count(self.account, BlockId::Pending);
        let pending_nonce = together.add(pending);
        let beside: Option<ExtraTickets> =
            is_whole.then(|| questions.add(&mut together, endpoint, |_| true));
        let mut answers = together.send().inspect_err(|error| {
            let is_silence = is_whole && error.is_silent_or_limited();
            self.met_silence.fetch_or(is_silence, Ordering::Relaxed);
        })?;

        let is_unpayable = match check {
            Some(check) => check.take(&mut answers, self.kind)? == Passes::Unpayable,
            None => false,
        };
        let nonce = answers.take(nonce)?;
        // Nodes without a pending state show no gap.
        let pending_nonce = answers.take(pending_nonce).unwrap_or(nonce);
        let mut extras = Extras::default();
        match beside {
            Some(tickets) => extras.take(tickets, &mut answers),
            None if self.met_silence.load(Ordering::Relaxed) => {
                extras = questions.ask_one_by_one(endpoint);
            }
            None => extras = questions.ask(endpoint),
        }
        if let Some(error) = extras.refusal.take() {
            tolerate_unpayable_draw(error, self.kind)?;
        }
        let is_short = extras.header.is_none() || extras.balance_wei.is_none();
        if is_whole && is_short || !self.is_called && extras.header.is_none() {
            let unknown = || RpcError::invalid_answer("the head or the balance is not told");
            return Err(extras.missing.unwrap_or_else(unknown));
        }
        let rival = match pending_nonce > nonce {
            true => endpoint
                .pending_transaction(self.account, nonce)
                .unwrap_or_default(),
            false => None,
        };
        let prices = extras.prices_at(endpoint, self.is_legacy)?;
        let header = extras.header.as_ref();
        Ok(Gathered {
            nonce,
            pending_nonce,
            rival,
            balance_wei: extras.balance_wei,
            prices,
            estimate: extras.estimate.filter(|_| !is_unpayable),
            block_gas_limit: header.and_then(|header| header.gas_limit),
            head: header.map_or(self.head, BlockRef::from),
        })
    }

    /// Calls the action as the next block would run it.
    fn add_check(&self, together: &mut Together, overrides: BlockOverrides) -> CheckTickets {
        let (request, block) = (&self.request, BlockId::from(self.head));
        if !overrides.call {
            return CheckTickets {
                call: together.add(query::call(request, BlockId::Pending, None)),
                at_head: Some(together.add(query::call(request, block, None))),
                ignores_too_early: self.is_ahead
                    || self.pending.is_silent_about_next(self.head.timestamp),
                ignores_too_early_at_head: self.is_ahead || self.is_timely,
            };
        }
        CheckTickets {
            call: together.add(query::call(request, block, Some(self.next_block_time))),
            at_head: None,
            ignores_too_early: false,
            ignores_too_early_at_head: false,
        }
    }
}

/// How a call went that does not forbid to send.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Passes {
    Well,
    /// It cannot pay this block's winner.
    Unpayable,
}

impl CheckTickets {
    /// An error when the action would revert for a reason that sending cannot change.
    fn take(self, answers: &mut Answers, kind: ActionKind) -> Result<Passes, RpcError> {
        let called = answers.take(self.call);
        let at_head = self.at_head.map(|ticket| answers.take(ticket));
        let (called, ignores_too_early) = match (called, at_head) {
            // Without a pending block the head itself serves.
            (Err(error), Some(at_head)) if !error.is_final() => {
                (at_head, self.ignores_too_early_at_head)
            }
            // Who does not have the head cannot speak of the block after it: what it calls pending is long gone.
            (_, Some(Err(error))) if !error.is_final() => (Err(error), false),
            (called, _) => (called, self.ignores_too_early),
        };
        match called {
            Ok(_) => Ok(Passes::Well),
            Err(error)
                if ignores_too_early && meaning_of(&error) == Some(RevertMeaning::NotYet) =>
            {
                Ok(Passes::Well)
            }
            Err(error) => tolerate_unpayable_draw(error, kind).map(|()| Passes::Unpayable),
        }
    }
}

/// What the contract said, where it was the contract that said no.
pub(super) fn meaning_of(error: &RpcError) -> Option<RevertMeaning> {
    match &error.kind {
        ErrorKind::Reverted { reason, data } => Some(revert_meaning(reason.as_deref(), data)),
        _ => None,
    }
}

/// A draw that cannot pay this block's winner may pay another block's: it is sent all the same.
fn tolerate_unpayable_draw(error: RpcError, kind: ActionKind) -> Result<(), RpcError> {
    let is_unpayable = meaning_of(&error) == Some(RevertMeaning::Unpayable);
    match kind == ActionKind::Draw && is_unpayable {
        true => Ok(()),
        false => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, Value};

    use super::*;
    use crate::base::clock::Clock;
    use crate::base::metrics::Metrics;
    use crate::chain::script::Script;
    use crate::chain::types::H256;

    fn preflight() -> Preflight {
        Preflight {
            kind: ActionKind::Draw,
            account: Address::repeat_byte(1),
            request: CallRequest::to(Address::repeat_byte(2), vec![1, 2, 3, 4]),
            head: BlockRef {
                number: 9,
                hash: H256::repeat_byte(9),
                parent_hash: H256::repeat_byte(8),
                timestamp: 100,
            },
            next_block_time: 112,
            pending: PendingTime::Unasked,
            is_called: true,
            is_ahead: false,
            is_timely: false,
            is_legacy: false,
            met_silence: Arc::default(),
        }
    }

    /// A node that takes no times: its pending block says one thing, and of the head it says another.
    fn told(pending: fn() -> Result<Value, Value>, at_head: fn() -> Result<Value, Value>) -> Told {
        told_of(preflight(), pending, at_head)
    }

    fn told_of(
        preflight: Preflight,
        pending: fn() -> Result<Value, Value>,
        at_head: fn() -> Result<Value, Value>,
    ) -> Told {
        let node = Script::of_calls("http://a", move |method, params| match method {
            "eth_call" if params[0]["to"].is_null() => Ok(json!(format!("0x{:064x}", 1))),
            "eth_call" if params[1] == "pending" => pending(),
            "eth_call" => at_head(),
            "eth_getTransactionCount" => Ok(json!("0x5")),
            "eth_gasPrice" => Ok(json!("0x1")),
            _ => Err(json!({"code": -32601, "message": "method not found"})),
        });
        let endpoint = Endpoint::over(Arc::new(node), Clock::manual(0), Metrics::default());
        preflight.ask_needed(&endpoint)?
    }

    #[test]
    fn who_does_not_have_the_head_does_not_speak_of_the_block_after_it() {
        let over = || {
            let message = "execution reverted: Round must be in betting state";
            Err(json!({"code": 3, "message": message}))
        };
        let lacks = || Err(json!({"code": -32000, "message": "header not found"}));
        let error = told(over, lacks).err().unwrap();
        assert_eq!(error.kind, ErrorKind::Behind);
        assert_eq!(
            told(|| Ok(json!("0x")), lacks).err().map(|it| it.kind),
            Some(ErrorKind::Behind)
        );
        // Of one that has it the pending block's word counts, and where there is none the head's.
        let error = told(over, || Ok(json!("0x"))).err().unwrap();
        assert_eq!(meaning_of(&error), Some(RevertMeaning::NotRunning));
        assert!(told(lacks, || Ok(json!("0x"))).is_ok());
    }

    #[test]
    fn a_head_does_not_speak_of_the_next_blocks_time_where_that_allows_the_action() {
        let too_early = || {
            let message = "execution reverted: Min draw time not reached";
            Err(json!({"code": 3, "message": message}))
        };
        let lacks = || Err(json!({"code": -32000, "message": "header not found"}));
        let is_early = |told: Told| match told {
            Ok(_) => false,
            Err(error) => meaning_of(&error) == Some(RevertMeaning::NotYet),
        };
        let timely = |pending| Preflight {
            pending,
            is_timely: true,
            ..preflight()
        };
        assert!(is_early(told_of(preflight(), lacks, too_early)));
        let told = told_of(timely(PendingTime::Unasked), lacks, too_early);
        assert!(!is_early(told));
        // What a pending block of its own says counts, where it is one.
        let allows = || Ok(json!("0x"));
        let told = told_of(timely(PendingTime::Told(112)), too_early, allows);
        assert!(is_early(told));
        let told = told_of(timely(PendingTime::Unknown), too_early, allows);
        assert!(!is_early(told));
    }
}
