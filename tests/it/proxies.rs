//! Two daemons behind the proxies that people use: page, API and feed serve as one, whoever sends too much costs nobody
//! else an answer, and requests that two readers could frame in two ways never cross. Each test needs its program (named by
//! NGINX, HAPROXY or CADDY, or on the path), and runs with `--include-ignored`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use support::chain::{wait_for, Chain, Lottery, Timing};
use support::daemon::{Daemon, Feed};
use support::follower::shown;
use support::programs::{self, free_port};
use support::BET_WEI;

use crate::foreign::{pot, serving, Program};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Nginx,
    Haproxy,
    Caddy,
}

/// A proxy in front of two daemons; a daemon that fails once is not asked for two seconds.
struct Proxy {
    address: String,
    url: String,
    _program: Program,
    _dir: TempDir,
}

impl Proxy {
    fn start(kind: Kind, upstreams: [&Daemon; 2]) -> Proxy {
        let dir = TempDir::new().unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let upstreams = upstreams.map(|daemon| daemon.url.trim_start_matches("http://"));
        let configured = |(variable, name): (&str, &str), arguments: &[&str], config: String| {
            let path = dir.path().join("config");
            std::fs::write(&path, config.trim_end().to_owned() + "\n").unwrap();
            let program = std::env::var(variable).unwrap_or_else(|_| name.to_owned());
            let mut command = Command::new(program);
            command.args(arguments).arg(path);
            command
        };
        let mut command = match kind {
            Kind::Nginx => programs::nginx(dir.path(), &nginx(&address, upstreams)),
            Kind::Haproxy => {
                let config = haproxy(&address, upstreams);
                configured(("HAPROXY", "haproxy"), &["-db", "-f"], config)
            }
            Kind::Caddy => {
                let usual = ["run", "--adapter", "caddyfile", "--config"];
                configured(("CADDY", "caddy"), &usual, caddy(&address, upstreams))
            }
        };
        // Whatever one of them keeps for itself it keeps there.
        command.envs(["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"].map(|name| (name, dir.path())));
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let program = Program::start(command.stderr(log));
        let url = format!("http://{address}");
        wait_for("the proxy", || ureq::get(&url).call().ok().map(drop));
        Proxy {
            address,
            url,
            _program: program,
            _dir: dir,
        }
    }

    /// All that comes back for these bytes until the connection is closed, or nothing more comes for a while.
    fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let patience = Some(Duration::from_millis(300));
        stream.set_read_timeout(patience).unwrap();
        let _ = stream.write_all(bytes);
        let (mut answer, mut buffer) = (Vec::new(), [0; 4_096]);
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            answer.extend(&buffer[..count]);
        }
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// What is packaged for two daemons, on free ports and in a directory of its own; bodies may be larger than usual.
fn nginx(address: &str, upstreams: [&str; 2]) -> String {
    let [one, two] =
        upstreams.map(|upstream| format!("server {upstream} max_fails=1 fail_timeout=2s;"));
    format!(
        "client_max_body_size 16m;
        map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
        upstream lottery {{ ip_hash; {one} {two} keepalive 16; }}
        server {{
            listen {address};
            location / {{
                proxy_pass http://lottery;
                proxy_http_version 1.1;
                proxy_set_header Host $host;
                proxy_set_header Upgrade $http_upgrade;
                proxy_set_header Connection $connection_upgrade;
                proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                proxy_read_timeout 90s;
            }}
        }}"
    )
}

fn haproxy(address: &str, upstreams: [&str; 2]) -> String {
    let [one, two] = upstreams;
    format!(
        "defaults
            mode http
            timeout connect 2s
            timeout client 60s
            timeout server 60s
            timeout tunnel 90s
            option forwardfor
            option redispatch
            http-reuse always
        frontend public
            bind {address}
            default_backend lottery
        backend lottery
            balance source
            option httpchk GET /readyz
            default-server check inter 500ms fall 1 rise 2 observe layer7 error-limit 1 on-error mark-down
            server one {one}
            server two {two}
        "
    )
}

fn caddy(address: &str, upstreams: [&str; 2]) -> String {
    let [one, two] = upstreams;
    format!(
        "{{
            admin off
            auto_https off
        }}
        http://{address} {{
            reverse_proxy {one} {two} {{
                lb_policy ip_hash
                lb_try_duration 3s
                fail_duration 2s
                max_fails 1
            }}
        }}
        "
    )
}

fn quiet_lottery(chain: &Chain) -> Lottery<'_> {
    chain.deploy(Timing {
        betting: 100_000,
        ..Timing::default()
    })
}

/// The seq and the epoch up to which a feed has been followed.
fn followed(feed: &mut Feed) -> (String, u64) {
    let snapshot = feed.wait("snapshot", |_| true);
    let epoch = snapshot["payload"]["epoch"].as_str().unwrap().to_owned();
    (epoch, snapshot["seq"].as_u64().unwrap())
}

