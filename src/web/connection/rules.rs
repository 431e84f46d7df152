//! What all connections go by, and the refusals of those that do not.

use std::time::Duration;

use crate::web::http::Request;
use crate::web::reply::{refusal, Refusal};

/// How much, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub head_bytes: usize,
    /// Of the request line's target.
    pub target_bytes: usize,
    pub head_time: Duration,
    pub body_bytes: usize,
    pub body_time: Duration,
    /// Between two requests.
    pub idle_time: Duration,
    /// How long an answer may be in the making: past it something is broken.
    pub work_time: Duration,
    /// A client that takes nothing of its answer for so long is dropped.
    pub write_time: Duration,
    /// After the last answer the connection stays open so long, and what still comes meanwhile is thrown away up to here
    /// and not read beyond: closed at once, it would be reset by the bytes that nobody read, and the answer be lost with it
    /// (RFC 9112, 9.6). A proxy would count the server as dead. What its kind lets through unasked is read, for those who
    /// do not listen before all is sent.
    pub linger_bytes: usize,
    pub linger_time: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            head_bytes: 32 * 1024,
            target_bytes: 8 * 1024,
            head_time: Duration::from_secs(10),
            body_bytes: 1024,
            body_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(15),
            work_time: Duration::from_secs(60),
            write_time: Duration::from_secs(20),
            linger_bytes: 1 << 20,
            linger_time: Duration::from_secs(2),
        }
    }
}

/// What all connections go by.
pub struct Rules {
    pub limits: Limits,
    /// Whether the head allows to take the request's body.
    pub takes_body: Box<dyn Fn(&Request) -> bool + Send + Sync>,
}

/// A request that is answered from below the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub refusal: Refusal,
    /// The method, where the head got as far as that.
    pub method: Option<String>,
}

impl Refused {
    /// With its status, its code, and what is wrong and what to do.
    pub fn new(status: u16, code: &'static str, message: &str, method: Option<String>) -> Refused {
        Refused {
            refusal: refusal(status, code, message.to_owned()),
            method,
        }
    }
}
