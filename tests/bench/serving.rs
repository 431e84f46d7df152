//! Serving, side by side with the least that could do the same on this machine, and under attack. It prints ratios.
//!
//! Fan-out: a child process holds the server's ends of all sockets, and with them the feed's hub; this process is all of
//! the clients. One bet in a round of 5,000 players is published to the hub, then the same bytes are written to the same
//! sockets by a bare loop; both times end when the last client has its last byte. Requests: 64 keep-alive connections ask
//! the daemon, a plain one-thread server that answers with bytes made beforehand, and tiny_http's own server.
//! `cargo bench --bench serving` takes about twenty minutes, `-- --smoke` half a minute; `-- --clients N` measures nothing
//! but the fan-out to N clients, `-- --requests SECS` nothing but the requests, for so long each of three times, and
//! `-- --attack WORDS` nothing but the attacks with those words in their names.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, Receiver};
use lottery::base::clock::Clock;
use lottery::base::metrics::Metrics;
use lottery::base::shutdown::Shutdown;
use lottery::base::thread::{spawn_supervised, Health, OnFailure};
use lottery::lottery::snapshot::Publication;
use lottery::lottery::state::State;
use lottery::web::feed::{FeedHandle, Hub, HubPoller, NewClient};
use lottery::web::occupancy::{Caps, Occupancy};
use lottery::web::stream::{Message, Stream};
use lottery::web::view::Deployment;
use polling::{Event as Readiness, Events, PollMode, Poller};

use support::assault;
use support::chain::{wait_for, Chain, Timing};
use support::daemon::{Daemon, Options};
use support::publications::{advance, bet, publication, state_with};
use support::quantile::quantile;

const PLAYERS: u64 = 5_000;
/// What the system counts processor time in.
const TICK_US: f64 = 10_000.0;

fn main() {
    if let Some(clients) = argument("--hold-sockets") {
        return hold_sockets(clients as usize);
    }
    let smoke = std::env::args().any(|argument| argument == "--smoke");
    assault::raise_descriptor_limit();
    if let Some(clients) = argument("--clients") {
        return fan_out(clients as usize, 15);
    }
    let attacks = assault::all(if smoke { 1_000 } else { 10_000 });
    if let Some(words) = text_argument("--attack") {
        let named = attacks.iter().filter(|known| known.name.contains(&words));
        return named.for_each(|attack| under_attack(attack, false));
    }
    if let Some(secs) = argument("--requests") {
        return requests(Duration::from_secs(secs));
    }
    bytes_of_a_bet();
    let crowds: &[usize] = if smoke { &[100] } else { &[100, 1_000, 9_900] };
    for clients in crowds {
        fan_out(*clients, if smoke { 3 } else { 15 });
    }
    requests(Duration::from_secs(if smoke { 1 } else { 10 }));
    // Each of them is a test as well.
    let attacks = if smoke { &attacks[..1] } else { &attacks };
    for attack in attacks {
        under_attack(attack, smoke);
    }
}

fn argument(name: &str) -> Option<u64> {
    text_argument(name)?.parse().ok()
}

fn text_argument(name: &str) -> Option<String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)
}

/// What one bet costs each client of the feed, whatever the number of players; each message names the block it is as of.
fn bytes_of_a_bet() {
    for players in [10, 1_000, 5_000, 10_000] {
        let mut state = state_with(players);
        let mut stream = Stream::new(
            Arc::new(state.snapshot().clone()),
            Deployment::default(),
            Clock::system(),
        );
        let update = advance(players + 1, vec![bet(players + 1, players / 2)]);
        let messages = stream.take(&publication(&mut state, 1, update));
        let lengths = |deflates: bool| -> Vec<usize> {
            let frames = messages.iter().map(|message| message.frame(deflates));
            frames.map(|frame| frame.len()).collect()
        };
        let (deflated, plain) = (lengths(true), lengths(false));
        println!(
            "a bet among {players:>6} players: {} bytes a client (target: at most 700), by message {deflated:?}; \
             {} {plain:?} for a client without permessage-deflate",
            deflated.iter().sum::<usize>(),
            plain.iter().sum::<usize>()
        );
    }
}

/// What a client without compression is sent.
fn plain(messages: &[Message]) -> Vec<u8> {
    let frames: Vec<&[u8]> = messages
        .iter()
        .map(|message| &**message.frame(false))
        .collect();
    frames.concat()
}

fn stream_of(state: &State) -> Stream {
    Stream::new(
        Arc::new(state.snapshot().clone()),
        Deployment::default(),
        Clock::system(),
    )
}

