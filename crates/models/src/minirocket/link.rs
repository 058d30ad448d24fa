//! Decision values to probabilities: `softmax(s f + c)`, one scale and one offset a class.
//!
//! Scale and offsets minimise the weighted log loss on decision values of rows that were held out, each by a fit without
//! it: on values of rows that were fitted, many features make every row look certain. As Platt ("Probabilistic outputs
//! for support vector machines", 1999) has it, the targets are not 0 and 1 but those of a rule of succession, so that rows
//! without an error do not give certainty either: `(N + 1) / (N + 2)` for the own class of `N` rows, and the others
//! share what is left.

use faer::linalg::solvers::Solve;
use faer::{Mat, Side};

/// Least scale: more decision still means more probability, even where held-out rows were no better than guessed.
const LEAST_SCALE: f64 = 0.01;
/// Weight, in rows, of the belief that the scale is 0 within ten and that every offset is 0 within one. It decides where
/// the rows do not: for equal decision values, for a class without a row, for offsets that all grow alike.
const SCALE_PRIOR: f64 = 0.01;
const OFFSET_PRIOR: f64 = 1.0;
const MOST_STEPS: usize = 100;

/// A fitted link.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Link {
    pub(super) scale: f64,
    /// One a class.
    pub(super) offsets: Vec<f64>,
}

/// Held-out decision values and what they should have said.
struct Evidence<'a> {
    /// Rows × classes.
    decisions: &'a [f64],
    labels: &'a [u16],
    weights: &'a [f64],
    /// Rows of each class, by weight.
    counts: Vec<f64>,
}

impl Link {
    /// The link of held-out decision values (rows × classes).
    pub(super) fn fit(decisions: &[f64], labels: &[u16], weights: &[f64], classes: usize) -> Self {
        let mut counts = vec![0.0; classes];
        for (label, weight) in labels.iter().zip(weights) {
            counts[usize::from(*label)] += weight;
        }
        let evidence = Evidence { decisions, labels, weights, counts };
        let free = evidence.minimise(None);
        if free.scale >= LEAST_SCALE { free } else { evidence.minimise(Some(LEAST_SCALE)) }
    }

    /// Probabilities of one row of decision values.
    pub(super) fn probabilities(&self, decisions: &[f64], out: &mut [f32]) {
        let logits = || decisions.iter().zip(&self.offsets).map(|(f, c)| self.scale * f + c);
        let top = logits().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits().map(|logit| (logit - top).exp()).sum();
        for (out, logit) in out.iter_mut().zip(logits()) {
            *out = ((logit - top).exp() / sum) as f32;
        }
    }
}

