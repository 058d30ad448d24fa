//! A fitted `cnn` on slices: the normalisation after each convolution is part of its filters.

use stakeout_core::Scratch;
use stakeout_kernels::conv::{self, Filters, Shape};
use stakeout_kernels::linear::{self, Then};
use stakeout_kernels::simd::Level;

use super::CnnNet;
use crate::nn::export::NamedWeights;
use crate::nn::infer::{Dense, Infer, mean_of_own_steps};
use crate::nn::norm::line;
use crate::nn::ops::parts::resized;
use crate::nn::prepare::Prepared;

struct Fitted {
    blocks: Vec<Block>,
    head: Dense,
}

struct Block {
    filters: Filters,
    /// Added to what each filter makes.
    offset: Vec<f32>,
}

#[derive(Default)]
struct Memory {
    x: Vec<f32>,
    y: Vec<f32>,
    seen: conv::Seen,
    linear: linear::Scratch,
    scratch: conv::Scratch,
    mean: Vec<f32>,
}

pub(super) fn build(net: &CnnNet, weights: &NamedWeights<'_>, steps: usize) -> Box<dyn Infer> {
    let block = |(number, (inputs, filters, kernel)): (usize, (usize, usize, usize))| {
        let (factor, offset) = line(weights, &format!("cnn.{number}.norm"));
        let mut values = weights.get(&format!("cnn.{number}.w")).to_vec();
        for row in values.chunks_exact_mut(filters) {
            row.iter_mut().zip(&factor).for_each(|(weight, factor)| *weight *= factor);
        }
        let shape = Shape { rows: 0, steps, inputs, filters, kernel };
        Block { filters: Filters::new(Level::best(), shape, &values), offset }
    };
    Box::new(Fitted { blocks: net.blocks().enumerate().map(block).collect(), head: Dense::new(weights, "head") })
}

impl Infer for Fitted {
    fn logits(&self, input: &Prepared, scratch: &mut Scratch, logits: &mut [f32]) {
        let level = Level::best();
        let Memory { x, y, seen, linear, scratch, mean } = scratch.state();
        let (rows, steps) = (input.rows(), input.steps);
        let mut width = input.width;
        for (number, Block { filters, offset }) in self.blocks.iter().enumerate() {
            let read = if number == 0 { &input.values } else { &x[..rows * steps * width] };
            width = offset.len();
            let made = resized(y, rows * steps * width);
            conv::forward(level, filters, read, seen, scratch, made);
            for (window, length) in made.chunks_exact_mut(steps * width).zip(&input.lengths) {
                let (own, padding) = window.split_at_mut(*length as usize * width);
                for step in own.chunks_exact_mut(width) {
                    step.iter_mut().zip(offset).for_each(|(x, offset)| *x = (*x + offset).max(0.0));
                }
                padding.fill(0.0);
            }
            std::mem::swap(x, y);
        }
        let mean = resized(mean, rows * width);
        mean_of_own_steps(input, &x[..rows * steps * width], mean);
        self.head.run(level, mean, Then::Nothing, linear, logits);
    }
}
