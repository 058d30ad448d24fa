use serde_json::json;

use super::*;
use crate::nn::checks::{self, Given};

fn twin(config: &MlpConfig, given: &Given<'_>) -> Vec<Vec<f64>> {
    let logits = |window: &Vec<Vec<f64>>| {
        let mut x = window[0].clone();
        for layer in 0..config.layers {
            x = given.weights.dense(&format!("mlp.{layer}"), &x).into_iter().map(|x| x.max(0.0)).collect();
        }
        given.weights.dense("head", &x)
    };
    given.windows.iter().map(logits).collect()
}

#[test]
fn logits_and_gradients_follow_the_formulas() {
    for layers in [1, 3] {
        checks::follows_its_twin(&json!({"hidden": 5, "layers": layers, "dropout": 0.0}), twin);
    }
}

#[test]
fn one_operation_gives_what_the_library_gives() {
    checks::fused_follows_the_library::<MlpConfig>(&json!({"hidden": 17, "layers": 3, "dropout": 0.3}));
    checks::fused_follows_the_library::<MlpConfig>(&json!({"hidden": 4, "layers": 1, "dropout": 0.0}));
}

#[test]
fn it_keeps_its_promises() {
    checks::keeps_its_promises::<MlpConfig>(&json!({"hidden": 8}), &json!({"hidden": 9}));
}

#[test]
fn ranges() {
    checks::refuses::<MlpConfig>(&json!({"hidden": 0}), "hidden");
    checks::refuses::<MlpConfig>(&json!({"layers": 0}), "layers");
    checks::refuses::<MlpConfig>(&json!({"dropout": 1.0}), "dropout");
}

#[test]
fn slices_follow_the_library() {
    checks::slices_follow_the_library::<MlpConfig>(&[
        json!({}),
        json!({"hidden": 7, "layers": 3}),
        json!({"hidden": 33, "layers": 1}),
    ]);
}
