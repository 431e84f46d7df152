//! What would leave a round stuck is told in words while bets are still taken, wherever somebody may look: a round that
//! nobody has bet in, and a bettor that cannot be paid.

use serde_json::{json, Value};
use tempfile::TempDir;

use support::browser::Browser;
use support::chain::{hex_address, Chain, Lottery, Timing};
use support::daemon::{lottery_in, Daemon, Options};
use support::BET_WEI;

/// An alert's code, and words that it must have.
type Told<'a> = (&'a str, &'a str);

/// Of an operator that lets empty rounds be.
fn daemon_on(lottery: &Lottery) -> Daemon {
    let options = Options {
        config: json!({
            "server": {"metrics_listen": "127.0.0.1:0"},
            "operator": {"extend_empty_rounds": false},
        }),
        ..Options::default()
    };
    Daemon::quiet(lottery, options)
}

/// A round that is empty until near its end, and then has a bettor that cannot be paid; `look` is called at each of them.
fn nearly_stuck(lottery: &Lottery, mut look: impl FnMut(Told)) {
    lottery.operate("startRound", &[]);
    lottery.skip_to(lottery.round().end_time - 58);
    look(("empty_round", "nobody has bet in round 1, which ends at"));
    lottery.bet(3, 3 * BET_WEI);
    let rejector = hex_address(lottery.bet_unpayable(2, BET_WEI));
    let words = format!("{rejector} cannot be paid: a draw passes in 75.0 % of the blocks");
    look(("unpayable_player", &words));
    let (_, time) = lottery.chain.head();
    assert!(time < lottery.round().end_time, "betting is over: {time}");
}

/// Whether the list of alerts is this one alone.
fn is_told(alerts: &Value, (code, words): Told) -> bool {
    let alerts = alerts.as_array().unwrap();
    let [alert] = &alerts[..] else {
        return false;
    };
    alert["code"] == code && alert["message"].as_str().unwrap().contains(words)
}

#[test]
fn what_would_be_stuck_is_told_by_feed_api_status_and_metrics_while_bets_are_taken() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = daemon_on(&lottery);
    let metrics = format!("http://{}/metrics", daemon.private_address());
    let port = daemon.url.rsplit(':').next().unwrap();
    let dir = TempDir::new().unwrap();
    let mut feed = daemon.feed("");
    nearly_stuck(&lottery, |told| {
        let (code, words) = told;
        feed.wait("operator_alert", |alert| {
            is_told(&json!([alert]), told) && alert["state"] == "firing"
        });
        feed.wait("operator_status", |status| {
            is_told(&status["operator"]["alerts"], told)
        });
        let status = daemon.get("/api/operator/status").1;
        assert!(is_told(&status["alerts"], told), "{status}");
        let status = daemon.get("/api/status").1;
        assert!(is_told(&status["operator"]["alerts"], told), "{status}");
        let output = lottery_in(&dir)
            .args(["status", "--set", &format!("server.port={port}")])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(code) && text.contains(words), "{text}");
        assert_eq!(output.status.code(), Some(3), "{text}");
        let mut response = ureq::get(&metrics).call().unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        let firing = text
            .lines()
            .find(|line| line.starts_with("lottery_alerts_firing{") && line.contains(code));
        assert!(firing.is_some_and(|line| line.ends_with(" 1")), "{text}");
    });
}

#[test]
#[ignore = "needs chromium"]
fn what_would_be_stuck_is_named_on_the_page_while_bets_are_taken() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = daemon_on(&lottery);
    let mut browser = Browser::open(&daemon.url);
    browser.wait_text_in("#link", "live");
    browser.click("#operator summary", "Operator");
    nearly_stuck(&lottery, |(_, words)| {
        browser.wait_text_in("#operator-alerts", words);
    });
    assert_eq!(browser.foreign_complaints(), Vec::<&String>::new());
}
