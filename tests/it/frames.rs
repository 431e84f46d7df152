//! The feed's frames, case by case in the manner of the Autobahn suite: what a client may send, and with which code the
//! connection is closed when it may not.

use std::io::{Read, Write};

use crate::web::{connect, serving};
use support::chain::Chain;
use support::daemon::Daemon;
use support::frames::{self, frame, handshake, ACCEPT_KEY};

/// Sends frames behind a good handshake that offers these extensions; the close code, or None when the connection ends
/// without one.
fn close_code(daemon: &Daemon, extensions: &str, frames: &[u8]) -> Option<u16> {
    let mut stream = connect(daemon);
    let handshake = handshake(Some(extensions));
    stream.write_all(handshake.as_bytes()).unwrap();
    stream.write_all(frames).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.1 101"), "{text}, {frames:?}");
    assert!(
        text.contains(ACCEPT_KEY),
        "the accept key of RFC 6455: {text}"
    );
    assert_eq!(
        text.contains("\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"),
        extensions == DEFLATE,
        "{extensions}: {text}"
    );
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap();
    frames::close_code(&answer[end + 4..])
}

/// What a browser offers.
const DEFLATE: &str = "permessage-deflate; client_max_window_bits";

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
/// Of the first fragment of a text, of one in the middle, and of the last.
const BEGIN: u8 = 0x01;
const GO_ON: u8 = 0x00;
const END: u8 = 0x80;

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(CLOSE, &[&code.to_be_bytes(), reason].concat())
}

/// Frames that are fine, and after them a close that is answered.
fn fine(frames: &[Vec<u8>]) -> Vec<u8> {
    [frames.concat(), close(1000, b"")].concat()
}

fn check(cases: Vec<(String, Vec<u8>, Option<u16>)>) {
    check_offering("", cases);
}

fn check_offering(extensions: &str, cases: Vec<(String, Vec<u8>, Option<u16>)>) {
    let chain = Chain::devchain(1);
    let (_, daemon) = serving(&chain);
    for (what, frames, code) in cases {
        assert_eq!(close_code(&daemon, extensions, &frames), code, "{what}");
    }
}

fn case(what: &str, frames: Vec<u8>, code: u16) -> (String, Vec<u8>, Option<u16>) {
    (what.to_owned(), frames, Some(code))
}

#[test]
fn data_frames() {
    check(vec![
        case("an empty text", fine(&[frame(TEXT, b"")]), 1000),
        case(
            "a text of 125 bytes",
            fine(&[frame(TEXT, &[b'*'; 125])]),
            1000,
        ),
        case(
            "a text of 126 bytes",
            fine(&[frame(TEXT, &[b'*'; 126])]),
            1000,
        ),
        case(
            "a text of 1 KiB",
            fine(&[frame(TEXT, &[b'*'; 1_024])]),
            1000,
        ),
        case(
            "a text of more than 1 KiB",
            frame(TEXT, &[b'*'; 1_025]),
            1009,
        ),
        case("binary", fine(&[frame(BINARY, &[0xfe; 126])]), 1000),
        case(
            "binary of more than 1 KiB",
            frame(BINARY, &[0xfe; 1_025]),
            1009,
        ),
        case(
            "a length of 64 bits",
            [&[TEXT, 0xff][..], &[0xff; 8], &[0; 4]].concat(),
            1009,
        ),
        case("unmasked", b"\x81\x02hi".to_vec(), 1002),
        case(
            "six messages in a second",
            frame(TEXT, b"hi").repeat(6),
            1008,
        ),
    ]);
}

#[test]
fn fragments() {
    check(vec![
        case("two", fine(&[frame(BEGIN, b"a"), frame(END, b"b")]), 1000),
        case(
            "three, one empty",
            fine(&[frame(BEGIN, b"a"), frame(GO_ON, b""), frame(END, b"b")]),
            1000,
        ),
        case(
            "a ping in between",
            fine(&[frame(BEGIN, b"a"), frame(PING, b"p"), frame(END, b"b")]),
            1000,
        ),
        case(
            "more than 1 KiB in all",
            [frame(BEGIN, &[b'x'; 600]), frame(END, &[b'x'; 600])].concat(),
            1009,
        ),
        case("an end of nothing", frame(END, b"b"), 1002),
        case("a middle of nothing", frame(GO_ON, b"b"), 1002),
        case(
            "a text within a text",
            [frame(BEGIN, b"a"), frame(TEXT, b"b")].concat(),
            1002,
        ),
        case(
            "crumbs count as frames",
            [frame(BEGIN, b"a"), frame(GO_ON, b"").repeat(5)].concat(),
            1008,
        ),
    ]);
}

