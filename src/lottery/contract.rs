//! The contract's interface: calldata for what we send, answers and logs decoded with every range checked, and the
//! revert strings sorted by what they mean for the sender.
//!
//! ethabi checks no ranges (a uint8 of 2314 passes) and its `as_u64` panics, so every number goes through `number`.

use std::collections::HashMap;
use std::sync::LazyLock;

use ethabi::{Contract, Event, Function, RawLog, Token};
use thiserror::Error;

use crate::chain::types::{Address, Log, H256, U256};
use crate::lottery::action::ActionKind;
use crate::lottery::event::LotteryEvent;
use crate::lottery::round::{ContractConfig, Round, RoundState};

/// The ABI as it is served to clients.
pub const ABI_JSON: &str = include_str!("lottery.abi.json");

static CONTRACT: LazyLock<Contract> = LazyLock::new(|| {
    // Invariant: the ABI is part of the binary and a test loads it.
    Contract::load(ABI_JSON.as_bytes()).expect("the embedded ABI is valid")
});

static EVENTS: LazyLock<HashMap<H256, &'static Event>> = LazyLock::new(|| {
    CONTRACT
        .events()
        .map(|event| (event.signature(), event))
        .collect()
});

/// An answer or a log that is not what the contract's interface promises.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    #[error("{what}: {cause}")]
    Malformed { what: &'static str, cause: String },
    #[error("{what}: {field} is {value}, allowed are {allowed}")]
    OutOfRange {
        what: &'static str,
        field: &'static str,
        value: String,
        allowed: &'static str,
    },
}

/// Calldata of an action; a cancel is an empty transfer.
pub fn action_calldata(action: ActionKind) -> Vec<u8> {
    match action {
        ActionKind::Draw => encode("drawWinner", &[]),
        ActionKind::RefundExpired => encode("refundExpiredRound", &[]),
        ActionKind::RefundForced => encode("refundRound", &[]),
        ActionKind::Extend { new_end_time } => encode(
            "extendBettingTime",
            &[Token::Uint(U256::from(new_end_time))],
        ),
        ActionKind::Cancel => Vec::new(),
    }
}

pub fn get_round_calldata() -> Vec<u8> {
    encode("getRound", &[])
}

pub fn get_config_calldata() -> Vec<u8> {
    encode("getConfig", &[])
}

pub fn get_participants_calldata() -> Vec<u8> {
    encode("getParticipants", &[])
}

pub fn get_bet_amount_calldata(player: Address) -> Vec<u8> {
    encode("getBetAmount", &[Token::Address(player)])
}

pub fn decode_round(answer: &[u8]) -> Result<Round, DecodeError> {
    const WHAT: &str = "getRound()";
    let tokens = decode_output("getRound", WHAT, answer)?;
    let fields = match tokens.into_iter().next() {
        Some(Token::Tuple(fields)) if fields.len() == 11 => fields,
        _ => return Err(malformed(WHAT, "not the round's tuple of 11 fields")),
    };
    let mut fields = Fields {
        what: WHAT,
        tokens: fields.into_iter(),
    };
    let round_id = fields.number("roundId")?;
    let start_time = fields.number("startTime")?;
    let end_time = fields.number("endTime")?;
    let min_draw_time = fields.number("minDrawTime")?;
    let max_draw_time = fields.number("maxDrawTime")?;
    let total_pot_wei = fields.uint("totalPot")?;
    let participant_count = fields.number("participantCount")?;
    fields.address("winner")?;
    fields.uint("publisherCommission")?;
    fields.uint("winnerPrize")?;
    let state = fields.state("state")?;
    Ok(Round {
        round_id,
        state,
        start_time,
        end_time,
        min_draw_time,
        max_draw_time,
        total_pot_wei,
        participant_count,
    })
}

