//! Lotteries played by the contract's rules add up, whatever happens in them; changed in any one thing they do not, and
//! what was changed is named.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::chain::types::H256;
use crate::lottery::event::LogPosition;
use crate::lottery::history::FinishFacts;
use crate::lottery::proof::{
    winner_among, DrawBlock, HeaderValues, Inputs, NumberSource, RandomnessSource,
};
use crate::lottery::round::{RoundState, RoundTimes};

const RATE_BPS: u64 = 250;

fn config() -> ContractConfig {
    ContractConfig {
        publisher: Address::from_low_u64_be(0xf0),
        operator: operator(),
        commission_bps: RATE_BPS,
        min_bet_wei: U256::from(10),
        betting_duration_secs: 180,
        min_draw_delay_secs: 5,
        max_draw_delay_secs: 180,
        min_end_time_extension_secs: 60,
        min_participants: 2,
    }
}

fn operator() -> Address {
    Address::from_low_u64_be(0xe0)
}

/// How a played round goes: who bets how much, and whether it is drawn or refunded.
type Play = (Vec<(u64, u64)>, bool);

/// What the contract logs, one event a block.
#[derive(Default)]
struct Chain {
    events: Vec<LoggedEvent>,
}

impl Chain {
    fn log(&mut self, event: LotteryEvent) {
        let number = self.events.len() as u64 + 1;
        let mix_hash = H256::from_low_u64_be(number) ^ H256::repeat_byte(0x5a);
        let finish = event.ended_round().map(|_| FinishFacts {
            block: DrawBlock {
                opcodes: None,
                header: Some(HeaderValues {
                    number,
                    mix_hash: Some(mix_hash),
                    difficulty: Some(U256::zero()),
                    l1_block_number: None,
                }),
            },
            times: None,
            first_allowed: Some((number, 1_000 + number)),
            held_up_by: None,
        });
        let position = LogPosition {
            block_number: number,
            block_hash: H256::from_low_u64_be(number),
            block_timestamp: 1_000 + number,
            transaction_hash: H256::from_low_u64_be(number),
            transaction_index: 0,
            log_index: 0,
        };
        self.events.push(LoggedEvent {
            record: Arc::new(EventRecord { event, position }),
            finish: finish.map(Box::new),
        });
    }

    fn play(plays: &[Play]) -> Chain {
        let mut chain = Chain::default();
        for (index, (bets, is_drawn)) in plays.iter().enumerate() {
            let round_id = index as u64 + 1;
            chain.log(LotteryEvent::RoundStateChanged {
                round_id,
                old_state: RoundState::Waiting,
                new_state: RoundState::Betting,
            });
            let mut pot = U256::zero();
            let mut players: Vec<(Address, U256)> = Vec::new();
            for (player, wei) in bets {
                let (player, amount_wei) = (Address::from_low_u64_be(*player), U256::from(*wei));
                pot += amount_wei;
                match players.iter_mut().find(|(known, _)| *known == player) {
                    Some((_, total)) => *total += amount_wei,
                    None => players.push((player, amount_wei)),
                }
                chain.log(LotteryEvent::BetPlaced {
                    round_id,
                    player,
                    amount_wei,
                    new_total_wei: pot,
                });
            }
            chain.end(round_id, pot, players, *is_drawn);
            chain.log(LotteryEvent::RoundCreated {
                round_id: round_id + 1,
                start_time: 0,
                end_time: 0,
                min_draw_time: 0,
                max_draw_time: 0,
            });
        }
        chain
    }

    fn end(&mut self, round_id: u64, pot: U256, players: Vec<(Address, U256)>, is_drawn: bool) {
        let participant_count = players.len() as u64;
        if !is_drawn {
            return self.log(LotteryEvent::RoundRefunded {
                round_id,
                total_refunded_wei: pot,
                participant_count,
                reason: "Operator-initiated refund".to_owned(),
            });
        }
        let number = self.events.len() as u64 + 1;
        let seen = Inputs {
            timestamp: 1_000 + number,
            prevrandao: H256::from_low_u64_be(number) ^ H256::repeat_byte(0x5a),
            prevrandao_source: RandomnessSource::MixHash,
            number,
            number_source: NumberSource::Number,
        };
        let random_seed = seen.seed(round_id, pot);
        let commission = pot * RATE_BPS / 10_000;
        self.log(LotteryEvent::RoundCompleted {
            round_id,
            winner: winner_among(random_seed, pot, players).unwrap(),
            total_pot_wei: pot,
            participant_count,
            winner_prize_wei: pot - commission,
            publisher_commission_wei: commission,
            random_seed,
        });
    }

