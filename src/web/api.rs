//! From a complete request to its reply, by the newest snapshot alone: no sockets, no chain, no waiting.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;
use sha3::{Digest, Sha3_256};

use crate::actors::messages::{CommandKind, OperatorHandle, SharedSnapshot};
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::base::thread::Health;
use crate::chain::endpoints::EndpointReport;
use crate::chain::types::{to_checksum, Address};
use crate::lottery::contract::ABI_JSON;
use crate::lottery::model::{Phase, Round, RoundState, Snapshot};
use crate::web::http::{Reply, Request};
use crate::web::query::Query;
use crate::web::{assets, metrics, openapi, view};

const PAGE_CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                        connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// A head older than this (or three block times) means that the chain is not followed any more.
const FRESH_SECS_MIN: f64 = 60.0;

pub struct ApiConfig {
    pub contract_address: Address,
    pub chain_id: u64,
    pub explorer_url: Option<String>,
    /// For manual actions; None refuses them all.
    pub token: Option<crate::config::Secret>,
    pub key_address: Option<Address>,
    pub round_history_max: usize,
    pub live_feed_max_entries: usize,
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
}

/// What a route makes of a request.
enum Body {
    Json(u16, Value),
    /// Never changes again.
    Immutable(Value),
    Bytes {
        content_type: &'static str,
        bytes: &'static [u8],
        is_page: bool,
    },
    Text(&'static str, String),
    Accepted {
        location: String,
        body: Value,
    },
}

/// A refusal with its status, code, text and further headers.
struct Refusal {
    status: u16,
    code: &'static str,
    message: String,
    headers: Vec<(&'static str, String)>,
}

type Answer = Result<Body, Refusal>;

impl Api {
    /// The public port.
    pub fn handle(&self, request: &Request) -> Reply {
        let reply = self.reply(request, self.route(request));
        self.count(reply)
    }

    /// The private port: what the public one serves to readers, and the metrics.
    pub fn handle_private(&self, request: &Request) -> Reply {
        let answer = match (request.path.as_str(), is_read(request)) {
            ("/metrics", true) => {
                let text = metrics::render(
                    &self.metrics,
                    &self.snapshot.load(),
                    (self.websocket_clients)(),
                );
                Ok(Body::Text("text/plain; version=0.0.4", text))
            }
            (_, true) => self.route(request),
            (_, false) => Err(not_allowed("GET, HEAD")),
        };
        let reply = self.reply(request, answer);
        self.count(reply)
    }

    fn count(&self, reply: Reply) -> Reply {
        let status = reply.status.to_string();
        self.metrics.add(
            "lottery_http_requests_total",
            "HTTP answers.",
            &[("status", &status)],
            1.0,
        );
        reply
    }

    fn route(&self, request: &Request) -> Answer {
        let snapshot = self.snapshot.load();
        let now = self.clock.now();
        let path = request.path.as_str();
        if let Some(asset) = assets::find(path) {
            read_only(request)?;
            Query::parse(request)?.finish()?;
            let is_page = asset.content_type.starts_with("text/html");
            return Ok(Body::Bytes {
                content_type: asset.content_type,
                bytes: asset.bytes,
                is_page,
            });
        }
        if let Some(id) = path.strip_prefix("/api/operator/actions/") {
            read_only(request)?;
            return self.action(&snapshot, id);
        }
        if let Some(number) = path.strip_prefix("/api/history/") {
            read_only(request)?;
            return self.finished_round(&snapshot, number);
        }
        match path {
            "/api/round/draw" => self.command(request, &snapshot, now, false),
            "/api/round/refund" => self.command(request, &snapshot, now, true),
            _ => self.read(request, &snapshot, now),
        }
    }