pub fn decode_config(answer: &[u8]) -> Result<ContractConfig, DecodeError> {
    const WHAT: &str = "getConfig()";
    let tokens = decode_output("getConfig", WHAT, answer)?;
    let mut fields = Fields {
        what: WHAT,
        tokens: tokens.into_iter(),
    };
    Ok(ContractConfig {
        publisher: fields.address("publisherAddr")?,
        operator: fields.address("operatorAddr")?,
        commission_bps: fields.number("publisherCommission")?,
        min_bet_wei: fields.uint("minBet")?,
        betting_duration_secs: fields.number("bettingDur")?,
        min_draw_delay_secs: fields.number("minDrawDelay")?,
        max_draw_delay_secs: fields.number("maxDrawDelay")?,
        min_end_time_extension_secs: fields.number("minEndTimeExt")?,
        min_participants: fields.number("minPart")?,
    })
}

pub fn decode_participants(answer: &[u8]) -> Result<Vec<Address>, DecodeError> {
    const WHAT: &str = "getParticipants()";
    let tokens = decode_output("getParticipants", WHAT, answer)?;
    match tokens.into_iter().next() {
        Some(Token::Array(items)) => items
            .into_iter()
            .map(|item| {
                item.into_address()
                    .ok_or_else(|| malformed(WHAT, "an item is no address"))
            })
            .collect(),
        _ => Err(malformed(WHAT, "not an array")),
    }
}

pub fn decode_bet_amount(answer: &[u8]) -> Result<U256, DecodeError> {
    const WHAT: &str = "getBetAmount()";
    let tokens = decode_output("getBetAmount", WHAT, answer)?;
    Fields {
        what: WHAT,
        tokens: tokens.into_iter(),
    }
    .uint("amount")
}

/// The event in a log of our contract; None for one that the interface does not name.
pub fn decode_log(log: &Log) -> Result<Option<LotteryEvent>, DecodeError> {
    let Some(event) = log.topics.first().and_then(|topic| EVENTS.get(topic)) else {
        return Ok(None);
    };
    let raw = RawLog {
        topics: log.topics.clone(),
        data: log.data.clone(),
    };
    let parsed = event
        .parse_log(raw)
        .map_err(|error| malformed("event", &format!("{}: {error}", event.name)))?;
    let tokens: Vec<Token> = parsed.params.into_iter().map(|param| param.value).collect();
    let fields = Fields {
        what: "event",
        tokens: tokens.into_iter(),
    };
    decode_fields(&event.name, fields).map(Some)
}

fn decode_fields(name: &str, mut f: Fields) -> Result<LotteryEvent, DecodeError> {
    Ok(match name {
        "BetPlaced" => LotteryEvent::BetPlaced {
            round_id: f.number("roundId")?,
            player: f.address("player")?,
            amount_wei: f.uint("amount")?,
            new_total_wei: f.uint("newTotal")?,
            timestamp: f.number("timestamp")?,
        },
        "BettingDurationUpdated" => LotteryEvent::BettingDurationUpdated {
            old_duration_secs: f.number("oldDuration")?,
            new_duration_secs: f.number("newDuration")?,
            timestamp: f.number("timestamp")?,
        },
        "EndTimeExtended" => LotteryEvent::EndTimeExtended {
            round_id: f.number("roundId")?,
            old_end_time: f.number("oldEndTime")?,
            new_end_time: f.number("newEndTime")?,
            timestamp: f.number("timestamp")?,
        },
        "MinBetAmountUpdated" => LotteryEvent::MinBetAmountUpdated {
            old_amount_wei: f.uint("oldAmount")?,
            new_amount_wei: f.uint("newAmount")?,
            timestamp: f.number("timestamp")?,
        },
        "MinParticipantsUpdated" => LotteryEvent::MinParticipantsUpdated {
            old_min: f.number("oldMin")?,
            new_min: f.number("newMin")?,
            timestamp: f.number("timestamp")?,
        },
        "OperatorUpdated" => LotteryEvent::OperatorUpdated {
            old_operator: f.address("oldOperator")?,
            new_operator: f.address("newOperator")?,
            timestamp: f.number("timestamp")?,
        },
        "RoundCompleted" => LotteryEvent::RoundCompleted {
            round_id: f.number("roundId")?,
            winner: f.address("winner")?,
            total_pot_wei: f.uint("totalPot")?,
            participant_count: f.number("participantCount")?,
            winner_prize_wei: f.uint("winnerPrize")?,
            publisher_commission_wei: f.uint("publisherCommission")?,
            random_seed: f.uint("randomSeed")?,
            timestamp: f.number("timestamp")?,
        },
        "RoundCreated" => LotteryEvent::RoundCreated {
            round_id: f.number("roundId")?,
            start_time: f.number("startTime")?,
            end_time: f.number("endTime")?,
            min_draw_time: f.number("minDrawTime")?,
            max_draw_time: f.number("maxDrawTime")?,
            timestamp: f.number("timestamp")?,
        },
        "RoundRefunded" => LotteryEvent::RoundRefunded {
            round_id: f.number("roundId")?,
            total_refunded_wei: f.uint("totalRefunded")?,
            participant_count: f.number("participantCount")?,
            reason: f.string("reason")?,
            timestamp: f.number("timestamp")?,
        },
        "RoundStateChanged" => LotteryEvent::RoundStateChanged {
            round_id: f.number("roundId")?,
            old_state: f.state("oldState")?,
            new_state: f.state("newState")?,
            timestamp: f.number("timestamp")?,
        },
        "Withdrawn" => LotteryEvent::Withdrawn {
            to: f.address("to")?,
            amount_wei: f.uint("amount")?,
            timestamp: f.number("timestamp")?,
        },
        other => return Err(malformed("event", &format!("{other} is not handled"))),
    })
}

