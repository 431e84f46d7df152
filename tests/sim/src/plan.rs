//! What a campaign is made of, all of it drawn from the seed: a chain, its nodes, the daemon's settings, the rounds and
//! what goes wrong in them. A plan is data, so that it can be printed, and made smaller after a failure.

use std::time::Duration;

use support::random::Random;

use crate::node::{Blooms, Character};
use crate::wire::{Trouble, Way};
use crate::world::{Rules, GWEI};

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub blocks: Blocks,
    pub betting_secs: u64,
    pub min_draw_delay_secs: u64,
    pub window_secs: u64,
    pub endpoints: Vec<(Character, Duration)>,
    pub rounds: Vec<RoundPlan>,
    pub troubles: Vec<Planned>,
    /// What is wrong from the beginning to the end, by endpoint.
    pub standing: Vec<(usize, Trouble)>,
    /// The same, of one endpoint among others that can do without it.
    pub lasting: Vec<(usize, Trouble)>,
    pub host_clock_off_secs: i64,
    pub rules: Rules,
    /// Another daemon with the same key acts only this late.
    pub standby: Option<Duration>,
    pub daily_cap: Option<DailyCap>,
}

/// What the daemon may spend in a day.
#[derive(Clone, Copy, Debug)]
pub struct DailyCap {
    pub ether: &'static str,
    pub wei: u128,
}

/// When blocks come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Blocks {
    Every(Duration),
    /// Between a quarter and thrice the mean apart.
    Around(Duration),
    /// As soon as there is a transaction, and only then.
    OnDemand,
}

#[derive(Clone, Debug)]
pub struct RoundPlan {
    pub players: usize,
    /// One of them cannot be paid.
    pub with_unpayable: bool,
    /// So many bets come from who has bet before.
    pub second_bets: usize,
}

/// A trouble, by the round in which it begins and the time from the opening of that round's window.
#[derive(Clone, Debug)]
pub struct Planned {
    pub round: usize,
    pub begins_ms: i64,
    pub lasts: Duration,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Of(usize, Trouble),
    /// No block takes a transaction of the operator.
    Held,
    /// No blocks.
    Stall,
    /// The base fee is so many times as high.
    FeeSpike(u64),
    Reorg {
        depth: u64,
        keeps: bool,
    },
    /// A branch of that length takes the place of more blocks, or as many.
    ShortReorg {
        depth: u64,
        length: u64,
    },
    PoolForgets,
    /// kill -9 of that daemon, and a new start after as long as it lasts.
    Killed(usize),
    Suspended(usize),
    /// Somebody else refunds or draws as soon as it is allowed: another daemon with the operator's key cannot be told
    /// from a player who calls the public refund.
    PublicRefund,
}

pub const METHODS: [&str; 14] = [
    "eth_chainId",
    "eth_getBlockByNumber",
    "eth_getBlockByHash",
    "eth_call",
    "eth_estimateGas",
    "eth_getTransactionCount",
    "eth_getBalance",
    "eth_getLogs",
    "eth_getCode",
    "eth_getTransactionReceipt",
    "eth_feeHistory",
    "eth_maxPriorityFeePerGas",
    "eth_gasPrice",
    "eth_sendRawTransaction",
];

/// A draw costs some 0.0001 to 0.0003 ether where a unit of gas costs 1 to 2 gwei.
const DAILY_CAPS: [DailyCap; 2] = [
    DailyCap {
        ether: "0.0002",
        wei: 200_000 * GWEI,
    },
    DailyCap {
        ether: "0.0006",
        wei: 600_000 * GWEI,
    },
];

/// A round's first bet comes so soon after the draw before it.
pub const FIRST_BET_WITHIN: Duration = Duration::from_secs(4);
/// So long after its window has opened a round's draw waits where the one before it is lost, with so many blocks at most.
const LOST_AFTER: Duration = Duration::from_secs(10);
const LOST_BLOCKS_MAX: u64 = 200;

const REFUSALS: [&str; 9] = [
    "already known",
    "replacement transaction underpriced",
    "nonce too low",
    "nonce too high",
    "txpool is full",
    "transaction underpriced",
    "insufficient funds for gas * price + value",
    "intrinsic gas too low",
    "the node is busy",
];

impl Plan {
    /// Sound nodes, blocks of a second, two players in each round, and nothing that goes wrong.
    pub fn plain(endpoints: usize, rounds: usize) -> Plan {
        let round = RoundPlan {
            players: 2,
            with_unpayable: false,
            second_bets: 0,
        };
        Plan {
            seed: 1,
            blocks: Blocks::Every(Duration::from_secs(1)),
            betting_secs: 20,
            min_draw_delay_secs: 5,
            window_secs: 60,
            endpoints: vec![(Character::default(), Duration::from_millis(20)); endpoints],
            rounds: vec![round; rounds],
            troubles: Vec::new(),
            standing: Vec::new(),
            lasting: Vec::new(),
            host_clock_off_secs: 0,
            rules: Rules::default(),
            standby: None,
            daily_cap: None,
        }
    }