    fn read(&self, request: &Request, snapshot: &Snapshot, now: Instant) -> Answer {
        if !openapi::is_known(&request.path) {
            let message = format!(
                "there is nothing at {}; GET /api/openapi.json lists what there is",
                request.path
            );
            return Err(refusal(404, "not_found", message));
        }
        read_only(request)?;
        let mut query = Query::parse(request)?;
        let body = match request.path.as_str() {
            "/healthz" => self.healthz(now),
            "/readyz" => self.readyz(snapshot, now),
            "/api/health" => Body::Json(200, self.health_report(snapshot, now)),
            "/api/status" => {
                Body::Json(200, view::status(snapshot, now, (self.websocket_clients)()))
            }
            "/api/round/status" => Body::Json(200, view::round_status(snapshot, now)),
            "/api/round/participants" => {
                let limit = query.number("limit", 200, 1, 1_000)?;
                let offset = query.number("offset", 0, 0, u32::MAX.into())?;
                // Both are below 2^32.
                Body::Json(
                    200,
                    view::participants(snapshot, limit as usize, offset as usize),
                )
            }
            "/api/round/player" => {
                Body::Json(200, view::player(snapshot, query.address("player")?))
            }
            "/api/history" => {
                let max = self.config.round_history_max as u64;
                let limit = query.number("limit", max.min(20), 1, max)?;
                let before = query.optional_number("before", 1, u64::MAX)?;
                Body::Json(200, view::history(snapshot, limit as usize, before))
            }
            "/api/activities" => {
                let max = self.config.live_feed_max_entries as u64;
                let limit = query.number("limit", max.min(50), 1, max)?;
                let before = query.text("before");
                let page = view::activities(snapshot, limit as usize, before.as_deref());
                Body::Json(
                    200,
                    page.ok_or_else(|| {
                        let id = before.unwrap_or_default();
                        refusal(
                            400,
                            "bad_query",
                            format!("before is {id}, allowed is the id of an item of the feed"),
                        )
                    })?,
                )
            }
            "/api/contract/config" => match snapshot.config.as_deref() {
                Some(config) => {
                    let mut body = view::contract_config(config);
                    body["asOf"] = view::as_of(snapshot);
                    Body::Json(200, body)
                }
                None => return Err(not_read_yet()),
            },
            "/api/contract/address" => Body::Json(
                200,
                serde_json::json!({
                    "address": to_checksum(&self.config.contract_address),
                    "chainId": self.config.chain_id,
                    "explorerUrl": self.config.explorer_url,
                }),
            ),
            "/contracts/abi/Lottery.abi" => Body::Bytes {
                content_type: "application/json",
                bytes: ABI_JSON.as_bytes(),
                is_page: false,
            },
            "/api/operator/status" => {
                let mut body = view::operator(&snapshot.operator);
                body["asOf"] = view::as_of(snapshot);
                Body::Json(200, body)
            }
            "/api/openapi.json" => Body::Json(200, openapi::document()),
            _ => {
                return Err(refusal(
                    404,
                    "not_found",
                    format!("there is nothing at {}", request.path),
                ))
            }
        };
        query.finish()?;
        Ok(body)
    }

    fn healthz(&self, now: Instant) -> Body {
        let failing: Vec<_> = self
            .health
            .components()
            .iter()
            .filter(|component| !component.is_turning(now))
            .map(|component| {
                (
                    component.name,
                    component
                        .last_error
                        .clone()
                        .unwrap_or_else(|| "does not turn".to_owned()),
                )
            })
            .collect();
        Body::Json(
            if failing.is_empty() { 200 } else { 503 },
            view::checks(&failing),
        )
    }

    fn readyz(&self, snapshot: &Snapshot, now: Instant) -> Body {
        let failing = self.failing_checks(snapshot, now);
        Body::Json(
            if failing.is_empty() { 200 } else { 503 },
            view::checks(&failing),
        )
    }

