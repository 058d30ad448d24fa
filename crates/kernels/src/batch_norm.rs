//! Normalisation of a batch by its features, with a rectifier behind it, forward and backward.

#![allow(clippy::inline_always)] // vector code must be compiled as part of the function that turns the instruction set on

use pulp::{Simd, WithSimd};

use crate::simd::{Level, load, parts, store};

/// Rows of a batch, by how much each counts.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// Weight of each row in the statistics of a batch; they sum to 1, or to 0 where no row counts.
    pub share: &'a [f32],
    /// 1 where a row is kept behind the rectifier, 0 where it becomes 0; `None` keeps all.
    pub own: Option<&'a [f32]>,
}

/// Batch normalisation (Ioffe and Szegedy 2015, algorithm 1) and a rectifier behind it, while training:
/// `y = own · max(0, scale · (x - mean) / √(variance + epsilon) + shift)`.
///
/// # Shapes
/// - `x`: `[rows, width]`; becomes `(x - mean) / √(variance + epsilon)`, which [`backward`] needs
/// - `scale`, `shift`, `mean`, `variance`: `[width]`; the last two are written
/// - `y`: `[rows, width]`
///
/// # Panics
/// When a slice has another length.
#[allow(clippy::too_many_arguments)] // three rows of numbers in, three out
pub fn forward(
    level: Level,
    rows: Rows<'_>,
    [scale, shift]: [&[f32]; 2],
    epsilon: f32,
    x: &mut [f32],
    mean: &mut [f32],
    variance: &mut [f32],
    y: &mut [f32],
) {
    let width = scale.len();
    check(rows, width, x.len());
    assert!(shift.len() == width && mean.len() == width && variance.len() == width && y.len() == x.len());
    mean.fill(0.0);
    level.run(Sums { share: rows.share, x, to: mean });
    variance.fill(0.0);
    level.run(Squares { share: rows.share, mean, x, sums: variance });
    let inverse: Vec<f32> = variance.iter().map(|variance| (variance + epsilon).sqrt().recip()).collect();
    level.run(Rectified { own: rows.own, inverse: &inverse, scale, shift, x, y });
}

/// The gradients of [`forward`].
///
/// # Shapes
/// - `normal`: what became of `x`
/// - `dy`: `[rows, width]`; becomes the gradient by the inputs
/// - `dscale`, `dshift`: `[width]`; written
///
/// # Panics
/// When a slice has another length.
#[allow(clippy::too_many_arguments)] // as many gradients as weights
pub fn backward(
    level: Level,
    rows: Rows<'_>,
    [scale, shift]: [&[f32]; 2],
    epsilon: f32,
    variance: &[f32],
    normal: &[f32],
    dy: &mut [f32],
    [dscale, dshift]: [&mut [f32]; 2],
) {
    let width = scale.len();
    check(rows, width, normal.len());
    assert!(shift.len() == width && variance.len() == width && dy.len() == normal.len());
    assert!(dscale.len() == width && dshift.len() == width);
    dscale.fill(0.0);
    dshift.fill(0.0);
    level.run(Passed { own: rows.own, scale, shift, normal, dy, dscale, dshift });
    let factor: Vec<f32> =
        variance.iter().zip(scale).map(|(variance, scale)| scale / (variance + epsilon).sqrt()).collect();
    level.run(BatchGradient { share: rows.share, factor: &factor, dscale, dshift, normal, dy });
}

fn check(rows: Rows<'_>, width: usize, len: usize) {
    let count = rows.share.len();
    assert!(width > 0 && len == count * width && rows.own.is_none_or(|own| own.len() == count), "{count} rows");
}

/// `y = own · max(0, factor · x + offset)` by column: a batch normalisation after training is such a line.
///
/// # Shapes
/// - `x`: `[rows, width]`, replaced
/// - `factor`, `offset`: `[width]`
/// - `own`: `[rows]`; `None` keeps all
///
/// # Panics
/// When a slice has another length.
pub fn line_rectified(level: Level, [factor, offset]: [&[f32]; 2], own: Option<&[f32]>, x: &mut [f32]) {
    let width = factor.len();
    assert!(width > 0 && offset.len() == width && x.len().is_multiple_of(width));
    assert!(own.is_none_or(|own| own.len() * width == x.len()), "one number a row");
    level.run(LineRectified { factor, offset, own, x });
}

/// `to += Σ share · x`.
struct Sums<'a> {
    share: &'a [f32],
    x: &'a [f32],
    to: &'a mut [f32],
}

impl WithSimd for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { share, x, to } = self;
        let width = to.len();
        for (x, share) in x.chunks_exact(width).zip(share) {
            let share = simd.splat_f32s(*share);
            parts::<S>(
                width,
                #[inline(always)]
                |part| {
                    let sum = simd.mul_add_e_f32s(share, load(simd, x, part), load(simd, to, part));
                    store(simd, to, part, sum);
                },
            );
        }
    }
}

/// `x -= mean` and, of what comes of it, `sums += Σ share · x²`.
struct Squares<'a> {
    share: &'a [f32],
    mean: &'a [f32],
    x: &'a mut [f32],
    sums: &'a mut [f32],
}

