//! Finished rounds, each packed once: its bets are written out and compressed when it is first asked for, and later
//! answers put in front of that what changes from block to block.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};
use serde_json::Value;

use crate::lottery::history::FinishedRound;
use crate::lottery::snapshot::{Finality, Snapshot};
use crate::web::http::digest;
use crate::web::view;

/// What all packed rounds may take, but for the newest of them.
const BYTES_MAX: usize = 8 << 20;
/// The head of a gzip member without a name, a time or a hint (RFC 1952, 2.3).
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// A round as JSON without its first brace, deflated: what a browser takes. Few ask for the text, which is six times as
/// long; for them it is inflated.
pub struct PackedRound {
    deflated: Vec<u8>,
    /// Of the text.
    checksum: Crc,
    digest: String,
}

impl PackedRound {
    fn new(body: &Value) -> PackedRound {
        let json = body.to_string().into_bytes().split_off(1);
        let mut checksum = Crc::new();
        checksum.update(&json);
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        // Writing to a Vec cannot fail.
        let _ = encoder.write_all(&json);
        let mut deflated = encoder.finish().unwrap_or_default();
        deflated.shrink_to_fit();
        PackedRound {
            deflated,
            digest: digest(&json),
            checksum,
        }
    }

    /// Of the whole answer's content.
    pub fn digest(&self, as_of: Option<&str>) -> String {
        match as_of {
            Some(as_of) => format!("{}.{}", self.digest, digest(as_of.as_bytes())),
            None => self.digest.clone(),
        }
    }

    /// The length of the plain answer.
    pub fn length(&self, as_of: Option<&str>) -> usize {
        front(as_of).len() + self.checksum.amount() as usize
    }

    pub fn plain(&self, as_of: Option<&str>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.length(as_of));
        bytes.extend_from_slice(front(as_of).as_bytes());
        // Our own bytes, out of memory: reading them cannot fail.
        let _ = DeflateDecoder::new(&self.deflated[..]).read_to_end(&mut bytes);
        bytes
    }

    /// A gzip member of two parts: the front as it is, in a stored block, and the deflated rest.
    pub fn gzip(&self, as_of: Option<&str>) -> Vec<u8> {
        let front = front(as_of);
        let mut bytes = Vec::with_capacity(self.deflated.len() + front.len() + 32);
        bytes.extend_from_slice(&GZIP_HEAD);
        // RFC 1951, 3.2.4: not the last block, no compression, its length and the complement of that.
        let stored_len = u16::try_from(front.len()).unwrap_or(u16::MAX);
        bytes.push(0);
        bytes.extend_from_slice(&stored_len.to_le_bytes());
        bytes.extend_from_slice(&(!stored_len).to_le_bytes());
        bytes.extend_from_slice(&front.as_bytes()[..usize::from(stored_len)]);
        bytes.extend_from_slice(&self.deflated);
        let mut checksum = Crc::new();
        checksum.update(front.as_bytes());
        checksum.combine(&self.checksum);
        bytes.extend_from_slice(&checksum.sum().to_le_bytes());
        bytes.extend_from_slice(&checksum.amount().to_le_bytes());
        bytes
    }
}

/// What stands before the round's own fields; some hundred bytes at most.
fn front(as_of: Option<&str>) -> String {
    match as_of {
        Some(as_of) => format!("{{\"asOf\":{as_of},"),
        None => "{".to_owned(),
    }
}

/// Those that were asked for lately.
#[derive(Default)]
pub struct PackedRounds(Mutex<Vec<Entry>>);

struct Entry {
    /// Held, so that no other round can take its address.
    round: Arc<FinishedRound>,
    finality: Finality,
    packed: Arc<PackedRound>,
}

impl PackedRounds {
    /// The round, packed now if nobody has asked for it before. Whoever asks meanwhile waits, rather than do the same.
    pub fn get(&self, snapshot: &Snapshot, round: &Arc<FinishedRound>) -> Arc<PackedRound> {
        // How settled its logs are, which come no later than its end, depends on nothing beyond that.
        let end = round.position.block_number;
        let finality = Finality {
            safe_block: snapshot.finality.safe_block.min(end),
            finalized_block: snapshot.finality.finalized_block.min(end),
        };
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |entry: &Entry| Arc::ptr_eq(&entry.round, round);
        if let Some(index) = entries.iter().position(is_same) {
            let entry = entries.remove(index);
            if entry.finality == finality {
                let packed = entry.packed.clone();
                entries.push(entry);
                return packed;
            }
        }
        let packed = Arc::new(PackedRound::new(&view::finished_round(&finality, round)));
        entries.push(Entry {
            round: round.clone(),
            finality,
            packed: packed.clone(),
        });
        let mut bytes: usize = entries
            .iter()
            .map(|entry| entry.packed.deflated.len())
            .sum();
        while entries.len() > 1 && bytes > BYTES_MAX {
            bytes -= entries.remove(0).packed.deflated.len();
        }
        packed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::fixture;

    #[test]
    fn both_representations_say_the_same() {
        let snapshot = fixture::snapshot();
        for round in snapshot.history.iter() {
            let packed = PackedRounds::default().get(&snapshot, round);
            let as_of = view::as_of(&snapshot).to_string();
            for as_of in [None, Some(as_of.as_str())] {
                let plain = packed.plain(as_of);
                assert_eq!(plain.len(), packed.length(as_of));
                let mut unpacked = Vec::new();
                // Not the lenient decoder of several members: what a browser has reads one.
                flate2::read::GzDecoder::new(&packed.gzip(as_of)[..])
                    .read_to_end(&mut unpacked)
                    .unwrap();
                assert_eq!(unpacked, plain);
                let body: Value = serde_json::from_slice(&plain).unwrap();
                let mut expected = view::finished_round(&snapshot.finality, round);
                if as_of.is_some() {
                    expected["asOf"] = view::as_of(&snapshot);
                }
                assert_eq!(body, expected);
            }
            assert_ne!(packed.digest(None), packed.digest(Some(&as_of)));
        }
    }

    #[test]
    fn a_round_is_packed_once_until_it_is_more_settled() {
        let mut snapshot = fixture::snapshot();
        let rounds = PackedRounds::default();
        let round = snapshot.history[0].clone();
        let first = rounds.get(&snapshot, &round);
        snapshot.head = None;
        snapshot.reorgs_total += 1;
        assert!(Arc::ptr_eq(&first, &rounds.get(&snapshot, &round)));
        snapshot.finality.safe_block = round.position.block_number;
        let safe = rounds.get(&snapshot, &round);
        assert!(!Arc::ptr_eq(&first, &safe));
        snapshot.finality.safe_block += 1_000;
        assert!(Arc::ptr_eq(&safe, &rounds.get(&snapshot, &round)));
        let equal = Arc::new(FinishedRound::clone(&round));
        assert!(!Arc::ptr_eq(&safe, &rounds.get(&snapshot, &equal)));
        assert_eq!(rounds.0.lock().unwrap().len(), 2);
    }
}
