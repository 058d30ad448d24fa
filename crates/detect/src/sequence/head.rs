//! From measurements to one score: a logistic head where anomalies are known, a distance from what is usual where they
//! are not.

use serde::{Deserialize, Serialize};

use super::features::FEATURES;

/// Ridge of the logistic head on standardised measurements, the strength of one standard normal prior a weight.
const RIDGE: f64 = 1.0;
/// A standard deviation counts at least this much: a measurement that never moved is no reason for an infinite distance.
const LEAST_DEVIATION: f64 = 1e-3;
/// Share of the identity in the correlation matrix of the distance.
const SHRINKAGE: f64 = 1e-3;
/// A Newton step smaller than this ends the fit.
const TOLERANCE: f64 = 1e-9;

/// The measurements of a sequence, in the order of [`super::FEATURE_NAMES`].
type Row = [f64; FEATURES];

/// The score of a row of measurements; larger is more anomalous.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Head {
    /// The logit of a logistic regression on standardised measurements: `bias + Σ weights · (x − centre) / scale`.
    Logistic {
        /// Mean of each measurement.
        centre: Row,
        /// Standard deviation of each measurement.
        scale: Row,
        /// One a measurement.
        weights: Row,
        /// The logit at the centre.
        bias: f64,
    },
    /// The Mahalanobis distance of the standardised measurements (Mahalanobis 1936): `|L⁻¹ (x − centre) / scale|`, with
    /// L the Cholesky factor of their correlation matrix, shrunk towards the identity.
    Distance {
        /// Mean of each measurement.
        centre: Row,
        /// Standard deviation of each measurement.
        scale: Row,
        /// L⁻¹, lower triangular, row by row.
        whiten: Vec<f64>,
    },
}

/// Places of a lower triangle.
const TRIANGLE: usize = FEATURES * (FEATURES + 1) / 2;

impl Head {
    /// The score of a sequence.
    pub(super) fn score(&self, row: &Row) -> f64 {
        match self {
            Self::Logistic { centre, scale, weights, bias } => {
                let z = standardised(row, centre, scale);
                z.iter().zip(weights).fold(*bias, |sum, (z, weight)| sum + z * weight)
            }
            Self::Distance { centre, scale, whiten } => {
                let z = standardised(row, centre, scale);
                let mut from = 0;
                let mut square = 0.0;
                for i in 0..FEATURES {
                    let line = &whiten[from..=from + i];
                    let white: f64 = line.iter().zip(&z).map(|(w, z)| w * z).sum();
                    square += white * white;
                    from += i + 1;
                }
                square.sqrt()
            }
        }
    }

    /// The rule that a head from a file breaks.
    pub(super) fn broken(&self) -> Option<&'static str> {
        let (centre, scale, rest, length) = match self {
            Self::Logistic { centre, scale, weights, .. } => (centre, scale, &weights[..], FEATURES),
            Self::Distance { centre, scale, whiten } => (centre, scale, &whiten[..], TRIANGLE),
        };
        let bias = if let Self::Logistic { bias, .. } = self { *bias } else { 0.0 };
        let tame = |v: &f64| v.abs() <= 1e12;
        if rest.len() != length {
            Some("the distance needs one value a place of its lower triangle")
        } else if !centre.iter().chain(scale).chain(rest).chain([&bias]).all(tame) {
            Some("a value is beyond 1e12")
        } else if scale.iter().any(|scale| *scale < LEAST_DEVIATION) {
            Some("a scale is below 0.001")
        } else {
            None
        }
    }
}

fn standardised(row: &Row, centre: &Row, scale: &Row) -> Row {
    std::array::from_fn(|i| (row[i] - centre[i]) / scale[i])
}

/// Weighted mean and standard deviation of each measurement.
fn moments(rows: &[Row], weights: &[f64]) -> (Row, Row) {
    let total: f64 = weights.iter().sum();
    let mean =
        |value: &dyn Fn(&Row) -> f64| rows.iter().zip(weights).map(|(row, w)| w * value(row)).sum::<f64>() / total;
    let centre: Row = std::array::from_fn(|i| mean(&|row| row[i]));
    let scale = std::array::from_fn(|i| mean(&|row| (row[i] - centre[i]).powi(2)).sqrt().max(LEAST_DEVIATION));
    (centre, scale)
}

