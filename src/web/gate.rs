//! The web's ports: one thread accepts, reads and writes all HTTP connections of both, without ever blocking; workers make
//! the answers; WebSockets move on to the feed's hub. No client can hold up another.
//!
//! What a connection's bytes mean is `connection`'s business, who goes when there is no room is `clients`'. Here sockets
//! are read and written, and the limits on all of them together are kept.

mod door;
mod line;
#[cfg(test)]
mod tests;
mod turn;
mod upgrade;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{bounded, Receiver};
use polling::{Event as Readiness, Events, PollMode, Poller};

use crate::actors::messages::SharedSnapshot;
use crate::base::memory::MemoryWatch;
use crate::base::metrics::Metrics;
use crate::base::shutdown::{Shutdown, Waker};
use crate::base::thread::Beat;
use crate::config::Network;
use crate::web::clients::{Clients, Output};
use crate::web::connection::{Event, Refused, Rules};
use crate::web::feed::FeedHandle;
use crate::web::http::{encode, Persistence, Port, Request};
use crate::web::jobs::{jobs, JobSender};
use crate::web::making::Makings;
use crate::web::metrics::count_answers;
use crate::web::occupancy::Occupancy;
use crate::web::ready::{AnswerKey, ReadyAnswers};
use crate::web::reply::write_refusal;
use crate::web::workers::{Done, Job, Shared, Workers};

/// Requests that may wait for a worker; of more, those of whoever has most are answered "busy".
const JOBS_MAX: usize = 1_024;
/// Keys of listeners are this and what follows; no table of connections grows so long.
const LISTENER_KEY: usize = usize::MAX - 8;
const READ_BYTES: usize = 16 * 1024;
/// Answers not yet taken by their clients, in all; past it the slowest clients are dropped.
const PENDING_BYTES_MAX: usize = 24 << 20;
/// What clients have sent of requests that are not whole, in all; past it those go that have sent the least for longest.
const HELD_BYTES_MAX: usize = 16 << 20;
/// So many of them at once, since finding one costs as much as finding some.
const DROPPED_AT_ONCE: usize = 32;
/// Connections that may wait to be accepted; the kernel may allow fewer.
const BACKLOG: i32 = 4_096;
const TURN: Duration = Duration::from_millis(500);
/// Sockets that the poller tells of at once.
const EVENTS_MAX: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();
/// Answers that may wait for the gate: a worker that is ahead of it waits, so that none is behind hundreds of others.
const DONE_MAX: usize = 64;
/// How often connections are looked at whose time may be over.
const EXPIRE_EVERY: Duration = Duration::from_millis(100);

/// One of the ports.
pub struct Listener {
    pub socket: TcpListener,
    pub port: Port,
    pub occupancy: Occupancy,
}

/// Takes an address for a port.
///
/// # Errors
/// The address is taken, or not ours.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpListener::bind(address)?;
    // A burst of clients waits to be accepted, rather than for the second after which they would try again.
    socket2::SockRef::from(&socket).listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// What the gate needs beside its ports.
pub struct Settings {
    pub rules: Rules,
    pub trusted_proxies: Vec<Network>,
    pub feed: FeedHandle,
    pub snapshot: SharedSnapshot,
    pub metrics: Metrics,
}

/// The thread that owns all HTTP connections.
pub struct Gate {
    listeners: Vec<Listener>,
    poller: Arc<Poller>,
    clients: Clients,
    turned_away: usize,
    jobs: JobSender<Job>,
    done: Receiver<Done>,
    /// Answers that are held back, in the order of their times.
    delayed: VecDeque<(Instant, Done)>,
    rules: Arc<Rules>,
    trusted_proxies: Vec<Network>,
    feed: FeedHandle,
    ready: ReadyAnswers,
    makings: Makings,
    metrics: Metrics,
    /// Answered from what was ready, and not counted yet: by 200 and 304.
    ready_hits: [u32; 2],
    memory: MemoryWatch,
    accept_again_at: Option<Instant>,
    expired_at: Instant,
    /// What a read fills.
    buffer: Vec<u8>,
}

