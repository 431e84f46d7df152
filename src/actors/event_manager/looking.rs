//! Looks at the head: when one is due, what it asks, and when a second one, for the live state alone, runs beside the
//! first because its logs do not come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::actors::event_manager::input::Input;
use crate::actors::event_manager::looks::{Look, Waiting, LIVE};
use crate::actors::event_manager::{EventManager, Following};
use crate::actors::reader::{Question, Reader, Reading};
use crate::base::clock::ChainTime;
use crate::chain::endpoints::{Endpoints, Hedge};
use crate::chain::error::RpcError;
use crate::chain::method::Method;
use crate::chain::node::{Endpoint, Purpose};
use crate::chain::types::BlockRef;
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
/// A head that is so many seconds further on than time has passed is looked at through another endpoint, too: a draw would be
/// called missed on one's word.
const AHEAD_SECS: u64 = 15;
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
        let manner = Manner {
            patience: self.patience(now),
            news_within: self.following.looks.news_within(),
            second_opinion,
            chain_time: self.snapshot.load().chain_time,
            tip: question.cursor.tip().copied(),
        };
        let work = move || look(&endpoints, &reader, question, manner);
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

/// How a look goes about it.
struct Manner {
    patience: Duration,
    news_within: Duration,
    /// Another endpoint is asked, too, where this one shows nothing new.
    second_opinion: bool,
    chain_time: Option<ChainTime>,
    /// The newest block that is known.
    tip: Option<BlockRef>,
}

impl Manner {
    /// Whether the head's time cannot be, by what is known: it is before that of the newest block that it follows, or further
    /// on than time has passed since that came, and code that the endpoint runs there sees another. Of a first head nothing
    /// else is known.
    fn doubts_time(&self, endpoint: &Endpoint, reading: &Reading) -> bool {
        let Reading::Advanced(advanced) = reading else {
            return false;
        };
        let head = &advanced.head;
        let followed = self.tip.filter(|_| advanced.rollback.is_none());
        let is_older = followed.is_some_and(|tip| head.timestamp < tip.timestamp);
        let is_expected = self.chain_time.map(|known| {
            let latest = known.at(endpoint.now()).saturating_add(AHEAD_SECS);
            !is_older && head.timestamp <= latest
        });
        if is_expected == Some(true) {
            return false;
        }
        match endpoint.block_opcodes(head.into()) {
            Ok(seen) => seen.timestamp != head.timestamp,
            Err(_) => is_expected.is_some(),
        }
    }

    /// Where an endpoint's logs and its round contradict each other, or its head's time cannot be, another one's look in which
    /// that is not so.
    fn instead_of(
        &self,
        endpoints: &Endpoints,
        (endpoint, reading): (&Endpoint, &Reading),
        hedge: &Hedge<Reading>,
        read: impl Fn(&Endpoint) -> Result<Reading, RpcError> + Clone + Send + 'static,
    ) -> Option<Look> {
        let doubted = match reading {
            Reading::Advanced(advanced) if endpoints.list().len() > 1 => advanced,
            _ => return None,
        };
        let is_out_of_time = self.doubts_time(endpoint, reading);
        if !doubted.is_contradictory && !is_out_of_time {
            return None;
        }
        let (other, reading) = endpoints.asked_without(endpoint, hedge, read)?.ok()?;
        let is_sound = match &reading {
            Reading::Advanced(advanced) => {
                let is_as_new =
                    !advanced.blocks.is_empty() || advanced.head.hash == doubted.head.hash;
                let leads_to_round = advanced.round.is_some() && advanced.owed.is_none();
                is_as_new
                    && !self.doubts_time(&other, &reading)
                    && (is_out_of_time || leads_to_round)
            }
            _ => false,
        };
        is_sound.then(|| {
            let (host, other_host) = (endpoint.host(), other.host());
            match is_out_of_time {
                true => log::info!(
                    "{host} gives block {} the time {}, which {other_host} does not",
                    doubted.head.number,
                    doubted.head.timestamp
                ),
                false => {
                    log::info!(
                        "the logs of {host} do not lead to its round, those of {other_host} do"
                    )
                }
            }
            endpoints.set_back(endpoint);
            Look {
                endpoint: other,
                reading,
                is_doubtful: Some(false),
            }
        })
    }
}

