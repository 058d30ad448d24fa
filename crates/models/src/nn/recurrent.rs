//! What recurrent nets share: layers, directions, and how a window is read off.
//!
//! The window is read off as the state after its last own step beside the mean state over its own steps: the first keeps
//! what is going on at the end, the second what happened at any time.

mod fused;
mod graph;

use std::sync::Arc;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use stakeout_core::ModelError;
use stakeout_kernels::recurrent::Order;

use crate::config::within;
use crate::interchange::graph::{Graph, Value};

use super::export::{GraphInput, NamedWeights};
use super::infer::{Infer, OnSlices};
use super::input::Input;
use super::ops::whole::{self, Pool};
use super::weights::{Init, Tensors, WeightSpec};
use super::{Net, Output, Pass, dense};

pub(crate) use fused::Kind;
pub(crate) use graph::Operator;

/// The settings of a recurrent net.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecurrentConfig {
    /// Width of the state.
    pub(crate) hidden: usize,
    /// Recurrent layers, each reading the states of the one below.
    pub(crate) layers: usize,
    /// Whether every layer also reads the window from its end, with states of the same width.
    pub(crate) bidirectional: bool,
    /// Share of activations dropped between layers and before the classifier, while training.
    pub(crate) dropout: f64,
}

impl Default for RecurrentConfig {
    fn default() -> Self {
        Self { hidden: 64, layers: 1, bidirectional: false, dropout: 0.1 }
    }
}

impl RecurrentConfig {
    pub(crate) fn check(&self, kind: &str) -> Result<(), ModelError> {
        within(kind, "hidden", &self.hidden, 1..=1024, "1 to 1024")?;
        within(kind, "layers", &self.layers, 1..=4, "1 to 4")?;
        within(kind, "dropout", &self.dropout, 0.0..=0.9, "0 to 0.9")
    }
}

/// A kind of recurrent layer.
pub(crate) struct Cell {
    /// Its name, before those of its weights.
    pub(crate) name: &'static str,
    /// How many gates stand side by side in its weights.
    pub(crate) gates: usize,
    /// Its biases by name, from the width of the state.
    pub(crate) biases: fn(usize) -> Vec<(&'static str, Init)>,
    /// The same on slices.
    pub(crate) kind: Kind,
    /// Runs it over all steps, from a zero state, in the library's own operations. Where a step is not the row's own, the state is held.
    pub(crate) run: fn(&Steps<'_>, &LayerWeights<'_>) -> Vec<Tensor<2>>,
    /// The same in an exported graph.
    pub(crate) operator: Operator,
}

/// What a layer reads.
pub(crate) struct Steps<'a> {
    /// In the order of reading.
    ///
    /// # Shapes
    /// steps × `[batch, inputs]`
    pub(crate) series: &'a [Tensor<2>],
    /// 1 where the step is the row's own; `None` where all are.
    ///
    /// # Shapes
    /// steps × `[batch, 1]`
    pub(crate) own: Option<&'a [Tensor<2>]>,
}

impl Steps<'_> {
    /// The next value where step `t` is the row's own, the one before elsewhere. Sums of products with 0 and 1 are exact:
    /// a padded row in the batch changes no other row.
    pub(crate) fn hold(&self, t: usize, next: Tensor<2>, before: Tensor<2>) -> Tensor<2> {
        match self.own {
            Some(own) => next * own[t].clone() + before * own[t].clone().neg().add_scalar(1.0),
            None => next,
        }
    }
}

/// The weights of one direction of one layer.
pub(crate) struct LayerWeights<'a> {
    weights: &'a Tensors,
    prefix: String,
    /// Width of the state.
    pub(crate) hidden: usize,
}

impl LayerWeights<'_> {
    /// A matrix, all gates side by side.
    fn whole(&self, name: &str) -> Tensor<2> {
        self.weights.get(&format!("{}.{name}", self.prefix))
    }

    /// A bias, all gates one after another.
    fn flat(&self, name: &str) -> Tensor<1> {
        self.weights.get(&format!("{}.{name}", self.prefix))
    }

    /// A matrix, gate by gate: `[rows, hidden]` each.
    pub(crate) fn matrix<const N: usize>(&self, name: &str) -> [Tensor<2>; N] {
        let all = self.whole(name);
        std::array::from_fn(|gate| all.clone().narrow(1, gate * self.hidden, self.hidden))
    }

    /// A bias, gate by gate: `[1, hidden]` each.
    pub(crate) fn bias<const N: usize>(&self, name: &str) -> [Tensor<2>; N] {
        let all = self.flat(name);
        std::array::from_fn(|gate| all.clone().narrow(0, gate * self.hidden, self.hidden).unsqueeze::<2>())
    }
}

