//! The contract's events: ONE table of their names, arguments and words, from which decoding, the names and values that
//! clients see, and the sentences of the live feed come. A new event of the contract is a new entry here.

use serde::{Deserialize, Serialize};

use crate::chain::types::{Address, Log, H256, U256};
use crate::lottery::abi::{self, AbiValue, DecodeError, Fields};
use crate::lottery::round::RoundState;
use crate::lottery::words::{ether, short};

/// Where in the chain an item was logged. Block hash, transaction hash and log index are its identity; its order is
/// (block, transaction, log), since some chains count the logs anew in each transaction.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(Default))]
pub struct LogPosition {
    pub block_number: u64,
    pub block_hash: H256,
    /// The block's timestamp, unix seconds: the contract stamps every event with it.
    pub block_timestamp: u64,
    pub transaction_hash: H256,
    pub transaction_index: u64,
    pub log_index: u64,
}

impl LogPosition {
    /// What logs are ordered by: number of the block, transaction in it, log.
    pub fn order(&self) -> (u64, u64, u64) {
        (self.block_number, self.transaction_index, self.log_index)
    }
}

/// A decoded event with its position in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    pub event: LotteryEvent,
    pub position: LogPosition,
}

/// One BetPlaced of a round.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Bet {
    pub player: Address,
    pub amount_wei: U256,
    /// The pot after this bet, which proves its place in the order.
    pub new_total_wei: U256,
    pub position: LogPosition,
}

/// The value of an event's argument, as what it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Argument<'a> {
    /// A time, a duration, a count or an id: it fits a JSON number.
    Number(u64),
    /// 256 bits: wei, or a seed.
    Quantity(U256),
    Address(Address),
    Text(&'a str),
}

/// Builds the enum of events and all that is told of them. An entry is the event's name in the ABI, its arguments in the
/// ABI's order as `our_name: type = "abiName"`, and its sentence. Each event ends with the argument `timestamp`, the
/// block's time, which is kept with the event's position.
macro_rules! events {
    ($(
        $name:ident { $($field:ident: $kind:ty = $abi_name:literal,)* } => $sentence:expr;
    )*) => {
        /// Every event of the contract, decoded.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum LotteryEvent {
            $( $name { $($field: $kind,)* }, )*
        }

        impl LotteryEvent {
            /// The names of all events in the ABI.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name),)*];

            /// The event's name in the ABI.
            pub fn name(&self) -> &'static str {
                match self {
                    $( LotteryEvent::$name { .. } => stringify!($name), )*
                }
            }

            /// The arguments under their names in the ABI, in its order, but for the timestamp.
            pub(crate) fn arguments(&self) -> Vec<(&'static str, Argument<'_>)> {
                match self {
                    $( LotteryEvent::$name { $($field,)* } => vec![$(($abi_name, $field.as_argument()),)*], )*
                }
            }

            /// What happened, in words for people.
            pub fn sentence(&self) -> String {
                // A sentence need not name every argument.
                #[allow(unused_variables)]
                match self {
                    $( LotteryEvent::$name { $($field,)* } => $sentence, )*
                }
            }

            fn decode(name: &str, fields: &mut Fields) -> Result<LotteryEvent, DecodeError> {
                match name {
                    $( stringify!($name) => Ok(LotteryEvent::$name { $($field: fields.take($abi_name)?,)* }), )*
                    other => Err(abi::malformed(other, "an event of the ABI that no entry describes")),
                }
            }
        }
    };
}

