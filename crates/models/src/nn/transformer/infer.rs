//! A fitted `transformer` on slices.

use stakeout_core::Scratch;
use stakeout_kernels::attention::Shape;
use stakeout_kernels::encoder::{self, Attended, Fed};
use stakeout_kernels::layer_norm;
use stakeout_kernels::linear::{self, Then};
use stakeout_kernels::simd::Level;

use super::{TransformerNet, positions};
use crate::nn::export::NamedWeights;
use crate::nn::infer::{Dense, Infer, mean_of_own_steps};
use crate::nn::ops::parts::resized;
use crate::nn::prepare::Prepared;

struct Fitted {
    heads: usize,
    embed: Dense,
    /// `[steps, width]`
    positions: Vec<f32>,
    layers: Vec<Layer>,
    norm: [Vec<f32>; 2],
    head: Dense,
}

/// The weights of an encoder layer, as its two parts take them.
struct Layer {
    attention: [Vec<f32>; 10],
    dense: [Vec<f32>; 6],
}

#[derive(Default)]
struct Memory {
    x: Vec<f32>,
    y: Vec<f32>,
    attended: Attended,
    fed: Fed,
    linear: linear::Scratch,
    scratch: encoder::Scratch,
    normal: [Vec<f32>; 2],
    mean: Vec<f32>,
}

pub(super) fn build(net: &TransformerNet, weights: &NamedWeights<'_>, steps: usize) -> Box<dyn Infer> {
    let part = |layer: usize, name: &str| weights.get(&format!("encoder.{layer}.{name}")).to_vec();
    let layer = |layer: usize| Layer {
        attention: [
            "norm.scale",
            "norm.shift",
            "query.w",
            "query.b",
            "key.w",
            "key.b",
            "value.w",
            "value.b",
            "out.w",
            "out.b",
        ]
        .map(|name| part(layer, &format!("attention.{name}"))),
        dense: ["norm.scale", "norm.shift", "in.w", "in.b", "out.w", "out.b"]
            .map(|name| part(layer, &format!("dense.{name}"))),
    };
    Box::new(Fitted {
        heads: net.config.heads,
        embed: Dense::new(weights, "embed"),
        positions: positions(steps, net.config.width),
        layers: (0..net.config.layers).map(layer).collect(),
        norm: ["norm.scale", "norm.shift"].map(|name| weights.get(name).to_vec()),
        head: Dense::new(weights, "head"),
    })
}

fn slices<const N: usize>(weights: &[Vec<f32>; N]) -> [&[f32]; N] {
    weights.each_ref().map(Vec::as_slice)
}

impl Infer for Fitted {
    fn logits(&self, input: &Prepared, scratch: &mut Scratch, logits: &mut [f32]) {
        let level = Level::best();
        let Memory { x, y, attended, fed, linear, scratch, normal: [values, inverse], mean } = scratch.state();
        let (rows, steps, width) = (input.rows(), input.steps, self.embed.outputs());
        let shape = Shape { lengths: &input.lengths, steps, width, heads: self.heads };
        let [x, y] = [x, y].map(|buffer| resized(buffer, rows * steps * width));
        self.embed.run(level, &input.values, Then::Nothing, linear, x);
        for window in x.chunks_exact_mut(self.positions.len()) {
            window.iter_mut().zip(&self.positions).for_each(|(x, position)| *x += position);
        }
        for Layer { attention, dense } in &self.layers {
            encoder::attend(level, shape, slices(attention), x, None, attended, scratch, y);
            encoder::feed(level, slices(dense), y, None, fed, scratch, x);
        }
        let normal = [resized(values, x.len()), resized(inverse, rows * steps)];
        layer_norm::forward(level, slices(&self.norm), encoder::EPSILON, x, normal, y);
        let mean = resized(mean, rows * width);
        mean_of_own_steps(input, y, mean);
        self.head.run(level, mean, Then::Nothing, linear, logits);
    }
}