/// What a named revert means for whoever wants to send the action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevertMeaning {
    /// The block's time is too early: try again at a later block.
    NotYet,
    /// The draw window is over.
    WindowOver,
    /// The round is not (or no longer) running: someone else may have ended it.
    NotRunning,
    /// Sending can never work until the contract's state changes: wrong operator, no bets.
    Hopeless,
    /// Empty data: a push of ether failed, so another block's draw may pass.
    Unpayable,
    /// Anything else: blocks this head only.
    Other,
}

/// Sorts a revert of drawWinner, refundExpiredRound, refundRound or extendBettingTime.
pub fn revert_meaning(reason: Option<&str>, data: &[u8]) -> RevertMeaning {
    match reason {
        Some("Min draw time not reached" | "Max draw time not expired") => RevertMeaning::NotYet,
        Some("Draw time expired, refund required") => RevertMeaning::WindowOver,
        Some(
            "Round must be in betting state"
            | "Round not in betting state"
            | "Must be in betting state"
            | "Betting period already ended",
        ) => RevertMeaning::NotRunning,
        Some(
            "Operator not set"
            | "Only operator can call this function"
            | "No bets placed"
            | "No funds to refund"
            | "No participants in round",
        ) => RevertMeaning::Hopeless,
        None if data.is_empty() => RevertMeaning::Unpayable,
        _ => RevertMeaning::Other,
    }
}

fn encode(name: &str, tokens: &[Token]) -> Vec<u8> {
    // Invariant: names and argument types here are those of the embedded ABI; a test encodes each.
    function(name)
        .encode_input(tokens)
        .expect("calldata of a known function")
}

fn function(name: &str) -> &'static Function {
    // Invariant: as above.
    CONTRACT
        .function(name)
        .expect("a function of the embedded ABI")
}

fn decode_output(name: &str, what: &'static str, answer: &[u8]) -> Result<Vec<Token>, DecodeError> {
    if answer.is_empty() {
        return Err(malformed(
            what,
            "an empty answer: no such contract at this address and block",
        ));
    }
    function(name)
        .decode_output(answer)
        .map_err(|error| malformed(what, &error.to_string()))
}

fn malformed(what: &'static str, cause: &str) -> DecodeError {
    DecodeError::Malformed {
        what,
        cause: cause.to_owned(),
    }
}

/// Takes decoded values one by one, checking type and range.
struct Fields {
    what: &'static str,
    tokens: std::vec::IntoIter<Token>,
}

