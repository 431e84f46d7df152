//! Whole rounds on a manual clock, against a node of a few lines: what is sent when, at which nonce and price, and what
//! becomes of it.

mod ahead;
mod crowds;
mod lateness;
mod node;
mod odd;
mod refunds;
mod restarts;
mod sending;
mod signing;
mod standby;
mod telling;

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{bounded, Receiver, Sender as Channel};
use serde_json::{json, Value};

use self::node::{Node, Quirk, SharedNode, CONTRACT};

use super::*;
use crate::actors::sender::SenderSettings;
use crate::base::clock::ChainTime;
use crate::chain::fees::{Fee, FeeLimits};
use crate::chain::key::OperatorKey;
use crate::chain::signer::Signer;
use crate::lottery::action::ActionRecord;
use crate::lottery::alert::{Alert, Subject};
use crate::lottery::command::CommandKind;
use crate::lottery::operator_status::ShownOperator;
use crate::lottery::participants::ParticipantsLedger;
use crate::lottery::round::ContractConfig;
use crate::lottery::snapshot::{BlockSchedule, ConnectionStatus, Publication};
use crate::lottery::state::{unread, Update};

/// The first public development key.
const KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const MIN: u64 = 1_000_100;
const MAX: u64 = 1_000_275;

struct Stage {
    settings: Settings,
    endpoints: Endpoints,
    node: SharedNode,
    clock: Clock,
    snapshot: SharedSnapshot,
    operator: Operator,
    updates: Receiver<Update>,
    commands: Channel<Command>,
    _publish: Channel<Arc<Publication>>,
    players: Vec<(Address, U256)>,
    round_id: u64,
    told: Vec<Update>,
    /// The store has its heads' times from an endpoint whose times are ahead of the node's.
    ahead_secs: u64,
}

fn settings() -> Settings {
    Settings {
        automatic: true,
        draw_check_interval: Duration::from_secs(10),
        policy: Policy {
            draw_retry_delay: Duration::from_secs(45),
            max_draw_retries: 3,
            extend_empty_rounds: true,
            standby_delay: Duration::ZERO,
        },
        rules: Rules {
            tx_timeout: Duration::from_secs(180),
            confirmations: 1,
        },
        max_spend_wei_per_day: U256::exp10(18),
        max_tx_fee_wei: U256::exp10(18),
        chain_id: node::CHAIN_ID,
        operator_address: None,
    }
}

type Started = (
    Operator,
    Receiver<Update>,
    Channel<Command>,
    Channel<Arc<Publication>>,
);

fn sender(signer: Signer, endpoints: &Endpoints, max_tx_fee_wei: U256) -> Sender {
    let settings = SenderSettings {
        contract: CONTRACT,
        chain_id: node::CHAIN_ID,
        limits: FeeLimits {
            max_fee_wei: U256::exp10(9) * 500,
            max_tx_fee_wei,
        },
        gas_multiplier: 1.25,
    };
    Sender::new(signer, endpoints.clone(), settings)
}

fn operator(
    settings: Settings,
    endpoints: &Endpoints,
    snapshot: &SharedSnapshot,
    clock: &Clock,
) -> Started {
    let (updates_in, updates) = bounded(10_000);
    let (commands, commands_out) = bounded(16);
    let (publish, publications) = bounded(16);
    let key = Signer::Key(OperatorKey::from_hex(KEY).unwrap());
    let sender = sender(key, endpoints, settings.max_tx_fee_wei);
    let operator = Operator::new(
        settings,
        Some(sender),
        endpoints.clone(),
        snapshot.clone(),
        publications,
        commands_out,
        updates_in,
        clock.clone(),
        Metrics::default(),
    );
    (operator, updates, commands, publish)
}

impl Stage {
    /// A head two minutes before the window, with three players.
    fn new(change: impl FnOnce(&mut Node)) -> Stage {
        Stage::with(settings(), change)
    }

    fn with(settings: Settings, change: impl FnOnce(&mut Node)) -> Stage {
        Stage::before(settings, change, vec![None])
    }

