//! Answers in the making: who waits for each, and whose turn among the requests may bring it. All who ask for the same
//! share one answer, but none of them shares another's line: each client that waits has a turn of its own, and the first
//! of these turns makes the answer for all. The line itself is `jobs`' business.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::web::clients::ClientId;
use crate::web::ready::AnswerKey;

/// An answer that has been in the making for so long is made again: its worker may have ended.
const MAKING_MAX: Duration = Duration::from_secs(5);

/// One of the turns that may make an answer.
#[derive(Clone)]
pub(crate) struct Turn(Arc<AtomicBool>);

impl Turn {
    /// True for the first that asks: it makes the answer, and the other turns have nothing left to do.
    pub(crate) fn begins(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }

    fn is_of(&self, making: &Making) -> bool {
        Arc::ptr_eq(&self.0, &making.turn.0)
    }
}

struct Making {
    begun: Instant,
    turn: Turn,
    /// Turns that were given and not lost.
    turns: usize,
    /// Those who wait, by the client as whom they do.
    waiting: HashMap<IpAddr, Vec<ClientId>>,
}

#[derive(Default)]
pub(crate) struct Makings(HashMap<AnswerKey, Making>);

impl Makings {
    /// Lets a request wait for the answer. A turn for the line of its client, unless that has one there already.
    pub(crate) fn join(
        &mut self,
        key: &AnswerKey,
        client: ClientId,
        waits_as: IpAddr,
        now: Instant,
    ) -> Option<Turn> {
        let fresh = || Turn(Arc::default());
        let making = self.0.entry(key.clone()).or_insert_with(|| Making {
            begun: now,
            turn: fresh(),
            turns: 0,
            waiting: HashMap::new(),
        });
        let line = making.waiting.entry(waits_as).or_default();
        line.push(client);
        if now.saturating_duration_since(making.begun) >= MAKING_MAX {
            // Whoever waits for the lost one waits for its successor.
            (making.begun, making.turn, making.turns) = (now, fresh(), 0);
        } else if line.len() > 1 {
            return None;
        }
        making.turns += 1;
        Some(making.turn.clone())
    }

    /// There was no room for one of the turns. While there are others nobody loses anything by it; with the last of them
    /// all go that waited, since none of their clients had room for a turn.
    pub(crate) fn lose(&mut self, key: &AnswerKey, turn: &Turn) -> Vec<ClientId> {
        let Some(making) = self.0.get_mut(key).filter(|making| turn.is_of(making)) else {
            // That answer was made long ago.
            return Vec::new();
        };
        making.turns -= 1;
        match making.turns {
            0 => self.made(key),
            _ => Vec::new(),
        }
    }

    /// A connection that waits for the answer has gone; true when its client has no other one here, and so no use for its
    /// turn.
    pub(crate) fn leave(&mut self, key: &AnswerKey, client: ClientId, waits_as: IpAddr) -> bool {
        let Some(making) = self.0.get_mut(key) else {
            return false;
        };
        let Some(line) = making.waiting.get_mut(&waits_as) else {
            return false;
        };
        line.retain(|waiting| *waiting != client);
        let is_last = line.is_empty();
        if is_last {
            making.waiting.remove(&waits_as);
        }
        is_last
    }

    /// The answer is there, or will not come; those who waited for it.
    pub(crate) fn made(&mut self, key: &AnswerKey) -> Vec<ClientId> {
        let waiting = self.0.remove(key).map(|making| making.waiting);
        let waiting = waiting.into_iter().flat_map(HashMap::into_values);
        waiting.flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::fixture;
    use crate::web::http::Persistence;

    fn key(target: &str) -> AnswerKey {
        let request = fixture::request("GET", target, &[], "");
        AnswerKey::of(&request, Persistence::Keep).unwrap()
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn each_client_has_one_turn_and_the_first_makes_the_answer() {
        let (mut makings, now) = (Makings::default(), Instant::now());
        let mut join =
            |number, last| makings.join(&key("/"), ClientId::numbered(number), ip(last), now);
        let first = join(1, 1).unwrap();
        assert!(join(2, 1).is_none(), "it has a turn");
        let second = join(3, 2).unwrap();
        assert!(second.begins() && !first.begins() && !second.begins());
        let mut waiting = makings.made(&key("/"));
        waiting.sort_by_key(|client| client.key);
        assert_eq!(waiting, [1, 2, 3].map(ClientId::numbered));
        assert!(makings.made(&key("/")).is_empty());
        // What becomes of the turn that is left says nothing about the next answer.
        let third = makings.join(&key("/"), ClientId::numbered(4), ip(1), now);
        assert!(makings.lose(&key("/"), &second).is_empty());
        assert!(third.unwrap().begins());
        assert_eq!(makings.made(&key("/")), [ClientId::numbered(4)]);
    }

    #[test]
    fn only_the_last_turn_costs_anybody_an_answer() {
        let (mut makings, now) = (Makings::default(), Instant::now());
        let turns = [(1, 1), (2, 2)].map(|(number, last)| {
            makings.join(&key("/"), ClientId::numbered(number), ip(last), now)
        });
        let [Some(first), Some(second)] = turns else {
            panic!("both have turns");
        };
        assert!(makings.lose(&key("/"), &first).is_empty());
        assert_eq!(makings.lose(&key("/"), &second).len(), 2);
        assert!(makings.0.is_empty());
    }

    #[test]
    fn an_answer_that_does_not_come_is_made_again() {
        let (mut makings, start) = (Makings::default(), Instant::now());
        let mut join =
            |number, at| makings.join(&key("/"), ClientId::numbered(number), ip(1), start + at);
        let lost = join(1, Duration::ZERO).unwrap();
        assert!(lost.begins());
        assert!(join(2, MAKING_MAX - Duration::from_millis(1)).is_none());
        assert!(join(3, MAKING_MAX).unwrap().begins());
        assert_eq!(makings.made(&key("/")).len(), 3);
    }
}
