//! One HTTP/1.1 connection as a pure state machine over bytes and time: bytes in, events out. No sockets.
//!
//! One request at a time is with the workers; bytes behind it wait, and nothing is parsed while output is pending, so
//! that a client that does not read cannot make us hold more than one answer. Every buffer has a bound, and none is kept
//! longer than its bytes. What a head may say is `head`'s business.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::web::http::{Persistence, Port, Request};

mod head;
mod rules;
#[cfg(test)]
mod tests;

pub use rules::{Limits, Refused, Rules};

use head::{Body, Head};

/// Nobody is evicted before it had so much time to send its request.
const NEWCOMER_TIME: Duration = Duration::from_millis(100);
/// Who has not asked for so long goes before those who have.
const QUIET_TIME: Duration = Duration::from_secs(1);
/// Of empty lines before a request: some clients send one behind a body.
const BLANK_BYTES_MAX: usize = 1_024;
/// What counts as one millisecond less of waiting, up to a second: among those that wait as long, who has sent the least
/// is the first to go.
const CREDIT_BYTES_MAX: usize = 1_000;

/// What the bytes so far amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A complete request.
    Request {
        request: Request,
        persistence: Persistence,
    },
    /// A WebSocket handshake; `rest` are bytes that came behind it.
    Upgrade {
        request: Request,
        key: String,
        rest: Vec<u8>,
    },
    /// The connection ends with this answer.
    Refuse(Refused),
}

pub struct Connection {
    rules: Arc<Rules>,
    port: Port,
    peer: IpAddr,
    input: Vec<u8>,
    /// The end of the last line of the head that was parsed: nothing is parsed again before another line is whole.
    lines_end: usize,
    state: State,
    /// Since when the state holds; for output, since when nothing of it was taken.
    since: Instant,
    /// Since when a whole request has been waited for.
    waiting_since: Instant,
    /// What has come since then.
    heard_bytes: usize,
    /// When the last request was whole.
    asked_at: Option<Instant>,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Nothing of the next request has come.
    Idle,
    /// A part of a head has come.
    Head,
    Body {
        head: Box<Head>,
    },
    /// A request is with the workers.
    Working,
    /// An answer is being written.
    Writing {
        persistence: Persistence,
    },
    /// The last answer is out, and so much of what still comes is thrown away.
    Lingering {
        bytes_left: usize,
    },
    Closed,
}

impl Connection {
    pub fn new(peer: IpAddr, port: Port, rules: Arc<Rules>, now: Instant) -> Connection {
        Connection {
            rules,
            port,
            peer,
            input: Vec::new(),
            lines_end: 0,
            state: State::Idle,
            since: now,
            waiting_since: now,
            heard_bytes: 0,
            asked_at: None,
        }
    }

    /// True while reading more makes sense: a client that sends ahead is held back by its own socket.
    pub fn wants_input(&self) -> bool {
        match self.state {
            State::Idle | State::Head | State::Body { .. } => true,
            State::Lingering { bytes_left } => bytes_left > 0,
            State::Working | State::Writing { .. } | State::Closed => false,
        }
    }

    /// Bytes that came and belong to no request yet.
    pub fn waiting_bytes(&self) -> usize {
        self.input.len()
    }

    /// The memory that they take.
    pub fn held_bytes(&self) -> usize {
        self.input.capacity()
    }

    /// Since when the state holds; of an answer, since when nothing of it was taken.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Who goes first when there is no room: the smallest. None for whoever must not go: a request is being answered, or
    /// its time to send one has only begun.
    pub(crate) fn eviction_rank(&self, now: Instant) -> Option<(bool, Instant)> {
        let credit_bytes = self.heard_bytes.min(CREDIT_BYTES_MAX);
        let (is_open, since) = match self.state {
            State::Lingering { .. } => return Some((false, self.since)),
            State::Idle | State::Head | State::Body { .. } => (
                true,
                self.waiting_since + Duration::from_millis(credit_bytes as u64),
            ),
            State::Writing { .. } => (true, self.since),
            State::Working | State::Closed => return None,
        };
        (!self.is_newcomer(now)).then_some((is_open, since))
    }

