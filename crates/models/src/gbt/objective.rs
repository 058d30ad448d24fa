//! The loss: weighted multinomial cross-entropy on margins, one margin a class.
//!
//! Two classes have one free margin: that of the first class is held where it starts and only the second one's grows
//! trees, half the work of two mirrored trees.

use stakeout_core::{Confusion, confusion};

/// Trees a round.
pub(super) fn outputs(classes: usize) -> usize {
    if classes == 2 { 1 } else { classes }
}

/// The class whose margin each tree of a round adds to.
pub(super) fn classes_of_outputs(classes: usize) -> std::ops::Range<usize> {
    classes - outputs(classes)..classes
}

/// Margins to probabilities in place; returns the logarithm of the sum of their exponentials.
#[inline]
pub(super) fn softmax(row: &mut [f32]) -> f64 {
    let top = row.iter().copied().fold(f32::MIN, f32::max);
    let mut sum = 0.0;
    for margin in row.iter_mut() {
        *margin = (*margin - top).exp();
        sum += *margin;
    }
    for e in row.iter_mut() {
        *e /= sum;
    }
    f64::from(top) + f64::from(sum).ln()
}

/// Margins before the first tree: logarithms of the weighted class frequencies. One is added to each class (Laplace's
/// rule of succession), so that a class without a row keeps a small probability. Only differences matter: the first
/// class is at 0.
pub(super) fn base_margins(labels: &[u16], weights: &[f32], classes: usize) -> Vec<f32> {
    let mut sums = vec![1.0f64; classes];
    for (label, weight) in labels.iter().zip(weights) {
        sums[usize::from(*label)] += f64::from(*weight);
    }
    sums.iter().map(|sum| (sum / sums[0]).ln() as f32).collect()
}

/// First and second derivative of a row's loss in the margin of one class with probability `p`.
///
/// The second derivative of one margin is `p (1 - p)`. With more than two classes all margins move at once, and twice
/// the diagonal bounds the whole matrix (its off-diagonal row sum equals the diagonal), which keeps the step safe;
/// XGBoost's `multi:softprob` takes the same.
#[inline]
pub(super) fn gradient(p: f32, is_class: bool, weight: f32, classes: usize) -> [f32; 2] {
    let curvature = p * (1.0 - p) * if classes == 2 { 1.0 } else { 2.0 };
    [weight * (p - if is_class { 1.0 } else { 0.0 }), weight * curvature.max(1e-16)]
}

/// The rows that are scored after each round, with the margins of the trees so far.
pub(super) struct Scored {
    pub(super) labels: Vec<u16>,
    pub(super) weights: Vec<f32>,
    base: Vec<f32>,
    /// One vector an output, so that trees of different classes never touch the same memory.
    pub(super) margins: Vec<Vec<f32>>,
    /// Rows × classes.
    pub(super) probabilities: Vec<f32>,
}

/// Rows that are scored as one piece: losses are summed piece by piece in order, whatever the number of threads.
const PIECE: usize = 4096;

impl Scored {
    pub(super) fn new(labels: Vec<u16>, weights: Vec<f32>, base: &[f32]) -> Self {
        let (n, classes) = (labels.len(), base.len());
        let margins = classes_of_outputs(classes).map(|class| vec![base[class]; n]).collect();
        Self { labels, weights, base: base.to_vec(), margins, probabilities: vec![0.0; n * classes] }
    }

    /// Probabilities from margins; returns the weighted mean loss.
    pub(super) fn score(&mut self) -> f64 {
        use rayon::prelude::*;
        let classes = self.base.len();
        let free = classes_of_outputs(classes);
        let Self { labels, weights, base, margins, probabilities } = self;
        let sums: Vec<[f64; 2]> = probabilities
            .par_chunks_mut(PIECE * classes)
            .enumerate()
            .map(|(piece, probabilities)| {
                let (mut loss, mut total) = (0.0, 0.0);
                for (i, row) in probabilities.chunks_exact_mut(classes).enumerate() {
                    let i = piece * PIECE + i;
                    row.copy_from_slice(base);
                    for (margin, class) in margins.iter().zip(free.clone()) {
                        row[class] = margin[i];
                    }
                    let own = f64::from(row[usize::from(labels[i])]);
                    let weight = f64::from(weights[i]);
                    loss += weight * (softmax(row) - own);
                    total += weight;
                }
                [loss, total]
            })
            .collect();
        let [loss, total] = sums.iter().fold([0.0, 0.0], |a, b| [a[0] + b[0], a[1] + b[1]]);
        loss / total
    }

    /// Macro F1 of the last scores.
    pub(super) fn macro_f1(&self) -> Option<f64> {
        let mut counts = Confusion::new(self.base.len());
        for (row, label) in self.probabilities.chunks_exact(self.base.len()).zip(&self.labels) {
            counts.add(*label, confusion::argmax(row));
        }
        counts.macro_f1()
    }
}
