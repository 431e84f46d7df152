//! From lottery.conf, the environment and the command line to one typed configuration. Later sources win; every
//! problem is collected and told at once, with where the value came from, what it is, and what is allowed.

mod raw;
mod secrets;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::chain::types::{to_checksum, Address, U256};
use crate::config::raw::{Raw, Source};
pub use crate::config::secrets::{KeyMaterial, Secret};

/// Everything the daemon is told from outside.
#[derive(Clone, Debug)]
pub struct Config {
    pub server: ServerConfig,
    pub blockchain: BlockchainConfig,
    pub operator: OperatorConfig,
    pub event_manager: EventManagerConfig,
    /// What is odd but no error.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct ServerConfig {
    pub listen: SocketAddr,
    pub metrics_listen: Option<SocketAddr>,
    pub api_token: Option<Secret>,
    pub max_connections: usize,
    /// 0 means no limit.
    pub max_connections_per_ip: usize,
    pub trusted_proxies: Vec<Network>,
}

#[derive(Clone, Debug)]
pub struct BlockchainConfig {
    /// Their paths and queries hold API keys: never shown.
    pub rpc_urls: Vec<Secret>,
    /// Of the same list, those that news come from.
    pub subscribe_urls: Vec<Secret>,
    pub chain_id: u64,
    pub contract_address: Address,
    pub operator_address: Option<Address>,
    pub explorer_url: Option<String>,
    pub proxy_url: Option<Secret>,
    pub rpc_timeout: Duration,
    pub max_fee_wei: U256,
    pub max_tx_fee_wei: U256,
    pub gas_multiplier: f64,
}

#[derive(Clone, Debug)]
pub struct OperatorConfig {
    pub enabled: bool,
    pub key: Option<KeyMaterial>,
    pub draw_check_interval: Duration,
    pub draw_retry_delay: Duration,
    pub max_draw_retries: u32,
    pub tx_timeout: Duration,
    pub standby_delay: Duration,
    pub extend_empty_rounds: bool,
    pub confirmations: u64,
    pub max_spend_wei_per_day: U256,
    pub alert_webhook: Option<Secret>,
}

/// How new blocks are noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventSource {
    /// Heads are polled.
    GetLogs,
    /// Heads and logs are announced over a WebSocket; polled while none is open.
    Subscribe,
}

#[derive(Clone, Debug)]
pub struct EventManagerConfig {
    pub event_source: EventSource,
    pub poll_interval: Duration,
    pub round_interval: Duration,
    pub config_interval: Duration,
    pub start_block_offset: u64,
    pub history_max_blocks: u64,
    pub live_feed_max_entries: usize,
    pub round_history_max: usize,
}

/// An IP network in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

impl Network {
    pub fn contains(&self, ip: IpAddr) -> bool {
        let bits = u32::from(self.prefix_bits);
        match (self.address, unmapped(ip)) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => {
                let shift = 32 - bits;
                shift == 32 || u32::from(network) >> shift == u32::from(ip) >> shift
            }
            (IpAddr::V6(network), IpAddr::V6(ip)) => {
                let shift = 128 - bits;
                shift == 128 || u128::from(network) >> shift == u128::from(ip) >> shift
            }
            _ => false,
        }
    }

    fn parse(text: &str) -> Option<Network> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (
                address.parse::<IpAddr>().ok()?,
                Some(bits.parse::<u8>().ok()?),
            ),
            None => (text.parse::<IpAddr>().ok()?, None),
        };
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = bits.unwrap_or(bits_max);
        (prefix_bits <= bits_max).then_some(Network {
            address,
            prefix_bits,
        })
    }
}

/// An IPv4 address that arrived on an IPv6 socket counts as IPv4.
pub fn unmapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

/// All that is wrong, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// Where the configuration comes from; injected, so that tests need no process environment.
pub struct Sources<'a> {
    /// None when the default file is not there: environment and flags may be enough.
    pub file: Option<(&'a Path, String)>,
    pub env: Vec<(String, String)>,
    /// `section.key=value` of each --set.
    pub sets: &'a [String],
}

