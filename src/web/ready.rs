//! Answers that are ready: requests that differ in nothing the answer depends on have the same answer until the snapshot
//! or chain time moves on. Whoever asks again within that time is answered without a worker, and whoever asks in the very
//! bytes that the parser has read already, without the parser. Who waits for what is just being made is `making`'s
//! business.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Instant, SystemTime};

use crate::actors::messages::SharedSnapshot;
use crate::lottery::snapshot::Snapshot;
use crate::web::assets::{self, Asset};
use crate::web::http::{find, Persistence, Port, Request};
use crate::web::query;
use crate::web::reply::accepts_gzip;
use crate::web::routes;

const ANSWERS_MAX: usize = 256;
const BYTES_MAX: usize = 4 << 20;
/// Longer requests are answered one by one.
const KEY_BYTES_MAX: usize = 2 * 1024;
const DATE_BEGINS: &[u8] = b"\r\nDate: ";

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

/// All of a request that its answer depends on, beside the stamp.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AnswerKey(Vec<u8>);

impl AnswerKey {
    /// None for a request whose answer is made of more than the snapshot, or has more to say than is worth keeping.
    pub fn of(request: &Request, persistence: Persistence) -> Option<AnswerKey> {
        let is_plain = request.port == Port::Public
            && request.is_read()
            && !request.body_is_left
            && request.fields.lines("if-match").next().is_none();
        let query = request.query.as_deref().unwrap_or_default();
        let parameters = parameters_of(&request.path, query).filter(|_| is_plain)?;
        let mut key = Vec::with_capacity(64);
        key.push(persistence as u8);
        key.push(u8::from(accepts_gzip(&request.fields)));
        // Neither a method nor a path has a zero byte, nor has a query or a field.
        for part in [&request.method, &request.path] {
            key.extend_from_slice(part.as_bytes());
            key.push(0);
        }
        for parameter in parameters {
            key.push(b'?');
            key.extend_from_slice(parameter.as_bytes());
        }
        for tag in request.fields.list("if-none-match") {
            key.push(0);
            key.extend_from_slice(tag);
        }
        (key.len() <= KEY_BYTES_MAX).then_some(AnswerKey(key))
    }
}

/// What of the query goes into the answer, where beside it nothing but the snapshot and chain time does: whatever else is
/// asked for, the answer is the same.
fn parameters_of<'a>(path: &str, query: &'a str) -> Option<Vec<&'a str>> {
    match routes::find(path) {
        Some((route, _)) if !route.is_of_snapshot() => None,
        Some((route, _)) => Some(query::meaningful(query, route.parameters).collect()),
        None => Some(match assets::find(path)? {
            // Links to the page come with all kinds of tags.
            Asset::Page(_) => Vec::new(),
            Asset::BetCode => query::meaningful(query, routes::BET_PARAMETERS).collect(),
            _ => vec![query],
        }),
    }
}

/// An answer that may be sent again.
struct Kept {
    status: u16,
    bytes: Arc<[u8]>,
    /// The second of its date.
    dated: u64,
}

impl Kept {
    fn at(&mut self, time: SystemTime) -> (Arc<[u8]>, u16) {
        let second = unix_secs(time);
        if self.dated != second {
            self.bytes = redated(&self.bytes, time);
            self.dated = second;
        }
        (self.bytes.clone(), self.status)
    }
}

/// The answers of one stamp, by their keys.
pub struct ReadyAnswers {
    snapshot: SharedSnapshot,
    stamp: Stamp,
    answers: HashMap<AnswerKey, Kept>,
    /// What the parser made of requests that came whole and alone, by their bytes.
    known: HashMap<Box<[u8]>, (AnswerKey, Persistence)>,
    bytes: usize,
    /// Answers of earlier stamps that somebody may still be reading.
    outgoing: Vec<(Weak<[u8]>, usize)>,
}

