//! A complete HTTP request and its reply, as the API sees them: no sockets, no parsing state.

use std::net::IpAddr;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Upper case, as sent.
    pub method: String,
    /// Percent-decoded, without the query.
    pub path: String,
    /// As sent, without the question mark.
    pub query: Option<String>,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub peer: IpAddr,
}

impl Request {
    /// The first header of that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// Without Content-Length, Connection and Date, which belong to whoever writes the reply.
    pub headers: Vec<(&'static str, String)>,
    pub body: Arc<[u8]>,
}