    /// With so many endpoints, each of which shows the node in its own way.
    fn before(
        settings: Settings,
        change: impl FnOnce(&mut Node),
        quirks: Vec<Option<Quirk>>,
    ) -> Stage {
        let key = OperatorKey::from_hex(KEY).unwrap();
        let node = SharedNode::new(key.address(), MIN - 60, change);
        let clock = Clock::manual(5_000_000);
        let endpoints = node.endpoints_of(&clock, quirks);
        let snapshot = SharedSnapshot::new(Arc::new(unread()));
        let (operator, updates, commands, publish) =
            operator(settings, &endpoints, &snapshot, &clock);
        let amount = U256::exp10(15);
        let mut stage = Stage {
            settings,
            endpoints,
            node,
            clock,
            snapshot,
            operator,
            updates,
            commands,
            _publish: publish,
            players: (1..=3)
                .map(|id| (Address::repeat_byte(id), amount))
                .collect(),
            round_id: 7,
            told: Vec::new(),
            ahead_secs: 0,
        };
        stage.turn();
        stage
    }

    /// The daemon is started anew: of what it knew the chain alone is left.
    fn restart(&mut self) {
        let clock = &self.clock;
        (self.operator, self.updates, self.commands, self._publish) =
            operator(self.settings, &self.endpoints, &self.snapshot, clock);
        self.told.clear();
        self.turn();
    }

    fn round(&self) -> Round {
        let sum = |sum: U256, (_, wei): &(Address, U256)| sum + wei;
        let is_running = self.node.with(|node| node.ended_by.is_none()) && self.round_id == 7;
        let shift = (self.round_id - 7) * 1_000;
        Round {
            round_id: if is_running { 7 } else { self.round_id.max(8) },
            state: match is_running || self.round_id > 8 {
                true => RoundState::Betting,
                false => RoundState::Waiting,
            },
            start_time: MIN - 185 + shift,
            end_time: MIN - 5 + shift,
            min_draw_time: MIN + shift,
            max_draw_time: MAX + shift,
            total_pot_wei: self.players.iter().fold(U256::zero(), sum),
            participant_count: self.players.len() as u64,
        }
    }

    /// The store has read the node's newest block.
    fn read(&self) {
        let mut snapshot = (*self.snapshot.load()).clone();
        let mut head = self.node.with(|node| node.head());
        head.timestamp += self.ahead_secs;
        if snapshot.head.map(|known| known.hash) != Some(head.hash) {
            snapshot.chain_time = Some(ChainTime {
                head_timestamp: head.timestamp,
                seen_at: self.clock.now(),
            });
        }
        snapshot.head = Some(head);
        snapshot.syncing = false;
        let cursor = self.node.with(|node| node.cursor());
        snapshot.schedule = BlockSchedule {
            mean_spacing_secs: Some(cursor.mean_spacing_secs().unwrap_or(2.0)),
            least_to_next_secs: cursor.least_to_next_secs().unwrap_or(2),
        };
        snapshot.round = Some(self.round());
        let ledger = ParticipantsLedger::from_bets(self.players.iter().copied());
        snapshot.participants = ledger.view().clone();
        snapshot.config = Some(Arc::new(ContractConfig {
            publisher: Address::repeat_byte(0xee),
            operator: self.node.with(|node| node.operator),
            commission_bps: 250,
            min_bet_wei: U256::one(),
            betting_duration_secs: 180,
            min_draw_delay_secs: 5,
            max_draw_delay_secs: 180,
            min_end_time_extension_secs: 60,
            min_participants: 2,
        }));
        let told = self.told.iter().rev().find_map(|update| match update {
            Update::Operator(status) => Some(status.clone()),
            _ => None,
        });
        let own = told.map_or_else(Default::default, |status| (*status).clone());
        snapshot.operator = Arc::new(ShownOperator {
            own,
            alerts: Vec::new(),
        });
        self.snapshot.swap(Arc::new(snapshot));
    }

    /// Turns until the operator has nothing more to do now.
    fn turn(&mut self) {
        for _ in 0..50 {
            self.read();
            let wake = self.operator.turn(self.clock.now()).unwrap();
            self.told.extend(self.updates.try_iter());
            if wake > self.clock.now() {
                return;
            }
        }
        panic!("the operator turns without end");
    }