    /// Changes the event at `index`.
    fn change(&mut self, index: usize, change: impl FnOnce(&mut LotteryEvent)) {
        let mut record = (*self.events[index].record).clone();
        change(&mut record.event);
        self.events[index].record = Arc::new(record);
    }

    fn find(&self, is_it: impl Fn(&LotteryEvent) -> bool) -> usize {
        self.events
            .iter()
            .position(|event| is_it(&event.record.event))
            .unwrap()
    }

    fn audit(&self) -> Audit {
        self.audit_with_rows().0
    }

    fn audit_with_rows(&self) -> (Audit, Vec<Row>) {
        let mut audit = Audit::new(&config(), 1);
        let rows = self
            .events
            .iter()
            .filter_map(|event| audit.take(event, sender_of(event, operator())));
        let rows = rows.collect();
        audit.close(&config());
        (audit, rows)
    }
}

fn sender_of(event: &LoggedEvent, account: Address) -> Option<Sender> {
    let is_end = event.record.event.ended_round().is_some();
    is_end.then_some(Sender {
        account,
        is_caller: true,
    })
}

fn three_rounds() -> Chain {
    Chain::play(&[
        (vec![(1, 100), (2, 200)], true),
        (vec![(1, 50), (1, 60)], false),
        (vec![(3, 1_000), (1, 10), (2, 15)], true),
    ])
}

fn problems(audit: &Audit) -> Vec<String> {
    let told = audit.findings().iter();
    told.map(|finding| format!("{:?} {}", finding.round_id, finding.problem))
        .collect()
}

#[test]
fn an_honest_lottery_adds_up_to_the_wei() {
    let audit = three_rounds().audit();
    assert_eq!(problems(&audit), Vec::<String>::new());
    let account = audit.summary();
    assert_eq!(
        (
            account.rounds,
            account.drawn,
            account.refunded,
            account.bets,
            account.players
        ),
        (3, 2, 1, 7, 3)
    );
    // 300 and 1025 drawn, 110 refunded; 7 and 25 commission.
    assert_eq!(account.bet_wei, U256::from(1_435));
    assert_eq!(account.refunded_wei, U256::from(110));
    assert_eq!(account.commission_wei, U256::from(32));
    assert_eq!(account.prizes_wei, U256::from(1_293));
    assert_eq!(
        (audit.balance_wei(), audit.pending_wei()),
        (U256::from(32), U256::from(32))
    );
    assert_eq!((account.verified, account.first_block_draws), (3, 2));
    assert_eq!(account.ended_by, BTreeMap::from([(operator(), 3)]));
    assert_eq!(account.uniformity.unwrap().samples, 2);
    let held: Vec<u64> = audit.held().iter().map(|held| held.wei.as_u64()).collect();
    assert_eq!(held, [7, 7, 32]);
}

fn is_draw(event: &LotteryEvent) -> bool {
    matches!(event, LotteryEvent::RoundCompleted { .. })
}

/// The audit of the chain finds this among others.
fn named(chain: Chain, named: &str) {
    let problems = problems(&chain.audit());
    assert!(
        problems.iter().any(|problem| problem.contains(named)),
        "{named}: {problems:?}"
    );
}

fn changed(index: usize, change: fn(&mut LotteryEvent)) -> Chain {
    let mut chain = three_rounds();
    chain.change(index, change);
    chain
}

#[test]
fn what_was_changed_in_a_draw_is_named() {
    let draw = three_rounds().find(is_draw);
    let commission = changed(draw, |event| {
        if let LotteryEvent::RoundCompleted {
            publisher_commission_wei,
            winner_prize_wei,
            ..
        } = event
        {
            *publisher_commission_wei += U256::one();
            *winner_prize_wei -= U256::one();
        }
    });
    named(
        commission,
        "Some(1) the commission is 8 wei, 7 wei were due",
    );
    let seed = changed(draw, |event| {
        if let LotteryEvent::RoundCompleted { random_seed, .. } = event {
            *random_seed ^= U256::one();
        }
    });
    named(
        seed,
        "Some(1) unverifiable: the state of the draw's block is out of reach",
    );
    let mut early = three_rounds();
    let facts = early.events[draw].finish.as_mut().unwrap();
    facts.times = Some(RoundTimes {
        round_id: 1,
        start_time: 1_000,
        end_time: 1_180,
        min_draw_time: 1_185,
        max_draw_time: 1_360,
    });
    named(
        early,
        "Some(1) it was drawn at 1004, its logs allow that from 1185 to 1360 alone",
    );
}

