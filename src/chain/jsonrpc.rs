//! JSON-RPC 2.0 with one server, over any transport: requests get their ids, answers are matched by them, and come back
//! as results or typed errors. No health, and no retries but where a lone server asks for fewer calls: that is the business
//! of `endpoints`.
//!
//! Batches are an optimisation only. One that fails in whatever way while single calls are answered is asked call by
//! call, and the next ones are smaller; after a while whole batches are tried again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::{json, Value};

use self::batching::Batching;
pub(crate) use self::batching::BATCH_MAX;
use self::patience::Patience;

use crate::base::clock::Clock;
use crate::base::thread;
use crate::chain::error::{
    bounded_wait, classify, retry_hint, says_rate_limit, ErrorKind, RpcError,
};
use crate::chain::json::{Json, Part};
use crate::chain::method::Method;
use crate::chain::transport::{Answer, Body, Transport};

/// So many calls that fail alone show that the server fails, not the batch.
const ALONE_MAX: usize = 3;

/// One result for each call, in their order.
pub(super) type Results = Result<Vec<Result<Json, RpcError>>, RpcError>;

/// One call of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct RpcCall {
    pub method: Method,
    pub params: Value,
}

/// The conversation with one JSON-RPC server.
pub struct JsonRpc {
    transport: Arc<dyn Transport>,
    clock: Clock,
    next_id: AtomicU64,
    batching: Mutex<Batching>,
    patience: Patience,
    /// web3_clientVersion in lower case, once known: some codes mean something on one client only.
    client: OnceLock<String>,
}

impl JsonRpc {
    pub fn over(transport: Arc<dyn Transport>, clock: Clock) -> JsonRpc {
        JsonRpc {
            transport,
            clock,
            next_id: AtomicU64::new(1),
            batching: Mutex::default(),
            patience: Patience::default(),
            client: OnceLock::new(),
        }
    }

    /// `scheme://host[:port]`, without path, query and user.
    pub fn host(&self) -> &str {
        self.transport.host()
    }

    /// Remembers what the server calls itself.
    pub(crate) fn note_client(&self, version: &str) {
        let _ = self.client.set(version.to_lowercase());
    }

    pub(crate) fn knows_client(&self) -> bool {
        self.client.get().is_some()
    }

    /// Whether there is nobody else to ask: then it is waited for when it asks for fewer calls.
    pub(super) fn set_alone(&self, is_alone: bool) {
        self.patience.set_alone(is_alone);
    }

    /// How many calls are sent in one batch just now.
    pub(crate) fn batch_size(&self) -> usize {
        self.batching().size_at(self.clock.now())
    }

    /// How many calls are surely answered in one round trip, by all that is known.
    pub(crate) fn sure_batch_size(&self) -> usize {
        self.batching().sure_size_at(self.clock.now())
    }

    /// One call.
    ///
    /// # Errors
    /// Any kind; the error names the method.
    pub fn call(&self, method: Method, params: &Value) -> Result<Json, RpcError> {
        self.patience
            .waited(&self.clock, || self.called(method, params))
            .map_err(|error| self.told(error).of(method))
    }

