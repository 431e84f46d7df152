//! What servers answer that read the standards in their own way, or lie: in each cell one does, from the daemon's start on.
//! Where it is the first of two, or says the truth in an odd form, or does what a draw can do without, the draw comes in time
//! and nobody is accused.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use devchain::{Distortion, Fault, Rewording};
use flate2::write::{GzEncoder, ZlibEncoder};
use flate2::Compression;
use serde_json::{json, Value};
use std::io::Write;

use support::chain::wait_for;

use super::cells::{cell, Cell, Setup, USUAL};
use super::scene::{Scene, SEND};

const HEADS: &str = "eth_getBlockByNumber";
const CALLS: &str = "eth_call";
const LOGS: &str = "eth_getLogs";
const RECEIPTS: &str = "eth_getTransactionReceipt";
const COUNTS: &str = "eth_getTransactionCount";

/// What an endpoint does to its answers, and to which.
type Odd = (Option<&'static str>, Fault);

/// The draw may be so many blocks late: the machine has all cells to play at once.
const LATE_MAX: u64 = 3;

pub fn cells() -> Vec<Cell> {
    let by_each = understood().into_iter().map(|row| (1, row));
    let by_first = failing().into_iter().chain(untrue()).map(|row| (2, row));
    let cells = by_each.chain(by_first);
    cells
        .map(|(endpoints, (name, odd))| Cell {
            setup: Setup { endpoints, ..USUAL },
            needs_devchain: true,
            ..cell(name, Some(LATE_MAX), move |scene| {
                for (method, fault) in odd() {
                    scene.faults().add(fault, method, None);
                }
                drawn_without_a_word(scene);
            })
        })
        .collect()
}

fn drawn_without_a_word(scene: &Scene) {
    let daemon = scene.start();
    scene.bets();
    scene.until_ended();
    let told = daemon.get("/api/operator/status").1["alerts"].to_string();
    for accusation in [
        "unpayable",
        "operator_changed",
        "mismatch",
        "stuck",
        "missed",
        "funds",
        "low_balance",
    ] {
        assert!(!told.contains(accusation), "{accusation}: {told}");
    }
    wait_for("the round's history", || {
        let (status, round) = daemon.get("/api/history/1");
        (status == 200 && round["participantCount"] == 3).then_some(())
    });
}

/// A row: a name, and what is odd.
type Row = (&'static str, fn() -> Vec<Odd>);

fn said(say: fn(&str) -> Vec<u8>) -> Vec<Odd> {
    said_by(say)
}

fn said_by(say: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Vec<Odd> {
    vec![(None, Fault::Reword(Rewording::new(say)))]
}

/// Each answer as the text of an object, whether it came alone or in a batch.
fn retold(json: &str, retell: impl Fn(String) -> String) -> Vec<u8> {
    let answer: Value = serde_json::from_str(json).unwrap();
    let text = match answer {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| retell(item.to_string())).collect();
            format!("[{}]", items.join(","))
        }
        single => retell(single.to_string()),
    };
    sized("200 OK", "", text.as_bytes())
}

fn distorted(method: &'static str, distort: fn(&mut Value)) -> Odd {
    (Some(method), Fault::Distort(Distortion::new(distort)))
}

fn http(head: &str, body: &[u8]) -> Vec<u8> {
    [b"HTTP/1.1 ", head.as_bytes(), b"\r\n\r\n", body].concat()
}

fn sized(status: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    http(
        &format!("{status}\r\n{fields}content-length: {}", body.len()),
        body,
    )
}

fn chunked(fields: &str, body: &[u8], size: usize) -> Vec<u8> {
    let mut chunks = Vec::new();
    for chunk in body.chunks(size) {
        chunks.extend_from_slice(format!("{:X};n=\"v\"\r\n", chunk.len()).as_bytes());
        chunks.extend_from_slice(chunk);
        chunks.extend_from_slice(b"\r\n");
    }
    chunks.extend_from_slice(b"0\r\nserver-timing: a;dur=1\r\nx: y\r\n\r\n");
    http(
        &format!("200 OK\r\n{fields}transfer-encoding: chunked"),
        &chunks,
    )
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn deflated(text: &str) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// The truth in forms that have to be understood.
fn understood() -> Vec<Row> {
    vec![
        ("HTTP/1.0, closed each time", || {
            said(|json| [b"HTTP/1.0 200 OK\r\n\r\n", json.as_bytes()].concat())
        }),
        ("seven bytes a chunk, with extensions and trailers", || {
            said(|json| chunked("", json.as_bytes(), 7))
        }),
        ("packed and in chunks, though nobody asked for it", || {
            said(|json| chunked("content-encoding: gzip\r\n", &gzip(json), 100))
        }),
        ("a continue and hints before each answer", || {
            said(|json| {
                let before =
                    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
                [&before[..], &sized("200 OK", "", json.as_bytes())].concat()
            })
        }),
        ("partial content", || {
            said(|json| {
                sized(
                    "206 Partial Content",
                    "content-range: bytes 0-1/2\r\n",
                    json.as_bytes(),
                )
            })
        }),
        ("a mark before, and a word behind each answer", || {
            said(|json| {
                let body = format!("\u{feff}\r\n{json}\r\n-- served by 3");
                sized(
                    "200 OK",
                    "content-type: text/plain; charset=utf-16\r\n",
                    body.as_bytes(),
                )
            })
        }),
        ("keys twice, the last ones true", || {
            said(|json| {
                retold(json, |item| {
                    format!(
                        "{{\"id\":null,\"result\":\"0x\",\"error\":null,{}",
                        &item[1..]
                    )
                })
            })
        }),
        ("ids in hex", || {
            said(|json| {
                retold(json, |item| {
                    let mut item: Value = serde_json::from_str(&item).unwrap();
                    item["id"] = json!(format!("{:#x}", item["id"].as_u64().unwrap()));
                    item.to_string()
                })
            })
        }),
        (
            "an error of no code and no words beside each result",
            || {
                said(|json| {
                    retold(json, |item| {
                        format!("{{\"error\":{{\"code\":0,\"message\":\"\"}},{}", &item[1..])
                    })
                })
            },
        ),
        ("the chain's id in decimal", || {
            vec![distorted("eth_chainId", |id| *id = json!("31337"))]
        }),
        (
            "what it calls itself is five million signs and line ends",
            || {
                vec![distorted("web3_clientVersion", |name| {
                    *name = json!("a\r\nb\u{1b}[2J".repeat(600_000))
                })]
            },
        ),
        ("a fee history of nulls, a price of nothing", || {
            vec![
                distorted(
                    "eth_feeHistory",
                    |it| *it = json!({"oldestBlock": "0xffffffffffffffffffff", "baseFeePerGas": [null, "x"], "reward": [null, [null]]}),
                ),
                distorted("eth_gasPrice", |it| *it = json!("0x")),
                distorted("eth_maxPriorityFeePerGas", |it| *it = json!("-0x1")),
            ]
        }),
        ("no code at any address", || {
            vec![distorted("eth_getCode", |code| *code = json!("0x"))]
        }),
        ("each log twice", || {
            vec![distorted(LOGS, |logs| {
                let copies = logs.as_array().cloned().unwrap_or_default();
                logs.as_array_mut()
                    .into_iter()
                    .for_each(|logs| logs.extend(copies.clone()));
            })]
        }),
        ("a balance as a power of ten", || {
            vec![distorted("eth_getBalance", |wei| *wei = json!(1e22))]
        }),
        ("every third answer or so of the only one is a page", || {
            every_third_spoilt("200 OK", b"<html>Bad gateway</html>")
        }),
        ("every third answer or so of the only one is a 502", || {
            every_third_spoilt("502 Bad Gateway", b"")
        }),
        ("three requests a second, and five at once", || {
            // The moments at which what the bucket holds by now came in.
            let bucket = Mutex::new(VecDeque::from([Instant::now(); 5]));
            said_by(move |json| {
                let mut bucket = bucket.lock().unwrap();
                let now = Instant::now();
                match bucket[0] <= now {
                    true => {
                        let next = bucket[4].max(now) + Duration::from_millis(333);
                        bucket.rotate_left(1);
                        bucket[4] = next;
                        sized("200 OK", "", json.as_bytes())
                    }
                    false => sized("429 Too Many Requests", "", b""),
                }
            })
        }),
        ("every third answer or so of the only one is cut", || {
            let asked = AtomicU64::new(0);
            said_by(move |json| {
                let number = asked.fetch_add(1, Ordering::Relaxed);
                let whole = sized("200 OK", "", json.as_bytes());
                match (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) % 3 {
                    0 => whole[..whole.len() - json.len() / 2].to_vec(),
                    _ => whole,
                }
            })
        }),
    ]
}

/// Every third answer or so is none, but this.
fn every_third_spoilt(head: &'static str, body: &'static [u8]) -> Vec<Odd> {
    let asked = AtomicU64::new(0);
    said_by(move |json| {
        let number = asked.fetch_add(1, Ordering::Relaxed);
        match (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) % 3 {
            0 => sized(head, "", body),
            _ => sized("200 OK", "", json.as_bytes()),
        }
    })
}

/// No answers, or none to every third question or so.
fn failing() -> Vec<Row> {
    vec![
        ("every third answer or so of the first is a page", || {
            every_third_spoilt("200 OK", b"<html>Bad gateway</html>")
        }),
        ("deflated, though nobody asked for it", || {
            said(|json| sized("200 OK", "content-encoding: deflate\r\n", &deflated(json)))
        }),
        ("packed by an unknown art", || {
            said(|json| sized("200 OK", "content-encoding: br\r\n", &deflated(json)[2..]))
        }),
        ("packed, and spoilt on the way", || {
            said(|json| {
                let mut body = gzip(json);
                let middle = body.len() / 2;
                body[middle] ^= 0xff;
                sized("200 OK", "content-encoding: gzip\r\n", &body)
            })
        }),
        ("packed, in the length of what is unpacked", || {
            said(|json| {
                let head = format!(
                    "200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}",
                    json.len()
                );
                http(&head, &gzip(json))
            })
        }),
        ("a length below the body's", || {
            said(|json| {
                http(
                    &format!("200 OK\r\ncontent-length: {}", json.len() - 2),
                    json.as_bytes(),
                )
            })
        }),
        ("two lengths", || {
            said(|json| {
                http(
                    "200 OK\r\ncontent-length: 5\r\ncontent-length: 7",
                    json.as_bytes(),
                )
            })
        }),
        ("chunks without an end", || {
            said(|json| {
                http(
                    "200 OK\r\ntransfer-encoding: chunked",
                    format!("FFFFFF\r\n{json}").as_bytes(),
                )
            })
        }),
        ("not modified", || said(|_| http("304 Not Modified", b""))),
        ("reset content", || said(|_| http("205 Reset Content", b""))),
        ("sent on to another scheme", || {
            said(|_| {
                sized(
                    "308 Permanent Redirect",
                    "location: https://127.0.0.1:1/\r\n",
                    b"",
                )
            })
        }),
        ("sent on to itself", || {
            said(|_| sized("307 Temporary Redirect", "location: /\r\n", b""))
        }),
        ("an upgrade that nobody asked for", || {
            said(|_| {
                http(
                    "101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade",
                    b"PRI * HTTP/2.0\r\n\r\n",
                )
            })
        }),
        ("too many, until the year 2999", || {
            said(|_| {
                sized(
                    "429 Too Many Requests",
                    "retry-after: Fri, 31 Dec 2999 23:59:59 GMT\r\n",
                    b"",
                )
            })
        }),
        ("too many, for longer than there are seconds", || {
            said(|_| {
                sized(
                    "429 Too Many Requests",
                    "retry-after: 18446744073709551615\r\n",
                    b"",
                )
            })
        }),
        ("too many, in the words of 200", || {
            said(|_| sized("200 OK", "", b"Too many requests, retry in 9e99 seconds"))
        }),
        ("no credit, by 402", || {
            said(|_| {
                sized(
                    "402 Payment Required",
                    "",
                    br#"{"code":-32097,"message":"You have run out of credits"}"#,
                )
            })
        }),
        ("no credit, by an error", || {
            said(|json| {
                retold(json, |_| {
                    r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32097,"message":"capacity exceeded"}}"#.to_owned()
                })
            })
        }),
        ("not a number", || {
            said(|json| retold(json, |item| format!("{{\"took\":NaN,{}", &item[1..])))
        }),
        ("deeper than any stack", || {
            said(|json| {
                retold(json, |item| {
                    format!(
                        "{{\"by\":{}1{},{}",
                        "[".repeat(100_000),
                        "]".repeat(100_000),
                        &item[1..]
                    )
                })
            })
        }),
        ("batches within batches", || {
            said(|json| sized("200 OK", "", format!("[[{json}]]").as_bytes()))
        }),
        ("results as the text of their JSON", || {
            vec![(
                None,
                Fault::Distort(Distortion::new(|result| {
                    *result = json!(result.to_string())
                })),
            )]
        }),
        ("results as lists of one", || {
            vec![(
                None,
                Fault::Distort(Distortion::new(|result| *result = json!([result.take()]))),
            )]
        }),
        ("logs of forty million bytes", || {
            vec![(
                Some(LOGS),
                Fault::Reword(Rewording::new(|json| {
                    let mut body = json.as_bytes().to_vec();
                    body.resize(40 << 20, b' ');
                    sized("200 OK", "", &body)
                })),
            )]
        }),
    ]
}

