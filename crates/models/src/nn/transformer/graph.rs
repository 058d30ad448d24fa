//! The transformer as nodes of an exported graph.

use super::{NEVER, TransformerConfig, TransformerNet, positions};
use crate::interchange::graph::{Graph, Value};
use crate::nn::export::{GraphInput, NamedWeights, dense};
use crate::nn::norm::graph_layer_norm;

/// Up to the logits.
pub(super) fn build(net: &TransformerNet, graph: &mut Graph, input: &GraphInput, weights: &NamedWeights<'_>) -> Value {
    let (steps, width) = (input.steps, net.config.width);
    let embedded = dense(graph, weights, "embed", &input.values);
    let positions = graph.floats(&[1, steps, width], &positions(steps, width));
    let mut x = graph.add(&embedded, &positions);
    // [windows, 1, 1, steps]: 0 where a step is its window's own
    let (one, never) = (graph.scalar(1.0), graph.scalar(NEVER as f32));
    let padding = graph.sub(&one, &input.own);
    let padding = graph.mul(&padding, &never);
    let padding = graph.reshape(&padding, &[-1, 1, 1, steps as i64]);
    for layer in 0..net.config.layers {
        let name = |part: &str| format!("encoder.{layer}.{part}");
        let seen = graph_layer_norm(graph, weights, &name("attention.norm"), &x);
        let attended = attend(&net.config, graph, weights, &name("attention"), &seen, &padding);
        x = graph.add(&x, &attended);
        let seen = graph_layer_norm(graph, weights, &name("dense.norm"), &x);
        let inner = dense(graph, weights, &name("dense.in"), &seen);
        let inner = graph.relu(&inner);
        let outer = dense(graph, weights, &name("dense.out"), &inner);
        x = graph.add(&x, &outer);
    }
    let normal = graph_layer_norm(graph, weights, "norm", &x);
    let hidden = input.mean(graph, &normal);
    dense(graph, weights, "head", &hidden)
}

/// Attention of every step to every own step of its window.
///
/// # Shapes
/// - `x` and output: `[windows, steps, width]`
/// - `padding`: `[windows, 1, 1, steps]`
fn attend(
    config: &TransformerConfig,
    graph: &mut Graph,
    weights: &NamedWeights<'_>,
    name: &str,
    x: &Value,
    padding: &Value,
) -> Value {
    let (heads, head) = (config.heads, config.width / config.heads);
    let mut part = |part: &str, order: &[i64]| {
        let all = dense(graph, weights, &format!("{name}.{part}"), x);
        let split = graph.reshape(&all, &[0, 0, heads as i64, head as i64]);
        graph.transpose(&split, order)
    };
    let query = part("query", &[0, 2, 1, 3]);
    let key = part("key", &[0, 2, 3, 1]);
    let value = part("value", &[0, 2, 1, 3]);
    let scale = graph.scalar(1.0 / (head as f32).sqrt());
    let query = graph.mul(&query, &scale);
    let scores = graph.matmul(&query, &key);
    let scores = graph.add(&scores, padding);
    let shares = graph.softmax(&scores);
    let mixed = graph.matmul(&shares, &value);
    let mixed = graph.transpose(&mixed, &[0, 2, 1, 3]);
    let mixed = graph.reshape(&mixed, &[0, 0, config.width as i64]);
    dense(graph, weights, &format!("{name}.out"), &mixed)
}
