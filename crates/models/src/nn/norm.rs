//! Normalisation between the layers of a net.

use burn::tensor::Tensor;

use crate::interchange::graph::{Graph, Value};
use crate::interchange::proto::Attribute;

use super::Pass;
use super::export::NamedWeights;
use super::weights::{Init, Tensors, WeightSpec};

/// Added to a variance before its root: a channel that hardly moves must not be blown up.
pub(super) const EPSILON: f64 = 1e-3;
/// The same of a layer normalisation.
const LAYER_EPSILON: f64 = stakeout_kernels::encoder::EPSILON as f64;

/// The weights of a batch normalisation: scale, shift, and the running mean and variance, which training observes.
pub(crate) fn batch_norm_weights(name: &str, width: usize) -> [WeightSpec; 4] {
    [("scale", Init::One), ("shift", Init::Zero), ("mean", Init::Zero), ("variance", Init::One)]
        .map(|(part, init)| WeightSpec::new(format!("{name}.{part}"), &[width], init))
}

/// Batch normalisation (Ioffe and Szegedy 2015): each feature has mean 0 and variance 1 before it is scaled and shifted.
/// While training, over the batch, as far as `share` counts a row; afterwards, by the running statistics.
///
/// # Shapes
/// - `x` and output: `[rows, width]`
/// - `share`: `[1, rows]`, the weight of each row in the statistics; they sum to 1 (to 0 where no row counts)
pub(crate) fn batch_norm(weights: &Tensors, name: &str, x: Tensor<2>, share: &Tensor<2>, pass: &mut Pass) -> Tensor<2> {
    let part = |part: &str| weights.get::<1>(&format!("{name}.{part}")).unsqueeze::<2>();
    let (centred, variance) = match pass {
        Pass::Infer => (x - part("mean"), part("variance").clamp_min(0.0)),
        Pass::Train { observed, .. } => {
            let mean = share.clone().matmul(x.clone());
            let centred = x - mean.clone();
            let variance = share.clone().matmul(centred.clone() * centred.clone());
            for (part, value) in [("mean", &mean), ("variance", &variance)] {
                observed.push((format!("{name}.{part}"), value.clone().squeeze_dim(0)));
            }
            (centred, variance)
        }
    };
    let scale = part("scale") / variance.add_scalar(EPSILON).sqrt();
    centred * scale + part("shift")
}

/// [`batch_norm`] after training, as a line: what a feature is multiplied by and what is then added.
pub(crate) fn line(weights: &NamedWeights<'_>, name: &str) -> (Vec<f32>, Vec<f32>) {
    let [scale, shift, mean, variance] =
        ["scale", "shift", "mean", "variance"].map(|part| weights.get(&format!("{name}.{part}")));
    let factors = scale.iter().zip(variance);
    let factors: Vec<f64> =
        factors.map(|(scale, variance)| f64::from(*scale) / (f64::from(variance.max(0.0)) + EPSILON).sqrt()).collect();
    let moved = factors.iter().zip(shift.iter().zip(mean));
    let offsets = moved.map(|(factor, (shift, mean))| (f64::from(*shift) - factor * f64::from(*mean)) as f32).collect();
    (factors.iter().map(|factor| *factor as f32).collect(), offsets)
}

/// The weights of a layer normalisation: scale and shift.
pub(crate) fn layer_norm_weights(name: &str, width: usize) -> [WeightSpec; 2] {
    [("scale", Init::One), ("shift", Init::Zero)]
        .map(|(part, init)| WeightSpec::new(format!("{name}.{part}"), &[width], init))
}

/// Layer normalisation (Ba, Kiros and Hinton 2016): each row has mean 0 and variance 1 before its features are scaled and
/// shifted.
///
/// # Shapes
/// - `x` and output: `[rows, width]`
pub(crate) fn layer_norm(weights: &Tensors, name: &str, x: Tensor<2>) -> Tensor<2> {
    let part = |part: &str| weights.get::<1>(&format!("{name}.{part}")).unsqueeze::<2>();
    let centred = x.clone() - x.mean_dim(1);
    let variance = (centred.clone() * centred.clone()).mean_dim(1);
    centred / variance.add_scalar(LAYER_EPSILON).sqrt() * part("scale") + part("shift")
}

/// [`batch_norm`] after training, in a graph.
///
/// # Shapes
/// - `x` and output: `[windows, width, steps]`
pub(crate) fn graph_batch_norm(graph: &mut Graph, weights: &NamedWeights<'_>, name: &str, x: &Value) -> Value {
    let [scale, shift, mean] =
        ["scale", "shift", "mean"].map(|part| weights.constant(graph, &format!("{name}.{part}")));
    let variance: Vec<f32> = weights.get(&format!("{name}.variance")).iter().map(|value| value.max(0.0)).collect();
    let variance = graph.floats(&[variance.len()], &variance);
    let epsilon = Attribute::float("epsilon", EPSILON as f32);
    graph.op("BatchNormalization", &[x, &scale, &shift, &mean, &variance], vec![epsilon])
}

/// [`layer_norm`] over the last dimension, in a graph.
pub(crate) fn graph_layer_norm(graph: &mut Graph, weights: &NamedWeights<'_>, name: &str, x: &Value) -> Value {
    let [scale, shift] = ["scale", "shift"].map(|part| weights.constant(graph, &format!("{name}.{part}")));
    let epsilon = Attribute::float("epsilon", LAYER_EPSILON as f32);
    graph.op("LayerNormalization", &[x, &scale, &shift], vec![Attribute::int("axis", -1), epsilon])
}