    /// Time passes without a block.
    fn pass(&mut self, secs: u64) {
        for _ in 0..secs {
            self.clock.advance(Duration::from_secs(1));
            self.turn();
        }
    }

    /// Two seconds, and a block with what the pool has.
    fn block(&mut self) {
        self.clock.advance(Duration::from_secs(2));
        self.node.with(|node| node.mine(2));
        self.turn();
    }

    /// Blocks until the head has this time.
    fn until(&mut self, timestamp: u64) {
        while self.node.with(|node| node.head().timestamp) < timestamp {
            self.block();
        }
    }

    fn sent(&self) -> Vec<node::Sent> {
        self.node.with(|node| node.sent.clone())
    }

    fn mined(&self) -> Vec<(ActionKind, bool)> {
        self.node.with(|node| node.mined.clone())
    }

    fn alerts(&self) -> Vec<Arc<Alert>> {
        let told = self.told.iter().filter_map(|update| match update {
            Update::Alerts(change) => Some(&change.news),
            _ => None,
        });
        told.flatten().cloned().collect()
    }

    fn alert_codes(&self) -> Vec<String> {
        let of = |alert: &Arc<Alert>| format!("{} {}", alert.code.label(), alert.state.label());
        self.alerts().iter().map(of).collect()
    }

    fn records(&self) -> Vec<Arc<ActionRecord>> {
        let told = self.told.iter().filter_map(|update| match update {
            Update::Action(record) => Some(record.clone()),
            _ => None,
        });
        told.collect()
    }

    fn phase(&self) -> String {
        self.operator.reporter.status.phase.clone()
    }
}

fn error(code: i64, message: &str) -> Value {
    json!({"code": code, "message": message})
}

#[test]
fn a_draw_is_sent_at_the_head_that_allows_it_in_two_round_trips() {
    let mut stage = Stage::new(|_| {});
    stage.until(MIN - 4);
    assert!(stage.sent().is_empty());
    let before = stage.node.round_trips();
    stage.block();
    assert_eq!(stage.sent().len(), 1);
    let trips = stage.node.round_trips() - before;
    assert_eq!(
        trips, 2,
        "the preflight in one round trip, the sending in another"
    );
    let draw = &stage.sent()[0];
    assert_eq!((draw.kind, draw.nonce), (ActionKind::Draw, 5));
    stage.block();
    assert_eq!(stage.mined(), [(ActionKind::Draw, true)]);
    let last = stage.records().last().unwrap().clone();
    assert_eq!(
        (last.state, last.kind),
        (ActionState::Done, ActionKind::Draw)
    );
    assert!(stage.operator.in_flight().is_none());
    stage.until(MIN + 20);
    assert_eq!(stage.sent().len(), 1, "and nothing after it");
    assert_eq!(stage.alert_codes(), Vec::<String>::new());
}

#[test]
fn what_is_not_mined_is_sent_again_and_outbid_at_the_same_nonce_and_the_refund_takes_it_over() {
    let mut stage = Stage::new(|node| node.holds_back = true);
    stage.until(MAX - 1);
    let draws = stage.sent();
    let mut variants: Vec<_> = draws.iter().map(|sent| sent.hash).collect();
    variants.dedup();
    assert!(variants.len() >= 7, "{} variants", variants.len());
    assert!(draws
        .iter()
        .all(|sent| sent.nonce == 5 && sent.kind == ActionKind::Draw));
    assert!(
        draws.len() > variants.len(),
        "the same bytes go out in between"
    );
    for pair in draws.windows(2).filter(|pair| pair[0].hash != pair[1].hash) {
        assert!(pair[1].fee.outbids(&pair[0].fee), "{pair:?}");
    }
    stage.until(MAX + 2);
    let last = stage.sent().last().unwrap().clone();
    assert_eq!((last.kind, last.nonce), (ActionKind::RefundExpired, 5));
    stage.node.with(|node| node.holds_back = false);
    stage.until(MAX + 6);
    assert_eq!(stage.mined(), [(ActionKind::RefundExpired, true)]);
    assert!(stage
        .alert_codes()
        .contains(&"refund_sent firing".to_owned()));
    assert!(stage
        .alert_codes()
        .contains(&"draw_missed firing".to_owned()));
}

