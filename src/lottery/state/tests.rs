//! The reducer against a model: whatever branches, gaps and backfills come in whatever portions, the state is what a fresh
//! start on the same chain would hold. How the poller finds those branches is tried in its own tests.

use super::*;
use crate::chain::types::{Address, U256};
use crate::lottery::action::ActionKind;
use crate::lottery::alert::{Alert, AlertCode, AlertState, Severity, Subject};
use crate::lottery::participants::FIRST_PAGE_LEN;
use crate::lottery::play::{advance, branch, play, Act, Block};
use proptest::prelude::*;

const LIMITS: Limits = Limits {
    live_feed_max_entries: 12,
    round_history_max: 3,
};

fn state() -> State {
    State::new(
        LIMITS,
        ConnectionStatus {
            reachable: true,
            since_unix_ms: 0,
            problem: None,
        },
    )
}

fn fresh(blocks: &[Block]) -> State {
    let mut state = state();
    state.apply(advance(blocks, 0, blocks.len() - 1, None));
    state.apply(Update::Backfill {
        events: Vec::new(),
        complete: true,
    });
    state
}

/// All that a reader can see of the chain's content.
type Seen = (
    Option<Round>,
    Vec<Arc<FinishedRound>>,
    Vec<Participant>,
    U256,
    Vec<String>,
);

fn seen(state: &State) -> Seen {
    let snapshot = state.snapshot();
    (
        snapshot.round.clone(),
        snapshot.history.to_vec(),
        snapshot.participants.page(usize::MAX, 0),
        snapshot.participants.total_amount_wei(),
        snapshot.live_feed.iter().map(LiveFeedItem::id).collect(),
    )
}

proptest! {
    /// After any reorg, read in any portions, everything that was kept equals a fresh start on the new chain. The
    /// feed is the exception: what fell off its old end does not come back.
    #[test]
    fn a_reorg_leaves_what_a_fresh_start_would_hold(
        old in branch(1), new in branch(2), ancestor in 0..13usize, portion in 1..5usize,
    ) {
        let ancestor = ancestor % old.len();
        let mut state = state();
        let mut from = 0;
        while from < old.len() {
            let to = (from + portion - 1).min(old.len() - 1);
            state.apply(advance(&old, from, to, None));
            from = to + 1;
        }
        state.apply(Update::Backfill { events: Vec::new(), complete: true });
        prop_assert_eq!(seen(&state), seen(&fresh(&old)));

        let mut chain = old[..=ancestor].to_vec();
        chain.extend(new);
        let update = advance(&chain, ancestor + 1, chain.len() - 1, Some(Rollback::To(ancestor as u64)));
        let applied = state.apply(update);
        let (round, history, participants, total, feed) = seen(&state);
        let (round2, history2, participants2, total2, feed2) = seen(&fresh(&chain));
        prop_assert_eq!((round, participants, total), (round2, participants2, total2));
        prop_assert_eq!(history, history2);
        prop_assert!(feed2.ends_with(&feed) , "{:?} {:?}", feed, feed2);
        let told = matches!(&applied.events[0], StoreEvent::Reorg(notice) if notice.ancestor == Some(ancestor as u64));
        prop_assert!(told);
    }

    /// The walk back brings what a start further back would have brought.
    #[test]
    fn a_backfill_is_the_same_as_an_earlier_start(blocks in branch(1), cut in 0..13usize, middle in 0..13usize) {
        let cut = cut % blocks.len();
        let middle = middle % (cut + 1);
        let played = play(&blocks);
        let events = |range: std::ops::Range<usize>| {
            played[range].iter().flat_map(|(events, _)| events.clone()).collect::<Vec<_>>()
        };
        let mut state = state();
        state.apply(advance(&blocks, cut, blocks.len() - 1, None));
        prop_assert!(state.snapshot().syncing);
        state.apply(Update::Backfill { events: events(middle..cut), complete: false });
        let last = state.apply(Update::Backfill { events: events(0..middle), complete: true });
        prop_assert!(last.resync && !state.snapshot().syncing);
        prop_assert_eq!(seen(&state), seen(&fresh(&blocks)));
    }

    /// A client that follows the participants' updates holds what a new snapshot shows.
    #[test]
    fn participants_updates_tell_the_whole_change(blocks in branch(1)) {
        let mut state = state();
        let mut held: Vec<Participant> = Vec::new();
        for number in 0..blocks.len() {
            for event in state.apply(advance(&blocks, number, number, None)).events {
                if let StoreEvent::Participants(update) = event {
                    if update.replaces_all {
                        held.clear();
                    }
                    for changed in update.changed {
                        held.retain(|known| known.order != changed.order);
                        held.push(changed);
                    }
                    prop_assert_eq!(update.total_participants, held.len() as u64);
                }
            }
            held.sort_by_key(|p| (std::cmp::Reverse(p.total_amount_wei), p.order));
            prop_assert!(held.len() <= FIRST_PAGE_LEN);
            prop_assert_eq!(&held[..], state.snapshot().participants.first_page());
        }
    }
}

