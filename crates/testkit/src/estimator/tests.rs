//! The suite passes an honest model and names each fault of a faulty one.

use std::sync::atomic::{AtomicU32, Ordering};

use stakeout_core::model::check_batch;
use stakeout_core::{Geometry, ModelKind};

use super::*;

/// Nearest class centre; the centres move towards the class means, a step an epoch. The configuration names a fault.
struct Centroid {
    fault: String,
}

const EPOCHS: usize = 6;

fn kind() -> ModelKind {
    ModelKind::new("centroid").unwrap()
}

fn entry() -> ModelEntry {
    ModelEntry { kind: kind(), about: "", defaults: "fault = \"\"", configure, load }
}

fn configure(given: &Value) -> Result<Box<dyn Estimator>, ModelError> {
    let wrong = |key: &str| ModelError::Config { kind: "centroid".into(), key: key.into(), why: "no".into() };
    let table = given.as_object().ok_or_else(|| wrong(""))?;
    let fault = table.get("fault").and_then(Value::as_str).unwrap_or("").to_owned();
    match table.keys().find(|key| *key != "fault") {
        Some(key) => Err(wrong(key)),
        None => Ok(Box::new(Centroid { fault })),
    }
}

static SHARED: AtomicU32 = AtomicU32::new(0);

impl Estimator for Centroid {
    fn kind(&self) -> ModelKind {
        kind()
    }

    fn input(&self) -> InputKind {
        InputKind::Summary
    }

    fn needs_validation(&self) -> bool {
        false
    }

    fn config(&self) -> Value {
        if self.fault == "forgets its settings" { json!({}) } else { json!({ "fault": self.fault }) }
    }

    fn fit(&self, train: Labelled<'_>, cx: &mut FitContext<'_>) -> Result<Box<dyn BaseModel>, ModelError> {
        train.check()?;
        let geometry = train.windows.schema().geometry();
        let width = geometry.features;
        let mut batch = Batch::new(InputKind::Summary, geometry);
        train.windows.gather(&(0..train.windows.len()).collect::<Vec<_>>(), &mut batch)?;
        let mut sums = vec![[0.0f32; 2]; CLASSES * width];
        let mut priors = vec![0.01f32; CLASSES];
        for (row, (label, weight)) in train.labels.iter().zip(train.weights).enumerate() {
            let weight = if self.fault == "ignores weights" { 1.0 } else { *weight };
            priors[usize::from(*label)] += weight;
            for (sum, value) in sums[usize::from(*label) * width..].iter_mut().zip(batch.row(row)) {
                if !value.is_nan() {
                    *sum = [sum[0] + weight * value, sum[1] + weight];
                }
            }
        }
        if self.fault == "needs every class" && priors.contains(&0.01) {
            return Err(ModelError::Data("a class is missing".into()));
        }
        let means: Vec<f32> = sums.iter().map(|[sum, weight]| if *weight > 0.0 { sum / weight } else { 0.0 }).collect();

        let (mut centres, mut done) = (vec![0.0; CLASSES * width], 0);
        if let Some(state) = cx.observer.load_state()?
            && self.fault != "starts again"
        {
            if state.len() != 4 + 4 * centres.len() {
                return Err(ModelError::Weights("length".into()));
            }
            centres = numbers(&state[4..]);
            done = u32::from_le_bytes(state[..4].try_into().unwrap()) as usize;
        }
        let save = |done: usize, centres: &[f32], observer: &mut dyn FitObserver| {
            let kept = if self.fault == "saves too little" { done / 2 } else { done };
            let mut state = (kept as u32).to_le_bytes().to_vec();
            state.extend(bytes(centres));
            observer.save_state(&state)
        };
        while done < EPOCHS {
            if cx.observer.cancelled() && self.fault != "cannot be cancelled" {
                save(done, &centres, cx.observer)?;
                return Err(ModelError::Cancelled);
            }
            for (centre, mean) in centres.iter_mut().zip(&means) {
                *centre += (mean - *centre) * 0.7;
            }
            done += 1;
            let record = EpochRecord {
                epoch: done,
                train_loss: 1.0 / done as f64,
                validation_loss: None,
                validation_macro_f1: None,
                learning_rate: 0.7,
            };
            cx.observer.epoch(&record)?;
            if self.fault != "is silent" {
                cx.observer.progress(done as u64, EPOCHS as u64);
            }
            save(done, &centres, cx.observer)?;
        }
        if self.fault == "has a shared generator" {
            centres[0] += SHARED.fetch_add(1, Ordering::Relaxed) as f32;
        }
        Ok(Box::new(Nearest { fault: self.fault.clone(), geometry, centres, priors }))
    }
}

struct Nearest {
    fault: String,
    geometry: Geometry,
    centres: Vec<f32>,
    priors: Vec<f32>,
}

impl BaseModel for Nearest {
    fn kind(&self) -> ModelKind {
        kind()
    }

