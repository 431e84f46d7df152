//! What the one who runs it relies on: what systemd is told, what the journal gets, `lottery status`, and that nothing
//! secret leaves the process in whatever it says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use crossbeam_channel::{unbounded, Receiver};
use devchain::Fault;
use serde_json::json;
use support::chain::{
    hex_address, wait_for, Chain, Lottery, Timing, CHAIN_ID, OPERATOR, OPERATOR_KEY,
};
use support::daemon::{lottery_in, Daemon, Feed, Options, TOKEN};
use support::systemd::Systemd;
use support::BET_WEI;
use tempfile::TempDir;

fn options(env: Vec<(&'static str, String)>) -> Options {
    Options {
        env,
        ..Options::default()
    }
}

#[test]
fn systemd_is_told_of_readiness_round_and_stop_and_an_outage_starves_no_watchdog() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let systemd = Systemd::listening();
    let daemon = Daemon::start(&lottery, options(systemd.environment(600_000)));
    assert_eq!(systemd.wait("READY"), "READY=1");
    systemd.wait("STATUS=round 1 waiting, 0 players, 0 ETH; ");
    lottery.bet(2, BET_WEI);
    systemd.wait("STATUS=round 1 betting, 1 players, 0.001 ETH; ");
    chain.dev().faults().add(Fault::Reset, None, None);
    systemd.wait("STATUS=chain not reachable: ");
    for _ in 0..5 {
        systemd.wait("WATCHDOG=1");
    }
    chain.dev().faults().clear();
    systemd.wait("STATUS=round 1 ");
    daemon.stop();
    systemd.wait("STOPPING=1");
}

#[test]
fn a_loop_that_hangs_is_not_covered_up() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let systemd = Systemd::listening();
    let mut env = systemd.environment(600_000);
    env.push(("STICK_ONCE_IN", "operator".to_owned()));
    env.push(("STUCK_AFTER_SECS", "6".to_owned()));
    let mut daemon = Daemon::start(&lottery, options(env));
    systemd.wait("WATCHDOG=1");
    assert_eq!(daemon.ended().code(), Some(1));
    // Unhealthy after half of its time: the other half brought nothing to the watchdog.
    let all = systemd.heard();
    let fed = all
        .iter()
        .filter(|message| *message == "WATCHDOG=1")
        .count();
    assert!(fed <= 25, "fed {fed} times: {all:?}");
    assert!(
        all.last()
            .is_some_and(|last| last.starts_with("STOPPING=1")),
        "{all:?}"
    );
}

#[test]
fn the_journal_gets_levels_and_no_times() {
    let dir = TempDir::new().unwrap();
    let log = dir.path().join("log");
    let file = std::fs::File::create(&log).unwrap();
    let found = file.metadata().unwrap();
    let run = |journal: String, file: std::fs::File| {
        let status = lottery_in(&dir)
            .args(["check", "--set", "blockchain.rpc_url=http://127.0.0.1:1"])
            .args(["--set", "blockchain.chain_id=1"])
            .args([
                "--set",
                "blockchain.contract_address=0x00000000000000000000000000000000000000aa",
            ])
            .env("JOURNAL_STREAM", journal)
            .stderr(file)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(3));
        std::fs::read_to_string(&log).unwrap()
    };
    let journal = format!("{}:{}", found.dev(), found.ino());
    let text = run(journal, file);
    assert!(text.starts_with("<4>no key is configured"), "{text}");
    let again = std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(&log)
        .unwrap();
    let text = run("1:1".to_owned(), again);
    assert!(text.starts_with("[20") && text.contains(" WARN "), "{text}");
}

#[test]
fn status_tells_a_person_and_monitoring() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    chain.dev().faults().add(Fault::Reset, None, None);
    let daemon = Daemon::start(&lottery, Options::default());
    let dir = TempDir::new().unwrap();
    let port = daemon.url.rsplit(':').next().unwrap().to_owned();
    let status = || {
        let output = lottery_in(&dir)
            .args(["status", "--set", &format!("server.port={port}")])
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let (code, text) = status();
    assert_eq!(code, Some(3), "{text}");
    assert!(
        text.starts_with("ready       no: ") && text.contains("not known yet"),
        "{text}"
    );
    chain.dev().faults().clear();
    lottery.bet(2, BET_WEI);
    let text = wait_for("the bet in the status", || {
        let (code, text) = status();
        (code == Some(0) && text.contains("players     1\n")).then_some(text)
    });
    assert!(text.starts_with("ready       yes\n"), "{text}");
    daemon.stop();
    assert_eq!(status().0, Some(1));
}

