//! Every kind of bad configuration, with the very words that a person gets to read.

mod signer;

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::config::kinds::Kind;

const ADDRESS: &str = "0x5fbdb2315678afecb367f032d93f642f64180aa3";
const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

fn load_with(
    file: Option<&str>,
    env: &[(&str, &str)],
    sets: &[&str],
) -> Result<Config, ConfigError> {
    let env = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let file = file.map(|text| (Path::new("lottery.conf"), text.to_owned()));
    load(Sources {
        file,
        env,
        sets: &sets,
    })
}

/// A good file with `more` put into it.
fn file(more: &str) -> String {
    format!(
        "{{\n  \"blockchain\": {{\"rpc_url\": \"http://127.0.0.1:8545\", \"chain_id\": 1, \
         \"contract_address\": \"{ADDRESS}\"}},\n  {more}\n}}"
    )
}

fn problems(more: &str) -> Vec<String> {
    load_with(Some(&file(more)), &[], &[])
        .map(|config| config.warnings)
        .unwrap_err()
        .0
}

#[test]
fn the_defaults_are_those_of_the_documentation() {
    let config = load_with(Some(&file("\"server\": {}")), &[], &[]).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:6080");
    assert_eq!(
        (
            config.server.max_connections,
            config.server.max_connections_per_ip
        ),
        (12_000, 256)
    );
    assert_eq!(
        config.blockchain.max_fee_wei,
        U256::from(500_000_000_000u64)
    );
    assert_eq!(config.blockchain.max_tx_fee_wei, U256::exp10(18));
    assert_eq!(config.operator.draw_retry_delay, Duration::from_secs(45));
    assert_eq!(
        (
            config.operator.max_draw_retries,
            config.operator.confirmations
        ),
        (3, 1)
    );
    assert_eq!(config.operator.tx_timeout, Duration::from_secs(180));
    assert!(
        config.operator.enabled
            && config.operator.extend_empty_rounds
            && config.operator.key.is_none()
    );
    assert_eq!(config.event_manager.start_block_offset, 500);
    assert_eq!(
        (
            config.event_manager.live_feed_max_entries,
            config.event_manager.round_history_max
        ),
        (1_000, 20)
    );
    assert!(config.server.trusted_proxies[0].contains(&"127.3.2.1".parse::<IpAddr>().unwrap()));
    assert!(config.server.trusted_proxies[1].contains(&"::1".parse::<IpAddr>().unwrap()));
    assert!(
        config.warnings[0].contains("will not draw"),
        "{:?}",
        config.warnings
    );
}

#[test]
fn the_shipped_file_lacks_nothing_but_the_address() {
    let shipped = include_str!("../../lottery.conf");
    let missing = load_with(Some(shipped), &[], &[]).unwrap_err().0;
    assert_eq!(
        missing,
        ["blockchain.contract_address is missing: set the address of the lottery contract, 0x and 40 hex digits, in \
          lottery.conf, as LOTTERY_BLOCKCHAIN_CONTRACT_ADDRESS or with --set blockchain.contract_address=..."]
    );
    let set = format!("blockchain.contract_address={ADDRESS}");
    assert_eq!(
        load_with(Some(shipped), &[], &[&set])
            .unwrap()
            .blockchain
            .chain_id,
        31_337
    );
}

#[test]
fn later_sources_win() {
    let text = file("\"server\": {\"port\": 1}");
    let port = |env: &[(&str, &str)], sets: &[&str]| {
        load_with(Some(&text), env, sets)
            .unwrap()
            .server
            .listen
            .port()
    };
    assert_eq!(port(&[], &[]), 1);
    assert_eq!(port(&[("LOTTERY_SERVER_PORT", "2")], &[]), 2);
    assert_eq!(port(&[("LOTTERY_SERVER_PORT", "2")], &["server.port=3"]), 3);
    let urls = [("LOTTERY_BLOCKCHAIN_RPC_URL", "http://a, https://b/key")];
    assert_eq!(
        load_with(Some(&text), &urls, &[])
            .unwrap()
            .blockchain
            .rpc_urls
            .len(),
        2
    );
}

