//! JSON-RPC over HTTP, by ureq: bodies out, bodies back. Redirects are not followed and no proxy is taken from the
//! environment. No retries, no health: that is the business of `endpoints`.

use std::io::{ErrorKind as IoKind, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use flate2::read::GzDecoder;
use serde_json::Value;
use ureq::tls::{RootCerts, TlsConfig};

use crate::chain::error::RpcError;
use crate::chain::transport::{Answer, Body, Transport};
use crate::chain::url;

/// A certificate of an authority.
pub type Certificate = ureq::tls::Certificate<'static>;

/// The largest answer that is read.
const BODY_MAX_BYTES: u64 = 32 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest body that is not JSON of which more than the start is of use.
const TEXT_MAX_BYTES: usize = 4_096;

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
    url: String,
    authorization: Option<String>,
    host: String,
    secrets: Vec<String>,
}

impl Http {
    /// # Errors
    /// When the URL, or the proxy's, is none of HTTP's.
    pub fn new(url: &str, settings: &HttpSettings) -> Result<Http, RpcError> {
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
        let agent = |roots| agent(proxy.clone(), settings.timeout, roots);
        let (url, authorization) = url::without_login(url);
        Ok(Http {
            agents: roots.into_iter().map(agent).collect(),
            trusted: AtomicUsize::new(0),
            url,
            authorization,
            host,
            secrets: settings.secrets.clone(),
        })
    }

    fn exchange(&self, agent: &ureq::Agent, body: &str) -> Result<Answer, ureq::Error> {
        let mut request = agent
            .post(&self.url)
            .header("content-type", "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let mut response = request.send(body)?;
        let header = |name: &str| response.headers().get(name)?.to_str().ok();
        let retry_after = header("retry-after").and_then(wait_named);
        let is_packed = header("content-encoding").is_some_and(is_gzip);
        let status = response.status().as_u16();
        let bytes = response
            .body_mut()
            .with_config()
            .limit(BODY_MAX_BYTES)
            .read_to_vec()?;
        let bytes = match is_packed {
            true => unpacked(&bytes)?,
            false => bytes,
        };
        let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes);
        let body = match serde_json::from_slice(bytes) {
            Ok(value) => Body::Json(value),
            Err(_) => {
                let start = &bytes[..bytes.len().min(TEXT_MAX_BYTES)];
                Body::Text(String::from_utf8_lossy(start).into_owned())
            }
        };
        Ok(Answer {
            status,
            retry_after,
            body,
        })
    }
}

impl Transport for Http {
    fn host(&self) -> &str {
        &self.host
    }

    fn post(&self, request: &Value) -> Result<Answer, RpcError> {
        let body = request.to_string();
        let first = self.trusted.load(Ordering::Relaxed);
        let mut what = "cannot be asked";
        for turn in 0..self.agents.len() {
            let index = (first + turn) % self.agents.len();
            match self.exchange(&self.agents[index], &body) {
                Ok(answer) => {
                    self.trusted.store(index, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) => what = describe(&error),
            }
            // Nothing was sent to a server that was not trusted: the other authorities may vouch for it.
            if what != UNKNOWN_ISSUER {
                break;
            }
        }
        let way_out = match what {
            UNKNOWN_ISSUER => {
                ": unknown issuer; blockchain.ca_file names a file with its authority"
            }
            _ => "",
        };
        Err(RpcError::transport(format!("{} {what}{way_out}", self.host)).told_as(what))
    }

    fn without_secrets(&self, text: &str) -> String {
        url::redacted(text, &self.secrets)
    }
}

fn agent(proxy: Option<ureq::Proxy>, timeout: Duration, roots: RootCerts) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_connect(Some(CONNECT_TIMEOUT.min(timeout)))
        .timeout_global(Some(timeout))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .proxy(proxy)
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .user_agent(concat!("lottery/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
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

/// Codings have no case, and gzip has a second name (RFC 9110, 8.4.1.3).
fn is_gzip(coding: &str) -> bool {
    let coding = coding.trim();
    coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip")
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

const UNKNOWN_NAME: &str = "has a host name that is not found";
const UNKNOWN_ISSUER: &str = "has a certificate that no known authority signed";

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
        ureq::Error::Protocol(_) => "speaks broken HTTP",
        _ => "cannot be asked",
    }
}

pub(crate) fn describe_io(error: &std::io::Error) -> &'static str {
    match error.kind() {
        IoKind::ConnectionRefused => "refused the connection",
        IoKind::ConnectionReset | IoKind::ConnectionAborted | IoKind::BrokenPipe => {
            "broke the connection off"
        }
        IoKind::UnexpectedEof => "cut its answer off",
        IoKind::OutOfMemory => "gave an answer that is too large",
        IoKind::TimedOut | IoKind::WouldBlock => "timed out",
        IoKind::HostUnreachable | IoKind::NetworkUnreachable => "is unreachable",
        // A handshake that fails is an error of data with rustls' own inside.
        IoKind::InvalidData => describe_tls(&error.to_string()),
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
mod tests {
    use super::*;
    use crate::chain::error::ErrorKind;
    use serde_json::json;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    fn settings() -> HttpSettings {
        HttpSettings {
            timeout: Duration::from_secs(5),
            secrets: vec!["secret-key".to_owned()],
            ..HttpSettings::default()
        }
    }

    /// Serves one canned HTTP answer to one request.
    fn serve<T: Into<Vec<u8>>>(answer: impl FnOnce(Value) -> T + Send + 'static) -> Http {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v3/secret-key", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line == "\r\n" || line.is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let request = serde_json::from_slice(&body).unwrap();
            let answer: Vec<u8> = answer(request).into();
            reader.get_mut().write_all(&answer).unwrap();
        });
        Http::new(&url, &settings()).unwrap()
    }

    fn http(status: &str, headers: &str, body: &str) -> String {
        format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
            body.len()
        )
    }

