//! The head of a request: from bytes to a request, the way its body is framed, and what becomes of its connection
//! (RFC 9110, RFC 9112), or to the refusal that says what is wrong. Pure.

use std::mem::MaybeUninit;
use std::net::IpAddr;

use httparse::Status;

use crate::web::connection::rules::{Limits, Refused, Rules};
use crate::web::http::{Fields, Persistence, Port, Request};
use crate::web::query::decode_path;
use crate::web::reply::{refusal, Refusal, FEED_METHODS};
use crate::web::routes::is_feed;
use crate::web::shown::shown_bytes;

const FIELDS_MAX: usize = 100;
/// Longer than any method, the target's scheme and the version together.
const REQUEST_LINE_SLACK: usize = 64;

/// What a complete head says.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    pub request: Request,
    pub persistence: Persistence,
    pub body: Body,
    /// The handshake's key when this asks for a WebSocket.
    pub upgrade_key: Option<String>,
}

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// So many bytes; none for most requests.
    Length(usize),
    /// In chunks, of which only the last and empty one is taken: some clients send it with a GET.
    NoChunks,
    /// Announced and not taken.
    Left,
}

impl Body {
    /// The length of the body and of all that belongs to it, once `input` holds it; None while it does not.
    ///
    /// # Errors
    /// A chunk with something in it.
    pub(crate) fn extent(self, input: &[u8]) -> Result<Option<(usize, usize)>, Refusal> {
        const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
        match self {
            Body::Length(length) => Ok((input.len() >= length).then_some((length, length))),
            Body::NoChunks if input.starts_with(LAST_CHUNK) => Ok(Some((0, LAST_CHUNK.len()))),
            Body::NoChunks if LAST_CHUNK.starts_with(input) => Ok(None),
            Body::NoChunks => Err(length_required()),
            Body::Left => Ok(Some((0, 0))),
        }
    }
}

/// The head in `lines`, which are whole, and its length; None while its last line has not come.
pub fn read(
    lines: &[u8],
    port: Port,
    peer: IpAddr,
    rules: &Rules,
) -> Result<Option<(Box<Head>, usize)>, Refused> {
    let mut headers = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    let outcome = parsed.parse_with_uninit_headers(lines, &mut headers);
    let method = parsed.method.map(str::to_owned);
    let refuse =
        |status, code, message: &str| Err(Refused::new(status, code, message, method.clone()));
    let size = match outcome {
        Ok(Status::Complete(size)) => size,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            let message = format!("the head may have {FIELDS_MAX} fields");
            return refuse(431, "head_too_large", &message);
        }
        Err(httparse::Error::Version) => {
            let message = "only HTTP/1.0 and HTTP/1.1 are spoken here";
            return refuse(505, "http_version", message);
        }
        Err(error) => {
            let message = format!("the head is broken: {error}");
            return refuse(400, "bad_request", &message);
        }
    };
    let request = request(&parsed, size, port, peer, &rules.limits)?;
    let head = frame(request, parsed.version == Some(1), rules)
        .map_err(|refusal| Refused { refusal, method })?;
    Ok(Some((Box::new(head), size)))
}

/// A request line that begins with no method (TLS, for one) or is too long is refused before its end has come.
pub(crate) fn check_first_line(bytes: &[u8], limits: &Limits) -> Result<(), Refused> {
    let method_end = bytes.iter().position(|byte| !is_token(*byte));
    if method_end.is_some_and(|end| end == 0 || bytes[end] != b' ') {
        let message = "the request does not begin with a method: this port speaks plain HTTP";
        return Err(Refused::new(400, "bad_request", message, None));
    }
    match bytes.len() > limits.target_bytes + REQUEST_LINE_SLACK {
        true => Err(target_too_long(limits, method_of(bytes))),
        false => Ok(()),
    }
}

