//! The feed's hub: one thread owns all WebSocket clients. Each change is encoded once and shared; a slow client fills
//! only its own bounded queue. What is sent is decided by `stream`; here it is carried.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{unbounded, Receiver, Sender};
use polling::{Event as Readiness, Events, PollMode, Poller};

use crate::actors::messages::PublicationReceiver;
use crate::base::metrics::Metrics;
use crate::base::shutdown::{Shutdown, Waker};
use crate::base::thread::Beat;
use crate::lottery::snapshot::Publication;
use crate::web::inbound::{Heard, Inbound};
use crate::web::occupancy::{Admission, Occupancy};
use crate::web::stream::{close_frame, ping_frame, Frame, Message, Stream};

#[cfg(test)]
mod tests;

/// A client whose queue grows past either is too slow.
const QUEUE_FRAMES_MAX: usize = 256;
const QUEUE_BYTES_MAX: usize = 1 << 20;
const SEND_BUFFER_BYTES: usize = 64 * 1024;
const HEARTBEAT_AFTER: Duration = Duration::from_secs(15);
const PING_EVERY: Duration = Duration::from_secs(20);
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long a closing client has to take what is left for it.
const CLOSING_MAX: Duration = Duration::from_secs(2);
const TURN: Duration = Duration::from_secs(1);
/// How long the last words may take when the daemon stops.
const FAREWELL: Duration = Duration::from_millis(300);
const SLICES_MAX: usize = 64;

/// Close codes of RFC 6455, 7.4.1.
const GOING_AWAY: u16 = 1001;
const TRY_AGAIN_LATER: u16 = 1013;

/// A socket whose handshake was good, on its way from the gate.
pub struct NewClient {
    pub stream: TcpStream,
    /// The answer to the handshake, to be written first.
    pub handshake: Vec<u8>,
    /// Bytes that came behind the handshake.
    pub rest: Vec<u8>,
    /// The query's `since`.
    pub since: Option<String>,
    /// The handshake agreed to compression.
    pub deflates: bool,
    pub admission: Admission,
}

/// How others reach the hub.
#[derive(Clone)]
pub struct FeedHandle {
    welcomes: Sender<NewClient>,
    poller: Arc<Poller>,
    occupancy: Occupancy,
}

impl FeedHandle {
    /// Hands a client over.
    pub fn welcome(&self, client: NewClient) {
        if self.welcomes.send(client).is_ok() {
            let _ = self.poller.notify();
        }
    }

    pub(crate) fn client_count(&self) -> usize {
        self.occupancy.websockets()
    }
}

pub struct Hub {
    poller: Arc<Poller>,
    welcomes: Receiver<NewClient>,
    publications: PublicationReceiver,
    stream: Stream,
    /// Each client in a memory of its own, so that it is free again when the client has gone.
    clients: Vec<Option<Box<Client>>>,
    free: Vec<usize>,
    metrics: Metrics,
}

/// What the hub sleeps on: made before the hub, since whoever is to wake it runs first.
#[derive(Clone)]
pub struct HubPoller(Arc<Poller>);

impl HubPoller {
    /// # Errors
    /// The system has no descriptors left.
    pub fn new() -> std::io::Result<HubPoller> {
        Ok(HubPoller(Arc::new(Poller::new()?)))
    }

    /// Wakes the hub, for new publications or for the end.
    pub fn waker(&self) -> Waker {
        let poller = self.0.clone();
        Arc::new(move || drop(poller.notify()))
    }
}

struct Client {
    socket: TcpStream,
    deflates: bool,
    inbound: Inbound,
    queue: VecDeque<Frame>,
    queued_bytes: usize,
    /// Bytes of the first frame that are already written.
    written: usize,
    /// Of a message; pings are not seen by the client's program.
    last_told: Instant,
    last_heard: Instant,
    last_ping: Instant,
    closing_since: Option<Instant>,
    /// The poller also tells when the socket takes more.
    waits_to_write: bool,
    _admission: Admission,
}

impl Hub {
    pub fn new(
        poller: HubPoller,
        stream: Stream,
        publications: PublicationReceiver,
        occupancy: Occupancy,
        metrics: Metrics,
    ) -> (Hub, FeedHandle) {
        let HubPoller(poller) = poller;
        // The cap on connections bounds it: each client in it holds its admission.
        let (welcomes_in, welcomes) = unbounded();
        let handle = FeedHandle {
            welcomes: welcomes_in,
            poller: poller.clone(),
            occupancy,
        };
        let hub = Hub {
            poller,
            welcomes,
            publications,
            stream,
            clients: Vec::new(),
            free: Vec::new(),
            metrics,
        };
        (hub, handle)
    }

