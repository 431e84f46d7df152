//! Tells the owner of alerts by HTTP: their begin and their end are posted to `operator.alert_webhook`, in order, in the
//! form that the receiver takes. It listens to the store like any other listener, so a slow or dead receiver can hold up
//! nobody. Only an answer of 2xx is a delivery; all else is tried again over minutes, after as long as the receiver asks.

pub(crate) mod format;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::TryRecvError;
use ureq::http::Uri;

use self::format::{alertmanager, message, Message};

use crate::actors::messages::PublicationReceiver;
use crate::base::clock::{Clock, Wakeable};
use crate::base::shutdown::Shutdown;
use crate::base::thread::Beat;
use crate::chain::http::{describe, wait_named};
use crate::chain::names::{port_of, Names};
use crate::config::AlertFormat;
use crate::lottery::alert::{Alert, AlertCode, AlertState, Severity, Subject};
use crate::lottery::snapshot::StoreEvent;

const TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_TURN: Duration = Duration::from_secs(5);
/// The waits between tries double from the first to the longest; they add up to a quarter of an hour.
const TRY_AGAIN_MIN: Duration = Duration::from_secs(1);
const TRY_AGAIN_MAX: Duration = Duration::from_secs(120);
const TRIES_MAX: u32 = 14;
/// What the receiver itself calls wrong is not tried as often.
const TRIES_REFUSED_MAX: u32 = 4;
/// A receiver is waited for as long as it asks, within this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);
/// Alerts that may wait for a dead receiver; the oldest give way.
const WAITING_MAX: usize = 200;
/// So often the receiver's host is looked up while nothing is to be told, so that an alert finds it also while names cannot
/// be looked up; sooner again where it was not found.
const LOOK_UP_EVERY: Duration = Duration::from_secs(3_600);
const LOOK_UP_AGAIN: Duration = Duration::from_secs(60);
/// Alertmanager is told of what still holds this often.
const RENEW_EVERY: Duration = Duration::from_secs(60);

pub struct Webhook {
    receiver: Receiver,
    publications: PublicationReceiver,
    clock: Clock,
    waiting: VecDeque<Delivery>,
    firing: Vec<Arc<Alert>>,
    renewed_at: Option<Instant>,
    look_up_at: Instant,
}

/// Where alerts go, and in which form.
struct Receiver {
    url: String,
    format: AlertFormat,
    agent: ureq::Agent,
    names: Names,
}

struct Delivery {
    alert: Arc<Alert>,
    tries: u32,
    /// Not tried before.
    due: Instant,
}

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Delivered,
    /// Later it may work.
    Failed {
        retry_after: Option<Duration>,
    },
    /// The receiver says that the request itself is wrong.
    Refused,
}

/// Posts one test alert; for `lottery check --alert`.
///
/// # Errors
/// What went wrong, without the URL, which may hold a token.
pub(crate) fn send_test_alert(url: &str, format: AlertFormat, clock: &Clock) -> Result<(), String> {
    let unix_ms = clock.unix_ms();
    let alert = Alert {
        id: format!("alert-{unix_ms}-1"),
        code: AlertCode::Test,
        subject: Subject::None,
        severity: Severity::Info,
        state: AlertState::Firing,
        message: "a test: alerts of this lottery arrive here".to_owned(),
        since_unix_ms: unix_ms,
        unix_ms,
    };
    let receiver = Receiver::new(url.to_owned(), format);
    receiver
        .post(&message(&alert, format, clock.unix_secs()))
        .map_err(|problem| format!("operator.alert_webhook {problem}"))
        .and_then(|answer| match answer.status {
            200..=299 => Ok(()),
            300..=399 => Err(format!(
                "operator.alert_webhook answered {}, a redirect: set the URL that it leads to",
                answer.status
            )),
            status => Err(format!("operator.alert_webhook answered {status}")),
        })
}

impl Webhook {
    pub fn new(
        url: String,
        format: AlertFormat,
        publications: PublicationReceiver,
        clock: Clock,
    ) -> Webhook {
        Webhook {
            receiver: Receiver::new(url, format),
            publications,
            look_up_at: clock.now(),
            clock,
            waiting: VecDeque::new(),
            firing: Vec::new(),
            renewed_at: None,
        }
    }

    /// The thread's body.
    pub fn run(&mut self, shutdown: &Shutdown, beat: &Beat) -> Result<(), String> {
        while !shutdown.is_tripped() {
            beat.turn();
            let Some(wake) = self.turn(self.clock.now()) else {
                return Ok(());
            };
            let news: [&dyn Wakeable; 2] = [&self.publications, shutdown.signal()];
            self.clock.wait_any(&news, Some(wake));
        }
        Ok(())
    }

