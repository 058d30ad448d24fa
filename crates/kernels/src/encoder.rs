//! The two parts of an encoder layer (Vaswani et al. 2017), each normalised before it and added to what it read (Xiong et
//! al. 2020): attention, and two dense layers.
//!
//! Weights come as an array, in the order in which they are stored; gradients go in the same order.

use crate::attention::{self, Shape};
use crate::layer_norm;
use crate::linear::{self, Dense, Gradient, Then};
use crate::product::Start;
use crate::simd::Level;

/// Added to the variance of a row before its root.
pub const EPSILON: f32 = 1e-5;

/// Memory that calls share; what it holds between them does not matter.
#[derive(Debug, Default)]
pub struct Scratch {
    attention: attention::Scratch,
    linear: linear::Scratch,
    /// Of the width of a part's input.
    wide: [Vec<f32>; 5],
    inner: Vec<f32>,
}

/// What a part's normalisation leaves for its gradients.
#[derive(Debug, Default)]
struct Normal {
    values: Vec<f32>,
    inverse: Vec<f32>,
    /// Scaled and shifted: what the part reads.
    read: Vec<f32>,
}

impl Normal {
    fn forward(&mut self, level: Level, weights: [&[f32]; 2], x: &[f32]) {
        let width = weights[0].len();
        self.values.resize(x.len(), 0.0);
        self.read.resize(x.len(), 0.0);
        self.inverse.resize(x.len() / width, 0.0);
        layer_norm::forward(level, weights, EPSILON, x, [&mut self.values, &mut self.inverse], &mut self.read);
    }

    /// The gradient by what was read becomes that by `x`, to which `dy` is added: the part is added to what it read.
    fn backward(&self, level: Level, scale: &[f32], dread: &mut [f32], gradient: [&mut [f32]; 2], dy: &[f32]) {
        layer_norm::backward(level, scale, [&self.values, &self.inverse], dread, gradient);
        dread.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy);
    }
}

/// A layer from its two places among the weights.
fn dense<'a>(weights: &[&'a [f32]], at: usize, then: Then) -> Dense<'a> {
    Dense { w: weights[at], b: weights[at + 1], then }
}

/// `y = x + mask · part`, with `part` in `y`.
fn add(x: &[f32], mask: Option<&[f32]>, y: &mut [f32]) {
    match mask {
        Some(mask) => y.iter_mut().zip(mask).zip(x).for_each(|((y, mask), x)| *y = x + mask * *y),
        None => y.iter_mut().zip(x).for_each(|(y, x)| *y += x),
    }
}

/// `to = mask · from`.
fn masked(from: &[f32], mask: Option<&[f32]>, to: &mut Vec<f32>) {
    to.clear();
    match mask {
        Some(mask) => to.extend(from.iter().zip(mask).map(|(x, mask)| x * mask)),
        None => to.extend_from_slice(from),
    }
}

/// What [`attend`] leaves for [`attend_backward`]. Its memory is used again.
#[derive(Debug, Default)]
pub struct Attended {
    normal: Normal,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    shares: Vec<f32>,
    mixed: Vec<f32>,
}

/// `y = x + mask · attention(norm(x))`.
///
/// # Shapes
/// - `weights`: scale and shift of the normalisation; matrix `[width, width]` and bias of query, key, value and output
/// - `x`, `y`, `mask`: `[windows, steps, width]`; without a mask, all of it counts
///
/// # Panics
/// When a slice has another length, the heads do not share the width or a window has more own steps than steps.
#[allow(clippy::too_many_arguments)]
pub fn attend(
    level: Level,
    shape: Shape<'_>,
    weights: [&[f32]; 10],
    x: &[f32],
    mask: Option<&[f32]>,
    seen: &mut Attended,
    scratch: &mut Scratch,
    y: &mut [f32],
) {
    let Attended { normal, query, key, value, shares, mixed } = seen;
    normal.forward(level, [weights[0], weights[1]], x);
    for (at, to) in [(2, &mut *query), (4, key), (6, value)] {
        to.resize(x.len(), 0.0);
        dense(&weights, at, Then::Nothing).forward(level, &normal.read, &mut scratch.linear, to);
    }
    mixed.resize(x.len(), 0.0);
    shares.resize(shape.shares(), 0.0);
    attention::forward(level, shape, [query, key, value], &mut scratch.attention, shares, mixed);
    dense(&weights, 8, Then::Nothing).forward(level, mixed, &mut scratch.linear, y);
    add(x, mask, y);
}

