//! Looks at the head: when one is due, what it asks, and when a second one, for the live state alone, runs beside the
//! first because its logs do not come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::actors::event_manager::input::Input;
use crate::actors::event_manager::looks::{Look, Waiting, LIVE};
use crate::actors::event_manager::{EventManager, Following};
use crate::actors::reader::{Question, Reader, Reading};
use crate::chain::endpoints::{Endpoints, Hedge};
use crate::chain::error::RpcError;
use crate::chain::method::Method;
use crate::chain::node::{Endpoint, Purpose};
use crate::lottery::round::{Phase, Round};

/// What a look that brings logs cannot do without.
const WITH_LOGS: &[Method] = &[Method::BlockByNumber, Method::Call, Method::GetLogs];
/// Every change of round and configuration is logged, so reading them anew only bounds what a lying bloom could hide.
const REFRESH_EVERY_MIN: Duration = Duration::from_secs(120);
/// A configuration that could not be read is asked for again after this.
const REFRESH_AGAIN: Duration = Duration::from_secs(10);
/// How long an endpoint may take before the next is asked as well; shorter while a draw may be due.
const PATIENCE: Duration = Duration::from_secs(2);
const PATIENCE_IN_WINDOW: Duration = Duration::from_millis(400);
/// The longest that another endpoint is left alone while a block is overdue.
const SECOND_OPINION_MAX: Duration = Duration::from_secs(15);

impl EventManager {
    pub(super) fn start_looks(&mut self, now: Instant) {
        if self.looks_wake_at().is_some_and(|at| now >= at) {
            let Following { looks, older, .. } = &self.following;
            let live_only = older.logs_need_steps(&self.following.cursor)
                || !looks.is_empty()
                || looks.asks_for_less();
            self.start_look(live_only, now);
        }
    }

    /// When the next look goes out; None while that waits for an answer.
    pub(super) fn looks_wake_at(&self) -> Option<Instant> {
        let looks = &self.following.looks;
        match looks.is_empty() {
            true => Some(self.following.look_due),
            false => looks.overtaken_at(|since| self.patience(since)),
        }
    }

    fn start_look(&mut self, live_only: bool, now: Instant) {
        let question = self.question(live_only, now);
        let second_opinion = self.second_opinion_is_due(now);
        let following = &mut self.following;
        let id = following.looks.next_id;
        let waiting = Waiting {
            id,
            since: now,
            live_only,
            is_announced: question.announced.is_some(),
            tip: following.tip_hash(),
        };
        if question.refresh {
            following.refresh_asked_at = Some(now);
        }
        let (endpoints, reader) = (self.endpoints.clone(), self.reader.clone());
        let patience = self.patience(now);
        let waits = (patience, self.following.looks.news_within());
        let work = move || look(&endpoints, &reader, question, waits, second_opinion);
        let as_input = move |result| Input::Look { id, result };
        let following = &mut self.following;
        if following.jobs.start(&self.clock, "look", work, as_input) {
            following.looks.next_id += 1;
            following.looks.waiting.push(waiting);
        } else {
            following.look_due = now + PATIENCE;
            following.looks.rest_until(now + PATIENCE);
        }
    }

    fn question(&mut self, live_only: bool, now: Instant) -> Question {
        let interval = self.refresh_interval();
        let following = &mut self.following;
        let is_older = |at: Option<Instant>, than: Duration| {
            at.is_none_or(|at| now.saturating_duration_since(at) >= than)
        };
        Question {
            cursor: following.cursor.clone(),
            announced: following.announced.take(),
            refresh: is_older(following.refreshed_at, interval)
                && is_older(following.refresh_asked_at, REFRESH_AGAIN.min(interval)),
            sound: following.sound,
            live_only,
            debt: following.older.debt_for_look(&following.cursor),
        }
    }

    fn refresh_interval(&self) -> Duration {
        let interval = match self.reader.blooms().are_trusted() {
            true => {
                // A third of a round, so that one whose beginning was hidden is found long before its end.
                let config = self.snapshot.load().config.clone();
                let third = config.map(|config| config.betting_duration_secs / 3);
                third.map_or(REFRESH_EVERY_MIN, |secs| {
                    Duration::from_secs(secs).min(REFRESH_EVERY_MIN)
                })
            }
            // An unproven bloom may hide a log; the state would show it.
            false => self.settings.round_interval,
        };
        interval.max(self.settings.config_interval)
    }

    /// True when a block is so late that somebody else may know better; each time this says yes the next is further off.
    fn second_opinion_is_due(&mut self, now: Instant) -> bool {
        let following = &mut self.following;
        let is_overdue = now >= following.head_seen_at + following.pace.overdue_after();
        let (asked_at, every) = following.looks.second_opinion;
        let is_due = is_overdue && asked_at.is_none_or(|at| now >= at + every);
        if is_due {
            following.looks.second_opinion = (Some(now), (every * 2).min(SECOND_OPINION_MAX));
        }
        is_due
    }

