//! Normalisation of each row by itself, forward and backward.

#![allow(clippy::inline_always)] // vector code must be compiled as part of the function that turns the instruction set on

use pulp::{Simd, WithSimd};

use crate::simd::{Level, load, parts, store};

/// Layer normalisation (Ba, Kiros and Hinton 2016, equation 4): each row has mean 0 and variance 1 before its features are scaled and
/// shifted.
///
/// # Shapes
/// - `x`, `y`: `[rows, width]`
/// - `normal`: `[rows, width]`, `(x - mean) / √(variance + epsilon)`, written for [`backward`]
/// - `inverse`: `[rows]`, `1 / √(variance + epsilon)`, written as well
///
/// # Panics
/// When a slice has another length.
pub fn forward(
    level: Level,
    [scale, shift]: [&[f32]; 2],
    epsilon: f32,
    x: &[f32],
    [normal, inverse]: [&mut [f32]; 2],
    y: &mut [f32],
) {
    let width = scale.len();
    assert!(width > 0 && shift.len() == width && x.len() == inverse.len() * width);
    assert!(normal.len() == x.len() && y.len() == x.len());
    level.run(Forward { scale, shift, epsilon, x, normal, inverse, y });
}

/// The gradients of [`forward`].
///
/// # Shapes
/// - `dy`: `[rows, width]`; becomes the gradient by the inputs
/// - `dscale`, `dshift`: `[width]`; written
///
/// # Panics
/// When a slice has another length.
pub fn backward(
    level: Level,
    scale: &[f32],
    [normal, inverse]: [&[f32]; 2],
    dy: &mut [f32],
    [dscale, dshift]: [&mut [f32]; 2],
) {
    let width = scale.len();
    assert!(width > 0 && normal.len() == inverse.len() * width && dy.len() == normal.len());
    assert!(dscale.len() == width && dshift.len() == width);
    dscale.fill(0.0);
    dshift.fill(0.0);
    level.run(Backward { scale, normal, inverse, dy, dscale, dshift });
}

struct Forward<'a> {
    scale: &'a [f32],
    shift: &'a [f32],
    epsilon: f32,
    x: &'a [f32],
    normal: &'a mut [f32],
    inverse: &'a mut [f32],
    y: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { scale, shift, epsilon, x, normal, inverse, y } = self;
        let width = scale.len();
        let share = 1.0 / width as f32;
        let zero = simd.splat_f32s(0.0);
        let rows = x.chunks_exact(width).zip(normal.chunks_exact_mut(width)).zip(y.chunks_exact_mut(width));
        for (((x, normal), y), inverse) in rows.zip(inverse) {
            let mut sum = zero;
            parts::<S>(
                width,
                #[inline(always)]
                |part| sum = simd.add_f32s(sum, load(simd, x, part)),
            );
            let mean = simd.splat_f32s(simd.reduce_sum_f32s(sum) * share);
            let mut sum = 0.0;
            let mut squares = zero;
            parts::<S>(
                width,
                #[inline(always)]
                |part| {
                    let centred = simd.sub_f32s(load(simd, x, part), mean);
                    store(simd, normal, part, centred);
                    if part.len == S::F32_LANES {
                        squares = simd.mul_add_e_f32s(centred, centred, squares);
                    } else {
                        // lanes behind a short part hold the mean, not 0
                        sum += normal[part.at..].iter().map(|x| x * x).sum::<f32>();
                    }
                },
            );
            *inverse = ((sum + simd.reduce_sum_f32s(squares)) * share + epsilon).sqrt().recip();
            let factor = simd.splat_f32s(*inverse);
            parts::<S>(
                width,
                #[inline(always)]
                |part| {
                    let value = simd.mul_f32s(load(simd, normal, part), factor);
                    store(simd, normal, part, value);
                    let line = simd.mul_add_e_f32s(load(simd, scale, part), value, load(simd, shift, part));
                    store(simd, y, part, line);
                },
            );
        }
    }
}

struct Backward<'a> {
    scale: &'a [f32],
    normal: &'a [f32],
    inverse: &'a [f32],
    dy: &'a mut [f32],
    dscale: &'a mut [f32],
    dshift: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    /// With `d = scale · dy`: `dx = inverse · (d - mean(d) - normal · mean(d · normal))`.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { scale, normal, inverse, dy, dscale, dshift } = self;
        let width = scale.len();
        let share = -1.0 / width as f32;
        let zero = simd.splat_f32s(0.0);
        for ((normal, dy), inverse) in normal.chunks_exact(width).zip(dy.chunks_exact_mut(width)).zip(inverse) {
            let (mut plain, mut along) = (zero, zero);
            parts::<S>(
                width,
                #[inline(always)]
                |part| {
                    let (x, gradient) = (load(simd, normal, part), load(simd, dy, part));
                    let sum = simd.mul_add_e_f32s(gradient, x, load(simd, dscale, part));
                    store(simd, dscale, part, sum);
                    let sum = simd.add_f32s(gradient, load(simd, dshift, part));
                    store(simd, dshift, part, sum);
                    let gradient = simd.mul_f32s(gradient, load(simd, scale, part));
                    store(simd, dy, part, gradient);
                    plain = simd.add_f32s(plain, gradient);
                    along = simd.mul_add_e_f32s(gradient, x, along);
                },
            );
            let plain = simd.splat_f32s(simd.reduce_sum_f32s(plain) * share);
            let along = simd.splat_f32s(simd.reduce_sum_f32s(along) * share);
            let inverse = simd.splat_f32s(*inverse);
            parts::<S>(
                width,
                #[inline(always)]
                |part| {
                    let rest = simd.add_f32s(load(simd, dy, part), plain);
                    let rest = simd.mul_add_e_f32s(load(simd, normal, part), along, rest);
                    store(simd, dy, part, simd.mul_f32s(rest, inverse));
                },
            );
        }
    }
}

#[cfg(test)]
mod tests;
