use serde_json::json;
use stakeout_core::{Batch, Device, Scratch, Silent};

use super::*;
use crate::nn::rng::{Purpose, generator};
use crate::nn::toy::{self, Toy, signed};
use crate::nn::train::cross_entropy;
use crate::nn::{self, weights};

/// The net in plain double-precision loops: slow, and as the formulas stand in the paper.
fn twin(net: &GruNet, values: &[f64], batch: &Batch) -> Vec<Vec<f64>> {
    let geometry = batch.geometry();
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let mut rest = values;
    let mut next = |n: usize| {
        let (own, others) = rest.split_at(n);
        rest = others;
        own
    };
    let h = net.hidden;
    let layers: Vec<_> = (0..net.layers)
        .map(|layer| {
            let inputs = if layer == 0 { net.inputs } else { h };
            (next(inputs * 3 * h), next(h * 3 * h), next(3 * h), next(3 * h))
        })
        .collect();
    let (head_w, head_b) = (next(2 * h * net.classes), next(net.classes));

    let mut filled = batch.clone();
    let mut missing = Vec::new();
    filled.forward_fill(&mut missing);
    let (channels, steps) = (geometry.channels, geometry.steps);
    (0..batch.rows())
        .map(|row| {
            let length = batch.lengths[row] as usize;
            let mut series: Vec<Vec<f64>> = (0..length)
                .map(|t| {
                    let seen = (0..channels).map(|c| f64::from(filled.row(row)[c * steps + t]).clamp(-10.0, 10.0));
                    seen.chain((0..channels).map(|c| f64::from(missing[row * channels + c]))).collect()
                })
                .collect();
            for (w_ih, w_hh, b_ih, b_hh) in &layers {
                let mut state = vec![0.0; h];
                for x in &mut series {
                    let product = |w: &[f64], b: &[f64], v: &[f64], gate: usize, unit: usize| {
                        let at = gate * h + unit;
                        b[at] + v.iter().enumerate().map(|(i, v)| v * w[i * 3 * h + at]).sum::<f64>()
                    };
                    state = (0..h)
                        .map(|unit| {
                            let input = |gate| product(w_ih, b_ih, x, gate, unit);
                            let held = |gate| product(w_hh, b_hh, &state, gate, unit);
                            let (reset, update) = (sigmoid(input(0) + held(0)), sigmoid(input(1) + held(1)));
                            let new = (input(2) + reset * held(2)).tanh();
                            (1.0 - update) * new + update * state[unit]
                        })
                        .collect();
                    x.clone_from(&state);
                }
            }
            let zero = vec![0.0; h];
            let last = series.last().unwrap_or(&zero);
            let mean = (0..h).map(|u| series.iter().map(|s| s[u]).sum::<f64>() / length.max(1) as f64);
            let read: Vec<f64> = last.iter().copied().chain(mean).collect();
            (0..net.classes)
                .map(|k| head_b[k] + read.iter().enumerate().map(|(i, v)| v * head_w[i * net.classes + k]).sum::<f64>())
                .collect()
        })
        .collect()
}

/// The smoothed, weighted loss of the twin's logits.
fn twin_loss(logits: &[Vec<f64>], side: Labelled<'_>, smoothing: f64) -> f64 {
    let losses = logits.iter().enumerate().map(|(row, logits)| {
        let normaliser = logits.iter().map(|x| x.exp()).sum::<f64>().ln();
        let spread = logits.iter().map(|x| normaliser - x).sum::<f64>() / logits.len() as f64;
        let hit = normaliser - logits[usize::from(side.labels[row])];
        f64::from(side.weights[row]) * ((1.0 - smoothing) * hit + smoothing * spread)
    });
    losses.sum::<f64>() / logits.len() as f64
}

/// A net with biases that are not zero, so that no part is tested at a special point.
fn example(layers: usize, toy: &Toy) -> (GruNet, Vec<f32>) {
    let config = GruConfig { hidden: 5, layers, dropout: 0.0 };
    let net = GruNet::new(&config, toy.side().windows.schema().geometry());
    let mut rng = generator(3, Purpose::Weights, 0);
    let values = (0..weights::total(&net.weights())).map(|_| 0.7 * signed(&mut rng)).collect();
    (net, values)
}

