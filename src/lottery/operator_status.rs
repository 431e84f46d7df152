//! What the operator says of itself (its phase, its key, what is in flight), and what is shown of it, with what is wrong.

use std::sync::Arc;

use crate::chain::types::{Address, U256};
use crate::lottery::action::InFlight;
use crate::lottery::alert::Alert;
use crate::lottery::lateness::LateReason;

/// The check made shortly before the window opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rehearsal {
    pub round_id: u64,
    pub unix_ms: u64,
    pub ready: bool,
    /// One entry a check that failed, in words.
    pub problems: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorStatus {
    /// False when disabled, without a key, or while the thread is down.
    pub is_running: bool,
    pub address: Option<Address>,
    pub key_loaded: bool,
    /// In words: why it waits, or what it does.
    pub phase: String,
    pub current_round_id: Option<u64>,
    pub scheduled_draw_round_id: Option<u64>,
    /// Unix seconds of chain time.
    pub scheduled_draw_due_at: Option<u64>,
    pub last_event_unix_ms: Option<u64>,
    pub last_draw_attempt_unix_ms: Option<u64>,
    pub consecutive_draw_failures: u32,
    pub max_draw_retries: u32,
    pub watchdog_last_check_unix_ms: Option<u64>,
    pub in_flight: Option<InFlight>,
    pub balance_wei: Option<U256>,
    pub rehearsal: Option<Rehearsal>,
    /// What has held up the running round's draw since it is due.
    pub held_up_by: Option<LateReason>,
}

/// What everybody is shown of the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShownOperator {
    /// As it last said itself.
    pub own: OperatorStatus,
    /// Conditions that hold now, in the order of their codes: those of all threads, which the store alone knows.
    pub alerts: Vec<Arc<Alert>>,
}
