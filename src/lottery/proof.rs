//! Draws a winner again from what anyone can read, and says what that proves. Pure.
//!
//! The contract hashes the opcodes TIMESTAMP, PREVRANDAO and NUMBER of the block that mined the draw. On Ethereum these
//! are the header's timestamp, mixHash and number; other chains put the difficulty, a constant, or the number of the
//! chain below in their place. So the values come from the chain itself (a call in that block), or are found among what
//! the header offers: the seed is a hash of 256 bits, so values that reproduce it are the ones that the contract saw.
//! An accusation needs more than values that do not: see `Verdict`.
#![doc = include_str!("proof.md")]

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};
use sha3::{Digest, Keccak256};

use crate::chain::types::{Address, Opcodes, H256, U256};
use crate::lottery::event::{Bet, LotteryEvent};
use crate::lottery::round::RoundTimes;

mod block;
#[cfg(test)]
mod tests;

pub use block::{DrawBlock, HeaderValues};

/// What the contract gives as the reason of a refund: a draw with too few players, the operator's command, and anybody's
/// call once the window is over.
pub(crate) const TOO_FEW_PLAYERS: &str = "Insufficient participants";
pub(crate) const OPERATORS_REFUND: &str = "Operator-initiated refund";
pub(crate) const PUBLIC_REFUND: &str = "Draw time expired - public refund";

/// What a recomputation says of the contract's announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All that was announced follows from what the chain tells.
    Verified,
    /// The chain itself told what the contract saw, or earlier draws of this chain settled where it stands in the
    /// header, and what was announced does not follow. Only this accuses.
    Mismatch { why: String },
    /// Anything else, with what is missing.
    Unverifiable { why: String },
}

impl Verdict {
    pub fn label(&self) -> &'static str {
        match self {
            Verdict::Verified => "verified",
            Verdict::Mismatch { .. } => "mismatch",
            Verdict::Unverifiable { .. } => "unverifiable",
        }
    }

    pub fn why(&self) -> Option<&str> {
        match self {
            Verdict::Verified => None,
            Verdict::Mismatch { why } | Verdict::Unverifiable { why } => Some(why),
        }
    }
}

/// What the contract announced of a draw, and the round's bets.
#[derive(Clone, Copy, Debug)]
pub struct Draw<'a> {
    pub round_id: u64,
    /// TIMESTAMP as the contract logged it with the draw, unix seconds.
    pub timestamp: u64,
    pub total_pot_wei: U256,
    pub participant_count: u64,
    pub winner: Address,
    pub winner_prize_wei: U256,
    pub publisher_commission_wei: U256,
    pub random_seed: U256,
    /// In (block, transaction, log) order.
    pub bets: &'a [Bet],
}

/// Where a PREVRANDAO was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum RandomnessSource {
    Opcode,
    MixHash,
    Difficulty,
}

impl RandomnessSource {
    pub const ALL: [RandomnessSource; 3] = [
        RandomnessSource::Opcode,
        RandomnessSource::MixHash,
        RandomnessSource::Difficulty,
    ];

    pub fn label(self) -> &'static str {
        match self {
            RandomnessSource::Opcode => "opcode",
            RandomnessSource::MixHash => "mixHash",
            RandomnessSource::Difficulty => "difficulty",
        }
    }
}

/// Where a NUMBER was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum NumberSource {
    Opcode,
    Number,
    L1BlockNumber,
}

impl NumberSource {
    pub const ALL: [NumberSource; 3] = [
        NumberSource::Opcode,
        NumberSource::Number,
        NumberSource::L1BlockNumber,
    ];

    pub fn label(self) -> &'static str {
        match self {
            NumberSource::Opcode => "opcode",
            NumberSource::Number => "number",
            NumberSource::L1BlockNumber => "l1BlockNumber",
        }
    }
}

/// Values for PREVRANDAO and NUMBER, and where each was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// Unix seconds: TIMESTAMP as the contract logged it.
    pub timestamp: u64,
    pub prevrandao: H256,
    pub prevrandao_source: RandomnessSource,
    pub number: u64,
    pub number_source: NumberSource,
}