impl ReadyAnswers {
    pub fn new(snapshot: SharedSnapshot, now: Instant) -> ReadyAnswers {
        ReadyAnswers {
            stamp: Stamp::of(&snapshot, now),
            snapshot,
            answers: HashMap::new(),
            known: HashMap::new(),
            bytes: 0,
            outgoing: Vec::new(),
        }
    }

    pub(crate) fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// Forgets everything when its time is over.
    pub(crate) fn refresh(&mut self, now: Instant) {
        let stamp = Stamp::of(&self.snapshot, now);
        if stamp != self.stamp {
            self.stamp = stamp;
            self.known.clear();
            self.outgoing.retain(|(bytes, _)| bytes.strong_count() > 0);
            for (_, kept) in self.answers.drain() {
                if Arc::strong_count(&kept.bytes) > 1 {
                    self.outgoing
                        .push((Arc::downgrade(&kept.bytes), kept.bytes.len()));
                }
            }
            self.bytes = 0;
        }
    }

    /// What the answers of earlier times take that are still being read.
    pub(crate) fn outgoing_bytes(&self) -> usize {
        let read = self.outgoing.iter();
        read.filter(|(bytes, _)| bytes.strong_count() > 0)
            .map(|(_, length)| length)
            .sum()
    }

    /// The answer and its status, with the date of now.
    pub fn find(&mut self, key: &AnswerKey, time: SystemTime) -> Option<(Arc<[u8]>, u16)> {
        self.answers.get_mut(key).map(|kept| kept.at(time))
    }

    /// The same for a request that came whole and alone on the public port, if the parser took exactly these bytes for one
    /// before; with what becomes of its connection.
    pub(crate) fn find_known(
        &mut self,
        request: &[u8],
        time: SystemTime,
    ) -> Option<(Arc<[u8]>, u16, Persistence)> {
        let (key, persistence) = self.known.get(request)?;
        let (bytes, status) = self.answers.get_mut(key)?.at(time);
        Some((bytes, status, *persistence))
    }

    /// The parser took these bytes, as a whole, for the request with this key.
    pub(crate) fn note_known(&mut self, request: &[u8], key: AnswerKey, persistence: Persistence) {
        if self.known.len() < ANSWERS_MAX && request.len() <= KEY_BYTES_MAX {
            self.known.insert(request.into(), (key, persistence));
        }
    }

    /// An answer is made: it is kept if it is of the current stamp and there is room.
    pub(crate) fn made(
        &mut self,
        key: AnswerKey,
        stamp: Option<&Stamp>,
        (status, bytes): (u16, &Arc<[u8]>),
        time: SystemTime,
    ) {
        let length = key.0.len() + bytes.len();
        let has_room = self.answers.len() < ANSWERS_MAX && self.bytes + length <= BYTES_MAX;
        let is_current = stamp == Some(&self.stamp) && matches!(status, 200 | 304);
        if is_current && has_room && !self.answers.contains_key(&key) {
            self.bytes += length;
            let kept = Kept {
                status,
                bytes: bytes.clone(),
                dated: unix_secs(time),
            };
            self.answers.insert(key, kept);
        }
    }
}

