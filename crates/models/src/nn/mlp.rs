//! `mlp`: dense layers over a window's summary and what of it was missing.

mod fused;
mod infer;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stakeout_core::{Geometry, InputKind, ModelError};

use burn::tensor::activation::relu;

use crate::config::within;
use crate::interchange::graph::{Graph, Value};

use super::config::train_defaults;
use super::estimator::NetConfig;
use super::export::{self, GraphInput, NamedWeights};
use super::infer::Infer;
use super::input::{self, Input};
use super::ops::whole::{self, Pool};
use super::weights::{Tensors, WeightSpec};
use super::{Net, Output, Pass, RECTIFIED, dense, dense_weights};

/// The settings of `[model.mlp]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MlpConfig {
    /// Width of every hidden layer.
    hidden: usize,
    /// Hidden layers.
    layers: usize,
    /// Share of activations dropped after every hidden layer, while training.
    dropout: f64,
}

impl Default for MlpConfig {
    fn default() -> Self {
        Self { hidden: 128, layers: 2, dropout: 0.2 }
    }
}

impl NetConfig for MlpConfig {
    const KIND: &'static str = "mlp";
    const ABOUT: &'static str = "dense layers over window summaries and what of them was missing";
    const DEFAULTS: &'static str = concat!(
        "hidden = 128             # width of every hidden layer
layers = 2               # hidden layers
dropout = 0.2            # share dropped after every hidden layer, while training
",
        train_defaults!(learning_rate = "0.003")
    );
    const INPUT: InputKind = InputKind::Summary;

    fn check(&self) -> Result<(), ModelError> {
        within(Self::KIND, "hidden", &self.hidden, 1..=4096, "1 to 4096")?;
        within(Self::KIND, "layers", &self.layers, 1..=8, "1 to 8")?;
        within(Self::KIND, "dropout", &self.dropout, 0.0..=0.9, "0 to 0.9")
    }

    fn net(&self, geometry: Geometry) -> Box<dyn Net> {
        let inputs = input::width(Self::INPUT, geometry);
        Box::new(MlpNet::new(self.clone(), inputs, geometry.classes))
    }
}

struct MlpNet {
    config: MlpConfig,
    inputs: usize,
    classes: usize,
    fused: Arc<fused::Fused>,
    tapes: Pool<fused::Tape>,
}

impl MlpNet {
    fn new(config: MlpConfig, inputs: usize, classes: usize) -> Self {
        let MlpConfig { hidden, layers, dropout } = config;
        let fused = fused::Fused { inputs, hidden, layers, classes, dropout: dropout as f32 };
        Self { config, inputs, classes, fused: Arc::new(fused), tapes: Pool::default() }
    }
}

impl Net for MlpNet {
    fn weights(&self) -> Vec<WeightSpec> {
        let MlpConfig { hidden, layers, .. } = self.config;
        let mut specs = Vec::new();
        for layer in 0..layers {
            let inputs = if layer == 0 { self.inputs } else { hidden };
            specs.extend(dense_weights(&format!("mlp.{layer}"), inputs, hidden, RECTIFIED));
        }
        specs.extend(dense_weights("head", hidden, self.classes, 1.0));
        specs
    }

    fn forward(&self, weights: &Tensors, input: &Input, pass: &mut Pass) -> Output {
        if whole::runs(weights, input, pass) {
            return whole::run(&self.fused, &self.tapes, weights, input, pass);
        }
        let mut x = input.values.clone().squeeze_dim::<2>(1);
        let mut hidden = x.clone();
        for layer in 0..self.config.layers {
            hidden = relu(dense(weights, &format!("mlp.{layer}"), x));
            x = pass.dropout(hidden.clone(), self.config.dropout as f32);
        }
        Output { hidden, logits: dense(weights, "head", x) }
    }

    fn infer(&self, weights: &NamedWeights<'_>, _steps: usize) -> Box<dyn Infer> {
        infer::build(self, weights)
    }

    /// Its gradient is large beside a window: few shards, so that few of them are added.
    fn shard(&self) -> usize {
        128
    }

    fn graph(&self, graph: &mut Graph, input: &GraphInput, weights: &NamedWeights<'_>) -> Option<Value> {
        let mut x = graph.squeeze(&input.values, 1);
        for layer in 0..self.config.layers {
            x = export::dense(graph, weights, &format!("mlp.{layer}"), &x);
            x = graph.relu(&x);
        }
        Some(export::dense(graph, weights, "head", &x))
    }
}

#[cfg(test)]
mod tests;
