//! Answers that are ready: the same request, byte for byte, has the same answer until the snapshot or chain time moves
//! on. Whoever asks again within that time is answered without a worker.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::actors::messages::SharedSnapshot;
use crate::lottery::snapshot::Snapshot;

const ANSWERS_MAX: usize = 256;
const BYTES_MAX: usize = 2 << 20;

/// What answers that are made of the snapshot alone depend on. The snapshot is held, so that no later one can take its
/// address.
#[derive(Clone)]
pub struct Stamp {
    snapshot: Arc<Snapshot>,
    chain_time: u64,
}

impl PartialEq for Stamp {
    fn eq(&self, other: &Stamp) -> bool {
        Arc::ptr_eq(&self.snapshot, &other.snapshot) && self.chain_time == other.chain_time
    }
}

impl Stamp {
    pub fn of(snapshot: &SharedSnapshot, now: Instant) -> Stamp {
        let snapshot = snapshot.load();
        let chain_time = snapshot.chain_time_at(now);
        Stamp {
            snapshot,
            chain_time,
        }
    }
}

/// The answers of one stamp, by the bytes of their requests.
pub struct ReadyAnswers {
    snapshot: SharedSnapshot,
    stamp: Stamp,
    answers: HashMap<Vec<u8>, Arc<[u8]>>,
    bytes: usize,
}

impl ReadyAnswers {
    pub fn new(snapshot: SharedSnapshot, now: Instant) -> ReadyAnswers {
        ReadyAnswers {
            stamp: Stamp::of(&snapshot, now),
            snapshot,
            answers: HashMap::new(),
            bytes: 0,
        }
    }

    pub fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// Forgets everything when its time is over.
    pub fn refresh(&mut self, now: Instant) {
        let stamp = Stamp::of(&self.snapshot, now);
        if stamp != self.stamp {
            self.stamp = stamp;
            self.answers.clear();
            self.bytes = 0;
        }
    }

    pub fn find(&self, request: &[u8]) -> Option<Arc<[u8]>> {
        self.answers.get(request).cloned()
    }

    /// Keeps an answer that was made for that stamp, if there is room and it is still the time.
    pub fn keep(&mut self, request: Vec<u8>, stamp: &Stamp, answer: &[u8]) {
        let bytes = request.len() + answer.len();
        let has_room = self.answers.len() < ANSWERS_MAX && self.bytes + bytes <= BYTES_MAX;
        if *stamp == self.stamp && has_room && !self.answers.contains_key(&request) {
            self.bytes += bytes;
            self.answers.insert(request, answer.into());
        }
    }
}

/// True for a single whole head of a GET: nothing before it, nothing behind it.
pub fn is_lone_get(bytes: &[u8]) -> bool {
    const END: &[u8] = b"\r\n\r\n";
    bytes.starts_with(b"GET ")
        && bytes.ends_with(END)
        && !bytes[..bytes.len() - 1]
            .windows(END.len())
            .any(|window| window == END)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::ChainTime;
    use crate::web::fixture;

    #[test]
    fn an_answer_is_ready_until_the_snapshot_or_chain_time_moves_on() {
        let start = Instant::now();
        let snapshot = || {
            let mut snapshot = fixture::snapshot();
            snapshot.chain_time = Some(ChainTime {
                head_timestamp: 1_000,
                seen_at: start,
            });
            Arc::new(snapshot)
        };
        let shared = SharedSnapshot::new(snapshot());
        let mut ready = ReadyAnswers::new(shared.clone(), start);
        let keep = |ready: &mut ReadyAnswers| {
            let stamp = ready.stamp().clone();
            ready.keep(b"GET /".to_vec(), &stamp, b"answer");
            stamp
        };
        let stamp = keep(&mut ready);
        assert_eq!(ready.find(b"GET /").as_deref(), Some(&b"answer"[..]));
        assert_eq!(ready.find(b"GET /other"), None);
        shared.swap(snapshot());
        ready.refresh(start);
        assert_eq!(
            ready.find(b"GET /"),
            None,
            "an equal snapshot is another one"
        );
        ready.keep(b"GET /".to_vec(), &stamp, b"late");
        assert_eq!(ready.find(b"GET /"), None, "made for a time that is over");
        keep(&mut ready);
        ready.refresh(start);
        assert!(ready.find(b"GET /").is_some());
        ready.refresh(start + std::time::Duration::from_millis(999));
        assert!(ready.find(b"GET /").is_some());
        ready.refresh(start + std::time::Duration::from_secs(1));
        assert_eq!(ready.find(b"GET /"), None);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let shared = SharedSnapshot::new(Arc::new(fixture::snapshot()));
        let mut ready = ReadyAnswers::new(shared, Instant::now());
        let stamp = ready.stamp().clone();
        for number in 0..1_000 {
            ready.keep(format!("GET /{number}").into_bytes(), &stamp, &[0; 10]);
        }
        assert_eq!(ready.answers.len(), ANSWERS_MAX);
        let mut few = ReadyAnswers::new(ready.snapshot.clone(), Instant::now());
        let stamp = few.stamp().clone();
        few.keep(b"GET /".to_vec(), &stamp, &vec![0; BYTES_MAX]);
        assert_eq!(few.find(b"GET /"), None);
    }

    #[test]
    fn only_a_lone_get_is_looked_up() {
        for (bytes, is) in [
            (&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], true),
            (
                b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
                false,
            ),
            (b"GET / HTTP/1.1\r\nHost: x\r\n", false),
            (b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", false),
            (b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", false),
            (b"GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", false),
            (b"", false),
        ] {
            assert_eq!(is_lone_get(bytes), is, "{}", String::from_utf8_lossy(bytes));
        }
    }
}
