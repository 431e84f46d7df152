//! The API over a state that stands still: what the routes say, and how it is said.

use crate::web::fixture::{self, json, Fixture};
use crate::web::http::Reply;

mod answers;
mod exchange;

fn with_state() -> Fixture {
    Fixture::new(fixture::snapshot())
}

fn code(reply: &Reply) -> String {
    let body = json(reply);
    assert!(!body["error"]["message"].as_str().unwrap().is_empty());
    body["error"]["code"].as_str().unwrap().to_owned()
}

fn message(reply: &Reply) -> String {
    json(reply)["error"]["message"].as_str().unwrap().to_owned()
}
