//! The wiring: from a configuration to running threads, and the order in which they stop (operator, event manager,
//! web, store). It decides nothing.

mod settings;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, never, Receiver};

use crate::actors::event_manager::EventManager;
use crate::actors::memory_store::{MemoryStore, UpdateSender};
use crate::actors::messages::{OperatorHandle, PublicationReceiver, SharedSnapshot};
use crate::actors::operator::Operator;
use crate::actors::prober;
use crate::actors::sender::Sender;
use crate::actors::subscriber::{Subscriber, NOTICES_MAX};
use crate::actors::webhook::Webhook;
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::base::shutdown::{Shutdown, StopReason, Waker};
use crate::base::thread::{
    join_deadline, spawn_supervised, spawn_watchdog, Beat, Health, OnFailure, Running,
};
use crate::chain::endpoints::Endpoints;
use crate::chain::signer::Signer;
use crate::chain::subscription::Notice;
use crate::chain::types::Address;
use crate::config::{Config, EventSource};
use crate::lottery::snapshot::ConnectionStatus;
use crate::lottery::state::State;
use crate::web::api::{Api, ApiConfig};
use crate::web::assets;
use crate::web::feed::HubPoller;
use crate::web::reply::Packed;
use crate::web::rounds::PackedRounds;
use crate::web::server::WebServer;
use crate::web::view::Deployment;

pub use self::settings::StartError;
pub(crate) use self::settings::{authorities, endpoints, load_signer};
use self::settings::{event_manager_settings, operator_settings, sender_settings};

/// Commands that may wait for the operator.
const COMMANDS_MAX: usize = 16;
/// How long each group of threads has to stop.
const STOP_WITHIN: Duration = Duration::from_millis(450);

/// The threads that follow and act, without the web.
pub struct Core {
    pub snapshot: SharedSnapshot,
    pub operator: OperatorHandle,
    pub endpoints: Endpoints,
    pub key_address: Option<Address>,
    starter: Starter,
    clock: Clock,
    metrics: Metrics,
    /// In the order of stopping; each group has its own token.
    groups: Vec<Group>,
}

/// What the threads meet outside of the process.
pub struct Outside {
    pub clock: Clock,
    pub metrics: Metrics,
    pub endpoints: Endpoints,
}

/// A running daemon.
pub struct Daemon {
    core: Core,
    local_addr: SocketAddr,
    private_addr: Option<SocketAddr>,
    watchdog: JoinHandle<()>,
}

#[derive(Default)]
struct Group {
    stop: Shutdown,
    threads: Vec<Running>,
    handles: Vec<JoinHandle<()>>,
}

/// What every thread is started with.
struct Starter {
    clock: Clock,
    health: Health,
    /// Tripped by failures that end the process.
    process: Shutdown,
}

impl Starter {
    fn spawn<F>(
        &self,
        group: &mut Group,
        name: &'static str,
        on_failure: OnFailure,
        mut body: F,
    ) -> std::io::Result<()>
    where
        F: FnMut(&Shutdown, &Beat) -> Result<(), String> + Send + 'static,
    {
        let stop = group.stop.clone();
        let body = move |beat: &Beat| body(&stop, beat);
        let (clock, health, process) = (&self.clock, &self.health, &self.process);
        let running = spawn_supervised(name, clock, health, process, on_failure, body)?;
        group.threads.push(running);
        Ok(())
    }

    fn store(&self, mut store: MemoryStore) -> std::io::Result<Group> {
        let (mut group, clock) = (Group::default(), self.clock.clone());
        self.spawn(
            &mut group,
            "store",
            OnFailure::EndProcess,
            move |stop, beat| store.run(&clock, stop, beat),
        )?;
        Ok(group)
    }

    /// All that reads the chain without being asked to.
    fn followers(
        &self,
        config: &Config,
        endpoints: &Endpoints,
        updates: UpdateSender,
        snapshot: &SharedSnapshot,
    ) -> std::io::Result<Group> {
        let mut group = Group::default();
        let notices = match config.event_manager.event_source {
            EventSource::Subscribe => self.subscriber(&mut group, config)?,
            EventSource::GetLogs => never(),
        };
        let mut event_manager = EventManager::new(
            event_manager_settings(config),
            endpoints.clone(),
            notices,
            updates,
            snapshot.clone(),
            self.clock.clone(),
        );
        self.spawn(
            &mut group,
            "event-manager",
            OnFailure::Restart,
            move |stop, beat| event_manager.run(stop, beat),
        )?;
        let (probed, clock) = (endpoints.clone(), self.clock.clone());
        self.spawn(
            &mut group,
            "endpoint-prober",
            OnFailure::Restart,
            move |stop, beat| prober::run(&probed, &clock, stop, beat),
        )?;
        Ok(group)
    }

