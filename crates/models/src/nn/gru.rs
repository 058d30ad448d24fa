//! `gru`: a gated recurrent unit over the steps of a window (Cho et al. 2014).
//!
//! The reset gate is applied after the recurrent product ("linear before reset", as in cuDNN and `PyTorch`), so that
//! all three gates share one product with the state.

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

/// The settings of `[model.gru]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct GruConfig(RecurrentConfig);

impl NetConfig for GruConfig {
    const KIND: &'static str = "gru";
    const ABOUT: &'static str = "gated recurrent unit over the steps of a window";
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

/// The gates stand side by side in the order reset, update, new.
const CELL: Cell = Cell {
    name: "gru",
    gates: 3,
    biases: |_| vec![("b_ih", Init::Zero), ("b_hh", Init::Zero)],
    kind: Kind::Gru,
    run,
    operator: Operator {
        name: "GRU",
        gates: &[1, 0, 2],
        biases: [Some("b_ih"), Some("b_hh")],
        attributes: &[("linear_before_reset", 1)],
    },
};

fn run(steps: &Steps<'_>, weights: &LayerWeights<'_>) -> Vec<Tensor<2>> {
    let [w_r, w_z, w_n] = weights.matrix("w_ih");
    let [u_r, u_z, u_n] = weights.matrix("w_hh");
    let ([r, z, b_n], [r_state, z_state, c_n]) = (weights.bias("b_ih"), weights.bias("b_hh"));
    let (b_r, b_z) = (r + r_state, z + z_state);
    let mut state = Tensor::zeros([steps.series[0].dims()[0], weights.hidden], &steps.series[0].device());
    let mut states = Vec::with_capacity(steps.series.len());
    for (t, x) in steps.series.iter().enumerate() {
        let from = |w: &Tensor<2>| x.clone().matmul(w.clone());
        let held = |u: &Tensor<2>| state.clone().matmul(u.clone());
        let reset = sigmoid(from(&w_r) + held(&u_r) + b_r.clone());
        let update = sigmoid(from(&w_z) + held(&u_z) + b_z.clone());
        let new = tanh(from(&w_n) + b_n.clone() + reset * (held(&u_n) + c_n.clone()));
        let next = new.clone() + update * (state.clone() - new);
        state = steps.hold(t, next, state);
        states.push(state.clone());
    }
    states
}

#[cfg(test)]
mod tests;