impl Gate {
    /// # Errors
    /// The system has no descriptors left.
    pub fn new(listeners: Vec<Listener>, settings: Settings) -> std::io::Result<(Gate, Workers)> {
        let poller = Arc::new(Poller::new()?);
        for (index, listener) in listeners.iter().enumerate() {
            let interest = Readiness::readable(LISTENER_KEY + index);
            // SAFETY: the listener is deleted from the poller before it is dropped, in `Drop`.
            unsafe { poller.add(&listener.socket, interest)? };
        }
        let (jobs, jobs_out) = jobs(JOBS_MAX);
        let (done_in, done) = bounded(DONE_MAX);
        let workers = Workers {
            jobs: jobs_out,
            done: done_in,
            poller: poller.clone(),
            snapshot: settings.snapshot.clone(),
        };
        let now = Instant::now();
        let gate = Gate {
            listeners,
            poller,
            clients: Clients::default(),
            turned_away: 0,
            jobs,
            done,
            delayed: VecDeque::new(),
            rules: Arc::new(settings.rules),
            trusted_proxies: settings.trusted_proxies,
            feed: settings.feed,
            ready: ReadyAnswers::new(settings.snapshot, now),
            makings: Makings::default(),
            metrics: settings.metrics,
            ready_hits: [0; 2],
            memory: MemoryWatch::default(),
            accept_again_at: None,
            expired_at: now,
            buffer: vec![0; READ_BYTES],
        };
        Ok((gate, workers))
    }

    /// Wakes the gate's thread from another one.
    pub fn waker(&self) -> Waker {
        let poller = self.poller.clone();
        Arc::new(move || drop(poller.notify()))
    }

