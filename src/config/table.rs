//! Every setting there is: section, key, kind, default and meaning stand here once. Reading, errors, `lottery help
//! settings` and the README's table all come from this list, so a new setting is one new line here and its use.

use crate::config::kinds::{
    Account, Amount, Choice, Decimal, EndpointUrl, File, Flag, Form, Ip, Kind, List, Listener,
    Network, PublicUrl, Seconds, SecretUrl, Whole, HTTP,
};

/// Everything that is known of one setting.
pub(crate) struct Setting<K> {
    pub section: &'static str,
    pub key: &'static str,
    pub kind: K,
    pub fallback: Fallback,
    pub meaning: &'static str,
}

/// What holds when nobody sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// The text of a value, a list comma separated.
    Value(&'static str),
    /// There is no value, which is told in this word.
    Nothing(&'static str),
    /// It must be set, to this.
    Required(&'static str),
}

use Fallback::{Nothing, Required, Value};

/// A setting without its type, for lists and documentation.
pub(crate) trait Described: Sync {
    fn section(&self) -> &'static str;
    fn key(&self) -> &'static str;
    fn fallback(&self) -> Fallback;
    fn meaning(&self) -> &'static str;
    fn allowed(&self) -> String;
    fn form(&self) -> Form;

    /// section.key, as errors name it.
    fn path(&self) -> String {
        format!("{}.{}", self.section(), self.key())
    }

    /// The environment variable that sets it.
    fn variable(&self) -> String {
        format!("LOTTERY_{}_{}", self.section(), self.key()).to_uppercase()
    }
}

impl<K: Kind + Sync> Described for Setting<K> {
    fn section(&self) -> &'static str {
        self.section
    }

    fn key(&self) -> &'static str {
        self.key
    }

    fn fallback(&self) -> Fallback {
        self.fallback
    }

    fn meaning(&self) -> &'static str {
        self.meaning
    }

    fn allowed(&self) -> String {
        self.kind.allowed()
    }

    fn form(&self) -> Form {
        K::FORM
    }
}

macro_rules! settings {
    ($($section:literal { $($name:ident = $key:literal: $kind:ty = $value:expr, $fallback:expr, $meaning:expr;)* })*) => {
        $($(
            pub(crate) static $name: Setting<$kind> = Setting {
                section: $section,
                key: $key,
                kind: $value,
                fallback: $fallback,
                meaning: $meaning,
            };
        )*)*
        /// Every setting, in the order of the documentation.
        pub(crate) static TABLE: &[&dyn Described] = &[$($(&$name,)*)*];
    };
}

const SECRET_FILE: File = File("the path of a file that only its owner can read");
const GWEI: Amount = Amount {
    unit: "gwei",
    decimals: 9,
};
const ETHER: Amount = Amount {
    unit: "ether",
    decimals: 18,
};