#[test]
fn a_reorg_that_takes_the_draw_back_brings_the_same_bytes_again() {
    let mut stage = Stage::new(|_| {});
    stage.until(MIN);
    assert_eq!(stage.mined(), [(ActionKind::Draw, true)]);
    let sent = stage.sent();
    stage.node.with(|node| node.reorg(1));
    stage.turn();
    let again = stage.sent();
    assert_eq!(again.len(), sent.len() + 1);
    assert_eq!(again.last(), sent.last());
    stage.block();
    assert_eq!(stage.mined().last(), Some(&(ActionKind::Draw, true)));
    assert_eq!(stage.sent().len(), again.len());
}

#[test]
fn a_draw_that_another_branch_mines_in_vain_is_drawn_anew_at_the_next_block() {
    let mut stage = Stage::new(|_| {});
    stage.until(MIN);
    assert_eq!(stage.mined(), [(ActionKind::Draw, true)]);
    stage.node.with(|node| {
        node.draw_reverts = 1;
        node.reorg_of_what_was_mined();
    });
    assert_eq!(stage.mined(), [(ActionKind::Draw, false)]);
    stage.turn();
    stage.block();
    assert_eq!(
        stage.mined(),
        [(ActionKind::Draw, false), (ActionKind::Draw, true)]
    );
}

#[test]
fn a_draw_that_another_branch_spends_on_the_round_before_holds_up_nothing() {
    let mut stage = Stage::new(|_| {});
    stage.until(MIN + 2);
    assert_eq!(stage.mined(), [(ActionKind::Draw, true)]);
    // It was sent for this round, and a reorg brought back the one before, which it has ended: this one still runs.
    stage.node.with(|node| {
        node.ended_by = None;
        node.window = (MIN + 40, MAX + 40);
    });
    stage.until(MIN + 42);
    let twice = [(ActionKind::Draw, true), (ActionKind::Draw, true)];
    assert_eq!(stage.mined(), twice);
}

#[test]
fn a_chain_that_takes_no_dynamic_fees_gets_legacy_ones_at_the_same_nonce() {
    let mut stage = Stage::new(|node| {
        node.refuse(|sent| match sent.fee {
            Fee::Dynamic { .. } => Some("transaction type not supported".to_owned()),
            Fee::Legacy { .. } => None,
        });
    });
    stage.until(MIN);
    let sent = stage.sent();
    assert_eq!(sent.len(), 2, "one refused, one taken");
    let price = Fee::Legacy {
        gas_price_wei: U256::from(2_500_000_000u64),
    };
    assert_eq!((sent[1].fee, sent[1].nonce), (price, 5));
    assert_eq!(stage.mined(), [(ActionKind::Draw, true)]);
}

#[test]
fn gas_that_is_refused_as_too_little_is_at_least_doubled_for_cancels_too() {
    let mut stage = Stage::new(|node| {
        node.refuse(|sent| {
            (sent.gas_limit < 1_000_000).then(|| "intrinsic gas too low: have 1".to_owned())
        });
    });
    stage.until(MIN);
    let gas: Vec<u64> = stage.sent().iter().map(|sent| sent.gas_limit).collect();
    assert!(gas.windows(2).all(|pair| pair[1] >= 2 * pair[0]), "{gas:?}");
    assert_eq!(stage.mined(), [(ActionKind::Draw, true)]);

    // A draw is out when somebody refunds the round: it is taken back, whatever the chain wants for that.
    let mut stage = Stage::new(|node| node.holds_back = true);
    stage.until(MIN);
    stage.node.with(|node| {
        node.ended_by = Some(ActionKind::RefundExpired);
        node.refuse(|sent| {
            let is_little = sent.kind == ActionKind::Cancel && sent.gas_limit < 400_000;
            is_little.then(|| "intrinsic gas too low".to_owned())
        });
    });
    stage.until(MIN + 4);
    stage.node.with(|node| node.holds_back = false);
    stage.until(MIN + 40);
    assert_eq!(stage.mined(), [(ActionKind::Cancel, true)]);
    assert!(stage.operator.in_flight().is_none());
}

