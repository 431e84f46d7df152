//! A complete HTTP request and its reply, as the API sees them: no sockets, no parsing state. What may be said of a reply
//! on the wire by its status and its connection alone is said here.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sha3::{Digest, Sha3_256};

/// The listener on which a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// For everybody: page, API and feed.
    Public,
    /// `server.metrics_listen`: the metrics, and what the public port serves to readers.
    Private,
}

/// A request whose head has been understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub port: Port,
    /// As sent: methods are case-sensitive.
    pub method: String,
    /// Percent-decoded, without the query; an escaped slash separates nothing and stays `%2F`.
    pub path: String,
    /// As sent, without the question mark.
    pub query: Option<String>,
    pub fields: Fields,
    pub body: Vec<u8>,
    /// A body was announced and not taken: its bytes are thrown away.
    pub body_is_left: bool,
    pub peer: IpAddr,
}

impl Request {
    /// Whether it only asks for something.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD")
    }
}

/// The fields of a head, in their order. Values are opaque bytes (RFC 9110, 5.5): whoever uses one says what it may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// Name and value of one line after the other.
    bytes: Vec<u8>,
    /// Where each line's name and value end.
    ends: Vec<(usize, usize)>,
}

impl Fields {
    /// No fields yet, with room for so many lines and bytes.
    pub fn with_capacity(lines: usize, bytes: usize) -> Fields {
        Fields {
            bytes: Vec::with_capacity(bytes),
            ends: Vec::with_capacity(lines),
        }
    }

    /// Adds a line; white space around the value is not part of it.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        self.bytes.extend_from_slice(name.as_bytes());
        let name_end = self.bytes.len();
        self.bytes.extend_from_slice(value.trim_ascii());
        self.ends.push((name_end, self.bytes.len()));
    }

    /// The values of all lines of that name, in any case.
    pub fn lines<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a [u8]> + 'a {
        (0..self.ends.len()).filter_map(move |index| {
            let start = index.checked_sub(1).map_or(0, |before| self.ends[before].1);
            let (name_end, end) = self.ends[index];
            self.bytes[start..name_end]
                .eq_ignore_ascii_case(name.as_bytes())
                .then(|| &self.bytes[name_end..end])
        })
    }

    /// The value of a field that belongs on one line; None when it is missing or there more than once.
    pub fn only<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        let mut lines = self.lines(name);
        let first = lines.next()?;
        lines.next().is_none().then_some(first)
    }

    /// All items of a comma separated field, over all its lines; empty ones are none (RFC 9110, 5.6.1).
    pub fn list<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a [u8]> + 'a {
        self.lines(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|item| !item.is_empty())
    }

    /// Whether that word, in any case, is an item of the field.
    pub fn lists(&self, name: &str, word: &str) -> bool {
        self.list(name)
            .any(|item| item.eq_ignore_ascii_case(word.as_bytes()))
    }
}

/// What becomes of the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// The answer is the last.
    Close,
    /// It goes on, which in HTTP/1.1 needs no word.
    Keep,
    /// It goes on, which a client of HTTP/1.0 has to be told.
    KeepTold,
}

impl Persistence {
    /// Whether another request may follow.
    pub fn keeps(self) -> bool {
        self != Persistence::Close
    }
}

/// An answer without what belongs to the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// Without Content-Length, Connection and Date, which belong to whoever writes the reply.
    pub headers: Vec<(&'static str, String)>,
    pub body: Arc<[u8]>,
    /// How long the answer is held back: whoever guesses tokens shall not guess fast.
    pub delay: Duration,
}

/// The reply as it goes over the wire; `head_only` for a HEAD.
pub fn encode(reply: &Reply, persistence: Persistence, head_only: bool) -> Vec<u8> {
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
    if matches!(reply.status, 204 | 304) {
        // RFC 9110, 8.6: never with 204, and with 304 only the length that a 200 would have.
        cut(&mut bytes, b"\r\nContent-Length: 0");
    }
    let more = hop_by_hop(reply, persistence);
    if !more.is_empty() {
        // The response type drops these fields, so they are put behind the status line here.
        if let Some(end) = find(&bytes, b"\r\n") {
            bytes.splice(end..end, more.bytes());
        }
    }
    bytes
}

