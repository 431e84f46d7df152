//! Prometheus text, version 0.0.4: what was counted, and what the snapshot says at the moment of the scrape.

use std::fmt::Write;

use crate::base::metrics::{Kind, Metrics, Value, DURATION_BUCKETS_SECS};
use crate::chain::types::U256;
use crate::lottery::model::{RoundState, Snapshot};

pub fn render(metrics: &Metrics, snapshot: &Snapshot, websocket_clients: usize) -> String {
    let mut text = String::with_capacity(8 * 1024);
    let version = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("commit", env!("LOTTERY_COMMIT")),
    ];
    gauge(
        &mut text,
        "build_info",
        "The version that runs.",
        &version,
        1.0,
    );
    if let Some(head) = snapshot.head {
        gauge(
            &mut text,
            "chain_head_block",
            "The newest block read.",
            &[],
            head.number as f64,
        );
        let help = "Its timestamp, unix seconds.";
        gauge(
            &mut text,
            "chain_head_timestamp_seconds",
            help,
            &[],
            head.timestamp as f64,
        );
        let help = "The newest finalized block known.";
        gauge(
            &mut text,
            "chain_finalized_block",
            help,
            &[],
            snapshot.finality.finalized_block as f64,
        );
    }
    header(&mut text, "reorgs_total", "Reorgs followed.", "counter");
    sample(
        &mut text,
        "lottery_reorgs_total",
        &[],
        snapshot.reorgs_total as f64,
    );
    if let Some(round) = &snapshot.round {
        gauge(
            &mut text,
            "round_id",
            "The running round.",
            &[],
            round.round_id as f64,
        );
        let help = "0 waiting, 1 betting.";
        gauge(
            &mut text,
            "round_state",
            help,
            &[],
            f64::from(round.state.number()),
        );
        gauge(
            &mut text,
            "round_pot_ether",
            "The pot.",
            &[],
            ether(round.total_pot_wei),
        );
        if round.state == RoundState::Betting {
            let help = "When the draw window opens, unix seconds.";
            gauge(
                &mut text,
                "draw_window_open_timestamp_seconds",
                help,
                &[],
                round.min_draw_time as f64,
            );
            let help = "When the draw window closes, unix seconds.";
            gauge(
                &mut text,
                "draw_window_close_timestamp_seconds",
                help,
                &[],
                round.max_draw_time as f64,
            );
        }
    }
    let last_draw = snapshot
        .history
        .iter()
        .find(|round| round.verdict.is_some() && round.min_draw_time > 0);
    if let Some(round) = last_draw {
        let delay = round
            .position
            .block_timestamp
            .saturating_sub(round.min_draw_time);
        let help = "From the window's opening to the last draw's block.";
        gauge(&mut text, "draw_delay_seconds", help, &[], delay as f64);
    }
    if let Some(balance_wei) = snapshot.operator.balance_wei {
        let help = "The operator's balance at its last look.";
        gauge(
            &mut text,
            "operator_balance_ether",
            help,
            &[],
            ether(balance_wei),
        );
    }
    let help = "Clients of the feed.";
    gauge(
        &mut text,
        "websocket_clients",
        help,
        &[],
        websocket_clients as f64,
    );
    counted(&mut text, metrics);
    text
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

fn gauge(text: &mut String, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
    header(text, name, help, "gauge");
    sample(text, &format!("lottery_{name}"), labels, value);
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
}