settings! {
    "server" {
        HOST = "host": Ip = Ip, Value("127.0.0.1"), "where page, API and feed listen";
        PORT = "port": Whole = Whole(0, 65_535), Value("6080"), "0 takes a free one";
        METRICS_LISTEN = "metrics_listen": Listener = Listener, Nothing("off"),
            "metrics, probes and the read-only API on a port of their own";
        API_TOKEN_FILE = "api_token_file": File = SECRET_FILE, Nothing("none"),
            "the token for manual actions, 16 to 512 characters";
        MAX_CONNECTIONS = "max_connections": Whole = Whole(16, 1_000_000), Value("12000"),
            "cut to what the descriptor limit allows";
        MAX_CONNECTIONS_PER_IP = "max_connections_per_ip": Whole = Whole(0, 1_000_000), Value("256"),
            "0 is no limit";
        TRUSTED_PROXIES = "trusted_proxies": List<Network> = List(Network), Value("127.0.0.0/8, ::1"),
            "peers that are not counted themselves; X-Forwarded-For counts for them";
    }
    "blockchain" {
        RPC_URL = "rpc_url": List<EndpointUrl> = List(EndpointUrl),
            Required("the URL of an Ethereum node, e.g. \"http://127.0.0.1:8545\""),
            "endpoints, best first; ws(s) URLs are for news alone";
        CHAIN_ID = "chain_id": Whole = Whole(1, u64::MAX / 2 - 36),
            Required("the chain's number, e.g. 1 for Ethereum, 31337 for a local node"),
            "every endpoint must serve it";
        CONTRACT_ADDRESS = "contract_address": Account = Account,
            Required("the address of the lottery contract, 0x and 40 hex digits"),
            "the lottery contract";
        OPERATOR_ADDRESS = "operator_address": Account = Account, Nothing("none"),
            "the key's address must equal it; who signs elsewhere signs for it";
        EXPLORER_URL = "explorer_url": PublicUrl = PublicUrl, Nothing("none"), "for links on the page";
        PROXY_URL = "proxy_url": SecretUrl = SecretUrl(HTTP), Nothing("none"), "the only proxy ever used";
        CA_FILE = "ca_file": File = File("the path of a file of PEM certificates"), Nothing("none"),
            "authorities that are trusted beside the usual ones";
        RPC_TIMEOUT = "rpc_timeout": Seconds = Seconds(0.5, 30.0), Value("10"),
            "for one call; more would look like a hung thread";
        MAX_FEE_GWEI = "max_fee_gwei": Amount = GWEI, Value("500"),
            "the most a unit of gas may be offered";
        MAX_TX_FEE_ETHER = "max_tx_fee_ether": Amount = ETHER, Value("1"),
            "the most one transaction may cost";
        GAS_MULTIPLIER = "gas_multiplier": Decimal = Decimal(1.0, 10.0), Value("1.25"),
            "over the gas estimate";
    }
    "operator" {
        ENABLED = "enabled": Flag = Flag, Value("true"), "false: only manual actions";
        KEY_FILE = "key_file": File = SECRET_FILE, Nothing("none"), "the private key, 64 hex digits";
        KEYSTORE_FILE = "keystore_file": File = SECRET_FILE, Nothing("none"),
            "the key as a V3 keystore instead";
        KEYSTORE_PASSWORD_FILE = "keystore_password_file": File = SECRET_FILE, Nothing("none"),
            "its password";
        SIGNER_URL = "signer_url": SecretUrl = SecretUrl(HTTP), Nothing("none"),
            "who signs in place of a key here: web3signer, clef or their like; see below";
        DRAW_CHECK_INTERVAL = "draw_check_interval": Seconds = Seconds(0.1, 25.0), Value("10.0"),
            "the tick beside events";
        DRAW_RETRY_DELAY = "draw_retry_delay": Seconds = Seconds(0.0, 86_400.0), Value("45.0"),
            "after a failed transaction";
        MAX_DRAW_RETRIES = "max_draw_retries": Whole = Whole(0, 1_000), Value("3"),
            "then the round is left to a person until its window is over";
        TX_TIMEOUT_SECONDS = "tx_timeout_seconds": Seconds = Seconds(1.0, 86_400.0), Value("180"),
            "an unmined transaction counts as failed";
        STANDBY_DELAY = "standby_delay": Seconds = Seconds(0.0, 86_400.0), Value("0"),
            "a second daemon with the same key acts only this late";
        EXTEND_EMPTY_ROUNDS = "extend_empty_rounds": Flag = Flag, Value("true"),
            "keeps a started round without bets alive";
        CONFIRMATIONS = "confirmations": Whole = Whole(1, 1_000), Value("1"),
            "blocks until an action is reported done, its own counted";
        MAX_SPEND_ETHER_PER_DAY = "max_spend_ether_per_day": Amount = ETHER, Value("1"),
            "on reaching it fees are not raised and nothing is extended; draws go on";
        ALERT_WEBHOOK = "alert_webhook": SecretUrl = SecretUrl(HTTP), Nothing("none"),
            "alerts are posted there as JSON";
        ALERT_FORMAT = "alert_format": Choice<AlertFormat> = Choice(&[
            ("generic", AlertFormat::Generic),
            ("slack", AlertFormat::Slack),
            ("discord", AlertFormat::Discord),
            ("ntfy", AlertFormat::Ntfy),
            ("alertmanager", AlertFormat::Alertmanager),
        ]), Value("generic"), "what takes them there; generic has every field, and `text` and `content` beside them";
    }
    "event_manager" {
        EVENT_SOURCE = "event_source": Choice<EventSource> =
            Choice(&[("eth_getLogs", EventSource::GetLogs), ("eth_subscribe", EventSource::Subscribe)]),
            Value("eth_getLogs"), "how new blocks are noticed, see below";
        EVENT_POLL_INTERVAL_SEC = "event_poll_interval_sec": Seconds = Seconds(0.05, 60.0), Value("1"),
            "at the longest between two looks at an irregular chain";
        ROUND_INTERVAL_SEC = "round_and_participants_interval_sec": Seconds = Seconds(0.05, 3_600.0),
            Value("2"), "see below";
        CONFIG_INTERVAL_SEC = "contract_config_interval_sec": Seconds = Seconds(1.0, 86_400.0), Value("20"),
            "see below";
        START_BLOCK_OFFSET = "start_block_offset": Whole = Whole(1, 10_000), Value("500"),
            "blocks of the first step back through history";
        HISTORY_MAX_BLOCKS = "history_max_blocks": Whole = Whole(0, 1_000_000_000), Value("200000"),
            "how far back the history may be searched";
        LIVE_FEED_MAX_ENTRIES = "live_feed_max_entries": Whole = Whole(1, 100_000), Value("1000"),
            "items of the live feed kept";
        ROUND_HISTORY_MAX = "round_history_max": Whole = Whole(1, 1_000), Value("20"),
            "finished rounds kept";
    }
}

/// How new blocks are noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventSource {
    /// Heads are polled.
    GetLogs,
    /// Heads and logs are announced over a WebSocket; polled while none is open.
    Subscribe,
}

/// What an alert's receiver takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertFormat {
    /// Our fields, with `text` and `content` beside them.
    Generic,
    Slack,
    Discord,
    Ntfy,
    Alertmanager,
}
