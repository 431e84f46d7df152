//! The command line of the real binary: what `check` finds on odd endpoints, what the environment may hold, and what
//! happens to stdout and signals.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use devchain::{Character, Config, Distortion, Fault, Mining};
use serde_json::{json, Value};
use support::chain::{hex_address, Chain, Lottery, Timing, CHAIN_ID, OPERATOR, OPERATOR_KEY};
use support::daemon::{lottery_in, Daemon, Options, TOKEN};
use support::programs::may_mount;
use support::BET_WEI;
use tempfile::TempDir;

/// `lottery check --json` of one endpoint.
fn check(lottery: &Lottery, url: &str, more: &[&str]) -> (Option<i32>, Value) {
    let dir = TempDir::new().unwrap();
    let output = lottery_in(&dir)
        .args(["check", "--json"])
        .args(settings(lottery, url))
        .args(more)
        .env("LOTTERY_OPERATOR_PRIVATE_KEY", OPERATOR_KEY)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{told}"));
    (output.status.code(), value)
}

fn settings(lottery: &Lottery, url: &str) -> Vec<String> {
    let contract = hex_address(lottery.address);
    [
        format!("blockchain.rpc_url={url}"),
        format!("blockchain.chain_id={CHAIN_ID}"),
        format!("blockchain.contract_address={contract}"),
    ]
    .map(|set| format!("--set={set}"))
    .to_vec()
}

