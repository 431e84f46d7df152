//! Judges of other makers: clients that check whether answers keep to HTTP, and a tool that checks whether they keep to
//! what the API says of itself. Each test needs its tool, and runs with `--include-ignored`.

use std::process::Command;

use serde_json::json;
use support::chain::{Chain, Timing};
use support::daemon::{Daemon, Options, TOKEN};
use tempfile::TempDir;

use crate::web::serving;

/// Has the program judge the daemon at the address that it gets as its last argument; it fails where it finds something.
fn judged_by(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

fn python() -> String {
    std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

/// h11 raises an error for whatever a server must not say after a request.
const H11: &str = r#"
import socket, sys, h11

host, port = sys.argv[1].split("//")[1].split(":")
asked = [
    ("GET", "/", []), ("HEAD", "/", []), ("GET", "/api/status", []), ("HEAD", "/api/status", []),
    ("OPTIONS", "/api/status", []), ("OPTIONS", "*", []), ("POST", "/api/status", []), ("GET", "/nothing", []),
    ("HEAD", "/nothing", []), ("GET", "/api/history?limit=x", []), ("GET", "/api/openapi.json", [("Accept-Encoding", "gzip")]),
    ("POST", "/api/round/draw", []), ("GET", "/ws", []), ("POST", "/ws", []), ("GET", "/" + "x" * 9000, []),
    ("GET", "/%zz", []), ("HEAD", "/%zz", []), ("GET", "/", [("Expect", "100-continue")]), ("GET", "/healthz", [("Cookie", "c" * 20000)]),
    ("GET", "/contracts/abi/Lottery.abi", []), ("DELETE", "/api/history/1", []),
]

def ask(connection, sock, method, target, more, body=b""):
    fields = [("Host", "x")] + more + ([("Content-Length", str(len(body)))] if body else [])
    sent = connection.send(h11.Request(method=method, target=target, headers=fields))
    sent += connection.send(h11.Data(data=body)) if body else b""
    sock.sendall(sent + connection.send(h11.EndOfMessage()))
    answer, length = None, 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(sock.recv(65536))
        elif isinstance(event, h11.Response):
            answer = event
        elif isinstance(event, h11.Data):
            length += len(event.data)
        elif isinstance(event, h11.EndOfMessage):
            break
        else:
            raise Exception(f"{method} {target[:40]}: {event}")
    names = dict(answer.headers)
    assert b"date" in names, names
    if method == "HEAD" or answer.status_code in (204, 304):
        assert length == 0, (method, target[:40], length)
    if answer.status_code in (204, 304):
        assert b"content-length" not in names and b"transfer-encoding" not in names, names
    if answer.status_code == 405:
        assert b"allow" in names, names
    if answer.status_code == 426:
        assert b"upgrade" in names and b"upgrade" in names[b"connection"].lower(), names
    if answer.status_code == 401:
        assert b"www-authenticate" in names, names
    return names

connection, sock = None, None
for method, target, more in asked:
    for again in ([], [("If-None-Match", "etag")], [("Connection", "close")]):
        if connection is None or connection.our_state is not h11.IDLE:
            sock = socket.create_connection((host, int(port)), timeout=20)
            connection = h11.Connection(h11.CLIENT)
        fields = [(name, tag if value == "etag" else value) for name, value in again]
        names = ask(connection, sock, method, target, more + fields)
        tag = names.get(b"etag", b"x").decode()
        if connection.our_state is h11.DONE and connection.their_state is h11.DONE:
            connection.start_next_cycle()
        else:
            rest = sock.recv(65536)
            assert rest == b"", rest
            connection = None
for method, target, body in [("POST", "/api/round/draw", b"x" * 200000), ("POST", "/nothing", b"{}"), ("PUT", "/", b"{}")]:
    sock = socket.create_connection((host, int(port)), timeout=20)
    connection = h11.Connection(h11.CLIENT)
    ask(connection, sock, method, target, [], body)
    assert sock.recv(65536) == b""
"#;

#[test]
#[ignore = "needs Python with the package h11"]
fn h11_finds_nothing() {
    let chain = Chain::devchain(1);
    let (_lottery, daemon) = serving(&chain);
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("judge.py");
    std::fs::write(&path, H11).unwrap();
    judged_by(Command::new(python()).arg(path).arg(&daemon.url));
}

/// Node reads answers with llhttp, strictly: what it cannot read is an error of the request.
const NODE: &str = r#"
const http = require('http');
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const asked = [];
for (const method of ['GET', 'HEAD', 'OPTIONS', 'POST', 'PUT', 'DELETE', 'PATCH'])
    for (const path of ['/', '/healthz', '/api/status', '/api/history', '/api/history/1', '/nothing', '/api/round/draw',
        '/api/openapi.json', '/%zz', '/ws/lottery', '/' + 'x'.repeat(9000)])
        for (const headers of [{}, { 'accept-encoding': 'gzip' }, { 'if-none-match': '*' }, { connection: 'close' }])
            for (const body of ['', '{}', 'x'.repeat(100000)])
                if (body === '' || ['POST', 'PUT', 'PATCH'].includes(method)) asked.push({ method, path, headers, body });

function ask({ method, path, headers, body }) {
    return new Promise((resolve, reject) => {
        const named = (error) => reject(new Error(`${method} ${path.slice(0, 40)} ${body.length}: ${error.message}`));
        const length = body ? { 'content-length': body.length } : {};
        const request = http.request(process.argv[2] + path, { method, agent, headers: { ...headers, ...length } }, (answer) => {
            let got = 0;
            answer.on('data', (data) => { got += data.length; });
            answer.on('error', named);
            answer.on('end', () => {
                if (!answer.complete) return named(new Error('cut short'));
                if (method === 'HEAD' && got) return named(new Error('a body to HEAD'));
                resolve();
            });
        });
        request.on('error', named);
        request.end(body);
    });
}

(async () => {
    for (const one of asked) await ask(one);
    agent.destroy();
})().catch((error) => { console.error(error.message); process.exit(1); });
"#;

#[test]
#[ignore = "needs Node"]
fn llhttp_finds_nothing() {
    let chain = Chain::devchain(1);
    let (_lottery, daemon) = serving(&chain);
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("judge.js");
    std::fs::write(&path, NODE).unwrap();
    judged_by(Command::new("node").arg(path).arg(&daemon.url));
}

#[test]
#[ignore = "needs schemathesis (its program by SCHEMATHESIS, or on the path)"]
fn schemathesis_finds_nothing() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let config = json!({"server": {"metrics_listen": "127.0.0.1:0"}});
    let options = Options {
        config,
        ..Options::default()
    };
    let daemon = Daemon::quiet(&lottery, options);
    let private = format!("http://{}", daemon.private_address());
    let program = std::env::var("SCHEMATHESIS").unwrap_or_else(|_| "schemathesis".to_owned());
    let dir = TempDir::new().unwrap();
    let document = format!("{}/api/openapi.json", daemon.url);
    let token = format!("Authorization: Bearer {}", TOKEN);
    // Which ids the feed has, and how many rounds are kept, no schema can say: there a refusal of what suits the schema is
    // right.
    const LISTS: &str = "^/api/(activities|history)$";
    let parts: [&[&str]; 3] = [
        // A status of 101 or 426, which a handshake gets, is none that this judge takes for an answer.
        &[
            "--exclude-path-regex",
            LISTS,
            "--exclude-path",
            "/ws/lottery",
            "--exclude-path",
            "/metrics",
        ],
        &["--include-path", "/metrics", "--url", &private],
        &[
            "--include-path-regex",
            LISTS,
            "--exclude-checks",
            "positive_data_acceptance",
        ],
    ];
    for part in parts {
        let usual = [
            "run",
            "--checks",
            "all",
            "--max-examples",
            "15",
            "--seed",
            "7",
        ];
        let mut command = Command::new(&program);
        command.current_dir(dir.path()).args(usual).args(part);
        judged_by(command.args(["-H", &token]).arg(&document));
    }
}
