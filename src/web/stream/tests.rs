//! The stream's promises by a follower that knows nothing else: after any messages it holds what a new snapshot would say,
//! compressed or plain, replayed or begun anew. Sockets are tried in the hub's tests.

use std::time::Duration;

use flate2::{Decompress, FlushDecompress};
use proptest::prelude::*;
use support::held::Held;

use super::*;
use crate::actors::memory_store::MemoryStore;
use crate::lottery::play::{advance, branch, Block};
use crate::lottery::snapshot::{ConnectionStatus, Finality, StoreEvent};
use crate::lottery::state::{Rollback, State, Update};
use crate::web::fixture;
use crate::web::view::Deployment;

/// A client of the feed that also minds the numbers of what it is told.
struct Client {
    epoch: String,
    seq: u64,
    held: Held,
}

impl Client {
    fn from_snapshot(told: &Message) -> Client {
        let message = content(told);
        assert_eq!(message["type"], "snapshot");
        let mut held = message["payload"].clone();
        let fields = held.as_object_mut().unwrap();
        assert_eq!(fields["seq"], message["seq"]);
        let epoch = fields["epoch"].as_str().unwrap().to_owned();
        for own in ["epoch", "seq", "resync", "asOf"] {
            fields.remove(own);
        }
        Client {
            epoch,
            seq: message["seq"].as_u64().unwrap(),
            held: Held(held),
        }
    }

    fn take(&mut self, told: &Message) {
        let message = content(told);
        if message["type"] == "snapshot" {
            *self = Client::from_snapshot(told);
            return;
        }
        self.seq += 1;
        assert_eq!(message["seq"], self.seq);
        self.held.take(&message);
    }
}

fn payload(frame: &Frame) -> &[u8] {
    let start = match frame[1] {
        127 => 10,
        126 => 4,
        _ => 2,
    };
    &frame[start..]
}

fn content(message: &Message) -> Value {
    serde_json::from_slice(payload(&message.plain)).unwrap()
}

/// A client that agreed to compression: one window for all that it is sent.
struct Inflater(Decompress);

impl Inflater {
    fn new() -> Inflater {
        Inflater(Decompress::new(false))
    }

    /// As RFC 7692, 7.2.2 has it.
    fn read(&mut self, message: &Message) -> Vec<u8> {
        let frame = message.frame(true);
        if frame[0] & RSV1 == 0 {
            return payload(frame).to_vec();
        }
        let compressed = [payload(frame), &[0, 0, 0xff, 0xff]].concat();
        let mut text = Vec::with_capacity(1 << 17);
        self.0
            .decompress_vec(&compressed, &mut text, FlushDecompress::Sync)
            .unwrap();
        text
    }
}

/// The reducer and the stream as store and hub tie them together.
struct Feed {
    state: State,
    stream: Stream,
    published: u64,
}

impl Feed {
    fn new() -> Feed {
        let connection = ConnectionStatus {
            reachable: true,
            since_unix_ms: 0,
            problem: None,
        };
        // Few are kept, so that old ones fall off and come back.
        let state = State::new(MemoryStore::limits(60, 3), connection);
        let stream = Stream::new(
            Arc::new(state.snapshot().clone()),
            Deployment::default(),
            Clock::system(),
        );
        Feed {
            state,
            stream,
            published: 0,
        }
    }

    fn apply(&mut self, update: Update) -> Vec<Message> {
        let applied = self.state.apply(update);
        self.published += if applied.resync { 2 } else { 1 };
        self.stream.take(&Publication {
            number: self.published,
            snapshot: Arc::new(self.state.snapshot().clone()),
            events: applied.events,
        })
    }

