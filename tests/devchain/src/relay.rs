//! Endpoints in front of another node, anvil for example, which can be made to fail like those of our own chain. What
//! changes the chain itself, or needs to know it (lags, reorgs, subscriptions), is left to our own.

use std::sync::Arc;

use serde_json::{json, Value};

use crate::faults::Faults;
use crate::rpc::{Answer, RpcError};
use crate::server::{listen, Shared};
use crate::Endpoint;

/// Running endpoints; dropping it stops their threads.
pub struct Relay {
    shared: Arc<Shared>,
    endpoints: Vec<Endpoint>,
}

impl Relay {
    /// So many endpoints in front of the node at `url`, each on a free port of loopback.
    pub fn start(url: &str, count: usize) -> std::io::Result<Relay> {
        let shared = Arc::new(Shared::before(url.to_owned()));
        let endpoints = (0..count)
            .map(|_| {
                let faults = Faults::default();
                let (address, thread) = listen(shared.clone(), faults.clone(), 0)?;
                Ok(Endpoint {
                    address,
                    faults,
                    thread: Some(thread),
                })
            })
            .collect::<std::io::Result<_>>()?;
        Ok(Relay { shared, endpoints })
    }

    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Every raw transaction that was sent, whatever became of it.
    pub fn raw_transactions(&self) -> Vec<Vec<u8>> {
        self.shared.raw_transactions()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop(&mut self.endpoints);
    }
}

/// What the node at `url` answers to one call.
pub fn ask(url: &str, method: &str, params: &Value) -> Answer {
    let lost = |error: ureq::Error| RpcError {
        code: -32_603,
        message: format!("the node behind does not answer: {error}"),
        data: None,
    };
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let mut response = ureq::post(url)
        .header("content-type", "application/json")
        .send(&call.to_string())
        .map_err(lost)?;
    let text = response.body_mut().read_to_string().map_err(lost)?;
    let mut answer: Value = serde_json::from_str(&text).map_err(|error| RpcError {
        code: -32_603,
        message: format!("the node behind answers oddly: {error}"),
        data: None,
    })?;
    match answer.get_mut("error").map(Value::take) {
        Some(error) => Err(RpcError {
            code: error["code"].as_i64().unwrap_or(-32_603),
            message: error["message"].as_str().unwrap_or_default().to_owned(),
            data: error.get("data").cloned(),
        }),
        None => Ok(answer["result"].take()),
    }
}
