use burn::tensor::Device;
use serde_json::json;

use super::*;
use crate::nn::checks::{self, Given};
use crate::nn::weights::read;

fn twin(config: &CnnConfig, given: &Given<'_>) -> Vec<Vec<f64>> {
    let mut windows = given.windows.clone();
    for (block, kernel) in config.kernels.iter().enumerate() {
        let name = |part: &str| format!("cnn.{block}.{part}");
        let filters = config.filters[block];
        let before = (kernel - 1) / 2;
        for window in &mut windows {
            let width = window.first().map_or(0, Vec::len);
            let step = |t: usize| {
                let at = |k: usize| (t + k).checked_sub(before).and_then(|t| window.get(t));
                let seen: Vec<f64> = (0..*kernel).flat_map(|k| at(k).cloned().unwrap_or(vec![0.0; width])).collect();
                given.weights.product(&name("w"), &seen, 0..filters)
            };
            *window = (0..window.len()).map(step).collect();
        }
        let [scale, shift, mean, variance] = ["scale", "shift", "mean", "variance"]
            .map(|part| given.weights.get(&name(&format!("norm.{part}"))).to_vec());
        let steps = windows.iter().map(Vec::len).sum::<usize>() as f64;
        for filter in 0..filters {
            let all = || windows.iter().flatten().map(|step| step[filter]);
            let (mut mean, mut variance) = (mean[filter], variance[filter]);
            if given.training {
                mean = all().sum::<f64>() / steps;
                variance = all().map(|x| (x - mean).powi(2)).sum::<f64>() / steps;
            }
            for step in windows.iter_mut().flatten() {
                let normal = (step[filter] - mean) / (variance + 1e-3).sqrt();
                step[filter] = (normal * scale[filter] + shift[filter]).max(0.0);
            }
        }
    }
    let width = *config.filters.last().unwrap();
    let logits = |window: &Vec<Vec<f64>>| {
        let mean = |f: usize| window.iter().map(|step| step[f]).sum::<f64>() / window.len().max(1) as f64;
        given.weights.dense("head", &(0..width).map(mean).collect::<Vec<_>>())
    };
    windows.iter().map(logits).collect()
}

#[test]
fn logits_and_gradients_follow_the_formulas() {
    checks::follows_its_twin(&json!({"filters": [4], "kernels": [1], "dropout": 0.0}), twin);
    checks::follows_its_twin(&json!({"filters": [4, 3, 5], "kernels": [8, 5, 2], "dropout": 0.0}), twin);
}

#[test]
fn one_operation_gives_what_the_library_gives() {
    checks::fused_follows_the_library::<CnnConfig>(&json!({"filters": [5, 17], "kernels": [5, 4], "dropout": 0.3}));
    checks::fused_follows_the_library::<CnnConfig>(&json!({"filters": [3, 4, 5], "kernels": [8, 1, 3]}));
}

#[test]
fn it_keeps_its_promises() {
    let settings = json!({"filters": [6, 8], "kernels": [4, 3]});
    checks::keeps_its_promises::<CnnConfig>(&settings, &json!({"filters": [6, 9], "kernels": [4, 3]}));
}

#[test]
fn a_filter_sees_the_steps_around_its_own() {
    let x = Tensor::<3>::from_data(TensorData::new(vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3, 1]), &Device::flex());
    let seen = |kernel| read(surroundings(x.clone(), kernel)).unwrap();
    assert_eq!(seen(1), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(seen(2), [1.0, 2.0, 2.0, 3.0, 3.0, 0.0, 4.0, 5.0, 5.0, 6.0, 6.0, 0.0]);
    assert_eq!(seen(3)[..9], [0.0, 1.0, 2.0, 1.0, 2.0, 3.0, 2.0, 3.0, 0.0]);
}

#[test]
fn ranges() {
    checks::refuses::<CnnConfig>(&json!({"filters": []}), "filters");
    checks::refuses::<CnnConfig>(&json!({"filters": [8, 0, 8]}), "filters");
    checks::refuses::<CnnConfig>(&json!({"filters": [8, 8]}), "kernels");
    checks::refuses::<CnnConfig>(&json!({"kernels": [8, 65, 3]}), "kernels");
}

#[test]
fn slices_follow_the_library() {
    checks::slices_follow_the_library::<CnnConfig>(&[
        json!({}),
        json!({"filters": [5, 3], "kernels": [2, 7]}),
        json!({"filters": [64, 64, 64], "kernels": [5, 5, 5]}),
    ]);
}