/// Starts the hub's thread, which ends with the process; the way to hand it clients.
fn run_hub(
    poller: HubPoller,
    stream: Stream,
    publications: Receiver<Arc<Publication>>,
    occupancy: Occupancy,
) -> FeedHandle {
    let (mut hub, feed) = Hub::new(poller, stream, publications, occupancy, Metrics::default());
    let (health, shutdown) = (Health::default(), Shutdown::new());
    let stop = shutdown.clone();
    spawn_supervised(
        "feed",
        &Clock::system(),
        &health,
        &shutdown,
        OnFailure::EndProcess,
        move |beat| hub.run(&stop, beat),
    )
    .expect("a thread");
    feed
}

/// The server's side, in a process of its own: it takes so many sockets and then does as it is told, a line a time:
/// "hub" publishes a bet, "bare" writes the same bytes in a loop. The answer is the number of bytes for each client.
fn hold_sockets(clients: usize) {
    assault::raise_descriptor_limit();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    println!("{}", listener.local_addr().expect("it listens").port());
    let mut state = state_with(PLAYERS);
    let occupancy = Occupancy::new(Caps {
        connections: 20_000,
        per_ip: 0,
    });
    let (publish, publications) = bounded(64);
    let poller = HubPoller::new().expect("a poller");
    let wake = poller.waker();
    let feed = run_hub(poller, stream_of(&state), publications, occupancy.clone());
    let mut descriptors = Vec::new();
    for _ in 0..clients {
        let (stream, _) = listener.accept().expect("a client comes");
        tune(&stream);
        descriptors.push(stream.as_raw_fd());
        let mut admission = occupancy.enter(None).expect("there is room");
        assert!(occupancy.upgrade(&mut admission, None));
        feed.welcome(NewClient {
            stream,
            handshake: Vec::new(),
            rest: Vec::new(),
            since: None,
            deflates: false,
            admission,
        });
    }
    // What the hub sends is known from a stream like its own.
    let mut twin = stream_of(&state);
    let mut number = 0;
    for line in std::io::stdin().lines() {
        let block = PLAYERS + number + 1;
        let update = advance(block, vec![bet(block, number * 7 % PLAYERS)]);
        if line.expect("a command") == "hub" {
            number += 1;
            let publication = Arc::new(publication(&mut state, number, update));
            println!("{}", plain(&twin.take(&publication)).len());
            publish.send(publication).expect("the hub lives");
            wake();
            continue;
        }
        let mut trial = state.clone();
        let bytes = plain(&stream_of(&state).take(&publication(&mut trial, 1, update)));
        println!("{}", bytes.len());
        for descriptor in &descriptors {
            // SAFETY: the buffer outlives the call; the descriptor is the hub's, which closes none meanwhile.
            let written = unsafe { libc::write(*descriptor, bytes.as_ptr().cast(), bytes.len()) };
            assert_eq!(written, bytes.len() as isize);
        }
    }
    std::process::exit(0);
}

/// The clients' side of the sockets that a child holds.
struct Crowd {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    streams: Vec<TcpStream>,
    poller: Poller,
}

