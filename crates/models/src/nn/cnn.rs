//! `cnn`: a fully convolutional net over the steps of a window (Wang, Yan and Oates 2017): blocks of convolution, batch
//! normalisation and rectifier, then the mean over the window's own steps.

mod fused;
mod graph;
mod infer;

use std::sync::Arc;

use burn::tensor::activation::relu;
use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use stakeout_core::{Geometry, ModelError};

use crate::config::within;
use crate::interchange::graph::{Graph, Value};

use super::config::{TrainConfig, train_defaults};
use super::estimator::NetConfig;
use super::export::{GraphInput, NamedWeights};
use super::infer::Infer;
use super::input::{self, Input};
use super::norm::{batch_norm, batch_norm_weights};
use super::ops::whole::{self, Pool};
use super::weights::{Init, Tensors, WeightSpec};
use super::{Net, Output, Pass, RECTIFIED, dense, dense_weights};

/// The settings of `[model.cnn]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CnnConfig {
    /// Filters of each block.
    filters: Vec<usize>,
    /// Steps that a filter of each block sees.
    kernels: Vec<usize>,
    /// Share of activations dropped before the classifier, while training.
    dropout: f64,
}

impl Default for CnnConfig {
    fn default() -> Self {
        Self { filters: vec![64, 128, 64], kernels: vec![8, 5, 3], dropout: 0.1 }
    }
}

impl NetConfig for CnnConfig {
    const KIND: &'static str = "cnn";
    const ABOUT: &'static str = "convolutions over the steps of a window";
    const DEFAULTS: &'static str = concat!(
        "filters = [64, 128, 64]  # filters of each block
kernels = [8, 5, 3]      # steps that a filter of each block sees
dropout = 0.1            # share dropped before the classifier, while training
",
        train_defaults!(learning_rate = "0.003")
    );

    fn train() -> TrainConfig {
        TrainConfig { learning_rate: 3e-3, ..TrainConfig::default() }
    }

    fn check(&self) -> Result<(), ModelError> {
        within(Self::KIND, "filters", &self.filters.len(), 1..=8, "1 to 8 blocks")?;
        for (filters, kernel) in self.filters.iter().zip(&self.kernels) {
            within(Self::KIND, "filters", filters, 1..=1024, "1 to 1024 in each block")?;
            within(Self::KIND, "kernels", kernel, 1..=64, "1 to 64 in each block")?;
        }
        let blocks = self.filters.len();
        within(Self::KIND, "kernels", &self.kernels.len(), blocks..=blocks, "one for each block in `filters`")?;
        within(Self::KIND, "dropout", &self.dropout, 0.0..=0.9, "0 to 0.9")
    }

    fn net(&self, geometry: Geometry) -> Box<dyn Net> {
        let inputs = input::width(Self::INPUT, geometry);
        Box::new(CnnNet::new(self.clone(), inputs, geometry.classes))
    }
}

struct CnnNet {
    config: CnnConfig,
    inputs: usize,
    classes: usize,
    fused: Arc<fused::Fused>,
    tapes: Pool<fused::Tape>,
}

impl CnnNet {
    fn new(config: CnnConfig, inputs: usize, classes: usize) -> Self {
        let blocks = blocks(&config, inputs).map(|(inputs, filters, kernel)| [inputs, filters, kernel]).collect();
        let fused = fused::Fused { blocks, classes, dropout: config.dropout as f32 };
        Self { config, inputs, classes, fused: Arc::new(fused), tapes: Pool::default() }
    }

    /// Inputs, filters and kernel of each block.
    fn blocks(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        blocks(&self.config, self.inputs)
    }
}

fn blocks(config: &CnnConfig, inputs: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let CnnConfig { filters, kernels, .. } = config;
    let inputs = std::iter::once(inputs).chain(filters.iter().copied());
    inputs.zip(filters).zip(kernels).map(|((inputs, filters), kernel)| (inputs, *filters, *kernel))
}

impl Net for CnnNet {
    /// A convolution has no bias: the normalisation after it has one. Its weights stand as `[kernel · inputs, filters]`.
    fn weights(&self) -> Vec<WeightSpec> {
        let mut specs = Vec::new();
        for (block, (inputs, filters, kernel)) in self.blocks().enumerate() {
            let bound = RECTIFIED / ((kernel * inputs) as f32).sqrt();
            specs.push(WeightSpec::new(format!("cnn.{block}.w"), &[kernel * inputs, filters], Init::Uniform(bound)));
            specs.extend(batch_norm_weights(&format!("cnn.{block}.norm"), filters));
        }
        let width = self.config.filters.last().copied().expect("at least one block");
        specs.extend(dense_weights("head", width, self.classes, 1.0));
        specs
    }

    fn forward(&self, weights: &Tensors, input: &Input, pass: &mut Pass) -> Output {
        if whole::runs(weights, input, pass) {
            return whole::run(&self.fused, &self.tapes, weights, input, pass);
        }
        let [batch, steps, _] = input.values.dims();
        // each own step of the batch weighs the same in the statistics
        let own = input.own.clone().reshape([1, batch * steps]);
        let share = own.clone() / own.sum_dim(1).clamp_min(1.0);
        let mut x = input.values.clone();
        for (block, (_, filters, kernel)) in self.blocks().enumerate() {
            let seen = surroundings(x, kernel);
            let convolved = seen.matmul(weights.get(&format!("cnn.{block}.w")));
            let normal = batch_norm(weights, &format!("cnn.{block}.norm"), convolved, &share, pass);
            x = input.mask(relu(normal).reshape([batch, steps, filters]));
        }
        let hidden = input.mean(x);
        let read = pass.dropout(hidden.clone(), self.config.dropout as f32);
        Output { hidden, logits: dense(weights, "head", read) }
    }

    fn infer(&self, weights: &NamedWeights<'_>, steps: usize) -> Box<dyn Infer> {
        infer::build(self, weights, steps)
    }

    fn graph(&self, graph: &mut Graph, input: &GraphInput, weights: &NamedWeights<'_>) -> Option<Value> {
        Some(graph::build(self, graph, input, weights))
    }
}

/// What a filter sees at each step: `kernel` steps around it, side by side, with zeros beyond both ends. An even kernel
/// sees one step more after its own than before.
///
/// # Shapes
/// - `x`: `[batch, steps, width]`
/// - output: `[batch · steps, kernel · width]`
fn surroundings(x: Tensor<3>, kernel: usize) -> Tensor<2> {
    let [batch, steps, width] = x.dims();
    if kernel == 1 {
        return x.reshape([batch * steps, width]);
    }
    let before = (kernel - 1) / 2;
    let zero = batch * steps; // the row of zeros behind all steps
    let seen = (0..zero as i64).flat_map(|row| {
        let step = row as usize % steps;
        (0..kernel).map(move |k| {
            let inside = (before..steps + before).contains(&(step + k));
            if inside { row + k as i64 - before as i64 } else { zero as i64 }
        })
    });
    let seen = TensorData::new(seen.collect::<Vec<i64>>(), [batch * steps * kernel]);
    let seen = Tensor::<1, Int>::from_data(seen, &x.device());
    let nothing = Tensor::zeros([1, width], &x.device());
    let rows = Tensor::cat(vec![x.reshape([batch * steps, width]), nothing], 0);
    rows.select(0, seen).reshape([batch * steps, kernel * width])
}

#[cfg(test)]
mod tests;
