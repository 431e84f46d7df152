//! Servers that dress a subscription in their own way, or refuse it.

use std::io::{Read, Write};
use std::net::TcpListener;

use tungstenite::client::IntoClientRequest;

use super::*;

/// A server that answers once with these bytes.
fn answering(bytes: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/s3cret", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4_096]);
        let _ = stream.write_all(bytes.as_bytes());
    });
    url
}

#[test]
fn why_a_subscription_does_not_open_is_said_without_its_path() {
    // A label too long for any name server to be asked.
    let reach = Reach::new(Vec::new());
    let unknown = format!("ws://{}.example/s3cret", "long".repeat(17));
    for (url, words) in [
        (unknown, "has a host name that is not found"),
        (
            "ws://127.0.0.1:9/s3cret".to_owned(),
            "refused the connection",
        ),
        (
            answering("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n"),
            "refused the WebSocket handshake",
        ),
    ] {
        let opened = Subscription::open(&reach, &url, 1, Address::zero(), PING_EVERY);
        let said = opened.err().unwrap().to_string();
        assert!(said.ends_with(words) && !said.contains("s3cret"), "{said}");
    }
}

#[test]
fn an_account_in_the_url_becomes_a_header() {
    let request = request_to("ws://user:p%40ss@node.example:8546/rpc").unwrap();
    let request = request.into_client_request().unwrap();
    assert_eq!(request.uri(), "ws://node.example:8546/rpc");
    assert_eq!(request.headers()["Authorization"], "Basic dXNlcjpwQHNz");
    let open = request_to("wss://node.example").unwrap();
    let open = open.into_client_request().unwrap();
    assert!(!open.headers().contains_key("Authorization"));
}

/// What a server makes of a message before it sends it.
type Dress = fn(Value) -> Vec<Message>;

fn plain(message: &Value) -> Message {
    Message::text(message.to_string())
}

/// A server that takes subscriptions, and has a head to tell as soon as it has taken both.
fn subscribing(dress: Dress) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut socket = tungstenite::accept(stream).unwrap();
        let tell = |socket: &mut WebSocket<TcpStream>, message: Value| {
            for message in dress(message) {
                socket.send(message).unwrap();
            }
        };
        for result in ["0x7a69", "0xaa", "0xbb"] {
            // What is no text answers a ping.
            let mut heard = std::iter::repeat_with(|| socket.read().unwrap());
            let request = heard.find(Message::is_text).unwrap();
            let request: Value = serde_json::from_str(request.to_text().unwrap()).unwrap();
            tell(
                &mut socket,
                json!({"jsonrpc": "2.0", "id": request["id"], "result": result}),
            );
        }
        let hash = |number: u64| format!("0x{number:064x}");
        let head =
            json!({"number": "0x7", "hash": hash(7), "parentHash": hash(6), "timestamp": "0x64"});
        let params = json!({"subscription": "0xaa", "result": head});
        tell(
            &mut socket,
            json!({"jsonrpc": "2.0", "method": "eth_subscription", "params": params}),
        );
        // Until the other side goes.
        while socket.read().is_ok() {}
    });
    url
}

#[test]
fn a_subscription_is_understood_in_any_dress() {
    let dresses: [(&str, Dress); 8] = [
        ("as the standard has it", |message| vec![plain(&message)]),
        ("ids as text", |mut message| {
            if message["id"].is_u64() {
                message["id"] = json!(message["id"].to_string());
            }
            vec![plain(&message)]
        }),
        ("ids as fractions", |mut message| {
            if let Some(id) = message["id"].as_u64() {
                message["id"] = json!(id as f64);
            }
            vec![plain(&message)]
        }),
        ("subscriptions that are counted", |message| {
            let text = message
                .to_string()
                .replace("\"0xaa\"", "170")
                .replace("\"0xbb\"", "187");
            vec![Message::text(text)]
        }),
        ("binary", |message| {
            vec![Message::binary(message.to_string().into_bytes())]
        }),
        ("greetings and signs of life between", |message| {
            vec![
                Message::text("hello"),
                Message::text(""),
                Message::Ping(b"x".to_vec().into()),
                plain(&json!({"type": "keepalive"})),
                plain(&message),
                Message::text("pong"),
            ]
        }),
        ("a mark before and line ends behind", |message| {
            vec![Message::text(format!(" \r\n{message}\r\n"))]
        }),
        ("an error of null beside each result", |mut message| {
            message["error"] = Value::Null;
            vec![plain(&message)]
        }),
    ];
    for (name, dress) in dresses {
        let url = subscribing(dress);
        let reach = Reach::new(Vec::new());
        let tick = Duration::from_secs(5);
        let opened = Subscription::open(&reach, &url, 31_337, Address::zero(), tick);
        let mut subscription = opened.unwrap_or_else(|error| panic!("{name}: {error}"));
        let head = (0..20).find_map(|_| match subscription.news() {
            Ok(Some(Notice::Head(head))) => Some(head.number),
            Ok(_) => None,
            Err(error) => panic!("{name}: {error}"),
        });
        assert_eq!(head, Some(7), "{name}");
    }
}