impl WithSimd for Squares<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { share, mean, x, sums } = self;
        let width = sums.len();
        for (x, share) in x.chunks_exact_mut(width).zip(share) {
            let share = simd.splat_f32s(*share);
            parts::<S>(
                width,
                #[inline(always)]
                |part| {
                    let centred = simd.sub_f32s(load(simd, x, part), load(simd, mean, part));
                    store(simd, x, part, centred);
                    let square = simd.mul_f32s(centred, centred);
                    let sum = simd.mul_add_e_f32s(share, square, load(simd, sums, part));
                    store(simd, sums, part, sum);
                },
            );
        }
    }
}

/// `x *= inverse`, then `y = own · max(0, scale · x + shift)`.
struct Rectified<'a> {
    own: Option<&'a [f32]>,
    inverse: &'a [f32],
    scale: &'a [f32],
    shift: &'a [f32],
    x: &'a mut [f32],
    y: &'a mut [f32],
}

impl WithSimd for Rectified<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { own, inverse, scale, shift, x, y } = self;
        let width = scale.len();
        let zero = simd.splat_f32s(0.0);
        for (row, (x, y)) in x.chunks_exact_mut(width).zip(y.chunks_exact_mut(width)).enumerate() {
            let kept = simd.splat_f32s(own.map_or(1.0, |own| own[row]));
            parts::<S>(
                width,
                #[inline(always)]
                |part| {
                    let value = simd.mul_f32s(load(simd, x, part), load(simd, inverse, part));
                    store(simd, x, part, value);
                    let line = simd.mul_add_e_f32s(load(simd, scale, part), value, load(simd, shift, part));
                    store(simd, y, part, simd.mul_f32s(kept, simd.max_f32s(line, zero)));
                },
            );
        }
    }
}

/// [`line_rectified`].
struct LineRectified<'a> {
    factor: &'a [f32],
    offset: &'a [f32],
    own: Option<&'a [f32]>,
    x: &'a mut [f32],
}

impl WithSimd for LineRectified<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { factor, offset, own, x } = self;
        let width = factor.len();
        let zero = simd.splat_f32s(0.0);
        for (row, x) in x.chunks_exact_mut(width).enumerate() {
            if own.is_some_and(|own| own[row] == 0.0) {
                x.fill(0.0);
                continue;
            }
            parts::<S>(
                width,
                #[inline(always)]
                |part| {
                    let line =
                        simd.mul_add_e_f32s(load(simd, factor, part), load(simd, x, part), load(simd, offset, part));
                    store(simd, x, part, simd.max_f32s(line, zero));
                },
            );
        }
    }
}

/// The gradient that passes the rectifier, and its sums by column, plain and with the normalised values.
struct Passed<'a> {
    own: Option<&'a [f32]>,
    scale: &'a [f32],
    shift: &'a [f32],
    normal: &'a [f32],
    dy: &'a mut [f32],
    dscale: &'a mut [f32],
    dshift: &'a mut [f32],
}

impl WithSimd for Passed<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { own, scale, shift, normal, dy, dscale, dshift } = self;
        let width = scale.len();
        let zero = simd.splat_f32s(0.0);
        for (row, (normal, dy)) in normal.chunks_exact(width).zip(dy.chunks_exact_mut(width)).enumerate() {
            if own.is_some_and(|own| own[row] == 0.0) {
                dy.fill(0.0);
                continue;
            }
            parts::<S>(
                width,
                #[inline(always)]
                |part| {
                    let x = load(simd, normal, part);
                    let line = simd.mul_add_e_f32s(load(simd, scale, part), x, load(simd, shift, part));
                    let gradient = simd.select_f32s(simd.greater_than_f32s(line, zero), load(simd, dy, part), zero);
                    store(simd, dy, part, gradient);
                    let sum = simd.mul_add_e_f32s(gradient, x, load(simd, dscale, part));
                    store(simd, dscale, part, sum);
                    let sum = simd.add_f32s(gradient, load(simd, dshift, part));
                    store(simd, dshift, part, sum);
                },
            );
        }
    }
}

/// `dy = factor · (dy - share · (dshift + normal · dscale))`: what is left when mean and variance move along.
struct BatchGradient<'a> {
    share: &'a [f32],
    factor: &'a [f32],
    dscale: &'a [f32],
    dshift: &'a [f32],
    normal: &'a [f32],
    dy: &'a mut [f32],
}

impl WithSimd for BatchGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { share, factor, dscale, dshift, normal, dy } = self;
        let width = factor.len();
        for ((normal, dy), share) in normal.chunks_exact(width).zip(dy.chunks_exact_mut(width)).zip(share) {
            let share = simd.splat_f32s(-share);
            parts::<S>(
                width,
                #[inline(always)]
                |part| {
                    let common = simd.mul_add_e_f32s(
                        load(simd, normal, part),
                        load(simd, dscale, part),
                        load(simd, dshift, part),
                    );
                    let own = simd.mul_add_e_f32s(share, common, load(simd, dy, part));
                    store(simd, dy, part, simd.mul_f32s(load(simd, factor, part), own));
                },
            );
        }
    }
}

#[cfg(test)]
mod tests;