    /// True while its request may still be on the way.
    pub(crate) fn is_newcomer(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.waiting_since) < NEWCOMER_TIME
    }

    /// True while it has asked for nothing lately.
    pub(crate) fn is_quiet(&self, now: Instant) -> bool {
        let is_long = |at| now.saturating_duration_since(at) >= QUIET_TIME;
        self.asked_at.is_none_or(is_long)
    }

    /// True while what comes next begins a request, and nothing has come since the last.
    pub(crate) fn is_between_requests(&self) -> bool {
        self.state == State::Idle && self.heard_bytes == 0
    }

    /// Takes a request that came whole and alone, of which it is known what its bytes ask for: as `receive` does, without
    /// reading them.
    pub(crate) fn take_known(&mut self, bytes: &[u8], now: Instant) {
        debug_assert!(self.is_between_requests(), "{:?}", self.state);
        self.heard_bytes = bytes.len();
        self.enter(State::Working, now);
        self.asked_at = Some(now);
    }

    /// Takes bytes that were read, and answers with the event they complete, if any.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) -> Option<Event> {
        if let State::Lingering { bytes_left } = &mut self.state {
            *bytes_left = bytes_left.saturating_sub(bytes.len());
            return None;
        }
        self.heard_bytes = self.heard_bytes.saturating_add(bytes.len());
        self.input.extend_from_slice(bytes);
        self.advance(now)
    }

    /// The worker's answer is ready to be written.
    pub fn begin_writing(&mut self, persistence: Persistence, now: Instant) {
        self.enter(State::Writing { persistence }, now);
    }

    /// Some of the answer was taken by the socket.
    pub(crate) fn note_progress(&mut self, now: Instant) {
        self.since = now;
    }

    /// The whole answer is written: the next request, if its bytes are here, or None. After the last answer the connection
    /// lingers.
    pub fn end_writing(&mut self, now: Instant) -> Option<Event> {
        match self.state {
            State::Writing { persistence } if persistence.keeps() => {
                self.enter(State::Idle, now);
                self.waiting_since = now;
                self.heard_bytes = self.input.len();
                self.advance(now)
            }
            _ => {
                self.linger(now);
                None
            }
        }
    }

    /// Nothing more will be answered; what still comes is thrown away for a while.
    pub(crate) fn linger(&mut self, now: Instant) {
        self.input = Vec::new();
        let bytes_left = self.rules.limits.linger_bytes;
        self.enter(State::Lingering { bytes_left }, now);
    }

    pub(crate) fn is_lingering(&self) -> bool {
        matches!(self.state, State::Lingering { .. })
    }

    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// When `expire` has to be called, if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        let limits = &self.rules.limits;
        let time = match self.state {
            State::Idle => limits.idle_time,
            State::Head => limits.head_time,
            State::Body { .. } => limits.body_time,
            State::Working => limits.work_time,
            State::Writing { .. } => limits.write_time,
            State::Lingering { .. } => limits.linger_time,
            State::Closed => return None,
        };
        Some(self.since + time)
    }

    /// Time has passed: a refusal for a client that was slow in asking, a plain close for one that is idle or does not read.
    pub fn expire(&mut self, now: Instant) -> Option<Event> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return None;
        }
        let method = match &self.state {
            State::Head => Some(head::method_of(&self.input)),
            State::Body { head } => Some(Some(head.request.method.clone())),
            _ => None,
        };
        self.enter(State::Closed, now);
        method.map(|method| {
            let message = "the request took too long to arrive: send it at once";
            Event::Refuse(Refused::new(408, "request_timeout", message, method))
        })
    }

    fn enter(&mut self, state: State, now: Instant) {
        self.state = state;
        self.since = now;
    }

    fn advance(&mut self, now: Instant) -> Option<Event> {
        if matches!(self.state, State::Idle | State::Head) {
            match self.read_head() {
                Ok(Some(head)) if head.body != Body::Left => {
                    self.enter(State::Body { head }, now);
                }
                Ok(Some(head)) => return Some(self.begin_work(*head, now)),
                Ok(None) => {
                    if self.state == State::Idle && !self.input.is_empty() {
                        self.enter(State::Head, now);
                    }
                    return None;
                }
                Err(refused) => return Some(self.refuse(refused, now)),
            }
        }
        let State::Body { head } = &self.state else {
            return None;
        };
        let (body_len, taken_len) = match head.body.extent(&self.input) {
            Ok(extent) => extent?,
            Err(refusal) => {
                let method = Some(head.request.method.clone());
                return Some(self.refuse(Refused { refusal, method }, now));
            }
        };
        let State::Body { head } = std::mem::replace(&mut self.state, State::Working) else {
            return None;
        };
        let mut head = *head;
        head.request.body = self.input[..body_len].to_vec();
        self.forget(taken_len);
        Some(self.begin_work(head, now))
    }

    fn begin_work(&mut self, head: Head, now: Instant) -> Event {
        self.enter(State::Working, now);
        self.asked_at = Some(now);
        let Head {
            request,
            persistence,
            upgrade_key,
            ..
        } = head;
        match upgrade_key {
            Some(key) => {
                self.state = State::Closed;
                let rest = std::mem::take(&mut self.input);
                Event::Upgrade { request, key, rest }
            }
            None => Event::Request {
                request,
                persistence,
            },
        }
    }

    fn refuse(&mut self, refused: Refused, now: Instant) -> Event {
        self.asked_at = Some(now);
        self.enter(State::Closed, now);
        Event::Refuse(refused)
    }

    /// A complete head; None while more bytes are needed.
    fn read_head(&mut self) -> Result<Option<Box<Head>>, Refused> {
        // RFC 9112, 2.2: empty lines before a request are passed over.
        let blank = self
            .input
            .iter()
            .take_while(|byte| matches!(byte, b'\r' | b'\n'))
            .count();
        self.forget(blank);
        if self.heard_bytes - self.input.len() > BLANK_BYTES_MAX {
            let message = "there are too many empty lines before the request";
            return Err(Refused::new(400, "bad_request", message, None));
        }
        let limits = &self.rules.limits;
        let is_full = self.input.len() >= limits.head_bytes;
        let within = &self.input[..self.input.len().min(limits.head_bytes)];
        let is_newline = |byte: &u8| *byte == b'\n';
        let last_newline = within.iter().rposition(is_newline);
        let lines_end = last_newline.map_or(0, |last| last + 1);
        // However the network cut it.
        let first_line = within.split(is_newline).next().unwrap_or_default();
        head::check_first_line(first_line, limits)?;
        if lines_end == self.lines_end && !is_full {
            return Ok(None);
        }
        self.lines_end = lines_end;
        let lines = &within[..lines_end];
        let Some((head, size)) = head::read(lines, self.port, self.peer, &self.rules)? else {
            return match is_full {
                true => Err(head::too_large(lines, limits)),
                false => Ok(None),
            };
        };
        self.forget(size);
        self.lines_end = 0;
        Ok(Some(head))
    }

    /// Drops the first bytes of the input, and the buffer with the last of them.
    fn forget(&mut self, count: usize) {
        if count == self.input.len() {
            self.input = Vec::new();
        } else if count > 0 {
            self.input.drain(..count);
            self.input.shrink_to(2 * self.input.len());
        }
    }
}
