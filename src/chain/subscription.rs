//! eth_subscribe over a WebSocket: news of heads and of a contract's logs. It is an announcement only: what is believed
//! of a block is read and checked elsewhere, and a log that is announced says no more than that there is one.

use std::io::ErrorKind as IoKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{json, Value};
use tungstenite::http::Uri;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{ClientRequestBuilder, Connector, HandshakeError, Message, WebSocket};

use crate::chain::encode;
use crate::chain::error::{ErrorKind, RpcError};
use crate::chain::http::{self, way_out, Certificate, UNKNOWN_ISSUER};
use crate::chain::json::{Json, Part};
use crate::chain::jsonrpc::has_id;
use crate::chain::names::{port_of, Names};
use crate::chain::parse;
use crate::chain::types::{Address, Header};
use crate::chain::url::{shown_host, without_login};

/// For one address, and for the look-up of them all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the answer to a request may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A silent server is asked for a sign of life, and given up when none comes.
const PING_EVERY: Duration = Duration::from_secs(15);
const SILENT_MAX: Duration = Duration::from_secs(40);
/// The longest message that is read.
const MESSAGE_MAX_BYTES: usize = 1 << 20;

/// What a subscription tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    Up,
    /// A new head.
    Head(Box<Header>),
    /// Something happened that the heads alone may not tell: a log of the contract, or one that was taken back.
    Changed,
    Down,
}

/// What WebSockets are reached with.
pub struct Reach {
    /// Trusted beside those compiled in.
    authorities: Vec<Certificate>,
    names: Names,
}

impl Reach {
    pub fn new(authorities: Vec<Certificate>) -> Reach {
        Reach {
            authorities,
            names: Names::new(),
        }
    }

    /// The open socket, or what went wrong, in words that follow who was asked.
    fn open(&self, url: &str) -> Result<Socket, &'static str> {
        let own = (!self.authorities.is_empty()).then(|| vouching(&self.authorities));
        // A certificate is good when either vouches for it.
        let opened = match own.map(|own| self.shake_hands(url, Some(own))) {
            None | Some(Err(UNKNOWN_ISSUER)) => self.shake_hands(url, None),
            Some(opened) => opened,
        };
        if opened.is_err() {
            self.names.doubt();
        }
        opened
    }

    fn shake_hands(&self, url: &str, trusted: Option<Connector>) -> Result<Socket, &'static str> {
        let stream = self.connect(url)?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_MAX_BYTES))
            .max_frame_size(Some(MESSAGE_MAX_BYTES));
        let request = request_to(url)?;
        // The error of a handshake may hold the URL.
        match tungstenite::client_tls_with_config(request, stream, Some(config), trusted) {
            Ok((socket, _)) => Ok(socket),
            Err(HandshakeError::Failure(error)) => Err(describe(&error)),
            Err(HandshakeError::Interrupted(_)) => Err("timed out"),
        }
    }

    fn connect(&self, url: &str) -> Result<TcpStream, &'static str> {
        let uri: Uri = url.parse().map_err(|_| NO_URL)?;
        let host = uri.host().ok_or(NO_URL)?;
        let addresses = self.names.find(host, port_of(&uri), CONNECT_TIMEOUT);
        let addresses = addresses.map_err(|error| http::describe(&error))?;
        let until = Instant::now() + ANSWER_TIMEOUT;
        let mut connected = Err("timed out");
        for address in addresses.iter() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            connected = connect(address, CONNECT_TIMEOUT.min(left))
                .map_err(|error| http::describe_io(&error));
            if connected.is_ok() {
                break;
            }
        }
        connected
    }
}

fn connect(address: &SocketAddr, within: Duration) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(address, within)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    Ok(stream)
}

/// A live subscription to heads and to the logs of one address.
pub struct Subscription {
    socket: Socket,
    host: String,
    heads_id: String,
    heard_at: Instant,
    pinged_at: Instant,
}

impl Subscription {
    /// Connects, makes sure of the chain, and subscribes. Afterwards `news` waits `tick` at most.
    pub fn open(
        reach: &Reach,
        url: &str,
        chain_id: u64,
        address: Address,
        tick: Duration,
    ) -> Result<Subscription, RpcError> {
        let host = shown_host(url, &["ws", "wss"])?;
        let socket = reach.open(url).map_err(|what| {
            let way_out = way_out(what);
            RpcError::transport(format!("{host} {what}{way_out}"))
        })?;
        let now = Instant::now();
        let mut subscription = Subscription {
            socket,
            heads_id: String::new(),
            host,
            heard_at: now,
            pinged_at: now,
        };
        let found = subscription.request(1, "eth_chainId", json!([]))?;
        let found = parse::number(found.part(), "chain id")?;
        if found != chain_id {
            return Err(RpcError::new(
                ErrorKind::Parked,
                format!(
                    "{} serves chain {found}, blockchain.chain_id is {chain_id}: it is not used",
                    subscription.host
                ),
            ));
        }
        let heads = subscription.request(2, "eth_subscribe", json!(["newHeads"]))?;
        subscription.heads_id = id_of(&heads)?;
        let filter = json!(["logs", {"address": encode::address(address)}]);
        id_of(&subscription.request(3, "eth_subscribe", filter)?)?;
        set_read_timeout(&subscription.socket, tick);
        Ok(subscription)
    }

