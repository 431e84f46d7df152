//! The gate with real sockets and a handler that waits until it is told to go on.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{bounded, Sender};

use super::*;
use crate::base::clock::Clock;
use crate::base::shutdown::StopReason;
use crate::base::thread::{spawn_supervised, Health, OnFailure};
use crate::web::connection::Limits;
use crate::web::feed::{Hub, HubPoller};
use crate::web::fixture;
use crate::web::http::Reply;
use crate::web::occupancy::Caps;
use crate::web::stream::Stream;
use crate::web::view::Deployment;

/// A gate with one worker.
struct Serving {
    address: SocketAddr,
    occupancy: Occupancy,
    /// What was answered, in order.
    handled: Arc<Mutex<Vec<String>>>,
    /// The first request is with the worker.
    begun: Receiver<()>,
    /// Has its answer made.
    go_on: Sender<()>,
    stop: Shutdown,
}

impl Serving {
    fn start() -> Serving {
        let snapshot = Arc::new(fixture::snapshot());
        let occupancy = Occupancy::new(Caps {
            connections: 100,
            per_ip: 0,
        });
        let stream = Stream::new(snapshot.clone(), Deployment::default(), Clock::system());
        let (_, publications) = bounded(1);
        let (poller, metrics) = (HubPoller::new().unwrap(), Metrics::default());
        let (_, feed) = Hub::new(poller, stream, publications, occupancy.clone(), metrics);
        let socket = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = socket.local_addr().unwrap();
        let listener = Listener {
            socket,
            port: Port::Public,
            occupancy: occupancy.clone(),
        };
        let settings = Settings {
            rules: Rules {
                limits: Limits::default(),
                takes_body: Box::new(|_| false),
            },
            trusted_proxies: Vec::new(),
            feed,
            snapshot: SharedSnapshot::new(snapshot),
            metrics: Metrics::default(),
        };
        let (mut gate, workers) = Gate::new(vec![listener], settings).unwrap();
        let (begin, begun) = bounded(1);
        let (go_on, told) = bounded::<()>(0);
        let handled = Arc::new(Mutex::new(Vec::new()));
        let seen = handled.clone();
        let handler = move |request: &Request| {
            let query = request.query.clone().unwrap_or_default();
            if query == "first" {
                let _ = begin.send(());
                let _ = told.recv();
            }
            seen.lock().unwrap().push(query);
            Reply {
                status: 200,
                headers: Vec::new(),
                body: Arc::from(&b"made"[..]),
                delay: Duration::ZERO,
            }
        };
        let stop = Shutdown::new();
        stop.on_trip(gate.waker());
        let (of_gate, of_worker) = (stop.clone(), stop.clone());
        spawn("gate", &stop, move |beat| gate.run(&of_gate, beat));
        spawn("worker", &stop, move |beat| {
            workers.work(&handler, &of_worker, beat)
        });
        Serving {
            address,
            occupancy,
            handled,
            begun,
            go_on,
            stop,
        }
    }

    fn ask(&self, target: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        stream
    }

    /// Once this is over the gate has read all that was sent before: it refuses this request itself.
    fn wait_read(&self) {
        let mut refused = TcpStream::connect(self.address).unwrap();
        refused.write_all(b"nonsense\r\n\r\n").unwrap();
        refused.read_to_end(&mut Vec::new()).unwrap();
    }

    fn wait_connections(&self, count: usize) {
        let until = Instant::now() + Duration::from_secs(30);
        while self.occupancy.connections() != count {
            assert!(Instant::now() < until, "never {count} connections");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.trip(StopReason::Requested);
    }
}

fn spawn(
    name: &'static str,
    stop: &Shutdown,
    body: impl FnMut(&Beat) -> Result<(), String> + Send + 'static,
) {
    let (clock, health) = (Clock::system(), Health::default());
    spawn_supervised(name, &clock, &health, stop, OnFailure::EndProcess, body).unwrap();
}

/// Whoever is reset wants no answer any more, be it one of its own or one that others could share.
#[test]
fn nobody_makes_an_answer_for_a_client_that_has_gone() {
    let serving = Serving::start();
    let mut first = serving.ask("/api/status?first");
    serving.begun.recv().unwrap();
    let gone = ["/api/status?own", "/api/round/status?shared"].map(|target| serving.ask(target));
    let mut last = serving.ask("/api/status?last");
    serving.wait_read();
    serving.wait_connections(4);
    for stream in gone {
        socket2::SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }
    serving.wait_connections(2);
    serving.go_on.send(()).unwrap();
    for stream in [&mut first, &mut last] {
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
    assert_eq!(*serving.handled.lock().unwrap(), ["first", "last"]);
}

/// Whoever says that it sends no more may still read, and whether it does cannot be seen.
#[test]
fn who_has_asked_its_last_is_answered() {
    let serving = Serving::start();
    let mut first = serving.ask("/api/status?first");
    serving.begun.recv().unwrap();
    let targets = ["/api/status?own", "/api/round/status?shared"];
    let waiting = targets.map(|target| serving.ask(target));
    serving.wait_read();
    drop(serving.ask("/api/status?closed"));
    for stream in &waiting {
        stream.shutdown(std::net::Shutdown::Write).unwrap();
    }
    serving.wait_read();
    serving.wait_connections(4);
    serving.go_on.send(()).unwrap();
    first.read_exact(&mut [0; 12]).unwrap();
    for mut stream in waiting {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    serving.wait_connections(1);
    let handled = serving.handled.lock().unwrap();
    assert_eq!(*handled, ["first", "own", "shared", "closed"]);
}

/// However the bytes come, each request has its answer; and what one port knows, another does not.
#[test]
fn what_was_read_before_is_answered_as_when_it_was_read() {
    let serving = Serving::start();
    let request = "GET /api/round/status HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = request.replace("Host: x", "Host: x\r\nConnection: close");
    let twice = request.repeat(2);
    let (begin, end) = request.split_at(20);
    let mut stream = TcpStream::connect(serving.address).unwrap();
    let mut ask = |pieces: &[&str], count: usize| {
        for piece in pieces {
            stream.write_all(piece.as_bytes()).unwrap();
            serving.wait_read();
        }
        for _ in 0..count {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\nmade") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            let head = String::from_utf8(head).unwrap();
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            assert_eq!(head.contains("Connection: close"), pieces[0] == last);
        }
    };
    for _ in 0..3 {
        ask(&[request], 1);
    }
    ask(&[begin, end], 1);
    ask(&["\r\n", request], 1);
    ask(&[&twice], 2);
    ask(&[request], 1);
    let mut other = serving.ask("/api/round/status?x");
    other.read_exact(&mut [0; 12]).unwrap();
    ask(&[&last], 1);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "it was the last");
}