    fn called(&self, method: Method, params: &Value) -> Result<Json, RpcError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let request =
            json!({"jsonrpc": "2.0", "id": id, "method": method.name(), "params": params});
        let mut answer = self.post(method, &request)?;
        // Some proxies make every request a batch.
        if let Some(items) = answer.items() {
            let own = items.iter().find(|item| has_id(item, id));
            if let Some(item) = own.or(items.last()) {
                answer = item.clone();
            }
        }
        let is_own = has_id(&answer, id);
        match self.result_of(method, &answer) {
            // Gateways put any id into their refusals; a result needs its own.
            Ok(_) if !is_own => Err(self.invalid(method, &format!("the answer's id is not {id}"))),
            result => result,
        }
    }

    /// Several calls; each has its own result, in the order of `calls`.
    ///
    /// # Errors
    /// When the server was silent, asked for fewer calls, or failed in the same way whatever it was asked.
    pub fn batch(&self, calls: &[RpcCall]) -> Results {
        let told = |error| self.told(error);
        let results = self.batched_but_apart(calls).map_err(told)?;
        Ok(results.into_iter().map(|it| it.map_err(told)).collect())
    }

    /// Asks for what has spoilt whole batches of late beside what has not.
    fn batched_but_apart(&self, calls: &[RpcCall]) -> Results {
        let apart = self.batching().apart_at(self.clock.now());
        let is_apart = |call: &&RpcCall| apart[call.method as usize];
        let together: Vec<RpcCall> = calls.iter().filter(|it| !is_apart(it)).cloned().collect();
        if together.is_empty() || together.len() == calls.len() {
            return self.batched(calls);
        }
        let mut answered = self.batched(&together)?.into_iter().peekable();
        let mut results = Vec::with_capacity(calls.len());
        for call in calls {
            match answered.next_if(|_| !is_apart(&call)) {
                Some(result) => results.push(result),
                None => {
                    let result = self.alone(call)?;
                    if !is_failure(&result) {
                        self.batching().take_back(call.method);
                    }
                    results.push(result);
                }
            }
        }
        Ok(results)
    }

    fn batched(&self, calls: &[RpcCall]) -> Results {
        let mut results = Vec::with_capacity(calls.len());
        while results.len() < calls.len() {
            let rest = &calls[results.len()..];
            let part = &rest[..rest.len().min(self.batch_size())];
            // One that is left over goes alone.
            let refusal = match part {
                [_] => None,
                _ => match self.patience.waited(&self.clock, || self.batch_part(part)) {
                    Ok(mut answers) => {
                        match answers.iter().position(is_failure) {
                            Some(index) => self.suspect_batch(&part[index], part.len()),
                            None => self.batching().note_answered(part.len()),
                        }
                        results.append(&mut answers);
                        continue;
                    }
                    Err(error) if error.is_silent_or_limited() => {
                        if self.batching().strike(part.len(), self.clock.now()) {
                            self.tell_smaller();
                        }
                        return Err(error);
                    }
                    Err(error) => Some(error),
                },
            };
            let before = results.len();
            for call in part {
                results.push(self.alone(call)?);
                if let Some(error) = serves_nobody(calls, &results, refusal.as_ref()) {
                    return Err(error);
                }
            }
            let answers = &results[before..];
            if refusal.is_none() || answers.iter().all(is_failure) {
                continue;
            }
            let failing = always_failing(part, answers);
            if !failing.is_empty() {
                self.batching().set_apart(&failing, self.clock.now());
                results.append(&mut self.batched_but_apart(&calls[results.len()..])?);
                return Ok(results);
            }
            // When all of its methods are answered alone, it was the batch's fault.
            self.batching().shrink(part.len(), self.clock.now());
            self.tell_smaller();
        }
        Ok(results)
    }

    /// A call failed in a batch whose other calls were answered: some servers serve only so many of a batch. Where that is
    /// so again and again, and the call is answered alone, it was the batch's fault.
    fn suspect_batch(&self, failed: &RpcCall, size: usize) {
        if !self.batching().suspects(size, self.clock.now()) {
            return;
        }
        if is_failure(&self.call(failed.method, &failed.params)) {
            return self.batching().acquit(self.clock.now());
        }
        self.batching().shrink(size, self.clock.now());
        self.tell_smaller();
    }

    /// A call that belongs to a batch; silence and rate limits end the batch, any other error is this call's own.
    fn alone(&self, call: &RpcCall) -> Result<Result<Json, RpcError>, RpcError> {
        match self.call(call.method, &call.params) {
            Err(error) if error.is_silent_or_limited() => Err(error),
            result => Ok(result),
        }
    }

    fn batch_part(&self, calls: &[RpcCall]) -> Results {
        // calls.len() is at most BATCH_MAX.
        let count = calls.len() as u64;
        let first = self.next_id.fetch_add(count, Ordering::Relaxed);
        let request = calls.iter().zip(first..).map(|(call, id)| {
            json!({"jsonrpc": "2.0", "id": id, "method": call.method.name(), "params": call.params})
        });
        // Of the whole batch no method is to blame.
        let method = calls.first().map_or(Method::Call, |call| call.method);
        let request = Value::Array(request.collect());
        let answer = self.post(method, &request);
        let answer = answer.map_err(RpcError::of_no_method)?;
        let Some(answers) = answer.items() else {
            let refusal = self.result_of(method, &answer).err();
            return Err(match refusal {
                // A single object may be an error; as a result it is none.
                Some(error) => error.of_no_method(),
                None => {
                    RpcError::invalid_answer(format!("{}: a batch has one result", self.host()))
                }
            });
        };
        let mut results = Vec::with_capacity(calls.len());
        for (call, id) in calls.iter().zip(first..) {
            let Some(answer) = answers.iter().find(|answer| has_id(answer, id)) else {
                let text = format!("the batch's answer lacks id {id}");
                return Err(self.invalid(call.method, &text));
            };
            results.push(self.result_of(call.method, answer));
        }
        // A list of nothing but errors is how some servers refuse a batch.
        if results.iter().all(is_failure) {
            let limited = |result: &Result<_, RpcError>| matches!(result, Err(error) if error.is_silent_or_limited());
            let worst = results.iter().position(limited).unwrap_or(0);
            if let Err(error) = results.swap_remove(worst) {
                return Err(error.of_no_method());
            }
        }
        Ok(results)
    }

    /// The error without secrets: its words may be the server's.
    fn told(&self, error: RpcError) -> RpcError {
        error.with_words(|text| self.transport.without_secrets(text))
    }

    fn tell_smaller(&self) {
        let size = self.batch_size();
        log::info!("{}: batches of at most {size} for a while", self.host());
    }

    fn batching(&self) -> MutexGuard<'_, Batching> {
        self.batching.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn invalid(&self, method: Method, text: &str) -> RpcError {
        RpcError::invalid_answer(format!("{}: {}: {text}", self.host(), method.name()))
    }

    fn result_of(&self, method: Method, answer: &Json) -> Result<Json, RpcError> {
        let error = answer.part().at("error");
        let result = answer.get("result");
        // Some servers have an error in each answer, which beside a result is empty, or says that all is well.
        let has_result = result
            .as_ref()
            .is_some_and(|result| !result.part().is_null());
        let is_success = error.at("code").as_f64() == Some(0.0) || is_empty(&error.to_value());
        let is_none = error.is_null() || has_result && is_success;
        if !is_none {
            return Err(self.error_of(method, error));
        }
        match result {
            Some(result) => Ok(result),
            None => Err(self
                .limit_in_words(&answer.to_string())
                .unwrap_or_else(|| self.invalid(method, "no result and no error"))
                .of(method)),
        }
    }

    fn error_of(&self, method: Method, error: Part) -> RpcError {
        let client = self.client.get().map_or("", String::as_str);
        classify(method, &error.to_value(), client)
    }

    fn post(&self, method: Method, request: &Value) -> Result<Json, RpcError> {
        let answer = self.transport.post(request);
        // Answered or not, it has taken its time-out at the longest; a turn may take many of them.
        thread::note_progress();
        let Answer {
            status,
            retry_after,
            body,
        } = answer?;
        let is_well = (200..=299).contains(&status);
        match body {
            // What the node has answered is its answer, whatever is made of it on the way.
            Body::Json(json) if is_well || tells_results(&json) => Ok(json),
            body if !is_well => Err(self.refusal(method, status, retry_after, &body)),
            Body::Json(json) => Ok(json),
            Body::Text(text) => Err(self.limit_in_words(&text).unwrap_or_else(|| {
                let start: String = text.chars().take(40).collect();
                let text = format!("{}: the answer is not JSON: {start:?}", self.host());
                RpcError::new(ErrorKind::Unavailable, text)
            })),
        }
    }

    /// A rate limit is one in whatever dress: servers in front of nodes say it in plain text or in JSON of their own.
    fn limit_in_words(&self, text: &str) -> Option<RpcError> {
        let text: String = text.chars().take(1_000).collect();
        says_rate_limit(&text).then(|| {
            let kind = ErrorKind::RateLimited {
                retry_after: retry_hint(&text),
            };
            RpcError::new(kind, format!("{}: {text}", self.host()))
        })
    }

    /// An answer with an HTTP status of failure. Nodes give JSON-RPC errors with 400 or 500 too: where the body says
    /// something definite, it tells more than the status.
    fn refusal(
        &self,
        method: Method,
        status: u16,
        retry_after: Option<Duration>,
        body: &Body,
    ) -> RpcError {
        let told = match body {
            Body::Json(json) => {
                let error = json.part().at("error");
                (!error.is_null()).then(|| self.error_of(method, error))
            }
            Body::Text(_) => None,
        };
        let by_status = match status {
            300..=399 | 401..=405 | 410 => ErrorKind::Parked,
            429 => match retry_after {
                Some(wait) => limited_for(wait),
                None => ErrorKind::RateLimited {
                    retry_after: retry_hint(&body.text()),
                },
            },
            408 | 425 | 500..=599 => match retry_after {
                // It says how long it wants to be left alone, in whatever words.
                Some(wait) => limited_for(wait),
                None => ErrorKind::Unavailable,
            },
            _ => ErrorKind::Refused,
        };
        let by_status = match (by_status, self.limit_in_words(&body.text())) {
            (limited @ ErrorKind::RateLimited { .. }, _) => limited,
            (_, Some(limited)) => limited.kind,
            (by_status, None) => by_status,
        };
        let is_limited = matches!(by_status, ErrorKind::RateLimited { .. });
        match told {
            Some(error) if error.is_definite() && !is_limited => error,
            Some(error) => {
                let text = format!("{}: HTTP status {status}: {error}", self.host());
                RpcError::new(by_status, text)
            }
            None => RpcError::new(by_status, format!("{}: HTTP status {status}", self.host())),
        }
    }
}