#[test]
fn what_was_changed_in_bets_and_in_the_order_of_ends_is_named() {
    let bet = three_rounds().find(|event| matches!(event, LotteryEvent::BetPlaced { .. }));
    let mut missing = three_rounds();
    missing.events.remove(bet);
    named(
        missing,
        "Some(1) unverifiable: the known bets add up to 200 wei, the pot is 300 wei",
    );
    let small = changed(bet, |event| {
        if let LotteryEvent::BetPlaced { amount_wei, .. } = event {
            *amount_wei = U256::from(9);
        }
    });
    named(small, "Some(1) a bet of 9 wei, while 10 wei were the least");
    let refund = three_rounds().find(|event| matches!(event, LotteryEvent::RoundRefunded { .. }));
    let mut skipped = three_rounds();
    skipped.events.remove(refund);
    named(skipped, "Some(3) it ended where round 2 had to end next");
    let mut twice = three_rounds();
    let again = twice.events[refund].clone();
    twice.events.insert(refund, again);
    named(twice, "Some(2) it ended where round 3 had to end next");
}

#[test]
fn what_only_the_operator_may_send_is_named_when_somebody_else_did() {
    let stranger = Address::from_low_u64_be(0xbad);
    let problems_of = |is_caller| {
        let mut audit = Audit::new(&config(), 1);
        for event in &three_rounds().events {
            let sender = sender_of(event, stranger);
            audit.take(
                event,
                sender.map(|sender| Sender {
                    is_caller,
                    ..sender
                }),
            );
        }
        audit.close(&config());
        assert_eq!(audit.summary().ended_by, BTreeMap::from([(stranger, 3)]));
        problems(&audit)
    };
    let found = problems_of(true);
    for named in [
        "sent a draw, while",
        "sent a refund that only the operator may send, while",
    ] {
        assert!(
            found.iter().any(|problem| problem.contains(named)),
            "{named}: {found:?}"
        );
    }
    // Of a contract that operates, another account's transaction says nothing.
    assert_eq!(problems_of(false), [""; 0]);
}

#[test]
fn the_digest_of_all_logs_is_the_same_wherever_the_reading_began_and_tells_each_change() {
    let chain = three_rounds();
    let begun = chain.find(|event| matches!(event, LotteryEvent::BetPlaced { round_id: 2, .. }));
    let digests = |from: usize, first_round: u64, changed: Option<usize>| {
        let mut audit = Audit::new(&config(), first_round);
        let read = chain.events.iter().enumerate().skip(from);
        let rows = read.filter_map(|(index, event)| {
            let bit = u64::from(changed == Some(index));
            audit.chain(
                &event.record.event,
                H256::from_low_u64_be(2 * index as u64 + bit),
            );
            audit.take(event, None)
        });
        rows.map(|row| (row.round_id, row.logs_digest))
            .collect::<Vec<_>>()
    };
    let honest = digests(0, 1, None);
    assert_eq!(honest.len(), 3);
    // Round 2 begins with a change of its state; what comes before is not of it.
    let of_second = digests(0, 2, None);
    assert_eq!(of_second, digests(begun - 1, 2, None));
    assert_ne!(of_second[0], honest[1]);
    let changed = digests(0, 1, Some(begun));
    assert_eq!(changed[0], honest[0]);
    assert!(changed[1] != honest[1] && changed[2] != honest[2]);
}

proptest! {
    /// However it is played, it adds up, and an audit that is put down and taken up again ends the same.
    #[test]
    fn random_rounds_add_up_and_an_audit_can_be_resumed(
        plays in proptest::collection::vec(
            (proptest::collection::vec((1..9u64, 10..1_000u64), 1..8), any::<bool>()), 1..12),
        cut in any::<usize>(),
    ) {
        let chain = Chain::play(&plays);
        let (whole, all) = chain.audit_with_rows();
        prop_assert_eq!(problems(&whole), Vec::<String>::new());
        prop_assert_eq!(all.len(), plays.len());
        prop_assert_eq!(whole.rounds(), all.len() as u64);
        prop_assert_eq!(whole.balance_wei(), whole.pending_wei());

        let (mut audit, mut rows) = (Audit::new(&config(), 1), Vec::new());
        for (index, event) in chain.events.iter().enumerate() {
            if index == cut % chain.events.len() {
                let text = serde_json::to_string(&audit).unwrap();
                audit = serde_json::from_str(&text).unwrap();
            }
            rows.extend(audit.take(event, sender_of(event, operator())));
        }
        audit.close(&config());
        prop_assert_eq!(problems(&audit), Vec::<String>::new());
        prop_assert_eq!(rows, all);
        prop_assert_eq!(serde_json::to_value(audit.summary()).unwrap(), serde_json::to_value(whole.summary()).unwrap());
    }
}
