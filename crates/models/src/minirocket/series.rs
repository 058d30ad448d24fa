//! Windows as series without gaps.

use stakeout_core::{Batch, InputKind, ModelError};

/// Largest size of a value: a sum over nine taps and nine channels stays finite.
const LIMIT: f32 = 1e30;

/// Windows with their gaps filled, and what was missing.
pub(super) struct Series {
    batch: Batch,
    /// Windows × channels: the share of a window's own steps that were missing.
    shares: Vec<f32>,
}

impl Series {
    /// Fills the gaps of the windows; a value that is not finite counts as missing.
    ///
    /// # Errors
    /// [`ModelError::Geometry`] when a window has more own steps than its row holds.
    pub(super) fn new(mut batch: Batch) -> Result<Self, ModelError> {
        let steps = batch.geometry().steps;
        if batch.kind() != InputKind::Tensor || batch.lengths.iter().any(|length| *length as usize > steps) {
            return Err(ModelError::Geometry {
                expected: format!("tensor input with at most {steps} own steps a window"),
                got: format!("{} input with {}", batch.kind(), batch.lengths.iter().max().unwrap_or(&0)),
            });
        }
        for value in &mut batch.values {
            *value = if value.is_finite() { value.clamp(-LIMIT, LIMIT) } else { f32::NAN };
        }
        let mut shares = Vec::new();
        batch.forward_fill(&mut shares);
        Ok(Self { batch, shares })
    }

    pub(super) fn len(&self) -> usize {
        self.batch.rows()
    }

    /// Own steps of a window.
    pub(super) fn length(&self, window: usize) -> usize {
        self.batch.lengths[window] as usize
    }

    /// One channel of a window, as long as the geometry says; own steps first.
    pub(super) fn channel(&self, window: usize, channel: usize) -> &[f32] {
        let steps = self.batch.geometry().steps;
        &self.batch.row(window)[channel * steps..(channel + 1) * steps]
    }

    /// Whether anything was observed in a window.
    pub(super) fn observed(&self, window: usize) -> bool {
        self.shares(window).iter().any(|share| *share < 1.0)
    }

    /// Share missing of each channel of a window.
    pub(super) fn shares(&self, window: usize) -> &[f32] {
        let channels = self.batch.geometry().channels;
        &self.shares[window * channels..(window + 1) * channels]
    }
}
