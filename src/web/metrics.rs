//! Prometheus text, version 0.0.4: what was counted, and what the snapshot says at the moment of the scrape.

use std::fmt::Write;

use crate::base::metrics::{Kind, Metrics, Value, DURATION_BUCKETS_SECS};
use crate::chain::types::U256;
use crate::lottery::fairness::Fairness;
use crate::lottery::round::RoundState;
use crate::lottery::snapshot::Snapshot;

/// Counts answers by their status, whoever gave them.
pub(crate) fn count_answers(metrics: &Metrics, status: u16, count: u32) {
    metrics.add(
        "lottery_http_requests_total",
        "HTTP answers.",
        &[("status", &status.to_string())],
        f64::from(count),
    );
}

pub(crate) fn render(metrics: &Metrics, snapshot: &Snapshot, websocket_clients: usize) -> String {
    let mut text = String::with_capacity(8 * 1024);
    let version = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("commit", env!("LOTTERY_COMMIT")),
    ];
    header(&mut text, "build_info", "The version that runs.", "gauge");
    sample(&mut text, "lottery_build_info", &version, 1.0);
    let reorgs = snapshot.reorgs_total as f64;
    header(&mut text, "reorgs_total", "Reorgs followed.", "counter");
    sample(&mut text, "lottery_reorgs_total", &[], reorgs);
    for (name, help, value) in gauges(snapshot, websocket_clients) {
        // What is not known has no sample, rather than a wrong one.
        if let Some(value) = value {
            header(&mut text, name, help, "gauge");
            sample(&mut text, &format!("lottery_{name}"), &[], value);
        }
    }
    counted(&mut text, metrics);
    text
}

type Gauge = (&'static str, &'static str, Option<f64>);

fn gauges(snapshot: &Snapshot, websocket_clients: usize) -> [Gauge; 14] {
    let fairness = Fairness::of(snapshot.history.iter().map(|round| &**round));
    let head = snapshot.head;
    let round = snapshot.round.as_ref();
    let betting = round.filter(|round| round.state == RoundState::Betting);
    let finalized = snapshot.finality.finalized_block as f64;
    [
        (
            "chain_head_block",
            "The newest block read.",
            head.map(|head| head.number as f64),
        ),
        (
            "chain_head_timestamp_seconds",
            "The newest block's timestamp, unix seconds.",
            head.map(|head| head.timestamp as f64),
        ),
        (
            "chain_finalized_block",
            "The newest finalized block known.",
            head.map(|_| finalized),
        ),
        (
            "round_id",
            "The running round.",
            round.map(|round| round.round_id as f64),
        ),
        (
            "round_state",
            "The running round's state: 0 waiting, 1 betting.",
            round.map(|round| f64::from(round.state.number())),
        ),
        (
            "round_pot_ether",
            "The running round's pot.",
            round.map(|round| ether(round.total_pot_wei)),
        ),
        (
            "draw_window_open_timestamp_seconds",
            "When the draw window opens, unix seconds.",
            betting.map(|round| round.min_draw_time as f64),
        ),
        (
            "draw_window_close_timestamp_seconds",
            "When the draw window closes, unix seconds.",
            betting.map(|round| round.max_draw_time as f64),
        ),
        (
            "draw_delay_seconds",
            "From the first block that allowed the last draw to its own.",
            last_draw_delay_secs(snapshot).map(|secs| secs as f64),
        ),
        (
            "rounds_mismatched",
            "Kept rounds whose end does not follow from the chain.",
            Some(fairness.mismatched as f64),
        ),
        (
            "rounds_unverifiable",
            "Kept rounds whose end could not be checked.",
            Some(fairness.unverifiable as f64),
        ),
        (
            "draws_in_first_block_ratio",
            "Kept draws in the first block that allowed them, as a share of those timed.",
            (fairness.timed_draws > 0)
                .then(|| fairness.first_block_draws as f64 / fairness.timed_draws as f64),
        ),
        (
            "operator_balance_ether",
            "The operator's balance at its last look.",
            snapshot.operator.own.balance_wei.map(ether),
        ),
        (
            "websocket_clients",
            "Clients of the feed.",
            Some(websocket_clients as f64),
        ),
    ]
}

fn last_draw_delay_secs(snapshot: &Snapshot) -> Option<u64> {
    let mut draws = snapshot.history.iter();
    draws.find_map(|round| round.draw_delay.map(|delay| delay.secs))
}

