//! Weighted ridge regression with an intercept that is not penalised, and the penalty that predicts rows best which were
//! left out one at a time.
//!
//! Minimised is `Σ_i w_i ‖y_i − b − Bᵀ x_i‖² + α ‖B‖²` over standardised inputs. With inputs and targets centred and
//! multiplied by `√w`, one eigendecomposition of the smaller of `XᵀX` and `XXᵀ` gives the fit for every α, and from it
//! without any further fit what every row would have been predicted by a fit without it (Allen's PRESS, Technometrics
//! 1974; Golub, Heath and Wahba, Technometrics 1979; Rifkin and Lippert, "Notes on regularized least squares", 2007).
//!
//! The inputs are read chunk by chunk, several times, and never held whole where there are more rows than inputs: memory
//! is a few matrices of the smaller side squared. Cost: `n p min(n, p)` for the matrix, `9 min(n, p)³` for its
//! eigenvectors, `2 n p²` more for leaving rows out where `p ≤ n`.
//!
//! In reading order: `moments` (centre and scale of the inputs), `gram` (the matrix and its eigenvectors), `held_out`
//! (the choice of α).

mod gram;
mod held_out;
mod moments;

use std::ops::Range;

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use stakeout_core::ModelError;

use gram::Gram;
use held_out::{HeldOut, Shrinkage};
use moments::{Moments, Scale};

/// Rows that are read at once.
const CHUNK: usize = 1024;
/// Inputs that are taken at once where all rows are held.
const BLOCK: usize = 512;

/// Rows of inputs that can be read again and again.
pub(crate) trait Design {
    /// Rows.
    fn rows(&self) -> usize;

    /// Inputs of a row.
    fn width(&self) -> usize;

    /// Some neighbouring rows, row-major (rows × width). The same call gives the same values.
    ///
    /// # Errors
    /// When a row cannot be read.
    fn read(&mut self, rows: Range<usize>, into: &mut [f32]) -> Result<(), ModelError>;
}

/// What is fitted, and with which penalties.
pub(crate) struct Problem<'a> {
    /// Rows × targets.
    pub(crate) targets: &'a [f64],
    /// One positive weight a row, mean about 1 so that α means the same for any weights.
    pub(crate) weights: &'a [f64],
    /// Penalties to choose from, ascending.
    pub(crate) alphas: &'a [f64],
}

/// A fitted regression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ridge {
    /// Targets × inputs, for inputs as they are read.
    pub(crate) coefficients: Vec<f32>,
    /// One a target.
    pub(crate) intercepts: Vec<f64>,
    /// Weighted mean of each target: what an average row is predicted.
    pub(crate) means: Vec<f64>,
    /// The chosen penalty.
    pub(crate) alpha: f64,
    /// Rows × targets: what a fit without the row predicts for it, centre and scale of the inputs kept.
    pub(crate) held_out: Vec<f64>,
}

/// Which product is decomposed; the smaller one unless a test says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// `XᵀX`, inputs × inputs.
    Inputs,
    /// `XXᵀ`, rows × rows.
    Rows,
}

/// Fits a regression; `tick` is told the share of the work that is done, and may stop it by an error.
///
/// # Errors
/// When a row cannot be read, `tick` stopped the fit, or the eigenvectors were not found (inputs that are not finite).
pub(crate) fn fit(
    design: &mut dyn Design,
    problem: &Problem<'_>,
    tick: &mut dyn FnMut(f64) -> Result<(), ModelError>,
) -> Result<Ridge, ModelError> {
    let side = if design.width() < design.rows() { Side::Inputs } else { Side::Rows };
    fit_on(side, design, problem, tick)
}

fn fit_on(
    side: Side,
    design: &mut dyn Design,
    problem: &Problem<'_>,
    tick: &mut dyn FnMut(f64) -> Result<(), ModelError>,
) -> Result<Ridge, ModelError> {
    match side {
        Side::Inputs => on_inputs(design, problem, tick),
        Side::Rows => on_rows(design, problem, tick),
    }
}

fn on_inputs(
    design: &mut dyn Design,
    problem: &Problem<'_>,
    tick: &mut dyn FnMut(f64) -> Result<(), ModelError>,
) -> Result<Ridge, ModelError> {
    let (n, p) = (design.rows(), design.width());
    let targets = Targets::new(problem);
    let mut moments = Moments::new(p, targets.total);
    chunks(design, |rows, values| {
        moments.add(values, &problem.weights[rows.clone()]);
        tick(0.1 * rows.end as f64 / n as f64)
    })?;
    let scale = moments.finish();
    let (mut gram, mut against) = (Gram::new(p), Mat::zeros(p, targets.width));
    chunks(design, |rows, values| {
        let x = scale.apply(values, 0..p, &targets.roots[rows.clone()]);
        gram.add(x.view());
        multiply(&mut against, x.view().transpose(), targets.centred.as_ref().subrows(rows.start, rows.len()));
        tick(0.1 + 0.3 * rows.end as f64 / n as f64)
    })?;
    let eigen = gram.eigen()?;
    tick(0.7)?;
    let shrinkage = Shrinkage::new(&eigen, against.as_ref(), problem.alphas);
    let mut held_out = HeldOut::new(&targets, problem.alphas);
    chunks(design, |rows, values| {
        let x = scale.apply(values, 0..p, &targets.roots[rows.clone()]);
        held_out.add_predicted(x.view(), &eigen, &shrinkage);
        tick(0.7 + 0.3 * rows.end as f64 / n as f64)
    })?;
    let choice = held_out.choose();
    let coefficients = product(eigen.vectors(), shrinkage.of(choice));
    Ok(finish(&scale, &targets, &coefficients, problem, choice, &held_out))
}

