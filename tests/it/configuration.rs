//! Configurations as people, shells and containers make them, on the real binary: what is odd is taken for what it is or
//! told kindly, nothing is waited for, and nothing that is secret is shown.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use support::chain::OPERATOR_KEY;
use support::daemon::lottery_in;
use tempfile::TempDir;

use crate::commands::stderr_of;

/// All that has to be set, of an endpoint where nobody listens.
const LEAST: [&str; 3] = [
    "--set=blockchain.rpc_url=http://127.0.0.1:1",
    "--set=blockchain.chain_id=1",
    "--set=blockchain.contract_address=0x00000000000000000000000000000000000000aa",
];

fn keep_private(path: &Path) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

/// Files that are odd each in its own way, by their names.
fn odd_files(dir: &Path) {
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let files: [(&str, Vec<u8>); 6] = [
        ("empty", Vec::new()),
        ("blank", b" \r\n".to_vec()),
        ("wide", wide("\u{feff}{}")),
        ("wide_unmarked", wide("{}")),
        ("latin", b"{\"\xe9\": 1}".to_vec()),
        ("yaml", b"server:\n  port: 1\n".to_vec()),
    ];
    for (name, bytes) in files {
        std::fs::write(dir.join(name), bytes).unwrap();
    }
    std::fs::create_dir(dir.join("folder")).unwrap();
    let made = Command::new("mkfifo").arg(dir.join("pipe")).status();
    assert!(made.unwrap().success());
    for name in ["empty", "pipe", "wide"] {
        keep_private(&dir.join(name));
    }
}

#[test]
fn odd_files_are_told_kindly_and_never_waited_for() {
    let dir = TempDir::new().unwrap();
    odd_files(dir.path());
    let usage = |arguments: &[&str]| {
        let mut command = lottery_in(&dir);
        let output = command.arg("check").args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        stderr_of(&output)
    };
    for (name, told) in [
        (
            "empty",
            "empty:1:1: it is empty, the file must hold one JSON object of sections",
        ),
        ("blank", "blank:1:1: it is empty"),
        ("pipe", "pipe:1:1: it is empty"),
        (
            "wide",
            "wide: cannot be read: it is UTF-16, allowed is UTF-8",
        ),
        (
            "wide_unmarked",
            "wide_unmarked: cannot be read: it is UTF-16",
        ),
        ("latin", "latin: cannot be read: it is not UTF-8"),
        ("yaml", "yaml:1:1: broken JSON: expected value"),
        ("folder", "folder: cannot be read: Is a directory"),
        ("nowhere", "nowhere: cannot be read: No such file"),
        ("empty/file", "empty/file: cannot be read: Not a directory"),
    ] {
        let said = usage(&["-c", name]);
        assert!(said.starts_with(told), "{said}");
    }
    for setting in ["operator.key_file", "server.api_token_file"] {
        for (name, told) in [
            ("pipe", "is empty"),
            ("empty", "is empty"),
            ("wide", "cannot be read: it is UTF-16, allowed is UTF-8"),
            ("folder", "is a directory, allowed is a file"),
            ("nowhere", "cannot be read: No such file"),
            (
                "blank",
                "has mode 644, allowed is access for its owner alone: chmod 600 blank",
            ),
        ] {
            let said = usage(&["--set", &format!("{setting}={name}")]);
            let told = format!("--set: {setting}: {name} {told}");
            let is_told = |line: &str| line.starts_with(&told);
            assert!(said.lines().any(is_told), "{told}: {said}");
        }
    }
    for (file, told) in [
        (
            "pipe",
            "blockchain.ca_file: pipe cannot be used: no certificate",
        ),
        ("/dev/zero", "it has more than 4194304 bytes"),
    ] {
        let set = format!("--set=blockchain.ca_file={file}");
        let said = usage(&[&LEAST[..], &[&set]].concat());
        assert!(said.contains(told), "{said}");
    }
}

/// What a key may look like; nothing of one that is none is shown.
#[test]
fn a_key_is_read_as_people_keep_it_or_refused_unseen() {
    let dir = TempDir::new().unwrap();
    let digits = OPERATOR_KEY.trim_start_matches("0x");
    let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    let range = "must lie between 1 and the order of secp256k1 less 1";
    for (text, told) in [
        (digits.to_owned(), None),
        (format!("0X{}\r\n", digits.to_uppercase()), None),
        (format!("\n\n 0x{digits} \n"), None),
        (digits[1..].to_owned(), Some("it has 63 characters")),
        (format!("{digits}00"), Some("it has 66 characters")),
        (format!("\"{digits}\""), Some("it has 66 characters")),
        (format!("{digits}\n{digits}"), Some("it has 129 characters")),
        (
            format!("é{}", &digits[1..]),
            Some("character 1 is no hex digit"),
        ),
        ("0".repeat(64), Some(range)),
        (order.to_owned(), Some(range)),
    ] {
        let path = dir.path().join("key");
        std::fs::write(&path, &text).unwrap();
        keep_private(&path);
        // A second fault, which is told at once with the first.
        let check = || {
            let mut command = lottery_in(&dir);
            command.arg("check").args(LEAST).arg("--set=server.port=x");
            command
        };
        let (mut from_file, mut from_variable) = (check(), check());
        from_file.arg("--set=operator.key_file=key");
        from_variable.env("LOTTERY_OPERATOR_PRIVATE_KEY", &text);
        for (mut command, origin) in [
            (from_file, "--set: operator.key_file: key: "),
            (
                from_variable,
                "environment variable LOTTERY_OPERATOR_PRIVATE_KEY: ",
            ),
        ] {
            let output = command.output().unwrap();
            let said = stderr_of(&output);
            assert_eq!(output.status.code(), Some(2), "{text:?}: {said}");
            assert!(!said.contains(&digits[8..20]), "{said}");
            assert!(said.contains("server.port is \"x\""), "{text:?}: {said}");
            let of_key = said.lines().find(|line| line.starts_with(origin));
            let is_told = |told: &str| of_key.is_some_and(|line| line.contains(told));
            assert!(told.map_or(of_key.is_none(), is_told), "{text:?}: {said}");
        }
    }
}

