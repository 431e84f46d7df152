//! The private port (`server.metrics_listen`): metrics, probes and the read-only API for those who run the daemon,
//! served by a plain tiny_http, which is not made to face the public.
//!
//! One thread answers. What could hold it up is kept from it: a client that does not read is given up after a moment,
//! and a request whose body was not read yet is parked, because tiny_http would wait for that body (and allocate as much
//! as its length claims) when the request is dropped.

use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tiny_http::{HTTPVersion, Request as Incoming, Response, Server, StatusCode};

use crate::base::shutdown::Shutdown;
use crate::base::thread::Beat;
use crate::web::gate::Handler;
use crate::web::http::{encode, Reply, Request};
use crate::web::query::percent_decode;

const TURN: Duration = Duration::from_millis(100);
const REOPEN_EVERY: Duration = Duration::from_secs(1);
/// How long one write may wait for a client, and how long a whole answer may take.
const WRITE_TIMEOUT: Duration = Duration::from_millis(100);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// tiny_http has read shorter bodies before it hands a request out.
const BODY_READ_BYTES: usize = 1024;
/// Parked requests: each costs a socket and a sleeping thread until the daemon ends. So many are no mistake but an
/// attack, and close the port.
const PARKED_MAX: usize = 64;

pub fn bind(listen: SocketAddr) -> Result<Server, String> {
    let cannot = |error: &dyn std::fmt::Display| format!("server.metrics_listen {listen}: {error}");
    let listener = TcpListener::bind(listen).map_err(|error| cannot(&error))?;
    // Accepted sockets inherit it.
    SockRef::from(&listener)
        .set_write_timeout(Some(WRITE_TIMEOUT))
        .map_err(|error| cannot(&error))?;
    Server::from_listener(listener, None).map_err(|error| cannot(&error))
}

/// The thread's body.
pub fn serve(
    server: &Server,
    handler: &Handler,
    shutdown: &Shutdown,
    beat: &Beat,
) -> Result<(), String> {
    // One refused accept() ends tiny_http's loop for good: a new server then takes the address over.
    let mut successor: Option<Server> = None;
    let mut parked = 0;
    while !shutdown.is_tripped() {
        beat.turn();
        match successor.as_ref().unwrap_or(server).recv_timeout(TURN) {
            Ok(None) => {}
            Ok(Some(incoming)) if may_wait_for_body(&incoming) => {
                park(incoming);
                parked += 1;
                if parked == PARKED_MAX {
                    log::error!("private port: {parked} requests came with a body, which this port never takes: it closes");
                    return Ok(());
                }
            }
            Ok(Some(incoming)) => answer(incoming, handler, shutdown),
            Err(error) => {
                log::error!("private port: {error}: it is opened anew");
                successor = None;
                while successor.is_none() && !shutdown.wait_timeout(REOPEN_EVERY) {
                    beat.turn();
                    successor = reopen(server);
                }
            }
        }
    }
    Ok(())
}

fn reopen(server: &Server) -> Option<Server> {
    let listen = server.server_addr().to_ip()?;
    bind(listen)
        .map_err(|error| log::error!("private port: {error}"))
        .ok()
}

fn answer(incoming: Incoming, handler: &Handler, shutdown: &Shutdown) {
    let peer = incoming
        .remote_addr()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), SocketAddr::ip);
    let request = translate(&incoming, peer);
    let reply = catch_unwind(AssertUnwindSafe(|| handler(&request))).unwrap_or_else(|_| {
        log::error!(
            "private port: answering {} {} panicked",
            request.method,
            request.path
        );
        Reply {
            status: 500,
            headers: Vec::new(),
            body: [].into(),
            is_of_snapshot: false,
        }
    });
    let bytes = encode(&reply, keeps_alive(&incoming), request.method == "HEAD");
    if let Err(error) = write_all(incoming.into_writer(), &bytes, shutdown) {
        log::debug!("private port: {error}");
    }
}

fn translate(incoming: &Incoming, peer: IpAddr) -> Request {
    let (path, query) = match incoming.url().split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (incoming.url(), None),
    };
    let headers = incoming.headers().iter().map(|header| {
        (
            header.field.as_str().as_str().to_lowercase(),
            header.value.to_string(),
        )
    });
    Request {
        method: incoming.method().to_string(),
        path: percent_decode(path).unwrap_or_default(),
        query,
        headers: headers.collect(),
        body: Vec::new(),
        peer,
    }
}

/// tiny_http closes the connection after these by itself; here the client is told.
fn keeps_alive(incoming: &Incoming) -> bool {
    let connection = header(incoming, "Connection").map(|value| value.to_ascii_lowercase());
    match connection {
        Some(connection) if connection.contains("close") || connection.contains("upgrade") => false,
        Some(connection) if connection.contains("keep-alive") => true,
        _ => *incoming.http_version() >= HTTPVersion(1, 1),
    }
}

fn header<'a>(incoming: &'a Incoming, name: &'static str) -> Option<&'a str> {
    let mut headers = incoming.headers().iter();
    headers
        .find(|header| header.field.equiv(name))
        .map(|header| header.value.as_str())
}

fn may_wait_for_body(incoming: &Incoming) -> bool {
    let length = incoming.body_length().unwrap_or(0);
    length > BODY_READ_BYTES || (length > 0 && header(incoming, "Expect").is_some())
}

/// Answers and then keeps the request for ever: dropping it would wait for the body that it announced.
fn park(incoming: Incoming) {
    let response = Response::empty(StatusCode(413));
    // The only call that hands out reader and writer together, and so does not drop the reader.
    std::mem::forget(incoming.upgrade("none", response));
}

