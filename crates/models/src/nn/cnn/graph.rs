//! The convolutional net as nodes of an exported graph.

use super::CnnNet;
use crate::interchange::graph::{Graph, Value};
use crate::interchange::proto::Attribute;
use crate::nn::export::{GraphInput, NamedWeights, dense};
use crate::nn::norm;

/// Up to the logits.
pub(super) fn build(net: &CnnNet, graph: &mut Graph, input: &GraphInput, weights: &NamedWeights<'_>) -> Value {
    // [windows, inputs, steps]
    let mut x = graph.transpose(&input.values, &[0, 2, 1]);
    let own = graph.unsqueeze(&input.own, 1);
    for (block, (inputs, filters, kernel)) in net.blocks().enumerate() {
        let w = filters_first(weights.get(&format!("cnn.{block}.w")), kernel, inputs, filters);
        let w = graph.floats(&[filters, inputs, kernel], &w);
        let before = (kernel - 1) / 2;
        let pads = vec![before as i64, (kernel - 1 - before) as i64];
        let convolved = graph.op("Conv", &[&x, &w], vec![Attribute::ints("pads", pads)]);
        let normal = norm::graph_batch_norm(graph, weights, &format!("cnn.{block}.norm"), &convolved);
        let rectified = graph.relu(&normal);
        x = graph.mul(&rectified, &own);
    }
    let series = graph.transpose(&x, &[0, 2, 1]);
    let hidden = input.mean(graph, &series);
    dense(graph, weights, "head", &hidden)
}

/// A matrix `[kernel · inputs, filters]` as `[filters, inputs, kernel]`.
fn filters_first(matrix: &[f32], kernel: usize, inputs: usize, filters: usize) -> Vec<f32> {
    let mut turned = Vec::with_capacity(matrix.len());
    for filter in 0..filters {
        for input in 0..inputs {
            turned.extend((0..kernel).map(|k| matrix[(k * inputs + input) * filters + filter]));
        }
    }
    turned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_come_first_and_steps_last() {
        // kernel 2, two inputs, two filters: 100 · step + 10 · input + filter
        let matrix = [0.0, 1.0, 10.0, 11.0, 100.0, 101.0, 110.0, 111.0];
        assert_eq!(filters_first(&matrix, 2, 2, 2), [0.0, 100.0, 10.0, 110.0, 1.0, 101.0, 11.0, 111.0]);
    }
}