/// A recurrent net.
pub(crate) struct Recurrent {
    pub(crate) cell: Cell,
    pub(crate) config: RecurrentConfig,
    pub(crate) inputs: usize,
    pub(crate) classes: usize,
    fused: Arc<fused::Fused>,
    tapes: Pool<fused::Tape>,
}

impl Recurrent {
    pub(crate) fn new(cell: Cell, config: RecurrentConfig, inputs: usize, classes: usize) -> Self {
        let orders: &[Order] =
            if config.bidirectional { &[Order::Forwards, Order::Backwards] } else { &[Order::Forwards] };
        let RecurrentConfig { hidden: width, layers, dropout, .. } = config;
        let fused = fused::Fused { kind: cell.kind, inputs, width, layers, orders, classes, dropout: dropout as f32 };
        Self { cell, config, inputs, classes, fused: Arc::new(fused), tapes: Pool::default() }
    }

    fn directions(&self) -> &'static [&'static str] {
        if self.config.bidirectional { &["", ".back"] } else { &[""] }
    }

    fn layer<'a>(&self, weights: &'a Tensors, layer: usize, direction: &str) -> LayerWeights<'a> {
        let prefix = format!("{}.{layer}{direction}", self.cell.name);
        LayerWeights { weights, prefix, hidden: self.config.hidden }
    }

    /// Reads a window off step by step, in the library's own operations.
    ///
    /// The inputs are sliced before they are projected, not after: the gradient of a slice is a tensor of the size of the
    /// whole, and the inputs of the first layer need none.
    fn read_stepwise(&self, weights: &Tensors, input: &Input, pass: &mut Pass) -> Tensor<2> {
        let dropout = self.config.dropout as f32;
        let steps = input.values.dims()[1];
        let mut series: Vec<Tensor<2>> =
            (0..steps).map(|t| input.values.clone().narrow(1, t, 1).squeeze_dim(1)).collect();
        let own: Option<Vec<Tensor<2>>> =
            input.padded.then(|| (0..steps).map(|t| input.own.clone().narrow(1, t, 1)).collect());
        let mut read = Vec::new();
        for layer in 0..self.config.layers {
            if layer > 0 {
                // one mask for the series: it is drawn row by row
                let joined: Tensor<3> = pass.dropout(Tensor::stack(series, 1), dropout);
                series = (0..steps).map(|t| joined.clone().narrow(1, t, 1).squeeze_dim(1)).collect();
            }
            let mut directions = Vec::new();
            for direction in self.directions() {
                let layer = self.layer(weights, layer, direction);
                directions.push(if direction.is_empty() {
                    (self.cell.run)(&Steps { series: &series, own: own.as_deref() }, &layer)
                } else {
                    // padding comes first: the state stays zero until the window's last own step
                    let series: Vec<_> = series.iter().rev().cloned().collect();
                    let own: Option<Vec<_>> = own.as_ref().map(|own| own.iter().rev().cloned().collect());
                    (self.cell.run)(&Steps { series: &series, own: own.as_deref() }, &layer)
                });
            }
            read = directions.iter().map(|states| states.last().expect("a window has a step").clone()).collect();
            let forwards = directions.remove(0);
            series = match directions.pop() {
                Some(back) => {
                    forwards.into_iter().zip(back.into_iter().rev()).map(|(f, b)| Tensor::cat(vec![f, b], 1)).collect()
                }
                None => forwards,
            };
        }
        let owned = series.into_iter().enumerate().map(|(t, h)| match &own {
            Some(own) => h * own[t].clone(),
            None => h,
        });
        let sum = owned.reduce(|sum, h| sum + h).expect("a window has at least one step");
        read.push(sum / input.lengths.clone());
        Tensor::cat(read, 1)
    }
}