/// Looks through the best endpoint, and through another where that shows less than there should be. Where nobody can
/// bring the logs too, the live state is looked for alone.
fn look(
    endpoints: &Endpoints,
    reader: &Arc<Reader>,
    question: Question,
    manner: Manner,
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
        let hedge = Hedge::any(Purpose::Follow, methods, manner.patience);
        let hedge = hedge.for_news(has_news, manner.news_within);
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
    let doubted = (&endpoint, &reading);
    if let Some(sound) = manner.instead_of(endpoints, doubted, &hedge, read.clone()) {
        return Ok(sound);
    }
    let asks_another = match &reading {
        Reading::Advanced(_) | Reading::Lagging { .. } => {
            !is_announced && !has_news(&reading, newest_timestamp)
        }
        Reading::NoLottery { .. } => true,
        Reading::Unchanged => manner.second_opinion && !is_announced,
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::json;

    use super::*;
    use crate::actors::reader::{Advanced, Sound};
    use crate::base::clock::Clock;
    use crate::base::metrics::Metrics;
    use crate::chain::cursor::Cursor;
    use crate::chain::encode::encode_hex;
    use crate::chain::script::Script;
    use crate::chain::transport::Transport;
    use crate::chain::types::{Address, H256, U256};
    use crate::lottery::abi::tests::words;
    use crate::lottery::continuity::Tally;

    fn manner(chain_time: Option<ChainTime>) -> Manner {
        Manner {
            patience: PATIENCE,
            news_within: PATIENCE,
            second_opinion: false,
            chain_time,
            tip: Some(KNOWN).filter(|_| chain_time.is_some()),
        }
    }

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
        let look = look(&endpoints, &reader, Question::default(), manner(None)).unwrap();
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

    const KNOWN: BlockRef = BlockRef {
        number: 1,
        hash: H256::zero(),
        parent_hash: H256::zero(),
        timestamp: 98,
    };

    /// A node at block 2 of that time, and as code sees it of that one, whose round has this pot; nothing was logged.
    fn node(host: &str, (time, seen_time, pot_wei): (u64, u64, u64)) -> Arc<dyn Transport> {
        let hash = |number: u64| format!("0x{number:064x}");
        Arc::new(Script::of_calls(host, move |method, params| match method {
            "eth_chainId" => Ok(json!("0x7a69")),
            "eth_call" if params[0]["to"].is_null() => {
                Ok(json!(encode_hex(&words(&[0, 2, seen_time]))))
            }
            "eth_getLogs" => Ok(json!([])),
            "eth_call" => {
                let state = u64::from(pot_wei > 0);
                let round = words(&[1, 0, 0, 0, 0, pot_wei, 1, 0, 0, 0, state]);
                Ok(json!(encode_hex(&round)))
            }
            "eth_getBlockByNumber" => Ok(json!({
                "number": "0x2", "hash": hash(2), "timestamp": format!("{time:#x}"),
                "parentHash": KNOWN.hash, "transactions": [hash(9)],
            })),
            _ => Err(json!({"code": -32601, "message": "method not found"})),
        }))
    }

    /// What is known after a look at two such nodes where block 1 was.
    fn looked([a, b]: [(u64, u64, u64); 2], is_known: bool) -> Advanced {
        let clock = Clock::manual(5_000_000);
        let known = ChainTime {
            head_timestamp: KNOWN.timestamp,
            seen_at: clock.now(),
        };
        let nodes = vec![node("http://a", a), node("http://b", b)];
        let endpoints = Endpoints::over(nodes, 31_337, clock, &Metrics::default());
        let reader = Arc::new(Reader::new(Address::zero(), 31_337));
        let mut cursor = Cursor::default();
        cursor.push(KNOWN);
        let tally = Tally::beginning();
        let question = Question {
            cursor: Arc::new(cursor),
            sound: Some(Sound {
                block: KNOWN,
                tally,
            }),
            ..Question::default()
        };
        let look = look(
            &endpoints,
            &reader,
            question,
            manner(is_known.then_some(known)),
        )
        .unwrap();
        match look.reading {
            Reading::Advanced(advanced) => *advanced,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn of_two_that_differ_about_the_round_the_one_is_believed_whose_logs_lead_to_it() {
        for (pots, believed_wei, is_contradictory) in [
            ([0, 0], 0, false),
            ([5, 0], 0, false),
            ([0, 5], 0, false),
            ([5, 7], 5, true),
        ] {
            let advanced = looked(pots.map(|pot_wei| (100, 100, pot_wei)), true);
            let pot_wei = advanced.round.unwrap().total_pot_wei;
            assert_eq!(pot_wei, U256::from(believed_wei), "{pots:?}");
            assert_eq!(advanced.is_contradictory, is_contradictory, "{pots:?}");
        }
    }

    #[test]
    fn of_two_that_differ_about_the_time_the_one_is_believed_whose_time_can_be() {
        let latest = KNOWN.timestamp + AHEAD_SECS;
        for (is_known, times, believed) in [
            (true, [(100, 100), (100, 100)], 100),
            // What can be is not asked about.
            (true, [(98, 0), (100, 100)], 98),
            (true, [(latest, 0), (100, 100)], latest),
            (true, [(97, 100), (100, 100)], 100),
            (true, [(latest + 1, 100), (100, 100)], 100),
            // What was known before may be what is not so.
            (true, [(97, 97), (100, 0)], 97),
            (true, [(latest + 1, latest + 1), (100, 0)], latest + 1),
            (true, [(latest + 1, 0), (latest + 1, 0)], latest + 1),
            (false, [(97, 100), (100, 100)], 100),
            (false, [(97, 0), (100, 0)], 97),
        ] {
            let advanced = looked(times.map(|(time, seen)| (time, seen, 0)), is_known);
            assert_eq!(advanced.head.timestamp, believed, "{is_known} {times:?}");
        }
    }
}