    /// The thread's body.
    pub fn run(&mut self, shutdown: &Shutdown, beat: &Beat) -> Result<(), String> {
        let mut events = Events::new();
        let mut swept = Instant::now();
        while !shutdown.is_tripped() {
            beat.turn();
            events.clear();
            self.poller
                .wait(&mut events, Some(TURN))
                .map_err(|error| format!("poll: {error}"))?;
            let now = Instant::now();
            while let Ok(publication) = self.publications.try_recv() {
                self.publish(&publication, now);
            }
            while let Ok(client) = self.welcomes.try_recv() {
                self.welcome(client, now);
            }
            for event in events.iter() {
                if event.readable {
                    self.read(event.key, now);
                }
                self.write(event.key);
                self.rearm(event.key);
            }
            if now.saturating_duration_since(swept) >= TURN {
                swept = now;
                self.sweep(now);
            }
        }
        self.say_goodbye();
        Ok(())
    }

    fn publish(&mut self, publication: &Publication, now: Instant) {
        let messages = self.stream.take(publication);
        if messages.is_empty() {
            return;
        }
        for key in 0..self.clients.len() {
            for message in &messages {
                self.enqueue(key, message, now);
            }
            self.write(key);
            self.rearm(key);
        }
    }

    fn welcome(&mut self, new: NewClient, now: Instant) {
        // Without a small send buffer a stalled client hides megabytes in the kernel and is never noticed.
        let _ = socket2::SockRef::from(&new.stream).set_send_buffer_size(SEND_BUFFER_BYTES);
        let key = self.free.pop().unwrap_or_else(|| {
            self.clients.push(None);
            self.clients.len() - 1
        });
        // SAFETY: the socket is deleted from the poller before it is dropped, in `close`.
        let added = unsafe {
            self.poller
                .add_with_mode(&new.stream, Readiness::readable(key), PollMode::Level)
        };
        if added.is_err() {
            self.free.push(key);
            return;
        }
        let mut client = Client {
            socket: new.stream,
            deflates: new.deflates,
            inbound: Inbound::new(now, new.deflates),
            queue: VecDeque::new(),
            queued_bytes: 0,
            written: 0,
            last_told: now,
            last_heard: now,
            last_ping: now,
            closing_since: None,
            waits_to_write: false,
            _admission: new.admission,
        };
        client.push(new.handshake.into());
        for message in self.stream.greet(new.since.as_deref()) {
            client.push(message.frame(new.deflates).clone());
        }
        self.clients[key] = Some(Box::new(client));
        // First of all the handshake's answer goes out: a close that is already waiting must not overtake it.
        self.write(key);
        // Frames may have come together with the handshake.
        self.listen(key, &new.rest, now);
        self.write(key);
        self.rearm(key);
    }

    fn enqueue(&mut self, key: usize, message: &Message, now: Instant) {
        let Some(client) = self.clients.get_mut(key).and_then(Option::as_mut) else {
            return;
        };
        if client.closing_since.is_some() {
            return;
        }
        let frame = message.frame(client.deflates);
        if client.queue.len() >= QUEUE_FRAMES_MAX
            || client.queued_bytes + frame.len() > QUEUE_BYTES_MAX
        {
            let help = "Clients dropped because they did not read.";
            self.metrics
                .add("lottery_websocket_slow_disconnects_total", help, &[], 1.0);
            client.drop_queue();
            client.begin_closing(TRY_AGAIN_LATER, "too slow", now);
            return;
        }
        client.push(frame.clone());
        client.last_told = now;
    }

    /// One buffer a turn, so that a client who never stops sending keeps nobody waiting.
    fn read(&mut self, key: usize, now: Instant) {
        let Some(client) = self.clients.get_mut(key).and_then(Option::as_mut) else {
            return;
        };
        let mut buffer = [0; 4 * 1024];
        match client.socket.read(&mut buffer) {
            Ok(0) => self.close(key),
            Ok(count) => {
                client.last_heard = now;
                self.listen(key, &buffer[..count], now);
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.close(key),
        }
    }

    /// Messages of clients are counted and otherwise of no interest.
    fn listen(&mut self, key: usize, bytes: &[u8], now: Instant) {
        let Some(client) = self.clients.get_mut(key).and_then(Option::as_mut) else {
            return;
        };
        if client.closing_since.is_some() {
            return;
        }
        match client.inbound.receive(bytes, now) {
            Heard::Nothing => {}
            Heard::Reply(bytes) => client.push(bytes.into()),
            Heard::Goodbye(bytes) => {
                // What else was queued is of no use any more.
                client.drop_queue();
                client.push(bytes.into());
                client.closing_since = Some(now);
            }
            Heard::Refuse { code, reason } => client.begin_closing(code, reason, now),
        }
    }

    fn write(&mut self, key: usize) {
        while let Some(client) = self.clients.get_mut(key).and_then(Option::as_mut) {
            if client.queue.is_empty() {
                if client.closing_since.is_some() {
                    let _ = client.socket.shutdown(std::net::Shutdown::Write);
                }
                return;
            }
            match client.write_some() {
                Ok(0) => return self.close(key),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.close(key),
            }
        }
    }

    fn rearm(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key).and_then(Option::as_mut) else {
            return;
        };
        let waits = !client.queue.is_empty();
        if waits == client.waits_to_write {
            return;
        }
        client.waits_to_write = waits;
        let interest = match waits {
            true => Readiness::all(key),
            false => Readiness::readable(key),
        };
        if self
            .poller
            .modify_with_mode(&client.socket, interest, PollMode::Level)
            .is_err()
        {
            self.close(key);
        }
    }

