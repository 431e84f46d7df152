//! The public port: one thread accepts, reads and writes all HTTP connections without ever blocking; two workers make
//! the answers; WebSockets move on to the feed's hub. No client can hold up another.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, select, Receiver, Sender};
use polling::{Event as Readiness, Events, PollMode, Poller};

use crate::actors::messages::SharedSnapshot;
use crate::base::metrics::Metrics;
use crate::base::shutdown::Shutdown;
use crate::base::thread::Beat;
use crate::config::Network;
use crate::web::connection::{Connection, Event, Limits, Refusal};
use crate::web::deflate;
use crate::web::feed::{FeedHandle, NewClient};
use crate::web::http::{encode, Reply, Request};
use crate::web::occupancy::{Occupancy, Seat};
use crate::web::ready::{is_lone_get, ReadyAnswers, Stamp};
use crate::web::view;

/// Makes the answer to a request; called by the workers.
pub type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

pub const WORKERS: usize = 2;
/// Requests that may wait for a worker; more are answered "busy".
const JOBS_MAX: usize = 1_024;
const LISTENER_KEY: usize = usize::MAX - 1;
const READ_BYTES: usize = 16 * 1024;
/// Answers not yet taken by their clients, in all; past it the slowest clients are dropped.
const PENDING_BYTES_MAX: usize = 24 << 20;
/// Connections that may wait to be accepted; the kernel may allow fewer.
const BACKLOG: i32 = 4_096;
/// How long nothing is accepted after the descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const TURN: Duration = Duration::from_millis(500);
/// How often connections are looked at whose time may be over.
const EXPIRE_EVERY: Duration = Duration::from_millis(100);

struct Job {
    slot: Slot,
    request: Request,
    keep_alive: bool,
    lone: Option<Lone>,
}

/// A request that came as a whole and alone, and when: its answer may serve others.
struct Lone {
    bytes: Vec<u8>,
    stamp: Stamp,
}

struct Done {
    slot: Slot,
    bytes: Vec<u8>,
    keep_alive: bool,
    /// Of whom the answer may be kept.
    lone: Option<Lone>,
}

/// A place in the table and which of its tenants is meant: a late answer must not go to a later connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    key: usize,
    tenant: u64,
}

struct Client {
    stream: TcpStream,
    machine: Connection,
    seat: Seat,
    peer: IpAddr,
    tenant: u64,
    output: Vec<u8>,
    written: usize,
    /// What the poller waits for: (readable, writable).
    armed: (bool, bool),
}

/// What the gate's thread and its workers share.
#[derive(Clone)]
pub struct Workshop {
    jobs: Receiver<Job>,
    done: Sender<Done>,
    poller: Arc<Poller>,
    snapshot: SharedSnapshot,
}

pub struct Gate {
    listener: TcpListener,
    poller: Arc<Poller>,
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    jobs: Sender<Job>,
    done: Receiver<Done>,
    occupancy: Occupancy,
    trusted_proxies: Vec<Network>,
    limits: Limits,
    feed: FeedHandle,
    tenants: u64,
    pending_bytes: usize,
    accept_again_at: Option<Instant>,
    expired_at: Instant,
    ready: ReadyAnswers,
    metrics: Metrics,
    /// Answered from what was ready, and not counted yet.
    ready_hits: u32,
}

impl Gate {
    pub fn bind(
        listen: SocketAddr,
        occupancy: Occupancy,
        trusted_proxies: Vec<Network>,
        limits: Limits,
        feed: FeedHandle,
        snapshot: SharedSnapshot,
        metrics: Metrics,
    ) -> std::io::Result<(Gate, Workshop)> {
        let listener = TcpListener::bind(listen)?;
        // A burst of clients waits to be accepted, rather than for the second after which they would try again.
        socket2::SockRef::from(&listener).listen(BACKLOG)?;
        listener.set_nonblocking(true)?;
        let poller = Arc::new(Poller::new()?);
        // SAFETY: the listener is deleted from the poller before it is dropped, in `Drop`.
        unsafe { poller.add(&listener, Readiness::readable(LISTENER_KEY))? };
        let (jobs, jobs_out) = bounded(JOBS_MAX);
        let (done_in, done) = bounded(JOBS_MAX + WORKERS);
        let workshop = Workshop {
            jobs: jobs_out,
            done: done_in,
            poller: poller.clone(),
            snapshot: snapshot.clone(),
        };
        let now = Instant::now();
        let gate = Gate {
            listener,
            poller,
            clients: Vec::new(),
            free: Vec::new(),
            jobs,
            done,
            occupancy,
            trusted_proxies,
            limits,
            feed,
            tenants: 0,
            pending_bytes: 0,
            accept_again_at: None,
            expired_at: now,
            ready: ReadyAnswers::new(snapshot, now),
            metrics,
            ready_hits: 0,
        };
        Ok((gate, workshop))
    }

    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Wakes the gate's thread from another one.
    pub fn waker(&self) -> Arc<Poller> {
        self.poller.clone()
    }

