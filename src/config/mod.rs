//! From lottery.conf, the environment and the command line to one typed configuration. Every problem is collected and
//! told at once, with where the value came from, what it is, and what is allowed. What each setting is stands in
//! `table`; here they become the values that the daemon works with.

mod file;
mod kinds;
mod raw;
mod render;
mod secret;
mod secrets;
mod source;
mod table;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use ipnet::IpNet as Network;

use zeroize::Zeroizing;

use crate::chain::encode::without_prefix;
use crate::chain::types::{Address, U256};
use crate::config::raw::Raw;
pub(crate) use crate::config::render::{setting_names, settings_help};
pub(crate) use crate::config::secret::Secret;
use crate::config::secrets::Environment;
pub(crate) use crate::config::secrets::KeyMaterial;
use crate::config::source::{hidden_in_url, shown_url};
pub use crate::config::source::{ConfigError, Sources};
use crate::config::table::{self as settings, Described};
pub(crate) use crate::config::table::{AlertFormat, EventSource};

/// Shorter parts of URLs ("v3", "rpc") are words, not secrets.
const HIDDEN_LEN_MIN: usize = 6;

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
    /// PEM certificates of further authorities.
    pub ca_file: Option<PathBuf>,
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
    pub alert_format: AlertFormat,
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

impl Config {
    /// Every text of the configuration that must not appear anywhere: keys, passwords, tokens, and what URLs hide.
    pub(crate) fn hidden_texts(&self) -> Vec<Zeroizing<String>> {
        let blockchain = &self.blockchain;
        let urls = blockchain.rpc_urls.iter().chain(&blockchain.subscribe_urls);
        let urls = urls
            .chain(&blockchain.proxy_url)
            .chain(&self.operator.alert_webhook)
            .chain(self.operator.signer_url());
        let mut texts: Vec<Zeroizing<String>> = urls.flat_map(hidden_in_url).collect();
        let key = match &self.operator.key {
            Some(KeyMaterial::Hex(key)) => Some(key),
            Some(KeyMaterial::Keystore { password, .. }) => Some(password),
            Some(KeyMaterial::Elsewhere { .. }) | None => None,
        };
        for secret in key.into_iter().chain(&self.server.api_token) {
            let bare = without_prefix(secret.expose()).unwrap_or(secret.expose());
            texts.push(Zeroizing::new(bare.to_owned()));
        }
        texts.retain(|text| text.len() >= HIDDEN_LEN_MIN);
        texts
    }
}

impl OperatorConfig {
    /// Where a signer elsewhere is reached, if one is to sign.
    fn signer_url(&self) -> Option<&Secret> {
        match &self.key {
            Some(KeyMaterial::Elsewhere { signer_url }) => Some(signer_url),
            _ => None,
        }
    }
}

/// What a client of the running daemon has to know.
#[derive(Clone, Debug)]
pub(crate) struct ClientConfig {
    /// Where the daemon listens.
    pub server: SocketAddr,
    pub api_token: Option<Secret>,
    pub warnings: Vec<String>,
}

/// Everything, for a daemon and for commands that act like one.
///
/// # Errors
/// All problems of all sources at once.
pub fn load(sources: Sources) -> Result<Config, ConfigError> {
    let environment = Environment::of(&sources.env);
    let mut raw = Raw::gather(&sources)?;
    let api_token = secrets::api_token(&mut raw, &environment);
    let key = secrets::operator_key(&mut raw, &environment);
    if key.is_none() {
        raw.warnings.push(
            "no key is configured: the daemon follows and serves, and will not draw (set operator.key_file)".to_owned(),
        );
    }
    typed(raw, api_token, key)
}

/// What is needed to read the chain: no secret's file is opened, and none is missed.
///
/// # Errors
/// All problems of all sources at once.
pub(crate) fn load_to_read(sources: Sources) -> Result<Config, ConfigError> {
    typed(Raw::gather(&sources)?, None, None)
}

