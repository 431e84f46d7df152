//! What the blooms of this chain are worth. A bloom that leaves our contract out proves that it logged nothing in that
//! block, unless the chain's blooms are no real ones: this learns which, and forgets nothing of a lie.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::chain::types::{Address, BloomInput, Header};
use crate::lottery::history::LoggedEvent;

#[derive(Debug)]
pub struct Blooms {
    contract: Address,
    trusted: AtomicBool,
    lied: AtomicBool,
}

/// What blocks with our logs say about the chain's blooms.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Evidence {
    /// A bloom contained our contract.
    truthful: bool,
    /// A bloom did not.
    lying: bool,
}

impl Blooms {
    pub fn new(contract: Address) -> Blooms {
        Blooms {
            contract,
            trusted: AtomicBool::new(false),
            lied: AtomicBool::new(false),
        }
    }

    /// True once a bloom has proven itself, and none has lied.
    pub(crate) fn are_trusted(&self) -> bool {
        self.trusted.load(Ordering::Relaxed) && !self.have_lied()
    }

    pub(crate) fn have_lied(&self) -> bool {
        self.lied.load(Ordering::Relaxed)
    }

    /// False where the bloom proves that our contract logged nothing. A bloom of zeros over transactions is no bloom,
    /// until this chain's have shown that they are real.
    pub(crate) fn may_hold_our_logs(&self, header: &Header) -> bool {
        if header.logs_bloom.is_some_and(|bloom| bloom.is_zero()) {
            return header.has_transactions && !self.are_trusted();
        }
        self.have_lied() || self.contains_us(header) != Some(false)
    }

    /// What the blooms of the blocks of `events` show, as far as their headers are among `headers`.
    pub(crate) fn evidence_of(&self, events: &[LoggedEvent], headers: &[Header]) -> Evidence {
        let by_number: HashMap<u64, &Header> = headers
            .iter()
            .map(|header| (header.number, header))
            .collect();
        let mut evidence = Evidence::default();
        for event in events {
            let header = by_number.get(&event.record.position.block_number);
            if let Some(truthful) = header.and_then(|header| self.contains_us(header)) {
                evidence.truthful |= truthful;
                evidence.lying |= !truthful;
            }
        }
        evidence
    }

    /// One caught lying is the end of trust for good.
    pub(crate) fn learn(&self, evidence: Evidence) {
        if evidence.truthful {
            self.trusted.store(true, Ordering::Relaxed);
        }
        if evidence.lying && !self.lied.swap(true, Ordering::Relaxed) {
            log::warn!("this chain's blooms leave out logs: they are not used any more");
        }
    }

    /// None where the node gives no bloom.
    fn contains_us(&self, header: &Header) -> Option<bool> {
        let us = BloomInput::Raw(self.contract.as_bytes());
        header.logs_bloom.map(|bloom| bloom.contains_input(us))
    }
}