    /// The thread's body.
    pub fn run(&mut self, shutdown: &Shutdown, beat: &Beat) -> Result<(), String> {
        let mut events = Events::new();
        while !shutdown.is_tripped() {
            beat.turn();
            events.clear();
            self.poller
                .wait(&mut events, Some(TURN))
                .map_err(|error| format!("poll: {error}"))?;
            let now = Instant::now();
            self.ready.refresh(now);
            for event in events.iter() {
                match event.key {
                    LISTENER_KEY => self.accept(now)?,
                    key => self.serve(key, event.readable, event.writable, now),
                }
            }
            while let Ok(done) = self.done.try_recv() {
                self.take_answer(done, now);
            }
            self.count_ready_hits();
            if now.saturating_duration_since(self.expired_at) >= EXPIRE_EVERY {
                self.expired_at = now;
                self.expire(now);
            }
            if self.accept_again_at.is_some_and(|at| now >= at) {
                self.accept_again_at = None;
                self.accept(now)?;
            }
        }
        Ok(())
    }

    fn accept(&mut self, now: Instant) -> Result<(), String> {
        loop {
            match self.listener.accept() {
                Ok((stream, address)) => self.admit(stream, address.ip().to_canonical(), now),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => break,
                    ErrorKind::Interrupted
                    | ErrorKind::ConnectionAborted
                    | ErrorKind::ConnectionReset => {}
                    _ => {
                        // Out of descriptors or memory: room is made, and accepting goes on in a moment.
                        log::debug!("accept: {error}");
                        self.evict_idlest();
                        self.accept_again_at = Some(now + ACCEPT_PAUSE);
                        break;
                    }
                },
            }
        }
        let interest = Readiness::readable(LISTENER_KEY);
        self.poller
            .modify(&self.listener, interest)
            .map_err(|error| format!("listener: {error}"))
    }

    fn admit(&mut self, stream: TcpStream, peer: IpAddr, now: Instant) {
        if self.occupancy.is_full() && !self.evict_idlest() {
            return;
        }
        let counted = (!self.is_trusted(peer)).then_some(peer);
        let Some(seat) = self.occupancy.enter(counted) else {
            return;
        };
        if stream.set_nonblocking(true).is_err() || stream.set_nodelay(true).is_err() {
            return;
        }
        let key = self.free.pop().unwrap_or_else(|| {
            self.clients.push(None);
            self.clients.len() - 1
        });
        let interest = Readiness::readable(key);
        // SAFETY: the stream is deleted from the poller before it is dropped, in `close` and `upgrade`.
        if unsafe {
            self.poller
                .add_with_mode(&stream, interest, PollMode::Level)
        }
        .is_err()
        {
            self.free.push(key);
            return;
        }
        self.tenants += 1;
        let machine = Connection::new(peer, self.limits, now);
        let tenant = self.tenants;
        self.clients[key] = Some(Client {
            stream,
            machine,
            seat,
            peer,
            tenant,
            output: Vec::new(),
            written: 0,
            armed: (true, false),
        });
    }

    fn count_ready_hits(&mut self) {
        if self.ready_hits > 0 {
            let hits = f64::from(std::mem::take(&mut self.ready_hits));
            let (name, help) = ("lottery_http_requests_total", "HTTP answers.");
            self.metrics.add(name, help, &[("status", "200")], hits);
        }
    }

    /// Closes the HTTP connection that has been quiet longest, preferring those that have asked nothing.
    fn evict_idlest(&mut self) -> bool {
        let idlest = self
            .clients
            .iter()
            .enumerate()
            .filter_map(|(key, client)| client.as_ref().map(|client| (key, client)))
            .min_by_key(|(_, client)| (!client.machine.is_idle(), client.machine.since()))
            .map(|(key, _)| key);
        match idlest {
            Some(key) => {
                self.close(key);
                true
            }
            None => false,
        }
    }

    fn serve(&mut self, key: usize, readable: bool, writable: bool, now: Instant) {
        if writable {
            self.write(key, now);
        }
        if readable {
            self.read(key, now);
        }
        self.rearm(key);
    }

    fn read(&mut self, key: usize, now: Instant) {
        let mut buffer = [0; READ_BYTES];
        while let Some(client) = self.clients.get_mut(key).and_then(Option::as_mut) {
            if !client.machine.wants_input() {
                return;
            }
            match client.stream.read(&mut buffer) {
                Ok(0) => return self.close(key),
                Ok(count) => {
                    let bytes = &buffer[..count];
                    let machine = &mut client.machine;
                    let is_alone = machine.is_idle() && machine.waiting_bytes() == 0;
                    // What is ready was asked for by a lone GET.
                    match self.ready.find(bytes).filter(|_| is_alone) {
                        Some(answer) => {
                            self.ready_hits += 1;
                            self.begin_output(key, answer.to_vec(), true, now);
                        }
                        None => {
                            let event = machine.receive(bytes, now);
                            let lone = (is_alone && is_lone_get(bytes)).then(|| bytes.to_vec());
                            self.take_event(key, event, lone, now);
                        }
                    }
                    if count < buffer.len() {
                        // The socket was emptied; should more have come meanwhile, the poller tells.
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.close(key),
            }
        }
    }

    /// `lone` are the bytes of a request that came as a whole and alone.
    fn take_event(
        &mut self,
        key: usize,
        event: Option<Event>,
        lone: Option<Vec<u8>>,
        now: Instant,
    ) {
        let Some(client) = self.clients.get_mut(key).and_then(Option::as_mut) else {
            return;
        };
        match event {
            None => {}
            Some(Event::Request {
                request,
                keep_alive,
            }) => {
                let slot = Slot {
                    key,
                    tenant: client.tenant,
                };
                let lone = lone.filter(|_| keep_alive).map(|bytes| Lone {
                    bytes,
                    stamp: self.ready.stamp().clone(),
                });
                let job = Job {
                    slot,
                    request,
                    keep_alive,
                    lone,
                };
                if self.jobs.try_send(job).is_err() {
                    let busy = Refusal {
                        status: 503,
                        code: "busy",
                        message: "too many requests are waiting: try again in 1 s".to_owned(),
                        header: Some(("Retry-After", "1")),
                    };
                    self.refuse(key, &busy, now);
                }
            }
            Some(Event::Refuse(refusal)) => self.refuse(key, &refusal, now),
            Some(Event::Upgrade {
                request,
                key: websocket_key,
                rest,
            }) => {
                self.upgrade(key, &request, &websocket_key, rest, now);
            }
        }
    }

    fn refuse(&mut self, key: usize, refusal: &Refusal, now: Instant) {
        let mut headers = vec![("Content-Type", "application/json".to_owned())];
        headers.extend(refusal.header.map(|(name, value)| (name, value.to_owned())));
        let body = view::error(refusal.code, &refusal.message)
            .to_string()
            .into_bytes()
            .into();
        let reply = Reply {
            status: refusal.status,
            headers,
            body,
            is_of_snapshot: false,
        };
        self.begin_output(key, encode(&reply, false, false), false, now);
    }

    fn take_answer(&mut self, done: Done, now: Instant) {
        if let Some(lone) = done.lone {
            self.ready.keep(lone.bytes, &lone.stamp, &done.bytes);
        }
        let is_there = self.clients.get(done.slot.key).and_then(Option::as_ref);
        if is_there.is_some_and(|client| client.tenant == done.slot.tenant) {
            self.begin_output(done.slot.key, done.bytes, done.keep_alive, now);
            self.rearm(done.slot.key);
        }
    }

    fn begin_output(&mut self, key: usize, bytes: Vec<u8>, keep_alive: bool, now: Instant) {
        let Some(client) = self.clients.get_mut(key).and_then(Option::as_mut) else {
            return;
        };
        self.pending_bytes += bytes.len();
        client.output = bytes;
        client.written = 0;
        client.machine.begin_writing(keep_alive, now);
        self.write(key, now);
        while self.pending_bytes > PENDING_BYTES_MAX && self.drop_slowest_reader() {}
    }

    /// Closes the connection whose answer has been waiting longest for its client.
    fn drop_slowest_reader(&mut self) -> bool {
        let slowest = self
            .clients
            .iter()
            .enumerate()
            .filter_map(|(key, client)| client.as_ref().map(|client| (key, client)))
            .filter(|(_, client)| !client.output.is_empty())
            .min_by_key(|(_, client)| client.machine.since())
            .map(|(key, _)| key);
        match slowest {
            Some(key) => {
                self.close(key);
                true
            }
            None => false,
        }
    }

    fn write(&mut self, key: usize, now: Instant) {
        while let Some(client) = self.clients.get_mut(key).and_then(Option::as_mut) {
            if client.output.is_empty() {
                return;
            }
            match client.stream.write(&client.output[client.written..]) {
                Ok(0) => return self.close(key),
                Ok(count) => {
                    client.written += count;
                    client.machine.note_progress(now);
                    if client.written < client.output.len() {
                        continue;
                    }
                    self.pending_bytes -= client.output.len();
                    client.output = Vec::new();
                    let event = client.machine.end_writing(now);
                    if client.machine.is_closed() {
                        // What the client still sends is of no interest; the answer is out.
                        let _ = client.stream.shutdown(std::net::Shutdown::Write);
                        return self.close(key);
                    }
                    return self.take_event(key, event, None, now);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.close(key),
            }
        }
    }

    fn upgrade(
        &mut self,
        key: usize,
        request: &Request,
        websocket_key: &str,
        rest: Vec<u8>,
        now: Instant,
    ) {
        let Some(client) = self.clients.get_mut(key).and_then(Option::as_mut) else {
            return;
        };
        let forwarded = forwarded_for(request, &self.trusted_proxies);
        if !self.occupancy.upgrade(&mut client.seat, forwarded) {
            let full = Refusal {
                status: 503,
                code: "busy",
                message: "too many WebSocket clients: try again in 30 s".to_owned(),
                header: Some(("Retry-After", "30")),
            };
            return self.refuse(key, &full, now);
        }
        let Some(client) = self.clients[key].take() else {
            return;
        };
        self.free.push(key);
        let _ = self.poller.delete(&client.stream);
        let accept = tungstenite::handshake::derive_accept_key(websocket_key.as_bytes());
        let deflates = deflate::agrees(&request.list("sec-websocket-extensions"));
        let mut handshake = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n"
        );
        if deflates {
            handshake.push_str("Sec-WebSocket-Extensions: ");
            handshake.push_str(deflate::EXTENSION);
            handshake.push_str("\r\n");
        }
        handshake.push_str("\r\n");
        let since = request.query.as_deref().and_then(|query| {
            query
                .split('&')
                .find_map(|part| part.strip_prefix("since="))
                .map(str::to_owned)
        });
        self.feed.welcome(NewClient {
            stream: client.stream,
            handshake: handshake.into_bytes(),
            rest,
            since,
            deflates,
            seat: client.seat,
        });
    }

    fn is_trusted(&self, ip: IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|network| network.contains(&ip))
    }

    /// What is waited for stays so until it is said anew.
    fn rearm(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key).and_then(Option::as_mut) else {
            return;
        };
        let wanted = match (client.machine.wants_input(), !client.output.is_empty()) {
            (_, true) => (false, true),
            (wants_input, false) => (wants_input, false),
        };
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
        for key in 0..self.clients.len() {
            let Some(client) = self.clients[key].as_mut() else {
                continue;
            };
            if client
                .machine
                .deadline()
                .is_none_or(|deadline| now < deadline)
            {
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
        if let Some(client) = self.clients.get_mut(key).and_then(Option::take) {
            log::trace!("connection of {} closed", client.peer);
            self.pending_bytes -= client.output.len();
            let _ = self.poller.delete(&client.stream);
            self.free.push(key);
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        for key in 0..self.clients.len() {
            self.close(key);
        }
        let _ = self.poller.delete(&self.listener);
    }
}

impl Workshop {
    /// A worker's body: one request after the other; a handler that panics costs its request alone.
    pub fn work(&self, handler: &Handler, shutdown: &Shutdown, beat: &Beat) -> Result<(), String> {
        loop {
            beat.turn();
            let job = select! {
                recv(self.jobs) -> job => match job {
                    Ok(job) => job,
                    Err(_) => return Ok(()),
                },
                recv(shutdown.signal()) -> _ => return Ok(()),
                default(TURN * 4) => continue,
            };
            let reply =
                catch_unwind(AssertUnwindSafe(|| handler(&job.request))).unwrap_or_else(|_| {
                    log::error!(
                        "answering {} {} panicked",
                        job.request.method,
                        job.request.path
                    );
                    let body = view::error(
                        "internal",
                        "the request could not be answered: this is a fault of ours",
                    );
                    let headers = vec![("Content-Type", "application/json".to_owned())];
                    Reply {
                        status: 500,
                        headers,
                        body: body.to_string().into_bytes().into(),
                        is_of_snapshot: false,
                    }
                });
            let bytes = encode(&reply, job.keep_alive, job.request.method == "HEAD");
            // The snapshot it was made of is the stamp's when it is still the newest one.
            let lone = job.lone.filter(|lone| {
                reply.is_of_snapshot && lone.stamp == Stamp::of(&self.snapshot, Instant::now())
            });
            let done = Done {
                slot: job.slot,
                bytes,
                keep_alive: job.keep_alive,
                lone,
            };
            if self.done.send(done).is_err() || self.poller.notify().is_err() {
                return Ok(());
            }
        }
    }
}

/// The last address in X-Forwarded-For that is no trusted proxy's: the nearest one that somebody trusted has seen.
fn forwarded_for(request: &Request, trusted: &[Network]) -> Option<IpAddr> {
    request
        .headers
        .iter()
        .filter(|(name, _)| name == "x-forwarded-for")
        .flat_map(|(_, value)| value.split(','))
        .filter_map(|text| Some(text.trim().parse::<IpAddr>().ok()?.to_canonical()))
        .rfind(|ip| !trusted.iter().any(|network| network.contains(ip)))
}
