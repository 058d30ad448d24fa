//! From a gathered batch to what a net is fed.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use stakeout_core::{Batch, Geometry, InputKind, ModelError};

use super::prepare::Prepared;

/// A batch on a device.
pub(crate) struct Input {
    /// Values, then how much of each was missing. Of a window: each channel, then its share missing as a constant series.
    /// Of a summary, as one step: each feature, then 1 where it was missing.
    ///
    /// # Shapes
    /// `[batch, steps, 2 · channels]` or `[batch, 1, 2 · features]`
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
    /// Own steps of each window, as they are.
    pub(crate) own_steps: Arc<[u32]>,
    /// How many of the last values of a step are the same at all own steps of a window.
    pub(crate) constant: usize,
    /// Whether any step is padding.
    pub(crate) padded: bool,
}

/// Width of a step of [`Input::values`].
pub(crate) fn width(kind: InputKind, geometry: Geometry) -> usize {
    2 * match kind {
        InputKind::Summary => geometry.features,
        InputKind::Tensor => geometry.channels,
    }
}

impl Input {
    /// Fills what is missing, clamps, appends how much was missing and lays the batch out in time order, as [`Prepared`]
    /// says.
    ///
    /// # Errors
    /// [`ModelError::Geometry`] for a batch that is not consistent in itself.
    pub(crate) fn new(batch: &Batch, device: &Device) -> Result<Self, ModelError> {
        let mut prepared = Prepared::default();
        prepared.fill(batch, 0..batch.rows())?;
        let padded = prepared.padded();
        let Prepared { values, lengths, steps, width, constant } = prepared;
        let rows = lengths.len();
        let own =
            lengths.iter().flat_map(|length| (0..steps).map(move |step| f32::from(u8::from(step < *length as usize))));
        let own: Vec<f32> = own.collect();
        let divisors: Vec<f32> = lengths.iter().map(|length| *length.max(&1) as f32).collect();
        Ok(Self {
            values: Tensor::from_data(TensorData::new(values, [rows, steps, width]), device),
            own: Tensor::from_data(TensorData::new(own, [rows, steps]), device),
            lengths: Tensor::from_data(TensorData::new(divisors, [rows, 1]), device),
            own_steps: lengths.into(),
            constant,
            padded,
        })
    }

    /// The mean of a series over each window's own steps; 0 for a window without any.
    ///
    /// # Shapes
    /// - `series`: `[batch, steps, width]`
    /// - output: `[batch, width]`
    pub(crate) fn mean(&self, series: Tensor<3>) -> Tensor<2> {
        let share = self.own.clone() / self.lengths.clone();
        share.unsqueeze_dim::<3>(1).matmul(series).squeeze_dim(1)
    }

    /// A series with padding steps at 0.
    ///
    /// # Shapes
    /// - `series` and output: `[batch, steps, width]`
    pub(crate) fn mask(&self, series: Tensor<3>) -> Tensor<3> {
        if self.padded { series * self.own.clone().unsqueeze_dim(2) } else { series }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::weights::read;

    const GEOMETRY: Geometry = Geometry { channels: 2, steps: 3, features: 4, classes: 2 };
    const GAP: f32 = f32::NAN;

    fn values(rows: &[f32], lengths: &[u32]) -> Vec<f32> {
        let mut batch = Batch::new(InputKind::Tensor, GEOMETRY);
        batch.values = rows.to_vec();
        batch.lengths = lengths.to_vec();
        read(Input::new(&batch, &Device::flex()).unwrap().values).unwrap()
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
        assert!(Input::new(&batch, &Device::flex()).is_err());
        batch.lengths = vec![3, 3];
        assert!(Input::new(&batch, &Device::flex()).is_err());
        let mut batch = Batch::new(InputKind::Summary, GEOMETRY);
        batch.values = vec![0.0; 5];
        batch.lengths = vec![3];
        assert!(Input::new(&batch, &Device::flex()).is_err());
    }

    #[test]
    fn a_summary_says_what_was_missing() {
        let mut batch = Batch::new(InputKind::Summary, GEOMETRY);
        batch.values = vec![1.0, GAP, 1e9, f32::INFINITY, -2.0, 0.0, -1e9, 3.0];
        batch.lengths = vec![0, 3];
        let input = Input::new(&batch, &Device::flex()).unwrap();
        assert_eq!(input.values.dims(), [2, 1, width(InputKind::Summary, GEOMETRY)]);
        let expected = [[1.0, 0.0, 10.0, 0.0, 0.0, 1.0, 0.0, 1.0], [-2.0, 0.0, -10.0, 3.0, 0.0, 0.0, 0.0, 0.0]];
        assert_eq!(read(input.values).unwrap(), expected.concat());
        assert!(!input.padded);
    }

    #[test]
    fn a_mean_is_over_own_steps() {
        let mut batch = Batch::new(InputKind::Tensor, GEOMETRY);
        batch.values = vec![0.0; 18];
        batch.lengths = vec![2, 0, 3];
        let input = Input::new(&batch, &Device::flex()).unwrap();
        let series: Vec<f32> = (0..18).map(|x| x as f32).collect();
        let series = Tensor::<3>::from_data(TensorData::new(series, [3, 3, 2]), &Device::flex());
        for (mean, expected) in read(input.mean(series.clone())).unwrap().iter().zip([1.0, 2.0, 0.0, 0.0, 14.0, 15.0]) {
            assert!((mean - expected).abs() < 1e-5, "{mean} and {expected}");
        }
        let masked = read(input.mask(series)).unwrap();
        assert_eq!(masked[..6], [0.0, 1.0, 2.0, 3.0, 0.0, 0.0]);
        assert_eq!(masked[6..12], [0.0; 6]);
    }
}
