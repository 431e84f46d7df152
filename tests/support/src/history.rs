//! A lottery's history, played fast on a chain that mines only when told: rounds of random bets that end in every way
//! there is. A block takes its transactions in the order in which they were given; what must follow is for those who play.

use serde_json::json;

use lottery::chain::encode::encode_hex;
use lottery::lottery::round::RoundState;

use crate::chain::{hex_address, Chain, Lottery, OPERATOR};
use crate::random::Random;
use crate::BET_WEI;

/// The first account that bets: the publisher's and the operator's come before it.
const PLAYER: usize = 2;
/// Enough for a bet, and for an end with some forty players.
const GAS: u64 = 1_000_000;
const FEE_CAP_WEI: u64 = 100_000_000_000;
/// What a block's first transaction tips; each later one tips a wei less, which keeps their order.
const TIP_WEI: u64 = 1_000_000_000;

/// How a round ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// So many seconds after the first that allows it.
    Drawn {
        late_secs: u64,
    },
    /// One player alone: the draw pays the bets back.
    TooFew,
    RefundedByOperator,
    RefundedAsExpired,
    /// It begins and ends in one block, where another has begun and ended before it.
    TwoInOneBlock,
}

pub struct History<'a> {
    lottery: &'a Lottery<'a>,
    random: Random,
    players: usize,
    /// Transactions given since the last block.
    given: u64,
    /// True: now and then a block with an end is taken back and mined anew.
    pub has_reorgs: bool,
    /// How often that happened.
    pub reorgs: u64,
}

impl<'a> History<'a> {
    /// Of the first `players` accounts that bet, as `seed` decides; from here on the chain mines only when told.
    pub fn new(lottery: &'a Lottery<'a>, seed: u64, players: usize) -> History<'a> {
        lottery.chain.rpc("evm_setAutomine", json!([false]));
        History {
            lottery,
            random: Random::new(seed),
            players,
            given: 0,
            has_reorgs: false,
            reorgs: 0,
        }
    }

    /// One ending of many, draws more often than the others.
    pub fn any_ending(&mut self) -> Ending {
        match self.random.below(10) {
            0 => Ending::TooFew,
            1 => Ending::RefundedByOperator,
            2 => Ending::RefundedAsExpired,
            3 => Ending::TwoInOneBlock,
            late => Ending::Drawn {
                late_secs: late.saturating_sub(6) * 7,
            },
        }
    }

    /// Plays a round with so many bets, of one or several a player, to its end.
    pub fn play(&mut self, bets: usize, ending: Ending) {
        if ending == Ending::TwoInOneBlock {
            for _ in 0..2 {
                self.bets(bets);
                self.give(OPERATOR, "refundRound", 0);
            }
            return self.mine(1);
        }
        match ending {
            Ending::TooFew => self.give(PLAYER, "placeBet", BET_WEI),
            _ => self.bets(bets),
        }
        self.mine(1);
        let round = self.lottery.round();
        let wait_secs = match ending {
            Ending::Drawn { late_secs } => round.min_draw_time + late_secs,
            Ending::TooFew => round.min_draw_time,
            Ending::RefundedAsExpired => round.max_draw_time + 1,
            _ => self.chain().head().1 + 1,
        }
        .saturating_sub(self.chain().head().1);
        match ending {
            Ending::Drawn { .. } | Ending::TooFew => self.give(OPERATOR, "drawWinner", 0),
            Ending::RefundedAsExpired => self.give(PLAYER, "refundExpiredRound", 0),
            _ => self.give(OPERATOR, "refundRound", 0),
        }
        // The next round begins in the very block in which this one ends.
        if ending != Ending::TooFew && self.random.one_in(3) {
            self.bets(1);
        }
        self.mine(wait_secs.max(1));
        if self.has_reorgs && self.random.one_in(3) {
            let depth = 1 + self.random.below(2);
            self.chain().dev().reorg(depth, devchain::Reorged::Kept);
            self.reorgs += 1;
        }
        self.finish(round.round_id);
    }

    /// A bet by each of so many accounts, in as few blocks as have room for them.
    pub fn crowd(&mut self, players: usize) {
        let block = self
            .chain()
            .rpc("eth_getBlockByNumber", json!(["latest", false]));
        let digits = block["gasLimit"].as_str().expect("a block has a gas limit");
        let gas_limit = u64::from_str_radix(&digits[2..], 16).expect("it is a number");
        for player in PLAYER..PLAYER + players {
            self.give(player, "placeBet", BET_WEI);
            if self.given == gas_limit / GAS {
                self.mine(1);
            }
        }
        self.mine(1);
    }

    /// Mines an end that a reorg has made revert.
    fn finish(&mut self, round_id: u64) {
        loop {
            let round = self.lottery.round();
            if round.round_id > round_id || round.state != RoundState::Betting {
                return;
            }
            self.give(OPERATOR, "refundRound", 0);
            self.mine(1);
        }
    }

    fn bets(&mut self, bets: usize) {
        for _ in 0..bets {
            let player = PLAYER + self.random.index(self.players);
            let wei = BET_WEI + self.random.below(50 * BET_WEI);
            self.give(player, "placeBet", wei);
        }
    }

    fn chain(&self) -> &'a Chain {
        self.lottery.chain
    }

    /// To the pool, behind what has been given already.
    fn give(&mut self, account: usize, function: &str, wei: u64) {
        // None of these functions takes an argument.
        let data = encode_hex(&ethabi::short_signature(function, &[]));
        self.chain().submit(&json!({
            "from": hex_address(self.chain().account(account)), "to": hex_address(self.lottery.address),
            "data": data, "value": format!("0x{wei:x}"), "gas": format!("0x{GAS:x}"),
            "maxFeePerGas": format!("0x{FEE_CAP_WEI:x}"),
            "maxPriorityFeePerGas": format!("0x{:x}", TIP_WEI - self.given),
        }));
        self.given += 1;
    }

    /// Mines what was given, in a block so many seconds after the head.
    fn mine(&mut self, after_secs: u64) {
        let time = self.chain().head().1 + after_secs;
        let chain = self.chain();
        chain.rpc("evm_setNextBlockTimestamp", json!([time]));
        chain.rpc("evm_mine", json!([]));
        self.given = 0;
    }
}
