//! The blocks up to which the chain promises to change nothing any more: `safe` and `finalized`, read once a minute.
//! Where a chain has no such tags, a depth stands in for them.

use std::time::Instant;

use crate::lottery::snapshot::Finality;

/// Without the tags `safe` and `finalized`, blocks this deep count as final.
const FINALITY_DEPTH: u64 = 64;

/// What is known of the tags.
#[derive(Default)]
pub(super) struct Marks {
    pub(super) is_asked: bool,
    pub(super) due: Option<Instant>,
    /// The chain has the tags: a failure to read them is just that.
    pub(super) known: MarksRead,
}

/// The numbers behind the tags; None where the node does not say.
#[derive(Clone, Copy, Debug, Default)]
pub struct MarksRead {
    pub(super) safe: Option<u64>,
    pub(super) finalized: Option<u64>,
}

/// What counts as safe and final at this head.
pub(super) fn finality(marks: MarksRead, tip: u64) -> Finality {
    let by_depth = tip.saturating_sub(FINALITY_DEPTH);
    let finalized_block = marks.finalized.or(marks.safe).unwrap_or(by_depth).min(tip);
    let safe_block = marks.safe.unwrap_or(finalized_block);
    Finality {
        safe_block: safe_block.max(finalized_block).min(tip),
        finalized_block,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_count_where_they_are_known_and_a_depth_where_not() {
        let of = |safe, finalized, tip| {
            let finality = finality(MarksRead { safe, finalized }, tip);
            (finality.safe_block, finality.finalized_block)
        };
        assert_eq!(of(Some(90), Some(80), 100), (90, 80));
        assert_eq!(of(None, Some(80), 100), (80, 80));
        assert_eq!(of(Some(90), None, 100), (90, 90));
        assert_eq!(of(None, None, 100), (36, 36));
        assert_eq!(of(None, None, 10), (0, 0));
        // Nothing above the head that is shown.
        assert_eq!(of(Some(190), Some(180), 100), (100, 100));
        // Nothing is safe less than final.
        assert_eq!(of(Some(70), Some(80), 100), (80, 80));
    }
}