#[test]
fn an_action_that_no_node_took_is_let_go_with_its_round() {
    let mut stage = Stage::new(|node| node.refuse(|_| Some("invalid sender".to_owned())));
    stage.until(MIN + 4);
    assert!(stage.operator.in_flight().is_some());
    stage
        .node
        .with(|node| node.ended_by = Some(ActionKind::RefundExpired));
    stage.block();
    assert!(stage.operator.in_flight().is_none());
}

#[test]
fn a_refusal_for_funds_lowers_the_offer_until_they_suffice() {
    let mut stage = Stage::new(|node| {
        // A fee for data that no estimate shows: half the balance is not there for gas.
        node.balance_wei = U256::from(900_000_000_000_000u64);
        node.refuse(|sent| {
            let worst = sent.fee.cap_wei() * U256::from(sent.gas_limit);
            let affordable = U256::from(450_000_000_000_000u64);
            (worst > affordable).then(|| "insufficient funds for gas * price + value".to_owned())
        });
    });
    stage.until(MIN);
    assert_eq!(stage.mined(), [(ActionKind::Draw, true)]);
    let caps: Vec<U256> = stage.sent().iter().map(|sent| sent.fee.cap_wei()).collect();
    assert!(
        caps.len() > 1 && caps.windows(2).all(|pair| pair[1] < pair[0]),
        "{caps:?}"
    );
    let gwei = U256::exp10(9);
    assert!(
        *caps.last().unwrap() >= gwei,
        "not below the base fee: {caps:?}"
    );
}

#[test]
fn the_least_that_a_refusal_names_is_offered_next() {
    let least = U256::from(25_000_000_000u64);
    let mut stage = Stage::new(move |node| {
        node.refuse(move |sent| match sent.fee {
            Fee::Dynamic { tip_wei, .. } if tip_wei < least => Some(format!(
                "transaction underpriced: tip needed {least}, tip permitted {tip_wei}"
            )),
            _ => None,
        });
    });
    stage.until(MIN);
    assert_eq!(stage.sent().len(), 2);
    assert_eq!(stage.mined(), [(ActionKind::Draw, true)]);
}

#[test]
fn above_the_cap_nothing_is_signed_that_would_not_take_the_place_of_what_is_out() {
    let mut stage = Stage::new(|node| {
        node.base_fee_wei = U256::exp10(9) * 490;
        node.holds_back = true;
    });
    stage.until(MIN + 100);
    let sent = stage.sent();
    let mut hashes: Vec<_> = sent.iter().map(|sent| sent.hash).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 1, "{} sendings", sent.len());
    assert!(sent.len() > 40, "it is sent again at each head");
    assert_eq!(stage.operator.in_flight().unwrap().hashes.len(), 1);
}

#[test]
fn a_draw_whose_block_came_too_early_accuses_nobody_and_is_sent_again() {
    let mut stage = Stage::new(|node| node.holds_back = true);
    stage.until(MIN - 2);
    assert_eq!(stage.sent().len(), 1);
    // The next block comes after one second, though all came after two.
    stage.clock.advance(Duration::from_secs(1));
    stage.node.with(|node| {
        node.holds_back = false;
        node.mine(1);
    });
    stage.turn();
    assert_eq!(stage.mined(), [(ActionKind::Draw, false)]);
    stage.until(MIN + 6);
    assert_eq!(
        stage.mined(),
        [(ActionKind::Draw, false), (ActionKind::Draw, true)]
    );
    assert_eq!(stage.alert_codes(), Vec::<String>::new());
    assert_eq!(stage.operator.reporter.status.consecutive_draw_failures, 0);
}

#[test]
fn receipts_that_cannot_be_read_hold_up_nothing() {
    let mut stage = Stage::new(|node| {
        node.fail(
            "eth_getTransactionReceipt",
            error(-32000, "transaction indexing is in progress"),
        );
    });
    stage.until(MIN + 8);
    assert_eq!(stage.mined(), [(ActionKind::Draw, true)]);
    assert!(stage.operator.in_flight().is_none());
    let last = stage.records().last().unwrap().clone();
    assert_eq!(last.state, ActionState::Done);
    // And the next round is drawn with the next nonce.
    stage.round_id = 9;
    stage
        .node
        .with(|node| (node.ended_by, node.window) = (None, (MIN + 2_000, MAX + 2_000)));
    stage
        .node
        .with(|node| node.mine(MIN + 1_990 - node.head().timestamp));
    stage.turn();
    stage.until(MIN + 2_004);
    assert_eq!(stage.sent().last().unwrap().nonce, 6);
    assert_eq!(stage.mined().len(), 2);
}

