//! Centre and scale of the inputs.

use std::ops::Range;

use faer::MatRef;
use rayon::prelude::*;

/// Weighted sums of the inputs, around the first row: an input that never changes then has a deviation of exactly 0.
pub(super) struct Moments {
    total: f64,
    first: Vec<f64>,
    sums: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    pub(super) fn new(width: usize, total: f64) -> Self {
        Self { total, first: Vec::new(), sums: vec![0.0; width], squares: vec![0.0; width] }
    }

    /// Adds rows (rows × width) with their weights.
    pub(super) fn add(&mut self, values: &[f32], weights: &[f64]) {
        let width = self.sums.len();
        if self.first.is_empty() {
            self.first = values[..width].iter().map(|value| f64::from(*value)).collect();
        }
        for (row, weight) in values.chunks_exact(width).zip(weights) {
            let sums = self.sums.iter_mut().zip(&mut self.squares);
            for ((value, first), (sum, square)) in row.iter().zip(&self.first).zip(sums) {
                let apart = f64::from(*value) - first;
                *sum += weight * apart;
                *square += weight * apart * apart;
            }
        }
    }

    pub(super) fn finish(self) -> Scale {
        let Self { total, first, sums, squares } = self;
        let inverse = sums.iter().zip(&squares).map(|(sum, square)| {
            let variance = square / total - (sum / total).powi(2);
            // what is left of a variance that is nothing but rounding
            if variance > 1e-14 * (square / total) { variance.sqrt().recip() } else { 0.0 }
        });
        Scale { inverse: inverse.collect(), means: first.iter().zip(&sums).map(|(f, sum)| f + sum / total).collect() }
    }
}

/// How inputs are standardised.
pub(super) struct Scale {
    pub(super) means: Vec<f64>,
    /// One over the deviation; 0 for an input that never changes, which takes it out of the fit.
    pub(super) inverse: Vec<f64>,
}

impl Scale {
    /// Some inputs of rows (rows × width), standardised and multiplied by the roots of the rows' weights, row-major.
    pub(super) fn apply(&self, values: &[f32], inputs: Range<usize>, roots: &[f64]) -> Rows {
        let (width, kept) = (self.means.len(), inputs.len());
        let mut out = vec![0.0; roots.len() * kept];
        let rows = out.par_chunks_exact_mut(kept).zip(values.par_chunks_exact(width)).zip(roots).with_min_len(64);
        rows.for_each(|((out, row), root)| {
            let scale = self.means[inputs.clone()].iter().zip(&self.inverse[inputs.clone()]);
            for ((out, value), (mean, inverse)) in out.iter_mut().zip(&row[inputs.clone()]).zip(scale) {
                *out = (f64::from(*value) - mean) * inverse * root;
            }
        });
        Rows { values: out, width: kept }
    }
}

/// Standardised rows.
pub(super) struct Rows {
    values: Vec<f64>,
    width: usize,
}

impl Rows {
    pub(super) fn view(&self) -> MatRef<'_, f64> {
        MatRef::from_row_major_slice(&self.values, self.values.len() / self.width, self.width)
    }
}
