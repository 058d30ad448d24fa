//! Softmax attention of every step of a window to its own steps, head by head (Vaswani et al. 2017, section 3.2), forward
//! and backward, one thread.
//!
//! Scores are held with keys in rows and queries in columns. A maximum or a sum over keys then runs down the rows, for a
//! vector of queries at once, and nothing is added up within a vector.

#![allow(clippy::inline_always)] // vector code must be compiled as part of the function that turns the instruction set on

use pulp::{Simd, WithSimd};

use crate::activation::exp;
use crate::product::{Product, Size, Start, Strided};
use crate::simd::{Level, load, parts, store};

/// Sizes of an attention.
#[derive(Debug, Clone, Copy)]
pub struct Shape<'a> {
    /// Own steps of each window; the steps behind them are padding.
    pub lengths: &'a [u32],
    /// Steps of a window.
    pub steps: usize,
    /// Numbers of a step, of which each head has its part.
    pub width: usize,
    /// Heads.
    pub heads: usize,
}

impl Shape<'_> {
    /// Numbers of all steps of all windows.
    fn numbers(&self) -> usize {
        self.lengths.len() * self.steps * self.width
    }

    /// Length of the `shares` that [`forward`] writes.
    pub fn shares(&self) -> usize {
        self.lengths.len() * self.heads * self.steps * self.steps
    }

    fn check(&self, slices: &[&[f32]], shares: &[f32]) {
        assert!(self.heads > 0 && self.width > 0 && self.width.is_multiple_of(self.heads), "heads share the width");
        assert!(self.lengths.iter().all(|length| *length as usize <= self.steps), "own steps are steps");
        assert!(slices.iter().all(|slice| slice.len() == self.numbers()), "numbers of all steps");
        assert!(shares.len() == self.shares(), "a share for each pair of steps");
    }
}

/// Memory that calls share; what it holds between them does not matter.
#[derive(Debug, Default)]
pub struct Scratch {
    turned: Vec<f32>,
    scores: Vec<f32>,
}

/// Mixes the values of each window's own steps; padding steps become 0.
///
/// # Shapes
/// - `query`, `key`, `value`, `mixed`: `[windows, steps, width]`
/// - `shares`: `[windows, heads, keys, queries]`, each block as long as the window has own steps; written for [`backward`]
///
/// # Panics
/// When a slice has another length, the heads do not share the width or a window has more own steps than steps.
pub fn forward(
    level: Level,
    shape: Shape<'_>,
    [query, key, value]: [&[f32]; 3],
    scratch: &mut Scratch,
    shares: &mut [f32],
    mixed: &mut [f32],
) {
    shape.check(&[query, key, value, mixed], shares);
    scratch.turned.resize(shape.steps * shape.width / shape.heads, 0.0);
    level.run(Forward { shape, query, key, value, turned: &mut scratch.turned, shares, mixed });
}

/// The gradients by query, key and value from those by what was mixed; 0 at padding steps.
///
/// # Shapes
/// - `dmixed` and the gradients: `[windows, steps, width]`
///
/// # Panics
/// As for [`forward`].
pub fn backward(
    level: Level,
    shape: Shape<'_>,
    [query, key, value]: [&[f32]; 3],
    shares: &[f32],
    dmixed: &[f32],
    scratch: &mut Scratch,
    [dquery, dkey, dvalue]: [&mut [f32]; 3],
) {
    shape.check(&[query, key, value, dmixed, dquery, dkey, dvalue], shares);
    scratch.turned.resize(shape.steps * shape.width / shape.heads, 0.0);
    scratch.scores.resize(shape.steps * shape.steps, 0.0);
    let Scratch { turned, scores } = scratch;
    level.run(Backward { shape, query, key, value, shares, dmixed, turned, scores, dquery, dkey, dvalue });
}

/// Where the numbers of one head of one window lie: in rows of the whole width.
#[derive(Clone, Copy)]
struct Head {
    at: usize,
    row: usize,
    steps: usize,
    width: usize,
}

impl Head {
    fn rows<'a>(&self, values: &'a [f32]) -> Strided<'a> {
        Strided::rows(&values[self.at..], self.row)
    }

    /// Own steps beside own steps, over the numbers of the head.
    fn scores(&self) -> Size {
        Size { rows: self.steps, columns: self.steps, inner: self.width }
    }

    /// Own steps beside the numbers of the head, over own steps.
    fn mixed(&self) -> Size {
        Size { rows: self.steps, columns: self.width, inner: self.steps }
    }

    /// The head's numbers turned: `[width, steps]`.
    #[inline(always)]
    fn turn(&self, values: &[f32], turned: &mut [f32]) {
        for (step, numbers) in values[self.at..].chunks(self.row).take(self.steps).enumerate() {
            for (turned, number) in turned.chunks_exact_mut(self.steps).zip(&numbers[..self.width]) {
                turned[step] = *number;
            }
        }
    }
}

/// Calls for each head of each window, with the place of its shares; windows without any own step are left out.
#[inline(always)]
fn heads(shape: Shape<'_>, mut each: impl FnMut(Head, std::ops::Range<usize>)) {
    let Shape { lengths, steps, width, heads } = shape;
    for (window, length) in lengths.iter().map(|length| *length as usize).enumerate().filter(|(_, length)| *length > 0)
    {
        for head in 0..heads {
            let at = window * steps * width + head * (width / heads);
            let shares = (window * heads + head) * steps * steps;
            each(Head { at, row: width, steps: length, width: width / heads }, shares..shares + length * length);
        }
    }
}