    fn failing_checks(&self, snapshot: &Snapshot, now: Instant) -> Vec<(&'static str, String)> {
        let mut failing = Vec::new();
        match snapshot.chain_time {
            Some(time) => {
                let age_secs = now.saturating_duration_since(time.seen_at).as_secs_f64();
                let allowed_secs =
                    FRESH_SECS_MIN.max(3.0 * snapshot.schedule.mean_spacing_secs.unwrap_or(0.0));
                // A chain that mines on demand stands still without being out of reach.
                if !snapshot.connection.reachable && age_secs > allowed_secs {
                    failing.push((
                        "chain_fresh",
                        format!("the newest block came {age_secs:.0} s ago"),
                    ));
                }
            }
            None => failing.push(("chain_fresh", "no block has been read yet".to_owned())),
        }
        if snapshot.syncing {
            failing.push(("synced", "the history is still being read".to_owned()));
        }
        if let (Some(key), Some(config)) = (self.config.key_address, snapshot.config.as_deref()) {
            if key != config.operator {
                let (key, operator) = (to_checksum(&key), to_checksum(&config.operator));
                failing.push((
                    "operator_key",
                    format!("the key is {key}'s, the contract's operator is {operator}"),
                ));
            }
        }
        failing
    }

    fn health_report(&self, snapshot: &Snapshot, now: Instant) -> Value {
        let components: Vec<Value> = self
            .health
            .components()
            .iter()
            .map(|component| view::component(component, now))
            .collect();
        let endpoints: Vec<Value> = (self.endpoint_reports)()
            .iter()
            .map(view::endpoint)
            .collect();
        let head_age = snapshot
            .chain_time
            .map(|time| now.saturating_duration_since(time.seen_at).as_secs());
        serde_json::json!({
            "asOf": view::as_of(snapshot),
            "version": env!("CARGO_PKG_VERSION"),
            "commit": env!("LOTTERY_COMMIT"),
            "healthy": self.health.all_turning(now),
            "ready": view::checks(&self.failing_checks(snapshot, now)),
            "components": components,
            "endpoints": endpoints,
            "connection": view::connection(&snapshot.connection),
            "headAgeSeconds": head_age,
            "balanceWei": snapshot.operator.balance_wei.map(|wei| wei.to_string()),
            "websocketClients": (self.websocket_clients)(),
        })
    }

    fn action(&self, snapshot: &Snapshot, id: &str) -> Answer {
        match self.operator.action(snapshot, id) {
            Some(action) => Ok(Body::Json(200, view::action(&action))),
            None => Err(refusal(
                404,
                "unknown_action",
                format!("no action {id} is among the last 100"),
            )),
        }
    }

    fn finished_round(&self, snapshot: &Snapshot, number: &str) -> Answer {
        let Some(id) = number.parse::<u64>().ok().filter(|id| *id > 0) else {
            let message =
                format!("{number} is no round's number, allowed are whole numbers from 1");
            return Err(refusal(400, "bad_round", message));
        };
        if let Some(round) = snapshot.history.iter().find(|round| round.round_id == id) {
            let body = view::finished_round(snapshot, round);
            return Ok(match body["finality"] == "finalized" {
                true => Body::Immutable(body),
                false => Body::Json(200, body),
            });
        }
        let running = snapshot.round.as_ref().map_or(0, |round| round.round_id);
        Err(match id {
            _ if running == 0 => not_read_yet(),
            _ if id == running => {
                refusal(404, "not_finished", format!("round {id} is still running"))
            }
            _ if id > running => refusal(
                404,
                "unknown_round",
                format!("round {id} has not begun, {running} runs"),
            ),
            _ => refusal(
                404,
                "not_kept",
                format!(
                    "round {id} is older than the last {} that are kept",
                    self.config.round_history_max
                ),
            ),
        })
    }

    /// A manual draw or refund: checked against the snapshot, then handed to the operator; nobody waits for the chain.
    fn command(
        &self,
        request: &Request,
        snapshot: &Snapshot,
        now: Instant,
        refund: bool,
    ) -> Answer {
        if request.method != "POST" {
            return Err(not_allowed("POST"));
        }
        self.authorize(request)?;
        let (round_id, force) = command_body(&request.body, refund)?;
        let Some(round) = &snapshot.round else {
            return Err(not_read_yet());
        };
        check_command(round, round_id, snapshot.chain_time_at(now), refund, force)?;
        let kind = if refund {
            CommandKind::Refund { force }
        } else {
            CommandKind::Draw
        };
        let id = self.operator.submit(round_id, kind).map_err(|_| Refusal {
            headers: vec![("Retry-After", "5".to_owned())],
            ..refusal(
                503,
                "busy",
                "the operator has too many commands waiting: try again in 5 s".to_owned(),
            )
        })?;
        let location = format!("/api/operator/actions/{id}");
        let body = serde_json::json!({"actionId": id, "roundId": round_id, "location": location});
        Ok(Body::Accepted { location, body })
    }

