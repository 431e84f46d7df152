//! Why a draw came later than it could have, as far as the daemon that drew saw it. The labels are stable.

use crate::lottery::words::labelled;

labelled! {
    /// From the mildest to the gravest: of several that were met, the gravest is told.
    pub enum LateReason;
    /// Sent in time, and not taken up at once.
    NotMined = "not_mined",
    /// The first block that allowed it came sooner than blocks mostly do, or was shown late.
    Unforeseen = "unforeseen",
    /// A cap kept its fee below what it should have been.
    FeeCapped = "fee_capped",
    /// The operator's ether did not pay for it.
    LowBalance = "low_balance",
    SignerFailed = "signer_failed",
    /// No endpoint answered.
    NoAnswer = "no_answer",
    /// A try reverted, or would have.
    Reverted = "reverted",
    /// A try would have been won by a player who cannot be paid.
    UnpayablePlayer = "unpayable_player",
    /// The block of an earlier draw was taken back.
    Reorg = "reorg",
    /// It was left to another daemon first.
    StandingBy = "standing_by",
    /// The automatic operator was off.
    SwitchedOff = "switched_off",
    /// The daemon was started when it was due already.
    StartedLate = "started_late",
    /// It is no transaction of this daemon's.
    SentByAnother = "sent_by_another",
}
