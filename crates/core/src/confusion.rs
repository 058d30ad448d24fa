//! Confusion counts and the one definition of macro F1 that every crate uses.

use serde::{Deserialize, Serialize};

/// Counts of (true class, predicted class) pairs, row-major: `counts[truth * classes + predicted]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    classes: usize,
    counts: Vec<u64>,
}

impl Confusion {
    /// All zero.
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; classes * classes] }
    }

    /// From counts in row-major order.
    ///
    /// # Panics
    /// When `counts` is not `classes × classes` long.
    pub fn from_counts(classes: usize, counts: Vec<u64>) -> Self {
        assert_eq!(counts.len(), classes * classes, "a confusion matrix is square");
        Self { classes, counts }
    }

    /// Counts one window.
    ///
    /// # Panics
    /// When a class is out of range.
    pub fn add(&mut self, truth: u16, predicted: u16) {
        let (truth, predicted) = (usize::from(truth), usize::from(predicted));
        assert!(truth < self.classes && predicted < self.classes, "class out of range");
        self.counts[truth * self.classes + predicted] += 1;
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Counts in row-major order.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Windows counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// (true positives, false positives, false negatives) of a class.
    ///
    /// # Panics
    /// When the class is out of range.
    pub fn outcomes(&self, class: usize) -> (u64, u64, u64) {
        let hits = self.counts[class * self.classes + class];
        let truth: u64 = self.counts[class * self.classes..(class + 1) * self.classes].iter().sum();
        let predicted: u64 = self.counts.iter().skip(class).step_by(self.classes).sum();
        (hits, predicted - hits, truth - hits)
    }

    /// F1 of a class, `2 TP / (2 TP + FP + FN)`; `None` when the class neither occurs nor is predicted.
    pub fn f1(&self, class: usize) -> Option<f64> {
        let (tp, fp, fn_) = self.outcomes(class);
        let denominator = 2 * tp + fp + fn_;
        (denominator > 0).then(|| 2.0 * tp as f64 / denominator as f64)
    }

    /// Unweighted mean of the F1 of all classes that occur or are predicted; `None` for an empty matrix.
    pub fn macro_f1(&self) -> Option<f64> {
        let (mut sum, mut seen) = (0.0, 0u32);
        for f1 in (0..self.classes).filter_map(|class| self.f1(class)) {
            sum += f1;
            seen += 1;
        }
        (seen > 0).then(|| sum / f64::from(seen))
    }

    /// Share of windows on the diagonal; `None` for an empty matrix.
    pub fn accuracy(&self) -> Option<f64> {
        let hits: u64 = self.counts.iter().step_by(self.classes + 1).sum();
        let total = self.total();
        (total > 0).then(|| hits as f64 / total as f64)
    }
}

/// Position of the largest probability; the first one wins a tie.
///
/// # Panics
/// When `probabilities` is empty.
pub fn argmax(probabilities: &[f32]) -> u16 {
    let mut best = 0;
    for (i, p) in probabilities.iter().enumerate().skip(1) {
        if *p > probabilities[best] {
            best = i;
        }
    }
    assert!(!probabilities.is_empty(), "a probability row has at least one class");
    best as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // truth 0: 3 right, 1 called 1; truth 1: 2 right; class 2 never seen
        let confusion = Confusion::from_counts(3, vec![3, 1, 0, 0, 2, 0, 0, 0, 0]);
        assert_eq!(confusion.outcomes(0), (3, 0, 1));
        assert_eq!(confusion.f1(2), None);
        let expected = f64::midpoint(6.0 / 7.0, 4.0 / 5.0);
        assert!((confusion.macro_f1().unwrap() - expected).abs() < 1e-15);
        assert_eq!(confusion.accuracy(), Some(5.0 / 6.0));
    }

    #[test]
    fn a_class_only_predicted_counts_zero() {
        let confusion = Confusion::from_counts(2, vec![0, 4, 0, 0]);
        assert_eq!(confusion.macro_f1(), Some(0.0));
        assert_eq!(Confusion::new(2).macro_f1(), None);
    }
}
