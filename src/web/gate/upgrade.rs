//! A request that becomes a feed: the handshake is answered, and the connection handed to the hub. What the hub does with
//! it lies in `feed`.

use std::time::Instant;

use crate::web::connection::Refused;
use crate::web::feed::NewClient;
use crate::web::forwarded::counted_address;
use crate::web::gate::Gate;
use crate::web::handshake::shake;
use crate::web::http::Request;
use crate::web::reply::too_many;

impl Gate {
    pub(super) fn upgrade(
        &mut self,
        key: usize,
        request: &Request,
        websocket_key: &str,
        rest: Vec<u8>,
        now: Instant,
    ) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        // Only a trusted proxy's own address is not counted already.
        let counted = counted_address(&request.fields, client.peer, &self.trusted_proxies);
        let public = self
            .listeners
            .iter()
            .find(|known| known.port == client.port);
        let is_let_in =
            public.is_some_and(|known| known.occupancy.upgrade(&mut client.admission, counted));
        if !is_let_in {
            let refused = Refused {
                refusal: too_many("WebSocket clients are there", "30"),
                method: Some(request.method.clone()),
            };
            return self.refuse(key, refused, now);
        }
        let Some(client) = self.clients.remove(key) else {
            return;
        };
        let _ = self.poller.delete(&client.stream);
        let shaken = shake(request, websocket_key);
        self.feed.welcome(NewClient {
            stream: client.stream,
            handshake: shaken.answer,
            rest,
            since: shaken.since,
            deflates: shaken.deflates,
            admission: client.admission,
        });
    }
}
