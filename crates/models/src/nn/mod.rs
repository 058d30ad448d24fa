//! Nets: tensor windows to class probabilities, on the burn library, which is named nowhere outside this folder.
//!
//! A net is a list of named weights and a forward function (the trait `Net`). Everything else is shared: `train` fits
//! any net, `model` asks any fitted one. Randomness comes from the fit's seed alone (`rng`); the generator that the CPU
//! devices share within a process is never used.
//!
//! Invariant: the same seed and data give the same bytes on any number of threads. A batch is cut into shards of
//! fixed size, and their gradients are added in order.
//!
//! In reading order: [`gru`] (a net), `train` (the loop), `model` (the fitted net), then the parts: `input`, `optim`,
//! `state`, `weights`, `config`, `rng`.

mod config;
pub mod gru;
mod input;
mod model;
mod optim;
mod rng;
mod state;
#[cfg(test)]
mod toy;
mod train;
mod weights;

use burn::tensor::{Device, Tensor, TensorData};
use rand_xoshiro::Xoshiro256PlusPlus;

pub use config::TrainConfig;

use input::Input;
use weights::{Tensors, WeightSpec};

/// A net: hyper-parameters and the shape of its input. Its weights are kept apart.
pub(crate) trait Net: Send + Sync {
    /// Its weights, in the order in which they are drawn, stored and updated.
    fn weights(&self) -> Vec<WeightSpec>;

    /// Runs a batch. A row's result depends on no other row, and not on what a padding step holds.
    ///
    /// Products and sums along a dimension are the same on any number of threads; a plain `sum` or `mean` over four
    /// million numbers or more is not, on the default device.
    fn forward(&self, weights: &Tensors, input: &Input, dropout: &mut Dropout) -> Output;
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

/// Dropout (Srivastava et al. 2014), scaled while training so that a trained net needs no correction.
pub(crate) enum Dropout {
    /// Inference.
    Off,
    /// Training, with its own generator.
    On(Xoshiro256PlusPlus),
}

impl Dropout {
    /// Drops each activation with probability `share`.
    pub(crate) fn apply<const D: usize>(&mut self, x: Tensor<D>, share: f32) -> Tensor<D> {
        match self {
            Self::On(rng) if share > 0.0 => {
                let shape = x.dims();
                let kept = 1.0 / (1.0 - share);
                let mask: Vec<f32> =
                    (0..shape.iter().product()).map(|_| if rng::unit(rng) < share { 0.0 } else { kept }).collect();
                let mask = Tensor::from_data(TensorData::new(mask, shape), &x.device());
                x * mask
            }
            _ => x,
        }
    }
}

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
