//! What each room takes of the configuration: its own settings, the key and the endpoints. Nothing is started here.

use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::actors::event_manager::Settings as EventManagerSettings;
use crate::actors::operator::Settings as OperatorSettings;
use crate::actors::sender::SenderSettings;
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::base::text_file::read_bytes;
use crate::chain::endpoints::{Endpoints, EndpointsConfig};
use crate::chain::error::RpcError;
use crate::chain::fees::FeeLimits;
use crate::chain::http::{self, Http, HttpSettings};
use crate::chain::key::{KeyError, OperatorKey};
use crate::chain::keystore::{self, KeystoreError};
use crate::chain::signer::{RemoteSigner, Signer, SIGNED_WITHIN};
use crate::chain::types::Address;
use crate::chain::url;
use crate::config::{Config, KeyMaterial};
use crate::lottery::decision::Policy;
use crate::lottery::send_state::Rules;
use crate::web::server::BindError;

/// Some dozen times what a whole system trusts.
const AUTHORITIES_BYTES_MAX: u64 = 4 << 20;

/// Why the daemon did not start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("the operator's key: {0}")]
    Key(#[from] KeyError),
    #[error("operator.keystore_file: {0}")]
    Keystore(#[from] KeystoreError),
    #[error("blockchain.operator_address is {configured:#x}, the key's address is {found:#x}")]
    OtherKey { configured: Address, found: Address },
    #[error(
        "operator.signer_url needs blockchain.operator_address, the account that it is to sign for"
    )]
    NoAccount,
    #[error("operator.signer_url: {0}")]
    Signer(RpcError),
    #[error("{0}")]
    Endpoints(RpcError),
    #[error("{setting}: {} cannot be used: {cause}", path.display())]
    Authorities {
        setting: &'static str,
        path: PathBuf,
        cause: String,
    },
    #[error("{0}")]
    Bind(#[from] BindError),
    #[error("a thread cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

impl StartError {
    /// True when other settings would help.
    pub(crate) fn is_configuration(&self) -> bool {
        !matches!(self, StartError::Bind(_) | StartError::Thread(_))
    }
}

/// Who signs, as configured: a key, checked against `operator_address`, or a signer elsewhere that signs for that address.
/// None where nobody does. Nothing is asked of a signer here.
pub(crate) fn load_signer(config: &Config, clock: &Clock) -> Result<Option<Signer>, StartError> {
    let configured = config.blockchain.operator_address;
    let key = match &config.operator.key {
        None => return Ok(None),
        Some(KeyMaterial::Hex(hex)) => OperatorKey::from_hex(hex.expose())?,
        Some(KeyMaterial::Keystore { json, password }) => {
            keystore::decrypt(json.expose(), password.expose())?
        }
        Some(KeyMaterial::Elsewhere { signer_url }) => {
            let account = configured.ok_or(StartError::NoAccount)?;
            let url = signer_url.expose();
            let http = HttpSettings {
                timeout: SIGNED_WITHIN.min(config.blockchain.rpc_timeout),
                authorities: authorities(config)?,
                secrets: url::secrets(url),
                // It is near, or reached through a tunnel of the operator's own.
                proxy_url: None,
            };
            let transport = Http::new(url, &http).map_err(StartError::Signer)?;
            let signer = RemoteSigner::over(Arc::new(transport), account, clock.clone());
            return Ok(Some(Signer::Elsewhere(signer)));
        }
    };
    match configured.filter(|configured| *configured != key.address()) {
        Some(configured) => Err(StartError::OtherKey {
            configured,
            found: key.address(),
        }),
        None => Ok(Some(Signer::Key(key))),
    }
}

pub fn endpoints(
    config: &Config,
    clock: &Clock,
    metrics: &Metrics,
) -> Result<Endpoints, StartError> {
    let blockchain = &config.blockchain;
    let urls = blockchain.rpc_urls.iter();
    let urls: Vec<String> = urls.map(|url| url.expose().to_owned()).collect();
    let proxy_url = blockchain.proxy_url.as_ref();
    let proxy_url = proxy_url.map(|url| url.expose().to_owned());
    let secrets = urls.iter().chain(&proxy_url);
    let http = HttpSettings {
        timeout: blockchain.rpc_timeout,
        authorities: authorities(config)?,
        secrets: secrets.flat_map(|url| url::secrets(url)).collect(),
        proxy_url,
    };
    let settings = EndpointsConfig {
        urls,
        http,
        chain_id: blockchain.chain_id,
    };
    Endpoints::new(&settings, clock.clone(), metrics).map_err(StartError::Endpoints)
}

/// The authorities that are trusted beside those compiled in: of `blockchain.ca_file`, and of the variable that other
/// programs know too.
pub(crate) fn authorities(config: &Config) -> Result<Vec<http::Certificate>, StartError> {
    let configured = config.blockchain.ca_file.clone();
    let of_system = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty());
    let files = [
        ("blockchain.ca_file", configured),
        ("SSL_CERT_FILE", of_system.map(PathBuf::from)),
    ];
    let mut found = Vec::new();
    for (setting, path) in files {
        let Some(path) = path else { continue };
        let broken = |cause: String| StartError::Authorities {
            setting,
            path: path.clone(),
            cause,
        };
        let pem =
            read_bytes(&path, AUTHORITIES_BYTES_MAX).map_err(|error| broken(error.to_string()))?;
        found.extend(http::authorities(&pem).map_err(broken)?);
    }
    Ok(found)
}

pub(super) fn event_manager_settings(config: &Config) -> EventManagerSettings {
    let manager = &config.event_manager;
    EventManagerSettings {
        contract: config.blockchain.contract_address,
        chain_id: config.blockchain.chain_id,
        poll_interval: manager.poll_interval,
        round_interval: manager.round_interval,
        config_interval: manager.config_interval,
        start_block_offset: manager.start_block_offset,
        history_max_blocks: manager.history_max_blocks,
        round_history_max: manager.round_history_max,
    }
}

pub(super) fn sender_settings(config: &Config) -> SenderSettings {
    let blockchain = &config.blockchain;
    SenderSettings {
        contract: blockchain.contract_address,
        chain_id: blockchain.chain_id,
        limits: FeeLimits {
            max_fee_wei: blockchain.max_fee_wei,
            max_tx_fee_wei: blockchain.max_tx_fee_wei,
        },
        gas_multiplier: blockchain.gas_multiplier,
    }
}

pub(super) fn operator_settings(config: &Config, automatic: bool) -> OperatorSettings {
    let operator = &config.operator;
    OperatorSettings {
        automatic,
        draw_check_interval: operator.draw_check_interval,
        policy: Policy {
            draw_retry_delay: operator.draw_retry_delay,
            max_draw_retries: operator.max_draw_retries,
            extend_empty_rounds: operator.extend_empty_rounds,
            standby_delay: operator.standby_delay,
        },
        rules: Rules {
            tx_timeout: operator.tx_timeout,
            confirmations: operator.confirmations,
        },
        max_spend_wei_per_day: operator.max_spend_wei_per_day,
        max_tx_fee_wei: config.blockchain.max_tx_fee_wei,
        chain_id: config.blockchain.chain_id,
        operator_address: config.blockchain.operator_address,
    }
}
