//! Several questions to one endpoint in one round trip, each with its own answer or error: a whole preflight, the headers
//! of a range, calls at one block.

use serde_json::Value;

use crate::chain::error::RpcError;
use crate::chain::jsonrpc::RpcCall;
use crate::chain::method::Method;
use crate::chain::node::{may_mean_no_hashes, twice_if_behind, Endpoint};
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
    /// True for a question on the state of one very block.
    fn is_exact(&self) -> bool {
        matches!(self.at, Some(BlockId::Exactly { .. }))
    }
}

/// Stands for one question's answer until that is there.
pub struct Ticket<T> {
    index: usize,
    method: Method,
    read: Box<Read<T>>,
}

/// The answers to questions that went out together.
pub struct Answers(Vec<Result<Value, RpcError>>);

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
        let answers = match self.endpoint.send_batch(&self.calls()) {
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
        match refusal {
            Some(refusal) if !any_exact_answered => self
                .endpoint
                .by_number(refusal, || self.send_by_number_checked())
                .or(Ok(Answers(answers))),
            _ => Ok(Answers(answers)),
        }
    }

    fn calls(&self) -> Vec<RpcCall> {
        let call = |asked: &Asked| RpcCall {
            method: asked.method,
            params: (asked.params)(match asked.at {
                Some(block) => self.endpoint.state_block(block),
                None => Value::Null,
            }),
        };
        self.asked.iter().map(call).collect()
    }

    /// By number, and with a header that shows whether the number still means the block.
    fn send_by_number(&self) -> Result<Answers, RpcError> {
        let exact = self.asked.iter().find_map(|asked| match asked.at {
            Some(BlockId::Exactly { number, hash }) => Some((number, hash)),
            _ => None,
        });
        let mut calls = self.calls();
        let check = exact.map(|(number, hash)| {
            let query = query::header(BlockId::Number(number));
            calls.push(RpcCall {
                method: query.method,
                params: (query.params)(Value::Null),
            });
            (query, hash)
        });
        let mut answers = self.endpoint.send_batch(&calls)?;
        if let Some((query, hash)) = check {
            // One answer for each call: that is what a batch promises.
            let shown = answers.pop().unwrap_or(Ok(Value::Null));
            let header = shown.and_then(|answer| (query.read)(&answer));
            let doubt = match header {
                Ok(header) if header.hash == hash => None,
                Ok(_) => Some(RpcError::behind("the block was replaced while it was read")),
                Err(error) => Some(error),
            };
            if let Some(doubt) = doubt {
                for (asked, answer) in self.asked.iter().zip(&mut answers) {
                    if asked.is_exact() {
                        *answer = Err(doubt.clone());
                    }
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
                let is_exact = matches!(asked.at, Some(BlockId::Exactly { .. }));
                answer
                    .as_ref()
                    .err()
                    .filter(|error| is_exact && !error.is_final())
            });
        let helped = self.asked.iter().zip(&answers.0).any(|(asked, answer)| {
            matches!(asked.at, Some(BlockId::Exactly { .. })) && answer.is_ok()
        });
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
            .and_then(|answer| (ticket.read)(&answer))
            .map_err(|error| error.of(ticket.method))
    }
}
