//! What every answer has around it: the headers of its kind, its entity tag, "not modified", and compression. Pure.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use flate2::{read::GzDecoder, write::GzEncoder, Compression};
use serde_json::Value;

use crate::web::http::{digest, Fields, Port, Reply, Request};
use crate::web::rounds::PackedRound;
use crate::web::view;

const PAGE_CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                        connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const JSON: &str = "application/json";
const NO_CACHE: &str = "no-cache";
const FOR_EVER: &str = "public, max-age=31536000, immutable";
const NO_STORE: &str = "no-store";
/// Below this a compressed answer is hardly smaller: it fits in one packet anyway.
const GZIP_FROM_BYTES: usize = 1_025;
pub(crate) const READ_METHODS: &str = "GET, HEAD, OPTIONS";
pub(crate) const COMMAND_METHODS: &str = "POST, OPTIONS";
pub(crate) const FEED_METHODS: &str = "GET, OPTIONS";
/// Of the server as a whole.
pub(crate) const ALL_METHODS: &str = "GET, HEAD, POST, OPTIONS";

/// What a route makes of a request.
pub enum Body {
    Json(u16, Value),
    /// A finished round, as of a block; for ever where it is of none.
    Round {
        round: Arc<PackedRound>,
        as_of: Option<String>,
    },
    Packed(&'static Packed),
    /// Asked for under a name that tells its content.
    Named(&'static Packed),
    Page(String),
    Text {
        content_type: &'static str,
        text: String,
    },
    Accepted {
        location: String,
        body: Value,
    },
    /// The answer to OPTIONS.
    Methods(&'static str),
}

/// A refusal with its status, code, text and further headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub code: &'static str,
    pub message: String,
    pub headers: Vec<(&'static str, String)>,
    /// How long the answer is held back.
    pub delay: Duration,
}

pub type Answer = Result<Body, Refusal>;

/// Bytes that are the same for the life of the process: hashed and compressed once.
pub struct Packed {
    content_type: &'static str,
    bytes: Arc<[u8]>,
    gzip: Arc<[u8]>,
    digest: String,
}

impl Packed {
    pub fn new(content_type: &'static str, bytes: &[u8]) -> Packed {
        Packed {
            content_type,
            bytes: bytes.into(),
            gzip: gzip(bytes, Compression::best()).into(),
            digest: digest(bytes),
        }
    }

    /// What was compressed when the binary was built.
    pub(crate) fn made(content_type: &'static str, gzip: &[u8]) -> Packed {
        let bytes = unpacked(gzip);
        Packed {
            content_type,
            digest: digest(&bytes),
            bytes: bytes.into(),
            gzip: gzip.into(),
        }
    }

    pub fn digest(&self) -> &str {
        &self.digest
    }

    #[cfg(test)]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[cfg(test)]
    pub fn gzip(&self) -> &[u8] {
        &self.gzip
    }
}

/// A refusal without further headers, answered at once.
pub fn refusal(status: u16, code: &'static str, message: String) -> Refusal {
    Refusal {
        status,
        code,
        message,
        headers: Vec::new(),
        delay: Duration::ZERO,
    }
}

/// `what` there is too much of, and after how many seconds to come again.
pub(crate) fn too_many(what: &str, retry_after: &str) -> Refusal {
    Refusal {
        headers: vec![("Retry-After", retry_after.to_owned())],
        ..refusal(
            503,
            "busy",
            format!("too many {what}: try again in {retry_after} s"),
        )
    }
}

/// The answer to `request`, in the representation that suits it.
pub fn write(request: &Request, answer: Answer) -> Reply {
    let draft = dress(request.port, request.is_read(), draft(answer));
    encode(request, draft)
}

/// The answer to a request that did not come as far as the API; `method` as far as it is known.
pub(crate) fn write_refusal(port: Port, method: Option<&str>, refusal: Refusal) -> Reply {
    let is_read = matches!(method, Some("GET" | "HEAD"));
    let draft = dress(port, is_read, draft(Err(refusal)));
    Reply {
        status: draft.status,
        headers: draft.headers,
        body: draft.payload.into_bytes(false),
        delay: draft.delay,
    }
}

/// The headers that every answer of a port has; on the private one they are for no web page of another origin.
fn dress(port: Port, is_read: bool, mut draft: Draft) -> Draft {
    draft.headers.extend([
        ("X-Content-Type-Options", "nosniff".to_owned()),
        ("Referrer-Policy", "no-referrer".to_owned()),
    ]);
    if port == Port::Public && is_read {
        let headers = [
            ("Access-Control-Allow-Origin", "*".to_owned()),
            ("Access-Control-Expose-Headers", "ETag".to_owned()),
        ];
        draft.headers.extend(headers);
    }
    if port == Port::Public && draft.methods == Some(READ_METHODS) {
        draft.headers.extend([
            ("Access-Control-Allow-Origin", "*".to_owned()),
            ("Access-Control-Allow-Methods", "GET, HEAD".to_owned()),
            ("Access-Control-Allow-Headers", "If-None-Match".to_owned()),
            ("Access-Control-Max-Age", "86400".to_owned()),
        ]);
    }
    draft
}

/// An answer before it is known what the client has and takes.
struct Draft {
    status: u16,
    headers: Vec<(&'static str, String)>,
    payload: Payload,
    methods: Option<&'static str>,
    delay: Duration,
}

enum Payload {
    Fresh(Vec<u8>),
    Packed(&'static Packed),
    Round {
        round: Arc<PackedRound>,
        as_of: Option<String>,
    },
}

impl Payload {
    fn length(&self) -> usize {
        match self {
            Payload::Fresh(bytes) => bytes.len(),
            Payload::Packed(packed) => packed.bytes.len(),
            Payload::Round { round, as_of } => round.length(as_of.as_deref()),
        }
    }

    fn digest(&self) -> String {
        match self {
            Payload::Fresh(bytes) => digest(bytes),
            Payload::Packed(packed) => packed.digest.clone(),
            Payload::Round { round, as_of } => round.digest(as_of.as_deref()),
        }
    }

    fn into_bytes(self, compresses: bool) -> Arc<[u8]> {
        match (self, compresses) {
            (Payload::Fresh(bytes), false) => bytes.into(),
            (Payload::Fresh(bytes), true) => gzip(&bytes, Compression::fast()).into(),
            (Payload::Packed(packed), false) => packed.bytes.clone(),
            (Payload::Packed(packed), true) => packed.gzip.clone(),
            (Payload::Round { round, as_of }, false) => round.plain(as_of.as_deref()).into(),
            (Payload::Round { round, as_of }, true) => round.gzip(as_of.as_deref()).into(),
        }
    }
}

fn draft(answer: Answer) -> Draft {
    let mut methods = None;
    let mut delay = Duration::ZERO;
    let mut headers = Vec::new();
    let (status, content_type, caching, payload) = match answer {
        Ok(Body::Json(status, body)) => (status, JSON, NO_CACHE, json(&body)),
        Ok(Body::Round { round, as_of }) => {
            let caching = match as_of {
                Some(_) => NO_CACHE,
                None => FOR_EVER,
            };
            (200, JSON, caching, Payload::Round { round, as_of })
        }
        Ok(Body::Named(packed)) => (200, packed.content_type, FOR_EVER, Payload::Packed(packed)),
        Ok(Body::Packed(packed)) => (200, packed.content_type, NO_CACHE, Payload::Packed(packed)),
        Ok(Body::Page(html)) => {
            headers.push(("Content-Security-Policy", PAGE_CSP.to_owned()));
            let payload = Payload::Fresh(html.into_bytes());
            (200, "text/html; charset=utf-8", NO_CACHE, payload)
        }
        Ok(Body::Text { content_type, text }) => {
            let payload = Payload::Fresh(text.into_bytes());
            (200, content_type, NO_STORE, payload)
        }
        Ok(Body::Accepted { location, body }) => {
            headers.push(("Location", location));
            (202, JSON, NO_STORE, json(&body))
        }
        Ok(Body::Methods(allowed)) => {
            headers.push(("Allow", allowed.to_owned()));
            methods = Some(allowed);
            (204, "", NO_STORE, Payload::Fresh(Vec::new()))
        }
        Err(mut refusal) => {
            headers.append(&mut refusal.headers);
            delay = refusal.delay;
            let body = view::error(refusal.code, &refusal.message);
            (refusal.status, JSON, NO_STORE, json(&body))
        }
    };
    headers.push(("Cache-Control", caching.to_owned()));
    if !content_type.is_empty() {
        headers.push(("Content-Type", content_type.to_owned()));
    }
    Draft {
        status,
        headers,
        payload,
        methods,
        delay,
    }
}

fn json(body: &Value) -> Payload {
    Payload::Fresh(body.to_string().into_bytes())
}

/// Chooses the representation; each has its own strong tag, and one that the client has is not sent again.
fn encode(request: &Request, draft: Draft) -> Reply {
    let mut headers = draft.headers;
    let is_long = draft.payload.length() >= GZIP_FROM_BYTES;
    let compresses = is_long && accepts_gzip(&request.fields);
    if is_long {
        headers.push(("Vary", "Accept-Encoding".to_owned()));
    }
    if draft.status == 200 && request.is_read() {
        let digest = draft.payload.digest();
        let suffix = if compresses { "-gzip" } else { "" };
        let tag = format!("\"{digest}{suffix}\"");
        if demands_another(&request.fields, &tag) {
            let message = "If-Match names no tag that the answer has now".to_owned();
            let failed = refusal(412, "precondition_failed", message);
            return encode(request, dress(request.port, true, self::draft(Err(failed))));
        }
        let is_known = lists_tag(&request.fields, &tag);
        headers.push(("ETag", tag));
        if is_known {
            return Reply {
                status: 304,
                headers,
                body: Arc::from([]),
                delay: Duration::ZERO,
            };
        }
    }
    if compresses {
        headers.push(("Content-Encoding", "gzip".to_owned()));
    }
    Reply {
        status: draft.status,
        headers,
        body: draft.payload.into_bytes(compresses),
        delay: draft.delay,
    }
}

/// If-Match compares strongly, and comes before If-None-Match (RFC 9110, 13.1.1 and 13.2.2).
fn demands_another(fields: &Fields, tag: &str) -> bool {
    let mut demanded = fields.list("if-match").peekable();
    demanded.peek().is_some() && !demanded.any(|known| known == b"*" || known == tag.as_bytes())
}

/// If-None-Match compares weakly (RFC 9110, 13.1.2).
fn lists_tag(fields: &Fields, tag: &str) -> bool {
    fields
        .list("if-none-match")
        .any(|known| known == b"*" || known.strip_prefix(b"W/").unwrap_or(known) == tag.as_bytes())
}

/// Accept-Encoding (RFC 9110, 12.5.3): gzip by name, else what is said of all others; a weight of 0 means no.
pub(crate) fn accepts_gzip(fields: &Fields) -> bool {
    let mut others = false;
    for item in fields.list("accept-encoding") {
        // What is not UTF-8 is no coding that is known here.
        let item = std::str::from_utf8(item).unwrap_or_default();
        let mut parts = item.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default();
        let weight = parts
            .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
            .map_or(Ok(1.0), str::parse::<f64>);
        let is_wanted = weight.is_ok_and(|weight| weight > 0.0);
        if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
            return is_wanted;
        }
        if coding == "*" {
            others = is_wanted;
        }
    }
    others
}

fn gzip(bytes: &[u8], level: Compression) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 3), level);
    // Writing to a Vec cannot fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

/// The content of a file that was compressed when the binary was built.
pub(crate) fn unpacked(gzip: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = GzDecoder::new(gzip).read_to_end(&mut bytes);
    read.expect("the build script wrote it");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(name: &str, lines: &[&[u8]]) -> Fields {
        let mut fields = Fields::default();
        lines.iter().for_each(|line| fields.push(name, line));
        fields
    }

    #[test]
    fn gzip_is_taken_by_name_or_as_one_of_the_others() {
        for (accepted, takes) in [
            ("gzip", true),
            ("GZip, deflate, br", true),
            ("x-gzip", true),
            ("br;q=1.0, gzip;q=0.8, *;q=0.1", true),
            ("gzip; q=0.001", true),
            ("*", true),
            ("", false),
            ("identity", false),
            ("gzip;q=0", false),
            ("gzip;q=0.000, *", false),
            ("*, gzip;q=0", false),
            ("*;q=0", false),
            ("gzip;q=x", false),
            ("gzipped", false),
        ] {
            let fields = fields("Accept-Encoding", &[accepted.as_bytes()]);
            assert_eq!(accepts_gzip(&fields), takes, "{accepted}");
        }
        let over_lines = fields("accept-encoding", &[b"br", b"\xff, gzip"]);
        assert!(accepts_gzip(&over_lines));
        assert!(!accepts_gzip(&Fields::default()));
    }

    #[test]
    fn tags_are_compared_weakly_and_in_lists() {
        for (known, matches) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", \"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
            ("", false),
        ] {
            let fields = fields("If-None-Match", &[known.as_bytes()]);
            assert_eq!(lists_tag(&fields, "\"a\""), matches, "{known}");
        }
        let over_lines = fields("if-none-match", &[b"\"b\"", b"\xff, \"a\""]);
        assert!(lists_tag(&over_lines, "\"a\""));
    }

    #[test]
    fn a_tag_that_is_demanded_is_compared_strongly() {
        for (known, demands) in [
            ("\"a\"", false),
            ("\"b\", \"a\"", false),
            ("*", false),
            ("", false),
            ("W/\"a\"", true),
            ("\"b\"", true),
            ("a", true),
        ] {
            let fields = fields("If-Match", &[known.as_bytes()]);
            assert_eq!(demands_another(&fields, "\"a\""), demands, "{known}");
        }
    }
}
