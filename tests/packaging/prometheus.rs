//! What a Prometheus makes of the daemon: the rules, by its own promtool over a bad night, and every query of rules and
//! dashboard by a real one that scrapes a real daemon.

use std::process::{Child, Command, Stdio};

use serde_json::{json, Value};
use support::chain::{wait_for, Chain, Timing};
use support::daemon::{Daemon, Options};
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

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Prometheus {
    fn scraping(target: &str) -> Prometheus {
        let dir = TempDir::new().unwrap();
        let (config, data) = (dir.path().join("prometheus.yml"), dir.path().join("data"));
        // JSON is YAML as well.
        let text = json!({
            "global": {"scrape_interval": "1s"},
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
    let target = format!("127.0.0.1:{}", free_port());
    let config = json!({"server": {"metrics_listen": target}});
    let daemon = Daemon::start(
        &lottery,
        Options {
            config,
            ..Options::default()
        },
    );
    let prometheus = Prometheus::scraping(&target);
    daemon.wait_ready();
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
    let rules = file("rules.yml");
    let rules: Vec<&str> = rules
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    for name in names(&rules.join("\n")) {
        assert!(prometheus.ask(name) > Some(0), "{name}");
    }
}
