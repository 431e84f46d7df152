//! What is known of the key's next nonce besides what one endpoint says of it, and how far it is believed: a nonce that is too
//! high is taken by every pool and mined by nobody. Pure.

/// What is remembered of the next nonce.
#[derive(Debug, Default)]
pub(super) struct Nonces {
    /// What was most believed of what several endpoints told, or follows from what was mined.
    agreed: Option<u64>,
    /// The last one that a pool called used.
    used: Option<u64>,
}

impl Nonces {
    /// What the endpoints told at one block. One alone proves nothing, and is not remembered where it differs from what was.
    pub(super) fn hear(&mut self, told: &[u64]) {
        self.agreed = self
            .believed(told)
            .filter(|best| told.len() > 1 || self.agreed == Some(*best));
    }

    pub(super) fn agreed(&self) -> Option<u64> {
        self.agreed
    }

    /// A transaction of this nonce was mined.
    pub(super) fn note_mined(&mut self, nonce: u64) {
        self.agreed = Some(nonce.saturating_add(1));
    }

    /// A pool has refused this nonce as used.
    pub(super) fn note_used(&mut self, nonce: u64) {
        self.agreed = None;
        self.used = Some(nonce);
    }

    /// A pool has refused it, or a later one, as used.
    pub(super) fn is_used(&self, nonce: u64) -> bool {
        self.used.is_some_and(|used| nonce <= used)
    }

    pub(super) fn forget(&mut self) {
        self.agreed = None;
    }

    /// The one of these that is most believed.
    pub(super) fn believed(&self, told: &[u64]) -> Option<u64> {
        let told_once = told.iter().copied();
        told_once.min_by_key(|nonce| self.disbelief(*nonce, told))
    }

    /// How little this one of the told nonces is believed: first what was agreed on before, then what more endpoints tell, then
    /// the lowest, since a pool says at once that a nonce is used. What one has called used comes last.
    pub(super) fn disbelief(&self, nonce: u64, told: &[u64]) -> impl Ord {
        let others = told.iter().filter(|other| **other != nonce).count();
        (
            self.is_used(nonce),
            self.agreed != Some(nonce),
            others,
            nonce,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_was_agreed_on_is_believed_then_the_most_told_then_the_lowest_that_no_pool_called_used(
    ) {
        let believed = |nonces: &Nonces, told: &[u64]| nonces.believed(told).unwrap();
        let mut nonces = Nonces::default();
        assert_eq!(believed(&nonces, &[1_005, 5]), 5);
        assert_eq!(believed(&nonces, &[4, 5, 5]), 5);
        nonces.hear(&[5, 5]);
        for told in [[4, 5], [5, 6], [1_005, 5]] {
            assert_eq!(believed(&nonces, &told), 5);
        }
        assert_eq!(believed(&nonces, &[7, 6]), 6, "nobody confirms it");
        nonces.note_used(5);
        assert_eq!(believed(&nonces, &[5, 6]), 6);
        assert_eq!(believed(&nonces, &[5, 5]), 5, "nobody knows better");
        nonces.note_mined(6);
        assert_eq!(believed(&nonces, &[6, 7]), 7);
        nonces.forget();
        assert_eq!(believed(&nonces, &[8, 7]), 7);
    }

    #[test]
    fn one_alone_agrees_on_nothing_but_what_was_agreed_on_before() {
        for (before, told, agreed) in [
            (None, vec![5, 5], Some(5)),
            (None, vec![5], None),
            (None, vec![], None),
            (None, vec![6, 5], Some(5)),
            (None, vec![4, 5, 5], Some(5)),
            (Some(5), vec![6, 5], Some(5)),
            (Some(5), vec![5], Some(5)),
            (Some(5), vec![6, 6], Some(6)),
            (Some(5), vec![6], None),
            (Some(5), vec![7, 6], Some(6)),
            (Some(5), vec![], None),
        ] {
            let mut nonces = Nonces {
                agreed: before,
                used: None,
            };
            nonces.hear(&told);
            assert_eq!(nonces.agreed(), agreed, "{before:?}, {told:?}");
        }
    }
}
