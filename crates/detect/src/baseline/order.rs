//! Location and scale of a column by its order: median / MAD, and trimmed. A few outliers, however far, cannot move
//! them.

use statrs::distribution::{Continuous, ContinuousCDF, Normal};

/// The share that [`trimmed`] leaves out at each end.
pub(super) const TRIM: f64 = 0.1;

/// A column's values with their weights, in ascending order.
#[derive(Debug, Clone)]
pub(super) struct Sorted(Vec<(f64, f64)>);

impl Sorted {
    /// Sorts; a NaN is left out.
    pub(super) fn new(values: impl Iterator<Item = (f64, f64)>) -> Self {
        let mut values: Vec<(f64, f64)> = values.filter(|(value, _)| !value.is_nan()).collect();
        values.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self(values)
    }

    /// The weighted median: the value with half of the weight below it; between two values, their middle. For equal
    /// weights it is the median.
    pub(super) fn median(&self) -> Option<f64> {
        let half = self.weight() / 2.0;
        let mut below = 0.0;
        for (i, &(value, weight)) in self.0.iter().enumerate() {
            below += weight;
            // Equal weights are whole numbers: the comparison is exact where a tie is possible.
            if below == half {
                return Some(self.0.get(i + 1).map_or(value, |next| f64::midpoint(value, next.0)));
            }
            if below > half {
                return Some(value);
            }
        }
        self.0.last().map(|last| last.0)
    }

    fn weight(&self) -> f64 {
        self.0.iter().map(|(_, weight)| weight).sum()
    }
}

/// Median and squared MAD, the latter made consistent with the variance of a normal column (MAD / Φ⁻¹(¾); Hampel 1974).
pub(super) fn median_mad(column: &Sorted) -> Option<(f64, f64)> {
    let median = column.median()?;
    let away = Sorted::new(column.0.iter().map(|&(value, weight)| ((value - median).abs(), weight)));
    let deviation = away.median()? / standard().inverse_cdf(0.75);
    Some((median, deviation * deviation))
}

/// Mean and variance of what lies between the 10 % at each end, the latter made consistent with the variance of a normal
/// column: a standard normal cut at ±c has variance 1 − 2cφ(c) / (1 − 2α) (Johnson, Kotz and Balakrishnan 1994, ch. 13).
/// A value on a cut counts with the share of its weight that lies inside.
pub(super) fn trimmed(column: &Sorted) -> Option<(f64, f64)> {
    let total = column.weight();
    let (from, to) = (TRIM * total, (1.0 - TRIM) * total);
    let mut before = 0.0;
    let mut kept = Vec::with_capacity(column.0.len());
    for &(value, weight) in &column.0 {
        let inside = (before + weight).min(to) - before.max(from);
        if inside > 0.0 {
            kept.push((value, inside));
        }
        before += weight;
    }
    let weight: f64 = kept.iter().map(|(_, weight)| weight).sum();
    if kept.is_empty() || weight <= 0.0 {
        return None;
    }
    let mean = kept.iter().map(|(value, weight)| value * weight).sum::<f64>() / weight;
    let variance = kept.iter().map(|(value, weight)| weight * (value - mean).powi(2)).sum::<f64>() / weight;
    let cut = standard().inverse_cdf(1.0 - TRIM);
    let shrunk = 1.0 - 2.0 * cut * standard().pdf(cut) / (1.0 - 2.0 * TRIM);
    Some((mean, variance / shrunk))
}

fn standard() -> Normal {
    Normal::standard()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn even(values: &[f64]) -> Sorted {
        Sorted::new(values.iter().map(|&value| (value, 1.0)))
    }

    proptest! {
        #[test]
        fn the_median_of_equal_weights_is_the_middle(drawn in prop::collection::vec(-50i32..50, 1..40)) {
            let mut values: Vec<f64> = drawn.iter().map(|&v| f64::from(v) / 4.0).collect();
            let got = even(&values).median();
            values.sort_by(f64::total_cmp);
            let n = values.len();
            prop_assert_eq!(got, Some(f64::midpoint(values[(n - 1) / 2], values[n / 2])));
        }

        #[test]
        fn whole_weights_are_repetitions(drawn in prop::collection::vec((-50i32..50, 1usize..5), 1..20)) {
            let weighted = Sorted::new(drawn.iter().map(|&(v, w)| (f64::from(v), w as f64)));
            let repeated: Vec<f64> = drawn.iter().flat_map(|&(v, w)| vec![f64::from(v); w]).collect();
            let repeated = even(&repeated);
            prop_assert_eq!(weighted.median(), repeated.median());
            for estimate in [median_mad, trimmed] {
                let ((a, b), (c, d)) = (estimate(&weighted).unwrap(), estimate(&repeated).unwrap());
                prop_assert!((a - c).abs() < 1e-9 && (b - d).abs() < 1e-9 * (1.0 + d));
            }
        }
    }

    #[test]
    fn both_give_the_moments_of_a_normal_column() {
        let values: Vec<f64> =
            (0..4000).map(|i| 5.0 + 2.0 * standard().inverse_cdf((f64::from(i) + 0.5) / 4000.0)).collect();
        for estimate in [median_mad, trimmed] {
            let (centre, variance) = estimate(&even(&values)).unwrap();
            assert!((centre - 5.0).abs() < 1e-6 && (variance - 4.0).abs() < 0.02, "{centre} {variance}");
        }
    }

    #[test]
    fn far_outliers_move_neither() {
        let mut values: Vec<f64> = (0..95).map(|i| f64::from(i % 10)).collect();
        values.extend([1e12; 5]);
        for estimate in [median_mad, trimmed] {
            let (centre, variance) = estimate(&even(&values)).unwrap();
            assert!((3.0..7.0).contains(&centre) && (4.0..25.0).contains(&variance), "{centre} {variance}");
        }
    }

    #[test]
    fn nothing_gives_nothing() {
        let none = Sorted::new([(f64::NAN, 1.0)].into_iter());
        assert_eq!((none.median(), median_mad(&none), trimmed(&none)), (None, None, None));
        let (centre, variance) = trimmed(&even(&[3.0])).unwrap();
        assert!((centre - 3.0).abs() < 1e-12 && variance < 1e-12);
    }
}