/// Fits a logistic head by Newton's method with a ridge on the weights (iteratively reweighted least squares; Hastie,
/// Tibshirani and Friedman 2009, section 4.4.1), at most `passes` over the data. Rows are weighted; there is at least
/// one.
pub(super) fn logistic(rows: &[Row], labels: &[bool], weights: &[f64], passes: usize) -> Head {
    const SIZE: usize = FEATURES + 1;
    let (centre, scale) = moments(rows, weights);
    let z: Vec<[f64; SIZE]> = rows
        .iter()
        .map(|row| {
            let z = standardised(row, &centre, &scale);
            std::array::from_fn(|i| if i == 0 { 1.0 } else { z[i - 1] })
        })
        .collect();
    let total: f64 = weights.iter().sum();
    let positive: f64 = labels.iter().zip(weights).filter(|(label, _)| **label).map(|(_, w)| w).sum();
    // One case of each kind beyond the data: the start is finite whatever the data are.
    let mut beta = [0.0; SIZE];
    beta[0] = ((positive + 1.0) / (total - positive + 1.0)).ln();
    let loss = |beta: &[f64; SIZE]| {
        let fit: f64 = (z.iter().zip(labels).zip(weights))
            .map(|((z, label), w)| {
                let logit = dot(z, beta);
                // ln(1 + exp(logit)) without overflow
                w * (logit.max(0.0) + (-logit.abs()).exp().ln_1p() - if *label { logit } else { 0.0 })
            })
            .sum();
        fit + 0.5 * RIDGE * beta[1..].iter().map(|b| b * b).sum::<f64>()
    };
    let mut current = loss(&beta);
    for _ in 0..passes {
        let mut gradient = [0.0; SIZE];
        let mut hessian = [[0.0; SIZE]; SIZE];
        for ((z, label), w) in z.iter().zip(labels).zip(weights) {
            let p = sigmoid(dot(z, &beta));
            let (slope, curve) = (w * (p - if *label { 1.0 } else { 0.0 }), w * p * (1.0 - p));
            for i in 0..SIZE {
                gradient[i] += slope * z[i];
                for j in 0..=i {
                    hessian[i][j] += curve * z[i] * z[j];
                }
            }
        }
        for i in 1..SIZE {
            gradient[i] += RIDGE * beta[i];
            hessian[i][i] += RIDGE;
        }
        hessian[0][0] += 1e-9 * total;
        let factor = cholesky(hessian);
        let step = solve(&factor, gradient);
        // Halved until it does no harm: a full step may pass the minimum where nearly all is certain.
        let mut length = 1.0;
        let next = loop {
            let next: [f64; SIZE] = std::array::from_fn(|i| beta[i] - length * step[i]);
            if loss(&next) <= current || length < 1e-6 {
                break next;
            }
            length /= 2.0;
        };
        let moved = (0..SIZE).map(|i| (next[i] - beta[i]).abs()).fold(0.0, f64::max);
        beta = next;
        current = loss(&beta);
        if moved < TOLERANCE {
            break;
        }
    }
    Head::Logistic { centre, scale, weights: std::array::from_fn(|i| beta[i + 1]), bias: beta[0] }
}

/// Fits the distance from weighted rows of normal sequences; there is at least one.
pub(super) fn distance(rows: &[Row], weights: &[f64]) -> Head {
    let (centre, scale) = moments(rows, weights);
    let total: f64 = weights.iter().sum();
    let mut correlation = [[0.0; FEATURES]; FEATURES];
    for (row, w) in rows.iter().zip(weights) {
        let z = standardised(row, &centre, &scale);
        for i in 0..FEATURES {
            for j in 0..=i {
                correlation[i][j] += w / total * z[i] * z[j];
            }
        }
    }
    for (i, line) in correlation.iter_mut().enumerate() {
        for value in &mut *line {
            *value *= 1.0 - SHRINKAGE;
        }
        line[i] += SHRINKAGE;
    }
    let factor = cholesky(correlation);
    // L⁻¹ row by row: each row from the ones above it.
    let mut inverse = [[0.0; FEATURES]; FEATURES];
    for i in 0..FEATURES {
        let mut line = [0.0; FEATURES];
        line[i] = 1.0;
        for (above, l) in inverse[..i].iter().zip(&factor[i]) {
            line.iter_mut().zip(above).for_each(|(value, above)| *value -= l * above);
        }
        inverse[i] = line.map(|value| value / factor[i][i]);
    }
    let whiten = inverse.iter().enumerate().flat_map(|(i, line)| line[..=i].to_vec()).collect();
    Head::Distance { centre, scale, whiten }
}

pub(super) fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

