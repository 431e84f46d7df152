//! An alert as each kind of receiver wants it: a body, its content type and further headers. Pure.

use serde_json::{json, Value};

use crate::config::AlertFormat;
use crate::lottery::alert::{Alert, AlertState, Severity, Subject};

/// Discord refuses longer texts.
const DISCORD_CHARS_MAX: usize = 1_900;
/// Alertmanager forgets an alert that is not posted again before this.
const FIRING_FOR_SECS: u64 = 300;

/// A request without its URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub content_type: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

/// One alert; for Alertmanager a list of one.
pub fn message(alert: &Alert, format: AlertFormat, now_unix_secs: u64) -> Message {
    let text = text(alert);
    let json = |body: Value| Message {
        content_type: "application/json",
        headers: Vec::new(),
        body: body.to_string(),
    };
    match format {
        AlertFormat::Generic => json(generic(alert, &text)),
        AlertFormat::Slack => json(json!({"text": escaped_for_slack(&text)})),
        AlertFormat::Discord => json(json!({
            "content": text.chars().take(DISCORD_CHARS_MAX).collect::<String>(),
            "allowed_mentions": {"parse": []},
        })),
        AlertFormat::Ntfy => Message {
            content_type: "text/plain; charset=utf-8",
            headers: ntfy_headers(alert),
            body: text,
        },
        AlertFormat::Alertmanager => alertmanager(&[alert], now_unix_secs),
    }
}

/// What Alertmanager takes: every alert with its labels, its begin, and when it ends unless it is posted again.
pub(crate) fn alertmanager(alerts: &[&Alert], now_unix_secs: u64) -> Message {
    let of = |alert: &&Alert| {
        let ends_at = match alert.state {
            AlertState::Firing => now_unix_secs + FIRING_FOR_SECS,
            AlertState::Resolved => alert.unix_ms / 1000,
        };
        json!({
            "labels": {
                "alertname": alert.code.label(),
                "severity": alert.severity.label(),
                "subject": alert.subject.to_string(),
                "job": "lottery",
            },
            "annotations": {"summary": alert.message, "description": text(alert)},
            "startsAt": rfc3339(alert.since_unix_ms / 1000),
            "endsAt": rfc3339(ends_at),
        })
    };
    Message {
        content_type: "application/json",
        headers: Vec::new(),
        body: Value::Array(alerts.iter().map(of).collect()).to_string(),
    }
}

/// Our own fields; `text` and `content` beside them are what Slack and Discord show of it.
fn generic(alert: &Alert, text: &str) -> Value {
    let mut value = alert_fields(alert);
    value["text"] = json!(text);
    value["content"] = json!(text.chars().take(DISCORD_CHARS_MAX).collect::<String>());
    value
}

/// An alert as the feed, the API and the generic form of the webhook tell it.
pub(crate) fn alert_fields(alert: &Alert) -> Value {
    let subject = match &alert.subject {
        Subject::None => None,
        subject => Some(subject.to_string()),
    };
    json!({
        "id": alert.id,
        "code": alert.code.label(),
        "subject": subject,
        "state": alert.state.label(),
        "severity": alert.severity.label(),
        "message": alert.message,
        "roundId": alert.round_id(),
        "since": alert.since_unix_ms / 1000,
        "timestamp": alert.unix_ms / 1000,
    })
}

/// One line for people.
fn text(alert: &Alert) -> String {
    let state = match alert.state {
        AlertState::Firing => alert.severity.label().to_uppercase(),
        AlertState::Resolved => "RESOLVED".to_owned(),
    };
    let about = match &alert.subject {
        Subject::None => String::new(),
        subject => format!(" ({subject})"),
    };
    format!(
        "[{state}] lottery {}{about}: {}",
        alert.code.label(),
        alert.message
    )
}

