//! The way up through blocks that were missed, after an outage longer than what is read at once: chunk by chunk from the
//! last block whose logs are known to the head, each linked to the one before. The live state does not wait for it.

use crate::actors::reader::Reader;
use crate::chain::error::RpcError;
use crate::chain::node::Endpoint;
use crate::chain::types::BlockRef;
use crate::chain::types::H256;
use crate::lottery::history::LoggedEvent;

#[derive(Clone, Debug)]
pub struct Replay {
    /// The newest block whose logs have been taken.
    done: (u64, H256),
    /// The newest block whose logs have to be.
    tip: (u64, H256),
}

impl Replay {
    pub fn new(base: &BlockRef, tip: &BlockRef) -> Replay {
        Replay {
            done: (base.number, base.hash),
            tip: (tip.number, tip.hash),
        }
    }

    /// The head moved on.
    pub fn extend_to(&mut self, tip: &BlockRef) {
        self.tip = (tip.number, tip.hash);
    }

    /// After a reorg: what lies above the common ancestor has to be taken again.
    pub fn lower_to(&mut self, ancestor: u64, ancestor_hash: H256) {
        if ancestor < self.done.0 {
            self.done = (ancestor, ancestor_hash);
        }
    }

    pub fn is_complete(&self) -> bool {
        self.done.0 >= self.tip.0
    }

    /// Where the way up stands: a step that was begun elsewhere is of no use any more.
    pub fn place(&self) -> (u64, H256) {
        self.done
    }

    /// Takes over how far a step led, keeping the newer tip.
    pub fn advance_to(&mut self, stepped: &Replay) {
        self.done = stepped.done;
    }

    /// Reads one chunk and answers with its events.
    pub fn step(
        &mut self,
        endpoint: &Endpoint,
        reader: &Reader,
    ) -> Result<Vec<LoggedEvent>, RpcError> {
        if self.is_complete() {
            return Ok(Vec::new());
        }
        let range = (self.done.0 + 1, self.tip.0);
        let chunk = endpoint.log_chunk(reader.contract(), range, true)?;
        let is_linked = chunk.first.parent_hash == self.done.1
            && (chunk.last.number != self.tip.0 || chunk.last.hash == self.tip.1);
        if !is_linked {
            return Err(RpcError::behind(format!(
                "{} shows other blocks {} to {} than the head's ancestors",
                endpoint.host(),
                chunk.first.number,
                chunk.last.number
            )));
        }
        let done = (chunk.last.number, chunk.last.hash);
        let ends = [chunk.first, chunk.last];
        let events = reader.events(endpoint, chunk.logs, &ends, u64::MAX)?;
        self.done = done;
        Ok(events)
    }
}
