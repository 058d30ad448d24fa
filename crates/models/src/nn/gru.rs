//! `gru`: a gated recurrent unit over the steps of a window (Cho et al. 2014).
//!
//! The reset gate is applied after the recurrent product ("linear before reset", as in cuDNN and `PyTorch`), so that
//! all three gates share one product with the state. The window is read off as the state after its last own step
//! beside the mean state over its own steps: the first keeps what is going on at the end, the second what happened
//! at any time.

use burn::tensor::Tensor;
use burn::tensor::activation::{sigmoid, tanh};
use serde::{Deserialize, Serialize};
use stakeout_core::{
    BaseModel, Estimator, FitContext, Geometry, InputKind, Labelled, LoadContext, ModelEntry, ModelError, ModelKind,
};

use crate::config::within;

use super::config::{self, TrainConfig, train_defaults};
use super::input::{self, Input};
use super::model::FittedNet;
use super::train;
use super::weights::{Init, Tensors, WeightSpec};
use super::{Dropout, Net, Output};

const KIND: &str = "gru";

/// The settings of `[model.gru]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GruConfig {
    /// Width of the state.
    pub hidden: usize,
    /// Recurrent layers, each reading the states of the one below.
    pub layers: usize,
    /// Share of activations dropped between layers and before the classifier, while training.
    pub dropout: f64,
}

impl Default for GruConfig {
    fn default() -> Self {
        Self { hidden: 64, layers: 1, dropout: 0.1 }
    }
}

/// The settings with their defaults, as TOML.
const DEFAULTS: &str = concat!(
    "hidden = 64              # width of the state
layers = 1               # recurrent layers
dropout = 0.1            # share dropped between layers and before the classifier, while training
",
    train_defaults!()
);

/// An unfitted GRU.
///
/// ```
/// use stakeout_core::Estimator;
/// use stakeout_models::nn::gru::Gru;
/// let gru = Gru::from_config(&serde_json::json!({"hidden": 32, "train": {"epochs": 5}}))?;
/// assert_eq!(gru.config()["train"]["epochs"], 5);
/// assert!(Gru::from_config(&serde_json::json!({"hiden": 32})).is_err());
/// # Ok::<(), stakeout_core::ModelError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gru {
    config: GruConfig,
    train: TrainConfig,
}

impl Gru {
    /// An estimator.
    ///
    /// # Errors
    /// [`ModelError::Config`] for a value out of range.
    pub fn new(config: GruConfig, train: TrainConfig) -> Result<Self, ModelError> {
        within(KIND, "hidden", &config.hidden, 1..=1024, "1 to 1024")?;
        within(KIND, "layers", &config.layers, 1..=4, "1 to 4")?;
        within(KIND, "dropout", &config.dropout, 0.0..=0.9, "0 to 0.9")?;
        train.check(KIND)?;
        Ok(Self { config, train })
    }

    /// An estimator from (possibly partial) settings, with those of training under `train`.
    ///
    /// # Errors
    /// [`ModelError::Config`] for an unknown key, a value of the wrong type or one out of range.
    pub fn from_config(value: &serde_json::Value) -> Result<Self, ModelError> {
        let (config, train) = config::parse(KIND, value)?;
        Self::new(config, train)
    }
}

/// The registry entry.
pub fn entry() -> ModelEntry {
    ModelEntry {
        kind: name(),
        about: "gated recurrent unit over the steps of a window",
        defaults: DEFAULTS,
        configure: |value| Ok(Box::new(Gru::from_config(value)?)),
        load,
    }
}

fn name() -> ModelKind {
    ModelKind::new(KIND).expect("a valid kind")
}

fn load(cx: &LoadContext<'_>) -> Result<Box<dyn BaseModel>, ModelError> {
    let gru = Gru::from_config(cx.config)?;
    let net = Box::new(GruNet::new(&gru.config, cx.geometry));
    Ok(Box::new(FittedNet::load(name(), gru.config(), net, cx)?))
}

impl Estimator for Gru {
    fn kind(&self) -> ModelKind {
        name()
    }

    fn input(&self) -> InputKind {
        InputKind::Tensor
    }

    fn needs_validation(&self) -> bool {
        true
    }

    fn config(&self) -> serde_json::Value {
        config::to_value(&self.config, &self.train)
    }

    fn fit(&self, train: Labelled<'_>, cx: &mut FitContext<'_>) -> Result<Box<dyn BaseModel>, ModelError> {
        let geometry = train.windows.schema().geometry();
        let net = Box::new(GruNet::new(&self.config, geometry));
        let task = format!("{KIND} {}", self.config());
        let values = train::fit(net.as_ref(), &self.train, &task, train, cx)?;
        Ok(Box::new(FittedNet::new(name(), self.config(), geometry, net, values, cx.device)))
    }
}

/// The net itself.
struct GruNet {
    hidden: usize,
    layers: usize,
    dropout: f32,
    inputs: usize,
    classes: usize,
}

impl GruNet {
    fn new(config: &GruConfig, geometry: Geometry) -> Self {
        let GruConfig { hidden, layers, dropout } = *config;
        Self {
            hidden,
            layers,
            dropout: dropout as f32,
            inputs: input::width(geometry.channels),
            classes: geometry.classes,
        }
    }
}

