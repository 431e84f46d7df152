//! The page in a real browser: Chromium, steered over its DevTools protocol, looks at a daemon that draws a round.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{json, Value};
use tempfile::TempDir;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

use crate::foreign::free_port;
use support::chain::{hex_address, wait_for, Chain, Timing};
use support::daemon::{Daemon, Options};

/// A headless Chromium (the program named by CHROMIUM, else `chromium` on the path) with one tab.
struct Browser {
    child: Child,
    socket: WebSocket<MaybeTlsStream<std::net::TcpStream>>,
    session: String,
    next_id: u64,
    /// Exceptions, console errors and violated policies.
    complaints: Vec<String>,
    _profile: TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Browser {
    fn open(url: &str) -> Browser {
        let program = std::env::var("CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
        let profile = TempDir::new().unwrap();
        let mut child = Command::new(&program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--disable-sync",
            ])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-quic",
            ])
            .args(["--remote-debugging-port=0", "--window-size=1280,2000"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                line.strip_prefix("DevTools listening on ")
                    .map(str::to_owned)
            })
            .expect("chromium says where it listens");
        std::thread::spawn(move || lines.for_each(drop));
        let (mut socket, _) = tungstenite::connect(address).unwrap();
        if let MaybeTlsStream::Plain(stream) = socket.get_mut() {
            stream
                .set_read_timeout(Some(Duration::from_secs(60)))
                .unwrap();
        }
        let session = String::new();
        let mut browser = Browser {
            child,
            socket,
            session,
            next_id: 0,
            complaints: Vec::new(),
            _profile: profile,
        };
        let target = browser.ask("Target.createTarget", json!({"url": "about:blank"}));
        let target = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.ask("Target.attachToTarget", target);
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Runtime.enable", "Log.enable", "Page.enable"] {
            browser.ask(domain, json!({}));
        }
        browser.ask("Page.navigate", json!({"url": url}));
        browser
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.next_id += 1;
        let id = self.next_id;
        let mut request = json!({"id": id, "method": method, "params": params});
        if !self.session.is_empty() {
            request["sessionId"] = json!(self.session);
        }
        self.socket
            .send(Message::text(request.to_string()))
            .unwrap();
        loop {
            let Message::Text(text) = self.socket.read().unwrap() else {
                continue;
            };
            let message: Value = serde_json::from_str(&text).unwrap();
            match message["method"].as_str() {
                Some("Runtime.exceptionThrown") => self.complaints.push(message.to_string()),
                Some("Log.entryAdded") if message["params"]["entry"]["level"] == "error" => {
                    self.complaints.push(message["params"]["entry"].to_string());
                }
                _ => {}
            }
            if message["id"] == id {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
        }
    }

    fn evaluate(&mut self, script: &str) -> Value {
        let answer = self.ask(
            "Runtime.evaluate",
            json!({"expression": script, "returnByValue": true, "awaitPromise": true}),
        );
        answer["result"]["value"].clone()
    }

    /// Waits until the page's text contains `part`.
    fn wait_text(&mut self, part: &str) {
        wait_for(&format!("{part:?} on the page"), || {
            let text = self.evaluate("document.body.innerText");
            let text = text.as_str().unwrap_or_default().to_lowercase();
            text.contains(&part.to_lowercase()).then_some(())
        });
    }
}

#[test]
#[ignore = "needs chromium"]
fn the_page_follows_a_round_to_its_winner_and_verifies_the_draw() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let port = free_port();
    let start = || {
        let config = json!({"server": {"port": port}});
        Daemon::start(
            &lottery,
            Options {
                config,
                ..Options::default()
            },
        )
    };
    let daemon = start();
    let mut browser = Browser::open(&daemon.url);
    browser.wait_text("live");
    browser.wait_text("opens with the first bet");
    for player in 2..6 {
        lottery.bet(player, 10_000_000_000_000_000);
    }
    browser.wait_text("round 1 is open");
    browser.wait_text("0.04 ETH");
    lottery.skip_to(lottery.round().min_draw_time.saturating_sub(2));
    let winner = wait_for("a winner on the chain", || lottery.winner_of(1));
    let winner = hex_address(winner);
    browser.wait_text(&format!("{}…{}", &winner[..6], &winner[38..]));
    browser.wait_text("0.039 ETH");
    let clicked = browser.evaluate(
        "(() => { const b = [...document.querySelectorAll('button')].find(b => /check this draw/i.test(b.textContent)); \
         if (b) b.click(); return !!b; })()",
    );
    assert_eq!(clicked, true, "there is no button to check with");
    browser.wait_text("everything holds");
    drop(daemon);
    browser.wait_text("reconnecting");
    // The daemon comes back, and the page goes on where it is now.
    let _daemon = start();
    lottery.bet(2, 70_000_000_000_000_000);
    browser.wait_text("0.07 ETH");
    browser.wait_text("live");
    let foreign: Vec<&String> = browser
        .complaints
        .iter()
        .filter(|complaint| !complaint.contains("ERR_CONNECTION"))
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}
