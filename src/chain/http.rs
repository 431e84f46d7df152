//! JSON-RPC over HTTP, by ureq: bodies out, bodies back. Redirects are not followed and no proxy is taken from the
//! environment. No retries, no health: that is the business of `endpoints`.

use std::io::{ErrorKind as IoKind, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use flate2::read::GzDecoder;
use serde_json::Value;
use ureq::tls::{RootCerts, TlsConfig};

use crate::chain::error::{ErrorKind, RpcError};
use crate::chain::json::Json;
use crate::chain::names::Names;
use crate::chain::transport::{Answer, Body, Transport};
use crate::chain::url;

/// A certificate of an authority.
pub type Certificate = ureq::tls::Certificate<'static>;

/// The largest answer that is read.
const BODY_MAX_BYTES: u64 = 32 << 20;
/// Of each connection, kept as long as it is: by default 128 KiB each way, most of a small daemon's memory. The head of an
/// answer has to fit in.
const INPUT_BUFFER_BYTES: usize = 32 << 10;
/// The head of a request, with the URL's path and a login, has to fit in.
const OUTPUT_BUFFER_BYTES: usize = 16 << 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest body that is not JSON of which more than the start is of use.
const TEXT_MAX_BYTES: usize = 4_096;

/// How a gzip stream begins, and JSON never.
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// What all HTTP endpoints are reached with.
#[derive(Clone, Default)]
pub struct HttpSettings {
    /// The only proxy ever used.
    pub proxy_url: Option<String>,
    /// For a whole exchange.
    pub timeout: Duration,
    /// Certificates of authorities that are trusted beside those compiled in.
    pub authorities: Vec<Certificate>,
    /// What may appear in no text.
    pub secrets: Vec<String>,
}

/// Connections (kept alive) to one server. It has no Debug, since its URL holds keys.
pub struct Http {
    /// One for the authorities that were configured, where there are any, and one for those compiled in: a certificate
    /// is good when either vouches for it.
    agents: Vec<ureq::Agent>,
    /// The agent that the server's certificate was good for last.
    trusted: AtomicUsize,
    names: Names,
    url: String,
    authorization: Option<String>,
    host: String,
    secrets: Vec<String>,
}

impl Http {
    /// # Errors
    /// When the URL, or the proxy's, is none of HTTP's.
    pub fn new(url: &str, settings: &HttpSettings) -> Result<Http, RpcError> {
        Http::at(Names::new(), url, settings)
    }

    fn at(names: Names, url: &str, settings: &HttpSettings) -> Result<Http, RpcError> {
        let host = url::shown_host(url, &["http", "https"])?;
        let proxy = match &settings.proxy_url {
            Some(proxy_url) => Some(
                ureq::Proxy::new(proxy_url)
                    .map_err(|_| RpcError::transport("blockchain.proxy_url is not a proxy URL"))?,
            ),
            None => None,
        };
        let mut roots = vec![RootCerts::WebPki];
        if !settings.authorities.is_empty() {
            roots.insert(0, RootCerts::new_with_certs(&settings.authorities));
        }
        let agent = |roots| agent(&names, proxy.clone(), settings.timeout, roots);
        let (url, authorization) = url::without_login(url);
        Ok(Http {
            agents: roots.into_iter().map(agent).collect(),
            trusted: AtomicUsize::new(0),
            names,
            url,
            authorization,
            host,
            secrets: settings.secrets.clone(),
        })
    }

    fn exchange(&self, agent: &ureq::Agent, body: &str) -> Result<Answer, NoAnswer> {
        let mut request = agent
            .post(&self.url)
            .header("content-type", "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let mut response = request.send(body).map_err(|error| NoAnswer {
            what: describe(&error),
            had_begun: false,
        })?;
        let header = |name: &str| response.headers().get(name)?.to_str().ok();
        let retry_after = header("retry-after").and_then(wait_named);
        let status = response.status().as_u16();
        let bytes = response
            .body_mut()
            .with_config()
            .limit(BODY_MAX_BYTES)
            .read_to_vec();
        // Headers say that a body is packed that is not, and the other way round.
        let bytes = bytes.and_then(|bytes| match bytes.starts_with(GZIP_MAGIC) {
            true => Ok(unpacked(&bytes)?),
            false => Ok(bytes),
        });
        let bytes = bytes.map_err(|error| NoAnswer {
            what: describe_body(&error),
            had_begun: true,
        })?;
        Ok(Answer {
            status,
            retry_after,
            body: body_of(bytes),
        })
    }
}