fn serve_as_one(kind: Kind) {
    let chain = Chain::devchain(1);
    let lottery = quiet_lottery(&chain);
    let mut daemons = [false, true].map(|without_key| Some(serving(&lottery, 0, without_key)));
    let [one, two] = [&daemons[0], &daemons[1]].map(|daemon| daemon.as_ref().unwrap());
    let proxy = Proxy::start(kind, [one, two]);
    let url = &proxy.url;
    lottery.bet(2, BET_WEI);
    wait_for("both to show the bet", || {
        let [one, two] = [one, two].map(shown);
        let total = &one["participants"]["totalAmountWei"];
        (one == two && *total == pot(1)).then_some(())
    });
    for path in ["/", "/api/status", "/api/history", "/app.js"] {
        let answer = ureq::get(format!("{url}{path}")).call();
        assert_eq!(answer.unwrap().status().as_u16(), 200, "{path}");
    }

    // The feed is followed, left, and resumed on the same daemon: what was missed is replayed.
    let mut feed = Feed::connect(url, "");
    let (epoch, _) = followed(&mut feed);
    lottery.bet(3, BET_WEI);
    let last = feed.wait("participants_update", |payload| {
        payload["totalParticipants"] == 2
    });
    let seq = last["seq"].as_u64().unwrap();
    drop(feed);
    lottery.bet(4, BET_WEI);
    let since = format!("?since={epoch}:{seq}");
    let mut back = Feed::connect(url, &since);
    let first = back.read();
    assert_eq!(first["seq"], seq + 1, "{first}");
    back.wait("participants_update", |payload| {
        payload["totalParticipants"] == 3
    });

    // The daemon behind that feed goes: the other one takes over, with a snapshot that says so.
    let serves_feed = |daemon: &Option<Daemon>| {
        let (_, status) = daemon.as_ref().unwrap().get("/api/status");
        status["websocketClients"] == 1
    };
    let serving_one = wait_for("one to serve the feed", || {
        daemons.iter().position(serves_feed)
    });
    daemons[serving_one].take().unwrap().stop();
    let mut resumed = Feed::connect(url, &since);
    let snapshot = resumed.read();
    assert_eq!(snapshot["type"], "snapshot", "{snapshot}");
    assert_eq!(snapshot["payload"]["resync"], true, "{snapshot}");
    lottery.bet(5, BET_WEI);
    resumed.wait("participants_update", |payload| {
        payload["totalParticipants"] == 4
    });
    let answer = ureq::get(format!("{url}/api/round/status")).call();
    assert_eq!(answer.unwrap().status().as_u16(), 200);
}

/// Says so when its scope ends, by a failure as well.
struct AtEnd<'a>(&'a AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whoever sends too much is told so, and no other visitor's request is lost with it: a proxy counts a connection that was
/// reset against the daemon, and takes it for dead.
fn too_much_costs_nobody_an_answer(kind: Kind) {
    let chain = Chain::devchain(1);
    let lottery = quiet_lottery(&chain);
    let daemons = [false, true].map(|without_key| serving(&lottery, 0, without_key));
    let proxy = Proxy::start(kind, [&daemons[0], &daemons[1]]);
    let url = &proxy.url;
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let visitors: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut answers = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        for path in ["/", "/api/status", "/api/history"] {
                            let mut answer = agent.get(format!("{url}{path}")).call().unwrap();
                            assert_eq!(answer.status().as_u16(), 200, "{path}");
                            assert!(!answer.body_mut().read_to_vec().unwrap().is_empty());
                            answers += 1;
                        }
                    }
                    answers
                })
            })
            .collect();
        let end = AtEnd(&is_over);
        for round in 0..30 {
            let kib = [2, 70, 900, 1_100, 8_000][round % 5];
            let body = vec![b'x'; kib * 1_024];
            let refused = agent.post(format!("{url}/api/round/draw")).send(&body);
            match refused {
                Ok(answer) => assert_eq!(answer.status().as_u16(), 413, "{kib} KiB"),
                // Caddy itself cuts off who sends on after the answer. HAProxy hands on what the daemon does with whoever
                // still sends after the 64 KiB that are read from him for the answer's sake.
                Err(error) => assert!(
                    kind == Kind::Caddy || kind == Kind::Haproxy && kib > 64,
                    "{kib} KiB: {error}"
                ),
            }
            let wrong = agent.post(format!("{url}/api/status")).send(&body[..1_000]);
            assert_eq!(wrong.unwrap().status().as_u16(), 405);
        }
        drop(end);
        for visitor in visitors {
            assert!(visitor.join().unwrap() > 0);
        }
    });
}