    /// The updates of a chain that is read in portions, and then replaced above `ancestor`.
    fn updates(old: &[Block], new: &[Block], ancestor: usize, portion: usize) -> Vec<Update> {
        let mut updates = Vec::new();
        let mut read = |chain: &[Block], mut from: usize, mut rollback: Option<Rollback>| {
            while from < chain.len() {
                let to = (from + portion - 1).min(chain.len() - 1);
                updates.push(advance(chain, from, to, rollback.take()));
                from = to + 1;
            }
        };
        read(old, 0, None);
        let chain = [&old[..=ancestor], new].concat();
        read(&chain, ancestor + 1, Some(Rollback::To(ancestor as u64)));
        let (safe_block, finalized_block) = (3, 2);
        updates.insert(
            updates.len() / 2,
            Update::Finality(Finality {
                safe_block,
                finalized_block,
            }),
        );
        updates
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whoever follows from any moment, or comes back after any pause, holds what a new snapshot would give.
    #[test]
    fn followers_hold_what_a_new_snapshot_gives(
        old in branch(1), new in branch(2), ancestor in 0..13usize, portion in 1..4usize, pause in 1..9usize,
        backfill_at in 0..30usize,
    ) {
        let ancestor = ancestor % old.len();
        let mut feed = Feed::new();
        let mut updates = Feed::updates(&old, &new, ancestor, portion);
        let place = backfill_at % (updates.len() + 1);
        updates.insert(place, Update::Backfill { events: Vec::new(), complete: true });
        let greeting = feed.stream.greet(None);
        let mut follower = Client::from_snapshot(&greeting[0]);
        let mut absent = Client::from_snapshot(&greeting[0]);
        for (step, update) in updates.into_iter().enumerate() {
            for frame in feed.apply(update) {
                follower.take(&frame);
            }
            let fresh = Client::from_snapshot(&feed.stream.greet(None)[0]);
            for (part, held) in follower.held.0.as_object().unwrap() {
                prop_assert_eq!(held, &fresh.held.0[part], "{}", part);
            }
            prop_assert_eq!((&follower.epoch, follower.seq), (&fresh.epoch, fresh.seq));
            if step % pause == 0 {
                let since = format!("{}:{}", absent.epoch, absent.seq);
                for frame in feed.stream.greet(Some(&since)) {
                    absent.take(&frame);
                }
                prop_assert_eq!(&absent.held.0, &fresh.held.0);
                prop_assert_eq!((&absent.epoch, absent.seq), (&fresh.epoch, fresh.seq));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// One set of compressed frames is for everybody: whenever a client came, and whatever it was sent in between.
    #[test]
    fn compressed_messages_say_what_plain_ones_say(
        old in branch(1), new in branch(2), ancestor in 0..13usize, portion in 1..4usize,
        greetings in proptest::collection::vec(0..3usize, 30),
    ) {
        let mut feed = Feed::new();
        let updates = Feed::updates(&old, &new, ancestor % old.len(), portion);
        let mut clients = Vec::new();
        for (update, greeting) in updates.into_iter().zip(greetings) {
            let mut told = match greeting {
                0 => feed.stream.greet(None),
                1 => vec![feed.stream.heartbeat()],
                _ => Vec::new(),
            };
            clients.push(Inflater::new());
            told.extend(feed.apply(update));
            for message in &told {
                for client in &mut clients {
                    prop_assert_eq!(client.read(message), payload(&message.plain));
                }
            }
        }
    }
}

fn publication(number: u64, events: usize) -> Publication {
    Publication {
        number,
        snapshot: Arc::new(fixture::snapshot()),
        events: (0..events).map(|_| StoreEvent::RoundUpdate(None)).collect(),
    }
}

fn types(messages: &[Message]) -> Vec<String> {
    let kind = |message: &Message| content(message)["type"].as_str().unwrap().to_owned();
    messages.iter().map(kind).collect()
}

#[test]
fn what_was_missed_is_replayed_within_bounds() {
    let mut stream = Stream::new(
        Arc::new(fixture::snapshot()),
        Deployment::default(),
        Clock::system(),
    );
    let epoch = stream.epoch.clone();
    assert_eq!(stream.take(&publication(1, 200)).len(), 200);
    assert_eq!(stream.take(&publication(2, 50)).len(), 50);
    for (since, replayed) in [
        (format!("{epoch}:250"), Some(0)),
        (format!("{epoch}:249"), Some(1)),
        (format!("{epoch}:50"), Some(200)),
        (format!("{epoch}:49"), None),
        (format!("{epoch}:251"), None),
        ("0123456789abcdef:250".to_owned(), None),
        (format!("{epoch}:-1"), None),
        (epoch.clone(), None),
        (String::new(), None),
    ] {
        let frames = stream.greet(Some(&since));
        match replayed {
            Some(count) => {
                assert_eq!(types(&frames), vec!["round_update"; count], "{since}");
                let first = frames.first().map(|frame| content(frame)["seq"].clone());
                assert_eq!(first, (count > 0).then(|| json!(251 - count)), "{since}");
            }
            None => {
                assert_eq!(types(&frames), ["snapshot"], "{since}");
                assert_eq!(content(&frames[0])["payload"]["resync"], true, "{since}");
            }
        }
    }
    let first_visit = content(&stream.greet(None)[0]);
    assert_eq!(first_visit["seq"], 250);
    assert_eq!(first_visit["payload"].get("resync"), None);
}

#[test]
fn a_missed_or_overlong_publication_begins_a_new_epoch() {
    for (number, events) in [(3, 3), (2, FRAMES_AT_ONCE_MAX + 1)] {
        let mut stream = Stream::new(
            Arc::new(fixture::snapshot()),
            Deployment::default(),
            Clock::system(),
        );
        stream.take(&publication(1, 3));
        let before = stream.epoch.clone();
        let frames = stream.take(&publication(number, events));
        assert_eq!(types(&frames), ["snapshot"]);
        let told = content(&frames[0]);
        assert_eq!(
            (&told["seq"], &told["payload"]["resync"]),
            (&json!(0), &json!(true))
        );
        assert_ne!(told["payload"]["epoch"], before);
        assert_eq!(
            types(&stream.greet(Some(&format!("{before}:3")))),
            ["snapshot"]
        );
        assert_eq!(stream.take(&publication(number + 1, 2)).len(), 2);
        assert_eq!(stream.seq, 2);
    }
}

#[test]
fn heartbeat_and_shutdown_take_no_number() {
    let mut stream = Stream::new(
        Arc::new(fixture::snapshot()),
        Deployment::default(),
        Clock::system(),
    );
    stream.take(&publication(1, 2));
    for (frame, kind) in [
        (stream.heartbeat(), "heartbeat"),
        (stream.shutdown(), "shutdown"),
    ] {
        let told = content(&frame);
        assert_eq!((&told["type"], &told["seq"]), (&json!(kind), &json!(2)));
    }
    assert_eq!(stream.take(&publication(2, 1)).len(), 1);
    assert_eq!(stream.seq, 3);
}

#[test]
fn a_heartbeat_brings_the_newest_block_and_chain_time() {
    let clock = Clock::manual(1_000);
    let mut newest = fixture::snapshot();
    let mut stream = Stream::new(
        Arc::new(newest.clone()),
        Deployment::default(),
        clock.clone(),
    );
    // A block without news is no message, but the next heartbeat tells of it; its time may be an earlier one than it seemed.
    newest.head.as_mut().unwrap().timestamp -= 40;
    fixture::seen_at(&mut newest, clock.now());
    let head = newest.head.unwrap();
    let quiet = Publication {
        number: 1,
        snapshot: Arc::new(newest),
        events: Vec::new(),
    };
    assert_eq!(stream.take(&quiet).len(), 0);
    clock.advance(Duration::from_secs(15));
    let told = content(&stream.heartbeat());
    assert_eq!(told["payload"]["chainTime"], head.timestamp + 15);
    for message in [told, content(&stream.shutdown())] {
        let as_of = &message["payload"]["asOf"];
        assert_eq!(as_of["timestamp"], head.timestamp);
        assert_eq!(as_of["blockNumber"], head.number);
    }
}

#[test]
fn the_ring_is_bounded() {
    let mut stream = Stream::new(
        Arc::new(fixture::snapshot()),
        Deployment::default(),
        Clock::system(),
    );
    for number in 1..=30 {
        stream.take(&publication(number, FRAMES_AT_ONCE_MAX));
    }
    assert_eq!(stream.ring.len(), RING_LEN);
    let bytes: usize = stream.ring.iter().map(|frame| frame.len()).sum();
    assert_eq!(stream.ring_bytes, bytes);
    assert!(bytes <= RING_BYTES_MAX);
}

#[test]
fn frames_have_the_shortest_length_field() {
    for (length, head) in [
        (0, vec![0x81, 0]),
        (125, vec![0x81, 125]),
        (126, vec![0x81, 126, 0, 126]),
        (65_535, vec![0x81, 126, 255, 255]),
        (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        let frame = frame(TEXT, &vec![b'x'; length]);
        assert_eq!(&frame[..head.len()], head, "{length}");
        assert_eq!(frame.len(), head.len() + length);
    }
    assert_eq!(
        close_frame(1001, "bye"),
        [0x88, 5, 3, 233, b'b', b'y', b'e']
    );
    assert_eq!(ping_frame(), [0x89, 0]);
}
