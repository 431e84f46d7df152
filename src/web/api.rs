//! From a complete request to its reply, by the newest snapshot alone: no sockets, no chain, no waiting.

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::actors::messages::{OperatorBusy, OperatorHandle, SharedSnapshot};
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::base::thread::Health;
use crate::chain::endpoints::EndpointReport;
use crate::chain::types::{to_checksum, Address};
use crate::lottery::contract::ABI_JSON;
use crate::lottery::history::FinishedRound;
use crate::lottery::proof::Verdict;
use crate::lottery::snapshot::Snapshot;
use crate::web::assets::{self, Asset, Missing, Site};
use crate::web::commands::{self, Asked};
use crate::web::http::{Port, Reply, Request};
use crate::web::query::{BadQuery, Query};
use crate::web::reply::{
    self, refusal, Answer, Body, Packed, Refusal, ALL_METHODS, COMMAND_METHODS, FEED_METHODS,
    READ_METHODS,
};
use crate::web::rounds::PackedRounds;
use crate::web::routes::{self, Endpoint, LEN_MAX, OFFSET_MAX};
use crate::web::shown::{shown, shown_bytes};
use crate::web::view::Deployment;
use crate::web::{metrics, openapi, view};

#[cfg(test)]
mod tests;

/// A head older than this (or three block times) means that the chain is not followed any more.
const FRESH_SECS_MIN: f64 = 60.0;
const PARTICIPANTS_LEN: u64 = 200;
const HISTORY_LEN: u64 = 20;
const ACTIVITIES_LEN: u64 = 50;

static ABI: LazyLock<Packed> =
    LazyLock::new(|| Packed::new("application/json", ABI_JSON.as_bytes()));
static DOCUMENT: LazyLock<Packed> = LazyLock::new(|| {
    Packed::new(
        "application/json",
        openapi::document().to_string().as_bytes(),
    )
});

pub struct ApiConfig {
    pub deployment: Deployment,
    /// For manual actions; None refuses them all.
    pub token: Option<crate::config::Secret>,
    pub key_address: Option<Address>,
    pub round_history_max: usize,
    pub live_feed_max_entries: usize,
    /// A further script that the page loads, for demonstrations.
    pub added_script: Option<&'static Packed>,
}

/// What has been said of wrong tokens.
#[derive(Default)]
pub struct WrongTokens {
    unsaid: u64,
    said_at: Option<Instant>,
}

pub struct Api {
    pub config: ApiConfig,
    pub snapshot: SharedSnapshot,
    pub operator: OperatorHandle,
    pub health: Health,
    pub metrics: Metrics,
    pub clock: Clock,
    pub websocket_clients: Box<dyn Fn() -> usize + Send + Sync>,
    pub endpoint_reports: Box<dyn Fn() -> Vec<EndpointReport> + Send + Sync>,
    pub wrong_tokens: Mutex<WrongTokens>,
    pub packed_rounds: PackedRounds,
}

impl Api {
    /// The answer to a request on either port: the private one has the metrics and takes no actions.
    pub fn handle(&self, request: &Request) -> Reply {
        let answer = match request.port {
            Port::Public => self.answer(request),
            Port::Private => self.answer_in_private(request),
        };
        let reply = reply::write(request, answer);
        metrics::count_answers(&self.metrics, reply.status, 1);
        reply
    }

    fn answer_in_private(&self, request: &Request) -> Answer {
        let is_command = routes::find(&request.path).is_some_and(|(route, _)| route.is_command());
        match request.path.as_str() {
            "/metrics" => self.scrape(request),
            _ if is_command => Err(refusal(
                403,
                "read_only",
                "this port only reads: manual actions are taken on the public port".to_owned(),
            )),
            _ => self.answer(request),
        }
    }

    fn scrape(&self, request: &Request) -> Answer {
        if let Some(methods) = asks_methods(request, READ_METHODS)? {
            return Ok(methods);
        }
        let clients = (self.websocket_clients)();
        Ok(Body::Text {
            content_type: "text/plain; version=0.0.4",
            text: metrics::render(&self.metrics, &self.snapshot.load(), clients),
        })
    }

