//! Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers, Schmidhuber and Cummins 2000) over
//! whole sequences, forwards and backwards:
//!
//! ```text
//! i, f, o = σ(x·W + h·U + b)    g = tanh(x·W + h·U + b)    c' = f ⊙ c + i ⊙ g    h' = o ⊙ tanh(c')
//! ```
//!
//! The gates stand side by side in the order input, forget, cell, output.

#![allow(clippy::inline_always)] // vector code must be compiled as part of the function that turns the instruction set on

use pulp::Simd;

use crate::activation::{sigmoid, tanh};
use crate::recurrent::{self, Cell, Held, Keep, Matrices, MatrixGradients, ReadGradient, Sequences, Tape, blocks};
use crate::simd::{Level, load, parts, store};

/// The weights of a layer.
#[derive(Debug, Clone, Copy)]
pub struct Weights<'a> {
    /// `[inputs, 4 · width]`
    pub input: &'a [f32],
    /// `[width, 4 · width]`
    pub hidden: &'a [f32],
    /// `[4 · width]`
    pub bias: &'a [f32],
    /// Width of the state.
    pub width: usize,
}

/// Where the gradients by the weights go, in their shapes, and the gradient by the inputs where it is asked for.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// `[inputs, 4 · width]`
    pub input: &'a mut [f32],
    /// `[width, 4 · width]`
    pub hidden: &'a mut [f32],
    /// `[4 · width]`
    pub bias: &'a mut [f32],
    /// `[rows, steps, inputs]`; 0 at padding steps. Every input counts as one that differs from step to step.
    pub values: Option<&'a mut [f32]>,
}

/// Runs a layer from a zero state and an empty memory; [`Tape::series`] and [`Tape::ends`] read it off. Allocates nothing when
/// the tape has run as large a batch before.
///
/// # Panics
/// When a length contradicts the sizes.
pub fn forward(level: Level, weights: Weights<'_>, sequences: &Sequences<'_>, keep: Keep, tape: &mut Tape) {
    assert_eq!(weights.bias.len(), 4 * weights.width, "a bias a gate and unit");
    recurrent::forward::<Lstm>(level, weights.matrices(), weights.bias, sequences, keep, tape);
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
    let Gradients { input, hidden, bias, values } = out;
    let matrices = MatrixGradients { input, hidden, values };
    bias.copy_from_slice(recurrent::backward::<Lstm>(level, weights.matrices(), sequences, read, tape, matrices));
}

impl<'a> Weights<'a> {
    fn matrices(&self) -> Matrices<'a> {
        Matrices { input: self.input, hidden: self.hidden, width: self.width }
    }
}

/// The blocks of a row are its gates; it keeps the state and the memory.
struct Lstm;

impl Cell for Lstm {
    const GATES: usize = 4;
    const KEPT: usize = 2;
    const HELD: &'static [Held] = &[Held { from: 0, gates: 4, to: 0 }];

    #[inline(always)]
    fn forward<S: Simd>(simd: S, width: usize, gates: &mut [f32], before: &[f32], after: &mut [f32]) {
        let [i, f, g, o] = blocks(gates, width);
        let memory = &before[width..2 * width];
        let (state, next) = after[..2 * width].split_at_mut(width);
        parts::<S>(
            width,
            #[inline(always)]
            |part| {
                let [input, forget] = [sigmoid(simd, load(simd, i, part)), sigmoid(simd, load(simd, f, part))];
                let [cell, output] = [tanh(simd, load(simd, g, part)), sigmoid(simd, load(simd, o, part))];
                let memory = simd.mul_add_e_f32s(forget, load(simd, memory, part), simd.mul_f32s(input, cell));
                store(simd, i, part, input);
                store(simd, f, part, forget);
                store(simd, g, part, cell);
                store(simd, o, part, output);
                store(simd, next, part, memory);
                store(simd, state, part, simd.mul_f32s(output, tanh(simd, memory)));
            },
        );
    }

    #[inline(always)]
    fn backward<S: Simd>(simd: S, width: usize, gates: &mut [f32], before: &[f32], after: &[f32], carry: &mut [f32]) {
        let [i, f, g, o] = blocks(gates, width);
        let (memory, next) = (&before[width..2 * width], &after[width..2 * width]);
        let (by_state, by_memory) = carry[..2 * width].split_at_mut(width);
        let one = simd.splat_f32s(1.0);
        parts::<S>(
            width,
            #[inline(always)]
            |part| {
                let [input, forget] = [load(simd, i, part), load(simd, f, part)];
                let [cell, output] = [load(simd, g, part), load(simd, o, part)];
                let shown = tanh(simd, load(simd, next, part));
                let state = load(simd, by_state, part);
                let shown_slope = simd.negate_mul_add_e_f32s(shown, shown, one);
                let through = simd.mul_f32s(simd.mul_f32s(state, output), shown_slope);
                let total = simd.add_f32s(load(simd, by_memory, part), through);
                let by_input = simd.mul_f32s(simd.mul_f32s(total, cell), slope(simd, input));
                let by_forget = simd.mul_f32s(simd.mul_f32s(total, load(simd, memory, part)), slope(simd, forget));
                let by_cell = simd.mul_f32s(simd.mul_f32s(total, input), simd.negate_mul_add_e_f32s(cell, cell, one));
                let by_output = simd.mul_f32s(simd.mul_f32s(state, shown), slope(simd, output));
                store(simd, i, part, by_input);
                store(simd, f, part, by_forget);
                store(simd, g, part, by_cell);
                store(simd, o, part, by_output);
                store(simd, by_memory, part, simd.mul_f32s(total, forget));
                store(simd, by_state, part, simd.splat_f32s(0.0)); // it reaches the step before through the products alone
            },
        );
    }
}

/// The derivative of a sigmoid at its value.
#[inline(always)]
fn slope<S: Simd>(simd: S, gate: S::f32s) -> S::f32s {
    simd.mul_f32s(gate, simd.sub_f32s(simd.splat_f32s(1.0), gate))
}

#[cfg(test)]
mod tests;
