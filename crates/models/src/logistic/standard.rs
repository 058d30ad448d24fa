//! Inputs on one scale, with what is missing beside them.

use stakeout_core::{InputKind, ModelError, Windows};

use crate::bytes::Reader;
use crate::trees::binned::each_block;

/// Standardised values are held within this many deviations: what lies further out says no more.
pub(super) const LIMIT: f64 = 10.0;
/// A deviation of less than this share of the mean is none.
const ROUNDING: f64 = 1e-7;

/// Mean and deviation of each input, and the inputs that were missing somewhere.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Standard {
    pub(super) means: Vec<f32>,
    /// One over the deviation; 0 for an input with a single value.
    pub(super) scales: Vec<f32>,
    /// Inputs with an indicator, ascending.
    pub(super) indicators: Vec<u32>,
}

impl Standard {
    /// Weighted moments over some rows of a source (West, CACM 22, 1979: one pass, no cancellation). Values that are not
    /// finite are missing.
    pub(super) fn of(windows: &dyn Windows, rows: &[usize], weights: &[f32]) -> Result<Self, ModelError> {
        let width = windows.schema().geometry().features;
        let mut moments = vec![[0.0f64; 3]; width];
        let mut missing = vec![false; width];
        each_block(windows, InputKind::Summary, rows, |start, values| {
            for (row, weight) in values.chunks_exact(width).zip(&weights[start..]) {
                let weight = f64::from(*weight);
                for ((value, [total, mean, squares]), missing) in row.iter().zip(&mut moments).zip(&mut missing) {
                    if value.is_finite() {
                        *total += weight;
                        let apart = f64::from(*value) - *mean;
                        *mean += apart * weight / *total;
                        *squares += weight * apart * (f64::from(*value) - *mean);
                    } else {
                        *missing = true;
                    }
                }
            }
        })?;
        let scale = |[total, mean, squares]: &[f64; 3]| {
            let deviation = (squares / total).sqrt();
            let scale = (1.0 / deviation) as f32;
            // less than the spacing of single-precision numbers is rounding, not spread
            if scale.is_finite() && deviation > ROUNDING * mean.abs() { scale } else { 0.0 }
        };
        Ok(Self {
            means: moments.iter().map(|[_, mean, _]| *mean as f32).collect(),
            scales: moments.iter().map(scale).collect(),
            indicators: (0..width as u32).filter(|column| missing[*column as usize]).collect(),
        })
    }

    /// Standardised inputs with their indicators.
    pub(super) fn width(&self) -> usize {
        self.means.len() + self.indicators.len()
    }

    /// The input that a standardised one stands for.
    pub(super) fn input(&self, at: usize) -> usize {
        at.checked_sub(self.means.len()).map_or(at, |at| self.indicators[at] as usize)
    }

    /// A row of raw values as standardised ones and indicators.
    pub(super) fn apply(&self, row: &[f32], out: &mut [f32]) {
        let (own, indicators) = out.split_at_mut(row.len());
        for (((out, value), mean), scale) in own.iter_mut().zip(row).zip(&self.means).zip(&self.scales) {
            let scaled = (f64::from(*value) - f64::from(*mean)) * f64::from(*scale);
            *out = if value.is_finite() { scaled.clamp(-LIMIT, LIMIT) as f32 } else { 0.0 };
        }
        for (out, column) in indicators.iter_mut().zip(&self.indicators) {
            *out = if row[*column as usize].is_finite() { 0.0 } else { 1.0 };
        }
    }

    /// Little endian: `f32` mean an input, `f32` scale an input, `u32` indicators, `u32` input of each.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.means.iter().chain(&self.scales).flat_map(|v| v.to_le_bytes()));
        bytes.extend((self.indicators.len() as u32).to_le_bytes());
        bytes.extend(self.indicators.iter().flat_map(|column| column.to_le_bytes()));
    }

    /// Reads what [`Standard::write`] wrote and believes nothing of it.
    pub(super) fn read(reader: &mut Reader<'_>, inputs: usize) -> Result<Self, ModelError> {
        let (means, scales) = (reader.f32s(inputs)?, reader.f32s(inputs)?);
        let count = reader.u32()? as usize;
        if count > inputs {
            return Err(ModelError::Weights(format!("{count} indicators of {inputs} inputs")));
        }
        let indicators: Vec<u32> = (0..count).map(|_| reader.u32()).collect::<Result<_, _>>()?;
        let in_order =
            indicators.is_sorted_by(|a, b| a < b) && indicators.last().is_none_or(|i| (*i as usize) < inputs);
        let usable = means.iter().all(|mean| mean.is_finite()) && scales.iter().all(|s| (0.0..=f32::MAX).contains(s));
        if in_order && usable {
            Ok(Self { means, scales, indicators })
        } else {
            Err(ModelError::Weights("means, scales or indicators of no fit".into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_values_are_the_mean_and_say_so() {
        let standard = Standard { means: vec![1.0, 5.0], scales: vec![0.5, 0.0], indicators: vec![0] };
        let mut out = [9.0; 3];
        standard.apply(&[2.0, 7.0], &mut out);
        assert_eq!(out, [0.5, 0.0, 0.0]);
        standard.apply(&[f32::NAN, f32::INFINITY], &mut out);
        assert_eq!(out, [0.0, 0.0, 1.0]);
        standard.apply(&[f32::MAX, f32::MIN], &mut out);
        assert_eq!(out, [10.0, 0.0, 0.0]);
        assert_eq!([0, 1, 2].map(|at| standard.input(at)), [0, 1, 0]);
    }

    #[test]
    fn damaged_scales_are_refused() {
        let standard = Standard { means: vec![1.0, 5.0], scales: vec![0.5, 0.0], indicators: vec![0, 1] };
        let mut good = Vec::new();
        standard.write(&mut good);
        assert_eq!(Standard::read(&mut Reader::new(&good), 2).unwrap(), standard);
        for (what, at, lie) in [
            ("mean", 0, f32::NAN.to_le_bytes()),
            ("scale", 8, (-1.0f32).to_le_bytes()),
            ("more indicators than inputs", 16, 3u32.to_le_bytes()),
            ("twice the same", 20, 1u32.to_le_bytes()),
            ("no such input", 24, 2u32.to_le_bytes()),
        ] {
            let mut bytes = good.clone();
            bytes[at..at + 4].copy_from_slice(&lie);
            assert!(Standard::read(&mut Reader::new(&bytes), 2).is_err(), "{what}");
        }
    }
}
