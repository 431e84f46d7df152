//! The line of requests that wait for a worker: as whose each waits, and what those hear that there is no room for.

use std::net::IpAddr;
use std::time::Instant;

use crate::web::connection::Refused;
use crate::web::forwarded::counted_address;
use crate::web::gate::Gate;
use crate::web::http::Request;
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

    /// There is no room for it; it may be of another client than the newest.
    pub(super) fn refuse_job(&mut self, job: Job, now: Instant) {
        let waiting = job.shared.map_or(Vec::new(), |(answer_key, _)| {
            self.ready.give_up(&answer_key)
        });
        let method = Some(job.request.method);
        for client in std::iter::once(job.client).chain(waiting) {
            if self.clients.is_there(client) {
                let refused = Refused {
                    refusal: too_many("requests are waiting", "1"),
                    method: method.clone(),
                };
                self.refuse(client.key, refused, now);
                self.rearm(client.key);
            }
        }
    }
}
