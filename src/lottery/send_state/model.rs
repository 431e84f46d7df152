//! The send state against a model of a chain and its pool: whatever is lost, dropped, outbid, priced out, reorganised or
//! restarted, no round is acted on twice, and one that any block was open to is acted on.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::chain::types::U256;

const SPACING_SECS: u64 = 2;
const MIN_DRAW: u64 = 1_010;
const MAX_DRAW: u64 = 1_026;
const RULES: Rules = Rules {
    tx_timeout: Duration::from_secs(8),
    confirmations: 1,
};

/// What happens between two blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    /// The next block takes what the pool has.
    Open,
    /// The next block takes nothing.
    Empty,
    /// The pool forgets everything, and the block is empty.
    Dropped,
    /// What we send now does not arrive.
    SendLost,
    /// Somebody with our key takes the nonce in this block.
    ForeignMined,
    /// The base fee is above what any but a replaced transaction offers, in this block.
    Dear,
    /// So many blocks are replaced by empty ones; the pool gets their transactions back, or not.
    Reorg { depth: usize, kept: bool },
    /// All that is in memory is lost; the pool is not.
    Restart,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Pooled {
    hash: H256,
    nonce: u64,
    kind: ActionKind,
    fee: u64,
}

#[derive(Clone, Debug)]
struct Block {
    hash: H256,
    timestamp: u64,
    mined: Option<(Pooled, bool)>,
    nonce_after: u64,
    ended_by: Option<ActionKind>,
}

struct World {
    blocks: Vec<Block>,
    pool: Option<Pooled>,
    next_hash: u64,
}

impl World {
    fn new() -> World {
        let first = Block {
            hash: H256::zero(),
            timestamp: 1_000,
            mined: None,
            nonce_after: 7,
            ended_by: None,
        };
        World {
            blocks: vec![first],
            pool: None,
            next_hash: 1,
        }
    }

    fn head(&self) -> &Block {
        self.blocks.last().unwrap()
    }

    fn head_ref(&self) -> BlockRef {
        BlockRef {
            number: self.blocks.len() as u64 - 1,
            hash: self.head().hash,
            parent_hash: H256::zero(),
            timestamp: self.head().timestamp,
        }
    }

    fn mine(&mut self, takes: impl Fn(&Pooled) -> bool) {
        let parent = self.head().clone();
        let timestamp = parent.timestamp + SPACING_SECS;
        self.next_hash += 1;
        let mut block = Block {
            hash: H256::from_low_u64_be(self.next_hash),
            timestamp,
            mined: None,
            ..parent
        };
        let fits = |pooled: &Pooled| pooled.nonce == parent.nonce_after && takes(pooled);
        if let Some(pooled) = self.pool.filter(fits) {
            let allowed = match pooled.kind {
                ActionKind::Draw => (MIN_DRAW..=MAX_DRAW).contains(&timestamp),
                ActionKind::RefundExpired => timestamp > MAX_DRAW,
                _ => true,
            };
            let acts = pooled.kind != ActionKind::Cancel;
            let succeeds = !acts || (allowed && parent.ended_by.is_none());
            if succeeds && acts {
                block.ended_by = Some(pooled.kind);
            }
            block.mined = Some((pooled, succeeds));
            block.nonce_after += 1;
            self.pool = None;
        }
        self.blocks.push(block);
    }

    fn take_nonce(&mut self) {
        self.mine(|_| false);
        self.blocks.last_mut().unwrap().nonce_after += 1;
        self.pool = None;
    }

    fn reorg(&mut self, depth: usize, kept: bool) {
        let depth = depth.min(self.blocks.len() - 1);
        let gone = self.blocks.split_off(self.blocks.len() - depth);
        let back = gone.iter().find_map(|block| block.mined);
        if let Some((pooled, _)) = back {
            self.pool = kept.then_some(pooled);
        }
        for _ in 0..depth {
            self.mine(|_| false);
        }
    }

