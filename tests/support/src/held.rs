//! What a client of the feed holds after each message, by what the messages promise and nothing else. Where they come
//! from, and in which order they have to come, is left to those who follow the feed.

use std::cmp::Reverse;

use serde_json::Value;

pub const FEED_LEN: usize = 50;
const HISTORY_LEN: usize = 20;
const FIRST_PAGE_LEN: usize = 200;

/// A snapshot, and all that was told since.
pub struct Held(pub Value);

impl Held {
    /// Takes one message in.
    ///
    /// # Panics
    ///
    /// When no client could know what the message means.
    pub fn take(&mut self, message: &Value) {
        let (held, payload) = (&mut self.0, &message["payload"]);
        match message["type"].as_str().unwrap() {
            "snapshot" => *held = payload.clone(),
            "round_update" => held["round"] = payload["round"].clone(),
            "participants_update" => take_participants(&mut held["participants"], payload),
            "history_update" => take_ended_round(&mut held["history"], payload),
            "live_feed" => {
                let feed = held["liveFeed"].as_array_mut().unwrap();
                feed.insert(0, payload["item"].clone());
                feed.truncate(FEED_LEN);
            }
            "config_update" => held["config"] = payload["config"].clone(),
            "operator_status" => held["operator"] = payload["operator"].clone(),
            "connection_status" => held["connection"] = payload["connection"].clone(),
            "finality" => {
                for name in ["safeBlock", "finalizedBlock"] {
                    held["finality"][name] = payload[name].clone();
                }
            }
            "reorg" => {
                for part in ["history", "liveFeed"] {
                    if !payload[part].is_null() {
                        held[part] = payload[part].clone();
                    }
                }
            }
            "blockchain_event" | "operator_alert" | "heartbeat" | "shutdown" => {}
            _ => panic!("nobody can follow this: {message}"),
        }
    }
}

fn take_ended_round(history: &mut Value, update: &Value) {
    history["summary"] = update["summary"].clone();
    let kept = update["summary"]["totalRounds"].as_u64().unwrap() as usize;
    let rounds = history["rounds"].as_array_mut().unwrap();
    rounds.retain(|row| row["roundId"] != update["round"]["roundId"]);
    rounds.insert(0, update["round"].clone());
    rounds.truncate(kept.min(HISTORY_LEN));
}

fn take_participants(held: &mut Value, update: &Value) {
    for name in ["roundId", "totalParticipants", "totalAmountWei"] {
        held[name] = update[name].clone();
    }
    let list = held["participants"].as_array_mut().unwrap();
    if update["replacesAll"] == true {
        list.clear();
    }
    for changed in update["changed"].as_array().unwrap() {
        list.retain(|known| known["address"] != changed["address"]);
        list.push(changed.clone());
    }
    let wei = |entry: &Value| {
        let text = entry["totalAmountWei"].as_str().unwrap();
        text.parse::<u128>().unwrap()
    };
    list.sort_by_key(|entry| (Reverse(wei(entry)), entry["order"].as_u64()));
    list.truncate(FIRST_PAGE_LEN);
}
