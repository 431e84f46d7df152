//! A node behind TLS that a private authority vouches for: refused, with the way out, until the authority is named.

use std::path::Path;
use std::process::Command;

use support::chain::{hex_address, wait_for, Chain, Timing, CHAIN_ID};
use support::daemon::lottery_in;
use support::programs::{self, free_port};
use tempfile::TempDir;

use crate::foreign::Program;

const CURVE: [&str; 6] = [
    "-x509",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:prime256v1",
    "-nodes",
];

fn openssl(dir: &Path, arguments: &[&str]) {
    let mut command = Command::new("openssl");
    command.arg("req").args(CURVE).args(arguments);
    let output = command.current_dir(dir).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// An authority in ca.pem, and nginx with a certificate of it in front of the node; its port.
fn tls_before(dir: &Path, node: &str) -> (Program, u16) {
    openssl(
        dir,
        &[
            "-subj",
            "/CN=an authority",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
        ],
    );
    let of_server = [
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
    ];
    openssl(dir, &of_server);
    let (port, place) = (free_port(), dir.display());
    let server = format!(
        "server {{
            listen 127.0.0.1:{port} ssl;
            ssl_certificate {place}/cert.pem; ssl_certificate_key {place}/key.pem;
            location / {{ proxy_pass {node}; }}
            location /ws {{
                proxy_pass {node}; proxy_http_version 1.1;
                proxy_set_header Upgrade websocket; proxy_set_header Connection upgrade;
            }}
        }}"
    );
    let mut command = programs::nginx(dir, &server);
    let log = std::fs::File::create(dir.join("log")).unwrap();
    let program = Program::start(command.stderr(log));
    wait_for("nginx", || {
        std::net::TcpStream::connect(("127.0.0.1", port))
            .ok()
            .map(drop)
    });
    (program, port)
}

#[test]
#[ignore = "needs nginx and openssl"]
fn a_private_authority_is_trusted_where_it_is_named_and_asked_for_where_not() {
    let chain = Chain::devchain_with(devchain::Config::default());
    let lottery = chain.deploy(Timing::default());
    let dir = TempDir::new().unwrap();
    let (_nginx, port) = tls_before(dir.path(), &chain.url);
    let authority = dir.path().join("ca.pem").display().to_string();
    let check = |more: &[&str], variable: &str| {
        let home = TempDir::new().unwrap();
        let mut command = lottery_in(&home);
        command.arg("check");
        for value in [
            format!("blockchain.rpc_url=https://localhost:{port}"),
            format!("blockchain.chain_id={CHAIN_ID}"),
            format!(
                "blockchain.contract_address={}",
                hex_address(lottery.address)
            ),
        ] {
            command.args(["--set", &value]);
        }
        let output = command
            .args(more)
            .env("SSL_CERT_FILE", variable)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    let with_news = [
        "--set".to_owned(),
        "event_manager.event_source=eth_subscribe".to_owned(),
        "--set".to_owned(),
        format!("blockchain.rpc_url=https://localhost:{port},wss://localhost:{port}/ws"),
    ];
    let with_news = with_news.each_ref().map(String::as_str);
    let way_out = "unknown issuer; blockchain.ca_file names a file with its authority";
    for (more, refused) in [(&[][..], 1), (&with_news, 2)] {
        let (code, said) = check(more, "");
        assert_ne!(code, Some(0), "{said}");
        assert!(said.matches(way_out).count() >= refused, "{said}");
    }
    let named = format!("blockchain.ca_file={authority}");
    for (more, variable) in [
        (&["--set", named.as_str()][..], ""),
        (&[], authority.as_str()),
    ] {
        let more = [&with_news, more].concat();
        let (code, said) = check(&more, variable);
        assert_eq!(code, Some(0), "{said}");
        for works in ["getRound", "heads and logs are announced"] {
            assert!(said.contains(works), "{said}");
        }
    }
}