fn unix_secs(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// The same answer with another date, which always has the same length (RFC 9110, 5.6.7).
fn redated(bytes: &Arc<[u8]>, time: SystemTime) -> Arc<[u8]> {
    let mut fresh = bytes.to_vec();
    let date = httpdate::fmt_http_date(time);
    if let Some(begins) = find(&fresh, DATE_BEGINS) {
        let start = begins + DATE_BEGINS.len();
        if let Some(old) = fresh.get_mut(start..start + date.len()) {
            old.copy_from_slice(date.as_bytes());
        }
    }
    fresh.into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::clock::ChainTime;
    use crate::web::fixture;
    use crate::web::http::{encode, Reply};

    fn key(method: &str, target: &str, headers: &[(&str, &str)]) -> Option<AnswerKey> {
        let request = fixture::request(method, target, headers, "");
        AnswerKey::of(&request, Persistence::Keep)
    }

    fn answer(body: &str) -> Arc<[u8]> {
        let reply = Reply {
            status: 200,
            headers: Vec::new(),
            body: body.as_bytes().into(),
            delay: Duration::ZERO,
        };
        encode(&reply, Persistence::Keep, false).into()
    }

    #[test]
    fn an_answer_is_ready_until_the_snapshot_or_chain_time_moves_on() {
        let start = Instant::now();
        let time = SystemTime::now();
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
        let (root, other) = (
            key("GET", "/", &[]).unwrap(),
            key("HEAD", "/", &[]).unwrap(),
        );
        let keep = |ready: &mut ReadyAnswers| {
            let stamp = ready.stamp().clone();
            ready.made(root.clone(), Some(&stamp), (200, &answer("x")), time);
            stamp
        };
        let is_ready = |ready: &mut ReadyAnswers, key| ready.find(key, time).is_some();
        let stamp = keep(&mut ready);
        assert!(is_ready(&mut ready, &root) && !is_ready(&mut ready, &other));
        shared.swap(snapshot());
        ready.refresh(start);
        assert!(
            !is_ready(&mut ready, &root),
            "an equal snapshot is another one"
        );
        ready.made(root.clone(), Some(&stamp), (200, &answer("late")), time);
        assert!(!is_ready(&mut ready, &root), "made for a time that is over");
        ready.made(root.clone(), None, (200, &answer("of no time")), time);
        assert!(!is_ready(&mut ready, &root));
        keep(&mut ready);
        ready.refresh(start + Duration::from_millis(999));
        assert!(is_ready(&mut ready, &root));
        ready.refresh(start + Duration::from_secs(1));
        assert!(!is_ready(&mut ready, &root));
    }

    #[test]
    fn what_does_not_change_the_answer_is_not_part_of_its_key() {
        let plain = key("GET", "/api/history", &[]);
        assert!(plain.is_some());
        for same in [
            [("user-agent", "x")],
            [("cookie", "a=b")],
            [("accept-encoding", "br")],
            [("if-none-match", "")],
        ] {
            assert_eq!(key("GET", "/api/history", &same), plain, "{same:?}");
        }
        for same in ["?", "?utm_source=x", "?_=1&&%zz", "?LIMIT=1"] {
            let target = format!("/api/history{same}");
            assert_eq!(key("GET", &target, &[]), plain, "{target}");
        }
        assert_eq!(
            key("GET", "/api/history?a=1&li%6dit=1&b", &[]),
            key("GET", "/api/history?li%6dit=1", &[])
        );
        assert_eq!(key("GET", "/?fbclid=1", &[]), key("GET", "/", &[]));
        let packed = key("GET", "/api/history", &[("accept-encoding", "gzip")]);
        let also = key(
            "GET",
            "/api/history",
            &[("accept-encoding", "br, gzip;q=0.1")],
        );
        assert_eq!(packed, also);
        let keys = [
            plain,
            packed,
            key("HEAD", "/api/history", &[]),
            key("GET", "/api/history?limit=1", &[]),
            key("GET", "/api/history?limit=2", &[]),
            key("GET", "/api/history?limit=1&before=2", &[]),
            key("GET", "/style.css?v=1", &[]),
            key("GET", "/api/history", &[("if-none-match", "\"x\"")]),
            key("GET", "/", &[]),
            AnswerKey::of(
                &fixture::request("GET", "/", &[], ""),
                Persistence::KeepTold,
            ),
        ];
        for (index, one) in keys.iter().enumerate() {
            assert!(one.is_some() && !keys[..index].contains(one), "{index}");
        }
        for none in [
            key("POST", "/", &[]),
            key("GET", "/api/status", &[]),
            key("GET", "/nowhere", &[]),
            key("GET", "/", &[("if-match", "*")]),
            key("GET", &format!("/style.css?{}", "x".repeat(3_000)), &[]),
        ] {
            assert_eq!(none, None);
        }
        let mut private = fixture::request("GET", "/", &[], "");
        private.port = Port::Private;
        assert_eq!(AnswerKey::of(&private, Persistence::Keep), None);
    }

    #[test]
    fn the_same_bytes_are_the_same_request_for_as_long_as_its_answer_is_ready() {
        let shared = SharedSnapshot::new(Arc::new(fixture::snapshot()));
        let mut ready = ReadyAnswers::new(shared.clone(), Instant::now());
        let (stamp, time) = (ready.stamp().clone(), SystemTime::now());
        let root = key("GET", "/", &[]).unwrap();
        let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        ready.made(root.clone(), Some(&stamp), (304, &answer("x")), time);
        assert!(ready.find_known(request, time).is_none(), "nobody read it");
        ready.note_known(request, root.clone(), Persistence::Keep);
        let later = time + Duration::from_secs(3_600);
        let (bytes, status, persistence) = ready.find_known(request, later).unwrap();
        assert_eq!((status, persistence), (304, Persistence::Keep));
        assert_eq!(Some((bytes, status)), ready.find(&root, later));
        for other in [
            &request[1..],
            &request[..request.len() - 1],
            &request.repeat(2),
            b"",
        ] {
            assert!(ready.find_known(other, time).is_none(), "{other:?}");
        }
        for number in 0..2 * ANSWERS_MAX {
            let request = format!("GET /?{number} HTTP/1.1\r\nHost: x\r\n\r\n");
            ready.note_known(request.as_bytes(), root.clone(), Persistence::Keep);
        }
        assert_eq!(ready.known.len(), ANSWERS_MAX);
        shared.swap(Arc::new(fixture::snapshot()));
        ready.refresh(Instant::now());
        assert!(ready.known.is_empty());
        ready.note_known(&[b'x'; KEY_BYTES_MAX + 1], root, Persistence::Keep);
        assert!(ready.known.is_empty(), "it is long");
    }

    #[test]
    fn an_answer_always_has_the_date_of_now() {
        let shared = SharedSnapshot::new(Arc::new(fixture::empty_snapshot()));
        let mut ready = ReadyAnswers::new(shared, Instant::now());
        let (stamp, time) = (ready.stamp().clone(), SystemTime::now());
        let root = key("GET", "/", &[]).unwrap();
        let bytes = answer("Date: no header");
        ready.made(root.clone(), Some(&stamp), (200, &bytes), time);
        let later = time + Duration::from_secs(3_600);
        let (found, _) = ready.find(&root, later).unwrap();
        let text = String::from_utf8(found.to_vec()).unwrap();
        let date = httpdate::fmt_http_date(later);
        assert!(text.contains(&format!("\r\nDate: {date}\r\n")), "{text}");
        assert_eq!(text.len(), bytes.len());
        assert!(text.ends_with("\r\n\r\nDate: no header"));
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_is_still_read_is_known() {
        let shared = SharedSnapshot::new(Arc::new(fixture::snapshot()));
        let mut ready = ReadyAnswers::new(shared.clone(), Instant::now());
        let (stamp, time) = (ready.stamp().clone(), SystemTime::now());
        let numbered = |number: usize| key("GET", &format!("/round/{}", number + 1), &[]).unwrap();
        for number in 0..1_000 {
            ready.made(numbered(number), Some(&stamp), (200, &answer("x")), time);
        }
        assert_eq!(ready.answers.len(), ANSWERS_MAX);
        let (reading, _) = ready.find(&numbered(0), time).unwrap();
        shared.swap(Arc::new(fixture::snapshot()));
        ready.refresh(Instant::now());
        assert_eq!(ready.outgoing_bytes(), reading.len());
        drop(reading);
        assert_eq!(ready.outgoing_bytes(), 0);
        let stamp = ready.stamp().clone();
        let huge = vec![0; BYTES_MAX].into();
        ready.made(numbered(1), Some(&stamp), (200, &huge), time);
        assert!(ready.find(&numbered(1), time).is_none());
    }
}
