//! The real binary in a fresh directory with a cleaned environment, watched through its log, API and feed.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crossbeam_channel::{unbounded, Receiver};
use serde_json::{json, Value};
use tempfile::TempDir;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

use crate::chain::{hex_address, wait_for, Lottery, CHAIN_ID, OPERATOR_KEY};

pub const TOKEN: &str = "test-token-0123456789";
const PATIENCE: Duration = Duration::from_secs(60);

/// How the daemon is to be started.
#[derive(Default)]
pub struct Options {
    /// Overrides of the configuration, section by section.
    pub config: Value,
    pub env: Vec<(&'static str, String)>,
    pub without_key: bool,
    /// In place of the usual operator's.
    pub key: Option<String>,
    /// The log is not shown.
    pub quiet: bool,
    /// It may open so many descriptors.
    pub files_max: Option<u64>,
}

pub struct Daemon {
    child: Child,
    pub url: String,
    log: Receiver<String>,
    /// Lines read while another was waited for, oldest first.
    passed: Mutex<Vec<String>>,
    _dir: TempDir,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command of the binary in a fresh directory with nothing of our own environment but the path.
pub fn lottery_in(dir: &TempDir) -> Command {
    let mut command = Command::new(binary());
    command
        .current_dir(dir.path())
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap_or_default());
    command
}

/// The daemon's binary, which cargo builds for the package's tests and benchmarks: the folder of this program (deps) lies
/// beside it.
fn binary() -> PathBuf {
    let own = std::env::current_exe().expect("a program knows its path");
    let beside = own
        .ancestors()
        .skip(1)
        .map(|folder| folder.join("lottery"))
        .find(|path| path.is_file());
    beside.unwrap_or_else(|| panic!("no lottery above {}: cargo build first", own.display()))
}

impl Daemon {
    pub fn start(lottery: &Lottery, options: Options) -> Daemon {
        let dir = TempDir::new().unwrap();
        let token_file = dir.path().join("token");
        std::fs::write(&token_file, TOKEN).unwrap();
        restrict(&token_file);
        let mut config = json!({
            "server": {"port": 0, "api_token_file": token_file},
            "blockchain": {
                "rpc_url": lottery.chain.url,
                "chain_id": CHAIN_ID,
                "contract_address": hex_address(lottery.address),
            },
        });
        merge(&mut config, &options.config);
        std::fs::write(dir.path().join("lottery.conf"), config.to_string()).unwrap();
        let mut command = lottery_in(&dir);
        if !options.without_key {
            let key = options.key.as_deref().unwrap_or(OPERATOR_KEY);
            command.env("LOTTERY_OPERATOR_PRIVATE_KEY", key);
        }
        command
            .envs(options.env)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if let Some(files_max) = options.files_max {
            limit_files(&mut command, files_max);
        }
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, log) = unbounded();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if !options.quiet {
                    eprintln!("| {line}");
                }
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut daemon = Daemon {
            child,
            url: String::new(),
            log,
            passed: Mutex::default(),
            _dir: dir,
        };
        let line = daemon.wait_log("serving on http://");
        let (_, url) = line.split_once("serving on ").unwrap();
        daemon.url = url.split_whitespace().next().unwrap().to_owned();
        daemon
    }

    /// Whose log is not shown, once it is ready.
    pub fn quiet(lottery: &Lottery, options: Options) -> Daemon {
        let quiet = Options {
            quiet: true,
            ..options
        };
        let daemon = Daemon::start(lottery, quiet);
        daemon.wait_ready();
        daemon
    }

    /// Whose operator acts on command alone.
    pub fn switched_off(lottery: &Lottery) -> Daemon {
        let config = json!({"operator": {"enabled": false}});
        let options = Options {
            config,
            ..Options::default()
        };
        Daemon::quiet(lottery, options)
    }

    /// Whose chain nobody serves.
    pub fn without_chain(lottery: &Lottery) -> Daemon {
        let options = Options {
            config: json!({"blockchain": {"rpc_url": "http://127.0.0.1:1"}}),
            quiet: true,
            ..Options::default()
        };
        Daemon::start(lottery, options)
    }

    /// host:port of the private port, which the configuration has to ask for. To be asked once.
    pub fn private_address(&self) -> String {
        let line = self.wait_log("metrics on http://");
        let (_, url) = line.split_once("http://").unwrap();
        url.split('/').next().unwrap().to_owned()
    }

