//! Tells the owner of alerts by HTTP: each one is posted as JSON to `operator.alert_webhook`. It listens to the store
//! like any other listener, so a slow or dead receiver can hold up nobody.

use std::time::Duration;

use crossbeam_channel::select;
use serde_json::{json, Value};

use crate::actors::messages::PublicationReceiver;
use crate::base::shutdown::Shutdown;
use crate::base::thread::Beat;
use crate::lottery::alert::Alert;
use crate::lottery::snapshot::StoreEvent;

const TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_TURN: Duration = Duration::from_secs(5);

pub struct Webhook {
    url: String,
    agent: ureq::Agent,
    publications: PublicationReceiver,
}

impl Webhook {
    pub fn new(url: String, publications: PublicationReceiver) -> Webhook {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .max_redirects(0)
            .proxy(None)
            .build()
            .new_agent();
        Webhook {
            url,
            agent,
            publications,
        }
    }

    /// The thread's body.
    pub fn run(&mut self, shutdown: &Shutdown, beat: &Beat) -> Result<(), String> {
        loop {
            beat.turn();
            select! {
                recv(self.publications) -> publication => match publication {
                    Ok(publication) => {
                        for event in &publication.events {
                            if let StoreEvent::OperatorAlert(alert) = event {
                                self.post(alert);
                                beat.turn();
                            }
                        }
                    }
                    Err(_) => return Ok(()),
                },
                recv(shutdown.signal()) -> _ => return Ok(()),
                default(IDLE_TURN) => {}
            }
        }
    }

    /// Tries twice; an alert that cannot be delivered is still in the log, the feed and the status.
    fn post(&self, alert: &Alert) {
        let body = body(alert).to_string();
        for attempt in 1..=2 {
            let request = self
                .agent
                .post(&self.url)
                .header("content-type", "application/json");
            match request.send(&body) {
                Ok(_) => return,
                // ureq's texts may hold the URL, which may hold a token: only the attempt is told.
                Err(ureq::Error::StatusCode(status)) => {
                    log::warn!("alert_webhook answered {status} (attempt {attempt})");
                }
                Err(_) => log::warn!("alert_webhook cannot be reached (attempt {attempt})"),
            }
        }
    }
}

fn body(alert: &Alert) -> Value {
    json!({
        "id": alert.id,
        "code": alert.code,
        "severity": alert.severity.label(),
        "message": alert.message,
        "roundId": alert.round_id,
        "timestamp": alert.unix_ms / 1000,
    })
}
