//! The net on slices, for devices that run it as one operation.

use stakeout_kernels::attention::Shape;
use stakeout_kernels::encoder::{self, Attended, EPSILON, Fed, Masks};
use stakeout_kernels::layer_norm;
use stakeout_kernels::linear::{self, Then};
use stakeout_kernels::simd::Level;

use crate::nn::ops::parts::{Head, mean, mean_gradient, resized, take, take_dense, take_gradient, take_mut};
use crate::nn::ops::whole::{Mode, Out, Whole, Windows};

/// Windows of a part in which a fitted net runs a batch: its numbers stay in the second cache.
const CHUNK: usize = 32;

/// Sizes of the net.
#[derive(Debug)]
pub(super) struct Fused {
    pub(super) inputs: usize,
    pub(super) width: usize,
    pub(super) heads: usize,
    pub(super) layers: usize,
    pub(super) feed_forward: usize,
    pub(super) classes: usize,
    pub(super) dropout: f32,
    /// `[steps, width]`.
    pub(super) positions: Vec<f32>,
}

/// What a pass leaves.
#[derive(Debug, Default)]
pub(super) struct Tape {
    layers: Vec<(Attended, Fed)>,
    normal: Vec<f32>,
    inverse: Vec<f32>,
    head: Head,
    linear: linear::Scratch,
    encoder: encoder::Scratch,
    /// Values of all steps on their way through the layers, and gradients on their way back.
    series: [Vec<f32>; 2],
    by_hidden: Vec<f32>,
}

/// The weights of a layer: of attention, and of the dense layers behind it.
type LayerWeights<'a> = ([&'a [f32]; 10], [&'a [f32]; 6]);

/// The weights, in the order in which they are stored.
struct Weights<'a> {
    embed: linear::Dense<'a>,
    layers: Vec<LayerWeights<'a>>,
    norm: [&'a [f32]; 2],
    head: linear::Dense<'a>,
}

/// Masks per layer: behind attention, inside the dense layers, behind them.
const MASKS: usize = 3;

impl Fused {
    fn attention_sizes(&self) -> [usize; 10] {
        let w = self.width;
        [w, w, w * w, w, w * w, w, w * w, w, w * w, w]
    }

    fn dense_sizes(&self) -> [usize; 6] {
        let (w, inner) = (self.width, self.feed_forward);
        [w, w, w * inner, inner, inner * w, w]
    }

    fn weights<'a>(&self, mut rest: &'a [f32]) -> Weights<'a> {
        Weights {
            embed: take_dense(&mut rest, self.inputs, self.width, Then::Nothing),
            layers: (0..self.layers)
                .map(|_| {
                    let attention = self.attention_sizes().map(|size| take(&mut rest, size));
                    (attention, self.dense_sizes().map(|size| take(&mut rest, size)))
                })
                .collect(),
            norm: [self.width; 2].map(|size| take(&mut rest, size)),
            head: take_dense(&mut rest, self.width, self.classes, Then::Nothing),
        }
    }

    fn shape<'a>(&self, batch: &Windows<'a>) -> Shape<'a> {
        Shape { lengths: batch.lengths, steps: batch.steps, width: self.width, heads: self.heads }
    }

    fn run(
        &self,
        batch: &Windows<'_>,
        weights: &Weights<'_>,
        masks: &[Option<Vec<f32>>],
        tape: &mut Tape,
        out: &mut Out<'_>,
    ) {
        let level = Level::best();
        let len = batch.lengths.len() * batch.steps * self.width;
        let mask = |at: usize| masks.get(at).and_then(Option::as_deref);
        let Tape { layers, normal, inverse, head, linear, encoder, series: [x, y], .. } = tape;
        let (x, y) = (resized(x, len), resized(y, len));
        weights.embed.forward(level, batch.values, linear, x);
        for window in x.chunks_exact_mut(self.positions.len()) {
            window.iter_mut().zip(&self.positions).for_each(|(x, position)| *x += position);
        }
        layers.resize_with(self.layers, Default::default);
        for (at, ((attended, fed), (attention, dense))) in layers.iter_mut().zip(&weights.layers).enumerate() {
            encoder::attend(level, self.shape(batch), *attention, x, mask(MASKS * at), attended, encoder, y);
            let masks = mask(MASKS * at + 1).zip(mask(MASKS * at + 2)).map(|(inner, out)| Masks { inner, out });
            encoder::feed(level, *dense, y, masks, fed, encoder, x);
        }
        let normal = resized(normal, len);
        let inverse = resized(inverse, len / self.width);
        layer_norm::forward(level, weights.norm, EPSILON, x, [normal, inverse], y);
        mean(batch, self.width, y, out.hidden);
        head.forward(weights.head, out.hidden, mask(MASKS * self.layers), out.logits);
    }
}