/// Slack reads these three as markup.
fn escaped_for_slack(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn ntfy_headers(alert: &Alert) -> Vec<(&'static str, String)> {
    let is_over = alert.state == AlertState::Resolved;
    let (priority, tag) = match alert.severity {
        _ if is_over => ("default", "white_check_mark"),
        Severity::Critical => ("urgent", "rotating_light"),
        Severity::Warning => ("high", "warning"),
        Severity::Info => ("default", "information_source"),
    };
    let title = format!("lottery: {} ({})", alert.code.label(), alert.state.label());
    vec![
        ("title", title),
        ("priority", priority.to_owned()),
        ("tags", tag.to_owned()),
    ]
}

/// Unix seconds as a time in UTC.
fn rfc3339(unix_secs: u64) -> String {
    let (days, secs) = (unix_secs / 86_400, unix_secs % 86_400);
    // Days are counted from 1 March of the year 0, so that a leap day ends its year; 400 years have 146,097 days.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (secs / 3_600, secs / 60 % 60, secs % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lottery::alert::AlertCode;

    fn alert(state: AlertState) -> Alert {
        Alert {
            id: "alert-5000-1".to_owned(),
            code: AlertCode::DrawOverdue,
            subject: Subject::Round(7),
            severity: Severity::Critical,
            state,
            message: "a third is gone & <nobody> draws".to_owned(),
            since_unix_ms: 5_000,
            unix_ms: 65_000,
        }
    }

    fn json_of(message: &Message) -> Value {
        serde_json::from_str(&message.body).unwrap()
    }

    #[test]
    fn times_are_written_as_the_calendar_has_them() {
        for (secs, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_795_651_200, "2026-11-26T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(secs), text);
        }
    }

    #[test]
    fn the_generic_form_is_what_slack_and_discord_show_as_it_is() {
        let body = json_of(&message(
            &alert(AlertState::Firing),
            AlertFormat::Generic,
            65,
        ));
        let text = "[CRITICAL] lottery draw_overdue (round 7): a third is gone & <nobody> draws";
        assert_eq!(
            (&body["text"], &body["content"]),
            (&json!(text), &json!(text))
        );
        assert_eq!(body["state"], "firing");
        assert_eq!(
            (&body["since"], &body["timestamp"]),
            (&json!(5), &json!(65))
        );
        assert_eq!(
            (&body["subject"], &body["roundId"]),
            (&json!("round 7"), &json!(7))
        );
    }

    #[test]
    fn each_receiver_gets_its_own_form() {
        let slack = json_of(&message(&alert(AlertState::Firing), AlertFormat::Slack, 65));
        assert!(
            slack["text"]
                .as_str()
                .unwrap()
                .contains("&amp; &lt;nobody&gt;"),
            "{slack}"
        );
        let mut long = alert(AlertState::Firing);
        long.message = "é".repeat(5_000);
        let discord = json_of(&message(&long, AlertFormat::Discord, 65));
        assert_eq!(
            discord["content"].as_str().unwrap().chars().count(),
            DISCORD_CHARS_MAX
        );
        assert_eq!(discord["allowed_mentions"], json!({"parse": []}));
        let ntfy = message(&alert(AlertState::Resolved), AlertFormat::Ntfy, 65);
        assert_eq!(
            ntfy.headers[0],
            ("title", "lottery: draw_overdue (resolved)".to_owned())
        );
        assert!(
            ntfy.body.starts_with("[RESOLVED] lottery draw_overdue"),
            "{}",
            ntfy.body
        );
    }

    #[test]
    fn alertmanager_is_told_when_it_began_and_when_it_ends() {
        let firing = json_of(&message(
            &alert(AlertState::Firing),
            AlertFormat::Alertmanager,
            65,
        ));
        assert_eq!(firing[0]["labels"]["alertname"], "draw_overdue");
        assert_eq!(firing[0]["startsAt"], "1970-01-01T00:00:05Z");
        assert_eq!(firing[0]["endsAt"], "1970-01-01T00:06:05Z");
        let ended = json_of(&message(
            &alert(AlertState::Resolved),
            AlertFormat::Alertmanager,
            99,
        ));
        assert_eq!(ended[0]["labels"], firing[0]["labels"]);
        assert_eq!(ended[0]["endsAt"], "1970-01-01T00:01:05Z");
    }
}