fn counted(text: &mut String, metrics: &Metrics) {
    for (name, family) in metrics.families() {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        header(text, name.trim_start_matches("lottery_"), family.help, kind);
        for (labels, value) in &family.series {
            let labels: Vec<(&str, &str)> = labels
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            match value {
                Value::Number(number) => sample(text, name, &labels, *number),
                Value::Histogram {
                    buckets,
                    count,
                    sum,
                } => {
                    for (bound, count) in DURATION_BUCKETS_SECS.iter().zip(buckets) {
                        let bound = bound.to_string();
                        let labels = [&labels[..], &[("le", bound.as_str())]].concat();
                        sample(text, &format!("{name}_bucket"), &labels, *count as f64);
                    }
                    let all = [&labels[..], &[("le", "+Inf")]].concat();
                    sample(text, &format!("{name}_bucket"), &all, *count as f64);
                    sample(text, &format!("{name}_sum"), &labels, *sum);
                    sample(text, &format!("{name}_count"), &labels, *count as f64);
                }
            }
        }
    }
}

fn header(text: &mut String, name: &str, help: &str, kind: &str) {
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "# HELP lottery_{name} {help}\n# TYPE lottery_{name} {kind}\n"
    );
}

fn sample(text: &mut String, name: &str, labels: &[(&str, &str)], value: f64) {
    text.push_str(name);
    for (place, (label, value)) in labels.iter().enumerate() {
        let opening = if place == 0 { '{' } else { ',' };
        let escaped = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let _ = write!(text, "{opening}{label}=\"{escaped}\"");
    }
    if !labels.is_empty() {
        text.push('}');
    }
    let _ = writeln!(text, " {value}");
}

/// Wei as ether, as near as a float comes: for graphs only.
fn ether(wei: U256) -> f64 {
    wei.to_string().parse::<f64>().unwrap_or(0.0) / 1e18
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::fixture;

    #[test]
    fn labels_are_escaped_and_histograms_end_with_infinity() {
        let metrics = Metrics::default();
        metrics.add("lottery_a_total", "A.", &[("k", "x\"y\\z\n")], 2.0);
        metrics.observe("lottery_b_seconds", "B.", &[("k", "v")], 0.02);
        let mut text = String::new();
        counted(&mut text, &metrics);
        assert!(
            text.contains("lottery_a_total{k=\"x\\\"y\\\\z\\n\"} 2\n"),
            "{text}"
        );
        assert!(
            text.contains("# TYPE lottery_b_seconds histogram\n"),
            "{text}"
        );
        assert!(
            text.contains("lottery_b_seconds_bucket{k=\"v\",le=\"0.025\"} 1\n"),
            "{text}"
        );
        assert!(
            text.contains("lottery_b_seconds_bucket{k=\"v\",le=\"+Inf\"} 1\n"),
            "{text}"
        );
        assert!(
            text.contains("lottery_b_seconds_count{k=\"v\"} 1\n"),
            "{text}"
        );
    }

    #[test]
    fn the_snapshot_is_told_at_the_moment_of_the_scrape() {
        let text = render(&Metrics::default(), &fixture::snapshot(), 3);
        for line in [
            "lottery_chain_head_block 1000",
            "lottery_chain_head_timestamp_seconds 10000",
            "lottery_chain_finalized_block 930",
            "# TYPE lottery_reorgs_total counter",
            "lottery_reorgs_total 2",
            "lottery_round_id 7",
            "lottery_round_state 1",
            "lottery_round_pot_ether 0.2",
            "lottery_draw_window_open_timestamp_seconds 10085",
            "lottery_draw_window_close_timestamp_seconds 10260",
            "lottery_draw_delay_seconds 7",
            "lottery_operator_balance_ether 1.25",
            "lottery_websocket_clients 3",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} in {text}");
        }
        assert!(text.starts_with("# HELP lottery_build_info "), "{text}");
        assert!(text.contains("lottery_build_info{version=\""), "{text}");
    }

    /// Before the first block only what is known is there, and every sample follows its own type.
    #[test]
    fn every_sample_has_its_type_and_no_family_comes_twice() {
        let metrics = Metrics::default();
        metrics.add(
            "lottery_http_requests_total",
            "HTTP answers.",
            &[("status", "200")],
            1.0,
        );
        metrics.observe("lottery_b_seconds", "B.", &[], 0.02);
        for snapshot in [fixture::snapshot(), fixture::empty_snapshot()] {
            let text = render(&metrics, &snapshot, 0);
            let mut families = Vec::new();
            for line in text.lines() {
                if let Some(rest) = line.strip_prefix("# TYPE ") {
                    let name = rest.split(' ').next().unwrap();
                    assert!(!families.contains(&name), "{name} comes twice");
                    families.push(name);
                } else if !line.starts_with("# HELP ") {
                    let name = families.last().unwrap();
                    assert!(line.starts_with(name), "{line} under {name}");
                    let value = line.rsplit(' ').next().unwrap();
                    assert!(value.parse::<f64>().is_ok(), "{line}");
                }
            }
        }
        let empty = render(&metrics, &fixture::empty_snapshot(), 0);
        assert!(!empty.contains("lottery_round_id") && !empty.contains("lottery_chain_head"));
    }
}
