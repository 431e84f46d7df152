//! The lottery contract as its description has it, without an EVM: what each function demands, changes and logs. That it
//! is the compiled contract's twin is shown by a test that plays both side by side.

use std::sync::OnceLock;

use ethabi::Contract as Abi;
use lottery::chain::types::{Address, H256, U256};
use lottery::lottery::contract::ABI_JSON;
use sha3::{Digest, Keccak256};

/// What never changes of a deployed contract.
#[derive(Clone, Debug)]
pub struct Terms {
    pub publisher: Address,
    pub commission_bps: u64,
    pub min_draw_delay: u64,
    pub max_draw_delay: u64,
    pub min_extension: u64,
    /// Players that are contracts and take no ether.
    pub unpayable: Vec<Address>,
}

/// The contract's storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lottery {
    pub round_id: u64,
    pub is_betting: bool,
    pub start_time: u64,
    pub end_time: u64,
    pub min_draw_time: u64,
    pub max_draw_time: u64,
    pub pot: u128,
    /// In the order of their first bets.
    pub players: Vec<(Address, u128)>,
    pub operator: Address,
    pub min_bet: u128,
    pub betting_duration: u64,
    pub min_participants: u64,
}

/// What the EVM shows of the block that a call runs in.
#[derive(Clone, Copy, Debug)]
pub struct Env {
    pub timestamp: u64,
    pub number: u64,
    pub prevrandao: H256,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub topics: Vec<H256>,
    pub data: Vec<u8>,
}

/// Why a call changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// With the string of a `require`.
    Reverted(&'static str),
    /// Without data: ether that could not be paid, or no such function.
    Bare,
}

impl Halt {
    /// As eth_call gives it: Error(string), or nothing.
    pub fn data(self) -> Vec<u8> {
        match self {
            Halt::Bare => Vec::new(),
            Halt::Reverted(reason) => {
                let text = ethabi::encode(&[ethabi::Token::String(reason.to_owned())]);
                [&[0x08, 0xc3, 0x79, 0xa0][..], &text].concat()
            }
        }
    }
}

/// A call of the contract: who, with how much, what.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub from: Address,
    pub value: u128,
    pub data: &'a [u8],
}

fn abi() -> &'static Abi {
    static ABI: OnceLock<Abi> = OnceLock::new();
    // Invariant: the daemon's own tests load it as well.
    ABI.get_or_init(|| Abi::load(ABI_JSON.as_bytes()).expect("the ABI is one"))
}

/// The first four bytes of the calldata of a function.
pub fn selector(function: &str) -> [u8; 4] {
    let function = abi().function(function);
    function.map_or([0; 4], |function| function.short_signature())
}

/// The name of the function that the calldata calls.
pub fn function_of(data: &[u8]) -> Option<&'static str> {
    static NAMES: OnceLock<Vec<([u8; 4], String)>> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let functions = abi().functions();
        functions
            .map(|function| (function.short_signature(), function.name.clone()))
            .collect()
    });
    let called = names
        .iter()
        .find(|(selector, _)| data.starts_with(selector));
    called.map(|(_, name)| name.as_str())
}

pub fn word(number: impl Into<U256>) -> [u8; 32] {
    let mut bytes = [0; 32];
    number.into().to_big_endian(&mut bytes);
    bytes
}

fn address_word(address: Address) -> [u8; 32] {
    H256::from(address).0
}

fn event(name: &str, indexed: &[[u8; 32]], rest: &[[u8; 32]]) -> Event {
    let signature = abi().event(name).map(ethabi::Event::signature);
    let mut topics = vec![signature.unwrap_or_default()];
    topics.extend(indexed.iter().map(|word| H256(*word)));
    Event {
        topics,
        data: rest.concat(),
    }
}

fn require(holds: bool, otherwise: &'static str) -> Result<(), Halt> {
    match holds {
        true => Ok(()),
        false => Err(Halt::Reverted(otherwise)),
    }
}

fn argument(data: &[u8]) -> Result<U256, Halt> {
    let word = data.get(4..36).ok_or(Halt::Bare)?;
    Ok(U256::from_big_endian(word))
}

impl Lottery {
    pub fn new(operator: Address) -> Lottery {
        Lottery {
            round_id: 1,
            is_betting: false,
            start_time: 0,
            end_time: 0,
            min_draw_time: 0,
            max_draw_time: 0,
            pot: 0,
            players: Vec::new(),
            operator,
            min_bet: 1_000_000_000_000_000,
            betting_duration: 180,
            min_participants: 2,
        }
    }