impl Inputs {
    /// keccak256 of the five 32-byte big-endian words that the contract hashes.
    pub fn seed(&self, round_id: u64, total_pot_wei: U256) -> U256 {
        let mut hasher = Keccak256::new();
        for word in [
            U256::from(self.timestamp),
            U256::from_big_endian(self.prevrandao.as_bytes()),
            U256::from(self.number),
            U256::from(round_id),
            total_pot_wei,
        ] {
            let mut bytes = [0; 32];
            word.to_big_endian(&mut bytes);
            hasher.update(bytes);
        }
        U256::from_big_endian(&hasher.finalize())
    }
}

/// What came out, and from which values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub verdict: Verdict,
    /// The values that reproduce the seed; where none do, the likeliest. None when nothing of the block is known.
    pub inputs: Option<Inputs>,
    /// PREVRANDAO could be known before the block was made, so whoever sent the draw could have computed the winner.
    pub known_ahead: bool,
    /// The header tells in no field what the contract saw, as the headers of earlier draws did: a node that made it up.
    pub header_strays: bool,
}

impl Proof {
    /// A refund draws nothing: it has a verdict alone.
    pub(crate) fn of_refund(verdict: Verdict) -> Proof {
        Proof {
            verdict,
            inputs: None,
            known_ahead: false,
            header_strays: false,
        }
    }
}

/// What the draws of a chain have shown of it so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct ChainHabits {
    /// Of the header: the fields whose values reproduced every draw so far. None before the first.
    fields: Option<Vec<(RandomnessSource, NumberSource)>>,
    /// A draw followed from its header, and not from what a call in its block saw: calls see something else here.
    calls_differ: bool,
    /// A draw followed from what a call in its block saw, and not from its header, as earlier ones did.
    #[serde(default)]
    headers_stray: bool,
    /// Of the newest draws, oldest first.
    prevrandaos: VecDeque<H256>,
}

/// A constant comes again at once, so few values have to be remembered.
const PREVRANDAOS_KEPT: usize = 16;

impl ChainHabits {
    /// The one pair of header fields that all draws so far leave.
    fn settled(&self) -> Option<(RandomnessSource, NumberSource)> {
        match self.fields.as_deref() {
            Some([only]) if !self.headers_stray => Some(*only),
            _ => None,
        }
    }

    /// Takes a draw that was reproduced from `seen`. True where its header tells that nowhere, and earlier ones did.
    fn learn(
        &mut self,
        seen: &Inputs,
        opcodes: Option<&Opcodes>,
        header: Option<&HeaderValues>,
    ) -> bool {
        self.calls_differ |= opcodes
            .is_some_and(|told| (told.prevrandao, told.number) != (seen.prevrandao, seen.number));
        if self.prevrandaos.len() == PREVRANDAOS_KEPT {
            self.prevrandaos.pop_front();
        }
        self.prevrandaos.push_back(seen.prevrandao);
        let Some(header) = header else { return false };
        let fits =
            |inputs: &Inputs| (inputs.prevrandao, inputs.number) == (seen.prevrandao, seen.number);
        let fitting: Vec<_> = candidates(None, Some(header), seen.timestamp)
            .filter(fits)
            .map(|inputs| (inputs.prevrandao_source, inputs.number_source))
            .collect();
        let known = self.fields.get_or_insert_with(|| fitting.clone());
        let strays = fitting.is_empty() && !known.is_empty();
        match strays {
            true => self.headers_stray = true,
            false => known.retain(|pair| fitting.contains(pair)),
        }
        strays
    }

    /// A value that came before, or one that cannot be 256 bits of chance: a difficulty, or a constant.
    fn is_known_ahead(&self, prevrandao: H256) -> bool {
        self.prevrandaos.contains(&prevrandao) || prevrandao.as_bytes()[..24] == [0; 24]
    }
}

