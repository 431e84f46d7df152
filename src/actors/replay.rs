//! The way up through blocks whose logs are owed: after an outage longer than what is read at once, or where the logs
//! could not be had with the live state. Chunk by chunk from the last block whose logs are known to the head, each linked
//! to the one before. The live state does not wait for it.

use crate::actors::backfill::Strict;
use crate::actors::reader::{Reader, Sound};
use crate::chain::cursor::Cursor;
use crate::chain::error::RpcError;
use crate::chain::node::Endpoint;
use crate::chain::types::{BlockId, BlockRef, Header, H256};
use crate::lottery::continuity::{follow, Tally};
use crate::lottery::history::LoggedEvent;

#[derive(Clone, Debug)]
pub struct Replay {
    /// The newest block whose logs have been taken.
    done: (u64, H256),
    /// The newest block up to which they are proven whole: what came after it followed from there, or it is where the way
    /// began. The blocks since then only seemed empty.
    proven: (u64, H256),
    /// What the logs up to there lead to, where it is known.
    tally: Option<Tally>,
    /// What seemed empty above that block turned out not to have been, and nothing has come of it since.
    is_in_doubt: bool,
    /// The last step led back.
    has_gone_back: bool,
    /// The newest block whose logs have to be.
    tip: Sound,
    /// The way up so far has turned out to lead along another branch than the head's.
    is_lost: bool,
}