    fn add(&mut self, pooled: Pooled) {
        let outbids = self.pool.is_none_or(|known| {
            known.hash == pooled.hash || known.nonce < pooled.nonce || pooled.fee > known.fee
        });
        if outbids && pooled.nonce >= self.head().nonce_after {
            self.pool = Some(pooled);
        }
    }

    fn included(&self, state: &SendState) -> Option<Included> {
        let mined = |(number, block): (usize, &Block)| {
            let (pooled, succeeded) = block.mined?;
            state.kind_of(&pooled.hash)?;
            Some(Included {
                hash: pooled.hash,
                block_number: number as u64,
                block_hash: H256::from_low_u64_be(number as u64),
                succeeded,
                gas_used: 1,
                cost: Cost {
                    wei: U256::one(),
                    is_told: true,
                },
            })
        };
        self.blocks.iter().enumerate().find_map(mined)
    }
}

/// The operator in short: the same order of questions, without the network.
struct Driver {
    flight: Option<SendState>,
    landed: Option<SendState>,
    start: Instant,
}

impl Driver {
    fn look(&mut self, world: &mut World, sends_arrive: bool) {
        let head = world.head_ref();
        let timestamp = head.timestamp;
        let now = self.start + Duration::from_secs(timestamp);
        let round = round(world);
        let running = round.state == RoundState::Betting;
        if let Some(mut landed) = self.landed.take() {
            if running && world.included(&landed).is_none() {
                landed.begin_again_after_reorg(head, now);
                if landed
                    .at_window(&round, timestamp, timestamp + SPACING_SECS)
                    .is_none()
                {
                    send(world, &mut landed, sends_arrive);
                }
                self.flight = Some(landed);
            } else {
                self.landed = Some(landed);
            }
        }
        if let Some(mut state) = self.flight.take() {
            let facts = HeadFacts {
                head,
                next_block_time: timestamp + SPACING_SECS,
                round: &round,
                latest_nonce: Some(world.head().nonce_after),
                receipts: world
                    .included(&state)
                    .map_or(Receipts::None, Receipts::Found),
            };
            match state.step(&facts, &RULES, now) {
                Step::Wait => self.flight = Some(state),
                Step::Rebroadcast => {
                    send(world, &mut state, sends_arrive);
                    state.note_sent(head, now);
                    self.flight = Some(state);
                }
                Step::Replace(kind) => {
                    let fee = fee_of(state.newest().unwrap()) + 1;
                    state.add(sign(world, kind, fee), head, now);
                    send(world, &mut state, sends_arrive);
                    self.flight = Some(state);
                }
                Step::TimedOut => {
                    state.begin_again(now);
                    send(world, &mut state, sends_arrive);
                    self.flight = Some(state);
                }
                Step::Done(_) => self.landed = Some(state),
                Step::Reverted(_) | Step::NonceTaken | Step::NonceGap => {}
                Step::EndedUnseen | Step::LetGo => {}
            }
        }
        if self.flight.is_some() || !running {
            return;
        }
        let next = timestamp + SPACING_SECS;
        let kind = match () {
            () if timestamp > MAX_DRAW => ActionKind::RefundExpired,
            () if (MIN_DRAW..=MAX_DRAW).contains(&next) => ActionKind::Draw,
            () => return,
        };
        // What an earlier life left in the pool is outbid.
        let fee = world.pool.map_or(1, |pooled| pooled.fee + 1);
        let nonce = world.head().nonce_after;
        let mut state = SendState::begin(1, nonce, sign(world, kind, fee), head, now);
        send(world, &mut state, sends_arrive);
        self.flight = Some(state);
    }
}

