//! Recurrent nets as nodes of an exported graph.

use super::Recurrent;
use crate::interchange::graph::{Graph, Value};
use crate::interchange::proto::Attribute;
use crate::nn::export::{GraphInput, NamedWeights, dense};

/// How a cell is said in a graph. The operators hold the state over padding, and read a window from its last own step
/// when told to read backwards, as the cells here do.
pub(crate) struct Operator {
    /// Name of the operator.
    pub(crate) name: &'static str,
    /// The operator's gates, as positions in this program's order.
    pub(crate) gates: &'static [usize],
    /// Names of the biases beside the input's and beside the state's product; `None`: zeros.
    pub(crate) biases: [Option<&'static str>; 2],
    /// Whole-number attributes of its own.
    pub(crate) attributes: &'static [(&'static str, i64)],
}

/// Up to the logits.
pub(super) fn build(net: &Recurrent, graph: &mut Graph, input: &GraphInput, weights: &NamedWeights<'_>) -> Value {
    let (h, operator) = (net.config.hidden, &net.cell.operator);
    let (directions, gates) = (net.directions(), net.cell.gates);
    let count = directions.len();
    // [steps, windows, inputs]
    let mut series = graph.transpose(&input.values, &[1, 0, 2]);
    let mut last = series.clone();
    for layer in 0..net.config.layers {
        let inputs = if layer == 0 { net.inputs } else { count * h };
        let (mut w, mut r, mut b) = (Vec::new(), Vec::new(), Vec::new());
        for direction in directions {
            let get = |name: &str| weights.get(&format!("{}.{layer}{direction}.{name}", net.cell.name));
            let rows = |matrix: &[f32], inputs| gates_in_rows(matrix, inputs, h, operator.gates);
            w.extend(rows(get("w_ih"), inputs));
            r.extend(rows(get("w_hh"), h));
            for bias in operator.biases {
                b.extend(bias.map_or(vec![0.0; gates * h], |name| rows(get(name), 1)));
            }
        }
        let w = graph.floats(&[count, gates * h, inputs], &w);
        let r = graph.floats(&[count, gates * h, h], &r);
        let b = graph.floats(&[count, 2 * gates * h], &b);
        let direction = if count == 2 { "bidirectional" } else { "forward" };
        let mut attributes = vec![Attribute::int("hidden_size", h as i64), Attribute::string("direction", direction)];
        attributes.extend(operator.attributes.iter().map(|(name, value)| Attribute::int(name, *value)));
        let [states, end] = graph.ops(operator.name, &[&series, &w, &r, &b, &input.sequence_lengths], attributes);
        // [steps, directions, windows, hidden] and [directions, windows, hidden]: directions side by side
        let states = graph.transpose(&states, &[0, 2, 1, 3]);
        series = graph.reshape(&states, &[0, 0, (count * h) as i64]);
        let end = graph.transpose(&end, &[1, 0, 2]);
        last = graph.reshape(&end, &[0, (count * h) as i64]);
    }
    let states = graph.transpose(&series, &[1, 0, 2]);
    let mean = input.mean(graph, &states);
    let hidden = graph.concat(&[&last, &mean], 1);
    dense(graph, weights, "head", &hidden)
}

/// A matrix `[inputs, gates · hidden]` as `[gates · hidden, inputs]`, with the gates in another order.
fn gates_in_rows(matrix: &[f32], inputs: usize, hidden: usize, order: &[usize]) -> Vec<f32> {
    let mut rows = Vec::with_capacity(matrix.len());
    for gate in order {
        for unit in 0..hidden {
            rows.extend((0..inputs).map(|input| matrix[(input * order.len() + gate) * hidden + unit]));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_change_places_and_matrices_are_turned() {
        // two inputs, two units: reset 0 1, update 2 3, new 4 5 of the first input, 10 more of the second
        let matrix = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0];
        let expected = [2.0, 12.0, 3.0, 13.0, 0.0, 10.0, 1.0, 11.0, 4.0, 14.0, 5.0, 15.0];
        assert_eq!(gates_in_rows(&matrix, 2, 2, &[1, 0, 2]), expected);
    }
}
