//! The way up through blocks whose logs are owed: after an outage longer than what is read at once, or where the logs
//! could not be had with the live state. Chunk by chunk from the last block whose logs are known to the head, each linked
//! to the one before. The live state does not wait for it.

use crate::actors::backfill::Strict;
use crate::actors::reader::{Reader, Sound};
use crate::chain::cursor::Cursor;
use crate::chain::error::RpcError;
use crate::chain::node::Endpoint;
use crate::chain::types::{BlockRef, Header, H256};
use crate::lottery::continuity::{follow, Tally};
use crate::lottery::history::LoggedEvent;

#[derive(Clone, Debug)]
pub struct Replay {
    /// The newest block whose logs have been taken.
    done: (u64, H256),
    /// What the logs up to there lead to, where it is known.
    tally: Option<Tally>,
    /// The newest block whose logs have to be.
    tip: Sound,
    /// The way up so far has turned out to lead along another branch than the head's.
    is_lost: bool,
}

impl Replay {
    pub fn new(base: &BlockRef, tally: Option<Tally>, tip: Sound) -> Replay {
        Replay {
            done: (base.number, base.hash),
            tally,
            tip,
            is_lost: false,
        }
    }

    /// The head moved on, or its round was read anew.
    pub(crate) fn extend_to(&mut self, tip: Sound) {
        self.tip = tip;
    }

    /// After a reorg: what lies above the common ancestor has to be taken again.
    pub(crate) fn lower_to(&mut self, ancestor: u64, ancestor_hash: H256) {
        if ancestor < self.done.0 {
            self.done = (ancestor, ancestor_hash);
            self.tally = None;
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.done.0 >= self.tip.block.number
    }

    /// The newest block whose logs have been taken: a step that began elsewhere is of no use any more.
    pub fn done(&self) -> (u64, H256) {
        self.done
    }

    /// What the logs up to there lead to, where it is known.
    pub(crate) fn tally(&self) -> Option<Tally> {
        self.tally
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost
    }

    pub(crate) fn blocks_left(&self) -> u64 {
        self.tip.block.number.saturating_sub(self.done.0)
    }

    pub fn tip(&self) -> Sound {
        self.tip
    }

    /// Takes over how far a step led, keeping the newer tip.
    pub(crate) fn advance_to(&mut self, stepped: &Replay) {
        self.done = stepped.done;
        self.tally = stepped.tally;
    }

    /// Reads one chunk and answers with its events. `known` are the head's ancestors as far as they are remembered: an
    /// endpoint that is still on a branch that is gone would else lead up along it, and what it told would stay.
    ///
    /// # Errors
    /// When the logs cannot be read, lie on another branch, or do not lead to the round.
    pub fn step(
        &mut self,
        endpoint: &Endpoint,
        reader: &Reader,
        known: &Cursor,
        strict: Strict,
    ) -> Result<Vec<LoggedEvent>, RpcError> {
        let tip = self.tip.block;
        let range = (self.done.0 + 1, tip.number);
        let chunk = endpoint.log_chunk_once(reader.contract(), range, true)?;
        let is_ours = |header: &Header| {
            let ours = known.at(header.number);
            ours.is_none_or(|ours| ours.hash == header.hash)
        };
        let is_linked = chunk.first.parent_hash == self.done.1
            && (chunk.last.number != tip.number || chunk.last.hash == tip.hash)
            && is_ours(&chunk.first)
            && is_ours(&chunk.last);
        let is_last_known = known.at(chunk.last.number).is_some() && is_ours(&chunk.last);
        if is_last_known && chunk.first.parent_hash != self.done.1 {
            // Who is on the head's branch does not know the block that the way up has come to.
            self.is_lost = true;
            return Ok(Vec::new());
        }
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
        let events = reader.events(endpoint, chunk.logs, &ends, strict.states)?;
        let end = follow(self.tally, &events);
        let is_whole = match &end {
            Ok(end) if done.0 == tip.number => end.is_none_or(|end| end == self.tip.tally),
            Ok(_) => true,
            Err(_) => false,
        };
        if strict.logs && !is_whole {
            return Err(RpcError::behind(format!(
                "{} left out logs of blocks {} to {}",
                endpoint.host(),
                range.0,
                done.0
            )));
        }
        // A bloom that hid one of these logs must not hide another.
        reader.learn_of_blooms(endpoint, &events);
        self.done = done;
        // What does not lead to the round says nothing of where the rest begins.
        self.tally = end.ok().flatten().filter(|_| is_whole);
        Ok(events)
    }
}