#[test]
fn logits_and_gradients_follow_the_formulas() {
    const SMOOTHING: f64 = 0.1;
    let toy = Toy::new(9, 1);
    let rows: Vec<usize> = (0..9).collect();
    for layers in [1, 2] {
        for device in [Device::Flex, Device::Ndarray] {
            let (net, values) = example(layers, &toy);
            let mut batch = toy.batch(&rows);
            batch.lengths[4] = 0;
            batch.values[2] = 25.0; // clamped
            let device = nn::device(device);
            let tensors = Tensors::tracked(&net.weights(), &values, &device.clone().autodiff());
            let input = Input::new(batch.clone(), &device).unwrap();
            let logits = net.forward(&tensors, &input, &mut Dropout::Off).logits;

            let exact: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
            let expected = twin(&net, &exact, &batch);
            for (got, expected) in weights::read(logits.clone()).unwrap().iter().zip(expected.iter().flatten()) {
                assert!((f64::from(*got) - expected).abs() < 1e-5, "{got} and {expected}");
            }

            let loss = cross_entropy(logits, toy.side(), &rows, rows.len(), SMOOTHING);
            let gradient = tensors.gradient(&loss).unwrap();
            let expected = twin_loss(&expected, toy.side(), SMOOTHING);
            assert!((f64::from(weights::read(loss).unwrap()[0]) - expected).abs() < 1e-5);
            for (i, got) in gradient.iter().enumerate() {
                let at = |shift: f64| {
                    let mut moved = exact.clone();
                    moved[i] += shift;
                    twin_loss(&twin(&net, &moved, &batch), toy.side(), SMOOTHING)
                };
                let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!((f64::from(*got) - expected).abs() < 2e-5, "weight {i}: {got} and {expected}");
            }
        }
    }
}

fn fitted(device: Device) -> (Toy, Box<dyn BaseModel>) {
    let toy = Toy::new(90, 1);
    let settings = json!({"hidden": 8, "layers": 2, "train": {"epochs": 3, "batch_size": 40}});
    let gru = Gru::from_config(&settings).unwrap();
    let mut cx = FitContext { validation: Some(toy.side()), seed: 5, device, observer: &mut Silent };
    let model = gru.fit(toy.side(), &mut cx).unwrap();
    (toy, model)
}

fn scores(model: &dyn BaseModel, batch: &Batch) -> Vec<f32> {
    let mut out = vec![0.0; batch.rows() * model.geometry().classes];
    model.predict_into(batch, &mut Scratch::default(), &mut out).unwrap();
    out
}

fn assert_close(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= tolerance, "{a} and {b}");
    }
}

#[test]
fn what_padding_holds_never_matters() {
    let (toy, model) = fitted(Device::Flex);
    let geometry = model.geometry();
    let mut batch = toy.batch(&[0, 1, 2]);
    batch.lengths = vec![2, 0, 6];
    let mut noisy = batch.clone();
    for row in 0..2 {
        for channel in 0..geometry.channels {
            for step in batch.lengths[row] as usize..geometry.steps {
                noisy.values[(row * geometry.channels + channel) * geometry.steps + step] = 1e20;
            }
        }
    }
    assert_eq!(scores(model.as_ref(), &batch), scores(model.as_ref(), &noisy));
    assert_eq!(model.embed(&batch).unwrap(), model.embed(&noisy).unwrap());
}

#[test]
fn a_short_window_scores_as_if_there_were_no_more_steps() {
    let toy = Toy::new(6, 2);
    let (_, values) = example(1, &toy);
    let config = GruConfig { hidden: 5, layers: 1, dropout: 0.0 };
    let logits = |steps: u32, lengths: [u32; 2], series: &[f32]| {
        let geometry = toy::schema(4, steps, 3).geometry();
        let net = GruNet::new(&config, geometry);
        let mut batch = Batch::new(InputKind::Tensor, geometry);
        for channel in series.chunks_exact(3) {
            batch.values.extend_from_slice(channel);
            batch.values.resize(batch.values.len() + steps as usize - 3, 7.0);
        }
        batch.lengths = lengths.to_vec();
        let device = nn::device(Device::Flex);
        let tensors = Tensors::new(&net.weights(), &values, &device);
        let input = Input::new(batch, &device).unwrap();
        weights::read(net.forward(&tensors, &input, &mut Dropout::Off).logits).unwrap()
    };
    let mut rng = generator(8, Purpose::Order, 0);
    let series: Vec<f32> = (0..2 * 4 * 3).map(|_| signed(&mut rng)).collect();
    assert_close(&logits(3, [3, 3], &series), &logits(10, [3, 3], &series), 1e-6);
}

