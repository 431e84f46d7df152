//! From logs to events: decoded, placed, and with what the end of a round needs beside its log.

use std::sync::Arc;

use crate::actors::reader::placement::check_hash;
use crate::actors::reader::Reader;
use crate::chain::error::{ErrorKind, RpcError};
use crate::chain::node::Endpoint;
use crate::chain::types::{BlockId, Header, Log};
use crate::lottery::event::{EventRecord, LotteryEvent};
use crate::lottery::history::{FinishFacts, LoggedEvent};
use crate::lottery::proof::DrawBlock;
use crate::lottery::search::first_where;

/// Which states of old blocks an answer has to bring. Unless they are spared, it also has to bring whatever fails for a reason
/// that passes: that is asked for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum States {
    /// None: what is not told stays unknown.
    Spared,
    /// Those of this block and all above: who lacks them trails.
    KeptFrom(u64),
    /// None that is refused.
    Patiently,
}

impl States {
    /// Full nodes keep the states of the newest 128 blocks; one that has fewer trails.
    pub fn kept_at(newest: u64) -> States {
        const STATES_KEPT: u64 = 100;
        States::KeptFrom(newest.saturating_sub(STATES_KEPT))
    }

    /// True where the failure to tell the state of block `number` spoils the whole answer.
    pub fn want(self, number: u64, error: &RpcError) -> bool {
        let is_kept = matches!(self, States::KeptFrom(lowest) if number >= lowest);
        self.want_again(error) || is_kept && error.kind == ErrorKind::Behind
    }

    /// The answer to what a round's end can do without.
    ///
    /// # Errors
    /// Where it failed for a reason that passes: taken for unknown, it would stay so.
    pub fn unless_passing<T>(self, answer: Result<T, RpcError>) -> Result<Option<T>, RpcError> {
        match answer {
            Err(error) if self.want_again(&error) => Err(error),
            answer => Ok(answer.ok()),
        }
    }

    fn want_again(self, error: &RpcError) -> bool {
        self != States::Spared && error.is_passing()
    }
}

/// What a log of the contract says; None for an event that is not known.
///
/// # Errors
/// When topics or data of a known event are not what they have to be.
pub(crate) fn decoded(log: &Log) -> Result<Option<EventRecord>, RpcError> {
    EventRecord::from_log(log).map_err(|error| {
        let block = log.block_number;
        RpcError::invalid_answer(format!("log of the contract in block {block}: {error}"))
    })
}

impl Reader {
    /// Decodes logs and adds what ends of rounds need. `headers` are those already read; `states` are those
    /// that the endpoint has to have.
    pub(crate) fn events(
        &self,
        endpoint: &Endpoint,
        logs: Vec<Log>,
        headers: &[Header],
        states: States,
    ) -> Result<Vec<LoggedEvent>, RpcError> {
        let mut events = Vec::with_capacity(logs.len());
        for log in logs {
            let Some(record) = decoded(&log)? else {
                continue;
            };
            let is_draw = matches!(record.event, LotteryEvent::RoundCompleted { .. });
            let finish = match record.event.ended_round() {
                Some(_) => Some(self.finish_facts(endpoint, (&log, is_draw), headers, states)?),
                None => None,
            };
            events.push(LoggedEvent {
                record: Arc::new(record),
                finish: finish.map(Box::new),
            });
        }
        Ok(events)
    }

    fn finish_facts(
        &self,
        endpoint: &Endpoint,
        (log, is_draw): (&Log, bool),
        headers: &[Header],
        states: States,
    ) -> Result<FinishFacts, RpcError> {
        let known = headers
            .iter()
            .find(|header| header.number == log.block_number);
        let header = match known {
            Some(header) => header.clone(),
            None => endpoint
                .header(BlockId::Number(log.block_number))
                .or_else(|_| endpoint.header(BlockId::Hash(log.block_hash)))?,
        };
        check_hash(log, &header)?;
        let before = log.block_number.saturating_sub(1);
        let times = match self.round_at(endpoint, BlockId::Number(before)) {
            Err(error) if states.want(before, &error) => return Err(error),
            // Old state is often out of a node's reach; then the times stay unknown.
            round => round.ok().and_then(|round| round.times()),
        };
        // Of a refund nothing follows from its block.
        let opcodes = match is_draw {
            true => states.unless_passing(endpoint.block_opcodes((&header).into()))?,
            false => None,
        };
        let first_allowed = match times.filter(|_| is_draw) {
            Some(times) => {
                states.unless_passing(first_allowed(endpoint, &header, times.min_draw_time))?
            }
            None => None,
        };
        Ok(FinishFacts {
            // The chain's own word where its state is in reach, and the header.
            block: DrawBlock {
                opcodes,
                header: Some((&header).into()),
            },
            first_allowed,
            times,
            held_up_by: None,
        })
    }
}