/// Heads that two readers could frame in two ways, each with what would be another request behind it.
fn ambiguous() -> Vec<String> {
    let hidden = "GET /api/contract/address HTTP/1.1\r\nHost: x\r\nX-Hidden: ";
    let chunked = format!("0\r\n\r\n{hidden}");
    let mut heads = Vec::new();
    for coding in [
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding: \u{b}chunked",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding:\r\n chunked",
        " Transfer-Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
    ] {
        for method in ["GET /healthz", "POST /api/round/draw"] {
            let length = chunked.len();
            heads.push(format!(
                "{method} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{coding}\r\n\r\n{chunked}"
            ));
            heads.push(format!(
                "{method} HTTP/1.1\r\nHost: x\r\n{coding}\r\n\r\n{chunked}"
            ));
            heads.push(format!("{method} HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n{coding}\r\n\r\n{chunked}"));
        }
    }
    for lengths in [
        "0\r\nContent-Length: 5",
        "5, 0",
        "+5",
        "0x5",
        "5 5",
        "-1",
        "",
        "18446744073709551621",
    ] {
        for method in ["GET /healthz", "POST /api/round/draw", "OPTIONS *"] {
            heads.push(format!(
                "{method} HTTP/1.1\r\nHost: x\r\nContent-Length: {lengths}\r\n\r\n{hidden}"
            ));
        }
    }
    // This one is sound, and passed on with its body.
    for method in ["GET /healthz", "POST /api/round/draw", "DELETE /nothing"] {
        let length = hidden.len();
        heads.push(format!(
            "{method} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{hidden}"
        ));
    }
    for line in [
        "GET /healthz HTTP/1.1\nHost: x\n\n",
        "GET /healthz HTTP/1.1\rHost: x\r\r",
        "GET /healthz\r\n\r\n",
    ] {
        heads.push(format!("{line}{hidden}"));
    }
    heads
}

/// Visitors get the answer to their own request, on whatever connection a proxy sends it, while others try to put a
/// request of theirs in front of it.
fn answers_never_cross(kind: Kind) {
    let chain = Chain::devchain(1);
    let lottery = quiet_lottery(&chain);
    let daemons = [false, true].map(|without_key| serving(&lottery, 0, without_key));
    let proxy = Proxy::start(kind, [&daemons[0], &daemons[1]]);
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let attacks = ambiguous();
    let told = |path: &str, part: &str, attack: &str| {
        let answer = agent.get(format!("{}{path}", proxy.url)).call();
        let text = answer.unwrap().body_mut().read_to_string().unwrap();
        assert!(text.contains(part), "{path} behind {attack:?}: {text}");
    };
    for attack in &attacks {
        let answer = proxy.exchange(attack.as_bytes());
        assert!(
            answer.matches("HTTP/1.").count() <= 2,
            "{attack:?}: {answer}"
        );
        // One visitor for each connection that may wait behind the proxy.
        for _ in 0..2 {
            told("/healthz", "\"status\":\"ok\"", attack);
            told("/nothing", "not_found", attack);
            told("/api/round/status", "\"phase\":", attack);
        }
    }
    for daemon in &daemons {
        assert_eq!(daemon.get("/readyz").0, 200);
    }
}

#[test]
#[ignore = "needs nginx"]
fn two_daemons_behind_nginx_serve_as_one() {
    serve_as_one(Kind::Nginx);
}

#[test]
#[ignore = "needs haproxy"]
fn two_daemons_behind_haproxy_serve_as_one() {
    serve_as_one(Kind::Haproxy);
}

#[test]
#[ignore = "needs caddy"]
fn two_daemons_behind_caddy_serve_as_one() {
    serve_as_one(Kind::Caddy);
}

#[test]
#[ignore = "needs nginx"]
fn too_much_behind_nginx_costs_nobody_an_answer() {
    too_much_costs_nobody_an_answer(Kind::Nginx);
}

#[test]
#[ignore = "needs haproxy"]
fn too_much_behind_haproxy_costs_nobody_an_answer() {
    too_much_costs_nobody_an_answer(Kind::Haproxy);
}

#[test]
#[ignore = "needs caddy"]
fn too_much_behind_caddy_costs_nobody_an_answer() {
    too_much_costs_nobody_an_answer(Kind::Caddy);
}

#[test]
#[ignore = "needs nginx"]
fn answers_behind_nginx_never_cross() {
    answers_never_cross(Kind::Nginx);
}

#[test]
#[ignore = "needs haproxy"]
fn answers_behind_haproxy_never_cross() {
    answers_never_cross(Kind::Haproxy);
}

#[test]
#[ignore = "needs caddy"]
fn answers_behind_caddy_never_cross() {
    answers_never_cross(Kind::Caddy);
}