#[test]
fn what_a_draw_can_do_without_may_fail_altogether() {
    for method in [
        "eth_getBalance",
        "eth_estimateGas",
        "eth_feeHistory",
        "eth_maxPriorityFeePerGas",
        "eth_gasPrice",
        "eth_getCode",
        "eth_getTransactionReceipt",
    ] {
        let mut stage = Stage::new(|node| node.fail(method, error(-32603, "Internal error")));
        stage.until(MIN + 4);
        assert_eq!(stage.mined(), [(ActionKind::Draw, true)], "{method}");
    }
}

#[test]
fn a_chain_on_demand_whose_pending_block_is_its_latest_gets_its_draw() {
    for (is_known, takes_times) in [(true, true), (false, true), (true, false), (false, false)] {
        let mut stage = Stage::new(|node| {
            node.ignores_times = !takes_times;
            if !is_known {
                node.fail("pending", error(-32601, "pending is not supported"));
            }
        });
        let case = format!("pending known: {is_known}, times: {takes_times}");
        stage.until(MIN - 20);
        stage.pass(19);
        assert_eq!(stage.sent().len(), 0, "{case}");
        stage.pass(1);
        assert_eq!(stage.sent().len(), 1, "{case}");
    }
}

#[test]
fn a_pending_transaction_of_the_key_is_taken_up_at_a_start() {
    let mut first = Stage::new(|node| node.holds_back = true);
    first.until(MIN + 2);
    let out = first.operator.in_flight().unwrap();
    let node = first.node.clone();
    let second = Stage::new(|_| {});
    let mut second = Stage {
        operator: second.operator,
        ..second
    };
    second.adopt(node);
    second.turn();
    let known = second.operator.in_flight().unwrap();
    assert_eq!((known.nonce, known.action), (out.nonce, ActionKind::Draw));
    assert_eq!(known.hashes, [*out.hashes.last().unwrap()]);
    // The bytes are the same ones, so it can be sent again.
    let raw = second
        .operator
        .flight
        .as_ref()
        .unwrap()
        .state
        .newest()
        .unwrap();
    assert!(!raw.raw.is_empty());
}

#[test]
fn a_second_command_is_refused_and_what_is_out_stays_known() {
    let mut stage = Stage::new(|node| node.holds_back = true);
    stage.until(MIN);
    let out = stage.operator.in_flight();
    assert!(out.is_some());
    let command = Command {
        action_id: "second".to_owned(),
        round_id: 7,
        kind: CommandKind::Refund { force: true },
    };
    stage.commands.send(command).unwrap();
    stage.turn();
    assert_eq!(stage.operator.in_flight(), out);
    let record = stage
        .records()
        .into_iter()
        .rfind(|record| record.id == "second")
        .unwrap();
    assert_eq!(record.state, ActionState::Failed);
    assert!(
        record.error.as_ref().unwrap().contains("in flight"),
        "{record:?}"
    );
}

impl Stage {
    fn connection(&self, reachable: bool, since_unix_ms: u64) {
        let mut snapshot = (*self.snapshot.load()).clone();
        snapshot.connection = ConnectionStatus {
            reachable,
            since_unix_ms,
            problem: None,
        };
        self.snapshot.swap(Arc::new(snapshot));
    }

    /// A new operator on another stage's node.
    fn adopt(&mut self, node: SharedNode) {
        let endpoints = node.endpoints(&self.clock);
        let key = Signer::Key(OperatorKey::from_hex(KEY).unwrap());
        self.operator.sender = Some(sender(key, &endpoints, U256::exp10(18)));
        self.operator.endpoints = endpoints;
        self.operator.recovery = Recovery::default();
        self.node = node;
    }
}