/// Why no whole answer came.
struct NoAnswer {
    /// In words that follow who was asked.
    what: &'static str,
    /// The server had begun to answer.
    had_begun: bool,
}

/// JSON, whatever stands behind it; anything else as text.
fn body_of(mut bytes: Vec<u8>) -> Body {
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    match Json::begun_by(bytes) {
        Ok(json) => Body::Json(json),
        Err(bytes) => {
            let start = &bytes[..bytes.len().min(TEXT_MAX_BYTES)];
            Body::Text(String::from_utf8_lossy(start).into_owned())
        }
    }
}

impl Transport for Http {
    fn host(&self) -> &str {
        &self.host
    }

    fn post(&self, request: &Value) -> Result<Answer, RpcError> {
        let body = request.to_string();
        let first = self.trusted.load(Ordering::Relaxed);
        let mut failure = NoAnswer {
            what: "cannot be asked",
            had_begun: false,
        };
        for turn in 0..self.agents.len() {
            let index = (first + turn) % self.agents.len();
            match self.exchange(&self.agents[index], &body) {
                Ok(answer) => {
                    self.trusted.store(index, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(no_answer) => failure = no_answer,
            }
            // Nothing was sent to a server that was not trusted: the other authorities may vouch for it.
            if failure.what != UNKNOWN_ISSUER {
                break;
            }
        }
        self.names.doubt();
        let NoAnswer { what, had_begun } = failure;
        // Unlike silence, that says nothing of the next answer.
        let kind =
            match had_begun && [CUT_OFF, BROKEN_OFF, BROKEN_HTTP, BROKEN_BODY].contains(&what) {
                true => ErrorKind::Unavailable,
                false => ErrorKind::Transport,
            };
        let text = format!("{} {what}{}", self.host, way_out(what));
        Err(RpcError::new(kind, text).told_as(what))
    }

    fn without_secrets(&self, text: &str) -> String {
        url::redacted(text, &self.secrets)
    }
}

fn agent(
    names: &Names,
    proxy: Option<ureq::Proxy>,
    timeout: Duration,
    roots: RootCerts,
) -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .timeout_connect(Some(CONNECT_TIMEOUT.min(timeout)))
        .timeout_global(Some(timeout))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .proxy(proxy)
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .input_buffer_size(INPUT_BUFFER_BYTES)
        .output_buffer_size(OUTPUT_BUFFER_BYTES)
        .max_response_header_size(INPUT_BUFFER_BYTES)
        .user_agent(concat!("lottery/", env!("CARGO_PKG_VERSION")))
        .build();
    names.agent(config)
}

/// Seconds, or a date of HTTP's.
pub(crate) fn wait_named(retry_after: &str) -> Option<Duration> {
    let text = retry_after.trim();
    if let Ok(secs) = text.parse() {
        return Some(Duration::from_secs(secs));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    let wait = at.duration_since(SystemTime::now());
    Some(wait.unwrap_or_default())
}

/// The body of a server that packs it though nobody asked for that.
fn unpacked(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    let within = BODY_MAX_BYTES + 1;
    GzDecoder::new(bytes).take(within).read_to_end(&mut body)?;
    match (body.len() as u64) < within {
        true => Ok(body),
        false => Err(IoKind::OutOfMemory.into()),
    }
}

/// The certificates in a file of PEM.
///
/// # Errors
/// What is wrong with the text, in words.
pub(crate) fn authorities(pem: &[u8]) -> Result<Vec<Certificate>, String> {
    let mut found = Vec::new();
    for item in ureq::tls::parse_pem(pem) {
        match item {
            Ok(ureq::tls::PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(format!("broken PEM: {error}")),
        }
    }
    match found.is_empty() {
        true => Err("no certificate in it".to_owned()),
        false => Ok(found),
    }
}

const BROKEN_HTTP: &str = "speaks broken HTTP";
const CUT_OFF: &str = "cut its answer off";
const BROKEN_BODY: &str = "gave a broken answer";
const BROKEN_OFF: &str = "broke the connection off";

const NO_DESCRIPTORS: &str = "cannot be asked: this machine has no file descriptors left";
const UNKNOWN_NAME: &str = "has a host name that is not found";
pub(crate) const UNKNOWN_ISSUER: &str = "has a certificate that no known authority signed";

/// What can be done about it, in words that follow it.
pub(crate) fn way_out(what: &str) -> &'static str {
    match what {
        UNKNOWN_ISSUER => ": unknown issuer; blockchain.ca_file names a file with its authority",
        _ => "",
    }
}

/// A transport error in words that follow who was asked. ureq's own texts may hold the URL, and that a token: only the kind of
/// failure is told.
pub(crate) fn describe(error: &ureq::Error) -> &'static str {
    match error {
        ureq::Error::Timeout(_) => "timed out",
        ureq::Error::Io(error) => describe_io(error),
        ureq::Error::HostNotFound => UNKNOWN_NAME,
        ureq::Error::ConnectionFailed => "cannot be connected to",
        ureq::Error::BodyExceedsLimit(_) => "gave an answer that is too large",
        ureq::Error::Tls(_) => "failed the TLS handshake",
        ureq::Error::Rustls(error) => describe_tls(&error.to_string()),
        ureq::Error::Protocol(_) => BROKEN_HTTP,
        _ => "cannot be asked",
    }
}

/// The same of a body, of which nothing is wrong with a handshake any more.
fn describe_body(error: &ureq::Error) -> &'static str {
    match error {
        ureq::Error::Io(error)
            if matches!(error.kind(), IoKind::InvalidData | IoKind::InvalidInput) =>
        {
            BROKEN_BODY
        }
        error => describe(error),
    }
}