    /// Runs a call; what it logs. On an error this is in no defined state: work on a copy.
    ///
    /// # Errors
    /// As the contract reverts.
    pub fn run(&mut self, terms: &Terms, call: Call, env: Env) -> Result<Vec<Event>, Halt> {
        match function_of(call.data).ok_or(Halt::Bare)? {
            "placeBet" => self.place_bet(terms, call, env),
            "drawWinner" => self.draw(terms, call, env),
            "refundRound" => {
                self.only_operator(call)?;
                require(self.is_betting, "Round must be in betting state")?;
                require(self.pot > 0, "No funds to refund")?;
                self.refund(terms, 1, "Operator-initiated refund", env)
            }
            "refundExpiredRound" => {
                require(self.is_betting, "Round not in betting state")?;
                require(!self.players.is_empty(), "No participants in round")?;
                require(
                    env.timestamp > self.max_draw_time,
                    "Max draw time not expired",
                )?;
                self.refund(terms, 1, "Draw time expired - public refund", env)
            }
            "startRound" => {
                self.only_operator(call)?;
                require(
                    !self.is_betting,
                    "Must be in waiting state to start new round",
                )?;
                Ok(vec![self.start(terms, env)])
            }
            "extendBettingTime" => self.extend(terms, call, env),
            "updateBettingDuration" => {
                self.only_operator(call)?;
                require(
                    !self.is_betting,
                    "Can only update betting duration in waiting state",
                )?;
                let duration = argument(call.data)?;
                require(!duration.is_zero(), "Betting duration must be positive")?;
                let old = std::mem::replace(&mut self.betting_duration, duration.as_u64());
                let data = [word(old), word(duration), word(env.timestamp)];
                Ok(vec![event("BettingDurationUpdated", &[], &data)])
            }
            _ => Err(Halt::Bare),
        }
    }

    /// What a view answers.
    pub fn view(&self, terms: &Terms, data: &[u8]) -> Option<Vec<u8>> {
        let words = match function_of(data)? {
            "getRound" => self.round_words(),
            "getConfig" => vec![
                address_word(terms.publisher),
                address_word(self.operator),
                word(terms.commission_bps),
                word(self.min_bet),
                word(self.betting_duration),
                word(terms.min_draw_delay),
                word(terms.max_draw_delay),
                word(terms.min_extension),
                word(self.min_participants),
            ],
            "getParticipants" => {
                let mut words = vec![word(32), word(self.players.len())];
                words.extend(self.players.iter().map(|(player, _)| address_word(*player)));
                words
            }
            "getBetAmount" => {
                let player = Address::from_slice(data.get(16..36)?);
                let bet = self.players.iter().find(|(known, _)| *known == player);
                vec![word(bet.map_or(0, |(_, wei)| *wei))]
            }
            _ => return None,
        };
        Some(words.concat())
    }

    fn round_words(&self) -> Vec<[u8; 32]> {
        vec![
            word(self.round_id),
            word(self.start_time),
            word(self.end_time),
            word(self.min_draw_time),
            word(self.max_draw_time),
            word(self.pot),
            word(self.players.len()),
            word(0),
            word(0),
            word(0),
            word(u8::from(self.is_betting)),
        ]
    }

    fn only_operator(&self, call: Call) -> Result<(), Halt> {
        require(
            call.from == self.operator,
            "Only operator can call this function",
        )
    }

    fn start(&mut self, terms: &Terms, env: Env) -> Event {
        self.start_time = env.timestamp;
        self.end_time = env.timestamp + self.betting_duration;
        self.min_draw_time = self.end_time + terms.min_draw_delay;
        self.max_draw_time = self.end_time + terms.max_draw_delay;
        self.is_betting = true;
        self.state_changed(0, 1, env)
    }

    fn state_changed(&self, from: u8, to: u8, env: Env) -> Event {
        let data = [word(from), word(to), word(env.timestamp)];
        event("RoundStateChanged", &[word(self.round_id)], &data)
    }

    fn place_bet(&mut self, terms: &Terms, call: Call, env: Env) -> Result<Vec<Event>, Halt> {
        require(call.value >= self.min_bet, "Bet amount too low")?;
        let mut events = Vec::new();
        if !self.is_betting {
            events.push(self.start(terms, env));
        }
        let is_open = (self.start_time..=self.end_time).contains(&env.timestamp);
        require(is_open, "Betting not active")?;
        match self
            .players
            .iter_mut()
            .find(|(player, _)| *player == call.from)
        {
            Some((_, wei)) => *wei += call.value,
            None => self.players.push((call.from, call.value)),
        }
        self.pot += call.value;
        let indexed = [word(self.round_id), address_word(call.from)];
        let data = [word(call.value), word(self.pot), word(env.timestamp)];
        events.push(event("BetPlaced", &indexed, &data));
        Ok(events)
    }

