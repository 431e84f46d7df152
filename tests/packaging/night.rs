//! A bad night of the real daemon, told by its metrics second by second, and played to the rules by promtool at a slower pace:
//! its only endpoint is gone while the draw is due, and comes back when the window has closed; at last the daemon is killed.

use std::collections::BTreeMap;
use std::time::Duration;

use devchain::{Config, Fault, Mining};
use serde_json::{json, Value};
use support::chain::{Chain, Lottery, Timing};
use support::daemon::{Daemon, Options};
use support::BET_WEI;
use tempfile::TempDir;

use crate::{here, said};

/// So long is a second of the night for the rules, which wait for minutes.
const SECOND_SECS: u64 = 15;
const UP: &str = "up{job=\"lottery\", instance=\"l\"}";
const MINUTE: u64 = 60 / SECOND_SECS;
/// How long after the window's end the endpoint comes back, and how long after its death the daemon is watched: the rules wait
/// for a minute, and look once a second.
const GONE_SECS: u64 = MINUTE + 3;

/// Values by series and by second, counted from the first one.
struct Recording<'a> {
    chain: &'a Chain,
    began_at: u64,
    series: BTreeMap<String, BTreeMap<u64, f64>>,
}

impl Recording<'_> {
    fn of(chain: &Chain) -> Recording<'_> {
        Recording {
            chain,
            began_at: chain.dev().head_timestamp(),
            series: BTreeMap::new(),
        }
    }

    fn now(&self) -> u64 {
        self.chain.dev().head_timestamp() - self.began_at
    }

    /// Watches what stands at `address`, block by block, until it is so late, or something else has come about.
    fn until(&mut self, address: &str, is_over: impl Fn(u64) -> bool) {
        while !is_over(self.now()) {
            let next = self.chain.dev().head_number() + 1;
            let is_mined = self
                .chain
                .dev()
                .wait_for_block(next, Duration::from_secs(30));
            assert!(is_mined, "no block {next}");
            self.scrape(address);
        }
    }

    /// As a Prometheus does it.
    fn scrape(&mut self, address: &str) {
        let now = self.now();
        let answer = ureq::get(format!("http://{address}/metrics")).call();
        let text = answer.and_then(|mut answer| answer.body_mut().read_to_string());
        let mut note = |series: String, value| {
            self.series.entry(series).or_default().insert(now, value);
        };
        note(UP.to_owned(), f64::from(u8::from(text.is_ok())));
        for line in text.iter().flat_map(|text| text.lines()) {
            let Some((series, value)) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))
            else {
                continue;
            };
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let value: f64 = value.parse().expect("a number");
            // The rules' own clock begins at 0.
            let value = match name.ends_with("_timestamp_seconds") {
                true => (value - self.began_at as f64) * SECOND_SECS as f64,
                false => value,
            };
            note(format!("{name}{{instance=\"l\", {labels}"), value);
        }
    }

    /// As promtool's tests tell it: a value a second, `stale` where a scrape did not have it, `_` where there was none.
    fn told(&self) -> Vec<Value> {
        let end = self.now();
        let scraped = &self.series[UP];
        let told = self.series.iter().map(|(series, values)| {
            let value = |at| match values.get(&at) {
                Some(value) => value.to_string(),
                None if scraped.contains_key(&at) => "stale".to_owned(),
                None => "_".to_owned(),
            };
            let values: Vec<String> = (0..=end).map(value).collect();
            json!({"series": series, "values": values.join(" ")})
        });
        told.collect()
    }
}

/// Whether the rule's alert fires at that second.
fn fires(rule: &str, at: u64, is_firing: bool) -> Value {
    let samples = match is_firing {
        true => json!([{"labels": "{}", "value": 1}]),
        false => json!([]),
    };
    json!({
        "expr": format!("group(ALERTS{{alertname=\"{rule}\", alertstate=\"firing\"}})"),
        "eval_time": format!("{}s", at * SECOND_SECS),
        "exp_samples": samples,
    })
}

fn daemon_on(lottery: &Lottery, url: &str) -> Daemon {
    let config = json!({
        "blockchain": {"rpc_url": url},
        "server": {"metrics_listen": "127.0.0.1:0"},
    });
    let options = Options {
        config,
        ..Options::default()
    };
    let daemon = Daemon::start(lottery, options);
    daemon.wait_ready();
    daemon
}

#[test]
#[ignore = "needs promtool"]
fn promtool_finds_the_rules_right_in_a_night_that_was_recorded() {
    let mining = Mining::IntervalMs(1000);
    let config = Config {
        mining,
        ..Config::default()
    };
    let chain = Chain::devchain_on(config, 1);
    let endpoint = &chain.dev().endpoints()[0];
    let lottery = chain.deploy(Timing {
        betting: 8,
        min_draw_delay: 1,
        max_draw_delay: 28,
        ..Timing::default()
    });
    let daemon = daemon_on(&lottery, &endpoint.url());
    let address = daemon.private_address();
    let mut night = Recording::of(&chain);
    lottery.bet(2, BET_WEI);
    lottery.bet(3, BET_WEI);
    let round = lottery.round();
    let (open, close) = (
        round.min_draw_time - night.began_at,
        round.max_draw_time - night.began_at,
    );
    night.until(&address, |now| now + 3 >= open);
    let quiet_at = night.now();
    endpoint.faults.add(Fault::Status(503, None), None, None);
    night.until(&address, |now| now > close + GONE_SECS);
    let missed_at = night.now();
    endpoint.faults.clear();
    night.until(&address, |_| !lottery.logs("RoundRefunded").is_empty());
    let refunded_at = night.now();
    night.until(&address, |now| now > refunded_at + 2);
    let over_at = night.now();
    drop(daemon);
    night.until(&address, |now| now > over_at + GONE_SECS);
    let dead_at = night.now();

    let in_window = [
        ("LotteryDrawOverdue", open + (close - open) / 3 + 2),
        ("LotteryChainStale", close),
        ("LotteryCondition", close),
        ("LotteryDrawMissed", missed_at),
    ];
    let expected = in_window.iter().flat_map(|(rule, at)| {
        let ends = *rule != "LotteryCondition";
        let over = ends.then(|| fires(rule, over_at, false));
        [fires(rule, quiet_at, false), fires(rule, *at, true)]
            .into_iter()
            .chain(over)
    });
    let mut expected: Vec<Value> = expected.collect();
    expected.push(fires("LotteryDrawMissed", close, false));
    expected.push(fires("LotteryDown", over_at, false));
    expected.push(fires("LotteryDown", dead_at, true));
    let dir = TempDir::new().unwrap();
    // JSON is YAML as well.
    let test = json!({
        "rule_files": [here().join("prometheus/rules.yml")],
        "evaluation_interval": format!("{SECOND_SECS}s"),
        "tests": [{
            "interval": format!("{SECOND_SECS}s"),
            "input_series": night.told(),
            "promql_expr_test": expected,
        }],
    });
    let path = dir.path().join("night.test.yml");
    std::fs::write(&path, test.to_string()).unwrap();
    said("promtool", &["test", "rules", path.to_str().unwrap()]);
}
