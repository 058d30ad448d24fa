//! `transformer`: an encoder over the steps of a window (Vaswani et al. 2017), normalised before each part (Xiong et al.
//! 2020), then the mean over the window's own steps.

mod fused;
mod graph;
mod infer;

use std::sync::Arc;

use burn::tensor::activation::{relu, softmax};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};
use stakeout_core::{Geometry, ModelError};

use crate::config::within;
use crate::interchange::graph::{Graph, Value};

use super::config::{TrainConfig, train_defaults};
use super::estimator::NetConfig;
use super::export::{GraphInput, NamedWeights};
use super::infer::Infer;
use super::input::{self, Input};
use super::norm::{layer_norm, layer_norm_weights};
use super::ops::whole::{self, Pool};
use super::weights::{Tensors, WeightSpec};
use super::{Net, Output, Pass, RECTIFIED, dense, dense_weights};

/// Attention weights of one window at most, heads × steps²: a quarter of a gibibyte.
const MOST_SHARES: usize = 1 << 26;
/// Added to the score of a padding step: its attention is 0 in single precision.
const NEVER: f64 = -1e9;

/// The settings of `[model.transformer]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TransformerConfig {
    /// Width of the representation of a step.
    width: usize,
    /// Attention heads, each of `width / heads`.
    heads: usize,
    /// Encoder layers.
    layers: usize,
    /// Width of the dense layer inside each encoder layer.
    feed_forward: usize,
    /// Share of activations dropped after each part and before the classifier, while training.
    dropout: f64,
}

impl Default for TransformerConfig {
    fn default() -> Self {
        Self { width: 64, heads: 4, layers: 2, feed_forward: 128, dropout: 0.1 }
    }
}

impl NetConfig for TransformerConfig {
    const KIND: &'static str = "transformer";
    const ABOUT: &'static str = "attention over the steps of a window";
    const DEFAULTS: &'static str = concat!(
        "width = 64               # width of the representation of a step
heads = 4                # attention heads; they share the width
layers = 2               # encoder layers
feed_forward = 128       # width of the dense layer inside each encoder layer
dropout = 0.1            # share dropped after each part and before the classifier, while training
",
        train_defaults!(learning_rate = "0.001")
    );

    fn train() -> TrainConfig {
        TrainConfig { learning_rate: 1e-3, ..TrainConfig::default() }
    }

    fn check(&self) -> Result<(), ModelError> {
        within(Self::KIND, "heads", &self.heads, 1..=64, "1 to 64")?;
        within(Self::KIND, "width", &self.width, 2..=1024, "2 to 1024")?;
        let rest = self.width % self.heads;
        within(Self::KIND, "width", &rest, 0..=0, "a multiple of `heads`; this is the rest of the division")?;
        within(Self::KIND, "layers", &self.layers, 1..=12, "1 to 12")?;
        within(Self::KIND, "feed_forward", &self.feed_forward, 1..=4096, "1 to 4096")?;
        within(Self::KIND, "dropout", &self.dropout, 0.0..=0.9, "0 to 0.9")
    }

    fn check_geometry(&self, geometry: Geometry) -> Result<(), ModelError> {
        let room = geometry.steps.checked_mul(geometry.steps).and_then(|room| room.checked_mul(self.heads));
        if room.is_none_or(|room| room > MOST_SHARES) {
            let why =
                format!("{} heads over {} steps: fewer steps a window (window.steps)", self.heads, geometry.steps);
            return Err(ModelError::Data(format!("[model.transformer] attention of {why} are needed")));
        }
        Ok(())
    }

    fn net(&self, geometry: Geometry) -> Box<dyn Net> {
        let inputs = input::width(Self::INPUT, geometry);
        Box::new(TransformerNet::new(self.clone(), inputs, geometry))
    }
}

struct TransformerNet {
    config: TransformerConfig,
    inputs: usize,
    classes: usize,
    fused: Arc<fused::Fused>,
    tapes: Pool<fused::Tape>,
}

impl TransformerNet {
    fn new(config: TransformerConfig, inputs: usize, geometry: Geometry) -> Self {
        let TransformerConfig { width, heads, layers, feed_forward, dropout } = config;
        let (classes, dropout, positions) = (geometry.classes, dropout as f32, positions(geometry.steps, width));
        let fused = fused::Fused { inputs, width, heads, layers, feed_forward, classes, dropout, positions };
        Self { config, inputs, classes, fused: Arc::new(fused), tapes: Pool::default() }
    }
}