/// For a head that fills all that it may have and is not whole.
pub(crate) fn too_large(bytes: &[u8], limits: &Limits) -> Refused {
    let message = format!("the head may have {} bytes", limits.head_bytes);
    Refused::new(431, "head_too_large", &message, method_of(bytes))
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn target_too_long(limits: &Limits, method: Option<String>) -> Refused {
    let message = format!("the target may have {} bytes", limits.target_bytes);
    Refused::new(414, "target_too_long", &message, method)
}

fn length_required() -> Refusal {
    let message = "a body must come with Content-Length, not in chunks";
    refusal(411, "length_required", message.to_owned())
}

/// The method of a head that cannot be parsed as a whole.
pub(crate) fn method_of(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().take(16).position(|byte| *byte == b' ')?;
    String::from_utf8(bytes[..end].to_vec()).ok()
}

/// The request without its body.
fn request(
    parsed: &httparse::Request,
    size: usize,
    port: Port,
    peer: IpAddr,
    limits: &Limits,
) -> Result<Request, Refused> {
    let method = parsed.method.unwrap_or_default().to_owned();
    let target = parsed.path.unwrap_or_default();
    if target.len() > limits.target_bytes {
        return Err(target_too_long(limits, Some(method)));
    }
    let Some((path, query)) = split_target(target, &method) else {
        let message = format!(
            "the request target {} is not a path",
            shown_bytes(target.as_bytes())
        );
        return Err(Refused::new(400, "bad_target", &message, Some(method)));
    };
    let mut fields = Fields::with_capacity(parsed.headers.len(), size);
    for header in parsed.headers.iter() {
        fields.push(header.name, header.value);
    }
    Ok(Request {
        port,
        method,
        path,
        query,
        fields,
        body: Vec::new(),
        body_is_left: false,
        peer,
    })
}

/// The decoded path and the raw query of an origin-form or absolute-form target; `*` is a path of its own for OPTIONS.
fn split_target(target: &str, method: &str) -> Option<(String, Option<String>)> {
    if target == "*" && method == "OPTIONS" {
        return Some((target.to_owned(), None));
    }
    let (path, query) = match after_scheme(target) {
        // The authority says nothing that matters here: all names lead to the same lottery.
        Some(rest) => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            if end == 0 {
                return None;
            }
            match split_query(&rest[end..]) {
                ("", query) => ("/", query),
                with_path => with_path,
            }
        }
        None => split_query(target),
    };
    let path = decode_path(path).filter(|path| path.starts_with('/') && !path.contains('\0'))?;
    Some((path, query.map(str::to_owned)))
}

/// What follows http:// or https://, in any case.
fn after_scheme(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    let is_known = ["http", "https"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known));
    is_known.then_some(rest)
}

fn split_query(target: &str) -> (&str, Option<&str>) {
    match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    }
}

/// How the body comes and what becomes of the connection.
fn frame(mut request: Request, is_http_11: bool, rules: &Rules) -> Result<Head, Refusal> {
    check_host(&request.fields, is_http_11)?;
    let length = content_length(&request.fields, &rules.limits)?;
    let has_chunks = has_chunks(&request, is_http_11)?;
    if is_http_11 && request.fields.lines("expect").next().is_some() {
        let message = "Expect is not supported: send the body at once";
        return Err(refusal(417, "expectation_failed", message.to_owned()));
    }
    let fields = &request.fields;
    let mut persistence = match is_http_11 {
        true if fields.lists("connection", "close") => Persistence::Close,
        true => Persistence::Keep,
        false if fields.lists("connection", "close") => Persistence::Close,
        false if fields.lists("connection", "keep-alive") => Persistence::KeepTold,
        false => Persistence::Close,
    };
    let mut upgrade_key = match is_feed(&request.path) && request.port == Port::Public {
        true => upgrade_key(&request, is_http_11)?,
        false => None,
    };
    let body = match has_chunks {
        true => Body::NoChunks,
        false if length > 0 && !(rules.takes_body)(&request) => Body::Left,
        false => Body::Length(length),
    };
    if body == Body::Left {
        request.body_is_left = true;
        persistence = Persistence::Close;
        upgrade_key = None;
    }
    Ok(Head {
        request,
        persistence,
        body,
        upgrade_key,
    })
}

/// RFC 9112, 3.2: one Host field, with nothing in it that no authority has.
fn check_host(fields: &Fields, is_http_11: bool) -> Result<(), Refusal> {
    let is_authority = |value: &[u8]| {
        value
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(byte))
    };
    let count = fields.lines("host").count();
    let is_well_formed = fields.lines("host").all(is_authority);
    if !is_well_formed || count > 1 || (is_http_11 && count == 0) {
        let message = "exactly one Host field with a name or an address is needed";
        return Err(refusal(400, "bad_host", message.to_owned()));
    }
    Ok(())
}