    /// `scheme://host[:port]`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The next piece of news; None when there was none for a tick.
    pub fn news(&mut self) -> Result<Option<Notice>, RpcError> {
        let message = match self.receive()? {
            Some(message) => message,
            None => {
                self.keep_alive()?;
                return Ok(None);
            }
        };
        let params = message.part().at("params");
        let method = message.part().at("method").as_str();
        let id = id_in(params.at("subscription"));
        let (Some("eth_subscription"), Some(id)) = (method, id) else {
            return Ok(None);
        };
        if id != self.heads_id {
            return Ok(Some(Notice::Changed));
        }
        Ok(Some(match parse::header(params.at("result")) {
            Ok(header) => Notice::Head(Box::new(header)),
            // It names less of a block than is needed: the head is asked for.
            Err(_) => Notice::Changed,
        }))
    }

    fn request(&mut self, id: u64, method: &str, params: Value) -> Result<Json, RpcError> {
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.send(Message::text(request.to_string()))?;
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            if Instant::now() >= deadline {
                return Err(RpcError::transport(format!(
                    "{}: {method}: timed out",
                    self.host
                )));
            }
            let Some(answer) = self.receive()? else {
                continue;
            };
            if !has_id(&answer, id) {
                continue;
            }
            let result = answer.get("result");
            if let Some(result) = result.filter(|result| !result.part().is_null()) {
                return Ok(result);
            }
            let message = answer.part().at("error").at("message").as_str();
            let message = message.unwrap_or("no result");
            let shown: String = message.chars().take(200).collect();
            return Err(RpcError::invalid_answer(format!(
                "{}: {method}: {shown}",
                self.host
            )));
        }
    }

    /// A JSON message; None when none came within the socket's time-out.
    fn receive(&mut self) -> Result<Option<Json>, RpcError> {
        let message = match self.socket.read() {
            Ok(message) => message,
            Err(tungstenite::Error::Io(error))
                if matches!(error.kind(), IoKind::WouldBlock | IoKind::TimedOut) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(self.broken(&error)),
        };
        self.heard_at = Instant::now();
        match message {
            // What is no JSON, a greeting or a sign of life, is no news.
            Message::Text(text) => Ok(Json::begun_by(text.as_str().as_bytes().to_vec()).ok()),
            Message::Binary(bytes) => Ok(Json::begun_by(bytes.to_vec()).ok()),
            Message::Close(_) => Err(RpcError::transport(format!(
                "{}: the server closed the socket",
                self.host
            ))),
            _ => Ok(None),
        }
    }

    fn keep_alive(&mut self) -> Result<(), RpcError> {
        let now = Instant::now();
        let silent = now.saturating_duration_since(self.heard_at);
        if silent >= SILENT_MAX {
            return Err(RpcError::transport(format!(
                "{}: silent for {} s",
                self.host,
                silent.as_secs()
            )));
        }
        if silent >= PING_EVERY && now.saturating_duration_since(self.pinged_at) >= PING_EVERY {
            self.pinged_at = now;
            self.send(Message::Ping(Default::default()))?;
        }
        Ok(())
    }

    fn send(&mut self, message: Message) -> Result<(), RpcError> {
        self.socket
            .send(message)
            .map_err(|error| self.broken(&error))
    }

    fn broken(&self, error: &tungstenite::Error) -> RpcError {
        RpcError::transport(format!("{} {}", self.host, describe(error)))
    }
}

/// What went wrong, in words that follow who was asked; tungstenite's own may hold the URL.
fn describe(error: &tungstenite::Error) -> &'static str {
    match error {
        tungstenite::Error::Io(error) => http::describe_io(error),
        tungstenite::Error::Tls(_) => "failed the TLS handshake",
        tungstenite::Error::Http(_) => "refused the WebSocket handshake",
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            "closed the socket"
        }
        tungstenite::Error::Capacity(_) => "sent a message that is too long",
        _ => "speaks broken WebSocket",
    }
}

const NO_URL: &str = "has a URL that is none";

type Socket = WebSocket<MaybeTlsStream<TcpStream>>;

/// Trusts these authorities alone.
fn vouching(authorities: &[Certificate]) -> Connector {
    let mut roots = RootCertStore::empty();
    let told = authorities.iter();
    roots.add_parsable_certificates(told.map(|told| CertificateDer::from_slice(told.der())));
    let config = ClientConfig::builder().with_root_certificates(roots);
    Connector::Rustls(Arc::new(config.with_no_client_auth()))
}

/// The opening request; an account in the URL becomes a header, as it does over HTTP.
fn request_to(url: &str) -> Result<ClientRequestBuilder, &'static str> {
    let (url, authorization) = without_login(url);
    let uri: Uri = url.parse().map_err(|_| NO_URL)?;
    let request = ClientRequestBuilder::new(uri);
    Ok(match authorization {
        Some(authorization) => request.with_header("Authorization", authorization),
        None => request,
    })
}

fn set_read_timeout(socket: &Socket, timeout: Duration) {
    let stream = match socket.get_ref() {
        MaybeTlsStream::Plain(stream) => stream,
        MaybeTlsStream::Rustls(stream) => &stream.sock,
        // No other kind is compiled in.
        _ => return,
    };
    if let Err(error) = stream.set_read_timeout(Some(timeout)) {
        log::debug!("no read time-out on a socket: {error}");
    }
}

fn id_of(answer: &Json) -> Result<String, RpcError> {
    id_in(answer.part())
        .ok_or_else(|| RpcError::invalid_answer("eth_subscribe: no subscription id"))
}

/// A subscription's id, which some servers count in numbers.
fn id_in(told: Part) -> Option<String> {
    match told.as_str() {
        Some(id) => Some(id.to_owned()),
        None => told.as_f64().map(|_| told.to_string()),
    }
}

#[cfg(test)]
mod tests;