    fn authorize(&self, request: &Request) -> Result<(), Refusal> {
        let Some(token) = &self.config.token else {
            let message =
                "manual actions are off: set server.api_token_file to a file with a token";
            return Err(refusal(403, "no_token_configured", message.to_owned()));
        };
        let given = request.header("authorization").and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        if given.is_some_and(|given| {
            equal_in_constant_time(given.as_bytes(), token.expose().as_bytes())
        }) {
            return Ok(());
        }
        let message = match given {
            Some(_) => "the token is wrong",
            None => "an Authorization header with the scheme Bearer and the token is needed",
        };
        Err(Refusal {
            headers: vec![("WWW-Authenticate", "Bearer realm=\"lottery\"".to_owned())],
            ..refusal(401, "unauthorized", message.to_owned())
        })
    }

    /// Headers, entity tag and compression around what the route made.
    fn reply(&self, request: &Request, answer: Answer) -> Reply {
        let mut headers = vec![
            ("X-Content-Type-Options", "nosniff".to_owned()),
            ("Referrer-Policy", "no-referrer".to_owned()),
        ];
        let is_read = is_read(request);
        if is_read {
            headers.push(("Access-Control-Allow-Origin", "*".to_owned()));
        }
        let (status, content_type, bytes): (u16, &str, Arc<[u8]>) = match answer {
            Ok(Body::Json(status, body)) => {
                headers.push(("Cache-Control", "no-cache".to_owned()));
                (
                    status,
                    "application/json",
                    body.to_string().into_bytes().into(),
                )
            }
            Ok(Body::Immutable(body)) => {
                headers.push((
                    "Cache-Control",
                    "public, max-age=31536000, immutable".to_owned(),
                ));
                (
                    200,
                    "application/json",
                    body.to_string().into_bytes().into(),
                )
            }
            Ok(Body::Bytes {
                content_type,
                bytes,
                is_page,
            }) => {
                headers.push(("Cache-Control", "no-cache".to_owned()));
                match is_page {
                    true => {
                        headers.push(("Content-Security-Policy", PAGE_CSP.to_owned()));
                        let page = assets::page(bytes, &self.snapshot.load());
                        (200, content_type, page.into_bytes().into())
                    }
                    false => (200, content_type, bytes.into()),
                }
            }
            Ok(Body::Text(content_type, text)) => (200, content_type, text.into_bytes().into()),
            Ok(Body::Accepted { location, body }) => {
                headers.push(("Location", location));
                (
                    202,
                    "application/json",
                    body.to_string().into_bytes().into(),
                )
            }
            Err(mut refusal) => {
                headers.append(&mut refusal.headers);
                headers.push(("Cache-Control", "no-store".to_owned()));
                let body = view::error(refusal.code, &refusal.message);
                (
                    refusal.status,
                    "application/json",
                    body.to_string().into_bytes().into(),
                )
            }
        };
        headers.push(("Content-Type", content_type.to_owned()));
        if status == 200 && is_read {
            let tag = entity_tag(&bytes);
            let matches = request.header("if-none-match").is_some_and(|known| {
                known.split(',').any(|known| {
                    known.trim().trim_start_matches("W/") == tag || known.trim() == "*"
                })
            });
            headers.push(("ETag", tag));
            if matches {
                return Reply {
                    status: 304,
                    headers,
                    body: Arc::from([]),
                };
            }
        }
        Reply {
            status,
            headers,
            body: bytes,
        }
    }
}

fn entity_tag(bytes: &[u8]) -> String {
    let digest = Sha3_256::digest(bytes);
    format!(
        "\"{}\"",
        digest[..12]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    )
}

fn is_read(request: &Request) -> bool {
    matches!(request.method.as_str(), "GET" | "HEAD")
}

fn read_only(request: &Request) -> Result<(), Refusal> {
    if is_read(request) {
        Ok(())
    } else {
        Err(not_allowed("GET, HEAD"))
    }
}

fn not_allowed(allowed: &'static str) -> Refusal {
    Refusal {
        headers: vec![("Allow", allowed.to_owned())],
        ..refusal(
            405,
            "method_not_allowed",
            format!("allowed here: {allowed}"),
        )
    }
}

fn not_read_yet() -> Refusal {
    Refusal {
        headers: vec![("Retry-After", "2".to_owned())],
        ..refusal(
            503,
            "syncing",
            "the chain has not been read yet: try again in 2 s".to_owned(),
        )
    }
}

fn refusal(status: u16, code: &'static str, message: String) -> Refusal {
    Refusal {
        status,
        code,
        message,
        headers: Vec::new(),
    }
}

impl From<crate::web::query::BadQuery> for Refusal {
    fn from(bad: crate::web::query::BadQuery) -> Refusal {
        refusal(400, "bad_query", bad.0)
    }
}

fn command_body(body: &[u8], refund: bool) -> Result<(u64, bool), Refusal> {
    let bad = |message: &str| refusal(400, "bad_body", message.to_owned());
    let shape = if refund {
        "{\"roundId\": N, \"force\": true or false}"
    } else {
        "{\"roundId\": N}"
    };
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
        return Err(bad(&format!("the body must be {shape}")));
    };
    let (mut round_id, mut force) = (None, false);
    for (key, value) in &fields {
        match (key.as_str(), value) {
            ("roundId", value) => {
                let id = value.as_u64().filter(|id| *id > 0);
                round_id = Some(id.ok_or_else(|| {
                    bad(&format!(
                        "roundId is {value}, allowed are whole numbers from 1"
                    ))
                })?);
            }
            ("force", Value::Bool(flag)) if refund => force = *flag,
            ("force", value) if refund => {
                return Err(bad(&format!(
                    "force is {value}, allowed are true and false"
                )));
            }
            (key, _) => {
                return Err(bad(&format!(
                    "{key} is not known, the body must be {shape}"
                )))
            }
        }
    }
    Ok((
        round_id.ok_or_else(|| bad(&format!("roundId is missing, the body must be {shape}")))?,
        force,
    ))
}

/// Whether the contract could accept the command now, by the snapshot.
fn check_command(
    round: &Round,
    round_id: u64,
    chain_time: u64,
    refund: bool,
    force: bool,
) -> Result<(), Refusal> {
    let conflict = |code, message: String| Err(refusal(409, code, message));
    if round_id != round.round_id {
        let message = format!(
            "round {round_id} is not running, round {} is",
            round.round_id
        );
        return conflict("not_running", message);
    }
    if round.state != RoundState::Betting {
        let message = format!(
            "round {round_id} is {}, it must be BETTING",
            round.state.label()
        );
        return conflict("not_betting", message);
    }
    if round.total_pot_wei.is_zero() {
        return conflict("no_bets", format!("round {round_id} has no bets"));
    }
    let phase = round.phase(chain_time);
    match (refund, phase) {
        (false, Phase::Betting | Phase::Closed) => conflict(
            "too_early",
            format!(
                "the draw window opens at {}, chain time is {chain_time}",
                round.min_draw_time
            ),
        ),
        (false, Phase::Overdue) => conflict(
            "too_late",
            format!(
                "the draw window closed at {}, only a refund is left",
                round.max_draw_time
            ),
        ),
        (true, phase) if phase != Phase::Overdue && !force => conflict(
            "needs_force",
            format!(
                "the draw window is open until {}; \"force\": true refunds the round all the same",
                round.max_draw_time
            ),
        ),
        _ => Ok(()),
    }
}

/// The time taken depends on the length of what was given alone.
fn equal_in_constant_time(given: &[u8], secret: &[u8]) -> bool {
    let mut difference = given.len() ^ secret.len();
    for (place, byte) in given.iter().enumerate() {
        let other = secret
            .get(place % secret.len().max(1))
            .copied()
            .unwrap_or(0);
        difference |= usize::from(byte ^ other);
    }
    std::hint::black_box(difference) == 0
}
