//! Inputs on one scale that outliers do not move.

use rayon::prelude::*;
use stakeout_core::{InputKind, ModelError, Windows};

use crate::bytes::Reader;
use crate::trees::binned::each_block;

/// Scaled values are held within this many units: what lies further out is no further away.
const LIMIT: f32 = 10.0;
/// Interquartile range of a normal distribution in deviations.
const NORMAL: f64 = 1.349;
/// A spread of less than this share of the median is none: it is rounding.
const ROUNDING: f64 = 1e-7;

/// Median and spread of each input.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Robust {
    medians: Vec<f32>,
    /// One over the spread; 0 for an input with a single value.
    scales: Vec<f32>,
}

impl Robust {
    /// Over some rows of a source, each counted once. Values that are not finite are missing. The spread is the
    /// interquartile range in units of a deviation; where half of the values are the same it is the deviation itself.
    pub(super) fn of(windows: &dyn Windows, input: InputKind, rows: &[usize]) -> Result<Self, ModelError> {
        let width = windows.schema().geometry().row_len(input);
        let mut columns = vec![Vec::with_capacity(rows.len()); width];
        each_block(windows, input, rows, |_, values| {
            columns.par_iter_mut().enumerate().for_each(|(column, out)| {
                out.extend(values.chunks_exact(width).map(|row| row[column]).filter(|value| value.is_finite()));
            });
        })?;
        let (medians, scales) = columns.into_par_iter().map(center_and_scale).unzip();
        Ok(Self { medians, scales })
    }

    /// A row of raw values as scaled ones; a missing value is at the median.
    pub(super) fn apply(&self, row: &[f32], out: &mut [f32]) {
        for (((out, value), median), scale) in out.iter_mut().zip(row).zip(&self.medians).zip(&self.scales) {
            let scaled = (f64::from(*value) - f64::from(*median)) * f64::from(*scale);
            *out = if value.is_finite() { (scaled as f32).clamp(-LIMIT, LIMIT) } else { 0.0 };
        }
    }

    /// Scaled rows of a source.
    pub(super) fn gather(
        &self,
        windows: &dyn Windows,
        input: InputKind,
        rows: &[usize],
    ) -> Result<Vec<f32>, ModelError> {
        let width = self.medians.len();
        let mut values = vec![0.0; rows.len() * width];
        each_block(windows, input, rows, |start, block| {
            let out = values[start * width..].par_chunks_exact_mut(width);
            block.par_chunks_exact(width).zip(out).for_each(|(raw, out)| self.apply(raw, out));
        })?;
        Ok(values)
    }

    /// Little endian: `f32` median an input, `f32` scale an input.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.medians.iter().chain(&self.scales).flat_map(|v| v.to_le_bytes()));
    }

    /// Reads what [`Robust::write`] wrote and believes nothing of it.
    pub(super) fn read(reader: &mut Reader<'_>, inputs: usize) -> Result<Self, ModelError> {
        let (medians, scales) = (reader.f32s(inputs)?, reader.f32s(inputs)?);
        let usable =
            medians.iter().all(|median| median.is_finite()) && scales.iter().all(|s| (0.0..=f32::MAX).contains(s));
        if usable {
            Ok(Self { medians, scales })
        } else {
            Err(ModelError::Weights("medians or scales of no fit".into()))
        }
    }
}

/// Whether a stored value can be one that was scaled; false for NaN.
pub(super) fn is_scaled(value: f32) -> bool {
    value.abs() <= LIMIT
}

/// Median of some finite values and one over their spread.
fn center_and_scale(mut values: Vec<f32>) -> (f32, f32) {
    if values.is_empty() {
        return (0.0, 0.0);
    }
    values.sort_unstable_by(f32::total_cmp);
    // linear interpolation between order statistics (Hyndman and Fan 1996, type 7)
    let quantile = |share: f64| {
        let at = share * (values.len() - 1) as f64;
        let (low, rest) = (values[at as usize], at.fract());
        let high = values[(at as usize + 1).min(values.len() - 1)];
        f64::from(low) + rest * (f64::from(high) - f64::from(low))
    };
    let median = quantile(0.5);
    let range = (quantile(0.75) - quantile(0.25)) / NORMAL;
    let spread = if range > 0.0 {
        range
    } else {
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
        (values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
    };
    let scale = (1.0 / spread) as f32;
    (median as f32, if scale.is_finite() && spread > ROUNDING * median.abs() { scale } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outlier_moves_neither_median_nor_scale() {
        let (median, scale) = center_and_scale(vec![3.0, 1.0, 2.0, 5.0, 4.0]);
        assert_eq!((median, scale), (3.0, (NORMAL / 2.0) as f32));
        assert_eq!(center_and_scale(vec![3.0, 1.0, 2.0, 5e9, 4.0]), (median, scale));
    }

    #[test]
    fn where_half_is_one_value_the_deviation_scales() {
        let (median, scale) = center_and_scale(vec![0.0, 0.0, 0.0, 0.0, 10.0]);
        assert_eq!((median, scale), (0.0, 0.25));
        assert_eq!(center_and_scale(vec![0.1; 7]), (0.1, 0.0));
        assert_eq!(center_and_scale(Vec::new()), (0.0, 0.0));
    }

    #[test]
    fn missing_is_the_median_and_far_is_held() {
        let robust = Robust { medians: vec![1.0, 1.0, 1.0], scales: vec![2.0, 2.0, 0.0] };
        let mut out = [9.0; 3];
        robust.apply(&[f32::NAN, 1e30, 5.0], &mut out);
        assert_eq!(out, [0.0, 10.0, 0.0]);
    }
}
