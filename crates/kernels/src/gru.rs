//! Gated recurrent units (Cho et al. 2014) over whole sequences, forwards and backwards, with the reset gate applied after
//! the product with the state ("linear before reset", as in cuDNN and `PyTorch`):
//!
//! ```text
//! r = σ(x·Wr + h·Ur + br)    z = σ(x·Wz + h·Uz + bz)    n = tanh(x·Wn + bn + r ⊙ (h·Un + cn))    h' = n + z ⊙ (h − n)
//! ```
//!
//! The gates stand side by side in the order reset, update, new.

#![allow(clippy::inline_always)] // vector code must be compiled as part of the function that turns the instruction set on

use pulp::Simd;

use crate::activation::{sigmoid, tanh};
use crate::recurrent::{self, Cell, Held, Keep, Matrices, MatrixGradients, ReadGradient, Sequences, Tape, blocks};
use crate::simd::{Level, load, parts, store};

/// The weights of a layer.
#[derive(Debug, Clone, Copy)]
pub struct Weights<'a> {
    /// `[inputs, 3 · width]`
    pub input: &'a [f32],
    /// `[width, 3 · width]`
    pub hidden: &'a [f32],
    /// `[3 · width]`
    pub input_bias: &'a [f32],
    /// `[3 · width]`
    pub hidden_bias: &'a [f32],
    /// Width of the state.
    pub width: usize,
}

/// Where the gradients by the weights go, in their shapes, and the gradient by the inputs where it is asked for.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// `[inputs, 3 · width]`
    pub input: &'a mut [f32],
    /// `[width, 3 · width]`
    pub hidden: &'a mut [f32],
    /// `[3 · width]`
    pub input_bias: &'a mut [f32],
    /// `[3 · width]`
    pub hidden_bias: &'a mut [f32],
    /// `[rows, steps, inputs]`; 0 at padding steps. Every input counts as one that differs from step to step.
    pub values: Option<&'a mut [f32]>,
}

/// Runs a layer from a zero state; [`Tape::series`] and [`Tape::ends`] read it off. Allocates nothing when the tape has run
/// as large a batch before.
///
/// # Panics
/// When a length contradicts the sizes.
pub fn forward(level: Level, weights: Weights<'_>, sequences: &Sequences<'_>, keep: Keep, tape: &mut Tape) {
    let Weights { input_bias, hidden_bias, width: h, .. } = weights;
    assert!(input_bias.len() == 3 * h && hidden_bias.len() == 3 * h, "a bias a gate and unit");
    let mut bias = std::mem::take(&mut tape.bias);
    bias.clear();
    bias.extend_from_slice(input_bias);
    bias.extend_from_slice(&hidden_bias[2 * h..]);
    bias.iter_mut().zip(&hidden_bias[..2 * h]).for_each(|(sum, hidden)| *sum += hidden);
    recurrent::forward::<Gru>(level, weights.matrices(), &bias, sequences, keep, tape);
    tape.bias = bias;
}

/// The gradient of a pass with [`Keep::All`], whose tape it uses up.
///
/// # Panics
/// When a length contradicts the sizes, or the tape is of another pass.
pub fn backward(
    level: Level,
    weights: Weights<'_>,
    sequences: &Sequences<'_>,
    read: ReadGradient<'_>,
    tape: &mut Tape,
    out: Gradients<'_>,
) {
    let h = weights.width;
    let Gradients { input, hidden, input_bias, hidden_bias, values } = out;
    let matrices = MatrixGradients { input, hidden, values };
    let sums = recurrent::backward::<Gru>(level, weights.matrices(), sequences, read, tape, matrices);
    input_bias.copy_from_slice(&sums[..3 * h]);
    hidden_bias[..2 * h].copy_from_slice(&sums[..2 * h]);
    hidden_bias[2 * h..].copy_from_slice(&sums[3 * h..]);
}

impl<'a> Weights<'a> {
    fn matrices(&self) -> Matrices<'a> {
        Matrices { input: self.input, hidden: self.hidden, width: self.width }
    }
}

/// The blocks of a row: reset, update, new, and the new gate's product with the state.
struct Gru;

impl Cell for Gru {
    const GATES: usize = 3;
    const KEPT: usize = 1;
    const HELD: &'static [Held] = &[Held { from: 0, gates: 2, to: 0 }, Held { from: 2, gates: 1, to: 3 }];

    #[inline(always)]
    fn forward<S: Simd>(simd: S, width: usize, gates: &mut [f32], before: &[f32], after: &mut [f32]) {
        let [r, z, n, held] = blocks(gates, width);
        let (before, after) = (&before[..width], &mut after[..width]);
        parts::<S>(
            width,
            #[inline(always)]
            |part| {
                let reset = sigmoid(simd, load(simd, r, part));
                let update = sigmoid(simd, load(simd, z, part));
                let new = tanh(simd, simd.mul_add_e_f32s(reset, load(simd, held, part), load(simd, n, part)));
                let state = simd.mul_add_e_f32s(update, simd.sub_f32s(load(simd, before, part), new), new);
                store(simd, r, part, reset);
                store(simd, z, part, update);
                store(simd, n, part, new);
                store(simd, after, part, state);
            },
        );
    }

    #[inline(always)]
    fn backward<S: Simd>(simd: S, width: usize, gates: &mut [f32], before: &[f32], _after: &[f32], carry: &mut [f32]) {
        let [r, z, n, held] = blocks(gates, width);
        let (before, carry) = (&before[..width], &mut carry[..width]);
        let one = simd.splat_f32s(1.0);
        parts::<S>(
            width,
            #[inline(always)]
            |part| {
                let [reset, update, new] = [load(simd, r, part), load(simd, z, part), load(simd, n, part)];
                let by_state = load(simd, carry, part);
                let rest = simd.sub_f32s(one, update);
                let moved = simd.mul_f32s(by_state, simd.sub_f32s(load(simd, before, part), new));
                let by_update = simd.mul_f32s(moved, simd.mul_f32s(update, rest));
                let slope = simd.negate_mul_add_e_f32s(new, new, one);
                let by_new = simd.mul_f32s(simd.mul_f32s(by_state, rest), slope);
                let by_held = simd.mul_f32s(by_new, reset);
                let product = simd.mul_f32s(by_new, load(simd, held, part));
                let by_reset = simd.mul_f32s(product, simd.mul_f32s(reset, simd.sub_f32s(one, reset)));
                store(simd, r, part, by_reset);
                store(simd, z, part, by_update);
                store(simd, n, part, by_new);
                store(simd, held, part, by_held);
                store(simd, carry, part, simd.mul_f32s(by_state, update));
            },
        );
    }
}

#[cfg(test)]
mod tests;
