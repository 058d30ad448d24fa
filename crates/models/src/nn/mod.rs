//! Nets: windows to class probabilities, on the burn library, which is named nowhere outside this folder.
//!
//! A net is a list of named weights and a forward function (the trait `Net`). Everything else is shared: `estimator` makes
//! it a registered model, `train` fits any net, `model` asks any fitted one. Randomness comes from the fit's seed alone
//! (`rng`); the generator that the CPU devices share within a process is never used.
//!
//! Invariant: the same seed and data give the same bytes on any number of threads. A batch is cut into shards whose sizes
//! depend on the batch alone, and their gradients are added in order.
//!
//! In reading order: `mlp`, `cnn`, `gru` and `lstm` (with `recurrent`), `transformer` (the nets), `estimator`, `train`,
//! `model`, then the parts: `prepare` and `input`, `ops` (a net as one operation; each net's own part stands in its `fused`),
//! `infer` (fitted nets on slices; a part of its own, where a net has one, stands in its `infer`), `feed`, `augment`, `norm`,
//! `optim`, `state`, `weights`, `config`, `rng`, and `export` (fitted nets in other programs; each net's own part stands in its
//! `graph`).

mod augment;
#[cfg(test)]
mod checks;
mod cnn;
mod config;
mod estimator;
mod export;
mod feed;
mod gru;
mod infer;
mod input;
mod lstm;
mod mlp;
mod model;
mod norm;
mod ops;
mod optim;
mod prepare;
mod recurrent;
mod rng;
mod state;
#[cfg(test)]
mod toy;
mod train;
mod transformer;
mod weights;

use burn::tensor::{Device, Tensor, TensorData};
use rand_xoshiro::Xoshiro256PlusPlus;
use stakeout_core::ModelEntry;

pub use config::TrainConfig;

use estimator::entry;
use export::{GraphInput, NamedWeights};
use infer::Infer;
use input::Input;
use weights::{Tensors, WeightSpec};

use crate::interchange::graph::{Graph, Value};

/// The registry entries of all nets.
pub fn entries() -> [ModelEntry; 5] {
    [
        entry::<mlp::MlpConfig>(),
        entry::<cnn::CnnConfig>(),
        entry::<gru::GruConfig>(),
        entry::<lstm::LstmConfig>(),
        entry::<transformer::TransformerConfig>(),
    ]
}

/// A net: hyper-parameters and the shape of its input. Its weights are kept apart.
pub(crate) trait Net: Send + Sync {
    /// Its weights, in the order in which they are drawn, stored and updated.
    fn weights(&self) -> Vec<WeightSpec>;

    /// Runs a batch. What a padding step holds never matters, and after training a row's result depends on no other row.
    ///
    /// Products and sums along a dimension are the same on any number of threads; a plain `sum` or `mean` over four
    /// million numbers or more is not, on the default device.
    fn forward(&self, weights: &Tensors, input: &Input, pass: &mut Pass) -> Output;

    /// The same as after training, on slices, for windows of so many steps.
    fn infer(&self, weights: &NamedWeights<'_>, steps: usize) -> Box<dyn Infer>;

    /// Windows that a shard of a training step has at most.
    fn shard(&self) -> usize {
        feed::SHARD
    }

    /// The same as after training, as nodes of an exported graph, up to the logits; `None` where it cannot be said so.
    fn graph(&self, _graph: &mut Graph, _input: &GraphInput, _weights: &NamedWeights<'_>) -> Option<Value> {
        None
    }
}

/// What a net makes of a batch.
pub(crate) struct Output {
    /// The representation before the last layer.
    ///
    /// # Shapes
    /// `[batch, width]`
    pub(crate) hidden: Tensor<2>,
    /// Unnormalised log probabilities.
    ///
    /// # Shapes
    /// `[batch, classes]`
    pub(crate) logits: Tensor<2>,
}

/// How a batch is run.
pub(crate) enum Pass {
    /// As a fitted net does.
    Infer,
    /// As a step of training does.
    Train {
        /// What is random is drawn from here.
        rng: Xoshiro256PlusPlus,
        /// What a normalisation observed: the name of a weight without a gradient, and the batch's value for it.
        observed: Vec<(String, Tensor<1>)>,
    },
}

impl Pass {
    /// A training pass with its generator.
    pub(crate) fn training(rng: Xoshiro256PlusPlus) -> Self {
        Self::Train { rng, observed: Vec::new() }
    }

