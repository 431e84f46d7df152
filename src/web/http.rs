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

    /// All items of the comma separated field of that (lower-case) name, over all its lines.
    pub fn list(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(known, _)| known == name)
            .flat_map(|(_, value)| value.split(','))
            .map(str::trim)
            .collect()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// Without Content-Length, Connection and Date, which belong to whoever writes the reply.
    pub headers: Vec<(&'static str, String)>,
    pub body: Arc<[u8]>,
    /// Made of the request, the snapshot and chain time, and of nothing else.
    pub is_of_snapshot: bool,
}

/// The reply as it goes over the wire.
pub fn encode(reply: &Reply, keep_alive: bool, head_only: bool) -> Vec<u8> {
    use tiny_http::{HTTPVersion, Header, Response, StatusCode};

    let headers = reply
        .headers
        .iter()
        .filter_map(|(name, value)| Header::from_bytes(name.as_bytes(), value.as_bytes()).ok())
        .collect();
    let length = reply.body.len();
    let response = Response::new(
        StatusCode(reply.status),
        headers,
        &reply.body[..],
        Some(length),
        None,
    )
    .with_chunked_threshold(usize::MAX);
    let mut bytes = Vec::with_capacity(length + 512);
    // Writing to a Vec cannot fail.
    let _ = response.raw_print(&mut bytes, HTTPVersion(1, 1), &[], head_only, None);
    if !keep_alive {
        // The response type drops this field, so it is put behind the status line here.
        if let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") {
            bytes.splice(end..end, *b"\r\nConnection: close");
        }
    }
    bytes
}