/// The checks of this level.
fn named(report: &Value, level: &str) -> Vec<String> {
    let rows = report["checks"].as_array().unwrap().iter();
    rows.filter(|row| row["level"] == level)
        .map(|row| row["check"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn check_fails_on_what_would_stop_a_draw_and_warns_of_the_rest() {
    let config = Config {
        mining: Mining::IntervalMs(1_000),
        ..Config::default()
    };
    let chain = Chain::devchain_on(config, 1);
    let lottery = chain.deploy(Timing::default());
    lottery.bet(2, BET_WEI);
    let endpoint = &chain.dev().endpoints()[0];
    let url = endpoint.url();
    let (code, report) = check(&lottery, &url, &[]);
    assert_eq!(
        (code, &report["passed"]),
        (Some(0), &json!(true)),
        "{report:#}"
    );
    assert_eq!(named(&report, "failed"), [""; 0], "{report:#}");
    let refused = |methods: &str| {
        endpoint.faults.clear();
        for method in methods.split(' ') {
            endpoint
                .faults
                .add(Fault::Status(403, None), Some(method), None);
        }
        check(&lottery, &url, &[])
    };
    for (method, failed) in [
        ("eth_chainId net_version", "chain id"),
        ("eth_getBlockByNumber", "head"),
        ("eth_call", "getRound"),
        ("eth_getTransactionCount", "nonce"),
        ("eth_sendRawTransaction", "sending"),
    ] {
        let (code, report) = refused(method);
        assert_eq!(
            (code, &report["passed"]),
            (Some(3), &json!(false)),
            "{method}: {report:#}"
        );
        assert!(
            named(&report, "failed").contains(&failed.to_owned()),
            "{method}: {report:#}"
        );
        let rows = report["checks"].as_array().unwrap();
        let has_way_out =
            |row: &Value| row["level"] != "failed" || row["advice"].as_str().is_some();
        assert!(rows.iter().all(has_way_out), "{report:#}");
    }
    for (method, warned) in [
        ("eth_estimateGas", "eth_estimateGas"),
        ("eth_getTransactionReceipt", "receipts"),
        ("eth_getLogs", "eth_getLogs"),
        ("eth_getBlockByHash", "block by hash"),
        ("eth_getCode", "code at the address"),
        ("eth_getBalance", "balance"),
    ] {
        let (code, report) = refused(method);
        assert_eq!(code, Some(0), "{method}: {report:#}");
        assert!(
            named(&report, "warning").contains(&warned.to_owned()),
            "{method}: {report:#}"
        );
    }
    for method in [
        "eth_feeHistory",
        "eth_maxPriorityFeePerGas",
        "eth_gasPrice",
        "web3_clientVersion",
    ] {
        let (code, report) = refused(method);
        assert_eq!(code, Some(0), "{method}: {report:#}");
    }
}

#[test]
fn check_warns_of_what_an_endpoint_lacks_and_says_what_that_costs() {
    let chain = Chain::devchain_on(Config::default(), 1);
    let lottery = chain.deploy(Timing::default());
    for _ in 0..12 {
        chain.dev().mine();
    }
    let endpoint = &chain.dev().endpoints()[0];
    type Lacks = fn(&mut Character);
    let cases: [(Lacks, Option<&str>); 4] = [
        (|_| {}, None),
        (|it| it.refuses_batches = true, Some("batch")),
        (|it| it.loses_batch_items = true, Some("batch")),
        (
            |it| it.ignores_call_overrides = true,
            Some("block overrides"),
        ),
    ];
    for (lacks, warned) in cases {
        endpoint.faults.clear();
        endpoint.faults.set(lacks);
        let (code, report) = check(&lottery, &endpoint.url(), &[]);
        assert_eq!(code, Some(0), "{report:#}");
        let rows = report["checks"].as_array().unwrap().iter();
        let mut rows =
            rows.filter(|row| row["check"] == "batch" || row["check"] == "block overrides");
        let costly = rows.find(|row| row["level"] == "warning");
        assert_eq!(
            costly.map(|row| row["check"].as_str().unwrap()),
            warned,
            "{report:#}"
        );
        let is_explained = |row: &Value| row["advice"].as_str().is_some_and(|it| !it.is_empty());
        assert!(costly.is_none_or(is_explained), "{report:#}");
    }
}

#[test]
fn check_warns_of_what_is_pending_and_of_an_endpoint_that_does_not_tell() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let endpoint = &chain.dev().endpoints()[0];
    let row = |name: &str| {
        let (code, report) = check(&lottery, &endpoint.url(), &[]);
        assert_eq!(code, Some(0), "{report:#}");
        let mut rows = report["checks"].as_array().unwrap().iter();
        let row = rows.find(|row| row["check"] == name);
        row.unwrap_or_else(|| panic!("{name}: {report:#}")).clone()
    };
    let told = |row: &Value| (row["level"].clone(), row["found"].clone());
    assert_eq!(told(&row("nonce")), (json!("ok"), json!("0")));
    assert_eq!(row("pending block")["level"], "ok");

    chain.dev().hold_transactions(true);
    let transfer = json!({"from": hex_address(chain.account(OPERATOR)), "to": hex_address(chain.account(5)), "value": "0x1"});
    chain.submit(&transfer);
    let nonce = row("nonce");
    let found = json!("0 latest, 1 with what is pending");
    assert_eq!(told(&nonce), (json!("warning"), found));
    let costs = nonce["advice"].as_str().unwrap();
    assert!(costs.contains("outbid or waited for"), "{costs}");

    // Tells neither a nonce with what is pending nor a time of a block to come, which is the one word that is asked for.
    let says_nothing = Distortion::new(|result| {
        let is_word = result.as_str().is_some_and(|text| text.len() == 66);
        if *result == "0x1" || is_word {
            *result = Value::Null;
        }
    });
    for (method, name, cost) in [
        ("eth_getTransactionCount", "pending nonce", "is not seen"),
        ("eth_call", "pending block", "is guessed"),
    ] {
        endpoint.faults.clear();
        let fault = Fault::Distort(says_nothing.clone());
        endpoint.faults.add(fault, Some(method), None);
        let row = row(name);
        assert_eq!(row["level"], "warning", "{row}");
        assert!(row["advice"].as_str().unwrap().contains(cost), "{row}");
    }
}

#[test]
fn check_compares_prices_delays_and_addresses_with_the_configuration() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    for (set, failed, told) in [
        (
            "blockchain.max_fee_gwei=0.000000001",
            "price",
            "blockchain.max_fee_gwei",
        ),
        (
            "blockchain.max_tx_fee_ether=0.000000000000000001",
            "price",
            "blockchain.max_tx_fee_ether",
        ),
        (
            "operator.standby_delay=86400",
            "standby_delay",
            "operator.standby_delay",
        ),
        (
            "blockchain.chain_id=5",
            "chain id",
            "blockchain.chain_id is 5",
        ),
        (
            "blockchain.contract_address=0x00000000000000000000000000000000000000aa",
            "code at the address",
            "no contract at 0x",
        ),
    ] {
        let (code, report) = check(&lottery, &chain.url, &["--set", set]);
        assert_eq!(code, Some(3), "{set}: {report:#}");
        assert_eq!(named(&report, "failed"), [failed], "{set}");
        assert!(report.to_string().contains(told), "{set}: {report:#}");
    }
    let dir = TempDir::new().unwrap();
    let table = lottery_in(&dir)
        .arg("check")
        .args(settings(&lottery, &chain.url))
        .output()
        .unwrap();
    let text = String::from_utf8(table.stdout).unwrap();
    assert!(text.contains("none: the daemon will not draw"), "{text}");
    assert!(text.contains("ok    "), "{text}");
}

#[test]
fn a_reader_that_goes_away_is_no_fault_and_a_full_disk_is_told() {
    let dir = TempDir::new().unwrap();
    for arguments in [
        &["--help"][..],
        &["--help", "settings"],
        &["--version"],
        &["draw", "-h"],
    ] {
        let mut child = lottery_in(&dir)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut told = String::new();
        let mut stderr = child.stderr.take().unwrap();
        stderr.read_to_string(&mut told).unwrap();
        assert_eq!((child.wait().unwrap().code(), told.as_str()), (Some(0), ""));
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let output = lottery_in(&dir)
            .args(arguments)
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let told = stderr_of(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(
            told.starts_with("stdout cannot be written: No space left"),
            "{told}"
        );
    }
    let full = || {
        std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap()
    };
    let mute = lottery_in(&dir).arg("fly").stderr(full()).status().unwrap();
    assert_eq!(mute.code(), Some(2));
}

pub fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The daemon behind a shell that ignores these signals, as nohup does.
#[test]
fn an_ignored_signal_stays_ignored() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let dir = TempDir::new().unwrap();
    let program = lottery_in(&dir).get_program().to_owned();
    let mut child = Command::new("sh")
        .args(["-c", "trap '' HUP; exec \"$0\" \"$@\""])
        .arg(program)
        .args(["run", "--set=server.port=0"])
        .args(settings(&lottery, &chain.url))
        .current_dir(dir.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut wait_for = |part: &str| {
        let line = lines
            .by_ref()
            .map_while(Result::ok)
            .find(|line| line.contains(part));
        assert!(line.is_some(), "the log ended without {part:?}");
    };
    wait_for("serving on");
    let signal = |signal| {
        let pid = i32::try_from(child.id()).unwrap();
        // SAFETY: kill takes any two numbers; the process is our own child, not waited for yet.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    };
    signal(libc::SIGHUP);
    signal(libc::SIGTERM);
    // A handled SIGHUP would have been the first signal, and SIGTERM then ends the process at once with 130.
    wait_for("stopped");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn asking_the_daemon_takes_its_port_and_token_alone() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = Daemon::start(&lottery, Options::default());
    daemon.wait_ready();
    let dir = TempDir::new().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, format!("\u{feff}{TOKEN}\n")).unwrap();
    let restricted = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&token, restricted).unwrap();
    let ask = |command: &str, port: &str| {
        let config = json!({
            "server": {"port": port.parse::<u16>().unwrap(), "api_token_file": token},
            "operator": {"key_file": "/nowhere/readable/for/this/person"},
        });
        std::fs::write(dir.path().join("lottery.conf"), config.to_string()).unwrap();
        let output = lottery_in(&dir).arg(command).output().unwrap();
        (output.status.code(), stderr_of(&output))
    };
    let port = daemon.url.rsplit(':').next().unwrap();
    for command in ["draw", "refund"] {
        let (code, told) = ask(command, port);
        assert_eq!(code, Some(3), "{told}");
        assert!(told.contains("round 1") && !told.contains("key"), "{told}");
        let (code, told) = ask(command, "1");
        assert_eq!(code, Some(1), "{told}");
        assert!(
            told.contains("no daemon answers at http://127.0.0.1:1, ")
                && told.contains("server.port name: Connection refused"),
            "{told}"
        );
    }
}

/// Editors put one at the start of a text without being asked.
#[test]
fn a_byte_order_mark_before_configuration_and_key_is_skipped() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let dir = TempDir::new().unwrap();
    let key = dir.path().join("key");
    std::fs::write(&key, format!("\u{feff}{OPERATOR_KEY}\r\n")).unwrap();
    let restricted = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key, restricted).unwrap();
    let config = json!({
        "blockchain": {
            "rpc_url": chain.url,
            "chain_id": CHAIN_ID,
            "contract_address": hex_address(lottery.address),
        },
        "operator": {"key_file": key},
    });
    std::fs::write(dir.path().join("lottery.conf"), format!("\u{feff}{config}")).unwrap();
    let output = lottery_in(&dir).args(["check", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let passed = named(&report, "ok");
    assert!(passed.contains(&"operator".to_owned()), "{report:#}");
}

/// On stdout, with every option of its own, whatever stands in the configuration.
#[test]
fn every_command_has_its_help() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("lottery.conf"), "broken").unwrap();
    let help = |arguments: &[&str]| {
        let output = lottery_in(&dir).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let overview = help(&["--help"]);
    for source in ["key_file", "keystore", "KEY", "credential", "signer_url"] {
        assert!(overview.contains(source), "{source} in {overview}");
    }
    let (_, commands) = overview.split_once("\nCommands:\n").unwrap();
    let (commands, _) = commands.split_once("\n\n").unwrap();
    let names = commands
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let own: [(&str, &[&str]); 7] = [
        ("run", &[]),
        ("check", &["--json", "--alert"]),
        ("status", &["--json"]),
        ("verify", &["--json"]),
        ("audit", &["--from", "--to", "--csv", "--json", "--state"]),
        ("draw", &["--round", "--direct", "--json"]),
        ("refund", &["--round", "--force", "--direct", "--json"]),
    ];
    assert!(names.eq(own.map(|(name, _)| name)), "{commands}");
    for (name, options) in own {
        let text = help(&[name, "--help"]);
        assert!(text.starts_with(&format!("lottery {name}: ")), "{text}");
        for option in [options, &["--config", "--set", "--help"]].concat() {
            assert!(text.contains(&format!("{option} ")), "{option} in {text}");
        }
    }
}