    /// Heartbeats, pings, and the end of those who are silent or take too long to go.
    fn sweep(&mut self, now: Instant) {
        let ping: Frame = ping_frame().into();
        let mut heartbeat: Option<Message> = None;
        for key in 0..self.clients.len() {
            let Some(client) = self.clients[key].as_mut() else {
                continue;
            };
            let silent = now.saturating_duration_since(client.last_heard) >= SILENCE_MAX;
            let lingers = client
                .closing_since
                .is_some_and(|since| now.saturating_duration_since(since) >= CLOSING_MAX);
            if silent || lingers {
                self.close(key);
                continue;
            }
            if client.closing_since.is_some() {
                continue;
            }
            if now.saturating_duration_since(client.last_ping) >= PING_EVERY {
                client.last_ping = now;
                client.push(ping.clone());
            }
            if now.saturating_duration_since(client.last_told) >= HEARTBEAT_AFTER {
                let message = heartbeat.get_or_insert_with(|| self.stream.heartbeat());
                self.enqueue(key, message, now);
            }
            self.write(key);
            self.rearm(key);
        }
    }

    fn say_goodbye(&mut self) {
        let now = Instant::now();
        let last_words = self.stream.shutdown();
        for key in 0..self.clients.len() {
            self.enqueue(key, &last_words, now);
            if let Some(client) = self.clients[key].as_mut() {
                client.begin_closing(GOING_AWAY, "the daemon stops", now);
            }
            self.write(key);
        }
        let until = now + FAREWELL;
        let mut events = Events::new();
        while Instant::now() < until
            && self
                .clients
                .iter()
                .flatten()
                .any(|client| !client.queue.is_empty())
        {
            events.clear();
            for key in 0..self.clients.len() {
                self.rearm(key);
            }
            let left = until.saturating_duration_since(Instant::now());
            if self.poller.wait(&mut events, Some(left)).is_err() {
                break;
            }
            for event in events.iter() {
                self.write(event.key);
            }
        }
    }

    fn close(&mut self, key: usize) {
        if let Some(client) = self.clients.get_mut(key).and_then(Option::take) {
            let _ = self.poller.delete(&client.socket);
            self.free.push(key);
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        for key in 0..self.clients.len() {
            self.close(key);
        }
    }
}

impl Client {
    fn push(&mut self, frame: Frame) {
        self.queued_bytes += frame.len();
        self.queue.push_back(frame);
    }

    /// Forgets what is queued but for the frame that is half written.
    fn drop_queue(&mut self) {
        self.queue.truncate(usize::from(self.written > 0));
        self.queued_bytes = self.queue.iter().map(|frame| frame.len()).sum();
    }

    fn begin_closing(&mut self, code: u16, reason: &str, now: Instant) {
        if self.closing_since.is_none() {
            self.push(close_frame(code, reason).into());
            self.closing_since = Some(now);
        }
    }

    /// All that is pending in one write.
    fn write_some(&mut self) -> std::io::Result<usize> {
        let mut slices = Vec::with_capacity(self.queue.len().min(SLICES_MAX));
        for (index, frame) in self.queue.iter().take(SLICES_MAX).enumerate() {
            slices.push(IoSlice::new(if index == 0 {
                &frame[self.written..]
            } else {
                frame
            }));
        }
        let count = self.socket.write_vectored(&slices)?;
        let mut left = self.written + count;
        while let Some(frame) = self.queue.front() {
            if left < frame.len() {
                break;
            }
            left -= frame.len();
            self.queued_bytes -= frame.len();
            self.queue.pop_front();
        }
        self.written = left;
        Ok(count)
    }
}