    pub fn of(seed: u64) -> Plan {
        let mut plan = Plan::rare(seed);
        plan.add_oddities();
        plan
    }

    /// A plan without what is odd.
    pub fn rare(seed: u64) -> Plan {
        let mut plan = Plan::common(seed);
        plan.add_rarities();
        plan
    }

    pub fn daemons(&self) -> usize {
        1 + usize::from(self.standby.is_some())
    }

    /// A plan in which nothing is rare.
    pub fn common(seed: u64) -> Plan {
        let mut random = Random::new(seed ^ 0x5157_1a7e);
        let random = &mut random;
        let blocks = blocks(random);
        let endpoints = 1 + [0, 0, 1, 1, 1, 2, 3][random.index(7)];
        let latency = [5, 20, 50, 120, 300][random.index(5)];
        let endpoints: Vec<(Character, Duration)> = (0..endpoints)
            .map(|_| {
                (
                    character(random),
                    Duration::from_millis(latency + random.below(50)),
                )
            })
            .collect();
        let window_secs = *random.pick(&[40, 60, 120, 175]);
        let rounds = (0..6)
            .map(|_| RoundPlan {
                players: *random.pick(&[1, 2, 2, 3, 5, 9]),
                with_unpayable: false,
                second_bets: 0,
            })
            .collect::<Vec<_>>();
        let count = *random.pick(&[0, 1, 2, 4, 6, 9]);
        let troubles = (0..count)
            .map(|_| planned(random, rounds.len(), endpoints.len(), window_secs))
            .collect();
        Plan {
            seed,
            blocks,
            betting_secs: *random.pick(&[12, 20, 30, 60]),
            min_draw_delay_secs: *random.pick(&[1, 5, 5, 10]),
            window_secs,
            endpoints,
            rounds,
            troubles,
            standing: Vec::new(),
            lasting: Vec::new(),
            host_clock_off_secs: *random.pick(&[0, 0, 0, -600, 600]),
            rules: Rules::default(),
            standby: None,
            daily_cap: None,
        }
    }

    /// What few campaigns have: somebody in the last round who cannot be paid, which may lock it for good; and one of
    /// several endpoints that never does well. Drawn apart, so that the rest of a seed's plan does not change with it.
    fn add_rarities(&mut self) {
        let mut random = Random::new(self.seed ^ 0x0dd5_0000);
        if random.one_in(6) {
            if let Some(last) = self.rounds.last_mut() {
                last.with_unpayable = true;
            }
        }
        if self.endpoints.len() > 1 && random.one_in(6) {
            let endpoint = random.index(self.endpoints.len());
            let trouble = match random.below(4) {
                0 => Trouble::Frozen,
                1 => Trouble::Behind(1 + random.below(20)),
                _ => Trouble::Answers(None, *random.pick(&Way::DRAWN)),
            };
            self.lasting.push((endpoint, trouble));
        }
    }

    /// What fewer campaigns have, drawn apart as well: a second daemon of the same key, of which either may be killed at
    /// any step; players who bet again; a cap on what a day may cost, soon reached; a window in which no block takes anything of the operator's;
    /// and a branch that is no longer than what it replaces.
    fn add_oddities(&mut self) {
        let mut random = Random::new(self.seed ^ 0x0dd1_7135);
        let random = &mut random;
        let window_ms = self.window_secs * 1_000;
        let mut add = |random: &mut Random, begins_ms, lasts_ms, what| {
            let round = random.index(self.rounds.len());
            let lasts = Duration::from_millis(lasts_ms);
            self.troubles.push(Planned {
                round,
                begins_ms,
                lasts,
                what,
            });
        };
        if random.one_in(8) {
            add(random, -2_000, window_ms + 20_000, What::Held);
        }
        if random.one_in(8) {
            let depth = 1 + random.below(12);
            let length = 1 + random.below(depth);
            let begins_ms = random.below(40_000) as i64 - 20_000;
            add(random, begins_ms, 1_000, What::ShortReorg { depth, length });
        }
        if random.one_in(6) {
            self.standby = Some(Duration::from_secs(*random.pick(&[5, 15, 30])));
            for _ in 0..random.below(4) {
                let begins_ms = random.below(25_000) as i64 - 5_000;
                let lasts_ms = *random.pick(&[2_000, window_ms / 2, 2 * window_ms]);
                let daemon = random.index(2);
                add(random, begins_ms, lasts_ms, What::Killed(daemon));
            }
        }
        if random.one_in(4) {
            let round = random.index(self.rounds.len());
            self.rounds[round].second_bets = 1 + random.index(3);
        }
        if random.one_in(8) {
            self.daily_cap = Some(*random.pick(&DAILY_CAPS));
        }
        if random.one_in(8) {
            self.add_lost_draw(random);
        }
    }

