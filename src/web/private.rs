//! The private port (`server.metrics_listen`): metrics, probes and the read-only API for those who run the daemon,
//! served by a plain tiny_http. It is not made to face the public.

use std::net::SocketAddr;
use std::time::Duration;

use tiny_http::{Header, Response, Server, StatusCode};

use crate::base::shutdown::Shutdown;
use crate::base::thread::Beat;
use crate::web::gate::Handler;
use crate::web::http::Request;
use crate::web::query::percent_decode;

const TURN: Duration = Duration::from_millis(200);

pub fn bind(listen: SocketAddr) -> Result<Server, String> {
    Server::http(listen).map_err(|error| format!("server.metrics_listen {listen}: {error}"))
}

/// The thread's body.
pub fn serve(
    server: &Server,
    handler: &Handler,
    shutdown: &Shutdown,
    beat: &Beat,
) -> Result<(), String> {
    while !shutdown.is_tripped() {
        beat.turn();
        let request = server
            .recv_timeout(TURN)
            .map_err(|error| format!("private port: {error}"))?;
        let Some(incoming) = request else { continue };
        let Some(peer) = incoming.remote_addr().map(SocketAddr::ip) else {
            continue;
        };
        let (path, query) = match incoming.url().split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (incoming.url(), None),
        };
        let request = Request {
            method: incoming.method().to_string(),
            path: percent_decode(path).unwrap_or_default(),
            query,
            headers: incoming
                .headers()
                .iter()
                .map(|header| {
                    (
                        header.field.as_str().as_str().to_lowercase(),
                        header.value.to_string(),
                    )
                })
                .collect(),
            body: Vec::new(),
            peer,
        };
        let reply = handler(&request);
        let headers = reply
            .headers
            .iter()
            .filter_map(|(name, value)| Header::from_bytes(name.as_bytes(), value.as_bytes()).ok())
            .collect();
        let length = Some(reply.body.len());
        let response = Response::new(
            StatusCode(reply.status),
            headers,
            &reply.body[..],
            length,
            None,
        );
        if let Err(error) = incoming.respond(response) {
            log::debug!("private port: {error}");
        }
    }
    Ok(())
}