impl Net for Recurrent {
    /// Uniform in ± 1/√hidden (in the head ± 1/√fan-in), biases as the cell has them.
    fn weights(&self) -> Vec<WeightSpec> {
        let uniform = |width: usize| Init::Uniform(1.0 / (width as f32).sqrt());
        let (h, cell) = (self.config.hidden, &self.cell);
        let directions = self.directions();
        let mut specs = Vec::new();
        for layer in 0..self.config.layers {
            let inputs = if layer == 0 { self.inputs } else { directions.len() * h };
            for direction in directions {
                let mut add = |name: &str, shape: &[usize], init| {
                    specs.push(WeightSpec::new(format!("{}.{layer}{direction}.{name}", cell.name), shape, init));
                };
                add("w_ih", &[inputs, cell.gates * h], uniform(h));
                add("w_hh", &[h, cell.gates * h], uniform(h));
                for (name, init) in (cell.biases)(h) {
                    add(name, &[cell.gates * h], init);
                }
            }
        }
        let read = 2 * directions.len() * h;
        specs.push(WeightSpec::new("head.w", &[read, self.classes], uniform(read)));
        specs.push(WeightSpec::new("head.b", &[self.classes], Init::Zero));
        specs
    }

    fn forward(&self, weights: &Tensors, input: &Input, pass: &mut Pass) -> Output {
        if whole::runs(weights, input, pass) {
            return whole::run(&self.fused, &self.tapes, weights, input, pass);
        }
        let hidden = self.read_stepwise(weights, input, pass);
        let read = pass.dropout(hidden.clone(), self.config.dropout as f32);
        Output { hidden, logits: dense(weights, "head", read) }
    }

    fn infer(&self, weights: &NamedWeights<'_>, _steps: usize) -> Box<dyn Infer> {
        Box::new(OnSlices::new(self.fused.clone(), weights))
    }

    fn graph(&self, graph: &mut Graph, input: &GraphInput, weights: &NamedWeights<'_>) -> Option<Value> {
        Some(graph::build(self, graph, input, weights))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::RecurrentConfig;
    use crate::nn::checks::{self, Given, Named};
    use crate::nn::estimator::NetConfig;

    /// On odd widths, with layers, directions and dropouts.
    pub(crate) fn one_operation_gives_what_the_library_gives<C: NetConfig>() {
        let shapes = [(1, false, 0.0), (1, true, 0.3), (2, false, 0.3), (2, true, 0.0), (3, true, 0.3)];
        for (layers, bidirectional, dropout) in shapes {
            for hidden in [1, 19, 64] {
                let settings = json!({
                    "hidden": hidden, "layers": layers, "bidirectional": bidirectional, "dropout": dropout,
                });
                checks::fused_follows_the_library::<C>(&settings);
            }
        }
    }

    /// One step of a cell: from the weights, their prefix, the input and the values that the cell keeps (the state first)
    /// to the values after it.
    pub(crate) type Step = fn(&Named, &str, &[f64], &[Vec<f64>]) -> Vec<Vec<f64>>;

    /// A recurrent net in plain loops over each window's own steps.
    pub(crate) fn twin(name: &str, config: &RecurrentConfig, given: &Given<'_>, step: Step) -> Vec<Vec<f64>> {
        let h = config.hidden;
        let run = |prefix: &str, series: &mut dyn Iterator<Item = &Vec<f64>>| -> Vec<Vec<f64>> {
            let mut kept = vec![vec![0.0; h]; 2];
            let mut states = Vec::new();
            for x in series {
                kept = step(given.weights, prefix, x, &kept);
                states.push(kept[0].clone());
            }
            states
        };
        let logits = |window: &Vec<Vec<f64>>| {
            let mut series = window.clone();
            let mut read = Vec::new();
            for layer in 0..config.layers {
                let mut states = run(&format!("{name}.{layer}"), &mut series.iter());
                read = states.last().cloned().unwrap_or(vec![0.0; h]);
                if config.bidirectional {
                    let back = run(&format!("{name}.{layer}.back"), &mut series.iter().rev());
                    read.extend(back.last().cloned().unwrap_or(vec![0.0; h]));
                    states.iter_mut().zip(back.iter().rev()).for_each(|(state, back)| state.extend(back));
                }
                series = states;
            }
            let width = read.len();
            let mean = |unit: usize| series.iter().map(|s| s[unit]).sum::<f64>() / series.len().max(1) as f64;
            read.extend((0..width).map(mean));
            given.weights.dense("head", &read)
        };
        given.windows.iter().map(logits).collect()
    }
}