/// Values as shells, containers and people write them.
#[test]
fn odd_values_are_what_they_are_and_urls_are_never_shown() {
    let dir = TempDir::new().unwrap();
    let check = |sets: &[&str]| {
        let sets = sets.iter().map(|set| format!("--set={set}"));
        let mut command = lottery_in(&dir);
        let output = command
            .arg("check")
            .args(LEAST)
            .args(sets)
            .output()
            .unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!said.contains("s3cret"), "{said}");
        (output.status.code(), said)
    };
    for good in [
        "blockchain.rpc_timeout= 10 \r",
        "blockchain.rpc_timeout=1e1",
        "server.host=[::]",
        "server.host=::1",
        "server.metrics_listen=[::1]:9464",
        "server.trusted_proxies=::1,10.0.0.0/8 , ",
        "blockchain.rpc_url=HTTP://user:s3cret@127.0.0.1:1/s3cret2?s3cret3=s3cret4#s3cret5",
        "blockchain.rpc_url=http://[::1]:1/s3cret",
        "blockchain.explorer_url=Https://explorer.example//",
    ] {
        // The endpoint was asked, so the configuration was right.
        let (code, said) = check(&[good]);
        assert_eq!(code, Some(3), "{good}: {said}");
    }
    for (bad, told) in [
        ("server.port=+80", "is \"+80\""),
        ("server.port=80tcp", "is \"80tcp\""),
        ("server.port=6080.0", "is \"6080.0\""),
        ("server.port='80'", "is \"'80'\""),
        (
            "server.port=99999999999999999999999",
            "allowed is a whole number",
        ),
        ("server.port=-0", "is \"-0\""),
        ("blockchain.rpc_timeout=10s", "is \"10s\""),
        ("blockchain.rpc_timeout=1\n0", "is \"1\\n0\""),
        (
            "blockchain.rpc_timeout=nan",
            "allowed is a number of seconds",
        ),
        (
            "blockchain.rpc_timeout=1e400",
            "allowed is a number of seconds",
        ),
        (
            "operator.max_spend_ether_per_day=-1",
            "allowed is an amount in ether",
        ),
        (
            "operator.max_spend_ether_per_day=1 ether",
            "allowed is an amount in ether",
        ),
        ("operator.enabled=yes", "allowed is true or false"),
        (
            "server.host=localhost",
            "allowed is an IPv4 or IPv6 address",
        ),
        (
            "server.host=127.0.0.1:80",
            "allowed is an IPv4 or IPv6 address",
        ),
        (
            "server.host=0177.0.0.1",
            "allowed is an IPv4 or IPv6 address",
        ),
        ("server.metrics_listen=::1:9464", "allowed is address:port"),
        (
            "blockchain.rpc_url=\"http://x/s3cret\"",
            "allowed is http://host",
        ),
        (
            "blockchain.rpc_url=http://user:s3cret@",
            "allowed is http://host",
        ),
        (
            "blockchain.rpc_url=http://x/ s3cret",
            "allowed is http://host",
        ),
        (
            "blockchain.rpc_url=http://::1:1/s3cret",
            "allowed is http://host",
        ),
        (
            "blockchain.explorer_url=https://user:s3cret@x/",
            "is \"https://x\", allowed",
        ),
        (
            "blockchain.explorer_url=https://x/?key=s3cret",
            "is \"https://x\", allowed",
        ),
        (
            "blockchain.explorer_url=https://x/#s3cret",
            "is \"https://x\", allowed",
        ),
        (
            "blockchain.explorer_url=javascript://x/%0as3cret",
            "allowed is http://host",
        ),
        ("server.port.x=1", "server.port.x: no such key"),
        ("Server.port=1", "no section Server (did you mean server?)"),
        ("blockchain.rpcUrl=s3cret", "(did you mean rpc_url?)"),
        ("=", "it must be section.key=value"),
        (".=", "no section"),
    ] {
        let (code, said) = check(&[bad]);
        assert_eq!(code, Some(2), "{bad}: {said}");
        assert!(said.contains(told), "{bad}: {said}");
    }
    let (_, said) = check(&["server.port=x", "operator.enabled=yes"]);
    assert_eq!(said.lines().count(), 2, "all is told at once: {said}");
}
