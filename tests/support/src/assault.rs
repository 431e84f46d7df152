//! Attacks on the public port, as a crowd or a single rude client would lead them. Each goes on for as long as what
//! `begin` hands back lives.

use std::any::Any;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;

use crate::chain::{wait_for, Chain, Lottery, Timing};
use crate::daemon::{Daemon, Options};
use crate::frames::{frame, handshake};
use crate::random::Random;
use crate::BET_WEI;

pub struct Assault {
    pub name: &'static str,
    /// The daemon may open only so many descriptors.
    files_max: Option<u64>,
    /// What it may keep resident.
    pub memory_max_mib: u64,
    /// Bets that its clients have to be told of meanwhile, and that the round and the live feed keep.
    pub bets: u64,
    /// So many connections, where the attack leaves it open.
    crowd: usize,
    begin: fn(&Target, usize) -> Box<dyn Any>,
}

impl Assault {
    /// What it is led against: a ready daemon, with two bets in a round that is far from its draw.
    pub fn prepare<'a>(&self, chain: &'a Chain) -> (Lottery<'a>, Daemon) {
        let lottery = chain.deploy(Timing {
            betting: 1_000,
            ..Timing::default()
        });
        let daemon = Daemon::quiet(
            &lottery,
            Options {
                config: json!({"server": {"metrics_listen": "127.0.0.1:0"}}),
                files_max: self.files_max,
                ..Options::default()
            },
        );
        lottery.bet(2, BET_WEI);
        lottery.bet(3, BET_WEI);
        (lottery, daemon)
    }

    /// Goes on until what this hands back is dropped; its bets are in blocks by then.
    pub fn begin(&self, daemon: &Daemon, lottery: &Lottery) -> Box<dyn Any> {
        let ongoing = (self.begin)(&Target::of(daemon), self.crowd);
        many_bets(lottery, self.bets);
        ongoing
    }
}

/// host:port of both ports.
struct Target {
    public: String,
    private: String,
}

impl Target {
    fn of(daemon: &Daemon) -> Target {
        Target {
            public: daemon.url.trim_start_matches("http://").to_owned(),
            private: daemon.private_address(),
        }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.public).expect("the public port accepts")
    }
}

pub fn all(websockets: usize) -> Vec<Assault> {
    let crowd = if websockets < 10_000 { 2_000 } else { 11_500 };
    let usual = |name, begin| Assault {
        name,
        files_max: None,
        memory_max_mib: 64,
        bets: 0,
        crowd,
        begin,
    };
    vec![
        usual("2,000 idle connections", idle),
        Assault {
            crowd: 500,
            ..usual("500 clients that send a byte a second", slow)
        },
        usual("an endless header", endless),
        usual("100 clients that pipeline and never read", deaf),
        Assault {
            files_max: Some(256),
            ..usual("300 connections on 256 descriptors", crowded)
        },
        Assault {
            bets: 6_000,
            ..usual("50 WebSocket clients that never read", stalled)
        },
        match websockets {
            10_000.. => Assault {
                memory_max_mib: 128,
                ..usual("10,000 WebSocket clients", ten_thousand)
            },
            _ => usual("1,000 WebSocket clients", thousand),
        },
        usual("20 WebSocket clients that never stop sending", flood),
        usual("random bytes on both ports", noise),
        usual("a crowd whose bodies do not end", bodies),
        usual("a crowd whose heads do not end", heads),
        usual("a crowd that sends a byte a second", slow),
        usual("a crowd that pipelines garbage", garbage),
        usual("a crowd out of one /64 of IPv6", network),
        usual("256 clients that ask for what is not ready", varied),
        usual("five clients that fill the line of requests", ahead),
        Assault {
            // Every answer to one of them is a few packed lists on its way.
            memory_max_mib: if crowd < 10_000 { 64 } else { 128 },
            bets: 1_500,
            ..usual("a herd of pages after a round of 1,500 bets", herd)
        },
    ]
}