/// Each write ends after a moment at most, so that neither a client that reads slowly nor one that reads nothing holds up
/// the next one, or the end.
fn write_all(
    mut writer: Box<dyn Write + Send>,
    mut bytes: &[u8],
    shutdown: &Shutdown,
) -> std::io::Result<()> {
    let until = Instant::now() + ANSWER_TIMEOUT;
    while !bytes.is_empty() {
        if Instant::now() >= until || shutdown.is_tripped() {
            return Err(ErrorKind::TimedOut.into());
        }
        match writer.write(bytes)? {
            0 => return Err(ErrorKind::WriteZero.into()),
            written => bytes = &bytes[written..],
        }
    }
    writer.flush()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpStream;
    use std::sync::Arc;

    use super::*;
    use crate::base::clock::Clock;
    use crate::base::shutdown::StopReason;
    use crate::base::thread::{spawn_supervised, Health, OnFailure, Running};
    use crate::web::fixture::{self, Fixture};

    struct Port {
        address: SocketAddr,
        shutdown: Shutdown,
        health: Health,
        thread: Option<Running>,
    }

    impl Port {
        fn open() -> Port {
            let (health, shutdown) = (Health::default(), Shutdown::new());
            let server = bind(([127, 0, 0, 1], 0).into()).unwrap();
            let address = server.server_addr().to_ip().unwrap();
            let fixture = Fixture::new(fixture::snapshot());
            let handler: Arc<Handler> = Arc::new(move |request| match request.path.as_str() {
                "/panic" => panic!("asked for"),
                "/long" => Reply {
                    status: 200,
                    headers: Vec::new(),
                    body: vec![b'x'; 16 << 20].into(),
                    is_of_snapshot: false,
                },
                _ => fixture.api.handle_private(request),
            });
            let stop = shutdown.clone();
            let body = move |beat: &Beat| serve(&server, &*handler, &stop, beat);
            let thread = spawn_supervised(
                "private-port",
                &Clock::system(),
                &health,
                &shutdown,
                OnFailure::Restart,
                body,
            );
            Port {
                address,
                shutdown,
                health,
                thread: Some(thread.unwrap()),
            }
        }

        fn connect(&self, bytes: &str) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            stream.write_all(bytes.as_bytes()).unwrap();
            stream
        }

        fn ask(&self, request_line: &str) -> String {
            let mut stream = self.connect(&format!(
                "{request_line}\r\nHost: x\r\nConnection: close\r\n\r\n"
            ));
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        }
    }

    impl Drop for Port {
        fn drop(&mut self) {
            self.shutdown.trip(StopReason::Requested);
            let begun = Instant::now();
            let thread = self.thread.take().unwrap();
            assert!(thread.join(Duration::from_secs(10)));
            let took = begun.elapsed();
            assert!(took < Duration::from_millis(300), "{took:?}");
        }
    }

    #[test]
    fn it_serves_metrics_and_reads_and_refuses_the_rest() {
        let port = Port::open();
        for (request_line, status, part) in [
            ("GET /metrics HTTP/1.1", "200", "lottery_build_info{"),
            ("GET /healthz HTTP/1.1", "200", "\"status\":\"ok\""),
            (
                "GET /api/round/status?x=1 HTTP/1.1",
                "400",
                "x is not known",
            ),
            ("GET /api/history/%36 HTTP/1.0", "200", "\"roundId\":6"),
            ("HEAD /api/status HTTP/1.1", "200", "Connection: close"),
            ("POST /api/round/draw HTTP/1.1", "403", "read_only"),
            ("GET /panic HTTP/1.1", "500", ""),
            (
                "GET /metrics HTTP/1.1",
                "200",
                "lottery_chain_head_block 1000",
            ),
        ] {
            let answer = port.ask(request_line);
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{request_line}: {answer}"
            );
            assert!(answer.contains(part), "{request_line}: {answer}");
        }
        assert_eq!(port.health.components()[0].restarts_total, 0);
    }

    #[test]
    fn several_requests_share_a_connection() {
        let port = Port::open();
        let one = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
        let last = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let mut text = String::new();
        let mut stream = port.connect(&format!("{one}{one}{last}"));
        stream.read_to_string(&mut text).unwrap();
        assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 3, "{text}");
    }

    #[test]
    fn clients_that_do_not_read_hold_up_nothing_for_long() {
        let port = Port::open();
        let deaf: Vec<_> = (0..3)
            .map(|_| port.connect("GET /long HTTP/1.1\r\nHost: x\r\n\r\n"))
            .collect();
        let begun = Instant::now();
        assert!(port
            .ask("GET /healthz HTTP/1.1")
            .starts_with("HTTP/1.1 200"));
        assert!(begun.elapsed() < Duration::from_secs(4));
        drop(deaf);
    }

    #[test]
    fn announced_bodies_are_never_waited_for() {
        let port = Port::open();
        for length in ["5000", "9000000000000000000"] {
            let head =
                format!("POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
            let mut stream = port.connect(&head);
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 413", "{length}");
        }
        assert!(port
            .ask("GET /healthz HTTP/1.1")
            .starts_with("HTTP/1.1 200"));
    }

    #[test]
    fn too_many_announced_bodies_close_the_port() {
        let port = Port::open();
        let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n";
        let _kept: Vec<_> = (0..PARKED_MAX)
            .map(|_| {
                let mut stream = port.connect(head);
                stream.read_exact(&mut [0; 12]).unwrap();
                stream
            })
            .collect();
        let until = Instant::now() + Duration::from_secs(5);
        while port.health.components()[0].running && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        assert!(!port.health.components()[0].running);
    }
}