fn limited_for(wait: Duration) -> ErrorKind {
    ErrorKind::RateLimited {
        retry_after: Some(bounded_wait(wait.as_secs_f64())),
    }
}

/// Why the rest of `calls` is not asked for: the server failed at all that it was asked so far, and this many calls alone,
/// whether they are of several methods or a batch of the only one was refused as well. What is refused to one method alone
/// may be served to the others.
fn serves_nobody(
    calls: &[RpcCall],
    results: &[Result<Json, RpcError>],
    refusal: Option<&RpcError>,
) -> Option<RpcError> {
    let are_several = |calls: &[RpcCall]| calls.iter().any(|it| it.method != calls[0].method);
    let is_of_one = !are_several(&calls[..results.len()]);
    let may_be_its = is_of_one && (refusal.is_none() || are_several(calls));
    if results.len() < ALONE_MAX || may_be_its || !results.iter().all(is_failure) {
        return None;
    }
    let first = || results.first()?.as_ref().err();
    refusal.or_else(first).cloned().map(RpcError::of_no_method)
}

/// The methods of which every call failed.
fn always_failing(calls: &[RpcCall], results: &[Result<Json, RpcError>]) -> Vec<Method> {
    let fails = |method: &Method| {
        let of_method = calls.iter().zip(results);
        let mut of_method = of_method.filter(|(call, _)| call.method == *method);
        of_method.all(|(_, result)| is_failure(result))
    };
    let mut methods: Vec<Method> = calls.iter().map(|call| call.method).collect();
    methods.sort_unstable();
    methods.dedup();
    methods.retain(fails);
    methods
}

