//! The gate's table of HTTP connections: which key is whose, what each still has to be sent, and who goes first when
//! there is no room. No sockets are read or written here.

use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use crate::web::connection::Connection;
use crate::web::http::Port;
use crate::web::occupancy::Admission;
use crate::web::ready::AnswerKey;

/// A key of the table and which of its connections is meant: a late answer must not go to a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientId {
    pub key: usize,
    generation: u64,
}

#[cfg(test)]
impl ClientId {
    pub(crate) fn numbered(key: usize) -> ClientId {
        ClientId { key, generation: 0 }
    }
}

pub struct Client {
    pub stream: TcpStream,
    pub machine: Connection,
    pub admission: Admission,
    pub port: Port,
    pub peer: IpAddr,
    pub output: Option<Output>,
    /// Where its request waits, until it is answered.
    pub waits: Option<Box<Waits>>,
    /// What the poller waits for: (readable, writable).
    pub armed: (bool, bool),
    /// When it last had its turn, or came.
    pub served_at: Instant,
    /// It was not let in, and only hears why.
    pub is_turned_away: bool,
    generation: u64,
    /// The part of `Clients::held_bytes` that is this connection's.
    held_bytes: usize,
}

/// The place of a request among those that wait for a worker.
pub struct Waits {
    pub(crate) id: ClientId,
    /// In whose line.
    pub(crate) waits_as: IpAddr,
    /// Of the answer in the making that others wait for as well.
    pub(crate) shared: Option<AnswerKey>,
}

/// An answer on its way.
pub struct Output {
    bytes: Bytes,
    written: usize,
}

enum Bytes {
    Own(Vec<u8>),
    /// Of an answer that others get as well.
    Shared(Arc<[u8]>),
}

impl Output {
    pub fn own(bytes: Vec<u8>) -> Output {
        Output {
            bytes: Bytes::Own(bytes),
            written: 0,
        }
    }

    pub fn shared(bytes: Arc<[u8]>) -> Output {
        Output {
            bytes: Bytes::Shared(bytes),
            written: 0,
        }
    }

    /// What is not written yet.
    pub fn rest(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Own(bytes) => &bytes[self.written..],
            Bytes::Shared(bytes) => &bytes[self.written..],
        }
    }

    /// So many bytes more are written; true when these were the last.
    pub fn advance(&mut self, count: usize) -> bool {
        self.written += count;
        self.rest().is_empty()
    }

    /// The memory that is this answer's alone.
    fn own_bytes(&self) -> usize {
        match &self.bytes {
            Bytes::Own(bytes) => bytes.len(),
            Bytes::Shared(_) => 0,
        }
    }
}

/// All connections, each in a memory of its own, so that it is free again when the connection has gone.
#[derive(Default)]
pub struct Clients {
    slots: Vec<Option<Box<Client>>>,
    free: Vec<usize>,
    generations: u64,
    pending_bytes: usize,
    held_bytes: usize,
}

impl Clients {
    /// The key that the next connection gets.
    pub(crate) fn next_key(&self) -> usize {
        self.free.last().copied().unwrap_or(self.slots.len())
    }

    /// Under `next_key`.
    pub fn insert(
        &mut self,
        stream: TcpStream,
        machine: Connection,
        admission: Admission,
        (port, peer): (Port, IpAddr),
        is_turned_away: bool,
    ) {
        self.generations += 1;
        let client = Client {
            served_at: machine.since(),
            stream,
            machine,
            admission,
            port,
            peer,
            output: None,
            waits: None,
            armed: (true, false),
            is_turned_away,
            generation: self.generations,
            held_bytes: 0,
        };
        match self.free.pop() {
            Some(key) => self.slots[key] = Some(Box::new(client)),
            None => self.slots.push(Some(Box::new(client))),
        }
    }

    pub fn get_mut(&mut self, key: usize) -> Option<&mut Client> {
        self.slots.get_mut(key)?.as_deref_mut()
    }

    pub(crate) fn get_with_id(&mut self, key: usize) -> Option<(&mut Client, ClientId)> {
        let client = self.get_mut(key)?;
        let generation = client.generation;
        Some((client, ClientId { key, generation }))
    }

