//! JSON-RPC over HTTP, by ureq: bodies out, bodies back. Redirects are not followed and no proxy is taken from the
//! environment. No retries, no health: that is the business of `endpoints`.

use std::time::Duration;

use serde_json::Value;

use crate::chain::error::RpcError;
use crate::chain::transport::{Answer, Body, Transport};

/// The largest answer that is read.
const BODY_MAX_BYTES: u64 = 32 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Connections (kept alive) to one server. It has no Debug, since its URL holds keys.
pub struct Http {
    agent: ureq::Agent,
    url: String,
    host: String,
}

impl Http {
    /// `proxy_url` is the only proxy ever used; `timeout` is for a whole exchange.
    ///
    /// # Errors
    /// When one of the URLs is none of HTTP's.
    pub fn new(url: &str, proxy_url: Option<&str>, timeout: Duration) -> Result<Http, RpcError> {
        let host = shown_host(url, &["http", "https"])?;
        let proxy = match proxy_url {
            Some(proxy_url) => Some(
                ureq::Proxy::new(proxy_url)
                    .map_err(|_| RpcError::transport("blockchain.proxy_url is not a proxy URL"))?,
            ),
            None => None,
        };
        let agent = ureq::Agent::config_builder()
            .timeout_connect(Some(CONNECT_TIMEOUT.min(timeout)))
            .timeout_global(Some(timeout))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .proxy(proxy)
            .user_agent(concat!("lottery/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Http {
            agent,
            url: url.to_owned(),
            host,
        })
    }
}

impl Transport for Http {
    fn host(&self) -> &str {
        &self.host
    }

    fn post(&self, request: &Value) -> Result<Answer, RpcError> {
        let broken = |error: ureq::Error| {
            RpcError::transport(format!("{}: {}", self.host, describe(&error)))
        };
        let mut response = self
            .agent
            .post(&self.url)
            .header("content-type", "application/json")
            .send(request.to_string())
            .map_err(broken)?;
        let retry_after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let bytes = response
            .body_mut()
            .with_config()
            .limit(BODY_MAX_BYTES)
            .read_to_vec()
            .map_err(broken)?;
        let body = match serde_json::from_slice(&bytes) {
            Ok(value) => Body::Json(value),
            Err(_) => Body::Text(String::from_utf8_lossy(&bytes).into_owned()),
        };
        Ok(Answer {
            status: response.status().as_u16(),
            retry_after,
            body,
        })
    }
}

/// A transport error in words; ureq's own texts may hold the URL, so only its kind is told.
fn describe(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "timed out".to_owned(),
        ureq::Error::Io(error) => format!("{}", error.kind()),
        ureq::Error::HostNotFound => "the host is not found".to_owned(),
        ureq::Error::ConnectionFailed => "connection failed".to_owned(),
        ureq::Error::BodyExceedsLimit(limit) => format!("the answer is larger than {limit} bytes"),
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => "TLS failed".to_owned(),
        ureq::Error::Protocol(_) => "broken HTTP".to_owned(),
        _ => "the request failed".to_owned(),
    }
}

/// scheme://host[:port] of a URL with one of these schemes: all that may be shown of it.
pub fn shown_host(url: &str, schemes: &[&str]) -> Result<String, RpcError> {
    let bad = || {
        let allowed: Vec<String> = schemes
            .iter()
            .map(|scheme| format!("{scheme}://host"))
            .collect();
        RpcError::transport(format!("an RPC URL must be {}", allowed.join(" or ")))
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
    if !schemes.contains(&scheme) {
        return Err(bad());
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    if host.is_empty() {
        return Err(bad());
    }
    Ok(format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::error::ErrorKind;
    use serde_json::json;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;

    /// Serves one canned HTTP answer to one request.
    fn serve(answer: impl FnOnce(Value) -> String + Send + 'static) -> Http {
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
            let answer = answer(request);
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
        });
        Http::new(&url, None, Duration::from_secs(5)).unwrap()
    }

    fn http(status: &str, headers: &str, body: &str) -> String {
        format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
            body.len()
        )
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
        let server = Http::new(url, None, Duration::from_secs(1)).unwrap();
        assert_eq!(server.host(), "https://rpc.example:8443");
        let error = serve(|_| String::new()).post(&json!({})).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        for bad in [
            "rpc.example",
            "ftp://rpc.example",
            "http://",
            "http:///path",
        ] {
            let server = Http::new(bad, None, Duration::from_secs(1));
            assert!(server.is_err(), "{bad}");
        }
    }
}
