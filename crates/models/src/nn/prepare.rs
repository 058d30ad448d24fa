//! Windows as every net reads them, on slices.

use std::ops::Range;

use stakeout_core::{Batch, InputKind, ModelError};
use stakeout_kernels::product::transpose_rows;

/// Standardised values are held within this many deviations: a shifted host must not drive a net to where it was
/// never trained.
pub(super) const LIMIT: f32 = 10.0;

/// Some windows: filled, clamped, with how much was missing, in time order. Its memory is used again.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// Values, then how much of each was missing. Of a window: each channel, then its share missing as a constant series.
    /// Of a summary, as one step: each feature, then 1 where it was missing. Padding steps are 0.
    ///
    /// # Shapes
    /// `[rows, steps, width]`
    pub(crate) values: Vec<f32>,
    /// Own steps of each window; 1 of a summary.
    pub(crate) lengths: Vec<u32>,
    /// Steps of every window, padding included.
    pub(crate) steps: usize,
    /// Numbers of a step.
    pub(crate) width: usize,
    /// How many of the last numbers of a step are the same at all own steps of a window.
    pub(crate) constant: usize,
}

impl Prepared {
    /// Takes some rows of a batch. A value that is not finite counts as missing. A gap of a window is filled forward, a
    /// gap at its begin by the first value, a channel without any by 0; a feature of a summary becomes 0, the mean of the
    /// training side.
    ///
    /// # Errors
    /// [`ModelError::Geometry`] for a batch that is not consistent in itself.
    ///
    /// # Panics
    /// When `rows` are not rows of the batch.
    pub(crate) fn fill(&mut self, batch: &Batch, rows: Range<usize>) -> Result<(), ModelError> {
        let geometry = batch.geometry();
        let short =
            batch.kind() == InputKind::Summary || batch.lengths.iter().all(|length| *length as usize <= geometry.steps);
        if batch.values.len() != batch.rows() * batch.row_len() || !short {
            return Err(ModelError::Geometry {
                expected: format!("input of {geometry}, at most {} own steps a window", geometry.steps),
                got: format!(
                    "{} input, {} values for {} windows, up to {} own steps",
                    batch.kind(),
                    batch.values.len(),
                    batch.rows(),
                    batch.lengths.iter().max().unwrap_or(&0)
                ),
            });
        }
        self.values.clear();
        self.lengths.clear();
        match batch.kind() {
            InputKind::Summary => {
                (self.steps, self.width, self.constant) = (1, 2 * geometry.features, 0);
                self.lengths.resize(rows.len(), 1);
                rows.for_each(|row| self.summary(batch.row(row)));
            }
            InputKind::Tensor => {
                (self.steps, self.width, self.constant) = (geometry.steps, 2 * geometry.channels, geometry.channels);
                self.lengths.extend_from_slice(&batch.lengths[rows.clone()]);
                self.values.resize(rows.len() * self.steps * self.width, 0.0);
                for (at, row) in rows.enumerate() {
                    let into = &mut self.values[at * self.steps * self.width..][..self.steps * self.width];
                    window(batch.row(row), self.steps, batch.lengths[row] as usize, into);
                }
            }
        }
        Ok(())
    }

    fn summary(&mut self, row: &[f32]) {
        let seen = row.iter().map(|value| if value.is_finite() { value.clamp(-LIMIT, LIMIT) } else { 0.0 });
        self.values.extend(seen);
        self.values.extend(row.iter().map(|value| f32::from(u8::from(!value.is_finite()))));
    }

    /// How many windows.
    pub(crate) fn rows(&self) -> usize {
        self.lengths.len()
    }

    /// Whether any step is padding.
    pub(crate) fn padded(&self) -> bool {
        self.lengths.iter().any(|length| (*length as usize) < self.steps)
    }
}

/// From channels of steps to steps of channels; `into` holds zeros.
fn window(row: &[f32], steps: usize, own: usize, into: &mut [f32]) {
    let channels = row.len() / steps;
    if own == steps && row.iter().fold(true, |all, value| all & value.is_finite()) {
        transpose_rows(row, [channels, steps], (&mut *into, 2 * channels));
        for step in into.chunks_exact_mut(2 * channels) {
            step[..channels].iter_mut().for_each(|value| *value = value.clamp(-LIMIT, LIMIT));
        }
        return;
    }
    for (channel, series) in row.chunks_exact(steps).enumerate() {
        let series = &series[..own];
        let mut previous = series.iter().copied().find(|value| value.is_finite()).unwrap_or(0.0).clamp(-LIMIT, LIMIT);
        let mut missing = 0u32;
        for (value, step) in series.iter().zip(into.chunks_exact_mut(2 * channels)) {
            if value.is_finite() {
                previous = value.clamp(-LIMIT, LIMIT);
            } else {
                missing += 1;
            }
            step[channel] = previous;
        }
        if missing > 0 {
            let share = missing as f32 / own as f32;
            into.chunks_exact_mut(2 * channels).take(own).for_each(|step| step[channels + channel] = share);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stakeout_core::Geometry;

    use super::*;

    proptest! {
        /// Against the batch's own forward fill.
        #[test]
        fn windows_are_filled_as_batches_are(
            mut cells in prop::collection::vec(prop_oneof![
                6 => (-400i32..400).prop_map(|value| value as f32 / 16.0),
                1 => Just(f32::NAN),
                1 => Just(f32::INFINITY),
            ], 60),
            mut lengths in prop::collection::vec(0u32..6, 4),
            from in 0usize..5,
            whole: bool,
        ) {
            if whole {
                cells.iter_mut().filter(|value| !value.is_finite()).for_each(|value| *value = 1.5);
                lengths.fill(5);
            }
            let geometry = Geometry { channels: 3, steps: 5, features: 15, classes: 2 };
            let mut batch = Batch::new(InputKind::Tensor, geometry);
            batch.values.clone_from(&cells);
            batch.lengths.clone_from(&lengths);
            let mut filled = batch.clone();
            filled.values.iter_mut().filter(|value| value.is_infinite()).for_each(|value| *value = f32::NAN);
            let mut share = Vec::new();
            filled.forward_fill(&mut share);

            let mut prepared = Prepared { values: vec![9.0; 7], ..Prepared::default() };
            prepared.fill(&batch, from.min(4)..4).unwrap();
            prop_assert_eq!(prepared.rows(), 4 - from.min(4));
            prop_assert_eq!([prepared.steps, prepared.width, prepared.constant], [5, 6, 3]);
            for (at, row) in (from.min(4)..4).enumerate() {
                for (step, got) in prepared.values[at * 30..][..30].chunks_exact(6).enumerate() {
                    let own = step < lengths[row] as usize;
                    for channel in 0..3 {
                        let value = filled.row(row)[channel * 5 + step].clamp(-LIMIT, LIMIT);
                        let missing = share[row * 3 + channel];
                        let expected = if own { [value, missing] } else { [0.0; 2] };
                        prop_assert_eq!([got[channel], got[3 + channel]], expected);
                    }
                }
            }
        }
    }
}