    fn answer(&self, request: &Request) -> Answer {
        let snapshot = self.snapshot.load();
        // The page takes any query: links to it come with all kinds of tags.
        if let Some(asset) = assets::find(&request.path) {
            return match asks_methods(request, READ_METHODS)? {
                Some(methods) => Ok(methods),
                None => self.asset(asset, &snapshot, request),
            };
        }
        if request.path == "*" {
            return Ok(Body::Methods(ALL_METHODS));
        }
        if request.port == Port::Public && routes::is_feed(&request.path) {
            // A handshake does not come here, but for one with a body.
            let methods = asks_methods(request, FEED_METHODS)?;
            return Ok(methods.unwrap_or(Body::Methods(FEED_METHODS)));
        }
        let Some((route, value)) = routes::find(&request.path) else {
            return Err(nothing_at(&request.path));
        };
        let allowed = match route.is_command() {
            true => COMMAND_METHODS,
            false => READ_METHODS,
        };
        if let Some(methods) = asks_methods(request, allowed)? {
            return Ok(methods);
        }
        let query = Query::parse(request.query.as_deref(), route.parameters)?;
        self.serve(route.endpoint, value, &query, request, &snapshot)
    }

    fn asset(&self, asset: Asset, snapshot: &Snapshot, request: &Request) -> Answer {
        let site = Site {
            chain_id: self.config.deployment.chain_id,
            contract: to_checksum(&self.config.deployment.contract),
            explorer_url: self.config.deployment.explorer_url.as_deref(),
            added_script: self.config.added_script,
        };
        let chain_time = snapshot.chain_time_at(self.clock.now());
        asset
            .body(snapshot, chain_time, &site, request.query.as_deref())
            .map_err(|missing| match missing {
                Missing::Nothing => nothing_at(&request.path),
                Missing::Query(bad) => bad.into(),
            })
    }

    /// `value` stands in the place of the path's parameter.
    fn serve(
        &self,
        endpoint: Endpoint,
        value: &str,
        query: &Query,
        request: &Request,
        snapshot: &Snapshot,
    ) -> Answer {
        let now = self.clock.now();
        let body = match endpoint {
            Endpoint::Healthz => return Ok(probe(&self.threads_failing(now))),
            Endpoint::Readyz => return Ok(probe(&self.checks_failing(snapshot, now))),
            Endpoint::Health => self.health_report(snapshot, now),
            Endpoint::Status => {
                let clients = (self.websocket_clients)();
                view::status(snapshot, &self.config.deployment, now, clients)
            }
            Endpoint::RoundStatus => view::round_status(snapshot, now),
            Endpoint::Participants => {
                let limit = query.number("limit", PARTICIPANTS_LEN, 1, LEN_MAX)?;
                let offset = query.number("offset", 0, 0, OFFSET_MAX)?;
                view::participants(snapshot, to_len(limit), to_len(offset))
            }
            Endpoint::Player => view::player(snapshot, query.address("player")?),
            Endpoint::Draw => {
                return self.command(request, snapshot, now, commands::parse_draw);
            }
            Endpoint::Refund => {
                return self.command(request, snapshot, now, commands::parse_refund);
            }
            Endpoint::History => {
                let max = (self.config.round_history_max as u64).max(1);
                let limit = query.number("limit", HISTORY_LEN.min(max), 1, max)?;
                let before = query.optional_number("before", 1, u64::MAX)?;
                view::history(snapshot, to_len(limit), before)
            }
            Endpoint::FinishedRound => return self.finished_round(snapshot, value, query),
            Endpoint::Activities => {
                let limit = query.number("limit", ACTIVITIES_LEN, 1, LEN_MAX)?;
                let before = query.text("before");
                view::activities(snapshot, to_len(limit), before)
                    .ok_or_else(|| self.unknown_item(before.unwrap_or_default()))?
            }
            Endpoint::Fairness => view::fairness(snapshot),
            Endpoint::ContractConfig => {
                view::contract_config_status(snapshot).ok_or_else(not_read_yet)?
            }
            Endpoint::ContractAddress => view::contract_address(&self.config.deployment),
            Endpoint::Abi => return Ok(Body::Packed(&ABI)),
            Endpoint::OperatorStatus => view::operator_status(snapshot),
            Endpoint::Action => return self.action(snapshot, value),
            Endpoint::OpenApi => return Ok(Body::Packed(&DOCUMENT)),
        };
        Ok(Body::Json(200, body))
    }

    fn threads_failing(&self, now: Instant) -> Vec<(&'static str, String)> {
        let components = self.health.components();
        let failing = components.iter().filter(|known| !known.is_turning(now));
        failing
            .map(|known| {
                let cause = known.last_error.clone();
                (
                    known.name,
                    cause.unwrap_or_else(|| "does not turn".to_owned()),
                )
            })
            .collect()
    }

