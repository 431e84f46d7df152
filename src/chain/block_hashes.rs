//! How an endpoint is told of the block whose state is asked for: by its hash (EIP-1898), and where it takes none by its
//! number, with a look afterwards whether that number still means the same block.

use std::time::Duration;

use serde_json::Value;

use crate::chain::encode;
use crate::chain::error::{ErrorKind, RpcError};
use crate::chain::json::Json;
use crate::chain::method::Method;
use crate::chain::node::{locked, Endpoint};
use crate::chain::types::BlockId;

/// How long it is believed that an endpoint takes no block hashes.
const NO_HASHES_FOR: Duration = Duration::from_secs(600);
/// A server that may just have been in trouble when it was asked with a hash shows only by so many times in a row that it
/// takes none.
const SURE_AFTER: u32 = 3;

impl Endpoint {
    /// A call on a block's state. Where the endpoint takes no hashes its number is used, and the hash checked after.
    pub(super) fn ask_state(
        &self,
        method: Method,
        block: BlockId,
        params: &dyn Fn(Value) -> Value,
    ) -> Result<Json, RpcError> {
        let BlockId::Exactly { number, hash } = block else {
            return self.send(method, &params(told_as(block, Naming::Hash)));
        };
        let ask_by_number = || {
            let answer = self.send(method, &params(told_as(block, Naming::Number)))?;
            match self.header(BlockId::Number(number))?.hash == hash {
                true => Ok(answer),
                false => Err(RpcError::behind("the block was replaced while it was read")),
            }
        };
        // Decided once for a question: meanwhile another thread may find out otherwise, and by number it is to be checked.
        if self.refuses_hashes() {
            return ask_by_number();
        }
        match self.send(method, &params(told_as(block, Naming::Hash))) {
            Err(error) if may_mean_no_hashes(&error) => self.by_number(error, ask_by_number),
            answer => {
                self.note_hash_answered();
                answer
            }
        }
    }

    /// After `refusal` of a block's hash: asks with the number, and remembers when that is what was wrong.
    pub(super) fn by_number<T>(
        &self,
        refusal: RpcError,
        ask: impl FnOnce() -> Result<T, RpcError>,
    ) -> Result<T, RpcError> {
        // What it answered by number could not be checked.
        if self.shows_no_blocks() {
            return Err(refusal);
        }
        let until = self.shared.clock.now() + NO_HASHES_FOR;
        locked(&self.shared.hashes).refused.learn((), until);
        let answer = ask();
        let mut hashes = locked(&self.shared.hashes);
        match answer {
            Err(error) if !error.is_final() => {
                // The refusal had another reason.
                hashes.refused.forget();
                Err(refusal)
            }
            answer => {
                hashes.doubts += 1;
                if refusal.is_passing() && hashes.doubts < SURE_AFTER {
                    hashes.refused.forget();
                } else {
                    hashes.doubts = 0;
                    log::info!("{} takes no block hashes: asking by number", self.host());
                }
                answer
            }
        }
    }

    /// A question with a block's hash was answered.
    pub(super) fn note_hash_answered(&self) {
        locked(&self.shared.hashes).doubts = 0;
    }

    pub(super) fn refuses_hashes(&self) -> bool {
        let now = self.shared.clock.now();
        locked(&self.shared.hashes).refused.at(now).is_some()
    }
}

/// By what a block is named in a question on its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    Hash,
    /// Where the endpoint takes no hashes; whether the number still means that block has to be checked after.
    Number,
}

/// How an endpoint is told of the block.
pub(super) fn told_as(block: BlockId, naming: Naming) -> Value {
    match (block, naming) {
        (BlockId::Exactly { number, .. }, Naming::Number) => encode::number(number),
        _ => encode::block(block),
    }
}

/// A refusal in words that mean nothing else may mean that the endpoint takes no hashes.
pub(super) fn may_mean_no_hashes(error: &RpcError) -> bool {
    let is_other = error.is_final() || error.is_silent_or_limited();
    !is_other && error.kind != ErrorKind::Behind
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, OnceLock};

    use serde_json::json;

    use super::*;
    use crate::base::clock::Clock;
    use crate::base::metrics::Metrics;
    use crate::chain::script::Script;
    use crate::chain::types::{Address, H256};

    #[test]
    fn what_was_asked_by_number_is_checked_though_it_is_found_meanwhile_that_hashes_are_taken() {
        let endpoint: Arc<OnceLock<Endpoint>> = Arc::default();
        let asked = endpoint.clone();
        let node = Script::of_calls("http://a", move |method, params| match method {
            "eth_getBlockByNumber" => Ok(json!({
                "number": "0x8", "hash": format!("{:#x}", H256::repeat_byte(88)), "timestamp": "0x1",
                "parentHash": format!("{:#x}", H256::zero()),
            })),
            _ if params[1].is_object() => {
                Err(json!({"code": -32602, "message": "invalid argument 1"}))
            }
            _ => {
                // As another thread does whose question was refused for another reason.
                if let Some(endpoint) = asked.get() {
                    locked(&endpoint.shared.hashes).refused.forget();
                }
                Ok(json!("0x5"))
            }
        });
        let told = Endpoint::over(Arc::new(node), Clock::manual(0), Metrics::default());
        let block = |hash| BlockId::Exactly { number: 8, hash };
        let count = |hash| told.transaction_count(Address::zero(), block(hash));
        assert_eq!(count(H256::repeat_byte(88)), Ok(5));
        assert!(told.refuses_hashes());
        let _ = endpoint.set(told.clone());
        assert_eq!(
            count(H256::repeat_byte(7)).unwrap_err().kind,
            ErrorKind::Behind
        );
    }
}