fn dot<const N: usize>(a: &[f64; N], b: &[f64; N]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// L with L Lᵀ = the matrix whose lower triangle is given. A pivot that rounding made negative counts as tiny.
fn cholesky<const N: usize>(mut a: [[f64; N]; N]) -> [[f64; N]; N] {
    for i in 0..N {
        for j in 0..=i {
            let known: f64 = (0..j).map(|k| a[i][k] * a[j][k]).sum();
            let left = a[i][j] - known;
            a[i][j] = if i == j { left.max(1e-12).sqrt() } else { left / a[j][j] };
        }
    }
    a
}

/// x with L Lᵀ x = b.
fn solve<const N: usize>(factor: &[[f64; N]; N], mut b: [f64; N]) -> [f64; N] {
    for i in 0..N {
        let known: f64 = (0..i).map(|k| factor[i][k] * b[k]).sum();
        b[i] = (b[i] - known) / factor[i][i];
    }
    for i in (0..N).rev() {
        let known: f64 = (i + 1..N).map(|k| factor[k][i] * b[k]).sum();
        b[i] = (b[i] - known) / factor[i][i];
    }
    b
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows() -> impl Strategy<Value = Vec<(Row, bool, f64)>> {
        let row = prop::array::uniform7(-8i32..8).prop_map(|row| row.map(|v| f64::from(v) / 4.0));
        prop::collection::vec((row, any::<bool>(), (1u8..5).prop_map(f64::from)), 2..60)
    }

    fn parts(all: &[(Row, bool, f64)]) -> (Vec<Row>, Vec<bool>, Vec<f64>) {
        (all.iter().map(|r| r.0).collect(), all.iter().map(|r| r.1).collect(), all.iter().map(|r| r.2).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_logistic_head_is_where_the_slope_is_zero(all in rows()) {
            let (rows, labels, weights) = parts(&all);
            let Head::Logistic { centre, scale, weights: w, bias } = logistic(&rows, &labels, &weights, 200) else {
                panic!("logistic");
            };
            let both = labels.iter().any(|l| *l) && labels.iter().any(|l| !*l);
            for i in 0..=FEATURES {
                let slope: f64 = (rows.iter().zip(&labels).zip(&weights)).map(|((row, label), weight)| {
                    let z = standardised(row, &centre, &scale);
                    let p = sigmoid(bias + dot(&z, &w));
                    weight * (p - if *label { 1.0 } else { 0.0 }) * if i == 0 { 1.0 } else { z[i - 1] }
                }).sum::<f64>() + if i == 0 { 0.0 } else { RIDGE * w[i - 1] };
                // Of one kind alone the bias runs away as far as the passes carry it.
                prop_assert!(slope.abs() < 1e-5 || !both, "{i}: {slope}");
            }
        }

        #[test]
        fn the_distance_is_that_of_the_inverse_correlation(all in rows()) {
            let (rows, _, weights) = parts(&all);
            let head = distance(&rows, &weights);
            prop_assert_eq!(head.broken(), None);
            let Head::Distance { centre, scale, .. } = &head else { panic!("distance") };
            let total: f64 = weights.iter().sum();
            let corr = |i: usize, j: usize| {
                let sum: f64 = rows.iter().zip(&weights).map(|(row, w)| {
                    let z = standardised(row, centre, scale);
                    w * z[i] * z[j]
                }).sum();
                (1.0 - SHRINKAGE) * sum / total + if i == j { SHRINKAGE } else { 0.0 }
            };
            for row in rows.iter().take(5) {
                // d² = zᵀ x with C x = z by Gauss-Jordan elimination with pivots.
                let z = standardised(row, centre, scale);
                let mut m: Vec<Vec<f64>> = (0..FEATURES)
                    .map(|i| (0..FEATURES).map(|j| corr(i, j)).chain([z[i]]).collect())
                    .collect();
                for i in 0..FEATURES {
                    let best = (i..FEATURES).max_by(|a, b| m[*a][i].abs().total_cmp(&m[*b][i].abs())).unwrap();
                    m.swap(i, best);
                    let pivot = m[i].clone();
                    for (k, line) in m.iter_mut().enumerate().filter(|(k, _)| *k != i) {
                        let _ = k;
                        let factor = line[i] / pivot[i];
                        line.iter_mut().zip(&pivot).for_each(|(v, p)| *v -= factor * p);
                    }
                }
                let square: f64 = (0..FEATURES).map(|i| z[i] * m[i][FEATURES] / m[i][i]).sum();
                let found = head.score(row).powi(2);
                prop_assert!((found - square).abs() < 1e-6 * square.max(1.0), "{found} {square}");
            }
        }
    }

    #[test]
    fn separable_cases_stay_finite() {
        let rows: Vec<Row> = (0..20).map(|i| std::array::from_fn(|_| f64::from(i))).collect();
        let labels: Vec<bool> = (0..20).map(|i| i >= 10).collect();
        let head = logistic(&rows, &labels, &[1.0; 20], 100);
        assert_eq!(head.broken(), None);
        assert!(head.score(&rows[0]) < -1.0 && head.score(&rows[19]) > 1.0);
    }
}