impl Whole for Fused {
    type Tape = Tape;

    fn widths(&self) -> [usize; 2] {
        [self.width, self.classes]
    }

    fn dropouts(&self, steps: usize) -> Vec<(usize, f32)> {
        let layer = [self.width, self.feed_forward, self.width].map(|width| (steps * width, self.dropout));
        let mut all: Vec<_> = std::iter::repeat_n(layer, self.layers).flatten().collect();
        all.push((self.width, self.dropout));
        all
    }

    fn forward(&self, batch: &Windows<'_>, weights: &[f32], mode: Mode<'_>, tape: &mut Tape, mut out: Out<'_>) {
        let weights = self.weights(weights);
        match mode {
            Mode::Train(masks) => self.run(batch, &weights, masks, tape, &mut out),
            Mode::Infer => {
                let hidden = out.hidden.chunks_mut(CHUNK * self.width);
                let logits = out.logits.chunks_mut(CHUNK * self.classes);
                for (part, (hidden, logits)) in batch.chunks(CHUNK).zip(hidden.zip(logits)) {
                    self.run(&part, &weights, &[], tape, &mut Out { hidden, logits });
                }
            }
        }
    }

    fn backward(
        &self,
        batch: &Windows<'_>,
        weights: &[f32],
        masks: &[Option<Vec<f32>>],
        tape: &mut Tape,
        by: &[f32],
        mut gradient: &mut [f32],
    ) {
        let level = Level::best();
        let weights = self.weights(weights);
        let rest = &mut gradient;
        let into_embed = take_gradient(rest, self.inputs, self.width);
        let into_layers: Vec<_> = (0..self.layers)
            .map(|_| {
                let attention = self.attention_sizes().map(|size| take_mut(rest, size));
                (attention, self.dense_sizes().map(|size| take_mut(rest, size)))
            })
            .collect();
        let into_norm = [self.width; 2].map(|size| take_mut(rest, size));
        let into_head = take_gradient(rest, self.width, self.classes);

        let mask = |at: usize| masks[at].as_deref();
        let Tape { layers, normal, inverse, head, linear, encoder, series: [dx, dy], by_hidden } = tape;
        head.backward(weights.head, mask(MASKS * self.layers), by, into_head, by_hidden);
        mean_gradient(batch, self.width, by_hidden, dy);
        layer_norm::backward(level, weights.norm[0], [normal, inverse], dy, into_norm);
        let all = layers.iter().zip(&weights.layers).zip(into_layers).enumerate().rev();
        for (at, (((attended, fed), (attention, dense)), (into_attention, into_dense))) in all {
            let masks = mask(MASKS * at + 1).zip(mask(MASKS * at + 2)).map(|(inner, out)| Masks { inner, out });
            encoder::feed_backward(level, *dense, fed, dy, masks, encoder, into_dense, dx);
            let shape = self.shape(batch);
            encoder::attend_backward(
                level,
                shape,
                *attention,
                attended,
                dx,
                mask(MASKS * at),
                encoder,
                into_attention,
                dy,
            );
        }
        // positions are no weights, and the batch has no gradient
        weights.embed.backward(level, batch.values, &[], dy, linear, into_embed, None);
    }
}
