//! A short history keeps the rules; whatever is changed in it or left out of it breaks one, and is named.

use super::*;
use crate::lottery::event::LogPosition;

const PLAYER: u64 = 0xabc;

fn config() -> ContractConfig {
    ContractConfig {
        publisher: Address::from_low_u64_be(0xf0),
        operator: Address::from_low_u64_be(0xe0),
        commission_bps: 250,
        min_bet_wei: U256::from(10),
        betting_duration_secs: 180,
        min_draw_delay_secs: 5,
        max_draw_delay_secs: 100,
        min_end_time_extension_secs: 60,
        min_participants: 2,
    }
}

/// A transaction a block, each with all that it logs.
fn history() -> Vec<EventRecord> {
    let bet = |round_id, wei: u64, total: u64| LotteryEvent::BetPlaced {
        round_id,
        player: Address::from_low_u64_be(PLAYER + wei),
        amount_wei: U256::from(wei),
        new_total_wei: U256::from(total),
    };
    let change = |round_id, old_state, new_state| LotteryEvent::RoundStateChanged {
        round_id,
        old_state,
        new_state,
    };
    let created = |round_id| LotteryEvent::RoundCreated {
        round_id,
        start_time: 0,
        end_time: 0,
        min_draw_time: 0,
        max_draw_time: 0,
    };
    let refunded =
        |round_id, total: u64, participant_count, reason: &str| LotteryEvent::RoundRefunded {
            round_id,
            total_refunded_wei: U256::from(total),
            participant_count,
            reason: reason.to_owned(),
        };
    use RoundState::{Betting, Completed, Drawing, Refunded, Waiting};
    let transactions = [
        (1_000, vec![change(1, Waiting, Betting), bet(1, 10, 10)]),
        (1_100, vec![bet(1, 20, 30)]),
        (
            1_185,
            vec![
                change(1, Drawing, Completed),
                LotteryEvent::RoundCompleted {
                    round_id: 1,
                    winner: Address::from_low_u64_be(PLAYER),
                    total_pot_wei: U256::from(30),
                    participant_count: 2,
                    winner_prize_wei: U256::from(30),
                    publisher_commission_wei: U256::zero(),
                    random_seed: U256::one(),
                },
                created(2),
            ],
        ),
        (
            1_190,
            vec![LotteryEvent::MinParticipantsUpdated {
                old_min: 2,
                new_min: 3,
            }],
        ),
        (
            1_191,
            vec![LotteryEvent::BettingDurationUpdated {
                old_duration_secs: 180,
                new_duration_secs: 240,
            }],
        ),
        (1_200, vec![change(2, Waiting, Betting)]),
        (
            1_210,
            vec![LotteryEvent::EndTimeExtended {
                round_id: 2,
                old_end_time: 1_440,
                new_end_time: 1_500,
            }],
        ),
        (1_500, vec![bet(2, 10, 10)]),
        (
            1_505,
            vec![
                change(2, Drawing, Refunded),
                refunded(2, 10, 1, TOO_FEW_PLAYERS),
                created(3),
            ],
        ),
        (1_600, vec![change(3, Waiting, Betting), bet(3, 10, 10)]),
        (
            1_610,
            vec![
                change(3, Betting, Refunded),
                refunded(3, 10, 1, OPERATORS_REFUND),
                created(4),
            ],
        ),
        (
            1_620,
            vec![LotteryEvent::OperatorUpdated {
                old_operator: Address::from_low_u64_be(0xe0),
                new_operator: Address::from_low_u64_be(0xe1),
            }],
        ),
        (
            1_630,
            vec![LotteryEvent::MinBetAmountUpdated {
                old_amount_wei: U256::from(10),
                new_amount_wei: U256::from(20),
            }],
        ),
    ];
    let in_blocks = transactions.into_iter().zip(1..);
    let records = in_blocks.flat_map(|((time, events), number)| {
        events
            .into_iter()
            .zip(0..)
            .map(move |(event, log_index)| EventRecord {
                event,
                position: LogPosition {
                    block_number: number,
                    block_hash: H256::from_low_u64_be(number),
                    block_timestamp: time,
                    transaction_hash: H256::from_low_u64_be(number),
                    transaction_index: 0,
                    log_index,
                },
            })
    });
    records.collect()
}

/// What the contract holds after all of it.
fn state() -> (ContractConfig, Round) {
    let config = ContractConfig {
        operator: Address::from_low_u64_be(0xe1),
        min_bet_wei: U256::from(20),
        betting_duration_secs: 240,
        min_participants: 3,
        ..config()
    };
    (config, Round::waiting(4))
}

/// What breaks the rules in these events, and in what they lead to.
fn broken(records: &[EventRecord], before: Option<&(u64, ContractConfig)>) -> Vec<String> {
    let mut rules = Rules::new(&config(), before, before.is_some());
    let mut found = Vec::new();
    for record in records {
        let broken = rules.take(record).broken;
        found.extend(broken.into_iter().map(|(_, why)| why));
    }
    let (config, round) = state();
    found.extend(rules.close(&config, &round));
    found
}

fn found_in(records: &[EventRecord]) -> Vec<String> {
    broken(records, Some(&(0, config())))
}