    /// Hears the news and makes at most one try; when to turn again, or None when the store is gone.
    fn turn(&mut self, now: Instant) -> Option<Instant> {
        loop {
            match self.publications.try_recv() {
                Ok(publication) => {
                    self.firing
                        .clone_from(&publication.snapshot.operator.alerts);
                    for event in &publication.events {
                        if let StoreEvent::OperatorAlert(alert) = event {
                            self.enqueue(alert.clone(), now);
                        }
                    }
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return None,
            }
        }
        self.renew(now);
        self.look_up(now);
        if self.waiting.front().is_some_and(|first| first.due <= now) {
            self.try_first(now);
        }
        let due = self.waiting.front().map(|first| first.due);
        Some(due.unwrap_or(now + IDLE_TURN).min(now + IDLE_TURN))
    }

    fn enqueue(&mut self, alert: Arc<Alert>, now: Instant) {
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.pop_front();
            log::error!("alert_webhook is not reached: the oldest of {WAITING_MAX} waiting alerts is dropped");
        }
        self.waiting.push_back(Delivery {
            alert,
            tries: 0,
            due: now,
        });
    }

    /// An alert that is not delivered in time is still in the log, the feed and the status.
    fn try_first(&mut self, now: Instant) {
        let Some(first) = self.waiting.front_mut() else {
            return;
        };
        let told = message(&first.alert, self.receiver.format, self.clock.unix_secs());
        let outcome = self.receiver.try_once(&told);
        first.tries += 1;
        let tries_max = match outcome {
            Outcome::Delivered => 0,
            Outcome::Refused => TRIES_REFUSED_MAX,
            Outcome::Failed { .. } => TRIES_MAX,
        };
        if first.tries >= tries_max {
            if outcome != Outcome::Delivered {
                let (code, tries) = (first.alert.code.label(), first.tries);
                log::error!(
                    "alert {code} could not be delivered to alert_webhook in {tries} tries"
                );
            }
            self.waiting.pop_front();
            return;
        }
        let usual = TRY_AGAIN_MIN.saturating_mul(1 << (first.tries - 1).min(10));
        let asked = match outcome {
            Outcome::Failed { retry_after } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        first.due = now + usual.min(TRY_AGAIN_MAX).max(asked.min(RETRY_AFTER_MAX));
    }

    /// Remembers where the receiver is before there is anything to tell.
    fn look_up(&mut self, now: Instant) {
        if now >= self.look_up_at && self.waiting.is_empty() {
            self.look_up_at = now
                + match self.receiver.is_found() {
                    true => LOOK_UP_EVERY,
                    false => LOOK_UP_AGAIN,
                };
        }
    }

    /// Alertmanager takes what is not told again for ended.
    fn renew(&mut self, now: Instant) {
        let rested = |at| now.saturating_duration_since(at) >= RENEW_EVERY;
        let is_due = self.receiver.format == AlertFormat::Alertmanager
            && self.renewed_at.is_none_or(rested)
            && self.waiting.is_empty();
        if !is_due || self.firing.is_empty() {
            return;
        }
        self.renewed_at = Some(now);
        let firing: Vec<&Alert> = self.firing.iter().map(Arc::as_ref).collect();
        let told = alertmanager(&firing, self.clock.unix_secs());
        self.receiver.try_once(&told);
    }
}

/// As much of an HTTP answer as counts here.
struct Answer {
    status: u16,
    retry_after: Option<Duration>,
}

impl Receiver {
    fn new(url: String, format: AlertFormat) -> Receiver {
        Receiver::at(Names::new(), url, format)
    }

    fn at(names: Names, url: String, format: AlertFormat) -> Receiver {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .max_redirects(0)
            .http_status_as_error(false)
            .proxy(None)
            // Alerts are rare, and a connection that is kept is 256 KiB.
            .max_idle_connections(0)
            .build();
        Receiver {
            url,
            format,
            agent: names.agent(config),
            names,
        }
    }

    /// Whether its host is known, or is found now.
    fn is_found(&self) -> bool {
        let Ok(uri) = self.url.parse::<Uri>() else {
            return false;
        };
        let find = |host| self.names.find(host, port_of(&uri), TIMEOUT);
        let found = uri.host().map(find);
        matches!(found, Some(Ok(_)))
    }

    fn try_once(&self, told: &Message) -> Outcome {
        match self.post(told) {
            Ok(Answer { status, .. }) if (200..300).contains(&status) => Outcome::Delivered,
            Ok(Answer {
                status,
                retry_after,
            }) => {
                log::warn!("alert_webhook answered {status}");
                match status {
                    408 | 425 | 429 | 500.. => Outcome::Failed { retry_after },
                    _ => Outcome::Refused,
                }
            }
            Err(problem) => {
                log::warn!("alert_webhook {problem}");
                Outcome::Failed { retry_after: None }
            }
        }
    }

    fn post(&self, told: &Message) -> Result<Answer, &'static str> {
        let mut request = self
            .agent
            .post(&self.url)
            .header("content-type", told.content_type);
        for (name, value) in &told.headers {
            request = request.header(*name, value);
        }
        let response = request.send(&told.body).map_err(|error| {
            self.names.doubt();
            describe(&error)
        })?;
        let retry_after = response.headers().get("retry-after");
        Ok(Answer {
            status: response.status().as_u16(),
            retry_after: retry_after.and_then(|value| wait_named(value.to_str().ok()?)),
        })
    }
}

#[cfg(test)]
mod tests;
