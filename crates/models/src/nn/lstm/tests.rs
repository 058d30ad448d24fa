use serde_json::json;

use super::*;
use crate::nn::checks::{self, Given};
use crate::nn::recurrent;
use crate::nn::rng::{Purpose, generator};
use crate::nn::weights;

fn twin(config: &LstmConfig, given: &Given<'_>) -> Vec<Vec<f64>> {
    recurrent::tests::twin("lstm", &config.0, given, |weights, prefix, x, states| {
        let h = states[0].len();
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let gate = |gate: usize| -> Vec<f64> {
            let columns = gate * h..(gate + 1) * h;
            let from = weights.product(&format!("{prefix}.w_ih"), x, columns.clone());
            let held = weights.product(&format!("{prefix}.w_hh"), &states[0], columns.clone());
            let bias = &weights.get(&format!("{prefix}.b"))[columns];
            (0..h).map(|unit| from[unit] + held[unit] + bias[unit]).collect()
        };
        let [input, forget, new, output] = [gate(0), gate(1), gate(2), gate(3)];
        let memory: Vec<f64> = (0..h)
            .map(|unit| sigmoid(forget[unit]) * states[1][unit] + sigmoid(input[unit]) * new[unit].tanh())
            .collect();
        let shown = (0..h).map(|unit| sigmoid(output[unit]) * memory[unit].tanh()).collect();
        vec![shown, memory]
    })
}

#[test]
fn logits_and_gradients_follow_the_formulas() {
    for (layers, bidirectional) in [(1, false), (2, false), (2, true)] {
        let settings = json!({"hidden": 4, "layers": layers, "bidirectional": bidirectional, "dropout": 0.0});
        checks::follows_its_twin(&settings, twin);
    }
}

#[test]
fn one_operation_gives_what_the_library_gives() {
    recurrent::tests::one_operation_gives_what_the_library_gives::<LstmConfig>();
}

#[test]
fn it_keeps_its_promises() {
    checks::keeps_its_promises::<LstmConfig>(&json!({"hidden": 8, "layers": 2}), &json!({"hidden": 9, "layers": 2}));
    let settings = json!({"hidden": 8, "bidirectional": true});
    checks::keeps_its_promises::<LstmConfig>(&settings, &json!({"hidden": 9, "bidirectional": true}));
}

#[test]
fn it_begins_by_remembering() {
    let geometry = Geometry { channels: 2, steps: 3, features: 0, classes: 2 };
    let net = LstmConfig(RecurrentConfig { hidden: 3, ..RecurrentConfig::default() }).net(geometry);
    let specs = net.weights();
    let values = weights::draw(&specs, &mut generator(1, Purpose::Weights, 0));
    let at = specs.iter().take_while(|spec| spec.name != "lstm.0.b").map(weights::WeightSpec::len).sum::<usize>();
    assert_eq!(values[at..at + 12], [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn ranges() {
    checks::refuses::<LstmConfig>(&json!({"hidden": 0}), "hidden");
    checks::refuses::<LstmConfig>(&json!({"layers": 5}), "layers");
}

#[test]
fn slices_follow_the_library() {
    checks::slices_follow_the_library::<LstmConfig>(&[
        json!({}),
        json!({"hidden": 5, "layers": 2}),
        json!({"hidden": 9, "layers": 3, "bidirectional": true}),
    ]);
}