/// The third account of the well-known phrase.
const SUCCESSOR: usize = 2;
const SUCCESSOR_KEY: &str = "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a";

#[test]
fn a_credential_and_a_restart_promote_a_replica_and_change_its_key() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let credentials = TempDir::new().unwrap();
    let directory = credentials.path().display().to_string();
    let start = || {
        let env = vec![("CREDENTIALS_DIRECTORY", directory.clone())];
        let daemon = Daemon::start(
            &lottery,
            Options {
                env,
                without_key: true,
                ..Options::default()
            },
        );
        daemon.wait_ready();
        daemon
    };
    let hand_over = |key: &str| std::fs::write(credentials.path().join("operator_key"), key);
    let address = |daemon: &Daemon| daemon.get("/api/operator/status").1["address"].clone();
    let is_drawn = |round_id: u64| {
        lottery.bet(4, BET_WEI);
        lottery.bet(5, BET_WEI);
        lottery.skip_to(lottery.round().min_draw_time - 4);
        wait_for("the draw", || lottery.winner_of(round_id));
    };
    let replica = start();
    assert_eq!(address(&replica), json!(null));
    replica.stop();
    hand_over(OPERATOR_KEY).unwrap();
    let promoted = start();
    is_drawn(1);
    // A new key: the publisher names its address, and the daemon is restarted with it.
    let successor = chain.account(SUCCESSOR);
    let successor_token = [ethabi::Token::Address(successor)];
    chain.send(lottery.transaction(0, "setOperator", &successor_token, 0));
    let alert = wait_for("the alert", || {
        let (_, status) = promoted.get("/api/operator/status");
        let alerts = status["alerts"].as_array().unwrap().clone();
        alerts
            .into_iter()
            .find(|alert| alert["code"] == "operator_changed")
    });
    assert_eq!(alert["severity"], "critical");
    promoted.stop();
    hand_over(SUCCESSOR_KEY).unwrap();
    let rotated = start();
    let shown = address(&rotated);
    let shown = shown.as_str().unwrap().to_lowercase();
    assert_eq!(shown, hex_address(successor));
    is_drawn(2);
}

#[test]
fn a_sound_round_takes_ten_lines_at_most_and_each_says_what_it_is_about() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = Daemon::start(&lottery, Options::default());
    daemon.wait_ready();
    const ROUNDS: u64 = 3;
    for round_id in 1..=ROUNDS {
        lottery.bet(2, BET_WEI);
        lottery.bet(3, BET_WEI);
        lottery.skip_to(lottery.round().min_draw_time - 4);
        wait_for("the draw", || lottery.winner_of(round_id));
    }
    let ended = format!("waiting for the first bet round={}", ROUNDS + 1);
    let lines = daemon.log_until(&ended);
    let of_rounds: Vec<&String> = lines.iter().filter(|it| it.contains("round=")).collect();
    let loud = |line: &&String| !line.contains(" INFO ");
    assert_eq!(of_rounds.iter().copied().find(loud), None);
    for round_id in 1..=ROUNDS {
        let own = format!(" round={round_id}");
        let own = of_rounds.iter().filter(|line| line.contains(&own));
        let own: Vec<&&String> = own.collect();
        assert!((5..=10).contains(&own.len()), "{own:#?}");
        for what in ["sent ", "done in block "] {
            let line = own.iter().find(|line| line.contains(what)).unwrap();
            for field in [" action=draw", " nonce=", " hash=0x"] {
                assert!(line.contains(field), "{line}");
            }
        }
    }
    // Besides, only the start speaks.
    let others = lines.len() - of_rounds.len();
    assert!(others <= 5, "{lines:#?}");
}

