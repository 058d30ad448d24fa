//! `lstm`: long short-term memory over the steps of a window (Hochreiter and Schmidhuber 1997; with the forget gate of
//! Gers, Schmidhuber and Cummins 2000, whose bias starts at 1, so that a net begins by remembering).

use burn::tensor::Tensor;
use burn::tensor::activation::{sigmoid, tanh};
use serde::{Deserialize, Serialize};
use stakeout_core::{Geometry, ModelError};

use super::Net;
use super::config::train_defaults;
use super::estimator::NetConfig;
use super::input;
use super::recurrent::{Cell, Kind, LayerWeights, Operator, Recurrent, RecurrentConfig, Steps};
use super::weights::Init;

/// The settings of `[model.lstm]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct LstmConfig(RecurrentConfig);

impl NetConfig for LstmConfig {
    const KIND: &'static str = "lstm";
    const ABOUT: &'static str = "long short-term memory over the steps of a window";
    const DEFAULTS: &'static str = concat!(
        "hidden = 64              # width of the state
layers = 1               # recurrent layers
bidirectional = false    # whether every layer also reads the window from its end
dropout = 0.1            # share dropped between layers and before the classifier, while training
",
        train_defaults!(learning_rate = "0.003")
    );

    fn check(&self) -> Result<(), ModelError> {
        self.0.check(Self::KIND)
    }

    fn net(&self, geometry: Geometry) -> Box<dyn Net> {
        let inputs = input::width(Self::INPUT, geometry);
        Box::new(Recurrent::new(CELL, self.0.clone(), inputs, geometry.classes))
    }
}

/// The gates stand side by side in the order input, forget, cell, output.
const CELL: Cell = Cell {
    name: "lstm",
    gates: 4,
    biases: |hidden| vec![("b", Init::OneIn(hidden, 2 * hidden))],
    kind: Kind::Lstm,
    run,
    // input, output, forget, cell there
    operator: Operator { name: "LSTM", gates: &[0, 3, 1, 2], biases: [Some("b"), None], attributes: &[] },
};

fn run(steps: &Steps<'_>, weights: &LayerWeights<'_>) -> Vec<Tensor<2>> {
    let (input, held): ([_; 4], [_; 4]) = (weights.matrix("w_ih"), weights.matrix("w_hh"));
    let bias: [_; 4] = weights.bias("b");
    let mut state = Tensor::zeros([steps.series[0].dims()[0], weights.hidden], &steps.series[0].device());
    let mut memory = state.clone();
    let mut states = Vec::with_capacity(steps.series.len());
    for (t, x) in steps.series.iter().enumerate() {
        let gate = |i: usize| {
            let [w, u, b]: [&Tensor<2>; 3] = [&input[i], &held[i], &bias[i]];
            x.clone().matmul(w.clone()) + state.clone().matmul(u.clone()) + b.clone()
        };
        let next = sigmoid(gate(1)) * memory.clone() + sigmoid(gate(0)) * tanh(gate(2));
        let shown = sigmoid(gate(3)) * tanh(next.clone());
        memory = steps.hold(t, next, memory);
        state = steps.hold(t, shown, state);
        states.push(state.clone());
    }
    states
}

#[cfg(test)]
mod tests;
