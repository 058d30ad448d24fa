//! A full covariance that is well-conditioned for any number of vectors, and its inverse as a triangle.

use rayon::prelude::*;

/// The inverse of a Cholesky factor: `‖W t‖²` is the squared Mahalanobis distance of a centred vector `t`.
#[derive(Debug, Clone)]
pub(super) struct Whitening {
    size: usize,
    /// Row-major lower triangle: row `i` has `i + 1` numbers.
    lower: Vec<f64>,
}

/// Covariance of centred columns, shrunk towards a multiple of the identity by the share that minimises the expected
/// squared error: Ledoit and Wolf (2004), "A well-conditioned estimator for large-dimensional covariance matrices",
/// J. Multivariate Analysis 88, lemma 3.2 to 3.4. With weights, 1/n becomes Σw² / (Σw)².
///
/// `columns[i]` holds dimension `i` of every vector. Returns the row-major matrix and the share; the mean diagonal is 0
/// only for columns of zeros.
pub(super) fn ledoit_wolf(columns: &[Vec<f64>], weights: &[f64]) -> (Vec<f64>, f64) {
    let size = columns.len();
    let total: f64 = weights.iter().sum();
    let mut matrix = vec![0.0; size * size];
    matrix.par_chunks_exact_mut(size.max(1)).enumerate().for_each(|(i, row)| {
        let weighted: Vec<f64> = columns[i].iter().zip(weights).map(|(t, w)| t * w).collect();
        for (cell, other) in row.iter_mut().zip(&columns[..=i]) {
            *cell = dot(&weighted, other) / total;
        }
    });
    for i in 0..size {
        for j in 0..i {
            matrix[j * size + i] = matrix[i * size + j];
        }
    }
    let p = size as f64;
    let mean = (0..size).map(|i| matrix[i * size + i]).sum::<f64>() / p;
    let norm: f64 = matrix.iter().map(|cell| cell * cell).sum();
    // δ² = ‖S − μI‖² / p and β̄² = (1/n²) Σ ‖t tᵀ − S‖² / p, in the paper's norm.
    let spread = (norm / p - mean * mean).max(0.0);
    let mut lengths = vec![0.0; weights.len()];
    for column in columns {
        lengths.iter_mut().zip(column).for_each(|(length, t)| *length += t * t);
    }
    let fourth = lengths.iter().zip(weights).map(|(length, w)| w * length * length).sum::<f64>() / total;
    let inverse_n = weights.iter().map(|w| w * w).sum::<f64>() / (total * total);
    let error = (inverse_n * (fourth - norm) / p).clamp(0.0, spread);
    let share = if spread > 0.0 { error / spread } else { 1.0 };
    for (at, cell) in matrix.iter_mut().enumerate() {
        *cell *= 1.0 - share;
        if at % (size + 1) == 0 {
            *cell += share * mean;
        }
    }
    (matrix, share)
}

/// Sums in eight fixed lanes: quick, and the same bits everywhere.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let (heads, tails) = (a.chunks_exact(8).zip(b.chunks_exact(8)), a.len() / 8 * 8);
    for (a, b) in heads {
        for lane in 0..8 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a[tails..].iter().zip(&b[tails..]).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f64>() + rest
}

impl Whitening {
    /// Of a symmetric, row-major matrix. What rounding or too few vectors left without a positive pivot is lifted by a
    /// growing part of the mean diagonal; `None` where a cell is not finite, or so large that nothing lifts it.
    pub(super) fn of(matrix: &[f64], size: usize) -> Option<Self> {
        if !matrix.iter().all(|cell| cell.is_finite()) {
            return None;
        }
        let mean = (0..size).map(|i| matrix[i * size + i]).sum::<f64>() / size.max(1) as f64;
        let mut lift: f64 = 0.0;
        while lift.is_finite() {
            if let Some(factor) = cholesky(matrix, size, lift) {
                return Some(Self { size, lower: invert(&factor, size) });
            }
            lift = (lift * 10.0).max(1e-10 * mean).max(f64::MIN_POSITIVE);
        }
        None
    }

    /// Of stored numbers; `None` when they are no triangle of this size with a positive diagonal.
    pub(super) fn stored(size: usize, lower: Vec<f64>) -> Option<Self> {
        let fits = lower.len() == size * (size + 1) / 2 && lower.iter().all(|value| value.is_finite());
        let positive = |lower: &[f64]| (0..size).all(|i| lower[row(i) + i] > 0.0);
        (fits && positive(&lower)).then_some(Self { size, lower })
    }

    pub(super) fn lower(&self) -> &[f64] {
        &self.lower
    }

    /// The squared length of the whitened vector.
    pub(super) fn squared(&self, centred: &[f64]) -> f64 {
        (0..self.size).map(|i| dot(&self.lower[row(i)..=row(i) + i], &centred[..=i]).powi(2)).sum()
    }
}

/// Where row `i` of a packed lower triangle begins.
fn row(i: usize) -> usize {
    i * (i + 1) / 2
}

/// The packed lower factor of `matrix + lift · I`; `None` where a pivot is not positive.
fn cholesky(matrix: &[f64], size: usize, lift: f64) -> Option<Vec<f64>> {
    let mut lower = vec![0.0; size * (size + 1) / 2];
    for i in 0..size {
        for j in 0..=i {
            let (done, rest) = lower.split_at(row(i));
            let left = &rest[..j];
            let upper = if i == j { &rest[..j] } else { &done[row(j)..row(j) + j] };
            let mut value = matrix[i * size + j] - dot(left, upper);
            if i == j {
                value += lift;
                // Below this share of its diagonal a pivot is rounding noise.
                if !(value.is_finite() && value > 1e-13 * (matrix[i * size + i] + lift)) {
                    return None;
                }
                lower[row(i) + i] = value.sqrt();
            } else {
                lower[row(i) + j] = value / lower[row(j) + j];
            }
        }
    }
    Some(lower)
}