    /// While a round's draw waits, the one before it is taken back and forgotten: what waits comes behind a nonce that is
    /// free again.
    fn add_lost_draw(&mut self, random: &mut Random) {
        let (Blocks::Every(spacing) | Blocks::Around(spacing)) = self.blocks else {
            return;
        };
        let since_draw = Duration::from_secs(self.betting_secs + self.min_draw_delay_secs);
        let deep = FIRST_BET_WITHIN + since_draw + LOST_AFTER;
        let depth = deep.as_millis().div_ceil(spacing.as_millis()) as u64 + 3;
        if depth > LOST_BLOCKS_MAX {
            return;
        }
        let round = 1 + random.index(self.rounds.len() - 1);
        let mut add = |begins_ms, lasts, what| {
            self.troubles.push(Planned {
                round,
                begins_ms,
                lasts,
                what,
            });
        };
        add(-2_000, LOST_AFTER * 3, What::Held);
        let keeps = false;
        let lost = What::Reorg { depth, keeps };
        add(LOST_AFTER.as_millis() as i64, Duration::from_secs(1), lost);
    }
}

fn blocks(random: &mut Random) -> Blocks {
    let spacing =
        Duration::from_millis(*random.pick(&[250, 1_000, 1_000, 2_000, 2_000, 4_000, 12_000]));
    match random.below(12) {
        0..=7 => Blocks::Every(spacing),
        8..=10 => Blocks::Around(spacing),
        _ => Blocks::OnDemand,
    }
}

fn character(random: &mut Random) -> Character {
    let mut character = Character::default();
    let odd = |random: &mut Random| random.one_in(9);
    if odd(random) {
        character.client = "Nethermind/v1.30.0";
    }
    character.overrides_in_estimate = !odd(random);
    if odd(random) {
        character.overrides_in_call = false;
        character.overrides_in_estimate = false;
    }
    character.has_pending = !odd(random);
    character.takes_hashes = !odd(random);
    character.takes_batches = !odd(random);
    character.takes_type_2 = !odd(random);
    character.has_base_fee = character.takes_type_2 || !random.one_in(2);
    character.knows_finality = !odd(random);
    character.has_fee_hints = !odd(random);
    character.blooms = *random.pick(&[
        Blooms::Full,
        Blooms::Full,
        Blooms::Full,
        Blooms::Full,
        Blooms::Absent,
        Blooms::Null,
    ]);
    character.log_blocks_max = *random.pick(&[10_000, 10_000, 1_000, 100, 10]);
    character.states_kept = *random.pick(&[128, 128, 64, 10_000]);
    character
}

fn planned(random: &mut Random, rounds: usize, endpoints: usize, window_secs: u64) -> Planned {
    let what = match random.below(20) {
        0 => What::Held,
        1 => What::Stall,
        2 => What::FeeSpike(2 + random.below(8)),
        3 | 4 => {
            let deepest = *random.pick(&[1, 2, 3, 5, 12, 70]);
            What::Reorg {
                depth: 1 + random.below(deepest),
                keeps: random.one_in(2),
            }
        }
        5 => What::PoolForgets,
        6 | 7 => What::Killed(0),
        8 => What::Suspended(0),
        9 => What::PublicRefund,
        _ => What::Of(random.index(endpoints), trouble(random)),
    };
    Planned {
        round: random.index(rounds),
        begins_ms: random.below(40_000) as i64 - 20_000,
        lasts: Duration::from_millis(500 + random.below(window_secs * 1_000 / 2)),
        what,
    }
}

fn trouble(random: &mut Random) -> Trouble {
    let way = *random.pick(&Way::DRAWN);
    match random.below(12) {
        0..=2 => Trouble::Answers(None, way),
        3..=6 => Trouble::Answers(Some(*random.pick(&METHODS)), way),
        7 => Trouble::Slow(Duration::from_millis(200 + random.below(4_000))),
        8 => Trouble::Behind(1 + random.below(20)),
        9 => Trouble::Frozen,
        10 => match random.below(3) {
            0 => Trouble::Swallows,
            1 => Trouble::SendUnanswered,
            _ => Trouble::RefusesSends(random.pick::<&str>(&REFUSALS)),
        },
        _ => Trouble::Batches(*random.pick(&[
            Way::Status(413),
            Way::UnknownCode,
            Way::EmptyBatch,
            Way::BatchError,
            Way::RateLimit,
        ])),
    }
}
