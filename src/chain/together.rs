//! Several questions to one endpoint in one round trip, each with its own answer or error: a whole preflight, the headers
//! of a range, calls at one block.

use serde_json::Value;

use crate::chain::block_hashes::{may_mean_no_hashes, told_as, Naming};
use crate::chain::error::RpcError;
use crate::chain::json::Json;
use crate::chain::jsonrpc::RpcCall;
use crate::chain::method::Method;
use crate::chain::node::{twice_if_behind, Endpoint};
use crate::chain::query::{self, Params, Query, Read};
use crate::chain::types::{BlockId, CallRequest, Header};

impl Endpoint {
    /// Begins a set of questions that go out together: one round trip, where the endpoint takes batches.
    pub(crate) fn together(&self) -> Together<'_> {
        Together {
            endpoint: self,
            asked: Vec::new(),
        }
    }

    /// The headers of these blocks, in the order asked; any that fails fails all.
    pub fn headers(&self, numbers: &[u64]) -> Result<Vec<Header>, RpcError> {
        let mut together = self.together();
        let tickets: Vec<_> = numbers
            .iter()
            .map(|number| together.add(query::header(BlockId::Number(*number))))
            .collect();
        let mut answers = together.send()?;
        tickets
            .into_iter()
            .map(|ticket| answers.take(ticket))
            .collect()
    }

    /// Several calls at one block, in batches; any that fails fails all.
    pub fn calls(
        &self,
        requests: &[CallRequest],
        block: BlockId,
    ) -> Result<Vec<Vec<u8>>, RpcError> {
        twice_if_behind(|| {
            let mut together = self.together();
            let tickets: Vec<_> = requests
                .iter()
                .map(|request| together.add(query::call(request, block, None)))
                .collect();
            let mut answers = together.send()?;
            tickets
                .into_iter()
                .map(|ticket| answers.take(ticket))
                .collect()
        })
    }
}

/// Questions that go out together, each answered by itself.
pub struct Together<'a> {
    endpoint: &'a Endpoint,
    asked: Vec<Asked>,
}

struct Asked {
    method: Method,
    at: Option<BlockId>,
    params: Box<Params>,
}

impl Asked {
    /// The very block whose state is asked for.
    fn exactly(&self) -> Option<BlockId> {
        self.at.filter(|at| matches!(at, BlockId::Exactly { .. }))
    }

    fn is_exact(&self) -> bool {
        self.exactly().is_some()
    }
}

/// Stands for one question's answer until that is there.
pub struct Ticket<T> {
    index: usize,
    method: Method,
    read: Box<Read<T>>,
}

/// The answers to questions that went out together.
pub struct Answers(Vec<Result<Json, RpcError>>);

