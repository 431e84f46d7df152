//! What a Prometheus makes of the daemon: the rules, by its own promtool over a bad night, and every query of rules and
//! dashboard by a real one that scrapes a real daemon.

use std::process::{Child, Command, Stdio};

use devchain::Fault;
use serde_json::{json, Value};
use support::chain::{wait_for, Chain, Lottery, Timing};
use support::daemon::{Daemon, Options};
use support::programs::free_port;
use support::BET_WEI;
use tempfile::TempDir;

use crate::{here, said};

/// Of these there is no sample while all is well.
const ONLY_IN_TROUBLE: [&str; 1] = ["lottery_websocket_slow_disconnects_total"];

fn file(name: &str) -> String {
    let path = here().join("prometheus").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// A server of its own, which ends with the test.
struct Prometheus {
    child: Child,
    port: u16,
    _dir: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A daemon with these settings, and a server that scrapes it and knows these rules.
fn scraped(lottery: &Lottery, mut config: Value, rules: &str) -> (String, Daemon, Prometheus) {
    let target = format!("127.0.0.1:{}", free_port());
    config["server"]["metrics_listen"] = json!(target);
    let options = Options {
        config,
        ..Options::default()
    };
    let daemon = Daemon::start(lottery, options);
    let prometheus = Prometheus::scraping(&target, rules);
    daemon.wait_ready();
    (target, daemon, prometheus)
}

impl Prometheus {
    fn scraping(target: &str, rules: &str) -> Prometheus {
        let dir = TempDir::new().unwrap();
        let (config, data) = (dir.path().join("prometheus.yml"), dir.path().join("data"));
        std::fs::write(dir.path().join("rules.yml"), rules).unwrap();
        // JSON is YAML as well.
        let text = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [
                {"job_name": "lottery", "static_configs": [{"targets": [target]}]},
            ],
        });
        std::fs::write(&config, text.to_string()).unwrap();
        let port = free_port();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=error")
            .stdout(Stdio::null())
            .spawn()
            .expect("prometheus is installed");
        Prometheus {
            child,
            port,
            _dir: dir,
        }
    }

    /// How many series answer the query; None while the server does not.
    fn ask(&self, query: &str) -> Option<usize> {
        let url = format!("http://127.0.0.1:{}/api/v1/query", self.port);
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .new_agent();
        let mut response = agent.get(url).query("query", query).call().ok()?;
        let text = response.body_mut().read_to_string().unwrap();
        // Not JSON while it starts.
        let answer: Value = serde_json::from_str(&text).ok()?;
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        Some(answer["data"]["result"].as_array().map_or(0, Vec::len))
    }
}

/// A rule's alert in this state.
fn alert(name: &str, state: &str) -> String {
    format!("ALERTS{{alertname=\"{name}\", alertstate=\"{state}\"}}")
}

fn dashboard_queries(instance: &str) -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&file("dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries = targets.map(|target| target["expr"].as_str().unwrap());
    queries
        .map(|query| query.replace("$instance", instance))
        .collect()
}

/// The names of metrics in a text.
fn names(text: &str) -> Vec<&str> {
    let is_of_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let words = text.split(|char| !is_of_name(char));
    words.filter(|word| word.starts_with("lottery_")).collect()
}

/// What finds all series of this one's name that have its labels, of whatever values but for the job.
fn kind_of_series(line: &str) -> Option<String> {
    let series = line.trim().strip_prefix("- series: ")?;
    let (name, labels) = series.trim_end_matches('}').split_once('{')?;
    let labels = labels.split(", ").filter_map(|label| label.split_once('='));
    let has = labels.map(|(label, value)| match label {
        "job" => format!("{label}={value}"),
        _ => format!("{label}=~\".+\""),
    });
    let has: Vec<String> = has.collect();
    Some(format!("{name}{{{}}}", has.join(", ")))
}

#[test]
#[ignore = "needs promtool"]
fn promtool_finds_the_rules_right_and_right_in_a_bad_night() {
    let path = |name: &str| here().join("prometheus").join(name).display().to_string();
    said("promtool", &["check", "rules", &path("rules.yml")]);
    said("promtool", &["test", "rules", &path("rules.test.yml")]);
}

