//! What every row would have been predicted by a fit without it, for every penalty, and the penalty with the least
//! squared error of these predictions.
//!
//! A least-squares fit without row i errs on it by `e_i / (1 − h_i)`, where `e_i` is the error of the fit with it and
//! `h_i` its leverage, weights and intercept included: `h_i = w_i / Σw + z_iᵀ (Λ + α)⁻¹ z_i` for the projection `z_i`
//! of the row on the eigenvectors of `XᵀX`. On the side of the rows the same ratio is `c_i / d_i` with
//! `c = (XXᵀ + α)⁻¹ y` and `d` the diagonal of that inverse, less the share of the intercept.

use std::ops::Range;

use faer::{Mat, MatRef};
use rayon::prelude::*;

use super::gram::Eigen;
use super::{Problem, Targets, product};

/// Rows that one thread works on.
const PIECE: usize = 128;
/// Least share of a row that others do not decide, below which it is noise.
const TINY: f64 = 1e-13;

/// The eigenvalues' part of the fit for every penalty.
pub(super) struct Shrinkage {
    targets: usize,
    /// `1 / (λ + α)`: eigenvalues × penalties.
    inverse: Mat<f64>,
    /// The projected right side by `1 / (λ + α)`: eigenvalues × (penalties · targets), penalty-major.
    solved: Mat<f64>,
}

impl Shrinkage {
    /// Of a right side: inputs × targets or rows × targets, as the eigenvectors are long.
    pub(super) fn new(eigen: &Eigen, right: MatRef<'_, f64>, alphas: &[f64]) -> Self {
        let (order, targets) = (eigen.values.len(), right.ncols());
        let rotated = product(eigen.vectors().transpose(), right);
        let inverse = Mat::from_fn(order, alphas.len(), |j, a| (eigen.values[j] + alphas[a]).recip());
        let solved = Mat::from_fn(order, alphas.len() * targets, |j, at| {
            rotated[(j, at % targets)] * inverse[(j, at / targets)]
        });
        Self { targets, inverse, solved }
    }

    /// The fit with one of the penalties, still to be turned back by the eigenvectors.
    pub(super) fn of(&self, choice: usize) -> MatRef<'_, f64> {
        self.solved.as_ref().subcols(choice * self.targets, self.targets)
    }
}

/// Errors on held-out rows, multiplied by the roots of the weights.
pub(super) struct HeldOut<'a> {
    targets: &'a Targets,
    alphas: &'a [f64],
    /// Rows × penalties × targets.
    errors: Vec<f64>,
}

impl<'a> HeldOut<'a> {
    pub(super) fn new(targets: &'a Targets, alphas: &'a [f64]) -> Self {
        Self { targets, alphas, errors: Vec::with_capacity(targets.roots.len() * alphas.len() * targets.width) }
    }

    /// Adds the next rows, given as standardised inputs; the eigenvectors are those of `XᵀX`.
    pub(super) fn add_predicted(&mut self, x: MatRef<'_, f64>, eigen: &Eigen, shrinkage: &Shrinkage) {
        let Self { targets, alphas, errors } = self;
        let from = errors.len() / (alphas.len() * targets.width);
        let project = |rows: Range<usize>| product(x.subrows(rows.start, rows.len()), eigen.vectors());
        let found = pieces(x.nrows(), shrinkage, project, |row, _, target, fitted, leverage| {
            let apart = targets.centred[(from + row, target)] - fitted;
            apart / (1.0 - targets.intercept[from + row].powi(2) - leverage).max(TINY)
        });
        errors.extend(found);
    }

    /// Adds all rows; the eigenvectors are those of `XXᵀ`, where the intercept's direction has the eigenvalue `lift`.
    pub(super) fn add_decomposed(&mut self, eigen: &Eigen, shrinkage: &Shrinkage, lift: f64) {
        let Self { targets, alphas, errors } = self;
        let project = |rows: Range<usize>| eigen.vectors().subrows(rows.start, rows.len()).to_owned();
        let found = pieces(eigen.values.len(), shrinkage, project, |row, alpha, _, solved, diagonal| {
            let intercept = targets.intercept[row].powi(2) / (lift + alphas[alpha]);
            solved / (diagonal - intercept).max(TINY * diagonal)
        });
        errors.extend(found);
    }

    /// The penalty with the least sum of squared errors; the largest of equals.
    pub(super) fn choose(&self) -> usize {
        let (penalties, width) = (self.alphas.len(), self.targets.width);
        let mut sums = vec![0.0; penalties];
        for row in self.errors.chunks_exact(penalties * width) {
            for (sum, errors) in sums.iter_mut().zip(row.chunks_exact(width)) {
                *sum += errors.iter().map(|error| error * error).sum::<f64>();
            }
        }
        (0..penalties).rev().min_by(|a, b| sums[*a].total_cmp(&sums[*b])).expect("there is a penalty to choose")
    }

    /// Rows × targets: what was predicted for held-out rows with one of the penalties.
    pub(super) fn predictions(&self, problem: &Problem<'_>, choice: usize) -> Vec<f64> {
        let width = self.targets.width;
        let rows = self.errors.chunks_exact(self.alphas.len() * width).map(|row| &row[choice * width..][..width]);
        let known = problem.targets.chunks_exact(width).zip(&self.targets.roots);
        let predicted = rows
            .zip(known)
            .flat_map(|(errors, (row, root))| errors.iter().zip(row).map(move |(error, target)| target - error / root));
        predicted.collect()
    }
}

/// The errors of `rows` rows (rows × penalties × targets), piece by piece on all threads. `project` gives the
/// projections `z` of some rows on the eigenvectors; `error` is told row, penalty, target, `z · solved` and the sum of
/// `z² / (λ + α)`.
fn pieces(
    rows: usize,
    shrinkage: &Shrinkage,
    project: impl Fn(Range<usize>) -> Mat<f64> + Sync,
    error: impl Fn(usize, usize, usize, f64, f64) -> f64 + Sync,
) -> Vec<f64> {
    let starts: Vec<usize> = (0..rows).step_by(PIECE).collect();
    let found: Vec<Vec<f64>> = starts
        .into_par_iter()
        .with_max_len(1)
        .map(|from| {
            let mut z = project(from..rows.min(from + PIECE));
            let solved = product(z.as_ref(), shrinkage.solved.as_ref());
            for column in z.col_iter_mut() {
                column.iter_mut().for_each(|value| *value *= *value);
            }
            let diagonal = product(z.as_ref(), shrinkage.inverse.as_ref());
            let mut errors = Vec::with_capacity(solved.nrows() * solved.ncols());
            for row in 0..solved.nrows() {
                for at in 0..solved.ncols() {
                    let (alpha, target) = (at / shrinkage.targets, at % shrinkage.targets);
                    errors.push(error(from + row, alpha, target, solved[(row, at)], diagonal[(row, alpha)]));
                }
            }
            errors
        })
        .collect();
    found.concat()
}