fn content_length(fields: &Fields, limits: &Limits) -> Result<usize, Refusal> {
    let mut length = None;
    let values = fields.lines("content-length");
    for value in values.flat_map(|line| line.split(|byte| *byte == b',')) {
        let value = value.trim_ascii();
        let digits = Some(value)
            .filter(|value| !value.is_empty() && value.iter().all(u8::is_ascii_digit))
            .and_then(|value| std::str::from_utf8(value).ok());
        let number = digits.and_then(|digits| digits.parse::<u64>().ok());
        let Some(number) = number.filter(|number| length.is_none_or(|known| known == *number))
        else {
            let value = shown_bytes(value);
            let message = format!("Content-Length is {value}, allowed is one number of bytes");
            return Err(refusal(400, "bad_length", message));
        };
        length = Some(number);
    }
    match usize::try_from(length.unwrap_or(0)) {
        Ok(length) if length <= limits.body_bytes => Ok(length),
        _ => {
            let message = format!("the body may have {} bytes", limits.body_bytes);
            Err(refusal(413, "body_too_large", message))
        }
    }
}

/// True for a chunked body that may turn out to be empty.
fn has_chunks(request: &Request, is_http_11: bool) -> Result<bool, Refusal> {
    if !is_http_11 && request.fields.lines("transfer-encoding").next().is_some() {
        // RFC 9112, 6.1: whoever passed that on may have framed it in another way.
        let message = "HTTP/1.0 has no Transfer-Encoding";
        return Err(refusal(400, "bad_request", message.to_owned()));
    }
    let mut codings = request.fields.list("transfer-encoding");
    let Some(first) = codings.next() else {
        // A field without a coding is as broken as an unknown one.
        return match request.fields.lines("transfer-encoding").next() {
            Some(_) => Err(refusal(
                400,
                "bad_request",
                "Transfer-Encoding names no coding".to_owned(),
            )),
            None => Ok(false),
        };
    };
    if !first.eq_ignore_ascii_case(b"chunked") || codings.next().is_some() {
        let coding = shown_bytes(first);
        let message = format!("the transfer coding {coding} is not known here");
        return Err(refusal(501, "not_implemented", message));
    }
    let takes_empty = request.is_read() || request.method == "OPTIONS";
    let has_length = request.fields.lines("content-length").next().is_some();
    match takes_empty && !has_length {
        true => Ok(true),
        false => Err(length_required()),
    }
}

/// The handshake's key. OPTIONS asks about the feed and is no handshake.
fn upgrade_key(request: &Request, is_http_11: bool) -> Result<Option<String>, Refusal> {
    let fields = &request.fields;
    let refuse = |status, code, message: &str, header: Option<(&'static str, &str)>| {
        let headers = header.map(|(name, value)| (name, value.to_owned()));
        Err(Refusal {
            headers: headers.into_iter().collect(),
            ..refusal(status, code, message.to_owned())
        })
    };
    match request.method.as_str() {
        "GET" => {}
        "OPTIONS" => return Ok(None),
        _ => {
            let message = "a WebSocket handshake is a GET";
            let allow = Some(("Allow", FEED_METHODS));
            return refuse(405, "method_not_allowed", message, allow);
        }
    }
    // RFC 9110, 7.8: in HTTP/1.0 the field means nothing.
    let asks =
        is_http_11 && fields.lists("upgrade", "websocket") && fields.lists("connection", "upgrade");
    if !asks {
        let message = "this is a WebSocket: connect with a WebSocket client";
        let upgrade = Some(("Upgrade", "websocket"));
        return refuse(426, "upgrade_required", message, upgrade);
    }
    if fields.only("sec-websocket-version") != Some(b"13") {
        let message = "WebSocket version 13 is needed";
        let mut answer = refusal(426, "websocket_version", message.to_owned());
        answer.headers = vec![
            ("Upgrade", "websocket".to_owned()),
            ("Sec-WebSocket-Version", "13".to_owned()),
        ];
        return Err(answer);
    }
    // RFC 6455, 4.1: 16 bytes in base64 are 24 characters, the last two being padding.
    let key = fields.only("sec-websocket-key").unwrap_or_default();
    let alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let is_well_formed = key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(alphabet);
    match std::str::from_utf8(key) {
        Ok(key) if is_well_formed => Ok(Some(key.to_owned())),
        _ => {
            let message = "Sec-WebSocket-Key must be 16 bytes in base64";
            refuse(400, "websocket_key", message, None)
        }
    }
}