    #[test]
    fn a_name_that_nobody_knows_is_told_as_that() {
        // Too long for any name server to be asked.
        let name = format!("{}.example", "long".repeat(80));
        let error = std::net::ToSocketAddrs::to_socket_addrs(&(name.as_str(), 80)).unwrap_err();
        assert_eq!(describe_io(&error), UNKNOWN_NAME, "{error:?}");
    }

    #[test]
    fn a_request_goes_out_whole_and_its_answer_comes_back_with_its_status() {
        let request = json!({"id": 5, "method": "eth_chainId"});
        let server = serve(|request| http("400 Bad Request", "", &request.to_string()));
        let answer = server.post(&request).unwrap();
        assert_eq!((answer.status, answer.body), (400, Body::Json(request)));
        let limited = http("429 Too Many Requests", "retry-after: 7\r\n", "slow down");
        let answer = serve(|_| limited).post(&json!({})).unwrap();
        assert_eq!(answer.retry_after, Some(Duration::from_secs(7)));
        assert_eq!(answer.body, Body::Text("slow down".into()));
    }

    #[test]
    fn a_wait_is_named_in_seconds_or_by_a_date() {
        let in_a_minute = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(61));
        let wait = wait_named(&in_a_minute).unwrap();
        assert!((50..=61).contains(&wait.as_secs()), "{wait:?}");
        let past = wait_named("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(past, Some(Duration::ZERO));
        assert_eq!(wait_named(" 7 "), Some(Duration::from_secs(7)));
        for nonsense in ["", "soon", "-1", "1.5e", "99999999999999999999999"] {
            assert_eq!(wait_named(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_body_may_be_packed_unasked_or_begin_with_a_mark() {
        let value = json!({"id": 1, "result": "0x1"});
        let marked = http("200 OK", "", &format!("\u{feff}{value}"));
        let answer = serve(|_| marked).post(&json!({})).unwrap();
        assert_eq!(answer.body, Body::Json(value.clone()));
        let packed = |text: &[u8]| {
            let level = flate2::Compression::fast();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        };
        let sent = |coding: &str, body: &[u8]| {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\ncontent-encoding: {coding}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            [head.as_bytes(), body].concat()
        };
        let whole = packed(value.to_string().as_bytes());
        for coding in ["gzip", "GZIP", "X-Gzip"] {
            let sent = sent(coding, &whole);
            let answer = serve(move |_| sent).post(&json!({})).unwrap();
            assert_eq!(answer.body, Body::Json(value.clone()), "{coding}");
        }
        // Cut off, or so large unpacked that nobody wants it: no answer.
        let huge = packed(&vec![b' '; BODY_MAX_BYTES as usize + 1]);
        for (body, told) in [
            (&whole[..whole.len() / 2], "cut its answer off"),
            (&huge[..], "gave an answer that is too large"),
        ] {
            let sent = sent("gzip", body);
            let error = serve(move |_| sent).post(&json!({})).unwrap_err();
            assert_eq!(error.public(), told);
        }
    }

    #[test]
    fn a_redirect_is_not_followed() {
        let moved = http("302 Found", "location: http://127.0.0.1:1/\r\n", "");
        assert_eq!(serve(|_| moved).post(&json!({})).unwrap().status, 302);
    }

    #[test]
    fn what_is_cut_off_or_without_end_is_no_answer() {
        for answer in [
            String::new(),
            "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{\"id\"".to_owned(),
            format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
                BODY_MAX_BYTES + 1
            ),
        ] {
            let error = serve(|_| answer).post(&json!({})).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Transport);
        }
    }

    #[test]
    fn nothing_shows_more_of_the_url_than_its_host() {
        let url = "https://user:pw@rpc.example:8443/v3/secret-key?k=2";
        let server = Http::new(url, &settings()).unwrap();
        assert_eq!(server.host(), "https://rpc.example:8443");
        let error = serve(|_| String::new()).post(&json!({})).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        let told = server.without_secrets("no such key: secret-key");
        assert_eq!(told, "no such key: ...");
    }

    #[test]
    fn failures_are_told_in_words_that_may_be_public() {
        let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
        let url = format!("http://{}", unused.unwrap());
        let server = Http::new(&url, &settings()).unwrap();
        let error = server.post(&json!({})).unwrap_err();
        assert_eq!(error.public(), "refused the connection");
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let timeout = Duration::from_millis(50);
        let hasty = HttpSettings {
            timeout,
            ..settings()
        };
        let error = Http::new(&url, &hasty).unwrap().post(&json!({}));
        assert_eq!(error.unwrap_err().public(), "timed out");
    }

    #[test]
    fn an_account_is_sent_decoded() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("http://user:p%40ss@{address}/rpc");
        let asked = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let lines = BufReader::new(stream).lines();
            lines
                .map(|line| line.unwrap().to_lowercase())
                .take_while(|line| !line.is_empty())
                .collect::<Vec<_>>()
        });
        let _ = Http::new(&url, &settings()).unwrap().post(&json!({}));
        let lines = asked.join().unwrap();
        let sent = "authorization: basic dxnlcjpwqhnz".to_owned();
        assert!(lines.contains(&sent), "{lines:?}");
        assert!(lines[0].starts_with("post /rpc "), "{lines:?}");
    }

    #[test]
    fn authorities_are_certificates_in_pem() {
        for (bad, why) in [
            ("", "no certificate"),
            ("nonsense", "no certificate"),
            (
                "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
                "broken PEM",
            ),
        ] {
            let error = authorities(bad.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
