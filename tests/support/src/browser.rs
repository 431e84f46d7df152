//! Chromium, steered over its DevTools protocol, and wallets for it: an injected script speaks EIP-1193 and EIP-6963, and
//! what it is asked comes back here, where the chain's unlocked accounts sign. What the page should do is the tests' own.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{json, Value};
use tempfile::TempDir;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

use crate::chain::Chain;

const PATIENCE: Duration = Duration::from_secs(45);

/// A headless Chromium (the program named by CHROMIUM, else `chromium` on the path) with one tab.
pub struct Browser {
    child: Child,
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
    session: String,
    next_id: u64,
    /// Exceptions, console errors and violated policies.
    pub complaints: Vec<String>,
    /// What the page asked of a wallet and has no answer yet.
    asked: VecDeque<Value>,
    pub wallet: FakeWallet,
    /// Answers of the server that are changed on their way: (part of the address, text, what stands there instead).
    pub forged: Vec<(String, String, String)>,
    paused: VecDeque<Value>,
    /// What the browser did while it was traced, and whether that is all of it.
    traced: (Vec<Value>, bool),
    _profile: TempDir,
}

/// How the injected wallets behave; the account is one that the chain signs for.
#[derive(Default)]
pub struct FakeWallet {
    pub chain_url: String,
    pub account: String,
    pub chain_id: String,
    /// Whether it can switch to the lottery's chain without adding it first.
    pub knows_chain: bool,
    /// Methods that it refuses, with code, message and data.
    pub refusals: Vec<(&'static str, i64, String, Value)>,
    /// Methods that it never answers.
    pub silent: Vec<&'static str>,
    /// Answers in place of the chain's.
    pub answers: Vec<(&'static str, Value)>,
    /// Every call, in order: "name method".
    pub calls: Vec<String>,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Announces two wallets, whose calls go over the binding `toWallet`.
const WALLETS: &str = r#"(() => {
  const waiting = new Map();
  let lastId = 0;
  window.listeners = [];
  window.walletAnswer = (id, { result, error }) => {
    const { answer, fail } = waiting.get(id);
    waiting.delete(id);
    if (error) fail(Object.assign(new Error(error.message), error));
    else answer(result);
  };
  for (const name of ["Alpha", "Beta"]) {
    const provider = {
      request: ({ method, params = [] }) => new Promise((answer, fail) => {
        const id = ++lastId;
        waiting.set(id, { answer, fail });
        window.toWallet(JSON.stringify({ id, name, method, params }));
      }),
      on: (event, act) => window.listeners.push([name, event, act]),
      removeListener: (event, act) => (window.listeners = window.listeners.filter((known) => known[2] !== act || known[0] !== name)),
    };
    const info = { uuid: `00000000-0000-4000-8000-00000000000${name.length}`, name, icon: "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E", rdns: `test.${name.toLowerCase()}` };
    const announce = () => dispatchEvent(new CustomEvent("eip6963:announceProvider", { detail: Object.freeze({ info, provider }) }));
    addEventListener("eip6963:requestProvider", announce);
    announce();
  }
  window.emit = (name, event, value) => window.listeners.filter((known) => known[0] === name && known[1] === event).forEach((known) => known[2](value));
})()"#;

impl Browser {
    /// With an empty tab.
    pub fn start() -> Browser {
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
        let mut browser = Browser {
            child,
            socket,
            session: String::new(),
            next_id: 0,
            complaints: Vec::new(),
            asked: VecDeque::new(),
            wallet: FakeWallet::default(),
            forged: Vec::new(),
            paused: VecDeque::new(),
            traced: (Vec::new(), false),
            _profile: profile,
        };
        browser.open_tab("about:blank");
        browser
    }

    /// Opens another tab and turns to it; answers the name of the one before, for `turn_to`. It has no wallets.
    pub fn open_tab(&mut self, url: &str) -> String {
        let before = std::mem::take(&mut self.session);
        let target = self.ask("Target.createTarget", json!({"url": url}));
        let target = json!({"targetId": target["targetId"], "flatten": true});
        let attached = self.ask("Target.attachToTarget", target);
        self.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Runtime.enable", "Log.enable", "Page.enable"] {
            self.ask(domain, json!({}));
        }
        before
    }

    /// From now on the tab of that name is steered; answers the name of the one before.
    pub fn turn_to(&mut self, tab: String) -> String {
        std::mem::replace(&mut self.session, tab)
    }

    pub fn open(url: &str) -> Browser {
        let mut browser = Browser::start();
        browser.go_to(url);
        browser
    }

    /// Waits until the page's elements are there: a script that looks for one before is answered with null.
    pub fn go_to(&mut self, url: &str) {
        self.ask("Page.navigate", json!({"url": url}));
        self.wait("the document", |browser| {
            browser.evaluate("document.readyState !== 'loading'") == true
        });
    }

