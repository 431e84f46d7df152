//! What the URL of an endpoint holds: a host that may be shown, an account to log in with, and secrets that may appear
//! nowhere. Pure.

use base64::prelude::{Engine, BASE64_STANDARD};
use percent_encoding::percent_decode_str;

use crate::chain::error::RpcError;

/// Parts of a path or a query from this length on may be keys; shorter ones are names like `v3` or `rpc`.
const KEY_CHARS_MIN: usize = 8;
/// Parts of a user's name or password below this length would only garble texts when they are taken out.
const LOGIN_CHARS_MIN: usize = 4;

/// scheme://host[:port] of a URL with one of these schemes: all that may be shown of it.
///
/// # Errors
/// When the URL has another form; the text names the forms that are allowed.
pub(crate) fn shown_host(url: &str, schemes: &[&str]) -> Result<String, RpcError> {
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
    let (_, host, _) = split_rest(rest);
    if host.is_empty() {
        return Err(bad());
    }
    Ok(format!("{scheme}://{host}"))
}

/// The URL without its account, and the value of the Authorization header that the account makes, decoded as URLs ask.
pub(crate) fn without_login(url: &str) -> (String, Option<String>) {
    let Some((scheme, rest)) = url.split_once("://") else {
        return (url.to_owned(), None);
    };
    let (login, host, path) = split_rest(rest);
    let authorization = login.map(|login| format!("Basic {}", basic(login)));
    (format!("{scheme}://{host}{path}"), authorization)
}

/// A URL's account as basic authentication carries it.
fn basic(login: &str) -> String {
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let decoded = |part: &str| percent_decode_str(part).collect::<Vec<u8>>();
    BASE64_STANDARD.encode([decoded(user), b":".to_vec(), decoded(password)].concat())
}

/// Everything in a URL that may be a secret, as written, decoded, and as it is sent; longest first.
pub(crate) fn secrets(url: &str) -> Vec<String> {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    let (login, _, path) = split_rest(rest);
    let mut secrets = Vec::new();
    let mut add = |part: &str, chars_min: usize| {
        let decoded = percent_decode_str(part).decode_utf8_lossy().into_owned();
        for secret in [part.to_owned(), decoded] {
            if secret.chars().count() >= chars_min {
                secrets.push(secret);
            }
        }
    };
    if let Some(login) = login {
        add(login, LOGIN_CHARS_MIN);
        add(basic(login).trim_end_matches('='), LOGIN_CHARS_MIN);
        login.split(':').for_each(|part| add(part, LOGIN_CHARS_MIN));
    }
    for part in path.split(['/', '?', '#', '&', '=']) {
        add(part, KEY_CHARS_MIN);
    }
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.dedup();
    secrets
}

/// A text without these secrets.
pub(crate) fn redacted(text: &str, secrets: &[String]) -> String {
    let mut text = text.to_owned();
    for secret in secrets {
        if text.contains(secret.as_str()) {
            text = text.replace(secret.as_str(), "...");
        }
    }
    text
}

/// What follows the scheme: the account, the host with its port, and the rest.
fn split_rest(rest: &str) -> (Option<&str>, &str, &str) {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((login, host)) => (Some(login), host, path),
        None => (None, authority, path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HTTP: &[&str] = &["http", "https"];

    #[test]
    fn a_host_is_all_that_is_shown() {
        for (url, shown) in [
            (
                "https://user:pw@rpc.example:8443/v3/secret?k=2",
                "https://rpc.example:8443",
            ),
            ("http://[::1]:8545", "http://[::1]:8545"),
            ("https://rpc.example?key=secret", "https://rpc.example"),
            ("https://a@b@rpc.example/", "https://rpc.example"),
        ] {
            assert_eq!(shown_host(url, HTTP), Ok(shown.to_owned()), "{url}");
        }
        for bad in [
            "rpc.example",
            "ftp://rpc.example",
            "http://",
            "http:///path",
            "http://u@",
        ] {
            let error = shown_host(bad, HTTP).unwrap_err().to_string();
            assert!(error.contains("http://host or https://host"), "{error}");
        }
    }

    #[test]
    fn an_account_is_decoded_into_a_header() {
        let basic = |account: &str| Some(format!("Basic {}", BASE64_STANDARD.encode(account)));
        for (url, rest, authorization) in [
            ("http://h:1/p?q", "http://h:1/p?q", None),
            (
                "http://u:p%40ss%2F%3A@h:1/p",
                "http://h:1/p",
                basic("u:p@ss/:"),
            ),
            ("http://token@h", "http://h", basic("token:")),
            ("http://u:a:b@h", "http://h", basic("u:a:b")),
            ("http://u%C3%A9:x@h", "http://h", basic("ué:x")),
        ] {
            assert_eq!(
                without_login(url),
                (rest.to_owned(), authorization),
                "{url}"
            );
        }
    }

    #[test]
    fn whatever_may_be_a_key_is_taken_out_of_texts() {
        let url = "https://user:p%40ssword@rpc.example/v3/abcdef0123456789?apikey=s3cr3tkey%21&x=1";
        let secrets = secrets(url);
        let told = format!(
            "bad request to {url}: p@ssword, p%40ssword, key abcdef0123456789, s3cr3tkey!, user"
        );
        let shown = redacted(&told, &secrets);
        for secret in [
            "p@ssword",
            "p%40ssword",
            "abcdef0123456789",
            "s3cr3tkey",
            "user",
        ] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert!(shown.contains("rpc.example/v3/"), "{shown}");
    }
}
