//! The contract's functions: calldata for what we send and ask, answers decoded with every range checked, and the revert
//! strings sorted by what they mean for the sender. Its events stand in `event`.

use ethabi::Token;

use crate::chain::types::{Address, U256};
use crate::lottery::abi::{decode_output, encode, malformed};
use crate::lottery::action::ActionKind;
use crate::lottery::round::{ContractConfig, Round, RoundState};

pub use crate::lottery::abi::{DecodeError, ABI_JSON};

/// Calldata of an action; a cancel is an empty transfer.
pub(crate) fn action_calldata(action: ActionKind) -> Vec<u8> {
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

pub(crate) fn get_participants_calldata() -> Vec<u8> {
    encode("getParticipants", &[])
}

pub(crate) fn get_bet_amount_calldata(player: Address) -> Vec<u8> {
    encode("getBetAmount", &[Token::Address(player)])
}

pub(crate) fn pending_withdrawals_calldata(account: Address) -> Vec<u8> {
    encode("pendingWithdrawals", &[Token::Address(account)])
}

/// # Errors
/// An answer that is no round: too short, or a number out of range.
pub fn decode_round(answer: &[u8]) -> Result<Round, DecodeError> {
    let mut fields = decode_output("getRound", answer)?.enter_tuple()?;
    let round_id = fields.take("roundId")?;
    if round_id == 0 {
        return Err(malformed("getRound()", "there is no round 0"));
    }
    let start_time = fields.take("startTime")?;
    let end_time = fields.take("endTime")?;
    let min_draw_time = fields.take("minDrawTime")?;
    let max_draw_time = fields.take("maxDrawTime")?;
    let total_pot_wei = fields.take("totalPot")?;
    let participant_count = fields.take("participantCount")?;
    fields.take::<Address>("winner")?;
    fields.take::<U256>("publisherCommission")?;
    fields.take::<U256>("winnerPrize")?;
    let state: RoundState = fields.take("state")?;
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

/// # Errors
/// An answer that is no configuration: too short, or a number out of range.
pub(crate) fn decode_config(answer: &[u8]) -> Result<ContractConfig, DecodeError> {
    let mut fields = decode_output("getConfig", answer)?;
    let config = ContractConfig {
        publisher: fields.take("publisherAddr")?,
        operator: fields.take("operatorAddr")?,
        commission_bps: fields.take("publisherCommission")?,
        min_bet_wei: fields.take("minBet")?,
        betting_duration_secs: fields.take("bettingDur")?,
        min_draw_delay_secs: fields.take("minDrawDelay")?,
        max_draw_delay_secs: fields.take("maxDrawDelay")?,
        min_end_time_extension_secs: fields.take("minEndTimeExt")?,
        min_participants: fields.take("minPart")?,
    };
    // The contract takes no fewer. A cache that answers every call with the round, and a node without the contract's
    // storage, would make its operator another one.
    match config.min_participants {
        0 | 1 => Err(malformed("getConfig()", "fewer than 2 are no participants")),
        _ => Ok(config),
    }
}

/// # Errors
/// An answer that is no list of addresses.
pub(crate) fn decode_participants(answer: &[u8]) -> Result<Vec<Address>, DecodeError> {
    decode_output("getParticipants", answer)?.take("participants")
}

/// # Errors
/// An answer that is no number.
pub(crate) fn decode_pending_withdrawals(answer: &[u8]) -> Result<U256, DecodeError> {
    decode_output("pendingWithdrawals", answer)?.take("amount")
}

/// # Errors
/// An answer that is no number.
pub(crate) fn decode_bet_amount(answer: &[u8]) -> Result<U256, DecodeError> {
    decode_output("getBetAmount", answer)?.take("amount")
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

/// The action that calldata to the contract asks for, as far as it is one of the operator's.
pub(crate) fn action_of_calldata(data: &[u8]) -> Option<ActionKind> {
    let plain = [
        ActionKind::Draw,
        ActionKind::RefundExpired,
        ActionKind::RefundForced,
    ];
    if let Some(kind) = plain
        .into_iter()
        .find(|kind| action_calldata(*kind) == data)
    {
        return Some(kind);
    }
    let word = data.get(4..).filter(|rest| rest.len() == 32)?;
    let new_end_time = u64::try_from(U256::from_big_endian(word)).ok()?;
    let extend = ActionKind::Extend { new_end_time };
    (action_calldata(extend) == data).then_some(extend)
}

/// The contract's reasons.
const MEANINGS: &[(&str, RevertMeaning)] = &[
    ("Min draw time not reached", RevertMeaning::NotYet),
    ("Max draw time not expired", RevertMeaning::NotYet),
    (
        "Draw time expired, refund required",
        RevertMeaning::WindowOver,
    ),
    ("Round must be in betting state", RevertMeaning::NotRunning),
    ("Round not in betting state", RevertMeaning::NotRunning),
    ("Must be in betting state", RevertMeaning::NotRunning),
    ("Betting period already ended", RevertMeaning::NotRunning),
    ("Operator not set", RevertMeaning::Hopeless),
    (
        "Only operator can call this function",
        RevertMeaning::Hopeless,
    ),
    ("No bets placed", RevertMeaning::Hopeless),
    ("No funds to refund", RevertMeaning::Hopeless),
    ("No participants in round", RevertMeaning::Hopeless),
];

/// Sorts a revert of drawWinner, refundExpiredRound, refundRound or extendBettingTime.
pub(crate) fn revert_meaning(reason: Option<&str>, data: &[u8]) -> RevertMeaning {
    let Some(reason) = reason else {
        return match data.is_empty() {
            true => RevertMeaning::Unpayable,
            false => RevertMeaning::Other,
        };
    };
    // Nodes wrap the contract's words in their own.
    let is_it = |(words, _): &&(&str, RevertMeaning)| reason.contains(words);
    let meaning = MEANINGS.iter().find(is_it).map(|(_, meaning)| *meaning);
    meaning.unwrap_or(RevertMeaning::Other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lottery::abi::tests::{word, words};
    use proptest::prelude::*;

    fn selector(calldata: &[u8]) -> String {
        calldata[..4]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
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
            "getRound(): state is 2314, allowed is 0 to 4"
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
    fn zeros_and_another_calls_answer_are_no_round_and_no_config() {
        let round = words(&[7, 100, 280, 285, 460, 1_000, 2, 0, 0, 0, 1]);
        assert_eq!(decode_round(&round).unwrap().round_id, 7);
        assert!(decode_config(&round).is_err());
        assert!(decode_config(&words(&[0; 9])).is_err());
        assert!(decode_round(&words(&[0; 11])).is_err());
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
            (
                Some("reason: [Error(Min draw time not reached)], vm error"),
                b"",
                RevertMeaning::NotYet,
            ),
        ] {
            assert_eq!(revert_meaning(reason, data), meaning, "{reason:?}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(data in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = (decode_round(&data), decode_config(&data), decode_participants(&data), decode_bet_amount(&data));
        }
    }
}