    fn extend(&mut self, terms: &Terms, call: Call, env: Env) -> Result<Vec<Event>, Halt> {
        self.only_operator(call)?;
        require(self.is_betting, "Must be in betting state")?;
        require(
            env.timestamp <= self.end_time,
            "Betting period already ended",
        )?;
        let end_time = argument(call.data)?;
        let earliest = U256::from(env.timestamp + terms.min_extension);
        require(
            end_time >= earliest,
            "New end time must be at least minEndTimeExtension from now",
        )?;
        require(
            end_time > U256::from(self.end_time),
            "New end time must be later than current end time",
        )?;
        let old = std::mem::replace(&mut self.end_time, end_time.as_u64());
        self.min_draw_time = self.end_time + terms.min_draw_delay;
        self.max_draw_time = self.end_time + terms.max_draw_delay;
        let data = [word(old), word(end_time), word(env.timestamp)];
        Ok(vec![event(
            "EndTimeExtended",
            &[word(self.round_id)],
            &data,
        )])
    }

    fn draw(&mut self, terms: &Terms, call: Call, env: Env) -> Result<Vec<Event>, Halt> {
        self.only_operator(call)?;
        require(self.is_betting, "Round must be in betting state")?;
        require(
            env.timestamp >= self.min_draw_time,
            "Min draw time not reached",
        )?;
        require(
            env.timestamp <= self.max_draw_time,
            "Draw time expired, refund required",
        )?;
        require(self.pot > 0, "No bets placed")?;
        if (self.players.len() as u64) < self.min_participants {
            return self.refund(terms, 2, "Insufficient participants", env);
        }
        let seed = self.seed(env);
        let winner = self.winner(seed);
        if terms.unpayable.contains(&winner) {
            return Err(Halt::Bare);
        }
        let commission = self.pot * u128::from(terms.commission_bps) / 10_000;
        let indexed = [word(self.round_id), address_word(winner)];
        let data = [
            word(self.pot),
            word(self.players.len()),
            word(self.pot - commission),
            word(commission),
            word(seed),
            word(env.timestamp),
        ];
        let mut events = vec![self.state_changed(2, 3, env)];
        events.push(event("RoundCompleted", &indexed, &data));
        events.push(self.reset(env));
        Ok(events)
    }

    fn seed(&self, env: Env) -> U256 {
        let words = [
            word(env.timestamp),
            env.prevrandao.0,
            word(env.number),
            word(self.round_id),
            word(self.pot),
        ];
        U256::from_big_endian(&Keccak256::digest(words.concat()))
    }

    /// The index of the player whom a draw in this block would have win.
    pub fn winner_index(&self, env: Env) -> usize {
        let winner = self.winner(self.seed(env));
        let mut players = self.players.iter();
        players
            .position(|(player, _)| *player == winner)
            .unwrap_or(0)
    }

    fn winner(&self, seed: U256) -> Address {
        let target = (seed % U256::from(self.pot.max(1))).as_u128();
        let mut running = 0;
        let winner = self.players.iter().find(|(_, wei)| {
            running += wei;
            running > target
        });
        winner.map_or_else(Address::zero, |(player, _)| *player)
    }

    fn refund(
        &mut self,
        terms: &Terms,
        old_state: u8,
        reason: &str,
        env: Env,
    ) -> Result<Vec<Event>, Halt> {
        if self
            .players
            .iter()
            .any(|(player, _)| terms.unpayable.contains(player))
        {
            return Err(Halt::Bare);
        }
        let data = ethabi::encode(&[
            ethabi::Token::Uint(self.pot.into()),
            ethabi::Token::Uint(self.players.len().into()),
            ethabi::Token::String(reason.to_owned()),
            ethabi::Token::Uint(env.timestamp.into()),
        ]);
        let mut refunded = event("RoundRefunded", &[word(self.round_id)], &[]);
        refunded.data = data;
        let changed = self.state_changed(old_state, 4, env);
        Ok(vec![changed, refunded, self.reset(env)])
    }

    fn reset(&mut self, env: Env) -> Event {
        self.round_id += 1;
        self.is_betting = false;
        (self.start_time, self.end_time) = (0, 0);
        (self.min_draw_time, self.max_draw_time) = (0, 0);
        self.pot = 0;
        self.players.clear();
        let data = [word(0), word(0), word(0), word(0), word(env.timestamp)];
        event("RoundCreated", &[word(self.round_id)], &data)
    }
}