#[test]
fn each_kind_of_bad_value_is_told_with_place_value_and_what_is_allowed() {
    for (more, told) in [
        (r#""server": {"port": 70000}"#, "lottery.conf:3:22: server.port is 70000, allowed is a whole number from 0 to 65535"),
        (r#""server": {"port": 1.5}"#, "lottery.conf:3:22: server.port is 1.5, allowed is a whole number from 0 to 65535"),
        (r#""server": {"port": "80"}"#, "lottery.conf:3:22: server.port is \"80\", allowed is a whole number from 0 to 65535"),
        (r#""server": {"prot": 80}"#, "lottery.conf:3:22: server.prot: no such key (did you mean port?)"),
        (r#""sevrer": {"port": 80}"#, "lottery.conf:3:22: sevrer.port: no section sevrer (did you mean server?)"),
        (r#""server": 5"#, "lottery.conf:3:13: server is 5, allowed is a section, { ... }"),
        (r#""server": {"host": "local host"}"#, "lottery.conf:3:22: server.host is \"local host\", allowed is an IPv4 or IPv6 address"),
        (r#""server": {"port": 1, "port": 2}"#, "lottery.conf:3:33: server.port stands twice, first at lottery.conf:3:22"),
        (r#""server": {"trusted_proxies": ["10.0.0.0/33"]}"#, "lottery.conf:3:33: server.trusted_proxies is 10.0.0.0/33, allowed is addresses and networks like 10.0.0.0/8"),
        (r#""server": {"max_connections": 15}"#, "lottery.conf:3:33: server.max_connections is 15, allowed is a whole number from 16 to 1000000"),
        (r#""operator": {"enabled": "yes"}"#, "lottery.conf:3:27: operator.enabled is \"yes\", allowed is true or false"),
        (r#""operator": {"draw_retry_delay": -1}"#, "lottery.conf:3:36: operator.draw_retry_delay is -1, allowed is a number of seconds from 0 to 86400"),
        (r#""operator": {"confirmations": 0}"#, "lottery.conf:3:33: operator.confirmations is 0, allowed is a whole number from 1 to 1000"),
        (r#""operator": {"max_spend_ether_per_day": 0}"#, "lottery.conf:3:43: operator.max_spend_ether_per_day is 0, allowed is an amount in ether above 0 and below 10^12, at most 18 decimals"),
        (r#""operator": {"private_key": "0xabc"}"#, "lottery.conf:3:31: operator.private_key: a key does not belong here; put it into a file that only you can read and set operator.key_file, or set the variable LOTTERY_OPERATOR_PRIVATE_KEY"),
        (r#""operator": {"key_file": "/nowhere/key"}"#, "lottery.conf:3:28: operator.key_file: /nowhere/key cannot be read: No such file or directory (os error 2)"),
        (r#""operator": {"alert_webhook": "ftp://x/secret"}"#, "lottery.conf:3:33: operator.alert_webhook is \"ftp://x\", allowed is http://... or https://..."),
        (r#""event_manager": {"event_source": "magic"}"#, "lottery.conf:3:37: event_manager.event_source is \"magic\", allowed is \"eth_getLogs\" or \"eth_subscribe\""),
        (r#""event_manager": {"round_history_max": 1001}"#, "lottery.conf:3:42: event_manager.round_history_max is 1001, allowed is a whole number from 1 to 1000"),
        (r#""event_manager": {"start_block_offset": [1]}"#, "lottery.conf:3:43: event_manager.start_block_offset is [1], allowed is a whole number from 1 to 10000"),
    ] {
        assert_eq!(problems(more), [told], "{more}");
    }
}

#[test]
fn both_ends_of_a_range_are_in_it() {
    for good in [
        r#""server": {"port": 0}"#,
        r#""server": {"port": 65535}"#,
        r#""server": {"max_connections": 16}"#,
        r#""operator": {"draw_check_interval": 0.1}"#,
        r#""operator": {"max_draw_retries": 0}"#,
        r#""event_manager": {"round_history_max": 1000}"#,
    ] {
        assert!(load_with(Some(&file(good)), &[], &[]).is_ok(), "{good}");
    }
}

#[test]
fn the_blockchain_section_is_checked_closely() {
    let with = |key: &str, value: &str| {
        let text = format!(
            "{{\"blockchain\": {{\"rpc_url\": \"http://h\", \"chain_id\": 1, \"contract_address\": \"{ADDRESS}\", \"x\": null}}}}"
        );
        let text = text.replace(
            &format!("\"{key}\": "),
            &format!("\"{key}\": {value}, \"proxy_url\": null, \"memo\": "),
        );
        load_with(Some(&text), &[], &[])
            .map(|_| String::new())
            .unwrap_or_else(|error| error.to_string())
    };
    assert!(with("chain_id", "0")
        .contains("blockchain.chain_id is 0, allowed is a whole number from 1"));
    assert!(with("rpc_url", "\"ws://h/secret\"")
        .contains("blockchain.rpc_url is ws://h, allowed is http://"));
    assert!(with("rpc_url", "7")
        .contains("blockchain.rpc_url is 7, allowed is a string or a list of strings"));
    for bad in [
        "\"0x5fbdb2315678afecb367f032d93f642f64180aa\"",
        "\"5fbdb2315678afecb367f032d93f642f64180aa3\"",
        "\"0x0000000000000000000000000000000000000000\"",
        "\"0x5FbDB2315678afecb367f032d93F642f64180aA3\"",
    ] {
        assert!(
            with("contract_address", bad).contains("EIP-55 checksum"),
            "{bad}"
        );
    }
    assert!(!with(
        "contract_address",
        "\"0x5FbDB2315678afecb367f032d93F642f64180aa3\""
    )
    .contains("EIP-55"));
}

#[test]
fn amounts_are_exact_to_the_wei() {
    let fee = |text: &str| {
        let config = load_with(
            Some(&file(&format!(
                "\"operator\": {{\"max_spend_ether_per_day\": {text}}}"
            ))),
            &[],
            &[],
        );
        config.map(|config| config.operator.max_spend_wei_per_day.to_string())
    };
    assert_eq!(fee("0.1").unwrap(), "100000000000000000");
    assert_eq!(fee("0.123456789012345678").unwrap(), "123456789012345678");
    assert_eq!(fee("3").unwrap(), "3000000000000000000");
    assert!(fee("0.1234567890123456789").is_err());
    assert!(fee("1e3").is_err());
}

#[test]
fn variables_and_flags_are_named_in_their_problems() {
    let told = |env: &[(&str, &str)], sets: &[&str]| {
        load_with(Some(&file("\"server\": {}")), env, sets)
            .unwrap_err()
            .0
    };
    assert_eq!(
        told(&[("LOTTERY_SERVER_PROT", "1")], &[]),
        ["environment variable LOTTERY_SERVER_PROT: no such setting (did you mean LOTTERY_SERVER_PORT?)"]
    );
    assert_eq!(
        told(&[("LOTTERY_SERVER_PORT", "x")], &[]),
        ["environment variable LOTTERY_SERVER_PORT: server.port is \"x\", allowed is a whole number from 0 to 65535"]
    );
    assert_eq!(
        told(&[], &["server.port"]),
        ["--set server.port: it must be section.key=value"]
    );
    assert_eq!(
        told(&[], &["server.port=-1"]),
        ["--set: server.port is \"-1\", allowed is a whole number from 0 to 65535"]
    );
}

fn warnings(env: &[(&str, &str)]) -> Vec<String> {
    let config = load_with(Some(&file("\"server\": {}")), env, &[]).unwrap();
    let mut warnings = config.warnings;
    warnings.retain(|warning| !warning.contains("no key is configured"));
    warnings
}

#[test]
fn what_an_orchestrator_injects_stops_nothing() {
    let injected = [
        ("LOTTERY_SERVICE_HOST", "10.0.0.1"),
        ("LOTTERY_SERVICE_PORT", "6080"),
        ("LOTTERY_PORT", "tcp://10.0.0.1:80"),
        ("LOTTERY_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("LOTTERY_PORT_80_TCP_PROTO", "tcp"),
        ("LOTTERY_PORT_80_TCP_ADDR", "10.0.0.1"),
        // A service called "lottery-server" meets the name of a setting, one called "lottery-serve" nearly.
        ("LOTTERY_SERVER_PORT", "tcp://10.0.0.1:80"),
        ("LOTTERY_SERVE_PORT", "tcp://10.0.0.1:80"),
        ("LOTTERY_SERVER_PORT_53_UDP", "udp://10.0.0.1:53"),
    ];
    let told = warnings(&injected);
    assert_eq!(told.len(), injected.len(), "{told:?}");
    for ((name, value), warning) in injected.iter().zip(&told) {
        let why = match value.contains("://") {
            true => "its value is a service link that an orchestrator injected",
            false => "no such setting",
        };
        assert_eq!(
            warning,
            &format!("environment variable {name} is ignored: {why}")
        );
    }
    let config = load_with(Some(&file("\"server\": {}")), &injected, &[]).unwrap();
    assert_eq!(config.server.listen.port(), 6080);
}

#[test]
fn a_slip_of_up_to_two_characters_is_an_error_and_more_a_warning() {
    let told = |name: &str| load_with(Some(&file("\"server\": {}")), &[(name, "1")], &[]);
    for (name, meant) in [
        ("LOTTERY_SERVER_PROT", "LOTTERY_SERVER_PORT"),
        ("LOTTERY_SERVER_PORTS", "LOTTERY_SERVER_PORT"),
        ("LOTTERY_server_port", "LOTTERY_SERVER_PORT"),
        ("LOTTERY_SERVERPORT", "LOTTERY_SERVER_PORT"),
        ("LOTTERY_BLOCKCHAIN_RPC_URLS", "LOTTERY_BLOCKCHAIN_RPC_URL"),
        (
            "LOTTERY_BLOCKCHAIN_MAX_FEE_GWAI",
            "LOTTERY_BLOCKCHAIN_MAX_FEE_GWEI",
        ),
        (
            "LOTTERY_OPERATOR_PRIVATEKEY",
            "LOTTERY_OPERATOR_PRIVATE_KEY",
        ),
    ] {
        let hint = format!("environment variable {name}: no such setting (did you mean {meant}?)");
        assert_eq!(told(name).unwrap_err().0, [hint], "{name}");
    }
    for (name, meant) in [
        ("LOTTERY_RPC_URL", "LOTTERY_BLOCKCHAIN_RPC_URL"),
        ("LOTTERY_PORT", "LOTTERY_SERVER_PORT"),
        ("LOTTERY_PRIVATE_KEY", "LOTTERY_OPERATOR_PRIVATE_KEY"),
        ("LOTTERY_OPERATOR_KEY", "LOTTERY_OPERATOR_KEY_FILE"),
    ] {
        let told = format!(
            "environment variable {name} is ignored: no such setting (did you mean {meant}?)"
        );
        assert_eq!(warnings(&[(name, "1")]), [told]);
    }
    for name in [
        "LOTTERY_SERVER_PARTIES",
        "LOTTERY_URL",
        "LOTTERY_SERVICE_HOST",
        "LOTTERY_",
        "LOTTERY_X",
    ] {
        assert_eq!(
            warnings(&[(name, "1")]),
            [format!(
                "environment variable {name} is ignored: no such setting"
            )]
        );
    }
    // Somebody else's variable is at most asked about.
    assert_eq!(
        warnings(&[("LOTERY_SERVER_PORT", "1"), ("PATH", "/bin"), ("LOTTERYX", "1")]),
        ["environment variable LOTERY_SERVER_PORT: no such setting (did you mean LOTTERY_SERVER_PORT?)"]
    );
}

#[test]
fn empty_is_not_set() {
    let text =
        file("\"server\": {\"port\": 7, \"host\": \"\"}, \"operator\": {\"key_file\": \" \"}");
    for empty in ["", " ", "\t", "\u{feff}"] {
        let env = [
            ("LOTTERY_SERVER_PORT", empty),
            ("LOTTERY_OPERATOR_PRIVATE_KEY", empty),
            ("LOTTERY_OPERATOR_KEY_FILE", empty),
            ("LOTTERY_SERVER_PROT", empty),
            ("CREDENTIALS_DIRECTORY", empty),
        ];
        let sets = [format!("server.port={empty}")];
        let config = load_with(Some(&text), &env, &[&sets[0]]).unwrap();
        assert_eq!(config.server.listen.to_string(), "127.0.0.1:7");
        assert!(config.operator.key.is_none());
    }
    let missing = load_with(None, &[("LOTTERY_BLOCKCHAIN_RPC_URL", " , ")], &[]);
    let missing = missing.unwrap_err().0;
    assert!(
        missing[0].starts_with("blockchain.rpc_url is missing"),
        "{missing:?}"
    );
    let none = r#"{"blockchain": {"rpc_url": [], "chain_id": 1}}"#;
    let none = load_with(Some(none), &[], &[]).unwrap_err().0;
    assert!(
        none[0].starts_with("blockchain.rpc_url is missing"),
        "{none:?}"
    );
}

#[test]
fn a_byte_order_mark_is_skipped_wherever_a_text_begins() {
    let dir = tempfile::TempDir::new().unwrap();
    let mark = '\u{feff}';
    let key = secret_file(&dir, "key", &format!("{mark}{KEY}\r\n"), 0o600);
    let token = secret_file(&dir, "token", &format!("{mark}0123456789abcdef"), 0o600);
    let text = file(&format!(
        "\"operator\": {{\"key_file\": \"{key}\"}}, \"server\": {{\"api_token_file\": \"{token}\"}}"
    ));
    let port = format!("{mark}8");
    let config = load_with(
        Some(&format!("{mark}{text}")),
        &[("LOTTERY_SERVER_PORT", &port)],
        &[],
    )
    .unwrap();
    assert_eq!(config.server.listen.port(), 8);
    assert_eq!(
        config.server.api_token.unwrap().expose(),
        "0123456789abcdef"
    );
    assert!(matches!(config.operator.key, Some(KeyMaterial::Hex(hex)) if hex.expose() == KEY));
    let empty = secret_file(&dir, "empty", "\u{feff}\n", 0o600);
    let told = problems(&format!("\"operator\": {{\"key_file\": \"{empty}\"}}"));
    assert!(
        told[0].ends_with(&format!("operator.key_file: {empty} is empty")),
        "{told:?}"
    );
}

#[test]
fn no_error_shows_what_a_url_hides() {
    const HIDDEN: &str = "s3cret";
    for (more, sets) in [
        (
            format!("\"operator\": {{\"alert_webhook\": \"ftp://u:{HIDDEN}@x/{HIDDEN}\"}}"),
            "",
        ),
        (
            format!("\"operator\": {{\"alert_webhook\": \"https:/x/{HIDDEN}\"}}"),
            "",
        ),
        (
            format!("\"operator\": {{\"alert_webhook\": [\"https://x/{HIDDEN}\"]}}"),
            "",
        ),
        (
            format!("\"operator\": {{\"alert_webhook\": {{\"url\": \"{HIDDEN}\"}}}}"),
            "",
        ),
        (
            format!("\"operator\": {{\"alert_webhook\": \"https://u:p/{HIDDEN}@x y/\"}}"),
            "",
        ),
        (format!("\"operator\": \"https://x/{HIDDEN}\""), ""),
        ("\"server\": {}".to_owned(), "rpc_url=https://x/s3cret"),
        ("\"server\": {}".to_owned(), "https://x/s3cret"),
        (
            "\"server\": {}".to_owned(),
            "blockchain.rpc_url https://x/s3cret",
        ),
        ("\"server\": {}".to_owned(), "blockchain.rpc_url=x/s3cret"),
        (
            "\"server\": {}".to_owned(),
            "blockchain.rpc_url=https://x:99999/s3cret",
        ),
    ] {
        let sets: Vec<&str> = Some(sets)
            .filter(|set| !set.is_empty())
            .into_iter()
            .collect();
        let told = load_with(Some(&file(&more)), &[], &sets)
            .unwrap_err()
            .to_string();
        assert!(!told.contains(HIDDEN), "{told}");
    }
}

#[test]
fn what_cannot_work_is_refused() {
    for (more, told) in [
        (r#""server": {"port": 90, "metrics_listen": "127.0.0.1:90"}"#, "are both 127.0.0.1:90"),
        (r#""server": {"host": "[::1"}"#, "server.host is \"[::1\", allowed is an IPv4 or IPv6 address"),
        (r#""blockchain": {"proxy_url": "socks5://127.0.0.1:1080"}"#, "blockchain.proxy_url is \"socks5://127.0.0.1:1080\", allowed is http://... or https://..."),
        (r#""blockchain": {"rpc_timeout": 30.1}"#, "blockchain.rpc_timeout is 30.1, allowed is a number of seconds from 0.5 to 30"),
        (r#""blockchain": {"explorer_url": "https://"}"#, "blockchain.explorer_url is \"https://...\""),
        (r#""blockchain": {"explorer_url": "https://x:0"}"#, "blockchain.explorer_url is \"https://x:0\""),
        (r#""operator": {"alert_webhook": "https://x:port/"}"#, "operator.alert_webhook is \"https://x\""),
        (r#""event_manager": {"event_source": "eth_subscribe"}"#, "blockchain.rpc_url is missing: set a ws:// or wss:// URL"),
    ] {
        let found = problems(more);
        assert!(found.iter().any(|problem| problem.contains(told)), "{more}: {found:?}");
    }
}

#[test]
fn a_client_of_the_daemon_needs_port_and_token_alone() {
    let dir = tempfile::TempDir::new().unwrap();
    let token = secret_file(&dir, "token", "0123456789abcdef", 0o600);
    let text = format!(
        "{{\"server\": {{\"port\": 7, \"api_token_file\": \"{token}\"}}, \"operator\": {{\"key_file\": \"/root/key\"}}}}"
    );
    let sources = Sources {
        file: Some((Path::new("lottery.conf"), text)),
        env: Vec::new(),
        sets: &[],
    };
    let config = load_to_ask(sources).unwrap();
    assert_eq!(config.server.port(), 7);
    assert_eq!(config.api_token.unwrap().expose(), "0123456789abcdef");
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn reading_the_chain_opens_no_secret() {
    let text = file("\"operator\": {\"key_file\": \"/root/key\"}");
    let sources = Sources {
        file: Some((Path::new("lottery.conf"), text)),
        env: Vec::new(),
        sets: &[],
    };
    let config = load_to_read(sources).unwrap();
    assert!(config.operator.key.is_none() && config.warnings.is_empty());
}

#[test]
fn all_problems_come_at_once_but_broken_json_stops_at_its_first() {
    let text = r#"{"server": {"port": -1, "hots": "x"}, "operator": {"enabled": 3}}"#;
    let told = load_with(Some(text), &[], &[]).unwrap_err().0;
    assert_eq!(told.len(), 6, "{told:?}");
    for (text, told) in [
        (
            "{\n  \"server\": {,}\n}",
            "lottery.conf:2:14: broken JSON: key must be a string",
        ),
        (
            "",
            "lottery.conf:1:1: it is empty, the file must hold one JSON object of sections",
        ),
        (
            "[]",
            "lottery.conf:1:1: the file must hold one JSON object of sections",
        ),
    ] {
        assert_eq!(load_with(Some(text), &[], &[]).unwrap_err().0, [told]);
    }
}

#[test]
fn what_the_earlier_program_had_is_ignored_with_a_warning() {
    let more = r#""lottery": {"draw_interval_minutes": 3, "max_bets_per_user": 100}"#;
    let config = load_with(Some(&file(more)), &[], &[]).unwrap();
    assert_eq!(config.warnings.len(), 3);
    assert_eq!(
        config.warnings[0],
        "lottery.conf:3:40: lottery.draw_interval_minutes is ignored: it means nothing here"
    );
    let unknown = problems(r#""lottery": {"something": 3}"#);
    assert!(
        unknown[0].contains("lottery.something: no section lottery"),
        "{unknown:?}"
    );
}

fn secret_file(dir: &tempfile::TempDir, name: &str, text: &str, mode: u32) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path.display().to_string()
}

#[test]
fn the_key_has_exactly_one_source_and_a_private_file() {
    let dir = tempfile::TempDir::new().unwrap();
    let good = secret_file(&dir, "key", &format!("{KEY}\n"), 0o600);
    let open = secret_file(&dir, "open", KEY, 0o640);
    let with = |path: &str, env: &[(&str, &str)]| {
        load_with(
            Some(&file(&format!(
                "\"operator\": {{\"key_file\": \"{path}\"}}"
            ))),
            env,
            &[],
        )
    };
    let config = with(&good, &[]).unwrap();
    assert!(matches!(&config.operator.key, Some(KeyMaterial::Hex(hex)) if hex.expose() == KEY));
    assert!(
        !format!("{config:?}").contains("ac0974"),
        "Debug shows the key"
    );
    let told = with(&open, &[]).unwrap_err().to_string();
    assert!(
        told.ends_with(&format!(
            "{open} has mode 640, allowed is access for its owner alone: chmod 600 {open}"
        )),
        "{told}"
    );
    let told = with(&good, &[("LOTTERY_OPERATOR_PRIVATE_KEY", KEY)])
        .unwrap_err()
        .to_string();
    assert_eq!(
        told,
        format!(
            "the operator's key has more than one source, allowed is one: environment variable \
             LOTTERY_OPERATOR_PRIVATE_KEY and operator.key_file ({good})"
        )
    );
    let keystore = format!("\"operator\": {{\"keystore_file\": \"{good}\"}}");
    let told = load_with(Some(&file(&keystore)), &[], &[])
        .unwrap_err()
        .to_string();
    assert!(
        told.contains("operator.keystore_file needs operator.keystore_password_file"),
        "{told}"
    );
}

#[test]
fn systemds_credentials_are_read_whatever_their_mode() {
    let dir = tempfile::TempDir::new().unwrap();
    secret_file(&dir, "operator_key", KEY, 0o644);
    secret_file(&dir, "api_token", "0123456789abcdef\n", 0o644);
    let path = dir.path().display().to_string();
    let config = load_with(
        Some(&file("\"server\": {}")),
        &[("CREDENTIALS_DIRECTORY", &path)],
        &[],
    )
    .unwrap();
    assert!(config.operator.key.is_some());
    assert_eq!(
        config.server.api_token.unwrap().expose(),
        "0123456789abcdef"
    );
}

#[test]
fn a_token_is_one_line_of_16_to_512_visible_characters() {
    let dir = tempfile::TempDir::new().unwrap();
    for (text, fits) in [
        ("0123456789abcde".to_owned(), false),
        ("0123456789abcdef".to_owned(), true),
        ("x".repeat(512), true),
        ("x".repeat(513), false),
        ("0123456789 abcdef".to_owned(), false),
    ] {
        let path = secret_file(&dir, "token", &text, 0o600);
        let result = load_with(
            Some(&file(&format!(
                "\"server\": {{\"api_token_file\": \"{path}\"}}"
            ))),
            &[],
            &[],
        );
        assert_eq!(result.is_ok(), fits, "{text}");
        if let Err(error) = result {
            assert!(!error.to_string().contains(&text), "the token is shown");
        }
    }
}

#[test]
fn networks_contain_what_lies_in_them() {
    for (network, ip, inside) in [
        ("10.0.0.0/8", "10.255.0.1", true),
        ("10.0.0.0/8", "11.0.0.1", false),
        ("0.0.0.0/0", "8.8.8.8", true),
        ("::1", "::1", true),
        ("::1", "::2", false),
        ("::/0", "8.8.8.8", false),
        ("127.0.0.0/8", "::ffff:127.0.0.1", true),
        ("fd00::/8", "fd12::1", true),
    ] {
        assert_eq!(
            Kind::parse(&kinds::Network, network)
                .unwrap()
                .contains(&ip.parse::<IpAddr>().unwrap().to_canonical()),
            inside,
            "{network} {ip}"
        );
    }
    for bad in ["", "10.0.0.0/", "10.0.0.0/33", "::/129", "host"] {
        assert!(Kind::parse(&kinds::Network, bad).is_none(), "{bad}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*", braces in "[{}\\[\\]:,\"a-z0-9. \n]*") {
        let _ = load_with(Some(&text), &[], &[]);
        let _ = load_with(Some(&braces), &[], &[]);
        let _ = load_with(Some(&file(&format!("\"server\": {{{braces}}}"))), &[], &[&text]);
    }
}
