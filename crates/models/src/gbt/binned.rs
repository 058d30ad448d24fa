//! Windows as bins, column by column: what trees are grown on.

use rayon::prelude::*;
use stakeout_core::{Batch, InputKind, ModelError, Windows};
use stakeout_kernels::bins;

/// Rows that the bin edges are computed from, at most. More would move an edge by less than a thousandth of the rows.
const SKETCH_ROWS: usize = 100_000;
/// Rows gathered at a time: the raw values of all windows are never in memory at once.
const BLOCK_ROWS: usize = 2048;

/// Bin edges of each column.
pub(super) struct Edges(pub(super) Vec<Vec<f32>>);

impl Edges {
    /// Weighted quantiles of each column over `rows`, or over a sample of them drawn by `choose(rows, sample)`.
    pub(super) fn of(
        windows: &dyn Windows,
        rows: &[usize],
        weights: &[f32],
        max_bins: usize,
        choose: impl FnOnce(usize, usize) -> Vec<u32>,
    ) -> Result<Self, ModelError> {
        let picks = choose(rows.len(), rows.len().min(SKETCH_ROWS));
        let width = windows.schema().geometry().features;
        let mut columns = vec![Vec::with_capacity(picks.len()); width];
        let chosen: Vec<usize> = picks.iter().map(|pick| rows[*pick as usize]).collect();
        each_block(windows, &chosen, |_, values| {
            columns.par_iter_mut().enumerate().for_each(|(column, out)| {
                out.extend(values.chunks_exact(width).map(|row| row[column]));
            });
        })?;
        let weight = |pick: &u32| weights[*pick as usize];
        let edges = columns
            .into_par_iter()
            .map(|column| bins::quantile_edges(column.into_iter().zip(picks.iter().map(weight)), max_bins))
            .collect();
        Ok(Self(edges))
    }
}

/// Bins, column-major.
pub(super) struct Binned {
    rows: usize,
    bins: Vec<u8>,
}

impl Binned {
    /// The bins of some rows of a source.
    pub(super) fn of(windows: &dyn Windows, rows: &[usize], edges: &Edges) -> Result<Self, ModelError> {
        let width = edges.0.len();
        let mut bins = vec![0; rows.len() * width];
        each_block(windows, rows, |start, values| {
            let count = values.len() / width;
            bins.par_chunks_exact_mut(rows.len()).zip(&edges.0).enumerate().for_each(|(column, (out, edges))| {
                bins::bin_column(values, width, column, edges, &mut out[start..start + count]);
            });
        })?;
        Ok(Self { rows: rows.len(), bins })
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn column(&self, column: usize) -> &[u8] {
        &self.bins[column * self.rows..(column + 1) * self.rows]
    }
}

/// Gathers rows block by block: `visit(position of the first row, values row-major)`.
fn each_block(windows: &dyn Windows, rows: &[usize], mut visit: impl FnMut(usize, &[f32])) -> Result<(), ModelError> {
    let mut batch = Batch::new(InputKind::Summary, windows.schema().geometry());
    for (block, rows) in rows.chunks(BLOCK_ROWS).enumerate() {
        windows.gather(rows, &mut batch)?;
        visit(block * BLOCK_ROWS, &batch.values);
    }
    Ok(())
}