/// Draws again and compares; `habits` are what the earlier draws of this chain have shown, and learn from this one.
pub fn verify(draw: &Draw, block: &DrawBlock, habits: &mut ChainHabits) -> Proof {
    let opcodes = block
        .opcodes
        .filter(|opcodes| is_of_the_draw(opcodes, draw, block));
    let candidates: Vec<Inputs> =
        candidates(opcodes.as_ref(), block.header.as_ref(), draw.timestamp).collect();
    let reproduces =
        |inputs: &&Inputs| inputs.seed(draw.round_id, draw.total_pot_wei) == draw.random_seed;
    let Some(inputs) = candidates.iter().find(reproduces).copied() else {
        let told = settled_inputs(&candidates, opcodes.is_some(), habits);
        let inputs = told.or(candidates.first().copied());
        let known_ahead = inputs.is_some_and(|inputs| habits.is_known_ahead(inputs.prevrandao));
        let verdict = match told {
            Some(told) => Verdict::Mismatch {
                why: format!(
                    "the seed is {}, the contract announced {}",
                    told.seed(draw.round_id, draw.total_pot_wei),
                    draw.random_seed
                ),
            },
            None => Verdict::Unverifiable {
                why: block.missing().to_owned(),
            },
        };
        return Proof {
            verdict,
            inputs,
            known_ahead,
            header_strays: false,
        };
    };
    let known_ahead = habits.is_known_ahead(inputs.prevrandao);
    let header_strays = habits.learn(&inputs, opcodes.as_ref(), block.header.as_ref());
    Proof {
        verdict: verify_winner(draw),
        inputs: Some(inputs),
        known_ahead,
        header_strays,
    }
}

/// True where the header alone shows what the contract hashed for this draw, so that no call in its block is needed.
pub(crate) fn header_tells(end: &LotteryEvent, timestamp: u64, header: &HeaderValues) -> bool {
    let LotteryEvent::RoundCompleted {
        round_id,
        total_pot_wei,
        random_seed,
        ..
    } = end
    else {
        return false;
    };
    candidates(None, Some(header), timestamp)
        .any(|inputs| inputs.seed(*round_id, *total_pot_wei) == *random_seed)
}

/// The first player, in first-bet order, at which the running sum of what each has bet in all exceeds seed mod pot.
pub fn winner_among(
    seed: U256,
    total_pot_wei: U256,
    totals: impl IntoIterator<Item = (Address, U256)>,
) -> Option<Address> {
    let target = draw_point(seed, total_pot_wei)?;
    let mut running = U256::zero();
    totals.into_iter().find_map(|(player, total)| {
        running = running.saturating_add(total);
        (running > target).then_some(player)
    })
}

/// Where in the pot the seed points: seed mod pot. None of an empty pot.
pub(crate) fn draw_point(seed: U256, total_pot_wei: U256) -> Option<U256> {
    seed.checked_rem(total_pot_wei)
}

/// What each player has bet in all, in first-bet order. Sums stop at 2^256 - 1, which no chain's ether comes near.
pub fn totals(bets: &[Bet]) -> Vec<(Address, U256)> {
    let mut indexes = HashMap::new();
    let mut totals: Vec<(Address, U256)> = Vec::new();
    for bet in bets {
        let index = *indexes.entry(bet.player).or_insert_with(|| {
            totals.push((bet.player, U256::zero()));
            totals.len() - 1
        });
        totals[index].1 = totals[index].1.saturating_add(bet.amount_wei);
    }
    totals
}

/// Checks a refund: every bet is in what was paid back, and the reason that the contract names could be the reason.
/// `times` are the round's, where they are known.
pub(crate) fn verify_refund(
    bets: &[Bet],
    total_refunded_wei: U256,
    participant_count: u64,
    reason: &str,
    timestamp: u64,
    times: Option<RoundTimes>,
) -> Verdict {
    if let Err(why) = lead_to_the_pot(bets, total_refunded_wei) {
        return Verdict::Unverifiable { why };
    }
    let players = totals(bets).len() as u64;
    if players != participant_count {
        return Verdict::Mismatch {
            why: format!("{players} players bet, the contract paid back {participant_count}"),
        };
    }
    let window = times.map(|times| (times.min_draw_time, times.max_draw_time));
    let impossible = match (reason, window) {
        (PUBLIC_REFUND, Some((_, max))) => timestamp <= max,
        (TOO_FEW_PLAYERS, Some((min, max))) => !(min..=max).contains(&timestamp),
        _ => false,
    };
    match impossible {
        true => Verdict::Mismatch {
            why: format!("the reason \"{reason}\" does not fit a refund at {timestamp}"),
        },
        false => Verdict::Verified,
    }
}