pub(crate) fn describe_io(error: &std::io::Error) -> &'static str {
    match error.kind() {
        IoKind::ConnectionRefused => "refused the connection",
        IoKind::ConnectionReset | IoKind::ConnectionAborted | IoKind::BrokenPipe => BROKEN_OFF,
        IoKind::UnexpectedEof => CUT_OFF,
        IoKind::OutOfMemory => "gave an answer that is too large",
        IoKind::TimedOut | IoKind::WouldBlock => "timed out",
        IoKind::HostUnreachable | IoKind::NetworkUnreachable => "is unreachable",
        // A handshake that fails is an error of data with rustls' own inside.
        IoKind::InvalidData => describe_tls(&error.to_string()),
        _ if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => NO_DESCRIPTORS,
        // The standard library's failed look-up has no kind of its own that can be named.
        _ if error.to_string().starts_with("failed to lookup address") => UNKNOWN_NAME,
        _ => "cannot be connected to",
    }
}

/// By the names that rustls gives its errors.
fn describe_tls(error: &str) -> &'static str {
    let says = |what: &str| error.contains(what);
    if says("UnknownIssuer") {
        UNKNOWN_ISSUER
    } else if says("Expired") {
        "has a certificate that has expired"
    } else if says("NotValidForName") {
        "has a certificate for another name"
    } else {
        "failed the TLS handshake"
    }
}

#[cfg(test)]
mod tests;