fn bets(amounts: &[u64]) -> Vec<Block> {
    let bet = |(player, wei): (usize, &u64)| Block {
        branch: 1,
        acts: vec![Act::Bet {
            player: player as u64,
            wei: *wei,
        }],
    };
    amounts.iter().enumerate().map(bet).collect()
}

#[test]
fn rounds_are_forgotten_when_no_reorg_can_reach_them() {
    let round = || Block {
        branch: 1,
        acts: vec![Act::Bet { player: 1, wei: 5 }, Act::Refund],
    };
    let empty = || Block {
        branch: 1,
        acts: vec![],
    };
    let mut blocks: Vec<Block> = (0..5).map(|_| round()).collect();
    let mut state = fresh(&blocks);
    assert_eq!(
        (state.history.len(), state.snapshot().history.len()),
        (5, 3)
    );
    blocks.extend((0..RING_LEN + 5).map(|_| empty()));
    blocks.push(round());
    state.apply(advance(&blocks, 5, blocks.len() - 1, None));
    assert_eq!(
        (state.history.len(), state.snapshot().history.len()),
        (3, 3)
    );
    assert_eq!(
        state.events.first().unwrap().record.position.block_number,
        3
    );
}

#[test]
fn a_new_head_without_events_says_nothing() {
    let mut blocks = bets(&[5]);
    blocks.push(Block {
        branch: 1,
        acts: vec![],
    });
    let mut state = state();
    state.apply(advance(&blocks, 0, 0, None));
    assert_eq!(state.apply(advance(&blocks, 1, 1, None)).events, []);
    assert_eq!(state.snapshot().head.unwrap().number, 1);
}

#[test]
fn an_event_delivered_twice_counts_once() {
    let blocks = bets(&[5, 7]);
    let mut state = state();
    state.apply(advance(&blocks, 0, 1, None));
    state.apply(advance(&blocks, 0, 1, None));
    assert_eq!(
        state.snapshot().participants.total_amount_wei(),
        U256::from(12)
    );
}

#[test]
fn players_read_from_the_contract_hold_until_the_logs_explain_the_pot() {
    let blocks = bets(&[5, 7]);
    let mut state = state();
    state.apply(advance(&blocks, 1, 1, None));
    let applied = state.apply(Update::Players(PlayersRead {
        block_number: 1,
        round_id: 1,
        totals: vec![
            (Address::from_low_u64_be(0), 5.into()),
            (Address::from_low_u64_be(1), 7.into()),
        ],
    }));
    assert!(
        matches!(&applied.events[..], [StoreEvent::Participants(update)] if update.replaces_all)
    );
    assert_eq!(
        state.snapshot().participants.total_amount_wei(),
        U256::from(12)
    );
    let (events, _) = play(&blocks).remove(0);
    state.apply(Update::Backfill {
        events,
        complete: true,
    });
    assert_eq!(state.snapshot().participants.page(9, 0).len(), 2);
    assert!(!state.players.are_of_the_contract());
}

#[test]
fn everything_is_forgotten_when_the_reorg_is_too_deep() {
    let blocks = bets(&[5, 7]);
    let mut state = fresh(&blocks);
    let other = vec![Block {
        branch: 9,
        acts: vec![Act::Bet { player: 4, wei: 1 }],
    }];
    let applied = state.apply(advance(&other, 0, 0, Some(Rollback::Everything)));
    assert!(applied.resync && state.snapshot().syncing);
    assert!(
        matches!(&applied.events[0], StoreEvent::Reorg(ReorgNotice { ancestor: None, retracted, .. }) if retracted.len() == 3)
    );
    assert_eq!(
        state.snapshot().participants.total_amount_wei(),
        U256::one()
    );
    assert_eq!(state.snapshot().reorgs_total, 1);
}

#[test]
fn a_status_is_told_only_when_it_changes_and_actions_are_bounded() {
    let mut state = state();
    let status = Arc::new(OperatorStatus {
        phase: "x".to_owned(),
        ..OperatorStatus::default()
    });
    assert_eq!(
        state.apply(Update::Operator(status.clone())).events.len(),
        1
    );
    assert_eq!(state.apply(Update::Operator(status)).events.len(), 0);
}

