//! Dense layers, forward and backward: `y = x · w + b`, with a rectifier behind it where it is asked for.
//!
//! Columns of the inputs that are zero throughout are left out of the products; the outputs are the same with them.

#![allow(clippy::inline_always)] // vector code must be compiled as part of the function that turns the instruction set on

use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::columns::used_columns;
use crate::product::{Size, Start, Strided, multiply, transpose};
use crate::simd::{Level, load, parts, store};

/// A dense layer.
///
/// # Shapes
/// - `w`: `[inputs, outputs]`
/// - `b`: `[outputs]`
#[derive(Debug, Clone, Copy)]
pub struct Dense<'a> {
    /// Its matrix.
    pub w: &'a [f32],
    /// Its bias.
    pub b: &'a [f32],
    /// What is made of its outputs.
    pub then: Then,
}

/// What is made of the outputs of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// They are left as they are.
    Nothing,
    /// `max(0, y)`.
    Rectify,
}

/// Where the gradients by the weights of a layer go.
#[derive(Debug)]
pub struct Gradient<'a> {
    /// By its matrix.
    pub w: &'a mut [f32],
    /// By its bias.
    pub b: &'a mut [f32],
}

/// Memory that calls share; what it holds between them does not matter.
#[derive(Debug, Default)]
pub struct Scratch {
    sizes: Vec<f32>,
    used: Vec<Range<usize>>,
    turned: Vec<f32>,
}

impl Dense<'_> {
    /// Inputs and outputs of the layer.
    ///
    /// # Panics
    /// When the bias is empty or the matrix no multiple of it.
    fn sizes(&self) -> [usize; 2] {
        let outputs = self.b.len();
        assert!(outputs > 0 && self.w.len().is_multiple_of(outputs) && !self.w.is_empty(), "a matrix beside its bias");
        [self.w.len() / outputs, outputs]
    }

    /// Runs some rows.
    ///
    /// # Shapes
    /// - `x`: `[rows, inputs]`
    /// - `y`: `[rows, outputs]`
    ///
    /// # Panics
    /// When a slice has another length.
    pub fn forward(&self, level: Level, x: &[f32], scratch: &mut Scratch, y: &mut [f32]) {
        let [inputs, outputs] = self.sizes();
        let rows = x.len() / inputs;
        assert!(x.len() == rows * inputs && y.len() == rows * outputs, "whole rows");
        y.chunks_exact_mut(outputs).for_each(|y| y.copy_from_slice(self.b));
        used_columns(level, x, inputs, &mut scratch.sizes, &mut scratch.used);
        for used in &scratch.used {
            let size = Size { rows, columns: outputs, inner: used.len() };
            let x = Strided::rows(&x[used.start..], inputs);
            multiply(level, size, x, (&self.w[used.start * outputs..], outputs), (y, outputs), Start::Held);
        }
        if self.then == Then::Rectify {
            level.run(Rectify(y));
        }
    }

    /// Makes the gradients from that by the outputs.
    ///
    /// # Shapes
    /// - `x`, `y`: as [`Self::forward`] had and made them; `y` is not looked at without a rectifier
    /// - `dy`: `[rows, outputs]`; becomes the gradient before the rectifier
    /// - `dx`: `[rows, inputs]`, made where it is asked for: added to with [`Start::Held`]
    ///
    /// # Panics
    /// When a slice has another length.
    #[allow(clippy::too_many_arguments)] // inputs, outputs and the gradients by both
    pub fn backward(
        &self,
        level: Level,
        x: &[f32],
        y: &[f32],
        dy: &mut [f32],
        scratch: &mut Scratch,
        gradient: Gradient<'_>,
        dx: Option<(&mut [f32], Start)>,
    ) {
        let [inputs, outputs] = self.sizes();
        let rows = x.len() / inputs;
        assert!(x.len() == rows * inputs && dy.len() == rows * outputs, "whole rows");
        if self.then == Then::Rectify {
            assert!(y.len() == dy.len(), "a gradient for each output");
            level.run(Passed { y, dy });
        }
        let Gradient { w: dw, b: db } = gradient;
        assert!(dw.len() == self.w.len() && db.len() == outputs, "gradients of this layer");
        db.fill(0.0);
        level.run(ColumnSums { x: dy, sums: db });
        used_columns(level, x, inputs, &mut scratch.sizes, &mut scratch.used);
        let mut done = 0;
        for used in &scratch.used {
            dw[done * outputs..used.start * outputs].fill(0.0);
            let size = Size { rows: used.len(), columns: outputs, inner: rows };
            let x = Strided::rows(&x[used.start..], inputs).transposed();
            multiply(level, size, x, (dy, outputs), (&mut dw[used.start * outputs..], outputs), Start::Zero);
            done = used.end;
        }
        dw[done * outputs..].fill(0.0);
        if let Some((dx, start)) = dx {
            assert!(dx.len() == x.len(), "a gradient for each input");
            scratch.turned.resize(self.w.len(), 0.0);
            transpose(self.w, [inputs, outputs], &mut scratch.turned);
            let size = Size { rows, columns: inputs, inner: outputs };
            multiply(level, size, Strided::rows(dy, outputs), (&scratch.turned, inputs), (dx, inputs), start);
        }
    }
}

/// `y = max(0, y)`.
struct Rectify<'a>(&'a mut [f32]);

impl WithSimd for Rectify<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let y = self.0;
        let zero = simd.splat_f32s(0.0);
        parts::<S>(
            y.len(),
            #[inline(always)]
            |part| {
                let rectified = simd.max_f32s(load(simd, y, part), zero);
                store(simd, y, part, rectified);
            },
        );
    }
}

/// `dy` where the rectifier let `y` pass, 0 elsewhere.
struct Passed<'a> {
    y: &'a [f32],
    dy: &'a mut [f32],
}

impl WithSimd for Passed<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { y, dy } = self;
        let zero = simd.splat_f32s(0.0);
        parts::<S>(
            y.len(),
            #[inline(always)]
            |part| {
                let passes = simd.greater_than_f32s(load(simd, y, part), zero);
                let gradient = simd.select_f32s(passes, load(simd, dy, part), zero);
                store(simd, dy, part, gradient);
            },
        );
    }
}

/// `sums += Σ x` by column.
struct ColumnSums<'a> {
    x: &'a [f32],
    sums: &'a mut [f32],
}

impl WithSimd for ColumnSums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, sums } = self;
        let width = sums.len();
        for x in x.chunks_exact(width) {
            parts::<S>(
                width,
                #[inline(always)]
                |part| {
                    let sum = simd.add_f32s(load(simd, sums, part), load(simd, x, part));
                    store(simd, sums, part, sum);
                },
            );
        }
    }
}

#[cfg(test)]
mod tests;
