//! One HTTP/1.1 connection as a pure state machine over bytes and time: bytes in, events out. No sockets.
//!
//! One request at a time is with the workers; bytes behind it wait, and nothing is parsed while output is pending, so
//! that a client that does not read cannot make us hold more than one answer. Every buffer has a bound.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::web::http::Request;
use crate::web::query::percent_decode;

#[cfg(test)]
mod tests;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub head_bytes: usize,
    pub head_time: Duration,
    pub body_bytes: usize,
    pub body_time: Duration,
    pub idle_time: Duration,
    /// A client that takes nothing of its answer for so long is dropped.
    pub write_time: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            head_bytes: 8 * 1024,
            head_time: Duration::from_secs(10),
            body_bytes: 64 * 1024,
            body_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(15),
            write_time: Duration::from_secs(20),
        }
    }
}

const HEADERS_MAX: usize = 64;

/// What the bytes so far amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A complete request; `keep_alive` says whether the connection may go on after its answer.
    Request { request: Request, keep_alive: bool },
    /// A WebSocket handshake; `rest` are bytes that came behind it.
    Upgrade {
        request: Request,
        key: String,
        rest: Vec<u8>,
    },
    /// The connection ends with this answer.
    Refuse(Refusal),
}

/// Why a connection is ended from below the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub code: &'static str,
    pub message: String,
    pub header: Option<(&'static str, &'static str)>,
}

#[derive(Debug)]
pub struct Connection {
    limits: Limits,
    peer: IpAddr,
    input: Vec<u8>,
    /// The end of the last line of the head that was parsed: nothing is parsed again before another line is whole.
    lines_end: usize,
    state: State,
    /// Since when the state holds; for output, since when nothing of it was taken.
    since: Instant,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Nothing of the next request has come.
    Idle,
    /// A part of a head has come.
    Head,
    Body {
        head: Box<Head>,
        length: usize,
    },
    /// A request is with the workers.
    Working,
    /// An answer is being written.
    Writing {
        keep_alive: bool,
    },
    Closed,
}

#[derive(Debug, PartialEq, Eq)]
struct Head {
    request: Request,
    keep_alive: bool,
    upgrade_key: Option<String>,
}

impl Connection {
    pub fn new(peer: IpAddr, limits: Limits, now: Instant) -> Connection {
        Connection {
            limits,
            peer,
            input: Vec::new(),
            lines_end: 0,
            state: State::Idle,
            since: now,
        }
    }

    /// True while reading more makes sense: a client that sends ahead is held back by its own socket.
    pub fn wants_input(&self) -> bool {
        !matches!(self.state, State::Closed)
            && self.input.len() < self.limits.head_bytes + self.limits.body_bytes
            && !matches!(self.state, State::Working | State::Writing { .. })
    }

    /// True when no request is begun: such a connection can be closed without harm.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Bytes that came and belong to no request yet.
    pub fn waiting_bytes(&self) -> usize {
        self.input.len()
    }

    pub fn since(&self) -> Instant {
        self.since
    }

