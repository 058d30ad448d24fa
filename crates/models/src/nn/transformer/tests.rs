use serde_json::json;

use super::*;
use crate::nn::checks::{self, Given};

fn normal(given: &Given<'_>, name: &str, x: &[f64]) -> Vec<f64> {
    let (scale, shift) = (given.weights.get(&format!("{name}.scale")), given.weights.get(&format!("{name}.shift")));
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
    x.iter().enumerate().map(|(i, x)| (x - mean) / (variance + 1e-5).sqrt() * scale[i] + shift[i]).collect()
}

fn twin(config: &TransformerConfig, given: &Given<'_>) -> Vec<Vec<f64>> {
    let TransformerConfig { width, heads, layers, .. } = *config;
    let size = width / heads;
    let weights = given.weights;
    let logits = |window: &Vec<Vec<f64>>| {
        let place = |t: usize, i: usize| {
            let angle = t as f64 / 10_000f64.powf((i - i % 2) as f64 / width as f64);
            f64::from(if i.is_multiple_of(2) { angle.sin() } else { angle.cos() } as f32)
        };
        let embed = |(t, x): (usize, &Vec<f64>)| -> Vec<f64> {
            weights.dense("embed", x).iter().enumerate().map(|(i, x)| x + place(t, i)).collect()
        };
        let mut steps: Vec<Vec<f64>> = window.iter().enumerate().map(embed).collect();
        for layer in 0..layers {
            let name = |part: &str| format!("encoder.{layer}.{part}");
            let seen: Vec<_> = steps.iter().map(|x| normal(given, &name("attention.norm"), x)).collect();
            let part = |part: &str| -> Vec<Vec<f64>> {
                seen.iter().map(|x| weights.dense(&name(&format!("attention.{part}")), x)).collect()
            };
            let (query, key, value) = (part("query"), part("key"), part("value"));
            for (t, x) in steps.iter_mut().enumerate() {
                let mut mixed = vec![0.0; width];
                for head in 0..heads {
                    let own = head * size..(head + 1) * size;
                    let score = |key: &Vec<f64>| {
                        let products = own.clone().map(|i| query[t][i] * key[i]);
                        (products.sum::<f64>() / (size as f64).sqrt()).exp()
                    };
                    let scores: Vec<f64> = key.iter().map(score).collect();
                    let total: f64 = scores.iter().sum();
                    for i in own.clone() {
                        mixed[i] = scores.iter().zip(&value).map(|(score, value)| score / total * value[i]).sum();
                    }
                }
                let out = weights.dense(&name("attention.out"), &mixed);
                x.iter_mut().zip(out).for_each(|(x, out)| *x += out);
            }
            for x in &mut steps {
                let inner: Vec<f64> = weights
                    .dense(&name("dense.in"), &normal(given, &name("dense.norm"), x))
                    .into_iter()
                    .map(|x| x.max(0.0))
                    .collect();
                x.iter_mut().zip(weights.dense(&name("dense.out"), &inner)).for_each(|(x, out)| *x += out);
            }
        }
        let steps: Vec<_> = steps.iter().map(|x| normal(given, "norm", x)).collect();
        let mean = |i: usize| steps.iter().map(|step| step[i]).sum::<f64>() / steps.len().max(1) as f64;
        weights.dense("head", &(0..width).map(mean).collect::<Vec<_>>())
    };
    given.windows.iter().map(logits).collect()
}

#[test]
fn logits_and_gradients_follow_the_formulas() {
    for (width, heads, layers) in [(4, 1, 1), (6, 3, 2)] {
        let settings = json!({"width": width, "heads": heads, "layers": layers, "feed_forward": 5, "dropout": 0.0});
        checks::follows_its_twin(&settings, twin);
    }
}

#[test]
fn one_operation_gives_what_the_library_gives() {
    checks::fused_follows_the_library::<TransformerConfig>(
        &json!({"width": 18, "heads": 3, "layers": 2, "feed_forward": 11, "dropout": 0.3}),
    );
    checks::fused_follows_the_library::<TransformerConfig>(
        &json!({"width": 16, "heads": 1, "layers": 1, "feed_forward": 32, "dropout": 0.0}),
    );
}

#[test]
fn it_keeps_its_promises() {
    let settings = json!({"width": 8, "heads": 2, "layers": 1, "feed_forward": 8});
    let other = json!({"width": 10, "heads": 2, "layers": 1, "feed_forward": 8});
    checks::keeps_its_promises::<TransformerConfig>(&settings, &other);
}

#[test]
fn the_order_of_the_steps_matters() {
    let at = positions(3, 4);
    assert_eq!(at[..4], [0.0, 1.0, 0.0, 1.0]);
    assert!((at[4] - 1f32.sin()).abs() < 1e-6 && (at[10] - 0.02f32.sin()).abs() < 1e-6);
}

#[test]
fn ranges() {
    checks::refuses::<TransformerConfig>(&json!({"heads": 3}), "width");
    checks::refuses::<TransformerConfig>(&json!({"heads": 0}), "heads");
    checks::refuses::<TransformerConfig>(&json!({"layers": 0}), "layers");
    checks::refuses::<TransformerConfig>(&json!({"feed_forward": 0}), "feed_forward");
}

#[test]
fn attention_that_no_memory_holds_is_refused() {
    let geometry = |steps| Geometry { channels: 1, steps, features: 5, classes: 2 };
    let config = TransformerConfig::default();
    assert!(config.check_geometry(geometry(1000)).is_ok());
    for steps in [100_000, usize::MAX] {
        let error = config.check_geometry(geometry(steps)).unwrap_err().to_string();
        assert!(error.contains("window.steps"), "{error}");
    }
}

#[test]
fn slices_follow_the_library() {
    checks::slices_follow_the_library::<TransformerConfig>(&[
        json!({}),
        json!({"width": 6, "heads": 3, "layers": 1, "feed_forward": 5}),
        json!({"width": 5, "heads": 1, "layers": 3}),
    ]);
}