/// A draw that no pool takes for a dozen blocks: told when that begins, and with its tries when it ends.
#[test]
fn what_is_refused_in_each_block_is_logged_when_that_begins_and_when_it_ends() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = Daemon::start(&lottery, Options::default());
    daemon.wait_ready();
    lottery.bet(2, BET_WEI);
    lottery.bet(3, BET_WEI);
    let holds = |wei: &str| {
        let operator = hex_address(chain.account(OPERATOR));
        chain.rpc("anvil_setBalance", json!([operator, wei]));
    };
    holds("0x0");
    let opens = lottery.round().min_draw_time;
    lottery.skip_to(opens - 4);
    wait_for("a dozen blocks", || {
        (chain.head().1 >= opens + 12).then_some(())
    });
    holds("0xde0b6b3a7640000");
    let lines = daemon.log_until("waiting for the first bet round=2");
    let about = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
    let of_round = about("round=1");
    assert!(of_round <= 12, "{lines:#?}");
    assert_eq!(about("draw refused: "), 1, "{lines:#?}");
    assert_eq!(about(" times: "), 1, "{lines:#?}");
    assert_eq!(about("alert action_blocked:"), 1, "{lines:#?}");
    assert_eq!(about("alert action_blocked has ended"), 1, "{lines:#?}");
}

/// A node, or a proxy before it, that answers every request with an error that repeats the request, head and body.
fn echoing_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || echo(stream));
        }
    });
    address.to_string()
}

fn echo(mut stream: std::net::TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let (mut head, mut len) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? <= 2 {
                break;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                len = value.trim().parse().ok()?;
            }
            head += &line;
        }
        let mut body = vec![0; len];
        reader.read_exact(&mut body).ok()?;
        let message = format!("cannot serve {head}");
        let answer =
            json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": message}});
        let answer = answer.to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        stream.write_all((head + &answer).as_bytes()).ok()?;
    }
}

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const PASSWORD: &str = "correct-horse-battery";
const PATH_KEY: &str = "9f8e7d6c5b4a39281706";
const QUERY_KEY: &str = "q1w2e3r4t5y6u7i8";
const HOOK_KEY: &str = "T0K3N-OF-THE-HOOK";

#[test]
fn nothing_secret_is_said_anywhere_even_at_trace() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let echo = echoing_server();
    let dir = TempDir::new().unwrap();
    let private = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let own = chain.url.trim_start_matches("http://").to_owned();
    let config = json!({
        "server": {"port": 0, "metrics_listen": "127.0.0.1:0", "api_token_file": private("token", TOKEN)},
        "blockchain": {
            "rpc_url": [
                format!("http://user:{PASSWORD}@{echo}/v3/{PATH_KEY}?apikey={QUERY_KEY}"),
                format!("http://user:{PASSWORD}@{own}/v3/{PATH_KEY}?apikey={QUERY_KEY}"),
            ],
            "chain_id": CHAIN_ID,
            "contract_address": hex_address(lottery.address),
        },
        "operator": {
            "key_file": private("key", OPERATOR_KEY),
            "alert_webhook": format!("http://hook:{PASSWORD}@{echo}/{HOOK_KEY}"),
        },
    });
    let mut talker = Talker::start(&dir, &private("lottery.conf", &config.to_string()));
    a_round_with_a_manual_refund(&lottery, &talker.url, &mut talker.said);
    talker.ends_without(&[
        PATH_KEY,
        QUERY_KEY,
        HOOK_KEY,
        TOKEN,
        OPERATOR_KEY.trim_start_matches("0x"),
    ]);
}

/// A signer that answers with all that it was sent, its own account and path among it, in the window.
#[test]
fn nothing_secret_is_said_of_a_signer_elsewhere() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let echo = echoing_server();
    let dir = TempDir::new().unwrap();
    let config = json!({
        "server": {"port": 0, "metrics_listen": "127.0.0.1:0"},
        "blockchain": {
            "rpc_url": chain.url,
            "chain_id": CHAIN_ID,
            "contract_address": hex_address(lottery.address),
            "operator_address": hex_address(chain.account(OPERATOR)),
        },
        "operator": {
            "signer_url": format!("http://user:{PASSWORD}@{echo}/sign/{PATH_KEY}?apikey={QUERY_KEY}"),
            "alert_webhook": format!("http://{echo}/{HOOK_KEY}"),
        },
    });
    let file = dir.path().join("lottery.conf");
    std::fs::write(&file, config.to_string()).unwrap();
    let mut talker = Talker::start(&dir, &file);
    let mut feed = Feed::connect(&talker.url, "");
    lottery.bet(2, BET_WEI);
    lottery.bet(3, BET_WEI);
    lottery.skip_to(lottery.round().min_draw_time - 4);
    let alert = feed.wait("operator_alert", |alert| alert["code"] == "signer_failed");
    talker.said.push(alert.to_string());
    for path in [
        "/api/health",
        "/api/status",
        "/api/operator/status",
        "/api/activities",
    ] {
        let mut response = ureq::get(format!("{}{path}", talker.url)).call().unwrap();
        talker
            .said
            .push(response.body_mut().read_to_string().unwrap());
    }
    let told = talker.said.iter().filter(|text| text.contains("signer"));
    assert!(told.count() > 1, "the signer's failure is not told");
    talker.ends_without(&[PATH_KEY, QUERY_KEY, HOOK_KEY]);
}