fn on_rows(
    design: &mut dyn Design,
    problem: &Problem<'_>,
    tick: &mut dyn FnMut(f64) -> Result<(), ModelError>,
) -> Result<Ridge, ModelError> {
    let (n, p) = (design.rows(), design.width());
    let targets = Targets::new(problem);
    let mut values = vec![0.0; n * p];
    let mut moments = Moments::new(p, targets.total);
    chunks(design, |rows, chunk| {
        moments.add(chunk, &problem.weights[rows.clone()]);
        values[rows.start * p..rows.end * p].copy_from_slice(chunk);
        tick(0.1 * rows.end as f64 / n as f64)
    })?;
    let scale = moments.finish();
    let blocks = || (0..p).step_by(BLOCK).map(|from| from..p.min(from + BLOCK));
    let mut gram = Gram::new(n);
    for inputs in blocks() {
        gram.add(scale.apply(&values, inputs.clone(), &targets.roots).view().transpose());
        tick(0.1 + 0.3 * inputs.end as f64 / p as f64)?;
    }
    // The direction of the intercept, in which the matrix is 0, is given an eigenvalue of its own size, so that it can
    // be taken out again exactly whatever other directions of eigenvalue 0 there are.
    let lift = gram.trace().max(1.0);
    gram.lift(&targets.intercept, lift);
    let eigen = gram.eigen()?;
    tick(0.8)?;
    let shrinkage = Shrinkage::new(&eigen, targets.centred.as_ref(), problem.alphas);
    let mut held_out = HeldOut::new(&targets, problem.alphas);
    held_out.add_decomposed(&eigen, &shrinkage, lift);
    let choice = held_out.choose();
    let dual = product(eigen.vectors(), shrinkage.of(choice));
    let mut coefficients = Mat::zeros(p, targets.width);
    for inputs in blocks() {
        let x = scale.apply(&values, inputs.clone(), &targets.roots);
        let part = product(x.view().transpose(), dual.as_ref());
        coefficients.as_mut().subrows_mut(inputs.start, inputs.len()).copy_from(part);
    }
    tick(1.0)?;
    Ok(finish(&scale, &targets, &coefficients, problem, choice, &held_out))
}

/// Targets, centred and multiplied by the roots of the weights.
struct Targets {
    width: usize,
    means: Vec<f64>,
    /// Sum of the weights.
    total: f64,
    /// Roots of the weights.
    roots: Vec<f64>,
    /// The roots at length 1: the direction of the intercept.
    intercept: Vec<f64>,
    /// Rows × targets.
    centred: Mat<f64>,
}

impl Targets {
    fn new(problem: &Problem<'_>) -> Self {
        let n = problem.weights.len();
        let width = problem.targets.len() / n;
        let total: f64 = problem.weights.iter().sum();
        let rows = || problem.targets.chunks_exact(width).zip(problem.weights);
        let means: Vec<f64> =
            (0..width).map(|target| rows().map(|(row, weight)| weight * row[target]).sum::<f64>() / total).collect();
        let roots: Vec<f64> = problem.weights.iter().map(|weight| weight.sqrt()).collect();
        let intercept = problem.weights.iter().map(|weight| (weight / total).sqrt()).collect();
        let centred =
            Mat::from_fn(n, width, |row, target| roots[row] * (problem.targets[row * width + target] - means[target]));
        Self { width, means, total, roots, intercept, centred }
    }
}

/// Reads all rows in chunks of fixed size.
fn chunks(
    design: &mut dyn Design,
    mut each: impl FnMut(Range<usize>, &[f32]) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    let (n, p) = (design.rows(), design.width());
    let mut values = vec![0.0; n.min(CHUNK) * p];
    for from in (0..n).step_by(CHUNK) {
        let rows = from..n.min(from + CHUNK);
        let values = &mut values[..rows.len() * p];
        design.read(rows.clone(), values)?;
        each(rows, values)?;
    }
    Ok(())
}

/// From coefficients of standardised inputs to those of inputs as they are read. The intercept follows from the rounded
/// coefficients, so that an average row is predicted to the last digit.
fn finish(
    scale: &Scale,
    targets: &Targets,
    standardised: &Mat<f64>,
    problem: &Problem<'_>,
    choice: usize,
    held_out: &HeldOut<'_>,
) -> Ridge {
    let p = standardised.nrows();
    let mut coefficients = Vec::with_capacity(p * targets.width);
    let mut intercepts = Vec::with_capacity(targets.width);
    for target in 0..targets.width {
        let from = coefficients.len();
        coefficients.extend((0..p).map(|input| (standardised[(input, target)] * scale.inverse[input]) as f32));
        let of_mean: f64 = coefficients[from..].iter().zip(&scale.means).map(|(c, mean)| f64::from(*c) * mean).sum();
        intercepts.push(targets.means[target] - of_mean);
    }
    Ridge {
        coefficients,
        intercepts,
        means: targets.means.clone(),
        alpha: problem.alphas[choice],
        held_out: held_out.predictions(problem, choice),
    }
}

/// `a b`, on the calling thread.
fn product(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Mat<f64> {
    let mut out = Mat::zeros(a.nrows(), b.ncols());
    multiply(&mut out, a, b);
    out
}

/// `out += a b`, on the calling thread.
fn multiply(out: &mut Mat<f64>, a: MatRef<'_, f64>, b: MatRef<'_, f64>) {
    matmul(out.as_mut(), Accum::Add, a, b, 1.0, Par::Seq);
}

#[cfg(test)]
mod tests;