    /// Dropout (Srivastava et al. 2014): while training, each activation is dropped with probability `share`, and the
    /// others scaled so that a trained net needs no correction.
    pub(crate) fn dropout<const D: usize>(&mut self, x: Tensor<D>, share: f32) -> Tensor<D> {
        let shape = x.dims();
        match self.mask(shape.iter().product(), share) {
            Some(mask) => {
                let mask = Tensor::from_data(TensorData::new(mask, shape), &x.device());
                x * mask
            }
            None => x,
        }
    }

    /// The factors of a dropout of so many activations; `None` where none is dropped.
    pub(crate) fn mask(&mut self, len: usize, share: f32) -> Option<Vec<f32>> {
        match self {
            Self::Train { rng, .. } if share > 0.0 => Some(rng::mask(len, share, rng)),
            _ => None,
        }
    }
}

/// A dense layer: `x · w + b`, with the weights `<name>.w` and `<name>.b`.
///
/// # Shapes
/// - `x`: `[rows, inputs]`
/// - output: `[rows, outputs]`
pub(crate) fn dense(weights: &Tensors, name: &str, x: Tensor<2>) -> Tensor<2> {
    x.matmul(weights.get(&format!("{name}.w"))) + weights.get::<1>(&format!("{name}.b")).unsqueeze()
}

/// The weights of a dense layer: uniform in ± `gain` / √inputs, biases zero.
pub(crate) fn dense_weights(name: &str, inputs: usize, outputs: usize, gain: f32) -> [WeightSpec; 2] {
    let bound = gain / (inputs as f32).sqrt();
    [
        WeightSpec::new(format!("{name}.w"), &[inputs, outputs], weights::Init::Uniform(bound)),
        WeightSpec::new(format!("{name}.b"), &[outputs], weights::Init::Zero),
    ]
}

/// The gain of [`dense_weights`] under a rectifier: the variance of the activations stays (He et al. 2015).
pub(crate) const RECTIFIED: f32 = 2.449_489_8;

/// The library's device for ours, without differentiation.
#[allow(deprecated)] // the reference device is deprecated upstream; it stays selectable as long as it builds
pub(crate) fn device(device: stakeout_core::Device) -> Device {
    match device {
        stakeout_core::Device::Flex => Device::flex(),
        stakeout_core::Device::Ndarray => Device::ndarray(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest product here is beyond the size at which the default device starts to use threads.
    #[test]
    fn large_products_and_sums_do_not_see_the_number_of_threads() {
        let mut rng = rng::generator(1, rng::Purpose::Weights, 0);
        let mut draw = |shape: [usize; 2]| {
            let values: Vec<f32> = (0..shape[0] * shape[1]).map(|_| rng::unit(&mut rng) - 0.5).collect();
            TensorData::new(values, shape)
        };
        let (a, b) = (draw([301, 1500]), draw([1500, 203]));
        for kind in [stakeout_core::Device::Flex, stakeout_core::Device::Ndarray] {
            let device = device(kind);
            let [a, b] = [&a, &b].map(|data| Tensor::<2>::from_data(data.clone(), &device));
            let compute = || {
                let product = a.clone().matmul(b.clone());
                let transposed = b.clone().transpose().matmul(a.clone().transpose());
                let sums = (a.clone().sum_dim(0).transpose() * b.clone().sum_dim(1)).transpose();
                [product, transposed, sums].map(|tensor| weights::read(tensor).unwrap())
            };
            let expected = compute();
            for threads in [1, 2, 3, 7] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                assert!(pool.install(compute) == expected, "{kind:?} with {threads} threads");
            }
        }
    }
}