/// A cache that does not look at the parameters: the first answer for ever.
fn cached(method: &'static str) -> Odd {
    let first = Mutex::new(None);
    let cache = Distortion::new(move |result| {
        let mut first = first.lock().unwrap();
        *result = first.get_or_insert_with(|| result.clone()).clone();
    });
    (Some(method), Fault::Distort(cache))
}

/// The first round for ever, whatever has become of it; other calls are answered well.
fn one_round() -> Odd {
    let first = Mutex::new(None);
    let cache = Distortion::new(move |result| {
        let is_round = result.as_str().is_some_and(|it| it.len() == 2 + 11 * 64);
        if is_round {
            let mut first = first.lock().unwrap();
            *result = first.get_or_insert_with(|| result.clone()).clone();
        }
    });
    (Some(CALLS), Fault::Distort(cache))
}

/// Both ways to a header.
fn headers(distort: fn(&mut Value)) -> Vec<Odd> {
    let of_headers = |method| distorted(method, distort);
    [HEADS, "eth_getBlockByHash"].map(of_headers).into()
}

fn later(header: &mut Value, secs: i64) {
    let time = header["timestamp"]
        .as_str()
        .map(|text| i64::from_str_radix(&text[2..], 16).unwrap());
    if let Some(time) = time {
        header["timestamp"] = json!(format!("{:#x}", time + secs));
    }
}

