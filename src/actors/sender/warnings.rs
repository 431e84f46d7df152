//! What the owner should know before it is too late.

use crate::actors::sender::reads::Gathered;
use crate::actors::sender::{least_price, Sender, DRAW_GAS, REFUND_GAS};
use crate::chain::fees::{Prices, Quote};
use crate::chain::method::Method;
use crate::chain::types::{BlockId, U256};
use crate::lottery::alert::Severity;
use crate::lottery::round::Round;
use crate::lottery::snapshot::Snapshot;

/// Below so many draws' worth of balance a warning is due.
const DRAWS_WORTH_MIN: u64 = 3;

/// Something to tell the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub code: &'static str,
    pub severity: Severity,
    pub message: String,
}

/// What a draw asks of an endpoint, as far as a rehearsal can ask it too.
const REHEARSING: &[Method] = &[
    Method::BlockByNumber,
    Method::TransactionCount,
    Method::GetBalance,
];

impl Sender {
    /// Looks at everything that a draw will need; one entry a problem.
    pub fn rehearse(&mut self, snapshot: &Snapshot, round: &Round) -> Vec<String> {
        let mut problems = Vec::new();
        let address = self.key.address();
        match snapshot.config.as_deref() {
            Some(config) if config.operator != address => problems.push(format!(
                "the key's address {address:#x} is not the contract's operator {:#x}",
                config.operator
            )),
            Some(_) => {}
            None => problems.push("the contract's configuration is not known".to_owned()),
        }
        let read = self.endpoints.with_endpoint(REHEARSING, |endpoint| {
            let head = endpoint.head()?;
            let latest = endpoint.transaction_count(address, BlockId::Latest)?;
            let pending = endpoint
                .transaction_count(address, BlockId::Pending)
                .unwrap_or(latest);
            let balance_wei = endpoint.balance(address, BlockId::Latest)?;
            Ok((
                latest,
                pending,
                balance_wei,
                self.prices(endpoint, head.base_fee_wei)?,
            ))
        });
        match read {
            Ok((latest, pending, balance_wei, prices)) => {
                self.balance_wei = Some(balance_wei);
                if pending > latest {
                    problems.push(format!(
                        "{} transactions of the key are pending",
                        pending - latest
                    ));
                }
                problems.extend(low_balance(balance_wei, &prices, round));
            }
            Err(error) => problems.push(format!("the chain cannot be asked: {error}")),
        }
        problems
    }

    pub(super) fn notes(
        &self,
        gathered: &Gathered,
        gas_max: u64,
        offered: Quote,
        round: &Round,
    ) -> Vec<Note> {
        let mut notes = Vec::new();
        let mut warn = |code, message| {
            notes.push(Note {
                code,
                severity: Severity::Warning,
                message,
            })
        };
        if gathered.pending_nonce > gathered.nonce {
            let count = gathered.pending_nonce - gathered.nonce;
            warn(
                "unknown_pending",
                format!("{count} unknown transactions of the key are pending and are outbid"),
            );
        }
        if let Some(text) = low_balance(gathered.balance_wei, &gathered.prices, round) {
            warn("low_balance", text);
        }
        if offered.capped {
            warn(
                "fee_capped",
                "a fee limit or the balance keeps the fee below what it should be".to_owned(),
            );
        }
        let refund_gas = REFUND_GAS.gas(round.participant_count);
        if refund_gas.saturating_mul(10) >= gas_max.saturating_mul(7) {
            let (refunds, draws) = (
                REFUND_GAS.participants_max(gas_max),
                DRAW_GAS.participants_max(gas_max),
            );
            let text = format!(
                "{} players: a refund becomes impossible at {refunds}, a draw at {draws}",
                round.participant_count
            );
            warn("too_many_players", text);
        }
        notes
    }
}

fn low_balance(balance_wei: U256, prices: &Prices, round: &Round) -> Option<String> {
    let gas = U256::from(DRAW_GAS.gas(round.participant_count));
    let draw_wei = least_price(prices).saturating_mul(gas);
    let too_low = balance_wei < draw_wei.saturating_mul(U256::from(DRAWS_WORTH_MIN));
    too_low.then(|| {
        format!(
            "the balance of {balance_wei} wei is below {DRAWS_WORTH_MIN} draws at {draw_wei} wei each"
        )
    })
}