/// What is needed to ask the running daemon; other settings are not looked at.
///
/// # Errors
/// All problems of all sources at once.
pub(crate) fn load_to_ask(sources: Sources) -> Result<ClientConfig, ConfigError> {
    let environment = Environment::of(&sources.env);
    let mut raw = Raw::gather(&sources)?;
    let server = listen(&mut raw);
    let api_token = secrets::api_token(&mut raw, &environment);
    match (server, raw.problems.is_empty()) {
        (Some(server), true) => Ok(ClientConfig {
            server,
            api_token,
            warnings: raw.warnings,
        }),
        _ => Err(ConfigError(raw.problems)),
    }
}

/// A problem was recorded for whatever is missing here.
fn typed(
    mut raw: Raw,
    api_token: Option<Secret>,
    key: Option<KeyMaterial>,
) -> Result<Config, ConfigError> {
    let server = server(&mut raw, api_token);
    let event_manager = event_manager(&mut raw);
    let source = event_manager.as_ref().map(|settings| settings.event_source);
    let blockchain = blockchain(&mut raw, source);
    let operator = operator(&mut raw, key);
    match (server, blockchain, operator, event_manager) {
        (Some(server), Some(blockchain), Some(operator), Some(event_manager))
            if raw.problems.is_empty() =>
        {
            Ok(Config {
                server,
                blockchain,
                operator,
                event_manager,
                warnings: raw.warnings,
            })
        }
        _ => Err(ConfigError(raw.problems)),
    }
}

fn listen(raw: &mut Raw) -> Option<SocketAddr> {
    let (host, port) = (raw.value(&settings::HOST), raw.value(&settings::PORT));
    Some(SocketAddr::new(host?, u16::try_from(port?).ok()?))
}

fn server(raw: &mut Raw, api_token: Option<Secret>) -> Option<ServerConfig> {
    let listen = listen(raw);
    let metrics_listen = raw.optional(&settings::METRICS_LISTEN);
    let max_connections = raw.value(&settings::MAX_CONNECTIONS);
    let max_connections_per_ip = raw.value(&settings::MAX_CONNECTIONS_PER_IP);
    let trusted_proxies = raw.list(&settings::TRUSTED_PROXIES);
    if let Some(metrics) = metrics_listen {
        if !metrics.ip().is_loopback() {
            raw.warnings.push(
                "server.metrics_listen is not a loopback address: the metrics are public"
                    .to_owned(),
            );
        }
        if listen == Some(metrics) && metrics.port() != 0 {
            raw.conflict(format!(
                "server.metrics_listen and server.host with server.port are both {metrics}: each needs a port of its own"
            ));
        }
    }
    Some(ServerConfig {
        listen: listen?,
        metrics_listen,
        api_token,
        max_connections: usize::try_from(max_connections?).ok()?,
        max_connections_per_ip: usize::try_from(max_connections_per_ip?).ok()?,
        trusted_proxies,
    })
}

/// The endpoints by what they are used for: http(s) for every call, ws(s) for news where these are wanted.
fn endpoint_urls(raw: &mut Raw, event_source: Option<EventSource>) -> (Vec<Secret>, Vec<Secret>) {
    let setting = &settings::RPC_URL;
    let urls = raw.list(setting);
    let (for_calls, for_news): (Vec<Secret>, Vec<Secret>) = urls
        .into_iter()
        .partition(|url| url.expose().starts_with("http"));
    let subscribes = event_source == Some(EventSource::Subscribe);
    if event_source == Some(EventSource::GetLogs) {
        let source = raw.source(setting);
        for url in &for_news {
            raw.problem(
                &source,
                &setting.path(),
                &shown_url(url.expose()),
                &setting.allowed(),
            );
        }
    }
    if for_calls.is_empty() && !for_news.is_empty() {
        raw.missing(
            setting,
            "beside the ws(s):// URL one with http(s)://, for every call",
        );
    }
    if subscribes && raw.has(setting) && for_news.is_empty() {
        raw.missing(
            setting,
            "a ws:// or wss:// URL in the list, since event_manager.event_source is \"eth_subscribe\"",
        );
    }
    if subscribes && raw.has(&settings::PROXY_URL) {
        raw.conflict(
            "event_manager.event_source is \"eth_subscribe\" and blockchain.proxy_url is set: subscriptions do not go \
             through a proxy; allowed with one is \"eth_getLogs\""
                .to_owned(),
        );
    }
    (for_calls, for_news)
}

