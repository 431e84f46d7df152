//! Receivers that check what they are sent as Slack, Discord, ntfy and Alertmanager do.

use std::sync::mpsc;
use std::time::SystemTime;

use serde_json::Value;

use super::*;
use crate::chain::names::tests::Script;
use crate::lottery::alert::Condition;
use crate::lottery::snapshot::Publication;
use crate::lottery::state::unread;

struct Got {
    content_type: String,
    title: Option<String>,
    body: String,
}

/// A server on a free port that answers with what `answer` says of each request.
fn serve(
    answer: impl Fn(&Got, usize) -> (u16, Vec<(&'static str, String)>) + Send + 'static,
) -> (String, mpsc::Receiver<Got>) {
    let server = tiny_http::Server::http("127.0.0.1:0").unwrap();
    let url = format!(
        "http://{}/hook/s3cret",
        server.server_addr().to_ip().unwrap()
    );
    let (sender, got) = mpsc::channel();
    std::thread::spawn(move || {
        for (index, mut request) in server.incoming_requests().enumerate() {
            let header = |name: &'static str| {
                let mut headers = request.headers().iter();
                let found = headers.find(|header| header.field.equiv(name));
                found.map(|header| header.value.to_string())
            };
            let mut heard = Got {
                content_type: header("Content-Type").unwrap_or_default(),
                title: header("Title"),
                body: String::new(),
            };
            request.as_reader().read_to_string(&mut heard.body).unwrap();
            let (status, headers) = answer(&heard, index);
            let mut response = tiny_http::Response::empty(status);
            for (name, value) in headers {
                let header = tiny_http::Header::from_bytes(name.as_bytes(), value.as_bytes());
                response.add_header(header.unwrap());
            }
            if sender.send(heard).is_err() {
                return;
            }
            // Who asked may have gone.
            let _ = request.respond(response);
        }
    });
    (url, got)
}

/// What each service answers: 2xx only to what it takes.
fn judge(format: AlertFormat, got: &Got) -> u16 {
    let is_json = got.content_type.starts_with("application/json");
    let body: Value = serde_json::from_str(&got.body).unwrap_or(Value::Null);
    let is_good = match format {
        AlertFormat::Generic => is_json && body["code"].is_string() && body["state"].is_string(),
        // Slack answers "no_text" to all else.
        AlertFormat::Slack => {
            let text = body["text"].as_str().unwrap_or_default();
            is_json && !text.is_empty() && !text.contains('<')
        }
        // Discord answers "Cannot send an empty message", or that it is too long.
        AlertFormat::Discord => {
            let content = body["content"].as_str().unwrap_or_default();
            is_json && (1..=2_000).contains(&content.chars().count())
        }
        // ntfy takes JSON for the message itself, which nobody wants to read.
        AlertFormat::Ntfy => body.is_null() && !got.body.is_empty() && got.title.is_some(),
        AlertFormat::Alertmanager => {
            let is_alert = |alert: &Value| {
                let labels = alert["labels"].as_object();
                let is_time =
                    |key: &str| alert[key].as_str().is_some_and(|text| text.ends_with('Z'));
                labels.is_some_and(|labels| labels.contains_key("alertname"))
                    && labels.is_some_and(|labels| labels.values().all(Value::is_string))
                    && is_time("startsAt")
                    && is_time("endsAt")
            };
            let alerts = body.as_array().map_or(&[][..], Vec::as_slice);
            is_json && !alerts.is_empty() && alerts.iter().all(is_alert)
        }
    };
    match is_good {
        true => 200,
        false => 400,
    }
}

fn alert(state: AlertState) -> Arc<Alert> {
    let condition = Condition::critical(AlertCode::DrawOverdue, Subject::Round(7), "late <b>");
    Arc::new(Alert {
        id: "alert-5000-1".to_owned(),
        code: condition.code,
        subject: condition.subject,
        severity: condition.severity,
        state,
        message: condition.message,
        since_unix_ms: 5_000,
        unix_ms: 5_000,
    })
}

fn publication(events: Vec<StoreEvent>, firing: Vec<Arc<Alert>>) -> Arc<Publication> {
    let mut snapshot = unread();
    let mut operator = (*snapshot.operator).clone();
    operator.alerts = firing;
    snapshot.operator = Arc::new(operator);
    Arc::new(Publication {
        number: 1,
        snapshot: Arc::new(snapshot),
        events,
    })
}

struct Setting {
    webhook: Webhook,
    clock: Clock,
    publish: crossbeam_channel::Sender<Arc<Publication>>,
}

fn setting(url: &str, format: AlertFormat) -> Setting {
    let (publish, publications) = crossbeam_channel::bounded(500);
    let clock = Clock::manual(5_000);
    let webhook = Webhook::new(url.to_owned(), format, publications, clock.clone());
    Setting {
        webhook,
        clock,
        publish,
    }
}

impl Setting {
    fn tell(&self, state: AlertState) {
        let event = StoreEvent::OperatorAlert(alert(state));
        self.publish.send(publication(vec![event], vec![])).unwrap();
    }

    /// Turns until nothing waits any more; how much time had to pass.
    fn deliver(&mut self) -> Duration {
        let start = self.clock.now();
        for _ in 0..1_000 {
            let wake = self.webhook.turn(self.clock.now()).unwrap();
            if self.webhook.waiting.is_empty() {
                return self.clock.now() - start;
            }
            let wait = wake.saturating_duration_since(self.clock.now());
            self.clock.advance(wait.max(Duration::from_millis(1)));
        }
        panic!("it is never done");
    }
}

#[test]
fn every_receiver_takes_its_format_at_once() {
    for format in [
        AlertFormat::Generic,
        AlertFormat::Slack,
        AlertFormat::Discord,
        AlertFormat::Ntfy,
        AlertFormat::Alertmanager,
    ] {
        let (url, got) = serve(move |got, _| (judge(format, got), vec![]));
        let mut setting = setting(&url, format);
        setting.tell(AlertState::Firing);
        setting.tell(AlertState::Resolved);
        assert_eq!(setting.deliver(), Duration::from_millis(1), "{format:?}");
        assert_eq!(got.try_iter().count(), 2, "{format:?}");
        assert_eq!(
            send_test_alert(&url, format, &setting.clock),
            Ok(()),
            "{format:?}"
        );
    }
    // The generic form needs no setting at Slack's and Discord's.
    for format in [AlertFormat::Slack, AlertFormat::Discord] {
        let (url, _got) = serve(move |got, _| {
            let status = match format {
                AlertFormat::Slack if got.body.contains("\"text\":\"") => 200,
                AlertFormat::Slack => 400,
                format => judge(format, got),
            };
            (status, vec![])
        });
        assert_eq!(
            send_test_alert(&url, AlertFormat::Generic, &Clock::system()),
            Ok(())
        );
    }
}

#[test]
fn a_receiver_that_asks_for_time_gets_it_and_then_the_alerts_in_order() {
    // Seconds, and a date with a second to spare, which a date leaves out.
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(32));
    for asked in ["30".to_owned(), date] {
        let (url, got) = serve(move |_, index| match index {
            0 => (429, vec![("Retry-After", asked.clone())]),
            1 | 2 => (503, vec![]),
            _ => (204, vec![]),
        });
        let mut setting = setting(&url, AlertFormat::Generic);
        setting.tell(AlertState::Firing);
        setting.tell(AlertState::Resolved);
        let waited = setting.deliver();
        assert!(waited >= Duration::from_secs(36), "{waited:?}");
        let states: Vec<String> = got
            .try_iter()
            .map(|got| {
                let body: Value = serde_json::from_str(&got.body).unwrap();
                body["state"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(states, ["firing", "firing", "firing", "firing", "resolved"]);
    }
}

#[test]
fn a_redirect_is_no_delivery_and_a_dead_receiver_is_tried_for_minutes() {
    let (elsewhere, followed) = serve(|_, _| (200, vec![]));
    let (url, got) = serve(move |_, _| (302, vec![("Location", elsewhere.clone())]));
    let refused = send_test_alert(&url, AlertFormat::Generic, &Clock::system()).unwrap_err();
    assert!(
        refused.contains("302") && !refused.contains("s3cret"),
        "{refused}"
    );
    let mut setting = setting(&url, AlertFormat::Generic);
    setting.tell(AlertState::Firing);
    setting.deliver();
    assert_eq!(got.try_iter().count(), 1 + TRIES_REFUSED_MAX as usize);
    assert_eq!(followed.try_iter().count(), 0);
    // Nobody listens there.
    let mut dead = self::setting("http://127.0.0.1:9/s3cret", AlertFormat::Generic);
    dead.tell(AlertState::Firing);
    let waited = dead.deliver();
    assert!(waited > Duration::from_secs(600), "{waited:?}");
    for _ in 0..2 * WAITING_MAX {
        dead.tell(AlertState::Firing);
        dead.webhook.turn(dead.clock.now());
    }
    assert!(dead.webhook.waiting.len() <= WAITING_MAX);
}

/// A mistyped name is another fault than a receiver that is down.
#[test]
fn why_a_receiver_is_not_reached_is_said_without_its_address() {
    // Too long for any name server to be asked.
    let unknown = format!("http://{}.example/s3cret", "long".repeat(80));
    for (url, words) in [
        (unknown.as_str(), "has a host name that is not found"),
        ("http://127.0.0.1:9/s3cret", "refused the connection"),
    ] {
        let said = send_test_alert(url, AlertFormat::Generic, &Clock::system()).unwrap_err();
        assert_eq!(said, format!("operator.alert_webhook {words}"));
    }
}

#[test]
fn alertmanager_is_told_again_of_what_still_holds() {
    let (url, got) = serve(|got, _| (judge(AlertFormat::Alertmanager, got), vec![]));
    let mut setting = setting(&url, AlertFormat::Alertmanager);
    let firing = publication(vec![], vec![alert(AlertState::Firing)]);
    setting.publish.send(firing).unwrap();
    for _ in 0..120 {
        setting.webhook.turn(setting.clock.now()).unwrap();
        setting.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(got.try_iter().count(), 2);
    let over = publication(vec![], vec![]);
    setting.publish.send(over).unwrap();
    for _ in 0..120 {
        setting.webhook.turn(setting.clock.now()).unwrap();
        setting.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(got.try_iter().count(), 0);
}

#[test]
fn the_first_alert_arrives_though_no_name_can_be_looked_up_by_then() {
    let (url, got) = serve(|_, _| (200, vec![]));
    let (_, port) = url
        .trim_end_matches("/hook/s3cret")
        .rsplit_once(':')
        .unwrap();
    let names = Names::told_by(Script::of(&[port.parse().unwrap()]));
    let mut setting = setting(&url, AlertFormat::Generic);
    let url = format!("http://hook.example:{port}/");
    setting.webhook.receiver = Receiver::at(names.clone(), url, AlertFormat::Generic);
    setting.webhook.turn(setting.clock.now());
    // Whoever asks from now on finds nothing.
    let _ = names.find("other.example", 80, TIMEOUT);
    names.doubt();
    setting.tell(AlertState::Firing);
    assert_eq!(setting.deliver(), Duration::ZERO);
    assert!(got.try_recv().is_ok(), "it was delivered");
}