/// The inverse of a packed lower triangle, packed.
fn invert(lower: &[f64], size: usize) -> Vec<f64> {
    let mut inverse = vec![0.0; lower.len()];
    for j in 0..size {
        inverse[row(j) + j] = 1.0 / lower[row(j) + j];
        for i in j + 1..size {
            let sum: f64 = (j..i).map(|k| lower[row(i) + k] * inverse[row(k) + j]).sum();
            inverse[row(i) + j] = -sum / lower[row(i) + i];
        }
    }
    inverse
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    /// The paper's formulas, one matrix a vector.
    fn slow(columns: &[Vec<f64>]) -> (Vec<f64>, f64) {
        let (p, n) = (columns.len(), columns[0].len());
        let product = |row: usize, i: usize, j: usize| columns[i][row] * columns[j][row];
        let mut s = vec![0.0; p * p];
        for i in 0..p {
            for j in 0..p {
                s[i * p + j] = (0..n).map(|row| product(row, i, j)).sum::<f64>() / n as f64;
            }
        }
        let m = (0..p).map(|i| s[i * p + i]).sum::<f64>() / p as f64;
        let identity = |i: usize, j: usize| if i == j { 1.0 } else { 0.0 };
        let (mut d2, mut b2) = (0.0, 0.0);
        for i in 0..p {
            for j in 0..p {
                d2 += (s[i * p + j] - m * identity(i, j)).powi(2) / p as f64;
                for row in 0..n {
                    b2 += (product(row, i, j) - s[i * p + j]).powi(2) / (p * n * n) as f64;
                }
            }
        }
        let share = if d2 > 0.0 { b2.min(d2) / d2 } else { 1.0 };
        let shrunk = (0..p * p).map(|at| (1.0 - share) * s[at] + share * m * identity(at / p, at % p)).collect();
        (shrunk, share)
    }

    fn columns(size: usize, n: usize, seed: u64) -> Vec<Vec<f64>> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let common: Vec<f64> = (0..n).map(|_| rng.random::<f64>() - 0.5).collect();
        (0..size).map(|_| common.iter().map(|c| c + rng.random::<f64>() - 0.5).collect()).collect()
    }

    proptest! {
        #[test]
        fn equals_the_formulas_and_whitens(size in 1usize..6, n in 2usize..40, seed in 0u64..1000) {
            let columns = columns(size, n, seed);
            let (matrix, share) = ledoit_wolf(&columns, &vec![1.0; n]);
            let (expected, slow_share) = slow(&columns);
            prop_assert!((share - slow_share).abs() < 1e-9, "{share} {slow_share}");
            for (a, b) in matrix.iter().zip(&expected) {
                prop_assert!((a - b).abs() < 1e-12);
            }
            // W Σ Wᵀ = I, read through the distances: tᵀ Σ⁻¹ t with t = Σ e_i is Σ_ii.
            let whitening = Whitening::of(&matrix, size).unwrap();
            for i in 0..size {
                let t: Vec<f64> = (0..size).map(|j| matrix[j * size + i]).collect();
                prop_assert!((whitening.squared(&t) / matrix[i * size + i] - 1.0).abs() < 1e-6);
            }
        }

        #[test]
        fn weights_are_repetitions_in_the_matrix(seed in 0u64..200) {
            let columns = columns(3, 12, seed);
            let weights: Vec<f64> = (0..12).map(|i| f64::from(i % 3 + 1)).collect();
            let twice: Vec<Vec<f64>> = columns.iter()
                .map(|column| column.iter().zip(&weights).flat_map(|(t, w)| vec![*t; *w as usize]).collect()).collect();
            let total: f64 = weights.iter().sum();
            let (a, share_a) = ledoit_wolf(&columns, &weights);
            let (b, share_b) = ledoit_wolf(&twice, &vec![1.0; twice[0].len()]);
            // Off the diagonal only the share differs: fewer effective vectors, more shrinkage.
            prop_assert!(share_a >= share_b - 1e-12 && total > 12.0);
            if share_a < 1.0 && share_b < 1.0 {
                prop_assert!((a[1] / (1.0 - share_a) - b[1] / (1.0 - share_b)).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn singular_matrices_are_lifted() {
        let of = |matrix: &[f64], size| Whitening::of(matrix, size).unwrap();
        let ones = of(&[1.0; 9], 3);
        assert!(ones.squared(&[1.0, -1.0, 0.0]) > 1e6, "a direction without variance is far");
        assert!((ones.squared(&[1.0, 1.0, 1.0]) - 1.0).abs() < 0.01);
        assert!(of(&[0.0; 4], 2).squared(&[0.0, 0.0]) == 0.0);
        assert!(of(&[], 0).squared(&[]) == 0.0);
    }

    #[test]
    fn a_matrix_that_nothing_can_lift_ends() {
        for cell in [f64::NAN, f64::INFINITY, f64::MAX] {
            assert!(Whitening::of(&[cell; 4], 2).is_none(), "{cell}");
        }
    }

    #[test]
    fn stored_triangles_are_checked() {
        assert!(Whitening::stored(2, vec![1.0, 0.5, 2.0]).is_some());
        for bad in [vec![1.0, 0.5], vec![1.0, f64::NAN, 2.0], vec![1.0, 0.5, 0.0]] {
            assert!(Whitening::stored(2, bad).is_none());
        }
    }
}
