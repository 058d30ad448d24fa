//! A sum of `CᵀC` over chunks `C`, and its eigenvectors.

use faer::linalg::matmul::matmul;
use faer::linalg::solvers::SelfAdjointEigen;
use faer::{Accum, Mat, MatRef, Par, Side};
use rayon::prelude::*;
use stakeout_core::ModelError;

/// Side of a tile: what one thread works on. Tiles do not depend on the number of threads, and so neither does a sum.
const TILE: usize = 384;

/// A symmetric matrix as the tiles of its lower triangle.
pub(super) struct Gram {
    order: usize,
    tiles: Vec<Tile>,
}

struct Tile {
    row: usize,
    column: usize,
    values: Mat<f64>,
}

/// Eigenvalues, none negative, and the eigenvectors as columns in the same order.
pub(super) struct Eigen {
    pub(super) values: Vec<f64>,
    found: SelfAdjointEigen<f64>,
}

impl Eigen {
    pub(super) fn vectors(&self) -> MatRef<'_, f64> {
        self.found.U()
    }
}

impl Gram {
    pub(super) fn new(order: usize) -> Self {
        let starts = || (0..order).step_by(TILE);
        let size = |from: usize| TILE.min(order - from);
        let tiles = starts().flat_map(|row| {
            let up_to = starts().take_while(move |column| *column <= row);
            up_to.map(move |column| Tile { row, column, values: Mat::zeros(size(row), size(column)) })
        });
        Self { order, tiles: tiles.collect() }
    }

    /// Adds `CᵀC` of a chunk of any height.
    pub(super) fn add(&mut self, chunk: MatRef<'_, f64>) {
        self.tiles.par_iter_mut().with_max_len(1).for_each(|tile| {
            let left = chunk.subcols(tile.row, tile.values.nrows()).transpose();
            let right = chunk.subcols(tile.column, tile.values.ncols());
            matmul(tile.values.as_mut(), Accum::Add, left, right, 1.0, Par::Seq);
        });
    }

    /// Adds `by` times the outer product of a direction with itself.
    pub(super) fn lift(&mut self, direction: &[f64], by: f64) {
        for tile in &mut self.tiles {
            for j in 0..tile.values.ncols() {
                for i in 0..tile.values.nrows() {
                    tile.values[(i, j)] += by * direction[tile.row + i] * direction[tile.column + j];
                }
            }
        }
    }

    pub(super) fn trace(&self) -> f64 {
        let diagonal = self.tiles.iter().filter(|tile| tile.row == tile.column);
        diagonal.map(|tile| (0..tile.values.nrows()).map(|i| tile.values[(i, i)]).sum::<f64>()).sum()
    }

    /// # Errors
    /// [`ModelError::Data`] when the search for them does not converge.
    pub(super) fn eigen(self) -> Result<Eigen, ModelError> {
        let mut whole = Mat::zeros(self.order, self.order);
        for Tile { row, column, values } in self.tiles {
            whole.as_mut().submatrix_mut(row, column, values.nrows(), values.ncols()).copy_from(&values);
        }
        let found = whole.self_adjoint_eigen(Side::Lower).map_err(|_| {
            ModelError::Data("no eigenvectors were found for the ridge regression: are all features finite?".into())
        })?;
        let values = found.S().column_vector().iter().map(|value| value.max(0.0)).collect();
        Ok(Eigen { values, found })
    }
}