/// Values that one or the other kind of chain could have shown to the contract: first what the chain itself told.
fn candidates(
    opcodes: Option<&Opcodes>,
    header: Option<&HeaderValues>,
    timestamp: u64,
) -> impl Iterator<Item = Inputs> {
    use {NumberSource as N, RandomnessSource as R};
    let word = |number: U256| {
        let mut bytes = [0; 32];
        number.to_big_endian(&mut bytes);
        H256(bytes)
    };
    let prevrandaos = [
        opcodes.map(|opcodes| (R::Opcode, opcodes.prevrandao)),
        header.and_then(|header| Some((R::MixHash, header.mix_hash?))),
        header.and_then(|header| Some((R::Difficulty, word(header.difficulty?)))),
    ];
    let numbers = [
        opcodes.map(|opcodes| (N::Opcode, opcodes.number)),
        header.map(|header| (N::Number, header.number)),
        header.and_then(|header| Some((N::L1BlockNumber, header.l1_block_number?))),
    ];
    prevrandaos
        .into_iter()
        .flatten()
        .flat_map(move |(prevrandao_source, prevrandao)| {
            numbers
                .into_iter()
                .flatten()
                .map(move |(number_source, number)| Inputs {
                    timestamp,
                    prevrandao,
                    prevrandao_source,
                    number,
                    number_source,
                })
        })
}

/// Some nodes run a call not in the block that is named but in one to come: what they answer says nothing of the draw.
fn is_of_the_draw(opcodes: &Opcodes, draw: &Draw, block: &DrawBlock) -> bool {
    let is_its_number = block.header.is_none_or(|header| {
        opcodes.number == header.number || header.l1_block_number == Some(opcodes.number)
            // The number of a chain below that the header does not name.
            || header.l1_block_number.is_none() && opcodes.number != header.number + 1
    });
    opcodes.timestamp == draw.timestamp && is_its_number
}

/// The values that the contract must have seen, where that is certain.
fn settled_inputs(
    candidates: &[Inputs],
    has_opcodes: bool,
    habits: &ChainHabits,
) -> Option<Inputs> {
    if has_opcodes && !habits.calls_differ {
        return candidates.first().copied();
    }
    let settled = habits.settled()?;
    let told = candidates
        .iter()
        .find(|inputs| (inputs.prevrandao_source, inputs.number_source) == settled)?;
    // A node that leaves the field empty has told nothing.
    (!told.prevrandao.is_zero()).then_some(*told)
}

/// The seed is known to be right: the rest must follow from it.
fn verify_winner(draw: &Draw) -> Verdict {
    if let Err(why) = lead_to_the_pot(draw.bets, draw.total_pot_wei) {
        return Verdict::Unverifiable { why };
    }
    let totals = totals(draw.bets);
    let players = totals.len() as u64;
    let Some(winner) = winner_among(draw.random_seed, draw.total_pot_wei, totals) else {
        return Verdict::Unverifiable {
            why: "the pot is empty".to_owned(),
        };
    };
    let paid = draw
        .winner_prize_wei
        .checked_add(draw.publisher_commission_wei);
    let why = if winner != draw.winner {
        let announced = draw.winner;
        format!("the winner is {winner:#x}, the contract announced {announced:#x}")
    } else if players != draw.participant_count {
        let announced = draw.participant_count;
        format!("{players} players bet, the contract announced {announced}")
    } else if paid != Some(draw.total_pot_wei) {
        format!(
            "prize {} wei and commission {} wei are not the pot of {} wei",
            draw.winner_prize_wei, draw.publisher_commission_wei, draw.total_pot_wei
        )
    } else {
        return Verdict::Verified;
    };
    Verdict::Mismatch { why }
}

/// Each bet names the pot after it: so bets that a node left out, or put in another order, show.
fn lead_to_the_pot(bets: &[Bet], total_pot_wei: U256) -> Result<(), String> {
    let mut pot_wei = Some(U256::zero());
    let mut is_in_order = true;
    for bet in bets {
        pot_wei = pot_wei.and_then(|pot_wei| pot_wei.checked_add(bet.amount_wei));
        is_in_order &= pot_wei == Some(bet.new_total_wei);
    }
    if pot_wei != Some(total_pot_wei) {
        let found = pot_wei.map_or("more than 2^256".to_owned(), |sum| sum.to_string());
        return Err(format!(
            "the known bets add up to {found} wei, the pot is {total_pot_wei} wei"
        ));
    }
    match is_in_order {
        true => Ok(()),
        false => Err("the bets do not lead from pot to pot in the order they are known".to_owned()),
    }
}
