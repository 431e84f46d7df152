//! The answer to a WebSocket's handshake (RFC 6455, 4.2.2), and what its request says to the feed. Pure.

use crate::web::deflate;
use crate::web::http::Request;
use crate::web::query::Query;
use crate::web::routes::FEED_PARAMETERS;

/// What the feed has to know of a handshake that was good.
pub(crate) struct Handshake {
    /// The answer, to be written before anything else.
    pub answer: Vec<u8>,
    /// The client agreed to compression.
    pub deflates: bool,
    /// Up to where the client has followed the feed before.
    pub since: Option<String>,
}

/// `key` is the request's Sec-WebSocket-Key.
pub(crate) fn shake(request: &Request, key: &str) -> Handshake {
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    let deflates = deflate::agrees(request.fields.list("sec-websocket-extensions"));
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n"
    );
    if deflates {
        answer.push_str("Sec-WebSocket-Extensions: ");
        answer.push_str(deflate::EXTENSION);
        answer.push_str("\r\n");
    }
    answer.push_str("\r\n");
    let since = match Query::parse(request.query.as_deref(), FEED_PARAMETERS) {
        Ok(query) => query.text("since").map(str::to_owned),
        // Who cannot say it is told everything anew, as after an epoch that nobody knows.
        Err(_) => Some(String::new()),
    };
    Handshake {
        answer: answer.into_bytes(),
        deflates,
        since,
    }
}
