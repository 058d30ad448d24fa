//! What recurrent nets share: layers, directions, and how a window is read off.
//!
//! The window is read off as the state after its last own step beside the mean state over its own steps: the first keeps
//! what is going on at the end, the second what happened at any time.

mod graph;
mod infer;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use stakeout_core::ModelError;
use stakeout_kernels::recurrent::Order;

use crate::config::within;
use crate::interchange::graph::{Graph, Value};

use super::export::{GraphInput, NamedWeights};
use super::infer::Infer;
use super::input::Input;
use super::weights::{Init, Tensors, WeightSpec};
use super::{Net, Output, Pass, dense, ops};

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
    /// The same as one operation.
    pub(crate) fused: ops::recurrent::Cell,
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
}

impl Recurrent {
    fn directions(&self) -> &'static [&'static str] {
        if self.config.bidirectional { &["", ".back"] } else { &[""] }
    }

    fn layer<'a>(&self, weights: &'a Tensors, layer: usize, direction: &str) -> LayerWeights<'a> {
        let prefix = format!("{}.{layer}{direction}", self.cell.name);
        LayerWeights { weights, prefix, hidden: self.config.hidden }
    }

    /// Reads a window off, each layer as one operation.
    ///
    /// # Shapes
    /// `[batch, 2 · directions · hidden]`
    fn read_fused(&self, weights: &Tensors, input: &Input, pass: &mut Pass) -> Tensor<2> {
        let (h, last) = (self.config.hidden, self.config.layers - 1);
        let run = |series: &Tensor<3>, layer: usize, direction: &str, read: ops::recurrent::Read| {
            let weights = self.layer(weights, layer, direction);
            let biases = (self.cell.biases)(h).into_iter().map(|(name, _)| weights.flat(name)).collect::<Vec<_>>();
            let bias = if biases.len() == 1 { biases[0].clone() } else { Tensor::cat(biases, 0) };
            let layer = ops::recurrent::Layer {
                cell: self.cell.fused,
                lengths: input.own_steps.clone(),
                constant: if layer == 0 { input.constant } else { 0 },
                order: if direction.is_empty() { Order::Forwards } else { Order::Backwards },
                read,
            };
            (series.clone(), ["w_ih", "w_hh"].map(|name| weights.whole(name)), bias, layer)
        };
        let mut series = input.values.clone();
        for layer in 0..last {
            let directions = self.directions().iter().map(|direction| {
                let (series, matrices, bias, layer) = run(&series, layer, direction, ops::recurrent::Read::Series);
                ops::recurrent::recurrent::<3>(series, matrices, bias, layer)
            });
            let directions: Vec<_> = directions.collect();
            let states = if directions.len() == 1 { directions[0].clone() } else { Tensor::cat(directions, 2) };
            series = pass.dropout(states, self.config.dropout as f32);
        }
        let directions = self.directions().iter().map(|direction| {
            let (series, matrices, bias, layer) = run(&series, last, direction, ops::recurrent::Read::Ends);
            ops::recurrent::recurrent::<2>(series, matrices, bias, layer)
        });
        let directions: Vec<Tensor<2>> = directions.collect();
        match &directions[..] {
            [forwards] => forwards.clone(),
            both => {
                let part = |from: usize| both.iter().map(move |ends| ends.clone().narrow(1, from, h));
                Tensor::cat(part(0).chain(part(h)).collect(), 1)
            }
        }
    }

    /// The same step by step, in the library's own operations.
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
                series = series.into_iter().map(|x| pass.dropout(x, dropout)).collect();
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
        let hidden = if ops::fused(&input.values.device()) {
            self.read_fused(weights, input, pass)
        } else {
            self.read_stepwise(weights, input, pass)
        };
        let read = pass.dropout(hidden.clone(), self.config.dropout as f32);
        Output { hidden, logits: dense(weights, "head", read) }
    }

    fn infer(&self, weights: &NamedWeights<'_>, _steps: usize) -> Box<dyn Infer> {
        infer::build(self, weights)
    }

    fn graph(&self, graph: &mut Graph, input: &GraphInput, weights: &NamedWeights<'_>) -> Option<Value> {
        Some(graph::build(self, graph, input, weights))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use burn::tensor::{Device, Tensor, TensorData};
    use stakeout_core::{Batch, Geometry, InputKind};

    use super::{Cell, Recurrent, RecurrentConfig};
    use crate::nn::checks::{Given, Named};
    use crate::nn::input::{self, Input};
    use crate::nn::rng::{Purpose, generator, unit};
    use crate::nn::weights::{self, Tensors, read};
    use crate::nn::{Net, Pass};

    /// What is read off and its gradient by all weights, as one operation a layer and step by step on both devices.
    pub(crate) fn fused_follows_stepwise(cell: fn() -> Cell) {
        let sizes = [(1, 1, 1, 1), (3, 1, 2, 5), (1, 6, 4, 16), (9, 5, 3, 19), (33, 7, 46, 64), (2, 3, 101, 8)];
        for (case, (rows, steps, channels, hidden)) in (0..).zip(sizes) {
            for (layers, bidirectional) in [(1, false), (1, true), (2, false), (2, true), (3, true)] {
                let config = RecurrentConfig { hidden, layers, bidirectional, dropout: 0.0 };
                let geometry = Geometry { channels, steps, features: 1, classes: 2 };
                let inputs = input::width(InputKind::Tensor, geometry);
                let net = Recurrent { cell: cell(), config, inputs, classes: 2 };
                let specs = net.weights();
                let mut rng = generator(case, Purpose::Weights, 0);
                let values: Vec<f32> = (0..weights::total(&specs)).map(|_| unit(&mut rng) - 0.5).collect();
                let mut batch = Batch::new(InputKind::Tensor, geometry);
                let mut draw = || if unit(&mut rng) < 0.1 { f32::NAN } else { unit(&mut rng) * 4.0 - 2.0 };
                batch.values = (0..rows * channels * steps).map(|_| draw()).collect();
                batch.lengths = (0..rows).map(|row| ((steps + 2 * row) % (steps + 1)) as u32).collect();
                let by: Vec<f32> = (0..rows * 2 * hidden * net.directions().len()).map(|i| (i as f32).sin()).collect();

                let run = |device: &Device, fused: bool| {
                    let tensors = Tensors::tracked(&specs, &values, &device.clone().autodiff());
                    let input = Input::new(&batch, device).unwrap();
                    let hidden = if fused {
                        net.read_fused(&tensors, &input, &mut Pass::Infer)
                    } else {
                        net.read_stepwise(&tensors, &input, &mut Pass::Infer)
                    };
                    let by = Tensor::<2>::from_data(TensorData::new(by.clone(), hidden.dims()), &hidden.device());
                    let gradient = tensors.gradient(&(hidden.clone() * by).sum()).unwrap();
                    (read(hidden).unwrap(), gradient)
                };
                let flex = Device::flex();
                #[allow(deprecated)] // the reference device
                let reference = Device::ndarray();
                let (fused, fused_gradient) = run(&flex, true);
                for (stepwise, gradient) in [run(&flex, false), run(&reference, false)] {
                    assert_near(&fused, &stepwise, 1e-5);
                    assert_near(&fused_gradient, &gradient, 1e-5);
                }
                let plain = Tensors::new(&specs, &values, &flex);
                let input = Input::new(&batch, &flex).unwrap();
                assert_eq!(read(net.read_fused(&plain, &input, &mut Pass::Infer)).unwrap(), fused);
            }
        }
    }

    /// Within a share of the largest number.
    fn assert_near(a: &[f32], b: &[f32], share: f32) {
        assert_eq!(a.len(), b.len());
        let size = b.iter().fold(1.0f32, |size, b| size.max(b.abs()));
        for (at, (a, b)) in a.iter().zip(b).enumerate() {
            assert!((a - b).abs() <= share * size, "{a} and {b} at {at}, {size} the largest");
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