events! {
    BetPlaced {
        round_id: u64 = "roundId",
        player: Address = "player",
        amount_wei: U256 = "amount",
        new_total_wei: U256 = "newTotal",
    } => format!("{} bet {} ETH in round {round_id}", short(*player), ether(*amount_wei));

    BettingDurationUpdated {
        old_duration_secs: u64 = "oldDuration",
        new_duration_secs: u64 = "newDuration",
    } => format!("Betting now lasts {new_duration_secs} s (was {old_duration_secs} s)");

    EndTimeExtended {
        round_id: u64 = "roundId",
        old_end_time: u64 = "oldEndTime",
        new_end_time: u64 = "newEndTime",
    } => format!(
        "Betting in round {round_id} goes on {} s longer",
        new_end_time.saturating_sub(*old_end_time)
    );

    MinBetAmountUpdated {
        old_amount_wei: U256 = "oldAmount",
        new_amount_wei: U256 = "newAmount",
    } => format!(
        "The smallest bet is now {} ETH (was {} ETH)",
        ether(*new_amount_wei),
        ether(*old_amount_wei)
    );

    MinParticipantsUpdated {
        old_min: u64 = "oldMin",
        new_min: u64 = "newMin",
    } => format!("A draw now needs {new_min} players (was {old_min})");

    OperatorUpdated {
        old_operator: Address = "oldOperator",
        new_operator: Address = "newOperator",
    } => format!(
        "{} is the operator now (was {})",
        short(*new_operator),
        short(*old_operator)
    );

    RoundCompleted {
        round_id: u64 = "roundId",
        winner: Address = "winner",
        total_pot_wei: U256 = "totalPot",
        participant_count: u64 = "participantCount",
        winner_prize_wei: U256 = "winnerPrize",
        publisher_commission_wei: U256 = "publisherCommission",
        random_seed: U256 = "randomSeed",
    } => format!("{} won {} ETH in round {round_id}", short(*winner), ether(*winner_prize_wei));

    RoundCreated {
        round_id: u64 = "roundId",
        start_time: u64 = "startTime",
        end_time: u64 = "endTime",
        min_draw_time: u64 = "minDrawTime",
        max_draw_time: u64 = "maxDrawTime",
    } => format!("Round {round_id} waits for its first bet");

    RoundRefunded {
        round_id: u64 = "roundId",
        total_refunded_wei: U256 = "totalRefunded",
        participant_count: u64 = "participantCount",
        reason: String = "reason",
    } => format!(
        "Round {round_id} was refunded, {} ETH in all: {reason}",
        ether(*total_refunded_wei)
    );

    RoundStateChanged {
        round_id: u64 = "roundId",
        old_state: RoundState = "oldState",
        new_state: RoundState = "newState",
    } => format!("Round {round_id} went from {} to {}", old_state.label(), new_state.label());

    Withdrawn {
        to: Address = "to",
        amount_wei: U256 = "amount",
    } => format!("{} withdrew {} ETH", short(*to), ether(*amount_wei));
}

impl LotteryEvent {
    /// True for events after which getConfig() answers differently.
    pub fn changes_config(&self) -> bool {
        matches!(
            self,
            LotteryEvent::BettingDurationUpdated { .. }
                | LotteryEvent::MinBetAmountUpdated { .. }
                | LotteryEvent::MinParticipantsUpdated { .. }
                | LotteryEvent::OperatorUpdated { .. }
        )
    }

    /// The round that the event is about; None for those about the contract.
    pub(crate) fn round_id(&self) -> Option<u64> {
        match self {
            LotteryEvent::BetPlaced { round_id, .. }
            | LotteryEvent::EndTimeExtended { round_id, .. }
            | LotteryEvent::RoundCompleted { round_id, .. }
            | LotteryEvent::RoundCreated { round_id, .. }
            | LotteryEvent::RoundRefunded { round_id, .. }
            | LotteryEvent::RoundStateChanged { round_id, .. } => Some(*round_id),
            LotteryEvent::BettingDurationUpdated { .. }
            | LotteryEvent::MinBetAmountUpdated { .. }
            | LotteryEvent::MinParticipantsUpdated { .. }
            | LotteryEvent::OperatorUpdated { .. }
            | LotteryEvent::Withdrawn { .. } => None,
        }
    }

    /// The round that the event ended, by a draw or a refund.
    pub fn ended_round(&self) -> Option<u64> {
        match self {
            LotteryEvent::RoundCompleted { round_id, .. }
            | LotteryEvent::RoundRefunded { round_id, .. } => Some(*round_id),
            _ => None,
        }
    }
}

impl EventRecord {
    /// The event in a log of our contract; None for one that the interface does not name.
    ///
    /// # Errors
    /// A log that has the signature of one of the events but not its arguments, or one of them out of range.
    pub(crate) fn from_log(log: &Log) -> Result<Option<EventRecord>, DecodeError> {
        let Some((name, mut fields)) = abi::decode_log(log)? else {
            return Ok(None);
        };
        let event = LotteryEvent::decode(name, &mut fields)?;
        let position = LogPosition {
            block_number: log.block_number,
            block_hash: log.block_hash,
            block_timestamp: fields.take("timestamp")?,
            transaction_hash: log.transaction_hash,
            transaction_index: log.transaction_index,
            log_index: log.log_index,
        };
        Ok(Some(EventRecord { event, position }))
    }
}

/// A type of the table: how it is told to clients.
trait AsArgument: AbiValue {
    fn as_argument(&self) -> Argument<'_>;
}