    fn checks_failing(&self, snapshot: &Snapshot, now: Instant) -> Vec<(&'static str, String)> {
        let mut failing = Vec::new();
        match snapshot.chain_time {
            Some(time) => {
                let age_secs = now.saturating_duration_since(time.seen_at).as_secs_f64();
                let mean_secs = snapshot.schedule.mean_spacing_secs.unwrap_or(0.0);
                // A chain that mines on demand stands still for hours while it answers: that alone is no failure.
                if !snapshot.connection.reachable && age_secs > FRESH_SECS_MIN.max(3.0 * mean_secs)
                {
                    let why = format!(
                        "the chain is out of reach, its newest block came {age_secs:.0} s ago"
                    );
                    failing.push(("chain_fresh", why));
                }
            }
            None => {
                let problem = snapshot.connection.problem.clone();
                let why = problem.unwrap_or_else(|| "no block has been read yet".to_owned());
                failing.push(("chain_fresh", why));
            }
        }
        if let Some(why) = snapshot
            .owed
            .sentence()
            .filter(|_| snapshot.owed.is_awaited)
        {
            failing.push(("synced", why));
        }
        let contract = snapshot.config.as_deref().map(|config| config.operator);
        if let (Some(key), Some(operator)) = (self.config.key_address, contract) {
            if key != operator {
                let (key, operator) = (to_checksum(&key), to_checksum(&operator));
                let why = format!("the key is {key}'s, the contract's operator is {operator}");
                failing.push(("operator_key", why));
            }
        }
        failing
    }

    fn health_report(&self, snapshot: &Snapshot, now: Instant) -> Value {
        let vitals = view::Vitals {
            components: &self.health.components(),
            endpoints: &(self.endpoint_reports)(),
            failing: &self.checks_failing(snapshot, now),
            websocket_clients: (self.websocket_clients)(),
        };
        view::health(snapshot, now, &vitals)
    }

    fn action(&self, snapshot: &Snapshot, id: &str) -> Answer {
        match self.operator.action(snapshot, id) {
            Some(action) => Ok(Body::Json(200, view::action(&action))),
            None => {
                let message = format!("no action {} is among the last 100", shown(id));
                Err(refusal(404, "unknown_action", message))
            }
        }
    }

    fn finished_round(&self, snapshot: &Snapshot, number: &str, query: &Query) -> Answer {
        let is_plain = number.bytes().all(|byte| byte.is_ascii_digit());
        let id = number.parse::<u64>().ok().filter(|id| *id > 0 && is_plain);
        let Some(id) = id else {
            let number = shown(number);
            let message = format!("roundId is {number}, allowed are whole numbers from 1");
            return Err(refusal(400, "bad_round", message));
        };
        let is_named = self.names_this(snapshot, query)?;
        let kept = snapshot.history.iter().find(|round| round.round_id == id);
        if let Some(round) = kept {
            let is_for_ever = is_named && is_settled(snapshot, round);
            return Ok(Body::Round {
                round: self.packed_rounds.get(snapshot, round),
                as_of: (!is_for_ever).then(|| view::as_of(snapshot).to_string()),
            });
        }
        let running = snapshot.round.as_ref().map(|round| round.round_id);
        Err(match running {
            Some(running) if id == running => {
                refusal(404, "not_finished", format!("round {id} is still running"))
            }
            Some(running) if id > running => {
                let message = format!("round {id} has not begun, {running} is running");
                refusal(404, "unknown_round", message)
            }
            Some(_) if !snapshot.syncing => {
                let kept = self.config.round_history_max;
                let message = format!(
                    "round {id} is older than what is kept (the last {kept} rounds at most): `lottery verify {id}` \
                     still reads it from the chain"
                );
                refusal(404, "not_kept", message)
            }
            _ => not_read_yet(),
        })
    }

    /// Whether `of` is given and names this deployment: then the URL names its content, whatever daemon answers there.
    fn names_this(&self, snapshot: &Snapshot, query: &Query) -> Result<bool, Refusal> {
        let Some(of) = query.text("of") else {
            return Ok(false);
        };
        match self.config.deployment.name(snapshot.genesis) {
            Some(name) if name.eq_ignore_ascii_case(of) => Ok(true),
            Some(name) => {
                let message = format!("of is {}, this is {name}", shown(of));
                Err(refusal(404, "other_deployment", message))
            }
            None => Ok(false),
        }
    }