    /// Takes bytes that were read, and answers with the event they complete, if any.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) -> Option<Event> {
        self.input.extend_from_slice(bytes);
        self.advance(now)
    }

    /// The worker's answer is ready to be written.
    pub fn begin_writing(&mut self, keep_alive: bool, now: Instant) {
        self.enter(State::Writing { keep_alive }, now);
    }

    /// Some of the answer was taken by the socket.
    pub fn note_progress(&mut self, now: Instant) {
        self.since = now;
    }

    /// The whole answer is written: the next request, if its bytes are here, or None. Closed when it was the last.
    pub fn end_writing(&mut self, now: Instant) -> Option<Event> {
        match self.state {
            State::Writing { keep_alive: true } => {
                self.enter(State::Idle, now);
                self.advance(now)
            }
            _ => {
                self.enter(State::Closed, now);
                None
            }
        }
    }

    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// When `expire` has to be called, if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        let time = match self.state {
            State::Idle => self.limits.idle_time,
            State::Head => self.limits.head_time,
            State::Body { .. } => self.limits.body_time,
            State::Writing { .. } => self.limits.write_time,
            State::Working | State::Closed => return None,
        };
        Some(self.since + time)
    }

    /// Time has passed: a refusal for a client that was slow in asking, a plain close for one that is idle or does not read.
    pub fn expire(&mut self, now: Instant) -> Option<Event> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return None;
        }
        let slow = matches!(self.state, State::Head | State::Body { .. });
        self.enter(State::Closed, now);
        slow.then(|| {
            refuse(
                408,
                "request_timeout",
                "the request took too long to arrive",
            )
        })
    }

    fn enter(&mut self, state: State, now: Instant) {
        self.state = state;
        self.since = now;
    }

    fn advance(&mut self, now: Instant) -> Option<Event> {
        if matches!(self.state, State::Idle | State::Head) {
            match self.read_head() {
                Ok(None) => {
                    if self.state == State::Idle && !self.input.is_empty() {
                        self.enter(State::Head, now);
                    }
                    return None;
                }
                Ok(Some((head, length))) => self.enter(
                    State::Body {
                        head: Box::new(head),
                        length,
                    },
                    now,
                ),
                Err(refusal) => {
                    self.enter(State::Closed, now);
                    return Some(Event::Refuse(refusal));
                }
            }
        }
        let State::Body { length, .. } = self.state else {
            return None;
        };
        if self.input.len() < length {
            return None;
        }
        let State::Body { head, .. } = std::mem::replace(&mut self.state, State::Working) else {
            return None;
        };
        self.since = now;
        let Head {
            mut request,
            keep_alive,
            upgrade_key,
        } = *head;
        request.body = self.input.drain(..length).collect();
        match upgrade_key {
            Some(key) => {
                self.state = State::Closed;
                Some(Event::Upgrade {
                    request,
                    key,
                    rest: std::mem::take(&mut self.input),
                })
            }
            None => Some(Event::Request {
                request,
                keep_alive,
            }),
        }
    }

    /// A complete head and the length of its body; None while more bytes are needed.
    fn read_head(&mut self) -> Result<Option<(Head, usize)>, Refusal> {
        // RFC 9112, 2.2: empty lines before a request are passed over.
        let blank = self
            .input
            .iter()
            .take_while(|byte| matches!(byte, b'\r' | b'\n'))
            .count();
        self.input.drain(..blank);
        let within = &self.input[..self.input.len().min(self.limits.head_bytes)];
        let is_newline = |byte: &u8| *byte == b'\n';
        let lines_end = within
            .iter()
            .rposition(is_newline)
            .map_or(0, |last| last + 1);
        if lines_end == self.lines_end && self.input.len() < self.limits.head_bytes {
            return Ok(None);
        }
        self.lines_end = lines_end;
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Request::new(&mut headers);
        let size = match parsed.parse(&within[..lines_end]) {
            Ok(httparse::Status::Complete(size)) => size,
            Ok(httparse::Status::Partial) if self.input.len() < self.limits.head_bytes => {
                return Ok(None)
            }
            Ok(httparse::Status::Partial) => {
                let message = format!("the head may have {} bytes", self.limits.head_bytes);
                return Err(refusal(431, "head_too_large", &message));
            }
            Err(httparse::Error::TooManyHeaders) => {
                let message = format!("the head may have {HEADERS_MAX} fields");
                return Err(refusal(431, "head_too_large", &message));
            }
            Err(httparse::Error::Version) => {
                return Err(refusal(
                    505,
                    "http_version",
                    "only HTTP/1.0 and HTTP/1.1 are spoken here",
                ));
            }
            Err(error) => {
                return Err(refusal(
                    400,
                    "bad_request",
                    &format!("the head is broken: {error}"),
                ))
            }
        };
        let read = read_fields(&parsed, self.peer, &self.limits)?;
        self.input.drain(..size);
        self.lines_end = 0;
        Ok(Some(read))
    }
}

