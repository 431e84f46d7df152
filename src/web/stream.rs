//! The feed's one stream of messages: numbers them, keeps the last ones for those who come back, and knows what a new
//! client has to be told. No sockets; every message is encoded once, plain and deflated.

use std::collections::hash_map::RandomState;
use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use serde_json::{json, Value};

use crate::base::clock::Clock;
use crate::lottery::snapshot::{Publication, Snapshot};
use crate::web::deflate::{Deflater, RSV1};
use crate::web::view::{self, Deployment};

#[cfg(test)]
mod tests;

/// One WebSocket frame, ready for the wire.
pub type Frame = Arc<[u8]>;

/// A message in the two ways in which it can go out. Those of one change belong together: a client gets all of them or
/// none, in their order.
#[derive(Clone, Debug)]
pub struct Message {
    plain: Frame,
    /// For clients that agreed to compression; the plain frame where that is good for them too.
    deflated: Frame,
}

impl Message {
    fn uncompressed(frame: Frame) -> Message {
        Message {
            plain: frame.clone(),
            deflated: frame,
        }
    }

    pub fn frame(&self, deflates: bool) -> &Frame {
        if deflates {
            &self.deflated
        } else {
            &self.plain
        }
    }
}

const RING_LEN: usize = 4_096;
/// The ring's memory is bounded as well as its length.
const RING_BYTES_MAX: usize = 8 << 20;
/// So many messages at most tell of one change, or of what a client missed; a snapshot says more in less. It leaves room
/// in the queue of a client that keeps up.
const FRAMES_AT_ONCE_MAX: usize = 200;
const REPLAY_BYTES_MAX: usize = 512 << 10;

pub struct Stream {
    clock: Clock,
    deployment: Deployment,
    epoch: String,
    /// Of the newest message; messages grow it by exactly 1.
    seq: u64,
    /// The newest messages as plain frames, because no window is known to whoever comes back in the middle of a change;
    /// oldest first, the last one has number `seq`.
    ring: VecDeque<Frame>,
    ring_bytes: usize,
    published: u64,
    snapshot: Arc<Snapshot>,
    /// The snapshot messages as of `seq`, plain and with `resync`, made when first asked for and good for that second.
    encoded: [Option<(u64, Message)>; 2],
    deflater: Deflater,
}

impl Stream {
    /// `snapshot` is the state before the first publication.
    pub fn new(snapshot: Arc<Snapshot>, deployment: Deployment, clock: Clock) -> Stream {
        Stream {
            clock,
            deployment,
            epoch: new_epoch(),
            seq: 0,
            ring: VecDeque::new(),
            ring_bytes: 0,
            published: 0,
            snapshot,
            encoded: [None, None],
            deflater: Deflater::default(),
        }
    }

    /// The messages that every client has to get. After a gap in the publications, and for a change with too many messages
    /// (a block with more than a hundred bets), that is a snapshot in a new epoch.
    pub fn take(&mut self, publication: &Publication) -> Vec<Message> {
        let is_next = publication.number == self.published + 1;
        self.published = publication.number;
        self.snapshot = publication.snapshot.clone();
        self.encoded = [None, None];
        if !is_next || publication.events.len() > FRAMES_AT_ONCE_MAX {
            self.epoch = new_epoch();
            self.seq = 0;
            self.ring.clear();
            self.ring_bytes = 0;
            return vec![self.snapshot_message(true)];
        }
        let texts: Vec<String> = publication
            .events
            .iter()
            .map(|event| {
                let (kind, payload) = view::event(event, &publication.snapshot);
                self.seq += 1;
                self.envelope(kind, payload)
            })
            .collect();
        let messages = self.pack(&texts);
        for message in &messages {
            self.remember(message.plain.clone());
        }
        messages
    }

    /// What a new client is told: what it missed since `EPOCH:SEQ`, or a snapshot.
    pub(crate) fn greet(&mut self, since: Option<&str>) -> Vec<Message> {
        let Some(since) = since else {
            return vec![self.snapshot_message(false)];
        };
        match self.missed(since) {
            Some(frames) => frames.into_iter().map(Message::uncompressed).collect(),
            None => vec![self.snapshot_message(true)],
        }
    }