    pub(super) fn patience(&self, now: Instant) -> Duration {
        let snapshot = self.snapshot.load();
        let phase = |round: &Round| round.phase(snapshot.chain_time_at(now));
        match snapshot.round.as_ref().map(phase) {
            Some(Phase::DrawWindow) => PATIENCE_IN_WINDOW,
            _ => PATIENCE,
        }
    }
}

/// An older head than any endpoint has shown is none, and neither is the one that is known.
fn has_news(reading: &Reading, newest_timestamp: u64) -> bool {
    match reading {
        Reading::Advanced(advanced) => advanced.head.timestamp >= newest_timestamp,
        Reading::NoLottery { .. } => true,
        Reading::Lagging { .. } | Reading::Unchanged => false,
    }
}

/// The number of a head that is new.
fn head_of(reading: &Reading) -> Option<u64> {
    match reading {
        Reading::Advanced(advanced) => Some(advanced.head.number),
        _ => None,
    }
}

/// Looks through the best endpoint, and through another where that shows less than there should be. Where nobody can
/// bring the logs too, the live state is looked for alone.
fn look(
    endpoints: &Endpoints,
    reader: &Arc<Reader>,
    question: Question,
    (patience, news_within): (Duration, Duration),
    second_opinion: bool,
) -> Result<Look, RpcError> {
    let newest_timestamp = endpoints.newest_timestamp();
    let is_announced = question.announced.is_some();
    let read = |methods: &'static [Method], question: Question| {
        let reader = reader.clone();
        let read = move |endpoint: &Endpoint| {
            let reading = reader.read(endpoint, &question);
            reading.map_err(RpcError::of_this_endpoint)
        };
        let has_news = move |reading: &Reading| has_news(reading, newest_timestamp);
        let hedge = Hedge::any(Purpose::Follow, methods, patience);
        let hedge = hedge.for_news(has_news, news_within);
        let answer = endpoints.asked_by(&hedge, read.clone());
        answer.map(|(endpoint, reading)| (endpoint, reading, read, hedge))
    };
    let live = Question {
        live_only: true,
        ..question.clone()
    };
    let answer = match question.live_only {
        true => read(LIVE, live),
        false => read(WITH_LOGS, question).or_else(|_| read(LIVE, live)),
    };
    let (endpoint, reading, read, hedge) = answer?;
    if let Some(sound) = instead_of(endpoints, (&endpoint, &reading), &hedge, read.clone()) {
        return Ok(sound);
    }
    let asks_another = match &reading {
        Reading::Advanced(_) | Reading::Lagging { .. } => {
            !is_announced && !has_news(&reading, newest_timestamp)
        }
        Reading::NoLottery { .. } => true,
        Reading::Unchanged => second_opinion && !is_announced,
    };
    let mut is_doubtful = match &reading {
        Reading::Unchanged => None,
        _ => Some(false),
    };
    if asks_another {
        match endpoints.asked_without(&endpoint, &hedge, read) {
            Some(Ok((other, Reading::Advanced(advanced))))
                if !advanced.blocks.is_empty()
                    && head_of(&reading).is_none_or(|head| advanced.head.number > head) =>
            {
                endpoints.set_back(&endpoint);
                return Ok(Look {
                    endpoint: other,
                    reading: Reading::Advanced(advanced),
                    is_doubtful: Some(false),
                });
            }
            Some(Err(_)) | None => is_doubtful = Some(endpoints.list().len() > 1),
            Some(Ok(_)) => is_doubtful = Some(false),
        }
    }
    Ok(Look {
        endpoint,
        reading,
        is_doubtful,
    })
}