/// By few players, many of them in a block.
fn many_bets(lottery: &Lottery, bets: u64) {
    let total_wei = lottery.round().total_pot_wei + bets * BET_WEI;
    let bets =
        (0..bets).map(|bet| lottery.transaction(2 + bet as usize % 4, "placeBet", &[], BET_WEI));
    bets.for_each(|bet| drop(lottery.chain.submit(&bet)));
    wait_for("the bets in blocks", || {
        (lottery.round().total_pot_wei == total_wei).then_some(())
    });
}

/// This process needs as many descriptors as the attacks take.
pub fn raise_descriptor_limit() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls only read or write the struct, which outlives them.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
}

/// A thread that goes on with its attack until it is dropped.
struct Ongoing {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ongoing {
    /// `again` is called over and over, with a pause in between.
    fn every(pause: Duration, mut again: impl FnMut() + Send + 'static) -> Ongoing {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                again();
                std::thread::park_timeout(pause);
            }
        });
        Ongoing {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn idle(target: &Target, _: usize) -> Box<dyn Any> {
    Box::new((0..2_000).map(|_| target.connect()).collect::<Vec<_>>())
}

fn slow(target: &Target, crowd: usize) -> Box<dyn Any> {
    let mut streams: Vec<TcpStream> = (0..crowd).map(|_| target.connect()).collect();
    let address = target.public.clone();
    let bytes = b"GET /api/status HTTP/1.1\r\nHost: example.org\r\nUser-Agent: slow\r\n".iter();
    let mut bytes = bytes.cycle();
    Box::new(Ongoing::every(Duration::from_secs(1), move || {
        let byte = [*bytes.next().expect("a cycle has no end")];
        for stream in &mut streams {
            if stream.write_all(&byte).is_err() {
                // Thrown out: it comes back.
                if let Ok(again) = TcpStream::connect(&address) {
                    *stream = again;
                }
            }
        }
    }))
}

/// Each has sent most of the body that it announced.
fn bodies(target: &Target, crowd: usize) -> Box<dyn Any> {
    let head = "POST /api/round/draw HTTP/1.1\r\nHost: x\r\nContent-Length: 65000\r\n\r\n";
    let small = "POST /api/round/draw HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n";
    held(
        target,
        crowd,
        &[
            &[head, &"x".repeat(64_000)].concat(),
            &[small, &"x".repeat(999)].concat(),
        ],
    )
}

/// Each has sent as much of a head as it may.
fn heads(target: &Target, crowd: usize) -> Box<dyn Any> {
    let head = "GET / HTTP/1.1\r\nHost: x\r\nCookie: ";
    held(target, crowd, &[&[head, &"x".repeat(32_000)].concat()])
}

/// A good request, a broken one, and what nobody reads behind it.
fn garbage(target: &Target, crowd: usize) -> Box<dyn Any> {
    let good = "GET /api/status HTTP/1.1\r\nHost: x\r\n\r\n";
    let bytes = [
        good,
        good,
        "\u{1}\u{2} / \r\n\r\n",
        &"garbage\r\n".repeat(5_000),
    ]
    .concat();
    let (address, mut left) = (target.public.clone(), crowd);
    Box::new(Ongoing::every(Duration::from_millis(1), move || {
        let Some(fewer) = left.checked_sub(1) else {
            return;
        };
        left = fewer;
        if let Ok(mut stream) = TcpStream::connect(&address) {
            let _ = stream.write_all(bytes.as_bytes());
        }
    }))
}

/// They come through a proxy, as clients of one household or one tenant might, and want to follow the feed.
fn network(target: &Target, crowd: usize) -> Box<dyn Any> {
    let mut random = Random::new(64);
    let streams = (0..crowd).map(|_| {
        let mut stream = target.connect();
        let host = random.bytes(8);
        let parts = host
            .chunks(2)
            .map(|pair| format!("{:02x}{:02x}", pair[0], pair[1]));
        let forwarded = format!(
            "X-Forwarded-For: 2001:db8:0:7:{}\r\n\r\n",
            parts.collect::<Vec<_>>().join(":")
        );
        let request = handshake(None).replacen("\r\n\r\n", &format!("\r\n{forwarded}"), 1);
        let _ = stream.write_all(request.as_bytes());
        stream
    });
    Box::new(streams.collect::<Vec<_>>())
}

/// No answer to one of them serves another, and some take time to make.
fn varied(target: &Target, _: usize) -> Box<dyn Any> {
    let mut streams: Vec<TcpStream> = (0..256).map(|_| asking(target)).collect();
    let address = target.public.clone();
    let (mut buffer, mut number) = (vec![0; 64 * 1024], 0_u64);
    Box::new(Ongoing::every(Duration::from_millis(1), move || {
        for stream in &mut streams {
            let is_open = match stream.read(&mut buffer) {
                Ok(length) => length > 0,
                Err(error) => error.kind() == ErrorKind::WouldBlock,
            };
            number += 1;
            let path = match number % 4 {
                0 => format!("/?page={number}"),
                1 => format!("/bet.svg?amountWei={number}"),
                2 => format!("/api/history?before={number}&limit=20"),
                _ => format!("/api/round/participants?limit=1000&offset={number}"),
            };
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n");
            if !is_open
                || matches!(stream.write_all(request.as_bytes()), Err(error) if error.kind() != ErrorKind::WouldBlock)
            {
                if let Ok(again) = TcpStream::connect(&address) {
                    let _ = again.set_nonblocking(true);
                    *stream = again;
                }
            }
        }
    }))
}

/// Pages that are opened one after the other, as fast as can be: as browsers do, each asks for the page, for the round and
/// for the feed on connections of their own.
fn herd(target: &Target, crowd: usize) -> Box<dyn Any> {
    let address = target.public.clone();
    let mut streams = VecDeque::new();
    let mut buffer = vec![0; 256 * 1024];
    let requests = [
        "GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n".to_owned(),
        "GET /api/history/1 HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n".to_owned(),
        handshake(Some("permessage-deflate")),
    ];
    Box::new(Ongoing::every(Duration::from_millis(10), move || {
        for request in requests.iter().cycle().take(60) {
            let Ok(mut stream) = TcpStream::connect(&address) else {
                continue;
            };
            let _ = stream.write_all(request.as_bytes());
            let _ = stream.set_nonblocking(true);
            streams.push_back(stream);
        }
        while streams.len() > crowd.min(10_000) {
            streams.pop_front();
        }
        for stream in &mut streams {
            while matches!(stream.read(&mut buffer), Ok(length) if length > 0) {}
        }
    }))
}

/// Five clients of one proxy, each on hundreds of connections that send requests ahead: no answer serves another, and more
/// wait for the workers than have room.
fn ahead(target: &Target, crowd: usize) -> Box<dyn Any> {
    let mut streams: Vec<TcpStream> = (0..crowd.min(2_000)).map(|_| asking(target)).collect();
    let address = target.public.clone();
    let requests: Vec<String> = (1..=5)
        .map(|client| {
            let request = format!(
                "GET /api/status HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.{client}\r\n\r\n"
            );
            request.repeat(20)
        })
        .collect();
    let mut buffer = vec![0; 64 * 1024];
    Box::new(Ongoing::every(Duration::from_millis(1), move || {
        for (index, stream) in streams.iter_mut().enumerate() {
            let is_open = match stream.read(&mut buffer) {
                Ok(length) => length > 0,
                Err(error) => error.kind() == ErrorKind::WouldBlock,
            };
            let _ = stream.write(requests[index % requests.len()].as_bytes());
            if !is_open {
                if let Ok(again) = TcpStream::connect(&address) {
                    let _ = again.set_nonblocking(true);
                    *stream = again;
                }
            }
        }
    }))
}

/// A connection that asks and never waits.
fn asking(target: &Target) -> TcpStream {
    let stream = target.connect();
    stream
        .set_nonblocking(true)
        .expect("a socket can be nonblocking");
    stream
}

/// Connections that have sent these texts in turn, as far as they were taken at once, and wait.
fn held(target: &Target, crowd: usize, texts: &[&str]) -> Box<dyn Any> {
    let streams = (0..crowd).map(|index| {
        let mut stream = asking(target);
        let _ = stream.write(texts[index % texts.len()].as_bytes());
        stream
    });
    Box::new(streams.collect::<Vec<_>>())
}

fn endless(target: &Target, _: usize) -> Box<dyn Any> {
    let address = target.public.clone();
    Box::new(Ongoing::every(Duration::from_millis(1), move || {
        let Ok(mut stream) = TcpStream::connect(&address) else {
            return;
        };
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nA: ");
        while stream.write_all(&[b'a'; 4_096]).is_ok() {}
    }))
}

fn deaf(target: &Target, _: usize) -> Box<dyn Any> {
    let requests = "GET /api/status HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2_000);
    let streams = (0..100).map(|_| {
        let mut stream = asking(target);
        // As much as the buffers of both sides hold.
        let _ = stream.write(requests.as_bytes());
        stream
    });
    Box::new(streams.collect::<Vec<_>>())
}

fn crowded(target: &Target, _: usize) -> Box<dyn Any> {
    Box::new((0..300).map(|_| target.connect()).collect::<Vec<_>>())
}

fn stalled(target: &Target, _: usize) -> Box<dyn Any> {
    let streams: Vec<TcpStream> = (0..50).map(|_| websocket(target)).collect();
    Box::new(streams)
}

fn thousand(target: &Target, _: usize) -> Box<dyn Any> {
    Box::new(reading(target, 1_000))
}

fn ten_thousand(target: &Target, _: usize) -> Box<dyn Any> {
    Box::new(reading(target, 10_000))
}

/// So many WebSocket clients that take what they are sent.
fn reading(target: &Target, clients: usize) -> Ongoing {
    let mut streams: Vec<TcpStream> = (0..clients).map(|_| websocket(target)).collect();
    for stream in &streams {
        stream
            .set_nonblocking(true)
            .expect("a socket can be nonblocking");
    }
    let mut buffer = vec![0; 64 * 1024];
    Ongoing::every(Duration::from_millis(100), move || {
        for stream in &mut streams {
            while matches!(stream.read(&mut buffer), Ok(length) if length > 0) {}
        }
    })
}

/// A WebSocket behind its handshake; nothing more is read of it.
fn websocket(target: &Target) -> TcpStream {
    let mut stream = target.connect();
    stream
        .write_all(handshake(None).as_bytes())
        .expect("a handshake is taken");
    let mut status = [0; 12];
    stream
        .read_exact(&mut status)
        .expect("a handshake is answered");
    assert_eq!(&status, b"HTTP/1.1 101");
    stream
}

fn flood(target: &Target, _: usize) -> Box<dyn Any> {
    let frames = frame(0x81, b"rude").repeat(6_400);
    let floods = (0..20).map(|_| {
        let address = target.public.clone();
        let frames = frames.clone();
        Ongoing::every(Duration::from_millis(1), move || {
            let Ok(mut stream) = TcpStream::connect(&address) else {
                return;
            };
            let _ = stream.write_all(handshake(None).as_bytes());
            while stream.write_all(&frames).is_ok() {}
        })
    });
    Box::new(floods.collect::<Vec<_>>())
}

fn noise(target: &Target, _: usize) -> Box<dyn Any> {
    let addresses = [target.public.clone(), target.private.clone()];
    let mut random = Random::new(7);
    Box::new(Ongoing::every(Duration::from_millis(2), move || {
        for address in &addresses {
            let length = random.index(3_000);
            let bytes = random.bytes(length);
            let Ok(mut stream) = TcpStream::connect(address) else {
                continue;
            };
            match stream.write_all(&bytes) {
                Err(error) if error.kind() == ErrorKind::InvalidInput => panic!("{error}"),
                _ => drop(stream.shutdown(Shutdown::Write)),
            }
        }
    }))
}
