//! A registry of counters, gauges and histograms made of atomics. Recording never blocks for long; rendering to text
//! is left to the web layer, which reads `families()`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Upper bounds, in seconds, of the one histogram shape in use.
pub const DURATION_BUCKETS_SECS: [f64; 10] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// A cloneable handle to the process's metrics.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Mutex<BTreeMap<&'static str, Family>>>);

/// All series of one name.
#[derive(Clone, Debug)]
pub struct Family {
    pub help: &'static str,
    pub kind: Kind,
    /// Label names and values, in the order given, to the value.
    pub series: BTreeMap<Vec<(&'static str, String)>, Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(f64),
    Histogram {
        buckets: [u64; DURATION_BUCKETS_SECS.len()],
        count: u64,
        sum: f64,
    },
}

/// A bound on the series of one family, so that no label value from outside can grow memory.
const SERIES_MAX: usize = 512;

impl Metrics {
    /// Adds to a counter.
    pub fn add(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        by: f64,
    ) {
        self.with(name, help, Kind::Counter, labels, |value| {
            if let Value::Number(number) = value {
                *number += by;
            }
        });
    }

    /// Sets a gauge.
    pub fn set(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        to: f64,
    ) {
        self.with(name, help, Kind::Gauge, labels, |value| {
            *value = Value::Number(to)
        });
    }

    /// Records a duration in seconds.
    pub fn observe(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        seconds: f64,
    ) {
        self.with(name, help, Kind::Histogram, labels, |value| {
            if let Value::Histogram {
                buckets,
                count,
                sum,
            } = value
            {
                for (bucket, bound) in buckets.iter_mut().zip(DURATION_BUCKETS_SECS) {
                    *bucket += u64::from(seconds <= bound);
                }
                *count += 1;
                *sum += seconds;
            }
        });
    }

    /// A copy of everything recorded, by name.
    pub(crate) fn families(&self) -> BTreeMap<&'static str, Family> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn with(
        &self,
        name: &'static str,
        help: &'static str,
        kind: Kind,
        labels: &[(&'static str, &str)],
        record: impl FnOnce(&mut Value),
    ) {
        let mut families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let family = families.entry(name).or_insert_with(|| Family {
            help,
            kind,
            series: BTreeMap::new(),
        });
        let key: Vec<_> = labels
            .iter()
            .map(|(label, value)| (*label, (*value).to_owned()))
            .collect();
        if family.series.len() >= SERIES_MAX && !family.series.contains_key(&key) {
            return;
        }
        record(family.series.entry(key).or_insert_with(|| match kind {
            Kind::Counter | Kind::Gauge => Value::Number(0.0),
            Kind::Histogram => Value::Histogram {
                buckets: Default::default(),
                count: 0,
                sum: 0.0,
            },
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_gauges_set_and_histograms_bucket() {
        let metrics = Metrics::default();
        metrics.add("a_total", "a", &[("kind", "x")], 1.0);
        metrics.add("a_total", "a", &[("kind", "x")], 2.0);
        metrics.set("b", "b", &[], 7.0);
        metrics.set("b", "b", &[], 5.0);
        metrics.observe("c_seconds", "c", &[], 0.03);
        let families = metrics.families();
        assert_eq!(
            families["a_total"].series[&vec![("kind", "x".to_owned())]],
            Value::Number(3.0)
        );
        assert_eq!(families["b"].series[&vec![]], Value::Number(5.0));
        let Value::Histogram {
            buckets,
            count,
            sum,
        } = families["c_seconds"].series[&vec![]]
        else {
            panic!()
        };
        assert_eq!(
            (buckets, count, sum),
            ([0, 0, 0, 1, 1, 1, 1, 1, 1, 1], 1, 0.03)
        );
    }

    #[test]
    fn the_number_of_series_is_bounded() {
        let metrics = Metrics::default();
        for index in 0..SERIES_MAX + 100 {
            metrics.add("a_total", "a", &[("path", &index.to_string())], 1.0);
        }
        assert_eq!(metrics.families()["a_total"].series.len(), SERIES_MAX);
    }
}
