//! How surprising figures are under honest chance: the Kolmogorov-Smirnov distance from uniform, and Poisson tails.
//! Figures with their p-values and sample sizes, never a verdict.

use serde::Serialize;

/// How far a sample lies from uniform on [0, 1).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Uniformity {
    /// The largest distance between the sample's and the uniform distribution function.
    pub distance: f64,
    /// The chance of a distance this large or larger.
    pub p_value: f64,
    pub samples: usize,
}

/// The test of Kolmogorov and Smirnov against the uniform distribution; None without a sample. The p-value is Stephens'
/// approximation, good to some thousandths from about 5 samples on.
pub(crate) fn kolmogorov_smirnov(points: &[f64]) -> Option<Uniformity> {
    let mut sorted = points.to_vec();
    sorted.sort_by(f64::total_cmp);
    let samples = sorted.len();
    let count = samples as f64;
    let distance = sorted
        .iter()
        .enumerate()
        .map(|(index, point)| {
            let index = index as f64;
            (point - index / count).max((index + 1.0) / count - point)
        })
        .reduce(f64::max)?;
    let root = count.sqrt();
    let scaled = (root + 0.12 + 0.11 / root) * distance;
    Some(Uniformity {
        distance,
        p_value: kolmogorov_tail(scaled),
        samples,
    })
}

/// The chance that Kolmogorov's limit distribution exceeds `value`.
fn kolmogorov_tail(value: f64) -> f64 {
    // Below this the series converges slowly, and the sum is 1 to nine digits.
    if value < 0.3 {
        return 1.0;
    }
    let term = |index: i32| {
        let sign = if index % 2 == 1 { 1.0 } else { -1.0 };
        sign * (-2.0 * f64::from(index * index) * value * value).exp()
    };
    (2.0 * (1..=100).map(term).sum::<f64>()).clamp(0.0, 1.0)
}

/// The chance of `count` or more events where `mean` are expected, if they are rare and independent.
pub(crate) fn poisson_tail(count: u64, mean: f64) -> f64 {
    if count == 0 || mean <= 0.0 {
        return if count == 0 { 1.0 } else { 0.0 };
    }
    // The upper tail itself, summed from its largest term's side, so that tiny chances keep their digits.
    let mut log_term = -mean;
    for index in 1..=count {
        log_term += (mean / index as f64).ln();
    }
    let (mut sum, mut term, mut index) = (0.0, log_term.exp(), count);
    while index < count + 10_000 {
        sum += term;
        index += 1;
        term *= mean / index as f64;
        if term < sum * 1e-16 && index as f64 > mean {
            break;
        }
    }
    sum.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-4, "{found} {expected}");
    }

    #[test]
    fn distances_and_their_chances_are_those_of_the_tables() {
        assert_eq!(kolmogorov_smirnov(&[]), None);
        near(kolmogorov_smirnov(&[0.5]).unwrap().distance, 0.5);
        near(kolmogorov_smirnov(&[0.2, 0.9]).unwrap().distance, 0.4);
        // Published critical values of the limit distribution.
        near(kolmogorov_tail(1.2238), 0.10);
        near(kolmogorov_tail(1.3581), 0.05);
        near(kolmogorov_tail(1.6276), 0.01);
        let even: Vec<f64> = (0..1_000)
            .map(|index| (f64::from(index) + 0.5) / 1_000.0)
            .collect();
        assert!(kolmogorov_smirnov(&even).unwrap().p_value > 0.999);
        let skewed: Vec<f64> = even.iter().map(|point| point * point).collect();
        assert!(kolmogorov_smirnov(&skewed).unwrap().p_value < 1e-9);
    }

    #[test]
    fn poisson_tails_are_those_of_the_tables() {
        near(poisson_tail(0, 3.0), 1.0);
        near(poisson_tail(1, 1.0), 0.632_120_6);
        near(poisson_tail(5, 2.0), 0.052_653);
        near(poisson_tail(10, 10.0), 0.542_070);
        near(poisson_tail(1, 0.0), 0.0);
        assert!(poisson_tail(50, 1.0) < 1e-60 && poisson_tail(50, 1.0) > 0.0);
    }
}
