//! Windows as bins, column by column: what trees are grown on.

use rayon::prelude::*;
use stakeout_core::{Batch, InputKind, ModelError, Windows};
use stakeout_kernels::bins;

/// Rows that the bin edges are computed from, at most. More would move an edge by less than a thousandth of the rows.
const SKETCH_ROWS: usize = 100_000;
/// Rows gathered at a time: the raw values of all windows are never in memory at once.
const BLOCK_ROWS: usize = 2048;

/// Bin edges of each column.
pub(crate) struct Edges(pub(crate) Vec<Vec<f32>>);

impl Edges {
    /// Weighted quantiles of each column over `rows`, or over a sample of them drawn by `choose(rows, sample)`.
    pub(crate) fn of(
        windows: &dyn Windows,
        input: InputKind,
        rows: &[usize],
        weights: &[f32],
        max_bins: usize,
        choose: impl FnOnce(usize, usize) -> Vec<u32>,
    ) -> Result<Self, ModelError> {
        let picks = choose(rows.len(), rows.len().min(SKETCH_ROWS));
        let width = windows.schema().geometry().row_len(input);
        let mut columns = vec![Vec::with_capacity(picks.len()); width];
        let chosen: Vec<usize> = picks.iter().map(|pick| rows[*pick as usize]).collect();
        each_block(windows, input, &chosen, |_, values| {
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
pub(crate) struct Binned {
    rows: usize,
    bins: Vec<u8>,
}

impl Binned {
    /// The bins of some rows of a source.
    pub(crate) fn of(
        windows: &dyn Windows,
        input: InputKind,
        rows: &[usize],
        edges: &Edges,
    ) -> Result<Self, ModelError> {
        let width = edges.0.len();
        let mut bins = vec![0; rows.len() * width];
        each_block(windows, input, rows, |start, values| {
            let count = values.len() / width;
            bins.par_chunks_exact_mut(rows.len()).zip(&edges.0).enumerate().for_each(|(column, (out, edges))| {
                bins::bin_column(values, width, column, edges, &mut out[start..start + count]);
            });
        })?;
        Ok(Self { rows: rows.len(), bins })
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.bins.len() / self.rows
    }

    pub(crate) fn column(&self, column: usize) -> &[u8] {
        &self.bins[column * self.rows..(column + 1) * self.rows]
    }
}

/// The least and the greatest training value of each bin of each column, clamped to finite numbers.
pub(crate) struct Spans(pub(crate) Vec<Vec<[f32; 2]>>);

impl Spans {
    /// Over some rows of a source. A bin without a value, which only a column without any has, gets `[MAX, MIN]`.
    pub(crate) fn of(
        windows: &dyn Windows,
        input: InputKind,
        rows: &[usize],
        edges: &Edges,
    ) -> Result<Self, ModelError> {
        let width = edges.0.len();
        let mut spans: Vec<Vec<[f32; 2]>> =
            edges.0.iter().map(|edges| vec![[f32::MAX, f32::MIN]; edges.len() + 1]).collect();
        each_block(windows, input, rows, |_, values| {
            spans.par_iter_mut().zip(&edges.0).enumerate().for_each(|(column, (spans, edges))| {
                for value in values.chunks_exact(width).map(|row| row[column]).filter(|value| !value.is_nan()) {
                    let [least, greatest] = &mut spans[usize::from(bins::bin(edges, value))];
                    let value = value.clamp(f32::MIN, f32::MAX);
                    (*least, *greatest) = (least.min(value), greatest.max(value));
                }
            });
        })?;
        Ok(Self(spans))
    }

    /// The bin behind which a threshold cuts the training values; `None` where it lies below all of them.
    pub(crate) fn cut(&self, column: usize, threshold: f32) -> Option<u8> {
        let behind = self.0[column].partition_point(|[least, _]| *least <= threshold);
        behind.checked_sub(1).map(|bin| bin as u8)
    }
}

/// Gathers rows block by block: `visit(position of the first row, values row-major)`.
pub(crate) fn each_block(
    windows: &dyn Windows,
    input: InputKind,
    rows: &[usize],
    mut visit: impl FnMut(usize, &[f32]),
) -> Result<(), ModelError> {
    let mut batch = Batch::new(input, windows.schema().geometry());
    for (block, rows) in rows.chunks(BLOCK_ROWS).enumerate() {
        windows.gather(rows, &mut batch)?;
        visit(block * BLOCK_ROWS, &batch.values);
    }
    Ok(())
}
