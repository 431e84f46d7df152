//! How many blocks an endpoint answers for in one eth_getLogs, as far as is known. Pure. Whatever a longer range was refused
//! with, a shorter one is tried: the words of a refusal only tell how much shorter.

const RANGE_BLOCKS_START: u64 = 500;
const RANGE_BLOCKS_MAX: u64 = 10_000;
/// After so many answers in a row a limit that was named is tried anew.
const NAMED_LIMIT_FOR: u32 = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRange {
    blocks: u64,
    /// What it has named as its limit.
    most: u64,
    answers: u32,
}

impl Default for LogRange {
    fn default() -> LogRange {
        LogRange {
            blocks: RANGE_BLOCKS_START,
            most: RANGE_BLOCKS_MAX,
            answers: 0,
        }
    }
}

impl LogRange {
    /// How long a range is asked for; at least 1.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// A range of this length was answered: the next may be longer.
    pub(crate) fn grow_after(&mut self, blocks: u64) {
        self.answers += 1;
        if self.answers >= NAMED_LIMIT_FOR {
            *self = LogRange {
                blocks: self.blocks,
                ..LogRange::default()
            };
        }
        if blocks >= self.blocks {
            self.blocks = blocks.saturating_mul(2).min(self.most);
        }
    }

    /// A range of this length failed; `named` is what the failure's words allow. False when it cannot be any shorter.
    pub(crate) fn shrink_after(&mut self, blocks: u64, named: Option<u64>) -> bool {
        if blocks <= 1 {
            return false;
        }
        self.blocks = match named.filter(|most| (1..blocks).contains(most)) {
            Some(most) => {
                self.most = most;
                self.answers = 0;
                most
            }
            None => blocks / 2,
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_range_shrinks_to_the_named_limit_or_by_half_and_grows_again() {
        let mut range = LogRange::default();
        assert_eq!(range.blocks(), 500);
        assert!(range.shrink_after(500, None));
        assert_eq!(range.blocks(), 250);
        range.grow_after(250);
        assert_eq!(range.blocks(), 500);
        range.grow_after(3);
        let short = "a short range proves nothing of a longer one";
        assert_eq!(range.blocks(), 500, "{short}");
        assert!(range.shrink_after(500, Some(100)));
        range.grow_after(100);
        assert_eq!(range.blocks(), 100, "beyond a named limit it does not grow");
        assert!(!range.shrink_after(1, Some(1)));
        // A limit that is not below what was refused is no help.
        assert!(range.shrink_after(100, Some(2_000)));
        assert_eq!(range.blocks(), 50);
        assert!(range.shrink_after(50, Some(0)));
        assert_eq!(range.blocks(), 25);
    }

    #[test]
    fn a_named_limit_is_not_believed_for_ever() {
        let mut range = LogRange::default();
        assert!(range.shrink_after(500, Some(10)));
        for _ in 0..NAMED_LIMIT_FOR + 20 {
            range.grow_after(range.blocks());
        }
        assert_eq!(range.blocks(), RANGE_BLOCKS_MAX);
    }

    proptest! {
        #[test]
        fn a_range_always_ends_up_below_what_an_endpoint_allows(allowed in 1u64..20_000, asks in 1usize..60) {
            let mut range = LogRange::default();
            for _ in 0..asks {
                let blocks = range.blocks();
                prop_assert!((1..=RANGE_BLOCKS_MAX).contains(&blocks));
                match blocks <= allowed {
                    true => range.grow_after(blocks),
                    false => prop_assert!(range.shrink_after(blocks, None)),
                }
            }
            while range.blocks() > allowed {
                prop_assert!(range.shrink_after(range.blocks(), None));
            }
        }
    }
}
