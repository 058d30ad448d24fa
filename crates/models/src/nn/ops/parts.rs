//! What nets on slices share: weights one after another, means over own steps, and the last layer.

use stakeout_kernels::linear::{self, Dense, Gradient, Then};
use stakeout_kernels::product::Start;
use stakeout_kernels::simd::Level;

use super::whole::Windows;

/// Takes the next weights off a list.
pub(crate) fn take<'a>(rest: &mut &'a [f32], len: usize) -> &'a [f32] {
    let (own, others) = rest.split_at(len);
    *rest = others;
    own
}

/// Takes the place of the next gradients off a list.
#[allow(clippy::mut_mut)] // the list itself becomes shorter
pub(crate) fn take_mut<'a>(rest: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (own, others) = std::mem::take(rest).split_at_mut(len);
    *rest = others;
    own
}

/// Takes a dense layer off a list.
pub(crate) fn take_dense<'a>(rest: &mut &'a [f32], inputs: usize, outputs: usize, then: Then) -> Dense<'a> {
    Dense { w: take(rest, inputs * outputs), b: take(rest, outputs), then }
}

/// Takes the places of a dense layer's gradients off a list.
#[allow(clippy::mut_mut)] // the list itself becomes shorter
pub(crate) fn take_gradient<'a>(rest: &mut &'a mut [f32], inputs: usize, outputs: usize) -> Gradient<'a> {
    Gradient { w: take_mut(rest, inputs * outputs), b: take_mut(rest, outputs) }
}

/// Writes 1 for each own step and 0 for each padding step; whether there is any padding.
pub(crate) fn own_steps(batch: &Windows<'_>, own: &mut Vec<f32>) -> bool {
    own.clear();
    for length in batch.lengths {
        own.extend((0..batch.steps).map(|step| f32::from(u8::from(step < *length as usize))));
    }
    batch.lengths.iter().any(|length| (*length as usize) < batch.steps)
}

/// The mean of a series over each window's own steps; 0 for a window without any.
///
/// # Shapes
/// - `series`: `[rows, steps, width]`
/// - `mean`: `[rows, width]`
pub(crate) fn mean(batch: &Windows<'_>, width: usize, series: &[f32], mean: &mut [f32]) {
    let windows = series.chunks_exact(batch.steps * width).zip(mean.chunks_exact_mut(width));
    for ((series, mean), length) in windows.zip(batch.lengths) {
        mean.fill(0.0);
        let share = 1.0 / (*length).max(1) as f32;
        for step in series.chunks_exact(width).take(*length as usize) {
            mean.iter_mut().zip(step).for_each(|(sum, x)| *sum += share * x);
        }
    }
}

/// The gradient of [`mean`] by the series.
pub(crate) fn mean_gradient(batch: &Windows<'_>, width: usize, by: &[f32], gradient: &mut [f32]) {
    let windows = gradient.chunks_exact_mut(batch.steps * width).zip(by.chunks_exact(width));
    for ((gradient, by), length) in windows.zip(batch.lengths) {
        let share = 1.0 / (*length).max(1) as f32;
        for (step, gradient) in gradient.chunks_exact_mut(width).enumerate() {
            let share = if step < *length as usize { share } else { 0.0 };
            gradient.iter_mut().zip(by).for_each(|(g, by)| *g = share * by);
        }
    }
}

/// The last layer, behind a dropout.
#[derive(Debug, Default)]
pub(crate) struct Head {
    /// What the layer reads.
    read: Vec<f32>,
    by: Vec<f32>,
    scratch: linear::Scratch,
}

impl Head {
    /// Makes the logits.
    pub(crate) fn forward(&mut self, layer: Dense<'_>, hidden: &[f32], mask: Option<&[f32]>, logits: &mut [f32]) {
        self.read.clear();
        match mask {
            Some(mask) => self.read.extend(hidden.iter().zip(mask).map(|(x, mask)| x * mask)),
            None => self.read.extend_from_slice(hidden),
        }
        layer.forward(Level::best(), &self.read, &mut self.scratch, logits);
    }

    /// Makes the gradients by the layer and by what it was given.
    pub(crate) fn backward(
        &mut self,
        layer: Dense<'_>,
        mask: Option<&[f32]>,
        by: &[f32],
        gradient: Gradient<'_>,
        dhidden: &mut Vec<f32>,
    ) {
        self.by.clear();
        self.by.extend_from_slice(by);
        dhidden.resize(self.read.len(), 0.0);
        let dx = Some((&mut dhidden[..], Start::Zero));
        layer.backward(Level::best(), &self.read, &[], &mut self.by, &mut self.scratch, gradient, dx);
        if let Some(mask) = mask {
            dhidden.iter_mut().zip(mask).for_each(|(d, mask)| *d *= mask);
        }
    }
}

/// Gives a vector a length; what it held is lost.
pub(crate) fn resized(values: &mut Vec<f32>, len: usize) -> &mut [f32] {
    values.resize(len, 0.0);
    values
}
