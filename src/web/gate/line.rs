//! The line of requests that wait for a worker: as whose each waits, and what those hear that there is no room for.

use std::net::IpAddr;
use std::time::Instant;

use crate::web::clients::{ClientId, Waits};
use crate::web::connection::Refused;
use crate::web::forwarded::counted_address;
use crate::web::gate::Gate;
use crate::web::http::Request;
use crate::web::jobs::JobSender;
use crate::web::making::Makings;
use crate::web::occupancy::client_of;
use crate::web::reply::too_many;
use crate::web::workers::Job;

impl Gate {
    /// As whose a request waits for a worker.
    pub(super) fn waits_as(&self, request: &Request) -> IpAddr {
        let peer = request.peer;
        let forwarded = self
            .is_trusted(peer)
            .then(|| counted_address(&request.fields, peer, &self.trusted_proxies));
        client_of(forwarded.flatten().unwrap_or(peer))
    }

    pub(super) fn is_trusted(&self, ip: IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|network| network.contains(&ip))
    }

    /// Lets a request wait. Those that there is no room for hear so; they may be of another client.
    pub(super) fn let_wait(&mut self, job: Job, now: Instant) {
        let refused = let_wait(&self.jobs, &mut self.makings, job);
        self.refuse_all(refused, now);
    }

    /// The client of a request that waits has gone: nobody makes an answer that nobody takes.
    pub(super) fn leave_line(&mut self, waits: &Waits, now: Instant) {
        let refused = leave(&self.jobs, &mut self.makings, waits);
        self.refuse_all(refused, now);
    }

    fn refuse_all(&mut self, refused: Vec<(ClientId, String)>, now: Instant) {
        for (client, method) in refused {
            if self.clients.is_there(client) {
                let refused = Refused {
                    refusal: too_many("requests are waiting", "1"),
                    method: Some(method),
                };
                self.refuse(client.key, refused, now);
                self.rearm(client.key);
            }
        }
    }
}

/// Those that will not be answered, each with its method.
fn let_wait(jobs: &JobSender<Job>, makings: &mut Makings, job: Job) -> Vec<(ClientId, String)> {
    let refused = jobs.send(job.waits_as, job);
    refused.map_or(Vec::new(), |job| lost_with(makings, job))
}

/// Takes the request of a client that has gone out of the line, with those that will not be answered for it.
fn leave(jobs: &JobSender<Job>, makings: &mut Makings, waits: &Waits) -> Vec<(ClientId, String)> {
    let taken_back = match &waits.shared {
        None => jobs.take_back(waits.waits_as, |job| job.client == waits.id),
        Some(key) if makings.leave(key, waits.id, waits.waits_as) => {
            jobs.take_back(waits.waits_as, |job| {
                let shared = job.shared.as_ref();
                shared.is_some_and(|shared| shared.key == *key)
            })
        }
        Some(_) => None,
    };
    let mut lost = taken_back.map_or(Vec::new(), |job| lost_with(makings, job));
    lost.retain(|(client, _)| *client != waits.id);
    lost
}