impl Together<'_> {
    pub fn add<T>(&mut self, query: Query<T>) -> Ticket<T> {
        let index = self.asked.len();
        self.asked.push(Asked {
            method: query.method,
            at: query.at,
            params: query.params,
        });
        Ticket {
            index,
            method: query.method,
            read: query.read,
        }
    }

    /// Sends everything: one round trip for up to ten questions of an endpoint that takes batches and block hashes.
    ///
    /// # Errors
    /// When the endpoint answered none of them. What is wrong with one of them alone shows in its own answer.
    pub fn send(self) -> Result<Answers, RpcError> {
        if self.asked.is_empty() {
            return Ok(Answers(Vec::new()));
        }
        if self.endpoint.refuses_hashes() {
            return self.send_by_number();
        }
        let answers = match self.endpoint.send_batch(&self.calls(Naming::Hash)) {
            Ok(answers) => answers,
            // None of the questions may have been answered because of the hashes.
            Err(error) if self.asked.iter().any(Asked::is_exact) && may_mean_no_hashes(&error) => {
                return self
                    .endpoint
                    .by_number(error, || self.send_by_number_checked());
            }
            Err(error) => return Err(error),
        };
        let refusal = self.asked.iter().zip(&answers).find_map(|(asked, answer)| {
            let refusal = answer.as_ref().err().filter(|_| asked.is_exact())?;
            may_mean_no_hashes(refusal).then(|| refusal.clone())
        });
        let any_exact_answered = self.asked.iter().zip(&answers).any(|(asked, answer)| {
            asked.is_exact() && !matches!(answer, Err(error) if !error.is_final())
        });
        if any_exact_answered {
            self.endpoint.note_hash_answered();
        }
        match refusal {
            Some(refusal) if !any_exact_answered => self
                .endpoint
                .by_number(refusal, || self.send_by_number_checked())
                .or(Ok(Answers(answers))),
            _ => Ok(Answers(answers)),
        }
    }

    fn calls(&self, naming: Naming) -> Vec<RpcCall> {
        let call = |asked: &Asked| RpcCall {
            method: asked.method,
            params: (asked.params)(match asked.at {
                Some(block) => told_as(block, naming),
                None => Value::Null,
            }),
        };
        self.asked.iter().map(call).collect()
    }

    /// By number, and with a header of each block that shows whether its number still means it.
    fn send_by_number(&self) -> Result<Answers, RpcError> {
        let mut blocks: Vec<BlockId> = Vec::new();
        for block in self.asked.iter().filter_map(Asked::exactly) {
            if !blocks.contains(&block) {
                blocks.push(block);
            }
        }
        let mut calls = self.calls(Naming::Number);
        let first_check = calls.len();
        let checks: Vec<Query<Header>> = blocks
            .iter()
            .copied()
            .map(query::header_by_number)
            .collect();
        calls.extend(checks.iter().map(|check| RpcCall {
            method: check.method,
            params: (check.params)(Value::Null),
        }));
        let mut answers = self.endpoint.send_batch(&calls)?;
        // One answer for each call: that is what a batch promises.
        let shown = answers.split_off(first_check);
        for ((block, check), shown) in blocks.into_iter().zip(checks).zip(shown) {
            let Err(doubt) = shown.and_then(|answer| (check.read)(answer.part())) else {
                continue;
            };
            for (asked, answer) in self.asked.iter().zip(&mut answers) {
                if asked.exactly() == Some(block) {
                    *answer = Err(doubt.clone());
                }
            }
        }
        Ok(Answers(answers))
    }

    /// As `send_by_number`, but an error when that helped none of the questions on the block.
    fn send_by_number_checked(&self) -> Result<Answers, RpcError> {
        let answers = self.send_by_number()?;
        let refused = self
            .asked
            .iter()
            .zip(&answers.0)
            .find_map(|(asked, answer)| {
                let error = answer.as_ref().err();
                error.filter(|error| asked.is_exact() && !error.is_final())
            });
        let mut answered = self.asked.iter().zip(&answers.0);
        let helped = answered.any(|(asked, answer)| asked.is_exact() && answer.is_ok());
        match refused {
            Some(error) if !helped => Err(error.clone()),
            _ => Ok(answers),
        }
    }
}

impl Answers {
    /// The answer to the question that the ticket was given for.
    ///
    /// # Errors
    /// What went wrong with that question; the error names the method.
    pub fn take<T>(&mut self, ticket: Ticket<T>) -> Result<T, RpcError> {
        let answer = self.0.get_mut(ticket.index).map(|answer| {
            std::mem::replace(answer, Err(RpcError::invalid_answer("taken already")))
        });
        let missing = || Err(RpcError::invalid_answer("no such question was asked"));
        answer
            .unwrap_or_else(missing)
            .and_then(|answer| (ticket.read)(answer.part()))
            .map_err(|error| error.of(ticket.method))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::base::clock::Clock;
    use crate::base::metrics::Metrics;
    use crate::chain::error::ErrorKind;
    use crate::chain::script::Script;
    use crate::chain::types::{Address, H256};

    #[test]
    fn by_number_each_block_is_checked_that_is_asked_about() {
        let hash = |number: u64| H256::from_low_u64_be(number);
        // Hashes mean nothing to it, and its block 8 is another one.
        let node = Script::of_calls("http://a", move |method, params| match method {
            "eth_getBlockByNumber" => {
                let number = params[0].as_str().unwrap();
                let hash = match number {
                    "0x8" => hash(88),
                    _ => hash(u64::from_str_radix(&number[2..], 16).unwrap()),
                };
                Ok(json!({
                    "number": number, "hash": format!("{hash:#x}"), "timestamp": "0x1",
                    "parentHash": format!("{:#x}", H256::zero()),
                }))
            }
            _ if params[1].is_object() => {
                Err(json!({"code": -32602, "message": "invalid argument 1"}))
            }
            _ => Ok(json!("0x5")),
        });
        let endpoint = Endpoint::over(Arc::new(node), Clock::manual(0), Metrics::default());
        let mut together = endpoint.together();
        let tickets: Vec<Ticket<u64>> = [7, 8, 7, 9]
            .into_iter()
            .map(|number| {
                let hash = hash(number);
                let block = BlockId::Exactly { number, hash };
                together.add(query::transaction_count(Address::zero(), block))
            })
            .collect();
        let mut answers = together.send().unwrap();
        let told: Vec<_> = tickets
            .into_iter()
            .map(|ticket| answers.take(ticket).map_err(|error| error.kind))
            .collect();
        assert_eq!(told, [Ok(5), Err(ErrorKind::Behind), Ok(5), Ok(5)]);
    }
}