/// Where an endpoint's logs and its round contradict each other, another one's look in which they agree.
fn instead_of(
    endpoints: &Endpoints,
    (endpoint, reading): (&Endpoint, &Reading),
    hedge: &Hedge<Reading>,
    read: impl Fn(&Endpoint) -> Result<Reading, RpcError> + Clone + Send + 'static,
) -> Option<Look> {
    let doubted = match reading {
        Reading::Advanced(advanced) if advanced.is_contradictory => advanced,
        _ => return None,
    };
    let (other, reading) = endpoints.asked_without(endpoint, hedge, read)?.ok()?;
    let is_sound = match &reading {
        Reading::Advanced(advanced) => {
            let is_as_new = !advanced.blocks.is_empty() || advanced.head.hash == doubted.head.hash;
            is_as_new && advanced.round.is_some() && advanced.owed.is_none()
        }
        _ => false,
    };
    is_sound.then(|| {
        log::info!(
            "the logs of {} do not lead to its round, those of {} do",
            endpoint.host(),
            other.host()
        );
        endpoints.set_back(endpoint);
        Look {
            endpoint: other,
            reading,
            is_doubtful: Some(false),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::json;

    use super::*;
    use crate::actors::reader::Sound;
    use crate::base::clock::Clock;
    use crate::base::metrics::Metrics;
    use crate::chain::cursor::Cursor;
    use crate::chain::encode::encode_hex;
    use crate::chain::script::Script;
    use crate::chain::transport::Transport;
    use crate::chain::types::{Address, BlockRef, H256, U256};
    use crate::lottery::abi::tests::words;
    use crate::lottery::continuity::Tally;

    #[test]
    fn the_heads_time_counts_from_when_it_was_told_whatever_takes_long_after_it() {
        let clock = Clock::manual(5_000_000);
        let (asked_at, by_node) = (clock.now(), Mutex::new(clock.clone()));
        let node = Script::of_calls("http://a", move |method, _| {
            let takes_secs = if method == "eth_call" { 3 } else { 1 };
            let clock = by_node.lock().unwrap();
            clock.advance(Duration::from_secs(takes_secs));
            match method {
                "eth_chainId" => Ok(json!("0x7a69")),
                "eth_call" => Ok(json!(encode_hex(&words(&[
                    1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
                ])))),
                "eth_getBlockByNumber" => Ok(json!({
                    "number": "0x0", "hash": format!("0x{}", "11".repeat(32)), "timestamp": "0x64",
                    "parentHash": format!("0x{}", "00".repeat(32)),
                })),
                _ => Err(json!({"code": -32601, "message": "method not found"})),
            }
        });
        let metrics = Metrics::default();
        let endpoints = Endpoints::over(vec![Arc::new(node)], 31_337, clock.clone(), &metrics);
        let reader = Arc::new(Reader::new(Address::zero(), 31_337));
        let waits = (PATIENCE, PATIENCE);
        let look = look(&endpoints, &reader, Question::default(), waits, false).unwrap();
        let Reading::Advanced(advanced) = look.reading else {
            panic!("{:?}", look.reading);
        };
        // What chain the node serves was asked before.
        let head_took = advanced.head_told_at - advanced.head_asked_at;
        assert_eq!(head_took, Duration::from_secs(1));
        assert!(advanced.head_asked_at >= asked_at);
        let since = clock.now() - advanced.head_told_at;
        assert!(since >= Duration::from_secs(3), "{since:?}");
    }

    /// A node at block 2 whose round has this pot; nothing was logged.
    fn node_with_pot(host: &str, pot_wei: u64) -> Arc<Script> {
        let hash = |number: u64| format!("0x{number:064x}");
        Arc::new(Script::of_calls(host, move |method, _| match method {
            "eth_chainId" => Ok(json!("0x7a69")),
            "eth_getLogs" => Ok(json!([])),
            "eth_call" => {
                let state = u64::from(pot_wei > 0);
                let round = words(&[1, 0, 0, 0, 0, pot_wei, 1, 0, 0, 0, state]);
                Ok(json!(encode_hex(&round)))
            }
            "eth_getBlockByNumber" => Ok(json!({
                "number": "0x2", "hash": hash(2), "timestamp": "0x64", "parentHash": hash(1),
                "transactions": [hash(9)],
            })),
            _ => Err(json!({"code": -32601, "message": "method not found"})),
        }))
    }

    #[test]
    fn of_two_that_differ_about_the_round_the_one_is_believed_whose_logs_lead_to_it() {
        let block = BlockRef {
            number: 1,
            hash: H256::from_low_u64_be(1),
            parent_hash: H256::zero(),
            timestamp: 98,
        };
        for (pots, believed_wei, is_contradictory) in [
            ([0, 0], 0, false),
            ([5, 0], 0, false),
            ([0, 5], 0, false),
            ([5, 7], 5, true),
        ] {
            let clock = Clock::manual(5_000_000);
            let nodes = [("http://a", pots[0]), ("http://b", pots[1])];
            let nodes =
                nodes.map(|(host, pot_wei)| node_with_pot(host, pot_wei) as Arc<dyn Transport>);
            let metrics = Metrics::default();
            let endpoints = Endpoints::over(nodes.into(), 31_337, clock, &metrics);
            let reader = Arc::new(Reader::new(Address::zero(), 31_337));
            let mut cursor = Cursor::default();
            cursor.push(block);
            let tally = Tally::beginning();
            let question = Question {
                cursor: Arc::new(cursor),
                sound: Some(Sound { block, tally }),
                ..Question::default()
            };
            let look = look(&endpoints, &reader, question, (PATIENCE, PATIENCE), false).unwrap();
            let Reading::Advanced(advanced) = look.reading else {
                panic!("{:?}", look.reading);
            };
            let pot_wei = advanced.round.unwrap().total_pot_wei;
            assert_eq!(pot_wei, U256::from(believed_wei), "{pots:?}");
            assert_eq!(advanced.is_contradictory, is_contradictory, "{pots:?}");
        }
    }
}