impl Evidence<'_> {
    /// Newton's method; the loss is convex, and steps are halved until it falls.
    fn minimise(&self, fixed: Option<f64>) -> Link {
        let classes = self.counts.len();
        let mut link = Link { scale: fixed.unwrap_or(1.0), offsets: vec![0.0; classes] };
        let mut loss = self.loss(&link);
        for _ in 0..MOST_STEPS {
            let (mut gradient, mut curvature) = self.derivatives(&link);
            if fixed.is_some() {
                gradient[(0, 0)] = 0.0;
                for at in 1..=classes {
                    curvature[(at, 0)] = 0.0;
                    curvature[(0, at)] = 0.0;
                }
            }
            let Ok(factor) = curvature.llt(Side::Lower) else { break };
            let step = factor.solve(&gradient);
            let size = (0..=classes).map(|at| step[(at, 0)] * gradient[(at, 0)]).sum::<f64>();
            // the loss cannot fall by more than a rounding error
            if size <= 1e-12 * (1.0 + loss.abs()) {
                break;
            }
            let mut part = 1.0;
            let next = loop {
                let scale = fixed.unwrap_or(link.scale - part * step[(0, 0)]);
                let offsets = link.offsets.iter().enumerate().map(|(k, c)| c - part * step[(k + 1, 0)]).collect();
                let next = Link { scale, offsets };
                let next_loss = self.loss(&next);
                if next_loss < loss {
                    loss = next_loss;
                    break Some(next);
                }
                part /= 2.0;
                if part < 1e-6 {
                    break None;
                }
            };
            match next {
                Some(next) => link = next,
                None => break,
            }
        }
        link
    }

    /// Calls `each` with decision values, the own class, its target, the target of every other class, and the weight.
    fn rows(&self) -> impl Iterator<Item = (&[f64], usize, f64, f64, f64)> {
        let classes = self.counts.len();
        let rows = self.decisions.chunks_exact(classes).zip(self.labels).zip(self.weights);
        rows.map(move |((decisions, label), weight)| {
            let own = usize::from(*label);
            let target = (self.counts[own] + 1.0) / (self.counts[own] + 2.0);
            (decisions, own, target, (1.0 - target) / (classes - 1) as f64, *weight)
        })
    }

    fn loss(&self, link: &Link) -> f64 {
        let mut loss = 0.5 * SCALE_PRIOR * link.scale.powi(2);
        loss += 0.5 * OFFSET_PRIOR * link.offsets.iter().map(|c| c * c).sum::<f64>();
        for (decisions, own, target, other, weight) in self.rows() {
            let logits = || decisions.iter().zip(&link.offsets).map(|(f, c)| link.scale * f + c);
            let top = logits().fold(f64::NEG_INFINITY, f64::max);
            let normaliser = top + logits().map(|logit| (logit - top).exp()).sum::<f64>().ln();
            let targets = logits().enumerate().map(|(k, logit)| if k == own { target * logit } else { other * logit });
            loss += weight * (normaliser - targets.sum::<f64>());
        }
        loss
    }

    /// First and second derivatives in the scale (first) and the offsets.
    fn derivatives(&self, link: &Link) -> (Mat<f64>, Mat<f64>) {
        let classes = self.counts.len();
        let (mut gradient, mut curvature) = (Mat::zeros(classes + 1, 1), Mat::zeros(classes + 1, classes + 1));
        gradient[(0, 0)] = SCALE_PRIOR * link.scale;
        curvature[(0, 0)] = SCALE_PRIOR;
        for k in 0..classes {
            gradient[(k + 1, 0)] = OFFSET_PRIOR * link.offsets[k];
            curvature[(k + 1, k + 1)] = OFFSET_PRIOR;
        }
        let mut p = vec![0.0; classes];
        for (decisions, own, target, other, weight) in self.rows() {
            let logits = || decisions.iter().zip(&link.offsets).map(|(f, c)| link.scale * f + c);
            let top = logits().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = logits().map(|logit| (logit - top).exp()).sum();
            for (p, logit) in p.iter_mut().zip(logits()) {
                *p = (logit - top).exp() / sum;
            }
            let mean: f64 = p.iter().zip(decisions).map(|(p, f)| p * f).sum();
            for (a, f) in decisions.iter().enumerate() {
                let apart = weight * (p[a] - if a == own { target } else { other });
                gradient[(0, 0)] += apart * f;
                gradient[(a + 1, 0)] += apart;
                curvature[(0, 0)] += weight * p[a] * (f - mean).powi(2);
                curvature[(a + 1, 0)] += weight * p[a] * (f - mean);
                for b in 0..=a {
                    let same = if a == b { p[a] } else { 0.0 };
                    curvature[(a + 1, b + 1)] += weight * (same - p[a] * p[b]);
                }
            }
        }
        (gradient, curvature)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn evidence<'a>(decisions: &'a [f64], labels: &'a [u16], weights: &'a [f64], classes: usize) -> Evidence<'a> {
        let mut counts = vec![0.0; classes];
        labels.iter().zip(weights).for_each(|(label, weight)| counts[usize::from(*label)] += weight);
        Evidence { decisions, labels, weights, counts }
    }

    proptest! {
        /// No small step in any direction lowers the loss.
        #[test]
        fn the_loss_is_least(
            rows in prop::collection::vec((0u16..3, prop::array::uniform3(-20i32..=20), 1u32..5), 1..40),
        ) {
            let labels: Vec<u16> = rows.iter().map(|row| row.0).collect();
            let decisions: Vec<f64> = rows.iter().flat_map(|row| row.1.map(|i| f64::from(i) / 10.0)).collect();
            let weights: Vec<f64> = rows.iter().map(|row| f64::from(row.2) / 2.0).collect();
            let link = Link::fit(&decisions, &labels, &weights, 3);
            prop_assert!(link.scale >= LEAST_SCALE);
            let evidence = evidence(&decisions, &labels, &weights, 3);
            let least = evidence.loss(&link);
            for step in [1e-3, -1e-3] {
                let moved = Link { scale: (link.scale + step).max(LEAST_SCALE), ..link.clone() };
                prop_assert!(evidence.loss(&moved) >= least - 1e-9);
                for class in 0..3 {
                    let mut moved = link.clone();
                    moved.offsets[class] += step;
                    prop_assert!(evidence.loss(&moved) >= least - 1e-9);
                }
            }
        }
    }

    #[test]
    fn rows_without_an_error_do_not_give_certainty() {
        let decisions: Vec<f64> = (0..40).flat_map(|i| if i % 2 == 0 { [1.0, -1.0] } else { [-1.0, 1.0] }).collect();
        let labels: Vec<u16> = (0..40).map(|i| i % 2).collect();
        let link = Link::fit(&decisions, &labels, &[1.0; 40], 2);
        let mut out = [0.0; 2];
        link.probabilities(&[1.0, -1.0], &mut out);
        // 20 rows of a class, none wrong: (20 + 1) / (20 + 2)
        assert!((f64::from(out[0]) - 21.0 / 22.0).abs() < 2e-3, "{out:?}");
    }

    #[test]
    fn decisions_without_meaning_give_the_frequencies() {
        let decisions = vec![0.0; 300 * 3];
        let labels: Vec<u16> = (0..300).map(|i| u16::from(i % 3 != 0)).collect();
        let link = Link::fit(&decisions, &labels, &[1.0; 300], 3);
        let mut out = [0.0; 3];
        link.probabilities(&[0.0; 3], &mut out);
        assert!((out[0] - 0.333).abs() < 0.02 && (out[1] - 0.663).abs() < 0.02 && out[2] > 1e-4, "{out:?}");
    }

    #[test]
    fn worse_than_guessed_is_not_turned_round() {
        let decisions: Vec<f64> = (0..40).flat_map(|i| if i % 2 == 0 { [-1.0, 1.0] } else { [1.0, -1.0] }).collect();
        let labels: Vec<u16> = (0..40).map(|i| i % 2).collect();
        let link = Link::fit(&decisions, &labels, &[1.0; 40], 2);
        assert_eq!(link.scale, LEAST_SCALE);
    }

    #[test]
    fn far_decisions_stay_probabilities() {
        let link = Link { scale: 50.0, offsets: vec![1.0, 0.0, -1.0] };
        let mut out = [0.0; 3];
        link.probabilities(&[1e30, -1e30, 0.0], &mut out);
        assert_eq!(out, [1.0, 0.0, 0.0]);
    }
}