#[test]
fn scores_do_not_depend_on_the_batch() {
    let (toy, model) = fitted(Device::Flex);
    let rows: Vec<usize> = (0..90).collect();
    let together = scores(model.as_ref(), &toy.batch(&rows));
    for row in [0, 7, 31, 89] {
        assert_close(&together[row * 3..row * 3 + 3], &scores(model.as_ref(), &toy.batch(&[row])), 1e-6);
    }
    let many: Vec<usize> = (0..600).map(|i| i % 90).collect();
    assert_close(&together, &scores(model.as_ref(), &toy.batch(&many))[..270], 1e-6);
    let sum: f32 = together[..3].iter().sum();
    assert!((sum - 1.0).abs() < 1e-6);
    assert!(scores(model.as_ref(), &toy.batch(&[])).is_empty());
}

#[test]
fn a_window_without_any_value_is_scored() {
    let (toy, model) = fitted(Device::Flex);
    let mut batch = toy.batch(&[0, 1]);
    batch.values.fill(f32::NAN);
    batch.lengths[1] = 0;
    let scores = scores(model.as_ref(), &batch);
    assert!(scores.iter().all(|p| p.is_finite() && *p > 0.0), "{scores:?}");
    batch.values.fill(f32::INFINITY);
    assert!(model.embed(&batch).unwrap().unwrap().iter().all(|x| x.is_finite()));
}

#[test]
fn both_devices_give_the_same_scores() {
    let (toy, model) = fitted(Device::Flex);
    let stored = model.weights().unwrap();
    let rows: Vec<usize> = (0..90).collect();
    let batch = toy.batch(&rows);
    let load = |device| {
        let cx = LoadContext { config: &model.config(), geometry: model.geometry(), weights: &stored, device };
        (entry().load)(&cx).unwrap()
    };
    let (flex, reference) = (load(Device::Flex), load(Device::Ndarray));
    assert_eq!(scores(flex.as_ref(), &batch), scores(model.as_ref(), &batch));
    assert_eq!(flex.weights().unwrap(), stored);
    assert_close(&scores(flex.as_ref(), &batch), &scores(reference.as_ref(), &batch), 1e-4);
}

#[test]
fn stored_weights_of_another_shape_are_refused() {
    let (_, model) = fitted(Device::Flex);
    let weights = model.weights().unwrap();
    let load = |config: serde_json::Value, weights: &[u8]| {
        let cx = LoadContext { config: &config, geometry: model.geometry(), weights, device: Device::Flex };
        (entry().load)(&cx).map(|_| ()).map_err(|error| error.to_string())
    };
    assert!(load(model.config(), &weights).is_ok());
    let mut wider = model.config();
    wider["hidden"] = json!(9);
    assert!(load(wider, &weights).unwrap_err().contains("`gru.0.w_ih` is [8, 24]"));
    assert!(load(json!({"hidden": 1024, "layers": 4}), &weights[..20]).is_err());
    assert!(load(json!({"hidden": 1u64 << 60}), &weights).unwrap_err().contains("out of range"));
}

#[test]
fn another_geometry_is_refused() {
    let (toy, model) = fitted(Device::Flex);
    let mut batch = toy.batch(&[0]);
    let refuse = |batch: &Batch, room: usize| {
        let mut out = vec![0.0; room];
        let error = model.predict_into(batch, &mut Scratch::default(), &mut out).unwrap_err();
        assert!(matches!(error, ModelError::Geometry { .. }), "{error}");
    };
    refuse(&batch, 2);
    batch.lengths[0] = 7;
    refuse(&batch, 3);
    refuse(&Batch::new(InputKind::Summary, batch.geometry()), 0);
    refuse(&Batch::new(InputKind::Tensor, toy::schema(5, 6, 3).geometry()), 0);
}

#[test]
fn the_commented_defaults_are_the_defaults() {
    let value: serde_json::Value = toml::from_str(entry().defaults).unwrap();
    assert_eq!(value, Gru::default().config());
    assert_eq!(Gru::from_config(&json!({})).unwrap(), Gru::default());
    assert_eq!(Gru::from_config(&value).unwrap(), Gru::default());
    let out_of_range = json!({"hidden": 0});
    assert!(Gru::from_config(&out_of_range).unwrap_err().to_string().contains("hidden: 0 is out of range"));
}
