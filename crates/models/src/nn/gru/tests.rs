use serde_json::json;

use super::*;
use crate::nn::checks::{self, Given};
use crate::nn::recurrent;

fn twin(config: &GruConfig, given: &Given<'_>) -> Vec<Vec<f64>> {
    recurrent::tests::twin("gru", &config.0, given, |weights, prefix, x, states| {
        let h = states[0].len();
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let bias = |name: &str, gate: usize, unit: usize| weights.get(&format!("{prefix}.{name}"))[gate * h + unit];
        let input = |gate: usize| weights.product(&format!("{prefix}.w_ih"), x, gate * h..(gate + 1) * h);
        let held = |gate: usize| weights.product(&format!("{prefix}.w_hh"), &states[0], gate * h..(gate + 1) * h);
        let (inputs, helds) = ([input(0), input(1), input(2)], [held(0), held(1), held(2)]);
        let next = (0..h).map(|unit| {
            let input = |gate: usize| inputs[gate][unit] + bias("b_ih", gate, unit);
            let held = |gate: usize| helds[gate][unit] + bias("b_hh", gate, unit);
            let (reset, update) = (sigmoid(input(0) + held(0)), sigmoid(input(1) + held(1)));
            let new = (input(2) + reset * held(2)).tanh();
            (1.0 - update) * new + update * states[0][unit]
        });
        vec![next.collect()]
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
    recurrent::tests::one_operation_gives_what_the_library_gives::<GruConfig>();
}

#[test]
fn it_keeps_its_promises() {
    checks::keeps_its_promises::<GruConfig>(&json!({"hidden": 8, "layers": 2}), &json!({"hidden": 9, "layers": 2}));
    let settings = json!({"hidden": 8, "bidirectional": true});
    checks::keeps_its_promises::<GruConfig>(&settings, &json!({"hidden": 9, "bidirectional": true}));
}

#[test]
fn ranges() {
    checks::refuses::<GruConfig>(&json!({"hidden": 0}), "hidden");
    checks::refuses::<GruConfig>(&json!({"hidden": 1u64 << 60}), "hidden");
    checks::refuses::<GruConfig>(&json!({"layers": 5}), "layers");
    checks::refuses::<GruConfig>(&json!({"dropout": 0.95}), "dropout");
    checks::refuses::<GruConfig>(&json!({"train": {"clip_norm": 0}}), "train.clip_norm");
}

#[test]
fn slices_follow_the_library() {
    checks::slices_follow_the_library::<GruConfig>(&[
        json!({}),
        json!({"hidden": 5, "layers": 2}),
        json!({"hidden": 9, "layers": 3, "bidirectional": true}),
    ]);
}
