//! What every net is checked for: its formulas against plain loops, and the promises of a fitted net.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};
use serde_json::{Value, json};
use stakeout_core::{
    BaseModel, Batch, Device, Estimator, FitContext, Geometry, InputKind, Labelled, LoadContext, ModelError, Scratch,
    Silent,
};

use super::estimator::{NetConfig, NetEstimator, entry};
use super::input::Input;
use super::model::FittedNet;
use super::rng::{self, Purpose, generator};
use super::toy::{self, Toy, signed};
use super::train::cross_entropy;
use super::weights::{self, Tensors, WeightSpec};
use super::{Pass, ops};

/// Weights by name, in double precision.
pub(crate) struct Named(BTreeMap<String, (Vec<usize>, Vec<f64>)>);

impl Named {
    fn new(specs: &[WeightSpec], values: &[f64]) -> Self {
        let mut rest = values;
        let by_name = specs.iter().map(|spec| {
            let (own, others) = rest.split_at(spec.len());
            rest = others;
            (spec.name.clone(), (spec.shape.clone(), own.to_vec()))
        });
        Self(by_name.collect())
    }

    pub(crate) fn get(&self, name: &str) -> &[f64] {
        &self.0[name].1
    }

    /// `x · w` for the columns of one gate of a matrix.
    pub(crate) fn product(&self, name: &str, x: &[f64], columns: std::ops::Range<usize>) -> Vec<f64> {
        let (shape, w) = &self.0[name];
        assert_eq!(shape[0], x.len(), "{name}");
        columns.map(|column| x.iter().enumerate().map(|(row, x)| x * w[row * shape[1] + column]).sum()).collect()
    }

    /// `x · w + b`.
    pub(crate) fn dense(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let bias = self.get(&format!("{name}.b"));
        let product = self.product(&format!("{name}.w"), x, 0..bias.len());
        product.iter().zip(bias).map(|(x, b)| x + b).collect()
    }
}

/// What a twin is given: weights, the own steps of each window (each: values, then how much was missing) and whether
/// statistics are those of the batch.
pub(crate) struct Given<'a> {
    pub(crate) weights: &'a Named,
    pub(crate) windows: Vec<Vec<Vec<f64>>>,
    pub(crate) training: bool,
}

