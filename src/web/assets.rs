//! The page's files, embedded in the binary, and the few words of state that a browser without JavaScript gets.

use std::sync::LazyLock;

use crate::lottery::history::Outcome;
use crate::lottery::snapshot::Snapshot;
use crate::web::reply::{Body, Packed};
use crate::web::view;

pub struct Asset {
    path: &'static str,
    file: File,
}

enum File {
    /// Rendered anew for each reader.
    Page(&'static str),
    Packed(LazyLock<Packed>),
}

impl Asset {
    pub fn body(&'static self, snapshot: &Snapshot) -> Body {
        match &self.file {
            File::Page(template) => Body::Page(page(template, snapshot)),
            File::Packed(packed) => Body::Packed(packed),
        }
    }
}

macro_rules! page {
    ($path:literal, $file:literal) => {
        Asset {
            path: $path,
            file: File::Page(include_str!(concat!("../../www/", $file))),
        }
    };
}

macro_rules! asset {
    ($path:literal, $file:literal, $content_type:expr) => {
        Asset {
            path: $path,
            file: File::Packed(LazyLock::new(|| {
                let bytes = include_bytes!(concat!("../../www/", $file));
                Packed::new($content_type, bytes)
            })),
        }
    };
}

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

static ASSETS: [Asset; 21] = [
    page!("/", "index.html"),
    page!("/index.html", "index.html"),
    asset!("/style.css", "style.css", CSS),
    asset!("/api.js", "api.js", JS),
    asset!("/app.js", "app.js", JS),
    asset!("/badges.js", "badges.js", JS),
    asset!("/clock.js", "clock.js", JS),
    asset!("/details.js", "details.js", JS),
    asset!("/dom.js", "dom.js", JS),
    asset!("/feed.js", "feed.js", JS),
    asset!("/format.js", "format.js", JS),
    asset!("/history.js", "history.js", JS),
    asset!("/links.js", "links.js", JS),
    asset!("/live.js", "live.js", JS),
    asset!("/operator.js", "operator.js", JS),
    asset!("/participants.js", "participants.js", JS),
    asset!("/proof.js", "proof.js", JS),
    asset!("/result.js", "result.js", JS),
    asset!("/round.js", "round.js", JS),
    asset!("/state.js", "state.js", JS),
    asset!("/top.js", "top.js", JS),
];

pub fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

const STATE_BEGINS: &str = "<!--state-->";
const STATE_ENDS: &str = "<!--/state-->";

/// The page with the current state between its two marks, for readers without JavaScript.
fn page(template: &str, snapshot: &Snapshot) -> String {
    let parts = template
        .split_once(STATE_BEGINS)
        .and_then(|(before, rest)| Some((before, rest.split_once(STATE_ENDS)?.1)));
    match parts {
        Some((before, after)) => format!(
            "{before}{STATE_BEGINS}{}{STATE_ENDS}{after}",
            state(snapshot)
        ),
        None => template.to_owned(),
    }
}

fn state(snapshot: &Snapshot) -> String {
    let mut html = String::new();
    match &snapshot.round {
        Some(round) => {
            let phase = round.phase(snapshot.head.map_or(0, |head| head.timestamp));
            html.push_str(&format!(
                "<p>Round {}: {}. Pot: {} ETH from {} players.</p>",
                round.round_id,
                phase.label().replace('_', " "),
                view::ether(round.total_pot_wei),
                round.participant_count
            ));
        }
        None => html.push_str("<p>The chain has not been read yet.</p>"),
    }
    if !snapshot.history.is_empty() {
        html.push_str("<ul>");
        for round in snapshot.history.iter() {
            let end = match &round.outcome {
                Outcome::Completed {
                    winner,
                    winner_prize_wei,
                    ..
                } => {
                    format!(
                        "{} won {} ETH",
                        view::address(*winner),
                        view::ether(*winner_prize_wei)
                    )
                }
                Outcome::Refunded { reason } => format!("refunded: {}", escape(reason)),
            };
            html.push_str(&format!("<li>Round {}: {end}</li>", round.round_id));
        }
        html.push_str("</ul>");
    }
    html
}

/// What comes from the chain is text, never HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