impl Replay {
    pub fn new(base: &BlockRef, tally: Option<Tally>, tip: Sound) -> Replay {
        Replay {
            done: (base.number, base.hash),
            proven: (base.number, base.hash),
            tally,
            is_in_doubt: false,
            has_gone_back: false,
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
        }
        if ancestor < self.proven.0 {
            self.proven = self.done;
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

    /// The last step found that blocks which had seemed empty cannot have been, and leads back to before them.
    pub(crate) fn has_gone_back(&self) -> bool {
        self.has_gone_back
    }

    /// The way has led back, and not yet beyond what was left out: until then, that blocks seem empty is no progress.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.is_in_doubt
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Whether a step has led to one of the blocks that are known by now, or to below what is remembered: it may have been under
    /// way when a reorg came.
    pub(crate) fn leads_to(&self, known: &Cursor, tip: Sound) -> bool {
        let (number, hash) = self.done;
        match known.at(number) {
            Some(ours) => ours.hash == hash,
            None => number < tip.block.number,
        }
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
        self.proven = stepped.proven;
        self.tally = stepped.tally;
        self.is_in_doubt = stepped.is_in_doubt;
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
        self.has_gone_back = false;
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
        let before = self.tally_before(endpoint, reader, strict)?;
        let end = follow(before, &events);
        let is_whole = match &end {
            Ok(end) if done.0 == tip.number => end.is_none_or(|end| end == self.tip.tally),
            Ok(_) => true,
            Err(_) => false,
        };
        if strict.logs && !is_whole && self.proven != self.done {
            self.is_in_doubt = true;
            self.done = self.proven;
            self.has_gone_back = true;
            return Ok(Vec::new());
        }
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
        let after = end.ok().flatten().filter(|_| is_whole);
        if after != before || done.0 == tip.number {
            self.proven = done;
            self.is_in_doubt = false;
        }
        self.tally = after;
        Ok(events)
    }

    /// What the next step's logs have to lead from, as far as that is known.
    fn tally_before(
        &self,
        endpoint: &Endpoint,
        reader: &Reader,
        strict: Strict,
    ) -> Result<Option<Tally>, RpcError> {
        let (number, hash) = self.done;
        match strict.logs {
            true => reader.tally_at(endpoint, BlockId::Exactly { number, hash }, self.tally),
            false => Ok(self.tally),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::Arc;

    use serde_json::{json, Value};

    use super::*;
    use crate::actors::reader::States;
    use crate::base::clock::Clock;
    use crate::base::metrics::Metrics;
    use crate::chain::encode::encode_hex;
    use crate::chain::script::Script;
    use crate::chain::types::{Address, U256};
    use crate::lottery::abi::tests::{events, word, words};
    use crate::lottery::round::{Round, RoundState};

    const BASE: u64 = 2;
    const TIP: u64 = 20;
    /// The only bet between them raises the pot from 10 to 30.
    const BET_AT: u64 = 5;
    const STRICT: Strict = Strict {
        logs: true,
        states: States::Spared,
    };

    fn hash(number: u64) -> H256 {
        H256(word(number))
    }

    fn block(number: u64) -> BlockRef {
        BlockRef {
            number,
            hash: hash(number),
            parent_hash: hash(number - 1),
            timestamp: 10 * number,
        }
    }

    fn tally(pot_wei: u64) -> Tally {
        Tally::from(&Round {
            round_id: 7,
            state: RoundState::Betting,
            start_time: 0,
            end_time: 0,
            min_draw_time: 0,
            max_draw_time: 0,
            total_pot_wei: U256::from(pot_wei),
            participant_count: 2,
        })
    }

    fn bet() -> Value {
        let placed = events().find(|event| event.name == "BetPlaced").unwrap();
        json!({
            "address": format!("{:#x}", Address::zero()), "data": encode_hex(&words(&[20, 30, 10 * BET_AT])),
            "topics": [placed.signature(), hash(7), hash(0xabc)], "blockNumber": format!("{BET_AT:#x}"),
            "blockHash": hash(BET_AT), "transactionHash": hash(1), "transactionIndex": "0x0", "logIndex": "0x0",
        })
    }

    fn number(value: &Value) -> u64 {
        let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
        u64::from_str_radix(digits.unwrap(), 16).unwrap()
    }

    /// A node that gives so many blocks' logs at once, or says that there are none.
    fn node(blocks_max: u64, hides: Arc<AtomicBool>) -> Endpoint {
        let respond = move |method: &str, params: &Value| match method {
            "eth_getLogs" => {
                let [from, to] = ["fromBlock", "toBlock"].map(|bound| number(&params[0][bound]));
                if to - from >= blocks_max {
                    let message = format!("eth_getLogs is limited to a {blocks_max} blocks range");
                    return Err(json!({"code": -32005, "message": message}));
                }
                let is_shown = (from..=to).contains(&BET_AT) && !hides.load(Ordering::Relaxed);
                Ok(json!(is_shown.then(bet).as_slice()))
            }
            // The round as it stood where the way begins.
            "eth_call" => {
                assert_eq!(params[1]["blockHash"], json!(hash(BASE)));
                let round = words(&[7, 0, 0, 0, 0, 10, 2, 0, 0, 0, 1]);
                Ok(json!(encode_hex(&round)))
            }
            _ => {
                let number = number(&params[0]);
                Ok(json!({
                    "number": params[0], "hash": hash(number), "parentHash": hash(number - 1),
                    "timestamp": format!("{:#x}", 10 * number),
                }))
            }
        };
        let script = Script::of_calls("http://a", respond);
        Endpoint::over(Arc::new(script), Clock::manual(0), Metrics::default())
    }

    #[test]
    fn where_logs_turn_out_to_be_missing_the_way_leads_back_to_before_what_seemed_empty() {
        let hides = Arc::new(AtomicBool::new(true));
        let endpoint = node(6, hides.clone());
        let reader = Reader::new(Address::zero(), 31_337);
        let tip = Sound {
            block: block(TIP),
            tally: tally(30),
        };
        let mut replay = Replay::new(&block(BASE), Some(tally(10)), tip);
        let step = |replay: &mut Replay| {
            let events = replay.step(&endpoint, &reader, &Cursor::default(), STRICT);
            (events.unwrap().len(), replay.done().0)
        };
        assert_eq!(step(&mut replay), (0, 8));
        assert_eq!(step(&mut replay), (0, 14));
        assert!(!replay.is_in_doubt());
        assert_eq!(step(&mut replay), (0, BASE));
        assert!(replay.has_gone_back() && replay.is_in_doubt());
        assert_eq!(step(&mut replay), (0, 8));
        assert!(!replay.has_gone_back() && replay.is_in_doubt());
        replay.lower_to(BASE, hash(BASE));
        hides.store(false, Ordering::Relaxed);
        assert_eq!(step(&mut replay), (1, 8));
        assert!(!replay.is_in_doubt());
        assert_eq!(step(&mut replay), (0, 14));
        assert_eq!(step(&mut replay), (0, TIP));
        assert_eq!(replay.tally(), Some(tally(30)));
    }

    #[test]
    fn where_nothing_seemed_empty_before_another_answer_is_waited_for() {
        let endpoint = node(100, Arc::new(AtomicBool::new(true)));
        let reader = Reader::new(Address::zero(), 31_337);
        let tip = Sound {
            block: block(TIP),
            tally: tally(30),
        };
        let mut replay = Replay::new(&block(BASE), Some(tally(10)), tip);
        let step = replay.step(&endpoint, &reader, &Cursor::default(), STRICT);
        assert!(step.is_err() && !replay.has_gone_back());
        assert_eq!(replay.done().0, BASE);
    }

    #[test]
    fn a_step_that_a_reorg_has_overtaken_leads_nowhere() {
        let tip = |number| Sound {
            block: block(number),
            tally: tally(30),
        };
        let stepped = Replay::new(&block(TIP), None, tip(TIP));
        let mut known = Cursor::default();
        (BASE..TIP).for_each(|number| known.push(block(number)));
        assert!(!stepped.leads_to(&known, tip(TIP - 1)), "the head is lower");
        assert!(stepped.leads_to(&Cursor::default(), tip(TIP + 1)));
        known.push(BlockRef {
            hash: hash(99),
            ..block(TIP)
        });
        assert!(!stepped.leads_to(&known, tip(TIP)), "another branch");
        known.rewind(TIP - 1);
        known.push(block(TIP));
        assert!(stepped.leads_to(&known, tip(TIP)));
    }

    #[test]
    fn where_nothing_tells_what_the_way_began_with_the_round_does_and_logs_left_out_are_missed() {
        let hides = Arc::new(AtomicBool::new(true));
        let endpoint = node(100, hides.clone());
        let reader = Reader::new(Address::zero(), 31_337);
        let tip = Sound {
            block: block(TIP),
            tally: tally(30),
        };
        let mut replay = Replay::new(&block(BASE), None, tip);
        let mut step = || {
            let step = replay.step(&endpoint, &reader, &Cursor::default(), STRICT);
            (step.map(|events| events.len()).ok(), replay.done().0)
        };
        assert_eq!(step(), (None, BASE));
        hides.store(false, Ordering::Relaxed);
        assert_eq!(step(), (Some(1), TIP));
    }
}