    /// A manual action: checked against the snapshot, then handed to the operator; nobody waits for the chain.
    fn command(
        &self,
        request: &Request,
        snapshot: &Snapshot,
        now: Instant,
        parse: fn(&[u8]) -> Result<Asked, Refusal>,
    ) -> Answer {
        commands::authorize(request, self.config.token.as_ref())
            .inspect_err(|refusal| self.note_refused_token(request, refusal))?;
        let asked = parse(&request.body)?;
        let round = snapshot.round.as_ref().ok_or_else(not_read_yet)?;
        commands::check(asked, snapshot, round, now)?;
        let id = self.operator.submit(asked.round_id, asked.kind);
        let id = id.map_err(|OperatorBusy| Refusal {
            headers: vec![("Retry-After", "5".to_owned())],
            ..refusal(
                503,
                "busy",
                "the operator has too many actions waiting: try again in 5 s".to_owned(),
            )
        })?;
        let location = format!("/api/operator/actions/{id}");
        let body = view::accepted(&id, asked.round_id, &location);
        Ok(Body::Accepted { location, body })
    }

    /// One line a second at most tells of wrong tokens: nobody fills a disk with guesses.
    fn note_refused_token(&self, request: &Request, refusal: &Refusal) {
        if refusal.delay.is_zero() {
            return;
        }
        let mut noted = self
            .wrong_tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        noted.unsaid += 1;
        let now = self.clock.now();
        let is_time = noted
            .said_at
            .is_none_or(|at| now.saturating_duration_since(at) >= Duration::from_secs(1));
        if is_time {
            let forwarded = request.fields.lines("x-forwarded-for").next_back();
            log::warn!(
                "wrong tokens for {}: {} since the last such line, now from {} (X-Forwarded-For: {})",
                request.path,
                noted.unsaid,
                request.peer,
                forwarded.map_or("none".to_owned(), shown_bytes)
            );
            *noted = WrongTokens {
                unsaid: 0,
                said_at: Some(now),
            };
        }
    }

    fn unknown_item(&self, id: &str) -> Refusal {
        let kept = self.config.live_feed_max_entries;
        let message = format!(
            "before is {}, allowed is the id of an item of the live feed (the last {kept} are kept)",
            shown(id)
        );
        refusal(400, "bad_query", message)
    }
}

/// What OPTIONS is told; None for a method that the path takes, a refusal for one that it does not.
fn asks_methods(request: &Request, allowed: &'static str) -> Result<Option<Body>, Refusal> {
    let is_allowed = allowed.split(", ").any(|known| known == request.method);
    match request.method.as_str() {
        "OPTIONS" => Ok(Some(Body::Methods(allowed))),
        // A manual action without its body is refused for what its head lacks.
        _ if is_allowed && request.body_is_left && allowed != COMMAND_METHODS => Err(refusal(
            413,
            "body_too_large",
            format!("{} {} takes no body", request.method, shown(&request.path)),
        )),
        _ if is_allowed => Ok(None),
        _ => Err(not_allowed(request, allowed)),
    }
}

fn not_allowed(request: &Request, allowed: &'static str) -> Refusal {
    let method = shown(&request.method);
    Refusal {
        headers: vec![("Allow", allowed.to_owned())],
        ..refusal(
            405,
            "method_not_allowed",
            format!("the method is {method}, allowed here: {allowed}"),
        )
    }
}

fn nothing_at(path: &str) -> Refusal {
    let path = shown(path);
    let message = format!("there is nothing at {path}; GET /api/openapi.json lists what there is");
    refusal(404, "not_found", message)
}

fn not_read_yet() -> Refusal {
    Refusal {
        headers: vec![("Retry-After", "2".to_owned())],
        ..refusal(
            503,
            "syncing",
            "the chain is still being read: try again in 2 s".to_owned(),
        )
    }
}

impl From<BadQuery> for Refusal {
    fn from(bad: BadQuery) -> Refusal {
        refusal(400, "bad_query", bad.0)
    }
}

fn probe(failing: &[(&'static str, String)]) -> Body {
    let status = if failing.is_empty() { 200 } else { 503 };
    Body::Json(status, view::checks(failing))
}

/// Whether nothing about the round can change any more. A draw that could not be checked may be checkable after a
/// restart with a better endpoint, so that answer is not for ever.
fn is_settled(snapshot: &Snapshot, round: &FinishedRound) -> bool {
    let is_unchecked = matches!(round.proof.verdict, Verdict::Unverifiable { .. });
    !snapshot.syncing
        && !is_unchecked
        && round.position.block_number <= snapshot.finality.finalized_block
}

/// Numbers of a query are bounded far below any usize.
fn to_len(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