impl Crowd {
    fn gather(clients: usize) -> Crowd {
        let own = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(own)
            .args(["--hold-sockets", &clients.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program runs once more");
        let commands = child.stdin.take().expect("it was piped");
        let mut answers = BufReader::new(child.stdout.take().expect("it was piped"));
        let mut port = String::new();
        answers.read_line(&mut port).expect("it names its port");
        let poller = Poller::new().expect("a poller");
        let mut streams = Vec::new();
        for key in 0..clients {
            let address = format!("127.0.0.1:{}", port.trim());
            let stream = TcpStream::connect(address).expect("it accepts");
            stream
                .set_nonblocking(true)
                .expect("a socket can be nonblocking");
            watch(&poller, &stream, key);
            streams.push(stream);
            // A hundred or so may wait to be accepted.
            if key % 50 == 49 {
                std::thread::park_timeout(Duration::from_millis(20));
            }
        }
        let mut crowd = Crowd {
            child,
            commands,
            answers,
            streams,
            poller,
        };
        crowd.quiet();
        crowd
    }

    /// Reads until nothing has come for a while: the snapshots.
    fn quiet(&mut self) {
        let mut events = Events::new();
        let mut buffer = vec![0; 256 * 1024];
        loop {
            events.clear();
            let patience = Some(Duration::from_millis(1_500));
            if self
                .poller
                .wait(&mut events, patience)
                .expect("a poller waits")
                == 0
            {
                return;
            }
            for event in events.iter() {
                match (&self.streams[event.key]).read(&mut buffer) {
                    Ok(0) => panic!("client {} was dropped", event.key),
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    /// From the child's word that it begins to the last byte at the last client: preparations do not count, the hub's
    /// own encoding does.
    fn time(&mut self, command: &str) -> Duration {
        writeln!(self.commands, "{command}").expect("the child listens");
        let mut line = String::new();
        self.answers
            .read_line(&mut line)
            .expect("the child answers");
        let started = Instant::now();
        let each: usize = line.trim().parse().expect("a number of bytes");
        let mut left = vec![each; self.streams.len()];
        let mut waiting = self.streams.len();
        let (mut events, mut buffer) = (Events::new(), vec![0; 64 * 1024]);
        while waiting > 0 {
            events.clear();
            let patience = Some(Duration::from_secs(20));
            let ready = self
                .poller
                .wait(&mut events, patience)
                .expect("a poller waits");
            assert!(
                ready > 0,
                "{waiting} clients wait for the rest of {each} bytes"
            );
            for event in events.iter() {
                match (&self.streams[event.key]).read(&mut buffer) {
                    Ok(0) => panic!("client {} was dropped", event.key),
                    Ok(length) => {
                        let before = left[event.key];
                        left[event.key] = before.saturating_sub(length);
                        waiting -= usize::from(before > 0 && left[event.key] == 0);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
        started.elapsed()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As the daemon's own sockets are.
fn tune(stream: &TcpStream) {
    stream
        .set_nonblocking(true)
        .expect("a socket can be nonblocking");
    stream
        .set_nodelay(true)
        .expect("a socket can go without delay");
}

/// Every caller keeps the poller beside its sockets, and drops both together or deletes a socket before it drops it.
fn watch(poller: &Poller, socket: &impl AsRawFd, key: usize) {
    // SAFETY: the socket outlives its place in the poller, as said above.
    unsafe {
        poller.add_with_mode(
            socket.as_raw_fd(),
            Readiness::readable(key),
            PollMode::Level,
        )
    }
    .expect("a socket can be polled");
}

fn fan_out(clients: usize, samples: usize) {
    let mut crowd = Crowd::gather(clients);
    let (mut hub, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..samples {
        hub.push(crowd.time("hub"));
        bare.push(crowd.time("bare"));
        crowd.quiet();
    }
    let (hub, bare) = (quantile(&mut hub, 50), quantile(&mut bare, 50));
    println!(
        "fan-out of a bet to {clients:>5} clients: hub {hub:.1?}, bare writes {bare:.1?}, ratio {:.2} (target at 10,000: at most 1.3)",
        hub.as_secs_f64() / bare.as_secs_f64()
    );
}

/// 64 keep-alive connections, each asking as soon as it is answered; answers, and how long it took.
fn ask(address: &str, duration: Duration) -> (u64, Duration) {
    let (stop, answers) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let clients: Vec<_> = (0..64)
        .map(|_| {
            let (address, stop, answers) = (address.to_owned(), stop.clone(), answers.clone());
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(address).expect("it accepts");
                stream
                    .set_nodelay(true)
                    .expect("a socket can go without delay");
                let mut buffer = [0; 4096];
                while !stop.load(Ordering::Relaxed) {
                    let request = b"GET /api/round/status HTTP/1.1\r\nHost: x\r\n\r\n";
                    stream.write_all(request).expect("a request is taken");
                    // An answer is smaller than the buffer and comes in one piece on loopback.
                    if stream.read(&mut buffer).expect("an answer comes") == 0 {
                        break;
                    }
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let started = Instant::now();
    std::thread::park_timeout(duration);
    stop.store(true, Ordering::Relaxed);
    let taken = (answers.load(Ordering::Relaxed), started.elapsed());
    clients
        .into_iter()
        .for_each(|client| client.join().expect("a client ends"));
    taken
}

/// Answers a second.
fn rate(address: &str, duration: Duration) -> f64 {
    let (answers, took) = ask(address, duration);
    answers as f64 / took.as_secs_f64()
}

fn requests(duration: Duration) {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = Daemon::quiet(&lottery, Options::default());
    let address = daemon.url.trim_start_matches("http://").to_owned();
    let answer = one_answer(&address);
    let plain = plain_server(answer.clone());
    let tiny = tiny_http_server(answer);
    // In turns, so that the machine's moods meet them all alike.
    let (mut ours, mut plains, mut tinies) = (Vec::new(), Vec::new(), Vec::new());
    let mut costs_us = Vec::new();
    for _ in 0..3 {
        let ticks = daemon.cpu_ticks();
        let (answers, took) = ask(&address, duration);
        ours.push(answers as f64 / took.as_secs_f64());
        costs_us.push((daemon.cpu_ticks() - ticks) as f64 * TICK_US / answers as f64);
        plains.push(rate(&plain, duration));
        tinies.push(rate(&tiny, duration));
    }
    let median = |rates: &mut Vec<f64>| {
        rates.sort_unstable_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let (ours, plain, tiny) = (median(&mut ours), median(&mut plains), median(&mut tinies));
    let cost_us = median(&mut costs_us);
    println!(
        "GET /api/round/status: {ours:.0} a second, each {cost_us:.2} µs of the daemon's processor time; a plain server {plain:.0}, ratio {:.2} (target: at least 0.8); tiny_http's own {tiny:.0}, ratio {:.2}",
        ours / plain,
        ours / tiny
    );
}

fn one_answer(address: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("it accepts");
    let request = b"GET /api/round/status HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(request).expect("a request is taken");
    let mut buffer = vec![0; 4096];
    let length = stream.read(&mut buffer).expect("an answer comes");
    buffer.truncate(length);
    buffer
}

/// The fastest that polling and httparse make: one thread, every answer the same bytes.
fn plain_server(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener
        .set_nonblocking(true)
        .expect("a socket can be nonblocking");
    let address = listener.local_addr().expect("it listens").to_string();
    std::thread::spawn(move || {
        const LISTENER: usize = usize::MAX - 1;
        let poller = Poller::new().expect("a poller");
        watch(&poller, &listener, LISTENER);
        let mut clients: HashMap<usize, TcpStream> = HashMap::new();
        let (mut events, mut next, mut buffer) = (Events::new(), 0, [0; 4096]);
        loop {
            events.clear();
            poller.wait(&mut events, None).expect("a poller waits");
            for event in events.iter() {
                if event.key == LISTENER {
                    while let Ok((stream, _)) = listener.accept() {
                        tune(&stream);
                        watch(&poller, &stream, next);
                        clients.insert(next, stream);
                        next += 1;
                    }
                    continue;
                }
                let Some(mut stream) = clients.get(&event.key) else {
                    continue;
                };
                let length = stream.read(&mut buffer).unwrap_or(0);
                let mut headers = [httparse::EMPTY_HEADER; 16];
                let mut request = httparse::Request::new(&mut headers);
                let whole = request.parse(&buffer[..length]);
                if length == 0 || !matches!(whole, Ok(httparse::Status::Complete(_))) {
                    if let Some(stream) = clients.remove(&event.key) {
                        let _ = poller.delete(&stream);
                    }
                    continue;
                }
                let _ = stream.write_all(&answer);
            }
        }
    });
    address
}

fn tiny_http_server(answer: Vec<u8>) -> String {
    let server = Arc::new(tiny_http::Server::http("127.0.0.1:0").expect("a port is free"));
    let address = server
        .server_addr()
        .to_ip()
        .expect("it is an IP socket")
        .to_string();
    let body_at = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map_or(0, |at| at + 4);
    let body = answer[body_at..].to_vec();
    for _ in 0..4 {
        let (server, body) = (server.clone(), body.clone());
        std::thread::spawn(move || {
            while let Ok(request) = server.recv() {
                let _ = request.respond(tiny_http::Response::from_data(body.clone()));
            }
        });
    }
    address
}

/// The API's latency while an attack goes on, and what becomes of a draw in the middle of it.
fn under_attack(assault: &assault::Assault, smoke: bool) {
    let samples = if smoke { 50 } else { 400 };
    let patience = Duration::from_secs(if smoke { 0 } else { 60 });
    let chain = Chain::devchain(2);
    let (lottery, daemon) = assault.prepare(&chain);
    assert_eq!(daemon.get("/").0, 200);
    let quiet_kib = daemon.allocated_kib();
    let ongoing = assault.begin(&daemon, &lottery);
    lottery.skip_to(lottery.round().min_draw_time - 6);
    let mut latencies: Vec<Duration> = (0..samples)
        .map(|_| {
            let started = Instant::now();
            assert_eq!(daemon.get("/api/round/status").0, 200);
            let took = started.elapsed();
            std::thread::park_timeout(Duration::from_millis(5));
            took
        })
        .collect();
    wait_for("the draw", || lottery.winner_of(1));
    let late = lottery.blocks_late(&lottery.logs("RoundCompleted")[0]);
    let resident_mib = daemon.resident_kib() / 1_024;
    drop(ongoing);
    let over = Instant::now();
    let kept_kib = || daemon.allocated_kib().saturating_sub(quiet_kib);
    while over.elapsed() < patience && kept_kib() > 2 * 1_024 {
        std::thread::park_timeout(Duration::from_millis(500));
    }
    println!(
        "under attack, {:>43}: a new connection is answered in {:.1?}, p95 {:.1?} (target: 50 ms); {resident_mib} MiB resident, \
         {} KiB of them kept after {:.0?}; draw {late} blocks late",
        assault.name,
        quantile(&mut latencies, 50),
        quantile(&mut latencies, 95),
        kept_kib(),
        over.elapsed(),
    );
}
