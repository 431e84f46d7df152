//! A client that follows a daemon's feed and compares what it holds with what it should hold. What each message changes
//! is known to `held`.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::daemon::{Daemon, Feed};
use crate::held::{Held, FEED_LEN};

const PATIENCE: Duration = Duration::from_secs(30);
/// Of the feed's newest items, so many may be alerts in a test.
const ALERTS_MAX: usize = 20;
/// What belongs to the chain; the rest of a snapshot belongs to one daemon or one connection.
const OF_THE_CHAIN: [&str; 5] = ["round", "participants", "history", "liveFeed", "config"];

pub struct Follower {
    feed: Feed,
    held: Held,
}

impl Follower {
    pub fn connect(daemon: &Daemon) -> Follower {
        let mut feed = daemon.feed("");
        let snapshot = feed.wait("snapshot", |_| true);
        Follower {
            feed,
            held: Held(snapshot["payload"].clone()),
        }
    }

    /// True when the snapshot was taken at that head, with all of the history read.
    pub fn is_at(&self, head: u64) -> bool {
        let as_of = &self.held.0["asOf"];
        as_of["blockNumber"] == head && as_of["syncing"] == false
    }

    /// Of what is held, that which belongs to the chain.
    pub fn of_the_chain(&self) -> Value {
        let mut part = Value::Null;
        for name in OF_THE_CHAIN {
            part[name] = self.held.0[name].clone();
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
            self.held.take(&message);
        }
        true
    }
}

/// What a daemon shows of the chain to a client that comes now.
pub fn shown(daemon: &Daemon) -> Value {
    Follower::connect(daemon).of_the_chain()
}
