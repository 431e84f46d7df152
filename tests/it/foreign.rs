//! WebSocket clients of other makers and languages that follow the feed through a restart of the daemon. Each of these
//! tests needs its program, and runs with `--include-ignored`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crossbeam_channel::{unbounded, Receiver};
use serde_json::{json, Value};
use tempfile::TempDir;

use support::chain::{Chain, Lottery, Timing};
use support::daemon::{Daemon, Options};
use support::programs::free_port;
use support::BET_WEI;

/// A program that ends with the test, and what it says.
pub struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    pub fn start(command: &mut Command) -> Program {
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

    /// Waits until it says a line with this part.
    pub fn wait(&self, part: &str) {
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(60)) {
            if line.contains(part) {
                return;
            }
        }
        panic!("the program did not say {part:?}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// So many bets, as JSON has them.
pub fn pot(bets: u64) -> Value {
    json!((bets * BET_WEI).to_string())
}

pub fn serving(lottery: &Lottery, port: u16, without_key: bool) -> Daemon {
    Daemon::quiet(
        lottery,
        Options {
            config: json!({"server": {"port": port}}),
            without_key,
            ..Options::default()
        },
    )
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

// wsdump keeps no position itself: the shell around it takes it from the last message. With nothing to say it would leave
// before it has heard anything, so it is told to stay a while each time. It prints pings and closings too.
const WSDUMP: &str = r#"
while :; do
    epoch=$(sed -n 's/.*"epoch":"\([0-9a-f]*\)".*/\1/p' "$1" | tail -n 1)
    seq=$(sed -n 's/.*"seq":\([0-9]*\),"timestamp":[0-9]*,"type".*/\1/p' "$1" | tail -n 1)
    "$0" --raw --eof-wait 2 "$2${epoch:+?since=$epoch:$seq}" </dev/null 2>/dev/null | grep --line-buffered '^{' | tee -a "$1"
    sleep 0.2
done
"#;

#[test]
#[ignore = "needs wsdump of Python's websocket-client (its program by WSDUMP, or on the path)"]
fn wsdump_follows_through_a_restart() {
    let dir = TempDir::new().unwrap();
    let heard = script(&dir, "heard", "");
    let wsdump = std::env::var("WSDUMP").unwrap_or_else(|_| "wsdump".to_owned());
    follows_through_a_restart(Command::new("sh").args(["-c", WSDUMP, &wsdump]).arg(heard));
}