/// A daemon that says all that it ever says, and what it and its answers have said.
struct Talker {
    child: Killed,
    lines: Receiver<String>,
    url: String,
    said: Vec<String>,
}

impl Talker {
    fn start(dir: &TempDir, config: &Path) -> Talker {
        let mut command = lottery_in(dir);
        let levels = "trace,ureq::unversioned=trace,tungstenite::protocol=trace";
        command.arg("--config").arg(config).env("RUST_LOG", levels);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = Killed(command.spawn().unwrap());
        let (sender, lines) = unbounded();
        let stderr = BufReader::new(child.0.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut said = Vec::new();
        let url = loop {
            let line = lines
                .recv_timeout(Duration::from_secs(60))
                .expect("it serves");
            let url = line
                .split_once("serving on ")
                .and_then(|(_, rest)| Some(rest.split_whitespace().next()?.to_owned()));
            said.push(line);
            if let Some(url) = url {
                break url;
            }
        };
        Talker {
            child,
            lines,
            url,
            said,
        }
    }

    /// Ends it; neither these nor the password were said, whatever their case.
    fn ends_without(mut self, secrets: &[&str]) {
        stop(&mut self.child.0);
        self.said.extend(self.lines.iter());
        let traced = self.said.iter().filter(|text| text.contains(" TRACE "));
        assert!(traced.count() > 5, "{:#?}", self.said);
        // The password also in the dress of basic authentication.
        let always = [PASSWORD, "dXNlcjpjb3JyZWN0LWhvcnNlLWJhdHRlcnk"];
        for secret in secrets.iter().chain(&always) {
            let lower = secret.to_lowercase();
            let mut texts = self.said.iter();
            let leak = texts.find(|text| text.to_lowercase().contains(&lower));
            assert_eq!(leak, None, "{secret} was said");
        }
    }
}

/// Plays a round by hand and collects every answer of the API, the metrics and the feed.
fn a_round_with_a_manual_refund(lottery: &Lottery, url: &str, said: &mut Vec<String>) {
    lottery.bet(2, BET_WEI);
    let mut feed = Feed::connect(url, "");
    said.push(feed.read().to_string());
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .new_agent();
    let mut get = |path: &str| {
        let mut response = agent.get(format!("{url}{path}")).call().unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        said.push(text.clone());
        text
    };
    wait_for("the bet", || {
        get("/api/round/status")
            .contains("\"participantCount\":1")
            .then_some(())
    });
    for path in [
        "/healthz",
        "/readyz",
        "/api/health",
        "/api/status",
        "/api/operator/status",
        "/api/activities",
        "/api/history",
        "/api/contract/config",
        "/api/openapi.json",
        "/api/operator/actions/1",
        "/",
    ] {
        get(path);
    }
    let mut response = agent
        .post(format!("{url}/api/round/refund"))
        .header("authorization", format!("Bearer {TOKEN}"))
        .send(json!({"roundId": 1, "force": true}).to_string())
        .unwrap();
    said.push(response.body_mut().read_to_string().unwrap());
    let mut response = agent
        .post(format!("{url}/api/round/refund"))
        .header("authorization", "Bearer wrong-token-wrong")
        .send("{}")
        .unwrap();
    said.push(response.body_mut().read_to_string().unwrap());
    said.push(feed.wait("history_update", |_| true).to_string());
    let mut get = |path: &str| {
        let mut response = agent.get(format!("{url}{path}")).call().unwrap();
        said.push(response.body_mut().read_to_string().unwrap());
    };
    for path in [
        "/api/health",
        "/api/status",
        "/api/activities",
        "/api/history",
        "/api/history/1",
    ] {
        get(path);
    }
}

fn stop(child: &mut Child) {
    let pid = i32::try_from(child.id()).unwrap();
    // SAFETY: kill takes any two numbers; the process is our own child, not waited for yet.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