    /// The thread's body.
    ///
    /// # Errors
    /// The system refuses to tell of sockets any more.
    pub fn run(&mut self, shutdown: &Shutdown, beat: &Beat) -> Result<(), String> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !shutdown.is_tripped() {
            beat.turn();
            events.clear();
            self.poller
                .wait(&mut events, Some(self.patience()))
                .map_err(|error| format!("poll: {error}"))?;
            let now = Instant::now();
            self.ready.refresh(now);
            self.serve_all(&events, now)?;
            self.take_answers(now);
            while self.delayed.front().is_some_and(|(at, _)| *at <= now) {
                if let Some((_, done)) = self.delayed.pop_front() {
                    self.take_answer(done, now);
                }
            }
            self.count_ready_hits();
            self.look_after(now)?;
        }
        Ok(())
    }

    /// What time alone brings about.
    fn look_after(&mut self, now: Instant) -> Result<(), String> {
        if now.saturating_duration_since(self.expired_at) >= EXPIRE_EVERY {
            self.expired_at = now;
            self.expire(now);
            self.memory.look(now);
        }
        if self.accept_again_at.is_some_and(|at| now >= at) {
            self.accept_again_at = None;
            for index in 0..self.listeners.len() {
                self.accept(index, now)?;
            }
        }
        Ok(())
    }

    /// Has the poller tell when the next connection of the table can be read.
    fn watch(&self, stream: &TcpStream) -> bool {
        let interest = Readiness::readable(self.clients.next_key());
        // SAFETY: the stream is deleted from the poller before it is dropped, in `close` and `upgrade`.
        unsafe { self.poller.add_with_mode(stream, interest, PollMode::Level) }.is_ok()
    }

    fn count_ready_hits(&mut self) {
        for (status, hits) in [200, 304].into_iter().zip(&mut self.ready_hits) {
            if *hits > 0 {
                count_answers(&self.metrics, status, std::mem::take(hits));
            }
        }
    }

    /// Closes up to so many connections of a port; how many there were to close.
    fn evict(&mut self, port: Port, count: usize, now: Instant) -> usize {
        let keys = self.clients.evictable(port, count, now);
        keys.iter().for_each(|key| self.close(*key));
        keys.len()
    }

    /// One buffer a turn, so that a client who never stops sending keeps nobody waiting; of more the poller tells again.
    fn read(&mut self, key: usize, buffer: &mut [u8], now: Instant) {
        let client = self.clients.get_mut(key);
        let Some(client) = client.filter(|client| client.machine.wants_input()) else {
            return;
        };
        match client.stream.read(buffer) {
            Ok(0) => self.close(key),
            Ok(count) => {
                self.hear(key, &buffer[..count], now);
                if self.clients.held_bytes() > HELD_BYTES_MAX {
                    let holders = self.clients.evictable_holders(DROPPED_AT_ONCE, now);
                    holders.iter().for_each(|key| self.close(*key));
                }
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.close(key),
        }
    }

    fn hear(&mut self, key: usize, bytes: &[u8], now: Instant) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let is_first = client.machine.is_between_requests();
        if is_first && client.port == Port::Public {
            if let Some(found) = self.ready.find_known(bytes, SystemTime::now()) {
                client.machine.take_known(bytes, now);
                return self.answer_at_once(key, found, now);
            }
        }
        let event = client.machine.receive(bytes, now);
        self.clients.account(key);
        self.take_event(key, event, is_first.then_some(bytes), now);
    }

    /// `first` are all bytes since the last answer, when they came in one piece.
    fn take_event(&mut self, key: usize, event: Option<Event>, first: Option<&[u8]>, now: Instant) {
        match event {
            None => {}
            Some(Event::Request {
                request,
                persistence,
            }) => self.take_request(key, request, persistence, first, now),
            Some(Event::Refuse(refused)) => self.refuse(key, refused, now),
            Some(Event::Upgrade {
                request,
                key: websocket_key,
                rest,
            }) => self.upgrade(key, &request, &websocket_key, rest, now),
        }
    }

    fn take_request(
        &mut self,
        key: usize,
        request: Request,
        persistence: Persistence,
        first: Option<&[u8]>,
        now: Instant,
    ) {
        let Some((client, id)) = self.clients.get_with_id(key) else {
            return;
        };
        // Who sends ahead waits for the workers with all others, and so cannot keep the gate to itself.
        let is_alone = client.machine.waiting_bytes() == 0;
        let answer_key = AnswerKey::of(&request, persistence).filter(|_| is_alone);
        let find = |key: &AnswerKey| self.ready.find(key, SystemTime::now());
        if let Some((bytes, status)) = answer_key.as_ref().and_then(find) {
            if let Some((first, answer_key)) = first.zip(answer_key) {
                self.ready.note_known(first, answer_key, persistence);
            }
            return self.answer_at_once(key, (bytes, status, persistence), now);
        }
        let waits_as = self.waits_as(&request);
        self.clients.wait(id, waits_as, answer_key.as_ref());
        let shared = match answer_key {
            None => None,
            Some(key_of_answer) => {
                let Some(turn) = self.makings.join(&key_of_answer, id, waits_as, now) else {
                    return;
                };
                Some(Shared {
                    key: key_of_answer,
                    stamp: self.ready.stamp().clone(),
                    turn,
                })
            }
        };
        let job = Job {
            client: id,
            waits_as,
            request,
            persistence,
            shared,
        };
        self.let_wait(job, now);
    }

    fn answer_at_once(
        &mut self,
        key: usize,
        (bytes, status, persistence): (Arc<[u8]>, u16, Persistence),
        now: Instant,
    ) {
        self.ready_hits[usize::from(status != 200)] += 1;
        self.begin_output(key, Output::shared(bytes), persistence, now);
    }

    fn refuse(&mut self, key: usize, refused: Refused, now: Instant) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let method = refused.method.as_deref();
        let reply = write_refusal(client.port, method, refused.refusal);
        count_answers(&self.metrics, reply.status, 1);
        let bytes = encode(&reply, Persistence::Close, method == Some("HEAD"));
        self.begin_output(key, Output::own(bytes), Persistence::Close, now);
    }

    fn take_answer(&mut self, done: Done, now: Instant) {
        let (client, persistence, status) = (done.client, done.persistence, done.status);
        let Some((answer_key, stamp)) = done.shared else {
            if self.clients.is_there(client) {
                self.begin_output(client.key, Output::own(done.bytes), persistence, now);
                self.rearm(client.key);
            }
            return;
        };
        let bytes: Arc<[u8]> = done.bytes.into();
        let time = SystemTime::now();
        let waiting = self.makings.made(&answer_key);
        let made = (status, &bytes);
        self.ready.made(answer_key, stamp.as_ref(), made, time);
        // One of them the worker has counted.
        let more = u32::try_from(waiting.len()).map_or(u32::MAX, |count| count.saturating_sub(1));
        if more > 0 {
            count_answers(&self.metrics, status, more);
        }
        for client in waiting {
            if self.clients.is_there(client) {
                let output = Output::shared(bytes.clone());
                self.begin_output(client.key, output, persistence, now);
                self.rearm(client.key);
            }
        }
    }

    fn begin_output(&mut self, key: usize, output: Output, persistence: Persistence, now: Instant) {
        self.clients.set_output(key, Some(output));
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        client.waits = None;
        client.machine.begin_writing(persistence, now);
        self.write(key, now);
        while self.clients.pending_bytes() + self.ready.outgoing_bytes() > PENDING_BYTES_MAX {
            let slowest = self.clients.slowest_readers(DROPPED_AT_ONCE);
            if slowest.is_empty() {
                return;
            }
            slowest.iter().for_each(|key| self.close(*key));
        }
    }

    fn write(&mut self, key: usize, now: Instant) {
        while let Some(client) = self.clients.get_mut(key) {
            let Some(output) = client.output.as_mut() else {
                return;
            };
            match client.stream.write(output.rest()) {
                Ok(0) => return self.close(key),
                Ok(count) => {
                    client.machine.note_progress(now);
                    if !output.advance(count) {
                        continue;
                    }
                    self.clients.set_output(key, None);
                    return self.end_output(key, now);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.close(key),
            }
        }
    }

    fn end_output(&mut self, key: usize, now: Instant) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let event = client.machine.end_writing(now);
        if client.machine.is_lingering() {
            // The client learns that this was the last; what it still sends is read for a while.
            let _ = client.stream.shutdown(std::net::Shutdown::Write);
        }
        self.clients.account(key);
        self.take_event(key, event, None, now);
    }

    /// What is waited for stays so until it is said anew.
    fn rearm(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let writes = client.output.is_some();
        let wanted = (client.machine.wants_input() && !writes, writes);
        if wanted == client.armed {
            return;
        }
        client.armed = wanted;
        let interest = Readiness::new(key, wanted.0, wanted.1);
        let modified = self
            .poller
            .modify_with_mode(&client.stream, interest, PollMode::Level);
        if modified.is_err() {
            self.close(key);
        }
    }

    fn expire(&mut self, now: Instant) {
        for key in self.clients.keys() {
            let Some(client) = self.clients.get_mut(key) else {
                continue;
            };
            let deadline = client.machine.deadline();
            if deadline.is_none_or(|deadline| now < deadline) {
                continue;
            }
            match client.machine.expire(now) {
                Some(event) => {
                    self.take_event(key, Some(event), None, now);
                    self.rearm(key);
                }
                None => self.close(key),
            }
        }
    }

    fn close(&mut self, key: usize) {
        if let Some(client) = self.clients.remove(key) {
            log::trace!("connection of {} closed", client.peer);
            self.turned_away -= usize::from(client.is_turned_away);
            let _ = self.poller.delete(&client.stream);
            if let Some(waits) = client.waits {
                self.leave_line(&waits, Instant::now());
            }
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        for key in self.clients.keys() {
            self.close(key);
        }
        for listener in &self.listeners {
            let _ = self.poller.delete(&listener.socket);
        }
    }
}
