//! Means of tensor steps, and the share of them that is zero.

use pulp::{Simd, WithSimd};

use super::block::all_finite;
use super::ranges::{Parts, Rows};
use super::{Place, dispatch};
use crate::grid::Grid;
use crate::samples::{LANES, Samples};

/// Mean of every step of every window, per column; NaN for a step without a sample. Steps are shared between
/// overlapping windows where the stride is a multiple of the step.
#[derive(Debug, Clone, Default)]
pub struct StepMeans {
    parts: Parts,
    columns: usize,
    /// Columns × steps.
    series: Vec<f32>,
    /// Scratch of one group: the mean of every step, and the counts of the steps before it.
    means: Vec<[f32; LANES]>,
    before: Vec<Counts>,
    /// Windows × padded columns: share of the window's observed steps that are zero.
    zero_shares: Vec<[f32; LANES]>,
}

impl StepMeans {
    /// Computes the step means of `samples`.
    pub fn compute(&mut self, grid: &Grid, samples: &Samples) {
        self.columns = samples.columns();
        self.parts.cut(grid, grid.step_ns(), samples.t_ns());
        let steps = self.parts.rows.len();
        self.series.clear();
        self.series.resize(self.columns.div_ceil(LANES) * LANES * steps, f32::NAN);
        self.zero_shares.clear();
        let parts = &self.parts;
        for (values, series) in samples.groups().zip(self.series.chunks_exact_mut((LANES * steps).max(1))) {
            let windows = grid.windows;
            dispatch(Group {
                values,
                parts,
                windows,
                series,
                means: &mut self.means,
                before: &mut self.before,
                zero_shares: &mut self.zero_shares,
            });
        }
    }

    /// The step means of one column in time order, to be changed before [`StepMeans::write`]: a fill across windows,
    /// for one.
    ///
    /// # Panics
    /// When `column` is out of range.
    pub fn column_mut(&mut self, column: usize) -> &mut [f32] {
        assert!(column < self.columns, "no column {column}");
        let steps = self.parts.rows.len();
        &mut self.series[column * steps..(column + 1) * steps]
    }

    /// Writes the steps of every window to `out` (windows × channels × steps).
    ///
    /// # Panics
    /// When `place` or `out` does not fit the computed columns and windows.
    pub fn write(&self, place: &Place<'_>, out: &mut [f32]) {
        assert_eq!(place.positions.len(), self.columns, "one place a column");
        let per_window = self.parts.per_window;
        let steps = self.parts.rows.len();
        if steps == 0 || self.columns == 0 {
            return;
        }
        for (window, row) in out.chunks_exact_mut(place.channels * per_window).enumerate() {
            let from = window * self.parts.per_stride;
            for (&position, series) in place.positions.iter().zip(self.series.chunks_exact(steps)) {
                let into = &mut row[position * per_window..][..per_window];
                into.copy_from_slice(&series[from..from + per_window]);
            }
        }
    }

    /// Share of a window's observed steps that are zero, for one group of columns; NaN without an observed step.
    pub(super) fn zero_share(&self, windows: usize, group: usize, window: usize) -> &[f32; LANES] {
        &self.zero_shares[group * windows + window]
    }
}

/// The steps of one column group.
struct Group<'a> {
    values: &'a [[f32; LANES]],
    parts: &'a Parts,
    windows: usize,
    means: &'a mut Vec<[f32; LANES]>,
    before: &'a mut Vec<Counts>,
    series: &'a mut [f32],
    zero_shares: &'a mut Vec<[f32; LANES]>,
}

/// How many of the steps so far were observed, and how many were zero.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    observed: [u32; LANES],
    zero: [u32; LANES],
}

impl WithSimd for Group<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { values, parts, windows, means, before, series, zero_shares } = self;
        // Three short loops instead of one, so that each is vectorised.
        means.clear();
        for &rows in &parts.rows {
            means.push(mean(values, rows));
        }
        let mut counts = Counts::default();
        before.clear();
        before.push(counts);
        for mean in means.iter() {
            for l in 0..LANES {
                counts.observed[l] += u32::from(!mean[l].is_nan());
                counts.zero[l] += u32::from(mean[l] == 0.0);
            }
            before.push(counts);
        }
        for (l, series) in series.chunks_exact_mut(means.len().max(1)).enumerate() {
            for (cell, mean) in series.iter_mut().zip(means.iter()) {
                *cell = mean[l];
            }
        }
        for window in 0..windows {
            let range = parts.of_window(window);
            let (from, to) = (before[range.start], before[range.end]);
            zero_shares.push(std::array::from_fn(|l| {
                (to.zero[l] - from.zero[l]) as f32 / (to.observed[l] - from.observed[l]) as f32
            }));
        }
    }
}

#[inline(always)]
fn mean(values: &[[f32; LANES]], rows: Rows) -> [f32; LANES] {
    let values = &values[rows.lo..rows.hi];
    let mut sum = [0.0; LANES];
    for row in values {
        for l in 0..LANES {
            sum[l] += f64::from(row[l]);
        }
    }
    if all_finite(&sum) {
        let n = values.len() as f64;
        sum.map(|s| (s / n) as f32)
    } else {
        mean_with_gaps(values)
    }
}

#[inline(always)]
fn mean_with_gaps(values: &[[f32; LANES]]) -> [f32; LANES] {
    let (mut sum, mut n) = ([0.0; LANES], [0.0; LANES]);
    for row in values {
        for l in 0..LANES {
            let value = f64::from(row[l]);
            let seen = value.abs() < f64::INFINITY;
            sum[l] += if seen { value } else { 0.0 };
            n[l] += if seen { 1.0 } else { 0.0 };
        }
    }
    std::array::from_fn(|l| (sum[l] / n[l]) as f32)
}