/// The lines about the connection, each with its line break in front.
fn hop_by_hop(reply: &Reply, persistence: Persistence) -> String {
    let upgrade = reply.headers.iter().find(|(name, _)| *name == "Upgrade");
    let options = match (persistence, upgrade) {
        (Persistence::Close, None) => "close",
        // RFC 9110, 7.8: whoever sends Upgrade names it in Connection.
        (Persistence::Close, Some(_)) => "close, Upgrade",
        (Persistence::KeepTold, _) => "keep-alive",
        (Persistence::Keep, Some(_)) => "Upgrade",
        (Persistence::Keep, None) => return String::new(),
    };
    let upgrade = upgrade.map_or(String::new(), |(_, protocol)| {
        format!("\r\nUpgrade: {protocol}")
    });
    format!("\r\nConnection: {options}{upgrade}")
}

/// What an entity tag is made of.
pub fn digest(bytes: &[u8]) -> String {
    hex::encode(&Sha3_256::digest(bytes)[..12])
}

/// Where `part` begins for the first time.
pub fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

fn cut(bytes: &mut Vec<u8>, part: &[u8]) {
    if let Some(start) = find(bytes, part) {
        bytes.drain(start..start + part.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, headers: Vec<(&'static str, String)>, body: &str) -> Reply {
        Reply {
            status,
            headers,
            body: body.as_bytes().into(),
            delay: Duration::ZERO,
        }
    }

    #[test]
    fn fields_are_read_over_all_their_lines_and_in_any_case() {
        let mut fields = Fields::default();
        for (name, value) in [
            ("Host", &b"x"[..]),
            ("accept-ENCODING", b" br ,, gzip;q=1 "),
            ("Accept-Encoding", b"zstd"),
            ("Cookie", b"\xff\xfe=1"),
        ] {
            fields.push(name, value);
        }
        let items: Vec<&[u8]> = fields.list("Accept-Encoding").collect();
        assert_eq!(items, [&b"br"[..], b"gzip;q=1", b"zstd"]);
        assert!(fields.lists("accept-encoding", "BR"));
        assert!(!fields.lists("accept-encoding", "gzip"));
        assert_eq!(fields.only("host"), Some(&b"x"[..]));
        assert_eq!(fields.only("accept-encoding"), None);
        assert_eq!(fields.only("cookie"), Some(&b"\xff\xfe=1"[..]));
        assert_eq!(fields.lines("cook").count(), 0);
    }

    #[test]
    fn the_wire_says_what_status_and_connection_demand() {
        let upgrade = vec![("Upgrade", "websocket".to_owned())];
        let table = [
            (
                reply(200, vec![], "hello"),
                Persistence::Keep,
                false,
                &["Content-Length: 5\r\n", "\r\n\r\nhello"][..],
                &["Connection"][..],
            ),
            (
                reply(200, vec![], "hello"),
                Persistence::Close,
                true,
                &["Connection: close\r\n", "Content-Length: 5\r\n"],
                &["hello"],
            ),
            (
                reply(200, vec![], ""),
                Persistence::KeepTold,
                false,
                &["Connection: keep-alive\r\n", "Content-Length: 0\r\n"],
                &["close"],
            ),
            (
                reply(204, vec![], ""),
                Persistence::Keep,
                false,
                &["HTTP/1.1 204 "],
                &["Content-Length", "Transfer-Encoding"],
            ),
            (
                reply(304, vec![("ETag", "\"x\"".to_owned())], ""),
                Persistence::Keep,
                false,
                &["ETag: \"x\"\r\n"],
                &["Content-Length", "Transfer-Encoding"],
            ),
            (
                reply(426, upgrade, "why"),
                Persistence::Close,
                false,
                &["Connection: close, Upgrade\r\n", "Upgrade: websocket\r\n"],
                &[],
            ),
        ];
        for (reply, persistence, head_only, has, lacks) in table {
            let bytes = encode(&reply, persistence, head_only);
            let text = String::from_utf8(bytes).unwrap();
            for part in has {
                assert!(text.contains(part), "{part:?} in {text}");
            }
            for part in lacks {
                assert!(!text.contains(part), "{part:?} in {text}");
            }
            assert_eq!(text.matches("\r\nDate: ").count(), 1, "{text}");
        }
    }
}
