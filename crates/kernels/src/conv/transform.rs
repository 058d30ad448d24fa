//! The sums around the products: tiles of inputs, taps and outputs to their values at the points, and back.
//!
//! With `e` the even and `o` the odd inputs of a tile, `c` the coefficients over all pairs of points and `d` those over all
//! pairs but that of `a`, a tile's values are `Σ c e` at 0, `Σ c o` at infinity, and `Σ d e' ± a Σ d o` at ± `a`, where
//! `e'` are the even inputs behind the first. A filter's are its values as a polynomial, divided by what makes up for the
//! factors left out, and its highest coefficient at infinity. An output is the sum over all points of `point^output`
//! times the product there. Gradients go through the same sums transposed.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::toom_cook::{MOST, PAIRS, Plan, Scheme};
use crate::simd::{Part, load, parts, store};

/// A scheme in vectors.
struct Vectors<S: Simd> {
    points: [S::f32s; PAIRS],
    all: [S::f32s; PAIRS + 1],
    others: [[S::f32s; PAIRS]; PAIRS],
}

impl<S: Simd> Vectors<S> {
    #[inline(always)]
    fn new(simd: S, scheme: &Scheme) -> Self {
        Self {
            points: scheme.points.map(|x| simd.splat_f32s(x)),
            all: scheme.all.map(|x| simd.splat_f32s(x)),
            others: scheme.others.map(|row| row.map(|x| simd.splat_f32s(x))),
        }
    }

    /// A tile of inputs to its values at the points: 0, each pair, infinity.
    #[inline(always)]
    fn input<const N: usize>(&self, simd: S, x: [S::f32s; N]) -> [S::f32s; N] {
        let pairs = N.saturating_sub(2) / 2;
        let mut out = x;
        if pairs == 0 {
            return out;
        }
        // the highest coefficient over all pairs is 1
        let (mut zero, mut infinity) = (x[2 * pairs], x[2 * pairs + 1]);
        for j in 0..pairs {
            zero = simd.mul_add_e_f32s(self.all[j], x[2 * j], zero);
            infinity = simd.mul_add_e_f32s(self.all[j], x[2 * j + 1], infinity);
        }
        (out[0], out[N - 1]) = (zero, infinity);
        for i in 0..pairs {
            let (mut even, mut odd) = (x[2 * pairs], x[2 * pairs - 1]);
            for j in 0..pairs - 1 {
                even = simd.mul_add_e_f32s(self.others[i][j], x[2 * j + 2], even);
                odd = simd.mul_add_e_f32s(self.others[i][j], x[2 * j + 1], odd);
            }
            out[1 + 2 * i] = simd.mul_add_e_f32s(self.points[i], odd, even);
            out[2 + 2 * i] = simd.mul_add_e_f32s(simd.neg_f32s(self.points[i]), odd, even);
        }
        out
    }

    /// [`Self::input`], transposed.
    #[inline(always)]
    fn input_transposed<const N: usize>(&self, simd: S, v: [S::f32s; N]) -> [S::f32s; N] {
        let pairs = N.saturating_sub(2) / 2;
        if pairs == 0 {
            return v;
        }
        let (zero, infinity) = (v[0], v[N - 1]);
        let mut x = [simd.splat_f32s(0.0); N];
        for j in 0..pairs {
            x[2 * j] = simd.mul_add_e_f32s(self.all[j], zero, x[2 * j]);
            x[2 * j + 1] = simd.mul_add_e_f32s(self.all[j], infinity, x[2 * j + 1]);
        }
        x[2 * pairs] = simd.add_f32s(x[2 * pairs], zero);
        x[2 * pairs + 1] = simd.add_f32s(x[2 * pairs + 1], infinity);
        for i in 0..pairs {
            let even = simd.add_f32s(v[1 + 2 * i], v[2 + 2 * i]);
            let odd = simd.mul_f32s(self.points[i], simd.sub_f32s(v[1 + 2 * i], v[2 + 2 * i]));
            for j in 0..pairs - 1 {
                x[2 * j + 2] = simd.mul_add_e_f32s(self.others[i][j], even, x[2 * j + 2]);
                x[2 * j + 1] = simd.mul_add_e_f32s(self.others[i][j], odd, x[2 * j + 1]);
            }
            x[2 * pairs] = simd.add_f32s(x[2 * pairs], even);
            x[2 * pairs - 1] = simd.add_f32s(x[2 * pairs - 1], odd);
        }
        x
    }