#[test]
fn control_frames() {
    check(vec![
        case("a ping of nothing", fine(&[frame(PING, b"")]), 1000),
        case(
            "a ping of 125 bytes",
            fine(&[frame(PING, &[0xfe; 125])]),
            1000,
        ),
        case("a ping of 126 bytes", frame(PING, &[0xfe; 126]), 1002),
        case("a fragmented ping", frame(0x09, b""), 1002),
        case(
            "a pong that nobody asked for",
            fine(&[frame(PONG, b"x")]),
            1000,
        ),
        case("pings count too", frame(PING, b"").repeat(6), 1008),
        case("a close of 126 bytes", close(1000, &[b'x'; 124]), 1002),
        case("a fragmented close", frame(0x08, b""), 1002),
    ]);
}

#[test]
fn reserved_bits_and_opcodes() {
    let mut cases: Vec<_> = [0x40u8, 0x20, 0x10, 0x70]
        .iter()
        .map(|bits| {
            case(
                &format!("reserved bits {bits:#x}"),
                frame(TEXT | bits, b"hi"),
                1002,
            )
        })
        .collect();
    let opcodes = (0x3..=0x7).chain(0xb..=0xf);
    cases.extend(opcodes.map(|opcode: u8| {
        case(
            &format!("opcode {opcode:#x}"),
            frame(0x80 | opcode, b""),
            1002,
        )
    }));
    check(cases);
}

/// With permessage-deflate agreed (RFC 7692): what is compressed is taken and never looked into.
#[test]
fn compressed_frames() {
    const RSV1: u8 = 0x40;
    // "Hello" as RFC 7692, 7.2.3.1 has it.
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let cut = [frame(BEGIN | RSV1, &hello[..3]), frame(END, &hello[3..])];
    check_offering(
        DEFLATE,
        vec![
            case("a text", fine(&[frame(TEXT | RSV1, &hello)]), 1000),
            case("binary", fine(&[frame(BINARY | RSV1, &hello)]), 1000),
            case("two fragments", fine(&cut), 1000),
            case("a plain text beside", fine(&[frame(TEXT, b"hi")]), 1000),
            case(
                "what nobody can inflate",
                fine(&[frame(TEXT | RSV1, b"\xff")]),
                1000,
            ),
            case("a plain text that is not UTF-8", frame(TEXT, b"\xff"), 1007),
            case("more than 1 KiB", frame(TEXT | RSV1, &[0; 1_025]), 1009),
            case(
                "marked again in a later fragment",
                [frame(BEGIN | RSV1, &hello), frame(END | RSV1, &hello)].concat(),
                1002,
            ),
            case("a ping", frame(PING | RSV1, b"hi"), 1002),
            case(
                "another reserved bit",
                frame(TEXT | RSV1 | 0x20, &hello),
                1002,
            ),
            case(
                "six in a second",
                frame(TEXT | RSV1, &hello).repeat(6),
                1008,
            ),
        ],
    );
    // A window that could not be shared is declined, and the feed is served as it is.
    check_offering(
        "permessage-deflate; server_no_context_takeover",
        vec![
            case("a plain text", fine(&[frame(TEXT, b"hi")]), 1000),
            case("a compressed one", frame(TEXT | RSV1, &hello), 1002),
        ],
    );
}

#[test]
fn utf_8() {
    let kosme = "κόσμε".as_bytes();
    check(vec![
        case("whole", fine(&[frame(TEXT, kosme)]), 1000),
        case(
            "cut inside a letter",
            fine(&[frame(BEGIN, &kosme[..3]), frame(END, &kosme[3..])]),
            1000,
        ),
        case("a lone continuation", frame(TEXT, b"a\x80"), 1007),
        case("never valid", frame(TEXT, b"\xff\xfe"), 1007),
        case("overlong", frame(TEXT, b"\xc0\xaf"), 1007),
        case("a surrogate", frame(TEXT, b"\xed\xa0\x80"), 1007),
        case(
            "above the last letter",
            frame(TEXT, b"\xf4\x90\x80\x80"),
            1007,
        ),
        case("ends inside a letter", frame(TEXT, &kosme[..3]), 1007),
        case(
            "broken in a later fragment",
            [frame(BEGIN, b"a"), frame(END, b"\xff")].concat(),
            1007,
        ),
        case(
            "binary may be anything",
            fine(&[frame(BINARY, b"\xff\xfe")]),
            1000,
        ),
    ]);
}

#[test]
fn close_codes() {
    let mut cases = vec![
        case("no code", frame(CLOSE, b""), 1005),
        case("half a code", frame(CLOSE, b"\x03"), 1002),
        case("a reason", close(1000, b"good bye"), 1000),
        case("a reason that is not UTF-8", close(1000, b"\xff"), 1007),
    ];
    for code in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999,
    ] {
        cases.push(case("a code that may be sent", close(code, b""), code));
    }
    for code in [0, 999, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        cases.push(case(&format!("code {code}"), close(code, b""), 1002));
    }
    check(cases);
}