/// Every key there is, by section. The order is the order of the documentation.
pub const KEYS: &[(&str, &[&str])] = &[
    (
        "server",
        &[
            "host",
            "port",
            "metrics_listen",
            "api_token_file",
            "max_connections",
            "max_connections_per_ip",
            "trusted_proxies",
        ],
    ),
    (
        "blockchain",
        &[
            "rpc_url",
            "chain_id",
            "contract_address",
            "operator_address",
            "explorer_url",
            "proxy_url",
            "rpc_timeout",
            "max_fee_gwei",
            "max_tx_fee_ether",
            "gas_multiplier",
        ],
    ),
    (
        "operator",
        &[
            "enabled",
            "key_file",
            "keystore_file",
            "keystore_password_file",
            "draw_check_interval",
            "draw_retry_delay",
            "max_draw_retries",
            "tx_timeout_seconds",
            "standby_delay",
            "extend_empty_rounds",
            "confirmations",
            "max_spend_ether_per_day",
            "alert_webhook",
        ],
    ),
    (
        "event_manager",
        &[
            "event_source",
            "event_poll_interval_sec",
            "round_and_participants_interval_sec",
            "contract_config_interval_sec",
            "start_block_offset",
            "history_max_blocks",
            "live_feed_max_entries",
            "round_history_max",
        ],
    ),
];

/// Reads, checks and types everything; all problems at once.
pub fn load(sources: Sources) -> Result<Config, ConfigError> {
    let credentials = sources
        .env
        .iter()
        .find(|(name, _)| name == "CREDENTIALS_DIRECTORY")
        .map(|(_, dir)| dir.clone());
    let env_key = sources
        .env
        .iter()
        .find(|(name, _)| name == secrets::KEY_VARIABLE)
        .map(|(_, key)| key.clone());
    let mut raw = Raw::gather(sources)?;
    let server = server(&mut raw, credentials.as_deref());
    let operator = operator(&mut raw, env_key, credentials.as_deref());
    let event_manager = event_manager(&mut raw);
    let blockchain = blockchain(&mut raw, event_manager.event_source);
    if !raw.problems.is_empty() {
        return Err(ConfigError(raw.problems));
    }
    let mut warnings = raw.warnings;
    if operator.key.is_none() {
        warnings.push(
            "no key is configured: the daemon follows and serves, and will not draw (set operator.key_file)".to_owned(),
        );
    }
    if server
        .metrics_listen
        .is_some_and(|listen| !listen.ip().is_loopback())
    {
        warnings.push(
            "server.metrics_listen is not a loopback address: the metrics are public".to_owned(),
        );
    }
    Ok(Config {
        server,
        blockchain,
        operator,
        event_manager,
        warnings,
    })
}

fn server(raw: &mut Raw, credentials: Option<&str>) -> ServerConfig {
    let host = raw.parsed(
        "server",
        "host",
        "an IPv4 or IPv6 address",
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        |text| text.trim_matches(['[', ']']).parse().ok(),
    );
    // A port number is below 65536.
    let port = raw.whole("server", "port", 6_080, 0..=65_535) as u16;
    let metrics_listen = raw.optional(
        "server",
        "metrics_listen",
        "address:port, e.g. 127.0.0.1:9464",
        |text| text.parse().ok(),
    );
    let token_file = raw.text("server", "api_token_file");
    let networks = raw.list("server", "trusted_proxies", &["127.0.0.0/8", "::1"]);
    let mut trusted_proxies = Vec::new();
    for (text, source) in networks {
        match Network::parse(&text) {
            Some(network) => trusted_proxies.push(network),
            None => raw.problem(
                &source,
                "server.trusted_proxies",
                &text,
                "addresses and networks like 10.0.0.0/8",
            ),
        }
    }
    ServerConfig {
        listen: SocketAddr::new(host, port),
        metrics_listen,
        api_token: secrets::api_token(raw, token_file, credentials),
        max_connections: raw.whole("server", "max_connections", 12_000, 16..=1_000_000) as usize,
        max_connections_per_ip: raw.whole("server", "max_connections_per_ip", 256, 0..=1_000_000)
            as usize,
        trusted_proxies,
    }
}