    /// Products at the points to the first `count` outputs.
    #[inline(always)]
    fn output<const N: usize>(&self, simd: S, v: [S::f32s; N], count: usize) -> [S::f32s; N] {
        let pairs = N.saturating_sub(2) / 2;
        if pairs == 0 {
            return v;
        }
        let mut y = [simd.splat_f32s(0.0); N];
        y[0] = v[0];
        y[count - 1] = simd.add_f32s(y[count - 1], v[N - 1]);
        for i in 0..pairs {
            // an even power adds the two, an odd one takes their difference
            let mut next = simd.add_f32s(v[1 + 2 * i], v[2 + 2 * i]);
            let mut after = simd.mul_f32s(self.points[i], simd.sub_f32s(v[1 + 2 * i], v[2 + 2 * i]));
            let square = simd.mul_f32s(self.points[i], self.points[i]);
            for y in &mut y[..count] {
                *y = simd.add_f32s(*y, next);
                (next, after) = (after, simd.mul_f32s(square, next));
            }
        }
        y
    }

    /// [`Self::output`], transposed: outputs from `count` on are not read.
    #[inline(always)]
    fn output_transposed<const N: usize>(&self, simd: S, y: [S::f32s; N], count: usize) -> [S::f32s; N] {
        let pairs = N.saturating_sub(2) / 2;
        if pairs == 0 {
            return y;
        }
        let mut v = [y[0]; N];
        v[N - 1] = y[count - 1];
        for i in 0..pairs {
            let square = simd.mul_f32s(self.points[i], self.points[i]);
            let (mut even, mut odd) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));
            for j in (0..count).rev() {
                if j % 2 == 0 {
                    even = simd.mul_add_e_f32s(even, square, y[j]);
                } else {
                    odd = simd.mul_add_e_f32s(odd, square, y[j]);
                }
            }
            v[1 + 2 * i] = simd.mul_add_e_f32s(self.points[i], odd, even);
            v[2 + 2 * i] = simd.mul_add_e_f32s(simd.neg_f32s(self.points[i]), odd, even);
        }
        v
    }
}

/// Sizes and places of what is transformed.
#[derive(Clone, Copy)]
pub(super) struct Tiles<'a> {
    pub(super) plan: &'a Plan,
    pub(super) scheme: &'a Scheme,
    pub(super) rows: usize,
    pub(super) steps: usize,
    /// Numbers of a step.
    pub(super) width: usize,
}

impl Tiles<'_> {
    /// Numbers of all tiles at one point, of which `width` are kept.
    fn plane(&self, width: usize) -> usize {
        self.rows * self.plan.row() * width
    }

    /// The step of a tile's input, if it is one.
    #[inline(always)]
    fn step(&self, tile: usize, input: usize) -> Option<usize> {
        (tile * self.plan.outputs + input).checked_sub(self.plan.before).filter(|step| *step < self.steps)
    }
}

/// The numbers of all points at one place.
#[inline(always)]
fn planes<S: Simd, const N: usize>(simd: S, from: &[f32], plane: usize, at: usize, part: Part) -> [S::f32s; N] {
    let mut values = [simd.splat_f32s(0.0); N];
    for (point, value) in values.iter_mut().enumerate() {
        *value = load(simd, &from[point * plane + at..], part);
    }
    values
}

/// Inputs to their values at the points: `[rows, steps, width]` to `[points, rows, tiles, used]`, where `used` are some
/// columns of the inputs, side by side.
pub(super) struct InputTiles<'a> {
    pub(super) tiles: Tiles<'a>,
    pub(super) used: &'a [Range<usize>],
    pub(super) from: &'a [f32],
    pub(super) to: &'a mut [f32],
}