    fn subscriber(&self, group: &mut Group, config: &Config) -> std::io::Result<Receiver<Notice>> {
        let blockchain = &config.blockchain;
        let (notices, told) = bounded(NOTICES_MAX);
        let urls = blockchain.subscribe_urls.iter();
        let urls = urls.map(|url| url.expose().to_owned()).collect();
        let authorities = authorities(config).map_err(std::io::Error::other)?;
        let mut subscriber = Subscriber::new(
            (urls, authorities),
            blockchain.chain_id,
            blockchain.contract_address,
            notices,
            self.clock.clone(),
        );
        self.spawn(
            group,
            "subscriber",
            OnFailure::Restart,
            move |stop, beat| subscriber.run(stop, beat),
        )?;
        Ok(told)
    }

    fn operator(&self, mut operator: Operator) -> std::io::Result<Group> {
        let mut group = Group::default();
        let watcher = operator.watcher();
        self.spawn(
            &mut group,
            "watcher",
            OnFailure::Restart,
            move |stop, beat| watcher.run(stop, beat),
        )?;
        self.spawn(
            &mut group,
            "operator",
            OnFailure::Restart,
            move |stop, beat| operator.run(stop, beat),
        )?;
        Ok(group)
    }
}

impl Core {
    /// Starts the store, the poller and the operator. `listeners` are added to the store before it runs; each says how it
    /// is woken, if it does not wait on its channel.
    ///
    /// # Errors
    /// A key or an endpoint that cannot be used, or no further thread.
    pub fn start(
        config: &Config,
        automatic: bool,
        process: Shutdown,
        listeners: Vec<Option<Waker>>,
    ) -> Result<(Core, Vec<PublicationReceiver>), StartError> {
        let (clock, metrics) = (Clock::system(), Metrics::default());
        let endpoints = endpoints(config, &clock, &metrics)?;
        let outside = Outside {
            clock,
            metrics,
            endpoints,
        };
        Core::start_in(outside, config, automatic, process, listeners)
    }

    /// As `start`, on any clock and with any endpoints: a simulation brings its own.
    ///
    /// # Errors
    /// A key that cannot be used, or no further thread.
    pub fn start_in(
        outside: Outside,
        config: &Config,
        automatic: bool,
        process: Shutdown,
        listeners: Vec<Option<Waker>>,
    ) -> Result<(Core, Vec<PublicationReceiver>), StartError> {
        let Outside {
            clock,
            metrics,
            endpoints,
        } = outside;
        let signer = load_signer(config, &clock)?;
        let key_address = signer.as_ref().map(Signer::address);
        let starter = Starter {
            clock: clock.clone(),
            health: Health::default(),
            process,
        };
        let connection = ConnectionStatus {
            reachable: false,
            since_unix_ms: clock.unix_ms(),
            problem: Some("the chain has not been read yet".to_owned()),
        };
        let manager = &config.event_manager;
        let limits = MemoryStore::limits(manager.live_feed_max_entries, manager.round_history_max);
        let (mut store, updates, snapshot) = MemoryStore::new(State::new(limits, connection));
        let publications = listeners
            .into_iter()
            .map(|waker| match waker {
                Some(waker) => store.add_listener_with(waker),
                None => store.add_listener(),
            })
            .collect();
        let (commands, commands_out) = bounded(COMMANDS_MAX);
        let operator = Operator::new(
            operator_settings(config, automatic),
            signer.map(|it| Sender::new(it, endpoints.clone(), sender_settings(config))),
            endpoints.clone(),
            snapshot.clone(),
            store.add_listener(),
            commands_out,
            updates.clone(),
            clock.clone(),
            metrics.clone(),
        );
        let store_group = starter.store(store)?;
        let manager_group = starter.followers(config, &endpoints, updates, &snapshot)?;
        let operator_group = starter.operator(operator)?;
        let core = Core {
            snapshot,
            operator: OperatorHandle::new(commands, clock.clone()),
            endpoints,
            key_address,
            starter,
            clock,
            metrics,
            groups: vec![operator_group, manager_group, store_group],
        };
        Ok((core, publications))
    }

    /// Stops every thread. All but the store are told at once, so that the web says goodbye to its clients while the
    /// rest stops; the store is the last, since the others speak to it to the end.
    pub fn stop(mut self, reason: StopReason) {
        let store = self.groups.pop();
        for group in &self.groups {
            group.stop.trip(reason.clone());
        }
        for group in self.groups {
            group.join();
        }
        if let Some(store) = store {
            store.stop.trip(reason);
            store.join();
        }
    }
}

impl Group {
    fn join(self) {
        for thread in self.threads {
            thread.join(STOP_WITHIN);
        }
        for handle in self.handles {
            join_deadline(handle, STOP_WITHIN);
        }
    }
}

