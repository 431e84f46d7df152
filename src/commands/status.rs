//! `lottery status`: how the running daemon is, in some ten lines for a person and an exit code for monitoring.

use crate::commands::arguments::{Arguments, CommandSpec, JSON};
use crate::commands::exit::Exit;
use crate::commands::load;
use crate::commands::output::{print, tell};
use crate::lottery::words::ether;
use crate::web::client::{ApiClient, OperatorAnswer, StatusAnswer};

pub(super) static COMMAND: CommandSpec = CommandSpec {
    name: "status",
    operand: None,
    summary: "ask the running daemon how it is",
    details: "\
Asks the daemon that listens on server.host and server.port; no token is needed. Exit code 0:
ready and no alert; 3: not so; 1: no daemon answers.
",
    options: &[JSON],
    examples: &["lottery status"],
    run,
};

fn run(arguments: &Arguments) -> Exit {
    let config = match load::to_ask(arguments) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let answer = ApiClient::new(config.server).status();
    let (json, status) = match answer {
        Ok(answer) => answer,
        Err(error) => {
            tell(&error.to_string());
            return Exit::Failed;
        }
    };
    let text = match arguments.has(&JSON) {
        true => format!("{json}\n"),
        false => describe(&status),
    };
    print(&text, exit_of(&status))
}

fn exit_of(status: &StatusAnswer) -> Exit {
    let alerting = status
        .operator
        .alerts
        .iter()
        .any(|alert| alert.severity != "info");
    match status.failing.is_empty() && !alerting {
        true => Exit::Done,
        false => Exit::No,
    }
}

const UNKNOWN: &str = "not known yet";

fn describe(status: &StatusAnswer) -> String {
    let mut lines = vec![("ready", ready(status)), ("block", block(status))];
    lines.extend(of_round(status));
    lines.extend(of_operator(&status.operator));
    let lines = lines.into_iter();
    lines
        .map(|(name, value)| format!("{name:<10}  {value}\n"))
        .collect()
}

fn told<T>(value: Option<T>, tell: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), tell)
}

fn ready(status: &StatusAnswer) -> String {
    let failing: Vec<String> = status
        .failing
        .iter()
        .map(|(name, why)| format!("{name} ({why})"))
        .collect();
    match failing.is_empty() {
        true => "yes".to_owned(),
        false => format!("no: {}", failing.join(", ")),
    }
}

fn block(status: &StatusAnswer) -> String {
    told(status.as_of.block_number, |number| {
        match status.as_of.syncing {
            true => format!("{number}, still reading"),
            false => number.to_string(),
        }
    })
}