    /// Runs in each page before its own scripts.
    pub fn inject(&mut self, script: &str) {
        self.ask(
            "Page.addScriptToEvaluateOnNewDocument",
            json!({"source": script}),
        );
    }

    /// Gives the tab two wallets of one account of the chain.
    pub fn add_wallets(&mut self, chain: &Chain, account: usize) {
        self.wallet.chain_url = chain.url.clone();
        self.wallet.account = format!("{:#x}", chain.account(account));
        self.wallet.chain_id = "0x7a69".to_owned();
        self.ask("Runtime.addBinding", json!({"name": "toWallet"}));
        self.inject(WALLETS);
    }

    /// From now on the answers of these addresses pass through `forged`.
    pub fn intercept(&mut self, pattern: &str) {
        let patterns = json!([{"urlPattern": pattern, "requestStage": "Response"}]);
        self.ask("Fetch.enable", json!({"patterns": patterns}));
    }

    pub fn ask(&mut self, method: &str, params: Value) -> Value {
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
            if message["id"] == id {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
            self.note(&message);
        }
    }

    fn note(&mut self, message: &Value) {
        let params = &message["params"];
        match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.complaints.push(message.to_string()),
            Some("Log.entryAdded") if params["entry"]["level"] == "error" => {
                self.complaints.push(params["entry"].to_string());
            }
            Some("Runtime.bindingCalled") => {
                let payload = params["payload"].as_str().unwrap();
                self.asked.push_back(serde_json::from_str(payload).unwrap());
            }
            Some("Fetch.requestPaused") => self.paused.push_back(params.clone()),
            Some("Tracing.dataCollected") => {
                let events = params["value"].as_array().cloned();
                self.traced.0.extend(events.unwrap_or_default());
            }
            Some("Tracing.tracingComplete") => self.traced.1 = true,
            _ => {}
        }
    }

    /// The tasks that the page's own thread had while `act` went on, with what each cost it in milliseconds of the
    /// processor: what others take of the machine meanwhile is not in it.
    pub fn tasks_during(&mut self, act: impl FnOnce(&mut Browser)) -> Vec<f64> {
        self.traced = (Vec::new(), false);
        let categories = json!({"includedCategories": ["devtools.timeline", "disabled-by-default-devtools.timeline"]});
        let params = json!({"transferMode": "ReportEvents", "traceConfig": categories});
        self.ask("Tracing.start", params);
        act(self);
        self.ask("Tracing.end", json!({}));
        self.wait("the end of the trace", |browser| {
            // Asking for anything hears what has come.
            browser.evaluate("0");
            browser.traced.1
        });
        let events = std::mem::take(&mut self.traced.0);
        let thread = |event: &Value| (event["pid"].as_u64(), event["tid"].as_u64());
        let mut frames = events
            .iter()
            .filter(|event| event["name"] == "FireAnimationFrame");
        let page = frames.next().map(thread);
        events
            .iter()
            .filter(|event| event["name"] == "RunTask" && Some(thread(event)) == page)
            .filter_map(|event| event["tdur"].as_f64())
            .map(|micros| micros / 1000.0)
            .collect()
    }

    /// Lets the wallets and the forger answer what they were asked meanwhile.
    fn serve(&mut self) {
        while let Some(paused) = self.paused.pop_front() {
            self.pass_on(&paused);
        }
        while let Some(call) = self.asked.pop_front() {
            if self.wallet.is_silent(&call) {
                continue;
            }
            let answer = self.wallet.answer(&call);
            let script = format!("walletAnswer({}, {answer})", call["id"]);
            self.ask("Runtime.evaluate", json!({"expression": script}));
        }
    }

    fn pass_on(&mut self, paused: &Value) {
        let id = &paused["requestId"];
        let url = paused["request"]["url"].as_str().unwrap();
        let mut text = ureq::get(url)
            .call()
            .and_then(|mut response| response.body_mut().read_to_string())
            .unwrap_or_default();
        for (part, from, to) in &self.forged {
            if url.contains(part) {
                assert!(text.contains(from), "{url} does not say {from}: {text}");
                text = text.replacen(from, to, 1);
            }
        }
        let headers = json!([{"name": "content-type", "value": "application/json"}]);
        let answer = json!({
            "requestId": id, "responseCode": 200, "responseHeaders": headers, "body": base64(text.as_bytes()),
        });
        self.ask("Fetch.fulfillRequest", answer);
    }

    pub fn evaluate(&mut self, script: &str) -> Value {
        self.serve();
        let answer = self.ask(
            "Runtime.evaluate",
            json!({"expression": script, "returnByValue": true}),
        );
        answer["result"]["value"].clone()
    }

    /// The value of a promise that asks no wallet.
    pub fn evaluate_promise(&mut self, script: &str) -> Value {
        let answer = self.ask(
            "Runtime.evaluate",
            json!({"expression": script, "returnByValue": true, "awaitPromise": true}),
        );
        answer["result"]["value"].clone()
    }

    /// Waits until the page's text contains `part`, in any case of letters and however it is broken into lines.
    pub fn wait_text(&mut self, part: &str) {
        self.wait_text_in("body", part);
    }

    pub fn wait_text_in(&mut self, selector: &str, part: &str) {
        let script = format!(
            "(document.querySelector({selector:?})?.innerText ?? '').replace(/\\s+/g, ' ')"
        );
        let part = part.to_lowercase();
        self.wait(&format!("{part:?} in {selector}"), |browser| {
            let text = browser.evaluate(&script);
            text.as_str()
                .unwrap_or_default()
                .to_lowercase()
                .contains(&part)
        });
    }

    /// Clicks the first visible element that matches and whose text contains `words`, once it is there.
    pub fn click(&mut self, selector: &str, words: &str) {
        let script = format!(
            "(() => {{ const found = [...document.querySelectorAll({selector:?})].find((node) => \
             node.offsetParent !== null && node.textContent.includes({words:?})); found?.click(); return Boolean(found); }})()"
        );
        self.wait(&format!("{words:?} to click on"), |browser| {
            browser.evaluate(&script) == true
        });
    }

    /// Looks until a promise's value is `wanted`; a failure shows the value that it had last.
    pub fn wait_promise(&mut self, what: &str, script: &str, wanted: &Value) {
        self.wait(what, |browser| browser.evaluate_promise(script) == *wanted);
    }

    /// Looks until it is so; a failure shows what the page says instead.
    pub fn wait(&mut self, what: &str, mut is_so: impl FnMut(&mut Browser) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_so(self) {
            if Instant::now() > until {
                let text = self.evaluate("document.body.innerText");
                let dialog =
                    self.evaluate("document.querySelector('dialog[open]')?.innerText ?? ''");
                panic!("{what} did not come: {text} {dialog} {:?}", self.complaints);
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// Presses and releases a key.
    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            _ => panic!("{key} is not known here"),
        };
        let event = json!({"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
        self.ask("Input.dispatchKeyEvent", event);
        let event =
            json!({"type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": code});
        self.ask("Input.dispatchKeyEvent", event);
    }

    pub fn set_scheme(&mut self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.ask("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// Complaints that are not about a server which the test itself had taken away.
    pub fn foreign_complaints(&self) -> Vec<&String> {
        let ours = |complaint: &&String| !complaint.contains("ERR_CONNECTION");
        self.complaints.iter().filter(ours).collect()
    }
}

impl FakeWallet {
    fn is_silent(&self, call: &Value) -> bool {
        self.silent.iter().any(|method| call["method"] == *method)
    }

    fn answer(&mut self, call: &Value) -> Value {
        let method = call["method"].as_str().unwrap();
        let name = call["name"].as_str().unwrap();
        self.calls.push(format!("{name} {method}"));
        if let Some(at) = self.refusals.iter().position(|known| known.0 == method) {
            let (_, code, message, data) = self.refusals.remove(at);
            return json!({"error": {"code": code, "message": message, "data": data}});
        }
        if let Some((_, answer)) = self.answers.iter().find(|known| known.0 == method) {
            return json!({"result": answer});
        }
        match method {
            "eth_requestAccounts" | "eth_accounts" => json!({"result": [self.account]}),
            "eth_chainId" => json!({"result": self.chain_id}),
            "wallet_switchEthereumChain" if !self.knows_chain => {
                json!({"error": {"code": 4902, "message": "Unrecognized chain"}})
            }
            "wallet_switchEthereumChain" => {
                self.chain_id = call["params"][0]["chainId"].as_str().unwrap().to_owned();
                json!({"result": null})
            }
            "wallet_addEthereumChain" => {
                self.knows_chain = true;
                json!({"result": null})
            }
            _ => self.forward(method, &call["params"]),
        }
    }

    fn forward(&self, method: &str, params: &Value) -> Value {
        let mut params = params.clone();
        if method == "eth_sendTransaction" {
            params[0]["gas"] = json!("0x1e8480");
        }
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut response = ureq::post(&self.chain_url)
            .header("content-type", "application/json")
            .send(&call.to_string())
            .unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        match answer.get("error") {
            Some(error) => json!({"error": error}),
            None => json!({"result": answer["result"]}),
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().enumerate().fold(0u32, |word, (index, byte)| {
            word | u32::from(*byte) << (16 - 8 * index)
        });
        for index in 0..4 {
            match index <= chunk.len() {
                true => text.push(DIGITS[(word >> (18 - 6 * index) & 63) as usize] as char),
                false => text.push('='),
            }
        }
    }
    text
}