/// True for an answer with a result, and for a batch's in which there is one.
fn tells_results(answer: &Json) -> bool {
    let has_result = |answer: Part| {
        let is_refused = !is_empty(&answer.at("error").to_value());
        !answer.at("id").is_null() && !answer.at("result").is_null() && !is_refused
    };
    match answer.part().items() {
        Some(mut items) => items.any(has_result),
        None => has_result(answer.part()),
    }
}

/// True for what is a value in form only.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        // {"code": 0, "message": ""} is none either.
        Value::Object(fields) => fields.values().all(is_empty),
    }
}

/// Ids compare by value: some servers give a number back as text, or as a fraction.
pub(super) fn has_id(answer: &Json, id: u64) -> bool {
    let found = answer.part().at("id");
    let Some(text) = found.as_str() else {
        return found.as_u64() == Some(id) || found.as_f64() == Some(id as f64);
    };
    let text = text.trim();
    let hex = text
        .strip_prefix("0x")
        .map(|digits| u64::from_str_radix(digits, 16));
    match hex {
        Some(number) => number == Ok(id),
        None => text.parse() == Ok(id as f64),
    }
}

/// True for what the server failed at, as opposed to what it answered in the negative.
fn is_failure(result: &Result<Json, RpcError>) -> bool {
    matches!(result, Err(error) if !error.is_final() && error.kind != ErrorKind::Behind)
}

mod batching;
mod patience;
#[cfg(test)]
mod tests;
