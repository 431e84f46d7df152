//! A client of the feed that knows what the messages promise and nothing else: what it holds after each of them.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::daemon::{Daemon, Feed};

const PATIENCE: Duration = Duration::from_secs(30);
const FEED_LEN: usize = 50;
/// Of the feed's newest items, so many may be alerts in a test.
const ALERTS_MAX: usize = 20;
const HISTORY_LEN: usize = 20;
const FIRST_PAGE_LEN: usize = 200;
/// What belongs to the chain; the rest of a snapshot belongs to one daemon or one connection.
const OF_THE_CHAIN: [&str; 5] = ["round", "participants", "history", "liveFeed", "config"];

pub struct Follower {
    feed: Feed,
    held: Value,
}

impl Follower {
    pub fn connect(daemon: &Daemon) -> Follower {
        let mut feed = daemon.feed("");
        let snapshot = feed.wait("snapshot", |_| true);
        Follower {
            feed,
            held: snapshot["payload"].clone(),
        }
    }

    /// True when the snapshot was taken at that head, with all of the history read.
    pub fn is_at(&self, head: u64) -> bool {
        let as_of = &self.held["asOf"];
        as_of["blockNumber"] == head && as_of["syncing"] == false
    }

    /// Of what is held, that which belongs to the chain.
    pub fn of_the_chain(&self) -> Value {
        let mut part = Value::Null;
        for name in OF_THE_CHAIN {
            part[name] = self.held[name].clone();
        }
        // Alerts are what one daemon lived through; the chain does not tell them, but they take room in the feed.
        if let Some(feed) = part["liveFeed"].as_array_mut() {
            feed.retain(|item| item["type"] != "operator_alert");
            feed.truncate(FEED_LEN - ALERTS_MAX);
        }
        part
    }

    /// Takes messages until what is held of the chain equals `wanted`; false when that does not come about.
    pub fn follow_until(&mut self, wanted: &Value) -> bool {
        let until = Instant::now() + PATIENCE;
        while self.of_the_chain() != *wanted {
            if Instant::now() >= until {
                return false;
            }
            let message = self.feed.read();
            self.take(&message);
        }
        true
    }

    fn take(&mut self, message: &Value) {
        let payload = &message["payload"];
        match message["type"].as_str().unwrap() {
            "snapshot" => self.held = payload.clone(),
            "round_update" => self.held["round"] = payload["round"].clone(),
            "participants_update" => self.take_participants(payload),
            "history_update" => {
                self.held["history"]["summary"] = payload["summary"].clone();
                let kept = payload["summary"]["totalRounds"].as_u64().unwrap() as usize;
                let rounds = self.held["history"]["rounds"].as_array_mut().unwrap();
                rounds.retain(|row| row["roundId"] != payload["round"]["roundId"]);
                rounds.insert(0, payload["round"].clone());
                rounds.truncate(kept.min(HISTORY_LEN));
            }
            "live_feed" => {
                let feed = self.held["liveFeed"].as_array_mut().unwrap();
                feed.insert(0, payload["item"].clone());
                feed.truncate(FEED_LEN);
            }
            "config_update" => self.held["config"] = payload["config"].clone(),
            "reorg" => {
                for part in ["history", "liveFeed"] {
                    if !payload[part].is_null() {
                        self.held[part] = payload[part].clone();
                    }
                }
            }
            "close" => panic!("the feed ended: {message}"),
            _ => {}
        }
    }

    fn take_participants(&mut self, update: &Value) {
        let held = &mut self.held["participants"];
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
}

/// What a daemon shows of the chain to a client that comes now.
pub fn shown(daemon: &Daemon) -> Value {
    Follower::connect(daemon).of_the_chain()
}