    /// For a client to whom nothing was said for a while: that it is still listened to, and what time it is on the chain.
    /// Blocks without news are no message, and nothing else would set its countdown right.
    pub(crate) fn heartbeat(&self) -> Message {
        self.notice(
            "heartbeat",
            view::heartbeat(&self.snapshot, self.clock.now()),
        )
    }

    pub fn shutdown(&self) -> Message {
        self.notice("shutdown", json!({"asOf": view::as_of(&self.snapshot)}))
    }

    fn notice(&self, kind: &str, payload: Value) -> Message {
        let text = self.envelope(kind, payload);
        Message::uncompressed(frame(TEXT, text.as_bytes()).into())
    }

    fn missed(&self, since: &str) -> Option<Vec<Frame>> {
        let (epoch, seq) = since.split_once(':')?;
        let seq: u64 = seq.parse().ok()?;
        if epoch != self.epoch || seq > self.seq {
            return None;
        }
        let count = usize::try_from(self.seq - seq)
            .ok()
            .filter(|count| *count <= FRAMES_AT_ONCE_MAX)?;
        let first = self.ring.len().checked_sub(count)?;
        let frames: Vec<Frame> = self.ring.range(first..).cloned().collect();
        let bytes: usize = frames.iter().map(|frame| frame.len()).sum();
        (bytes <= REPLAY_BYTES_MAX).then_some(frames)
    }

    fn remember(&mut self, frame: Frame) {
        self.ring_bytes += frame.len();
        self.ring.push_back(frame);
        while self.ring.len() > RING_LEN || self.ring_bytes > RING_BYTES_MAX {
            let Some(oldest) = self.ring.pop_front() else {
                return;
            };
            self.ring_bytes -= oldest.len();
        }
    }

    fn snapshot_message(&mut self, resync: bool) -> Message {
        let now_secs = self.clock.unix_secs();
        let place = usize::from(resync);
        if let Some((_, message)) = self.encoded[place]
            .as_ref()
            .filter(|(made_at, _)| *made_at == now_secs)
        {
            return message.clone();
        }
        let mut payload = view::snapshot(&self.snapshot, &self.deployment);
        payload["epoch"] = json!(self.epoch);
        payload["seq"] = json!(self.seq);
        if resync {
            payload["resync"] = json!(true);
        }
        let text = self.envelope("snapshot", payload);
        let message = self.pack(&[text]).swap_remove(0);
        self.encoded[place] = Some((now_secs, message.clone()));
        message
    }

    /// The frames of messages that go out together.
    fn pack(&mut self, texts: &[String]) -> Vec<Message> {
        let plain = texts.iter().map(|text| frame(TEXT, text.as_bytes()).into());
        match self.deflater.deflate(texts) {
            Some(payloads) => plain
                .zip(&payloads)
                .map(|(plain, payload)| Message {
                    plain,
                    deflated: frame(TEXT | RSV1, payload).into(),
                })
                .collect(),
            None => plain.map(Message::uncompressed).collect(),
        }
    }

    fn envelope(&self, kind: &str, payload: Value) -> String {
        let message = json!({
            "type": kind,
            "seq": self.seq,
            "timestamp": self.clock.unix_secs(),
            "payload": payload,
        });
        message.to_string()
    }
}

/// 16 hex digits that no other run will have.
fn new_epoch() -> String {
    // Every RandomState is keyed anew by the standard library, so the hash of nothing is a fresh number.
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;

pub(crate) fn ping_frame() -> Vec<u8> {
    frame(PING, b"")
}

/// `reason` is at most 123 bytes.
pub(crate) fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    frame(
        CLOSE,
        &[&code.to_be_bytes()[..], reason.as_bytes()].concat(),
    )
}

/// A final, unmasked frame (RFC 6455, 5.2); the opcode with its reserved bits.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + 10);
    bytes.push(0x80 | opcode);
    match payload.len() {
        // The arms bound the length to what fits.
        len @ 0..=125 => bytes.push(len as u8),
        len @ 126..=65_535 => {
            bytes.push(126);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            bytes.push(127);
            bytes.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}
