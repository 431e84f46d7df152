//! The hub over real sockets and a manual clock: readers that are slow, deaf or silent, and the last words. What the
//! messages say is tried in the stream's tests.

use std::net::TcpListener;

use crossbeam_channel::bounded;

use super::*;
use crate::base::clock::Clock;
use crate::lottery::snapshot::StoreEvent;
use crate::web::fixture;
use crate::web::occupancy::Caps;
use crate::web::view::Deployment;

struct Bench {
    hub: Hub,
    occupancy: Occupancy,
    listener: TcpListener,
    published: u64,
}

impl Bench {
    fn new() -> Bench {
        let occupancy = Occupancy::new(Caps {
            connections: 100,
            per_ip: 0,
        });
        let stream = Stream::new(
            Arc::new(fixture::snapshot()),
            Deployment::default(),
            Clock::system(),
        );
        let (_, publications) = bounded(1);
        let poller = HubPoller::new().unwrap();
        let metrics = Metrics::default();
        let (hub, _) = Hub::new(poller, stream, publications, occupancy.clone(), metrics);
        Bench {
            hub,
            occupancy,
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            published: 0,
        }
    }

    /// A client that has been let in; what it is sent first is on its way.
    fn client(&mut self) -> TcpStream {
        let outer = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        outer
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let (inner, _) = self.listener.accept().unwrap();
        inner.set_nonblocking(true).unwrap();
        let mut admission = self.occupancy.enter(None).unwrap();
        assert!(self.occupancy.upgrade(&mut admission, None));
        let new = NewClient {
            stream: inner,
            handshake: b"hello".to_vec(),
            rest: Vec::new(),
            since: None,
            deflates: false,
            admission,
        };
        self.hub.welcome(new, Instant::now());
        outer
    }

    fn publish(&mut self) {
        self.published += 1;
        let publication = Publication {
            number: self.published,
            snapshot: Arc::new(fixture::snapshot()),
            events: vec![StoreEvent::RoundUpdate(None)],
        };
        self.hub.publish(&publication, Instant::now());
    }

    fn slow_disconnects(&self) -> bool {
        self.hub
            .metrics
            .families()
            .contains_key("lottery_websocket_slow_disconnects_total")
    }
}

/// All that is there to read, while the hub writes on.
fn drain(stream: &mut TcpStream, hub: &mut Hub) -> Vec<u8> {
    stream.set_nonblocking(true).unwrap();
    let (mut all, mut buffer, mut quiet) = (Vec::new(), [0; 65_536], 0);
    while quiet < 50 {
        for key in 0..hub.clients.len() {
            hub.write(key);
        }
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                all.extend(&buffer[..count]);
                quiet = 0;
            }
            Err(_) => {
                quiet += 1;
                std::thread::park_timeout(Duration::from_millis(2));
            }
        }
    }
    all
}

fn count(haystack: &[u8], needle: &str) -> usize {
    String::from_utf8_lossy(haystack).matches(needle).count()
}

#[test]
fn a_client_that_does_not_read_is_dropped_and_no_other_misses_anything() {
    let mut bench = Bench::new();
    let mut reader = bench.client();
    let mut deaf = bench.client();
    let mut told = drain(&mut reader, &mut bench.hub);
    assert_eq!(count(&told, "\"type\":\"snapshot\""), 1);
    while !bench.slow_disconnects() {
        assert!(
            bench.published < 100_000,
            "the deaf client is never noticed"
        );
        for _ in 0..100 {
            bench.publish();
        }
        told.extend(drain(&mut reader, &mut bench.hub));
    }
    assert_eq!(
        count(&told, "\"type\":\"round_update\""),
        bench.published as usize
    );
    let rest = drain(&mut deaf, &mut bench.hub);
    assert!(count(&rest, "\"type\":\"round_update\"") < bench.published as usize);
    let close = close_frame(TRY_AGAIN_LATER, "too slow");
    assert!(rest.ends_with(&close), "the last words name the reason");
}

#[test]
fn a_deaf_client_holds_a_bounded_queue() {
    let mut bench = Bench::new();
    let _deaf = bench.client();
    while !bench.slow_disconnects() {
        bench.publish();
        let client = bench.hub.clients[0].as_ref().unwrap();
        assert!(client.queue.len() <= QUEUE_FRAMES_MAX + 1);
        assert!(client.queued_bytes <= QUEUE_BYTES_MAX);
    }
    let client = bench.hub.clients[0].as_ref().unwrap();
    assert!(
        client.queue.len() <= 2,
        "what it will not get is forgotten at once"
    );
}

#[test]
fn silence_is_filled_and_ends() {
    let mut bench = Bench::new();
    let mut client = bench.client();
    drain(&mut client, &mut bench.hub);
    let start = Instant::now();
    for (after_secs, heartbeats, pings) in [
        (14, 0, 0),
        (15, 1, 0),
        (20, 0, 1),
        (29, 0, 0),
        (31, 1, 0),
        (41, 0, 1),
    ] {
        bench.hub.sweep(start + Duration::from_secs(after_secs));
        let told = drain(&mut client, &mut bench.hub);
        assert_eq!(
            count(&told, "\"type\":\"heartbeat\""),
            heartbeats,
            "{after_secs}"
        );
        assert_eq!(
            told.windows(2).filter(|pair| pair == &[0x89, 0]).count(),
            pings,
            "{after_secs}"
        );
    }
    assert_eq!(bench.occupancy.websockets(), 1);
    bench.hub.sweep(start + SILENCE_MAX);
    assert_eq!(bench.occupancy.websockets(), 0);
}

#[test]
fn the_last_words_are_shutdown_and_going_away() {
    let mut bench = Bench::new();
    let mut client = bench.client();
    drain(&mut client, &mut bench.hub);
    bench.hub.say_goodbye();
    let told = drain(&mut client, &mut bench.hub);
    assert_eq!(count(&told, "\"type\":\"shutdown\""), 1);
    assert!(told.ends_with(&close_frame(GOING_AWAY, "the daemon stops")));
}