/// A round that is drawn in its sixth block after five were allowed to, by the transaction with number 5; what is told of its delay.
fn late_draw(before: impl FnOnce(&mut State)) -> Option<LateReason> {
    let mut blocks = vec![
        Block {
            branch: 1,
            acts: Vec::new(),
        };
        6
    ];
    blocks[0].acts = (1..=2).map(|player| Act::Bet { player, wei: 9 }).collect();
    blocks[5].acts = vec![Act::Draw];
    let mut state = state();
    state.apply(advance(&blocks, 0, 4, None));
    before(&mut state);
    let Update::Advance(mut last) = advance(&blocks, 5, 5, None) else {
        unreachable!("it is one");
    };
    for event in &mut last.events {
        if let Some(facts) = &mut event.finish {
            facts.first_allowed = Some((1, 101));
        }
    }
    state.apply(Update::Advance(last));
    let delay = state.snapshot().history[0].draw_delay.expect("it is known");
    assert_eq!((delay.blocks, delay.secs), (4, 4));
    // Derived anew, it is the same.
    let told = state.snapshot().history.clone();
    state.derive_again();
    assert_eq!(state.snapshot().history, told);
    delay.reason
}

#[test]
fn a_late_draw_has_the_reason_of_the_operator_that_followed_it() {
    let status = |round_id: u64, is_running: bool| OperatorStatus {
        is_running,
        current_round_id: Some(round_id),
        held_up_by: Some(LateReason::NoAnswer),
        ..OperatorStatus::default()
    };
    let of = |round_id, is_running, number| {
        late_draw(|state| {
            let status = Arc::new(status(round_id, is_running));
            state.apply(Update::Operator(status));
            let mut action = ActionRecord::queued("a".to_owned(), ActionKind::Draw, 1, false, 0);
            action.hashes = vec![H256::from_low_u64_be(number)];
            state.apply(Update::Action(Arc::new(action)));
        })
    };
    assert_eq!(of(1, true, 5), Some(LateReason::NoAnswer));
    assert_eq!(of(1, true, 4), Some(LateReason::SentByAnother));
    // One that is switched off knows why it sent nothing.
    assert_eq!(of(1, false, 4), Some(LateReason::NoAnswer));
    assert_eq!(of(2, true, 5), None);
    assert_eq!(late_draw(|_| {}), None);
}

#[test]
fn an_alert_is_listed_from_its_begin_to_its_end_whatever_the_operator_does() {
    let mut state = state();
    let alert = |code, alert_state| {
        Arc::new(Alert {
            id: "alert-1-1".to_owned(),
            code,
            subject: Subject::None,
            severity: Severity::Warning,
            state: alert_state,
            message: "low".to_owned(),
            since_unix_ms: 1,
            unix_ms: 1,
        })
    };
    let mut told = |news: Vec<Arc<Alert>>, firing: &[AlertCode]| {
        let firing = firing.iter().map(|code| alert(*code, AlertState::Firing));
        let firing: Vec<Arc<Alert>> = firing.collect();
        let (begun, listed) = (news.len(), firing.clone());
        let applied = state.apply(Update::Alerts(AlertChange { news, firing }));
        let are = |is: fn(&StoreEvent) -> bool| applied.events.iter().filter(|it| is(it)).count();
        assert_eq!(are(|it| matches!(it, StoreEvent::OperatorAlert(_))), begun);
        assert_eq!(are(|it| matches!(it, StoreEvent::OperatorStatus(_))), 1);
        // What the operator says of itself is older than this, or newer: it does not count.
        let status = |phase: &str| OperatorStatus {
            phase: phase.to_owned(),
            ..OperatorStatus::default()
        };
        for phase in ["betting is open", ""] {
            state.apply(Update::Operator(Arc::new(status(phase))));
            assert_eq!(state.snapshot().operator.alerts, listed);
        }
    };
    let (stale, low) = (AlertCode::HeadStale, AlertCode::LowBalance);
    told(vec![alert(low, AlertState::Firing)], &[low]);
    told(vec![alert(stale, AlertState::Firing)], &[stale, low]);
    told(vec![alert(low, AlertState::Resolved)], &[stale]);
    // New words alone are no news, and listed.
    let mut new_words = (*alert(stale, AlertState::Firing)).clone();
    new_words.message = "longer".to_owned();
    let change = AlertChange {
        news: Vec::new(),
        firing: vec![Arc::new(new_words)],
    };
    let events = state.apply(Update::Alerts(change)).events;
    assert!(matches!(events[..], [StoreEvent::OperatorStatus(_)]));
    assert_eq!(state.snapshot().operator.alerts[0].message, "longer");
}
