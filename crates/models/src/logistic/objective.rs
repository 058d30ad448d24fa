//! The loss: weighted multinomial cross-entropy with an L2 penalty, and its gradient.

use rayon::prelude::*;
use stakeout_kernels::dense::{add_scaled, dot};

/// Rows that are summed as one piece: sums are added piece by piece in order, whatever the number of threads.
const PIECE: usize = 1024;

/// The data of a fit. Parameters are one coefficient a class and input (classes × width), then one intercept a class.
#[derive(Clone, Copy)]
pub(super) struct Objective<'a> {
    /// Rows × width, standardised.
    pub(super) rows: &'a [f32],
    pub(super) width: usize,
    pub(super) labels: &'a [u16],
    pub(super) weights: &'a [f32],
    pub(super) classes: usize,
    pub(super) l2: f64,
}

/// What an evaluation gives.
pub(super) struct Value {
    /// The objective: all terms, divided by the weight of the rows.
    pub(super) objective: f64,
    /// Weighted mean log loss of the rows alone.
    pub(super) loss: f64,
    /// Of the objective.
    pub(super) gradient: Vec<f64>,
}

impl Objective<'_> {
    pub(super) fn parameters(&self) -> usize {
        self.classes * (self.width + 1)
    }

    /// The objective at some parameters. Beside the rows there is one more of weight 1, at the mean of all inputs and
    /// spread evenly over the classes (Laplace's rule): intercepts stay finite where a class has no row.
    pub(super) fn evaluate(&self, parameters: &[f64]) -> Value {
        let (coefficients, intercepts) = parameters.split_at(self.classes * self.width);
        let pieces: Vec<(f64, f64, Vec<f64>)> = self
            .labels
            .par_chunks(PIECE)
            .zip(self.weights.par_chunks(PIECE))
            .zip(self.rows.par_chunks(PIECE * self.width))
            .map(|((labels, weights), rows)| self.piece(coefficients, intercepts, labels, weights, rows))
            .collect();
        let (mut loss, mut total) = (0.0, 0.0);
        let mut gradient = vec![0.0; parameters.len()];
        for (piece_loss, piece_total, piece) in pieces {
            loss += piece_loss;
            total += piece_total;
            gradient.iter_mut().zip(piece).for_each(|(sum, part)| *sum += part);
        }

        let (slopes, offsets) = gradient.split_at_mut(self.classes * self.width);
        let mut evenly = intercepts.to_vec();
        let mean = intercepts.iter().sum::<f64>() / self.classes as f64;
        let pseudo = softmax(&mut evenly) - mean;
        offsets.iter_mut().zip(&evenly).for_each(|(sum, p)| *sum += p - 1.0 / self.classes as f64);
        let penalty = self.l2 / 2.0 * coefficients.iter().map(|c| c * c).sum::<f64>();
        slopes.iter_mut().zip(coefficients).for_each(|(sum, c)| *sum += self.l2 * c);
        gradient.iter_mut().for_each(|g| *g /= total);
        Value { objective: (loss + pseudo + penalty) / total, loss: loss / total, gradient }
    }

    /// Sums over some rows: loss, weight, gradient.
    fn piece(
        &self,
        coefficients: &[f64],
        intercepts: &[f64],
        labels: &[u16],
        weights: &[f32],
        rows: &[f32],
    ) -> (f64, f64, Vec<f64>) {
        let mut gradient = vec![0.0; self.parameters()];
        let (slopes, offsets) = gradient.split_at_mut(coefficients.len());
        let mut own = vec![0.0; self.classes];
        let (mut loss, mut total) = (0.0, 0.0);
        for ((row, label), weight) in rows.chunks_exact(self.width).zip(labels).zip(weights) {
            let (label, weight) = (usize::from(*label), f64::from(*weight));
            margins(coefficients, intercepts, row, &mut own);
            let margin = own[label];
            loss += weight * (softmax(&mut own) - margin);
            total += weight;
            own[label] -= 1.0;
            for (class, rest) in own.iter().enumerate() {
                add_scaled(&mut slopes[class * self.width..][..self.width], weight * rest, row);
                offsets[class] += weight * rest;
            }
        }
        (loss, total, gradient)
    }
}

