//! The seam to the outside: one JSON-RPC request goes out, one answer comes back, by whatever carries them. HTTP does in
//! production (`http`), a script in tests (`script`), a simulated chain in the simulator. Ids, batches and what an answer
//! means are decided above, in `jsonrpc`, so that all of these share it.

use std::time::Duration;

use serde_json::Value;

use crate::chain::error::RpcError;
use crate::chain::json::Json;

/// Carries JSON-RPC requests to one server.
pub trait Transport: Send + Sync {
    /// `scheme://host[:port]`: all that may be shown of the server's URL, whose path and query hold API keys.
    fn host(&self) -> &str;

    /// Delivers a request, one object or a list of them (a batch), and waits for the answer.
    ///
    /// # Errors
    /// When no whole answer came: refused, timed out, cut off. What was sent may have arrived all the same.
    fn post(&self, request: &Value) -> Result<Answer, RpcError>;

    /// What a server wrote, without anything of the configuration that is secret: servers like to echo their URL.
    fn without_secrets(&self, text: &str) -> String {
        text.to_owned()
    }
}

/// An answer as HTTP carries it.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    /// How long the server asks to be left alone, from its headers.
    pub retry_after: Option<Duration>,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Json(Json),
    /// Anything else: a proxy's page, or nothing.
    Text(String),
}

impl Answer {
    /// A JSON answer with status 200.
    pub fn json(value: Value) -> Answer {
        Answer {
            status: 200,
            retry_after: None,
            body: Body::Json(value.into()),
        }
    }
}

impl Body {
    /// The body as text, for reading hints in it.
    pub fn text(&self) -> String {
        match self {
            Body::Json(value) => value.to_string(),
            Body::Text(text) => text.clone(),
        }
    }
}