impl Net for TransformerNet {
    fn weights(&self) -> Vec<WeightSpec> {
        let TransformerConfig { width, layers, feed_forward, .. } = self.config;
        let mut specs = dense_weights("embed", self.inputs, width, 1.0).to_vec();
        for layer in 0..layers {
            let name = |part: &str| format!("encoder.{layer}.{part}");
            specs.extend(layer_norm_weights(&name("attention.norm"), width));
            for part in ["query", "key", "value", "out"] {
                specs.extend(dense_weights(&name(&format!("attention.{part}")), width, width, 1.0));
            }
            specs.extend(layer_norm_weights(&name("dense.norm"), width));
            specs.extend(dense_weights(&name("dense.in"), width, feed_forward, RECTIFIED));
            specs.extend(dense_weights(&name("dense.out"), feed_forward, width, 1.0));
        }
        specs.extend(layer_norm_weights("norm", width));
        specs.extend(dense_weights("head", width, self.classes, 1.0));
        specs
    }

    fn forward(&self, weights: &Tensors, input: &Input, pass: &mut Pass) -> Output {
        if whole::runs(weights, input, pass) {
            return whole::run(&self.fused, &self.tapes, weights, input, pass);
        }
        let [batch, steps, inputs] = input.values.dims();
        let (width, dropout) = (self.config.width, self.config.dropout as f32);
        let embedded = dense(weights, "embed", input.values.clone().reshape([batch * steps, inputs]));
        let positions = TensorData::new(positions(steps, width), [steps, width]);
        let positions = Tensor::<2>::from_data(positions, &embedded.device());
        let mut x =
            (embedded.reshape([batch, steps, width]) + positions.unsqueeze_dim(0)).reshape([batch * steps, width]);
        let padding = input.padded.then(|| {
            let padding = input.own.clone().neg().add_scalar(1.0).mul_scalar(NEVER);
            padding.reshape([batch, 1, 1, steps])
        });
        for layer in 0..self.config.layers {
            let name = |part: &str| format!("encoder.{layer}.{part}");
            let seen = layer_norm(weights, &name("attention.norm"), x.clone());
            let attended = self.attend(weights, &name("attention"), &seen, [batch, steps], padding.as_ref());
            x = x + pass.dropout(attended, dropout);
            let seen = layer_norm(weights, &name("dense.norm"), x.clone());
            let inner = pass.dropout(relu(dense(weights, &name("dense.in"), seen)), dropout);
            x = x + pass.dropout(dense(weights, &name("dense.out"), inner), dropout);
        }
        let hidden = input.mean(layer_norm(weights, "norm", x).reshape([batch, steps, width]));
        let read = pass.dropout(hidden.clone(), dropout);
        Output { hidden, logits: dense(weights, "head", read) }
    }

    fn infer(&self, weights: &NamedWeights<'_>, steps: usize) -> Box<dyn Infer> {
        infer::build(self, weights, steps)
    }

    fn graph(&self, graph: &mut Graph, input: &GraphInput, weights: &NamedWeights<'_>) -> Option<Value> {
        Some(graph::build(self, graph, input, weights))
    }
}

impl TransformerNet {
    /// Attention of every step to every own step of its window, in `heads` parts of the width.
    ///
    /// # Shapes
    /// - `x` and output: `[batch · steps, width]`
    /// - `padding`: `[batch, 1, 1, steps]`
    fn attend(
        &self,
        weights: &Tensors,
        name: &str,
        x: &Tensor<2>,
        [batch, steps]: [usize; 2],
        padding: Option<&Tensor<4>>,
    ) -> Tensor<2> {
        let TransformerConfig { width, heads, .. } = self.config;
        let part = |part: &str| {
            let all = dense(weights, &format!("{name}.{part}"), x.clone());
            all.reshape([batch, steps, heads, width / heads]).swap_dims(1, 2)
        };
        let scale = 1.0 / ((width / heads) as f32).sqrt();
        let scores = part("query").mul_scalar(scale).matmul(part("key").swap_dims(2, 3));
        let scores = match padding {
            Some(padding) => scores + padding.clone(),
            None => scores,
        };
        let mixed = softmax(scores, 3).matmul(part("value"));
        let mixed = mixed.swap_dims(1, 2).reshape([batch * steps, width]);
        dense(weights, &format!("{name}.out"), mixed)
    }
}

/// Where each step lies, as sines and cosines of wavelengths from 2π to 10,000 · 2π steps (Vaswani et al. 2017,
/// section 3.5).
///
/// # Shapes
/// `[steps, width]`
fn positions(steps: usize, width: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(steps * width);
    for step in 0..steps {
        for i in 0..width {
            let angle = step as f64 / 10_000f64.powf((i / 2 * 2) as f64 / width as f64);
            values.push(if i % 2 == 0 { angle.sin() } else { angle.cos() } as f32);
        }
    }
    values
}

#[cfg(test)]
mod tests;