/// The margin of each class.
pub(super) fn margins(coefficients: &[f64], intercepts: &[f64], row: &[f32], out: &mut [f64]) {
    for ((out, own), intercept) in out.iter_mut().zip(coefficients.chunks_exact(row.len())).zip(intercepts) {
        *out = intercept + dot(own, row);
    }
}

/// Margins to probabilities in place; returns the logarithm of the sum of their exponentials.
pub(super) fn softmax(margins: &mut [f64]) -> f64 {
    let top = margins.iter().copied().fold(f64::MIN, f64::max);
    let mut sum = 0.0;
    for margin in margins.iter_mut() {
        *margin = (*margin - top).exp();
        sum += *margin;
    }
    margins.iter_mut().for_each(|e| *e /= sum);
    top + sum.ln()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn real() -> impl Strategy<Value = f64> {
        (-1000i32..1000).prop_map(|i| f64::from(i) / 500.0)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// The gradient as central differences of the objective, and the loss as written down.
        #[test]
        fn as_finite_differences(
            rows in prop::collection::vec((prop::collection::vec(real(), 3), 0u16..4, 1u32..1000), 1..30),
            parameters in prop::collection::vec(real(), 16),
            l2 in 0u32..100,
        ) {
            let values: Vec<f32> = rows.iter().flat_map(|(row, ..)| row).map(|v| *v as f32).collect();
            let labels: Vec<u16> = rows.iter().map(|(_, label, _)| *label).collect();
            let weights: Vec<f32> = rows.iter().map(|(.., weight)| *weight as f32 / 300.0).collect();
            let objective = Objective {
                rows: &values, width: 3, labels: &labels, weights: &weights, classes: 4, l2: f64::from(l2) / 10.0,
            };
            let value = objective.evaluate(&parameters);
            for i in 0..parameters.len() {
                let at = |step: f64| {
                    let mut moved = parameters.clone();
                    moved[i] += step;
                    objective.evaluate(&moved).objective
                };
                let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
                prop_assert!((slope - value.gradient[i]).abs() < 1e-6 * (1.0 + slope.abs()), "{slope}, {}", value.gradient[i]);
            }
            let (mut loss, mut total) = (0.0, 0.0);
            for ((row, label), weight) in values.chunks_exact(3).zip(&labels).zip(&weights) {
                let margin = |class: usize| parameters[12 + class]
                    + (0..3).map(|j| parameters[3 * class + j] * f64::from(row[j])).sum::<f64>();
                let p = margin(usize::from(*label)).exp() / (0..4).map(|class| margin(class).exp()).sum::<f64>();
                loss -= f64::from(*weight) * p.ln();
                total += f64::from(*weight);
            }
            prop_assert!((value.loss - loss / total).abs() < 1e-9 * (1.0 + value.loss));
        }
    }

    #[test]
    fn pieces_add_up() {
        let n = 3 * PIECE + 17;
        let rows: Vec<f32> = (0..2 * n).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
        let labels: Vec<u16> = (0..n).map(|i| (i % 2) as u16).collect();
        let weights = vec![1.0; n];
        let objective = Objective { rows: &rows, width: 2, labels: &labels, weights: &weights, classes: 2, l2: 0.0 };
        let parameters = [0.3, -0.2, 0.1, 0.4, 0.0, 0.2];
        let whole = objective.evaluate(&parameters);
        let (mut loss, mut gradient) = (0.0, [0.0; 6]);
        for i in 0..n {
            let (one, _, part) =
                objective.piece(&parameters[..4], &parameters[4..], &labels[i..=i], &[1.0], &rows[2 * i..2 * i + 2]);
            loss += one / n as f64;
            gradient.iter_mut().zip(part).for_each(|(sum, part)| *sum += part / n as f64);
        }
        assert!((whole.loss - loss).abs() < 1e-12);
        // the pseudo-row touches intercepts alone
        assert!(whole.gradient[..4].iter().zip(gradient).all(|(a, b)| (a - b).abs() < 1e-12));
    }
}