    /// The oldest line with `part` that was not returned before, whenever it came: threads log in any order.
    pub fn wait_log(&self, part: &str) -> String {
        let until = Instant::now() + PATIENCE;
        let mut passed = self.passed.lock().unwrap();
        if let Some(at) = passed.iter().position(|line| line.contains(part)) {
            return passed.remove(at);
        }
        loop {
            match self.log.recv_deadline(until) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => passed.push(line),
                Err(_) => panic!("{part:?} did not appear in the log"),
            }
        }
    }

    /// Every line that was not returned before, in order, up to the first with `part`.
    pub fn log_until(&self, part: &str) -> Vec<String> {
        let until = Instant::now() + PATIENCE;
        let mut lines = std::mem::take(&mut *self.passed.lock().unwrap());
        while !lines.last().is_some_and(|line| line.contains(part)) {
            match self.log.recv_deadline(until) {
                Ok(line) => lines.push(line),
                Err(_) => panic!("{part:?} did not appear in the log"),
            }
        }
        lines
    }

    /// Every line so far that was not returned before, in order.
    pub fn logged(&self) -> Vec<String> {
        let mut lines = std::mem::take(&mut *self.passed.lock().unwrap());
        lines.extend(self.log.try_iter());
        lines
    }

    /// Until it has read the chain, and its key is the contract's operator where it has one.
    pub fn wait_ready(&self) {
        wait_for("the daemon to be ready", || {
            (self.get("/readyz").0 == 200).then_some(())
        });
    }

    pub fn get(&self, path: &str) -> (u16, Value) {
        answer(agent().get(format!("{}{path}", self.url)).call())
    }

    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = agent()
            .post(format!("{}{path}", self.url))
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {TOKEN}"));
        answer(request.send(body.to_string()))
    }

    /// Asks for a manual action and waits until it has ended; its last record.
    pub fn act(&self, path: &str, body: &Value) -> Value {
        let (status, accepted) = self.post(path, body);
        assert_eq!(status, 202, "{accepted}");
        let id = accepted["actionId"].as_str().unwrap().to_owned();
        wait_for("the action's end", || {
            let (status, action) = self.get(&format!("/api/operator/actions/{id}"));
            assert_eq!(status, 200, "{action}");
            let over = matches!(action["state"].as_str(), Some("done" | "failed"));
            over.then_some(action)
        })
    }

    pub fn feed(&self, query: &str) -> Feed {
        Feed::connect(&self.url, query)
    }

    /// Waits for it to end by itself.
    pub fn ended(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// SIGTERM; how it ended and how long that took.
    pub fn stop(mut self) -> (ExitStatus, Duration) {
        let started = Instant::now();
        self.signal(libc::SIGTERM);
        (self.child.wait().unwrap(), started.elapsed())
    }

    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).unwrap();
        // SAFETY: kill(2) touches no memory; the child is ours and not reaped yet.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// User and system time so far, in clock ticks.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    pub fn resident_kib(&self) -> u64 {
        self.status_kib("VmRSS")
    }

    /// What is resident of its own making: the program's pages, which are read in one by one, are left out.
    pub fn allocated_kib(&self) -> u64 {
        self.status_kib("RssAnon")
    }

    /// Files, sockets and the like that it has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .unwrap()
            .count()
    }

    fn status_kib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

/// A client of the feed.
pub struct Feed {
    socket: WebSocket<MaybeTlsStream<std::net::TcpStream>>,
}

impl Feed {
    /// Of the daemon at that http:// URL.
    pub fn connect(url: &str, query: &str) -> Feed {
        let url = format!("{}/ws/lottery{query}", url.replace("http", "ws"));
        let (mut socket, _) = tungstenite::connect(url).unwrap();
        if let MaybeTlsStream::Plain(stream) = socket.get_mut() {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        Feed { socket }
    }

    pub fn read(&mut self) -> Value {
        loop {
            match self.socket.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(frame) => {
                    return json!({"type": "close", "code": frame.map(|f| u16::from(f.code))})
                }
                _ => {}
            }
        }
    }

    /// Reads on to the first message of that type for which `fits` holds.
    pub fn wait(&mut self, kind: &str, mut fits: impl FnMut(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let message = self.read();
            if message["type"] == kind && fits(&message["payload"]) {
                return message;
            }
            assert!(Instant::now() < until, "no fitting {kind} came");
        }
    }
}

fn limit_files(command: &mut Command, files_max: u64) {
    use std::os::unix::process::CommandExt;
    let limit = libc::rlimit {
        rlim_cur: files_max,
        rlim_max: files_max,
    };
    // SAFETY: between fork and exec only setrlimit(2) is called, which is async-signal-safe.
    unsafe {
        command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_NOFILE, &limit) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(10)))
        .build()
        .new_agent()
}

fn answer(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> (u16, Value) {
    let mut response = result.unwrap();
    let status = response.status().as_u16();
    let text = response.body_mut().read_to_string().unwrap();
    (
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (base, over) => *base = over.clone(),
    }
}

fn restrict(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
