//! Fitted nets on slices: the same as `Net::forward` after training, through the kernels.
//!
//! A live process asks about one window at a time. The library's tensors allocate for every operation, and its products are
//! made for batches; here weights are laid out once, and nothing is allocated when as many windows were seen before.

use std::sync::Arc;

use stakeout_core::Scratch;
use stakeout_kernels::linear::{self, Then};
use stakeout_kernels::simd::Level;

use super::export::NamedWeights;
use super::ops::parts::resized;
use super::ops::whole::{Mode, Out, Whole, Windows};
use super::prepare::Prepared;

/// A fitted net, ready to answer.
pub(crate) trait Infer: Send + Sync {
    /// Unnormalised log probabilities. A row's result depends on no other row.
    ///
    /// # Shapes
    /// `logits`: `[rows, classes]`
    fn logits(&self, input: &Prepared, scratch: &mut Scratch, logits: &mut [f32]);
}

/// A net that answers with the operation that it is trained with.
pub(crate) struct OnSlices<W> {
    net: Arc<W>,
    weights: Vec<f32>,
}

impl<W: Whole> OnSlices<W> {
    /// The net with all its weights.
    pub(crate) fn new(net: Arc<W>, weights: &NamedWeights<'_>) -> Self {
        Self { net, weights: weights.values.to_vec() }
    }
}

impl<W: Whole> Infer for OnSlices<W> {
    fn logits(&self, input: &Prepared, scratch: &mut Scratch, logits: &mut [f32]) {
        let (tape, hidden): &mut (W::Tape, Vec<f32>) = scratch.state();
        let hidden = resized(hidden, input.rows() * self.net.widths()[0]);
        let Prepared { values, lengths, steps, constant, .. } = input;
        let batch = Windows { values, lengths, steps: *steps, constant: *constant };
        self.net.forward(&batch, &self.weights, Mode::Infer, tape, Out { hidden, logits });
    }
}

/// A dense layer.
pub(crate) struct Dense {
    w: Vec<f32>,
    b: Vec<f32>,
}

impl Dense {
    /// The layer with the weights `<name>.w` and `<name>.b`.
    pub(crate) fn new(weights: &NamedWeights<'_>, name: &str) -> Self {
        Self { w: weights.get(&format!("{name}.w")).to_vec(), b: weights.get(&format!("{name}.b")).to_vec() }
    }

    /// How many numbers it makes of a row.
    pub(crate) fn outputs(&self) -> usize {
        self.b.len()
    }

    /// Runs some rows.
    ///
    /// # Shapes
    /// - `x`: `[rows, inputs]`
    /// - `y`: `[rows, outputs]`
    pub(crate) fn run(&self, level: Level, x: &[f32], then: Then, scratch: &mut linear::Scratch, y: &mut [f32]) {
        linear::Dense { w: &self.w, b: &self.b, then }.forward(level, x, scratch, y);
    }
}

/// The mean of a series over each window's own steps; 0 for a window without any.
///
/// # Shapes
/// - `series`: `[rows, steps, width]`
/// - `mean`: `[rows, width]`
pub(crate) fn mean_of_own_steps(input: &Prepared, series: &[f32], mean: &mut [f32]) {
    let width = mean.len() / input.rows().max(1);
    let windows = series.chunks_exact((input.steps * width).max(1)).zip(mean.chunks_exact_mut(width.max(1)));
    for ((series, mean), length) in windows.zip(&input.lengths) {
        mean.fill(0.0);
        for step in series.chunks_exact(width).take(*length as usize) {
            mean.iter_mut().zip(step).for_each(|(sum, x)| *sum += x);
        }
        let share = 1.0 / (*length).max(1) as f32;
        mean.iter_mut().for_each(|sum| *sum *= share);
    }
}
