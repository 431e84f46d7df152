//! A state with something of everything, and an API over it whose clock stands still: what the web's tests share.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use crossbeam_channel::{bounded, Receiver};
use serde_json::Value;

use crate::actors::messages::{OperatorHandle, SharedSnapshot};
use crate::base::clock::{ChainTime, Clock};
use crate::base::metrics::Metrics;
use crate::base::thread::Health;
use crate::chain::endpoints::EndpointReport;
use crate::chain::types::BlockRef;
use crate::chain::types::{Address, H256, U256};
use crate::config::Secret;
use crate::lottery::action::*;
use crate::lottery::alert::*;
use crate::lottery::command::{Command, CommandKind};
use crate::lottery::event::*;
use crate::lottery::history::*;
use crate::lottery::lateness::LateReason;
use crate::lottery::operator_status::*;
use crate::lottery::participants::ParticipantsLedger;
use crate::lottery::persistent::PersistentVec;
use crate::lottery::proof::*;
use crate::lottery::round::*;
use crate::lottery::snapshot::*;
use crate::web::api::{Api, ApiConfig};
use crate::web::http::{Fields, Port, Reply, Request};
use crate::web::view::Deployment;

pub const TOKEN: &str = "open sesame";
pub const HEAD_TIME: u64 = 10_000;
/// Commands that the operator's queue takes.
pub const QUEUE_LEN: usize = 4;

pub struct Fixture {
    pub api: Api,
    pub commands: Receiver<Command>,
    pub clock: Clock,
}

impl Fixture {
    /// The head of `snapshot` was seen just now.
    pub fn new(mut snapshot: Snapshot) -> Fixture {
        let clock = Clock::manual(HEAD_TIME * 1_000);
        snapshot.chain_time = snapshot.head.map(|head| ChainTime {
            head_timestamp: head.timestamp,
            seen_at: clock.now(),
        });
        let (sender, commands) = bounded(QUEUE_LEN);
        let api = Api {
            config: ApiConfig {
                deployment: deployment(),
                token: Some(Secret::new(TOKEN.to_owned())),
                key_address: Some(address(0x0e)),
                round_history_max: 20,
                live_feed_max_entries: 1_000,
                added_script: None,
            },
            snapshot: SharedSnapshot::new(Arc::new(snapshot)),
            operator: OperatorHandle::new(sender, clock.clone()),
            health: Health::default(),
            metrics: Metrics::default(),
            clock: clock.clone(),
            websocket_clients: Box::new(|| 3),
            endpoint_reports: Box::new(|| {
                vec![EndpointReport {
                    host: "node.example".to_owned(),
                    healthy: true,
                    head: Some(1_000),
                    latency: None,
                    last_error: Some("timed out"),
                    failing: vec!["eth_call"],
                }]
            }),
            wrong_tokens: Mutex::default(),
            packed_rounds: Default::default(),
        };
        Fixture {
            api,
            commands,
            clock,
        }
    }

    pub fn get(&self, target: &str) -> Reply {
        self.send("GET", target, &[], "")
    }

    /// With the token.
    pub fn post(&self, target: &str, body: &str) -> Reply {
        let authorization = format!("Bearer {TOKEN}");
        self.send("POST", target, &[("authorization", &authorization)], body)
    }

    pub fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        self.api.handle(&request(method, target, headers, body))
    }

    /// Hands the operator one action past the API; its id.
    pub fn submit_one(&self) -> String {
        self.api.operator.submit(7, CommandKind::Draw).unwrap()
    }
}

pub fn deployment() -> Deployment {
    Deployment {
        chain_id: 31_337,
        contract: address(0xc0),
        explorer_url: Some("https://explorer.example".to_owned()),
    }
}

pub fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Request {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    let mut fields = Fields::default();
    for (name, value) in headers {
        fields.push(name, value.as_bytes());
    }
    Request {
        port: Port::Public,
        method: method.to_owned(),
        path: path.to_owned(),
        query,
        fields,
        body: body.as_bytes().to_vec(),
        body_is_left: false,
        peer: [127, 0, 0, 1].into(),
    }
}

pub fn json(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

pub fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    let mut found = reply.headers.iter().filter(|(known, _)| *known == name);
    let value = found.next().map(|(_, value)| value.as_str());
    assert!(found.next().is_none(), "{name} is there twice");
    value
}

pub fn address(number: u64) -> Address {
    Address::from_low_u64_be(number)
}

/// Hundredths of an ether.
pub fn cents(cents: u64) -> U256 {
    U256::from(cents) * U256::exp10(16)
}

pub fn position(block_number: u64, log_index: u64) -> LogPosition {
    LogPosition {
        block_number,
        block_hash: H256::from_low_u64_be(0xb10c_0000 + block_number),
        block_timestamp: HEAD_TIME - 1_000 + block_number,
        transaction_hash: H256::from_low_u64_be(block_number * 100 + log_index),
        transaction_index: 0,
        log_index,
    }
}

