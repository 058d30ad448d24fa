//! From a gathered batch to what a net is fed.

use burn::tensor::{Device, Tensor, TensorData};
use stakeout_core::{Batch, InputKind, ModelError};

/// Standardised values are held within this many deviations: a shifted host must not drive a net to where it was
/// never trained.
const LIMIT: f32 = 10.0;

/// A batch on a device.
pub(crate) struct Input {
    /// Values, then the share missing of each channel as a constant series.
    ///
    /// # Shapes
    /// `[batch, steps, 2 · channels]`
    pub(crate) values: Tensor<3>,
    /// 1 where a step belongs to its window, 0 where it is padding.
    ///
    /// # Shapes
    /// `[batch, steps]`
    pub(crate) own: Tensor<2>,
    /// Own steps of each window, at least 1 so that it can be divided by.
    ///
    /// # Shapes
    /// `[batch, 1]`
    pub(crate) lengths: Tensor<2>,
    /// Whether any step is padding.
    pub(crate) padded: bool,
}

/// Width of a step of [`Input::values`] for a number of channels.
pub(crate) fn width(channels: usize) -> usize {
    2 * channels
}

impl Input {
    /// Fills gaps forward, clamps, appends the share missing of each channel and lays the batch out in time order.
    /// A value that is not finite counts as missing. What a padding step held never matters: it becomes 0.
    ///
    /// # Errors
    /// [`ModelError::Geometry`] for a batch that is no tensor batch or is not consistent in itself.
    pub(crate) fn new(mut batch: Batch, device: &Device) -> Result<Self, ModelError> {
        let geometry = batch.geometry();
        let (rows, channels, steps) = (batch.rows(), geometry.channels, geometry.steps);
        let consistent = batch.values.len() == rows * batch.row_len()
            && batch.lengths.iter().all(|length| *length as usize <= steps);
        if batch.kind() != InputKind::Tensor || !consistent {
            return Err(ModelError::Geometry {
                expected: format!("tensor input of {geometry}, at most {steps} own steps a window"),
                got: format!(
                    "{} input, {} values for {rows} windows, up to {} own steps",
                    batch.kind(),
                    batch.values.len(),
                    batch.lengths.iter().max().unwrap_or(&0)
                ),
            });
        }
        for value in &mut batch.values {
            if !value.is_finite() {
                *value = f32::NAN;
            }
        }
        let mut missing = Vec::new();
        batch.forward_fill(&mut missing);

        let width = width(channels);
        let mut values = vec![0.0f32; rows * steps * width];
        let mut own = vec![0.0f32; rows * steps];
        for (row, length) in batch.lengths.iter().enumerate() {
            let series = batch.row(row);
            for step in 0..*length as usize {
                own[row * steps + step] = 1.0;
                let at = (row * steps + step) * width;
                for channel in 0..channels {
                    values[at + channel] = series[channel * steps + step].clamp(-LIMIT, LIMIT);
                    values[at + channels + channel] = missing[row * channels + channel];
                }
            }
        }
        let lengths: Vec<f32> = batch.lengths.iter().map(|length| *length.max(&1) as f32).collect();
        Ok(Self {
            values: Tensor::from_data(TensorData::new(values, [rows, steps, width]), device),
            own: Tensor::from_data(TensorData::new(own, [rows, steps]), device),
            lengths: Tensor::from_data(TensorData::new(lengths, [rows, 1]), device),
            padded: batch.lengths.iter().any(|length| (*length as usize) < steps),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::weights::read;
    use stakeout_core::Geometry;

    const GEOMETRY: Geometry = Geometry { channels: 2, steps: 3, features: 0, classes: 2 };
    const GAP: f32 = f32::NAN;

    fn values(rows: &[f32], lengths: &[u32]) -> Vec<f32> {
        let mut batch = Batch::new(InputKind::Tensor, GEOMETRY);
        batch.values = rows.to_vec();
        batch.lengths = lengths.to_vec();
        read(Input::new(batch, &Device::flex()).unwrap().values).unwrap()
    }

    #[test]
    fn laid_out_in_time_with_the_share_missing_behind() {
        let got = values(&[1.0, GAP, 3.0, GAP, GAP, 6.0], &[3]);
        let third = 1.0 / 3.0;
        let expected = [1.0, 6.0, third, 2.0 * third, 1.0, 6.0, third, 2.0 * third, 3.0, 6.0, third, 2.0 * third];
        assert_eq!(got, expected);
    }

    #[test]
    fn clamped_and_finite_whatever_comes() {
        let got = values(&[1e30, -1e30, f32::INFINITY, f32::NEG_INFINITY, GAP, GAP], &[3]);
        let third = 1.0 / 3.0;
        assert_eq!(got, [10.0, 0.0, third, 1.0, -10.0, 0.0, third, 1.0, -10.0, 0.0, third, 1.0]);
    }

    #[test]
    fn padding_is_zero_whatever_it_held() {
        let plain = values(&[1.0, 2.0, 0.0, 4.0, 5.0, 0.0], &[2]);
        let noisy = values(&[1.0, 2.0, 9.0, 4.0, 5.0, f32::INFINITY], &[2]);
        assert_eq!(plain, noisy);
        assert_eq!(plain[8..], [0.0; 4]);
        assert_eq!(values(&[GAP; 6], &[0]), [0.0; 12]);
    }

    #[test]
    fn an_inconsistent_batch_is_an_error() {
        let mut batch = Batch::new(InputKind::Tensor, GEOMETRY);
        batch.values = vec![0.0; 6];
        batch.lengths = vec![4];
        assert!(Input::new(batch.clone(), &Device::flex()).is_err());
        batch.lengths = vec![3, 3];
        assert!(Input::new(batch, &Device::flex()).is_err());
        assert!(Input::new(Batch::new(InputKind::Summary, GEOMETRY), &Device::flex()).is_err());
    }
}