impl AsArgument for u64 {
    fn as_argument(&self) -> Argument<'_> {
        Argument::Number(*self)
    }
}

impl AsArgument for U256 {
    fn as_argument(&self) -> Argument<'_> {
        Argument::Quantity(*self)
    }
}

impl AsArgument for Address {
    fn as_argument(&self) -> Argument<'_> {
        Argument::Address(*self)
    }
}

impl AsArgument for RoundState {
    fn as_argument(&self) -> Argument<'_> {
        Argument::Number(self.number().into())
    }
}

impl AsArgument for String {
    fn as_argument(&self) -> Argument<'_> {
        Argument::Text(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lottery::abi::tests::{both_ways, events, word, words};
    use proptest::prelude::*;

    fn log(topics: Vec<H256>, data: Vec<u8>) -> Log {
        Log {
            address: Address::zero(),
            topics,
            data,
            block_number: 1,
            block_hash: H256::zero(),
            transaction_hash: H256::zero(),
            transaction_index: 0,
            log_index: 0,
        }
    }

    /// A log of this event whose arguments are all 0.
    fn zeros(event: &ethabi::Event) -> Log {
        let indexed = event.inputs.iter().filter(|input| input.indexed).count();
        let mut topics = vec![event.signature()];
        topics.resize(1 + indexed, H256::zero());
        let data = match event.name.as_str() {
            "RoundRefunded" => words(&[0, 0, 128, 0, 0]),
            _ => words(&vec![0; event.inputs.len() - indexed]),
        };
        log(topics, data)
    }

    #[test]
    fn a_bet_is_decoded_from_topics_and_data() {
        let placed = events().find(|event| event.name == "BetPlaced").unwrap();
        let topics = vec![placed.signature(), H256(word(7)), H256(word(0xabc))];
        let record = EventRecord::from_log(&log(topics, words(&[10, 30, 99]))).unwrap();
        let expected = LotteryEvent::BetPlaced {
            round_id: 7,
            player: Address::from_low_u64_be(0xabc),
            amount_wei: U256::from(10),
            new_total_wei: U256::from(30),
        };
        let record = record.unwrap();
        assert_eq!(
            (record.event, record.position.block_timestamp),
            (expected, 99)
        );
    }

    /// The table agrees with the ABI: the same events, and each one's arguments by the same names in the same order.
    #[test]
    fn the_table_is_the_abi() {
        let mut named: Vec<&str> = events().map(|event| event.name.as_str()).collect();
        named.sort_unstable();
        assert_eq!(LotteryEvent::NAMES, named);
        for event in events() {
            let record = EventRecord::from_log(&zeros(event)).unwrap().unwrap();
            assert_eq!(record.event.name(), event.name);
            let arguments = record.event.arguments();
            let ours = arguments.iter().map(|(name, _)| *name).chain(["timestamp"]);
            let theirs = event.inputs.iter().map(|input| input.name.as_str());
            assert!(ours.eq(theirs), "{}", event.name);
        }
    }

    #[test]
    fn foreign_topics_are_none_and_bad_arguments_are_named() {
        let foreign = log(vec![H256::repeat_byte(1)], vec![]);
        assert_eq!(EventRecord::from_log(&foreign), Ok(None));
        assert_eq!(EventRecord::from_log(&log(vec![], vec![])), Ok(None));

        let changed = events().find(|event| event.name == "RoundStateChanged");
        let topics = vec![changed.unwrap().signature(), H256(word(7))];
        let error = EventRecord::from_log(&log(topics.clone(), words(&[1, 5, 99])));
        assert_eq!(
            error.unwrap_err().to_string(),
            "RoundStateChanged: newState is 5, allowed is 0 to 4"
        );
        let short = EventRecord::from_log(&log(topics, words(&[1])));
        assert!(short
            .unwrap_err()
            .to_string()
            .starts_with("RoundStateChanged: "));
    }

    proptest! {
        #[test]
        fn no_log_panics(
            data in proptest::collection::vec(any::<u8>(), 0..400),
            topics in proptest::collection::vec(any::<[u8; 32]>(), 0..5),
            event in 0..11usize,
        ) {
            let mut topics: Vec<H256> = topics.into_iter().map(H256).collect();
            let _ = EventRecord::from_log(&log(topics.clone(), data.clone()));
            let event = events().nth(event).unwrap();
            topics.insert(0, event.signature());
            let log = log(topics, data);
            let _ = EventRecord::from_log(&log);
            let [theirs, ours] = both_ways(event, &log);
            prop_assert_eq!(theirs, ours);
        }
    }
}