impl WithSimd for InputTiles<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.tiles.plan.points {
            1 => self.of::<S, 1>(simd),
            4 => self.of::<S, 4>(simd),
            6 => self.of::<S, 6>(simd),
            _ => self.of::<S, MOST>(simd),
        }
    }
}

impl InputTiles<'_> {
    #[inline(always)]
    fn of<S: Simd, const N: usize>(self, simd: S) {
        let Self { tiles, used, from, to } = self;
        let vectors = Vectors::new(simd, tiles.scheme);
        let kept: usize = used.iter().map(ExactSizeIterator::len).sum();
        let plane = tiles.plane(kept);
        let zero = simd.splat_f32s(0.0);
        for (row, from) in from.chunks_exact(tiles.steps * tiles.width).enumerate() {
            for tile in 0..tiles.plan.row() {
                let mut at = (row * tiles.plan.row() + tile) * kept;
                for used in used {
                    parts::<S>(
                        used.len(),
                        #[inline(always)]
                        |part| {
                            let mut x = [zero; N];
                            for (i, x) in x.iter_mut().enumerate() {
                                if let Some(step) = tiles.step(tile, i) {
                                    *x = load(simd, &from[step * tiles.width + used.start..], part);
                                }
                            }
                            for (point, value) in vectors.input(simd, x).into_iter().enumerate() {
                                store(simd, &mut to[point * plane + at..], part, value);
                            }
                        },
                    );
                    at += used.len();
                }
            }
        }
    }
}

/// Gradients by the values of inputs at the points to gradients by inputs, added up: the transpose of [`InputTiles`] over
/// all columns.
pub(super) struct InputGradients<'a> {
    pub(super) tiles: Tiles<'a>,
    pub(super) from: &'a [f32],
    /// `[rows, steps, width]`.
    pub(super) to: &'a mut [f32],
}

impl WithSimd for InputGradients<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.tiles.plan.points {
            1 => self.of::<S, 1>(simd),
            4 => self.of::<S, 4>(simd),
            6 => self.of::<S, 6>(simd),
            _ => self.of::<S, MOST>(simd),
        }
    }
}

impl InputGradients<'_> {
    #[inline(always)]
    fn of<S: Simd, const N: usize>(self, simd: S) {
        let Self { tiles, from, to } = self;
        let vectors = Vectors::new(simd, tiles.scheme);
        let plane = tiles.plane(tiles.width);
        to.fill(0.0);
        for (row, to) in to.chunks_exact_mut(tiles.steps * tiles.width).enumerate() {
            for tile in 0..tiles.plan.row() {
                let at = (row * tiles.plan.row() + tile) * tiles.width;
                parts::<S>(
                    tiles.width,
                    #[inline(always)]
                    |part| {
                        let values = planes::<S, N>(simd, from, plane, at, part);
                        for (i, x) in vectors.input_transposed(simd, values).into_iter().enumerate() {
                            if let Some(step) = tiles.step(tile, i) {
                                let to = &mut to[step * tiles.width..];
                                let sum = simd.add_f32s(load(simd, to, part), x);
                                store(simd, to, part, sum);
                            }
                        }
                    },
                );
            }
        }
    }
}

/// Products at the points to outputs: `[points, rows, tiles, width]` to `[rows, steps, width]`.
pub(super) struct Outputs<'a> {
    pub(super) tiles: Tiles<'a>,
    pub(super) from: &'a [f32],
    pub(super) to: &'a mut [f32],
}

impl WithSimd for Outputs<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // a number of outputs that is known to the compiler keeps them in registers
        match (self.tiles.plan.points, self.tiles.plan.outputs) {
            (1, _) => self.of::<S, 1>(simd, 1),
            (4, count) => self.of::<S, 4>(simd, count),
            (6, count) => self.of::<S, 6>(simd, count),
            (_, 4) => self.of::<S, MOST>(simd, 4),
            (_, 6) => self.of::<S, MOST>(simd, 6),
            (_, count) => self.of::<S, MOST>(simd, count),
        }
    }
}

