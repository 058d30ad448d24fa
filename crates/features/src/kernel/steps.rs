//! Means of tensor steps, and the share of them that is zero.

use super::Place;
use super::ranges::{Parts, Rows};
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
    /// Per step of one group: how many of the steps before it were observed, and how many were zero.
    before: Vec<[[u32; LANES]; 2]>,
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
        let (parts, before, shares) = (&self.parts, &mut self.before, &mut self.zero_shares);
        for (values, series) in samples.groups().zip(self.series.chunks_exact_mut((LANES * steps).max(1))) {
            pulp::Arch::new().dispatch(
                #[inline(always)]
                || group(values, parts, grid.windows, series, before, shares),
            );
        }
    }

    /// The step means of one column, in time order.
    ///
    /// # Panics
    /// When `column` is out of range.
    pub fn column(&self, column: usize) -> &[f32] {
        assert!(column < self.columns, "no column {column}");
        let steps = self.parts.rows.len();
        &self.series[column * steps..(column + 1) * steps]
    }

    /// The step means of one column, to be changed before [`StepMeans::write`]: a fill across windows, for one.
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

#[inline(always)]
fn group(
    values: &[[f32; LANES]],
    parts: &Parts,
    windows: usize,
    series: &mut [f32],
    before: &mut Vec<[[u32; LANES]; 2]>,
    zero_shares: &mut Vec<[f32; LANES]>,
) {
    let steps = parts.rows.len();
    let (mut observed, mut zero) = ([0u32; LANES], [0u32; LANES]);
    before.clear();
    before.reserve(steps + 1);
    before.push([observed, zero]);
    for (step, &rows) in parts.rows.iter().enumerate() {
        let mean = mean(values, rows);
        for l in 0..LANES {
            observed[l] += u32::from(!mean[l].is_nan());
            zero[l] += u32::from(mean[l] == 0.0);
            series[l * steps + step] = mean[l];
        }
        before.push([observed, zero]);
    }
    for window in 0..windows {
        let range = parts.of_window(window);
        let ([observed_to, zero_to], [observed_from, zero_from]) = (before[range.end], before[range.start]);
        zero_shares.push(std::array::from_fn(|l| {
            (zero_to[l] - zero_from[l]) as f32 / (observed_to[l] - observed_from[l]) as f32
        }));
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
    if sum.iter().all(|s| s.is_finite()) {
        let n = values.len() as f64;
        sum.map(|s| (s / n) as f32)
    } else {
        mean_with_gaps(values)
    }
}

fn mean_with_gaps(values: &[[f32; LANES]]) -> [f32; LANES] {
    let (mut sum, mut n) = ([0.0; LANES], [0.0; LANES]);
    for row in values {
        for l in 0..LANES {
            if row[l].is_finite() {
                sum[l] += f64::from(row[l]);
                n[l] += 1.0;
            }
        }
    }
    std::array::from_fn(|l| (sum[l] / n[l]) as f32)
}
