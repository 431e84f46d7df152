//! The running round's players, read from the contract itself: for where the logs do not tell them. All calls are made
//! at one block, whatever the head does meanwhile, and the amounts must add up to that block's pot.

use crate::actors::reader::{invalid, Reader};
use crate::chain::error::RpcError;
use crate::chain::node::Endpoint;
use crate::chain::types::{BlockId, BlockRef, CallRequest, U256};
use crate::lottery::contract;
use crate::lottery::participants::PlayersRead;

impl Reader {
    /// # Errors
    /// When a call fails, or the players do not make up the pot.
    pub(crate) fn players_at(
        &self,
        endpoint: &Endpoint,
        block: &BlockRef,
    ) -> Result<PlayersRead, RpcError> {
        let at = BlockId::from(*block);
        let round = self.round_at(endpoint, at)?;
        let answer = self.call(endpoint, contract::get_participants_calldata(), at)?;
        let players = contract::decode_participants(&answer).map_err(invalid)?;
        let calls: Vec<CallRequest> = players
            .iter()
            .map(|player| {
                CallRequest::to(self.contract, contract::get_bet_amount_calldata(*player))
            })
            .collect();
        let mut totals = Vec::with_capacity(players.len());
        for (player, answer) in players.into_iter().zip(endpoint.calls(&calls, at)?) {
            totals.push((
                player,
                contract::decode_bet_amount(&answer).map_err(invalid)?,
            ));
        }
        let sum = totals
            .iter()
            .fold(U256::zero(), |sum, (_, wei)| sum.saturating_add(*wei));
        if sum != round.total_pot_wei {
            return Err(RpcError::invalid_answer(format!(
                "the players' bets add up to {sum} wei, the pot is {} wei",
                round.total_pot_wei
            )));
        }
        Ok(PlayersRead {
            block_number: block.number,
            round_id: round.round_id,
            totals,
        })
    }
}
