//! WebSocket frames as a client sends and reads them, without any library's ideas of what is allowed.

/// Asks for the feed, as far as the end of the handshake. The accept key that answers it is `ACCEPT_KEY`.
pub fn handshake(extensions: Option<&str>) -> String {
    let extensions = extensions.map(|offer| format!("Sec-WebSocket-Extensions: {offer}\r\n"));
    format!(
        "GET /ws/lottery HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}\r\n",
        extensions.unwrap_or_default()
    )
}

/// The answer that RFC 6455 works out for the key of the handshake.
pub const ACCEPT_KEY: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A client's frame of at most 65,535 bytes, masked with zeros, which leave the payload as it is.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | length as u8),
        length => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// The code of the first close among a server's frames: 1005 when it carries none, None when they end without a close.
pub fn close_code(mut bytes: &[u8]) -> Option<u16> {
    while bytes.len() >= 2 {
        let (head, length) = match bytes[1] {
            126 => (4, u64::from(u16::from_be_bytes(array(bytes, 2)?))),
            127 => (10, u64::from_be_bytes(array(bytes, 2)?)),
            length => (2, u64::from(length)),
        };
        let payload = bytes.get(head..head + length as usize)?;
        if bytes[0] == 0x88 {
            return Some(array(payload, 0).map_or(1005, u16::from_be_bytes));
        }
        bytes = &bytes[head + length as usize..];
    }
    None
}

fn array<const N: usize>(bytes: &[u8], from: usize) -> Option<[u8; N]> {
    bytes.get(from..from + N)?.try_into().ok()
}
