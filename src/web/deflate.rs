//! Compression on the feed (permessage-deflate, RFC 7692), made once for all clients that agreed to it.
//!
//! Messages that go out together share one window: the four of a bet name the same block, transaction and player, so the
//! later three cost little. The window never reaches further back, so that one set of frames fits every client, whenever
//! it came and whatever else it was sent: a client's own window may hold more, and frames without compression leave it as
//! it is.

use flate2::{Compress, Compression, FlushCompress};

/// The answer to an offer that is agreed to.
pub(crate) const EXTENSION: &str = "permessage-deflate";
/// The bit of a frame's first byte that marks a compressed message (6).
pub const RSV1: u8 = 0x40;
/// The end of a flushed block, which a message leaves out (7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// Room for what does not shrink: a block's head for every 32 KiB, and the tail.
const SLACK: usize = 256;

/// Whether one of the offers can be agreed to: not those that ask the server for a smaller window, or for none from one
/// message to the next.
pub(crate) fn agrees<'a>(mut offers: impl Iterator<Item = &'a [u8]>) -> bool {
    offers.any(|offer| std::str::from_utf8(offer).is_ok_and(is_acceptable))
}

fn is_acceptable(offer: &str) -> bool {
    let mut parts = offer.split(';').map(str::trim);
    if parts.next() != Some(EXTENSION) {
        return false;
    }
    let mut names = Vec::new();
    parts.all(|parameter| {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
            None => (parameter, None),
        };
        let is_repeated = names.contains(&name);
        names.push(name);
        // Both are hints about what the client sends (7.1.1.2, 7.1.2.2), which is never inflated.
        let is_known = match (name, value) {
            ("client_no_context_takeover", None) | ("client_max_window_bits", None) => true,
            ("client_max_window_bits", Some(bits)) => {
                matches!(bits, "8" | "9" | "10" | "11" | "12" | "13" | "14" | "15")
            }
            _ => false,
        };
        is_known && !is_repeated
    })
}

pub struct Deflater {
    state: Compress,
}

impl Default for Deflater {
    fn default() -> Deflater {
        Deflater {
            state: Compress::new(Compression::default(), false),
        }
    }
}

impl Deflater {
    /// The payloads of messages that go out together, in their order; None when they cannot be compressed, and all have to
    /// go as they are.
    pub fn deflate(&mut self, texts: &[String]) -> Option<Vec<Vec<u8>>> {
        self.state.reset();
        texts.iter().map(|text| self.message(text)).collect()
    }

    fn message(&mut self, text: &str) -> Option<Vec<u8>> {
        let mut payload = Vec::with_capacity(text.len() + text.len() / 8 + SLACK);
        self.state
            .compress_vec(text.as_bytes(), &mut payload, FlushCompress::Sync)
            .ok()?;
        // With room left over all of it came out, and the flush is the last that did.
        let is_whole = payload.len() < payload.capacity() && payload.ends_with(&TAIL);
        payload.truncate(payload.len().saturating_sub(TAIL.len()));
        is_whole.then_some(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_agreed_to_when_its_window_can_be_shared() {
        for (offers, agreed) in [
            (&["permessage-deflate"][..], true),
            (&["permessage-deflate; client_max_window_bits"], true),
            (&["permessage-deflate;client_max_window_bits=\"10\""], true),
            (&["permessage-deflate ; client_no_context_takeover"], true),
            (&["x-webkit-deflate-frame", "permessage-deflate"], true),
            (
                &[
                    "permessage-deflate; server_no_context_takeover",
                    "permessage-deflate",
                ],
                true,
            ),
            (&[], false),
            (&[""], false),
            (&["deflate"], false),
            (&["permessage-deflate; server_no_context_takeover"], false),
            (&["permessage-deflate; server_max_window_bits=10"], false),
            (&["permessage-deflate; client_max_window_bits=7"], false),
            (&["permessage-deflate; client_max_window_bits=16"], false),
            (&["permessage-deflate; client_max_window_bits=+9"], false),
            (&["permessage-deflate; client_no_context_takeover=1"], false),
            (
                &["permessage-deflate; client_max_window_bits; client_max_window_bits"],
                false,
            ),
            (&["permessage-deflate; unheard_of"], false),
            (&["permessage-deflate;"], false),
        ] {
            let found = agrees(offers.iter().map(|offer| offer.as_bytes()));
            assert_eq!(found, agreed, "{offers:?}");
        }
    }
}