impl Net for GruNet {
    /// Uniform in ± 1/√hidden (in the head ± 1/√fan-in), biases zero. The gates stand side by side in the order reset,
    /// update, new.
    fn weights(&self) -> Vec<WeightSpec> {
        let uniform = |width: usize| Init::Uniform(1.0 / (width as f32).sqrt());
        let (h, gates) = (self.hidden, 3 * self.hidden);
        let mut specs = Vec::new();
        for layer in 0..self.layers {
            let inputs = if layer == 0 { self.inputs } else { h };
            specs.push(WeightSpec::new(format!("gru.{layer}.w_ih"), &[inputs, gates], uniform(h)));
            specs.push(WeightSpec::new(format!("gru.{layer}.w_hh"), &[h, gates], uniform(h)));
            specs.push(WeightSpec::new(format!("gru.{layer}.b_ih"), &[gates], Init::Zero));
            specs.push(WeightSpec::new(format!("gru.{layer}.b_hh"), &[gates], Init::Zero));
        }
        specs.push(WeightSpec::new("head.w", &[2 * h, self.classes], uniform(2 * h)));
        specs.push(WeightSpec::new("head.b", &[self.classes], Init::Zero));
        specs
    }

    fn forward(&self, weights: &Tensors, input: &Input, dropout: &mut Dropout) -> Output {
        let steps = input.values.dims()[1];
        let mut series: Vec<Tensor<2>> =
            (0..steps).map(|t| input.values.clone().narrow(1, t, 1).squeeze_dim(1)).collect();
        let own: Option<Vec<Tensor<2>>> =
            input.padded.then(|| (0..steps).map(|t| input.own.clone().narrow(1, t, 1)).collect());
        for layer in 0..self.layers {
            if layer > 0 {
                series = series.into_iter().map(|x| dropout.apply(x, self.dropout)).collect();
            }
            series = recur(&series, own.as_deref(), &Gates::new(weights, layer, self.hidden));
        }
        let last = series.last().cloned().expect("a window has at least one step");
        let owned = series.into_iter().enumerate().map(|(t, h)| match &own {
            Some(own) => h * own[t].clone(),
            None => h,
        });
        let sum = owned.reduce(|sum, h| sum + h).expect("a window has at least one step");
        let hidden = Tensor::cat(vec![last, sum / input.lengths.clone()], 1);
        let read = dropout.apply(hidden.clone(), self.dropout);
        let logits = read.matmul(weights.get("head.w")) + weights.get::<1>("head.b").unsqueeze();
        Output { hidden, logits }
    }
}

/// The weights of one layer, gate by gate.
struct Gates {
    /// `[inputs, hidden]` each: reset, update, new.
    input: [Tensor<2>; 3],
    /// `[hidden, hidden]` each.
    state: [Tensor<2>; 3],
    /// `[1, hidden]` each: of both products for reset and update, of the input alone for new.
    bias: [Tensor<2>; 3],
    /// `[1, hidden]`: of the state's product for new, inside the reset.
    bias_new: Tensor<2>,
}

impl Gates {
    fn new(weights: &Tensors, layer: usize, h: usize) -> Self {
        let gates = |name: &str| {
            let all = weights.get::<2>(&format!("gru.{layer}.{name}"));
            [0, 1, 2].map(|gate| all.clone().narrow(1, gate * h, h))
        };
        let biases = |name: &str| {
            let all = weights.get::<1>(&format!("gru.{layer}.{name}"));
            [0, 1, 2].map(|gate| all.clone().narrow(0, gate * h, h).unsqueeze::<2>())
        };
        let ([r, z, n], [r_state, z_state, bias_new]) = (biases("b_ih"), biases("b_hh"));
        Self { input: gates("w_ih"), state: gates("w_hh"), bias: [r + r_state, z + z_state, n], bias_new }
    }
}

/// One layer over all steps, from a zero state. Where a step is not the row's own, the state is held.
///
/// The inputs are sliced before they are projected, not after: the gradient of a slice is a tensor of the size of the
/// whole, and the inputs of the first layer need none.
///
/// # Shapes
/// - `series`: steps × `[batch, inputs]`
/// - `own`: steps × `[batch, 1]`
/// - output: steps × `[batch, hidden]`
fn recur(series: &[Tensor<2>], own: Option<&[Tensor<2>]>, gates: &Gates) -> Vec<Tensor<2>> {
    let [w_r, w_z, w_n] = &gates.input;
    let [u_r, u_z, u_n] = &gates.state;
    let [b_r, b_z, b_n] = &gates.bias;
    let mut state = Tensor::zeros([series[0].dims()[0], u_r.dims()[0]], &series[0].device());
    let mut states = Vec::with_capacity(series.len());
    for (t, x) in series.iter().enumerate() {
        let from = |w: &Tensor<2>| x.clone().matmul(w.clone());
        let held = |u: &Tensor<2>| state.clone().matmul(u.clone());
        let reset = sigmoid(from(w_r) + held(u_r) + b_r.clone());
        let update = sigmoid(from(w_z) + held(u_z) + b_z.clone());
        let new = tanh(from(w_n) + b_n.clone() + reset * (held(u_n) + gates.bias_new.clone()));
        let mut next = new.clone() + update * (state.clone() - new);
        if let Some(own) = own {
            // Sums of products with 0 and 1 are exact: a padded row in the batch changes no other row.
            next = next * own[t].clone() + state * own[t].clone().neg().add_scalar(1.0);
        }
        state = next.clone();
        states.push(next);
    }
    states
}

#[cfg(test)]
mod tests;
