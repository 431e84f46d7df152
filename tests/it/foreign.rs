//! What others use: nginx in front of two daemons, and WebSocket clients of other languages that follow the feed through
//! a restart of the daemon. Each of these tests needs its program, and runs with `--include-ignored`.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use crossbeam_channel::{unbounded, Receiver};
use serde_json::{json, Value};
use tempfile::TempDir;

use support::chain::{wait_for, Chain, Lottery, Timing};
use support::daemon::{Daemon, Feed, Options};
use support::follower::shown;
use support::BET_WEI;

/// A program that ends with the test, and what it says.
struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    fn start(command: &mut Command) -> Program {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, receiver) = unbounded();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Program {
            child,
            lines: receiver,
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// So many bets, as JSON has them.
fn pot(bets: u64) -> Value {
    json!((bets * BET_WEI).to_string())
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn serving(lottery: &Lottery, port: u16, without_key: bool) -> Daemon {
    let daemon = Daemon::start(
        lottery,
        Options {
            config: json!({"server": {"port": port}}),
            without_key,
            quiet: true,
            ..Options::default()
        },
    );
    daemon.wait_ready();
    daemon
}

/// The configuration of the README, on free ports and in a directory of its own.
fn nginx(dir: &TempDir, port: u16, upstreams: [&Daemon; 2]) -> Program {
    let place = dir.path().display();
    let servers: String = upstreams
        .iter()
        .map(|daemon| {
            let address = daemon.url.trim_start_matches("http://");
            format!("server {address} max_fails=1 fail_timeout=2s; ")
        })
        .collect();
    let config = format!(
        "daemon off; master_process off; pid {place}/pid; error_log stderr warn;
        events {{ worker_connections 1024; }}
        http {{
            access_log off;
            client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/fastcgi;
            uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
            map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
            upstream lottery {{ ip_hash; {servers} keepalive 16; }}
            server {{
                listen 127.0.0.1:{port};
                location / {{
                    proxy_pass http://lottery;
                    proxy_http_version 1.1;
                    proxy_set_header Host $host;
                    proxy_set_header Upgrade $http_upgrade;
                    proxy_set_header Connection $connection_upgrade;
                    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                    proxy_read_timeout 90s;
                }}
            }}
        }}"
    );
    let path = dir.path().join("nginx.conf");
    std::fs::write(&path, config).unwrap();
    let program = std::env::var("NGINX").unwrap_or_else(|_| "nginx".to_owned());
    let mut command = Command::new(program);
    Program::start(command.arg("-c").arg(&path).arg("-p").arg(dir.path()))
}

/// The seq and the epoch up to which a feed has been followed.
fn followed(feed: &mut Feed) -> (String, u64) {
    let snapshot = feed.wait("snapshot", |_| true);
    let epoch = snapshot["payload"]["epoch"].as_str().unwrap().to_owned();
    (epoch, snapshot["seq"].as_u64().unwrap())
}

#[test]
#[ignore = "needs nginx"]
fn two_daemons_behind_nginx_serve_as_one() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing {
        betting: 100_000,
        ..Timing::default()
    });
    let mut daemons = [
        Some(serving(&lottery, 0, false)),
        Some(serving(&lottery, 0, true)),
    ];
    let dir = TempDir::new().unwrap();
    let port = free_port();
    let _nginx = nginx(
        &dir,
        port,
        [daemons[0].as_ref().unwrap(), daemons[1].as_ref().unwrap()],
    );
    let url = format!("http://127.0.0.1:{port}");
    wait_for("nginx", || ureq::get(&url).call().ok().map(drop));
    lottery.bet(2, BET_WEI);
    wait_for("both to show the bet", || {
        let [one, two] = [&daemons[0], &daemons[1]].map(|daemon| shown(daemon.as_ref().unwrap()));
        let total = &one["participants"]["totalAmountWei"];
        (one == two && *total == pot(1)).then_some(())
    });
    for path in ["/", "/api/status", "/api/history", "/app.js"] {
        let answer = ureq::get(format!("{url}{path}")).call();
        assert_eq!(answer.unwrap().status().as_u16(), 200, "{path}");
    }

    // The feed is followed, left, and resumed on the same daemon: what was missed is replayed.
    let mut feed = Feed::connect(&url, "");
    let (epoch, _) = followed(&mut feed);
    lottery.bet(3, BET_WEI);
    let last = feed.wait("participants_update", |payload| {
        payload["totalParticipants"] == 2
    });
    let seq = last["seq"].as_u64().unwrap();
    drop(feed);
    lottery.bet(4, BET_WEI);
    let since = format!("?since={epoch}:{seq}");
    let mut back = Feed::connect(&url, &since);
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
    let place = daemons.iter().position(serves_feed).unwrap();
    daemons[place].take().unwrap().stop();
    let mut resumed = Feed::connect(&url, &since);
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

/// Whoever sends too much is told so, and no other visitor's request is lost with it: a proxy counts a connection that was
/// reset against the daemon.
#[test]
#[ignore = "needs nginx"]
fn oversized_requests_behind_nginx_cost_nobody_an_answer() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing {
        betting: 100_000,
        ..Timing::default()
    });
    let daemons = [serving(&lottery, 0, false), serving(&lottery, 0, true)];
    let dir = TempDir::new().unwrap();
    let port = free_port();
    let _nginx = nginx(&dir, port, [&daemons[0], &daemons[1]]);
    let url = format!("http://127.0.0.1:{port}");
    wait_for("nginx", || ureq::get(&url).call().ok().map(drop));
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let body = "x".repeat(900_000);
    for _ in 0..40 {
        let refused = agent.post(format!("{url}/api/round/draw")).send(&body);
        assert_eq!(refused.unwrap().status().as_u16(), 413);
        let wrong = agent.post(format!("{url}/api/status")).send("{}");
        assert_eq!(wrong.unwrap().status().as_u16(), 405);
        for path in ["/", "/api/status"] {
            let answer = agent.get(format!("{url}{path}")).call();
            assert_eq!(answer.unwrap().status().as_u16(), 200, "{path}");
        }
    }
}