/// Before the first block.
pub fn empty_snapshot() -> Snapshot {
    Snapshot {
        head: None,
        chain_time: None,
        syncing: true,
        owed: Owed::everything(),
        round: None,
        participants: ParticipantsLedger::default().view().clone(),
        config: None,
        history: Arc::default(),
        live_feed: PersistentVec::default(),
        schedule: BlockSchedule::default(),
        finality: Finality::default(),
        connection: ConnectionStatus {
            reachable: false,
            since_unix_ms: 9_000_500,
            problem: Some("node.example: refused".to_owned()),
        },
        operator: Arc::default(),
        actions: Arc::default(),
        reorgs_total: 0,
        genesis: None,
    }
}

/// Round 7 is running, with three players; rounds 6 to 3 are over: latest, safe, finalized, and out of reach.
pub fn snapshot() -> Snapshot {
    let bets = [(1, 5), (2, 10), (3, 3), (1, 2)].map(|(player, wei)| (address(player), cents(wei)));
    Snapshot {
        head: Some(BlockRef {
            number: 1_000,
            hash: H256::repeat_byte(0xaa),
            parent_hash: H256::repeat_byte(0xa9),
            timestamp: HEAD_TIME,
        }),
        syncing: false,
        owed: Owed {
            history: false,
            is_awaited: false,
            ..Owed::everything()
        },
        round: Some(round()),
        participants: ParticipantsLedger::from_bets(bets).view().clone(),
        config: Some(Arc::new(config())),
        history: Arc::new(vec![
            Arc::new(completed(6, 990)),
            Arc::new(refunded(5, 950)),
            Arc::new(completed(4, 900)),
            Arc::new(out_of_reach(3, 880)),
        ]),
        live_feed: every_event()
            .into_iter()
            .zip(980..)
            .map(|(event, block_number)| {
                let position = position(block_number, 4);
                LiveFeedItem::Event(Arc::new(EventRecord { event, position }))
            })
            .chain([LiveFeedItem::Alert(Arc::new(alert()))])
            .collect(),
        schedule: BlockSchedule {
            mean_spacing_secs: Some(12.0),
            least_to_next_secs: 12,
        },
        finality: Finality {
            safe_block: 960,
            finalized_block: 930,
        },
        connection: ConnectionStatus {
            reachable: true,
            since_unix_ms: 9_000_500,
            problem: None,
        },
        operator: Arc::new(operator()),
        actions: Arc::new(vec![Arc::new(action())]),
        reorgs_total: 2,
        genesis: Some(H256::repeat_byte(0x9e)),
        ..empty_snapshot()
    }
}

pub fn round() -> Round {
    Round {
        round_id: 7,
        state: RoundState::Betting,
        start_time: 9_900,
        end_time: 10_080,
        min_draw_time: 10_085,
        max_draw_time: 10_260,
        total_pot_wei: cents(20),
        participant_count: 3,
    }
}

pub fn config() -> ContractConfig {
    ContractConfig {
        publisher: address(0x0f),
        operator: address(0x0e),
        commission_bps: 500,
        min_bet_wei: U256::exp10(15),
        betting_duration_secs: 180,
        min_draw_delay_secs: 5,
        max_draw_delay_secs: 180,
        min_end_time_extension_secs: 60,
        min_participants: 2,
    }
}

/// A round that was drawn in `block_number` and passes the check.
pub fn completed(round_id: u64, block_number: u64) -> FinishedRound {
    let position = position(block_number, 1);
    let bet = |player, wei, total, log_index| Bet {
        player: address(player),
        amount_wei: cents(wei),
        new_total_wei: cents(total),
        position: self::position(block_number - 20, log_index),
    };
    let bets = vec![bet(1, 4, 4, 0), bet(2, 6, 10, 1)];
    let inputs = Inputs {
        timestamp: position.block_timestamp,
        prevrandao: H256::repeat_byte(0x5e),
        prevrandao_source: RandomnessSource::Opcode,
        number: block_number,
        number_source: NumberSource::Opcode,
    };
    let random_seed = inputs.seed(round_id, cents(10));
    let winner = winner_among(random_seed, cents(10), totals(&bets)).unwrap();
    FinishedRound {
        round_id,
        start_time: position.block_timestamp - 190,
        end_time: position.block_timestamp - 12,
        min_draw_time: position.block_timestamp - 7,
        max_draw_time: position.block_timestamp + 168,
        total_pot_wei: cents(10),
        participant_count: 2,
        outcome: Outcome::Completed {
            winner,
            winner_prize_wei: U256::exp10(15) * 95,
            publisher_commission_wei: U256::exp10(15) * 5,
            random_seed,
        },
        winner_total_wei: Some(if winner == address(1) {
            cents(4)
        } else {
            cents(6)
        }),
        proof: Proof {
            verdict: Verdict::Verified,
            inputs: Some(inputs),
            known_ahead: false,
            header_strays: false,
        },
        draw_delay: Some(DrawDelay {
            blocks: 1,
            secs: 7,
            reason: Some(LateReason::NotMined),
        }),
        position,
        bets,
    }
}

