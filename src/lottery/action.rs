//! What the operator can do on chain, and the record of each time it did.

use crate::chain::types::H256;

/// What an action does on chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActionKind {
    /// drawWinner()
    Draw,
    /// refundExpiredRound(): guarded by the contract.
    RefundExpired,
    /// refundRound(): no time gate; only on explicit, forced command.
    RefundForced,
    /// extendBettingTime(newEndTime)
    Extend { new_end_time: u64 },
    /// An empty transfer to ourselves that takes the nonce of a transaction which must not be mined any more.
    Cancel,
}

impl ActionKind {
    pub fn label(self) -> &'static str {
        match self {
            ActionKind::Draw => "draw",
            ActionKind::RefundExpired => "refund_expired",
            ActionKind::RefundForced => "refund_forced",
            ActionKind::Extend { .. } => "extend",
            ActionKind::Cancel => "cancel",
        }
    }
}

/// The action whose transaction is out, as the status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    pub action: ActionKind,
    pub round_id: u64,
    pub nonce: u64,
    pub hashes: Vec<H256>,
    pub attempts: u32,
}

/// The life of one manual or automatic action, for GET /api/operator/actions/ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionRecord {
    pub id: String,
    pub kind: ActionKind,
    pub round_id: u64,
    pub manual: bool,
    pub state: ActionState,
    pub attempts: u32,
    pub hashes: Vec<H256>,
    pub block_number: Option<u64>,
    pub gas_used: Option<u64>,
    pub error: Option<String>,
    pub created_unix_ms: u64,
    pub updated_unix_ms: u64,
}

impl ActionRecord {
    /// An action that nothing has been done for yet.
    pub fn queued(
        id: String,
        kind: ActionKind,
        round_id: u64,
        manual: bool,
        unix_ms: u64,
    ) -> ActionRecord {
        ActionRecord {
            id,
            kind,
            round_id,
            manual,
            state: ActionState::Queued,
            attempts: 0,
            hashes: Vec::new(),
            block_number: None,
            gas_used: None,
            error: None,
            created_unix_ms: unix_ms,
            updated_unix_ms: unix_ms,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionState {
    /// Accepted, not yet begun.
    Queued,
    /// Being prepared: preflight, fees, nonce.
    Preparing,
    /// At least one transaction is out.
    Pending,
    Done,
    Failed,
}

impl ActionState {
    pub fn label(self) -> &'static str {
        match self {
            ActionState::Queued => "queued",
            ActionState::Preparing => "preparing",
            ActionState::Pending => "pending",
            ActionState::Done => "done",
            ActionState::Failed => "failed",
        }
    }
}