#[test]
#[ignore = "needs prometheus"]
fn every_query_of_rules_and_dashboard_finds_what_the_daemon_tells() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let rules = file("rules.yml");
    let (target, _daemon, prometheus) = scraped(&lottery, json!({}), &rules);
    lottery.bet(2, BET_WEI);
    lottery.bet(3, BET_WEI);
    lottery.skip_to(lottery.round().min_draw_time - 3);
    wait_for("the draw", || lottery.winner_of(1));
    // Two rounds' worth of everything: one drawn, one open.
    lottery.bet(2, BET_WEI);
    let in_trouble = |query: &str| {
        let mut known = names(query).into_iter();
        known.any(|name| ONLY_IN_TROUBLE.contains(&name)) || query.ends_with("> 0")
    };
    for query in dashboard_queries(&target) {
        let wanted = usize::from(!in_trouble(&query));
        wait_for(&query, || {
            prometheus.ask(&query).filter(|found| *found >= wanted)
        });
    }
    // The conditions of the rules hold only in trouble; what they speak of is there.
    let lines = rules.lines();
    let rules: Vec<&str> = lines.filter(|line| !line.starts_with('#')).collect();
    for name in names(&rules.join("\n")) {
        assert!(prometheus.ask(name) > Some(0), "{name}");
    }
    // The night that promtool plays is made of series as the daemon has them.
    let night = file("rules.test.yml");
    let series: Vec<String> = night.lines().filter_map(kind_of_series).collect();
    assert!(series.len() > 15, "{series:?}");
    for kind in series {
        assert!(prometheus.ask(&kind) > Some(0), "{kind}");
    }
}

/// The night that the rules' own test tells in minutes, on a real daemon in seconds: its only endpoint is gone when the draw
/// window opens and comes back while it is still open, and at the end the daemon is killed.
#[test]
#[ignore = "needs prometheus"]
fn the_rules_tell_of_a_real_bad_night() {
    let mining = devchain::Mining::IntervalMs(1000);
    let config = devchain::Config {
        mining,
        ..Default::default()
    };
    let chain = Chain::devchain_on(config, 1);
    let endpoint = &chain.dev().endpoints()[0];
    let lottery = chain.deploy(Timing {
        betting: 6,
        min_draw_delay: 1,
        max_draw_delay: 37,
        ..Timing::default()
    });
    let config = json!({"blockchain": {"rpc_url": endpoint.url()}});
    // The minute that the daemon may be gone is three seconds here; promtool has the minute.
    let (minute, here) = (
        "for: 1m\n        labels: {severity: critical}\n",
        "for: 3s\n        labels: {severity: critical}\n",
    );
    let rules = file("rules.yml");
    assert!(rules.contains(minute), "{rules}");
    let (_, daemon, prometheus) = scraped(&lottery, config, &rules.replace(minute, here));
    let is_told = |name: &str, state: &str| {
        let query = alert(name, state);
        wait_for(&query, || prometheus.ask(&query).filter(|found| *found > 0));
    };
    let is_over = |name: &str| {
        let query = alert(name, "firing");
        wait_for("its end", || {
            prometheus.ask(&query).filter(|found| *found == 0)
        });
    };
    lottery.bet(2, BET_WEI);
    lottery.bet(3, BET_WEI);
    let window = "lottery_draw_window_open_timestamp_seconds";
    wait_for(window, || {
        prometheus.ask(window).filter(|found| *found == 1)
    });
    for name in ["LotteryCondition", "LotteryDrawOverdue", "LotteryDown"] {
        assert_eq!(prometheus.ask(&alert(name, "firing")), Some(0), "{name}");
    }
    endpoint.faults.add(Fault::Status(503, None), None, None);
    is_told("LotteryDrawOverdue", "firing");
    is_told("LotteryCondition", "firing");
    endpoint.faults.clear();
    wait_for("the draw", || lottery.winner_of(1));
    is_over("LotteryDrawOverdue");
    is_over("LotteryCondition");
    let failed = "sum(lottery_rpc_requests_total{outcome!~\"ok|reverted\"}) > 0";
    assert_eq!(prometheus.ask(failed), Some(1));
    drop(daemon);
    is_told("LotteryDown", "firing");
}