/// The gradients of [`attend`].
///
/// # Shapes
/// - `dy`, `dx`: `[windows, steps, width]`
/// - `gradients`: as the weights
///
/// # Panics
/// As for [`attend`].
#[allow(clippy::too_many_arguments)]
pub fn attend_backward(
    level: Level,
    shape: Shape<'_>,
    weights: [&[f32]; 10],
    seen: &Attended,
    dy: &[f32],
    mask: Option<&[f32]>,
    scratch: &mut Scratch,
    gradients: [&mut [f32]; 10],
    dx: &mut [f32],
) {
    let Attended { normal, query, key, value, shares, mixed } = seen;
    let [scale, shift, qw, qb, kw, kb, vw, vb, ow, ob] = gradients;
    let Scratch { attention, linear, wide: [dout, dmixed, dquery, dkey, dvalue], .. } = scratch;
    masked(dy, mask, dout);
    for gradient in [&mut *dmixed, dquery, dkey, dvalue] {
        gradient.resize(dy.len(), 0.0);
    }
    let gradient = Gradient { w: ow, b: ob };
    let out = dense(&weights, 8, Then::Nothing);
    out.backward(level, mixed, &[], dout, linear, gradient, Some((dmixed, Start::Zero)));
    attention::backward(level, shape, [query, key, value], shares, dmixed, attention, [dquery, dkey, dvalue]);
    let parts = [(2, dquery, qw, qb), (4, dkey, kw, kb), (6, dvalue, vw, vb)];
    for (at, dy, w, b) in parts {
        let start = if at == 2 { Start::Zero } else { Start::Held };
        let layer = dense(&weights, at, Then::Nothing);
        layer.backward(level, &normal.read, &[], dy, linear, Gradient { w, b }, Some((&mut *dx, start)));
    }
    normal.backward(level, weights[0], dx, [scale, shift], dy);
}

/// What [`feed`] leaves for [`feed_backward`]. Its memory is used again.
#[derive(Debug, Default)]
pub struct Fed {
    normal: Normal,
    /// Behind the rectifier, before the mask.
    inner: Vec<f32>,
    /// Behind the mask; empty without one.
    masked: Vec<f32>,
}

/// Masks of the two dropouts of [`feed`].
///
/// # Shapes
/// - `inner`: `[rows, inner width]`
/// - `out`: `[rows, width]`
#[derive(Debug, Clone, Copy)]
pub struct Masks<'a> {
    /// Behind the rectifier.
    pub inner: &'a [f32],
    /// Behind the second layer.
    pub out: &'a [f32],
}

/// `y = x + mask · dense(mask · max(0, dense(norm(x))))`.
///
/// # Shapes
/// - `weights`: scale and shift of the normalisation; matrix `[width, inner]` and bias, matrix `[inner, width]` and bias
/// - `x`, `y`: `[rows, width]`
///
/// # Panics
/// When a slice has another length.
pub fn feed(
    level: Level,
    weights: [&[f32]; 6],
    x: &[f32],
    masks: Option<Masks<'_>>,
    seen: &mut Fed,
    scratch: &mut Scratch,
    y: &mut [f32],
) {
    seen.normal.forward(level, [weights[0], weights[1]], x);
    seen.inner.resize(x.len() / weights[0].len() * weights[3].len(), 0.0);
    dense(&weights, 2, Then::Rectify).forward(level, &seen.normal.read, &mut scratch.linear, &mut seen.inner);
    let inner = match masks {
        Some(masks) => {
            masked(&seen.inner, Some(masks.inner), &mut seen.masked);
            &seen.masked
        }
        None => &seen.inner,
    };
    dense(&weights, 4, Then::Nothing).forward(level, inner, &mut scratch.linear, y);
    add(x, masks.map(|masks| masks.out), y);
}

/// The gradients of [`feed`].
///
/// # Shapes
/// - `dy`, `dx`: `[rows, width]`
/// - `gradients`: as the weights
///
/// # Panics
/// When a slice has another length.
#[allow(clippy::too_many_arguments)]
pub fn feed_backward(
    level: Level,
    weights: [&[f32]; 6],
    seen: &Fed,
    dy: &[f32],
    masks: Option<Masks<'_>>,
    scratch: &mut Scratch,
    gradients: [&mut [f32]; 6],
    dx: &mut [f32],
) {
    let [scale, shift, iw, ib, ow, ob] = gradients;
    let Scratch { linear, wide: [dout, ..], inner: dinner, .. } = scratch;
    masked(dy, masks.map(|masks| masks.out), dout);
    dinner.resize(seen.inner.len(), 0.0);
    let inner = if masks.is_some() { &seen.masked } else { &seen.inner };
    let out = dense(&weights, 4, Then::Nothing);
    out.backward(level, inner, &[], dout, linear, Gradient { w: ow, b: ob }, Some((dinner, Start::Zero)));
    if let Some(masks) = masks {
        dinner.iter_mut().zip(masks.inner).for_each(|(d, mask)| *d *= mask);
    }
    let layer = dense(&weights, 2, Then::Rectify);
    let gradient = Gradient { w: iw, b: ib };
    layer.backward(level, &seen.normal.read, &seen.inner, dinner, linear, gradient, Some((&mut *dx, Start::Zero)));
    seen.normal.backward(level, weights[0], dx, [scale, shift], dy);
}

#[cfg(test)]
mod tests;