/// Sets the padding steps of all windows to 0.
fn clear_padding(shape: Shape<'_>, values: &mut [f32]) {
    for (values, length) in values.chunks_exact_mut(shape.steps * shape.width).zip(shape.lengths) {
        values[*length as usize * shape.width..].fill(0.0);
    }
}

struct Forward<'a> {
    shape: Shape<'a>,
    query: &'a [f32],
    key: &'a [f32],
    value: &'a [f32],
    turned: &'a mut [f32],
    shares: &'a mut [f32],
    mixed: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { shape, query, key, value, turned, shares, mixed } = self;
        clear_padding(shape, mixed);
        heads(
            shape,
            #[inline(always)]
            |head, place| {
                let Head { at, row, steps, width } = head;
                let shares = &mut shares[place];
                head.turn(query, turned);
                let (a, b) = (head.rows(key), &turned[..steps * width]);
                let (size, start) = (head.scores(), Start::Zero);
                Product { size, a, b, b_row: steps, c: shares, c_row: steps, start }.run(simd);
                softmax(simd, 1.0 / (width as f32).sqrt(), steps, shares);
                let (a, b) = (Strided::rows(shares, steps).transposed(), &value[at..]);
                let c = &mut mixed[at..];
                Product { size: head.mixed(), a, b, b_row: row, c, c_row: row, start }.run(simd);
            },
        );
    }
}

/// The softmax of each column, of scores that are multiplied by a factor first.
#[inline(always)]
fn softmax<S: Simd>(simd: S, factor: f32, columns: usize, scores: &mut [f32]) {
    let factor = simd.splat_f32s(factor);
    parts::<S>(
        columns,
        #[inline(always)]
        |part| {
            let mut most = simd.splat_f32s(f32::NEG_INFINITY);
            for row in scores.chunks_exact(columns) {
                most = simd.max_f32s(most, load(simd, row, part));
            }
            let mut sum = simd.splat_f32s(0.0);
            for row in scores.chunks_exact_mut(columns) {
                let share = exp(simd, simd.mul_f32s(factor, simd.sub_f32s(load(simd, row, part), most)));
                sum = simd.add_f32s(sum, share);
                store(simd, row, part, share);
            }
            let inverse = simd.div_f32s(simd.splat_f32s(1.0), sum);
            for row in scores.chunks_exact_mut(columns) {
                let share = simd.mul_f32s(inverse, load(simd, row, part));
                store(simd, row, part, share);
            }
        },
    );
}

struct Backward<'a> {
    shape: Shape<'a>,
    query: &'a [f32],
    key: &'a [f32],
    value: &'a [f32],
    shares: &'a [f32],
    dmixed: &'a [f32],
    turned: &'a mut [f32],
    scores: &'a mut [f32],
    dquery: &'a mut [f32],
    dkey: &'a mut [f32],
    dvalue: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { shape, query, key, value, shares, dmixed, turned, scores, dquery, dkey, dvalue } = self;
        for gradient in [&mut *dquery, &mut *dkey, &mut *dvalue] {
            clear_padding(shape, gradient);
        }
        heads(
            shape,
            #[inline(always)]
            |head, place| {
                let Head { at, row, steps, width } = head;
                let shares = &shares[place];
                let scores = &mut scores[..steps * steps];
                let start = Start::Zero;
                let (a, b, c) = (Strided::rows(shares, steps), &dmixed[at..], &mut dvalue[at..]);
                Product { size: head.mixed(), a, b, b_row: row, c, c_row: row, start }.run(simd);
                head.turn(dmixed, turned);
                let (a, b) = (head.rows(value), &turned[..steps * width]);
                Product { size: head.scores(), a, b, b_row: steps, c: scores, c_row: steps, start }.run(simd);
                softmax_gradient(simd, 1.0 / (width as f32).sqrt(), steps, shares, scores);
                let scores = Strided::rows(scores, steps);
                let (b, c) = (&query[at..], &mut dkey[at..]);
                Product { size: head.mixed(), a: scores, b, b_row: row, c, c_row: row, start }.run(simd);
                let (a, b, c) = (scores.transposed(), &key[at..], &mut dquery[at..]);
                Product { size: head.mixed(), a, b, b_row: row, c, c_row: row, start }.run(simd);
            },
        );
    }
}

/// Gradients by shares to gradients by scores, column by column: `factor · share · (d - Σ share · d)`.
#[inline(always)]
fn softmax_gradient<S: Simd>(simd: S, factor: f32, columns: usize, shares: &[f32], gradient: &mut [f32]) {
    let factor = simd.splat_f32s(factor);
    parts::<S>(
        columns,
        #[inline(always)]
        |part| {
            let mut sum = simd.splat_f32s(0.0);
            for (share, d) in shares.chunks_exact(columns).zip(gradient.chunks_exact(columns)) {
                let (share, d) = (load(simd, share, part), load(simd, d, part));
                sum = simd.mul_add_e_f32s(share, d, sum);
            }
            for (share, d) in shares.chunks_exact(columns).zip(gradient.chunks_exact_mut(columns)) {
                let (share, own) = (load(simd, share, part), load(simd, d, part));
                let score = simd.mul_f32s(simd.mul_f32s(factor, share), simd.sub_f32s(own, sum));
                store(simd, d, part, score);
            }
        },
    );
}

#[cfg(test)]
mod tests;
