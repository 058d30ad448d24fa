//! A fitted `mlp` on slices.

use stakeout_core::Scratch;
use stakeout_kernels::linear::{self, Then};
use stakeout_kernels::simd::Level;

use super::MlpNet;
use crate::nn::export::NamedWeights;
use crate::nn::infer::{Dense, Infer};
use crate::nn::ops::parts::resized;
use crate::nn::prepare::Prepared;

struct Fitted {
    layers: Vec<Dense>,
    head: Dense,
}

#[derive(Default)]
struct Memory {
    hidden: [Vec<f32>; 2],
    linear: linear::Scratch,
}

pub(super) fn build(net: &MlpNet, weights: &NamedWeights<'_>) -> Box<dyn Infer> {
    let layers = (0..net.config.layers).map(|layer| Dense::new(weights, &format!("mlp.{layer}"))).collect();
    Box::new(Fitted { layers, head: Dense::new(weights, "head") })
}

impl Infer for Fitted {
    fn logits(&self, input: &Prepared, scratch: &mut Scratch, logits: &mut [f32]) {
        let level = Level::best();
        let Memory { hidden: [x, y], linear } = scratch.state();
        let mut width = input.width;
        for (number, layer) in self.layers.iter().enumerate() {
            let read = if number == 0 { &input.values } else { &x[..input.rows() * width] };
            width = layer.outputs();
            let made = resized(y, input.rows() * width);
            layer.run(level, read, Then::Rectify, linear, made);
            std::mem::swap(x, y);
        }
        self.head.run(level, &x[..input.rows() * width], Then::Nothing, linear, logits);
    }
}