#[test]
fn a_cluster_may_inject_what_it_likes() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let injected = [
        ("LOTTERY_SERVICE_HOST", "10.0.0.1"),
        ("LOTTERY_PORT", "tcp://10.0.0.1:80"),
        ("LOTTERY_PORT_80_TCP_PROTO", "tcp"),
        ("LOTTERY_SERVER_PORT", "tcp://10.0.0.1:80"),
        ("LOTTERY_OPERATOR_KEY_FILE", ""),
        ("RUST_LOG", ""),
    ];
    let daemon = Daemon::start(
        &lottery,
        Options {
            env: injected
                .map(|(name, value)| (name, value.to_owned()))
                .to_vec(),
            ..Options::default()
        },
    );
    daemon.wait_ready();
    let dir = TempDir::new().unwrap();
    let output = lottery_in(&dir)
        .args(settings(&lottery, &chain.url))
        .env("LOTTERY_SERVER_PROT", "1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr_of(&output).contains("did you mean LOTTERY_SERVER_PORT?"),
        "{output:?}"
    );
}

/// On a mount as orchestrators make for secrets; left out where this process may not mount.
#[test]
fn a_key_that_all_may_read_is_used_on_a_read_only_mount_alone() {
    let dir = TempDir::new().unwrap();
    let program = lottery_in(&dir).get_program().to_owned();
    let run = |after: &str| {
        let script = format!(
            "mkdir -p m && mount -t tmpfs tmpfs m && cd m && cp /dev/stdin key && chmod 444 key && {after} \
             exec \"$0\" check --set operator.key_file=$PWD/key --set blockchain.rpc_url=http://127.0.0.1:1 \
             --set blockchain.chain_id=1 \
             --set blockchain.contract_address=0x00000000000000000000000000000000000000aa"
        );
        let key = dir.path().with_extension("key");
        std::fs::write(&key, OPERATOR_KEY).unwrap();
        let output = Command::new("unshare")
            .args(["-rm", "sh", "-c", &script])
            .arg(&program)
            .current_dir(dir.path())
            .stdin(std::fs::File::open(&key).unwrap())
            .output()
            .unwrap();
        std::fs::remove_file(key).unwrap();
        output
    };
    if !may_mount() {
        eprintln!("left out: this process may not mount");
        return;
    }
    let writable = run("");
    assert_eq!(writable.status.code(), Some(2));
    assert!(stderr_of(&writable).contains("has mode 444, allowed is access for its owner alone"));
    let read_only = run("mount -o remount,ro $PWD &&");
    let told = stderr_of(&read_only);
    assert_eq!(read_only.status.code(), Some(3), "{told}");
    assert!(
        told.contains("has mode 444: others on this machine may read it"),
        "{told}"
    );
}

