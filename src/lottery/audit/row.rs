//! One finished round as a line of an audit; what the line's round means for the whole is left to the audit.

use serde::{Deserialize, Serialize};

use crate::chain::types::{Address, H256, U256};
use crate::lottery::history::{FinishedRound, Outcome};

/// Wei as a decimal text, as everywhere in JSON.
pub(super) mod decimal {
    use super::U256;
    use serde::{de::Error, Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(wei: &U256, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(wei)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<U256, D::Error> {
        let text = String::deserialize(deserializer)?;
        U256::from_dec_str(&text).map_err(|error| D::Error::custom(format!("{text}: {error}")))
    }
}

/// Addresses with their checksum, as everywhere in JSON.
pub(super) mod checksummed {
    use std::collections::BTreeMap;

    use super::Address;
    use crate::chain::types::to_checksum;
    use serde::{Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        address: &Address,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&to_checksum(address))
    }

    pub(crate) fn option<S: Serializer>(
        address: &Option<Address>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        address.as_ref().map(to_checksum).serialize(serializer)
    }

    pub(crate) fn keys<S: Serializer>(
        counts: &BTreeMap<Address, u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            counts
                .iter()
                .map(|(address, count)| (to_checksum(address), count)),
        )
    }
}

/// Who sent the transaction that ended a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    pub account: Address,
    /// False where it called the lottery through another contract: who that is for the lottery, nobody tells.
    pub is_caller: bool,
}

/// One finished round in a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    pub round_id: u64,
    /// RoundCompleted or RoundRefunded.
    pub end: String,
    pub block_number: u64,
    pub transaction_hash: H256,
    /// Unix seconds.
    pub finished_at: u64,
    pub bets: usize,
    pub players: u64,
    #[serde(with = "decimal")]
    pub pot_wei: U256,
    #[serde(serialize_with = "checksummed::option")]
    pub winner: Option<Address>,
    #[serde(with = "decimal")]
    pub prize_wei: U256,
    #[serde(with = "decimal")]
    pub commission_wei: U256,
    pub refund_reason: Option<String>,
    pub verdict: String,
    pub why: Option<String>,
    pub delay_blocks: Option<u64>,
    pub delay_secs: Option<u64>,
    /// Who sent the transaction that ended it.
    #[serde(serialize_with = "checksummed::option")]
    pub sender: Option<Address>,
    /// Of all logs from the first round of the audit to this one's end; zero where nobody has taken it.
    pub logs_digest: H256,
}

impl Row {
    pub(super) fn of(round: &FinishedRound, sender: Option<Address>, logs_digest: H256) -> Row {
        let end = match round.outcome {
            Outcome::Completed { .. } => "RoundCompleted",
            Outcome::Refunded { .. } => "RoundRefunded",
        };
        Row {
            round_id: round.round_id,
            end: end.to_owned(),
            block_number: round.position.block_number,
            transaction_hash: round.position.transaction_hash,
            finished_at: round.position.block_timestamp,
            bets: round.bets.len(),
            players: round.participant_count,
            pot_wei: round.total_pot_wei,
            winner: None,
            prize_wei: U256::zero(),
            commission_wei: U256::zero(),
            refund_reason: None,
            verdict: round.proof.verdict.label().to_owned(),
            why: round.proof.verdict.why().map(str::to_owned),
            delay_blocks: round.draw_delay.map(|delay| delay.blocks),
            delay_secs: round.draw_delay.map(|delay| delay.secs),
            sender,
            logs_digest,
        }
    }
}