impl Outputs<'_> {
    #[inline(always)]
    fn of<S: Simd, const N: usize>(self, simd: S, count: usize) {
        let Self { tiles, from, to } = self;
        let vectors = Vectors::new(simd, tiles.scheme);
        let plane = tiles.plane(tiles.width);
        for (row, to) in to.chunks_exact_mut(tiles.steps * tiles.width).enumerate() {
            for (tile, to) in to.chunks_mut(count * tiles.width).enumerate() {
                let at = (row * tiles.plan.row() + tile) * tiles.width;
                parts::<S>(
                    tiles.width,
                    #[inline(always)]
                    |part| {
                        let values = planes::<S, N>(simd, from, plane, at, part);
                        let outputs = vectors.output(simd, values, count);
                        for (to, value) in to.chunks_exact_mut(tiles.width).zip(outputs) {
                            store(simd, to, part, value);
                        }
                    },
                );
            }
        }
    }
}

/// Gradients by outputs to gradients by products: the transpose of [`Outputs`], 0 in tiles whose outputs do not count.
pub(super) struct OutputGradients<'a> {
    pub(super) tiles: Tiles<'a>,
    pub(super) from: &'a [f32],
    pub(super) to: &'a mut [f32],
}

impl WithSimd for OutputGradients<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // a number of outputs that is known to the compiler keeps them in registers
        match (self.tiles.plan.points, self.tiles.plan.outputs) {
            (1, _) => self.of::<S, 1>(simd, 1),
            (4, count) => self.of::<S, 4>(simd, count),
            (6, count) => self.of::<S, 6>(simd, count),
            (_, 4) => self.of::<S, MOST>(simd, 4),
            (_, 6) => self.of::<S, MOST>(simd, 6),
            (_, count) => self.of::<S, MOST>(simd, count),
        }
    }
}

impl OutputGradients<'_> {
    #[inline(always)]
    fn of<S: Simd, const N: usize>(self, simd: S, count: usize) {
        let Self { tiles, from, to } = self;
        let vectors = Vectors::new(simd, tiles.scheme);
        let plane = tiles.plane(tiles.width);
        let zero = simd.splat_f32s(0.0);
        for (row, from) in from.chunks_exact(tiles.steps * tiles.width).enumerate() {
            for tile in 0..tiles.plan.row() {
                let at = (row * tiles.plan.row() + tile) * tiles.width;
                parts::<S>(
                    tiles.width,
                    #[inline(always)]
                    |part| {
                        let mut y = [zero; N];
                        for (i, y) in y[..count].iter_mut().enumerate() {
                            let step = tile * count + i;
                            if step < tiles.steps {
                                *y = load(simd, &from[step * tiles.width..], part);
                            }
                        }
                        for (point, value) in vectors.output_transposed(simd, y, count).into_iter().enumerate() {
                            store(simd, &mut to[point * plane + at..], part, value);
                        }
                    },
                );
            }
        }
    }
}

/// Which filters are transformed.
#[derive(Clone, Copy)]
pub(super) struct Taps<'a> {
    pub(super) plan: &'a Plan,
    pub(super) scheme: &'a Scheme,
    /// Numbers of one tap: inputs × filters.
    pub(super) size: usize,
}

impl Taps<'_> {
    /// What each tap of a filter counts at a pair of points.
    fn factors(&self) -> [[f32; MOST]; PAIRS] {
        let mut factors = [[0.0; MOST]; PAIRS];
        for (pair, factors) in factors.iter_mut().enumerate() {
            let mut power = 1.0 / self.scheme.divisors[pair + 1];
            for factor in factors {
                *factor = power;
                power *= self.scheme.points[pair];
            }
        }
        factors
    }

    /// Where a block's tap lies among those in use: behind the skipped ones.
    fn place(&self, tap: usize) -> usize {
        (self.plan.skipped + tap) * self.size
    }
}

/// Filters to their values at the points: `[kernel, size]` to `[points, blocks, size]`.
pub(super) struct Filters<'a> {
    pub(super) taps: Taps<'a>,
    pub(super) from: &'a [f32],
    pub(super) to: &'a mut [f32],
}

