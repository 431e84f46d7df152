//! The transaction in flight: looked after at every head until it is mined, replaced or given up. It is changed where it
//! stands and never taken out while anything else runs, so that a crash in the middle of a turn loses nothing that is
//! out. What an action's end means for the round lies in `ending`.

use std::time::{Duration, Instant};

use crate::actors::operator::moment::Moment;
use crate::chain::types::{BlockRef, H256};
use crate::lottery::action::{ActionRecord, ActionState, InFlight};
use crate::lottery::send_state::{Included, SendState};

/// A head already looked at is looked at again this soon while a transaction is out: receipts can trail the head.
pub(super) const FLIGHT_LOOK: Duration = Duration::from_millis(1_500);
/// The one action whose transaction is out.
pub(super) struct Flight {
    pub(super) state: SendState,
    pub(super) record: ActionRecord,
    /// The record as it was last told.
    pub(super) told: Option<ActionRecord>,
    /// The last head at which receipts were looked for, and when.
    pub(super) looked: Option<(H256, Instant)>,
    /// After a time-out: no new variant before this.
    pub(super) paused_until: Option<Instant>,
    /// The variant that was last logged as being out.
    logged: Option<H256>,
    /// So many reorgs had been met when it began.
    reorgs: u64,
}

/// The last draw or refund that was mined with success.
pub(super) struct Landed {
    pub(super) flight: Flight,
    pub(super) included: Included,
}

impl Flight {
    /// Signed at that head, and about to be sent.
    pub(super) fn new(state: SendState, record: ActionRecord, moment: &Moment) -> Flight {
        Flight {
            state,
            record,
            told: None,
            looked: Some((moment.head.hash, moment.now)),
            paused_until: None,
            logged: None,
            reorgs: moment.snapshot.reorgs_total,
        }
    }

    /// Whether a nonce below its own means that there is a gap. Where the chain was asked at a newer head than is known here,
    /// it only means that this head is old, unless a reorg has put it there.
    pub(super) fn sees_gaps(&self, moment: &Moment) -> bool {
        let is_ahead = self.state.is_ahead_of(moment.head, moment.now);
        !is_ahead || moment.snapshot.reorgs_total != self.reorgs
    }

    /// What is shown of it.
    pub(super) fn in_flight(&self) -> InFlight {
        let hashes = self.state.hashes();
        InFlight {
            action: self.record.kind,
            round_id: self.record.round_id,
            nonce: self.state.nonce,
            attempts: u32::try_from(hashes.len()).unwrap_or(u32::MAX),
            hashes,
        }
    }

    /// The action's record as of now; None when it has been told just so.
    pub(super) fn news(&mut self) -> Option<ActionRecord> {
        let InFlight {
            hashes, attempts, ..
        } = self.in_flight();
        self.record.state = ActionState::Pending;
        self.record.hashes = hashes;
        self.record.attempts = attempts;
        if self.told.as_ref() == Some(&self.record) {
            return None;
        }
        self.told = Some(self.record.clone());
        self.told.clone()
    }

    /// When it has to be looked at again; None when that is now.
    pub(super) fn rests_until(&self, head: BlockRef, now: Instant) -> Option<Instant> {
        let (hash, at) = self.looked?;
        let again = at + FLIGHT_LOOK;
        (hash == head.hash && now < again).then_some(again)
    }

    /// Another action has taken over its nonce.
    pub(super) fn begin_again(&mut self, moment: &Moment) {
        self.looked = Some((moment.head.hash, moment.now));
        self.paused_until = None;
        self.told = None;
    }

    /// A node holds the newest variant: told in the log, each variant once.
    pub(super) fn log_sent(&mut self) {
        let newest = self.state.newest().map(|newest| newest.hash);
        if newest.is_some() && self.logged != newest {
            self.logged = newest;
            log::info!("sent {}", self.fields());
        }
    }

    /// What a line of the log is about, to search for.
    pub(super) fn fields(&self) -> String {
        let newest = self.state.newest();
        let hash = newest.map_or(String::new(), |newest| format!(" hash={:#x}", newest.hash));
        let (round_id, action) = (self.record.round_id, self.record.kind.label());
        let nonce = self.state.nonce;
        format!("round={round_id} action={action} nonce={nonce}{hash}")
    }

    pub(super) fn label(&self) -> String {
        format!(
            "{} of round {}",
            self.record.kind.label(),
            self.record.round_id
        )
    }
}
