//! The web's parts between binding and running: what cannot be bound is told before any thread runs.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use thiserror::Error;

use crate::actors::messages::{PublicationReceiver, SharedSnapshot};
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::base::shutdown::{Shutdown, Waker};
use crate::base::thread::Beat;
use crate::config::ServerConfig;
use crate::web::api::Api;
use crate::web::commands::takes_body;
use crate::web::connection::{Limits, Rules};
use crate::web::descriptors::connections_that_fit;
use crate::web::feed::{FeedHandle, Hub, HubPoller};
use crate::web::gate::{listen, Gate, Listener, Settings};
use crate::web::http::Port;
use crate::web::occupancy::{Caps, Occupancy};
use crate::web::stream::Stream;
use crate::web::view::Deployment;
use crate::web::workers::{Handler, Workers, WORKERS};

/// Connections of the private port: a scraper or two, and whoever looks.
const PRIVATE_CONNECTIONS_MAX: usize = 32;

/// Why a port cannot be had.
#[derive(Debug, Error)]
pub enum BindError {
    #[error("{setting}: {address} cannot be listened on: {cause}")]
    Listen {
        setting: &'static str,
        address: SocketAddr,
        cause: std::io::Error,
    },
    #[error("the system has no descriptors left: {0}")]
    Poller(#[from] std::io::Error),
}

/// A thread's body.
pub(crate) type ThreadBody = Box<dyn FnMut(&Shutdown, &Beat) -> Result<(), String> + Send>;

/// Both ports, bound, and the feed.
pub struct WebServer {
    gate: Gate,
    workers: Workers,
    hub: Hub,
    hub_waker: Waker,
    feed: FeedHandle,
    local_addr: SocketAddr,
    private_addr: Option<SocketAddr>,
}

impl WebServer {
    /// Takes both ports. `publications` wake the hub by `poller`.
    ///
    /// # Errors
    /// A port is taken or not ours, or there are no descriptors left.
    pub fn bind(
        server: &ServerConfig,
        snapshot: &SharedSnapshot,
        deployment: Deployment,
        (publications, poller): (PublicationReceiver, HubPoller),
        clock: &Clock,
        metrics: &Metrics,
    ) -> Result<WebServer, BindError> {
        let fit = connections_that_fit();
        if fit < server.max_connections {
            log::info!(
                "server.max_connections is cut to {fit}, which is what the descriptor limit allows"
            );
        }
        let occupancy = Occupancy::new(Caps {
            connections: server.max_connections.min(fit),
            per_ip: server.max_connections_per_ip,
        });
        let (public, local_addr) = bind("server.host and server.port", server.listen)?;
        let mut listeners = vec![Listener {
            socket: public,
            port: Port::Public,
            occupancy: occupancy.clone(),
        }];
        let mut private_addr = None;
        if let Some(address) = server.metrics_listen {
            let (socket, address) = bind("server.metrics_listen", address)?;
            private_addr = Some(address);
            let caps = Caps {
                connections: PRIVATE_CONNECTIONS_MAX,
                per_ip: 0,
            };
            listeners.push(Listener {
                socket,
                port: Port::Private,
                occupancy: Occupancy::new(caps),
            });
        }
        let stream = Stream::new(snapshot.load(), deployment, clock.clone());
        let hub_waker = poller.waker();
        let (hub, feed) = Hub::new(poller, stream, publications, occupancy, metrics.clone());
        let token = server.api_token.clone();
        let settings = Settings {
            rules: Rules {
                limits: Limits::default(),
                takes_body: Box::new(move |request| takes_body(request, token.as_ref())),
            },
            trusted_proxies: server.trusted_proxies.clone(),
            feed: feed.clone(),
            snapshot: snapshot.clone(),
            metrics: metrics.clone(),
        };
        let (gate, workers) = Gate::new(listeners, settings)?;
        Ok(WebServer {
            gate,
            workers,
            hub,
            hub_waker,
            feed,
            local_addr,
            private_addr,
        })
    }

    /// Of the public port.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    pub(crate) fn private_addr(&self) -> Option<SocketAddr> {
        self.private_addr
    }

    pub fn feed(&self) -> &FeedHandle {
        &self.feed
    }

    /// The threads that serve, by name; all of them end soon after `stop` is tripped.
    pub(crate) fn into_threads(self, api: Api, stop: &Shutdown) -> Vec<(&'static str, ThreadBody)> {
        const WORKER_NAMES: [&str; WORKERS] = ["web-worker-1", "web-worker-2"];
        let (mut hub, mut gate) = (self.hub, self.gate);
        stop.on_trip(self.hub_waker);
        stop.on_trip(gate.waker());
        let mut threads: Vec<(&'static str, ThreadBody)> =
            vec![("feed", Box::new(move |stop, beat| hub.run(stop, beat)))];
        let handler: Arc<Handler> = Arc::new(move |request| api.handle(request));
        for name in WORKER_NAMES {
            let (workers, handler) = (self.workers.clone(), handler.clone());
            let body = move |stop: &Shutdown, beat: &Beat| workers.work(&*handler, stop, beat);
            threads.push((name, Box::new(body)));
        }
        threads.push(("gate", Box::new(move |stop, beat| gate.run(stop, beat))));
        threads
    }
}

/// The listener, and the address that it got.
fn bind(
    setting: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), BindError> {
    let bound = listen(address).and_then(|socket| {
        let address = socket.local_addr()?;
        Ok((socket, address))
    });
    bound.map_err(|cause| BindError::Listen {
        setting,
        address,
        cause,
    })
}