/// Number and timestamp of the first block at or below `header` whose time is at least `min_draw_time`: mostly that very
/// block, which one question shows; else in steps that double.
///
/// # Errors
/// When a header is out of reach.
pub(crate) fn first_allowed(
    endpoint: &Endpoint,
    header: &Header,
    min_draw_time: u64,
) -> Result<(u64, u64), RpcError> {
    let mut first = (header.number, header.timestamp);
    let allows = |number| {
        let timestamp = endpoint.header(BlockId::Number(number))?.timestamp;
        let is_allowed = timestamp >= min_draw_time;
        if is_allowed {
            first = (number, timestamp);
        }
        Ok::<bool, RpcError>(is_allowed)
    };
    let found = first_where(0, header.number, 1, allows)?;
    // The last block that was found to allow it is the first of them all.
    debug_assert_eq!(found, first.0);
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;
    use crate::base::metrics::Metrics;
    use crate::chain::encode::encode_hex;
    use crate::chain::script::Script;
    use crate::chain::types::{Address, H256};
    use crate::lottery::abi::tests::{events, word, words};
    use serde_json::{json, Value};

    /// The block that drew; it could have been two blocks lower.
    const DRAWN_AT: u64 = 20;
    const MIN_DRAW_TIME: u64 = 180;

    /// Ten seconds a block.
    fn header(number: u64) -> Value {
        json!({
            "number": format!("{number:#x}"), "hash": hash(number), "parentHash": hash(number - 1),
            "timestamp": format!("{:#x}", 10 * number),
        })
    }

    fn hash(number: u64) -> String {
        format!("{:#x}", H256(word(number)))
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Asked {
        Header(u64),
        Round,
        Opcodes,
    }

    impl Asked {
        fn by(method: &str, params: &Value) -> Asked {
            let hex_digits = params[0].as_str().and_then(|text| text.strip_prefix("0x"));
            match (method, hex_digits) {
                ("eth_getBlockByNumber", Some(digits)) => {
                    Asked::Header(u64::from_str_radix(digits, 16).expect("a number"))
                }
                ("eth_call", _) if params[0]["to"].is_null() => Asked::Opcodes,
                ("eth_call", _) => Asked::Round,
                _ => panic!("{method} {params}"),
            }
        }
    }

    /// A node that answers everything but the one question.
    fn node(fails: Asked, error: Value) -> Endpoint {
        let respond = move |method: &str, params: &Value| {
            let words = match Asked::by(method, params) {
                asked if asked == fails => return Err(error.clone()),
                Asked::Header(number) => return Ok(header(number)),
                Asked::Round => words(&[7, 100, 170, MIN_DRAW_TIME, 460, 5_000, 3, 0, 0, 0, 1]),
                Asked::Opcodes => words(&[7, DRAWN_AT, 10 * DRAWN_AT]),
            };
            Ok(json!(encode_hex(&words)))
        };
        let script = Script::of_calls("http://a", respond);
        Endpoint::over(Arc::new(script), Clock::manual(0), Metrics::default())
    }

    fn draw() -> Log {
        let event = events().find(|event| event.name == "RoundCompleted");
        let event = event.expect("the contract has it");
        let indexed = event.inputs.iter().filter(|input| input.indexed).count();
        let mut topics = vec![event.signature()];
        topics.resize(1 + indexed, H256::zero());
        Log {
            address: Address::zero(),
            topics,
            data: words(&vec![0; event.inputs.len() - indexed]),
            block_number: DRAWN_AT,
            block_hash: H256(word(DRAWN_AT)),
            transaction_hash: H256::zero(),
            transaction_index: 0,
            log_index: 0,
        }
    }

    /// (first block that allowed the draw, its times, what calls see in its block): which of them are told.
    fn told(node: &Endpoint, states: States) -> Result<(bool, bool, bool), RpcError> {
        let reader = Reader::new(Address::zero(), 1);
        let mut events = reader.events(node, vec![draw()], &[], states)?;
        let facts = events.remove(0).finish.expect("the round has ended");
        let is_first = |first| first == (MIN_DRAW_TIME / 10, MIN_DRAW_TIME);
        Ok((
            facts.first_allowed.is_some_and(is_first),
            facts.times.is_some(),
            facts.block.opcodes.is_some(),
        ))
    }

    #[test]
    fn what_fails_for_a_reason_that_passes_is_asked_again_and_what_is_refused_stays_unknown() {
        for (question, without) in [
            (Asked::Header(MIN_DRAW_TIME / 10), (false, true, true)),
            (Asked::Round, (false, false, true)),
            (Asked::Opcodes, (true, true, false)),
        ] {
            let busy = json!({"code": -32005, "message": "rate limit exceeded"});
            let busy = node(question, busy);
            for states in [States::KeptFrom(0), States::KeptFrom(99), States::Patiently] {
                let error = told(&busy, states).expect_err("it passes");
                assert!(error.is_passing(), "{question:?}: {error}");
            }
            assert_eq!(told(&busy, States::Spared), Ok(without), "{question:?}");
            let refuses = json!({"code": -32601, "message": "the method is not available"});
            let refuses = node(question, refuses);
            for states in [States::KeptFrom(0), States::Patiently, States::Spared] {
                assert_eq!(told(&refuses, states), Ok(without), "{question:?}");
            }
        }
    }
}