fn of_round(status: &StatusAnswer) -> [(&'static str, String); 4] {
    let round = &status.round;
    let phase = round.phase.as_deref().unwrap_or(UNKNOWN).replace('_', " ");
    let number = told(round.round_id, |id| format!("{id}, {phase}"));
    let players = told(round.participant_count, |players| players.to_string());
    let pot = told(round.total_pot_wei, |wei| format!("{} ETH", ether(wei)));
    let window = told(window(status), |window| window);
    [
        ("round", number),
        ("players", players),
        ("pot", pot),
        ("window", window),
    ]
}

fn of_operator(operator: &OperatorAnswer) -> Vec<(&'static str, String)> {
    let in_flight = match &operator.in_flight {
        Some(flight) => format!(
            "{} of round {} at nonce {}, sent {} times",
            flight.action, flight.round_id, flight.nonce, flight.attempts
        ),
        None => "nothing".to_owned(),
    };
    let balance = told(operator.balance_wei, |wei| format!("{} ETH", ether(wei)));
    let mut lines = vec![
        ("operator", operator.phase.clone()),
        ("in flight", in_flight),
        ("balance", balance),
    ];
    if operator.alerts.is_empty() {
        lines.push(("alerts", "none".to_owned()));
    }
    lines.extend(operator.alerts.iter().map(|alert| {
        let text = format!("{} ({}): {}", alert.code, alert.severity, alert.message);
        ("alert", text)
    }));
    lines
}

/// When the round can be drawn, seen from the chain's present time.
fn window(status: &StatusAnswer) -> Option<String> {
    let round = &status.round;
    let (opens, closes, now) = (
        round.min_draw_time?,
        round.max_draw_time?,
        round.chain_time?,
    );
    Some(match (opens, now) {
        (0, _) => "none before the first bet".to_owned(),
        (opens, now) if now < opens => format!("opens in {} s", opens - now),
        (_, now) if now <= closes => format!("open, closes in {} s", closes - now),
        _ => format!("closed {} s ago", now - closes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{json, Value};

    fn status(change: impl FnOnce(&mut Value)) -> StatusAnswer {
        let mut value = json!({
            "asOf": {"blockNumber": 9, "syncing": false},
            "round": {
                "roundId": 7, "phase": "draw_window", "participantCount": 12, "totalPotWei": "1250000000000000000",
                "minDrawTime": 100, "maxDrawTime": 200, "chainTime": 150,
            },
            "operator": {
                "phase": "attempting draw", "balanceWei": "500000000000000000", "alerts": [],
                "inFlight": {"action": "draw", "roundId": 7, "nonce": 3, "attempts": 2},
            },
            "failing": {},
        });
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn ten_lines_say_it_all() {
        let told = describe(&status(|_| {}));
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(
            lines,
            [
                "ready       yes",
                "block       9",
                "round       7, draw window",
                "players     12",
                "pot         1.25 ETH",
                "window      open, closes in 50 s",
                "operator    attempting draw",
                "in flight   draw of round 7 at nonce 3, sent 2 times",
                "balance     0.5 ETH",
                "alerts      none",
            ]
        );
    }

    #[test]
    fn what_is_unknown_is_said_as_unknown() {
        let told = describe(&status(|value| {
            value["asOf"] = json!({"blockNumber": null, "syncing": true});
            value["round"] = json!({"roundId": null, "phase": null});
            value["operator"]["balanceWei"] = Value::Null;
            value["operator"]["inFlight"] = Value::Null;
        }));
        assert_eq!(told.matches("not known yet").count(), 6, "{told}");
        assert!(told.contains("in flight   nothing"));
    }

    #[test]
    fn the_exit_code_is_for_monitoring() {
        assert_eq!(exit_of(&status(|_| {})), Exit::Done);
        let failing = status(|value| value["failing"] = json!({"chain": "the head is 90 s old"}));
        assert_eq!(exit_of(&failing), Exit::No);
        assert!(describe(&failing).starts_with("ready       no: chain (the head is 90 s old)\n"));
        for (severity, exit) in [
            ("info", Exit::Done),
            ("warning", Exit::No),
            ("critical", Exit::No),
        ] {
            let alerting = status(|value| {
                let alert =
                    json!({"code": "low_balance", "severity": severity, "message": "0.1 ETH left"});
                value["operator"]["alerts"] = json!([alert]);
            });
            assert_eq!(exit_of(&alerting), exit);
            let line = format!("alert       low_balance ({severity}): 0.1 ETH left\n");
            assert!(describe(&alerting).ends_with(&line));
        }
    }

    #[test]
    fn the_window_is_told_from_where_the_chain_stands() {
        for (chain_time, told) in [
            (99, "opens in 1 s"),
            (100, "open, closes in 100 s"),
            (200, "open, closes in 0 s"),
            (201, "closed 1 s ago"),
        ] {
            let status = status(|value| value["round"]["chainTime"] = json!(chain_time));
            assert_eq!(window(&status).as_deref(), Some(told));
        }
        let waiting = status(|value| value["round"]["minDrawTime"] = json!(0));
        assert_eq!(
            window(&waiting).as_deref(),
            Some("none before the first bet")
        );
    }
}
