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
        let answer = self.send(method, &params(self.state_block(block)));
        if !matches!(block, BlockId::Exactly { .. }) {
            return answer;
        }
        if self.refuses_hashes() {
            let answer = answer?;
            self.check_still_there(block)?;
            return Ok(answer);
        }
        match answer {
            Err(error) if may_mean_no_hashes(&error) => self.by_number(error, || {
                let answer = self.send(method, &params(self.state_block(block)))?;
                self.check_still_there(block)?;
                Ok(answer)
            }),
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

    /// How this endpoint is told of the block.
    pub(super) fn state_block(&self, block: BlockId) -> Value {
        match block {
            BlockId::Exactly { number, .. } if self.refuses_hashes() => encode::number(number),
            _ => encode::block(block),
        }
    }

    /// After asking by number: the number must still mean the same block.
    fn check_still_there(&self, block: BlockId) -> Result<(), RpcError> {
        match block {
            BlockId::Exactly { number, hash } if self.refuses_hashes() => {
                match self.header(BlockId::Number(number))?.hash == hash {
                    true => Ok(()),
                    false => Err(RpcError::behind("the block was replaced while it was read")),
                }
            }
            _ => Ok(()),
        }
    }
}

/// A refusal in words that mean nothing else may mean that the endpoint takes no hashes.
pub(super) fn may_mean_no_hashes(error: &RpcError) -> bool {
    let is_other = error.is_final() || error.is_silent_or_limited();
    !is_other && error.kind != ErrorKind::Behind
}