pub fn refunded(round_id: u64, block_number: u64) -> FinishedRound {
    FinishedRound {
        outcome: Outcome::Refunded {
            reason: "Insufficient participants".to_owned(),
        },
        winner_total_wei: None,
        proof: Proof::of_refund(Verdict::Verified),
        draw_delay: None,
        ..completed(round_id, block_number)
    }
}

/// A round whose bets and header the node does not tell any more.
fn out_of_reach(round_id: u64, block_number: u64) -> FinishedRound {
    FinishedRound {
        start_time: 0,
        end_time: 0,
        min_draw_time: 0,
        max_draw_time: 0,
        bets: Vec::new(),
        winner_total_wei: None,
        proof: Proof {
            verdict: Verdict::Unverifiable {
                why: "the bets are out of reach".to_owned(),
            },
            inputs: None,
            known_ahead: false,
            header_strays: false,
        },
        draw_delay: None,
        ..completed(round_id, block_number)
    }
}

pub fn alert() -> Alert {
    Alert {
        id: "alert-9999000-1".to_owned(),
        code: AlertCode::ActionFailed,
        subject: Subject::Round(6),
        severity: Severity::Critical,
        state: AlertState::Firing,
        message: "the draw of round 6 failed".to_owned(),
        since_unix_ms: 9_999_000,
        unix_ms: 9_999_000,
    }
}

pub fn operator() -> ShownOperator {
    let own = OperatorStatus {
        is_running: true,
        address: Some(address(0x0e)),
        key_loaded: true,
        phase: "waiting for draw window (starts in 85s)".to_owned(),
        current_round_id: Some(7),
        scheduled_draw_round_id: Some(7),
        scheduled_draw_due_at: Some(10_085),
        last_event_unix_ms: Some(9_990_700),
        last_draw_attempt_unix_ms: None,
        consecutive_draw_failures: 1,
        max_draw_retries: 3,
        watchdog_last_check_unix_ms: Some(9_999_999),
        in_flight: Some(InFlight {
            action: ActionKind::Draw,
            round_id: 6,
            nonce: 12,
            hashes: vec![H256::repeat_byte(0xcd)],
            attempts: 1,
        }),
        balance_wei: Some(cents(125)),
        rehearsal: Some(Rehearsal {
            round_id: 6,
            unix_ms: 9_940_000,
            ready: false,
            problems: vec!["the balance is low".to_owned()],
        }),
        held_up_by: Some(LateReason::Unforeseen),
    };
    ShownOperator {
        own,
        alerts: vec![Arc::new(alert())],
    }
}

pub fn action() -> ActionRecord {
    ActionRecord {
        id: "a-1".to_owned(),
        kind: ActionKind::Draw,
        round_id: 6,
        manual: true,
        state: ActionState::Done,
        attempts: 1,
        hashes: vec![H256::repeat_byte(0xcd)],
        block_number: Some(990),
        gas_used: Some(266_000),
        error: None,
        created_unix_ms: 9_980_000,
        updated_unix_ms: 9_990_000,
    }
}

pub fn every_event() -> Vec<LotteryEvent> {
    vec![
        LotteryEvent::BetPlaced {
            round_id: 7,
            player: address(1),
            amount_wei: cents(5),
            new_total_wei: cents(20),
        },
        LotteryEvent::BettingDurationUpdated {
            old_duration_secs: 180,
            new_duration_secs: 240,
        },
        LotteryEvent::EndTimeExtended {
            round_id: 7,
            old_end_time: 10_080,
            new_end_time: 10_140,
        },
        LotteryEvent::MinBetAmountUpdated {
            old_amount_wei: U256::exp10(15),
            new_amount_wei: U256::from(1),
        },
        LotteryEvent::MinParticipantsUpdated {
            old_min: 2,
            new_min: 3,
        },
        LotteryEvent::OperatorUpdated {
            old_operator: address(0x0d),
            new_operator: address(0x0e),
        },
        LotteryEvent::RoundCompleted {
            round_id: 6,
            winner: address(1),
            total_pot_wei: cents(10),
            participant_count: 2,
            winner_prize_wei: U256::exp10(15) * 95,
            publisher_commission_wei: U256::exp10(15) * 5,
            random_seed: U256::MAX,
        },
        LotteryEvent::RoundCreated {
            round_id: 7,
            start_time: 0,
            end_time: 0,
            min_draw_time: 0,
            max_draw_time: 0,
        },
        LotteryEvent::RoundRefunded {
            round_id: 5,
            total_refunded_wei: cents(300),
            participant_count: 1,
            reason: "Insufficient participants".to_owned(),
        },
        LotteryEvent::RoundStateChanged {
            round_id: 7,
            old_state: RoundState::Waiting,
            new_state: RoundState::Betting,
        },
        LotteryEvent::Withdrawn {
            to: address(0x0f),
            amount_wei: cents(100),
        },
    ]
}

/// Chain time as of `now` in `snapshot`, for views that are asked directly.
pub fn seen_at(snapshot: &mut Snapshot, now: Instant) {
    snapshot.chain_time = snapshot.head.map(|head| ChainTime {
        head_timestamp: head.timestamp,
        seen_at: now,
    });
}