/// The endpoints by what they are used for: http(s) for every call, ws(s) for news where these are wanted.
fn endpoint_urls(raw: &mut Raw, event_source: EventSource) -> (Vec<Secret>, Vec<Secret>) {
    const KEY: &str = "blockchain.rpc_url";
    let subscribes = event_source == EventSource::Subscribe;
    let allowed = match subscribes {
        true => "http(s)://host[:port][/path] for calls, ws(s)://... for news",
        false => "http://host[:port][/path] or https://...; ws:// and wss:// only with event_manager.event_source \"eth_subscribe\"",
    };
    let (mut for_calls, mut for_news) = (Vec::new(), Vec::new());
    for (text, source) in raw.list("blockchain", "rpc_url", &[]) {
        if is_http_url(&text) {
            for_calls.push(Secret::new(text));
        } else if subscribes && is_url_of(&text, &["ws://", "wss://"]) {
            for_news.push(Secret::new(text));
        } else {
            raw.problem(&source, KEY, &shown_url(&text), allowed);
        }
    }
    if !raw.has("blockchain", "rpc_url") {
        raw.missing(
            "blockchain",
            "rpc_url",
            "the URL of an Ethereum node, e.g. \"http://127.0.0.1:8545\"",
        );
    } else if for_calls.is_empty() && !for_news.is_empty() {
        raw.missing(
            "blockchain",
            "rpc_url",
            "beside the ws(s):// URL one with http(s)://, for every call",
        );
    }
    if subscribes && for_news.is_empty() {
        raw.missing(
            "blockchain",
            "rpc_url",
            "a ws:// or wss:// URL in the list, since event_manager.event_source is \"eth_subscribe\"",
        );
    }
    if subscribes && raw.has("blockchain", "proxy_url") {
        raw.conflict(
            "event_manager.event_source is \"eth_subscribe\" and blockchain.proxy_url is set: subscriptions do not go \
             through a proxy; allowed with one is \"eth_getLogs\"",
        );
    }
    (for_calls, for_news)
}

fn blockchain(raw: &mut Raw, event_source: EventSource) -> BlockchainConfig {
    let allowed_url = "http://host[:port][/path] or https://...";
    let (rpc_urls, subscribe_urls) = endpoint_urls(raw, event_source);
    if !raw.has("blockchain", "chain_id") {
        raw.missing(
            "blockchain",
            "chain_id",
            "the chain's number, e.g. 1 for Ethereum, 31337 for a local node",
        );
    }
    if !raw.has("blockchain", "contract_address") {
        raw.missing(
            "blockchain",
            "contract_address",
            "the address of the lottery contract, 0x and 40 hex digits",
        );
    }
    let proxy_url = raw.optional(
        "blockchain",
        "proxy_url",
        "http://host:port or socks5://host:port",
        |text| {
            let known = ["http://", "https://", "socks4://", "socks5://"];
            known
                .iter()
                .any(|scheme| text.starts_with(scheme))
                .then(|| Secret::new(text.to_owned()))
        },
    );
    BlockchainConfig {
        rpc_urls,
        subscribe_urls,
        chain_id: raw.whole("blockchain", "chain_id", 0, 1..=u64::MAX / 2 - 36),
        contract_address: address(raw, "contract_address").unwrap_or_default(),
        operator_address: address(raw, "operator_address"),
        explorer_url: raw.optional("blockchain", "explorer_url", allowed_url, |text| {
            is_http_url(text).then(|| text.trim_end_matches('/').to_owned())
        }),
        proxy_url,
        rpc_timeout: raw.seconds("blockchain", "rpc_timeout", 10.0, 0.5, 120.0),
        max_fee_wei: raw.amount("blockchain", "max_fee_gwei", "500", 9, "gwei"),
        max_tx_fee_wei: raw.amount("blockchain", "max_tx_fee_ether", "1", 18, "ether"),
        gas_multiplier: raw.decimal("blockchain", "gas_multiplier", 1.25, 1.0, 10.0),
    }
}

