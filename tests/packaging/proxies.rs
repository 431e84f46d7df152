//! The configurations for nginx and Caddy as they are packaged, in front of a real daemon: TLS, the page, the feed, and the
//! limits on what visitors may send. What a test cannot have is put in place of what stands there: ports, a name and a
//! certificate.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::chain::{wait_for, Chain, Timing};
use support::daemon::{Daemon, Options};
use support::programs::{self, free_port};
use tempfile::TempDir;

use crate::{here, said};

/// The limits of 10 and 15 s, shortened so that a test may wait for them.
const LIMIT_SECS: u64 = 2;
const UPGRADE: &str =
    "GET /ws/lottery HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A proxy with the packaged configuration in front of a daemon.
struct Proxy {
    dir: TempDir,
    plain: u16,
    tls: u16,
    _running: Running,
    _daemon: Daemon,
}

/// The configuration with what a test has; what is put in place has to be there.
fn with(mut config: String, places: &[(&str, String)]) -> String {
    for (packaged, here) in places {
        assert!(config.contains(packaged), "{packaged} is not in\n{config}");
        config = config.replace(packaged, here);
    }
    config
}

fn packaged(name: &str) -> String {
    std::fs::read_to_string(here().join("proxy").join(name)).unwrap()
}

fn nginx(dir: &Path, plain: u16, tls: u16, upstream: &str) -> Command {
    let place = dir.display();
    let config = with(
        packaged("nginx.conf"),
        &[
            ("    listen [::]:80;\n", String::new()),
            ("    listen [::]:443 ssl http2;\n", String::new()),
            ("listen 80;", format!("listen 127.0.0.1:{plain};")),
            ("listen 443 ssl", format!("listen 127.0.0.1:{tls} ssl")),
            ("127.0.0.1:6080", upstream.to_owned()),
            (
                "/etc/letsencrypt/live/lottery.example/fullchain.pem",
                format!("{place}/cert.pem"),
            ),
            (
                "/etc/letsencrypt/live/lottery.example/privkey.pem",
                format!("{place}/key.pem"),
            ),
            ("lottery.example", "localhost".to_owned()),
            ("timeout 10s;", format!("timeout {LIMIT_SECS}s;")),
            ("timeout 15s;", format!("timeout {LIMIT_SECS}s;")),
        ],
    );
    // Around it stands what Debian's nginx.conf has there.
    programs::nginx(dir, &config)
}

fn caddy(dir: &Path, plain: u16, tls: u16, upstream: &str) -> Command {
    let place = dir.display();
    let ports = format!("{{\n\tadmin off\n\thttp_port {plain}\n\thttps_port {tls}\n\tservers {{");
    let site = format!("localhost {{\n\ttls {place}/cert.pem {place}/key.pem");
    let config = with(
        packaged("Caddyfile"),
        &[
            ("{\n\tservers {", ports),
            ("lottery.example {", site),
            ("127.0.0.1:6080", upstream.to_owned()),
            ("read_header 10s", format!("read_header {LIMIT_SECS}s")),
            ("read_body 10s", format!("read_body {LIMIT_SECS}s")),
            ("idle 15s", format!("idle {LIMIT_SECS}s")),
        ],
    );
    let path = dir.join("Caddyfile");
    std::fs::write(&path, config).unwrap();
    let mut command = Command::new(std::env::var("CADDY").unwrap_or_else(|_| "caddy".to_owned()));
    // Whatever it keeps for itself it keeps there.
    command.envs(["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"].map(|name| (name, dir)));
    let usual = ["run", "--adapter", "caddyfile", "--config"];
    command.args(usual).arg(path);
    command
}

impl Proxy {
    fn start(chain: &Chain, configured: impl Fn(&Path, u16, u16, &str) -> Command) -> Proxy {
        let lottery = chain.deploy(Timing::default());
        let daemon = Daemon::start(&lottery, Options::default());
        daemon.wait_ready();
        let dir = TempDir::new().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let key = [
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ];
        let names = [
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ];
        let files = [
            "-keyout",
            &at("key.pem"),
            "-out",
            &at("cert.pem"),
            "-days",
            "2",
        ];
        said(
            "openssl",
            &[&["req", "-x509"][..], &key, &names, &files].concat(),
        );
        let (plain, tls) = (free_port(), free_port());
        let upstream = daemon.url.trim_start_matches("http://");
        let mut command = configured(dir.path(), plain, tls, upstream);
        let log = std::fs::File::create(at("log")).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let running = Running(child.unwrap_or_else(|error| panic!("{command:?}: {error}")));
        let proxy = Proxy {
            dir,
            plain,
            tls,
            _running: running,
            _daemon: daemon,
        };
        wait_for("the proxy", || {
            std::net::TcpStream::connect(("127.0.0.1", tls))
                .ok()
                .map(drop)
        });
        proxy
    }

    /// Status and headers of what curl asks for at that path; the certificate has to be good.
    fn curl(&self, port: u16, path: &str, arguments: &[&str]) -> String {
        let scheme = if port == self.tls { "https" } else { "http" };
        let url = format!("{scheme}://localhost:{port}{path}");
        let authority = self.dir.path().join("cert.pem").display().to_string();
        let usual = [
            "-sS",
            "-4",
            "-D",
            "-",
            "-o",
            "/dev/null",
            "--max-time",
            "20",
        ];
        let all = [&usual[..], &["--cacert", &authority, &url], arguments].concat();
        said("curl", &all).to_lowercase()
    }