/// Where several wait for one answer, each of their clients has its own turn, and what another does costs none of them
/// theirs.
fn lost_with(makings: &mut Makings, job: Job) -> Vec<(ClientId, String)> {
    let method = job.request.method;
    let waiting = match &job.shared {
        Some(shared) => makings.lose(&shared.key, &shared.turn),
        None => vec![job.client],
    };
    let told = waiting.into_iter();
    told.map(|client| (client, method.clone())).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::actors::messages::SharedSnapshot;
    use crate::web::fixture;
    use crate::web::http::Persistence;
    use crate::web::jobs::{jobs, JobReceiver};
    use crate::web::ready::{AnswerKey, Stamp};
    use crate::web::workers::Shared;

    /// A line with so much room.
    struct Line {
        jobs: JobSender<Job>,
        taken: JobReceiver<Job>,
        makings: Makings,
        stamp: Stamp,
        now: Instant,
    }

    impl Line {
        fn new(max: usize) -> Line {
            let now = Instant::now();
            let snapshot = SharedSnapshot::new(Arc::new(fixture::empty_snapshot()));
            let (jobs, taken) = jobs(max);
            Line {
                jobs,
                taken,
                makings: Makings::default(),
                stamp: Stamp::of(&snapshot, now),
                now,
            }
        }

        /// Who hears that there is no room when this connection of this client asks.
        fn ask(&mut self, number: usize, last: u8, target: &str) -> Vec<usize> {
            let request = fixture::request("GET", target, &[], "");
            let (client, waits_as) = (ClientId::numbered(number), IpAddr::from([10, 0, 0, last]));
            let shared = match AnswerKey::of(&request, Persistence::Keep) {
                None => None,
                Some(key) => match self.makings.join(&key, client, waits_as, self.now) {
                    Some(turn) => Some(Shared {
                        key,
                        stamp: self.stamp.clone(),
                        turn,
                    }),
                    None => return Vec::new(),
                },
            };
            let job = Job {
                client,
                waits_as,
                request,
                persistence: Persistence::Keep,
                shared,
            };
            let refused = let_wait(&self.jobs, &mut self.makings, job).into_iter();
            refused.map(|(client, _)| client.key).collect()
        }

        /// Who hears that there is no room because this connection has gone.
        fn leave(&mut self, number: usize, last: u8, target: &str) -> Vec<usize> {
            let request = fixture::request("GET", target, &[], "");
            let waits = Waits {
                id: ClientId::numbered(number),
                waits_as: IpAddr::from([10, 0, 0, last]),
                shared: AnswerKey::of(&request, Persistence::Keep),
            };
            let refused = leave(&self.jobs, &mut self.makings, &waits).into_iter();
            refused.map(|(client, _)| client.key).collect()
        }

        /// Who is answered by the next turn that makes an answer.
        fn turn(&mut self) -> Vec<usize> {
            while let Some(job) = self.taken.take() {
                let Some(shared) = job.shared else {
                    return vec![job.client.key];
                };
                if shared.turn.begins() {
                    let waiting = self.makings.made(&shared.key).into_iter();
                    let mut keys: Vec<usize> = waiting.map(|client| client.key).collect();
                    keys.sort_unstable();
                    return keys;
                }
            }
            Vec::new()
        }
    }

    /// Which is never the snapshot's alone.
    const STATUS: &str = "/api/status";

    #[test]
    fn who_waits_for_the_same_answer_as_a_long_line_does_not_stand_in_it() {
        let mut line = Line::new(10);
        for number in 0..5 {
            assert!(line.ask(number, 1, STATUS).is_empty());
        }
        assert!(line.ask(5, 1, "/").is_empty());
        assert!(line.ask(6, 2, "/").is_empty());
        assert_eq!(line.turn(), [0]);
        assert_eq!(line.turn(), [5, 6], "the second client's turn came");
        let rest: Vec<usize> = std::iter::from_fn(|| Some(line.turn()))
            .take(6)
            .flatten()
            .collect();
        assert_eq!(rest, [1, 2, 3, 4], "the answer is made once");
    }

    #[test]
    fn what_is_thrown_out_of_one_line_costs_no_other_client_its_answer() {
        let mut line = Line::new(4);
        for number in 0..3 {
            assert!(line.ask(number, 1, STATUS).is_empty());
        }
        assert!(line.ask(3, 1, "/").is_empty());
        assert!(line.ask(4, 1, "/").is_empty(), "it waits with the other");
        // The longest line loses its newest, which was for the same answer, to the turn of the newcomer.
        assert!(line.ask(5, 2, "/").is_empty());
        assert_eq!(line.turn(), [0]);
        assert_eq!(line.turn(), [3, 4, 5]);
    }

    #[test]
    fn who_has_no_room_for_a_turn_waits_for_those_of_others() {
        let mut line = Line::new(2);
        assert!(line.ask(0, 1, "/").is_empty());
        assert!(line.ask(1, 2, STATUS).is_empty());
        // All lines are too short to lose one for them.
        for (number, last) in [(2, 3), (3, 4), (4, 4)] {
            assert!(line.ask(number, last, "/").is_empty(), "{number}");
        }
        assert_eq!(line.ask(5, 3, STATUS), [5]);
        assert_eq!(line.turn(), [0, 2, 3, 4]);
        assert_eq!(line.turn(), [1]);
    }

    #[test]
    fn who_has_gone_costs_nobody_anything() {
        let mut line = Line::new(10);
        for (number, last, target) in [(0, 1, STATUS), (1, 1, "/"), (2, 1, "/"), (3, 2, "/")] {
            assert!(line.ask(number, last, target).is_empty());
        }
        assert!(line.leave(0, 1, STATUS).is_empty());
        assert!(line.leave(1, 1, "/").is_empty());
        // The turn is still that of the first client's other connection.
        assert!(line.leave(3, 2, "/").is_empty());
        assert_eq!(line.turn(), [2]);
        assert!(line.ask(4, 1, "/").is_empty());
        assert!(line.leave(4, 1, "/").is_empty());
        assert!(line.taken.take().is_none(), "nothing is left to do");
        assert!(line.ask(5, 1, "/").is_empty());
        assert_eq!(line.turn(), [5], "the next asks anew");
    }

    #[test]
    fn who_waited_for_the_turn_of_one_that_has_gone_is_told() {
        let mut line = Line::new(2);
        assert!(line.ask(0, 1, "/").is_empty());
        assert!(line.ask(1, 2, STATUS).is_empty());
        assert!(line.ask(2, 3, "/").is_empty(), "without a turn of its own");
        assert_eq!(line.leave(0, 1, "/"), [2]);
        assert_eq!(line.turn(), [1]);
    }

    #[test]
    fn where_no_turn_is_left_all_are_told() {
        let mut line = Line::new(3);
        assert!(line.ask(0, 1, STATUS).is_empty());
        assert!(line.ask(1, 1, "/").is_empty());
        assert!(line.ask(2, 2, STATUS).is_empty());
        // Its line is almost as long as the longest, so there is no room for its turn.
        assert!(line.ask(3, 2, "/").is_empty());
        let mut told = line.ask(4, 3, STATUS);
        told.sort_unstable();
        assert_eq!(told, [1, 3]);
        assert_eq!([line.turn(), line.turn(), line.turn()], [[0], [2], [4]]);
        // Nothing of it is in the way of the next.
        assert!(line.ask(5, 3, "/").is_empty());
        assert_eq!(line.turn(), [5]);
    }
}
