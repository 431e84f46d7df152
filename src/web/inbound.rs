//! What a WebSocket client sends, as a pure state machine over bytes and time: bytes in, and out comes what to answer,
//! or why to close. Nothing that clients say is of interest; all of it is bounded.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

use crate::web::deflate::RSV1;

/// The longest message, and the longest frame.
pub const MESSAGE_BYTES_MAX: usize = 1024;
const FRAMES_PER_SEC_MAX: u32 = 5;

/// Close codes of RFC 6455, 7.4.1.
const PROTOCOL_ERROR: u16 = 1002;
const INVALID_DATA: u16 = 1007;
const POLICY: u16 = 1008;
const TOO_BIG: u16 = 1009;

/// What bytes led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Nothing,
    /// Frames to send back, whole: a pong.
    Reply(Vec<u8>),
    /// The client closes; the frame that answers it is the last.
    Goodbye(Vec<u8>),
    /// The connection has to be closed with this code.
    Refuse {
        code: u16,
        reason: &'static str,
    },
}

pub struct Inbound {
    protocol: WebSocket<Pipe>,
    frames: FrameCounter,
    /// The current second, and the frames begun in it.
    second: (Instant, u32),
}

impl Inbound {
    /// `deflates`: the client may compress what it sends.
    pub fn new(now: Instant, deflates: bool) -> Inbound {
        let config = WebSocketConfig::default()
            .read_buffer_size(1024)
            .write_buffer_size(0)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        Inbound {
            protocol: WebSocket::from_raw_socket(Pipe::default(), Role::Server, Some(config)),
            frames: FrameCounter {
                deflates,
                ..FrameCounter::default()
            },
            second: (now, 0),
        }
    }

    /// Takes bytes that were read. After `Goodbye` and `Refuse` there is nothing more to hear.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) -> Heard {
        if now.saturating_duration_since(self.second.0) >= Duration::from_secs(1) {
            self.second = (now, 0);
        }
        let waiting = &mut self.protocol.get_mut().inbound;
        let known_len = waiting.len();
        waiting.extend(bytes);
        let begun = self.frames.count(waiting.range_mut(known_len..));
        self.second.1 = self.second.1.saturating_add(begun);
        if self.second.1 > FRAMES_PER_SEC_MAX {
            return refuse(POLICY, "too many messages");
        }
        loop {
            match self.protocol.read() {
                Ok(Message::Close(_)) => {
                    // The protocol has its answer ready.
                    let _ = self.protocol.flush();
                    return Heard::Goodbye(self.take_output());
                }
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    let output = self.take_output();
                    return match output.is_empty() {
                        true => Heard::Nothing,
                        false => Heard::Reply(output),
                    };
                }
                Err(tungstenite::Error::Capacity(_)) => return refuse(TOO_BIG, "too big"),
                Err(tungstenite::Error::Utf8(_)) => return refuse(INVALID_DATA, "not UTF-8"),
                Err(_) => return refuse(PROTOCOL_ERROR, "protocol error"),
            }
        }
    }

    /// Bytes that came and are not taken by the protocol yet.
    pub fn waiting_bytes(&self) -> usize {
        self.protocol.get_ref().inbound.len()
    }

    fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.protocol.get_mut().outbound)
    }
}

fn refuse(code: u16, reason: &'static str) -> Heard {
    Heard::Refuse { code, reason }
}