impl WithSimd for Filters<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { taps, from, to } = self;
        let plan = taps.plan;
        let (size, points, pairs) = (taps.size, plan.points, plan.points.saturating_sub(2) / 2);
        if points == 1 {
            to.copy_from_slice(&from[taps.place(0)..taps.place(plan.used)]);
            return;
        }
        let zero = simd.splat_f32s(0.0);
        let at_zero = simd.splat_f32s(1.0 / taps.scheme.divisors[0]);
        let factors = taps.factors();
        for block in 0..plan.blocks {
            let range = plan.block(block);
            parts::<S>(
                size,
                #[inline(always)]
                |part| {
                    let mut w = [zero; MOST];
                    for (w, tap) in w.iter_mut().zip(range.clone()) {
                        *w = load(simd, &from[taps.place(tap)..], part);
                    }
                    store(simd, &mut to[block * size..], part, simd.mul_f32s(w[0], at_zero));
                    store(simd, &mut to[((points - 1) * plan.blocks + block) * size..], part, w[plan.taps - 1]);
                    for (pair, factors) in factors.iter().enumerate().take(pairs) {
                        let (mut even, mut odd) = (zero, zero);
                        for (power, w) in w[..plan.taps].iter().enumerate() {
                            let sum = if power % 2 == 0 { &mut even } else { &mut odd };
                            *sum = simd.mul_add_e_f32s(simd.splat_f32s(factors[power]), *w, *sum);
                        }
                        let at = ((1 + 2 * pair) * plan.blocks + block) * size;
                        store(simd, &mut to[at..], part, simd.add_f32s(even, odd));
                        store(simd, &mut to[at + plan.blocks * size..], part, simd.sub_f32s(even, odd));
                    }
                },
            );
        }
    }
}

/// Gradients by the values of filters to gradients by filters: the transpose of [`Filters`]; 0 for a tap that is not used.
pub(super) struct FilterGradients<'a> {
    pub(super) taps: Taps<'a>,
    pub(super) from: &'a [f32],
    pub(super) to: &'a mut [f32],
}

impl WithSimd for FilterGradients<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { taps, from, to } = self;
        let plan = taps.plan;
        let (size, points, pairs) = (taps.size, plan.points, plan.points.saturating_sub(2) / 2);
        to[..taps.place(0)].fill(0.0);
        to[taps.place(plan.used)..].fill(0.0);
        if points == 1 {
            to[taps.place(0)..taps.place(plan.used)].copy_from_slice(from);
            return;
        }
        let zero = simd.splat_f32s(0.0);
        let at_zero = simd.splat_f32s(1.0 / taps.scheme.divisors[0]);
        let factors = taps.factors();
        for block in 0..plan.blocks {
            let range = plan.block(block);
            parts::<S>(
                size,
                #[inline(always)]
                |part| {
                    let mut w = [zero; MOST];
                    w[0] = simd.mul_f32s(load(simd, &from[block * size..], part), at_zero);
                    w[plan.taps - 1] = simd.add_f32s(
                        w[plan.taps - 1],
                        load(simd, &from[((points - 1) * plan.blocks + block) * size..], part),
                    );
                    for (pair, factors) in factors.iter().enumerate().take(pairs) {
                        let at = ((1 + 2 * pair) * plan.blocks + block) * size;
                        let plus = load(simd, &from[at..], part);
                        let minus = load(simd, &from[at + plan.blocks * size..], part);
                        let (even, odd) = (simd.add_f32s(plus, minus), simd.sub_f32s(plus, minus));
                        for (power, w) in w[..plan.taps].iter_mut().enumerate() {
                            let sum = if power % 2 == 0 { even } else { odd };
                            *w = simd.mul_add_e_f32s(simd.splat_f32s(factors[power]), sum, *w);
                        }
                    }
                    for (w, tap) in w.into_iter().zip(range.clone()) {
                        store(simd, &mut to[taps.place(tap)..], part, w);
                    }
                },
            );
        }
    }
}
