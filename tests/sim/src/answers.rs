//! Each JSON-RPC method in each way to fail: on the first of two endpoints nothing may stop a draw, and on the only one
//! nothing that a draw can do without. What a cell's campaign does is `campaign`'s.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lottery::chain::method::Method;

use crate::campaign::play;
use crate::dress::Dress;
use crate::plan::Plan;
use crate::wire::{Trouble, Way, TIMEOUT};

/// What a draw cannot do without: the head, the round, the nonce, and the sending. Everything else may fail for good.
const INDISPENSABLE: [Method; 4] = [
    Method::BlockByNumber,
    Method::Call,
    Method::TransactionCount,
    Method::SendRawTransaction,
];
/// Asked only of a signer that is a service of its own.
const OF_SIGNERS: [Method; 2] = [Method::AccountSignTransaction, Method::SignTransaction];
/// Asked only where another one fails.
const IN_NEED: [(Method, Method); 1] = [(Method::NetVersion, Method::ChainId)];
/// Asked only where one that cannot be done without fails. It has its rows all the same: no draw is to wait for it.
const LAST_RESORT: [Method; 1] = [Method::BlockByHash];
/// A well-formed lie about these is believed: who tells another chain is left out for it, and a nonce or a balance that is
/// none is seen only by what becomes of the transaction.
const BELIEVED: [Method; 4] = [
    Method::ChainId,
    Method::NetVersion,
    Method::TransactionCount,
    Method::GetBalance,
];
const ROUNDS: usize = 2;
/// Blocks come once a second, and a draw may be two of them late. Where the only endpoint is silent on something, all
/// questions together wait for it once, and then it alone.
const LATEST: Duration = Duration::from_secs(2);
const LATEST_IN_SILENCE: Duration = Duration::from_secs(2 + 2 * TIMEOUT.as_secs());

/// One method in one way to fail, on the first of so many endpoints.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    method: Method,
    way: Way,
    endpoints: usize,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Cell {
            method,
            way,
            endpoints,
        } = self;
        write!(f, "{}, {way:?}, 1 of {endpoints}", method.name())
    }
}

impl Cell {
    /// What went wrong in two rounds; None where both were drawn in time, and nobody was accused.
    fn fault(&self) -> Option<String> {
        let mut plan = Plan::plain(self.endpoints, ROUNDS);
        let failing = |method: Method, way| (0, Trouble::Answers(Some(method.name()), way));
        plan.standing = vec![failing(self.method, self.way)];
        if let Some((_, first)) = IN_NEED.iter().find(|(second, _)| *second == self.method) {
            plan.standing.push(failing(*first, Way::UnknownCode));
        }
        let outcome = play(&plan);
        let latest = match (self.way, self.endpoints) {
            (Way::TimeOut, 1) => LATEST_IN_SILENCE,
            _ => LATEST,
        };
        let in_time = outcome.drawn.iter().filter(|(_, after)| *after <= latest);
        let is_sound = in_time.count() == ROUNDS && outcome.violations.is_empty();
        (!is_sound).then(|| format!("{self}: {:?}, {:?}", outcome.drawn, outcome.violations))
    }
}

/// The methods of the table.
fn methods() -> impl Iterator<Item = Method> {
    let mut all = Method::ALL.into_iter();
    std::iter::from_fn(move || all.find(|method| !OF_SIGNERS.contains(method)))
}

/// The whole table: on the first of two endpoints, and of what a draw can do without on the only one.
pub fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (method, endpoints) in methods().flat_map(|method| [(method, 2), (method, 1)]) {
        if endpoints == 1 && INDISPENSABLE.contains(&method) {
            continue;
        }
        let plays = |way: &Way| *way != Way::Another || !BELIEVED.contains(&method);
        cells.extend(Way::all().filter(plays).map(|way| Cell {
            method,
            way,
            endpoints,
        }));
    }
    cells
}

/// Plays the table on so many threads; the faults, in words.
pub fn faults(cells: &[Cell], threads: usize) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let some = || {
        let cell = || cells.get(next.fetch_add(1, Ordering::Relaxed));
        std::iter::from_fn(cell)
            .filter_map(Cell::fault)
            .collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(some)).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .flat_map(|faults| faults.expect("a cell does not panic"))
            .collect()
    })
}

/// What goes wrong where the only endpoint answers the truth in an odd dress: with it nothing is missing at the end.
pub fn undressed() -> Vec<String> {
    let fault = |dress: Dress| {
        let mut plan = Plan::plain(1, ROUNDS);
        let trouble = vec![(0, Trouble::Dressed(dress))];
        match dress.hides_the_past() {
            true => plan.standing = trouble,
            false => plan.lasting = trouble,
        }
        let outcome = play(&plan);
        let in_time = outcome.drawn.iter().filter(|(_, after)| *after <= LATEST);
        let is_sound = in_time.count() == ROUNDS && outcome.violations.is_empty();
        (!is_sound).then(|| format!("{dress:?}: {:?}, {:?}", outcome.drawn, outcome.violations))
    };
    Dress::ALL.into_iter().filter_map(fault).collect()
}

/// What is wrong with the table: a method that a run without faults asks for and no row has, or a row that nothing asks for.
pub fn unlisted() -> Vec<String> {
    let asked = play(&Plan::plain(2, ROUNDS)).calls.into_keys();
    let in_need = IN_NEED.iter().map(|(method, _)| method);
    let in_need = in_need.chain(&LAST_RESORT).map(|it| it.name().to_owned());
    let met: BTreeSet<String> = asked.chain(in_need).collect();
    let rows: BTreeSet<String> = methods().map(|method| method.name().to_owned()).collect();
    rows.symmetric_difference(&met).cloned().collect()
}
