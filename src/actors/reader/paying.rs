//! How logs that are owed are had: the last of a debt come with the logs of a new head. Longer debts are paid step by step,
//! which is the poller's business.

use crate::actors::reader::debt::Debt;
use crate::actors::reader::{Advanced, Reader};
use crate::chain::error::RpcError;
use crate::chain::node::Endpoint;
use crate::chain::types::{BlockId, BlockRef, Header, Log};
use crate::lottery::continuity::Tally;

impl Reader {
    /// Adds the events of all blocks above those whose logs are known, and the round that they lead to. Where the blocks
    /// between turn out to be of another branch, the logs stay owed.
    pub(super) fn add_owed_events(
        &self,
        endpoint: &Endpoint,
        debt: &Debt,
        headers: &[Header],
        advanced: &mut Advanced,
    ) -> Result<(), RpcError> {
        let above = debt.above;
        let between = match headers.first() {
            Some(lowest) if lowest.number > above.number => {
                endpoint.ancestry(lowest, above.number + 1)?
            }
            _ => Vec::new(),
        };
        let is_linked = between.first().map(|first| first.parent_hash) == Some(above.hash);
        let newer = headers.iter().skip(1);
        let headers: Vec<Header> = between.iter().chain(newer).cloned().collect();
        if is_linked {
            advanced.paid_above = Some(above);
            return self.add_events(endpoint, (&above, debt.tally), &headers, advanced);
        }
        advanced.round = Some(self.round_at(endpoint, (&advanced.head).into())?);
        advanced.owed = Some(debt.clone());
        Ok(())
    }

    /// What the logs up to that block lead to. Where that is not known, as after a reorg, the round tells it as it stood
    /// there: by what follows from nothing known, no log that was left out is found out.
    ///
    /// # Errors
    /// Where the round cannot be read for a reason that passes. A state that nobody keeps stays unknown.
    pub(crate) fn tally_at(
        &self,
        endpoint: &Endpoint,
        block: BlockId,
        known: Option<Tally>,
    ) -> Result<Option<Tally>, RpcError> {
        if known.is_some() {
            return Ok(known);
        }
        match self.round_at(endpoint, block) {
            Ok(round) => Ok(Some(Tally::from(&round))),
            Err(error) if error.is_passing() => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Our contract's logs from `base` up to `head`, chunk linked to chunk.
    pub(super) fn logs_above(
        &self,
        endpoint: &Endpoint,
        base: &BlockRef,
        head: &Header,
    ) -> Result<Vec<Log>, RpcError> {
        let (mut next, mut parent_hash) = (base.number + 1, base.hash);
        let mut logs = Vec::new();
        while next <= head.number {
            let mut chunk = endpoint.log_chunk(self.contract, (next, head.number), true)?;
            if chunk.first.parent_hash != parent_hash {
                return Err(RpcError::behind("the chain moved while its logs were read"));
            }
            logs.append(&mut chunk.logs);
            (next, parent_hash) = (chunk.last.number + 1, chunk.last.hash);
        }
        match parent_hash == head.hash {
            true => Ok(logs),
            false => Err(RpcError::behind("the chain moved while its logs were read")),
        }
    }
}