    /// A TLS connection, what it says after these bytes line by line, and until when.
    fn converse(&self, bytes: &str, mut take: impl FnMut(&str) -> bool) -> Duration {
        let target = format!("localhost:{}", self.tls);
        let authority = self.dir.path().join("cert.pem");
        let mut command = Command::new("openssl");
        command.args([
            "s_client",
            "-4",
            "-quiet",
            "-verify_quiet",
            "-verify_return_error",
        ]);
        command.args(["-servername", "localhost", "-connect", &target, "-CAfile"]);
        let piped = command
            .arg(authority)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = Running(piped.stderr(Stdio::null()).spawn().unwrap());
        let mut input = child.0.stdin.take().unwrap();
        let began = Instant::now();
        input.write_all(bytes.as_bytes()).unwrap();
        let mut output = BufReader::new(child.0.stdout.take().unwrap());
        let mut line = Vec::new();
        // Frames hold bytes that are no text; a message has no line's end of its own.
        while output
            .read_until(b'}', &mut line)
            .is_ok_and(|count| count > 0)
        {
            if take(&String::from_utf8_lossy(&line)) {
                break;
            }
        }
        began.elapsed()
    }
}

/// Returns what is said to a body that is too long.
fn serves_within_its_limits(proxy: &Proxy) -> String {
    let page = proxy.curl(proxy.tls, "/", &[]);
    assert!(
        page.contains(" 200") && page.contains("content-security-policy"),
        "{page}"
    );
    assert!(
        page.contains("strict-transport-security: max-age=31536000"),
        "{page}"
    );
    let plain = proxy.curl(proxy.plain, "/api/status?x=1", &[]);
    let location = plain
        .lines()
        .find_map(|line| line.strip_prefix("location: "));
    let leads = location
        .is_some_and(|to| to.starts_with("https://localhost") && to.ends_with("/api/status?x=1"));
    assert!(
        leads && (plain.contains(" 301") || plain.contains(" 308")),
        "{plain}"
    );
    // A body that is in order comes to the daemon, which misses the token; a longer one does not.
    let action = proxy.curl(proxy.tls, "/api/round/draw", &["-d", "{\"roundId\": 1}"]);
    assert!(action.contains(" 401"), "{action}");
    let long = "x".repeat(2_000);
    let refused = proxy.curl(proxy.tls, "/api/round/draw", &["-d", &long]);
    assert!(refused.contains(" 413"), "{refused}");
    refused
}

fn the_feed_outlives_what_ends_a_slow_request(proxy: &Proxy) {
    std::thread::scope(|scope| {
        // It says something every 15 s, and is not taken for a visitor who says nothing.
        scope.spawn(|| {
            let began = Instant::now();
            let mut heard = (false, false);
            // What comes before that may be news as well as a heartbeat.
            let long = Duration::from_secs(2 * LIMIT_SECS);
            let took = proxy.converse(UPGRADE, |said| {
                heard.0 |= said.contains("HTTP/1.1 101");
                heard.1 |= said.contains("snapshot");
                heard == (true, true) && began.elapsed() > long
            });
            assert_eq!(heard, (true, true), "after {took:?}");
            assert!(took > long, "{took:?}");
        });
        scope.spawn(|| {
            let took = proxy.converse("GET / HTTP/1.1\r\nHost: loc", |_| false);
            let within = Duration::from_secs(LIMIT_SECS)..Duration::from_secs(4 * LIMIT_SECS);
            assert!(within.contains(&took), "{took:?}");
        });
    });
}

#[test]
#[ignore = "needs nginx, curl and openssl"]
fn the_packaged_nginx_serves_within_its_limits() {
    let chain = Chain::devchain(1);
    let proxy = Proxy::start(&chain, nginx);
    let refused = serves_within_its_limits(&proxy);
    // By itself: the daemon's answers bear that header.
    assert!(!refused.contains("referrer-policy"), "{refused}");
    the_feed_outlives_what_ends_a_slow_request(&proxy);
    // Who asks without end is told so, and the daemon hears nothing of it.
    let many = format!("/api/round/status?[1-{}]", 2_000);
    let answers = proxy.curl(proxy.tls, &many, &["-Z", "--parallel-max", "8"]);
    let count = |status: &str| {
        answers
            .lines()
            .filter(|line| line.starts_with("http") && line.contains(status))
            .count()
    };
    assert!(
        count(" 200") >= 200 && count(" 429") > 0,
        "{} answered, {} refused",
        count(" 200"),
        count(" 429")
    );
}

#[test]
#[ignore = "needs caddy, curl and openssl"]
fn the_packaged_caddy_serves_within_its_limits() {
    let chain = Chain::devchain(1);
    let proxy = Proxy::start(&chain, caddy);
    serves_within_its_limits(&proxy);
    the_feed_outlives_what_ends_a_slow_request(&proxy);
}
