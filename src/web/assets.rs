//! The page's files, embedded in the binary, and the few words of state that a browser without JavaScript gets.

use crate::lottery::model::{Outcome, Snapshot};
use crate::web::view;

pub struct Asset {
    pub content_type: &'static str,
    pub bytes: &'static [u8],
}

macro_rules! assets {
    ($($path:literal: $file:literal as $content_type:expr),* $(,)?) => {
        &[$(($path, Asset {
            content_type: $content_type,
            bytes: include_bytes!(concat!("../../www/", $file)),
        })),*]
    };
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

const ASSETS: &[(&str, Asset)] = assets! {
    "/": "index.html" as HTML,
    "/index.html": "index.html" as HTML,
    "/style.css": "style.css" as CSS,
    "/api.js": "api.js" as JS,
    "/app.js": "app.js" as JS,
    "/badges.js": "badges.js" as JS,
    "/clock.js": "clock.js" as JS,
    "/details.js": "details.js" as JS,
    "/dom.js": "dom.js" as JS,
    "/feed.js": "feed.js" as JS,
    "/format.js": "format.js" as JS,
    "/history.js": "history.js" as JS,
    "/links.js": "links.js" as JS,
    "/live.js": "live.js" as JS,
    "/operator.js": "operator.js" as JS,
    "/participants.js": "participants.js" as JS,
    "/proof.js": "proof.js" as JS,
    "/result.js": "result.js" as JS,
    "/round.js": "round.js" as JS,
    "/state.js": "state.js" as JS,
    "/top.js": "top.js" as JS,
};

pub fn find(path: &str) -> Option<&'static Asset> {
    ASSETS
        .iter()
        .find(|(known, _)| *known == path)
        .map(|(_, asset)| asset)
}

const STATE_BEGINS: &str = "<!--state-->";
const STATE_ENDS: &str = "<!--/state-->";

/// The page with the current state between its two marks, for readers without JavaScript.
pub fn page(template: &[u8], snapshot: &Snapshot) -> String {
    let template = String::from_utf8_lossy(template);
    let parts = template
        .split_once(STATE_BEGINS)
        .and_then(|(before, rest)| Some((before, rest.split_once(STATE_ENDS)?.1)));
    match parts {
        Some((before, after)) => format!(
            "{before}{STATE_BEGINS}{}{STATE_ENDS}{after}",
            state(snapshot)
        ),
        None => template.into_owned(),
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