fn each_log(logs: &mut Value, change: impl Fn(&mut Value)) {
    logs.as_array_mut().into_iter().flatten().for_each(change);
}

/// Answers in good form that are not true.
fn untrue() -> Vec<Row> {
    vec![
        ("heads from a cache", || vec![cached(HEADS)]),
        ("logs from a cache", || vec![cached(LOGS)]),
        ("rounds from a cache", || vec![one_round()]),
        ("one answer to all calls, from a cache", || {
            vec![cached(CALLS)]
        }),
        ("nonces and balances from a cache", || {
            vec![cached(COUNTS), cached("eth_getBalance")]
        }),
        ("times 5 s ahead", || headers(|header| later(header, 5))),
        ("times past the window's end", || {
            headers(|header| later(header, 21))
        }),
        ("times an hour back", || {
            headers(|header| later(header, -3_600))
        }),
        ("parents that nobody knows", || {
            headers(|header| header["parentHash"] = json!(format!("0x{}", "77".repeat(32))))
        }),
        ("blocks that are their own parents", || {
            headers(|header| header["parentHash"] = header["hash"].clone())
        }),
        ("base fees of nothing", || {
            headers(|header| header["baseFeePerGas"] = json!("0x0"))
        }),
        ("base fees beyond all", || {
            headers(|header| header["baseFeePerGas"] = json!(format!("0x{}", "f".repeat(64))))
        }),
        ("heads without a number", || {
            headers(|header| header["number"] = Value::Null)
        }),
        ("logs of other topics", || {
            vec![distorted(LOGS, |logs| {
                each_log(logs, |log| {
                    log["topics"] = json!([format!("0x{}", "77".repeat(32))])
                })
            })]
        }),
        ("logs without topics", || {
            vec![distorted(LOGS, |logs| {
                each_log(logs, |log| log["topics"] = json!([]))
            })]
        }),
        ("logs without their index", || {
            vec![distorted(LOGS, |logs| {
                each_log(logs, |log| log["logIndex"] = Value::Null)
            })]
        }),
        ("logs that are cut off", || {
            vec![distorted(LOGS, |logs| {
                each_log(logs, |log| log["data"] = json!("0x00"))
            })]
        }),
        ("logs that pay a wei more", || {
            vec![distorted(LOGS, |logs| {
                each_log(logs, |log| {
                    let data = log["data"]
                        .as_str()
                        .unwrap_or_default()
                        .replace("00000000", "00000001");
                    log["data"] = json!(data);
                })
            })]
        }),
        ("logs as an object", || {
            vec![distorted(LOGS, |logs| *logs = json!({"logs": logs.take()}))]
        }),
        ("calls that answer nothing", || {
            vec![distorted(CALLS, |answer| *answer = json!("0x"))]
        }),
        ("calls that answer a word more", || {
            vec![distorted(CALLS, |answer| {
                let text = answer.as_str().unwrap_or_default();
                *answer = json!(format!("{text}{}", "0".repeat(64)));
            })]
        }),
        ("calls that answer half a word less", || {
            vec![distorted(CALLS, |answer| {
                let text = answer.as_str().unwrap_or_default();
                *answer = json!(&text[..text.len().saturating_sub(32)]);
            })]
        }),
        ("calls that answer a page", || {
            vec![distorted(CALLS, |answer| {
                *answer = json!("<html>Bad gateway</html>")
            })]
        }),
        ("no code at any address, of two", || {
            vec![distorted("eth_getCode", |code| *code = json!("0x"))]
        }),
        ("sendings taken and forgotten, with an empty hash", || {
            vec![
                (Some(SEND), Fault::Swallow),
                distorted(SEND, |hash| *hash = json!("")),
            ]
        }),
        ("sendings answered by a yes", || {
            vec![distorted(SEND, |hash| *hash = json!(true))]
        }),
        ("receipts as a list of none", || {
            vec![distorted(RECEIPTS, |receipt| *receipt = json!([]))]
        }),
        ("receipts of later blocks", || {
            vec![distorted(RECEIPTS, |receipt| {
                if receipt.is_object() {
                    receipt["blockNumber"] = json!("0x7fffffff");
                }
            })]
        }),
        ("nonces beyond all", || {
            vec![distorted(COUNTS, |count| {
                *count = json!("0xffffffffffffffff")
            })]
        }),
        ("nonces in decimal", || {
            vec![distorted(COUNTS, |count| *count = json!("7"))]
        }),
        ("no balance, of two", || {
            vec![distorted("eth_getBalance", |wei| *wei = json!("0x0"))]
        }),
        ("a balance beyond all", || {
            vec![distorted("eth_getBalance", |wei| {
                *wei = json!(format!("0x{}", "f".repeat(64)))
            })]
        }),
    ]
}