    /// Whether the connection that is meant is still there.
    pub fn is_there(&self, id: ClientId) -> bool {
        let client = self.slots.get(id.key).and_then(Option::as_ref);
        client.is_some_and(|client| client.generation == id.generation)
    }

    pub fn remove(&mut self, key: usize) -> Option<Box<Client>> {
        let client = self.slots.get_mut(key)?.take()?;
        self.free.push(key);
        self.held_bytes -= client.held_bytes;
        self.pending_bytes -= client.output.as_ref().map_or(0, Output::own_bytes);
        Some(client)
    }

    /// Every key, whether it is somebody's or not.
    pub fn keys(&self) -> std::ops::Range<usize> {
        0..self.slots.len()
    }

    /// A connection's request waits in that line, and maybe for an answer that others wait for.
    pub(crate) fn wait(&mut self, id: ClientId, waits_as: IpAddr, shared: Option<&AnswerKey>) {
        if let Some(client) = self.get_mut(id.key) {
            let shared = shared.cloned();
            let waits = Waits {
                id,
                waits_as,
                shared,
            };
            client.waits = Some(Box::new(waits));
        }
    }

    /// The answer that is written next.
    pub(crate) fn set_output(&mut self, key: usize, output: Option<Output>) {
        let Some(client) = self.slots.get_mut(key).and_then(Option::as_mut) else {
            return;
        };
        self.pending_bytes -= client.output.as_ref().map_or(0, Output::own_bytes);
        client.output = output;
        self.pending_bytes += client.output.as_ref().map_or(0, Output::own_bytes);
    }

    /// To be called after whatever may have changed what a connection has sent and holds.
    pub fn account(&mut self, key: usize) {
        let Some(client) = self.slots.get_mut(key).and_then(Option::as_mut) else {
            return;
        };
        self.held_bytes -= client.held_bytes;
        client.held_bytes = client.machine.held_bytes();
        self.held_bytes += client.held_bytes;
    }

    /// Answers that are not taken yet, but for those that are shared.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// When a connection last had its turn that has asked for something lately; None for all others.
    pub(crate) fn last_turn(&self, key: usize, now: Instant) -> Option<Instant> {
        let client = self.slots.get(key).and_then(Option::as_ref)?;
        (!client.machine.is_quiet(now)).then_some(client.served_at)
    }

    /// What clients have sent and no request was made of yet.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Up to `count` connections of a port that go first when there is no room: who has sent the least for the longest.
    pub(crate) fn evictable(&self, port: Port, count: usize, now: Instant) -> Vec<usize> {
        let is_evictable = |client: &Client| client.port == port;
        self.first_by(count, is_evictable, |client| {
            client.machine.eviction_rank(now)
        })
    }

    /// True when one of a port's connections cannot be evicted yet, but soon will be.
    pub(crate) fn has_newcomer(&self, port: Port, now: Instant) -> bool {
        let mut clients = self.slots.iter().flatten();
        clients.any(|client| client.port == port && client.machine.is_newcomer(now))
    }

    /// The same among those whose input is held.
    pub(crate) fn evictable_holders(&self, count: usize, now: Instant) -> Vec<usize> {
        let holds = |client: &Client| client.held_bytes > 0;
        self.first_by(count, holds, |client| client.machine.eviction_rank(now))
    }

    /// Those whose answers have been waiting longest.
    pub(crate) fn slowest_readers(&self, count: usize) -> Vec<usize> {
        let waits = |client: &Client| client.output.is_some();
        self.first_by(count, waits, |client| Some(client.machine.since()))
    }

    fn first_by<T: Ord>(
        &self,
        count: usize,
        is_meant: impl Fn(&Client) -> bool,
        rank: impl Fn(&Client) -> Option<T>,
    ) -> Vec<usize> {
        let mut found: Vec<(T, usize)> = self
            .slots
            .iter()
            .enumerate()
            .filter_map(|(key, slot)| {
                let client = slot.as_deref().filter(|client| is_meant(client))?;
                Some((rank(client)?, key))
            })
            .collect();
        if count > 0 && count < found.len() {
            found.select_nth_unstable(count - 1);
        }
        found.truncate(count);
        found.into_iter().map(|(_, key)| key).collect()
    }
}