/// The protocol's view of the socket: it reads what the hub has read, and what it writes joins the client's queue, so
/// that its pongs and closes never cut into a half-written frame.
#[derive(Default)]
struct Pipe {
    inbound: VecDeque<u8>,
    outbound: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.inbound.read(buffer)? {
            0 if !buffer.is_empty() => Err(ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.outbound.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The first byte of a frame: that of a compressed text or binary (RSV1, RFC 7692, 6) made that of a binary one. On any other
/// frame the bit stays, and the protocol refuses it.
fn as_uncompressed(first: u8) -> u8 {
    const OPCODE: u8 = 0x0f;
    const TEXT: u8 = 0x1;
    const BINARY: u8 = 0x2;
    match first & OPCODE {
        TEXT | BINARY if first & RSV1 != 0 => first & !(RSV1 | OPCODE) | BINARY,
        _ => first,
    }
}

/// Counts frames of every kind by their headers: the protocol shows messages alone, and a message can be cut into any
/// number of crumbs. Compressed messages, which the protocol does not know, become binary ones on the way: nobody reads
/// what they say, so nothing is ever inflated.
#[derive(Default)]
struct FrameCounter {
    deflates: bool,
    header: [u8; 14],
    header_len: usize,
    payload_left: u64,
}

impl FrameCounter {
    /// How many headers end in `bytes`.
    fn count<'a>(&mut self, bytes: impl Iterator<Item = &'a mut u8>) -> u32 {
        let mut frames = 0;
        for byte in bytes {
            if self.payload_left > 0 {
                self.payload_left -= 1;
                continue;
            }
            if self.deflates && self.header_len == 0 {
                *byte = as_uncompressed(*byte);
            }
            self.header[self.header_len] = *byte;
            self.header_len += 1;
            if let Some(payload_len) = self.payload_len() {
                self.payload_left = payload_len;
                self.header_len = 0;
                frames += 1;
            }
        }
        frames
    }

    /// The payload's length, once the header is whole.
    fn payload_len(&self) -> Option<u64> {
        if self.header_len < 2 {
            return None;
        }
        let mask_len = if self.header[1] & 0x80 != 0 { 4 } else { 0 };
        let extended_len = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.header_len < 2 + extended_len + mask_len {
            return None;
        }
        let extended = &self.header[2..2 + extended_len];
        Some(match extended_len {
            0 => u64::from(self.header[1] & 0x7f),
            _ => extended
                .iter()
                .fold(0, |length, byte| length << 8 | u64::from(*byte)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A masked client frame.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            length @ 0..=125 => bytes.push(0x80 | length as u8),
            length => {
                bytes.push(0x80 | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
        }
        bytes.extend([1, 2, 3, 4]);
        let masked = payload.iter().zip([1, 2, 3, 4].iter().cycle());
        bytes.extend(masked.map(|(byte, mask)| byte ^ mask));
        bytes
    }

    #[test]
    fn frames_of_every_kind_count_and_crumbs_as_well() {
        let start = Instant::now();
        let heard = |pieces: &[&[u8]]| {
            let mut inbound = Inbound::new(start, false);
            let all = pieces.iter().map(|piece| inbound.receive(piece, start));
            all.last().unwrap()
        };
        let crumbs = [frame(0x01, b"a"), frame(0x00, b"").repeat(4)].concat();
        assert_eq!(heard(&[&crumbs]), Heard::Nothing);
        let sixth = frame(0x00, b"");
        assert_eq!(
            heard(&[&crumbs, &sixth]),
            refuse(POLICY, "too many messages")
        );
        // The next second counts anew.
        let mut inbound = Inbound::new(start, false);
        assert_eq!(inbound.receive(&crumbs, start), Heard::Nothing);
        let later = start + Duration::from_secs(1);
        assert_eq!(inbound.receive(&sixth, later), Heard::Nothing);
    }

    #[test]
    fn compressed_messages_are_taken_where_it_was_agreed() {
        // Of a text, a binary message and a first fragment; no compression gives such bytes, and nobody looks.
        let taken = [
            frame(0xc1, b"\xff"),
            frame(0xc2, b"\xff"),
            [frame(0x41, b"\xff"), frame(0x80, b"\xff")].concat(),
            frame(0x81, b"plain"),
        ];
        // On a later fragment and on a control frame the bit is wrong, and so are the two others.
        let refused = [
            [frame(0x41, b"a"), frame(0xc0, b"b")].concat(),
            frame(0xc9, b"hi"),
            frame(0xa1, b"hi"),
            frame(0x91, b"hi"),
        ];
        let now = Instant::now();
        let protocol_error = refuse(PROTOCOL_ERROR, "protocol error");
        for bytes in &taken {
            let mut inbound = Inbound::new(now, true);
            for byte in bytes {
                assert_eq!(inbound.receive(&[*byte], now), Heard::Nothing, "{bytes:?}");
            }
        }
        for bytes in &refused {
            let heard = Inbound::new(now, true).receive(bytes, now);
            assert_eq!(heard, protocol_error, "{bytes:?}");
        }
        for bytes in &taken[..3] {
            let heard = Inbound::new(now, false).receive(bytes, now);
            assert_eq!(heard, protocol_error, "{bytes:?}");
        }
    }

    #[test]
    fn a_ping_is_answered_and_a_close_is_the_end() {
        let now = Instant::now();
        let mut inbound = Inbound::new(now, false);
        let pong = b"\x8a\x02hi".to_vec();
        assert_eq!(
            inbound.receive(&frame(0x89, b"hi"), now),
            Heard::Reply(pong)
        );
        let close = frame(0x88, &1000u16.to_be_bytes());
        let answer = b"\x88\x02\x03\xe8".to_vec();
        assert_eq!(inbound.receive(&close, now), Heard::Goodbye(answer));
    }

    proptest! {
        /// The count of frames does not depend on how they are cut.
        #[test]
        fn frames_are_counted_however_they_are_cut(
            lengths in proptest::collection::vec(0..900usize, 0..12),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..30),
        ) {
            let mut bytes: Vec<u8> = lengths.iter().flat_map(|length| frame(0x82, &vec![7; *length])).collect();
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            places.extend([0, bytes.len()]);
            places.sort_unstable();
            let mut counter = FrameCounter::default();
            let counted: u32 = places.windows(2).map(|pair| counter.count(bytes[pair[0]..pair[1]].iter_mut())).sum();
            prop_assert_eq!(counted as usize, lengths.len());
        }
    }
}