impl Daemon {
    /// Starts every thread; `shutdown` ends them all.
    ///
    /// # Errors
    /// When the key, an endpoint, an address to listen on or a thread is not to be had.
    pub fn start(config: &Config, shutdown: Shutdown) -> Result<Daemon, StartError> {
        Daemon::start_with(config, shutdown, None)
    }

    /// With a further script on the page, for demonstrations.
    ///
    /// # Errors
    /// Those of `start`.
    pub fn start_with_script(
        config: &Config,
        shutdown: Shutdown,
        script: &str,
    ) -> Result<Daemon, StartError> {
        Daemon::start_with(config, shutdown, Some(assets::added_script(script)))
    }

    fn start_with(
        config: &Config,
        shutdown: Shutdown,
        script: Option<&'static Packed>,
    ) -> Result<Daemon, StartError> {
        let hub_poller = HubPoller::new()?;
        let automatic = config.operator.enabled;
        let listeners = vec![Some(hub_poller.waker()), None];
        let (mut core, publications) = Core::start(config, automatic, shutdown.clone(), listeners)?;
        let mut web_group = Group::default();
        let mut publications = publications.into_iter();
        // Invariant: two listeners were asked for.
        let (Some(for_feed), Some(for_webhook)) = (publications.next(), publications.next()) else {
            unreachable!("Core::start makes as many listeners as it is asked for")
        };
        let for_feed = (for_feed, hub_poller);
        let started = start_web(config, &core, &mut web_group, for_feed, for_webhook, script);
        // The web stops before the store.
        let before_store = core.groups.len() - 1;
        core.groups.insert(before_store, web_group);
        let (local_addr, private_addr) = match started {
            Ok(addresses) => addresses,
            Err(error) => {
                core.stop(StopReason::Requested);
                return Err(error);
            }
        };
        let watchdog = spawn_watchdog(&core.starter.health, &shutdown)?;
        Ok(Daemon {
            core,
            local_addr,
            private_addr,
            watchdog,
        })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    pub(crate) fn private_addr(&self) -> Option<SocketAddr> {
        self.private_addr
    }

    pub fn snapshot(&self) -> &SharedSnapshot {
        &self.core.snapshot
    }

    /// True while every supervised thread turns.
    pub(crate) fn is_turning(&self, now: Instant) -> bool {
        self.core.starter.health.all_turning(now)
    }

    /// Waits until the token is tripped, then stops every thread in order.
    pub fn wait(self) -> StopReason {
        let reason = self.core.starter.process.wait();
        self.core.stop(reason.clone());
        join_deadline(self.watchdog, STOP_WITHIN);
        reason
    }
}

fn start_web(
    config: &Config,
    core: &Core,
    group: &mut Group,
    for_feed: (PublicationReceiver, HubPoller),
    for_webhook: PublicationReceiver,
    script: Option<&'static Packed>,
) -> Result<(SocketAddr, Option<SocketAddr>), StartError> {
    let (clock, metrics) = (&core.clock, &core.metrics);
    let deployment = Deployment {
        chain_id: config.blockchain.chain_id,
        contract: config.blockchain.contract_address,
        explorer_url: config.blockchain.explorer_url.clone(),
    };
    let (server, of) = (&config.server, deployment.clone());
    let web = WebServer::bind(server, &core.snapshot, of, for_feed, clock, metrics)?;
    let addresses = (web.local_addr(), web.private_addr());
    if let Some(url) = &config.operator.alert_webhook {
        let mut webhook = Webhook::new(
            url.expose().to_owned(),
            config.operator.alert_format,
            for_webhook,
            core.clock.clone(),
        );
        core.starter
            .spawn(group, "webhook", OnFailure::Restart, move |stop, beat| {
                webhook.run(stop, beat)
            })?;
    }
    let (feed, endpoints) = (web.feed().clone(), core.endpoints.clone());
    let api = Api {
        config: ApiConfig {
            deployment,
            token: config.server.api_token.clone(),
            key_address: core.key_address,
            round_history_max: config.event_manager.round_history_max,
            live_feed_max_entries: config.event_manager.live_feed_max_entries,
            added_script: script,
        },
        snapshot: core.snapshot.clone(),
        operator: core.operator.clone(),
        health: core.starter.health.clone(),
        metrics: core.metrics.clone(),
        clock: core.clock.clone(),
        websocket_clients: Box::new(move || feed.client_count()),
        endpoint_reports: Box::new(move || endpoints.reports()),
        wrong_tokens: Mutex::default(),
        packed_rounds: PackedRounds::default(),
    };
    let stop = group.stop.clone();
    for (name, mut body) in web.into_threads(api, &stop) {
        let body = move |stop: &Shutdown, beat: &Beat| body(stop, beat);
        core.starter.spawn(group, name, OnFailure::Restart, body)?;
    }
    Ok(addresses)
}