/// `command` is to follow the feed at the address that it gets as its last argument, to come back with what it held, and
/// to print each message on a line of its own.
fn follows_through_a_restart(command: &mut Command) {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing {
        betting: 100_000,
        ..Timing::default()
    });
    let port = free_port();
    let daemon = serving(&lottery, port, true);
    let client = Program::start(command.arg(format!("ws://127.0.0.1:{port}/ws/lottery")));
    let until = |wanted: &mut dyn FnMut(&Value) -> bool| {
        let patience = std::time::Duration::from_secs(30);
        loop {
            let line = client
                .lines
                .recv_timeout(patience)
                .expect("the client says what it hears");
            let told: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
            if wanted(&told) {
                return;
            }
        }
    };
    let total = |told: &Value| match told["type"] == "snapshot" {
        true => told["payload"]["participants"]["totalAmountWei"].clone(),
        false => told["payload"]["totalAmountWei"].clone(),
    };
    until(&mut |told| told["type"] == "snapshot");
    lottery.bet(2, BET_WEI);
    until(&mut |told| total(told) == pot(1));
    daemon.stop();
    lottery.bet(3, BET_WEI);
    let _daemon = serving(&lottery, port, true);
    // It asks for what it missed, of a daemon that knows nothing of it.
    let mut resynced = false;
    until(&mut |told| {
        resynced |= told["payload"]["resync"] == true;
        resynced && total(told) == pot(2)
    });
    lottery.bet(4, BET_WEI);
    until(&mut |told| told["type"] == "participants_update" && total(told) == pot(3));
}

fn script(dir: &TempDir, name: &str, text: &str) -> std::path::PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

const NODE: &str = r#"
const WebSocket = require('ws');
let held = null, seq = 0;
function follow() {
    const socket = new WebSocket(process.argv[2] + (held ? `?since=${held}:${seq}` : ''));
    socket.on('message', (text) => {
        const { type, seq: number, payload } = JSON.parse(text);
        if (type === 'snapshot') held = payload.epoch;
        seq = number;
        console.log(`${text}`);
    });
    socket.on('open', () => { if (!socket.extensions.includes('permessage-deflate')) process.exit(1); });
    socket.on('error', () => {});
    socket.on('close', () => setTimeout(follow, 200));
}
follow();
"#;

#[test]
#[ignore = "needs Node with the package ws"]
fn node_follows_through_a_restart() {
    let dir = TempDir::new().unwrap();
    let path = script(&dir, "follow.js", NODE);
    follows_through_a_restart(Command::new("node").arg(path));
}

const PYTHON: &str = r#"
import json, sys, time
from websockets.sync.client import connect

epoch, seq = None, 0
while True:
    try:
        since = f"?since={epoch}:{seq}" if epoch else ""
        with connect(sys.argv[1] + since) as socket:
            assert socket.protocol.extensions, "compression is agreed"
            for text in socket:
                message = json.loads(text)
                seq = message["seq"]
                epoch = message["payload"].get("epoch", epoch)
                print(text, flush=True)
    except OSError:
        pass
    except Exception as error:
        print(error, file=sys.stderr)
    time.sleep(0.2)
"#;

#[test]
#[ignore = "needs Python with the package websockets"]
fn python_follows_through_a_restart() {
    let dir = TempDir::new().unwrap();
    let path = script(&dir, "follow.py", PYTHON);
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    follows_through_a_restart(Command::new(python).arg(path));
}

// websocat keeps no position itself: the shell around it takes it from the last message.
const WEBSOCAT: &str = r#"
"$0" --version >&2 || exit 1
while :; do
    epoch=$(sed -n 's/.*"epoch":"\([0-9a-f]*\)".*/\1/p' "$1" | tail -n 1)
    seq=$(sed -n 's/.*"seq":\([0-9]*\),"timestamp":[0-9]*,"type".*/\1/p' "$1" | tail -n 1)
    "$0" --text --unidirectional-reverse "$2${epoch:+?since=$epoch:$seq}" 2>/dev/null | tee -a "$1"
    sleep 0.2
done
"#;

#[test]
#[ignore = "needs websocat"]
fn websocat_follows_through_a_restart() {
    let dir = TempDir::new().unwrap();
    let heard = script(&dir, "heard", "");
    let websocat = std::env::var("WEBSOCAT").unwrap_or_else(|_| "websocat".to_owned());
    follows_through_a_restart(
        Command::new("sh")
            .args(["-c", WEBSOCAT, &websocat])
            .arg(heard),
    );
}