fn operator(raw: &mut Raw, env_key: Option<String>, credentials: Option<&str>) -> OperatorConfig {
    let files = secrets::KeyFiles {
        key_file: raw.text("operator", "key_file"),
        keystore_file: raw.text("operator", "keystore_file"),
        keystore_password_file: raw.text("operator", "keystore_password_file"),
    };
    OperatorConfig {
        enabled: raw.flag("operator", "enabled", true),
        key: secrets::operator_key(raw, env_key, files, credentials),
        draw_check_interval: raw.seconds("operator", "draw_check_interval", 10.0, 0.1, 25.0),
        draw_retry_delay: raw.seconds("operator", "draw_retry_delay", 45.0, 0.0, 86_400.0),
        max_draw_retries: raw.whole("operator", "max_draw_retries", 3, 0..=1_000) as u32,
        tx_timeout: raw.seconds("operator", "tx_timeout_seconds", 180.0, 1.0, 86_400.0),
        standby_delay: raw.seconds("operator", "standby_delay", 0.0, 0.0, 86_400.0),
        extend_empty_rounds: raw.flag("operator", "extend_empty_rounds", true),
        confirmations: raw.whole("operator", "confirmations", 1, 1..=1_000),
        max_spend_wei_per_day: raw.amount("operator", "max_spend_ether_per_day", "1", 18, "ether"),
        alert_webhook: raw.optional(
            "operator",
            "alert_webhook",
            "http://... or https://...",
            |text| is_http_url(text).then(|| Secret::new(text.to_owned())),
        ),
    }
}

fn event_manager(raw: &mut Raw) -> EventManagerConfig {
    const SECTION: &str = "event_manager";
    let allowed = "\"eth_getLogs\" or \"eth_subscribe\"";
    let event_source = raw.parsed(
        SECTION,
        "event_source",
        allowed,
        EventSource::GetLogs,
        |text| match text {
            "eth_getLogs" => Some(EventSource::GetLogs),
            "eth_subscribe" => Some(EventSource::Subscribe),
            _ => None,
        },
    );
    EventManagerConfig {
        event_source,
        poll_interval: raw.seconds(SECTION, "event_poll_interval_sec", 1.0, 0.05, 60.0),
        round_interval: raw.seconds(
            SECTION,
            "round_and_participants_interval_sec",
            2.0,
            0.05,
            3_600.0,
        ),
        config_interval: raw.seconds(SECTION, "contract_config_interval_sec", 20.0, 1.0, 86_400.0),
        start_block_offset: raw.whole(SECTION, "start_block_offset", 500, 1..=10_000),
        history_max_blocks: raw.whole(SECTION, "history_max_blocks", 200_000, 0..=1_000_000_000),
        live_feed_max_entries: raw.whole(SECTION, "live_feed_max_entries", 1_000, 1..=100_000)
            as usize,
        round_history_max: raw.whole(SECTION, "round_history_max", 20, 1..=1_000) as usize,
    }
}

/// An address; mixed case must carry the right EIP-55 checksum.
fn address(raw: &mut Raw, key: &'static str) -> Option<Address> {
    raw.optional(
        "blockchain",
        key,
        "0x and 40 hex digits, not all zero, with a right EIP-55 checksum if in mixed case",
        |text| {
            let digits = text.strip_prefix("0x")?;
            let address: Address = digits.parse().ok().filter(|_| digits.len() == 40)?;
            let one_case = digits == digits.to_lowercase() || digits == digits.to_uppercase();
            (!address.is_zero() && (one_case || to_checksum(&address) == text)).then_some(address)
        },
    )
}

fn is_http_url(text: &str) -> bool {
    is_url_of(text, &["http://", "https://"])
}

fn is_url_of(text: &str, schemes: &[&str]) -> bool {
    let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme));
    rest.is_some_and(|rest| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        !host.is_empty() && !text.contains(char::is_whitespace)
    })
}

/// A URL cut down to what may be shown.
fn shown_url(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) => {
            let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
            format!("{scheme}://{}", host.rsplit('@').next().unwrap_or_default())
        }
        None => text.chars().take(20).collect(),
    }
}

/// How a value's origin is told.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Source::File { path, line, column } => write!(f, "{path}:{line}:{column}"),
            Source::Variable(name) => write!(f, "environment variable {name}"),
            Source::Flag => write!(f, "--set"),
        }
    }
}

#[cfg(test)]
mod tests;