    fn input(&self) -> InputKind {
        InputKind::Summary
    }

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn predict_into(&self, batch: &Batch, _scratch: &mut Scratch, out: &mut [f32]) -> Result<(), ModelError> {
        if self.fault != "takes any input" {
            check_batch(self, batch, out)?;
        }
        let shift = if self.fault == "looks at the batch" { batch.rows() as f32 / 50.0 } else { 0.0 };
        for (row, out) in out.chunks_exact_mut(CLASSES).enumerate() {
            for ((p, centre), prior) in
                out.iter_mut().zip(self.centres.chunks(self.geometry.features)).zip(&self.priors)
            {
                let squares = batch.row(row).iter().zip(centre).map(|(x, c)| (x - c + shift).powi(2));
                let distance: f32 = if self.fault == "lets NaN through" {
                    squares.sum()
                } else {
                    squares.filter(|d| !d.is_nan()).sum()
                };
                *p = if self.fault == "never looks" { 0.0 } else { prior.ln() - 0.5 * distance };
            }
            let top = out.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            for p in out.iter_mut() {
                *p = (*p - top).exp();
            }
            let sum: f32 = out.iter().sum();
            let sum = if self.fault == "does not normalise" { sum * 1.01 } else { sum };
            for p in out.iter_mut() {
                *p /= sum;
            }
        }
        Ok(())
    }

    fn config(&self) -> Value {
        json!({ "fault": self.fault })
    }

    fn weights(&self) -> Result<Vec<u8>, ModelError> {
        let mut numbers = [self.priors.clone(), self.centres.clone()].concat();
        if self.fault == "rounds its weights" {
            for w in &mut numbers {
                *w *= 1.5;
            }
        }
        Ok(bytes(&numbers))
    }
}

fn load(cx: &LoadContext<'_>) -> Result<Box<dyn BaseModel>, ModelError> {
    let fault = cx.config["fault"].as_str().unwrap_or("").to_owned();
    let expected = 4 * (1 + cx.geometry.features) * cx.geometry.classes;
    if cx.weights.len() != expected {
        assert!(fault != "trusts lengths", "{} is not {expected}", cx.weights.len());
        if fault != "takes any bytes" {
            return Err(ModelError::Weights("length".into()));
        }
    }
    let mut priors = numbers(cx.weights);
    let centres = priors.split_off(cx.geometry.classes.min(priors.len()));
    Ok(Box::new(Nearest { fault, geometry: cx.geometry, centres, priors }))
}

fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|w| w.to_le_bytes()).collect()
}

fn numbers(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn breach(fault: &str) -> Option<String> {
    let config = json!({ "fault": fault });
    let caught = catch_unwind(|| check_estimator(&entry(), &config)).err()?;
    Some(caught.downcast_ref::<String>().cloned().unwrap_or_default())
}

#[test]
fn an_honest_model_passes() {
    check_estimator(&entry(), &json!({ "fault": "" }));
    check_zero_weight_is_absence(&entry(), &json!({ "fault": "" }));
}

#[test]
fn every_fault_is_named() {
    for (fault, message) in [
        ("forgets its settings", "its configuration does not round-trip"),
        ("is silent", "no progress was reported"),
        ("lets NaN through", "windows: window 17 has probabilities"),
        ("does not normalise", "plain windows: the probabilities of window 0 sum to"),
        ("never looks", "every window gets the same scores"),
        ("has a shared generator", "the same seed gave other weights"),
        ("looks at the batch", "the scores of a window move by"),
        ("takes any input", "gave Ok"),
        ("rounds its weights", "its weights do not round-trip"),
        ("trusts lengths", "cut weights made it panic"),
        ("takes any bytes", "were taken"),
        ("cannot be cancelled", "cancelled after epoch 0, it gave None"),
        ("starts again", "its history differs"),
        ("saves too little", "it ended with other weights"),
        ("ignores weights", "weights do not matter"),
        ("needs every class", "a fit without windows of a class failed"),
    ] {
        let said = breach(fault).unwrap_or_else(|| panic!("a model that {fault} passes"));
        assert!(said.contains("centroid: ") && said.contains(message), "a model that {fault}: {said}");
    }
}

#[test]
fn a_lenient_parser_is_noticed() {
    let lenient =
        |_: &Value| -> Result<Box<dyn Estimator>, ModelError> { Ok(Box::new(Centroid { fault: String::new() })) };
    let entry = ModelEntry { configure: lenient, ..entry() };
    let caught = catch_unwind(|| check_estimator(&entry, &json!({ "fault": "" }))).unwrap_err();
    assert!(caught.downcast_ref::<String>().unwrap().contains("an unknown key gave None"));
}

#[test]
fn weight_zero_is_told_from_absence() {
    let config = json!({ "fault": "ignores weights" });
    assert!(catch_unwind(|| check_zero_weight_is_absence(&entry(), &config)).is_err());
}