#[test]
fn what_the_contract_logs_breaks_none_of_its_rules() {
    assert_eq!(found_in(&history()), [""; 0]);
    // Begun anywhere, with nothing known of what was before.
    for from in 0..history().len() {
        let is_begin = from == 0
            || history()[from - 1].position.block_number < history()[from].position.block_number;
        if is_begin {
            assert_eq!(broken(&history()[from..], None), [""; 0], "from {from}");
        }
    }
}

#[test]
fn settings_read_at_the_end_of_a_block_are_no_news_in_it() {
    let mut records = history();
    for record in records.iter_mut().skip(11) {
        record.position.block_number = 100;
        record.position.block_timestamp = 1_630;
    }
    let settings: Vec<EventRecord> = records.split_off(records.len() - 2);
    let read = (100, state().0);
    assert_eq!(broken(&settings, Some(&read)).len(), 1, "the round alone");
}

#[test]
fn whatever_is_left_out_or_said_twice_breaks_a_rule() {
    let records = history();
    for (index, left_out) in records.iter().enumerate() {
        let mut holed = records.clone();
        holed.remove(index);
        assert_ne!(found_in(&holed), [""; 0], "without {left_out:?}");
        let mut doubled = records.clone();
        doubled.insert(index, left_out.clone());
        assert_ne!(found_in(&doubled), [""; 0], "twice {left_out:?}");
    }
}

type Change = (usize, fn(&mut EventRecord), &'static str);

#[test]
fn what_is_changed_is_named() {
    use LotteryEvent as E;
    let changes: [Change; 14] = [
        (
            2,
            |it| it.position.block_timestamp = 1_181,
            "it was placed at 1181, bets were taken from 1000 to 1180",
        ),
        (
            2,
            |it| it.position.block_timestamp = 999,
            "its time is 999, after 1000 in block 1",
        ),
        (
            1,
            |it| it.position.block_timestamp = 1_001,
            "its time is 1001, after 1000 in block 1",
        ),
        (
            4,
            |it| {
                set(&mut it.event, |event| {
                    if let E::RoundCompleted {
                        participant_count, ..
                    } = event
                    {
                        *participant_count = 1
                    }
                })
            },
            "1 players, where a draw needs 2",
        ),
        (
            3,
            |it| {
                set(&mut it.event, |event| {
                    if let E::RoundStateChanged { round_id, .. } = event {
                        *round_id = 9
                    }
                })
            },
            "what its transaction logs beside it is of another end",
        ),
        (
            5,
            |it| {
                set(&mut it.event, |event| {
                    if let E::RoundCreated { end_time, .. } = event {
                        *end_time = 9
                    }
                })
            },
            "it names times of a round that has not begun",
        ),
        (
            6,
            |it| {
                set(&mut it.event, |event| {
                    if let E::MinParticipantsUpdated { new_min, .. } = event {
                        *new_min = 4
                    }
                })
            },
            "players that a draw needs: 3 by the contract's state, 4 by its logs",
        ),
        (
            7,
            |it| {
                set(&mut it.event, |event| {
                    if let E::BettingDurationUpdated {
                        old_duration_secs, ..
                    } = event
                    {
                        *old_duration_secs = 181
                    }
                })
            },
            "180 was in force before, not 181",
        ),
        (
            9,
            |it| {
                set(&mut it.event, |event| {
                    if let E::EndTimeExtended { old_end_time, .. } = event {
                        *old_end_time = 1_441
                    }
                })
            },
            "betting was to end at 1440, not at 1441",
        ),
        (
            9,
            |it| {
                set(&mut it.event, |event| {
                    if let E::EndTimeExtended { round_id, .. } = event {
                        *round_id = 3
                    }
                })
            },
            "round 3 takes no bets",
        ),
        (
            9,
            |it| it.position.block_timestamp = 1_441,
            "at 1441 it cannot be moved to 1500",
        ),
        (
            12,
            |it| {
                set(&mut it.event, |event| {
                    if let E::RoundRefunded {
                        participant_count, ..
                    } = event
                    {
                        *participant_count = 3
                    }
                })
            },
            "3 players are enough for a draw",
        ),
        (
            17,
            |it| {
                set(&mut it.event, |event| {
                    if let E::RoundRefunded { reason, .. } = event {
                        reason.push('!')
                    }
                })
            },
            "the contract never gives such a reason",
        ),
        (
            17,
            |it| {
                set(&mut it.event, |event| {
                    if let E::RoundRefunded { reason, .. } = event {
                        *reason = TOO_FEW_PLAYERS.to_owned()
                    }
                })
            },
            "of another end",
        ),
    ];
    for (index, change, named) in changes {
        let mut records = history();
        change(&mut records[index]);
        assert_ne!(records, history(), "{named}");
        let found = found_in(&records);
        assert!(
            found.iter().any(|why| why.contains(named)),
            "{named}: {found:?}"
        );
    }
}

fn set(event: &mut LotteryEvent, change: fn(&mut LotteryEvent)) {
    change(event);
}

#[test]
fn settings_change_between_rounds_alone() {
    let mut records = history();
    let settings = records.remove(6);
    records.insert(1, settings);
    records[1].position = records[0].position.clone();
    let found = found_in(&records);
    let named = "settings cannot be changed while a round runs";
    assert!(found.iter().any(|why| why.contains(named)), "{found:?}");
}