impl Fields {
    fn uint(&mut self, field: &'static str) -> Result<U256, DecodeError> {
        self.tokens
            .next()
            .and_then(Token::into_uint)
            .ok_or_else(|| malformed(self.what, field))
    }

    fn number(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let value = self.uint(field)?;
        u64::try_from(value).map_err(|_| DecodeError::OutOfRange {
            what: self.what,
            field,
            value: value.to_string(),
            allowed: "0 to 2^64 - 1",
        })
    }

    fn state(&mut self, field: &'static str) -> Result<RoundState, DecodeError> {
        let value = self.uint(field)?;
        u64::try_from(value)
            .ok()
            .and_then(RoundState::from_number)
            .ok_or_else(|| DecodeError::OutOfRange {
                what: self.what,
                field,
                value: value.to_string(),
                allowed: "0 to 4",
            })
    }

    fn address(&mut self, field: &'static str) -> Result<Address, DecodeError> {
        self.tokens
            .next()
            .and_then(Token::into_address)
            .ok_or_else(|| malformed(self.what, field))
    }

    fn string(&mut self, field: &'static str) -> Result<String, DecodeError> {
        self.tokens
            .next()
            .and_then(Token::into_string)
            .ok_or_else(|| malformed(self.what, field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn selector(calldata: &[u8]) -> String {
        calldata[..4]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    fn word(value: u64) -> [u8; 32] {
        let mut bytes = [0; 32];
        U256::from(value).to_big_endian(&mut bytes);
        bytes
    }

    fn words(values: &[u64]) -> Vec<u8> {
        values.iter().flat_map(|value| word(*value)).collect()
    }

    #[test]
    fn selectors_are_the_first_four_bytes_of_the_signatures_hash() {
        use sha3::{Digest, Keccak256};
        for (calldata, signature) in [
            (action_calldata(ActionKind::Draw), "drawWinner()"),
            (
                action_calldata(ActionKind::RefundExpired),
                "refundExpiredRound()",
            ),
            (action_calldata(ActionKind::RefundForced), "refundRound()"),
            (
                action_calldata(ActionKind::Extend { new_end_time: 9 }),
                "extendBettingTime(uint256)",
            ),
            (get_round_calldata(), "getRound()"),
            (get_config_calldata(), "getConfig()"),
            (get_participants_calldata(), "getParticipants()"),
            (
                get_bet_amount_calldata(Address::zero()),
                "getBetAmount(address)",
            ),
        ] {
            assert_eq!(
                calldata[..4],
                Keccak256::digest(signature.as_bytes())[..4],
                "{signature}"
            );
        }
        assert!(action_calldata(ActionKind::Cancel).is_empty());
        let extend = action_calldata(ActionKind::Extend {
            new_end_time: 0x1234,
        });
        assert_eq!(selector(&extend).len(), 8);
        assert_eq!(extend[4..], word(0x1234));
    }

    #[test]
    fn a_round_is_decoded_field_by_field() {
        let round = decode_round(&words(&[7, 100, 280, 285, 460, 5_000, 3, 0, 0, 0, 1])).unwrap();
        let expected = Round {
            round_id: 7,
            state: RoundState::Betting,
            start_time: 100,
            end_time: 280,
            min_draw_time: 285,
            max_draw_time: 460,
            total_pot_wei: U256::from(5_000),
            participant_count: 3,
        };
        assert_eq!(round, expected);
    }

    #[test]
    fn out_of_range_numbers_are_errors_that_name_field_and_value() {
        let error = decode_round(&words(&[7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2314])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "getRound(): state is 2314, allowed are 0 to 4"
        );
        let mut answer = words(&[0; 11]);
        answer[0] = 1;
        let error = decode_round(&answer).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("getRound(): roundId is 4523128485832663883733241601901871400518"),
            "{error}"
        );
        assert!(decode_round(&[])
            .unwrap_err()
            .to_string()
            .contains("no such contract"));
        assert!(decode_round(&[0; 31]).is_err());
    }

    #[test]
    fn a_config_is_decoded_in_the_contracts_order() {
        let config = decode_config(&words(&[1, 2, 250, 1_000, 180, 5, 180, 60, 2])).unwrap();
        assert_eq!(config.publisher, Address::from_low_u64_be(1));
        assert_eq!(config.operator, Address::from_low_u64_be(2));
        assert_eq!(
            (config.commission_bps, config.betting_duration_secs),
            (250, 180)
        );
        assert_eq!(
            (config.min_draw_delay_secs, config.max_draw_delay_secs),
            (5, 180)
        );
        assert_eq!(
            (config.min_end_time_extension_secs, config.min_participants),
            (60, 2)
        );
    }

    fn log(topics: Vec<H256>, data: Vec<u8>) -> Log {
        Log {
            address: Address::zero(),
            topics,
            data,
            block_number: 1,
            block_hash: H256::zero(),
            transaction_hash: H256::zero(),
            log_index: 0,
        }
    }

    #[test]
    fn a_bet_is_decoded_from_topics_and_data() {
        let signature = CONTRACT.event("BetPlaced").unwrap().signature();
        let log = log(
            vec![signature, H256(word(7)), H256(word(0xabc))],
            words(&[10, 30, 99]),
        );
        let expected = LotteryEvent::BetPlaced {
            round_id: 7,
            player: Address::from_low_u64_be(0xabc),
            amount_wei: U256::from(10),
            new_total_wei: U256::from(30),
            timestamp: 99,
        };
        assert_eq!(decode_log(&log), Ok(Some(expected)));
    }

    #[test]
    fn every_event_of_the_abi_is_handled_and_foreign_topics_are_none() {
        for event in CONTRACT.events() {
            let indexed = event.inputs.iter().filter(|input| input.indexed).count();
            let mut topics = vec![event.signature()];
            topics.resize(1 + indexed, H256::zero());
            let data = match event.name.as_str() {
                "RoundRefunded" => words(&[0, 0, 128, 0, 0]),
                _ => words(&vec![0; event.inputs.len() - indexed]),
            };
            let decoded = decode_log(&log(topics, data)).unwrap().unwrap();
            assert_eq!(decoded.name(), event.name);
        }
        assert_eq!(
            decode_log(&log(vec![H256::repeat_byte(1)], vec![])),
            Ok(None)
        );
        assert_eq!(decode_log(&log(vec![], vec![])), Ok(None));
    }

    #[test]
    fn reverts_are_sorted_by_their_strings() {
        for (reason, data, meaning) in [
            (
                Some("Min draw time not reached"),
                &b"x"[..],
                RevertMeaning::NotYet,
            ),
            (
                Some("Max draw time not expired"),
                b"x",
                RevertMeaning::NotYet,
            ),
            (
                Some("Draw time expired, refund required"),
                b"x",
                RevertMeaning::WindowOver,
            ),
            (
                Some("Round must be in betting state"),
                b"x",
                RevertMeaning::NotRunning,
            ),
            (
                Some("Only operator can call this function"),
                b"x",
                RevertMeaning::Hopeless,
            ),
            (Some("No bets placed"), b"x", RevertMeaning::Hopeless),
            (None, b"", RevertMeaning::Unpayable),
            (None, b"x", RevertMeaning::Other),
            (Some("something new"), b"x", RevertMeaning::Other),
        ] {
            assert_eq!(revert_meaning(reason, data), meaning, "{reason:?}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_or_log_panics(
            data in proptest::collection::vec(any::<u8>(), 0..400),
            topics in proptest::collection::vec(any::<[u8; 32]>(), 0..5),
            event in 0..11usize,
        ) {
            let _ = (decode_round(&data), decode_config(&data), decode_participants(&data), decode_bet_amount(&data));
            let mut topics: Vec<H256> = topics.into_iter().map(H256).collect();
            let _ = decode_log(&log(topics.clone(), data.clone()));
            topics.insert(0, CONTRACT.events().nth(event).unwrap().signature());
            let _ = decode_log(&log(topics, data));
        }
    }
}