/// The package's file, seen by commands that are run anywhere; left out where this process may not mount.
#[test]
fn every_command_finds_the_machines_configuration_unless_one_is_here_or_named() {
    if !may_mount() {
        eprintln!("left out: this process may not mount");
        return;
    }
    let dir = TempDir::new().unwrap();
    let program = lottery_in(&dir).get_program().to_owned();
    let told = |arguments: &str| {
        let script = format!(
            "mount -t tmpfs tmpfs /etc && mkdir /etc/lottery && echo '{{\"server\": {{\"port\": 70000}}}}' \
             >/etc/lottery/lottery.conf && exec \"$0\" {arguments}"
        );
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", &script]).arg(&program);
        let output = command.current_dir(dir.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {output:?}");
        stderr_of(&output)
    };
    let of_machine = "/etc/lottery/lottery.conf:1:21: server.port is 70000";
    for command in [
        "run", "check", "status", "verify 1", "audit", "draw", "refund",
    ] {
        let told = told(command);
        assert!(told.contains(of_machine), "{command}: {told}");
    }
    let named = dir.path().join("named");
    std::fs::write(&named, "[]").unwrap();
    assert!(told("status -c named").starts_with("named:1:1: "));
    std::fs::rename(named, dir.path().join("lottery.conf")).unwrap();
    assert!(told("status").starts_with("lottery.conf:1:1: "));
}

/// A receiver of webhooks that answers one post, and tells its body.
fn receiver(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook/s3cret", listener.local_addr().unwrap());
    let taken = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut got = Vec::new();
        let mut buffer = [0; 4_096];
        while !String::from_utf8_lossy(&got).ends_with('}') {
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0, "{}", String::from_utf8_lossy(&got));
            got.extend_from_slice(&buffer[..count]);
        }
        write!(
            stream,
            "{answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        String::from_utf8(got).unwrap()
    });
    (url, taken)
}