fn blockchain(raw: &mut Raw, event_source: Option<EventSource>) -> Option<BlockchainConfig> {
    let (rpc_urls, subscribe_urls) = endpoint_urls(raw, event_source);
    let chain_id = raw.value(&settings::CHAIN_ID);
    let contract_address = raw.value(&settings::CONTRACT_ADDRESS);
    let operator_address = raw.optional(&settings::OPERATOR_ADDRESS);
    let explorer_url = raw.optional(&settings::EXPLORER_URL);
    let proxy_url = raw.optional(&settings::PROXY_URL);
    let ca_file = raw.optional(&settings::CA_FILE);
    let rpc_timeout = raw.value(&settings::RPC_TIMEOUT);
    let max_fee_wei = raw.value(&settings::MAX_FEE_GWEI);
    let max_tx_fee_wei = raw.value(&settings::MAX_TX_FEE_ETHER);
    let gas_multiplier = raw.value(&settings::GAS_MULTIPLIER);
    Some(BlockchainConfig {
        rpc_urls,
        subscribe_urls,
        chain_id: chain_id?,
        contract_address: contract_address?,
        operator_address,
        explorer_url,
        proxy_url,
        ca_file,
        rpc_timeout: rpc_timeout?,
        max_fee_wei: max_fee_wei?,
        max_tx_fee_wei: max_tx_fee_wei?,
        gas_multiplier: gas_multiplier?,
    })
}

fn operator(raw: &mut Raw, key: Option<KeyMaterial>) -> Option<OperatorConfig> {
    let enabled = raw.value(&settings::ENABLED);
    let draw_check_interval = raw.value(&settings::DRAW_CHECK_INTERVAL);
    let draw_retry_delay = raw.value(&settings::DRAW_RETRY_DELAY);
    let max_draw_retries = raw.value(&settings::MAX_DRAW_RETRIES);
    let tx_timeout = raw.value(&settings::TX_TIMEOUT_SECONDS);
    let standby_delay = raw.value(&settings::STANDBY_DELAY);
    let extend_empty_rounds = raw.value(&settings::EXTEND_EMPTY_ROUNDS);
    let confirmations = raw.value(&settings::CONFIRMATIONS);
    let max_spend_wei_per_day = raw.value(&settings::MAX_SPEND_ETHER_PER_DAY);
    let alert_webhook = raw.optional(&settings::ALERT_WEBHOOK);
    let alert_format = raw.value(&settings::ALERT_FORMAT);
    Some(OperatorConfig {
        enabled: enabled?,
        key,
        draw_check_interval: draw_check_interval?,
        draw_retry_delay: draw_retry_delay?,
        max_draw_retries: u32::try_from(max_draw_retries?).ok()?,
        tx_timeout: tx_timeout?,
        standby_delay: standby_delay?,
        extend_empty_rounds: extend_empty_rounds?,
        confirmations: confirmations?,
        max_spend_wei_per_day: max_spend_wei_per_day?,
        alert_webhook,
        alert_format: alert_format?,
    })
}

fn event_manager(raw: &mut Raw) -> Option<EventManagerConfig> {
    let event_source = raw.value(&settings::EVENT_SOURCE);
    let poll_interval = raw.value(&settings::EVENT_POLL_INTERVAL_SEC);
    let round_interval = raw.value(&settings::ROUND_INTERVAL_SEC);
    let config_interval = raw.value(&settings::CONFIG_INTERVAL_SEC);
    let start_block_offset = raw.value(&settings::START_BLOCK_OFFSET);
    let history_max_blocks = raw.value(&settings::HISTORY_MAX_BLOCKS);
    let live_feed_max_entries = raw.value(&settings::LIVE_FEED_MAX_ENTRIES);
    let round_history_max = raw.value(&settings::ROUND_HISTORY_MAX);
    Some(EventManagerConfig {
        event_source: event_source?,
        poll_interval: poll_interval?,
        round_interval: round_interval?,
        config_interval: config_interval?,
        start_block_offset: start_block_offset?,
        history_max_blocks: history_max_blocks?,
        live_feed_max_entries: usize::try_from(live_feed_max_entries?).ok()?,
        round_history_max: usize::try_from(round_history_max?).ok()?,
    })
}

#[cfg(test)]
mod tests;