fn round(world: &World) -> Round {
    Round {
        round_id: 1,
        state: match world.head().ended_by {
            None => RoundState::Betting,
            Some(ActionKind::Draw) => RoundState::Completed,
            Some(_) => RoundState::Refunded,
        },
        start_time: 0,
        end_time: MIN_DRAW - 5,
        min_draw_time: MIN_DRAW,
        max_draw_time: MAX_DRAW,
        total_pot_wei: U256::one(),
        participant_count: 2,
    }
}

fn sign(world: &mut World, kind: ActionKind, fee: u64) -> Variant {
    world.next_hash += 1;
    Variant {
        kind,
        hash: H256::from_low_u64_be(world.next_hash),
        raw: Vec::new(),
        fee: Fee::Legacy {
            gas_price_wei: U256::from(fee),
        },
        room: Room {
            gas: 1,
            players_max: u64::MAX,
        },
    }
}

fn fee_of(variant: &Variant) -> u64 {
    variant.fee.cap_wei().as_u64()
}

fn send(world: &mut World, state: &mut SendState, arrives: bool) {
    let newest = state.newest().unwrap();
    if newest.kind == ActionKind::Draw {
        let next = world.head().timestamp + SPACING_SECS;
        assert!(
            (MIN_DRAW..=MAX_DRAW).contains(&next),
            "a draw is sent at {next}"
        );
    }
    let pooled = Pooled {
        hash: newest.hash,
        nonce: state.nonce,
        kind: newest.kind,
        fee: fee_of(newest),
    };
    state.note_maybe_sent();
    if arrives {
        world.add(pooled);
    }
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Open),
        3 => Just(Event::Empty),
        1 => Just(Event::Dropped),
        2 => Just(Event::SendLost),
        1 => Just(Event::ForeignMined),
        2 => Just(Event::Dear),
        1 => (1..4usize, any::<bool>()).prop_map(|(depth, kept)| Event::Reorg { depth, kept }),
        1 => Just(Event::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn one_action_a_round_and_always_one_if_a_block_was_open(
        events in proptest::collection::vec(any_event(), 30..60),
    ) {
        let mut world = World::new();
        let mut driver = Driver { flight: None, landed: None, start: Instant::now() };
        // Since the last disturbance that may rightly have cost a draw.
        let mut open_in_window = false;
        for event in events {
            if event == Event::Restart {
                (driver.flight, driver.landed) = (None, None);
            }
            driver.look(&mut world, event != Event::SendLost);
            let in_window = (MIN_DRAW..=MAX_DRAW).contains(&(world.head().timestamp + SPACING_SECS));
            match event {
                Event::Open | Event::Restart => {
                    world.mine(|_| true);
                    // After a foreign transaction the nonce is believed to be lost only at the second head.
                    let waits = driver.flight.as_ref().is_some_and(|flight| flight.used_up_heads > 0);
                    open_in_window |= in_window && !waits;
                }
                Event::Empty | Event::SendLost => world.mine(|_| false),
                Event::Dropped => {
                    world.pool = None;
                    world.mine(|_| false);
                }
                Event::ForeignMined => world.take_nonce(),
                Event::Dear => world.mine(|pooled| pooled.fee > 3),
                Event::Reorg { depth, kept } => {
                    world.reorg(depth, kept);
                    open_in_window = false;
                }
            }
            if open_in_window {
                prop_assert_eq!(world.head().ended_by, Some(ActionKind::Draw), "the window was open");
            }
            let acted = world.blocks.iter().filter(|block| {
                block.mined.is_some_and(|(pooled, succeeded)| succeeded && pooled.kind != ActionKind::Cancel)
            });
            prop_assert!(acted.count() <= 1);
        }
        // In the end the chain calms down: no round stays open, and nothing of ours stays pending.
        for _ in 0..40 {
            driver.look(&mut world, true);
            world.mine(|_| true);
        }
        prop_assert!(world.head().ended_by.is_some());
        let nonce = world.head().nonce_after;
        prop_assert!(world.pool.is_none_or(|pooled| pooled.nonce > nonce));
    }
}