/// A net in plain double-precision loops: the logits of each window.
pub(crate) type Twin<C> = fn(&C, &Given<'_>) -> Vec<Vec<f64>>;

fn own_steps(batch: &Batch) -> Vec<Vec<Vec<f64>>> {
    let geometry = batch.geometry();
    let clamped = |x: f32| f64::from(x).clamp(-10.0, 10.0);
    if batch.kind() == InputKind::Summary {
        let window = |row: &[f32]| {
            let seen = row.iter().map(|x| if x.is_nan() { 0.0 } else { clamped(*x) });
            vec![seen.chain(row.iter().map(|x| f64::from(u8::from(x.is_nan())))).collect()]
        };
        return (0..batch.rows()).map(|row| window(batch.row(row))).collect();
    }
    let mut filled = batch.clone();
    let mut missing = Vec::new();
    filled.forward_fill(&mut missing);
    let (channels, steps) = (geometry.channels, geometry.steps);
    let step = |row: usize, t: usize| {
        let seen = (0..channels).map(|c| clamped(filled.row(row)[c * steps + t]));
        seen.chain((0..channels).map(|c| f64::from(missing[row * channels + c]))).collect()
    };
    (0..batch.rows()).map(|row| (0..batch.lengths[row] as usize).map(|t| step(row, t)).collect()).collect()
}

/// The smoothed, weighted loss of the twin's logits.
fn loss_of(logits: &[Vec<f64>], side: Labelled<'_>, smoothing: f64) -> f64 {
    let losses = logits.iter().enumerate().map(|(row, logits)| {
        let normaliser = logits.iter().map(|x| x.exp()).sum::<f64>().ln();
        let spread = logits.iter().map(|x| normaliser - x).sum::<f64>() / logits.len() as f64;
        let hit = normaliser - logits[usize::from(side.labels[row])];
        f64::from(side.weights[row]) * ((1.0 - smoothing) * hit + smoothing * spread)
    });
    losses.sum::<f64>() / logits.len() as f64
}

/// Logits and the gradient by every weight follow the twin, in a training pass and in one of a fitted net, on both
/// devices, with gaps, short windows, one without any step and a value that is clamped.
pub(crate) fn follows_its_twin<C: NetConfig>(settings: &Value, twin: Twin<C>) {
    const SMOOTHING: f64 = 0.1;
    let config = NetEstimator::<C>::from_config(settings).unwrap().config;
    let toy = Toy::new(9, 1);
    let rows: Vec<usize> = (0..9).collect();
    let net = config.net(toy.side().windows.schema().geometry());
    let specs = net.weights();
    // biases that are not zero, so that no part is tested at a special point; variances are positive
    let mut rng = generator(3, Purpose::Weights, 0);
    let mut values = Vec::new();
    for spec in &specs {
        let about = if spec.name.ends_with(".variance") { 1.0 } else { 0.0 };
        values.extend((0..spec.len()).map(|_| about + 0.7 * signed(&mut rng)));
    }
    let exact: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
    let mut batch = toy.batch(C::INPUT, &rows);
    batch.lengths[4] = 0;
    batch.values[2] = 25.0;
    for training in [false, true] {
        let twin_logits = |values: &[f64]| {
            let weights = &Named::new(&specs, values);
            twin(&config, &Given { weights, windows: own_steps(&batch), training })
        };
        for device in [Device::Flex, Device::Ndarray] {
            let device = super::device(device);
            let tensors = Tensors::tracked(&specs, &values, &device.clone().autodiff());
            let input = Input::new(&batch, &device).unwrap();
            let mut pass = if training { Pass::training(rng.clone()) } else { Pass::Infer };
            let logits = net.forward(&tensors, &input, &mut pass).logits;
            let expected = twin_logits(&exact);
            for (got, expected) in weights::read(logits.clone()).unwrap().iter().zip(expected.iter().flatten()) {
                assert!((f64::from(*got) - expected).abs() < 2e-5, "{got} and {expected}");
            }

            let loss = cross_entropy(logits, toy.side(), &rows, rows.len(), SMOOTHING);
            let gradient = tensors.gradient(&loss).unwrap();
            let expected = loss_of(&expected, toy.side(), SMOOTHING);
            assert!((f64::from(weights::read(loss).unwrap()[0]) - expected).abs() < 1e-5);
            for (i, got) in gradient.iter().enumerate() {
                let at = |shift: f64| {
                    let mut moved = exact.clone();
                    moved[i] += shift;
                    loss_of(&twin_logits(&moved), toy.side(), SMOOTHING)
                };
                let expected = (at(1e-6) - at(-1e-6)) / 2e-6;
                assert!((f64::from(*got) - expected).abs() < 5e-5, "weight {i}: {got} and {expected}");
            }
        }
    }
}

/// A net as one operation on the default device gives what the library's own operations give on the reference device:
/// logits, representation, what is observed, and the gradient by every weight, dropouts included.
pub(crate) fn fused_follows_the_library<C: NetConfig>(settings: &Value) {
    let config = NetEstimator::<C>::from_config(settings).unwrap().config;
    for (case, (rows, steps, channels)) in
        (0..).zip([(1, 1, 1), (3, 1, 2), (1, 7, 16), (9, 5, 19), (5, 20, 46), (2, 3, 101)])
    {
        let geometry = Geometry { channels, steps, features: channels, classes: 3 };
        let net = config.net(geometry);
        let specs = net.weights();
        let mut rng = generator(case, Purpose::Weights, 0);
        let mut values = weights::draw(&specs, &mut rng);
        values.iter_mut().for_each(|value| *value += 0.1 * signed(&mut rng));
        let mut batch = Batch::new(C::INPUT, geometry);
        let mut draw = || if rng::unit(&mut rng) < 0.1 { f32::NAN } else { 2.0 * signed(&mut rng) };
        batch.values = (0..rows * batch.row_len()).map(|_| draw()).collect();
        batch.lengths = (0..rows).map(|row| ((steps + 2 * row) % (steps + 1)) as u32).collect();
        for training in [false, true] {
            let run = |device: Device| {
                let device = super::device(device);
                let input = Input::new(&batch, &device).unwrap();
                let mut tensors = Tensors::new(&specs, &values, &device);
                let mut pass = Pass::Infer;
                if training {
                    tensors = tensors.with_gradients();
                    pass = Pass::training(generator(case, Purpose::Dropout, 0));
                    assert_eq!(ops::whole::runs(&tensors, &input, &pass), device == super::device(Device::Flex));
                }
                let output = net.forward(&tensors, &input, &mut pass);
                let mut all = vec![("hidden".to_owned(), weights::read(output.hidden).unwrap())];
                all.push(("logits".to_owned(), weights::read(output.logits.clone()).unwrap()));
                if let Pass::Train { observed, .. } = pass {
                    all.extend(observed.into_iter().map(|(name, tensor)| (name, weights::read(tensor).unwrap())));
                    let by: Vec<f32> = (0..rows * 3).map(|i| (i as f32).sin()).collect();
                    let by = Tensor::<2>::from_data(TensorData::new(by, [rows, 3]), &output.logits.device());
                    let mut rest = &tensors.gradient(&(output.logits * by).sum()).unwrap()[..];
                    for spec in &specs {
                        let (own, others) = rest.split_at(spec.len());
                        all.push((format!("gradient by {}", spec.name), own.to_vec()));
                        rest = others;
                    }
                }
                all
            };
            for ((name, fused), (reference_name, reference)) in run(Device::Flex).iter().zip(run(Device::Ndarray)) {
                assert_eq!((name, fused.len()), (&reference_name, reference.len()));
                let size = reference.iter().fold(1.0f32, |size, x| size.max(x.abs()));
                for (at, (a, b)) in fused.iter().zip(&reference).enumerate() {
                    let what = format!("{name}[{at}] of {rows} x {steps} x {channels}, training: {training}");
                    assert!((a - b).abs() <= 2e-5 * size, "{what}: {a} and {b}");
                }
            }
        }
    }
}

/// Everything that is promised of a fitted net. `settings` are small ones, `other` makes weights of other shapes.
pub(crate) fn keeps_its_promises<C: NetConfig>(settings: &Value, other: &Value) {
    let mut settings = settings.clone();
    settings["train"] = json!({"epochs": 3, "batch_size": 40, "batch_share": 1.0});
    let toy = Toy::new(90, 1);
    let estimator = NetEstimator::<C>::from_config(&settings).unwrap();
    let mut cx = FitContext { validation: Some(toy.side()), seed: 5, device: Device::Flex, observer: &mut Silent };
    let model = estimator.fit(toy.side(), &mut cx).unwrap();
    let model = model.as_ref();
    if C::INPUT == InputKind::Tensor {
        padding_never_matters(model, &toy);
        a_short_window_scores_as_if_there_were_no_more_steps(&estimator.config);
    }
    scores_do_not_depend_on_the_batch(model, &toy);
    a_window_without_any_value_is_scored(model, &toy);
    both_devices_give_the_same_scores::<C>(model, &toy);
    stored_weights_of_another_shape_are_refused::<C>(model, other);
    another_geometry_is_refused(model, &toy);
    outputs_that_overflow_are_no_answer::<C>(model, &toy);
    the_commented_defaults_are_the_defaults::<C>();
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

fn padding_never_matters(model: &dyn BaseModel, toy: &Toy) {
    let geometry = model.geometry();
    let mut batch = toy.batch(InputKind::Tensor, &[0, 1, 2]);
    batch.lengths = vec![2, 0, 6];
    let mut noisy = batch.clone();
    for row in 0..2 {
        for channel in 0..geometry.channels {
            for step in batch.lengths[row] as usize..geometry.steps {
                noisy.values[(row * geometry.channels + channel) * geometry.steps + step] = 1e20;
            }
        }
    }
    assert_eq!(scores(model, &batch), scores(model, &noisy));
    assert_eq!(model.embed(&batch).unwrap(), model.embed(&noisy).unwrap());
}

fn a_short_window_scores_as_if_there_were_no_more_steps<C: NetConfig>(config: &C) {
    let mut rng = generator(8, Purpose::Order, 0);
    let series: Vec<f32> = (0..2 * 4 * 3).map(|_| signed(&mut rng)).collect();
    let logits = |steps: u32| {
        let geometry = toy::schema(4, steps, 3).geometry();
        let net = config.net(geometry);
        let values = weights::draw(&net.weights(), &mut generator(9, Purpose::Weights, 0));
        let mut batch = Batch::new(InputKind::Tensor, geometry);
        for channel in series.chunks_exact(3) {
            batch.values.extend_from_slice(channel);
            batch.values.resize(batch.values.len() + steps as usize - 3, 7.0);
        }
        batch.lengths = vec![3, 3];
        let device = super::device(Device::Flex);
        let tensors = Tensors::new(&net.weights(), &values, &device);
        let input = Input::new(&batch, &device).unwrap();
        weights::read(net.forward(&tensors, &input, &mut Pass::Infer).logits).unwrap()
    };
    assert_close(&logits(3), &logits(10), 1e-5);
}

fn scores_do_not_depend_on_the_batch(model: &dyn BaseModel, toy: &Toy) {
    let rows: Vec<usize> = (0..90).collect();
    let together = scores(model, &toy.batch(model.input(), &rows));
    for row in [0, 7, 31, 89] {
        assert_close(&together[row * 3..row * 3 + 3], &scores(model, &toy.batch(model.input(), &[row])), 1e-6);
    }
    let many: Vec<usize> = (0..600).map(|i| i % 90).collect();
    assert_close(&together, &scores(model, &toy.batch(model.input(), &many))[..270], 1e-6);
    let sum: f32 = together[..3].iter().sum();
    assert!((sum - 1.0).abs() < 1e-6);
    assert!(scores(model, &toy.batch(model.input(), &[])).is_empty());
}

fn a_window_without_any_value_is_scored(model: &dyn BaseModel, toy: &Toy) {
    let mut batch = toy.batch(model.input(), &[0, 1]);
    batch.values.fill(f32::NAN);
    batch.lengths[1] = 0;
    let scores = scores(model, &batch);
    assert!(scores.iter().all(|p| p.is_finite() && *p > 0.0), "{scores:?}");
    batch.values.fill(f32::INFINITY);
    assert!(model.embed(&batch).unwrap().unwrap().iter().all(|x| x.is_finite()));
}

fn both_devices_give_the_same_scores<C: NetConfig>(model: &dyn BaseModel, toy: &Toy) {
    let stored = model.weights().unwrap();
    let rows: Vec<usize> = (0..90).collect();
    let batch = toy.batch(model.input(), &rows);
    let load = |device| {
        let cx = LoadContext { config: &model.config(), geometry: model.geometry(), weights: &stored, device };
        (entry::<C>().load)(&cx).unwrap()
    };
    let (flex, reference) = (load(Device::Flex), load(Device::Ndarray));
    assert_eq!(scores(flex.as_ref(), &batch), scores(model, &batch));
    assert_eq!(flex.weights().unwrap(), stored);
    assert_close(&scores(flex.as_ref(), &batch), &scores(reference.as_ref(), &batch), 1e-5);
}

/// On the default device a fitted net runs on slices, on the reference device through the library: both give the same
/// probabilities for windows of any geometry, of unequal lengths and with gaps.
pub(crate) fn slices_follow_the_library<C: NetConfig>(settings: &[Value]) {
    let geometries = [(1, 1, 1, 2), (46, 20, 230, 5), (3, 5, 15, 3), (101, 7, 17, 8), (4, 33, 64, 2)];
    let mut rng = generator(11, Purpose::Order, 7);
    for (settings, (channels, steps, features, classes)) in settings.iter().flat_map(|s| geometries.map(|g| (s, g))) {
        let geometry = Geometry { channels, steps, features, classes };
        let estimator = NetEstimator::<C>::from_config(settings).unwrap();
        let net = estimator.config.net(geometry);
        let mut values = Vec::new();
        for spec in &net.weights() {
            // as large as drawn weights are, so that sums of many do not drown in rounding
            let part = spec.name.rsplit('.').next();
            let about = if matches!(part, Some("variance" | "scale")) { 1.0 } else { 0.0 };
            let bound = if spec.shape.len() > 1 { 2.0 / (spec.shape[0] as f32).sqrt() } else { 0.5 };
            values.extend((0..spec.len()).map(|_| about + bound * signed(&mut rng)));
        }
        let stored = weights::to_bytes(&net.weights(), &values);
        let load = |device| {
            let cx = LoadContext { config: &estimator.config(), geometry, weights: &stored, device };
            (entry::<C>().load)(&cx).unwrap()
        };
        let (slices, library) = (load(Device::Flex), load(Device::Ndarray));
        // one memory for all batches: what an earlier one left must not matter
        let mut scratch = Scratch::default();
        for rows in [300, 1, 0, 7] {
            let mut batch = Batch::new(C::INPUT, geometry);
            for _ in 0..rows {
                for _ in 0..batch.row_len() {
                    let value = if rng::unit(&mut rng) < 0.15 { f32::NAN } else { 3.0 * signed(&mut rng) };
                    batch.values.push(if rng::unit(&mut rng) < 0.01 { 1e9 * value } else { value });
                }
                let own = (rng::unit(&mut rng) * (steps + 1) as f32) as u32;
                batch.lengths.push(if rng::unit(&mut rng) < 0.5 { steps as u32 } else { own });
            }
            let mut got = vec![0.0; rows * classes];
            slices.predict_into(&batch, &mut scratch, &mut got).unwrap();
            assert_close(&got, &scores(library.as_ref(), &batch), 1e-5);
        }
    }
}

fn stored_weights_of_another_shape_are_refused<C: NetConfig>(model: &dyn BaseModel, other: &Value) {
    let weights = model.weights().unwrap();
    let load = |config: &Value, weights: &[u8]| {
        let cx = LoadContext { config, geometry: model.geometry(), weights, device: Device::Flex };
        (entry::<C>().load)(&cx).map(|_| ()).map_err(|error| error.to_string())
    };
    assert!(load(&model.config(), &weights).is_ok());
    let message = load(other, &weights).unwrap_err();
    assert!(message.contains("where the configuration"), "{message}");
    assert!(load(&model.config(), &weights[..20]).is_err());
}

/// Of logits that are no numbers the first class would be called, which is most often the harmless one.
fn outputs_that_overflow_are_no_answer<C: NetConfig>(model: &dyn BaseModel, toy: &Toy) {
    let estimator = NetEstimator::<C>::from_config(&model.config()).unwrap();
    let net = estimator.config.net(model.geometry());
    let specs = net.weights();
    let mut values = weights::from_bytes(&specs, &model.weights().unwrap()).unwrap();
    let mut at = 0;
    for spec in &specs {
        if spec.name.starts_with("head.") {
            values[at..at + spec.len()].fill(f32::MAX);
        }
        at += spec.len();
    }
    let (kind, config, geometry) = (model.kind(), model.config(), model.geometry());
    let broken = FittedNet::new(kind, C::INPUT, config, geometry, net, values, Device::Flex);
    let rows: Vec<usize> = (0..90).collect();
    let mut out = vec![0.0; 270];
    let error = broken.predict_into(&toy.batch(C::INPUT, &rows), &mut Scratch::default(), &mut out).unwrap_err();
    assert!(error.to_string().contains("not finite"), "{error}");
}

fn another_geometry_is_refused(model: &dyn BaseModel, toy: &Toy) {
    let mut batch = toy.batch(model.input(), &[0]);
    let refuse = |batch: &Batch, room: usize| {
        let mut out = vec![0.0; room];
        let error = model.predict_into(batch, &mut Scratch::default(), &mut out).unwrap_err();
        assert!(matches!(error, ModelError::Geometry { .. }), "{error}");
    };
    refuse(&batch, 2);
    let wider: Geometry = toy::schema(5, 6, 3).geometry();
    refuse(&Batch::new(model.input(), wider), 0);
    let turned = if model.input() == InputKind::Tensor { InputKind::Summary } else { InputKind::Tensor };
    refuse(&Batch::new(turned, batch.geometry()), 0);
    if model.input() == InputKind::Tensor {
        batch.lengths[0] = 7;
        refuse(&batch, 3);
    }
}

fn the_commented_defaults_are_the_defaults<C: NetConfig>() {
    let value: Value = toml::from_str(C::DEFAULTS).unwrap();
    let plain = NetEstimator::<C>::from_config(&json!({})).unwrap();
    assert_eq!(value, plain.config());
    assert_eq!(NetEstimator::<C>::from_config(&value).unwrap(), plain);
    assert_eq!(plain, NetEstimator { config: C::default(), train: C::train() });
}

/// A setting out of range is refused with its key.
pub(crate) fn refuses<C: NetConfig>(settings: &Value, key: &str) {
    let message = NetEstimator::<C>::from_config(settings).unwrap_err().to_string();
    assert!(message.starts_with(&format!("[model.{}] {key}: ", C::KIND)), "{message}");
}