fn read_fields(
    parsed: &httparse::Request,
    peer: IpAddr,
    limits: &Limits,
) -> Result<(Head, usize), Refusal> {
    let mut headers = Vec::with_capacity(parsed.headers.len());
    for header in parsed.headers.iter() {
        let value = std::str::from_utf8(header.value).map_err(|_| {
            refusal(
                400,
                "bad_request",
                &format!("the field {} is not UTF-8", header.name),
            )
        })?;
        headers.push((header.name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let is_http_11 = parsed.version == Some(1);
    let target = parsed.path.unwrap_or_default();
    let (path, query) = split_target(target).ok_or_else(|| {
        refusal(
            400,
            "bad_target",
            &format!("the request target {target} is not a path"),
        )
    })?;
    let request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        path,
        query,
        headers,
        body: Vec::new(),
        peer,
    };
    let hosts = request
        .headers
        .iter()
        .filter(|(name, _)| name == "host")
        .count();
    if is_http_11 && hosts != 1 {
        return Err(refusal(400, "bad_host", "exactly one Host field is needed"));
    }
    let length = body_length(&request, limits)?;
    let connection = request.list("connection");
    let asks = |option: &str| {
        connection
            .iter()
            .any(|known| known.eq_ignore_ascii_case(option))
    };
    let keep_alive = if is_http_11 {
        !asks("close")
    } else {
        asks("keep-alive")
    };
    let upgrade_key = upgrade_key(&request, asks("upgrade"))?;
    Ok((
        Head {
            request,
            keep_alive,
            upgrade_key,
        },
        length,
    ))
}

/// The decoded path and the raw query of an origin-form or absolute-form target.
fn split_target(target: &str) -> Option<(String, Option<String>)> {
    let local = match target
        .strip_prefix("http://")
        .or_else(|| target.strip_prefix("https://"))
    {
        Some(rest) => match rest.find(['/', '?']) {
            Some(start) if rest.as_bytes()[start] == b'/' => rest[start..].to_owned(),
            Some(start) => format!("/{}", &rest[start..]),
            None => "/".to_owned(),
        },
        None => target.to_owned(),
    };
    let (path, query) = match local.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (local.as_str(), None),
    };
    let path = percent_decode(path).filter(|path| path.starts_with('/') && !path.contains('\0'))?;
    Some((path, query))
}

fn body_length(request: &Request, limits: &Limits) -> Result<usize, Refusal> {
    if request.header("transfer-encoding").is_some() {
        return Err(refusal(
            411,
            "length_required",
            "a body must come with Content-Length, not in chunks",
        ));
    }
    if request.header("expect").is_some() {
        return Err(refusal(
            417,
            "expectation_failed",
            "Expect is not supported: send the body at once",
        ));
    }
    let mut length = None;
    for value in request.list("content-length") {
        let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        let number = value.parse::<u64>().ok().filter(|_| digits);
        let Some(number) = number.filter(|number| length.is_none_or(|known| known == *number))
        else {
            let message = format!("Content-Length is {value}, allowed is one number of bytes");
            return Err(refusal(400, "bad_length", &message));
        };
        length = Some(number);
    }
    match usize::try_from(length.unwrap_or(0)) {
        Ok(length) if length <= limits.body_bytes => Ok(length),
        _ => {
            let message = format!("the body may have {} bytes", limits.body_bytes);
            Err(refusal(413, "body_too_large", &message))
        }
    }
}

/// The handshake's key when this asks for a WebSocket.
fn upgrade_key(request: &Request, asks_upgrade: bool) -> Result<Option<String>, Refusal> {
    let wants = request
        .list("upgrade")
        .iter()
        .any(|protocol| protocol.eq_ignore_ascii_case("websocket"));
    let is_feed = matches!(request.path.as_str(), "/ws/lottery" | "/ws");
    if !is_feed {
        return Ok(None);
    }
    if !(wants && asks_upgrade) {
        let mut refusal = refusal(
            426,
            "upgrade_required",
            "this is a WebSocket: connect with a WebSocket client",
        );
        refusal.header = Some(("Upgrade", "websocket"));
        return Err(refusal);
    }
    if request.method != "GET" {
        return Err(refusal(
            405,
            "method_not_allowed",
            "a WebSocket handshake is a GET",
        ));
    }
    if request.header("sec-websocket-version") != Some("13") {
        let mut refusal = refusal(426, "websocket_version", "WebSocket version 13 is needed");
        refusal.header = Some(("Sec-WebSocket-Version", "13"));
        return Err(refusal);
    }
    // RFC 6455, 4.1: 16 bytes in base64 are 24 characters, the last two being padding.
    let key = request.header("sec-websocket-key").unwrap_or_default();
    let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let well_formed = key.len() == 24 && key.ends_with("==") && key.bytes().take(22).all(alphabet);
    match well_formed {
        true => Ok(Some(key.to_owned())),
        false => Err(refusal(
            400,
            "websocket_key",
            "Sec-WebSocket-Key must be 16 bytes in base64",
        )),
    }
}

fn refusal(status: u16, code: &'static str, message: &str) -> Refusal {
    Refusal {
        status,
        code,
        message: message.to_owned(),
        header: None,
    }
}

fn refuse(status: u16, code: &'static str, message: &str) -> Event {
    Event::Refuse(refusal(status, code, message))
}