#[test]
fn check_tries_the_receiver_of_alerts_when_asked_to() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let url = chain.dev().endpoints()[0].url();
    let of_receiver = |answer| {
        let (hook, taken) = receiver(answer);
        let set = format!("--set=operator.alert_webhook={hook}");
        let (code, report) = check(&lottery, &url, &["--alert", &set]);
        (code, report, taken.join().unwrap())
    };
    let (code, report, got) = of_receiver("HTTP/1.1 204 No Content");
    assert_eq!(code, Some(0), "{report:#}");
    assert!(named(&report, "ok").contains(&"test alert".to_owned()));
    assert!(
        got.contains("a test: alerts of this lottery arrive here"),
        "{got}"
    );
    for answer in [
        "HTTP/1.1 302 Found\r\nlocation: /",
        "HTTP/1.1 404 Not Found",
    ] {
        let (code, report, _) = of_receiver(answer);
        assert_eq!(code, Some(3), "{report:#}");
        assert_eq!(named(&report, "failed"), ["test alert"], "{report:#}");
        assert!(!report.to_string().contains("s3cret"), "{report:#}");
    }
    let (code, report) = check(&lottery, &url, &["--alert"]);
    assert_eq!(code, Some(3), "{report:#}");
    assert_eq!(named(&report, "failed"), ["test alert"], "{report:#}");
}
